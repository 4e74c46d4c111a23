//! Which images a data folder holds, of which classes, for training and for validation.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::layout::Decider;
pub use super::layout::{Unread, Why};
use super::names::{class_in_name, class_key, class_name, is_image, is_readable, name_of, path_text};
use super::tree::Tree;
use super::{Images, Rejected, prepare};
use crate::terminal::{counted, is_obeyed};

/// Why an image is not used that is in no class folder.
pub(crate) const OUTSIDE: &str = "lies outside the class folders";
/// Why an image is not used where names of files are those of classes.
pub(crate) const NAMELESS: &str = "has no class in its name, as cat.0.jpg has";

/// Share of each class that is set aside for validation when the data folder has no validation
/// folder.
pub const VALIDATION_SHARE: f64 = 0.2;

/// The layouts, as an error tells them; [`scan`] documents them in full.
const LAYOUTS: &str = "\
Images are .jpg, .jpeg or .png files in one of these layouts, in the data folder or in its train/:
  one folder a class:          cat/anything.jpg   dog/anything.jpg
  the class in the file name:  cat.0.jpg   dog.0.jpg
Beside train/ there may be a validation folder, as val/, in either layout; without it a share of the training images is set
aside. A test set is never used. At least two classes are needed. --val and --class-level settle what is not clear.";

/// What the user says of a data folder, where it does not speak for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// The folder of the validation images, `--val`.
    pub val: Option<PathBuf>,
    /// How many folders below the data folder those of the classes lie, from 1; 0 where the files' names tell the classes.
    /// `--class-level`.
    pub class_level: Option<usize>,
}

/// What [`scan`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// The data folder.
    pub root: PathBuf,
    /// Names of the classes, sorted without regard to case.
    pub classes: Vec<String>,
    /// Training images, sorted by class and path.
    pub train: Vec<LabelledFile>,
    /// Validation images, sorted by class and path; none where they are to be set aside from the training images.
    pub val: Option<Vec<LabelledFile>>,
    /// The folders of training and of validation images, below the data folder.
    pub parts: (PathBuf, Option<PathBuf>),
    /// Folders that are not read, sorted by path.
    pub unread: Vec<Unread>,
    /// What else could be meant, and the options that say so.
    pub note: Option<String>,
    /// Files that cannot be used, sorted by path. None of them has been decoded yet, so more may
    /// follow.
    pub rejected: Vec<Rejected>,
}

/// An image's file and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledFile {
    /// Path below the data folder; from the root on where the file lies outside, as with [`Choices::val`] it may.
    pub path: PathBuf,
    /// Index into the classes.
    pub class: u32,
}

/// Finds the labelled images of a data folder, which is only read, never written to.
///
/// 1. A folder that holds all images of the data folder is walked into, again and again.
/// 2. Where a folder's name has a word such as `train` or `training`, it holds the training images; one beside it with a word
///    such as `val`, `valid`, `validation` or `dev` holds the validation images. Test sets and images without classes
///    (`test`, `pred`) are never read.
/// 3. In the folder that is left each folder is a class, with all images in it and below; without folders, what comes before
///    the first dot of a file's name is its class: `cat.0.jpg`.
///
/// [`Choices`] settle what this does not: with `val` that is the validation folder, and with `class_level` the data folder
/// is taken literally, without steps 1 and 2. What lies beside the folders that are read is listed in [`Folder::unread`] and
/// [`Folder::rejected`]; where both readings are likely, there is an error. Names of classes are compared without regard to
/// case and to how accents are stored. Hidden files and folders, and those that systems make by themselves, are passed over.
/// Links to folders are followed, but not back.
///
/// # Errors
/// If there are not at least two classes with images, the same for training and validation; if there is more than one way
/// to understand the folder, with the options that choose one; if it cannot be read; or if its path is not valid Unicode.
pub fn scan(root: &Path, choices: &Choices) -> Result<Folder> {
    check_folder("--data", root)?;
    let mut rejected = Vec::new();
    let mut top = Tree::read(root, Path::new(""), &mut rejected)?;
    let named_val = match &choices.val {
        Some(val) => {
            let path = check_val(root, val)?;
            top.remove(&path);
            Some(Tree::read(root, &path, &mut rejected)?)
        }
        None => None,
    };
    let decider = Decider { root, val: named_val.as_ref().map(|val| val.path.as_path()) };
    let mut scanner = Scanner { decider, level: choices.class_level, unread: Vec::new(), rejected };
    let (train_tree, val_tree) = scanner.parts(&top, named_val.as_ref())?;
    let train = scanner.classes(train_tree)?;
    let val = val_tree.map(|tree| scanner.classes(tree)).transpose()?;
    if let Some(val) = &val {
        scanner.check_same_classes(&train, val)?;
    }
    let note = scanner.other_reading(train_tree, val_tree);
    let Scanner { mut unread, mut rejected, .. } = scanner;
    unread.sort();
    unread.dedup();
    rejected.sort();
    rejected.dedup();
    Ok(Folder {
        root: root.to_path_buf(),
        classes: train.values().map(|class| class.name.clone()).collect(),
        train: label(train),
        val: val.map(label),
        parts: (train_tree.path.clone(), val_tree.map(|tree| tree.path.clone())),
        unread,
        note,
        rejected,
    })
}

