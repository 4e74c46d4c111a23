//! The program's commands, from resolved options to files and lines on the terminal.

mod bench;
mod depth;
mod doctor;
mod evaluate;
mod explain;
mod export;
mod features;
mod fetch;
pub mod images;
mod import;
mod kernels;
mod layers;
mod learned;
mod named;
mod predict;
mod preview;
mod report;
mod serve;
mod stop;
mod summary;
mod synth;
mod train;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use clap::CommandFactory;
use clap_complete::Shell;
use image::RgbImage;
use pollster::block_on;

use crate::cli::{BenchCommand, Cli, Command, DataCommand, DeviceArgs};
use crate::data::fit::Fit;
use crate::data::folder::recordable;
use crate::data::names::path_text;
use crate::data::{Images, prepare, spread};
use crate::disk;
use crate::explain::inspect::check_predictor;
use crate::explain::learned::{Survey, survey};
use crate::explain::{Lens, predict};
use crate::gpu::{Gpu, GpuError, TileLimits, adapters};
use crate::memory;
use crate::nn::Keep;
use crate::nn::checkpoint::Weights;
use crate::reading::{no_file, unusable};
use crate::report::REPORT;
use crate::stats::standing::{self, Standing};
use crate::terminal::{self, bar, counted, one_line, say};
use crate::train::Which;
use crate::train::needs;
use crate::train::predictions;
use crate::train::predictor::Predictor;
use crate::train::run_dir::{self, RunDir};
use crate::train::{REMEDY, Run};

/// Memory for the images of a run that is looked into, in MiB.
const CACHE: usize = 512;

/// The page of a folder that a command makes.
const INDEX: &str = "index.html";

/// The device failed while a command used it. The program ends with a status of its own then.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DeviceFailed(String);

/// The status that the program ends with after an error.
pub fn status(error: &Error) -> u8 {
    if error.is::<DeviceFailed>() { 3 } else { 1 }
}

/// Runs a command. Returns the program's exit code.
///
/// # Errors
/// One error with its remedy.
pub fn run(cli: Cli) -> Result<ExitCode> {
    stop::outlive_large_files()?;
    if let Some(run) = cli.command.run() {
        disk::sweep(run);
    }
    let done = match cli.command {
        Command::Doctor(arguments) => return doctor::doctor(&arguments),
        Command::Data(DataCommand::Synth(arguments)) => synth::synth(&arguments),
        Command::Data(DataCommand::Fetch(arguments)) => fetch::fetch(&arguments),
        Command::Train(arguments) => return train::train(*arguments).map_err(with_options),
        Command::Features(arguments) => features::features(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Predict(arguments) => predict::predict(&arguments),
        Command::Evaluate(arguments) => evaluate::evaluate(&arguments),
        Command::Learned(arguments) => learned::learned(&arguments),
        Command::Layers(arguments) => layers::layers(&arguments),
        Command::Depth(arguments) => depth::depth(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::Adapters => list_adapters(),
        Command::Completions { shell } => print_completions(shell),
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Export(arguments) => export::export(&arguments),
        Command::Import(arguments) => import::import(&arguments),
        Command::Summary(arguments) => summary::summary(&arguments),
        Command::Bench(BenchCommand::Step(arguments)) => bench::step(&arguments),
        Command::Bench(BenchCommand::Scaling(arguments)) => bench::scaling(&arguments),
        Command::Bench(BenchCommand::Tune(arguments)) => bench::tune(&arguments),
    };
    done.map(|()| ExitCode::SUCCESS).map_err(with_options)
}

/// The error of the device that another one follows from, if one does.
fn of_device(error: &Error) -> Option<&GpuError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// Whether an error says that the device failed.
fn has_failed(error: &Error) -> bool {
    matches!(of_device(error), Some(GpuError::Failed(_)))
}

/// Adds to an error of the device the options that help.
fn with_options(error: Error) -> Error {
    let options = match of_device(&error) {
        Some(GpuError::NoSuchAdapter { .. } | GpuError::NoDevice { .. }) => {
            "--adapter chooses one; `convscope adapters` lists them"
        }
        Some(GpuError::TooLarge { .. }) => "the options are --batch, --size, and --channels or --width",
        Some(GpuError::Failed(_)) => {
            let options = "the options are --batch, --size, --channels or --width, and --adapter";
            return DeviceFailed(format!("{error:#}\n{options}")).into();
        }
        Some(GpuError::NoSubgroups { .. }) => "use --kernels plain, tiled or auto",
        Some(GpuError::NoAdapter | GpuError::NotFinite) | None => return error,
    };
    anyhow!("{error:#}\n{options}")
}

fn list_adapters() -> Result<()> {
    let found = block_on(adapters());
    if found.is_empty() {
        bail!(GpuError::NoAdapter);
    }
    for (number, adapter) in found.iter().enumerate() {
        let info = adapter.get_info();
        let driver = format!("{} {}", info.driver, info.driver_info);
        say(format!("{number}  {}  ({:?}, {:?}, {driver})", info.name, info.device_type, info.backend));
        if let Some(measured) = kernels::shown(&info) {
            say(format!("   {measured}"));
        }
    }
    Ok(())
}

fn print_completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "convscope", &mut script);
    terminal::print_file(&script);
    Ok(())
}

