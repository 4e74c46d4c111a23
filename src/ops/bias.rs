//! The bias of a convolution: `shaders/bias.wgsl`.

use super::conv2d::{Parts, SumWeight};
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

    /// 32-bit numbers that [`Shape::backward`] needs for its partial sums: none, where one chunk is all.
    pub fn partial_len(&self) -> usize {
        if self.chunks() == 1 { 0 } else { (self.chunks() * u64::from(self.channels) * 4) as usize }
    }

    /// Parts that the gradient is added up from.
    pub fn chunks(&self) -> u64 {
        self.all_pixels().div_ceil(self.chunk.into())
    }

    fn all_pixels(&self) -> u64 {
        u64::from(self.n) * u64::from(self.pixels)
    }

    /// Adds `dbias =` sum of dy over the live images. `partials` is room for [`Shape::partial_len`] numbers.
    #[allow(clippy::too_many_arguments)] // They are the tensors of the formula.
    pub fn backward(
        &self,
        gpu: &Gpu,
        plan: &mut Plan,
        place: &str,
        step: &Tensor,
        dy: &Tensor,
        partials: &Tensor,
        dbias: &Tensor,
    ) {
        let partial = if self.chunks() == 1 { dbias } else { partials };
        let rows = Rows::new(gpu.shares_sums(), self.channels);
        plan.add(gpu, place, &BackwardSums { shape: *self, rows, step, dy, partial });
        if self.chunks() > 1 {
            let shape = Parts::new(self.channels.into(), self.chunks());
            plan.add(gpu, place, &SumWeight { shape, partials, dweight: dbias });
        }
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
        write y,
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
