//! What follows from the figures of a block, and how it is said: the only place that words it.

use serde::{Deserialize, Serialize};

use super::{LayerRow, Layers};
use crate::explain::changes::ResetVerdict;

/// How every verdict ends.
pub const LIMITS: &str = "Repeatability is near 1 for untrained networks too, and for ones that learned nothing: by itself it does not \
                          tell whether a block is good for anything. A probe shows that information is present, not that it is used; its \
                          intervals hold for these folds. A reset shows that this network uses a block as it is, partly because later \
                          blocks were trained to fit it, not that a smaller network trained anew would miss it: only `depth` answers \
                          that.";

/// What is said besides where training dropped channels.
pub const DROPPED: &str = "Training with dropout makes the removal of single channels look harmless.";

/// What is said besides of a network that did not start from random weights.
pub const WENT_ON: &str = "This network went on from weights that were there before (--init). What is called untrained here, and its start, \
                           are random weights, not those.";

/// What is said besides of a network that was trained elsewhere.
pub const FROM_ELSEWHERE: &str = "This network was trained elsewhere. It is not known what it learned from, so it may have learned from these \
                                  images too, and what it gets right of them, and what a reset costs, may be more than on others. Nor is \
                                  its start known: what is called untrained here, and its start, are random weights.";

/// What is said where a table is conclusive, but the network was not shown to do better than guessing on all images that judge it.
pub const CONTRADICTED: &str = "On the images of this table the network does better than guessing, on all that judge it it was not shown to. \
                                While the two disagree, nothing is concluded.";

/// What the comparison of two probes shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// More can be read than from the other.
    More,
    /// Less can be read than from the other.
    Less,
    /// At least one of the two beats chance, but neither is shown to beat the other.
    NotShown,
    /// Neither is shown to beat chance, so that there is nothing to compare.
    Chance,
}

/// What a probe of a block is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// The probe of the block of this number.
    Block(usize),
    /// The probe of the same block before training.
    Untrained,
}

impl Reading {
    /// "a probe reads more from it than from block 4", without a full stop.
    pub fn words(self, other: Other) -> String {
        let than = match other {
            Other::Block(block) => format!("from block {block}"),
            Other::Untrained => "before training".into(),
        };
        match self {
            Self::More => format!("a probe reads more from it than {than}"),
            Self::Less => format!("a probe reads less from it than {than}"),
            Self::NotShown => format!("a probe is not shown to read more from it than {than}"),
            Self::Chance if other == Other::Untrained => {
                "no probe is shown to read anything from it, trained or not".into()
            }
            Self::Chance => format!("no probe is shown to read anything from it or {than}"),
        }
    }
}

/// How a block's maps outlast noise, against those of the network before training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steadiness {
    /// They outlast it better.
    More,
    /// They outlast it worse.
    Less,
    /// Neither is shown.
    NotShown,
}

impl Steadiness {
    /// "under strong noise its maps are steadier than before training", without a full stop.
    pub fn words(self) -> &'static str {
        match self {
            Self::More => "under strong noise its maps are steadier than before training",
            Self::Less => "under strong noise its maps are less steady than before training",
            Self::NotShown => "under strong noise its maps are not shown to be steadier than before training",
        }
    }
}

impl LayerRow {
    /// The verdict in full.
    pub(super) fn in_words(&self, conclusive: bool) -> String {
        let mut sentences: Vec<String> = vec![self.use_in_words(conclusive).into()];
        // Of the two probes the one that is fairer to maps that still have places.
        sentences.extend(self.grid.gain.map(|gain| gain.verdict.words(Other::Block(self.block - 1))));
        sentences.push(self.grid.learned.verdict.words(Other::Untrained));
        sentences.push(self.repeatability_noisy.verdict.words().into());
        let sentences: Vec<String> = sentences.iter().map(|sentence| format!("{}.", capitalised(sentence))).collect();
        sentences.join(" ")
    }

    /// Whether the network uses the block, without a full stop.
    fn use_in_words(&self, conclusive: bool) -> &'static str {
        match self.reset.verdict {
            _ if !conclusive => "undecided: this network is not shown to be better than guessing",
            ResetVerdict::InUse => "in use: put back to its start, it costs more than a point",
            ResetVerdict::NotMissed => "not missed: put back to its start, it costs less than a point",
            ResetVerdict::Undecided => "undecided: whether this network uses the block is not shown",
        }
    }
}

impl Layers {
    /// The same table of a network that was not shown to do better than guessing on the images that the reader is told of first:
    /// nothing follows from its resets and ablations then.
    pub fn of_guesses(&self) -> Self {
        let mut table = Self { conclusive: false, ..self.clone() };
        for layer in &mut table.layers {
            for reset in [&mut layer.reset, &mut layer.redrawn] {
                reset.verdict = ResetVerdict::of((reset.low, reset.high), false);
            }
            (layer.ablation.missed, layer.ablation.enough) = (None, None);
            layer.verdict = layer.in_words(false);
        }
        table
    }

