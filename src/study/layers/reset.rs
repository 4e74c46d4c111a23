//! What a network loses when a block's weights go back to where they started.

use anyhow::Result;
use pollster::block_on;
use serde::{Deserialize, Serialize};

use super::correct;
use super::features::Loaded;
use crate::explain::Lens;
use crate::explain::changes::{Loss, ResetVerdict, with_own_statistics};
use crate::nn::checkpoint::Weights;
use crate::stats::standing::Standing;

/// What a reset costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reset {
    /// Loss of accuracy in percentage points.
    pub drop: f64,
    /// Lower end of its 95 % interval, Tango's.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// What follows.
    pub verdict: ResetVerdict,
}

impl Reset {
    /// From the scores of the same images before and after. Nothing follows unless the network is `conclusive`.
    pub(super) fn new(before: &[f64], after: &[f64], conclusive: bool) -> Self {
        let Loss { drop, low, high } = Loss::new(before, after);
        Self { drop, low, high, verdict: ResetVerdict::of((low, high), conclusive) }
    }
}

/// How the network does beside guessing on images, as many of each class, which chose it from so many `epochs`.
pub(super) fn beside_guessing(correct: &[f64], classes: usize, epochs: usize) -> Standing {
    let right = correct.iter().filter(|&&correct| correct == 1.0).count();
    Standing { right, images: correct.len(), commonest: Some(correct.len() / classes), epochs }
}

/// Whether the network with these weights, and running statistics of its own, is right on each of the first images.
pub(super) fn scores(
    lens: &Lens,
    weights: &Weights,
    statistics: &Loaded,
    images: &Loaded,
    count: usize,
    seed: u64,
) -> Result<Vec<f64>> {
    let next = |number: usize, place: &mut [f32]| statistics.fill(number % statistics.labels.len(), place);
    lens.load(&block_on(with_own_statistics(lens, weights, next, seed))?);
    let logits = block_on(lens.logits(count, |index, place| images.fill(index, place)))?;
    Ok(correct(&logits, &images.labels))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::explain::changes::POINT;
    use crate::stats::standing::Verdict;

    #[test]
    fn resets_are_judged_by_their_intervals() {
        let verdict = |before: &[f64], after: &[f64]| Reset::new(before, after, true).verdict;
        let right = |count: usize, wrong: usize| [vec![1.0; count - wrong], vec![0.0; wrong]].concat();
        assert_eq!(verdict(&right(1000, 0), &right(1000, 100)), ResetVerdict::InUse);
        assert_eq!(verdict(&right(1000, 0), &right(1000, 0)), ResetVerdict::NotMissed);
        assert_eq!(verdict(&right(1000, 0), &right(1000, 10)), ResetVerdict::Undecided);
        assert_eq!(
            verdict(&right(1000, 0), &right(1000, 15)),
            ResetVerdict::Undecided,
            "the interval counts, not its middle"
        );
        assert_eq!(
            verdict(&right(100, 0), &right(100, 0)),
            ResetVerdict::Undecided,
            "100 images cannot show so little"
        );
        let reset = Reset::new(&right(1000, 0), &right(1000, 10), true);
        assert!((reset.drop - 1.0).abs() < 1e-9 && reset.low > 0.0 && reset.low < 1.0 && reset.high > 1.0, "{reset:?}");
        let of_guesses = Reset::new(&right(1000, 500), &right(1000, 500), false);
        assert_eq!(
            of_guesses.verdict,
            ResetVerdict::Undecided,
            "a network that guesses uses no block, and shows nothing"
        );
    }

    /// Studies of a network that truly loses a point once a block is reset: how many call the block not missed.
    #[test]
    fn a_block_that_is_used_is_seldom_called_not_missed() {
        const STUDIES: u64 = 4000;
        for images in [40, 200, 1000] {
            let wrong = (0..STUDIES).filter(|&seed| {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let before: Vec<f64> = (0..images).map(|_| f64::from(random.random_bool(0.9))).collect();
                let lost = |&right: &f64| if random.random_bool(POINT / 90.0) { 0.0 } else { right };
                let after: Vec<f64> = before.iter().map(lost).collect();
                Reset::new(&before, &after, true).verdict == ResetVerdict::NotMissed
            });
            // 2.5 % are nominal; 3.3 % are three standard errors more.
            let share = wrong.count() as f64 / STUDIES as f64;
            assert!(share < 0.033, "{share} of the studies with {images} images");
        }
    }

    #[test]
    fn guesses_are_told_from_knowledge() {
        let beats_guessing =
            |correct: &[f64], classes, epochs| beside_guessing(correct, classes, epochs).verdict() == Verdict::Better;
        assert!(beats_guessing(&[vec![1.0; 600], vec![0.0; 400]].concat(), 2, 1));
        assert!(!beats_guessing(&[vec![1.0; 510], vec![0.0; 490]].concat(), 2, 1));
        assert!(beats_guessing(&[vec![1.0; 510], vec![0.0; 490]].concat(), 3, 1));
        let lucky = [vec![1.0; 535], vec![0.0; 465]].concat();
        assert!(
            beats_guessing(&lucky, 2, 1) && !beats_guessing(&lucky, 2, 20),
            "the best of twenty epochs may be luck"
        );
    }
}
