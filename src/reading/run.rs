//! The folder of a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use super::config::check_config;
use super::explained::FoundExplanations;
use super::layers::check_layers;
use super::learned::Learned;
use super::{amount, differences, equal, json, newest, parsed, share, table, unusable, versioned, within};
use crate::checkpoint::{Checkpoint, Meta};
use crate::cli::{Config, Which};
use crate::data::Rejected;
use crate::html::Environment;
use crate::layers::{FORMAT, Layers};
use crate::nn::Network;
use crate::ops::conv2d::Kernels;
use crate::train::EpochRecord;

/// The run's list of its validation photos.
pub(crate) const VALIDATION: &str = "validation.csv";
/// How a run was made.
const CONFIG: &str = "config.json";

/// A run that was made some time ago: its folder, and how it was made.
#[derive(Clone, Debug)]
pub struct Run {
    folder: PathBuf,
    config: Config,
    network: Network,
}

impl Run {
    /// Opens a run's folder: its `config.json` is read and checked, the other files when they are asked for.
    ///
    /// # Errors
    /// When there is no such run, or its `config.json` cannot be used, with the remedy.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let config: Config = parsed(&read(folder, CONFIG)?).with_context(|| unusable(&path))?;
        let network = check_config(&config).with_context(|| unusable(&path))?;
        Ok(Self { folder: folder.to_path_buf(), config, network })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How it was made.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The side of the pictures that its network takes.
    pub fn size(&self) -> u32 {
        self.network.input()[1] as u32
    }

    /// The path of a file of its folder.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its network with these weights.
    ///
    /// # Errors
    /// When the file is missing or broken, or belongs to another run.
    pub fn checkpoint(&self, which: Which) -> Result<Checkpoint> {
        let name = which.file();
        let bytes = read(&self.folder, name)?;
        let read = || -> Result<Checkpoint> {
            self.check_meta(&Meta::from_bytes(&bytes)?)?;
            Ok(Checkpoint::from_bytes(&bytes)?)
        };
        read().with_context(|| unusable(&self.file(name)))
    }

    fn check_meta(&self, meta: &Meta) -> Result<()> {
        let Config { data, classes, training, .. } = &self.config;
        let mut found = differences("model", &meta.architecture, &training.model);
        found.extend(differences("classes", &meta.classes, classes));
        found.extend(differences("drawn", &meta.drawn, &data.is_none()));
        ensure!(found.is_empty(), "it belongs to another run than {CONFIG}: {}", found.join("; "));
        within("epoch", meta.epoch, 1..=training.epochs).with_context(|| format!("by epochs of {CONFIG}"))
    }

    /// What became of its epochs.
    ///
    /// # Errors
    /// When there is no table of them, it has no line, or a line cannot be right.
    pub fn metrics(&self) -> Result<Vec<EpochRecord>> {
        let path = self.file("metrics.csv");
        let columns =
            ["epoch", "train_loss", "train_acc", "val_loss", "val_acc", "images_per_s", "train_seconds", "val_seconds"];
        let records: Vec<EpochRecord> = table(&path, &columns).context("is this a finished run?")?;
        self.check_metrics(&records).with_context(|| unusable(&path))?;
        Ok(records)
    }

    fn check_metrics(&self, records: &[EpochRecord]) -> Result<()> {
        ensure!(!records.is_empty(), "it has no line of an epoch");
        let epochs = self.config.training.epochs;
        ensure!(records.len() <= epochs, "it has {} lines, but {CONFIG} says {epochs} epochs", records.len());
        for (number, record) in (1..).zip(records) {
            let check = || -> Result<()> {
                equal("epoch", record.epoch, number)?;
                share("train_acc", record.train_acc)?;
                share("val_acc", record.val_acc)?;
                amount("train_loss", record.train_loss)?;
                amount("val_loss", record.val_loss)?;
                amount("images_per_s", record.images_per_s)?;
                amount("train_seconds", record.train_seconds)?;
                amount("val_seconds", record.val_seconds)?;
                self.check_counted("val_acc", record.val_acc, self.config.val_pictures)
            };
            check().with_context(|| format!("line {}", number + 1))?;
        }
        Ok(())
    }

    /// Checks that a share of drawn pictures, of which none can be lost, is one of their number.
    fn check_counted(&self, field: &str, share: f64, pictures: usize) -> Result<()> {
        let right = share * pictures as f64;
        let counted = self.config.data.is_some() || (right - right.round()).abs() < 1e-6;
        ensure!(counted, "{field} is {share}: no count of the {pictures} pictures that {CONFIG} says");
        Ok(())
    }

    /// Where it was made.
    ///
    /// # Errors
    /// When the file is missing or broken, or belongs to another run.
    pub fn environment(&self) -> Result<Environment> {
        let path = self.file("environment.json");
        let environment: Environment = json(&path)?;
        let check = || -> Result<()> {
            Kernels::from_str(&environment.kernels, false)
                .map_err(|_| anyhow!("kernels is {:?}: expected a set of kernels", environment.kernels))?;
            equal("seed", environment.seed, self.config.training.seed).with_context(|| format!("as {CONFIG} has it"))
        };
        check().with_context(|| unusable(&path))?;
        Ok(environment)
    }

