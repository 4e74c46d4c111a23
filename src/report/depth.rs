//! The study of how many blocks are enough, as `depth` leaves it in `depth.json` and `test.json`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use maud::{Markup, html};

use super::answers::answer;
use super::{Made, Report, document, figure, missing, usable};
use crate::cli::train_command;
use crate::figures::words::{count, p_value, plain, signed};
use crate::figures::{Chart, Forest, ForestRow, LineChart, LineStyle, Series};
use crate::nn::Architecture;
use crate::reading::newest;
use crate::study::findings::{DEPTH_FILE, Decision, Difference, ErrorEstimate, Findings, Row};
use crate::study::reading;
use crate::study::test_look::TestLook;
use crate::study::words::FAILURE;
use crate::study::{Ladder, Settings, Study};
use crate::terminal::quoted;
use crate::train::Config;
use crate::train::Run;

/// The question that it answers.
const QUESTION: &str = "How many layers are enough?";

/// The options that say how a run's learning rate changes.
const OF_SCHEDULE: [&str; 4] = ["schedule", "warmup", "step-every", "step-factor"];

/// What is said of a network that was trained elsewhere.
const NO_RECIPE: &str = "How this network was trained is not known, so no study can train smaller ones as it was.";

/// What is said of a network that nothing can be left out of.
const ONE_BLOCK: &str = "There is one block, and nothing to leave out.";

/// A study as the page tells it.
pub struct DepthStudy {
    /// Its folder.
    pub folder: PathBuf,
    findings: Findings,
    test: Option<TestLook>,
}

impl DepthStudy {
    /// Reads a finished study.
    ///
    /// # Errors
    /// When a file is not there or cannot be used.
    pub fn read(folder: &Path) -> Result<Self> {
        let findings = reading::findings(folder)?;
        let test = reading::test_look(folder, &findings.study)?;
        Ok(Self { folder: folder.to_path_buf(), findings, test })
    }

    /// The study in `folder`, or else one in the run's folder or beside it that is about the run's network and classes. Of these,
    /// the damaged ones are named.
    pub(super) fn find(run: &Run, folder: Option<&Path>, damaged: &mut Vec<String>) -> Result<Option<Self>> {
        let config = match run.config() {
            Ok(config) => config,
            Err(_) if folder.is_none() => return Ok(None),
            Err(error) => {
                return Err(
                    error.context("--depth: a study is held against how the run was trained; leave the option out")
                );
            }
        };
        if let Some(folder) = folder {
            let study = Self::read(folder).with_context(|| {
                format!("--depth {}: expected the folder of a finished study of `convscope depth`", folder.display())
            })?;
            return Ok(Some(study));
        }
        // The run may be given without its parent, as in `report 001`.
        let beside = std::path::absolute(run.folder()).ok().and_then(|run| Some(run.parent()?.to_path_buf()));
        let places = std::iter::once(run.folder().to_path_buf()).chain(beside);
        let found = places.filter_map(|place| newest(&place, "depth", DEPTH_FILE));
        let mut undamaged = found.filter_map(|folder| usable(Self::read(&folder), damaged));
        Ok(undamaged.find(|study| study.fits(config)))
    }

    /// Whether it is about a run's network, whole, about its classes and its images.
    fn fits(&self, config: &Config) -> bool {
        let Study { classes, photos, .. } = &self.findings.study;
        let same_network = self.is_whole() && self.settings().training.model == config.training.model;
        same_network && *classes == config.classes && *photos == config.data
    }

    /// What the reader of a run's page must know of the study: that it trains otherwise, and how.
    pub fn note(&self, config: &Config) -> String {
        let differences = self.differences(config).join("; ");
        if self.fits(config) {
            format!(
                "The study trains its networks by another recipe than this run, and its answer holds for its own: {differences}."
            )
        } else {
            format!(
                "The study is about another network, other classes or another folder of images than this run, and so is its \
                 answer: {differences}."
            )
        }
    }

