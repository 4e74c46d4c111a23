//! What each layer is good for: the figures behind "are the last layers only noise?", each with its control.
//!
//! [`study`] takes a trained network, the weights it started from, and labelled pictures that neither trained it nor chose
//! its checkpoint. Every figure of a block answers one question, and none answers whether a smaller network trained anew would
//! do as well: that is what cross-validation over depths is for.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use anyhow::{Result, anyhow, ensure};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Weights;
use crate::data::Pictures;
use crate::data::prepare::{self, CHANNELS};
use crate::explain::{Lens, Question};
use crate::gpu::GpuError;
use crate::layout::padded;
use crate::model::{Mode, Optimizer};
use crate::spec::Block;
use crate::stats::{
    self, PairedT, benjamini_hochberg, effective_rank, holm, mcnemar, paired_bootstrap, paired_difference, wilson,
};

/// Pictures that repeatability is measured on.
const REPEATED: usize = 256;
/// Standard deviation of the pixel noise of a repetition, as a share of the span from black to white: one that nobody sees,
/// and one that everybody does.
const FAINT_NOISE: f32 = 2.0 / 255.0;
const STRONG_NOISE: f32 = 32.0 / 255.0;
/// The most that a repetition's brightness changes by.
const BRIGHTNESS: f32 = 0.02;
/// Permutations of the labels whose mean is a probe's control.
const PERMUTATIONS: usize = 5;
/// Batches that the running statistics are estimated on anew after a reset.
const STATISTICS_BATCHES: u32 = 10;
/// Fresh draws of a block's weights.
const REDRAWS: u64 = 10;
/// Pictures that networks with a redrawn block are scored on.
const REDRAWN: usize = 500;
/// Pictures that channels are ranked on by what their replacement by their mean costs, and others that judge the ranking.
const RANKED: usize = 192;
const JUDGED: usize = 512;
/// The fewest pictures of a class.
const LEAST: usize = 10;
/// Points of the curve of cumulative ablation.
const CURVE: usize = 16;
/// Confidence of intervals.
const LEVEL: f64 = 0.95;
/// Repeatability from which maps are called signal.
pub const MOSTLY_SIGNAL: f64 = 0.9;
/// Repeatability from which maps are called more signal than noise.
pub const SOME_SIGNAL: f64 = 0.5;
/// What counts as a loss of accuracy, in percentage points.
const POINT: f64 = 1.0;

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layers {
    /// File of the weights, in the run's folder.
    pub weights: String,
    /// Pictures, as many of each class.
    pub pictures: usize,
    /// Decides folds, resamples, noise and fresh weights.
    pub seed: u64,
    /// The network's accuracy on them, in %.
    pub accuracy: f64,
    /// The same with running statistics estimated anew: what resets, which need that, are compared with.
    pub accuracy_anew: f64,
    /// Whether the network was shown to be better than guessing. Where it was not, nothing follows from a reset.
    pub conclusive: bool,
    /// A row a block.
    pub layers: Vec<Layer>,
    /// What the figures do not show.
    pub limits: String,
}

/// The row of one block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// Its number, from 1.
    pub block: usize,
    /// Channels, height and width of its maps.
    pub output: [usize; 3],
    /// Rows of the picture that one value sees.
    pub receptive_field: usize,
    /// Trained numbers.
    pub parameters: usize,
    /// How far its maps outlast a change of the picture that nobody sees.
    pub repeatability: Repeatability,
    /// The same under noise that everybody sees.
    pub repeatability_noisy: Repeatability,
    /// Channels that fire on no picture.
    pub dead: usize,
    /// Channels that fire on fewer than 1 % of the pictures.
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

/// Median over the channels of `1 - sum (A(x) - A(x'))^2 / sum (A(x) - A(y))^2`, where x' is the picture x with a little
/// noise and another brightness, and y another picture: near 1 signal, near 0 noise.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Repeatability {
    /// Of the trained network.
    pub trained: f64,
    /// Of the network before training.
    pub initial: f64,
}

