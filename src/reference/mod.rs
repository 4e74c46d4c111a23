//! The CPU references: every GPU kernel once more, in plain loops.
//!
//! The numbers are checked in three layers, each resting on the one before:
//!
//! 1. **Finite differences check the CPU references.** `tests/reference.rs` compares every backward pass, in
//!    `f64`, with central differences of its forward pass under a random, non-uniform upstream
//!    gradient; values worked out by hand, and for some operations PyTorch's, pin the forward formulas.
//! 2. **The CPU references check the GPU.** A kernel must match its CPU reference at every element, within a bound
//!    that follows from error analysis and not from experience: see [`Summed::bound`].
//!    `tests/reference_bounds.rs` tries these bounds on the CPU references in `f32`. Inputs that are small
//!    integers must match exactly.
//! 3. **Golden values from PyTorch check the whole**: the layers put together, their order and
//!    their conventions.
//!
//! A CPU reference is written to be read beside the formula in its comment. It is generic over [`Real`], so
//! that the same lines give the truth (`f64`) and a first idea of what `f32` makes of it. All
//! tensors are slices in PyTorch's layouts at their logical sizes: images `(n, c, h, w)`,
//! convolution weights `(out, in, h, w)`, linear weights `(out, in)`. Sizes that do not fit a shape
//! are programming mistakes and panic.

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
pub mod relu;
pub mod sgd;

use num_traits::Float;
use std::fmt::Debug;
use std::ops::AddAssign;

/// One rounding in WGSL, relative to the result: the spec allows either neighbour, not only the
/// nearer one.
const ULP: f64 = 1.0 / (1 << 23) as f64;

/// The smallest normal `f32`. A GPU may flush anything below it to zero.
const TINY: f64 = f32::MIN_POSITIVE as f64;

/// The two floating-point types in which a CPU reference can run.
pub trait Real: Float + AddAssign + Debug {
    /// The nearest number of this type.
    fn of(value: f64) -> Self;
}

impl Real for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }
}

impl Real for f64 {
    fn of(value: f64) -> f64 {
        value
    }
}

/// A result and, per element, what bounds the rounding error of computing it in `f32`.
#[derive(Clone, Debug)]
pub struct Summed<T> {
    /// The result.
    pub value: Vec<T>,
    /// For each element, the sum of the absolute values of the terms that were added. An operation
    /// that is more than one sum says in its own comment what stands here.
    pub magnitude: Vec<T>,
    /// How many terms were added, at most: the longest chain of additions in a plain loop. A kernel
    /// that adds in chunks has a shorter one, and its test may write that here to hold it to more.
    pub terms: usize,
    /// How many roundings a term may go through besides the additions: 2 for a sum of products, one
    /// of them in hand.
    pub steps: usize,
}

impl<T: Real> Summed<T> {
    /// A result in which nothing was rounded: its bound is zero.
    pub fn exact(value: Vec<T>) -> Self {
        let magnitude = vec![T::zero(); value.len()];
        Summed { value, magnitude, terms: 0, steps: 0 }
    }

    /// How far element `i` of an `f32` computation may be off: `(terms + steps) * (2^-23 *
    /// magnitude[i] + 2^-126)`.
    ///
    /// This is the classical first-order bound of a sum (Higham, *Accuracy and Stability of
    /// Numerical Algorithms*, chapter 3), which holds for every order of the additions. The last
    /// summand stands for flushed subnormals.
    pub fn bound(&self, i: usize) -> T {
        T::of((self.terms + self.steps) as f64) * (T::of(ULP) * self.magnitude[i] + T::of(TINY))
    }

    /// Where `got` is farthest from the result, as `(index, error / bound)`: correct means that the
    /// ratio is at most 1.
    ///
    /// The ratio is infinite for a NaN, an infinity, and an error where the bound is zero.
    pub fn worst(&self, got: &[f32]) -> (usize, f64) {
        assert_eq!(got.len(), self.value.len(), "the result and its reference differ in length");
        let mut worst = (0, 0.0);
        for (i, &got) in got.iter().enumerate() {
            let ratio = ratio(f64::from(got), self.value[i], self.bound(i));
            if ratio > worst.1 {
                worst = (i, ratio);
            }
        }
        worst
    }

    fn zeros(len: usize, terms: usize, steps: usize) -> Self {
        let zeros = vec![T::zero(); len];
        Summed { value: zeros.clone(), magnitude: zeros, terms, steps }
    }

    fn add(&mut self, i: usize, term: T) {
        self.value[i] += term;
        self.magnitude[i] += term.abs();
    }
}

/// The error of `got` over its bound, so that at most 1 means correct; infinite where that has no
/// meaning.
pub fn ratio<T: Real>(got: f64, want: T, bound: T) -> f64 {
    let wide = |v: T| v.to_f64().unwrap_or(f64::NAN);
    let error = (got - wide(want)).abs();
    if error == 0.0 {
        return 0.0;
    }
    let ratio = error / wide(bound);
    if ratio.is_finite() { ratio } else { f64::INFINITY }
}

/// Every `(row, column)` of a grid, row by row.
fn grid(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
}

fn assert_fits<T>(name: &str, slice: &[T], len: usize) {
    assert_eq!(slice.len(), len, "{name} does not fit the shape");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_counts_terms_and_steps() {
        let mut sum = Summed::<f64>::zeros(1, 2, 2);
        sum.add(0, 3.0);
        sum.add(0, -1.0);
        assert_eq!((sum.value[0], sum.magnitude[0]), (2.0, 4.0));
        assert_eq!(sum.bound(0), 4.0 * (4.0 / 8_388_608.0 + TINY));
    }

    #[test]
    fn what_is_not_a_number_is_infinitely_wrong() {
        let reference = Summed { value: vec![1.0, 2.0], magnitude: vec![1.0, 2.0], terms: 1, steps: 2 };
        assert_eq!(reference.worst(&[1.0, 2.0]), (0, 0.0));
        assert!(reference.worst(&[1.0, 2.0 + 4.0 * f32::EPSILON]).1 < 1.0);
        let (at, ratio) = reference.worst(&[1.0, 2.0 + 8.0 * f32::EPSILON]);
        assert!(at == 1 && ratio > 1.0, "{ratio} at {at}");
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(reference.worst(&[1.0, wrong]), (1, f64::INFINITY));
        }
        assert_eq!(Summed::exact(vec![1.0]).worst(&[1.0 + f32::EPSILON]), (0, f64::INFINITY));
    }
}