    /// What differs from a run, the study's side first. Weights and number of images always do.
    fn differences(&self, config: &Config) -> Vec<String> {
        let Study { classes, photos, dev_images, .. } = &self.findings.study;
        let Settings { training, folds, depths, .. } = self.settings();
        let images = |folder: &Option<String>| folder.clone().unwrap_or_else(|| "drawn by the program".into());
        let mut sides = vec![
            ("classes", classes.join(", "), config.classes.join(", ")),
            ("images", images(photos), images(&config.data)),
        ];
        sides.retain(|(_, study, run)| study != run);
        // The schedule of a study is its own.
        let options = training.differences(&config.training);
        sides.extend(options.into_iter().filter(|(option, ..)| !OF_SCHEDULE.contains(option)));
        if let Some(reference) = depths.last().filter(|_| !self.is_whole()) {
            sides.push((
                "blocks of the reference",
                reference.to_string(),
                config.training.model.blocks().unwrap_or_default().to_string(),
            ));
        }
        let learned = format!("about {}", count(dev_images * (folds - 1) / folds));
        let run = [
            (
                "learning rate over the epochs",
                "falls to zero along a cosine".into(),
                config.training.schedule_in_words(),
            ),
            ("weights that count", "of the last epoch".into(), "of the best epoch".into()),
            ("images to learn from", learned, count(config.train_images)),
        ];
        let told = |(what, study, run): (&str, String, String)| format!("{what}: {study}, in the run {run}");
        sides.into_iter().chain(run.into_iter().filter(|(_, study, run)| study != run)).map(told).collect()
    }

    /// Whether its reference is the whole network.
    fn is_whole(&self) -> bool {
        let Settings { ladder, depths, training, .. } = self.settings();
        *ladder == Ladder::Drop || depths.last() == training.model.blocks().as_ref().ok()
    }

    /// How many blocks its largest network has.
    fn blocks(&self) -> usize {
        self.findings.candidates.iter().map(|candidate| candidate.blocks).max().unwrap_or_default()
    }

    fn settings(&self) -> &Settings {
        &self.findings.study.identity.settings
    }

    fn candidate(&self, name: &str) -> Option<&Row> {
        self.findings.candidates.iter().find(|candidate| candidate.name == name)
    }

