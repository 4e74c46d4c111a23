//! Which operations become one kernel, and which need none.

use super::layer::{self, Layer};
use super::model::Keep;
use super::network::{Network, Node, Value};
use super::spec::Op;
use crate::gpu::Gpu;
use crate::nn::layout::padded;
use crate::ops::{
    activation, adaptive_avg_pool2d, avg_pool2d, batch_norm, bias, conv2d, depthwise, dropout, linear, max_pool2d, relu,
};

/// The most weights of a linear layer that runs as one. A larger one is a convolution of maps of one value, with filters of one: its
/// weights lie alike, and the kernels of convolutions load each of them once for many images.
const MAX_LINEAR: usize = 1 << 18;

/// One or more operations that run together.
pub(super) struct Stage {
    /// What runs.
    pub(super) kind: Kind,
    /// Where in the network, for people.
    pub(super) place: String,
    /// What it gets.
    pub(super) inputs: Vec<Value>,
    /// What it makes.
    pub(super) output: Value,
    /// The nodes that it stands for, first and last.
    pub(super) nodes: [usize; 2],
}

/// What runs in a stage.
pub(super) enum Kind {
    /// A layer.
    Layer(Box<dyn Layer>),
    /// A layer that in evaluation passes on what it gets.
    Dropout(layer::Dropout),
    /// The sum of two values. Each is passed the sum's gradient.
    Add,
    /// Nothing: what it makes is what it gets.
    View,
}

/// The nodes that run together, first and last: batch norm, ReLU and Dropout2d that follow one another become one kernel, unless
/// everything is to be kept.
fn groups(nodes: &[Node], keep: Keep) -> Vec<[usize; 2]> {
    let mut uses = vec![0; nodes.len() + 1];
    nodes.iter().flat_map(|node| &node.inputs).for_each(|&value| uses[value] += 1);
    // Whether node `next` gets what the node before makes, and nobody else does.
    let follows = |next: usize, wanted: fn(&Op) -> bool| {
        nodes.get(next).is_some_and(|node| wanted(&node.op) && node.inputs == [next] && uses[next] == 1)
    };
    let mut groups = Vec::new();
    let mut first = 0;
    while let Some(node) = nodes.get(first) {
        let mut last = first;
        if keep == Keep::Needed && node.op == Op::BatchNorm2d && follows(first + 1, |op| *op == Op::ReLU) {
            last += 1;
            if follows(last + 1, |op| matches!(op, Op::Dropout2d { .. })) {
                last += 1;
            }
        }
        groups.push([first, last]);
        first = last + 1;
    }
    groups
}

/// The stages of a network for batches of `batch` images.
pub(super) fn stages(gpu: &Gpu, network: &Network, batch: usize, keep: Keep) -> Vec<Stage> {
    let nodes = network.nodes();
    // Each dropout has its own masks.
    let mut dropouts = 0;
    let stage = |[first, last]: [usize; 2]| {
        let node = &nodes[first];
        let kind = if first == last {
            single(gpu, node, batch, dropouts)
        } else {
            let norm = norm_shape(gpu, node, batch);
            let shape = activation::Shape::new(norm, dropout_shape(&nodes[last], batch, dropouts));
            Kind::layer(layer::Activation { norm: layer::BatchNorm2d { shape: norm }, shape })
        };
        dropouts += usize::from(matches!(nodes[last].op, Op::Dropout { .. } | Op::Dropout2d { .. }));
        let place = match node.block {
            Some(block) => format!("block {}", block + 1),
            None => format!("layer {}", node.key),
        };
        Stage { kind, place, inputs: node.inputs.clone(), output: last + 1, nodes: [first, last] }
    };
    groups(nodes, keep).into_iter().map(stage).collect()
}

/// Bytes that training with batches of `batch` images takes on the device: values and gradients of the layers, and weights with their
/// gradients and the optimiser's memory; without the room that kernels need while they run.
pub fn training_bytes(network: &Network, batch: usize) -> usize {
    let nodes = network.nodes();
    let kept =
        groups(nodes, Keep::Needed).into_iter().filter(|&[first, last]| first < last || !is_view(nodes[first].op));
    let made = kept.map(|[_, last]| nodes[last].output);
    let numbers = |[channels, height, width]: [usize; 3]| batch * height * width * padded(channels);
    let maps: usize = made.chain([network.input()]).map(numbers).sum();
    let weights: usize = network.parameters().iter().map(|parameter| parameter.layout.packed_len()).sum();
    4 * (2 * maps + 4 * weights)
}

/// Whether an operation changes no number, in any mode.
fn is_view(op: Op) -> bool {
    matches!(op, Op::Identity | Op::Flatten | Op::Dropout { p: 0.0 } | Op::Dropout2d { p: 0.0 })
}

