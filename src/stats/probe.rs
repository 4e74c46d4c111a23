//! The linear probe: can the classes be told apart by a linear function of a layer's features?
//!
//! Five outer folds, so that every image is scored by a probe that has not seen it. Within the images that train an outer
//! fold, features are standardised, and lambda is taken from [`LAMBDAS`] by the log-loss over five inner folds.
//! The inner folds share the outer fold's standardisation, which uses no label and none of the images scored.

use std::{array, thread};

use nalgebra::DMatrix;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::logistic::{Design, Fit, Objective};
use super::rank::feature_matrix;
use super::scores::{argmax, row_loss};
use super::{PairedT, StatsError, check_finite, sampling_error, share_error};

/// Folds of the outer and of the inner cross-validation.
pub const FOLDS: usize = 5;
/// L2 penalties to choose from, for the mean loss of standardised features, from the strongest down.
pub const LAMBDAS: [f64; 6] = [10.0, 1.0, 0.1, 0.01, 0.001, 0.0001];
/// Images needed of each class, so that every inner fold trains on each.
pub const IMAGES_PER_CLASS: usize = 10;

/// How far above its minimum, in nats, the objective of a probe may end.
const EXCESS: f64 = 1e-8;
/// The same where lambda is chosen.
const INNER_EXCESS: f64 = 1e-5;

/// A cross-validated linear probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The labels it was to tell apart: those given, or their permutation.
    pub labels: Vec<usize>,
    /// Class given to each image by the probe that has not seen it.
    pub predictions: Vec<usize>,
    /// Whether that is the label.
    pub correct: Vec<bool>,
    /// Share of images that are correct.
    pub accuracy: f64,
    /// Mean log-loss of the images, each by the probe that has not seen it, in nats.
    pub log_loss: f64,
    /// Outer fold of each image: the probe that scored it was fitted to the images of the others.
    pub folds: Vec<usize>,
    /// Lambda chosen in each outer fold.
    pub lambdas: Vec<f64>,
}

impl Probe {
    /// The share of images that are correct, with a standard error that allows for the folds (`overlap`) and is not 0 where all
    /// images are correct.
    ///
    /// # Errors
    /// When there are fewer than two images.
    pub fn share(&self) -> Result<PairedT, StatsError> {
        let scores: Vec<f64> = self.correct.iter().map(|&correct| f64::from(correct)).collect();
        let error = share_error(scores.iter().sum(), scores.len());
        Ok(PairedT::naive(&scores)?.with_least_error(overlap(FOLDS) * error))
    }

    /// By how much more of the same images in the same folds are correct than with the other probe, with a standard error that allows
    /// for the folds (`overlap`) and is not 0 where no image is decided differently.
    ///
    /// # Errors
    /// When there are fewer than two images.
    ///
    /// # Panics
    /// When the folds differ.
    pub fn gain_over(&self, other: &Probe) -> Result<PairedT, StatsError> {
        assert_eq!(self.folds, other.folds, "probes in the same folds");
        let pairs = self.correct.iter().zip(&other.correct);
        let differences: Vec<f64> = pairs.map(|(&own, &other)| f64::from(own) - f64::from(other)).collect();
        let count = |sign: f64| differences.iter().filter(|&&difference| difference == sign).count() as f64;
        let error = sampling_error(count(1.0), count(-1.0), differences.len());
        Ok(PairedT::naive(&differences)?.with_least_error(overlap(FOLDS) * error))
    }
}

/// How many times as large as that of independent images the standard error of a mean over the n images of a cross-validation
/// is to be taken, as the probes of its folds are fitted to largely the same images.
///
/// It is the correction of C. Nadeau and Y. Bengio, Machine Learning 52 (2003) 239-281, put in terms of images. They take
/// `s² (1/K + 1/(K-1))` for the variance of the mean of K folds. A fold is the mean of n/K images, so its own variance s² is that of
/// an image times K/n, and theirs is an image's over n, times `1 + K/(K-1)`. The spread of n images is known far better than that of
/// K folds, whose t test has K - 1 degrees of freedom: at the same level this one finds more.
fn overlap(folds: usize) -> f64 {
    (1.0 + folds as f64 / (folds as f64 - 1.0)).sqrt()
}

/// Probes `features` (n, p) for n labels below `classes`. The seed sets the folds: use the same for layers that are to be
/// compared. Runs on all cores.
///
/// # Errors
/// When a class has fewer than [`IMAGES_PER_CLASS`] images, or a feature is not finite.
///
/// # Panics
/// When shapes disagree, a label is not below `classes`, or there are fewer than two classes.
pub fn probe<T: Copy + Into<f64>>(
    features: &[T],
    labels: &[usize],
    classes: usize,
    seed: u64,
) -> Result<Probe, StatsError> {
    let folds = outer_folds(labels, classes, seed)?;
    let mut probes = probe_label_sets(features, &[labels.to_vec()], classes, &folds, seed)?;
    Ok(probes.remove(0))
}

