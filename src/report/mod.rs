//! Pictures of feature maps: what each layer makes of one image.
//!
//! [`grid()`] draws all maps of one layer, [`overview`] the strongest few maps of every layer. Both
//! follow the same rules, so that a picture can be read without its program:
//!
//! - A value is a square of one colour: maps are enlarged by a whole number, never smoothed.
//! - All maps of a layer share one colour scale, and its limits are printed beside the colour bar.
//!   Maps after ReLU run from 0 to their maximum; signed maps run from minus to plus the largest
//!   magnitude, so that 0 always has the neutral colour. Both scales are safe for colour blindness.
//! - A map with the same value everywhere is hatched, and counted in the text.
//! - A value that is not finite is an error, never a colour.

use std::ops::Range;

mod canvas;
mod grid;
mod page;
mod scale;
mod text;

pub use grid::{Order, grid, overview};

/// The maps of one layer for one image, with what a reader must know about the layer.
#[derive(Debug, Clone, Copy)]
pub struct FeatureMaps<'a> {
    /// The layer, as it is to stand in headings and errors: "Block 3 after ReLU".
    pub name: &'a str,
    /// The values, (channels, height, width) in row-major order.
    pub values: &'a [f32],
    /// Number of maps.
    pub channels: usize,
    /// Rows of one map.
    pub height: usize,
    /// Columns of one map.
    pub width: usize,
    /// Whether values may be negative (convolution or batch norm); false after ReLU.
    pub signed: bool,
    /// Side, in image pixels, of the square that one value depends on.
    pub receptive_field: usize,
    /// Distance, in image pixels, between the squares of neighbouring values. Value (y, x) sees
    /// the image from row `y * stride - offset` and column `x * stride - offset` on.
    pub stride: usize,
    /// How many pixels beyond the image's edge the first value sees: 0 unless convolutions pad.
    pub offset: usize,
}

/// Why a picture cannot be drawn: names the layer, the place in it and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PictureError(String);

/// Whether a map has anything to show.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Every value is 0.
    Dead,
    /// More than one value, and all of them the same.
    Constant,
    /// Anything else.
    Live,
}

impl<'a> FeatureMaps<'a> {
    /// The values of one map, (height, width).
    fn map(&self, channel: usize) -> &'a [f32] {
        let size = self.height * self.width;
        &self.values[channel * size..(channel + 1) * size]
    }

    fn kind(&self, channel: usize) -> Kind {
        let map = self.map(channel);
        let same = map.iter().all(|&value| value == map[0]);
        match (same, map[0] == 0.0, map.len()) {
            (true, true, _) => Kind::Dead,
            (true, false, 2..) => Kind::Constant,
            _ => Kind::Live,
        }
    }

    fn count(&self, kind: Kind) -> usize {
        (0..self.channels).filter(|&channel| self.kind(channel) == kind).count()
    }

    /// The part of the image that the middle value of a map sees: columns, then rows.
    fn middle(&self, (width, height): (usize, usize)) -> [Range<usize>; 2] {
        let seen = |values: usize, image: usize| {
            let first = values / 2 * self.stride;
            let end = (first + self.receptive_field).saturating_sub(self.offset);
            first.saturating_sub(self.offset)..end.min(image)
        };
        [seen(self.width, width), seen(self.height, height)]
    }

    /// Refuses maps that cannot be drawn honestly beside an image of the given width and height.
    fn check(&self, image: (u32, u32)) -> Result<(), PictureError> {
        let name = self.name;
        let (c, h, w) = (self.channels, self.height, self.width);
        let count = self.values.len();
        if count == 0 || count != c.saturating_mul(h).saturating_mul(w) {
            return Err(PictureError(format!(
                "{name}: {count} values cannot be drawn as {c} maps of {h} x {w}; \
                 give channels x height x width values, at least one"
            )));
        }
        let (width, height) = (image.0 as usize, image.1 as usize);
        if self.middle((width, height)).iter().any(Range::is_empty) {
            return Err(PictureError(format!(
                "{name}: the middle value of a map sees nothing of an image of {height} x {width} px; \
                 give the image that the network saw, and the geometry of this layer"
            )));
        }
        for (i, &value) in self.values.iter().enumerate() {
            let remedy = if !value.is_finite() {
                "the weights or the image are damaged, or training diverged: try another checkpoint"
            } else if value < 0.0 && !self.signed {
                "values after ReLU cannot be negative: mark these maps as signed"
            } else {
                continue;
            };
            let (channel, row, column) = (i / (h * w), i / w % h, i % w);
            return Err(PictureError(format!(
                "{name}, channel {channel}, row {row}, column {column}: the value is {value}; {remedy}"
            )));
        }
        Ok(())
    }
}
