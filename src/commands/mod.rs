//! The program's commands, from resolved options to files and lines on the terminal.

mod bench;
mod depth;
mod explain;
mod features;
mod kernels;
mod layers;
mod learned;
pub mod pictures;
mod report;
mod train;

use std::path::Path;

use anyhow::{Context, Result, bail};
use image::RgbImage;

use crate::checkpoint::Weights;
use crate::cli::{BenchCommand, Cli, Command, DeviceArgs, Which};
use crate::data::{Pictures, spread};
use crate::disk;
use crate::explain::Lens;
use crate::explain::learned::{Survey, survey};
use crate::gpu::{Gpu, GpuError, adapters};
use crate::reading::{Run, unusable};
use crate::run_dir::RunDir;
use crate::standing::{self, Standing};
use crate::terminal::{bar, say};

/// Memory for the pictures of a run that is looked into, in MiB.
const CACHE: usize = 512;

/// The page of a folder that a command makes.
const INDEX: &str = "index.html";

const DRAWN: &str = "this network was trained on drawn pictures only: what it says of a photo means little";

/// Runs a command.
///
/// # Errors
/// One error with its remedy.
pub fn run(cli: Cli) -> Result<()> {
    if let Some(run) = cli.command.run() {
        disk::sweep(run);
    }
    match cli.command {
        Command::Train(arguments) => train::train(&arguments),
        Command::Features(arguments) => features::features(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Learned(arguments) => learned::learned(&arguments),
        Command::Layers(arguments) => layers::layers(&arguments),
        Command::Depth(arguments) => depth::depth(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::Adapters => list_adapters(),
        Command::Bench(BenchCommand::Step(arguments)) => bench::step(&arguments),
        Command::Bench(BenchCommand::Scaling(arguments)) => bench::scaling(&arguments),
    }
}

fn list_adapters() -> Result<()> {
    let found = pollster::block_on(adapters());
    if found.is_empty() {
        bail!(GpuError::NoAdapter);
    }
    for (number, adapter) in found.iter().enumerate() {
        let info = adapter.get_info();
        let driver = format!("{} {}", info.driver, info.driver_info);
        say(format!("{number}  {}  ({:?}, {:?}, {driver})", info.name, info.device_type, info.backend));
    }
    Ok(())
}

/// Opens what `--adapter` and `--kernels` ask for.
///
/// # Errors
/// One error with its remedy.
pub fn open(device: &DeviceArgs) -> Result<Gpu> {
    let gpu = pollster::block_on(Gpu::open(&device.adapter.clone().unwrap_or_default()))?;
    match device.kernels.0 {
        Some(kernels) => Ok(gpu.with_kernels(kernels)?),
        None => kernels::choose(gpu),
    }
}

/// A lens on a run's network with these weights, with a bar while its kernels are compiled.
///
/// # Errors
/// When the device failed, or the weights make no finite numbers, naming their file.
fn lens<'a>(gpu: &'a Gpu, run: &Run, which: Which, weights: &Weights, batch: u16) -> Result<Lens<'a>> {
    let compiling = bar("{msg} [{bar:30}] {elapsed}", 0).with_message("compiling kernels");
    let lens = Lens::new(gpu, run.network(), batch.into(), |done, all| {
        compiling.set_length(all as u64);
        compiling.set_position(done as u64);
    })?;
    compiling.finish_and_clear();
    lens.load(weights);
    lens.check_finite().with_context(|| unusable(&run.folder().join(which.file())))?;
    Ok(lens)
}

/// Surveys up to `most` pictures, spread evenly over the set, with a bar.
fn surveyed(lens: &Lens, pictures: &dyn Pictures, most: usize, patches: usize) -> Result<Survey> {
    let order = spread(pictures.len(), most);
    let looking = bar("{msg} {pos}/{len} [{bar:30}]", order.len() as u64).with_message("looking at pictures");
    let found = survey(lens, pictures, &order, patches, |done| looking.set_position(done as u64))?;
    looking.finish_and_clear();
    if let Some(first) = found.rejected.first() {
        let (count, file, reason) = (found.rejected.len(), &first.file, &first.reason);
        say(format!("note: {count} pictures can no longer be read and are left out; the first: {file}: {reason}"));
    }
    Ok(found)
}

/// Says how a run's weights do beside always naming the commonest class, before anything else is said of them. Returns
/// how they do, as far as it is known.
fn say_standing(run: &Run, which: Which, epoch: usize, validation: Option<&dyn Pictures>) -> Option<Standing> {
    let standing = Standing::of_run(run, which, epoch, validation);
    print_standing(which, standing.as_ref());
    standing
}

fn print_standing(which: Which, standing: Option<&Standing>) {
    if let Some(caution) = standing::caution(standing) {
        say(format!("note: {caution}"));
    } else if let Some(standing) = standing {
        say(format!("network  {}: {standing}", which.file()));
    }
}

/// The weights as captions name them.
fn weights_shown(run: &Path, which: Which, epoch: usize) -> String {
    format!("{}, epoch {epoch}", run.join(which.file()).display())
}

/// The most memory that this process has had so far, in millions of bytes, where the system tells (Linux).
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))?;
    Some(kib.trim().parse::<f64>().ok()? * 1024.0 / 1e6)
}

/// The line that says on what the numbers below it were computed.
fn say_adapter(gpu: &Gpu) {
    say(format!("adapter  {} ({:?}), {} kernels", gpu.info().name, gpu.info().backend, gpu.kernels()));
}

/// A square image of RGB bytes.
fn square(size: u32, pixels: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(size, size, pixels).expect("three bytes a pixel")
}

/// Writes images as PNG into a folder, which has the folders of their names.
fn write_images(folder: &RunDir, images: &[(String, RgbImage)]) -> Result<()> {
    images.iter().try_for_each(|(name, image)| folder.write_picture(name, image))
}
