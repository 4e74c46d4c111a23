//! What was trained on what, the curves, data problems and the confusion matrix.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::{Given, LEVEL, Made, Report, Trained, figure};
use crate::figures::words::{count, name, percent, plain};
use crate::figures::{Chart, LineChart, LineStyle, Reliability, ReliabilityBin, Series};
use crate::nn::Architecture;
use crate::stats::standing::Standing;
use crate::stats::{Calibration, CalibrationBin, ClassCounts, log_loss_of_shares, macro_mean, wilson};
use crate::terminal::counted;
use crate::train::{ClassWeights, EpochRecord, Extras, Imported, OptimizerName, Source, Training, Which};

/// Rejected files that are named.
const NAMED: usize = 20;
/// Classes up to which all confusions are a table.
const MATRIX: usize = 16;
/// Classes up to which their names stand level above the table.
const FEW: usize = 5;
/// Confusions that are listed where there are more classes.
const CONFUSIONS: usize = 20;

/// What stands in the head of the page.
pub fn summary(report: &Report) -> Markup {
    let trained = match &report.made {
        Made::Trained(trained) => trained,
        Made::Imported(given) => return summary_of_import(report, given),
    };
    let config = &trained.config;
    let what = match &config.data {
        Some(folder) => format!("photos in {folder}"),
        None => "images that the program drew".into(),
    };
    let place = match &trained.environment {
        Some(environment) => {
            format!("{} ({}), {}", environment.adapter, environment.backend, environment.kernels_shown())
        }
        None => "not known".into(),
    };
    html! {
        p.lead {
            "Trained on " (count(config.train_images)) " " (what) ", then judged by "
            @match report.standing() {
                Some(standing) => { (count(standing.images)) " that it did not learn from: " (right(&standing)) }
                None => { "others; how many of them it gets right is not known." }
            }
        }
        dl.facts {
            (classes_and_network(report, &config.training.model))
            div { dt { "Trained" } dd { (trained.date) ", " (count(trained.metrics.len())) " of " (count(config.training.epochs)) " epochs; best: epoch " (report.best()) @if let Some(patience) = trained.stopped_early(report.best()) { "; stopped, as " (counted(patience, "epoch")) " after it brought nothing better" } } }
            div { dt { "Recipe" } dd { (recipe(&config.training)) } }
            div { dt { "On" } dd { (place) } }
        }
    }
}

/// The same of a network that was trained elsewhere.
fn summary_of_import(report: &Report, Given { imported, data, .. }: &Given) -> Markup {
    let Imported { imported: Source { file, sha256 }, model, preparation, .. } = imported;
    html! {
        p.lead {
            "Trained elsewhere. "
            @match report.standing() {
                Some(standing) => {
                    "Judged by " (counted(standing.images, "image")) @if let Some(data) = data { " of " (data) } ": " (right(&standing))
                }
                None => { "How many images it gets right is not known." }
            }
        }
        dl.facts {
            (classes_and_network(report, model))
            div { dt { "From" } dd { (name(file)) ", SHA-256 " code { (sha256) } } }
            div { dt { "Images" } dd { "prepared by " (preparation) } }
        }
    }
}

/// How many images it gets right, and how many always naming the commonest class would.
fn right(standing: &Standing) -> Markup {
    html! {
        strong { (percent(standing.accuracy())) " right" }
        " (" (standing.interval_in_words()) "). Always naming the commonest class "
        @match standing.baseline() {
            Some(baseline) => { "would get " strong { (percent(baseline)) } " right." }
            None => "may do as well: how many it would get right is not known.",
        }
    }
}

fn classes_and_network(report: &Report, model: &Architecture) -> Markup {
    html! {
        div { dt { "Classes" } dd { @for (number, class) in report.classes().iter().enumerate() { @if number > 0 { ", " } (name(class)) } } }
        div { dt { "Network" } dd { (network(report, model)) } }
    }
}

