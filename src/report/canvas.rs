//! A sheet of pixels that grows downwards as it is drawn on.
//!
//! Places are (x, y) of a top left corner, sizes are (width, height), both in pixels.

use image::{Rgb, RgbImage};

use super::text::Font;

/// The colour of the sheet.
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
/// The colour of headings and of text.
pub const INK: Rgb<u8> = Rgb([32, 34, 40]);
/// The colour of labels, which should not compete with the maps.
pub const MUTED: Rgb<u8> = Rgb([104, 108, 116]);
/// The colour of thin lines around maps, and of hatching.
const LINE: Rgb<u8> = Rgb([188, 191, 197]);

/// A sheet of fixed width; it is as high as the lowest pixel drawn.
pub struct Canvas {
    width: usize,
    pixels: Vec<Rgb<u8>>,
}

impl Canvas {
    pub fn new(width: usize) -> Self {
        let pixels = Vec::new();
        Canvas { width, pixels }
    }

    /// The finished picture, with `margin` empty rows below the lowest pixel.
    pub fn into_image(self, margin: usize) -> RgbImage {
        let height = self.pixels.len() / self.width + margin;
        RgbImage::from_fn(self.width as u32, height as u32, |x, y| {
            let pixel = self.pixels.get(y as usize * self.width + x as usize);
            *pixel.unwrap_or(&PAPER)
        })
    }

    /// Colours one pixel; what lies right of the sheet is cut off.
    fn set(&mut self, x: usize, y: usize, colour: Rgb<u8>) {
        if x >= self.width {
            return;
        }
        let size = (y + 1) * self.width;
        if self.pixels.len() < size {
            self.pixels.resize(size, PAPER);
        }
        self.pixels[y * self.width + x] = colour;
    }

    /// Draws `columns` x `rows` colours, given by column and row, each as a square of `factor` x
    /// `factor` pixels.
    pub fn blocks(
        &mut self,
        (x, y): (usize, usize),
        (columns, rows): (usize, usize),
        factor: usize,
        colour: impl Fn(usize, usize) -> Rgb<u8>,
    ) {
        for dy in 0..rows * factor {
            for dx in 0..columns * factor {
                self.set(x + dx, y + dy, colour(dx / factor, dy / factor));
            }
        }
    }

    /// Draws a photo, each pixel as a square of `factor` x `factor` pixels.
    pub fn photo(&mut self, at: (usize, usize), photo: &RgbImage, factor: usize) {
        let size = (photo.width() as usize, photo.height() as usize);
        self.blocks(at, size, factor, |x, y| *photo.get_pixel(x as u32, y as u32));
    }

    /// Fills a rectangle with slanted lines, which look like no colour of a scale.
    pub fn hatch(&mut self, at: (usize, usize), size: (usize, usize)) {
        self.blocks(at, size, 1, |x, y| if (x + y) % 8 < 2 { LINE } else { PAPER });
        self.border(at, size);
    }

    /// Draws a thin line just outside a rectangle.
    pub fn border(&mut self, at: (usize, usize), size: (usize, usize)) {
        self.ring(at, size, 1, LINE);
    }

    /// Draws a line that shows on any photograph just outside a rectangle.
    pub fn frame(&mut self, at: (usize, usize), size: (usize, usize)) {
        self.ring(at, size, 1, Rgb([255, 255, 255]));
        self.ring(at, size, 2, Rgb([0, 0, 0]));
    }

    /// Draws the line of one pixel that runs `distance` pixels outside a rectangle.
    fn ring(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), distance: usize, colour: Rgb<u8>) {
        let (left, right) = (x - distance, x + width - 1 + distance);
        let (top, bottom) = (y - distance, y + height - 1 + distance);
        for x in left..=right {
            self.set(x, top, colour);
            self.set(x, bottom, colour);
        }
        for y in top..=bottom {
            self.set(left, y, colour);
            self.set(right, y, colour);
        }
    }

    /// Writes one line of text on empty paper.
    pub fn text(&mut self, (x, y): (usize, usize), text: &str, font: Font, ink: Rgb<u8>) {
        for (i, c) in text.chars().enumerate() {
            let left = x + i * font.width();
            for (dy, row) in font.glyph(c).rows().enumerate() {
                for (dx, &coverage) in row.iter().enumerate() {
                    self.set(left + dx, y + dy, mix(PAPER, ink, coverage));
                }
            }
        }
    }
}

/// The colour of paper that `coverage` / 255 of is covered by ink.
fn mix(paper: Rgb<u8>, ink: Rgb<u8>, coverage: u8) -> Rgb<u8> {
    let coverage = u32::from(coverage);
    Rgb([0, 1, 2].map(|i| {
        let sum = u32::from(paper[i]) * (255 - coverage) + u32::from(ink[i]) * coverage;
        ((sum + 127) / 255) as u8
    }))
}
