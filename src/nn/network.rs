//! A network that exists: every value's shape, key and receptive field, worked out once from a [`Spec`].

use std::collections::BTreeSet;
use std::ops::Range;

use super::preparation::{Normalize, Preparation};
use super::spec::{Layer, Named, Op, Spec, SpecError};
use crate::nn::layout::{Layout, padded};

/// A value that the network works out: 0 are the images, node `i` makes value `i + 1`.
pub type Value = usize;

/// A network whose every layer fits the one before. Nothing else computes shapes, keys or receptive fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    input: [usize; 3],
    preparation: Preparation,
    nodes: Vec<Node>,
    blocks: Vec<Block>,
}

/// One operation at its place in the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What its weights' keys begin with in PyTorch's `state_dict`.
    pub key: String,
    /// What it gets: two values for [`Op::Add`], else one.
    pub inputs: Vec<Value>,
    /// Channels, height and width of what it gets.
    pub input: [usize; 3],
    /// Channels, height and width of what it makes; a vector of n numbers is n, 1, 1. [`Op::Flatten`] changes no shape here: that
    /// C, H, W are one vector matters only to a linear layer, which takes all of them.
    pub output: [usize; 3],
    /// What one number of its output sees of the image.
    pub field: Field,
    /// Whether its output may be below 0.
    pub signed: bool,
    /// The block that it belongs to, from 0.
    pub block: Option<usize>,
}

/// What the numbers of a map see of the image, in rows, and likewise in columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Rows that one number sees, padding included.
    pub size: usize,
    /// Rows from what one number sees to what the next sees.
    pub stride: usize,
    /// Rows above the image that the first number sees: 0 without padding.
    pub offset: usize,
}

/// A part of a network that is looked at, reset and left out as one: a [`Layer::Residual`], a [`Layer::Sequential`] that says
/// so, or otherwise a convolution; each with the layers that follow up to the next block, or to the first
/// [`Op::AdaptiveAvgPool2d`], [`Op::Flatten`] or [`Op::Linear`] behind the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Channels, height and width of what it gets.
    pub input: [usize; 3],
    /// Channels, height and width of what it makes.
    pub output: [usize; 3],
    /// Rows (and columns) of the image that one of its values sees, padding included.
    pub receptive_field: usize,
    /// Rows of the image from one of its values to the next.
    pub stride: usize,
    /// Rows above the image that its first value sees: 0 without padding.
    pub offset: usize,
    /// Its nodes.
    pub nodes: Range<usize>,
    /// What its last convolution makes.
    pub conv: Value,
    /// What its last batch norm makes; what the convolution makes, where there is none.
    pub norm: Value,
    /// What it makes.
    pub value: Value,
}

impl Block {
    /// The block of these nodes, if it has a convolution.
    fn of(nodes: &[Node], range: Range<usize>) -> Option<Self> {
        let of = &nodes[range.clone()];
        let made =
            |wanted: fn(&Op) -> bool| of.iter().rposition(|node| wanted(&node.op)).map(|at| range.start + at + 1);
        let conv = made(|op| matches!(op, Op::Conv2d { .. }))?;
        let Node { output, field: Field { size: receptive_field, stride, offset }, .. } = of[of.len() - 1];
        Some(Self {
            input: of[0].input,
            output,
            receptive_field,
            stride,
            offset,
            conv,
            norm: made(|op| *op == Op::BatchNorm2d).unwrap_or(conv),
            value: range.end,
            nodes: range,
        })
    }

    /// Rows and columns of an image of height and width `image` that its value in row `y` and column `x` sees, cut at the
    /// image's edge. A stride larger than the filters leaves gaps in between.
    pub fn receptive_window(&self, [y, x]: [usize; 2], image: [usize; 2]) -> [Range<usize>; 2] {
        let window = |position: usize, size: usize| {
            let first = position * self.stride;
            let end = (first + self.receptive_field).saturating_sub(self.offset).min(size);
            first.saturating_sub(self.offset).min(end)..end
        };
        [window(y, image[0]), window(x, image[1])]
    }

    /// Rows at the bottom and columns at the right of an image of height and width `image` that none of its values sees.
    /// What the last block does not see changes nothing.
    pub fn unread_border(&self, image: [usize; 2]) -> [usize; 2] {
        let [_, height, width] = self.output;
        let [rows, columns] = self.receptive_window([height - 1, width - 1], image);
        [image[0] - rows.end, image[1] - columns.end]
    }
}

