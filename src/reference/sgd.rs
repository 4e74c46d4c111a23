//! Stochastic gradient descent with momentum, as `torch.optim.SGD` without dampening and without
//! Nesterov's variant:
//!
//! ```text
//! g        = grad + weight_decay * param
//! momentum = options.momentum * momentum + g
//! param    = param - lr * momentum
//! ```
//!
//! PyTorch sets the buffer to g in the first step, which is the same for a buffer that starts at
//! zero.

use super::{Real, TINY, ULP, assert_fits};

/// What PyTorch calls the hyperparameters of SGD.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The learning rate.
    pub lr: f64,
    /// How much of the last step's direction stays.
    pub momentum: f64,
    /// The weight decay, added to the gradient.
    pub weight_decay: f64,
}

/// For each element, how far the results of one step in `f32` may be off.
#[derive(Clone, Debug)]
pub struct Bounds<T> {
    /// The bound of the updated parameter.
    pub param: Vec<T>,
    /// The bound of the updated momentum buffer.
    pub momentum: Vec<T>,
}

/// param, momentum `=` their values after one step; all slices have the same length.
///
/// The bounds follow the formulas line by line to first order; every factor from the host counts as
/// one rounding.
pub fn step<T: Real>(options: Options, param: &mut [T], grad: &[T], momentum: &mut [T]) -> Bounds<T> {
    assert_fits("grad", grad, param.len());
    assert_fits("momentum", momentum, param.len());
    let [lr, keep, decay] = [options.lr, options.momentum, options.weight_decay].map(T::of);
    let roundings = |count: f64, of: T| T::of(count) * (T::of(ULP) * of.abs() + T::of(TINY));

    let mut bounds = Bounds { param: Vec::new(), momentum: Vec::new() };
    for i in 0..param.len() {
        let terms = grad[i].abs() + (decay * param[i]).abs() + (keep * momentum[i]).abs();
        momentum[i] = keep * momentum[i] + (grad[i] + decay * param[i]);
        let change = lr * momentum[i];

        // A product has two roundings, its factor's and its own; then come at most two additions.
        let momentum_bound = roundings(4.0, terms);
        let change_bound = lr * momentum_bound + roundings(2.0, change);
        bounds.param.push(change_bound + roundings(1.0, param[i].abs() + change.abs()));
        bounds.momentum.push(momentum_bound);
        param[i] = param[i] - change;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_values_worked_out_by_hand() {
        let options = Options { lr: 0.25, momentum: 0.5, weight_decay: 0.5 };
        let (mut param, mut momentum) = ([1.0], [0.0]);
        step(options, &mut param, &[1.5], &mut momentum);
        assert_eq!((momentum[0], param[0]), (2.0, 0.5));
        step(options, &mut param, &[0.75], &mut momentum);
        assert_eq!((momentum[0], param[0]), (2.0, 0.0));
    }
}
