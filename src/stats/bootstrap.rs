//! The bootstrap over images.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::assert_level;

/// Percentile bootstrap interval, at a two-sided confidence `level`, for a statistic of `images` images.
///
/// Images are drawn with replacement, `resamples` times. `statistic` is told how many times each was drawn (n numbers, whose sum is n);
/// the interval's ends are quantiles of what it returns, between two of them by linear interpolation. Formula: B. Efron and
/// R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
///
/// # Panics
/// When there are no images or resamples, or `level` is not between 0 and 1.
pub fn bootstrap(
    images: usize,
    resamples: usize,
    level: f64,
    seed: u64,
    mut statistic: impl FnMut(&[f64]) -> f64,
) -> (f64, f64) {
    assert!(images > 0 && resamples > 0, "{resamples} resamples of {images} images");
    assert_level(level);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut resampled = || {
        let mut times = vec![0.0; images];
        (0..images).for_each(|_| times[rng.random_range(0..images)] += 1.0);
        statistic(&times)
    };
    let mut found: Vec<f64> = (0..resamples).map(|_| resampled()).collect();
    found.sort_by(f64::total_cmp);
    (quantile(&found, (1.0 - level) / 2.0), quantile(&found, (1.0 + level) / 2.0))
}

/// Quantile of ascending values, by linear interpolation.
pub(super) fn quantile(ascending: &[f64], probability: f64) -> f64 {
    let position = probability * (ascending.len() - 1) as f64;
    let below = ascending[position.floor() as usize];
    let above = ascending[position.ceil() as usize];
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        for (probability, expected) in [(0.0, 1.0), (0.5, 3.0), (0.625, 5.0), (0.75, 7.0), (1.0, 9.0)] {
            assert_eq!(quantile(&[1.0, 2.0, 3.0, 7.0, 9.0], probability), expected);
        }
    }
}