fn network(report: &Report, model: &Architecture) -> String {
    let network = &report.network;
    let channels: Vec<String> = network.blocks().iter().map(|block| block.output[0].to_string()).collect();
    let [_, height, width] = network.input();
    let known = model.known_as().map_or(String::new(), |name| format!("{name}: "));
    format!(
        "{known}{} blocks of {} channels, {} weights, {height} × {width} px",
        channels.len(),
        channels.join(", "),
        count(network.parameter_count())
    )
}

/// How it was trained, in words.
fn recipe(training: &Training) -> String {
    let Extras { label_smoothing, class_weights, clip_grad_norm, ema, .. } = &training.extras;
    let optimizer = match (training.optimizer, training.momentum) {
        (OptimizerName::Sgd, Some(momentum)) => format!("SGD with momentum {momentum}"),
        (OptimizerName::Sgd, None) => "SGD".into(),
        (OptimizerName::Adam, _) => "Adam".into(),
    };
    let decay = training.weight_decay;
    let more = [
        (decay > 0.0).then(|| format!("weight decay {decay}")),
        (*label_smoothing > 0.0).then(|| format!("label smoothing {label_smoothing}")),
        (*class_weights == ClassWeights::Balanced).then(|| "classes of equal weight".into()),
        clip_grad_norm.map(|most| format!("gradients of a norm of at most {most}")),
        ema.map(|decay| format!("averages of the weights with decay {decay}")),
    ];
    let first = format!(
        "{optimizer}, batches of {}, learning rate {} that {}",
        training.batch,
        training.lr,
        training.schedule_in_words()
    );
    let prepared = format!("images prepared by {}", training.preparation);
    let changed = format!("training images {}", training.augmentation().told());
    let all = [first].into_iter().chain(more.into_iter().flatten()).chain([prepared, changed]);
    all.collect::<Vec<_>>().join("; ")
}

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    html! {
        @match &report.made {
            Made::Trained(trained) => (epochs(report, trained)),
            Made::Imported(_) => p.note { "How it was trained, on what and for how long, is not known." },
        }
        h3 { "Which class was taken for which" }
        @match &report.looked {
            Ok(looked) => {
                (confusion(report.classes(), &looked.confusion))
                h3 { "Whether its probabilities mean what they say" }
                (calibration(&looked.calibration, looked.log_loss, log_loss_of_shares(&of_class(&looked.confusion))))
            }
            Err(why) => (report.unlooked("Not known", why)),
        }
    }
}

/// What became of the epochs, and of the files.
fn epochs(report: &Report, trained: &Trained) -> Markup {
    let extras = &trained.config.training.extras;
    html! {
        p {
            "Training loss and accuracy are measured while the weights move" @if report.network.drops() { " and dropout is on" } "; validation "
            "after each epoch, without that. "
            @if extras.ema.is_some() { "Validated and saved are averages of the weights over the steps. " }
            @if extras.has_other_loss() {
                "Both losses are the plain cross-entropy, without label smoothing and weights of classes, which training has in its own. "
            }
            "That is why validation can look better than training at first. The best weights, of epoch "
            (report.best()) ", were chosen by validation accuracy, which flatters that accuracy a little."
        }
        div.figures {
            @for (chart, caption) in curves(&trained.metrics, guessing(report)).iter().zip(captions(report, trained)) { (figure(chart, &caption)) }
        }
        h3 { "Data problems" }
        (rejected(trained))
    }
}

/// The share of validation images that always naming the commonest class gets right, where it is known.
fn guessing(report: &Report) -> Option<f64> {
    report.standing().and_then(|standing| standing.baseline())
}

/// Loss and accuracy by epoch. `guessing` is the share of validation images that always naming the commonest class gets right.
pub fn curves(metrics: &[EpochRecord], guessing: Option<f64>) -> [Chart; 2] {
    let loss = curve(metrics, ["loss", "mean loss"], None, |record| [record.train_loss, record.val_loss]);
    let accuracy =
        curve(metrics, ["accuracy", "% right"], guessing, |record| [100.0 * record.train_acc, 100.0 * record.val_acc]);
    [loss, accuracy]
}

