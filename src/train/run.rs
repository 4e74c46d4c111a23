//! The folder of a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::checkpoints::CHECKPOINTS;
use super::photo_list::{self, Changes, Content, Contents, PHOTOS, Photo, RunPhotos, Use, digest_of_list};
use super::ranges::{check_config, check_imported};
use super::{Config, EpochRecord, Imported, Which, lr_find};
use crate::data::Rejected;
use crate::data::fit::Fit;
use crate::data::names::legible;
use crate::gpu::Kernels;
use crate::nn::Network;
use crate::nn::checkpoint::{Checkpoint, Meta};
use crate::reading::{
    amount, check_size, content, differences, differences_of_networks, equal, json, parsed, share, table, unusable,
    within,
};
use crate::train::environment::Environment;

/// The list of the validation photos, in runs of older versions.
const VALIDATION: &str = "validation.csv";
/// How a run was made.
pub(crate) const CONFIG: &str = "config.json";
/// Where it was made.
pub(crate) const ENVIRONMENT: &str = "environment.json";
/// Epochs that weights from elsewhere may say that they have learned.
const MOST_EPOCHS: usize = 1_000_000;
/// What the images are called that judge a network, where they judged it in training too.
pub(crate) const VALIDATING: &str = "validation images";
/// What they are called where the network was trained elsewhere.
pub(crate) const GIVEN: &str = "given images";
/// What helps where a file cannot be used that cannot be made again.
pub(crate) const REMEDY: &str = "put the file back from a copy of the run, or train it anew";

/// Whether a folder is that of a run that has come through an epoch.
pub fn is_run(folder: &Path) -> bool {
    [CONFIG, Which::Best.file()].iter().all(|name| folder.join(name).is_file())
}

/// Which weights a result is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The run's id, in runs that have one.
    pub run: Option<String>,
    /// File of the weights, in the run's folder.
    pub weights: String,
    /// Their epoch.
    pub epoch: usize,
}

impl Origin {
    /// Those of a run's epoch.
    pub fn new(run: &Run, which: Which, epoch: usize) -> Self {
        Self { run: run.id().map(String::from), weights: which.file().into(), epoch }
    }

    /// The choice that their file is.
    pub fn which(&self) -> Option<Which> {
        [Which::Best, Which::Last].into_iter().find(|which| which.file() == self.weights)
    }
}

/// A run that was made some time ago: its folder, and how it was made.
#[derive(Clone, Debug)]
pub struct Run {
    folder: PathBuf,
    made: Made,
    network: Network,
}

/// Where a run's weights come from.
#[derive(Clone, Debug)]
enum Made {
    /// They were trained in this folder.
    Trained(Box<Config>),
    /// They were trained elsewhere.
    Imported(Box<Imported>),
}

impl Run {
    /// Opens a run's folder: its `config.json` is read and checked, the other files when they are asked for.
    ///
    /// # Errors
    /// When there is no such run, or its `config.json` cannot be used, with the remedy.
    pub fn open(folder: &Path) -> Result<Self> {
        let bytes = read(folder, CONFIG)?;
        let read = || -> Result<(Made, Network)> {
            check_size(&bytes)?;
            // Each of two fields tells the form of weights from elsewhere, so that where one is missing the other asks for it.
            let elsewhere = serde_json::from_slice::<Elsewhere>(&bytes).unwrap_or_default();
            if elsewhere.imported.is_some() || elsewhere.drawn.is_some() {
                let imported: Imported = parsed(&bytes)?;
                let network = check_imported(&imported)?;
                return Ok((Made::Imported(Box::new(imported)), network));
            }
            let config: Config = parsed(&bytes)?;
            let network = check_config(&config)?;
            Ok((Made::Trained(Box::new(config)), network))
        };
        let (made, network) = read().with_context(|| unusable(&folder.join(CONFIG))).context(REMEDY)?;
        Ok(Self { folder: folder.to_path_buf(), made, network })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How it was trained.
    ///
    /// # Errors
    /// When its weights come from elsewhere, saying what is not known of them.
    pub fn config(&self) -> Result<&Config> {
        match &self.made {
            Made::Trained(config) => Ok(config),
            Made::Imported(made) => bail!(
                "the network of {} was imported from {}, so that neither the images that it learned from and was judged by nor its \
                 epochs are known here: predict, and features and explain of an image, do without them; evaluate, learned, layers, \
                 report and explain judge it by labelled images that are given with --data DIR",
                self.folder.display(),
                made.imported.file
            ),
        }
    }

    /// Where its weights come from, if they were trained elsewhere.
    pub fn imported(&self) -> Option<&Imported> {
        match &self.made {
            Made::Trained(_) => None,
            Made::Imported(imported) => Some(imported),
        }
    }

    /// What the labelled images are called that judge it.
    pub fn judges(&self) -> &'static str {
        if self.imported().is_some() { GIVEN } else { VALIDATING }
    }

