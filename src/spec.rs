//! What a network looks like: its layers, their geometry, and the names of its weights in PyTorch.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::layout::{Layout, padded};

/// What stands between the last block and the linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "native", derive(clap::ValueEnum))]
pub enum Head {
    /// `AdaptiveAvgPool2d(1), Flatten`: the mean of each map.
    #[cfg_attr(feature = "native", value(name = "avgpool"))]
    AvgPool,
    /// `Flatten`: every value of every map.
    Flatten,
}

/// A network of blocks `Conv2d(bias=False), BatchNorm2d, ReLU, Dropout2d`, then the head, `Linear(.., hidden)` and
/// `Linear(hidden, classes)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Channels, height and width of a picture.
    pub input: [usize; 3],
    /// Output channels of each block.
    pub channels: Vec<usize>,
    /// Height and width of the filters.
    pub kernel: usize,
    /// Stride of the convolutions.
    pub stride: usize,
    /// Zero padding of the convolutions on every side.
    pub padding: usize,
    /// Probability to drop a channel in training.
    pub dropout: f32,
    /// What stands between the last block and the linear layers.
    pub head: Head,
    /// Outputs of the first linear layer.
    pub hidden: usize,
    /// Outputs of the second.
    pub classes: usize,
}

/// Why a network cannot be built. The messages name the program's options.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// A number is out of its range.
    #[error("--{option} {value}: {expected}")]
    OutOfRange {
        /// Name of the option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A map shrinks to nothing.
    #[error(
        "block {block} would get maps of {height} x {width} values, too small for its {kernel} x {kernel} filters with padding {padding}: \
         raise --size or --padding, or lower --stride, --kernel or the number of --channels"
    )]
    TooSmall {
        /// Number of the block, from 1.
        block: usize,
        /// Height of its input.
        height: usize,
        /// Width of its input.
        width: usize,
        /// Size of its filters.
        kernel: usize,
        /// Its padding.
        padding: usize,
    },
    /// An output would add up more terms than a kernel can take.
    #[error("{what} would have to add up {terms} terms at once, more than {MOST_TURNS}: {remedy}")]
    TooManyTerms {
        /// Which layer.
        what: String,
        /// Turns of the kernel's loops.
        terms: usize,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The data has too few or too many classes.
    #[error("{0} classes: expected 2 to 20000")]
    Classes(usize),
}

impl SpecError {
    /// The message about what a file says: but for the size, its fields are named like the options.
    pub(crate) fn of_file(&self) -> String {
        self.to_string().replace("--size", "input").replace("--", "")
    }
}

/// Turns that the loops of one invocation may make: a software driver silently stops them after 65,535.
const MOST_TURNS: usize = 60_000;

/// Geometry of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Channels, height and width of what it gets.
    pub input: [usize; 3],
    /// Channels, height and width of what it makes.
    pub output: [usize; 3],
    /// Rows (and columns) of the picture that one of its values sees, padding included.
    pub receptive_field: usize,
    /// Rows of the picture from one of its values to the next.
    pub stride: usize,
    /// Rows above the picture that its first value sees: 0 without padding.
    pub offset: usize,
}

impl Block {
    /// Rows and columns of a picture of height and width `picture` that its value in row `y` and column `x` sees, cut at the
    /// picture's edge. A stride larger than the filters leaves gaps in between.
    pub fn receptive_window(&self, [y, x]: [usize; 2], picture: [usize; 2]) -> [Range<usize>; 2] {
        let window = |position: usize, size: usize| {
            let first = position * self.stride;
            let end = (first + self.receptive_field).saturating_sub(self.offset).min(size);
            first.saturating_sub(self.offset).min(end)..end
        };
        [window(y, picture[0]), window(x, picture[1])]
    }

