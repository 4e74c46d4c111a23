//! Pictures of feature maps: all maps of one layer, and a few maps of every layer.

use std::collections::BTreeSet;

use image::RgbImage;

use super::page::{Page, Sheet};
use super::scale::{ScaleBy, Span};
use super::text::{Font, number, signed_number};
use super::{DAMAGED, FeatureMaps, Kind, PictureError};

/// Maps that [`overview`] shows of a layer, at most.
const FIRST: usize = 8;

/// In which order the channels of a layer are shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order<'a> {
    /// By number, so that a channel stands at the same place in the pictures of all images.
    Channel,
    /// By mean magnitude, the largest first.
    Strongest,
    /// By what each channel adds to the logit gap, one signed number a channel: the largest magnitude first.
    Contribution(&'a [f64]),
}

impl Order<'_> {
    fn channels(self, maps: &FeatureMaps) -> Vec<usize> {
        let mut channels: Vec<usize> = (0..maps.channels).collect();
        let mut sort = |size: &dyn Fn(usize) -> f64| channels.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
        match self {
            Order::Channel => {}
            Order::Strongest => sort(&|channel| {
                let values = maps.map(channel).values.iter();
                values.map(|&value| f64::from(value.abs())).sum()
            }),
            Order::Contribution(numbers) => sort(&|channel| numbers[channel].abs()),
        }
        channels
    }

    /// What stands above a map: its channel, and its contribution where `columns` characters hold both.
    fn label(self, channel: usize, columns: usize) -> String {
        let name = channel.to_string();
        match self {
            Order::Contribution(numbers) => {
                let both = format!("{name} {}", signed_number(numbers[channel]));
                if both.len() <= columns { both } else { name }
            }
            _ => name,
        }
    }

    /// The legend for [`Order::label`].
    fn legend(self) -> &'static str {
        match self {
            Order::Contribution(_) => {
                "number above a map: its channel and what it adds to the decision (logits; exact in the last block, to first \
                 order in the others)"
            }
            _ => "number above a map: its channel",
        }
    }

    fn sorted(self) -> &'static str {
        match self {
            Order::Channel => "",
            Order::Strongest => "; sorted by mean magnitude, largest first",
            Order::Contribution(_) => "; sorted by contribution to the decision, largest first",
        }
    }

    /// Which maps of a layer come first.
    fn first(self) -> &'static str {
        match self {
            Order::Channel => "the first maps by number",
            Order::Strongest => "the maps with the largest mean magnitude on this image, largest first",
            Order::Contribution(_) => "the maps with the largest contribution to the decision, largest first",
        }
    }
}

/// A layer as it is to be drawn.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Its maps for one image.
    pub maps: FeatureMaps<'a>,
    /// Which maps come first.
    pub order: Order<'a>,
}

/// Draws all maps of one layer for one image, with the image, the layer's receptive field on it, a
/// colour bar and a legend.
///
/// `input` is the image as the network saw it. `facts` are printed as given, each from a new line:
/// the run and checkpoint, the image's file, the prediction.
///
/// # Errors
/// If the values do not fill the shape, are not finite, or are negative in maps that are not
/// signed; if the contributions are not one finite number a channel; if the middle value sees
/// nothing of the image; or if the span's common limit is less than a value.
pub fn grid(layer: &Layer, span: Span, input: &RgbImage, facts: &[String]) -> Result<RgbImage, PictureError> {
    let Layer { maps, order } = layer;
    layer.check(span, input)?;
    // A layer of many maps gets twice the columns, of smaller maps, lest the page grow too high.
    let sheet = if maps.channels <= 64 { Sheet::new(maps, 8, 128) } else { Sheet::new(maps, 16, 84) };
    let mut page = Page::with_input(&maps.heading(), input, [maps].into_iter(), &[&sheet]);
    for fact in facts {
        page.paragraph(fact);
    }
    page.paragraph(&maps.geometry());
    page.space();
    page.colour_bar(&span.colours(maps).bar(), Font::Body);
    page.paragraph(&maps.range(span));
    page.hatching(&format!("{} on this image (dead: all 0)", maps.flat()));
    page.paragraph(&format!("{}{}", order.legend(), order.sorted()));
    page.band(20);
    layer.draw(&mut page, &sheet, maps.channels, span);
    Ok(page.finish())
}

