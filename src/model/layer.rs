//! The kernels of one layer, bound to its weights.

use super::{BlockActivations, Mode};
use crate::gpu::{Gpu, Plan, Tensor};
use crate::ops::conv2d::Conv2d;
use crate::ops::{activation, batch_norm, dropout, linear, relu};

/// Shapes and weights of one block.
pub(super) struct BlockLayer {
    pub(super) conv: Conv2d,
    pub(super) norm: batch_norm::Shape,
    pub(super) relu: relu::Shape,
    pub(super) dropout: dropout::Shape,
    pub(super) activation: activation::Shape,
    pub(super) weight: Trained,
    pub(super) gamma: Trained,
    pub(super) beta: Trained,
    pub(super) running_mean: Tensor,
    pub(super) running_variance: Tensor,
    pub(super) batch_mean: Tensor,
    pub(super) batch_variance: Tensor,
    /// Room for the transposed weight.
    pub(super) transposed: Tensor,
    /// Partial results of the weight's gradient.
    pub(super) conv_partials: Tensor,
    /// Partial results of batch norm's sums.
    pub(super) norm_partials: Tensor,
}

/// Shape and weights of a linear layer.
pub(super) struct LinearLayer {
    pub(super) shape: linear::Shape,
    pub(super) weight: Trained,
    pub(super) bias: Trained,
}

/// A trained tensor and its gradient.
#[derive(Clone)]
pub(super) struct Trained {
    pub(super) value: Tensor,
    pub(super) gradient: Tensor,
}

impl BlockLayer {
    pub(super) fn combine<'a>(&'a self, step: &'a Tensor) -> batch_norm::Combine<'a> {
        batch_norm::Combine {
            shape: self.norm,
            step,
            partials: &self.norm_partials,
            batch_mean: &self.batch_mean,
            batch_variance: &self.batch_variance,
            running_mean: &self.running_mean,
            running_variance: &self.running_variance,
        }
    }

    /// Mean and variance: the batch's in training, the running ones in evaluation.
    pub(super) fn statistics(&self, mode: Mode) -> [&Tensor; 2] {
        match mode {
            Mode::Train => [&self.batch_mean, &self.batch_variance],
            Mode::Eval => [&self.running_mean, &self.running_variance],
        }
    }

    pub(super) fn normalise<'a>(&'a self, mode: Mode, x: &'a Tensor, y: &'a Tensor) -> batch_norm::Forward<'a> {
        let [mean, variance] = self.statistics(mode);
        batch_norm::Forward { shape: self.norm, x, gamma: &self.gamma.value, beta: &self.beta.value, mean, variance, y }
    }

    pub(super) fn activate<'a>(
        &'a self,
        mode: Mode,
        step: &'a Tensor,
        block: &'a BlockActivations,
    ) -> activation::Forward<'a> {
        let [mean, variance] = self.statistics(mode);
        let shape = if mode == Mode::Train { self.activation } else { self.activation.without_dropout() };
        let (gamma, beta) = (&self.gamma.value, &self.beta.value);
        activation::Forward { shape, step, x: &block.conv, gamma, beta, mean, variance, y: &block.output }
    }

    pub(super) fn backward_activation_sums<'a>(
        &'a self,
        step: &'a Tensor,
        block: &'a BlockActivations,
        dblock: &'a BlockActivations,
    ) -> activation::BackwardSums<'a> {
        activation::BackwardSums {
            shape: self.activation,
            step,
            x: &block.conv,
            dy: &dblock.output,
            gamma: &self.gamma.value,
            beta: &self.beta.value,
            mean: &self.batch_mean,
            variance: &self.batch_variance,
            partial: &self.norm_partials,
        }
    }

    pub(super) fn backward_activation<'a>(
        &'a self,
        step: &'a Tensor,
        block: &'a BlockActivations,
        dblock: &'a BlockActivations,
    ) -> activation::Backward<'a> {
        activation::Backward {
            shape: self.activation,
            step,
            x: &block.conv,
            dy: &dblock.output,
            gamma: &self.gamma.value,
            beta: &self.beta.value,
            mean: &self.batch_mean,
            variance: &self.batch_variance,
            dgamma: &self.gamma.gradient,
            dbeta: &self.beta.gradient,
            dx: &dblock.conv,
        }
    }

    pub(super) fn backward_combine<'a>(&'a self, step: &'a Tensor) -> batch_norm::BackwardCombine<'a> {
        batch_norm::BackwardCombine {
            shape: self.norm,
            step,
            partials: &self.norm_partials,
            variance: &self.batch_variance,
            sum_gamma: &self.gamma.gradient,
            sum_beta: &self.beta.gradient,
        }
    }

    pub(super) fn backward_norm<'a>(
        &'a self,
        step: &'a Tensor,
        x: &'a Tensor,
        dy: &'a Tensor,
        dx: &'a Tensor,
    ) -> batch_norm::Backward<'a> {
        batch_norm::Backward {
            shape: self.norm,
            step,
            x,
            dy,
            gamma: &self.gamma.value,
            mean: &self.batch_mean,
            variance: &self.batch_variance,
            dgamma: &self.gamma.gradient,
            dbeta: &self.beta.gradient,
            dx,
        }
    }

    pub(super) fn backward_norm_eval<'a>(&'a self, dy: &'a Tensor, dx: &'a Tensor) -> batch_norm::BackwardEval<'a> {
        batch_norm::BackwardEval {
            shape: self.norm,
            dy,
            gamma: &self.gamma.value,
            variance: &self.running_variance,
            dx,
        }
    }
}

impl LinearLayer {
    pub(super) fn forward<'a>(&'a self, x: &'a Tensor, y: &'a Tensor) -> linear::Forward<'a> {
        linear::Forward { shape: self.shape, x, weight: &self.weight.value, bias: &self.bias.value, y }
    }

    pub(super) fn backward(
        &self,
        gpu: &Gpu,
        plan: &mut Plan,
        place: &str,
        mode: Mode,
        step: &Tensor,
        [x, dy, dx]: [&Tensor; 3],
    ) {
        let shape = self.shape;
        if mode == Mode::Train {
            plan.add(gpu, place, &linear::BackwardBias { shape, step, dy, dbias: &self.bias.gradient });
            plan.add(gpu, place, &linear::BackwardWeight { shape, step, x, dy, dweight: &self.weight.gradient });
        }
        plan.add(gpu, place, &linear::BackwardInput { shape, weight: &self.weight.value, dy, dx });
    }
}
