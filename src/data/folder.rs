//! Which pictures a data folder holds, of which classes, for training and for validation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rand::seq::SliceRandom;

use super::{Pictures, Rejected, prepare, random};

/// Share of each class that is set aside for validation when the data folder has no validation
/// folder.
pub const VALIDATION_SHARE: f64 = 0.2;

/// The layouts, as an error tells them; [`scan`] documents them in full.
const LAYOUTS: &str = "\
Pictures are .jpg, .jpeg or .png files in one of these layouts, in the data folder or in its train/:
  one folder a class:          cat/anything.jpg   dog/anything.jpg
  the class in the file name:  cat.0.jpg   dog.0.jpg
Beside train/ there may be one of val/, valid/ or validation/, in either layout; without it a share
of the training pictures is set aside. test/ is never used. At least two classes are needed.";

/// What [`scan`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// The data folder.
    pub root: PathBuf,
    /// Names of the classes, sorted without regard to case.
    pub classes: Vec<String>,
    /// Training pictures, sorted by class and path.
    pub train: Vec<LabelledFile>,
    /// Validation pictures, sorted by class and path.
    pub val: Vec<LabelledFile>,
    /// Whether `val` was set aside from the training pictures, there being no validation folder.
    pub split: bool,
    /// Files that cannot be used, sorted by path. None of them has been decoded yet, so more may
    /// follow.
    pub rejected: Vec<Rejected>,
}

/// A picture's file and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledFile {
    /// Path below the data folder.
    pub path: PathBuf,
    /// Index into the classes.
    pub class: u32,
}

/// Finds the labelled pictures of a data folder, which is only read, never written to.
///
/// The training pictures are in `train/` or, without it, in the data folder itself; the validation
/// pictures are in one of `val/`, `valid/` and `validation/` beside `train/`. Each of these is laid
/// out in one of two ways:
/// - one folder a class, named after it; pictures may lie in folders further down;
/// - pictures directly inside, named `cat.0.jpg`: the class is what comes before the first dot.
///
/// Without a validation folder, `validation_share` of each class, drawn with `seed`, is set aside
/// for validation. Nothing is read from `test/`, nor from what else lies beside `train/`. Names are
/// compared without regard to case, for classes too. Hidden files and folders are ignored (those
/// whose names start with a dot, and `__MACOSX`); other files that cannot be used are listed in
/// [`Folder::rejected`]. Links to folders are followed down to the class folders, not below.
///
/// # Errors
/// If there are not at least two classes with pictures, the same for training and validation; if
/// there is more than one way to understand the folder; if it cannot be read; or if
/// `validation_share` does not lie between 0 and 1.
pub fn scan(root: &Path, validation_share: f64, seed: u64) -> Result<Folder> {
    scan_without(root, validation_share, seed, &[])
}

/// As [`scan`], but passes over files that are known to be unusable, so that the validation pictures are set aside from
/// the usable ones.
///
/// # Errors
/// As [`scan`].
pub fn scan_without(root: &Path, validation_share: f64, seed: u64, unusable: &[Rejected]) -> Result<Folder> {
    ensure!(
        validation_share > 0.0 && validation_share < 1.0,
        "the share set aside for validation must lie between 0 and 1, but is {validation_share}"
    );
    let shown = root.display();
    ensure!(root.exists(), "--data {shown}: there is no such folder; check the path");
    ensure!(root.is_dir(), "--data {shown} is a file; give the folder that holds the pictures");

    let unusable = unusable.iter().map(|rejected| rejected.file.as_str()).collect();
    let mut scanner = Scanner { root, unusable, rejected: Vec::new() };
    let (mut folders, files) = scanner.list(Path::new(""))?;
    let train_folder = scanner.one_of(&folders, &["train"])?;
    let val_folder = scanner.one_of(&folders, &["val", "valid", "validation"])?;
    let (train, val) = match (train_folder, val_folder) {
        (Some(train), val) => {
            let val = val.map(|val| scanner.part(val)).transpose()?;
            (scanner.part(train)?, val)
        }
        (None, Some(val)) => {
            bail!("--data {shown}: {}/ has no train/ beside it; put training pictures there\n{LAYOUTS}", val.display())
        }
        (None, None) => {
            folders.retain(|folder| !has_name(folder, "test"));
            (scanner.classes(Path::new(""), folders, files)?, None)
        }
    };
    if let Some(val) = &val {
        scanner.check_same_classes(&train, val)?;
    }

    let names = train.values().map(|class| class.name.clone()).collect();
    let split = val.is_none();
    let files = |classes: Classes| classes.into_values().map(|class| class.files).collect();
    let (train, val) = match val {
        Some(val) => (files(train), files(val)),
        None => scanner.set_aside(train, validation_share, seed)?,
    };
    scanner.rejected.sort();
    Ok(Folder {
        root: root.to_path_buf(),
        classes: names,
        train: label(train),
        val: label(val),
        split,
        rejected: scanner.rejected,
    })
}

