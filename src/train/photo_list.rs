//! The list of the photos of a run or a study: what each was when it was read first, so that it is known again by its content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::run_dir::RunDir;
use crate::digest::Digest;
use crate::reading::{table, unusable};

/// The list, in the folder of a run or a study.
pub const PHOTOS: &str = "photos.csv";

/// What a photo is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// To learn from.
    Train,
    /// To be judged by.
    Val,
    /// Both in turn, or to be locked away, as a study decides.
    Study,
}

/// A photo as it was: a line of [`PHOTOS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Photo {
    /// Path below the data folder, or from the root on where the photo lies outside, as [`path_text`](crate::data::names::path_text)
    /// writes it.
    pub file: String,
    /// Name of its class.
    pub class: String,
    /// What it is for.
    #[serde(rename = "use")]
    pub used: Use,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// SHA-256 of the pixels, in the square that the network takes.
    pub pixels: Digest,
}

/// The same as it is read.
#[derive(Deserialize)]
struct Line {
    file: String,
    class: String,
    #[serde(rename = "use")]
    used: String,
    sha256: String,
    pixels: String,
}

/// What a photo held, as far as that is known: older versions listed less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// SHA-256 of the file.
    pub sha256: Option<Digest>,
    /// SHA-256 of the pixels.
    pub pixels: Option<Digest>,
}

/// Photos by file, and what each held.
pub type Contents = BTreeMap<String, Content>;

/// What is known of the photos of a run; nothing is listed of drawn images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunPhotos {
    /// Those that it learned from; none in runs of older versions, which did not list them.
    pub learned: Option<Contents>,
    /// Those that it was judged by.
    pub judged: Contents,
}

impl Photo {
    /// What it held.
    pub fn content(&self) -> Content {
        Content { sha256: Some(self.sha256), pixels: Some(self.pixels) }
    }
}

impl Content {
    /// Whether anything is known of it.
    pub fn is_known(&self) -> bool {
        self.sha256.is_some() || self.pixels.is_some()
    }

    /// Whether a photo with these digests, of the file and of its pixels, has that content, as far as is known. One is enough: a file may
    /// be written anew without a change of the photo, and other versions may make other pixels of the same file.
    pub fn is(&self, sha256: Digest, pixels: Digest) -> bool {
        !self.is_known() || self.sha256 == Some(sha256) || self.pixels == Some(pixels)
    }
}

/// Writes the list of the photos of a run or a study into its folder.
///
/// # Errors
/// When it cannot be written.
pub fn write(folder: &RunDir, photos: &[Photo]) -> Result<()> {
    folder.write_table(PHOTOS, |table| photos.iter().try_for_each(|photo| table.serialize(photo)))
}

/// Reads the list of the photos of these classes, in its order.
///
/// # Errors
/// When the file cannot be read, or a line cannot be right.
pub fn read(path: &Path, classes: &[String]) -> Result<Vec<Photo>> {
    let lines: Vec<Line> = table(path, &["file", "class", "use", "sha256", "pixels"])?;
    let read = || -> Result<Vec<Photo>> {
        let numbered = (2..).zip(lines);
        let photo = |(number, line): (usize, Line)| photo(line, classes).with_context(|| format!("line {number}"));
        let photos = numbered.map(photo).collect::<Result<Vec<_>>>()?;
        let names: BTreeSet<&str> = photos.iter().map(|photo| photo.file.as_str()).collect();
        ensure!(names.len() == photos.len(), "file: a photo is named twice");
        Ok(photos)
    };
    read().with_context(|| unusable(path))
}

fn photo(Line { file, class, used, sha256, pixels }: Line, classes: &[String]) -> Result<Photo> {
    ensure!(!file.is_empty(), "file: a name is empty");
    ensure!(classes.contains(&class), "class is {class:?}: expected one of {}", classes.join(", "));
    let used = Use::from_str(&used, false).map_err(|_| anyhow!("use is {used:?}: expected train, val or study"))?;
    let [sha256, pixels] = [digest("sha256", &sha256)?, digest("pixels", &pixels)?];
    Ok(Photo { file, class, used, sha256, pixels })
}

/// The digest that a field holds.
pub(super) fn digest(field: &str, digits: &str) -> Result<Digest> {
    Digest::read(digits).with_context(|| format!("{field} is {digits:?}: expected 64 hexadecimal digits"))
}

/// What tells a list of photos from every other.
pub(crate) fn digest_of_list(photos: &impl Serialize) -> String {
    Digest::of(serde_json::to_vec(photos).expect("names are always valid JSON")).to_string()
}

/// How photos differ from what they were: the files of each kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that hold another photo than they did, or none.
    pub changed: Vec<String>,
    /// Those that are not there any more.
    pub missing: Vec<String>,
    /// Those that were not there.
    pub new: Vec<String>,
}

