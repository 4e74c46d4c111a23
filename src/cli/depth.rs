//! Options of `depth`.

use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;

use super::TrainArgs;
use super::train::SAVE_EVERY;
use crate::data::drawn;
use crate::gpu::Kernels;
use crate::study::{Ladder, Settings};
use crate::train::check_range;

/// Options of `depth`: those of `train`, which say how every network of the study is trained, and its own.
#[derive(Args, Debug)]
#[command(
    allow_negative_numbers = true,
    mut_arg("val_share", |option| option.hide(true)),
    mut_arg("init", |option| option.hide(true)),
    mut_arg("freeze", |option| option.hide(true)),
    mut_arg("schedule", |option| option.hide(true)),
    mut_arg("warmup", |option| option.hide(true)),
    mut_arg("step_every", |option| option.hide(true)),
    mut_arg("step_factor", |option| option.hide(true)),
    mut_arg("label_smoothing", |option| option.hide(true)),
    mut_arg("class_weights", |option| option.hide(true)),
    mut_arg("clip_grad_norm", |option| option.hide(true)),
    mut_arg("ema", |option| option.hide(true)),
    mut_arg("patience", |option| option.hide(true)),
    mut_arg("lr_find", |option| option.hide(true)),
    mut_arg("resume", |option| option.hide(true)),
    mut_arg("save_every", |option| option.hide(true)),
    mut_arg("preview", |option| option.hide(true)),
    mut_arg("json", |option| option.hide(true)),
    mut_arg("tensorboard", |option| option.hide(true)),
    mut_arg("val", |option| option.help("Folder of the validation images where it is not in --data: depth puts all images together and locks some away")),
    mut_arg("train_images", |option| option.hide(true)),
    mut_arg("val_images", |option| option.hide(true)),
    mut_arg("seed", |option| option.help("Decides the split, initial weights, order, flips, cuts, turns, colours, dropout, and the drawn images")),
    mut_arg("out", |option| option.help("Folder of the study; one that was stopped goes on from there [default: runs/depth]"))
)]
pub struct DepthArgs {
    /// How every network is trained.
    #[command(flatten)]
    pub train: TrainArgs,
    /// Numbers of blocks to compare, as 1..5 or 2,3,5; the largest is the reference [default: from 1 to all --channels]
    #[arg(long, value_name = "A..B", conflicts_with = "ladder")]
    pub depths: Option<Depths>,
    /// What the networks that are compared with the whole one leave out
    #[arg(long, value_enum, default_value_t = Ladder::Truncate)]
    pub ladder: Ladder,
    /// Parts that the images are divided into, each scored by networks that learned from the others
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub folds: usize,
    /// How often they are divided anew
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub repeats: usize,
    /// Loss of accuracy that is accepted, in percentage points
    #[arg(long, default_value_t = 1.0, value_name = "POINTS")]
    pub margin: f64,
    /// Images to draw where there is no --data
    #[arg(long, alias = "pictures", default_value_t = drawn::TRAIN_IMAGES + drawn::VAL_IMAGES, value_name = "N", conflicts_with_all = ["data", "val", "class_level"])]
    pub images: usize,
    /// Train the K-th of N shares of the networks and nothing else, so that N processes carry the study
    #[arg(long, value_name = "K/N", conflicts_with_all = ["collect", "dry_run"])]
    pub unit: Option<Share>,
    /// Put together what was trained elsewhere, as it was set then; needs --out, and looks at no other option
    #[arg(long, requires = "out", conflicts_with_all = ["dry_run", "resume", "preview"])]
    pub collect: bool,
    /// Say what would be trained and how long that would take, then stop
    #[arg(long)]
    pub dry_run: bool,
}

/// Numbers of blocks, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depths(pub Vec<usize>);

impl FromStr for Depths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| (1..=100).contains(number));
        let depths: Option<Vec<usize>> = match text.split_once("..") {
            Some((first, last)) => number(first).zip(number(last)).map(|(first, last)| (first..=last).collect()),
            None => text.split(',').map(number).collect(),
        };
        let mut depths = depths.unwrap_or_default();
        depths.sort_unstable();
        depths.dedup();
        if depths.len() < 2 {
            return Err("expected at least two numbers from 1 to 100, as 1..5 or 2,3,5".into());
        }
        Ok(Self(depths))
    }
}

