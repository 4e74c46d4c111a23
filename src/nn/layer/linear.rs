//! Linear.

use super::{Build, Layer};
use crate::gpu::Tensor;
use crate::ops::linear;

/// A linear layer.
pub(in crate::nn) struct Linear {
    pub(in crate::nn) shape: linear::Shape,
}

impl Layer for Linear {
    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        let [weight, bias] = [0, 1].map(|index: usize| &b.trained[index].value);
        b.add(&linear::Forward { shape: self.shape, x, weight, bias, y });
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        let (shape, step) = (self.shape, b.step);
        let [weight, bias] = [0, 1].map(|index: usize| &b.trained[index]);
        if b.learns() {
            let (dweight, dbias) = (&weight.gradient, &bias.gradient);
            b.add(&linear::BackwardWeight { shape, step, x, dy, dweight, dbias });
        }
        if let Some(dx) = dx {
            b.add(&linear::BackwardInput { shape, weight: &weight.value, dy, dx });
        }
    }
}
