//! The data loader from a folder of files to batches. Every file is made here, in a temporary
//! folder, but for images of kinds that the encoders at hand cannot write.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use convscope::data::augment::{AugmentOptions, EpochChanges};
use convscope::data::batch::{Batch, shuffled};
use convscope::data::fit::Fit;
use convscope::data::folder::{self, Choices, Folder, LabelledFile, Why};
use convscope::data::loader::with_batches;
use convscope::data::names::path_text;
use convscope::data::photos::Photos;
use convscope::data::{Images, Rejected, pixels, prepare, write_rejected};
use convscope::nn::Normalize;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba};
use tempfile::{TempDir, tempdir};

/// 32 x 32 pixels, red on the left, blue on the right.
const CMYK_PROGRESSIVE_JPEG: &[u8] = include_bytes!("fixtures/cmyk.jpg");
/// The same with a palette, and with the lower left quarter transparent, dark grey underneath.
const PALETTE_PNG: &[u8] = include_bytes!("fixtures/palette.png");

const RED: [u8; 3] = [200, 40, 60];
const BLUE: [u8; 3] = [30, 60, 180];
const WHITE: [u8; 3] = [255; 3];

// Making files.

/// An image that differs from one `number` to the next.
fn image(width: u32, height: u32, number: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([x * 9 + number * 50, y * 7 + x * y, x * y * 3 + number * 20].map(|v| v as u8))
    })
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 95)).unwrap();
    bytes
}

/// A JPEG with an EXIF segment that holds an orientation and, where a thumbnail would be,
/// `thumbnail`.
fn jpeg_with_exif(image: &RgbImage, orientation: u8, thumbnail: &[u8]) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    exif.extend(thumbnail);
    let length = u16::try_from(exif.len() + 2).unwrap();
    let plain = jpeg(image);
    [&plain[..2], &[0xFF, 0xE1], &length.to_be_bytes(), &exif, &plain[2..]].concat()
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A folder with a small image at each path.
fn folder_with<'a>(paths: impl IntoIterator<Item = &'a str>) -> TempDir {
    let root = tempdir().unwrap();
    for (number, path) in (0..).zip(paths) {
        write(root.path(), path, &png(image(6, 5, number)));
    }
    root
}

// Finding the images.

fn scan(root: &TempDir) -> Folder {
    folder::scan(root.path(), &Choices::default()).unwrap()
}

fn error(root: &Path) -> String {
    folder::scan(root, &Choices::default()).unwrap_err().to_string()
}

/// Paths and classes, as `path=class`.
fn list(files: &[LabelledFile]) -> Vec<String> {
    let show = |file: &LabelledFile| format!("{}={}", file.path.display(), file.class);
    files.iter().map(show).collect()
}

fn reasons(rejected: &[Rejected]) -> Vec<String> {
    rejected.iter().map(|r| format!("{} {}", r.file, r.reason)).collect()
}

#[test]
fn classes_in_the_file_names() {
    for below in ["", "train/"] {
        let names = ["dog.0.jpg", "cat.7.JPG", "cat.10.png", "dog.12.jpeg"];
        let root = folder_with(names.map(|name| format!("{below}{name}")).iter().map(String::as_str));
        let found = scan(&root);
        assert_eq!(found.classes, ["cat", "dog"]);
        assert_eq!(found.val, None);
        let all: BTreeSet<_> = list(&found.train).into_iter().collect();
        let expected = ["cat.10.png=0", "cat.7.JPG=0", "dog.0.jpg=1", "dog.12.jpeg=1"];
        assert_eq!(all, expected.map(|name| format!("{below}{name}")).into());
    }
}

#[test]
fn one_folder_a_class_with_folders_below() {
    let root = folder_with(["owl/b/2.jpg", "owl/a.jpg", "Cat/z.png", "Cat/c.d/1.jpg", "fox/1.jpg", "fox/2.jpg"]);
    let found = scan(&root);
    assert_eq!(found.classes, ["Cat", "fox", "owl"]);
    let expected = ["Cat/c.d/1.jpg=0", "Cat/z.png=0", "fox/1.jpg=1", "fox/2.jpg=1", "owl/a.jpg=2", "owl/b/2.jpg=2"];
    assert_eq!(list(&found.train), expected);
}

#[test]
fn a_validation_folder_is_used_and_a_test_folder_never() {
    for (train, val) in [("train", "val"), ("Train", "VALID"), ("TRAIN", "Validation"), ("training_set", "my-dev")] {
        let paths = ["{t}/cat/2.jpg", "{t}/cat/1.jpg", "{t}/dog/1.jpg", "{v}/Cat/9.jpg", "{v}/dog/9.jpg", "test/1.jpg"];
        let paths = paths.map(|path| path.replace("{t}", train).replace("{v}", val));
        let found = scan(&folder_with(paths.iter().map(String::as_str)));
        assert_eq!(found.classes, ["cat", "dog"]);
        assert_eq!(list(&found.train), ["cat/1.jpg=0", "cat/2.jpg=0", "dog/1.jpg=1"].map(|f| format!("{train}/{f}")));
        assert_eq!(list(&found.val.unwrap()), ["Cat/9.jpg=0", "dog/9.jpg=1"].map(|f| format!("{val}/{f}")));
        assert_eq!(found.rejected, []);
        let unread: Vec<_> =
            found.unread.iter().map(|unread| (unread.folder.to_str(), unread.images, unread.why)).collect();
        assert_eq!(unread, [(Some("test"), 1, Why::Test)]);
    }
}

