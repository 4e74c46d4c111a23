//! Batches in the GPU's layout.

use rand::seq::SliceRandom;

use super::augment::EpochChanges;
use super::{Images, Rejected, pixels, random};
use crate::digest::Digest;
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

/// What the order of the images, their changes and dropout masks are drawn by: the seed, and what the file of weights holds that training
/// goes on from. By the seed alone they would be those again that the weights have learned with, where both runs have the same seed, as they
/// must for the same validation photos.
pub fn drawing_seed(seed: u64, init: Option<Digest>) -> u64 {
    let bytes = init.and_then(|digest| digest.as_ref().first_chunk().copied());
    seed ^ bytes.map_or(0, u64::from_le_bytes)
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
        augmentation: Option<EpochChanges>,
        normalize: Normalize,
        mut images: Vec<f32>,
    ) -> Self {
        let table = pixels::table(normalize);
        let size = source.size() as usize;
        let image = size * size * pixels::CHANNELS;
        images.resize(room * image, 0.0);
        let mut batch = Self { images, labels: vec![0; room], indices: Vec::with_capacity(room), rejected: Vec::new() };
        for &index in indices {
            let pixels = match &augmentation {
                Some(changes) if changes.augment.crop_scale.is_some() => source.to_cut(index),
                _ => source.pixels(index),
            };
            match pixels {
                Ok(mut pixels) => {
                    let place = batch.indices.len();
                    let flip = augmentation.is_some_and(|changes| changes.flip(index));
                    if let Some(changes) = &augmentation {
                        pixels = changes.image(index, pixels, source.size());
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_depends_on_the_weights_that_training_goes_on_from() {
        let [one, other] = ["one", "other"].map(|content| drawing_seed(3, Some(Digest::of(content))));
        assert_eq!(drawing_seed(3, None), 3);
        assert!(one != 3 && other != 3 && one != other);
        assert_ne!(one, drawing_seed(4, Some(Digest::of("one"))));
    }
}
