//! Training: the step, the epoch, the evaluation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::data::augment::{AugmentOptions, EpochChanges};
use crate::data::batch::{Batch, shuffled_for_batches};
use crate::data::loader::{MAX_LOADERS, with_batches};
use crate::data::{Images, Rejected, threads};
use crate::gpu::{Gpu, Plan};
use crate::nn::checkpoint::{Checkpoint, Weights};
use crate::nn::{Averages, Metrics, Mode, Model, Network, Optimizer, StepOptions};

pub mod environment;
pub mod evaluation;
pub mod lr_find;
pub mod predictions;
pub mod predictor;
pub mod run_dir;
pub mod standing;

mod config;
mod ranges;
mod run;
mod schedule;

pub use config::{ClassWeights, Config, Extras, Folders, Imported, OptimizerName, Source, Training, Which};
pub use ranges::{OutOfRange, check_batch, check_preparation, check_recipe, check_val_share};
pub(crate) use ranges::{check_classes, check_folder, check_folders, check_imported, check_training};
pub(crate) use run::{CONFIG, REMEDY, VALIDATION, check_weights, digest_of_list};
pub use run::{Origin, Run, is_run};
pub use schedule::{Schedule, ScheduleName};

use predictions::{Prediction, logits, predict};

/// What is said where images have vanished while they were needed.
const NONE_READABLE: &str = "none of the images can be read any more: is the --data folder still there?";

/// How a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// How the weights move.
    pub optimizer: Optimizer,
    /// How far, at most.
    pub lr: f64,
    /// How that changes over the epochs.
    pub schedule: Schedule,
    /// Epochs in which it first rises.
    pub warmup: f64,
    /// What the loss and its gradient are.
    pub step: StepOptions,
    /// Decay of the averages of the weights that are taken for the weights between epochs, if they are.
    pub ema: Option<f64>,
    /// Decides order, flips and dropout masks.
    pub seed: u64,
    /// How training images are changed at random.
    pub augment: AugmentOptions,
}

/// One epoch's line in `metrics.jsonl` and `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean loss of the training images while the weights moved: in training mode, dropout on.
    pub train_loss: f64,
    /// Share of training images that were right, measured likewise.
    pub train_acc: f64,
    /// Mean loss of the validation images after the epoch, in evaluation mode.
    pub val_loss: f64,
    /// Share of validation images that are right, measured likewise.
    pub val_acc: f64,
    /// Training images a second, loading included.
    pub images_per_s: f64,
    /// Seconds for the epoch's training, loading included.
    pub train_seconds: f64,
    /// Seconds for its evaluation, loading included.
    pub val_seconds: f64,
    /// Validation images that could be read in this epoch. Runs of older versions do not say.
    pub val_images: Option<usize>,
}

/// How far an epoch or an evaluation has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Images submitted so far.
    pub images: usize,
    /// Loss and accuracy so far, now and then.
    pub metrics: Option<Metrics>,
}

/// How often the metrics are read within an epoch. Reading makes the processor wait for the device.
const METRICS_EVERY: Duration = Duration::from_secs(1);
/// Steps that may wait on the device, so that uploads do not pile up in memory.
const STEPS_AHEAD: usize = 2;

/// A model in training, with its plans.
pub struct Trainer<'a> {
    gpu: &'a Gpu,
    model: &'a Model,
    recipe: Recipe,
    training_step: Plan,
    evaluation: Plan,
    averages: Option<Averages>,
    steps: u32,
    /// Learning rate of the last step.
    last_lr: f64,
    /// What the batch norms had counted before.
    counters: BTreeMap<String, i64>,
}

impl<'a> Trainer<'a> {
    /// Prepares to train `model` from `weights`. Kernels are compiled first; `compiling(done, all)` is told of it.
    ///
    /// # Errors
    /// When the device failed.
    pub fn new(
        gpu: &'a Gpu,
        model: &'a Model,
        weights: &Weights,
        recipe: Recipe,
        compiling: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let mut training_step = model.training_step_with(gpu, &recipe.optimizer, &recipe.step)?;
        let averages = recipe.ema.map(|_| Averages::new(gpu, model)).transpose()?;
        if let (Some(averages), Some(decay)) = (&averages, recipe.ema) {
            training_step.extend(averages.update(gpu, decay));
        }
        let mut evaluation = model.forward(gpu, Mode::Eval);
        evaluation.extend(model.loss(gpu));
        model.set_live(gpu, model.batch());
        pollster::block_on(training_step.compile(gpu, compiling))?;
        model.load(gpu, weights);
        let counters = weights.counters.clone();
        Ok(Self { gpu, model, recipe, training_step, evaluation, averages, steps: 0, last_lr: 0.0, counters })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        self.model.network()
    }