/// Opens what `--adapter`, `--kernels` and `--tiles` ask for.
///
/// # Errors
/// One error with its remedy.
pub fn open(device: &DeviceArgs) -> Result<Gpu> {
    memory::check_driver()?;
    let gpu = block_on(Gpu::open(&device.adapter.clone().unwrap_or_default()))?;
    kernels::choose(gpu, device)
}

/// A lens on a run's network with these weights, with a bar while its kernels are compiled.
///
/// # Errors
/// When the device failed, or the weights make no finite numbers, naming their file.
fn lens<'a>(gpu: &'a Gpu, run: &Run, which: Which, weights: &Weights, batch: u16) -> Result<Lens<'a>> {
    let lens = compiled(gpu, run, batch)?;
    load(&lens, run, which, weights)?;
    Ok(lens)
}

/// The same without weights.
fn compiled<'a>(gpu: &'a Gpu, run: &Run, batch: u16) -> Result<Lens<'a>> {
    needs::check_network(gpu, run.network(), batch.into(), Keep::Everything)?;
    Ok(showing_compilation(|told| block_on(Lens::new(gpu, run.network(), batch.into(), told)))?)
}

/// What `make` makes, with a bar that shows how many of how many kernels it says are compiled.
fn showing_compilation<T>(make: impl FnOnce(&mut dyn FnMut(usize, usize)) -> T) -> T {
    let compiling = bar("{msg} [{bar:30}] {elapsed}", 0).with_message("compiling kernels");
    let made = make(&mut |done, all| {
        compiling.set_length(all as u64);
        compiling.set_position(done as u64);
    });
    compiling.finish_and_clear();
    made
}

/// Loads a run's weights, which must make finite numbers.
fn load(lens: &Lens, run: &Run, which: Which, weights: &Weights) -> Result<()> {
    lens.load(weights);
    lens.check_finite().map_err(|error| blaming(error, run, which))
}

/// Names the file of weights that an error is due to, unless it is due to the device.
fn blaming(error: Error, run: &Run, which: Which) -> Error {
    if has_failed(&error) { error } else { error.context(unusable(&run.folder().join(which.file()))).context(REMEDY) }
}

/// A run's network that only predicts, with these weights and a bar while its kernels are compiled.
///
/// # Errors
/// As [`lens`].
fn predictor<'a>(gpu: &'a Gpu, run: &Run, which: Which, weights: &Weights, batch: u16) -> Result<Predictor<'a>> {
    needs::check_network(gpu, run.network(), batch.into(), Keep::Needed)?;
    let predictor = showing_compilation(|told| Predictor::new(gpu, run.network(), batch.into(), told))?;
    predictor.load(weights);
    check_predictor(&predictor).map_err(|error| blaming(error, run, which))?;
    Ok(predictor)
}

/// Surveys up to `most` images, spread evenly over the set, with a bar.
fn surveyed(lens: &Lens, images: &dyn Images, most: usize, patches: usize) -> Result<Survey> {
    let order = spread(images.len(), most);
    let looking = bar("{msg} {pos}/{len} [{bar:30}]", order.len() as u64).with_message("looking at images");
    let found = survey(lens, images, &order, patches, |done| looking.set_position(done as u64))?;
    looking.finish_and_clear();
    if let Some(first) = found.rejected.first() {
        let (count, file, reason) = (counted(found.rejected.len(), "image"), &first.file, &first.reason);
        say(format!("note: left out, as they can no longer be read: {count}; the first: {file} {reason}"));
    }
    Ok(found)
}

/// What was said of a run's weights before anything else.
struct Said {
    /// Whether they do better than always naming the commonest class.
    verdict: standing::Verdict,
    /// What a page about them must say first.
    notes: Vec<String>,
}

