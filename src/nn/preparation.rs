//! How an image becomes the numbers that a network takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::layout::padded;

/// How images are prepared for a network: what its weights have learned from, and so what they are to be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// How the colours become numbers.
    #[serde(default)]
    pub normalize: Normalize,
    /// Pixels that a photo's shorter side is scaled to before the middle square is cut out, as torchvision does it; without it,
    /// the side of the square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize_crop: Option<u32>,
}

impl Preparation {
    /// The most pixels that a photo's shorter side is scaled to.
    pub const MAX_RESIZE: u32 = 16_384;

    /// Whether a square of this side can be cut out of what photos are scaled to.
    pub fn is_for(&self, size: usize) -> bool {
        self.resize_crop.is_none_or(|resize| resize as usize >= size && resize <= Self::MAX_RESIZE)
    }

    /// Whether it is what is done unless something else is asked for; files then do not mention it.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// As options ask for it.
impl fmt::Display for Preparation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "--normalize {}", self.normalize)?;
        self.resize_crop.map_or(Ok(()), |resize| write!(formatter, " --resize-crop {resize}"))
    }
}

/// Numbers as options and files have them, parted by commas.
pub(crate) fn listed(numbers: &[impl ToString]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The numbers of such a list.
pub(crate) fn numbers(text: &str) -> Option<Vec<f32>> {
    text.split(',').map(|number| number.trim().parse().ok()).collect()
}

/// What is subtracted from each colour, which runs from 0 to 1, and what the rest is divided by: torchvision's `Normalize`.
///
/// It is written `half`, `imagenet`, or as numbers: `MEAN,STD` for all colours, or three means and three deviations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Normalize {
    mean: [f32; 3],
    std: [f32; 3],
}

/// Colours of an image.
const COLOURS: usize = 3;

impl Normalize {
    /// `(x - 0.5) / 0.5`: from -1, black, to 1, white.
    pub const HALF: Self = Self { mean: [0.5; 3], std: [0.5; 3] };
    /// What torchvision's own weights were trained with.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// What is subtracted from red, green and blue.
    pub fn mean(self) -> [f32; 3] {
        self.mean
    }

    /// What they are then divided by.
    pub fn std(self) -> [f32; 3] {
        self.std
    }

    /// What becomes of a byte x, in words.
    pub fn formula(self) -> String {
        let Self { mean, std } = self;
        match (mean, std) {
            ([mean, green, blue], [std, ..]) if [mean; 2] == [green, blue] && self.std == [std; 3] => {
                format!("(x / 255 - {mean}) / {std}")
            }
            _ => format!("(x / 255 - MEAN) / STD with MEAN {mean:?} and STD {std:?} of red, green and blue"),
        }
    }

    /// The number of each byte of each colour. `signed` is that byte from -1, black, to 1, white.
    pub fn table(self, signed: &[f32; 256]) -> [[f32; 256]; 3] {
        std::array::from_fn(|colour| signed.map(|value| self.number(colour, value)))
    }

    /// Turns images, (.., 4) with colours from -1, black, to 1, white, into the numbers of the network.
    pub fn apply(self, images: &mut [f32]) {
        self.on_colours(images, |colour, value| self.number(colour, value));
    }

    /// Turns derivatives by the numbers of the network, (.., 4), into those by colours that run from -1 to 1.
    pub fn apply_to_gradient(self, gradients: &mut [f32]) {
        self.on_colours(gradients, |colour, value| value * 0.5 / self.std[colour]);
    }

    /// The colour from -1 to 1 whose number this is.
    pub fn signed(self, colour: usize, number: f32) -> f32 {
        if self == Self::HALF { number } else { (number * self.std[colour] + self.mean[colour]) * 2.0 - 1.0 }
    }

    fn number(self, colour: usize, signed: f32) -> f32 {
        // Of the usual one the numbers are those of before there was a choice, to the last bit.
        if self == Self::HALF { signed } else { (0.5 * signed + 0.5 - self.mean[colour]) / self.std[colour] }
    }

    fn on_colours(self, pixels: &mut [f32], change: impl Fn(usize, f32) -> f32) {
        if self != Self::HALF {
            for pixel in pixels.chunks_exact_mut(padded(COLOURS)) {
                for (colour, value) in pixel[..COLOURS].iter_mut().enumerate() {
                    *value = change(colour, *value);
                }
            }
        }
    }
}

impl Default for Normalize {
    fn default() -> Self {
        Self::HALF
    }
}

impl fmt::Display for Normalize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            &Self::HALF => formatter.write_str("half"),
            &Self::IMAGENET => formatter.write_str("imagenet"),
            Self { mean, std } => {
                let all_same = [mean, std].iter().all(|numbers| numbers.iter().all(|number| *number == numbers[0]));
                let shown = if all_same { 1 } else { COLOURS };
                write!(formatter, "{},{}", listed(&mean[..shown]), listed(&std[..shown]))
            }
        }
    }
}

impl FromStr for Normalize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "half" => return Ok(Self::HALF),
            "imagenet" => return Ok(Self::IMAGENET),
            _ => (),
        }
        let (mean, std) = match numbers(text).as_deref() {
            Some([mean, std]) => ([*mean; 3], [*std; 3]),
            Some([red, green, blue, std @ ..]) if std.len() == 3 => ([*red, *green, *blue], [std[0], std[1], std[2]]),
            _ => {
                return Err(
                    "expected half, imagenet, or numbers: MEAN,STD as 0.5,0.25, or three means and three deviations"
                        .into(),
                );
            }
        };
        if !mean.iter().all(|mean| (0.0..=1.0).contains(mean)) || !std.iter().all(|std| (0.001..=10.0).contains(std)) {
            return Err("expected means of 0 to 1 and deviations of 0.001 to 10, as colours run from 0 to 1 here: divide those \
                        of colours up to 255 by 255"
                .into());
        }
        Ok(Self { mean, std })
    }
}