fn curve(
    metrics: &[EpochRecord],
    [what, unit]: [&str; 2],
    guessing: Option<f64>,
    pick: fn(&EpochRecord) -> [f64; 2],
) -> Chart {
    let line = |name: &str, look, value: &dyn Fn(&EpochRecord) -> f64| Series {
        name: name.into(),
        points: metrics.iter().map(|record| (record.epoch as f64, value(record))).collect(),
        look,
    };
    let guesses = guessing.map(|share| line("always the commonest class", LineStyle::Dashed(4), &|_| 100.0 * share));
    let curves = [
        line("training", LineStyle::Dashed(1), &|record| pick(record)[0]),
        line("validation", LineStyle::Solid(0), &|record| pick(record)[1]),
    ];
    LineChart {
        label: &format!("{what} by epoch, in training and in validation"),
        x: "epoch",
        y: unit,
        whole: true,
        holds: Vec::new(),
        series: guesses.into_iter().chain(curves).collect(),
    }
    .draw()
}

/// What stands below them.
fn captions(report: &Report, trained: &Trained) -> [Markup; 2] {
    let best = trained.metrics.iter().find(|record| record.epoch == report.best());
    [
        html! {
            "Loss by epoch"
            @if let Some(best) = best { "; in validation " (plain(best.val_loss, 3)) " at the best epoch" } "."
        },
        html! {
            "Accuracy by epoch"
            @if let Some(best) = best { "; in validation " (percent(best.val_acc)) " at the best epoch" }
            @if let Some(share) = guessing(report) { ", where always naming the commonest class gets " (percent(share)) } "."
        },
    ]
}

fn rejected(trained: &Trained) -> Markup {
    let Some(rejected) = &trained.rejected else {
        return html! { p.missing { "Not known: the list of files that could not be used is damaged." } };
    };
    html! {
        @if trained.config.data.is_none() {
            p { "None: the images were drawn by the program." }
        } @else if rejected.is_empty() {
            p { "None: every file could be read." }
        } @else {
            p {
                (count(rejected.len())) " files could not be used and were left out"
                @if rejected.len() > NAMED { "; the first " (NAMED) " are listed, " code { "rejected.csv" } " has all" } "."
            }
            div.scroll {
                table {
                    thead { tr { th { "file" } th { "why" } } }
                    tbody { @for file in rejected.iter().take(NAMED) { tr { td { (name(&file.file)) } td { (file.reason) } } } }
                }
            }
        }
    }
}

/// How many images each class has.
fn of_class(confusion: &[Vec<usize>]) -> Vec<usize> {
    confusion.iter().map(|row| row.iter().sum()).collect()
}

/// `confusion[truth][predicted]` counts images. In the means, classes without images do not count.
pub(super) fn confusion(classes: &[String], confusion: &[Vec<usize>]) -> Markup {
    let counts = ClassCounts::of(confusion);
    let present: Vec<ClassCounts> = counts.iter().copied().filter(|counts| counts.actual > 0).collect();
    let matrix = classes.len() <= MATRIX;
    let shade = |truth: usize, predicted: usize| {
        let share = confusion[truth][predicted] as f64 / counts[truth].actual.max(1) as f64;
        format!("number shade-{}", (10.0 * share).round())
    };
    html! {
        div.scroll {
            table.confusion.many[matrix && classes.len() > FEW] {
                thead {
                    tr {
                        th scope="col" { "is ↓ taken for →" }
                        @if matrix { @for class in classes { th.number.class scope="col" { (name(class)) } } }
                        th.number scope="col" { "images" }
                        th.number scope="col" { "recall" }
                        th.number scope="col" { "precision" }
                        th.number scope="col" { "F1" }
                    }
                }
                tbody {
                    @for (truth, (class, counts)) in classes.iter().zip(&counts).enumerate() {
                        tr {
                            th scope="row" { (name(class)) }
                            @if matrix {
                                @for predicted in 0..classes.len() {
                                    td class=(shade(truth, predicted)) { (count(confusion[truth][predicted])) }
                                }
                            }
                            td.number { (count(counts.actual)) }
                            td.number { (share(counts.right, counts.actual)) }
                            td.number { (share(counts.right, counts.predicted)) }
                            td.number { @match counts.f1() { Some(f1) => (plain(f1, 3)), None => "–" } }
                        }
                    }
                    tr {
                        th scope="row" { "mean of the classes" }
                        @if matrix { td colspan=(classes.len()) {} }
                        td.number { (count(counts.iter().map(|counts| counts.actual).sum())) " in all" }
                        td.number { (percent(macro_mean(&present, ClassCounts::recall))) }
                        td.number { (percent(macro_mean(&present, ClassCounts::precision))) }
                        td.number { (plain(macro_mean(&present, ClassCounts::f1), 3)) }
                    }
                }
            }
        }
        @if !matrix { (most_frequent(classes, confusion)) }
        p.note {
            "Recall: the share of a class that is recognised. Precision: the share of what is taken for a class that belongs to it. F1: their "
            "harmonic mean, 1 at best. In grey 95 % intervals after Wilson, each for itself. In the means every class counts the same; a "
            "class that nothing was taken for has no precision and counts as 0, and one without images does not count."
        }
    }
}

