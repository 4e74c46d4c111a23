//! Scores of logits: (n, classes) in row-major order, against n labels.

/// Share of rows whose largest logit is the label's; of equal ones the first counts.
///
/// # Panics
/// When there are no labels, or the logits are not as many for each.
pub fn accuracy<T: Copy + Into<f64>>(logits: &[T], labels: &[usize]) -> f64 {
    let hits = rows(logits, labels).filter(|(row, label)| argmax(row) == *label).count();
    hits as f64 / labels.len() as f64
}

/// Mean of minus the natural logarithm of the label's softmax probability.
///
/// # Panics
/// As [`accuracy`], or when a label is not below the number of classes.
pub fn log_loss<T: Copy + Into<f64>>(logits: &[T], labels: &[usize]) -> f64 {
    rows(logits, labels).map(|(row, label)| row_loss(&row, label)).sum::<f64>() / labels.len() as f64
}

pub(super) fn rows<T: Copy + Into<f64>>(logits: &[T], labels: &[usize]) -> impl Iterator<Item = (Vec<f64>, usize)> {
    assert!(!labels.is_empty() && !logits.is_empty(), "scores of no images");
    assert!(logits.len().is_multiple_of(labels.len()), "{} logits for {} labels", logits.len(), labels.len());
    let classes = logits.len() / labels.len();
    logits.chunks_exact(classes).map(|row| row.iter().map(|&logit| logit.into()).collect()).zip(labels.iter().copied())
}

/// The most probable class by logits or probabilities: the index of the largest; of equal ones the first.
pub fn argmax<T: PartialOrd>(scores: &[T]) -> usize {
    let mut largest = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[largest] {
            largest = class;
        }
    }
    largest
}

/// The probability of each class: softmax of the logits.
pub fn probabilities<T: Copy + Into<f64>>(logits: &[T]) -> Vec<f64> {
    let mut probabilities: Vec<f64> = logits.iter().map(|&logit| logit.into()).collect();
    softmax(&mut probabilities);
    probabilities
}

/// Turns logits into probabilities in place.
pub(super) fn softmax(logits: &mut [f64]) {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = (*logit - largest).exp();
        sum += *logit;
    }
    for probability in logits {
        *probability /= sum;
    }
}

/// Minus the logarithm of the label's probability, finite however small that is.
pub(super) fn row_loss(logits: &[f64], label: usize) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    largest + sum.ln() - logits[label]
}
