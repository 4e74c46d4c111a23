//! Numbers and names as they stand in sentences.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use sha2::{Digest, Sha256};

use crate::terminal::visible;

/// The hash by which a content-security policy knows a style sheet.
pub fn sha256(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

/// A page in which what a browser would obey instead of show is made visible. Its line breaks are its own.
pub fn fit(page: &str) -> String {
    page.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// 12,345
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

/// +1.5 or −1.5
pub fn signed(number: f64, digits: usize) -> String {
    with_minus(&format!("{number:+.digits$}"), "+")
}

/// −1.5 or 1.5
pub fn plain(number: f64, digits: usize) -> String {
    with_minus(&format!("{number:.digits$}"), "")
}

/// A number with the sign that is as wide as a plus. What rounds to 0 has `of_zero` instead.
fn with_minus(number: &str, of_zero: &str) -> String {
    let zero = number.parse() == Ok(0.0);
    number.replace('-', if zero { of_zero } else { "−" })
}

/// "74.2 %" of a share, kept on one line.
pub fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

/// Text in which what stands between backticks is code.
pub fn with_code(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// "3 × 10⁻⁷", for numbers that are nearly 0.
pub fn tiny(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return plain(number, 0);
    }
    // Below, there is no power of ten to divide by.
    let power = (number.abs().log10().floor() as i32).max(-300);
    if power >= -3 {
        return plain(number, 4);
    }
    format!("{} × 10{}", plain(number / 10f64.powi(power), 0), raised(power))
}

/// A power as it stands above the line: ⁻⁴
fn raised(power: i32) -> String {
    let digit = |c: char| match c.to_digit(10) {
        Some(digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit as usize).expect("a digit"),
        None => '⁻',
    };
    power.to_string().chars().map(digit).collect()
}

/// A number with three significant digits, with a power of ten where that reads better.
pub fn significant(number: impl Into<f64>) -> String {
    let number = number.into();
    if number == 0.0 {
        return "0".into();
    }
    let scientific = format!("{number:.2e}");
    let parts = scientific.split_once('e').and_then(|(digits, power)| Some((digits, power.parse::<i32>().ok()?)));
    match parts {
        Some((_, power @ -3..=3)) => plain(number, (2 - power).max(0) as usize),
        Some((digits, power)) => format!("{} × 10{}", digits.replace('-', "−"), raised(power)),
        None => scientific,
    }
}

/// As [`significant`], with a sign before positive numbers too.
pub fn signed_significant(number: f64) -> String {
    let sign = if number > 0.0 { "+" } else { "" };
    format!("{sign}{}", significant(number))
}

/// A name that came from outside, kept apart from the sentence around it: it may run from right to left.
pub fn name(name: &str) -> Markup {
    html! { bdi { (name) } }
}

/// "p = 0.012" or "p < 0.001"
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".into() } else { format!("p = {p:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [signed(1.26, 1), signed(-0.5, 1), signed(-0.01, 1), plain(-2.0, 0)],
            ["+1.3", "−0.5", "+0.0", "−2"]
        );
        for (number, expected) in
            [(-0.04, ["+0.0", "0.0"]), (-0.0, ["+0.0", "0.0"]), (0.04, ["+0.0", "0.0"]), (-0.06, ["−0.1", "−0.1"])]
        {
            assert_eq!([signed(number, 1), plain(number, 1)], expected, "{number}");
        }
        assert_eq!(
            [tiny(3.1e-7), tiny(0.0), tiny(0.01), tiny(2e-12), tiny(5e-324)],
            ["3 × 10⁻⁷", "0", "0.0100", "2 × 10⁻¹²", "0 × 10⁻³⁰⁰"]
        );
        assert_eq!([tiny(-3.1e-7), tiny(-0.0), tiny(f64::NEG_INFINITY)], ["−3 × 10⁻⁷", "0", "−inf"]);
        assert_eq!([p_value(0.0321), p_value(1e-9)], ["p = 0.032", "p < 0.001"]);
    }

    #[test]
    fn three_digits_are_significant() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1.00"),
            (-2.7777, "−2.78"),
            (9.999, "10.0"),
            (123.4, "123"),
            (9999.0, "1.00 × 10⁴"),
            (4321.0, "4321"),
            (0.00123, "0.00123"),
            (-0.000_123, "−1.23 × 10⁻⁴"),
            (6.5e20, "6.50 × 10²⁰"),
        ];
        for (value, expected) in cases {
            assert_eq!(significant(value), expected);
        }
        assert_eq!([0.0, 1.0, -1.0].map(signed_significant), ["0", "+1.00", "−1.00"]);
    }

    #[test]
    fn backticks_make_code_and_nothing_else_makes_markup() {
        assert_eq!(with_code("only `depth` <b>").into_string(), "only <code>depth</code> &lt;b&gt;");
    }

    #[test]
    fn the_hash_is_the_known_one() {
        // Of the empty text, from FIPS 180's examples.
        assert_eq!(sha256(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