/// A share with its interval; nothing of nothing.
fn share(part: usize, whole: usize) -> Markup {
    let (low, high) = wilson(part, whole, LEVEL);
    html! {
        @if whole == 0 { "–" } @else {
            (percent(part as f64 / whole as f64))
            " " span.control { (plain(100.0 * low, 1)) " to " (plain(100.0 * high, 1)) }
        }
    }
}

/// Whether probabilities mean what they say, in words.
pub fn calibration_in_words(calibration: &Calibration) -> String {
    let images: usize = calibration.bins.iter().map(|bin| bin.images).sum();
    let [by_chance, most] = [calibration.by_chance, calibration.most_by_chance].map(|share| plain(share, 3));
    if calibration.is_off() {
        let sure = if calibration.excess() > 0.0 { "too sure" } else { "not sure enough" };
        format!(
            "The network's probabilities are off: were they exact, the error would come out at {by_chance} on average and with 95 % \
             probability below {most}, by chance alone. All in all it is {sure}, by {} points.",
            plain(100.0 * calibration.excess().abs(), 1)
        )
    } else {
        format!(
            "It was not shown that the network's probabilities are off: were they exact, an error of {by_chance} on average, and up to \
             {most} with 95 % probability, would come of chance alone on {} images.",
            count(images)
        )
    }
}

/// Confidence against the share that is right, and the figures of the probabilities: the log-loss, and that of giving each class its
/// share of the images.
pub(super) fn calibration(calibration: &Calibration, log_loss: f64, of_shares: f64) -> Markup {
    let caption = html! {
        "Of the images that the network is so sure of, how many it gets right, in 15 bins of equal width, with 95 % intervals after Wilson. On the "
        "dashed line the two are the same. Below, how many images each bin has."
    };
    html! {
        div.figures {
            (figure(&reliability(calibration), &caption))
            div {
                dl.figures-of-answer {
                    div {
                        dd { (plain(calibration.error, 3)) }
                        dt { "expected calibration error (ECE): the mean distance between how sure the network is and how often it is right" }
                    }
                    div {
                        dd { (plain(log_loss, 3)) }
                        dt { "log-loss in nats; giving each class its share of the images would get " (plain(of_shares, 3)) }
                    }
                }
                p { (calibration_in_words(calibration)) }
                p.note {
                    "ECE after C. Guo et al. (ICML 2017): images are put in 15 bins of equal width by the largest probability; the mean over "
                    "images of the distance between accuracy and mean probability in the bin, 0 at best. What chance gives is found by drawing "
                    "every image's outcome 1,000 times with its own probability."
                }
            }
        }
    }
}

fn reliability(calibration: &Calibration) -> Chart {
    let row = |bin: &CalibrationBin| {
        let (low, high) = wilson(bin.right, bin.images, LEVEL);
        let middle = bin.right as f64 / bin.images as f64;
        bin.mean_confidence().map(|confidence| ReliabilityBin { images: bin.images, confidence, middle, low, high })
    };
    let label = "share of images that are right, by how sure the network is";
    Reliability { label, bins: calibration.bins.iter().filter_map(row).collect() }.draw()
}

