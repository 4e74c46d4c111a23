//! `train`: from pictures to a run's folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, Meta, Weights};
use crate::cli::{TrainArgs, Which};
use crate::commands::pictures::{Data, Source};
use crate::data::{pets, write_rejected};
use crate::gpu::Gpu;
use crate::html::FeaturesPage;
use crate::inspect::{self, Stage};
use crate::model::{Keep, Metrics, Model};
use crate::ops::conv2d::Kernels;
use crate::report::ScaleBy;
use crate::run_dir::{self, RunDir};
use crate::terminal::{bar, say};
use crate::train::{EpochRecord, Progress, Schedule, Trainer};

pub(super) fn train(arguments: &TrainArgs) -> Result<()> {
    arguments.check()?;
    run_dir::check_free(arguments.out.as_deref())?;
    if let Some(data) = &arguments.data {
        check_apart(data, arguments.out.as_deref())?;
    }
    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);

    // What costs little and may be refused comes first; reading all photos comes last.
    let source = Source::of(arguments);
    let found = source.scan()?;
    if let Some(found) = &found
        && arguments.val_share.is_some()
        && !found.split
    {
        let root = found.root.display();
        bail!("--val-share: --data {root} has validation pictures of its own; leave the option out");
    }
    let classes = found.as_ref().map_or(pets::CLASSES.len(), |found| found.classes.len());
    let training = arguments.training(classes);
    let spec = training.model.clone();
    spec.blocks()?;
    let channels: Vec<String> = spec.channels.iter().map(usize::to_string).collect();
    say(format!("network  blocks of {} channels, {} weights", channels.join(", "), spec.parameter_count()));
    let model = Model::new(&gpu, &spec, arguments.batch, Keep::Needed)?;

    let run = RunDir::create(arguments.out.as_deref())?;
    let split = found.as_ref().is_some_and(|found| found.split);
    // A folder with nothing in it yet is no run to keep.
    let data = source.read_apart(found).inspect_err(|_| drop(fs::remove_dir(run.path())))?;
    tell(&data, arguments.data.is_none(), split);
    run.write_json("config.json", &arguments.config(&data.classes, [data.train.len(), data.val.len()], split))?;
    run.write_json("environment.json", &Environment::new(&gpu, arguments.seed))?;
    if arguments.data.is_some() {
        write_rejected(&run.file("rejected.csv"), &data.rejected)?;
        super::pictures::record_validation(&run, data.val.as_ref())?;
    }

    say("kernels  compiling: the first time this takes a while");
    let compiling = bar("{msg} [{bar:30}] {elapsed}", 0).with_message("compiling kernels");
    let started = Instant::now();
    let weights = Weights::initial(&spec, arguments.seed);
    let recipe = training.recipe(Schedule::Constant, training.seed);
    let mut trainer = Trainer::new(&gpu, &model, &weights, recipe, |done, all| {
        compiling.set_length(all as u64);
        compiling.set_position(done as u64);
    })?;
    compiling.finish_and_clear();
    say(format!("         ready after {:.1} s", started.elapsed().as_secs_f64()));

    let drawn = arguments.data.is_none();
    let meta = |epoch| Meta { spec: spec.clone(), classes: data.classes.clone(), epoch, drawn };
    let best = learn(arguments, &data, &run, &mut trainer, meta)?;
    model.load(&gpu, &best.weights);
    if !arguments.no_report {
        super::report::afterwards(&gpu, run.path(), Some(data.val.as_ref()), None, arguments.scale);
    }
    draw_features(&gpu, &model, data, &run, best.meta.epoch, arguments.scale)?;

    if let Some(peak) = super::peak_rss_mb() {
        say(format!("memory   {peak:.0} MB at most"));
    }
    say(format!("\nwrote {}", run.path().display()));
    if !arguments.no_report {
        say("  report.html                  everything on one page: open this first");
    }
    say("  features/index.html          what each block makes of one validation image");
    let epoch = best.meta.epoch;
    say(format!(
        "  best.safetensors             weights of epoch {epoch}, also for PyTorch; last.safetensors the last"
    ));
    say("  metrics.csv, metrics.jsonl   one line an epoch; config.json and environment.json say how it was made");
    Ok(())
}

