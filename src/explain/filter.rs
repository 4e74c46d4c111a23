//! One channel of a convolution, taken apart.

use std::ops::Range;

use serde::Serialize;

use crate::nn::checkpoint::Weights;
use crate::nn::{Node, Op};
use crate::ops::batch_norm::EPS;
use crate::reference::conv2d;

/// What makes one channel of a convolution's output.
pub struct Filter<'a> {
    /// The channels of the input that it reads.
    pub inputs: Range<usize>,
    /// (inputs, K, K)
    pub weights: &'a [f32],
    /// What is added to each number of the output.
    pub bias: f32,
    /// Of one input channel alone.
    shape: conv2d::Shape,
}

/// What one number of a convolution's output adds up.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// The channels of the input.
    pub inputs: Vec<usize>,
    /// Height and width of the filter.
    pub kernel: [usize; 2],
    /// Row and column of the input where it lies; less than 0 where padding begins.
    pub start: [isize; 2],
    /// What it lies on, (inputs, K, K): 0 beyond the edge.
    pub values: Vec<f32>,
    /// The filter.
    pub weights: Vec<f32>,
    /// Value times weight.
    pub products: Vec<f64>,
    /// The sum of the products of each input channel.
    pub sums: Vec<f64>,
    /// What is added to them.
    pub bias: f32,
    /// All of it.
    pub sum: f64,
    /// What the device made of it.
    pub output: f32,
}

impl<'a> Filter<'a> {
    /// That of a channel of a convolution; none of another layer, or where there is no such channel.
    pub fn new(node: &Node, weights: &'a Weights, channel: usize) -> Option<Self> {
        let Op::Conv2d { out_channels, kernel_size, stride, padding, groups, bias } = node.op else {
            return None;
        };
        let [channels, h, w] = node.input;
        let (inputs, outputs) = (channels / groups, out_channels / groups);
        let first = channel / outputs * inputs;
        let mut filters = weights.get(&format!("{}.weight", node.key)).chunks_exact(inputs * kernel_size * kernel_size);
        let shape = conv2d::Shape { n: 1, cin: 1, h, w, cout: 1, kernel: [kernel_size; 2], stride, padding };
        Some(Self {
            inputs: first..first + inputs,
            weights: filters.nth(channel)?,
            bias: if bias { weights.get(&format!("{}.bias", node.key))[channel] } else { 0.0 },
            shape,
        })
    }

    fn taps(&self) -> usize {
        self.shape.kernel.iter().product()
    }

    /// What each input channel adds to the output, (inputs, H, W) of the output; `input` is (C, H, W).
    ///
    /// # Panics
    /// When the input has another size.
    pub fn terms(&self, input: &[f32]) -> Vec<f32> {
        let maps = input.chunks_exact(self.shape.h * self.shape.w);
        let exact = |values: &[f32]| values.iter().map(|&value| value.into()).collect::<Vec<f64>>();
        let filters = self.weights.chunks_exact(self.taps());
        let of_channel = maps.skip(self.inputs.start).zip(filters);
        of_channel
            .flat_map(|(map, filter)| conv2d::forward(self.shape, &exact(map), &exact(filter)).value)
            .map(|value| value as f32)
            .collect()
    }

    /// Row and column of the input where the filter lies for this row and column of the output.
    fn start(&self, place: [usize; 2]) -> [isize; 2] {
        place.map(|at| (at * self.shape.stride) as isize - self.shape.padding as isize)
    }

    /// What the filter lies on for this row and column of the output, (inputs, K, K): 0 beyond the edge. `input` is (C, H, W).
    pub fn window(&self, input: &[f32], place: [usize; 2]) -> Vec<f32> {
        let conv2d::Shape { h, w, kernel: [_, kernel], .. } = self.shape;
        let [top, left] = self.start(place);
        let within = |start: isize, at: usize, size: usize| {
            usize::try_from(start + at as isize).ok().filter(|&inside| inside < size)
        };
        let value = |tap: usize| {
            let (channel, row, column) = (tap / self.taps(), tap % self.taps() / kernel, tap % kernel);
            let place = within(top, row, h).zip(within(left, column, w));
            place.map_or(0.0, |(row, column)| input[((self.inputs.start + channel) * h + row) * w + column])
        };
        (0..self.weights.len()).map(value).collect()
    }

    /// All that goes into one number of the output, which the device found to be `output`; none where there is no such place.
    pub fn cell(&self, input: &[f32], place: [usize; 2], output: &[f32]) -> Option<Cell> {
        let [height, width] = self.shape.out();
        let [row, column] = place;
        let output = *output.get(row * width + column).filter(|_| row < height && column < width)?;
        let values = self.window(input, place);
        let products: Vec<f64> =
            values.iter().zip(self.weights).map(|(&value, &weight)| f64::from(value) * f64::from(weight)).collect();
        let sums: Vec<f64> = products.chunks(self.taps()).map(|products| products.iter().sum()).collect();
        Some(Cell {
            sum: sums.iter().sum::<f64>() + f64::from(self.bias),
            inputs: self.inputs.clone().collect(),
            kernel: self.shape.kernel,
            start: self.start(place),
            weights: self.weights.to_vec(),
            bias: self.bias,
            values,
            products,
            sums,
            output,
        })
    }
}

