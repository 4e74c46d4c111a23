//! Dropout and Dropout2d.

use super::{Build, Layer};
use crate::gpu::Tensor;
use crate::nn::Mode;
use crate::ops::dropout;

/// Dropout of single values or of whole channels.
pub(in crate::nn) struct Dropout {
    pub(in crate::nn) shape: dropout::Shape,
}

impl Dropout {
    fn shape(&self, mode: Mode) -> dropout::Shape {
        if mode == Mode::Train { self.shape } else { dropout::Shape { threshold: 0, scale: 1.0, ..self.shape } }
    }
}

impl Layer for Dropout {
    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        b.add(&dropout::Forward { shape: self.shape(b.mode), step: b.step, x, y });
    }

    fn backward(&self, b: &mut Build<'_>, _x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        if let Some(dx) = dx {
            b.add(&dropout::Backward { shape: self.shape(b.mode), step: b.step, dy, dx });
        }
    }
}
