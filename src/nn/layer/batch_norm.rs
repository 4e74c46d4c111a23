//! BatchNorm2d.

use super::{Build, Layer, Statistics};
use crate::gpu::Tensor;
use crate::nn::Mode;
use crate::ops::batch_norm;
use crate::ops::sums::Rows;

/// Batch norm by itself.
pub(in crate::nn) struct BatchNorm2d {
    pub(in crate::nn) shape: batch_norm::Shape,
}

impl BatchNorm2d {
    /// How its sums are shared.
    pub(super) fn rows(&self, b: &Build<'_>) -> Rows {
        Rows::new(b.gpu.shares_sums(), self.shape.channels)
    }

    /// In training, the statistics of the batch `x`; the running ones move towards them.
    pub(super) fn statistics(&self, b: &mut Build<'_>, x: &Tensor) {
        let (shape, step) = (self.shape, b.step);
        let partial = &b.partials.first(shape.partial_len());
        let Statistics { running_mean, running_variance, batch_mean, batch_variance } = b.norm_statistics();
        b.add(&batch_norm::Statistics { shape, rows: self.rows(b), step, x, partial });
        b.add(&batch_norm::Combine {
            shape,
            rows: Rows::of_parts(b.gpu),
            step,
            partials: partial,
            batch_mean,
            batch_variance,
            running_mean,
            running_variance,
        });
    }

    /// In training, from the partial sums to the gradients of factor and offset, which it returns.
    pub(super) fn combine_gradients<'a>(&self, b: &mut Build<'a>) -> [&'a Tensor; 2] {
        let (shape, step) = (self.shape, b.step);
        let partials = &b.partials.first(shape.partial_len());
        let trained = b.trained;
        let [sum_gamma, sum_beta] = [&trained[0].gradient, &trained[1].gradient];
        let variance = &b.norm_statistics().batch_variance;
        let rows = Rows::of_parts(b.gpu);
        b.add(&batch_norm::BackwardCombine { shape, rows, step, partials, variance, sum_gamma, sum_beta });
        [sum_gamma, sum_beta]
    }
}

impl<'a> Build<'a> {
    fn norm_statistics(&self) -> &'a Statistics {
        self.statistics.expect("batch norm has statistics")
    }

    /// Mean and variance: the batch's in training, the running ones in evaluation.
    pub(super) fn moments(&self) -> [&'a Tensor; 2] {
        let statistics = self.norm_statistics();
        match self.mode {
            Mode::Train => [&statistics.batch_mean, &statistics.batch_variance],
            Mode::Eval => [&statistics.running_mean, &statistics.running_variance],
        }
    }

    /// Batch norm's factor and offset.
    pub(super) fn gamma_beta(&self) -> [&'a Tensor; 2] {
        let trained = self.trained;
        [&trained[0].value, &trained[1].value]
    }
}

impl Layer for BatchNorm2d {
    fn partial_len(&self) -> usize {
        self.shape.partial_len()
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        if b.mode == Mode::Train {
            self.statistics(b, x);
        }
        let [mean, variance] = b.moments();
        let [gamma, beta] = b.gamma_beta();
        b.add(&batch_norm::Forward { shape: self.shape, x, gamma, beta, mean, variance, y });
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        let (shape, step) = (self.shape, b.step);
        let [mean, variance] = b.moments();
        let [gamma, _] = b.gamma_beta();
        match (b.mode, dx) {
            (Mode::Train, _) => {
                let partial = &b.partials.first(shape.partial_len());
                b.add(&batch_norm::BackwardSums { shape, rows: self.rows(b), step, x, dy, mean, partial });
                let [dgamma, dbeta] = self.combine_gradients(b);
                if let Some(dx) = dx {
                    b.add(&batch_norm::Backward { shape, step, x, dy, gamma, mean, variance, dgamma, dbeta, dx });
                }
            }
            (Mode::Eval, Some(dx)) => b.add(&batch_norm::BackwardEval { shape, dy, gamma, variance, dx }),
            (Mode::Eval, None) => {}
        }
    }
}
