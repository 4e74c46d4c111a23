//! What a new run learns from and is judged by.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Given itself, as one of several, or by a folder of its results; as training images or to validate on.
#[test]
fn the_images_that_a_run_made_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, runs] = ["photos", "runs"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..4);
    for run in ["001", "002"].map(|name| runs.join(name)) {
        make_photos(&run.join("explain"), 10..12);
        make_photos(&run, 10..12);
        ["config.json", "best.safetensors"].iter().for_each(|name| fs::write(run.join(name), "").unwrap());
    }
    let scan = |data: &Path, options: &[&str]| {
        let options = [&["--data", data.to_str().unwrap()], options].concat();
        Source::of(&arguments(&options)).scan().map(|found| found.unwrap().train.len())
    };
    let remedy = "give the folder of your own images, as one folder a class";
    for (given, what) in [
        (runs.join("001"), "is the folder of a run, whose images are results"),
        (runs.clone(), "its images are results of the run "),
        (runs.join("002/explain"), "its images are results of the run "),
        (folder.path().to_path_buf(), "its images are results of the run "),
    ] {
        let shown = given.display();
        let error = scan(&given, &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--data {shown}: {what}")) && error.ends_with(remedy), "{error}");
        // Of several runs, it is told that their classes are not those of the photos.
        if given != runs && !photos.starts_with(&given) {
            let error = scan(&photos, &["--val", given.to_str().unwrap()]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--val {shown}: {what}")) && error.ends_with(remedy), "{error}");
        }
    }
    // Neither settings nor weights alone make a run, and one in a folder that is not read does no harm.
    for name in ["config.json", "best.safetensors"] {
        fs::write(photos.join(name), "").unwrap();
        assert_eq!(scan(&photos, &[]).unwrap(), 8);
        fs::remove_file(photos.join(name)).unwrap();
    }
    fs::rename(&photos, folder.path().join("train")).unwrap();
    fs::rename(&runs, folder.path().join("test")).unwrap();
    assert_eq!(scan(folder.path(), &[]).unwrap(), 8);
}

fn contents(images: &dyn Images) -> BTreeSet<Vec<u8>> {
    content(images).into_iter().map(|(.., pixels)| pixels).collect()
}

/// Checks what must hold whatever a folder holds.
fn assert_apart(data: &Data, case: &str) {
    let [learned, judged] = [data.train.as_ref(), data.val.as_ref()].map(contents);
    assert!(learned.is_disjoint(&judged), "{case}: a content is on both sides");
    assert_eq!(judged.len(), data.val.len(), "{case}: a content judges twice");
    for class in 0..data.classes.len() as u32 {
        let has = |images: &dyn Images| (0..images.len()).any(|index| images.label(index) == class);
        assert!(has(data.train.as_ref()) && has(data.val.as_ref()), "{case}: a class is missing on one side");
    }
}

/// A photo whose content is that of all photos of its number; broken for number 0.
fn write_photo(path: &Path, number: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match number {
        0 => fs::write(path, b"no image").unwrap(),
        _ => RgbImage::from_fn(6, 5, |x, y| Rgb([x as u8, y as u8, number])).save(path).unwrap(),
    }
}

/// Names as people have them, some of which cannot be told from others where bytes that are no Unicode are dropped.
fn photo_name(number: usize) -> PathBuf {
    #[cfg(target_os = "linux")]
    if number.is_multiple_of(3) {
        use std::os::unix::ffi::OsStringExt;
        let ending = format!("{}.png", number / 16);
        let name = [b"foto".as_slice(), &[0xE0 + (number % 16) as u8], ending.as_bytes()];
        return std::ffi::OsString::from_vec(name.concat()).into();
    }
    match number % 3 {
        1 => format!("below/it's {number}.png").into(),
        _ => format!(r"a\{number}.png").into(),
    }
}

/// Fills a folder with few or many photos, doubles within and across classes and parts, and broken files; returns the
/// number of files.
fn fill_at_random(root: &Path, rng: &mut ChaCha8Rng) -> usize {
    let parts: &[&str] = if rng.random_bool(0.5) { &[""] } else { &["train", "val"] };
    let contents = rng.random_range(10..=200);
    let mut files = 0;
    let classes = rng.random_range(2..=5);
    for part in parts {
        for class in 0..classes {
            let broken = if rng.random_bool(0.1) { 0.8 } else { 0.05 };
            for photo in 0..rng.random_range(2..=12) {
                let number = if rng.random_bool(broken) { 0 } else { rng.random_range(1..=contents) };
                write_photo(&root.join(part).join(format!("class {class}")).join(photo_name(photo)), number);
                files += 1;
            }
        }
    }
    files
}

/// Replaces some photos by others, adds copies and removes some.
fn change_at_random(root: &Path, rng: &mut ChaCha8Rng) {
    let files = folder::images_below(root).unwrap();
    let any = |rng: &mut ChaCha8Rng| files[rng.random_range(0..files.len())].clone();
    for number in 0..rng.random_range(0..8) {
        let [from, to] = [any(rng), any(rng)];
        let _ = match rng.random_range(0..4) {
            0 => fs::copy(from, to).map(|_| ()),
            1 => fs::copy(&from, to.with_file_name(format!("new {number}.png"))).map(|_| ()),
            2 => fs::remove_file(to),
            _ => fs::rename(from, to),
        };
    }
}

/// No content is both learned from and judged by, in a new run and whenever the run is looked into, however the folder has
/// changed by then.
#[test]
fn no_content_is_on_both_sides_whatever_a_folder_holds() {
    let mut made_runs = 0;
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let case = format!("folder {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        let files = fill_at_random(&photos, &mut rng);
        let data = ["--data", photos.to_str().unwrap(), "--seed", "1"];
        let made = match try_to_make_run(&run, &data) {
            Ok(made) => made,
            Err(error) => {
                let error = format!("{error:#}");
                let expected = ["too few different images", "images of the class", "has no usable image"];
                assert!(expected.iter().any(|part| error.contains(part)), "{case}: {error}");
                continue;
            }
        };
        made_runs += 1;
        let kinds = ["is no JPEG", "equals the training", "counted once", "of another class"];
        let told = |kind: &&str| made.rejected.iter().any(|file| file.reason.contains(kind));
        seen.extend(kinds.into_iter().filter(told));
        seen.extend((!made.contradictory.is_empty()).then_some("in two classes"));
        assert_apart(&made, &case);
        assert_eq!(made.train.len() + made.val.len() + made.rejected.len(), files, "{case}: every file is told");
        let again = of_run(&opened(&run), None, CACHE).unwrap();
        assert_eq!(content(again.train.as_ref()), content(made.train.as_ref()), "{case}");
        assert_eq!(content(again.val.as_ref()), content(made.val.as_ref()), "{case}");
        assert_eq!(
            content(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()),
            content(made.val.as_ref()),
            "{case}"
        );

        let [learned, judged] = [made.train.as_ref(), made.val.as_ref()].map(contents);
        drop(made);
        change_at_random(&photos, &mut rng);
        if let Ok(later) = of_run(&opened(&run), None, CACHE) {
            assert_apart(&later, &case);
            let still = contents(later.val.as_ref());
            assert!(still.is_subset(&judged) && still.is_disjoint(&learned), "{case}: others judge after a change");
            assert_eq!(contents(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()), still, "{case}");
            assert_apart(&held_out_of(&opened(&run), None, 5, CACHE).unwrap(), &case);
        }
    }
    assert!(made_runs > 30 && seen.len() == 5, "only {made_runs} of the folders could be used, with {seen:?}");
}

/// The cases of [`no_content_is_on_both_sides_whatever_a_folder_holds`] that were wrong once.
#[test]
fn doubles_stay_together_where_a_class_has_few_photos() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    make_photos(&photos, 0..30);
    for class in ["cat", "dog"] {
        for number in 0..10 {
            let photo = photos.join(class).join(format!("{number}.png"));
            fs::copy(&photo, photo.with_file_name(format!("copy {number}.png"))).unwrap();
        }
    }
    let options = ["--data", photos.to_str().unwrap()];
    let made = make_run(&folder.path().join("copies"), &options);
    assert_apart(&made, "copies");
    assert_eq!(made.val.len(), 12, "a fifth of 30 contents in each class");
    assert_eq!(made.train.len() + made.val.len() + made.rejected.len(), 80);
    assert!(made.rejected.iter().all(|file| file.reason.contains("and each is counted once")), "{:?}", made.rejected);

    // A class with one photo, stored twice, cannot be on both sides.
    write_photo(&photos.join("owl/1.png"), 200);
    write_photo(&photos.join("owl/2.png"), 200);
    let error = try_to_make_run(&folder.path().join("owl"), &options).err().unwrap();
    let error = format!("{error:#}");
    assert!(
        error.contains("different images of the class 'owl' (1, without copies") && error.contains("--val"),
        "{error}"
    );
    // With another photo it can.
    write_photo(&photos.join("owl/3.png"), 201);
    assert_apart(&make_run(&folder.path().join("owls"), &options), "owls");
    // A class of broken files has nothing to be set aside.
    fs::write(photos.join("owl/3.png"), b"no image").unwrap();
    let error = format!("{:#}", try_to_make_run(&folder.path().join("broken"), &options).err().unwrap());
    assert!(error.contains("'owl' (1, without copies"), "{error}");
}

