//! Saliency: maps of what in an image matters for the decision.
//!
//! Each [`Method`] makes a [`Map`] for a [`Question`]. Those of single layers are coarse: one value for each position of the
//! layer's maps. [`Map::enlarged`] gives each pixel the value of the position whose receptive field is centred nearest.

use std::ops::Range;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{Inside, InsideBlock, Lens, Question};
use crate::data::pixels::CHANNELS;
use crate::gpu::GpuError;
use crate::nn::Block;
use crate::ops::relu::Rule;

/// Images that SmoothGrad averages over.
const NOISY: usize = 32;
/// Their noise, as a share of the span of the image's values (Smilkov et al., 2017).
const NOISE: f32 = 0.15;
/// Steps of integrated gradients.
const PATH_STEPS: usize = 64;

/// A way to find what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Largest magnitude over the colours of the logit difference's derivative (Simonyan et al., 2013).
    Gradient,
    /// The same of the mean derivative over noisy copies of the image (Smilkov et al., 2017).
    SmoothGrad,
    /// The image times the mean derivative on the way from grey to it (Sundararajan et al., 2017): adds up to what the logit
    /// difference is more than that of grey, but for the completeness gap.
    IntegratedGradients,
    /// The image times the derivative.
    GradientTimesInput,
    /// A block's maps, each times its mean derivative, summed; only what speaks for the class (Selvaraju et al., 2017).
    GradCam {
        /// The block, from 0.
        block: usize,
    },
    /// A block's maps times their derivatives, summed (Draelos and Carin, 2020).
    HiResCam {
        /// The block, from 0.
        block: usize,
    },
    /// A block's maps times their derivatives where these are positive, summed; only what speaks for the class (Jiang et al., 2021).
    LayerCam {
        /// The block, from 0.
        block: usize,
    },
    /// By how much the logit difference falls where a patch is covered with grey, averaged over the patches that cover a pixel
    /// (Zeiler and Fergus, 2014).
    Occlusion,
    /// What guided backpropagation makes of the derivative: an image only, which hardly depends on the decision.
    GuidedBackprop,
    /// What the deconvolutional network makes of the derivative: an image only.
    Deconvnet,
}

/// A map of what matters. Grey stands for an image's zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// (height, width)
    pub values: Vec<f32>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Whether negative values mean something: that they speak for the other class.
    pub signed: bool,
}

impl Method {
    /// Its name, with the block where it looks at one.
    pub fn name(self) -> String {
        match self {
            Self::Gradient => "Gradient".into(),
            Self::SmoothGrad => "SmoothGrad".into(),
            Self::IntegratedGradients => "Integrated gradients".into(),
            Self::GradientTimesInput => "Gradient x input".into(),
            Self::GradCam { block } => format!("Grad-CAM, block {}", block + 1),
            Self::HiResCam { block } => format!("HiResCAM, block {}", block + 1),
            Self::LayerCam { block } => format!("LayerCAM, block {}", block + 1),
            Self::Occlusion => "Occlusion".into(),
            Self::GuidedBackprop => "Guided backpropagation".into(),
            Self::Deconvnet => "Deconvnet".into(),
        }
    }

