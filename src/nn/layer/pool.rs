//! The pooling layers.

use super::{Build, Layer};
use crate::gpu::Tensor;
use crate::ops::avg_pool as adaptive_avg_pool2d;

/// The mean over windows that divide the map evenly.
pub(in crate::nn) struct AdaptiveAvgPool2d {
    pub(in crate::nn) shape: adaptive_avg_pool2d::Shape,
}

impl Layer for AdaptiveAvgPool2d {
    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        b.add(&adaptive_avg_pool2d::Forward { shape: self.shape, x, y });
    }

    fn backward(&self, b: &mut Build<'_>, _x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        if let Some(dx) = dx {
            b.add(&adaptive_avg_pool2d::Backward { shape: self.shape, dy, dx });
        }
    }
}

