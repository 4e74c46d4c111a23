//! The program's commands, from resolved options to files and lines on the terminal.

mod features;
mod train;

use std::path::Path;

use anyhow::{Context, Result, bail};
use image::RgbImage;

use crate::cli::{Cli, Command};
use crate::gpu::{AdapterChoice, Gpu, GpuError, adapters};
use crate::inspect::Look;
use crate::terminal::say;

/// Runs a command.
///
/// # Errors
/// One error with its remedy.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Train(arguments) => train::train(&arguments),
        Command::Features(arguments) => features::features(&arguments),
        Command::Adapters => list_adapters(),
    }
}

fn list_adapters() -> Result<()> {
    let found = pollster::block_on(adapters());
    if found.is_empty() {
        bail!(GpuError::NoAdapter);
    }
    for (number, adapter) in found.iter().enumerate() {
        let info = adapter.get_info();
        let driver = format!("{} {}", info.driver, info.driver_info);
        say(format!("{number}  {}  ({:?}, {:?}, {driver})", info.name, info.device_type, info.backend));
    }
    Ok(())
}

fn open(adapter: &Option<AdapterChoice>) -> Result<Gpu> {
    Ok(pollster::block_on(Gpu::open(&adapter.clone().unwrap_or_default()))?)
}

/// The lines in the caption of a picture of feature maps.
fn facts(image: &str, look: &Look, classes: &[String], weights: &str) -> Vec<String> {
    let predicted = look.predicted();
    let probability = 100.0 * look.probabilities[predicted];
    vec![format!("{image}; the network says {} ({probability:.1} %)", classes[predicted]), format!("weights {weights}")]
}

fn write_pictures(folder: &Path, pictures: Vec<(String, RgbImage)>) -> Result<()> {
    for (name, picture) in pictures {
        let path = folder.join(name);
        picture.save(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