/// A stored tensor of the network: a trained one or a running statistic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its key in PyTorch's `state_dict`.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// How it lies on the device.
    pub layout: Layout,
    /// How it starts.
    pub start: Start,
}

/// Initial values of a parameter, as PyTorch sets them by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in).
    Uniform {
        /// Inputs that one output adds up.
        fan_in: usize,
    },
    /// All the same.
    Constant(u8),
}

/// Turns that the loops of one invocation may make: a software driver silently stops them after 65,535.
const MAX_TURNS: usize = 60_000;
/// Channels, rows or columns of anything.
const MAX_SIZE: usize = 8192;
/// Numbers of a vector.
const MAX_FEATURES: usize = 65_536;

impl Spec {
    /// Works out the network. Cheap: nothing is allocated on a device.
    ///
    /// # Errors
    /// When a number is out of range or a layer does not fit the one before, naming it.
    pub fn build(&self) -> Result<Network, SpecError> {
        let [channels, height, width] = self.input;
        in_range("input", channels, 1..=MAX_SIZE, "1 to 8192 channels of an image")?;
        in_range("input", height.min(width), 1..=MAX_SIZE, "1 to 8192 pixels")?;
        in_range("input", height.max(width), 1..=MAX_SIZE, "1 to 8192 pixels")?;
        let mut builder = Builder::new(self.input);
        builder.sequence("", 0, &self.layers, 0, true)?;
        builder.finish()
    }

    /// The same with the blocks, counted from 1, that are wanted; the layers before the first block and behind the last stay.
    ///
    /// # Errors
    /// As [`Spec::build`].
    pub fn with_blocks(&self, wanted: impl Fn(usize) -> bool) -> Result<Self, SpecError> {
        let mut choice = Choice { wanted, block: 0, blocks: self.build()?.blocks.len(), head: false };
        Ok(Self { input: self.input, layers: choice.of(&self.layers) })
    }
}

/// Which layers stay where blocks are left out.
struct Choice<F> {
    wanted: F,
    /// The block that was met last, from 1.
    block: usize,
    blocks: usize,
    /// Whether the layers behind the last block have begun.
    head: bool,
}

impl<F: Fn(usize) -> bool> Choice<F> {
    fn of(&mut self, layers: &[Named]) -> Vec<Named> {
        let mut kept = Vec::new();
        for (index, Named { name, layer }) in layers.iter().enumerate() {
            let begins = layer.begins_block();
            self.block += usize::from(begins);
            self.head |= self.block == self.blocks && layer.is_head();
            let layer = match layer {
                Layer::Sequential { layers, block: false } => {
                    Layer::Sequential { layers: self.of(layers), block: false }
                }
                _ if self.head || self.block == 0 || (self.wanted)(self.block) => layer.clone(),
                _ => continue,
            };
            // Left out or not, a layer keeps the name that its weights have.
            kept.push(Named { name: Some(name.clone().unwrap_or_else(|| index.to_string())), layer });
        }
        kept
    }
}

impl Layer {
    /// Whether a block begins with it, unless it stands within one.
    fn begins_block(&self) -> bool {
        match self {
            Self::Op(op) => matches!(op, Op::Conv2d { .. }),
            Self::Sequential { block, .. } => *block,
            Self::Residual { .. } => true,
        }
    }

    /// Whether no block goes on with it, if it follows the last.
    fn is_head(&self) -> bool {
        matches!(self, Self::Op(Op::AdaptiveAvgPool2d { .. } | Op::Flatten | Op::Linear { .. }))
    }
}

fn in_range(
    field: &'static str,
    value: usize,
    range: std::ops::RangeInclusive<usize>,
    expected: &'static str,
) -> Result<(), SpecError> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(SpecError::OutOfRange { field, value: value.to_string(), expected })
    }
}

struct Builder {
    /// What there is so far, still without blocks.
    network: Network,
    /// The nodes that a block begins with.
    starts: BTreeSet<usize>,
    /// Where the layer ends that the last block begins with.
    begun: usize,
    /// The values that are vectors, no longer maps.
    vectors: BTreeSet<Value>,
}