    /// Rows at the bottom and columns at the right of a picture of height and width `picture` that none of its values sees.
    /// What the last block does not see changes nothing.
    pub fn unread_border(&self, picture: [usize; 2]) -> [usize; 2] {
        let [_, height, width] = self.output;
        let [rows, columns] = self.receptive_window([height - 1, width - 1], picture);
        [picture[0] - rows.end, picture[1] - columns.end]
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

impl Spec {
    /// The network of dogs against cats: five blocks of 16 to 256 channels, filters of 3 x 3, stride 2, dropout 0.1,
    /// average pooling, 64 hidden values; for square pictures of `size` pixels.
    pub fn dogs_vs_cats(size: usize, classes: usize) -> Self {
        Self {
            input: [3, size, size],
            channels: vec![16, 32, 64, 128, 256],
            kernel: 3,
            stride: 2,
            padding: 0,
            dropout: 0.1,
            head: Head::AvgPool,
            hidden: 64,
            classes,
        }
    }

    /// The blocks' geometry, first to last. Cheap: nothing is allocated on a device.
    ///
    /// # Errors
    /// When a number is out of range or a map shrinks to nothing, naming the option or the block.
    pub fn blocks(&self) -> Result<Vec<Block>, SpecError> {
        self.check_ranges()?;
        let mut blocks: Vec<Block> = Vec::with_capacity(self.channels.len());
        let mut input = self.input;
        let mut receptive_field = 1;
        let mut stride = 1;
        let mut offset = 0;
        for (number, &channels) in (1..).zip(&self.channels) {
            let [_, height, width] = input;
            if height.min(width) + 2 * self.padding < self.kernel {
                let (kernel, padding) = (self.kernel, self.padding);
                return Err(SpecError::TooSmall { block: number, height, width, kernel, padding });
            }
            let out = |size: usize| (size + 2 * self.padding - self.kernel) / self.stride + 1;
            let output = [channels, out(height), out(width)];
            // Ten strides of 16 are more than 32 bits hold, which is what a browser counts with.
            receptive_field = ((self.kernel - 1).saturating_mul(stride)).saturating_add(receptive_field);
            offset = self.padding.saturating_mul(stride).saturating_add(offset);
            stride = stride.saturating_mul(self.stride);
            blocks.push(Block { input, output, receptive_field, stride, offset });
            input = output;
        }
        self.check_turns(&blocks)?;
        Ok(blocks)
    }

    fn check_turns(&self, blocks: &[Block]) -> Result<(), SpecError> {
        let check = |terms: usize, what: String, remedy| {
            if terms <= MOST_TURNS { Ok(()) } else { Err(SpecError::TooManyTerms { what, terms, remedy }) }
        };
        for (number, block) in (1..).zip(blocks) {
            let vectors = block.input[0].max(block.output[0]).div_ceil(4);
            let turns = self.kernel * (self.kernel * (vectors + 1) + 1);
            check(turns, format!("a value of block {number}"), "lower --kernel or --channels")?;
        }
        let [channels, height, width] = blocks.last().expect("there is at least one block").output;
        match self.head {
            Head::AvgPool => check(
                height * (width + 1),
                format!("the average over the last maps, {height} x {width},"),
                "lower --size, or raise --stride or the number of --channels",
            ),
            Head::Flatten => check(
                (height * width).saturating_mul(padded(channels) / 4),
                format!("the linear layer behind {channels} maps of {height} x {width}"),
                "use --head avgpool, a smaller --size or more blocks",
            ),
        }
    }

    fn check_ranges(&self) -> Result<(), SpecError> {
        let check = |good: bool, option, value: &dyn std::fmt::Display, expected| {
            if good { Ok(()) } else { Err(SpecError::OutOfRange { option, value: value.to_string(), expected }) }
        };
        let [channels, height, width] = self.input;
        check((1..=8192).contains(&channels), "input", &channels, "expected 1 to 8192 channels of a picture")?;
        check(
            (1..=8192).contains(&height.min(width)) && height.max(width) <= 8192,
            "size",
            &height,
            "expected 1 to 8192 pixels",
        )?;
        let channels = self.channels.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        check(
            (1..=10).contains(&self.channels.len()),
            "channels",
            &channels,
            "expected 1 to 10 numbers, one for each block",
        )?;
        check(
            self.channels.iter().all(|channels| (1..=8192).contains(channels)),
            "channels",
            &channels,
            "expected 1 to 8192 channels in each block",
        )?;
        check((1..=31).contains(&self.kernel), "kernel", &self.kernel, "expected 1 to 31")?;
        check((1..=16).contains(&self.stride), "stride", &self.stride, "expected 1 to 16")?;
        check(self.padding < self.kernel, "padding", &self.padding, "expected less than --kernel")?;
        check((0.0..1.0).contains(&self.dropout), "dropout", &self.dropout, "expected at least 0 and less than 1")?;
        check((1..=65536).contains(&self.hidden), "hidden", &self.hidden, "expected 1 to 65536")?;
        if (2..=20_000).contains(&self.classes) { Ok(()) } else { Err(SpecError::Classes(self.classes)) }
    }

    /// The fewest pictures that batch norm can learn from: with one picture, a map of one value is its own mean.
    ///
    /// # Panics
    /// When [`Spec::blocks`] fails.
    pub fn least_batch(&self) -> usize {
        let blocks = self.blocks().expect("the geometry was checked");
        if blocks.iter().any(|block| block.output[1..] == [1, 1]) { 2 } else { 1 }
    }

    /// Channels, height and width of what the first linear layer gets.
    ///
    /// # Panics
    /// When [`Spec::blocks`] fails.
    pub fn features(&self) -> [usize; 3] {
        let blocks = self.blocks().expect("the geometry was checked");
        let [channels, height, width] = blocks.last().expect("there is at least one block").output;
        match self.head {
            Head::AvgPool => [channels, 1, 1],
            Head::Flatten => [channels, height, width],
        }
    }

    /// Index of a block's convolution in PyTorch's `nn.Sequential`, whose first module is an `Identity`; batch norm, ReLU
    /// and dropout follow at the next indices. `block` counts from 0.
    pub fn conv_index(&self, block: usize) -> usize {
        1 + 4 * block
    }

    /// Index of the first linear layer in PyTorch's `nn.Sequential`; the second follows.
    pub fn linear_index(&self) -> usize {
        let pooling = match self.head {
            Head::AvgPool => 2,
            Head::Flatten => 1,
        };
        self.conv_index(self.channels.len()) + pooling
    }

    /// All trained tensors in PyTorch's order: for each block the convolution's weight and batch norm's weight and bias,
    /// then weight and bias of the two linear layers.
    ///
    /// # Panics
    /// When [`Spec::blocks`] fails.
    pub fn parameters(&self) -> Vec<Parameter> {
        let filters = |index: usize, outputs: usize, inputs: usize, taps: usize, shape: Vec<usize>| Parameter {
            name: format!("{index}.weight"),
            shape,
            layout: Layout::Filters { outputs, inputs, taps },
            start: Start::Uniform { fan_in: inputs * taps },
        };
        let vector = |name: String, len: usize, start: Start| Parameter {
            name,
            shape: vec![len],
            layout: Layout::Vector { len },
            start,
        };

        let mut parameters = Vec::new();
        for (number, block) in self.blocks().expect("the geometry was checked").iter().enumerate() {
            let index = self.conv_index(number);
            let (inputs, outputs) = (block.input[0], block.output[0]);
            let shape = vec![outputs, inputs, self.kernel, self.kernel];
            parameters.push(filters(index, outputs, inputs, self.kernel * self.kernel, shape));
            parameters.push(vector(format!("{}.weight", index + 1), outputs, Start::Constant(1)));
            parameters.push(vector(format!("{}.bias", index + 1), outputs, Start::Constant(0)));
        }
        let [channels, height, width] = self.features();
        let layers = [(channels, height * width, self.hidden), (self.hidden, 1, self.classes)];
        for (index, (inputs, taps, outputs)) in (self.linear_index()..).zip(layers) {
            let fan_in = inputs * taps;
            parameters.push(filters(index, outputs, inputs, taps, vec![outputs, fan_in]));
            parameters.push(vector(format!("{index}.bias"), outputs, Start::Uniform { fan_in }));
        }
        parameters
    }

    /// The running statistics of each block's batch norm, mean and variance, which are stored with the weights.
    pub fn statistics(&self) -> Vec<Parameter> {
        let statistic = |block: usize, name: &str, start: u8| Parameter {
            name: format!("{}.{name}", self.conv_index(block) + 1),
            shape: vec![self.channels[block]],
            layout: Layout::Vector { len: self.channels[block] },
            start: Start::Constant(start),
        };
        let both = |block| [statistic(block, "running_mean", 0), statistic(block, "running_var", 1)];
        (0..self.channels.len()).flat_map(both).collect()
    }

    /// How many numbers are trained.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|parameter| parameter.layout.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_of_dogs_vs_cats_has_its_known_numbers() {
        let spec = Spec::dogs_vs_cats(128, 2);
        assert_eq!(spec.parameter_count(), 409_682);
        let blocks = spec.blocks().unwrap();
        assert_eq!(blocks.iter().map(|block| block.output[1]).collect::<Vec<_>>(), [63, 31, 15, 7, 3]);
        assert_eq!(blocks.iter().map(|block| block.receptive_field).collect::<Vec<_>>(), [3, 7, 15, 31, 63]);
        assert_eq!(blocks.iter().map(|block| block.stride).collect::<Vec<_>>(), [2, 4, 8, 16, 32]);
        let names: Vec<_> = spec.parameters().into_iter().map(|parameter| parameter.name).collect();
        assert_eq!(names[..4], ["1.weight", "2.weight", "2.bias", "5.weight"]);
        assert_eq!(names[15..], ["23.weight", "23.bias", "24.weight", "24.bias"]);
    }

    #[test]
    fn windows_are_cut_at_the_edge() {
        let blocks = Spec::dogs_vs_cats(128, 2).blocks().unwrap();
        assert_eq!(blocks[0].receptive_window([0, 62], [128; 2]), [0..3, 124..127]);
        assert_eq!(blocks[4].receptive_window([1, 2], [128; 2]), [32..95, 64..127]);
        for block in &blocks {
            assert_eq!(block.unread_border([128; 2]), [1, 1]);
        }
        // Two rows of padding before the first: filters of 5 begin at -2, 0, 2 and so on.
        let padded = Spec { kernel: 5, padding: 2, input: [3, 16, 20], ..Spec::dogs_vs_cats(16, 2) }.blocks().unwrap();
        assert_eq!(padded[0].receptive_window([0, 9], [16, 20]), [0..3, 16..20]);
        assert_eq!(padded[0].receptive_window([3, 1], [16, 20]), [4..9, 0..5]);
        assert_eq!(padded[1].receptive_window([1, 2], [16, 20]), [0..11, 2..15]);
        assert_eq!(padded[1].unread_border([16, 20]), [0, 0]);
    }

    #[test]
    fn later_blocks_may_leave_a_wider_border() {
        // Maps of 18, 8 and 3: block 2 does not see the last row of block 1.
        let spec = Spec { channels: vec![4, 4], ..Spec::dogs_vs_cats(18, 2) };
        let borders: Vec<_> = spec.blocks().unwrap().iter().map(|block| block.unread_border([18; 2])).collect();
        assert_eq!(borders, [[1, 1], [3, 3]]);
    }

    #[test]
    fn without_pooling_the_linear_layers_move_up() {
        let spec = Spec { head: Head::Flatten, ..Spec::dogs_vs_cats(128, 2) };
        assert_eq!(spec.linear_index(), 22);
        assert_eq!(spec.parameters()[15].shape, [64, 256 * 3 * 3]);
    }

    #[test]
    fn the_ladder_of_depths_has_its_known_sizes() {
        let count = |depth: usize| {
            let mut spec = Spec::dogs_vs_cats(128, 2);
            spec.channels.truncate(depth);
            spec.parameter_count()
        };
        assert_eq!([1, 2, 3, 4, 5].map(count), [1_682, 7_378, 27_986, 106_066, 409_682]);
    }

    #[test]
    fn a_map_that_shrinks_to_nothing_names_its_block() {
        let error = Spec::dogs_vs_cats(32, 2).blocks().unwrap_err();
        assert!(matches!(error, SpecError::TooSmall { block: 5, height: 1, width: 1, .. }), "{error}");
        assert!(error.to_string().contains("block 5"));
    }

    #[test]
    fn sums_too_long_for_a_kernel_are_refused() {
        let spec = Spec { channels: vec![16], ..Spec::dogs_vs_cats(640, 2) };
        let error = spec.blocks().unwrap_err().to_string();
        assert!(error.contains("the average over the last maps, 319 x 319,"), "{error}");
        let error = Spec { head: Head::Flatten, ..spec.clone() }.blocks().unwrap_err().to_string();
        assert!(error.contains("use --head avgpool"), "{error}");
        let error = Spec { kernel: 31, padding: 15, channels: vec![512, 16], ..spec }.blocks().unwrap_err().to_string();
        assert!(error.contains("block 1 would have to add up"), "{error}");
        assert_eq!(Spec::dogs_vs_cats(128, 1).blocks(), Err(SpecError::Classes(1)));
    }

    #[test]
    fn numbers_out_of_range_name_their_option() {
        let spec = Spec::dogs_vs_cats(128, 2);
        let bad = [
            (Spec { kernel: 0, ..spec.clone() }, "--kernel 0"),
            (Spec { stride: 0, ..spec.clone() }, "--stride 0"),
            (Spec { padding: 3, ..spec.clone() }, "--padding 3"),
            (Spec { dropout: 1.0, ..spec.clone() }, "--dropout 1"),
            (Spec { dropout: f32::NAN, ..spec.clone() }, "--dropout NaN"),
            (Spec { channels: vec![], ..spec.clone() }, "--channels"),
            (Spec { channels: vec![16, 0], ..spec.clone() }, "--channels 16,0"),
            (Spec { input: [0, 128, 128], ..spec.clone() }, "--input 0"),
            (Spec { input: [3, 0, 128], ..spec.clone() }, "--size 0"),
            (Spec { input: [usize::MAX; 3], ..spec.clone() }, "--input 18446744073709551615"),
        ];
        for (spec, message) in bad {
            let error = spec.blocks().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
