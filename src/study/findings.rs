//! The answer of a study, made of the units' files alone.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::unit::{self, Unit, UnitResult};
use super::{Ladder, Rung, Settings, Study};
use crate::reading;
use crate::run_dir::RunDir;
use crate::stats::{
    self, DepthDifferences, DepthErrors, PairedT, Verdict, choose_depth, holm, one_se_choice, stops_early,
};

/// Confidence of all intervals and bounds.
pub const LEVEL: f64 = stats::depth::LEVEL;

/// What a failure means, wherever one is told.
pub const FAILURE: &str = "\"Not shown\" means not shown to be sufficient, never shown to be worse";

/// Name of the file that holds what a study found.
pub const DEPTH_FILE: &str = "depth.json";

/// What a study found: `depth.json`. It depends on the units' files alone, but not on when, where and in which order they
/// were made. Errors and differences are in percentage points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// What the study is about.
    pub study: Study,
    /// Name of the rung that the others are compared with.
    pub reference: String,
    /// Name of the smallest rung that was shown to be sufficient, or of the reference.
    pub answer: String,
    /// Whether the reference was shown to be better than always naming the commonest class. Where it is not, nothing
    /// follows from being as good as it is, and the answer is the reference for want of another.
    pub conclusive: bool,
    /// Error of always naming the commonest class.
    pub chance_error: f64,
    /// The answer in words.
    pub words: String,
    /// Confidence of all intervals and bounds.
    pub level: f64,
    /// One row a rung, in the order in which they were tested, the reference first.
    pub rungs: Vec<Row>,
    /// The one-standard-error rule's choice, for truncated networks whose reference has learned something.
    pub one_standard_error: Option<OneStandardError>,
}

/// What was found of one rung.
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
    /// Pixels of the picture that a value of its last maps sees, in height and width.
    pub receptive_field: usize,
    /// Height of its last maps.
    pub last_map: usize,
    /// Whether it was given up after the first repeat.
    pub stopped_early: bool,
    /// Error of each scored fold, repeat by repeat.
    pub errors: Vec<f64>,
    /// Mean of these.
    pub mean_error: f64,
    /// Two-sided interval of the mean error, corrected for the overlap of training folds, and at least as wide as the choice of
    /// pictures alone makes it.
    pub error_interval: (f64, f64),
    /// Mean over the folds of the mean log-loss.
    pub log_loss: f64,
    /// Training loss of each epoch, its mean over the folds.
    #[serde(default)]
    pub train_loss: Vec<f64>,
    /// How it compares with the reference; none for the reference itself.
    pub comparison: Option<Comparison>,
}

/// How a rung compares with the reference: all differences are its error less the reference's on the same fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Fold by fold.
    pub differences: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Its standard error, corrected for the overlap of training folds, and at least what the choice of pictures alone gives.
    pub standard_error: f64,
    /// One-sided upper bound of the mean.
    pub upper_bound: f64,
    /// p-value of the hypothesis that the mean is at least the margin.
    pub p_margin: f64,
    /// Two-sided interval of the mean, for this rung alone.
    pub interval: (f64, f64),
    /// Two-sided p-value of no difference, adjusted over all rungs by Holm's method.
    pub p_difference: f64,
    /// What follows.
    pub decision: Decision,
}

/// What becomes of a rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// It was shown to lose less than the margin.
    #[serde(rename = "sufficient")]
    Sufficient,
    /// It was not, which is not to say that it is worse.
    #[serde(rename = "not shown")]
    NotShown,
    /// A deeper one was not shown sufficient, so the question never came up.
    #[serde(rename = "not tested")]
    NotTested,
    /// The reference has learned nothing to compare with.
    #[serde(rename = "inconclusive")]
    Inconclusive,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sufficient => "sufficient",
            Self::NotShown => "not shown",
            Self::NotTested => "not tested",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// What the one-standard-error rule would choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneStandardError {
    /// The rung.
    pub choice: String,
    /// The rung of the lowest mean error.
    pub best: String,
    /// That error plus its standard error.
    pub threshold: f64,
    /// What to make of it.
    pub note: String,
}

