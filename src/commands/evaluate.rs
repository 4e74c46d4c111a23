//! `evaluate`: how a network does on labelled images.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::images::{Labelled, LeftOut, labelled};
use super::{check_apart, check_page, image_folders};
use crate::cli::EvaluateArgs;
use crate::data::Rejected;
use crate::data::folder::Choices;
use crate::disk;
use crate::explain::{Judged, worst};
use crate::figures::words::{count, plain};
use crate::nn::checkpoint::Checkpoint;
use crate::report::{EvaluationPage, calibration_in_words};
use crate::stats::standing::{self, Verdict};
use crate::stats::{CalibrationBin, ClassCounts, wilson};
use crate::terminal::{bar, counted, keep_for_results, print, say, say_apart};
use crate::train::evaluation::{Evaluation, LEVEL};
use crate::train::{Origin, Run, Which};

/// Mistakes that are named.
const WORST: usize = 10;
/// Classes up to which all confusions are shown on the terminal.
const MATRIX: usize = 8;
/// What stands for standard output.
const STDOUT: &str = "-";

pub(super) fn evaluate(arguments: &EvaluateArgs) -> Result<()> {
    let to_stdout = arguments.json.as_deref() == Some(Path::new(STDOUT));
    if to_stdout {
        keep_for_results();
    }
    let run = Run::open(&arguments.run)?;
    check_files(arguments, &run)?;
    let Checkpoint { meta, weights, .. } = run.checkpoint(arguments.weights)?;
    let which = arguments.weights;
    let shown = super::weights_shown(run.folder(), which, meta.epoch);
    say(format!("network  {shown}"));
    let choices = Choices { val: None, class_level: arguments.class_level.map(usize::from) };
    let labelled = labelled(&run, arguments.data.as_deref(), choices, arguments.trained_on.as_deref(), super::CACHE)?;
    let Labelled { images, validated, left_out, mut notes } = labelled;
    let (told, classes) = (told(arguments, images.len()), meta.classes.as_slice());
    say(format!("data     {told}"));
    if meta.drawn && arguments.data.is_some() {
        notes.push(format!("{}.", crate::report::DRAWN));
    }

    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);
    let predictor = super::predictor(&gpu, &run, which, &weights, arguments.batch)?;
    let looking = bar("{msg} {pos}/{len} [{bar:30}]", images.len() as u64).with_message("looking at images");
    let (mut predictions, mut lost) = (Vec::with_capacity(images.len()), Vec::new());
    predictor.predict(images.as_ref(), arguments.tta, |said, rejected| {
        predictions.extend(said);
        lost.extend(rejected);
        looking.set_position((predictions.len() + lost.len()) as u64);
    })?;
    looking.finish_and_clear();
    if let Some(Rejected { file, reason }) = lost.first() {
        let gone = counted(lost.len(), "image");
        notes.push(format!("Left out, as they can no longer be read: {gone}; the first: {file} {reason}."));
    }
    // The best of several epochs looks better on the images that chose it than it is.
    let chosen = which == Which::Best && validated.is_none_or(|validated| validated > 0);
    let epochs = if chosen && run.config().is_ok() { run.metrics()?.len() } else { 1 };
    let evaluation = Evaluation::new(&predictions, classes.len(), epochs)?
        .context("none of the images can be read any more: is their folder still there?")?;
    let judged: Vec<Judged> = predictions.iter().map(Judged::new).collect();
    let worst: Vec<(String, Judged)> =
        worst(&judged, WORST).into_iter().map(|judged| (images.name(judged.index), judged)).collect();
    notes.splice(..0, standing::caution(Some(&evaluation.standing)));
    notes.iter().for_each(|note| say(format!("note: {note}")));

    if !to_stdout {
        figures(&evaluation).iter().for_each(say);
        say("");
        table(&evaluation, classes).iter().for_each(say);
        tell_worst(&worst, classes);
    }
    if let Some(json) = &arguments.json {
        let counts = Counts { validated, left_out: LeftOut { unusable: left_out.unusable + lost.len(), ..left_out } };
        let origin = Origin::new(&run, which, meta.epoch);
        let file = EvaluationFile::new(origin, arguments.tta, counts, &evaluation, classes, &worst);
        let text = serde_json::to_string_pretty(&file)?;
        if to_stdout {
            // As lines: what is printed shows no line break.
            text.lines().for_each(print);
        } else {
            disk::write(json, format!("{text}\n").as_bytes())?;
        }
    }
    if let Some(out) = &arguments.out {
        let page = EvaluationPage {
            weights: &shown,
            images: &told,
            notes: &notes,
            classes,
            evaluation: &evaluation,
            worst: &worst,
        };
        disk::write(out, page.page().as_bytes())?;
    }
    let files = arguments.json.as_ref().filter(|_| !to_stdout).into_iter().chain(&arguments.out);
    files.for_each(|file| say(format!("wrote {}", file.display())));
    Ok(())
}