    /// Whether the last block is useless, in short; none where there is no block.
    pub fn answer(&self) -> Option<String> {
        let last = self.layers.last()?;
        let mut answer = capitalised(last.use_in_words(self.conclusive));
        if let Some(gain) = last.grid.gain {
            answer += &format!("; {}", gain.verdict.words(Other::Block(last.block - 1)));
        }
        if last.repeatability_noisy.verdict == Steadiness::Less {
            answer += &format!("; {}", Steadiness::Less.words());
        }
        Some(answer + ". Whether fewer blocks would do, only a study of depth can tell.")
    }
}

/// The text with its first letter large.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Ablation, Enough, FORMAT, Gain, ProbeRow, Repeatability, Reset};
    use super::*;

    /// The row of a block of which this was found.
    fn row(
        block: usize,
        reset: ResetVerdict,
        gain: Option<Reading>,
        learned: Reading,
        steadiness: Steadiness,
    ) -> LayerRow {
        let than = |verdict| Gain { points: 1.0, low: 0.0, high: 2.0, p: 0.5, verdict };
        let (gain, learned) = (gain.map(than), than(learned));
        let probe = ProbeRow { trained: 70.0, low: 60.0, high: 80.0, initial: 69.0, permuted: 50.0, gain, learned };
        let repeatability = Repeatability { trained: 0.9, initial: 0.9, low: -0.1, high: 0.1, verdict: steadiness };
        let reset = Reset { drop: 5.0, low: 3.0, high: 7.0, verdict: reset };
        let enough = Some(Enough { at_least: 1, at_most: 3 });
        LayerRow {
            block,
            output: [4, 3, 3],
            receptive_field: 3,
            parameters: 100,
            repeatability,
            repeatability_noisy: repeatability,
            dead: 0,
            quiet: 0,
            effective_rank: 2.0,
            pooled: probe,
            grid: probe,
            reset,
            redrawn: reset,
            ablation: Ablation { missed: Some(2), enough, curve: vec![(0, 50.0), (4, 90.0)] },
            verdict: String::new(),
        }
    }

    fn first() -> LayerRow {
        row(1, ResetVerdict::NotMissed, None, Reading::Chance, Steadiness::More)
    }

    fn third() -> LayerRow {
        row(3, ResetVerdict::InUse, Some(Reading::More), Reading::Less, Steadiness::Less)
    }

    fn table(layers: Vec<LayerRow>) -> Layers {
        Layers {
            format: FORMAT,
            run: None,
            weights: "last.safetensors".into(),
            images: 20,
            seed: 0,
            accuracy: 90.0,
            accuracy_anew: 90.0,
            conclusive: true,
            layers,
            limits: LIMITS.into(),
        }
    }

    #[test]
    fn a_block_is_told_of_in_sentences() {
        assert_eq!(
            first().in_words(true),
            "Not missed: put back to its start, it costs less than a point. No probe is shown to read anything from it, trained \
             or not. Under strong noise its maps are steadier than before training."
        );
        assert_eq!(
            third().in_words(true),
            "In use: put back to its start, it costs more than a point. A probe reads more from it than from block 2. A probe \
             reads less from it than before training. Under strong noise its maps are less steady than before training."
        );
        let second = row(2, ResetVerdict::Undecided, Some(Reading::Chance), Reading::NotShown, Steadiness::NotShown);
        assert_eq!(
            second.in_words(true),
            "Undecided: whether this network uses the block is not shown. No probe is shown to read anything from it or from \
             block 1. A probe is not shown to read more from it than before training. Under strong noise its maps are not shown \
             to be steadier than before training."
        );
        let guesses = third().in_words(false);
        assert!(guesses.starts_with("Undecided: this network is not shown to be better than guessing. "), "{guesses}");
    }

    #[test]
    fn the_answer_is_that_of_the_last_block() {
        assert_eq!(
            table(vec![first(), third()]).answer().unwrap(),
            "In use: put back to its start, it costs more than a point; a probe reads more from it than from block 2; under \
             strong noise its maps are less steady than before training. Whether fewer blocks would do, only a study of depth can \
             tell."
        );
        assert_eq!(
            table(vec![third(), first()]).answer().unwrap(),
            "Not missed: put back to its start, it costs less than a point. Whether fewer blocks would do, only a study of depth \
             can tell."
        );
        assert_eq!(table(Vec::new()).answer(), None);
    }

    #[test]
    fn nothing_follows_from_what_guesses_lose() {
        let found = table(vec![first(), third()]).of_guesses();
        assert!(!found.conclusive);
        for layer in found.layers {
            assert_eq!([layer.reset.verdict, layer.redrawn.verdict], [ResetVerdict::Undecided; 2]);
            assert_eq!((layer.ablation.missed, layer.ablation.enough), (None, None));
            assert_eq!(layer.verdict, layer.in_words(false));
        }
    }
}
