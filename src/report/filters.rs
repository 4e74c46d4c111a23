//! The filters of the first convolution, which have a colour for each tap.

use image::{Rgb, RgbImage};

use super::canvas::MUTED;
use super::page::{CONTENT, Page, SPACE, SWATCH, even, fitting};
use super::scale::{Scale, largest};
use super::text::Font;
use super::{DAMAGED, PictureError};

/// Pixels of the page for one tap.
const TAP: usize = 24;
/// Distance between filters.
const GAP: usize = 24;
/// Distance between two colours of the key.
const KEY: usize = 120;
/// Narrowest column for a filter, so that its limit fits.
const COLUMN: usize = 72;

/// The filters of a convolution of red, green and blue.
#[derive(Debug, Clone, Copy)]
pub struct Filters<'a> {
    /// The layer, as it is to stand in errors: "Block 1".
    pub name: &'a str,
    /// The weights, (filters, 3, height, width) in row-major order.
    pub weights: &'a [f32],
    /// Rows of taps.
    pub height: usize,
    /// Columns of taps.
    pub width: usize,
}

/// Draws each filter as a small picture, under its channel and above its largest magnitude.
///
/// A tap's red, green and blue are its weights for those colours of the input: mid-grey is 0, full
/// colour the filter's largest magnitude, none its negative. A filter of zeros is hatched.
///
/// # Errors
/// If the weights are no whole number of filters, at least one, or are not finite.
pub fn filters(title: &str, facts: &[String], filters: &Filters) -> Result<RgbImage, PictureError> {
    filters.check()?;
    let size = (filters.width * TAP, filters.height * TAP);
    let column = size.0.max(COLUMN);
    let mut page = Page::new(title, CONTENT.max(column));
    for fact in facts {
        page.paragraph(fact);
    }
    page.space();
    page.paragraph("a tap's red, green and blue are its weights for the input's (+, -: as large as the limit)");
    key(&mut page);
    page.hatching("all 0");
    page.paragraph("number above a filter: its channel; below: its limit, the largest magnitude");
    let taps = filters.height * filters.width;
    let all: Vec<&[f32]> = filters.weights.chunks(3 * taps).collect();
    let columns = even(all.len(), fitting(page.content(), column, GAP));
    for (row, line) in all.chunks(columns).enumerate() {
        page.band(20);
        for (i, weights) in line.iter().enumerate() {
            page.column(i * (column + GAP), column);
            page.note(&(row * columns + i).to_string());
            let limit = largest(weights);
            if limit == 0.0 {
                page.hatch_at(0, size);
            } else {
                page.photo_at(0, &filters.picture(weights), TAP);
            }
            page.down(size.1 + SPACE / 2);
            page.note(&Scale::new(limit, true).limits());
        }
    }
    Ok(page.finish())
}

/// The brightness of a weight: mid-grey for 0.
fn shade(weight: f32, limit: f32) -> u8 {
    if limit == 0.0 {
        return 128;
    }
    (127.5 + 127.5 * f64::from(weight) / f64::from(limit)).round() as u8
}

/// Names the colours of a few taps: those whose weights are 0 or as large as the limit.
fn key(page: &mut Page) {
    let taps = [
        ("0 (mid-grey)", [0.0, 0.0, 0.0]),
        ("+red", [1.0, 0.0, 0.0]),
        ("-red", [-1.0, 0.0, 0.0]),
        ("+green", [0.0, 1.0, 0.0]),
        ("-green", [0.0, -1.0, 0.0]),
        ("+blue", [0.0, 0.0, 1.0]),
        ("-blue", [0.0, 0.0, -1.0]),
        ("+all", [1.0, 1.0, 1.0]),
        ("-all", [-1.0, -1.0, -1.0]),
    ];
    for (i, (name, weights)) in taps.into_iter().enumerate() {
        let left = i * KEY;
        page.fill(left, SWATCH, Rgb(weights.map(|weight| shade(weight, 1.0))));
        page.outline(left, SWATCH);
        page.put(left + SWATCH + SPACE, name, Font::Label, MUTED);
    }
    page.down(Font::Body.line());
}

impl Filters<'_> {
    /// Each filter alone, a pixel a tap, in the colours of [`filters()`]; a filter of zeros is mid-grey.
    ///
    /// # Errors
    /// As [`filters()`].
    pub fn bare(&self) -> Result<Vec<RgbImage>, PictureError> {
        self.check()?;
        Ok(self.weights.chunks(3 * self.height * self.width).map(|weights| self.picture(weights)).collect())
    }

    /// One filter, a pixel a tap.
    fn picture(&self, weights: &[f32]) -> RgbImage {
        let taps = self.height * self.width;
        let limit = largest(weights);
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let tap = y as usize * self.width + x as usize;
            Rgb([0, 1, 2].map(|channel| shade(weights[channel * taps + tap], limit)))
        })
    }

    fn check(&self) -> Result<(), PictureError> {
        let Filters { name, weights, height, width } = *self;
        let size = height.saturating_mul(width).saturating_mul(3);
        if size == 0 || weights.is_empty() || !weights.len().is_multiple_of(size) {
            return Err(PictureError(format!(
                "{name}: {} weights cannot be drawn as filters of 3 x {height} x {width}; \
                 give filters x 3 x height x width weights, at least one filter",
                weights.len()
            )));
        }
        match weights.iter().position(|weight| !weight.is_finite()) {
            Some(i) => {
                let (filter, colour, tap) = (i / size, i / (height * width) % 3, i % (height * width));
                Err(PictureError(format!(
                    "{name}, filter {filter}, colour {colour}, row {}, column {}: the weight is {}; {DAMAGED}",
                    tap / width,
                    tap % width,
                    weights[i]
                )))
            }
            None => Ok(()),
        }
    }
}
