//! One file to one small square image, and one image to the network's input.
//!
//! Training, validation and prediction all go through [`load`] and [`to_tensor`], so the network
//! meets a photo in the same shape everywhere.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use super::jpeg::{self, ScanLayout};

/// Mean of the normalisation, the same for each colour.
pub const MEAN: f32 = 0.5;
/// Standard deviation of the normalisation, the same for each colour.
pub const STD: f32 = 0.5;
/// Values a pixel has in a tensor: red, green, blue and a zero, so that the GPU reads a pixel as
/// one vector of four.
pub const CHANNELS: usize = 4;

/// Longest side of an image that is read, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most bytes of a file. A real photo stays far below.
const MAX_BYTES: u64 = 256 << 20;
/// Most bytes of memory that it takes to decode a file and make RGB of it, in each thread that does so. A few malicious
/// bytes can claim more.
const MAX_MEMORY: u64 = 512 << 20;

/// Reads a JPEG or PNG image as `size * size` pixels: RGB bytes, row-major.
///
/// The file's content decides what it is, not its name. The image is turned upright as its EXIF
/// orientation asks, scaled so that its shorter side has `size` pixels, and its middle square is
/// cut out. Grey, palette, 16-bit and CMYK images become 8-bit RGB. What is transparent becomes
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

/// Writes a square RGB image as (size, size, 4) values `(x / 255 - 0.5) / 0.5`, flipped left to
/// right if `flip`.
///
/// # Panics
/// If `pixels` is no square RGB image, or if `out` has not [`CHANNELS`] values for each pixel.
pub fn to_tensor(pixels: &[u8], flip: bool, out: &mut [f32]) {
    let (pixels, rest) = pixels.as_chunks::<3>();
    let (out, out_rest) = out.as_chunks_mut::<CHANNELS>();
    let size = pixels.len().isqrt();
    assert!(rest.is_empty() && size > 0 && size * size == pixels.len(), "to_tensor takes a square RGB image");
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

/// One image of RGB bytes as the network gets it, [`to_tensor`] without a flip.
///
/// # Panics
/// As [`to_tensor`].
pub fn tensor(pixels: &[u8]) -> Vec<f32> {
    let mut image = vec![0.0; pixels.len() / 3 * CHANNELS];
    to_tensor(pixels, false, &mut image);
    image
}

/// Refuses, without opening it, what cannot be an image: no regular file, an empty file, a file
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

/// Decodes a JPEG or PNG file's bytes to an upright RGB image.
fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
        Ok(other) => {
            let name = format!("{other:?}").to_uppercase();
            return Err(format!("is a {name}, only JPEG and PNG are read"));
        }
        Err(_) => return Err("is no JPEG or PNG image".into()),
    };
    let (image, orientation) = match format {
        ImageFormat::Jpeg => decode_jpeg(bytes)?,
        _ => decode_with(bytes, format)?,
    };
    let mut image = DynamicImage::from(to_rgb(image));
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// Decodes a JPEG that has all of its image, and says how it is to be turned.
fn decode_jpeg(bytes: &[u8]) -> Result<(DynamicImage, Orientation), String> {
    match jpeg::inspect(bytes)? {
        ScanLayout::Common => decode_with(bytes, ImageFormat::Jpeg),
        ScanLayout::Uncommon => {
            let (image, exif) = jpeg::decode_uncommon(bytes)?;
            let orientation = exif.and_then(|exif| Orientation::from_exif_chunk(&exif));
            Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
        }
    }
}

/// Decodes with the usual decoder of a format.
fn decode_with(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), String> {
    let undecodable = |error| format!("cannot be decoded: {error}");
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    if format == ImageFormat::Png {
        let (width, height) = decoder.dimensions();
        let turned = orientation != Orientation::NoTransforms;
        check_size(width, height, png_memory(decoder.dimensions(), decoder.color_type(), turned))?;
    }
    Ok((DynamicImage::from_decoder(decoder).map_err(undecodable)?, orientation))
}

/// Bytes that are needed at most to decode a PNG, to make RGB of it and to turn it.
fn png_memory((width, height): (u32, u32), colour: ColorType, turned: bool) -> u64 {
    let rgba = if colour.has_alpha() && colour != ColorType::Rgba8 { 4 } else { 0 };
    let rgb = if colour == ColorType::Rgb8 { 0 } else { 3 };
    let copy = if turned { 3 } else { 0 };
    u64::from(width) * u64::from(height) * (u64::from(colour.bytes_per_pixel()) + rgba + rgb + copy)
}

/// Refuses an image that is beyond all measure. `memory` is what it takes to decode it, in bytes.
pub(super) fn check_size(width: u32, height: u32, memory: u64) -> Result<(), String> {
    if width.max(height) > MAX_SIDE || memory > MAX_MEMORY {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        return Err(format!(
            "is too large: {width} x {height} pixels, which take {} MiB to decode; at most {MAX_SIDE} a side and {} MiB are \
             read",
            mib(memory),
            mib(MAX_MEMORY)
        ));
    }
    Ok(())
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

/// Scales an image so that its shorter side has `size` pixels, and cuts out the middle square.
///
/// Bilinear with antialiasing: a triangle filter as wide as the scale, which is what Pillow calls
/// BILINEAR. Only the square is computed, from the part of the image that it shows, so an image
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
    Resizer::new().resize(&source, &mut square, &options).expect("the shown part lies within the image");
    square.into_vec()
}

/// Start and length of the part of a side, in the image's own pixels, that the middle square
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

    /// An image without symmetry or large even areas.
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
    #[should_panic(expected = "square RGB image")]
    fn a_tensor_is_made_of_a_square() {
        to_tensor(&[0; 6], false, &mut [0.0; 8]);
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
            assert_eq!(fit(&image, size), expected.into_raw(), "{width} x {height} to {size}");
        }
    }

    #[test]
    fn an_image_of_the_right_size_is_left_as_it_is() {
        let image = pattern(24, 24);
        assert_eq!(fit(&image, 24), image.into_raw());
    }

    /// The shown part must never stick out of the image, not even by a rounding error.
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
    fn memory_is_counted_with_what_conversion_takes() {
        let side = (16_384, 16_384);
        // One bit a pixel is decoded to a byte and becomes three.
        assert_eq!(png_memory(side, ColorType::L8, false), 4 << 28);
        assert_eq!(png_memory(side, ColorType::Rgb8, false), 3 << 28);
        assert_eq!(png_memory(side, ColorType::Rgb8, true), 6 << 28);
        assert_eq!(png_memory(side, ColorType::Rgba8, false), 7 << 28);
        assert_eq!(png_memory(side, ColorType::La16, true), (4 + 4 + 3 + 3) << 28);
        assert!(check_size(16_384, 16_384, MAX_MEMORY).is_ok() && check_size(10, 10, MAX_MEMORY + 1).is_err());
        assert!(check_size(16_385, 1, 3).is_err());
    }
}
