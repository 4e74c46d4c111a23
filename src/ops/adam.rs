//! Adam: `shaders/adam.wgsl`.

use super::Step;
use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Size and constants.
    pub struct Shape {
        /// Vectors of four parameters.
        pub len: u32,
        /// Decay of the first moment.
        pub beta1: f32,
        /// Decay of the second moment.
        pub beta2: f32,
        /// `1 - beta1`
        pub rest1: f32,
        /// `1 - beta2`
        pub rest2: f32,
        /// Added to the denominator.
        pub eps: f32,
        /// Times the parameter, added to its gradient.
        pub weight_decay: f32,
    }
}

/// PyTorch's default decay of the first moment.
pub const BETA1: f64 = 0.9;
/// PyTorch's default decay of the second moment.
pub const BETA2: f64 = 0.999;

impl Shape {
    /// Shape for `len` vectors of four, with PyTorch's defaults and `eps = 1e-8`.
    pub fn new(len: usize, weight_decay: f32) -> Self {
        Self {
            len: len as u32,
            beta1: BETA1 as f32,
            beta2: BETA2 as f32,
            rest1: (1.0 - BETA1) as f32,
            rest2: (1.0 - BETA2) as f32,
            eps: 1e-8,
            weight_decay,
        }
    }
}

kernel! {
    /// `parameter -=` one step; `first` and `second` are the moments
    Update("adam", update) {
        constant shape: Shape,
        uniform step: Step,
        read gradient,
        read counts,
        update parameter,
        update first,
        update second,
    }
    threads |shape| shape.len.into();
    flops |shape| 4 * 14 * u64::from(shape.len);
}
