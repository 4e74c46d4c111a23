//! The learning rate range test: how large a learning rate may be, from the loss of a few steps at rising rates.
//!
//! L. Smith, WACV 2017 ("Cyclical learning rates"); rates, smoothing, stop and suggestion as in fastai's `lr_find`.

use anyhow::{Result, ensure};
use pollster::block_on;
use serde::Serialize;

use super::{NONE_READABLE, Trainer};
use crate::data::augment::EpochChanges;
use crate::data::batch::shuffled_for_batches;
use crate::data::loader::{MAX_LOADERS, with_batches};
use crate::data::{Images, threads};

/// The steps of a range test, in a folder of its own.
pub const TABLE: &str = "lr_find.csv";
/// Their curve.
pub const CHART: &str = "lr_find.svg";
/// Steps at most.
pub const STEPS: usize = 100;
/// The rates of the first step, and behind the last.
const RATES: [f64; 2] = [1e-7, 10.0];
/// What stays of the mean loss from step to step.
const SMOOTHING: f64 = 0.98;
/// Times its least value at which the smoothed loss has exploded.
const EXPLODED: f64 = 4.0;
/// Steps that are not looked at for a suggestion, at both ends.
const SKIPPED: [usize; 2] = [STEPS / 10, 5];

/// A step that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// Its number, from 1.
    pub step: usize,
    /// Its learning rate.
    pub lr: f64,
    /// Mean loss of its batch, before it.
    pub loss: f64,
    /// The moving average of the losses so far.
    pub smoothed_loss: f64,
}

impl Trainer<'_> {
    /// Trains at rising learning rates, until the loss explodes or is no longer finite. The weights are of no use afterwards.
    ///
    /// # Errors
    /// When the device failed or no image can be read.
    pub fn find_rate(&mut self, images: &dyn Images, progress: &mut dyn FnMut(usize)) -> Result<Vec<Tried>> {
        let (gpu, model, seed) = (self.gpu, self.model, self.recipe.seed);
        let mut tried: Vec<Tried> = Vec::with_capacity(STEPS);
        for epoch in 1.. {
            let order = shuffled_for_batches(images.len(), seed, epoch, model.batch(), model.network().least_batch());
            let augmentation = Some(EpochChanges { augment: self.recipe.augment, seed, epoch });
            let normalize = model.network().normalize();
            let before = tried.len();
            let workers = threads().min(MAX_LOADERS);
            let over = with_batches(images, &order, model.batch(), augmentation, normalize, workers, |batches| {
                while let Some(batch) = batches.next() {
                    if batch.indices.is_empty() {
                        continue;
                    }
                    self.steps += 1;
                    let lr = rate(tried.len());
                    model.clear_metrics(gpu);
                    model.set_batch(gpu, &batch.images, &batch.labels);
                    model.set_step(gpu, &self.recipe.optimizer, lr, batch.indices.len(), seed, self.steps);
                    self.training_step.submit(gpu)?;
                    let metrics = block_on(model.metrics(gpu))?;
                    batches.recycle(batch);
                    if metrics.broken > 0 || !follow(&mut tried, lr, metrics.loss()) {
                        return Ok(true);
                    }
                    progress(tried.len());
                }
                anyhow::Ok(false)
            })?;
            if over {
                break;
            }
            ensure!(tried.len() > before, NONE_READABLE);
        }
        ensure!(
            !tried.is_empty(),
            "the loss is not a finite number before the first step: check the weights of --init"
        );
        Ok(tried)
    }
}

/// The learning rate after so many steps.
fn rate(steps: usize) -> f64 {
    let [first, last] = RATES;
    first * (last / first).powf(steps as f64 / STEPS as f64)
}

/// Adds a step. Returns whether another is to follow.
fn follow(tried: &mut Vec<Tried>, lr: f64, loss: f64) -> bool {
    // Without what the average lacks for having begun at zero.
    let whole = |steps: usize| 1.0 - SMOOTHING.powi(steps as i32);
    let (steps, before) = (tried.len(), tried.last().map_or(0.0, |last| last.smoothed_loss));
    let sum = SMOOTHING * before * whole(steps) + (1.0 - SMOOTHING) * loss;
    tried.push(Tried { step: steps + 1, lr, loss, smoothed_loss: sum / whole(steps + 1) });
    let least = tried.iter().map(|tried| tried.smoothed_loss).fold(f64::INFINITY, f64::min);
    tried.len() < STEPS && tried[steps].smoothed_loss <= EXPLODED * least
}

