//! `report`: one page that tells what a run has shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};

use super::explain::CONTROL_SEED;
use super::train::check_apart;
use crate::checkpoint::{Checkpoint, Weights};
use crate::cli::{ReportArgs, Which, quoted};
use crate::data::Pictures;
use crate::data::folder::recordable;
use crate::explain::{Explanation, Lens, Options, judge, predict, telling};
use crate::gpu::Gpu;
use crate::html::{Explained, Looked, REPORT, Report, reported};
use crate::predictions::{self, PREDICTIONS};
use crate::reading::Run;
use crate::report::ScaleBy;
use crate::run_dir::RunDir;
use crate::standing::{self, Standing};
use crate::terminal::{one_line, say};

/// Explanations that are shown.
const MOST_EXPLAINED: usize = 5;
/// Pictures at once on the device where nothing else is asked for.
const BATCH: u16 = 32;

pub(super) fn report(arguments: &ReportArgs) -> Result<()> {
    let ReportArgs { out, .. } = arguments;
    let run = &Run::open(&whole(&arguments.run))?;
    check_replaceable(out.as_deref())?;
    let data = arguments.data.clone().or(run.config().data.as_ref().map(PathBuf::from));
    if let (Some(out), Some(data)) = (out, &data) {
        check_apart(data, Some(out))?;
    }
    let started = Instant::now();
    let mut explained = run.explained(MOST_EXPLAINED);
    explained.damaged.iter().for_each(|problem| say(format!("note: {problem}")));
    // Without an adapter or the pictures, a page with less on it is better than none.
    let looked = super::open(&arguments.device).and_then(|gpu| {
        super::say_adapter(&gpu);
        let pictures = super::pictures::validation_of(run, arguments.data.as_deref(), super::CACHE)?;
        let station = Station::new(&gpu, run, arguments.batch)?;
        if explained.usable.is_empty() {
            explained.usable = station.explain(run, pictures.as_ref())?;
        }
        station.look(run, pictures.as_ref(), arguments.scale)
    });
    let looked = looked.map_err(|error| reason(&error));
    if let Err(reason) = &looked {
        say(format!("note: the page goes without pictures: {reason}"));
    }
    let mut report = Report::read(run, arguments.depth.as_deref(), looked, explained)?;
    if let Some(data) = &arguments.data {
        // The commands of the page are to find the photos where they are now.
        report.config.data = Some(recordable("--data", data)?);
    }
    report.disagreements().iter().for_each(|problem| say(format!("note: {problem}")));
    super::print_standing(Which::Best, report.standing().as_ref());
    let path = write(&report, out.as_deref())?;
    say(format!("wrote {}; {:.1} s", path.display(), started.elapsed().as_secs_f64()));
    tell_study(&report);
    Ok(())
}

/// Says which study the page takes for an answer about the run, and how it differs.
fn tell_study(report: &Report) {
    if let Some(study) = &report.depth {
        say(format!("depth    study in {}. {}", study.folder.display(), study.note(&report.config)));
    }
}

/// The run's folder as the page is to name it: `.` has no name of its own.
fn whole(run: &Path) -> PathBuf {
    let tidy: PathBuf = run.components().collect();
    if tidy.file_name().is_some() { tidy } else { std::path::absolute(run).unwrap_or(tidy) }
}

/// Checks that what is to be replaced is a page, and not a photo or weights.
fn check_replaceable(out: Option<&Path>) -> Result<()> {
    let Some(out) = out.filter(|out| out.is_file()) else { return Ok(()) };
    let is_page = fs::read(out).is_ok_and(|bytes| bytes.is_empty() || bytes.starts_with(b"<!DOCTYPE html>"));
    ensure!(is_page, "--out {}: exists already and is no page; name another file", out.display());
    Ok(())
}

