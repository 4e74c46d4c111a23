//! Batches made ahead of need, by threads.

use std::sync::mpsc;
use std::thread;

use super::Images;
use super::augment::EpochChanges;
use super::batch::Batch;
use crate::nn::Normalize;

/// Threads that load batches, each of which may hold two: more would only fill the memory.
pub const MAX_LOADERS: usize = 8;

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
    augmentation: Option<EpochChanges>,
    normalize: Normalize,
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
                    if sender.send(Batch::new(images, indices, batch, augmentation, normalize, room)).is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::AugmentOptions;
    use crate::data::batch::shuffled;
    use crate::data::drawn::{Drawn, Subject};

    #[test]
    fn changed_images_are_the_same_for_any_number_of_workers() {
        let images = Drawn::new(Subject::Pets, 0, 0, 20, 16, 1 << 20);
        let augment = AugmentOptions {
            flip: true,
            crop_scale: Some([0.3, 1.0]),
            rotate: 15.0,
            color_jitter: Some([0.3, 0.3, 0.3]),
        };
        let made = |augmentation, epoch, batch, workers| {
            let order = shuffled(images.len(), 7, epoch);
            with_batches(&images, &order, batch, augmentation, Normalize::IMAGENET, workers, |batches| {
                let image = |batch: Batch| {
                    let each = batch.images.len() / batch.labels.len();
                    let images: Vec<_> = batch.images.chunks(each).map(<[f32]>::to_vec).collect();
                    batch.indices.into_iter().zip(images).collect::<Vec<_>>()
                };
                let mut all: Vec<_> = batches.flat_map(image).collect();
                all.sort_by_key(|(index, _)| *index);
                all
            })
        };
        let changes = |epoch| Some(EpochChanges { augment, seed: 7, epoch });
        let expected = made(changes(1), 1, 4, 1);
        for (batch, workers) in [(4, 2), (3, 5), (20, 1), (1, 8)] {
            assert!(made(changes(1), 1, batch, workers) == expected, "batches of {batch}, {workers} workers");
        }
        let other = made(changes(2), 2, 4, 2);
        let plain = made(None, 1, 4, 2);
        assert!(plain == made(None, 2, 5, 1), "without changes no epoch differs");
        for ((changed, later), plain) in expected.iter().zip(&other).zip(&plain) {
            assert!(changed != later && changed != plain, "image {}", changed.0);
        }
    }
}
