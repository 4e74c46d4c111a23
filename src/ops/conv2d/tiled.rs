//! Products of matrices through workgroup memory: `shaders/conv2d_tiled.wgsl`. For large convolutions, see [`wide`](super::wide).
//!
//! An invocation keeps at most 32 sums in registers and a workgroup some 6 KiB in its memory, so that a GPU has room for
//! several workgroups at once: while one loads, others multiply. These limits are what an NVIDIA H100 liked best of some
//! fifty tiles a convolution (docs/measurements.md); how many workgroups are enough, [`TileLimits`](crate::gpu::TileLimits) say.

use super::{Shape, Step};
use crate::gpu::kernel::{WORKGROUP, kernel, tile};
use crate::gpu::{ProductLimits, WeightLimits};

tile! {
    /// Tile of [`Forward`] and [`BackwardInput`].
    pub struct Tile {
        /// Invocations side by side in the channels that are written. Divides 64.
        pub channel_lanes = CHANNEL_LANES,
        /// Vectors of these channels in each invocation.
        pub vectors = VECTORS,
        /// Pixels in each invocation.
        pub pixels = PIXELS,
        /// Vectors of the channels that are read in one step. Divides 64.
        pub depth = DEPTH,
    }
}

tile! {
    /// Tile of [`BackwardWeight`].
    pub struct WeightTile {
        /// Invocations side by side in the output channels.
        pub channel_lanes = CHANNEL_LANES,
        /// Vectors of output channels in each invocation.
        pub vectors = VECTORS,
        /// Invocations side by side in the rows. Times `channel_lanes`, divides 64.
        pub row_lanes = ROW_LANES,
        /// Rows in each invocation.
        pub rows = ROWS,
        /// Output pixels that are read in one step. Divides 64, and is at least 64 / `channel_lanes` / `row_lanes`.
        pub run = RUN,
    }
}

/// Multiply-adds of an invocation that cost as much as loading one vector into workgroup memory.
const LOAD: u32 = 20;

/// Invocations side by side in so many vectors of channels: a power of two, so that it divides 64. More than eight read
/// no faster from memory.
fn channel_lanes(channels: u32, vectors: u32) -> u32 {
    channels.div_ceil(vectors).next_power_of_two().min(8)
}

impl Tile {
    /// For [`Forward`].
    pub fn forward(shape: &Shape, limits: &ProductLimits) -> Self {
        Self::choose(shape.cin, shape.cout, limits, |tile| tile.forward_workgroups(shape))
    }

    /// For [`BackwardInput`].
    pub fn backward_input(shape: &Shape, limits: &ProductLimits) -> Self {
        Self::choose(shape.cout, shape.cin, limits, |tile| shape.busy(tile.input_workgroups(shape)))
    }

    /// The largest tile that leaves enough workgroups, or the one that makes most of them.
    fn choose(read: u32, written: u32, limits: &ProductLimits, workgroups: impl Fn(&Self) -> u64) -> Self {
        [(2, 1), (4, 1), (4, 2)]
            .into_iter()
            // At least four invocations read side by side.
            .filter(|(_, vectors)| *vectors == 1 || written >= 4 * vectors)
            .map(|(pixels, vectors)| {
                let channel_lanes = channel_lanes(written, vectors);
                let tile = Self { channel_lanes, vectors, pixels, depth: 1 };
                // A step loads 384 vectors at most: the more, the less room there is for other workgroups.
                let loads = tile.tile_pixels() + 4 * tile.tile_vectors();
                let fits = |depth: &u32| read.is_multiple_of(*depth) && loads * depth <= 384;
                Self { depth: [8, 4, 2].into_iter().find(fits).unwrap_or(1), ..tile }
            })
            .max_by_key(|tile| workgroups(tile).min(limits.workgroups.into()))
            .expect("there is a tile of one vector")
    }

    fn tile_pixels(&self) -> u32 {
        self.pixels * (WORKGROUP as u32 / self.channel_lanes)
    }

    fn tile_vectors(&self) -> u32 {
        self.vectors * self.channel_lanes
    }

