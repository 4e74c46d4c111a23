//! Known networks, and how one is chosen.

use std::fmt;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::network::Network;
use super::spec::{Layer, Named, Op, Spec, SpecError};
use crate::nn::checkpoint::field_problem;

/// A network as it was chosen: by the options of blocks, by name, or as a list of layers. Files keep it like that.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Architecture {
    /// Blocks of strided convolutions.
    Strided(Strided),
    /// A network with a name.
    Known(Known),
    /// A list of layers.
    Listed(Spec),
}

/// What stands between the last block and the linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "native", derive(clap::ValueEnum))]
pub enum Head {
    /// `AdaptiveAvgPool2d(1), Flatten`: the mean of each map.
    #[cfg_attr(feature = "native", value(name = "avgpool"))]
    AvgPool,
    /// `Flatten`: every value of every map.
    Flatten,
}

/// A network of blocks `Conv2d(bias=False), BatchNorm2d, ReLU, Dropout2d`, then the head, `Linear(.., hidden)` and
/// `Linear(hidden, classes)`; before them an `Identity`, so that the first convolution is module 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strided {
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// Output channels of each block.
    pub channels: Vec<usize>,
    /// Height and width of the filters.
    pub kernel: usize,
    /// Stride of the convolutions.
    pub stride: usize,
    /// Zero padding of the convolutions on every side.
    pub padding: usize,
    /// Probability to drop a channel in training.
    pub dropout: f32,
    /// What stands between the last block and the linear layers.
    pub head: Head,
    /// Outputs of the first linear layer.
    pub hidden: usize,
    /// Outputs of the second.
    pub classes: usize,
}

/// A network known by name, for so many classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its name.
    pub name: Name,
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// Times the channels of every layer that it is known with.
    pub width: f64,
    /// Numbers that its last layer makes.
    pub classes: usize,
}

/// Names of networks, those of torchvision where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "native", derive(clap::ValueEnum))]
#[cfg_attr(feature = "native", value(rename_all = "snake_case"))]
pub enum Name {
    /// LeNet-5 with ReLU and max pooling: two convolutions and three linear layers (LeCun et al., 1998).
    #[serde(rename = "lenet5")]
    #[cfg_attr(feature = "native", value(name = "lenet5"))]
    LeNet5,
    /// VGG with eight convolutions and batch norm (Simonyan and Zisserman, 2014).
    #[serde(rename = "vgg11_bn")]
    #[cfg_attr(feature = "native", value(name = "vgg11_bn"))]
    Vgg11Bn,
    /// A residual network of eight blocks (He et al., 2015).
    #[serde(rename = "resnet18")]
    #[cfg_attr(feature = "native", value(name = "resnet18"))]
    ResNet18,
    /// Inverted residual blocks of depthwise convolutions (Sandler et al., 2018).
    #[serde(rename = "mobilenet_v2")]
    #[cfg_attr(feature = "native", value(name = "mobilenet_v2"))]
    MobileNetV2,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeNet5 => "lenet5",
            Self::Vgg11Bn => "vgg11_bn",
            Self::ResNet18 => "resnet18",
            Self::MobileNetV2 => "mobilenet_v2",
        })
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, width, .. } = self;
        if *width == 1.0 { write!(f, "{name}") } else { write!(f, "{name} with {width} times the channels") }
    }
}

impl From<Strided> for Architecture {
    fn from(strided: Strided) -> Self {
        Self::Strided(strided)
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(fields: D) -> Result<Self, D::Error> {
        fn of<T: DeserializeOwned>(fields: Value) -> Result<T, String> {
            serde_path_to_error::deserialize(fields).map_err(|error| field_problem(&error))
        }
        let fields = Value::deserialize(fields)?;
        let found = if fields.get("layers").is_some() {
            of(fields).map(Self::Listed)
        } else if fields.get("name").is_some() {
            of(fields).map(Self::Known)
        } else {
            of(fields).map(Self::Strided)
        };
        found.map_err(D::Error::custom)
    }
}

impl Architecture {
    /// Its layers.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn spec(&self) -> Result<Spec, SpecError> {
        match self {
            Self::Strided(strided) => strided.spec(),
            Self::Known(known) => known.spec(),
            Self::Listed(spec) => Ok(spec.clone()),
        }
    }

    /// The network, checked.
    ///
    /// # Errors
    /// As [`Spec::build`].
    pub fn build(&self) -> Result<Network, SpecError> {
        self.spec()?.build()
    }

