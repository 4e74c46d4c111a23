//! The bias of a convolution, as `torch.nn.Conv2d` adds it: one number a channel, to every pixel of every image.

use super::{Real, Summed, assert_fits};

/// The sizes of the tensor, `(n, c, hw)`: PyTorch's order with the two spatial dimensions as one.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Images in the batch.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Places in a channel: height times width.
    pub hw: usize,
}

impl Shape {
    /// Elements of x.
    pub fn elements(&self) -> usize {
        self.n * self.c * self.hw
    }
}

/// y `=` x with each channel's bias added.
pub fn forward<T: Real>(shape: Shape, x: &[T], bias: &[T]) -> Summed<T> {
    assert_fits("x", x, shape.elements());
    assert_fits("bias", bias, shape.c);
    let mut y = Summed::zeros(x.len(), 1, 0);
    for (i, &x) in x.iter().enumerate() {
        y.add(i, x);
        y.add(i, bias[i / shape.hw % shape.c]);
    }
    y
}

/// dbias `=` the sum of dy over all images and pixels of each channel: `(c)`.
pub fn backward<T: Real>(shape: Shape, dy: &[T]) -> Summed<T> {
    assert_fits("dy", dy, shape.elements());
    let mut dbias = Summed::zeros(shape.c, shape.n * shape.hw, 0);
    for (i, &dy) in dy.iter().enumerate() {
        dbias.add(i / shape.hw % shape.c, dy);
    }
    dbias
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_values_worked_out_by_hand() {
        // Two images of two channels of two pixels.
        let shape = Shape { n: 2, c: 2, hw: 2 };
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let y = forward(shape, &x, &[10.0, -10.0]);
        assert_eq!(y.value, [11.0, 12.0, -7.0, -6.0, 15.0, 16.0, -3.0, -2.0]);
        assert_eq!((y.magnitude[2], y.terms), (13.0, 1));
        assert_eq!(backward(shape, &x).value, [14.0, 22.0]);
    }
}
