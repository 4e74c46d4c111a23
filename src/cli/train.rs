//! Options of `train`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::model::check_geometry;
use super::{DeviceArgs, ExtrasArgs, ModelArgs, path_from_root};
use crate::data::drawn;
use crate::data::folder::{Choices, VALIDATION_SHARE};
use crate::figures::ScaleBy;
use crate::nn::{Normalize, Preparation};
use crate::train::{Config, Folders, OptimizerName, Training};
use crate::train::{check_preparation, check_range, check_recipe, check_val_share};

/// Images a training step, where nothing else is asked for.
pub(super) const BATCH: usize = 32;
/// Minutes after which it is written down where a training stands.
pub(super) const SAVE_EVERY: f64 = 5.0;

/// Whether training images are flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flip {
    /// Half of them, anew in each epoch.
    #[value(name = "flip", alias = "on")]
    Random,
    /// None.
    #[value(name = "off")]
    Never,
}

/// Reads so many numbers, parted by commas.
fn numbers<const N: usize>(text: &str) -> Result<[f32; N], String> {
    let read = crate::nn::numbers(text).and_then(|read| read.try_into().ok());
    read.ok_or_else(|| format!("expected {N} numbers parted by commas"))
}

/// How images are prepared for a network.
#[derive(Args, Clone, Copy, Debug)]
pub struct PreparationArgs {
    /// How colours, x of 0 to 1, become the network's numbers, (x - MEAN) / STD: half (0.5 and 0.5), imagenet (those of torchvision's
    /// own weights), or numbers, as 0.5,0.25 for all colours or 0.48,0.45,0.4,0.23,0.22,0.22 for three means and three deviations
    /// [default: half]
    #[arg(long, value_name = "half|imagenet|MEAN,STD")]
    pub normalize: Option<Normalize>,
    /// Scale the shorter side of photos to N before the middle square of --size is cut out, as torchvision's Resize(N) and
    /// CenterCrop do, often 256 for a size of 224 [default: to --size]
    #[arg(long, value_name = "N")]
    pub resize_crop: Option<u32>,
}

impl PreparationArgs {
    /// The same as it is recorded.
    pub fn preparation(self) -> Preparation {
        Preparation { normalize: self.normalize.unwrap_or_default(), resize_crop: self.resize_crop }
    }
}

/// The options of photos, which mean nothing where images are drawn. An option that needs --data is not refused for want of it beside
/// another one that excludes --data.
const OF_PHOTOS: [&str; 4] = ["data", "val", "class_level", "val_share"];