/// A layout: images, options, and what is to become of them, as [`understood`] words it.
type LayoutCase = (&'static str, &'static [&'static str], &'static str, &'static str);

/// What a folder's images were taken for: the classes with their training and validation images, then the folders that are
/// not read and the number of images that were rejected; or the beginning of the advice in an error.
fn understood(root: &Path, choices: &Choices) -> String {
    let found = match folder::scan(root, choices) {
        Ok(found) => found,
        Err(error) => return format!("error: {error}").replace(root.to_str().unwrap(), "ROOT"),
    };
    let count = |files: &[LabelledFile], class| files.iter().filter(|file| file.class == class).count();
    let mut words = Vec::new();
    for (class, name) in (0..).zip(&found.classes) {
        words.push(format!("{name} {}", count(&found.train, class)));
        words.extend(found.val.as_ref().map(|val| format!("+ {}", count(val, class))));
    }
    words.extend(found.unread.iter().map(|unread| format!("[{} {}]", unread.folder.display(), unread.images)));
    words.extend((!found.rejected.is_empty()).then(|| format!("{} rejected", found.rejected.len())));
    words.extend(found.note.map(|_| "note".to_string()));
    words.join(" ")
}

/// Makes the options that are typed: `--val DIR --class-level N`, with folders below `root`.
fn typed_choices(root: &Path, options: &str) -> Choices {
    let mut choices = Choices::default();
    let mut words = options.split_whitespace();
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        match option {
            "--val" => choices.val = Some(root.join(value)),
            "--class-level" => choices.class_level = Some(value.parse().unwrap()),
            _ => panic!("{option}"),
        }
    }
    choices
}

#[test]
fn folders_are_read_as_people_have_them() {
    const SCENES: &[&str] = &[
        "seg_train/seg_train/sea/1.jpg",
        "seg_train/seg_train/sea/2.jpg",
        "seg_train/seg_train/street/1.jpg",
        "seg_test/seg_test/sea/1.jpg",
        "seg_test/seg_test/street/1.jpg",
        "seg_pred/seg_pred/1.jpg",
        "seg_pred/seg_pred/2.jpg",
    ];
    const YEARS: &[&str] = &["cat/2019/1.jpg", "cat/2020/1.jpg", "dog/2019/1.jpg", "dog/2020/2.jpg"];
    const SETS: &[&str] =
        &["training_set/cats/1.jpg", "training_set/dogs/1.jpg", "test_set/cats/2.jpg", "test_set/dogs/2.jpg"];
    const TRAINS: &[&str] = &["car/1.jpg", "plane/1.jpg", "train/steam/1.jpg", "train/electric/1.jpg"];
    const VAL_BESIDE: &[&str] = &["cat/1.jpg", "dog/1.jpg", "val/cat/2.jpg", "val/dog/2.jpg"];
    const BOTH: &[&str] = &["cat.0.jpg", "dog.0.jpg", "more/cat/1.jpg", "other/dog/1.jpg"];
    const KAGGLE: &[&str] = &["train/cat.0.jpg", "train/dog.0.jpg", "test1/1.jpg", "test1/2.jpg"];
    let cases: &[LayoutCase] = &[
        // torchvision's ImageFolder.
        ("image folder", &["cat/1.jpg", "cat/b/c/2.jpg", "dog/1.jpg"], "", "cat 2 dog 1"),
        ("train and val", &["train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/b/2.jpg"], "", "a 1 + 1 b 1 + 1"),
        ("train and dev", &["train/a/1.jpg", "train/b/1.jpg", "dev/a/2.jpg", "dev/b/2.jpg"], "", "a 1 + 1 b 1 + 1"),
        ("train alone", &["train/a/1.jpg", "train/b/1.jpg"], "", "a 1 b 1"),
        (
            "COCO's names",
            &["train2017/a/1.jpg", "train2017/b/1.jpg", "val2017/a/2.jpg", "val2017/b/2.jpg"],
            "",
            "a 1 + 1 b 1 + 1",
        ),
        // Kaggle: dogs vs. cats, as downloaded and unpacked.
        ("dogs vs cats", KAGGLE, "", "cat 1 dog 1 [test1 2]"),
        ("flat", &["cat.0.jpg", "dog.0.jpg"], "", "cat 1 dog 1"),
        ("flat, with a test set", &["cat.0.jpg", "dog.0.jpg", "test/1.jpg"], "", "cat 1 dog 1 [test 1]"),
        (
            "nested archives",
            &["dogs-vs-cats/train/train/cat.0.jpg", "dogs-vs-cats/train/train/dog.0.jpg"],
            "",
            "cat 1 dog 1",
        ),
        ("PetImages", &["PetImages/Cat/1.jpg", "PetImages/Dog/1.jpg"], "", "Cat 1 Dog 1"),
        (
            "PetImages and papers",
            &["PetImages/Cat/1.jpg", "PetImages/Dog/1.jpg", "cover.jpg"],
            "",
            "Cat 1 Dog 1 1 rejected",
        ),
        ("cats and dogs", &["cats/1.jpg", "dogs/1.jpg"], "", "cats 1 dogs 1"),
        // Kaggle: Intel scenes.
        ("scenes", SCENES, "", "sea 2 street 1 [seg_pred 2] [seg_test 2]"),
        ("scenes, judged by the test set", SCENES, "--val seg_test", "sea 2 + 1 street 1 + 1 [seg_pred 2]"),
        ("the same, named in full", SCENES, "--val seg_test/seg_test", "sea 2 + 1 street 1 + 1 [seg_pred 2]"),
        ("training_set and test_set", SETS, "", "cats 1 dogs 1 [test_set 2]"),
        ("the same, judged", SETS, "--val test_set", "cats 1 + 1 dogs 1 + 1"),
        ("everything literally", SETS, "--class-level 2", "cats 2 dogs 2"),
        ("everything most literally", SETS, "--class-level 1", "test_set 2 training_set 2"),
        ("deep", &["a/b/c/cat/1.jpg", "a/b/c/dog/1.jpg"], "", "cat 1 dog 1"),
        // Folders within classes.
        ("years within classes", YEARS, "", "cat 2 dog 2 note"),
        ("years within classes, literally", YEARS, "--class-level 1", "cat 2 dog 2"),
        ("classes within years", YEARS, "--class-level 2", "2019 2 2020 2"),
        ("a year is missing", &["cat/a/1.jpg", "cat/b/1.jpg", "dog/a/1.jpg"], "", "cat 2 dog 1 note"),
        ("a class of a year is missing", &["1/cat/1.jpg", "1/dog/1.jpg", "2/cat/1.jpg"], "", "1 2 2 1 note"),
        ("one folder each", &["cat/a/1.jpg", "dog/a/1.jpg"], "", "cat 1 dog 1"),
        ("breeds", &["cat/a/1.jpg", "cat/b/1.jpg", "dog/c/1.jpg", "dog/d/1.jpg"], "", "cat 2 dog 2"),
        ("breeds and others", &["cat/a/1.jpg", "cat/b/1.jpg", "dog/b/1.jpg", "dog/c/1.jpg"], "", "cat 2 dog 2"),
        ("images beside folders", &["cat/a/1.jpg", "cat/1.jpg", "dog/a/1.jpg", "dog/2.jpg"], "", "cat 2 dog 2"),
        ("Cat and cat", &["Cat/1.jpg", "cat/2.jpg", "dog/1.jpg"], "", "Cat 2 dog 1"),
        // A class named like a part of a split.
        (
            "a class of trains",
            TRAINS,
            "",
            "error: --data ROOT: train/ is named like training images, but car/ beside it",
        ),
        ("a class of trains, settled", TRAINS, "--class-level 1", "car 1 plane 1 train 2"),
        (
            "a class of trains with dev",
            &["car/1.jpg", "train/a/1.jpg", "train/b/1.jpg", "dev/a/2.jpg", "dev/b/3.jpg"],
            "",
            "a 1 + 1 b 1 + 1 [car 1]",
        ),
        ("test tubes", &["test tube/1.jpg", "flask/1.jpg"], "", "flask 1 test tube 1"),
        ("trains by name", &["trains/1.jpg", "cars/1.jpg"], "", "cars 1 trains 1"),
        ("classes beside val", VAL_BESIDE, "", "error: --data ROOT: val/ has no train/ beside it, but other images"),
        ("classes beside val, settled", VAL_BESIDE, "--val val", "cat 1 + 1 dog 1 + 1"),
        ("val as a class", VAL_BESIDE, "--class-level 1", "cat 1 dog 1 val 2"),
        ("a test set beside classes", &["cat/1.jpg", "dog/1.jpg", "test/1.jpg"], "", "cat 1 dog 1 [test 1]"),
        ("a test set as a class", &["cat/1.jpg", "dog/1.jpg", "test/1.jpg"], "--class-level 1", "cat 1 dog 1 test 1"),
        (
            "val alone",
            &["val/a/1.jpg", "val/b/1.jpg"],
            "",
            "error: --data ROOT: there is no train/ beside val/; to train on val/",
        ),
        (
            "test and pred alone",
            &["seg_test/a/1.jpg", "seg_pred/1.jpg"],
            "",
            "error: --data ROOT: there is no train/ beside seg_pred/, seg_test/;",
        ),
        (
            "two for validation",
            &["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"],
            "",
            "error: --data ROOT: val/ and valid/ seem to",
        ),
        (
            "two to train on",
            &["train/a/1.jpg", "train/b/1.jpg", "train2/a/1.jpg"],
            "",
            "error: --data ROOT: train/ and train2/ seem to",
        ),
        (
            "another val named",
            &["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "test/a/2.jpg", "test/b/1.jpg"],
            "--val test",
            "a 1 + 1 b 1 + 1 [val 1]",
        ),
        // Files that name classes beside folders.
        (
            "files and folders",
            BOTH,
            "",
            "error: --data ROOT: both the folder more and the file cat.0.jpg could stand for",
        ),
        ("files, settled", BOTH, "--class-level 0", "cat 1 dog 1 [more 1] [other 1]"),
        ("folders, settled", BOTH, "--class-level 1", "more 1 other 1 2 rejected"),
        ("folders within, settled", BOTH, "--class-level 2", "cat 1 dog 1 2 rejected"),
        (
            "files beside train and val",
            &["train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/b/2.jpg", "x.1.jpg"],
            "",
            "a 1 + 1 b 1 + 1 1 rejected",
        ),
        ("scenes without classes", SCENES, "--class-level 4", "error: --data ROOT: no usable image was found"),
        // What cannot be read is no folder without images.
        (
            "a class of webp",
            &["cat/1.jpg", "dog/1.jpg", "owl/1.webp"],
            "",
            "error: --data ROOT: the class 'owl' has no usable image",
        ),
        ("labels", &["cat/1.jpg", "dog/1.jpg", "labels/1.txt"], "", "cat 1 dog 1 [labels 0]"),
    ];
    for &(name, paths, options, expected) in cases {
        let root = folder_with(paths.iter().copied());
        let found = understood(root.path(), &typed_choices(root.path(), options));
        match expected.starts_with("error") {
            true => assert!(found.starts_with(expected), "{name}: {found}"),
            false => assert_eq!(found, expected, "{name}"),
        }
    }
}

/// What an error advises to type works: every pair of `--data` and other options in it is tried.
#[test]
fn the_advice_of_errors_can_be_followed() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&["car/1.jpg", "plane/1.jpg", "train/b/1.jpg", "train/a/1.jpg"], &["a 1 b 1", "car 1 plane 1 train 2"]),
        (&["cat/1.jpg", "dog/1.jpg", "val/cat/2.jpg", "val/dog/2.jpg"], &["cat 1 + 1 dog 1 + 1", "cat 1 dog 1 val 2"]),
        (&["my pets/val/a/1.jpg", "my pets/val/b/1.jpg", "my pets/test/1.jpg"], &["test 1 val 2"]),
        (&["val/a/1.jpg", "val/b/1.jpg"], &["a 1 b 1"]),
        (&["cat.0.jpg", "dog.0.jpg", "x/1.jpg", "y/1.jpg"], &["x 1 y 1 2 rejected", "cat 1 dog 1 [x 1] [y 1]"]),
        (&["train/a/1.jpg", "train/b/1.jpg", "training/a/2.jpg"], &["a 1 b 1", "train 2 training 1"]),
        (
            &["train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/b/2.jpg", "valid/a/2.jpg"],
            &["a 1 + 1 b 1 + 1", "train 2 val 2 valid 1"],
        ),
    ];
    for (paths, expected) in cases {
        let root = folder_with(paths.iter().copied());
        let message = error(root.path());
        let advised: Vec<String> =
            message.split("use --data ").skip(1).map(|advice| advised(root.path(), advice)).collect();
        for expected in expected {
            assert!(
                advised.iter().any(|found| found == expected),
                "{expected:?} is not among {advised:?} of {message}"
            );
        }
    }
}

