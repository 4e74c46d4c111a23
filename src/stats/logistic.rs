//! L2-regularised multinomial logistic regression in f64.
//!
//! It minimises `mean over images of the log-loss + lambda / 2 * |weights|²`; the intercepts go free. As the mean is taken,
//! a lambda means the same for any number of images; scikit-learn's `C` is `1 / (n lambda)`. Two classes have one row of
//! weights, for the logit of class 1 with that of class 0 fixed at 0; more classes have a row each.
//!
//! Features of a network are strongly correlated, which makes the objective curved along a few directions and flat
//! along the rest. These few are found once for each set of features; with them L-BFGS takes tens of steps, not hundreds.

use std::collections::VecDeque;

use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::rank::feature_matrix;
use super::scores::softmax;
use super::{StatsError, check_finite};

/// Steps a regression may take; a few dozen are usual.
const MAX_STEPS: usize = 1000;
/// Steps that L-BFGS remembers.
const MEMORY: usize = 10;
/// Leading directions of the features that are looked for.
const DIRECTIONS: usize = 128;

/// A fitted regression.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticRegression {
    /// Weights, (rows, p) in row-major order: one row for two classes, else one a class.
    pub weights: Vec<f64>,
    /// An intercept a row.
    pub intercepts: Vec<f64>,
}

/// Fits a regression to `features` (n, p), n labels below `classes`, until the 2-norm of the objective's gradient is at
/// most `tolerance`. The objective is then, the intercepts being the best ones, within `tolerance² / (2 lambda)` of its
/// minimum. Standardised features take the fewest steps.
///
/// # Errors
/// When a feature is not finite, or the tolerance is not reached.
///
/// # Panics
/// When shapes disagree, a label is not below `classes`, there are fewer than two classes, or `lambda` or `tolerance` is
/// not positive.
pub fn logistic_regression<T: Copy + Into<f64>>(
    features: &[T],
    labels: &[usize],
    classes: usize,
    lambda: f64,
    tolerance: f64,
) -> Result<LogisticRegression, StatsError> {
    check_finite("features", features)?;
    let x = feature_matrix(features, labels.len());
    let p = x.ncols();
    let design = Design::new(x);
    let trains = vec![true; labels.len()];
    let objective = Objective::new(&design, labels, classes, &trains, lambda);
    let fit = objective.minimise(objective.origin(), tolerance)?;
    // The columns of a matrix are stored one behind the other.
    let rows = fit.coefficients.column_iter();
    let weights = rows.flat_map(|row| row.rows(0, p).iter().copied().collect::<Vec<_>>()).collect();
    Ok(LogisticRegression { weights, intercepts: fit.coefficients.row(p).iter().copied().collect() })
}

/// Features with a column of ones, and the directions in which they vary most.
pub(super) struct Design {
    /// (n, p + 1): the features, then the ones.
    values: DMatrix<f64>,
    /// The same, (p + 1, n): a product is fast where it runs down the columns.
    transposed: DMatrix<f64>,
    /// (p, k): approximately the leading eigenvectors of XᵀX / n.
    directions: DMatrix<f64>,
    /// Their eigenvalues, k.
    spreads: DVector<f64>,
}

impl Design {
    /// Takes the features `x` (n, p), and finds their leading directions by subspace iteration from random ones
    /// (N. Halko, P.-G. Martinsson and J. Tropp, SIAM Review 53 (2011), algorithm 4.4).
    pub(super) fn new(x: DMatrix<f64>) -> Self {
        let (n, p) = x.shape();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut directions = DMatrix::from_fn(p, p.min(DIRECTIONS), |_, _| rng.random::<f64>() - 0.5);
        let mut spreads = DVector::zeros(0);
        if p > 0 {
            let transposed = x.transpose();
            for _ in 0..3 {
                directions = (&transposed * (&x * directions)).qr().q();
            }
            let along = &x * &directions;
            let eigen = (along.tr_mul(&along) / n as f64).symmetric_eigen();
            directions *= eigen.eigenvectors;
            spreads = eigen.eigenvalues;
        }
        let values = x.insert_column(p, 1.0);
        Self { transposed: values.transpose(), values, directions, spreads }
    }
}

/// The objective of one regression.
pub(super) struct Objective<'a> {
    design: &'a Design,
    labels: &'a [usize],
    classes: usize,
    /// Of each image, whether it trains.
    trains: &'a [bool],
    /// Number of those that do.
    count: f64,
    lambda: f64,
}

