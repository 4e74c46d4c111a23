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
        /// Of [`ForwardBackwardWeighted`] alone: the share of a target that stays at the label.
        pub kept: f32,
        /// What every class gets of the rest.
        pub each: f32,
        /// That, times the sum of the classes' weights.
        pub spread: f32,
    }
}

impl Shape {
    /// Shape for `n` images and so many classes.
    ///
    /// # Panics
    /// When there are more images or classes than the sums can take.
    pub fn new(n: usize, classes: usize) -> Self {
        // A software driver stops an invocation's loops after 65,535 turns in all: three times the classes, and for weighted targets
        // a 64th of the images.
        assert!(n <= 60_000 && classes <= 20_000, "cross-entropy: {n} x {classes} is too large");
        let [n, classes, width] = [n, classes, vectors(classes)].map(|size| size as u32);
        Self { n, classes, width, kept: 1.0, each: 0.0, spread: 0.0 }
    }

    /// The same for targets of which a share is spread evenly over all classes, which have these weights.
    ///
    /// # Panics
    /// When there are not as many weights as classes.
    pub fn with_targets(self, smoothing: f64, weights: &[f32]) -> Self {
        assert_eq!(weights.len(), self.classes as usize, "one weight a class");
        let each = smoothing / f64::from(self.classes);
        let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        Self { kept: (1.0 - smoothing) as f32, each: each as f32, spread: (each * sum) as f32, ..self }
    }

    fn logits(&self) -> u64 {
        u64::from(self.n) * u64::from(self.classes)
    }
}

kernel! {
    /// `loss, correct =` of each image; `dlogits = (softmax - one at the label) / live images`
    ForwardBackward("cross_entropy", forward_backward) {
        constant shape: Shape,
        uniform step: Step,
        read logits,
        read labels,
        write loss,
        write correct,
        write dlogits,
    }
    threads |shape| shape.n.into();
    flops |shape| 7 * shape.logits();
}

kernel! {
    /// The same, with `dlogits` for smoothed targets and weighted classes; `weights` has one for each class
    ForwardBackwardWeighted("cross_entropy", forward_backward_weighted) {
        constant shape: Shape,
        uniform step: Step,
        read logits,
        read labels,
        read weights,
        write loss,
        write correct,
        write dlogits,
    }
    threads |shape| shape.n.into();
    flops |shape| 10 * shape.logits();
}

kernel! {
    /// `loss_sum +=` losses; `counts +=` correct images, images, images whose loss is not finite; then the first step with such an image
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
