//! What a network is: a list of layers in PyTorch's terms.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A network: the size of its images, and its layers in the order in which they follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// The layers.
    pub layers: Vec<Named>,
}

/// A layer and its name, which its weights' keys in PyTorch's `state_dict` begin with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "Entry")]
pub struct Named {
    /// Its name: its place in the list if it has none, as in PyTorch's `nn.Sequential`; in a shortcut, its place behind the layers of
    /// the path. An empty one stands in no key, as where a module holds its layers itself.
    pub name: Option<String>,
    /// What it does.
    pub layer: Layer,
}

impl Named {
    /// A layer with its name.
    pub fn new(name: impl Into<String>, layer: impl Into<Layer>) -> Self {
        Self { name: Some(name.into()), layer: layer.into() }
    }
}

impl<L: Into<Layer>> From<L> for Named {
    fn from(layer: L) -> Self {
        Self { name: None, layer: layer.into() }
    }
}

/// A layer, or several that stand together.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// One operation.
    Op(Op),
    /// Layers that follow one another.
    Sequential {
        /// The layers.
        layers: Vec<Named>,
        /// Whether they count as one block together, however many convolutions they hold.
        block: bool,
    },
    /// The sum of what a path and a shortcut make of the same input. It counts as one block, with the layers that follow.
    Residual {
        /// The layers of the path.
        path: Vec<Named>,
        /// The layers of the shortcut: none where the input itself is added.
        shortcut: Vec<Named>,
    },
}

impl From<Op> for Layer {
    fn from(op: Op) -> Self {
        Self::Op(op)
    }
}

/// One operation, under PyTorch's name and with PyTorch's options; what is not said is PyTorch's default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// Convolution with square filters.
    Conv2d {
        /// Channels that it makes.
        out_channels: usize,
        /// Height and width of the filters.
        kernel_size: usize,
        /// Rows, and columns, from one place of the filters to the next.
        stride: usize,
        /// Rows and columns of zeros on every side.
        padding: usize,
        /// 1, or the number of channels: then each channel has a filter of its own (depthwise).
        groups: usize,
        /// Whether a number is added to each channel.
        bias: bool,
    },
    /// Batch normalisation with `eps = 1e-5`, `momentum = 0.1`, a trained factor and offset, and running statistics.
    BatchNorm2d,
    /// `max(x, 0)`.
    ReLU,
    /// `min(max(x, 0), 6)`.
    ReLU6,
    /// Drops single values in training.
    Dropout {
        /// With this probability.
        p: f32,
    },
    /// Drops whole channels in training.
    Dropout2d {
        /// With this probability.
        p: f32,
    },
    /// The largest value of each window.
    MaxPool2d {
        /// Height and width of a window.
        kernel_size: usize,
        /// Rows, and columns, from one window to the next.
        stride: usize,
        /// Rows and columns, on every side, that a window may reach beyond the map.
        padding: usize,
    },
    /// The mean of each window; zeros beyond the edge count.
    AvgPool2d {
        /// Height and width of a window.
        kernel_size: usize,
        /// Rows, and columns, from one window to the next.
        stride: usize,
        /// Rows and columns of zeros on every side.
        padding: usize,
    },
    /// Means over windows that divide the map evenly.
    AdaptiveAvgPool2d {
        /// Height and width of what it makes.
        output_size: [usize; 2],
    },
    /// Maps become one vector.
    Flatten,
    /// `x W^T + b`, always with `b`.
    Linear {
        /// Numbers that it makes.
        out_features: usize,
    },
    /// Nothing.
    Identity,
    /// The sum of two values. A [`Layer::Residual`] makes it; it stands in no list of layers.
    Add,
}

impl Op {
    /// A convolution without bias of stride 1 that is not depthwise.
    pub fn conv(out_channels: usize, kernel_size: usize, padding: usize) -> Self {
        Self::Conv2d { out_channels, kernel_size, stride: 1, padding, groups: 1, bias: false }
    }

    /// The same with nothing added at the edges.
    pub(super) fn without_padding(mut self) -> Self {
        if let Self::Conv2d { padding, .. } | Self::MaxPool2d { padding, .. } | Self::AvgPool2d { padding, .. } =
            &mut self
        {
            *padding = 0;
        }
        self
    }

