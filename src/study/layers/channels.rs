//! What a network loses without its channels.

use std::collections::BTreeSet;

use anyhow::Result;
use pollster::block_on;
use serde::{Deserialize, Serialize};

use super::features::{Features, Loaded, mean};
use super::{correct, losses, percent};
use crate::explain::Lens;
use crate::explain::changes::{Loss, POINT};
use crate::nn::layout::padded;
use crate::stats::{PairedT, StatsError, benjamini_hochberg};

/// Images that channels are ranked on, by what their replacement by their mean costs.
const RANKED: usize = 128;
/// Other images, which judge how many of the ranking are enough.
const JUDGED: usize = 576;
/// Those of them that judge single channels.
const TESTED: usize = 128;
/// Points of the curve of cumulative ablation, besides those of one channel and of none.
const CURVE: usize = 8;
/// The share of the channels found to be missed that may be false.
const FALSE_SHARE: f64 = 0.05;

/// What single channels and many of them are worth, on images that did not rank them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ablation {
    /// Channels whose replacement by their mean raises the log-loss (Benjamini-Hochberg, q < 0.05); none where the network is not
    /// shown to be better than guessing.
    pub missed: Option<usize>,
    /// How many channels are enough; none likewise.
    pub enough: Option<Enough>,
    /// Channels left, and accuracy in % with these alone.
    pub curve: Vec<(usize, f64)>,
}

/// A 95 % interval for the fewest channels, the most important first, with which less than a point of accuracy is lost. It
/// takes for granted that more channels lose less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enough {
    /// Fewer are shown to lose more than a point.
    pub at_least: usize,
    /// So many are shown to lose less; all of them where no fewer are.
    pub at_most: usize,
}

impl Enough {
    /// From what is lost with so many channels left, from none to all, each with its 95 % interval.
    ///
    /// Both ends are found in a fixed order, each up to the first that is not shown, so that testing many needs no adjustment.
    fn new(losses: &[(usize, Loss)]) -> Self {
        let too_few = losses.iter().take_while(|(_, loss)| loss.low > POINT).last();
        let enough = losses.iter().rev().skip(1).take_while(|(_, loss)| loss.high < POINT).last();
        let all = losses.last().expect("the last keeps all channels").0;
        Self { at_least: too_few.map_or(0, |(left, _)| left + 1), at_most: enough.map_or(all, |(left, _)| *left) }
    }
}

/// How many channels are missed, from what the removal of each adds to the log-loss of each image.
fn missed(changes: &[Vec<f64>]) -> Result<usize, StatsError> {
    let tests = changes.iter().map(|changes| PairedT::naive(changes)).collect::<Result<Vec<_>, _>>()?;
    let p_values: Vec<f64> = tests.iter().map(|test| test.p_at_most(0.0)).collect();
    Ok(benjamini_hochberg(&p_values).iter().filter(|&&q| q < FALSE_SHARE).count())
}

