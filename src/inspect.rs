//! Looking inside: what each layer makes of one picture.

use anyhow::{Context, Result, ensure};
use image::RgbImage;

use crate::checkpoint::Weights;
use crate::data::prepare;
use crate::gpu::{Gpu, Tensor};
use crate::layout::{padded, unpack_images};
use crate::model::{Mode, Model};
use crate::report::{self, FeatureMaps, Filters, Layer, Order, ScaleBy};
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
        let most = |best: usize, class: usize| {
            if self.probabilities[class] > self.probabilities[best] { class } else { best }
        };
        (0..self.probabilities.len()).fold(0, most)
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

/// Draws a look: an overview and one sheet of all maps for each block, as (file name, picture).
///
/// `title` heads the overview; `facts` stand in the caption of every picture.
///
/// # Errors
/// When a value is not finite.
pub fn draw(
    look: &Look,
    model: &Model,
    pixels: &[u8],
    stage: Stage,
    title: &str,
    facts: &[String],
) -> Result<Vec<(String, RgbImage)>> {
    let geometry = model.spec().blocks().expect("the model was built from it");
    let [_, height, width] = model.spec().input;
    let input =
        RgbImage::from_raw(width as u32, height as u32, pixels.to_vec()).context("the picture has another size")?;
    let names: Vec<String> = (1..=geometry.len()).map(|number| format!("Block {number} {}", stage.name())).collect();
    let layers: Vec<Layer<'_>> = look
        .maps
        .iter()
        .zip(&geometry)
        .zip(&names)
        .map(|((values, block), name)| FeatureMaps::new(name, values, block, stage != Stage::Relu))
        .map(|maps| Layer { maps, order: Order::Strongest })
        .collect();

    let by = ScaleBy::default();
    let mut pictures = vec![("overview.png".to_string(), report::overview(title, &layers, by, &input, facts)?)];
    for (number, layer) in (1..).zip(&layers) {
        pictures.push((format!("block-{number}.png"), report::grid(layer, by.span(&layers), &input, facts)?));
    }
    Ok(pictures)
}
