//! `explain`: why the network decided as it did.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use pollster::block_on;
use serde::Serialize;

use super::named::named;
use crate::cli::ExplainArgs;
use crate::data::Images;
use crate::data::fit::Fit;
use crate::data::names::{class_key, path_text};
use crate::explain::learned::BlockSurvey;
use crate::explain::ledger::Ledger;
use crate::explain::saliency::Completeness;
use crate::explain::trust::{Baselines, Trust};
use crate::explain::verdict::Verdict;
use crate::explain::{Explanation, Hover, Lens, Options, judge, methods, telling};
use crate::figures::words::signed;
use crate::nn::checkpoint::{Checkpoint, Weights};
use crate::report::{EXPLAINED, ExplainPage, Explained};
use crate::terminal::{one_line, say, visible};
use crate::train::run_dir::RunDir;
use crate::train::{Origin, Run};

/// Seed of the untrained network that maps are compared with.
pub(super) const CONTROL_SEED: u64 = 0x00C0_FFEE;
/// Validation images that the means of the channels are taken over.
const MAX_FOR_MEANS: usize = 512;

pub(super) fn explain(arguments: &ExplainArgs) -> Result<()> {
    let run = Run::open(&arguments.run)?;
    super::check_out(arguments.out.as_deref(), run.folder(), super::image_folders(&run, arguments.data.as_deref()))?;
    let Checkpoint { meta, network, weights } = run.checkpoint(arguments.weights)?;
    let against = arguments.against.as_ref().map(|name| class(name, &meta.classes)).transpose()?;
    let methods = methods(&looked_at(&arguments.layers, network.blocks().len())?, arguments.images_only);
    let mut subjects = Vec::new();
    let mut failed = Vec::new();
    for named in named(&arguments.images)? {
        match Subject::read(&named.file, run.fit()) {
            Ok(subject) => subjects.push(subject),
            Err(reason) => failed.push(format!("{}: {reason}", named.told())),
        }
    }
    if subjects.is_empty() && !failed.is_empty() {
        return tell(&failed);
    }

    let validation = super::images::validation_of(&run, arguments.data.as_deref(), super::CACHE);
    let at_hand = validation.as_ref().ok().map(AsRef::as_ref);
    let said = super::say_recorded(&run, arguments.weights, meta.epoch, at_hand);
    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);
    let lens = super::lens(&gpu, &run, arguments.weights, &weights, arguments.batch)?;
    let said = super::or_counted(said, &run, arguments.weights, &lens, at_hand)?;
    if meta.drawn && !subjects.is_empty() {
        say(format!("note: {}", crate::report::DRAWN));
    }
    let control = Weights::initial(&network, CONTROL_SEED);
    let mut options = Options { against, methods, means: None, standing: said.verdict };
    match &validation {
        Ok(images) => {
            options.means = Some(means(&lens, images.as_ref())?);
            if subjects.is_empty() {
                subjects = chosen(&lens, images.as_ref())?;
            }
        }
        Err(error) if subjects.is_empty() => bail!("no image was named, and the run's own cannot be had: {error:#}"),
        Err(error) => {
            say(format!("note: without channel ablation, which needs the run's images: {}", one_line(error)));
        }
    }

    let parent = match &arguments.out {
        Some(out) => RunDir::create(Some(out))?,
        None => RunDir::at(arguments.run.join("explain")),
    };
    let weights_shown = super::weights_shown(&arguments.run, arguments.weights, meta.epoch);
    for subject in &subjects {
        let started = Instant::now();
        let explanation = block_on(Explanation::new(&lens, &weights, &control, &subject.pixels, &options))?;
        let computed = started.elapsed().as_secs_f64();
        let decision = decision(&explanation, subject, &meta.classes);
        let name = &subject.name;
        let mut notes = said.notes.clone();
        if meta.drawn && subject.truth.is_none() {
            notes.push(crate::report::DRAWN.to_string());
        }
        if against == Some(explanation.question.target) {
            say(format!("note: {name}: --against is the predicted class itself, so the runner-up takes its place"));
        }
        let origin = Origin::new(&run, arguments.weights, meta.epoch);
        let explained = Explained::new(&lens, &explanation, &meta.classes, (name, subject.truth), origin);
        let written = explained.and_then(|explained| {
            let page = ExplainPage {
                lens: &lens,
                explanation: &explanation,
                explained: &explained,
                weights: &weights_shown,
                notes: &notes,
                by: arguments.scale,
            };
            write(parent.path(), subject, &weights, &page)
        });
        match written {
            Ok(index) => {
                let drawn = started.elapsed().as_secs_f64() - computed;
                say(format!("{name}: {decision}"));
                say(format!("  {}", sums(&explanation)));
                say(format!("  {computed:.1} s computing, {drawn:.1} s drawing; open {}", index.display()));
            }
            Err(error) => failed.push(format!("{name}: {error:#}")),
        }
    }
    tell(&failed)
}