    /// How to read its map, for a newcomer.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Gradient => {
                "Bright where a small change of the pixel would move the decision most, in whichever direction."
            }
            Self::SmoothGrad => {
                "As the gradient, averaged over noisy copies of the image: bright where a small change would move the \
                 decision most."
            }
            Self::IntegratedGradients => {
                "How much each pixel added to the decision on the way from a grey image to this one: warm for, cold against."
            }
            Self::GradientTimesInput => {
                "Each pixel's distance from grey times its pull on the decision: warm for, cold against. A rough guess of \
                 what integrated gradients measure."
            }
            Self::GradCam { .. } => {
                "The block's maps added up, each weighted by its mean pull on the decision; only what speaks for the class."
            }
            Self::HiResCam { .. } => {
                "The block's maps added up, each value weighted by its own pull on the decision: warm for, cold against. In \
                 the last block this is exact, if what follows it is linear: it adds up to the decision, but for the bias."
            }
            Self::LayerCam { .. } => {
                "The block's maps added up where they pull towards the class; what pulls the other way is left out."
            }
            Self::Occlusion => {
                "Measured, not estimated: by how much the decision weakens when a patch of the image is covered with grey. \
                 Warm where the patch spoke for the class, cold where it spoke against."
            }
            Self::GuidedBackprop | Self::Deconvnet => {
                "Follows the edges that the first layers pass on. It looks sharp because the photo is sharp."
            }
        }
    }

    /// Whether it makes an image that explains nothing: it fails the randomisation test of Adebayo et al., 2018.
    pub fn images_only(self) -> bool {
        matches!(self, Self::GuidedBackprop | Self::Deconvnet)
    }

    /// Makes the map of one image. `inside` is what the lens's network makes of it.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn map(
        self,
        lens: &Lens<'_>,
        image: &[f32],
        inside: &Inside,
        question: Question,
    ) -> Result<Map, GpuError> {
        let gradient = async |rule| gradient(lens, image, question, rule).await;
        let of_pixels = |values, signed| {
            let [_, height, width] = lens.network().input();
            Map { values, height, width, signed }
        };
        Ok(match self {
            Self::Gradient => of_pixels(magnitude(&gradient(Rule::Gradient).await?), false),
            Self::SmoothGrad => of_pixels(magnitude(&smooth_gradient(lens, image, question).await?), false),
            Self::IntegratedGradients => {
                of_pixels(integrated_gradients(lens, image, question, PATH_STEPS).await?, true)
            }
            Self::GradientTimesInput => of_pixels(product(image, &gradient(Rule::Gradient).await?), true),
            Self::GradCam { block } => cam(lens, inside, block, false, |mean, _| mean),
            Self::HiResCam { block } => cam(lens, inside, block, true, |_, here| here),
            Self::LayerCam { block } => cam(lens, inside, block, false, |_, here| here.max(0.0)),
            Self::Occlusion => {
                of_pixels(occlusion(lens, image, question, occlusion_half(lens.network().input())).await?, true)
            }
            Self::GuidedBackprop => of_pixels(magnitude(&gradient(Rule::Guided).await?), false),
            Self::Deconvnet => of_pixels(magnitude(&gradient(Rule::Deconvnet).await?), false),
        })
    }

    /// The block whose maps it looks at, from 0.
    pub fn block(self) -> Option<usize> {
        match self {
            Self::GradCam { block } | Self::HiResCam { block } | Self::LayerCam { block } => Some(block),
            _ => None,
        }
    }
}

impl Map {
    /// A map of a block at the image's resolution: every pixel takes the value whose receptive field's centre is nearest.
    pub fn enlarged(&self, block: &Block, [height, width]: [usize; 2]) -> Map {
        let nearest = |pixel: usize, values: usize| {
            // In half pixels: the centre of the first value's field lies at field - 1 - 2 offset.
            let distance = 2 * pixel as i64 - (block.receptive_field as i64 - 1 - 2 * block.offset as i64);
            let stride = 2 * block.stride as i64;
            (distance + stride / 2).div_euclid(stride).clamp(0, values as i64 - 1) as usize
        };
        let columns: Vec<usize> = (0..width).map(|x| nearest(x, self.width)).collect();
        let values = (0..height)
            .flat_map(|y| {
                let row = nearest(y, self.height) * self.width;
                columns.iter().map(move |&column| self.values[row + column])
            })
            .collect();
        Map { values, height, width, signed: self.signed }
    }
}

/// The derivative of the logit difference by the image, or what `rule` makes of it, in the image's layout.
///
/// # Errors
/// When the device failed.
pub async fn gradient(lens: &Lens<'_>, image: &[f32], question: Question, rule: Rule) -> Result<Vec<f32>, GpuError> {
    let mut found = Vec::new();
    let make = |_, place: &mut [f32]| place.copy_from_slice(image);
    lens.gradients(1, question, rule, make, |_, gradient| found = gradient.to_vec()).await?;
    Ok(found)
}

/// The mean derivative over noisy copies of the image.
///
/// # Errors
/// When the device failed.
pub async fn smooth_gradient(lens: &Lens<'_>, image: &[f32], question: Question) -> Result<Vec<f32>, GpuError> {
    let colours = || image.chunks(CHANNELS).flat_map(|pixel| &pixel[..3]).copied();
    let [least, most] = [f32::min, f32::max].map(|pick| colours().reduce(pick).unwrap_or(0.0));
    let sigma = NOISE * (most - least);
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let make = |_, place: &mut [f32]| {
        for (place, pixel) in place.chunks_mut(CHANNELS).zip(image.chunks(CHANNELS)) {
            place.copy_from_slice(pixel);
            for value in &mut place[..3] {
                let noise: f32 = StandardNormal.sample(&mut random);
                *value += sigma * noise;
            }
        }
    };
    mean_gradient(lens, NOISY, question, make).await
}

