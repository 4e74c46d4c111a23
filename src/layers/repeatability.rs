//! How far maps outlast changes of the picture.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::features::Loaded;
use crate::data::prepare::CHANNELS;
use crate::explain::Lens;
use crate::gpu::GpuError;

/// Pictures that repeatability is measured on.
const REPEATED: usize = 256;
/// Standard deviation of the pixel noise of a repetition, as a share of the span from black to white: one that nobody sees,
/// and one that everybody does.
pub(super) const FAINT_NOISE: f32 = 2.0 / 255.0;
pub(super) const STRONG_NOISE: f32 = 32.0 / 255.0;
/// The most that a repetition's brightness changes by.
const BRIGHTNESS: f32 = 0.02;

/// Median over the channels of `1 - sum (A(x) - A(x'))^2 / sum (A(x) - A(y))^2`, where x' is the picture x with a little
/// noise and another brightness, and y another picture: near 1 signal, near 0 noise.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Repeatability {
    /// Of the trained network.
    pub trained: f64,
    /// Of the network before training.
    pub initial: f64,
}

/// Of each block, the median repeatability of its channels under this much noise; dead ones do not count.
pub(super) fn repeatability(lens: &Lens, pictures: &Loaded, pixel_noise: f32, seed: u64) -> Result<Vec<f64>, GpuError> {
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