impl TryFrom<String> for Normalize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Normalize> for String {
    fn from(normalize: Normalize) -> Self {
        normalize.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for (text, mean, std) in [
            ("half", [0.5; 3], [0.5; 3]),
            ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ("0.5,0.25", [0.5; 3], [0.25; 3]),
            ("0,1", [0.0; 3], [1.0; 3]),
            ("0.48,0.45,0.4,0.23,0.22,0.22", [0.48, 0.45, 0.4], [0.23, 0.22, 0.22]),
            ("0.4,0.4,0.4,0.23,0.22,0.22", [0.4; 3], [0.23, 0.22, 0.22]),
        ] {
            let read: Normalize = text.parse().unwrap();
            assert_eq!((read.mean(), read.std(), read.to_string()), (mean, std, text.to_string()));
        }
        assert_eq!(Normalize::HALF.formula(), "(x / 255 - 0.5) / 0.5");
        let formula = Normalize::IMAGENET.formula();
        assert!(formula.contains("MEAN [0.485, 0.456, 0.406] and STD [0.229, 0.224, 0.225]"), "{formula}");
        for same in ["0.5,0.5", "0.5, 0.5", "0.5,0.5,0.5,0.5,0.5,0.5"] {
            assert_eq!(same.parse(), Ok(Normalize::HALF));
        }
    }

    #[test]
    fn what_is_none_is_told() {
        for (text, told) in [
            ("", "expected half, imagenet, or"),
            ("ImageNet", "expected half, imagenet, or"),
            ("0.5", "expected half, imagenet, or"),
            ("0.5,0.5,0.5", "expected half, imagenet, or"),
            ("0.5,0.5,0.5,0.5", "expected half, imagenet, or"),
            ("a,b", "expected half, imagenet, or"),
            ("123.7,58.4", "divide those of colours up to 255 by 255"),
            ("0.5,0", "deviations of 0.001 to 10"),
            ("0.5,-1", "deviations of 0.001 to 10"),
            ("NaN,1", "means of 0 to 1"),
            ("0.5,inf", "deviations of 0.001 to 10"),
        ] {
            let error = text.parse::<Normalize>().unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    /// torchvision.transforms.functional.normalize of 0, 1/3 and 1 in each colour, by ImageNet's mean and deviation.
    #[test]
    fn numbers_are_those_of_torchvision() {
        let expected =
            [[-2.117904, -2.0357141, -1.8044444], [-0.6622998, -0.5476189, -0.32296288], [2.2489083, 2.4285715, 2.64]];
        for (x, expected) in [0.0, 1.0 / 3.0, 1.0f32].into_iter().zip(expected) {
            let mut pixel = [2.0 * x - 1.0, 2.0 * x - 1.0, 2.0 * x - 1.0, 0.0];
            Normalize::IMAGENET.apply(&mut pixel);
            for (number, expected) in pixel[..3].iter().zip(expected) {
                assert!((number - expected).abs() < 1e-6, "{number} {expected}");
            }
            assert_eq!(pixel[3], 0.0, "the padding stays");
            for (colour, number) in pixel[..3].iter().enumerate() {
                assert!((Normalize::IMAGENET.signed(colour, *number) - (2.0 * x - 1.0)).abs() < 1e-6);
            }
        }
        let mut usual = [0.1, -0.7, 1.0, 0.0];
        Normalize::HALF.apply(&mut usual);
        assert_eq!(usual, [0.1, -0.7, 1.0, 0.0]);
    }

    #[test]
    fn derivatives_follow_the_chain_rule() {
        let normalize: Normalize = "0.4,0.3,0.2,0.1,0.2,0.25".parse().unwrap();
        let at = |signed: f32| {
            let mut pixel = [signed, signed, signed, 0.0];
            normalize.apply(&mut pixel);
            pixel
        };
        let mut gradient = [1.0, 1.0, 1.0, 0.0];
        normalize.apply_to_gradient(&mut gradient);
        for (colour, slope) in gradient.iter().enumerate() {
            let measured = (at(0.5)[colour] - at(-0.5)[colour]) / 1.0;
            assert!((measured - slope).abs() < 1e-5, "{colour}: {measured} {slope}");
        }
    }

    #[test]
    fn a_square_is_cut_out_of_what_is_at_least_as_large() {
        for (resize_crop, expected) in
            [(None, true), (Some(27), false), (Some(28), true), (Some(16_384), true), (Some(16_385), false)]
        {
            assert_eq!(Preparation { resize_crop, ..Preparation::default() }.is_for(28), expected, "{resize_crop:?}");
        }
    }

    #[test]
    fn older_files_have_the_usual_preparation() {
        assert_eq!(serde_json::from_str::<Preparation>("{}").unwrap(), Preparation::default());
        let asked = Preparation { normalize: Normalize::IMAGENET, resize_crop: Some(256) };
        let text = serde_json::to_string(&asked).unwrap();
        assert_eq!(text, r#"{"normalize":"imagenet","resize_crop":256}"#);
        assert_eq!(serde_json::from_str::<Preparation>(&text).unwrap(), asked);
        assert!(serde_json::from_str::<Preparation>(r#"{"normalize":"none"}"#).is_err());
    }
}
