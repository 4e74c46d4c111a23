//! The images of a run: to learn from and to be judged by, when it is made and ever after.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::cli::TrainArgs;
use crate::data::drawn::{DrawnPets, FIRST_VAL_IMAGE};
use crate::data::folder::{self, Choices, Folder, LabelledFile, VALIDATION_SHARE};
use crate::data::names::{class_key, path_text};
use crate::data::photos::{Photos, file_digest};
use crate::data::split::{self, Unfit, hexadecimal};
use crate::data::{Images, Rejected, in_parallel, pets};
use crate::terminal::{bar, say};
use crate::train::Config;
use crate::train::run_dir::RunDir;
use crate::train::{Run, VALIDATION, digest_of_list, is_run};

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
    /// What is recorded of the validation photos of a new run.
    list: Vec<ValidationPhoto>,
}

/// All images of a study.
pub(super) struct Pool {
    /// Names of the classes, in the order of the labels.
    pub(super) classes: Vec<String>,
    /// The images, sorted by class and name where they are photos.
    pub(super) images: Box<dyn Images>,
    /// Files that cannot be used.
    pub(super) rejected: Vec<Rejected>,
    /// Whether the program drew them.
    pub(super) drawn: bool,
}

/// Says which of a data folder's folders were taken for what.
pub(super) fn tell_folders(found: &Folder) {
    say(format!("data     {}", found.root.display()));
    found.told().iter().for_each(|line| say(format!("         {line}")));
}

/// The images that a run was trained on and judged by, told apart by the run's own list. Photos are read from `data`, or
/// else from the folder that the run names; up to `cache` MiB of images are kept in memory. Says so where the folder holds
/// another number of photos.
///
/// # Errors
/// When the list of its validation photos cannot be used, or its photos are gone or of other classes, with the remedy.
pub fn of_run(run: &Run, data: Option<&Path>, cache: usize) -> Result<Data> {
    let past = Past::read(run, data, cache)?;
    past.all(past.scan()?)
}

/// The validation images alone, as [`of_run`] makes them; photos to train on are left unread.
///
/// # Errors
/// As [`of_run`].
pub fn validation_of(run: &Run, data: Option<&Path>, cache: usize) -> Result<Box<dyn Images>> {
    let past = Past::read(run, data, cache)?;
    past.validation(past.scan()?)
}

/// The images that a run was trained on, and up to `count` labelled ones that it was not: those it was judged by, or for
/// a run on drawn images as many new ones.
///
/// # Errors
/// As [`of_run`].
pub fn held_out_of(run: &Run, data: Option<&Path>, count: usize, cache: usize) -> Result<Data> {
    let past = Past::read(run, data, cache)?;
    let mut all = past.all(past.scan()?)?;
    if let Source { data: None, drawn: [_, judged], seed, size, .. } = past.source {
        let first = FIRST_VAL_IMAGE + judged as u64;
        all.val = Box::new(DrawnPets::new(seed, first, count, size, cache << 20));
    }
    Ok(all)
}

/// What decides which images there are.
pub(super) struct Source {
    /// The data folder, or none for drawn images.
    data: Option<PathBuf>,
    /// How the data folder is read, where that was said.
    choices: Choices,
    /// Share of each class set aside for validation where the folder has no validation images.
    val_share: f64,
    /// Drawn images to train on and to validate on.
    drawn: [usize; 2],
    seed: u64,
    size: u32,
    /// Memory for decoded images, in MiB.
    cache: usize,
}

impl Source {
    /// The images that a run is to have.
    pub(super) fn of(arguments: &TrainArgs) -> Self {
        Self {
            data: arguments.data.clone(),
            choices: arguments.choices(),
            val_share: arguments.val_share(),
            drawn: [arguments.train_images, arguments.val_images],
            seed: arguments.seed,
            size: arguments.model.size as u32,
            cache: arguments.cache,
        }
    }