impl Changes {
    /// How photos differ from what was listed before, where `same` says of two of one name whether they are the same.
    pub fn between(then: &[Photo], now: &[Photo], same: impl Fn(&Photo, &Photo) -> bool) -> Self {
        let [before, after] =
            [then, now].map(|photos| photos.iter().map(|photo| (&photo.file, photo)).collect::<BTreeMap<_, _>>());
        let mut changes = Self::default();
        for (&file, old) in &before {
            match after.get(file) {
                None => changes.missing.push(file.clone()),
                Some(new) if !same(old, new) => changes.changed.push(file.clone()),
                Some(_) => {}
            }
        }
        changes.new = after.into_keys().filter(|file| !before.contains_key(file)).cloned().collect();
        changes
    }

    /// Their numbers, and the first file of each kind; none where there are none.
    pub fn told(&self) -> Option<String> {
        let kinds = [(&self.changed, "changed"), (&self.missing, "missing"), (&self.new, "new")];
        let told = |(files, what): (&Vec<String>, &str)| {
            files.first().map(|first| format!("{} {what}, such as {first}", files.len()))
        };
        let told: Vec<String> = kinds.into_iter().filter_map(told).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn classes() -> [String; 2] {
        ["cat", "dog"].map(String::from)
    }

    fn photos() -> Vec<Photo> {
        let photo = |file: &str, used| Photo {
            file: file.into(),
            class: file[..3].into(),
            used,
            sha256: Digest::of(file),
            pixels: Digest::of(format!("pixels of {file}")),
        };
        vec![photo("cat/a, b.png", Use::Train), photo("dog/c.png", Use::Train), photo("cat/d.png", Use::Val)]
    }

    #[test]
    fn a_list_is_read_as_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(PHOTOS);
        write(&RunDir::at(folder.path().to_path_buf()), &photos()).unwrap();
        assert_eq!(read(&path, &classes()).unwrap(), photos());
        let text = fs::read_to_string(&path).unwrap();
        let digits = photos()[1].pixels.to_string();
        for (from, to, told) in [
            ("dog/c.png", "cat/d.png", "file: a photo is named twice"),
            ("dog/c.png", "", "line 3: file: a name is empty"),
            ("c.png,dog", "c.png,owl", "line 3: class is \"owl\": expected one of cat, dog"),
            ("dog,train", "dog,test", "line 3: use is \"test\": expected train, val or study"),
            (&digits[..], &digits[1..], "line 3: pixels is \""),
            ("sha256", "sha512", "the column sha256 is missing"),
        ] {
            assert!(text.contains(from));
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = format!("{:#}", read(&path, &classes()).unwrap_err());
            assert!(error.contains("photos.csv: cannot be used: ") && error.contains(told), "{error}");
        }
    }

    /// A file may be written anew, and pixels may be made otherwise; what is both is another photo.
    #[test]
    fn a_photo_is_known_by_its_file_or_its_pixels() {
        let [one, other] = [Digest::of("one"), Digest::of("other")];
        let content = Content { sha256: Some(one), pixels: Some(other) };
        assert!(content.is(one, one) && content.is(other, other) && !content.is(other, one));
        let of_older = Content { sha256: Some(one), pixels: None };
        assert!(of_older.is(one, other) && !of_older.is(other, one));
        assert!(!Content::default().is_known() && Content::default().is(one, other));
    }

    #[test]
    fn changes_are_counted_and_named() {
        let then = photos();
        let told = |now: &[Photo]| Changes::between(&then, now, |old, new| old.content() == new.content()).told();
        assert_eq!(told(&then), None);
        let mut now = then.clone();
        now.swap(0, 2);
        now[0].used = Use::Train;
        assert_eq!(told(&now), None, "order and use are no content");
        now[0].pixels = Digest::of("another photo");
        assert_eq!(told(&now).unwrap(), "1 changed, such as cat/d.png");
        now[1].file = "dog/new.png".into();
        let all = "1 changed, such as cat/d.png; 1 missing, such as dog/c.png; 1 new, such as dog/new.png";
        assert_eq!(told(&now).unwrap(), all);
        assert_eq!(told(&[]).unwrap(), "3 missing, such as cat/a, b.png");
    }

    #[test]
    fn every_field_tells_a_list_from_others() {
        let mut lists = vec![photos(); 7];
        lists[1][0].file.push('x');
        lists[2][0].class = "dog".into();
        lists[3][0].used = Use::Val;
        lists[4][0].sha256 = Digest::default();
        lists[5][0].pixels = Digest::default();
        lists[6].swap(0, 1);
        let digests: BTreeSet<String> = lists.iter().map(digest_of_list).collect();
        assert_eq!(digests.len(), lists.len());
    }
}