/// How well what should add up does.
fn sums(explanation: &Explanation) -> String {
    let ledger = &explanation.ledger;
    let mut sums = if ledger.exact {
        format!(
            "logit difference {}: the evidence adds up to it but for {:.0e} of its parts",
            signed(ledger.logit_difference, 3),
            ledger.relative_residual
        )
    } else {
        format!(
            "logit difference {}: the evidence, to first order, leaves {} of it",
            signed(ledger.logit_difference, 3),
            signed(ledger.residual, 3)
        )
    };
    if let Some(completeness) = explanation.findings.iter().find_map(|finding| finding.completeness) {
        sums.push_str(&format!("; integrated gradients leave {}", signed(completeness.gap, 3)));
    }
    sums
}

/// What the network decided, and whether rightly.
fn decision(explanation: &Explanation, subject: &Subject, classes: &[String]) -> String {
    let target = explanation.question.target;
    let mut decision = format!("{} ({:.1} %)", classes[target], 100.0 * explanation.probabilities[target]);
    if let Some(truth) = subject.truth {
        let right = if truth == target { "rightly" } else { "wrongly" };
        decision.push_str(&format!(", {right}: it is labelled {}", classes[truth]));
    }
    decision
}

/// One error for all images that failed.
fn tell(failed: &[String]) -> Result<()> {
    match failed {
        [] => Ok(()),
        [one] => bail!("{one}"),
        several => bail!("{} images could not be explained:\n{}", several.len(), several.join("\n")),
    }
}

/// An image to explain.
struct Subject {
    /// As it is told.
    name: String,
    /// Name of its folder.
    stem: String,
    /// RGB bytes of the network's size.
    pixels: Vec<u8>,
    /// Its class, where it is known.
    truth: Option<usize>,
}

impl Subject {
    fn read(file: &Path, fit: Fit) -> Result<Self, String> {
        let pixels = super::named_image(file, fit)?;
        Ok(Self { name: path_text(file), stem: super::stem(file), pixels, truth: None })
    }

    /// A labelled image of a run.
    fn of(images: &dyn Images, index: usize) -> Result<Self> {
        let name = images.name(index);
        let pixels = images.pixels(index).map_err(|reason| anyhow!("{name}: {reason}"))?.into_owned();
        let file = Path::new(&name).file_stem().unwrap_or_default().to_string_lossy();
        // A drawn image's name says in brackets how it was drawn.
        let stem = file.split(" (drawn").next().unwrap_or_default().replace(' ', "-").replace('\\', "_");
        Ok(Self { name, stem, pixels, truth: Some(images.label(index) as usize) })
    }
}

/// The validation images that tell most.
fn chosen(lens: &Lens, images: &dyn Images) -> Result<Vec<Subject>> {
    telling(&judge(lens, images)?, [2, 1, 2]).into_iter().map(|judged| Subject::of(images, judged.index)).collect()
}

/// The mean of every channel of every block over up to [`MAX_FOR_MEANS`] images.
fn means(lens: &Lens, images: &dyn Images) -> Result<Vec<Vec<f32>>> {
    let survey = super::surveyed(lens, images, MAX_FOR_MEANS, 0)?;
    let means = |block: &BlockSurvey| block.channels.iter().map(|channel| channel.mean as f32).collect();
    Ok(survey.blocks.iter().map(means).collect())
}

