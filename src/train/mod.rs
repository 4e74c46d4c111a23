//! Training: the step, the epoch, the evaluation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
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

pub mod checkpoints;
pub mod environment;
pub mod evaluation;
pub mod exchange;
pub mod lr_find;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod needs;
pub mod photo_list;
pub mod predictions;
pub mod predictor;
pub mod run_dir;
pub mod standing;
pub mod state;

mod config;
mod ranges;
mod run;
mod schedule;

pub use config::{ClassWeights, Config, Extras, Folders, Imported, OptimizerName, Source, Training, Which};
pub use ranges::{OutOfRange, check_batch, check_preparation, check_recipe, check_val_share};
pub(crate) use ranges::{check_classes, check_folder, check_folders, check_imported, check_range, check_training};
pub(crate) use run::{CONFIG, ENVIRONMENT, REMEDY, check_weights};
pub(crate) use run::{GIVEN, VALIDATING};
pub use run::{Origin, Run, is_run};
pub use schedule::{Schedule, ScheduleName};

use exchange::{Exchange, add_up, check_same, joined, of_the_first, part};
use predictions::{Prediction, logits, predict};
use state::{Begun, Memory};

/// The program and a hash of its sources: what one began, another goes on with only where it is the same.
pub const PROGRAM: &str = concat!(env!("CARGO_PKG_VERSION"), " ", env!("CONVSCOPE_SOURCES"));

/// The file that lists the layers of a run's network, where one did.
pub const MODEL: &str = "model.toml";

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

/// What a step does besides where several processes train together.
struct Together<'a> {
    exchange: &'a dyn Exchange,
    /// What is done with the gradients once they are added up.
    update: Plan,
}

impl Together<'_> {
    /// Puts the mean gradient of the whole batch in the place of that of this process's part, which weighs `share` of the batch, and moves
    /// the weights.
    fn finish_step(&self, gpu: &Gpu, model: &Model, share: f64) -> Result<wgpu::SubmissionIndex> {
        let gradients = model.gradient_numbers();
        let mut numbers: Vec<f32> = pollster::block_on(gradients.read(gpu))?;
        add_up(self.exchange, &mut numbers, share, 1.0);
        gradients.write(gpu, &numbers);
        Ok(self.update.submit(gpu)?)
    }

    /// Puts the mean of all processes' batch norm statistics in the place of each one's, and checks that all have the same weights.
    fn finish_epoch(&self, gpu: &Gpu, model: &Model) -> Result<()> {
        let statistics = model.statistic_numbers();
        if !statistics.is_empty() {
            let mut numbers: Vec<f32> = pollster::block_on(statistics.read(gpu))?;
            add_up(self.exchange, &mut numbers, 1.0, self.exchange.size() as f64);
            statistics.write(gpu, &numbers);
        }
        let weights = pollster::block_on(model.weights(gpu, 0))?;
        let bytes: Vec<u8> = weights.tensors.values().flatten().flat_map(|value| value.to_le_bytes()).collect();
        check_same(self.exchange, &[("the weights after the epoch", bytes)])
    }
}

/// A model in training, with its plans.
pub struct Trainer<'a> {
    gpu: &'a Gpu,
    model: &'a Model,
    recipe: Recipe,
    training_step: Plan,
    evaluation: Plan,
    averages: Option<Averages>,
    together: Option<Together<'a>>,
    steps: u32,
    /// Learning rate of the last step.
    last_lr: f64,
    /// What the batch norms had counted before.
    counters: BTreeMap<String, i64>,
}

/// Who writes down where a training stands, while it goes on.
pub trait Keeper {
    /// Whether that is to be done now. Asked after each step that others of its epoch follow.
    fn is_due(&mut self) -> bool;

    /// Does it, and says whether the epoch is to go on.
    ///
    /// # Errors
    /// When that failed, which ends the training.
    fn keep(&mut self, trainer: &mut Trainer<'_>, begun: &Begun) -> Result<ControlFlow<()>>;
}

/// Of a training that is not written down.
struct Nobody;

impl Keeper for Nobody {
    fn is_due(&mut self) -> bool {
        false
    }

    fn keep(&mut self, _: &mut Trainer<'_>, _: &Begun) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
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
        Self::together(gpu, model, weights, recipe, None, compiling)
    }

