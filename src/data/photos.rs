//! The photos of a folder as a set of images.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::cache::Cache;
use super::fit::Fit;
use super::folder::LabelledFile;
use super::names::path_text;
use super::split::Digest;
use super::{Images, Rejected, in_parallel, prepare, threads};

/// Photos from files, each decoded once up front, so that a file that cannot be used is known
/// before training starts.
pub struct Photos {
    store: Arc<Store>,
    /// Indices into the store's files of the photos of this set.
    chosen: Vec<usize>,
    /// SHA-256 of the pixels of each of them.
    digests: Vec<Digest>,
}

/// The files of one or more sets of photos, and the pixels of some.
struct Store {
    root: PathBuf,
    files: Vec<LabelledFile>,
    fit: Fit,
    cache: Cache,
    /// Side of the squares that parts are cut from.
    room: Option<u32>,
    /// Such squares, made when first asked for.
    to_cut: Cache,
}

impl Store {
    fn pixels(&self, file: usize) -> Result<Cow<'_, [u8]>, String> {
        let load = || prepare::load(&self.root.join(&self.files[file].path), self.fit);
        self.cache.image(file, load)
    }

    fn to_cut(&self, file: usize) -> Result<Cow<'_, [u8]>, String> {
        let Some(room) = self.room else { return self.pixels(file) };
        self.to_cut.image(file, || prepare::load(&self.root.join(&self.files[file].path), room))
    }
}

impl Photos {
    /// Decodes every file on all threads of the machine. Files that cannot be used are left out and
    /// returned with the reason, in the order of `files`.
    ///
    /// Up to `cache_bytes` bytes of pixels are kept in memory; the photos beyond that are decoded
    /// again each time they are needed. With `room`, parts are cut from squares of so many pixels a side, which are kept beside
    /// those that the network sees. `progress` is called on this thread with the number of
    /// files done so far.
    pub fn read(
        files: Vec<LabelledFile>,
        root: &Path,
        fit: impl Into<Fit>,
        room: Option<u32>,
        cache_bytes: usize,
        progress: &dyn Fn(usize),
    ) -> (Photos, Vec<Rejected>) {
        let fit = fit.into();
        // So that as many are kept of the one as of the other.
        let area = |side: u32| u128::from(side).pow(2);
        let for_cuts = room.map_or(0, area);
        let own = (cache_bytes as u128 * area(fit.size) / (area(fit.size) + for_cuts).max(1)) as usize;
        let cache = Cache::new(files.len(), fit.size, own);
        let to_cut = Cache::new(files.len(), room.unwrap_or(0), cache_bytes - own);
        let store = Arc::new(Store { root: root.to_path_buf(), files, fit, cache, room, to_cut });
        let mut photos = Photos { store: store.clone(), chosen: Vec::new(), digests: Vec::new() };
        let mut rejected = Vec::new();
        for (file, outcome) in decode_all(&store, progress).into_iter().enumerate() {
            match outcome {
                Ok(digest) => {
                    photos.chosen.push(file);
                    photos.digests.push(digest);
                }
                Err(reason) => rejected.push(Rejected { file: path_text(&store.files[file].path), reason }),
            }
        }
        (photos, rejected)
    }

    /// SHA-256 of the pixels of each photo, as they were when the set was read.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Some of the photos as a set of their own, in the order given; what is kept in memory is shared.
    pub fn only(&self, indices: &[usize]) -> Photos {
        let chosen = indices.iter().map(|&index| self.chosen[index]).collect();
        let digests = indices.iter().map(|&index| self.digests[index]).collect();
        Photos { store: self.store.clone(), chosen, digests }
    }

    /// SHA-256 of the bytes of each photo's file.
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub fn file_digests(&self) -> Result<Vec<Digest>> {
        in_parallel(self.chosen.len(), |index| file_digest(&self.store.root.join(&self.file(index).path)))
    }

    fn file(&self, index: usize) -> &LabelledFile {
        &self.store.files[self.chosen[index]]
    }
}

