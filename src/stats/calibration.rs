//! Whether probabilities mean what they say: of the images that a network is 80 % sure of, 80 % should be right.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bootstrap::quantile;
use super::scores::{argmax, rows, softmax};
use super::{StatsError, assert_level, check_count, check_finite};

/// Bins of the confidence.
pub const CALIBRATION_BINS: usize = 15;
/// Draws of outcomes by which [`Calibration`] finds out what chance alone gives.
const DRAWS: usize = 1000;

/// Images of similar confidence, the largest softmax probability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationBin {
    /// How many there are.
    pub images: usize,
    /// How many of them are right: the class of that probability is the label.
    pub right: usize,
    /// Sum of their confidences, each 0 to 1.
    pub confidence: f64,
}

impl CalibrationBin {
    /// Their mean confidence, none without images.
    pub fn mean_confidence(&self) -> Option<f64> {
        (self.images > 0).then(|| self.confidence / self.images as f64)
    }
}

/// Confidence held against the share that is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// [`CALIBRATION_BINS`] bins of equal width from 0 to 1, each closed above.
    pub bins: Vec<CalibrationBin>,
    /// The expected calibration error, 0 to 1: the mean over images of the distance between accuracy and mean confidence in
    /// the image's bin. Formula: C. Guo et al., ICML 2017, equation 3.
    pub error: f64,
    /// The mean of that error were every confidence exactly the probability of being right. It is not 0, because of a few images no
    /// share is exactly as expected.
    pub by_chance: f64,
    /// What that error stays below in such a case, with the probability that was asked for.
    pub most_by_chance: f64,
}

impl Calibration {
    /// Of logits (n, classes) against n labels. What chance gives is found by drawing the outcome of every image with its own
    /// confidence as probability, 1000 times: the consistency resampling of J. Bröcker and L. Smith, Weather and
    /// Forecasting 22 (2007) 651-661. `level` is the probability of [`Calibration::most_by_chance`].
    ///
    /// # Errors
    /// When there are no images, or a logit is not finite.
    ///
    /// # Panics
    /// When the logits are not as many for each label, or `level` is not between 0 and 1.
    pub fn new<T: Copy + Into<f64>>(logits: &[T], labels: &[usize], level: f64, seed: u64) -> Result<Self, StatsError> {
        assert_level(level);
        check_count("images to calibrate on", labels.len(), 1)?;
        check_finite("logits", logits)?;
        let judged = confidences(logits, labels);
        let bins = binned(judged.iter().copied());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = || {
            let drawn = judged.iter().map(|&(confidence, _)| (confidence, rng.random::<f64>() < confidence));
            error(&binned(drawn))
        };
        let mut drawn: Vec<f64> = (0..DRAWS).map(|_| draw()).collect();
        drawn.sort_by(f64::total_cmp);
        Ok(Self {
            error: error(&bins),
            bins,
            by_chance: drawn.iter().sum::<f64>() / DRAWS as f64,
            most_by_chance: quantile(&drawn, level),
        })
    }

    /// Whether more than chance lies between confidence and accuracy.
    pub fn is_off(&self) -> bool {
        self.error > self.most_by_chance
    }

    /// Mean confidence less accuracy, -1 to 1: positive where the network is too sure of itself.
    pub fn excess(&self) -> f64 {
        let images: usize = self.bins.iter().map(|bin| bin.images).sum();
        self.bins.iter().map(|bin| bin.confidence - bin.right as f64).sum::<f64>() / images as f64
    }
}

/// [`Calibration::error`] alone.
///
/// # Panics
/// When there are no labels, the logits are not as many for each, or one is not finite.
pub fn expected_calibration_error<T: Copy + Into<f64>>(logits: &[T], labels: &[usize]) -> f64 {
    error(&binned(confidences(logits, labels).into_iter()))
}

/// The confidence of each image, and whether it is right.
fn confidences<T: Copy + Into<f64>>(logits: &[T], labels: &[usize]) -> Vec<(f64, bool)> {
    let judge = |(mut row, label): (Vec<f64>, usize)| {
        assert!(row.iter().all(|logit| logit.is_finite()), "logits are finite numbers");
        let predicted = argmax(&row);
        softmax(&mut row);
        (row[predicted], predicted == label)
    };
    rows(logits, labels).map(judge).collect()
}

fn binned(judged: impl Iterator<Item = (f64, bool)>) -> Vec<CalibrationBin> {
    let mut bins = vec![CalibrationBin::default(); CALIBRATION_BINS];
    for (confidence, right) in judged {
        let bin = (confidence * CALIBRATION_BINS as f64).ceil() as usize - 1;
        let bin = &mut bins[bin.min(CALIBRATION_BINS - 1)];
        bin.images += 1;
        bin.right += usize::from(right);
        bin.confidence += confidence;
    }
    bins
}

fn error(bins: &[CalibrationBin]) -> f64 {
    let images: usize = bins.iter().map(|bin| bin.images).sum();
    bins.iter().map(|bin| (bin.right as f64 - bin.confidence).abs()).sum::<f64>() / images as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The upper end of a bin belongs to it.
    #[test]
    fn each_confidence_has_its_bin() {
        for (confidence, bin) in [(0.01, 0), (0.5, 7), (0.6, 8), (0.61, 9), (0.93, 13), (0.94, 14), (1.0, 14)] {
            let bins = binned([(confidence, true)].into_iter());
            assert_eq!(bins.iter().position(|bin| bin.images == 1), Some(bin), "{confidence}");
        }
    }
}
