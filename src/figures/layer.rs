//! The maps of a layer as they are to be shown: in which order, and in which colours.

use image::RgbImage;

use super::scale::{Scale, Span, bare};
use super::{DAMAGED, FeatureMaps, FigureError, Kind};

/// In which order the channels of a layer are shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// By mean magnitude, the largest first.
    Strongest,
    /// By what each channel adds to the logit difference, one signed number a channel: the largest magnitude first.
    Contribution(Vec<f64>),
}

/// A layer as it is to be shown.
#[derive(Debug, Clone)]
pub struct LayerMaps<'a> {
    /// Its maps for one image.
    pub maps: FeatureMaps<'a>,
    /// Which maps come first.
    pub order: Order,
}

/// One map of a layer as it is to be shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The channel, from 0.
    pub channel: usize,
    /// The map, a pixel a value; none where every value is the same, which no colours show.
    pub image: Option<RgbImage>,
    /// Whether it has anything to show.
    pub kind: Kind,
    /// Its least value.
    pub least: f32,
    /// Its largest value.
    pub most: f32,
    /// What it adds to the logit difference, where that is the order.
    pub contribution: Option<f64>,
}

impl Order {
    fn channels(&self, maps: &FeatureMaps) -> Vec<usize> {
        let mut channels: Vec<usize> = (0..maps.channels).collect();
        let mut sort = |size: &dyn Fn(usize) -> f64| channels.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
        match self {
            Order::Strongest => sort(&|channel| {
                let values = maps.map(channel).values.iter();
                values.map(|&value| f64::from(value.abs())).sum()
            }),
            Order::Contribution(numbers) => sort(&|channel| numbers[channel].abs()),
        }
        channels
    }
}

impl LayerMaps<'_> {
    /// Refuses what cannot be drawn honestly beside an image of the given width and height.
    ///
    /// # Errors
    /// If the values do not fill the shape, are not finite, or are negative in maps that are not signed; if the contributions
    /// are not one finite number a channel; or if the middle value sees nothing of the image.
    pub fn check(&self, image: (u32, u32)) -> Result<(), FigureError> {
        let LayerMaps { maps, order } = self;
        maps.check(image)?;
        let Order::Contribution(numbers) = order else { return Ok(()) };
        if numbers.len() != maps.channels {
            return Err(FigureError(format!(
                "{}: {} contributions for {} maps; give one a channel",
                maps.name,
                numbers.len(),
                maps.channels
            )));
        }
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(channel) => Err(FigureError(format!(
                "{}, channel {channel}: the contribution is {}; {}",
                maps.name, numbers[channel], DAMAGED
            ))),
            None => Ok(()),
        }
    }

    /// All maps in their order.
    ///
    /// # Errors
    /// If a value is not finite, or negative in maps that are not signed; or if the span's common limit is less than a value.
    pub fn shown(&self, span: Span) -> Result<Vec<Shown>, FigureError> {
        span.check(&self.maps)?;
        self.order.channels(&self.maps).into_iter().map(|channel| self.show(channel, span)).collect()
    }

    fn show(&self, channel: usize, span: Span) -> Result<Shown, FigureError> {
        let map = self.maps.map(channel);
        let kind = map.kind();
        let scale = span.scale(&self.maps).unwrap_or_else(|| Scale::of(&map));
        let image = bare(&format!("{}, channel {channel}", self.maps.name), &map, scale)?;
        Ok(Shown {
            channel,
            image: (kind == Kind::Live).then_some(image),
            kind,
            least: map.values.iter().copied().fold(f32::INFINITY, f32::min),
            most: map.values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            contribution: match &self.order {
                Order::Strongest => None,
                Order::Contribution(numbers) => Some(numbers[channel]),
            },
        })
    }

    /// How many maps are dead, and how many have the same value everywhere without being dead.
    pub fn flat(&self) -> [usize; 2] {
        let count = |kind| (0..self.maps.channels).filter(|&channel| self.maps.map(channel).kind() == kind).count();
        [Kind::Dead, Kind::Constant].map(count)
    }
}