/// SHA-256 of a file's bytes.
///
/// # Errors
/// When the file cannot be read.
pub fn file_digest(path: &Path) -> Result<Digest> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Ok(Sha256::digest(&bytes).into())
}

/// Decodes every file in parallel: the digest of its pixels, or why it failed.
fn decode_all(store: &Store, progress: &dyn Fn(usize)) -> Vec<Result<Digest, String>> {
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = mpsc::channel();
    let decode = |file: usize| -> Result<Digest, String> { Ok(Sha256::digest(&store.pixels(file)?).into()) };
    let work = |sender: mpsc::Sender<_>| {
        loop {
            let file = next.fetch_add(1, Ordering::Relaxed);
            if file >= store.files.len() || sender.send((file, decode(file))).is_err() {
                break;
            }
        }
    };
    let mut all = thread::scope(|scope| {
        for _ in 0..threads() {
            let sender = sender.clone();
            scope.spawn(|| work(sender));
        }
        // The workers' clones alone now keep the channel open, so it closes when the last of
        // them is done.
        drop(sender);
        let mut all: Vec<(usize, _)> = Vec::with_capacity(store.files.len());
        for (done, outcome) in (1..).zip(outcomes) {
            progress(done);
            all.push(outcome);
        }
        all
    });
    all.sort_unstable_by_key(|(file, _)| *file);
    all.into_iter().map(|(_, outcome)| outcome).collect()
}

impl Images for Photos {
    fn len(&self) -> usize {
        self.chosen.len()
    }

    fn size(&self) -> u32 {
        self.store.fit.size
    }

    fn label(&self, index: usize) -> u32 {
        self.file(index).class
    }

    fn name(&self, index: usize) -> String {
        path_text(&self.file(index).path)
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        self.store.pixels(self.chosen[index])
    }

    fn to_cut(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        self.store.to_cut(self.chosen[index])
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::data::augment::{Augment, Augmentation};
    use crate::data::batch::Batch;
    use crate::nn::Normalize;

    /// Parts are cut from a larger square of the photo itself, whether it is kept or not; what the network sees otherwise, and what tells
    /// photos apart, is the same as without.
    #[test]
    fn parts_are_cut_from_larger_squares() {
        let folder = tempfile::tempdir().unwrap();
        let photo =
            RgbImage::from_fn(90, 60, |x, y| Rgb([(x * 37 % 256) as u8, (y * 53 % 256) as u8, (x * y % 256) as u8]));
        photo.save(folder.path().join("a.png")).unwrap();
        let files = vec![LabelledFile { path: "a.png".into(), class: 0 }];
        let read = |room, bytes| Photos::read(files.clone(), folder.path(), 16, room, bytes, &|_| ()).0;
        let plain = read(None, usize::MAX);
        assert_eq!(plain.to_cut(0), plain.pixels(0));
        let augment = Augment { crop_scale: Some([0.25, 0.5]), ..Augment::default() };
        let room = augment.room(16);
        assert_eq!(room, Some(32));
        let batch = |photos: &Photos, augmentation| {
            Batch::new(photos, &[0], 1, augmentation, Normalize::HALF, Vec::new()).images
        };
        let changes = Some(Augmentation { augment, seed: 0, epoch: 1 });
        for bytes in [0, 3 * (16 * 16 + 32 * 32), usize::MAX] {
            let photos = read(room, bytes);
            assert_eq!(*photos.to_cut(0).unwrap(), prepare::load(&folder.path().join("a.png"), 32).unwrap());
            assert_eq!((photos.pixels(0), photos.digests()), (plain.pixels(0), plain.digests()));
            assert_eq!(batch(&photos, None), batch(&plain, None));
            assert_ne!(batch(&photos, changes), batch(&plain, changes), "it has more detail");
            let kept = bytes > 0;
            std::fs::rename(folder.path().join("a.png"), folder.path().join("b.png")).unwrap();
            assert_eq!([photos.pixels(0).is_ok(), photos.to_cut(0).is_ok()], [kept; 2], "{bytes}");
            std::fs::rename(folder.path().join("b.png"), folder.path().join("a.png")).unwrap();
        }
    }
}