    /// The files that could not be used; none for drawn pictures.
    ///
    /// # Errors
    /// When the list is missing or broken.
    pub fn rejected(&self) -> Result<Vec<Rejected>> {
        if self.config.data.is_none() {
            return Ok(Vec::new());
        }
        let path = self.file("rejected.csv");
        let rejected: Vec<Rejected> = table(&path, &["file", "reason"])?;
        let complete = rejected.iter().all(|Rejected { file, reason }| !file.is_empty() && !reason.is_empty());
        ensure!(complete, "{}: a file or a reason is empty", unusable(&path));
        Ok(rejected)
    }

    /// The validation photos: the path of each below the data folder, with the file's SHA-256 where the list has it, as those of
    /// older versions have not. None for drawn pictures.
    ///
    /// # Errors
    /// When the list is missing or broken, or has another length than the run says.
    pub fn validation(&self) -> Result<BTreeMap<String, Option<String>>> {
        if self.config.data.is_none() {
            return Ok(BTreeMap::new());
        }
        let path = self.file(VALIDATION);
        let unknown = "it is not known which photos the run was judged by; train it anew";
        let photos: Vec<ValidationPhoto> = table(&path, &["file"]).context(unknown)?;
        let expected = self.config.val_pictures;
        let check = || -> Result<BTreeMap<String, Option<String>>> {
            ensure!(
                photos.len() == expected,
                "file: it names {} photos, but {CONFIG} says {expected} (val_pictures)",
                photos.len()
            );
            for sha256 in photos.iter().filter_map(|photo| photo.sha256.as_ref()) {
                let hexadecimal = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
                ensure!(hexadecimal, "sha256 is {sha256:?}: expected 64 hexadecimal digits");
            }
            let distinct: BTreeMap<_, _> =
                photos.iter().map(|photo| (photo.file.clone(), photo.sha256.clone())).collect();
            ensure!(!distinct.contains_key(""), "file: a name is empty");
            ensure!(distinct.len() == photos.len(), "file: a photo is named twice");
            Ok(distinct)
        };
        check().with_context(|| unusable(&path))
    }

    /// The newest table of its layers, with its folder, if there is one.
    ///
    /// # Errors
    /// When it is broken, or about another network.
    pub fn layers(&self) -> Result<Option<(PathBuf, Layers)>> {
        let Some(folder) = newest(&self.folder, "layers", "layers.json") else { return Ok(None) };
        let path = folder.join("layers.json");
        let layers: Layers = versioned(&path, FORMAT, "run `convscope layers` again")?;
        check_layers(&layers, &self.network).with_context(|| unusable(&path))?;
        Ok(Some((folder, layers)))
    }

    /// Its newest explanations, at most `most`, in the order in which they were made.
    pub fn explained(&self, most: usize) -> FoundExplanations {
        FoundExplanations::newest(&self.folder, &self.config.classes, most)
    }

    /// What drives its network's channels up, as `learned` has found it last, if it has.
    ///
    /// # Errors
    /// When a table is broken, or about another network.
    pub fn learned(&self) -> Result<Option<Learned>> {
        let Some(folder) = newest(&self.folder, "learned", "channels.csv") else { return Ok(None) };
        Learned::read(&folder, &self.network).map(Some)
    }
}

/// A line of [`VALIDATION`].
#[derive(Deserialize)]
struct ValidationPhoto {
    file: String,
    #[serde(default)]
    sha256: Option<String>,
}