/// A point of the objective's domain, of k rows of weights.
pub(super) struct Fit {
    /// (p + 1, k), the intercepts last.
    pub(super) coefficients: DMatrix<f64>,
    /// Logits (n, k) of all images, whether they train or not.
    pub(super) logits: DMatrix<f64>,
}

/// A step of L-BFGS, the change of the gradient over it, and their dot product.
struct Pair {
    step: DMatrix<f64>,
    change: DMatrix<f64>,
    product: f64,
}

impl<'a> Objective<'a> {
    pub(super) fn new(
        design: &'a Design,
        labels: &'a [usize],
        classes: usize,
        trains: &'a [bool],
        lambda: f64,
    ) -> Self {
        let n = design.values.nrows();
        assert_eq!((labels.len(), trains.len()), (n, n), "labels and marks of {n} images");
        assert!(classes >= 2, "{classes} classes");
        assert!(labels.iter().all(|&label| label < classes), "a label is not below {classes}");
        assert!(lambda > 0.0, "lambda {lambda}");
        let count = trains.iter().filter(|&&trains| trains).count() as f64;
        Self { design, labels, classes, trains, count, lambda }
    }

    /// The point where all coefficients are 0.
    pub(super) fn origin(&self) -> Fit {
        let (n, width) = self.design.values.shape();
        let rows = if self.classes == 2 { 1 } else { self.classes };
        Fit { coefficients: DMatrix::zeros(width, rows), logits: DMatrix::zeros(n, rows) }
    }

    /// Goes from `fit` to where the gradient's 2-norm is at most `tolerance`.
    pub(super) fn minimise(&self, mut fit: Fit, tolerance: f64) -> Result<Fit, StatsError> {
        assert!(tolerance > 0.0, "tolerance {tolerance}");
        let mut history: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
        let mut gradient = self.gradient(&fit);
        for _ in 0..MAX_STEPS {
            if gradient.norm() <= tolerance {
                return Ok(fit);
            }
            let direction = self.direction(&gradient, &history);
            let moves = self.design.transposed.tr_mul(&direction);
            let length = self.line_minimum(&fit, &direction, &moves);
            let step = direction * length;
            fit.coefficients += &step;
            fit.logits += moves * length;

            let next = self.gradient(&fit);
            let change = &next - gradient;
            let product = step.dot(&change);
            // Convexity makes it positive, but for rounding.
            if product > 0.0 {
                history.truncate(MEMORY - 1);
                history.push_front(Pair { step, change, product });
            }
            gradient = next;
        }
        Err(StatsError::NotConverged { lambda: self.lambda, steps: MAX_STEPS })
    }

    /// Calls `visit(image, probabilities, moves)` for the training images, with a value a class, at `logits` plus
    /// `length` times `moves`.
    fn for_training_images(
        &self,
        logits: &DMatrix<f64>,
        moves: &DMatrix<f64>,
        length: f64,
        mut visit: impl FnMut(usize, &[f64], &[f64]),
    ) {
        let mut probabilities = vec![0.0; self.classes];
        let mut slopes = vec![0.0; self.classes];
        let first = self.classes - logits.ncols();
        for image in (0..self.labels.len()).filter(|&image| self.trains[image]) {
            // Of two classes the first has the logit 0, which does not move.
            probabilities[0] = 0.0;
            for row in 0..logits.ncols() {
                slopes[first + row] = moves[(image, row)];
                probabilities[first + row] = logits[(image, row)] + length * moves[(image, row)];
            }
            softmax(&mut probabilities);
            visit(image, &probabilities, &slopes);
        }
    }

    /// Gradient with respect to the coefficients.
    fn gradient(&self, fit: &Fit) -> DMatrix<f64> {
        let mut residuals = DMatrix::zeros(fit.logits.nrows(), fit.logits.ncols());
        let first = self.classes - fit.logits.ncols();
        self.for_training_images(&fit.logits, &fit.logits, 0.0, |image, probabilities, _| {
            for row in 0..residuals.ncols() {
                let target = f64::from(self.labels[image] == first + row);
                residuals[(image, row)] = (probabilities[first + row] - target) / self.count;
            }
        });
        let mut gradient = self.design.values.tr_mul(&residuals);
        let p = gradient.nrows() - 1;
        let mut of_weights = gradient.rows_mut(0, p);
        of_weights += fit.coefficients.rows(0, p) * self.lambda;
        gradient
    }

