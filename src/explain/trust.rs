//! Whether a saliency map can be believed.
//!
//! Two questions are put to every map. Does it depend on what was learned? If an untrained network gives much the same map
//! (Adebayo et al., 2018), it shows the picture rather than the decision. Does it find the pixels that matter? If blurring
//! those that it names first lowers the probability of the class faster than blurring by a simple guess does
//! (deletion), and restoring them first raises it faster (insertion; both Petsiuk et al., 2018), it does.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Lens, Question};
use crate::data::prepare::CHANNELS;
use crate::gpu::GpuError;

/// Pictures on the way from all pixels to none.
const STEPS: usize = 32;
/// Random orders that are averaged.
const RANDOM_ORDERS: u64 = 4;
/// From this similarity on, two maps are much the same.
const MUCH_THE_SAME: f64 = 0.5;

/// The least difference of two scores that counts.
const LEAST_MARGIN: f64 = 0.01;

const NO_BETTER: &str = "it finds the pixels that matter no better than edges, the centre or chance do.";

/// Mean probability of the class against the other one, 0 to 1, while pixels go in an order: 1 / (1 + exp(-logit gap)), which
/// for two classes is the network's.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Score {
    /// While the pixels are blurred, those first that the map calls important: lower is better.
    pub deletion: f64,
    /// While a blurred picture's pixels are restored, those first: higher is better.
    pub insertion: f64,
}

/// Puts maps of one picture to the test.
pub struct Trial<'a> {
    lens: &'a Lens<'a>,
    picture: &'a [f32],
    blurred: &'a [f32],
    question: Question,
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

/// What simple guesses score, to compare with.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Baselines {
    /// Edges, the centre, and chance.
    pub guesses: Vec<Guess>,
    /// By how much a score must be better to count: twice the standard deviation of random orders, at least 0.01.
    pub margin: f64,
}

/// A map that knows nothing of the network.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Guess {
    /// What is guessed.
    pub name: &'static str,
    /// How it scores.
    pub score: Score,
}

impl<'a> Trial<'a> {
    /// A trial of maps that explain the lens's network's answer to the question. `blurred` is the picture
    /// without its details, which takes the place of what is removed.
    pub fn new(lens: &'a Lens<'a>, picture: &'a [f32], blurred: &'a [f32], question: Question) -> Self {
        let mut lots: Vec<u32> = (0..(picture.len() / CHANNELS) as u32).collect();
        lots.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
        Self { lens, picture, blurred, question, lots }
    }

    /// The score of a map, one value a pixel, large where it matters.
    ///
    /// # Errors
    /// When the device failed.
    pub fn score(&self, map: &[f32]) -> Result<Score, GpuError> {
        let mut order: Vec<usize> = (0..map.len()).collect();
        order.sort_by(|&a, &b| map[b].total_cmp(&map[a]).then(self.lots[a].cmp(&self.lots[b])));
        Ok(Score {
            deletion: self.mean_probability(&order, self.picture, self.blurred)?,
            insertion: self.mean_probability(&order, self.blurred, self.picture)?,
        })
    }

    /// The scores of three guesses that know nothing of the network: edges, the centre, and chance.
    ///
    /// # Errors
    /// When the device failed.
    pub fn baselines(&self) -> Result<Baselines, GpuError> {
        let [_, height, width] = self.lens.spec().input;
        let random = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let map: Vec<f32> = (0..height * width).map(|_| (random.next_u32() >> 8) as f32).collect();
            self.score(&map)
        };
        let scores = (0..RANDOM_ORDERS).map(random).collect::<Result<Vec<_>, _>>()?;
        let [deletion, insertion] = [|score: &Score| score.deletion, |score: &Score| score.insertion]
            .map(|part| mean_and_deviation(scores.iter().map(part)));
        let guess = |name, map: Vec<f32>| Ok(Guess { name, score: self.score(&map)? });
        Ok(Baselines {
            guesses: vec![
                guess("Sobel edges", sobel(self.picture, height, width))?,
                guess("centre Gaussian", centre(height, width))?,
                Guess { name: "random", score: Score { deletion: deletion.0, insertion: insertion.0 } },
            ],
            margin: LEAST_MARGIN.max(2.0 * deletion.1.max(insertion.1)),
        })
    }

    /// The mean probability while pixels turn from `before` to `after` in this order (trapezium rule).
    fn mean_probability(&self, order: &[usize], before: &[f32], after: &[f32]) -> Result<f64, GpuError> {
        let make = |step: usize, place: &mut [f32]| {
            place.copy_from_slice(before);
            for &pixel in &order[..order.len() * step / (STEPS - 1)] {
                let pixel = pixel * CHANNELS..(pixel + 1) * CHANNELS;
                place[pixel.clone()].copy_from_slice(&after[pixel]);
            }
        };
        let logits = self.lens.logits(STEPS, make)?;
        let probability = |logits: &Vec<f32>| 1.0 / (1.0 + (-self.question.gap(logits)).exp());
        let probabilities: Vec<f64> = logits.iter().map(probability).collect();
        let ends = (probabilities[0] + probabilities[STEPS - 1]) / 2.0;
        Ok((probabilities.iter().sum::<f64>() - ends) / (STEPS - 1) as f64)
    }
}

fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, (values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt())
}

impl Baselines {
    /// Whether a map and all guesses score the same, but for the margin.
    fn indifferent(&self, score: Score) -> bool {
        let alike = |part: fn(Score) -> f64| {
            let all = || self.guesses.iter().map(|guess| guess.score).chain([score]).map(part);
            all().fold(f64::MIN, f64::max) - all().fold(f64::MAX, f64::min) < self.margin
        };
        alike(|score| score.deletion) && alike(|score| score.insertion)
    }
}

impl Trust {
    /// What to make of the map, in one sentence.
    pub fn verdict(&self, baselines: &Baselines) -> String {
        let chance = self.chance();
        match self.similarity {
            None if self.control_constant && !self.constant => {
                format!("The untrained network's map is empty, so there is nothing to compare with; {}", self.found(baselines))
            }
            None => "There is no telling: the map is the same everywhere.".into(),
            Some(similarity) if similarity >= MUCH_THE_SAME.max(chance) => {
                "Do not rely on it: an untrained network gives much the same map, so it shows the photo rather than what was \
                 learned."
                    .into()
            }
            Some(similarity) if similarity >= MUCH_THE_SAME || chance >= 1.0 => {
                format!("{} values are too few to tell whether it depends on what was learned; {}", self.values, self.found(baselines))
            }
            Some(_) => {
                let found = self.found(baselines);
                let and = if found == NO_BETTER { "but" } else { "and" };
                format!("It depends on what was learned, {and} {found}")
            }
        }
    }

    /// Whether the map scores better than every guess, by more than the margin, in deletion and in insertion.
    pub fn beats(&self, baselines: &Baselines) -> (bool, bool) {
        let best = |better: fn(Score, Score) -> f64| {
            baselines.guesses.iter().all(|guess| better(self.score, guess.score) > baselines.margin)
        };
        (best(|map, guess| guess.deletion - map.deletion), best(|map, guess| map.insertion - guess.insertion))
    }

    /// Whether the map is known to differ from the untrained network's.
    pub fn depends(&self) -> bool {
        self.similarity.is_some_and(|similarity| similarity < MUCH_THE_SAME) && self.chance() < 1.0
    }

    /// Twice the standard deviation that chance gives the rank correlation of so few values.
    fn chance(&self) -> f64 {
        2.0 / (self.values.saturating_sub(1).max(1) as f64).sqrt()
    }

    /// Whether the map finds the pixels that matter: the end of a sentence.
    pub fn found(&self, baselines: &Baselines) -> &'static str {
        if self.constant {
            return "it has one value for the whole picture, so there is nothing to rank.";
        }
        if baselines.indifferent(self.score) {
            return "blurring any part of this picture changes the decision too little to tell what matters.";
        }
        match self.beats(baselines) {
            (true, true) => {
                "it finds the pixels that matter better than edges, the centre or chance do, in both tests."
            }
            (true, false) => {
                "blurring what it names hurts more than blurring edges, the centre or chance pixels does; restoring it does not \
                 help more: half a proof."
            }
            (false, true) => {
                "restoring what it names helps more than restoring edges, the centre or chance pixels does; blurring it does \
                 not hurt more: half a proof."
            }
            (false, false) => "it finds the pixels that matter no better than edges, the centre or chance do.",
        }
    }
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

