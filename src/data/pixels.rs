//! One image's bytes to numbers.
//!
//! Numbers of an image that are not said to be a network's own run from -1, black, over 0, grey, to 1, white. What a network is given
//! is made of these by its [`Normalize`].

use crate::nn::Normalize;

/// Values a pixel has in a tensor: red, green, blue and a zero, so that the GPU reads a pixel as
/// one vector of four.
pub const CHANNELS: usize = 4;

/// The number of each byte of each colour.
pub type Table = [[f32; 256]; 3];

/// The numbers that a network is given for each byte.
pub fn table(normalize: Normalize) -> Table {
    normalize.table(&SIGNED)
}

/// Writes a square RGB image as (size, size, 4) values `(x / 255 - 0.5) / 0.5`, flipped left to
/// right if `flip`.
///
/// # Panics
/// If `pixels` is no square RGB image, or if `out` has not [`CHANNELS`] values for each pixel.
pub fn to_tensor(pixels: &[u8], flip: bool, out: &mut [f32]) {
    to_numbers(pixels, flip, &[SIGNED; 3], out);
}

/// The same by a table.
///
/// # Panics
/// As [`to_tensor`].
pub fn to_numbers(pixels: &[u8], flip: bool, [reds, greens, blues]: &Table, out: &mut [f32]) {
    let (pixels, rest) = pixels.as_chunks::<3>();
    let (out, out_rest) = out.as_chunks_mut::<CHANNELS>();
    let size = pixels.len().isqrt();
    assert!(rest.is_empty() && size > 0 && size * size == pixels.len(), "to_tensor takes a square RGB image");
    assert!(out_rest.is_empty() && out.len() == pixels.len(), "to_tensor writes {CHANNELS} values a pixel");
    for (row, out_row) in pixels.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
        for (x, &[red, green, blue]) in row.iter().enumerate() {
            let place = if flip { size - 1 - x } else { x };
            out_row[place] = [reds[usize::from(red)], greens[usize::from(green)], blues[usize::from(blue)], 0.0];
        }
    }
}

/// Mirrors images of `size` rows, as [`to_tensor`] makes them, left to right in place.
///
/// # Panics
/// If the images are no whole rows.
pub fn mirror(images: &mut [f32], size: usize) {
    let (pixels, rest) = images.as_chunks_mut::<CHANNELS>();
    assert!(rest.is_empty() && pixels.len().is_multiple_of(size), "mirror takes whole rows of {size} pixels");
    pixels.chunks_exact_mut(size).for_each(<[_]>::reverse);
}

/// Each byte from -1, black, to 1, white.
const SIGNED: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as f32 / 255.0 - 0.5) / 0.5;
        byte += 1;
    }
    table
};

/// The byte of a number from -1, black, to 1, white.
pub fn byte(signed: f32) -> u8 {
    ((signed * 0.5 + 0.5) * 255.0).round() as u8
}

/// One image of RGB bytes, [`to_tensor`] without a flip.
///
/// # Panics
/// As [`to_tensor`].
pub fn tensor(pixels: &[u8]) -> Vec<f32> {
    let mut image = vec![0.0; pixels.len() / 3 * CHANNELS];
    to_tensor(pixels, false, &mut image);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_table_has_the_numbers_that_a_network_is_given() {
        let normalize: Normalize = "0.48,0.45,0.4,0.23,0.22,0.25".parse().unwrap();
        let (by, usual) = (table(normalize), table(Normalize::HALF));
        for value in 0..=255u8 {
            assert_eq!(byte(SIGNED[usize::from(value)]), value, "and back");
            let pixel = [value, 255 - value, value / 2];
            let (mut made, mut later) = ([9.0; 4], [9.0; 4]);
            to_numbers(&pixel, false, &by, &mut made);
            to_tensor(&pixel, false, &mut later);
            let mut numbers = [9.0; 4];
            to_numbers(&pixel, false, &usual, &mut numbers);
            assert_eq!(numbers, later);
            normalize.apply(&mut later);
            assert_eq!(made, later, "at once or later, to the last bit");
            for colour in 0..3 {
                let [mean, std] = [normalize.mean(), normalize.std()].map(|of| f64::from(of[colour]));
                let expected = (f64::from(pixel[colour]) / 255.0 - mean) / std;
                assert!((f64::from(made[colour]) - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_tensor_is_padded_to_four_channels_and_flips_left_to_right() {
        let pixels: Vec<u8> = (0..12).map(|i| i * 20).collect();
        let n = |i: usize| SIGNED[i * 20];
        let pixel = |i: usize| [n(3 * i), n(3 * i + 1), n(3 * i + 2), 0.0];
        let mut out = [9.0; 16];
        to_tensor(&pixels, false, &mut out);
        assert_eq!(out, *[0, 1, 2, 3].map(pixel).as_flattened());
        to_tensor(&pixels, true, &mut out);
        assert_eq!(out, *[1, 0, 3, 2].map(pixel).as_flattened());
    }

    #[test]
    fn a_mirrored_tensor_is_that_of_the_flipped_image() {
        for size in [1, 2, 3, 8] {
            let images: Vec<Vec<u8>> =
                (0..3).map(|image| (0..3 * size * size).map(|i| (37 * i + 11 * image) as u8).collect()).collect();
            let tensors = |flip| {
                let tensor = |pixels: &Vec<u8>| {
                    let mut out = vec![9.0; size * size * CHANNELS];
                    to_tensor(pixels, flip, &mut out);
                    out
                };
                images.iter().flat_map(tensor).collect::<Vec<f32>>()
            };
            let mut mirrored = tensors(false);
            mirror(&mut mirrored, size);
            assert_eq!(mirrored, tensors(true), "{size}");
            mirror(&mut mirrored, size);
            assert_eq!(mirrored, tensors(false), "{size}, twice");
        }
    }

    #[test]
    #[should_panic(expected = "square RGB image")]
    fn a_tensor_is_made_of_a_square() {
        to_tensor(&[0; 6], false, &mut [0.0; 8]);
    }
}
