//! Depthwise Conv2d without bias, one filter a channel: `shaders/depthwise.wgsl`.

use super::conv2d::Parts;
use super::{Step, vectors};
use crate::gpu::kernel::{kernel, tile, uniform};
use crate::gpu::{Gpu, Plan, Tensor};

uniform! {
    /// Sizes of one depthwise convolution with square filters.
    pub struct Shape {
        /// Images in a batch.
        pub n: u32,
        /// Height of the input.
        pub h: u32,
        /// Width of the input.
        pub w: u32,
        /// Vectors of channels.
        pub channels: u32,
        /// Height of the output.
        pub oh: u32,
        /// Width of the output.
        pub ow: u32,
        /// Height and width of the filters.
        pub kernel: u32,
        /// Stride in both directions.
        pub stride: u32,
        /// Rows and columns of zeros on every side.
        pub padding: u32,
        /// Strips of outputs in a chunk of the weight's gradient.
        pub chunk: u32,
    }
}

/// The largest filter: its row of taps is unrolled.
pub const LARGEST_KERNEL: usize = 31;

impl Shape {
    /// Shape for `n` images of `channels` x `h` x `w`.
    ///
    /// # Panics
    /// When the filter does not fit the padded input, or is larger than [`LARGEST_KERNEL`].
    pub fn new(n: usize, [channels, h, w]: [usize; 3], kernel: usize, stride: usize, padding: usize) -> Self {
        assert!(
            kernel <= h.min(w) + 2 * padding,
            "depthwise: a filter of {kernel} does not fit {h} x {w} with a padding of {padding}"
        );
        assert!(kernel <= LARGEST_KERNEL, "depthwise: a filter of {kernel} is larger than {LARGEST_KERNEL}");
        let [oh, ow] = [h, w].map(|size| (size + 2 * padding - kernel) / stride + 1);
        let [n, h, w, channels, oh, ow, kernel, stride, padding] =
            [n, h, w, vectors(channels), oh, ow, kernel, stride, padding].map(|size| size as u32);
        Self { n, h, w, channels, oh, ow, kernel, stride, padding, chunk: 1 }
    }

    /// Strips of outputs, over all images.
    fn output_strips(&self, tile: &Tile) -> u64 {
        u64::from(self.n) * u64::from(self.oh) * u64::from(self.ow.div_ceil(tile.pixels))
    }

    /// Columns of inputs from the first strip's beginning, which is a multiple of the stride as seen from the padding's edge.
    fn input_columns(&self) -> u32 {
        self.w + self.padding % self.stride
    }

    /// Strips of inputs, over all images.
    fn input_strips(&self, tile: &Tile) -> u64 {
        u64::from(self.n) * u64::from(self.h) * u64::from(self.input_columns().div_ceil(tile.pixels))
    }

    /// Vectors of the weight.
    fn weight_vectors(&self) -> u64 {
        u64::from(self.kernel) * u64::from(self.kernel) * u64::from(self.channels)
    }

    /// Two for each multiply-add of the formula.
    fn flops(&self) -> u64 {
        2 * 4 * u64::from(self.n) * u64::from(self.oh) * u64::from(self.ow) * self.weight_vectors()
    }
}

tile! {
    /// What the WGSL knows as constants.
    pub struct Tile {
        /// Height and width of the filters.
        pub kernel = KERNEL,
        /// Stride in both directions.
        pub stride = STRIDE,
        /// Neighbours in a row that one invocation takes.
        pub pixels = PIXELS,
    }
}

impl Tile {
    /// Strips of at most `most` pixels that share `columns` as evenly as multiples of `unit` can.
    fn new(shape: &Shape, columns: u32, most: u32, unit: u32) -> Self {
        let pixels = columns.div_ceil(columns.div_ceil(most)).next_multiple_of(unit);
        Self { kernel: shape.kernel, stride: shape.stride, pixels }
    }
}

/// One depthwise convolution with the tiles that suit its sizes.
#[derive(Clone, Debug)]
pub struct Depthwise {
    shape: Shape,
    /// Strips of outputs.
    outputs: Tile,
    /// Strips of inputs, for their gradient.
    inputs: Tile,
}

impl Depthwise {
    /// Chooses tiles.
    pub fn new(shape: Shape) -> Self {
        Self::with_pixels(shape, 8)
    }

    /// With strips that span so many pixels of input, or hardly more.
    pub fn with_pixels(mut shape: Shape, pixels: u32) -> Self {
        let outputs = Tile::new(&shape, shape.ow, (pixels / shape.stride).max(1), 1);
        let inputs = Tile::new(&shape, shape.input_columns(), pixels, shape.stride);
        // At least 32 strips a chunk, so that little is left to add up; at most 60,000, because a software driver stops an
        // invocation's loops after 65,535 turns in all.
        shape.chunk = shape.output_strips(&outputs).div_ceil(256).clamp(32, 60_000) as u32;
        Self { shape, outputs, inputs }
    }

