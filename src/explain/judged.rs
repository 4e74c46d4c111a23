//! What a network makes of labelled pictures, and which of them tell most.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::Standing;
use super::{Lens, Question};
use crate::data::{Pictures, prepare};
use crate::gpu::GpuError;
use crate::stats::{self, paired_difference};

/// Confidence of the interval that decides whether a network does better than guessing.
const LEVEL: f64 = 0.95;

/// What the network makes of one labelled picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The picture.
    pub index: usize,
    /// Its class.
    pub truth: usize,
    /// The most probable class.
    pub predicted: usize,
    /// Probability of that.
    pub probability: f64,
    /// Probability of its class.
    pub of_truth: f64,
    /// By how much the largest probability exceeds the second.
    pub margin: f64,
}

impl Judged {
    /// Whether the most probable class is the picture's.
    pub fn right(&self) -> bool {
        self.predicted == self.truth
    }
}

/// Judges all pictures that can still be read with the lens's network.
///
/// # Errors
/// When the device failed.
pub fn judge(lens: &Lens, pictures: &dyn Pictures) -> Result<Vec<Judged>, GpuError> {
    let mut unreadable = BTreeSet::new();
    let make = |index: usize, place: &mut [f32]| match pictures.pixels(index) {
        Ok(pixels) => prepare::to_tensor(&pixels, false, place),
        Err(_) => drop(unreadable.insert(index)),
    };
    let logits = lens.logits(pictures.len(), make)?;
    let readable = logits.iter().enumerate().filter(|(index, _)| !unreadable.contains(index));
    Ok(readable
        .map(|(index, logits)| {
            let probabilities = stats::probabilities(logits);
            let Question { target, against } = Question::of(logits, None);
            let truth = pictures.label(index) as usize;
            Judged {
                index,
                truth,
                predicted: target,
                probability: probabilities[target],
                of_truth: probabilities[truth],
                margin: probabilities[target] - probabilities[against],
            }
        })
        .collect())
}

/// Whether the network is shown to be right more often than naming the commonest class of the same images would be: the
/// interval of the difference, both being asked about the same images, lies above zero.
pub fn standing(judged: &[Judged]) -> Standing {
    if judged.is_empty() {
        return Standing::NotMeasured;
    }
    let mut counts = BTreeMap::new();
    judged.iter().for_each(|judged| *counts.entry(judged.truth).or_insert(0usize) += 1);
    let commonest = counts.into_iter().max_by_key(|&(_, count)| count).map(|(class, _)| class);
    let only = |network: bool| {
        let decided = |judged: &&Judged| judged.right() == network && (Some(judged.truth) == commonest) != network;
        judged.iter().filter(decided).count() as f64
    };
    let (low, _) = paired_difference(only(true), only(false), judged.len(), LEVEL);
    if low > 0.0 { Standing::BetterThanGuessing } else { Standing::NotShown }
}

/// Up to `most` mistakes, the surest first.
pub fn worst(judged: &[Judged], most: usize) -> Vec<Judged> {
    sorted(judged.iter().filter(|judged| !judged.right()), most, |judged| -judged.probability)
}

/// Up to `most` pictures, the closest call first.
pub fn closest(judged: &[Judged], most: usize) -> Vec<Judged> {
    sorted(judged.iter(), most, |judged| judged.margin)
}

/// Up to `most` pictures that the network gets right, the surest first.
pub fn surest(judged: &[Judged], most: usize) -> Vec<Judged> {
    sorted(judged.iter().filter(|judged| judged.right()), most, |judged| -judged.of_truth)
}

/// So many of the worst mistakes, of the closest calls and of the surest hits, each picture once.
pub fn telling(judged: &[Judged], [mistakes, calls, hits]: [usize; 3]) -> Vec<Judged> {
    let mut all = [worst(judged, mistakes), closest(judged, calls), surest(judged, hits)].concat();
    let mut seen = BTreeSet::new();
    all.retain(|judged| seen.insert(judged.index));
    all
}

fn sorted<'a>(judged: impl Iterator<Item = &'a Judged>, most: usize, by: fn(&Judged) -> f64) -> Vec<Judged> {
    let mut sorted: Vec<Judged> = judged.copied().collect();
    sorted.sort_by(|a, b| by(a).total_cmp(&by(b)));
    sorted.truncate(most);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many images of each class, of which so many are right, the others being taken for the next class.
    fn judgements(classes: &[(usize, usize)]) -> Vec<Judged> {
        let of = |(truth, &(count, right)): (usize, &(usize, usize))| {
            (0..count).map(move |i| Judged {
                index: i,
                truth,
                predicted: if i < right { truth } else { truth + 1 },
                probability: 0.6,
                of_truth: 0.6,
                margin: 0.2,
            })
        };
        classes.iter().enumerate().flat_map(of).collect()
    }

    #[test]
    fn a_network_must_beat_the_commonest_class() {
        assert_eq!(standing(&[]), Standing::NotMeasured);
        assert_eq!(standing(&judgements(&[(100, 70), (100, 70)])), Standing::BetterThanGuessing);
        assert_eq!(standing(&judgements(&[(100, 53), (100, 52)])), Standing::NotShown);
        assert_eq!(standing(&judgements(&[(100, 30), (100, 30)])), Standing::NotShown);
        assert_eq!(standing(&judgements(&[(5, 5), (5, 4)])), Standing::NotShown, "too few");
        // 90 % right, but so is whoever always names the first class.
        assert_eq!(standing(&judgements(&[(900, 900), (100, 0)])), Standing::NotShown);
        assert_eq!(standing(&judgements(&[(900, 890), (100, 60)])), Standing::BetterThanGuessing);
        assert_eq!(standing(&judgements(&[(50, 40), (30, 20), (20, 10)])), Standing::BetterThanGuessing);
    }

    #[test]
    fn each_picture_is_chosen_for_what_it_tells() {
        // Of class 0, with the probability of class 0.
        let probabilities = [0.1, 0.9, 0.52, 0.3, 0.99];
        let judged: Vec<Judged> = (0..)
            .zip(probabilities)
            .map(|(index, of_truth): (usize, f64)| Judged {
                index,
                truth: 0,
                predicted: usize::from(of_truth < 0.5),
                probability: of_truth.max(1.0 - of_truth),
                of_truth,
                margin: (2.0 * of_truth - 1.0).abs(),
            })
            .collect();
        let indices = |chosen: Vec<Judged>| chosen.iter().map(|judged| judged.index).collect::<Vec<_>>();
        assert_eq!(indices(worst(&judged, 5)), [0, 3]);
        assert_eq!(indices(closest(&judged, 2)), [2, 3]);
        assert_eq!(indices(surest(&judged, 2)), [4, 1]);
        assert_eq!(indices(telling(&judged, [1, 2, 3])), [0, 2, 3, 4, 1], "no picture comes twice");
    }
}
