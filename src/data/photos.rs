//! The photos of a folder as a set of pictures.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::cache::Cache;
use super::folder::LabelledFile;
use super::{Pictures, Rejected, prepare, threads};

/// Photos from files, each decoded once up front, so that a file that cannot be used is known
/// before training starts.
pub struct Photos {
    root: PathBuf,
    files: Vec<LabelledFile>,
    /// Indices into `files` of the photos that can be used.
    usable: Vec<usize>,
    size: u32,
    cache: Cache,
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
        size: u32,
        cache_bytes: usize,
        progress: &dyn Fn(usize),
    ) -> (Photos, Vec<Rejected>) {
        let mut photos = Photos {
            root: root.to_path_buf(),
            usable: (0..files.len()).collect(),
            size,
            cache: Cache::new(files.len(), size, cache_bytes),
            files,
        };
        let reasons = photos.decode_all(progress);
        let reject =
            |(&index, reason): (&usize, &String)| Rejected { file: photos.name(index), reason: reason.clone() };
        let rejected = reasons.iter().map(reject).collect();
        photos.usable.retain(|index| !reasons.contains_key(index));
        (photos, rejected)
    }

    /// Decodes every file in parallel and returns, by index, why those that failed did.
    fn decode_all(&self, progress: &dyn Fn(usize)) -> BTreeMap<usize, String> {
        let next = AtomicUsize::new(0);
        let (sender, outcomes) = mpsc::channel();
        let work = |sender: mpsc::Sender<_>| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= self.len() || sender.send((index, self.pixels(index).err())).is_err() {
                    break;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..threads() {
                let sender = sender.clone();
                scope.spawn(|| work(sender));
            }
            // The workers' clones alone now keep the channel open, so it closes when the last of
            // them is done.
            drop(sender);
            let mut reasons = BTreeMap::new();
            for (done, (index, reason)) in (1..).zip(outcomes) {
                progress(done);
                reasons.extend(reason.map(|reason| (index, reason)));
            }
            reasons
        })
    }

    fn file(&self, index: usize) -> &LabelledFile {
        &self.files[self.usable[index]]
    }
}

impl Pictures for Photos {
    fn len(&self) -> usize {
        self.usable.len()
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn label(&self, index: usize) -> u32 {
        self.file(index).class
    }

    fn name(&self, index: usize) -> String {
        self.file(index).path.display().to_string()
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        let load = || prepare::load(&self.root.join(&self.file(index).path), self.size);
        self.cache.picture(self.usable[index], load)
    }
}
