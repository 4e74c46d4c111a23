//! How single output values are made, for a page that shows it when the pointer rests on one.

use serde::Serialize;

use super::filter::Filter;
use super::saliency::by_magnitude;
use super::{Explanation, Lens};
use crate::nn::Op;
use crate::nn::checkpoint::Weights;
use crate::nn::layout::unpack_images;

/// Channels of each block that are taken apart.
const CHANNELS: usize = 4;

/// `hover.json`: in each block the channels that matter most, each at its strongest place.
#[derive(Serialize)]
pub struct Hover {
    blocks: Vec<HoverBlock>,
}

#[derive(Serialize)]
struct HoverBlock {
    block: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Channels of what the block gets.
    input_channels: usize,
    values: Vec<Made>,
}

/// One value: `conv` is the sum of `inputs[i] * weights[i]`; `norm = (conv - mean) / sqrt(variance + 1e-5) * gamma + beta`;
/// `relu = max(norm, 0)`.
#[derive(Serialize)]
struct Made {
    channel: usize,
    /// Row and column among the block's values.
    y: usize,
    x: usize,
    /// What the filter lies on, (input channel, row, column); zeros beyond the edge.
    inputs: Vec<f32>,
    /// The filter, in the same order.
    weights: Vec<f32>,
    conv: f32,
    mean: f32,
    variance: f32,
    gamma: f32,
    beta: f32,
    norm: f32,
    relu: f32,
}

impl Hover {
    /// Takes apart some values of an explanation.
    ///
    /// # Panics
    /// When the weights are another network's.
    pub fn new(lens: &Lens, weights: &Weights, explanation: &Explanation) -> Self {
        let network = lens.network();
        let [colours, height, width] = network.input();
        let mut image = explanation.image.clone();
        network.normalize().apply(&mut image);
        let mut before = unpack_images(&image, 1, colours, height * width);

        let mut blocks = Vec::new();
        for (number, (inside, geometry)) in explanation.inside.blocks.iter().zip(lens.blocks()).enumerate() {
            let [input_channels, ..] = geometry.input;
            let [_, height, width] = geometry.output;
            let before = std::mem::replace(&mut before, inside.relu.clone());
            // Other blocks are made in more steps than one value has room for.
            let [conv, norm, rest @ ..] = &network.nodes()[geometry.nodes.clone()] else { continue };
            let plain = norm.op == Op::BatchNorm2d && matches!(rest, [relu, ..] if relu.op == Op::ReLU);
            let Op::Conv2d { kernel_size: kernel, stride, padding, groups: 1, bias: false, .. } = conv.op else {
                continue;
            };
            if !plain || rest.iter().skip(1).any(|node| !matches!(node.op, Op::Dropout2d { .. } | Op::Dropout { .. })) {
                continue;
            }
            let of_norm = |kind: &str| weights.get(&format!("{}.{kind}", norm.key));

            let parts = &explanation.channels[number];
            let contributions: Vec<f64> = parts.iter().map(|part| part.contribution).collect();
            let order = by_magnitude(&contributions);
            let values = order.into_iter().take(CHANNELS).map(|channel| {
                let map = &inside.relu[channel * height * width..][..height * width];
                let place = (0..map.len()).max_by(|&a, &b| map[a].total_cmp(&map[b])).expect("a map has a value");
                let (y, x) = (place / width, place % width);
                let filter = Filter::new(conv, weights, channel).expect("it is a convolution");
                let at = channel * height * width + place;
                Made {
                    channel,
                    y,
                    x,
                    inputs: filter.window(&before, [y, x]),
                    weights: filter.weights.to_vec(),
                    conv: inside.conv[at],
                    mean: of_norm("running_mean")[channel],
                    variance: of_norm("running_var")[channel],
                    gamma: of_norm("weight")[channel],
                    beta: of_norm("bias")[channel],
                    norm: inside.norm[at],
                    relu: inside.relu[at],
                }
            });
            let values = values.collect();
            blocks.push(HoverBlock { block: number + 1, kernel, stride, padding, input_channels, values });
        }
        Self { blocks }
    }
}
