//! Products of matrices through workgroup memory, with large tiles: `shaders/conv2d_wide.wgsl`.
//!
//! These are the tiled kernels of large convolutions; [`tiled`](super::tiled) has the small ones. What is large, and with which tile, is
//! what an NVIDIA H100 liked best of the tiles here and some forty others, for every convolution of vgg11_bn, resnet18 and the default
//! network at two batches each (docs/measurements.md): all that the rule chooses takes 1 to 6 % longer there than the best tile of each.
//! What other adapters like, `convscope bench tune` measures: [`TileLimits`](crate::gpu::TileLimits).

use super::{Shape, Step};
use crate::gpu::kernel::{kernel, tile};
use crate::gpu::{ProductLimits, WeightLimits};

tile! {
    /// Tile of [`Forward`] and [`BackwardInput`]: 64 channels of so many pixels.
    pub struct Tile {
        /// Pixels in each invocation: an even number.
        pub pixels = PIXELS,
        /// Invocations side by side in the pixels. Divides 32.
        pub pixel_lanes = PIXEL_LANES,
    }
}

tile! {
    /// Tile of [`BackwardWeight`].
    pub struct WeightTile {
        /// Invocations side by side in the rows, and in the output channels: 8 or 16.
        pub lanes = LANES,
    }
}

/// Vectors of channels of a [`Tile`].
pub const TILE_VECTORS: u32 = 16;
/// Vectors that a step reads for each pixel.
pub const DEPTH: u32 = 4;

/// Steps from which on a tile's sums are long enough for its loads to hide behind them.
const STEPS: u32 = 8;

/// A tile of [`Forward`] or [`BackwardInput`], and the parts that their sums are made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// The tile.
    pub tile: Tile,
    /// Steps of a part.
    pub chunk: u32,
    /// Parts.
    pub parts: u32,
}

impl Product {
    /// Parts of equal length, but for the last; there may be fewer than are wanted.
    fn new(tile: Tile, steps: u32, parts: u32) -> Self {
        let chunk = steps.div_ceil(parts);
        Self { tile, chunk, parts: steps.div_ceil(chunk) }
    }

    /// In `parts` for [`Forward`].
    pub fn forward_in_parts(tile: Tile, shape: &Shape, parts: u32) -> Self {
        Self::new(tile, forward_steps(shape), parts)
    }

    /// In `parts` for [`BackwardInput`].
    pub fn backward_input_in_parts(tile: Tile, shape: &Shape, parts: u32) -> Self {
        Self::new(tile, input_steps(shape), parts)
    }

    /// For [`Forward`], if the convolution is large enough.
    pub fn forward(shape: &Shape, limits: &ProductLimits) -> Option<Self> {
        let workgroups = |tile: &Tile| tile.forward_workgroups(shape);
        Self::choose(shape.output_pixels(), shape.cout, forward_steps(shape), limits, workgroups, |workgroups| {
            workgroups
        })
    }

    /// For [`BackwardInput`], if the convolution is large enough.
    pub fn backward_input(shape: &Shape, limits: &ProductLimits) -> Option<Self> {
        let [rows, columns] = phase(shape);
        let pixels = u64::from(shape.n) * rows * columns;
        let workgroups = |tile: &Tile| tile.input_workgroups(shape);
        Self::choose(pixels, shape.cin, input_steps(shape), limits, workgroups, |workgroups| shape.busy(workgroups))
    }

    /// For sums of so many steps for each of `pixels`, in `written` vectors of channels.
    fn choose(
        pixels: u64,
        written: u32,
        steps: u32,
        limits: &ProductLimits,
        workgroups: impl Fn(&Tile) -> u64,
        busy: impl Fn(u64) -> u64,
    ) -> Option<Self> {
        let fills = |tile: &Tile| pixels >= tile.tile_pixels().into() && written >= TILE_VECTORS;
        let [large, small] = [Tile::LARGE, Tile::SMALL];
        if fills(&large) && steps >= STEPS && busy(workgroups(&large)) >= limits.large_workgroups.into() {
            return Some(Self::new(large, steps, 1));
        }
        // Of four steps at least.
        let parts = (u64::from(limits.parts_workgroups).div_ceil(workgroups(&small)) as u32).min(steps / 4);
        (fills(&small) && steps >= limits.steps_for_parts).then(|| Self::new(small, steps, parts))
    }
}

impl Tile {
    /// 128 pixels, 128 invocations, 13 KiB of workgroup memory.
    pub const LARGE: Self = Self { pixels: 8, pixel_lanes: 16 };
    /// 32 pixels, 64 invocations.
    pub const SMALL: Self = Self { pixels: 4, pixel_lanes: 8 };

    fn tile_pixels(&self) -> u32 {
        self.pixels * self.pixel_lanes
    }