/// The image times the mean derivative at `steps` midpoints of the way from grey to it, summed over the colours.
///
/// # Errors
/// When the device failed.
pub async fn integrated_gradients(
    lens: &Lens<'_>,
    image: &[f32],
    question: Question,
    steps: usize,
) -> Result<Vec<f32>, GpuError> {
    let make = |step, place: &mut [f32]| {
        let share = (step as f32 + 0.5) / steps as f32;
        for (place, value) in place.iter_mut().zip(image) {
            *place = share * value;
        }
    };
    Ok(product(image, &mean_gradient(lens, steps, question, make).await?))
}

/// What a map of integrated gradients adds up to: the logit difference is that of a grey image, plus the sum of the map, plus
/// what the finite number of steps leaves over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Completeness {
    /// The logit difference of a grey image.
    pub grey: f64,
    /// The sum of the map.
    pub map: f64,
    /// What they leave of the image's logit difference: the completeness gap.
    pub gap: f64,
}

impl Completeness {
    /// That of a map of an image.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn of(lens: &Lens<'_>, map: &[f32], image: &[f32], question: Question) -> Result<Self, GpuError> {
        let make = |i, place: &mut [f32]| if i == 0 { place.copy_from_slice(image) } else { place.fill(0.0) };
        let logits = lens.logits(2, make).await?;
        let [whole, grey] = [0, 1].map(|end| question.logit_difference(&logits[end]));
        let map = map.iter().copied().map(f64::from).sum();
        Ok(Self { grey, map, gap: whole - grey - map })
    }
}

async fn mean_gradient(
    lens: &Lens<'_>,
    count: usize,
    question: Question,
    make: impl FnMut(usize, &mut [f32]),
) -> Result<Vec<f32>, GpuError> {
    let mut sum = vec![0.0; lens.image_len()];
    lens.gradients(count, question, Rule::Gradient, make, |_, gradient| {
        for (sum, &value) in sum.iter_mut().zip(gradient) {
            *sum += f64::from(value);
        }
    })
    .await?;
    Ok(sum.into_iter().map(|sum| (sum / count as f64) as f32).collect())
}

/// By how much the logit difference falls where squares of `2 * half` pixels are covered with grey, at every `half` pixels; the mean over the
/// four squares that cover a pixel, (H, W). Squares begin before the first pixel and end behind the last one, so that no
/// pixel is covered less often than others; what reaches beyond the image is cut off.
///
/// # Errors
/// When the device failed.
///
/// # Panics
/// When `half` is 0.
pub async fn occlusion(lens: &Lens<'_>, image: &[f32], question: Question, half: usize) -> Result<Vec<f32>, GpuError> {
    let [_, height, width] = lens.network().input();
    let columns = covers(width, half);
    let squares: Vec<_> =
        covers(height, half).into_iter().flat_map(|rows| columns.iter().map(move |on| (rows.clone(), on))).collect();
    // Case 0 is the image itself.
    let make = |case: usize, place: &mut [f32]| {
        place.copy_from_slice(image);
        if let Some((rows, columns)) = case.checked_sub(1).map(|case| squares[case].clone()) {
            for row in rows {
                place[(row * width + columns.start) * CHANNELS..(row * width + columns.end) * CHANNELS].fill(0.0);
            }
        }
    };
    let differences: Vec<f64> =
        lens.logits(1 + squares.len(), make).await?.iter().map(|logits| question.logit_difference(logits)).collect();

    let mut sums = vec![0.0; height * width];
    for ((rows, columns), difference) in squares.into_iter().zip(&differences[1..]) {
        for row in rows {
            sums[row * width..][columns.clone()].iter_mut().for_each(|sum| *sum += differences[0] - difference);
        }
    }
    Ok(sums.into_iter().map(|sum| (sum / 4.0) as f32).collect())
}

/// Half the side of the squares of [`Method::Occlusion`]: together they are at least an eighth of the image's shorter side.
pub fn occlusion_half([_, height, width]: [usize; 3]) -> usize {
    height.min(width).div_ceil(16)
}

/// Ranges of `2 * half` pixels of a side, one at every `half` pixels, cut off at its ends: every pixel lies in two. They reach
/// as far beyond the one end as beyond the other, but for a pixel where that cannot be.
fn covers(side: usize, half: usize) -> Vec<Range<usize>> {
    let before = half + (side.next_multiple_of(half) - side) / 2;
    let range = |number: usize| {
        let start = number * half;
        start.saturating_sub(before)..(start + 2 * half - before).min(side)
    };
    (0..=side.div_ceil(half)).map(range).collect()
}