impl Builder {
    fn new(input: [usize; 3]) -> Self {
        let network = Network { input, preparation: Preparation::default(), nodes: Vec::new(), blocks: Vec::new() };
        Self { network, starts: BTreeSet::new(), begun: 0, vectors: BTreeSet::new() }
    }

    /// Appends layers, numbered from `first`; `blocks` says whether blocks may begin among them. Returns the value that they make of
    /// `value`.
    fn sequence(
        &mut self,
        prefix: &str,
        first: usize,
        layers: &[Named],
        mut value: Value,
        blocks: bool,
    ) -> Result<Value, SpecError> {
        for (index, Named { name, layer }) in (first..).zip(layers) {
            let name = name.clone().unwrap_or_else(|| index.to_string());
            let key = [prefix, &name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
            let begins = blocks && layer.begins_block();
            if begins {
                self.starts.insert(self.network.nodes.len());
            }
            let blocks = blocks && !begins;
            value = match layer {
                Layer::Op(Op::Add) => {
                    let problem = "it stands in no list of layers: a Residual makes it".into();
                    return Err(SpecError::Layer { place: format!("Add {key}"), problem });
                }
                Layer::Op(op) => self.op(key, *op, vec![value])?,
                Layer::Sequential { layers, .. } => self.sequence(&key, 0, layers, value, blocks)?,
                Layer::Residual { path, .. } if path.is_empty() => {
                    let problem = "its path has no layer".into();
                    return Err(SpecError::Layer { place: format!("Residual {key}"), problem });
                }
                Layer::Residual { path, shortcut } => {
                    let along = self.sequence(&key, 0, path, value, blocks)?;
                    let across = self.sequence(&key, path.len(), shortcut, value, blocks)?;
                    self.op(key, Op::Add, vec![along, across])?
                }
            };
            if begins {
                if self.starts.last() == Some(&self.network.nodes.len()) {
                    let problem = "a block without a layer".into();
                    return Err(SpecError::Layer { place: format!("Sequential {name}"), problem });
                }
                self.begun = self.network.nodes.len();
            }
        }
        Ok(value)
    }

    /// The same operations for other images, without padding.
    fn again(nodes: &[Node], input: [usize; 3]) -> Result<Vec<Node>, SpecError> {
        let mut builder = Self::new(input);
        for node in nodes {
            builder.op(node.key.clone(), node.op.without_padding(), node.inputs.clone())?;
        }
        let mut made = builder.network.nodes;
        made.iter_mut().zip(nodes).for_each(|(node, old)| node.block = old.block);
        Ok(made)
    }

    /// Appends one operation.
    fn op(&mut self, key: String, op: Op, inputs: Vec<Value>) -> Result<Value, SpecError> {
        // What stands behind the last block has not begun before a layer of the head.
        let block = if Layer::Op(op).is_head() { None } else { self.starts.len().checked_sub(1) };
        let place = place(op, &key, block);
        let problem = |problem: String| SpecError::Layer { place: place.clone(), problem };
        let input = self.network.shape(inputs[0]);
        let field = self.network.field(inputs[0]);
        let [channels, height, width] = input;
        let of_maps =
            !matches!(op, Op::Linear { .. } | Op::ReLU | Op::ReLU6 | Op::Dropout { .. } | Op::Identity | Op::Add);
        let flat = self.vectors.contains(&inputs[0]);
        if flat && of_maps {
            return Err(problem("it needs maps, but gets a vector".into()));
        }
        let windows = |what: &'static str, kernel: usize, stride: usize, padding: usize| {
            if !(1..=16).contains(&stride) || kernel == 0 {
                return Err(problem(format!(
                    "a kernel_size of {kernel} with a stride of {stride}: expected a stride of 1 to 16"
                )));
            }
            if height.min(width) + 2 * padding < kernel {
                let place = place.clone();
                return Err(SpecError::TooSmall { place, what, height, width, kernel, padding });
            }
            let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
            Ok(([out(height), out(width)], field.windows(kernel, stride, padding)))
        };
        let (output, field) = match op {
            Op::Conv2d { out_channels, kernel_size, stride, padding, groups, .. } => {
                if !(1..=MAX_SIZE).contains(&out_channels) {
                    return Err(problem(format!("out_channels {out_channels}: expected 1 to {MAX_SIZE}")));
                }
                if !(1..=31).contains(&kernel_size) || padding >= kernel_size {
                    return Err(problem(format!(
                        "a kernel_size of {kernel_size} with a padding of {padding}: expected a kernel_size of 1 to 31 and less padding"
                    )));
                }
                if groups != 1 && (groups != channels || out_channels != channels) {
                    return Err(problem(format!(
                        "groups {groups}: expected 1, or {channels} with as many out_channels, for a filter a channel"
                    )));
                }
                let ([height, width], field) = windows("filters", kernel_size, stride, padding)?;
                ([out_channels, height, width], field)
            }
            Op::MaxPool2d { kernel_size, stride, padding } | Op::AvgPool2d { kernel_size, stride, padding } => {
                if !(1..=240).contains(&kernel_size) {
                    return Err(problem(format!("a kernel_size of {kernel_size}: expected 1 to 240")));
                }
                if padding > kernel_size / 2 {
                    return Err(problem(format!(
                        "a padding of {padding}: expected at most half the kernel_size of {kernel_size}"
                    )));
                }
                let ([height, width], field) = windows("windows", kernel_size, stride, padding)?;
                ([channels, height, width], field)
            }
            Op::AdaptiveAvgPool2d { output_size: [rows, columns] } => {
                if ![rows, columns].iter().all(|size| (1..=MAX_SIZE).contains(size)) {
                    return Err(problem(format!("output_size {rows} x {columns}: expected 1 to {MAX_SIZE}")));
                }
                let field = match (rows, columns) {
                    (1, 1) => field.all(height.max(width)),
                    _ => field.averaged(height, rows).wider(field.averaged(width, columns)),
                };
                ([channels, rows, columns], field)
            }
            Op::Linear { out_features, .. } => {
                if !flat {
                    return Err(problem(format!("it gets maps of {height} x {width} values: put Flatten before it")));
                }
                if !(1..=MAX_FEATURES).contains(&out_features) {
                    return Err(problem(format!("out_features {out_features}: expected 1 to {MAX_FEATURES}")));
                }
                ([out_features, 1, 1], field.all(height.max(width)))
            }
            Op::Dropout { p } | Op::Dropout2d { p } => {
                if !(0.0..1.0).contains(&p) {
                    return Err(problem(format!("p {p}: expected at least 0 and less than 1")));
                }
                (input, field)
            }
            Op::Add => {
                let other = self.network.shape(inputs[1]);
                if other != input {
                    let [first, second] = [input, other].map(|[c, h, w]| format!("{c} maps of {h} x {w}"));
                    return Err(problem(format!(
                        "the path makes {first}, the shortcut {second}: expected as many of the same size"
                    )));
                }
                if flat != self.vectors.contains(&inputs[1]) {
                    let problem = "one of path and shortcut makes maps, the other a vector: expected the same of both";
                    return Err(SpecError::Layer { place, problem: problem.into() });
                }
                (input, field.together(self.network.field(inputs[1])))
            }
            Op::BatchNorm2d | Op::ReLU | Op::ReLU6 | Op::Flatten | Op::Identity => (input, field),
        };
        let signed = match op {
            Op::ReLU | Op::ReLU6 => false,
            Op::Conv2d { .. } | Op::BatchNorm2d | Op::Linear { .. } => true,
            _ => inputs.iter().any(|&value| self.network.signed(value)),
        };
        let node = Node { op, key, inputs, input, output, field, signed, block: None };
        node.check_turns(&place)?;
        let flattens = node.op == Op::Flatten;
        self.network.nodes.push(node);
        let value = self.network.nodes.len();
        if flat || flattens {
            self.vectors.insert(value);
        }
        Ok(value)
    }