    /// PyTorch's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "Conv2d",
            Self::BatchNorm2d => "BatchNorm2d",
            Self::ReLU => "ReLU",
            Self::ReLU6 => "ReLU6",
            Self::Dropout { .. } => "Dropout",
            Self::Dropout2d { .. } => "Dropout2d",
            Self::MaxPool2d { .. } => "MaxPool2d",
            Self::AvgPool2d { .. } => "AvgPool2d",
            Self::AdaptiveAvgPool2d { .. } => "AdaptiveAvgPool2d",
            Self::Flatten => "Flatten",
            Self::Linear { .. } => "Linear",
            Self::Identity => "Identity",
            Self::Add => "Add",
        }
    }
}

/// Why a network cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// A number is out of its range.
    #[error("{field} {value}: expected {expected}")]
    OutOfRange {
        /// Its name.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A map is too small for the windows or filters that are to be laid on it.
    #[error(
        "{place} would get maps of {height} x {width} values, too small for its {kernel} x {kernel} {what} with padding {padding}"
    )]
    TooSmall {
        /// Which layer.
        place: String,
        /// Filters or windows.
        what: &'static str,
        /// Height of its input.
        height: usize,
        /// Width of its input.
        width: usize,
        /// Height and width of a filter or window.
        kernel: usize,
        /// Its padding.
        padding: usize,
    },
    /// An output would add up more terms than a kernel can take.
    #[error("{place} would have to add up {terms} terms at once, more than {most}")]
    TooManyTerms {
        /// Which layer.
        place: String,
        /// Turns of the kernel's loops.
        terms: usize,
        /// The most that there may be.
        most: usize,
    },
    /// A layer cannot stand where it stands, or not as it is.
    #[error("{place}: {problem}")]
    Layer {
        /// Which layer.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// The data has too few or too many classes.
    #[error("{0} classes: expected 2 to 20000")]
    Classes(usize),
}

/// A layer as a file writes it: a table with its type, and the options of that type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_channels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stride: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_size: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_features: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Named>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shortcut: Option<Vec<Named>>,
}

/// Height and width, or one number for both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Size {
    Both(usize),
    Each([usize; 2]),
}

impl<'de> Deserialize<'de> for Named {
    /// The layer is made while its table is being read, so that an error is told with the place of that table.
    fn deserialize<D: Deserializer<'de>>(table: D) -> Result<Self, D::Error> {
        struct Table;

        impl<'de> Visitor<'de> for Table {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a layer, as { type = \"ReLU\" }")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Named, A::Error> {
                Entry::deserialize(MapAccessDeserializer::new(fields))?.try_into().map_err(A::Error::custom)
            }
        }

        table.deserialize_map(Table)
    }
}

impl TryFrom<Entry> for Named {
    type Error = String;

