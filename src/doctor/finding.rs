//! What a data set suffers from, and the one place that words it.

use std::fmt::{self, Display};

use serde::Serialize;

use super::near::{Pair, Relation};
use super::shortcut::{Measure, Shortcut};
use crate::data::folder::{NAMELESS, OUTSIDE};
use crate::figures::words::{count, plain};
use crate::terminal::counted;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Training would mislead.
    Error,
    /// Training would suffer.
    Warning,
    /// Good to know.
    Note,
}

impl Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// What is the matter.
#[derive(Clone, Debug, PartialEq)]
pub enum Ill {
    /// Images are like earlier ones.
    Alike {
        /// How they stand to them.
        relation: Relation,
        /// Whether they are equal rather than nearly equal.
        equal: bool,
        /// Whether the folder has validation images of its own.
        divided: bool,
    },
    /// Files that are named like images cannot be used, for this reason.
    Unusable(String),
    /// Files beside the images are not used, for this reason.
    Ignored(String),
    /// One class has far more training images than another.
    Unequal {
        /// The class with the most, and how many.
        largest: (String, usize),
        /// The class with the fewest, and how many.
        smallest: (String, usize),
        /// Share that always naming the commonest class gets right.
        guessing: f64,
    },
    /// One number tells a class from the others.
    Shortcut {
        /// The number, and how well it does.
        rule: Shortcut,
        /// The class.
        class: String,
        /// The other class, where there are but two.
        other: Option<String>,
    },
    /// Images are smaller than the size that the network takes.
    Small(u32),
    /// Images are so long that the middle square leaves out most of them.
    Long,
    /// Some images are grey among coloured ones.
    Grey,
    /// Some images are coloured among grey ones.
    Coloured,
}

/// A finding: what is the matter, with how many images.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What.
    pub ill: Ill,
    /// With how many images or files.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// Some of the images or files, as they are told.
    pub examples: Vec<String>,
    /// All pairs of images that it is about, those most alike first.
    pub pairs: Vec<Pair>,
}

/// How many times as many images the largest class has as the smallest, from which on that is a warning, and an error.
const UNEQUAL: [f64; 2] = [2.0, 10.0];
/// Longer side in times of the shorter one from which on an image is long.
pub(super) const LONG: f64 = 3.0;
/// Share of the images from which on what troubles single images troubles training.
const MANY: f64 = 0.05;
/// Share from which on wrong classes, or images known from training, mislead.
const MISLEADING: f64 = 0.01;
/// Share of the mistakes of guessing that a single number avoids, from which on that is a warning, and an error.
const GAIN: [f64; 2] = [0.3, 0.7];

impl Finding {
    /// The finding that classes have unequal numbers of images, if they do.
    pub fn unequal(classes: &[String], counts: &[usize]) -> Option<Self> {
        let of = |index: usize| (classes[index].clone(), counts[index]);
        let largest = (0..counts.len()).max_by_key(|&index| (counts[index], usize::MAX - index)).map(of)?;
        let smallest = (0..counts.len()).min_by_key(|&index| counts[index]).map(of)?;
        if largest.1 == 0 || times(largest.1, smallest.1) < UNEQUAL[0] {
            return None;
        }
        let all: usize = counts.iter().sum();
        let guessing = largest.1 as f64 / all as f64;
        let count = smallest.1;
        Some(Self {
            ill: Ill::Unequal { largest, smallest, guessing },
            count,
            of: all,
            examples: Vec::new(),
            pairs: Vec::new(),
        })
    }

