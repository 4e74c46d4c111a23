//! How many blocks are enough: a cross-validated study.
//!
//! A study compares the whole network, the reference, with smaller ones, its other [`Candidate`]s. Each [`unit::Unit`] trains
//! one of them on all folds but one and scores that one; [`unit::UnitResult`] is its file. [`findings::collect`] makes the
//! answer of these files alone. [`test_look::TestLook`] is the one look at the locked test set, at the end.
//!
//! What keeps the answer honest:
//! - a unit reads the images of its own folds and no other; the test set is read once, after the answer is known;
//! - images are normalised by constants, nothing is estimated from them; every network trains for the same number of
//!   epochs and its last weights are taken, so that nothing is chosen by looking at the fold that is scored;
//! - equal images are used once only ([`crate::data::split`]), so that none is learned from and scored;
//! - split, order, flips and dropout's seed depend on repeat and fold alone, so that all networks meet the same;
//! - margin, folds and repeats are written down before the first unit, and results of other data, settings or code are
//!   refused.

pub mod findings;
pub mod layers;
pub(crate) mod reading;
pub mod test_look;
pub mod unit;
pub(crate) mod words;

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk;
use crate::gpu::Kernels;
use crate::nn::{Architecture, Network, SpecError};
use crate::reading::{differences, differences_of_networks, flattened};
use crate::train::run_dir::RunDir;
use crate::train::{Folders, Recipe, Schedule, Training};

pub use crate::train::PROGRAM;

/// Name of the file that says what a study is.
pub const STUDY_FILE: &str = "study.json";

/// What the smaller networks leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Ladder {
    /// The last blocks: depth d is the first d blocks and then the head.
    Truncate,
    /// One middle block at a time.
    Drop,
}

impl Ladder {
    /// The option that asks for it.
    fn option(self) -> &'static str {
        match self {
            Self::Truncate => "--depths",
            Self::Drop => "--ladder drop",
        }
    }
}

/// Everything beside the images and the code that decides what comes out of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What the smaller networks leave out.
    pub ladder: Ladder,
    /// Numbers of blocks of [`Ladder::Truncate`], ascending.
    pub depths: Vec<usize>,
    /// Parts that the images are divided into.
    pub folds: usize,
    /// How often they are divided anew.
    pub repeats: usize,
    /// Loss of accuracy that is accepted, in percentage points.
    pub margin: f64,
    /// The network with all its blocks, and how each is trained: over the epochs the learning rate falls to zero along a
    /// cosine.
    #[serde(flatten, deserialize_with = "flattened")]
    pub training: Training,
    /// Kernels of the convolutions.
    pub kernels: Kernels,
}

impl Settings {
    /// How the networks are trained, with a seed of their repeat and fold.
    pub fn recipe(&self, seed: u64) -> Recipe {
        Recipe { schedule: Schedule::Cosine { epochs: self.training.epochs as f64 }, ..self.training.recipe(&[], seed) }
    }

    /// The networks to compare: first the reference, then the others from the deepest down.
    ///
    /// # Errors
    /// When there is no such network, naming the options.
    pub fn candidates(&self) -> Result<Vec<Candidate>> {
        let candidates = match self.ladder {
            Ladder::Truncate => {
                self.depths.iter().rev().map(|&depth| self.truncated(depth)).collect::<Result<Vec<_>>>()
            }
            Ladder::Drop => self.dropped(),
        }?;
        for candidate in &candidates {
            if self.training.batch < candidate.network.least_batch() {
                let (option, size) = (self.ladder.option(), self.training.model.input()[1]);
                bail!(
                    "{option}: {} ends in maps of 1 x 1 at --size {size}: raise --batch or --size",
                    candidate.describe()
                );
            }
        }
        Ok(candidates)
    }

