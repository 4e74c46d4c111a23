//! Softmax cross-entropy and the sums behind loss and accuracy: `shaders/cross_entropy.wgsl`.

use super::{Step, vectors};
use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Sizes of the logits.
    pub struct Shape {
        /// Images in a batch.
        pub n: u32,
        /// Classes.
        pub classes: u32,
        /// Vectors of logits.
        pub width: u32,
    }
}

impl Shape {
    /// Shape for `n` images and so many classes.
    ///
    /// # Panics
    /// When there are more images or classes than the sums can take.
    pub fn new(n: usize, classes: usize) -> Self {
        // A software driver stops an invocation's loops after 65,535 turns in all.
        assert!(n <= 60_000 && classes <= 20_000, "cross-entropy: {n} x {classes} is too large");
        Self { n: n as u32, classes: classes as u32, width: vectors(classes) as u32 }
    }

    fn logits(&self) -> u64 {
        u64::from(self.n) * u64::from(self.classes)
    }
}

kernel! {
    /// `loss, correct =` of each image
    Forward("cross_entropy", forward) {
        constant shape: Shape,
        read logits,
        read labels,
        write loss,
        write correct,
    }
    threads |shape| shape.n.into();
    flops |shape| 4 * shape.logits();
}

kernel! {
    /// `dlogits = (softmax - one at the label) / live images`
    Backward("cross_entropy", backward) {
        constant shape: Shape,
        uniform step: Step,
        read logits,
        read labels,
        write dlogits,
    }
    threads |shape| shape.n.into();
    flops |shape| 6 * shape.logits();
}

kernel! {
    /// `loss_sum +=` losses; `counts +=` correct images, images, images whose loss is not finite
    Accumulate("cross_entropy", accumulate) {
        constant shape: Shape,
        uniform step: Step,
        read losses,
        read hits,
        write loss_sum,
        write counts,
    }
    threads |shape| u64::from(shape.n > 0);
    flops |shape| u64::from(shape.n);
}
