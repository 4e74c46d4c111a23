mod again;
mod apart;
mod judged;
mod kept;

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use clap::Parser;
use image::{Rgb, RgbImage};

use super::*;
use crate::cli::{Cli, Command, TrainArgs};
use crate::data::folder::{self, Choices};
use crate::train::Config;
use crate::train::photo_list;
use crate::train::run_dir::RunDir;

const CACHE: usize = 1;

/// Makes the folder of a run as training does, without training.
fn make_run(run: &Path, options: &[&str]) -> Data {
    try_to_make_run(run, options).unwrap()
}

fn arguments(options: &[&str]) -> TrainArgs {
    let cli = Cli::try_parse_from(["convscope", "train", "--size", "24", "--channels", "4,6"].iter().chain(options));
    let Command::Train(arguments) = cli.unwrap().command else { unreachable!("the command is train") };
    *arguments
}

fn try_to_make_run(run: &Path, options: &[&str]) -> Result<Data> {
    let arguments = arguments(options);
    let source = Source::of(&arguments);
    let found = source.scan()?;
    let split = found.as_ref().is_some_and(|found| found.val.is_none());
    let data = source.divide(found)?;
    let config = arguments.config(&data.classes, [data.train.len(), data.val.len()], split);
    let id = Some("0123456789abcdef0123456789abcdef".into());
    let run = RunDir::create(Some(run)).unwrap();
    run.write_json("config.json", &Config { id, photo_list: data.photo_list(), ..config }).unwrap();
    if arguments.data.is_some() {
        photo_list::write(&run, &data.list).unwrap();
    }
    Ok(data)
}

/// Makes a run on photos one of an older version, which listed its validation photos alone, with the SHA-256 of their files or by their
/// names.
fn make_older(run: &Path, with_digests: bool) {
    let listed = opened(run).listed_photos().unwrap();
    let val = listed.iter().filter(|photo| photo.used == Use::Val);
    let line = |photo: &Photo| match with_digests {
        true => format!("{},{}\n", photo.file, photo.sha256),
        false => format!("{}\n", photo.file),
    };
    let header = if with_digests { "file,sha256\n" } else { "file\n" };
    let dir = RunDir::at(run.to_path_buf());
    // With the mark that some editors put in front.
    let list = format!("\u{feff}{header}{}", val.map(line).collect::<String>());
    dir.write("validation.csv", list.as_bytes()).unwrap();
    let config = opened(run).config().unwrap().clone();
    dir.write_json("config.json", &Config { id: None, photo_list: None, ..config }).unwrap();
    fs::remove_file(dir.file(photo_list::PHOTOS)).unwrap();
}

/// Two classes of photos of these numbers each, all different.
fn make_photos(root: &Path, numbers: Range<u8>) {
    for (class, shade) in [("cat", 0), ("dog", 100)] {
        fs::create_dir_all(root.join(class)).unwrap();
        for number in numbers.clone() {
            let photo = RgbImage::from_fn(30, 40, |x, y| Rgb([x as u8, y as u8, shade + number]));
            photo.save(root.join(class).join(format!("{number}.png"))).unwrap();
        }
    }
}

/// Names, labels and pixels of all images.
fn content(images: &dyn Images) -> Vec<(String, u32, Vec<u8>)> {
    let image =
        |index| (images.name(index), images.label(index), images.pixels(index).expect("is readable").into_owned());
    (0..images.len()).map(image).collect()
}

fn assert_rebuilt(run: &Path, data: Option<&Path>, made: &Data) {
    let run = &opened(run);
    let again = of_run(run, data, CACHE).unwrap();
    assert_eq!(again.classes, made.classes);
    assert_eq!(content(again.train.as_ref()), content(made.train.as_ref()));
    assert_eq!(content(again.val.as_ref()), content(made.val.as_ref()));
    assert_eq!(content(validation_of(run, data, CACHE).unwrap().as_ref()), content(made.val.as_ref()));
}

fn opened(run: &Path) -> Run {
    Run::open(run).unwrap()
}

fn error(run: &Path, data: Option<&Path>) -> String {
    let opened = Run::open(run).and_then(|run| validation_of(&run, data, CACHE));
    format!("{:#}", opened.err().expect("there is an error"))
}

fn names(images: &dyn Images) -> BTreeSet<String> {
    (0..images.len()).map(|index| images.name(index)).collect()
}

/// What is told of how the run's folder has changed.
fn notes(run: &Path) -> Vec<String> {
    let run = opened(run);
    let past = Past::read(&run, DATA, None, CACHE).unwrap();
    past.photos(past.scan().unwrap().unwrap()).unwrap().1
}

/// The same where it is one thing at most.
fn change(run: &Path) -> Option<String> {
    let mut notes = notes(run);
    assert!(notes.len() < 2, "{notes:?}");
    notes.pop()
}
