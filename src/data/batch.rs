//! Batches in the GPU's layout.

use rand::Rng;
use rand::seq::SliceRandom;

use super::{Images, Rejected, pixels, random};
use crate::nn::Normalize;

/// Images ready for upload. The buffers always have full length, so the GPU's shapes never
/// change.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// (N, size, size, 4), the network's numbers; zero beyond the live images.
    pub images: Vec<f32>,
    /// (N), zero beyond the live images.
    pub labels: Vec<u32>,
    /// Which images these are, in the order of `images`; its length is the number of live
    /// images, from 0 to N.
    pub indices: Vec<usize>,
    /// Images that should have been here but whose files could no longer be read.
    pub rejected: Vec<Rejected>,
}

/// Says which images are flipped left to right: each with probability 1/2, anew every epoch.
#[derive(Clone, Copy, Debug)]
pub struct Flips {
    /// The run's seed.
    pub seed: u64,
    /// The epoch's number.
    pub epoch: u64,
}

impl Flips {
    /// Whether to flip the image at `index`; depends on nothing but the seed, the epoch and the
    /// index.
    pub fn flip(self, index: usize) -> bool {
        let mut rng = random("flip", self.seed, self.epoch);
        rng.set_stream(index as u64);
        rng.next_u32() & 1 == 1
    }
}

/// The order in which an epoch visits the images `0..len`.
pub fn shuffled(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut random("order", seed, epoch));
    order
}

/// The same without a last batch of fewer than `least` images: batch norm cannot learn from it, so it sits this epoch out; the next one
/// has another order.
pub fn shuffled_for_batches(len: usize, seed: u64, epoch: u64, batch: usize, least: usize) -> Vec<usize> {
    let mut order = shuffled(len, seed, epoch);
    let rest = order.len() % batch;
    if rest < least {
        order.truncate(order.len() - rest);
    }
    order
}

impl Batch {
    /// Makes one batch with room for `room` images out of those at `indices`, in memory of any content and length.
    pub fn new(
        source: &dyn Images,
        indices: &[usize],
        room: usize,
        flips: Option<Flips>,
        normalize: Normalize,
        mut images: Vec<f32>,
    ) -> Self {
        let table = pixels::table(normalize);
        let size = source.size() as usize;
        let image = size * size * pixels::CHANNELS;
        images.resize(room * image, 0.0);
        let mut batch = Self { images, labels: vec![0; room], indices: Vec::with_capacity(room), rejected: Vec::new() };
        for &index in indices {
            match source.pixels(index) {
                Ok(pixels) => {
                    let place = batch.indices.len();
                    let flip = flips.is_some_and(|flips| flips.flip(index));
                    pixels::to_numbers(&pixels, flip, &table, &mut batch.images[place * image..][..image]);
                    batch.labels[place] = source.label(index);
                    batch.indices.push(index);
                }
                Err(reason) => batch.rejected.push(Rejected { file: source.name(index), reason }),
            }
        }
        batch.images[batch.indices.len() * image..].fill(0.0);
        batch
    }
}