    fn finish(self) -> Result<Network, SpecError> {
        let Self { network: Network { input, preparation, mut nodes, .. }, starts, begun, .. } = self;
        let problem = |place: &str, problem: &str| SpecError::Layer { place: place.into(), problem: problem.into() };
        if starts.is_empty() {
            return Err(problem("the network", "it has no convolution"));
        }
        let classes = match nodes.last() {
            Some(Node { op: Op::Linear { .. }, output: [classes, 1, 1], .. }) => *classes,
            _ => return Err(problem("the last layer", "expected Linear, with one output a class")),
        };
        if !(2..=20_000).contains(&classes) {
            return Err(SpecError::Classes(classes));
        }
        // A value's gradient is summed from two parts at most.
        let mut uses = vec![0; nodes.len() + 1];
        let mut origin: Vec<Value> = (0..=nodes.len()).collect();
        for (number, node) in nodes.iter().enumerate() {
            if matches!(node.op, Op::Identity | Op::Flatten | Op::Dropout { .. } | Op::Dropout2d { .. }) {
                origin[number + 1] = origin[node.inputs[0]];
            } else {
                node.inputs.iter().for_each(|&input| uses[origin[input]] += 1);
            }
        }
        // That of the images has one, which every backward pass makes, wherever it begins.
        if uses[0] > 1 {
            return Err(problem("Residual", "it gets the images: put a layer before it"));
        }
        if uses.iter().any(|&uses| uses > 2) {
            return Err(problem(
                "Residual",
                "its path or shortcut begins with another Residual: put a layer before that",
            ));
        }
        let mut keys = BTreeSet::new();
        for node in nodes.iter().filter(|node| !node.parameters().is_empty()) {
            let place = format!("{} {}", node.op.name(), node.key);
            if node.key.is_empty() {
                return Err(problem(&place, "an empty name: expected one for its weights"));
            }
            if !keys.insert(&node.key) {
                return Err(problem(&place, "another layer has the same name: expected another"));
            }
        }
        let end = (begun..nodes.len()).find(|&node| Layer::Op(nodes[node].op).is_head());
        let end = end.ok_or_else(|| problem("the last layer", "expected it behind the last block, not within"))?;
        let ends = starts.iter().skip(1).copied().chain([end]);
        let mut blocks = Vec::with_capacity(starts.len());
        for (number, range) in starts.iter().copied().zip(ends).map(|(start, end)| start..end).enumerate() {
            nodes[range.clone()].iter_mut().for_each(|node| node.block = Some(number));
            let block = Block::of(&nodes, range)
                .ok_or_else(|| problem(&format!("block {}", number + 1), "it has no convolution"))?;
            blocks.push(block);
        }
        Ok(Network { input, preparation, nodes, blocks })
    }
}

