//! Images inside the page.

use std::io::Cursor;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ImageFormat, ImageReader, Limits, RgbImage};
use serde::{Deserialize, Serialize};

/// Longest side of an image in the page, in pixels: what is larger is shrunk, so that the page stays small.
const SIDE: u32 = 224;
/// The most bytes of memory that it takes to decode one.
const MEMORY: u64 = 16 << 20;
/// Quality of photos, of 100.
const QUALITY: u8 = 82;
/// How the URIs of photos begin, and those of maps.
const JPEG: &str = "data:image/jpeg;base64,";
const PNG: &str = "data:image/png;base64,";

/// An image as a `data:` URI, which needs no file beside the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddedImage(String);

impl EmbeddedImage {
    /// A photo, as JPEG.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn photo(photo: &RgbImage) -> Result<Self> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&fitting(photo))?;
        Ok(Self(uri(JPEG, &bytes)))
    }

    /// A map, every pixel as it is where there is room, as PNG.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn map(map: &RgbImage) -> Result<Self> {
        let mut bytes = Cursor::new(Vec::new());
        fitting(map).write_to(&mut bytes, ImageFormat::Png)?;
        Ok(Self(uri(PNG, bytes.get_ref())))
    }

    /// The URI.
    pub fn uri(&self) -> &str {
        &self.0
    }

    /// Whether it is a photo rather than a map.
    pub fn is_photo(&self) -> bool {
        self.0.starts_with(JPEG)
    }

    /// Refuses what is no image of this kind, for it may come from a file.
    ///
    /// # Errors
    /// When it would have to be fetched from elsewhere, is larger than images of a page are, or cannot be decoded.
    pub fn check(&self) -> Result<()> {
        let known = [(JPEG, ImageFormat::Jpeg), (PNG, ImageFormat::Png)].into_iter();
        let mut known = known.filter_map(|(start, format)| Some((self.0.strip_prefix(start)?, format)));
        let (data, format) = known.next().context("an image is not part of the file")?;
        let bytes = STANDARD.decode(data).map_err(|error| anyhow!("an image is no base64 text: {error}"))?;
        // Decoders of JPEG make grey of what is missing.
        let whole = format != ImageFormat::Jpeg || bytes.ends_with(&[0xff, 0xd9]);
        ensure!(whole, "an image is cut off");
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::no_limits();
        (limits.max_image_width, limits.max_image_height) = (Some(SIDE), Some(SIDE));
        limits.max_alloc = Some(MEMORY);
        reader.limits(limits);
        reader.decode().context("an image cannot be decoded")?;
        Ok(())
    }
}

fn fitting(image: &RgbImage) -> RgbImage {
    let longest = image.width().max(image.height());
    if longest <= SIDE {
        return image.clone();
    }
    let side = |length: u32| (length * SIDE).div_ceil(longest);
    imageops::resize(image, side(image.width()), side(image.height()), FilterType::Triangle)
}

fn uri(start: &str, bytes: &[u8]) -> String {
    format!("{start}{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_part_of_the_page_and_small() {
        let large = RgbImage::from_fn(1000, 500, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
        for image in [EmbeddedImage::photo(&large).unwrap(), EmbeddedImage::map(&large).unwrap()] {
            image.check().unwrap();
            let (_, data) = image.uri().split_once(',').unwrap();
            let shrunk = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap();
            assert_eq!((shrunk.width(), shrunk.height()), (224, 112));
        }
        let EmbeddedImage(whole) = EmbeddedImage::photo(&large).unwrap();
        let bomb = RgbImage::new(SIDE + 1, 1);
        let mut bytes = Cursor::new(Vec::new());
        bomb.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let broken = ["https://example.org/a.png", JPEG, &whole[..whole.len() / 2], &whole.replace('/', "!")];
        for uri in broken.map(String::from).into_iter().chain([uri(PNG, bytes.get_ref())]) {
            assert!(EmbeddedImage(uri.clone()).check().is_err(), "{uri:.60}");
        }
    }

    #[test]
    fn small_maps_are_kept_to_the_pixel() {
        let map = RgbImage::from_fn(3, 3, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let image = EmbeddedImage::map(&map).unwrap();
        let (_, data) = image.uri().split_once(',').unwrap();
        assert_eq!(image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap().to_rgb8(), map);
    }
}
