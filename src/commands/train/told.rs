//! What `train --json` tells other programs.

use serde::Serialize;

use crate::terminal::print;
use crate::train::EpochRecord;

/// One line of JSON on standard output.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    /// Training begins, or is gone on with.
    Start {
        /// Folder of the run.
        run: String,
        /// Names of the classes.
        classes: &'a [String],
        /// Images to train on.
        train_images: usize,
        /// Images to validate on.
        val_images: usize,
        /// The most epochs that there will be.
        epochs: usize,
        /// Those that are over.
        epochs_before: usize,
        /// Weights of the network.
        parameters: usize,
    },
    /// How far an epoch has come, about once a second.
    Progress {
        /// Its number.
        epoch: usize,
        /// Training images so far.
        images: usize,
        /// Their mean loss.
        train_loss: f64,
        /// The share of them that was right.
        train_acc: f64,
    },
    /// An epoch has ended.
    Epoch {
        /// Its line in `metrics.jsonl`.
        #[serde(flatten)]
        record: &'a EpochRecord,
        /// Learning rate of its last step.
        lr: f64,
        /// Whether its weights are the best so far.
        best: bool,
    },
    /// Training was stopped by a signal, and can be gone on with.
    Stopped {
        /// Folder of the run.
        run: String,
        /// The epoch that it is in, or will be next.
        epoch: usize,
        /// Steps of it that are done.
        steps: usize,
    },
    /// Learning rates were tried, and nothing was trained.
    LrFound {
        /// Folder of their losses.
        run: String,
        /// The suggested one.
        lr: Option<f64>,
        /// The share of the loss that was lost on the way to it.
        fall: Option<f64>,
    },
    /// All is written.
    End {
        /// Folder of the run.
        run: String,
        /// The epoch of the best weights.
        best_epoch: usize,
    },
}

impl Event<'_> {
    pub(super) fn print(&self) {
        print(serde_json::to_string(self).expect("numbers and texts are always valid JSON"));
    }
}