    /// The finding about a shortcut, if it is far better than guessing.
    pub(super) fn shortcut(rule: Shortcut, classes: &[String], images: usize) -> Option<Self> {
        if rule.gain() < GAIN[0] {
            return None;
        }
        let count = (rule.right * images as f64).round() as usize;
        let class = rule.class as usize;
        let other = (classes.len() == 2).then(|| classes[1 - class].clone());
        let ill = Ill::Shortcut { class: classes[class].clone(), other, rule };
        Some(Self { ill, count, of: images, examples: Vec::new(), pairs: Vec::new() })
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        let at_least = |share: f64| self.count as f64 >= share * self.of as f64;
        let if_many = if at_least(MANY) { Severity::Warning } else { Severity::Note };
        let if_misleading = if at_least(MISLEADING) { Severity::Error } else { Severity::Warning };
        match &self.ill {
            Ill::Alike { relation: Relation::Contradiction, equal: true, .. } => if_misleading,
            // `train` leaves equal ones out by itself.
            Ill::Alike { relation: Relation::Leak, equal: false, .. } => if_misleading,
            Ill::Alike { relation: Relation::Contradiction | Relation::Leak, .. } => Severity::Warning,
            Ill::Alike { relation: Relation::Double, equal: false, divided: false } => Severity::Warning,
            Ill::Alike { relation: Relation::Double, .. } => if_many,
            Ill::Unusable(_) => Severity::Warning,
            Ill::Ignored(_) => Severity::Note,
            Ill::Unequal { largest, smallest, .. } => match times(largest.1, smallest.1) >= UNEQUAL[1] {
                true => Severity::Error,
                false => Severity::Warning,
            },
            Ill::Shortcut { rule, .. } => match rule.gain() >= GAIN[1] {
                true => Severity::Error,
                false => Severity::Warning,
            },
            Ill::Small(_) | Ill::Long | Ill::Grey | Ill::Coloured => if_many,
        }
    }