    /// The same beside other processes, whose models have batches of the same size: theirs together are the batch of a step.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn together(
        gpu: &'a Gpu,
        model: &'a Model,
        weights: &Weights,
        recipe: Recipe,
        exchange: Option<&'a dyn Exchange>,
        compiling: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let mut training_step = model.gradients_with(gpu, &recipe.step)?;
        let mut update = model.update_with(gpu, &recipe.optimizer, &recipe.step)?;
        let averages = recipe.ema.map(|_| Averages::new(gpu, model)).transpose()?;
        if let (Some(averages), Some(decay)) = (&averages, recipe.ema) {
            update.extend(averages.update(gpu, decay));
        }
        // One process does all of it in one submission.
        let together = match exchange {
            Some(exchange) => Some(Together { exchange, update }),
            None => {
                training_step.extend(update);
                None
            }
        };
        let mut evaluation = model.forward(gpu, Mode::Eval);
        evaluation.extend(model.loss(gpu));
        model.set_live(gpu, model.batch());
        pollster::block_on(training_step.compile(gpu, compiling))?;
        model.load(gpu, weights);
        let counters = weights.counters.clone();
        Ok(Self { gpu, model, recipe, training_step, evaluation, averages, together, steps: 0, last_lr: 0.0, counters })
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

    /// All that the next step depends on, beside the images and the recipe.
    ///
    /// # Errors
    /// As [`Trainer::weights`].
    pub fn memory(&mut self) -> Result<Memory> {
        let (gpu, model) = (self.gpu, self.model);
        let stand = self.averages.as_ref().is_some_and(Averages::stand);
        if let Some(averages) = self.averages.as_mut().filter(|_| stand) {
            averages.before_epoch(gpu)?;
        }
        let mut own = pollster::block_on(model.weights(gpu, 0))?;
        own.counters.clone_from(&self.counters);
        self.check_finite(&own.tensors)?;
        let averages = match self.averages.as_mut().filter(|averages| averages.begun()) {
            Some(averages) => {
                averages.after_epoch(gpu)?;
                let read = pollster::block_on(model.weights(gpu, 0))?;
                if !stand {
                    averages.before_epoch(gpu)?;
                }
                Some(read.tensors)
            }
            None => None,
        };
        let moments = pollster::block_on(model.moments(gpu))?;
        for tensors in &moments {
            self.check_finite(tensors)?;
        }
        Ok(Memory { steps: self.steps, last_lr: self.last_lr, own, averages, moments })
    }

    /// Goes on from what [`Trainer::memory`] was of a trainer of the same network and recipe, within an epoch or between two.
    ///
    /// # Errors
    /// When the device failed.
    ///
    /// # Panics
    /// When a tensor is missing or has another length than the network's.
    pub fn recall(&mut self, memory: &Memory, within: bool) -> Result<()> {
        let (gpu, model) = (self.gpu, self.model);
        if let Some(averages) = &mut self.averages {
            averages.reset();
        }
        if let (Some(averages), Some(tensors)) = (&mut self.averages, &memory.averages) {
            model.exchange(gpu, &Weights { tensors: tensors.clone(), ..Weights::default() });
            averages.take_over(gpu)?;
        }
        model.exchange(gpu, &memory.own);
        if let Some(averages) = self.averages.as_mut().filter(|averages| averages.begun() && !within) {
            averages.after_epoch(gpu)?;
        }
        model.set_moments(gpu, &memory.moments);
        (self.steps, self.last_lr) = (memory.steps, memory.last_lr);
        self.counters.clone_from(&memory.own.counters);
        Ok(())
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
        let done = self.train_on(images, Begun::new(epoch), progress, &mut Nobody)?;
        let Begun { metrics, rejected, .. } = done.expect("nobody stops it");
        Ok((metrics, rejected))
    }

