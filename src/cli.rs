//! What was typed, and what it means. Nothing here touches a device or a file.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::LazyLock;

use anyhow::{Result, bail};
use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::data::drawn;
use crate::data::folder::VALIDATION_SHARE;
use crate::gpu::AdapterChoice;
use crate::inspect::Stage;
use crate::model::Optimizer;
use crate::ops::conv2d::Kernels;
use crate::report::ScaleBy;
use crate::spec::{Head, Spec};
use crate::study::{Ladder, Settings};
use crate::train::{Recipe, Schedule};

/// Train a convolutional network on hand-written WGSL kernels, then see what each layer has learned.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The program's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train the network, on pictures that the program draws itself or on your own
    Train(Box<TrainArgs>),
    /// Draw the feature maps of an image with a trained network
    Features(FeaturesArgs),
    /// Explain why the network decided as it did on an image: evidence, saliency maps, feature maps
    Explain(ExplainArgs),
    /// Show what the channels of a network have learned: filters, strongest patches, pictures that drive them up
    Learned(LearnedArgs),
    /// Measure what each layer is good for: signal or noise, what can be read from it, whether the network needs it
    Layers(LayersArgs),
    /// Find out how many blocks are enough, by a cross-validated study
    Depth(Box<DepthArgs>),
    /// Write the report of a run: one HTML page with the answers and what they stand on
    Report(ReportArgs),
    /// List the adapters (GPUs and software drivers) that can be used
    Adapters,
    /// Time the training step by itself: random weights, and pictures of noise that lie on the device already
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// What `explain` is told.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Images (JPEG or PNG), folders of images, or text files (.txt) with the path of an image on each line
    /// [default: five validation pictures of the run: the two worst mistakes, the closest call, the two surest]
    #[arg(value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Folder of the run whose network to explain
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Which of the run's weights to use
    #[arg(long, value_enum, default_value_t = Which::Best)]
    pub weights: Which,
    /// Explain the predicted class against this one, by its name [default: the runner-up]
    #[arg(long, value_name = "CLASS")]
    pub against: Option<String>,
    /// Blocks that Grad-CAM, HiResCAM and LayerCAM look at, by number, as 3,5 [default: the last two]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub layers: Vec<usize>,
    /// What the colours of feature maps span
    #[arg(long, value_enum, default_value_t)]
    pub scale: ScaleBy,
    /// Also draw guided backpropagation and deconvnet, which look sharp and explain nothing
    #[arg(long)]
    pub pictures_only: bool,
    /// Pictures at once on the device
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// Where the photos of the run are now [default: where they were]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder for the results, one folder an image; must not exist yet [default: RUN/explain]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `learned` is told.
#[derive(Debug, Args)]
pub struct LearnedArgs {
    /// Folder of the run whose network to look into
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Which of the run's weights to use
    #[arg(long, value_enum, default_value_t = Which::Best)]
    pub weights: Which,
    /// Where the photos of the run are now [default: where they were]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Pictures at once on the device
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// Folder for the results; must not exist yet [default: a new one below RUN]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `layers` is told.
#[derive(Debug, Args)]
pub struct LayersArgs {
    /// Folder of the run whose network to look into
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Which of the run's weights to use. The validation pictures chose the best ones, so that figures from these pictures would flatter
    /// them; for networks of drawn pictures, new pictures are drawn
    #[arg(long, value_enum, default_value_t = Which::Last)]
    pub weights: Which,
    /// The most pictures to use
    #[arg(long, default_value_t = 2000)]
    pub pictures: usize,
    /// Decides folds, resamples, noise and fresh weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where the photos of the run are now [default: where they were]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Pictures at once on the device
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// Do not write the run's report.html anew at the end
    #[arg(long)]
    pub no_report: bool,
    /// Folder for the results; must not exist yet [default: a new one below RUN]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `report` is told.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of the run
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Folder of a depth study to answer the third question [default: a fitting one named depth in RUN or beside it]
    #[arg(long, value_name = "DIR")]
    pub depth: Option<PathBuf>,
    /// Where the photos of the run are now [default: where they were]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The page; an older one is replaced [default: RUN/report.html]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Pictures at once on the device
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `bench` times.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time steps of one size
    Step(StepArgs),
    /// Time a few steps each of many batches and picture sizes, to see how the cost grows
    Scaling(ScalingArgs),
}

/// On what to compute.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// Number or part of the name of an adapter, as `convscope adapters` lists them
    #[arg(long)]
    pub adapter: Option<AdapterChoice>,
    /// Kernels of the convolutions
    #[arg(long, value_enum, default_value_t)]
    pub kernels: KernelChoice,
}

