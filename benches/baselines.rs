//! How far one gets on the drawn cats and dogs without a convolution: `cargo bench --bench
//! baselines`.
//!
//! Trains L2-regularised logistic regression on raw pixels, shrunken pixels and colour histograms
//! of the default data, and prints the accuracies. For each kind of features the table shows the
//! regularisation strength with the best validation accuracy, which favours the baseline. The
//! program fails when a baseline gets too far, since the data would then no longer show what a CNN
//! is for. It takes about a minute and 700 MB of memory.

use std::process::ExitCode;

use convscope::data::drawn::{FIRST_VAL_IMAGE, SIZE, TRAIN_IMAGES, VAL_IMAGES};
use convscope::data::pets;

/// The default seed of `train`.
const SEED: u64 = 0;
/// No baseline may reach this validation accuracy.
const LIMIT: f32 = 0.70;
/// Weights of the penalty `strength / 2 * |w|^2`, for examples of mean squared length 1.
const STRENGTHS: [f32; 5] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6];
const ITERATIONS: usize = 200;
/// Upper bound of the logistic loss's second derivative: 1/4 times the largest eigenvalue of the
/// covariance of the examples, which is at most 1 since the variances of the features sum to 1.
const CURVATURE: f32 = 0.25;

fn main() -> ExitCode {
    let train = Images::draw(0, TRAIN_IMAGES as u64);
    let validation = Images::draw(FIRST_VAL_IMAGE, VAL_IMAGES as u64);
    let kinds: [(&str, Extract); 4] = [
        ("pixels, 128 x 128", pixels),
        ("pixels, 32 x 32", shrunken_pixels),
        ("histogram, 8 x 8 x 8 joint RGB bins", joint_histogram),
        ("histogram, 32 bins a channel", channel_histograms),
    ];
    println!(
        "{:<36} {:>8} {:>8} {:>10} {:>8}",
        "logistic regression on", "features", "train", "validation", "strength"
    );
    let mut too_easy = false;
    for (name, extract) in kinds {
        let (train, validation) = standardised(train.features(extract), validation.features(extract));
        let models = fit(&train);
        let scores = models.map(|model| (accuracy(&train, &model), accuracy(&validation, &model)));
        let best = (0..STRENGTHS.len()).max_by(|&a, &b| scores[a].1.total_cmp(&scores[b].1)).expect("a strength");
        let ((on_train, on_validation), strength) = (scores[best], STRENGTHS[best]);
        let count = train.rows[0].len();
        println!("{name:<36} {count:>8} {:>7.1}% {:>9.1}% {strength:>8}", 100.0 * on_train, 100.0 * on_validation);
        too_easy |= on_validation >= LIMIT;
    }
    if too_easy {
        eprintln!("error: a baseline reaches {:.0}%; let the images of src/data/pets.rs vary more", 100.0 * LIMIT);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Turns an image into features.
type Extract = fn(&[u8]) -> Vec<f32>;

/// A range of images and their classes.
struct Images {
    bytes: Vec<Vec<u8>>,
    classes: Vec<u32>,
}

impl Images {
    fn draw(start: u64, count: u64) -> Self {
        let indices = start..start + count;
        Images {
            bytes: indices.clone().map(|index| pets::draw(SEED, index, SIZE as u32)).collect(),
            classes: indices.map(pets::class).collect(),
        }
    }

    fn features(&self, extract: Extract) -> Examples {
        Examples {
            rows: self.bytes.iter().map(|image| extract(image)).collect(),
            targets: self.classes.iter().map(|&class| class as f32).collect(),
        }
    }
}

fn pixels(image: &[u8]) -> Vec<f32> {
    image.iter().map(|&byte| f32::from(byte)).collect()
}

/// Means over squares of 4 x 4 pixels.
fn shrunken_pixels(image: &[u8]) -> Vec<f32> {
    const SQUARE: usize = 4;
    let small = SIZE / SQUARE;
    let mut means = vec![0.0; small * small * 3];
    for (i, &byte) in image.iter().enumerate() {
        let (row, column, channel) = (i / 3 / SIZE, i / 3 % SIZE, i % 3);
        means[(row / SQUARE * small + column / SQUARE) * 3 + channel] += f32::from(byte) / (SQUARE * SQUARE) as f32;
    }
    means
}

fn joint_histogram(image: &[u8]) -> Vec<f32> {
    let mut counts = vec![0.0; 8 * 8 * 8];
    for pixel in image.chunks_exact(3) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(|byte| usize::from(byte / 32));
        counts[(r * 8 + g) * 8 + b] += 1.0;
    }
    counts
}

fn channel_histograms(image: &[u8]) -> Vec<f32> {
    let mut counts = vec![0.0; 3 * 32];
    for (i, &byte) in image.iter().enumerate() {
        counts[i % 3 * 32 + usize::from(byte / 8)] += 1.0;
    }
    counts
}

/// Feature vectors, one a row, with their targets 0 or 1.
struct Examples {
    rows: Vec<Vec<f32>>,
    targets: Vec<f32>,
}

/// Shifts and scales every feature to mean 0 and variance 1 / (number of features) over the
/// training examples.
fn standardised(mut train: Examples, mut validation: Examples) -> (Examples, Examples) {
    let (count, width) = (train.rows.len() as f32, train.rows[0].len());
    let mut mean = vec![0.0; width];
    for row in &train.rows {
        add_scaled(&mut mean, 1.0 / count, row);
    }
    let mut variance = vec![0.0; width];
    for row in &train.rows {
        let squares: Vec<f32> = row.iter().zip(&mean).map(|(x, m)| (x - m) * (x - m)).collect();
        add_scaled(&mut variance, 1.0 / count, &squares);
    }
    // A feature that never changes in training says nothing, whatever it does in validation.
    let scale: Vec<f32> =
        variance.iter().map(|&v| if v > 0.0 { 1.0 / (v * width as f32).sqrt() } else { 0.0 }).collect();
    for row in train.rows.iter_mut().chain(&mut validation.rows) {
        for (x, (m, s)) in row.iter_mut().zip(mean.iter().zip(&scale)) {
            *x = (*x - m) * s;
        }
    }
    (train, validation)
}

/// A linear classifier: class 1 where `w . x + b > 0`.
#[derive(Clone)]
struct Model {
    weights: Vec<f32>,
    bias: f32,
}

impl Model {
    fn zero(width: usize) -> Self {
        Model { weights: vec![0.0; width], bias: 0.0 }
    }

    fn score(&self, row: &[f32]) -> f32 {
        dot(&self.weights, row) + self.bias
    }
}

/// Trains one model per strength by Nesterov's accelerated gradient descent. Each iteration serves
/// all models in one sweep over the examples, which are too many for the processor's caches.
fn fit(examples: &Examples) -> [Model; STRENGTHS.len()] {
    let (count, width) = (examples.rows.len() as f32, examples.rows[0].len());
    let mut models = STRENGTHS.map(|_| Model::zero(width));
    let mut ahead = models.clone();
    for _ in 0..ITERATIONS {
        let mut gradients = STRENGTHS.map(|_| Model::zero(width));
        for (row, target) in examples.rows.iter().zip(&examples.targets) {
            for (model, gradient) in ahead.iter().zip(&mut gradients) {
                let error = (1.0 / (1.0 + (-model.score(row)).exp()) - target) / count;
                add_scaled(&mut gradient.weights, error, row);
                gradient.bias += error;
            }
        }
        for (i, strength) in STRENGTHS.into_iter().enumerate() {
            let rate = 1.0 / (CURVATURE + strength);
            let root = (strength * rate).sqrt();
            let momentum = (1.0 - root) / (1.0 + root);
            let (old, gradient) = (models[i].clone(), &gradients[i]);
            let new = &mut models[i];
            new.bias = ahead[i].bias - rate * gradient.bias;
            ahead[i].bias = new.bias + momentum * (new.bias - old.bias);
            for k in 0..width {
                let slope = gradient.weights[k] + strength * ahead[i].weights[k];
                new.weights[k] = ahead[i].weights[k] - rate * slope;
                ahead[i].weights[k] = new.weights[k] + momentum * (new.weights[k] - old.weights[k]);
            }
        }
    }
    models
}

fn accuracy(examples: &Examples, model: &Model) -> f32 {
    let hits = examples
        .rows
        .iter()
        .zip(&examples.targets)
        .filter(|(row, target)| (model.score(row) > 0.0) == (**target > 0.5));
    hits.count() as f32 / examples.rows.len() as f32
}

/// A dot product with eight partial sums, which lets the compiler use vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `sum += factor * x`.
fn add_scaled(sum: &mut [f32], factor: f32, x: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += factor * x;
    }
}