/// Accuracies of linear probes, in %, each picture judged by a probe that has not seen it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ProbeRow {
    /// On the trained network's maps.
    pub trained: f64,
    /// On those of the network before training.
    pub initial: f64,
    /// On the trained network's maps with permuted labels, the mean of five permutations: chance.
    pub permuted: f64,
    /// Against the block before, on the same pictures; none for the first block.
    pub gain: Option<Gain>,
}

/// By how many percentage points a probe is better than that of the block before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Gain {
    /// Difference of the accuracies.
    pub points: f64,
    /// Lower end of its 95 % bootstrap interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Exact McNemar p-value, adjusted by Holm over the blocks.
    pub p: f64,
}

/// What a reset costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reset {
    /// Loss of accuracy in percentage points.
    pub drop: f64,
    /// Lower end of its 95 % interval, Tango's.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// What follows.
    pub verdict: ResetVerdict,
}

/// Whether the network needs what a block has learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResetVerdict {
    /// More than a point is lost, even at the lower end.
    Critical,
    /// Less than a point is lost, even at the upper end.
    Robust,
    /// The interval holds both.
    Undecided,
}

impl ResetVerdict {
    /// What follows from the interval of the loss. Nothing does unless the network is `conclusive`.
    pub(crate) fn of((low, high): (f64, f64), conclusive: bool) -> Self {
        match conclusive {
            true if low > POINT => Self::Critical,
            true if high < POINT => Self::Robust,
            _ => Self::Undecided,
        }
    }
}

impl fmt::Display for ResetVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Critical => "critical",
            Self::Robust => "robust",
            Self::Undecided => "undecided",
        })
    }
}

/// What single channels and many of them are worth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ablation {
    /// Channels whose replacement by their mean changes the log-loss (Benjamini-Hochberg, q < 0.05).
    pub significant: usize,
    /// The fewest channels, the most important first, that keep the accuracy within a point.
    pub fewest: usize,
    /// Channels left, and accuracy in % with these alone.
    pub curve: Vec<(usize, f64)>,
}

/// What of a data set the study uses.
pub struct Subjects<'a> {
    /// Pictures that neither trained the network nor chose its checkpoint.
    pub held_out: &'a dyn Pictures,
    /// Pictures to estimate running statistics on, after a reset. Their labels are not used.
    pub unlabelled: &'a dyn Pictures,
    /// The most pictures of `held_out` to use.
    pub most: usize,
}

