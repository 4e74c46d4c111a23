//! Options of `train` for what plain training does without.

use anyhow::{Result, bail};
use clap::Args;

use crate::train::{ClassWeights, Extras, ScheduleName};

/// What is added to plain training.
#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub struct ExtrasArgs {
    /// How the learning rate changes, from step to step: docs/training.md
    #[arg(long, value_enum, default_value_t)]
    pub schedule: ScheduleName,
    /// Epochs in which the learning rate first rises along a line from nearly zero, such as 0.5. One cycle has a rise of its own
    #[arg(long, value_name = "EPOCHS", default_value_t = 0.0)]
    pub warmup: f64,
    /// Epochs between two falls of --schedule step [default: a third of --epochs]
    #[arg(long, value_name = "EPOCHS")]
    pub step_every: Option<f64>,
    /// What the learning rate is multiplied by at each fall of --schedule step [default: 0.1]
    #[arg(long, value_name = "FACTOR")]
    pub step_factor: Option<f64>,
    /// Share of each target that is spread evenly over all classes, such as 0.1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub label_smoothing: f64,
    /// How much an image of each class counts in the training loss
    #[arg(long, value_enum, default_value_t)]
    pub class_weights: ClassWeights,
    /// Scale the gradient of all weights down to this norm where it is larger, such as 1
    #[arg(long, value_name = "MAX")]
    pub clip_grad_norm: Option<f32>,
    /// Validate and save moving averages of the weights over the steps, with this decay, such as 0.99
    #[arg(long, value_name = "DECAY")]
    pub ema: Option<f64>,
    /// Stop when so many epochs in a row were no better than the best
    #[arg(long, value_name = "EPOCHS")]
    pub patience: Option<usize>,
}

impl ExtrasArgs {
    /// Checks which options go together; ranges apart.
    pub(super) fn check(&self) -> Result<()> {
        if self.schedule == ScheduleName::OneCycle && self.warmup != 0.0 {
            bail!("--warmup: --schedule one-cycle has a rise of its own; leave the option out");
        }
        for (option, given) in [("step-every", self.step_every), ("step-factor", self.step_factor)] {
            if given.is_some() && self.schedule != ScheduleName::Step {
                bail!("--{option}: only --schedule step has one");
            }
        }
        Ok(())
    }

    /// Every choice made, for training over so many epochs.
    pub(super) fn extras(&self, epochs: usize) -> Extras {
        let Self { schedule, warmup, step_every, step_factor, .. } = *self;
        let Self { label_smoothing, class_weights, clip_grad_norm, ema, patience, .. } = *self;
        let falls = schedule == ScheduleName::Step;
        Extras {
            schedule,
            warmup,
            step_every: falls.then(|| step_every.unwrap_or(epochs as f64 / 3.0)),
            step_factor: falls.then(|| step_factor.unwrap_or(0.1)),
            label_smoothing,
            class_weights,
            clip_grad_norm,
            ema,
            patience,
        }
    }
}