    /// Direction of the next step: the two-loop recursion of L-BFGS (J. Nocedal and S. Wright, Numerical Optimization,
    /// algorithm 7.4). The history begins with the last step.
    fn direction(&self, gradient: &DMatrix<f64>, history: &VecDeque<Pair>) -> DMatrix<f64> {
        let mut direction = -gradient;
        let mut parts = Vec::with_capacity(history.len());
        for pair in history {
            let part = pair.step.dot(&direction) / pair.product;
            direction.zip_apply(&pair.change, |value, change| *value -= part * change);
            parts.push(part);
        }
        self.divide_by_curvature(&mut direction);
        for (pair, part) in history.iter().zip(parts).rev() {
            let rest = part - pair.change.dot(&direction) / pair.product;
            direction.zip_apply(&pair.step, |value, step| *value += rest * step);
        }
        direction
    }

    /// Divides by roughly the curvature: a quarter of the spread, as p (1 - p) is at most that, plus lambda. Along the
    /// directions that are not known the spread is taken for the least of those that are.
    fn divide_by_curvature(&self, gradient: &mut DMatrix<f64>) {
        let Design { directions, spreads, .. } = self.design;
        let curvature = |spread: f64| spread.max(0.0) / 4.0 + self.lambda;
        let elsewhere = curvature(spreads.iter().copied().fold(f64::INFINITY, f64::min));
        let p = gradient.nrows() - 1;
        let mut weights = gradient.rows_mut(0, p);
        let mut along = directions.tr_mul(&weights);
        for mut column in along.column_iter_mut() {
            column.zip_apply(spreads, |value, spread| *value *= 1.0 / curvature(spread) - 1.0 / elsewhere);
        }
        weights /= elsewhere;
        weights += directions * along;
        let mut intercepts = gradient.row_mut(p);
        intercepts /= 0.25;
    }

    /// Length of a step along `direction`, which changes the logits by `moves`, after which the slope has fallen to a
    /// tenth. The objective is convex: Newton's method finds it, and bisection where that leaves the bounds found so far.
    fn line_minimum(&self, fit: &Fit, direction: &DMatrix<f64>, moves: &DMatrix<f64>) -> f64 {
        let (start, _) = self.slope(fit, direction, moves, 0.0);
        let (mut low, mut high) = (0.0, f64::INFINITY);
        let mut length = 1.0;
        for _ in 0..50 {
            let (slope, curvature) = self.slope(fit, direction, moves, length);
            if slope.abs() <= 0.1 * start.abs() {
                break;
            }
            if slope < 0.0 {
                low = length;
            } else {
                high = length;
            }
            let newton = length - slope / curvature;
            length = if newton > low && newton < high {
                newton
            } else if high.is_finite() {
                (low + high) / 2.0
            } else {
                2.0 * length
            };
        }
        length
    }

