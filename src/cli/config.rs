//! What a run or a study was told, every choice made, and how that is typed again.

use clap::builder::PossibleValue;
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{Cli, Command, OptimizerName};
use crate::spec::Spec;

/// What `train` is to do, every choice made: `config.json` of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The data folder, from the root on, or none for drawn pictures.
    pub data: Option<String>,
    /// Share of each class set aside for validation, if it was.
    pub val_share: Option<f64>,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Pictures to train on.
    pub train_pictures: usize,
    /// Pictures to validate on.
    pub val_pictures: usize,
    /// The network.
    pub model: Spec,
    /// Pictures a training step.
    pub batch: usize,
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Name of the optimiser.
    pub optimizer: OptimizerName,
    /// Learning rate.
    pub lr: f64,
    /// Momentum, of SGD.
    pub momentum: Option<f32>,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether training pictures are flipped.
    pub augment: bool,
    /// Decides all that is random.
    pub seed: u64,
}

impl Config {
    /// The command that trains like this again, as it is typed in a shell; options that have their default are left out.
    pub fn command(&self) -> String {
        let data = self.data.as_deref().map(|data| ["--data", data]);
        let plain = ["convscope", "train"].into_iter().chain(data.into_iter().flatten());
        let Command::Train(plain) = Cli::parse_from(plain).command else { unreachable!("the command is train") };
        let counts = [plain.train_pictures, plain.val_pictures];
        let plain = plain.config(&self.classes, counts, self.val_share.is_some()).options();
        let mut words = vec!["convscope".into(), "train".into()];
        for (option, value) in self.options() {
            if option == "data" || !plain.contains(&(option, value.clone())) {
                words.push(format!("--{option} {}", quoted(&value)));
            }
        }
        words.join(" ")
    }

    /// The options of `train` and their values.
    fn options(&self) -> Vec<(&'static str, String)> {
        let named = |value: Option<PossibleValue>| value.map_or(String::new(), |value| value.get_name().to_string());
        let channels: Vec<String> = self.model.channels.iter().map(usize::to_string).collect();
        let mut options = Vec::new();
        match &self.data {
            Some(data) => {
                options.push(("data", data.clone()));
                options.extend(self.val_share.map(|share| ("val-share", share.to_string())));
            }
            None => {
                options.push(("train-pictures", self.train_pictures.to_string()));
                options.push(("val-pictures", self.val_pictures.to_string()));
            }
        }
        options.extend([
            ("size", self.model.input[1].to_string()),
            ("channels", channels.join(",")),
            ("kernel", self.model.kernel.to_string()),
            ("stride", self.model.stride.to_string()),
            ("padding", self.model.padding.to_string()),
            ("dropout", self.model.dropout.to_string()),
            ("head", named(self.model.head.to_possible_value())),
            ("hidden", self.model.hidden.to_string()),
            ("batch", self.batch.to_string()),
            ("epochs", self.epochs.to_string()),
            ("lr", self.lr.to_string()),
            ("optimizer", named(self.optimizer.to_possible_value())),
            ("weight-decay", self.weight_decay.to_string()),
            ("augment", if self.augment { "on" } else { "off" }.into()),
            ("seed", self.seed.to_string()),
        ]);
        options.extend(self.momentum.map(|momentum| ("momentum", momentum.to_string())));
        options
    }
}

/// A word as it is typed in a POSIX shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::TrainArgs;

    fn train(options: &[&str]) -> TrainArgs {
        let cli = Cli::try_parse_from(["convscope", "train"].iter().chain(options)).unwrap();
        let Command::Train(arguments) = cli.command else { unreachable!("the command is train") };
        *arguments
    }

    #[test]
    fn a_run_can_be_typed_again() {
        let classes = ["cat".to_string(), "dog".to_string()];
        let cases: [&[&str]; 3] = [
            &[],
            &[
                "--data",
                "/my photos/it's",
                "--val-share",
                "0.3",
                "--epochs",
                "3",
                "--optimizer",
                "sgd",
                "--momentum",
                "0.5",
            ],
            &[
                "--size",
                "64",
                "--channels",
                "8,16",
                "--head",
                "flatten",
                "--augment",
                "off",
                "--seed",
                "7",
                "--lr",
                "0.01",
            ],
        ];
        for options in cases {
            let arguments = train(options);
            let split = arguments.data.is_some();
            let made = |arguments: &TrainArgs| {
                arguments.config(&classes, [arguments.train_pictures, arguments.val_pictures], split)
            };
            let config = made(&arguments);
            let typed = config.command();
            // As a shell takes it apart; the one quote within a word is known.
            let typed = typed.replace(r"'\''", "\u{1}");
            let mut words = Vec::new();
            for (number, part) in typed.split('\'').enumerate() {
                match number % 2 {
                    0 => words.extend(part.split_whitespace().map(String::from)),
                    _ => words.push(part.replace('\u{1}', "'")),
                }
            }
            let Command::Train(again) = Cli::try_parse_from(words).unwrap().command else { panic!("{typed}") };
            assert_eq!(made(&again), config, "{typed}");
        }
        assert_eq!(train(&[]).config(&classes, [4000, 1000], false).command().matches("--epochs").count(), 0);
        assert_eq!(quoted("runs/001"), "runs/001");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }
}
