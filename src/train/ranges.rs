//! The ranges of what a run or a study is told, whether it is typed or read.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};

use crate::data::{digits, pets};
use crate::nn::{Architecture, Network, Preparation, listed};
use crate::reading::{MAX_IMAGES, equal, within};
use crate::terminal::is_obeyed;
use crate::train::{Config, Extras, Folders, Imported, OptimizerName, ScheduleName, Source, Training};

/// A setting that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value}: expected {expected}")]
pub struct OutOfRange {
    /// Its name in files.
    pub field: &'static str,
    /// What it is.
    pub value: String,
    /// What would be right.
    pub expected: &'static str,
}

impl OutOfRange {
    /// The same about what was typed.
    pub fn typed(&self) -> Error {
        anyhow!("--{} {}: expected {}", self.field.replace('_', "-"), self.value, self.expected)
    }
}

/// A setting whose value is `good`, or an error. A number of many digits is told with its power of ten.
pub(crate) fn check_range(
    good: bool,
    field: &'static str,
    value: impl Display,
    expected: &'static str,
) -> Result<(), OutOfRange> {
    let shown = || {
        let text = value.to_string();
        let long = text.parse::<f64>().ok().filter(|_| text.len() > 20);
        long.map_or(text, |number| format!("{number:e}"))
    };
    if good { Ok(()) } else { Err(OutOfRange { field, value: shown(), expected }) }
}

/// Checks a count of images a step.
///
/// # Errors
/// When it is out of its range.
pub fn check_batch(batch: usize) -> Result<(), OutOfRange> {
    check_range((1..=60_000).contains(&batch), "batch", batch, "1 to 60000")
}

/// What a device's f32 neither rounds to zero nor to infinity.
const HELD: RangeInclusive<f64> = 1e-38..=1e38;

/// Checks every number of how a network is trained, beside its geometry.
///
/// # Errors
/// The first that is out of its range.
pub fn check_recipe(training: &Training) -> Result<(), OutOfRange> {
    let Training { lr, weight_decay, epochs, batch, .. } = *training;
    let momentum = training.momentum.unwrap_or_default();
    check_range(HELD.contains(&lr), "lr", lr, "a number from 1e-38 to 1e38, such as 0.001")?;
    check_range((0.0..1.0).contains(&momentum), "momentum", momentum, "at least 0 and less than 1")?;
    check_range((0.0..=1e38).contains(&weight_decay), "weight_decay", weight_decay, "0 to 1e38")?;
    check_range((1..=1_000_000).contains(&epochs), "epochs", epochs, "1 to 1000000")?;
    if let Some(scale @ [least, most]) = training.crop_scale {
        let good = least >= 0.01 && least <= most && most <= 1.0;
        let expected = "shares of an image's area, the least and the largest, from 0.01 to 1, as 0.5,1";
        check_range(good, "crop_scale", listed(&scale), expected)?;
    }
    check_range((0.0..=180.0).contains(&training.rotate), "rotate", training.rotate, "0 to 180 degrees")?;
    if let Some(shares) = training.color_jitter {
        let good = shares.iter().all(|share| (0.0..=1.0).contains(share));
        check_range(
            good,
            "color_jitter",
            listed(&shares),
            "three shares from 0 to 1, of brightness, contrast and saturation, as 0.2,0.2,0.2",
        )?;
    }
    check_batch(batch)?;
    check_extras(&training.extras, epochs)
}

