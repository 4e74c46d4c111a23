//! The two pictures: all maps of one layer, and a few maps of every layer.

use image::RgbImage;

use super::page::{Page, Sheet};
use super::scale::Scale;
use super::text::number;
use super::{FeatureMaps, Kind, PictureError};

/// Maps that [`overview`] shows of a layer, at most.
const STRONGEST: usize = 8;

/// In which order [`grid()`] shows the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By number, so that a channel stands at the same place in the pictures of all images.
    Channel,
    /// By mean magnitude, the largest first.
    Strongest,
}

impl Order {
    fn channels(self, maps: &FeatureMaps) -> Vec<usize> {
        let strength = |channel: usize| -> f64 {
            let map = maps.map(channel).iter();
            map.map(|&value| f64::from(value.abs())).sum()
        };
        let mut channels: Vec<usize> = (0..maps.channels).collect();
        if self == Order::Strongest {
            channels.sort_by(|&a, &b| strength(b).total_cmp(&strength(a)));
        }
        channels
    }
}

/// Draws all maps of one layer for one image, with the image, the layer's receptive field on it, a
/// colour bar and a legend.
///
/// `input` is the image as the network saw it. `facts` are printed as given, each from a new line:
/// the run and checkpoint, the image's file, the prediction.
///
/// # Errors
/// If the values do not fill the shape, are not finite, or are negative in maps that are not
/// signed; or if the middle value sees nothing of the image.
pub fn grid(maps: &FeatureMaps, order: Order, input: &RgbImage, facts: &[String]) -> Result<RgbImage, PictureError> {
    maps.check(input.dimensions())?;
    // A layer of many maps gets twice the columns, of smaller maps, lest the page grow too high.
    let sheet = if maps.channels <= 64 { Sheet::new(maps, 8, 128) } else { Sheet::new(maps, 16, 84) };
    let scale = Scale::of(maps);
    let sorted = match order {
        Order::Channel => "",
        Order::Strongest => "; sorted by mean magnitude, largest first",
    };
    let mut page = Page::new(&maps.heading(), input, &[*maps], &[&sheet]);
    for fact in facts {
        page.paragraph(fact);
    }
    page.paragraph(&maps.geometry());
    page.space();
    page.colour_bar(&scale);
    page.paragraph(&maps.range());
    page.hatching(&format!("{} on this image (dead: all 0)", maps.flat()));
    page.paragraph(&format!("number above a map: its channel{sorted}"));
    page.end_head();
    page.maps(maps, &order.channels(maps), &sheet, &scale);
    Ok(page.finish())
}

/// Draws a first look at a whole network: the image with the receptive field of every layer, then
/// a row for each layer with its strongest maps.
///
/// `title` heads the page; `input` and `facts` are as in [`grid()`].
///
/// # Errors
/// As [`grid()`], for the first layer that cannot be drawn.
pub fn overview(
    title: &str,
    layers: &[FeatureMaps],
    input: &RgbImage,
    facts: &[String],
) -> Result<RgbImage, PictureError> {
    for maps in layers {
        maps.check(input.dimensions())?;
    }
    let sheets = layers.iter().map(|maps| Sheet::new(maps, STRONGEST, 128));
    let sheets: Vec<Sheet> = sheets.collect();
    let mut page = Page::new(title, input, layers, &sheets.iter().collect::<Vec<_>>());
    for fact in facts {
        page.paragraph(fact);
    }
    page.space();
    page.paragraph(
        "one row a layer: the maps with the largest mean magnitude on this image, largest first, \
         on the layer's own colour scale",
    );
    page.hatching("dead (all 0) or constant on this image");
    page.paragraph("number above a map: its channel");
    page.end_head();
    for (maps, sheet) in layers.iter().zip(&sheets) {
        let scale = Scale::of(maps);
        let strongest = &Order::Strongest.channels(maps)[..sheet.columns];
        let details = format!("{}, {}", maps.geometry(), maps.flat());
        page.row_heading(&maps.heading(), &details, &scale);
        page.maps(maps, strongest, sheet, &scale);
        page.space();
    }
    Ok(page.finish())
}

impl FeatureMaps<'_> {
    /// "Block 3 after ReLU: 64 maps of 15 x 15 values".
    fn heading(&self) -> String {
        let maps = if self.channels == 1 { "map" } else { "maps" };
        let (name, channels) = (self.name, self.channels);
        format!("{name}: {channels} {maps} of {} x {} values", self.height, self.width)
    }

    /// What one value depends on.
    fn geometry(&self) -> String {
        let field = self.receptive_field;
        format!("each value sees {field} x {field} px, stride {} px", self.stride)
    }

    /// How many maps are hatched, and why.
    fn flat(&self) -> String {
        let dead = format!("{} of {} dead", self.count(Kind::Dead), self.channels);
        match self.count(Kind::Constant) {
            0 => dead,
            constant => format!("{dead}, {constant} constant"),
        }
    }

    /// What the colours span.
    fn range(&self) -> String {
        let least = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let neutral = if self.signed { " with 0 in white" } else { "" };
        let (least, most) = (number(least), number(most));
        format!("one scale for all maps{neutral}; the values run from {least} to {most}")
    }
}