/// Kernels of the convolutions, or none for those that suit the adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelChoice(pub Option<Kernels>);

impl ValueEnum for KernelChoice {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<KernelChoice>> = LazyLock::new(|| {
            let sets = Kernels::value_variants().iter().copied().map(Some);
            std::iter::once(None).chain(sets).map(KernelChoice).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self.0 {
            None => Some(PossibleValue::new("auto").help("Those that suit the adapter")),
            Some(kernels) => kernels.to_possible_value(),
        }
    }
}

/// Pictures a training step, where nothing else is asked for.
const BATCH: usize = 32;

/// A choice between on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Names of the optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Adam with PyTorch's defaults.
    Adam,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// Options of `train`.
#[derive(Args, Debug)]
#[command(allow_negative_numbers = true)]
pub struct TrainArgs {
    /// Folder of your own photos, JPEG or PNG: one folder a class; or files named cat.0.jpg; or train/ and val/ (valid/,
    /// validation/) with a folder a class each. Without it, cats and dogs that the program draws
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Side of the square that every picture is cropped to, in pixels
    #[arg(long, default_value_t = drawn::SIZE)]
    pub size: usize,
    /// Pictures a training step
    #[arg(long, default_value_t = BATCH)]
    pub batch: usize,
    /// Passes over the training pictures [default: 8 for drawn pictures, 10 for --data]
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Learning rate
    #[arg(long, default_value_t = 1e-3)]
    pub lr: f64,
    /// How the weights move
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    pub optimizer: OptimizerName,
    /// Momentum of --optimizer sgd [default: 0.9]
    #[arg(long)]
    pub momentum: Option<f32>,
    /// Weight decay, added to the gradient as in PyTorch's Adam and SGD
    #[arg(long, default_value_t = 0.0)]
    pub weight_decay: f32,
    /// Decides initial weights, order, flips, dropout, and the drawn pictures
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Output channels of each block, and so the number of blocks
    #[arg(long, value_delimiter = ',', default_value = "16,32,64,128,256", value_name = "N,N,..")]
    pub channels: Vec<usize>,
    /// Height and width of the filters
    #[arg(long, default_value_t = 3)]
    pub kernel: usize,
    /// Stride of the convolutions
    #[arg(long, default_value_t = 2)]
    pub stride: usize,
    /// Zero padding of the convolutions on every side
    #[arg(long, default_value_t = 0)]
    pub padding: usize,
    /// Probability to drop a channel in training
    #[arg(long, default_value_t = 0.1)]
    pub dropout: f32,
    /// What stands between the last block and the linear layers
    #[arg(long, value_enum, default_value_t = Head::AvgPool)]
    pub head: Head,
    /// Outputs of the first linear layer
    #[arg(long, default_value_t = 64)]
    pub hidden: usize,
    /// Flip training pictures left to right at random
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub augment: Switch,
    /// Share of each class set aside for validation where --data has no validation folder [default: 0.2]
    #[arg(long, value_name = "SHARE", requires = "data")]
    pub val_share: Option<f64>,
    /// Drawn pictures to train on
    #[arg(long, default_value_t = drawn::TRAIN_PICTURES, value_name = "N", conflicts_with = "data")]
    pub train_pictures: usize,
    /// Drawn pictures to validate on
    #[arg(long, default_value_t = drawn::VAL_PICTURES, value_name = "N", conflicts_with = "data")]
    pub val_pictures: usize,
    /// Memory for decoded pictures, in MiB; what does not fit is decoded again each time
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    pub cache: usize,
    /// Folder of the run itself; must not exist yet [default: runs/001 or the next free number]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Do not write report.html at the end
    #[arg(long)]
    pub no_report: bool,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Options of `depth`: those of `train`, which say how every network of the study is trained, and its own.
#[derive(Args, Debug)]
#[command(
    allow_negative_numbers = true,
    mut_arg("val_share", |option| option.hide(true)),
    mut_arg("train_pictures", |option| option.hide(true)),
    mut_arg("val_pictures", |option| option.hide(true)),
    mut_arg("seed", |option| option.help("Decides the split, initial weights, order, flips, dropout, and the drawn pictures")),
    mut_arg("out", |option| option.help("Folder of the study; one that was stopped goes on from there [default: runs/depth]"))
)]
pub struct DepthArgs {
    /// How every network is trained.
    #[command(flatten)]
    pub train: TrainArgs,
    /// Numbers of blocks to compare, as 1..5 or 2,3,5; the largest is the reference [default: from 1 to all --channels]
    #[arg(long, value_name = "A..B", conflicts_with = "ladder")]
    pub depths: Option<Depths>,
    /// What the networks that are compared with the whole one leave out
    #[arg(long, value_enum, default_value_t = Ladder::Truncate)]
    pub ladder: Ladder,
    /// Parts that the pictures are divided into, each scored by networks that learned from the others
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub folds: usize,
    /// How often they are divided anew
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub repeats: usize,
    /// Loss of accuracy that is accepted, in percentage points
    #[arg(long, default_value_t = 1.0, value_name = "POINTS")]
    pub margin: f64,
    /// Pictures to draw where there is no --data
    #[arg(long, default_value_t = drawn::TRAIN_PICTURES + drawn::VAL_PICTURES, value_name = "N", conflicts_with = "data")]
    pub pictures: usize,
    /// Train the K-th of N shares of the networks and nothing else, so that N processes carry the study
    #[arg(long, value_name = "K/N", conflicts_with_all = ["collect", "dry_run"])]
    pub unit: Option<Share>,
    /// Put together what was trained elsewhere; needs --out and no other option
    #[arg(long, requires = "out", conflicts_with = "dry_run")]
    pub collect: bool,
    /// Say what would be trained and how long that would take, then stop
    #[arg(long)]
    pub dry_run: bool,
}

