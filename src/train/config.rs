//! What a run is told, every choice made.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Recipe, Schedule, ScheduleName};
use crate::data::augment::AugmentOptions;
use crate::data::batch::drawing_seed;
use crate::data::folder::Choices;
use crate::digest::Digest;
use crate::nn::{Architecture, Optimizer, Preparation, StepOptions};
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
    /// What tells the list of its photos from every other; none for drawn images, and in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo_list: Option<String>,
    /// The same of the list of the validation photos alone, in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_list: Option<String>,
    /// SHA-256 of the file that [`Training::init`] names; none in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_sha256: Option<String>,
    /// The network and how it is trained.
    #[serde(flatten, deserialize_with = "reading::flattened")]
    pub training: Training,
}

impl Config {
    /// As [`drawing_seed`].
    pub fn drawing_seed(&self) -> u64 {
        drawing_seed(self.training.seed, self.init_sha256.as_deref().and_then(Digest::read))
    }
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

impl Imported {
    /// What must be said of all that labelled images show of such a network.
    pub fn caution(&self) -> String {
        format!(
            "This network was imported from {}, and it is not known what it learned from: these images may be among it, so that what it \
             gets right of them may be too good.",
            self.imported.file
        )
    }
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
    /// Learning rate, which the schedule multiplies.
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
    #[serde(default, skip_serializing_if = "is_default")]
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
    /// The share of each target that is spread evenly over all classes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub label_smoothing: f64,
    /// How much an image of each class counts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub class_weights: ClassWeights,
    /// The largest norm of the gradient that is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_grad_norm: Option<f32>,
    /// Decay of the averages that are taken for the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Epochs in a row that may be no better than the best before training stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
}

/// How much an image of each class counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// Every image counts the same
    #[default]
    None,
    /// Every class counts the same, however many training images it has
    Balanced,
}

impl ClassWeights {
    /// The weight of each class, given how many training images each has: `n / (classes * n_of_class)`, as
    /// scikit-learn's `class_weight="balanced"` has it. A class without images weighs nothing.
    fn of(self, of_class: &[usize]) -> Option<Vec<f32>> {
        let (images, classes) = (of_class.iter().sum::<usize>() as f64, of_class.len() as f64);
        let weight = |&own: &usize| if own == 0 { 0.0 } else { (images / (classes * own as f64)) as f32 };
        (self == Self::Balanced).then(|| of_class.iter().map(weight).collect())
    }
}

impl Extras {
    /// Whether training makes another loss small than the plain cross-entropy.
    pub fn has_other_loss(&self) -> bool {
        self.label_smoothing > 0.0 || self.class_weights != ClassWeights::None
    }

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
    /// The same with the network of another one, to tell what else differs. Where the networks differ, the file that lists one says no more.
    pub(crate) fn with_network_of(&self, other: &Self) -> Self {
        let file = if self.model == other.model { self } else { other }.model_file.clone();
        Self { model: other.model.clone(), model_file: file, ..self.clone() }
    }

    /// How to train on so many images of each class, with a seed that may be another than [`Training::seed`].
    pub fn recipe(&self, of_class: &[usize], seed: u64) -> Recipe {
        let Extras { warmup, label_smoothing, class_weights, clip_grad_norm, ema, .. } = self.extras;
        let weight_decay = self.weight_decay;
        Recipe {
            optimizer: match self.optimizer {
                OptimizerName::Adam => Optimizer::Adam { weight_decay },
                OptimizerName::Sgd => Optimizer::Sgd { momentum: self.momentum.unwrap_or_default(), weight_decay },
            },
            lr: self.lr,
            schedule: self.schedule(),
            warmup,
            step: StepOptions { label_smoothing, class_weights: class_weights.of(of_class), clip_grad_norm },
            ema,
            seed,
            augment: self.augmentation(),
        }
    }

    /// How training images are changed at random.
    pub fn augmentation(&self) -> AugmentOptions {
        let Self { augment: flip, crop_scale, rotate, color_jitter, .. } = *self;
        AugmentOptions { flip, crop_scale, rotate, color_jitter }
    }

    fn schedule(&self) -> Schedule {
        let Extras { schedule, warmup, step_every, step_factor, .. } = self.extras;
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
            Schedule::Step { every, factor } => format!("is multiplied by {factor} every {}", epochs(every)),
        };
        if warmup > 0.0 { format!("rises for {}, then {then}", epochs(warmup)) } else { then }
    }
}

/// A number of epochs in words, to a hundredth.
fn epochs(number: f64) -> String {
    let shown = (100.0 * number).round() / 100.0;
    format!("{shown} epoch{}", if shown == 1.0 { "" } else { "s" })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_told_in_words() {
        assert_eq!([1.0, 0.5, 10.0 / 3.0, 2.0].map(epochs), ["1 epoch", "0.5 epochs", "3.33 epochs", "2 epochs"]);
    }

    #[test]
    fn balanced_weights_are_those_of_scikit_learn() {
        // compute_class_weight("balanced", classes=[0, 1, 2], y=[0] * 6 + [1] * 3 + [2]) is 10 / 18, 10 / 9, 10 / 3.
        let weights = ClassWeights::Balanced.of(&[6, 3, 1]).unwrap();
        for (got, want) in weights.iter().zip([10.0 / 18.0, 10.0 / 9.0, 10.0f32 / 3.0]) {
            assert!((got - want).abs() < 1e-6, "{weights:?}");
        }
        assert_eq!(ClassWeights::Balanced.of(&[7, 7]), Some(vec![1.0, 1.0]));
        assert_eq!(ClassWeights::Balanced.of(&[4, 0]), Some(vec![0.5, 0.0]));
        assert_eq!(ClassWeights::None.of(&[6, 3, 1]), None);
    }
}