impl Field {
    /// A pixel sees itself.
    const PIXEL: Self = Self { size: 1, stride: 1, offset: 0 };

    /// Through filters or windows.
    fn windows(self, kernel: usize, stride: usize, padding: usize) -> Self {
        // Ten strides of 16 are more than 32 bits hold, which is what a browser counts with.
        Self {
            size: (kernel - 1).saturating_mul(self.stride).saturating_add(self.size),
            stride: self.stride.saturating_mul(stride),
            offset: padding.saturating_mul(self.stride).saturating_add(self.offset),
        }
    }

    /// What all the `count` values of a row or column see together: more than one step on there is none.
    fn all(self, count: usize) -> Self {
        Self { size: (count - 1).saturating_mul(self.stride).saturating_add(self.size), stride: 0, offset: self.offset }
    }

    /// What each of `outputs` values sees that are means of shares of `count` values: the largest share, and from one to the next
    /// the values that there are for each. The shares overlap where the numbers do not divide.
    fn averaged(self, count: usize, outputs: usize) -> Self {
        let share = |output: usize| ((output + 1) * count).div_ceil(outputs) - output * count / outputs;
        let most = (0..outputs).map(share).max().unwrap_or(1);
        Self { stride: self.stride.saturating_mul((count / outputs).max(1)), ..self.windows(most, 1, 0) }
    }

    /// The larger of two.
    fn wider(self, other: Self) -> Self {
        if other.size > self.size { other } else { self }
    }

    /// What two values see that are added up.
    fn together(self, other: Self) -> Self {
        let offset = self.offset.max(other.offset);
        // Rows below the first row of the image.
        let below = |field: Self| field.size - field.offset.min(field.size);
        let size = below(self).max(below(other)).saturating_add(offset);
        Self { size, stride: self.stride.max(other.stride), offset }
    }
}

/// How a layer is named in errors: "Conv2d 5 of block 2".
fn place(op: Op, key: &str, block: Option<usize>) -> String {
    let block = block.map_or(String::new(), |block| format!(" of block {}", block + 1));
    format!("{} {key}{block}", op.name())
}

impl Node {
    /// How it is named in errors: "Conv2d 5 of block 2".
    pub fn place(&self) -> String {
        place(self.op, &self.key, self.block)
    }

