//! The images of a run: to learn from and to be judged by, when it is made and ever after.

mod labelled;
mod past;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::data::drawn::{Drawn, FIRST_VAL_IMAGE, Subject};
use crate::data::folder::Folder;
use crate::data::photos::Photos;
use crate::data::split::{self, Unfit};
use crate::data::{Images, Rejected};
use crate::terminal::say;
use crate::train::Run;
use crate::train::photo_list::{Photo, Use, digest_of_list};

use labelled::given;
pub(super) use labelled::{Labelled, LeftOut, labelled};
use past::Past;
pub(super) use source::Source;

/// The option by which most commands are told where a run's photos are.
const DATA: &str = "--data";

/// The images to learn from and to be judged by.
pub struct Data {
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// The images to learn from.
    pub train: Box<dyn Images>,
    /// The images to be judged by. None equals one to learn from or another of these.
    pub val: Box<dyn Images>,
    /// Of images to learn from whose equal ones have other classes, the first of each.
    pub contradictory: Vec<String>,
    /// Files that are not used.
    pub rejected: Vec<Rejected>,
    /// Of a new run what is recorded of each photo, those to learn from first. Nothing of drawn images, which the settings decide.
    pub list: Vec<Photo>,
}

/// All images of a study.
pub(super) struct Pool {
    /// Names of the classes, in the order of the labels.
    pub(super) classes: Vec<String>,
    /// The images, sorted by class and name where they are photos.
    pub(super) images: Box<dyn Images>,
    /// Files that cannot be used.
    pub(super) rejected: Vec<Rejected>,
    /// What is recorded of each photo.
    pub(super) list: Vec<Photo>,
    /// Whether the program drew them.
    pub(super) drawn: bool,
}

/// Says which of a data folder's folders were taken for what.
pub(super) fn tell_folders(found: &Folder) {
    say(format!("data     {}", found.root.display()));
    found.told().iter().for_each(|line| say(format!("         {line}")));
}

/// The images that a run was trained on and judged by, told apart by the run's own list. Photos are read from `data`, or
/// else from the folder that the run names; up to `cache` MiB of images are kept in memory. Says so where photos have changed or are
/// missing, and leaves them out.
///
/// # Errors
/// When the list of its validation photos cannot be used, or its photos are gone or of other classes, with the remedy.
pub fn of_run(run: &Run, data: Option<&Path>, cache: usize) -> Result<Data> {
    let past = Past::read(run, DATA, data, cache)?;
    past.all(past.scan()?)
}

/// The validation images alone, as [`of_run`] makes them; photos to train on are left unread. A network from elsewhere is judged by
/// the labelled photos in `data`.
///
/// # Errors
/// As [`of_run`].
pub fn validation_of(run: &Run, data: Option<&Path>, cache: usize) -> Result<Box<dyn Images>> {
    if let (Some(_), Some(data)) = (run.imported(), data) {
        return Ok(Box::new(given(run, data, cache)?));
    }
    let past = Past::read(run, DATA, data, cache)?;
    let (images, notes) = past.validation(past.scan()?)?;
    notes.iter().for_each(|note| say(format!("note: {note}")));
    Ok(images)
}

/// The images that a run was trained on, and up to `count` labelled ones that it was not: those it was judged by, or for
/// a run on drawn images as many new ones. Of the photos that are given for a network from elsewhere every other one judges, and
/// the rest stand where those are that it was trained on.
///
/// # Errors
/// As [`of_run`].
pub fn held_out_of(run: &Run, data: Option<&Path>, count: usize, cache: usize) -> Result<Data> {
    if let (Some(_), Some(data)) = (run.imported(), data) {
        let photos = given(run, data, cache)?;
        // They lie class by class, so each half has its share of every class.
        let half = |first| Box::new(photos.only(&(first..photos.len()).step_by(2).collect::<Vec<_>>()));
        return Ok(Data {
            classes: run.classes().to_vec(),
            train: half(1),
            val: half(0),
            contradictory: Vec::new(),
            rejected: Vec::new(),
            list: Vec::new(),
        });
    }
    let past = Past::read(run, DATA, data, cache)?;
    let mut all = past.all(past.scan()?)?;
    if let Source { data: None, drawn: [_, judged], seed, fit, .. } = past.source {
        let first = FIRST_VAL_IMAGE + judged as u64;
        all.val = Box::new(Drawn::new(Subject::Pets, seed, first, count, fit.size, cache << 20));
    }
    Ok(all)
}

/// Those of `val` that can judge what was learned from `train`; the others join `rejected`.
fn judges(train: &Photos, val: &Photos, rejected: &mut Vec<Rejected>) -> Photos {
    let (fit, others) = split::fit_to_judge(train.digests(), val, val.digests());
    rejected.extend(others.into_iter().map(|(index, why)| unfit(val.name(index), why, train, val)));
    val.only(&fit)
}

/// Those of `train` that equal none of `val`; the others join `rejected`.
fn without_copies(train: &Photos, val: &Photos, rejected: &mut Vec<Rejected>) -> Photos {
    let judging: BTreeMap<_, _> = val.digests().iter().zip(0..).collect();
    let equal = |index: &usize| judging.get(&train.digests()[*index]).copied();
    let (copies, others): (Vec<_>, Vec<_>) = (0..train.len()).partition(|index| equal(index).is_some());
    let copies = copies.into_iter().filter_map(|index| Some((index, Unfit::Double(equal(&index)?))));
    rejected.extend(copies.map(|(index, why)| unfit(train.name(index), why, train, val)));
    train.only(&others)
}

/// The rejection of a photo that cannot judge.
fn unfit(file: String, why: Unfit, train: &Photos, val: &Photos) -> Rejected {
    let reason = match why {
        Unfit::Learned(index) => {
            format!("equals the training image {}, so it cannot judge what was learned", train.name(index))
        }
        Unfit::Double(index) => format!("equals the validation image {}, and each is counted once", val.name(index)),
        Unfit::Contradiction(index) => {
            format!("equals the image {} of another class, so it cannot judge what was learned", val.name(index))
        }
    };
    Rejected { file, reason }
}

/// What is recorded of photos.
fn listed(photos: &Photos, used: Use, classes: &[String]) -> Vec<Photo> {
    let class = |index| classes[photos.label(index) as usize].clone();
    let listed = photos.contents().enumerate();
    listed
        .map(|(index, [sha256, pixels])| Photo { file: photos.name(index), class: class(index), used, sha256, pixels })
        .collect()
}

impl Data {
    /// The photos of a folder.
    fn of_photos(found: Folder, train: Photos, val: Photos, mut rejected: Vec<Rejected>) -> Result<Self> {
        rejected.sort();
        found.check_decoded("training", &train, &rejected)?;
        found.check_decoded("validation", &val, &rejected)?;
        let contradictory = split::contradictions(&train, train.digests()).into_iter().map(|index| train.name(index));
        Ok(Self {
            contradictory: contradictory.collect(),
            classes: found.classes,
            train: Box::new(train),
            val: Box::new(val),
            list: Vec::new(),
            rejected,
        })
    }

    /// What tells the list of the photos from that of another run; none for drawn images.
    pub fn photo_list(&self) -> Option<String> {
        (!self.list.is_empty()).then(|| digest_of_list(&self.list))
    }
}
