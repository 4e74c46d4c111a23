//! Pages: HTML that needs no network, no scripts and no file beside it. All text goes through [`maud`], which escapes it, and is
//! legible in every script.
//!
//! [`DoctorPage`], [`FeaturesPage`], [`EvaluationPage`], [`ExplainPage`] and [`LearnedPage`] are the pages of the commands of these names. The rest is the report of a
//! run.
//!
//! [`Report`] holds all that the page tells, read from the run's folder; [`Looked`] is what had to be computed by running the
//! network. [`Report::page`] writes it, part by part: the three answers first, then what they stand on. What is missing
//! is named with the command that adds it.

use std::borrow::Cow;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::data::Rejected;
use crate::explain;
use crate::figures::{CHART_STYLE, Chart, words};
use crate::nn::Network;
use crate::stats::standing::{self, Verdict};
use crate::study::layers::Layers;
use crate::terminal::quoted;
use crate::train::environment::Environment;
use crate::train::{Config, EpochRecord, GIVEN, Imported, Origin, Run, VALIDATING, Which};

mod answers;
mod class_means;
mod depth;
mod doctor_page;
mod embedded;
mod evaluation;
mod examples;
mod explain_page;
mod explained;
mod explanations;
mod features;
mod found;
mod layers;
mod learned;
mod limits;
mod looked;
mod maps;
mod training;

pub use class_means::{MeanMap, MeanMaps};
pub use depth::DepthStudy;
pub use doctor_page::DoctorPage;
pub use embedded::EmbeddedImage;
pub use evaluation::EvaluationPage;
pub use explain_page::ExplainPage;
pub(crate) use explained::FORMAT;
pub use explained::{Baseline, EXPLAINED, Explained, ExplainedMap, reported};
pub use explanations::DRAWN;
pub use features::FeaturesPage;
pub use found::FoundExplanations;
pub use layers::charts as layer_charts;
pub use learned::{LearnedBlock, LearnedChannel, LearnedPage, SQUARE};
pub use looked::{BlockLook, ChannelLook, Gallery, Looked, Shot};
pub use maps::plain_sheet;
pub use training::{calibration_in_words, curves};

/// The page's file in the run's folder.
pub const REPORT: &str = "report.html";
/// The look of the page.
const STYLE: &str = include_str!("page.css");
/// Confidence of the page's own intervals.
const LEVEL: f64 = 0.95;

/// All that the page tells.
pub struct Report {
    /// The run's folder.
    pub run: PathBuf,
    /// How it was made.
    pub made: Made,
    /// Its network.
    pub network: Network,
    /// What its best weights make of the validation images, or why that is not known.
    pub looked: Result<Looked, Unlooked>,
    /// The table of its layers, with its folder.
    pub layers: Option<(PathBuf, Layers)>,
    /// What could not be read, and why.
    pub damaged: Vec<String>,
    /// Explanations of single decisions.
    pub explained: Vec<Explained>,
    /// How many older ones there are besides.
    pub more_explained: usize,
    /// The study of how many blocks are enough.
    pub depth: Option<DepthStudy>,
}

/// How a network was made, as far as that is known.
pub enum Made {
    /// It was trained in the run's folder.
    Trained(Box<Trained>),
    /// It was trained elsewhere, and is judged by images that were given.
    Imported(Box<Given>),
}

/// What is known of a network that was trained in the run's folder.
pub struct Trained {
    /// How it was made.
    pub config: Config,
    /// Where it was made, if that is known.
    pub environment: Option<Environment>,
    /// The day on which it was trained, in UTC; empty where the system does not tell.
    pub date: String,
    /// A line an epoch.
    pub metrics: Vec<EpochRecord>,
    /// Epochs of the best and of the last weights, as their files say; `None` where a file cannot be used.
    pub kept: [Option<usize>; 2],
    /// Files that could not be used, if that is known.
    pub rejected: Option<Vec<Rejected>>,
}

/// What is known of a network that was trained elsewhere.
pub struct Given {
    /// Where its weights come from.
    pub imported: Imported,
    /// The epoch that its weights tell; 0 where they do not.
    pub epoch: usize,
    /// The folder of the images that judge it, from the root on, where these were given.
    pub data: Option<String>,
}

/// Why it is not known what the network makes of the validation images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlooked {
    /// It could not be computed, for this reason.
    NotComputed(String),
    /// For this reason the images are not to be had: they may lie elsewhere.
    NoImages(String),
    /// A file of the run cannot be used, and no option helps; the reason says what does.
    Damaged(String),
}

impl Unlooked {
    /// The reason, without a full stop.
    pub fn reason(&self) -> &str {
        let (Self::NotComputed(reason) | Self::NoImages(reason) | Self::Damaged(reason)) = self;
        reason
    }
}