/// By how much the logit difference falls when a channel of block `number`, counted from 0, is replaced everywhere by its mean, for every
/// channel.
///
/// # Errors
/// When the device failed.
///
/// # Panics
/// When there is not one mean for each channel.
pub async fn channel_ablation(
    lens: &Lens<'_>,
    number: usize,
    inside: &Inside,
    means: &[f32],
    question: Question,
) -> Result<Vec<f64>, GpuError> {
    let [channels, height, width] = lens.blocks()[number].output;
    assert_eq!(means.len(), channels);
    let maps = crate::nn::layout::pack_images(&inside.blocks[number].relu, 1, channels, height * width);
    let padded = crate::nn::layout::padded(channels);
    // Case 0 is the maps as they are.
    let make = |case: usize, place: &mut [f32]| {
        place.copy_from_slice(&maps);
        if let Some(channel) = case.checked_sub(1) {
            place.iter_mut().skip(channel).step_by(padded).for_each(|value| *value = means[channel]);
        }
    };
    let logits = lens.logits_after(number, 1 + channels, make).await?;
    let differences: Vec<f64> = logits.iter().map(|logits| question.logit_difference(logits)).collect();
    Ok(differences[1..].iter().map(|without| differences[0] - without).collect())
}

/// To first order, what every channel of a block adds to the logit difference: its values after ReLU times their derivatives, summed.
/// Exact in the last block, but for the bias.
pub fn contributions(block: &InsideBlock, channels: usize) -> Vec<f64> {
    let pixels = block.relu.len() / channels;
    let product = |(&value, &gradient): (&f32, &f32)| f64::from(value) * f64::from(gradient);
    let sum = |(map, gradient): (&[f32], &[f32])| map.iter().zip(gradient).map(product).sum();
    block.relu.chunks(pixels).zip(block.gradient.chunks(pixels)).map(sum).collect()
}

/// The channels by magnitude of their contributions, the largest first.
pub fn by_magnitude(contributions: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contributions.len()).collect();
    order.sort_by(|&a, &b| contributions[b].abs().total_cmp(&contributions[a].abs()));
    order
}

/// The rank correlation of two maps' magnitudes (Spearman's), ties sharing their mean rank; -1 to 1, 1 where both order the
/// pixels alike. None where one of them has a single magnitude.
///
/// # Panics
/// When the maps differ in length.
pub fn similarity(a: &[f32], b: &[f32]) -> Option<f64> {
    assert_eq!(a.len(), b.len());
    let [a, b] = [a, b].map(ranks);
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let norm = (product(&a, &a) * product(&b, &b)).sqrt();
    (norm > 0.0).then(|| product(&a, &b) / norm)
}

/// The rank of every magnitude, from 0; equal ones share their mean rank.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a].abs() == values[b].abs()) {
        let rank = first as f64 + (tied.len() as f64 - 1.0) / 2.0;
        tied.iter().for_each(|&i| ranks[i] = rank);
        first += tied.len();
    }
    ranks
}

/// How a map compares with that of the same method for an untrained network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dependence {
    /// The two differ.
    Differs,
    /// The two are much the same.
    SameAsUntrained,
    /// The maps have too few values to tell.
    TooFewValues,
    /// The untrained network's map is the same everywhere.
    ControlEmpty,
    /// The map itself is the same everywhere.
    Constant,
}

/// From this similarity on, two maps are much the same.
const MUCH_THE_SAME: f64 = 0.5;

impl Dependence {
    /// Of maps of so many values, which may each be the same everywhere, by their [`similarity`].
    pub fn new(values: usize, constant: bool, control_constant: bool, similarity: Option<f64>) -> Self {
        // Twice the standard deviation that chance gives the rank correlation of so few values.
        let chance = 2.0 / (values.saturating_sub(1).max(1) as f64).sqrt();
        match similarity {
            None if control_constant && !constant => Self::ControlEmpty,
            None => Self::Constant,
            Some(similarity) if similarity >= MUCH_THE_SAME.max(chance) => Self::SameAsUntrained,
            Some(similarity) if similarity >= MUCH_THE_SAME || chance >= 1.0 => Self::TooFewValues,
            Some(_) => Self::Differs,
        }
    }
}

impl Map {
    /// Whether it has the same value everywhere.
    pub fn is_constant(&self) -> bool {
        self.values.iter().all(|&value| value == self.values[0])
    }
}

