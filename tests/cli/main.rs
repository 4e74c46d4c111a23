//! The program as a user runs it: a tiny training run and what it leaves on disk, and its errors.

#[path = "../common/mod.rs"]
mod common;
mod devices;
mod failing;
mod looking;
mod names;
#[path = "../common/program.rs"]
mod program;
mod training;
mod using;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use program::program;
use serde_json::Value;

fn main() {
    let needing_gpu =
        [training::tests(), looking::tests(), using::tests(), devices::tests(), names::tests(), failing::tests()];
    let others = [using::without_device(), devices::without_device(), failing::without_device()];
    common::run(needing_gpu.into_iter().flatten().collect(), others.into_iter().flatten().collect()).exit();
}

fn convscope(folder: &Path, arguments: &[&str]) -> Output {
    program(folder, arguments).output().unwrap()
}

/// Runs and expects success; returns what was printed.
fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = convscope(folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs and expects one clear error; returns it.
fn fail(folder: &Path, arguments: &[&str]) -> String {
    let output = convscope(folder, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    assert_eq!(stderr.matches("error: ").count(), 1, "{arguments:?}: {stderr}");
    stderr
}

/// Options that make a run of a second or two.
const TINY: [&str; 12] = [
    "--size",
    "40",
    "--batch",
    "8",
    "--channels",
    "4,6",
    "--train-images",
    "20",
    "--val-images",
    "10",
    "--epochs",
    "2",
];

fn train_tiny(folder: &Path, more: &[&str]) -> String {
    succeed(folder, &[&["train"], &TINY[..], more].concat())
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The image is there and shows many colours.
fn assert_not_blank(path: &Path) {
    let image = image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).to_rgb8();
    let colours: HashSet<_> = image.pixels().map(|pixel| pixel.0).filter(|[r, g, b]| r != g || g != b).collect();
    assert!(colours.len() >= 8, "{} shows {} colours", path.display(), colours.len());
}

/// Reads a page, which holds its images itself.
fn page(path: &Path) -> String {
    let page = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{}", path.display());
    assert!(page.contains("data:image/png;base64,"), "{} shows no map", path.display());
    let loads = page.matches("src=\"").count();
    assert_eq!(page.matches("src=\"data:image/").count(), loads, "{} loads something", path.display());
    page
}

/// Three classes of photos that differ in colour.
fn make_photos(root: &Path) {
    for (class, colour) in [("red", [200, 40, 40]), ("green", [40, 200, 40]), ("blue", [40, 40, 200])] {
        fs::create_dir_all(root.join(class)).unwrap();
        for number in 0..10u8 {
            let photo = image::RgbImage::from_fn(50, 40, |x, y| {
                let shade = (x * 3 + y * 2 + u32::from(number) * 7) as u8 % 50;
                image::Rgb(colour.map(|channel| channel + shade))
            });
            photo.save(root.join(class).join(format!("{number}.png"))).unwrap();
        }
    }
}

/// Files below a folder that are on their way to their place, or were left there.
fn unfinished(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(unfinished(&entry.path()));
        } else if name.ends_with(".unfinished") {
            found.push(name);
        }
    }
    found
}
