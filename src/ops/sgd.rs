//! Stochastic gradient descent with momentum: `shaders/sgd.wgsl`.

use super::Step;
use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Size and constants.
    pub struct Shape {
        /// Vectors of four parameters.
        pub len: u32,
        /// Decay of the velocity.
        pub momentum: f32,
        /// Times the parameter, added to its gradient.
        pub weight_decay: f32,
    }
}

kernel! {
    /// `parameter -=` one step
    Update("sgd", update) {
        constant shape: Shape,
        uniform step: Step,
        read gradient,
        read counts,
        update parameter,
        update velocity,
    }
    threads |shape| shape.len.into();
    flops |shape| 4 * 6 * u64::from(shape.len);
}
