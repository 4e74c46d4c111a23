//! Adaptive average pooling, `torch.nn.AdaptiveAvgPool2d`: every output is the mean of a window of
//! the input.
//!
//! Output row `i` of `oh` sees the input rows from `floor(i * h / oh)` up to, not including,
//! `ceil((i + 1) * h / oh)`, and columns likewise. Windows overlap where `oh` does not divide `h`.

use super::{Real, Summed, assert_fits, grid};
use std::ops::Range;

/// The sizes of a pooling.
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
    /// Height of the output.
    pub oh: usize,
    /// Width of the output.
    pub ow: usize,
}

impl Shape {
    /// Elements of x and y.
    pub fn lens(&self) -> [usize; 2] {
        [self.n * self.c * self.h * self.w, self.n * self.c * self.oh * self.ow]
    }

    /// Calls `term` with the places in x and y of every x that goes into a y, and the number of
    /// those of that y.
    fn each_term(&self, mut term: impl FnMut(usize, usize, usize)) {
        for plane in 0..self.n * self.c {
            for (i, j) in grid(self.oh, self.ow) {
                let (rows, columns) = (window(i, self.h, self.oh), window(j, self.w, self.ow));
                for row in rows.clone() {
                    for column in columns.clone() {
                        let x = (plane * self.h + row) * self.w + column;
                        term(x, (plane * self.oh + i) * self.ow + j, rows.len() * columns.len());
                    }
                }
            }
        }
    }
}

/// The input rows (or columns) that output row `i` of `out` averages, of `size` in all.
fn window(i: usize, size: usize, out: usize) -> Range<usize> {
    i * size / out..((i + 1) * size).div_ceil(out)
}

/// y `=` the mean of each window of x `(n, c, h, w)`: `(n, c, oh, ow)`.
pub fn forward<T: Real>(shape: Shape, x: &[T]) -> Summed<T> {
    let [x_len, y_len] = shape.lens();
    assert_fits("x", x, x_len);
    // A division costs 2.5 ULP; 3 steps and the addition that the first term does not need are
    // enough.
    let mut y = Summed::zeros(y_len, 0, 3);
    shape.each_term(|xi, yi, count| {
        y.add(yi, x[xi] / T::of(count as f64));
        y.terms = y.terms.max(count);
    });
    y
}

/// dx `=` for each x, the sum of `dy / count` over the windows that contain it: `(n, c, h, w)`.
pub fn backward<T: Real>(shape: Shape, dy: &[T]) -> Summed<T> {
    let [x_len, y_len] = shape.lens();
    assert_fits("dy", dy, y_len);
    let mut windows = vec![0; x_len];
    let mut dx = Summed::zeros(x_len, 0, 3);
    shape.each_term(|xi, yi, count| {
        dx.add(xi, dy[yi] / T::of(count as f64));
        windows[xi] += 1;
    });
    dx.terms = windows.into_iter().max().unwrap_or(0);
    dx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_windows_match_values_worked_out_by_hand() {
        // Columns 0..2 and 1..3 of three; rows 0..1 and 1..2 of two.
        let shape = Shape { n: 1, c: 1, h: 2, w: 3, oh: 2, ow: 2 };
        let y = forward(shape, &[1.0, 2.0, 4.0, 8.0, -16.0, 32.0]);
        assert_eq!(y.value, [1.5, 3.0, -4.0, 8.0]);
        assert_eq!(y.magnitude, [1.5, 3.0, 12.0, 24.0]);
        let dx = backward(shape, &[2.0, 4.0, 6.0, 8.0]);
        assert_eq!(dx.value, [1.0, 3.0, 2.0, 3.0, 7.0, 4.0]);
        assert_eq!((y.terms, dx.terms), (2, 2));
    }

    #[test]
    fn one_output_is_the_mean_of_each_plane() {
        let shape = Shape { n: 2, c: 1, h: 1, w: 4, oh: 1, ow: 1 };
        assert_eq!(forward(shape, &[1.0, 2.0, 3.0, 6.0, 4.0, 4.0, 4.0, 0.0]).value, [3.0, 3.0]);
        assert_eq!(backward(shape, &[4.0, 8.0]).value, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn more_outputs_than_inputs_repeat_them() {
        let shape = Shape { n: 1, c: 1, h: 1, w: 1, oh: 2, ow: 1 };
        assert_eq!(forward(shape, &[5.0]).value, [5.0, 5.0]);
        let dx = backward(shape, &[1.0, 2.0]);
        assert_eq!((dx.value[0], dx.terms), (3.0, 2));
    }
}
