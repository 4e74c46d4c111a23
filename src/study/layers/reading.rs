//! The table of a run's layers.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{Ablation, FORMAT, Gain, LayerRow, Layers, ProbeRow, Repeatability, Reset, parameters};
use crate::explain::changes::ResetVerdict;
use crate::nn::{Block, Network};
use crate::reading::{MAX_IMAGES, equal, interval, newest, number, percent, share, unusable, versioned, within};
use crate::train::{Run, check_weights};

/// Checks a table by itself and against the network that it is about.
pub(super) fn check_layers(table: &Layers, network: &Network) -> Result<()> {
    let Layers { weights, images, accuracy, accuracy_anew, conclusive, layers, .. } = table;
    check_weights(weights)?;
    within("images", *images, 1..=MAX_IMAGES)?;
    percent("accuracy", *accuracy)?;
    percent("accuracy_anew", *accuracy_anew)?;
    let blocks = network.blocks();
    equal("the number of layers", layers.len(), blocks.len())?;
    for (index, (layer, block)) in layers.iter().zip(blocks).enumerate() {
        let check = || -> Result<()> {
            equal("block", layer.block, index + 1)?;
            equal("parameters", layer.parameters, parameters(network, index))?;
            check_layer(layer, block, *conclusive)
        };
        check().with_context(|| format!("layers[{index}]"))?;
    }
    Ok(())
}

fn check_layer(layer: &LayerRow, block: &Block, conclusive: bool) -> Result<()> {
    let channels = block.output[0];
    ensure!(layer.output == block.output, "output is {:?}: expected {:?}", layer.output, block.output);
    equal("receptive_field", layer.receptive_field, block.receptive_field)?;
    check_repeatability(layer.repeatability).context("repeatability")?;
    check_repeatability(layer.repeatability_noisy).context("repeatability_noisy")?;
    within("dead", layer.dead, 0..=channels)?;
    within("quiet", layer.quiet, 0..=channels - layer.dead)?;
    within("effective_rank", layer.effective_rank, 0.0..=channels as f64 + 1e-6)?;
    check_probe(&layer.pooled, layer.block == 1).context("pooled")?;
    check_probe(&layer.grid, layer.block == 1).context("grid")?;
    check_reset(layer.reset, conclusive).context("reset")?;
    check_reset(layer.redrawn, conclusive).context("redrawn")?;
    check_ablation(&layer.ablation, channels, conclusive).context("ablation")
}

fn check_repeatability(repeatability: Repeatability) -> Result<()> {
    let Repeatability { trained, initial, low, high, .. } = repeatability;
    for (field, value) in [("trained", trained), ("initial", initial)] {
        number(field, value)?;
        ensure!(value <= 1.0, "{field} is {value}: expected at most 1");
    }
    interval("low to high", (low, high))
}

fn check_probe(probe: &ProbeRow, first: bool) -> Result<()> {
    percent("trained", probe.trained)?;
    interval("low to high", (probe.low, probe.high))?;
    percent("initial", probe.initial)?;
    percent("permuted", probe.permuted)?;
    ensure!(probe.gain.is_none() == first, "gain: expected for every block but the first");
    probe.gain.map_or(Ok(()), |gain| check_gain(gain).context("gain"))?;
    check_gain(probe.learned).context("learned")
}

fn check_gain(Gain { points, low, high, p, .. }: Gain) -> Result<()> {
    within("points", points, -100.0..=100.0)?;
    interval("low to high", (low, high))?;
    share("p", p)
}

fn check_reset(reset: Reset, conclusive: bool) -> Result<()> {
    within("drop", reset.drop, -100.0..=100.0)?;
    interval("low to high", (reset.low, reset.high))?;
    let expected = ResetVerdict::of((reset.low, reset.high), conclusive);
    equal("verdict", reset.verdict, expected).context("by low, high and conclusive")
}

fn check_ablation(ablation: &Ablation, channels: usize, conclusive: bool) -> Result<()> {
    let Ablation { missed, enough, curve } = ablation;
    ensure!(missed.is_some() == conclusive, "missed: expected where the table is conclusive");
    ensure!(enough.is_some() == conclusive, "enough: expected where the table is conclusive");
    missed.map_or(Ok(()), |missed| within("missed", missed, 0..=channels))?;
    if let Some(enough) = enough {
        within("enough.at_most", enough.at_most, 0..=channels)?;
        within("enough.at_least", enough.at_least, 0..=enough.at_most)?;
    }
    ensure!(!curve.is_empty(), "curve is empty");
    for &(left, accuracy) in curve {
        within("curve", left, 0..=channels)?;
        percent("curve", accuracy)?;
    }
    Ok(())
}

impl Run {
    /// The newest table of its layers, with its folder, if there is one.
    ///
    /// # Errors
    /// When it is broken, or about another network.
    pub fn layers(&self) -> Result<Option<(PathBuf, Layers)>> {
        let Some(folder) = newest(self.folder(), "layers", "layers.json") else { return Ok(None) };
        let path = folder.join("layers.json");
        let layers: Layers = versioned(&path, FORMAT, "run `convscope layers` again")?;
        let check = || -> Result<()> {
            check_layers(&layers, self.network())?;
            self.check_run(&layers.run).context("run `convscope layers` again")
        };
        check().with_context(|| unusable(&path))?;
        Ok(Some((folder, layers)))
    }
}