    /// The sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Parts that the weight's gradient is added up from.
    pub fn weight_parts(&self) -> Parts {
        let chunks = self.shape.output_strips(&self.outputs).div_ceil(self.shape.chunk.into());
        Parts::new(self.shape.weight_vectors(), chunks)
    }

    /// 32-bit numbers of the weight.
    pub fn weight_len(&self) -> usize {
        (4 * self.shape.weight_vectors()) as usize
    }

    /// Adds `y = x (*) weight`.
    pub fn forward(&self, gpu: &Gpu, plan: &mut Plan, place: &str, x: &Tensor, weight: &Tensor, y: &Tensor) {
        plan.add(gpu, place, &Forward { shape: self.shape, tile: self.outputs, x, weight, y });
    }

    /// Adds `dx =` gradient of the input.
    pub fn backward_input(&self, gpu: &Gpu, plan: &mut Plan, place: &str, weight: &Tensor, dy: &Tensor, dx: &Tensor) {
        plan.add(gpu, place, &BackwardInput { shape: self.shape, tile: self.inputs, weight, dy, dx });
    }

    /// Adds the gradient of the weight over the live images, in the parts of [`Depthwise::weight_parts`].
    #[allow(clippy::too_many_arguments)] // They are the tensors of the formula.
    pub fn backward_weight(
        &self,
        gpu: &Gpu,
        plan: &mut Plan,
        place: &str,
        step: &Tensor,
        x: &Tensor,
        dy: &Tensor,
        partial: &Tensor,
    ) {
        plan.add(gpu, place, &BackwardWeight { shape: self.shape, tile: self.outputs, step, x, dy, partial });
    }
}

kernel! {
    /// `y = x (*) weight`
    Forward("depthwise", forward) {
        constant shape: Shape,
        tile tile: Tile,
        read x,
        read weight,
        write y,
    }
    threads |shape, tile| shape.output_strips(tile) * u64::from(shape.channels);
    flops |shape| shape.flops();
}

kernel! {
    /// `dx =` gradient of the input
    BackwardInput("depthwise", backward_input) {
        constant shape: Shape,
        tile tile: Tile,
        read weight,
        read dy,
        write dx,
    }
    threads |shape, tile| shape.input_strips(tile) * u64::from(shape.channels);
    flops |shape| shape.flops();
}

kernel! {
    /// `partial[chunk] =` gradient of the weight from one chunk of the live images' outputs
    BackwardWeight("depthwise", backward_weight) {
        constant shape: Shape,
        tile tile: Tile,
        uniform step: Step,
        read x,
        read dy,
        write partial,
    }
    threads |shape, tile| {
        let chunks = shape.output_strips(tile).div_ceil(shape.chunk.into());
        chunks * u64::from(shape.kernel) * u64::from(shape.channels)
    };
    flops |shape| shape.flops();
}

#[cfg(test)]
mod tests {
    use super::{Depthwise, Shape};

    #[test]
    fn strips_suit_the_stride_and_chunks_the_limit_of_turns() {
        for (size, kernel, stride, padding) in
            [(1, 1, 1, 0), (17, 3, 1, 1), (112, 3, 2, 1), (15, 2, 3, 4), (9, 5, 12, 2)]
        {
            for n in [1, 1000, 1_000_000] {
                let conv = Depthwise::new(Shape::new(n, [5, size, size], kernel, stride, padding));
                let Depthwise { shape, outputs, inputs } = &conv;
                assert!((1..=8).contains(&outputs.pixels), "{outputs:?} of {shape:?}");
                assert_eq!(inputs.pixels % shape.stride, 0, "{inputs:?} of {shape:?}");
                // A software driver stops after 65,535 turns, of the sum over a chunk and of that over the chunks.
                let chunks = conv.weight_parts().chunks;
                assert!(shape.chunk <= 60_000 && chunks <= 60_000, "{chunks} of {}", shape.chunk);
            }
        }
    }

    #[test]
    fn strips_of_a_row_are_even() {
        // Two strips of 7, not of 8 and 6; with stride 2 and padding 1, 15 columns of inputs from the padding on.
        let conv = Depthwise::new(Shape::new(1, [4, 14, 14], 3, 1, 1));
        assert_eq!((conv.outputs.pixels, conv.inputs.pixels), (7, 7));
        let conv = Depthwise::new(Shape::new(1, [4, 14, 14], 3, 2, 1));
        assert_eq!((conv.outputs.pixels, conv.inputs.pixels), (4, 8));
    }

    #[test]
    #[should_panic(expected = "a filter of 5 does not fit 3 x 9 with a padding of 0")]
    fn a_filter_larger_than_the_map_is_refused() {
        Shape::new(1, [3, 3, 9], 5, 1, 0);
    }

    #[test]
    #[should_panic(expected = "a filter of 32 is larger than 31")]
    fn a_filter_that_is_too_large_is_refused() {
        Shape::new(1, [3, 40, 40], 32, 1, 0);
    }
}