/// Options of `train`.
#[derive(Args, Debug)]
#[command(allow_negative_numbers = true)]
pub struct TrainArgs {
    /// Options from a file: TOML with a line for each, such as lr = 0.01, or the folder of a run, which is then trained again. What is
    /// typed beside it counts more; paths in it count from the current folder
    #[arg(long, value_name = "FILE|RUN")]
    pub config: Option<PathBuf>,
    /// Go on with the training of this run where it stopped, with its own settings, to the very end that it would have come to
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "out", "lr_find", "preview"])]
    pub resume: Option<PathBuf>,
    /// Minutes after which it is written down within an epoch where the training stands, as it is after each epoch; 0 is after each step
    #[arg(long, value_name = "MINUTES", default_value_t = SAVE_EVERY)]
    pub save_every: f64,
    /// Folder of your own photos, JPEG or PNG: one folder a class; or files named cat.0.jpg; or train/ and val/ (also
    /// training_set/, seg_train/, valid/, validation/, dev/) laid out like that. Without it, cats and dogs that the program
    /// draws
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder of the validation images, laid out like --data [default: a folder such as val/ beside train/; where there is
    /// none, a share of the training images is set aside]
    #[arg(long, value_name = "DIR", requires = "data")]
    pub val: Option<PathBuf>,
    /// Which folders name the classes: 1 for those in --data (and in --val), 2 for those in these, and so on; 0 for the names
    /// of the files. Folders such as train/ then mean nothing special [default: found out]
    #[arg(long, value_name = "N", requires = "data", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub class_level: Option<u8>,
    /// Which network.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Go on from these weights instead of random ones: those of a run, or the state_dict of the same network in PyTorch, as a
    /// .safetensors file. A last layer for another number of classes starts anew. Images are prepared as for these weights, unless --normalize
    /// or --resize-crop say otherwise
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// Keep the first N blocks as they are in --init, the statistics of their batch norm too
    #[arg(long, value_name = "N", default_value_t = 0, requires = "init")]
    pub freeze: usize,
    /// How its images are prepared.
    #[command(flatten)]
    pub preparation: PreparationArgs,
    /// Images a training step
    #[arg(long, default_value_t = BATCH)]
    pub batch: usize,
    /// Passes over the training images [default: 8 for drawn images, 10 for --data]
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Learning rate
    #[arg(long, default_value_t = 1e-3)]
    pub lr: f64,
    /// Find a learning rate: try rising ones for up to 100 steps, draw the loss, suggest one, and train nothing further
    #[arg(long, conflicts_with_all = ["lr", "tensorboard"])]
    pub lr_find: bool,
    /// How the weights move
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    pub optimizer: OptimizerName,
    /// Momentum of --optimizer sgd [default: 0.9]
    #[arg(long)]
    pub momentum: Option<f32>,
    /// Weight decay, added to the gradient as in PyTorch's Adam and SGD
    #[arg(long, default_value_t = 0.0)]
    pub weight_decay: f32,
    /// What is added to plain training.
    #[command(flatten)]
    pub extras: ExtrasArgs,
    /// Decides initial weights, order, flips, cuts, turns, colours, dropout, and the drawn images
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Flip training images left to right at random. The following options change them further; --preview shows what comes out
    #[arg(long, value_enum, default_value_t = Flip::Random)]
    pub augment: Flip,
    /// Cut a random part out of each training image's middle square and scale it to --size: a share of its area from MIN to MAX, of a
    /// shape from 3:4 to 4:3, as torchvision's RandomResizedCrop does out of the whole image; photos then take more memory
    #[arg(long, value_name = "MIN,MAX", value_parser = numbers::<2>)]
    pub crop_scale: Option<[f32; 2]>,
    /// Turn training images at random, by up to so many degrees either way; beyond their edges they are mirrored
    #[arg(long, value_name = "DEGREES", default_value_t = 0.0, hide_default_value = true)]
    pub rotate: f32,
    /// Change brightness, contrast and saturation of training images at random, each by a factor of 1 - SHARE to 1 + SHARE, as torchvision's
    /// ColorJitter; for instance 0.2,0.2,0.2
    #[arg(long, value_name = "BRIGHTNESS,CONTRAST,SATURATION", value_parser = numbers::<3>)]
    pub color_jitter: Option<[f32; 3]>,
    /// Only write FILE, a PNG that shows how some training images are prepared and changed by these options, and stop
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "lr_find", "json", "tensorboard"])]
    pub preview: Option<PathBuf>,
    /// Share of each class set aside for validation where --data has no validation folder [default: 0.2]
    #[arg(long, value_name = "SHARE", requires = "data", conflicts_with = "val")]
    pub val_share: Option<f64>,
    /// Drawn images to train on
    #[arg(long, alias = "train-pictures", default_value_t = drawn::TRAIN_IMAGES, value_name = "N", conflicts_with_all = OF_PHOTOS)]
    pub train_images: usize,
    /// Drawn images to validate on
    #[arg(long, alias = "val-pictures", default_value_t = drawn::VAL_IMAGES, value_name = "N", conflicts_with_all = OF_PHOTOS)]
    pub val_images: usize,
    /// Memory for decoded images, in MiB; what does not fit is decoded again each time
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    pub cache: usize,
    /// What the colours of feature maps span
    #[arg(long, value_enum, default_value_t)]
    pub scale: ScaleBy,
    /// Folder of the run itself; must be new or empty [default: runs/001 or the next free number]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Do not write report.html at the end
    #[arg(long)]
    pub no_report: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Print a JSON object for the start, about once a second, for each epoch, and for the end, one a line; all else goes to standard error
    #[arg(long)]
    pub json: bool,
    /// Also record each epoch for TensorBoard, in the run's folder: curves, weights, gradients, and feature maps of a validation image
    #[arg(long)]
    pub tensorboard: bool,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

