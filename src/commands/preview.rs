//! `train --preview`: what training images look like before any training.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::{ImageFormat, RgbImage};

use crate::cli::TrainArgs;
use crate::commands::images::{Data, Source};
use crate::data::augment::EpochChanges;
use crate::data::batch::Batch;
use crate::data::pixels::{CHANNELS, byte};
use crate::data::{Images, spread};
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

/// `seed` is what the changes are drawn by.
pub(super) fn preview(arguments: &TrainArgs, seed: u64, file: &Path) -> Result<()> {
    let shown = file.display();
    ensure!(!file.exists(), "--preview {shown}: exists already; name another file");
    ensure!(
        file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")),
        "--preview {shown}: name a file that ends in .png"
    );
    let apart = super::check_apart(file, [&arguments.data, &arguments.val].into_iter().flatten());
    ensure!(
        apart.is_ok(),
        "--preview {shown}: lies in the folder of the images, which is only read; name another place"
    );
    disk::check_writable(file).with_context(|| format!("--preview {shown}: name a file in a folder that is there"))?;
    // What becomes of an image depends on its number among all that are learned from.
    let source = Source::of(arguments);
    let Data { classes, train: images, rejected, .. } = source.divide(source.scan()?)?;
    let order = rows(images.as_ref());
    let training = Training { seed, ..arguments.training(classes.len()) };
    let sheet = sheet(images.as_ref(), &order, &training)?;
    let mut bytes = Cursor::new(Vec::new());
    sheet.write_to(&mut bytes, ImageFormat::Png)?;
    disk::write(file, bytes.get_ref())?;

    say(format!("wrote {shown}: a row for each image, first as it is prepared by {},", training.preparation));
    say(format!("then as {CHANGED} epochs get training images, {}", training.augmentation().told()));
    if let Some(first) = rejected.first() {
        say(format!("files that are not used: {}, such as {}, which {}", rejected.len(), first.file, first.reason));
    }
    for (row, &index) in (1..).zip(&order) {
        let class = &classes[images.label(index) as usize];
        say(format!("  row {row}  {class}: {}", images.name(index)));
    }
    Ok(())
}

/// The numbers of the images that are shown: spread evenly over all, class by class.
fn rows(images: &dyn Images) -> Vec<usize> {
    let mut by_class: Vec<usize> = (0..images.len()).collect();
    by_class.sort_by_key(|&index| images.label(index));
    spread(by_class.len(), IMAGES).into_iter().map(|place| by_class[place]).collect()
}

/// A row for each of these images: as it is prepared, then as epochs get it, each on the way to the network's numbers and back.
fn sheet(images: &dyn Images, order: &[usize], training: &Training) -> Result<RgbImage> {
    let normalize = training.preparation.normalize;
    let augment = training.augmentation();
    let changes = (1..=CHANGED).map(|epoch| Some(EpochChanges { augment, seed: training.seed, epoch }));
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

    fn arguments(options: &[&str]) -> Box<TrainArgs> {
        let typed = ["convscope", "train", "--size", "24", "--channels", "4,4"].iter().chain(options);
        let Command::Train(arguments) = Cli::try_parse_from(typed).unwrap().command else {
            unreachable!("it is train")
        };
        arguments.check().unwrap();
        arguments
    }

    fn training(options: &[&str]) -> Training {
        arguments(options).training(2)
    }

    /// The pixels of a sheet's cell.
    fn cell(sheet: &RgbImage, row: u32, column: u32) -> Vec<u8> {
        let (side, factor) = (24 * 5, 5);
        let at = |x: u32, y: u32| sheet.get_pixel(column * (side + 4) + x * factor, row * (side + 4) + y * factor).0;
        (0..24).flat_map(|y| (0..24).flat_map(move |x| at(x, y))).collect()
    }

    /// Each row shows what training makes of that photo, in each epoch, and a broken one has no row.
    #[test]
    fn rows_are_what_training_gets() {
        let folder = tempfile::tempdir().unwrap();
        for (class, shade) in [("cat", 0), ("dog", 120)] {
            std::fs::create_dir(folder.path().join(class)).unwrap();
            for number in 0..9u8 {
                let photo =
                    RgbImage::from_fn(40, 30, |x, y| image::Rgb([6 * x as u8, 8 * y as u8, shade + 10 * number]));
                photo.save(folder.path().join(class).join(format!("{number}.png"))).unwrap();
            }
            std::fs::write(folder.path().join(class).join("4.png"), "no image").unwrap();
        }
        let data = folder.path().to_str().unwrap();
        let options = [
            "--data",
            data,
            "--rotate",
            "40",
            "--crop-scale",
            "0.3,0.6",
            "--color-jitter",
            "0.3,0.3,0.3",
            "--seed",
            "3",
        ];
        let arguments = arguments(&options);
        let training = arguments.training(2);
        let file = folder.path().with_extension("PNG");
        preview(&arguments, 3, &file).unwrap();
        let found = image::open(&file).unwrap().into_rgb8();
        std::fs::remove_file(&file).unwrap();

        // As `train` has them.
        let source = Source::of(&arguments);
        let images = source.divide(source.scan().unwrap()).unwrap().train;
        let order = rows(images.as_ref());
        assert_eq!(order.len(), IMAGES);
        assert!(order.iter().any(|&index| index >= IMAGES), "not the first alone: {order:?}");
        for (row, &index) in (0..).zip(&order) {
            for epoch in 1..=CHANGED {
                let changes = EpochChanges { augment: training.augmentation(), seed: 3, epoch };
                let batch = Batch::new(images.as_ref(), &[index], 1, Some(changes), Normalize::HALF, Vec::new());
                let expected = seen(&batch, 24, Normalize::HALF).unwrap().remove(0);
                assert_eq!(
                    cell(&found, row, epoch as u32),
                    expected.into_raw(),
                    "{}, epoch {epoch}",
                    images.name(index)
                );
            }
        }
    }

    /// Column 0 shows the images as they are, whatever the normalisation; the others change only where that is asked for.
    #[test]
    fn a_sheet_shows_what_the_network_gets() {
        let images = Drawn::new(Subject::Pets, 0, 0, 3, 24, 1 << 20);
        let order = [2, 0];
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
