//! AdaptiveAvgPool2d: `shaders/adaptive_avg_pool2d.wgsl`.

use super::vectors;
use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Sizes of the input and the output.
    pub struct Shape {
        /// Images in a batch.
        pub n: u32,
        /// Height of the input.
        pub h: u32,
        /// Width of the input.
        pub w: u32,
        /// Vectors of channels.
        pub channels: u32,
        /// Height of the output.
        pub oh: u32,
        /// Width of the output.
        pub ow: u32,
    }
}

impl Shape {
    /// Shape for `n` images of `channels` x `h` x `w`, pooled to `out`.
    pub fn new(n: usize, [channels, h, w]: [usize; 3], out: [usize; 2]) -> Self {
        let [n, h, w, channels, oh, ow] = [n, h, w, vectors(channels), out[0], out[1]].map(|size| size as u32);
        Self { n, h, w, channels, oh, ow }
    }

    fn inputs(&self) -> u64 {
        u64::from(self.n) * u64::from(self.h) * u64::from(self.w) * u64::from(self.channels)
    }

    fn outputs(&self) -> u64 {
        u64::from(self.n) * u64::from(self.oh) * u64::from(self.ow) * u64::from(self.channels)
    }
}

kernel! {
    /// `y =` means over the windows
    Forward("adaptive_avg_pool2d", forward) {
        constant shape: Shape,
        read x,
        write y,
    }
    threads |shape| shape.outputs();
    flops |shape| 4 * shape.inputs();
}

kernel! {
    /// `dx =` gradient of the input
    Backward("adaptive_avg_pool2d", backward) {
        constant shape: Shape,
        read dy,
        write dx,
    }
    threads |shape| shape.inputs();
    flops |shape| 8 * shape.inputs();
}
