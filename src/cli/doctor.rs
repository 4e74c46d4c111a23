//! Options of `doctor` and `data`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use crate::data::drawn::{self, Subject};
use crate::data::folder::Choices;

/// Side of an image, in pixels.
const SIDES: std::ops::RangeInclusive<i64> = 8..=1024;

/// Options of `doctor`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: 0 without errors or warnings, 1 with, or where the folder cannot be read as one of images; 2 for \
                        options that cannot be understood."
)]
pub struct DoctorArgs {
    /// Folder of photos, as `train --data` takes it
    #[arg(value_name = "DIR", required_unless_present = "data")]
    dir: Option<PathBuf>,
    /// The same, as errors about folders name it
    #[arg(long, value_name = "DIR", conflicts_with = "dir", hide = true)]
    data: Option<PathBuf>,
    /// Folder of the validation images [default: a folder such as val/ beside train/, if there is one]
    #[arg(long, value_name = "DIR")]
    pub val: Option<PathBuf>,
    /// Which folders name the classes: 1 for those in DIR (and in --val), 2 for those in these, and so on; 0 for the names of
    /// the files [default: found out]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub class_level: Option<u8>,
    /// Side of the square that every image is cropped to, in pixels
    #[arg(long, default_value_t = drawn::SIZE as u32, value_parser = clap::value_parser!(u32).range(SIDES))]
    pub size: u32,
    /// Print one JSON object and nothing else; the page is then written only with --out
    #[arg(long)]
    pub json: bool,
    /// Folder for the page and the tables; must be new or empty [default: doctor, or the next free name, in this folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl DoctorArgs {
    /// The folder of photos.
    pub fn data(&self) -> &Path {
        self.dir.as_deref().or(self.data.as_deref()).expect("clap asks for one of them")
    }

    /// What is said of the data folder.
    pub fn choices(&self) -> Choices {
        Choices { val: self.val.clone(), class_level: self.class_level.map(usize::from) }
    }
}

/// What `data` does.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Write the images that the program draws as PNG files, a folder a class, in train/ and val/
    Synth(SynthArgs),
    /// Download photos to train on, check them and unpack them; what was cut off goes on where it was
    Fetch(FetchArgs),
}

/// Options of `data fetch`.
#[derive(Args, Debug)]
#[command(
    after_help = "dogs-vs-cats: 25,000 photos of cats and dogs (787 MiB), the Kaggle Cats and Dogs Dataset of Microsoft and \
                        Petfinder, from https://www.microsoft.com/en-us/download/details.aspx?id=54765. Its terms are in the archive: \
                        CDLA-Permissive-2.0.pdf, the Community Data License Agreement (Permissive, version 2.0)."
)]
pub struct FetchArgs {
    /// Which photos
    #[arg(value_enum)]
    pub data: DataSet,
    /// Folder to unpack into; must be new or empty [default: its name, in this folder]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Another address of the same archive
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Photos that can be downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataSet {
    /// 25,000 photos of cats and dogs
    DogsVsCats,
}

/// Options of `data synth`.
#[derive(Args, Debug)]
pub struct SynthArgs {
    /// Folder to write into; must be new or empty
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// What is drawn
    #[arg(long, value_enum, default_value_t = Subject::Pets)]
    pub subject: Subject,
    /// Images to train on
    #[arg(long, default_value_t = drawn::TRAIN_IMAGES, value_name = "N")]
    pub train_images: usize,
    /// Images to validate on; 0 for none
    #[arg(long, default_value_t = drawn::VAL_IMAGES, value_name = "N")]
    pub val_images: usize,
    /// Side of the images, in pixels
    #[arg(long, default_value_t = drawn::SIZE as u32, value_parser = clap::value_parser!(u32).range(SIDES))]
    pub size: u32,
    /// Decides what the images look like, as in `train`
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl SynthArgs {
    /// Checks that every class gets an image.
    ///
    /// # Errors
    /// The first option that is out of range, with what would be right.
    pub fn check(&self) -> Result<()> {
        let classes = self.subject.classes().len();
        let enough = |images: usize| (classes..=10_000_000).contains(&images);
        for (option, images, fits) in [
            ("train-images", self.train_images, enough(self.train_images)),
            ("val-images", self.val_images, self.val_images == 0 || enough(self.val_images)),
        ] {
            if !fits {
                bail!("--{option} {images}: expected {classes} to 10000000, so that each class has one");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn synth(options: &[&str]) -> Result<()> {
        let cli = Cli::try_parse_from(["convscope", "data", "synth", "drawn"].iter().chain(options))?;
        let Command::Data(DataCommand::Synth(arguments)) = cli.command else {
            unreachable!("the command is data synth")
        };
        arguments.check()
    }

    #[test]
    fn every_class_gets_an_image() {
        for options in [&[][..], &["--train-images=2", "--val-images=0"], &["--subject=digits", "--val-images=10"]] {
            synth(options).unwrap();
        }
        for (options, message) in [
            (&["--train-images=1"][..], "--train-images 1: expected 2"),
            (&["--subject=digits", "--val-images=9"], "--val-images 9: expected 10"),
            (&["--train-images=0"], "--train-images 0"),
            (&["--size=7"], "--size"),
        ] {
            let error = synth(options).unwrap_err().to_string();
            assert!(error.contains(message), "{options:?}: {error}");
        }
    }
}