/// Numbers of blocks, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depths(pub Vec<usize>);

impl FromStr for Depths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| (1..=10).contains(number));
        let depths: Option<Vec<usize>> = match text.split_once("..") {
            Some((first, last)) => number(first).zip(number(last)).map(|(first, last)| (first..=last).collect()),
            None => text.split(',').map(number).collect(),
        };
        let mut depths = depths.unwrap_or_default();
        depths.sort_unstable();
        depths.dedup();
        if depths.len() < 2 {
            return Err("expected at least two numbers from 1 to 10, as 1..5 or 2,3,5".into());
        }
        Ok(Self(depths))
    }
}

/// The K-th of N shares, K from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which share.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("expected K/N with K from 1 to N, as 3/10".into()),
        }
    }
}

/// Options of `features`.
#[derive(Args, Debug)]
pub struct FeaturesArgs {
    /// The image, JPEG or PNG
    pub image: PathBuf,
    /// Folder of the run whose network to use
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Which of the run's weights to use
    #[arg(long, value_enum, default_value_t = Which::Best)]
    pub weights: Which,
    /// Where in a block its maps are taken
    #[arg(long, value_enum, default_value_t = Stage::Relu)]
    pub stage: Stage,
    /// Folder for the pictures; must not exist yet [default: a new one below RUN/features]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Options of `bench step`.
#[derive(Args, Debug)]
#[command(allow_negative_numbers = true)]
pub struct StepArgs {
    /// Side of the pictures, in pixels
    #[arg(long, default_value_t = drawn::SIZE)]
    pub size: usize,
    /// Pictures a training step
    #[arg(long, default_value_t = BATCH)]
    pub batch: usize,
    /// Steps to time, after a few that are not
    #[arg(long, default_value_t = 30)]
    pub steps: usize,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Options of `bench scaling`.
#[derive(Args, Debug)]
pub struct ScalingArgs {
    /// Pictures a step, one after the other, each picture of 128 x 128
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128,256", value_name = "N,N,..")]
    pub batches: Vec<usize>,
    /// Sides of the pictures, one after the other, 32 pictures a step
    #[arg(long, value_delimiter = ',', default_value = "64,96,128,192,256,384,512", value_name = "N,N,..")]
    pub sizes: Vec<usize>,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Which of a run's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Those of the epoch with the highest validation accuracy.
    Best,
    /// Those of the last epoch.
    Last,
}

impl Which {
    /// Name of their file in the run's folder.
    pub fn file(self) -> &'static str {
        match self {
            Self::Best => "best.safetensors",
            Self::Last => "last.safetensors",
        }
    }
}

/// What `train` is to do, every choice made: `config.json` of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The data folder, from the root on, or none for drawn pictures.
    pub data: Option<String>,
    /// Share of each class set aside for validation, if it was.
    pub val_share: Option<f64>,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Pictures to train on.
    pub train_pictures: usize,
    /// Pictures to validate on.
    pub val_pictures: usize,
    /// The network.
    pub model: Spec,
    /// Pictures a training step.
    pub batch: usize,
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Name of the optimiser.
    pub optimizer: OptimizerName,
    /// Learning rate.
    pub lr: f64,
    /// Momentum, of SGD.
    pub momentum: Option<f32>,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether training pictures are flipped.
    pub augment: bool,
    /// Decides all that is random.
    pub seed: u64,
}