    /// First and second derivative along `direction`, after a step of `length`.
    fn slope(&self, fit: &Fit, direction: &DMatrix<f64>, moves: &DMatrix<f64>, length: f64) -> (f64, f64) {
        let (mut slope, mut curvature) = (0.0, 0.0);
        self.for_training_images(&fit.logits, moves, length, |image, probabilities, moves| {
            let weighted = probabilities.iter().zip(moves);
            let (mean, mean_square) = weighted.fold((0.0, 0.0), |(m, s), (p, d)| (m + p * d, s + p * d * d));
            slope += mean - moves[self.labels[image]];
            curvature += mean_square - mean * mean;
        });
        let p = direction.nrows() - 1;
        let (weights, direction) = (fit.coefficients.rows(0, p), direction.rows(0, p));
        let squared = direction.norm_squared();
        let of_penalty = self.lambda * (weights.dot(&direction) + length * squared);
        (slope / self.count + of_penalty, curvature / self.count + self.lambda * squared)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    const IMAGES: usize = 40;
    const FEATURES: usize = 5;

    fn random(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        DMatrix::from_fn(rows, columns, |_, column| (1 + column) as f64 * random.random_range(-1.0..1.0))
    }

    /// Calls `test` with the objective of random features and labels, and a random point of its domain.
    fn with_objective(classes: usize, lambda: f64, test: impl Fn(&Objective, &Fit)) {
        let design = Design::new(random(IMAGES, FEATURES, 1));
        let labels: Vec<usize> = (0..IMAGES).map(|image| image * image % 7 % classes).collect();
        let trains: Vec<bool> = (0..IMAGES).map(|image| image % 5 > 0).collect();
        let objective = Objective::new(&design, &labels, classes, &trains, lambda);
        let coefficients = random(FEATURES + 1, if classes == 2 { 1 } else { classes }, 2) * 0.1;
        let logits = &design.values * &coefficients;
        test(&objective, &Fit { coefficients, logits });
    }

    /// The fit after a step of `length` along `direction`.
    fn moved(objective: &Objective, fit: &Fit, direction: &DMatrix<f64>, length: f64) -> Fit {
        let coefficients = &fit.coefficients + direction * length;
        Fit { logits: &objective.design.values * &coefficients, coefficients }
    }

    #[test]
    fn slope_and_curvature_are_those_along_the_direction() {
        for classes in [2, 3] {
            with_objective(classes, 0.3, |objective, fit| {
                let direction = random(FEATURES + 1, fit.coefficients.ncols(), 3);
                let moves = &objective.design.values * &direction;
                for length in [0.0, 0.4, 2.0] {
                    let slope_at =
                        |length| objective.gradient(&moved(objective, fit, &direction, length)).dot(&direction);
                    let (slope, curvature) = objective.slope(fit, &direction, &moves, length);
                    assert_relative_eq!(slope, slope_at(length), max_relative = 1e-9);
                    let around = (slope_at(length + 1e-5) - slope_at(length - 1e-5)) / 2e-5;
                    assert_relative_eq!(curvature, around, max_relative = 1e-6);
                }
            });
        }
    }

    /// Whether a first step of length 1 is too short or too long.
    #[test]
    fn along_a_line_the_slope_falls_to_a_tenth() {
        for (lambda, scale, most) in [(1e-3, 1.0, 0.1), (1e-3, 1e-3, 0.1), (1e-6, 1e3, 0.1), (1e4, 1e-6, 1e-3)] {
            with_objective(3, lambda, |objective, fit| {
                let direction = -objective.gradient(fit) * scale;
                let moves = &objective.design.values * &direction;
                let (start, _) = objective.slope(fit, &direction, &moves, 0.0);
                let length = objective.line_minimum(fit, &direction, &moves);
                let (end, _) = objective.slope(fit, &direction, &moves, length);
                // Where the penalty decides all, the objective is quadratic, and Newton's method there at once.
                assert!(
                    start < 0.0 && end.abs() <= most * start.abs(),
                    "{lambda} {scale}: {start} to {end} at {length}"
                );
            });
        }
    }

    /// As many directions are known as there are features, so that the curvature's bound is divided by exactly.
    #[test]
    fn what_is_divided_by_the_curvature_is_that_times_it() {
        with_objective(3, 0.2, |objective, _| {
            let x = objective.design.values.columns(0, FEATURES);
            let curvature = x.tr_mul(&x) / (4.0 * IMAGES as f64) + DMatrix::identity(FEATURES, FEATURES) * 0.2;
            let gradient = random(FEATURES + 1, 3, 4);
            let mut divided = gradient.clone();
            objective.divide_by_curvature(&mut divided);
            let weights = curvature * divided.rows(0, FEATURES);
            assert_relative_eq!(weights, gradient.rows(0, FEATURES).into_owned(), max_relative = 1e-6);
            assert_relative_eq!(
                divided.row(FEATURES) * 0.25,
                gradient.row(FEATURES).into_owned(),
                max_relative = 1e-12
            );
        });
    }

    /// The secant equation: the last change of the gradient came of the last step. The curvature that is divided by is symmetric.
    #[test]
    fn a_change_leads_back_along_its_step() {
        with_objective(3, 0.2, |objective, _| {
            let pair = |seed| {
                let step = random(FEATURES + 1, 3, seed);
                let change = &step * 0.7 + random(FEATURES + 1, 3, seed + 1) * 0.1;
                Pair { product: step.dot(&change), step, change }
            };
            let history: VecDeque<Pair> = [pair(5), pair(7)].into();
            let back = objective.direction(&history[0].change, &history);
            assert_relative_eq!(back, -&history[0].step, max_relative = 1e-9);
            let (one, other) = (random(FEATURES + 1, 3, 9), random(FEATURES + 1, 3, 10));
            let [there, back] =
                [(&one, &other), (&other, &one)].map(|(from, to)| objective.direction(from, &history).dot(to));
            assert_relative_eq!(there, back, max_relative = 1e-9);
        });
    }
}
