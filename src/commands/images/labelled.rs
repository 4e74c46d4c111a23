//! Labelled images that a run's network is judged by, its own or others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::{Past, Source};
use crate::data::folder::{Choices, LabelledFile, VALIDATION_SHARE};
use crate::data::names::class_key;
use crate::data::photos::Photos;
use crate::data::split::{self, Unfit};
use crate::data::{Images, Rejected};
use crate::digest::Digest;
use crate::terminal::{counted, one_line, say};
use crate::train::photo_list::Contents;
use crate::train::{Imported, Run};

/// The option that says where the photos of a run are, of a command whose `--data` says what to judge it by.
const TRAINED_ON: &str = "--trained-on";

/// Labelled images to judge a run's network by, each content once.
pub struct Labelled {
    /// The images, with the run's classes.
    pub images: Box<dyn Images>,
    /// How many of them chose the run's best epoch; none where that is not known.
    pub validated: Option<usize>,
    /// How many others there are in the folder, and why they do not judge.
    pub left_out: LeftOut,
    /// What a reader must know of them, a sentence each.
    pub notes: Vec<String>,
}

/// Images that do not judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The network learned from them; none where that is not known.
    pub learned: Option<usize>,
    /// Equal to another of them.
    pub doubles: usize,
    /// Equal to another of another class.
    pub contradictory: usize,
    /// Of a class that the network does not know.
    pub of_unknown_class: usize,
    /// Not readable, or no images.
    pub unusable: usize,
}

/// The labelled images of `data`, or else those by which the run was judged in training. `own` is where the run's photos are now,
/// if that was said; up to `cache` MiB of images are kept in memory.
///
/// # Errors
/// When a folder cannot be read, or holds no image to judge by.
pub fn labelled(
    run: &Run,
    data: Option<&Path>,
    choices: Choices,
    own: Option<&Path>,
    cache: usize,
) -> Result<Labelled> {
    if let Some(own) = own {
        ensure!(own.is_dir(), "{TRAINED_ON} {}: there is no such folder; check the path", own.display());
    }
    let Some(data) = data else {
        let past = Past::read(run, TRAINED_ON, own, cache)?;
        let (images, notes) = past.validation(past.scan()?)?;
        let left_out = LeftOut { learned: Some(0), ..LeftOut::default() };
        return Ok(Labelled { validated: Some(images.len()), images, left_out, notes });
    };
    let mut notes = Vec::new();
    let seen = match seen(run, own, &mut notes) {
        Err(_) if own.is_none() && run.imported().is_some() => {
            notes.extend(run.imported().map(Imported::caution));
            None
        }
        Err(error) if own.is_none() => {
            let reason = one_line(&error);
            notes.push(format!("It is not known how many of these images the network learned from: {reason}."));
            None
        }
        seen => Some(seen?),
    };
    let known = seen.is_some();
    let (photos, left_out) = fit(run, data, choices, cache, seen.as_ref(), &mut notes)?;
    let seen = seen.unwrap_or_default();
    let validated = seen.contents_of(&photos).iter().filter(|content| seen.judged.contains(content)).count();
    if validated > 0 {
        notes.push(format!("Validation images of the run, which chose its best epoch: {validated} of these."));
    }
    Ok(Labelled { images: Box::new(photos), validated: known.then_some(validated), left_out, notes })
}

/// The labelled photos of a folder for a network from elsewhere, each content once. What a reader must know of them is said.
///
/// # Errors
/// When the folder cannot be read, or holds no image of a class that the network knows.
pub(super) fn given(run: &Run, data: &Path, cache: usize) -> Result<Photos> {
    let mut notes = Vec::new();
    let (photos, _) = fit(run, data, Choices::default(), cache, None, &mut notes)?;
    notes.iter().for_each(|note| say(format!("note: {note}")));
    Ok(photos)
}

/// The photos of a folder that can judge a network, which has `seen` these, where that is known.
fn fit(
    run: &Run,
    data: &Path,
    choices: Choices,
    cache: usize,
    seen: Option<&Seen>,
    notes: &mut Vec<String>,
) -> Result<(Photos, LeftOut)> {
    let (photos, rejected, of_unknown_class) = others(run, data, choices, cache, notes)?;
    let (fit, others) = match seen {
        Some(seen) => split::fit_to_judge(&seen.learned, &photos, &seen.contents_of(&photos)),
        None => split::fit_to_judge(&[], &photos, photos.digests()),
    };
    let count = |of: fn(&Unfit) -> bool| others.iter().filter(|(_, why)| of(why)).count();
    let left_out = LeftOut {
        learned: seen.map(|_| count(|why| matches!(why, Unfit::Learned(_)))),
        doubles: count(|why| matches!(why, Unfit::Double(_))),
        contradictory: count(|why| matches!(why, Unfit::Contradiction(_))),
        of_unknown_class,
        unusable: rejected.len(),
    };
    let told = left_out.told().join("; ");
    let first =
        rejected.first().map_or(String::new(), |Rejected { file, reason }| format!("; the first: {file} {reason}"));
    let photos = photos.only(&fit);
    ensure!(!photos.is_empty(), "--data {}: no image is left to judge by: {told}{first}", data.display());
    if !told.is_empty() {
        notes.push(format!("These are left out: {told}{first}."));
    }
    let missing: Vec<&str> =
        (0..).zip(run.classes()).filter(|(class, _)| !has_class(&photos, *class)).map(|(_, name)| &name[..]).collect();
    if !missing.is_empty() {
        notes.push(format!(
            "Of these classes there is no image here, so nothing is said of them: {}.",
            missing.join(", ")
        ));
    }
    Ok((photos, left_out))
}

