//! Images of what a network makes of an image: feature maps, saliency maps and filters. None has text: that stands on the page
//! beside them, where every script can be read (`report`).
//!
//! [`LayerMaps::shown`] draws all maps of a layer, [`bare`] a map alone, [`over`] a saliency map over the photo, [`Filters`]
//! the weights of the first convolution; [`sheet`] sets images side by side. All follow the same rules:
//!
//! - A value is a square of one colour: maps are enlarged by a whole number, never smoothed.
//! - Maps after ReLU run from 0 to their largest value; signed maps run from minus to plus the largest magnitude, so that 0
//!   always has the neutral colour. Both scales are safe for colour blindness. What shares a scale is chosen ([`ScaleBy`]).
//! - A map with the same value everywhere is not drawn.
//! - A value that is not finite is an error, never a colour.

use std::ops::Range;

use crate::nn::Field;

mod chart;
mod filters;
mod layer;
mod scale;
mod tiles;
pub(crate) mod words;

pub(crate) use chart::STYLE as CHART_STYLE;
pub use chart::{Chart, Forest, ForestRow, LineChart, LineStyle, Reliability, ReliabilityBin, Series, file_of};
pub use filters::{Filters, tap};
pub use layer::{LayerMaps, Order, Shown};
pub use scale::{Scale, ScaleBy, Span, bare, largest, over};
pub use tiles::{columns, enlarged, sheet, tiles};

/// What to do about a number that is not finite.
pub(crate) const DAMAGED: &str = "the weights or the image are damaged, or training diverged: try another checkpoint";

/// The maps of one layer for one image, with what a reader must know about the layer.
#[derive(Debug, Clone)]
pub struct FeatureMaps<'a> {
    /// The layer, as it is to stand in headings and errors: "Block 3 after ReLU".
    pub name: String,
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

/// One map: a channel's, or a saliency map with a value for each pixel of the image.
#[derive(Debug, Clone, Copy)]
pub struct Heat<'a> {
    /// The values, (height, width) in row-major order. A coarser saliency map has been enlarged by
    /// whole-number blocks to the image's pixels.
    pub values: &'a [f32],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Whether values may be negative.
    pub signed: bool,
}

/// Why an image cannot be drawn: names the layer or method, the place in it and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FigureError(String);

/// Whether a map has anything to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every value is 0.
    Dead,
    /// More than one value, and all of them the same.
    Constant,
    /// Anything else.
    Live,
}

impl<'a> FeatureMaps<'a> {
    /// Maps, (channels, height, width), of which each value sees this of the image.
    pub fn new(
        name: String,
        values: &'a [f32],
        [channels, height, width]: [usize; 3],
        field: Field,
        signed: bool,
    ) -> Self {
        let Field { size: receptive_field, stride, offset } = field;
        Self { name, values, channels, height, width, signed, receptive_field, stride, offset }
    }

    fn map(&self, channel: usize) -> Heat<'a> {
        let size = self.height * self.width;
        let values = &self.values[channel * size..(channel + 1) * size];
        Heat { values, height: self.height, width: self.width, signed: self.signed }
    }

    /// The part of an image of the given width and height that the middle value of a map sees: columns, then rows.
    pub fn middle(&self, (width, height): (usize, usize)) -> [Range<usize>; 2] {
        let seen = |values: usize, image: usize| {
            let first = values / 2 * self.stride;
            let end = (first + self.receptive_field).saturating_sub(self.offset);
            first.saturating_sub(self.offset)..end.min(image)
        };
        [seen(self.width, width), seen(self.height, height)]
    }

    /// Refuses maps that cannot be drawn honestly beside an image of the given width and height.
    fn check(&self, image: (u32, u32)) -> Result<(), FigureError> {
        let name = &self.name;
        let (c, h, w) = (self.channels, self.height, self.width);
        let count = self.values.len();
        if count == 0 || count != c.saturating_mul(h).saturating_mul(w) {
            return Err(FigureError(format!(
                "{name}: {count} values cannot be drawn as {c} maps of {h} x {w}; \
                 give channels x height x width values, at least one"
            )));
        }
        let (width, height) = (image.0 as usize, image.1 as usize);
        if self.middle((width, height)).iter().any(Range::is_empty) {
            return Err(FigureError(format!(
                "{name}: the middle value of a map sees nothing of an image of {height} x {width} px; \
                 give the image that the network saw, and the geometry of this layer"
            )));
        }
        for channel in 0..c {
            self.map(channel).check(&format!("{name}, channel {channel}"))?;
        }
        Ok(())
    }
}

impl Heat<'_> {
    fn kind(&self) -> Kind {
        let same = self.values.iter().all(|&value| value == self.values[0]);
        match (same, self.values[0] == 0.0, self.values.len()) {
            (true, true, _) => Kind::Dead,
            (true, false, 2..) => Kind::Constant,
            _ => Kind::Live,
        }
    }

    /// Refuses values that have no colour. `name` begins the error.
    fn check(&self, name: &str) -> Result<(), FigureError> {
        for (i, &value) in self.values.iter().enumerate() {
            let remedy = if !value.is_finite() {
                DAMAGED
            } else if value < 0.0 && !self.signed {
                "values after ReLU and magnitudes cannot be negative: mark these maps as signed"
            } else {
                continue;
            };
            let (row, column) = (i / self.width, i % self.width);
            return Err(FigureError(format!("{name}, row {row}, column {column}: the value is {value}; {remedy}")));
        }
        Ok(())
    }

    /// Refuses a map that cannot be drawn honestly beside an image of the given width and height.
    fn check_beside(&self, name: &str, image: (u32, u32)) -> Result<(), FigureError> {
        let (h, w, count) = (self.height, self.width, self.values.len());
        let (width, height) = (image.0 as usize, image.1 as usize);
        if (h, w) != (height, width) || count == 0 || count != h * w {
            return Err(FigureError(format!(
                "{name}: {count} values as a map of {h} x {w} cannot stand beside an image of {height} x {width} px; \
                 give a value for each pixel"
            )));
        }
        self.check(name)
    }
}