    /// What the data folder holds, if there is one. Cheap: no photo is read.
    ///
    /// # Errors
    /// When a folder cannot be read as one of images, or its images are what a run has made.
    pub(super) fn scan(&self) -> Result<Option<Folder>> {
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

    /// The images of a new run: the photos that the scan found, or drawn ones. No photo that it is judged by equals one that
    /// it learns from, pixel by pixel, nor another that it is judged by.
    ///
    /// # Errors
    /// When a class has no photo to learn from or to be judged by.
    pub(super) fn divide(&self, found: Option<Folder>) -> Result<Data> {
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
        let list = list(&val)?;
        Ok(Data { list, ..Data::of_photos(found, train, val, rejected)? })
    }

    /// All photos that the scan found, those to train on and those to validate on together; or `count` drawn images.
    pub(super) fn pool(&self, found: Option<Folder>, count: usize) -> Result<Pool> {
        let Some(found) = found else {
            let pets = DrawnPets::new(self.seed, 0, count, self.size, self.cache_share(1, 1));
            let classes = pets::CLASSES.map(String::from).to_vec();
            return Ok(Pool { classes, images: Box::new(pets), rejected: Vec::new(), drawn: true });
        };
        // In an order that does not depend on how they were divided.
        let mut files = [&found.train[..], found.val.as_deref().unwrap_or_default()].concat();
        files.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
        let mut rejected = found.rejected.clone();
        let [photos] = self.decode(&found.root, [&files], &mut rejected);
        found.check_decoded("given", &photos, &rejected)?;
        rejected.sort();
        Ok(Pool { classes: found.classes, images: Box::new(photos), rejected, drawn: false })
    }

    fn draw_pets(&self) -> Data {
        let [train, val] = self.drawn;
        let draw = |first, count| -> Box<dyn Images> {
            let cache = self.cache_share(count, train + val);
            Box::new(DrawnPets::new(self.seed, first, count, self.size, cache))
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
    fn decode<const N: usize>(
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
            let (photos, mut unusable) = Photos::read(files.clone(), root, self.size, cache, &show);
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
        (((self.cache as u128) << 20) * count as u128 / total.max(1) as u128) as usize
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

/// A line of [`VALIDATION`].
#[derive(Clone, Debug, Serialize)]
struct ValidationPhoto {
    /// Path below the data folder, or from the root on where the photo lies outside, as [`path_text`] writes it.
    file: String,
    /// SHA-256 of the file, by which another photo of that name is told; older runs have none.
    sha256: Option<String>,
}

/// The list of validation photos.
fn list(val: &Photos) -> Result<Vec<ValidationPhoto>> {
    let digests = val.file_digests()?.into_iter().enumerate();
    let photo = |(index, digest)| ValidationPhoto { file: val.name(index), sha256: Some(hexadecimal(&digest)) };
    Ok(digests.map(photo).collect())
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

    /// What tells the list of the validation photos from that of another run; none for drawn images.
    pub fn val_list(&self) -> Option<String> {
        let list: BTreeMap<_, _> = self.list.iter().map(|photo| (photo.file.clone(), photo.sha256.clone())).collect();
        (!list.is_empty()).then(|| digest_of_list(&list))
    }

    /// Lists the validation photos of a run, so that they are found again when others have come or gone.
    ///
    /// # Errors
    /// When the list cannot be written.
    pub fn record_validation(&self, run: &RunDir) -> Result<()> {
        run.write_table(VALIDATION, |table| self.list.iter().try_for_each(|photo| table.serialize(photo)))
    }
}

/// What to do where a folder does not hold a run's photos.
const REMEDY: &str = "give the folder of the run's photos with --data";

/// A run that was made some time ago.
struct Past<'a> {
    run: &'a Path,
    config: &'a Config,
    /// Whether the user has said where the photos are now.
    given: bool,
    source: Source,
    /// The validation photos, by file.
    validation: BTreeMap<String, Option<String>>,
}

impl<'a> Past<'a> {
    fn read(run: &'a Run, data: Option<&Path>, cache: usize) -> Result<Self> {
        let config = run.config();
        let given = data.is_some();
        let shown = run.folder().display();
        let data = match (&config.data, data) {
            (None, Some(_)) => bail!("--data: the run {shown} was trained on drawn images; leave the option out"),
            (None, None) => None,
            (Some(_), Some(given)) => Some(given.to_path_buf()),
            (Some(recorded), None) if !Path::new(recorded).exists() => bail!(
                "by the data of {shown}/config.json, its photos were in {recorded}, which is not there any more: give their \
                 folder with --data"
            ),
            (Some(recorded), None) => Some(PathBuf::from(recorded)),
        };
        let source = Source {
            choices: data.as_deref().map(|data| config.folders.choices(data)).unwrap_or_default(),
            data,
            val_share: config.val_share.unwrap_or(VALIDATION_SHARE),
            drawn: [config.train_images, config.val_images],
            seed: config.training.seed,
            size: run.size(),
            cache,
        };
        Ok(Self { run: run.folder(), config, given, source, validation: run.validation()? })
    }

    fn scan(&self) -> Result<Option<Folder>> {
        let run = self.run.display();
        let found = self.source.scan().with_context(|| format!("the photos of the run {run} cannot be found again"))?;
        let Some(mut found) = found else { return Ok(None) };
        let keys = |classes: &[String]| classes.iter().map(|class| class_key(class)).collect::<Vec<_>>();
        if keys(&found.classes) != keys(&self.config.classes) {
            let (known, there) = (self.config.classes.join(", "), found.classes.join(", "));
            let data = self.data(&found);
            bail!("{data}: the run {run} knows the classes {known}, but this folder holds {there}; {REMEDY}");
        }
        found.classes.clone_from(&self.config.classes);
        Ok(Some(found))
    }

    /// How errors name the folder of the photos.
    fn data(&self, found: &Folder) -> String {
        let root = found.root.display();
        if self.given {
            format!("--data {root}")
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
        let but = match changed {
            0 => String::new(),
            _ => format!(" (files of these names that are others: {changed})"),
        };
        if left.is_empty() {
            bail!(
                "{data}: none of the {judged} photos that the run {run} was judged by are in this folder{but}; {REMEDY}"
            );
        }
        for (class, name) in (0..).zip(&found.classes) {
            ensure!(
                left.iter().any(|file| file.class == class),
                "{data}: of the class '{name}', none of the photos that the run {run} was judged by are in this folder{but}; \
                 {REMEDY}"
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

    fn all(&self, found: Option<Folder>) -> Result<Data> {
        let Some(found) = found else { return Ok(self.source.draw_pets()) };
        let (data, notes) = self.photos(found)?;
        notes.iter().for_each(|note| say(format!("note: {note}")));
        Ok(data)
    }

    /// All photos, and what has changed about them.
    fn photos(&self, mut found: Folder) -> Result<(Data, Vec<String>)> {
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

    fn validation(&self, found: Option<Folder>) -> Result<Box<dyn Images>> {
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

    /// How the folder differs from what it was, as far as the run tells.
    fn change(&self, found: &Folder, [train, val]: [usize; 2]) -> Option<String> {
        let Config { train_images, val_images, .. } = *self.config;
        let (run, root) = (self.run.display(), found.root.display());
        let changed = [train, val] != [train_images, val_images];
        changed
            .then(|| format!("the run {run} had {train_images} + {val_images} photos, {root} now has {train} + {val}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::Range;

    use clap::Parser;
    use image::{Rgb, RgbImage};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::cli::{Cli, Command};

    const CACHE: usize = 1;

    /// Makes the folder of a run as training does, without training.
    fn make_run(run: &Path, options: &[&str]) -> Data {
        try_to_make_run(run, options).unwrap()
    }

    fn arguments(options: &[&str]) -> TrainArgs {
        let cli =
            Cli::try_parse_from(["convscope", "train", "--size", "24", "--channels", "4,6"].iter().chain(options));
        let Command::Train(arguments) = cli.unwrap().command else { unreachable!("the command is train") };
        *arguments
    }

    fn try_to_make_run(run: &Path, options: &[&str]) -> Result<Data> {
        let arguments = arguments(options);
        let source = Source::of(&arguments);
        let found = source.scan()?;
        let split = found.as_ref().is_some_and(|found| found.val.is_none());
        let data = source.divide(found)?;
        let config = arguments.config(&data.classes, [data.train.len(), data.val.len()], split);
        let run = RunDir::create(Some(run)).unwrap();
        run.write_json("config.json", &config).unwrap();
        if arguments.data.is_some() {
            data.record_validation(&run).unwrap();
        }
        Ok(data)
    }

    /// Two classes of photos of these numbers each, all different.
    fn make_photos(root: &Path, numbers: Range<u8>) {
        for (class, shade) in [("cat", 0), ("dog", 100)] {
            fs::create_dir_all(root.join(class)).unwrap();
            for number in numbers.clone() {
                let photo = RgbImage::from_fn(30, 40, |x, y| Rgb([x as u8, y as u8, shade + number]));
                photo.save(root.join(class).join(format!("{number}.png"))).unwrap();
            }
        }
    }

    /// Names, labels and pixels of all images.
    fn content(images: &dyn Images) -> Vec<(String, u32, Vec<u8>)> {
        let image =
            |index| (images.name(index), images.label(index), images.pixels(index).expect("is readable").into_owned());
        (0..images.len()).map(image).collect()
    }

    fn assert_rebuilt(run: &Path, data: Option<&Path>, made: &Data) {
        let run = &opened(run);
        let again = of_run(run, data, CACHE).unwrap();
        assert_eq!(again.classes, made.classes);
        assert_eq!(again.rejected, made.rejected);
        assert_eq!(content(again.train.as_ref()), content(made.train.as_ref()));
        assert_eq!(content(again.val.as_ref()), content(made.val.as_ref()));
        assert_eq!(content(validation_of(run, data, CACHE).unwrap().as_ref()), content(made.val.as_ref()));
    }

    fn opened(run: &Path) -> Run {
        Run::open(run).unwrap()
    }

    fn error(run: &Path, data: Option<&Path>) -> String {
        let opened = Run::open(run).and_then(|run| validation_of(&run, data, CACHE));
        format!("{:#}", opened.err().expect("there is an error"))
    }

    /// Given itself, as one of several, or by a folder of its results; as training images or to validate on.
    #[test]
    fn the_images_that_a_run_made_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, runs] = ["photos", "runs"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..4);
        for run in ["001", "002"].map(|name| runs.join(name)) {
            make_photos(&run.join("explain"), 10..12);
            make_photos(&run, 10..12);
            ["config.json", "best.safetensors"].iter().for_each(|name| fs::write(run.join(name), "").unwrap());
        }
        let scan = |data: &Path, options: &[&str]| {
            let options = [&["--data", data.to_str().unwrap()], options].concat();
            Source::of(&arguments(&options)).scan().map(|found| found.unwrap().train.len())
        };
        let remedy = "give the folder of your own images, as one folder a class";
        for (given, what) in [
            (runs.join("001"), "is the folder of a run, whose images are results"),
            (runs.clone(), "its images are results of the run "),
            (runs.join("002/explain"), "its images are results of the run "),
            (folder.path().to_path_buf(), "its images are results of the run "),
        ] {
            let shown = given.display();
            let error = scan(&given, &[]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--data {shown}: {what}")) && error.ends_with(remedy), "{error}");
            // Of several runs, it is told that their classes are not those of the photos.
            if given != runs && !photos.starts_with(&given) {
                let error = scan(&photos, &["--val", given.to_str().unwrap()]).unwrap_err().to_string();
                assert!(error.starts_with(&format!("--val {shown}: {what}")) && error.ends_with(remedy), "{error}");
            }
        }
        // Neither settings nor weights alone make a run, and one in a folder that is not read does no harm.
        for name in ["config.json", "best.safetensors"] {
            fs::write(photos.join(name), "").unwrap();
            assert_eq!(scan(&photos, &[]).unwrap(), 8);
            fs::remove_file(photos.join(name)).unwrap();
        }
        fs::rename(&photos, folder.path().join("train")).unwrap();
        fs::rename(&runs, folder.path().join("test")).unwrap();
        assert_eq!(scan(folder.path(), &[]).unwrap(), 8);
    }

    #[test]
    fn drawn_images_are_drawn_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let made = make_run(&run, &["--seed", "3", "--train-images", "7", "--val-images", "5"]);
        assert_eq!((made.train.len(), made.val.len()), (7, 5));
        assert_rebuilt(&run, None, &made);
        let error = error(&run, Some(folder.path()));
        assert!(error.contains("trained on drawn images"), "{error}");
    }

    #[test]
    fn photos_are_split_again_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..10);
        fs::write(photos.join("dog/broken.png"), b"no image").unwrap();
        let made = make_run(&run, &["--seed", "3", "--data", photos.to_str().unwrap(), "--val-share", "0.3"]);
        assert_eq!((made.train.len() + made.val.len(), made.rejected.len()), (20, 1));
        assert_rebuilt(&run, None, &made);

        let moved = folder.path().join("moved");
        fs::rename(&photos, &moved).unwrap();
        let error = error(&run, None);
        assert!(error.contains("photos, which is not there any more: give their folder with --data"), "{error}");
        assert_rebuilt(&run, Some(&moved), &made);
    }

    /// A class whose photos were broken, but for a few: wherever these lay in the first split, they are found again.
    #[test]
    fn photos_set_aside_in_place_of_broken_ones_are_found_again() {
        for seed in ["0", "1", "2", "3"] {
            let folder = tempfile::tempdir().unwrap();
            let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
            make_photos(&photos, 0..10);
            for number in 0..8 {
                fs::write(photos.join(format!("cat/{number}.png")), b"no image").unwrap();
            }
            let made = make_run(&run, &["--seed", seed, "--data", photos.to_str().unwrap()]);
            assert_rebuilt(&run, None, &made);
        }
    }

    #[test]
    fn a_validation_folder_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos.join("train"), 0..4);
        make_photos(&photos.join("val"), 10..12);
        let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
        assert_eq!((made.train.len(), made.val.len()), (8, 4));
        assert_rebuilt(&run, None, &made);
    }

    fn names(images: &dyn Images) -> BTreeSet<String> {
        (0..images.len()).map(|index| images.name(index)).collect()
    }

    /// What is told of how the run's folder has changed.
    fn notes(run: &Path) -> Vec<String> {
        let run = opened(run);
        let past = Past::read(&run, None, CACHE).unwrap();
        past.photos(past.scan().unwrap().unwrap()).unwrap().1
    }

    /// The same where it is one thing at most.
    fn change(run: &Path) -> Option<String> {
        let mut notes = notes(run);
        assert!(notes.len() < 2, "{notes:?}");
        notes.pop()
    }

    #[test]
    fn photos_that_come_and_go_leave_the_division_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..10);
        let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
        assert_eq!((made.train.len(), made.val.len()), (16, 4));
        assert_eq!(change(&run), None);

        // As many are set aside of eleven as of ten, but others.
        make_photos(&photos, 10..11);
        let [held, all] =
            [validation_of(&opened(&run), None, CACHE).unwrap(), of_run(&opened(&run), None, CACHE).unwrap().val];
        assert_eq!(
            names(held.as_ref()),
            names(made.val.as_ref()),
            "no photo that was trained on is a validation photo"
        );
        assert_eq!(names(all.as_ref()), names(made.val.as_ref()));
        assert_eq!(of_run(&opened(&run), None, CACHE).unwrap().train.len(), 18);
        assert!(change(&run).unwrap().contains("had 16 + 4 photos"));

        let gone = made.val.name(0);
        fs::remove_file(photos.join(&gone)).unwrap();
        let left = names(validation_of(&opened(&run), None, CACHE).unwrap().as_ref());
        assert!(left.len() == 3 && left.is_subset(&names(made.val.as_ref())), "{left:?} without {gone}");
    }

    fn contents(images: &dyn Images) -> BTreeSet<Vec<u8>> {
        content(images).into_iter().map(|(.., pixels)| pixels).collect()
    }

    /// Checks what must hold whatever a folder holds.
    fn assert_apart(data: &Data, case: &str) {
        let [learned, judged] = [data.train.as_ref(), data.val.as_ref()].map(contents);
        assert!(learned.is_disjoint(&judged), "{case}: a content is on both sides");
        assert_eq!(judged.len(), data.val.len(), "{case}: a content judges twice");
        for class in 0..data.classes.len() as u32 {
            let has = |images: &dyn Images| (0..images.len()).any(|index| images.label(index) == class);
            assert!(has(data.train.as_ref()) && has(data.val.as_ref()), "{case}: a class is missing on one side");
        }
    }

    /// A photo whose content is that of all photos of its number; broken for number 0.
    fn write_photo(path: &Path, number: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match number {
            0 => fs::write(path, b"no image").unwrap(),
            _ => RgbImage::from_fn(6, 5, |x, y| Rgb([x as u8, y as u8, number])).save(path).unwrap(),
        }
    }

    /// Names as people have them, some of which cannot be told from others where bytes that are no Unicode are dropped.
    fn photo_name(number: usize) -> PathBuf {
        #[cfg(target_os = "linux")]
        if number.is_multiple_of(3) {
            use std::os::unix::ffi::OsStringExt;
            let ending = format!("{}.png", number / 16);
            let name = [b"foto".as_slice(), &[0xE0 + (number % 16) as u8], ending.as_bytes()];
            return std::ffi::OsString::from_vec(name.concat()).into();
        }
        match number % 3 {
            1 => format!("below/it's {number}.png").into(),
            _ => format!(r"a\{number}.png").into(),
        }
    }

    /// Fills a folder with few or many photos, doubles within and across classes and parts, and broken files; returns the
    /// number of files.
    fn fill_at_random(root: &Path, rng: &mut ChaCha8Rng) -> usize {
        let parts: &[&str] = if rng.random_bool(0.5) { &[""] } else { &["train", "val"] };
        let contents = rng.random_range(10..=200);
        let mut files = 0;
        let classes = rng.random_range(2..=5);
        for part in parts {
            for class in 0..classes {
                let broken = if rng.random_bool(0.1) { 0.8 } else { 0.05 };
                for photo in 0..rng.random_range(2..=12) {
                    let number = if rng.random_bool(broken) { 0 } else { rng.random_range(1..=contents) };
                    write_photo(&root.join(part).join(format!("class {class}")).join(photo_name(photo)), number);
                    files += 1;
                }
            }
        }
        files
    }

    /// Replaces some photos by others, adds copies and removes some.
    fn change_at_random(root: &Path, rng: &mut ChaCha8Rng) {
        let files = folder::images_below(root).unwrap();
        let any = |rng: &mut ChaCha8Rng| files[rng.random_range(0..files.len())].clone();
        for number in 0..rng.random_range(0..8) {
            let [from, to] = [any(rng), any(rng)];
            let _ = match rng.random_range(0..4) {
                0 => fs::copy(from, to).map(|_| ()),
                1 => fs::copy(&from, to.with_file_name(format!("new {number}.png"))).map(|_| ()),
                2 => fs::remove_file(to),
                _ => fs::rename(from, to),
            };
        }
    }

    /// No content is both learned from and judged by, in a new run and whenever the run is looked into, however the folder has
    /// changed by then.
    #[test]
    fn no_content_is_on_both_sides_whatever_a_folder_holds() {
        let mut made_runs = 0;
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let case = format!("folder {seed}");
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let folder = tempfile::tempdir().unwrap();
            let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
            let files = fill_at_random(&photos, &mut rng);
            let data = ["--data", photos.to_str().unwrap(), "--seed", "1"];
            let made = match try_to_make_run(&run, &data) {
                Ok(made) => made,
                Err(error) => {
                    let error = format!("{error:#}");
                    let expected = ["too few different images", "images of the class", "has no usable image"];
                    assert!(expected.iter().any(|part| error.contains(part)), "{case}: {error}");
                    continue;
                }
            };
            made_runs += 1;
            let kinds = ["is no JPEG", "equals the training", "counted once", "of another class"];
            let told = |kind: &&str| made.rejected.iter().any(|file| file.reason.contains(kind));
            seen.extend(kinds.into_iter().filter(told));
            seen.extend((!made.contradictory.is_empty()).then_some("in two classes"));
            assert_apart(&made, &case);
            assert_eq!(made.train.len() + made.val.len() + made.rejected.len(), files, "{case}: every file is told");
            let again = of_run(&opened(&run), None, CACHE).unwrap();
            assert_eq!(content(again.train.as_ref()), content(made.train.as_ref()), "{case}");
            assert_eq!(content(again.val.as_ref()), content(made.val.as_ref()), "{case}");
            assert_eq!(
                content(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()),
                content(made.val.as_ref()),
                "{case}"
            );

            let [learned, judged] = [made.train.as_ref(), made.val.as_ref()].map(contents);
            drop(made);
            change_at_random(&photos, &mut rng);
            if let Ok(later) = of_run(&opened(&run), None, CACHE) {
                assert_apart(&later, &case);
                let still = contents(later.val.as_ref());
                assert!(still.is_subset(&judged) && still.is_disjoint(&learned), "{case}: others judge after a change");
                assert_eq!(contents(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()), still, "{case}");
                assert_apart(&held_out_of(&opened(&run), None, 5, CACHE).unwrap(), &case);
            }
        }
        assert!(made_runs > 30 && seen.len() == 5, "only {made_runs} of the folders could be used, with {seen:?}");
    }

    /// The cases of [`no_content_is_on_both_sides_whatever_a_folder_holds`] that were wrong once.
    #[test]
    fn doubles_stay_together_where_a_class_has_few_photos() {
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join("photos");
        make_photos(&photos, 0..30);
        for class in ["cat", "dog"] {
            for number in 0..10 {
                let photo = photos.join(class).join(format!("{number}.png"));
                fs::copy(&photo, photo.with_file_name(format!("copy {number}.png"))).unwrap();
            }
        }
        let options = ["--data", photos.to_str().unwrap()];
        let made = make_run(&folder.path().join("copies"), &options);
        assert_apart(&made, "copies");
        assert_eq!(made.val.len(), 12, "a fifth of 30 contents in each class");
        assert_eq!(made.train.len() + made.val.len() + made.rejected.len(), 80);
        assert!(
            made.rejected.iter().all(|file| file.reason.contains("and each is counted once")),
            "{:?}",
            made.rejected
        );

        // A class with one photo, stored twice, cannot be on both sides.
        write_photo(&photos.join("owl/1.png"), 200);
        write_photo(&photos.join("owl/2.png"), 200);
        let error = try_to_make_run(&folder.path().join("owl"), &options).err().unwrap();
        let error = format!("{error:#}");
        assert!(
            error.contains("different images of the class 'owl' (1, without copies") && error.contains("--val"),
            "{error}"
        );
        // With another photo it can.
        write_photo(&photos.join("owl/3.png"), 201);
        assert_apart(&make_run(&folder.path().join("owls"), &options), "owls");
        // A class of broken files has nothing to be set aside.
        fs::write(photos.join("owl/3.png"), b"no image").unwrap();
        let error = format!("{:#}", try_to_make_run(&folder.path().join("broken"), &options).err().unwrap());
        assert!(error.contains("'owl' (1, without copies"), "{error}");
    }

    #[test]
    fn images_of_two_classes_are_only_learned_from_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..6);
        assert_eq!(
            make_run(&folder.path().join("plain"), &["--data", photos.to_str().unwrap()]).contradictory,
            [""; 0]
        );
        fs::copy(photos.join("cat/2.png"), photos.join("dog/also.png")).unwrap();
        let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
        assert_eq!(made.contradictory, ["cat/2.png"]);
        let learned = names(made.train.as_ref());
        assert!(learned.contains("cat/2.png") && learned.contains("dog/also.png"), "{learned:?}");
        assert_rebuilt(&run, None, &made);
    }

    #[test]
    fn a_validation_folder_judges_with_what_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos.join("train"), 0..6);
        make_photos(&photos.join("val"), 4..9);
        let copy = |from: &str, to: &str| fs::copy(photos.join(from), photos.join(to)).unwrap();
        copy("val/cat/8.png", "val/cat/again.png");
        copy("val/cat/7.png", "val/dog/also.png");
        let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
        assert_apart(&made, "a validation folder");
        let reasons: Vec<_> = made.rejected.iter().map(|file| format!("{} {}", file.file, file.reason)).collect();
        assert_eq!(
            reasons,
            [
                "val/cat/4.png equals the training image train/cat/4.png, so it cannot judge what was learned",
                "val/cat/5.png equals the training image train/cat/5.png, so it cannot judge what was learned",
                "val/cat/7.png equals the image val/dog/also.png of another class, so it cannot judge what was learned",
                "val/cat/again.png equals the validation image val/cat/8.png, and each is counted once",
                "val/dog/4.png equals the training image train/dog/4.png, so it cannot judge what was learned",
                "val/dog/5.png equals the training image train/dog/5.png, so it cannot judge what was learned",
                "val/dog/also.png equals the image val/cat/7.png of another class, so it cannot judge what was learned",
            ]
        );
        assert_eq!(names(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()), names(made.val.as_ref()));
    }