/// The number of the class with this name.
fn class(name: &str, classes: &[String]) -> Result<usize> {
    let found = classes.iter().position(|class| class_key(class) == class_key(name));
    found.with_context(|| {
        let (typed, classes) = (visible(name), classes.join(", "));
        format!("--against {typed}: expected one of the network's classes: {classes}")
    })
}

/// The blocks that `--layers` names, counted from 0, the last first.
fn looked_at(numbers: &[usize], blocks: usize) -> Result<Vec<usize>> {
    let mut chosen = Vec::new();
    for &number in numbers {
        if !(1..=blocks).contains(&number) {
            bail!("--layers {number}: the network has blocks 1 to {blocks}");
        }
        chosen.push(number - 1);
    }
    if chosen.is_empty() {
        chosen = (blocks.saturating_sub(2)..blocks).collect();
    }
    chosen.sort_unstable_by(|a, b| b.cmp(a));
    chosen.dedup();
    Ok(chosen)
}

/// Writes everything about one decision into a folder of its own below `parent`. Returns the page to open first.
fn write(parent: &Path, subject: &Subject, weights: &Weights, page: &ExplainPage) -> Result<PathBuf> {
    let ExplainPage { lens, explanation, explained, .. } = page;
    let slugs: Vec<String> = explanation.findings.iter().map(|finding| slug(&finding.method.name())).collect();
    // Whatever cannot be drawn fails before there is a folder.
    let (text, images) = (page.page()?, page.images(&slugs)?);
    let folder = RunDir::below(parent, &subject.stem)?;
    for part in ["saliency", "maps", "values"] {
        let path = folder.file(part);
        fs::create_dir(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
    }
    super::write_images(&folder, &images)?;

    for (number, (block, geometry)) in (1..).zip(explanation.inside.blocks.iter().zip(lens.blocks())) {
        // Pooling may stand between them.
        let values = [(&block.conv, geometry.conv), (&block.norm, geometry.norm), (&block.relu, geometry.value)];
        for ((values, value), name) in values.into_iter().zip(["conv", "norm", "relu"]) {
            write_npy(&folder, &format!("block-{number}-{name}"), values, &lens.network().shape(value))?;
        }
    }
    let [_, height, width] = lens.blocks().last().context("there is at least one block")?.output;
    write_npy(&folder, "evidence", &explanation.ledger.evidence, &[height, width])?;
    for (slug, finding) in slugs.iter().zip(&explanation.findings) {
        let map = &finding.raw;
        write_npy(&folder, slug, &map.values, &[map.height, map.width])?;
    }

    let ledger = LedgerFile { class: &explained.target, against: &explained.against, ledger: &explanation.ledger };
    folder.write_json("ledger.json", &ledger)?;
    folder.write_json("saliency.json", &saliency_file(explanation, &slugs))?;
    write_channels(&folder, explanation)?;
    folder.write_compact_json("hover.json", &Hover::new(lens, weights, explanation))?;
    folder.write(super::INDEX, text.as_bytes())?;
    // Last: the report takes for finished what has it.
    folder.write_json(EXPLAINED, &explained.for_report(lens.blocks().len()))?;
    Ok(folder.file(super::INDEX))
}

/// `ledger.json`
#[derive(Serialize)]
struct LedgerFile<'a> {
    class: &'a str,
    against: &'a str,
    #[serde(flatten)]
    ledger: &'a Ledger,
}

/// `saliency.json`
#[derive(Serialize)]
struct SaliencyFile<'a> {
    methods: Vec<MethodRecord<'a>>,
    baselines: &'a Baselines,
}

#[derive(Serialize)]
struct MethodRecord<'a> {
    name: String,
    /// Its images below `saliency/` and its values below `values/`, but for the ending.
    file: &'a str,
    #[serde(flatten)]
    trust: &'a Trust,
    verdict: Verdict,
    /// The verdict as it stands on the pages.
    words: String,
    completeness: Option<Completeness>,
    seconds: f64,
}

