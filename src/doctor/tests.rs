//! Folders with planted problems, made here.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, imageops};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::data::drawn::Subject;
use crate::data::folder::{Choices, scan};

const SIZE: u32 = 64;

/// A smooth scene of its own for each number, as photos differ: blobs of light in random places.
fn scene(number: u64, width: u32, height: u32) -> RgbImage {
    use rand::RngExt;
    let mut random = crate::data::random("doctor tests", number, 0);
    let mut any = |from: f32, to: f32| from + (to - from) * random.random::<f32>();
    let blobs: Vec<[f32; 6]> = (0..9)
        .map(|_| [any(0.0, 1.0), any(0.0, 1.0), any(0.08, 0.25), any(-90.0, 90.0), any(-90.0, 90.0), any(-90.0, 90.0)])
        .collect();
    RgbImage::from_fn(width, height, |x, y| {
        let [x, y] = [x as f32 / width as f32, y as f32 / height as f32];
        let mut colours = [110.0f32; 3];
        for [left, top, radius, light @ ..] in &blobs {
            let near = (-((x - left).powi(2) + (y - top).powi(2)) / (2.0 * radius * radius)).exp();
            colours.iter_mut().zip(light).for_each(|(colour, light)| *colour += near * light);
        }
        Rgb(colours.map(|colour| colour.clamp(0.0, 255.0) as u8))
    })
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn jpeg(image: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality)).unwrap();
    bytes
}

/// The image without a border of so many per cent of each side.
fn cropped(image: &RgbImage, per_cent: u32) -> RgbImage {
    let [x, y] = [image.width(), image.height()].map(|side| side * per_cent / 100);
    imageops::crop_imm(image, x, y, image.width() - 2 * x, image.height() - 2 * y).to_image()
}

fn lit(image: &RgbImage, change: impl Fn(f32) -> f32) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        Rgb(image.get_pixel(x, y).0.map(|value| change(f32::from(value)).clamp(0.0, 255.0) as u8))
    })
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A folder in which nothing is the matter: 12 scenes of each class to train on and 6 to validate on.
fn clean() -> TempDir {
    let root = tempdir().unwrap();
    for (number, (part, class, count)) in
        (0..).zip([("train", "cat", 12), ("train", "dog", 12), ("val", "cat", 6), ("val", "dog", 6)])
    {
        for index in 0..count {
            let image = scene(100 * number + index, 90, 80);
            write(root.path(), &format!("{part}/{class}/{index:02}.jpg"), &jpeg(&image, 95));
        }
    }
    root
}

/// What is found, by kind.
fn found(root: &Path) -> BTreeMap<&'static str, Finding> {
    let checkup = examine(&scan(root, &Choices::default()).unwrap(), SIZE, &|_| {}).unwrap();
    let order: Vec<Severity> = checkup.findings.iter().map(Finding::severity).collect();
    assert!(order.is_sorted(), "{order:?}");
    for finding in &checkup.findings {
        assert!(!finding.told().is_empty() && finding.remedy().ends_with('.'), "{finding:?}");
    }
    checkup.findings.into_iter().map(|finding| (finding.kind(), finding)).collect()
}

/// What is found after a folder without problems was changed.
fn after(change: impl Fn(&Path)) -> BTreeMap<&'static str, Finding> {
    let root = clean();
    change(root.path());
    found(root.path())
}

