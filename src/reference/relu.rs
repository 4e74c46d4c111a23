//! The rectifier, `torch.nn.ReLU`: `y = max(x, 0)`; and the one with a ceiling, `torch.nn.ReLU6`: `y = min(max(x, 0), 6)`.
//! Nothing is rounded, so their bound is zero.

use super::{Real, Summed, assert_fits};

/// y `=` x where x is positive, else 0, for any shape.
pub fn forward<T: Real>(x: &[T]) -> Summed<T> {
    Summed::exact(x.iter().map(|&x| if x > T::zero() { x } else { T::zero() }).collect())
}

/// dx `=` dy where x is positive, else 0; at `x = 0` the gradient is 0, as in PyTorch.
pub fn backward<T: Real>(x: &[T], dy: &[T]) -> Summed<T> {
    assert_fits("dy", dy, x.len());
    Summed::exact(x.iter().zip(dy).map(|(&x, &dy)| if x > T::zero() { dy } else { T::zero() }).collect())
}

/// dx `=` dy where both x and dy are positive, else 0: guided backpropagation (Springenberg et al., 2014). No gradient.
pub fn backward_guided<T: Real>(x: &[T], dy: &[T]) -> Summed<T> {
    assert_fits("dy", dy, x.len());
    Summed::exact(forward(&backward(x, dy).value).value)
}

/// dx `=` dy where it is positive, else 0: the deconvolutional network (Zeiler and Fergus, 2014). No gradient.
pub fn backward_deconvnet<T: Real>(dy: &[T]) -> Summed<T> {
    forward(dy)
}

/// y `=` x where it lies between 0 and 6, else the nearer of the two.
pub fn forward6<T: Real>(x: &[T]) -> Summed<T> {
    Summed::exact(x.iter().map(|&x| x.max(T::zero()).min(T::of(6.0))).collect())
}

/// dx `=` dy where x lies between 0 and 6, else 0; at 0 and at 6 the gradient is 0, as in PyTorch.
pub fn backward6<T: Real>(x: &[T], dy: &[T]) -> Summed<T> {
    assert_fits("dy", dy, x.len());
    let passes = |x: T| x > T::zero() && x < T::of(6.0);
    Summed::exact(x.iter().zip(dy).map(|(&x, &dy)| if passes(x) { dy } else { T::zero() }).collect())
}

/// dx `=` dy where it is positive and x lies between 0 and 6, else 0: guided backpropagation through ReLU6. No gradient.
pub fn backward6_guided<T: Real>(x: &[T], dy: &[T]) -> Summed<T> {
    forward(&backward6(x, dy).value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_values_worked_out_by_hand() {
        let x = [-2.0, -0.0, 0.0, 1e-30, 3.0];
        assert_eq!(forward(&x).value, [0.0, 0.0, 0.0, 1e-30, 3.0]);
        assert_eq!(backward(&x, &[1.0, 2.0, 3.0, 4.0, -5.0]).value, [0.0, 0.0, 0.0, 4.0, -5.0]);
        assert_eq!(backward_guided(&x, &[1.0, 2.0, 3.0, 4.0, -5.0]).value, [0.0, 0.0, 0.0, 4.0, 0.0]);
        assert_eq!(backward_deconvnet(&[1.0, -0.0, -3.0]).value, [1.0, 0.0, 0.0]);
    }
    #[test]
    fn with_a_ceiling_matches_values_worked_out_by_hand() {
        let x = [-2.0, 0.0, 0.5, 5.5, 6.0, 7.0];
        assert_eq!(forward6(&x).value, [0.0, 0.0, 0.5, 5.5, 6.0, 6.0]);
        assert_eq!(backward6(&x, &[1.0, 2.0, 3.0, -4.0, 5.0, 6.0]).value, [0.0, 0.0, 3.0, -4.0, 0.0, 0.0]);
        assert_eq!(backward6_guided(&x, &[1.0, 2.0, 3.0, -4.0, 5.0, 6.0]).value, [0.0, 0.0, 3.0, 0.0, 0.0, 0.0]);
    }
}
