//! Max pooling, `torch.nn.MaxPool2d`: every output is the largest value of a square window of the input.
//!
//! A window is walked row by row. A value takes over where it is larger than the largest so far, or is no number: so of
//! equal values the first counts, and of those that are no numbers the last, as in PyTorch on a processor. Padding never
//! counts. Nothing is rounded on the way forward.

use super::{Real, Summed, assert_fits, grid};

/// The sizes of a pooling with square windows.
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
    /// Height and width of a window.
    pub kernel: usize,
    /// How far the window moves from one output to the next, in both directions.
    pub stride: usize,
    /// Rows and columns on each side of the input; at most half of the window.
    pub padding: usize,
}

impl Shape {
    /// Height and width of the output: `(size + 2 * padding - kernel) / stride + 1`, rounded down.
    pub fn out(&self) -> [usize; 2] {
        [self.h, self.w].map(|size| (size + 2 * self.padding - self.kernel) / self.stride + 1)
    }

    /// Elements of x and y.
    pub fn lens(&self) -> [usize; 2] {
        let [oh, ow] = self.out();
        [self.n * self.c * self.h * self.w, self.n * self.c * oh * ow]
    }

    /// Calls `term` with the places in x and y of every x in the window of a y, row by row.
    pub(super) fn each_term(&self, mut term: impl FnMut(usize, usize)) {
        let [oh, ow] = self.out();
        for plane in 0..self.n * self.c {
            for (i, j) in grid(oh, ow) {
                for (u, v) in grid(self.kernel, self.kernel) {
                    let (row, column) = (i * self.stride + u, j * self.stride + v);
                    let inside = |at: usize, size| (self.padding..self.padding + size).contains(&at);
                    if inside(row, self.h) && inside(column, self.w) {
                        let (row, column) = (row - self.padding, column - self.padding);
                        term((plane * self.h + row) * self.w + column, (plane * oh + i) * ow + j);
                    }
                }
            }
        }
    }

    /// The windows that a pixel lies in, at most.
    pub(super) fn windows(&self) -> usize {
        self.kernel.div_ceil(self.stride).pow(2)
    }
}

/// y `=` the largest x of each window, and the pixel where it lies, `row * w + column`: both `(n, c, out)`.
pub fn forward<T: Real>(shape: Shape, x: &[T]) -> (Vec<T>, Vec<u32>) {
    let [x_len, y_len] = shape.lens();
    assert_fits("x", x, x_len);
    let mut y = vec![T::neg_infinity(); y_len];
    let mut indices = vec![None; y_len];
    shape.each_term(|xi, yi| {
        if indices[yi].is_none() || x[xi] > y[yi] || x[xi].is_nan() {
            y[yi] = x[xi];
            indices[yi] = Some((xi % (shape.h * shape.w)) as u32);
        }
    });
    (y, indices.into_iter().map(|index| index.expect("a window holds a pixel")).collect())
}

/// dx `=` for each x, the sum of dy over the windows whose largest value it is: `(n, c, h, w)`.
pub fn backward<T: Real>(shape: Shape, indices: &[u32], dy: &[T]) -> Summed<T> {
    let [x_len, y_len] = shape.lens();
    assert_fits("indices", indices, y_len);
    assert_fits("dy", dy, y_len);
    let mut dx = Summed::zeros(x_len, shape.windows(), 0);
    shape.each_term(|xi, yi| {
        if xi % (shape.h * shape.w) == indices[yi] as usize {
            dx.add(xi, dy[yi]);
        }
    });
    dx
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One 3 x 4 image under a window of 3, stride 2, padding 1: two rows of two outputs.
    const SHAPE: Shape = Shape { n: 1, c: 1, h: 3, w: 4, kernel: 3, stride: 2, padding: 1 };

    #[test]
    fn matches_values_worked_out_by_hand() {
        #[rustfmt::skip]
        let x = [
            -1.0, -2.0, -3.0, -4.0,
            -5.0, -1.5, -1.0, -1.0,
            -9.0, -8.0, -7.0, -6.0,
        ];
        let (y, indices) = forward(SHAPE, &x);
        // Padding, were it zero, would be larger than all of them; of the two -1 in the window the first counts.
        assert_eq!(y, [-1.0, -1.0, -1.5, -1.0]);
        assert_eq!(indices, [0, 6, 5, 6]);
        let dx = backward(SHAPE, &indices, &[1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(dx.value, [1.0, 0.0, 0.0, 0.0, 0.0, 100.0, 1010.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!((dx.terms, dx.steps), (4, 0));
    }

    #[test]
    fn what_is_no_number_takes_over_and_the_last_one_counts() {
        let shape = Shape { n: 1, c: 1, h: 1, w: 5, kernel: 3, stride: 1, padding: 1 };
        let infinity = f64::INFINITY;
        let (y, indices) = forward(shape, &[f64::NAN, infinity, f64::NAN, 1.0, -infinity]);
        assert!(y[..4].iter().all(|y| y.is_nan()));
        assert_eq!((y[4], &indices[..]), (1.0, &[0, 2, 2, 2, 3][..]));
        // The least of all numbers is still the first of its window.
        assert_eq!(forward(shape, &[-infinity; 5]), (vec![-infinity; 5], vec![0, 0, 1, 2, 3]));
    }
}
