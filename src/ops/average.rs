//! Exponential moving average: `shaders/average.wgsl`.

use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Size and constant.
    pub struct Shape {
        /// Vectors of four.
        pub len: u32,
        /// `1 - decay`
        pub rest: f32,
    }
}

kernel! {
    /// `average +=` its share of the way to `value`
    Update("average", update) {
        constant shape: Shape,
        read value,
        update average,
    }
    threads |shape| shape.len.into();
    flops |shape| 4 * 3 * u64::from(shape.len);
}
