//! Adam (Kingma and Ba, 2015), in the order of operations of `torch.optim.Adam`.
//!
//! With t the number of this step, from 1:
//!
//! ```text
//! g     = grad + weight_decay * param
//! m     = m + (1 - beta1) * (g - m)
//! v     = beta2 * v + (1 - beta2) * g * g
//! param = param - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```
//!
//! The factors that do not depend on an element are computed in `f64` on the host and rounded once:
//! in `f32`, `1 - 0.999` would be off by 5e-5 of itself.

use super::{Real, TINY, ULP, assert_fits};

/// What PyTorch calls the hyperparameters of Adam.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The learning rate.
    pub lr: f64,
    /// The decay of the mean gradient.
    pub beta1: f64,
    /// The decay of the mean squared gradient.
    pub beta2: f64,
    /// What keeps the division finite.
    pub eps: f64,
    /// The weight decay, added to the gradient as in `Adam` and not apart from it as in `AdamW`.
    pub weight_decay: f64,
}

/// For each element, how far the results of one step in `f32` may be off.
#[derive(Clone, Debug)]
pub struct Bounds<T> {
    /// The bound of the updated parameter.
    pub param: Vec<T>,
    /// The bound of the updated mean gradient.
    pub m: Vec<T>,
    /// The bound of the updated mean squared gradient.
    pub v: Vec<T>,
}

/// param, m, v `=` their values after step `t`, counted from 1; all slices have the same length.
///
/// The bounds follow the formulas line by line to first order. Every factor from the host counts as
/// one rounding, a division as 2.5, a square root as 4.5 (in WGSL it is a division by
/// `inverseSqrt`, which has 2); the change of a parameter has half a rounding in hand.
pub fn step<T: Real>(options: Options, t: u32, param: &mut [T], grad: &[T], m: &mut [T], v: &mut [T]) -> Bounds<T> {
    assert_fits("grad", grad, param.len());
    assert_fits("m", m, param.len());
    assert_fits("v", v, param.len());
    let power = f64::from(t);
    let step_size = T::of(options.lr / (1.0 - options.beta1.powf(power)));
    let correction = T::of((1.0 - options.beta2.powf(power)).sqrt());
    let [blend1, blend2] = [options.beta1, options.beta2].map(|beta| T::of(1.0 - beta));
    let [beta2, eps, decay] = [options.beta2, options.eps, options.weight_decay].map(T::of);
    let roundings = |count: f64, of: T| T::of(count) * (T::of(ULP) * of.abs() + T::of(TINY));

    let mut bounds = Bounds { param: Vec::new(), m: Vec::new(), v: Vec::new() };
    for i in 0..param.len() {
        let g = grad[i] + decay * param[i];
        let g_bound = if options.weight_decay == 0.0 {
            T::zero()
        } else {
            roundings(3.0, grad[i].abs() + (decay * param[i]).abs())
        };

        let m_bound = roundings(4.0, m[i].abs() + blend1 * g.abs()) + blend1 * g_bound;
        m[i] += blend1 * (g - m[i]);

        v[i] = beta2 * v[i] + blend2 * g * g;
        let v_bound = roundings(4.0, v[i]) + blend2 * (T::of(2.0) * g.abs() + g_bound) * g_bound;

        // An error e of v moves its root by at most sqrt(e), and by at most e / root.
        let root = v[i].sqrt();
        let root_bound = v_bound / root.max(v_bound.sqrt()) + roundings(4.5, root);
        let denominator = root / correction + eps;
        let denominator_bound = root_bound / correction + roundings(4.5, denominator);

        let change = step_size * m[i] / denominator;
        let change_bound =
            (step_size * m_bound + change.abs() * denominator_bound) / denominator + roundings(5.0, change);
        let param_bound = change_bound + roundings(1.0, param[i].abs() + change.abs());
        param[i] = param[i] - change;

        bounds.param.push(param_bound);
        bounds.m.push(m_bound);
        bounds.v.push(v_bound);
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options { lr: 0.25, beta1: 0.5, beta2: 0.75, eps: 0.5, weight_decay: 0.0 };

    #[test]
    fn matches_values_worked_out_by_hand() {
        let (mut param, mut m, mut v) = ([1.0], [0.0], [0.0]);
        step(OPTIONS, 1, &mut param, &[2.0], &mut m, &mut v);
        // The step size is 0.25 / 0.5, the denominator sqrt(1) / sqrt(0.25) + 0.5.
        assert_eq!((m[0], v[0], param[0]), (1.0, 1.0, 1.0 - 0.5 / 2.5));
        step(OPTIONS, 2, &mut param, &[1.0], &mut m, &mut v);
        assert_eq!((m[0], v[0]), (1.0, 1.0));
        let want: f64 = 0.8 - 0.25 / 0.75 / (1.0 / 0.4375f64.sqrt() + 0.5);
        assert!((param[0] - want).abs() < 1e-15, "{} is not {want}", param[0]);
    }

    #[test]
    fn weight_decay_is_part_of_the_gradient() {
        let (mut param, mut m, mut v) = ([1.0], [0.0], [0.0]);
        step(Options { weight_decay: 0.5, ..OPTIONS }, 1, &mut param, &[1.5], &mut m, &mut v);
        assert_eq!((m[0], v[0], param[0]), (1.0, 1.0, 0.8));
    }

    #[test]
    fn a_gradient_of_zero_changes_nothing() {
        let (mut param, mut m, mut v) = ([3.0], [0.0], [0.0]);
        step(OPTIONS, 1, &mut param, &[0.0], &mut m, &mut v);
        assert_eq!((m[0], v[0], param[0]), (0.0, 0.0, 3.0));
    }
}
