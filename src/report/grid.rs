//! The two pictures: all maps of one layer, and a few maps of every layer.

use image::RgbImage;

use super::canvas::{Canvas, INK, MUTED};
use super::scale::Scale;
use super::text::{Font, number, shorten};
use super::{FeatureMaps, Kind, PictureError};

/// Empty pixels around the page, and between the input and the text beside it.
const MARGIN: usize = 40;
/// Width of the page between its margins, unless the maps or the input need more.
const CONTENT: usize = 1120;
/// The widest that a sheet of maps gets, unless a single map is wider.
const WIDEST: usize = 1600;
/// Room for the text beside the input.
const TEXT: usize = 512;
/// The input is enlarged as long as it stays within this many pixels.
const INPUT: usize = 300;
/// Narrowest column for the input and the note under it.
const INPUT_COLUMN: usize = 256;
/// Smallest and largest distance between two maps in a row.
const GAP: (usize, usize) = (12, 24);
/// Maps that [`overview`] shows of a layer, at most.
const STRONGEST: usize = 8;
/// Height of a colour bar and side of the hatched square in the legend.
const SWATCH: usize = 12;
/// Width of the colour bar over a row of [`overview`].
const ROW_BAR: usize = 160;

/// In which order [`grid`] shows the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By number, so that a channel stands at the same place in the pictures of all images.
    Channel,
    /// By mean magnitude, the largest first.
    Strongest,
}

impl Order {
    fn channels(self, maps: &FeatureMaps) -> Vec<usize> {
        let mut channels: Vec<usize> = (0..maps.channels).collect();
        if self == Order::Strongest {
            let sums: Vec<f64> = channels
                .iter()
                .map(|&channel| maps.map(channel).iter().map(|&v| f64::from(v.abs())).sum())
                .collect();
            channels.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]));
        }
        channels
    }
}

/// Draws all maps of one layer for one image, with the image, the layer's receptive field on it, a
/// colour bar and a legend.
///
/// `input` is the image as the network saw it. `facts` are printed as given, one paragraph each:
/// the run and checkpoint, the image's file, the prediction.
///
/// # Errors
/// If the values do not fill the shape, are not finite, or are negative in maps that are not signed.
pub fn grid(
    maps: &FeatureMaps,
    order: Order,
    input: &RgbImage,
    facts: &[String],
) -> Result<RgbImage, PictureError> {
    maps.check()?;
    // Twice the columns at two thirds of the size, once a sheet would get too high.
    let sheet = if maps.channels <= 64 {
        Sheet::new(maps, 8, 128)
    } else {
        Sheet::new(maps, 16, 84)
    };
    let scale = Scale::of(maps);
    let mut page = Page::new(sheet.width(), input);
    page.title(&maps.heading());
    let (x, y) = page.header(input, facts, &[*maps]);
    let y = page.paragraph((x, y), &maps.geometry()) + 12;
    page.colour_bar((x, y), &scale, 256);
    let y = y + Font::Body.line();
    let y = page.paragraph((x, y), &maps.range());
    let hatched = format!("{} on this image (dead: every value is 0)", maps.flat());
    let y = page.hatched((x, y), &hatched);
    let sorted = match order {
        Order::Channel => "",
        Order::Strongest => "; largest mean magnitude first",
    };
    let y = page.paragraph(
        (x, y),
        &format!("The number above a map is its channel{sorted}."),
    );

    page.below(y);
    page.maps(maps, &order.channels(maps), &sheet, &scale);
    Ok(page.canvas.into_image(MARGIN))
}

/// Draws a first look at a whole network: the image with the receptive field of every layer, then
/// a row for each layer with its strongest maps.
///
/// `input` and `facts` are as in [`grid`]; `title` heads the page.
///
/// # Errors
/// As [`grid`], for the first layer that cannot be drawn.
///
/// # Panics
/// Without any layer.
pub fn overview(
    title: &str,
    layers: &[FeatureMaps],
    input: &RgbImage,
    facts: &[String],
) -> Result<RgbImage, PictureError> {
    assert!(!layers.is_empty(), "an overview needs at least one layer");
    for maps in layers {
        maps.check()?;
    }
    let sheets: Vec<Sheet> = layers
        .iter()
        .map(|maps| Sheet::new(maps, STRONGEST, 128))
        .collect();
    let widest = sheets.iter().map(Sheet::width).max().unwrap_or(0);
    let mut page = Page::new(widest, input);
    page.title(title);
    let (x, y) = page.header(input, facts, layers);
    let y = page.paragraph(
        (x, y + 12),
        &format!(
            "A row shows up to {STRONGEST} maps of a layer, those with the largest mean magnitude \
             on this image, largest first. All maps of a layer share its colour scale. The number \
             above a map is its channel."
        ),
    );
    let y = page.hatched((x, y), "dead (every value is 0 on this image) or constant");
    page.below(y);
    for (maps, sheet) in layers.iter().zip(&sheets) {
        let scale = Scale::of(maps);
        page.row_heading(maps, &scale);
        let mut channels = Order::Strongest.channels(maps);
        channels.truncate(sheet.columns);
        page.maps(maps, &channels, sheet, &scale);
    }
    Ok(page.canvas.into_image(MARGIN))
}

