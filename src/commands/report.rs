//! `report`: one page that tells what a run has shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow, bail, ensure};
use pollster::block_on;

use super::explain::CONTROL_SEED;
use super::{check_apart, check_page, image_folders};
use crate::cli::ReportArgs;
use crate::data::Images;
use crate::data::folder::recordable;
use crate::disk;
use crate::explain::{Explanation, Lens, Options, judge, predict, telling};
use crate::figures::ScaleBy;
use crate::gpu::Gpu;
use crate::nn::checkpoint::{Checkpoint, Weights};
use crate::report::{Explained, Looked, Made, REPORT, Report, Unlooked, reported};
use crate::stats::standing::{self, Standing};
use crate::terminal::{one_line, quoted, say};
use crate::train::predictions::{self, PREDICTIONS};
use crate::train::run_dir::RunDir;
use crate::train::standing::counted;
use crate::train::{Config, Origin, Run, Which};

/// Explanations that are shown.
const MAX_EXPLAINED: usize = 8;
/// Images at once on the device where nothing else is asked for.
const BATCH: u16 = 32;

pub(super) fn report(arguments: &ReportArgs) -> Result<()> {
    let ReportArgs { out, .. } = arguments;
    let run = &Run::open(&whole(&arguments.run))?;
    match (run.config(), &arguments.data) {
        (Ok(Config { data: None, .. }), Some(_)) => {
            bail!("--data: the run {} was trained on drawn images; leave the option out", run.folder().display())
        }
        (Err(unknown), None) => return Err(unknown),
        _ => {}
    }
    let page = out.clone().unwrap_or_else(|| run.folder().join(REPORT));
    check_apart(&page, image_folders(run, arguments.data.as_deref()))?;
    check_page(&page)?;
    let started = Instant::now();
    let mut report = Report::read(run, arguments.depth.as_deref(), run.explained(MAX_EXPLAINED))?;
    let data = arguments.data.as_ref().map(|data| recordable("--data", data)).transpose()?;
    // The commands of the page are to find the photos where they are now.
    match &mut report.made {
        Made::Trained(trained) => trained.config.data = data.or(trained.config.data.take()),
        Made::Imported(given) => given.data = data,
    }
    let network = run.checkpoint(Which::Best);
    let images = validation(run, arguments.data.as_deref());
    if let Made::Trained(trained) = &mut report.made {
        trained.config = counted(&trained.config, images.as_deref().ok());
    }
    let recorded = report.standing();
    // How a network from elsewhere does is only known once it was asked.
    if run.imported().is_none() {
        super::print_standing(Which::Best, recorded.as_ref());
    }
    tell_problems(&report);

    // Without an adapter or the images, a page with less on it is better than none.
    let looked = look(arguments, run, network, images, &mut report.explained);
    check_replaceable(&page, &looked)?;
    add(&mut report, looked);
    // Images may have come or gone since it was trained.
    if report.standing() != recorded || run.imported().is_some() {
        super::print_standing(Which::Best, report.standing().as_ref());
    }
    if let Some(imported) = run.imported() {
        say(format!("note: {}", imported.caution()));
    }
    disk::write(&page, report.page().as_bytes())?;
    say(format!("wrote {}; {:.1} s", page.display(), started.elapsed().as_secs_f64()));
    tell_study(&report);
    Ok(())
}

/// Names what is damaged, and what does not fit together.
fn tell_problems(report: &Report) {
    report.damaged.iter().chain(&report.disagreements()).for_each(|problem| say(format!("note: {problem}")));
}

/// Adds to the page what the network makes of the validation images, and says what of that is not to be had.
fn add(report: &mut Report, looked: Result<Looked, Unlooked>) {
    if let Err(why) = &looked {
        say(format!("note: the page goes without images: {}", why.reason()));
    }
    let known = report.damaged.len();
    report.add(looked);
    report.damaged[known..].iter().for_each(|problem| say(format!("note: {problem}")));
}

/// The run's validation images, or why they are not to be had.
fn validation(run: &Run, data: Option<&Path>) -> Result<Box<dyn Images>, Unlooked> {
    // Where their list is damaged, no other folder helps.
    if run.imported().is_none() {
        run.photos().map_err(|error| Unlooked::Damaged(reason(&error)))?;
    }
    super::images::validation_of(run, data, super::CACHE).map_err(|error| Unlooked::NoImages(reason(&error)))
}

