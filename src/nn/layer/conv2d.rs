//! Conv2d, of all channels or depthwise.

use super::{Build, Layer};
use crate::gpu::Tensor;
use crate::ops::conv2d;

/// A convolution of all channels.
pub(in crate::nn) struct Conv2d {
    pub(in crate::nn) conv: conv2d::Conv2d,
}

impl Layer for Conv2d {
    fn partial_len(&self) -> usize {
        self.conv.partial_len()
    }

    fn transposed_len(&self) -> usize {
        self.conv.weight_len()
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        self.conv.forward(b.gpu, b.plan, b.place, x, &b.trained[0].value, y);
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        let weight = &b.trained[0];
        if b.learns() {
            let partials = b.scratch.partials.first(self.conv.partial_len());
            self.conv.backward_weight(b.gpu, b.plan, b.place, b.step, x, dy, &partials, &weight.gradient);
        }
        if let Some(dx) = dx {
            let transposed = b.scratch.transposed.first(self.conv.weight_len());
            self.conv.backward_input(b.gpu, b.plan, b.place, &weight.value, &transposed, dy, dx);
        }
    }
}
