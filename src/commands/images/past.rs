//! The images of a run that was made some time ago.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{Data, Source, judges, without_copies};
use crate::data::folder::{Folder, LabelledFile, VALIDATION_SHARE};
use crate::data::names::{class_key, path_text};
use crate::data::photos::{Photos, file_digest};
use crate::data::split::hexadecimal;
use crate::data::{Images, Rejected, in_parallel};
use crate::terminal::say;
use crate::train::{Config, Run};

/// A run that was made some time ago.
pub(super) struct Past<'a> {
    run: &'a Path,
    config: &'a Config,
    /// The option that says where the photos are.
    option: &'static str,
    /// Whether the user has said where the photos are now.
    given: bool,
    pub(super) source: Source,
    /// The validation photos, by file.
    validation: BTreeMap<String, Option<String>>,
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
        Ok(Self { run: run.folder(), config, option, given, source, validation: run.validation()? })
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

    /// The photos that the run was judged by and is to be judged by again, and those that it may have learned from. Photos of
    /// a validation folder that are not on the list are neither. What is no longer the photo that was on the list is rejected.
    ///
    /// # Errors
    /// When none of a class is left to judge by: then it is another folder than the run's.
    fn told_apart(&self, found: &mut Folder) -> Result<[Vec<LabelledFile>; 2]> {
        let listed = |file: &LabelledFile| self.validation.contains_key(&path_text(&file.path));
        let (mut held, train): (Vec<_>, Vec<_>) = std::mem::take(&mut found.train).into_iter().partition(listed);
        held.extend(found.val.take().unwrap_or_default().into_iter().filter(listed));
        let same = in_parallel(held.len(), |index| Ok(self.is_same(&found.root, &held[index])))?;
        let (mut val, mut changed) = (Vec::new(), Vec::new());
        for (file, same) in held.into_iter().zip(same) {
            if same { val.push(file) } else { changed.push(path_text(&file.path)) }
        }
        self.check_left(found, &val, changed.len())?;
        let reason = "is not the file any more that the network was judged by";
        found.rejected.extend(changed.into_iter().map(|file| Rejected { file, reason: reason.into() }));
        Ok([val, train])
    }

    /// Checks that of each class some of the photos are left that the run was judged by; `changed` have their names only.
    fn check_left(&self, found: &Folder, left: &[LabelledFile], changed: usize) -> Result<()> {
        let (data, run, judged) = (self.data(found), self.run.display(), self.validation.len());
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
                left.iter().any(|file| file.class == class),
                "{data}: of the class '{name}', none of the photos that the run {run} was judged by are in this folder{but}; \
                 {remedy}"
            );
        }
        Ok(())
    }

    /// Whether a file of the list is still what it was, as far as is known.
    fn is_same(&self, root: &Path, file: &LabelledFile) -> bool {
        match self.validation.get(&path_text(&file.path)) {
            // What cannot be read is rejected when it is decoded.
            Some(Some(sha256)) => file_digest(&root.join(&file.path)).map_or(true, |now| hexadecimal(&now) == *sha256),
            _ => true,
        }
    }

    /// Whether the list tells what the validation photos were: then they differ from all that was learned from.
    fn is_certain(&self) -> bool {
        self.validation.values().all(Option::is_some)
    }

    pub(super) fn all(&self, found: Option<Folder>) -> Result<Data> {
        let Some(found) = found else { return Ok(self.source.draw_pets()) };
        let (data, notes) = self.photos(found)?;
        notes.iter().for_each(|note| say(format!("note: {note}")));
        Ok(data)
    }

    /// All photos, and what has changed about them.
    pub(super) fn photos(&self, mut found: Folder) -> Result<(Data, Vec<String>)> {
        let [val, train] = self.told_apart(&mut found)?;
        let mut rejected = std::mem::take(&mut found.rejected);
        let [train, val] = self.source.decode(&found.root, [&train, &val], &mut rejected);
        let mut notes = Vec::new();
        let (train, val) = if self.is_certain() {
            let train = without_copies(&train, &val, &mut rejected);
            notes.extend(self.change(&found, [train.len(), val.len()]));
            (train, val)
        } else {
            // The version that made the run counted copies.
            notes.extend(self.change(&found, [train.len(), val.len()]));
            let fit = judges(&train, &val, &mut rejected);
            let copies = val.len() - fit.len();
            notes.extend((copies > 0).then(|| {
                format!(
                    "an older version made the run {}; of the photos that it was judged by, these equal others and judge no longer: \
                     {copies} of {}",
                    self.run.display(),
                    val.len()
                )
            }));
            (train, fit)
        };
        Ok((Data::of_photos(found, train, val, rejected)?, notes))
    }

    pub(super) fn validation(&self, found: Option<Folder>) -> Result<Box<dyn Images>> {
        let Some(mut found) = found else { return Ok(self.source.draw_pets().val) };
        if !self.is_certain() {
            return Ok(self.all(Some(found))?.val);
        }
        let [val, _] = self.told_apart(&mut found)?;
        let mut rejected = std::mem::take(&mut found.rejected);
        let [val] = self.source.decode(&found.root, [&val], &mut rejected);
        found.check_decoded("validation", &val, &rejected)?;
        let (judged, left, run, root) = (self.config.val_images, val.len(), self.run.display(), found.root.display());
        if left != judged {
            say(format!("note: of the {judged} photos that the run {run} was judged by, {root} still has {left}"));
        }
        Ok(Box::new(val))
    }

    /// The photos that the run may have learned from, and those that it was judged by. Those that cannot be read are in neither.
    pub(super) fn seen(&self, mut found: Folder) -> Result<[Photos; 2]> {
        let [val, train] = self.told_apart(&mut found)?;
        let unused = &mut Vec::new();
        let [train, val] = self.source.decode(&found.root, [&train, &val], unused);
        let train = if self.is_certain() { without_copies(&train, &val, unused) } else { train };
        Ok([train, val])
    }

    /// How the folder differs from what it was, as far as the run tells.
    fn change(&self, found: &Folder, [train, val]: [usize; 2]) -> Option<String> {
        let Config { train_images, val_images, .. } = *self.config;
        let (run, root) = (self.run.display(), found.root.display());
        let changed = [train, val] != [train_images, val_images];
        changed
            .then(|| format!("the run {run} had {train_images} + {val_images} photos, {root} now has {train} + {val}"))
    }
}
