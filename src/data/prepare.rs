//! One file to one small square picture, and one picture to the network's input.
//!
//! Training, validation and prediction all go through [`load`] and [`to_tensor`], so the network
//! meets a photo in the same shape everywhere.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

/// Mean of the normalisation, the same for each colour.
pub const MEAN: f32 = 0.5;
/// Standard deviation of the normalisation, the same for each colour.
pub const STD: f32 = 0.5;
/// Values a pixel has in a tensor: red, green, blue and a zero, so that the GPU reads a pixel as
/// one vector of four.
pub const CHANNELS: usize = 4;

/// Longest side of a picture that is read, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most bytes of a file, and of its decoded picture. A real photo stays far below; a few malicious
/// bytes can claim more.
const MAX_BYTES: u64 = 256 << 20;

/// Reads a JPEG or PNG picture as `size * size` pixels: RGB bytes, row-major.
///
/// The file's content decides what it is, not its name. The picture is turned upright as its EXIF
/// orientation asks, scaled so that its shorter side has `size` pixels, and its middle square is
/// cut out. Grey, palette, 16-bit and CMYK pictures become 8-bit RGB. What is transparent becomes
/// white, as most viewers show it: the colours stored under transparent pixels are arbitrary, and
/// the network must not learn from them.
///
/// # Errors
/// The reason why the file cannot be used, worded to follow its name: "is a GIF, only JPEG and PNG
/// are read".
pub fn load(path: &Path, size: u32) -> Result<Vec<u8>, String> {
    check_file(path)?;
    let bytes = fs::read(path).map_err(unreadable)?;
    let image = decode(&bytes)?;
    Ok(fit(&image, size))
}

/// Writes a square RGB picture as (size, size, 4) values `(x / 255 - 0.5) / 0.5`, flipped left to
/// right if `flip`.
///
/// # Panics
/// If `pixels` is no square RGB picture, or if `out` has not [`CHANNELS`] values for each pixel.
pub fn to_tensor(pixels: &[u8], flip: bool, out: &mut [f32]) {
    let (pixels, rest) = pixels.as_chunks::<3>();
    let (out, out_rest) = out.as_chunks_mut::<CHANNELS>();
    let size = pixels.len().isqrt();
    assert!(rest.is_empty() && size > 0 && size * size == pixels.len(), "to_tensor takes a square RGB picture");
    assert!(out_rest.is_empty() && out.len() == pixels.len(), "to_tensor writes {CHANNELS} values a pixel");
    for (row, out_row) in pixels.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
        for (x, pixel) in row.iter().enumerate() {
            let [red, green, blue] = pixel.map(|byte| NORMALISED[usize::from(byte)]);
            let place = if flip { size - 1 - x } else { x };
            out_row[place] = [red, green, blue, 0.0];
        }
    }
}

/// The normalised value of each byte.
const NORMALISED: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as f32 / 255.0 - MEAN) / STD;
        byte += 1;
    }
    table
};

/// One picture of RGB bytes as the network gets it, [`to_tensor`] without a flip.
///
/// # Panics
/// As [`to_tensor`].
pub fn tensor(pixels: &[u8]) -> Vec<f32> {
    let mut picture = vec![0.0; pixels.len() / 3 * CHANNELS];
    to_tensor(pixels, false, &mut picture);
    picture
}

/// Refuses, without opening it, what cannot be a picture: no regular file, an empty file, a file
/// beyond all measure.
pub(super) fn check_file(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a regular file".into());
    }
    match metadata.len() {
        0 => Err("is empty (0 bytes)".into()),
        1..=MAX_BYTES => Ok(()),
        len => Err(format!("has {len} bytes, more than the {MAX_BYTES} that are read")),
    }
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