fn kinds(found: &BTreeMap<&'static str, Finding>) -> Vec<&'static str> {
    found.keys().copied().collect()
}

#[test]
fn a_clean_folder_yields_nothing() {
    let root = clean();
    let checkup = examine(&scan(root.path(), &Choices::default()).unwrap(), SIZE, &|_| {}).unwrap();
    assert_eq!(checkup.findings, []);
    assert_eq!((checkup.worst(), checkup.images.len()), (None, 36));
    assert_eq!(checkup.counts, (vec![12; 2], Some(vec![6; 2])));
}

/// Equal images are found wherever they lie, by their pixels and not their bytes.
#[test]
fn equal_images_are_found() {
    let copy = |from: &'static str, to: &'static str| {
        after(move |root| {
            let image = image::open(root.join(from)).unwrap();
            write(root, to, &png(image));
        })
    };
    for (to, kind, severity) in [
        ("train/cat/copy.png", "equal_in_a_class", Severity::Note),
        ("train/dog/copy.png", "equal_in_two_classes", Severity::Error),
        ("val/cat/copy.png", "equal_in_training_and_validation", Severity::Warning),
        ("val/dog/copy.png", "equal_in_two_classes", Severity::Error),
    ] {
        let found = copy("train/cat/03.jpg", to);
        assert_eq!(kinds(&found), [kind], "{to}");
        let finding = &found[kind];
        assert_eq!((finding.severity(), finding.count), (severity, 1), "{to}");
        assert_eq!(finding.examples, [format!("train/cat/03.jpg and {to}")]);
    }
    let leak = &copy("train/cat/03.jpg", "val/cat/copy.png")["equal_in_training_and_validation"];
    assert_eq!(leak.of, 13, "of the validation images");
}

#[test]
fn nearly_equal_images_are_found_however_they_were_changed() {
    let original = |root: &Path| image::open(root.join("train/cat/03.jpg")).unwrap().to_rgb8();
    let half = |image: &RgbImage| imageops::resize(image, 45, 40, imageops::FilterType::Triangle);
    type Change = fn(&RgbImage) -> RgbImage;
    let changes: [(&str, Change); 7] = [
        ("resaved", RgbImage::clone),
        ("cropped", |image| cropped(image, 3)),
        ("cropped more", |image| cropped(image, 5)),
        ("cropped most", |image| cropped(image, 6)),
        ("brighter", |image| lit(image, |value| 1.15 * value + 10.0)),
        ("darker", |image| lit(image, |value| 0.8 * value)),
        ("paler", |image| lit(image, |value| 0.7 * value + 40.0)),
    ];
    for (name, change) in changes {
        for (to, kind, severity) in [
            ("train/cat/near.jpg", "near_equal_in_a_class", Severity::Note),
            ("train/dog/near.jpg", "near_equal_in_two_classes", Severity::Warning),
            ("val/cat/near.jpg", "near_equal_in_training_and_validation", Severity::Error),
        ] {
            let found = after(|root| write(root, to, &jpeg(&change(&original(root)), 60)));
            assert_eq!(kinds(&found), [kind], "{name} {to}");
            assert_eq!((found[kind].severity(), found[kind].count), (severity, 1), "{name} {to}");
        }
    }
    let smaller = after(|root| write(root, "train/cat/near.jpg", &jpeg(&half(&original(root)), 90)));
    assert_eq!(kinds(&smaller), ["near_equal_in_a_class", "small_images"]);
}

/// Without validation images, `train` may part nearly equal images.
#[test]
fn nearly_equal_images_that_could_be_parted_are_a_warning() {
    let found = after(|root| {
        fs::remove_dir_all(root.join("val")).unwrap();
        let image = image::open(root.join("train/cat/03.jpg")).unwrap().to_rgb8();
        write(root, "train/cat/near.jpg", &jpeg(&image, 50));
    });
    assert_eq!(kinds(&found), ["near_equal_in_a_class"]);
    assert_eq!(found["near_equal_in_a_class"].severity(), Severity::Warning);
    assert!(found["near_equal_in_a_class"].remedy().contains("--val"));
}

/// However many images are like one another, each is told once, with the one most like it.
#[test]
fn many_like_images_are_told_once_each() {
    let found = after(|root| {
        let image = image::open(root.join("train/cat/03.jpg")).unwrap().to_rgb8();
        for (number, quality) in [30, 50, 70, 90].into_iter().enumerate() {
            write(root, &format!("train/cat/near{number}.jpg"), &jpeg(&image, quality));
        }
    });
    assert_eq!(found["near_equal_in_a_class"].count, 4);
}

/// Even images have hashes of noise, or all the same.
#[test]
fn even_images_are_alike_only_in_the_same_colour() {
    let even = |colour: u8| RgbImage::from_pixel(80, 80, Rgb([colour, 255 - colour, colour / 2]));
    let different = after(|root| {
        for (number, colour) in [20, 60, 100, 140, 180].into_iter().enumerate() {
            write(root, &format!("train/cat/even{number}.png"), &png(even(colour)));
        }
    });
    assert_eq!(kinds(&different), [] as [&str; 0]);
    let same = after(|root| {
        write(root, "train/cat/even0.png", &png(even(100)));
        write(root, "train/cat/even1.png", &png(even(101)));
    });
    assert_eq!(kinds(&same), ["near_equal_in_a_class"]);
}

/// Images of one kind that are not of one scene.
#[test]
fn other_images_of_the_same_kind_are_not_alike() {
    let root = tempdir().unwrap();
    for index in 0..60 {
        let image = RgbImage::from_raw(96, 96, Subject::Pets.draw(5, index, 96)).unwrap();
        let class = Subject::Pets.classes()[Subject::Pets.class(index) as usize];
        write(root.path(), &format!("{class}/{index}.png"), &png(image));
    }
    let alike: Vec<_> = found(root.path()).into_keys().filter(|kind| kind.contains("equal_in")).collect();
    assert_eq!(alike, [] as [&str; 0]);
}

#[test]
fn files_that_cannot_be_used_are_told_by_reason() {
    let found = after(|root| {
        let whole = fs::read(root.join("train/cat/03.jpg")).unwrap();
        write(root, "train/cat/cut1.jpg", &whole[..whole.len() / 2]);
        write(root, "train/dog/cut2.jpg", &whole[..whole.len() / 3]);
        write(root, "train/dog/notes.txt", b"notes");
    });
    assert_eq!(kinds(&found), ["other_files", "unusable_images"]);
    assert_eq!((found["unusable_images"].count, found["unusable_images"].severity()), (2, Severity::Warning));
    assert!(found["unusable_images"].told().contains("is cut short"), "{}", found["unusable_images"].told());
    assert_eq!(found["unusable_images"].examples, ["train/cat/cut1.jpg", "train/dog/cut2.jpg"]);
    assert_eq!(found["unusable_images"].remedy(), "Replace them, or save them anew as JPEG or PNG.");
    assert_eq!(found["other_files"].severity(), Severity::Note);
    let found = after(|root| write(root, "train/lost.jpg", &jpeg(&scene(900, 90, 80), 95)));
    assert!(found["unusable_images"].remedy().contains("into the folder of a class to use "));
}

#[test]
fn unequal_classes_are_told_with_what_guessing_gets() {
    let more = |count: u64| {
        after(move |root| {
            (0..count).for_each(|index| {
                write(root, &format!("train/dog/more{index}.jpg"), &jpeg(&scene(5000 + index, 90, 80), 95));
            });
        })
    };
    assert_eq!(kinds(&more(6)), [] as [&str; 0], "18 to 12");
    let found = more(24);
    assert_eq!(kinds(&found), ["unequal_classes"]);
    let told = found["unequal_classes"].told();
    assert!(told.contains("dog has 36") && told.contains("cat has 12") && told.contains("75.0 %"), "{told}");
    let classes = ["cat", "dog"].map(String::from);
    assert_eq!(Finding::unequal(&classes, &[100, 10]).unwrap().severity(), Severity::Error);
    assert_eq!(Finding::unequal(&classes, &[100, 0]).unwrap().severity(), Severity::Error);
    assert_eq!(Finding::unequal(&classes, &[0, 0]), None);
}

#[test]
fn odd_sizes_and_colours_are_told() {
    let found = after(|root| {
        write(root, "train/dog/small.jpg", &jpeg(&scene(900, 60, 50), 95));
        write(root, "train/dog/long.jpg", &jpeg(&scene(901, 400, 90), 95));
        write(root, "train/cat/grey.jpg", &jpeg(&DynamicImage::from(scene(902, 90, 80)).to_luma8().expand(), 90));
    });
    assert_eq!(kinds(&found), ["grey_images", "long_images", "small_images"]);
    for (kind, example) in [
        ("grey_images", "train/cat/grey.jpg"),
        ("long_images", "train/dog/long.jpg"),
        ("small_images", "train/dog/small.jpg"),
    ] {
        assert_eq!((&found[kind].examples, found[kind].severity()), (&vec![example.to_string()], Severity::Note));
    }
    assert!(found["grey_images"].remedy().starts_with("Nothing need be done"));
}

/// Grey as RGB.
trait Expand {
    fn expand(self) -> RgbImage;
}

impl Expand for image::GrayImage {
    fn expand(self) -> RgbImage {
        DynamicImage::from(self).to_rgb8()
    }
}

/// Each number that tells the classes apart is named, and none else.
#[test]
fn shortcuts_are_found() {
    let each = |change: &dyn Fn(&Path, RgbImage, bool)| {
        let root = clean();
        for file in
            scan(root.path(), &Choices::default()).map(|found| [found.train, found.val.unwrap()].concat()).unwrap()
        {
            let path = root.path().join(&file.path);
            let image = image::open(&path).unwrap().to_rgb8();
            fs::remove_file(&path).unwrap();
            change(&path, image, file.class == 1);
        }
        found(root.path())
    };
    let larger = |image: &RgbImage, [width, height]: [u32; 2]| {
        imageops::resize(image, width, height, imageops::FilterType::Triangle)
    };
    let format = each(&|path, image, dog| match dog {
        true => fs::write(path.with_extension("png"), png(image)).unwrap(),
        false => fs::write(path, jpeg(&image, 95)).unwrap(),
    });
    assert_eq!(kinds(&format), ["classes_differ_in_format"]);
    let told = format["classes_differ_in_format"].told();
    assert!(told.contains("100.0 %") && told.contains("50.0 %"), "{told}");
    assert_eq!(format["classes_differ_in_format"].severity(), Severity::Error);
    let size = each(&|path, image, dog| {
        let side = if dog { [180, 160] } else { [90, 80] };
        fs::write(path, jpeg(&larger(&image, side), 95)).unwrap();
    });
    assert_eq!(kinds(&size), ["classes_differ_in_size"]);
    let light = each(&|path, image, dog| {
        let image = lit(&image, |value| if dog { 0.5 * value } else { 0.5 * value + 120.0 });
        fs::write(path, jpeg(&image, 95)).unwrap();
    });
    assert_eq!(kinds(&light), ["classes_differ_in_brightness"]);
}

#[test]
fn channels_are_those_of_the_pixels() {
    let root = tempdir().unwrap();
    for (class, colour) in [("a", [255, 0, 51]), ("b", [0, 0, 51])] {
        write(root.path(), &format!("{class}/1.png"), &png(RgbImage::from_pixel(70, 70, Rgb(colour))));
    }
    let checkup = examine(&scan(root.path(), &Choices::default()).unwrap(), SIZE, &|_| {}).unwrap();
    let expected = [[0.5, 0.5], [0.0, 0.0], [0.2, 0.0]];
    let channels = checkup.channels().unwrap();
    for (own, expected) in channels.as_flattened().iter().zip(expected.as_flattened()) {
        assert!((own - expected).abs() < 1e-6, "{channels:?}");
    }
}
