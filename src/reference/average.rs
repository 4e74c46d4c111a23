//! Exponential moving average, as `torch.Tensor.lerp_` in timm's `ModelEmaV3`: `average += (1 - decay) * (value - average)`.
//!
//! **Bounds.** The factor from the host counts as one rounding; then come a difference, a product and a sum, whose terms are the
//! average, and a share of it and of the value.

use super::{Real, Summed, assert_fits};

/// The average after one step.
pub fn step<T: Real>(decay: f64, value: &[T], average: &[T]) -> Summed<T> {
    assert_fits("value", value, average.len());
    let rest = T::of(1.0 - decay);
    let mut moved = Summed::zeros(average.len(), 2, 3);
    for (i, (&value, &average)) in value.iter().zip(average).enumerate() {
        moved.value[i] = average + rest * (value - average);
        moved.magnitude[i] = average.abs() + rest * (value.abs() + average.abs());
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_values_worked_out_by_hand() {
        assert_eq!(step(0.75, &[4.0, 1.0, 0.3], &[0.0, 3.0, 0.3]).value, [1.0, 2.5, 0.3]);
    }
}
