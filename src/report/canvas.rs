//! A page of pixels that grows downwards as it is drawn on.

use image::{Rgb, RgbImage};

use super::text::Font;

/// The colour of the page.
pub const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
/// The colour of headings and of what must be read.
pub const INK: Rgb<u8> = Rgb([32, 34, 40]);
/// The colour of labels and thin lines that should not compete with the maps.
pub const MUTED: Rgb<u8> = Rgb([112, 116, 124]);
/// The colour of the line around a map.
const BORDER: Rgb<u8> = Rgb([188, 191, 197]);
/// Distance in pixels between the lines of a hatching, along a row.
const HATCH_STEP: usize = 8;

/// A page of fixed width; it is as high as the lowest pixel drawn.
pub struct Canvas {
    width: usize,
    pixels: Vec<Rgb<u8>>,
}

impl Canvas {
    pub fn new(width: usize) -> Self {
        Canvas {
            width,
            pixels: Vec::new(),
        }
    }

    /// The finished picture, with `margin` empty rows below the lowest pixel.
    pub fn into_image(mut self, margin: usize) -> RgbImage {
        self.pixels
            .resize(self.pixels.len() + margin * self.width, PAPER);
        let height = self.pixels.len() / self.width;
        RgbImage::from_fn(self.width as u32, height as u32, |x, y| {
            self.pixels[y as usize * self.width + x as usize]
        })
    }

    /// Colours one pixel; what lies right of the page is cut off.
    fn set(&mut self, x: usize, y: usize, colour: Rgb<u8>) {
        if x >= self.width {
            return;
        }
        let rows = (y + 1) * self.width;
        if self.pixels.len() < rows {
            self.pixels.resize(rows, PAPER);
        }
        self.pixels[y * self.width + x] = colour;
    }

    /// Enlarges `height` rows of `width` colours, each to a square of `factor` x `factor` pixels.
    pub fn blocks(
        &mut self,
        (x, y): (usize, usize),
        (height, width): (usize, usize),
        factor: usize,
        colour: impl Fn(usize, usize) -> Rgb<u8>,
    ) {
        for row in 0..height * factor {
            for column in 0..width * factor {
                self.set(x + column, y + row, colour(row / factor, column / factor));
            }
        }
    }

    /// Fills a rectangle with slanted lines: "nothing to see here", unlike any colour of a scale.
    pub fn hatch(&mut self, at: (usize, usize), size: (usize, usize)) {
        self.blocks(at, size, 1, |row, column| {
            if (row + column) % HATCH_STEP < 2 {
                BORDER
            } else {
                PAPER
            }
        });
    }

    /// Draws a thin line just outside a rectangle.
    pub fn border(&mut self, at: (usize, usize), size: (usize, usize)) {
        self.ring(at, size, 1, BORDER);
    }

    /// Draws a line that shows on any photograph around a rectangle, which stays visible.
    pub fn frame(&mut self, at: (usize, usize), size: (usize, usize)) {
        self.ring(at, size, 1, Rgb([255, 255, 255]));
        self.ring(at, size, 2, Rgb([0, 0, 0]));
    }

    /// Draws the line of one pixel that runs `distance` pixels outside a rectangle.
    fn ring(
        &mut self,
        (x, y): (usize, usize),
        (height, width): (usize, usize),
        distance: usize,
        colour: Rgb<u8>,
    ) {
        let (left, right) = (x - distance, x + width - 1 + distance);
        let (top, bottom) = (y - distance, y + height - 1 + distance);
        for column in left..=right {
            self.set(column, top, colour);
            self.set(column, bottom, colour);
        }
        for row in top..=bottom {
            self.set(left, row, colour);
            self.set(right, row, colour);
        }
    }

    /// Writes one line of text; (x, y) is its top left corner.
    pub fn text(&mut self, (x, y): (usize, usize), text: &str, font: Font, ink: Rgb<u8>) {
        for (i, c) in text.chars().enumerate() {
            for (row, coverages) in font.glyph(c).rows().enumerate() {
                for (column, &coverage) in coverages.iter().enumerate() {
                    let mix = |channel: usize| {
                        let (paper, ink) = (PAPER[channel] as u32, ink[channel] as u32);
                        let coverage = coverage as u32;
                        ((paper * (255 - coverage) + ink * coverage + 127) / 255) as u8
                    };
                    let colour = Rgb([mix(0), mix(1), mix(2)]);
                    self.set(x + i * font.width() + column, y + row, colour);
                }
            }
        }
    }
}
