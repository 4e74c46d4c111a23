//! What decides which images there are, and the images of a new run or study.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Data, Pool, judges, listed, unfit};
use crate::cli::TrainArgs;
use crate::data::drawn::{Drawn, FIRST_VAL_IMAGE, Subject};
use crate::data::fit::Fit;
use crate::data::folder::{self, Choices, Folder, LabelledFile, VALIDATION_SHARE};
use crate::data::photos::Photos;
use crate::data::split::{self, Unfit};
use crate::data::{Images, Rejected, pets};
use crate::terminal::bar;
use crate::train::is_run;
use crate::train::photo_list::Use;

/// What decides which images there are.
pub struct Source {
    /// The data folder, or none for drawn images.
    pub(super) data: Option<PathBuf>,
    /// How the data folder is read, where that was said.
    pub(super) choices: Choices,
    /// Share of each class set aside for validation where the folder has no validation images.
    pub(super) val_share: f64,
    /// Drawn images to train on and to validate on.
    pub(super) drawn: [usize; 2],
    pub(super) seed: u64,
    pub(super) fit: Fit,
    /// Side of the squares that parts of training photos are cut from, where they are.
    pub(super) room: Option<u32>,
    /// Memory for decoded images, in MiB.
    pub(super) cache: usize,
}

impl Source {
    /// The images that a run is to have.
    pub fn of(arguments: &TrainArgs) -> Self {
        Self {
            data: arguments.data.clone(),
            choices: arguments.choices(),
            val_share: arguments.val_share(),
            drawn: [arguments.train_images, arguments.val_images],
            seed: arguments.seed,
            fit: Fit::of(arguments.preparation.preparation(), arguments.model.size as u32),
            room: arguments.training(2).augmentation().room(arguments.model.size as u32),
            cache: arguments.cache,
        }
    }

    /// The photos of a folder that is only examined.
    pub fn of_folder(data: &Path, choices: Choices, size: u32) -> Self {
        let data = Some(data.to_path_buf());
        Self {
            data,
            choices,
            val_share: VALIDATION_SHARE,
            drawn: [0; 2],
            seed: 0,
            fit: Fit::to(size),
            room: None,
            cache: 0,
        }
    }

