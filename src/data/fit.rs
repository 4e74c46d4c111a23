//! An image of any size to a small square.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::nn::Preparation;

/// Which square becomes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Its side, in pixels.
    pub size: u32,
    /// Pixels that the image's shorter side is scaled to before; without it, as many as the square's side.
    pub resize: Option<u32>,
}

impl Fit {
    /// The whole middle square of an image, scaled to this side.
    pub fn to(size: u32) -> Self {
        Self { size, resize: None }
    }

    /// The square that a network gets whose images have this side and are prepared like this.
    pub fn of(preparation: Preparation, size: u32) -> Self {
        Self { size, resize: preparation.resize_crop }
    }
}

/// Scales an image, RGB bytes row by row, and cuts out the middle square.
///
/// Bilinear with antialiasing: a triangle filter as wide as the scale, which is what Pillow calls
/// BILINEAR. Only the square is computed, from the part of the image that it shows, so an image
/// of extreme shape takes no more memory. With `resize`, the pixels are those of Pillow 11 to the
/// last bit; without, they may be a level or two off.
///
/// # Panics
/// When `rgb` has not three bytes for each pixel.
pub fn middle_square(rgb: &[u8], [width, height]: [u32; 2], fit: Fit) -> Vec<u8> {
    let shorter = width.min(height);
    if fit.resize.is_some() {
        return pillow_square(rgb, [width, height], fit);
    }
    let (left, shown_width) = shown(width, shorter, fit);
    let (top, shown_height) = shown(height, shorter, fit);
    scaled(rgb, [width, height], [left, top, shown_width, shown_height], fit.size)
}

/// Makes a square of a part of an image, given by its left edge, top edge, width and height.
pub(super) fn scaled(rgb: &[u8], [width, height]: [u32; 2], part: [f64; 4], size: u32) -> Vec<u8> {
    let [left, top, part_width, part_height] = part;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(
        left,
        top,
        part_width,
        part_height,
    );
    let source = TypedImageRef::<U8x3>::from_buffer(width, height, rgb).expect("an RGB image has three bytes a pixel");
    let mut pixels = vec![0; size as usize * size as usize * 3];
    let mut square = TypedImage::<U8x3>::from_buffer(size, size, &mut pixels).expect("room for three bytes a pixel");
    // `resize` would be compiled for every kind of pixel, a quarter of this crate's code.
    Resizer::new().resize_typed(&source, &mut square, &options).expect("the shown part lies within the image");
    pixels
}

/// Start and length of the part of a side, in the image's own pixels, that the middle square
/// shows.
///
/// The side would be scaled to `round(side * size / shorter)` pixels, of which `size` are shown.
fn shown(side: u32, shorter: u32, Fit { size, .. }: Fit) -> (f64, f64) {
    let [whole, shorter, size] = [side, shorter, size].map(u64::from);
    let scaled = (whole * size + shorter / 2) / shorter;
    let offset = (scaled - size) / 2;
    let pixel = whole as f64 / scaled as f64;
    let start = offset as f64 * pixel;
    (start, (size as f64 * pixel).min(whole as f64 - start))
}

/// A square as torchvision makes it by `Resize(resize)` and `CenterCrop(size)` of an image of Pillow.
fn pillow_square(rgb: &[u8], [width, height]: [u32; 2], Fit { size, resize }: Fit) -> Vec<u8> {
    let (shorter, resize) = (width.min(height), resize.unwrap_or(size));
    let [columns, rows] = [width, height].map(|side| {
        let (scaled, offset) = cut(side, shorter, resize, size);
        mixes(side, scaled, offset..offset + size)
    });
    // Only the rows that the square shows.
    let first = rows[0].first;
    let end = rows.iter().map(|row| row.first + row.weights.len()).max().unwrap_or(first);
    let (pixels, _) = rgb.as_chunks::<3>();
    let across: Vec<[u8; 3]> = pixels[first * width as usize..end * width as usize]
        .chunks(width as usize)
        .flat_map(|row| columns.iter().map(|mix| mix.of(|at| row[at])))
        .collect();
    let size = size as usize;
    let down =
        |row: &Mix| (0..size).flat_map(|column| row.of(|at| across[(at - first) * size + column])).collect::<Vec<u8>>();
    rows.iter().flat_map(down).collect()
}

