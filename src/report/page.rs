//! The layout of a picture: bands from top to bottom, in which columns stand side by side.

use image::{Rgb, RgbImage};

use super::canvas::{Canvas, INK, MUTED};
use super::scale::{Colours, Scale};
use super::text::{Font, shorten};
use super::{FeatureMaps, Heat, Kind};

/// Empty pixels around the page, and between columns.
pub const MARGIN: usize = 40;
/// Width between the margins, unless a picture needs more.
pub const CONTENT: usize = 1120;
/// The widest that a row of maps gets, unless a single map is wider.
pub const WIDEST: usize = 1600;
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
/// Height of a colour bar or of a bar in a table, and side of a square in the legend.
pub const SWATCH: usize = 14;
/// Length of a colour bar.
const BAR: usize = 160;
/// Distance between a colour bar or square and its text.
pub const SPACE: usize = 8;

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
        let factor = enlargement(maps.width, maps.height, target);
        let column = (maps.width * factor).max(MAP_COLUMN);
        let columns = columns.min(maps.channels).min(fitting(WIDEST, column, GAP.0));
        Sheet { columns, factor, column }
    }

    pub fn width(&self) -> usize {
        self.columns * (self.column + GAP.0) - GAP.0
    }

    /// How many small characters fit above a map.
    pub fn characters(&self) -> usize {
        self.column / Font::Label.width()
    }

    /// The distance between two maps that fills a row of `content` pixels, within limits.
    fn gap(&self, content: usize) -> usize {
        let free = content - self.columns * self.column;
        (free / (self.columns - 1).max(1)).clamp(GAP.0, GAP.1)
    }
}

/// The whole number by which to enlarge a picture that is to stay within a square of `target`
/// pixels; 1 where it is larger already.
pub fn enlargement(width: usize, height: usize, target: usize) -> usize {
    (target / width.max(height)).max(1)
}

/// How many columns fit into a row, at least one.
pub fn fitting(width: usize, column: usize, gap: usize) -> usize {
    ((width + gap) / (column + gap)).max(1)
}

/// How many of `count` things to put in a row of at most `most`, so that the rows are about equally long.
pub fn even(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most))
}

/// The input as it is shown beside a text: its enlargement and the width of its column.
fn shown(input: &RgbImage) -> (usize, usize) {
    let (width, height) = (input.width() as usize, input.height() as usize);
    let factor = enlargement(width, height, INPUT);
    (factor, (width * factor).max(INPUT_COLUMN))
}

/// A page that is written from top to bottom.
pub struct Page {
    canvas: Canvas,
    /// Width between the margins.
    content: usize,
    /// The current column.
    x: usize,
    width: usize,
    /// Where the next thing in it begins.
    y: usize,
    /// Where the columns of the current band begin.
    top: usize,
    /// How far down they reach.
    bottom: usize,
}

impl Page {
    /// Begins a page of the given width between its margins with a title.
    pub fn new(title: &str, content: usize) -> Self {
        let canvas = Canvas::new(content + 2 * MARGIN);
        let mut page = Page { canvas, content, x: MARGIN, width: content, y: MARGIN, top: MARGIN, bottom: MARGIN };
        page.title(title);
        page.band(12);
        page
    }

