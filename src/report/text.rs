//! The letters on a picture: two sizes of one fixed-width font, line breaks and number format.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};

/// A size and weight of the font, which has the letters of European languages in Latin script.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Font {
    /// Large and bold: the title.
    Title,
    /// Large: text.
    Body,
    /// Small and bold: headings of rows.
    Strong,
    /// Small: notes and numbers.
    Label,
}

impl Font {
    fn style(self) -> (FontWeight, RasterHeight) {
        match self {
            Font::Title => (FontWeight::Bold, RasterHeight::Size20),
            Font::Body => (FontWeight::Regular, RasterHeight::Size20),
            Font::Strong => (FontWeight::Bold, RasterHeight::Size16),
            Font::Label => (FontWeight::Regular, RasterHeight::Size16),
        }
    }

    /// Width of every character in pixels.
    pub fn width(self) -> usize {
        let (weight, height) = self.style();
        get_raster_width(weight, height)
    }

    /// Height of every character in pixels.
    pub fn height(self) -> usize {
        self.style().1.val()
    }

    /// Distance from one line of text to the next in pixels.
    pub fn line(self) -> usize {
        self.height() * 5 / 4
    }

    /// The picture of a character, or of '?' where the font lacks it.
    pub fn glyph(self, c: char) -> RasterizedChar {
        let (weight, height) = self.style();
        get_raster(c, weight, height).or_else(|| get_raster('?', weight, height)).expect("the font has a question mark")
    }

    /// Breaks a text at its spaces into lines of at most `pixels` width. A word that is too long
    /// for a line, such as a file name, loses its middle.
    pub fn wrap(self, text: &str, pixels: usize) -> Vec<String> {
        let columns = pixels / self.width();
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let word = shorten(word, columns);
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                    line.push(' ');
                    line.push_str(&word);
                }
                _ => lines.push(word),
            }
        }
        lines
    }
}

/// A text of at most `columns` characters: the start and the end of a longer one, joined by "...".
pub fn shorten(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    if length <= columns {
        return text.to_owned();
    }
    let kept = columns.saturating_sub(3);
    let start: String = text.chars().take(kept / 2).collect();
    let end: String = text.chars().skip(length - (kept - kept / 2)).collect();
    format!("{start}...{end}")
}

/// A number with three significant digits, in scientific notation where that reads better.
pub fn number(value: impl Into<f64>) -> String {
    let value = value.into();
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.2e}");
    let exponent = scientific.split_once('e').and_then(|(_, digits)| digits.parse::<i32>().ok());
    match exponent {
        Some(exponent @ -3..=3) => format!("{value:.*}", (2 - exponent).max(0) as usize),
        _ => scientific,
    }
}

/// As [`number`], with a sign before positive numbers too.
pub fn signed_number(value: f64) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_significant_digits() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1.00"),
            (-2.7777, "-2.78"),
            (9.999, "10.0"),
            (123.4, "123"),
            (9999.0, "1.00e4"),
            (4321.0, "4321"),
            (0.00123, "0.00123"),
            (0.000123, "1.23e-4"),
            (6.5e20, "6.50e20"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
        assert_eq!([0.0, 1.0, -1.0].map(signed_number), ["0", "+1.00", "-1.00"]);
    }

    #[test]
    fn lines_fit_and_lose_no_word() {
        let text = "each value sees 15 x 15 px of the image, stride 8 px";
        let pixels = 20 * Font::Label.width();
        let lines = Font::Label.wrap(text, pixels);
        assert_eq!(lines, ["each value sees 15 x", "15 px of the image,", "stride 8 px"]);
        assert_eq!(lines.join(" "), text);
    }

    #[test]
    fn a_long_file_name_keeps_both_ends() {
        let lines = Font::Label.wrap("image runs/2024/a/very/long/cat.17.jpg", 15 * 7);
        assert_eq!(lines, ["image", "runs/2...17.jpg"]);
        assert_eq!(shorten("żółw", 4), "żółw");
    }

    #[test]
    fn a_character_the_font_lacks_is_a_question_mark() {
        for font in [Font::Title, Font::Body, Font::Strong, Font::Label] {
            assert_eq!(font.glyph('\u{1f431}'), font.glyph('?'));
            assert_ne!(font.glyph('a'), font.glyph('?'));
        }
    }
}
