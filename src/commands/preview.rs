//! `train --preview`: what training images look like before any training.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::{ImageFormat, RgbImage};

use crate::cli::TrainArgs;
use crate::commands::images::Source;
use crate::data::Images;
use crate::data::augment::Augmentation;
use crate::data::batch::Batch;
use crate::data::pixels::{CHANNELS, byte};
use crate::disk;
use crate::figures::tiles;
use crate::nn::Normalize;
use crate::terminal::say;
use crate::train::Training;

/// Images of a sheet, a row each.
const IMAGES: usize = 8;
/// How often each is changed.
const CHANGED: u64 = 8;
/// Side of an image up to which its pixels are enlarged.
const LEGIBLE: u32 = 128;

pub(super) fn preview(arguments: &TrainArgs, file: &Path) -> Result<()> {
    let shown = file.display();
    ensure!(!file.exists(), "--preview {shown}: exists already; name another file");
    ensure!(file.extension().is_some_and(|ending| ending == "png"), "--preview {shown}: name a file that ends in .png");
    let apart = super::check_apart(file, [&arguments.data, &arguments.val].into_iter().flatten());
    ensure!(
        apart.is_ok(),
        "--preview {shown}: lies in the folder of the images, which is only read; name another place"
    );
    disk::check_writable(file).with_context(|| format!("--preview {shown}: name a file in a folder that is there"))?;
    let source = Source::of(arguments);
    let (classes, images) = source.some(source.scan()?, IMAGES)?;
    // Drawn cats and dogs take turns.
    let order: Vec<usize> = (0..images.len().min(IMAGES)).collect();
    let sheet = sheet(images.as_ref(), &order, &arguments.training(classes.len()))?;
    let mut bytes = Cursor::new(Vec::new());
    sheet.write_to(&mut bytes, ImageFormat::Png)?;
    disk::write(file, bytes.get_ref())?;

    let training = arguments.training(classes.len());
    say(format!("wrote {shown}: a row for each image, first as it is prepared by {},", training.preparation));
    say(format!("then as {CHANGED} epochs get it: training images are {}", training.augmentation().told()));
    for (row, &index) in (1..).zip(&order) {
        let class = &classes[images.label(index) as usize];
        say(format!("  row {row}  {class}: {}", images.name(index)));
    }
    Ok(())
}

/// A row for each of these images: as it is prepared, then as epochs get it, each on the way to the network's numbers and back.
fn sheet(images: &dyn Images, order: &[usize], training: &Training) -> Result<RgbImage> {
    let normalize = training.preparation.normalize;
    let augment = training.augmentation();
    let changes = (1..=CHANGED).map(|epoch| Some(Augmentation { augment, seed: training.seed, epoch }));
    let mut columns = Vec::new();
    for augmentation in std::iter::once(None).chain(changes) {
        let batch = Batch::new(images, order, order.len(), augmentation, normalize, Vec::new());
        if let Some(lost) = batch.rejected.first() {
            bail!("{} {}", lost.file, lost.reason);
        }
        columns.push(seen(&batch, images.size(), normalize)?);
    }
    let cells = (0..order.len()).flat_map(|row| columns.iter().map(move |column| Some(column[row].clone())));
    let cells: Vec<Option<RgbImage>> = cells.collect();
    let size = images.size();
    Ok(tiles(&cells, [size; 2], columns.len(), (LEGIBLE / size).max(1)))
}

/// The images of a batch, from the network's numbers.
fn seen(batch: &Batch, size: u32, normalize: Normalize) -> Result<Vec<RgbImage>> {
    let image = |numbers: &[f32]| {
        let pixels = numbers.chunks_exact(CHANNELS);
        let bytes = pixels.flat_map(|pixel| [0, 1, 2].map(|colour| byte(normalize.signed(colour, pixel[colour]))));
        RgbImage::from_raw(size, size, bytes.collect()).ok_or_else(|| anyhow!("an image has another size than {size}"))
    };
    batch.images.chunks_exact(batch.images.len() / batch.labels.len()).map(image).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::data::drawn::{Drawn, Subject};

    fn training(options: &[&str]) -> Training {
        let typed = ["convscope", "train", "--size", "24", "--channels", "4,4"].iter().chain(options);
        let Command::Train(arguments) = Cli::try_parse_from(typed).unwrap().command else {
            unreachable!("it is train")
        };
        arguments.check().unwrap();
        arguments.training(2)
    }

    /// Column 0 shows the images as they are, whatever the normalisation; the others change only where that is asked for.
    #[test]
    fn a_sheet_shows_what_the_network_gets() {
        let images = Drawn::new(Subject::Pets, 0, 0, 3, 24, 1 << 20);
        let order = [2, 0];
        let cell = |sheet: &RgbImage, row: u32, column: u32| -> Vec<u8> {
            let (side, factor) = (24 * 5, 5);
            let at =
                |x: u32, y: u32| sheet.get_pixel(column * (side + 4) + x * factor, row * (side + 4) + y * factor).0;
            (0..24).flat_map(|y| (0..24).flat_map(move |x| at(x, y))).collect()
        };
        for normalize in ["half", "imagenet", "0.3,0.7"] {
            let still = sheet(&images, &order, &training(&["--augment", "off", "--normalize", normalize])).unwrap();
            let changing = ["--normalize", normalize, "--rotate", "20", "--crop-scale", "0.3,0.6"];
            let changed = sheet(&images, &order, &training(&changing)).unwrap();
            for (row, &index) in (0..).zip(&order) {
                let own = images.pixels(index).unwrap();
                assert_eq!(cell(&changed, row, 0), *own, "{normalize}");
                for column in 1..=CHANGED as u32 {
                    assert_eq!(cell(&still, row, column), *own, "{normalize}, column {column}");
                    assert_ne!(cell(&changed, row, column), *own, "{normalize}, column {column}");
                }
                assert_ne!(cell(&changed, row, 1), cell(&changed, row, 2));
            }
        }
    }
}