/// Looks at what the run's best network makes of its validation images, and has some of them explained if none has been.
fn look(
    arguments: &ReportArgs,
    run: &Run,
    network: Result<Checkpoint>,
    images: Result<Box<dyn Images>, Unlooked>,
    explained: &mut Vec<Explained>,
) -> Result<Looked, Unlooked> {
    let network = network.map_err(|error| Unlooked::Damaged(reason(&error)))?;
    let images = images?;
    let gpu = super::open(&arguments.device).map_err(not_computed)?;
    super::say_adapter(&gpu);
    let network = BestNetwork::new(&gpu, run, network, arguments.batch)?;
    // Images of the user's own do not stand for those of the run.
    if explained.iter().all(|explained| explained.truth.is_none()) {
        let own = network.explain(run, images.as_ref()).map_err(not_computed)?;
        explained.splice(..0, own);
    }
    network.look(
        run,
        images.as_ref(),
        arguments.scale,
        super::given_folder(run, arguments.data.as_deref()).map_err(not_computed)?.as_deref(),
    )
}

fn not_computed(error: anyhow::Error) -> Unlooked {
    Unlooked::NotComputed(reason(&super::with_options(error)))
}

/// Says which study the page takes for an answer about the run, and how it differs.
fn tell_study(report: &Report) {
    if let (Some(study), Made::Trained(trained)) = (&report.depth, &report.made) {
        say(format!("depth    study in {}. {}", study.folder.display(), study.note(&trained.config)));
    }
}

/// The run's folder as the page is to name it: `.` has no name of its own.
fn whole(run: &Path) -> PathBuf {
    let tidy: PathBuf = run.components().collect();
    if tidy.file_name().is_some() { tidy } else { std::path::absolute(run).unwrap_or(tidy) }
}

/// Checks that no page that has images is replaced by one without, unless the run itself is damaged.
fn check_replaceable(page: &Path, looked: &Result<Looked, Unlooked>) -> Result<()> {
    let (reason, remedy) = match looked {
        Err(Unlooked::NoImages(reason)) => (reason, "say with --data where the images are"),
        Err(Unlooked::NotComputed(reason)) => (reason, "mend that"),
        Ok(_) | Err(Unlooked::Damaged(_)) => return Ok(()),
    };
    let shown = page.display();
    let has_images = fs::read_to_string(page).is_ok_and(|page| page.contains("data:image/"));
    ensure!(
        !has_images,
        "{shown}: stays, for a new page would be without images ({reason}): {remedy}, or name another file with --out"
    );
    Ok(())
}

/// Writes the report at the end of another command, without anything that takes long: explanations are shown if they are
/// there. What keeps a page from being made is told, and no more. `images` are the run's validation images, if they are at
/// hand; `by` says what the colours of feature maps span.
///
/// # Errors
/// When the page was made and cannot be written.
pub fn afterwards(gpu: &Gpu, run: &Path, images: Option<&dyn Images>, data: Option<&Path>, by: ScaleBy) -> Result<()> {
    let started = Instant::now();
    let made = || -> Result<Report> {
        let run = &Run::open(run)?;
        let found;
        let images = match images {
            Some(images) => images,
            None => {
                found = super::images::validation_of(run, data, super::CACHE)?;
                found.as_ref()
            }
        };
        let mut report = Report::read(run, None, run.explained(MAX_EXPLAINED))?;
        tell_problems(&report);
        let network = BestNetwork::new(gpu, run, run.checkpoint(Which::Best)?, BATCH);
        let given = super::given_folder(run, data)?;
        let looked = network.and_then(|network| network.look(run, images, by, given.as_deref()));
        if let Made::Imported(made) = &mut report.made {
            made.data = given;
        }
        check_replaceable(&run.folder().join(REPORT), &looked)?;
        add(&mut report, looked);
        Ok(report)
    };
    let typed = quoted(&run.display().to_string());
    match made() {
        Ok(report) => {
            let page = run.join(REPORT);
            disk::write(&page, report.page().as_bytes())?;
            say(format!("report   {}, {:.1} s", page.display(), started.elapsed().as_secs_f64()));
            tell_study(&report);
            match &report.made {
                Made::Trained(_) if report.explained.is_empty() || report.depth.is_none() => say(format!(
                    "         `convscope report {typed}` adds explanations, with --depth DIR a study of depth"
                )),
                Made::Imported(_) if report.explained.is_empty() => {
                    say(format!("         `convscope report {}` adds explanations", report.judged()));
                }
                Made::Trained(_) | Made::Imported(_) => {}
            }
        }
        Err(error) => say(format!("note: no report: {}; `convscope report {typed}` tries again", one_line(&error))),
    }
    Ok(())
}

