//! The device, the tensors on it, and plans: kernels recorded once and replayed every step.

mod device;
mod plan;
mod shader;
mod tensor;
mod unroll;

pub use device::{AdapterChoice, Gpu, GpuError, adapters};
pub use plan::{Plan, Timing};
pub use tensor::Tensor;
