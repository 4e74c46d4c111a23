//! The page that a person opens first for one image.

use image::{Rgb, RgbImage};

use super::canvas::{INK, MUTED};
use super::grid::{Layer, Rows};
use super::page::{CONTENT, MARGIN, Page, enlargement};
use super::saliency::Triptych;
use super::scale::{Scale, ScaleBy};
use super::text::{Font, number, shorten, signed_number};
use super::{DAMAGED, Heat, PictureError};

/// The input and the evidence are enlarged as long as they stay within this many pixels.
const PICTURE: usize = 300;
/// Room for the ledger.
const LEDGER: usize = 560;
/// Room for a name and for a number in the ledger, and for both with the gap before the bars.
const NAME: usize = 170;
const NUMBER: usize = 80;
const BARS: usize = NAME + NUMBER + 20;
/// The saliency maps are enlarged as long as they stay within this many pixels.
const SMALL: usize = 128;
/// Distance between two saliency maps.
const GAP: usize = 20;
/// The colours of bars that speak for a class and against it: those of the evidence map.
const FOR: Rgb<u8> = Rgb([178, 24, 43]);
const AGAINST: Rgb<u8> = Rgb([33, 102, 172]);

/// All that [`index()`] shows of one image.
#[derive(Debug, Clone, Copy)]
pub struct Index<'a> {
    /// Heads the page.
    pub title: &'a str,
    /// Printed as given, each from a new line: the run and checkpoint, the image's file, the prediction.
    pub facts: &'a [String],
    /// The image as the network saw it.
    pub input: &'a RgbImage,
    /// What each place adds to the logit gap: signed and exact.
    pub evidence: Heat<'a>,
    /// What a value of the evidence sees, in a line or two.
    pub evidence_note: &'a str,
    /// What the logit gap is the sum of.
    pub ledger: Ledger<'a>,
    /// A row each: the saliency maps with their verdicts.
    pub methods: &'a [Triptych<'a>],
    /// A row each: the layers, first to last.
    pub layers: &'a [Layer<'a>],
    /// What the colours of the layers' maps span.
    pub by: ScaleBy,
}

/// A logit gap as a sum. All numbers are in logit units; positive ones speak for the first class.
#[derive(Debug, Clone, Copy)]
pub struct Ledger<'a> {
    /// The class that a positive gap speaks for.
    pub class: &'a str,
    /// The class that a negative gap speaks for.
    pub against: &'a str,
    /// The logit of the first class less that of the second.
    pub gap: f64,
    /// What does not depend on the image.
    pub bias: f64,
    /// The channels with the largest shares, and their shares.
    pub channels: &'a [(usize, f64)],
    /// How many channels are left, and the sum of their shares.
    pub rest: (usize, f64),
    /// The gap less everything above: rounding only.
    pub residual: f64,
}

/// Draws the page to open first for one image: the input with the evidence map and the ledger beside
/// it, then a row for each saliency method, then a row of maps for each layer.
///
/// # Errors
/// As [`triptych`](super::triptych) for the evidence and the methods, as [`grid()`](super::grid())
/// for the layers; or if the ledger has a number that is not finite, or does not add up.
pub fn index(index: &Index) -> Result<RgbImage, PictureError> {
    let Index { input, evidence, ledger, methods, .. } = index;
    evidence.check_beside("evidence map", input.dimensions())?;
    ledger.check()?;
    for method in *methods {
        method.check(input)?;
    }
    let rows = Rows::new(index.layers, index.by, input)?;

    let (width, height) = (input.width() as usize, input.height() as usize);
    let factor = enlargement(width, height, PICTURE);
    let column = (width * factor).max(PICTURE);
    let mut page = Page::new(index.title, CONTENT.max(rows.width()).max(2 * (column + MARGIN) + LEDGER));
    for fact in index.facts {
        page.paragraph(fact);
    }
    page.band(20);
    page.column(0, column);
    page.heading(&format!("Input, {height} x {width} px"));
    page.photo(input, factor);
    page.column(column + MARGIN, column);
    page.heading("Evidence, exact");
    let scale = Scale::of(evidence);
    page.map(evidence, factor, &scale);
    page.colour_bar(&(scale, scale.ends()), Font::Label);
    page.note(&format!("red speaks for {}, blue for {}; {}", ledger.class, ledger.against, index.evidence_note));
    page.column(2 * (column + MARGIN), page.content() - 2 * (column + MARGIN));
    ledger.draw(&mut page);

    if !methods.is_empty() {
        page.band(28);
        page.title("Saliency maps");
        page.note(
            "left: this network; right: the same method, untrained network; each on its own colour scale, whose last colours \
             the strongest 1 % of pixels share; hatched: all 0",
        );
        page.note(
            "the two tests: what a map names is blurred first, which should weaken the decision (deletion), or restored first in a \
             blurred image, which should bring it back (insertion). Maps of single pixels pass more easily than coarse ones, since \
             single blurred pixels leave speckles that no photo has",
        );
    }
    for method in *methods {
        page.band(12);
        draw_method(&mut page, method, input);
    }
    if !index.layers.is_empty() {
        page.band(28);
        page.title("Feature maps");
        rows.legend(&mut page);
        page.band(12);
        rows.draw(&mut page);
    }
    Ok(page.finish())
}

