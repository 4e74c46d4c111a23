//! Conv2d, of all channels or depthwise, and the bias that either may have.

use super::{Build, Layer};
use crate::gpu::Tensor;
use crate::ops::{bias, conv2d, depthwise};

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
        let [len, ..] = self.conv.partial_lens();
        let partials = b.scratch.partials.first(len);
        self.conv.forward(b.gpu, b.plan, b.place, x, &b.trained[0].value, &partials, y);
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        let weight = &b.trained[0];
        let [_, input_len, weight_len] = self.conv.partial_lens();
        if b.learns() {
            let partials = b.scratch.partials.first(weight_len);
            self.conv.backward_weight(b.gpu, b.plan, b.place, b.step, x, dy, &partials, &weight.gradient);
        }
        if let Some(dx) = dx {
            let transposed = b.scratch.transposed.first(self.conv.weight_len());
            let partials = b.scratch.partials.first(input_len);
            self.conv.backward_input(b.gpu, b.plan, b.place, &weight.value, &transposed, dy, &partials, dx);
        }
    }
}

/// A filter a channel.
pub(in crate::nn) struct Depthwise {
    pub(in crate::nn) conv: depthwise::Depthwise,
}

impl Layer for Depthwise {
    fn partial_len(&self) -> usize {
        self.conv.partial_len()
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
            self.conv.backward_input(b.gpu, b.plan, b.place, &weight.value, dy, dx);
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
        self.layer.partial_len().max(self.bias.partial_len())
    }

    fn transposed_len(&self) -> usize {
        self.layer.transposed_len()
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        self.layer.forward(b, x, y);
        b.add(&bias::Forward { shape: self.bias, bias: &b.trained[1].value, y });
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        if b.learns() {
            let partials = b.scratch.partials.first(self.bias.partial_len());
            self.bias.backward(b.gpu, b.plan, b.place, b.step, dy, &partials, &b.trained[1].gradient);
        }
        self.layer.backward(b, x, dy, dx);
    }
}
