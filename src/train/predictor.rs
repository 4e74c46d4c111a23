//! A network that says of images what they show, and nothing else.

use anyhow::{Result, ensure};

use super::predictions::{Prediction, logits, predict_each, with_mirrored};
use crate::data::batch::Batch;
use crate::data::{Images, Rejected};
use crate::gpu::{Gpu, GpuError, Plan};
use crate::nn::checkpoint::Weights;
use crate::nn::{Keep, Mode, Model, Network};

/// A network in evaluation mode, with the kernels that judged it in training: so it says the same.
pub struct Predictor<'a> {
    gpu: &'a Gpu,
    model: Model,
    forward: Plan,
}

impl<'a> Predictor<'a> {
    /// A network for batches of `batch` images. `compiling` is told how many of how many kernels are ready.
    ///
    /// # Errors
    /// When a tensor exceeds what the device can bind, or the device failed.
    pub fn new(
        gpu: &'a Gpu,
        network: &Network,
        batch: usize,
        compiling: impl FnMut(usize, usize),
    ) -> Result<Self, GpuError> {
        let model = Model::new(gpu, network, batch, Keep::Needed)?;
        model.set_live(gpu, batch);
        let forward = model.forward(gpu, Mode::Eval);
        pollster::block_on(forward.compile(gpu, compiling))?;
        Ok(Self { gpu, model, forward })
    }

    /// Takes these weights from now on.
    ///
    /// # Panics
    /// When they are another network's.
    pub fn load(&self, weights: &Weights) {
        self.model.load(self.gpu, weights);
    }

    /// The network on the device; what it holds is that of the last batch.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The device.
    pub fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    /// Runs images forward, up to a batch of them, as the network's numbers.
    ///
    /// # Errors
    /// When the device failed.
    pub fn forward(&self, images: &[f32]) -> Result<(), GpuError> {
        self.model.images().write(self.gpu, images);
        self.forward.submit(self.gpu).map(drop)
    }

    /// What the network says of all images that can still be read, batch by batch and in their order: `told` gets that, and which of
    /// the images cannot. With `mirrored`, of each image and of its mirror image: the probabilities are means of both.
    ///
    /// # Errors
    /// When the device failed, or a logit is not finite.
    pub fn predict(
        &self,
        images: &dyn Images,
        mirrored: bool,
        told: impl FnMut(Vec<Prediction>, Vec<Rejected>),
    ) -> Result<()> {
        let said = |batch: &Batch| -> Result<Vec<Vec<f32>>> {
            let said = logits(self.gpu, &self.model, &self.forward, batch)?;
            ensure!(said.iter().flatten().all(|logit| logit.is_finite()), GpuError::NotFinite);
            Ok(said)
        };
        let said = |batch: &mut Batch| if mirrored { with_mirrored(batch, said) } else { said(batch) };
        predict_each(images, self.model.batch(), self.model.network().normalize(), said, told)
    }
}
