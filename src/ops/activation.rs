//! What follows a convolution in one pass over memory, batch norm, ReLU and Dropout2d: `shaders/activation.wgsl`.

use super::sums::Rows;
use super::{Step, batch_norm, dropout};
use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Sizes and constants: those of [`batch_norm::Shape`] and of [`dropout::Shape`].
    pub struct Shape {
        /// Images in a batch.
        pub n: u32,
        /// Height times width.
        pub pixels: u32,
        /// Vectors of channels.
        pub channels: u32,
        /// Pixels that [`BackwardSums`] adds up to one part.
        pub chunk: u32,
        /// Number of this layer: each has its own masks.
        pub layer: u32,
        /// `p * 2^32`: random numbers below it drop.
        pub threshold: u32,
        /// `1 / (1 - p)`
        pub scale: f32,
        /// Added to the variance.
        pub eps: f32,
    }
}

/// Pixels of one image that one invocation takes: EACH in activation.wgsl.
pub const EACH: u64 = 16;

impl Shape {
    /// Puts the shapes of the two layers together.
    pub fn new(norm: batch_norm::Shape, dropout: dropout::Shape) -> Self {
        let batch_norm::Shape { n, pixels, channels, chunk, eps, .. } = norm;
        let dropout::Shape { layer, threshold, scale, .. } = dropout;
        Self { n, pixels, channels, chunk, layer, threshold, scale, eps }
    }

    /// The same without dropout, for evaluation.
    pub fn without_dropout(self) -> Self {
        Self { threshold: 0, scale: 1.0, ..self }
    }

    fn elementwise_threads(&self) -> u64 {
        u64::from(self.n) * u64::from(self.channels) * u64::from(self.pixels).div_ceil(EACH)
    }

    fn values(&self) -> u64 {
        4 * u64::from(self.n) * u64::from(self.pixels) * u64::from(self.channels)
    }
}

kernel! {
    /// `y = max(z, 0) * mask`
    Forward("activation", forward) {
        constant shape: Shape,
        uniform step: Step,
        read x,
        read gamma,
        read beta,
        read mean,
        read variance,
        write y,
    }
    threads |shape| shape.elementwise_threads();
    flops |shape| 5 * shape.values();
}

kernel! {
    /// `partial =` sums of `dz * (x - mean)` and of `dz` over each chunk of pixels
    BackwardSums("activation", backward_sums) {
        constant shape: Shape,
        tile rows: Rows,
        uniform step: Step,
        read x,
        read dy,
        read gamma,
        read beta,
        read mean,
        read variance,
        write partial,
    }
    workgroups |shape, rows| {
        let pixels = u64::from(shape.n) * u64::from(shape.pixels);
        rows.workgroups(pixels.div_ceil(shape.chunk.into()) * u64::from(shape.channels))
    };
    flops |shape| 7 * shape.values();
}

kernel! {
    /// `dx =` gradient of the convolution's output in training
    Backward("activation", backward) {
        constant shape: Shape,
        uniform step: Step,
        read x,
        read dy,
        read gamma,
        read beta,
        read mean,
        read variance,
        read dgamma,
        read dbeta,
        write dx,
    }
    threads |shape| shape.elementwise_threads();
    flops |shape| 8 * shape.values();
}
