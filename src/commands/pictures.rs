//! The pictures of a run: to learn from and to be judged by, when it is made and ever after.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::cli::{Config, TrainArgs};
use crate::data::drawn::{DrawnPets, FIRST_VAL_PICTURE};
use crate::data::folder::{self, Folder, LabelledFile, VALIDATION_SHARE};
use crate::data::photos::Photos;
use crate::data::split::digests;
use crate::data::{Pictures, Rejected, pets};
use crate::reading::{Run, VALIDATION};
use crate::run_dir::RunDir;
use crate::terminal::{bar, say};

/// The pictures to learn from and to be judged by.
pub struct Data {
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// The pictures to learn from.
    pub train: Box<dyn Pictures>,
    /// The pictures to be judged by.
    pub val: Box<dyn Pictures>,
    /// Files that cannot be used.
    pub rejected: Vec<Rejected>,
}

/// All pictures of a study.
pub(super) struct Pool {
    /// Names of the classes, in the order of the labels.
    pub(super) classes: Vec<String>,
    /// The pictures, sorted by class and name where they are photos.
    pub(super) pictures: Box<dyn Pictures>,
    /// Files that cannot be used.
    pub(super) rejected: Vec<Rejected>,
    /// Whether the program drew them.
    pub(super) drawn: bool,
}

/// The pictures that a run was trained on and judged by, with the same split. Photos are read from `data`, or else from
/// the folder that the run names; up to `cache` MiB of pictures are kept in memory. Says so
/// where the folder holds another number of photos; that some were exchanged for others goes unnoticed.
///
/// # Errors
/// When the list of its validation photos cannot be used, or its photos are gone or of other classes, with the remedy.
pub fn of_run(run: &Run, data: Option<&Path>, cache: usize) -> Result<Data> {
    let past = Past::read(run, data, cache)?;
    past.all(past.scan()?)
}

/// The validation pictures alone, as [`of_run`] makes them; photos to train on are left unread.
///
/// # Errors
/// As [`of_run`].
pub fn validation_of(run: &Run, data: Option<&Path>, cache: usize) -> Result<Box<dyn Pictures>> {
    let past = Past::read(run, data, cache)?;
    let found = past.scan()?;
    if let Some(found) = &found {
        let mut rejected = found.rejected.clone();
        let [val] = past.source.decode(&found.root, [&found.val], &mut rejected);
        let complete = found.check_decoded("validation", &val, &rejected).is_ok();
        if complete && past.agrees(found, val.len()) {
            return Ok(Box::new(val));
        }
    }
    // Which photos are validation photos may depend on which of the others can be read.
    Ok(past.all(found)?.val)
}

/// The pictures that a run was trained on, and up to `count` labelled ones that it was not: those it was judged by, or for
/// a run on drawn pictures as many new ones.
///
/// # Errors
/// As [`of_run`].
pub fn held_out_of(run: &Run, data: Option<&Path>, count: usize, cache: usize) -> Result<Data> {
    let past = Past::read(run, data, cache)?;
    let mut all = past.all(past.scan()?)?;
    if let Source { data: None, drawn: [_, judged], seed, size, .. } = past.source {
        let first = FIRST_VAL_PICTURE + judged as u64;
        all.val = Box::new(DrawnPets::new(seed, first, count, size, cache << 20));
    }
    Ok(all)
}

/// What decides which pictures there are.
pub(super) struct Source {
    /// The data folder, or none for drawn pictures.
    data: Option<PathBuf>,
    /// Share of each class set aside for validation where the folder has no validation pictures.
    val_share: f64,
    /// Drawn pictures to train on and to validate on.
    drawn: [usize; 2],
    seed: u64,
    size: u32,
    /// Memory for decoded pictures, in MiB.
    cache: usize,
}

impl Source {
    /// The pictures that a run is to have.
    pub(super) fn of(arguments: &TrainArgs) -> Self {
        Self {
            data: arguments.data.clone(),
            val_share: arguments.val_share(),
            drawn: [arguments.train_pictures, arguments.val_pictures],
            seed: arguments.seed,
            size: arguments.size as u32,
            cache: arguments.cache,
        }
    }

