//! The kernels of each layer: forward, and backward its mirror.
//!
//! A layer knows sizes only. Its tensors come with each call: [`Build`] brings the weights, what it gets and makes are arguments.

mod activation;
mod batch_norm;
mod conv2d;
mod dropout;
mod linear;
mod pool;
mod relu;

pub(super) use activation::Activation;
pub(super) use batch_norm::BatchNorm2d;
pub(super) use conv2d::{Biased, Conv2d, Depthwise};
pub(super) use dropout::Dropout;
pub(super) use linear::Linear;
pub(super) use pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d};
pub(super) use relu::{Relu, Relu6};

use super::Mode;
use crate::gpu::kernel::Kernel;
use crate::gpu::{Gpu, Plan, Tensor};
use crate::ops::conv2d::{Conv2d as Conv, Parts};
use crate::ops::relu::Rule;
use crate::ops::together::Sums;

/// One layer's kernels. `x` is what it gets, `y` what it makes; `dx` and `dy` are the loss's gradients by them.
pub(super) trait Layer {
    /// Numbers that it needs for partial sums, while its kernels run.
    fn partial_len(&self) -> usize {
        0
    }

    /// The gradients of its weights that it makes in parts.
    fn parts(&self) -> Vec<Parts> {
        Vec::new()
    }

    /// The convolution whose transposed weight its backward pass reads, if it does.
    fn transposes(&self) -> Option<&Conv> {
        None
    }

    /// Numbers that forward leaves for backward, beside `x`.
    fn kept_len(&self) -> usize {
        0
    }

    /// Adds the kernels that make `y`.
    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor);

    /// Adds the kernels that make `dx`, if it is wanted, and in training the gradients of the weights.
    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>);
}

/// A plan that is being made, and what one layer's kernels are bound to.
pub(super) struct Build<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) plan: &'a mut Plan,
    /// Where in the network, for the kernels' names.
    pub(super) place: &'a str,
    pub(super) mode: Mode,
    /// What ReLU passes back.
    pub(super) rule: Rule,
    /// What changes from step to step.
    pub(super) step: &'a Tensor,
    /// The layer's weights.
    pub(super) trained: &'a [Trained],
    /// Batch norm's statistics.
    pub(super) statistics: Option<&'a Statistics>,
    /// What forward leaves for backward.
    pub(super) kept: Option<&'a Tensor>,
    /// The weight of [`Layer::transposes`], transposed before the backward pass.
    pub(super) transposed: Option<&'a Tensor>,
    /// Room for partial sums that serves all layers, one after the other: no layer's numbers outlive its kernels in it.
    pub(super) partials: &'a Tensor,
    /// Gradients that are made in parts.
    pub(super) sums: &'a mut Sums,
}

/// A trained tensor and its gradient.
#[derive(Clone)]
pub(super) struct Trained {
    pub(super) value: Tensor,
    pub(super) gradient: Tensor,
}

/// Batch norm's statistics: those of evaluation, and those of the last batch in training.
pub(super) struct Statistics {
    pub(super) running_mean: Tensor,
    pub(super) running_variance: Tensor,
    pub(super) batch_mean: Tensor,
    pub(super) batch_variance: Tensor,
}

impl Build<'_> {
    pub(super) fn add(&mut self, kernel: &impl Kernel) {
        self.plan.add(self.gpu, self.place, kernel);
    }

    /// What the kernel of a weight's gradient writes to: the gradient, or room for its parts, which are added up to it later.
    fn gradient(&mut self, parts: Parts, index: usize) -> Tensor {
        let gradient = &self.trained[index].gradient;
        if parts.chunks == 1 { gradient.clone() } else { self.sums.room(self.gpu, self.plan, parts, gradient) }
    }

    /// Whether the weights' gradients are wanted.
    fn learns(&self) -> bool {
        self.mode == Mode::Train
    }
}
