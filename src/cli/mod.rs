//! What was typed, and what it means. Nothing here touches a device or a file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::explain::inspect::Stage;
use crate::figures::ScaleBy;
use crate::gpu::{AdapterChoice, Kernels};
use crate::nn::Normalize;
use crate::terminal::quoted;
use crate::train::Which;

mod bench;
mod depth;
mod doctor;
mod extras;
mod model;
mod settings;
mod train;
mod typed;

pub use bench::{BenchCommand, ScalingArgs, StepArgs, TimedArgs, TuneArgs, Work};
pub use depth::{DepthArgs, Depths, Share};
pub use doctor::{DataCommand, DataSet, DoctorArgs, FetchArgs, SynthArgs};
pub use extras::ExtrasArgs;
pub use model::{ModelArgs, ModelName, SummaryArgs, built};
pub use settings::with_settings;
pub use train::{Flip, PreparationArgs, TrainArgs};
pub use typed::{depth_command, train_command};

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
    /// Train the network, on images that the program draws itself or on your own
    Train(Box<TrainArgs>),
    /// Show the feature maps of an image with a trained network
    Features(FeaturesArgs),
    /// Explain why the network decided as it did on an image: evidence, saliency maps, feature maps
    Explain(ExplainArgs),
    /// Say of images of your own which class each shows, and how surely
    Predict(PredictArgs),
    /// Hold a trained network against labelled images: accuracy, calibration, confusions, the worst mistakes
    Evaluate(EvaluateArgs),
    /// Show what the channels of a network have learned: filters, strongest patches, images that activate them most
    Learned(LearnedArgs),
    /// Measure what each layer is good for: what can be read from it, whether this network uses it
    Layers(LayersArgs),
    /// Find out how many blocks are enough, by a cross-validated study
    Depth(Box<DepthArgs>),
    /// Write the report of a run: one HTML page with the answers and what they stand on
    Report(ReportArgs),
    /// Examine a folder of photos before training: broken, equal and nearly equal images, unequal classes, shortcuts
    Doctor(DoctorArgs),
    /// Make folders of images: drawn ones, or photos from the web
    #[command(subcommand)]
    Data(DataCommand),
    /// Make a run's folder of weights that were trained elsewhere: in PyTorch, in a browser, or in another run
    Import(ImportArgs),
    /// Write a network for other programs: as safetensors, for PyTorch, as ONNX
    Export(ExportArgs),
    /// Show what a network is made of: its layers, their outputs, weights and multiply-adds
    Summary(SummaryArgs),
    /// Hand out the page that trains and looks inside in a browser
    Serve(ServeArgs),
    /// List the adapters (GPUs and software drivers) that can be used
    Adapters,
    /// Print a script for your shell that completes commands and options
    #[command(after_help = "bash: convscope completions bash >~/.local/share/bash-completion/completions/convscope")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Time the training step by itself: random weights, and images of noise that lie on the device already
    #[command(subcommand)]
    Bench(BenchCommand),
}

impl Command {
    /// The folder of the run that the command is about, where it is about one that is there.
    pub fn run(&self) -> Option<&Path> {
        match self {
            Self::Features(arguments) => Some(&arguments.run),
            Self::Explain(arguments) => Some(&arguments.run),
            Self::Predict(arguments) => Some(&arguments.run),
            Self::Evaluate(arguments) => Some(&arguments.run),
            Self::Learned(arguments) => Some(&arguments.run),
            Self::Layers(arguments) => Some(&arguments.run),
            Self::Report(arguments) => Some(&arguments.run),
            Self::Export(arguments) => Some(&arguments.run),
            Self::Train(_)
            | Self::Depth(_)
            | Self::Doctor(_)
            | Self::Data(_)
            | Self::Import(_)
            | Self::Summary(_)
            | Self::Serve(_)
            | Self::Adapters
            | Self::Completions { .. }
            | Self::Bench(_) => None,
        }
    }
}

/// Adds to a mistake on the command line what may have been meant: a folder that a command does not take may be one of images.
pub fn suggest(error: &mut clap::Error) {
    let word = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => word.clone(),
        _ => return,
    };
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return };
    let (cli, usage) = (Cli::command(), usage.to_string());
    // Such as `Usage: convscope train [OPTIONS]`.
    let command = usage.split_whitespace().nth(2).and_then(|name| cli.find_subcommand(name));
    let takes_images = command.is_some_and(|command| command.get_arguments().any(|arg| arg.get_long() == Some("data")));
    if takes_images && Path::new(&word).is_dir() {
        let tip = format!("for a folder of images type --data {}", quoted(&word));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}