/// Checks before all work that the files can be written, and that none of them replaces something else or lies among images.
fn check_files(arguments: &EvaluateArgs, run: &Run) -> Result<()> {
    let folders = || {
        let own = image_folders(run, arguments.trained_on.as_deref());
        own.into_iter().chain(arguments.data.clone())
    };
    if let Some(out) = &arguments.out {
        check_apart(out, folders())?;
        check_page(out)?;
    }
    let Some(json) = arguments.json.as_deref().filter(|json| *json != Path::new(STDOUT)) else { return Ok(()) };
    let shown = json.display();
    check_apart(json, folders())?;
    ensure!(!json.is_dir(), "--json {shown}: is a folder; name a file");
    if json.is_file() {
        let is_evaluation = |bytes: Vec<u8>| {
            bytes.is_empty() || serde_json::from_slice(&bytes).is_ok_and(|found: Value| found.get("macro_f1").is_some())
        };
        ensure!(
            fs::read(json).is_ok_and(is_evaluation),
            "--json {shown}: exists already and is no evaluation; name another file"
        );
    }
    disk::check_writable(json).with_context(|| format!("--json {shown}: name a file in a folder that is there"))
}

/// The images as they are told.
fn told(arguments: &EvaluateArgs, images: usize) -> String {
    let from = match &arguments.data {
        Some(data) => format!("images of {}", data.display()),
        None => "validation images of the run".into(),
    };
    let mirrored = if arguments.tta { ", each with its mirror image" } else { "" };
    format!("{} {from}{mirrored}", count(images))
}

/// The figures that are no table, a line each. The caution has the accuracy where there is one.
fn figures(evaluation: &Evaluation) -> Vec<String> {
    let Evaluation { standing, log_loss, log_loss_of_shares, calibration, auc, .. } = evaluation;
    let mut lines = Vec::new();
    if standing.verdict() == Verdict::Better {
        lines.push(format!("accuracy {standing}"));
    }
    lines.push(format!(
        "log-loss {}; giving each class its share of the images: {}",
        plain(*log_loss, 3),
        plain(*log_loss_of_shares, 3)
    ));
    if let Some(auc) = auc {
        let (low, high) = auc.interval;
        let [area, low, high] = [auc.area, low, high].map(|area| plain(area, 3));
        lines.push(format!("ROC AUC  {area} (95 % interval {low} to {high})"));
    }
    lines.push(format!("ECE      {}. {}", plain(calibration.error, 3), calibration_in_words(calibration)));
    lines
}