impl Config {
    /// The command that trains like this again, as it is typed in a shell; options that have their default are left out.
    pub fn command(&self) -> String {
        let data = self.data.as_deref().map(|data| ["--data", data]);
        let plain = ["convscope", "train"].into_iter().chain(data.into_iter().flatten());
        let Command::Train(plain) = Cli::parse_from(plain).command else { unreachable!("the command is train") };
        let counts = [plain.train_pictures, plain.val_pictures];
        let plain = plain.config(&self.classes, counts, self.val_share.is_some()).options();
        let mut words = vec!["convscope".into(), "train".into()];
        for (option, value) in self.options() {
            if option == "data" || !plain.contains(&(option, value.clone())) {
                words.push(format!("--{option} {}", quoted(&value)));
            }
        }
        words.join(" ")
    }

    /// The options of `train` and their values.
    fn options(&self) -> Vec<(&'static str, String)> {
        let named = |value: Option<PossibleValue>| value.map_or(String::new(), |value| value.get_name().to_string());
        let channels: Vec<String> = self.model.channels.iter().map(usize::to_string).collect();
        let mut options = Vec::new();
        match &self.data {
            Some(data) => {
                options.push(("data", data.clone()));
                options.extend(self.val_share.map(|share| ("val-share", share.to_string())));
            }
            None => {
                options.push(("train-pictures", self.train_pictures.to_string()));
                options.push(("val-pictures", self.val_pictures.to_string()));
            }
        }
        options.extend([
            ("size", self.model.input[1].to_string()),
            ("channels", channels.join(",")),
            ("kernel", self.model.kernel.to_string()),
            ("stride", self.model.stride.to_string()),
            ("padding", self.model.padding.to_string()),
            ("dropout", self.model.dropout.to_string()),
            ("head", named(self.model.head.to_possible_value())),
            ("hidden", self.model.hidden.to_string()),
            ("batch", self.batch.to_string()),
            ("epochs", self.epochs.to_string()),
            ("lr", self.lr.to_string()),
            ("optimizer", named(self.optimizer.to_possible_value())),
            ("weight-decay", self.weight_decay.to_string()),
            ("augment", if self.augment { "on" } else { "off" }.into()),
            ("seed", self.seed.to_string()),
        ]);
        options.extend(self.momentum.map(|momentum| ("momentum", momentum.to_string())));
        options
    }
}

