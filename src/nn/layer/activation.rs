//! BatchNorm2d, ReLU and Dropout2d as one kernel: what training needs, and what is fast.

use super::{BatchNorm2d, Build, Layer};
use crate::gpu::Tensor;
use crate::nn::Mode;
use crate::ops::activation;

/// Batch norm, ReLU and dropout of whole channels.
pub(in crate::nn) struct Activation {
    pub(in crate::nn) norm: BatchNorm2d,
    pub(in crate::nn) shape: activation::Shape,
}

impl Layer for Activation {
    fn partial_len(&self) -> usize {
        self.norm.partial_len()
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        let shape = match b.mode {
            Mode::Train => {
                self.norm.statistics(b, x);
                self.shape
            }
            Mode::Eval => self.shape.without_dropout(),
        };
        let [mean, variance] = b.moments();
        let [gamma, beta] = b.gamma_beta();
        b.add(&activation::Forward { shape, step: b.step, x, gamma, beta, mean, variance, y });
    }

    /// # Panics
    /// In evaluation: a model that keeps everything does not fuse these layers.
    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        assert!(b.mode == Mode::Train, "gradients in evaluation need a model that keeps everything");
        let (shape, step) = (self.shape, b.step);
        let [mean, variance] = b.moments();
        let [gamma, beta] = b.gamma_beta();
        let partial = &b.partials.first(self.norm.partial_len());
        let rows = self.norm.rows(b);
        b.add(&activation::BackwardSums { shape, rows, step, x, dy, gamma, beta, mean, variance, partial });
        let [dgamma, dbeta] = self.norm.combine_gradients(b);
        if let Some(dx) = dx {
            b.add(&activation::Backward { shape, step, x, dy, gamma, beta, mean, variance, dgamma, dbeta, dx });
        }
    }
}
