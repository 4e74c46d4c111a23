//! The options that choose a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Error, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::path_from_root;
use super::train::BATCH;
use crate::data::drawn;
use crate::nn::checkpoint::Meta;
use crate::nn::{Architecture, Head, Known, Name, Named, Network, Spec, SpecError, Strided};
use crate::reading::check_size;
use crate::train::check_batch;

/// The options of the default network, which no other has.
const OF_STRIDED: [&str; 7] = ["channels", "kernel", "stride", "padding", "dropout", "head", "hidden"];

/// Which network.
#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub struct ModelArgs {
    /// Side of the square that every image is cropped to, in pixels
    #[arg(long, default_value_t = drawn::SIZE)]
    pub size: usize,
    /// Network: lenet5, vgg11_bn, resnet18, mobilenet_v2 as torchvision has them, a TOML file that lists its layers, or a
    /// .safetensors file of convscope's weights, for the network that these are of
    /// [default: blocks of strided convolutions, which the options from --channels to --hidden describe]
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = OF_STRIDED)]
    pub model: Option<ModelName>,
    /// Times the channels of a network with a name, as 0.25 for a quarter of them [default: 1]
    #[arg(long, value_name = "FACTOR", requires = "model", conflicts_with_all = OF_STRIDED)]
    pub width: Option<f64>,
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
}

/// Options of `summary`.
#[derive(Args, Debug)]
pub struct SummaryArgs {
    /// Which network.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Classes that the network tells apart [default: 2; a file says it itself]
    #[arg(long, value_name = "N")]
    pub classes: Option<usize>,
    /// Images a training step
    #[arg(long, default_value_t = BATCH)]
    pub batch: usize,
}

impl SummaryArgs {
    /// The network.
    ///
    /// # Errors
    /// When there is no such network, naming the options.
    pub fn network(&self) -> Result<Network> {
        self.model.check()?;
        check_batch(self.batch).map_err(|error| error.typed())?;
        let architecture = self.model.architecture(self.classes.unwrap_or(2));
        self.classes.map_or_else(|| network(&architecture), |classes| built(&architecture, classes))
    }
}

/// What `--model` names.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelName {
    /// A known network.
    Known(Name),
    /// The layers that a file lists.
    File {
        /// The file.
        path: PathBuf,
        /// The list as TOML.
        text: String,
        /// The layers.
        layers: Vec<Named>,
    },
}

/// What the file of a network holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    layers: Vec<Named>,
}

impl FromStr for ModelName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(name) = Name::from_str(text, false) {
            return Ok(Self::Known(name));
        }
        let path = Path::new(text);
        let names = Name::value_variants().iter().filter_map(Name::to_possible_value);
        let names = names.map(|name| name.get_name().to_string()).collect::<Vec<_>>().join(", ");
        let content = fs::read(path)
            .map_err(|error| format!("cannot be read ({error}): expected {names}, or a TOML file that lists layers"))?;
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let spec = Meta::from_bytes(&content).map_err(|error| error.to_string())?.architecture.spec();
            let file = File { layers: spec.map_err(|error| error.to_string())?.layers };
            let text = toml::to_string(&file).map_err(|error| error.to_string())?;
            return Ok(Self::File { path: path.to_path_buf(), text, layers: file.layers });
        }
        let text =
            String::from_utf8(content).map_err(|_| "is no text: expected a TOML file that lists layers".to_string())?;
        check_size(text.as_bytes()).map_err(|error| error.to_string())?;
        let File { layers } = toml::from_str(&text).map_err(|error| format!("\n{error}"))?;
        Ok(Self::File { path: path.to_path_buf(), text, layers })
    }
}

impl ModelArgs {
    /// The network, for so many classes.
    pub fn architecture(&self, classes: usize) -> Architecture {
        let input = [3, self.size, self.size];
        match &self.model {
            Some(ModelName::Known(name)) => {
                Architecture::Known(Known { name: *name, input, width: self.width.unwrap_or(1.0), classes })
            }
            Some(ModelName::File { layers, .. }) => Architecture::Listed(Spec { input, layers: layers.clone() }),
            None => Architecture::Strided(Strided {
                input,
                channels: self.channels.clone(),
                kernel: self.kernel,
                stride: self.stride,
                padding: self.padding,
                dropout: self.dropout,
                head: self.head,
                hidden: self.hidden,
                classes,
            }),
        }
    }

