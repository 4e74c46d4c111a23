//! Batches in the GPU's layout, made ahead of need.

use std::sync::mpsc;
use std::thread;

use rand::Rng;
use rand::seq::SliceRandom;

use super::{Pictures, Rejected, prepare, random};

/// Pictures ready for upload. The buffers always have full length, so the GPU's shapes never
/// change.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// (N, size, size, 4), normalised by [`prepare::to_tensor`]; zero beyond the live pictures.
    pub images: Vec<f32>,
    /// (N), zero beyond the live pictures.
    pub labels: Vec<u32>,
    /// Which pictures these are, in the order of `images`; its length is the number of live
    /// pictures, from 0 to N.
    pub indices: Vec<usize>,
    /// Pictures that should have been here but whose files could no longer be read.
    pub rejected: Vec<Rejected>,
}

/// Says which pictures are flipped left to right: each with probability 1/2, anew every epoch.
#[derive(Clone, Copy, Debug)]
pub struct Flips {
    /// The run's seed.
    pub seed: u64,
    /// The epoch's number.
    pub epoch: u64,
}

impl Flips {
    /// Whether to flip the picture at `index`; depends on nothing but the seed, the epoch and the
    /// index.
    pub fn flip(self, index: usize) -> bool {
        let mut rng = random("flip", self.seed, self.epoch);
        rng.set_stream(index as u64);
        rng.next_u32() & 1 == 1
    }
}

/// The order in which an epoch visits the pictures `0..len`.
pub fn shuffled(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut random("order", seed, epoch));
    order
}

/// Runs `body` with the batches of `batch` pictures each that `order` makes up; the last may hold
/// fewer.
///
/// `workers` threads make the batches ahead of need: worker k makes batches k, k + workers, and so
/// on, and stays at most two ahead, so at most `2 * workers` batches wait in memory. The batches
/// are the same for any number of workers. `body` may stop early; the workers then stop too.
///
/// # Panics
/// If `batch` or `workers` is 0, if an index in `order` is out of range, or if a worker panics.
pub fn with_batches<R>(
    pictures: &dyn Pictures,
    order: &[usize],
    batch: usize,
    flips: Option<Flips>,
    workers: usize,
    body: impl FnOnce(&mut dyn Iterator<Item = Batch>) -> R,
) -> R {
    assert!(batch > 0, "a batch needs room for at least one picture");
    assert!(workers > 0, "the loader needs at least one worker");
    let count = order.len().div_ceil(batch);
    thread::scope(|scope| {
        let start = |worker| {
            let (sender, receiver) = mpsc::sync_channel(1);
            scope.spawn(move || {
                for indices in order.chunks(batch).skip(worker).step_by(workers) {
                    if sender.send(make(pictures, indices, batch, flips)).is_err() {
                        break;
                    }
                }
            });
            receiver
        };
        // The receivers belong to this closure. When it ends, however it ends, they are dropped
        // before the scope waits for the workers, and a worker that still wants to send gives up
        // instead of blocking.
        let receivers: Vec<_> = (0..workers.min(count)).map(start).collect();
        let mut batches = (0..count).map(|number| {
            let batch = receivers[number % workers].recv();
            batch.expect("a worker of the data loader has panicked, see its message above")
        });
        body(&mut batches)
    })
}

/// Makes one batch with room for `room` pictures out of those at `indices`.
fn make(pictures: &dyn Pictures, indices: &[usize], room: usize, flips: Option<Flips>) -> Batch {
    let size = pictures.size() as usize;
    let image = size * size * prepare::CHANNELS;
    let mut batch = Batch {
        images: vec![0.0; room * image],
        labels: vec![0; room],
        indices: Vec::with_capacity(room),
        rejected: Vec::new(),
    };
    for &index in indices {
        match pictures.pixels(index) {
            Ok(pixels) => {
                let place = batch.indices.len();
                let flip = flips.is_some_and(|flips| flips.flip(index));
                prepare::to_tensor(&pixels, flip, &mut batch.images[place * image..][..image]);
                batch.labels[place] = pictures.label(index);
                batch.indices.push(index);
            }
            Err(reason) => batch.rejected.push(Rejected { file: pictures.name(index), reason }),
        }
    }
    batch
}