/// What comes of the options that a text begins with, after `--data `.
fn advised(root: &Path, text: &str) -> String {
    let typed = text.split([';', ',']).next().unwrap();
    // The one name with a blank stands in quotes.
    let typed = typed.replace("my pets", "my%pets").replace('\'', "");
    let mut words = typed.split_whitespace().map(|word| word.replace('%', " "));
    let data = PathBuf::from(words.next().unwrap());
    let rest: Vec<String> = words.collect();
    assert!(data.starts_with(root), "{typed}");
    let mut choices = Choices::default();
    for pair in rest.chunks(2) {
        match pair {
            [option, value] if option == "--val" => choices.val = Some(value.into()),
            [option, value] if option == "--class-level" => choices.class_level = Some(value.parse().unwrap()),
            _ => break,
        }
    }
    understood(&data, &choices)
}

#[test]
fn what_was_taken_for_what_is_told() {
    let root = folder_with([
        "seg_train/seg_train/sea/1.jpg",
        "seg_train/seg_train/sea/2.jpg",
        "seg_train/seg_train/street/1.jpg",
        "seg_test/seg_test/sea/1.jpg",
        "seg_pred/seg_pred/1.jpg",
    ]);
    let expected = [
        "training    seg_train/seg_train/, 3 images",
        "validation  set aside from these",
        "classes     sea 2, street 1",
        "not read    seg_pred/, 1 image (named like images without classes)",
        "not read    seg_test/, 1 image (named like a test set, which is never used; --val DIR takes it for validation)",
    ];
    assert_eq!(scan(&root).told(), expected);
    let root = folder_with(["2019/cat/1.jpg", "2019/dog/1.jpg", "2020/cat/1.jpg", "2020/dog/1.jpg"]);
    let told = scan(&root).told();
    let note = format!("(cat, dog); if these are the classes, use --data {} --class-level 2", root.path().display());
    assert_eq!(told[0], "training    the folder itself, 4 images");
    assert!(told.len() == 4 && told[3].ends_with(&note), "{told:?}");
    let root = folder_with(["cat/2019/1.jpg", "cat/2020/1.jpg", "dog/2019/1.jpg", "owl/2020/1.jpg"]);
    let note = scan(&root).note.unwrap();
    let gaps =
        "the same folders (2019, 2020), but dog/ has no 2020/, owl/ has no 2019/; if these are the classes, use --data";
    assert!(note.contains(gaps), "{note}");
    let root = folder_with(["train/a/1.jpg", "train/b/1.jpg", "dev/a/1.jpg", "dev/b/1.jpg"]);
    assert_eq!(scan(&root).told()[1..], ["validation  dev/, 2 images", "classes     a 1 + 1, b 1 + 1"]);
    let many: Vec<String> = (0..25).map(|class| format!("class {class:02}/1.jpg")).collect();
    let told = scan(&folder_with(many.iter().map(String::as_str))).told();
    assert!(told[2].ends_with("class 19 1, and 5 more"), "{told:?}");
}

#[test]
fn a_validation_folder_can_lie_elsewhere_and_must_be_one() {
    let root = folder_with(["photos/a/1.jpg", "photos/b/1.jpg", "rest/a/1.jpg", "rest/b/2.jpg", "file"]);
    let scan = |val: &str| {
        let val = Some(root.path().join(val));
        folder::scan(&root.path().join("photos"), &Choices { val, class_level: None })
    };
    let found = scan("rest").unwrap();
    let val: Vec<_> = found.val.unwrap().into_iter().map(|file| file.path).collect();
    assert_eq!(val, ["rest/a/1.jpg", "rest/b/2.jpg"].map(|path| root.path().join(path)));
    let fails = |val: &str, message: &str| {
        let error = scan(val).unwrap_err().to_string();
        assert!(error.starts_with("--val ") && error.contains(message), "{error}");
    };
    fails("nowhere", "there is no such folder");
    fails("file", "is a file");
    fails("photos", "holds the --data folder");
    fails("", "holds the --data folder");
}

