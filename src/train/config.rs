//! What a run is told, every choice made.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Recipe, Schedule};
use crate::data::augment::Augment;
use crate::data::folder::Choices;
use crate::nn::{Architecture, Optimizer, Preparation};
use crate::reading;

/// What `train` is to do, every choice made: `config.json` of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Tells the run from every other one, such as one of the same settings and seed: its weights and tables name it. None in
    /// runs of older versions, and before there is a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The data folder, from the root on, or none for drawn images.
    pub data: Option<String>,
    /// How its folders are read, where that was said.
    #[serde(flatten)]
    pub folders: Folders,
    /// Share of each class set aside for validation, if it was.
    pub val_share: Option<f64>,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Images to train on.
    #[serde(alias = "train_pictures")]
    pub train_images: usize,
    /// Images to validate on.
    #[serde(alias = "val_pictures")]
    pub val_images: usize,
    /// How many of them each class has; empty in runs of older versions.
    #[serde(default)]
    pub val_of_class: Vec<usize>,
    /// SHA-256 of the list of the validation photos; none for drawn images, and in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_list: Option<String>,
    /// The network and how it is trained.
    #[serde(flatten, deserialize_with = "reading::flattened")]
    pub training: Training,
}

/// `config.json` of a folder whose weights come from elsewhere: nothing in it says what they learned from, or how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// As [`Config::id`].
    pub id: String,
    /// Where the weights come from.
    pub imported: Source,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Whether the network was trained on images that the program drew.
    pub drawn: bool,
    /// How images are prepared for it.
    #[serde(default, skip_serializing_if = "Preparation::is_usual")]
    pub preparation: Preparation,
    /// The network.
    pub model: Architecture,
}

/// A file of weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, without its folder.
    pub file: String,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// How a network is built and trained: what `train` and `depth` are both told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The network.
    pub model: Architecture,
    /// The file that listed its layers, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_file: Option<String>,
    /// How images are prepared for it.
    #[serde(default, skip_serializing_if = "Preparation::is_usual")]
    pub preparation: Preparation,
    /// Images a training step.
    pub batch: usize,
    /// Passes over the training images.
    pub epochs: usize,
    /// Name of the optimiser.
    pub optimizer: OptimizerName,
    /// Learning rate of the first step.
    pub lr: f64,
    /// Momentum, of SGD.
    pub momentum: Option<f32>,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether training images are flipped.
    pub augment: bool,
    /// The least and the largest share of a training image that is cut out at random, if that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_scale: Option<[f32; 2]>,
    /// By how many degrees training images are turned at random, at most.
    #[serde(default, skip_serializing_if = "is_none")]
    pub rotate: f32,
    /// By what share brightness, contrast and saturation of training images are changed at random, at most, if that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color_jitter: Option<[f32; 3]>,
    /// Decides all that is random.
    pub seed: u64,
    /// The file of weights that training goes on from, from the root on. None where it starts from random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Blocks that stay as they are in that file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub freeze: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_none(degrees: &f32) -> bool {
    *degrees == 0.0
}

impl Training {
    /// How to train, with a seed that may be another than [`Training::seed`].
    pub fn recipe(&self, schedule: Schedule, seed: u64) -> Recipe {
        let weight_decay = self.weight_decay;
        Recipe {
            optimizer: match self.optimizer {
                OptimizerName::Adam => Optimizer::Adam { weight_decay },
                OptimizerName::Sgd => Optimizer::Sgd { momentum: self.momentum.unwrap_or_default(), weight_decay },
            },
            lr: self.lr,
            schedule,
            seed,
            augment: self.augmentation(),
        }
    }

    /// How training images are changed at random.
    pub fn augmentation(&self) -> Augment {
        let Self { augment: flip, crop_scale, rotate, color_jitter, .. } = *self;
        Augment { flip, crop_scale, rotate, color_jitter }
    }
}

/// Names of the optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Adam with PyTorch's defaults.
    Adam,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// What was said of the data folder where it does not speak for itself, as a run or a study records it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Folders {
    /// The folder of the validation images, `--val`: its path below the data folder, or from the root on where it lies
    /// elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val: Option<String>,
    /// `--class-level`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_level: Option<u8>,
}

impl Folders {
    /// The same, of a data folder that may have moved.
    pub fn choices(&self, data: &Path) -> Choices {
        Choices { val: self.val.as_ref().map(|val| data.join(val)), class_level: self.class_level.map(usize::from) }
    }
}

/// Which of a run's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Those of the epoch with the highest validation accuracy.
    Best,
    /// Those of the last epoch.
    Last,
}

impl Which {
    /// Name of their file in the run's folder.
    pub fn file(self) -> &'static str {
        match self {
            Self::Best => "best.safetensors",
            Self::Last => "last.safetensors",
        }
    }
}
