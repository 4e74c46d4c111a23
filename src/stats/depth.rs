//! How many blocks are enough: the decision rules of the depth study.
//!
//! A difference is the error of a depth less that of the reference on the same fold, in percentage points: positive where
//! the shallower model is worse. The margin is the loss one is ready to accept.

use super::{PairedT, StatsError, holm};

/// Confidence of the bounds by which a depth is accepted.
pub const LEVEL: f64 = 0.95;

/// How far above the margin, in percentage points, the mean of the first repeat must lie to stop a depth early.
pub const EARLY_STOP_POINTS: f64 = 1.0;

/// The fold differences of one depth, and whether it has learned anything.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthDifferences {
    /// Number of blocks.
    pub depth: usize,
    /// Error less the reference's, fold by fold, in percentage points.
    pub differences: Vec<f64>,
    /// The standard error, in percentage points, that the choice of images alone gives: [`super::sampling_error`].
    pub least_error: f64,
    /// p-value of the hypothesis that it errs no less than chance: [`p_guessing`] of its mean error.
    pub p_guessing: f64,
    /// Whether [`stops_early`] ended it after the first repeat: it then counts as failed, and its differences estimate
    /// nothing.
    pub stopped_early: bool,
}

impl DepthDifferences {
    /// The t test of the differences, whose standard error is [`PairedT::corrected`]'s, but never less than the choice of images
    /// alone gives: folds that happen to differ by the same amount, or not at all, would leave no doubt otherwise.
    ///
    /// # Errors
    /// When there are fewer than two differences, or one is not finite.
    ///
    /// # Panics
    /// When `folds` is less than 2.
    pub fn test(&self, folds: usize) -> Result<PairedT, StatsError> {
        Ok(PairedT::corrected(&self.differences, folds)?.with_least_error(self.least_error))
    }

    /// p-value of the hypothesis that it is not sufficient: that it loses at least the `margin`, or errs no less than chance. Each
    /// must be rejected, so the larger p-value counts (an intersection-union test: R. L. Berger, Technometrics 24 (1982)
    /// 295-300). A depth that was stopped early has failed: 1.
    pub fn p_sufficient(&self, test: &PairedT, margin: f64) -> f64 {
        if self.stopped_early { 1.0 } else { test.p_at_least(margin).max(self.p_guessing) }
    }

    /// Two-sided p-value of no difference. The differences of a depth that was stopped early were selected for being large, so
    /// they show nothing: 1.
    pub fn p_difference(&self, test: &PairedT) -> f64 {
        if self.stopped_early { 1.0 } else { test.p_two_sided() }
    }

    /// Why it was not accepted: for guessing alone, or not.
    pub fn failure(&self, test: &PairedT, margin: f64) -> Verdict {
        let small_loss = !self.stopped_early && test.p_at_least(margin) < 1.0 - LEVEL;
        if small_loss && self.p_guessing >= 1.0 - LEVEL { Verdict::Guesses } else { Verdict::NotShown }
    }
}

/// p-value of the hypothesis that a mean `error` is no lower than that of `chance`. It is below 1 - [`LEVEL`] exactly where the
/// two-sided interval of the error at [`LEVEL`] lies below chance: guessing passes with half that probability.
pub fn p_guessing(error: &PairedT, chance: f64) -> f64 {
    (2.0 * error.p_at_least(chance)).min(1.0)
}

/// What became of a depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was shown to lose less than the margin and to err less than chance, and so were all deeper ones.
    Sufficient,
    /// Not shown to be sufficient, which is not to say that it is worse.
    NotShown,
    /// It loses less than the margin, but was not shown to err less than chance.
    Guesses,
    /// A deeper one was not shown sufficient, so the question never came up.
    NotTested,
}

/// One row of the depth table.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthRow {
    /// Number of blocks.
    pub depth: usize,
    /// Mean difference and its corrected standard error.
    pub comparison: PairedT,
    /// One-sided upper bound of the mean difference at [`LEVEL`].
    pub upper_bound: f64,
    /// p-value of the hypothesis that it is not sufficient: [`DepthDifferences::p_sufficient`].
    pub p_sufficient: f64,
    /// Two-sided confidence interval of the mean difference at [`LEVEL`], for this depth alone.
    pub interval: (f64, f64),
    /// Two-sided p-value of no difference, adjusted by [`holm`] over all depths.
    pub p_difference: f64,
    /// The outcome.
    pub verdict: Verdict,
}

/// The depth table and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthChoice {
    /// Fewest blocks shown sufficient; the reference where none was.
    pub answer: usize,
    /// A row a depth, in the order given.
    pub rows: Vec<DepthRow>,
}