impl Folder {
    /// The folder divided as it once was, with the photos of these names for validation. Where validation photos were set
    /// aside, all others are for training, those that have come since too; in a validation folder others do not count.
    pub fn divided_again(mut self, validation: &BTreeSet<String>) -> Self {
        let held = |file: &LabelledFile| validation.contains(&file.path.display().to_string());
        if self.split {
            let mut files = [self.train, self.val].concat();
            files.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
            (self.val, self.train) = files.into_iter().partition(held);
            // Nothing is to be set aside in place of what is broken now.
            self.split = false;
        } else {
            self.val.retain(held);
        }
        self
    }

    /// The folder without these validation photos, which equal training photos: those that were set aside go back to
    /// training, those of a validation folder are rejected.
    pub fn apart(mut self, doubles: &BTreeSet<String>) -> Self {
        let (double, val) = self.val.into_iter().partition(|file| doubles.contains(&file.path.display().to_string()));
        self.val = val;
        if self.split {
            self.train.extend::<Vec<LabelledFile>>(double);
            self.train.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
        } else {
            let reason = "equals a training picture, so it cannot judge what was learned";
            let rejected =
                |file: LabelledFile| Rejected { file: file.path.display().to_string(), reason: reason.into() };
            self.rejected.extend(double.into_iter().map(rejected));
        }
        self
    }

    /// Checks that every class still has a picture after decoding. `part` names the pictures, training or validation;
    /// `rejected` are the files that failed.
    ///
    /// # Errors
    /// If a class has no picture left.
    pub fn check_decoded(&self, part: &str, pictures: &dyn Pictures, rejected: &[Rejected]) -> Result<()> {
        for (class, name) in (0..).zip(&self.classes) {
            if (0..pictures.len()).all(|index| pictures.label(index) != class) {
                bail!(
                    "--data {}: none of the {part} pictures of the class '{name}' can be used; replace or add some{}",
                    self.root.display(),
                    first_reason(rejected)
                );
            }
        }
        Ok(())
    }
}

/// All pictures in a folder and the folders in it, by their names' endings, sorted; hidden ones are passed over.
///
/// # Errors
/// When a folder cannot be read.
pub fn pictures_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut scanner = Scanner { root, unusable: BTreeSet::new(), rejected: Vec::new() };
    let files = scanner.files_below(Path::new(""))?;
    Ok(files.into_iter().filter(|path| has_picture_name(path)).map(|path| root.join(path)).collect())
}

/// The classes of one part, training or validation, by name in lower case.
type Classes = BTreeMap<String, Class>;

struct Class {
    /// As the first of its folders or files spells it.
    name: String,
    files: Vec<PathBuf>,
}

/// Walks a data folder. All paths it takes and gives are relative to `root`.
struct Scanner<'a> {
    root: &'a Path,
    /// Files to pass over.
    unusable: BTreeSet<&'a str>,
    rejected: Vec<Rejected>,
}