/// Checks that an option names a folder whose path can be recorded.
///
/// # Errors
/// If it does not.
fn check_folder(option: &str, folder: &Path) -> Result<()> {
    let shown = folder.display();
    ensure!(folder.exists(), "{option} {shown}: there is no such folder; check the path");
    ensure!(folder.is_dir(), "{option} {shown}: is a file; give the folder that holds the images");
    recordable(option, folder).map(|_| ())
}

/// A folder's path from the root on, as it is recorded for later commands.
///
/// # Errors
/// If it is not valid Unicode.
pub fn recordable(option: &str, folder: &Path) -> Result<String> {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    whole.into_os_string().into_string().map_err(|whole| {
        let whole = path_text(Path::new(&whole));
        anyhow::anyhow!("{option}: the path {whole} is not valid Unicode, so it cannot be recorded; rename the folder")
    })
}

/// The path of the validation folder: below the data folder if it lies in there, or else from the root on.
///
/// # Errors
/// If it is no folder that can be told from the training images.
fn check_val(root: &Path, val: &Path) -> Result<PathBuf> {
    check_folder("--val", val)?;
    let real = |option: &str, path: &Path| {
        path.canonicalize().with_context(|| format!("{option} {}: this folder cannot be found", path.display()))
    };
    let (inner, outer) = (real("--val", val)?, real("--data", root)?);
    ensure!(
        !outer.starts_with(&inner),
        "--val {}: holds the --data folder; give a folder with validation images alone",
        val.display()
    );
    match inner.strip_prefix(&outer) {
        Ok(below) => Ok(below.to_path_buf()),
        Err(_) => Ok(std::path::absolute(val).unwrap_or(inner)),
    }
}

impl Folder {
    /// What was taken for what, line by line.
    pub fn told(&self) -> Vec<String> {
        let folder = |path: &Path| match path_text(path) {
            text if text.is_empty() => "the folder itself".into(),
            text => format!("{text}/"),
        };
        let (train, val) = &self.parts;
        let mut lines = vec![format!("training    {}, {}", folder(train), counted(self.train.len(), "image"))];
        lines.push(match (val, &self.val) {
            (Some(path), Some(files)) => format!("validation  {}, {}", folder(path), counted(files.len(), "image")),
            _ => "validation  set aside from these".into(),
        });
        lines.push(format!("classes     {}", self.counted_classes()));
        lines.extend(self.unread.iter().map(|unread| format!("not read    {unread}")));
        lines.extend(self.note.iter().map(|note| format!("note        {note}")));
        lines
    }

    /// The classes and their numbers of images, training and validation apart.
    fn counted_classes(&self) -> String {
        let count = |files: &[LabelledFile], class: u32| files.iter().filter(|file| file.class == class).count();
        let counted = (0..).zip(&self.classes).map(|(class, name)| {
            let train = count(&self.train, class);
            let val = self.val.as_ref().map(|val| format!(" + {}", count(val, class)));
            format!("{name} {train}{}", val.unwrap_or_default())
        });
        first_of(&counted.collect::<Vec<_>>())
    }

