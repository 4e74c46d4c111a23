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
use crate::explain::{Explanation, Lens, Options, judge, telling};
use crate::gpu::Gpu;
use crate::html::{Explained, Looked, REPORT, Report, reported};
use crate::report::ScaleBy;
use crate::run_dir::{self, RunDir};
use crate::terminal::say;

/// Explanations that are shown.
const MOST_EXPLAINED: usize = 5;
/// Pictures at once on the device where nothing else is asked for.
const BATCH: u16 = 32;

pub(super) fn report(arguments: &ReportArgs) -> Result<()> {
    let ReportArgs { out, .. } = arguments;
    let run = &whole(&arguments.run);
    let config = run_dir::read_config(run)?;
    check_replaceable(out.as_deref())?;
    let data = arguments.data.clone().or(config.data.map(PathBuf::from));
    if let (Some(out), Some(data)) = (out, &data) {
        check_apart(data, Some(out))?;
    }
    let started = Instant::now();
    let mut explained = Explained::newest(run, MOST_EXPLAINED);
    // Without an adapter or the pictures, a page with less on it is better than none.
    let looked = super::open(&arguments.device).and_then(|gpu| {
        super::say_adapter(&gpu);
        let pictures = super::pictures::validation_of(run, arguments.data.as_deref(), super::CACHE)?;
        let station = Station::new(&gpu, run, arguments.batch)?;
        if explained.is_empty() {
            explained = station.explain(pictures.as_ref())?;
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
        report.config.data = Some(std::path::absolute(data)?.display().to_string());
    }
    let path = write(&report, out.as_deref())?;
    say(format!("wrote {}; {:.1} s", path.display(), started.elapsed().as_secs_f64()));
    Ok(())
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
/// there. A failure is told, and no more. `pictures` are the run's validation pictures, if they are at hand.
pub fn afterwards(gpu: &Gpu, run: &Path, pictures: Option<&dyn Pictures>, data: Option<&Path>, by: ScaleBy) {
    let started = Instant::now();
    let made = || -> Result<(PathBuf, bool)> {
        let found;
        let pictures = match pictures {
            Some(pictures) => pictures,
            None => {
                found = super::pictures::validation_of(run, data, super::CACHE)?;
                found.as_ref()
            }
        };
        let looked = Station::new(gpu, run, BATCH)?.look(run, pictures, by).map_err(|error| reason(&error));
        let report = Report::read(run, None, looked, Explained::newest(run, MOST_EXPLAINED))?;
        Ok((write(&report, None)?, report.explained.is_empty() || report.depth.is_none()))
    };
    let typed = quoted(&run.display().to_string());
    match made() {
        Ok((path, incomplete)) => {
            say(format!("report   {}, {:.1} s", path.display(), started.elapsed().as_secs_f64()));
            if incomplete {
                say(format!(
                    "         `convscope report {typed}` adds explanations, with --depth DIR a study of depth"
                ));
            }
        }
        Err(error) => say(format!("note: no report: {error:#}; `convscope report {typed}` tries again")),
    }
}

fn reason(error: &anyhow::Error) -> String {
    format!("{error:#}").trim_end_matches('.').to_string()
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
}

impl<'a> Station<'a> {
    fn new(gpu: &'a Gpu, run: &Path, batch: u16) -> Result<Self> {
        let Checkpoint { meta, weights } = run_dir::read_checkpoint(run, Which::Best.file())?;
        super::square_size(run, &meta.spec)?;
        Ok(Self { lens: super::lens(gpu, &meta.spec, batch)?, weights, classes: meta.classes })
    }

    fn look(&self, run: &Path, pictures: &dyn Pictures, by: ScaleBy) -> Result<Looked> {
        Looked::new(run, &self.lens, &self.weights, pictures, by)
    }

    /// Explains a mistake, a close call and a hit.
    fn explain(&self, pictures: &dyn Pictures) -> Result<Vec<Explained>> {
        let Self { lens, weights, classes } = self;
        lens.load(weights);
        let control = Weights::initial(lens.spec(), CONTROL_SEED);
        let options = Options { against: None, methods: reported(lens.blocks().len()).to_vec(), means: None };
        let explained = telling(&judge(lens, pictures)?, [1, 1, 1]).into_iter().map(|judged| {
            let name = pictures.name(judged.index);
            let pixels = pictures.pixels(judged.index).map_err(|reason| anyhow!("{name}: {reason}"))?;
            let explanation = Explanation::new(lens, weights, &control, &pixels, &options)?;
            Explained::new(lens, &explanation, classes, &name, Some(judged.truth))
        });
        explained.collect()
    }
}