fn most_frequent(classes: &[String], confusion: &[Vec<usize>]) -> Markup {
    let mut all: Vec<(usize, &str, &str)> = Vec::new();
    for (truth, row) in confusion.iter().enumerate() {
        for (predicted, &times) in row.iter().enumerate() {
            if truth != predicted && times > 0 {
                all.push((times, &classes[truth], &classes[predicted]));
            }
        }
    }
    all.sort_by_key(|(times, ..)| Reverse(*times));
    html! {
        p { "The most frequent confusions:" }
        ul { @for (times, truth, predicted) in all.iter().take(CONFUSIONS) { li { (name(truth)) " taken for " (name(predicted)) ": " (count(*times)) } } }
    }
}

impl Trained {
    /// The epoch of the best weights, as their file says. Where there is none, the epoch of the highest validation accuracy, and of
    /// equal ones the lowest loss.
    fn best(&self) -> usize {
        let order = |a: &&EpochRecord, b: &&EpochRecord| {
            a.val_acc.total_cmp(&b.val_acc).then(b.val_loss.total_cmp(&a.val_loss)).then(b.epoch.cmp(&a.epoch))
        };
        self.kept[0].unwrap_or_else(|| self.metrics.iter().max_by(order).map_or(0, |record| record.epoch))
    }

    /// How many epochs were no better than the best when training stopped for that, if it did.
    fn stopped_early(&self, best: usize) -> Option<usize> {
        let training = &self.config.training;
        let after = self.metrics.len().checked_sub(best)?;
        training.extras.patience.filter(|patience| *patience == after && self.metrics.len() < training.epochs)
    }

    /// Where metrics and weights speak of different epochs, as after a stop between the two.
    fn disagreements(&self) -> Vec<String> {
        let last_line = self.metrics.iter().map(|record| record.epoch).max().unwrap_or(0);
        let mut problems = Vec::new();
        if let Some(best) = self.kept[0]
            && !self.metrics.iter().any(|record| record.epoch == best)
        {
            let file = Which::Best.file();
            problems.push(format!("{file} has the weights of epoch {best}, of which metrics.csv has no line."));
        }
        if let Some(last) = self.kept[1]
            && last != last_line
        {
            let file = Which::Last.file();
            problems
                .push(format!("{file} has the weights of epoch {last}, but metrics.csv ends with epoch {last_line}."));
        }
        if !problems.is_empty() {
            problems.push("The run was stopped, or its files are of different runs.".into());
        }
        problems
    }
}

impl Report {
    /// The epoch of the best weights; 0 where a network from elsewhere does not tell it.
    pub(super) fn best(&self) -> usize {
        match &self.made {
            Made::Trained(trained) => trained.best(),
            Made::Imported(given) => given.epoch,
        }
    }

    /// Where metrics and weights speak of different epochs, as after a stop between the two.
    pub fn disagreements(&self) -> Vec<String> {
        match &self.made {
            Made::Trained(trained) => trained.disagreements(),
            Made::Imported(_) => Vec::new(),
        }
    }

    /// How the best weights do beside guessing: counted now, or else as training recorded.
    pub fn standing(&self) -> Option<Standing> {
        // Images that were given did not choose among epochs.
        let epochs = match &self.made {
            Made::Trained(trained) => trained.metrics.len(),
            Made::Imported(_) => 1,
        };
        match &self.looked {
            Ok(looked) => Standing::of_confusion(&looked.confusion, epochs),
            Err(_) => self.recorded(self.best(), Some(Which::Best)),
        }
    }

    /// How weights of an epoch did in training, where that is on record.
    pub(super) fn recorded(&self, epoch: usize, which: Option<Which>) -> Option<Standing> {
        match &self.made {
            Made::Trained(trained) => Standing::recorded(&trained.config, &trained.metrics, epoch, which?),
            Made::Imported(_) => None,
        }
    }
}
