//! What to make of a saliency map. This is the one place that words it.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::saliency::Dependence;

use crate::stats::standing;

/// What stands behind a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It adds up to the decision, but for the bias.
    Exact,
    /// It says by how much the decision changed.
    Measured,
    /// It is made of derivatives.
    Approximate,
    /// It is made of derivatives by a rule that follows the image's edges whatever the weights are.
    ImageOnly,
}

/// How well a map finds the pixels that matter, beside edges, the centre and chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// Better than all of them in deletion and in insertion.
    Better,
    /// In deletion only.
    BetterInDeletion,
    /// In insertion only.
    BetterInInsertion,
    /// In neither.
    NotShown,
    /// Blurring the whole image weakens the decision too little.
    TooLittleChange,
    /// The map is the same everywhere, so it ranks nothing.
    Constant,
}

/// What is said of what adds up to the decision.
pub const EXACT: &str = "Exact: it adds up to the decision, but for the bias.";
/// The words of evidence where a layer behind the last block is not linear.
pub const FIRST_ORDER: &str =
    "To first order only: a layer behind the last block is not linear, so the parts need not add up to the decision.";

/// What to make of a map; [`Display`](fmt::Display) says it in a sentence or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the network that is explained is known to do better than guessing.
    pub standing: standing::Verdict,
    /// What stands behind the map.
    pub kind: Kind,
    /// Whether it differs from an untrained network's.
    pub dependence: Dependence,
    /// Whether it finds the pixels that matter.
    pub ranking: Ranking,
}

impl Verdict {
    /// Whether the map passes all tests: it is one of a network that does better than guessing, it differs from an untrained
    /// network's, and it finds the pixels that matter better than edges, the centre and chance do, in deletion and in insertion.
    pub fn passes(&self) -> bool {
        self.standing == standing::Verdict::Better
            && self.kind != Kind::ImageOnly
            && self.dependence == Dependence::Differs
            && self.ranking == Ranking::Better
    }

