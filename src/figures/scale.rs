//! From values to colours, and which values share a scale.

use colorous::{RED_BLUE, VIRIDIS};
use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use super::{FeatureMaps, FigureError, Heat, LayerMaps};

/// The most that a map hides of the photo below it.
const COVER: f64 = 0.65;
/// The share of the limit whose colours lie over a photo: the last ones are too dark to be told from it.
const BRIGHT: f64 = 0.8;
/// Pixels of a colour bar.
const RAMP: u32 = 128;

/// Which values the colours span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ScaleBy {
    /// Each map's own values: faint maps become visible, but the colours of two maps cannot be compared.
    #[default]
    Map,
    /// The layer's values: the maps of a layer can be compared, and faint ones stay dark.
    Layer,
    /// The values of all layers: layers can be compared, and faint ones stay dark.
    Global,
}

impl ScaleBy {
    /// What the colours span in the maps of `layers`.
    pub fn span(self, layers: &[LayerMaps]) -> Span {
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
    pub(super) fn check(self, maps: &FeatureMaps) -> Result<(), FigureError> {
        match self {
            Self::Common(limit) if !limit.is_finite() || limit < largest(maps.values) => Err(FigureError(format!(
                "{}: the colours end at {limit}, which does not cover the layer's values; \
                 give the largest magnitude in all layers",
                maps.name
            ))),
            _ => Ok(()),
        }
    }

    /// The scale of all maps of a layer, unless each has its own.
    pub fn scale(self, maps: &FeatureMaps) -> Option<Scale> {
        let signed = maps.signed;
        match self {
            Self::Map => None,
            Self::Layer => Some(Scale { limit: largest(maps.values), signed }),
            Self::Common(limit) => Some(Scale { limit, signed }),
        }
    }
}

/// A linear colour scale from 0, or from minus the limit for signed values, to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The value of the last colour.
    pub limit: f32,
    /// Whether it begins at minus the limit.
    pub signed: bool,
}

impl Scale {
    /// The scale of one map: up to its largest magnitude.
    pub fn of(map: &Heat) -> Self {
        Scale { limit: largest(map.values), signed: map.signed }
    }

    /// The scale of a saliency map: the strongest hundredth share the last colours, lest a few pixels leave nothing to be
    /// seen of the others.
    pub fn of_saliency(map: &Heat) -> Self {
        let mut magnitudes: Vec<f32> = map.values.iter().map(|value| value.abs()).collect();
        if magnitudes.is_empty() {
            return Scale::of(map);
        }
        let place = (magnitudes.len() - 1) * 99 / 100;
        let (_, &mut limit, _) = magnitudes.select_nth_unstable_by(place, f32::total_cmp);
        if limit == 0.0 { Scale::of(map) } else { Scale { limit, signed: map.signed } }
    }

    /// The value of the first colour.
    pub fn low(self) -> f32 {
        if self.signed { -self.limit } else { 0.0 }
    }

    /// The value as a share of the limit, from -1 to 1. A scale whose ends are both 0 knows only 0.
    fn share(self, value: f32) -> f64 {
        if self.limit == 0.0 { 0.0 } else { (f64::from(value) / f64::from(self.limit)).clamp(-1.0, 1.0) }
    }

    /// The colour of a value; beyond the ends, theirs.
    pub fn colour(self, value: f32) -> Rgb<u8> {
        colour(self.share(value), self.signed)
    }

    /// The colour of a value laid over a pixel of a photo, which shows the more the nearer the value is to 0. Of a signed map
    /// the colour tells the sign, and how much it covers the magnitude.
    fn over(self, value: f32, below: Rgb<u8>) -> Rgb<u8> {
        let share = self.share(value);
        let above = if self.signed { colour(BRIGHT * share.signum(), true) } else { colour(share, false) };
        let cover = COVER * share.abs();
        let mix = |above: u8, below: u8| f64::from(above) * cover + f64::from(below) * (1.0 - cover);
        Rgb([0, 1, 2].map(|i| mix(above[i], below[i]).round() as u8))
    }

    /// Its colours from the first to the last, for a colour bar.
    pub fn ramp(self) -> RgbImage {
        let first = if self.signed { -1.0 } else { 0.0 };
        let share = |x: u32| first + (1.0 - first) * f64::from(x) / f64::from(RAMP - 1);
        RgbImage::from_fn(RAMP, 1, |x, _| colour(share(x), self.signed))
    }
}

/// The colour of a share of the limit.
fn colour(share: f64, signed: bool) -> Rgb<u8> {
    let colour = if signed {
        // Turned round: cold colours for negative values, warm ones for positive values.
        RED_BLUE.eval_continuous((1.0 - share) / 2.0)
    } else {
        VIRIDIS.eval_continuous(share.max(0.0))
    };
    Rgb(colour.into_array())
}

/// A map alone, a pixel a value. `name` begins the error.
///
/// # Errors
/// If a value is not finite, or negative though the map is not signed.
pub fn bare(name: &str, map: &Heat, scale: Scale) -> Result<RgbImage, FigureError> {
    map.check(name)?;
    Ok(RgbImage::from_fn(map.width as u32, map.height as u32, |x, y| {
        scale.colour(map.values[y as usize * map.width + x as usize])
    }))
}

/// A map laid over the photo in grey: the photo shows where the map is 0, the map's colour where it is strong. `name` begins
/// the error.
///
/// # Errors
/// As [`bare`], or if the map has not one value for each pixel of the photo.
pub fn over(name: &str, map: &Heat, scale: Scale, photo: &RgbImage) -> Result<RgbImage, FigureError> {
    map.check_beside(name, photo.dimensions())?;
    let grey = image::imageops::grayscale(photo);
    Ok(RgbImage::from_fn(photo.width(), photo.height(), |x, y| {
        let [below] = grey.get_pixel(x, y).0;
        scale.over(map.values[y as usize * map.width + x as usize], Rgb([below; 3]))
    }))
}

/// The largest magnitude.
pub fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}
