//! The answer of a study, made of the units' files alone.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::reading;
use super::unit::{self, Unit, UnitResult};
use super::{Candidate, Ladder, Settings, Study};
use crate::stats::{
    self, DepthDifferences, DepthErrors, PairedT, Verdict, choose_depth, holm, one_se_choice, p_guessing, stops_early,
};
use crate::train::run_dir::RunDir;

/// Confidence of all intervals and bounds.
pub const LEVEL: f64 = stats::depth::LEVEL;

/// Name of the file that holds what a study found.
pub const DEPTH_FILE: &str = "depth.json";

/// What a study found: `depth.json`. It depends on the units' files alone, but not on when, where and in which order they
/// were made. Errors and differences are in percentage points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// What the study is about.
    pub study: Study,
    /// Name of the candidate that the others are compared with.
    pub reference: String,
    /// Name of the smallest candidate, by its weights, that was shown to be sufficient, or of the reference.
    pub answer: String,
    /// Whether the reference was shown to be better than always naming the commonest class. Where it is not, nothing
    /// follows from being as good as it is, and the answer is the reference for want of another.
    pub conclusive: bool,
    /// Error of always naming the commonest class.
    pub chance_error: f64,
    /// The answer in words: [`Findings::headline`] and [`Findings::details`].
    pub words: String,
    /// Confidence of all intervals and bounds.
    pub level: f64,
    /// One row a candidate, in the order in which they were tested, the reference first.
    #[serde(alias = "rungs")]
    pub candidates: Vec<Row>,
    /// The one-standard-error rule's choice, for truncated networks whose reference has learned something.
    pub one_standard_error: Option<OneStandardError>,
}

/// What was found of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// How many blocks it has.
    pub blocks: usize,
    /// The middle block that it leaves out, from 1.
    pub left_out: Option<usize>,
    /// How many numbers are trained.
    pub parameters: usize,
    /// Pixels of the image that a value of its last maps sees, in height and width.
    pub receptive_field: usize,
    /// Height of its last maps.
    pub last_map: usize,
    /// Whether it was given up after the first repeat. Its errors there were selected for being large, so they estimate nothing.
    pub stopped_early: bool,
    /// Error of each scored fold, repeat by repeat; of the first repeat alone where it was stopped early.
    pub errors: Vec<f64>,
    /// What these say of other images; none where it was stopped early.
    #[serde(flatten)]
    pub estimate: Option<ErrorEstimate>,
    /// Training loss of each epoch, its mean over the folds that were scored.
    #[serde(default)]
    pub train_loss: Vec<f64>,
    /// How it compares with the reference; none for the reference itself.
    pub comparison: Option<Comparison>,
}

/// How often a network errs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorEstimate {
    /// Mean over the folds.
    pub mean_error: f64,
    /// Two-sided interval of the mean error, corrected for the overlap of training folds, and at least as wide as the choice of
    /// images alone makes it.
    pub error_interval: (f64, f64),
    /// Mean over the folds of the mean log-loss.
    pub log_loss: f64,
}

/// How a candidate compares with the reference: all differences are its error less the reference's on the same fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Fold by fold.
    pub differences: Vec<f64>,
    /// What these say of other images; none where the candidate was stopped early.
    #[serde(flatten)]
    pub estimate: Option<Difference>,
    /// What follows.
    pub decision: Decision,
}

/// How much more a network errs than the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Mean over the folds.
    pub mean: f64,
    /// Its standard error, corrected for the overlap of training folds, and at least what the choice of images alone gives.
    pub standard_error: f64,
    /// One-sided upper bound of the mean.
    pub upper_bound: f64,
    /// p-value of the hypothesis that the mean is at least the margin, or that the candidate errs no less than always naming the
    /// commonest class. Where all candidates are tested, side by side, it is adjusted over them by Holm's method.
    #[serde(alias = "p_margin")]
    pub p_sufficient: f64,
    /// Two-sided interval of the mean, for this candidate alone.
    pub interval: (f64, f64),
    /// Two-sided p-value of no difference, adjusted over all candidates by Holm's method.
    pub p_difference: f64,
}

/// The errors of a candidate that was stopped early and of the reference on the same folds: what happened, and no estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FirstRepeat {
    /// Mean error of the candidate.
    pub error: f64,
    /// Mean error of the reference.
    pub reference_error: f64,
}

/// What becomes of a candidate.
///
/// Its other names in files are those of older versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It was shown to lose less than the margin, and to beat guessing.
    Sufficient,
    /// It was not, which is not to say that it is worse.
    #[serde(alias = "not shown")]
    NotShown,
    /// It loses less than the margin, but was not shown to err less than always naming the commonest class.
    #[serde(alias = "not shown to beat guessing")]
    Guesses,
    /// A deeper one was not shown sufficient, so the question never came up.
    #[serde(alias = "not tested")]
    NotTested,
    /// The reference has learned nothing to compare with.
    Inconclusive,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sufficient => "sufficient",
            Self::NotShown => "not shown",
            Self::Guesses => "not shown to beat guessing",
            Self::NotTested => "not tested",
            Self::Inconclusive => "inconclusive",
        })
    }
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Sufficient => Self::Sufficient,
            Verdict::NotShown => Self::NotShown,
            Verdict::Guesses => Self::Guesses,
            Verdict::NotTested => Self::NotTested,
        }
    }
}

/// What the one-standard-error rule would choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneStandardError {
    /// The candidate.
    pub choice: String,
    /// The candidate of the lowest mean error.
    pub best: String,
    /// That error plus its standard error.
    pub threshold: f64,
    /// What to make of it.
    pub note: String,
}

/// A row of `depth.csv`.
#[derive(Serialize)]
struct Line<'a> {
    candidate: &'a str,
    blocks: usize,
    parameters: usize,
    receptive_field: usize,
    folds_scored: usize,
    mean_error: Option<f64>,
    error_low: Option<f64>,
    error_high: Option<f64>,
    log_loss: Option<f64>,
    difference: Option<f64>,
    standard_error: Option<f64>,
    upper_bound: Option<f64>,
    p_sufficient: Option<f64>,
    difference_low: Option<f64>,
    difference_high: Option<f64>,
    p_difference: Option<f64>,
    decision: String,
    stopped_early: bool,
    first_repeat_error: Option<f64>,
    first_repeat_reference_error: Option<f64>,
}

/// The results of one candidate, repeat by repeat and fold by fold.
struct Scored<'a> {
    candidate: &'a Candidate,
    results: Vec<UnitResult>,
    stopped_early: bool,
}

