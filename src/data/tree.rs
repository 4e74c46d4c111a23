//! A folder with everything in it, by name alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::names::{is_image, is_system, path_text};
use super::{Rejected, names};

/// Links to folders that are followed, one below the other: links that lead to each other would make the walk endless.
const MAX_LINKS: usize = 3;

/// A folder, without what systems make by themselves.
pub(super) struct Tree {
    /// Path below the root, or from the file system's root on where it lies elsewhere.
    pub(super) path: PathBuf,
    /// The folders in it, sorted by name.
    pub(super) folders: Vec<Tree>,
    /// The files in it, sorted by name.
    pub(super) files: Vec<PathBuf>,
}

impl Tree {
    /// Reads the folder `path` below `root`. Links to folders are followed, but not back to a folder that they lie in; those
    /// that are not followed join `rejected`.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub(super) fn read(root: &Path, path: &Path, rejected: &mut Vec<Rejected>) -> Result<Self> {
        Reader { root, rejected }.read(path, 0)
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        names::name_of(&self.path)
    }

    /// All files in it and in the folders below.
    pub(super) fn all_files(&self) -> Vec<&PathBuf> {
        let below = self.folders.iter().flat_map(Tree::all_files);
        self.files.iter().chain(below).collect()
    }

    /// How many files in it and below are named like images.
    pub(super) fn images(&self) -> usize {
        let here = self.files.iter().filter(|file| is_image(file)).count();
        here + self.folders.iter().map(Tree::images).sum::<usize>()
    }

    /// Whether a file in it or below is named like an image.
    pub(super) fn holds_images(&self) -> bool {
        self.files.iter().any(|file| is_image(file)) || self.folders.iter().any(Tree::holds_images)
    }

    /// The folders `levels` below it: itself for 0, those in it for 1.
    pub(super) fn below(&self, levels: usize) -> Vec<&Tree> {
        match levels {
            0 => vec![self],
            _ => self.folders.iter().flat_map(|folder| folder.below(levels - 1)).collect(),
        }
    }

    /// Takes the folder `path` out, if it is in here, and those on the way to it that hold no image without it.
    pub(super) fn remove(&mut self, path: &Path) {
        self.folders.iter_mut().filter(|folder| path.starts_with(&folder.path)).for_each(|folder| folder.remove(path));
        self.folders.retain(|folder| folder.path != path && (!path.starts_with(&folder.path) || folder.holds_images()));
    }
}

struct Reader<'a> {
    root: &'a Path,
    rejected: &'a mut Vec<Rejected>,
}

impl Reader<'_> {
    /// Reads a folder that was reached by so many links.
    fn read(&mut self, path: &Path, links: usize) -> Result<Tree> {
        let whole = self.root.join(path);
        let mut entries = fs::read_dir(&whole)
            .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
            .with_context(|| format!("{}: this folder cannot be read; allow it, or move it away", whole.display()))?;
        entries.retain(|entry| !is_system(&entry.file_name()));
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut tree = Tree { path: path.to_path_buf(), folders: Vec::new(), files: Vec::new() };
        for entry in entries {
            let path = path.join(entry.file_name());
            let is = |kind: fn(&fs::FileType) -> bool| entry.file_type().is_ok_and(|found| kind(&found));
            if is(fs::FileType::is_dir) {
                tree.folders.push(self.read(&path, links)?);
            } else if !(is(fs::FileType::is_symlink) && entry.path().is_dir()) {
                tree.files.push(path);
            } else if links < MAX_LINKS && !leads_back(&entry.path(), &whole) {
                tree.folders.push(self.read(&path, links + 1)?);
            } else {
                let reason = "is a link to a folder, which is not followed here".into();
                self.rejected.push(Rejected { file: path_text(&path), reason });
            }
        }
        Ok(tree)
    }
}

/// Whether a link in `folder` leads to that folder or to one that it lies in.
fn leads_back(link: &Path, folder: &Path) -> bool {
    match (link.canonicalize(), folder.canonicalize()) {
        (Ok(target), Ok(folder)) => folder.starts_with(target),
        _ => true,
    }
}
