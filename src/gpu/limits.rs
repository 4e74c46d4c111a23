//! Where the rules that choose the tiles of a convolution draw their lines.

use serde::{Deserialize, Serialize};

/// The limits of the rules in [`ops::conv2d`](crate::ops::conv2d). The default is what an NVIDIA H100 and lavapipe liked best
/// (docs/measurements.md); `convscope bench tune` measures what another adapter likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TileLimits {
    /// Of the tiled kernels, for the output and the input's gradient.
    pub products: ProductLimits,
    /// Of the tiled kernels, for the weight's gradient.
    pub weights: WeightLimits,
    /// Of the subgroup kernels.
    pub unrolled: UnrolledLimits,
}

/// Which tile makes an output, or an input's gradient, on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductLimits {
    /// Workgroups that are enough: a small convolution that has fewer gets a smaller tile.
    pub workgroups: u32,
    /// Workgroups from which on a convolution gets the large tile.
    pub large_workgroups: u32,
    /// Steps of a sum from which on it is made in parts, where there are too few workgroups for the large tile.
    pub steps_for_parts: u32,
    /// Workgroups that these parts are to make.
    pub parts_workgroups: u32,
}

/// Which tile makes a weight's gradient on a GPU, and in how many parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightLimits {
    /// Workgroups that the gradient of a small convolution is split into.
    pub workgroups: u32,
    /// Workgroups of long parts from which on a convolution gets the wide kernel with the large tile.
    pub large_workgroups: u32,
    /// Workgroups times output pixels from which on it gets the wide kernel with the small tile, if not with the large one.
    pub small_work: u32,
    /// Invocations that the wide kernel is split into at least.
    pub wide_invocations: u32,
}

/// Multiply-adds of vectors in the unrolled loop of the subgroup kernels, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnrolledLimits {
    /// Of the output.
    pub forward: u32,
    /// Of the input's gradient, whose code is shorter.
    pub input: u32,
    /// Of the weight's gradient.
    pub weight: u32,
}

impl Default for ProductLimits {
    fn default() -> Self {
        // About one workgroup with the large tile for each of the H100's processors; with smaller tiles, four.
        Self { workgroups: 512, large_workgroups: 128, steps_for_parts: 64, parts_workgroups: 528 }
    }
}

impl Default for WeightLimits {
    fn default() -> Self {
        Self { workgroups: 1024, large_workgroups: 264, small_work: 65_536, wide_invocations: 67_584 }
    }
}

impl Default for UnrolledLimits {
    fn default() -> Self {
        // More does not fit the processor's cache of instructions.
        Self { forward: 450, input: 550, weight: 510 }
    }
}

/// For a limit that nothing reaches.
const NEVER: u32 = u32::MAX;

impl TileLimits {
    /// These limits, and after them all that a measurement compares them with, where the [`ProductLimits`] vary.
    pub fn other_products(self) -> Vec<Self> {
        let own = self.products;
        let mut all = vec![self];
        for workgroups in others(own.workgroups, &[512, 128, 256, 1024, 2048]) {
            for large_workgroups in others(own.large_workgroups, &[128, 32, 64, 256, 512, NEVER]) {
                for steps_for_parts in others(own.steps_for_parts, &[64, 32, 128, NEVER]) {
                    for parts_workgroups in others(own.parts_workgroups, &[528, 132, 264, 1056]) {
                        let products =
                            ProductLimits { workgroups, large_workgroups, steps_for_parts, parts_workgroups };
                        all.push(Self { products, ..self });
                    }
                }
            }
        }
        all
    }

    /// The same, where the [`WeightLimits`] vary.
    pub fn other_weights(self) -> Vec<Self> {
        let own = self.weights;
        let mut all = vec![self];
        for workgroups in others(own.workgroups, &[1024, 256, 512, 2048]) {
            for large_workgroups in others(own.large_workgroups, &[264, 66, 132, 528, NEVER]) {
                for small_work in others(own.small_work, &[65_536, 16_384, 262_144, 1_048_576, NEVER]) {
                    for wide_invocations in others(own.wide_invocations, &[67_584, 16_896, 33_792, 135_168]) {
                        let weights = WeightLimits { workgroups, large_workgroups, small_work, wide_invocations };
                        all.push(Self { weights, ..self });
                    }
                }
            }
        }
        all
    }

    /// The same, where the limit of the unrolled loop varies that `limit` finds.
    pub fn other_unrolled(self, limit: impl Fn(&mut UnrolledLimits) -> &mut u32) -> Vec<Self> {
        let mut own = self.unrolled;
        let sizes = others(*limit(&mut own), &[330, 450, 510, 550, 700]);
        let with = |size: u32| {
            let mut unrolled = self.unrolled;
            *limit(&mut unrolled) = size;
            Self { unrolled, ..self }
        };
        sizes.into_iter().map(with).collect()
    }

    /// What is wrong with limits that were read from a file, if anything: the rules divide by them.
    pub fn problem(&self) -> Option<String> {
        let Self { products: p, weights: w, unrolled: u } = self;
        let numbers = [
            ("products.workgroups", p.workgroups, 1),
            ("products.large_workgroups", p.large_workgroups, 1),
            ("products.steps_for_parts", p.steps_for_parts, 4),
            ("products.parts_workgroups", p.parts_workgroups, 1),
            ("weights.workgroups", w.workgroups, 1),
            ("weights.large_workgroups", w.large_workgroups, 1),
            ("weights.small_work", w.small_work, 1),
            ("weights.wide_invocations", w.wide_invocations, 256),
            ("unrolled.forward", u.forward, 1),
            ("unrolled.input", u.input, 1),
            ("unrolled.weight", u.weight, 1),
        ];
        let too_small = numbers.into_iter().find(|(_, number, least)| number < least);
        too_small.map(|(name, number, least)| format!("{name} is {number}: expected at least {least}"))
    }
}

/// A limit, and then the others of a list.
fn others(own: u32, list: &[u32]) -> Vec<u32> {
    let rest = list.iter().copied().filter(|&value| value != own);
    std::iter::once(own).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_begins_with_what_there_is_and_is_usable() {
        let start = TileLimits::default();
        let unrolled = start.other_unrolled(|limits| &mut limits.weight);
        for all in [start.other_products(), start.other_weights(), unrolled] {
            assert!(all.len() >= 5 && all[0] == start);
            assert!(all.iter().all(|limits| limits.problem().is_none()));
        }
        assert!(start.other_products().iter().all(|limits| limits.weights == start.weights));
    }

    #[test]
    fn limits_that_the_rules_cannot_divide_by_are_named() {
        let whole = serde_json::to_value(TileLimits::default()).unwrap();
        for (group, fields) in whole.as_object().unwrap() {
            for field in fields.as_object().unwrap().keys() {
                let mut damaged = whole.clone();
                damaged[group][field] = 0.into();
                let limits: TileLimits = serde_json::from_value(damaged).unwrap();
                let problem = limits.problem().unwrap();
                assert!(problem.starts_with(&format!("{group}.{field} is 0: expected at least ")), "{problem}");
            }
        }
    }
}
