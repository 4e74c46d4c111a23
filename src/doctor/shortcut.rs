//! Classes that one number tells apart, which says nothing of what the images show.

use image::ImageFormat;

use super::measured::Measured;
use crate::stats::wilson;

/// Fewer images tell too little.
const FEWEST: usize = 20;
/// Confidence that a rule does better than always naming the commonest class.
const LEVEL: f64 = 0.99;

/// A number that has nothing to do with what an image shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Width times height.
    Pixels,
    /// Width by height.
    Shape,
    /// JPEG or PNG.
    Format,
    /// Mean of all colours.
    Brightness,
    /// Whether there is any colour.
    Grey,
}

impl Measure {
    const ALL: [Self; 5] = [Self::Pixels, Self::Shape, Self::Format, Self::Brightness, Self::Grey];

    fn of(self, image: &Measured) -> f64 {
        let [width, height] = image.sides.map(f64::from);
        match self {
            Self::Pixels => width * height,
            Self::Shape => width / height,
            Self::Format => f64::from(u8::from(image.format == ImageFormat::Png)),
            Self::Brightness => image.brightness(),
            Self::Grey => f64::from(u8::from(image.grey)),
        }
    }
}

/// A class that one number tells from all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Shortcut {
    /// The number.
    pub measure: Measure,
    /// The class.
    pub class: u32,
    /// Share of the images that a limit to the number puts right: a limit that was set on the other half of the images.
    pub right: f64,
    /// Share that is right where all are put on the side with more images.
    pub guessing: f64,
}

impl Shortcut {
    /// The share of the mistakes of guessing that the rule avoids.
    pub fn gain(&self) -> f64 {
        (self.right - self.guessing) / (1.0 - self.guessing)
    }
}

/// For each measure the class that it tells best from all others, where that is better than guessing by more than chance.
pub(super) fn shortcuts(images: &[Measured], classes: usize) -> Vec<Shortcut> {
    if images.len() < FEWEST {
        return Vec::new();
    }
    // Of two classes, the one is told from the other as the other from the one.
    let told = if classes == 2 { 1 } else { classes as u32 };
    let of_measure = |measure: Measure| {
        let values: Vec<f64> = images.iter().map(|image| measure.of(image)).collect();
        let rules = (0..told).filter_map(|class| {
            let is = |index: usize| images[index].file.class == class;
            rule(&values, &is).map(|(right, guessing)| Shortcut { measure, class, right, guessing })
        });
        rules.max_by(|a, b| a.gain().total_cmp(&b.gain()))
    };
    Measure::ALL.into_iter().filter_map(of_measure).collect()
}

/// The shares that a limit and that guessing get right, if the limit does better by more than chance. Each half of the images,
/// every second one, is judged by the limit that suits the other half best.
fn rule(values: &[f64], is: &dyn Fn(usize) -> bool) -> Option<(f64, f64)> {
    let labelled: Vec<(f64, bool)> = values.iter().enumerate().map(|(index, &value)| (value, is(index))).collect();
    let halves = [0, 1].map(|half| labelled.iter().copied().skip(half).step_by(2).collect::<Vec<_>>());
    let right: usize = [(0, 1), (1, 0)]
        .map(|(learned, judged)| {
            let (limit, [below, above]) = limit(&halves[learned]);
            let says = |value: f64| if value < limit { below } else { above };
            halves[judged].iter().filter(|(value, is)| says(*value) == *is).count()
        })
        .iter()
        .sum();
    let all = labelled.len();
    let of_class = labelled.iter().filter(|(_, is)| *is).count();
    let guessing = of_class.max(all - of_class) as f64 / all as f64;
    (guessing < 1.0 && wilson(right, all, LEVEL).0 > guessing).then_some((right as f64 / all as f64, guessing))
}

/// The limit that puts most right, and what is said below it and from it on.
fn limit(labelled: &[(f64, bool)]) -> (f64, [bool; 2]) {
    let mut sorted = labelled.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = sorted.iter().filter(|(_, is)| *is).count();
    let (mut below, mut best, mut chosen) = (0, 0, (f64::NEG_INFINITY, [false; 2]));
    for place in 0..=sorted.len() {
        let cut = place.checked_sub(1).map(|last| sorted[last].0);
        if place == sorted.len() || cut != Some(sorted[place].0) {
            let [others, above] = [place - below, all - below];
            let others_above = sorted.len() - place - above;
            let right = below.max(others) + above.max(others_above);
            if right > best {
                let limit = match (cut, sorted.get(place)) {
                    (Some(last), Some((next, _))) => (last + next) / 2.0,
                    (None, _) => f64::NEG_INFINITY,
                    (_, None) => f64::INFINITY,
                };
                (best, chosen) = (right, (limit, [below > others, above > others_above]));
            }
        }
        below += usize::from(sorted.get(place).is_some_and(|(_, is)| *is));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(values: &[f64], ones: impl Fn(usize) -> bool) -> Option<(f64, f64)> {
        rule(values, &|index| ones(index))
    }

    #[test]
    fn one_number_that_tells_classes_apart_is_found_and_chance_is_not() {
        let rising: Vec<f64> = (0..60).map(f64::from).collect();
        let (right, guessing) = told(&rising, |index| index >= 20).unwrap();
        assert!(right > 0.95 && (guessing - 40.0 / 60.0).abs() < 1e-9, "{right} {guessing}");
        assert!(told(&rising, |index| index < 20).is_some(), "on either side");
        assert_eq!(told(&rising, |index| index * index % 7 < 3), None);
        assert_eq!(told(&[1.0; 60], |index| index < 30), None, "one value tells nothing");
        assert_eq!(told(&rising, |_| true), None, "nor does one class");
    }

    #[test]
    fn limits_lie_between_values() {
        assert_eq!(limit(&[(1.0, false), (3.0, true), (1.0, false), (3.0, true)]), (2.0, [false, true]));
        assert!(limit(&[(1.0, true), (1.0, true), (1.0, false)]).1[1]);
    }
}