    /// What the data folder holds, if there is one. Cheap: no photo is read.
    pub(super) fn scan(&self) -> Result<Option<Folder>> {
        self.data.as_deref().map(|root| folder::scan(root, self.val_share, self.seed)).transpose()
    }

    /// Reads the photos that the scan found, or draws.
    pub(super) fn read(&self, found: Option<Folder>) -> Result<Data> {
        match found {
            Some(found) => self.read_photos(found),
            None => Ok(self.draw_pets()),
        }
    }

    /// The same for a new run: none of the photos that it is judged by equals one that it learns from, pixel by pixel.
    pub(super) fn read_apart(&self, found: Option<Folder>) -> Result<Data> {
        let data = self.read(found.clone())?;
        let Some(found) = found else { return Ok(data) };
        let learned: BTreeSet<_> = digests(data.train.as_ref())?.into_iter().collect();
        let judged = digests(data.val.as_ref())?.into_iter().enumerate();
        let doubles: BTreeSet<String> =
            judged.filter(|(_, digest)| learned.contains(digest)).map(|(index, _)| data.val.name(index)).collect();
        if doubles.is_empty() { Ok(data) } else { self.read(Some(found.apart(&doubles))) }
    }

    /// All photos that the scan found, those to train on and those to validate on together; or `count` drawn pictures.
    pub(super) fn pool(&self, found: Option<Folder>, count: usize) -> Result<Pool> {
        let Some(found) = found else {
            let pets = DrawnPets::new(self.seed, 0, count, self.size, self.cache_share(1, 1));
            let classes = pets::CLASSES.map(String::from).to_vec();
            return Ok(Pool { classes, pictures: Box::new(pets), rejected: Vec::new(), drawn: true });
        };
        // In an order that does not depend on how they were split.
        let mut files = [&found.train[..], &found.val].concat();
        files.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
        let mut rejected = found.rejected.clone();
        let [photos] = self.decode(&found.root, [&files], &mut rejected);
        found.check_decoded("given", &photos, &rejected)?;
        rejected.sort();
        Ok(Pool { classes: found.classes, pictures: Box::new(photos), rejected, drawn: false })
    }

    fn draw_pets(&self) -> Data {
        let [train, val] = self.drawn;
        let draw = |first, count| -> Box<dyn Pictures> {
            let cache = self.cache_share(count, train + val);
            Box::new(DrawnPets::new(self.seed, first, count, self.size, cache))
        };
        Data {
            classes: pets::CLASSES.map(String::from).to_vec(),
            train: draw(0, train),
            val: draw(FIRST_VAL_PICTURE, val),
            rejected: Vec::new(),
        }
    }

    /// Reads all photos. Where a class lost all its validation pictures to broken files, others are set aside.
    fn read_photos(&self, found: Folder) -> Result<Data> {
        let mut rejected = found.rejected.clone();
        let [train, val] = self.decode(&found.root, [&found.train, &found.val], &mut rejected);
        let complete = found
            .check_decoded("training", &train, &rejected)
            .and_then(|()| found.check_decoded("validation", &val, &rejected));
        let (found, train, val) = match complete {
            Err(_) if found.split => {
                let found = folder::scan_without(&found.root, self.val_share, self.seed, &rejected)?;
                let [train, val] = self.decode(&found.root, [&found.train, &found.val], &mut rejected);
                (found, train, val)
            }
            complete => complete.map(|()| (found, train, val))?,
        };
        rejected.sort();
        rejected.dedup();
        Ok(Data { classes: found.classes, train: Box::new(train), val: Box::new(val), rejected })
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
            let show = |pictures: usize| reading.set_position((done + pictures) as u64);
            let (photos, mut unusable) = Photos::read(files.clone(), root, self.size, cache, &show);
            rejected.append(&mut unusable);
            done += files.len();
            photos
        });
        reading.finish_and_clear();
        photos
    }

    /// Bytes of memory for `count` of `total` pictures: in proportion, so that training and validation pictures are kept
    /// to the same degree.
    fn cache_share(&self, count: usize, total: usize) -> usize {
        (((self.cache as u128) << 20) * count as u128 / total.max(1) as u128) as usize
    }
}

/// A line of [`VALIDATION`].
#[derive(Serialize)]
struct ValidationPhoto {
    /// Path below the data folder.
    file: String,
}