impl Report {
    /// Reads what lies in a run's folder, before its network is looked at; of `layers`, `layers-2` and so on the newest counts.
    /// `depth` is the folder of a study; without it, one is looked for in the run's folder and beside it, and used if it is about
    /// the same network and classes. What is damaged, but for the metrics, is named on the page instead.
    ///
    /// # Errors
    /// When the metrics, or the study in `depth`, cannot be used, or a study is named for a network that was trained elsewhere.
    pub fn read(run: &Run, depth: Option<&Path>, explained: FoundExplanations) -> Result<Self> {
        let FoundExplanations { usable: explained, more: more_explained, mut damaged } = explained;
        let study = DepthStudy::find(run, depth, &mut damaged)?;
        let kept = |which| Some(run.checkpoint(which).ok()?.meta.epoch);
        let made = match run.imported() {
            Some(imported) => {
                let epoch = kept(Which::Best).unwrap_or_default();
                Made::Imported(Box::new(Given { imported: imported.clone(), epoch, data: None }))
            }
            None => Made::Trained(Box::new(Trained {
                metrics: run.metrics()?,
                date: day_of(&run.folder().join("metrics.csv")).unwrap_or_default(),
                environment: usable(run.environment(), &mut damaged),
                rejected: usable(run.rejected(), &mut damaged),
                config: run.config()?.clone(),
                kept: [Which::Best, Which::Last].map(kept),
            })),
        };
        Ok(Self {
            made,
            network: run.network().clone(),
            layers: usable(run.layers(), &mut damaged).flatten(),
            depth: study,
            run: run.folder().to_path_buf(),
            damaged,
            looked: Err(Unlooked::NotComputed("the network was not asked".into())),
            explained,
            more_explained,
        })
    }

    /// Adds what the network makes of the validation images, or why that is not known.
    pub fn add(&mut self, looked: Result<Looked, Unlooked>) {
        self.damaged.extend(looked.as_ref().ok().and_then(|looked| looked.damaged.clone()));
        self.looked = looked;
    }

    /// Says what is not shown, why, and what adds it.
    fn unlooked(&self, what: &str, why: &Unlooked) -> Markup {
        let told = format!("{what}: {}.", why.reason());
        match why {
            Unlooked::NotComputed(_) => missing(&told, &format!("convscope report {}", self.judged())),
            Unlooked::NoImages(_) => missing(&told, &format!("convscope report {} --data DIR", self.typed())),
            Unlooked::Damaged(_) => html! { p.missing { (told) } },
        }
    }

