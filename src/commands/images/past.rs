//! The images of a run that was made some time ago.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{Data, Source, judges, without_copies};
use crate::data::folder::{Folder, LabelledFile, VALIDATION_SHARE};
use crate::data::names::{class_key, path_text};
use crate::data::photos::Photos;
use crate::data::{Images, Rejected};
use crate::terminal::say;
use crate::train::photo_list::{Changes, Content, Contents, RunPhotos};
use crate::train::{Config, Run};

/// What a run did with photos, as it is told.
const LEARNED: &str = "learned from";
const JUDGED: &str = "was judged by";

/// What became of photos on the list of a run.
struct Still {
    /// Those that are what they were.
    photos: Photos,
    /// The others.
    changes: Changes,
}

/// A run that was made some time ago.
pub(super) struct Past<'a> {
    run: &'a Path,
    config: &'a Config,
    /// The option that says where the photos are.
    option: &'static str,
    /// Whether the user has said where the photos are now.
    given: bool,
    pub(super) source: Source,
    /// What its photos were.
    known: RunPhotos,
}

impl<'a> Past<'a> {
    /// `data` is what `option` was given.
    pub(super) fn read(run: &'a Run, option: &'static str, data: Option<&Path>, cache: usize) -> Result<Self> {
        let config = run.config()?;
        let given = data.is_some();
        let shown = run.folder().display();
        let data = match (&config.data, data) {
            (None, Some(_)) => bail!("{option}: the run {shown} was trained on drawn images; leave the option out"),
            (None, None) => None,
            (Some(_), Some(given)) => Some(given.to_path_buf()),
            (Some(recorded), None) if !Path::new(recorded).exists() => bail!(
                "by the data of {shown}/config.json, its photos were in {recorded}, which is not there any more: give their \
                 folder with {option}"
            ),
            (Some(recorded), None) => Some(PathBuf::from(recorded)),
        };
        let source = Source {
            choices: data.as_deref().map(|data| config.folders.choices(data)).unwrap_or_default(),
            data,
            val_share: config.val_share.unwrap_or(VALIDATION_SHARE),
            drawn: [config.train_images, config.val_images],
            seed: config.training.seed,
            fit: run.fit(),
            room: None,
            cache,
        };
        Ok(Self { run: run.folder(), config, option, given, source, known: run.photos()? })
    }

    pub(super) fn scan(&self) -> Result<Option<Folder>> {
        let run = self.run.display();
        let by = if self.given { format!(" by {}", self.option) } else { String::new() };
        let lost = || format!("the photos of the run {run} cannot be found again{by}");
        let found = self.source.scan().with_context(lost)?;
        let Some(mut found) = found else { return Ok(None) };
        let keys = |classes: &[String]| classes.iter().map(|class| class_key(class)).collect::<Vec<_>>();
        if keys(&found.classes) != keys(&self.config.classes) {
            let (known, there) = (self.config.classes.join(", "), found.classes.join(", "));
            let data = self.data(&found);
            bail!("{data}: the run {run} knows the classes {known}, but this folder holds {there}; {}", self.remedy());
        }
        found.classes.clone_from(&self.config.classes);
        Ok(Some(found))
    }

    /// What to do where a folder does not hold the run's photos.
    fn remedy(&self) -> String {
        format!("give the folder of the run's photos with {}", self.option)
    }

    /// How errors name the folder of the photos.
    fn data(&self, found: &Folder) -> String {
        let root = found.root.display();
        if self.given {
            format!("{} {root}", self.option)
        } else {
            format!("{root}, as {}/config.json has it", self.run.display())
        }
    }

    /// The files of the photos that the run was judged by, and of those that it learned from or, where that is not known, may have
    /// learned from. Others are neither.
    fn told_apart(&self, found: &mut Folder) -> [Vec<LabelledFile>; 2] {
        let judged = |file: &LabelledFile| self.known.judged.contains_key(&path_text(&file.path));
        let learned = |file: &LabelledFile| {
            self.known.learned.as_ref().is_none_or(|learned| learned.contains_key(&path_text(&file.path)))
        };
        let (mut val, mut train): (Vec<_>, Vec<_>) = std::mem::take(&mut found.train).into_iter().partition(judged);
        val.extend(found.val.take().unwrap_or_default().into_iter().filter(judged));
        train.retain(learned);
        [val, train]
    }

    /// What became of listed photos, given those of their `files` that can be read. `did` says what the run did with them. Those that
    /// are others now join `rejected`.
    fn still(
        &self,
        list: &Contents,
        files: &[LabelledFile],
        photos: &Photos,
        did: &str,
        rejected: &mut Vec<Rejected>,
    ) -> Still {
        let (mut same, mut others) = (Vec::new(), Vec::new());
        for (index, [file, pixels]) in photos.contents().enumerate() {
            let is_same = list[&photos.name(index)].is(file, pixels);
            if is_same { &mut same } else { &mut others }.push(index);
        }
        let reason = format!("is not the photo any more that the network {did}");
        rejected.extend(others.iter().map(|&index| Rejected { file: photos.name(index), reason: reason.clone() }));
        let photos = photos.only(&same);
        let left: BTreeSet<String> = (0..photos.len()).map(|index| photos.name(index)).collect();
        let there: BTreeSet<String> = files.iter().map(|file| path_text(&file.path)).collect();
        let gone = list.keys().filter(|file| !left.contains(*file)).cloned();
        let (changed, missing) = gone.partition(|file| there.contains(file));
        Still { photos, changes: Changes { changed, missing, new: Vec::new() } }
    }