fn read(run: &Path, name: &str) -> Result<Vec<u8>> {
    if !run.is_dir() {
        let what = if run.exists() { "is a file" } else { "there is no such folder" };
        bail!("{}: {what}; name the folder of a run, which `convscope train` made, such as runs/001", run.display());
    }
    fs::read(run.join(name)).with_context(|| {
        format!("{}: {name} cannot be read; is this a finished run of `convscope train`?", run.display())
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::checkpoint::Weights;
    use crate::cli::{Cli, Command};
    use crate::run_dir::RunDir;

    /// The folder of a run of two epochs on photos, or on drawn pictures, as far as it is needed here.
    fn run(photos: bool) -> (TempDir, RunDir) {
        let data: &[&str] = if photos { &["--data", "photos"] } else { &["--val-pictures", "8"] };
        let options = ["convscope", "train", "--size", "24", "--channels", "4,4", "--epochs", "2", "--seed", "3"];
        let Command::Train(arguments) = Cli::try_parse_from(options.iter().chain(data)).unwrap().command else {
            unreachable!("the command is train")
        };
        let config = arguments.config(&["cat", "dog"].map(String::from), [16, 8], photos);
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::at(folder.path().to_path_buf());
        run.write_json(CONFIG, &config).unwrap();
        (folder, run)
    }

    fn opened(run: &RunDir) -> Run {
        Run::open(run.path()).unwrap()
    }

    #[test]
    fn weights_are_held_against_the_settings() {
        let (_folder, folder) = run(false);
        let run = opened(&folder);
        let Config { classes, training, .. } = run.config().clone();
        let meta = Meta { spec: training.model, classes, epoch: 2, drawn: true };
        let error = |meta: Meta| {
            let weights = Weights::initial(&meta.spec, 0);
            folder.write_checkpoint(Which::Best.file(), &Checkpoint { meta, weights }).unwrap();
            run.checkpoint(Which::Best).err().map(|error| format!("{error:#}"))
        };
        assert_eq!(error(meta.clone()), None);
        let mut deeper = meta.clone();
        deeper.spec.channels.push(4);
        let swapped = Meta { classes: vec!["dog".into(), "cat".into()], ..meta.clone() };
        for (other, problem) in [
            (deeper, "model.channels is [4,4,4], not [4,4]"),
            (swapped, r#"classes is ["dog","cat"], not ["cat","dog"]"#),
            (Meta { drawn: false, ..meta.clone() }, "drawn is false, not true"),
            (Meta { epoch: 3, ..meta.clone() }, "epoch is 3: expected 1 to 2"),
            (Meta { epoch: 0, ..meta.clone() }, "epoch is 0: expected 1 to 2"),
        ] {
            let error = error(other).expect("it is another network");
            assert!(error.contains("best.safetensors: cannot be used: ") && error.contains(problem), "{error}");
        }
    }

    #[test]
    fn metrics_are_held_against_the_settings() {
        let (_folder, folder) = run(false);
        let line = |epoch: usize, val_acc: f64| format!("{epoch},0.5,0.5,0.5,{val_acc},10,1,1\n");
        let error = |lines: &[String]| {
            let header = "epoch,train_loss,train_acc,val_loss,val_acc,images_per_s,train_seconds,val_seconds\n";
            fs::write(folder.file("metrics.csv"), format!("{header}{}", lines.concat())).unwrap();
            opened(&folder).metrics().err().map(|error| format!("{error:#}"))
        };
        assert_eq!(error(&[line(1, 0.375), line(2, 0.5)]), None);
        assert_eq!(error(&[line(1, 0.375)]), None, "a run may have been stopped");
        for (lines, problem) in [
            (vec![], "it has no line of an epoch"),
            (vec![line(1, 0.5), line(3, 0.5)], "line 3: epoch is 3: expected 2"),
            (vec![line(2, 0.5)], "line 2: epoch is 2: expected 1"),
            (vec![line(1, 0.5), line(2, 0.5), line(3, 0.5)], "it has 3 lines, but config.json says 2 epochs"),
            (vec![line(1, 0.3)], "val_acc is 0.3: no count of the 8 pictures"),
            (vec![line(1, f64::NAN)], "val_acc is NaN: expected 0 to 1"),
        ] {
            let error = error(&lines).expect("it cannot be right");
            assert!(error.contains("metrics.csv: cannot be used: ") && error.contains(problem), "{error}");
        }
    }

    #[test]
    fn validation_photos_are_counted() {
        let (_folder, folder) = run(true);
        let error = |names: &[String]| {
            let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
            fs::write(folder.file(VALIDATION), format!("file\n{lines}")).unwrap();
            opened(&folder).validation().err().map(|error| format!("{error:#}"))
        };
        let mut names: Vec<String> = (0..8).map(|number| format!("cat/{number}.jpg")).collect();
        assert_eq!(error(&names), None);
        let fewer = error(&names[1..]).unwrap();
        assert!(
            fewer.contains("validation.csv: cannot be used: file: it names 7 photos, but config.json says 8"),
            "{fewer}"
        );
        names[3] = names[4].clone();
        assert!(error(&names).unwrap().contains("a photo is named twice"));
        assert!(error(&[]).is_some());
        fs::remove_file(folder.file(VALIDATION)).unwrap();
        let missing = format!("{:#}", opened(&folder).validation().unwrap_err());
        assert!(missing.contains("not known which photos the run was judged by; train it anew"), "{missing}");
    }

    #[test]
    fn the_environment_is_that_of_the_run() {
        let (_folder, folder) = run(false);
        let mut environment = json!({
            "adapter": "", "backend": "", "driver": "", "driver_info": "", "kernels": "plain", "convscope": "", "seed": 3
        });
        let error = |environment: &serde_json::Value| {
            folder.write_json("environment.json", environment).unwrap();
            opened(&folder).environment().err().map(|error| format!("{error:#}"))
        };
        assert_eq!(error(&environment), None);
        environment["seed"] = json!(4);
        assert!(error(&environment).unwrap().contains("seed is 4: expected 3"));
        environment["kernels"] = json!("fast");
        assert!(error(&environment).unwrap().contains("kernels is \"fast\""));
    }
}
