//! The effective rank of features.

use nalgebra::DMatrix;

use super::{StatsError, check_count, check_finite};

/// Effective rank of `features` (n, p): the exponential of the entropy of the covariance's eigenvalues, normalised to sum
/// to 1. It lies between 1 (all features are multiples of one) and min(n - 1, p) (uncorrelated, of equal variance);
/// 0 where no feature varies. Formula: O. Roy and M. Vetterli, EUSIPCO 2007, applied to the covariance.
///
/// # Errors
/// When n is less than 2, or a feature is not finite.
///
/// # Panics
/// When the features are not n rows of equal length.
pub fn effective_rank<T: Copy + Into<f64>>(features: &[T], n: usize) -> Result<f64, StatsError> {
    check_count("rows of features", n, 2)?;
    check_finite("features", features)?;
    let mut centred = feature_matrix(features, n);
    let largest = centred.amax();
    for mut column in centred.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    // What rounding of the mean leaves of constant features is not variation.
    if centred.amax() <= 1e-12 * largest {
        return Ok(0.0);
    }
    let eigenvalues = smaller_gram(&centred).symmetric_eigenvalues();
    let sum: f64 = eigenvalues.iter().map(|value| value.max(0.0)).sum();
    let shares = eigenvalues.iter().map(|value| value / sum).filter(|share| *share > 0.0);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    Ok(entropy.exp())
}

/// The rows of `features` as an (n, p) matrix.
pub(super) fn feature_matrix<T: Copy + Into<f64>>(features: &[T], n: usize) -> DMatrix<f64> {
    assert!(n > 0 && features.len().is_multiple_of(n), "{} features for {n} rows", features.len());
    DMatrix::from_row_iterator(n, features.len() / n, features.iter().map(|&feature| feature.into()))
}

/// XᵀX or XXᵀ, whichever is smaller: their eigenvalues are the same, but for zeros.
pub(super) fn smaller_gram(x: &DMatrix<f64>) -> DMatrix<f64> {
    if x.nrows() < x.ncols() { x * x.transpose() } else { x.transpose() * x }
}
