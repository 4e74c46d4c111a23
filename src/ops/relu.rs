//! ReLU, and ReLU6, which has a ceiling: `shaders/relu.wgsl`.

use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Size of the tensors.
    pub struct Shape {
        /// Vectors of four numbers.
        pub len: u32,
    }
}

/// Vectors that one invocation takes: EACH in relu.wgsl.
pub const EACH: u32 = 4;

kernel! {
    /// `y = max(x, 0)`
    Forward("relu", forward) {
        constant shape: Shape,
        read x,
        write y,
    }
    threads |shape| shape.len.div_ceil(EACH).into();
    flops |shape| 4 * u64::from(shape.len);
}

kernel! {
    /// `dx = dy` where `x > 0`, else 0
    Backward("relu", backward) {
        constant shape: Shape,
        read x,
        read dy,
        write dx,
    }
    threads |shape| shape.len.div_ceil(EACH).into();
    flops |shape| 4 * u64::from(shape.len);
}

kernel! {
    /// `dx = max(dy, 0)` where `x > 0`, else 0: guided backpropagation, for images only
    BackwardGuided("relu", backward_guided) {
        constant shape: Shape,
        read x,
        read dy,
        write dx,
    }
    threads |shape| shape.len.div_ceil(EACH).into();
    flops |shape| 8 * u64::from(shape.len);
}

kernel! {
    /// `dx = max(dy, 0)`: the deconvolutional network, for images only; of ReLU6 too
    BackwardDeconvnet("relu", backward_deconvnet) {
        constant shape: Shape,
        read dy,
        write dx,
    }
    threads |shape| shape.len.div_ceil(EACH).into();
    flops |shape| 4 * u64::from(shape.len);
}

kernel! {
    /// `y = min(max(x, 0), 6)`
    Forward6("relu", forward6) {
        constant shape: Shape,
        read x,
        write y,
    }
    threads |shape| shape.len.div_ceil(EACH).into();
    flops |shape| 8 * u64::from(shape.len);
}

kernel! {
    /// `dx = dy` where `0 < x < 6`, else 0
    Backward6("relu", backward6) {
        constant shape: Shape,
        read x,
        read dy,
        write dx,
    }
    threads |shape| shape.len.div_ceil(EACH).into();
    flops |shape| 8 * u64::from(shape.len);
}

kernel! {
    /// `dx = max(dy, 0)` where `0 < x < 6`, else 0: guided backpropagation through ReLU6, for images only
    Backward6Guided("relu", backward6_guided) {
        constant shape: Shape,
        read x,
        read dy,
        write dx,
    }
    threads |shape| shape.len.div_ceil(EACH).into();
    flops |shape| 12 * u64::from(shape.len);
}

/// What ReLU passes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The gradient.
    Gradient,
    /// [`BackwardGuided`]: no gradient, for images only.
    Guided,
    /// [`BackwardDeconvnet`]: no gradient, for images only.
    Deconvnet,
}