    /// How the network with the most blocks is trained. A network with all blocks may be impossible for images of this size.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn reference(&self) -> Result<Training, SpecError> {
        let mut training = self.training.clone();
        if let (Ladder::Truncate, Some(&deepest)) = (self.ladder, self.depths.last())
            && deepest < training.model.blocks()?
        {
            training.model = training.model.first_blocks(deepest)?;
        }
        Ok(training)
    }

    fn truncated(&self, depth: usize) -> Result<Candidate> {
        let all = self.training.model.blocks()?;
        if depth > all {
            bail!("--depths: depth {depth} is more than the {all} blocks that the network has");
        }
        self.candidate(format!("d{depth}"), None, depth, self.training.model.first_blocks(depth))
    }

    fn dropped(&self) -> Result<Vec<Candidate>> {
        let whole = &self.training.model;
        let all = whole.blocks()?;
        if all < 3 {
            bail!("--ladder drop: a network of {all} blocks has no middle block; it needs at least three blocks");
        }
        let without = |left_out: usize| {
            self.candidate(format!("d{all}-without-{left_out}"), Some(left_out), all - 1, whole.without_block(left_out))
        };
        let mut candidates = vec![self.candidate(format!("d{all}"), None, all, Ok(whole.clone()))?];
        let fixed = self.fixed();
        candidates
            .extend((2..all).rev().filter(|block| !fixed.contains(block)).map(without).collect::<Result<Vec<_>>>()?);
        if candidates.len() == 1 {
            bail!(
                "--ladder drop: without any one of its middle blocks, what follows does not fit: use --ladder truncate"
            );
        }
        Ok(candidates)
    }

    /// The middle blocks that [`Ladder::Drop`] cannot leave out, because what follows would not fit: those of a residual network that
    /// change the number of channels.
    pub fn fixed(&self) -> Vec<usize> {
        let whole = &self.training.model;
        let blocks = 2..whole.blocks().unwrap_or_default();
        let fits = |block: &usize| whole.without_block(*block).is_ok_and(|without| without.build().is_ok());
        blocks.filter(|block| self.ladder == Ladder::Drop && !fits(block)).collect()
    }

    fn candidate(
        &self,
        name: String,
        left_out: Option<usize>,
        blocks: usize,
        architecture: Result<Architecture, SpecError>,
    ) -> Result<Candidate> {
        let (option, size) = (self.ladder.option(), self.training.model.input()[1]);
        let impossible = || format!("{option}: {} is impossible at --size {size}", described(left_out, blocks));
        let architecture = architecture.with_context(impossible)?;
        let network = architecture.build().with_context(impossible)?.prepared(self.training.preparation);
        Ok(Candidate { name, left_out, architecture, network })
    }
}

/// One of the networks that a study compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its name in files: `d3` has three blocks, `d5-without-2` is one of five without its second.
    pub name: String,
    /// The middle block that it leaves out, from 1.
    pub left_out: Option<usize>,
    /// The network as it is chosen.
    pub architecture: Architecture,
    /// The network.
    pub network: Network,
}

impl Candidate {
    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        self.network.blocks().len()
    }

    /// Its name in sentences.
    pub fn describe(&self) -> String {
        described(self.left_out, self.blocks())
    }
}

fn described(left_out: Option<usize>, blocks: usize) -> String {
    match left_out {
        None => format!("depth {blocks}"),
        Some(block) => format!("the network without block {block}"),
    }
}

/// What results must have in common to be put together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// [`PROGRAM`].
    pub program: String,
    /// Hash of the images, [`crate::data::split::Distinct::hash`].
    pub data: String,
    /// All settings.
    pub settings: Settings,
}

impl Identity {
    /// How `other` differs, one line a difference: what it has, and what this one has.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let Self { program, data, settings } = other;
        let mut found = differences("program", program, &self.program);
        if *data != self.data {
            found.push("the images are others (data)".into());
        }
        let (there, here) = (&settings.training, &self.settings.training);
        let file = here.model_file.as_ref().map(|file| format!("the network of {file} (--model)"));
        let name = file.unwrap_or_else(|| "settings.model".into());
        found.extend(differences_of_networks(&name, &there.model, &here.model));
        let training = there.with_network_of(here);
        found.extend(differences("settings", &Settings { training, ..settings.clone() }, &self.settings));
        found
    }

    /// What tells a file of a study with this identity from the same file of every other study: a hash of both.
    pub fn of_file(&self, file: &str) -> String {
        let identity = serde_json::to_string(self).expect("an identity is always valid JSON");
        Digest::of(format!("{file}\n{identity}")).to_string()
    }
}

