//! Whether a network does better than always naming the commonest class, and how that is said.
//!
//! Every command and page that tells about a network asks here and says so first: of a network that guesses there is nothing to
//! explain but guesses. Whoever guesses knows which class is the commonest, so classes may be of unequal size.

use std::fmt;

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

use super::wilson;

/// Confidence of the interval that decides.
const LEVEL: f64 = 0.95;

/// How a network does on labelled images that it did not learn from, beside always naming their commonest class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Images that it gets right.
    pub right: usize,
    /// All images; at least 1.
    pub images: usize,
    /// Images of the commonest class; none where that is not known.
    pub commonest: Option<usize>,
    /// Epochs from which these images chose the network; 1 where they had no say.
    pub epochs: usize,
}

/// What follows from a [`Standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does better than always naming the commonest class.
    Better,
    /// That was not shown: all that it says may be guesses.
    NotShown,
    /// What guessing would get, or how the network does, is not known.
    Unknown,
}

impl Standing {
    /// Of counts of images by class and then by predicted class; none without images.
    pub fn of_confusion(confusion: &[Vec<usize>], epochs: usize) -> Option<Self> {
        let of_class: Vec<usize> = confusion.iter().map(|row| row.iter().sum()).collect();
        let right = (0..confusion.len()).map(|class| confusion[class][class]).sum();
        let (images, commonest) = (of_class.iter().sum(), of_class.iter().copied().max());
        (images > 0).then_some(Self { right, images, commonest, epochs: epochs.max(1) })
    }

    /// The share that it gets right.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.images as f64
    }

    /// The share that always naming the commonest class gets right, where that is known.
    pub fn baseline(&self) -> Option<f64> {
        self.commonest.map(|commonest| commonest as f64 / self.images as f64)
    }

    /// Wilson's interval of the accuracy. The best of several epochs looks better than it is, so the confidence is raised until
    /// the intervals of all of them hold at once (Bonferroni).
    pub fn interval(&self) -> (f64, f64) {
        wilson(self.right, self.images, 1.0 - self.doubt())
    }

    /// What may be lacking from certainty in one epoch, so that all epochs together have the confidence.
    fn doubt(&self) -> f64 {
        (1.0 - LEVEL) / self.epochs as f64
    }

    /// How probable it is that so many or more are right where each is with this probability: of a few images, Wilson's interval is too
    /// narrow.
    fn luck(&self, probability: f64) -> f64 {
        let Some(fewer) = self.right.checked_sub(1) else { return 1.0 };
        let images = Binomial::new(probability.min(1.0), self.images as u64).expect("a share is a probability");
        images.sf(fewer as u64)
    }

    /// What follows.
    pub fn verdict(&self) -> Verdict {
        match self.baseline() {
            None => Verdict::Unknown,
            Some(baseline) if self.interval().0 > baseline && self.luck(baseline) < self.doubt() / 2.0 => {
                Verdict::Better
            }
            Some(_) => Verdict::NotShown,
        }
    }

    /// "95 % interval 45.6 to 59.3 %"
    pub fn interval_in_words(&self) -> String {
        let (low, high) = self.interval();
        let chosen = match self.epochs {
            1 => String::new(),
            epochs => format!(", allowing for the choice of the best of {epochs} epochs"),
        };
        format!("95 % interval {:.1} to {:.1} %{chosen}", 100.0 * low, 100.0 * high)
    }
}

/// "52.5 % of 200 images right (95 % interval 45.6 to 59.3 %); always naming the commonest class: 50.0 %"
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accuracy, images, interval) = (100.0 * self.accuracy(), self.images, self.interval_in_words());
        write!(f, "{accuracy:.1} % of {images} images right ({interval}); always naming the commonest class: ")?;
        match self.baseline() {
            Some(baseline) => write!(f, "{:.1} %", 100.0 * baseline),
            None => f.write_str("not known"),
        }
    }
}

/// What follows from what is known of a network.
pub fn verdict(standing: Option<&Standing>) -> Verdict {
    standing.map_or(Verdict::Unknown, Standing::verdict)
}

/// What is to be said of a network before anything else; nothing where it does better than always naming the commonest class.
pub fn caution(standing: Option<&Standing>) -> Option<String> {
    let doubt = match verdict(standing) {
        Verdict::Better => return None,
        Verdict::NotShown => "This network was not shown to do better than always naming the commonest class",
        Verdict::Unknown => "It is not known whether this network does better than always naming the commonest class",
    };
    let figures = standing.map_or_else(String::new, |standing| format!(": {standing}"));
    let advice = match verdict(standing) {
        Verdict::NotShown => {
            "There is nothing to explain but guesses. Train for more epochs or on more images first, or judge it by more."
        }
        _ => "Until that is known, what follows may explain nothing but guesses.",
    };
    Some(format!("{doubt}{figures}. {advice}"))
}