    /// The same of what is left of an epoch that has begun, perhaps in another process. `keeper` may stop it after a step that is not
    /// its last. Returns what has come of the whole epoch, or none where it was stopped.
    ///
    /// # Errors
    /// As [`Trainer::train`], and when `keeper` failed.
    pub fn train_on(
        &mut self,
        images: &dyn Images,
        begun: Begun,
        progress: &mut dyn FnMut(Progress),
        keeper: &mut dyn Keeper,
    ) -> Result<Option<Begun>> {
        if let Some(averages) = &mut self.averages {
            averages.before_epoch(self.gpu)?;
        }
        let Recipe { seed, augment, .. } = self.recipe;
        let [rank, size] = self.place();
        let (batch, least) = (self.model.batch() * size, self.model.network().least_batch() * size);
        let epoch = begun.epoch as u64;
        let all = shuffled_for_batches(images.len(), seed, epoch, batch, least);
        let own = |batch: &[usize]| batch[part(batch.len(), rank, size)].to_vec();
        let order: Vec<usize> = all.chunks(batch).flat_map(own).collect();
        let shares: Vec<f64> = all.chunks(batch).map(|batch| self.share(images, batch)).collect();
        let augmentation = Some(EpochChanges { augment, seed, epoch });
        let mut learning = Learning { trainer: self, keeper, shares };
        let mut done = run(&mut learning, images, &order, augmentation, begun, progress)?;
        if let Some(done) = &mut done {
            done.metrics = self.joined(done.metrics);
            self.check_loss(done)?;
            if let Some(averages) = &mut self.averages {
                averages.after_epoch(self.gpu)?;
            }
            if let Some(together) = &self.together {
                together.finish_epoch(self.gpu, self.model)?;
            }
        }
        Ok(done)
    }

    fn check_loss(&self, Begun { epoch, metrics, .. }: &Begun) -> Result<()> {
        if metrics.broken == 0 {
            return Ok(());
        }
        let (gpu, lr) = (self.gpu, self.recipe.lr);
        let step = pollster::block_on(self.model.first_broken_step(gpu))?;
        // No weight has moved since, but the batch is another one.
        let first = match pollster::block_on(self.model.first_not_finite(gpu))? {
            Some(first) => format!("the first that is not finite is {first}"),
            None => "with other images it is finite".into(),
        };
        bail!(
            "the loss is no longer a finite number from step {step} on, in epoch {epoch}; {first}: lower --lr (now {lr})"
        );
    }

    /// Which of how many processes this is.
    fn place(&self) -> [usize; 2] {
        self.together.as_ref().map_or([0, 1], |Together { exchange, .. }| [exchange.rank(), exchange.size()])
    }

    /// How much of the batch of these images this process has, by the weights of their classes.
    fn share(&self, images: &dyn Images, batch: &[usize]) -> f64 {
        let [rank, size] = self.place();
        let weights = self.recipe.step.class_weights.as_deref();
        let weigh = |of: &[usize]| -> f64 {
            of.iter()
                .map(|&index| weights.map_or(1.0, |weights| f64::from(weights[images.label(index) as usize])))
                .sum()
        };
        weigh(&batch[part(batch.len(), rank, size)]) / weigh(batch)
    }

    /// The metrics of all processes.
    fn joined(&self, own: Metrics) -> Metrics {
        self.together.as_ref().map_or(own, |together| joined(together.exchange, &own))
    }

    /// Whether the first process stops after this epoch: then all do.
    pub fn all_stop(&self, own: bool) -> bool {
        self.together.as_ref().map_or(own, |together| of_the_first(together.exchange, own))
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
        let [rank, size] = self.place();
        let order: Vec<usize> = part(images.len(), rank, size).collect();
        let done = run(&mut Judging(self), images, &order, None, Begun::new(1), progress)?;
        let Begun { metrics, rejected, .. } = done.expect("nobody stops it");
        let metrics = self.joined(metrics);
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
        self.check_finite(&weights.tensors)?;
        Ok(weights)
    }

