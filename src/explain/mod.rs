//! Explanations of a decision: what in the image, and which channels, made the network say what it said.
//!
//! A [`Lens`] runs many images through one network in evaluation mode, forward and backward. On it stand
//!
//! - [`ledger`]: the last layer's evidence, which adds up to the decision exactly;
//! - [`saliency`]: maps that approximate or measure what matters in the image;
//! - [`trust`]: what shows whether such a map can be believed, and [`verdict`], which says it in words;
//! - [`changes`]: what a network loses when blocks go back to where they started or channels are switched off;
//! - [`filter`]: one channel of a convolution, taken apart;
//! - [`Explanation`]: all of it for one image;
//! - [`class_means`]: the mean maps of each class;
//! - [`judge()`]: what becomes of labelled images, and which of them tell most.
//!
//! A decision is explained as the difference of two logits, the [`Question`]: softmax sees nothing else of two classes.
//!
//! What explains one image alone, [`Lens`], [`ledger`], [`saliency`] and [`filter`], is there for a browser too, and so are [`changes`].

pub mod changes;
pub mod filter;
pub mod ledger;
mod lens;
pub mod saliency;

#[cfg(feature = "native")]
pub mod class_means;
#[cfg(feature = "native")]
mod explanation;
#[cfg(feature = "native")]
mod hover;
#[cfg(feature = "native")]
pub mod inspect;
#[cfg(feature = "native")]
mod judged;
#[cfg(feature = "native")]
pub mod learned;
#[cfg(feature = "native")]
pub mod trust;
#[cfg(feature = "native")]
pub mod verdict;

pub use lens::{Inside, InsideBlock, Lens};

#[cfg(feature = "native")]
pub use explanation::{Channel, Explanation, Finding, Options, methods};
#[cfg(feature = "native")]
pub use hover::Hover;
#[cfg(feature = "native")]
pub use judged::{Judged, closest, judge, most_confident, predict, telling, worst};

use crate::stats;

/// What is explained: why `target` rather than `against`. Both are classes by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The class whose logit counts for the decision.
    pub target: usize,
    /// The class whose logit counts against it.
    pub against: usize,
}

impl Question {
    /// The predicted class against `against`, or else against the runner-up. Where `against` is the predicted class itself,
    /// the runner-up takes its place.
    ///
    /// # Panics
    /// When there are fewer than two logits.
    pub fn of(logits: &[f32], against: Option<usize>) -> Self {
        let target = stats::argmax(logits);
        match against {
            Some(against) if against != target => Self { target, against },
            _ => Self::of_class(logits, target),
        }
    }

    /// A class against the strongest of the others; of equal ones the first.
    ///
    /// # Panics
    /// When there are fewer than two logits.
    pub fn of_class(logits: &[f32], class: usize) -> Self {
        let others = (0..logits.len()).filter(|&other| other != class);
        let stronger = |best: usize, other: usize| if logits[other] > logits[best] { other } else { best };
        Self { target: class, against: others.reduce(stronger).expect("there are two classes") }
    }

    /// The difference of the two logits.
    pub fn logit_difference(self, logits: &[f32]) -> f64 {
        f64::from(logits[self.target]) - f64::from(logits[self.against])
    }
}

#[cfg(test)]
mod tests {
    use super::Question;

    #[test]
    fn the_predicted_class_is_explained_against_the_runner_up() {
        let logits = [0.5, -1.0, 2.0];
        let question = |target, against| Question { target, against };
        assert_eq!(Question::of(&logits, None), question(2, 0));
        assert_eq!(Question::of(&logits, Some(1)), question(2, 1));
        assert_eq!(Question::of(&logits, Some(2)), question(2, 0));
        assert_eq!(Question::of(&logits, Some(1)).logit_difference(&logits), 3.0);
        assert_eq!(Question::of_class(&logits, 2), question(2, 0));
        assert_eq!(Question::of_class(&logits, 1), question(1, 2));
        // Of equal ones the first, in every way.
        assert_eq!(Question::of(&[1.0, 3.0, 3.0, 1.0], None), question(1, 2));
        assert_eq!(Question::of(&[3.0, 1.0, 1.0, 1.0], None), question(0, 1));
        assert_eq!(Question::of_class(&[3.0, 1.0, 1.0, 3.0], 1), question(1, 0));
    }
}