/// Wherever the named validation folder lies, what is wrong with it is told of it alone.
#[test]
fn an_error_in_the_validation_folder_names_it() {
    let photos = ["photos/train/cat/1.jpg", "photos/train/dog/1.jpg", "photos/train/notes.txt"];
    let val = ["photos/val/cat/1.jpg", "photos/val/dog/1.jpg", "photos/judge/x/cat/1.jpg", "other/cat/y/1.jpg"];
    let root = folder_with(photos.into_iter().chain(val));
    for (val, level, problem) in [
        (
            "photos/val/cat",
            None,
            "no usable image was found: its images are in no class; give the folder that holds a folder for",
        ),
        ("photos/judge/x", None, "only one class was found, 'cat'; give the folder"),
        ("other", None, "/cat: only one class was found, 'y'; give the folder"),
        ("photos/val/cat", Some(0), "no usable image was found: its images are in no class; give the folder"),
    ] {
        let choices = Choices { val: Some(root.path().join(val)), class_level: level };
        let data = if level == Some(0) { "flat" } else { "photos" };
        write(root.path(), "flat/cat.1.jpg", &png(image(8, 8, 1)));
        write(root.path(), "flat/dog.1.jpg", &png(image(8, 8, 2)));
        let error = folder::scan(&root.path().join(data), &choices).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--val {}", root.path().join(val).display())), "{error}");
        assert!(error.contains(problem) && !error.contains("not read") && !error.contains("notes.txt"), "{error}");
    }
    let choices = Choices { val: Some(root.path().join("photos/val")), class_level: None };
    fs::remove_dir_all(root.path().join("photos/judge")).unwrap();
    fs::remove_dir_all(root.path().join("photos/val/dog")).unwrap();
    write(root.path(), "photos/val/owl/1.jpg", &png(image(8, 8, 3)));
    let error = folder::scan(&root.path().join("photos"), &choices).unwrap_err().to_string();
    assert!(error.contains("the class 'owl' has no training images"), "{error}");
    write(root.path(), "photos/train/owl/1.jpg", &png(image(8, 8, 3)));
    let error = folder::scan(&root.path().join("photos"), &choices).unwrap_err().to_string();
    let expected =
        format!("--val {}: the class 'dog' has no validation images", root.path().join("photos/val").display());
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn a_class_level_without_images_says_where_they_lie() {
    let root = folder_with(["train/cat/1.jpg", "train/dog/1.jpg"]);
    let error = |level| {
        let choices = Choices { val: None, class_level: Some(level) };
        folder::scan(&root.path().join("train"), &choices).unwrap_err().to_string()
    };
    let told = "no usable image was found with a class in its name, as --class-level 0 asks: its images lie in folders, cat/, dog/;";
    assert!(error(0).contains(told), "{}", error(0));
    for level in [2, 9] {
        assert!(
            error(level).contains(&format!("no folder that lies {level} below it holds images")),
            "{}",
            error(level)
        );
    }
}

const SYSTEM: [&str; 16] = [
    "@eaDir",
    "$RECYCLE.BIN",
    "lost+found",
    "System Volume Information",
    "__MACOSX",
    ".AppleDouble",
    "#recycle",
    "@Recycle",
    ".Trash-1000",
    ".ipynb_checkpoints",
    "__pycache__",
    ".Spotlight-V100",
    ".fseventsd",
    "RECYCLER",
    "FOUND.000",
    ".git",
];

#[test]
fn system_folders_are_neither_classes_nor_fatal_at_any_level() {
    for layout in
        [["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"], ["in/train/cat/1.jpg", "in/train/cat/2.jpg", "in/train/dog/1.jpg"]]
    {
        let root = folder_with(layout);
        let expected = scan(&root);
        let levels: BTreeSet<PathBuf> =
            layout.iter().flat_map(|path| Path::new(path).ancestors().skip(1).map(PathBuf::from)).collect();
        for level in levels {
            for name in SYSTEM {
                let folder = root.path().join(&level).join(name);
                fs::create_dir_all(folder.join("cat")).unwrap();
                fs::write(folder.join("cat/1.jpg"), png(image(6, 5, 9))).unwrap();
                #[cfg(unix)]
                fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
            }
            for name in ["Thumbs.db", "desktop.ini", ".DS_Store", "._1.jpg"] {
                fs::write(root.path().join(&level).join(name), b"of the system").unwrap();
            }
        }
        assert_eq!(scan(&root), expected);
        // So that the folders can be removed.
        #[cfg(unix)]
        for entry in fs::read_dir(root.path()).unwrap().flatten() {
            restore(&entry.path());
        }
    }
}

#[cfg(unix)]
fn restore(path: &Path) {
    if path.is_dir() {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        fs::read_dir(path).unwrap().flatten().for_each(|entry| restore(&entry.path()));
    }
}

#[test]
fn a_class_is_one_however_its_accents_are_stored() {
    let (composed, decomposed) = ("\u{e9}t\u{e9}", "e\u{301}te\u{301}");
    for [one, other] in [[composed, decomposed], [decomposed, composed]] {
        let folders = folder_with(["a/1.jpg", &format!("{one}/1.jpg"), &format!("{other}/2.jpg")]);
        let files = folder_with(["a.1.jpg", &format!("{one}.1.jpg"), &format!("{other}.2.jpg")]);
        let parts =
            folder_with(["train/a/1.jpg", &format!("train/{one}/1.jpg"), "val/a/1.jpg", &format!("val/{other}/2.jpg")]);
        for (root, images) in [(folders, 2), (files, 2), (parts, 1)] {
            let found = scan(&root);
            assert_eq!(found.classes, ["a", composed]);
            assert_eq!(found.train.iter().filter(|file| file.class == 1).count(), images);
        }
    }
}

#[test]
fn what_is_no_image_is_rejected_with_a_reason_and_hidden_files_are_not_mentioned() {
    let paths = [
        "cat/1.jpg",
        "cat/2.jpg",
        "dog/1.jpg",
        "dog/2.jpg",
        "lost.png",
        ".git/1.jpg",
        "cat/._1.jpg",
        "__MACOSX/cat/1.jpg",
    ];
    let root = folder_with(paths);
    write(root.path(), "cat/Thumbs.db", b"thumbs");
    write(root.path(), "cat/notes.txt", b"notes");
    write(root.path(), "dog/0.jpg", b"");
    write(root.path(), "README", b"read me");
    fs::create_dir(root.path().join("dog/folder.jpg")).unwrap();
    let found = scan(&root);
    assert_eq!(found.classes, ["cat", "dog"]);
    assert_eq!(
        reasons(&found.rejected),
        [
            "README is not named .jpg, .jpeg or .png",
            "cat/notes.txt is not named .jpg, .jpeg or .png",
            "dog/0.jpg is empty (0 bytes)",
            "lost.png lies outside the class folders",
        ]
    );

    let root = folder_with(["cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg", "holiday.jpg"]);
    write(root.path(), "cat.notes.txt", b"notes");
    assert_eq!(
        reasons(&scan(&root).rejected),
        ["cat.notes.txt is not named .jpg, .jpeg or .png", "holiday.jpg has no class in its name, as cat.0.jpg has",]
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_files_and_class_folders_but_cannot_trap_the_walk() {
    use std::os::unix::fs::symlink;
    let elsewhere = folder_with(["1.jpg", "2.jpg"]);
    let root = folder_with(["cat/1.jpg", "cat/2.jpg"]);
    let path = |path| root.path().join(path);
    symlink(elsewhere.path(), path("dog")).unwrap();
    symlink(elsewhere.path().join("1.jpg"), path("cat/3.jpg")).unwrap();
    symlink(elsewhere.path().join("none.jpg"), path("cat/4.jpg")).unwrap();
    symlink(root.path(), path("cat/up")).unwrap();
    let found = scan(&root);
    assert_eq!(found.classes, ["cat", "dog"]);
    assert_eq!(found.train.len(), 5);
    let reasons = reasons(&found.rejected);
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].starts_with("cat/4.jpg cannot be read: "));
    assert_eq!(reasons[1], "cat/up is a link to a folder, which is not followed here");
}

#[test]
fn every_unusable_folder_gets_one_error_that_names_it_and_the_remedy() {
    let cases: [(&[&str], &[&str], &[&str]); 9] = [
        // Images; other files; what the error must say.
        (&[], &[], &["no usable image", "cat.0.jpg", "one folder a class", "A test set is never used"]),
        (&[], &["cat/1.gif", "cat/2.txt"], &["no usable image", "2 rejected", "cat/1.gif is not named"]),
        (&["1.jpg", "2.jpg"], &[], &["no usable image", "1.jpg has no class in its name"]),
        (&["cat.0.jpg", "cat.1.jpg"], &[], &["only one class", "'cat'"]),
        (&["cat/1.jpg", "cat/2.jpg"], &["dog/empty.txt"], &["only one class", "not read: dog/ (holds no image)"]),
        (&["cat/1.jpg", "dog/1.jpg"], &["owl/empty.png"], &["'owl' has no usable image", "owl/empty.png is empty"]),
        (
            &["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "val/c/1.jpg"],
            &[],
            &["'c' has no training images"],
        ),
        (
            &["train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/a/1.jpg", "val/b/1.jpg"],
            &[],
            &["'c' has no validation images"],
        ),
        (&["train/a/1.jpg", "train/a/2.jpg"], &[], &["/train: only one class"]),
    ];
    for (images, others, expected) in cases {
        let root = folder_with(images.iter().copied());
        for other in others {
            let bytes: &[u8] = if other.ends_with("png") { b"" } else { b"some bytes" };
            write(root.path(), other, bytes);
        }
        let message = error(root.path());
        assert!(message.starts_with(&format!("--data {}", root.path().display())), "{message}");
        for part in expected {
            assert!(message.contains(part), "{part:?} is missing in: {message}");
        }
    }
}

#[test]
fn a_data_folder_that_is_none_is_named() {
    let root = folder_with(["file"]);
    let missing = root.path().join("missing");
    assert_eq!(error(&missing), format!("--data {}: there is no such folder; check the path", missing.display()));
    let file = root.path().join("file");
    assert_eq!(error(&file), format!("--data {}: is a file; give the folder that holds the images", file.display()));
}

// Preparing one image.

fn load(name: &str, bytes: &[u8], size: u32) -> Result<RgbImage, String> {
    let root = tempdir().unwrap();
    write(root.path(), name, bytes);
    prepare::load(&root.path().join(name), Fit::to(size)).map(|pixels| RgbImage::from_raw(size, size, pixels).unwrap())
}

#[track_caller]
fn assert_close(actual: Rgb<u8>, expected: [u8; 3], tolerance: u8) {
    let close = actual.0.iter().zip(expected).all(|(a, e)| a.abs_diff(e) <= tolerance);
    assert!(close, "{actual:?} is not {expected:?}");
}

#[test]
fn the_content_decides_not_the_name() {
    let image = image(8, 8, 0);
    assert_eq!(load("png.jpg", &png(image.clone()), 8).unwrap(), image);
    assert_eq!(load("jpeg.png", &jpeg(&image), 8), load("jpeg.jpg", &jpeg(&image), 8));
    assert!(load("jpeg.png", &jpeg(&image), 8).is_ok());
    for (bytes, reason) in [
        (&b"GIF89a and so on"[..], "is a GIF, only JPEG and PNG are read"),
        (b"BM and so on", "is a BMP, only JPEG and PNG are read"),
        (b"RIFF\x10\0\0\0WEBPVP8 and so on", "is a WEBP, only JPEG and PNG are read"),
        (b"<html>not found</html>", "is no JPEG or PNG image"),
        (b"", "is empty (0 bytes)"),
    ] {
        assert_eq!(load("image.jpg", bytes, 8).unwrap_err(), reason);
    }
}

#[test]
fn a_file_that_is_not_there_or_is_a_folder_gives_a_reason() {
    let root = tempdir().unwrap();
    assert_eq!(prepare::load(root.path(), Fit::to(8)).unwrap_err(), "is not a regular file");
    let missing = prepare::load(&root.path().join("missing.jpg"), Fit::to(8)).unwrap_err();
    assert!(missing.starts_with("cannot be read: "), "{missing}");
}

#[test]
fn an_image_that_breaks_off_is_rejected_however_it_is_cut() {
    let photo = image(64, 48, 1);
    let thumbnail = jpeg(&image(16, 12, 1));
    let plain = jpeg(&photo);
    let with_thumbnail = jpeg_with_exif(&photo, 1, &thumbnail);
    for whole in [&plain[..], &with_thumbnail, CMYK_PROGRESSIVE_JPEG] {
        let complete = load("whole.jpg", whole, 16).unwrap();
        for appended in [&b"\0\0\0"[..], b"appended by a phone", &thumbnail, &[0; 100_000]] {
            let longer = [whole, appended].concat();
            assert_eq!(load("longer.jpg", &longer, 16).as_ref(), Ok(&complete));
        }
        for kept in [whole.len() / 10, whole.len() / 2, whole.len() * 9 / 10, whole.len() - 2, whole.len() - 1] {
            let reason = load("cut.jpg", &whole[..kept], 16).unwrap_err();
            assert!(reason.starts_with("is cut short"), "{kept} of {} bytes: {reason}", whole.len());
        }
    }
    // Cut in the middle of the image, with the end of the thumbnail still there.
    let kept = with_thumbnail.len() - plain.len() / 2;
    assert!(with_thumbnail[..kept].windows(2).any(|pair| pair == [0xFF, 0xD9]));
    assert!(load("cut.jpg", &with_thumbnail[..kept], 16).is_err());

    let whole = png(photo);
    for kept in [20, whole.len() / 2, whole.len() - 30] {
        let reason = load("cut.png", &whole[..kept], 16).unwrap_err();
        assert!(reason.starts_with("cannot be decoded: "), "{reason}");
    }
}

#[test]
fn images_are_turned_upright() {
    let upright = RgbImage::from_fn(32, 32, |x, y| match (x < 16, y < 16) {
        (true, true) => Rgb([250, 0, 0]),
        (false, true) => Rgb([0, 250, 0]),
        (true, false) => Rgb([0, 0, 250]),
        (false, false) => Rgb([250, 250, 250]),
    });
    use image::imageops::{flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};
    // What the camera stores so that the turn each EXIF number stands for gives the upright
    // image.
    let stored = [
        upright.clone(),
        flip_horizontal(&upright),
        rotate180(&upright),
        flip_vertical(&upright),
        flip_horizontal(&rotate90(&upright)),
        rotate270(&upright),
        flip_horizontal(&rotate270(&upright)),
        rotate90(&upright),
    ];
    for (orientation, stored) in (1..).zip(&stored) {
        let turned = load("turned.jpg", &jpeg_with_exif(stored, orientation, &[]), 32).unwrap();
        for (x, y) in [(4, 4), (28, 4), (4, 28), (28, 28)] {
            assert_close(*turned.get_pixel(x, y), upright.get_pixel(x, y).0, 8);
        }
    }
}

#[test]
fn every_kind_of_colour_becomes_eight_bit_rgb() {
    // 16-bit values v * 257 are exactly the 8-bit values v.
    let deep = ImageBuffer::from_pixel(4, 4, Rgb(RED.map(|v| u16::from(v) * 257)));
    let deep_grey = ImageBuffer::from_pixel(4, 4, Luma([77u16 * 257]));
    let grey = ImageBuffer::from_pixel(4, 4, Luma([77u8]));
    let half_grey = ImageBuffer::from_pixel(4, 4, LumaA([77u8, 51]));
    let clear = ImageBuffer::from_pixel(4, 4, Rgba([9u8, 9, 9, 0]));
    let opaque = ImageBuffer::from_pixel(4, 4, Rgba([200u8, 40, 60, 255]));
    let deep_clear = ImageBuffer::from_pixel(4, 4, Rgba([9u16, 9, 9, 0]));
    for (bytes, expected) in [
        (png(DynamicImage::ImageRgb16(deep)), RED),
        (png(DynamicImage::ImageLuma16(deep_grey)), [77; 3]),
        (png(grey), [77; 3]),
        // 77 * 0.2 + 255 * 0.8
        (png(half_grey), [219; 3]),
        (png(clear), WHITE),
        (png(opaque), RED),
        (png(DynamicImage::ImageRgba16(deep_clear)), WHITE),
    ] {
        let image = load("colour.png", &bytes, 4).unwrap();
        assert!(image.pixels().all(|pixel| pixel.0 == expected), "{image:?} is not {expected:?}");
    }
    let palette = load("palette.png", PALETTE_PNG, 32).unwrap();
    assert_eq!([(4, 4), (28, 4), (4, 28)].map(|(x, y)| palette.get_pixel(x, y).0), [RED, BLUE, WHITE]);
    let cmyk = load("cmyk.jpg", CMYK_PROGRESSIVE_JPEG, 32).unwrap();
    assert_close(*cmyk.get_pixel(4, 4), RED, 3);
    assert_close(*cmyk.get_pixel(28, 28), BLUE, 3);
    let mut grey_jpeg = Vec::new();
    let grey = ImageBuffer::from_pixel(8, 8, Luma([77u8]));
    grey.write_with_encoder(JpegEncoder::new(&mut grey_jpeg)).unwrap();
    assert_close(*load("grey.jpg", &grey_jpeg, 8).unwrap().get_pixel(3, 3), [77; 3], 1);
}

#[test]
fn the_middle_square_is_shown_whatever_the_shape() {
    // White with a red square in the middle, as wide as the image's shorter side.
    for (width, height) in [(90, 30), (30, 90), (30, 30)] {
        let image = RgbImage::from_fn(width, height, |x, y| {
            let middle = |v: u32, side: u32| (side - 30) / 2 <= v && v < (side + 30) / 2;
            Rgb(if middle(x, width) && middle(y, height) { RED } else { WHITE })
        });
        assert!(load("shape.png", &png(image), 30).unwrap().pixels().all(|pixel| pixel.0 == RED));
    }
    for (width, height) in [(1, 16_384), (16_384, 1)] {
        let line = png(RgbImage::from_pixel(width, height, Rgb(BLUE)));
        assert!(load("line.png", &line, 128).unwrap().pixels().all(|pixel| pixel.0 == BLUE));
    }
}

#[test]
fn images_beyond_the_limits_are_rejected_before_they_are_decoded() {
    let wide = png(ImageBuffer::from_pixel(16_385, 1, Luma([0u8])));
    let reason = load("wide.png", &wide, 8).unwrap_err();
    assert!(reason.starts_with("is too large: 16385 x 1 pixels"), "{reason}");
    // A small JPEG whose header claims 16,000 x 16,000 pixels.
    let mut bomb = jpeg(&image(8, 8, 0));
    let header = bomb.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    bomb[header + 5..header + 9].copy_from_slice(&[0x3E, 0x80, 0x3E, 0x80]);
    let reason = load("bomb.jpg", &bomb, 8).unwrap_err();
    assert!(reason.starts_with("is too large: 16000 x 16000 pixels"), "{reason}");
    // A PNG of one bit a pixel, which takes eight times as much memory when it is decoded, and three times that as RGB.
    let mut bomb = ONE_BIT_PNG.to_vec();
    bomb[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    let checksum = crc(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let reason = load("bomb.png", &bomb, 8).unwrap_err();
    assert!(reason.starts_with("is too large: 16384 x 16384 pixels, which take 1024 MiB"), "{reason}");
    assert!(load("small.png", ONE_BIT_PNG, 1).unwrap().pixels().all(|pixel| pixel.0 == WHITE));
}

/// One white pixel of one bit.
const ONE_BIT_PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x01\0\0\0\0\x37\x6e\xf9\x24\
    \0\0\0\x0aIDAT\x78\x9c\x63\x68\0\0\0\x82\0\x81\x77\xcd\x72\xb6\0\0\0\0IEND\xae\x42\x60\x82";

/// The checksum of a PNG's chunk (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Files that scripts/odd-images.py made, with what Pillow makes of them: pixels at places all over each image, or why it is refused.
#[test]
fn odd_images_look_as_pillow_shows_them_or_are_refused() {
    let folder = Path::new("tests/fixtures/images");
    let mut faults = Vec::new();
    let mut counts = [0, 0];
    for row in odd_images() {
        let opened = prepare::open(&folder.join(&row.file));
        counts[usize::from(row.width.is_none())] += 1;
        let fault = match (opened, row.width.zip(row.height)) {
            (Err(reason), None) if reason.starts_with(&row.reason) => None,
            (Err(reason), None) => Some(format!("{reason}, not: {}", row.reason)),
            (Err(reason), Some(_)) => Some(reason),
            (Ok(_), None) => Some("is not refused".into()),
            (Ok(opened), Some(size)) if opened.image.dimensions() != size => {
                Some(format!("is {:?}, not {size:?}", opened.image.dimensions()))
            }
            (Ok(opened), Some((width, height))) => {
                let places = (0..5).flat_map(|y| (0..5).map(move |x| (x * (width - 1) / 4, y * (height - 1) / 4)));
                let off = places.zip(row.pixels.split(' ')).map(|((x, y), expected)| {
                    let expected = u32::from_str_radix(expected, 16).unwrap().to_be_bytes();
                    let found = opened.image.get_pixel(x, y).0;
                    found.iter().zip(&expected[1..]).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
                });
                let off = off.max().unwrap();
                (off > row.within.unwrap()).then(|| format!("is {off} grey levels off"))
            }
        };
        faults.extend(fault.map(|fault| format!("{} {fault}", row.file)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(counts[0] > 100 && counts[1] > 60, "{counts:?} shown and refused");
}

/// A line of the table of odd images: those that are refused have no size, and the others no reason.
#[derive(serde::Deserialize)]
struct OddImage {
    file: String,
    width: Option<u32>,
    height: Option<u32>,
    /// Grey levels that a pixel may be off.
    within: Option<u8>,
    /// Pixels as hexadecimal digits, of five rows of five, from corner to corner.
    pixels: String,
    /// How the reason begins.
    reason: String,
}

fn odd_images() -> Vec<OddImage> {
    let table = csv::Reader::from_path("tests/fixtures/images/expected.csv").unwrap();
    table.into_deserialize().map(Result::unwrap).collect()
}

/// Whatever lies in a folder of photos, each file is either used or named with its reason, once, by any number of threads.
#[test]
fn every_file_of_a_folder_is_used_or_named() {
    let root = tempdir().unwrap();
    let (mut used, mut refused) = (0, BTreeSet::new());
    for (row, class) in odd_images().iter().zip(["cat", "dog"].iter().cycle()) {
        let path = format!("{class}/{}", row.file);
        write(root.path(), &path, &fs::read(Path::new("tests/fixtures/images").join(&row.file)).unwrap());
        match row.width {
            Some(_) => used += 1,
            None => drop(refused.insert(path)),
        }
    }
    write(root.path(), "cat/folder.jpg/inside.jpg", &png(image(6, 5, 1)));
    used += 1;
    fs::create_dir(root.path().join("dog/hollow.jpg")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let links = [
            ("cat/device.jpg", "/dev/zero"),
            ("cat/broken.jpg", "nowhere"),
            ("dog/itself.jpg", "itself.jpg"),
            ("dog/up.jpg", ".."),
        ];
        for (link, target) in links {
            symlink(target, root.path().join(link)).unwrap();
            refused.insert(link.into());
        }
        symlink("folder.jpg/inside.jpg", root.path().join("cat/link.jpg")).unwrap();
        used += 1;
        // Nobody writes into it, so that whoever opened it would wait forever.
        let pipe = "dog/pipe.jpg";
        assert!(std::process::Command::new("mkfifo").arg(root.path().join(pipe)).status().unwrap().success());
        refused.insert(pipe.into());
    }
    let found = scan(&root);
    let mut seen = None;
    for workers in [1, 2, 3, 8, 64, 1000] {
        let (photos, rejected) = Photos::read_by(workers, found.train.clone(), root.path(), Fit::to(8), 0, &|_| ());
        assert_eq!(photos.len(), used, "{workers} threads");
        let named: Vec<String> = found.rejected.iter().chain(&rejected).map(|rejected| rejected.file.clone()).collect();
        assert_eq!(named.len(), refused.len(), "each once");
        assert_eq!(named.into_iter().collect::<BTreeSet<_>>(), refused, "{workers} threads");
        let all = (photos.digests().to_vec(), rejected);
        assert_eq!(seen.get_or_insert(all.clone()), &all, "{workers} threads");
    }
}

/// JPEGs that cjpeg wrote, beside what Pillow makes of them.
#[test]
#[ignore = "needs the files that scripts/odd-jpegs.py makes"]
fn random_jpegs_look_as_pillow_shows_them_or_are_refused() {
    let folder = std::env::var("CONVSCOPE_JPEGS").expect("CONVSCOPE_JPEGS names the folder of scripts/odd-jpegs.py");
    let mut outcomes: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jpg") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let [right, refused] = outcomes.entry(name.rsplit_once('-').unwrap().0.to_string()).or_default();
        let expected = image::open(path.with_extension("png")).unwrap().into_rgb8();
        match prepare::load(&path, Fit::to(expected.width())) {
            Ok(pixels) => {
                let difference = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b));
                let sum: f64 = pixels.iter().zip(expected.as_raw()).map(difference).sum();
                let mean = sum / pixels.len() as f64;
                // Decoders differ in how they smooth chroma that is stored at a lower resolution.
                assert!(mean < 3.0, "{name} is {mean:.1} grey levels off in the mean");
                *right += 1;
            }
            Err(_) => *refused += 1,
        }
    }
    println!("kind: right, refused; none wrong: {outcomes:#?}");
    assert!(!outcomes.is_empty());
    for (kind, [right, refused]) in outcomes {
        assert!(
            if kind == "arithmetic" { right == 0 } else { refused == 0 },
            "{kind}: {right} right, {refused} refused"
        );
    }
}

// The images of a folder.

/// The files at `paths`, `per_class` of each class in turn.
fn label<const N: usize>(paths: [&str; N], per_class: u32) -> Vec<LabelledFile> {
    let label = |(number, path): (u32, &str)| LabelledFile { path: PathBuf::from(path), class: number / per_class };
    (0..).zip(paths).map(label).collect()
}

/// A folder of eight images of four classes, of which `b/1.jpg` and `d/0.jpg` cannot be decoded.
fn flawed_folder() -> (TempDir, Vec<LabelledFile>) {
    let names = ["a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg", "c/0.jpg", "c/1.jpg", "d/0.jpg", "d/1.jpg"];
    let root = folder_with(names);
    write(root.path(), "b/1.jpg", b"GIF89a");
    write(root.path(), "d/0.jpg", b"nonsense");
    (root, label(names, 2))
}

#[test]
fn photos_that_cannot_be_decoded_are_left_out_and_recorded() {
    let (root, files) = flawed_folder();
    let progress = RefCell::new(Vec::new());
    let (photos, rejected) =
        Photos::read(files, root.path(), Fit::to(4), usize::MAX, &|done| progress.borrow_mut().push(done));
    assert_eq!(*progress.borrow(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(reasons(&rejected), ["b/1.jpg is a GIF, only JPEG and PNG are read", "d/0.jpg is no JPEG or PNG image"]);
    let left: Vec<_> = (0..photos.len()).map(|i| (photos.name(i), photos.label(i))).collect();
    let expected = [("a/0.jpg", 0), ("a/1.jpg", 0), ("b/0.jpg", 1), ("c/0.jpg", 2), ("c/1.jpg", 2), ("d/1.jpg", 3)];
    assert_eq!(left, expected.map(|(name, class)| (name.to_owned(), class)));
    for index in 0..photos.len() {
        let alone = prepare::load(&root.path().join(photos.name(index)), Fit::to(4)).unwrap();
        assert_eq!(*photos.pixels(index).unwrap(), alone);
    }
}

#[test]
fn the_bound_on_memory_decides_what_is_read_again_but_not_what_is_read() {
    let (root, files) = flawed_folder();
    let image = 4 * 4 * 3;
    for kept in [0, 3, 100] {
        let (photos, _) = Photos::read(files.clone(), root.path(), Fit::to(4), kept * image, &|_| ());
        for index in 0..photos.len() {
            let in_memory = matches!(photos.pixels(index), Ok(Cow::Borrowed(_)));
            assert_eq!(in_memory, index < kept);
            let alone = prepare::load(&root.path().join(photos.name(index)), Fit::to(4)).unwrap();
            assert_eq!(*photos.pixels(index).unwrap(), alone);
        }
    }
}

/// Nor does the number of threads, with cuts from larger squares and changed colours too, nor whether it is the first pass or a later one.
#[test]
fn neither_memory_nor_threads_decide_what_a_batch_holds() {
    let names: Vec<String> =
        (0..11).map(|number| format!("{}/{number}.png", if number < 6 { "a" } else { "b" })).collect();
    let root = folder_with([]);
    for (number, name) in (0u32..).zip(&names) {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image(30 + 3 * number, 41, number).save(path).unwrap();
    }
    let file = |(number, name): (u32, &String)| LabelledFile { path: name.into(), class: number / 6 };
    let files: Vec<LabelledFile> = (0..).zip(&names).map(file).collect();
    let augment =
        AugmentOptions { flip: true, crop_scale: Some([0.3, 0.9]), rotate: 10.0, color_jitter: Some([0.2; 3]) };
    let room = augment.room(16).unwrap();
    let batches = |bytes: usize, workers| -> Vec<Batch> {
        let (photos, _) = Photos::read(files.clone(), root.path(), Fit::to(16), bytes, &|_| ());
        let photos = photos.with_room(room, bytes / 2, bytes / 2);
        let pass = |epoch: Option<u64>| {
            let changes = epoch.map(|epoch| EpochChanges { augment, seed: 5, epoch });
            let order = shuffled(photos.len(), 5, epoch.unwrap_or_default());
            with_batches(&photos, &order, 4, changes, Normalize::IMAGENET, workers, |batches| {
                batches.collect::<Vec<_>>()
            })
        };
        [Some(1), None, Some(2), Some(1)].into_iter().flat_map(pass).collect()
    };
    let expected = batches(0, 1);
    assert_eq!(expected.len(), 4 * 3);
    assert!(expected[..3] == expected[9..] && expected[..3] != expected[6..9]);
    for bytes in [0, 3 * 16 * 16 * 3, 8 * 3 * room as usize * room as usize, usize::MAX] {
        for workers in [1, 2, 3, 8] {
            assert!(batches(bytes, workers) == expected, "{bytes} bytes, {workers} threads");
        }
    }
}

#[test]
fn a_photo_that_vanishes_later_is_dropped_from_its_batch_and_recorded() {
    let names = ["a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg"];
    let root = folder_with(names);
    let files = label(names, 2);
    let (photos, _) = Photos::read(files, root.path(), Fit::to(4), 4 * 4 * 3, &|_| ());
    fs::remove_file(root.path().join("a/0.jpg")).unwrap();
    fs::remove_file(root.path().join("a/1.jpg")).unwrap();
    let batch = with_batches(&photos, &[3, 1, 0], 3, None, Normalize::HALF, 1, |batches| batches.next().unwrap());
    // Image 0 is still in memory.
    assert_eq!(batch.indices, [3, 0]);
    assert_eq!(batch.labels, [1, 0, 0]);
    assert_eq!(batch.rejected.len(), 1);
    assert_eq!(batch.rejected[0].file, "a/1.jpg");
    assert!(batch.rejected[0].reason.starts_with("cannot be read: "));
    let image = 4 * 4 * 4;
    let mut expected = vec![0.0; 3 * image];
    pixels::to_tensor(&photos.pixels(3).unwrap(), false, &mut expected[..image]);
    pixels::to_tensor(&photos.pixels(0).unwrap(), false, &mut expected[image..2 * image]);
    assert_eq!(batch.images, expected);
}

#[test]
fn a_class_that_loses_every_image_in_decoding_is_an_error() {
    let root = folder_with(["cat/0.jpg", "cat/1.jpg", "dog/0.jpg", "dog/1.jpg"]);
    let check = || {
        let found = scan(&root);
        let (photos, rejected) = Photos::read(found.train.clone(), root.path(), Fit::to(4), 0, &|_| ());
        found.check_decoded("training", &photos, &rejected)
    };
    assert!(check().is_ok());
    write(root.path(), "dog/0.jpg", b"GIF89a");
    write(root.path(), "dog/1.jpg", b"GIF89a");
    let message = check().unwrap_err().to_string();
    assert!(message.contains(&format!("--data {}", root.path().display())), "{message}");
    assert!(message.contains("class 'dog'") && message.contains("is a GIF"), "{message}");
}

#[test]
fn the_data_folder_is_left_as_it_was() {
    fn listing(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = if path.is_dir() { listing(&path) } else { Vec::new() };
            found.push((path.clone(), fs::read(&path).ok()));
            found.extend(below);
        }
        found.sort();
        found
    }
    let (root, _) = flawed_folder();
    let before = listing(root.path());
    let found = scan(&root);
    Photos::read(found.train, root.path(), Fit::to(4), 0, &|_| ());
    assert_eq!(listing(root.path()), before);
}

#[test]
fn rejected_files_are_written_as_csv() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("rejected.csv");
    let rejected = [("cat/1.jpg", "is a GIF, only JPEG and PNG are read"), ("a \"b\".png", "is empty (0 bytes)")];
    let rejected = rejected.map(|(file, reason)| Rejected { file: file.into(), reason: reason.into() });
    write_rejected(&path, &rejected).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "file,reason\n\
         cat/1.jpg,\"is a GIF, only JPEG and PNG are read\"\n\
         \"a \"\"b\"\".png\",is empty (0 bytes)\n"
    );
    // As in every table, names are written so that nobody obeys them.
    let unseen = [Rejected { file: path_text(Path::new("a\u{1b}[2J\n.png")), reason: "is \u{7}".into() }];
    write_rejected(&path, &unseen).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "file,reason\na\\x1B[2J\\x0A.png,is \\x07\n");
    let error = write_rejected(&folder.path().join("no/rejected.csv"), &rejected).unwrap_err();
    assert!(error.to_string().contains("no/rejected.csv"));
}

// Batches.

/// Images of one colour each, which tells their index; `broken` panics when it is asked for.
struct Plain {
    count: usize,
    broken: Option<usize>,
}

impl Images for Plain {
    fn len(&self) -> usize {
        self.count
    }

    fn size(&self) -> u32 {
        2
    }

    fn label(&self, index: usize) -> u32 {
        index as u32 % 3
    }

    fn name(&self, index: usize) -> String {
        format!("plain {index}")
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        assert_ne!(Some(index), self.broken, "this image is broken");
        let mut pixels = vec![index as u8; 12];
        // The left column differs from the right one, so that a flip shows.
        pixels[0] = 255;
        pixels[6] = 255;
        Ok(Cow::Owned(pixels))
    }
}

const PLAIN: Plain = Plain { count: 53, broken: None };

fn all(order: &[usize], batch: usize, flips: Option<EpochChanges>, workers: usize) -> Vec<Batch> {
    with_batches(&PLAIN, order, batch, flips, Normalize::HALF, workers, |batches| batches.collect())
}

#[test]
fn the_batches_do_not_depend_on_the_number_of_workers() {
    let order = shuffled(PLAIN.len(), 3, 1);
    let flips = Some(EpochChanges::flips(3, 1));
    let expected = all(&order, 4, flips, 1);
    for workers in [1, 2, 3, 5, 20] {
        assert_eq!(all(&order, 4, flips, workers), expected, "{workers} workers");
    }
}

#[test]
fn batches_in_recycled_memory_are_the_same() {
    let order = shuffled(PLAIN.len(), 3, 1);
    for workers in [1, 3] {
        let recycled = with_batches(&PLAIN, &order, 4, None, Normalize::HALF, workers, |batches| {
            let mut copies = Vec::new();
            while let Some(mut batch) = batches.next() {
                copies.push(batch.clone());
                batch.images.fill(7.0);
                batches.recycle(batch);
            }
            copies
        });
        assert_eq!(recycled, all(&order, 4, None, 1), "{workers} workers");
    }
}

#[test]
fn batches_follow_the_order_and_keep_their_length() {
    let order = [5, 0, 52, 7, 9, 5, 1];
    let batches = all(&order, 3, None, 2);
    let indices: Vec<_> = batches.iter().map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices, [vec![5, 0, 52], vec![7, 9, 5], vec![1]]);
    for batch in &batches {
        let mut images = vec![0.0; 3 * 16];
        let mut labels = [0; 3];
        for (place, &index) in batch.indices.iter().enumerate() {
            pixels::to_tensor(&PLAIN.pixels(index).unwrap(), false, &mut images[place * 16..][..16]);
            labels[place] = PLAIN.label(index);
        }
        assert_eq!(batch.images, images);
        assert_eq!(batch.labels, labels);
        assert_eq!(batch.rejected, []);
    }
    assert_eq!(all(&[], 3, None, 2), []);
}

#[test]
fn flips_depend_on_seed_epoch_and_image_alone() {
    let flipped =
        |seed, epoch| (0..1000).filter(|&index| EpochChanges::flips(seed, epoch).flip(index)).collect::<Vec<_>>();
    // 1000 fair coins: 500 with a standard deviation of 16.
    assert!((420..580).contains(&flipped(0, 0).len()));
    assert_ne!(flipped(0, 0), flipped(0, 1));
    assert_ne!(flipped(0, 0), flipped(1, 0));

    let flips = EpochChanges::flips(4, 2);
    let mut seen = BTreeSet::new();
    for order in [(0..53).collect::<Vec<_>>(), shuffled(53, 9, 9)] {
        for batch in all(&order, 8, Some(flips), 2) {
            for (image, &index) in batch.images.chunks(16).zip(&batch.indices) {
                let mut expected = [0.0; 16];
                pixels::to_tensor(&PLAIN.pixels(index).unwrap(), flips.flip(index), &mut expected);
                assert_eq!(image, expected);
                seen.insert(image[0] == 1.0);
            }
        }
    }
    assert_eq!(seen, [false, true].into());
}

#[test]
fn every_epoch_visits_every_image_in_an_order_of_its_own() {
    let order = shuffled(100, 0, 0);
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    assert_eq!(order, shuffled(100, 0, 0));
    assert_ne!(order, shuffled(100, 0, 1));
    assert_ne!(order, shuffled(100, 1, 0));
}

#[test]
fn stopping_early_ends_the_workers() {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        let order: Vec<_> = (0..53).cycle().take(10_000).collect();
        for taken in [0, 1, 5] {
            let count =
                with_batches(&PLAIN, &order, 1, None, Normalize::HALF, 3, |batches| batches.take(taken).count());
            done.send(count).unwrap();
        }
    });
    for taken in [0, 1, 5] {
        assert_eq!(finished.recv_timeout(Duration::from_secs(20)), Ok(taken), "the loader hangs");
    }
}

