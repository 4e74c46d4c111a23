//! Which folders hold the training images, which the validation images, and which are not read.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::names::{class_in_name, path_text};
use super::tree::Tree;
use crate::terminal::counted;
use crate::terminal::quoted;

/// What a folder's name says that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Training,
    Validation,
    Test,
    Unlabelled,
}

/// The words of names that say so.
const WORDS: [(Role, &[&str]); 4] = [
    (Role::Training, &["train", "training", "trainset"]),
    (Role::Validation, &["val", "valid", "validation", "valset", "dev", "devset", "eval", "evaluation"]),
    (Role::Test, &["test", "testing", "testset"]),
    (Role::Unlabelled, &["pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled"]),
];

impl Role {
    /// What a name's words say, as `seg_train`, `training_set`, `Test` or `val2017`; none where they contradict.
    fn of(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        let mut roles = lower.split(|c: char| !c.is_alphanumeric()).filter_map(Self::of_word);
        let first = roles.next()?;
        roles.all(|role| role == first).then_some(first)
    }

    /// What a name says that has no other word.
    fn of_word(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        let word = lower.trim_end_matches(|c: char| c.is_ascii_digit());
        WORDS.iter().find(|(_, words)| words.contains(&word)).map(|(role, _)| *role)
    }
}

/// A folder that is not read, although it lies where images were looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unread {
    /// Path below the data folder.
    pub folder: PathBuf,
    /// How many files in it are named like images.
    pub images: usize,
    /// Why it is not read.
    pub why: Why,
}

/// Why a folder is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It holds no image.
    NoImage,
    /// It is named like a test set.
    Test,
    /// It is named like images whose classes are to be predicted.
    Unlabelled,
    /// Its name is that of a validation folder, but the user has named another.
    OtherValidation,
    /// It is neither of the folders of training and validation images that lie beside it.
    BesideParts,
    /// The classes are in the names of files that lie beside it.
    FileNames,
}

impl Unread {
    pub(super) fn new(tree: &Tree, why: Why) -> Self {
        Self { folder: tree.path.clone(), images: tree.images(), why }
    }
}

impl Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let why = match self.why {
            Why::NoImage => "holds no image",
            Why::Test => "named like a test set, which is never used; --val DIR takes it for validation",
            Why::Unlabelled => "named like images without classes",
            Why::OtherValidation => "--val names another folder for validation",
            Why::BesideParts => "neither training nor validation images",
            Why::FileNames => "the names of the files beside it tell the classes",
        };
        let folder = path_text(&self.folder);
        match self.images {
            0 => write!(f, "{folder}/ ({why})"),
            images => write!(f, "{folder}/, {} ({why})", counted(images, "image")),
        }
    }
}

/// Where the training and the validation images lie in a tree.
pub(super) struct Layout<'t> {
    /// The folder that holds the classes of the training images.
    pub(super) train: &'t Tree,
    /// The folder of the validation images.
    pub(super) val: Option<&'t Tree>,
    /// Folders that are not read.
    pub(super) unread: Vec<Unread>,
    /// Files that lie on the way to the folders that are read, not in them.
    pub(super) loose: Vec<&'t PathBuf>,
}

/// Decides on layouts.
pub(super) struct Decider<'a> {
    /// The data folder.
    pub(super) root: &'a Path,
    /// The folder of the validation images, below the data folder or from the root on, where the user has named it.
    pub(super) val: Option<&'a Path>,
}

