//! Whole networks in lock-step with the references: the device in `f32`, the references in `f64`, through the same batches. Every step
//! begins with the device's weights and momenta, so that what is compared is one step and not how a network doubles its differences.
//!
//! The gradient of a ReLU jumps where its input is 0. An input that is within rounding of 0 may come out on either side, and the whole
//! gradient with it. So where a step is out of its bounds, such inputs are tried on the other side, and how many were is told.

use std::collections::{BTreeMap, BTreeSet};

use convscope::gpu::Kernels;
use convscope::nn::checkpoint::Weights;
use convscope::nn::layout::pack_images;
use convscope::nn::{Architecture, Keep, Known, Model, Network, Node, Op, Optimizer, Strided};
use convscope::reference::{
    adaptive_avg_pool2d, add, avg_pool2d, batch_norm, bias, conv2d, cross_entropy, depthwise, linear, max_pool2d, relu,
    sgd,
};
use pollster::block_on;

use crate::Tally;
use crate::cases::{Random, wide};

const STEPS: u32 = 20;
const BATCH: usize = 8;
const LR: f64 = 0.02;
const MOMENTUM: f32 = 0.9;
const WEIGHT_DECAY: f32 = 1e-3;

/// A rounding.
const ULP: f64 = 1.0 / (1 << 23) as f64;
/// How far a weight may be off after a step: so many roundings of the largest of its tensor, which are its own,
const OF_WEIGHT: f64 = 2.0;
/// and so many of the largest move, as gradients have gone through the whole network twice.
const OF_MOVE: f64 = 256.0;
/// How near to 0 an input of a ReLU may be to come out on either side: so many roundings of the largest of its tensor.
const OF_CORNER: f64 = 16.0;

pub fn run(tally: &mut Tally) {
    let known = |name: &str, input: [usize; 3], width: f64| {
        let name = serde_json::from_value(name.into()).expect("the name is known");
        Architecture::Known(Known { name, input, width, classes: 3 }).spec().expect("it fits").build().expect("it fits")
    };
    let strided = Strided { channels: vec![4, 6, 9, 12, 16], dropout: 0.0, hidden: 10, ..Strided::dogs_vs_cats(96, 2) };
    let networks = [
        ("strided", strided.build().expect("it fits")),
        ("lenet5", known("lenet5", [3, 32, 32], 1.0)),
        ("resnet18", known("resnet18", [3, 64, 64], 0.0625)),
    ];
    for (name, network) in &networks {
        for kernels in [Kernels::Plain, Kernels::Tiled, Kernels::Subgroup] {
            follow(name, network, kernels, tally);
        }
    }
}

fn follow(name: &str, network: &Network, kernels: Kernels, tally: &mut Tally) {
    let device = crate::cases::Device::open(kernels, Default::default());
    let gpu = &device.gpu;
    let model = Model::new(gpu, network, BATCH, Keep::Needed).expect("it fits the device");
    let optimizer = Optimizer::Sgd { momentum: MOMENTUM, weight_decay: WEIGHT_DECAY };
    let step = model.training_step(gpu, &optimizer);
    let start = Weights::initial(network, 3);
    model.load(gpu, &start);
    let mut reference = Reference::new(network, &start);
    let mut worst = 0.0_f64;
    let mut turned = 0;
    for number in 1..=STEPS {
        let mut random = Random::of(number.into(), "images");
        let [channels, height, width] = network.input();
        let images = random.around(0.0, 1.0, BATCH * channels * height * width);
        let labels: Vec<u32> = (0..BATCH).map(|_| random.below(network.classes()) as u32).collect();
        model.set_batch(gpu, &pack_images(&images, BATCH, channels, height * width), &labels);
        model.set_step(gpu, &optimizer, LR, BATCH, 0, number);
        step.submit(gpu).expect("the device works");
        let weights = block_on(model.weights(gpu, number.into())).expect("the device works");
        let (compared, turned_now) = reference.nearest(&weights, wide(&images), &labels);
        turned += turned_now;
        for Compared { key, error, allowed } in compared {
            worst = worst.max(error / allowed);
            let place = || format!("{name}, {kernels} kernels, step {number}, {key}");
            let failed = || format!("{}: off by {error:e}, allowed {allowed:e}", place());
            tally.count((error <= allowed).then_some(()).ok_or_else(failed));
        }
        reference.weights = of_device(&weights.tensors);
        reference.momenta = of_device(&block_on(model.moments(gpu)).expect("the device works")[0]);
    }
    eprintln!(
        "  {name}, {kernels} kernels: the weights are off by at most {worst:.3} of what is allowed; {turned} inputs of a ReLU within \
         rounding of 0 were on the other side"
    );
}

