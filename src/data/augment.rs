//! Training images, changed at random: PyTorch's names and torchvision's formulas.
//!
//! How an image is changed depends on the seed, the epoch and its index alone, so it is the same for any number of threads. An image
//! is cut, turned, given other colours and flipped, in this order. Validation images are never changed.

use std::borrow::Cow;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::fit::scaled;
use super::random;

/// Shapes of a cut, width to height: those of `RandomResizedCrop`.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// Cuts that are tried until one lies within the image.
const TRIES: usize = 10;
/// The most by which the square that a photo is cut from exceeds what the network gets, in its side.
const MOST_ROOM: f64 = 2.0;

/// What may be changed about training images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AugmentOptions {
    /// Whether half of them are flipped left to right.
    pub flip: bool,
    /// The least and the largest share of an image's area that is cut out, as `RandomResizedCrop(scale)`.
    pub crop_scale: Option<[f32; 2]>,
    /// By how many degrees they are turned at most, either way, as `RandomRotation`; what comes from beyond the edge is the image
    /// mirrored there, as no border then tells by how much.
    pub rotate: f32,
    /// By what share brightness, contrast and saturation change at most, as `ColorJitter`.
    pub color_jitter: Option<[f32; 3]>,
}

impl AugmentOptions {
    /// Side of the square that photos are cut from: so large that a cut is never scaled up, but not more than twice that of
    /// what the network gets, `size`. None where nothing is cut.
    pub fn room(&self, size: u32) -> Option<u32> {
        let [least, _] = self.crop_scale?;
        let factor = (1.0 / f64::from(least).sqrt()).min(MOST_ROOM);
        Some((f64::from(size) * factor).ceil() as u32)
    }

    /// What becomes of training images, worded to follow "images": "changed at random: flipped, turned by up to 10 degrees".
    pub fn told(&self) -> String {
        let percent = |share: f32| (1000.0 * share).round() / 10.0;
        let changes = [
            self.flip.then(|| "flipped".into()),
            self.crop_scale
                .map(|[least, most]| format!("cut to {} to {} % of their area", percent(least), percent(most))),
            (self.rotate > 0.0).then(|| format!("turned by up to {} degrees", self.rotate)),
            self.color_jitter.map(|shares| {
                let [brightness, contrast, saturation] = shares.map(percent);
                format!(
                    "with brightness, contrast and saturation changed by up to {brightness}, {contrast} and {saturation} %"
                )
            }),
        ];
        let changes: Vec<String> = changes.into_iter().flatten().collect();
        if changes.is_empty() {
            "left as they are".into()
        } else {
            format!("changed at random: {}", changes.join(", "))
        }
    }
}

/// The changes of one epoch.
#[derive(Clone, Copy, Debug)]
pub struct EpochChanges {
    /// What may be changed.
    pub augment: AugmentOptions,
    /// The run's seed.
    pub seed: u64,
    /// The epoch's number.
    pub epoch: u64,
}

impl EpochChanges {
    /// Flips alone.
    pub fn flips(seed: u64, epoch: u64) -> Self {
        Self { augment: AugmentOptions { flip: true, ..AugmentOptions::default() }, seed, epoch }
    }

    /// Whether to flip the image at `index`: each with probability 1/2.
    pub fn flip(&self, index: usize) -> bool {
        self.augment.flip && self.stream("flip", index).next_u32() & 1 == 1
    }

    /// What decides one change of the image at `index`: a stream for each, so that none depends on which others there are.
    fn stream(&self, change: &str, index: usize) -> ChaCha8Rng {
        let mut stream = random(change, self.seed, self.epoch);
        stream.set_stream(index as u64);
        stream
    }