    /// The page of the study alone.
    pub fn page(&self) -> String {
        let Study { classes, .. } = &self.findings.study;
        let training = &self.settings().training;
        let all = self.blocks();
        let title = match (self.settings().ladder, classes.as_slice()) {
            (Ladder::Truncate, [one, other]) => format!("How many of {all} blocks it takes to tell {one} from {other}"),
            (Ladder::Truncate, classes) => {
                format!("How many of {all} blocks it takes to tell {} classes apart", classes.len())
            }
            (Ladder::Drop, _) => format!("Which of {all} blocks can be left out"),
        };
        let [_, height, width] = training.model.input();
        // The first blocks of a network of another shape cannot be asked for by options.
        let reference = self.settings().reference().ok();
        let again = reference.filter(|reference| matches!(reference.model, Architecture::Strided(_)));
        let again = again.as_ref().unwrap_or(training);
        let body = html! {
            header {
                p.over { "convscope depth study · " (self.folder.display().to_string()) }
                h1 { (title) }
                dl.facts {
                    div { dt { "Classes" } dd { (classes.join(", ")) } }
                    div { dt { "Images" } dd { (self.images()) ", " (height) " × " (width) " px" } }
                    div { dt { "Networks" } dd { (self.findings.candidates.len()) ", of up to " (all) " blocks" } }
                    div { dt { "Trained" } dd { (training.epochs) " epochs each, batches of " (training.batch) } }
                }
            }
            section #answers aria-label="The question and its answer" { (self.answer(None)) }
            section #depth { h2 { "The study" } (self.part()) }
            section #limits {
                h2 { "Limits, and how to make it again" }
                ul {
                    li { "One recipe of training: with more epochs or another learning rate the networks may come to stand in another order." }
                    @if self.settings().ladder == Ladder::Truncate { li { "More than " (all) " blocks were not tried." } }
                    li { "One set of images. Equal images are used once, but near doubles, such as two photos of one scene, are not found." }
                    li { "The corrected intervals are a little too wide rather than too narrow; they take the images to be a fair sample." }
                    li { "What the maps of one network tell and whether its last layers are needed is not asked here: train one, measure its layers and put this study on its page with the commands below." }
                }
                h3 { "The commands" }
                @let Study { photos, folders, .. } = &self.findings.study;
                pre { code {
                    (self.command()) "\n"
                    (train_command(photos.as_deref(), folders, again)) " --out RUN\n"
                    "convscope layers --run RUN\n"
                    "convscope report RUN --depth " (quoted(&self.folder.display().to_string()))
                } }
            }
        };
        document(&title, &body)
    }

    /// What it cannot tell.
    pub(super) fn limits(&self) -> String {
        format!("{FAILURE} {}", self.findings.limits())
    }

    fn images(&self) -> String {
        let Study { dev_images, test_images, .. } = self.findings.study;
        format!("{} cross-validated, {} for the last look", count(dev_images), count(test_images))
    }

    /// The question and the answer; `of` is the run on whose page it stands, if it does.
    pub(super) fn answer(&self, of: Option<&Config>) -> Markup {
        let text = html! {
            p { (self.findings.details()) }
            @if let Some(config) = of { p.note { (self.note(config)) } }
        };
        let foreign = of.is_some_and(|config| !self.fits(config));
        let about = if foreign { "Not about this network: a study of others says: " } else { "" };
        answer(QUESTION, &format!("{about}{}", self.findings.headline()), &self.figures(), &text)
    }

    /// The figures behind the answer.
    fn figures(&self) -> Vec<(String, String)> {
        let Settings { folds, repeats, margin, .. } = self.settings();
        let mut figures = Vec::new();
        let mut names = vec![&self.findings.answer, &self.findings.reference];
        names.dedup();
        for candidate in names.into_iter().filter_map(|name| self.candidate(name)) {
            let Some(ErrorEstimate { mean_error, error_interval: (low, high), .. }) = candidate.estimate else {
                continue;
            };
            figures.push((
                format!("{} %", plain(mean_error, 1)),
                format!(
                    "error of {} ({} to {})",
                    candidate.describe(),
                    plain(low.max(0.0), 1),
                    plain(high.min(100.0), 1)
                ),
            ));
        }
        match self.candidate(&self.findings.answer).and_then(difference) {
            Some(Difference { mean, .. }) => figures.push((
                format!("{} points", signed(mean, 2)),
                format!(
                    "more error than the reference, by what it was accepted for, which flatters a little; shown to be less than the \
                     margin of {margin}, with 95 % confidence"
                ),
            )),
            None => figures.extend(self.closest(*margin)),
        }
        figures.push((
            format!("{folds} × {repeats}"),
            format!("folds and repeats of cross-validation on {} images", count(self.findings.study.dev_images)),
        ));
        figures
    }

    /// Where no smaller network was enough, what is known of the largest of them.
    fn closest(&self, margin: f64) -> Option<(String, String)> {
        let candidate = self.findings.candidates.get(1)?;
        let name = candidate.describe();
        if let Some(stopped) = self.findings.stopped_in_short(candidate) {
            return Some((
                "No estimate".into(),
                format!("of what {name} would lose: {stopped}; the margin was {margin}"),
            ));
        }
        let Difference { mean, upper_bound, .. } = difference(candidate)?;
        let label = format!(
            "lost by {name} against the reference, at most {} with 95 % confidence; the margin was {margin}",
            signed(upper_bound, 2)
        );
        Some((format!("{} points", signed(mean, 2)), label))
    }

    /// The figures: the name of each, its drawing and what it shows.
    pub fn charts(&self) -> Vec<(&'static str, Chart, String)> {
        let margin = self.settings().margin;
        let mut charts = vec![
            (
                "difference",
                self.forest(),
                format!(
                    "Error less that of the reference on the same folds, with corrected 95 % intervals. A network is enough if the \
                     one-sided 95 % bound, “at most” in the table and a little left of the interval's end, lies left of the margin of \
                     {margin}, and its own error is shown to be below that of always naming the commonest class; {}.",
                    match self.settings().ladder {
                        Ladder::Truncate => "the search goes from the deepest down and stops at the first that is not",
                        Ladder::Drop => "as several are tested at once, Holm's method makes each harder to pass",
                    }
                ),
            ),
            (
                "error",
                self.paired(),
                "Error of each network on each fold; a thin line joins the same fold. A network that was stopped early has the folds \
                 of the first repeat and no mean."
                    .into(),
            ),
        ];
        if self.findings.candidates.iter().all(|candidate| !candidate.train_loss.is_empty()) {
            let caption = "Training loss by epoch, its mean over the folds that were scored (of the first repeat where a network was \
                           stopped early), measured in training mode, while the weights move. A curve that still falls at its end \
                           asks for more epochs.";
            charts.push(("learning", self.learning(), caption.into()));
        }
        charts
    }

    fn learning(&self) -> Chart {
        let series = self.findings.candidates.iter().enumerate().map(|(number, candidate)| Series {
            name: if candidate.stopped_early {
                format!("{} (stopped early)", short(candidate))
            } else {
                short(candidate)
            },
            points: (1..).zip(&candidate.train_loss).map(|(epoch, &loss)| (f64::from(epoch), loss)).collect(),
            look: LineStyle::Solid(number),
        });
        let series = series.collect();
        let label = "training loss by epoch";
        LineChart { label, x: "epoch", y: "mean loss", whole: true, holds: Vec::new(), series }.draw()
    }

    fn forest(&self) -> Chart {
        let margin = self.settings().margin;
        let row = |candidate: &Row| {
            let Difference { mean, interval: (low, high), .. } = difference(candidate)?;
            let tone = usize::from(candidate.decision() != Some(Decision::Sufficient));
            Some(ForestRow { name: short(candidate), middle: mean, low, high, tone })
        };
        let stopped = self.findings.candidates.iter().filter(|candidate| candidate.stopped_early);
        Forest {
            label: "error of smaller networks less that of the reference",
            axis: "points more error",
            rows: self.findings.candidates.iter().filter_map(row).collect(),
            marks: vec![(0.0, ""), (margin, "margin")],
            digits: 2,
        }
        .draw_with(&stopped.map(|candidate| (short(candidate), "stopped early")).collect::<Vec<_>>())
    }

    /// Error by network, one thin line a fold.
    fn paired(&self) -> Chart {
        let mut candidates: Vec<&Row> = self.findings.candidates.iter().collect();
        candidates.reverse();
        let place = |number: usize, candidate: &Row| {
            if candidate.left_out.is_some() { number as f64 + 1.0 } else { candidate.blocks as f64 }
        };
        let folds = candidates.iter().map(|candidate| candidate.errors.len()).max().unwrap_or(0);
        let line = |points: Vec<(f64, f64)>, name: &str, look| Series { name: name.into(), points, look };
        let mut series: Vec<Series> = (0..folds)
            .map(|fold| {
                let point = |(number, candidate): (usize, &&Row)| {
                    Some((place(number, candidate), *candidate.errors.get(fold)?))
                };
                line(
                    candidates.iter().enumerate().filter_map(point).collect(),
                    if fold == 0 { "one fold" } else { "" },
                    LineStyle::Thin,
                )
            })
            .collect();
        let mean =
            |(number, candidate): (usize, &&Row)| Some((place(number, candidate), candidate.estimate?.mean_error));
        series.push(line(candidates.iter().enumerate().filter_map(mean).collect(), "mean", LineStyle::Solid(0)));
        let dropped = self.findings.candidates.iter().any(|candidate| candidate.left_out.is_some());
        let x = if dropped { "network, in the table's order from below" } else { "blocks" };
        LineChart { label: "error by number of blocks", x, y: "% wrong", whole: true, holds: Vec::new(), series }.draw()
    }
}