    /// Runs from before the list had sums: what was learned from does not judge, though it is on the list.
    #[test]
    fn an_older_list_is_not_trusted_blindly() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..10);
        let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
        let list: String = (0..made.val.len()).map(|index| format!("{}\n", made.val.name(index))).collect();
        // With the mark that some editors put in front.
        fs::write(run.join(VALIDATION), format!("\u{feff}file\n{list}")).unwrap();
        assert_rebuilt(&run, None, &made);
        assert_eq!(change(&run), None);
        let [learned, judged] = [made.train.name(0), made.val.name(0)];
        fs::copy(photos.join(&learned), photos.join(&judged)).unwrap();
        for left in
            [of_run(&opened(&run), None, CACHE).unwrap().val, validation_of(&opened(&run), None, CACHE).unwrap()]
        {
            assert_eq!((left.len(), names(left.as_ref()).contains(&judged)), (made.val.len() - 1, false));
        }
        let note = change(&run).unwrap();
        assert!(note.contains("these equal others and judge no longer: 1 of 4"), "{note}");
        fs::remove_file(photos.join(made.train.name(1))).unwrap();
        let notes = notes(&run);
        assert!(
            notes.len() == 2 && notes[0].contains("had 16 + 4 photos") && notes[0].contains("now has 15 + 4"),
            "{notes:?}"
        );
        fs::remove_file(run.join(VALIDATION)).unwrap();
        let error = error(&run, None);
        assert!(error.contains("not known which photos the run was judged by; train it anew"), "{error}");
    }

    #[test]
    fn the_division_follows_the_seed_and_the_share() {
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join("photos");
        make_photos(&photos, 0..10);
        let data = photos.to_str().unwrap();
        let val = |number: usize, seed: &str, share: &str| {
            let run = folder.path().join(number.to_string());
            names(make_run(&run, &["--data", data, "--seed", seed, "--val-share", share]).val.as_ref())
        };
        let shares = [("0.2", 4), ("0.5", 10), ("0.001", 2), ("0.999", 18)];
        for (number, (share, count)) in shares.into_iter().enumerate() {
            assert_eq!(val(number, "0", share).len(), count, "share {share}");
        }
        assert_eq!(val(10, "5", "0.2"), val(11, "5", "0.2"));
        assert_ne!(val(12, "5", "0.2"), val(13, "6", "0.2"));
    }

    #[test]
    fn what_was_said_of_the_folders_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, moved] = ["photos", "moved"].map(|name| folder.path().join(name));
        make_photos(&photos.join("some/train"), 0..4);
        make_photos(&photos.join("more"), 10..12);
        make_photos(&folder.path().join("elsewhere"), 20..22);
        let [inside, outside] = [photos.join("more"), folder.path().join("elsewhere")];
        let runs = [
            ("inside", "", ["--val", inside.to_str().unwrap()], (8, 4)),
            ("outside", "some", ["--val", outside.to_str().unwrap()], (8, 4)),
            ("level", "", ["--class-level", "3"], (6, 2)),
        ];
        let made = runs.map(|(name, below, options, expected)| {
            let data = photos.join(below);
            let made = make_run(&folder.path().join(name), &[["--data", data.to_str().unwrap()], options].concat());
            assert_eq!((made.train.len(), made.val.len()), expected, "{name}");
            assert_rebuilt(&folder.path().join(name), None, &made);
            made
        });
        fs::rename(&photos, &moved).unwrap();
        for ((name, below, ..), made) in runs.iter().zip(&made) {
            assert_rebuilt(&folder.path().join(name), Some(&moved.join(below)), made);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_data_folder_whose_path_cannot_be_recorded_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join(std::ffi::OsStr::from_bytes(b"fotos\xe0"));
        make_photos(&photos, 0..4);
        let error = folder::scan(&photos, &Choices::default()).unwrap_err().to_string();
        assert!(error.starts_with("--data: the path ") && error.contains(r"fotos\xE0 is not valid Unicode"), "{error}");
        let val = Choices { val: Some(photos.clone()), class_level: None };
        make_photos(&folder.path().join("photos"), 4..8);
        let error = folder::scan(&folder.path().join("photos"), &val).unwrap_err().to_string();
        assert!(error.starts_with("--val: the path "), "{error}");
    }

    /// In a folder with validation photos of its own, those that come later may have been trained on.
    #[test]
    fn validation_photos_that_come_later_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos.join("train"), 0..4);
        make_photos(&photos.join("val"), 10..12);
        let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
        fs::copy(photos.join("train/cat/0.png"), photos.join("val/cat/9.png")).unwrap();
        let [held, all] =
            [validation_of(&opened(&run), None, CACHE).unwrap(), of_run(&opened(&run), None, CACHE).unwrap().val];
        assert_eq!(names(held.as_ref()), names(made.val.as_ref()));
        assert_eq!(names(all.as_ref()), names(made.val.as_ref()));
        for class in ["cat", "dog"] {
            for number in 0..2 {
                fs::remove_file(photos.join(format!("val/{class}/{}.png", number + 10))).unwrap();
            }
        }
        fs::copy(photos.join("train/dog/0.png"), photos.join("val/dog/9.png")).unwrap();
        let error = error(&run, None);
        assert!(error.contains("none of the 4 photos that the run"), "{error}");
    }

    #[test]
    fn a_folder_that_has_changed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..10);
        let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
        assert_eq!(change(&run), None);
        for name in [made.train.name(0), made.val.name(0)] {
            fs::remove_file(photos.join(name)).unwrap();
        }
        let note = change(&run).unwrap();
        assert!(note.contains("had 16 + 4 photos") && note.contains("now has 15 + 3"), "{note}");
        assert_eq!(validation_of(&opened(&run), None, CACHE).unwrap().len(), 3, "fewer images are no error");

        fs::rename(photos.join("cat"), photos.join("bird")).unwrap();
        let error = error(&run, None);
        assert!(error.contains("knows the classes cat, dog, but") && error.contains("holds bird, dog"), "{error}");
    }

    /// Whether they have other names, or the names alone, or one class is there: what is wrong is the folder, not its photos.
    #[test]
    fn another_folder_than_the_runs_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, others, namesakes, half, run] =
            ["photos", "others", "namesakes", "half", "run"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..10);
        make_photos(&others, 20..30);
        make_photos(&namesakes, 0..10);
        make_photos(&half, 0..10);
        let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
        for (to, from) in [("cat", "dog"), ("dog", "cat")] {
            for number in 0..10 {
                let name = format!("{number}.png");
                fs::copy(photos.join(from).join(&name), namesakes.join(to).join(&name)).unwrap();
            }
        }
        for name in names(made.val.as_ref()).iter().filter(|name| name.starts_with("dog")) {
            fs::remove_file(half.join(name)).unwrap();
        }
        for (data, problem) in [
            (&others, "none of the 4 photos that the run"),
            (&namesakes, "are in this folder (files of these names that are others: 4); give the folder"),
            (&half, "of the class 'dog', none of the photos"),
        ] {
            let opened = opened(&run);
            for error in [validation_of(&opened, Some(data), CACHE).err(), of_run(&opened, Some(data), CACHE).err()] {
                let error = format!("{:#}", error.expect("it is another folder"));
                assert!(
                    error.starts_with(&format!("--data {}: ", data.display())) && error.contains(problem),
                    "{error}"
                );
                assert!(error.ends_with("give the folder of the run's photos with --data"), "{error}");
            }
        }
        assert_rebuilt(&run, Some(&photos), &made);
    }

    #[test]
    fn a_run_without_its_settings_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let message = error(folder.path(), None);
        assert!(message.contains("config.json cannot be read"), "{message}");
        fs::write(folder.path().join("config.json"), b"{}").unwrap();
        let message = error(folder.path(), None);
        assert!(message.contains("config.json: cannot be used: missing field"), "{message}");
        let message = error(&folder.path().join("nowhere"), None);
        assert!(message.contains("there is no such folder"), "{message}");
    }
}
