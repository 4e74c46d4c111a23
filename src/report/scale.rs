//! From values to colours, and which values share a scale.

use colorous::{RED_BLUE, VIRIDIS};
use image::{Rgb, RgbImage};

use super::text::number;
use super::{FeatureMaps, Heat, Layer, PictureError};

/// Which values the colours span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ScaleBy {
    /// Each map's own values: faint maps become visible, but maps cannot be compared.
    Map,
    /// The layer's values: the maps of a layer can be compared.
    #[default]
    Layer,
    /// The values of all layers: layers can be compared, and faint ones stay dark.
    Global,
}

impl ScaleBy {
    /// What the colours span in the pictures of `layers`.
    pub fn span(self, layers: &[Layer]) -> Span {
        match self {
            Self::Map => Span::Map,
            Self::Layer => Span::Layer,
            Self::Global => Span::Common(layers.iter().map(|layer| largest(layer.maps.values)).fold(0.0, f32::max)),
        }
    }
}

/// A choice of [`ScaleBy`] with the number it needs, made by [`ScaleBy::span`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Span {
    /// Each map's own values.
    Map,
    /// The layer's values.
    Layer,
    /// Up to this magnitude, whatever the map and the layer.
    Common(f32),
}

impl Span {
    /// Refuses a common limit that would leave the values without a colour.
    pub(super) fn check(self, maps: &FeatureMaps) -> Result<(), PictureError> {
        match self {
            Self::Common(limit) if !limit.is_finite() || limit < largest(maps.values) => Err(PictureError(format!(
                "{}: the colours end at {limit}, which does not cover the layer's values; \
                 give the largest magnitude in all layers",
                maps.name
            ))),
            _ => Ok(()),
        }
    }

    /// How a layer's maps get their colours.
    pub(super) fn colours(self, maps: &FeatureMaps) -> Colours {
        let scale = |limit| Some(Scale::new(limit, maps.signed));
        let common = match self {
            Self::Map => None,
            Self::Layer => scale(largest(maps.values)),
            Self::Common(limit) => scale(limit),
        };
        Colours { common, signed: maps.signed }
    }
}

/// How the maps of a layer get their colours.
#[derive(Clone, Copy)]
pub struct Colours {
    /// The scale of all maps, unless each has its own.
    common: Option<Scale>,
    signed: bool,
}

impl Colours {
    /// The scale of one map.
    pub fn scale(&self, map: &Heat) -> Scale {
        self.common.unwrap_or_else(|| Scale::of(map))
    }

    /// What is to be printed beside each map: its limits, where it has its own.
    pub fn note(&self, map: &Heat) -> Option<String> {
        self.common.is_none().then(|| Scale::of(map).limits())
    }

    /// A scale for the colour bar, and what stands at its ends.
    pub fn bar(&self) -> (Scale, [String; 2]) {
        match self.common {
            Some(scale) => (scale, scale.ends()),
            None => {
                let low = if self.signed { "-limit" } else { "0" };
                (Scale::new(1.0, self.signed), [low.to_string(), "limit".to_string()])
            }
        }
    }
}

/// A linear colour scale from 0, or from minus the limit for signed values, to the limit.
#[derive(Clone, Copy)]
pub struct Scale {
    limit: f32,
    signed: bool,
}

impl Scale {
    pub fn new(limit: f32, signed: bool) -> Self {
        Scale { limit, signed }
    }

    /// The scale of one map whose values have been checked.
    pub fn of(map: &Heat) -> Self {
        Scale::new(largest(map.values), map.signed)
    }

    /// The scale of a saliency map whose values have been checked: the strongest hundredth share the last colours, lest a
    /// few pixels leave nothing to be seen of the others.
    pub fn of_saliency(map: &Heat) -> Self {
        let mut magnitudes: Vec<f32> = map.values.iter().map(|value| value.abs()).collect();
        let place = (magnitudes.len() - 1) * 99 / 100;
        let (_, &mut limit, _) = magnitudes.select_nth_unstable_by(place, f32::total_cmp);
        if limit == 0.0 { Scale::of(map) } else { Scale::new(limit, map.signed) }
    }

    /// The first and the last value, as they are to be printed.
    pub fn ends(&self) -> [String; 2] {
        let low = if self.signed { -self.limit } else { 0.0 };
        [number(low), number(self.limit)]
    }

    /// Both ends in a few characters.
    pub fn limits(&self) -> String {
        let limit = number(self.limit);
        match (self.limit == 0.0, self.signed) {
            (true, _) => limit,
            (false, true) => format!("±{limit}"),
            (false, false) => format!("0 to {limit}"),
        }
    }

    /// The colour of a value; beyond the ends, theirs. A scale whose ends are both 0 knows only the colour of 0.
    pub fn colour(&self, value: f32) -> Rgb<u8> {
        let share = if self.limit == 0.0 { 0.0 } else { f64::from(value) / f64::from(self.limit) };
        self.colour_at(if self.signed { (1.0 + share) / 2.0 } else { share }.clamp(0.0, 1.0))
    }

    /// The colour at a position from 0 (the first value) to 1 (the last).
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

/// What the colours of a map that stands alone span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reach {
    /// As a saliency map's: its strongest hundredth shares the last colours.
    Saliency,
    /// Up to this magnitude.
    UpTo(f32),
}

/// A map alone, a pixel a value. `name` begins the error.
///
/// # Errors
/// If a value is not finite, or negative though the map is not signed.
pub fn bare(name: &str, map: &Heat, reach: Reach) -> Result<RgbImage, PictureError> {
    map.check(name)?;
    let scale = match reach {
        Reach::Saliency => Scale::of_saliency(map),
        Reach::UpTo(limit) => Scale::new(limit, map.signed),
    };
    Ok(RgbImage::from_fn(map.width as u32, map.height as u32, |x, y| {
        scale.colour(map.values[y as usize * map.width + x as usize])
    }))
}

/// The largest magnitude.
pub fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}
