//! What a run is told, every choice made.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Recipe, Schedule, ScheduleName};
use crate::data::folder::Choices;
use crate::nn::{Architecture, Optimizer};
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
    /// Images a training step.
    pub batch: usize,
    /// Passes over the training images.
    pub epochs: usize,
    /// Name of the optimiser.
    pub optimizer: OptimizerName,
    /// Learning rate, which the schedule multiplies.
    pub lr: f64,
    /// Momentum, of SGD.
    pub momentum: Option<f32>,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether training images are flipped.
    pub augment: bool,
    /// Decides all that is random.
    pub seed: u64,
    /// The file of weights that training goes on from, from the root on. None where it starts from random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Blocks that stay as they are in that file.
    #[serde(default, skip_serializing_if = "is_default")]
    pub freeze: usize,
    /// What is added to plain training.
    #[serde(flatten, deserialize_with = "reading::flattened")]
    pub extras: Extras,
}

/// What is added to plain training: nothing by default, as in runs of older versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extras {
    /// How the learning rate changes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: ScheduleName,
    /// Epochs in which it first rises.
    #[serde(default, skip_serializing_if = "is_default")]
    pub warmup: f64,
    /// Epochs between two falls, of the schedule step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_every: Option<f64>,
    /// What the learning rate is multiplied by at each, of the schedule step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_factor: Option<f64>,
}

impl Extras {
    /// The name of the first field that adds something, if one does.
    pub fn first_field(&self) -> Option<String> {
        let fields = serde_json::to_value(self).expect("settings are always valid JSON");
        fields.as_object().and_then(|fields| fields.keys().next().cloned())
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Training {
    /// How to train, with a seed that may be another than [`Training::seed`].
    pub fn recipe(&self, seed: u64) -> Recipe {
        let weight_decay = self.weight_decay;
        Recipe {
            optimizer: match self.optimizer {
                OptimizerName::Adam => Optimizer::Adam { weight_decay },
                OptimizerName::Sgd => Optimizer::Sgd { momentum: self.momentum.unwrap_or_default(), weight_decay },
            },
            lr: self.lr,
            schedule: self.schedule(),
            warmup: self.extras.warmup,
            seed,
            augment: self.augment,
        }
    }

    fn schedule(&self) -> Schedule {
        let Extras { schedule, warmup, step_every, step_factor } = self.extras;
        match schedule {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Cosine => Schedule::Cosine { epochs: self.epochs as f64 - warmup },
            ScheduleName::OneCycle => Schedule::OneCycle { epochs: self.epochs },
            ScheduleName::Step => Schedule::Step {
                every: step_every.expect("the schedule step has it"),
                factor: step_factor.expect("the schedule step has it"),
            },
        }
    }

    /// What the learning rate does over the epochs, in words.
    pub fn schedule_in_words(&self) -> String {
        let Extras { warmup, .. } = self.extras;
        let then = match self.schedule() {
            Schedule::Constant => "stays the same".into(),
            Schedule::Cosine { .. } => "falls to zero along a cosine".into(),
            Schedule::OneCycle { .. } => "rises and falls in one cycle".into(),
            Schedule::Step { every, factor } => format!("is multiplied by {factor} every {every} epochs"),
        };
        if warmup > 0.0 { format!("rises for {warmup} epochs, then {then}") } else { then }
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
