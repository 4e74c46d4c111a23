//! What a study found, in sentences and in the lines of a table: the one place that words it.

use super::findings::{Comparison, Decision, Difference, ErrorEstimate, Findings, Row};
use super::{Ladder, Settings, Study};
use crate::figures::words::{count, signed};
use crate::nn::Architecture;
use crate::stats::depth::EARLY_STOP_POINTS;
use crate::terminal::counted;
use crate::train::OptimizerName;

/// What a failure means, wherever one is told.
pub const FAILURE: &str = "\"Not shown\" means not shown to be sufficient, never shown to be worse.";

impl Findings {
    /// The answer in short, with all that it depends on: margin, recipe and sizes.
    pub fn headline(&self) -> String {
        let Study { dev_images, test_images, .. } = self.study;
        let Settings { training, .. } = self.settings();
        let [_, height, width] = training.model.input();
        format!(
            "{}. Trained for {} at {height} x {width} pixels with learning rate {}; {} images cross-validated, {} locked \
             away.",
            self.finding(),
            counted(training.epochs, "epoch"),
            training.lr,
            count(dev_images),
            count(test_images)
        )
    }

    fn finding(&self) -> String {
        let reference = self.reference_row();
        let whole = reference.describe();
        let margin = points(self.settings().margin);
        let condition = format!("if a loss of up to {margin} of accuracy is accepted");
        let answer = self.candidates.iter().find(|row| row.name == self.answer && row.comparison.is_some());
        match (answer, self.settings().ladder) {
            _ if !self.conclusive => format!(
                "Undecided: {whole} {} not shown to beat always naming the commonest class, so nothing follows from losing less \
                 than {margin} against {}",
                reference.verb("was", "were"),
                reference.verb("it", "them")
            ),
            (None, _) => format!(
                "No smaller network was shown to be enough in place of {whole}, where a loss of up to {margin} of accuracy is \
                 accepted"
            ),
            (Some(row), Ladder::Truncate) => {
                format!("{} of {whole} {} enough, {condition}", row.blocks, row.verb("is", "are"))
            }
            (Some(_), Ladder::Drop) => match self.dispensable().split_last() {
                Some((last, others)) if !others.is_empty() => {
                    format!("Any one of blocks {} and {last} can be left out, {condition}", others.join(", "))
                }
                _ => format!(
                    "Block {} of {} can be left out, {condition}",
                    self.dispensable().concat(),
                    reference.blocks
                ),
            },
        }
    }

    /// Numbers of the blocks of which each can be left out, ascending.
    fn dispensable(&self) -> Vec<String> {
        let sufficient = self.candidates.iter().filter(|row| row.decision() == Some(Decision::Sufficient));
        let mut blocks: Vec<usize> = sufficient.filter_map(|row| row.left_out).collect();
        blocks.sort_unstable();
        blocks.iter().map(usize::to_string).collect()
    }

    /// What the answer rests on, and what it does not say.
    pub fn details(&self) -> String {
        let mut told = Vec::new();
        if self.conclusive {
            told.extend([self.measured(), self.large_margin(), self.guesses(), self.stopped()].into_iter().flatten());
            told.push(FAILURE.into());
        } else {
            told.push(format!(
                "Always naming the commonest class errs on {:.1} % of the images. Train for more --epochs or on more images.",
                self.chance_error
            ));
        }
        told.extend(self.fixed());
        told.extend([recipe(self.settings()), self.limits().into()]);
        told.join(" ")
    }