/// A path from the root on, since later commands may run in another folder.
pub fn path_from_root(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// Options of `serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Folder of the built page
    #[arg(long, value_name = "DIR", default_value = "web/dist")]
    pub dir: PathBuf,
    /// Address to listen at; 0.0.0.0 lets other machines open the page too. A browser gives a page its GPU at this machine's own address,
    /// or over HTTPS
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen at; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
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
    /// What the colours of feature maps span
    #[arg(long, value_enum, default_value_t)]
    pub scale: ScaleBy,
    /// Folder for the page and the images; must be new or empty [default: a new one below RUN/features]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `explain` is told.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Images (JPEG or PNG), folders of images, text files (.txt) with the path of an image on each line, or - for such a list on
    /// standard input [default: five validation images of the run: the two worst mistakes, the closest call, the two most confident hits]
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
    #[arg(long, alias = "pictures-only")]
    pub images_only: bool,
    /// Images at once on the device
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// Where the photos of the run are now [default: where they were]; for an imported network, labelled images
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder for the results, one folder an image; must be new or empty [default: RUN/explain]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `predict` is told.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 when every image was read, 1 when one was not or on another error, 2 on a wrong option."
)]
pub struct PredictArgs {
    /// Images (JPEG or PNG), folders of images, text files (.txt) with the path of an image on each line, or - for such a list on
    /// standard input
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
    /// Folder of the run whose network to ask
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Which of the run's weights to use
    #[arg(long, value_enum, default_value_t = Which::Best)]
    pub weights: Which,
    /// Print a JSON object for each image, one a line
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print a CSV table
    #[arg(long)]
    pub csv: bool,
    /// Average the probabilities of each image and of its mirror image
    #[arg(long)]
    pub tta: bool,
    /// Images at once on the device
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `evaluate` is told.
#[derive(Debug, Args)]
#[command(after_help = "Images that the network learned from are never counted, and each content is counted once.")]
pub struct EvaluateArgs {
    /// Folder of the run whose network to judge
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Folder of labelled images, laid out as for `train`; in it all images are judged, those in its train/ and val/ too
    /// [default: the validation images of the run]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Which folders name the classes, as for `train` [default: found out]
    #[arg(long, value_name = "N", requires = "data", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub class_level: Option<u8>,
    /// Where the photos of the run are now; with --data only for runs of older versions, which do not list what they learned from [default:
    /// where they were]
    #[arg(long, value_name = "DIR")]
    pub trained_on: Option<PathBuf>,
    /// Which of the run's weights to use
    #[arg(long, value_enum, default_value_t = Which::Best)]
    pub weights: Which,
    /// Average the probabilities of each image and of its mirror image
    #[arg(long)]
    pub tta: bool,
    /// Also write all figures as JSON; - prints them instead of the tables
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Also write a page with the figures and the reliability diagram; an older page is replaced
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Images at once on the device
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
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
    /// Where the photos of the run are now [default: where they were]; for an imported network, labelled images
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Images at once on the device
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// Folder for the results; must be new or empty [default: a new one below RUN]
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
    /// Which of the run's weights to use [default: last, but best where there are no others]. The validation images chose the best ones,
    /// so that figures from these images would flatter them; for networks of drawn images, new images are drawn
    #[arg(long, value_enum)]
    pub weights: Option<Which>,
    /// The most images to use
    #[arg(long, alias = "pictures", default_value_t = 2000)]
    pub images: usize,
    /// Decides folds, resamples, noise and fresh weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where the photos of the run are now [default: where they were]; for an imported network, labelled images
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Images at once on the device; also those whose statistics batch norm takes together after a reset
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(8..=1024))]
    pub batch: u16,
    /// Do not write the run's report.html anew at the end, as is done without --out
    #[arg(long)]
    pub no_report: bool,
    /// Folder for the results; must be new or empty [default: a new one below RUN]
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
    /// Where the photos of the run are now [default: where they were]; for an imported network, labelled images
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What the colours of feature maps span
    #[arg(long, value_enum, default_value_t)]
    pub scale: ScaleBy,
    /// The page; an older one is replaced [default: RUN/report.html]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Images at once on the device
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Options of `import`. What a file of convscope says itself is not said again.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Weights: a .safetensors file of convscope or PyTorch, or a state_dict of PyTorch (.pth, .pt)
    pub file: PathBuf,
    /// Folder for the run; must be new or empty [default: a new one in runs/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Network, as for `train`: a name, or a file [default: told by the names and shapes of the weights]
    #[arg(long, value_name = "NAME|FILE")]
    pub model: Option<ModelName>,
    /// Side of the square images that the network takes, in pixels
    #[arg(long)]
    pub size: Option<usize>,
    /// Stride of the convolutions, of the network that `train` trains by default
    #[arg(long)]
    pub stride: Option<usize>,
    /// Zero padding of these convolutions
    #[arg(long)]
    pub padding: Option<usize>,
    /// How colours, x of 0 to 1, became the numbers that the network learned from, (x - MEAN) / STD, as for `train`; with another one its
    /// predictions are off. torchvision's own weights need imagenet [default: half]
    #[arg(long, value_name = "half|imagenet|MEAN,STD")]
    pub normalize: Option<Normalize>,
    /// Scale the shorter side of images to N before the middle square of --size is cut out, as torchvision's Resize(N) and CenterCrop
    /// do: 256 for most of its own weights [default: to --size]
    #[arg(long, value_name = "N")]
    pub resize_crop: Option<u32>,
    /// Names of the classes, in the order of the network's outputs
    #[arg(long, value_name = "NAME,NAME,..", value_delimiter = ',')]
    pub classes: Vec<String>,
}

