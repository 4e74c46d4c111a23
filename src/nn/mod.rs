//! Networks: what they are, and how they run on a device.
//!
//! A [`Spec`] lists layers in PyTorch's terms; an [`Architecture`] names a known list. [`Spec::build`] works out the
//! [`Network`]: every shape, key and receptive field. A [`Model`] is a network on a device: `fuse.rs` decides which of its
//! operations become one kernel, and each file of `layer/` holds the kernels of one, forward and backward.

mod architecture;
mod averages;
pub mod checkpoint;
mod fuse;
mod layer;
pub mod layout;
mod model;
mod network;
#[cfg(feature = "native")]
mod onnx;
mod optimizer;
#[cfg(feature = "native")]
mod pickle;
mod preparation;
mod spec;
#[cfg(feature = "native")]
mod state_dict;

pub use architecture::{Architecture, Head, Known, Name, Strided};
pub use averages::Averages;
pub use fuse::{convolutions, training_bytes};
pub use model::{Keep, Metrics, Mode, Model, StepOptions};
pub use network::{Block, Field, Network, Node, Parameter, Start, Value};
#[cfg(feature = "native")]
pub use onnx::onnx;
pub use optimizer::Optimizer;
pub use preparation::{Normalize, Preparation};
#[cfg(feature = "native")]
pub(crate) use preparation::{listed, numbers};
pub use spec::{Layer, Named, Op, Spec, SpecError};
#[cfg(feature = "native")]
pub use state_dict::StateDict;