    /// Workgroups of one part of [`Forward`].
    fn forward_workgroups(&self, shape: &Shape) -> u64 {
        let pixel_tiles = shape.output_pixels().div_ceil(self.tile_pixels().into());
        pixel_tiles * u64::from(shape.cout.div_ceil(TILE_VECTORS))
    }

    /// Workgroups of one part of [`BackwardInput`]: one phase of pixels for each position within a stride.
    fn input_workgroups(&self, shape: &Shape) -> u64 {
        let [rows, columns] = phase(shape);
        let pixel_tiles = (u64::from(shape.n) * rows * columns).div_ceil(self.tile_pixels().into());
        u64::from(shape.stride * shape.stride) * pixel_tiles * u64::from(shape.cin.div_ceil(TILE_VECTORS))
    }
}

/// Rows and columns of a phase of the input.
fn phase(shape: &Shape) -> [u64; 2] {
    [shape.h, shape.w].map(|size| size.div_ceil(shape.stride).into())
}

/// Steps of [`Forward`].
fn forward_steps(shape: &Shape) -> u32 {
    (shape.kernel_h * shape.kernel_w * shape.cin).div_ceil(DEPTH)
}

/// Most steps of a phase of [`BackwardInput`].
fn input_steps(shape: &Shape) -> u32 {
    shape.kernel_h.div_ceil(shape.stride) * shape.kernel_w.div_ceil(shape.stride) * shape.cout.div_ceil(DEPTH)
}

/// Workgroups that the weight's gradient is split into at most. The partial sums are then no more than 72 MiB.
const MOST_WORKGROUPS: u64 = 1152;

/// Output pixels that a step of [`BackwardWeight`] reads.
pub const RUN: u64 = 16;

impl WeightTile {
    /// 128 x 128 sums, 256 invocations, 16 KiB of workgroup memory: all that every adapter has.
    pub const LARGE: Self = Self { lanes: 16 };
    /// 64 x 64 sums, 64 invocations.
    pub const SMALL: Self = Self { lanes: 8 };

    /// If the convolution is large enough.
    pub fn choose(shape: &Shape, limits: &WeightLimits) -> Option<Self> {
        let large = Self::LARGE;
        let long_chunks = shape.output_pixels().div_ceil(large.long());
        if shape.cout >= large.tile_vectors() && large.tiles(shape) * long_chunks >= limits.large_workgroups.into() {
            return Some(large);
        }
        let small = Self::SMALL;
        let fills = shape.cout >= small.tile_vectors();
        (fills && small.tiles(shape) * shape.output_pixels() >= limits.small_work.into()).then_some(small)
    }

    fn threads(&self) -> u64 {
        u64::from(self.lanes * self.lanes)
    }

    /// Rows or vectors of output channels of a workgroup.
    fn tile_vectors(&self) -> u32 {
        2 * self.lanes
    }

    /// Workgroups of one chunk.
    fn tiles(&self, shape: &Shape) -> u64 {
        shape.rows().div_ceil(self.tile_vectors().into()) * u64::from(shape.cout.div_ceil(self.tile_vectors()))
    }

    /// Output pixels from which on a longer chunk is hardly better than a shorter one.
    fn long(&self) -> u64 {
        u64::from(32 * self.lanes)
    }

    /// Output pixels in a chunk of the weight's gradient. As many chunks as the device likes, if they stay long; if they do not,
    /// as many as keep it busy, of 128 pixels at least.
    pub(super) fn chunk(&self, shape: &Shape, limits: &WeightLimits) -> u64 {
        let (pixels, tiles) = (shape.output_pixels(), self.tiles(shape));
        let liked = pixels.div_ceil((MOST_WORKGROUPS / tiles).max(1)).max(self.long());
        let busy = (pixels * tiles).div_ceil(u64::from(limits.wide_invocations) / self.threads()).max(128);
        // A software driver stops an invocation's loops after 65,535 turns in all.
        liked.min(busy).min(60_000 * RUN)
    }
}

kernel! {
    /// `y = x (*) weight`, or its parts
    Forward("conv2d_wide", forward) {
        constant shape: Shape,
        tile tile: Tile,
        read x,
        read weight,
        write y,
    }
    workgroups |shape, tile| tile.forward_workgroups(shape) * u64::from(forward_steps(shape).div_ceil(shape.chunk));
    flops |shape| shape.flops();
}

kernel! {
    /// `dx =` gradient of the input, or its parts
    BackwardInput("conv2d_wide", backward_input) {
        constant shape: Shape,
        tile tile: Tile,
        read transposed,
        read dy,
        write dx,
    }
    workgroups |shape, tile| tile.input_workgroups(shape) * u64::from(input_steps(shape).div_ceil(shape.chunk));
    flops |shape| shape.flops();
}