/// Decodes a JPEG or PNG file's bytes to an upright RGB picture.
fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
        Ok(other) => {
            let name = format!("{other:?}").to_uppercase();
            return Err(format!("is a {name}, only JPEG and PNG are read"));
        }
        Err(_) => return Err("is no JPEG or PNG picture".into()),
    };
    // The decoder takes a JPEG that breaks off for a whole one and fills the rest with grey. A PNG
    // that breaks off it reports by itself.
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err("is cut short: the JPEG's end-of-image marker is missing".into());
    }
    let undecodable = |error| format!("cannot be decoded: {error}");
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let (width, height) = decoder.dimensions();
    // The JPEG decoder ignores the limit on allocations, so the picture's size is checked here for
    // both formats.
    if width.max(height) > MAX_SIDE || decoder.total_bytes() > MAX_BYTES {
        return Err(format!(
            "is too large: {width} x {height} pixels; at most {MAX_SIDE} a side and {} MiB \
             decoded are read",
            MAX_BYTES >> 20
        ));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    image.apply_orientation(orientation);
    Ok(to_rgb(image))
}

/// Whether a JPEG goes on to its own end-of-image marker (FF D9).
///
/// Walks from marker to marker and skips the content of segments, since an EXIF segment may hold a
/// thumbnail, a JPEG with an end of its own. Bytes after the end do not matter: some cameras and
/// phones append things.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    // A marker is FF and a code. FF 00 is a byte FF of picture data, and a further FF before the
    // code is padding.
    let is_marker = |pair: &[u8]| pair[0] == 0xFF && pair[1] != 0x00 && pair[1] != 0xFF;
    let mut rest = bytes;
    while let Some(start) = rest.windows(2).position(is_marker) {
        let code = rest[start + 1];
        rest = &rest[start + 2..];
        let has_length = matches!(code, 0xC0..=0xCF | 0xDA..=0xFE);
        if code == 0xD9 {
            return true;
        } else if has_length {
            let Some(&[high, low]) = rest.first_chunk() else {
                return false;
            };
            let length = u16::from_be_bytes([high, low]);
            rest = rest.get(usize::from(length)..).unwrap_or_default();
        }
    }
    false
}

/// Converts to 8-bit RGB; what is transparent becomes white.
fn to_rgb(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0.map(u16::from);
        let over_white = |colour| ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        Rgb([red, green, blue].map(over_white))
    })
}

/// Scales a picture so that its shorter side has `size` pixels, and cuts out the middle square.
///
/// Bilinear with antialiasing: a triangle filter as wide as the scale, which is what Pillow calls
/// BILINEAR. Only the square is computed, from the part of the picture that it shows, so a picture
/// of extreme shape takes no more memory.
fn fit(image: &RgbImage, size: u32) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let shorter = width.min(height);
    let (left, shown_width) = shown(width, shorter, size);
    let (top, shown_height) = shown(height, shorter, size);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(
        left,
        top,
        shown_width,
        shown_height,
    );
    let source =
        ImageRef::new(width, height, image.as_raw(), PixelType::U8x3).expect("an RGB image has three bytes a pixel");
    let mut square = Image::new(size, size, PixelType::U8x3);
    Resizer::new().resize(&source, &mut square, &options).expect("the shown part lies within the picture");
    square.into_vec()
}

