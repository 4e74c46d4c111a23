//! Options of `bench`.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::DeviceArgs;
use super::model::{ModelArgs, check_geometry, network};
use super::train::BATCH;
use crate::data::drawn;
use crate::gpu::AdapterChoice;
use crate::nn::{Network, Strided};

/// Classes that the timed networks tell apart.
const CLASSES: usize = 2;

/// What `bench` times.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time steps of one size
    Step(StepArgs),
    /// Time a few steps each of many batches and image sizes, to see how the cost grows
    Scaling(ScalingArgs),
    /// Measure which kernels and tiles are the fastest on an adapter, and remember them for all commands: a minute on a GPU, minutes on a
    /// software driver
    Tune(TuneArgs),
}

/// Options of `bench tune`.
#[derive(Args, Debug)]
pub struct TuneArgs {
    /// Number or part of the name of an adapter, as `convscope adapters` lists them
    #[arg(long)]
    pub adapter: Option<AdapterChoice>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Options of `bench step`.
#[derive(Args, Debug)]
pub struct StepArgs {
    /// Which step, how often and on what.
    #[command(flatten)]
    pub timed: TimedArgs,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Which step to time, how often and on what.
#[derive(Args, Debug)]
#[command(allow_negative_numbers = true)]
pub struct TimedArgs {
    /// Which network.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Images a training step
    #[arg(long, default_value_t = BATCH)]
    pub batch: usize,
    /// Steps to time, after a few that are not
    #[arg(long, default_value_t = 30)]
    pub steps: usize,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Options of `bench scaling`.
#[derive(Args, Debug)]
pub struct ScalingArgs {
    /// Images a step, one after the other, each image of 128 x 128
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128,256", value_name = "N,N,..")]
    pub batches: Vec<usize>,
    /// Sides of the images, one after the other, 32 images a step
    #[arg(long, value_delimiter = ',', default_value = "64,96,128,192,256,384,512", value_name = "N,N,..")]
    pub sizes: Vec<usize>,
    /// On what to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

impl TimedArgs {
    /// Checks every number.
    ///
    /// # Errors
    /// The first option that is out of range, with what would be right.
    pub fn check(&self) -> Result<()> {
        if !(1..=1_000_000).contains(&self.steps) {
            bail!("--steps {}: expected 1 to 1000000", self.steps);
        }
        self.model.check()?;
        check_geometry(&self.model.architecture(CLASSES), self.batch)
    }

    /// The network to time.
    ///
    /// # Errors
    /// When there is none, naming the options.
    pub fn network(&self) -> Result<Network> {
        network(&self.model.architecture(CLASSES))
    }
}

/// A batch of images to time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Work {
    /// Side of the images.
    pub size: usize,
    /// Images a step.
    pub batch: usize,
}

impl ScalingArgs {
    /// What to time with growing batches, and what with growing images.
    ///
    /// # Errors
    /// The first number that is out of range, with what would be right.
    pub fn series(&self) -> Result<[Vec<Work>; 2]> {
        let batches: Vec<_> = self.batches.iter().map(|batch| Work { size: drawn::SIZE, batch: *batch }).collect();
        let sizes: Vec<_> = self.sizes.iter().map(|size| Work { size: *size, batch: BATCH }).collect();
        for Work { size, batch } in batches.iter().chain(&sizes) {
            check_geometry(&Strided::dogs_vs_cats(*size, CLASSES).into(), *batch)?;
        }
        Ok([batches, sizes])
    }
}