/// Factor and offset of a channel of a batch norm in evaluation; none of another layer, or where there is no such channel.
pub fn affine(node: &Node, weights: &Weights, channel: usize) -> Option<[f64; 2]> {
    if node.op != Op::BatchNorm2d || channel >= node.output[0] {
        return None;
    }
    let number = |name: &str| f64::from(weights.get(&format!("{}.{name}", node.key))[channel]);
    let factor = number("weight") / (number("running_var") + f64::from(EPS)).sqrt();
    Some([factor, number("bias") - factor * number("running_mean")])
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::nn::Architecture;

    /// A plain, a padded and a depthwise convolution, whose values come out of `conv2d` as one.
    #[test]
    fn terms_and_cells_add_up_to_the_convolution() {
        let layers = r#"{"input": [3, 9, 8], "layers": [
            {"type": "Conv2d", "out_channels": 4, "kernel_size": 3, "stride": 2},
            {"type": "Conv2d", "out_channels": 6, "kernel_size": 3, "padding": 2, "bias": false},
            {"type": "Conv2d", "out_channels": 6, "kernel_size": 2, "padding": 1, "groups": 6},
            {"type": "AdaptiveAvgPool2d", "output_size": 1}, {"type": "Flatten"}, {"type": "Linear", "out_features": 2}]}"#;
        let network = serde_json::from_str::<Architecture>(layers).unwrap().build().unwrap();
        let weights = Weights::initial(&network, 3);
        let mut random = ChaCha8Rng::seed_from_u64(0);
        for (node, whole) in network.nodes().iter().zip([true, true, false]) {
            let Op::Conv2d { kernel_size, stride, padding, .. } = node.op else { panic!("{:?}", node.op) };
            let [cin, h, w] = node.input;
            let [cout, rows, columns] = node.output;
            let input: Vec<f32> = (0..cin * h * w).map(|_| random.random_range(-1.0..1.0)).collect();
            for channel in 0..cout {
                let filter = Filter::new(node, &weights, channel).unwrap();
                assert_eq!(filter.inputs, if whole { 0..cin } else { channel..channel + 1 });
                // All channels as one convolution of the reference, which knows nothing of groups.
                let shape = conv2d::Shape { cin: filter.inputs.len(), ..filter.shape };
                let x = &input[filter.inputs.start * h * w..filter.inputs.end * h * w];
                let [x, filters] =
                    [x, filter.weights].map(|values| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>());
                let want: Vec<f64> = conv2d::forward(shape, &x, &filters)
                    .value
                    .into_iter()
                    .map(|sum| sum + f64::from(filter.bias))
                    .collect();
                assert_eq!((shape.kernel, shape.stride, shape.padding), ([kernel_size; 2], stride, padding));

                let terms = filter.terms(&input);
                assert_eq!(terms.len(), filter.inputs.len() * rows * columns);
                let output: Vec<f32> = want.iter().map(|&value| value as f32).collect();
                for (at, &want) in want.iter().enumerate() {
                    let sum: f32 = terms.iter().skip(at).step_by(rows * columns).sum();
                    assert!((f64::from(sum + filter.bias) - want).abs() < 1e-5, "{} {channel} {at}", node.key);
                    let cell = filter.cell(&input, [at / columns, at % columns], &output).unwrap();
                    assert!((cell.sum - want).abs() < 1e-9 && cell.output == output[at], "{cell:?}");
                    assert!((cell.sums.iter().sum::<f64>() + f64::from(cell.bias) - cell.sum).abs() < 1e-12);
                }
                assert!(filter.cell(&input, [rows, 0], &output).is_none());
                assert!(filter.cell(&input, [0, columns], &output).is_none());
            }
            assert!(Filter::new(node, &weights, cout).is_none(), "there is no such channel");
            assert!(affine(node, &weights, 0).is_none(), "that is no batch norm");
        }
        assert!(Filter::new(network.nodes().last().unwrap(), &weights, 0).is_none(), "that is a linear layer");
    }

    #[test]
    fn a_batch_norm_is_a_factor_and_an_offset() {
        let layers = r#"{"input": [3, 4, 4], "layers": [{"type": "Conv2d", "out_channels": 2, "kernel_size": 3},
            {"type": "BatchNorm2d"}, {"type": "Flatten"}, {"type": "Linear", "out_features": 2}]}"#;
        let network = serde_json::from_str::<Architecture>(layers).unwrap().build().unwrap();
        let mut weights = Weights::initial(&network, 0);
        for (name, values) in
            [("weight", [2.0, -1.0]), ("bias", [0.5, 1.0]), ("running_mean", [3.0, 0.0]), ("running_var", [4.0, 0.25])]
        {
            weights.tensors.insert(format!("1.{name}"), values.to_vec());
        }
        let norm = &network.nodes()[1];
        let [factor, offset] = affine(norm, &weights, 0).unwrap();
        assert!((factor - 1.0).abs() < 1e-5 && (offset - -2.5).abs() < 1e-5, "{factor} {offset}");
        let [factor, offset] = affine(norm, &weights, 1).unwrap();
        assert!((factor - -2.0).abs() < 1e-4 && offset == 1.0, "{factor} {offset}");
        assert!(affine(norm, &weights, 2).is_none());
    }
}
