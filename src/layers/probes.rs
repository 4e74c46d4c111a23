//! What can be read from a block: linear probes, their controls, and each against the block before.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::LEVEL;
use crate::stats::{self, holm, mcnemar, paired_bootstrap};

/// Permutations of the labels whose mean is a probe's control.
const PERMUTATIONS: usize = 5;

/// Accuracies of linear probes, in %, each picture judged by a probe that has not seen it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ProbeRow {
    /// On the trained network's maps.
    pub trained: f64,
    /// On those of the network before training.
    pub initial: f64,
    /// On the trained network's maps with permuted labels, the mean of five permutations: chance.
    pub permuted: f64,
    /// Against the block before, on the same pictures; none for the first block.
    pub gain: Option<Gain>,
}

/// By how many percentage points a probe is better than that of the block before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Gain {
    /// Difference of the accuracies.
    pub points: f64,
    /// Lower end of its 95 % bootstrap interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Exact McNemar p-value, adjusted by Holm over the blocks.
    pub p: f64,
}

/// Probes of every block, each against the block before.
pub(super) fn probes(
    trained: &[Vec<f32>],
    initial: &[Vec<f32>],
    labels: &[usize],
    classes: usize,
    seed: u64,
) -> Result<Vec<ProbeRow>> {
    let mut rows = Vec::new();
    let mut before: Option<Vec<bool>> = None;
    for (trained, initial) in trained.iter().zip(initial) {
        let (probe, controls) = stats::probe_with_permuted(trained, labels, classes, seed, PERMUTATIONS)?;
        let start = stats::probe(initial, labels, classes, seed)?;
        let gain = match &before {
            None => None,
            Some(before) => {
                let pairs = || before.iter().zip(&probe.correct);
                let lost = pairs().filter(|(before, now)| **before && !**now).count();
                let won = pairs().filter(|(before, now)| !**before && **now).count();
                let [was, is] = [before, &probe.correct]
                    .map(|correct| correct.iter().map(|&correct| f64::from(correct)).collect::<Vec<_>>());
                let interval = paired_bootstrap(&was, &is, LEVEL, seed)?;
                let [points, low, high] = [interval.mean, interval.low, interval.high].map(|share| 100.0 * share);
                Some(Gain { points, low, high, p: mcnemar(lost, won).exact })
            }
        };
        let permuted = controls.iter().map(|control| control.accuracy).sum::<f64>() / controls.len() as f64;
        let [trained, initial, permuted] = [probe.accuracy, start.accuracy, permuted].map(|share| 100.0 * share);
        rows.push(ProbeRow { trained, initial, permuted, gain });
        before = Some(probe.correct);
    }
    let adjusted = holm(&rows.iter().filter_map(|row| Some(row.gain?.p)).collect::<Vec<_>>());
    let gains = rows.iter_mut().filter_map(|row| row.gain.as_mut());
    gains.zip(adjusted).for_each(|(gain, p)| gain.p = p);
    Ok(rows)
}
