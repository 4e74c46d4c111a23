//! The table of a run's layers.

use anyhow::{Context, Result, ensure};

use super::{MOST_PICTURES, equal, interval, number, percent, share, within};
use crate::cli::Which;
use crate::layers::{Ablation, Gain, Layer, Layers, ProbeRow, Repeatability, Reset, ResetVerdict, parameters};
use crate::spec::{Block, Spec};

/// Checks a table by itself and against the network that it is about.
pub(super) fn check_layers(table: &Layers, network: &Spec) -> Result<()> {
    let Layers { weights, pictures, accuracy, accuracy_anew, conclusive, layers, .. } = table;
    let known = [Which::Best, Which::Last].map(Which::file);
    ensure!(known.contains(&weights.as_str()), "weights is {weights:?}: expected {}", known.join(" or "));
    within("pictures", *pictures, 1..=MOST_PICTURES)?;
    percent("accuracy", *accuracy)?;
    percent("accuracy_anew", *accuracy_anew)?;
    let blocks = network.blocks()?;
    equal("the number of layers", layers.len(), blocks.len())?;
    for (index, (layer, block)) in layers.iter().zip(&blocks).enumerate() {
        let check = || -> Result<()> {
            equal("block", layer.block, index + 1)?;
            equal("parameters", layer.parameters, parameters(block, network.kernel))?;
            check_layer(layer, block, *conclusive)
        };
        check().with_context(|| format!("layers[{index}]"))?;
    }
    Ok(())
}

fn check_layer(layer: &Layer, block: &Block, conclusive: bool) -> Result<()> {
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
    check_ablation(&layer.ablation, channels).context("ablation")
}

fn check_repeatability(Repeatability { trained, initial }: Repeatability) -> Result<()> {
    for (field, value) in [("trained", trained), ("initial", initial)] {
        number(field, value)?;
        ensure!(value <= 1.0, "{field} is {value}: expected at most 1");
    }
    Ok(())
}

fn check_probe(probe: &ProbeRow, first: bool) -> Result<()> {
    percent("trained", probe.trained)?;
    percent("initial", probe.initial)?;
    percent("permuted", probe.permuted)?;
    ensure!(probe.gain.is_none() == first, "gain: expected for every block but the first");
    let Some(Gain { points, low, high, p }) = probe.gain else { return Ok(()) };
    within("gain.points", points, -100.0..=100.0)?;
    interval("gain.low to gain.high", (low, high))?;
    share("gain.p", p)
}

fn check_reset(reset: Reset, conclusive: bool) -> Result<()> {
    within("drop", reset.drop, -100.0..=100.0)?;
    interval("low to high", (reset.low, reset.high))?;
    let expected = ResetVerdict::of((reset.low, reset.high), conclusive);
    equal("verdict", reset.verdict, expected).context("by low, high and conclusive")
}

fn check_ablation(ablation: &Ablation, channels: usize) -> Result<()> {
    within("significant", ablation.significant, 0..=channels)?;
    within("fewest", ablation.fewest, 0..=channels)?;
    ensure!(!ablation.curve.is_empty(), "curve is empty");
    for &(left, accuracy) in &ablation.curve {
        within("curve", left, 0..=channels)?;
        percent("curve", accuracy)?;
    }
    Ok(())
}