/// Makes the table of the `trained` weights, which are named by their file. `progress` is told what comes next.
///
/// # Errors
/// When there are too few pictures, or the device failed.
pub fn study(
    lens: &Lens,
    (file, trained): (&str, &Weights),
    initial: &Weights,
    subjects: &Subjects,
    seed: u64,
    mut progress: impl FnMut(&str),
) -> Result<Layers> {
    let order = balanced(subjects.held_out, subjects.most, lens.spec().classes)?;
    let pictures = Loaded::new(subjects.held_out, &order)?;

    progress("what the network makes of the pictures");
    let repeated = |noise| repeatability(lens, &pictures, noise, seed);
    lens.load(initial);
    let before = Features::of(lens, &pictures)?;
    let [faint_before, strong_before] = [repeated(FAINT_NOISE)?, repeated(STRONG_NOISE)?];
    lens.load(trained);
    let features = Features::of(lens, &pictures)?;
    let [faint, strong] = [repeated(FAINT_NOISE)?, repeated(STRONG_NOISE)?];
    let correct = correct(&features.logits, &pictures.labels);

    progress("channels replaced by their means");
    let ablations = ablations(lens, &pictures, &features)?;

    progress("linear probes");
    let pooled = probes(&features.pooled, &before.pooled, &pictures.labels, lens.spec().classes, seed)?;
    let grid = probes(&features.grid, &before.grid, &pictures.labels, lens.spec().classes, seed)?;

    let wanted = (lens.batch() * STATISTICS_BATCHES as usize).min(subjects.unlabelled.len());
    // Drawn at random, since photos lie class by class: every batch must hold all classes.
    let mut unlabelled: Vec<usize> = (0..subjects.unlabelled.len()).collect();
    let (drawn, _) = unlabelled.partial_shuffle(&mut ChaCha8Rng::seed_from_u64(seed), wanted);
    let statistics = Loaded::new(subjects.unlabelled, drawn)?;
    progress("running statistics");
    let kept = scores(lens, trained, &statistics, &pictures, pictures.labels.len(), seed)?;
    let conclusive = beats_guessing(&kept, lens.spec().classes);
    let mut layers = Vec::new();
    for (number, block) in lens.blocks().iter().enumerate() {
        progress(&format!("block {} reset", number + 1));
        let back = reset(lens, trained, initial, number);
        let back = scores(lens, &back, &statistics, &pictures, pictures.labels.len(), seed)?;
        let few = pictures.labels.len().min(REDRAWN);
        let mut redrawn = vec![0.0; few];
        for draw in 0..REDRAWS {
            let fresh = Weights::initial(lens.spec(), seed ^ ((1 + draw) << 32));
            let weights = reset(lens, trained, &fresh, number);
            let scores = scores(lens, &weights, &statistics, &pictures, few, seed)?;
            redrawn.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score / REDRAWS as f64);
        }
        let mut layer = Layer {
            block: number + 1,
            output: block.output,
            receptive_field: block.receptive_field,
            parameters: parameters(block, lens.spec().kernel),
            repeatability: Repeatability { trained: faint[number], initial: faint_before[number] },
            repeatability_noisy: Repeatability { trained: strong[number], initial: strong_before[number] },
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
        layer.verdict = layer.in_words();
        layers.push(layer);
    }
    lens.load(trained);
    Ok(Layers {
        weights: file.into(),
        pictures: order.len(),
        seed,
        accuracy: percent(&correct),
        accuracy_anew: percent(&kept),
        conclusive,
        layers,
        limits: LIMITS.into(),
    })
}

/// How every verdict ends.
pub const LIMITS: &str = "Repeatability tells signal from noise, not learned from unlearned: the maps of an untrained block outlast such \
                          changes too. A probe shows that information is present, not that it is used; its intervals hold for these folds. A reset shows that this \
                          network uses a block, not that a smaller network trained anew would miss it: only `depth` answers that. \
                          Training with Dropout2d makes the removal of single channels look harmless.";

impl Layer {
    /// The verdict, put together from a fixed table.
    fn in_words(&self) -> String {
        let Repeatability { trained, .. } = self.repeatability;
        let noise = match trained {
            MOSTLY_SIGNAL.. => "Signal, not noise: its maps outlast changes that nobody sees.",
            SOME_SIGNAL.. => "More signal than noise: its maps change somewhat under changes that nobody sees.",
            _ => "Noisy: most of what its maps say changes under changes that nobody sees.",
        };
        // Of the two probes the one that is fairer to maps that still have places.
        let readable = match self.grid.gain {
            None => "",
            Some(Gain { p, points, .. }) if p < 0.05 && points > 0.0 => {
                " More of the classes can be read from it than from the block before."
            }
            Some(Gain { p, .. }) if p < 0.05 => " Less of the classes can be read from it than from the block before.",
            Some(_) => " It is not shown that more can be read from it than from the block before.",
        };
        let needed = match self.reset.verdict {
            ResetVerdict::Critical => " This network needs what it has learned.",
            ResetVerdict::Robust => {
                " With its weights as they were before training this network loses less than a point."
            }
            ResetVerdict::Undecided => " Whether this network needs what it has learned is undecided.",
        };
        format!("{noise}{readable}{needed}")
    }
}

