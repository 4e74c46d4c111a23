//! Clipping the gradient by its norm, `torch.nn.utils.clip_grad_norm_` with the 2-norm of all tensors together:
//! `gradient *= min(1, most / (sqrt(sum g^2) + 1e-6))`.
//!
//! **Bounds.** A square is off by 1 rounding and the sum by one an addition at most, of which its root halves the effect; the root
//! itself has 4.5, the sum with 1e-6 one, the division 2.5, the product one.

use super::{Real, Summed};

/// The scaled gradient.
pub fn scale<T: Real>(gradient: &[T], most: T) -> Summed<T> {
    let mut squares = T::zero();
    for &g in gradient {
        squares += g * g;
    }
    let factor = T::one().min(most / (squares.sqrt() + T::of(1e-6)));
    let mut scaled = Summed::zeros(gradient.len(), gradient.len().div_ceil(2), 10);
    for (i, &g) in gradient.iter().enumerate() {
        scaled.add(i, g * factor);
    }
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch 2.15's `clip_grad_norm_` of two tensors, (1, -2, 3) and (-4, 0.5), whose norm is 5.5.
    #[test]
    fn gradients_are_clipped_as_by_pytorch() {
        let gradient: [f64; 5] = [1.0, -2.0, 3.0, -4.0, 0.5];
        let clipped =
            [0.18181814876033658, -0.36363629752067317, 0.5454544462810098, -0.7272725950413463, 0.09090907438016829];
        for (most, want) in [(1.0, clipped), (4.0, clipped.map(|g| 4.0 * g)), (10.0, gradient)] {
            for (got, want) in scale(&gradient, most).value.iter().zip(want) {
                assert!((got - want).abs() < 1e-15, "at most {most}: {got} is not {want}");
            }
        }
        assert_eq!(scale(&[0.0; 3], 1.0).value, [0.0; 3]);
    }
}