    /// The name that its weights and results repeat; none in runs of older versions.
    pub fn id(&self) -> Option<&str> {
        match &self.made {
            Made::Trained(config) => config.id.as_deref(),
            Made::Imported(imported) => Some(&imported.id),
        }
    }

    /// Names of the classes, in the order of the logits.
    pub fn classes(&self) -> &[String] {
        match &self.made {
            Made::Trained(config) => &config.classes,
            Made::Imported(imported) => &imported.classes,
        }
    }

    /// Its network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The side of the images that its network takes.
    pub fn size(&self) -> u32 {
        self.network.input()[1] as u32
    }

    /// Which square of a photo its network takes.
    pub fn fit(&self) -> Fit {
        Fit::of(self.network.preparation(), self.size())
    }

    /// The path of a file of its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its network with these weights.
    ///
    /// # Errors
    /// When the file is missing or broken, or belongs to another run.
    pub fn checkpoint(&self, which: Which) -> Result<Checkpoint> {
        let name = which.file();
        if which == Which::Last {
            self.config().with_context(|| format!("there is only {}, and no {name}", Which::Best.file()))?;
        }
        let bytes = read(&self.folder, name)?;
        let read = || -> Result<Checkpoint> {
            self.meta(&bytes)?;
            Ok(Checkpoint::from_bytes(&bytes)?)
        };
        read().with_context(|| unusable(&self.file(name))).context(REMEDY)
    }

    /// What a file of weights says of itself, held against the settings.
    pub(crate) fn meta(&self, bytes: &[u8]) -> Result<Meta> {
        let meta = Meta::from_bytes(bytes)?;
        let (model, drawn) = match &self.made {
            Made::Trained(config) => (&config.training.model, config.data.is_none()),
            Made::Imported(imported) => (&imported.model, imported.drawn),
        };
        let mut found = differences_of_networks("model", &meta.architecture, model);
        found.extend(differences("classes", &meta.classes.as_slice(), &self.classes()));
        found.extend(differences("drawn", &meta.drawn, &drawn));
        found.extend(differences("preparation", &meta.preparation, &self.network.preparation()));
        found.extend(differences("the run's id (made_by)", &meta.made_by.as_deref(), &self.id()));
        ensure!(found.is_empty(), "it belongs to another run than {CONFIG}: {}", found.join("; "));
        self.check_epoch(meta.epoch)?;
        match self.made {
            Made::Trained(_) => ensure!(
                meta.val_loss.is_some() == self.id().is_some(),
                "val_loss: expected where there is made_by, and nowhere else"
            ),
            Made::Imported(_) => {
                ensure!(meta.val_loss.is_none(), "val_loss: expected nowhere in weights from elsewhere")
            }
        }
        meta.val_loss.map_or(Ok(()), |loss| amount("val_loss", loss))?;
        Ok(meta)
    }

    /// Checks the epoch of weights. Of those from elsewhere it may be 0, where it is not known.
    fn check_epoch(&self, epoch: usize) -> Result<()> {
        match &self.made {
            Made::Trained(config) => {
                within("epoch", epoch, 1..=config.training.epochs).with_context(|| format!("by epochs of {CONFIG}"))
            }
            Made::Imported(_) => within("epoch", epoch, 0..=MOST_EPOCHS),
        }
    }

    /// Checks which weights a result says that it is about.
    pub(crate) fn check_origin(&self, Origin { run, weights, epoch }: &Origin) -> Result<()> {
        self.check_run(run)?;
        check_weights(weights)?;
        self.check_epoch(*epoch)
    }

    /// Checks the run that a result names as its own.
    pub(crate) fn check_run(&self, run: &Option<String>) -> Result<()> {
        let differences = differences("run", &run.as_deref(), &self.id());
        ensure!(differences.is_empty(), "it belongs to another run than {CONFIG}: {}", differences.join("; "));
        Ok(())
    }

    /// What became of its epochs.
    ///
    /// # Errors
    /// When there is no table of them, it has no line, a line cannot be right, or the weights tell otherwise.
    pub fn metrics(&self) -> Result<Vec<EpochRecord>> {
        self.config()?;
        let path = self.file("metrics.csv");
        let columns =
            ["epoch", "train_loss", "train_acc", "val_loss", "val_acc", "images_per_s", "train_seconds", "val_seconds"];
        let records: Vec<EpochRecord> = table(&path, &columns).context("is this a finished run?")?;
        let check = || -> Result<()> {
            self.check_metrics(&records)?;
            self.check_beside_weights(&records)
        };
        check().with_context(|| unusable(&path)).context(REMEDY)?;
        Ok(records)
    }

