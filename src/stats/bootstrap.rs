//! The paired bootstrap.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{StatsError, assert_level, check_count, check_finite};

/// Resamples of [`paired_bootstrap`].
pub const RESAMPLES: usize = 10_000;

/// A mean with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanInterval {
    /// The mean of the data as given.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Percentile bootstrap interval, at a two-sided confidence `level`, for the mean of `second - first`, two scores of the
/// same images (n each: 0 and 1, or a loss).
///
/// Images are drawn with replacement, [`RESAMPLES`] times; the ends are quantiles of the means, between two of them by
/// linear interpolation. Formula: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
///
/// # Errors
/// When there are fewer than two pairs, or a score is not finite.
///
/// # Panics
/// When the two differ in length, or `level` is not between 0 and 1.
pub fn paired_bootstrap(first: &[f64], second: &[f64], level: f64, seed: u64) -> Result<MeanInterval, StatsError> {
    assert_eq!(first.len(), second.len(), "scores of the same images");
    assert_level(level);
    check_count("paired scores", first.len(), 2)?;
    let differences: Vec<f64> = first.iter().zip(second).map(|(first, second)| second - first).collect();
    check_finite("paired scores", &differences)?;

    let n = differences.len();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut resampled_mean = || (0..n).map(|_| differences[rng.random_range(0..n)]).sum::<f64>() / n as f64;
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resampled_mean()).collect();
    means.sort_by(f64::total_cmp);
    Ok(MeanInterval {
        mean: differences.iter().sum::<f64>() / n as f64,
        low: quantile(&means, (1.0 - level) / 2.0),
        high: quantile(&means, (1.0 + level) / 2.0),
    })
}

/// Quantile of ascending values, by linear interpolation.
pub(super) fn quantile(ascending: &[f64], probability: f64) -> f64 {
    let position = probability * (ascending.len() - 1) as f64;
    let below = ascending[position.floor() as usize];
    let above = ascending[position.ceil() as usize];
    below + (above - below) * position.fract()
}