    /// Checks that every class still has an image after decoding. `part` names the images, training or validation;
    /// `rejected` are the files that are not used.
    ///
    /// # Errors
    /// If a class has no image left.
    pub fn check_decoded(&self, part: &str, images: &dyn Images, rejected: &[Rejected]) -> Result<()> {
        for (class, name) in (0..).zip(&self.classes) {
            if (0..images.len()).all(|index| images.label(index) != class) {
                bail!(
                    "--data {}: none of the {part} images of the class '{name}' can be used; replace or add some{}",
                    self.root.display(),
                    first_reason(rejected)
                );
            }
        }
        Ok(())
    }
}

/// Classes and folders that are told one by one.
const MAX_SHOWN: usize = 20;

/// The first of several names, and how many more there are.
fn first_of(names: &[String]) -> String {
    let shown = names[..names.len().min(MAX_SHOWN)].join(", ");
    match names.len().saturating_sub(MAX_SHOWN) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

/// All images in a folder and the folders in it, by their names' endings, sorted; hidden ones are passed over.
///
/// # Errors
/// When a folder cannot be read.
pub fn images_below(root: &Path) -> Result<Vec<PathBuf>> {
    let tree = Tree::read(root, Path::new(""), &mut Vec::new())?;
    Ok(tree.all_files().into_iter().filter(|path| is_readable(path)).map(|path| root.join(path)).collect())
}

/// The classes of one part, training or validation, by what their spellings have in common.
type Classes = BTreeMap<String, Class>;

struct Class {
    /// As the first of its folders or files spells it.
    name: String,
    files: Vec<PathBuf>,
}

/// Makes classes of folders and files.
struct Scanner<'a> {
    decider: Decider<'a>,
    /// [`Choices::class_level`].
    level: Option<usize>,
    unread: Vec<Unread>,
    rejected: Vec<Rejected>,
}

