//! How far maps outlast changes of the image, beside those of the network before training.

use pollster::block_on;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::LEVEL;
use super::features::Loaded;
use super::verdict::Steadiness;
use crate::data::pixels::CHANNELS;
use crate::explain::Lens;
use crate::gpu::GpuError;
use crate::stats::bootstrap;

/// Images that repeatability is measured on.
const REPEATED: usize = 256;
/// Standard deviation of the pixel noise of a repetition, as a share of the span from black to white: one that nobody sees,
/// and one that everybody does.
pub(super) const FAINT_NOISE: f32 = 2.0 / 255.0;
pub(super) const STRONG_NOISE: f32 = 32.0 / 255.0;
/// The most that a repetition's brightness changes by.
const BRIGHTNESS: f32 = 0.02;
/// Resamples of the images.
const RESAMPLES: usize = 1000;

/// Median over the channels of `1 - sum (A(x) - A(x'))^2 / sum (A(x) - A(y))^2`, where x' is the image x with noise and another
/// brightness, and y another image: 1 where maps do not change at all, 0 where the noise changes them as much as another image.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Repeatability {
    /// Of the trained network.
    pub trained: f64,
    /// Of the network before training, on the same images with the same noise.
    pub initial: f64,
    /// Lower end of the 95 % bootstrap interval, over the images, for the first less the second.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// What follows.
    pub verdict: Steadiness,
}

impl Repeatability {
    /// From the changes of the same images with the same noise. The seed draws the resamples.
    pub(super) fn new(trained: &Changes, initial: &Changes, seed: u64) -> Self {
        let images = trained.images.len();
        let difference = |times: &[f64]| trained.median(times) - initial.median(times);
        let (low, high) = bootstrap(images, RESAMPLES, LEVEL, seed, difference);
        let once = vec![1.0; images];
        let verdict = if low > 0.0 {
            Steadiness::More
        } else if high < 0.0 {
            Steadiness::Less
        } else {
            Steadiness::NotShown
        };
        Self { trained: trained.median(&once), initial: initial.median(&once), low, high, verdict }
    }
}

/// How much the maps of one block change.
pub(super) struct Changes {
    /// Of each image and channel, the sum of squares of the change by noise, and of that to another image.
    images: Vec<Vec<[f64; 2]>>,
}

impl Changes {
    /// The median repeatability of the channels, each image counted so many times; dead ones do not count.
    fn median(&self, times: &[f64]) -> f64 {
        let channels = self.images.first().map_or(0, Vec::len);
        let mut sums = vec![[0.0; 2]; channels];
        for (image, times) in self.images.iter().zip(times).filter(|(_, times)| **times > 0.0) {
            for (sum, change) in sums.iter_mut().zip(image) {
                sum[0] += times * change[0];
                sum[1] += times * change[1];
            }
        }
        let alive = sums.into_iter().filter(|[_, signal]| *signal > 0.0);
        let mut ratios: Vec<f64> = alive.map(|[noise, signal]| 1.0 - noise / signal).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Of each block, how much its maps change under this much noise.
pub(super) fn changes(lens: &Lens, images: &Loaded, pixel_noise: f32, seed: u64) -> Result<Vec<Changes>, GpuError> {
    let count = images.labels.len().min(REPEATED);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // The images come class by class in turn; the one before must be any other, not one of another class.
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut random);
    let mut found: Vec<Changes> = lens.blocks().iter().map(|_| Changes { images: Vec::new() }).collect();
    // Each image, then its repetition.
    let make = |index: usize, place: &mut [f32]| {
        images.fill(order[index / 2], place);
        if index % 2 == 1 {
            let brightness = 1.0 + random.random_range(-BRIGHTNESS..BRIGHTNESS);
            for value in place.chunks_mut(CHANNELS).flat_map(|pixel| &mut pixel[..3]) {
                let noise: f32 = StandardNormal.sample(&mut random);
                // From -1 .. 1 to 0 .. 1 and back.
                *value = 2.0 * ((*value + 1.0) / 2.0 * brightness + pixel_noise * noise) - 1.0;
            }
        }
    };
    // Of each block the maps of the image before and of the image itself, whose repetition comes next.
    let mut originals: Vec<[Vec<f32>; 2]> = vec![Default::default(); lens.blocks().len()];
    block_on(lens.forward(2 * count, make, async |range| {
        for (number, block) in lens.blocks().iter().enumerate() {
            let pixels = block.output[1] * block.output[2];
            let [other, original] = &mut originals[number];
            for (index, maps) in range.clone().zip(lens.outputs(number, range.len()).await?) {
                if index % 2 == 0 {
                    *other = std::mem::replace(original, maps);
                    continue;
                }
                if other.is_empty() {
                    continue;
                }
                let squares = |one: &[f32], two: &[f32]| -> f64 {
                    one.iter().zip(two).map(|(one, two)| f64::from(one - two).powi(2)).sum()
                };
                let channels = original.chunks(pixels).zip(maps.chunks(pixels)).zip(other.chunks(pixels));
                found[number]
                    .images
                    .push(channels.map(|((now, noisy), other)| [squares(now, noisy), squares(now, other)]).collect());
            }
        }
        Ok(())
    }))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes of 200 images in 9 channels: of each, noise that takes this share of the signal, but for chance.
    fn noisy(share: f64, seed: u64) -> Changes {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut change = || {
            let signal = random.random_range(0.5..1.5);
            [signal * (share + random.random_range(-0.2..0.2)), signal]
        };
        Changes { images: (0..200).map(|_| (0..9).map(|_| change()).collect()).collect() }
    }

    #[test]
    fn steadier_maps_are_told_from_less_steady_ones_and_from_equal_ones() {
        let verdict = |trained, initial| Repeatability::new(&noisy(trained, 1), &noisy(initial, 2), 0).verdict;
        assert_eq!(verdict(0.2, 0.4), Steadiness::More);
        assert_eq!(verdict(0.4, 0.2), Steadiness::Less);
        let equal = (0..100).filter(|&seed| {
            let found = Repeatability::new(&noisy(0.3, 2 * seed), &noisy(0.3, 2 * seed + 1), seed);
            found.verdict != Steadiness::NotShown
        });
        // 5 of 100 are nominal; 12 are more than three standard errors more.
        assert!(equal.count() < 12);
        let same = Repeatability::new(&noisy(0.3, 1), &noisy(0.3, 1), 0);
        assert_eq!((same.low, same.high, same.verdict), (0.0, 0.0, Steadiness::NotShown));
    }

    #[test]
    fn repeatability_is_the_median_of_the_living_channels() {
        let of = |noise: [f64; 4]| Changes { images: vec![noise.map(|noise| [noise, 2.0]).to_vec(); 3] };
        let once = [1.0; 3];
        assert_eq!(of([0.2, 1.0, 0.0, 2.0]).median(&once), 0.9);
        let dead = Changes { images: vec![vec![[0.0, 0.0], [1.0, 2.0]]] };
        assert_eq!(dead.median(&once[..1]), 0.5);
        let mostly_dead = Changes { images: vec![vec![[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]]] };
        assert_eq!(mostly_dead.median(&once[..1]), 0.5);
        assert_eq!(Changes { images: Vec::new() }.median(&[]), 0.0);
    }
}