    /// How many classes it is to tell apart.
    pub fn classes(&self) -> usize {
        match self {
            Self::Strided(Strided { classes, .. }) | Self::Known(Known { classes, .. }) => *classes,
            Self::Listed(spec) => spec.build().map_or(0, |network| network.classes()),
        }
    }

    /// What it is known as, if it has a name: "resnet18 with 0.25 times the channels".
    pub fn known_as(&self) -> Option<String> {
        match self {
            Self::Known(known) => Some(known.to_string()),
            Self::Strided(_) | Self::Listed(_) => None,
        }
    }

    /// How many blocks it has.
    ///
    /// # Errors
    /// As [`Spec::build`]; never for strided blocks, of which the first may be possible where all are not.
    pub fn blocks(&self) -> Result<usize, SpecError> {
        match self {
            Self::Strided(strided) => Ok(strided.channels.len()),
            Self::Known(_) | Self::Listed(_) => Ok(self.build()?.blocks().len()),
        }
    }

    /// The same with its first blocks only.
    ///
    /// # Errors
    /// As [`Spec::build`], of the whole network.
    pub fn first_blocks(&self, count: usize) -> Result<Self, SpecError> {
        if let Self::Strided(strided) = self {
            let channels = strided.channels.iter().take(count).copied().collect();
            return Ok(Strided { channels, ..strided.clone() }.into());
        }
        Ok(Self::Listed(self.spec()?.with_blocks(|number| number <= count)?))
    }

    /// The same without one block, counted from 1.
    ///
    /// # Errors
    /// As [`Spec::build`], of the whole network.
    pub fn without_block(&self, left_out: usize) -> Result<Self, SpecError> {
        if let Self::Strided(strided) = self {
            let channels = (1..).zip(&strided.channels).filter(|&(number, _)| number != left_out);
            let channels = channels.map(|(_, &channels)| channels).collect();
            return Ok(Strided { channels, ..strided.clone() }.into());
        }
        Ok(Self::Listed(self.spec()?.with_blocks(|number| number != left_out)?))
    }

    /// Channels, height and width of an image.
    pub fn input(&self) -> [usize; 3] {
        match self {
            Self::Strided(Strided { input, .. })
            | Self::Known(Known { input, .. })
            | Self::Listed(Spec { input, .. }) => *input,
        }
    }
}

impl Strided {
    /// The network of dogs against cats: five blocks of 16 to 256 channels, filters of 3 x 3, stride 2, dropout 0.1,
    /// average pooling, 64 hidden values; for square images of `size` pixels.
    pub fn dogs_vs_cats(size: usize, classes: usize) -> Self {
        Self {
            input: [3, size, size],
            channels: vec![16, 32, 64, 128, 256],
            kernel: 3,
            stride: 2,
            padding: 0,
            dropout: 0.1,
            head: Head::AvgPool,
            hidden: 64,
            classes,
        }
    }

    /// Its layers.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn spec(&self) -> Result<Spec, SpecError> {
        self.check()?;
        let block = |&out_channels: &usize| {
            let Self { kernel: kernel_size, stride, padding, dropout: p, .. } = *self;
            let conv = Op::Conv2d { out_channels, kernel_size, stride, padding, groups: 1, bias: false };
            [conv, Op::BatchNorm2d, Op::ReLU, Op::Dropout2d { p }]
        };
        let head: &[Op] = match self.head {
            Head::AvgPool => &[Op::AdaptiveAvgPool2d { output_size: [1, 1] }, Op::Flatten],
            Head::Flatten => &[Op::Flatten],
        };
        let linear = [self.hidden, self.classes].map(|out_features| Op::Linear { out_features });
        let ops = [Op::Identity].into_iter().chain(self.channels.iter().flat_map(block)).chain(head.iter().copied());
        Ok(Spec { input: self.input, layers: ops.chain(linear).map(Named::from).collect() })
    }

    /// The network, checked.
    ///
    /// # Errors
    /// As [`Spec::build`].
    pub fn build(&self) -> Result<Network, SpecError> {
        self.spec()?.build()
    }

    /// Checks the numbers whose ranges are this form's own; the layers check the others.
    fn check(&self) -> Result<(), SpecError> {
        let check = |good: bool, field, value: &dyn std::fmt::Display, expected| {
            if good { Ok(()) } else { Err(SpecError::OutOfRange { field, value: value.to_string(), expected }) }
        };
        let listed = self.channels.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let channels = &self.channels;
        check((1..=10).contains(&channels.len()), "channels", &listed, "1 to 10 numbers, one for each block")?;
        let in_range = channels.iter().all(|channels| (1..=8192).contains(channels));
        check(in_range, "channels", &listed, "1 to 8192 channels in each block")?;
        check((1..=31).contains(&self.kernel), "kernel", &self.kernel, "1 to 31")?;
        check((1..=16).contains(&self.stride), "stride", &self.stride, "1 to 16")?;
        check(self.padding < self.kernel, "padding", &self.padding, "less than the kernel")?;
        check((0.0..1.0).contains(&self.dropout), "dropout", &self.dropout, "at least 0 and less than 1")?;
        check((1..=65536).contains(&self.hidden), "hidden", &self.hidden, "1 to 65536")?;
        if (2..=20_000).contains(&self.classes) { Ok(()) } else { Err(SpecError::Classes(self.classes)) }
    }
}