impl TrainArgs {
    /// Checks every number that needs neither data nor device, and the geometry of the network.
    ///
    /// # Errors
    /// The first option that is out of range, with what would be right.
    pub fn check(&self) -> Result<()> {
        self.check_numbers()?;
        check_geometry(&self.model.architecture(2), self.batch)?;
        let blocks = self.model.architecture(2).blocks().unwrap_or_default();
        if self.freeze > blocks {
            bail!("--freeze {}: the network has {blocks} blocks", self.freeze);
        }
        Ok(())
    }

    pub(super) fn check_numbers(&self) -> Result<()> {
        self.model.check()?;
        self.extras.check()?;
        // Momentum's range holds even where the optimizer has none.
        let recipe = Training { momentum: Some(self.momentum()), ..self.training(2) };
        check_recipe(&recipe).and_then(|()| check_val_share(self.val_share())).map_err(|error| error.typed())?;
        for (option, images) in [("train-images", self.train_images), ("val-images", self.val_images)] {
            if !(2..=10_000_000).contains(&images) {
                bail!("--{option} {images}: expected 2 to 10000000");
            }
        }
        let preparation = self.preparation.preparation();
        check_preparation(&preparation, self.model.size).map_err(|error| error.typed())?;
        if preparation.resize_crop.is_some() && self.data.is_none() {
            bail!("--resize-crop: only photos are scaled; give their folder with --data, or leave the option out");
        }
        if self.momentum.is_some() && self.optimizer != OptimizerName::Sgd {
            bail!("--momentum: only --optimizer sgd has one");
        }
        let minutes = self.save_every;
        check_range((0.0..=1e6).contains(&minutes), "save_every", minutes, "0 to 1000000 minutes")
            .map_err(|error| error.typed())?;
        if self.cache > 1 << 24 {
            bail!("--cache {}: expected at most 16777216 MiB", self.cache);
        }
        Ok(())
    }

    /// The network and how to train it, for so many classes.
    pub fn training(&self, classes: usize) -> Training {
        let Self { batch, optimizer, lr, weight_decay, seed, .. } = *self;
        Training {
            model: self.model.architecture(classes),
            model_file: self.model.file(),
            preparation: self.preparation.preparation(),
            batch,
            epochs: self.epochs(),
            optimizer,
            lr,
            momentum: (optimizer == OptimizerName::Sgd).then_some(self.momentum()),
            weight_decay,
            augment: self.augment == Flip::Random,
            crop_scale: self.crop_scale,
            rotate: self.rotate,
            color_jitter: self.color_jitter,
            seed,
            init: self.init.as_deref().map(path_from_root),
            freeze: self.freeze,
            extras: self.extras.extras(self.epochs()),
        }
    }

    /// Every choice made, given what the data turned out to be; `split` says whether validation images were set aside.
    pub fn config(&self, classes: &[String], [train_images, val_images]: [usize; 2], split: bool) -> Config {
        Config {
            id: None,
            data: self.absolute_data(),
            folders: self.folders(),
            val_share: split.then_some(self.val_share()),
            classes: classes.to_vec(),
            train_images,
            val_images,
            val_of_class: Vec::new(),
            photo_list: None,
            val_list: None,
            init_sha256: None,
            training: self.training(classes.len()),
        }
    }