/// Says how a run's weights do beside always naming the commonest class, before anything else is said of them, and why that is
/// not known where the run's metrics are damaged. `validation` are the run's validation images, where they are at hand.
fn say_standing(run: &Run, which: Which, epoch: usize, validation: Option<&dyn Images>) -> Said {
    let found = Standing::of_run(run, which, epoch, validation);
    let standing = found.as_ref().ok().and_then(Option::as_ref);
    print_standing(which, standing);
    let problem = found.as_ref().err().map(one_line);
    problem.iter().for_each(|problem| say(format!("note: {problem}")));
    let notes = standing::caution(standing).into_iter().chain(problem).collect();
    Said { verdict: standing::verdict(standing), notes }
}

/// The same, if this is a network that was trained here.
fn say_recorded(run: &Run, which: Which, epoch: usize, validation: Option<&dyn Images>) -> Option<Said> {
    run.imported().is_none().then(|| say_standing(run, which, epoch, validation))
}

/// What was said of a network that was trained here. How one from elsewhere does is counted on the labelled images that are at hand, and
/// said now, with what is not known of them.
///
/// # Errors
/// When the device failed.
fn or_counted(said: Option<Said>, run: &Run, which: Which, lens: &Lens, images: Option<&dyn Images>) -> Result<Said> {
    let (imported, images) = match (said, run.imported(), images) {
        (Some(said), ..) => return Ok(said),
        (None, Some(imported), Some(images)) => (imported, images),
        (None, ..) => return Ok(say_standing(run, which, 0, None)),
    };
    let confusion = predictions::confusion(&predict(lens, images)?, run.classes().len());
    let standing = Standing::of_confusion(&confusion, 1);
    print_standing(which, standing.as_ref());
    let unknown = imported.caution();
    say(format!("note: {unknown}"));
    let drawn = imported.drawn.then(|| format!("Note: {}.", crate::report::DRAWN));
    let notes = standing::caution(standing.as_ref()).into_iter().chain([unknown]).chain(drawn).collect();
    Ok(Said { verdict: standing::verdict(standing.as_ref()), notes })
}

/// The validation images of a run of an older version, which does not say how many of them each class has, if they are at hand.
/// For other runs they are not read.
fn to_be_counted(run: &Run, data: Option<&Path>) -> Option<Box<dyn Images>> {
    run.config().ok()?.val_of_class.is_empty().then(|| images::validation_of(run, data, CACHE).ok()).flatten()
}

fn print_standing(which: Which, standing: Option<&Standing>) {
    if let Some(caution) = standing::caution(standing) {
        say(format!("note: {caution}"));
    } else if let Some(standing) = standing {
        say(format!("network  {}: {standing}", which.file()));
    }
}

/// The weights as captions name them. Of some from elsewhere the epoch is not known, which is then 0.
fn weights_shown(run: &Path, which: Which, epoch: usize) -> String {
    let file = run.join(which.file());
    if epoch == 0 { file.display().to_string() } else { format!("{}, epoch {epoch}", file.display()) }
}

/// Adds to an error how to go on with what is kept, where it has nothing to do with what is computed: a file could not be written, or the
/// device failed.
fn with_kept(error: Error, kept: &str) -> Error {
    if !has_failed(&error) && !error.chain().any(|cause| cause.is::<io::Error>()) {
        return error;
    }
    let error = with_options(error);
    let told = format!("{error:#}\n{kept}");
    if error.is::<DeviceFailed>() { DeviceFailed(told).into() } else { anyhow!(told) }
}

/// The line that says on what the numbers below it were computed.
fn say_adapter(gpu: &Gpu) {
    let tiles = if *gpu.tile_limits() == TileLimits::default() { "" } else { ", measured tiles" };
    say(format!("adapter  {} ({:?}), {} kernels{tiles}", gpu.info().name, gpu.info().backend, gpu.kernels()));
}

