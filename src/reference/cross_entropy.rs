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
//!
//! **Targets and weights**, `CrossEntropyLoss(weight, label_smoothing)`. With w the classes' weights, s the smoothing, W the sum of
//! the images' `w[y]`, and K classes, an image's part of the loss is
//! `((1 - s) w[y] (-log p[y]) + s / K sum w[k] (-log p[k])) / W`, and the parts of a batch are added up.
//!
//! - *Gradient.* `((a + b) p - a onehot(y) - s / K w) / W` with `a = (1 - s) w[y]` and `b = s / K sum w`. Beside those of p, a and b
//!   have 2 roundings each, their sum, the product, the two differences and the division 7.5; W, a sum of n terms, has n. So the
//!   magnitude is `(a + b) p (1 + |q| + a + log s)` and the targets, over W, with n more terms and 11 more steps.

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

/// What is wanted of the logits, beside the labels.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a, T> {
    /// The share of a target that is spread evenly over all classes.
    pub smoothing: f64,
    /// A weight for each class.
    pub weights: &'a [T],
}

impl<T: Real> Targets<'_, T> {
    /// The share that stays at the label, and what every class gets of the rest.
    fn shares(&self) -> [T; 2] {
        [1.0 - self.smoothing, self.smoothing / self.weights.len() as f64].map(T::of)
    }

    /// The sum of the images' weights.
    fn total(&self, labels: &[u32]) -> T {
        labels.iter().fold(T::zero(), |sum, &label| sum + self.weights[label as usize])
    }
}

/// The loss of the batch with such targets: a number.
pub fn forward_weighted<T: Real>(shape: Shape, logits: &[T], labels: &[u32], targets: Targets<'_, T>) -> T {
    assert_fits("weights", targets.weights, shape.classes);
    let [kept, each] = targets.shares();
    let mut loss = T::zero();
    for (logits, label) in shape.rows(logits, labels) {
        let row = Row::new(logits);
        for class in 0..shape.classes {
            let share = if class == label { kept + each } else { each };
            // At the label both shares have the label's weight.
            loss += share * targets.weights[class] * (row.log_sum - row.q[class]);
        }
    }
    loss / targets.total(labels)
}

/// dlogits `=` the gradient of that loss: `(n, classes)`.
pub fn backward_weighted<T: Real>(shape: Shape, logits: &[T], labels: &[u32], targets: Targets<'_, T>) -> Summed<T> {
    assert_fits("weights", targets.weights, shape.classes);
    let ([kept, each], total) = (targets.shares(), targets.total(labels));
    let all = targets.weights.iter().fold(T::zero(), |sum, &weight| sum + weight);
    let mut dlogits = Summed::zeros(logits.len(), shape.classes + shape.n, 24);
    for (i, (logits, label)) in shape.rows(logits, labels).enumerate() {
        let row = Row::new(logits);
        let at_label = kept * targets.weights[label];
        for class in 0..shape.classes {
            let hit = if class == label { at_label } else { T::zero() };
            let wanted = hit + each * targets.weights[class];
            let weight = T::one() + row.q[class].abs() + row.mean_abs_q + row.log_sum;
            let pulled = (at_label + each * all) * row.p[class];
            dlogits.value[i * shape.classes + class] = (pulled - wanted) / total;
            dlogits.magnitude[i * shape.classes + class] = (pulled * weight + wanted) / total;
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

    /// Loss and gradient of PyTorch 2.15's `CrossEntropyLoss(weight, label_smoothing)` in 64 bits.
    #[test]
    fn smoothed_targets_and_weights_are_those_of_pytorch() {
        let shape = Shape { n: 4, classes: 3 };
        let logits = [1.0, -0.5, 2.0, 0.25, 0.75, -1.0, 3.0, 0.0, -2.0, -1.5, 0.5, 0.125];
        let labels = [2, 0, 1, 2];
        let cases: [([f64; 3], f64, f64, [f64; 12]); 4] = [
            (
                [1.0; 3],
                0.1,
                1.4071465679056865,
                [
                    0.055095712075423,
                    0.00581959972678449,
                    -0.0609153118022074,
                    -0.148161018068433,
                    0.132092074518684,
                    0.0160689435497489,
                    0.22829144730489,
                    -0.221552479202167,
                    -0.00673896810272276,
                    0.0102299086606814,
                    0.128831503138467,
                    -0.139061411799148,
                ],
            ),
            (
                [0.5, 2.0, 1.25],
                0.0,
                1.6663766819568238,
                [
                    0.0634290454087563,
                    0.0141529330601178,
                    -0.0775819784688741,
                    -0.06593107389404,
                    0.0561701631408071,
                    0.00976091075323289,
                    0.378599649021158,
                    -0.381150633390134,
                    0.00255098436897692,
                    0.0185632419940147,
                    0.1371648364718,
                    -0.155728078465815,
                ],
            ),
            (
                [0.5, 2.0, 1.25],
                0.1,
                1.6842036705517103,
                [
                    0.060095712075423,
                    0.000819599726784486,
                    -0.0609153118022074,
                    -0.0541540683114793,
                    0.0512623542785948,
                    0.00289171403288449,
                    0.361068828849531,
                    -0.355190817971338,
                    -0.00587801087819305,
                    0.0152299086606814,
                    0.123831503138467,
                    -0.139061411799148,
                ],
            ),
            (
                [0.5, 2.0, 1.25],
                0.4,
                1.737684636336369,
                [
                    0.050095712075423,
                    -0.0391804002732155,
                    -0.0109153118022074,
                    -0.0188230515637974,
                    0.036538927691958,
                    -0.0177158761281607,
                    0.30847636833465,
                    -0.277311371714948,
                    -0.031164996619703,
                    0.00522990866068139,
                    0.0838315031384668,
                    -0.0890614117991482,
                ],
            ),
        ];
        for (weights, smoothing, loss, gradient) in cases {
            let targets = Targets { smoothing, weights: &weights };
            assert_close(&[forward_weighted(shape, &logits, &labels, targets)], &[loss]);
            assert_close(&backward_weighted(shape, &logits, &labels, targets).value, &gradient);
        }
        // Nothing is smoothed and all classes weigh the same, whatever that is.
        let plain = Targets { smoothing: 0.0, weights: &[3.0; 3] };
        let mean = forward(shape, &logits, &labels).value.iter().sum::<f64>() / 4.0;
        assert_close(&[forward_weighted(shape, &logits, &labels, plain)], &[mean]);
        let gradient = backward(shape, &logits, &labels).value;
        assert_close(&backward_weighted(shape, &logits, &labels, plain).value, &gradient);
    }

    #[test]
    fn of_equal_logits_the_first_is_predicted() {
        // Predictions 0 (a tie), 1, 0.
        assert_eq!(correct(SHAPE, &logits(), &[0, 1, 0]), 3);
        assert_eq!(correct(SHAPE, &logits(), &LABELS), 1);
        assert_eq!(correct(Shape { n: 1, classes: 4 }, &[1.0, 3.0, 3.0, 2.0], &[1]), 1);
    }
}
