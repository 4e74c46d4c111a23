//! Batch normalization, `torch.nn.BatchNorm2d`: `y = (x - mean) * invstd * gamma + beta` with
//! `invstd = 1 / sqrt(variance + eps)`, the mean and the biased variance per channel.
//!
//! **Bounds.** These operations are chains of sums, so their magnitudes are derived, not counted,
//! to first order in `u = 2^-23`. Let d be the standard deviation of a channel, D the largest
//! `|x - mean|`, and t = `terms` the longest chain of additions, m of them within a chunk and the
//! others between chunks (a plain loop is one chunk). A kernel with shorter chains than the count
//! is held to them by setting `terms` in the statistics, from which y inherits it.
//!
//! - *Mean.* A chunk sums `x - K` with K its first element. The error of this sum over m is at most
//!   `m + 2.5` u times the mean of `|x - K|`, which is at most `d + D`. Adding K rounds once more.
//!   So does every combination, `mean_a + (mean_b - mean_a) * n_b / (n_a + n_b)`: by u times
//!   `|mean| + d`, and by 4.5 u times a product that averages to at most d. All of it is less than
//!   `(t + 3) u M` with `M = |mean| + 6 d + D`.
//! - *Variance.* A chunk's squares about its mean are `sum (x - K)^2 - (sum (x - K))^2 / m`. Both
//!   are at most `m (d + D)^2`, and off by `m + 2` and `2 m + 3.5` u of that. An error e of the
//!   means moves the variance by at most `2 d e + e^2` (Cauchy-Schwarz). Counting the first part 4
//!   times instead of 3 times covers the other roundings. All of it is less than `(t + 3) u V` with
//!   `V = 2 d M + e M + 4 (d + D)^2` and `e = (t + 3) u M`.
//! - *What is made of them.* `(x - mean) * invstd` inherits an error of `invstd M` from the mean,
//!   and of `V / (2 (variance + eps))` times itself from the variance. WGSL grants 2 ULP to
//!   `inverseSqrt` and 2.5 to a division. Statistics passed as [`Statistics::exact`] add nothing:
//!   a kernel that is handed them is held to the much smaller bound of its own roundings.
//!
//! What makes the bounds of the statistics too large, by a factor from 10 for the shortest chains
//! to several thousand for plain loops, is that K is taken to lie at D from the mean, and that all
//! roundings are taken to agree.

use super::{Real, Summed, assert_fits};

/// The sizes of the tensor, `(n, c, hw)`: PyTorch's order with the two spatial dimensions as one.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Images in the batch.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Places in a channel: height times width.
    pub hw: usize,
}

impl Shape {
    /// Elements of x that share a mean: `n * hw`.
    pub fn count(&self) -> usize {
        self.n * self.hw
    }

    /// Elements of x.
    pub fn elements(&self) -> usize {
        self.count() * self.c
    }

    /// The places of channel `c` in x.
    fn channel(self, c: usize) -> impl Iterator<Item = usize> {
        (0..self.n).flat_map(move |n| (0..self.hw).map(move |place| (n * self.c + c) * self.hw + place))
    }
}

/// The mean and the biased variance of each channel, `(c)` both, with what is known of their
/// errors.
#[derive(Clone, Debug)]
pub struct Statistics<T> {
    /// The mean of each channel.
    pub mean: Summed<T>,
    /// The variance of each channel: squared distances from the mean, divided by the count.
    pub variance: Summed<T>,
}

/// The gradients of a batch normalization.
#[derive(Clone, Debug)]
pub struct Gradients<T> {
    /// With respect to x: `(n, c, hw)`.
    pub dx: Summed<T>,
    /// With respect to gamma: `(c)`.
    pub dgamma: Summed<T>,
    /// With respect to beta: `(c)`.
    pub dbeta: Summed<T>,
}

impl<T: Real> Statistics<T> {
    /// Statistics that are given and not computed: the running ones, or those that a kernel is
    /// handed.
    pub fn exact(mean: Vec<T>, variance: Vec<T>) -> Self {
        Statistics { mean: Summed::exact(mean), variance: Summed::exact(variance) }
    }

    fn terms(&self) -> usize {
        self.mean.terms.max(self.variance.terms)
    }

    /// Each channel with what its statistics make of its elements.
    fn channels(&self, eps: f64) -> impl Iterator<Item = (usize, Normal<T>)> {
        (0..self.mean.value.len()).map(move |c| {
            let spread = self.variance.value[c] + T::of(eps);
            let invstd = spread.sqrt().recip();
            let stretch = self.variance.magnitude[c] / (T::of(2.0) * spread);
            (c, Normal { mean: self.mean.value[c], invstd, shift: self.mean.magnitude[c] * invstd, stretch })
        })
    }
}

/// The map from an element to its standardized value: its distance from the mean in standard
/// deviations.
struct Normal<T> {
    mean: T,
    invstd: T,
    /// The magnitude of the error of a standardized value that comes from the mean.
    shift: T,
    /// The magnitude of the relative error of invstd that comes from the variance.
    stretch: T,
}