/// Draws a method's map and control, and its verdict beside them.
fn draw_method(page: &mut Page, method: &Triptych, input: &RgbImage) {
    let factor = enlargement(input.width() as usize, input.height() as usize, SMALL);
    let column = input.width() as usize * factor + GAP;
    let scales = [method.map, method.control].map(|map| Scale::of_saliency(&map));
    for (i, map) in [method.map, method.control].iter().enumerate() {
        page.column(i * column, column);
        page.map(map, factor, &scales[i]);
    }
    page.column(2 * column, page.content() - 2 * column);
    page.heading(method.name);
    if let Some(verdict) = method.card.lines.first() {
        page.paragraph(verdict);
    }
    page.note(&method.similar());
    let [map, control] = scales.map(|scale| scale.limits());
    page.note(&format!("colours: {map} for this network, {control} for the untrained one"));
}

impl Ledger<'_> {
    /// The rows of the sum, by name.
    fn rows(&self) -> Vec<(String, f64)> {
        let channels = self.channels.iter().map(|&(channel, share)| (format!("channel {channel}"), share));
        let mut rows = vec![("bias".to_string(), self.bias)];
        rows.extend(channels);
        rows.push((format!("other channels ({})", self.rest.0), self.rest.1));
        rows
    }

    fn check(&self) -> Result<(), PictureError> {
        let mut rows = self.rows();
        let size: f64 = rows.iter().map(|(_, value)| value.abs()).sum();
        let sum = rows.iter().map(|(_, value)| value).sum::<f64>() + self.residual;
        rows.extend([("residual".to_string(), self.residual), ("logit gap".to_string(), self.gap)]);
        if let Some((name, value)) = rows.iter().find(|(_, value)| !value.is_finite()) {
            return Err(PictureError(format!("ledger, {name}: the value is {value}; {DAMAGED}")));
        }
        // The gap comes from numbers of 24 bits.
        if self.residual.abs() > 1e-5 * size {
            return Err(PictureError(format!(
                "ledger: {} of the logit gap {} is in no channel, more than rounding leaves: the driver or the weights are at \
                 fault; try another --adapter or --kernels plain",
                self.residual, self.gap
            )));
        }
        if (self.gap - sum).abs() > 1e-5 * size.max(self.gap.abs()) {
            return Err(PictureError(format!(
                "ledger: the rows add up to {sum}, but the logit gap is {}; give every channel once",
                self.gap
            )));
        }
        Ok(())
    }

    /// Draws the sum as a list of bars, and the gap as its last line.
    fn draw(&self, page: &mut Page) {
        let rows = self.rows();
        let largest = rows.iter().map(|(_, value)| value.abs()).fold(self.gap.abs(), f64::max);
        // Four digits of the largest number, and as many decimals for the others, so that the column adds up.
        let printed = |value: f64| match largest {
            1e-4..1e6 => format!("{value:+.*}", (3 - largest.log10().floor() as i32).max(0) as usize),
            _ => signed_number(value),
        };
        let half = (LEDGER - BARS) / 2;
        let centre = BARS + half;

        page.heading(&format!("Why {} rather than {}: the logit gap as a sum", self.class, self.against));
        page.put_right(centre - 8, &shorten(self.against, half / Font::Label.width() - 2), Font::Label, AGAINST);
        page.put(centre + 8, &shorten(self.class, half / Font::Label.width() - 2), Font::Label, FOR);
        page.down(Font::Label.line());
        let mut line = |name: &str, value: f64, font: Font| {
            page.put(0, name, font, INK);
            page.put_right(NAME + NUMBER, &printed(value), font, INK);
            let length = if largest == 0.0 { 0 } else { (value.abs() / largest * half as f64).round() as usize };
            let (left, colour) = if value < 0.0 { (centre - length, AGAINST) } else { (centre, FOR) };
            page.fill(centre, 1, MUTED);
            page.fill(left, length, colour);
            page.down(Font::Label.line());
        };
        for (name, value) in &rows {
            line(name, *value, Font::Label);
        }
        line("sum = logit gap", self.gap, Font::Strong);
        page.note(&format!("residual, from rounding: {}", number(self.residual)));
    }
}
