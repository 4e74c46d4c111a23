//! What each layer is good for: the figures behind "are the noisy last layers useless?", each with its control.
//!
//! [`study`] takes a trained network, the weights it started from, and labelled images that neither trained it nor chose
//! its checkpoint. Every figure of a block answers one question, and none answers whether a smaller network trained anew would
//! do as well: that is what cross-validation over depths is for.

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::data::Images;
use crate::explain::Lens;
use crate::explain::changes::{STATISTICS_BATCHES, reset};
use crate::nn::Network;
use crate::nn::checkpoint::Weights;
use crate::stats::standing::{Standing, Verdict};
use crate::stats::{self, effective_rank};

mod channels;
mod features;
mod probes;
mod reading;
mod repeatability;
mod reset;
mod verdict;

pub use channels::{Ablation, Enough};
pub use probes::{Gain, ProbeRow};
pub use repeatability::Repeatability;
pub use reset::Reset;
pub use verdict::{CONTRADICTED, DROPPED, FROM_ELSEWHERE, LIMITS, Other, Reading, Steadiness, WENT_ON};

use channels::ablations;
use features::{Features, Loaded};
use probes::probes;
use repeatability::{FAINT_NOISE, STRONG_NOISE, changes};
use reset::{beside_guessing, scores};

/// Fresh draws of a block's weights.
const REDRAWS: u64 = 10;
/// Images that networks with a redrawn block are scored on.
const REDRAWN: usize = 500;
/// The fewest images of a class.
const LEAST: usize = 10;
/// Confidence of intervals.
const LEVEL: f64 = 0.95;

/// Number of the format of `layers.json`: it changes with what its figures mean.
pub(crate) const FORMAT: u32 = 3;

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layers {
    /// Number of the format.
    pub format: u32,
    /// The run's id, in runs that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// File of the weights, in the run's folder.
    pub weights: String,
    /// Images, as many of each class.
    #[serde(alias = "pictures")]
    pub images: usize,
    /// Decides folds, resamples, noise and fresh weights.
    pub seed: u64,
    /// The network's accuracy on them, in %.
    pub accuracy: f64,
    /// The same with running statistics estimated anew: what resets, which need that, are compared with.
    pub accuracy_anew: f64,
    /// Whether both were shown to be better than guessing. Where they were not, nothing follows from a reset or an ablation.
    pub conclusive: bool,
    /// A row a block.
    pub layers: Vec<LayerRow>,
    /// What the figures do not show.
    pub limits: String,
}

/// The row of one block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerRow {
    /// Its number, from 1.
    pub block: usize,
    /// Channels, height and width of its maps.
    pub output: [usize; 3],
    /// Rows of the image that one value sees.
    pub receptive_field: usize,
    /// Trained numbers.
    pub parameters: usize,
    /// How far its maps outlast a change of the image that nobody sees: near 1 for every network.
    pub repeatability: Repeatability,
    /// The same under noise that everybody sees.
    pub repeatability_noisy: Repeatability,
    /// Channels that fire on no image.
    pub dead: usize,
    /// Channels that fire on fewer than 1 % of the images.
    pub quiet: usize,
    /// Effective rank of its pooled maps.
    pub effective_rank: f64,
    /// What can be read from the means of its maps.
    pub pooled: ProbeRow,
    /// What can be read from its maps pooled to 3 x 3 values.
    pub grid: ProbeRow,
    /// What the network loses when its weights go back to their start, in percentage points.
    pub reset: Reset,
    /// The same for fresh draws of its weights.
    pub redrawn: Reset,
    /// What the network loses without its channels.
    pub ablation: Ablation,
    /// The figures in words.
    pub verdict: String,
}

/// What of a data set the study uses.
pub struct Subjects<'a> {
    /// Images that neither trained the network nor chose its checkpoint.
    pub held_out: &'a dyn Images,
    /// Images to estimate running statistics on, after a reset. Their labels are not used.
    pub unlabelled: &'a dyn Images,
    /// Names of the classes.
    pub classes: &'a [String],
    /// The most images of `held_out` to use.
    pub most: usize,
    /// Epochs from which `held_out` chose the network; 1 where it had no say.
    pub epochs: usize,
}