/// A learning rate, and how much it stands on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion {
    /// The learning rate.
    pub lr: f64,
    /// The share of the smoothed loss that was lost from its highest place to the end of the fall.
    pub fall: f64,
}

/// What fastai's rule "valley" suggests: of the longest fall of the smoothed loss, the step behind a third and a sixth. None where
/// the loss never falls.
pub fn suggestion(tried: &[Tried]) -> Option<Suggestion> {
    let [first, last] = SKIPPED;
    let seen = tried.get(first..tried.len().checked_sub(last)?)?;
    // Steps, not all of them side by side, of which each has a lower loss than the one before, and which end at this one.
    let mut falls: Vec<usize> = Vec::with_capacity(seen.len());
    for (number, step) in seen.iter().enumerate() {
        let higher = |&before: &usize| seen[before].smoothed_loss > step.smoothed_loss;
        falls.push(1 + (0..number).filter(higher).map(|before| falls[before]).max().unwrap_or(0));
    }
    let longest = *falls.iter().max()?;
    let end = falls.iter().position(|&fall| fall == longest)?;
    let highest = seen[..=end].iter().map(|step| step.smoothed_loss).fold(0.0, f64::max);
    (longest > 1).then(|| Suggestion {
        lr: seen[(end + longest / 3 + longest / 6).saturating_sub(longest)].lr,
        fall: 1.0 - seen[end].smoothed_loss / highest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows from these losses.
    fn tried(losses: impl Fn(usize) -> f64) -> Vec<Tried> {
        let mut tried = Vec::new();
        let mut step = 0;
        while follow(&mut tried, rate(step), losses(step)) {
            step += 1;
        }
        tried
    }

    /// Falls, is least at step 70, and explodes.
    fn valley(step: usize) -> f64 {
        let step = step as f64;
        0.7 - 0.4 / (1.0 + (-(step - 50.0) / 6.0).exp()) + 0.01 * (step * 1.7).sin() + ((step - 70.0) / 5.0).exp()
    }

    #[test]
    fn rates_rise_by_the_same_factor() {
        assert_eq!(rate(0), 1e-7);
        assert!((rate(50) - 1e-3).abs() < 1e-15 && (rate(STEPS) - 10.0).abs() < 1e-12);
    }

    /// Numbers of fastai's formulas, computed in Python.
    #[test]
    fn smoothing_stop_and_suggestion_are_those_of_fastai() {
        let found = tried(valley);
        assert_eq!(found.len(), 85);
        for (step, smoothed) in [
            (0, 0.699904706843591),
            (1, 0.7049044058050431),
            (40, 0.6860483064530415),
            (70, 0.6608491984030072),
            (84, 2.4892371582432986),
        ] {
            let got = found[step].smoothed_loss;
            assert!((got - smoothed).abs() < 1e-12, "step {step}: {got} is not {smoothed}");
        }
        let suggested = suggestion(&found).unwrap();
        assert!((suggested.lr / 0.0001584893192461114 - 1.0).abs() < 1e-12, "{suggested:?}");
        // From the highest loss behind the steps that are not looked at to the end of the fall.
        assert!((suggested.fall - 0.13558885513126806).abs() < 1e-12, "{suggested:?}");
    }

    #[test]
    fn where_nothing_falls_nothing_is_suggested() {
        let rising = tried(|step| 1.0 + step as f64);
        assert_eq!(suggestion(&rising), None);
        let level = tried(|_| 0.7);
        assert_eq!(level.len(), STEPS);
        assert_eq!(suggestion(&tried(|step| if step == 0 { 1.0 } else { 1e6 })), None, "it explodes at once");
        assert_eq!(suggestion(&[]), None);
        let falling = tried(|step| 1.0 / (1.0 + step as f64));
        let suggested = suggestion(&falling).unwrap();
        assert!(suggested.lr > 1e-7 && suggested.lr < 10.0 && suggested.fall > 0.5, "{suggested:?}");
    }
}
