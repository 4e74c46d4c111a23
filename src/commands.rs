//! The program's commands, from resolved options to files and lines on the terminal.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use image::RgbImage;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, Meta, Weights};
use crate::cli::{Cli, Command, FeaturesArgs, TrainArgs, Which};
use crate::data::drawn::DrawnPets;
use crate::data::{Pictures, Rejected, folder, pets, photos, prepare, write_rejected};
use crate::gpu::{Gpu, adapters};
use crate::inspect::{self, Look, Stage};
use crate::model::{Metrics, Model};
use crate::run_dir::{self, RunDir};
use crate::train::{EpochRecord, Progress, Trainer};

/// Runs a command.
///
/// # Errors
/// One error with its remedy.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Train(arguments) => train(&arguments),
        Command::Features(arguments) => features(&arguments),
        Command::Adapters => list_adapters(),
    }
}

fn list_adapters() -> Result<()> {
    let found = pollster::block_on(adapters());
    if found.is_empty() {
        bail!(crate::gpu::GpuError::NoAdapter);
    }
    for (number, adapter) in found.iter().enumerate() {
        let info = adapter.get_info();
        println!(
            "{number}  {}  ({:?}, {:?}, {} {})",
            info.name, info.device_type, info.backend, info.driver, info.driver_info
        );
    }
    Ok(())
}

/// The pictures to learn from and to be judged by.
struct Data {
    classes: Vec<String>,
    train: Box<dyn Pictures>,
    val: Box<dyn Pictures>,
    rejected: Vec<Rejected>,
}

/// Where the validation pictures start among all that a seed can draw.
const FIRST_VALIDATION_PICTURE: u64 = 1 << 32;

