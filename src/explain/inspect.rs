//! Looking inside: what each layer makes of one image.

use anyhow::{Result, ensure};
use pollster::block_on;

use crate::data::pixels;
use crate::explain::Lens;
use crate::figures::{FeatureMaps, Filters, LayerMaps, Order};
use crate::gpu::{Gpu, Tensor};
use crate::nn::checkpoint::Weights;
use crate::nn::layout::padded;
use crate::nn::{Block, Mode, Model, Network, Op, Value};
use crate::stats;
use crate::train::predictor::Predictor;

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

    /// Where in a block it is.
    pub fn value(self, block: &Block) -> Value {
        match self {
            Self::Conv => block.conv,
            Self::Norm => block.norm,
            Self::Relu => block.value,
        }
    }
}

/// What a network makes of one image.
pub struct Inspection {
    /// The maps of each block, (channels, height, width), first block to last.
    pub maps: Vec<Vec<f32>>,
    /// Probability of each class.
    pub probabilities: Vec<f64>,
}

impl Inspection {
    /// The most probable class.
    pub fn predicted(&self) -> usize {
        stats::argmax(&self.probabilities)
    }
}

/// Checks that the model has made finite numbers of the first `images` of its batch, in every layer that it keeps: ReLU may
/// hide it from the layers behind where it has not.
///
/// # Errors
/// When it has not, naming the first layer of which that is so, or when the device failed.
pub fn check_finite(gpu: &Gpu, model: &Model, images: usize) -> Result<()> {
    let check = |layer: &str, tensor: &Tensor| -> Result<()> {
        let values: Vec<f32> = block_on(tensor.first(tensor.len() / model.batch() * images).read(gpu))?;
        ensure!(
            values.iter().all(|value| value.is_finite()),
            "the weights make numbers that are not finite in {layer}: they are damaged, or training diverged"
        );
        Ok(())
    };
    for (value, node) in (1..).zip(model.network().nodes()).filter(|(_, node)| node.op != Op::Identity) {
        if let Some(tensor) = model.kept(Mode::Eval, value) {
            check(&node.place(), tensor)?;
        }
    }
    Ok(())
}

/// Images that show whether weights make finite numbers: black, white, and noise.
const PROBES: usize = 3;

/// Fills in a probe, (H, W, padded C).
fn fill_probe(probe: usize, channels: usize, image: &mut [f32]) {
    // Any numbers between -1 and 1 that follow no pattern.
    let noise = |at: usize| (12.9898 * at as f32).sin();
    image.fill(0.0);
    for (at, pixel) in image.chunks_mut(padded(channels)).enumerate() {
        for (channel, value) in pixel[..channels].iter_mut().enumerate() {
            *value = [-1.0, 1.0, noise(channels * at + channel)][probe];
        }
    }
}

impl Lens<'_> {
    /// Checks that the weights make finite numbers in every layer of a black, a white and a noisy image.
    ///
    /// # Errors
    /// As [`check_finite`], or when the device failed.
    pub fn check_finite(&self) -> Result<()> {
        let [channels, ..] = self.network().input();
        let mut checked = Ok(());
        let make = |probe: usize, place: &mut [f32]| fill_probe(probe, channels, place);
        block_on(self.forward(PROBES, make, async |range| {
            if checked.is_ok() {
                checked = check_finite(self.gpu(), self.model(), range.len());
            }
            Ok(())
        }))?;
        checked
    }
}

/// The same for a network that only predicts.
///
/// # Errors
/// As [`check_finite`], or when the device failed.
pub fn check_predictor(predictor: &Predictor) -> Result<()> {
    let [channels, height, width] = predictor.model().network().input();
    let mut image = vec![0.0; height * width * padded(channels)];
    for probe in 0..PROBES {
        fill_probe(probe, channels, &mut image);
        predictor.model().network().normalize().apply(&mut image);
        predictor.forward(&image)?;
        check_finite(predictor.gpu(), predictor.model(), 1)?;
    }
    Ok(())
}

/// Runs the network on one image in evaluation mode. `pixels` are RGB bytes of the network's size.
///
/// # Errors
/// When the device failed, or as [`check_finite`].
///
/// # Panics
/// When the stage is one that the model does not keep ([`Keep`](crate::nn::Keep)).
pub fn look(gpu: &Gpu, model: &Model, pixels: &[u8], stage: Stage) -> Result<Inspection> {
    let mut image = pixels::tensor(pixels);
    model.network().normalize().apply(&mut image);
    model.set_batch(gpu, &image, &[0]);
    model.set_live(gpu, 1);
    model.forward(gpu, Mode::Eval).submit(gpu)?;
    check_finite(gpu, model, 1)?;

    let mut maps = Vec::new();
    for block in model.network().blocks() {
        let value = stage.value(block);
        maps.push(block_on(model.read_maps(gpu, model.value(Mode::Eval, value), value, 1))?);
    }
    let logits: Vec<f32> = block_on(model.logits().read(gpu))?;
    Ok(Inspection { maps, probabilities: stats::probabilities(&logits[..model.network().classes()]) })
}

/// The filters of a network's first block.
pub fn first_filters<'a>(network: &Network, weights: &'a Weights) -> Filters<'a> {
    let first = &network.block_parameters(0)[0];
    let [_, _, height, width] = first.shape[..] else { unreachable!("a block begins with a convolution") };
    Filters { name: "Block 1", weights: weights.get(&first.name), height, width }
}

/// The maps of block `number`, from 1, at a stage.
pub fn maps<'a>(number: usize, values: &'a [f32], network: &Network, block: &Block, stage: Stage) -> FeatureMaps<'a> {
    let value = stage.value(block);
    let signed = network.signed(value);
    let name = if stage == Stage::Relu && signed { format!("Block {number}") } else { stage.of_block(number) };
    FeatureMaps::new(name, values, network.shape(value), network.field(value), signed)
}

/// The maps of a look at a stage, those of the largest mean magnitude first.
pub fn layers<'a>(look: &'a Inspection, network: &Network, stage: Stage) -> Vec<LayerMaps<'a>> {
    let blocks = (1..).zip(look.maps.iter().zip(network.blocks()));
    let layer = |(number, (values, block)): (usize, (&'a Vec<f32>, &Block))| LayerMaps {
        maps: maps(number, values, network, block, stage),
        order: Order::Strongest,
    };
    blocks.map(layer).collect()
}