/// A row of `depth.csv`.
#[derive(Serialize)]
struct Line<'a> {
    rung: &'a str,
    blocks: usize,
    parameters: usize,
    receptive_field: usize,
    folds_scored: usize,
    mean_error: f64,
    error_low: f64,
    error_high: f64,
    log_loss: f64,
    difference: Option<f64>,
    standard_error: Option<f64>,
    upper_bound: Option<f64>,
    p_margin: Option<f64>,
    difference_low: Option<f64>,
    difference_high: Option<f64>,
    p_difference: Option<f64>,
    decision: String,
    stopped_early: bool,
}

/// The results of one rung, repeat by repeat and fold by fold.
struct Scored<'a> {
    rung: &'a Rung,
    results: Vec<UnitResult>,
    stopped_early: bool,
}

impl Scored<'_> {
    fn errors(&self) -> Vec<f64> {
        self.results.iter().map(|result| result.scores.error()).collect()
    }

    /// Standard error of the difference to the reference's share that the choice of pictures alone gives. Repeats score the same
    /// pictures again, so their mean counts.
    fn sampling_error(&self, reference: &Scored<'_>) -> f64 {
        let pairs = || {
            let both = self.results.iter().zip(&reference.results);
            both.flat_map(|(own, other)| own.scores.correct.iter().zip(&other.scores.correct))
        };
        let pictures = self.pictures();
        let repeats = pairs().count() as f64 / pictures as f64;
        let lost = pairs().filter(|(own, other)| !**own && **other).count() as f64;
        let won = pairs().filter(|(own, other)| **own && !**other).count() as f64;
        stats::sampling_error(lost / repeats, won / repeats, pictures)
    }

    /// The mean error, with the standard error that is corrected for the overlap of training folds, and at least what the choice
    /// of pictures alone gives.
    fn mean_error(&self, settings: &Settings) -> Result<PairedT> {
        let errors = self.errors();
        let pictures = self.pictures();
        let wrong = errors.iter().sum::<f64>() / errors.len() as f64 / 100.0 * pictures as f64;
        let least = 100.0 * stats::share_error(wrong, pictures);
        Ok(PairedT::corrected(&errors, settings.folds)?.with_least_error(least))
    }

    /// How many pictures were scored, however often.
    fn pictures(&self) -> usize {
        let all = self.results.iter().flat_map(|result| &result.scores.pictures);
        all.collect::<BTreeSet<_>>().len()
    }
}

/// Whether a rung is given up after the first repeat, as far as the files tell. It is then failed, never accepted; what was
/// trained of it later is not looked at.
///
/// # Errors
/// When a file cannot be used.
pub fn given_up(folder: &RunDir, study: &Study, reference: &Rung, rung: &Rung) -> Result<bool> {
    let settings = &study.identity.settings;
    if rung == reference || settings.repeats == 1 {
        return Ok(false);
    }
    let mut differences = Vec::with_capacity(settings.folds);
    for fold in 1..=settings.folds {
        let read =
            |rung: &Rung| unit::read(folder, &study.identity, &Unit { rung: rung.name.clone(), repeat: 1, fold });
        let (Some(own), Some(other)) = (read(rung)?, read(reference)?) else { return Ok(false) };
        differences.push(own.scores.error() - other.scores.error());
    }
    Ok(stops_early(&differences, settings.margin))
}

/// Puts the units' results together.
///
/// # Errors
/// When one is missing, cannot be used, or was made of other data, with other settings or by other code.
pub fn collect(folder: &RunDir, study: &Study) -> Result<Findings> {
    let settings = &study.identity.settings;
    let rungs = settings.rungs()?;
    let scored = read_all(folder, study, &rungs)?;
    let (mut answer, mut comparisons) = compare(settings, &scored[0], &scored[1..])?;
    let conclusive = scored[0].mean_error(settings)?.interval(LEVEL).1 < study.chance_error();
    if !conclusive {
        answer = 0;
        comparisons.iter_mut().for_each(|comparison| comparison.decision = Decision::Inconclusive);
    }
    let comparisons = std::iter::once(None).chain(comparisons.into_iter().map(Some));
    let rows: Vec<Row> = scored
        .iter()
        .zip(comparisons)
        .map(|(scored, comparison)| row(settings, scored, comparison))
        .collect::<Result<_>>()?;
    let one_standard_error = match settings.ladder {
        Ladder::Truncate if conclusive => Some(one_standard_error(settings, &scored)?),
        _ => None,
    };
    let words = if conclusive { words(settings, &rungs, answer, &rows) } else { inconclusive(study, &rungs[0]) };
    Ok(Findings {
        study: study.clone(),
        reference: rungs[0].name.clone(),
        answer: rungs[answer].name.clone(),
        conclusive,
        chance_error: study.chance_error(),
        words,
        level: LEVEL,
        rungs: rows,
        one_standard_error,
    })
}

