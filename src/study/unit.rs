//! One network trained on all folds but one and scored on that one.

use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::reading;
use super::{Candidate, Identity, Settings};
use crate::data::split::{Split, unit_seed};
use crate::data::{Images, Subset};
use crate::nn::checkpoint::Weights;
use crate::stats;
use crate::train::run_dir::RunDir;
use crate::train::{Progress, Recipe, Trainer, check_all_read};

/// Folder of the units' files.
pub const UNITS: &str = "units";

/// Which network is trained, and which fold is scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Name of the candidate that it trains.
    #[serde(alias = "rung")]
    pub candidate: String,
    /// Number of the repeat, from 1.
    pub repeat: usize,
    /// Number of the fold that is scored, from 1.
    pub fold: usize,
}

impl Unit {
    /// All units of a study: repeat by repeat, fold by fold, candidate by candidate, so that early ones can be compared early.
    pub fn all(settings: &Settings, candidates: &[Candidate]) -> Vec<Self> {
        let mut units = Vec::new();
        for repeat in 1..=settings.repeats {
            for fold in 1..=settings.folds {
                units.extend(candidates.iter().map(|candidate| Self {
                    candidate: candidate.name.clone(),
                    repeat,
                    fold,
                }));
            }
        }
        units
    }

    /// Its file below the study's folder.
    pub fn file(&self) -> String {
        format!("{UNITS}/{}-r{}-f{}.json", self.candidate, self.repeat, self.fold)
    }
}

/// What became of a unit: its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitResult {
    /// What it was made of and by.
    pub identity: Identity,
    /// Which unit it is.
    pub unit: Unit,
    /// Seed of initial weights, order, flips and dropout.
    pub seed: u64,
    /// Adapter that computed it. Results of several may be put together.
    pub adapter: String,
    /// Images it learned from.
    pub learned_from: usize,
    /// Mean training loss of each epoch.
    pub train_loss: Vec<f64>,
    /// Seconds that it took.
    pub seconds: f64,
    /// What became of the fold's images.
    pub scores: Scores,
}

/// What a network makes of images that it has not learned from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Images that it takes for another class.
    pub wrong: usize,
    /// Mean of minus the logarithm of the right class's probability.
    pub log_loss: f64,
    /// Index of each image in the whole set.
    #[serde(alias = "pictures")]
    pub images: Vec<usize>,
    /// Whether it takes each for what it is.
    pub correct: Vec<bool>,
    /// Log-loss of each.
    pub losses: Vec<f64>,
}

impl Scores {
    /// Scores logits, (n, classes), of the images at `indices`.
    pub fn new(logits: &[f32], indices: &[usize], images: &dyn Images) -> Self {
        let classes = logits.len() / indices.len();
        let mut scores = Self { images: indices.to_vec(), ..Self::default() };
        for (row, &index) in logits.chunks_exact(classes).zip(indices) {
            let label = [images.label(index) as usize];
            scores.correct.push(stats::accuracy(row, &label) == 1.0);
            scores.losses.push(stats::log_loss(row, &label));
        }
        scores.wrong = scores.correct.iter().filter(|correct| !**correct).count();
        scores.log_loss = scores.losses.iter().sum::<f64>() / indices.len() as f64;
        scores
    }

    /// Share of wrong images in percent.
    pub fn error(&self) -> f64 {
        100.0 * self.wrong as f64 / self.correct.len() as f64
    }
}

