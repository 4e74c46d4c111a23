//! The images of a run are found again, and what has changed about them is told.

use super::*;

#[test]
fn drawn_images_are_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let made = make_run(&run, &["--seed", "3", "--train-images", "7", "--val-images", "5"]);
    assert_eq!((made.train.len(), made.val.len()), (7, 5));
    assert_rebuilt(&run, None, &made);
    let error = error(&run, Some(folder.path()));
    assert!(error.contains("trained on drawn images"), "{error}");
}

#[test]
fn photos_are_split_again_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..10);
    fs::write(photos.join("dog/broken.png"), b"no image").unwrap();
    let made = make_run(&run, &["--seed", "3", "--data", photos.to_str().unwrap(), "--val-share", "0.3"]);
    assert_eq!((made.train.len() + made.val.len(), made.rejected.len()), (20, 1));
    assert_rebuilt(&run, None, &made);

    let moved = folder.path().join("moved");
    fs::rename(&photos, &moved).unwrap();
    let error = error(&run, None);
    assert!(error.contains("photos, which is not there any more: give their folder with --data"), "{error}");
    assert_rebuilt(&run, Some(&moved), &made);
}

/// A class whose photos were broken, but for a few: wherever these lay in the first split, they are found again.
#[test]
fn photos_set_aside_in_place_of_broken_ones_are_found_again() {
    for seed in ["0", "1", "2", "3"] {
        let folder = tempfile::tempdir().unwrap();
        let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
        make_photos(&photos, 0..10);
        for number in 0..8 {
            fs::write(photos.join(format!("cat/{number}.png")), b"no image").unwrap();
        }
        let made = make_run(&run, &["--seed", seed, "--data", photos.to_str().unwrap()]);
        assert_rebuilt(&run, None, &made);
    }
}

#[test]
fn a_validation_folder_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos.join("train"), 0..4);
    make_photos(&photos.join("val"), 10..12);
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    assert_eq!((made.train.len(), made.val.len()), (8, 4));
    assert_rebuilt(&run, None, &made);
}

#[test]
fn photos_that_come_and_go_leave_the_division_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..10);
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    assert_eq!((made.train.len(), made.val.len()), (16, 4));
    assert_eq!(change(&run), None);

    // As many are set aside of eleven as of ten, but others.
    make_photos(&photos, 10..11);
    let [held, all] =
        [validation_of(&opened(&run), None, CACHE).unwrap(), of_run(&opened(&run), None, CACHE).unwrap().val];
    assert_eq!(names(held.as_ref()), names(made.val.as_ref()), "no photo that was trained on is a validation photo");
    assert_eq!(names(all.as_ref()), names(made.val.as_ref()));
    assert_eq!(of_run(&opened(&run), None, CACHE).unwrap().train.len(), 16, "nor are others taken for them");
    assert_eq!(change(&run), None);

    let gone = made.val.name(0);
    fs::remove_file(photos.join(&gone)).unwrap();
    let left = names(validation_of(&opened(&run), None, CACHE).unwrap().as_ref());
    assert!(left.len() == 3 && left.is_subset(&names(made.val.as_ref())), "{left:?} without {gone}");
    let note = change(&run).unwrap();
    assert!(note.ends_with(&format!("was judged by: 1 missing, such as {gone}.")), "{note}");
}

/// What was exchanged, changed, damaged or removed is left out and named, on either side, whatever it holds now.
#[test]
fn what_is_another_photo_now_is_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..10);
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    let sorted = |images: &dyn Images| names(images).into_iter().collect::<Vec<_>>();
    let [train, val] = [sorted(made.train.as_ref()), sorted(made.val.as_ref())];
    drop(made);
    // A photo that was learned from takes the name of one that judged, and the other way round.
    let copy = |from: &str, to: &str| fs::copy(photos.join(from), photos.join(to)).unwrap();
    copy(&val[0], "aside.png");
    copy(&train[0], &val[0]);
    copy("aside.png", &train[0]);
    fs::remove_file(photos.join("aside.png")).unwrap();
    fs::write(photos.join(&train[1]), b"no image").unwrap();
    fs::remove_file(photos.join(&train[2])).unwrap();
    // The same photo in another file is the same.
    let again = image::open(photos.join(&train[3])).unwrap().to_rgb8();
    let encoder = image::codecs::png::PngEncoder::new_with_quality(
        fs::File::create(photos.join(&train[3])).unwrap(),
        image::codecs::png::CompressionType::Uncompressed,
        image::codecs::png::FilterType::NoFilter,
    );
    again.write_with_encoder(encoder).unwrap();

    let shown = run.display();
    let expected = [
        format!("Left out of the 4 photos that the run {shown} was judged by: 1 changed, such as {}.", val[0]),
        format!(
            "Left out of the 16 photos that the run {shown} learned from: 2 changed, such as {}; 1 missing, such as {}.",
            train[0], train[2]
        ),
    ];
    assert_eq!(notes(&run), expected);
    for left in [of_run(&opened(&run), None, CACHE).unwrap(), held_out_of(&opened(&run), None, 5, CACHE).unwrap()] {
        assert_eq!([sorted(left.train.as_ref()), sorted(left.val.as_ref())], [train[3..].to_vec(), val[1..].to_vec()]);
        let of = |file: &str| left.rejected.iter().find(|other| other.file == file).map(|other| other.reason.as_str());
        assert_eq!(of(&val[0]), Some("is not the photo any more that the network was judged by"));
        assert_eq!(of(&train[0]), Some("is not the photo any more that the network learned from"));
    }
    assert_eq!(sorted(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()), val[1..]);
}