    pub(super) fn check_metrics(&self, records: &[EpochRecord]) -> Result<()> {
        ensure!(!records.is_empty(), "it has no line of an epoch");
        let epochs = self.config()?.training.epochs;
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
                self.check_judged(record)
            };
            check().with_context(|| format!("line {}", number + 1))?;
        }
        Ok(())
    }

    /// Checks that the accuracy is a share of the validation images that could be read. Drawn ones all can, and of photos runs of
    /// older versions do not say how many could.
    fn check_judged(&self, record: &EpochRecord) -> Result<()> {
        let Config { id, data, val_images, .. } = self.config()?;
        let known = record.val_images.is_some();
        ensure!(known == id.is_some(), "val_images: expected where {CONFIG} has an id, and nowhere else");
        let images = record.val_images.unwrap_or(*val_images);
        let least = if data.is_some() { 1 } else { *val_images };
        within("val_images", images, least..=*val_images).with_context(|| format!("by val_images of {CONFIG}"))?;
        let right = record.val_acc * images as f64;
        let counted = (right - right.round()).abs() < 1e-6;
        let lost = data.is_some() && !known;
        ensure!(counted || lost, "val_acc is {}: no count of {images} images (val_images)", record.val_acc);
        Ok(())
    }

    /// Checks the lines against the weights of the same epochs, which say how they did. Weights that cannot be used say nothing.
    fn check_beside_weights(&self, records: &[EpochRecord]) -> Result<()> {
        for file in [Which::Best, Which::Last].map(Which::file) {
            let Some(meta) = content(&self.file(file)).ok().and_then(|bytes| self.meta(&bytes).ok()) else { continue };
            let line = (2..).zip(records).find(|(_, record)| record.epoch == meta.epoch);
            if let (Some((number, EpochRecord { val_loss, .. })), Some(of_weights)) = (line, meta.val_loss) {
                ensure!(
                    *val_loss == of_weights,
                    "line {number}: val_loss is {val_loss}, but {file} of that epoch has {of_weights}: one of the two \
                     belongs to another run"
                );
            }
        }
        Ok(())
    }

    /// Where it was made.
    ///
    /// # Errors
    /// When the file is missing or broken, or belongs to another run.
    pub fn environment(&self) -> Result<Environment> {
        let seed = self.config()?.training.seed;
        let path = self.file(ENVIRONMENT);
        let check = |environment: &Environment| -> Result<()> {
            Kernels::from_str(&environment.kernels, false)
                .map_err(|_| anyhow!("kernels is {:?}: expected a set of kernels", environment.kernels))?;
            environment.processes.map_or(Ok(()), |number| within("processes", number, 2..=usize::MAX))?;
            if let Some(problem) = environment.tiles.problem() {
                bail!("tiles.{problem}");
            }
            equal("seed", environment.seed, seed).with_context(|| format!("as {CONFIG} has it"))?;
            self.check_run(&environment.run)
        };
        let read = || -> Result<Environment> {
            let environment = json(&path)?;
            check(&environment).with_context(|| unusable(&path))?;
            Ok(environment)
        };
        read().context(REMEDY)
    }

    /// The files that could not be used; none for drawn images.
    ///
    /// # Errors
    /// When the list is missing or broken.
    pub fn rejected(&self) -> Result<Vec<Rejected>> {
        if self.config()?.data.is_none() {
            return Ok(Vec::new());
        }
        let path = self.file("rejected.csv");
        let rejected: Vec<Rejected> = table(&path, &["file", "reason"])?;
        let complete = rejected.iter().all(|Rejected { file, reason }| !file.is_empty() && !reason.is_empty());
        ensure!(complete, "{}: a file or a reason is empty", unusable(&path));
        Ok(rejected)
    }

    /// The photos that it learned from and was judged by, and what each held, as far as that is known.
    ///
    /// # Errors
    /// When their list is missing or broken, or is not that of the run.
    pub fn photos(&self) -> Result<RunPhotos> {
        let config = self.config()?;
        if config.data.is_none() {
            return Ok(RunPhotos { learned: Some(Contents::new()), judged: Contents::new() });
        }
        if config.photo_list.is_none() {
            return Ok(RunPhotos { learned: None, judged: self.judged_by_older()? });
        }
        let photos = self.listed_photos()?;
        let [learned, judged] = [Use::Train, Use::Val].map(|used| -> Contents {
            let of_use = photos.iter().filter(|photo| photo.used == used);
            of_use.map(|photo| (photo.file.clone(), photo.content())).collect()
        });
        Ok(RunPhotos { learned: Some(learned), judged })
    }

    /// The list of its photos, as it was written.
    ///
    /// # Errors
    /// As [`Run::photos`].
    pub fn listed_photos(&self) -> Result<Vec<Photo>> {
        let path = self.file(PHOTOS);
        let config = self.config()?;
        let unknown = "it is not known which photos the run learned from and was judged by; train it anew";
        let photos = photo_list::read(&path, &config.classes).context(unknown)?;
        let check = || -> Result<()> {
            for (used, number, field) in
                [(Use::Train, config.train_images, "train_images"), (Use::Val, config.val_images, "val_images")]
            {
                let found = photos.iter().filter(|photo| photo.used == used).count();
                ensure!(
                    found == number,
                    "use: it has {found} photos of this use, but {CONFIG} says {number} ({field})"
                );
            }
            ensure!(
                config.photo_list.as_ref() == Some(&digest_of_list(&photos)),
                "a file, its class, use, sha256 or pixels is not that of the list of this run, by photo_list of {CONFIG}"
            );
            Ok(())
        };
        check().with_context(|| unusable(&path)).context(REMEDY)?;
        Ok(photos)
    }

    /// Checks that the photos which it is to go on learning from and to be judged by are those of its list.
    ///
    /// # Errors
    /// When they are not, with what has changed.
    pub fn check_photos(&self, now: &[Photo]) -> Result<()> {
        let config = self.config()?;
        if config.data.is_none() || config.photo_list.as_ref() == Some(&digest_of_list(&now)) {
            return Ok(());
        }
        let same = |then: &Photo, now: &Photo| then.class == now.class && then.content() == now.content();
        let told = Changes::between(&self.listed_photos()?, now, same).told();
        // The same ones may be divided otherwise, or be in another order.
        let told = told.unwrap_or_else(|| "they are divided otherwise".into());
        bail!(
            "the images are not those that the training began with: {told}; bring them back as they were, or train anew"
        )
    }

    /// The validation photos of a run of an older version; the oldest did not write down what they held.
    fn judged_by_older(&self) -> Result<Contents> {
        let path = self.file(VALIDATION);
        let unknown = "it is not known which photos the run was judged by; train it anew";
        let photos: Vec<ValidationPhoto> = table(&path, &["file"]).context(unknown)?;
        let expected = self.config()?.val_images;
        let check = || -> Result<Contents> {
            ensure!(
                photos.len() == expected,
                "file: it names {} photos, but {CONFIG} says {expected} (val_images)",
                photos.len()
            );
            let content = |ValidationPhoto { file, sha256 }: &ValidationPhoto| -> Result<(String, Content)> {
                let sha256 = sha256.as_ref().map(|digits| photo_list::digest("sha256", digits)).transpose()?;
                Ok((legible(file), Content { sha256, pixels: None }))
            };
            let contents = photos.iter().map(content).collect::<Result<_>>()?;
            // Names may be as they are.
            let distinct: BTreeMap<_, _> =
                photos.iter().map(|photo| (legible(&photo.file), photo.sha256.clone())).collect();
            ensure!(!distinct.contains_key(""), "file: a name is empty");
            ensure!(distinct.len() == photos.len(), "file: a photo is named twice");
            ensure!(
                self.config()?.val_list.as_ref().is_none_or(|list| *list == digest_of_list(&distinct)),
                "a file or its sha256 is not that of the list of this run, by val_list of {CONFIG}"
            );
            Ok(contents)
        };
        check().with_context(|| unusable(&path)).context(REMEDY)
    }
}