    /// The image at `index` with all changes but the flip: a square of `size` pixels, RGB. `pixels` is a square from which it may be cut.
    pub fn image<'a>(&self, index: usize, mut pixels: Cow<'a, [u8]>, size: u32) -> Cow<'a, [u8]> {
        let AugmentOptions { crop_scale, rotate, color_jitter, .. } = self.augment;
        if let Some(scale) = crop_scale {
            let side = (pixels.len() / 3).isqrt() as u32;
            let [left, top, width, height] = random_cut(side, scale, &mut self.stream("crop", index));
            let rows = (top..top + height).map(|row| ((row * side + left) * 3) as usize);
            let cut: Vec<u8> = rows.flat_map(|start| &pixels[start..][..3 * width as usize]).copied().collect();
            pixels = scaled(&cut, [width, height], [0.0, 0.0, width.into(), height.into()], size).into();
        }
        if rotate > 0.0 {
            pixels = rotated(&pixels, self.stream("turn", index).random_range(-rotate..=rotate)).into();
        }
        if let Some(strengths) = color_jitter {
            pixels = jittered(&pixels, strengths, &mut self.stream("colours", index)).into();
        }
        pixels
    }
}

/// Left, top, width and height of a random part of a square: `RandomResizedCrop.get_params`.
fn random_cut(side: u32, scale: [f32; 2], rng: &mut ChaCha8Rng) -> [u32; 4] {
    let area = f64::from(side).powi(2);
    let [narrow, wide] = RATIO.map(f64::ln);
    for _ in 0..TRIES {
        let target = area * f64::from(rng.random_range(scale[0]..=scale[1]));
        let ratio = rng.random_range(narrow..=wide).exp();
        let [width, height] = [target * ratio, target / ratio].map(|square| square.sqrt().round() as u32);
        if [width, height].iter().all(|length| (1..=side).contains(length)) {
            let [left, top] = [width, height].map(|length| rng.random_range(0..=side - length));
            return [left, top, width, height];
        }
    }
    [0, 0, side, side]
}

/// A square turned counter-clockwise about its middle, by bilinear interpolation; beyond its edges it is mirrored.
fn rotated(pixels: &[u8], degrees: f32) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<3>();
    let side = pixels.len().isqrt();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let middle = (side as f32 - 1.0) / 2.0;
    let mut out = Vec::with_capacity(3 * pixels.len());
    for y in 0..side {
        for x in 0..side {
            let [dx, dy] = [x, y].map(|at| at as f32 - middle);
            let [[left, right, beside], [above, below, under]] =
                [cos * dx - sin * dy, sin * dx + cos * dy].map(|at| neighbours(at + middle, side));
            let mix = |colour: usize| {
                let at = |row: f32, column: f32| f32::from(pixels[row as usize * side + column as usize][colour]);
                let row = |row: f32| at(row, left) * (1.0 - beside) + at(row, right) * beside;
                (row(above) * (1.0 - under) + row(below) * under).round() as u8
            };
            out.extend([0, 1, 2].map(mix));
        }
    }
    out
}

/// The pixels before and behind a place on a side that is mirrored at its ends, and how far it is from the first to the second.
fn neighbours(at: f32, side: usize) -> [f32; 3] {
    let (length, last) = (side as f32, side as f32 - 1.0);
    let along = (at + 0.5).rem_euclid(2.0 * length);
    let mirrored = (if along > length { 2.0 * length - along } else { along } - 0.5).clamp(0.0, last);
    let before = mirrored.floor();
    [before, (before + 1.0).min(last), mirrored - before]
}

/// What a colour of `ColorJitter` is changed by: 1 leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Brightness(f32),
    Contrast(f32),
    Saturation(f32),
}

/// An image with other brightness, contrast and saturation, in a random order, as `ColorJitter` draws them.
fn jittered(pixels: &[u8], strengths: [f32; 3], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let [brightness, contrast, saturation] =
        strengths.map(|strength| rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength));
    let mut changes = [Change::Brightness(brightness), Change::Contrast(contrast), Change::Saturation(saturation)];
    changes.shuffle(rng);
    let (bytes, _) = pixels.as_chunks::<3>();
    let mut colours: Vec<[f32; 3]> = bytes.iter().map(|pixel| pixel.map(|byte| f32::from(byte) / 255.0)).collect();
    changes.iter().for_each(|change| change.apply(&mut colours));
    colours.as_flattened().iter().map(|colour| (colour * 255.0).round() as u8).collect()
}