impl Scanner<'_> {
    /// The folders that hold the classes of the training and the validation images.
    fn parts<'t>(&mut self, top: &'t Tree, named_val: Option<&'t Tree>) -> Result<(&'t Tree, Option<&'t Tree>)> {
        if self.level.is_some() {
            return Ok((top, named_val));
        }
        let mut layout = self.decider.decide(top)?;
        let val = named_val.map(|val| self.decider.walk(val, &mut layout.unread, &mut layout.loose)).or(layout.val);
        self.unread.extend(layout.unread);
        self.reject_loose(layout.loose);
        Ok((layout.train, val))
    }

    /// The classes in a part.
    fn classes(&mut self, at: &Tree) -> Result<Classes> {
        let classes = match self.level {
            Some(0) => {
                let holding = at.folders.iter().filter(|folder| folder.holds_images());
                self.unread.extend(holding.map(|folder| Unread::new(folder, Why::FileNames)));
                self.of_names(at)?
            }
            Some(level) => {
                let (folders, empty): (Vec<_>, Vec<_>) =
                    at.below(level).into_iter().partition(|folder| folder.holds_images());
                self.unread.extend(empty.into_iter().map(|folder| Unread::new(folder, Why::NoImage)));
                (0..level).flat_map(|above| at.below(above)).for_each(|folder| self.reject_loose(&folder.files));
                self.of_folders(at, &folders)?
            }
            None => {
                let (folders, beside) = self.decider.class_folders(at);
                self.unread.extend(beside);
                match folders[..] {
                    [] => self.of_names(at)?,
                    [first, ..] => {
                        self.check_no_names(at, first)?;
                        self.reject_loose(&at.files);
                        self.of_folders(at, &folders)?
                    }
                }
            }
        };
        self.check(at, &classes)?;
        Ok(classes)
    }

    /// The classes that the names of files in a folder tell.
    fn of_names(&mut self, at: &Tree) -> Result<Classes> {
        let mut classes = Classes::new();
        for path in &at.files {
            let Some(name) = class_in_name(path) else {
                self.reject_or(path, NAMELESS);
                continue;
            };
            let name = self.class_named(at, "file", path, str::from_utf8(name).ok())?;
            let usable = self.usable([path]);
            add(&mut classes, name, usable);
        }
        Ok(classes)
    }

    /// The classes that folders stand for.
    fn of_folders(&mut self, at: &Tree, folders: &[&Tree]) -> Result<Classes> {
        let mut classes = Classes::new();
        for folder in folders {
            let name = folder.path.file_name().and_then(OsStr::to_str);
            let name = self.class_named(at, "folder", &folder.path, name)?;
            let usable = self.usable(folder.all_files());
            add(&mut classes, name, usable);
        }
        Ok(classes)
    }

    /// The class that the name of a file or folder tells, if it is text that can stand in every table and on every page.
    fn class_named<'n>(&self, at: &Tree, kind: &str, path: &Path, name: Option<&'n str>) -> Result<&'n str> {
        let problem = match name {
            Some(name) if !name.chars().any(is_obeyed) => return Ok(name),
            Some(_) => "has a character that is not shown, such as a line break",
            None => "is not valid Unicode",
        };
        bail!(
            "{}: the name of the {kind} {} {problem}; rename it, for it names a class",
            self.decider.data(at),
            name_of(path)
        )
    }

    /// Refuses a folder where both folders and files could stand for classes.
    fn check_no_names(&self, at: &Tree, folder: &Tree) -> Result<()> {
        if let Some(file) = at.files.iter().find(|file| class_in_name(file).is_some()) {
            bail!(
                "{}: both the folder {} and the file {} could stand for a class; for the folders, {}; for the names of the \
                 files, {}",
                self.decider.data(at),
                folder.name(),
                name_of(file),
                self.decider.literal(at, 1),
                self.decider.literal(at, 0)
            );
        }
        Ok(())
    }

    /// What to say where folders were taken for classes that all hold the same folders, but for gaps: these may be the classes.
    /// One of them holds all, so that folders which share a name by chance are not taken for the same.
    fn other_reading(&self, train: &Tree, val: Option<&Tree>) -> Option<String> {
        if self.level.is_some() {
            return None;
        }
        let (folders, _) = self.decider.class_folders(train);
        let inside = |folder: &&Tree| -> Option<BTreeSet<String>> {
            let below = folder.folders.iter().filter(|folder| folder.holds_images());
            let only_folders = !folder.files.iter().any(|file| is_image(file));
            only_folders.then(|| below.map(|folder| class_key(&folder.name())).collect())
        };
        let inside: Vec<_> = folders.iter().map(inside).collect::<Option<_>>()?;
        let all: BTreeSet<String> = inside.iter().flatten().cloned().collect();
        if inside.len() < 2 || all.len() < 2 || !inside.contains(&all) {
            return None;
        }
        let gap = |(folder, names): (&&Tree, &BTreeSet<String>)| -> Vec<String> {
            all.difference(names).map(|name| format!("{}/ has no {name}/", folder.name())).collect()
        };
        let gaps: Vec<String> = folders.iter().zip(&inside).flat_map(gap).collect();
        let but = if gaps.is_empty() { String::new() } else { format!(", but {}", first_of(&gaps)) };
        let names: Vec<String> = all.into_iter().collect();
        let val = val.map(|val| format!(" --val {}", self.decider.typed(val))).unwrap_or_default();
        Some(format!(
            "each class folder holds the same folders ({}){but}; if these are the classes, {}{val}",
            first_of(&names),
            self.decider.literal(train, 2)
        ))
    }

    /// Those of `files` that may be images; the others are rejected.
    fn usable<'t>(&mut self, files: impl IntoIterator<Item = &'t PathBuf>) -> Vec<PathBuf> {
        let mut usable = Vec::new();
        for path in files {
            match self.refusal(path) {
                None => usable.push(path.clone()),
                Some(reason) => self.reject(path, reason),
            }
        }
        usable
    }

    /// Why a file is certainly no image, judged without opening it.
    fn refusal(&self, path: &Path) -> Option<String> {
        if !is_readable(path) {
            return Some("is not named .jpg, .jpeg or .png".into());
        }
        prepare::check_file(&self.decider.root.join(path)).err()
    }

    /// Rejects files that lie beside the class folders.
    fn reject_loose<'t>(&mut self, files: impl IntoIterator<Item = &'t PathBuf>) {
        files.into_iter().for_each(|path| self.reject_or(path, OUTSIDE));
    }

    /// Rejects a file because it is no image, or else for this reason.
    fn reject_or(&mut self, path: &Path, reason: &str) {
        let reason = self.refusal(path).unwrap_or(reason.into());
        self.reject(path, reason);
    }

    fn reject(&mut self, path: &Path, reason: String) {
        self.rejected.push(Rejected { file: path_text(path), reason });
    }

    /// Checks that a part has at least two classes, each with an image.
    fn check(&self, at: &Tree, classes: &Classes) -> Result<()> {
        let data = self.decider.data(at);
        // What is told of the other part would mislead.
        let val = self.decider.val.map(path_text);
        let in_val = |path: &str| val.as_ref().is_some_and(|val| Path::new(path).starts_with(val));
        let same_part = |path: &str| in_val(path) == self.decider.in_val(&at.path);
        let rejected: Vec<Rejected> =
            self.rejected.iter().filter(|rejected| same_part(&rejected.file)).cloned().collect();
        ensure!(
            classes.values().any(|class| !class.files.is_empty()),
            "{data}: no usable image was found{}{}\n{LAYOUTS}",
            self.missed(at),
            first_reason(&rejected)
        );
        for Class { name, files } in classes.values() {
            let unread = self.unread.iter().filter(|unread| same_part(&path_text(&unread.folder)));
            let unread: Vec<String> = unread.map(Unread::to_string).collect();
            let unread = if unread.is_empty() { String::new() } else { format!("; not read: {}", unread.join("; ")) };
            ensure!(
                classes.len() > 1,
                "{data}: only one class was found, '{name}'{unread}; give the folder that holds a folder for each class, \
                 perhaps one level further down or up\n{LAYOUTS}"
            );
            ensure!(
                !files.is_empty(),
                "{data}: the class '{name}' has no usable image; add some, or move it away if it is no class{}",
                first_reason(&rejected)
            );
        }
        Ok(())
    }

    /// Where the images of a part lie in which none was found, with the remedy; nothing where it has none.
    fn missed(&self, at: &Tree) -> String {
        if !at.holds_images() {
            return String::new();
        }
        let holding: Vec<String> = at
            .folders
            .iter()
            .filter(|folder| folder.holds_images())
            .map(|folder| format!("{}/", folder.name()))
            .collect();
        match self.level {
            Some(0) if !holding.is_empty() => format!(
                " with a class in its name, as --class-level 0 asks: its images lie in folders, {}; leave --class-level 0 out, \
                 or name a folder of such images",
                first_of(&holding)
            ),
            Some(level) if level > 0 => format!(
                ": no folder that lies {level} below it holds images; --class-level counts the folders down to those of the classes"
            ),
            _ => {
                ": its images are in no class; give the folder that holds a folder for each class, perhaps one level up"
                    .into()
            }
        }
    }

    /// Checks that training and validation have the same classes.
    fn check_same_classes(&self, train: &Classes, val: &Classes) -> Result<()> {
        let judged = self.decider.val.unwrap_or(Path::new(""));
        let parts = [(val, train, "training", Path::new("")), (train, val, "validation", judged)];
        for (here, there, missing, part) in parts {
            if let Some((_, class)) = here.iter().find(|(key, _)| !there.contains_key(*key)) {
                bail!(
                    "{}: the class '{}' has no {missing} images; give training and validation the same classes",
                    self.decider.option(part),
                    class.name
                );
            }
        }
        Ok(())
    }
}

fn add(classes: &mut Classes, name: &str, files: Vec<PathBuf>) {
    let empty = Class { name: class_name(name), files: Vec::new() };
    classes.entry(class_key(name)).or_insert(empty).files.extend(files);
}

/// Pairs the files with their classes' numbers, sorted.
fn label(classes: Classes) -> Vec<LabelledFile> {
    let mut labelled = Vec::new();
    for (class, Class { mut files, .. }) in (0..).zip(classes.into_values()) {
        files.sort();
        labelled.extend(files.into_iter().map(|path| LabelledFile { path, class }));
    }
    labelled
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