#[test]
fn images_of_two_classes_are_only_learned_from_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..6);
    assert_eq!(make_run(&folder.path().join("plain"), &["--data", photos.to_str().unwrap()]).contradictory, [""; 0]);
    fs::copy(photos.join("cat/2.png"), photos.join("dog/also.png")).unwrap();
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    assert_eq!(made.contradictory, ["cat/2.png"]);
    let learned = names(made.train.as_ref());
    assert!(learned.contains("cat/2.png") && learned.contains("dog/also.png"), "{learned:?}");
    assert_rebuilt(&run, None, &made);
}

#[test]
fn a_validation_folder_judges_with_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos.join("train"), 0..6);
    make_photos(&photos.join("val"), 4..9);
    let copy = |from: &str, to: &str| fs::copy(photos.join(from), photos.join(to)).unwrap();
    copy("val/cat/8.png", "val/cat/again.png");
    copy("val/cat/7.png", "val/dog/also.png");
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    assert_apart(&made, "a validation folder");
    let reasons: Vec<_> = made.rejected.iter().map(|file| format!("{} {}", file.file, file.reason)).collect();
    assert_eq!(
        reasons,
        [
            "val/cat/4.png equals the training image train/cat/4.png, so it cannot judge what was learned",
            "val/cat/5.png equals the training image train/cat/5.png, so it cannot judge what was learned",
            "val/cat/7.png equals the image val/dog/also.png of another class, so it cannot judge what was learned",
            "val/cat/again.png equals the validation image val/cat/8.png, and each is counted once",
            "val/dog/4.png equals the training image train/dog/4.png, so it cannot judge what was learned",
            "val/dog/5.png equals the training image train/dog/5.png, so it cannot judge what was learned",
            "val/dog/also.png equals the image val/cat/7.png of another class, so it cannot judge what was learned",
        ]
    );
    assert_eq!(names(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()), names(made.val.as_ref()));
}

#[test]
fn the_division_follows_the_seed_and_the_share() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    make_photos(&photos, 0..10);
    let data = photos.to_str().unwrap();
    let val = |number: usize, seed: &str, share: &str| {
        let run = folder.path().join(number.to_string());
        names(make_run(&run, &["--data", data, "--seed", seed, "--val-share", share]).val.as_ref())
    };
    let shares = [("0.2", 4), ("0.5", 10), ("0.001", 2), ("0.999", 18)];
    for (number, (share, count)) in shares.into_iter().enumerate() {
        assert_eq!(val(number, "0", share).len(), count, "share {share}");
    }
    assert_eq!(val(10, "5", "0.2"), val(11, "5", "0.2"));
    assert_ne!(val(12, "5", "0.2"), val(13, "6", "0.2"));
}
