//! Shares of images: Wilson's interval, McNemar's test, and the difference of two shares of the same images.

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

/// Tango's score interval for the difference of two classifiers' shares on the same `images`, at a two-sided confidence
/// `level`: by how much more the first gets right, from the images that only one of them does. Those may be means over
/// several classifiers, and so no whole numbers.
///
/// It keeps a width where no image is decided differently: that a hundred images stay as they are does not show that one in a
/// hundred never changes. Formula: T. Tango, Statistics in Medicine 17 (1998) 891-908.
///
/// # Panics
/// When more images are decided differently than there are, there are none, or `level` is not between 0 and 1.
pub fn paired_difference(only_first: f64, only_second: f64, images: usize, level: f64) -> (f64, f64) {
    let n = images as f64;
    assert!(images > 0 && only_first.min(only_second) >= 0.0 && only_first + only_second <= n * (1.0 + 1e-12));
    assert_level(level);
    let z = Normal::standard().inverse_cdf(0.5 + level / 2.0);
    // Standard errors between what was seen and a true difference; falls as that grows.
    let distance = |difference: f64| {
        // The likeliest share that only the second gets right, given the difference.
        let linear = (2.0 * n - only_first + only_second) * difference - only_first - only_second;
        let constant = -only_second * difference * (1.0 - difference);
        let share = ((linear * linear - 8.0 * n * constant).max(0.0).sqrt() - linear) / (4.0 * n);
        let variance = n * (2.0 * share + difference * (1.0 - difference));
        (only_first - only_second - n * difference) / variance.max(f64::MIN_POSITIVE).sqrt()
    };
    let found = (only_first - only_second) / n;
    let end = |mut inside: f64, mut outside: f64| {
        for _ in 0..60 {
            let middle = (inside + outside) / 2.0;
            *(if distance(middle).abs() < z { &mut inside } else { &mut outside }) = middle;
        }
        inside
    };
    (end(found, -1.0), end(found, 1.0))
}

/// Standard error of the share behind `successes` of `trials`, which may be means over several classifiers, with one success and
/// one failure more: so it is not 0 where all are the same.
pub fn share_error(successes: f64, trials: usize) -> f64 {
    let n = trials as f64 + 2.0;
    let share = (successes + 1.0) / n;
    (share * (1.0 - share) / n).sqrt()
}

/// Standard error of the difference of two classifiers' shares on the same `images` that the choice of these images alone
/// gives, from the images that only one of them gets right and one more of each kind: so it is not 0 where no image is decided
/// differently. A. Agresti and Y. Min, Statistics in Medicine 24 (2005) 729-740, add half as much.
pub fn sampling_error(only_first: f64, only_second: f64, images: usize) -> f64 {
    let n = images as f64 + 2.0;
    (only_first + only_second + 2.0 - (only_first - only_second).powi(2) / n).sqrt() / n
}
