//! Depthwise convolution without bias, `torch.nn.Conv2d` with as many groups as channels: each channel has a filter of
//! its own,
//!
//! `y[n, c, i, j] = sum over u, v of x[n, c, i * stride + u - padding, j * stride + v - padding] * w[c, u, v]`,
//!
//! where x is zero outside its edges.

use super::{Real, Summed, assert_fits, grid};

/// The sizes of a depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Images in the batch.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Height of the input.
    pub h: usize,
    /// Width of the input.
    pub w: usize,
    /// Height and width of a filter.
    pub kernel: usize,
    /// How far the filter moves from one output to the next, in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the input.
    pub padding: usize,
}

impl Shape {
    /// Height and width of the output: `(size + 2 * padding - kernel) / stride + 1`, rounded down.
    pub fn out(&self) -> [usize; 2] {
        [self.h, self.w].map(|size| (size + 2 * self.padding - self.kernel) / self.stride + 1)
    }

    /// Elements of x, w and y.
    pub fn lens(&self) -> [usize; 3] {
        let [oh, ow] = self.out();
        [self.n * self.c * self.h * self.w, self.c * self.kernel * self.kernel, self.n * self.c * oh * ow]
    }

    /// Calls `product` with the places in x, w and y of every `x * w` that goes into a y.
    fn each_product(&self, mut product: impl FnMut(usize, usize, usize)) {
        let [oh, ow] = self.out();
        for (n, c) in grid(self.n, self.c) {
            let plane = n * self.c + c;
            for (i, j) in grid(oh, ow) {
                for (u, v) in grid(self.kernel, self.kernel) {
                    let (row, column) = (i * self.stride + u, j * self.stride + v);
                    let inside = |at: usize, size| (self.padding..self.padding + size).contains(&at);
                    if inside(row, self.h) && inside(column, self.w) {
                        let (row, column) = (row - self.padding, column - self.padding);
                        let x = (plane * self.h + row) * self.w + column;
                        product(x, (c * self.kernel + u) * self.kernel + v, (plane * oh + i) * ow + j);
                    }
                }
            }
        }
    }
}

/// y `=` the convolution of each channel of x `(n, c, h, w)` with its own w `(c, kernel, kernel)`: `(n, c, out)`.
pub fn forward<T: Real>(shape: Shape, x: &[T], w: &[T]) -> Summed<T> {
    let [x_len, w_len, y_len] = shape.lens();
    assert_fits("x", x, x_len);
    assert_fits("w", w, w_len);
    let mut y = Summed::zeros(y_len, shape.kernel * shape.kernel, 2);
    shape.each_product(|xi, wi, yi| y.add(yi, x[xi] * w[wi]));
    y
}

/// dx `=` for each x, the sum of `dy * w` over all products that it goes into: `(n, c, h, w)`.
pub fn backward_input<T: Real>(shape: Shape, w: &[T], dy: &[T]) -> Summed<T> {
    let [x_len, w_len, y_len] = shape.lens();
    assert_fits("w", w, w_len);
    assert_fits("dy", dy, y_len);
    let mut dx = Summed::zeros(x_len, shape.kernel * shape.kernel, 2);
    shape.each_product(|xi, wi, yi| dx.add(xi, dy[yi] * w[wi]));
    dx
}

/// dw `=` for each w, the sum of `dy * x` over all products that it goes into: `(c, kernel, kernel)`.
pub fn backward_weight<T: Real>(shape: Shape, x: &[T], dy: &[T]) -> Summed<T> {
    let [x_len, w_len, y_len] = shape.lens();
    assert_fits("x", x, x_len);
    assert_fits("dy", dy, y_len);
    let [oh, ow] = shape.out();
    let mut dw = Summed::zeros(w_len, shape.n * oh * ow, 2);
    shape.each_product(|xi, wi, yi| dw.add(wi, dy[yi] * x[xi]));
    dw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_values_worked_out_by_hand() {
        // Two channels of 2 x 3 under a filter of 2, stride 2, padding 1: the corners of the windows at rows -1 and 1,
        // columns -1 and 1.
        let shape = Shape { n: 1, c: 2, h: 2, w: 3, kernel: 2, stride: 2, padding: 1 };
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0];
        let w = [1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0];
        let y = forward(shape, &x, &w);
        assert_eq!(y.value, [4.0, 18.0, 8.0, 17.0, -40.0, -10.0, 20.0, 10.0]);
        assert_eq!((y.magnitude[5], y.terms, y.steps), (70.0, 4, 2));
        let dy = [1.0, 10.0, 100.0, 1000.0, 1.0, 1.0, 1.0, 1.0];
        let dx = backward_input(shape, &w, &dy);
        assert_eq!(dx.value, [4.0, 30.0, 40.0, 200.0, 1000.0, 2000.0, 40.0, 30.0, 40.0, 20.0, 10.0, 20.0]);
        let dw = backward_weight(shape, &x, &dy);
        assert_eq!(dw.value, [5000.0, 6400.0, 20.0, 31.0, -1.0, 2.0, 1.0, -2.0]);
    }
}
