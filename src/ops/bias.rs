//! The bias of a convolution: `shaders/bias.wgsl`.

use super::conv2d::Parts;
use super::sums::Rows;
use super::{Step, vectors};
use crate::gpu::kernel::{kernel, uniform};
use crate::gpu::{Gpu, Plan, Tensor};

uniform! {
    /// Sizes.
    pub struct Shape {
        /// Images in a batch.
        pub n: u32,
        /// Height times width.
        pub pixels: u32,
        /// Vectors of channels.
        pub channels: u32,
        /// Pixels that [`BackwardSums`] adds up to one part.
        pub chunk: u32,
    }
}

/// Pixels that one invocation of [`Forward`] takes: EACH in bias.wgsl.
pub const EACH: u64 = 16;

impl Shape {
    /// Shape for `n` images of `channels` x `pixels`.
    pub fn new(shares: bool, n: usize, channels: usize, pixels: usize) -> Self {
        let all_pixels = n * pixels;
        let [n, pixels, channels] = [n, pixels, vectors(channels)].map(|size| size as u32);
        let chunk = Rows::new(shares, channels).chunk(all_pixels, channels);
        Self { n, pixels, channels, chunk }
    }

    /// Parts that the gradient is added up from.
    pub fn parts(&self) -> Parts {
        Parts::new(self.channels.into(), self.chunks())
    }

    fn chunks(&self) -> u64 {
        self.all_pixels().div_ceil(self.chunk.into())
    }

    fn all_pixels(&self) -> u64 {
        u64::from(self.n) * u64::from(self.pixels)
    }

    /// Adds the sum of dy over the live images, in the parts of [`Shape::parts`].
    pub fn backward(&self, gpu: &Gpu, plan: &mut Plan, place: &str, step: &Tensor, dy: &Tensor, partial: &Tensor) {
        let rows = Rows::new(gpu.shares_sums(), self.channels);
        plan.add(gpu, place, &BackwardSums { shape: *self, rows, step, dy, partial });
    }

    fn values(&self) -> u64 {
        4 * self.all_pixels() * u64::from(self.channels)
    }
}

kernel! {
    /// `y += bias`
    Forward("bias", forward) {
        constant shape: Shape,
        read bias,
        update y,
    }
    threads |shape| shape.all_pixels().div_ceil(EACH) * u64::from(shape.channels);
    flops |shape| shape.values();
}

kernel! {
    /// `partial[chunk] =` sum of dy over one chunk of the live images' pixels
    BackwardSums("bias", backward_sums) {
        constant shape: Shape,
        tile rows: Rows,
        uniform step: Step,
        read dy,
        write partial,
    }
    workgroups |shape, rows| rows.workgroups(shape.chunks() * u64::from(shape.channels));
    flops |shape| shape.values();
}