/// A word as it is typed in a POSIX shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

impl TrainArgs {
    /// Checks every number that needs neither data nor device, and the geometry of the network.
    ///
    /// # Errors
    /// The first option that is out of range, with what would be right.
    pub fn check(&self) -> Result<()> {
        self.check_numbers()?;
        check_geometry(&self.spec(2), self.batch)
    }

    fn check_numbers(&self) -> Result<()> {
        if !(self.lr.is_finite() && self.lr > 0.0) {
            bail!("--lr {}: expected a number above 0, such as 0.001", self.lr);
        }
        if !(0.0..1.0).contains(&self.momentum()) {
            bail!("--momentum {}: expected at least 0 and less than 1", self.momentum());
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            bail!("--weight-decay {}: expected a number of at least 0", self.weight_decay);
        }
        if !(self.val_share() > 0.0 && self.val_share() < 1.0) {
            bail!("--val-share {}: expected more than 0 and less than 1", self.val_share());
        }
        for (option, pictures) in [("train-pictures", self.train_pictures), ("val-pictures", self.val_pictures)] {
            if !(2..=10_000_000).contains(&pictures) {
                bail!("--{option} {pictures}: expected 2 to 10000000");
            }
        }
        if self.momentum.is_some() && self.optimizer != OptimizerName::Sgd {
            bail!("--momentum: only --optimizer sgd has one");
        }
        if !(1..=1_000_000).contains(&self.epochs()) {
            bail!("--epochs {}: expected 1 to 1000000", self.epochs());
        }
        if self.cache > 1 << 24 {
            bail!("--cache {}: expected at most 16777216 MiB", self.cache);
        }
        check_batch(self.batch)
    }

    /// The network, for so many classes.
    pub fn spec(&self, classes: usize) -> Spec {
        Spec {
            input: [3, self.size, self.size],
            channels: self.channels.clone(),
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            dropout: self.dropout,
            head: self.head,
            hidden: self.hidden,
            classes,
        }
    }

    /// How to train it.
    pub fn recipe(&self) -> Recipe {
        let weight_decay = self.weight_decay;
        Recipe {
            optimizer: match self.optimizer {
                OptimizerName::Adam => Optimizer::Adam { weight_decay },
                OptimizerName::Sgd => Optimizer::Sgd { momentum: self.momentum(), weight_decay },
            },
            lr: self.lr,
            schedule: Schedule::Constant,
            seed: self.seed,
            augment: self.augment == Switch::On,
        }
    }

    /// Every choice made, given what the data turned out to be; `split` says whether validation pictures were set aside.
    pub fn config(&self, classes: &[String], [train_pictures, val_pictures]: [usize; 2], split: bool) -> Config {
        let sgd = self.optimizer == OptimizerName::Sgd;
        // Later commands may run in another folder.
        let absolute = |data: &PathBuf| std::path::absolute(data).unwrap_or_else(|_| data.clone());
        Config {
            data: self.data.as_ref().map(|data| absolute(data).display().to_string()),
            val_share: split.then_some(self.val_share()),
            classes: classes.to_vec(),
            train_pictures,
            val_pictures,
            model: self.spec(classes.len()),
            batch: self.batch,
            epochs: self.epochs(),
            optimizer: self.optimizer,
            lr: self.lr,
            momentum: sgd.then_some(self.momentum()),
            weight_decay: self.weight_decay,
            augment: self.augment == Switch::On,
            seed: self.seed,
        }
    }

    fn momentum(&self) -> f32 {
        self.momentum.unwrap_or(0.9)
    }

    /// Share of each class set aside for validation where the data folder has no validation folder.
    pub fn val_share(&self) -> f64 {
        self.val_share.unwrap_or(VALIDATION_SHARE)
    }