    fn check_finite(&self, tensors: &BTreeMap<String, Vec<f32>>) -> Result<()> {
        for (name, values) in tensors {
            let finite = values.iter().all(|value| value.is_finite());
            ensure!(finite, "the weights {name} are no longer finite numbers: lower --lr (now {})", self.recipe.lr);
        }
        Ok(())
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

/// What is done with each batch of a pass over a set of images.
trait Pass {
    fn device(&self) -> (&Gpu, &Model);

    /// Whether an image that cannot be read is an error: other processes count on it.
    fn needs_all(&self) -> bool;

    /// Submits it. The model has the batch.
    fn submit(&mut self, batch: &Batch, begun: &Begun) -> Result<wgpu::SubmissionIndex>;

    /// Whether the pass is to go on. `begun` has no new metrics.
    fn goes_on(&mut self, _begun: &mut Begun) -> Result<bool> {
        Ok(true)
    }
}

/// Learning from them.
struct Learning<'p, 'a> {
    trainer: &'p mut Trainer<'a>,
    keeper: &'p mut dyn Keeper,
    /// Of each batch of the epoch, how much of it this process has.
    shares: Vec<f64>,
}

impl Pass for Learning<'_, '_> {
    fn device(&self) -> (&Gpu, &Model) {
        (self.trainer.gpu, self.trainer.model)
    }

    fn needs_all(&self) -> bool {
        self.trainer.together.is_some()
    }

    fn submit(&mut self, batch: &Batch, begun: &Begun) -> Result<wgpu::SubmissionIndex> {
        // Each process has images of its own, whose channels are dropped by masks of their own.
        let [rank, _] = self.trainer.place();
        let seed = self.trainer.recipe.seed ^ (rank as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let Trainer { gpu, model, recipe, training_step, together, steps, last_lr, .. } = &mut *self.trainer;
        let steps_an_epoch = self.shares.len() as f64;
        let epochs_done = (begun.epoch - 1) as f64 + begun.steps as f64 / steps_an_epoch;
        *steps += 1;
        *last_lr = recipe.lr * recipe.schedule.factor(recipe.warmup, epochs_done, steps_an_epoch);
        model.set_step(gpu, &recipe.optimizer, *last_lr, batch.indices.len(), seed, *steps);
        let submitted = training_step.submit(gpu)?;
        match together {
            Some(together) => together.finish_step(gpu, model, self.shares[begun.batches - 1]),
            None => Ok(submitted),
        }
    }

    fn goes_on(&mut self, begun: &mut Begun) -> Result<bool> {
        // After the last step the epoch is judged, and then written down as a whole.
        if begun.batches == self.shares.len() || !self.keeper.is_due() {
            return Ok(true);
        }
        begun.metrics = metrics(self)?;
        self.trainer.check_loss(begun)?;
        Ok(self.keeper.keep(self.trainer, begun)?.is_continue())
    }
}

/// Judging them.
struct Judging<'p, 'a>(&'p Trainer<'a>);

impl Pass for Judging<'_, '_> {
    fn device(&self) -> (&Gpu, &Model) {
        (self.0.gpu, self.0.model)
    }

    fn needs_all(&self) -> bool {
        self.0.together.is_some()
    }

    fn submit(&mut self, batch: &Batch, _begun: &Begun) -> Result<wgpu::SubmissionIndex> {
        self.0.model.set_live(self.0.gpu, batch.indices.len());
        Ok(self.0.evaluation.submit(self.0.gpu)?)
    }
}

/// Feeds the images that are left of a pass to the device in batches, `STEPS_AHEAD` of what it has finished. Returns what has come of
/// the whole pass, or none where it was stopped.
fn run(
    pass: &mut dyn Pass,
    images: &dyn Images,
    order: &[usize],
    augmentation: Option<EpochChanges>,
    mut begun: Begun,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Begun>> {
    let (gpu, model) = pass.device();
    let (batch, normalize) = (model.batch(), model.network().normalize());
    model.set_metrics(gpu, &begun.metrics);
    let rest = order.get(begun.batches * batch..).unwrap_or_default();
    let mut submitted = begun.metrics.seen as usize;
    let whole = with_batches(images, rest, batch, augmentation, normalize, threads().min(MAX_LOADERS), |batches| {
        let mut in_flight = VecDeque::new();
        let mut last_read = Instant::now();
        while let Some(mut batch) = batches.next() {
            if pass.needs_all() {
                check_all_read(&batch.rejected)?;
            }
            begun.batches += 1;
            begun.rejected.append(&mut batch.rejected);
            if batch.indices.is_empty() {
                continue;
            }
            let (gpu, model) = pass.device();
            if in_flight.len() == STEPS_AHEAD {
                gpu.wait(in_flight.pop_front())?;
            }
            model.set_batch(gpu, &batch.images, &batch.labels);
            in_flight.push_back(pass.submit(&batch, &begun)?);
            begun.steps += 1;
            submitted += batch.indices.len();
            batches.recycle(batch);
            let read = if last_read.elapsed() >= METRICS_EVERY { Some(metrics(pass)?) } else { None };
            progress(Progress { images: submitted, metrics: read });
            if let Some(read) = read {
                last_read = Instant::now();
                if read.broken > 0 {
                    break;
                }
            }
            if !pass.goes_on(&mut begun)? {
                return Ok(false);
            }
        }
        anyhow::Ok(true)
    })?;
    ensure!(submitted > 0, NONE_READABLE);
    begun.metrics = metrics(pass)?;
    Ok(whole.then_some(begun))
}

fn metrics(pass: &dyn Pass) -> Result<Metrics> {
    let (gpu, model) = pass.device();
    Ok(pollster::block_on(model.metrics(gpu))?)
}
