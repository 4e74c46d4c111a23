//! Whether a saliency map can be believed.
//!
//! Two questions are put to every map. Does it differ from what the same method makes of an untrained network? If not (Adebayo et
//! al., 2018), it shows the image rather than the decision. Does it find the pixels that matter? If blurring those that it names
//! first weakens the decision faster than blurring by a simple baseline does (deletion), and restoring them first brings it back
//! faster (insertion; both Petsiuk et al., 2018), it does.
//!
//! The decision is followed as a difference of two logits. Probabilities would not do: where one is 0.99 without the pixels in
//! question, no map can gain anything. All scores are in logits, and all differences of scores are judged by the
//! [span](Baselines::span), what blurring the whole image takes from the decision.
//!
//! Scores have no error: the same map of the same image always has the same one. So a map is better than edges or the centre
//! where its score is, by more than the resolution of the score. Only chance has a spread: the scores of random orders. A
//! map is better than chance where it beats every one of them. Single pixels in a random order leave speckles everywhere, and
//! have much the same score each time; squares in a random order come in pieces, as most maps do. A map must beat both.

use image::RgbImage;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::verdict::{Dependence, Ranking};
use super::{Lens, Question};
use crate::data::pixels::{self, CHANNELS};
use crate::gpu::GpuError;

/// Images on the way from all pixels to none, both ends included. They lie closer together at the start, where a small mark decides.
const STEPS: usize = 24;
/// Random orders of each kind. A map of nothing beats all of them in a test with a probability of 1 in 25.
pub const RANDOM_ORDERS: u64 = 24;
/// The least difference of two scores that counts, as a share of the span: about half of the path's steps where a tenth of
/// the pixels are gone, which the trapezium rule cannot resolve.
const MIN_DIFFERENCE: f64 = 0.02;
/// The least span from which anything follows, in logits: the odds of the two classes change by half.
const MIN_SPAN: f64 = 0.4;
/// The least span as a share of the decision: of what blurring leaves, the tests say nothing.
const MIN_SHARE: f64 = 0.5;

/// An image without its details, as a lens takes it: what takes the place of pixels that are removed.
pub fn blurred(image: &RgbImage) -> Vec<f32> {
    pixels::tensor(image::imageops::fast_blur(image, image.width().min(image.height()) as f32 / 12.0).as_raw())
}

/// The mean logit difference while pixels go in an order, in logits.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Score {
    /// While the pixels are blurred, those first that the map calls important: lower is better.
    pub deletion: f64,
    /// While a blurred image's pixels are restored, those first: higher is better.
    pub insertion: f64,
}

/// Puts maps of one image to the test.
pub struct Trial<'a> {
    lens: &'a Lens<'a>,
    image: &'a [f32],
    blurred: &'a [f32],
    question: Question,
    /// Logit differences of the image and of the blurred image.
    logit_differences: [f64; 2],
    /// Decides between pixels of equal value.
    lots: Vec<u32>,
}

/// How far a map can be believed: its trust card.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Trust {
    /// Values of the map; coarse ones have few.
    pub values: usize,
    /// Whether they are all the same.
    pub constant: bool,
    /// Whether those of the untrained network's map are.
    pub control_constant: bool,
    /// Rank correlation of the magnitudes with those of the same method's map for an untrained network; none where one of
    /// the maps has the same magnitude everywhere.
    pub similarity: Option<f64>,
    /// The map's score.
    pub score: Score,
}

/// What simple baselines score, to compare with.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Baselines {
    /// The image's logit difference.
    pub logit_difference: f64,
    /// That of the blurred image.
    pub blurred_logit_difference: f64,
    /// Edges and the centre.
    pub simple: Vec<Baseline>,
    /// Random orders, of single pixels and of squares.
    pub chance: Vec<Chance>,
}

/// A map that knows nothing of the network.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Baseline {
    /// What it is made of.
    pub name: &'static str,
    /// How it scores.
    pub score: Score,
}

/// What random orders score, in logits. Deletion and insertion have the same scores: restoring in one order passes the same
/// images as blurring in the opposite order, which is as random.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Chance {
    /// What comes in a random order.
    pub name: &'static str,
    /// How many orders were tried.
    pub orders: usize,
    /// Their mean score.
    pub mean: f64,
    /// The lowest: no deletion by chance was better.
    pub lowest: f64,
    /// The highest: no insertion by chance was better.
    pub highest: f64,
}