impl Scanner<'_> {
    /// Folders and files directly inside `folder`, sorted by name, without the hidden ones.
    fn list(&self, folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let names = fs::read_dir(self.root.join(folder))
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, _>>())
            .with_context(|| format!("{}: cannot read this folder", self.data(folder)))?;
        let hidden = |name: &str| name.starts_with('.') || name == "__MACOSX";
        let mut paths: Vec<PathBuf> =
            names.iter().filter(|name| !hidden(&name.to_string_lossy())).map(|name| folder.join(name)).collect();
        paths.sort();
        Ok(paths.into_iter().partition(|path| self.root.join(path).is_dir()))
    }

    /// The folder that has one of `names`, if there is one.
    fn one_of<'f>(&self, folders: &'f [PathBuf], names: &[&str]) -> Result<Option<&'f Path>> {
        let named = |folder: &&PathBuf| names.iter().any(|name| has_name(folder, name));
        let mut found = folders.iter().filter(named);
        let first = found.next();
        if let (Some(first), Some(second)) = (first, found.next()) {
            bail!(
                "{}: {}/ and {}/ serve the same purpose; keep one of them",
                self.data(Path::new("")),
                first.display(),
                second.display()
            );
        }
        Ok(first.map(PathBuf::as_path))
    }

    /// The classes in `folder`.
    fn part(&mut self, folder: &Path) -> Result<Classes> {
        let (folders, files) = self.list(folder)?;
        self.classes(folder, folders, files)
    }

    /// The classes in `part`, given the folders and files directly inside it.
    fn classes(&mut self, part: &Path, folders: Vec<PathBuf>, files: Vec<PathBuf>) -> Result<Classes> {
        let (named, unnamed): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| class_in_name(path).is_some());
        if let (Some(folder), Some(file)) = (folders.first(), named.first()) {
            bail!(
                "{}: both the folder {} and the file {} could stand for a class; keep either \
                 folders named after the classes or pictures named like cat.0.jpg, and move the \
                 others away",
                self.data(part),
                folder.display(),
                file.display()
            );
        }
        let lost = if folders.is_empty() {
            "has no class in its name, as cat.0.jpg has"
        } else {
            "lies outside the class folders"
        };
        for path in unnamed {
            let reason = self.refusal(&path).unwrap_or(lost.into());
            self.reject(&path, reason);
        }

        self.check_no_split(part, &folders)?;
        let mut classes = Classes::new();
        let mut add = |name: String, files: Vec<PathBuf>| {
            let key = name.to_lowercase();
            let empty = Class { name, files: Vec::new() };
            classes.entry(key).or_insert(empty).files.extend(files);
        };
        for path in named {
            let name = class_in_name(&path).unwrap_or_default();
            add(name, self.usable(vec![path]));
        }
        for folder in folders {
            ensure!(
                folder.to_str().is_some(),
                "{}: the name of the folder {} is not valid UTF-8; rename it, for it names a class",
                self.data(part),
                folder.display()
            );
            let files = self.files_below(&folder)?;
            add(name_of(&folder), self.usable(files));
        }
        self.check(part, &classes)?;
        Ok(classes)
    }

    /// Refuses folders that look like parts of a split, not like classes: without pictures of their own, each with the same
    /// folders inside, such as training_set/cats, training_set/dogs, test_set/cats and test_set/dogs.
    fn check_no_split(&self, part: &Path, folders: &[PathBuf]) -> Result<()> {
        let mut inside = Vec::new();
        for folder in folders {
            let (below, files) = self.list(folder)?;
            if below.is_empty() || files.iter().any(|file| has_picture_name(file)) {
                return Ok(());
            }
            inside.push(below.iter().map(|folder| name_of(folder).to_lowercase()).collect::<Vec<_>>());
        }
        if let [first, second, ..] = folders
            && inside.windows(2).all(|pair| pair[0] == pair[1])
        {
            bail!(
                "{}: {}/ and {}/ hold the same folders, as if they were parts of a split and not classes; name the \
                 training pictures' folder train/ and the validation pictures' val/",
                self.data(part),
                first.display(),
                second.display()
            );
        }
        Ok(())
    }

    /// All files in `folder` and in the folders below it.
    fn files_below(&mut self, folder: &Path) -> Result<Vec<PathBuf>> {
        let (folders, mut files) = self.list(folder)?;
        for folder in folders {
            // A link could lead back up and make this walk endless.
            if self.root.join(&folder).is_symlink() {
                self.reject(&folder, "is a link to a folder, which is not followed here".into());
            } else {
                files.extend(self.files_below(&folder)?);
            }
        }
        Ok(files)
    }

    /// Those of `files` that may be pictures; the others are rejected.
    fn usable(&mut self, mut files: Vec<PathBuf>) -> Vec<PathBuf> {
        files.retain(|path| !self.unusable.contains(path.display().to_string().as_str()));
        files.retain(|path| match self.refusal(path) {
            None => true,
            Some(reason) => {
                self.reject(path, reason);
                false
            }
        });
        files
    }

    /// Why a file is certainly no picture, judged without opening it.
    fn refusal(&self, path: &Path) -> Option<String> {
        if !has_picture_name(path) {
            return Some("is not named .jpg, .jpeg or .png".into());
        }
        prepare::check_file(&self.root.join(path)).err()
    }

    fn reject(&mut self, path: &Path, reason: String) {
        self.rejected.push(Rejected { file: path.display().to_string(), reason });
    }

    /// Checks that `part` has at least two classes, each with a picture.
    fn check(&self, part: &Path, classes: &Classes) -> Result<()> {
        let data = self.data(part);
        ensure!(
            classes.values().any(|class| !class.files.is_empty()),
            "{data}: no usable picture was found{}\n{LAYOUTS}",
            first_reason(&self.rejected)
        );
        for Class { name, files } in classes.values() {
            ensure!(
                classes.len() > 1,
                "{data}: only one class was found, '{name}'; give the folder that holds a folder for \
                 each class, perhaps one level further down or up\n{LAYOUTS}"
            );
            ensure!(
                !files.is_empty(),
                "{data}: the class '{name}' has no usable picture; add some, or remove it if it is \
                 no class{}",
                first_reason(&self.rejected)
            );
        }
        Ok(())
    }

    /// Checks that training and validation have the same classes.
    fn check_same_classes(&self, train: &Classes, val: &Classes) -> Result<()> {
        for (here, there, missing) in [(val, train, "training"), (train, val, "validation")] {
            if let Some((_, class)) = here.iter().find(|(key, _)| !there.contains_key(*key)) {
                bail!(
                    "{}: the class '{}' has no {missing} pictures; give training and validation \
                     the same classes",
                    self.data(Path::new("")),
                    class.name
                );
            }
        }
        Ok(())
    }

    /// Sets aside a share of each class: the training and the validation files, class by class.
    fn set_aside(&self, classes: Classes, share: f64, seed: u64) -> Result<(ByClass, ByClass)> {
        let mut train = ByClass::new();
        let mut val = ByClass::new();
        for (number, Class { name, mut files }) in (0..).zip(classes.into_values()) {
            let count = files.len();
            ensure!(
                count > 1,
                "{}: the class '{name}' has a single picture, so none can be set aside for \
                 validation; add pictures, or a folder val/ beside train/",
                self.data(Path::new(""))
            );
            files.shuffle(&mut random("split", seed, number));
            let aside = (count as f64 * share).round() as usize;
            val.push(files.split_off(count - aside.clamp(1, count - 1)));
            train.push(files);
        }
        Ok((train, val))
    }

    /// How errors name a folder below the data folder.
    fn data(&self, folder: &Path) -> String {
        format!("--data {}", self.root.join(folder).display())
    }
}

/// The files of each class, in the order of the classes.
type ByClass = Vec<Vec<PathBuf>>;

/// Sorts each class's files and pairs them with the class's number.
fn label(classes: ByClass) -> Vec<LabelledFile> {
    let mut labelled = Vec::new();
    for (class, mut files) in (0..).zip(classes) {
        files.sort();
        labelled.extend(files.into_iter().map(|path| LabelledFile { path, class }));
    }
    labelled
}

/// The class that a picture's own name tells: `cat` for `cat.0.jpg`, none for `holiday.jpg`.
fn class_in_name(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_string_lossy();
    let (class, _) = stem.split_once('.')?;
    (has_picture_name(path) && !class.is_empty()).then(|| class.to_owned())
}

fn has_picture_name(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn has_name(path: &Path, name: &str) -> bool {
    name_of(path).eq_ignore_ascii_case(name)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The end of an error: what became of the first rejected file, if there is one.
fn first_reason(rejected: &[Rejected]) -> String {
    match rejected {
        [] => String::new(),
        [Rejected { file, reason }, ..] => {
            format!(" ({} rejected; the first: {file} {reason})", rejected.len())
        }
    }
}
