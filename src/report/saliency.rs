//! A saliency map, its control and how far to trust it.

use image::{Rgb, RgbImage};

use super::canvas::{INK, MUTED};
use super::page::{CONTENT, MARGIN, Page, enlargement};
use super::scale::Scale;
use super::text::{Font, shorten};
use super::{DAMAGED, Heat, PictureError};

/// The three pictures are enlarged as long as they stay within this many pixels.
const PICTURE: usize = 400;
/// Narrowest column for one of them, so that its colour bar fits.
const COLUMN: usize = 300;
/// Length of the bar for the largest difference of scores.
const BAR: usize = 280;
/// Room for the name of a row in the table of scores.
const NAME: usize = 200;
/// Room for a bar with its number.
const SCORE: usize = BAR + 100;
/// The colour of the bars for this map, and for what it is compared with.
const SCORE_COLOURS: [Rgb<u8>; 2] = [Rgb([33, 102, 172]), Rgb([160, 175, 196])];

/// A saliency map of one image beside what the same method makes of an untrained network.
#[derive(Debug, Clone, Copy)]
pub struct Triptych<'a> {
    /// The method, as it is to stand in headings and errors: "Integrated gradients".
    pub name: &'a str,
    /// Its map for the network.
    pub map: Heat<'a>,
    /// Its map for the same network before training.
    pub control: Heat<'a>,
    /// How alike the two are, from -1 to 1; nothing where that is undefined, as for a constant map.
    pub similarity: Option<f64>,
    /// How far to trust the map.
    pub card: &'a Card,
}

/// How far to trust a saliency map, in words and in scores.
#[derive(Debug, Clone)]
pub struct Card {
    /// Plain words, a paragraph each. The first is the verdict in one sentence.
    pub lines: Vec<String>,
    /// The map's own scores first, then those of maps that know nothing of the network.
    pub rows: Vec<CardRow>,
}

/// The scores of one map, in logits.
#[derive(Debug, Clone)]
pub struct CardRow {
    /// "this map", "Sobel edges", "centre Gaussian", "random squares, mean".
    pub name: String,
    /// Mean logit gap while the most salient pixels are deleted first: lower is better.
    pub deletion: f64,
    /// Mean logit gap while they are inserted first: higher is better.
    pub insertion: f64,
}

/// Draws the input, a saliency map and its control side by side, and the trust card below them.
///
/// `title` heads the page; `input` is the image as the network saw it; `facts` are printed as
/// given, each from a new line.
///
/// # Errors
/// If a map has not one value for each pixel of the input, or one that is not finite, or a negative
/// one though it is not signed; or if a score is not a finite number, or the similarity not one from
/// -1 to 1. The error names the method.
pub fn triptych(
    title: &str,
    triptych: &Triptych,
    input: &RgbImage,
    facts: &[String],
) -> Result<RgbImage, PictureError> {
    triptych.check(input)?;
    let (width, height) = (input.width() as usize, input.height() as usize);
    let factor = enlargement(width, height, PICTURE);
    let column = (width * factor).max(COLUMN);
    let mut page = Page::new(title, CONTENT.max(3 * column + 2 * MARGIN));
    for fact in facts {
        page.paragraph(fact);
    }

    page.band(20);
    page.column(0, column);
    page.heading(&format!("Input, {height} x {width} px"));
    page.photo(input, factor);
    let panels = [(triptych.name, &triptych.map), ("The same method, untrained network", &triptych.control)];
    for (i, (heading, map)) in (1..).zip(panels) {
        page.column(i * (column + MARGIN), column);
        page.heading(heading);
        let scale = Scale::of_saliency(map);
        page.map(map, factor, &scale);
        page.colour_bar(&(scale, scale.ends()), Font::Label);
    }

    page.band(20);
    let mut lines = triptych.card.lines.iter();
    if let Some(verdict) = lines.next() {
        page.title(verdict);
    }
    for line in lines {
        page.paragraph(line);
    }
    page.note(&format!(
        "{} (rank correlation of the magnitudes: 0 unrelated, 1 the same order); each map has its own colour scale, and its \
         strongest 1 % of pixels share the last colours; hatched: all 0",
        triptych.similar()
    ));
    page.band(20);
    triptych.card.draw(&mut page);
    Ok(page.finish())
}

impl Triptych<'_> {
    /// Refuses what cannot be drawn beside the input.
    pub(super) fn check(&self, input: &RgbImage) -> Result<(), PictureError> {
        let name = self.name;
        self.map.check_beside(name, input.dimensions())?;
        self.control.check_beside(&format!("{name} of the untrained network"), input.dimensions())?;
        for row in &self.card.rows {
            for (what, value) in [("deletion", row.deletion), ("insertion", row.insertion)] {
                if !value.is_finite() {
                    let row = &row.name;
                    return Err(PictureError(format!("{name}: the {what} score of \"{row}\" is {value}; {DAMAGED}")));
                }
            }
        }
        match self.similarity {
            Some(value) if !(-1.0..=1.0).contains(&value) => Err(PictureError(format!(
                "{name}: the similarity to the control is {value}; it must be a number from -1 to 1"
            ))),
            _ => Ok(()),
        }
    }

    /// How alike the map and its control are, in words.
    pub(super) fn similar(&self) -> String {
        let value = self.similarity.map_or("undefined".to_string(), |value| format!("{value:.2}"));
        format!("similarity to the untrained network's map: {value}")
    }
}

impl Card {
    /// Draws the table of scores.
    fn draw(&self, page: &mut Page) {
        if self.rows.is_empty() {
            return;
        }
        let columns = [NAME, NAME + SCORE + MARGIN];
        page.put(columns[0], "deletion, logits: lower is better", Font::Strong, INK);
        page.put(columns[1], "insertion, logits: higher is better", Font::Strong, INK);
        page.down(Font::Label.line() + 4);
        // Bars start at 0, wherever that lies between the lowest and the highest score.
        let scores = || self.rows.iter().flat_map(|row| [row.deletion, row.insertion]);
        let [lowest, highest] = [scores().fold(0.0, f64::min), scores().fold(0.0, f64::max)];
        let reach = if highest > lowest { highest - lowest } else { 1.0 };
        let at = |score: f64| ((score - lowest) / reach * BAR as f64).round() as usize;
        for (i, row) in self.rows.iter().enumerate() {
            let (font, ink) = if i == 0 { (Font::Strong, INK) } else { (Font::Label, MUTED) };
            page.put(0, &shorten(&row.name, NAME / font.width() - 1), font, ink);
            for (left, score) in columns.into_iter().zip([row.deletion, row.insertion]) {
                let [from, to] = [at(score.min(0.0)), at(score.max(0.0))];
                page.outline(left, BAR);
                page.fill(left + from, to - from, SCORE_COLOURS[i.min(1)]);
                page.put(left + BAR + 12, &format!("{score:+.3}"), font, ink);
            }
            page.down(Font::Label.line());
        }
    }
}
