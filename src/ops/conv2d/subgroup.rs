//! One subgroup a workgroup, large tiles, loads shared by shuffles: `shaders/conv2d_subgroup.wgsl`.
//!
//! The tiles are the cheapest by a small model of a software driver's costs (`LOAD` and its neighbours): a larger tile
//! loads less for each multiply-add, until it wastes work past the edges or its unrolled code outgrows the processor's
//! cache of instructions: where that is, [`TileLimits`](crate::gpu::TileLimits) say.

use super::{Shape, Step};
use crate::gpu::UnrolledLimits;
use crate::gpu::kernel::{kernel, tile};

/// Cost of loading a vector of four in every lane, in nanoseconds on the machine of `docs/performance.md`. Only the
/// proportions of these costs matter.
const LOAD: f64 = 14.0;
/// Of storing one.
const STORE: f64 = 15.0;
/// Of a shuffle.
const SHUFFLE: f64 = 0.4;
/// Of a multiply-add of a vector of four.
const MULTIPLY_ADD: f64 = 0.6;
/// Of keeping a sum of four from one turn of the loop to the next.
const KEEP: f64 = 1.0;
/// Of working out one address.
const ADDRESS: f64 = 3.0;

/// Sums of four that a tile keeps.
const MAX_SUMS: u32 = 256;

tile! {
    /// Tile of [`Forward`].
    pub struct ForwardTile {
        /// Invocations of a subgroup.
        pub lanes = LANES,
        /// Lanes side by side in the channels that are written.
        pub channel_lanes = CHANNEL_LANES,
        /// Vectors of these channels in each lane.
        pub vectors = VECTORS,
        /// Height of the filters.
        pub kernel_h = KERNEL_H,
        /// Width of the filters.
        pub kernel_w = KERNEL_W,
        /// Stride.
        pub stride = STRIDE,
        /// Images one after the other.
        pub images = IMAGES,
        /// Rows of output pixels.
        pub rows = ROWS,
        /// Columns of output pixels.
        pub columns = COLUMNS,
    }
}

tile! {
    /// Tile of [`BackwardInput`].
    pub struct InputTile {
        /// Invocations of a subgroup.
        pub lanes = LANES,
        /// Lanes side by side in the channels that are written.
        pub channel_lanes = CHANNEL_LANES,
        /// Vectors of these channels in each lane.
        pub vectors = VECTORS,
        /// Height of the filters.
        pub kernel_h = KERNEL_H,
        /// Width of the filters.
        pub kernel_w = KERNEL_W,
        /// Stride.
        pub stride = STRIDE,
        /// Images one after the other.
        pub images = IMAGES,
        /// Rows of input pixels.
        pub rows = ROWS,
        /// Columns of input pixels.
        pub columns = COLUMNS,
        /// Rows of output pixels that they were read by.
        pub patch_rows = PATCH_ROWS,
        /// Columns of output pixels that they were read by.
        pub patch_columns = PATCH_COLUMNS,
        /// How many of these rows lie before the tile's own.
        pub halo_rows = HALO_ROWS,
        /// How many of these columns lie before the tile's own.
        pub halo_columns = HALO_COLUMNS,
    }
}

tile! {
    /// Tile of [`BackwardWeight`].
    pub struct WeightTile {
        /// Invocations of a subgroup.
        pub lanes = LANES,
        /// Lanes side by side in the output channels.
        pub channel_lanes = CHANNEL_LANES,
        /// Vectors of output channels in each lane.
        pub vectors = VECTORS,
        /// Height of the filters.
        pub kernel_h = KERNEL_H,
        /// Width of the filters.
        pub kernel_w = KERNEL_W,
        /// Stride.
        pub stride = STRIDE,
        /// Vectors of input channels.
        pub depth = DEPTH,
        /// Channels of such a vector that are not padding.
        pub channels = CHANNELS,
        /// Rows of output pixels that are summed over at once.
        pub rows = ROWS,
        /// Columns of output pixels.
        pub columns = COLUMNS,
    }
}

