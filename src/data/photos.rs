//! The photos of a folder as a set of images.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::cache::Cache;
use super::fit::Fit;
use super::folder::LabelledFile;
use super::names::path_text;
use super::{Images, Rejected, prepare, threads};
use crate::digest::Digest;

/// Photos from files, each decoded once up front, so that a file that cannot be used is known
/// before training starts. A file that has changed by the time it is read again cannot be used any more.
pub struct Photos {
    root: PathBuf,
    files: Vec<LabelledFile>,
    /// SHA-256 of the pixels of each of them.
    digests: Vec<Digest>,
    /// SHA-256 of each file.
    file_digests: Vec<Digest>,
    fit: Fit,
    /// What the network sees.
    squares: Cache,
    /// The squares that parts are cut from where these are others, made when first asked for.
    to_cut: Option<ToCut>,
}

struct ToCut {
    /// Their side.
    room: u32,
    squares: Cache,
}

impl Photos {
    /// Decodes every file on all threads of the machine. Files that cannot be used are left out and
    /// returned with the reason, in the order of `files`.
    ///
    /// Up to `cache_bytes` bytes of pixels are kept in memory; the photos beyond that are decoded
    /// again each time they are needed. `progress` is called on this thread with the number of
    /// files done so far.
    pub fn read(
        files: Vec<LabelledFile>,
        root: &Path,
        fit: Fit,
        cache_bytes: usize,
        progress: &dyn Fn(usize),
    ) -> (Photos, Vec<Rejected>) {
        Self::read_by(threads(), files, root, fit, cache_bytes, progress)
    }

    /// The same on so many threads, at least one.
    pub fn read_by(
        workers: usize,
        files: Vec<LabelledFile>,
        root: &Path,
        fit: Fit,
        cache_bytes: usize,
        progress: &dyn Fn(usize),
    ) -> (Photos, Vec<Rejected>) {
        let squares = Cache::new(files.len(), fit.size, cache_bytes);
        let (digests, file_digests) = (Vec::new(), Vec::new());
        let mut all = Photos { root: root.to_path_buf(), files, digests, file_digests, fit, squares, to_cut: None };
        let (mut usable, mut rejected) = (Vec::new(), Vec::new());
        for (file, outcome) in decode_all(&all, workers, progress).into_iter().enumerate() {
            // Of a file that cannot be used nobody asks for them.
            let [pixels, of_file] = outcome.as_ref().copied().unwrap_or_default();
            all.digests.push(pixels);
            all.file_digests.push(of_file);
            match outcome {
                Ok(_) => usable.push(file),
                Err(reason) => rejected.push(Rejected { file: all.name(file), reason }),
            }
        }
        (all.only(&usable), rejected)
    }

    /// The same photos, whose parts are cut from squares of `room` pixels a side. At most `own` bytes are kept of what the network sees
    /// without that, and `to_cut` bytes of these squares.
    pub fn with_room(self, room: u32, own: usize, to_cut: usize) -> Photos {
        let squares = Cache::new(self.files.len(), room, to_cut);
        Photos { squares: self.squares.within(self.fit.size, own), to_cut: Some(ToCut { room, squares }), ..self }
    }

    /// Bytes of memory that may be taken by what the network sees of them.
    pub fn kept_bytes(&self) -> usize {
        self.squares.bytes(self.fit.size)
    }

    /// SHA-256 of the pixels of each photo, as they were when the set was read.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// SHA-256 of each photo's file and of its pixels, as they were when the set was read.
    pub fn contents(&self) -> impl Iterator<Item = [Digest; 2]> {
        self.file_digests.iter().zip(&self.digests).map(|(&file, &pixels)| [file, pixels])
    }

    /// Some of the photos as a set of their own, in the order given; what is kept in memory is shared.
    pub fn only(&self, indices: &[usize]) -> Photos {
        let to_cut = self.to_cut.as_ref();
        Photos {
            root: self.root.clone(),
            files: indices.iter().map(|&index| self.files[index].clone()).collect(),
            digests: indices.iter().map(|&index| self.digests[index]).collect(),
            file_digests: indices.iter().map(|&index| self.file_digests[index]).collect(),
            fit: self.fit,
            squares: self.squares.only(indices),
            to_cut: to_cut.map(|ToCut { room, squares }| ToCut { room: *room, squares: squares.only(indices) }),
        }
    }

    /// A square of a photo whose file is read again.
    fn again(&self, index: usize, fit: Fit) -> Result<Vec<u8>, String> {
        let bytes = prepare::read(&self.path(index))?;
        if Digest::of(&bytes) != self.file_digests[index] {
            return Err("has changed since it was first read".into());
        }
        Ok(prepare::decode(&bytes)?.square(fit))
    }