    /// What the data folder holds, if there is one. Cheap: no photo is read.
    ///
    /// # Errors
    /// When a folder cannot be read as one of images, or its images are what a run has made.
    pub fn scan(&self) -> Result<Option<Folder>> {
        let Some(root) = self.data.as_deref() else { return Ok(None) };
        let val = self.choices.val.as_deref();
        check_no_run("--data", root, root)?;
        val.map_or(Ok(()), |val| check_no_run("--val", val, val))?;
        let found = folder::scan(root, &self.choices)?;
        let judging = val.map_or(("--data", root), |val| ("--val", val));
        for ((option, given), files) in
            [(("--data", root), &found.train[..]), (judging, found.val.as_deref().unwrap_or_default())]
        {
            let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.path.parent()).collect();
            folders.into_iter().try_for_each(|folder| check_no_run(option, given, &root.join(folder)))?;
        }
        Ok(Some(found))
    }

    /// How many images there are at most: files that the scan found, or drawn images.
    pub(crate) fn count(&self, found: Option<&Folder>) -> usize {
        let Some(found) = found else { return self.drawn.iter().sum() };
        found.train.len() + found.val.as_ref().map_or(0, Vec::len)
    }

    /// Bytes of memory that so many images take at most while a network is trained on them.
    pub(crate) fn most_kept(&self, images: usize) -> u64 {
        let side = u64::from(self.room.unwrap_or(self.fit.size));
        (3 * side * side * images as u64).min(self.cache_bytes() as u64)
    }

    /// The images of a new run: the photos that the scan found, or drawn ones. No photo that it is judged by equals one that
    /// it learns from, pixel by pixel, nor another that it is judged by.
    ///
    /// # Errors
    /// When a class has no photo to learn from or to be judged by.
    pub fn divide(&self, found: Option<Folder>) -> Result<Data> {
        let Some(mut found) = found else { return Ok(self.draw_pets()) };
        let mut rejected = std::mem::take(&mut found.rejected);
        let (train, val) = match &found.val {
            None => {
                let [all] = self.decode(&found.root, [&found.train], &mut rejected);
                found.check_decoded("given", &all, &rejected)?;
                let halves = split::set_aside(&all, all.digests(), &found.classes, self.val_share, self.seed)
                    .with_context(|| format!("--data {}", found.root.display()))?;
                let double =
                    |&(index, first): &(usize, usize)| unfit(all.name(index), Unfit::Double(first), &all, &all);
                rejected.extend(halves.doubles.iter().map(double));
                (all.only(&halves.train), all.only(&halves.val))
            }
            Some(val) => {
                let [train, val] = self.decode(&found.root, [&found.train, val], &mut rejected);
                let val = judges(&train, &val, &mut rejected);
                (train, val)
            }
        };
        let train = match self.room {
            // From now on only parts of them are read, cut from larger squares.
            Some(room) => train.with_room(room, 0, self.cache_bytes() - val.kept_bytes()),
            None => train,
        };
        let list = [(&train, Use::Train), (&val, Use::Val)].map(|(photos, used)| listed(photos, used, &found.classes));
        Ok(Data { list: list.concat(), ..Data::of_photos(found, train, val, rejected)? })
    }

    /// All photos that the scan found, those to train on and those to validate on together; or `count` drawn images.
    pub fn pool(&self, found: Option<Folder>, count: usize) -> Result<Pool> {
        let Some(found) = found else {
            let pets = Drawn::new(Subject::Pets, self.seed, 0, count, self.fit.size, self.cache_share(1, 1));
            let classes = pets::CLASSES.map(String::from).to_vec();
            return Ok(Pool { classes, images: Box::new(pets), rejected: Vec::new(), list: Vec::new(), drawn: true });
        };
        // In an order that does not depend on how they were divided.
        let mut files = [&found.train[..], found.val.as_deref().unwrap_or_default()].concat();
        files.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
        let mut rejected = found.rejected.clone();
        let [photos] = self.decode(&found.root, [&files], &mut rejected);
        found.check_decoded("given", &photos, &rejected)?;
        // Each is learned from as well as judged by, so as many are kept of the one form as of the other.
        let photos = match self.room {
            Some(room) => {
                let [own, cut_from] = [self.fit.size, room].map(|side| u128::from(side).pow(2));
                let own = (self.cache_bytes() as u128 * own / (own + cut_from)) as usize;
                photos.with_room(room, own, self.cache_bytes() - own)
            }
            None => photos,
        };
        rejected.sort();
        let list = listed(&photos, Use::Study, &found.classes);
        Ok(Pool { classes: found.classes, images: Box::new(photos), rejected, list, drawn: false })
    }

    pub(super) fn draw_pets(&self) -> Data {
        let [train, val] = self.drawn;
        let draw = |first, count| -> Box<dyn Images> {
            let cache = self.cache_share(count, train + val);
            Box::new(Drawn::new(Subject::Pets, self.seed, first, count, self.fit.size, cache))
        };
        Data {
            classes: pets::CLASSES.map(String::from).to_vec(),
            train: draw(0, train),
            val: draw(FIRST_VAL_IMAGE, val),
            list: Vec::new(),
            contradictory: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// Decodes lists of photos; those that cannot be used join `rejected`.
    pub(super) fn decode<const N: usize>(
        &self,
        root: &Path,
        lists: [&Vec<LabelledFile>; N],
        rejected: &mut Vec<Rejected>,
    ) -> [Photos; N] {
        let total = lists.iter().map(|files| files.len()).sum();
        let reading = bar("{msg} {pos}/{len} [{bar:30}] ETA {eta}", total as u64).with_message("reading photos");
        let mut done = 0;
        let photos = lists.map(|files| {
            let cache = self.cache_share(files.len(), total);
            let show = |images: usize| reading.set_position((done + images) as u64);
            let (photos, mut unusable) = Photos::read(files.clone(), root, self.fit, cache, &show);
            rejected.append(&mut unusable);
            done += files.len();
            photos
        });
        reading.finish_and_clear();
        photos
    }

    /// Bytes of memory for `count` of `total` images: in proportion, so that training and validation images are kept
    /// to the same degree.
    fn cache_share(&self, count: usize, total: usize) -> usize {
        (self.cache_bytes() as u128 * count as u128 / total.max(1) as u128) as usize
    }

    /// Bytes of memory for decoded images.
    fn cache_bytes(&self) -> usize {
        self.cache << 20
    }
}

/// Checks that a folder does not belong to a run, whose images are results. It is the one that an option names, or lies in it.
fn check_no_run(option: &str, given: &Path, folder: &Path) -> Result<()> {
    // Whoever reads a folder that is not there says so.
    let Ok(whole) = folder.canonicalize() else { return Ok(()) };
    if let Some(run) = whole.ancestors().find(|folder| is_run(folder)) {
        let what = if given.canonicalize().is_ok_and(|given| given == run) {
            "is the folder of a run, whose images are results".into()
        } else {
            format!("its images are results of the run {}", run.display())
        };
        bail!("{option} {}: {what}; give the folder of your own images, as one folder a class", given.display());
    }
    Ok(())
}