fn train(arguments: &TrainArgs) -> Result<()> {
    arguments.check()?;
    run_dir::check_free(arguments.out.as_deref())?;
    let gpu = pollster::block_on(Gpu::open(&arguments.adapter.clone().unwrap_or_default()))?;
    println!("adapter  {} ({:?})", gpu.info().name, gpu.info().backend);

    let data = match &arguments.data {
        Some(root) => read_photos(root, arguments)?,
        None => draw_pets(arguments),
    };
    let spec = arguments.spec(data.classes.len());
    let channels: Vec<String> = spec.channels.iter().map(usize::to_string).collect();
    println!("network  blocks of {} channels, {} weights", channels.join(", "), spec.parameter_count());
    let model = Model::new(&gpu, &spec, arguments.batch)?;

    let run = RunDir::create(arguments.out.as_deref())?;
    let config = arguments.config(&data.classes, [data.train.len(), data.val.len()]);
    run.write_json("config.json", &config)?;
    run.write_json("environment.json", &Environment::new(&gpu, arguments.seed))?;
    if arguments.data.is_some() {
        write_rejected(&run.file("rejected.csv"), &data.rejected)?;
    }

    let compiling = bar("{msg} {pos}/{len} [{bar:30}] {elapsed}", 0).with_message("compiling kernels");
    let started = Instant::now();
    let weights = Weights::initial(&spec, arguments.seed);
    let mut trainer = Trainer::new(&gpu, &model, &weights, arguments.recipe(), |done, all| {
        compiling.set_length(all as u64);
        compiling.set_position(done as u64);
    })?;
    compiling.finish_and_clear();
    println!("kernels  compiled in {:.1} s", started.elapsed().as_secs_f64());

    let meta = |epoch| Meta { spec: spec.clone(), classes: data.classes.clone(), epoch };
    let best = learn(arguments, &data, &run, &mut trainer, meta)?;
    model.load(&gpu, &best.weights);
    let folder = run.file("features");
    fs::create_dir(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let pixels = data.val.pixels(0).map_err(|reason| anyhow::anyhow!("{}: {reason}", data.val.name(0)))?;
    let look = inspect::look(&gpu, &model, &pixels, Stage::Relu)?;
    let truth = &data.classes[data.val.label(0) as usize];
    let image = format!("validation image {}: {truth}", data.val.name(0));
    let weights = format!("{}, epoch {}", run.file(Which::Best.file()).display(), best.meta.epoch);
    let facts = facts(&image, &look, &data.classes, &weights);
    write_pictures(&folder, inspect::draw(&look, &model, &pixels, Stage::Relu, "Feature maps", &facts)?)?;

    println!("\nwrote {}", run.path().display());
    println!("  features/overview.png        what each block makes of one validation image: open this first");
    println!(
        "  best.safetensors             weights of epoch {}, also for PyTorch; last.safetensors those of the last",
        best.meta.epoch
    );
    println!("  metrics.csv, metrics.jsonl   one line an epoch; config.json and environment.json say how it was made");
    Ok(())
}

/// Trains for all epochs and returns the checkpoint with the highest validation accuracy.
fn learn(
    arguments: &TrainArgs,
    data: &Data,
    run: &RunDir,
    trainer: &mut Trainer<'_>,
    meta: impl Fn(usize) -> Meta,
) -> Result<Checkpoint> {
    let epochs = arguments.epochs();
    let mut rejected = data.rejected.clone();
    let mut best: Option<(Metrics, Checkpoint)> = None;
    let bar = bar(
        "{msg} [{bar:30}] {pos}/{len}  {per_sec}  ETA {eta}",
        ((data.train.len() + data.val.len()) * epochs) as u64,
    );
    for epoch in 1..=epochs {
        let before = bar.position();
        let mut show = |progress: Progress| {
            bar.set_position(before + progress.pictures as u64);
            if let Some(metrics) = progress.metrics {
                let (loss, accuracy) = (metrics.loss(), 100.0 * metrics.accuracy());
                bar.set_message(format!("epoch {epoch}/{epochs}  loss {loss:.4}  acc {accuracy:5.1} %"));
            }
        };
        bar.set_message(format!("epoch {epoch}/{epochs}"));
        let started = Instant::now();
        let (train, vanished) = trainer.train(data.train.as_ref(), epoch, &mut show)?;
        let train_seconds = started.elapsed().as_secs_f64();
        if !vanished.is_empty() {
            rejected.extend(vanished);
            rejected.sort();
            rejected.dedup();
            write_rejected(&run.file("rejected.csv"), &rejected)?;
        }

        let started = Instant::now();
        let before = before + data.train.len() as u64;
        let val =
            trainer.evaluate(data.val.as_ref(), &mut |progress| bar.set_position(before + progress.pictures as u64))?;
        let record = EpochRecord {
            epoch,
            train_loss: train.loss(),
            train_acc: train.accuracy(),
            val_loss: val.loss(),
            val_acc: val.accuracy(),
            images_per_s: f64::from(train.seen) / train_seconds,
            train_seconds,
            val_seconds: started.elapsed().as_secs_f64(),
        };
        run.append_metrics(&record)?;
        let checkpoint = Checkpoint { meta: meta(epoch), weights: trainer.weights()? };
        run.write_checkpoint(Which::Last.file(), &checkpoint)?;
        let better =
            best.as_ref().is_none_or(|(best, _)| (val.correct, -val.loss_sum) > (best.correct, -best.loss_sum));
        if better {
            run.write_checkpoint(Which::Best.file(), &checkpoint)?;
            best = Some((val, checkpoint));
        }
        bar.suspend(|| {
            println!(
                "epoch {epoch:2}/{epochs}  train loss {:.4}  acc {:5.1} %   val loss {:.4}  acc {:5.1} %   {:.0} images/s{}",
                record.train_loss,
                100.0 * record.train_acc,
                record.val_loss,
                100.0 * record.val_acc,
                record.images_per_s,
                if better { "  best so far" } else { "" }
            );
        });
    }
    bar.finish_and_clear();
    let (_, checkpoint) = best.expect("there is at least one epoch");
    Ok(checkpoint)
}

fn draw_pets(arguments: &TrainArgs) -> Data {
    let TrainArgs { seed, size, train_pictures, val_pictures, .. } = *arguments;
    println!(
        "data     {train_pictures} + {val_pictures} synthetic pictures of cats and dogs, drawn by the program (no photos; use --data for yours)"
    );
    let cache = arguments.cache << 20;
    let draw = |first, count| Box::new(DrawnPets::new(seed, first, count, size as u32, cache / 2));
    Data {
        classes: pets::CLASSES.map(String::from).to_vec(),
        train: draw(0, train_pictures),
        val: draw(FIRST_VALIDATION_PICTURE, val_pictures),
        rejected: Vec::new(),
    }
}

fn read_photos(root: &Path, arguments: &TrainArgs) -> Result<Data> {
    let found = folder::scan(root, arguments.val_share, arguments.seed)?;
    let mut rejected = found.rejected.clone();
    let reading = bar("{msg} {pos}/{len} [{bar:30}] ETA {eta}", (found.train.len() + found.val.len()) as u64);
    let reading = reading.with_message("reading photos");
    let files = [found.train.clone(), found.val.clone()];
    let total: usize = files.iter().map(Vec::len).sum();
    let mut done = 0;
    let [train, val] = files.map(|files| {
        let count = files.len();
        // The memory is shared out in proportion, so that both sets are kept to the same degree.
        let cache = ((arguments.cache as u128) << 20) * count as u128 / total.max(1) as u128;
        let show = |pictures: usize| reading.set_position((done + pictures) as u64);
        let (pictures, mut unusable) = photos::Photos::read(files, root, arguments.size as u32, cache as usize, &show);
        rejected.append(&mut unusable);
        done += count;
        Box::new(pictures)
    });
    reading.finish_and_clear();
    rejected.sort();
    found.check_decoded(train.as_ref(), &rejected)?;
    found.check_decoded(val.as_ref(), &rejected)?;
    let how = if found.split { ", validation set aside at random" } else { "" };
    println!("data     {} + {} photos of {}{how}", train.len(), val.len(), found.classes.join(", "));
    if !rejected.is_empty() {
        println!("         {} files cannot be used: rejected.csv names them and why", rejected.len());
    }
    Ok(Data { classes: found.classes, train, val, rejected })
}

fn features(arguments: &FeaturesArgs) -> Result<()> {
    let file = arguments.weights.file();
    let Checkpoint { meta, weights } = run_dir::read_checkpoint(&arguments.run, file)?;
    let [_, height, width] = meta.spec.input;
    if height != width {
        bail!(
            "--run {}: its network takes {height} x {width} pictures, only square ones can be read",
            arguments.run.display()
        );
    }
    let shown = arguments.image.display();
    let pixels =
        prepare::load(&arguments.image, height as u32).map_err(|reason| anyhow::anyhow!("{shown}: {reason}"))?;

    let gpu = pollster::block_on(Gpu::open(&arguments.adapter.clone().unwrap_or_default()))?;
    let model = Model::new(&gpu, &meta.spec, 1)?;
    model.load(&gpu, &weights);
    let look = inspect::look(&gpu, &model, &pixels, arguments.stage)?;

    let folder = match &arguments.out {
        Some(out) => RunDir::create(Some(out))?.path().to_path_buf(),
        None => {
            let parent = arguments.run.join("features");
            fs::create_dir_all(&parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
            let stem = arguments.image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            run_dir::free_name(&parent, |number| if number == 1 { stem.clone() } else { format!("{stem}-{number}") })?
        }
    };
    let weights = format!("{}, epoch {}", arguments.run.join(file).display(), meta.epoch);
    let facts = facts(&format!("image {shown}"), &look, &meta.classes, &weights);
    write_pictures(&folder, inspect::draw(&look, &model, &pixels, arguments.stage, "Feature maps", &facts)?)?;

    let predicted = look.predicted();
    println!("{shown}: {} ({:.1} %)", meta.classes[predicted], 100.0 * look.probabilities[predicted]);
    println!("wrote {}: overview.png, and block-1.png to block-{}.png", folder.display(), look.maps.len());
    Ok(())
}

/// The lines under a picture of feature maps.
fn facts(image: &str, look: &Look, classes: &[String], weights: &str) -> Vec<String> {
    let predicted = look.predicted();
    let probability = 100.0 * look.probabilities[predicted];
    vec![format!("{image}; the network says {} ({probability:.1} %)", classes[predicted]), format!("weights {weights}")]
}

fn write_pictures(folder: &Path, pictures: Vec<(String, RgbImage)>) -> Result<()> {
    for (name, picture) in pictures {
        let path = folder.join(name);
        picture.save(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A progress bar on a terminal; nothing where the output goes elsewhere.
fn bar(template: &str, len: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is valid").progress_chars("=> ");
    let bar = ProgressBar::new(len).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Where a run was made: `environment.json`.
#[derive(Serialize)]
struct Environment {
    adapter: String,
    device_type: String,
    backend: String,
    driver: String,
    driver_info: String,
    convscope: &'static str,
    wgpu: String,
    naga: String,
    os: &'static str,
    arch: &'static str,
    threads: usize,
    seed: u64,
}

impl Environment {
    fn new(gpu: &Gpu, seed: u64) -> Self {
        let info = gpu.info();
        Self {
            adapter: info.name.clone(),
            device_type: format!("{:?}", info.device_type),
            backend: format!("{:?}", info.backend),
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
            convscope: env!("CARGO_PKG_VERSION"),
            wgpu: locked_version("wgpu"),
            naga: locked_version("naga"),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            threads: crate::data::threads(),
            seed,
        }
    }
}

/// The version of a dependency that this program was built with.
fn locked_version(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"")));
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    version.unwrap_or("unknown").into()
}

#[cfg(test)]
mod tests {
    use super::locked_version;

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(locked_version("wgpu").starts_with("30."));
        assert_eq!(locked_version("no such package"), "unknown");
    }
}