impl Decider<'_> {
    /// Finds the folders of training and validation images in a data folder.
    ///
    /// # Errors
    /// When there is more than one way to understand it, with the options that choose one.
    pub(super) fn decide<'t>(&self, top: &'t Tree) -> Result<Layout<'t>> {
        let mut layout = Layout { train: top, val: None, unread: Vec::new(), loose: Vec::new() };
        loop {
            let at = layout.train;
            if let Some((train, val)) = self.parts(at, &mut layout.unread)? {
                layout.loose.extend(&at.files);
                layout.train = self.walk(train, &mut layout.unread, &mut layout.loose);
                layout.val = val.map(|val| self.walk(val, &mut layout.unread, &mut layout.loose));
                return Ok(layout);
            }
            match self.step(at, &mut layout.unread, &mut layout.loose) {
                Some(next) => layout.train = next,
                None => return Ok(layout),
            }
        }
    }

    /// The folder that holds the classes of a part: `part` itself, or one inside it that holds all its images.
    pub(super) fn walk<'t>(&self, part: &'t Tree, unread: &mut Vec<Unread>, loose: &mut Vec<&'t PathBuf>) -> &'t Tree {
        let mut at = part;
        while let Some(next) = self.step(at, unread, loose) {
            at = next;
        }
        at
    }

    /// The one folder in `at` to go on with: the only one that holds images, and these in folders or with classes in their
    /// names. Then what lies beside it is not read.
    fn step<'t>(&self, at: &'t Tree, unread: &mut Vec<Unread>, loose: &mut Vec<&'t PathBuf>) -> Option<&'t Tree> {
        let (folders, beside) = self.class_folders(at);
        let [only] = folders[..] else { return None };
        let goes_on = names_classes(only) || (only.folders.iter().any(Tree::holds_images) && !holds_unnamed(only));
        if names_classes(at) || !goes_on {
            return None;
        }
        unread.extend(beside);
        loose.extend(&at.files);
        Some(only)
    }

    /// The folders in `at` that may stand for classes, and those that do not.
    pub(super) fn class_folders<'t>(&self, at: &'t Tree) -> (Vec<&'t Tree>, Vec<Unread>) {
        let (holding, empty): (Vec<_>, Vec<_>) = at.folders.iter().partition(|folder| folder.holds_images());
        let mut unread: Vec<_> = empty.into_iter().map(|folder| Unread::new(folder, Why::NoImage)).collect();
        let role = |folder: &Tree| match Role::of_word(&folder.name())? {
            Role::Test => Some(Why::Test),
            Role::Unlabelled => Some(Why::Unlabelled),
            Role::Validation if self.val.is_some() => Some(Why::OtherValidation),
            Role::Training | Role::Validation => None,
        };
        // A folder named test/ alone is what was asked for.
        if !names_classes(at) && holding.iter().all(|folder| role(folder).is_some()) {
            return (holding, unread);
        }
        let (classes, others): (Vec<_>, Vec<_>) = holding.into_iter().partition(|folder| role(folder).is_none());
        unread.extend(others.into_iter().filter_map(|folder| Some(Unread::new(folder, role(folder)?))));
        (classes, unread)
    }

    /// The folders in `at` that are named like training and validation images, if `at` is divided like that; then the
    /// others are not read.
    fn parts<'t>(&self, at: &'t Tree, unread: &mut Vec<Unread>) -> Result<Option<(&'t Tree, Option<&'t Tree>)>> {
        let (holding, empty): (Vec<_>, Vec<_>) = at.folders.iter().partition(|folder| folder.holds_images());
        let named = |role: Option<Role>| -> Vec<&Tree> {
            holding.iter().copied().filter(|folder| Role::of(&folder.name()) == role).collect()
        };
        let [train, val] = [Role::Training, Role::Validation].map(|role| named(Some(role)));
        let others = named(None);
        let all_parts = others.is_empty() && !names_classes(at) && !holding.is_empty();
        let Some(&training) = train.first() else {
            return self.check_no_training(at, all_parts, &holding).map(|()| None);
        };
        for (same, matters) in [(&train, true), (&val, self.val.is_none())] {
            if let [first, second, ..] = same[..]
                && matters
            {
                let val =
                    if same[0].path == training.path { String::new() } else { format!(" --val {}", self.typed(first)) };
                bail!(
                    "{}: {} and {} seem to serve the same purpose; to choose {}, use --data {}{val}; if every folder is a class, {}",
                    self.data(at),
                    shown(first),
                    shown(second),
                    shown(first),
                    self.typed(training),
                    self.literal(at, 1)
                );
            }
        }
        if !all_parts && val.is_empty() {
            let beside = others.first().map_or("files that name their class".into(), |folder| shown(folder));
            bail!(
                "{}: {} is named like training images, but {beside} beside it like a class; to train on {} alone, use --data \
                 {}; if every folder is a class, {}",
                self.data(at),
                shown(training),
                shown(training),
                self.typed(training),
                self.literal(at, 1)
            );
        }
        let chosen = val.first().copied().filter(|_| self.val.is_none());
        unread.extend(empty.into_iter().map(|folder| Unread::new(folder, Why::NoImage)));
        for folder in holding {
            let why = match Role::of(&folder.name()) {
                Some(Role::Training) => continue,
                Some(Role::Validation) if self.val.is_some() => Why::OtherValidation,
                Some(Role::Validation) => continue,
                Some(Role::Test) => Why::Test,
                Some(Role::Unlabelled) => Why::Unlabelled,
                None => Why::BesideParts,
            };
            unread.push(Unread::new(folder, why));
        }
        Ok(Some((training, chosen)))
    }

    /// Refuses validation or test images that have no training images beside them. Beside classes, a folder is only meant
    /// where its name has no other word, for a class may be called `test tube`.
    fn check_no_training(&self, at: &Tree, all_parts: bool, holding: &[&Tree]) -> Result<()> {
        if all_parts {
            let names: Vec<_> = holding.iter().map(|folder| shown(folder)).collect();
            bail!(
                "{}: there is no train/ beside {}; to train on {}, use --data {}; if every folder is a class, {}",
                self.data(at),
                names.join(", "),
                names[0],
                self.typed(holding[0]),
                self.literal(at, 1)
            );
        }
        let is_val = |folder: &&&Tree| Role::of_word(&folder.name()) == Some(Role::Validation);
        if let Some(val) = holding.iter().find(is_val)
            && self.val.is_none()
        {
            bail!(
                "{}: {} has no train/ beside it, but other images; to train on these and validate on {}, use --data {} --val \
                 {}; if every folder is a class, {}",
                self.data(at),
                shown(val),
                shown(val),
                self.typed(at),
                self.typed(val),
                self.literal(at, 1)
            );
        }
        Ok(())
    }

    /// How errors name a folder: by the option that leads to it.
    pub(super) fn data(&self, at: &Tree) -> String {
        self.option(&at.path)
    }

    /// The same of a path below the data folder, or from the root on.
    pub(super) fn option(&self, path: &Path) -> String {
        let option = if self.in_val(path) { "--val" } else { "--data" };
        format!("{option} {}", self.whole(path).display())
    }

    /// Whether a path lies in the validation folder that the user has named.
    pub(super) fn in_val(&self, path: &Path) -> bool {
        self.val.is_some_and(|val| path.starts_with(val))
    }

    /// A folder's path as it is typed.
    pub(super) fn typed(&self, at: &Tree) -> String {
        quoted(&self.whole(&at.path).display().to_string())
    }

    /// A folder's path, the data folder's own without a slash at its end.
    fn whole(&self, path: &Path) -> PathBuf {
        self.root.join(path).components().collect()
    }

    /// The options that take `at` as it is.
    pub(super) fn literal(&self, at: &Tree, level: usize) -> String {
        format!("use --data {} --class-level {level}", self.typed(at))
    }
}

