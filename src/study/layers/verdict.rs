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
