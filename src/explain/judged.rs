//! What a network makes of labelled images, and which of them tell most.

use std::collections::BTreeSet;

use anyhow::Result;
use pollster::block_on;

use super::{Lens, Question};
use crate::data::Images;
use crate::nn::Normalize;
use crate::stats;
use crate::train::predictions::{self, Prediction};

/// What the network makes of one labelled image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The image.
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
    /// What follows from a prediction.
    pub fn new(Prediction { index, truth, logits }: &Prediction) -> Self {
        let probabilities = stats::probabilities(logits);
        let Question { target, against } = Question::of(logits, None);
        Self {
            index: *index,
            truth: *truth,
            predicted: target,
            probability: probabilities[target],
            of_truth: probabilities[*truth],
            margin: probabilities[target] - probabilities[against],
        }
    }

    /// Whether the most probable class is the image's.
    pub fn right(&self) -> bool {
        self.predicted == self.truth
    }
}

/// Judges all images that can still be read with the lens's network.
///
/// # Errors
/// When the device failed.
pub fn judge(lens: &Lens, images: &dyn Images) -> Result<Vec<Judged>> {
    Ok(predict(lens, images)?.iter().map(Judged::new).collect())
}

/// What the lens's network says of all images that can still be read.
///
/// # Errors
/// When the device failed.
pub fn predict(lens: &Lens, images: &dyn Images) -> Result<Vec<Prediction>> {
    let each = lens.image_len();
    let (predictions, _) = predictions::predict(images, lens.batch(), Normalize::HALF, |batch| {
        let make = |at: usize, place: &mut [f32]| place.copy_from_slice(&batch.images[each * at..each * (at + 1)]);
        Ok(block_on(lens.logits(batch.indices.len(), make))?)
    })?;
    Ok(predictions)
}

/// Up to `most` mistakes, the most confident first.
pub fn worst(judged: &[Judged], most: usize) -> Vec<Judged> {
    sorted(judged.iter().filter(|judged| !judged.right()), most, |judged| -judged.probability)
}

/// Up to `most` images, the closest call first.
pub fn closest(judged: &[Judged], most: usize) -> Vec<Judged> {
    sorted(judged.iter(), most, |judged| judged.margin)
}

/// Up to `most` images that the network gets right, the most confident first.
pub fn most_confident(judged: &[Judged], most: usize) -> Vec<Judged> {
    sorted(judged.iter().filter(|judged| judged.right()), most, |judged| -judged.of_truth)
}

/// So many of the worst mistakes, of the closest calls and of the most confident hits, each image once.
pub fn telling(judged: &[Judged], [mistakes, calls, hits]: [usize; 3]) -> Vec<Judged> {
    let mut all = [worst(judged, mistakes), closest(judged, calls), most_confident(judged, hits)].concat();
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

    #[test]
    fn each_image_is_chosen_for_what_it_tells() {
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
        assert_eq!(indices(most_confident(&judged, 2)), [4, 1]);
        assert_eq!(indices(telling(&judged, [1, 2, 3])), [0, 2, 3, 4, 1], "no image comes twice");
    }
}