    /// What is to be said of photos that are left out.
    fn left_out(&self, list: &Contents, changes: &Changes, did: &str) -> Option<String> {
        let (all, run) = (list.len(), self.run.display());
        changes.told().map(|told| format!("Left out of the {all} photos that the run {run} {did}: {told}."))
    }

    /// The photos of these files that judged the run and still are what they were, and what is to be said of the rest.
    ///
    /// # Errors
    /// When none of a class is left to judge by: then it is another folder than the run's.
    fn judging(
        &self,
        found: &Folder,
        files: &[LabelledFile],
        photos: &Photos,
        rejected: &mut Vec<Rejected>,
    ) -> Result<(Photos, Option<String>)> {
        let list = &self.known.judged;
        let Still { photos, changes } = self.still(list, files, photos, JUDGED, rejected);
        self.check_left(found, &photos, changes.changed.len())?;
        Ok((photos, self.left_out(list, &changes, JUDGED)))
    }

    /// Checks that of each class some of the photos are left that the run was judged by; `changed` have their names only.
    fn check_left(&self, found: &Folder, left: &Photos, changed: usize) -> Result<()> {
        let (data, run, judged) = (self.data(found), self.run.display(), self.known.judged.len());
        let remedy = self.remedy();
        let but = match changed {
            0 => String::new(),
            _ => format!(" (files of these names that are others: {changed})"),
        };
        if left.is_empty() {
            bail!(
                "{data}: none of the {judged} photos that the run {run} was judged by are in this folder{but}; {remedy}"
            );
        }
        for (class, name) in (0..).zip(&found.classes) {
            ensure!(
                (0..left.len()).any(|index| left.label(index) == class),
                "{data}: of the class '{name}', none of the photos that the run {run} was judged by are in this folder{but}; \
                 {remedy}"
            );
        }
        Ok(())
    }

    /// Whether it is known what judged: then it differs from all that was learned from.
    fn is_certain(&self) -> bool {
        self.known.judged.values().all(Content::is_known)
    }

    pub(super) fn all(&self, found: Option<Folder>) -> Result<Data> {
        let Some(found) = found else { return Ok(self.source.draw_pets()) };
        let (data, notes) = self.photos(found)?;
        notes.iter().for_each(|note| say(format!("note: {note}")));
        Ok(data)
    }

    /// All photos, and what is to be said of them.
    pub(super) fn photos(&self, mut found: Folder) -> Result<(Data, Vec<String>)> {
        let [judged, learned] = self.told_apart(&mut found);
        let mut rejected = std::mem::take(&mut found.rejected);
        let [train, val] = self.source.decode(&found.root, [&learned, &judged], &mut rejected);
        let (val, note) = self.judging(&found, &judged, &val, &mut rejected)?;
        let mut notes: Vec<String> = note.into_iter().collect();
        let (train, val) = match &self.known.learned {
            Some(list) => {
                let Still { photos, changes } = self.still(list, &learned, &train, LEARNED, &mut rejected);
                notes.extend(self.left_out(list, &changes, LEARNED));
                (photos, val)
            }
            None => {
                let (train, val, note) = self.of_older(&found, train, val, &mut rejected);
                notes.push(note);
                (train, val)
            }
        };
        Ok((Data::of_photos(found, train, val, rejected)?, notes))
    }

    /// The photos of a run of an older version: what it learned from is not listed, so that all others of the folder stand for it.
    fn of_older(
        &self,
        found: &Folder,
        train: Photos,
        val: Photos,
        rejected: &mut Vec<Rejected>,
    ) -> (Photos, Photos, String) {
        let (run, root) = (self.run.display(), found.root.display());
        let Config { train_images, val_images, .. } = *self.config;
        let (train, val, unknown) = if self.is_certain() {
            (without_copies(&train, &val, rejected), val, String::new())
        } else {
            // That version counted copies.
            let fit = judges(&train, &val, rejected);
            let copies = val.len() - fit.len();
            let equal = format!(", of which {copies} of {} equal others and judge no longer", val.len());
            let equal = if copies > 0 { equal } else { String::new() };
            (train, fit, format!(", nor whether those that judged it are still the same{equal}"))
        };
        let note = format!(
            "An older version made the run {run}: it is not known which photos it learned from{unknown}. It had {train_images} + \
             {val_images} photos; {root} now has {} + {}, all that did not judge taken for what it learned from.",
            train.len(),
            val.len()
        );
        (train, val, note)
    }

    /// The images that it was judged by, and what is to be said of them.
    pub(super) fn validation(&self, found: Option<Folder>) -> Result<(Box<dyn Images>, Vec<String>)> {
        let Some(mut found) = found else { return Ok((self.source.draw_pets().val, Vec::new())) };
        if !self.is_certain() {
            let (data, notes) = self.photos(found)?;
            return Ok((data.val, notes));
        }
        let [judged, _] = self.told_apart(&mut found);
        let mut rejected = std::mem::take(&mut found.rejected);
        let [val] = self.source.decode(&found.root, [&judged], &mut rejected);
        let (val, note) = self.judging(&found, &judged, &val, &mut rejected)?;
        Ok((Box::new(val), note.into_iter().collect()))
    }

    /// The photos that a run of an older version may have learned from, and those that it was judged by. Those that cannot be read are
    /// in neither.
    pub(super) fn seen(&self, mut found: Folder) -> Result<[Photos; 2]> {
        let [judged, learned] = self.told_apart(&mut found);
        let unused = &mut Vec::new();
        let [train, val] = self.source.decode(&found.root, [&learned, &judged], unused);
        let (val, _) = self.judging(&found, &judged, &val, unused)?;
        let train = if self.is_certain() { without_copies(&train, &val, unused) } else { train };
        Ok([train, val])
    }
}
