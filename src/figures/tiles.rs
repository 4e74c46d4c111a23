//! Images side by side, without text.

use image::imageops;
use image::{Rgb, RgbImage};

/// The colour between the images.
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
/// The colour of hatching.
const LINE: Rgb<u8> = Rgb([188, 191, 197]);
/// Pixels between two images.
const GAP: u32 = 4;
/// Images up to which a sheet has the smaller number of columns, and their images the larger size.
const FEW: usize = 64;

/// How many images of a sheet of `count` stand in a row.
pub fn columns(count: usize) -> usize {
    if count <= FEW { 8.min(count.max(1)) } else { 16 }
}

/// A sheet of images, in rows of [`columns`], from left to right and from top to bottom. Each is enlarged by the same whole
/// number, never smoothed; the place of a missing one is hatched.
///
/// `size` is the largest width and height of an image, in pixels.
pub fn sheet(images: &[Option<RgbImage>], size: [u32; 2]) -> RgbImage {
    let target = if images.len() <= FEW { 128 } else { 84 };
    let factor = (target / size[0].max(size[1]).max(1)).max(1);
    tiles(images, size, columns(images.len()), factor)
}

/// Images in rows of `columns`, each pixel a square of `factor` pixels; the place of a missing one is hatched.
///
/// `size` is the largest width and height of an image, in pixels; a smaller one stands at the top left of its place.
pub fn tiles(images: &[Option<RgbImage>], size: [u32; 2], columns: usize, factor: u32) -> RgbImage {
    let [width, height] = size.map(|side| side * factor);
    let (columns, rows) = (columns as u32, images.len().div_ceil(columns) as u32);
    let [wide, high] = [columns * (width + GAP), rows * (height + GAP)].map(|side| side.saturating_sub(GAP).max(1));
    let mut sheet = RgbImage::from_pixel(wide, high, PAPER);
    for (number, image) in (0..).zip(images) {
        let [left, top] = [number % columns * (width + GAP), number / columns * (height + GAP)];
        let tile = match image {
            Some(image) => enlarged(image, factor),
            None => hatched(width, height),
        };
        imageops::replace(&mut sheet, &tile, left.into(), top.into());
    }
    sheet
}

/// Each pixel as a square of `factor` pixels.
pub fn enlarged(image: &RgbImage, factor: u32) -> RgbImage {
    let [width, height] = [image.width(), image.height()].map(|side| side * factor);
    RgbImage::from_fn(width, height, |x, y| *image.get_pixel(x / factor, y / factor))
}

/// Slanted lines, which look like no colour of a scale.
fn hatched(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| if (x + y) % 8 < 2 { LINE } else { PAPER })
}