    /// Name of the tensor that counts its training batches, if it is a batch norm.
    pub fn counter(&self) -> Option<String> {
        (self.op == Op::BatchNorm2d).then(|| format!("{}.num_batches_tracked", self.key))
    }

    /// Its trained tensors: weight, then bias.
    pub fn parameters(&self) -> Vec<Parameter> {
        let [inputs, height, width] = self.input;
        let vector = |name: &str, len: usize, start: Start| Parameter {
            name: format!("{}.{name}", self.key),
            shape: vec![len],
            layout: Layout::Vector { len },
            start,
        };
        let weight = |shape: Vec<usize>, layout: Layout, fan_in: usize| Parameter {
            name: format!("{}.weight", self.key),
            shape,
            layout,
            start: Start::Uniform { fan_in },
        };
        match self.op {
            Op::Conv2d { out_channels: outputs, kernel_size, groups, bias, .. } => {
                let taps = kernel_size * kernel_size;
                let inputs = inputs / groups;
                let layout = if groups > 1 {
                    Layout::Depthwise { channels: outputs, taps }
                } else {
                    Layout::Filters { outputs, inputs, taps }
                };
                let fan_in = inputs * taps;
                let weight = weight(vec![outputs, inputs, kernel_size, kernel_size], layout, fan_in);
                let bias = bias.then(|| vector("bias", outputs, Start::Uniform { fan_in }));
                [weight].into_iter().chain(bias).collect()
            }
            Op::Linear { out_features: outputs } => {
                let taps = height * width;
                let fan_in = inputs * taps;
                let weight = weight(vec![outputs, fan_in], Layout::Filters { outputs, inputs, taps }, fan_in);
                vec![weight, vector("bias", outputs, Start::Uniform { fan_in })]
            }
            Op::BatchNorm2d => {
                vec![vector("weight", inputs, Start::Constant(1)), vector("bias", inputs, Start::Constant(0))]
            }
            _ => Vec::new(),
        }
    }

    /// Its running statistics: mean, then variance.
    pub fn statistics(&self) -> Vec<Parameter> {
        if self.op != Op::BatchNorm2d {
            return Vec::new();
        }
        let len = self.output[0];
        [("running_mean", 0), ("running_var", 1)]
            .map(|(name, start)| Parameter {
                name: format!("{}.{name}", self.key),
                shape: vec![len],
                layout: Layout::Vector { len },
                start: Start::Constant(start),
            })
            .into()
    }

    /// Multiply-adds for one image, of the layers that have weights as PyTorch's users count them: of convolutions and linear
    /// layers.
    pub fn multiply_adds(&self) -> usize {
        let [channels, rows, columns] = self.output;
        match self.op {
            Op::Conv2d { kernel_size, groups, .. } => {
                channels * rows * columns * kernel_size * kernel_size * (self.input[0] / groups)
            }
            Op::Linear { out_features, .. } => self.input.iter().product::<usize>() * out_features,
            _ => 0,
        }
    }

    /// Checks how many terms a kernel of it has to add up.
    fn check_turns(&self, place: &str) -> Result<(), SpecError> {
        let [channels, height, width] = self.input;
        let terms = match self.op {
            Op::Conv2d { kernel_size, out_channels, groups, .. } => {
                let vectors = if groups > 1 { 1 } else { channels.max(out_channels).div_ceil(4) };
                kernel_size * (kernel_size * (vectors + 1) + 1)
            }
            Op::AdaptiveAvgPool2d { output_size: [rows, columns] } => {
                // Windows of a size that does not divide the map begin and end within a row.
                let longest =
                    |size: usize, windows: usize| size.div_ceil(windows) + usize::from(!size.is_multiple_of(windows));
                longest(height, rows) * (longest(width, columns) + 1)
            }
            Op::Linear { .. } => (height * width).saturating_mul(padded(channels) / 4),
            _ => 0,
        };
        if terms <= MAX_TURNS {
            return Ok(());
        }
        Err(SpecError::TooManyTerms { place: place.into(), terms, most: MAX_TURNS })
    }
}

impl Network {
    /// Channels, height and width of an image.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// The same for images that are prepared like this.
    pub fn prepared(self, preparation: Preparation) -> Self {
        Self { preparation, ..self }
    }

    /// How its images are prepared.
    pub fn preparation(&self) -> Preparation {
        self.preparation
    }