/// Checks before all work that a folder of results can be made where `--out` says, or else in or at `default`, and that this is
/// not in a folder of images, which are only read.
fn check_out(out: Option<&Path>, default: &Path, images: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<()> {
    let place = out.unwrap_or(default);
    check_apart(place, images)?;
    match out {
        Some(_) => run_dir::check_free(out),
        None => run_dir::check_place(place).context("the results cannot be put there; use --out"),
    }
}

/// Checks that what is written does not come to lie in a folder of images.
fn check_apart(place: &Path, images: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<()> {
    let shown = place.display();
    let whole = std::path::absolute(place).with_context(|| format!("--out {shown}"))?;
    let existing = whole.ancestors().find_map(|folder| folder.canonicalize().ok()).unwrap_or_default();
    for images in images {
        let images = images.as_ref();
        // Of a folder that is not there, whoever reads it says what is wrong.
        let inside = images.canonicalize().is_ok_and(|images| existing.starts_with(images));
        ensure!(
            !inside,
            "{shown}: lies in the folder of the images, {}, which is only read; name another place with --out",
            images.display()
        );
    }
    Ok(())
}

/// Checks before all work that the page can be written, and that what is to be replaced is a page, and not a photo or weights.
fn check_page(page: &Path) -> Result<()> {
    let shown = page.display();
    ensure!(
        !page.is_dir(),
        "--out {shown}: is a folder; name a file for the page, such as {}",
        page.join(REPORT).display()
    );
    if page.is_file() {
        let is_page = fs::read(page).is_ok_and(|bytes| bytes.is_empty() || bytes.starts_with(b"<!DOCTYPE html>"));
        ensure!(is_page, "--out {shown}: exists already and is no page; name another file");
    }
    disk::check_writable(page).with_context(|| format!("--out {shown}: name a file in a folder that is there"))
}

/// The folder of images that was given for a network from elsewhere, as it is recorded.
fn given_folder(run: &Run, data: Option<&Path>) -> Result<Option<String>> {
    data.filter(|_| run.imported().is_some()).map(|data| recordable("--data", data)).transpose()
}

/// The folders of a run's photos: `data`, or else the one that the run names, and that of the validation photos if it was named.
fn image_folders(run: &Run, data: Option<&Path>) -> Vec<PathBuf> {
    let config = run.config().ok();
    let own = config.and_then(|config| config.data.as_ref()).map(PathBuf::from);
    let Some(data) = data.map(Path::to_path_buf).or(own) else { return Vec::new() };
    let val = config.and_then(|config| config.folders.choices(&data).val);
    std::iter::once(data).chain(val).collect()
}

/// The name of an image's file without its ending, for a folder of results. Backslashes, which [`path_text`] writes for what cannot
/// be shown, would part folders on Windows.
fn stem(file: &Path) -> String {
    path_text(Path::new(file.file_stem().unwrap_or_default())).replace('\\', "_")
}

/// An image that was named, as the network sees it.
///
/// # Errors
/// The reason why it cannot be used, worded to follow its name.
fn named_image(file: &Path, fit: Fit) -> Result<Vec<u8>, String> {
    match no_file(file) {
        Some(problem) => Err(problem.into()),
        None => prepare::load(file, fit),
    }
}

/// A square image of RGB bytes.
fn square(size: u32, pixels: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(size, size, pixels).expect("three bytes a pixel")
}

/// Writes images as PNG into a folder, which has the folders of their names.
fn write_images(folder: &RunDir, images: &[(String, RgbImage)]) -> Result<()> {
    images.iter().try_for_each(|(name, image)| folder.write_image(name, image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_inside_a_folder_of_images_are_refused_by_name() {
        let [photos, val, elsewhere] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let images = || [photos.path(), val.path()];
        for inside in [photos.path().join("run"), val.path().join("deep/er/run"), photos.path().to_path_buf()] {
            let error = format!("{:#}", check_out(Some(&inside), Path::new("runs"), images()).unwrap_err());
            let named = error.starts_with(&inside.display().to_string());
            assert!(named && error.contains("is only read; name another place with --out"), "{error}");
        }
        check_out(Some(&elsewhere.path().join("run")), Path::new("runs"), images()).unwrap();
        check_out(None, elsewhere.path(), images()).unwrap();
        check_out(None, elsewhere.path(), [elsewhere.path().join("missing")]).unwrap();
        assert!(check_out(None, &photos.path().join("runs"), images()).is_err());
        assert!(std::fs::read_dir(photos.path()).unwrap().next().is_none(), "nothing is left there");
    }

    #[test]
    fn what_is_kept_is_told_where_the_disk_or_the_device_failed() {
        let kept = "go on with: this";
        let disk = || Error::new(io::Error::from(io::ErrorKind::StorageFull)).context("cannot write a");
        let device = || Error::new(GpuError::Failed("lost".into())).context("in the middle");
        for (error, goes_on, failed) in [
            (disk(), true, false),
            (device(), true, true),
            (GpuError::NoAdapter.into(), false, false),
            (anyhow!("the loss is no longer a finite number"), false, false),
        ] {
            let told = with_options(with_kept(error, kept));
            assert_eq!(format!("{told:#}").ends_with(kept), goes_on, "{told:#}");
            assert_eq!(status(&told), if failed { 3 } else { 1 }, "{told:#}");
        }
        let told = format!("{:#}", with_options(device()));
        assert!(told.starts_with("in the middle: the GPU stopped: lost") && told.ends_with("and --adapter"), "{told}");
    }

    #[test]
    fn folders_of_results_have_names_of_one_part() {
        for (file, expected) in [("a b/c.1.jpg", "c.1"), ("x/\u{1b}[2J\n.png", "_x1B[2J_x0A"), ("猫.jpg", "猫")] {
            assert_eq!(stem(Path::new(file)), expected);
        }
    }
}
