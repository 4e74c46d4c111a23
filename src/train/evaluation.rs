//! What the predictions of labelled images say of a network.

use anyhow::Result;

use super::predictions::{Prediction, confusion};
use crate::stats::standing::Standing;
use crate::stats::{Calibration, ClassCounts, log_loss, log_loss_of_shares, macro_mean, roc_auc, roc_auc_interval};

/// Confidence of the intervals.
pub const LEVEL: f64 = 0.95;

/// How a network does on labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Beside always naming the commonest class.
    pub standing: Standing,
    /// Counts of images by class and then by predicted class.
    pub confusion: Vec<Vec<usize>>,
    /// Of each class.
    pub counts: Vec<ClassCounts>,
    /// Mean of minus the natural logarithm of the probability of an image's class.
    pub log_loss: f64,
    /// The log-loss of a guess that gives each class its share of the images.
    pub log_loss_of_shares: f64,
    /// Whether the probabilities mean what they say.
    pub calibration: Calibration,
    /// The area under the ROC curve, where there are two classes and images of both.
    pub auc: Option<Auc>,
}

/// The area under the ROC curve with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auc {
    /// The probability that of an image of each class the right one is held for the second class more.
    pub area: f64,
    /// Its interval.
    pub interval: (f64, f64),
}

impl Evaluation {
    /// Of predictions of images of so many classes. `epochs` is that of [`Standing`]. None without images.
    ///
    /// # Errors
    /// When a logit is not finite.
    pub fn new(predictions: &[Prediction], classes: usize, epochs: usize) -> Result<Option<Self>> {
        let confusion = confusion(predictions, classes);
        let Some(standing) = Standing::of_confusion(&confusion, epochs) else { return Ok(None) };
        let labels: Vec<usize> = predictions.iter().map(|prediction| prediction.truth).collect();
        let logits: Vec<f32> = predictions.iter().flat_map(|prediction| &prediction.logits).copied().collect();
        let counts = ClassCounts::of(&confusion);
        let of_class: Vec<usize> = counts.iter().map(|counts| counts.actual).collect();
        Ok(Some(Self {
            standing,
            log_loss: log_loss(&logits, &labels),
            log_loss_of_shares: log_loss_of_shares(&of_class),
            calibration: Calibration::new(&logits, &labels, LEVEL, 0)?,
            auc: (classes == 2).then(|| Auc::new(predictions)).flatten(),
            confusion,
            counts,
        }))
    }

    /// The mean of a score over the classes that have images, in which every class counts the same.
    pub fn mean(&self, score: fn(&ClassCounts) -> Option<f64>) -> f64 {
        let present: Vec<ClassCounts> = self.counts.iter().copied().filter(|counts| counts.actual > 0).collect();
        macro_mean(&present, score)
    }
}

impl Auc {
    /// Of two classes; none without images of both.
    fn new(predictions: &[Prediction]) -> Option<Self> {
        let positive: Vec<bool> = predictions.iter().map(|prediction| prediction.truth == 1).collect();
        // Unlike the probability, the difference of the logits is not rounded to 1 where the network is sure.
        let score = |Prediction { logits, .. }: &Prediction| f64::from(logits[1]) - f64::from(logits[0]);
        let area = roc_auc(&predictions.iter().map(score).collect::<Vec<_>>(), &positive)?;
        let positives = positive.iter().filter(|&&positive| positive).count();
        Some(Self { area, interval: roc_auc_interval(area, positives, positive.len() - positives, LEVEL) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(index: usize, truth: usize, logits: &[f32]) -> Prediction {
        Prediction { index, truth, logits: logits.to_vec() }
    }

    fn evaluation(predictions: &[Prediction], classes: usize) -> Evaluation {
        Evaluation::new(predictions, classes, 1).unwrap().unwrap()
    }

    #[test]
    fn two_classes_have_an_area_and_others_have_none() {
        // So sure that both probabilities of the second class round to 1.
        let sure = [prediction(0, 0, &[0.0, 100.0]), prediction(1, 1, &[0.0, 101.0])];
        assert_eq!(evaluation(&sure, 2).auc.unwrap().area, 1.0);
        let tie = [prediction(0, 0, &[0.0, 5.0]), prediction(1, 1, &[1.0, 6.0])];
        assert_eq!(evaluation(&tie, 2).auc.unwrap().area, 0.5);
        let alone = [prediction(0, 1, &[0.0, 5.0]), prediction(1, 1, &[1.0, 6.0])];
        assert_eq!(evaluation(&alone, 2).auc, None);
        let three = [prediction(0, 0, &[0.0, 5.0, 1.0]), prediction(1, 1, &[1.0, 6.0, 1.0])];
        assert_eq!(evaluation(&three, 3).auc, None);
        assert_eq!(Evaluation::new(&[], 2, 1).unwrap(), None);
    }

    /// A class of which there is no image here has no recall; in the means it does not count.
    #[test]
    fn classes_without_images_do_not_count_in_the_means() {
        let predictions = [
            prediction(0, 0, &[1.0, 0.0, 0.0]),
            prediction(1, 0, &[0.0, 0.0, 1.0]),
            prediction(2, 1, &[0.0, 1.0, 0.0]),
            prediction(3, 1, &[0.0, 1.0, 0.0]),
        ];
        let found = evaluation(&predictions, 3);
        assert_eq!(found.confusion, [[1, 0, 1], [0, 2, 0], [0, 0, 0]]);
        assert_eq!(found.mean(ClassCounts::recall), 0.75);
        assert_eq!(found.mean(ClassCounts::precision), 1.0);
        assert_eq!((found.standing.right, found.standing.images, found.standing.commonest), (3, 4, Some(2)));
        assert!((found.log_loss_of_shares - 2f64.ln()).abs() < 1e-12);
    }
}