impl Scored<'_> {
    fn errors(&self) -> Vec<f64> {
        self.results.iter().map(|result| result.scores.error()).collect()
    }

    /// Standard error of the difference to the reference's share that the choice of images alone gives. Repeats score the same
    /// images again, so their mean counts.
    fn sampling_error(&self, reference: &Scored<'_>) -> f64 {
        let pairs = || {
            let both = self.results.iter().zip(&reference.results);
            both.flat_map(|(own, other)| own.scores.correct.iter().zip(&other.scores.correct))
        };
        let images = self.images();
        let repeats = pairs().count() as f64 / images as f64;
        let lost = pairs().filter(|(own, other)| !**own && **other).count() as f64;
        let won = pairs().filter(|(own, other)| **own && !**other).count() as f64;
        stats::sampling_error(lost / repeats, won / repeats, images)
    }

    /// The mean error, with the standard error that is corrected for the overlap of training folds, and at least what the choice
    /// of images alone gives.
    fn mean_error(&self, settings: &Settings) -> Result<PairedT> {
        let errors = self.errors();
        let images = self.images();
        let wrong = errors.iter().sum::<f64>() / errors.len() as f64 / 100.0 * images as f64;
        let least = 100.0 * stats::share_error(wrong, images);
        Ok(PairedT::corrected(&errors, settings.folds)?.with_least_error(least))
    }

    /// How many images were scored, however often.
    fn images(&self) -> usize {
        let all = self.results.iter().flat_map(|result| &result.scores.images);
        all.collect::<BTreeSet<_>>().len()
    }
}

/// Whether a candidate is given up after the first repeat, as far as the files tell. It is then failed, never accepted; what was
/// trained of it later is not looked at.
///
/// # Errors
/// When a file cannot be used.
pub fn given_up(folder: &RunDir, study: &Study, reference: &Candidate, candidate: &Candidate) -> Result<bool> {
    let settings = &study.identity.settings;
    if candidate == reference || settings.repeats == 1 {
        return Ok(false);
    }
    let mut differences = Vec::with_capacity(settings.folds);
    for fold in 1..=settings.folds {
        let read = |candidate: &Candidate| {
            unit::read(folder, &study.identity, &Unit { candidate: candidate.name.clone(), repeat: 1, fold })
        };
        let (Some(own), Some(other)) = (read(candidate)?, read(reference)?) else { return Ok(false) };
        differences.push(own.scores.error() - other.scores.error());
    }
    Ok(stops_early(&differences, settings.margin))
}

/// Puts the units' results together.
///
/// # Errors
/// When one is missing, cannot be used, or was made of other data, with other settings or by other code.
pub fn collect(folder: &RunDir, study: &Study) -> Result<Findings> {
    let candidates = study.identity.settings.candidates()?;
    conclude(study, &read_all(folder, study, &candidates)?)
}

/// Makes the answer of the results, those of the reference first.
fn conclude(study: &Study, scored: &[Scored<'_>]) -> Result<Findings> {
    let settings = &study.identity.settings;
    let chance = study.chance_error();
    let errors: Vec<PairedT> = scored.iter().map(|scored| scored.mean_error(settings)).collect::<Result<_>>()?;
    let beats_chance = |candidate: usize| errors[candidate].interval(LEVEL).1 < chance;
    let conclusive = beats_chance(0);
    let (mut answer, mut comparisons) = compare(settings, scored, &errors, chance)?;
    if !conclusive {
        answer = 0;
        comparisons.iter_mut().for_each(|comparison| comparison.decision = Decision::Inconclusive);
    }
    let comparisons = std::iter::once(None).chain(comparisons.into_iter().map(Some));
    let rows = scored.iter().zip(&errors).zip(comparisons);
    let rows: Vec<Row> =
        rows.map(|((scored, error), comparison)| row(settings, scored, *error, comparison)).collect::<Result<_>>()?;
    let one_standard_error = match settings.ladder {
        Ladder::Truncate if conclusive => {
            let usable =
                (0..scored.len()).filter(|&candidate| !scored[candidate].stopped_early && beats_chance(candidate));
            Some(one_standard_error(settings, usable.map(|candidate| &scored[candidate]))?)
        }
        _ => None,
    };
    let mut findings = Findings {
        study: study.clone(),
        reference: rows[0].name.clone(),
        answer: rows[answer].name.clone(),
        conclusive,
        chance_error: chance,
        words: String::new(),
        level: LEVEL,
        candidates: rows,
        one_standard_error,
    };
    findings.words = findings.in_words();
    Ok(findings)
}

/// Reads all results that count.
fn read_all<'a>(folder: &RunDir, study: &Study, candidates: &'a [Candidate]) -> Result<Vec<Scored<'a>>> {
    let settings = &study.identity.settings;
    let mut scored: Vec<Scored<'a>> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let stopped_early = given_up(folder, study, &candidates[0], candidate)?;
        scored.push(Scored { candidate, results: Vec::new(), stopped_early });
    }
    let mut missing = Vec::new();
    for unit in Unit::all(settings, candidates) {
        let of = scored
            .iter_mut()
            .find(|scored| scored.candidate.name == unit.candidate)
            .expect("every unit has a candidate");
        if of.stopped_early && unit.repeat > 1 {
            continue;
        }
        match unit::read(folder, &study.identity, &unit)? {
            Some(result) => {
                reading::check_counts(&result, study)?;
                of.results.push(result);
            }
            None => missing.push(unit.file()),
        }
    }
    if !missing.is_empty() {
        let (count, shown) = (missing.len(), missing[..missing.len().min(8)].join(", "));
        let more = if count > 8 { ", and so on" } else { "" };
        bail!(
            "{}: {count} of the study's units are missing: {shown}{more}; run `convscope depth` again with the same \
             options, or the --unit shares that they belong to",
            folder.path().display()
        );
    }
    check_paired(&scored)?;
    Ok(scored)
}