/// The confusions, where the classes are few, and the scores of each class, a line each.
fn table(evaluation: &Evaluation, classes: &[String]) -> Vec<String> {
    let matrix = if classes.len() <= MATRIX { classes } else { &[] };
    let width = |text: &str| text.chars().count();
    let first = classes.iter().map(|class| width(class)).max().unwrap_or_default().max("is taken for".len());
    let images = count(evaluation.standing.images).len();
    let columns: Vec<usize> = matrix.iter().map(|class| width(class).max(images)).collect();
    let line = |name: &str, confused: Vec<String>, [images, recall, precision, f1]: [&str; 4]| {
        let cells = confused.iter().zip(&columns).map(|(cell, &width)| format!("  {cell:>width$}"));
        format!("{name:first$}{}  {images:>7}  {recall:>8}  {precision:>9}  {f1:>6}", cells.collect::<String>())
    };
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let or_dash = |share: Option<f64>, word: fn(f64) -> String| share.map_or("-".into(), word);
    let heading = line("is taken for", matrix.to_vec(), ["images", "recall", "precision", "F1"]);
    let row = |(class, name): (usize, &String)| {
        let counts = &evaluation.counts[class];
        let confused = evaluation.confusion[class].iter().map(|&images| count(images)).collect();
        let [recall, precision] = [counts.recall(), counts.precision()].map(|share| or_dash(share, percent));
        let f1 = or_dash(counts.f1(), |f1| plain(f1, 3));
        line(name, confused, [&count(counts.actual), &recall, &precision, &f1])
    };
    let [recall, precision] =
        [ClassCounts::recall, ClassCounts::precision].map(|score| percent(evaluation.mean(score)));
    let means =
        [&count(evaluation.standing.images)[..], &recall, &precision, &plain(evaluation.mean(ClassCounts::f1), 3)];
    let mean = line("mean", vec![String::new(); matrix.len()], means);
    std::iter::once(heading).chain(classes.iter().enumerate().map(row)).chain([mean]).collect()
}

fn tell_worst(worst: &[(String, Judged)], classes: &[String]) {
    if worst.is_empty() {
        return;
    }
    say_apart("the worst mistakes:");
    for (file, judged) in worst {
        let [truth, predicted] = [judged.truth, judged.predicted].map(|class| &classes[class]);
        say(format!("  {file}: {truth}, taken for {predicted} ({:.1} %)", 100.0 * judged.probability));
    }
}

/// What became of the images.
#[derive(Serialize)]
struct Counts {
    /// Judging images that chose the run's best epoch; none where that is not known.
    validated: Option<usize>,
    left_out: LeftOut,
}

/// What `--json` writes.
#[derive(Serialize)]
struct EvaluationFile<'a> {
    #[serde(flatten)]
    origin: Origin,
    tta: bool,
    images: usize,
    #[serde(flatten)]
    counts: Counts,
    verdict: Verdict,
    accuracy: f64,
    accuracy_interval: (f64, f64),
    /// Epochs among which the images chose, for which the interval allows.
    epochs: usize,
    /// What always naming the commonest class gets right.
    commonest: Option<f64>,
    log_loss: f64,
    log_loss_of_shares: f64,
    auc: Option<f64>,
    auc_interval: Option<(f64, f64)>,
    calibration: CalibrationFile,
    classes: Vec<ClassFile<'a>>,
    macro_recall: f64,
    macro_precision: f64,
    macro_f1: f64,
    /// Images by class, then by predicted class.
    confusion: &'a [Vec<usize>],
    worst: Vec<Mistake<'a>>,
}

#[derive(Serialize)]
struct CalibrationFile {
    error: f64,
    by_chance: f64,
    most_by_chance: f64,
    off: bool,
    /// Mean confidence less accuracy.
    excess: f64,
    bins: Vec<BinFile>,
}

#[derive(Serialize)]
struct BinFile {
    images: usize,
    right: usize,
    mean_confidence: Option<f64>,
}

#[derive(Serialize)]
struct ClassFile<'a> {
    class: &'a str,
    images: usize,
    predicted: usize,
    recall: Option<f64>,
    recall_interval: Option<(f64, f64)>,
    precision: Option<f64>,
    precision_interval: Option<(f64, f64)>,
    f1: Option<f64>,
}

#[derive(Serialize)]
struct Mistake<'a> {
    path: &'a str,
    class: &'a str,
    predicted: &'a str,
    probability: f64,
}