impl FeatureMaps<'_> {
    /// "Block 3 after ReLU: 64 maps of 15 x 15 values".
    fn heading(&self) -> String {
        let maps = if self.channels == 1 { "map" } else { "maps" };
        let values = if self.height * self.width == 1 {
            "value"
        } else {
            "values"
        };
        let FeatureMaps {
            name,
            channels,
            height,
            width,
            ..
        } = self;
        format!("{name}: {channels} {maps} of {height} x {width} {values}")
    }

    /// What one value depends on.
    fn geometry(&self) -> String {
        let FeatureMaps {
            receptive_field,
            stride,
            ..
        } = self;
        format!("each value sees {receptive_field} x {receptive_field} px, stride {stride} px")
    }

    /// How many maps are hatched, and why.
    fn flat(&self) -> String {
        let dead = format!("{} of {} dead", self.count(Kind::Dead), self.channels);
        match self.count(Kind::Constant) {
            0 => dead,
            constant => format!("{dead} and {constant} constant"),
        }
    }

    /// What the colours span.
    fn range(&self) -> String {
        let least = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = self
            .values
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        let neutral = if self.signed { ", white is 0" } else { "" };
        format!(
            "one scale for all maps{neutral}; their values run from {} to {}",
            number(least),
            number(most)
        )
    }

    /// The image region that the middle value of a map sees: its first row and column, and its
    /// height and width, all within an image of the given height and width.
    fn middle(&self, image: (usize, usize)) -> [(usize, usize); 2] {
        let start = (self.height / 2 * self.stride, self.width / 2 * self.stride);
        let side =
            |start: usize, length: usize| self.receptive_field.min(length.saturating_sub(start));
        [start, (side(start.0, image.0), side(start.1, image.1))]
    }
}

/// How the maps of a layer are laid out in rows.
struct Sheet {
    columns: usize,
    /// Pixels of the page for one value.
    factor: usize,
    /// Width of an enlarged map.
    cell: usize,
}

impl Sheet {
    /// At most `columns` maps in a row, each enlarged by a whole number to at most `target` pixels,
    /// or left as it is where it is larger already.
    fn new(maps: &FeatureMaps, columns: usize, target: usize) -> Self {
        let factor = (target / maps.height.max(maps.width)).max(1);
        let cell = maps.width * factor;
        let fitting = ((WIDEST + GAP.0) / (cell + GAP.0)).max(1);
        Sheet {
            columns: columns.min(maps.channels).min(fitting),
            factor,
            cell,
        }
    }

    fn width(&self) -> usize {
        self.columns * (self.cell + GAP.0) - GAP.0
    }

    /// The distance between two maps that fills a row of `content` pixels, within limits.
    fn gap(&self, content: usize) -> usize {
        let free = content - self.columns * self.cell;
        (free / (self.columns - 1).max(1)).clamp(GAP.0, GAP.1)
    }
}

/// A canvas with the place where its next part begins.
struct Page {
    canvas: Canvas,
    /// Width between the margins.
    content: usize,
    y: usize,
}

impl Page {
    fn new(sheet: usize, input: &RgbImage) -> Self {
        let head = enlarged(input).1 + MARGIN + TEXT;
        let content = CONTENT.max(sheet).max(head);
        Page {
            canvas: Canvas::new(content + 2 * MARGIN),
            content,
            y: MARGIN,
        }
    }

    fn title(&mut self, title: &str) {
        for line in Font::Title.wrap(title, self.content) {
            self.canvas.text((MARGIN, self.y), &line, Font::Title, INK);
            self.y += Font::Title.line();
        }
        self.y += 12;
    }

