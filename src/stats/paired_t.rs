//! The t test of paired differences, plain and corrected for cross-validation.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{StatsError, assert_level, check_count, check_finite};

/// Quantile of Student's t distribution.
///
/// # Panics
/// When `probability` is not between 0 and 1, or `degrees_of_freedom` is not positive.
pub fn t_quantile(probability: f64, degrees_of_freedom: f64) -> f64 {
    assert_level(probability);
    students_t(degrees_of_freedom).inverse_cdf(probability)
}

/// Probability that Student's t is at most `t`: the one-sided p-value against larger values. The two-sided p-value of t
/// is `2 * t_cdf(-t.abs(), ..)`.
///
/// # Panics
/// When `degrees_of_freedom` is not positive.
pub fn t_cdf(t: f64, degrees_of_freedom: f64) -> f64 {
    students_t(degrees_of_freedom).cdf(t)
}

fn students_t(degrees_of_freedom: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, degrees_of_freedom).expect("degrees of freedom are positive")
}

/// Mean of paired differences with what the t distribution says about it, in the unit of the differences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedT {
    /// Mean difference.
    pub mean: f64,
    /// Standard deviation of the differences (n - 1 in the denominator).
    pub sd: f64,
    /// Standard error of the mean.
    pub standard_error: f64,
    /// Degrees of freedom: the number of differences less one.
    pub degrees_of_freedom: f64,
}

impl PairedT {
    /// The plain paired t, `SE = s / sqrt(J)` for J differences. It holds for independent differences, as of distinct images.
    /// Folds of a cross-validation share their training images: there it takes far too many differences for real.
    ///
    /// # Errors
    /// When there are fewer than two differences, or one is not finite.
    pub fn naive(differences: &[f64]) -> Result<Self, StatsError> {
        Self::with_variance_factor(differences, 1.0 / differences.len() as f64)
    }

    /// The corrected resampled t for the J differences of a (repeated) cross-validation with `folds` folds,
    /// `SE = s * sqrt(1/J + 1/(folds - 1))` with J - 1 degrees of freedom, where 1/(folds - 1) is the number of test images
    /// over that of training images. Formula: C. Nadeau and Y. Bengio, Machine Learning 52 (2003) 239-281.
    ///
    /// # Errors
    /// When there are fewer than two differences, or one is not finite.
    ///
    /// # Panics
    /// When `folds` is less than 2.
    pub fn corrected(differences: &[f64], folds: usize) -> Result<Self, StatsError> {
        assert!(folds >= 2, "a cross-validation has at least 2 folds");
        Self::with_variance_factor(differences, 1.0 / differences.len() as f64 + 1.0 / (folds - 1) as f64)
    }

    fn with_variance_factor(differences: &[f64], factor: f64) -> Result<Self, StatsError> {
        check_count("paired differences", differences.len(), 2)?;
        check_finite("paired differences", differences)?;
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
        let sd = (squares / (count - 1.0)).sqrt();
        Ok(Self { mean, sd, standard_error: sd * factor.sqrt(), degrees_of_freedom: count - 1.0 })
    }

    /// The same with at least this standard error.
    pub fn with_least_error(self, least: f64) -> Self {
        Self { standard_error: self.standard_error.max(least), ..self }
    }

    /// Two-sided confidence interval of the mean.
    ///
    /// # Panics
    /// When `level` is not between 0 and 1.
    pub fn interval(&self, level: f64) -> (f64, f64) {
        let half_width = t_quantile(0.5 + level / 2.0, self.degrees_of_freedom) * self.standard_error;
        (self.mean - half_width, self.mean + half_width)
    }

    /// One-sided upper confidence bound of the mean.
    ///
    /// # Panics
    /// When `level` is not between 0 and 1.
    pub fn upper_bound(&self, level: f64) -> f64 {
        self.mean + t_quantile(level, self.degrees_of_freedom) * self.standard_error
    }

    /// Two-sided p-value of the hypothesis that the mean is 0.
    pub fn p_two_sided(&self) -> f64 {
        2.0 * t_cdf(-self.statistic(0.0).abs(), self.degrees_of_freedom)
    }

    /// One-sided p-value of the hypothesis that the mean is at least `margin`. It is below 1 - level exactly where
    /// [`upper_bound`](Self::upper_bound) at that level is below the margin.
    pub fn p_at_least(&self, margin: f64) -> f64 {
        t_cdf(self.statistic(margin), self.degrees_of_freedom)
    }

    /// One-sided p-value of the hypothesis that the mean is at most `bound`.
    pub fn p_at_most(&self, bound: f64) -> f64 {
        t_cdf(-self.statistic(bound), self.degrees_of_freedom)
    }

    /// Distance of the mean from `null` in standard errors; infinite where all differences are equal, and not `null`.
    fn statistic(&self, null: f64) -> f64 {
        let distance = self.mean - null;
        if distance == 0.0 { 0.0 } else { distance / self.standard_error }
    }
}
