//! From a folder of photos to batches for the GPU.
//!
//! The way of an image: [`folder::scan`] finds the files and their classes; [`prepare::load`] turns one file into a small
//! square of RGB bytes; [`photos::Photos`] does so for all files and keeps the results; [`split`] decides which of them are
//! learned from and which are judged by; [`batch::shuffled`] orders them anew for each epoch; [`loader::with_batches`] changes
//! them at random ([`augment`]) and normalises them into [`batch::Batch`]es ahead of need. Without photos, [`drawn::Drawn`] takes the place of
//! [`photos::Photos`].
//!
//! Everything random here is keyed by a seed and by what it decides (the split of a class, the
//! order of an epoch, the changes of one image), never by which thread comes first, so equal
//! arguments give equal bytes on any machine.
//!
//! What needs no files and no threads is there for a browser too.

pub mod augment;
pub mod batch;
mod cache;
mod canvas;
pub mod digits;
pub mod drawn;
pub mod fit;
pub mod pets;
pub mod pixels;
mod subset;

#[cfg(feature = "native")]
pub mod folder;
#[cfg(feature = "native")]
mod jpeg;
#[cfg(feature = "native")]
mod layout;
#[cfg(feature = "native")]
pub mod loader;
#[cfg(feature = "native")]
pub mod names;
#[cfg(feature = "native")]
pub mod photos;
#[cfg(feature = "native")]
pub mod prepare;
#[cfg(feature = "native")]
mod rejected;
#[cfg(feature = "native")]
pub mod split;
#[cfg(feature = "native")]
mod threads;
#[cfg(feature = "native")]
mod tree;

use std::borrow::Cow;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

#[cfg(feature = "native")]
pub use rejected::write_rejected;
pub use subset::Subset;
#[cfg(feature = "native")]
pub(crate) use threads::in_parallel;
#[cfg(feature = "native")]
pub use threads::threads;

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

    /// A square of its own side, in the same form, from which parts of an image are cut at random.
    ///
    /// # Errors
    /// As [`Images::pixels`].
    fn to_cut(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        self.pixels(index)
    }
}

/// A file that is not used, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rejected {
    /// Path below the data folder, as [`names::path_text`] writes it.
    pub file: String,
    /// The reason, worded to follow the file's name: "is empty (0 bytes)".
    pub reason: String,
}

/// How many images each class has.
pub fn of_class(images: &dyn Images, classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for index in 0..images.len() {
        counts[images.label(index) as usize] += 1;
    }
    counts
}

/// `count` of the indices `0..len`, evenly spread; all where there are fewer.
pub fn spread(len: usize, count: usize) -> Vec<usize> {
    let count = count.min(len);
    (0..count).map(|i| i * len / count).collect()
}

/// A random stream of its own for each purpose, seed and number (an epoch or a class, say).
pub(crate) fn random(purpose: &str, seed: u64, number: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&number.to_le_bytes());
    key[16..16 + purpose.len()].copy_from_slice(purpose.as_bytes());
    ChaCha8Rng::from_seed(key)
}
