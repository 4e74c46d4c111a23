//! Looking inside: what each layer makes of one picture.

use anyhow::{Result, ensure};

use crate::checkpoint::Weights;
use crate::data::prepare;
use crate::gpu::{Gpu, Tensor};
use crate::layout::{padded, unpack_images};
use crate::model::{Mode, Model};
use crate::report::{FeatureMaps, Filters, Layer, Order};
use crate::spec::Spec;
use crate::stats;

/// Where in a block its maps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// After the convolution: signed values.
    Conv,
    /// After batch norm: signed values.
    Norm,
    /// After ReLU: what the next layer gets.
    Relu,
}

impl Stage {
    /// As it stands in headings: "after ReLU".
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv => "after convolution",
            Self::Norm => "after batch norm",
            Self::Relu => "after ReLU",
        }
    }

    /// As it stands in headings, of a block by its number: "Block 3 after ReLU".
    pub fn of_block(self, number: usize) -> String {
        format!("Block {number} {}", self.name())
    }

    /// Whether maps may have values below 0.
    pub fn signed(self) -> bool {
        self != Self::Relu
    }
}

/// What a network makes of one picture.
pub struct Look {
    /// The maps of each block, (channels, height, width), first block to last.
    pub maps: Vec<Vec<f32>>,
    /// Probability of each class.
    pub probabilities: Vec<f64>,
}

impl Look {
    /// The most probable class.
    pub fn predicted(&self) -> usize {
        stats::argmax(&self.probabilities)
    }
}

/// Checks that the model has made finite numbers of the first `pictures` of its batch, in every layer that it keeps: ReLU may
/// hide it from the layers behind where it has not.
///
/// # Errors
/// When it has not, naming the first layer of which that is so, or when the device failed.
pub fn check_finite(gpu: &Gpu, model: &Model, pictures: usize) -> Result<()> {
    let check = |layer: &str, tensor: &Tensor| -> Result<()> {
        let values: Vec<f32> = pollster::block_on(tensor.first(tensor.len() / model.batch() * pictures).read(gpu))?;
        ensure!(
            values.iter().all(|value| value.is_finite()),
            "the weights make numbers that are not finite in {layer}: they are damaged, or training diverged"
        );
        Ok(())
    };
    for (number, block) in (1..).zip(&model.activations.blocks) {
        check(&format!("the convolution of block {number}"), &block.conv)?;
        if let Some(stages) = &block.stages {
            check(&format!("the batch norm of block {number}"), &stages.norm)?;
        }
        check(&format!("the output of block {number}"), &block.output)?;
    }
    check("the first linear layer", &model.activations.hidden)?;
    check("the second linear layer", &model.activations.logits)
}

/// Runs the network on one picture in evaluation mode. `pixels` are RGB bytes of the network's size.
///
/// # Errors
/// When the device failed, or as [`check_finite`].
///
/// # Panics
/// When the stage is one that the model does not keep ([`Keep`](crate::model::Keep)).
pub fn look(gpu: &Gpu, model: &Model, pixels: &[u8], stage: Stage) -> Result<Look> {
    model.set_batch(gpu, &prepare::tensor(pixels), &[0]);
    model.set_live(gpu, 1);
    model.forward(gpu, Mode::Eval).submit(gpu)?;
    check_finite(gpu, model, 1)?;

    let mut maps = Vec::new();
    let geometry = model.spec().blocks().expect("the model was built from it");
    for (block, geometry) in model.activations.blocks.iter().zip(geometry) {
        let tensor = match stage {
            Stage::Conv => &block.conv,
            Stage::Norm => &block.stages.as_ref().expect("the model keeps everything").norm,
            Stage::Relu => &block.output,
        };
        let [channels, height, width] = geometry.output;
        // The batch's first picture.
        let first = tensor.first(height * width * padded(channels));
        let values: Vec<f32> = pollster::block_on(first.read(gpu))?;
        maps.push(unpack_images(&values, 1, channels, height * width));
    }
    let logits: Vec<f32> = pollster::block_on(model.activations.logits.read(gpu))?;
    Ok(Look { maps, probabilities: stats::probabilities(&logits[..model.spec().classes]) })
}

/// The filters of a network's first block.
pub fn first_filters<'a>(spec: &Spec, weights: &'a Weights) -> Filters<'a> {
    let weights = weights.get(&format!("{}.weight", spec.conv_index(0)));
    Filters { name: "Block 1", weights, height: spec.kernel, width: spec.kernel }
}

/// The maps of a look at a stage, those of the largest mean magnitude first.
pub fn layers<'a>(look: &'a Look, spec: &Spec, stage: Stage) -> Vec<Layer<'a>> {
    let geometry = spec.blocks().expect("the model was built from it");
    let maps = (1..).zip(look.maps.iter().zip(&geometry));
    let maps =
        maps.map(|(number, (values, block))| FeatureMaps::new(stage.of_block(number), values, block, stage.signed()));
    maps.map(|maps| Layer { maps, order: Order::Strongest }).collect()
}
