//! Statistics behind the two studies: what each layer knows, and how many layers are enough.
//!
//! - [`proportion`]: intervals for a share, and the paired comparison of two classifiers on the same images.
//! - [`multiple`]: adjustment of p-values for having asked several questions.
//! - [`mod@bootstrap`]: an interval that assumes no distribution.
//! - [`paired_t`]: the t test of paired differences, plain and corrected for overlapping training sets.
//! - [`depth`]: the rules by which a depth is found sufficient, or stopped early.
//! - [`scores`]: accuracy and log-loss of logits.
//! - [`auc`]: the area under the ROC curve.
//! - [`calibration`]: whether probabilities mean what they say.
//! - [`confusion`]: precision, recall and F1 of each class.
//! - [`standing`]: whether a classifier beats always naming the commonest class.
//! - [`rank`]: the effective rank of a set of features.
//! - [`logistic`] and [`mod@probe`]: the linear probe and its cross-validation.
//!
//! Matrices are slices in row-major order. Random numbers come from a seed, so the same call gives the same answer.
//! Wrong shapes and levels outside (0, 1) are mistakes of the caller and panic; what the data may bring about is a
//! [`StatsError`].

use thiserror::Error;

pub mod auc;
pub mod bootstrap;
pub mod calibration;
pub mod confusion;
pub mod depth;
pub mod logistic;
pub mod multiple;
pub mod paired_t;
// Works in threads, which a browser has not.
#[cfg(feature = "native")]
pub mod probe;
pub mod proportion;
pub mod rank;
pub mod scores;
pub mod standing;

pub use auc::{roc_auc, roc_auc_interval};
pub use bootstrap::bootstrap;
pub use calibration::{Calibration, CalibrationBin, expected_calibration_error};
pub use confusion::{ClassCounts, log_loss_of_shares, macro_mean};
pub use depth::{
    DepthChoice, DepthDifferences, DepthErrors, DepthRow, OneSeChoice, Verdict, choose_depth, one_se_choice,
    p_guessing, stops_early,
};
pub use logistic::{LogisticRegression, logistic_regression};
pub use multiple::{benjamini_hochberg, holm};
pub use paired_t::{PairedT, t_cdf, t_quantile};
#[cfg(feature = "native")]
pub use probe::{Probe, probe, probe_with_permuted};
pub use proportion::{McNemar, mcnemar, paired_difference, sampling_error, share_error, wilson};
pub use rank::effective_rank;
pub use scores::{accuracy, argmax, log_loss, probabilities};

/// Data from which a figure cannot be computed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum StatsError {
    /// Fewer values than the formula needs.
    #[error("{found} {what} are too few: at least {needed} are needed")]
    TooFew {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
    },
    /// A class with too few images to be spread over the folds.
    #[error("class {class} has {found} images: the probe needs at least {needed} of each class")]
    TooFewOfClass {
        /// The class.
        class: usize,
        /// Its images.
        found: usize,
        /// How many it must have.
        needed: usize,
    },
    /// An infinity or a NaN among the values.
    #[error("the {what} contain {value}: the network they come from may have diverged")]
    NotFinite {
        /// What was being read.
        what: &'static str,
        /// The first value that is not finite.
        value: f64,
    },
    /// A logistic regression that did not reach its tolerance.
    #[error("the logistic regression with lambda {lambda} did not converge in {steps} steps")]
    NotConverged {
        /// Its L2 penalty.
        lambda: f64,
        /// The steps it was given.
        steps: usize,
    },
}

/// Refuses values that are not finite.
fn check_finite<T: Copy + Into<f64>>(what: &'static str, values: &[T]) -> Result<(), StatsError> {
    match values.iter().map(|&value| value.into()).find(|value| !value.is_finite()) {
        Some(value) => Err(StatsError::NotFinite { what, value }),
        None => Ok(()),
    }
}

/// Refuses fewer than `needed` values.
fn check_count(what: &'static str, found: usize, needed: usize) -> Result<(), StatsError> {
    if found < needed { Err(StatsError::TooFew { what, found, needed }) } else { Ok(()) }
}

/// Insists on a confidence level or probability strictly between 0 and 1.
fn assert_level(level: f64) {
    assert!(level > 0.0 && level < 1.0, "{level} is not strictly between 0 and 1");
}
