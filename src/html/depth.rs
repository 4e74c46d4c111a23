//! The study of how many blocks are enough, as `depth` leaves it in `depth.json` and `test.json`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use maud::{Markup, html};
use serde::Deserialize;

use super::chart::{Chart, Forest, ForestRow, LineChart, Look, Series};
use super::words::{count, p_value, plain, signed};
use super::{Report, figure, missing, newest, read_json};
use crate::cli::{Config, quoted};
use crate::spec::Spec;

/// The study's file.
const DEPTH: &str = "depth.json";
/// What its locked test set said.
const TEST: &str = "test.json";

/// What the page tells of a study; percentages and percentage points.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DepthStudy {
    study: Study,
    reference: String,
    answer: String,
    conclusive: bool,
    chance_error: f64,
    /// The answer in words.
    pub words: String,
    rungs: Vec<Rung>,
    one_standard_error: Option<OneStandardError>,
    #[serde(skip)]
    test: Option<TestLook>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Study {
    identity: Identity,
    classes: Vec<String>,
    dev_pictures: usize,
    test_pictures: usize,
    duplicates: usize,
    contradictory: usize,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Identity {
    settings: Settings,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    folds: usize,
    repeats: usize,
    margin: f64,
    epochs: usize,
    model: Option<Spec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Rung {
    name: String,
    blocks: usize,
    left_out: Option<usize>,
    parameters: usize,
    receptive_field: usize,
    stopped_early: bool,
    errors: Vec<f64>,
    mean_error: f64,
    error_interval: (f64, f64),
    log_loss: f64,
    comparison: Option<Comparison>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Comparison {
    mean: f64,
    upper_bound: f64,
    interval: (f64, f64),
    p_difference: f64,
    decision: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct OneStandardError {
    choice: String,
    note: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TestLook {
    pictures: usize,
    networks: Vec<Network>,
    comparisons: Vec<Pair>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    rung: String,
    refit: usize,
    error: f64,
    error_interval: (f64, f64),
    calibration_error: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Pair {
    refit: usize,
    only_chosen_right: usize,
    only_reference_right: usize,
    mid_p: f64,
}

impl DepthStudy {
    /// The study in `folder`, or else one in the run's folder or beside it that is about the run's network and classes.
    pub(super) fn find(run: &Path, folder: Option<&Path>, config: &Config) -> Result<Option<(PathBuf, Self)>> {
        if let Some(folder) = folder {
            let study = Self::read(folder).with_context(|| {
                format!("--depth {}: expected the folder of a finished study of `convscope depth`", folder.display())
            })?;
            return Ok(Some((folder.to_path_buf(), study)));
        }
        let places = [Some(run), run.parent()].into_iter().flatten();
        let found = places.filter_map(|place| newest(place, "depth", DEPTH));
        let mut usable = found.filter_map(|folder| Some((Self::read(&folder).ok()?, folder)));
        Ok(usable.find(|(study, _)| study.fits(config)).map(|(study, folder)| (folder, study)))
    }

    fn read(folder: &Path) -> Result<Self> {
        let mut study: Self = read_json(&folder.join(DEPTH))?;
        study.test = folder.join(TEST).is_file().then(|| read_json(&folder.join(TEST))).transpose()?;
        Ok(study)
    }

    /// Whether it is about a run's network and classes.
    pub(super) fn fits(&self, config: &Config) -> bool {
        self.study.classes == config.classes && self.study.identity.settings.model.as_ref() == Some(&config.model)
    }

    fn rung(&self, name: &str) -> Option<&Rung> {
        self.rungs.iter().find(|rung| rung.name == name)
    }

    /// The answer in a sentence.
    pub(super) fn in_short(&self) -> String {
        let (Some(answer), Some(reference)) = (self.rung(&self.answer), self.rung(&self.reference)) else {
            return "The study has no answer.".into();
        };
        let all = reference.blocks;
        match answer.left_out {
            _ if !self.conclusive => "Undecided: the network of the study was not shown to beat guessing.".into(),
            _ if self.answer == self.reference => {
                format!("All {all}, as far as is shown: no smaller network was shown to be good enough.")
            }
            Some(block) => format!("{} of {all}: block {block} can be left out.", answer.blocks),
            None => format!("{} of {all} blocks are enough.", answer.blocks),
        }
    }

    /// The figures behind the answer.
    pub(super) fn figures(&self) -> Vec<(String, String)> {
        let settings = &self.study.identity.settings;
        let mut figures = Vec::new();
        let mut names = vec![&self.answer, &self.reference];
        names.dedup();
        for rung in names.into_iter().filter_map(|name| self.rung(name)) {
            let (low, high) = rung.error_interval;
            figures.push((
                format!("{} %", plain(rung.mean_error, 1)),
                format!("error of {} ({} to {})", rung.words(), plain(low.max(0.0), 1), plain(high.min(100.0), 1)),
            ));
        }
        if let Some(comparison) = self.rung(&self.answer).and_then(|rung| rung.comparison.as_ref()) {
            figures.push((
                format!("≤ {} points", signed(comparison.upper_bound, 2)),
                format!("lost against the reference, with 95 % confidence; the margin was {}", settings.margin),
            ));
        }
        figures.push((
            format!("{} × {}", settings.folds, settings.repeats),
            format!("folds and repeats of cross-validation on {} pictures", count(self.study.dev_pictures)),
        ));
        figures
    }

    fn forest(&self) -> Chart {
        let margin = self.study.identity.settings.margin;
        let row = |rung: &Rung| {
            let Comparison { mean, interval: (low, high), ref decision, .. } = *rung.comparison.as_ref()?;
            let tone = usize::from(decision != "sufficient");
            Some(ForestRow { name: rung.short(), middle: mean, low, high, tone })
        };
        Forest {
            label: "error of smaller networks less that of the reference",
            axis: "points more error",
            rows: self.rungs.iter().filter_map(row).collect(),
            marks: vec![(0.0, ""), (margin, "margin")],
            digits: 2,
        }
        .draw()
    }

    /// Error by network, one thin line a fold.
    fn paired(&self) -> Chart {
        let mut rungs: Vec<&Rung> = self.rungs.iter().collect();
        rungs.reverse();
        let place =
            |number: usize, rung: &Rung| if rung.left_out.is_some() { number as f64 + 1.0 } else { rung.blocks as f64 };
        let folds = rungs.iter().map(|rung| rung.errors.len()).max().unwrap_or(0);
        let line = |points: Vec<(f64, f64)>, name: &str, look| Series { name: name.into(), points, look };
        let mut series: Vec<Series> = (0..folds)
            .map(|fold| {
                let point = |(number, rung): (usize, &&Rung)| Some((place(number, rung), *rung.errors.get(fold)?));
                line(
                    rungs.iter().enumerate().filter_map(point).collect(),
                    if fold == 0 { "one fold" } else { "" },
                    Look::Thin,
                )
            })
            .collect();
        let mean = rungs.iter().enumerate().map(|(number, rung)| (place(number, rung), rung.mean_error));
        series.push(line(mean.collect(), "mean", Look::Solid(0)));
        let dropped = self.rungs.iter().any(|rung| rung.left_out.is_some());
        let x = if dropped { "network, in the table's order from below" } else { "blocks" };
        LineChart { label: "error by number of blocks", x, y: "% wrong", whole: true, holds: Vec::new(), series }.draw()
    }
}

impl Rung {
    /// In a sentence.
    fn words(&self) -> String {
        match self.left_out {
            Some(block) => format!("the network without block {block}"),
            None => format!("{} block{}", self.blocks, if self.blocks == 1 { "" } else { "s" }),
        }
    }

    /// In a row.
    fn short(&self) -> String {
        match self.left_out {
            Some(block) => format!("without block {block}"),
            None => self.words(),
        }
    }
}

/// The command that makes a study for a run; like the one that was found, if there is one.
pub fn command(report: &Report) -> String {
    let data = report.config.data.as_ref().map(|data| format!(" --data {}", quoted(data))).unwrap_or_default();
    let like = report.depth.as_ref().map(|(folder, study)| {
        let Settings { folds, repeats, margin, epochs, .. } = &study.study.identity.settings;
        let out = quoted(&folder.display().to_string());
        format!(" --epochs {epochs} --folds {folds} --repeats {repeats} --margin {margin} --out {out}")
    });
    format!("convscope depth{data}{}", like.unwrap_or_default())
}

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    let Some((folder, study)) = &report.depth else {
        return missing(
            "Whether fewer blocks would do as well is not known: that takes networks trained anew, cross-validated.",
            &format!("{} --out DIR, then convscope report {} --depth DIR", command(report), report.typed()),
        );
    };
    let Study { identity: Identity { settings }, dev_pictures, test_pictures, duplicates, contradictory, .. } =
        &study.study;
    html! {
        p {
            "The study in " (folder.display().to_string()) " trained every network anew on " (settings.folds) " folds, "
            (settings.repeats) " times over, of " (count(*dev_pictures)) " pictures, for " (settings.epochs)
            " epochs each, and kept " (count(*test_pictures)) " apart. All networks learn from and are judged by the same folds."
            @if duplicates + contradictory > 0 { " " (count(duplicates + contradictory)) " doubles were left out." }
            " Always naming the commonest class errs on " (plain(study.chance_error, 1)) " %."
        }
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "network" }
                        th.number scope="col" { "weights" }
                        th.number scope="col" { "sees" }
                        th.number scope="col" { "error" }
                        th.number scope="col" { "95 % interval" }
                        th.number scope="col" { "log-loss" }
                        th.number scope="col" { "difference" }
                        th.number scope="col" { "95 % interval" }
                        th.number scope="col" { "at most" }
                        th scope="col" { "decision" }
                    }
                }
                tbody { @for rung in &study.rungs { (row(rung)) } }
            }
        }
        div.figures {
            (figure(&study.forest(), &html! {
                "Error less that of the reference on the same folds, with corrected 95 % intervals. A network is enough if, with 95 % confidence, it lies left of the margin of "
                (settings.margin) " (one-sided bound, “at most” in the table); the search goes from the deepest down and stops at the first that is not."
            }))
            (figure(&study.paired(), &html! { "Error of each network on each fold; a thin line joins the same fold." }))
        }
        @if let Some(rule) = &study.one_standard_error {
            p.note { "The one-standard-error rule would choose " (rule.choice) ": " (rule.note) "." }
        }
        @if let Some(test) = &study.test { (locked(study, test)) } @else { p.note { "The locked test set has not been looked at." } }
    }
}