#[test]
#[should_panic(expected = "a worker of the data loader has panicked")]
fn a_worker_that_panics_is_noticed() {
    let images = Plain { count: 20, broken: Some(13) };
    let order: Vec<_> = (0..20).collect();
    with_batches(&images, &order, 2, None, Normalize::HALF, 2, |batches| batches.count());
}

#[cfg(target_os = "linux")]
#[test]
fn a_class_needs_a_name_that_can_be_written() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let root = folder_with(["cat/0.jpg", "dog/0.jpg"]);
    fs::rename(root.path().join("cat"), root.path().join(OsStr::from_bytes(b"caf\xe9"))).unwrap();
    let message = error(root.path());
    assert!(message.contains(r"folder caf\xE9 is not valid Unicode; rename it"), "{message}");
    for (name, shown) in [("c\nt", r"c\x0At"), ("c\u{1b}[2J", r"c\x1B[2J"), ("c\u{202e}t", r"c\xE2\x80\xAEt")] {
        let root = folder_with(["dog/0.jpg", "cat/0.jpg"]);
        fs::rename(root.path().join("cat"), root.path().join(name)).unwrap();
        let flat = folder_with(["dog.0.jpg", "cat.0.jpg"]);
        fs::rename(flat.path().join("cat.0.jpg"), flat.path().join(format!("{name}.0.jpg"))).unwrap();
        for (root, named) in [(root, format!("folder {shown}")), (flat, format!("file {shown}.0.jpg"))] {
            let told = format!("{named} has a character that is not shown, such as a line break; rename it");
            let message = error(root.path());
            assert!(message.contains(&told), "{message}");
        }
    }
}
