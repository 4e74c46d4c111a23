//! ReLU and ReLU6.

use super::{Build, Layer};
use crate::gpu::Tensor;
use crate::ops::relu::{self, Rule};

/// ReLU.
pub(in crate::nn) struct Relu {
    pub(in crate::nn) shape: relu::Shape,
}

impl Layer for Relu {
    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        b.add(&relu::Forward { shape: self.shape, x, y });
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        let shape = self.shape;
        let Some(dx) = dx else { return };
        match b.rule {
            Rule::Gradient => b.add(&relu::Backward { shape, x, dy, dx }),
            Rule::Guided => b.add(&relu::BackwardGuided { shape, x, dy, dx }),
            Rule::Deconvnet => b.add(&relu::BackwardDeconvnet { shape, dy, dx }),
        }
    }
}

/// ReLU6.
pub(in crate::nn) struct Relu6 {
    pub(in crate::nn) shape: relu::Shape,
}

impl Layer for Relu6 {
    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        b.add(&relu::Forward6 { shape: self.shape, x, y });
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        let shape = self.shape;
        let Some(dx) = dx else { return };
        match b.rule {
            Rule::Gradient => b.add(&relu::Backward6 { shape, x, dy, dx }),
            Rule::Guided => b.add(&relu::Backward6Guided { shape, x, dy, dx }),
            Rule::Deconvnet => b.add(&relu::BackwardDeconvnet { shape, dy, dx }),
        }
    }
}