/// Start and length of the part of a side, in the picture's own pixels, that the middle square
/// shows.
///
/// The side would be scaled to `round(side * size / shorter)` pixels, of which `size` are shown.
fn shown(side: u32, shorter: u32, size: u32) -> (f64, f64) {
    let [whole, shorter, size] = [side, shorter, size].map(u64::from);
    let scaled = (whole * size + shorter / 2) / shorter;
    let offset = (scaled - size) / 2;
    let pixel = whole as f64 / scaled as f64;
    let start = offset as f64 * pixel;
    (start, (size as f64 * pixel).min(whole as f64 - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture without symmetry or large even areas.
    fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let [x, y] = [x, y].map(|v| f64::from(v) * 0.3);
            let wave = |phase: f64| (128.0 + 120.0 * (x + 0.7 * y + (0.2 * x * y).sin() + phase).sin()) as u8;
            Rgb([wave(0.0), wave(1.0), wave(2.5)])
        })
    }

    #[test]
    fn normalisation_follows_the_formula_for_every_byte() {
        for byte in 0..=255u8 {
            let expected = (f32::from(byte) / 255.0 - 0.5) / 0.5;
            let mut out = [9.0; 4];
            to_tensor(&[byte, 0, 255], false, &mut out);
            assert_eq!(out, [expected, -1.0, 1.0, 0.0]);
        }
    }

    #[test]
    fn a_tensor_is_padded_to_four_channels_and_flips_left_to_right() {
        let pixels: Vec<u8> = (0..12).map(|i| i * 20).collect();
        let n = |i: usize| NORMALISED[i * 20];
        let pixel = |i: usize| [n(3 * i), n(3 * i + 1), n(3 * i + 2), 0.0];
        let mut out = [9.0; 16];
        to_tensor(&pixels, false, &mut out);
        assert_eq!(out, *[0, 1, 2, 3].map(pixel).as_flattened());
        to_tensor(&pixels, true, &mut out);
        assert_eq!(out, *[1, 0, 3, 2].map(pixel).as_flattened());
    }

    #[test]
    #[should_panic(expected = "square RGB picture")]
    fn a_tensor_is_made_of_a_square() {
        to_tensor(&[0; 6], false, &mut [0.0; 8]);
    }

    /// Cutting before scaling gives what scaling the whole picture and cutting then would give.
    #[test]
    fn fit_equals_scaling_then_cutting() {
        for (width, height, size) in
            [(53, 37, 16), (37, 53, 16), (40, 40, 7), (31, 30, 31), (9, 5, 16), (3, 211, 8), (160, 7, 7)]
        {
            let picture = pattern(width, height);
            let scale = |side: u32| (f64::from(side * size) / f64::from(width.min(height))).round() as u32;
            let (scaled_width, scaled_height) = (scale(width), scale(height));
            let source = ImageRef::new(width, height, picture.as_raw(), PixelType::U8x3).unwrap();
            let mut scaled = Image::new(scaled_width, scaled_height, PixelType::U8x3);
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
            Resizer::new().resize(&source, &mut scaled, &options).unwrap();
            let scaled = RgbImage::from_raw(scaled_width, scaled_height, scaled.into_vec()).unwrap();
            let (left, top) = ((scaled_width - size) / 2, (scaled_height - size) / 2);
            let expected = image::imageops::crop_imm(&scaled, left, top, size, size).to_image();
            assert_eq!(fit(&picture, size), expected.into_raw(), "{width} x {height} to {size}");
        }
    }

    #[test]
    fn a_picture_of_the_right_size_is_left_as_it_is() {
        let picture = pattern(24, 24);
        assert_eq!(fit(&picture, 24), picture.into_raw());
    }

    /// The shown part must never stick out of the picture, not even by a rounding error.
    #[test]
    fn the_shown_part_lies_within_every_side() {
        for shorter in 1..300 {
            for longer in [shorter, shorter + 1, 2 * shorter - 1, 3 * shorter + 2, MAX_SIDE] {
                for size in [1, 2, 31, 32, 128, 224] {
                    for side in [shorter, longer] {
                        let (start, length) = shown(side, shorter, size);
                        assert!(start >= 0.0 && length > 0.0);
                        assert!(start + length <= f64::from(side), "{side} {shorter} {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_jpeg_is_complete_at_its_own_end_marker_only() {
        let start = [0xFF, 0xD8];
        let end = [0xFF, 0xD9];
        // A segment of 6 bytes, its length included, that holds an end marker.
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2];
        let scan = [0xFF, 0xDA, 0, 3, 7];
        // A stuffed FF, a restart marker and padding, as found among picture data.
        let data = [5, 0xFF, 0x00, 0xD9, 0xFF, 0xD3, 8, 0xFF, 0xFF];
        let whole = |parts: &[&[u8]]| jpeg_is_complete(&parts.concat());
        assert!(whole(&[&start, &thumbnail, &scan, &data, &end]));
        assert!(whole(&[&start, &thumbnail, &scan, &data, &end, b"appended by a camera"]));
        assert!(!whole(&[&start, &thumbnail, &scan, &data]));
        assert!(!whole(&[&start, &thumbnail, &scan, &data, &[0xFF]]));
        assert!(!whole(&[&start, &thumbnail[..7]]));
        assert!(!whole(&[&start, &thumbnail[..3]]));
        assert!(!whole(&[&start]));
    }
}