fn row(rung: &Rung) -> Markup {
    let interval = |(low, high): (f64, f64), digits| format!("{} to {}", plain(low, digits), plain(high, digits));
    let (low, high) = rung.error_interval;
    html! {
        tr {
            th scope="row" { (rung.short()) }
            td.number { (count(rung.parameters)) }
            td.number { (rung.receptive_field) " px" }
            td.number { (plain(rung.mean_error, 1)) " %" }
            td.number { (interval((low.max(0.0), high.min(100.0)), 1)) }
            td.number { (plain(rung.log_loss, 3)) }
            @match &rung.comparison {
                Some(comparison) => {
                    td.number { (signed(comparison.mean, 2)) }
                    td.number { (interval(comparison.interval, 2)) " " span.control { (p_value(comparison.p_difference)) } }
                    td.number { (signed(comparison.upper_bound, 2)) }
                    td { (comparison.decision) @if rung.stopped_early { ", stopped early" } }
                }
                None => { td.number { "–" } td.number { "–" } td.number { "–" } td { "reference" } }
            }
        }
    }
}

fn locked(study: &DepthStudy, test: &TestLook) -> Markup {
    html! {
        h3 { "The one look at the test set" }
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "network" }
                        th.number scope="col" { "trained anew" }
                        th.number scope="col" { "error" }
                        th.number scope="col" { "95 % interval" }
                        th.number scope="col" { "calibration error" }
                    }
                }
                tbody {
                    @for network in &test.networks {
                        tr {
                            th scope="row" { (study.rung(&network.rung).map_or(network.rung.clone(), Rung::short)) }
                            td.number { (network.refit) }
                            td.number { (plain(network.error, 1)) " %" }
                            td.number { (plain(network.error_interval.0, 1)) " to " (plain(network.error_interval.1, 1)) }
                            td.number { (plain(network.calibration_error, 3)) }
                        }
                    }
                }
            }
        }
        p.note {
            (count(test.pictures)) " pictures that no decision was made with."
            @for pair in &test.comparisons {
                " Refit " (pair.refit) ": only the chosen network right " (pair.only_chosen_right) ", only the reference right "
                (pair.only_reference_right) ", McNemar's mid-" (p_value(pair.mid_p)) "."
            }
        }
    }
}
