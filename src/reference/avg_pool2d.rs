//! Average pooling, `torch.nn.AvgPool2d`: every output is the mean of a square window of the input. Padding counts as
//! zeros (`count_include_pad`, PyTorch's default), so every window has `kernel * kernel` values.

pub use super::max_pool2d::Shape;
use super::{Real, Summed, assert_fits};

/// y `=` the mean of each window of x `(n, c, h, w)`: `(n, c, out)`.
pub fn forward<T: Real>(shape: Shape, x: &[T]) -> Summed<T> {
    let [x_len, y_len] = shape.lens();
    assert_fits("x", x, x_len);
    let size = shape.kernel * shape.kernel;
    // A division costs 2.5 ULP; 3 steps and the addition that the first term does not need are enough.
    let mut y = Summed::zeros(y_len, size, 3);
    shape.each_term(|xi, yi| y.add(yi, x[xi] / T::of(size as f64)));
    y
}

/// dx `=` for each x, the sum of `dy / (kernel * kernel)` over the windows that hold it: `(n, c, h, w)`.
pub fn backward<T: Real>(shape: Shape, dy: &[T]) -> Summed<T> {
    let [x_len, y_len] = shape.lens();
    assert_fits("dy", dy, y_len);
    let size = T::of((shape.kernel * shape.kernel) as f64);
    let mut dx = Summed::zeros(x_len, shape.windows(), 3);
    shape.each_term(|xi, yi| dx.add(xi, dy[yi] / size));
    dx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_counts() {
        // Windows of 2 x 2 with their corners at -1, 1 and 3: row 0 alone, then rows 1 and 2; columns likewise.
        let shape = Shape { n: 1, c: 1, h: 3, w: 2, kernel: 2, stride: 2, padding: 1 };
        let x = [4.0, 8.0, -12.0, 16.0, 20.0, 40.0];
        let y = forward(shape, &x);
        assert_eq!(y.value, [1.0, 2.0, 2.0, 14.0]);
        assert_eq!(y.magnitude, [1.0, 2.0, 8.0, 14.0]);
        let dx = backward(shape, &[4.0, 8.0, 12.0, 16.0]);
        assert_eq!(dx.value, [1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
        assert_eq!((y.terms, dx.terms), (4, 1));
    }

    #[test]
    fn windows_overlap_and_leave_out_what_does_not_fill_one() {
        let shape = Shape { n: 1, c: 1, h: 2, w: 4, kernel: 2, stride: 1, padding: 0 };
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        assert_eq!(forward(shape, &x).value, [3.5, 4.5, 5.5]);
        assert_eq!(backward(shape, &[4.0, 8.0, 12.0]).value, [1.0, 3.0, 5.0, 3.0, 1.0, 3.0, 5.0, 3.0]);
        let shape = Shape { w: 3, stride: 2, ..shape };
        assert_eq!(backward(shape, &[4.0]).value, [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
    }
}