    /// Begins a page that is wide enough for all `sheets`: writes the title, draws the input with
    /// the receptive field of every layer, and goes to the column of text beside it.
    pub fn with_input<'a>(
        title: &str,
        input: &RgbImage,
        layers: impl Iterator<Item = &'a FeatureMaps<'a>> + Clone,
        sheets: &[&Sheet],
    ) -> Self {
        let (factor, left) = shown(input);
        let widest = sheets.iter().map(|sheet| sheet.width()).max().unwrap_or(0);
        let mut page = Page::new(title, CONTENT.max(widest).max(left + MARGIN + TEXT));
        page.column(0, left);
        let (width, height) = (input.width() as usize, input.height() as usize);
        page.canvas.photo((page.x, page.y), input, factor);
        for maps in layers.clone() {
            let [columns, rows] = maps.middle((width, height));
            let corner = (page.x + columns.start * factor, page.y + rows.start * factor);
            page.canvas.frame(corner, (columns.len() * factor, rows.len() * factor));
        }
        page.y += height * factor + SPACE;
        let fields = layers.map(|maps| maps.receptive_field.to_string());
        let fields = fields.collect::<Vec<_>>().join(", ");
        page.note(&format!("input, {height} x {width} px; framed: seen by a map's middle value ({fields} px)"));
        page.column(left + MARGIN, page.content - left - MARGIN);
        page
    }

    /// Width between the margins.
    pub fn content(&self) -> usize {
        self.content
    }

    /// Goes to the top of a column of the current band, `left` pixels from the margin.
    pub fn column(&mut self, left: usize, width: usize) {
        self.bottom = self.bottom.max(self.y);
        (self.x, self.width, self.y) = (MARGIN + left, width, self.top);
    }

    /// Goes to a new band of full width, `gap` pixels below everything in the current one.
    pub fn band(&mut self, gap: usize) {
        self.bottom = self.bottom.max(self.y) + gap;
        self.top = self.bottom;
        self.column(0, self.content);
    }

    /// Writes a text of one or more lines, large and bold.
    pub fn title(&mut self, text: &str) {
        self.lines(text, Font::Title, INK);
    }

    /// Writes a text of one or more lines.
    pub fn paragraph(&mut self, text: &str) {
        self.lines(text, Font::Body, INK);
    }

    /// Writes a text of one or more lines, small and bold.
    pub fn heading(&mut self, text: &str) {
        self.lines(text, Font::Strong, INK);
    }

    /// Writes a text of one or more lines that does not compete with the maps.
    pub fn note(&mut self, text: &str) {
        self.lines(text, Font::Label, MUTED);
    }

    fn lines(&mut self, text: &str, font: Font, ink: Rgb<u8>) {
        for line in font.wrap(text, self.width) {
            self.canvas.text((self.x, self.y), &line, font, ink);
            self.y += font.line();
        }
    }

    /// Leaves a little room.
    pub fn space(&mut self) {
        self.y += 12;
    }

    /// Explains the hatching.
    pub fn hatching(&mut self, meaning: &str) {
        self.canvas.hatch((self.x, self.y + 3), (SWATCH, SWATCH));
        self.x += SWATCH + SPACE;
        self.width -= SWATCH + SPACE;
        self.paragraph(&format!("hatched: {meaning}"));
        self.width += SWATCH + SPACE;
        self.x -= SWATCH + SPACE;
    }

    /// Draws a colour bar on a line of its own.
    pub fn colour_bar(&mut self, bar: &(Scale, [String; 2]), font: Font) {
        self.bar_at(self.x, bar, font);
        self.y += font.line();
    }

    /// Draws a colour bar between its limits.
    fn bar_at(&mut self, x: usize, (scale, [low, high]): &(Scale, [String; 2]), font: Font) {
        let left = x + low.len() * font.width() + SPACE;
        let at = (left, self.y + (font.height() - SWATCH) / 2);
        let size = (BAR, SWATCH);
        self.canvas.text((x, self.y), low, font, INK);
        self.canvas.blocks(at, size, 1, |x, _| scale.colour_at(x as f64 / (BAR - 1) as f64));
        self.canvas.border(at, size);
        self.canvas.text((left + BAR + SPACE, self.y), high, font, INK);
    }

    /// Writes one line above a row of maps, with their colour bar at its right end.
    pub fn row_heading(&mut self, heading: &str, details: &str, colours: &Colours) {
        let colour_bar = colours.bar();
        let digits: usize = colour_bar.1.iter().map(String::len).sum();
        let bar = MARGIN + self.content - (digits * Font::Label.width() + BAR + 2 * SPACE);
        self.bar_at(bar, &colour_bar, Font::Label);
        let room = bar - MARGIN - 4 * SPACE;
        let heading = shorten(heading, room / 2 / Font::Strong.width());
        self.canvas.text((MARGIN, self.y), &heading, Font::Strong, INK);
        let used = (heading.chars().count() + 2) * Font::Strong.width();
        let details = shorten(details, (room - used) / Font::Label.width());
        self.canvas.text((MARGIN + used, self.y), &details, Font::Label, MUTED);
        self.y += Font::Label.line() + 4;
    }

    /// Draws the given channels, each under its label.
    pub fn maps(&mut self, maps: &FeatureMaps, channels: &[(usize, String)], sheet: &Sheet, colours: &Colours) {
        let gap = sheet.gap(self.content);
        for row in channels.chunks(sheet.columns) {
            let top = self.y + Font::Label.line();
            let below = top + maps.height * sheet.factor + SPACE / 2;
            self.y = top + maps.height * sheet.factor + GAP.0;
            for (i, (channel, label)) in row.iter().enumerate() {
                let x = MARGIN + i * (sheet.column + gap);
                let map = maps.map(*channel);
                self.canvas.text((x, top - Font::Label.line()), label, Font::Label, MUTED);
                self.map_at((x, top), &map, sheet.factor, &colours.scale(&map), map.kind() != Kind::Live);
                let note = colours.note(&map).filter(|note| note.chars().count() <= sheet.characters());
                if let Some(note) = note {
                    self.canvas.text((x, below), &note, Font::Label, MUTED);
                    self.y = below + Font::Label.line() + GAP.0;
                }
            }
        }
    }

    /// Draws one map, or hatches it where it has nothing to show.
    pub fn map(&mut self, map: &Heat, factor: usize, scale: &Scale) {
        self.map_at((self.x, self.y), map, factor, scale, map.kind() == Kind::Dead);
        self.y += map.height * factor + SPACE;
    }

    fn map_at(&mut self, at: (usize, usize), map: &Heat, factor: usize, scale: &Scale, hatched: bool) {
        let size = (map.width * factor, map.height * factor);
        if hatched {
            self.canvas.hatch(at, size);
        } else {
            let colour = |x, y| scale.colour(map.values[y * map.width + x]);
            self.canvas.blocks(at, (map.width, map.height), factor, colour);
            self.canvas.border(at, size);
        }
    }

    /// Draws a photo.
    pub fn photo(&mut self, photo: &RgbImage, factor: usize) {
        self.photo_at(0, photo, factor);
        self.y += photo.height() as usize * factor + SPACE;
    }

    /// Draws a photo `left` pixels into the column and stays on its line.
    pub fn photo_at(&mut self, left: usize, photo: &RgbImage, factor: usize) {
        let at = (self.x + left, self.y);
        self.canvas.photo(at, photo, factor);
        self.canvas.border(at, (photo.width() as usize * factor, photo.height() as usize * factor));
    }

    /// Hatches a rectangle `left` pixels into the column and stays on its line.
    pub fn hatch_at(&mut self, left: usize, size: (usize, usize)) {
        self.canvas.hatch((self.x + left, self.y), size);
    }

    /// Writes small text `left` pixels into the column and stays on its line.
    pub fn put(&mut self, left: usize, text: &str, font: Font, ink: Rgb<u8>) {
        self.canvas.text((self.x + left, self.y), text, font, ink);
    }

    /// Writes small text that ends `right` pixels into the column and stays on its line.
    pub fn put_right(&mut self, right: usize, text: &str, font: Font, ink: Rgb<u8>) {
        self.put(right - text.chars().count() * font.width(), text, font, ink);
    }

    /// Fills a bar on a line of small text, `left` pixels into the column.
    pub fn fill(&mut self, left: usize, length: usize, colour: Rgb<u8>) {
        let at = (self.x + left, self.y + (Font::Label.height() - SWATCH) / 2);
        self.canvas.blocks(at, (length, SWATCH), 1, |_, _| colour);
    }

    /// Draws the outline of a bar on a line of small text.
    pub fn outline(&mut self, left: usize, length: usize) {
        let at = (self.x + left, self.y + (Font::Label.height() - SWATCH) / 2);
        self.canvas.border(at, (length, SWATCH));
    }

    /// Goes `pixels` down in the column.
    pub fn down(&mut self, pixels: usize) {
        self.y += pixels;
    }

    /// The finished picture.
    pub fn finish(self) -> RgbImage {
        self.canvas.into_image(MARGIN)
    }
}
