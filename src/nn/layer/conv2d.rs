//! Conv2d, of all channels or depthwise, and the bias that either may have.

use super::{Build, Layer};
use crate::gpu::Tensor;
use crate::ops::conv2d::Parts;
use crate::ops::{bias, conv2d, depthwise};

/// A convolution of all channels.
pub(in crate::nn) struct Conv2d {
    pub(in crate::nn) conv: conv2d::Conv2d,
}

impl Layer for Conv2d {
    fn partial_len(&self) -> usize {
        self.conv.partial_lens().into_iter().max().unwrap_or(0)
    }

    fn parts(&self) -> Vec<Parts> {
        vec![self.conv.weight_parts()]
    }

    fn transposes(&self) -> Option<&conv2d::Conv2d> {
        Some(&self.conv)
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        let [len, _] = self.conv.partial_lens();
        self.conv.forward(b.gpu, b.plan, b.place, x, &b.trained[0].value, &b.partials.first(len), y);
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        if b.learns() {
            let partial = b.gradient(self.conv.weight_parts(), 0);
            self.conv.backward_weight(b.gpu, b.plan, b.place, b.step, x, dy, &partial);
        }
        if let Some(dx) = dx {
            let [_, len] = self.conv.partial_lens();
            let transposed = b.transposed.expect("a convolution has room for its transposed weight");
            self.conv.backward_input(b.gpu, b.plan, b.place, transposed, dy, &b.partials.first(len), dx);
        }
    }
}

/// A filter a channel.
pub(in crate::nn) struct Depthwise {
    pub(in crate::nn) conv: depthwise::Depthwise,
}

impl Layer for Depthwise {
    fn parts(&self) -> Vec<Parts> {
        vec![self.conv.weight_parts()]
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        self.conv.forward(b.gpu, b.plan, b.place, x, &b.trained[0].value, y);
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        if b.learns() {
            let partial = b.gradient(self.conv.weight_parts(), 0);
            self.conv.backward_weight(b.gpu, b.plan, b.place, b.step, x, dy, &partial);
        }
        if let Some(dx) = dx {
            self.conv.backward_input(b.gpu, b.plan, b.place, &b.trained[0].value, dy, dx);
        }
    }
}

/// A layer of one weight, with a bias added to each channel of what it makes.
pub(in crate::nn) struct Biased<L> {
    pub(in crate::nn) layer: L,
    pub(in crate::nn) bias: bias::Shape,
}

impl<L: Layer> Layer for Biased<L> {
    fn partial_len(&self) -> usize {
        self.layer.partial_len()
    }

    fn parts(&self) -> Vec<Parts> {
        [self.layer.parts(), vec![self.bias.parts()]].concat()
    }

    fn transposes(&self) -> Option<&conv2d::Conv2d> {
        self.layer.transposes()
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        self.layer.forward(b, x, y);
        b.add(&bias::Forward { shape: self.bias, bias: &b.trained[1].value, y });
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        if b.learns() {
            let partial = b.gradient(self.bias.parts(), 1);
            self.bias.backward(b.gpu, b.plan, b.place, b.step, dy, &partial);
        }
        self.layer.backward(b, x, dy, dx);
    }
}
