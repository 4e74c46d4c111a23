//! `doctor`: what a data set suffers from.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use super::images::{Source, tell_folders};
use crate::cli::DoctorArgs;
use crate::doctor::{Checkup, Finding, IMAGENET, Severity, examine};
use crate::figures::words::{count, plain};
use crate::report::DoctorPage;
use crate::terminal::{bar, say, say_apart};
use crate::train::run_dir::RunDir;

/// Where the page goes unless told otherwise.
const FOLDER: &str = "doctor";
/// The table of all images that are like others.
const PAIRS: &str = "pairs.csv";

pub(super) fn doctor(arguments: &DoctorArgs) -> Result<ExitCode> {
    let DoctorArgs { val, size, json, out, .. } = arguments;
    let data = arguments.data();
    let writes = !json || out.is_some();
    if writes {
        super::check_out(out.as_deref(), Path::new(FOLDER), std::iter::once(data).chain(val.as_deref()))?;
    }
    let started = Instant::now();
    let found = Source::of_folder(data, arguments.choices(), *size).scan()?.context("a folder was named")?;
    if !json {
        tell_folders(&found);
    }
    let files = found.train.len() + found.val.as_ref().map_or(0, Vec::len);
    let reading = bar("{msg} {pos}/{len} [{bar:30}] ETA {eta}", files as u64).with_message("reading photos");
    let checkup = examine(&found, *size, &|done| reading.set_position(done as u64))?;
    reading.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    if !json {
        lines(&checkup).iter().for_each(say);
    }
    let page = if writes { Some(write(&checkup, out.as_deref())?) } else { None };
    if *json {
        say(serde_json::to_string(&Answer::new(&checkup, seconds, page.as_ref()))?);
    } else if let Some(folder) = &page {
        say_apart(format!("wrote {}, after {seconds:.1} s", folder.path().display()));
        say(format!("  {:11}  what was found, with the images", super::INDEX));
        say(format!("  {PAIRS:11}  all images that are like others"));
    }
    Ok(match checkup.worst() {
        Some(Severity::Error | Severity::Warning) => ExitCode::FAILURE,
        Some(Severity::Note) | None => ExitCode::SUCCESS,
    })
}

/// What is said on the terminal.
fn lines(checkup: &Checkup) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(channels) = checkup.channels() {
        for (kind, place) in [("mean", 0), ("deviation", 1)] {
            let of = |channels: [[f64; 2]; 3]| channels.map(|channel| plain(channel[place], 3)).join(" ");
            lines.push(format!("         {kind:10}  {} (ImageNet {})", of(channels), of(IMAGENET)));
        }
    }
    lines.push(String::new());
    if checkup.findings.is_empty() {
        lines.push(format!("nothing is the matter with {} images", count(checkup.images.len())));
    }
    for finding in &checkup.findings {
        lines.push(format!("{:8} {}", finding.severity(), finding.told()));
        if let Some(example) = finding.examples.first() {
            lines.push(format!("         such as {example}"));
        }
        lines.push(format!("         {}", finding.remedy()));
    }
    lines
}

/// Writes the page and the tables.
fn write(checkup: &Checkup, out: Option<&Path>) -> Result<RunDir> {
    let page = DoctorPage { checkup }.page()?;
    let folder = match out {
        Some(_) => RunDir::create(out)?,
        None => RunDir::below(Path::new(""), FOLDER)?,
    };
    let images = &checkup.images;
    let pairs = checkup.findings.iter().flat_map(|finding| finding.pairs.iter().map(move |pair| (finding, pair)));
    folder.write_table(PAIRS, |table| {
        table.write_record(["finding", "first", "second", "difference"])?;
        for (finding, pair) in pairs {
            let difference = pair.difference.map_or("0".into(), |difference| format!("{difference:.4}"));
            table.write_record([
                finding.kind(),
                &images[pair.first].name(),
                &images[pair.second].name(),
                &difference,
            ])?;
        }
        Ok(())
    })?;
    folder.write(super::INDEX, page.as_bytes())?;
    Ok(folder)
}

/// What `doctor --json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    data: String,
    images: usize,
    size: u32,
    classes: Vec<ClassAnswer<'a>>,
    /// Of red, green and blue, in 0..1.
    mean: Option<[f64; 3]>,
    deviation: Option<[f64; 3]>,
    findings: Vec<FindingAnswer<'a>>,
    seconds: f64,
    page: Option<String>,
}

#[derive(Serialize)]
struct ClassAnswer<'a> {
    name: &'a str,
    train: usize,
    val: Option<usize>,
}

#[derive(Serialize)]
struct FindingAnswer<'a> {
    severity: Severity,
    kind: &'static str,
    count: usize,
    of: usize,
    told: String,
    remedy: String,
    examples: &'a [String],
}

impl<'a> Answer<'a> {
    fn new(checkup: &'a Checkup, seconds: f64, page: Option<&RunDir>) -> Self {
        let (train, val) = &checkup.counts;
        let class = |(index, name): (usize, &'a String)| {
            let val = val.as_ref().map(|val| val[index]);
            ClassAnswer { name, train: train[index], val }
        };
        let finding = |finding: &'a Finding| FindingAnswer {
            severity: finding.severity(),
            kind: finding.kind(),
            count: finding.count,
            of: finding.of,
            told: finding.told(),
            remedy: finding.remedy(),
            examples: &finding.examples,
        };
        let channels = checkup.channels();
        Self {
            data: checkup.root.display().to_string(),
            images: checkup.images.len(),
            size: checkup.size,
            classes: checkup.classes.iter().enumerate().map(class).collect(),
            mean: channels.map(|channels| channels.map(|[mean, _]| mean)),
            deviation: channels.map(|channels| channels.map(|[_, deviation]| deviation)),
            findings: checkup.findings.iter().map(finding).collect(),
            seconds,
            page: page.map(|folder| folder.file(super::INDEX).display().to_string()),
        }
    }
}