/// Reads all results that count.
fn read_all<'a>(folder: &RunDir, study: &Study, rungs: &'a [Rung]) -> Result<Vec<Scored<'a>>> {
    let settings = &study.identity.settings;
    let mut scored: Vec<Scored<'a>> = Vec::with_capacity(rungs.len());
    for rung in rungs {
        let stopped_early = given_up(folder, study, &rungs[0], rung)?;
        scored.push(Scored { rung, results: Vec::new(), stopped_early });
    }
    let mut missing = Vec::new();
    for unit in Unit::all(settings, rungs) {
        let of = scored.iter_mut().find(|scored| scored.rung.name == unit.rung).expect("every unit has a rung");
        if of.stopped_early && unit.repeat > 1 {
            continue;
        }
        match unit::read(folder, &study.identity, &unit)? {
            Some(result) => {
                reading::study::check_counts(&result, study)?;
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

/// Checks that all rungs scored the same pictures in each fold, without which no difference means anything.
fn check_paired(scored: &[Scored<'_>]) -> Result<()> {
    for other in &scored[1..] {
        for (one, other) in scored[0].results.iter().zip(&other.results) {
            if one.scores.pictures != other.scores.pictures {
                let [one, other] = [one, other].map(|result| result.unit.file());
                bail!("{one} and {other} scored different pictures: remove both to have them made again");
            }
        }
    }
    Ok(())
}

/// Compares the smaller rungs with the reference, rung 0. Returns the number of the answer's rung and a comparison each.
fn compare(settings: &Settings, reference: &Scored<'_>, smaller: &[Scored<'_>]) -> Result<(usize, Vec<Comparison>)> {
    let ladder: Vec<DepthDifferences> = smaller
        .iter()
        .map(|scored| DepthDifferences {
            depth: scored.rung.blocks(),
            differences: scored.errors().iter().zip(reference.errors()).map(|(own, other)| own - other).collect(),
            least_error: 100.0 * scored.sampling_error(reference),
            stopped_early: scored.stopped_early,
        })
        .collect();
    match settings.ladder {
        Ladder::Truncate => by_depth(settings, ladder),
        Ladder::Drop => side_by_side(settings, ladder),
    }
}

/// Truncated networks are tested from the deepest down, each at the full level, until the first failure.
fn by_depth(settings: &Settings, ladder: Vec<DepthDifferences>) -> Result<(usize, Vec<Comparison>)> {
    let reference = settings.depths.last().copied().context("a study has a depth")?;
    let choice = choose_depth(reference, &ladder, settings.folds, settings.margin)?;
    let answer = choice.rows.iter().filter(|row| row.verdict == Verdict::Sufficient).count();
    let comparisons = ladder
        .into_iter()
        .zip(choice.rows)
        .map(|(step, row)| {
            let decision = match row.verdict {
                Verdict::Sufficient => Decision::Sufficient,
                Verdict::NotShown => Decision::NotShown,
                Verdict::NotTested => Decision::NotTested,
            };
            comparison(settings, step, row.comparison, row.p_difference, decision)
        })
        .collect();
    Ok((answer, comparisons))
}

/// Networks without one middle block have no order, so all are tested, by Holm's method. The answer is the accepted one with
/// the lowest mean error.
fn side_by_side(settings: &Settings, ladder: Vec<DepthDifferences>) -> Result<(usize, Vec<Comparison>)> {
    let tests: Vec<PairedT> = ladder.iter().map(|step| step.test(settings.folds)).collect::<Result<_, _>>()?;
    let margins = holm(&tests.iter().map(|test| test.p_at_least(settings.margin)).collect::<Vec<_>>());
    let differences = holm(&tests.iter().map(PairedT::p_two_sided).collect::<Vec<_>>());
    let accepted: Vec<bool> =
        ladder.iter().zip(&margins).map(|(step, p)| !step.stopped_early && *p < 1.0 - LEVEL).collect();
    let best = (0..tests.len()).filter(|&rung| accepted[rung]).min_by(|&a, &b| tests[a].mean.total_cmp(&tests[b].mean));
    let comparisons = ladder
        .into_iter()
        .enumerate()
        .map(|(rung, step)| {
            let decision = if accepted[rung] { Decision::Sufficient } else { Decision::NotShown };
            let mut made = comparison(settings, step, tests[rung], differences[rung], decision);
            made.p_margin = margins[rung];
            made
        })
        .collect();
    Ok((best.map_or(0, |rung| rung + 1), comparisons))
}

fn comparison(
    settings: &Settings,
    step: DepthDifferences,
    test: PairedT,
    p_difference: f64,
    decision: Decision,
) -> Comparison {
    Comparison {
        differences: step.differences,
        mean: test.mean,
        standard_error: test.standard_error,
        upper_bound: test.upper_bound(LEVEL),
        p_margin: test.p_at_least(settings.margin),
        interval: test.interval(LEVEL),
        p_difference,
        decision,
    }
}

fn row(settings: &Settings, scored: &Scored<'_>, comparison: Option<Comparison>) -> Result<Row> {
    let Scored { rung, results, stopped_early } = scored;
    let errors = scored.errors();
    let mean = scored.mean_error(settings)?;
    let last = rung.spec.blocks()?.pop().context("a network has a block")?;
    Ok(Row {
        name: rung.name.clone(),
        blocks: rung.blocks(),
        left_out: rung.left_out,
        parameters: rung.spec.parameter_count(),
        receptive_field: last.receptive_field,
        last_map: last.output[1],
        stopped_early: *stopped_early,
        mean_error: mean.mean,
        error_interval: mean.interval(LEVEL),
        log_loss: mean_over(results, |result| result.scores.log_loss),
        train_loss: (0..settings.training.epochs)
            .map(|epoch| mean_over(results, |result| result.train_loss[epoch]))
            .collect(),
        errors,
        comparison,
    })
}

fn mean_over(results: &[UnitResult], value: impl Fn(&UnitResult) -> f64) -> f64 {
    results.iter().map(value).sum::<f64>() / results.len() as f64
}

fn one_standard_error(settings: &Settings, scored: &[Scored<'_>]) -> Result<OneStandardError> {
    let depths: Vec<DepthErrors> =
        scored.iter().map(|scored| DepthErrors { depth: scored.rung.blocks(), errors: scored.errors() }).collect();
    let choice = one_se_choice(&depths, settings.folds)?;
    Ok(OneStandardError {
        choice: format!("d{}", choice.depth),
        best: format!("d{}", choice.best),
        threshold: choice.threshold,
        note: "a heuristic: it bounds no probability of error and knows no margin".into(),
    })
}

/// What is said instead of an answer where the reference has learned nothing to speak of.
fn inconclusive(study: &Study, reference: &Rung) -> String {
    format!(
        "Nothing can be concluded: {} was not shown to be better than always naming the commonest class, which errs on \
         {:.1} % of the pictures. Train for more --epochs or on more pictures.",
        reference.describe(),
        study.chance_error()
    )
}

/// The answer in plain words.
fn words(settings: &Settings, rungs: &[Rung], answer: usize, rows: &[Row]) -> String {
    let (margin, reference) = (settings.margin, rungs[0].describe());
    let points = if margin == 1.0 { "point" } else { "points" };
    let found = match (settings.ladder, rows[answer].comparison.as_ref()) {
        (_, None) => format!(
            "No smaller network was shown to lose less than {margin} percentage {points} against {reference}, so {reference} \
             is the answer."
        ),
        (Ladder::Truncate, Some(comparison)) => format!(
            "{} enough: the loss against {reference} is less than {margin} percentage {points} ({:+.2} on average, at most \
             {:.2} by a 95 % bound of its own).",
            match rungs[answer].blocks() {
                1 => "1 block is".into(),
                blocks => format!("{blocks} blocks are"),
            },
            comparison.mean,
            comparison.upper_bound
        ),
        (Ladder::Drop, Some(comparison)) => format!(
            "Block {} can go: without it the network loses less than {margin} percentage {points} ({:+.2} on average).",
            rungs[answer].left_out.expect("only the reference leaves nothing out"),
            comparison.mean
        ),
    };
    let limits = match settings.ladder {
        Ladder::Truncate => {
            "Fewer blocks also mean fewer channels, fewer weights and a smaller receptive field: the study does not tell \
             these apart."
        }
        Ladder::Drop => {
            "Leaving a block out also halves the receptive field, enlarges the last maps and changes the number of weights: \
             the study does not tell these apart."
        }
    };
    format!("{found} {FAILURE}. {limits}")
}

impl Findings {
    /// Writes `depth.json` and `depth.csv`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &RunDir) -> Result<()> {
        folder.write_json(DEPTH_FILE, self)?;
        let mut table = csv::Writer::from_writer(Vec::new());
        for row in &self.rungs {
            table.serialize(line(row))?;
        }
        folder.write("depth.csv", &table.into_inner().context("the table is complete")?)
    }

    /// The table for a terminal, a line a rung under a line of headings.
    pub fn table(&self) -> Vec<String> {
        let heading = "network              error  95 % interval    difference  at most  decision";
        let mut lines = vec![heading.to_string()];
        for row in &self.rungs {
            let (low, high) = row.error_interval;
            let error =
                format!("{:<18} {:5.2} %  {:5.2} to {:5.2}", row.name, row.mean_error, low.max(0.0), high.min(100.0));
            lines.push(match &row.comparison {
                None => format!("{error}           -        -  reference"),
                Some(Comparison { mean, upper_bound, decision, .. }) => {
                    let early = if row.stopped_early { ", stopped after the first repeat" } else { "" };
                    format!("{error}      {mean:+6.2}   {upper_bound:+6.2}  {decision}{early}")
                }
            });
        }
        lines
    }
}

fn line(row: &Row) -> Line<'_> {
    let comparison = row.comparison.as_ref();
    Line {
        rung: &row.name,
        blocks: row.blocks,
        parameters: row.parameters,
        receptive_field: row.receptive_field,
        folds_scored: row.errors.len(),
        mean_error: row.mean_error,
        error_low: row.error_interval.0,
        error_high: row.error_interval.1,
        log_loss: row.log_loss,
        difference: comparison.map(|found| found.mean),
        standard_error: comparison.map(|found| found.standard_error),
        upper_bound: comparison.map(|found| found.upper_bound),
        p_margin: comparison.map(|found| found.p_margin),
        difference_low: comparison.map(|found| found.interval.0),
        difference_high: comparison.map(|found| found.interval.1),
        p_difference: comparison.map(|found| found.p_difference),
        decision: comparison.map_or("reference".into(), |found| found.decision.to_string()),
        stopped_early: row.stopped_early,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Identity, tests::settings};
    use super::unit::{Scores, UNITS};
    use super::*;
    use crate::data::split::unit_seed;

    const PICTURES: usize = 200;

    /// The folder of a study of depths 1, 3 and 5, with 3 folds of 200 pictures.
    fn study(folder: &RunDir, repeats: usize, ladder: Ladder) -> Study {
        let settings = Settings { folds: 3, repeats, ..settings(ladder) };
        fs::create_dir_all(folder.file(UNITS)).unwrap();
        Study {
            identity: Identity { program: "1".into(), data: "a".into(), settings },
            classes: vec!["cat".into(), "dog".into()],
            dev_pictures: 3 * PICTURES,
            commonest_class: 3 * PICTURES / 2,
            test_pictures: 9,
            duplicates: 0,
            contradictory: 0,
            rejected: 0,
            photos: None,
        }
    }

    /// Writes results in which so many of a rung's pictures are wrong, fold by fold, for as many folds as there are.
    fn write(folder: &RunDir, study: &Study, rung: &str, wrong: &[usize]) {
        for (index, &wrong) in wrong.iter().enumerate() {
            let unit = Unit { rung: rung.into(), repeat: index / 3 + 1, fold: index % 3 + 1 };
            let scores = Scores {
                wrong,
                log_loss: 0.5,
                pictures: (0..PICTURES).map(|picture| 3 * picture + index % 3).collect(),
                correct: (0..PICTURES).map(|picture| picture >= wrong).collect(),
                losses: vec![0.5; PICTURES],
            };
            let result = UnitResult {
                identity: study.identity.clone(),
                unit: unit.clone(),
                seed: unit_seed(0, unit.repeat, unit.fold),
                adapter: "none".into(),
                learned_from: 2 * PICTURES,
                train_loss: vec![0.5; study.identity.settings.training.epochs],
                seconds: index as f64,
                scores,
            };
            folder.write_json(&unit.file(), &result).unwrap();
        }
    }

    fn decisions(findings: &Findings) -> Vec<String> {
        findings.rungs[1..].iter().map(|row| row.comparison.as_ref().unwrap().decision.to_string()).collect()
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
        assert!(findings.words.starts_with("3 blocks are enough"), "{}", findings.words);
        assert!(findings.words.contains("never shown to be worse"), "{}", findings.words);

        let [reference, three, one] = &findings.rungs[..] else { panic!("three rungs") };
        assert_eq!((reference.mean_error, reference.comparison.is_none()), (11.0, true));
        // Differences of 0, 0, 0, 0, 0.5 and 0: their deviation is 0.5 / sqrt 6, the corrected factor 1/6 + 1/2. That makes an
        // error of 0.17 points. One of 600 pictures lost in one of two repeats, and one more of each kind, make more.
        assert!((0.5 / 6f64.sqrt()) * (2f64 / 3.0).sqrt() < 0.17);
        let error = 100.0 * (2.5 - 0.25 / 602.0f64).sqrt() / 602.0;
        let expected = 0.5 / 6.0 + 2.015_048_372_669_157 * error;
        let found = three.comparison.as_ref().unwrap().upper_bound;
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
        assert_eq!(findings.answer, "d5-without-2", "the better of the two");
        assert!(findings.words.starts_with("Block 2 can go"), "{}", findings.words);
    }

    /// Not one of 600 pictures is decided differently. That rules out a loss of a whole point, but not of half a one.
    #[test]
    fn pictures_that_do_not_differ_leave_a_doubt() {
        for (ladder, smaller) in [
            (Ladder::Truncate, ["d3", "d1"].as_slice()),
            (Ladder::Drop, ["d5-without-4", "d5-without-3", "d5-without-2"].as_slice()),
        ] {
            for (margin, decision) in [(1.0, "sufficient"), (0.4, "not shown")] {
                let temporary = tempfile::tempdir().unwrap();
                let folder = RunDir::at(temporary.path().to_path_buf());
                let mut study = study(&folder, 2, ladder);
                study.identity.settings.margin = margin;
                smaller.iter().chain(&["d5"]).for_each(|rung| write(&folder, &study, rung, &[20; 6]));
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
        for rung in ["d5", "d3", "d1"] {
            write(&folder, &study, rung, &[95; 3]);
        }
        let findings = collect(&folder, &study).unwrap();
        assert!(!findings.conclusive, "{:?}", findings.rungs[0].error_interval);
        let (low, high) = findings.rungs[0].error_interval;
        assert!(low < 45.0 && high > 50.0, "{low} to {high}");
    }

    #[test]
    fn nothing_follows_from_a_reference_that_guesses() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 1, Ladder::Truncate);
        for rung in ["d5", "d3", "d1"] {
            write(&folder, &study, rung, &[100, 100, 100]);
        }
        let findings = collect(&folder, &study).unwrap();
        assert_eq!((findings.conclusive, findings.answer.as_str()), (false, "d5"));
        assert_eq!(decisions(&findings), ["inconclusive"; 2]);
        assert!(findings.words.contains("errs on 50.0 %"), "{}", findings.words);
    }

    #[test]
    fn what_is_missing_or_foreign_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let study = study(&folder, 1, Ladder::Truncate);
        write(&folder, &study, "d5", &[20, 20, 20]);
        write(&folder, &study, "d3", &[20, 20, 20]);
        write(&folder, &study, "d1", &[20, 20]);
        let error = || format!("{:#}", collect(&folder, &study).unwrap_err());
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
            (r#""data": "a""#, r#""data": "b""#, "in which the pictures are others"),
            (r#""program": "1""#, r#""program": "2""#, r#"program is "2", not "1""#),
            (r#""fold": 2"#, r#""fold": 1"#, "holds another unit than its name says: unit.fold is 1, not 2"),
            ("\"pictures\": [\n      1,", "\"pictures\": [\n      0,", "scored different pictures"),
            (r#""learned_from": 400"#, r#""learned_from": 399"#, "scores.pictures together is 599: expected 600"),
            ("{", "", "cannot be used"),
        ] {
            rewrite(from, to);
            assert!(error().contains("units/d3-r1-f2.json") && error().contains(what), "{}", error());
            write(&folder, &study, "d3", &[20, 20, 20]);
        }
    }
}