impl<T: Real> Normal<T> {
    fn standardize(&self, x: T) -> T {
        (x - self.mean) * self.invstd
    }

    /// The magnitude of the error of a standardized value that comes from the statistics.
    fn inherited(&self, standardized: T) -> T {
        self.shift + standardized.abs() * self.stretch
    }
}

/// mean, variance `=` those of each channel of x `(n, c, hw)`.
pub fn statistics<T: Real>(shape: Shape, x: &[T]) -> Statistics<T> {
    assert_fits("x", x, shape.elements());
    let count = T::of(shape.count() as f64);
    let mut means = Summed::zeros(shape.c, shape.count(), 3);
    let mut variances = Summed::zeros(shape.c, shape.count(), 3);
    for c in 0..shape.c {
        let mut sum = T::zero();
        for i in shape.channel(c) {
            sum += x[i];
        }
        let mean = sum / count;
        let (mut squares, mut farthest) = (T::zero(), T::zero());
        for i in shape.channel(c) {
            squares += (x[i] - mean).powi(2);
            farthest = farthest.max((x[i] - mean).abs());
        }
        let variance = squares / count;
        let deviation = variance.sqrt();
        means.value[c] = mean;
        means.magnitude[c] = mean.abs() + T::of(6.0) * deviation + farthest;
        let error = means.bound(c);
        variances.value[c] = variance;
        variances.magnitude[c] =
            (T::of(2.0) * deviation + error) * means.magnitude[c] + T::of(4.0) * (deviation + farthest).powi(2);
    }
    Statistics { mean: means, variance: variances }
}

/// The running statistics `=` `(1 - momentum) * running + momentum * batch`, with the unbiased
/// variance of the batch.
///
/// The unbiased variance is `variance * count / (count - 1)`. It is undefined for a count of 1,
/// where PyTorch refuses to train ("Expected more than 1 value per channel when training"); here
/// the divisor is at least 1, which keeps the biased variance, 0. Momentum is PyTorch's: the weight
/// of the new value, 0.1 by default.
pub fn update_running<T: Real>(
    running_mean: &[T],
    running_variance: &[T],
    batch: &Statistics<T>,
    momentum: f64,
    count: usize,
) -> Statistics<T> {
    let unbiased = count as f64 / count.saturating_sub(1).max(1) as f64;
    Statistics {
        mean: blend(running_mean, &batch.mean, 1.0 - momentum, momentum),
        variance: blend(running_variance, &batch.variance, 1.0 - momentum, momentum * unbiased),
    }
}

/// `keep * running + take * batch`.
fn blend<T: Real>(running: &[T], batch: &Summed<T>, keep: f64, take: f64) -> Summed<T> {
    assert_fits("running", running, batch.value.len());
    let mut blended = Summed::zeros(running.len(), batch.terms, 7);
    for (i, &running) in running.iter().enumerate() {
        blended.value[i] = T::of(keep) * running + T::of(take) * batch.value[i];
        blended.magnitude[i] = running.abs() + T::of(take) * (batch.value[i].abs() + batch.magnitude[i]);
    }
    blended
}

/// y `=` `(x - mean) * invstd * gamma + beta`, with the batch's statistics in training and the
/// running ones in evaluation.
pub fn forward<T: Real>(
    shape: Shape,
    x: &[T],
    statistics: &Statistics<T>,
    gamma: &[T],
    beta: &[T],
    eps: f64,
) -> Summed<T> {
    assert_fits("x", x, shape.elements());
    let mut y = Summed::zeros(shape.elements(), statistics.terms(), 7);
    for (c, normal) in statistics.channels(eps) {
        for i in shape.channel(c) {
            let standardized = normal.standardize(x[i]);
            y.value[i] = standardized * gamma[c] + beta[c];
            y.magnitude[i] = (standardized.abs() + normal.inherited(standardized)) * gamma[c].abs() + beta[c].abs();
        }
    }
    y
}

/// All three gradients in training, where the statistics depend on x. With s the standardized x of
/// forward:
///
/// `dbeta = sum dy`, `dgamma = sum dy * s`, `dx = gamma * invstd * (dy - dbeta / count - s * dgamma
/// / count)`, all `=`.
pub fn backward<T: Real>(
    shape: Shape,
    x: &[T],
    statistics: &Statistics<T>,
    gamma: &[T],
    eps: f64,
    dy: &[T],
) -> Gradients<T> {
    let (dgamma, dbeta) = backward_parameters(shape, x, statistics, eps, dy);
    let count = T::of(shape.count() as f64);
    let mut dx = Summed::zeros(shape.elements(), dgamma.terms, 20);
    for (c, normal) in statistics.channels(eps) {
        let scale = gamma[c] * normal.invstd;
        for i in shape.channel(c) {
            let s = normal.standardize(x[i]);
            dx.value[i] = scale * (dy[i] - dbeta.value[c] / count - s * dgamma.value[c] / count);
            let terms = dy[i].abs() + dbeta.magnitude[c] / count + s.abs() * dgamma.magnitude[c] / count;
            let inherited = normal.stretch * terms + normal.inherited(s) * dgamma.value[c].abs() / count;
            dx.magnitude[i] = scale.abs() * (terms + inherited);
        }
    }
    Gradients { dx, dgamma, dbeta }
}