/// Lanes side by side in so many vectors of channels: a power of two, so that it divides the lanes of a subgroup.
fn channel_lanes(vectors: u32, lanes: u32) -> u32 {
    vectors.next_power_of_two().min(lanes)
}

/// A tile to choose from.
struct Candidate<Tile> {
    tile: Tile,
    /// Multiply-adds of vectors of four in its unrolled loop.
    unrolled: u32,
    /// Sums of four that it keeps.
    sums: u32,
    /// Of all its workgroups.
    cost: f64,
}

/// The cheapest of these tiles that unroll and keep no more than allowed; where none is so small, the cheapest of all.
fn cheapest<Tile>(most_unrolled: u32, candidates: impl Iterator<Item = Candidate<Tile>>) -> Tile {
    let too_large = |one: &Candidate<Tile>| one.unrolled > most_unrolled || one.sums > MAX_SUMS;
    let order =
        |a: &Candidate<Tile>, b: &Candidate<Tile>| too_large(a).cmp(&too_large(b)).then(a.cost.total_cmp(&b.cost));
    candidates.min_by(order).expect("there is at least one candidate").tile
}

/// What a workgroup of [`Forward`] or [`BackwardInput`] does: it holds a patch of the tensor that is read, channel after
/// channel, and multiplies it with the filters.
struct Work {
    /// Entries of the patch, and vectors of them in each lane.
    entries: u32,
    held: u32,
    /// Vectors of the filters in each lane.
    weights: u32,
    /// Multiply-adds for a channel that is read.
    multiply_adds: u32,
    sums: u32,
    /// Vectors of channels that are read, and channels.
    vectors_read: u32,
    channels_read: u32,
    /// How often the sums are loaded and stored.
    turns: u32,
}

impl Work {
    fn cost(&self) -> f64 {
        let channel = f64::from(self.weights) * LOAD
            + f64::from(self.entries) * SHUFFLE
            + f64::from(self.multiply_adds) * MULTIPLY_ADD;
        f64::from(self.held) * (ADDRESS + f64::from(self.vectors_read) * LOAD)
            + f64::from(self.channels_read) * channel
            + f64::from(self.sums) * (f64::from(self.turns) * KEEP + STORE)
    }
}

/// Rows, columns, images and vectors to choose from. Several images where one fits a tile.
fn candidates(heights: Vec<u32>, widths: Vec<u32>, n: u32) -> impl Iterator<Item = [u32; 4]> {
    let (height, width) = (heights[heights.len() - 1], widths[widths.len() - 1]);
    heights.into_iter().flat_map(move |rows| {
        widths.clone().into_iter().flat_map(move |columns| {
            [1, 2, 4, 8, 16].into_iter().flat_map(move |images| {
                let fits = images == 1 || (images <= n && rows == height && columns == width);
                [1, 2].into_iter().filter(move |_| fits).map(move |vectors| [rows, columns, images, vectors])
            })
        })
    })
}

/// Input pixels in one direction that so many output pixels read.
fn field(outputs: u32, kernel: u32, stride: u32) -> u32 {
    (outputs - 1) * stride + kernel
}

impl ForwardTile {
    /// The tile that the model of costs likes best.
    pub fn choose(shape: &Shape, lanes: u32, limits: &UnrolledLimits) -> Self {
        let s = *shape;
        let channel_lanes = channel_lanes(s.cout, lanes);
        let (kernel_h, kernel_w, stride) = (s.kernel_h, s.kernel_w, s.stride);
        let candidates = candidates((1..=s.oh.min(32)).collect(), (1..=s.ow.min(32)).collect(), s.n);
        let candidates = candidates.map(|[rows, columns, images, vectors]| {
            let tile = Self { lanes, channel_lanes, vectors, kernel_h, kernel_w, stride, images, rows, columns };
            let entries = images * field(rows, kernel_h, stride) * field(columns, kernel_w, stride);
            let sums = images * rows * columns * vectors;
            let unrolled = sums * kernel_h * kernel_w;
            let work = Work {
                entries,
                held: entries.div_ceil(channel_lanes),
                weights: kernel_h * kernel_w * vectors,
                multiply_adds: unrolled,
                sums,
                vectors_read: s.cin,
                channels_read: s.inputs,
                turns: s.inputs,
            };
            Candidate { tile, unrolled, sums, cost: work.cost() * tile.workgroups(shape) as f64 }
        });
        cheapest(limits.forward, candidates)
    }