/// [`probe`], and beside it the same for so many sets of permuted labels, where only chance is left. They cost little, as all
/// share the features. Labels are permuted within the outer folds, to leave each fold the classes' shares.
///
/// # Errors
/// As [`probe`].
///
/// # Panics
/// As [`probe`].
pub fn probe_with_permuted<T: Copy + Into<f64>>(
    features: &[T],
    labels: &[usize],
    classes: usize,
    seed: u64,
    permutations: usize,
) -> Result<(Probe, Vec<Probe>), StatsError> {
    let folds = outer_folds(labels, classes, seed)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A stream of its own: the permutations must not depend on what the folds have drawn.
    rng.set_stream(1);
    let mut label_sets = vec![labels.to_vec()];
    label_sets.extend((0..permutations).map(|_| permuted(labels, &folds, &mut rng)));
    let mut probes = probe_label_sets(features, &label_sets, classes, &folds, seed)?;
    let controls = probes.split_off(1);
    Ok((probes.remove(0), controls))
}

/// The labels in another order within each fold.
fn permuted(labels: &[usize], folds: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut permuted = labels.to_vec();
    for fold in 0..FOLDS {
        let members = positions(folds, |member| member == fold);
        let mut drawn: Vec<usize> = members.iter().map(|&image| labels[image]).collect();
        drawn.shuffle(rng);
        for (&image, label) in members.iter().zip(drawn) {
            permuted[image] = label;
        }
    }
    permuted
}

fn outer_folds(labels: &[usize], classes: usize, seed: u64) -> Result<Vec<usize>, StatsError> {
    for class in 0..classes {
        let found = labels.iter().filter(|&&label| label == class).count();
        if found < IMAGES_PER_CLASS {
            return Err(StatsError::TooFewOfClass { class, found, needed: IMAGES_PER_CLASS });
        }
    }
    Ok(stratified_folds(labels, seed))
}

/// Deals the images of each class in random order over the folds, one class after the other, so that the folds differ by at
/// most one image in size, and in images of each class.
fn stratified_folds(labels: &[usize], seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order.sort_by_key(|&image| labels[image]);
    let mut folds = vec![0; labels.len()];
    for (rank, image) in order.into_iter().enumerate() {
        folds[image] = rank % FOLDS;
    }
    folds
}

/// Positions of the folds that satisfy `wanted`.
fn positions(folds: &[usize], wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..folds.len()).filter(|&image| wanted(folds[image])).collect()
}

/// Probes the same features for several sets of labels.
fn probe_label_sets<T: Copy + Into<f64>>(
    features: &[T],
    label_sets: &[Vec<usize>],
    classes: usize,
    folds: &[usize],
    seed: u64,
) -> Result<Vec<Probe>, StatsError> {
    check_finite("features", features)?;
    let x = feature_matrix(features, folds.len());
    let scored = on_all_cores(|fold| {
        let outer = OuterFold::new(&x, folds, fold);
        label_sets.iter().map(|labels| outer.score(labels, classes, seed)).collect::<Result<Vec<Scored>, _>>()
    });
    let scored = scored.into_iter().collect::<Result<Vec<Vec<Scored>>, _>>()?;
    Ok((0..label_sets.len())
        .map(|set| assemble(&label_sets[set], folds, scored.iter().map(|fold| &fold[set])))
        .collect())
}

/// Calls `work` for each fold, in one thread a core, and returns the results in the folds' order.
fn on_all_cores<R: Send>(work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let threads = crate::data::threads().min(FOLDS);
    let work = &work;
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let thread_of = |first| scope.spawn(move || (first..FOLDS).step_by(threads).map(|f| (f, work(f))).collect());
        let running: Vec<thread::ScopedJoinHandle<Vec<_>>> = (0..threads).map(thread_of).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a probe has panicked")).collect()
    });
    results.sort_by_key(|(fold, _)| *fold);
    results.into_iter().map(|(_, result)| result).collect()
}

/// An outer fold's images and features, these standardised.
struct OuterFold {
    train: Vec<usize>,
    test: Vec<usize>,
    train_design: Design,
    /// (test images, p).
    test_features: DMatrix<f64>,
}

/// What an outer fold's probe makes of the images it has not seen.
struct Scored {
    images: Vec<usize>,
    predictions: Vec<usize>,
    losses: Vec<f64>,
    lambda: f64,
}

impl OuterFold {
    fn new(x: &DMatrix<f64>, folds: &[usize], fold: usize) -> Self {
        let train = positions(folds, |member| member != fold);
        let test = positions(folds, |member| member == fold);
        let (train_features, test_features) = standardise(x.select_rows(&train), x.select_rows(&test));
        Self { train, test, train_design: Design::new(train_features), test_features }
    }