    /// What the study cannot tell.
    pub fn limits(&self) -> &'static str {
        match self.settings().ladder {
            Ladder::Truncate => {
                "Networks of fewer blocks also differ in channels, weights and receptive field: the study does not tell these \
                 apart."
            }
            Ladder::Drop => {
                "Leaving a block out also changes the receptive field, the number of weights and, where the block has a stride, \
                 the size of the maps behind it: the study does not tell these apart."
            }
        }
    }

    /// Which blocks cannot be left out, where there are some.
    fn fixed(&self) -> Option<String> {
        let fixed: Vec<String> = self.settings().fixed().iter().map(usize::to_string).collect();
        let blocks = if fixed.len() == 1 { "Block" } else { "Blocks" };
        (!fixed.is_empty())
            .then(|| format!("{blocks} {} cannot be left out: what follows would not fit.", fixed.join(", ")))
    }

    /// The answer in words.
    pub(super) fn in_words(&self) -> String {
        format!("{} {}", self.headline(), self.details())
    }

    /// What is known of the network that was accepted.
    fn measured(&self) -> Option<String> {
        let row = self.candidates.iter().find(|row| row.name == self.answer)?;
        let Difference { mean, upper_bound, .. } = row.comparison.as_ref()?.estimate?;
        let smallest = match row.left_out {
            Some(block) if self.dispensable().len() > 1 => {
                format!("The smallest of these networks is the one without block {block}. ")
            }
            _ => String::new(),
        };
        Some(format!(
            "{smallest}With 95 % confidence {} {} less than {} more than {} (measured: {}, at most {} by a 95 % bound of its own; \
             having been accepted by it, this flatters a little), and less than always naming the commonest class, which errs on \
             {:.1} %.",
            row.describe(),
            row.verb("errs", "err"),
            points(self.settings().margin),
            self.reference_row().describe(),
            signed(mean, 2),
            signed(upper_bound, 2),
            self.chance_error
        ))
    }

    /// A warning where the margin is all that was learned.
    fn large_margin(&self) -> Option<String> {
        let gain = self.chance_error - self.reference_row().estimate?.mean_error;
        let margin = self.settings().margin;
        (margin >= gain).then(|| {
            format!(
                "The margin of {} is no less than the {gain:.1} that {} {} on always naming the commonest class: to be enough \
                 then means little more than to beat that.",
                points(margin),
                self.reference_row().describe(),
                self.reference_row().verb("gains", "gain")
            )
        })
    }

    /// What loses little, but was not shown to have learned anything.
    fn guesses(&self) -> Option<String> {
        let names = self.names(|row| row.decision() == Some(Decision::Guesses))?;
        Some(format!(
            "Not accepted in spite of a loss below the margin, as not shown to beat always naming the commonest class (which errs \
             on {:.1} %): {names}.",
            self.chance_error
        ))
    }

    /// What was stopped early.
    fn stopped(&self) -> Option<String> {
        let names = self.names(|row| row.stopped_early)?;
        Some(format!(
            "Stopped after the first repeat, having erred over {} more there than {}: {names}. How much more they err is not \
             estimated, as a repeat that stops a network overstates it.",
            points(self.settings().margin + EARLY_STOP_POINTS),
            self.reference_row().describe()
        ))
    }

    /// The networks of which something is true, none where there are none.
    fn names(&self, of: impl Fn(&Row) -> bool) -> Option<String> {
        let names: Vec<String> = self.candidates.iter().filter(|row| of(row)).map(Row::describe).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn reference_row(&self) -> &Row {
        &self.candidates[0]
    }

    fn settings(&self) -> &Settings {
        &self.study.identity.settings
    }

    /// The table for a terminal, a line a candidate under a line of headings.
    pub fn table(&self) -> Vec<String> {
        let heading = "network              error  95 % interval    difference  at most  decision";
        let line = |row: &Row| {
            let error = row.estimate.map_or_else(
                || format!("{:<18}       -               -", row.name),
                |ErrorEstimate { mean_error, error_interval: (low, high), .. }| {
                    format!("{:<18} {mean_error:5.2} %  {:5.2} to {:5.2}", row.name, low.max(0.0), high.min(100.0))
                },
            );
            let Some(Comparison { estimate, decision, .. }) = &row.comparison else {
                return format!("{error}           -        -  reference");
            };
            let difference = estimate.map_or_else(
                || "     -        -".into(),
                |Difference { mean, upper_bound, .. }| {
                    format!("{:>6}   {:>6}", signed(mean, 2), signed(upper_bound, 2))
                },
            );
            let early = self.stopped_in_short(row).map(|short| format!(", {short}")).unwrap_or_default();
            format!("{error}      {difference}  {decision}{early}")
        };
        std::iter::once(heading.to_string()).chain(self.candidates.iter().map(line)).collect()
    }

    /// The mark of a network that was stopped early, with what happened.
    pub fn stopped_in_short(&self, row: &Row) -> Option<String> {
        self.first_repeat(row).map(|first| {
            format!(
                "stopped after the first repeat ({:.1} % wrong there, the reference {:.1} %)",
                first.error, first.reference_error
            )
        })
    }
}

impl Row {
    /// Its name in sentences.
    pub fn describe(&self) -> String {
        match self.left_out {
            Some(block) => format!("the network without block {block}"),
            None => counted(self.blocks, "block"),
        }
    }

    /// The verb or pronoun that goes with its name.
    fn verb<'a>(&self, one: &'a str, several: &'a str) -> &'a str {
        if self.left_out.is_none() && self.blocks != 1 { several } else { one }
    }

    /// What became of it; none of the reference.
    pub fn decision(&self) -> Option<Decision> {
        self.comparison.as_ref().map(|comparison| comparison.decision)
    }
}

/// How every network was trained.
fn recipe(settings: &Settings) -> String {
    let training = &settings.training;
    let optimizer = match (training.optimizer, training.momentum) {
        (OptimizerName::Adam, _) => "Adam".into(),
        (OptimizerName::Sgd, momentum) => format!("SGD with momentum {}", momentum.unwrap_or_default()),
    };
    let dropout = match &training.model {
        Architecture::Strided(strided) => format!(", dropout {}", strided.dropout),
        Architecture::Known(_) | Architecture::Listed(_) => String::new(),
    };
    let changed = training.augmentation().told();
    format!(
        "Every network was trained for {} in batches of {} by {optimizer}, with a learning rate that falls from {} to zero along \
         a cosine, weight decay {}{dropout}, images prepared by {}, training images {changed}; {} and {}.",
        counted(training.epochs, "epoch"),
        training.batch,
        training.lr,
        training.weight_decay,
        training.preparation,
        counted(settings.folds, "fold"),
        counted(settings.repeats, "repeat")
    )
}

fn points(margin: f64) -> String {
    format!("{margin} percentage point{}", if margin == 1.0 { "" } else { "s" })
}