/// What torchvision's `Resize` makes of a side of an image, and where its `CenterCrop` begins there. The scaled side is rounded down, the
/// start to the nearest pixel, to an even one where two are as near.
fn cut(side: u32, shorter: u32, resize: u32, size: u32) -> (u32, u32) {
    let scaled = (u64::from(side) * u64::from(resize) / u64::from(shorter)) as u32;
    let beyond = scaled - size;
    (scaled, beyond / 2 + u32::from(beyond % 4 == 3))
}

/// What a scaled pixel is mixed of: pixels from `first` on, each with its weight.
struct Mix {
    first: usize,
    /// Multiples of `2^-BITS`.
    weights: Vec<i32>,
}

/// Bits behind the point of Pillow's weights, which leave eight for a colour and one more for what is beyond it.
const BITS: u32 = 32 - 8 - 2;

impl Mix {
    fn of(&self, pixel: impl Fn(usize) -> [u8; 3]) -> [u8; 3] {
        let mut sums = [1 << (BITS - 1); 3];
        for (at, weight) in (self.first..).zip(&self.weights) {
            sums.iter_mut().zip(pixel(at)).for_each(|(sum, colour)| *sum += weight * i32::from(colour));
        }
        sums.map(|sum| (sum >> BITS).clamp(0, 255) as u8)
    }
}

