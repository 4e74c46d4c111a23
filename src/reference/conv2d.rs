//! Two-dimensional convolution without bias, as `torch.nn.Conv2d` computes it (a
//! cross-correlation):
//!
//! `y[n, o, i, j] = sum over c, u, v of x[n, c, i * stride + u - padding, j * stride + v - padding]
//! * w[o, c, u, v]`,
//!
//! where x is zero outside its edges. The two gradients add up the same products, with dy in the
//! place of one factor.

use super::{Real, Summed, assert_fits, grid};

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Images in the batch.
    pub n: usize,
    /// Channels of the input.
    pub cin: usize,
    /// Height of the input.
    pub h: usize,
    /// Width of the input.
    pub w: usize,
    /// Channels of the output.
    pub cout: usize,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// How far the window moves from one output to the next, in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the input.
    pub padding: usize,
}

impl Shape {
    /// Height and width of the output: `(size + 2 * padding - kernel) / stride + 1`, rounded down.
    pub fn out(&self) -> [usize; 2] {
        let out = |size, kernel| (size + 2 * self.padding - kernel) / self.stride + 1;
        [out(self.h, self.kernel[0]), out(self.w, self.kernel[1])]
    }

    /// Elements of x, w and y.
    pub fn lens(&self) -> [usize; 3] {
        let [oh, ow] = self.out();
        let [kh, kw] = self.kernel;
        [self.n * self.cin * self.h * self.w, self.cout * self.cin * kh * kw, self.n * self.cout * oh * ow]
    }

    /// Calls `product` with the places in x, w and y of every `x * w` that goes into a y.
    fn each_product(&self, mut product: impl FnMut(usize, usize, usize)) {
        let [oh, ow] = self.out();
        let [kh, kw] = self.kernel;
        for (n, o) in grid(self.n, self.cout) {
            for (i, j) in grid(oh, ow) {
                let y = ((n * self.cout + o) * oh + i) * ow + j;
                for c in 0..self.cin {
                    for (u, v) in grid(kh, kw) {
                        let w = ((o * self.cin + c) * kh + u) * kw + v;
                        let (row, column) = (i * self.stride + u, j * self.stride + v);
                        let inside = |at: usize, size| (self.padding..self.padding + size).contains(&at);
                        if inside(row, self.h) && inside(column, self.w) {
                            let (row, column) = (row - self.padding, column - self.padding);
                            product(((n * self.cin + c) * self.h + row) * self.w + column, w, y);
                        }
                    }
                }
            }
        }
    }
}

/// y `=` the convolution of x `(n, cin, h, w)` with w `(cout, cin, kernel)`: `(n, cout, out)`.
pub fn forward<T: Real>(shape: Shape, x: &[T], w: &[T]) -> Summed<T> {
    let [x_len, w_len, y_len] = shape.lens();
    assert_fits("x", x, x_len);
    assert_fits("w", w, w_len);
    let mut y = Summed::zeros(y_len, shape.cin * shape.kernel[0] * shape.kernel[1], 2);
    shape.each_product(|xi, wi, yi| y.add(yi, x[xi] * w[wi]));
    y
}

/// dx `=` for each x, the sum of `dy * w` over all products that it goes into: `(n, cin, h, w)`.
pub fn backward_input<T: Real>(shape: Shape, w: &[T], dy: &[T]) -> Summed<T> {
    let [x_len, w_len, y_len] = shape.lens();
    assert_fits("w", w, w_len);
    assert_fits("dy", dy, y_len);
    let mut dx = Summed::zeros(x_len, shape.cout * shape.kernel[0] * shape.kernel[1], 2);
    shape.each_product(|xi, wi, yi| dx.add(xi, dy[yi] * w[wi]));
    dx
}

/// dw `=` for each w, the sum of `dy * x` over all products that it goes into: `(cout, cin,
/// kernel)`.
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

    /// One 2 x 3 image under a 3 x 2 window with stride 2 and padding 1: two outputs in one row.
    ///
    /// ```text
    /// padded x      windows         w        y
    /// 0 0 0 0 0     0 0 | 0 0      1 2
    /// 0 1 2 3 0     0 1 | 2 3      3 4      4*1 + 6*4 = 28 | 3*2 + 4*3 + 5*5 + 6*6 = 79
    /// 0 4 5 6 0     0 4 | 5 6      5 6
    /// 0 0 0 0 0
    /// ```
    const SHAPE: Shape = Shape { n: 1, cin: 1, h: 2, w: 3, cout: 1, kernel: [3, 2], stride: 2, padding: 1 };
    const X: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    #[test]
    fn matches_values_worked_out_by_hand() {
        assert_eq!(SHAPE.out(), [1, 2]);
        assert_eq!(forward(SHAPE, &X, &X).value, [28.0, 79.0]);
        // dy = (10, 1): every x has one place in one window.
        assert_eq!(backward_input(SHAPE, &X, &[10.0, 1.0]).value, [40.0, 3.0, 4.0, 60.0, 5.0, 6.0]);
        // The windows above, the first ten times and the second once.
        assert_eq!(backward_weight(SHAPE, &X, &[10.0, 1.0]).value, [0.0, 0.0, 2.0, 13.0, 5.0, 46.0]);
    }

    #[test]
    fn magnitudes_are_sums_of_absolute_terms() {
        let y = forward(SHAPE, &[-1.0, 2.0, 3.0, 4.0, 5.0, -6.0], &X);
        assert_eq!((y.value[0], y.magnitude[0]), (20.0, 28.0));
        assert_eq!((y.value[1], y.magnitude[1]), (7.0, 79.0));
        assert_eq!((y.terms, y.steps), (6, 2));
    }

    #[test]
    fn channels_and_images_do_not_mix() {
        let shape = Shape { n: 2, cin: 2, h: 1, w: 1, cout: 2, kernel: [1, 1], stride: 1, padding: 0 };
        let (x, w) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        // A matrix product: images (1, 2) and (3, 4), outputs with weights (5, 6) and (7, 8).
        assert_eq!(forward(shape, &x, &w).value, [17.0, 23.0, 39.0, 53.0]);
    }
}
