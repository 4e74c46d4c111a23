//! An image of any size to a small square.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

/// Which square becomes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Its side, in pixels.
    pub size: u32,
    /// Pixels that the image's shorter side is scaled to before; without it, as many as the square's side.
    pub resize: Option<u32>,
}

impl From<u32> for Fit {
    fn from(size: u32) -> Self {
        Self { size, resize: None }
    }
}

/// Scales an image, RGB bytes row by row, and cuts out the middle square.
///
/// Bilinear with antialiasing: a triangle filter as wide as the scale, which is what Pillow calls
/// BILINEAR. Only the square is computed, from the part of the image that it shows, so an image
/// of extreme shape takes no more memory.
///
/// # Panics
/// When `rgb` has not three bytes for each pixel.
pub fn middle_square(rgb: &[u8], [width, height]: [u32; 2], fit: impl Into<Fit>) -> Vec<u8> {
    let fit @ Fit { size, .. } = fit.into();
    let shorter = width.min(height);
    let (left, shown_width) = shown(width, shorter, fit);
    let (top, shown_height) = shown(height, shorter, fit);
    scaled(rgb, [width, height], [left, top, shown_width, shown_height], size)
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
    let source = ImageRef::new(width, height, rgb, PixelType::U8x3).expect("an RGB image has three bytes a pixel");
    let mut square = Image::new(size, size, PixelType::U8x3);
    Resizer::new().resize(&source, &mut square, &options).expect("the shown part lies within the image");
    square.into_vec()
}

/// Start and length of the part of a side, in the image's own pixels, that the middle square
/// shows.
///
/// The side would be scaled to `round(side * size / shorter)` pixels, of which `size` are shown, or with `resize` as torchvision's
/// `Resize(resize)` and `CenterCrop(size)` do it: the scaled side is rounded down, and the start of the cut to the nearest pixel, to
/// an even one where two are as near.
fn shown(side: u32, shorter: u32, Fit { size, resize }: Fit) -> (f64, f64) {
    let [whole, shorter, size] = [side, shorter, size].map(u64::from);
    let (scaled, offset) = match resize.map(u64::from) {
        None => {
            let scaled = (whole * size + shorter / 2) / shorter;
            (scaled, (scaled - size) / 2)
        }
        Some(resize) => {
            let scaled = whole * resize / shorter;
            let beyond = scaled - size;
            (scaled, beyond / 2 + u64::from(beyond % 4 == 3))
        }
    };
    let pixel = whole as f64 / scaled as f64;
    let start = offset as f64 * pixel;
    (start, (size as f64 * pixel).min(whole as f64 - start))
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
            let source = ImageRef::new(width, height, image.as_raw(), PixelType::U8x3).unwrap();
            let mut scaled = Image::new(scaled_width, scaled_height, PixelType::U8x3);
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
            Resizer::new().resize(&source, &mut scaled, &options).unwrap();
            let scaled = RgbImage::from_raw(scaled_width, scaled_height, scaled.into_vec()).unwrap();
            let (left, top) = ((scaled_width - size) / 2, (scaled_height - size) / 2);
            let expected = image::imageops::crop_imm(&scaled, left, top, size, size).to_image();
            assert_eq!(
                middle_square(image.as_raw(), [width, height], size),
                expected.into_raw(),
                "{width} x {height} to {size}"
            );
        }
    }

    #[test]
    fn an_image_of_the_right_size_is_left_as_it_is() {
        let image = pattern(24, 24);
        assert_eq!(middle_square(image.as_raw(), [24; 2], 24), image.into_raw());
    }

    /// The shown part must never stick out of the image, not even by a rounding error.
    #[test]
    fn the_shown_part_lies_within_every_side() {
        for shorter in 1..300 {
            for longer in [shorter, shorter + 1, 2 * shorter - 1, 3 * shorter + 2, 16_384] {
                for size in [1, 2, 31, 32, 128, 224] {
                    for (side, resize) in [shorter, longer].into_iter().flat_map(|side| {
                        [None, Some(size), Some(size + 1), Some(size * 8 / 7), Some(3 * size)]
                            .map(|resize| (side, resize))
                    }) {
                        let (start, length) = shown(side, shorter, Fit { size, resize });
                        assert!(start >= 0.0 && length > 0.0);
                        assert!(start + length <= f64::from(side), "{side} {shorter} {size} {resize:?}");
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
            let (left, length) = shown(longer, shorter, Fit { size, resize: Some(resize) });
            let pixel = f64::from(longer) / f64::from(scaled);
            assert!((left / pixel - f64::from(start)).abs() < 1e-6, "{shorter} x {longer}: {}", left / pixel);
            assert!((length / pixel - f64::from(size)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_square_of_the_whole_scaled_image_is_cut_from_its_middle() {
        let image = pattern(40, 40);
        let whole = middle_square(image.as_raw(), [40; 2], 20);
        let cut = middle_square(image.as_raw(), [40; 2], Fit { size: 10, resize: Some(20) });
        let middle: Vec<u8> = (5..15).flat_map(|y| whole[(y * 20 + 5) * 3..][..30].to_vec()).collect();
        assert_eq!(cut, middle);
    }
}