/// Tensors of the device as the references take them.
fn of_device(tensors: &BTreeMap<String, Vec<f32>>) -> BTreeMap<String, Vec<f64>> {
    tensors.iter().map(|(key, values)| (key.clone(), wide(values))).collect()
}

/// A tensor after a step: how far it is off at most, and how far it may be.
struct Compared {
    key: String,
    error: f64,
    allowed: f64,
}

/// A network that trains in plain loops.
struct Reference<'a> {
    network: &'a Network,
    /// Weights and running statistics.
    weights: BTreeMap<String, Vec<f64>>,
    momenta: BTreeMap<String, Vec<f64>>,
}

/// What a node remembers from its forward pass.
enum Kept {
    Nothing,
    Statistics(batch_norm::Statistics<f64>),
    Indices(Vec<u32>),
}

/// A forward pass: every value, and what the nodes remember.
struct Pass {
    values: Vec<Vec<f64>>,
    kept: Vec<Kept>,
}

/// An input of a ReLU: the node's number, and the place in its tensor.
type Corner = (usize, usize);

impl<'a> Reference<'a> {
    fn new(network: &'a Network, weights: &Weights) -> Self {
        let all = weights.tensors.iter().map(|(name, values)| (name.clone(), wide(values))).collect();
        let zeros = network.parameters().into_iter().map(|parameter| {
            let len = parameter.layout.len();
            (parameter.name, vec![0.0; len])
        });
        Self { network, weights: all, momenta: zeros.collect() }
    }

    fn weight(&self, node: &Node, name: &str) -> &[f64] {
        &self.weights[&format!("{}.{name}", node.key)]
    }

    /// How far the device's weights are from those of a step, and how many inputs of a ReLU were taken on the other side for that.
    fn nearest(&self, weights: &Weights, images: Vec<f64>, labels: &[u32]) -> (Vec<Compared>, usize) {
        let pass = self.pass(images);
        let mut turned = BTreeSet::new();
        let mut best = self.compare(weights, &self.after(&pass, labels, &turned));
        let sum = |compared: &[Compared]| compared.iter().map(|one| one.error / one.allowed).sum::<f64>();
        for corner in self.corners(&pass) {
            if best.iter().all(|one| one.error <= one.allowed) {
                break;
            }
            turned.insert(corner);
            let other = self.compare(weights, &self.after(&pass, labels, &turned));
            if sum(&other) < sum(&best) {
                best = other;
            } else {
                turned.remove(&corner);
            }
        }
        (best, turned.len())
    }

