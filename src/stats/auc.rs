//! The area under the ROC curve of two classes.

use statrs::distribution::{ContinuousCDF, Normal};

use super::assert_level;

/// The area under the ROC curve: the probability that a random positive image has a higher score than a random negative one, where
/// equal scores count half. None without images of both kinds.
///
/// It is the Mann-Whitney statistic divided by its largest value, from midranks: J. Hanley and B. McNeil, Radiology 143 (1982)
/// 29-36.
///
/// # Panics
/// When there is not a label for each score, or a score is not a number.
pub fn roc_auc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    assert!(scores.len() == positive.len(), "{} scores for {} labels", scores.len(), positive.len());
    assert!(!scores.iter().any(|score| score.is_nan()), "scores are numbers");
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let [mut negatives, mut pairs] = [0usize; 2];
    // Twice the number of pairs in which the positive image has the higher score, so that half a pair is a whole number.
    for equal in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let positives = equal.iter().filter(|&&index| positive[index]).count();
        let others = equal.len() - positives;
        pairs += positives * (2 * negatives + others);
        negatives += others;
    }
    let positives = scores.len() - negatives;
    (positives > 0 && negatives > 0).then(|| pairs as f64 / 2.0 / (positives as f64 * negatives as f64))
}

/// Score interval of an area under the ROC curve that so many positive and negative images gave, at a two-sided confidence `level`.
///
/// It stays within 0 and 1, and keeps a width where no pair is in the wrong order. Formula: R. Newcombe, Statistics in Medicine 25
/// (2006) 559-573, method 5: the ends are the areas from which the one found is a normal quantile of Hanley's and McNeil's standard
/// errors away, with the mean of both numbers of images in the place of each.
///
/// # Panics
/// When a kind has no image, the area is not within 0 and 1, or `level` is not between 0 and 1.
pub fn roc_auc_interval(area: f64, positives: usize, negatives: usize, level: f64) -> (f64, f64) {
    assert!(positives > 0 && negatives > 0, "an area of {positives} positive and {negatives} negative images");
    assert!((0.0..=1.0).contains(&area), "an area of {area}");
    assert_level(level);
    let [m, n] = [positives, negatives].map(|count| count as f64);
    let others = (m + n) / 2.0 - 1.0;
    let z = Normal::standard().inverse_cdf(0.5 + level / 2.0);
    let too_far = |end: f64| {
        let spread = 1.0 + others * ((1.0 - end) / (2.0 - end) + end / (1.0 + end));
        (area - end).abs() > z * (end * (1.0 - end) * spread / (m * n)).sqrt()
    };
    let end = |mut inside: f64, mut outside: f64| {
        for _ in 0..60 {
            let middle = (inside + outside) / 2.0;
            *(if too_far(middle) { &mut outside } else { &mut inside }) = middle;
        }
        inside
    };
    // What is exact stays so.
    let low = if area == 0.0 { 0.0 } else { end(area, 0.0) };
    let high = if area == 1.0 { 1.0 } else { end(area, 1.0) };
    (low, high)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Values counted by hand, pair by pair.
    #[test]
    fn pairs_are_counted_and_ties_by_half() {
        for (scores, positive, expected) in [
            (&[0.1, 0.4, 0.35, 0.8][..], &[false, false, true, true][..], Some(0.75)),
            (&[1.0, 2.0, 3.0, 4.0], &[false, false, true, true], Some(1.0)),
            (&[4.0, 3.0, 2.0, 1.0], &[false, false, true, true], Some(0.0)),
            (&[5.0, 5.0, 5.0], &[false, true, true], Some(0.5)),
            // Of the six pairs, three are right and one is a tie.
            (&[1.0, 2.0, 2.0, 3.0, 0.0], &[false, false, true, true, true], Some(3.5 / 6.0)),
            (&[0.0, -0.0], &[true, false], Some(0.5)),
            (&[1.0, 2.0], &[true, true], None),
            (&[1.0, 2.0], &[false, false], None),
            (&[], &[], None),
        ] {
            assert_eq!(roc_auc(scores, positive), expected, "{scores:?} {positive:?}");
        }
    }

    /// Scores with ties, and which of them are positive.
    fn drawn(random: &mut ChaCha8Rng, images: usize, steps: usize, shift: usize) -> (Vec<f64>, Vec<bool>) {
        let positive: Vec<bool> = (0..images).map(|image| image % 3 == 0).collect();
        let score = |&positive: &bool| (random.random_range(0..steps) + shift * usize::from(positive)) as f64;
        (positive.iter().map(score).collect(), positive)
    }

    #[test]
    fn it_is_the_share_of_pairs_in_the_right_order() {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        for (images, steps, shift) in [(2, 2, 0), (7, 3, 1), (40, 5, 2), (90, 1000, 300), (90, 4, 9)] {
            let (scores, positive) = drawn(&mut random, images, steps, shift);
            let of =
                |kind: bool| scores.iter().zip(&positive).filter(move |(_, is)| **is == kind).map(|(score, _)| *score);
            let pairs: Vec<f64> = of(true)
                .flat_map(|up| of(false).map(move |down| f64::from(up > down) + 0.5 * f64::from(up == down)))
                .collect();
            let expected = pairs.iter().sum::<f64>() / pairs.len() as f64;
            let area = roc_auc(&scores, &positive).unwrap();
            assert!((area - expected).abs() < 1e-12, "{area} {expected}");
            // Scores that grow with these tell the same; the other class as the positive one, or the order reversed, the rest of 1.
            let grown: Vec<f64> = scores.iter().map(|score| (score / 300.0).exp()).collect();
            assert_eq!(roc_auc(&grown, &positive), Some(area));
            let reversed: Vec<f64> = scores.iter().map(|score| -score).collect();
            let negative: Vec<bool> = positive.iter().map(|positive| !positive).collect();
            for other in [roc_auc(&reversed, &positive), roc_auc(&scores, &negative)] {
                assert!((other.unwrap() - (1.0 - area)).abs() < 1e-12);
            }
            assert_eq!(roc_auc(&reversed, &negative), Some(area));
        }
    }

    #[test]
    fn the_interval_holds_the_area_and_mirrors_with_it() {
        for (positives, negatives) in [(1, 1), (3, 40), (500, 500)] {
            for area in [0.0, 0.2, 0.5, 0.93, 1.0] {
                let (low, high) = roc_auc_interval(area, positives, negatives, 0.95);
                assert!(0.0 <= low && low <= area && area <= high && high <= 1.0 && low < high, "{low} {area} {high}");
                let (wide_low, wide_high) = roc_auc_interval(area, positives, negatives, 0.99);
                assert!(wide_low <= low && high <= wide_high);
                let mirrored = roc_auc_interval(1.0 - area, negatives, positives, 0.95);
                assert!((mirrored.0 + high - 1.0).abs() < 1e-9 && (mirrored.1 + low - 1.0).abs() < 1e-9);
            }
        }
    }

    /// The ends by bisection of the same equation in another program.
    #[test]
    fn the_interval_agrees_with_another_program() {
        for (area, positives, negatives, level, expected) in [
            (0.8, 20, 50, 0.95, (0.658579454253843, 0.8882297626092686)),
            (0.6, 7, 7, 0.99, (0.25127249264852713, 0.8658549847234895)),
            (1.0, 5, 9, 0.95, (0.7074583886036487, 1.0)),
            (0.0, 3, 4, 0.9, (0.0, 0.37336973707224375)),
        ] {
            let (low, high) = roc_auc_interval(area, positives, negatives, level);
            assert!((low - expected.0).abs() < 1e-9 && (high - expected.1).abs() < 1e-9, "{low} {high}, {expected:?}");
        }
    }

    /// Of many samples of scores whose true area is known, about 95 % give an interval that holds it.
    #[test]
    fn the_interval_holds_the_true_area_as_often_as_it_says() {
        const SAMPLES: usize = 1000;
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for (positives, negatives, shift) in [(40, 40, 0.0), (30, 60, 1.0), (100, 100, 2.0), (25, 25, 3.0)] {
            // Of two normal distributions of unit variance, so far apart.
            let truth = Normal::standard().cdf(shift / f64::sqrt(2.0));
            let positive: Vec<bool> = (0..positives + negatives).map(|image| image < positives).collect();
            let holds = (0..SAMPLES).filter(|_| {
                let mut normal = || Normal::standard().inverse_cdf(random.random_range(1e-9..1.0));
                let scores: Vec<f64> = positive.iter().map(|&is| normal() + if is { shift } else { 0.0 }).collect();
                let area = roc_auc(&scores, &positive).unwrap();
                let (low, high) = roc_auc_interval(area, positives, negatives, 0.95);
                (low..=high).contains(&truth)
            });
            let share = holds.count() as f64 / SAMPLES as f64;
            assert!((0.925..=0.99).contains(&share), "{share} of the intervals hold {truth}");
        }
    }
}