/// Strength of the edges of a picture's brightness by Sobel's filters; beyond the border it goes on as at the border.
fn sobel(picture: &[f32], height: usize, width: usize) -> Vec<f32> {
    let grey: Vec<f32> = picture.chunks(CHANNELS).map(|pixel| pixel[..3].iter().sum()).collect();
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
    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn similarity_is_the_rank_correlation_of_magnitudes() {
        assert_abs_diff_eq!(similarity(&[1.0, -2.0, 3.0], &[-10.0, 100.0, 1000.0]).unwrap(), 1.0);
        assert_abs_diff_eq!(similarity(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]).unwrap(), -1.0);
        // scipy.stats.spearmanr([1, 2, 2, 4], [3, 1, 2, 4]): 0.3162277660168379
        assert_abs_diff_eq!(similarity(&[1.0, 2.0, 2.0, 4.0], &[3.0, 1.0, 2.0, 4.0]).unwrap(), 0.316_227_766_016_837_9);
        assert_eq!(similarity(&[0.0; 3], &[1.0, 2.0, 3.0]), None);
    }

    #[test]
    fn sobel_finds_an_edge_and_nothing_else() {
        // Columns 0 and 1 black, 2 and 3 white.
        let picture: Vec<f32> = (0..16).flat_map(|i| if i % 4 < 2 { [0.0; 4] } else { [1.0, 1.0, 1.0, 0.0] }).collect();
        assert_eq!(sobel(&picture, 4, 4)[..4], [0.0, 12.0, 12.0, 0.0]);
        let turned: Vec<f32> = (0..16).flat_map(|i| if i < 8 { [0.0; 4] } else { [1.0, 1.0, 1.0, 0.0] }).collect();
        let edges = sobel(&turned, 4, 4);
        assert_eq!([edges[1], edges[5], edges[9], edges[13]], [0.0, 12.0, 12.0, 0.0]);
    }

    #[test]
    fn the_verdict_follows_the_figures() {
        let score = |deletion, insertion| Score { deletion, insertion };
        let guesses = vec![Guess { name: "random", score: score(0.5, 0.5) }];
        let baselines = Baselines { guesses, margin: 0.04 };
        let trust =
            |values, similarity, score| Trust { values, constant: false, control_constant: false, similarity, score };
        let verdict = |similarity, score| trust(1000, similarity, score).verdict(&baselines);
        assert!(verdict(Some(0.9), score(0.1, 0.9)).contains("an untrained network gives much the same map"));
        assert!(verdict(None, score(0.1, 0.9)).contains("no telling"));
        assert!(verdict(Some(0.1), score(0.1, 0.9)).contains("both tests"));
        assert!(verdict(Some(0.1), score(0.1, 0.4)).contains("blurring what it names hurts more"));
        assert!(verdict(Some(0.1), score(0.6, 0.9)).contains("restoring what it names helps more"));
        assert!(verdict(Some(0.1), score(0.6, 0.4)).contains("no better than"));
        // Better, but by less than chance alone brings.
        assert!(verdict(Some(0.1), score(0.47, 0.3)).contains("no better than"));
        // Nine values reach 0.6 by chance now and then, four anything.
        let of = |values, similarity| trust(values, Some(similarity), score(0.1, 0.9)).verdict(&baselines);
        assert!(of(9, 0.6).contains("9 values are too few"));
        assert!(of(9, 0.8).contains("an untrained network gives much the same map"));
        assert!(of(4, 0.0).contains("4 values are too few"));
        assert!(of(9, 0.1).contains("It depends"));
        assert!(verdict(Some(0.1), score(0.51, 0.49)).contains("too little to tell"));
        let empty = Trust { control_constant: true, ..trust(1000, None, score(0.1, 0.9)) };
        assert!(empty.verdict(&baselines).contains("nothing to compare with; it finds"));
        let constant = Trust { constant: true, ..trust(1, Some(0.0), score(0.1, 0.9)) };
        assert!(constant.found(&baselines).contains("nothing to rank"));
    }
}