    /// The data folder from the root on, since later commands may run in another folder. That it is valid Unicode is checked
    /// when it is scanned.
    pub fn absolute_data(&self) -> Option<String> {
        self.data.as_deref().map(path_from_root)
    }

    /// What is said of the data folder, as it is recorded.
    pub fn folders(&self) -> Folders {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let data = self.data.as_ref().map(absolute).unwrap_or_default();
        let val = self.val.as_ref().map(|val| {
            let val = absolute(val);
            val.strip_prefix(data).unwrap_or(&val).display().to_string()
        });
        Folders { val, class_level: self.class_level }
    }

    /// What is said of the data folder.
    pub fn choices(&self) -> Choices {
        Choices { val: self.val.clone(), class_level: self.class_level.map(usize::from) }
    }

    fn momentum(&self) -> f32 {
        self.momentum.unwrap_or(0.9)
    }

    /// Share of each class set aside for validation where the data folder has no validation folder.
    pub fn val_share(&self) -> f64 {
        self.val_share.unwrap_or(VALIDATION_SHARE)
    }

    /// Passes over the training images.
    pub fn epochs(&self) -> usize {
        self.epochs.unwrap_or(if self.data.is_some() { 10 } else { 8 })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::data::augment::AugmentOptions;
    use crate::nn::Strided;

    fn train(arguments: &[&str]) -> Result<Box<TrainArgs>> {
        let cli = Cli::try_parse_from(["convscope", "train"].iter().chain(arguments))?;
        let Command::Train(arguments) = cli.command else { unreachable!("the command is train") };
        arguments.check()?;
        Ok(arguments)
    }

    #[test]
    fn without_options_it_is_the_known_network() {
        let arguments = train(&[]).unwrap();
        assert_eq!(arguments.model.architecture(2), Strided::dogs_vs_cats(128, 2).into());
        assert_eq!(arguments.epochs(), 8);
    }

    #[test]
    fn flips_can_be_asked_for_as_before() {
        for (options, expected) in [
            (&[][..], true),
            (&["--augment", "on"], true),
            (&["--augment", "flip"], true),
            (&["--augment", "off"], false),
        ] {
            assert_eq!(train(options).unwrap().training(2).augment, expected);
        }
        let all = ["--augment=off", "--crop-scale=0.3,1", "--rotate=10", "--color-jitter=0.2,0.3,0"];
        let augment = train(&all).unwrap().training(2).augmentation();
        let expected = AugmentOptions {
            flip: false,
            crop_scale: Some([0.3, 1.0]),
            rotate: 10.0,
            color_jitter: Some([0.2, 0.3, 0.0]),
        };
        assert_eq!(augment, expected);
    }

    #[test]
    fn bad_numbers_name_their_option() {
        let cases = [
            ("--batch=0", "--batch 0"),
            ("--epochs=0", "--epochs 0"),
            ("--lr=0", "--lr 0"),
            ("--lr=NaN", "--lr NaN"),
            ("--momentum=1", "--momentum 1"),
            ("--momentum=0.5", "only --optimizer sgd"),
            ("--cache=99999999", "--cache 99999999"),
            ("--save-every=-1", "--save-every -1: expected 0 to"),
            ("--save-every=1e300", "--save-every 1e300: expected 0 to 1000000 minutes"),
            ("--lr=1e300", "--lr 1e300: expected a number from 1e-38 to 1e38"),
            ("--lr=1e-300", "--lr 1e-300"),
            ("--weight-decay=1e300", "--weight-decay inf: expected 0 to 1e38"),
            ("--clip-grad-norm=1e-300", "--clip-grad-norm 0"),
            ("--save-every=NaN", "--save-every NaN"),
            ("--save-every=inf", "--save-every inf"),
            ("--weight-decay=-1", "--weight-decay -1"),
            ("--size=16", "block 4"),
            ("--size=0", "--size 0"),
            ("--stride=0", "--stride 0"),
            ("--kernel=99", "--kernel 99"),
            ("--dropout=1", "--dropout 1"),
            ("--channels=8,0", "--channels 8,0"),
            ("--val-share=0.5", "--data <DIR>"),
            ("--train-images=1", "--train-images 1"),
            ("--optimizer=lion", "possible values: adam, sgd"),
            ("--kernels=fast", "possible values: auto, plain"),
            ("--freeze=1", "--init <FILE>"),
            ("--warmup=-1", "--warmup -1"),
            ("--warmup=8", "--warmup 8: expected at least 0 and less than the number of epochs"),
            ("--warmup=NaN", "--warmup NaN"),
            ("--step-every=2", "--step-every: only --schedule step"),
            ("--step-factor=0.5", "--step-factor: only --schedule step"),
            ("--label-smoothing=1", "--label-smoothing 1"),
            ("--label-smoothing=-0.1", "--label-smoothing -0.1"),
            ("--class-weights=auto", "possible values: none, balanced"),
            ("--clip-grad-norm=0", "--clip-grad-norm 0"),
            ("--clip-grad-norm=inf", "--clip-grad-norm inf"),
            ("--ema=1", "--ema 1"),
            ("--ema=0", "--ema 0"),
            ("--patience=0", "--patience 0"),
            ("--schedule=linear", "possible values: constant, cosine, one-cycle, step"),
            ("--augment=crop", "possible values: flip, off"),
            ("--crop-scale=0.5", "expected 2 numbers parted by commas"),
            ("--crop-scale=0.5,0.4", "--crop-scale 0.5,0.4: expected shares of an image's area"),
            ("--crop-scale=0,1", "--crop-scale 0,1: expected"),
            ("--crop-scale=0.5,1.5", "--crop-scale 0.5,1.5: expected"),
            ("--rotate=-1", "--rotate -1: expected 0 to 180 degrees"),
            ("--rotate=NaN", "--rotate NaN: expected"),
            ("--color-jitter=0.1,0.1", "expected 3 numbers parted by commas"),
            ("--color-jitter=0.1,0.1,2", "--color-jitter 0.1,0.1,2: expected three shares from 0 to 1"),
            ("--normalize=imagnet", "expected half, imagenet, or numbers"),
            ("--normalize=128,64", "divide those of colours up to 255 by 255"),
            ("--resize-crop=100", "--resize-crop 100: expected a number of pixels from the side"),
            ("--resize-crop=20000", "--resize-crop 20000: expected"),
            ("--resize-crop=146", "--resize-crop: only photos are scaled"),
        ];
        for (argument, message) in cases {
            let error = train(&[argument]).unwrap_err().to_string();
            assert!(error.contains(message), "{argument}: {error}");
        }
        for (arguments, message) in [
            (&["--schedule=one-cycle", "--warmup=0.5"], "--warmup: --schedule one-cycle has a rise of its own"),
            (&["--schedule=step", "--step-every=0"], "--step-every 0"),
            (&["--schedule=step", "--step-every=inf"], "--step-every inf"),
            (&["--schedule=step", "--step-factor=1"], "--step-factor 1"),
            (&["--lr-find", "--lr=0.1"], "cannot be used with"),
            (&["--resume=runs/001", "--lr-find"], "cannot be used with"),
            (&["--resume=runs/001", "--out=new"], "cannot be used with"),
            (&["--resume=runs/001", "--preview=a.png"], "cannot be used with"),
            (&["--resume=runs/001", "--config=a.toml"], "cannot be used with"),
        ] {
            let error = train(arguments).unwrap_err().to_string();
            assert!(error.contains(message), "{arguments:?}: {error}");
        }
        let error = train(&["--init=best.safetensors", "--freeze=6"]).unwrap_err().to_string();
        assert_eq!(error, "--freeze 6: the network has 5 blocks");
    }
}