kernel! {
    /// `partial[chunk] =` gradient of the weight from one chunk of the live images' pixels
    BackwardWeight("conv2d_wide", backward_weight) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::TileLimits;

    fn shape(n: usize, input: [usize; 3], outputs: usize, kernel: usize, stride: usize) -> Shape {
        Shape::new(n, input, outputs, [kernel; 2], stride, kernel / 2)
    }

    fn products(shape: &Shape, limits: &TileLimits) -> [Option<Product>; 2] {
        [Product::forward(shape, &limits.products), Product::backward_input(shape, &limits.products)]
    }

    /// By the built-in limits.
    fn choices(shape: &Shape) -> [Option<(Tile, u32)>; 2] {
        products(shape, &TileLimits::default()).map(|product| product.map(|product| (product.tile, product.parts)))
    }

    fn weight_tile(shape: &Shape) -> Option<WeightTile> {
        WeightTile::choose(shape, &TileLimits::default().weights)
    }

    #[test]
    fn large_convolutions_get_the_large_tile() {
        let shape = shape(32, [512, 8, 8], 512, 3, 1);
        assert_eq!(choices(&shape), [Some((Tile::LARGE, 1)); 2]);
        assert_eq!(weight_tile(&shape), Some(WeightTile::LARGE));
        assert_eq!(WeightTile::LARGE.chunk(&shape, &TileLimits::default().weights), 512);
    }

    #[test]
    fn long_sums_of_few_pixels_are_made_in_parts() {
        let few = shape(32, [512, 4, 4], 512, 3, 1);
        assert_eq!(choices(&few), [Some((Tile::SMALL, 5)); 2]);
        // Vectors, for 25,088 inputs.
        let linear = shape(32, [25_088, 1, 1], 4096, 1, 1);
        let [product, _] = products(&linear, &TileLimits::default());
        assert_eq!(product, Some(Product { tile: Tile::SMALL, chunk: 175, parts: 9 }));
    }

    #[test]
    fn small_convolutions_get_no_wide_tile() {
        for shape in [
            // Few channels, short sums, few pixels.
            shape(256, [16, 63, 63], 32, 3, 2),
            shape(32, [64, 16, 16], 128, 1, 2),
            shape(1, [1024, 4, 4], 1024, 1, 1),
        ] {
            assert_eq!((choices(&shape), weight_tile(&shape)), ([None; 2], None), "{shape:?}");
        }
        // Three channels: the output's sums are short, and the input has too few channels.
        assert_eq!(choices(&shape(32, [3, 128, 128], 64, 3, 1)), [None; 2]);
    }

    #[test]
    fn limits_that_nothing_reaches_leave_the_wide_kernels_out() {
        let never = |limits: &&TileLimits| {
            let TileLimits { products, weights, .. } = limits;
            [products.large_workgroups, products.steps_for_parts, weights.large_workgroups, weights.small_work]
                == [u32::MAX; 4]
        };
        let start = TileLimits::default();
        let all: Vec<_> = start.other_products().into_iter().flat_map(TileLimits::other_weights).collect();
        let none = all.iter().find(never).expect("a measurement tries that too");
        for shape in [shape(32, [512, 8, 8], 512, 3, 1), shape(32, [25_088, 1, 1], 4096, 1, 1)] {
            assert_eq!((products(&shape, none), WeightTile::choose(&shape, &none.weights)), ([None; 2], None));
            assert!(products(&shape, &start)[0].is_some() && weight_tile(&shape).is_some());
        }
    }

    #[test]
    fn parts_and_chunks_hold_every_step_and_pixel_and_stay_within_their_room() {
        let check = |shape: &Shape, limits: &TileLimits| {
            let steps = [forward_steps(shape), input_steps(shape)];
            for (product, steps) in products(shape, limits).into_iter().zip(steps) {
                let Some(Product { chunk, parts, .. }) = product else { continue };
                assert!((parts - 1) * chunk < steps && steps <= parts * chunk, "{shape:?}: {product:?}");
            }
            if let Some(tile) = WeightTile::choose(shape, &limits.weights) {
                let chunk = tile.chunk(shape, &limits.weights);
                let chunks = shape.output_pixels().div_ceil(chunk);
                assert!((1..=60_000 * RUN).contains(&chunk), "{shape:?}");
                let bytes = 16 * chunks * shape.weight_vectors();
                assert!(chunks == 1 || bytes <= 72 << 20, "{shape:?}, {limits:?}: {chunks} chunks, {bytes} bytes");
            }
        };
        let start = TileLimits::default();
        let all_limits = [start.other_products(), start.other_weights()].concat();
        for n in [1, 2, 7, 32, 500] {
            for channels in [3, 64, 100, 512] {
                for (size, kernel, stride) in [(1, 1, 1), (4, 3, 1), (7, 3, 2), (9, 1, 3), (33, 7, 2), (64, 3, 1)] {
                    let shape = shape(n, [channels, size, size], 2 * channels, kernel, stride);
                    all_limits.iter().for_each(|limits| check(&shape, limits));
                }
            }
        }
    }
}
