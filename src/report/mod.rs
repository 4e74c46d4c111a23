//! Pictures of feature maps: what each layer makes of one image.
//!
//! [`grid`] draws all maps of one layer, [`overview`] the strongest few maps of every layer. Both
//! follow the same rules, so that a picture can be read without its program:
//!
//! - A value is a square of one colour: maps are enlarged by a whole number, never smoothed.
//! - All maps of a layer share one colour scale, and its limits are printed beside the colour bar.
//!   Maps after ReLU run from 0 to their maximum; signed maps run from minus to plus the largest
//!   magnitude, so that 0 always has the neutral colour. Both scales are safe for colour blindness.
//! - A map with the same value everywhere is hatched, and counted in the legend.
//! - A value that is not finite is an error, never a colour.

mod canvas;
mod grid;
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
    /// Distance, in image pixels, between the squares of two neighbouring values. Value (y, x)
    /// sees the image rows from `y * stride` on, as convolutions without padding do.
    pub stride: usize,
}

/// Why a picture of feature maps cannot be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PictureError {
    /// The values do not fill the shape, or the shape is empty.
    #[error(
        "{name}: {len} values cannot be drawn as {channels} maps of {height} x {width}; \
         give channels x height x width values, and none of the three may be 0"
    )]
    Shape {
        /// The layer.
        name: String,
        /// Number of values given.
        len: usize,
        /// Number of maps asked for.
        channels: usize,
        /// Rows of one map.
        height: usize,
        /// Columns of one map.
        width: usize,
    },
    /// A value that no colour stands for.
    #[error(
        "{name}, channel {channel}, row {row}, column {column}: the value is {value}; {remedy}"
    )]
    Value {
        /// The layer.
        name: String,
        /// The map, counted from 0.
        channel: usize,
        /// Row in the map, counted from 0.
        row: usize,
        /// Column in the map, counted from 0.
        column: usize,
        /// The value.
        value: f32,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// What a map looks like beyond its colours.
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
        if map.iter().any(|&value| value != map[0]) {
            Kind::Live
        } else if map[0] == 0.0 {
            Kind::Dead
        } else if map.len() > 1 {
            Kind::Constant
        } else {
            Kind::Live
        }
    }

    fn count(&self, kind: Kind) -> usize {
        (0..self.channels)
            .filter(|&channel| self.kind(channel) == kind)
            .count()
    }

    /// Refuses maps that cannot be drawn honestly.
    fn check(&self) -> Result<(), PictureError> {
        let size = self.height.saturating_mul(self.width);
        let len = size.saturating_mul(self.channels);
        if len == 0 || len != self.values.len() {
            return Err(PictureError::Shape {
                name: self.name.to_owned(),
                len: self.values.len(),
                channels: self.channels,
                height: self.height,
                width: self.width,
            });
        }
        for (i, &value) in self.values.iter().enumerate() {
            let remedy = if !is_finite(value) {
                "the weights or the image are damaged, or training diverged: try another checkpoint"
            } else if value < 0.0 && !self.signed {
                "values after ReLU cannot be negative: mark these maps as signed"
            } else {
                continue;
            };
            return Err(PictureError::Value {
                name: self.name.to_owned(),
                channel: i / size,
                row: i % size / self.width,
                column: i % self.width,
                value,
                remedy,
            });
        }
        Ok(())
    }
}

/// Whether the exponent bits are not all ones, which mark the infinities and NaN. Looking at the
/// bits holds whatever a compiler is allowed to assume of floating-point comparisons.
fn is_finite(value: f32) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    value.to_bits() & EXPONENT != EXPONENT
}