    fn compare(&self, weights: &Weights, after: &BTreeMap<String, Vec<f64>>) -> Vec<Compared> {
        let largest = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0.0, |most, x| f64::max(most, x.abs()));
        let compare = |(key, want): (&String, &Vec<f64>)| {
            let got = weights.get(key);
            let finite = got.iter().all(|got| got.is_finite());
            let error = largest(&mut got.iter().zip(want).map(|(got, want)| f64::from(*got) - want));
            let moved = largest(&mut self.weights[key].iter().zip(want).map(|(before, after)| after - before));
            let allowed = ULP * (OF_WEIGHT * largest(&mut want.iter().copied()) + OF_MOVE * moved);
            Compared { key: key.clone(), error: if finite { error } else { f64::INFINITY }, allowed }
        };
        after.iter().map(compare).collect()
    }

    fn pass(&self, images: Vec<f64>) -> Pass {
        let mut pass = Pass { values: vec![images], kept: Vec::new() };
        for node in self.network.nodes() {
            let (value, keep) = self.forward(node, &pass.values);
            pass.values.push(value);
            pass.kept.push(keep);
        }
        pass
    }

    /// The inputs of ReLUs that are within rounding of 0.
    fn corners(&self, pass: &Pass) -> Vec<Corner> {
        let of_node = |(number, node): (usize, &Node)| {
            let x = &pass.values[node.inputs[0]];
            let near = ULP * OF_CORNER * x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            let places = (0..x.len()).filter(move |&place| node.op == Op::ReLU && x[place].abs() <= near);
            places.map(move |place| (number, place)).collect::<Vec<_>>()
        };
        self.network.nodes().iter().enumerate().flat_map(of_node).collect()
    }

    /// The weights after a step in which these inputs of ReLUs are on the other side of 0.
    fn after(&self, pass: &Pass, labels: &[u32], turned: &BTreeSet<Corner>) -> BTreeMap<String, Vec<f64>> {
        let (network, Pass { values, kept }) = (self.network, pass);
        let mut gradients: Vec<Vec<f64>> = values.iter().map(|value| vec![0.0; value.len()]).collect();
        let logits = network.logits();
        let shape = cross_entropy::Shape { n: BATCH, classes: network.classes() };
        gradients[logits] = cross_entropy::backward(shape, &values[logits], labels).value;
        let mut by_weights = BTreeMap::new();
        for (number, node) in network.nodes().iter().enumerate().rev() {
            let dy = gradients[number + 1].clone();
            for (input, mut dx) in self.backward(node, values, &kept[number], &dy, &mut by_weights) {
                for &(_, place) in turned.range((number, 0)..(number + 1, 0)) {
                    dx[place] = if values[input][place] > 0.0 { 0.0 } else { dy[place] };
                }
                gradients[input].iter_mut().zip(dx).for_each(|(sum, dx)| *sum += dx);
            }
        }
        let mut after = self.weights.clone();
        for (number, node) in network.nodes().iter().enumerate() {
            let Kept::Statistics(batch) = &kept[number] else { continue };
            let [_, height, width] = node.input;
            let [mean, variance] = ["running_mean", "running_var"].map(|name| self.weight(node, name));
            let moved = batch_norm::update_running(mean, variance, batch, 0.1, BATCH * height * width);
            after.insert(format!("{}.running_mean", node.key), moved.mean.value);
            after.insert(format!("{}.running_var", node.key), moved.variance.value);
        }
        let options = sgd::Options { lr: LR, momentum: MOMENTUM.into(), weight_decay: WEIGHT_DECAY.into() };
        for (name, gradient) in by_weights {
            let weights = after.get_mut(&name).expect("the network has it");
            sgd::step(options, weights, &gradient, &mut self.momenta[&name].clone());
        }
        after
    }

    fn forward(&self, node: &Node, values: &[Vec<f64>]) -> (Vec<f64>, Kept) {
        let x = &values[node.inputs[0]];
        let value = match node.op {
            Op::Conv2d { groups, bias: with_bias, .. } => {
                let weight = self.weight(node, "weight");
                let y = match groups {
                    1 => conv2d::forward(conv_shape(node), x, weight),
                    _ => depthwise::forward(depthwise_shape(node), x, weight),
                };
                if with_bias {
                    bias::forward(bias_shape(node), &y.value, self.weight(node, "bias")).value
                } else {
                    y.value
                }
            }
            Op::BatchNorm2d => {
                let shape = norm_shape(node);
                let statistics = batch_norm::statistics(shape, x);
                let [gamma, beta] = ["weight", "bias"].map(|name| self.weight(node, name));
                let y = batch_norm::forward(shape, x, &statistics, gamma, beta, 1e-5_f32.into());
                return (y.value, Kept::Statistics(statistics));
            }
            Op::MaxPool2d { .. } => {
                let (y, indices) = max_pool2d::forward(pool_shape(node), x);
                return (y, Kept::Indices(indices));
            }
            Op::AvgPool2d { .. } => avg_pool2d::forward(pool_shape(node), x).value,
            Op::AdaptiveAvgPool2d { .. } => adaptive_avg_pool2d::forward(adaptive_shape(node), x).value,
            Op::ReLU => relu::forward(x).value,
            Op::ReLU6 => relu::forward6(x).value,
            Op::Linear { .. } => {
                let [weight, bias] = ["weight", "bias"].map(|name| self.weight(node, name));
                linear::forward(linear_shape(node), x, weight, bias).value
            }
            Op::Add => add::forward(x, &values[node.inputs[1]]).value,
            Op::Dropout { p } | Op::Dropout2d { p } => {
                assert!(p == 0.0, "what is dropped is no concern of this test");
                x.clone()
            }
            Op::Flatten | Op::Identity => x.clone(),
        };
        (value, Kept::Nothing)
    }

    /// The gradients by a node's inputs; those by its weights are put into `by_weights`.
    fn backward(
        &self,
        node: &Node,
        values: &[Vec<f64>],
        kept: &Kept,
        dy: &[f64],
        by_weights: &mut BTreeMap<String, Vec<f64>>,
    ) -> Vec<(usize, Vec<f64>)> {
        let x = &values[node.inputs[0]];
        let mut put = |name: &str, gradient: Vec<f64>| by_weights.insert(format!("{}.{name}", node.key), gradient);
        let dx = match node.op {
            Op::Conv2d { groups, bias: with_bias, .. } => {
                let weight = self.weight(node, "weight");
                if with_bias {
                    put("bias", bias::backward(bias_shape(node), dy).value);
                }
                if groups == 1 {
                    put("weight", conv2d::backward_weight(conv_shape(node), x, dy).value);
                    conv2d::backward_input(conv_shape(node), weight, dy).value
                } else {
                    put("weight", depthwise::backward_weight(depthwise_shape(node), x, dy).value);
                    depthwise::backward_input(depthwise_shape(node), weight, dy).value
                }
            }
            Op::BatchNorm2d => {
                let Kept::Statistics(statistics) = kept else { panic!("it keeps them") };
                let gamma = self.weight(node, "weight");
                let all = batch_norm::backward(norm_shape(node), x, statistics, gamma, 1e-5_f32.into(), dy);
                put("weight", all.dgamma.value);
                put("bias", all.dbeta.value);
                all.dx.value
            }
            Op::MaxPool2d { .. } => {
                let Kept::Indices(indices) = kept else { panic!("it keeps them") };
                max_pool2d::backward(pool_shape(node), indices, dy).value
            }
            Op::AvgPool2d { .. } => avg_pool2d::backward(pool_shape(node), dy).value,
            Op::AdaptiveAvgPool2d { .. } => adaptive_avg_pool2d::backward(adaptive_shape(node), dy).value,
            Op::ReLU => relu::backward(x, dy).value,
            Op::ReLU6 => relu::backward6(x, dy).value,
            Op::Linear { .. } => {
                let shape = linear_shape(node);
                put("weight", linear::backward_weight(shape, x, dy).value);
                put("bias", linear::backward_bias(shape, dy).value);
                linear::backward_input(shape, self.weight(node, "weight"), dy).value
            }
            Op::Add => return node.inputs.iter().map(|input| (*input, dy.to_vec())).collect(),
            Op::Dropout { .. } | Op::Dropout2d { .. } | Op::Flatten | Op::Identity => dy.to_vec(),
        };
        vec![(node.inputs[0], dx)]
    }
}