/// Whether files in a folder name their class.
fn names_classes(at: &Tree) -> bool {
    at.files.iter().any(|file| class_in_name(file).is_some())
}

/// Whether images lie in a folder, none of which names its class.
fn holds_unnamed(at: &Tree) -> bool {
    at.files.iter().any(|file| super::names::is_image(file)) && !names_classes(at)
}

/// How errors name a folder below another.
fn shown(folder: &Tree) -> String {
    format!("{}/", folder.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_told_by_whole_words() {
        for (names, role) in [
            (
                &["train", "Train", "seg_train", "training_set", "train2017", "Training Data", "TRAIN-1"][..],
                Role::Training,
            ),
            (&["val", "VALID", "validation", "seg_val", "dev", "val2017", "my.eval.images"], Role::Validation),
            (&["test", "test1", "test_set", "seg_test", "Testing"], Role::Test),
            (&["seg_pred", "unlabeled", "predictions"], Role::Unlabelled),
        ] {
            names.iter().for_each(|name| assert_eq!(Role::of(name), Some(role), "{name}"));
        }
        for name in ["trains", "steam train2b", "tested", "value", "device", "cat", "train_test", "", "contest"] {
            assert_eq!(Role::of(name), None, "{name}");
        }
        assert_eq!((Role::of_word("test1"), Role::of_word("test tube")), (Some(Role::Test), None));
    }
}