/// Lists the validation photos, so that they are found again when others have come or gone.
///
/// # Errors
/// When the list cannot be written.
pub fn record_validation(run: &RunDir, validation: &dyn Pictures) -> Result<()> {
    let mut table = csv::Writer::from_writer(Vec::new());
    for index in 0..validation.len() {
        table.serialize(ValidationPhoto { file: validation.name(index) })?;
    }
    run.write(VALIDATION, &table.into_inner().context("the list is complete")?)
}

/// A run that was made some time ago.
struct Past<'a> {
    run: &'a Path,
    config: &'a Config,
    source: Source,
    /// The validation photos, as far as the run tells.
    validation: Option<BTreeSet<String>>,
}

impl<'a> Past<'a> {
    fn read(run: &'a Run, data: Option<&Path>, cache: usize) -> Result<Self> {
        let config = run.config();
        let shown = run.folder().display();
        let data = match (&config.data, data) {
            (None, Some(_)) => bail!("--data: the run {shown} was trained on drawn pictures; leave the option out"),
            (None, None) => None,
            (Some(_), Some(given)) => Some(given.to_path_buf()),
            (Some(recorded), None) if !Path::new(recorded).exists() => bail!(
                "by the data of {shown}/config.json, its photos were in {recorded}, which is not there any more: give their \
                 folder with --data"
            ),
            (Some(recorded), None) => Some(PathBuf::from(recorded)),
        };
        let source = Source {
            data,
            val_share: config.val_share.unwrap_or(VALIDATION_SHARE),
            drawn: [config.train_pictures, config.val_pictures],
            seed: config.training.seed,
            size: run.size(),
            cache,
        };
        Ok(Self { run: run.folder(), config, source, validation: run.validation()? })
    }

    fn scan(&self) -> Result<Option<Folder>> {
        let run = self.run.display();
        let found = self.source.scan().with_context(|| format!("the photos of the run {run} cannot be found again"))?;
        if let Some(found) = &found
            && found.classes != self.config.classes
        {
            let (known, there) = (self.config.classes.join(", "), found.classes.join(", "));
            bail!("the run {run} knows the classes {known}, but {} holds {there}", found.root.display());
        }
        Ok(found.map(|found| match &self.validation {
            Some(validation) => found.divided_again(validation),
            None => found,
        }))
    }

    /// Whether the folder is divided as it was, into as many validation pictures.
    fn agrees(&self, found: &Folder, val: usize) -> bool {
        let divided = self.validation.is_some() || found.split == self.config.val_share.is_some();
        divided && val == self.config.val_pictures
    }

    fn all(&self, found: Option<Folder>) -> Result<Data> {
        let folder = found.clone();
        let data = self.source.read(found)?;
        if let Some(change) = folder.and_then(|found| self.change(&found, [data.train.len(), data.val.len()])) {
            say(format!("note: {change}"));
        }
        Ok(data)
    }

