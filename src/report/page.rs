//! The layout of a picture: a head with the input and the text beside it, then rows of maps.

use image::RgbImage;

use super::canvas::{Canvas, INK, MUTED};
use super::scale::Scale;
use super::text::{Font, number, shorten};
use super::{FeatureMaps, Kind};

/// Empty pixels around the page, and between the input and the text beside it.
const MARGIN: usize = 40;
/// Width between the margins, unless the maps or the input need more.
const CONTENT: usize = 1120;
/// The widest that a row of maps gets, unless a single map is wider.
const WIDEST: usize = 1600;
/// Room kept for the text beside the input.
const TEXT: usize = 560;
/// The input is enlarged as long as it stays within this many pixels.
const INPUT: usize = 300;
/// Narrowest column for the input and the note under it.
const INPUT_COLUMN: usize = 256;
/// Smallest and largest distance between two maps in a row.
const GAP: (usize, usize) = (12, 24);
/// Narrowest column for a map, so that its number fits.
const MAP_COLUMN: usize = 32;
/// Height of a colour bar, and side of the hatched square in the legend.
const SWATCH: usize = 14;
/// Length of a colour bar.
const BAR: usize = 160;
/// Distance between a colour bar or square and its text.
const SPACE: usize = 8;

/// How the maps of a layer are laid out in rows.
pub struct Sheet {
    /// Maps in a row.
    pub columns: usize,
    /// Pixels of the page for one value.
    factor: usize,
    /// Width of the column for one map.
    column: usize,
}

impl Sheet {
    /// At most `columns` maps in a row, each enlarged by a whole number to at most `target` pixels,
    /// or left as it is where it is larger already.
    pub fn new(maps: &FeatureMaps, columns: usize, target: usize) -> Self {
        let factor = (target / maps.height.max(maps.width)).max(1);
        let column = (maps.width * factor).max(MAP_COLUMN);
        let fitting = ((WIDEST + GAP.0) / (column + GAP.0)).max(1);
        let columns = columns.min(maps.channels).min(fitting);
        Sheet { columns, factor, column }
    }

    fn width(&self) -> usize {
        self.columns * (self.column + GAP.0) - GAP.0
    }

    /// The distance between two maps that fills a row of `content` pixels, within limits.
    fn gap(&self, content: usize) -> usize {
        let free = content - self.columns * self.column;
        (free / (self.columns - 1).max(1)).clamp(GAP.0, GAP.1)
    }
}

/// A page that is written from top to bottom.
pub struct Page {
    canvas: Canvas,
    /// Width between the margins.
    content: usize,
    /// Where the next text or row of maps begins.
    x: usize,
    y: usize,
    /// Where the rows below the head may begin at the earliest.
    head: usize,
}

impl Page {
    /// Begins a page that is wide enough for all `sheets`: writes the title, draws the input with
    /// the receptive field of every layer, and goes to the column of text beside it.
    pub fn new(title: &str, input: &RgbImage, layers: &[FeatureMaps], sheets: &[&Sheet]) -> Self {
        let (width, height) = (input.width() as usize, input.height() as usize);
        let factor = (INPUT / width.max(height)).max(1);
        let left = (width * factor).max(INPUT_COLUMN);
        let widest = sheets.iter().map(|sheet| sheet.width()).max().unwrap_or(0);
        let content = CONTENT.max(widest).max(left + MARGIN + TEXT);
        let canvas = Canvas::new(content + 2 * MARGIN);
        let mut page = Page { canvas, content, x: MARGIN, y: MARGIN, head: 0 };

        page.lines(title, content, Font::Title);
        page.y += 12;
        let top = page.y;
        page.canvas.blocks((MARGIN, top), (width, height), factor, |x, y| *input.get_pixel(x as u32, y as u32));
        for maps in layers {
            let [columns, rows] = maps.middle((width, height));
            let corner = (MARGIN + columns.start * factor, top + rows.start * factor);
            page.canvas.frame(corner, (columns.len() * factor, rows.len() * factor));
        }
        page.y += height * factor + SPACE;
        let fields = layers.iter().map(|maps| maps.receptive_field.to_string());
        let fields = fields.collect::<Vec<_>>().join(", ");
        let note = format!("input, {height} x {width} px; framed: seen by a map's middle value ({fields} px)");
        page.lines(&note, left, Font::Label);
        page.head = page.y;
        page.x += left + MARGIN;
        page.y = top;
        page
    }

