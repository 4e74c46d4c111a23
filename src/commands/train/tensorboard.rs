//! `train --tensorboard`: what TensorBoard shows of a run.

use anyhow::Result;
use pollster::block_on;

use crate::events::{Events, Summary};
use crate::explain::inspect::{self, Stage};
use crate::figures::ScaleBy;
use crate::gpu::Gpu;
use crate::nn::Model;
use crate::nn::checkpoint::Weights;
use crate::report::plain_sheet;
use crate::train::EpochRecord;
use crate::train::run_dir::RunDir;

/// The folder for TensorBoard, in that of the run.
pub(super) const TENSORBOARD: &str = "tensorboard";

/// Records each epoch of a run.
pub(super) struct Board<'a> {
    gpu: &'a Gpu,
    model: &'a Model,
    /// The image whose feature maps are recorded.
    image: Vec<u8>,
    by: ScaleBy,
    events: Events,
}

impl<'a> Board<'a> {
    /// For the run in this folder.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub(super) fn new(gpu: &'a Gpu, model: &'a Model, run: &RunDir, image: Vec<u8>, by: ScaleBy) -> Result<Self> {
        // A training that is gone on with has it already, with the epochs before.
        let folder = run.file(TENSORBOARD);
        let folder = if folder.is_dir() { RunDir::at(folder) } else { RunDir::below(run.path(), TENSORBOARD)? };
        let events = Events::create(folder.path())?;
        Ok(Self { gpu, model, image, by, events })
    }

    /// Records an epoch, whose weights the model has: its figures, learning rate, the weights, the gradients of its last step, and feature
    /// maps.
    ///
    /// # Errors
    /// When the device failed, a map is not finite, or the file cannot be written.
    pub(super) fn record(&mut self, record: &EpochRecord, lr: f64, weights: &Weights) -> Result<()> {
        let mut summary = Summary::default()
            .scalar("loss/train", record.train_loss)
            .scalar("loss/val", record.val_loss)
            .scalar("accuracy/train", record.train_acc)
            .scalar("accuracy/val", record.val_acc)
            .scalar("learning_rate", lr)
            .scalar("images_per_s", record.images_per_s);
        for (name, values) in &weights.tensors {
            summary = summary.histogram(&format!("weights/{name}"), values);
        }
        for (name, values) in block_on(self.model.weight_gradients(self.gpu))? {
            summary = summary.histogram(&format!("gradients/{name}"), &values);
        }
        let look = inspect::look(self.gpu, self.model, &self.image, Stage::Relu)?;
        let layers = inspect::layers(&look, self.model.network(), Stage::Relu);
        let span = self.by.span(&layers);
        for (number, layer) in (1..).zip(&layers) {
            summary = summary.image(&format!("feature_maps/block_{number}"), &plain_sheet(layer, span)?)?;
        }
        self.events.record(record.epoch as u64, summary)
    }
}