    fn try_from(mut entry: Entry) -> Result<Self, String> {
        let kind = std::mem::take(&mut entry.kind);
        let name = entry.name.take();
        let needed = |field: &str| format!("{kind} needs {field}");
        let kernel_size = |entry: &mut Entry| entry.kernel_size.take().ok_or_else(|| needed("kernel_size"));
        let layer = match kind.as_str() {
            "Conv2d" => Op::Conv2d {
                out_channels: entry.out_channels.take().ok_or_else(|| needed("out_channels"))?,
                kernel_size: kernel_size(&mut entry)?,
                stride: entry.stride.take().unwrap_or(1),
                padding: entry.padding.take().unwrap_or(0),
                groups: entry.groups.take().unwrap_or(1),
                bias: entry.bias.take().unwrap_or(true),
            }
            .into(),
            "BatchNorm2d" => Op::BatchNorm2d.into(),
            "ReLU" => Op::ReLU.into(),
            "ReLU6" => Op::ReLU6.into(),
            "Dropout" => Op::Dropout { p: entry.p.take().unwrap_or(0.5) }.into(),
            "Dropout2d" => Op::Dropout2d { p: entry.p.take().unwrap_or(0.5) }.into(),
            "MaxPool2d" | "AvgPool2d" => {
                let kernel_size = kernel_size(&mut entry)?;
                let stride = entry.stride.take().unwrap_or(kernel_size);
                let padding = entry.padding.take().unwrap_or(0);
                if kind == "MaxPool2d" {
                    Op::MaxPool2d { kernel_size, stride, padding }.into()
                } else {
                    Op::AvgPool2d { kernel_size, stride, padding }.into()
                }
            }
            "AdaptiveAvgPool2d" => {
                let output_size = match entry.output_size.take().ok_or_else(|| needed("output_size"))? {
                    Size::Both(size) => [size; 2],
                    Size::Each(sizes) => sizes,
                };
                Op::AdaptiveAvgPool2d { output_size }.into()
            }
            "Flatten" => Op::Flatten.into(),
            "Linear" => {
                Op::Linear { out_features: entry.out_features.take().ok_or_else(|| needed("out_features"))? }.into()
            }
            "Identity" => Op::Identity.into(),
            "Sequential" => Layer::Sequential {
                layers: entry.layers.take().ok_or_else(|| needed("layers"))?,
                block: entry.block.take().unwrap_or(false),
            },
            "Residual" => Layer::Residual {
                path: entry.layers.take().ok_or_else(|| needed("layers"))?,
                shortcut: entry.shortcut.take().unwrap_or_default(),
            },
            _ => {
                return Err(format!(
                    "type {kind:?}: expected Conv2d, BatchNorm2d, ReLU, ReLU6, Dropout, Dropout2d, MaxPool2d, AvgPool2d, \
                     AdaptiveAvgPool2d, Flatten, Linear, Identity, Sequential or Residual"
                ));
            }
        };
        // Every option that the type has was taken.
        if entry == Entry::default() {
            Ok(Self { name, layer })
        } else {
            Err(format!("{kind} has no {}", entry.options()))
        }
    }
}

impl Entry {
    /// The names of the options that are set.
    fn options(&self) -> String {
        let set = [
            ("out_channels", self.out_channels.is_some()),
            ("kernel_size", self.kernel_size.is_some()),
            ("stride", self.stride.is_some()),
            ("padding", self.padding.is_some()),
            ("groups", self.groups.is_some()),
            ("bias", self.bias.is_some()),
            ("p", self.p.is_some()),
            ("output_size", self.output_size.is_some()),
            ("out_features", self.out_features.is_some()),
            ("block", self.block.is_some()),
            ("layers", self.layers.is_some()),
            ("shortcut", self.shortcut.is_some()),
        ];
        set.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

impl From<Named> for Entry {
    fn from(Named { name, layer }: Named) -> Self {
        let entry = |kind: &str| Self { kind: kind.into(), name: name.clone(), ..Self::default() };
        let op = match layer {
            Layer::Sequential { layers, block } => {
                return Self { layers: Some(layers), block: block.then_some(true), ..entry("Sequential") };
            }
            Layer::Residual { path, shortcut } => {
                let shortcut = (!shortcut.is_empty()).then_some(shortcut);
                return Self { layers: Some(path), shortcut, ..entry("Residual") };
            }
            Layer::Op(op) => op,
        };
        let plain = entry(op.name());
        match op {
            Op::Conv2d { out_channels, kernel_size, stride, padding, groups, bias } => Self {
                out_channels: Some(out_channels),
                kernel_size: Some(kernel_size),
                stride: Some(stride),
                padding: Some(padding),
                groups: Some(groups),
                bias: Some(bias),
                ..plain
            },
            Op::Dropout { p } | Op::Dropout2d { p } => Self { p: Some(p), ..plain },
            Op::MaxPool2d { kernel_size, stride, padding } | Op::AvgPool2d { kernel_size, stride, padding } => {
                Self { kernel_size: Some(kernel_size), stride: Some(stride), padding: Some(padding), ..plain }
            }
            Op::AdaptiveAvgPool2d { output_size } => Self { output_size: Some(Size::Each(output_size)), ..plain },
            Op::Linear { out_features } => Self { out_features: Some(out_features), ..plain },
            Op::BatchNorm2d | Op::ReLU | Op::ReLU6 | Op::Flatten | Op::Identity | Op::Add => plain,
        }
    }
}
