//! What a run's network is judged by: never what it learned from, and each content once.

use super::*;
use crate::data::folder::Choices;

/// A run on photos of ten numbers of two classes, and the folder that these lie in.
fn run_and_photos(folder: &Path) -> [PathBuf; 2] {
    let [photos, run] = ["photos", "run"].map(|name| folder.join(name));
    make_photos(&photos, 0..10);
    make_run(&run, &["--data", photos.to_str().unwrap()]);
    [run, photos]
}

fn judged(run: &Path, data: Option<&Path>, own: Option<&Path>) -> Result<Labelled> {
    labelled(&opened(run), data, Choices::default(), own, CACHE)
}

/// The counts of what is left out.
fn left_out(learned: impl Into<Option<usize>>, others: [usize; 4]) -> LeftOut {
    let [doubles, contradictory, of_unknown_class, unusable] = others;
    LeftOut { learned: learned.into(), doubles, contradictory, of_unknown_class, unusable }
}

#[test]
fn without_a_folder_the_runs_own_validation_images_judge() {
    let folder = tempfile::tempdir().unwrap();
    let [run, photos] = run_and_photos(folder.path());
    let found = judged(&run, None, None).unwrap();
    let expected = content(validation_of(&opened(&run), None, CACHE).unwrap().as_ref());
    assert_eq!(content(found.images.as_ref()), expected);
    assert_eq!((found.validated, found.left_out, found.notes), (Some(4), left_out(0, [0; 4]), vec![]));

    let moved = folder.path().join("moved");
    fs::rename(photos, &moved).unwrap();
    assert_eq!(content(judged(&run, None, Some(&moved)).unwrap().images.as_ref()), expected);
    let error = format!("{:#}", judged(&run, None, None).err().unwrap());
    assert!(error.ends_with("is not there any more: give their folder with --trained-on"), "{error}");
    let error = format!("{:#}", judged(&run, None, Some(folder.path())).err().unwrap());
    assert!(error.contains("--trained-on") && !error.contains("with --data"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = format!("{:#}", judged(&run, None, Some(empty.path())).err().unwrap());
    assert!(error.contains("cannot be found again by --trained-on: "), "{error}");
    let error = format!("{:#}", judged(&run, None, Some(Path::new("nowhere"))).err().unwrap());
    assert_eq!(error, "--trained-on nowhere: there is no such folder; check the path");
}

/// Whatever the files are called now, and however often they are there.
#[test]
fn what_was_learned_from_never_judges() {
    let folder = tempfile::tempdir().unwrap();
    let [run, photos] = run_and_photos(folder.path());
    let found = judged(&run, Some(&photos), None).unwrap();
    assert_eq!(content(found.images.as_ref()), content(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()));
    assert_eq!((found.validated, found.left_out), (Some(4), left_out(16, [0; 4])));
    assert_eq!(found.notes[1], "Validation images of the run, which chose its best epoch: 4 of these.");

    // All of these again under other names, twice; and three new ones of each class.
    let others = folder.path().join("others");
    make_photos(&others, 50..53);
    for class in ["cat", "dog"] {
        for number in 0..10 {
            for copy in ["x", "y"] {
                let copy = others.join(class).join(format!("{copy}{number}.png"));
                fs::copy(photos.join(class).join(format!("{number}.png")), copy).unwrap();
            }
        }
    }
    let found = judged(&run, Some(&others), None).unwrap();
    assert_eq!((found.images.len(), found.validated), (4 + 6, Some(4)));
    assert_eq!(found.left_out, left_out(32, [4, 0, 0, 0]));
    // New images alone have nothing to be told.
    let new = folder.path().join("new");
    make_photos(&new, 60..63);
    let found = judged(&run, Some(&new), None).unwrap();
    assert_eq!((found.images.len(), found.validated, found.left_out), (6, Some(0), left_out(0, [0; 4])));
    assert_eq!(found.notes, Vec::<String>::new());
    // And what was learned from alone judges nothing.
    let learned = folder.path().join("learned");
    let validation = names(validation_of(&opened(&run), None, CACHE).unwrap().as_ref());
    for class in ["cat", "dog"] {
        fs::create_dir_all(learned.join(class)).unwrap();
        let name =
            (0..10).map(|number| format!("{class}/{number}.png")).find(|name| !validation.contains(name)).unwrap();
        fs::copy(photos.join(&name), learned.join(&name)).unwrap();
    }
    let error = format!("{:#}", judged(&run, Some(&learned), None).err().unwrap());
    assert!(error.ends_with("no image is left to judge by: 2 images that the network learned from"), "{error}");
}

/// Exchanged under its name, or gone: what was learned from is known by what it was. No photo of the run is read for that.
#[test]
fn what_was_learned_from_is_known_without_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let [run, photos] = run_and_photos(folder.path());
    let new = folder.path().join("new");
    make_photos(&new, 60..63);
    let validation = names(validation_of(&opened(&run), None, CACHE).unwrap().as_ref());
    let learned = (0..10).map(|number| format!("cat/{number}.png")).find(|name| !validation.contains(name)).unwrap();
    fs::copy(photos.join(&learned), new.join("cat/under another name.png")).unwrap();
    fs::copy(new.join("dog/60.png"), photos.join(&learned)).unwrap();
    let found = judged(&run, Some(&new), None).unwrap();
    assert_eq!((found.images.len(), found.validated, found.left_out), (6, Some(0), left_out(1, [0; 4])));
    fs::remove_dir_all(&photos).unwrap();
    let found = judged(&run, Some(&new), None).unwrap();
    assert_eq!((found.images.len(), found.validated, found.left_out), (6, Some(0), left_out(1, [0; 4])));

    // By its file, where another version made other pixels of it.
    let list = opened(&run).listed_photos().unwrap();
    let others: Vec<Photo> = list.iter().map(|photo| Photo { pixels: photo.sha256, ..photo.clone() }).collect();
    let dir = RunDir::at(run.clone());
    let config = opened(&run).config().unwrap().clone();
    dir.write_json("config.json", &Config { photo_list: Some(digest_of_list(&others)), ..config }).unwrap();
    photo_list::write(&dir, &others).unwrap();
    let found = judged(&run, Some(&new), None).unwrap();
    assert_eq!((found.images.len(), found.validated, found.left_out), (6, Some(0), left_out(1, [0; 4])));
}

/// A validation photo that also lies among the training photos was left out of these.
#[test]
fn a_copy_of_a_validation_image_was_not_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    let [run, photos] = run_and_photos(folder.path());
    let name = names(validation_of(&opened(&run), None, CACHE).unwrap().as_ref()).pop_first().unwrap();
    fs::copy(photos.join(&name), photos.join(name.replace(".png", "-copy.png"))).unwrap();
    let found = judged(&run, Some(&photos), None).unwrap();
    assert_eq!((found.images.len(), found.left_out), (4, left_out(16, [1, 0, 0, 0])));
}

