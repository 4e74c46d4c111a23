//! The sum of two tensors of the same shape: `y = a + b`. The gradient of either is dy.

use super::{Real, Summed, assert_fits};

/// y `=` `a + b`, for any shape.
pub fn forward<T: Real>(a: &[T], b: &[T]) -> Summed<T> {
    assert_fits("b", b, a.len());
    let mut y = Summed::zeros(a.len(), 1, 0);
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        y.add(i, a);
        y.add(i, b);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_values_worked_out_by_hand() {
        let y = forward(&[1.0, -2.0, 0.5], &[2.0, 2.0, -1.0]);
        assert_eq!(y.value, [3.0, 0.0, -0.5]);
        assert_eq!((y.magnitude, y.terms), (vec![3.0, 4.0, 1.5], 1));
    }
}