    /// Draws the input with a frame for each layer, and the facts beside it. Returns where the
    /// column of text goes on.
    fn header(
        &mut self,
        input: &RgbImage,
        facts: &[String],
        layers: &[FeatureMaps],
    ) -> (usize, usize) {
        let size = (input.height() as usize, input.width() as usize);
        let (factor, left_column) = enlarged(input);
        self.canvas
            .blocks((MARGIN, self.y), size, factor, |row, column| {
                *input.get_pixel(column as u32, row as u32)
            });
        for maps in layers {
            let [start, seen] = maps.middle(size);
            let corner = (MARGIN + start.1 * factor, self.y + start.0 * factor);
            self.canvas
                .frame(corner, (seen.0 * factor, seen.1 * factor));
        }
        let x = MARGIN + left_column + MARGIN;
        let mut y = self.y;
        for fact in facts {
            y = self.paragraph((x, y), fact);
        }
        let fields: Vec<String> = layers
            .iter()
            .map(|l| l.receptive_field.to_string())
            .collect();
        let note = format!(
            "input, {} x {} px; framed: what the middle value of a map sees ({} px)",
            size.0,
            size.1,
            fields.join(", ")
        );
        self.y += size.0 * factor + 8;
        for line in Font::Body.wrap(&note, left_column) {
            self.canvas.text((MARGIN, self.y), &line, Font::Body, MUTED);
            self.y += Font::Body.line();
        }
        (x, y)
    }

    /// Writes a text into the column that begins at x; returns the y below it.
    fn paragraph(&mut self, (x, mut y): (usize, usize), text: &str) -> usize {
        for line in Font::Body.wrap(text, MARGIN + self.content - x) {
            self.canvas.text((x, y), &line, Font::Body, INK);
            y += Font::Body.line();
        }
        y
    }

    /// Explains the hatching; returns the y below.
    fn hatched(&mut self, (x, y): (usize, usize), meaning: &str) -> usize {
        self.canvas.hatch((x, y + 2), (SWATCH, SWATCH));
        self.canvas.border((x, y + 2), (SWATCH, SWATCH));
        self.paragraph((x + SWATCH + 8, y), &format!("hatched: {meaning}"))
    }

    /// Draws a colour bar between its limits.
    fn colour_bar(&mut self, (x, y): (usize, usize), scale: &Scale, width: usize) {
        let (low, high) = (number(scale.low), number(scale.high));
        self.canvas.text((x, y), &low, Font::Body, INK);
        let x = x + low.len() * Font::Body.width() + 8;
        let bar = ((x, y + 2), (SWATCH, width));
        self.canvas.blocks(bar.0, bar.1, 1, |_, column| {
            scale.colour_at(column as f64 / (width - 1) as f64)
        });
        self.canvas.border(bar.0, bar.1);
        let x = x + width + 8;
        self.canvas.text((x, y), &high, Font::Body, INK);
    }

    /// Ends the header below the input and below `y`.
    fn below(&mut self, y: usize) {
        self.y = self.y.max(y) + 20;
    }

    /// Says in one line what a row of the overview shows.
    fn row_heading(&mut self, maps: &FeatureMaps, scale: &Scale) {
        let (low, high) = (number(scale.low), number(scale.high));
        let numbers = (low.len() + high.len()) * Font::Body.width();
        let bar = MARGIN + self.content - (numbers + 16 + ROW_BAR);
        self.colour_bar((bar, self.y), scale, ROW_BAR);
        let columns = (bar - MARGIN) / Font::Body.width() - 4;
        let heading = shorten(&maps.heading(), columns / 2);
        self.canvas
            .text((MARGIN, self.y), &heading, Font::Strong, INK);
        let used = heading.chars().count();
        let rest = shorten(
            &format!("{}; {}", maps.geometry(), maps.flat()),
            columns - used,
        );
        let x = MARGIN + (used + 2) * Font::Body.width();
        self.canvas.text((x, self.y), &rest, Font::Body, MUTED);
        self.y += Font::Body.line() + 4;
    }

    /// Draws the given channels in rows.
    fn maps(&mut self, maps: &FeatureMaps, channels: &[usize], sheet: &Sheet, scale: &Scale) {
        let gap = sheet.gap(self.content);
        let size = (maps.height * sheet.factor, sheet.cell);
        for row in channels.chunks(sheet.columns) {
            let top = self.y + Font::Body.line();
            for (i, &channel) in row.iter().enumerate() {
                let x = MARGIN + i * (sheet.cell + gap);
                self.canvas
                    .text((x, self.y), &channel.to_string(), Font::Body, MUTED);
                if maps.kind(channel) == Kind::Live {
                    let map = maps.map(channel);
                    self.canvas.blocks(
                        (x, top),
                        (maps.height, maps.width),
                        sheet.factor,
                        |r, c| scale.colour(map[r * maps.width + c]),
                    );
                } else {
                    self.canvas.hatch((x, top), size);
                }
                self.canvas.border((x, top), size);
            }
            self.y = top + size.0 + GAP.0;
        }
    }
}

/// The factor by which the input is enlarged, and the width of the column it stands in.
fn enlarged(input: &RgbImage) -> (usize, usize) {
    let (height, width) = (input.height() as usize, input.width() as usize);
    let factor = (INPUT / height.max(width).max(1)).max(1);
    (factor, (width * factor).max(INPUT_COLUMN))
}
