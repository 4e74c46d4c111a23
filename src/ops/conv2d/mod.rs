//! Conv2d without bias.
//!
//! Three sets of kernels compute the same: [`plain`] runs everywhere, [`tiled`] and [`wide`] are made for small and large convolutions on
//! GPUs, [`subgroup`] for software drivers. [`Conv2d`] puts them behind one interface.

pub mod plain;
pub mod subgroup;
pub mod tiled;
pub mod wide;

use super::sums::Shared;
use super::{Step, vectors};
use crate::gpu::kernel::{WORKGROUP, kernel, uniform};
use crate::gpu::{Gpu, Kernels, Plan, Tensor, TileLimits};

uniform! {
    /// Sizes of one convolution. Channels (`cin`, `cout`) are counted in vectors of four.
    pub struct Shape {
        /// Images in a batch.
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
        /// Input channels, without the padding of the last vector.
        pub inputs: u32,
        /// Output channels, without the padding of the last vector.
        pub outputs: u32,
        /// What one chunk of the weight's gradient adds up: tiles of output pixels in the subgroup kernels, output pixels in
        /// the others. In the wide kernels of the output and of the input's gradient, the steps of one part.
        pub chunk: u32,
    }
}

impl Shape {
    /// Shape of a convolution of `n` images of `cin` x `h` x `w` into `cout` channels.
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
        let (inputs, outputs) = (cin as u32, cout as u32);
        let [n, h, w, cin, oh, ow, cout, kernel_h, kernel_w, stride, padding] =
            [n, h, w, vectors(cin), oh, ow, vectors(cout), kernel[0], kernel[1], stride, padding]
                .map(|size| size as u32);
        Self { n, h, w, cin, oh, ow, cout, kernel_h, kernel_w, stride, padding, inputs, outputs, chunk: 1 }
    }

    fn output_pixels(&self) -> u64 {
        u64::from(self.n) * u64::from(self.oh) * u64::from(self.ow)
    }

    /// Vectors of the input.
    fn input_vectors(&self) -> u64 {
        u64::from(self.n) * u64::from(self.h) * u64::from(self.w) * u64::from(self.cin)
    }

    /// Vectors of the output.
    fn output_vectors(&self) -> u64 {
        self.output_pixels() * u64::from(self.cout)
    }

    fn rows(&self) -> u64 {
        u64::from(self.kernel_h * self.kernel_w * self.cin)
    }

    /// Vectors of the weight.
    fn weight_vectors(&self) -> u64 {
        self.rows() * 4 * u64::from(self.cout)
    }

    /// So many workgroups of the input's gradient, less those that are done early: where phases have unequal numbers of taps, those of
    /// phases with fewer.
    fn busy(&self, workgroups: u64) -> u64 {
        let all = u64::from(self.kernel_h * self.kernel_w);
        let most = self.kernel_h.div_ceil(self.stride) * self.kernel_w.div_ceil(self.stride);
        workgroups * all / u64::from(most * self.stride * self.stride)
    }

    /// Two for each multiply-add of the formula.
    fn flops(&self) -> u64 {
        let filter = u64::from(self.kernel_h) * u64::from(self.kernel_w) * u64::from(self.inputs);
        2 * self.output_pixels() * filter * u64::from(self.outputs)
    }
}

/// One convolution with the kernels and tiles that suit its sizes and the device.
#[derive(Clone, Debug)]
pub struct Conv2d {
    shape: Shape,
    tiles: Tiles,
    chunks: u64,
}

#[derive(Clone, Debug)]
enum Tiles {
    Plain(plain::Tile),
    Tiled { forward: Product, input: Product, weight: WeightTile },
    Subgroup { forward: subgroup::ForwardTile, input: subgroup::InputTile, weight: subgroup::WeightTile },
}

/// What a convolution's kernels make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The output.
    Forward,
    /// The input's gradient.
    BackwardInput,
    /// The weight's gradient.
    BackwardWeight,
}

/// How a GPU makes the output, or the input's gradient.
#[derive(Clone, Debug)]
enum Product {
    Tiled(tiled::Tile),
    Wide(wide::Product),
}

/// How a GPU makes the weight's gradient.
#[derive(Clone, Debug)]
enum WeightTile {
    Tiled(tiled::WeightTile),
    Wide(wide::WeightTile),
}

