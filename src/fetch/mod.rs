//! Data sets from the web: an archive is downloaded, checked and unpacked.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::disk;

mod download;
mod unpack;

pub use download::Patience;

/// A ZIP archive on the web.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its address.
    pub url: String,
    /// Its bytes.
    pub size: u64,
    /// SHA-256 of its content, as hexadecimal digits.
    pub sha256: String,
    /// What it may grow to at most, in bytes, when it is unpacked.
    pub unpacked: u64,
    /// The most files and folders that it may hold.
    pub entries: usize,
    /// A folder that it holds at its top: where it lies, the archive was unpacked.
    pub folder: String,
}

impl Archive {
    /// Microsoft's archive of the cats and dogs of the Asirra project, 25,000 photos. Its size and its SHA-256 are those that other
    /// projects have recorded.
    pub fn dogs_vs_cats() -> Self {
        Self {
            url: "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip"
                .into(),
            size: 824_887_076,
            sha256: "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9".into(),
            unpacked: 2 << 30,
            entries: 30_000,
            folder: "PetImages".into(),
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The archive comes in: bytes so far.
    Download,
    /// Its checksum is computed: bytes so far.
    Check,
    /// It is unpacked: files and folders so far.
    Unpack,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The data were there already.
    Before,
    /// They are there now.
    Now,
}

/// Downloads an archive, checks its content and unpacks it into `dir`, which must be new, empty, or hold the data already. What a
/// cut connection, or a stop of the program, leaves of the download lies beside `dir`, and the next call goes on from there.
/// `progress` gets the stage, how much of it is done, and all of it.
///
/// # Errors
/// When the folder holds something else, the server does not answer as it should, the content is another one, or a file cannot be
/// written; each with the remedy.
pub fn fetch(
    archive: &Archive,
    dir: &Path,
    patience: Patience,
    progress: &mut dyn FnMut(Stage, u64, u64),
) -> Result<Fetched> {
    let shown = dir.display();
    if dir.join(&archive.folder).is_dir() {
        return Ok(Fetched::Before);
    }
    let addressed = ["http://", "https://"].iter().any(|scheme| archive.url.starts_with(scheme));
    ensure!(addressed, "{}: is no address of a file on the web; it begins with http:// or https://", archive.url);
    let path = beside(dir, ".zip.part")?;
    let is_empty_folder = !dir.is_symlink() && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(
        is_empty_folder || !dir.exists() && !dir.is_symlink(),
        "{shown}: exists already and is not an empty folder; name a new one"
    );
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }

    let Some(mut part) = disk::Part::open(&path)? else {
        bail!("{}: another process is filling it; wait until it has ended", path.display());
    };
    download::download(archive, &mut part, patience, &mut |done| progress(Stage::Download, done, archive.size))?;
    let sha256 = digest(part.content()?, &mut |done| progress(Stage::Check, done, archive.size))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if sha256 != archive.sha256 {
        part.remove()?;
        bail!(
            "{} has another content than expected: its SHA-256 is {sha256}, not {}. Either it was damaged on its way, or the archive \
             has changed. What was downloaded is removed; run this again",
            archive.url,
            archive.sha256
        );
    }

    unpack_into(part.content()?, archive, dir, &mut |done, all| progress(Stage::Unpack, done, all))
        .with_context(|| format!("cannot unpack {}", path.display()))?;
    part.remove()?;
    Ok(Fetched::Now)
}

/// Unpacks an archive, whatever its content, into the folder `dir`, which is not there yet or is empty; it appears whole or not at all.
/// `progress` gets how many of its files and folders are done, and how many there are.
///
/// # Errors
/// When it is no ZIP archive or a broken one, grows beyond what is expected of it, holds anything but files and folders with plain
/// names, or cannot be written.
pub fn unpack_into(file: File, archive: &Archive, dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let staged = disk::Staged::new(&beside(dir, ".unfinished")?)?;
    unpack::unpack(file, archive, &staged, progress)?;
    staged.rename(dir)
}

/// A path beside `dir`, whose name has this ending.
fn beside(dir: &Path, ending: &str) -> Result<PathBuf> {
    let name = dir
        .file_name()
        .with_context(|| format!("{}: another folder is to take its place; give it by its name", dir.display()))?;
    let mut name = name.to_os_string();
    name.push(ending);
    Ok(dir.with_file_name(name))
}

/// SHA-256 of a file's content.
fn digest(mut file: File, progress: &mut dyn FnMut(u64)) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(Digest::from(hasher).to_string());
        }
        hasher.update(&buffer[..read]);
        done += read as u64;
        progress(done);
    }
}

#[cfg(test)]
mod tests;