/// Options of `export`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("form").args(["safetensors", "torch", "onnx"]).required(true).multiple(true))]
pub struct ExportArgs {
    /// Folder of the run whose network to write
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Which of the run's weights to write
    #[arg(long, value_enum, default_value_t = Which::Best)]
    pub weights: Which,
    /// A file of the weights, with what convscope knows of the network
    #[arg(long, value_name = "FILE")]
    pub safetensors: Option<PathBuf>,
    /// A new folder with the weights, a script that builds the network in PyTorch, and examples that it is checked by
    #[arg(long, value_name = "DIR")]
    pub torch: Option<PathBuf>,
    /// A file of the network that evaluates images, with its weights
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
    /// On what to compute the logits of the examples.
    #[command(flatten)]
    pub device: DeviceArgs,
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
    /// Tiles of these kernels
    #[arg(long, value_enum, default_value_t)]
    pub tiles: TileChoice,
}

/// Which tiles the convolutions get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TileChoice {
    /// Those that `convscope bench tune` found to be the fastest on this adapter, where it was run; otherwise the rule's
    #[default]
    Measured,
    /// Those of the built-in rule
    Rule,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Beside an option that excludes the one it needs, the parser would let it pass in silence.
    #[test]
    fn an_option_is_refused_beside_what_excludes_the_one_that_it_needs() {
        for (command, options, others) in [
            (
                "train",
                &["--val=v", "--class-level=1", "--val-share=0.5"][..],
                &["--train-images=8", "--val-images=8"][..],
            ),
            ("depth", &["--val=v", "--class-level=1"], &["--images=8"]),
            ("train", &["--width=0.5"], &["--channels=8", "--hidden=8"]),
            ("depth", &["--width=0.5"], &["--channels=8"]),
            ("depth", &["--collect"], &["--resume=run", "--preview=file"]),
        ] {
            for (option, other) in options.iter().flat_map(|option| others.iter().map(move |other| (option, other))) {
                let error = Cli::try_parse_from(["convscope", command, option, other]).err();
                let error = error.unwrap_or_else(|| panic!("{option} is accepted beside {other}")).to_string();
                assert!(error.contains("cannot be used with"), "{error}");
            }
        }
    }

    #[test]
    fn every_set_of_kernels_can_be_chosen() {
        let kernels = |options: &[&str]| {
            let cli = Cli::try_parse_from(["convscope", "train"].iter().chain(options)).unwrap();
            let Command::Train(arguments) = cli.command else { unreachable!("the command is train") };
            arguments.device.kernels
        };
        assert_eq!(kernels(&[]), KernelChoice(None));
        for set in Kernels::value_variants() {
            assert_eq!(kernels(&[&format!("--kernels={set}")]), KernelChoice(Some(*set)));
        }
    }
}