fn reason(error: &anyhow::Error) -> String {
    one_line(error).trim_end_matches('.').to_string()
}

/// A run's best network, ready to be looked at.
struct BestNetwork<'a> {
    lens: Lens<'a>,
    weights: Weights,
    classes: Vec<String>,
    epoch: usize,
}

impl<'a> BestNetwork<'a> {
    fn new(
        gpu: &'a Gpu,
        run: &Run,
        Checkpoint { meta, weights, .. }: Checkpoint,
        batch: u16,
    ) -> Result<Self, Unlooked> {
        let lens = super::compiled(gpu, run, batch).map_err(not_computed)?;
        super::load(&lens, run, Which::Best, &weights).map_err(|error| {
            if super::has_failed(&error) { not_computed(error) } else { Unlooked::Damaged(reason(&error)) }
        })?;
        Ok(Self { lens, weights, classes: meta.classes, epoch: meta.epoch })
    }

    /// What the weights make of the validation images; the table of that is written where the run has none, as when it was
    /// stopped. `by` says what the colours of feature maps span.
    fn look(&self, run: &Run, images: &dyn Images, by: ScaleBy, given: Option<&str>) -> Result<Looked, Unlooked> {
        self.lens.load(&self.weights);
        let predictions = predict(&self.lens, images).map_err(not_computed)?;
        let folder = RunDir::at(run.folder().to_path_buf());
        if run.imported().is_none()
            && !folder.file(PREDICTIONS).exists()
            && let Err(error) = predictions::write(&folder, &predictions, images, &self.classes)
        {
            // The page can do without.
            say(format!("note: {}", one_line(&error)));
        }
        Looked::new(run, &self.lens, &self.weights, images, &predictions, by, given).map_err(not_computed)
    }

    /// Explains a mistake, a close call and a hit.
    fn explain(&self, run: &Run, images: &dyn Images) -> Result<Vec<Explained>> {
        let Self { lens, weights, classes, epoch } = self;
        let standing = Standing::of_run(run, Which::Best, *epoch, Some(images))?;
        lens.load(weights);
        let control = Weights::initial(lens.network(), CONTROL_SEED);
        let options = Options {
            against: None,
            methods: reported(lens.blocks().len()).to_vec(),
            means: None,
            standing: standing::verdict(standing.as_ref()),
        };
        let explained = telling(&judge(lens, images)?, [1, 1, 1]).into_iter().map(|judged| {
            let name = images.name(judged.index);
            let pixels = images.pixels(judged.index).map_err(|reason| anyhow!("{name}: {reason}"))?;
            let explanation = block_on(Explanation::new(lens, weights, &control, &pixels, &options))?;
            let origin = Origin::new(run, Which::Best, *epoch);
            Explained::new(lens, &explanation, classes, (&name, Some(judged.truth)), origin)
        });
        explained.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_not_replaced_by_one_without_images() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.html");
        let no_images = Unlooked::NoImages("the photos are gone".into());
        let no_adapter = Unlooked::NotComputed("there is no adapter".into());
        check_replaceable(&page, &Err(no_images.clone())).unwrap();
        fs::write(&page, "<!DOCTYPE html>").unwrap();
        check_replaceable(&page, &Err(no_images.clone())).unwrap();
        fs::write(&page, "<!DOCTYPE html><img src=\"data:image/png;base64,\">").unwrap();
        for (why, remedy) in [(no_images, "--data"), (no_adapter, "--out")] {
            let error = check_replaceable(&page, &Err(why.clone())).unwrap_err().to_string();
            assert!(error.contains(remedy) && error.contains(why.reason()), "{error}");
        }
        check_replaceable(&page, &Err(Unlooked::Damaged("best.safetensors is damaged".into()))).unwrap();
    }

    #[test]
    fn a_page_that_cannot_be_written_is_refused_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("page.html"), "<!DOCTYPE html>").unwrap();
        fs::write(at("photo.jpg"), "photo").unwrap();
        let error = |name: &str| format!("{:#}", check_page(&at(name)).unwrap_err());
        for (name, problem) in [
            ("missing/x.html", "name a file in a folder that is there: cannot write"),
            ("photo.jpg/x.html", "name a file in a folder that is there: cannot write"),
            ("", "is a folder; name a file for the page"),
            ("photo.jpg", "exists already and is no page"),
        ] {
            let error = error(name);
            assert!(
                error.starts_with(&format!("--out {}: ", at(name).display())) && error.contains(problem),
                "{error}"
            );
        }
        for name in ["page.html", "new.html"] {
            check_page(&at(name)).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left there");
    }
}
