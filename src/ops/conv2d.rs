//! Conv2d without bias: `shaders/conv2d.wgsl`.

use super::{Step, vectors};
use crate::kernel::{Tile, kernel, uniform};

uniform! {
    /// Sizes of one convolution. Channels (`cin`, `cout`) are counted in vectors of four.
    pub struct Shape {
        /// Pictures in a batch.
        pub n: u32,
        /// Height of the input.
        pub h: u32,
        /// Width of the input.
        pub w: u32,
        /// Vectors of input channels.
        pub cin: u32,
        /// Height of the output.
        pub oh: u32,
        /// Width of the output.
        pub ow: u32,
        /// Vectors of output channels.
        pub cout: u32,
        /// Height of the filters.
        pub kernel_h: u32,
        /// Width of the filters.
        pub kernel_w: u32,
        /// Stride in both directions.
        pub stride: u32,
        /// Rows and columns of zeros on every side.
        pub padding: u32,
        /// Output pixels that one invocation of [`BackwardWeight`] adds up.
        pub chunk: u32,
    }
}

impl Shape {
    /// Shape of a convolution of `n` pictures of `cin` x `h` x `w` into `cout` channels.
    ///
    /// # Panics
    /// When the filter does not fit the padded input.
    pub fn new(
        n: usize,
        [cin, h, w]: [usize; 3],
        cout: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
    ) -> Self {
        let out = |size: usize, kernel: usize| (size + 2 * padding - kernel) / stride + 1;
        let (oh, ow) = (out(h, kernel[0]), out(w, kernel[1]));
        // At least 256 pixels, so that little is left to reduce; at most 60,000, because a software driver stops an
        // invocation's loops after 65,535 turns in all; and about 256 chunks in between.
        let chunk = (n * oh * ow).div_ceil(256).clamp(256, 60_000);
        let [n, h, w, cin, oh, ow, cout, kernel_h, kernel_w, stride, padding, chunk] =
            [n, h, w, vectors(cin), oh, ow, vectors(cout), kernel[0], kernel[1], stride, padding, chunk]
                .map(|size| size as u32);
        Self { n, h, w, cin, oh, ow, cout, kernel_h, kernel_w, stride, padding, chunk }
    }

    /// 32-bit numbers in the weight's partial gradients.
    pub fn partial_len(&self) -> usize {
        (self.chunks() * self.weight_vectors() * 4) as usize
    }

    fn chunks(&self) -> u64 {
        self.output_pixels().div_ceil(u64::from(self.chunk))
    }

    fn output_pixels(&self) -> u64 {
        u64::from(self.n) * u64::from(self.oh) * u64::from(self.ow)
    }

    fn rows(&self) -> u64 {
        u64::from(self.kernel_h * self.kernel_w * self.cin)
    }

    fn weight_vectors(&self) -> u64 {
        self.rows() * 4 * u64::from(self.cout)
    }

    fn cout_tiles(&self, tile: Tile) -> u64 {
        u64::from(self.cout).div_ceil(tile.vectors)
    }

    /// Invocations of [`BackwardInput`]: one phase of pixels for each position within a stride.
    fn backward_input_threads(&self, tile: Tile) -> u64 {
        let phase =
            u64::from(self.n) * u64::from(self.h.div_ceil(self.stride)) * u64::from(self.w.div_ceil(self.stride));
        u64::from(self.stride * self.stride) * phase.div_ceil(tile.pixels) * u64::from(self.cin).div_ceil(tile.vectors)
    }

    /// Two for each multiply-add, padding lanes and padding pixels included.
    fn flops(&self) -> u64 {
        2 * self.output_pixels() * self.weight_vectors() * 4
    }
}

kernel! {
    /// `y = x (*) weight`
    Forward("conv2d", forward) {
        constant shape: Shape,
        read x,
        read weight,
        write y,
    }
    threads |shape, tile| shape.output_pixels().div_ceil(tile.pixels) * shape.cout_tiles(tile);
    flops |shape| shape.flops();
}

kernel! {
    /// `dx =` gradient of the input
    BackwardInput("conv2d", backward_input) {
        constant shape: Shape,
        read weight,
        read dy,
        write dx,
    }
    threads |shape, tile| shape.backward_input_threads(tile);
    flops |shape| shape.flops();
}

kernel! {
    /// `partial[chunk] =` gradient of the weight from one chunk of the live pictures' pixels
    BackwardWeight("conv2d", backward_weight) {
        constant shape: Shape,
        uniform step: Step,
        read x,
        read dy,
        write partial,
    }
    threads |shape, tile| shape.chunks() * shape.rows().div_ceil(tile.rows) * shape.cout_tiles(tile);
    flops |shape| shape.flops();
}

kernel! {
    /// `dweight =` sum of the partials over the chunks
    ReduceWeight("conv2d", reduce_weight) {
        constant shape: Shape,
        read partials,
        write dweight,
    }
    threads |shape, _tile| shape.weight_vectors();
    flops |shape| shape.chunks() * shape.weight_vectors() * 4;
}