    /// The file that lists its layers, from the root on.
    pub fn file(&self) -> Option<String> {
        match &self.model {
            Some(ModelName::File { path, .. }) => Some(path_from_root(path)),
            Some(ModelName::Known(_)) | None => None,
        }
    }

    /// Checks the options against one another.
    ///
    /// # Errors
    /// When a file's network is to have a width.
    pub fn check(&self) -> Result<()> {
        if let (Some(width), Some(ModelName::File { path, .. })) = (self.width, &self.model) {
            bail!(
                "--width {width}: only a network with a name has one; {} says how wide its layers are",
                path.display()
            );
        }
        Ok(())
    }
}

/// The network that the options describe.
///
/// # Errors
/// When there is none, naming the options.
pub(super) fn network(architecture: &Architecture) -> Result<Network> {
    architecture.build().map_err(|error| typed(architecture, &error))
}

/// The same, where it is to tell so many classes apart.
///
/// # Errors
/// When it does not, too.
pub fn built(architecture: &Architecture, classes: usize) -> Result<Network> {
    let network = network(architecture)?;
    let made = network.classes();
    if made != classes {
        bail!(
            "--model: the last layer has {made} out_features, but there are {classes} classes: write {classes} there"
        );
    }
    Ok(network)
}

/// Checks a network's geometry, and whether it can learn from so many images a step.
///
/// # Errors
/// When it cannot, naming the options.
pub(super) fn check_geometry(architecture: &Architecture, batch: usize) -> Result<()> {
    check_batch(batch).map_err(|error| error.typed())?;
    if batch < network(architecture)?.least_batch() {
        bail!("--batch {batch}: batch norm cannot learn from one map of 1 x 1: raise --batch or --size");
    }
    Ok(())
}

