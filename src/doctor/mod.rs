//! What a data set suffers from, found before anything is trained on it.
//!
//! [`examine`] reads every image once, on all threads, keeps a few numbers of each, and makes [`Finding`]s of these. What is told
//! of a finding stands in `finding.rs` alone.

mod finding;
mod measured;
mod near;
mod shortcut;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

pub use finding::{Finding, Ill, Severity};
pub use measured::{Measured, Part};
pub use near::{MAX_BITS, MAX_DIFFERENCE, Pair, Relation};
pub use shortcut::{Measure, Shortcut};

use crate::data::Rejected;
use crate::data::folder::Folder;
use crate::data::names::is_image;

/// Mean and deviation of red, green and blue in ImageNet, as torchvision's models take them.
pub const IMAGENET: [[f64; 2]; 3] = [[0.485, 0.229], [0.456, 0.224], [0.406, 0.225]];
/// Examples of a finding.
const EXAMPLES: usize = 5;

/// What was found out about a folder.
pub struct Checkup {
    /// The folder.
    pub root: PathBuf,
    /// The classes.
    pub classes: Vec<String>,
    /// How many usable images each class has to train on, and to validate on where the folder has such images.
    pub counts: (Vec<usize>, Option<Vec<usize>>),
    /// Side of the square that the network takes.
    pub size: u32,
    /// All usable images, those to train on first.
    pub images: Vec<Measured>,
    /// What is the matter, most severe first.
    pub findings: Vec<Finding>,
}

/// Examines a folder. `progress` is called with the number of files read so far, from any thread.
///
/// # Errors
/// None so far: what cannot be read is a finding.
pub fn examine(found: &Folder, size: u32, progress: &(dyn Fn(usize) + Sync)) -> Result<Checkup> {
    let (images, rejected) = measured::measure(found, size, progress)?;
    let of_part = |part: Part| -> Vec<usize> {
        let of_class =
            |class: u32| images.iter().filter(|image| image.part == part && image.file.class == class).count();
        (0..found.classes.len() as u32).map(of_class).collect()
    };
    let counts = (of_part(Part::Training), found.val.as_ref().map(|_| of_part(Part::Validation)));
    let mut findings = alike(&images, counts.1.as_deref().map(|val| val.iter().sum()))?;
    findings.extend(unusable(&rejected, images.len()));
    findings.extend(Finding::unequal(&found.classes, &counts.0));
    let shortcuts = shortcut::shortcuts(&images, found.classes.len()).into_iter();
    findings.extend(shortcuts.filter_map(|rule| Finding::shortcut(rule, &found.classes, images.len())));
    findings.extend(odd(&images, size));
    findings.sort_by_key(Finding::severity);
    Ok(Checkup { root: found.root.clone(), classes: found.classes.clone(), counts, size, images, findings })
}

impl Checkup {
    /// Mean and deviation of red, green and blue over all pixels that the network takes, in 0..1; none without images.
    pub fn channels(&self) -> Option<[[f64; 2]; 3]> {
        let count = self.images.len() as f64;
        let mean = |channel: usize, power: usize| {
            self.images.iter().map(|image| image.channels[channel][power]).sum::<f64>() / count
        };
        let of = |channel: usize| {
            let [mean, squares] = [mean(channel, 0), mean(channel, 1)];
            [mean, (squares - mean * mean).max(0.0).sqrt()]
        };
        (!self.images.is_empty()).then(|| [0, 1, 2].map(of))
    }

    /// The most severe of the findings, if there is one.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.first().map(Finding::severity)
    }
}

/// Findings about images that are like others. `val` is the number of validation images, where the folder has any.
fn alike(images: &[Measured], val: Option<usize>) -> Result<Vec<Finding>> {
    let mut by_kind: BTreeMap<(Relation, bool), Vec<Pair>> = BTreeMap::new();
    for pair in near::pairs(images)? {
        by_kind.entry((pair.relation, pair.difference.is_none())).or_default().push(pair);
    }
    let finding = |((relation, equal), pairs): ((Relation, bool), Vec<Pair>)| {
        let name = |pair: &Pair| format!("{} and {}", images[pair.first].name(), images[pair.second].name());
        Finding {
            ill: Ill::Alike { relation, equal, divided: val.is_some() },
            count: pairs.len(),
            of: val.filter(|_| relation == Relation::Leak).unwrap_or(images.len()),
            examples: pairs.iter().take(EXAMPLES).map(name).collect(),
            pairs,
        }
    };
    Ok(by_kind.into_iter().map(finding).collect())
}

/// Findings about files that are not used, one for each reason; most files first.
fn unusable(rejected: &[Rejected], usable: usize) -> Vec<Finding> {
    let mut by_reason: BTreeMap<(bool, &str), Vec<&Rejected>> = BTreeMap::new();
    for file in rejected {
        // What follows tells of the single file.
        let end = file.reason.find([':', '(']).unwrap_or(file.reason.len());
        let image = is_image(Path::new(&file.file));
        by_reason.entry((image, file.reason[..end].trim_end())).or_default().push(file);
    }
    let finding = |((image, reason), files): ((bool, &str), Vec<&Rejected>)| Finding {
        ill: if image { Ill::Unusable(reason.into()) } else { Ill::Ignored(reason.into()) },
        count: files.len(),
        of: usable + rejected.len(),
        examples: files.iter().take(EXAMPLES).map(|file| file.file.clone()).collect(),
        pairs: Vec::new(),
    };
    let mut findings: Vec<_> = by_reason.into_iter().map(finding).collect();
    findings.sort_by_key(|finding| usize::MAX - finding.count);
    findings
}

/// Findings about images whose size or colours are odd.
fn odd(images: &[Measured], size: u32) -> Vec<Finding> {
    let grey = images.iter().filter(|image| image.grey).count();
    let finding = |ill: Ill, is: &dyn Fn(&Measured) -> bool| {
        let odd: Vec<&Measured> = images.iter().filter(|image| is(image)).collect();
        let examples = odd.iter().take(EXAMPLES).map(|image| image.name()).collect();
        (!odd.is_empty()).then(|| Finding { ill, count: odd.len(), of: images.len(), examples, pairs: Vec::new() })
    };
    let of_colour = match (grey, images.len() - grey) {
        (0, _) | (_, 0) => None,
        (grey, coloured) if grey <= coloured => finding(Ill::Grey, &|image| image.grey),
        _ => finding(Ill::Coloured, &|image| !image.grey),
    };
    let small = finding(Ill::Small(size), &|image| image.sides[0].min(image.sides[1]) < size);
    let long = finding(Ill::Long, &|image| image.stretch() >= finding::LONG);
    [small, long, of_colour].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