/// Makes the table of the `trained` weights, which are named by their file, and finds how these do beside guessing on the same
/// images. `progress` is told what comes next.
///
/// # Errors
/// When there are too few images, or the device failed.
pub fn study(
    lens: &Lens,
    (file, trained): (&str, &Weights),
    initial: &Weights,
    subjects: &Subjects,
    seed: u64,
    mut progress: impl FnMut(&str),
) -> Result<(Layers, Standing)> {
    let order = balanced(subjects.held_out, subjects.most, subjects.classes)?;
    let images = Loaded::new(subjects.held_out, &order)?;

    progress("what the network makes of the images");
    let repeated = |noise| changes(lens, &images, noise, seed);
    lens.load(initial);
    let before = Features::of(lens, &images)?;
    let [faint_before, strong_before] = [repeated(FAINT_NOISE)?, repeated(STRONG_NOISE)?];
    lens.load(trained);
    let features = Features::of(lens, &images)?;
    let [faint, strong] = [repeated(FAINT_NOISE)?, repeated(STRONG_NOISE)?];
    let correct = correct(&features.logits, &images.labels);

    progress("linear probes");
    let pooled = probes(&features.pooled, &before.pooled, &images.labels, lens.network().classes(), seed)?;
    let grid = probes(&features.grid, &before.grid, &images.labels, lens.network().classes(), seed)?;

    let wanted = (lens.batch() * STATISTICS_BATCHES as usize).min(subjects.unlabelled.len());
    // Drawn at random, since photos lie class by class: every batch must hold all classes.
    let mut unlabelled: Vec<usize> = (0..subjects.unlabelled.len()).collect();
    let (drawn, _) = unlabelled.partial_shuffle(&mut ChaCha8Rng::seed_from_u64(seed), wanted);
    let statistics = Loaded::new(subjects.unlabelled, drawn)?;
    progress("running statistics");
    let kept = scores(lens, trained, &statistics, &images, images.labels.len(), seed)?;
    // As it is, and as resets, which need new statistics, are compared with.
    let [standing, anew] =
        [&correct, &kept].map(|scores| beside_guessing(scores, lens.network().classes(), subjects.epochs));
    let conclusive = [standing, anew].iter().all(|standing| standing.verdict() == Verdict::Better);

    progress("channels replaced by their means");
    lens.load(trained);
    let ablations = ablations(lens, &images, &features, conclusive)?;

    let mut layers = Vec::new();
    for (number, block) in lens.blocks().iter().enumerate() {
        progress(&format!("block {} reset", number + 1));
        let back = reset(lens.network(), trained, initial, number);
        let back = scores(lens, &back, &statistics, &images, images.labels.len(), seed)?;
        let few = images.labels.len().min(REDRAWN);
        let mut redrawn = vec![0.0; few];
        for draw in 0..REDRAWS {
            let fresh = Weights::initial(lens.network(), seed ^ ((1 + draw) << 32));
            let weights = reset(lens.network(), trained, &fresh, number);
            let scores = scores(lens, &weights, &statistics, &images, few, seed)?;
            redrawn.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score / REDRAWS as f64);
        }
        let mut layer = LayerRow {
            block: number + 1,
            output: block.output,
            receptive_field: block.receptive_field,
            parameters: parameters(lens.network(), number),
            repeatability: Repeatability::new(&faint[number], &faint_before[number], seed),
            repeatability_noisy: Repeatability::new(&strong[number], &strong_before[number], seed),
            dead: features.fired[number].iter().filter(|&&fired| fired == 0).count(),
            quiet: features.fired[number].iter().filter(|&&fired| fired > 0 && fired * 100 < order.len()).count(),
            effective_rank: effective_rank(&features.pooled[number], order.len())?,
            pooled: pooled[number],
            grid: grid[number],
            reset: Reset::new(&kept, &back, conclusive),
            redrawn: Reset::new(&kept[..few], &redrawn, conclusive),
            ablation: ablations[number].clone(),
            verdict: String::new(),
        };
        layer.verdict = layer.in_words(conclusive);
        layers.push(layer);
    }
    lens.load(trained);
    let table = Layers {
        format: FORMAT,
        run: None,
        weights: file.into(),
        images: order.len(),
        seed,
        accuracy: percent(&correct),
        accuracy_anew: percent(&kept),
        conclusive,
        layers,
        limits: if lens.network().drops() { format!("{LIMITS} {DROPPED}") } else { LIMITS.into() },
    };
    Ok((table, standing))
}

/// Trained numbers of block `number`, from 0.
pub(crate) fn parameters(network: &Network, number: usize) -> usize {
    network.block_parameters(number).iter().map(|parameter| parameter.layout.len()).sum()
}

