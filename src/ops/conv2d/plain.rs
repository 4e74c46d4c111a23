//! Each invocation by itself, its sums in registers: `shaders/conv2d_plain.wgsl`.

use super::{Shape, Step};
use crate::gpu::kernel::{kernel, tile};

tile! {
    /// How many results one invocation keeps in registers. A larger tile makes more of each loaded number, as long as the
    /// registers last.
    pub struct Tile {
        /// Pixels.
        pub pixels = PIXELS,
        /// Vectors of channels.
        pub vectors = VECTORS,
        /// Rows of a weight's gradient.
        pub rows = ROWS,
    }
}

impl Tile {
    /// For GPUs, whose registers hold little more than a hundred numbers before they spill.
    pub const GPU: Self = Self { pixels: 8, vectors: 2, rows: 3 };
    /// For software drivers: loads dominate there, and what spills stays in the processor's first cache.
    pub const SOFTWARE: Self = Self { pixels: 16, vectors: 4, rows: 9 };
}

/// Output pixels in a chunk of the weight's gradient: at least 256, so that little is left to add up; at most 60,000,
/// because a software driver stops an invocation's loops after 65,535 turns in all; and about 256 chunks in between.
pub(super) fn chunk(shape: &Shape) -> u64 {
    shape.output_pixels().div_ceil(256).clamp(256, 60_000)
}

impl Shape {
    fn vector_tiles(vectors: u32, tile: &Tile) -> u64 {
        vectors.div_ceil(tile.vectors).into()
    }

    /// Invocations of [`BackwardInput`]: one phase of pixels for each position within a stride.
    fn backward_input_threads(&self, tile: &Tile) -> u64 {
        let phase =
            u64::from(self.n) * u64::from(self.h.div_ceil(self.stride)) * u64::from(self.w.div_ceil(self.stride));
        let phases = u64::from(self.stride * self.stride);
        phases * phase.div_ceil(tile.pixels.into()) * Self::vector_tiles(self.cin, tile)
    }
}

kernel! {
    /// `y = x (*) weight`
    Forward("conv2d_plain", forward) {
        constant shape: Shape,
        tile tile: Tile,
        read x,
        read weight,
        write y,
    }
    threads |shape, tile| shape.output_pixels().div_ceil(tile.pixels.into()) * Shape::vector_tiles(shape.cout, tile);
    flops |shape| shape.flops();
}

kernel! {
    /// `dx =` gradient of the input
    BackwardInput("conv2d_plain", backward_input) {
        constant shape: Shape,
        tile tile: Tile,
        read transposed,
        read dy,
        write dx,
    }
    threads |shape, tile| shape.backward_input_threads(tile);
    flops |shape| shape.flops();
}

kernel! {
    /// `partial[chunk] =` gradient of the weight from one chunk of the live images' pixels
    BackwardWeight("conv2d_plain", backward_weight) {
        constant shape: Shape,
        tile tile: Tile,
        uniform step: Step,
        read x,
        read dy,
        write partial,
    }
    threads |shape, tile| {
        let chunks = shape.output_pixels().div_ceil(shape.chunk.into());
        chunks * shape.rows().div_ceil(tile.rows.into()) * Shape::vector_tiles(shape.cout, tile)
    };
    flops |shape| shape.flops();
}