    /// How the folder differs from what it was, as far as the run tells.
    fn change(&self, found: &Folder, [train, val]: [usize; 2]) -> Option<String> {
        let Config { train_pictures, val_pictures, .. } = *self.config;
        if self.agrees(found, val) && train == train_pictures {
            return None;
        }
        let (run, root) = (self.run.display(), found.root.display());
        let mut change =
            format!("the run {run} had {train_pictures} + {val_pictures} photos, {root} now has {train} + {val}");
        if found.split {
            change.push_str("; photos that it was trained on may be among those now set aside for validation");
        }
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::Range;

    use clap::Parser;
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::cli::{Cli, Command};

    const CACHE: usize = 1;

    /// Makes the folder of a run as training does, without training.
    fn make_run(run: &Path, options: &[&str]) -> Data {
        let cli =
            Cli::try_parse_from(["convscope", "train", "--size", "24", "--channels", "4,6"].iter().chain(options));
        let Command::Train(arguments) = cli.unwrap().command else { unreachable!("the command is train") };
        let source = Source::of(&arguments);
        let found = source.scan().unwrap();
        let split = found.as_ref().is_some_and(|found| found.split);
        let data = source.read_apart(found).unwrap();
        let config = arguments.config(&data.classes, [data.train.len(), data.val.len()], split);
        let run = RunDir::create(Some(run)).unwrap();
        run.write_json("config.json", &config).unwrap();
        if arguments.data.is_some() {
            record_validation(&run, data.val.as_ref()).unwrap();
        }
        data
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

    /// Names, labels and pixels of all pictures.
    fn content(pictures: &dyn Pictures) -> Vec<(String, u32, Vec<u8>)> {
        let picture = |index| {
            (pictures.name(index), pictures.label(index), pictures.pixels(index).expect("is readable").into_owned())
        };
        (0..pictures.len()).map(picture).collect()
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

    #[test]
    fn drawn_pictures_are_drawn_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let made = make_run(&run, &["--seed", "3", "--train-pictures", "7", "--val-pictures", "5"]);
        assert_eq!((made.train.len(), made.val.len()), (7, 5));
        assert_rebuilt(&run, None, &made);
        let error = error(&run, Some(folder.path()));
        assert!(error.contains("trained on drawn pictures"), "{error}");
    }

    #[test]
    fn photos_are_split_again_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..10);
        fs::write(photos.join("dog/broken.png"), b"no picture").unwrap();
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
                fs::write(photos.join(format!("cat/{number}.png")), b"no picture").unwrap();
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

    fn names(pictures: &dyn Pictures) -> BTreeSet<String> {
        (0..pictures.len()).map(|index| pictures.name(index)).collect()
    }

    /// How the run's folder has changed.
    fn change(run: &Path) -> Option<String> {
        let run = opened(run);
        let past = Past::read(&run, None, CACHE).unwrap();
        let found = past.scan().unwrap();
        let data = past.source.read(found.clone()).unwrap();
        past.change(&found.unwrap(), [data.train.len(), data.val.len()])
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
        for class in ["cat", "dog"] {
            fs::copy(photos.join(class).join("0.png"), photos.join(class).join("a.png")).unwrap();
        }
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

    #[test]
    fn no_photo_is_learned_from_and_judged_by() {
        let pixels = |pictures: &dyn Pictures| content(pictures).into_iter().map(|(.., pixels)| pixels).collect();
        for split in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
            if split {
                make_photos(&photos, 0..12);
                (0..6).for_each(|number| {
                    let [from, to] = [format!("cat/{number}.png"), format!("cat/{}.png", number + 6)];
                    fs::copy(photos.join(from), photos.join(to)).unwrap();
                });
            } else {
                make_photos(&photos.join("train"), 0..6);
                make_photos(&photos.join("val"), 0..8);
            }
            let made = make_run(&run, &["--data", photos.to_str().unwrap(), "--val-share", "0.5"]);
            let [learned, judged]: [BTreeSet<Vec<u8>>; 2] = [pixels(made.train.as_ref()), pixels(made.val.as_ref())];
            assert!(learned.is_disjoint(&judged), "split: {split}");
            let expected = if split { (24, 0) } else { (16, 12) };
            assert_eq!((made.train.len() + made.val.len(), made.rejected.len()), expected, "split: {split}");
            assert_eq!(names(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()), names(made.val.as_ref()));
        }
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
        assert!(error.contains("none of the validation pictures of the class 'cat' can be used"), "{error}");
    }

    #[test]
    fn a_folder_that_has_changed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..10);
        make_run(&run, &["--data", photos.to_str().unwrap()]);
        // A run from before the list was kept.
        fs::remove_file(run.join(VALIDATION)).unwrap();
        assert_eq!(change(&run), None);
        for number in 0..5 {
            fs::remove_file(photos.join(format!("cat/{number}.png"))).unwrap();
        }
        let note = change(&run).unwrap();
        assert!(note.contains("had 16 + 4 photos") && note.contains("now has 12 + 3"), "{note}");
        assert!(note.contains("may be among those now set aside"), "{note}");
        assert_eq!(validation_of(&opened(&run), None, CACHE).unwrap().len(), 3, "fewer pictures are no error");

        fs::rename(photos.join("cat"), photos.join("bird")).unwrap();
        let error = error(&run, None);
        assert!(error.contains("knows the classes cat, dog, but") && error.contains("holds bird, dog"), "{error}");
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