/// The images of a training that is gone on with are held against the list, too.
#[test]
fn a_training_goes_on_with_its_own_photos() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..6);
    let options = ["--data", photos.to_str().unwrap()];
    make_run(&run, &options);
    let check = || {
        let source = Source::of(&arguments(&options));
        let now = source.divide(source.scan().unwrap()).unwrap();
        opened(&run).check_photos(&now.list).map_err(|error| error.to_string())
    };
    assert_eq!(check(), Ok(()));
    let photo = photos.join("cat/3.png");
    let own = fs::read(&photo).unwrap();
    RgbImage::from_pixel(30, 40, Rgb([1, 2, 3])).save(&photo).unwrap();
    let told = "the images are not those that the training began with: 1 changed, such as cat/3.png; bring them back";
    assert!(check().unwrap_err().starts_with(told), "{:?}", check());
    fs::write(&photo, own).unwrap();
    assert_eq!(check(), Ok(()));
}

/// Runs from before all photos were listed: what judged is known again, and what was learned from is not.
#[test]
fn an_older_list_of_validation_photos_is_enough_to_judge() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..10);
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    make_older(&run, true);
    assert_rebuilt(&run, None, &made);
    let note = change(&run).unwrap();
    assert!(note.contains("it is not known which photos it learned from. It had 16 + 4 photos; "), "{note}");
    assert!(note.contains(" now has 16 + 4, "), "{note}");
    let [learned, judged] = [made.train.name(0), made.val.name(0)];
    fs::copy(photos.join(&learned), photos.join(&judged)).unwrap();
    let notes = notes(&run);
    assert!(notes[0].ends_with(&format!("was judged by: 1 changed, such as {judged}.")), "{notes:?}");
    assert!(notes.len() == 2 && notes[1].contains(" now has 16 + 3, "), "{notes:?}");
    assert_eq!(validation_of(&opened(&run), None, CACHE).unwrap().len(), 3);
}

/// Runs from before the list had sums: what was learned from does not judge, though it is on the list.
#[test]
fn an_older_list_is_not_trusted_blindly() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..10);
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    make_older(&run, false);
    assert_rebuilt(&run, None, &made);
    let note = change(&run).unwrap();
    assert!(
        note.contains("which photos it learned from, nor whether those that judged it are still the same. It"),
        "{note}"
    );
    let [learned, judged] = [made.train.name(0), made.val.name(0)];
    fs::copy(photos.join(&learned), photos.join(&judged)).unwrap();
    for left in [of_run(&opened(&run), None, CACHE).unwrap().val, validation_of(&opened(&run), None, CACHE).unwrap()] {
        assert_eq!((left.len(), names(left.as_ref()).contains(&judged)), (made.val.len() - 1, false));
    }
    let note = change(&run).unwrap();
    assert!(note.contains("of which 1 of 4 equal others and judge no longer"), "{note}");
    fs::remove_file(photos.join(made.train.name(1))).unwrap();
    let note = change(&run).unwrap();
    assert!(note.contains("had 16 + 4 photos") && note.contains("now has 15 + 3"), "{note}");
    fs::remove_file(run.join("validation.csv")).unwrap();
    let error = error(&run, None);
    assert!(error.contains("not known which photos the run was judged by; train it anew"), "{error}");
}

