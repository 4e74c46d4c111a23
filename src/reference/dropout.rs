//! Dropout, `torch.nn.Dropout` and `torch.nn.Dropout2d`, with a mask that is a pure function of its
//! place.
//!
//! `y = x * scale` where the mask keeps, else 0, with `scale = 1 / (1 - p)` rounded to `f32`.
//! Nothing is stored between forward and backward: the mask is hashed again. The GPU holds channels
//! last in groups of four, and one hash of `(seed, step, layer, counter)` decides for such a group.
//! With `groups = ceil(c / 4)` the counter is
//!
//! - element by element, `(n * hw + place) * groups + channel / 4`;
//! - for whole channels, `n * groups + channel / 4`;
//!
//! and word `channel % 4` of the hash decides for the channel.

use super::{Real, Summed, assert_fits, grid};

/// The sizes of the tensor, `(n, c, hw)`: PyTorch's order with the two spatial dimensions as one.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Images in the batch.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Places in a channel: height times width.
    pub hw: usize,
}

/// What decides which elements are dropped.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The seed of the run.
    pub seed: u32,
    /// The training step.
    pub step: u32,
    /// Which of the model's dropouts this is.
    pub layer: u32,
    /// The probability that an element is dropped, at least 0 and below 1.
    pub p: f64,
    /// Whether channels are dropped whole (Dropout2d) or element by element.
    pub whole_channels: bool,
}

impl Options {
    /// An element is kept if its 32 random bits are at least this: `p * 2^32`, rounded down.
    pub fn threshold(&self) -> u32 {
        assert!((0.0..1.0).contains(&self.p), "dropout: p is {}, not in [0, 1)", self.p);
        (self.p * 2f64.powi(32)) as u32
    }

    /// What a kept element is multiplied by, so that its expectation stays as it was: `1 / (1 -
    /// p)`.
    pub fn scale(&self) -> f32 {
        (1.0 / (1.0 - self.p)) as f32
    }
}

/// The hash `pcg4d` of Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020.
pub fn pcg4d(v: [u32; 4]) -> [u32; 4] {
    let [x, y, z, w] = v.map(|v| v.wrapping_mul(1664525).wrapping_add(1013904223));
    mix(mix([x, y, z, w]).map(|v| v ^ (v >> 16)))
}

fn mix([mut x, mut y, mut z, mut w]: [u32; 4]) -> [u32; 4] {
    x = x.wrapping_add(y.wrapping_mul(w));
    y = y.wrapping_add(z.wrapping_mul(x));
    z = z.wrapping_add(x.wrapping_mul(y));
    w = w.wrapping_add(y.wrapping_mul(z));
    [x, y, z, w]
}

/// For each element, whether it is kept: `(n, c, hw)`.
pub fn mask(shape: Shape, options: Options) -> Vec<bool> {
    let Options { seed, step, layer, .. } = options;
    let groups = shape.c.div_ceil(4);
    let threshold = options.threshold();
    let mut keep = Vec::with_capacity(shape.n * shape.c * shape.hw);
    for (n, c) in grid(shape.n, shape.c) {
        for place in 0..shape.hw {
            let pixel = if options.whole_channels { n } else { n * shape.hw + place };
            let counter = (pixel * groups + c / 4) as u32;
            keep.push(pcg4d([seed, step, layer, counter])[c % 4] >= threshold);
        }
    }
    keep
}

/// y `=` x times the scale where the mask keeps, else 0.
pub fn forward<T: Real>(shape: Shape, options: Options, x: &[T]) -> Summed<T> {
    assert_fits("x", x, shape.n * shape.c * shape.hw);
    let scale = T::of(f64::from(options.scale()));
    let value: Vec<T> =
        mask(shape, options).iter().zip(x).map(|(&keep, &x)| if keep { x * scale } else { T::zero() }).collect();
    let magnitude = value.iter().map(|y| y.abs()).collect();
    Summed { value, magnitude, terms: 0, steps: 1 }
}