#[test]
fn where_the_runs_photos_are_gone_nothing_is_called_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let [run, photos] = run_and_photos(folder.path());
    let [moved, new] = ["moved", "new"].map(|name| folder.path().join(name));
    fs::rename(&photos, &moved).unwrap();
    make_photos(&new, 60..63);
    // It need not be, where the run lists what each photo was.
    let found = judged(&run, Some(&moved), None).unwrap();
    assert_eq!((found.validated, found.left_out), (Some(4), left_out(16, [0; 4])));
    let error = format!("{:#}", judged(&run, Some(&new), Some(&moved)).err().unwrap());
    assert!(error.starts_with("--trained-on: ") && error.ends_with("leave the option out"), "{error}");
    make_older(&run, true);
    let found = judged(&run, Some(&new), None).unwrap();
    assert_eq!((found.images.len(), found.validated, found.left_out), (6, None, left_out(None, [0; 4])));
    let [note] = &found.notes[..] else { panic!("{:?}", found.notes) };
    assert!(note.starts_with("It is not known how many of these images the network learned from: "), "{note}");
    assert!(note.ends_with("give their folder with --trained-on."), "{note}");
    let found = judged(&run, Some(&moved), Some(&moved)).unwrap();
    assert_eq!((found.validated, found.left_out), (Some(4), left_out(16, [0; 4])));
    assert!(judged(&run, Some(&new), Some(&new)).is_err(), "a folder that was named must be the run's");
    // Some of them are.
    let validation = names(validation_of(&opened(&run), Some(&moved), CACHE).unwrap().as_ref());
    let learned = (0..10).map(|number| format!("cat/{number}.png")).find(|name| !validation.contains(name)).unwrap();
    fs::remove_file(moved.join(learned)).unwrap();
    let notes = judged(&run, Some(&new), Some(&moved)).unwrap().notes;
    assert!(
        notes[0].starts_with("An older version made the run") && notes[0].contains(": 15 of 16 images."),
        "{notes:?}"
    );
}

