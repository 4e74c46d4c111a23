//! The pooling layers.

use super::{Build, Layer};
use crate::gpu::Tensor;
use crate::ops::{adaptive_avg_pool2d, avg_pool2d, max_pool2d};

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

/// The mean over windows.
pub(in crate::nn) struct AvgPool2d {
    pub(in crate::nn) shape: avg_pool2d::Shape,
}

impl Layer for AvgPool2d {
    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        b.add(&avg_pool2d::Forward { shape: self.shape, x, y });
    }

    fn backward(&self, b: &mut Build<'_>, _x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        if let Some(dx) = dx {
            b.add(&avg_pool2d::Backward { shape: self.shape, dy, dx });
        }
    }
}

/// The largest value of each window. Forward keeps where it was.
pub(in crate::nn) struct MaxPool2d {
    pub(in crate::nn) shape: max_pool2d::Shape,
}

impl Layer for MaxPool2d {
    fn kept_len(&self) -> usize {
        self.shape.output_len()
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        let indices = b.kept.expect("max pooling keeps indices");
        b.add(&max_pool2d::Forward { shape: self.shape, x, y, index: indices });
    }

    fn backward(&self, b: &mut Build<'_>, _x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        let indices = b.kept.expect("max pooling keeps indices");
        if let Some(dx) = dx {
            b.add(&max_pool2d::Backward { shape: self.shape, indices, dy, dx });
        }
    }
}
