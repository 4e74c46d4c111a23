//! How the weights move.

use crate::ops::adam;

/// How the weights move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Adam with PyTorch's defaults: `beta1 = 0.9, beta2 = 0.999, eps = 1e-8`.
    Adam {
        /// Times the weight, added to its gradient.
        weight_decay: f32,
    },
    /// Stochastic gradient descent.
    Sgd {
        /// Decay of the velocity.
        momentum: f32,
        /// Times the weight, added to its gradient.
        weight_decay: f32,
    },
}

impl Optimizer {
    /// Step size and bias correction of step `number`, counted from 1.
    pub(super) fn step(&self, lr: f64, number: u32) -> (f32, f32) {
        match self {
            Self::Adam { .. } => {
                let t = f64::from(number);
                ((lr / (1.0 - adam::BETA1.powf(t))) as f32, (1.0 - adam::BETA2.powf(t)).sqrt() as f32)
            }
            Self::Sgd { .. } => (lr as f32, 1.0),
        }
    }
}