#[test]
fn classes_are_those_of_the_run_whatever_the_folder_has() {
    let folder = tempfile::tempdir().unwrap();
    let [run, _] = run_and_photos(folder.path());
    let new = folder.path().join("new");
    make_photos(&new, 60..63);
    fs::rename(new.join("cat"), new.join("aardvark")).unwrap();
    fs::rename(new.join("dog"), new.join("DOG")).unwrap();
    fs::write(new.join("DOG/broken.png"), b"no image").unwrap();
    let found = judged(&run, Some(&new), None).unwrap();
    assert_eq!(found.left_out, left_out(0, [0, 0, 3, 1]));
    assert!(content(found.images.as_ref()).iter().all(|(name, label, _)| name.starts_with("DOG/") && *label == 1));
    let [unknown, left, missing] = &found.notes[..] else { panic!("{:?}", found.notes) };
    assert_eq!(unknown, "The network does not know these classes: aardvark (3 images).");
    assert!(
        left.starts_with(
            "These are left out: 3 images of classes that it does not know; 1 image that cannot be used; "
        )
    );
    assert!(left.contains("the first: DOG/broken.png is no JPEG or PNG image"), "{left}");
    assert_eq!(missing, "Of these classes there is no image here, so nothing is said of them: cat.");

    fs::rename(new.join("DOG"), new.join("bear")).unwrap();
    let error = format!("{:#}", judged(&run, Some(&new), None).err().unwrap());
    assert!(error.contains("holds the classes aardvark, bear, but the network knows none of them; it knows cat, dog"));
}

#[test]
fn an_image_of_two_classes_judges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [run, _] = run_and_photos(folder.path());
    let new = folder.path().join("new");
    make_photos(&new, 60..63);
    fs::copy(new.join("cat/60.png"), new.join("dog/copy.png")).unwrap();
    let found = judged(&run, Some(&new), None).unwrap();
    assert_eq!((found.images.len(), found.left_out), (5, left_out(0, [0, 2, 0, 0])));
}

/// Of a run on drawn images no photo was learned from.
#[test]
fn drawn_images_judge_and_photos_too() {
    let folder = tempfile::tempdir().unwrap();
    let [run, new] = ["run", "new"].map(|name| folder.path().join(name));
    make_run(&run, &["--train-images", "7", "--val-images", "5"]);
    let found = judged(&run, None, None).unwrap();
    assert_eq!((found.images.len(), found.validated), (5, Some(5)));
    make_photos(&new, 0..3);
    let found = judged(&run, Some(&new), None).unwrap();
    assert_eq!((found.images.len(), found.validated, found.left_out), (6, Some(0), left_out(0, [0; 4])));
    let error = format!("{:#}", judged(&run, Some(&new), Some(&new)).err().unwrap());
    assert!(error.starts_with("--trained-on: ") && error.ends_with("leave the option out"), "{error}");
}