/// Checks what is added to plain training, over so many epochs.
fn check_extras(extras: &Extras, epochs: usize) -> Result<(), OutOfRange> {
    let Extras { schedule, warmup, step_every, step_factor, .. } = *extras;
    let before_the_end = warmup >= 0.0 && warmup < epochs as f64;
    check_range(before_the_end, "warmup", warmup, "at least 0 and less than the number of epochs")?;
    let apart = schedule != ScheduleName::OneCycle || warmup == 0.0;
    check_range(apart, "warmup", warmup, "0 with the schedule one-cycle, which has a rise of its own")?;
    let falls = schedule == ScheduleName::Step;
    for (field, value, right, expected) in [
        ("step_every", step_every, step_every.is_none_or(|every| every.is_finite() && every > 0.0), "a number above 0"),
        (
            "step_factor",
            step_factor,
            step_factor.is_none_or(|factor| factor > 0.0 && factor < 1.0),
            "more than 0 and less than 1",
        ),
    ] {
        let shown = || value.map_or("none".into(), |value| value.to_string());
        check_range(
            value.is_some() == falls,
            field,
            shown(),
            "a number with the schedule step, and none with any other",
        )?;
        check_range(right, field, shown(), expected)?;
    }
    let Extras { label_smoothing, clip_grad_norm, ema, patience, .. } = *extras;
    check_range(
        (0.0..1.0).contains(&label_smoothing),
        "label_smoothing",
        label_smoothing,
        "at least 0 and less than 1",
    )?;
    if let Some(most) = clip_grad_norm {
        check_range(HELD.contains(&f64::from(most)), "clip_grad_norm", most, "a number from 1e-38 to 1e38, such as 1")?;
    }
    if let Some(decay) = ema {
        check_range(decay > 0.0 && decay < 1.0, "ema", decay, "more than 0 and less than 1, such as 0.99")?;
    }
    if let Some(patience) = patience {
        check_range((1..=1_000_000).contains(&patience), "patience", patience, "1 to 1000000")?;
    }
    Ok(())
}

/// Checks how images of this side are prepared.
///
/// # Errors
/// When a number is out of its range.
pub fn check_preparation(preparation: &Preparation, size: usize) -> Result<(), OutOfRange> {
    let Some(resize) = preparation.resize_crop else { return Ok(()) };
    let expected = "a number of pixels from the side of the network's images (--size) to 16384";
    check_range(preparation.is_for(size), "resize_crop", resize, expected)
}

/// Checks the share of each class set aside for validation.
///
/// # Errors
/// When it is out of its range.
pub fn check_val_share(share: f64) -> Result<(), OutOfRange> {
    check_range(share > 0.0 && share < 1.0, "val_share", share, "more than 0 and less than 1")
}

/// Checks how a network is built and trained, as a file tells.
pub(crate) fn check_training(training: &Training) -> Result<Network> {
    check_recipe(training)?;
    let sgd = training.optimizer == OptimizerName::Sgd;
    ensure!(sgd == training.momentum.is_some(), "momentum: expected with the optimizer sgd, and with no other");
    let network = check_network(&training.model, training.preparation)?;
    let least = network.least_batch();
    ensure!(training.batch >= least, "batch {}: expected at least {least} for a map of 1 x 1", training.batch);
    let init = training.init.as_ref().is_none_or(|init| !init.is_empty() && !init.contains('\0'));
    ensure!(init, "init: expected the path of a file");
    let blocks = if training.init.is_some() { network.blocks().len() } else { 0 };
    within("freeze", training.freeze, 0..=blocks).context("by the blocks of model, with init alone")?;
    Ok(network)
}

/// Checks a network for square colour images that are prepared like this.
fn check_network(architecture: &Architecture, preparation: Preparation) -> Result<Network> {
    let build = || -> Result<Network> {
        let [channels, height, width] = architecture.input();
        let fits = channels == 3 && height == width;
        ensure!(fits, "input is {channels}, {height}, {width}: expected 3 and twice the side of the images");
        Ok(architecture.build()?)
    };
    let network = build().context("model")?;
    check_preparation(&preparation, network.input()[1]).context("preparation")?;
    Ok(network.prepared(preparation))
}

/// Checks the names of so many classes.
pub(crate) fn check_classes(classes: &[String], expected: usize) -> Result<()> {
    ensure!(classes.len() == expected, "classes: {} names for the {expected} classes of the model", classes.len());
    ensure!(!classes.iter().any(String::is_empty), "classes: a name is empty");
    if let Some(class) = classes.iter().find(|class| class.chars().any(is_obeyed)) {
        bail!("classes: {class:?} has a character that is not shown");
    }
    let distinct: BTreeSet<&String> = classes.iter().collect();
    ensure!(distinct.len() == classes.len(), "classes: two have the same name");
    Ok(())
}

