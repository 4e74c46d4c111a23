//! From values to colours: one scale for all maps of a layer.

use colorous::{RED_BLUE, VIRIDIS};
use image::Rgb;

use super::FeatureMaps;

/// A linear colour scale from `low` to `high`.
pub struct Scale {
    /// The value of the first colour: 0, or minus `high` for signed maps.
    pub low: f32,
    /// The value of the last colour: the largest magnitude in the layer.
    pub high: f32,
    signed: bool,
}

impl Scale {
    /// The scale of a layer whose values have been checked.
    pub fn of(maps: &FeatureMaps) -> Self {
        let signed = maps.signed;
        let high = maps.values.iter().fold(0.0_f32, |h, v| h.max(v.abs()));
        let low = if signed { -high } else { 0.0 };
        Scale { low, high, signed }
    }

    /// The colour of a value. A scale whose ends are both 0 knows only the colour of 0.
    pub fn colour(&self, value: f32) -> Rgb<u8> {
        let share = if self.high == 0.0 { 0.0 } else { f64::from(value) / f64::from(self.high) };
        self.colour_at(if self.signed { (1.0 + share) / 2.0 } else { share })
    }

    /// The colour at a position from 0 (`low`) to 1 (`high`).
    pub fn colour_at(&self, position: f64) -> Rgb<u8> {
        let colour = if self.signed {
            // Turned round: cold colours for negative values, warm ones for positive values.
            RED_BLUE.eval_continuous(1.0 - position)
        } else {
            VIRIDIS.eval_continuous(position)
        };
        Rgb(colour.into_array())
    }
}