    /// Passes over the training pictures.
    pub fn epochs(&self) -> usize {
        self.epochs.unwrap_or(if self.data.is_some() { 10 } else { 8 })
    }
}

impl DepthArgs {
    /// Checks every number that needs neither data nor device.
    ///
    /// # Errors
    /// The first option that is out of range, with what would be right.
    pub fn check(&self) -> Result<()> {
        self.train.check_numbers()?;
        let defaults = [drawn::TRAIN_PICTURES, drawn::VAL_PICTURES];
        if self.train.val_share.is_some() || [self.train.train_pictures, self.train.val_pictures] != defaults {
            bail!("--val-share, --train-pictures, --val-pictures: `depth` divides all pictures by --folds instead");
        }
        if !(2..=100).contains(&self.folds) {
            bail!("--folds {}: expected 2 to 100", self.folds);
        }
        if !(1..=100).contains(&self.repeats) {
            bail!("--repeats {}: expected 1 to 100", self.repeats);
        }
        if !(self.margin > 0.0 && self.margin <= 100.0) {
            bail!("--margin {}: expected more than 0 and at most 100 percentage points", self.margin);
        }
        if !(2..=10_000_000).contains(&self.pictures) {
            bail!("--pictures {}: expected 2 to 10000000", self.pictures);
        }
        self.settings(2, Kernels::Plain).rungs()?;
        Ok(())
    }

    /// Numbers of blocks to compare, ascending.
    pub fn depths(&self) -> Vec<usize> {
        self.depths.as_ref().map_or_else(|| (1..=self.train.channels.len()).collect(), |depths| depths.0.clone())
    }

    /// Everything that decides what comes out, given the number of classes.
    pub fn settings(&self, classes: usize, kernels: Kernels) -> Settings {
        let TrainArgs { batch, optimizer, lr, weight_decay, seed, .. } = self.train;
        Settings {
            ladder: self.ladder,
            depths: self.depths(),
            folds: self.folds,
            repeats: self.repeats,
            margin: self.margin,
            model: self.train.spec(classes),
            batch,
            epochs: self.train.epochs(),
            optimizer,
            lr,
            momentum: (optimizer == OptimizerName::Sgd).then_some(self.train.momentum()),
            weight_decay,
            augment: self.train.augment == Switch::On,
            seed,
            kernels,
        }
    }
}

impl StepArgs {
    /// Checks every number.
    ///
    /// # Errors
    /// The first option that is out of range, with what would be right.
    pub fn check(&self) -> Result<()> {
        if !(1..=1_000_000).contains(&self.steps) {
            bail!("--steps {}: expected 1 to 1000000", self.steps);
        }
        check_geometry(&Spec::dogs_vs_cats(self.size, 2), self.batch)
    }
}

/// A batch of pictures to time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Work {
    /// Side of the pictures.
    pub size: usize,
    /// Pictures a step.
    pub batch: usize,
}

impl ScalingArgs {
    /// What to time with growing batches, and what with growing pictures.
    ///
    /// # Errors
    /// The first number that is out of range, with what would be right.
    pub fn series(&self) -> Result<[Vec<Work>; 2]> {
        let batches: Vec<_> = self.batches.iter().map(|batch| Work { size: drawn::SIZE, batch: *batch }).collect();
        let sizes: Vec<_> = self.sizes.iter().map(|size| Work { size: *size, batch: BATCH }).collect();
        for Work { size, batch } in batches.iter().chain(&sizes) {
            check_geometry(&Spec::dogs_vs_cats(*size, 2), *batch)?;
        }
        Ok([batches, sizes])
    }
}

/// Checks a network's geometry, and whether it can learn from so many pictures a step.
fn check_geometry(spec: &Spec, batch: usize) -> Result<()> {
    check_batch(batch)?;
    spec.blocks()?;
    if batch < spec.least_batch() {
        bail!("--batch {batch}: batch norm cannot learn from one map of 1 x 1: raise --batch or --size");
    }
    Ok(())
}

