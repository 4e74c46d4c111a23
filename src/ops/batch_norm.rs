//! BatchNorm2d, in training and in evaluation: `shaders/batch_norm.wgsl`.

use super::sums::Rows;
use super::{Step, vectors};
use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Sizes and constants.
    pub struct Shape {
        /// Images in a batch.
        pub n: u32,
        /// Height times width.
        pub pixels: u32,
        /// Vectors of channels.
        pub channels: u32,
        /// Pixels that [`Statistics`] and [`BackwardSums`] add up to one part.
        pub chunk: u32,
        /// Added to the variance.
        pub eps: f32,
        /// How far the running statistics move towards the batch's.
        pub momentum: f32,
    }
}

/// What is added to the variance before its root is taken: PyTorch's default.
pub const EPS: f32 = 1e-5;

/// Pixels that one invocation of the elementwise kernels takes: EACH in batch_norm.wgsl.
pub const EACH: u64 = 16;

impl Shape {
    /// Shape for `n` images of `channels` x `pixels`, with PyTorch's defaults `eps = 1e-5`, `momentum = 0.1`.
    pub fn new(shares: bool, n: usize, channels: usize, pixels: usize) -> Self {
        let all_pixels = n * pixels;
        let [n, pixels, channels] = [n, pixels, vectors(channels)].map(|size| size as u32);
        let chunk = Rows::new(shares, channels).chunk(all_pixels, channels);
        Self { n, pixels, channels, chunk, eps: EPS, momentum: 0.1 }
    }

    /// 32-bit numbers in the partial results of [`Statistics`] and [`BackwardSums`].
    pub fn partial_len(&self) -> usize {
        (self.partials() * 2 * 4) as usize
    }

    fn all_pixels(&self) -> u64 {
        u64::from(self.n) * u64::from(self.pixels)
    }

    /// Vectors of each of the two partial results.
    fn partials(&self) -> u64 {
        self.all_pixels().div_ceil(self.chunk.into()) * u64::from(self.channels)
    }

    fn elementwise_threads(&self) -> u64 {
        self.all_pixels().div_ceil(EACH) * u64::from(self.channels)
    }

    fn values(&self) -> u64 {
        4 * self.all_pixels() * u64::from(self.channels)
    }
}

kernel! {
    /// `partial =` mean and squared distances of each chunk of pixels
    Statistics("batch_norm", statistics) {
        constant shape: Shape,
        tile rows: Rows,
        uniform step: Step,
        read x,
        write partial,
    }
    workgroups |shape, rows| rows.workgroups(shape.partials());
    flops |shape| 4 * shape.values();
}

kernel! {
    /// `batch_mean, batch_variance =` the batch's; the running ones move towards them
    Combine("batch_norm", combine) {
        constant shape: Shape,
        tile rows: Rows,
        uniform step: Step,
        read partials,
        write batch_mean,
        write batch_variance,
        write running_mean,
        write running_variance,
    }
    workgroups |shape, rows| rows.workgroups(shape.channels.into());
    flops |shape| 32 * shape.partials();
}

kernel! {
    /// `y = (x - mean) / sqrt(variance + eps) * gamma + beta`
    Forward("batch_norm", forward) {
        constant shape: Shape,
        read x,
        read gamma,
        read beta,
        read mean,
        read variance,
        write y,
    }
    threads |shape| shape.elementwise_threads();
    flops |shape| 3 * shape.values();
}

kernel! {
    /// `partial =` sums of `dy * (x - mean)` and of `dy` over each chunk of pixels
    BackwardSums("batch_norm", backward_sums) {
        constant shape: Shape,
        tile rows: Rows,
        uniform step: Step,
        read x,
        read dy,
        read mean,
        write partial,
    }
    workgroups |shape, rows| rows.workgroups(shape.partials());
    flops |shape| 4 * shape.values();
}

kernel! {
    /// `sum_gamma, sum_beta =` gradients of gamma and beta
    BackwardCombine("batch_norm", backward_combine) {
        constant shape: Shape,
        tile rows: Rows,
        uniform step: Step,
        read partials,
        read variance,
        write sum_gamma,
        write sum_beta,
    }
    workgroups |shape, rows| rows.workgroups(shape.channels.into());
    flops |shape| 8 * shape.partials();
}

kernel! {
    /// `dx =` gradient of the input in training
    Backward("batch_norm", backward) {
        constant shape: Shape,
        uniform step: Step,
        read x,
        read dy,
        read gamma,
        read mean,
        read variance,
        read dgamma,
        read dbeta,
        write dx,
    }
    threads |shape| shape.elementwise_threads();
    flops |shape| 5 * shape.values();
}

kernel! {
    /// `dx =` gradient of the input in evaluation
    BackwardEval("batch_norm", backward_eval) {
        constant shape: Shape,
        read dy,
        read gamma,
        read variance,
        write dx,
    }
    threads |shape| shape.elementwise_threads();
    flops |shape| shape.values();
}
