//! What a network loses without its channels.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::features::{Features, Loaded, mean};
use super::{POINT, correct, losses, percent};
use crate::explain::Lens;
use crate::layout::padded;
use crate::stats::{PairedT, benjamini_hochberg};

/// Pictures that channels are ranked on by what their replacement by their mean costs, and others that judge the ranking.
const RANKED: usize = 192;
const JUDGED: usize = 512;
/// Points of the curve of cumulative ablation.
const CURVE: usize = 16;

/// What single channels and many of them are worth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ablation {
    /// Channels whose replacement by their mean changes the log-loss (Benjamini-Hochberg, q < 0.05).
    pub significant: usize,
    /// The fewest channels, the most important first, that keep the accuracy within a point.
    pub fewest: usize,
    /// Channels left, and accuracy in % with these alone.
    pub curve: Vec<(usize, f64)>,
}

/// Of each block, what its channels are worth.
pub(super) fn ablations(lens: &Lens, pictures: &Loaded, features: &Features) -> Result<Vec<Ablation>> {
    let ranked = (pictures.labels.len() / 2).min(RANKED);
    let judged = (pictures.labels.len() - ranked).min(JUDGED);
    let mut all = Vec::new();
    for (number, block) in lens.blocks().iter().enumerate() {
        let [channels, height, width] = block.output;
        let lanes = padded(channels);
        let mut outputs = Vec::with_capacity(ranked + judged);
        let fill = |index: usize, place: &mut [f32]| pictures.fill(index, place);
        lens.forward(ranked + judged, fill, |range| {
            outputs.extend(lens.packed_outputs(number, range.len())?);
            Ok(())
        })?;
        let each = height * width * lanes;
        let means: Vec<f32> = (0..channels)
            .map(|channel| mean(features.pooled[number].iter().skip(channel).step_by(channels).copied()))
            .collect();
        let replace = |place: &mut [f32], channel: usize| {
            place.iter_mut().skip(channel).step_by(lanes).for_each(|value| *value = means[channel]);
        };

        let make = |case: usize, place: &mut [f32]| {
            place.copy_from_slice(&outputs[case % ranked * each..][..each]);
            replace(place, case / ranked);
        };
        let without = lens.logits_after(number, channels * ranked, make)?;
        let base = losses(&features.logits[..ranked], &pictures.labels);
        let mut importance = Vec::with_capacity(channels);
        let mut p_values = Vec::with_capacity(channels);
        for logits in without.chunks(ranked) {
            let changed = losses(logits, &pictures.labels);
            let changes: Vec<f64> = changed.iter().zip(&base).map(|(without, with)| without - with).collect();
            let test = PairedT::naive(&changes)?;
            importance.push(test.mean);
            // A channel that changes nothing at all has no spread to divide by.
            p_values.push(if test.sd > 0.0 { test.p_two_sided() } else { 1.0 });
        }
        let significant = benjamini_hochberg(&p_values).iter().filter(|&&q| q < 0.05).count();

        let mut order: Vec<usize> = (0..channels).collect();
        order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]));
        let kept: BTreeSet<usize> =
            (0..=CURVE).map(|point| (channels as f64).powf(point as f64 / CURVE as f64) as usize).collect();
        let kept: Vec<usize> = std::iter::once(0).chain(kept).collect();
        let make = |case: usize, place: &mut [f32]| {
            place.copy_from_slice(&outputs[(ranked + case % judged) * each..][..each]);
            order[kept[case / judged]..].iter().for_each(|&channel| replace(place, channel));
        };
        let logits = lens.logits_after(number, kept.len() * judged, make)?;
        let labels = &pictures.labels[ranked..ranked + judged];
        let curve: Vec<(usize, f64)> = kept
            .iter()
            .zip(logits.chunks(judged))
            .map(|(&kept, logits)| (kept, percent(&correct(logits, labels))))
            .collect();
        let full = curve.last().expect("the curve ends with all channels").1;
        let enough = curve.iter().rev().take_while(|(_, accuracy)| *accuracy >= full - POINT).last();
        let fewest = enough.expect("all channels are enough").0;
        all.push(Ablation { significant, fewest, curve });
    }
    Ok(all)
}
