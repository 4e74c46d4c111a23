//! What the device can do at best, for the benchmarks to compare with: `shaders/peak.wgsl`.

use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Sizes of the measurement.
    pub struct Shape {
        /// Vectors of four numbers.
        pub len: u32,
        /// Rounds of multiply-adds that an invocation of [`MultiplyAdd`] makes.
        pub rounds: u32,
    }
}

/// Vectors that one invocation of [`Copy`](struct@Copy) takes: EACH in peak.wgsl.
pub const EACH: u32 = 8;

kernel! {
    /// `y =` the end of many multiply-adds in registers
    MultiplyAdd("peak", multiply_add) {
        constant shape: Shape,
        read x,
        write y,
    }
    threads |shape| shape.len.into();
    flops |shape| u64::from(shape.len) * u64::from(shape.rounds) * 8 * 8 * 4 * 2;
}

kernel! {
    /// `y = x`
    Copy("peak", copy) {
        constant shape: Shape,
        read x,
        write y,
    }
    threads |shape| shape.len.div_ceil(EACH).into();
    flops |_shape| 0;
}