    /// What kind of finding it is, for programs.
    pub fn kind(&self) -> &'static str {
        match &self.ill {
            Ill::Alike { relation, equal, .. } => match (relation, equal) {
                (Relation::Contradiction, true) => "equal_in_two_classes",
                (Relation::Contradiction, false) => "near_equal_in_two_classes",
                (Relation::Leak, true) => "equal_in_training_and_validation",
                (Relation::Leak, false) => "near_equal_in_training_and_validation",
                (Relation::Double, true) => "equal_in_a_class",
                (Relation::Double, false) => "near_equal_in_a_class",
            },
            Ill::Unusable(_) => "unusable_images",
            Ill::Ignored(_) => "other_files",
            Ill::Unequal { .. } => "unequal_classes",
            Ill::Shortcut { rule, .. } => match rule.measure {
                Measure::Pixels => "classes_differ_in_size",
                Measure::Shape => "classes_differ_in_shape",
                Measure::Format => "classes_differ_in_format",
                Measure::Brightness => "classes_differ_in_brightness",
                Measure::Grey => "classes_differ_in_colour",
            },
            Ill::Small(_) => "small_images",
            Ill::Long => "long_images",
            Ill::Grey => "grey_images",
            Ill::Coloured => "coloured_images",
        }
    }

    /// What is the matter, in a sentence without a full stop.
    pub fn told(&self) -> String {
        let images = format!("{} of {} images", count(self.count), count(self.of));
        match &self.ill {
            Ill::Alike { relation, equal, .. } => {
                let like = if *equal { "equal to" } else { "nearly equal to" };
                let (images, another) = match relation {
                    Relation::Contradiction => (images, "an image of another class"),
                    Relation::Leak => {
                        let images = format!("{} of {} validation images", count(self.count), count(self.of));
                        (images, "a training image of the same class")
                    }
                    Relation::Double => (images, "an earlier one of the same class"),
                };
                format!("{images}: {like} {another}")
            }
            Ill::Unusable(reason) => {
                format!("{} cannot be used: {} {reason}", counted(self.count, "image file"), self.each())
            }
            Ill::Ignored(reason) => {
                format!("{} beside the images not used: {} {reason}", counted(self.count, "file"), self.each())
            }
            Ill::Unequal { largest, smallest, guessing } => format!(
                "unequal classes: {} has {} training images, {} has {}; always naming {} gets {} % right",
                largest.0,
                count(largest.1),
                smallest.0,
                count(smallest.1),
                largest.0,
                plain(100.0 * guessing, 1)
            ),
            Ill::Shortcut { rule, class, other } => {
                let number = match rule.measure {
                    Measure::Pixels => "the number of pixels",
                    Measure::Shape => "the aspect ratio",
                    Measure::Format => "the file format",
                    Measure::Brightness => "the mean brightness",
                    Measure::Grey => "whether it is grey",
                };
                let others = other.as_deref().unwrap_or("all other classes");
                let [right, guessing] = [rule.right, rule.guessing].map(|share| plain(100.0 * share, 1));
                format!(
                    "{number} alone tells {class} from {others} in {right} % of the images, where guessing gets {guessing} %"
                )
            }
            Ill::Small(size) => format!("{images}: the shorter side has fewer than {size} pixels"),
            Ill::Long => format!("{images}: one side is at least {LONG} times as long as the other"),
            Ill::Grey => format!("{images}: grey among coloured ones"),
            Ill::Coloured => format!("{images}: coloured among grey ones"),
        }
    }

    fn each(&self) -> &'static str {
        if self.count == 1 { "it" } else { "each" }
    }

    fn them(&self) -> &'static str {
        if self.count == 1 { "it" } else { "them" }
    }

    /// What to do about it, in a sentence.
    pub fn remedy(&self) -> String {
        match &self.ill {
            Ill::Alike { relation: Relation::Contradiction, .. } => "Find out which class is right, and delete the others.".into(),
            Ill::Alike { relation: Relation::Leak, equal: true, .. } => {
                "Delete one of each: train leaves them out of validation, other programs judge by what was learned by heart.".into()
            }
            Ill::Alike { relation: Relation::Leak, equal: false, .. } => {
                "Delete one of each, or move both to one side: the network is judged by what it learned by heart.".into()
            }
            Ill::Alike { relation: Relation::Double, equal: false, divided: false } => {
                "Delete all but one of each, or set validation images aside yourself (--val): train does so at random, and may part \
                 such images."
                    .into()
            }
            Ill::Alike { relation: Relation::Double, .. } => {
                "Delete all but one of each, unless it is to count as often as it is there.".into()
            }
            Ill::Unusable(reason) if reason == OUTSIDE => format!("Move {0} into the folder of a class to use {0}.", self.them()),
            Ill::Unusable(reason) if reason == NAMELESS => "Name them after their class, if they are to be used.".into(),
            Ill::Unusable(_) => format!("Replace {0}, or save {0} anew as JPEG or PNG.", self.them()),
            Ill::Ignored(_) => "Nothing need be done if they are not meant to be used.".into(),
            Ill::Unequal { .. } => {
                "Add images to the small classes or take some from the large ones, and judge by recall in place of accuracy.".into()
            }
            Ill::Shortcut { rule, .. } => {
                let alike = match rule.measure {
                    Measure::Pixels => "Scale the images of all classes to one size",
                    Measure::Shape => "Cut the images of all classes to one shape",
                    Measure::Format => "Save the images of all classes in one format, from like originals",
                    Measure::Brightness => "Add images of each class in light as of the others",
                    Measure::Grey => "Make the images of all classes grey, or none",
                };
                format!("{alike}: a network may learn this in place of what they show.")
            }
            Ill::Small(_) => "Use a smaller --size or larger images: these are blurred when they are enlarged.".into(),
            Ill::Long => "Cut out the subject: the network sees the middle square alone.".into(),
            Ill::Grey | Ill::Coloured if self.count == 1 => "Nothing need be done for one image.".into(),
            Ill::Grey | Ill::Coloured => "See to it that no class has more of them than another.".into(),
        }
    }
}

/// How many times as large one number of images is as another.
fn times(more: usize, less: usize) -> f64 {
    if less == 0 { f64::INFINITY } else { more as f64 / less as f64 }
}