/// A network in a row.
fn short(candidate: &Row) -> String {
    match candidate.left_out {
        Some(block) => format!("without block {block}"),
        None => candidate.describe(),
    }
}

/// How a network compares with the reference, as far as that was estimated.
fn difference(candidate: &Row) -> Option<Difference> {
    candidate.comparison.as_ref()?.estimate
}

/// The answer to how many blocks are enough.
pub fn depth_answer(report: &Report) -> Markup {
    match &report.depth {
        Some(study) => study.answer(report.config()),
        None if report.network.blocks().len() == 1 => answer(QUESTION, ONE_BLOCK, &[], &html! {}),
        None => {
            let why = "No figure of this one network can tell: smaller ones must be trained and compared.";
            match report.depth_commands() {
                Some(commands) => answer(QUESTION, "Not answered yet.", &[], &missing(why, &commands)),
                None => answer(QUESTION, "Not answered.", &[], &html! { p { (why) " " (NO_RECIPE) } }),
            }
        }
    }
}

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    match &report.depth {
        None if report.network.blocks().len() == 1 => html! { p { (ONE_BLOCK) } },
        Some(study) => study.part(),
        None => {
            let why = "Whether fewer blocks would do as well is not known: that takes networks trained anew, cross-validated.";
            match report.depth_commands() {
                Some(commands) => missing(why, &commands),
                None => html! { p { (why) " " (NO_RECIPE) } },
            }
        }
    }
}

impl Report {
    /// How the run was trained; none of a network that was trained elsewhere.
    fn config(&self) -> Option<&Config> {
        match &self.made {
            Made::Trained(trained) => Some(&trained.config),
            Made::Imported(_) => None,
        }
    }