    /// Learning rate of the last step; 0 before the first.
    pub fn last_lr(&self) -> f64 {
        self.last_lr
    }

    /// Starts over from other weights, with all kernels as they are. What follows is what a new trainer would do.
    ///
    /// # Panics
    /// When the optimiser is another one, or what a step does beside: they are part of the kernels.
    pub fn restart(&mut self, weights: &Weights, recipe: Recipe) {
        let kernels = |recipe: &Recipe| (recipe.optimizer, recipe.step.clone(), recipe.ema);
        assert!(kernels(&recipe) == kernels(&self.recipe), "the kernels are made for {:?}", self.recipe);
        self.model.load(self.gpu, weights);
        if let Some(averages) = &mut self.averages {
            averages.reset();
        }
        self.recipe = recipe;
        self.steps = 0;
        self.last_lr = 0.0;
        self.counters.clone_from(&weights.counters);
    }

    /// Trains on all images once, in a new order. Epochs count from 1. With averages, it is these that the model then has, and its own
    /// weights again in the next epoch. Returns the metrics in training mode, and the images that had become
    /// unreadable.
    ///
    /// # Errors
    /// When the device failed or the loss is no longer finite.
    pub fn train(
        &mut self,
        images: &dyn Images,
        epoch: usize,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Metrics, Vec<Rejected>)> {
        let Recipe { optimizer, lr, schedule, warmup, seed, augment, .. } = self.recipe;
        if let Some(averages) = &mut self.averages {
            averages.before_epoch(self.gpu)?;
        }
        let (batch, least) = (self.model.batch(), self.model.network().least_batch());
        let order = shuffled_for_batches(images.len(), seed, epoch as u64, batch, least);
        let augmentation = Some(EpochChanges { augment, seed, epoch: epoch as u64 });
        let (gpu, model, plan) = (self.gpu, self.model, &self.training_step);
        let (steps, last_lr) = (&mut self.steps, &mut self.last_lr);
        let steps_an_epoch = order.len().div_ceil(model.batch()) as f64;
        let mut steps_done = 0.0;
        let mut submit = |batch: &Batch| {
            *steps += 1;
            let epochs_done = (epoch - 1) as f64 + steps_done / steps_an_epoch;
            *last_lr = lr * schedule.factor(warmup, epochs_done, steps_an_epoch);
            steps_done += 1.0;
            model.set_step(gpu, &optimizer, *last_lr, batch.indices.len(), seed, *steps);
            plan.submit(gpu)
        };
        let (metrics, rejected) = run(gpu, model, images, &order, augmentation, &mut submit, progress)?;
        ensure!(metrics.broken == 0, "the loss is no longer a finite number in epoch {epoch}: lower --lr (now {lr})");
        if let Some(averages) = &self.averages {
            averages.after_epoch(self.gpu)?;
        }
        Ok((metrics, rejected))
    }

    /// Judges the model on all images, in evaluation mode. Returns the images that had become unreadable as well.
    ///
    /// # Errors
    /// When the device failed or the loss is not finite.
    pub fn evaluate(
        &self,
        images: &dyn Images,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Metrics, Vec<Rejected>)> {
        let order: Vec<usize> = (0..images.len()).collect();
        let mut submit = |batch: &Batch| {
            self.model.set_live(self.gpu, batch.indices.len());
            self.evaluation.submit(self.gpu)
        };
        let (metrics, rejected) = run(self.gpu, self.model, images, &order, None, &mut submit, progress)?;
        ensure!(metrics.broken == 0, "the validation loss is not a finite number: lower --lr (now {})", self.recipe.lr);
        Ok((metrics, rejected))
    }