    /// Writes a text of one or more lines.
    pub fn paragraph(&mut self, text: &str) {
        self.lines(text, MARGIN + self.content - self.x, Font::Body);
    }

    /// Leaves a little room.
    pub fn space(&mut self) {
        self.y += 12;
    }

    /// Explains the hatching.
    pub fn hatching(&mut self, meaning: &str) {
        self.canvas.hatch((self.x, self.y + 3), (SWATCH, SWATCH));
        self.x += SWATCH + SPACE;
        self.paragraph(&format!("hatched: {meaning}"));
        self.x -= SWATCH + SPACE;
    }

    /// Draws a colour bar on a line of its own.
    pub fn colour_bar(&mut self, scale: &Scale) {
        self.bar(self.x, scale, Font::Body);
        self.y += Font::Body.line();
    }

    /// Goes to the rows of maps.
    pub fn end_head(&mut self) {
        self.x = MARGIN;
        self.y = self.y.max(self.head) + 20;
    }

    /// Writes one line above a row of maps, with their colour bar at its right end.
    pub fn row_heading(&mut self, heading: &str, details: &str, scale: &Scale) {
        let bar = MARGIN + self.content - bar_width(scale, Font::Label);
        self.bar(bar, scale, Font::Label);
        let room = bar - MARGIN - 4 * SPACE;
        let heading = shorten(heading, room / 2 / Font::Strong.width());
        self.canvas.text((MARGIN, self.y), &heading, Font::Strong, INK);
        let used = (heading.chars().count() + 2) * Font::Strong.width();
        let details = shorten(details, (room - used) / Font::Label.width());
        self.canvas.text((MARGIN + used, self.y), &details, Font::Label, MUTED);
        self.y += Font::Label.line() + 4;
    }

    /// Draws the given channels, each under its number.
    pub fn maps(&mut self, maps: &FeatureMaps, channels: &[usize], sheet: &Sheet, scale: &Scale) {
        let gap = sheet.gap(self.content);
        let size = (maps.width * sheet.factor, maps.height * sheet.factor);
        for row in channels.chunks(sheet.columns) {
            let top = self.y + Font::Label.line();
            for (i, &channel) in row.iter().enumerate() {
                let x = MARGIN + i * (sheet.column + gap);
                self.canvas.text((x, self.y), &channel.to_string(), Font::Label, MUTED);
                if maps.kind(channel) == Kind::Live {
                    let map = maps.map(channel);
                    let colour = |x, y| scale.colour(map[y * maps.width + x]);
                    self.canvas.blocks((x, top), (maps.width, maps.height), sheet.factor, colour);
                    self.canvas.border((x, top), size);
                } else {
                    self.canvas.hatch((x, top), size);
                }
            }
            self.y = top + size.1 + GAP.0;
        }
    }

    /// The finished picture.
    pub fn finish(self) -> RgbImage {
        self.canvas.into_image(MARGIN)
    }

    fn lines(&mut self, text: &str, width: usize, font: Font) {
        let ink = if font == Font::Label { MUTED } else { INK };
        for line in font.wrap(text, width) {
            self.canvas.text((self.x, self.y), &line, font, ink);
            self.y += font.line();
        }
    }

    /// Draws a colour bar between its limits.
    fn bar(&mut self, x: usize, scale: &Scale, font: Font) {
        let (low, high) = (number(scale.low), number(scale.high));
        let left = x + low.len() * font.width() + SPACE;
        let at = (left, self.y + (font.height() - SWATCH) / 2);
        let size = (BAR, SWATCH);
        self.canvas.text((x, self.y), &low, font, INK);
        self.canvas.blocks(at, size, 1, |x, _| scale.colour_at(x as f64 / (BAR - 1) as f64));
        self.canvas.border(at, size);
        self.canvas.text((left + BAR + SPACE, self.y), &high, font, INK);
    }
}

/// Width of a colour bar with its limits.
fn bar_width(scale: &Scale, font: Font) -> usize {
    let digits = number(scale.low).len() + number(scale.high).len();
    digits * font.width() + BAR + 2 * SPACE
}
