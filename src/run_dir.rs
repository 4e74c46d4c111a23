//! A run on disk: settings, metrics, weights and pictures, in a folder of its own.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::train::EpochRecord;

/// Folder of the runs that are given no folder.
pub const RUNS: &str = "runs";

/// A run's folder.
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes a new folder: `out`, or else the next free number below `runs/`.
    ///
    /// # Errors
    /// As [`check_free`], or when the folder cannot be made.
    pub fn create(out: Option<&Path>) -> Result<Self> {
        check_free(out)?;
        let path = match out {
            Some(out) => {
                fs::create_dir_all(out).with_context(|| format!("--out {}: cannot be made", out.display()))?;
                out.to_path_buf()
            }
            None => {
                fs::create_dir_all(RUNS)
                    .with_context(|| format!("the folder {RUNS}/ cannot be made: use --out elsewhere"))?;
                // Behind the newest, so that the numbers tell the order even where runs were deleted.
                let taken = fs::read_dir(RUNS)?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
                let newest: usize = taken.max().unwrap_or(0);
                free_name(Path::new(RUNS), |number| format!("{:03}", newest.saturating_add(number)))?
            }
        };
        Ok(Self { path })
    }

    /// A folder that is there already.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
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

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_checkpoint(&self, name: &str, checkpoint: &Checkpoint) -> Result<()> {
        self.write(name, &checkpoint.to_bytes())
    }

    /// Appends an epoch to `metrics.jsonl` and `metrics.csv`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn append_metrics(&self, record: &EpochRecord) -> Result<()> {
        let append = || -> Result<()> {
            let mut lines = self.append("metrics.jsonl")?;
            writeln!(lines, "{}", serde_json::to_string(record)?)?;
            let table = self.append("metrics.csv")?;
            let is_new = table.metadata()?.len() == 0;
            let mut table = csv::WriterBuilder::new().has_headers(is_new).from_writer(table);
            table.serialize(record)?;
            Ok(table.flush()?)
        };
        append().with_context(|| format!("the metrics cannot be written to {}", self.path.display()))
    }

    fn append(&self, name: &str) -> Result<File> {
        let path = self.file(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes a file whole or not at all, so that a stop at any moment leaves the old one or the new one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.file(name);
        // Several processes may write the same file at once.
        let moment = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let unfinished = self.file(&format!("{name}.{}-{moment}.unfinished", std::process::id()));
        fs::write(&unfinished, bytes)
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Checks that `out` can become the folder of a run, without making it.
///
/// # Errors
/// When `out` exists and is not an empty folder.
pub fn check_free(out: Option<&Path>) -> Result<()> {
    match out {
        Some(out) if fs::read_dir(out).map_or(out.exists(), |mut entries| entries.next().is_some()) => {
            bail!("--out {}: exists already; name a new folder, an older run is never overwritten", out.display())
        }
        _ => Ok(()),
    }
}

/// Makes the folder `parent/name(number)` for the least number, from 1, that is free.
///
/// # Errors
/// When the folder cannot be made for another reason than being there.
pub fn free_name(parent: &Path, name: impl Fn(usize) -> String) -> Result<PathBuf> {
    let mut number = 1;
    loop {
        let path = parent.join(name(number));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make the folder {}", path.display()));
            }
        }
    }
}

/// Makes the folder `parent/stem`, or if there is one `parent/stem-2` and so on, and `parent` as needed.
///
/// # Errors
/// As [`free_name`].
pub fn free_folder(parent: &Path, stem: &str) -> Result<PathBuf> {
    fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}: use --out", parent.display()))?;
    free_name(parent, |number| if number == 1 { stem.to_string() } else { format!("{stem}-{number}") })
        .with_context(|| format!("the results cannot be put into {}: use --out", parent.display()))
}

#[cfg(test)]
mod tests {
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
        let names = ["001", "002"].map(|name| folder.path().join(name));
        for expected in names {
            assert_eq!(free_name(folder.path(), |number| format!("{number:03}")).unwrap(), expected);
        }
    }

    #[test]
    fn metrics_make_one_table_with_one_header() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(Some(&folder.path().join("run"))).unwrap();
        for epoch in 1..=2 {
            let record = EpochRecord {
                epoch,
                train_loss: 0.5,
                train_acc: 0.75,
                val_loss: 0.25,
                val_acc: 1.0,
                images_per_s: 100.0,
                train_seconds: 2.0,
                val_seconds: 1.0,
            };
            run.append_metrics(&record).unwrap();
        }
        let table = fs::read_to_string(run.file("metrics.csv")).unwrap();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "epoch,train_loss,train_acc,val_loss,val_acc,images_per_s,train_seconds,val_seconds");
        assert_eq!(lines[1..], ["1,0.5,0.75,0.25,1.0,100.0,2.0,1.0", "2,0.5,0.75,0.25,1.0,100.0,2.0,1.0"]);
        assert_eq!(fs::read_to_string(run.file("metrics.jsonl")).unwrap().lines().count(), 2);
    }
}