/// The fields of [`CONFIG`] that only weights from elsewhere have.
#[derive(Default, Deserialize)]
struct Elsewhere {
    imported: Option<IgnoredAny>,
    drawn: Option<IgnoredAny>,
}

/// Checks the name of a file of weights.
pub(crate) fn check_weights(weights: &str) -> Result<()> {
    let known = [Which::Best, Which::Last].map(Which::file);
    ensure!(known.contains(&weights), "weights is {weights:?}: expected {}", known.join(" or "));
    Ok(())
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
    content(&run.join(name)).with_context(|| {
        let shown = run.display();
        if run.join(lr_find::TABLE).exists() {
            return format!("{shown}: `convscope train --lr-find` made this folder, which holds no network; train one with the suggested --lr");
        }
        if run.join(Which::Last.file()).exists() || run.join(CHECKPOINTS).exists() {
            return format!("{shown}: {name} cannot be read; {REMEDY}");
        }
        format!("{shown}: {name} cannot be read; is this a finished run of `convscope train`?")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::digest::Digest;
    use crate::gpu::TileLimits;
    use crate::nn::{Architecture, Normalize, Preparation};
    use crate::train::run_dir::RunDir;

    const ID: &str = "0123456789abcdef0123456789ABCDEF";

    /// The folder of a run of two epochs on photos, or on drawn images, as far as it is needed here: of an older version, which
    /// gave it no id.
    fn run(photos: bool) -> (TempDir, RunDir) {
        let data: &[&str] = if photos { &["--data", "photos"] } else { &["--val-images", "8"] };
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
        let Config { classes, training, .. } = run.config().unwrap().clone();
        let meta = Meta {
            architecture: training.model,
            classes,
            preparation: training.preparation,
            epoch: 2,
            drawn: true,
            made_by: None,
            val_loss: None,
        };
        let error = |meta: Meta| {
            folder.write_checkpoint(Which::Best.file(), &Checkpoint::initial(meta)).unwrap();
            run.checkpoint(Which::Best).err().map(|error| format!("{error:#}"))
        };
        assert_eq!(error(meta.clone()), None);
        let mut deeper = meta.clone();
        let Architecture::Strided(strided) = &mut deeper.architecture else {
            unreachable!("it is the default network")
        };
        strided.channels.push(4);
        let by_imagenet = Preparation { normalize: Normalize::IMAGENET, resize_crop: None };
        let swapped = Meta { classes: vec!["dog".into(), "cat".into()], ..meta.clone() };
        for (other, problem) in [
            (deeper, "model.channels is [4,4,4], not [4,4]"),
            (swapped, r#"classes is ["dog","cat"], not ["cat","dog"]"#),
            (Meta { drawn: false, ..meta.clone() }, "drawn is false, not true"),
            (Meta { preparation: by_imagenet, ..meta.clone() }, "preparation.normalize is \"imagenet\", not \"half\""),
            (Meta { epoch: 3, ..meta.clone() }, "epoch is 3: expected 1 to 2"),
            (Meta { epoch: 0, ..meta.clone() }, "epoch is 0: expected 1 to 2"),
            (Meta { made_by: Some(ID.into()), ..meta.clone() }, "the run's id (made_by) is \"0123"),
            (Meta { val_loss: Some(0.5), ..meta.clone() }, "val_loss: expected where there is made_by"),
        ] {
            let error = error(other).expect("it is another network");
            assert!(error.contains("best.safetensors: cannot be used: ") && error.contains(problem), "{error}");
        }
    }

    #[test]
    fn how_images_are_prepared_and_changed_is_checked() {
        let (_folder, folder) = run(true);
        let usual = serde_json::to_value(opened(&folder).config().unwrap()).unwrap();
        let names = ["preparation", "crop_scale", "rotate", "color_jitter"];
        assert!(names.iter().all(|name| usual.get(name).is_none()), "as older versions wrote it: {usual}");
        let read = |name: &str, value: serde_json::Value| {
            let mut settings = usual.clone();
            settings[name] = value;
            folder.write_json(CONFIG, &settings).unwrap();
            Run::open(folder.path()).map_err(|error| format!("{error:#}"))
        };
        let prepared = read("preparation", json!({"normalize": "0.4,0.2", "resize_crop": 28})).unwrap();
        let (normalize, fit) = (prepared.network().normalize(), prepared.fit());
        assert_eq!((normalize.to_string(), fit), ("0.4,0.2".into(), Fit { size: 24, resize: Some(28) }));
        assert_eq!(read("preparation", json!({})).unwrap().network().preparation(), Preparation::default());
        for (name, value, told) in [
            ("preparation", json!({"normalize": "none"}), "preparation.normalize: expected half, imagenet, or"),
            ("preparation", json!({"normalize": 3}), "preparation.normalize"),
            ("preparation", json!({"resize": 28}), "preparation"),
            ("preparation", json!({"resize_crop": 23}), "resize_crop 23: expected a number of pixels from the side"),
            ("preparation", json!({"resize_crop": -1}), "preparation.resize_crop"),
            ("crop_scale", json!([0.5, 0.2]), "crop_scale 0.5,0.2: expected shares"),
            ("crop_scale", json!([0.5]), "crop_scale"),
            ("rotate", json!(181.0), "rotate 181: expected 0 to 180"),
            ("color_jitter", json!([0.1, 0.1, -0.1]), "color_jitter 0.1,0.1,-0.1: expected three shares"),
        ] {
            let error = read(name, value).expect_err(told);
            assert!(error.contains("config.json: cannot be used: ") && error.contains(told), "{error}");
        }
        for (name, value) in
            [("crop_scale", json!([0.08, 1.0])), ("rotate", json!(5.0)), ("color_jitter", json!([0.1, 0.0, 1.0]))]
        {
            read(name, value).unwrap();
        }
        let (_drawn, on_drawn) = self::run(false);
        let mut settings = serde_json::to_value(opened(&on_drawn).config().unwrap()).unwrap();
        settings["preparation"] = json!({"resize_crop": 28});
        on_drawn.write_json(CONFIG, &settings).unwrap();
        let error = format!("{:#}", Run::open(on_drawn.path()).unwrap_err());
        assert!(error.contains("preparation.resize_crop: expected only with data"), "{error}");
    }

    #[test]
    fn classes_have_names_that_can_stand_anywhere() {
        let (_folder, folder) = run(true);
        let config = opened(&folder).config().unwrap().clone();
        for name in ["cat\n", "c\u{1b}[2J", "c\u{202e}t"] {
            let classes = [name, "dog"].map(String::from).into();
            folder.write_json(CONFIG, &Config { classes, ..config.clone() }).unwrap();
            let error = format!("{:#}", Run::open(folder.path()).unwrap_err());
            assert!(error.contains("config.json: cannot be used: classes: ") && !error.contains(name), "{error}");
            assert!(error.contains("has a character that is not shown"), "{error}");
        }
        for name in ["кошка", "می\u{200c}خواهم", "cat, \"tabby\""] {
            let classes = [name, "dog"].map(String::from).into();
            folder.write_json(CONFIG, &Config { classes, ..config.clone() }).unwrap();
            assert_eq!(opened(&folder).classes()[0], name);
        }
    }

    #[test]
    fn what_is_added_to_training_is_checked() {
        let (_folder, folder) = run(false);
        let plain = serde_json::to_value(opened(&folder).config().unwrap()).unwrap();
        let error = |fields: Value| {
            let mut config = plain.clone();
            config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            folder.write_json(CONFIG, &config).unwrap();
            Run::open(folder.path()).err().map(|error| format!("{error:#}"))
        };
        let good = json!({
            "schedule": "step", "warmup": 0.5, "step_every": 2, "step_factor": 0.3, "label_smoothing": 0.1,
            "class_weights": "balanced", "clip_grad_norm": 1.0, "ema": 0.99, "patience": 1
        });
        assert_eq!(error(good.clone()), None);
        let kept = opened(&folder).config().unwrap().clone();
        let again = serde_json::to_value(&kept).unwrap();
        for (field, value) in good.as_object().unwrap() {
            assert_eq!(again[field].as_f64(), value.as_f64(), "{field}");
            assert!(plain.get(field).is_none(), "what is not added is not written: {field}");
        }
        for (fields, told) in [
            (json!({"schedule": "linear"}), "schedule"),
            (json!({"schedule": "step"}), "step_every none: expected a number with the schedule step"),
            (json!({"schedule": "step", "step_every": 1}), "step_factor none"),
            (json!({"step_every": 1}), "step_every 1: expected a number with the schedule step"),
            (json!({"schedule": "step", "step_every": 0, "step_factor": 0.1}), "step_every 0"),
            (json!({"schedule": "step", "step_every": 1, "step_factor": 1}), "step_factor 1"),
            (json!({"warmup": 2}), "warmup 2: expected at least 0 and less than the number of epochs"),
            (json!({"warmup": -0.5}), "warmup -0.5"),
            (json!({"warmup": null}), "warmup"),
            (json!({"schedule": "one-cycle", "warmup": 1}), "warmup 1: expected 0 with the schedule one-cycle"),
            (json!({"label_smoothing": 1}), "label_smoothing 1"),
            (json!({"label_smoothing": "x"}), "label_smoothing"),
            (json!({"class_weights": "auto"}), "class_weights"),
            (json!({"clip_grad_norm": 0}), "clip_grad_norm 0"),
            (json!({"clip_grad_norm": 1e308}), "clip_grad_norm inf"),
            (json!({"ema": 1}), "ema 1"),
            (json!({"patience": 0}), "patience 0"),
            (json!({"patience": 0.5}), "patience"),
        ] {
            let error = error(fields.clone()).unwrap_or_else(|| panic!("{fields} is accepted"));
            assert!(error.contains("config.json: cannot be used: ") && error.contains(told), "{fields}: {error}");
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
            (vec![line(1, 0.3)], "val_acc is 0.3: no count of 8 images"),
            (vec![line(1, f64::NAN)], "val_acc is NaN: expected 0 to 1"),
        ] {
            let error = error(&lines).expect("it cannot be right");
            assert!(error.contains("metrics.csv: cannot be used: ") && error.contains(problem), "{error}");
        }
    }

    /// Gives a run an id, and its weights and metrics, as training does; `val_loss` stands for all in which two runs of the same
    /// settings differ.
    fn give_id(folder: &RunDir, id: &str, val_loss: f64) {
        let made = opened(folder).config().unwrap().clone();
        let list = made.data.as_ref().map(|_| digest_of_list(&photos(id)));
        let config = Config { id: Some(id.into()), val_list: list, ..made };
        folder.write_json(CONFIG, &config).unwrap();
        let environment =
            Environment { kernels: "plain".into(), seed: 3, run: Some(id.into()), ..Environment::default() };
        folder.write_json("environment.json", &environment).unwrap();
        let record = |epoch: usize| EpochRecord {
            epoch,
            train_loss: 0.5,
            train_acc: 0.5,
            val_loss: val_loss + epoch as f64,
            val_acc: 0.5,
            images_per_s: 1.0,
            train_seconds: 1.0,
            val_seconds: 1.0,
            val_images: Some(8),
        };
        folder.write_metrics(&[record(1), record(2)]).unwrap();
        for (which, epoch) in [(Which::Best, 1), (Which::Last, 2)] {
            let Config { classes, training, data, .. } = config.clone();
            let meta = Meta {
                architecture: training.model,
                classes,
                preparation: training.preparation,
                epoch,
                drawn: data.is_none(),
                made_by: config.id.clone(),
                val_loss: Some(record(epoch).val_loss),
            };
            folder.write_checkpoint(which.file(), &Checkpoint::initial(meta)).unwrap();
        }
        if config.data.is_some() {
            let lines: String = photos(id).keys().map(|name| format!("{name}\n")).collect();
            fs::write(folder.file(VALIDATION), format!("file\n{lines}")).unwrap();
        }
    }

    /// A list of validation photos, each run its own.
    fn photos(id: &str) -> BTreeMap<String, Option<String>> {
        (0..8).map(|number| (format!("cat/{id}-{number}.jpg"), None)).collect()
    }

    /// What cannot be read of a run, in the order of reading.
    fn problem(folder: &RunDir) -> Option<String> {
        let read = || -> Result<()> {
            let run = Run::open(folder.path())?;
            run.checkpoint(Which::Best)?;
            run.checkpoint(Which::Last)?;
            run.metrics()?;
            run.environment()?;
            run.photos().map(drop)
        };
        read().err().map(|error| format!("{error:#}"))
    }

    #[test]
    fn files_of_another_run_of_the_same_settings_are_refused() {
        let swapped = [
            (CONFIG, "best.safetensors: cannot be used: it belongs to another run than config.json"),
            (Which::Best.file(), "best.safetensors: cannot be used: it belongs to another run than config.json"),
            (Which::Last.file(), "last.safetensors: cannot be used: it belongs to another run than config.json"),
            ("metrics.csv", "metrics.csv: cannot be used: line 2: val_loss is 1.25, but best.safetensors"),
            ("environment.json", "environment.json: cannot be used: it belongs to another run than config.json"),
            (VALIDATION, "validation.csv: cannot be used: a file or its sha256 is not that of the list of this run"),
        ];
        for on_photos in [false, true] {
            let [(_one, one), (_other, other)] = [run(on_photos), run(on_photos)];
            give_id(&one, ID, 0.5);
            give_id(&other, &ID.replace('0', "f"), 0.25);
            assert_eq!([problem(&one), problem(&other)], [None, None]);
            for (name, told) in swapped.iter().filter(|(name, _)| on_photos || *name != VALIDATION) {
                let own = fs::read(one.file(name)).unwrap();
                fs::copy(other.file(name), one.file(name)).unwrap();
                let problem = problem(&one).unwrap_or_else(|| panic!("{name} of another run is accepted"));
                assert!(problem.contains(told), "{problem}");
                fs::write(one.file(name), own).unwrap();
            }
            // A run without an id takes nothing from one that has one.
            let (_older, older) = run(on_photos);
            fs::copy(one.file(Which::Best.file()), older.file(Which::Best.file())).unwrap();
            assert!(problem(&older).unwrap().contains("it belongs to another run than config.json"));
        }
    }

    #[test]
    fn an_accuracy_is_a_share_of_the_images_that_could_be_read() {
        let header = "epoch,train_loss,train_acc,val_loss,val_acc,images_per_s,train_seconds,val_seconds,val_images\n";
        let error = |on_photos: bool, val_acc: f64, val_images: &str| {
            let (_folder, folder) = run(on_photos);
            give_id(&folder, ID, 0.5);
            let line = format!("1,0.5,0.5,1.5,{val_acc},10,1,1,{val_images}\n");
            fs::write(folder.file("metrics.csv"), format!("{header}{line}")).unwrap();
            opened(&folder).metrics().err().map(|error| format!("{error:#}"))
        };
        assert_eq!(error(true, 0.6, "5"), None, "three photos were lost");
        assert_eq!(error(true, 0.5, "8"), None);
        for (on_photos, val_acc, val_images, told) in [
            (true, 0.6, "8", "val_acc is 0.6: no count of 8 images"),
            (true, 0.5, "9", "val_images is 9: expected 1 to 8"),
            (true, 0.0, "0", "val_images is 0: expected 1 to 8"),
            (false, 0.6, "5", "val_images is 5: expected 8 to 8"),
            (true, 0.5, "", "val_images: expected where config.json has an id"),
        ] {
            let error = error(on_photos, val_acc, val_images).expect("it cannot be right");
            assert!(error.contains("line 2") && error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_list_of_photos_is_that_of_the_run() {
        let (_folder, folder) = run(true);
        let photo = |number: usize| Photo {
            file: format!("cat/{number}.jpg"),
            class: "cat".into(),
            used: if number < 16 { Use::Train } else { Use::Val },
            sha256: Digest::of(format!("file {number}")),
            pixels: Digest::of(format!("pixels {number}")),
        };
        let photos: Vec<Photo> = (0..24).map(photo).collect();
        let list = Some(digest_of_list(&photos));
        let config = Config { id: Some(ID.into()), photo_list: list, ..opened(&folder).config().unwrap().clone() };
        folder.write_json(CONFIG, &config).unwrap();
        photo_list::write(&folder, &photos).unwrap();
        let RunPhotos { learned, judged } = opened(&folder).photos().unwrap();
        assert_eq!((learned.unwrap().len(), judged.len()), (16, 8));
        assert_eq!(judged["cat/16.jpg"], photos[16].content());
        assert!(opened(&folder).check_photos(&photos).is_ok());
        let mut others = vec![photos.clone(); 5];
        others[0].pop();
        others[1][0].used = Use::Val;
        others[2][0].used = Use::Study;
        others[3].swap(0, 1);
        others[4][7].pixels = Digest::of("another photo");
        for (other, told) in others.iter().zip([
            "use: it has 7 photos of this use, but config.json says 8 (val_images)",
            "use: it has 15 photos of this use, but config.json says 16 (train_images)",
            "use: it has 15 photos of this use, but config.json says 16 (train_images)",
            "is not that of the list of this run, by photo_list of config.json",
            "is not that of the list of this run, by photo_list of config.json",
        ]) {
            photo_list::write(&folder, other).unwrap();
            let error = format!("{:#}", opened(&folder).photos().unwrap_err());
            assert!(error.contains("photos.csv: cannot be used: ") && error.contains(told), "{error}");
        }
        // What is to be gone on with is held against it.
        photo_list::write(&folder, &photos).unwrap();
        for (other, told) in others.iter().zip([
            "with: 1 missing, such as cat/23.jpg; bring",
            "with: they are divided otherwise; bring",
            "with: they are divided otherwise; bring",
            "with: they are divided otherwise; bring",
            "with: 1 changed, such as cat/7.jpg; bring",
        ]) {
            let error = opened(&folder).check_photos(other).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        fs::remove_file(folder.file(PHOTOS)).unwrap();
        let error = format!("{:#}", opened(&folder).photos().unwrap_err());
        assert!(error.contains("learned from and was judged by; train it anew"), "{error}");
        // One list, and only where there are photos.
        for config in [
            Config { val_list: config.photo_list.clone(), ..config.clone() },
            Config { photo_list: None, ..config.clone() },
            Config { id: None, ..config },
        ] {
            folder.write_json(CONFIG, &config).unwrap();
            let error = format!("{:#}", Run::open(folder.path()).unwrap_err());
            assert!(error.contains("photo_list: expected where there are id and data"), "{error}");
        }
    }

    #[test]
    fn validation_photos_are_counted() {
        let (_folder, folder) = run(true);
        let error = |names: &[String]| {
            let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
            fs::write(folder.file(VALIDATION), format!("file\n{lines}")).unwrap();
            opened(&folder).photos().err().map(|error| format!("{error:#}"))
        };
        let mut names: Vec<String> = (0..8).map(|number| format!("cat/{number}.jpg")).collect();
        assert_eq!(error(&names), None);
        let fewer = error(&names[1..]).unwrap();
        assert!(
            fewer.contains("validation.csv: cannot be used: file: it names 7 photos, but config.json says 8"),
            "{fewer}"
        );
        names[2] = "cat/\u{1b}\u{7f}.jpg".into();
        assert_eq!(error(&names), None);
        let read = opened(&folder).photos().unwrap().judged;
        assert!(
            read.contains_key(r"cat/\x1B\x7F.jpg"),
            "names of older lists are read as they are written now: {read:?}"
        );
        names[3] = names[4].clone();
        assert!(error(&names).unwrap().contains("a photo is named twice"));
        assert!(error(&[]).is_some());
        fs::remove_file(folder.file(VALIDATION)).unwrap();
        let missing = format!("{:#}", opened(&folder).photos().unwrap_err());
        assert!(missing.contains("not known which photos the run was judged by; train it anew"), "{missing}");
    }

    #[test]
    fn a_file_that_says_nothing_is_named_with_the_remedy() {
        for text in ["", "\0", "{", "[]", "nothing", "{}"] {
            for name in [CONFIG, ENVIRONMENT] {
                let (_folder, folder) = run(false);
                folder.write(name, text.as_bytes()).unwrap();
                let error = Run::open(folder.path()).and_then(|run| run.environment().map(drop)).unwrap_err();
                let error = format!("{error:#}");
                assert!(error.starts_with(REMEDY) && error.contains(&format!("{name}: cannot be used: ")), "{error}");
                assert!(!error.contains('?'), "{error}");
            }
        }
    }

    #[test]
    fn a_run_that_has_lost_its_settings_is_told_from_what_is_no_run() {
        let folder = tempfile::tempdir().unwrap();
        let error = || format!("{:#}", Run::open(folder.path()).err().unwrap());
        assert!(error().contains("is this a finished run of `convscope train`?"), "{}", error());
        fs::write(folder.path().join(Which::Last.file()), "").unwrap();
        assert!(error().contains("config.json cannot be read; put the file back"), "{}", error());
    }

    #[test]
    fn the_environment_is_that_of_the_run() {
        let (_folder, folder) = run(false);
        let made = Environment { kernels: "plain".into(), seed: 3, ..Default::default() };
        let mut environment = serde_json::to_value(made).unwrap();
        let error = |environment: &serde_json::Value| {
            folder.write_json("environment.json", environment).unwrap();
            opened(&folder).environment().err().map(|error| format!("{error:#}"))
        };
        assert_eq!(error(&environment), None);
        environment["seed"] = json!(4);
        assert!(error(&environment).unwrap().contains("seed is 4: expected 3"));
        environment["tiles"] = json!(TileLimits::default());
        environment["seed"] = json!(3);
        assert_eq!(error(&environment), None);
        environment["tiles"]["weights"]["workgroups"] = json!(0);
        assert!(error(&environment).unwrap().contains("tiles.weights.workgroups is 0: expected at least 1"));
        environment["kernels"] = json!("fast");
        assert!(error(&environment).unwrap().contains("kernels is \"fast\""));
    }
}