impl Product {
    fn parts(&self) -> u64 {
        match self {
            Self::Tiled(_) => 1,
            Self::Wide(product) => product.parts.into(),
        }
    }
}

impl Conv2d {
    /// Chooses kernels and tiles.
    pub fn new(gpu: &Gpu, shape: Shape) -> Self {
        Self::with_limits(gpu, shape, gpu.tile_limits())
    }

    /// Chooses kernels, and tiles by these limits.
    pub fn with_limits(gpu: &Gpu, mut shape: Shape, limits: &TileLimits) -> Self {
        let (tiles, chunk, all) = match gpu.kernels() {
            Kernels::Plain => {
                let tile = if gpu.is_software() { plain::Tile::SOFTWARE } else { plain::Tile::GPU };
                (Tiles::Plain(tile), plain::chunk(&shape), shape.output_pixels())
            }
            Kernels::Tiled => {
                let TileLimits { products, weights, .. } = limits;
                let forward = wide::Product::forward(&shape, products)
                    .map_or_else(|| Product::Tiled(tiled::Tile::forward(&shape, products)), Product::Wide);
                let input = wide::Product::backward_input(&shape, products)
                    .map_or_else(|| Product::Tiled(tiled::Tile::backward_input(&shape, products)), Product::Wide);
                let weight = wide::WeightTile::choose(&shape, weights)
                    .map_or_else(|| WeightTile::Tiled(tiled::WeightTile::choose(&shape)), WeightTile::Wide);
                let chunk = match &weight {
                    WeightTile::Tiled(tile) => tiled::chunk(&shape, tile, weights),
                    WeightTile::Wide(tile) => tile.chunk(&shape, weights),
                };
                (Tiles::Tiled { forward, input, weight }, chunk, shape.output_pixels())
            }
            Kernels::Subgroup => {
                let lanes = gpu.lanes().expect("checked when the kernels were chosen");
                let unrolled = &limits.unrolled;
                let weight = subgroup::WeightTile::choose(&shape, lanes, unrolled);
                let (chunk, all) = (subgroup::chunk(&shape, &weight), weight.pixel_tiles(&shape));
                let forward = subgroup::ForwardTile::choose(&shape, lanes, unrolled);
                let input = subgroup::InputTile::choose(&shape, lanes, unrolled);
                (Tiles::Subgroup { forward, input, weight }, chunk, all)
            }
        };
        shape.chunk = chunk as u32;
        Self { shape, tiles, chunks: all.div_ceil(chunk) }
    }

    /// The tile of one of its kernels, for people: no two tiles of a convolution are called the same.
    pub fn tile(&self, pass: Pass) -> String {
        let parts = |parts: u64| if parts == 1 { String::new() } else { format!(" / {parts}") };
        match (&self.tiles, pass) {
            (Tiles::Plain(plain::Tile { pixels, vectors, rows }), _) => format!("{pixels} x {vectors} x {rows}"),
            (Tiles::Tiled { forward: product, .. }, Pass::Forward)
            | (Tiles::Tiled { input: product, .. }, Pass::BackwardInput) => match product {
                Product::Tiled(tile) => format!("{} x {}", tile.pixels, tile.vectors),
                Product::Wide(product) => {
                    format!("wide {}{}", product.tile.pixels * product.tile.pixel_lanes, parts(product.parts.into()))
                }
            },
            (Tiles::Tiled { weight, .. }, Pass::BackwardWeight) => match weight {
                WeightTile::Tiled(tile) => format!("{} x {}{}", tile.rows, tile.vectors, parts(self.chunks)),
                WeightTile::Wide(tile) => format!("wide {}{}", 8 * tile.lanes, parts(self.chunks)),
            },
            (Tiles::Subgroup { forward: tile, .. }, Pass::Forward) => {
                format!("{} x {} x {} x {}", tile.images, tile.rows, tile.columns, tile.vectors)
            }
            (Tiles::Subgroup { input: tile, .. }, Pass::BackwardInput) => {
                format!("{} x {} x {} x {}", tile.images, tile.rows, tile.columns, tile.vectors)
            }
            (Tiles::Subgroup { weight: tile, .. }, Pass::BackwardWeight) => {
                format!("{} x {} x {} x {}", tile.rows, tile.columns, tile.depth, tile.vectors)
            }
        }
    }

