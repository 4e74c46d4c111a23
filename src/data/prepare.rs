//! One file to one small square image.
//!
//! Training, validation and prediction all go through [`load`] and the same [`Preparation`](crate::nn::Preparation), so the network
//! meets a photo in the same shape everywhere.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use super::fit::{Fit, middle_square};
use super::jpeg::{self, ScanLayout};

/// Longest side of an image that is read, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most bytes of a file. A real photo stays far below.
const MAX_BYTES: u64 = 256 << 20;
/// Most bytes of memory that it takes to decode a file and make RGB of it, in each thread that does so. A few malicious
/// bytes can claim more.
const MAX_MEMORY: u64 = 512 << 20;
/// Most bytes of memory for what a PNG holds beside its image, such as a colour profile, which a few bytes may unpack to.
const MAX_BESIDE: u64 = 16 << 20;

/// Reads a JPEG or PNG image as a square: RGB bytes, row-major.
///
/// The file's content decides what it is, not its name. The image is turned upright as its EXIF
/// orientation asks and scaled, and its middle square is cut out. Grey, palette, 16-bit and CMYK images become 8-bit RGB. What is transparent becomes
/// white, as most viewers show it: the colours stored under transparent pixels are arbitrary, and
/// the network must not learn from them.
///
/// # Errors
/// The reason why the file cannot be used, worded to follow its name: "is a GIF, only JPEG and PNG
/// are read".
pub fn load(path: &Path, fit: Fit) -> Result<Vec<u8>, String> {
    Ok(open(path)?.square(fit))
}

/// A photo before it is made small.
pub struct Opened {
    /// The whole image, upright.
    pub image: RgbImage,
    /// What the file's content is.
    pub format: ImageFormat,
}

impl Opened {
    /// The image as [`load`] makes it.
    pub fn square(&self, fit: Fit) -> Vec<u8> {
        middle_square(self.image.as_raw(), self.image.dimensions().into(), fit)
    }
}

/// Reads a JPEG or PNG image as [`load`] does, in its own size.
///
/// # Errors
/// As [`load`].
pub fn open(path: &Path) -> Result<Opened, String> {
    decode(&read(path)?)
}

/// The bytes of a file that may be an image.
///
/// # Errors
/// As [`load`].
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    check_file(path)?;
    fs::read(path).map_err(unreadable)
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

/// Decodes a JPEG or PNG file's bytes to an upright RGB image, in its own size.
///
/// # Errors
/// As [`load`].
pub fn decode(bytes: &[u8]) -> Result<Opened, String> {
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
    Ok(Opened { image: image.into_rgb8(), format })
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
    // The decoder of PNG takes it for all but the image, whose memory is checked below.
    limits.max_alloc = Some(if format == ImageFormat::Png { MAX_BESIDE } else { MAX_MEMORY });
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

#[cfg(test)]
mod tests {
    use super::*;

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
