//! A run on disk: settings, metrics, weights and images, in a folder of its own.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::io::{Cursor, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use image::{ImageFormat, RgbImage};
use serde::Serialize;

use crate::disk::{self, Claim};
use crate::nn::checkpoint::Checkpoint;
use crate::train::EpochRecord;

/// Folder of the runs that are given no folder.
pub const RUNS: &str = "runs";

/// A run's folder, or another that a command fills.
pub struct RunDir {
    path: PathBuf,
    /// Keeps other processes out of a folder that was new.
    claim: Option<Claim>,
    /// Whether there was no such folder before.
    made: bool,
}

impl RunDir {
    /// Makes a new folder: `out`, or else the next free number below `runs/`. No other process can make it its own, even if it
    /// tries at the same moment.
    ///
    /// # Errors
    /// As [`check_free`], or when the folder cannot be made.
    pub fn create(out: Option<&Path>) -> Result<Self> {
        check_free(out)?;
        let Some(out) = out else {
            fs::create_dir_all(RUNS)
                .with_context(|| format!("the folder {RUNS}/ cannot be made: use --out elsewhere"))?;
            // Behind the newest, so that the numbers tell the order even where runs were deleted.
            let taken = fs::read_dir(RUNS)?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            let newest: usize = taken.max().unwrap_or(0);
            return Self::numbered(Path::new(RUNS), |number| format!("{:03}", newest.saturating_add(number)));
        };
        let cannot = || format!("--out {}: cannot be made", out.display());
        fs::create_dir_all(out.parent().unwrap_or(out)).with_context(cannot)?;
        let made = match disk::make_folder(out) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            result => result.map(|()| true).with_context(cannot)?,
        };
        match Claim::of(out).with_context(|| format!("--out {}: cannot be written", out.display()))? {
            Some(claim) => {
                disk::sweep(out);
                Ok(Self { path: out.to_path_buf(), claim: Some(claim), made })
            }
            None => bail!("--out {}: another process is writing there; name a new folder", out.display()),
        }
    }

    /// Makes the folder `parent/name(number)` for the least number, from 1, that is free.
    ///
    /// # Errors
    /// When the folder cannot be made for another reason than being there.
    fn numbered(parent: &Path, name: impl Fn(usize) -> String) -> Result<Self> {
        let mut number = 1;
        loop {
            let path = parent.join(name(number));
            let cannot = || format!("cannot make the folder {}", path.display());
            number += 1;
            match disk::make_folder(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                result => result.with_context(cannot)?,
            }
            // Another process may have been given this very folder.
            if let Some(claim) = Claim::of(&path).with_context(cannot)? {
                return Ok(Self { path, claim: Some(claim), made: true });
            }
        }
    }

    /// Makes the folder `parent/stem`, or if there is one `parent/stem-2` and so on, and `parent` as needed.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn below(parent: &Path, stem: &str) -> Result<Self> {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot make the folder {}: use --out", parent.display()))?;
        Self::numbered(parent, |number| if number == 1 { stem.to_string() } else { format!("{stem}-{number}") })
            .with_context(|| format!("the results cannot be put into {}: use --out", parent.display()))
    }

    /// A folder that is there already.
    pub fn at(path: PathBuf) -> Self {
        Self { path, claim: None, made: false }
    }

    /// The folder of a run whose training is to be gone on with. No other process can write there meanwhile.
    ///
    /// # Errors
    /// When another process is writing there, or the folder cannot be written.
    pub fn reopen(path: &Path) -> Result<Self> {
        let shown = path.display();
        let claim = Claim::of_any(path).with_context(|| format!("{shown}: cannot be written"))?;
        ensure!(claim.is_some(), "{shown}: another process is writing there; wait until it has ended");
        disk::sweep(path);
        Ok(Self { path: path.to_path_buf(), claim, made: false })
    }

    /// Gives a folder up into which nothing was written: if it was not there before, it is removed.
    pub fn give_up(self) {
        drop(self.claim);
        if self.made {
            // What cannot be removed is an empty folder, which harms nobody.
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file whole or not at all, so that a stop at any moment leaves the old one or the new one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        disk::write(&self.file(name), bytes)
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.write(name, format!("{text}\n").as_bytes())
    }

    /// Writes a value as JSON on one line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_compact_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        self.write(name, &serde_json::to_vec(value)?)
    }

    /// Writes a CSV table.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_table(
        &self,
        name: &str,
        fill: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>,
    ) -> Result<()> {
        self.write(name, &disk::table(fill)?)
    }

    /// Writes an image as PNG.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_image(&self, name: &str, image: &RgbImage) -> Result<()> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png)?;
        self.write(name, bytes.get_ref())
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_checkpoint(&self, name: &str, checkpoint: &Checkpoint) -> Result<()> {
        self.write(name, &checkpoint.to_bytes())
    }

    /// Writes the epochs so far as `metrics.jsonl` and `metrics.csv`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_metrics(&self, records: &[EpochRecord]) -> Result<()> {
        let mut lines = String::new();
        for record in records {
            lines.push_str(&serde_json::to_string(record)?);
            lines.push('\n');
        }
        self.write("metrics.jsonl", lines.as_bytes())?;
        self.write_table("metrics.csv", |table| records.iter().try_for_each(|record| table.serialize(record)))
    }
}

/// A random name for a new run: no other one has it, not even one with the same settings and seed.
pub fn new_id() -> String {
    // The keys of the standard library's hashes come from the system's random numbers.
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(0), random.hash_one(1))
}