    fn path(&self, index: usize) -> PathBuf {
        self.root.join(&self.files[index].path)
    }
}

/// Decodes every file in parallel: the digests of its pixels and of the file, or why it failed.
fn decode_all(photos: &Photos, workers: usize, progress: &dyn Fn(usize)) -> Vec<Result<[Digest; 2], String>> {
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = mpsc::channel();
    let decode = |file: usize| -> Result<[Digest; 2], String> {
        let bytes = prepare::read(&photos.path(file))?;
        let pixels = photos.squares.image(file, || Ok(prepare::decode(&bytes)?.square(photos.fit)))?;
        Ok([Digest::of(pixels), Digest::of(&bytes)])
    };
    let work = |sender: mpsc::Sender<_>| {
        loop {
            let file = next.fetch_add(1, Ordering::Relaxed);
            if file >= photos.len() || sender.send((file, decode(file))).is_err() {
                break;
            }
        }
    };
    let mut all = thread::scope(|scope| {
        for _ in 0..workers {
            let sender = sender.clone();
            scope.spawn(|| work(sender));
        }
        // The workers' clones alone now keep the channel open, so it closes when the last of
        // them is done.
        drop(sender);
        let mut all: Vec<(usize, _)> = Vec::with_capacity(photos.len());
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
        self.files.len()
    }

    fn size(&self) -> u32 {
        self.fit.size
    }

    fn label(&self, index: usize) -> u32 {
        self.files[index].class
    }

    fn name(&self, index: usize) -> String {
        path_text(&self.files[index].path)
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        self.squares.image(index, || self.again(index, self.fit))
    }

    fn to_cut(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        match &self.to_cut {
            None => self.pixels(index),
            Some(ToCut { room, squares }) => squares.image(index, || self.again(index, Fit::to(*room))),
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::data::augment::{AugmentOptions, EpochChanges};
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
        let read = |bytes| Photos::read(files.clone(), folder.path(), Fit::to(16), bytes, &|_| ()).0;
        let plain = read(usize::MAX);
        assert_eq!(plain.to_cut(0), plain.pixels(0));
        let augment = AugmentOptions { crop_scale: Some([0.25, 0.5]), ..AugmentOptions::default() };
        let room = augment.room(16);
        assert_eq!(room, Some(32));
        let [small, large] = [3 * 16 * 16, 3 * 32 * 32];
        let batch = |photos: &Photos, augmentation| {
            Batch::new(photos, &[0], 1, augmentation, Normalize::HALF, Vec::new()).images
        };
        let changes = Some(EpochChanges { augment, seed: 0, epoch: 1 });
        for [own, to_cut] in [[0, 0], [small, large], [0, large], [small, 0], [usize::MAX; 2]] {
            let photos = read(usize::MAX).with_room(32, own, to_cut);
            assert_eq!(photos.kept_bytes(), own.min(small));
            let square = prepare::load(&folder.path().join("a.png"), Fit::to(32)).unwrap();
            assert_eq!(*photos.to_cut(0).unwrap(), square);
            assert_eq!((photos.pixels(0), photos.digests()), (plain.pixels(0), plain.digests()));
            assert_eq!(batch(&photos, None), batch(&plain, None));
            assert_ne!(batch(&photos, changes), batch(&plain, changes), "it has more detail");
            std::fs::rename(folder.path().join("a.png"), folder.path().join("b.png")).unwrap();
            let kept = [photos.pixels(0).is_ok(), photos.to_cut(0).is_ok()];
            assert_eq!(kept, [own > 0, to_cut > 0], "{own} {to_cut}");
            let same = photos.only(&[0]);
            assert_eq!(kept, [same.pixels(0).is_ok(), same.to_cut(0).is_ok()], "also of a part");
            std::fs::rename(folder.path().join("b.png"), folder.path().join("a.png")).unwrap();
        }
    }

    /// A photo that is not kept in memory may have been exchanged by the time it is read again.
    #[test]
    fn a_file_that_has_changed_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.png");
        let save = |shade| RgbImage::from_pixel(20, 20, Rgb([shade; 3])).save(&file).unwrap();
        save(7);
        let files = vec![LabelledFile { path: "a.png".into(), class: 0 }];
        let (photos, _) = Photos::read(files, folder.path(), Fit::to(16), 0, &|_| ());
        let photos = photos.with_room(32, 0, 0);
        assert!(photos.pixels(0).is_ok() && photos.to_cut(0).is_ok());
        save(8);
        let changed = Err("has changed since it was first read".to_string());
        assert_eq!([photos.pixels(0), photos.to_cut(0)], [changed.clone(), changed]);
        save(7);
        assert!(photos.pixels(0).is_ok() && photos.to_cut(0).is_ok());
    }
}