/// dx `=` dy times the scale where the mask keeps, else 0: the same map as forward.
pub fn backward<T: Real>(shape: Shape, options: Options, dy: &[T]) -> Summed<T> {
    forward(shape, options, dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options { seed: 7, step: 3, layer: 1, p: 0.25, whole_channels: false };

    /// The keep decisions of many elements less their mean, in units in which they have variance 1.
    fn standardized(shape: Shape, options: Options) -> Vec<f64> {
        let q = 1.0 - options.p;
        let deviation = (q * options.p).sqrt();
        mask(shape, options).iter().map(|&keep| (f64::from(u8::from(keep)) - q) / deviation).collect()
    }

    /// The sum of n independent numbers of variance 1 lies within 4 sqrt(n) but for one time in
    /// 16,000.
    fn assert_no_more_than_chance(what: &str, numbers: impl ExactSizeIterator<Item = f64>) {
        let n = numbers.len() as f64;
        let sigmas = numbers.sum::<f64>() / n.sqrt();
        assert!(sigmas.abs() < 4.0, "{what}: {sigmas} standard deviations from the mean");
    }

    #[test]
    fn hash_matches_a_separate_computation() {
        // Computed with Python's integers.
        assert_eq!(pcg4d([0, 0, 0, 0]), [0x0f02f829, 0x2d568769, 0x32b0c43b, 0xd32548ea]);
        assert_eq!(pcg4d([1, 2, 3, 4]), [0x3622cd16, 0xf11471d8, 0xe1109b3f, 0x02b94c2f]);
    }

    #[test]
    fn threshold_and_scale_match_values_worked_out_by_hand() {
        let at = |p| (Options { p, ..OPTIONS }.threshold(), Options { p, ..OPTIONS }.scale());
        assert_eq!(at(0.0), (0, 1.0));
        assert_eq!(at(0.5), (1 << 31, 2.0));
        assert_eq!(at(0.25), (1 << 30, 4.0 / 3.0));
        assert_eq!(at(1.0 - f64::EPSILON / 2.0).0, u32::MAX);
    }

    /// Channels last, groups of four, one counter up per group: the order in which a GPU goes.
    #[test]
    fn each_element_reads_its_own_word_of_its_own_hash() {
        let shape = Shape { n: 2, c: 6, hw: 35 };
        let elements = mask(shape, OPTIONS);
        let channels = mask(shape, Options { whole_channels: true, ..OPTIONS });
        let keeps = |counter, lane: usize| pcg4d([7, 3, 1, counter])[lane] >= 1 << 30;
        let mut counter = 0;
        for (n, place) in grid(2, 35) {
            for group in 0..2 {
                for (lane, channel) in (4 * group..6.min(4 * group + 4)).enumerate() {
                    let at = (n * 6 + channel) * 35 + place;
                    assert_eq!(elements[at], keeps(counter, lane), "element {at}");
                    assert_eq!(channels[at], keeps((2 * n + group) as u32, lane), "channel of {at}");
                }
                counter += 1;
            }
        }
    }

    #[test]
    fn kept_elements_are_scaled_and_dropped_ones_are_zero() {
        let shape = Shape { n: 2, c: 5, hw: 7 };
        let options = Options { p: 0.5, ..OPTIONS };
        let x: Vec<f64> = (1..=70).map(f64::from).collect();
        let y = forward(shape, options, &x);
        for ((keep, x), y) in mask(shape, options).into_iter().zip(&x).zip(&y.value) {
            assert_eq!(*y, if keep { 2.0 * x } else { 0.0 });
        }
        assert_eq!(backward(shape, options, &x).value, y.value);
        assert_eq!(forward(shape, Options { p: 0.0, ..options }, &x).value, x);
    }

    #[test]
    fn elements_are_kept_as_often_as_they_should() {
        for p in [0.01, 0.1, 0.5, 0.9] {
            let elements = standardized(Shape { n: 8, c: 32, hw: 400 }, Options { p, ..OPTIONS });
            assert_no_more_than_chance(&format!("keep rate at p = {p}"), elements.into_iter());
            let channels = Options { p, whole_channels: true, ..OPTIONS };
            let channels = standardized(Shape { n: 400, c: 256, hw: 1 }, channels);
            assert_no_more_than_chance(&format!("keep rate of channels at p = {p}"), channels.into_iter());
        }
    }

    #[test]
    fn elements_steps_layers_and_seeds_do_not_correlate() {
        let shape = Shape { n: 4, c: 32, hw: 800 };
        let base = standardized(shape, OPTIONS);
        // In (n, c, hw) a lag of 1 is the next place, hw the next channel, 4 hw the next group, c
        // hw the next image.
        for lag in [1, 2, 800, 2 * 800, 3 * 800, 4 * 800, 32 * 800] {
            let products = base.iter().zip(&base[lag..]).map(|(a, b)| a * b);
            assert_no_more_than_chance(&format!("lag {lag}"), products);
        }
        let others = [
            Options { step: 4, ..OPTIONS },
            Options { layer: 2, ..OPTIONS },
            Options { seed: 8, ..OPTIONS },
            Options { step: 1, layer: 3, ..OPTIONS },
        ];
        for other in others {
            let products = base.iter().zip(standardized(shape, other)).map(|(a, b)| a * b).collect::<Vec<_>>();
            assert_no_more_than_chance(&format!("{other:?}"), products.into_iter());
        }
    }
}