/// Of each block, what its channels are worth. Nothing follows unless the network is `conclusive`.
pub(super) fn ablations(lens: &Lens, images: &Loaded, features: &Features, conclusive: bool) -> Result<Vec<Ablation>> {
    let ranked = (images.labels.len() / 2).min(RANKED);
    let judged = (images.labels.len() - ranked).min(JUDGED);
    let tested = judged.min(TESTED);
    let mut all = Vec::new();
    for (number, block) in lens.blocks().iter().enumerate() {
        let [channels, height, width] = block.output;
        let lanes = padded(channels);
        let mut outputs = Vec::with_capacity(ranked + judged);
        let fill = |index: usize, place: &mut [f32]| images.fill(index, place);
        block_on(lens.forward(ranked + judged, fill, async |range| {
            outputs.extend(lens.packed_outputs(number, range.len()).await?);
            Ok(())
        }))?;
        let each = height * width * lanes;
        let means: Vec<f32> = (0..channels)
            .map(|channel| mean(features.pooled[number].iter().skip(channel).step_by(channels).copied()))
            .collect();
        let replace = |place: &mut [f32], channel: usize| {
            place.iter_mut().skip(channel).step_by(lanes).for_each(|value| *value = means[channel]);
        };

        // Each channel replaced on the images that rank, then on those that test.
        let cases = ranked + tested;
        let make = |case: usize, place: &mut [f32]| {
            place.copy_from_slice(&outputs[case % cases * each..][..each]);
            replace(place, case / cases);
        };
        let without = block_on(lens.logits_after(number, channels * cases, make))?;
        let base = losses(&features.logits[..cases], &images.labels);
        let changes = without.chunks(cases).map(|logits| -> Vec<f64> {
            let changed = losses(logits, &images.labels);
            changed.iter().zip(&base).map(|(without, with)| without - with).collect()
        });
        let (ranking, testing): (Vec<Vec<f64>>, Vec<Vec<f64>>) =
            changes.map(|changes| (changes[..ranked].to_vec(), changes[ranked..].to_vec())).unzip();
        let importance: Vec<f64> = ranking.iter().map(|changes| changes.iter().sum()).collect();
        let missed = missed(&testing)?;

        let mut order: Vec<usize> = (0..channels).collect();
        order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]));
        let kept: BTreeSet<usize> =
            (0..=CURVE).map(|point| (channels as f64).powf(point as f64 / CURVE as f64) as usize).collect();
        let kept: Vec<usize> = std::iter::once(0).chain(kept).collect();
        let make = |case: usize, place: &mut [f32]| {
            place.copy_from_slice(&outputs[(ranked + case % judged) * each..][..each]);
            order[kept[case / judged]..].iter().for_each(|&channel| replace(place, channel));
        };
        let logits = block_on(lens.logits_after(number, kept.len() * judged, make))?;
        let labels = &images.labels[ranked..ranked + judged];
        let scores: Vec<Vec<f64>> = logits.chunks(judged).map(|logits| correct(logits, labels)).collect();
        let full = scores.last().expect("the curve ends with all channels");
        let lost: Vec<(usize, Loss)> =
            kept.iter().zip(&scores).map(|(&left, scores)| (left, Loss::new(full, scores))).collect();
        all.push(Ablation {
            missed: conclusive.then_some(missed),
            enough: conclusive.then(|| Enough::new(&lost)),
            curve: kept.iter().zip(&scores).map(|(&left, scores)| (left, percent(scores))).collect(),
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn lost(points: &[(usize, [f64; 2])]) -> Vec<(usize, Loss)> {
        let loss = |&(left, [low, high]): &(usize, [f64; 2])| (left, Loss { drop: (low + high) / 2.0, low, high });
        points.iter().map(loss).collect()
    }

    #[test]
    fn enough_channels_are_an_interval() {
        let enough = |points: &[(usize, [f64; 2])]| {
            let Enough { at_least, at_most } = Enough::new(&lost(points));
            (at_least, at_most)
        };
        let [bad, unknown, good] = [[2.0, 4.0], [0.5, 1.5], [-0.5, 0.5]];
        assert_eq!(enough(&[(0, bad), (1, bad), (2, unknown), (4, good), (8, good)]), (2, 4));
        assert_eq!(enough(&[(0, bad), (3, bad), (8, good)]), (4, 8));
        // A single point that is not shown does not hide that fewer may be enough, nor makes fewer shown.
        assert_eq!(enough(&[(0, bad), (2, good), (4, unknown), (8, good)]), (1, 8));
        // A block without which nothing is lost.
        assert_eq!(enough(&[(0, good), (4, good), (8, good)]), (0, 0));
        assert_eq!(enough(&[(0, unknown), (4, unknown), (8, unknown)]), (0, 8));
    }

    /// Studies in which 8 of 32 channels are enough: how many intervals leave that out.
    #[test]
    fn the_interval_holds_the_number_that_is_enough() {
        const STUDIES: u64 = 1000;
        // Channels left, and the share of the images that is lost with these alone; five to eight lose about a point.
        let truth = [(0, 0.4), (1, 0.2), (2, 0.1), (4, 0.012), (8, 0.009), (16, 0.002), (32, 0.0)];
        for images in [100, 500] {
            let (mut outside, mut narrower) = (0, 0);
            for seed in 0..STUDIES {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let fates: Vec<f64> = (0..images).map(|_| random.random()).collect();
                let full = vec![1.0; images];
                let lost = truth.map(|(left, share)| {
                    let scores: Vec<f64> = fates.iter().map(|&fate| f64::from(fate >= share)).collect();
                    (left, Loss::new(&full, &scores))
                });
                let Enough { at_least, at_most } = Enough::new(&lost);
                outside += usize::from(at_least > 8 || at_most < 5);
                narrower += usize::from(at_least > 0);
            }
            // 5 % are nominal; with three standard errors more.
            assert!(outside as f64 <= 0.07 * STUDIES as f64, "{outside} of {images} images");
            assert!(narrower > 900, "{narrower}");
        }
    }

    #[test]
    fn only_channels_whose_removal_hurts_are_missed() {
        let changes = |mean: f64, seed: u64| -> Vec<f64> {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut change = || -> f64 { StandardNormal.sample(&mut random) };
            (0..128).map(|_| mean + change()).collect()
        };
        let found = |means: &[f64], seed: u64| {
            let of_channel = |(channel, &mean): (usize, &f64)| changes(mean, 1000 * seed + channel as u64);
            missed(&means.iter().enumerate().map(of_channel).collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(found(&[1.0, 1.0, 1.0, -1.0, -1.0, -1.0], 0), 3, "those that help by going are not missed");
        // Of studies of 20 channels that change nothing on average, 5 % may miss one; 3.5 standard errors more are 12.6 %.
        let studies = (0..80).filter(|&seed| found(&[0.0; 20], seed) > 0).count();
        assert!(studies <= 10, "{studies}");
        assert_eq!(missed(&[vec![0.0; 128], vec![0.0; 128]]).unwrap(), 0, "dead channels");
    }
}