    /// The table of its layers, which claims no more than the head of the page allows.
    fn layers(&self) -> Option<Cow<'_, Layers>> {
        let (_, table) = self.layers.as_ref()?;
        Some(match standing::verdict(self.standing().as_ref()) {
            Verdict::NotShown => Cow::Owned(table.of_guesses()),
            Verdict::Better | Verdict::Unknown => Cow::Borrowed(table),
        })
    }

    /// Whether an explanation is about the weights that the page is about.
    fn is_about(&self, explained: &Explained) -> bool {
        let Origin { weights, epoch, .. } = &explained.origin;
        weights == Which::Best.file() && *epoch == self.best()
    }

    /// What to make of a map: by what is known now of the weights that it is about, not by what was known when they were explained.
    fn verdict(&self, explained: &Explained, map: &ExplainedMap) -> explain::verdict::Verdict {
        let standing = if self.is_about(explained) {
            self.standing()
        } else {
            self.recorded(explained.origin.epoch, explained.origin.which())
        };
        explain::verdict::Verdict { standing: standing::verdict(standing.as_ref()), ..map.verdict }
    }

    /// The page.
    pub fn page(&self) -> String {
        let title = self.title();
        let parts = [
            ("training", "Training", training::part(self)),
            ("images", "Worst, closest, best", examples::part(self)),
            ("means", "Evidence on average", class_means::part(self)),
            ("layers", "Layer by layer", layers::part(self)),
            ("explanations", "Explanations", explanations::part(self)),
            ("depth", "How many blocks", depth::part(self)),
            ("limits", "Limits, and how to make it again", limits::part(self)),
        ];
        let body = html! {
            header {
                p.over { "convscope report · " (self.run.display().to_string()) }
                h1 { (title) }
                @if let Some(caution) = standing::caution(self.standing().as_ref()) { p.caution { strong { (caution) } } }
                (training::summary(self))
                @if let Made::Imported(given) = &self.made { p.missing { (given.imported.caution()) } }
                @for problem in &self.damaged { p.missing { "Not on this page: " (problem) } }
                @for problem in &self.disagreements() { p.missing { (problem) } }
            }
            section #answers aria-label="Three questions, three answers" { (answers::part(self)) }
            nav aria-label="Parts of this page" {
                ul { @for (id, name, _) in &parts { li { a href=(format!("#{id}")) { (name) } } } }
            }
            @for (id, name, part) in &parts {
                section id=(id) { h2 { (name) } (part) }
            }
        };
        document(&title, &body)
    }

    /// Names of the classes, in the order of the logits.
    fn classes(&self) -> &[String] {
        match &self.made {
            Made::Trained(trained) => &trained.config.classes,
            Made::Imported(given) => &given.imported.classes,
        }
    }

    /// Whether the program drew the images that the network learned from.
    fn drawn(&self) -> bool {
        match &self.made {
            Made::Trained(trained) => trained.config.data.is_none(),
            Made::Imported(given) => given.imported.drawn,
        }
    }

    /// What the images are called that judge it.
    fn judges(&self) -> &'static str {
        match &self.made {
            Made::Trained(_) => VALIDATING,
            Made::Imported(_) => GIVEN,
        }
    }

    /// The run's folder as it is typed in a command that needs its images, with where these are if only the user can say.
    pub fn judged(&self) -> String {
        match &self.made {
            Made::Trained(_) => self.typed(),
            Made::Imported(given) => {
                let data = given.data.as_ref().map_or("DIR".into(), |data| quoted(data));
                format!("{} --data {data}", self.typed())
            }
        }
    }

    /// The run's folder as it is typed in a command.
    fn typed(&self) -> String {
        quoted(&self.run.display().to_string())
    }

    fn title(&self) -> String {
        let blocks = self.network.blocks().len();
        let network = format!("{blocks} block{}", if blocks == 1 { "" } else { "s" });
        let told = match self.classes() {
            [one, other] => format!("{one} from {other}"),
            classes => format!("{} classes apart", classes.len()),
        };
        match standing::verdict(self.standing().as_ref()) {
            Verdict::Better => format!("What a network of {network} learned to tell {told}"),
            Verdict::NotShown => format!("A network of {network} that was not shown to tell {told}"),
            Verdict::Unknown => format!("A network of {network} that was trained to tell {told}"),
        }
    }
}

/// The head of a command's page.
struct Head<'a> {
    /// The command.
    command: &'a str,
    /// Heads the page.
    title: Markup,
    /// What a reader must know before all else.
    notes: &'a [String],
    /// What is shown, of what.
    facts: Vec<(&'a str, Markup)>,
}

impl Head<'_> {
    fn markup(&self) -> Markup {
        html! {
            header {
                p.over { "convscope " (self.command) }
                h1 { (self.title) }
                (notes(self.notes))
                dl.facts { @for (what, fact) in &self.facts { div { dt { (what) } dd { (fact) } } } }
            }
        }
    }
}

/// What a reader must know before all else: stands in the head of a page.
fn notes(notes: &[String]) -> Markup {
    html! { @for note in notes { p.missing { (note) } } }
}

/// A page with this title and content, which may load nothing from anywhere. Every page is made here.
fn document(title: &str, body: &Markup) -> String {
    let style = format!("{}{STYLE}", CHART_STYLE);
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        words::sha256(&style)
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(concat!("convscope ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body { main { (body) } }
        }
    };
    format!("{}\n", words::fit(&page.into_string()))
}

/// Names what is missing and what adds it.
fn missing(what: &str, command: &str) -> Markup {
    html! { p.missing { (what) " To add it: " code { (command) } } }
}

/// A figure with its caption.
fn figure(chart: &Chart, caption: &Markup) -> Markup {
    html! { figure { (chart.inline()) figcaption { (caption) } } }
}

/// An image of the page. What is drawn larger than it is, is smoothed only if it is a photo.
fn img(image: &EmbeddedImage, alt: &str) -> Markup {
    html! { img.photo[image.is_photo()] src=(image.uri()) alt=(alt); }
}

/// What was read, unless it is damaged.
fn usable<T>(read: Result<T>, damaged: &mut Vec<String>) -> Option<T> {
    read.map_err(|error| damaged.push(format!("{error:#}"))).ok()
}

/// The day on which a file was last written, as 2026-01-31, in UTC.
fn day_of(path: &Path) -> Option<String> {
    let written = fs::metadata(path).ok()?.modified().ok()?;
    let mut time = String::new();
    // Fails for years before 1970 and after 9999.
    write!(time, "{}", humantime::format_rfc3339_seconds(written)).ok()?;
    time.truncate("2026-01-31".len());
    Some(time)
}

#[cfg(test)]
mod tests;