impl Reset {
    /// From the scores of the same pictures before and after. Nothing follows unless the network is `conclusive`.
    fn new(before: &[f64], after: &[f64], conclusive: bool) -> Self {
        let changes = || before.iter().zip(after).map(|(before, after)| before - after);
        let lost: f64 = changes().map(|change| change.max(0.0)).sum();
        let won: f64 = changes().map(|change| (-change).max(0.0)).sum();
        let (low, high) = paired_difference(lost, won, before.len(), LEVEL);
        let [drop, low, high] = [(lost - won) / before.len() as f64, low, high].map(|share| 100.0 * share);
        Self { drop, low, high, verdict: ResetVerdict::of((low, high), conclusive) }
    }
}

/// Whether the share of right pictures, as many of each class, is shown to lie above that of guesses.
fn beats_guessing(correct: &[f64], classes: usize) -> bool {
    let right = correct.iter().filter(|&&correct| correct == 1.0).count();
    wilson(right, correct.len(), LEVEL).0 > 1.0 / classes as f64
}

/// Pictures in memory.
struct Loaded {
    /// RGB bytes of each.
    pixels: Vec<Vec<u8>>,
    labels: Vec<usize>,
}

impl Loaded {
    fn new(pictures: &dyn Pictures, order: &[usize]) -> Result<Self> {
        let pixels = order.iter().map(|&index| {
            let pixels = pictures.pixels(index).map_err(|reason| anyhow!("{}: {reason}", pictures.name(index)))?;
            Ok(pixels.into_owned())
        });
        let labels = order.iter().map(|&index| pictures.label(index) as usize).collect();
        Ok(Self { pixels: pixels.collect::<Result<_>>()?, labels })
    }

    /// Fills in picture `index` as the network gets it.
    fn fill(&self, index: usize, place: &mut [f32]) {
        prepare::to_tensor(&self.pixels[index], false, place);
    }
}

/// What a network makes of pictures, pooled.
struct Features {
    /// Of each block, the mean of each map, (pictures, C).
    pooled: Vec<Vec<f32>>,
    /// Of each block, the maps pooled to at most 3 x 3 values, (pictures, values).
    grid: Vec<Vec<f32>>,
    /// Of each block, on how many pictures each channel fires.
    fired: Vec<Vec<usize>>,
    /// (pictures, classes)
    logits: Vec<Vec<f32>>,
}

impl Features {
    fn of(lens: &Lens, pictures: &Loaded) -> Result<Self, GpuError> {
        let blocks = lens.blocks();
        let empty = || vec![Vec::new(); blocks.len()];
        let fired = blocks.iter().map(|block| vec![0; block.output[0]]).collect();
        let mut features = Self { pooled: empty(), grid: empty(), fired, logits: Vec::new() };
        let fill = |index: usize, place: &mut [f32]| pictures.fill(index, place);
        lens.forward(pictures.labels.len(), fill, |range| {
            for (number, block) in blocks.iter().enumerate() {
                for maps in lens.outputs(number, range.len())? {
                    let [channels, height, width] = block.output;
                    for (channel, map) in maps.chunks(height * width).enumerate() {
                        features.pooled[number].push(mean(map.iter().copied()));
                        features.fired[number][channel] += usize::from(map.iter().any(|&value| value > 0.0));
                    }
                    let cells = |size: usize| cells(size).collect::<Vec<_>>();
                    for map in maps.chunks(height * width).take(channels) {
                        for rows in cells(height) {
                            for columns in cells(width) {
                                let cell = rows.clone().flat_map(|y| map[y * width..][columns.clone()].iter().copied());
                                features.grid[number].push(mean(cell));
                            }
                        }
                    }
                }
            }
            features.logits.extend(lens.read_logits(range.len())?);
            Ok(())
        })?;
        Ok(features)
    }
}

