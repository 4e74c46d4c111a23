//! Batches in the GPU's layout, made ahead of need.

use std::sync::mpsc;
use std::thread;

use rand::Rng;
use rand::seq::SliceRandom;

use super::{Images, Rejected, prepare, random};

/// Threads that load batches, each of which may hold two: more would only fill the memory.
pub const MAX_LOADERS: usize = 8;

/// Images ready for upload. The buffers always have full length, so the GPU's shapes never
/// change.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// (N, size, size, 4), normalised by [`prepare::to_tensor`]; zero beyond the live images.
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

/// The batches of one pass, in order.
pub struct Batches {
    /// Of each worker: its batches, and the way back of memory that is no longer needed.
    workers: Vec<(mpsc::Receiver<Batch>, mpsc::Sender<Vec<f32>>)>,
    next: usize,
    count: usize,
}

impl Batches {
    /// Gives the memory of a batch back, for a later one: fresh memory of this size costs the system a good part of the
    /// time that it takes to fill.
    pub fn recycle(&mut self, batch: Batch) {
        let (_, memory) = &self.workers[self.next % self.workers.len()];
        // A worker that is done does not need it.
        let _ = memory.send(batch.images);
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.next == self.count {
            return None;
        }
        let (batches, _) = &self.workers[self.next % self.workers.len()];
        self.next += 1;
        Some(batches.recv().expect("a worker of the data loader has panicked, see its message above"))
    }
}

/// Runs `body` with the batches of `batch` images each that `order` makes up; the last may hold
/// fewer.
///
/// `workers` threads make the batches ahead of need: worker k makes batches k, k + workers, and so
/// on, and stays at most two ahead, so at most `2 * workers` batches wait in memory. The batches
/// are the same for any number of workers. `body` may stop early; the workers then stop too.
///
/// # Panics
/// If `batch` or `workers` is 0, if an index in `order` is out of range, or if a worker panics.
pub fn with_batches<R>(
    images: &dyn Images,
    order: &[usize],
    batch: usize,
    flips: Option<Flips>,
    workers: usize,
    body: impl FnOnce(&mut Batches) -> R,
) -> R {
    assert!(batch > 0, "a batch needs room for at least one image");
    assert!(workers > 0, "the loader needs at least one worker");
    let count = order.len().div_ceil(batch);
    let workers = workers.min(count);
    thread::scope(|scope| {
        let start = |worker| {
            let (sender, receiver) = mpsc::sync_channel(1);
            let (giver, memory) = mpsc::channel();
            scope.spawn(move || {
                for indices in order.chunks(batch).skip(worker).step_by(workers) {
                    let room = memory.try_recv().unwrap_or_default();
                    if sender.send(make(images, indices, batch, flips, room)).is_err() {
                        break;
                    }
                }
            });
            (receiver, giver)
        };
        // The receivers belong to this closure. When it ends, however it ends, they are dropped
        // before the scope waits for the workers, and a worker that still wants to send gives up
        // instead of blocking.
        let mut batches = Batches { workers: (0..workers).map(start).collect(), next: 0, count };
        body(&mut batches)
    })
}

/// Makes one batch with room for `room` images out of those at `indices`, in memory of any content and length.
fn make(source: &dyn Images, indices: &[usize], room: usize, flips: Option<Flips>, mut images: Vec<f32>) -> Batch {
    let size = source.size() as usize;
    let image = size * size * prepare::CHANNELS;
    images.resize(room * image, 0.0);
    let mut batch = Batch { images, labels: vec![0; room], indices: Vec::with_capacity(room), rejected: Vec::new() };
    for &index in indices {
        match source.pixels(index) {
            Ok(pixels) => {
                let place = batch.indices.len();
                let flip = flips.is_some_and(|flips| flips.flip(index));
                prepare::to_tensor(&pixels, flip, &mut batch.images[place * image..][..image]);
                batch.labels[place] = source.label(index);
                batch.indices.push(index);
            }
            Err(reason) => batch.rejected.push(Rejected { file: source.name(index), reason }),
        }
    }
    batch.images[batch.indices.len() * image..].fill(0.0);
    batch
}