    fn workgroups(&self, shape: &Shape) -> u64 {
        let tiles = u64::from(shape.oh.div_ceil(self.rows)) * u64::from(shape.ow.div_ceil(self.columns));
        let images = shape.n.div_ceil(self.images * (self.lanes / self.channel_lanes));
        tiles * u64::from(images) * u64::from(shape.cout.div_ceil(self.channel_lanes * self.vectors))
    }
}

impl InputTile {
    /// The tile that the model of costs likes best.
    pub fn choose(shape: &Shape, lanes: u32, limits: &UnrolledLimits) -> Self {
        let s = *shape;
        let channel_lanes = channel_lanes(s.cin, lanes);
        let (kernel_h, kernel_w, stride) = (s.kernel_h, s.kernel_w, s.stride);
        // Multiples of the stride; the last spans everything.
        let sizes = |size: u32| -> Vec<u32> {
            let all = (size + s.padding).next_multiple_of(stride);
            (1..=(all / stride).min(16)).map(|cells| cells * stride).filter(|size| *size < all).chain([all]).collect()
        };
        // Patch and halo of so many input pixels.
        let patch = |size: u32, input: u32, output: u32, kernel: u32| {
            let halo = (kernel - 1) / stride;
            if size >= input + s.padding { (output, 0) } else { (size / stride + halo, halo) }
        };
        let candidates = candidates(sizes(s.h), sizes(s.w), s.n).map(|[rows, columns, images, vectors]| {
            let (patch_rows, halo_rows) = patch(rows, s.h, s.oh, kernel_h);
            let (patch_columns, halo_columns) = patch(columns, s.w, s.ow, kernel_w);
            let tile = Self {
                lanes,
                channel_lanes,
                vectors,
                kernel_h,
                kernel_w,
                stride,
                images,
                rows,
                columns,
                patch_rows,
                patch_columns,
                halo_rows,
                halo_columns,
            };
            let entries = images * patch_rows * patch_columns;
            let sums = images * rows * columns * vectors;
            let multiply_adds = images
                * vectors
                * met(rows, patch_rows, halo_rows, kernel_h, stride)
                * met(columns, patch_columns, halo_columns, kernel_w, stride);
            let work = Work {
                entries,
                held: entries.div_ceil(channel_lanes),
                weights: kernel_h * kernel_w * vectors,
                multiply_adds,
                sums,
                vectors_read: s.cout,
                channels_read: 4 * s.cout,
                turns: s.cout,
            };
            Candidate { tile, unrolled: 4 * multiply_adds, sums, cost: work.cost() * tile.workgroups(shape) as f64 }
        });
        cheapest(limits.input, candidates)
    }

    fn workgroups(&self, shape: &Shape) -> u64 {
        let tiles = u64::from((shape.h + shape.padding).div_ceil(self.rows))
            * u64::from((shape.w + shape.padding).div_ceil(self.columns));
        let images = shape.n.div_ceil(self.images * (self.lanes / self.channel_lanes));
        tiles * u64::from(images) * u64::from(shape.cin.div_ceil(self.channel_lanes * self.vectors))
    }
}

/// Pairs of a tap and an output pixel of the patch that meet in a tile of `size` input pixels, in one direction.
fn met(size: u32, patch: u32, halo: u32, kernel: u32, stride: u32) -> u32 {
    let tile = halo * stride..halo * stride + size;
    let hits = |output: u32| (0..kernel).filter(|tap| tile.contains(&(output * stride + tap))).count() as u32;
    (0..patch).map(hits).sum()
}