/// Up to three parts of `0..size` that cover it, as `AdaptiveAvgPool2d(3)` takes them.
fn cells(size: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = size.min(3);
    (0..parts).map(move |part| part * size / parts..((part + 1) * size).div_ceil(parts))
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + f64::from(value), count + 1));
    (sum / f64::from(count)) as f32
}

/// 1 where the picture's class has the largest logit, else 0.
fn correct(logits: &[Vec<f32>], labels: &[usize]) -> Vec<f64> {
    logits.iter().zip(labels).map(|(logits, &label)| f64::from(Question::of(logits, None).target == label)).collect()
}

/// The log-loss of each picture.
fn losses(logits: &[Vec<f32>], labels: &[usize]) -> Vec<f64> {
    logits.iter().zip(labels).map(|(logits, &label)| stats::log_loss(logits, &[label])).collect()
}

/// Of each block, the median repeatability of its channels under this much noise; dead ones do not count.
fn repeatability(lens: &Lens, pictures: &Loaded, pixel_noise: f32, seed: u64) -> Result<Vec<f64>, GpuError> {
    let count = pictures.labels.len().min(REPEATED);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // The pictures come class by class in turn; the one before must be any other, not one of another class.
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut random);
    let mut sums: Vec<Vec<[f64; 2]>> = lens.blocks().iter().map(|block| vec![[0.0; 2]; block.output[0]]).collect();
    // Each picture, then its repetition.
    let make = |index: usize, place: &mut [f32]| {
        pictures.fill(order[index / 2], place);
        if index % 2 == 1 {
            let brightness = 1.0 + random.random_range(-BRIGHTNESS..BRIGHTNESS);
            for value in place.chunks_mut(CHANNELS).flat_map(|pixel| &mut pixel[..3]) {
                let noise: f32 = StandardNormal.sample(&mut random);
                // From -1 .. 1 to 0 .. 1 and back.
                *value = 2.0 * ((*value + 1.0) / 2.0 * brightness + pixel_noise * noise) - 1.0;
            }
        }
    };
    // Of each block the maps of the picture before and of the picture itself, whose repetition comes next.
    let mut originals: Vec<[Vec<f32>; 2]> = vec![Default::default(); lens.blocks().len()];
    lens.forward(2 * count, make, |range| {
        for (number, block) in lens.blocks().iter().enumerate() {
            let pixels = block.output[1] * block.output[2];
            let [other, original] = &mut originals[number];
            for (index, maps) in range.clone().zip(lens.outputs(number, range.len())?) {
                if index % 2 == 0 {
                    *other = std::mem::replace(original, maps);
                    continue;
                }
                if other.is_empty() {
                    continue;
                }
                for (channel, [noise, signal]) in sums[number].iter_mut().enumerate() {
                    for at in channel * pixels..(channel + 1) * pixels {
                        *noise += f64::from(original[at] - maps[at]).powi(2);
                        *signal += f64::from(original[at] - other[at]).powi(2);
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(sums
        .into_iter()
        .map(|channels| {
            let mut ratios: Vec<f64> = channels
                .into_iter()
                .filter(|[_, signal]| *signal > 0.0)
                .map(|[noise, signal]| 1.0 - noise / signal)
                .collect();
            ratios.sort_by(f64::total_cmp);
            ratios.get(ratios.len() / 2).copied().unwrap_or(0.0)
        })
        .collect())
}

/// Of each block, what its channels are worth.
fn ablations(lens: &Lens, pictures: &Loaded, features: &Features) -> Result<Vec<Ablation>> {
    let ranked = (pictures.labels.len() / 2).min(RANKED);
    let judged = (pictures.labels.len() - ranked).min(JUDGED);
    let mut all = Vec::new();
    for (number, block) in lens.blocks().iter().enumerate() {
        let [channels, height, width] = block.output;
        let lanes = padded(channels);
        let mut outputs = Vec::with_capacity(ranked + judged);
        let fill = |index: usize, place: &mut [f32]| pictures.fill(index, place);
        lens.forward(ranked + judged, fill, |range| {
            outputs.extend(lens.packed_outputs(number, range.len())?);
            Ok(())
        })?;
        let each = height * width * lanes;
        let means: Vec<f32> = (0..channels)
            .map(|channel| mean(features.pooled[number].iter().skip(channel).step_by(channels).copied()))
            .collect();
        let replace = |place: &mut [f32], channel: usize| {
            place.iter_mut().skip(channel).step_by(lanes).for_each(|value| *value = means[channel]);
        };

        let make = |case: usize, place: &mut [f32]| {
            place.copy_from_slice(&outputs[case % ranked * each..][..each]);
            replace(place, case / ranked);
        };
        let without = lens.logits_after(number, channels * ranked, make)?;
        let base = losses(&features.logits[..ranked], &pictures.labels);
        let mut importance = Vec::with_capacity(channels);
        let mut p_values = Vec::with_capacity(channels);
        for logits in without.chunks(ranked) {
            let changed = losses(logits, &pictures.labels);
            let changes: Vec<f64> = changed.iter().zip(&base).map(|(without, with)| without - with).collect();
            let test = PairedT::naive(&changes)?;
            importance.push(test.mean);
            // A channel that changes nothing at all has no spread to divide by.
            p_values.push(if test.sd > 0.0 { test.p_two_sided() } else { 1.0 });
        }
        let significant = benjamini_hochberg(&p_values).iter().filter(|&&q| q < 0.05).count();

        let mut order: Vec<usize> = (0..channels).collect();
        order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]));
        let kept: BTreeSet<usize> =
            (0..=CURVE).map(|point| (channels as f64).powf(point as f64 / CURVE as f64) as usize).collect();
        let kept: Vec<usize> = std::iter::once(0).chain(kept).collect();
        let make = |case: usize, place: &mut [f32]| {
            place.copy_from_slice(&outputs[(ranked + case % judged) * each..][..each]);
            order[kept[case / judged]..].iter().for_each(|&channel| replace(place, channel));
        };
        let logits = lens.logits_after(number, kept.len() * judged, make)?;
        let labels = &pictures.labels[ranked..ranked + judged];
        let curve: Vec<(usize, f64)> = kept
            .iter()
            .zip(logits.chunks(judged))
            .map(|(&kept, logits)| (kept, percent(&correct(logits, labels))))
            .collect();
        let full = curve.last().expect("the curve ends with all channels").1;
        let enough = curve.iter().rev().take_while(|(_, accuracy)| *accuracy >= full - POINT).last();
        let fewest = enough.expect("all channels are enough").0;
        all.push(Ablation { significant, fewest, curve });
    }
    Ok(all)
}

/// Probes of every block, each against the block before.
fn probes(
    trained: &[Vec<f32>],
    initial: &[Vec<f32>],
    labels: &[usize],
    classes: usize,
    seed: u64,
) -> Result<Vec<ProbeRow>> {
    let mut rows = Vec::new();
    let mut before: Option<Vec<bool>> = None;
    for (trained, initial) in trained.iter().zip(initial) {
        let (probe, controls) = stats::probe_with_permuted(trained, labels, classes, seed, PERMUTATIONS)?;
        let start = stats::probe(initial, labels, classes, seed)?;
        let gain = match &before {
            None => None,
            Some(before) => {
                let pairs = || before.iter().zip(&probe.correct);
                let lost = pairs().filter(|(before, now)| **before && !**now).count();
                let won = pairs().filter(|(before, now)| !**before && **now).count();
                let [was, is] = [before, &probe.correct]
                    .map(|correct| correct.iter().map(|&correct| f64::from(correct)).collect::<Vec<_>>());
                let interval = paired_bootstrap(&was, &is, LEVEL, seed)?;
                let [points, low, high] = [interval.mean, interval.low, interval.high].map(|share| 100.0 * share);
                Some(Gain { points, low, high, p: mcnemar(lost, won).exact })
            }
        };
        let permuted = controls.iter().map(|control| control.accuracy).sum::<f64>() / controls.len() as f64;
        let [trained, initial, permuted] = [probe.accuracy, start.accuracy, permuted].map(|share| 100.0 * share);
        rows.push(ProbeRow { trained, initial, permuted, gain });
        before = Some(probe.correct);
    }
    let adjusted = holm(&rows.iter().filter_map(|row| Some(row.gain?.p)).collect::<Vec<_>>());
    let gains = rows.iter_mut().filter_map(|row| row.gain.as_mut());
    gains.zip(adjusted).for_each(|(gain, p)| gain.p = p);
    Ok(rows)
}

/// The trained weights, but those of block `number`, counted from 0, from `other`.
fn reset(lens: &Lens, trained: &Weights, other: &Weights, number: usize) -> Weights {
    let mut weights = trained.clone();
    let conv = lens.spec().conv_index(number);
    for key in [format!("{conv}.weight"), format!("{}.weight", conv + 1), format!("{}.bias", conv + 1)] {
        let values = other.get(&key).to_vec();
        weights.tensors.insert(key, values);
    }
    weights
}

/// Whether the network with these weights, and running statistics of its own, is right on each of the first pictures.
fn scores(
    lens: &Lens,
    weights: &Weights,
    statistics: &Loaded,
    pictures: &Loaded,
    count: usize,
    seed: u64,
) -> Result<Vec<f64>> {
    lens.load(&with_own_statistics(lens, weights, statistics, seed)?);
    let logits = lens.logits(count, |index, place| pictures.fill(index, place))?;
    Ok(correct(&logits, &pictures.labels))
}

/// The weights with running statistics estimated anew, in training mode, on pictures without their labels.
///
/// From zero, k updates with momentum 0.1 leave a weighted mean of the batches' statistics, times `1 - 0.9^k`.
fn with_own_statistics(lens: &Lens, weights: &Weights, pictures: &Loaded, seed: u64) -> Result<Weights, GpuError> {
    let (gpu, model, batch) = (lens.gpu(), lens.model(), lens.batch());
    let mut weights = weights.clone();
    let statistics: Vec<String> = lens.spec().statistics().into_iter().map(|statistic| statistic.name).collect();
    for name in &statistics {
        weights.tensors.get_mut(name).expect("every network has them").fill(0.0);
    }
    model.load(gpu, &weights);
    let plan = model.forward(gpu, Mode::Train);
    let still = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
    let mut images = vec![0.0; batch * lens.picture_len()];
    for number in 1..=STATISTICS_BATCHES {
        for (index, place) in images.chunks_mut(lens.picture_len()).enumerate() {
            pictures.fill(((number - 1) as usize * batch + index) % pictures.labels.len(), place);
        }
        model.activations.input.write(gpu, &images);
        model.set_step(gpu, &still, 0.0, batch, seed, number);
        plan.submit(gpu)?;
    }
    let found = pollster::block_on(model.weights(gpu, 0))?;
    model.set_live(gpu, batch);
    let share = 1.0 - 0.9f32.powi(STATISTICS_BATCHES as i32);
    for name in statistics {
        let values = found.get(&name).iter().map(|value| value / share).collect();
        weights.tensors.insert(name, values);
    }
    Ok(weights)
}

/// Trained numbers of a block with filters of this height and width.
pub(crate) fn parameters(block: &Block, kernel: usize) -> usize {
    block.output[0] * (block.input[0] * kernel * kernel + 2)
}

fn percent(correct: &[f64]) -> f64 {
    100.0 * correct.iter().sum::<f64>() / correct.len() as f64
}

/// As many pictures of each class, in turn, so that any first part of them is balanced too.
fn balanced(pictures: &dyn Pictures, most: usize, classes: usize) -> Result<Vec<usize>> {
    let mut of_class = vec![Vec::new(); classes];
    for index in 0..pictures.len() {
        of_class[pictures.label(index) as usize].push(index);
    }
    let each = of_class.iter().map(Vec::len).min().unwrap_or(0).min(most / classes);
    ensure!(most / classes >= LEAST, "--pictures {most}: expected at least {} for {classes} classes", classes * LEAST);
    ensure!(
        each >= LEAST,
        "{each} pictures of a class are too few for this study: it needs at least {LEAST} of each that the network was not \
         trained on"
    );
    Ok((0..each).flat_map(|turn| of_class.iter().map(move |indices| indices[turn * indices.len() / each])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_those_of_adaptive_pooling() {
        let of = |size| cells(size).collect::<Vec<_>>();
        assert_eq!(of(7), [0..3, 2..5, 4..7]);
        assert_eq!(of(3), [0..1, 1..2, 2..3]);
        assert_eq!(of(2), [0..1, 1..2]);
    }

    #[test]
    fn resets_are_judged_by_their_intervals() {
        let verdict = |before: &[f64], after: &[f64]| Reset::new(before, after, true).verdict;
        let right = |count: usize, wrong: usize| [vec![1.0; count - wrong], vec![0.0; wrong]].concat();
        assert_eq!(verdict(&right(1000, 0), &right(1000, 100)), ResetVerdict::Critical);
        assert_eq!(verdict(&right(1000, 0), &right(1000, 0)), ResetVerdict::Robust);
        assert_eq!(verdict(&right(1000, 0), &right(1000, 10)), ResetVerdict::Undecided);
        assert_eq!(
            verdict(&right(1000, 0), &right(1000, 15)),
            ResetVerdict::Undecided,
            "the interval counts, not its middle"
        );
        assert_eq!(
            verdict(&right(100, 0), &right(100, 0)),
            ResetVerdict::Undecided,
            "100 pictures cannot show so little"
        );
        let reset = Reset::new(&right(1000, 0), &right(1000, 10), true);
        assert!((reset.drop - 1.0).abs() < 1e-9 && reset.low > 0.0 && reset.low < 1.0 && reset.high > 1.0, "{reset:?}");
        let of_guesses = Reset::new(&right(1000, 500), &right(1000, 500), false);
        assert_eq!(
            of_guesses.verdict,
            ResetVerdict::Undecided,
            "a network that guesses needs no block, and shows nothing"
        );
    }

    /// Studies of a network that truly loses a point once a block is reset: how many call the block robust.
    #[test]
    fn a_block_that_is_needed_is_seldom_called_robust() {
        const STUDIES: u64 = 4000;
        for pictures in [40, 200, 1000] {
            let wrong = (0..STUDIES).filter(|&seed| {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let before: Vec<f64> = (0..pictures).map(|_| f64::from(random.random_bool(0.9))).collect();
                let lost = |&right: &f64| if random.random_bool(POINT / 90.0) { 0.0 } else { right };
                let after: Vec<f64> = before.iter().map(lost).collect();
                Reset::new(&before, &after, true).verdict == ResetVerdict::Robust
            });
            // 2.5 % are nominal; 3.3 % are three standard errors more.
            let share = wrong.count() as f64 / STUDIES as f64;
            assert!(share < 0.033, "{share} of the studies with {pictures} pictures");
        }
    }

    #[test]
    fn guesses_are_told_from_knowledge() {
        assert!(beats_guessing(&[vec![1.0; 600], vec![0.0; 400]].concat(), 2));
        assert!(!beats_guessing(&[vec![1.0; 510], vec![0.0; 490]].concat(), 2));
        assert!(beats_guessing(&[vec![1.0; 510], vec![0.0; 490]].concat(), 3));
    }
}