    /// Chooses lambda on the training images, fits them all, and scores the others.
    fn score(&self, labels: &[usize], classes: usize, seed: u64) -> Result<Scored, StatsError> {
        let train_labels: Vec<usize> = self.train.iter().map(|&image| labels[image]).collect();
        let lambda = self.choose_lambda(&train_labels, classes, seed)?;
        let everything = vec![true; train_labels.len()];
        let objective = Objective::new(&self.train_design, &train_labels, classes, &everything, lambda);
        let Fit { coefficients, .. } = objective.minimise(objective.origin(), tolerance(EXCESS, lambda))?;
        let p = self.test_features.ncols();
        let mut logits = &self.test_features * coefficients.rows(0, p);
        for (mut column, intercept) in logits.column_iter_mut().zip(&coefficients.row(p)) {
            column.add_scalar_mut(*intercept);
        }
        let rows: Vec<Vec<f64>> = (0..self.test.len()).map(|image| class_logits(&logits, image, classes)).collect();
        Ok(Scored {
            images: self.test.clone(),
            predictions: rows.iter().map(|row| argmax(row)).collect(),
            losses: rows.iter().zip(&self.test).map(|(row, &image)| row_loss(row, labels[image])).collect(),
            lambda,
        })
    }

    /// Goes down [`LAMBDAS`] while the loss falls on inner folds, each scored by a regression that has not seen it. The
    /// fits of one lambda start from those of the one before.
    fn choose_lambda(&self, labels: &[usize], classes: usize, seed: u64) -> Result<f64, StatsError> {
        let folds = stratified_folds(labels, seed);
        let trains: [Vec<bool>; FOLDS] = array::from_fn(|fold| folds.iter().map(|&member| member != fold).collect());
        let mut fits: [Option<Fit>; FOLDS] = [const { None }; FOLDS];
        let (mut best, mut least) = (LAMBDAS[0], f64::INFINITY);
        for lambda in LAMBDAS {
            let mut loss = 0.0;
            for (fold, fit) in fits.iter_mut().enumerate() {
                let objective = Objective::new(&self.train_design, labels, classes, &trains[fold], lambda);
                let reached = objective
                    .minimise(fit.take().unwrap_or_else(|| objective.origin()), tolerance(INNER_EXCESS, lambda))?;
                for image in positions(&folds, |member| member == fold) {
                    loss += row_loss(&class_logits(&reached.logits, image, classes), labels[image]);
                }
                *fit = Some(reached);
            }
            if loss >= least {
                break;
            }
            (best, least) = (lambda, loss);
        }
        Ok(best)
    }
}

/// Gradient norm at which the objective, of curvature lambda at least, is within `excess` of its minimum. The intercept
/// has no penalty, but a curvature of about 0.1 of its own.
fn tolerance(excess: f64, lambda: f64) -> f64 {
    (2.0 * excess * lambda.min(0.1)).sqrt()
}

/// The logits of an image, one a class: of two classes the first has the logit 0, which is not stored.
fn class_logits(logits: &DMatrix<f64>, image: usize, classes: usize) -> Vec<f64> {
    let mut row = vec![0.0; classes - logits.ncols()];
    row.extend(logits.row(image).iter());
    row
}

/// Brings features to mean 0 and standard deviation 1 on the training images, and drops those that are constant there.
fn standardise(mut train: DMatrix<f64>, mut test: DMatrix<f64>) -> (DMatrix<f64>, DMatrix<f64>) {
    let varies = |feature: &usize| train.column(*feature).min() < train.column(*feature).max();
    let kept: Vec<usize> = (0..train.ncols()).filter(varies).collect();
    train = train.select_columns(&kept);
    test = test.select_columns(&kept);
    for (mut train, mut test) in train.column_iter_mut().zip(test.column_iter_mut()) {
        let mean = train.mean();
        train.add_scalar_mut(-mean);
        test.add_scalar_mut(-mean);
        let sd = (train.norm_squared() / train.len() as f64).sqrt();
        train /= sd;
        test /= sd;
    }
    (train, test)
}

/// Puts the outer folds' scores back into the order of the images.
fn assemble<'a>(labels: &[usize], folds: &[usize], scored: impl Iterator<Item = &'a Scored>) -> Probe {
    let n = labels.len();
    let mut predictions = vec![0; n];
    let mut lambdas = Vec::with_capacity(FOLDS);
    let mut loss = 0.0;
    for fold in scored {
        for (&image, &prediction) in fold.images.iter().zip(&fold.predictions) {
            predictions[image] = prediction;
        }
        loss += fold.losses.iter().sum::<f64>();
        lambdas.push(fold.lambda);
    }
    let correct: Vec<bool> = predictions.iter().zip(labels).map(|(prediction, label)| prediction == label).collect();
    let accuracy = correct.iter().filter(|&&correct| correct).count() as f64 / n as f64;
    Probe {
        labels: labels.to_vec(),
        predictions,
        correct,
        accuracy,
        log_loss: loss / n as f64,
        folds: folds.to_vec(),
        lambdas,
    }
}
