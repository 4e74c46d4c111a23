//! Clipping the gradient by its norm: `shaders/clip.wgsl`.

use crate::gpu::kernel::{WORKGROUP, kernel, uniform};

/// Parts of the sum of squares at most.
const PARTS: usize = 256;

uniform! {
    /// Sizes, and the limit.
    pub struct Shape {
        /// Vectors of four of the gradient.
        pub len: u32,
        /// Parts of the sum of their squares.
        pub parts: u32,
        /// The largest norm that is left as it is.
        pub most: f32,
    }
}

impl Shape {
    /// Shape for `len` vectors of four.
    ///
    /// # Panics
    /// When there are more than the sums can take.
    pub fn new(len: usize, most: f32) -> Self {
        let parts = len.div_ceil(WORKGROUP as usize).clamp(1, PARTS);
        // A software driver stops an invocation's loops after 65,535 turns in all.
        assert!(len <= 60_000 * PARTS * WORKGROUP as usize, "clip: {len} vectors are too many");
        Self { len: len as u32, parts: parts as u32, most }
    }
}

kernel! {
    /// `partials =` sums of squares, one a workgroup
    Squares("clip", squares) {
        constant shape: Shape,
        read values,
        write partials,
    }
    workgroups |shape| shape.parts.into();
    flops |shape| 8 * u64::from(shape.len);
}

kernel! {
    /// `gradient *=` what keeps its norm at most at the limit
    Scale("clip", scale) {
        constant shape: Shape,
        read parts_of_sum,
        update gradient,
    }
    threads |shape| shape.len.into();
    flops |shape| 4 * u64::from(shape.len);
}
