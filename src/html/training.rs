//! What was trained on what, the curves, data problems and the confusion matrix.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::chart::{LineChart, Look, Series};
use super::words::{count, name, percent, plain};
use super::{LEVEL, Report, figure, missing};
use crate::stats::wilson;
use crate::train::EpochRecord;

/// Rejected files that are named.
const NAMED: usize = 20;
/// Classes up to which all confusions are a table.
const MATRIX: usize = 16;
/// Confusions that are listed where there are more classes.
const CONFUSIONS: usize = 20;

/// What stands in the head of the page.
pub fn summary(report: &Report) -> Markup {
    let config = &report.config;
    let (right, of) = report.right();
    let (low, high) = wilson(right, of, LEVEL);
    let what = match &config.data {
        Some(folder) => format!("photos in {folder}"),
        None => "pictures that the program drew".into(),
    };
    let environment = &report.environment;
    html! {
        p.lead {
            "Trained on " (count(config.train_pictures)) " " (what) ", then judged by " (count(of))
            " that it did not learn from: " strong { (percent(right as f64 / of.max(1) as f64)) " right" }
            " (95 % interval " (percent(low)) " to " (percent(high)) ")."
        }
        dl.facts {
            div { dt { "Classes" } dd { @for (number, class) in config.classes.iter().enumerate() { @if number > 0 { ", " } (name(class)) } } }
            div { dt { "Network" } dd { (network(report)) } }
            div { dt { "Trained" } dd { (report.date) ", " (count(report.metrics.len())) " of " (count(config.training.epochs)) " epochs; best: epoch " (report.best()) } }
            div { dt { "On" } dd { (environment.adapter) " (" (environment.backend) "), " (environment.kernels) " kernels" } }
        }
    }
}

fn network(report: &Report) -> String {
    let model = &report.config.training.model;
    let channels: Vec<String> = model.channels.iter().map(usize::to_string).collect();
    let [_, height, width] = model.input;
    format!(
        "{} blocks of {} channels, {} weights, {height} × {width} px",
        channels.len(),
        channels.join(", "),
        count(model.parameter_count())
    )
}

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    html! {
        p {
            "Training loss and accuracy are measured while the weights move and channels are dropped at random; validation "
            "after each epoch, with neither. That is why validation can look better than training at first. The best weights, of epoch "
            (report.best()) ", were chosen by validation accuracy, which flatters that accuracy a little."
        }
        div.figures {
            (curve(report, "loss", "mean loss", |record| (record.train_loss, record.val_loss)))
            (curve(report, "accuracy", "% right", |record| (100.0 * record.train_acc, 100.0 * record.val_acc)))
        }
        h3 { "Data problems" }
        (rejected(report))
        h3 { "Which class was taken for which" }
        @match &report.looked {
            Ok(looked) => (confusion(&report.config.classes, &looked.confusion)),
            Err(reason) => (missing(&format!("Not known: {reason}."), &format!("convscope report {} --data DIR", report.typed()))),
        }
    }
}

fn curve(report: &Report, what: &str, unit: &str, pick: fn(&EpochRecord) -> (f64, f64)) -> Markup {
    let points = |side: fn((f64, f64)) -> f64| {
        report.metrics.iter().map(|record| (record.epoch as f64, side(pick(record)))).collect::<Vec<_>>()
    };
    let series = |name: &str, points, look| Series { name: name.into(), points, look };
    let chart = LineChart {
        label: &format!("{what} by epoch, in training and in validation"),
        x: "epoch",
        y: unit,
        whole: true,
        holds: Vec::new(),
        series: vec![
            series("training, dropout on", points(|pair| pair.0), Look::Dashed(1)),
            series("validation", points(|pair| pair.1), Look::Solid(0)),
        ],
    };
    let best = report.metrics.iter().find(|record| record.epoch == report.best()).map(|record| pick(record).1);
    let best = best.map(|best| if what == "loss" { plain(best, 3) } else { percent(best / 100.0) });
    let caption = html! {
        (what[..1].to_uppercase()) (what[1..]) " by epoch"
        @if let Some(best) = best { "; in validation " (best) " at the best epoch" } "."
    };
    figure(&chart.draw(), &caption)
}

fn rejected(report: &Report) -> Markup {
    let rejected = &report.rejected;
    html! {
        @if report.config.data.is_none() {
            p { "None: the pictures were drawn by the program." }
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

/// `confusion[truth][predicted]` counts pictures.
fn confusion(classes: &[String], confusion: &[Vec<usize>]) -> Markup {
    let total = |truth: usize| confusion[truth].iter().sum::<usize>();
    let shade = |truth: usize, predicted: usize| {
        let share = confusion[truth][predicted] as f64 / total(truth).max(1) as f64;
        format!("number shade-{}", (10.0 * share).round())
    };
    html! {
        div.scroll {
            table.confusion {
                thead {
                    tr {
                        th scope="col" { "is ↓ taken for →" }
                        @if classes.len() <= MATRIX { @for class in classes { th.number scope="col" { (name(class)) } } }
                        th.number scope="col" { "pictures" }
                        th.number scope="col" { "recall" }
                        th.number scope="col" { "95 % interval" }
                    }
                }
                tbody {
                    @for (truth, class) in classes.iter().enumerate() {
                        @let (right, of) = (confusion[truth][truth], total(truth));
                        @let (low, high) = wilson(right, of, LEVEL);
                        tr {
                            th scope="row" { (name(class)) }
                            @if classes.len() <= MATRIX {
                                @for predicted in 0..classes.len() {
                                    td class=(shade(truth, predicted)) { (count(confusion[truth][predicted])) }
                                }
                            }
                            td.number { (count(of)) }
                            td.number { @if of > 0 { (percent(right as f64 / of as f64)) } @else { "–" } }
                            td.number { (percent(low)) " to " (percent(high)) }
                        }
                    }
                }
            }
        }
        @if classes.len() > MATRIX { (most_frequent(classes, confusion)) }
        p.note { "Recall: the share of a class that is recognised. Intervals after Wilson, each for itself." }
    }
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

impl Report {
    /// The epoch of the best weights: the highest validation accuracy, and of equal ones the lowest loss.
    pub(super) fn best(&self) -> usize {
        let order = |a: &&EpochRecord, b: &&EpochRecord| {
            a.val_acc.total_cmp(&b.val_acc).then(b.val_loss.total_cmp(&a.val_loss)).then(b.epoch.cmp(&a.epoch))
        };
        self.metrics.iter().max_by(order).map_or(0, |record| record.epoch)
    }

    /// Validation pictures that the best weights get right, and all of them: counted now, or else as training recorded.
    pub(super) fn right(&self) -> (usize, usize) {
        match &self.looked {
            Ok(looked) => {
                let right = (0..looked.confusion.len()).map(|class| looked.confusion[class][class]).sum();
                (right, looked.confusion.iter().flatten().sum())
            }
            Err(_) => {
                let of = self.config.val_pictures;
                let best = self.metrics.iter().find(|record| record.epoch == self.best());
                (best.map_or(0, |record| (record.val_acc * of as f64).round() as usize).min(of), of)
            }
        }
    }
}
