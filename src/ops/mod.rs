//! The operations: each file holds an operation's shape, its kernels' bindings, and how many invocations they need.

pub mod activation;
pub mod adam;
pub mod adaptive_avg_pool2d;
pub mod add;
pub mod average;
pub mod avg_pool2d;
pub mod batch_norm;
pub mod bias;
pub mod clip;
pub mod conv2d;
pub mod cross_entropy;
pub mod depthwise;
pub mod dropout;
pub mod linear;
pub mod max_pool2d;
pub mod peak;
pub mod relu;
pub mod sgd;
pub mod sums;
pub mod together;

use crate::gpu::kernel::Declaration;

crate::gpu::kernel::uniform! {
    /// What changes from one training step to the next.
    pub struct Step {
        /// Images of the batch that count; the rest of the buffers is left over from earlier steps.
        pub live: u32,
        /// Seed of the dropout masks.
        pub seed: u32,
        /// Number of the step, from 1.
        pub number: u32,
        /// The optimiser's step size. For Adam, `lr / (1 - beta1^number)`.
        pub step_size: f32,
        /// For Adam, `sqrt(1 - beta2^number)`.
        pub bias_correction: f32,
    }
}

/// Vectors of four that hold so many channels.
pub fn vectors(channels: usize) -> usize {
    channels.div_ceil(4)
}

/// Every kernel of this crate.
pub const KERNELS: &[Declaration] = &[
    conv2d::plain::Forward::DECLARATION,
    conv2d::plain::BackwardInput::DECLARATION,
    conv2d::plain::BackwardWeight::DECLARATION,
    conv2d::tiled::Forward::DECLARATION,
    conv2d::tiled::BackwardInput::DECLARATION,
    conv2d::tiled::BackwardWeight::DECLARATION,
    conv2d::wide::Forward::DECLARATION,
    conv2d::wide::BackwardInput::DECLARATION,
    conv2d::wide::BackwardWeight::DECLARATION,
    conv2d::subgroup::Forward::DECLARATION,
    conv2d::subgroup::BackwardInput::DECLARATION,
    conv2d::subgroup::BackwardWeight::DECLARATION,
    conv2d::SumWeight::DECLARATION,
    together::TransposeWeights::DECLARATION,
    together::SumLayers::DECLARATION,
    depthwise::Forward::DECLARATION,
    depthwise::BackwardInput::DECLARATION,
    depthwise::BackwardWeight::DECLARATION,
    bias::Forward::DECLARATION,
    bias::BackwardSums::DECLARATION,
    batch_norm::Statistics::DECLARATION,
    batch_norm::Combine::DECLARATION,
    batch_norm::Forward::DECLARATION,
    batch_norm::BackwardSums::DECLARATION,
    batch_norm::BackwardCombine::DECLARATION,
    batch_norm::Backward::DECLARATION,
    batch_norm::BackwardEval::DECLARATION,
    activation::Forward::DECLARATION,
    activation::BackwardSums::DECLARATION,
    activation::Backward::DECLARATION,
    relu::Forward::DECLARATION,
    relu::Backward::DECLARATION,
    relu::BackwardGuided::DECLARATION,
    relu::BackwardDeconvnet::DECLARATION,
    relu::Forward6::DECLARATION,
    relu::Backward6::DECLARATION,
    relu::Backward6Guided::DECLARATION,
    add::Forward::DECLARATION,
    dropout::Forward::DECLARATION,
    dropout::Backward::DECLARATION,
    adaptive_avg_pool2d::Forward::DECLARATION,
    adaptive_avg_pool2d::Backward::DECLARATION,
    avg_pool2d::Forward::DECLARATION,
    avg_pool2d::Backward::DECLARATION,
    max_pool2d::Forward::DECLARATION,
    max_pool2d::Backward::DECLARATION,
    linear::Forward::DECLARATION,
    linear::BackwardInput::DECLARATION,
    linear::BackwardWeight::DECLARATION,
    cross_entropy::ForwardBackward::DECLARATION,
    cross_entropy::ForwardBackwardWeighted::DECLARATION,
    cross_entropy::Accumulate::DECLARATION,
    clip::Squares::DECLARATION,
    clip::Scale::DECLARATION,
    adam::Update::DECLARATION,
    sgd::Update::DECLARATION,
    average::Update::DECLARATION,
    peak::MultiplyAdd::DECLARATION,
    peak::Copy::DECLARATION,
];