impl WeightTile {
    /// The tile that the model of costs likes best.
    pub fn choose(shape: &Shape, lanes: u32, limits: &UnrolledLimits) -> Self {
        let s = *shape;
        let channel_lanes = channel_lanes(s.cout, lanes);
        let (kernel_h, kernel_w, stride) = (s.kernel_h, s.kernel_w, s.stride);
        let channels = s.inputs.min(4);
        let sizes = candidates((1..=s.oh.min(32)).collect(), (1..=s.ow.min(32)).collect(), 1);
        let depths = sizes.flat_map(|[rows, columns, _, vectors]| {
            [1, 2].into_iter().filter(move |depth| *depth <= s.cin).map(move |depth| [rows, columns, depth, vectors])
        });
        let candidates = depths.map(|[rows, columns, depth, vectors]| {
            let tile =
                Self { lanes, channel_lanes, vectors, kernel_h, kernel_w, stride, depth, channels, rows, columns };
            let entries = depth * field(rows, kernel_h, stride) * field(columns, kernel_w, stride);
            let held = f64::from(entries.div_ceil(channel_lanes));
            let pixels = rows * columns;
            let sums = kernel_h * kernel_w * depth * channels * vectors;
            let cost = (held + f64::from(pixels * vectors)) * (LOAD + ADDRESS)
                + f64::from(entries * channels) * SHUFFLE
                + f64::from(sums * pixels) * MULTIPLY_ADD
                + f64::from(sums) * KEEP;
            let repeats = tile.parts(shape) * tile.pixel_tiles(shape).div_ceil(tile.sets());
            Candidate { tile, unrolled: sums * pixels, sums, cost: cost * repeats as f64 }
        });
        cheapest(limits.weight, candidates)
    }

    /// Tiles of output pixels of the whole batch.
    pub(super) fn pixel_tiles(&self, shape: &Shape) -> u64 {
        u64::from(shape.n) * u64::from(shape.oh.div_ceil(self.rows)) * u64::from(shape.ow.div_ceil(self.columns))
    }

    /// Workgroups that share the channels of one chunk.
    fn parts(&self, shape: &Shape) -> u64 {
        u64::from(shape.cin.div_ceil(self.depth)) * u64::from(shape.cout.div_ceil(self.channel_lanes * self.vectors))
    }

    /// Sets of mates of a workgroup: each has a chunk of its own.
    fn sets(&self) -> u64 {
        (self.lanes / self.channel_lanes).into()
    }

    fn workgroups(&self, shape: &Shape) -> u64 {
        self.parts(shape) * self.pixel_tiles(shape).div_ceil(shape.chunk.into()).div_ceil(self.sets())
    }
}

/// Tiles in a chunk of the weight's gradient: as many as leave work for 64 workgroups, and at most 60,000, because a software
/// driver stops an invocation's loops after 65,535 turns in all.
pub(super) fn chunk(shape: &Shape, tile: &WeightTile) -> u64 {
    let chunks = 64_u64.div_ceil(tile.parts(shape)) * tile.sets();
    tile.pixel_tiles(shape).div_ceil(chunks).clamp(1, 60_000)
}

kernel! {
    /// `y = x (*) weight`
    Forward("conv2d_subgroup", forward) {
        constant shape: Shape,
        tile tile: ForwardTile,
        read x,
        read weight,
        write y,
    }
    workgroups |shape, tile| tile.workgroups(shape);
    flops |shape| shape.flops();
}

kernel! {
    /// `dx =` gradient of the input
    BackwardInput("conv2d_subgroup", backward_input) {
        constant shape: Shape,
        tile tile: InputTile,
        read transposed,
        read dy,
        write dx,
    }
    workgroups |shape, tile| tile.workgroups(shape);
    flops |shape| shape.flops();
}

kernel! {
    /// `partial[chunk] =` gradient of the weight from one chunk of tiles of the live images' pixels
    BackwardWeight("conv2d_subgroup", backward_weight) {
        constant shape: Shape,
        tile tile: WeightTile,
        uniform step: Step,
        read x,
        read dy,
        write partial,
    }
    workgroups |shape, tile| tile.workgroups(shape);
    flops |shape| shape.flops();
}