/// Writes the report at the end of another command, without anything that takes long: explanations are shown if they are
/// there. What keeps a page from being made is told, and no more. `pictures` are the run's validation pictures, if they are at
/// hand; `by` says what the colours of feature maps span.
///
/// # Errors
/// When the page was made and cannot be written.
pub fn afterwards(
    gpu: &Gpu,
    run: &Path,
    pictures: Option<&dyn Pictures>,
    data: Option<&Path>,
    by: ScaleBy,
) -> Result<()> {
    let started = Instant::now();
    let made = || -> Result<Report> {
        let run = &Run::open(run)?;
        let found;
        let pictures = match pictures {
            Some(pictures) => pictures,
            None => {
                found = super::pictures::validation_of(run, data, super::CACHE)?;
                found.as_ref()
            }
        };
        let looked = Station::new(gpu, run, BATCH)?.look(run, pictures, by).map_err(|error| reason(&error));
        Report::read(run, None, looked, run.explained(MOST_EXPLAINED))
    };
    let typed = quoted(&run.display().to_string());
    match made() {
        Ok(report) => {
            let path = write(&report, None)?;
            say(format!("report   {}, {:.1} s", path.display(), started.elapsed().as_secs_f64()));
            tell_study(&report);
            if report.explained.is_empty() || report.depth.is_none() {
                say(format!(
                    "         `convscope report {typed}` adds explanations, with --depth DIR a study of depth"
                ));
            }
        }
        Err(error) => say(format!("note: no report: {}; `convscope report {typed}` tries again", one_line(&error))),
    }
    Ok(())
}

fn reason(error: &anyhow::Error) -> String {
    one_line(error).trim_end_matches('.').to_string()
}

/// Writes the page and returns its path.
fn write(report: &Report, out: Option<&Path>) -> Result<PathBuf> {
    let path = out.map_or_else(|| report.run.join(REPORT), Path::to_path_buf);
    let parent = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("--out {}: expected the name of a file", path.display()))?;
    RunDir::at(parent).write(name, report.page().as_bytes())?;
    Ok(path)
}

/// A run's best network, ready to be looked at.
struct Station<'a> {
    lens: Lens<'a>,
    weights: Weights,
    classes: Vec<String>,
    epoch: usize,
}

impl<'a> Station<'a> {
    fn new(gpu: &'a Gpu, run: &Run, batch: u16) -> Result<Self> {
        let Checkpoint { meta, weights, .. } = run.checkpoint(Which::Best)?;
        let lens = super::lens(gpu, run, Which::Best, &weights, batch)?;
        Ok(Self { lens, weights, classes: meta.classes, epoch: meta.epoch })
    }

    /// What the weights make of the validation pictures; the table of that is written where the run has none, as when it was
    /// stopped. `by` says what the colours of feature maps span.
    fn look(&self, run: &Run, pictures: &dyn Pictures, by: ScaleBy) -> Result<Looked> {
        self.lens.load(&self.weights);
        let predictions = predict(&self.lens, pictures)?;
        let folder = RunDir::at(run.folder().to_path_buf());
        if !folder.file(PREDICTIONS).exists()
            && let Err(error) = predictions::write(&folder, &predictions, pictures, &self.classes)
        {
            // The page can do without.
            say(format!("note: {}", one_line(&error)));
        }
        Looked::new(run, &self.lens, &self.weights, pictures, &predictions, by)
    }

    /// Explains a mistake, a close call and a hit.
    fn explain(&self, run: &Run, pictures: &dyn Pictures) -> Result<Vec<Explained>> {
        let Self { lens, weights, classes, epoch } = self;
        let standing = Standing::of_run(run, Which::Best, *epoch, Some(pictures));
        lens.load(weights);
        let control = Weights::initial(lens.network(), CONTROL_SEED);
        let options = Options {
            against: None,
            methods: reported(lens.blocks().len()).to_vec(),
            means: None,
            standing: standing::verdict(standing.as_ref()),
        };
        let explained = telling(&judge(lens, pictures)?, [1, 1, 1]).into_iter().map(|judged| {
            let name = pictures.name(judged.index);
            let pixels = pictures.pixels(judged.index).map_err(|reason| anyhow!("{name}: {reason}"))?;
            let explanation = Explanation::new(lens, weights, &control, &pixels, &options)?;
            Explained::new(lens, &explanation, classes, &name, Some(judged.truth))
        });
        explained.collect()
    }
}