/// Checks that all candidates scored the same images in each fold, without which no difference means anything.
fn check_paired(scored: &[Scored<'_>]) -> Result<()> {
    for other in &scored[1..] {
        for (one, other) in scored[0].results.iter().zip(&other.results) {
            if one.scores.images != other.scores.images {
                let [one, other] = [one, other].map(|result| result.unit.file());
                bail!("{one} and {other} scored different images: remove both to have them made again");
            }
        }
    }
    Ok(())
}

/// Compares the smaller candidates with the reference, candidate 0, given the mean error of each and that of chance. Returns the number of
/// the answer's candidate and a comparison each.
fn compare(
    settings: &Settings,
    scored: &[Scored<'_>],
    errors: &[PairedT],
    chance: f64,
) -> Result<(usize, Vec<Comparison>)> {
    let reference = &scored[0];
    let difference = |(scored, error): (&Scored<'_>, &PairedT)| DepthDifferences {
        depth: scored.candidate.blocks(),
        differences: scored.errors().iter().zip(reference.errors()).map(|(own, other)| own - other).collect(),
        least_error: 100.0 * scored.sampling_error(reference),
        p_guessing: p_guessing(error, chance),
        stopped_early: scored.stopped_early,
    };
    let ladder: Vec<DepthDifferences> = scored.iter().zip(errors).skip(1).map(difference).collect();
    let comparisons = match settings.ladder {
        Ladder::Truncate => by_depth(settings, ladder),
        Ladder::Drop => side_by_side(settings, ladder),
    }?;
    // Of several the one of the fewest weights: what the folds say of them must not choose, or it would flatter the chosen one.
    let accepted = (1..).zip(&comparisons).filter(|(_, comparison)| comparison.decision == Decision::Sufficient);
    let smallest = accepted
        .map(|(candidate, _)| candidate)
        .min_by_key(|&candidate: &usize| scored[candidate].candidate.network.parameter_count());
    Ok((smallest.unwrap_or(0), comparisons))
}

/// Truncated networks are tested from the deepest down, each at the full level, until the first failure.
fn by_depth(settings: &Settings, ladder: Vec<DepthDifferences>) -> Result<Vec<Comparison>> {
    let reference = settings.depths.last().copied().context("a study has a depth")?;
    let choice = choose_depth(reference, &ladder, settings.folds, settings.margin)?;
    let rows = ladder.into_iter().zip(choice.rows);
    let made = |(step, row): (DepthDifferences, stats::DepthRow)| {
        comparison(step, row.comparison, [row.p_sufficient, row.p_difference], row.verdict)
    };
    Ok(rows.map(made).collect())
}

/// Networks without one middle block have no order, so all are tested, by Holm's method.
fn side_by_side(settings: &Settings, ladder: Vec<DepthDifferences>) -> Result<Vec<Comparison>> {
    let margin = settings.margin;
    let tests: Vec<PairedT> = ladder.iter().map(|step| step.test(settings.folds)).collect::<Result<_, _>>()?;
    let steps = || ladder.iter().zip(&tests);
    let sufficient = holm(&steps().map(|(step, test)| step.p_sufficient(test, margin)).collect::<Vec<_>>());
    let differences = holm(&steps().map(|(step, test)| step.p_difference(test)).collect::<Vec<_>>());
    let made = ladder.into_iter().zip(tests).zip(sufficient.into_iter().zip(differences));
    let made = made.map(|((step, test), (p_sufficient, p_difference))| {
        let accepted = p_sufficient < 1.0 - LEVEL;
        let verdict = if accepted { Verdict::Sufficient } else { step.failure(&test, margin) };
        comparison(step, test, [p_sufficient, p_difference], verdict)
    });
    Ok(made.collect())
}

fn comparison(
    step: DepthDifferences,
    test: PairedT,
    [p_sufficient, p_difference]: [f64; 2],
    verdict: Verdict,
) -> Comparison {
    let estimate = Difference {
        mean: test.mean,
        standard_error: test.standard_error,
        upper_bound: test.upper_bound(LEVEL),
        p_sufficient,
        interval: test.interval(LEVEL),
        p_difference,
    };
    Comparison {
        differences: step.differences,
        estimate: (!step.stopped_early).then_some(estimate),
        decision: verdict.into(),
    }
}

fn row(settings: &Settings, scored: &Scored<'_>, error: PairedT, comparison: Option<Comparison>) -> Result<Row> {
    let Scored { candidate, results, stopped_early } = scored;
    let last = candidate.network.last_block();
    let estimate = ErrorEstimate {
        mean_error: error.mean,
        error_interval: error.interval(LEVEL),
        log_loss: mean_over(results, |result| result.scores.log_loss),
    };
    Ok(Row {
        name: candidate.name.clone(),
        blocks: candidate.blocks(),
        left_out: candidate.left_out,
        parameters: candidate.network.parameter_count(),
        receptive_field: last.receptive_field,
        last_map: last.output[1],
        stopped_early: *stopped_early,
        errors: scored.errors(),
        estimate: (!stopped_early).then_some(estimate),
        train_loss: (0..settings.training.epochs)
            .map(|epoch| mean_over(results, |result| result.train_loss[epoch]))
            .collect(),
        comparison,
    })
}

fn mean_over(results: &[UnitResult], value: impl Fn(&UnitResult) -> f64) -> f64 {
    results.iter().map(value).sum::<f64>() / results.len() as f64
}

/// The choice among candidates that were neither stopped early nor left at guessing: the mean error of the ones says nothing, and there
/// is no use for the others.
fn one_standard_error<'a>(
    settings: &Settings,
    scored: impl Iterator<Item = &'a Scored<'a>>,
) -> Result<OneStandardError> {
    let depths: Vec<DepthErrors> =
        scored.map(|scored| DepthErrors { depth: scored.candidate.blocks(), errors: scored.errors() }).collect();
    let choice = one_se_choice(&depths, settings.folds)?;
    Ok(OneStandardError {
        choice: format!("d{}", choice.depth),
        best: format!("d{}", choice.best),
        threshold: choice.threshold,
        note: "a heuristic, which bounds no probability of error, knows no margin, and leaves out networks that were stopped \
               early or not shown to beat guessing"
            .into(),
    })
}

impl Findings {
    /// What an older version found, as this one tells it. Older versions wrote means of candidates that were stopped early, let the rule
    /// choose among them and among guesses, and had other words.
    pub(crate) fn upgraded(mut self) -> Self {
        let usable: Vec<String> =
            self.candidates.iter().filter(|row| self.may_be_chosen(row)).map(|row| row.name.clone()).collect();
        let is_usable = |rule: &OneStandardError| usable.contains(&rule.choice) && usable.contains(&rule.best);
        self.one_standard_error = self.one_standard_error.filter(is_usable);
        for row in self.candidates.iter_mut().filter(|row| row.stopped_early) {
            row.estimate = None;
            row.comparison.iter_mut().for_each(|comparison| comparison.estimate = None);
        }
        self.words = self.in_words();
        self
    }

    /// Whether the one-standard-error rule may choose a candidate: it was not stopped early, and beats guessing.
    fn may_be_chosen(&self, row: &Row) -> bool {
        !row.stopped_early && row.estimate.is_some_and(|estimate| estimate.error_interval.1 < self.chance_error)
    }

    /// What a candidate and the reference did in the first repeat, where the candidate was stopped after it.
    pub fn first_repeat(&self, row: &Row) -> Option<FirstRepeat> {
        let mean = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len() as f64;
        let reference_error = mean(&self.candidates[0].errors[..row.errors.len()]);
        row.stopped_early.then(|| FirstRepeat { error: mean(&row.errors), reference_error })
    }

    /// Writes `depth.json` and `depth.csv`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &RunDir) -> Result<()> {
        folder.write_table("depth.csv", |table| {
            self.candidates.iter().try_for_each(|row| table.serialize(self.line(row)))
        })?;
        // Last, since a study is finished where it is there.
        folder.write_json(DEPTH_FILE, self)
    }

    fn line<'a>(&self, row: &'a Row) -> Line<'a> {
        let error = row.estimate;
        let difference = row.comparison.as_ref().and_then(|comparison| comparison.estimate);
        let first_repeat = self.first_repeat(row);
        Line {
            candidate: &row.name,
            blocks: row.blocks,
            parameters: row.parameters,
            receptive_field: row.receptive_field,
            folds_scored: row.errors.len(),
            mean_error: error.map(|found| found.mean_error),
            error_low: error.map(|found| found.error_interval.0),
            error_high: error.map(|found| found.error_interval.1),
            log_loss: error.map(|found| found.log_loss),
            difference: difference.map(|found| found.mean),
            standard_error: difference.map(|found| found.standard_error),
            upper_bound: difference.map(|found| found.upper_bound),
            p_sufficient: difference.map(|found| found.p_sufficient),
            difference_low: difference.map(|found| found.interval.0),
            difference_high: difference.map(|found| found.interval.1),
            p_difference: difference.map(|found| found.p_difference),
            decision: row.comparison.as_ref().map_or("reference".into(), |found| found.decision.to_string()),
            stopped_early: row.stopped_early,
            first_repeat_error: first_repeat.map(|found| found.error),
            first_repeat_reference_error: first_repeat.map(|found| found.reference_error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::tests::{self, settings};
    use super::unit::{Scores, UNITS};
    use super::*;
    use crate::data::split::unit_seed;
    use crate::nn::{Architecture, Known, Name};

    const IMAGES: usize = 200;
    /// The names of each ladder's smaller networks.
    const LADDERS: [(Ladder, &[&str]); 2] =
        [(Ladder::Truncate, &["d3", "d1"]), (Ladder::Drop, &["d5-without-4", "d5-without-3", "d5-without-2"])];

    /// The folder of a study of depths 1, 3 and 5, with 3 folds of 200 images.
    fn study(folder: &RunDir, repeats: usize, ladder: Ladder) -> Study {
        let settings = Settings { folds: 3, repeats, ..settings(ladder) };
        fs::create_dir_all(folder.file(UNITS)).unwrap();
        tests::study(settings)
    }

    /// Writes results in which so many of a candidate's images are wrong, fold by fold, for as many folds as there are.
    fn write(folder: &RunDir, study: &Study, candidate: &str, wrong: &[usize]) {
        for (index, &wrong) in wrong.iter().enumerate() {
            let unit = Unit { candidate: candidate.into(), repeat: index / 3 + 1, fold: index % 3 + 1 };
            let scores = Scores {
                wrong,
                log_loss: 0.5,
                images: (0..IMAGES).map(|image| 3 * image + index % 3).collect(),
                correct: (0..IMAGES).map(|image| image >= wrong).collect(),
                losses: vec![0.5; IMAGES],
            };
            let result = UnitResult { seconds: index as f64, ..unit_result(study, unit.clone(), scores) };
            folder.write_json(&unit.file(), &result).unwrap();
        }
    }

    fn unit_result(study: &Study, unit: Unit, scores: Scores) -> UnitResult {
        UnitResult {
            identity: study.identity.clone(),
            seed: unit_seed(0, unit.repeat, unit.fold),
            unit,
            adapter: "none".into(),
            learned_from: 2 * IMAGES,
            train_loss: vec![0.5; study.identity.settings.training.epochs],
            seconds: 0.0,
            scores,
        }
    }

    fn decisions(findings: &Findings) -> Vec<String> {
        findings.candidates[1..].iter().map(|row| row.comparison.as_ref().unwrap().decision.to_string()).collect()
    }

    #[test]
    fn the_answer_follows_from_the_files() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 2, Ladder::Truncate);
        write(&folder, &study, "d5", &[20, 22, 24, 20, 22, 24]);
        write(&folder, &study, "d3", &[20, 22, 24, 20, 23, 24]);
        // Worse by 5 points: given up after the first repeat, so that the second is not missed.
        write(&folder, &study, "d1", &[30, 32, 34]);
        let findings = collect(&folder, &study).unwrap();
        assert_eq!(findings.answer, "d3");
        assert_eq!(decisions(&findings), ["sufficient", "not shown"]);
        assert!(
            findings.words.starts_with("3 of 5 blocks are enough, if a loss of up to 1 percentage point"),
            "{}",
            findings.words
        );
        assert!(findings.words.contains("never shown to be worse"), "{}", findings.words);

        let [reference, three, one] = &findings.candidates[..] else { panic!("three candidates") };
        assert_eq!((reference.estimate.unwrap().mean_error, reference.comparison.is_none()), (11.0, true));
        assert_eq!((reference.estimate.unwrap().log_loss, &reference.train_loss[..]), (0.5, &[0.5; 10][..]));
        // Differences of 0, 0, 0, 0, 0.5 and 0: their deviation is 0.5 / sqrt 6, the corrected factor 1/6 + 1/2. That makes an
        // error of 0.17 points. One of 600 images lost in one of two repeats, and one more of each kind, make more.
        assert!((0.5 / 6f64.sqrt()) * (2f64 / 3.0).sqrt() < 0.17);
        let error = 100.0 * (2.5 - 0.25 / 602.0f64).sqrt() / 602.0;
        let expected = 0.5 / 6.0 + 2.015_048_372_669_157 * error;
        let found = three.comparison.as_ref().unwrap().estimate.unwrap().upper_bound;
        assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
        assert!(one.stopped_early && !three.stopped_early);
        assert_eq!(one.comparison.as_ref().unwrap().differences, [5.0; 3]);

        findings.write(&folder).unwrap();
        let table = fs::read_to_string(folder.file("depth.csv")).unwrap();
        assert_eq!(table.lines().count(), 4, "{table}");
        let written = fs::read(folder.file("depth.json")).unwrap();
        // Units of a depth that was given up, made by another process meanwhile, change nothing.
        write(&folder, &study, "d1", &[30, 32, 34, 0, 0, 0]);
        collect(&folder, &study).unwrap().write(&folder).unwrap();
        assert_eq!(fs::read(folder.file("depth.json")).unwrap(), written);
    }

    /// Of ten images, scored in two repeats, three are lost once and one is won; the folds agree.
    #[test]
    fn the_choice_of_images_alone_makes_an_error() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 2, Ladder::Truncate);
        let candidates = study.identity.settings.candidates().unwrap();
        let scored = |number: usize, wrong: [&[usize]; 2]| {
            let candidate = &candidates[number];
            let result = |(repeat, wrong): (usize, &[usize])| {
                let correct: Vec<bool> = (0..10).map(|image| !wrong.contains(&image)).collect();
                let scores = Scores { wrong: wrong.len(), images: (0..10).collect(), correct, ..Scores::default() };
                unit_result(&study, Unit { candidate: candidate.name.clone(), repeat, fold: 1 }, scores)
            };
            Scored { candidate, results: (1..).zip(wrong).map(result).collect(), stopped_early: false }
        };
        let (reference, own) = (scored(0, [&[9], &[5]]), scored(1, [&[0, 1, 2], &[5]]));
        assert_eq!(own.sampling_error(&reference), stats::sampling_error(1.5, 0.5, 10));
        let even = scored(1, [&[3, 4], &[5, 6]]);
        assert_eq!(even.errors(), [20.0; 2]);
        let error = even.mean_error(&study.identity.settings).unwrap();
        assert_eq!((error.mean, error.standard_error), (20.0, 100.0 * stats::share_error(2.0, 10)));
    }

    #[test]
    fn a_depth_behind_a_failed_one_is_not_accepted() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 1, Ladder::Truncate);
        write(&folder, &study, "d5", &[20, 20, 20]);
        write(&folder, &study, "d3", &[25, 20, 20]);
        write(&folder, &study, "d1", &[20, 20, 20]);
        let findings = collect(&folder, &study).unwrap();
        assert_eq!(
            (findings.answer.as_str(), decisions(&findings)),
            ("d5", vec!["not shown".into(), "not tested".into()])
        );
    }

    #[test]
    fn a_middle_block_that_does_nothing_can_go() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 2, Ladder::Drop);
        write(&folder, &study, "d5", &[20; 6]);
        write(&folder, &study, "d5-without-4", &[30, 28, 32, 30, 28, 32]);
        write(&folder, &study, "d5-without-3", &[20; 6]);
        write(&folder, &study, "d5-without-2", &[19; 6]);
        let findings = collect(&folder, &study).unwrap();
        assert_eq!(decisions(&findings), ["not shown", "sufficient", "sufficient"]);
        assert_eq!(findings.answer, "d5-without-3", "the smaller of the two, though the other errs less here");
        assert!(
            findings.words.starts_with("Any one of blocks 2 and 3 can be left out, if a loss"),
            "{}",
            findings.words
        );
        assert!(
            findings.words.contains(
                "The smallest of these networks is the one without block 3. With 95 % confidence the network without block 3 \
                 errs less than 1 percentage point more than 5 blocks"
            ),
            "{}",
            findings.words
        );

        write(&folder, &study, "d5-without-3", &[30, 28, 32, 30, 28, 32]);
        let words = collect(&folder, &study).unwrap().words;
        assert!(words.starts_with("Block 2 of 5 can be left out, if a loss") && !words.contains("smallest"), "{words}");
    }

    /// The reference errs on 40 % of the images, and the others toss coins: 50.2 % wrong, which is within a margin of 18 points.
    #[test]
    fn a_guess_within_the_margin_is_not_enough() {
        for (ladder, smaller) in LADDERS {
            for repeats in [1, 2] {
                let temporary = tempfile::tempdir().unwrap();
                let folder = RunDir::at(temporary.path().to_path_buf());
                let mut study = study(&folder, repeats, ladder);
                study.identity.settings.margin = 18.0;
                write(&folder, &study, "d5", &[80, 81, 79].repeat(repeats));
                smaller
                    .iter()
                    .for_each(|candidate| write(&folder, &study, candidate, &[100, 101, 100].repeat(repeats)));
                let findings = collect(&folder, &study).unwrap();
                assert!(findings.conclusive);
                assert_eq!(
                    (findings.answer.as_str(), decisions(&findings)[0].as_str()),
                    ("d5", "not shown to beat guessing")
                );
                assert!(
                    decisions(&findings).iter().all(|decision| decision != "sufficient"),
                    "{:?}",
                    decisions(&findings)
                );
                assert!(findings.words.starts_with("No smaller network was shown to be enough"), "{}", findings.words);
                assert!(
                    findings.words.contains("Not accepted in spite of a loss below the margin"),
                    "{}",
                    findings.words
                );
                assert!(!findings.words.contains("(which errs on 50.0 %): 5 blocks"), "{}", findings.words);
                assert!(findings.words.contains("no less than the 10.0 that 5 blocks gain"), "{}", findings.words);

                // The same with 30 %, which is no guess any more.
                smaller.iter().for_each(|candidate| write(&folder, &study, candidate, &[60, 61, 59].repeat(repeats)));
                let findings = collect(&folder, &study).unwrap();
                assert!(
                    decisions(&findings).iter().all(|decision| decision == "sufficient"),
                    "{:?}",
                    decisions(&findings)
                );
                assert!(!findings.words.contains("in spite of"), "{}", findings.words);
                let answer = if ladder == Ladder::Truncate { "d1" } else { "d5-without-4" };
                assert_eq!(findings.answer, answer);
            }
        }
    }

    /// Depth 1 does as well as depth 5 to within a standard error, but its folds are too far apart to tell it from a guess; depth 3
    /// was stopped early.
    #[test]
    fn the_one_standard_error_rule_leaves_out_guesses_and_what_was_stopped() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 2, Ladder::Truncate);
        write(&folder, &study, "d5", &[74, 82, 90, 74, 82, 90]);
        write(&folder, &study, "d3", &[82, 88, 94]);
        write(&folder, &study, "d1", &[75, 87, 95, 80, 88, 96]);
        let findings = collect(&folder, &study).unwrap();
        assert!(
            findings.candidates[1].stopped_early && findings.candidates[2].estimate.unwrap().error_interval.1 > 50.0
        );
        let rule = findings.one_standard_error.unwrap();
        assert!(findings.candidates[2].estimate.unwrap().mean_error < rule.threshold, "{rule:?}");
        assert_eq!((rule.choice.as_str(), rule.best.as_str()), ("d5", "d5"));
    }

    /// The repeats of the reference differ, so that a mean over both is none to compare the first repeat of another with.
    #[test]
    fn what_was_stopped_early_is_marked_and_not_estimated() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 2, Ladder::Truncate);
        write(&folder, &study, "d5", &[20, 22, 24, 10, 11, 12]);
        write(&folder, &study, "d3", &[20, 22, 24, 10, 11, 12]);
        write(&folder, &study, "d1", &[30, 32, 34]);
        let findings = collect(&folder, &study).unwrap();
        let one = &findings.candidates[2];
        assert_eq!((one.stopped_early, one.estimate, one.comparison.as_ref().unwrap().estimate), (true, None, None));
        assert_eq!(findings.first_repeat(one), Some(FirstRepeat { error: 16.0, reference_error: 11.0 }));
        assert_eq!(findings.first_repeat(&findings.candidates[1]), None, "it has an estimate instead");
        let told = "stopped after the first repeat (16.0 % wrong there, the reference 11.0 %)";
        assert!(findings.table()[3].ends_with(told), "{:?}", findings.table());
        let words = &findings.words;
        assert!(words.contains("having erred over 2 percentage points more there than 5 blocks: 1 block."), "{words}");
        assert!(!words.contains("5.0") && !words.contains("+5"), "the mean of the first repeat is quoted: {words}");

        findings.write(&folder).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(folder.file(DEPTH_FILE)).unwrap()).unwrap();
        let one = &json["candidates"][2];
        assert_eq!(one["stopped_early"], true);
        assert!(["mean_error", "error_interval", "log_loss"].iter().all(|name| one.get(name).is_none()), "{one}");
        assert!(["mean", "interval", "upper_bound"].iter().all(|name| one["comparison"].get(name).is_none()), "{one}");
        let table = fs::read(folder.file("depth.csv")).unwrap();
        let mut table = csv::Reader::from_reader(table.as_slice());
        let headings = table.headers().unwrap().clone();
        let last = table.records().last().unwrap().unwrap();
        let cell = |name: &str| &last[headings.iter().position(|heading| heading == name).unwrap()];
        assert!(
            ["mean_error", "error_low", "difference", "upper_bound", "p_difference"]
                .iter()
                .all(|name| cell(name).is_empty())
        );
        assert_eq!(
            ["stopped_early", "first_repeat_error", "first_repeat_reference_error"].map(cell),
            ["true", "16.0", "11.0"]
        );
    }

    /// Where nothing was stopped, nothing is said of it; with one repeat nothing ever is.
    #[test]
    fn nothing_is_marked_where_nothing_was_stopped() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 1, Ladder::Truncate);
        ["d5", "d3", "d1"]
            .iter()
            .zip([20, 21, 60])
            .for_each(|(candidate, wrong)| write(&folder, &study, candidate, &[wrong; 3]));
        let findings = collect(&folder, &study).unwrap();
        assert!(findings.candidates.iter().all(|row| row.estimate.is_some() && findings.first_repeat(row).is_none()));
        let told = format!("{} {:?}", findings.words, findings.table()).to_lowercase();
        assert!(!told.contains("stopped") && !told.contains("the margin of"), "{told}");
    }

    /// Margin, recipe and sizes are part of the answer, whatever it is.
    #[test]
    fn the_headline_names_what_the_answer_depends_on() {
        for (reference, smaller) in [(20, 20), (20, 30), (100, 100)] {
            for (ladder, names) in LADDERS {
                let temporary = tempfile::tempdir().unwrap();
                let folder = RunDir::at(temporary.path().to_path_buf());
                let mut study = study(&folder, 1, ladder);
                study.identity.settings.margin = 2.5;
                write(&folder, &study, "d5", &[reference; 3]);
                names.iter().for_each(|candidate| write(&folder, &study, candidate, &[smaller; 3]));
                let findings = collect(&folder, &study).unwrap();
                let headline = findings.headline();
                for part in [
                    "2.5 percentage points",
                    "10 epochs at 128 x 128 pixels with learning rate 0.001",
                    "600 images cross-validated, 9 locked away",
                ] {
                    assert!(headline.contains(part), "{part}: {headline}");
                }
                let details = findings.details();
                assert!(
                    details.contains("in batches of 32 by Adam") && details.contains("along a cosine"),
                    "{details}"
                );
                let images = "images prepared by --normalize half, training images changed at random: flipped;";
                assert!(details.contains(images), "{details}");
                assert!(details.contains("the study does not tell these apart."), "{details}");
                assert_eq!(findings.words, format!("{headline} {details}"));
            }
        }
    }

    #[test]
    fn blocks_that_cannot_be_left_out_are_named() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 1, Ladder::Drop);
        ["d5", "d5-without-4", "d5-without-3", "d5-without-2"]
            .iter()
            .for_each(|candidate| write(&folder, &study, candidate, &[20; 3]));
        let mut findings = collect(&folder, &study).unwrap();
        assert!(!findings.details().contains("cannot be left out"), "{}", findings.details());
        let residual = Known { name: Name::ResNet18, input: [3, 64, 64], width: 0.125, classes: 2 };
        findings.study.identity.settings.training.model = Architecture::Known(residual);
        let details = findings.details();
        assert!(details.contains("Blocks 4, 6, 8 cannot be left out: what follows would not fit."), "{details}");
    }

    /// As versions wrote it that showed means of the first repeat and did not ask whether what they accepted had learned anything.
    #[test]
    fn files_of_older_versions_are_read_or_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 2, Ladder::Truncate);
        write(&folder, &study, "d5", &[20, 22, 24, 20, 22, 24]);
        write(&folder, &study, "d3", &[20, 22, 24, 20, 23, 24]);
        write(&folder, &study, "d1", &[30, 32, 34]);
        let findings = collect(&folder, &study).unwrap();
        findings.write(&folder).unwrap();
        let path = folder.file(DEPTH_FILE);
        assert_eq!(reading::findings(folder.path()).unwrap(), findings);

        let text = fs::read_to_string(&path).unwrap();
        let new: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut old = new.clone();
        old["words"] = "1 block errs 5.00 points more.".into();
        let three = &mut old["candidates"][1]["comparison"];
        three["p_margin"] = three["p_sufficient"].take();
        three.as_object_mut().unwrap().remove("p_sufficient");
        let estimate = new["candidates"][1].clone();
        for name in ["mean_error", "error_interval", "log_loss"] {
            old["candidates"][2][name] = estimate[name].clone();
        }
        for name in ["mean", "standard_error", "upper_bound", "interval", "p_difference"] {
            old["candidates"][2]["comparison"][name] = estimate["comparison"][name].clone();
        }
        old["candidates"][2]["comparison"]["p_margin"] = 1.0.into();
        let read = |json: &serde_json::Value| {
            fs::write(&path, json.to_string()).unwrap();
            reading::findings(folder.path()).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read(&old).unwrap(), findings);
        assert!(findings.one_standard_error.is_some());
        for name in ["choice", "best"] {
            let mut of_stopped = old.clone();
            of_stopped["one_standard_error"][name] = "d1".into();
            assert_eq!(read(&of_stopped).unwrap().one_standard_error, None, "{name}");
        }
        let mut of_guess = old.clone();
        of_guess["candidates"][0]["error_interval"][1] = 50.0.into();
        assert_eq!(
            read(&of_guess).unwrap().one_standard_error,
            None,
            "it is not below the error of the commonest class"
        );

        let refused = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut json = new.clone();
            change(&mut json);
            let error = read(&json).unwrap_err();
            assert!(error.contains("depth.json: cannot be used"), "{error}");
            error
        };
        let error = refused(&|json| json["candidates"][1]["error_interval"] = serde_json::json!([40.0, 50.5]));
        assert!(
            error.contains("candidates[1]: comparison: decision is sufficient")
                && error.contains("Make the study anew"),
            "{error}"
        );
        let error = refused(&|json| json["candidates"][1]["mean_error"] = "much".into());
        assert!(error.contains("candidates[1]: mean_error, error_interval or log_loss: missing"), "{error}");
        let error =
            refused(&|json| drop(json["candidates"][1]["comparison"].as_object_mut().unwrap().remove("upper_bound")));
        assert!(error.contains("candidates[1]: comparison: mean, standard_error, upper_bound, p_sufficient, interval or p_difference: missing"), "{error}");
        let error = refused(&|json| json["candidates"][1]["comparison"] = serde_json::Value::Null);
        assert!(error.contains("candidates[1]: comparison: expected for all but the first"), "{error}");
        let error = refused(&|json| json["candidates"][1]["comparison"]["p_sufficient"] = 0.5.into());
        assert!(error.contains("decision is sufficient: not by p_sufficient"), "{error}");
        let error = refused(&|json| json["candidates"][1]["comparison"]["differences"][0] = 1.0.into());
        assert!(error.contains("candidates[1]: comparison: differences is 1"), "{error}");
        let error = refused(&|json| json["one_standard_error"]["best"] = "d7".into());
        assert!(error.contains("one_standard_error: best is \"d7\""), "{error}");
        let error = refused(&|json| json["candidates"][0]["train_loss"] = vec![0.5].into());
        assert!(error.contains("the number of train_loss is 1: expected 10"), "{error}");
        let mut without = old.clone();
        without["candidates"][0]["train_loss"] = serde_json::json!([]);
        read(&without).unwrap();
        let error = refused(&|json| json["study"]["test_images"] = 0.into());
        assert!(error.contains("study: test_images is 0"), "{error}");
        refused(&|json| json["candidates"] = serde_json::json!([]));
        refused(&|json| json["answer"] = "d4".into());
        refused(&|json| json["study"]["identity"]["settings"]["folds"] = 0.into());
        refused(&|json| json["reference"] = "d3".into());
        refused(&|json| json["candidates"][2]["errors"] = serde_json::json!([]));
        refused(&|json| json["candidates"][2]["errors"] = vec![1.0; 7].into());
    }

    /// Not one of 600 images is decided differently. That rules out a loss of a whole point, but not of half a one.
    #[test]
    fn images_that_do_not_differ_leave_a_doubt() {
        for (ladder, smaller) in LADDERS {
            for (margin, decision) in [(1.0, "sufficient"), (0.4, "not shown")] {
                let temporary = tempfile::tempdir().unwrap();
                let folder = RunDir::at(temporary.path().to_path_buf());
                let mut study = study(&folder, 2, ladder);
                study.identity.settings.margin = margin;
                smaller.iter().chain(&["d5"]).for_each(|candidate| write(&folder, &study, candidate, &[20; 6]));
                let findings = collect(&folder, &study).unwrap();
                assert_eq!(decisions(&findings)[0], decision, "{ladder:?}, margin {margin}");
            }
        }
    }

    /// 285 wrong of 600 are well within what guesses do, though all folds agree.
    #[test]
    fn folds_that_agree_do_not_make_a_guess_an_answer() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 1, Ladder::Truncate);
        for candidate in ["d5", "d3", "d1"] {
            write(&folder, &study, candidate, &[95; 3]);
        }
        let findings = collect(&folder, &study).unwrap();
        let (low, high) = findings.candidates[0].estimate.unwrap().error_interval;
        assert!(!findings.conclusive, "{low} to {high}");
        assert!(low < 45.0 && high > 50.0, "{low} to {high}");
    }

    #[test]
    fn nothing_follows_from_a_reference_that_guesses() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 1, Ladder::Truncate);
        for candidate in ["d5", "d3", "d1"] {
            write(&folder, &study, candidate, &[100, 100, 100]);
        }
        let findings = collect(&folder, &study).unwrap();
        assert_eq!((findings.conclusive, findings.answer.as_str()), (false, "d5"));
        assert_eq!(decisions(&findings), ["inconclusive"; 2]);
        assert!(findings.words.contains("errs on 50.0 %"), "{}", findings.words);
        let undecided = "Undecided: 5 blocks were not shown to beat always naming the commonest class";
        assert!(findings.words.starts_with(undecided), "{}", findings.words);

        let note = "a heuristic".into();
        let rule = OneStandardError { choice: "d5".into(), best: "d5".into(), threshold: 50.0, note };
        Findings { one_standard_error: Some(rule), ..findings }.write(&folder).unwrap();
        let error = format!("{:#}", reading::findings(folder.path()).unwrap_err());
        assert!(error.contains("one_standard_error: expected where depths are compared conclusively alone"), "{error}");
    }

    #[test]
    fn what_is_missing_or_foreign_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 1, Ladder::Truncate);
        let error = || format!("{:#}", collect(&folder, &study).unwrap_err());
        assert!(
            error().contains("9 of the study's units") && error().contains("f3.json, and so on; run"),
            "{}",
            error()
        );
        write(&folder, &study, "d5", &[20]);
        assert!(
            error().contains("8 of the study's units") && error().contains("units/d1-r1-f3.json; run"),
            "{}",
            error()
        );
        write(&folder, &study, "d5", &[20, 20, 20]);
        write(&folder, &study, "d3", &[20, 20, 20]);
        write(&folder, &study, "d1", &[20, 20]);
        assert!(error().contains("1 of the study's units are missing: units/d1-r1-f3.json"), "{}", error());

        write(&folder, &study, "d1", &[20, 20, 20]);
        collect(&folder, &study).unwrap();
        let rewrite = |from: &str, to: &str| {
            let path = folder.file("units/d3-r1-f2.json");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
        };
        for (from, to, what) in [
            (r#""epochs": 10"#, r#""epochs": 11"#, "settings.epochs is 11, not 10"),
            (r#""data": "a""#, r#""data": "b""#, "in which the images are others"),
            (r#""program": "1""#, r#""program": "2""#, r#"program is "2", not "1""#),
            (r#""fold": 2"#, r#""fold": 1"#, "holds another unit than its name says: unit.fold is 1, not 2"),
            ("\"images\": [\n      1,", "\"images\": [\n      0,", "scored different images"),
            (
                "\"images\": [\n      1,",
                "\"images\": [\n      500,",
                "images: expected the numbers of images, ascending",
            ),
            ("      1,\n      4,", "      4,\n      4,", "images: expected the numbers of images, ascending"),
            (r#""wrong": 20"#, r#""wrong": 21"#, "wrong is 21: expected 20"),
            (r#""seconds": 1.0"#, r#""seconds": -1.0"#, "seconds is -1"),
            (r#""learned_from": 400"#, r#""learned_from": 399"#, "scores.images together is 599: expected 600"),
            ("{", "", "cannot be used"),
        ] {
            rewrite(from, to);
            assert!(error().contains("units/d3-r1-f2.json") && error().contains(what), "{}", error());
            write(&folder, &study, "d3", &[20, 20, 20]);
        }
        let path = folder.file("units/d3-r1-f2.json");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(error().contains("units/d3-r1-f2.json: cannot be read"), "{}", error());
    }

    /// How a smaller network of a simulated study answers.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Answers {
        /// Any class, image by image and repeat by repeat.
        Coin,
        /// A class for each image that has nothing to do with its own, the same in every repeat: as by the colour of the ground.
        Surface,
        /// One class for all images, another in each fold.
        OneClass,
        /// The commonest class.
        Commonest,
        /// Right as often as the reference.
        Learned,
    }

    /// Studies by their classes, and how they were made.
    struct Simulated {
        ladder: Ladder,
        shares: &'static [f64],
        repeats: usize,
        answers: Answers,
    }

    const SIMULATED_IMAGES: usize = 600;
    /// How much less the reference errs than always naming the commonest class, and the margin, in points.
    const LEARNED: f64 = 15.0;
    const WIDE_MARGIN: f64 = 23.0;

    impl Simulated {
        /// A study with this many classes of these shares, in which all smaller networks answer alike.
        fn study(&self, folder: &RunDir) -> Study {
            let mut study = study(folder, self.repeats, self.ladder);
            study.identity.settings.folds = 5;
            study.identity.settings.margin = WIDE_MARGIN;
            study.classes = (0..self.shares.len()).map(|class| class.to_string()).collect();
            study.dev_images = SIMULATED_IMAGES;
            study.commonest_class = self.labels().iter().filter(|label| **label == 0).count();
            study
        }

        /// The class of each image; the first class is the commonest.
        fn labels(&self) -> Vec<usize> {
            let counts = self.shares.iter().map(|share| (share * SIMULATED_IMAGES as f64).round() as usize);
            let labels = counts.enumerate().flat_map(|(class, count)| vec![class; count]);
            labels.chain(std::iter::repeat(0)).take(SIMULATED_IMAGES).collect()
        }

        /// Whether each image is taken for what it is, in each repeat.
        fn correct(&self, answers: Answers, chance_error: f64, rng: &mut ChaCha8Rng) -> Vec<Vec<bool>> {
            let labels = self.labels();
            let classes = self.shares.len();
            let surface: Vec<usize> = labels.iter().map(|_| rng.random_range(0..classes)).collect();
            let mut answer = |image: usize| match answers {
                Answers::Coin => rng.random_range(0..classes) == labels[image],
                Answers::Surface => surface[image] == labels[image],
                Answers::OneClass => surface[image % 5] == labels[image],
                Answers::Commonest => labels[image] == 0,
                Answers::Learned => rng.random::<f64>() > (chance_error - LEARNED) / 100.0,
            };
            (0..self.repeats).map(|_| (0..SIMULATED_IMAGES).map(&mut answer).collect()).collect()
        }

        /// One study, without files.
        fn conclude(&self, study: &Study, candidates: &[Candidate], rng: &mut ChaCha8Rng) -> Findings {
            let settings = &study.identity.settings;
            let mut scored: Vec<Scored<'_>> = Vec::new();
            for (number, candidate) in candidates.iter().enumerate() {
                let answers = if number == 0 { Answers::Learned } else { self.answers };
                let correct = self.correct(answers, study.chance_error(), rng);
                // Images lie class by class, so that every fifth makes stratified folds.
                let unit = |index: usize| {
                    let (repeat, fold) = (index / 5, index % 5);
                    let images: Vec<usize> = (fold..SIMULATED_IMAGES).step_by(5).collect();
                    let correct: Vec<bool> = images.iter().map(|&image| correct[repeat][image]).collect();
                    let wrong = correct.iter().filter(|right| !**right).count();
                    let scores = Scores { wrong, images, correct, ..Scores::default() };
                    unit_result(
                        study,
                        Unit { candidate: candidate.name.clone(), repeat: repeat + 1, fold: fold + 1 },
                        scores,
                    )
                };
                scored.push(Scored {
                    candidate,
                    results: (0..5 * self.repeats).map(unit).collect(),
                    stopped_early: false,
                });
            }
            let reference: Vec<f64> = scored[0].errors();
            for smaller in &mut scored[1..] {
                let first = smaller.errors().into_iter().zip(&reference).take(5);
                let differences: Vec<f64> = first.map(|(own, other)| own - other).collect();
                if self.repeats > 1 && stops_early(&differences, settings.margin) {
                    smaller.stopped_early = true;
                    smaller.results.truncate(5);
                }
            }
            conclude(study, &scored).unwrap()
        }
    }

    /// How many of some studies accept a network, how many would by the margin alone, and how many are conclusive.
    #[derive(Clone, Copy, Debug, Default)]
    struct Accepted {
        studies: usize,
        conclusive: usize,
        by_margin: usize,
        accepted: usize,
    }

    impl Accepted {
        fn count(&mut self, findings: &Findings) {
            let mut estimates = findings.candidates.iter().filter_map(|row| row.comparison.as_ref()?.estimate);
            self.studies += 1;
            self.conclusive += usize::from(findings.conclusive);
            self.by_margin +=
                usize::from(findings.conclusive && estimates.any(|found| found.upper_bound < WIDE_MARGIN));
            let accepted = findings.candidates.iter().any(|row| row.decision() == Some(Decision::Sufficient));
            assert_eq!(accepted, findings.answer != findings.reference);
            self.accepted += usize::from(accepted);
        }
    }

    /// Two, three, four and ten classes, equal and not.
    const SHARES: [&[f64]; 5] = [&[0.5, 0.5], &[0.7, 0.3], &[0.34, 0.33, 0.33], &[0.4, 0.3, 0.2, 0.1], &[0.1; 10]];

    /// Counts over studies of all classes and repeats in which the smaller networks answer like this.
    fn simulate(ladder: Ladder, answers: Answers, studies: usize) -> Accepted {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut all = Accepted::default();
        for shares in SHARES {
            for repeats in [1, 2] {
                let simulated = Simulated { ladder, shares, repeats, answers };
                let study = simulated.study(&folder);
                let candidates = study.identity.settings.candidates().unwrap();
                (0..studies).for_each(|_| all.count(&simulated.conclude(&study, &candidates, &mut rng)));
            }
        }
        println!("{ladder:?}, {answers:?}: {all:?}");
        all
    }

    /// `CONVSCOPE_STUDIES` sets how many studies are simulated of each kind.
    #[test]
    fn guesses_are_accepted_no_more_often_than_nominal() {
        let studies = std::env::var("CONVSCOPE_STUDIES").map_or(100, |text| text.parse().expect("a number of studies"));
        let mut by_margin = 0;
        for (ladder, _) in LADDERS {
            for answers in [Answers::Coin, Answers::Surface, Answers::OneClass, Answers::Commonest] {
                let found = simulate(ladder, answers, studies);
                by_margin += found.by_margin;
                // At a nominal 2.5 %, three standard errors more.
                let (count, nominal) = (found.studies as f64, 0.025);
                let most = count * nominal + 3.0 * (count * nominal * (1.0 - nominal)).sqrt();
                assert!(found.accepted as f64 <= most, "{ladder:?}, {answers:?}: {found:?}");
            }
            let found = simulate(ladder, Answers::Learned, studies);
            assert!(
                found.accepted as f64 > 0.9 * found.studies as f64,
                "what has learned as much is accepted: {found:?}"
            );
        }
        assert!(by_margin > studies, "the margin alone would accept guesses");
    }
}