impl Known {
    /// Its layers, with torchvision's names.
    ///
    /// # Errors
    /// When the width or the number of classes is out of range.
    pub fn spec(&self) -> Result<Spec, SpecError> {
        if !(self.width > 0.0 && self.width <= 8.0) {
            let expected = "more than 0 and at most 8";
            return Err(SpecError::OutOfRange { field: "width", value: self.width.to_string(), expected });
        }
        if !(2..=20_000).contains(&self.classes) {
            return Err(SpecError::Classes(self.classes));
        }
        let layers = match self.name {
            Name::LeNet5 => self.lenet5(),
            Name::Vgg11Bn => self.vgg11_bn(),
            Name::ResNet18 => self.resnet18(),
            Name::MobileNetV2 => self.mobilenet_v2(),
        };
        Ok(Spec { input: self.input, layers })
    }

    fn channels(&self, known: usize) -> usize {
        (known as f64 * self.width).round().max(1.0) as usize
    }

    /// Channels of MobileNet: a multiple of 8 that loses no more than a tenth, as in torchvision's `_make_divisible`.
    fn channels_by_8(&self, known: usize) -> usize {
        let wanted = known as f64 * self.width;
        let rounded = (((wanted + 4.0) / 8.0).floor() * 8.0).max(8.0);
        (if rounded < 0.9 * wanted { rounded + 8.0 } else { rounded }) as usize
    }

    fn linear(&self, out_features: usize) -> Op {
        Op::Linear { out_features }
    }

    /// Keys 0, 3, 7, 9 and 11: the numbers of an `nn.Sequential`.
    fn lenet5(&self) -> Vec<Named> {
        let conv = |channels| Op::Conv2d {
            out_channels: self.channels(channels),
            kernel_size: 5,
            stride: 1,
            padding: 0,
            groups: 1,
            bias: true,
        };
        let pool = Op::MaxPool2d { kernel_size: 2, stride: 2, padding: 0 };
        let features = [conv(6), Op::ReLU, pool, conv(16), Op::ReLU, pool, Op::Flatten];
        let (first, second) = (self.linear(self.channels(120)), self.linear(self.channels(84)));
        let classifier = [first, Op::ReLU, second, Op::ReLU, self.linear(self.classes)];
        features.into_iter().chain(classifier).map(Named::from).collect()
    }

    fn vgg11_bn(&self) -> Vec<Named> {
        let pool = Op::MaxPool2d { kernel_size: 2, stride: 2, padding: 0 };
        let mut features = Vec::new();
        for stage in [&[64][..], &[128], &[256, 256], &[512, 512], &[512, 512]] {
            for &channels in stage {
                let out_channels = self.channels(channels);
                let conv = Op::Conv2d { out_channels, kernel_size: 3, stride: 1, padding: 1, groups: 1, bias: true };
                features.extend([conv, Op::BatchNorm2d, Op::ReLU]);
            }
            features.push(pool);
        }
        let wide = self.linear(self.channels(4096));
        let dropout = Op::Dropout { p: 0.5 };
        let classifier = [wide, Op::ReLU, dropout, wide, Op::ReLU, dropout, self.linear(self.classes)];
        vec![
            Named::new("features", sequential(features)),
            Named::new("avgpool", Op::AdaptiveAvgPool2d { output_size: [7, 7] }),
            Named::new("flatten", Op::Flatten),
            Named::new("classifier", sequential(classifier)),
        ]
    }