/// The largest magnitude over the colours, for every pixel.
fn magnitude(gradient: &[f32]) -> Vec<f32> {
    gradient.chunks(CHANNELS).map(|pixel| pixel.iter().fold(0.0, |most: f32, value| most.max(value.abs()))).collect()
}

/// Image times gradient, summed over the colours.
fn product(image: &[f32], gradient: &[f32]) -> Vec<f32> {
    let sum = |(pixel, gradient): (&[f32], &[f32])| pixel.iter().zip(gradient).map(|(x, g)| x * g).sum();
    image.chunks(CHANNELS).zip(gradient.chunks(CHANNELS)).map(sum).collect()
}

/// A block's maps, each value times what `factor` makes of its map's mean derivative and its own, summed over the channels.
fn cam(lens: &Lens<'_>, inside: &Inside, block: usize, signed: bool, factor: impl Fn(f32, f32) -> f32) -> Map {
    let [_, height, width] = lens.blocks()[block].output;
    let pixels = height * width;
    let mut values = vec![0.0; pixels];
    let InsideBlock { relu, gradient, .. } = &inside.blocks[block];
    for (map, gradient) in relu.chunks(pixels).zip(gradient.chunks(pixels)) {
        let mean = gradient.iter().sum::<f32>() / pixels as f32;
        for ((sum, &value), &here) in values.iter_mut().zip(map).zip(gradient) {
            *sum += value * factor(mean, here);
        }
    }
    if !signed {
        values.iter_mut().for_each(|value| *value = value.max(0.0));
    }
    Map { values, height, width, signed }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::nn::Strided;

    #[test]
    fn similarity_is_the_rank_correlation_of_magnitudes() {
        assert_abs_diff_eq!(similarity(&[1.0, -2.0, 3.0], &[-10.0, 100.0, 1000.0]).unwrap(), 1.0);
        assert_abs_diff_eq!(similarity(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]).unwrap(), -1.0);
        // scipy.stats.spearmanr([1, 2, 2, 4], [3, 1, 2, 4]): 0.3162277660168379
        assert_abs_diff_eq!(similarity(&[1.0, 2.0, 2.0, 4.0], &[3.0, 1.0, 2.0, 4.0]).unwrap(), 0.316_227_766_016_837_9);
        assert_eq!(similarity(&[0.0; 3], &[1.0, 2.0, 3.0]), None);
    }

    #[test]
    fn every_pixel_of_every_size_is_covered_twice_along_each_side() {
        for (side, half) in (1..=65).flat_map(|side| (1..=20).map(move |half| (side, half))) {
            let covers = covers(side, half);
            for pixel in 0..side {
                let count = covers.iter().filter(|cover| cover.contains(&pixel)).count();
                assert_eq!(count, 2, "pixel {pixel} of {side}, half {half}");
            }
            assert!(covers.iter().all(|cover| !cover.is_empty() && cover.len() <= 2 * half), "{side}, {half}");
            if (side.next_multiple_of(half) - side).is_multiple_of(2) {
                let mirrored: Vec<_> = covers.iter().rev().map(|cover| side - cover.end..side - cover.start).collect();
                assert_eq!(covers, mirrored, "{side}, {half}");
            }
        }
    }

    #[test]
    fn a_pixel_takes_the_value_whose_field_is_centred_nearest() {
        // At 128 px the fields of block 5 are centred at 31, 63 and 95.
        let block = Strided::dogs_vs_cats(128, 2).build().unwrap().last_block().clone();
        let map = Map { values: vec![0.0, 1.0, 2.0], height: 1, width: 3, signed: true };
        let row = map.enlarged(&block, [1, 128]).values;
        assert_eq!([row[0], row[46], row[47], row[78], row[79], row[127]], [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
        // With filters of 5 and two rows of padding the fields of block 1 are centred at 0, 2, 4 and so on.
        let strided = Strided { kernel: 5, padding: 2, input: [3, 8, 6], ..Strided::dogs_vs_cats(8, 2) };
        let block = strided.build().unwrap().blocks()[0].clone();
        let values = (0..12).map(|i| i as f32).collect();
        let map = Map { values, height: 4, width: 3, signed: false }.enlarged(&block, [8, 6]);
        assert_eq!((map.height, map.width), (8, 6));
        assert_eq!(map.values[..6], [0.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        assert_eq!(map.values[6..12], [3.0, 4.0, 4.0, 5.0, 5.0, 5.0]);
        assert_eq!(map.values[42..], [9.0, 10.0, 10.0, 11.0, 11.0, 11.0]);
    }
}
