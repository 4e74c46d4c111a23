//! The sum of two tensors: `shaders/add.wgsl`.

use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Size of the tensors.
    pub struct Shape {
        /// Vectors of four numbers.
        pub len: u32,
    }
}

/// Vectors that one invocation takes: EACH in add.wgsl.
pub const EACH: u32 = 4;

kernel! {
    /// `y = a + b`: a residual sum, or the gradient of a value that two consumers read
    Forward("add", forward) {
        constant shape: Shape,
        read a,
        read b,
        write y,
    }
    threads |shape| shape.len.div_ceil(EACH).into();
    flops |shape| 4 * u64::from(shape.len);
}