/// What a study is about: `study.json` in its folder, written before anything is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// What all its results have in common.
    pub identity: Identity,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Distinct images that are cross-validated.
    #[serde(alias = "dev_pictures")]
    pub dev_images: usize,
    /// How many of these are of the commonest class.
    pub commonest_class: usize,
    /// Distinct images that are locked away as test set.
    #[serde(alias = "test_pictures")]
    pub test_images: usize,
    /// Images left out because an equal one is in use.
    pub duplicates: usize,
    /// Images left out because an equal one has another class.
    pub contradictory: usize,
    /// Files that could not be used.
    #[serde(default)]
    pub rejected: usize,
    /// The folder of the photos, from the root on, where the study was begun; none for drawn images.
    pub photos: Option<String>,
    /// How the folders of the photos were read, where that was said.
    #[serde(flatten)]
    pub folders: Folders,
}

impl Study {
    /// Error of always naming the commonest class, in percent.
    pub fn chance_error(&self) -> f64 {
        100.0 * (1.0 - self.commonest_class as f64 / self.dev_images as f64)
    }

    /// Checks that a folder can be this study's: it is, or it is new. Returns the study as the folder holds it, where it may have
    /// reached the photos by another path.
    ///
    /// # Errors
    /// When the folder holds another study, naming what differs, or something else.
    pub fn check(self, folder: &RunDir) -> Result<Self> {
        let shown = folder.path().display();
        if folder.file(STUDY_FILE).exists() {
            let stored = Self::read(folder)?;
            let differences = self.identity.differences(&stored.identity).join("; ");
            ensure!(
                differences.is_empty(),
                "--out {shown}: holds another study, in which {differences}; name a new folder"
            );
            return Ok(stored);
        }
        // Other processes may be about to write the study's file at this moment.
        let foreign = |name: &str| !name.starts_with(STUDY_FILE);
        let taken = fs::read_dir(folder.path()).map_or(folder.path().exists(), |mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| foreign(&entry.file_name().to_string_lossy())))
        });
        if taken && !folder.file(STUDY_FILE).exists() {
            bail!("--out {shown}: exists already and holds no study; name a new folder");
        }
        Ok(self)
    }

    /// Makes the folder this study's, unless it is already.
    ///
    /// # Errors
    /// As [`Study::check`], or when the folder cannot be written.
    pub fn claim(&self, folder: &RunDir) -> Result<()> {
        self.clone().check(folder)?;
        let path = folder.path();
        disk::sweep(path);
        if folder.file(STUDY_FILE).exists() {
            return Ok(());
        }
        fs::create_dir_all(path).with_context(|| format!("--out {}: cannot be made", path.display()))?;
        let text = format!("{}\n", serde_json::to_string_pretty(self)?);
        if !disk::write_new(&folder.file(STUDY_FILE), text.as_bytes())? {
            // Another process was faster: it must be about the same study.
            self.clone().check(folder)?;
        }
        Ok(())
    }

    /// Checks that this program is the one that the study was begun with.
    ///
    /// # Errors
    /// When it is another.
    pub fn check_program(&self) -> Result<()> {
        let made_by = &self.identity.program;
        ensure!(
            made_by == PROGRAM,
            "the study was begun with another program ({made_by}, this is {PROGRAM}): finish it with that one, or begin anew \
             in a new folder"
        );
        Ok(())
    }

    /// Reads what the study in a folder is about.
    ///
    /// # Errors
    /// When there is no study there, or its file cannot be used.
    pub fn read(folder: &RunDir) -> Result<Self> {
        reading::study(folder.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::train_command;
    use crate::nn::checkpoint::{Checkpoint, Meta};
    use crate::nn::{Known, Layer, Name, Named, Op, Spec, Strided};
    use crate::train::{Extras, OptimizerName};

    /// Depths 1, 3 and 5 of the known network.
    pub(super) fn settings(ladder: Ladder) -> Settings {
        Settings {
            ladder,
            depths: vec![1, 3, 5],
            folds: 5,
            repeats: 2,
            margin: 1.0,
            training: Training {
                model: Strided::dogs_vs_cats(128, 2).into(),
                model_file: None,
                preparation: Default::default(),
                batch: 32,
                epochs: 10,
                optimizer: OptimizerName::Adam,
                lr: 1e-3,
                momentum: None,
                weight_decay: 0.0,
                augment: true,
                crop_scale: None,
                rotate: 0.0,
                color_jitter: None,
                seed: 0,
                init: None,
                freeze: 0,
                extras: Extras::default(),
            },
            kernels: Kernels::Plain,
        }
    }

    /// A study of 600 images, as many of each of two classes.
    pub(super) fn study(settings: Settings) -> Study {
        Study {
            identity: Identity { program: "1".into(), data: "a".into(), settings },
            classes: vec!["cat".into(), "dog".into()],
            dev_images: 600,
            commonest_class: 300,
            test_images: 9,
            duplicates: 0,
            contradictory: 0,
            rejected: 0,
            photos: None,
            folders: Default::default(),
        }
    }

    fn channels(candidate: &Candidate) -> Vec<usize> {
        candidate.network.blocks().iter().map(|block| block.output[0]).collect()
    }

    /// At 32 px five blocks are impossible: a study of four is not, and what it wrote can be read.
    #[test]
    fn blocks_that_a_study_leaves_out_may_be_impossible() {
        let mut settings = settings(Ladder::Truncate);
        settings.training.model = Strided::dogs_vs_cats(32, 2).into();
        assert!(settings.training.model.build().is_err());
        settings.depths = vec![2, 3, 4];
        settings.candidates().unwrap();
        assert_eq!(reading::check_settings(&settings).unwrap().blocks().len(), 4);
        let again = train_command(None, &Folders::default(), &settings.reference().unwrap());
        assert_eq!(again, "convscope train --size 32 --channels 16,32,64,128 --epochs 10");
        settings.depths = vec![4, 5];
        let error = format!("{:#}", reading::check_settings(&settings).unwrap_err());
        assert!(error.contains("block 5"), "{error}");
    }

    #[test]
    fn truncation_takes_the_first_blocks() {
        let candidates = settings(Ladder::Truncate).candidates().unwrap();
        let names: Vec<_> = candidates.iter().map(|candidate| candidate.name.as_str()).collect();
        assert_eq!(names, ["d5", "d3", "d1"]);
        let sizes: Vec<_> = candidates.iter().map(|candidate| candidate.network.parameter_count()).collect();
        assert_eq!(sizes, [409_682, 27_986, 1_682]);
        assert_eq!(channels(&candidates[1]), [16, 32, 64]);
        assert_eq!((candidates[1].blocks(), candidates[1].describe().as_str()), (3, "depth 3"));
    }

    #[test]
    fn networks_are_trained_along_a_cosine_with_the_seed_of_their_fold() {
        let recipe = settings(Ladder::Drop).recipe(7);
        assert_eq!((recipe.seed, recipe.schedule, recipe.lr), (7, Schedule::Cosine { epochs: 10.0 }, 1e-3));
    }

    #[test]
    fn the_reference_has_the_most_blocks_of_the_study() {
        let blocks = |ladder, depths: &[usize]| {
            let settings = Settings { depths: depths.to_vec(), ..settings(ladder) };
            settings.reference().unwrap().model.blocks().unwrap()
        };
        assert_eq!([blocks(Ladder::Truncate, &[1, 3]), blocks(Ladder::Truncate, &[1, 5])], [3, 5]);
        assert_eq!(blocks(Ladder::Drop, &[1, 3]), 5, "depths count for the other ladder alone");
    }

    #[test]
    fn dropping_leaves_out_one_middle_block() {
        let candidates = settings(Ladder::Drop).candidates().unwrap();
        let names: Vec<_> = candidates.iter().map(|candidate| candidate.name.as_str()).collect();
        assert_eq!(names, ["d5", "d5-without-4", "d5-without-3", "d5-without-2"]);
        assert_eq!(channels(&candidates[3]), [16, 64, 128, 256]);
        assert_eq!(candidates[3].describe(), "the network without block 2");

        let mut three = settings(Ladder::Drop);
        three.training.model = Strided { channels: vec![4, 6, 8], ..Strided::dogs_vs_cats(64, 2) }.into();
        let names: Vec<_> = three.candidates().unwrap().into_iter().map(|candidate| candidate.name).collect();
        assert_eq!(names, ["d3", "d3-without-2"]);
    }

    #[test]
    fn blocks_that_others_depend_on_stay() {
        let known = |name| Known { name, input: [3, 64, 64], width: 0.125, classes: 2 };
        let of = |name| {
            let standard = settings(Ladder::Drop);
            Settings { training: Training { model: Architecture::Known(known(name)), ..standard.training }, ..standard }
        };
        // Those that change the number of channels: the first of each of the last three pairs.
        let residual = of(Name::ResNet18);
        assert_eq!(residual.fixed(), [4, 6, 8]);
        let names: Vec<_> =
            residual.candidates().unwrap().into_iter().filter_map(|candidate| candidate.left_out).collect();
        assert_eq!(names, [7, 5, 3, 2]);
        assert_eq!(of(Name::Vgg11Bn).fixed(), [0; 0]);
        assert_eq!(settings(Ladder::Drop).fixed(), [0; 0]);
        let truncated = Settings { ladder: Ladder::Truncate, ..residual };
        assert_eq!(truncated.fixed(), [0; 0], "nothing is left out");

        // What is added needs the eight channels that the second of three blocks makes.
        let shortcut = Layer::Residual { path: vec![Op::conv(8, 3, 1).into()], shortcut: Vec::new() };
        let mut layers = [Op::conv(4, 3, 1), Op::ReLU, Op::conv(8, 3, 1), Op::ReLU].map(Named::from).to_vec();
        layers.push(shortcut.into());
        layers.extend([Op::Flatten, Op::Linear { out_features: 2 }].map(Named::from));
        let mut alone = settings(Ladder::Drop);
        alone.training.model = Architecture::Listed(Spec { input: [3, 16, 16], layers });
        assert_eq!(alone.fixed(), [2]);
        let error = alone.candidates().unwrap_err().to_string();
        assert!(error.contains("use --ladder truncate"), "{error}");
    }

    #[test]
    fn impossible_networks_name_the_options() {
        let error = |change: &dyn Fn(&mut Settings, &mut Strided), ladder| {
            let (mut settings, mut model) = (settings(ladder), Strided::dogs_vs_cats(128, 2));
            change(&mut settings, &mut model);
            settings.training.model = model.into();
            format!("{:#}", settings.candidates().unwrap_err())
        };
        let message = error(&|settings, _| settings.depths = vec![1, 6], Ladder::Truncate);
        assert!(message.contains("--depths: depth 6 is more than the 5 blocks"), "{message}");
        let message = error(&|_, model| model.input = [3, 24, 24], Ladder::Truncate);
        assert!(message.contains("--depths: depth 5 is impossible at --size 24"), "{message}");
        let message = error(&|_, model| model.channels.truncate(2), Ladder::Drop);
        assert!(message.contains("no middle block"), "{message}");
        let message = error(
            &|settings, model| {
                settings.training.batch = 1;
                model.input = [3, 63, 63];
            },
            Ladder::Truncate,
        );
        assert!(message.contains("maps of 1 x 1 at --size 63"), "{message}");
        let mut two = settings(Ladder::Truncate);
        two.training.model = Strided::dogs_vs_cats(63, 2).into();
        two.training.batch = 2;
        assert_eq!(two.candidates().unwrap().len(), 3, "two images are enough for their statistics");
    }

    #[test]
    fn a_folder_is_that_of_one_study() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = |name: &str| RunDir::at(temporary.path().join(name));
        let error = |study: Study, folder: &RunDir| format!("{:#}", study.check(folder).unwrap_err());
        let own = study(settings(Ladder::Truncate));
        own.claim(&folder("own")).unwrap();
        own.claim(&folder("own")).unwrap();
        assert_eq!(Study::read(&folder("own")).unwrap(), own);
        let elsewhere = Study { photos: Some("/elsewhere".into()), ..own.clone() };
        assert_eq!(elsewhere.check(&folder("own")).unwrap(), own, "as the folder holds it");
        let other = study(settings(Ladder::Drop));
        assert!(error(other, &folder("own")).contains("holds another study, in which settings.ladder is"));

        fs::create_dir_all(temporary.path().join("letters")).unwrap();
        let begun = format!("letters/{STUDY_FILE}.1-2.unfinished");
        fs::write(temporary.path().join(begun), "{").unwrap();
        own.clone().check(&folder("letters")).unwrap();
        fs::write(temporary.path().join("letters/letter.txt"), "dear").unwrap();
        for taken in ["letters", "letters/letter.txt"] {
            let told = error(own.clone(), &folder(taken));
            assert!(told.contains("exists already and holds no study"), "{told}");
        }
    }

    #[test]
    fn a_study_is_finished_by_the_program_that_began_it() {
        let mut study = study(settings(Ladder::Truncate));
        let error = study.check_program().unwrap_err().to_string();
        assert!(error.contains("begun with another program (1, this is"), "{error}");
        study.identity.program = PROGRAM.into();
        study.check_program().unwrap();
    }

    #[test]
    fn depths_of_a_file_ascend_to_what_the_network_has() {
        for (depths, told) in [
            (&[3][..], "depths is [3]: expected at least two numbers of blocks, ascending"),
            (&[3, 3], "at least two numbers of blocks, ascending"),
            (&[3, 1], "at least two numbers of blocks, ascending"),
            (&[0, 3], "at least two numbers of blocks, ascending"),
            (&[1, 6], "there are 5 blocks"),
        ] {
            let settings = Settings { depths: depths.to_vec(), ..settings(Ladder::Truncate) };
            let error = format!("{:#}", reading::check_settings(&settings).unwrap_err());
            assert!(error.contains(told), "{error}");
        }
        let dropping = Settings { depths: Vec::new(), ..settings(Ladder::Drop) };
        reading::check_settings(&dropping).unwrap();
    }

    #[test]
    fn weights_of_another_study_or_network_are_refused() {
        let identity = Identity { program: "1".into(), data: "a".into(), settings: settings(Ladder::Truncate) };
        let file = "d1-1.safetensors";
        let mut seeded = identity.clone();
        seeded.settings.training.seed = 1;
        let others = [
            Identity { data: "b".into(), ..identity.clone() }.of_file(file),
            seeded.of_file(file),
            identity.of_file("d1-2.safetensors"),
        ];
        let meta = |made_by: Option<String>| Meta {
            architecture: Strided { channels: vec![4], ..Strided::dogs_vs_cats(24, 2) }.into(),
            classes: vec!["cat".into(), "dog".into()],
            preparation: Default::default(),
            epoch: 10,
            drawn: true,
            made_by,
            val_loss: None,
        };
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        let expected = meta(Some(identity.of_file(file)));
        let read = |meta: Meta| {
            folder.write_checkpoint(file, &Checkpoint::initial(meta)).unwrap();
            reading::weights(&folder.file(file), &expected).map_err(|error| format!("{error:#}"))
        };
        assert!(read(expected.clone()).unwrap().is_some());
        for other in others {
            let error = read(meta(Some(other))).unwrap_err();
            assert!(error.contains("it holds another network: made_by is") && error.contains("remove it"), "{error}");
        }
        assert!(read(meta(None)).unwrap_err().contains("made_by is missing"), "of an older version");
        let wider = Strided { channels: vec![6], ..Strided::dogs_vs_cats(24, 2) }.into();
        let error = read(Meta { architecture: wider, ..expected.clone() }).unwrap_err();
        assert_eq!(error.matches("channels").count(), 1, "{error}");
    }

    #[test]
    fn differences_name_the_setting() {
        let one = Identity { program: "1".into(), data: "a".into(), settings: settings(Ladder::Truncate) };
        assert!(one.differences(&one.clone()).is_empty());
        let mut other = one.clone();
        other.settings.training.weight_decay = 0.1;
        other.settings.training.model = Strided { dropout: 0.2, ..Strided::dogs_vs_cats(128, 2) }.into();
        other.data = "b".into();
        let differences = one.differences(&other).join("; ");
        assert!(differences.contains("the images are others"), "{differences}");
        assert!(differences.contains("settings.model.dropout is 0.2, not 0.1"), "{differences}");
        assert!(differences.contains("settings.weight_decay is 0.1, not 0.0"), "{differences}");
        assert_eq!(one.differences(&other).len(), 3);
    }

    /// Whatever differs is told in words: an option of a layer, however deep it lies, its type, how many layers there are, how they
    /// are put together, or that it is another kind of network.
    #[test]
    fn differences_of_listed_networks_are_told_in_words() {
        let study = |model: Architecture, file: Option<&str>| {
            let mut settings = settings(Ladder::Truncate);
            settings.training = Training { model, model_file: file.map(String::from), ..settings.training };
            Identity { program: "1".into(), data: "a".into(), settings }
        };
        let path = || [Op::conv(4, 3, 1), Op::BatchNorm2d].map(Named::from).to_vec();
        let layers = || {
            let mut layers = [Op::conv(4, 3, 1), Op::BatchNorm2d, Op::ReLU].map(Named::from).to_vec();
            layers.push(Layer::Residual { path: path(), shortcut: path() }.into());
            layers.extend([Op::ReLU, Op::Flatten, Op::Linear { out_features: 2 }].map(Named::from));
            layers
        };
        let listed = |size, layers| Architecture::Listed(Spec { input: [3, size, size], layers });
        let here = study(listed(16, layers()), Some("/m.toml"));
        type Change = fn(&mut Vec<Named>);
        let changed = |change: Change| {
            let mut others = layers();
            change(&mut others);
            here.differences(&study(listed(16, others), Some("/m.toml")))
        };
        assert_eq!(changed(|_| {}), [""; 0]);
        let cases: [(Change, &str); 6] = [
            (|layers| layers[0] = Op::conv(4, 1, 0).into(), "Conv2d 0 of block 1: kernel_size is 1, not 3"),
            (|layers| layers[2] = Op::ReLU6.into(), "ReLU6 2 of block 1, not ReLU 2 of block 1"),
            (
                |layers| {
                    let Layer::Residual { shortcut, .. } = &mut layers[3].layer else { unreachable!("it is residual") };
                    shortcut[0] = Op::conv(4, 5, 2).into();
                },
                "Conv2d 3.2 of block 2: kernel_size is 5, not 3",
            ),
            (|layers| layers.push(Op::Linear { out_features: 2 }.into()), "12 of them, not 11"),
            (
                |layers| layers[0].name = Some("stem".into()),
                "the same, but they have other names or are put together otherwise",
            ),
            (|layers| layers[0] = Op::conv(4, 99, 0).into(), "one of them cannot be"),
        ];
        for (change, told) in cases {
            assert_eq!(changed(change), [format!("the network of /m.toml (--model) has other layers: {told}")]);
        }

        let smaller = study(listed(12, layers()), Some("/m.toml"));
        let told = "the network of /m.toml (--model) takes images of 12 x 12 pixels, not 16 x 16";
        assert_eq!(here.differences(&smaller), [told]);
        let strided = study(Strided::dogs_vs_cats(16, 2).into(), None);
        let told = "the network of /m.toml (--model) is blocks of strided convolutions, not a list of layers";
        assert_eq!(here.differences(&strided), [told]);
        let told = "settings.model is a list of layers, not blocks of strided convolutions";
        assert_eq!(strided.differences(&here)[0], told);
    }
}