#[test]
fn what_was_said_of_the_folders_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, moved] = ["photos", "moved"].map(|name| folder.path().join(name));
    make_photos(&photos.join("some/train"), 0..4);
    make_photos(&photos.join("more"), 10..12);
    make_photos(&folder.path().join("elsewhere"), 20..22);
    let [inside, outside] = [photos.join("more"), folder.path().join("elsewhere")];
    let runs = [
        ("inside", "", ["--val", inside.to_str().unwrap()], (8, 4)),
        ("outside", "some", ["--val", outside.to_str().unwrap()], (8, 4)),
        ("level", "", ["--class-level", "3"], (6, 2)),
    ];
    let made = runs.map(|(name, below, options, expected)| {
        let data = photos.join(below);
        let made = make_run(&folder.path().join(name), &[["--data", data.to_str().unwrap()], options].concat());
        assert_eq!((made.train.len(), made.val.len()), expected, "{name}");
        assert_rebuilt(&folder.path().join(name), None, &made);
        made
    });
    fs::rename(&photos, &moved).unwrap();
    for ((name, below, ..), made) in runs.iter().zip(&made) {
        assert_rebuilt(&folder.path().join(name), Some(&moved.join(below)), made);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_data_folder_whose_path_cannot_be_recorded_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join(std::ffi::OsStr::from_bytes(b"fotos\xe0"));
    make_photos(&photos, 0..4);
    let error = folder::scan(&photos, &Choices::default()).unwrap_err().to_string();
    assert!(error.starts_with("--data: the path ") && error.contains(r"fotos\xE0 is not valid Unicode"), "{error}");
    let val = Choices { val: Some(photos.clone()), class_level: None };
    make_photos(&folder.path().join("photos"), 4..8);
    let error = folder::scan(&folder.path().join("photos"), &val).unwrap_err().to_string();
    assert!(error.starts_with("--val: the path "), "{error}");
}

/// In a folder with validation photos of its own, those that come later may have been trained on.
#[test]
fn validation_photos_that_come_later_do_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos.join("train"), 0..4);
    make_photos(&photos.join("val"), 10..12);
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    fs::copy(photos.join("train/cat/0.png"), photos.join("val/cat/9.png")).unwrap();
    let [held, all] =
        [validation_of(&opened(&run), None, CACHE).unwrap(), of_run(&opened(&run), None, CACHE).unwrap().val];
    assert_eq!(names(held.as_ref()), names(made.val.as_ref()));
    assert_eq!(names(all.as_ref()), names(made.val.as_ref()));
    for class in ["cat", "dog"] {
        for number in 0..2 {
            fs::remove_file(photos.join(format!("val/{class}/{}.png", number + 10))).unwrap();
        }
    }
    fs::copy(photos.join("train/dog/0.png"), photos.join("val/dog/9.png")).unwrap();
    let error = error(&run, None);
    assert!(error.contains("none of the 4 photos that the run"), "{error}");
}

#[test]
fn a_folder_that_has_changed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, run] = ["photos", "run"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..10);
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    assert_eq!(change(&run), None);
    for name in [made.train.name(0), made.val.name(0)] {
        fs::remove_file(photos.join(name)).unwrap();
    }
    let notes = notes(&run);
    assert!(
        notes.len() == 2 && notes[0].contains("of the 4 photos") && notes[1].contains("of the 16 photos"),
        "{notes:?}"
    );
    assert_eq!(validation_of(&opened(&run), None, CACHE).unwrap().len(), 3, "fewer images are no error");

    fs::rename(photos.join("cat"), photos.join("bird")).unwrap();
    let error = error(&run, None);
    assert!(error.contains("knows the classes cat, dog, but") && error.contains("holds bird, dog"), "{error}");
}

/// Whether they have other names, or the names alone, or one class is there: what is wrong is the folder, not its photos.
#[test]
fn another_folder_than_the_runs_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [photos, others, namesakes, half, run] =
        ["photos", "others", "namesakes", "half", "run"].map(|name| folder.path().join(name));
    make_photos(&photos, 0..10);
    make_photos(&others, 20..30);
    make_photos(&namesakes, 0..10);
    make_photos(&half, 0..10);
    let made = make_run(&run, &["--data", photos.to_str().unwrap()]);
    for (to, from) in [("cat", "dog"), ("dog", "cat")] {
        for number in 0..10 {
            let name = format!("{number}.png");
            fs::copy(photos.join(from).join(&name), namesakes.join(to).join(&name)).unwrap();
        }
    }
    for name in names(made.val.as_ref()).iter().filter(|name| name.starts_with("dog")) {
        fs::remove_file(half.join(name)).unwrap();
    }
    for (data, problem) in [
        (&others, "none of the 4 photos that the run"),
        (&namesakes, "are in this folder (files of these names that are others: 4); give the folder"),
        (&half, "of the class 'dog', none of the photos"),
    ] {
        let opened = opened(&run);
        for error in [validation_of(&opened, Some(data), CACHE).err(), of_run(&opened, Some(data), CACHE).err()] {
            let error = format!("{:#}", error.expect("it is another folder"));
            assert!(error.starts_with(&format!("--data {}: ", data.display())) && error.contains(problem), "{error}");
            assert!(error.ends_with("give the folder of the run's photos with --data"), "{error}");
        }
    }
    assert_rebuilt(&run, Some(&photos), &made);
}

#[test]
fn a_run_without_its_settings_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = error(folder.path(), None);
    assert!(message.contains("config.json cannot be read"), "{message}");
    fs::write(folder.path().join("config.json"), b"{}").unwrap();
    let message = error(folder.path(), None);
    assert!(message.contains("config.json: cannot be used: missing field"), "{message}");
    let message = error(&folder.path().join("nowhere"), None);
    assert!(message.contains("there is no such folder"), "{message}");
}