/// Says what there is to learn from.
fn tell(data: &Data, drawn: bool, split: bool) {
    let (train, val) = (data.train.len(), data.val.len());
    if drawn {
        say(format!(
            "data     {train} + {val} synthetic pictures of cats and dogs, drawn by this program (--data takes your \
             photos)"
        ));
        return;
    }
    let how = if split { ", validation set aside at random" } else { "" };
    say(format!("data     {train} + {val} photos of {}{how}", data.classes.join(", ")));
    if !data.rejected.is_empty() {
        say(format!("         files that cannot be used: {}; rejected.csv names them and why", data.rejected.len()));
    }
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
    let pictures = (data.train.len() + data.val.len()) as u64;
    let bar = bar("{msg} [{bar:30}] {percent} %  {rate} images/s  ETA {eta}", pictures * epochs as u64);
    for epoch in 1..=epochs {
        let before = pictures * (epoch as u64 - 1);
        let mut show = |progress: Progress| {
            bar.set_position(before + progress.pictures as u64);
            if let Some(metrics) = progress.metrics {
                let (loss, accuracy) = (metrics.loss(), 100.0 * metrics.accuracy());
                bar.set_message(format!("epoch {epoch}/{epochs}  loss {loss:.4}  acc {accuracy:5.1} %"));
            }
        };
        bar.set_message(format!("epoch {epoch}/{epochs}"));
        let started = Instant::now();
        let (train, mut vanished) = trainer.train(data.train.as_ref(), epoch, &mut show)?;
        let train_seconds = started.elapsed().as_secs_f64();

        let started = Instant::now();
        let before = before + data.train.len() as u64;
        let mut show = |progress: Progress| bar.set_position(before + progress.pictures as u64);
        let (val, more_vanished) = trainer.evaluate(data.val.as_ref(), &mut show)?;
        vanished.extend(more_vanished);
        if !vanished.is_empty() {
            rejected.extend(vanished);
            rejected.sort();
            rejected.dedup();
            write_rejected(&run.file("rejected.csv"), &rejected)?;
        }

        let checkpoint = Checkpoint { meta: meta(epoch), weights: trainer.weights()? };
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
        run.write_checkpoint(Which::Last.file(), &checkpoint)?;
        let better =
            best.as_ref().is_none_or(|(best, _)| (val.correct, -val.loss_sum) > (best.correct, -best.loss_sum));
        bar.suspend(|| say(line(&record, epochs, better)));
        if better {
            run.write_checkpoint(Which::Best.file(), &checkpoint)?;
            best = Some((val, checkpoint));
        }
    }
    bar.finish_and_clear();
    let (_, checkpoint) = best.expect("there is at least one epoch");
    Ok(checkpoint)
}

fn line(record: &EpochRecord, epochs: usize, better: bool) -> String {
    format!(
        "epoch {:2}/{epochs}  train loss {:.4}  acc {:5.1} %   val loss {:.4}  acc {:5.1} %   {:.0} images/s{}",
        record.epoch,
        record.train_loss,
        100.0 * record.train_acc,
        record.val_loss,
        100.0 * record.val_acc,
        record.images_per_s,
        if better { "  best so far" } else { "" }
    )
}

/// Shows the feature maps of the first validation picture that can still be read. Needs memory of its own, so it takes
/// the data, whose kept pictures have done their service.
fn draw_features(gpu: &Gpu, model: &Model, data: Data, run: &RunDir, epoch: usize, by: ScaleBy) -> Result<()> {
    let readable = (0..data.val.len()).find_map(|index| Some((index, data.val.pixels(index).ok()?.into_owned())));
    let (index, pixels) = readable.context("none of the validation pictures can be read any more")?;
    let (image, truth, size) = (data.val.name(index), data.val.label(index) as usize, data.val.size());
    let classes = data.classes.clone();
    drop(data);
    let look = inspect::look(gpu, model, &pixels, Stage::Relu)?;
    let predicted = look.predicted();
    let page = FeaturesPage {
        image: &image,
        input: &super::square(size, pixels),
        prediction: (&classes[predicted], look.probabilities[predicted]),
        truth: Some(&classes[truth]),
        weights: &super::weights_shown(run.path(), Which::Best, epoch),
        notes: &[],
        layers: &inspect::layers(&look, model.spec(), Stage::Relu),
        by,
    };
    let (text, sheets) = (page.page()?, page.sheets()?);
    let folder = RunDir::at(run_dir::free_folder(run.path(), "features")?);
    folder.write(super::INDEX, text.as_bytes())?;
    super::write_images(&folder, sheets)
}

/// Checks that the run's folder does not come to lie in the data folder, which is only read.
pub(super) fn check_apart(data: &Path, out: Option<&Path>) -> Result<()> {
    let Ok(data) = data.canonicalize() else {
        // The scan says what is wrong with it.
        return Ok(());
    };
    let out = out.map_or_else(|| PathBuf::from(run_dir::RUNS), Path::to_path_buf);
    let out = std::path::absolute(&out).with_context(|| format!("--out {}", out.display()))?;
    let existing = out.ancestors().find_map(|folder| folder.canonicalize().ok());
    if existing.is_some_and(|folder| folder.starts_with(&data)) {
        bail!("it would be written into the --data folder: name another place with --out");
    }
    Ok(())
}

/// Where a run was made: `environment.json`.
#[derive(Serialize)]
struct Environment {
    adapter: String,
    device_type: String,
    backend: String,
    driver: String,
    driver_info: String,
    kernels: Kernels,
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
            kernels: gpu.kernels(),
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
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"")));
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    version.unwrap_or("unknown").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(locked_version("wgpu").starts_with("30."));
        assert_eq!(locked_version("no such package"), "unknown");
    }

    #[test]
    fn a_run_inside_the_data_folder_is_refused() {
        let data = tempfile::tempdir().unwrap();
        for inside in ["run", "deep/er/run"] {
            let error = check_apart(data.path(), Some(&data.path().join(inside))).unwrap_err().to_string();
            assert!(error.contains("--data folder"), "{error}");
        }
        let elsewhere = tempfile::tempdir().unwrap();
        check_apart(data.path(), Some(&elsewhere.path().join("run"))).unwrap();
        check_apart(data.path(), None).unwrap();
    }
}