impl<'a> EvaluationFile<'a> {
    fn new(
        origin: Origin,
        tta: bool,
        counts: Counts,
        evaluation: &'a Evaluation,
        classes: &'a [String],
        worst: &'a [(String, Judged)],
    ) -> Self {
        let Evaluation { standing, calibration, auc, .. } = evaluation;
        let interval = |part: usize, whole: usize| (whole > 0).then(|| wilson(part, whole, LEVEL));
        let class = |(name, counts): (&'a String, &ClassCounts)| ClassFile {
            class: name,
            images: counts.actual,
            predicted: counts.predicted,
            recall: counts.recall(),
            recall_interval: interval(counts.right, counts.actual),
            precision: counts.precision(),
            precision_interval: interval(counts.right, counts.predicted),
            f1: counts.f1(),
        };
        let mistake = |(path, judged): &'a (String, Judged)| Mistake {
            path,
            class: &classes[judged.truth],
            predicted: &classes[judged.predicted],
            probability: judged.probability,
        };
        let bin = |bin: &CalibrationBin| BinFile {
            images: bin.images,
            right: bin.right,
            mean_confidence: bin.mean_confidence(),
        };
        Self {
            origin,
            tta,
            images: standing.images,
            counts,
            verdict: standing.verdict(),
            accuracy: standing.accuracy(),
            accuracy_interval: standing.interval(),
            epochs: standing.epochs,
            commonest: standing.baseline(),
            log_loss: evaluation.log_loss,
            log_loss_of_shares: evaluation.log_loss_of_shares,
            auc: auc.map(|auc| auc.area),
            auc_interval: auc.map(|auc| auc.interval),
            calibration: CalibrationFile {
                error: calibration.error,
                by_chance: calibration.by_chance,
                most_by_chance: calibration.most_by_chance,
                off: calibration.is_off(),
                excess: calibration.excess(),
                bins: calibration.bins.iter().map(bin).collect(),
            },
            classes: classes.iter().zip(&evaluation.counts).map(class).collect(),
            macro_recall: evaluation.mean(ClassCounts::recall),
            macro_precision: evaluation.mean(ClassCounts::precision),
            macro_f1: evaluation.mean(ClassCounts::f1),
            confusion: &evaluation.confusion,
            worst: worst.iter().map(mistake).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::standing::Standing;
    use crate::train::predictions::Prediction;

    /// Of three classes, of which the last has no image and is predicted once.
    fn evaluation() -> Evaluation {
        let said = [(0, 0), (0, 0), (0, 2), (1, 1)];
        let prediction = |(index, &(truth, predicted)): (usize, &(usize, usize))| {
            let logits = (0..3).map(|class| if class == predicted { 2.0 } else { 0.0 }).collect();
            Prediction { index, truth, logits }
        };
        let predictions: Vec<Prediction> = said.iter().enumerate().map(prediction).collect();
        Evaluation::new(&predictions, 3, 1).unwrap().unwrap()
    }

    #[test]
    fn a_class_without_images_has_no_recall_in_the_table() {
        let classes = ["cat", "a longer name", "dog"].map(String::from);
        let lines = table(&evaluation(), &classes);
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(0), "is taken for cat a longer name dog images recall precision F1");
        assert_eq!(words(1), "cat 2 0 1 3 66.7 % 100.0 % 0.800");
        assert_eq!(words(2), "a longer name 0 1 0 1 100.0 % 100.0 % 1.000");
        assert_eq!(words(3), "dog 0 0 0 0 - 0.0 % 0.000");
        assert_eq!(words(4), "mean 4 83.3 % 100.0 % 0.900");
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width), "{lines:#?}");
        // Of many classes only the scores are shown.
        let names: Vec<String> = (0..MATRIX + 1).map(|class| class.to_string()).collect();
        let prediction = Prediction { index: 0, truth: 1, logits: vec![0.0; names.len()] };
        let many = Evaluation::new(&[prediction], names.len(), 1).unwrap().unwrap();
        assert_eq!(
            table(&many, &names)[2].split_whitespace().collect::<Vec<_>>(),
            ["1", "1", "0.0", "%", "-", "0.000"]
        );
    }

    /// Where the caution says how the network does, the figures do not say it again.
    #[test]
    fn the_accuracy_is_said_once() {
        let evaluation = evaluation();
        assert!(standing::caution(Some(&evaluation.standing)).unwrap().contains("75.0 % of 4 images right"));
        let lines = figures(&evaluation);
        assert!(lines.iter().all(|line| !line.contains("accuracy")), "{lines:?}");
        let better = Standing { right: 90, images: 100, commonest: Some(50), epochs: 1 };
        let lines = figures(&Evaluation { standing: better, ..evaluation });
        assert!(lines[0].starts_with("accuracy 90.0 % of 100 images right"), "{lines:?}");
    }
}