    /// How the colours of its images become numbers.
    pub fn normalize(&self) -> Normalize {
        self.preparation.normalize
    }

    /// Its operations, in an order in which each follows what it needs.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Its blocks, first to last.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The last block.
    pub fn last_block(&self) -> &Block {
        self.blocks.last().expect("a network has a block")
    }

    /// How many classes it tells apart.
    pub fn classes(&self) -> usize {
        self.nodes.last().expect("a network has a layer").output[0]
    }

    /// Channels, height and width of a value.
    pub fn shape(&self, value: Value) -> [usize; 3] {
        value.checked_sub(1).map_or(self.input, |node| self.nodes[node].output)
    }

    /// What one number of a value sees of the image.
    pub fn field(&self, value: Value) -> Field {
        value.checked_sub(1).map_or(Field::PIXEL, |node| self.nodes[node].field)
    }

    /// Whether a value may be below 0.
    pub fn signed(&self, value: Value) -> bool {
        value.checked_sub(1).is_none_or(|node| self.nodes[node].signed)
    }

    /// Whether training drops anything: its dropouts have a probability above 0.
    pub fn drops(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.op, Op::Dropout { p } | Op::Dropout2d { p } if p > 0.0))
    }

    /// The value of the logits.
    pub fn logits(&self) -> Value {
        self.nodes.len()
    }

    /// The nodes behind the last block, where in evaluation all of them are linear: pooling to means, Flatten, Linear, and what does
    /// nothing. Then the logits are a weighted sum of the last block's values, plus a constant.
    pub fn linear_tail(&self) -> Option<&[Node]> {
        let linear = |node: &Node| {
            use Op::{AdaptiveAvgPool2d, Dropout, Dropout2d, Flatten, Identity, Linear};
            matches!(
                node.op,
                AdaptiveAvgPool2d { .. } | Flatten | Linear { .. } | Identity | Dropout { .. } | Dropout2d { .. }
            )
        };
        let tail = &self.nodes[self.last_block().nodes.end..];
        tail.iter().all(linear).then_some(tail)
    }

    /// Its layers up to block `number`, from 0, for images as large as one of the block's values sees, and without padding, since a
    /// value in the midst of a map sees none. For images of its own size, and as it is, where those are smaller than that or
    /// its layers do not fit one another without padding, as those of a residual block do not.
    pub fn seen_by(&self, number: usize) -> Self {
        let nodes = &self.nodes[..self.blocks[number].nodes.end];
        let [channels, height, width] = self.input;
        let side = self.blocks[number].receptive_field;
        let small =
            (side <= height.min(width)).then(|| Builder::again(nodes, [channels, side, side])).and_then(Result::ok);
        let (input, nodes) =
            small.map_or_else(|| (self.input, nodes.to_vec()), |nodes| ([channels, side, side], nodes));
        let blocks = self.blocks[..=number].iter();
        let blocks =
            blocks.map(|block| Block::of(&nodes, block.nodes.clone()).expect("it has a convolution")).collect();
        Self { input, preparation: self.preparation, nodes, blocks }
    }

    /// The fewest images that batch norm can learn from: with one image, a map of one value is its own mean.
    pub fn least_batch(&self) -> usize {
        let single = |node: &Node| node.op == Op::BatchNorm2d && node.output[1..] == [1, 1];
        if self.nodes.iter().any(single) { 2 } else { 1 }
    }

    /// All trained tensors, node by node.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.nodes.iter().flat_map(Node::parameters).collect()
    }

    /// The trained tensors of a block, from 0.
    pub fn block_parameters(&self, number: usize) -> Vec<Parameter> {
        self.nodes[self.blocks[number].nodes.clone()].iter().flat_map(Node::parameters).collect()
    }

    /// The running statistics of all batch norms, node by node, which are stored with the weights.
    pub fn statistics(&self) -> Vec<Parameter> {
        self.nodes.iter().flat_map(Node::statistics).collect()
    }

    /// Names of the tensors that count the training batches of each batch norm.
    pub fn counters(&self) -> impl Iterator<Item = String> {
        self.nodes.iter().filter_map(Node::counter)
    }

    /// How many numbers are trained.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|parameter| parameter.layout.len()).sum()
    }

    /// Multiply-adds for one image.
    pub fn multiply_adds(&self) -> usize {
        self.nodes.iter().map(Node::multiply_adds).sum()
    }
}