/// The share of the commonest class among so many images of each; 0 without images.
pub fn commonest_share(of_class: &[usize]) -> f64 {
    let images: usize = of_class.iter().sum();
    of_class.iter().copied().max().unwrap_or(0) as f64 / images.max(1) as f64
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn standing(right: usize, images: usize, commonest: usize) -> Standing {
        Standing { right, images, commonest: Some(commonest), epochs: 1 }
    }

    #[test]
    fn a_network_that_guesses_is_told_so_with_its_figures() {
        let guess = standing(105, 200, 100);
        let figures =
            "52.5 % of 200 images right (95 % interval 45.6 to 59.3 %); always naming the commonest class: 50.0 %";
        assert_eq!(guess.to_string(), figures);
        let said = caution(Some(&guess)).unwrap();
        assert!(
            said.starts_with("This network was not shown to do better than always naming the commonest class: 52.5 %")
        );
        assert!(said.contains(figures) && said.contains("nothing to explain but guesses"), "{said}");
        let chosen = Standing { epochs: 8, ..guess };
        assert!(
            chosen.to_string().contains("42.9 to 61.9 %, allowing for the choice of the best of 8 epochs"),
            "{chosen}"
        );
    }

    #[test]
    fn classes_may_be_of_unequal_size() {
        for images in [20, 200, 20_000] {
            let commonest = images * 7 / 10;
            assert_eq!(
                standing(commonest, images, commonest).verdict(),
                Verdict::NotShown,
                "always the commonest of {images}"
            );
            assert_eq!(
                standing(images / 2, images, commonest).verdict(),
                Verdict::NotShown,
                "worse than that of {images}"
            );
            assert_eq!(standing(images, images, commonest).verdict(), Verdict::Better, "all of {images} right");
        }
        assert_eq!(standing(650, 1000, 500).verdict(), Verdict::Better);
        assert_eq!(standing(4, 4, 2).verdict(), Verdict::NotShown, "a coin gets four right once in sixteen times");
        assert_eq!(standing(7, 8, 4).verdict(), Verdict::NotShown, "and seven of eight or more 3.5 times in a hundred");
        assert_eq!(standing(6, 6, 3).verdict(), Verdict::Better);
        assert_eq!(standing(650, 1000, 640).verdict(), Verdict::NotShown, "the same beside a commoner class");
        assert_eq!(standing(340, 1000, 100).verdict(), Verdict::Better, "of ten classes");
        assert_eq!(caution(Some(&standing(650, 1000, 500))), None);
        let one_class_alone = Standing::of_confusion(&[vec![30, 0], vec![0, 0]], 1).unwrap();
        assert_eq!(
            one_class_alone.verdict(),
            Verdict::NotShown,
            "who names one class is right here, and shows nothing"
        );
        assert_eq!(Standing::of_confusion(&[vec![0, 0], vec![0, 0]], 1), None);
        assert_eq!((commonest_share(&[3, 1]), commonest_share(&[])), (0.75, 0.0));
    }

    /// How often one who guesses at random is said to know something, as the best of so many epochs, the choice allowed for or not.
    fn false_claims(shares: [f64; 2], images: usize, epochs: usize, allowed_for: bool) -> f64 {
        const NETWORKS: u64 = 4000;
        let claims = (0..NETWORKS).filter(|&seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let labels: Vec<bool> = (0..images).map(|_| random.random_bool(shares[0])).collect();
            let mut guess = || labels.iter().filter(|&&label| label == random.random_bool(shares[1])).count();
            let right = (0..epochs).map(|_| guess()).max().unwrap();
            let of_first = labels.iter().filter(|&&label| label).count();
            let commonest = Some(of_first.max(images - of_first));
            let epochs = if allowed_for { epochs } else { 1 };
            Standing { right, images, commonest, epochs }.verdict() == Verdict::Better
        });
        claims.count() as f64 / NETWORKS as f64
    }

    #[test]
    fn guesses_are_seldom_taken_for_knowledge() {
        // 2.5 % are nominal; 3.3 % are three standard errors more.
        for (shares, images) in [
            ([0.5, 0.5], 200),
            ([0.5, 0.5], 7),
            ([0.5, 0.9], 60),
            ([0.7, 0.7], 12),
            ([0.7, 1.0], 200),
            ([0.7, 0.7], 500),
        ] {
            for epochs in [1, 10] {
                let share = false_claims(shares, images, epochs, true);
                assert!(share < 0.033, "{share} of the networks, {shares:?}, {images} images, {epochs} epochs");
            }
        }
        let share = false_claims([0.5, 0.5], 200, 10, false);
        assert!(share > 0.05, "the choice of the epoch matters: {share}");
    }
}