fn has_class(images: &dyn Images, class: u32) -> bool {
    (0..images.len()).any(|index| images.label(index) == class)
}

/// The contents that a network has seen, by the SHA-256 of the pixels of each. None of a run on drawn images, for no photo equals one.
#[derive(Default)]
struct Seen {
    /// Those that it learned from.
    learned: Vec<Digest>,
    /// Those that it was judged by.
    judged: BTreeSet<Digest>,
    /// Each of them by the SHA-256 of its file. Other versions may make other pixels of it.
    of_files: BTreeMap<Digest, Digest>,
}

impl Seen {
    /// Each list has the SHA-256 of a photo's file and of its pixels.
    fn new(learned: &[[Digest; 2]], judged: &[[Digest; 2]]) -> Self {
        let pixels = |photos: &[[Digest; 2]]| photos.iter().map(|&[_, pixels]| pixels).collect::<Vec<_>>();
        let both = learned.iter().chain(judged);
        Self {
            of_files: both.map(|&[file, pixels]| (file, pixels)).collect(),
            judged: pixels(judged).into_iter().collect(),
            learned: pixels(learned),
        }
    }

    /// What tells the content of each photo: of one that is known by its file what was known of it.
    fn contents_of(&self, photos: &Photos) -> Vec<Digest> {
        photos.contents().map(|[file, pixels]| *self.of_files.get(&file).unwrap_or(&pixels)).collect()
    }
}

/// What the network of a run has seen. Of a run that lists it no photo is read.
fn seen(run: &Run, own: Option<&Path>, notes: &mut Vec<String>) -> Result<Seen> {
    let known = run.photos()?;
    if let Some(learned) = &known.learned {
        ensure!(
            own.is_none(),
            "{TRAINED_ON}: what the network of {} has seen is known without its images; leave the option out",
            run.folder().display()
        );
        let digests = |contents: &Contents| {
            contents.values().filter_map(|content| Some([content.sha256?, content.pixels?])).collect::<Vec<_>>()
        };
        return Ok(Seen::new(&digests(learned), &digests(&known.judged)));
    }
    // No pixel is needed again.
    let past = Past::read(run, TRAINED_ON, own, 0)?;
    let Some(found) = past.scan()? else { return Ok(Seen::default()) };
    let [learned, judged] = past.seen(found)?.map(|photos| photos.contents().collect::<Vec<_>>());
    notes.push(format!(
        "An older version made the run, so that what it learned from is only known as far as it is still there: {} of {} images. Copies of \
         what is gone or has changed since are not found out.",
        learned.len(),
        run.config()?.train_images
    ));
    Ok(Seen::new(&learned, &judged))
}

/// All labelled photos of a folder whose class the run knows, those that cannot be used, and how many are of other classes.
fn others(
    run: &Run,
    data: &Path,
    choices: Choices,
    cache: usize,
    notes: &mut Vec<String>,
) -> Result<(Photos, Vec<Rejected>, usize)> {
    let source = Source {
        data: Some(data.to_path_buf()),
        choices,
        val_share: VALIDATION_SHARE,
        drawn: [0; 2],
        seed: 0,
        fit: run.fit(),
        room: None,
        cache,
    };
    let found = source.scan()?.context("a folder was named")?;
    found.unread.iter().for_each(|unread| say(format!("         not read    {unread}")));
    found.note.iter().for_each(|note| say(format!("         note        {note}")));
    let classes = run.classes();
    let numbers: BTreeMap<String, u32> = classes.iter().map(|class| class_key(class)).zip(0..).collect();
    let known: Vec<Option<u32>> = found.classes.iter().map(|class| numbers.get(&class_key(class)).copied()).collect();
    if known.iter().all(Option::is_none) {
        bail!(
            "--data {}: holds the classes {}, but the network knows none of them; it knows {}",
            data.display(),
            found.classes.join(", "),
            classes.join(", ")
        );
    }
    let all = found.train.iter().chain(found.val.iter().flatten());
    let (mut files, mut unknown) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for LabelledFile { path, class } in all {
        match known[*class as usize] {
            Some(class) => files.push(LabelledFile { path: path.clone(), class }),
            None => *unknown.entry(&found.classes[*class as usize]).or_default() += 1,
        }
    }
    if !unknown.is_empty() {
        let each: Vec<String> =
            unknown.iter().map(|(name, count)| format!("{name} ({})", counted(*count, "image"))).collect();
        notes.push(format!("The network does not know these classes: {}.", each.join(", ")));
    }
    files.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
    let mut rejected = found.rejected.clone();
    let [photos] = source.decode(&found.root, [&files], &mut rejected);
    Ok((photos, rejected, unknown.values().sum()))
}

impl LeftOut {
    /// What is left out and why, a part each; nothing where all judge.
    fn told(&self) -> Vec<String> {
        let parts = [
            (self.learned.unwrap_or_default(), "that the network learned from"),
            (self.doubles, "equal to another"),
            (self.contradictory, "equal to one of another class"),
            (self.of_unknown_class, "of classes that it does not know"),
            (self.unusable, "that cannot be used"),
        ];
        let some = parts.into_iter().filter(|(number, _)| *number > 0);
        some.map(|(number, why)| format!("{} {why}", counted(number, "image"))).collect()
    }
}