fn check_batch(batch: usize) -> Result<()> {
    if !(1..=60_000).contains(&batch) {
        bail!("--batch {batch}: expected 1 to 60000");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn train(arguments: &[&str]) -> Result<Box<TrainArgs>> {
        let cli = Cli::try_parse_from(["convscope", "train"].iter().chain(arguments))?;
        let Command::Train(arguments) = cli.command else { unreachable!("the command is train") };
        arguments.check()?;
        Ok(arguments)
    }

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_options_it_is_the_known_network() {
        let arguments = train(&[]).unwrap();
        assert_eq!(arguments.spec(2), Spec::dogs_vs_cats(128, 2));
        assert_eq!(arguments.epochs(), 8);
    }

    #[test]
    fn a_run_can_be_typed_again() {
        let classes = ["cat".to_string(), "dog".to_string()];
        let cases: [&[&str]; 3] = [
            &[],
            &[
                "--data",
                "/my photos/it's",
                "--val-share",
                "0.3",
                "--epochs",
                "3",
                "--optimizer",
                "sgd",
                "--momentum",
                "0.5",
            ],
            &[
                "--size",
                "64",
                "--channels",
                "8,16",
                "--head",
                "flatten",
                "--augment",
                "off",
                "--seed",
                "7",
                "--lr",
                "0.01",
            ],
        ];
        for options in cases {
            let arguments = train(options).unwrap();
            let split = arguments.data.is_some();
            let made = |arguments: &TrainArgs| {
                arguments.config(&classes, [arguments.train_pictures, arguments.val_pictures], split)
            };
            let config = made(&arguments);
            let typed = config.command();
            // As a shell takes it apart; the one quote within a word is known.
            let typed = typed.replace(r"'\''", "\u{1}");
            let mut words = Vec::new();
            for (number, part) in typed.split('\'').enumerate() {
                match number % 2 {
                    0 => words.extend(part.split_whitespace().map(String::from)),
                    _ => words.push(part.replace('\u{1}', "'")),
                }
            }
            let Command::Train(again) = Cli::try_parse_from(words).unwrap().command else { panic!("{typed}") };
            assert_eq!(made(&again), config, "{typed}");
        }
        assert_eq!(train(&[]).unwrap().config(&classes, [4000, 1000], false).command().matches("--epochs").count(), 0);
        assert_eq!(quoted("runs/001"), "runs/001");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }

    #[test]
    fn bad_numbers_name_their_option() {
        let cases = [
            ("--batch=0", "--batch 0"),
            ("--epochs=0", "--epochs 0"),
            ("--lr=0", "--lr 0"),
            ("--lr=NaN", "--lr NaN"),
            ("--momentum=1", "--momentum 1"),
            ("--momentum=0.5", "only --optimizer sgd"),
            ("--cache=99999999", "--cache 99999999"),
            ("--weight-decay=-1", "--weight-decay -1"),
            ("--size=16", "block 4"),
            ("--size=0", "--size 0"),
            ("--stride=0", "--stride 0"),
            ("--kernel=99", "--kernel 99"),
            ("--dropout=1", "--dropout 1"),
            ("--channels=8,0", "--channels 8,0"),
            ("--val-share=0.5", "--data <DIR>"),
            ("--train-pictures=1", "--train-pictures 1"),
            ("--optimizer=lion", "possible values: adam, sgd"),
            ("--kernels=fast", "possible values: auto, plain"),
        ];
        for (argument, message) in cases {
            let error = train(&[argument]).unwrap_err().to_string();
            assert!(error.contains(message), "{argument}: {error}");
        }
    }

    #[test]
    fn every_set_of_kernels_can_be_chosen() {
        assert_eq!(train(&[]).unwrap().device.kernels, KernelChoice(None));
        for kernels in Kernels::value_variants() {
            let arguments = train(&[&format!("--kernels={kernels}")]).unwrap();
            assert_eq!(arguments.device.kernels, KernelChoice(Some(*kernels)));
        }
    }
}