impl Kind {
    fn layer(layer: impl Layer + 'static) -> Self {
        Self::Layer(Box::new(layer))
    }

    fn biased(layer: impl Layer + 'static, bias: Option<bias::Shape>) -> Self {
        match bias {
            Some(bias) => Self::layer(layer::Biased { layer, bias }),
            None => Self::layer(layer),
        }
    }
}

fn norm_shape(gpu: &Gpu, node: &Node, batch: usize) -> batch_norm::Shape {
    let [channels, height, width] = node.output;
    batch_norm::Shape::new(gpu.shares_sums(), batch, channels, height * width)
}

/// Dropout number `number` of the network; one that drops nothing, if the node is none.
fn dropout_shape(node: &Node, batch: usize, number: usize) -> dropout::Shape {
    let [channels, height, width] = node.output;
    let (p, whole_channels) = match node.op {
        Op::Dropout { p } => (p, false),
        Op::Dropout2d { p } => (p, true),
        _ => (0.0, true),
    };
    dropout::Shape::new(batch, channels, height * width, p, whole_channels, number)
}

/// Numbers that a linear layer gets of maps of this shape.
fn inputs_of([channels, height, width]: [usize; 3]) -> usize {
    height * width * padded(channels)
}

/// The convolution of all channels that an operation runs as, if it does.
fn convolution(node: &Node, batch: usize) -> Option<conv2d::Shape> {
    match node.op {
        Op::Conv2d { out_channels, kernel_size, stride, padding, groups: 1, .. } => {
            Some(conv2d::Shape::new(batch, node.input, out_channels, [kernel_size; 2], stride, padding))
        }
        Op::Linear { out_features } if inputs_of(node.input) * out_features > MAX_LINEAR => {
            Some(conv2d::Shape::new(batch, [inputs_of(node.input), 1, 1], out_features, [1; 2], 1, 0))
        }
        _ => None,
    }
}

/// The convolutions of all channels that a network runs, in its order; a large linear layer is one.
pub fn convolutions(network: &Network, batch: usize) -> Vec<conv2d::Shape> {
    network.nodes().iter().filter_map(|node| convolution(node, batch)).collect()
}

/// The kernels of one operation.
fn single(gpu: &Gpu, node: &Node, batch: usize, dropouts: usize) -> Kind {
    let (input, [channels, height, width]) = (node.input, node.output);
    let pixels = height * width;
    match node.op {
        Op::Conv2d { kernel_size, stride, padding, groups, bias, .. } => {
            let bias = bias.then(|| bias::Shape::new(gpu.shares_sums(), batch, channels, pixels));
            if groups > 1 {
                let shape = depthwise::Shape::new(batch, input, kernel_size, stride, padding);
                return Kind::biased(layer::Depthwise { conv: depthwise::Depthwise::new(shape) }, bias);
            }
            let shape = convolution(node, batch).expect("it has one group");
            Kind::biased(layer::Conv2d { conv: conv2d::Conv2d::new(gpu, shape) }, bias)
        }
        Op::BatchNorm2d => Kind::layer(layer::BatchNorm2d { shape: norm_shape(gpu, node, batch) }),
        Op::ReLU | Op::ReLU6 => {
            let shape = relu::Shape { len: (batch * pixels * padded(channels) / 4) as u32 };
            if node.op == Op::ReLU { Kind::layer(layer::Relu { shape }) } else { Kind::layer(layer::Relu6 { shape }) }
        }
        Op::Dropout { .. } | Op::Dropout2d { .. } if !is_view(node.op) => {
            Kind::Dropout(layer::Dropout { shape: dropout_shape(node, batch, dropouts) })
        }
        Op::MaxPool2d { kernel_size, stride, padding } => {
            Kind::layer(layer::MaxPool2d { shape: max_pool2d::Shape::new(batch, input, kernel_size, stride, padding) })
        }
        Op::AvgPool2d { kernel_size, stride, padding } => {
            Kind::layer(layer::AvgPool2d { shape: avg_pool2d::Shape::new(batch, input, kernel_size, stride, padding) })
        }
        Op::AdaptiveAvgPool2d { output_size } => {
            Kind::layer(layer::AdaptiveAvgPool2d { shape: adaptive_avg_pool2d::Shape::new(batch, input, output_size) })
        }
        Op::Linear { out_features } => {
            if let Some(shape) = convolution(node, batch) {
                let bias = Some(bias::Shape::new(gpu.shares_sums(), batch, out_features, 1));
                return Kind::biased(layer::Conv2d { conv: conv2d::Conv2d::new(gpu, shape) }, bias);
            }
            Kind::layer(layer::Linear { shape: linear::Shape::new(batch, inputs_of(input), out_features) })
        }
        Op::Add => Kind::Add,
        Op::Identity | Op::Flatten | Op::Dropout { .. } | Op::Dropout2d { .. } => Kind::View,
    }
}