/// All three gradients in evaluation, where the statistics are constants: `dx = gamma * invstd *
/// dy`, the others as in training, all `=`.
pub fn backward_eval<T: Real>(
    shape: Shape,
    x: &[T],
    statistics: &Statistics<T>,
    gamma: &[T],
    eps: f64,
    dy: &[T],
) -> Gradients<T> {
    let (dgamma, dbeta) = backward_parameters(shape, x, statistics, eps, dy);
    let mut dx = Summed::zeros(shape.elements(), statistics.terms(), 5);
    for (c, normal) in statistics.channels(eps) {
        for i in shape.channel(c) {
            dx.value[i] = gamma[c] * normal.invstd * dy[i];
            dx.magnitude[i] = dx.value[i].abs() * (T::one() + normal.stretch);
        }
    }
    Gradients { dx, dgamma, dbeta }
}

/// dgamma and dbeta, which are the same in training and in evaluation.
fn backward_parameters<T: Real>(
    shape: Shape,
    x: &[T],
    statistics: &Statistics<T>,
    eps: f64,
    dy: &[T],
) -> (Summed<T>, Summed<T>) {
    assert_fits("x", x, shape.elements());
    assert_fits("dy", dy, shape.elements());
    let mut dgamma = Summed::zeros(shape.c, shape.count().max(statistics.terms()), 6);
    let mut dbeta = Summed::zeros(shape.c, shape.count(), 2);
    for (c, normal) in statistics.channels(eps) {
        for i in shape.channel(c) {
            let s = normal.standardize(x[i]);
            dbeta.add(c, dy[i]);
            dgamma.add(c, dy[i] * s);
            dgamma.magnitude[c] += dy[i].abs() * normal.inherited(s);
        }
    }
    (dgamma, dbeta)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels of two places with variance 1; eps = 3 makes invstd exactly 1/2.
    const SHAPE: Shape = Shape { n: 1, c: 2, hw: 2 };
    const X: [f64; 4] = [1.0, 3.0, -4.0, -2.0];
    const GAMMA: [f64; 2] = [2.0, -4.0];
    const DY: [f64; 4] = [1.0, 5.0, 3.0, -1.0];

    #[test]
    fn training_matches_values_worked_out_by_hand() {
        let statistics = statistics(SHAPE, &X);
        assert_eq!(statistics.mean.value, [2.0, -3.0]);
        assert_eq!(statistics.variance.value, [1.0, 1.0]);
        let y = forward(SHAPE, &X, &statistics, &GAMMA, &[0.0, 1.0], 3.0);
        assert_eq!(y.value, [-1.0, 1.0, 3.0, -1.0]);
        // The standardized x are -1/2, 1/2, -1/2, 1/2.
        let Gradients { dx, dgamma, dbeta } = backward(SHAPE, &X, &statistics, &GAMMA, 3.0, &DY);
        assert_eq!(dbeta.value, [6.0, 2.0]);
        assert_eq!(dgamma.value, [2.0, -2.0]);
        assert_eq!(dx.value, [-1.5, 1.5, -3.0, 3.0]);
    }

    #[test]
    fn evaluation_matches_values_worked_out_by_hand() {
        let statistics = Statistics::exact(vec![0.0, 1.0], vec![1.0, 13.0]);
        let y = forward(SHAPE, &X, &statistics, &GAMMA, &[0.0, 1.0], 3.0);
        assert_eq!(y.value, [1.0, 3.0, 6.0, 4.0]);
        let Gradients { dx, dgamma, dbeta } = backward_eval(SHAPE, &X, &statistics, &GAMMA, 3.0, &DY);
        assert_eq!(dbeta.value, [6.0, 2.0]);
        assert_eq!(dgamma.value, [8.0, -3.0]);
        assert_eq!(dx.value, [1.0, 5.0, -3.0, 1.0]);
    }

    #[test]
    fn channels_gather_all_images() {
        // The same channels, now one place in each of two images.
        let statistics = statistics(Shape { n: 2, c: 2, hw: 1 }, &[1.0, -4.0, 3.0, -2.0]);
        assert_eq!(statistics.mean.value, [2.0, -3.0]);
        assert_eq!(statistics.variance.value, [1.0, 1.0]);
    }

    #[test]
    fn running_statistics_match_values_worked_out_by_hand() {
        let batch = Statistics::exact(vec![2.0], vec![1.0]);
        // The unbiased variance is 1 * 2 / 1.
        let running = update_running(&[10.0], &[4.0], &batch, 0.25, 2);
        assert_eq!((running.mean.value[0], running.variance.value[0]), (8.0, 3.5));
        let of_one = update_running(&[10.0], &[4.0], &batch, 0.25, 1);
        assert_eq!((of_one.mean.value[0], of_one.variance.value[0]), (8.0, 3.25));
    }
}