fn conv_shape(node: &Node) -> conv2d::Shape {
    let Op::Conv2d { kernel_size, stride, padding, .. } = node.op else { panic!("{:?}", node.op) };
    let ([cin, h, w], cout) = (node.input, node.output[0]);
    conv2d::Shape { n: BATCH, cin, h, w, cout, kernel: [kernel_size; 2], stride, padding }
}

fn depthwise_shape(node: &Node) -> depthwise::Shape {
    let Op::Conv2d { kernel_size: kernel, stride, padding, .. } = node.op else { panic!("{:?}", node.op) };
    let [c, h, w] = node.input;
    depthwise::Shape { n: BATCH, c, h, w, kernel, stride, padding }
}

fn bias_shape(node: &Node) -> bias::Shape {
    let [c, height, width] = node.output;
    bias::Shape { n: BATCH, c, hw: height * width }
}

fn norm_shape(node: &Node) -> batch_norm::Shape {
    let [c, height, width] = node.output;
    batch_norm::Shape { n: BATCH, c, hw: height * width }
}

fn pool_shape(node: &Node) -> max_pool2d::Shape {
    let (Op::MaxPool2d { kernel_size: kernel, stride, padding }
    | Op::AvgPool2d { kernel_size: kernel, stride, padding }) = node.op
    else {
        panic!("{:?}", node.op)
    };
    let [c, h, w] = node.input;
    max_pool2d::Shape { n: BATCH, c, h, w, kernel, stride, padding }
}

fn adaptive_shape(node: &Node) -> adaptive_avg_pool2d::Shape {
    let ([c, h, w], [_, oh, ow]) = (node.input, node.output);
    adaptive_avg_pool2d::Shape { n: BATCH, c, h, w, oh, ow }
}

fn linear_shape(node: &Node) -> linear::Shape {
    linear::Shape { n: BATCH, inputs: node.input.iter().product(), outputs: node.output[0] }
}