/// Draws a first look at a whole network: the image with the receptive field of every layer, then
/// a row for each layer with the first few of its maps.
///
/// `title` heads the page; `input` and `facts` are as in [`grid()`].
///
/// # Errors
/// As [`grid()`], for the first layer that cannot be drawn.
pub fn overview(
    title: &str,
    layers: &[Layer],
    by: ScaleBy,
    input: &RgbImage,
    facts: &[String],
) -> Result<RgbImage, PictureError> {
    let rows = Rows::new(layers, by, input)?;
    let sheets: Vec<&Sheet> = rows.sheets.iter().collect();
    let mut page = Page::with_input(title, input, layers.iter().map(|layer| &layer.maps), &sheets);
    for fact in facts {
        page.paragraph(fact);
    }
    page.space();
    rows.legend(&mut page);
    page.band(20);
    rows.draw(&mut page);
    Ok(page.finish())
}

/// A row of maps for each layer.
pub struct Rows<'a> {
    layers: &'a [Layer<'a>],
    span: Span,
    sheets: Vec<Sheet>,
}

impl<'a> Rows<'a> {
    /// Checks that the layers can be drawn beside the image.
    pub fn new(layers: &'a [Layer<'a>], by: ScaleBy, input: &RgbImage) -> Result<Self, PictureError> {
        for layer in layers {
            layer.check(Span::Layer, input)?;
        }
        let sheets = layers.iter().map(|layer| Sheet::new(&layer.maps, FIRST, 128)).collect();
        Ok(Rows { layers, span: by.span(layers), sheets })
    }

    /// The width of the widest row.
    pub fn width(&self) -> usize {
        self.sheets.iter().map(Sheet::width).max().unwrap_or(0)
    }

    /// Says what the rows show.
    pub fn legend(&self, page: &mut Page) {
        let distinct = |text: fn(Order<'a>) -> &'static str| -> BTreeSet<&str> {
            self.layers.iter().map(|layer| text(layer.order)).collect()
        };
        let scale = match self.span {
            Span::Map => "each on its own colour scale, its limits printed below",
            Span::Layer => "on the layer's own colour scale",
            Span::Common(_) => "on one colour scale for all layers",
        };
        let first = Vec::from_iter(distinct(Order::first)).join(", or ");
        page.paragraph(&format!("one row a layer: {first}, {scale}"));
        page.hatching("dead (all 0) or constant on this image");
        for legend in distinct(Order::legend) {
            page.paragraph(legend);
        }
    }

    /// Draws the rows.
    pub fn draw(&self, page: &mut Page) {
        for (layer, sheet) in self.layers.iter().zip(&self.sheets) {
            let maps = &layer.maps;
            let details = format!("{}, {}", maps.geometry(), maps.flat());
            page.row_heading(&maps.heading(), &details, &self.span.colours(maps));
            layer.draw(page, sheet, sheet.columns, self.span);
            page.space();
        }
    }
}

impl Layer<'_> {
    fn check(&self, span: Span, input: &RgbImage) -> Result<(), PictureError> {
        let Layer { maps, order } = self;
        maps.check(input.dimensions())?;
        span.check(maps)?;
        let Order::Contribution(numbers) = order else { return Ok(()) };
        if numbers.len() != maps.channels {
            return Err(PictureError(format!(
                "{}: {} contributions for {} maps; give one a channel",
                maps.name,
                numbers.len(),
                maps.channels
            )));
        }
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(channel) => Err(PictureError(format!(
                "{}, channel {channel}: the contribution is {}; {}",
                maps.name, numbers[channel], DAMAGED
            ))),
            None => Ok(()),
        }
    }

    /// Draws the first `count` maps.
    fn draw(&self, page: &mut Page, sheet: &Sheet, count: usize, span: Span) {
        let channels = self.order.channels(&self.maps).into_iter().take(count);
        let labelled = channels.map(|channel| (channel, self.order.label(channel, sheet.characters())));
        page.maps(&self.maps, &labelled.collect::<Vec<_>>(), sheet, &span.colours(&self.maps));
    }
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

    fn count(&self, kind: Kind) -> usize {
        (0..self.channels).map(|channel| self.map(channel)).filter(|map| map.kind() == kind).count()
    }

    /// What the colours span.
    fn range(&self, span: Span) -> String {
        let least = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scale = match span {
            Span::Map => "each map has its own scale, its limits printed below",
            Span::Layer => "one scale for all maps",
            Span::Common(_) => "one scale for all maps of all layers",
        };
        let neutral = match (self.signed, span) {
            (false, _) => "",
            (true, Span::Map) => ", 0 is white",
            (true, _) => " with 0 in white",
        };
        let (least, most) = (number(least), number(most));
        format!("{scale}{neutral}; the values run from {least} to {most}")
    }
}