    /// Judges other weights as [`Trainer::evaluate`] does. Training then goes on as if nothing had been.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn evaluate_others(
        &self,
        weights: &Weights,
        images: &dyn Images,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Metrics, Vec<Rejected>)> {
        let own = self.weights()?;
        self.model.exchange(self.gpu, weights);
        let judged = self.evaluate(images, progress);
        self.model.exchange(self.gpu, &own);
        judged
    }

    /// The logits of all images in evaluation mode, (images, classes), in their order.
    ///
    /// # Errors
    /// When the device failed, an image cannot be read any more, or a logit is not finite.
    pub fn logits(&self, images: &dyn Images, progress: &mut dyn FnMut(Progress)) -> Result<Vec<f32>> {
        let (predictions, rejected) = self.predict(images, progress)?;
        check_all_read(&rejected)?;
        Ok(predictions.into_iter().flat_map(|prediction| prediction.logits).collect())
    }

    /// What the model says of all images in evaluation mode, in their order. Returns the images that had become unreadable as
    /// well.
    ///
    /// # Errors
    /// When the device failed, or a logit is not finite.
    pub fn predict(
        &self,
        images: &dyn Images,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Vec<Prediction>, Vec<Rejected>)> {
        let mut done = 0;
        let (predictions, rejected) = predict(images, self.model.batch(), self.network().normalize(), |batch| {
            let said = logits(self.gpu, self.model, &self.evaluation, batch)?;
            done += batch.indices.len();
            progress(Progress { images: done, metrics: None });
            Ok(said)
        })?;
        ensure!(!predictions.is_empty(), NONE_READABLE);
        let finite = predictions.iter().flat_map(|prediction| &prediction.logits).all(|logit| logit.is_finite());
        ensure!(finite, "the network's outputs are not finite numbers: lower --lr (now {})", self.recipe.lr);
        Ok((predictions, rejected))
    }

    /// The weights as they are now; with averages, these.
    ///
    /// # Errors
    /// When the device failed or a weight is not finite, which the loss need not show: ReLU may swallow it.
    pub fn weights(&self) -> Result<Weights> {
        let mut weights = pollster::block_on(self.model.weights(self.gpu, self.steps.into()))?;
        for (name, count) in &mut weights.counters {
            *count += self.counters.get(name).copied().unwrap_or_default();
        }
        for (name, values) in &weights.tensors {
            let finite = values.iter().all(|value| value.is_finite());
            ensure!(finite, "the weights {name} are no longer finite numbers: lower --lr (now {})", self.recipe.lr);
        }
        Ok(weights)
    }
}

/// The best epoch so far.
pub struct Best {
    /// How it did on the validation images.
    pub val: Metrics,
    /// Those that could not be read then.
    pub lost: BTreeSet<String>,
    /// Its weights.
    pub checkpoint: Checkpoint,
}

impl Best {
    /// Whether a later epoch, whose weights the trainer has, did better: more of the same images right, or as many with a lower
    /// loss. Where images have come or gone since, the earlier weights are judged anew on those that are there now; if the
    /// images change once more meanwhile, nothing is shown and the earlier epoch stays.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn is_beaten_by(
        &mut self,
        val: &Metrics,
        lost: &BTreeSet<String>,
        trainer: &Trainer<'_>,
        images: &dyn Images,
    ) -> Result<bool> {
        if self.lost != *lost {
            let (again, lost_now) = trainer.evaluate_others(&self.checkpoint.weights, images, &mut |_| {})?;
            self.val = again;
            self.lost = lost_now.into_iter().map(|lost| lost.file).collect();
        }
        let rank = |metrics: &Metrics| (metrics.correct, -metrics.loss_sum);
        Ok(self.lost == *lost && rank(val) > rank(&self.val))
    }
}

/// For work whose result would be another one without some of its images.
///
/// # Errors
/// When an image could not be read.
pub fn check_all_read(rejected: &[Rejected]) -> Result<()> {
    if let [Rejected { file, reason }, ..] = rejected {
        bail!("{file} {reason}, though it could be read before: restore it and run this again");
    }
    Ok(())
}

/// Feeds the images to the device in batches, `STEPS_AHEAD` of what it has finished.
fn run(
    gpu: &Gpu,
    model: &Model,
    images: &dyn Images,
    order: &[usize],
    augmentation: Option<EpochChanges>,
    submit: &mut dyn FnMut(&Batch) -> Result<wgpu::SubmissionIndex, crate::gpu::GpuError>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Metrics, Vec<Rejected>)> {
    model.clear_metrics(gpu);
    let metrics = || pollster::block_on(model.metrics(gpu));
    let mut rejected = Vec::new();
    let mut submitted = 0;
    let normalize = model.network().normalize();
    with_batches(images, order, model.batch(), augmentation, normalize, threads().min(MAX_LOADERS), |batches| {
        let mut in_flight = VecDeque::new();
        let mut last_read = Instant::now();
        while let Some(mut batch) = batches.next() {
            rejected.append(&mut batch.rejected);
            if batch.indices.is_empty() {
                continue;
            }
            if in_flight.len() == STEPS_AHEAD {
                gpu.wait(in_flight.pop_front())?;
            }
            model.set_batch(gpu, &batch.images, &batch.labels);
            in_flight.push_back(submit(&batch)?);
            submitted += batch.indices.len();
            batches.recycle(batch);
            let due = last_read.elapsed() >= METRICS_EVERY;
            progress(Progress { images: submitted, metrics: if due { Some(metrics()?) } else { None } });
            if due {
                last_read = Instant::now();
            }
        }
        anyhow::Ok(())
    })?;
    ensure!(submitted > 0, NONE_READABLE);
    Ok((metrics()?, rejected))
}