/// Checks the path of the folder of the photos of these classes, or none where the program draws.
pub(crate) fn check_folder(field: &str, folder: Option<&str>, classes: &[String]) -> Result<()> {
    match folder {
        Some(folder) => {
            ensure!(!folder.is_empty() && !folder.contains('\0'), "{field}: expected the path of a folder");
            Ok(())
        }
        None => equal("classes", classes.join(", "), pets::CLASSES.join(", "))
            .with_context(|| format!("{field} is null, as for drawn images")),
    }
}

/// Checks `config.json`.
pub(super) fn check_config(config: &Config) -> Result<Network> {
    let Config { id, data, folders, val_share, classes, train_images, val_images, .. } = config;
    let Config { val_of_class, photo_list, val_list, init_sha256, training, .. } = config;
    let network = check_training(training)?;
    check_classes(classes, network.classes())?;
    check_folders(folders, data.is_some())?;
    val_share.map_or(Ok(()), check_val_share)?;
    within("train_images", *train_images, 1..=MAX_IMAGES)?;
    within("val_images", *val_images, 1..=MAX_IMAGES)?;
    check_folder("data", data.as_deref(), classes)?;
    ensure!(data.is_some() || val_share.is_none(), "val_share: expected only with data");
    let resized = training.preparation.resize_crop.is_some();
    ensure!(data.is_some() || !resized, "preparation.resize_crop: expected only with data");
    // Runs of older versions do not say how many validation images each class had.
    if !val_of_class.is_empty() {
        equal("the number of val_of_class", val_of_class.len(), classes.len())?;
        let images = val_of_class.iter().fold(0usize, |sum, &images| sum.saturating_add(images));
        equal("the sum of val_of_class", images, *val_images).context("by val_images")?;
    }
    // Nor do they have a name, or say what photos they have, or only which of these judged them.
    id.as_deref().map_or(Ok(()), |id| hexadecimal("id", id, 32))?;
    photo_list.as_deref().map_or(Ok(()), |list| hexadecimal("photo_list", list, 64))?;
    val_list.as_deref().map_or(Ok(()), |list| hexadecimal("val_list", list, 64))?;
    init_sha256.as_deref().map_or(Ok(()), |digest| hexadecimal("init_sha256", digest, 64))?;
    ensure!(init_sha256.is_none() || training.init.is_some(), "init_sha256: expected only with init");
    let lists = usize::from(photo_list.is_some()) + usize::from(val_list.is_some());
    ensure!(
        lists == usize::from(id.is_some() && data.is_some()),
        "photo_list: expected where there are id and data, and nowhere else; val_list: in its place in runs of older versions"
    );
    Ok(network)
}

/// Checks `config.json` of weights that come from elsewhere.
pub(crate) fn check_imported(config: &Imported) -> Result<Network> {
    let Imported { id, imported: Source { file, sha256 }, classes, drawn, preparation, model } = config;
    hexadecimal("id", id, 32)?;
    let named = !file.is_empty() && !file.chars().any(is_obeyed);
    ensure!(named, "imported.file is {file:?}: expected the name of a file");
    hexadecimal("imported.sha256", sha256, 64)?;
    let network = check_network(model, *preparation)?;
    check_classes(classes, network.classes())?;
    let known = *classes == pets::CLASSES || *classes == digits::CLASSES;
    ensure!(!drawn || known, "drawn is true: expected false, as none of these classes is drawn");
    Ok(network)
}

/// Checks so many hexadecimal digits.
pub(super) fn hexadecimal(field: &str, text: &str, digits: usize) -> Result<()> {
    let good = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(good, "{field} is {text:?}: expected {digits} hexadecimal digits");
    Ok(())
}

/// Checks what was said of a data folder's folders.
pub(crate) fn check_folders(Folders { val, class_level }: &Folders, photos: bool) -> Result<()> {
    ensure!(photos || (val.is_none() && class_level.is_none()), "val, class_level: expected only with photos");
    let path = val.as_ref().is_none_or(|val| !val.is_empty() && !val.contains('\0'));
    ensure!(path, "val: expected the path of a folder");
    class_level.map_or(Ok(()), |level| within("class_level", level, 0..=9))
}