fn saliency_file<'a>(explanation: &'a Explanation, slugs: &'a [String]) -> SaliencyFile<'a> {
    let records = explanation.findings.iter().zip(slugs).map(|(finding, slug)| {
        let verdict = explanation.verdict(finding);
        MethodRecord {
            name: finding.method.name(),
            file: slug,
            trust: &finding.trust,
            verdict,
            words: verdict.to_string(),
            completeness: finding.completeness,
            seconds: finding.seconds,
        }
    });
    SaliencyFile { methods: records.collect(), baselines: &explanation.baselines }
}

/// A line of `channels.csv`: the part of a block's channel in the decision.
#[derive(Serialize)]
struct Line {
    block: usize,
    channel: usize,
    contribution: f64,
    ablation: Option<f64>,
    maximum: f32,
}

fn write_channels(folder: &RunDir, explanation: &Explanation) -> Result<()> {
    folder.write_table("channels.csv", |table| {
        for (block, channels) in (1..).zip(&explanation.channels) {
            for (channel, part) in channels.iter().enumerate() {
                table.serialize(Line {
                    block,
                    channel,
                    contribution: part.contribution,
                    ablation: part.ablation,
                    maximum: part.maximum,
                })?;
            }
        }
        Ok(())
    })
}

/// Writes an array of this shape as `values/NAME.npy`.
fn write_npy(folder: &RunDir, name: &str, values: &[f32], shape: &[usize]) -> Result<()> {
    folder.write(&format!("values/{name}.npy"), &npy(values, shape))
}

/// An array as a file of NumPy, in version 1.0 of its format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
fn npy(values: &[f32], shape: &[usize]) -> Vec<u8> {
    const START: &[u8] = b"\x93NUMPY\x01\x00";
    /// What the start of the values is a multiple of, in bytes.
    const ALIGNMENT: usize = 64;
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes})}}");
    let before = START.len() + size_of::<u16>();
    let length = (before + header.len() + 1).next_multiple_of(ALIGNMENT) - before;
    header = format!("{header:<width$}\n", width = length - 1);
    let length = u16::try_from(length).expect("an array has a few sizes");
    let values = values.iter().flat_map(|value| value.to_le_bytes());
    START.iter().copied().chain(length.to_le_bytes()).chain(header.into_bytes()).chain(values).collect()
}

/// A name as it can stand in a file's name: "Grad-CAM, block 5" is grad-cam-block-5.
fn slug(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `numpy.save` writes of the same array but for a comma behind the last size, which NumPy reads alike.
    #[test]
    fn arrays_are_files_of_numpy() {
        let file = npy(&[0.0, 1.0, -2.5], &[3, 1]);
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1, )}";
        assert_eq!(&file[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(String::from_utf8_lossy(&file[10..128]), format!("{header:<117}\n"));
        assert_eq!(file[128..], [[0, 0, 0, 0], [0, 0, 0x80, 0x3f], [0, 0, 0x20, 0xc0]].concat());
        for sizes in 0..12 {
            let file = npy(&[], &vec![1_234; sizes]);
            assert_eq!(file.len() % 64, 0);
            assert_eq!(file.last(), Some(&b'\n'));
        }
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(slug("Grad-CAM, block 5"), "grad-cam-block-5");
    }

    #[test]
    fn a_class_that_is_not_there_is_told_in_one_line() {
        let classes = ["cat", "Dog"].map(String::from);
        assert_eq!(class("dOG", &classes).unwrap(), 1);
        let error = class("cat\n\u{1b}[2J", &classes).unwrap_err().to_string();
        assert_eq!(error, r"--against cat\n\u001b[2J: expected one of the network's classes: cat, Dog");
    }

    #[test]
    fn layers_are_counted_from_one_and_checked() {
        assert_eq!(looked_at(&[], 5).unwrap(), [4, 3]);
        assert_eq!(looked_at(&[], 1).unwrap(), [0]);
        assert_eq!(looked_at(&[1, 5, 1], 5).unwrap(), [4, 0]);
        assert!(looked_at(&[6], 5).unwrap_err().to_string().contains("blocks 1 to 5"));
        assert!(looked_at(&[0], 5).is_err());
    }
}
