//! From a folder of photos to batches for the GPU.
//!
//! The way of an image: [`folder::scan`] finds the files and their classes; [`prepare::load`] turns one file into a small
//! square of RGB bytes; [`photos::Photos`] does so for all files and keeps the results; [`split`] decides which of them are
//! learned from and which are judged by; [`loader::shuffled`] orders them anew for each epoch; [`loader::with_batches`] flips
//! and normalises them into [`loader::Batch`]es ahead of need. Without photos, [`drawn::DrawnPets`] takes the place of
//! [`photos::Photos`].
//!
//! Everything random here is keyed by a seed and by what it decides (the split of a class, the
//! order of an epoch, the flip of one image), never by which thread comes first, so equal
//! arguments give equal bytes on any machine.

mod cache;
pub mod drawn;
pub mod folder;
mod jpeg;
mod layout;
pub mod loader;
pub mod names;
pub mod pets;
pub mod photos;
pub mod prepare;
pub mod split;
mod subset;
mod tree;

use std::borrow::Cow;
use std::path::Path;
use std::thread;

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::disk;

pub use subset::Subset;

/// A set of labelled square RGB images, all of one size.
pub trait Images: Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Side of every image, in pixels.
    fn size(&self) -> u32;

    /// Class of an image, an index into the sorted class names.
    fn label(&self, index: usize) -> u32;

    /// What to call an image: its file's path below the data folder as [`names::path_text`] writes it, or for a drawn one
    /// `cat 17 (drawn, seed 0)`.
    fn name(&self, index: usize) -> String;

    /// Pixels of an image: `size * size * 3` bytes, RGB, row-major. Borrowed when the image is
    /// kept in memory.
    ///
    /// # Errors
    /// The reason, when the image has to be read again and its file has gone or is no longer
    /// usable.
    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String>;
}

/// A file that is not used, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rejected {
    /// Path below the data folder, as [`names::path_text`] writes it.
    pub file: String,
    /// The reason, worded to follow the file's name: "is empty (0 bytes)".
    pub reason: String,
}

/// Writes the rejected files as a CSV table with the columns `file` and `reason`.
///
/// # Errors
/// If the table cannot be written.
pub fn write_rejected(path: &Path, rejected: &[Rejected]) -> Result<()> {
    let legible =
        |Rejected { file, reason }: &Rejected| Rejected { file: file.clone(), reason: names::legible(reason) };
    disk::write(path, &disk::rows(&rejected.iter().map(legible).collect::<Vec<_>>())?)
}

/// `count` of the indices `0..len`, evenly spread; all where there are fewer.
pub fn spread(len: usize, count: usize) -> Vec<usize> {
    let count = count.min(len);
    (0..count).map(|i| i * len / count).collect()
}

/// `work` done for each of `0..count` on all threads, in order; the first error where there is one.
pub(crate) fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let indices: Vec<usize> = (0..count).collect();
    let part = |part: &[usize]| part.iter().map(|&index| work(index)).collect::<Result<Vec<_>>>();
    thread::scope(|scope| {
        let parts = indices.chunks(count.div_ceil(threads()).max(1));
        let workers: Vec<_> = parts.map(|indices| scope.spawn(move || part(indices))).collect();
        let mut all = Vec::with_capacity(count);
        for worker in workers {
            all.extend(worker.join().expect("a worker has panicked, see its message above")?);
        }
        Ok(all)
    })
}

/// How many threads this machine runs at once, at least 1.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A random stream of its own for each purpose, seed and number (an epoch or a class, say).
fn random(purpose: &str, seed: u64, number: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&number.to_le_bytes());
    key[16..16 + purpose.len()].copy_from_slice(purpose.as_bytes());
    ChaCha8Rng::from_seed(key)
}