    /// With another tile, where these are plain kernels.
    pub fn with_plain_tile(mut self, tile: plain::Tile) -> Self {
        if let Tiles::Plain(own) = &mut self.tiles {
            *own = tile;
        }
        self
    }

    /// With other tiles, where these are tiled kernels.
    pub fn with_tiled_tiles(mut self, tile: tiled::Tile, weight_tile: tiled::WeightTile) -> Self {
        if let Tiles::Tiled { forward, input, weight } = &mut self.tiles {
            (*forward, *input) = (Product::Tiled(tile), Product::Tiled(tile));
            *weight = WeightTile::Tiled(weight_tile);
        }
        self
    }

    /// With wide tiles, in at most so many parts, where these are tiled kernels.
    pub fn with_wide_tiles(mut self, tile: wide::Tile, parts: u32, weight_tile: wide::WeightTile) -> Self {
        if let Tiles::Tiled { forward, input, weight } = &mut self.tiles {
            *forward = Product::Wide(wide::Product::forward_in_parts(tile, &self.shape, parts));
            *input = Product::Wide(wide::Product::backward_input_in_parts(tile, &self.shape, parts));
            *weight = WeightTile::Wide(weight_tile);
        }
        self
    }

    /// The sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Parts that the weight's gradient is added up from.
    pub fn weight_parts(&self) -> Parts {
        Parts::new(self.shape.weight_vectors(), self.chunks)
    }

    /// 32-bit numbers that [`Conv2d::forward`] and [`Conv2d::backward_input`] need for partial sums: none, where one part is all.
    pub fn partial_lens(&self) -> [usize; 2] {
        let [forward, input] = match &self.tiles {
            Tiles::Tiled { forward, input, .. } => [forward.parts(), input.parts()],
            _ => [1, 1],
        };
        let shape = &self.shape;
        let vectors = [shape.output_vectors(), shape.input_vectors()];
        let parts = [forward, input];
        std::array::from_fn(|i| if parts[i] == 1 { 0 } else { (4 * parts[i] * vectors[i]) as usize })
    }

    /// 32-bit numbers of the weight, and of the transposed weight that [`Conv2d::backward_input`] works with.
    pub fn weight_len(&self) -> usize {
        (self.shape.weight_vectors() * 4) as usize
    }

    /// Adds `y = x (*) weight`. `partials` is room for the numbers of [`Conv2d::partial_lens`].
    #[allow(clippy::too_many_arguments)] // They are the tensors of the formula.
    pub fn forward(
        &self,
        gpu: &Gpu,
        plan: &mut Plan,
        place: &str,
        x: &Tensor,
        weight: &Tensor,
        partials: &Tensor,
        y: &Tensor,
    ) {
        let shape = self.shape;
        match &self.tiles {
            Tiles::Plain(tile) => plan.add(gpu, place, &plain::Forward { shape, tile: *tile, x, weight, y }),
            Tiles::Tiled { forward: Product::Tiled(tile), .. } => {
                plan.add(gpu, place, &tiled::Forward { shape, tile: *tile, x, weight, y });
            }
            Tiles::Tiled { forward: Product::Wide(wide::Product { tile, chunk, parts }), .. } => {
                let shape = Shape { chunk: *chunk, ..shape };
                let [parts, vectors] = [u64::from(*parts), shape.output_vectors()];
                let y_parts = if parts == 1 { y } else { partials };
                plan.add(gpu, place, &wide::Forward { shape, tile: *tile, x, weight, y: y_parts });
                sum_parts(gpu, plan, place, Parts::new(vectors, parts), partials, y);
            }
            Tiles::Subgroup { forward, .. } => {
                plan.add(gpu, place, &subgroup::Forward { shape, tile: *forward, x, weight, y });
            }
        }
    }