/// Finds the fewest blocks that lose less than `margin` percentage points against the `reference`.
///
/// The depths are tested in the order given, from the deepest down: one is sufficient where [`DepthDifferences::p_sufficient`] is
/// below 1 - [`LEVEL`], so that the upper bound of [`DepthDifferences::test`] lies below the margin and the interval of its error
/// below chance, and the first that is not ends the search. As the order is fixed beforehand, each may be tested at [`LEVEL`],
/// with no adjustment for the number of depths.
///
/// # Errors
/// When a depth has fewer than two differences, or one that is not finite.
///
/// # Panics
/// When the depths do not descend from below the reference, or `folds` is less than 2.
pub fn choose_depth(
    reference: usize,
    ladder: &[DepthDifferences],
    folds: usize,
    margin: f64,
) -> Result<DepthChoice, StatsError> {
    let mut answer = reference;
    let mut above = reference;
    let mut open = true;
    let mut rows = Vec::with_capacity(ladder.len());
    for step in ladder {
        assert!(step.depth < above, "depth {} is listed after {above}", step.depth);
        above = step.depth;
        let comparison = step.test(folds)?;
        let p_sufficient = step.p_sufficient(&comparison, margin);
        let verdict = match (open, p_sufficient < 1.0 - LEVEL) {
            (false, _) => Verdict::NotTested,
            (true, true) => Verdict::Sufficient,
            (true, false) => step.failure(&comparison, margin),
        };
        open = verdict == Verdict::Sufficient;
        if open {
            answer = step.depth;
        }
        rows.push(DepthRow {
            depth: step.depth,
            upper_bound: comparison.upper_bound(LEVEL),
            p_sufficient,
            interval: comparison.interval(LEVEL),
            p_difference: step.p_difference(&comparison),
            comparison,
            verdict,
        });
    }
    let p_values: Vec<f64> = rows.iter().map(|row| row.p_difference).collect();
    for (row, adjusted) in rows.iter_mut().zip(holm(&p_values)) {
        row.p_difference = adjusted;
    }
    Ok(DepthChoice { answer, rows })
}

/// Whether a depth is given up after the first repeat: its mean difference lies more than [`EARLY_STOP_POINTS`] above the
/// margin. Nothing is ever accepted early, so this cannot raise the chance of a wrong acceptance. But a mean that is large
/// because it was selected for being large overstates the loss: it is no estimate.
///
/// # Panics
/// When there are no differences.
pub fn stops_early(first_repeat: &[f64], margin: f64) -> bool {
    assert!(!first_repeat.is_empty(), "the first repeat has no folds");
    first_repeat.iter().sum::<f64>() / first_repeat.len() as f64 > margin + EARLY_STOP_POINTS
}

/// The fold errors of one depth.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthErrors {
    /// Number of blocks.
    pub depth: usize,
    /// Error fold by fold, in percentage points.
    pub errors: Vec<f64>,
}

/// Outcome of [`one_se_choice`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneSeChoice {
    /// Fewest blocks within the threshold.
    pub depth: usize,
    /// Depth of the lowest mean error.
    pub best: usize,
    /// The lowest mean error plus its standard error, in percentage points.
    pub threshold: f64,
}

/// The one-standard-error rule: the fewest blocks whose mean error is at most the lowest one plus its corrected standard
/// error. A heuristic, to be labelled so: it bounds no error probability and knows no margin.
/// Rule: L. Breiman et al., Classification and Regression Trees (1984), section 3.4.3.
///
/// # Errors
/// When there is no depth, or one has fewer than two errors or one that is not finite.
///
/// # Panics
/// When `folds` is less than 2.
pub fn one_se_choice(depths: &[DepthErrors], folds: usize) -> Result<OneSeChoice, StatsError> {
    super::check_count("depths", depths.len(), 1)?;
    let means: Vec<(usize, PairedT)> = depths
        .iter()
        .map(|entry| Ok((entry.depth, PairedT::corrected(&entry.errors, folds)?)))
        .collect::<Result<_, StatsError>>()?;
    let &(best, lowest) = means.iter().min_by(|a, b| a.1.mean.total_cmp(&b.1.mean)).expect("there is a depth");
    let threshold = lowest.mean + lowest.standard_error;
    let within = means.iter().filter(|(_, mean)| mean.mean <= threshold);
    let depth = within.map(|&(depth, _)| depth).min().expect("the best is within");
    Ok(OneSeChoice { depth, best, threshold })
}