/// The message about a network that was typed.
fn typed(architecture: &Architecture, error: &SpecError) -> Error {
    let strided = matches!(architecture, Architecture::Strided(_));
    let remedy = match error {
        SpecError::OutOfRange { field: "input", value, expected } => {
            return anyhow!("--size {value}: expected {expected}");
        }
        SpecError::OutOfRange { .. } => return anyhow!("--{error}"),
        SpecError::TooSmall { .. } if strided => {
            ": raise --size or --padding, or lower --stride, --kernel or the number of --channels"
        }
        SpecError::TooManyTerms { place, .. } if strided && place.starts_with("Linear") => {
            ": use --head avgpool, a smaller --size or more blocks"
        }
        SpecError::TooManyTerms { place, .. } if strided && place.starts_with("Conv2d") => {
            ": lower --kernel or --channels"
        }
        SpecError::TooManyTerms { .. } if strided => ": lower --size, or raise --stride or the number of --channels",
        SpecError::TooSmall { .. } => ": raise --size",
        SpecError::TooManyTerms { .. } => ": lower --size",
        SpecError::Layer { .. } | SpecError::Classes(_) => "",
    };
    anyhow!("{error}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checkpoint::Checkpoint;

    /// The network that a text describes, for images of 64 pixels.
    fn listed(text: &str) -> Result<Network, String> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("model.toml");
        fs::write(&file, text).expect("a temporary file can be written");
        let ModelName::File { layers, .. } = file.to_str().expect("its name is UTF-8").parse()? else {
            unreachable!("it is a file")
        };
        Spec { input: [3, 64, 64], layers }.build().map_err(|error| error.to_string())
    }

    /// The example that the documentation gives.
    fn example() -> &'static str {
        let text = include_str!("../../docs/networks.md");
        let (_, after) = text.split_once("```toml\n").expect("there is an example");
        after.split_once("```").expect("it ends").0
    }

    #[test]
    fn the_example_of_the_documentation_is_a_network() {
        let network = listed(example()).unwrap();
        assert_eq!((network.classes(), network.blocks().len()), (2, 2));
        assert_eq!(network.blocks().iter().map(|block| block.output).collect::<Vec<_>>(), [[16, 32, 32], [32, 16, 16]]);
        let keys: Vec<_> = network.parameters().into_iter().map(|parameter| parameter.name).collect();
        assert_eq!(keys[..4], ["0.weight", "1.weight", "1.bias", "4.0.weight"]);
    }

    /// Whatever is wrong with a layer, however deep it lies, the error shows its line, and no other's.
    #[test]
    fn an_error_names_the_line_of_its_layer() {
        let tables = "[[layers]]\ntype = \"ReLU\"\n\n[[layers]]\ntype = \"MaxPool2d\"\n";
        let error = listed(tables).unwrap_err();
        assert!(error.contains("at line 4,") && error.contains("MaxPool2d needs kernel_size"), "{error}");

        let lines: Vec<&str> = example().lines().collect();
        let layers = (0..lines.len()).filter(|&number| lines[number].contains("type = "));
        let mut seen = 0;
        for (number, wrong) in layers.flat_map(|number| {
            ["\"Conv\"", "\"Identity\", p = 0.5, stride = 2", "5", "\"ReLU\", colour = 1"].map(|wrong| (number, wrong))
        }) {
            let (before, after) = lines[number].split_once("type = ").unwrap();
            let (kind, rest) = after.split_at(after[1..].find('"').unwrap() + 2);
            let mut changed = lines.clone();
            let line = format!("{before}type = {wrong}{rest}");
            changed[number] = &line;
            let error = listed(&changed.join("\n")).unwrap_err();
            assert!(error.contains(&format!("at line {},", number + 1)), "{kind} to {wrong}: {error}");
            seen += 1;
        }
        assert_eq!(seen, 4 * 13, "of every layer of the example");
    }

    /// Whatever network weights are of, its layers come back, by way of the TOML that a run keeps, with the same keys.
    #[test]
    fn weights_name_their_network() {
        let folder = tempfile::tempdir().unwrap();
        let known = |name| Architecture::Known(Known { name, input: [3, 64, 64], width: 0.25, classes: 3 });
        let mut networks: Vec<Architecture> = Name::value_variants().iter().map(|&name| known(name)).collect();
        networks.push(Strided::dogs_vs_cats(64, 3).into());
        for architecture in networks {
            let classes = ["a", "b", "c"].map(String::from).to_vec();
            let meta = Meta {
                architecture,
                classes,
                preparation: Default::default(),
                epoch: 1,
                drawn: false,
                made_by: None,
                val_loss: None,
            };
            let file = folder.path().join("weights.safetensors");
            fs::write(&file, Checkpoint::initial(meta.clone()).to_bytes()).unwrap();
            let ModelName::File { text, layers, .. } = file.to_str().unwrap().parse().unwrap() else {
                unreachable!("it is a file")
            };
            assert_eq!(layers, meta.architecture.spec().unwrap().layers);
            let File { layers } = toml::from_str(&text).unwrap();
            let again = Spec { input: [3, 64, 64], layers }.build().unwrap();
            assert_eq!(again.parameters(), meta.network().unwrap().parameters());
        }
        let file = folder.path().join("other.safetensors");
        fs::write(&file, "no weights").unwrap();
        assert!(file.to_str().unwrap().parse::<ModelName>().is_err());
    }

    #[test]
    fn a_wrong_file_is_refused_with_line_and_layer() {
        for (from, to, told) in [
            ("\"MaxPool2d\"", "\"MaxPool\"", "type \"MaxPool\": expected Conv2d"),
            ("kernel_size = 2", "kernel = 2", "unknown field `kernel`"),
            ("kernel_size = 2 ", "", "MaxPool2d needs kernel_size"),
            ("\"Flatten\"", "\"Flatten\", p = 0.5", "Flatten has no p"),
            ("out_channels = 16", "out_channels = -16", "line 2"),
            ("out_channels = 16", "out_channels = 0", "Conv2d 0 of block 1: out_channels 0"),
            (
                "kernel_size = 1, stride = 2",
                "kernel_size = 1",
                "Add 4 of block 2: the path makes 32 maps of 16 x 16, the shortcut 32 maps of 32 x 32",
            ),
            ("{ type = \"Linear\", out_features = 2 },", "", "the last layer: expected Linear"),
            ("layers = [", "layer = [", "unknown field `layer`"),
        ] {
            assert!(example().contains(from), "{from}");
            let error = listed(&example().replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(told), "{to}: {error}");
        }
        assert!(
            "resnet".parse::<ModelName>().unwrap_err().contains("expected lenet5, vgg11_bn, resnet18, mobilenet_v2")
        );
    }
}