/// Trains a network from its first weights for all epochs and leaves it with its last. Returns the mean training loss of
/// each epoch. `progress` is told how many images have been learned from so far.
///
/// # Errors
/// When the device failed, the loss is not finite or an image cannot be read any more.
pub fn learn(
    trainer: &mut Trainer<'_>,
    candidate: &Candidate,
    recipe: Recipe,
    epochs: usize,
    images: &dyn Images,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<f64>> {
    trainer.restart(&Weights::initial(&candidate.network, recipe.seed), recipe);
    let mut losses = Vec::with_capacity(epochs);
    for epoch in 1..=epochs {
        let before = (epoch - 1) * images.len();
        let mut show = |now: Progress| progress(before + now.images);
        let (metrics, rejected) = trainer.train(images, epoch, &mut show)?;
        check_all_read(&rejected)?;
        losses.push(metrics.loss());
    }
    Ok(losses)
}

/// Carries a unit out on the images of its own folds. `progress` is told how many images the device has got so far.
///
/// # Errors
/// As [`learn`].
pub fn run(
    trainer: &mut Trainer<'_>,
    candidate: &Candidate,
    unit: &Unit,
    (identity, adapter): (&Identity, &str),
    images: &dyn Images,
    split: &Split,
    progress: &mut dyn FnMut(usize),
) -> Result<UnitResult> {
    let started = Instant::now();
    let settings = &identity.settings;
    let (learned, scored) = split.parts(unit.repeat, unit.fold);
    let seed = unit_seed(settings.training.seed, unit.repeat, unit.fold);
    let learned_from = learned.len();
    let train_loss = learn(
        trainer,
        candidate,
        settings.recipe(seed),
        settings.training.epochs,
        &Subset::new(images, learned),
        progress,
    )?;
    let before = learned_from * settings.training.epochs;
    let logits =
        trainer.logits(&Subset::new(images, scored.clone()), &mut |now: Progress| progress(before + now.images))?;
    Ok(UnitResult {
        identity: identity.clone(),
        unit: unit.clone(),
        seed,
        adapter: adapter.to_string(),
        learned_from,
        train_loss,
        seconds: started.elapsed().as_secs_f64(),
        scores: Scores::new(&logits, &scored, images),
    })
}

/// Reads a unit's result, if it has one.
///
/// # Errors
/// When the file cannot be used, or was made of other data, with other settings or by other code: both name the file.
pub fn read(folder: &RunDir, identity: &Identity, unit: &Unit) -> Result<Option<UnitResult>> {
    reading::unit(folder.path(), identity, unit)
}

#[cfg(test)]
mod tests {
    use super::super::{Ladder, tests::settings};
    use super::*;
    use crate::data::drawn::{Drawn, Subject};

    #[test]
    fn units_come_repeat_by_repeat_fold_by_fold_candidate_by_candidate() {
        let settings = settings(Ladder::Truncate);
        let units = Unit::all(&settings, &settings.candidates().unwrap());
        let files: Vec<String> = units.iter().map(Unit::file).collect();
        assert_eq!(files.len(), 3 * 5 * 2);
        assert_eq!(files[..2], ["units/d5-r1-f1.json", "units/d3-r1-f1.json"]);
        assert_eq!(
            [3, 15, 29].map(|number| files[number].as_str()),
            ["units/d5-r1-f2.json", "units/d5-r2-f1.json", "units/d1-r2-f5.json"]
        );
    }

    /// Each class is named with a probability of 3/4, on two images of five the wrong one.
    #[test]
    fn scores_are_those_of_the_images() {
        let pets = Drawn::new(Subject::Pets, 0, 0, 40, 8, 1 << 20);
        let indices = [7, 3, 20, 11, 30];
        let named = |place: usize, index| pets.label(index) as usize ^ usize::from(place >= 3);
        let row = |(place, &index): (usize, &usize)| {
            let mut row = [0.0; 2];
            row[named(place, index)] = 3f32.ln();
            row
        };
        let logits: Vec<f32> = indices.iter().enumerate().flat_map(row).collect();
        let scores = Scores::new(&logits, &indices, &pets);
        assert_eq!((scores.wrong, scores.error(), &scores.images[..]), (2, 40.0, &indices[..]));
        assert_eq!(scores.correct, [true, true, true, false, false]);
        assert!((scores.losses[0] + 0.75f64.ln()).abs() < 1e-6 && (scores.losses[4] + 0.25f64.ln()).abs() < 1e-6);
        assert!((scores.log_loss + (3.0 * 0.75f64.ln() + 2.0 * 0.25f64.ln()) / 5.0).abs() < 1e-6, "{scores:?}");
    }
}
