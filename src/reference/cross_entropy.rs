//! Softmax and cross-entropy, `torch.nn.CrossEntropyLoss` with class indices.
//!
//! With z the logits of an image and y its label, the loss is
//! `log(sum exp(z - max z)) - (z[y] - max z)`, which cannot overflow. The loss of a batch is the
//! mean of its images' losses.
//!
//! **Bounds**, in units of `2^-23`. Let `q = z - max z`, s the sum of `exp(q)` over K classes,
//! `p = exp(q) / s`, and a the mean of `|q|` under p. WGSL grants `3 + 2 |q|` ULP to `exp(q)`, and
//! q itself is rounded, so a term of s is off by `3 + 3 |q|` of itself, and s by `K + 2 + 3 a` of
//! itself. The logarithm adds 3 ULP, or 4 where s is between 1 and 2; a division adds 2.5 ULP.
//!
//! - *Loss.* At most `K + 6 + 3 a + 4 log s + 2 |q[y]|`, so the magnitude is
//!   `1 + a + log s + |q[y]|` with 7 steps, one of them in hand.
//! - *Gradient.* p is off by `K + 7.5 + 3 |q| + 3 a` of itself or, computed as `exp(q - log s)`, by
//!   at most `K + 9 + 4 |q| + 3 a + 6 log s`. Subtracting 1 and dividing by n adds 3.5 times the
//!   larger of p and 1. So the magnitude is `p (1 + |q| + a + log s)`, plus 1 at the label, over n,
//!   with 13 steps.

use super::{Real, Summed, assert_fits};

/// The sizes of a classification.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Images in the batch.
    pub n: usize,
    /// Logits of an image.
    pub classes: usize,
}

/// What the logits of one image come to.
struct Row<T> {
    /// The logits less their maximum.
    q: Vec<T>,
    /// The softmax.
    p: Vec<T>,
    /// The logarithm of the sum of `exp(q)`.
    log_sum: T,
    /// The mean of `|q|` under p.
    mean_abs_q: T,
}

impl<T: Real> Row<T> {
    fn new(logits: &[T]) -> Self {
        let max = logits.iter().fold(T::neg_infinity(), |max, &z| max.max(z));
        let q: Vec<T> = logits.iter().map(|&z| z - max).collect();
        let mut sum = T::zero();
        for &q in &q {
            sum += q.exp();
        }
        let p: Vec<T> = q.iter().map(|q| q.exp() / sum).collect();
        let mut mean_abs_q = T::zero();
        for (&p, &q) in p.iter().zip(&q) {
            mean_abs_q += p * q.abs();
        }
        Row { q, p, log_sum: sum.ln(), mean_abs_q }
    }
}

impl Shape {
    fn rows<'a, T: Real>(&self, logits: &'a [T], labels: &'a [u32]) -> impl Iterator<Item = (&'a [T], usize)> {
        assert_fits("logits", logits, self.n * self.classes);
        assert_fits("labels", labels, self.n);
        logits.chunks(self.classes).zip(labels.iter().map(|&label| label as usize))
    }
}

/// losses `=` the loss of each image, from logits `(n, classes)` and labels `(n)`: `(n)`.
pub fn forward<T: Real>(shape: Shape, logits: &[T], labels: &[u32]) -> Summed<T> {
    let mut losses = Summed::zeros(shape.n, shape.classes, 7);
    for (i, (logits, label)) in shape.rows(logits, labels).enumerate() {
        let row = Row::new(logits);
        losses.value[i] = row.log_sum - row.q[label];
        losses.magnitude[i] = T::one() + row.mean_abs_q + row.log_sum + row.q[label].abs();
    }
    losses
}

/// dlogits `=` the gradient of the batch's mean loss, `(softmax(z) - onehot(y)) / n`: `(n,
/// classes)`.
pub fn backward<T: Real>(shape: Shape, logits: &[T], labels: &[u32]) -> Summed<T> {
    let n = T::of(shape.n as f64);
    let mut dlogits = Summed::zeros(logits.len(), shape.classes, 13);
    for (i, (logits, label)) in shape.rows(logits, labels).enumerate() {
        let row = Row::new(logits);
        for class in 0..shape.classes {
            let hit = if class == label { T::one() } else { T::zero() };
            let weight = T::one() + row.q[class].abs() + row.mean_abs_q + row.log_sum;
            dlogits.value[i * shape.classes + class] = (row.p[class] - hit) / n;
            dlogits.magnitude[i * shape.classes + class] = (row.p[class] * weight + hit) / n;
        }
    }
    dlogits
}

/// How many images have their largest logit at their label; of equal logits the first counts as the
/// largest.
pub fn correct<T: Real>(shape: Shape, logits: &[T], labels: &[u32]) -> usize {
    let predicted = |logits: &[T]| (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
    shape.rows(logits, labels).filter(|&(logits, label)| predicted(logits) == label).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-13, "{got} is not {want}");
        }
    }

    /// Softmax (1/2, 1/2), (1/4, 3/4) and (3/4, 1/4), labels 1, 0 and 0. The last would overflow
    /// without the maximum.
    const SHAPE: Shape = Shape { n: 3, classes: 2 };
    const LABELS: [u32; 3] = [1, 0, 0];

    fn logits() -> [f64; 6] {
        let ln3 = 3f64.ln();
        [5.0, 5.0, -ln3, 0.0, 1000.0, 1000.0 - ln3]
    }

    #[test]
    fn losses_match_values_worked_out_by_hand() {
        let losses = forward(SHAPE, &logits(), &LABELS);
        assert_close(&losses.value, &[2f64.ln(), 4f64.ln(), (4f64 / 3.0).ln()]);
        assert_eq!(forward(Shape { n: 1, classes: 1 }, &[7.0], &[0]).value, [0.0]);
    }

    #[test]
    fn gradients_match_values_worked_out_by_hand() {
        let dlogits = backward(SHAPE, &logits(), &LABELS).value;
        assert_close(&dlogits, &[1.0 / 6.0, -1.0 / 6.0, -0.25, 0.25, -1.0 / 12.0, 1.0 / 12.0]);
    }

    #[test]
    fn of_equal_logits_the_first_is_predicted() {
        // Predictions 0 (a tie), 1, 0.
        assert_eq!(correct(SHAPE, &logits(), &[0, 1, 0]), 3);
        assert_eq!(correct(SHAPE, &logits(), &LABELS), 1);
        assert_eq!(correct(Shape { n: 1, classes: 4 }, &[1.0, 3.0, 3.0, 2.0], &[1]), 1);
    }
}