/// The mixes of some pixels of a side that is scaled, as Pillow's `precompute_coeffs` finds them for BILINEAR: in the same order of
/// operations, so that they are equal to the last bit.
fn mixes(side: u32, scaled: u32, range: std::ops::Range<u32>) -> Vec<Mix> {
    let scale = f64::from(side) / f64::from(scaled);
    let support = scale.max(1.0);
    let inverse = 1.0 / support;
    let mix = |at: u32| {
        let centre = (f64::from(at) + 0.5) * scale;
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(side as usize);
        let weight = |pixel: usize| (1.0 - ((pixel as f64 - centre + 0.5) * inverse).abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (0.5 + weight / sum * f64::from(1 << BITS)) as i32;
        Mix { first, weights: weights.iter().map(fixed).collect() }
    };
    range.map(mix).collect()
}

#[cfg(all(test, feature = "native"))]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    /// An image without symmetry or large even areas.
    fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let [x, y] = [x, y].map(|v| f64::from(v) * 0.3);
            let wave = |phase: f64| (128.0 + 120.0 * (x + 0.7 * y + (0.2 * x * y).sin() + phase).sin()) as u8;
            Rgb([wave(0.0), wave(1.0), wave(2.5)])
        })
    }

    /// Cutting before scaling gives what scaling the whole image and cutting then would give.
    #[test]
    fn fit_equals_scaling_then_cutting() {
        for (width, height, size) in
            [(53, 37, 16), (37, 53, 16), (40, 40, 7), (31, 30, 31), (9, 5, 16), (3, 211, 8), (160, 7, 7)]
        {
            let image = pattern(width, height);
            let scale = |side: u32| (f64::from(side * size) / f64::from(width.min(height))).round() as u32;
            let (scaled_width, scaled_height) = (scale(width), scale(height));
            let source = TypedImageRef::<U8x3>::from_buffer(width, height, image.as_raw()).unwrap();
            let mut scaled = RgbImage::new(scaled_width, scaled_height);
            let mut target = TypedImage::<U8x3>::from_buffer(scaled_width, scaled_height, &mut scaled).unwrap();
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
            Resizer::new().resize_typed(&source, &mut target, &options).unwrap();
            let (left, top) = ((scaled_width - size) / 2, (scaled_height - size) / 2);
            let expected = image::imageops::crop_imm(&scaled, left, top, size, size).to_image();
            assert_eq!(
                middle_square(image.as_raw(), [width, height], Fit::to(size)),
                expected.into_raw(),
                "{width} x {height} to {size}"
            );
        }
    }

    #[test]
    fn an_image_of_the_right_size_is_left_as_it_is() {
        let image = pattern(24, 24);
        assert_eq!(middle_square(image.as_raw(), [24; 2], Fit::to(24)), image.into_raw());
    }

    /// The shown part must never stick out of the image, not even by a rounding error.
    #[test]
    fn the_shown_part_lies_within_every_side() {
        for shorter in 1..300 {
            for longer in [shorter, shorter + 1, 2 * shorter - 1, 3 * shorter + 2, 16_384] {
                for size in [1, 2, 31, 32, 128, 224] {
                    for side in [shorter, longer] {
                        let (start, length) = shown(side, shorter, Fit::to(size));
                        assert!(start >= 0.0 && length > 0.0);
                        assert!(start + length <= f64::from(side), "{side} {shorter} {size}");
                        for resize in [size, size + 1, size * 8 / 7, 3 * size] {
                            let (scaled, start) = cut(side, shorter, resize, size);
                            assert!(start + size <= scaled, "{side} {shorter} {size} {resize}");
                        }
                    }
                }
            }
        }
    }

    /// Shorter and longer side of an image, `resize`, `size`, and what torchvision's `Resize(resize)` makes of the longer side and
    /// where its `CenterCrop(size)` begins there.
    const CUTS: [(u32, u32, u32, u32, u32, u32); 9] = [
        (128, 419, 37, 32, 121, 44),
        (120, 373, 116, 100, 360, 130),
        (393, 587, 63, 63, 94, 16),
        (309, 323, 116, 100, 121, 10),
        (371, 372, 105, 100, 105, 2),
        (71, 84, 224, 224, 265, 20),
        (255, 365, 133, 100, 190, 45),
        (178, 290, 105, 100, 171, 36),
        (71, 284, 257, 224, 1028, 402),
    ];

    #[test]
    fn cuts_are_those_of_torchvision() {
        for (shorter, longer, resize, size, scaled, start) in CUTS {
            assert_eq!(cut(longer, shorter, resize, size), (scaled, start), "{shorter} x {longer}");
            assert_eq!(cut(shorter, shorter, resize, size).0, resize);
        }
    }

    /// torchvision's `CenterCrop(size)(Resize(resize)(image))` of the same bytes, in an image of Pillow.
    #[test]
    fn pixels_are_those_of_torchvision() {
        for (width, height, resize, expected) in [
            (
                23,
                17,
                5,
                [
                    135, 134, 130, 128, 127, 133, 135, 125, 131, 124, 134, 134, 121, 134, 128, 138, 127, 124, 124, 132,
                    120, 139, 115, 135, 128, 132, 115,
                ],
            ),
            (
                9,
                14,
                11,
                [
                    181, 92, 130, 93, 146, 116, 147, 132, 170, 150, 98, 128, 102, 155, 80, 159, 107, 137, 117, 170,
                    125, 110, 163, 43, 170, 81, 103,
                ],
            ),
            (
                6,
                6,
                6,
                [
                    20, 73, 126, 67, 120, 173, 114, 167, 220, 121, 174, 227, 173, 226, 23, 225, 22, 75, 222, 19, 72,
                    23, 76, 129, 80, 133, 186,
                ],
            ),
            (
                50,
                31,
                4,
                [
                    131, 126, 127, 130, 133, 129, 130, 138, 129, 129, 127, 124, 127, 133, 132, 124, 135, 131, 121, 121,
                    131, 129, 134, 125, 133, 136, 124,
                ],
            ),
        ] {
            let colour = |x: u32, y: u32, c: u32| ((x * 37 + y * 91 + c * 53 + x * y * 5) % 256) as u8;
            let rgb: Vec<u8> =
                (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| colour(x, y, c)))).collect();
            let fit = Fit { size: 3, resize: Some(resize) };
            assert_eq!(middle_square(&rgb, [width, height], fit), expected, "{width} x {height} to {resize}");
        }
    }

    /// Both ways to scale agree to within a level a pass, in any shape, where no rounding of sides parts them.
    #[test]
    fn both_ways_to_scale_agree() {
        for (side, size) in [(40, 20), (53, 17), (20, 33), (211, 8), (31, 31)] {
            let image = pattern(side, side);
            let usual = middle_square(image.as_raw(), [side; 2], Fit::to(size));
            let exact = middle_square(image.as_raw(), [side; 2], Fit { size, resize: Some(size) });
            assert!(usual.iter().zip(&exact).all(|(one, other)| one.abs_diff(*other) <= 2), "{side} to {size}");
            let cut_out = middle_square(image.as_raw(), [side; 2], Fit { size: 4, resize: Some(size) });
            let from = cut(side, side, size, 4).1;
            let part = (from..from + 4).flat_map(|y| exact[((y * size + from) * 3) as usize..][..12].to_vec());
            assert_eq!(cut_out, part.collect::<Vec<u8>>(), "{side} to {size}, cut");
        }
    }
}