    /// The map without regard to the network's standing.
    fn map(&self) -> String {
        let ranking = self.ranking.words();
        match (self.kind, self.dependence) {
            (Kind::Exact, _) => {
                format!("{EXACT} As a ranking of pixels, {ranking}")
            }
            (Kind::Measured, _) => {
                format!(
                    "Measured: so much did the decision change as patches were covered. As a ranking of pixels, {ranking}"
                )
            }
            (_, Dependence::SameAsUntrained) => {
                "Do not rely on it: an untrained network gives much the same map, so it shows the image rather than what was \
                 learned."
                    .into()
            }
            (_, Dependence::Constant) => "It tells nothing: the map is the same everywhere.".into(),
            (_, Dependence::ControlEmpty) => {
                format!("The untrained network's map is empty, so there is nothing to compare with; {ranking}")
            }
            (_, Dependence::TooFewValues) => {
                format!("It has too few values to tell whether it differs from an untrained network's map; {ranking}")
            }
            (_, Dependence::Differs) => {
                let and = if self.ranking == Ranking::Better { "and" } else { "but" };
                format!("It differs from an untrained network's map, {and} {ranking}")
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == Kind::ImageOnly {
            return f.write_str(
                "Only an image, no explanation: whatever the scores below, methods of this kind draw the image's edges even for networks whose \
                 weights were shuffled (Adebayo et al., 2018).",
            );
        }
        match self.standing {
            standing::Verdict::Better => f.write_str(&self.map()),
            standing::Verdict::NotShown => f.write_str(
                "Do not rely on it: this network was not shown to do better than always naming the commonest class, so the map \
                 explains a guess.",
            ),
            standing::Verdict::Unknown => {
                write!(f, "{} Whether this network does better than guessing is not known.", self.map())
            }
        }
    }
}

impl Ranking {
    /// Whether the map finds the pixels that matter: the end of a sentence.
    fn words(self) -> &'static str {
        match self {
            Self::Better => {
                "it finds the pixels that matter better than edges, the centre and chance do, in both tests."
            }
            Self::BetterInDeletion => {
                "only half of it was shown: blurring what it names weakens the decision more than blurring edges, the centre or \
                 chance pixels does; restoring it was not shown to help more."
            }
            Self::BetterInInsertion => {
                "only half of it was shown: restoring what it names helps more than restoring edges, the centre or chance pixels \
                 does; blurring it was not shown to weaken the decision more."
            }
            Self::NotShown => {
                "it was not shown to find the pixels that matter better than edges, the centre and chance do."
            }
            Self::TooLittleChange => {
                "it cannot be tested: blurring the whole image weakens the decision too little to tell which pixels matter."
            }
            Self::Constant => "it has one value for the whole image, so there is nothing to rank.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Verdict = Verdict {
        standing: standing::Verdict::Better,
        kind: Kind::Approximate,
        dependence: Dependence::Differs,
        ranking: Ranking::Better,
    };

    #[test]
    fn a_map_passes_only_with_everything_shown() {
        assert!(GOOD.passes());
        for kind in [Kind::Exact, Kind::Measured] {
            assert!(Verdict { kind, ..GOOD }.passes());
        }
        assert!(!Verdict { kind: Kind::ImageOnly, ..GOOD }.passes());
        for standing in [standing::Verdict::NotShown, standing::Verdict::Unknown] {
            assert!(!Verdict { standing, ..GOOD }.passes());
        }
        use Dependence::{Constant, ControlEmpty, SameAsUntrained, TooFewValues};
        for dependence in [SameAsUntrained, TooFewValues, ControlEmpty, Constant] {
            assert!(!Verdict { dependence, ..GOOD }.passes());
        }
        use Ranking::{BetterInDeletion, BetterInInsertion, NotShown, TooLittleChange};
        for ranking in [BetterInDeletion, BetterInInsertion, NotShown, TooLittleChange, Ranking::Constant] {
            assert!(!Verdict { ranking, ..GOOD }.passes());
        }
    }

    #[test]
    fn the_words_follow_the_verdict() {
        let says = |verdict: Verdict, words: &str| assert!(verdict.to_string().contains(words), "{verdict}");
        says(GOOD, "It differs from an untrained network's map, and it finds the pixels");
        says(Verdict { ranking: Ranking::NotShown, ..GOOD }, "map, but it was not shown to find");
        says(
            Verdict { ranking: Ranking::BetterInDeletion, ..GOOD },
            "blurring what it names weakens the decision more",
        );
        says(Verdict { ranking: Ranking::BetterInInsertion, ..GOOD }, "restoring what it names helps more");
        says(Verdict { ranking: Ranking::TooLittleChange, ..GOOD }, "too little to tell");
        says(Verdict { kind: Kind::Exact, ranking: Ranking::Constant, ..GOOD }, "one value for the whole image");
        says(Verdict { kind: Kind::Measured, ..GOOD }, "Measured: ");
        says(
            Verdict { dependence: Dependence::SameAsUntrained, ..GOOD },
            "an untrained network gives much the same map",
        );
        says(Verdict { dependence: Dependence::TooFewValues, ..GOOD }, "too few values");
        says(Verdict { dependence: Dependence::ControlEmpty, ..GOOD }, "nothing to compare with; it finds");
        says(Verdict { dependence: Dependence::Constant, ..GOOD }, "the same everywhere");
        says(Verdict { standing: standing::Verdict::Unknown, ..GOOD }, "better than guessing is not known");
        let guess = Verdict { standing: standing::Verdict::NotShown, ..GOOD };
        says(guess, "explains a guess");
        assert!(!guess.to_string().contains("finds the pixels"), "a guess is not called a finding");
        says(Verdict { kind: Kind::ImageOnly, ..guess }, "Only an image, no explanation");
    }

    #[test]
    fn a_verdict_is_read_as_it_was_written() {
        let written = serde_json::to_string(&GOOD).unwrap();
        assert!(written.contains(r#""standing":"better""#), "{written}");
        assert_eq!(serde_json::from_str::<Verdict>(&written).unwrap(), GOOD);
    }
}