    fn forward_workgroups(&self, shape: &Shape) -> u64 {
        let pixel_tiles = shape.output_pixels().div_ceil(self.tile_pixels().into());
        pixel_tiles * u64::from(shape.cout.div_ceil(self.tile_vectors()))
    }

    /// One phase of pixels for each position within a stride.
    fn input_workgroups(&self, shape: &Shape) -> u64 {
        let [rows, columns] = [shape.h, shape.w].map(|size| u64::from(size.div_ceil(shape.stride)));
        let pixel_tiles = (u64::from(shape.n) * rows * columns).div_ceil(self.tile_pixels().into());
        u64::from(shape.stride * shape.stride) * pixel_tiles * u64::from(shape.cin.div_ceil(self.tile_vectors()))
    }
}

impl WeightTile {
    /// The cheapest number of rows: more of them load less for each multiply-add, until they exceed those that there are.
    pub fn choose(shape: &Shape) -> Self {
        let channel_lanes = channel_lanes(shape.cout, 1);
        [1, 2, 4, 8]
            .into_iter()
            // Adding up more than eight groups would take too long, and two of them wait less for what they load than one.
            .filter(|row_lanes| (8..=32).contains(&(channel_lanes * row_lanes)))
            .map(|row_lanes| {
                let tile = Self { channel_lanes, vectors: 1, row_lanes, rows: 2, run: 1 };
                // A step loads 256 vectors at most.
                Self { run: 1 << (256 / tile.loads()).min(64).ilog2(), ..tile }
            })
            .min_by_key(|tile| {
                let sums = 16 * tile.tile_rows() * tile.tile_vectors();
                tile.tiles(shape) * u64::from(sums + LOAD * tile.loads())
            })
            .expect("eight rows are enough for one vector")
    }

    fn tile_rows(&self) -> u32 {
        self.rows * self.row_lanes
    }

    fn tile_vectors(&self) -> u32 {
        self.vectors * self.channel_lanes
    }

    /// Vectors that a workgroup loads for one pixel.
    fn loads(&self) -> u32 {
        self.tile_rows() + self.tile_vectors()
    }

    /// Workgroups of one chunk.
    fn tiles(&self, shape: &Shape) -> u64 {
        shape.rows().div_ceil(self.tile_rows().into()) * u64::from(shape.cout.div_ceil(self.tile_vectors()))
    }
}

/// Output pixels in a chunk of the weight's gradient: as many as leave enough workgroups; at least 128, so that little is
/// left to add up; and at most 60,000, because a software driver stops an invocation's loops after 65,535 turns in all.
pub(super) fn chunk(shape: &Shape, tile: &WeightTile, limits: &WeightLimits) -> u64 {
    let chunks = u64::from(limits.workgroups).div_ceil(tile.tiles(shape));
    shape.output_pixels().div_ceil(chunks).clamp(128, 60_000)
}

kernel! {
    /// `y = x (*) weight`
    Forward("conv2d_tiled", forward) {
        constant shape: Shape,
        tile tile: Tile,
        read x,
        read weight,
        write y,
    }
    workgroups |shape, tile| tile.forward_workgroups(shape);
    flops |shape| shape.flops();
}

kernel! {
    /// `dx =` gradient of the input
    BackwardInput("conv2d_tiled", backward_input) {
        constant shape: Shape,
        tile tile: Tile,
        read transposed,
        read dy,
        write dx,
    }
    workgroups |shape, tile| tile.input_workgroups(shape);
    flops |shape| shape.flops();
}

kernel! {
    /// `partial[chunk] =` gradient of the weight from one chunk of the live images' pixels
    BackwardWeight("conv2d_tiled", backward_weight) {
        constant shape: Shape,
        tile tile: WeightTile,
        uniform step: Step,
        read x,
        read dy,
        write partial,
    }
    workgroups |shape, tile| tile.tiles(shape) * shape.output_pixels().div_ceil(shape.chunk.into());
    flops |shape| shape.flops();
}
