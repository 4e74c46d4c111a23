//! The device, the tensors on it, and plans: kernels recorded once and replayed every step.

#[cfg(feature = "native")]
mod check;
mod device;
pub mod kernel;
mod limits;
mod plan;
mod reads;
mod shader;
mod tensor;
mod unroll;

pub use device::{AdapterChoice, Changes, Gpu, GpuError, Kernels, adapters};
pub use limits::{ProductLimits, TileLimits, UnrolledLimits, WeightLimits};
pub use plan::{Plan, Timing};
pub use reads::Reads;
pub use tensor::Tensor;