/// Checks that `out` can become the folder of a run, without making it.
///
/// # Errors
/// When `out` exists and is not an empty folder, or as [`check_place`].
pub fn check_free(out: Option<&Path>) -> Result<()> {
    let Some(out) = out else { return Ok(()) };
    let shown = out.display();
    ensure!(disk::is_free(out), "--out {shown}: exists already; name a new folder, an older run is never overwritten");
    check_place(out).with_context(|| format!("--out {shown}: cannot be made; name another place"))
}

/// Checks that a folder can be made at a place, or written if it is there, and leaves nothing.
///
/// # Errors
/// When a file is in the way, or the folder where it would lie cannot be written.
pub fn check_place(place: &Path) -> Result<()> {
    let existing = disk::existing(place);
    ensure!(existing.is_dir(), "{} is a file, not a folder", existing.display());
    disk::check_folder(existing)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn an_older_run_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let run = RunDir::create(Some(&out)).unwrap();
        run.write_json("config.json", &1).unwrap();
        let error = RunDir::create(Some(&out)).err().unwrap().to_string();
        assert!(error.contains("exists already"), "{error}");
        assert_eq!(fs::read_to_string(out.join("config.json")).unwrap(), "1\n");
        for expected in ["layers", "layers-2"] {
            assert_eq!(RunDir::below(folder.path(), "layers").unwrap().path(), folder.path().join(expected));
        }
    }

    #[test]
    fn a_place_that_cannot_be_a_folder_is_refused_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "text").unwrap();
        for out in [file.join("x"), file.join("x/y")] {
            let error = format!("{:#}", check_free(Some(&out)).unwrap_err());
            let expected =
                format!("--out {}: cannot be made; name another place: {} is a file", out.display(), file.display());
            assert!(error.starts_with(&expected), "{error}");
        }
        assert!(format!("{:#}", check_free(Some(&file)).unwrap_err()).contains("exists already"));
        for out in ["new", "deep/new"] {
            check_free(Some(&folder.path().join(out))).unwrap();
        }
        check_free(Some(Path::new("a new folder beside the sources"))).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left there");
    }

    /// Whether the folder is new, or there and empty, or holds what a stopped process has left: of several that are given it at
    /// the same moment, one has it.
    #[test]
    fn a_folder_has_one_owner() {
        let leave_nothing = |_: &Path| {};
        let make = |out: &Path| fs::create_dir(out).unwrap();
        let leave_a_part = |out: &Path| {
            fs::create_dir(out).unwrap();
            fs::write(out.join("config.json.7-1.unfinished"), "{").unwrap();
        };
        for prepare in [&leave_nothing as &dyn Fn(&Path), &make, &leave_a_part] {
            for _ in 0..50 {
                let folder = tempfile::tempdir().unwrap();
                let out = folder.path().join("deep/run");
                fs::create_dir(folder.path().join("deep")).unwrap();
                prepare(&out);
                let barrier = Barrier::new(4);
                let results: Vec<_> = thread::scope(|scope| {
                    let run = |number: usize| {
                        barrier.wait();
                        let run = RunDir::create(Some(&out))?;
                        run.write_json("config.json", &number).map(|()| run)
                    };
                    let runs: Vec<_> = (0..4).map(|number| scope.spawn(move || run(number))).collect();
                    runs.into_iter().map(|run| run.join().unwrap()).collect()
                });
                let winners: Vec<usize> = (0..4).filter(|&number| results[number].is_ok()).collect();
                assert_eq!(winners.len(), 1);
                for error in results.iter().filter_map(|result| result.as_ref().err()) {
                    let error = error.to_string();
                    assert!(error.contains("another process") || error.contains("exists already"), "{error}");
                }
                drop(results);
                let names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                assert_eq!(names, ["config.json"]);
                assert_eq!(fs::read_to_string(out.join("config.json")).unwrap(), format!("{}\n", winners[0]));
            }
        }
    }

    #[test]
    fn numbered_folders_have_one_owner_each() {
        let folder = tempfile::tempdir().unwrap();
        let runs: Vec<RunDir> = thread::scope(|scope| {
            let make = || RunDir::below(&folder.path().join("new"), "learned").unwrap();
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        let paths: BTreeSet<_> = runs.iter().map(|run| run.path().to_path_buf()).collect();
        assert_eq!(paths.len(), 8);
    }

    #[test]
    fn a_folder_that_is_given_up_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let [new, old] = ["new", "old"].map(|name| folder.path().join(name));
        fs::create_dir(&old).unwrap();
        for out in [&new, &old] {
            RunDir::create(Some(out)).unwrap().give_up();
        }
        assert!(!new.exists() && fs::read_dir(&old).unwrap().next().is_none());
    }

    #[test]
    fn metrics_make_one_table_with_one_header() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(Some(&folder.path().join("run"))).unwrap();
        let mut records = Vec::new();
        for epoch in 1..=2 {
            records.push(EpochRecord {
                epoch,
                train_loss: 0.5,
                train_acc: 0.75,
                val_loss: 0.25,
                val_acc: 1.0,
                images_per_s: 100.0,
                train_seconds: 2.0,
                val_seconds: 1.0,
                val_images: Some(8),
            });
            run.write_metrics(&records).unwrap();
        }
        let table = fs::read_to_string(run.file("metrics.csv")).unwrap();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[0],
            "epoch,train_loss,train_acc,val_loss,val_acc,images_per_s,train_seconds,val_seconds,val_images"
        );
        assert_eq!(lines[1..], ["1,0.5,0.75,0.25,1.0,100.0,2.0,1.0,8", "2,0.5,0.75,0.25,1.0,100.0,2.0,1.0,8"]);
        assert_eq!(fs::read_to_string(run.file("metrics.jsonl")).unwrap().lines().count(), 2);
    }
}