impl Change {
    /// On colours from 0 to 1.
    fn apply(self, pixels: &mut [[f32; 3]]) {
        let grey = |[red, green, blue]: [f32; 3]| 0.2989 * red + 0.587 * green + 0.114 * blue;
        let blend = |colour: f32, other: f32, factor: f32| (factor * colour + (1.0 - factor) * other).clamp(0.0, 1.0);
        match self {
            Self::Brightness(factor) => {
                pixels.iter_mut().for_each(|pixel| *pixel = pixel.map(|colour| blend(colour, 0.0, factor)));
            }
            Self::Contrast(factor) => {
                let sum: f64 = pixels.iter().map(|pixel| f64::from(grey(*pixel))).sum();
                let mean = (sum / pixels.len() as f64) as f32;
                pixels.iter_mut().for_each(|pixel| *pixel = pixel.map(|colour| blend(colour, mean, factor)));
            }
            Self::Saturation(factor) => pixels.iter_mut().for_each(|pixel| {
                let grey = grey(*pixel);
                *pixel = pixel.map(|colour| blend(colour, grey, factor));
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: [[f32; 3]; 4] = [[0.1, 0.5, 0.9], [0.8, 0.2, 0.4], [0.3, 0.3, 0.6], [1.0, 0.0, 0.25]];

    /// torchvision.transforms.functional.adjust_brightness, adjust_contrast and adjust_saturation of [`PIXELS`].
    #[test]
    fn colours_change_as_in_torchvision() {
        for (change, expected) in [
            (Change::Brightness(0.5), [[0.05, 0.25, 0.45], [0.4, 0.1, 0.2], [0.15, 0.15, 0.3], [0.5, 0.0, 0.125]]),
            (Change::Brightness(1.4), [[0.14, 0.7, 1.0], [1.0, 0.28, 0.56], [0.42, 0.42, 0.84], [1.0, 0.0, 0.35]]),
            (
                Change::Contrast(0.5),
                [
                    [0.23621, 0.43621, 0.63621],
                    [0.58621, 0.28621, 0.38621],
                    [0.33621, 0.33621, 0.48621],
                    [0.68621, 0.18621, 0.31121],
                ],
            ),
            (
                Change::Contrast(1.4),
                [
                    [0.0, 0.551032, 1.0],
                    [0.971032, 0.131032, 0.411032],
                    [0.271032, 0.271032, 0.691032],
                    [1.0, 0.0, 0.201032],
                ],
            ),
            (
                Change::Saturation(0.5),
                [
                    [0.262995, 0.462995, 0.662995],
                    [0.60106, 0.30106, 0.40106],
                    [0.317085, 0.317085, 0.467085],
                    [0.6637, 0.1637, 0.2887],
                ],
            ),
            (
                Change::Saturation(1.4),
                [
                    [0.0, 0.529604, 1.0],
                    [0.959152, 0.119152, 0.399152],
                    [0.286332, 0.286332, 0.706332],
                    [1.0, 0.0, 0.21904],
                ],
            ),
        ] {
            let mut pixels = PIXELS;
            change.apply(&mut pixels);
            let apart = pixels.as_flattened().iter().zip(expected.as_flattened()).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f32::max) < 2e-6, "{change:?}: {pixels:?}");
        }
    }

    /// torch.nn.functional.grid_sample with padding_mode="reflection", which inside the image is torchvision's rotate.
    #[test]
    fn images_turn_as_in_pytorch() {
        let grey: Vec<u8> = (0..25).map(|i| (70 * i % 251) as u8).collect();
        let pixels: Vec<u8> = grey.iter().flat_map(|&value| [value, 255 - value, value / 2]).collect();
        let turned: [(f32, [f32; 25]); 3] = [
            (
                90.0,
                [
                    29.0, 128.0, 227.0, 75.0, 174.0, 210.0, 58.0, 157.0, 5.0, 104.0, 140.0, 239.0, 87.0, 186.0, 34.0,
                    70.0, 169.0, 17.0, 116.0, 215.0, 0.0, 99.0, 198.0, 46.0, 145.0,
                ],
            ),
            (
                30.0,
                [
                    88.756, 149.378, 169.272, 103.452, 154.527, 67.02, 177.142, 144.95, 146.385, 206.636, 117.756,
                    102.378, 87.0, 88.436, 56.244, 184.737, 85.859, 137.737, 97.741, 106.98, 86.728, 78.351, 188.473,
                    58.249, 85.244,
                ],
            ),
            (
                -17.0,
                [
                    66.541, 69.723, 107.72, 166.009, 150.656, 161.215, 121.487, 211.892, 135.65, 99.426, 106.128,
                    49.003, 87.0, 128.203, 162.993, 126.147, 143.167, 131.961, 73.49, 170.523, 192.049, 101.253,
                    75.389, 104.277, 107.459,
                ],
            ),
        ];
        for (degrees, expected) in turned {
            let found = rotated(&pixels, degrees);
            for (pixel, expected) in found.as_chunks::<3>().0.iter().zip(expected) {
                assert!((f32::from(pixel[0]) - expected).abs() < 0.51, "{degrees}: {pixel:?} {expected}");
                assert!((f32::from(pixel[1]) - (255.0 - expected)).abs() < 0.51, "{degrees}: {pixel:?} {expected}");
            }
        }
        assert_eq!(rotated(&pixels, 0.0), pixels);
        assert_eq!(rotated(&rotated(&pixels, 180.0), 180.0), pixels);
    }

    #[test]
    fn cuts_lie_within_the_image_and_have_the_areas_and_shapes_asked_for() {
        let side = 200;
        for scale in [[0.08, 1.0], [0.5, 0.5], [0.25, 0.3], [1.0, 1.0]] {
            let mut rng = random("augment", 1, 2);
            let cuts: Vec<_> = (0..500).map(|_| random_cut(side, scale, &mut rng)).collect();
            for &[left, top, width, height] in &cuts {
                assert!(width > 0 && height > 0 && left + width <= side && top + height <= side);
                let (area, ratio) =
                    (f64::from(width * height) / f64::from(side * side), f64::from(width) / f64::from(height));
                let whole = width == side && height == side;
                let [least, most] = scale.map(f64::from);
                assert!(whole || (least - 0.02..=most + 0.02).contains(&area), "{area} {scale:?}");
                assert!((0.74..=1.36).contains(&ratio), "{ratio}");
            }
            if scale[0] < 1.0 {
                let of = |pick: fn(&[u32; 4]) -> u32| cuts.iter().map(pick).collect::<std::collections::BTreeSet<_>>();
                assert!(of(|cut| cut[0]).len() > 20 && of(|cut| cut[2]).len() > 20, "they differ");
            }
        }
    }

    #[test]
    fn an_image_depends_on_seed_epoch_and_index_alone() {
        let pixels: Vec<u8> = (0..24 * 24 * 3).map(|i| (i * 37 % 256) as u8).collect();
        let augment = AugmentOptions {
            flip: true,
            crop_scale: Some([0.3, 0.9]),
            rotate: 20.0,
            color_jitter: Some([0.4, 0.4, 0.4]),
        };
        let of = |augment, seed, epoch, index| {
            EpochChanges { augment, seed, epoch }.image(index, Cow::Borrowed(&pixels), 16).into_owned()
        };
        let image = of(augment, 1, 2, 3);
        assert_eq!(image.len(), 16 * 16 * 3);
        assert_eq!(image, of(augment, 1, 2, 3));
        for other in [of(augment, 0, 2, 3), of(augment, 1, 1, 3), of(augment, 1, 2, 4)] {
            assert_ne!(image, other);
        }
        // Nothing is changed that may not be.
        let plain = AugmentOptions { flip: true, ..AugmentOptions::default() };
        assert_eq!(of(plain, 1, 2, 3), pixels);
        let still = AugmentOptions { color_jitter: Some([0.0; 3]), ..AugmentOptions::default() };
        assert_eq!(of(still, 1, 2, 3), pixels);
        let whole = AugmentOptions { crop_scale: Some([1.0, 1.0]), ..AugmentOptions::default() };
        let fitted = super::super::fit::middle_square(&pixels, [24; 2], super::super::fit::Fit::to(16));
        assert!((0..100).all(|index| of(whole, 1, 2, index) == fitted), "no other shape has its area");
    }

    /// Adding an option leaves what the others draw as it is, so that all at once are the same as one after the other.
    #[test]
    fn each_change_depends_on_its_own_option_alone() {
        let pixels: Vec<u8> = (0..24 * 24 * 3).map(|i| (i * 37 % 256) as u8).collect();
        let cut = AugmentOptions { crop_scale: Some([0.3, 0.9]), ..AugmentOptions::default() };
        let turn = AugmentOptions { rotate: 20.0, ..AugmentOptions::default() };
        let colours = AugmentOptions { color_jitter: Some([0.4, 0.2, 0.3]), ..AugmentOptions::default() };
        let of = |augment, index, pixels: &[u8]| {
            let changes = EpochChanges { augment, seed: 5, epoch: 3 };
            (changes.image(index, Cow::Borrowed(pixels), 16).into_owned(), changes.flip(index))
        };
        for index in 0..20 {
            for (both, one, other) in [
                (AugmentOptions { rotate: turn.rotate, ..cut }, cut, turn),
                (AugmentOptions { color_jitter: colours.color_jitter, ..cut }, cut, colours),
                (AugmentOptions { color_jitter: colours.color_jitter, ..turn }, turn, colours),
            ] {
                let (between, _) = of(one, index, &pixels);
                assert_eq!(of(both, index, &pixels), of(other, index, &between), "{both:?}, image {index}");
            }
            let all = AugmentOptions { rotate: turn.rotate, color_jitter: colours.color_jitter, flip: true, ..cut };
            let (between, _) = of(turn, index, &of(cut, index, &pixels).0);
            let (_, flips) = of(AugmentOptions { flip: true, ..AugmentOptions::default() }, index, &pixels);
            assert_eq!(of(all, index, &pixels), (of(colours, index, &between).0, flips), "image {index}");
        }
    }

    #[test]
    fn changes_are_told_in_words() {
        for (augment, told) in [
            (AugmentOptions::default(), "left as they are"),
            (AugmentOptions { flip: true, ..AugmentOptions::default() }, "changed at random: flipped"),
            (
                AugmentOptions { rotate: 10.0, ..AugmentOptions::default() },
                "changed at random: turned by up to 10 degrees",
            ),
            (
                AugmentOptions {
                    flip: true,
                    crop_scale: Some([0.08, 1.0]),
                    rotate: 2.5,
                    color_jitter: Some([0.2, 0.125, 0.0]),
                },
                "changed at random: flipped, cut to 8 to 100 % of their area, turned by up to 2.5 degrees, with brightness, contrast and \
                 saturation changed by up to 20, 12.5 and 0 %",
            ),
        ] {
            assert_eq!(augment.told(), told);
        }
    }

    #[test]
    fn there_is_room_for_cuts_without_scaling_them_up() {
        let room = |crop_scale| AugmentOptions { crop_scale, ..AugmentOptions::default() }.room(100);
        assert_eq!(room(None), None);
        assert_eq!([1.0, 0.5625, 0.25, 0.08].map(|least| room(Some([least, 1.0]))), [100, 134, 200, 200].map(Some));
    }
}
