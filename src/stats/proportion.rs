//! Shares of images: Wilson's interval and McNemar's test.

use statrs::distribution::{Binomial, ContinuousCDF, Discrete, DiscreteCDF, Normal};

use super::assert_level;

/// Wilson's score interval for the share behind `successes` of `trials`, at a two-sided confidence `level`.
///
/// Unlike the textbook interval it stays within 0 and 1, and keeps a width at 0 and at 100% correct.
/// Without trials it is (0, 1). Formula: E. B. Wilson, JASA 22 (1927) 209-212, without continuity correction.
///
/// # Panics
/// When there are more successes than trials, or `level` is not between 0 and 1.
pub fn wilson(successes: usize, trials: usize, level: f64) -> (f64, f64) {
    assert!(successes <= trials, "{successes} successes of {trials} trials");
    assert_level(level);
    if trials == 0 {
        return (0.0, 1.0);
    }
    let n = trials as f64;
    let share = successes as f64 / n;
    let z = Normal::standard().inverse_cdf(0.5 + level / 2.0);
    let centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half_width = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    // Rounding must not push the ends that are exact, 0 of n and n of n, past 0 and 1.
    let low = if successes == 0 { 0.0 } else { centre - half_width };
    let high = if successes == trials { 1.0 } else { centre + half_width };
    (low, high)
}

/// The p-values of McNemar's test, both two-sided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct McNemar {
    /// Exact conditional p-value: never too small, often too large.
    pub exact: f64,
    /// Mid-p value: closer to the nominal level than the exact one.
    pub mid_p: f64,
}

/// McNemar's test of two classifiers on the same images, from the images that only one of them gets right.
///
/// Under the null hypothesis either count is binomial with probability 1/2. Without such images both values are 1.
/// Formulas: M. W. Fagerland, S. Lydersen and P. Laake, BMC Medical Research Methodology 13:91 (2013).
pub fn mcnemar(only_first: usize, only_second: usize) -> McNemar {
    let trials = only_first + only_second;
    if trials == 0 {
        return McNemar { exact: 1.0, mid_p: 1.0 };
    }
    let fewer = only_first.min(only_second) as u64;
    let binomial = Binomial::new(0.5, trials as u64).expect("1/2 is a probability");
    let observed = binomial.pmf(fewer);
    if only_first == only_second {
        // The observed count is the least extreme one: it alone is halved.
        return McNemar { exact: 1.0, mid_p: 1.0 - observed / 2.0 };
    }
    let exact = (2.0 * binomial.cdf(fewer)).min(1.0);
    McNemar { exact, mid_p: exact - observed }
}
