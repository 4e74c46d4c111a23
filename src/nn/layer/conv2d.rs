//! Conv2d, of all channels or depthwise.

use super::{Build, Layer};
use crate::gpu::Tensor;
use crate::ops::{bias, conv2d, depthwise};

/// A convolution of all channels.
pub(in crate::nn) struct Conv2d {
    pub(in crate::nn) conv: conv2d::Conv2d,
    pub(in crate::nn) bias: Option<bias::Shape>,
}

impl Layer for Conv2d {
    fn partial_len(&self) -> usize {
        self.conv.partial_len().max(self.bias.map_or(0, |bias| bias.partial_len()))
    }

    fn transposed_len(&self) -> usize {
        self.conv.weight_len()
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        self.conv.forward(b.gpu, b.plan, b.place, x, &b.trained[0].value, y);
        add_bias(self.bias, b, y);
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        let weight = &b.trained[0];
        if b.learns() {
            let partials = b.scratch.partials.first(self.conv.partial_len());
            self.conv.backward_weight(b.gpu, b.plan, b.place, b.step, x, dy, &partials, &weight.gradient);
            bias_gradient(self.bias, b, dy);
        }
        if let Some(dx) = dx {
            let transposed = b.scratch.transposed.first(self.conv.weight_len());
            self.conv.backward_input(b.gpu, b.plan, b.place, &weight.value, &transposed, dy, dx);
        }
    }
}

/// A filter a channel.
pub(in crate::nn) struct Depthwise {
    pub(in crate::nn) conv: depthwise::Depthwise,
    pub(in crate::nn) bias: Option<bias::Shape>,
}

impl Layer for Depthwise {
    fn partial_len(&self) -> usize {
        self.conv.partial_len().max(self.bias.map_or(0, |bias| bias.partial_len()))
    }

    fn forward(&self, b: &mut Build<'_>, x: &Tensor, y: &Tensor) {
        self.conv.forward(b.gpu, b.plan, b.place, x, &b.trained[0].value, y);
        add_bias(self.bias, b, y);
    }

    fn backward(&self, b: &mut Build<'_>, x: &Tensor, dy: &Tensor, dx: Option<&Tensor>) {
        let weight = &b.trained[0];
        if b.learns() {
            let partials = b.scratch.partials.first(self.conv.partial_len());
            self.conv.backward_weight(b.gpu, b.plan, b.place, b.step, x, dy, &partials, &weight.gradient);
            bias_gradient(self.bias, b, dy);
        }
        if let Some(dx) = dx {
            self.conv.backward_input(b.gpu, b.plan, b.place, &weight.value, dy, dx);
        }
    }
}

/// The bias, where there is one, is the second of a layer's weights.
fn add_bias(shape: Option<bias::Shape>, b: &mut Build<'_>, y: &Tensor) {
    if let Some(shape) = shape {
        let bias = &b.trained[1].value;
        b.add(&bias::Forward { shape, bias, y });
    }
}

fn bias_gradient(shape: Option<bias::Shape>, b: &mut Build<'_>, dy: &Tensor) {
    if let Some(shape) = shape {
        let partials = b.scratch.partials.first(shape.partial_len());
        shape.backward(b.gpu, b.plan, b.place, b.step, dy, &partials, &b.trained[1].gradient);
    }
}