    /// The commands that put a study of the run's network on its page: one in the run's folder is found unasked. None where it is
    /// not known how to train such a network.
    fn depth_commands(&self) -> Option<String> {
        let folder = quoted(&self.run.join("depth").display().to_string());
        let command = self.config()?.depth_command();
        Some(format!("{command} --out {folder} && convscope report {}", self.typed()))
    }
}

impl DepthStudy {
    /// The command that made it.
    pub(super) fn command(&self) -> String {
        let (kernels, out) = (self.settings().kernels, quoted(&self.folder.display().to_string()));
        format!("{} --kernels {kernels} --out {out}", self.findings.study.command())
    }

    fn part(&self) -> Markup {
        let Settings { folds, repeats, training, .. } = self.settings();
        let Study { dev_images, test_images, duplicates, contradictory, rejected, .. } = &self.findings.study;
        html! {
            p {
                "The study in " (self.folder.display().to_string()) " trained every network anew on " (folds) " folds, "
                (repeats) " times over, of " (count(*dev_images)) " images, for " (training.epochs)
                " epoch" @if training.epochs != 1 { "s" } " each, and kept " (count(*test_images)) " apart. All networks learn from and are judged by the same folds."
                @if *rejected > 0 { " Files that could not be used: " (count(*rejected)) "." }
                @if *duplicates > 0 { " Left out as doubles of others: " (count(*duplicates)) "." }
                @if *contradictory > 0 { " Left out because an equal image has another class: " (count(*contradictory)) "." }
                " Always naming the commonest class errs on " (plain(self.findings.chance_error, 1)) "\u{a0}%."
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
                    tbody { @for candidate in &self.findings.candidates { (self.row(candidate)) } }
                }
            }
            @if self.findings.candidates.iter().any(|candidate| candidate.stopped_early) {
                p.note {
                    "A network is stopped because its first repeat came out badly, so that repeat makes it look worse than it is: "
                    "no mean of a network that was stopped early is shown. What its first repeat gave is beside what the reference gave on "
                    "the same folds."
                }
            }
            div.figures { @for (_, chart, caption) in self.charts() { (figure(&chart, &html! { (caption) })) } }
            @if let Some(rule) = &self.findings.one_standard_error {
                p.note { "The one-standard-error rule would choose " (rule.choice) ": " (rule.note) "." }
            }
            @match &self.test {
                Some(test) => (locked(self, test)),
                None => p.note { "The locked test set has not been looked at." },
            }
        }
    }

    fn row(&self, candidate: &Row) -> Markup {
        let interval = |(low, high): (f64, f64), digits| format!("{} to {}", plain(low, digits), plain(high, digits));
        html! {
            tr {
                th scope="row" { (short(candidate)) }
                td.number { (count(candidate.parameters)) }
                td.number { (candidate.receptive_field) " px" }
                @if let Some(ErrorEstimate { mean_error, error_interval: (low, high), log_loss }) = candidate.estimate {
                    td.number { (plain(mean_error, 1)) " %" }
                    td.number { (interval((low.max(0.0), high.min(100.0)), 1)) }
                    td.number { (plain(log_loss, 3)) }
                } @else { (unknown()) }
                @if let Some(difference) = difference(candidate) {
                    td.number { (signed(difference.mean, 2)) }
                    td.number { (interval(difference.interval, 2)) " " span.control { (p_value(difference.p_difference)) } }
                    td.number { (signed(difference.upper_bound, 2)) }
                } @else { (unknown()) }
                td {
                    (candidate.decision().map_or("reference".into(), |decision| decision.to_string()))
                    @if let Some(stopped) = self.findings.stopped_in_short(candidate) { ", " (stopped) }
                }
            }
        }
    }
}

/// Three cells of a table without a figure.
fn unknown() -> Markup {
    html! { @for _ in 0..3 { td.number { "–" } } }
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
                            th scope="row" { (study.candidate(&network.candidate).map_or(network.candidate.clone(), short)) }
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
            (count(test.images)) " images that no decision was made with."
            @for pair in &test.comparisons {
                " Refit " (pair.refit) ": only the chosen network right " (pair.only_chosen_right) ", only the reference right "
                (pair.only_reference_right) ", McNemar's mid-" (p_value(pair.mid_p)) "."
            }
        }
    }
}
