//! Dropout and Dropout2d in training: `shaders/dropout.wgsl`. In evaluation both do nothing.

use super::{Step, vectors};
use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Sizes and probability.
    pub struct Shape {
        /// Images in a batch.
        pub n: u32,
        /// Height times width.
        pub pixels: u32,
        /// Vectors of channels.
        pub channels: u32,
        /// 1 drops whole channels (Dropout2d), 0 single values (Dropout).
        pub whole_channels: u32,
        /// Number of this layer: each has its own masks.
        pub layer: u32,
        /// `p * 2^32`: random numbers below it drop.
        pub threshold: u32,
        /// `1 / (1 - p)`
        pub scale: f32,
    }
}

/// Pixels of one image that one invocation takes: EACH in dropout.wgsl.
pub const EACH: u64 = 16;

impl Shape {
    /// Shape for `n` images of `channels` x `pixels` and the probability `p` to drop.
    ///
    /// # Panics
    /// When `p` is not in `[0, 1)`.
    pub fn new(n: usize, channels: usize, pixels: usize, p: f32, whole_channels: bool, layer: usize) -> Self {
        assert!((0.0..1.0).contains(&p), "dropout: p = {p} is not in [0, 1)");
        Self {
            n: n as u32,
            pixels: pixels as u32,
            channels: vectors(channels) as u32,
            whole_channels: whole_channels.into(),
            layer: layer as u32,
            threshold: (f64::from(p) * 2f64.powi(32)) as u32,
            // In f64, as PyTorch and the CPU reference do: in f32 the last bit would be off for some p.
            scale: (1.0 / (1.0 - f64::from(p))) as f32,
        }
    }

    fn threads(&self) -> u64 {
        u64::from(self.n) * u64::from(self.channels) * u64::from(self.pixels).div_ceil(EACH)
    }

    fn len(&self) -> u64 {
        u64::from(self.n) * u64::from(self.pixels) * u64::from(self.channels)
    }
}

kernel! {
    /// `y = x * scale` where kept, else 0
    Forward("dropout", forward) {
        constant shape: Shape,
        uniform step: Step,
        read x,
        write y,
    }
    threads |shape| shape.threads();
    flops |shape| 4 * shape.len();
}

kernel! {
    /// `dx = dy * scale` where kept, else 0
    Backward("dropout", backward) {
        constant shape: Shape,
        uniform step: Step,
        read dy,
        write dx,
    }
    threads |shape| shape.threads();
    flops |shape| 4 * shape.len();
}