fn percent(correct: &[f64]) -> f64 {
    100.0 * correct.iter().sum::<f64>() / correct.len() as f64
}

/// As many images of each class, in turn, so that any first part of them is balanced too.
fn balanced(images: &dyn Images, most: usize, names: &[String]) -> Result<Vec<usize>> {
    let classes = names.len();
    let mut of_class = vec![Vec::new(); classes];
    for index in 0..images.len() {
        of_class[images.label(index) as usize].push(index);
    }
    ensure!(most / classes >= LEAST, "--images {most}: expected at least {} for {classes} classes", classes * LEAST);
    let (fewest, rarest) = of_class.iter().map(Vec::len).zip(names).min().context("there is no class")?;
    let each = fewest.min(most / classes);
    ensure!(
        fewest >= LEAST,
        "of the class '{rarest}' there are only {fewest} images to judge by, and at least {LEAST} of each class are needed; train anew \
         with more validation images (more in all, a larger --val-share, or --val), or give an imported network more with --data, of which \
         every other one judges"
    );
    Ok((0..each).flat_map(|turn| of_class.iter().map(move |indices| indices[turn * indices.len() / each])).collect())
}

/// 1 where the image's class has the largest logit, else 0.
fn correct(logits: &[Vec<f32>], labels: &[usize]) -> Vec<f64> {
    logits.iter().zip(labels).map(|(logits, &label)| f64::from(stats::argmax(logits) == label)).collect()
}

/// The log-loss of each image.
fn losses(logits: &[Vec<f32>], labels: &[usize]) -> Vec<f64> {
    logits.iter().zip(labels).map(|(logits, &label)| stats::log_loss(logits, &[label])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Subset;
    use crate::data::drawn::{Drawn, Subject};
    use crate::nn::Strided;

    /// Drawn cats and dogs in turn.
    fn pets(cats: usize, dogs: usize) -> (Drawn, Vec<usize>) {
        let pets = Drawn::new(Subject::Pets, 0, 0, 100, 8, 1 << 20);
        let of = |class: u32| (0..100).filter(|&index| pets.label(index) == class).collect::<Vec<_>>();
        let chosen = [&of(0)[..cats], &of(1)[..dogs]].concat();
        (pets, chosen)
    }

    #[test]
    fn too_few_images_of_a_class_are_told_with_the_remedy() {
        let names = ["cat", "dog"].map(String::from);
        let (images, chosen) = pets(30, 5);
        let error = balanced(&Subset::new(&images, chosen), 2000, &names).unwrap_err().to_string();
        assert!(error.starts_with("of the class 'dog' there are only 5 images"), "{error}");
        assert!(error.contains("at least 10 of each class") && error.contains("--val-share"), "{error}");
        let (images, chosen) = pets(30, 12);
        let order = balanced(&Subset::new(&images, chosen.clone()), 2000, &names).unwrap();
        assert_eq!(order.len(), 24);
        assert_eq!(order[..8], [0, 30, 2, 31, 5, 32, 7, 33], "spread over the images of each class");
        assert_eq!(balanced(&Subset::new(&images, chosen.clone()), 20, &names).unwrap().len(), 20);
        let error = balanced(&Subset::new(&images, chosen), 10, &names).unwrap_err().to_string();
        assert!(error.starts_with("--images 10: expected at least 20 for 2 classes"), "{error}");
    }

    #[test]
    fn images_are_right_where_their_class_has_the_largest_logit() {
        let logits = [vec![0.0, 3f32.ln()], vec![3f32.ln(), 0.0], vec![3f32.ln(), 0.0]];
        let right = correct(&logits, &[1, 1, 0]);
        assert_eq!(right, [1.0, 0.0, 1.0]);
        assert!((percent(&right) - 200.0 / 3.0).abs() < 1e-9);
        let lost = losses(&logits, &[1, 1, 0]);
        assert_eq!(lost.len(), 3);
        for (loss, probability) in lost.into_iter().zip([0.75, 0.25, 0.75f64]) {
            assert!((loss + probability.ln()).abs() < 1e-6, "{loss}");
        }
    }

    #[test]
    fn a_block_has_the_weights_of_its_convolution_and_batch_norm() {
        let network = Strided::dogs_vs_cats(128, 2).build().unwrap();
        assert_eq!([0, 1].map(|block| parameters(&network, block)), [3 * 16 * 9 + 2 * 16, 16 * 32 * 9 + 2 * 32]);
    }
}