/// The K-th of N shares, K from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which share.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("expected K/N with K from 1 to N, as 3/10".into()),
        }
    }
}

impl DepthArgs {
    /// Checks every number that needs neither data nor device.
    ///
    /// # Errors
    /// The first option that is out of range, with what would be right.
    pub fn check(&self) -> Result<()> {
        self.train.check_numbers()?;
        let defaults = [drawn::TRAIN_IMAGES, drawn::VAL_IMAGES];
        if self.train.val_share.is_some() || [self.train.train_images, self.train.val_images] != defaults {
            bail!("--val-share, --train-images, --val-images: `depth` divides all images by --folds instead");
        }
        if self.train.init.is_some() {
            bail!("--init: the networks of a study all start from random weights; leave the option out");
        }
        if self.train.lr_find {
            bail!("--lr-find: only `train` has it; the rate that it suggests is to be given by --lr");
        }
        if let Some(field) = self.train.training(2).extras.first_field() {
            let option = field.replace('_', "-");
            bail!("--{option}: the networks of a study are trained by a recipe of its own; leave the option out");
        }
        for (option, given) in [("json", self.train.json), ("tensorboard", self.train.tensorboard)] {
            if given {
                bail!("--{option}: only `train` has it; leave the option out");
            }
        }
        if self.train.resume.is_some() || self.train.save_every != SAVE_EVERY {
            bail!(
                "--resume, --save-every: only `train` has them; a study that was stopped goes on when its command is typed again"
            );
        }
        if self.train.preview.is_some() {
            bail!("--preview: only `train` shows its images; it takes the same options");
        }
        if !(2..=100).contains(&self.folds) {
            bail!("--folds {}: expected 2 to 100", self.folds);
        }
        if !(1..=100).contains(&self.repeats) {
            bail!("--repeats {}: expected 1 to 100", self.repeats);
        }
        let good = self.margin > 0.0 && self.margin <= 100.0;
        check_range(good, "margin", self.margin, "more than 0 and at most 100 percentage points")
            .map_err(|error| error.typed())?;
        if !(2..=10_000_000).contains(&self.images) {
            bail!("--images {}: expected 2 to 10000000", self.images);
        }
        if self.settings(2, Kernels::Plain).candidates()?.len() < 2 {
            bail!(
                "a network of one block has nothing to leave out: give at least two blocks, by --channels or --model"
            );
        }
        Ok(())
    }

    /// Numbers of blocks to compare, ascending.
    pub fn depths(&self) -> Vec<usize> {
        self.depths.as_ref().map_or_else(
            || (1..=self.train.model.architecture(2).blocks().unwrap_or_default()).collect(),
            |depths| depths.0.clone(),
        )
    }

    /// Everything that decides what comes out, given the number of classes.
    pub fn settings(&self, classes: usize, kernels: Kernels) -> Settings {
        Settings {
            ladder: self.ladder,
            depths: self.depths(),
            folds: self.folds,
            repeats: self.repeats,
            margin: self.margin,
            training: self.train.training(classes),
            kernels,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn what_is_added_to_plain_training_is_refused() {
        for option in [
            "--schedule=cosine",
            "--warmup=1",
            "--label-smoothing=0.1",
            "--class-weights=balanced",
            "--clip-grad-norm=1",
            "--ema=0.9",
            "--patience=2",
        ] {
            let Command::Depth(arguments) = Cli::try_parse_from(["convscope", "depth", option]).unwrap().command else {
                unreachable!("the command is depth")
            };
            let error = arguments.check().unwrap_err().to_string();
            let (name, _) = option.split_once('=').unwrap();
            assert!(error.starts_with(&format!("{name}: the networks of a study")), "{error}");
        }
        for (options, told) in [
            (&["--lr-find"][..], "--lr-find: only `train` has it"),
            (&["--resume=runs/001"], "--resume, --save-every: only `train` has them"),
            (&["--save-every=1"], "--resume, --save-every: only `train` has them"),
            (
                &["--model=fuzz/seeds/layers/some.toml", "--width=0.5"],
                "--width 0.5: only a network with a name has one",
            ),
        ] {
            let words = ["convscope", "depth"].iter().chain(options);
            let Command::Depth(arguments) = Cli::try_parse_from(words).unwrap().command else {
                unreachable!("the command is depth")
            };
            let error = arguments.check().unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }
}