    /// Adds `dx =` gradient of the input. `transposed` is the transposed weight ([`together::transpose`](super::together::transpose)),
    /// `partials` room for the numbers of [`Conv2d::partial_lens`].
    #[allow(clippy::too_many_arguments)] // They are the tensors of the formula.
    pub fn backward_input(
        &self,
        gpu: &Gpu,
        plan: &mut Plan,
        place: &str,
        transposed: &Tensor,
        dy: &Tensor,
        partials: &Tensor,
        dx: &Tensor,
    ) {
        let shape = self.shape;
        match &self.tiles {
            Tiles::Plain(tile) => {
                plan.add(gpu, place, &plain::BackwardInput { shape, tile: *tile, transposed, dy, dx });
            }
            Tiles::Tiled { input: Product::Tiled(tile), .. } => {
                plan.add(gpu, place, &tiled::BackwardInput { shape, tile: *tile, transposed, dy, dx });
            }
            Tiles::Tiled { input: Product::Wide(wide::Product { tile, chunk, parts }), .. } => {
                let shape = Shape { chunk: *chunk, ..shape };
                let [parts, vectors] = [u64::from(*parts), shape.input_vectors()];
                let dx_parts = if parts == 1 { dx } else { partials };
                plan.add(gpu, place, &wide::BackwardInput { shape, tile: *tile, transposed, dy, dx: dx_parts });
                sum_parts(gpu, plan, place, Parts::new(vectors, parts), partials, dx);
            }
            Tiles::Subgroup { input, .. } => {
                plan.add(gpu, place, &subgroup::BackwardInput { shape, tile: *input, transposed, dy, dx });
            }
        }
    }

    /// Adds the gradient of the weight over the live images, in the parts of [`Conv2d::weight_parts`].
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
        let shape = self.shape;
        match &self.tiles {
            Tiles::Plain(tile) => {
                plan.add(gpu, place, &plain::BackwardWeight { shape, tile: *tile, step, x, dy, partial });
            }
            Tiles::Tiled { weight: WeightTile::Tiled(tile), .. } => {
                plan.add(gpu, place, &tiled::BackwardWeight { shape, tile: *tile, step, x, dy, partial });
            }
            Tiles::Tiled { weight: WeightTile::Wide(tile), .. } => {
                plan.add(gpu, place, &wide::BackwardWeight { shape, tile: *tile, step, x, dy, partial });
            }
            Tiles::Subgroup { weight, .. } => {
                plan.add(gpu, place, &subgroup::BackwardWeight { shape, tile: *weight, step, x, dy, partial });
            }
        }
    }
}

/// Adds `whole =` sum of its parts, if there are several.
pub fn sum_parts(gpu: &Gpu, plan: &mut Plan, place: &str, shape: Parts, partials: &Tensor, whole: &Tensor) {
    if shape.chunks > 1 {
        plan.add(gpu, place, &SumWeight { shape: shape.on(gpu), shared: Shared::on(gpu), partials, dweight: whole });
    }
}

uniform! {
    /// Sizes of a sum over chunks.
    pub struct Parts {
        /// Vectors of the weight.
        pub len: u32,
        /// Chunks.
        pub chunks: u32,
        /// Vectors of the weight that one workgroup adds up: a power of two, at most 64.
        pub columns: u32,
    }
}

impl Parts {
    /// So many chunks of a weight of so many vectors. Of many chunks, an invocation adds up about 16.
    pub fn new(len: u64, chunks: u64) -> Self {
        let rows = chunks.div_ceil(16).next_power_of_two().min(16);
        Self { len: len as u32, chunks: chunks as u32, columns: (WORKGROUP / rows) as u32 }
    }

    /// The same where a device adds them up: without shared sums each invocation has a column of its own.
    pub fn on(self, gpu: &Gpu) -> Self {
        if gpu.shares_sums() { self } else { Self { columns: WORKGROUP as u32, ..self } }
    }

    /// 32-bit numbers of the parts: none, where one part is all.
    pub fn partial_len(&self) -> usize {
        if self.chunks == 1 { 0 } else { 4 * self.chunks as usize * self.len as usize }
    }

    /// Workgroups that add them up.
    pub fn workgroups(&self) -> u64 {
        self.len.div_ceil(self.columns).into()
    }
}

kernel! {
    /// `dweight =` sum of the partials over the chunks
    SumWeight("conv2d_sum", sum) {
        constant shape: Parts,
        tile shared: Shared,
        read partials,
        write dweight,
    }
    workgroups |shape| shape.workgroups();
    flops |shape| u64::from(shape.chunks) * u64::from(shape.len) * 4;
}