impl<'a> Trial<'a> {
    /// A trial of maps that explain the lens's network's answer to the question. `blurred` is the image
    /// without its details, which takes the place of what is removed.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn new(
        lens: &'a Lens<'a>,
        image: &'a [f32],
        blurred: &'a [f32],
        question: Question,
    ) -> Result<Self, GpuError> {
        let mut lots: Vec<u32> = (0..(image.len() / CHANNELS) as u32).collect();
        lots.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
        let ends = [image, blurred];
        let logits = lens.logits(ends.len(), |end, place| place.copy_from_slice(ends[end])).await?;
        let logit_differences = [0, 1].map(|end| question.logit_difference(&logits[end]));
        Ok(Self { lens, image, blurred, question, logit_differences, lots })
    }

    /// The scores of maps, one value a pixel, large where it matters.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn scores(&self, maps: &[&[f32]]) -> Result<Vec<Score>, GpuError> {
        let orders: Vec<Vec<usize>> = maps.iter().map(|map| self.order(map)).collect();
        let ways = orders.iter().flat_map(|order| [Way::Deletion, Way::Insertion].map(|way| (&order[..], way)));
        let means = self.mean_differences(&ways.collect::<Vec<_>>()).await?;
        let (pairs, _) = means.as_chunks::<2>();
        Ok(pairs.iter().map(|&[deletion, insertion]| Score { deletion, insertion }).collect())
    }

    /// The scores of baselines that know nothing of the network: edges, the centre, and chance.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn baselines(&self) -> Result<Baselines, GpuError> {
        let [_, height, width] = self.lens.network().input();
        let (edges, centre) = (sobel(self.image, height, width), centre(height, width));
        let scores = self.scores(&[&edges, &centre]).await?;
        let simple = ["Sobel edges", "centre Gaussian"].into_iter().zip(scores);
        let [logit_difference, blurred_logit_difference] = self.logit_differences;
        Ok(Baselines {
            logit_difference,
            blurred_logit_difference,
            simple: simple.map(|(name, score)| Baseline { name, score }).collect(),
            chance: vec![
                self.chance("random pixels", 1).await?,
                self.chance("random squares", (height.min(width) / 8).max(1)).await?,
            ],
        })
    }

    /// The scores of squares of `side` pixels in random orders.
    async fn chance(&self, name: &'static str, side: usize) -> Result<Chance, GpuError> {
        let [_, height, width] = self.lens.network().input();
        let orders: Vec<Vec<usize>> =
            (0..RANDOM_ORDERS).map(|seed| self.order(&random_squares(height, width, side, seed))).collect();
        let deletions: Vec<_> = orders.iter().map(|order| (&order[..], Way::Deletion)).collect();
        let scores = self.mean_differences(&deletions).await?;
        Ok(Chance {
            name,
            orders: scores.len(),
            mean: scores.iter().sum::<f64>() / scores.len() as f64,
            lowest: scores.iter().copied().fold(f64::INFINITY, f64::min),
            highest: scores.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    /// The pixels, those with the largest values first.
    fn order(&self, map: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..map.len()).collect();
        order.sort_by(|&a, &b| map[b].total_cmp(&map[a]).then(self.lots[a].cmp(&self.lots[b])));
        order
    }

    /// For each order the mean logit difference while pixels turn in it (trapezium rule over the share of the pixels). Those of the two
    /// ends are known.
    async fn mean_differences(&self, orders: &[(&[usize], Way)]) -> Result<Vec<f64>, GpuError> {
        const INNER: usize = STEPS - 2;
        let pixels = self.lots.len();
        let turned = |step: usize| (pixels as f64 * (step as f64 / (STEPS - 1) as f64).powi(2)).round() as usize;
        let make = |at: usize, place: &mut [f32]| {
            let (order, way) = orders[at / INNER];
            let [before, after] = way.of([self.image, self.blurred]);
            place.copy_from_slice(before);
            for &pixel in &order[..turned(at % INNER + 1)] {
                let pixel = pixel * CHANNELS..(pixel + 1) * CHANNELS;
                place[pixel.clone()].copy_from_slice(&after[pixel]);
            }
        };
        // All at once, so that batches are full.
        let logits = self.lens.logits(INNER * orders.len(), make).await?;
        let mean = |(&(_, way), inner): (&(&[usize], Way), &[Vec<f32>])| {
            let [before, after] = way.of(self.logit_differences);
            let inner = inner.iter().map(|logits| self.question.logit_difference(logits));
            let differences: Vec<f64> = std::iter::once(before).chain(inner).chain([after]).collect();
            let areas = (1..STEPS).map(|step| {
                let share = (turned(step) - turned(step - 1)) as f64 / pixels as f64;
                share * (differences[step] + differences[step - 1]) / 2.0
            });
            areas.sum()
        };
        Ok(orders.iter().zip(logits.chunks(INNER)).map(mean).collect())
    }
}

/// What becomes of the pixels, one after the other.
#[derive(Clone, Copy)]
enum Way {
    /// They are blurred.
    Deletion,
    /// They are restored.
    Insertion,
}

impl Way {
    /// What there is before and after, of the image's and the blurred one's.
    fn of<T>(self, [image, blurred]: [T; 2]) -> [T; 2] {
        match self {
            Self::Deletion => [image, blurred],
            Self::Insertion => [blurred, image],
        }
    }
}

/// A map that gives every square of `side` pixels a random value.
fn random_squares(height: usize, width: usize, side: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let columns = width.div_ceil(side);
    let values: Vec<f32> = (0..height.div_ceil(side) * columns).map(|_| (random.next_u32() >> 8) as f32).collect();
    (0..height * width).map(|i| values[i / width / side * columns + i % width / side]).collect()
}

impl Chance {
    /// What is to be beaten: the best of all deletions and the best of all insertions.
    fn best(&self) -> Score {
        Score { deletion: self.lowest, insertion: self.highest }
    }
}

impl Baselines {
    /// What a map is compared with, by name: the simple baselines, and the best of the random orders.
    pub fn rows(&self) -> Vec<(String, Score)> {
        let simple = self.simple.iter().map(|baseline| (baseline.name.to_string(), baseline.score));
        let chance = self.chance.iter().map(|chance| (format!("{}, best", chance.name), chance.best()));
        simple.chain(chance).collect()
    }

    /// What blurring the whole image takes from the decision, in logits; negative where it adds to it.
    pub fn span(&self) -> f64 {
        self.logit_difference - self.blurred_logit_difference
    }

    /// What a map's score shows, if the map has more than one value.
    fn ranking(&self, score: Score) -> Ranking {
        let span = self.span();
        // Not where the difference is no number either.
        let enough = span >= MIN_SPAN && span >= MIN_SHARE * self.logit_difference;
        if !enough {
            return Ranking::TooLittleChange;
        }
        let least = MIN_DIFFERENCE * span;
        let deletion = self.simple.iter().all(|baseline| baseline.score.deletion - score.deletion > least)
            && self.chance.iter().all(|chance| score.deletion < chance.lowest);
        let insertion = self.simple.iter().all(|baseline| score.insertion - baseline.score.insertion > least)
            && self.chance.iter().all(|chance| score.insertion > chance.highest);
        match (deletion, insertion) {
            (true, true) => Ranking::Better,
            (true, false) => Ranking::BetterInDeletion,
            (false, true) => Ranking::BetterInInsertion,
            (false, false) => Ranking::NotShown,
        }
    }
}

impl Trust {
    /// Whether the map differs from the untrained network's.
    pub fn dependence(&self) -> Dependence {
        Dependence::new(self.values, self.constant, self.control_constant, self.similarity)
    }

    /// Whether the map finds the pixels that matter.
    pub fn ranking(&self, baselines: &Baselines) -> Ranking {
        if self.constant { Ranking::Constant } else { baselines.ranking(self.score) }
    }
}

/// Strength of the edges of an image's brightness by Sobel's filters; beyond the border it goes on as at the border.
fn sobel(image: &[f32], height: usize, width: usize) -> Vec<f32> {
    let grey: Vec<f32> = image.chunks(CHANNELS).map(|pixel| pixel[..3].iter().sum()).collect();
    let at = |y: usize, x: usize, dy: usize, dx: usize| {
        // dy and dx are 0, 1 or 2: one before, here, one after.
        let place = |at: usize, step: usize, size: usize| (at + step).saturating_sub(1).min(size - 1);
        grey[place(y, dy, height) * width + place(x, dx, width)]
    };
    let mut edges = Vec::with_capacity(grey.len());
    for y in 0..height {
        for x in 0..width {
            let along = |flip: bool| -> f32 {
                let at = |a, b| if flip { at(y, x, b, a) } else { at(y, x, a, b) };
                at(0, 2) + 2.0 * at(1, 2) + at(2, 2) - at(0, 0) - 2.0 * at(1, 0) - at(2, 0)
            };
            edges.push(along(false).hypot(along(true)));
        }
    }
    edges
}

/// A Gaussian in the middle, its standard deviation a quarter of the side.
fn centre(height: usize, width: usize) -> Vec<f32> {
    let off = |at: usize, size: usize| (at as f32 - (size as f32 - 1.0) / 2.0) / (size as f32 / 4.0);
    (0..height)
        .flat_map(|y| (0..width).map(move |x| (-0.5 * (off(y, height).powi(2) + off(x, width).powi(2))).exp()))
        .collect()
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn sobel_finds_an_edge_and_nothing_else() {
        // Columns 0 and 1 black, 2 and 3 white.
        let image: Vec<f32> = (0..16).flat_map(|i| if i % 4 < 2 { [0.0; 4] } else { [1.0, 1.0, 1.0, 0.0] }).collect();
        assert_eq!(sobel(&image, 4, 4)[..4], [0.0, 12.0, 12.0, 0.0]);
        let turned: Vec<f32> = (0..16).flat_map(|i| if i < 8 { [0.0; 4] } else { [1.0, 1.0, 1.0, 0.0] }).collect();
        let edges = sobel(&turned, 4, 4);
        assert_eq!([edges[1], edges[5], edges[9], edges[13]], [0.0, 12.0, 12.0, 0.0]);
    }

    /// Baselines of an image with a logit difference of 8 and of 0 when blurred; edges leave a mean of 2 in deletion and 6 in
    /// insertion, chance 3 to 5.
    fn baselines() -> Baselines {
        Baselines {
            logit_difference: 8.0,
            blurred_logit_difference: 0.0,
            simple: vec![Baseline { name: "Sobel edges", score: Score { deletion: 2.0, insertion: 6.0 } }],
            chance: vec![Chance { name: "random squares", orders: 24, mean: 4.0, lowest: 3.0, highest: 5.0 }],
        }
    }

    fn trust(values: usize, similarity: Option<f64>, deletion: f64, insertion: f64) -> Trust {
        Trust { values, constant: false, control_constant: false, similarity, score: Score { deletion, insertion } }
    }

    #[test]
    fn a_map_must_beat_baselines_by_the_resolution_and_every_random_order() {
        let ranking =
            |deletion, insertion, baselines: &Baselines| trust(1000, Some(0.1), deletion, insertion).ranking(baselines);
        let all = baselines();
        assert_eq!(ranking(0.5, 7.5, &all), Ranking::Better);
        assert_eq!(ranking(0.5, 5.5, &all), Ranking::BetterInDeletion);
        assert_eq!(ranking(2.5, 7.5, &all), Ranking::BetterInInsertion);
        assert_eq!(ranking(2.5, 5.5, &all), Ranking::NotShown);
        // Better than edges, but by less than a fiftieth of the span.
        assert_eq!(ranking(1.85, 6.15, &all), Ranking::NotShown);
        assert_eq!(ranking(1.83, 6.17, &all), Ranking::Better);
        // Better than the mean of random orders, but not than the best of them.
        let alone = Baselines { simple: Vec::new(), ..all };
        assert_eq!(ranking(3.1, 4.9, &alone), Ranking::NotShown);
        assert_eq!(ranking(2.9, 5.1, &alone), Ranking::Better);
        let constant = Trust { constant: true, ..trust(1, Some(0.0), 0.5, 7.5) };
        assert_eq!(constant.ranking(&alone), Ranking::Constant);
    }

    #[test]
    fn nothing_follows_where_blurring_leaves_the_decision() {
        let with = |logit_difference, blurred_logit_difference| {
            let baselines = Baselines { logit_difference, blurred_logit_difference, ..baselines() };
            trust(1000, Some(0.1), -9.0, 9.0).ranking(&baselines)
        };
        assert_eq!(with(8.0, 3.9), Ranking::Better);
        assert_eq!(with(8.0, 4.1), Ranking::TooLittleChange, "half of the decision is left");
        assert_eq!(with(8.0, 9.0), Ranking::TooLittleChange, "blurring makes the network surer");
        assert_eq!(with(0.2, -0.1), Ranking::TooLittleChange, "0.3 logits in all");
        assert_eq!(with(0.2, -0.3), Ranking::Better);
        assert_eq!(with(f64::NAN, 0.0), Ranking::TooLittleChange);
    }

    #[test]
    fn few_values_show_no_dependence() {
        let of = |values, similarity| trust(values, similarity, 0.0, 0.0).dependence();
        assert_eq!(of(1000, Some(0.9)), Dependence::SameAsUntrained);
        assert_eq!(of(1000, Some(0.1)), Dependence::Differs);
        assert_eq!(of(1000, None), Dependence::Constant);
        // Nine values reach 0.6 by chance now and then, four anything.
        assert_eq!(of(9, Some(0.6)), Dependence::TooFewValues);
        assert_eq!(of(9, Some(0.8)), Dependence::SameAsUntrained);
        assert_eq!(of(4, Some(0.0)), Dependence::TooFewValues);
        assert_eq!(of(9, Some(0.1)), Dependence::Differs);
        let empty = Trust { control_constant: true, ..trust(1000, None, 0.0, 0.0) };
        assert_eq!(empty.dependence(), Dependence::ControlEmpty);
    }

    #[test]
    fn random_squares_are_squares() {
        let map = random_squares(5, 7, 3, 0);
        let at = |y: usize, x: usize| map[y * 7 + x];
        for (y, x) in (0..5).flat_map(|y| (0..7).map(move |x| (y, x))) {
            assert_eq!(at(y, x), at(y / 3 * 3, x / 3 * 3));
        }
        assert_ne!(at(0, 0), at(0, 3));
        assert_ne!(at(0, 0), at(3, 0));
        assert_ne!(random_squares(5, 7, 3, 1), map);
    }
}
