//! A ZIP archive into a folder, whatever the archive holds.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use super::Archive;
use crate::disk::Staged;

/// The longest name of a file or folder that common file systems take, in bytes.
const LONGEST_NAME: usize = 255;

/// Writes all files of the archive into the folder. `progress` gets how many of how many are done.
///
/// # Errors
/// When it is no ZIP archive or a broken one, when it grows beyond what is expected of it, or when it holds anything but files and
/// folders with plain names.
pub(super) fn unpack(file: File, archive: &Archive, folder: &Staged, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let mut zip = ZipArchive::new(BufReader::new(file))?;
    let entries = zip.len();
    ensure!(entries <= archive.entries, "it has {entries} entries, more than the {} that it may have", archive.entries);
    let mut room = archive.unpacked;
    for index in 0..entries {
        let mut entry = zip.by_index(index)?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let relative = plain(&name).with_context(|| format!("{name:?} in it is no plain name of a file"))?;
        if entry.is_dir() {
            folder.folder(&relative)?;
        } else if is_file(entry.unix_mode()) {
            let mut bounded = (&mut entry).take(room + 1);
            let written = folder.write(&relative, &mut bounded).with_context(|| format!("{name:?} in it"))?;
            ensure!(written <= room, "it unpacks to more than the {} bytes that are expected", archive.unpacked);
            room -= written;
        } else {
            bail!("{name:?} in it is neither a file nor a folder");
        }
        progress(index as u64 + 1, entries as u64);
    }
    ensure!(folder.path().join(&archive.folder).is_dir(), "there is no folder {} in it", archive.folder);
    Ok(())
}

/// Whether the mode, where the archive tells one, is that of a file. Links and devices have other ones.
fn is_file(mode: Option<u32>) -> bool {
    const KIND: u32 = 0o170_000;
    const FILE: u32 = 0o100_000;
    mode.is_none_or(|mode| [0, FILE].contains(&(mode & KIND)))
}

/// The path below a folder that a name in an archive means, if it can mean no place outside.
fn plain(name: &str) -> Option<PathBuf> {
    let parts: Vec<&str> = name.strip_suffix('/').unwrap_or(name).split('/').collect();
    let is_plain = |part: &&str| {
        !["", ".", ".."].contains(part)
            && part.len() <= LONGEST_NAME
            && !part.contains(|c: char| c.is_control() || matches!(c, '\\' | ':' | '\u{fffd}'))
    };
    parts.iter().all(is_plain).then(|| parts.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_folder_are_plain() {
        for name in ["a", "PetImages/Cat/0.jpg", "PetImages/", "readme[1].txt", "Кот/猫.png", "..a/b.."] {
            assert_eq!(plain(name), Some(PathBuf::from(name.trim_end_matches('/'))), "{name}");
        }
        let long = "a".repeat(256);
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/../../b",
            "a/./b",
            "a//b",
            "a\\..\\b",
            "C:\\a",
            "C:a",
            "a\0b",
            "a\nb",
            "a:b",
            &long,
            "\u{fffd}",
        ] {
            assert_eq!(plain(name), None, "{name:?}");
        }
    }
}