    fn resnet18(&self) -> Vec<Named> {
        let stem = Op::Conv2d {
            out_channels: self.channels(64),
            kernel_size: 7,
            stride: 2,
            padding: 3,
            groups: 1,
            bias: false,
        };
        let mut layers = vec![
            Named::new("conv1", stem),
            Named::new("bn1", Op::BatchNorm2d),
            Named::new("relu", Op::ReLU),
            Named::new("maxpool", Op::MaxPool2d { kernel_size: 3, stride: 2, padding: 1 }),
        ];
        for (number, (channels, stride)) in (1..).zip([(64, 1), (128, 2), (256, 2), (512, 2)]) {
            let out_channels = self.channels(channels);
            let blocks = [stride, 1].map(|stride| Named::from(basic_block(out_channels, stride)));
            layers.push(Named::new(format!("layer{number}"), sequential(blocks)));
        }
        layers.extend([
            Named::new("avgpool", Op::AdaptiveAvgPool2d { output_size: [1, 1] }),
            Named::new("flatten", Op::Flatten),
            Named::new("fc", self.linear(self.classes)),
        ]);
        layers
    }

    fn mobilenet_v2(&self) -> Vec<Named> {
        let first = self.channels_by_8(32);
        let mut features: Vec<Named> =
            vec![Layer::Sequential { layers: conv_norm_relu6(first, 3, 2, 1), block: true }.into()];
        let mut inputs = first;
        // Expansion, channels, blocks, stride of the first: table 2 of the paper.
        let stages =
            [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
        for (expansion, channels, blocks, stride) in stages {
            let outputs = self.channels_by_8(channels);
            for block in 0..blocks {
                let stride = if block == 0 { stride } else { 1 };
                features.push(inverted_residual(inputs, outputs, expansion, stride).into());
                inputs = outputs;
            }
        }
        // The last layer's channels are not narrowed, as in torchvision.
        let last = if self.width > 1.0 { self.channels_by_8(1280) } else { 1280 };
        features.push(Layer::Sequential { layers: conv_norm_relu6(last, 1, 1, 1), block: true }.into());
        vec![
            Named::new("features", Layer::Sequential { layers: features, block: false }),
            Named::new("avgpool", Op::AdaptiveAvgPool2d { output_size: [1, 1] }),
            Named::new("flatten", Op::Flatten),
            Named::new("classifier", sequential([Op::Dropout { p: 0.2 }, self.linear(self.classes)])),
        ]
    }
}

fn sequential<L: Into<Named>>(layers: impl IntoIterator<Item = L>) -> Layer {
    Layer::Sequential { layers: layers.into_iter().map(Into::into).collect(), block: false }
}

/// Two convolutions with a shortcut around them, and the ReLU behind their sum. A stride other than 1 comes with a change of
/// channels, and so with a convolution in the shortcut.
fn basic_block(channels: usize, stride: usize) -> Layer {
    let conv = |kernel_size: usize, stride: usize| Op::Conv2d {
        out_channels: channels,
        kernel_size,
        stride,
        padding: kernel_size / 2,
        groups: 1,
        bias: false,
    };
    let path = vec![
        Named::new("conv1", conv(3, stride)),
        Named::new("bn1", Op::BatchNorm2d),
        Named::new("relu", Op::ReLU),
        Named::new("conv2", conv(3, 1)),
        Named::new("bn2", Op::BatchNorm2d),
    ];
    let downsample = || Named::new("downsample", sequential([conv(1, stride), Op::BatchNorm2d]));
    let shortcut = if stride == 1 { Vec::new() } else { vec![downsample()] };
    sequential([Named::new("", Layer::Residual { path, shortcut }), Named::new("relu", Op::ReLU)])
}

/// `Conv2d, BatchNorm2d, ReLU6`; depthwise where `groups` is more than 1.
fn conv_norm_relu6(out_channels: usize, kernel_size: usize, stride: usize, groups: usize) -> Vec<Named> {
    let conv = Op::Conv2d { out_channels, kernel_size, stride, padding: kernel_size / 2, groups, bias: false };
    [conv, Op::BatchNorm2d, Op::ReLU6].map(Named::from).into()
}

/// More channels, a depthwise convolution, fewer channels; with the input added where it is as large.
fn inverted_residual(inputs: usize, outputs: usize, expansion: usize, stride: usize) -> Layer {
    let hidden = inputs * expansion;
    let mut path: Vec<Named> = Vec::new();
    if expansion > 1 {
        path.push(sequential(conv_norm_relu6(hidden, 1, 1, 1)).into());
    }
    path.push(sequential(conv_norm_relu6(hidden, 3, stride, hidden)).into());
    path.extend([Op::conv(outputs, 1, 0), Op::BatchNorm2d].map(Named::from));
    let path = vec![Named::new("conv", sequential(path))];
    if stride == 1 && inputs == outputs {
        sequential([Named::new("", Layer::Residual { path, shortcut: Vec::new() })])
    } else {
        Layer::Sequential { layers: path, block: true }
    }
}
