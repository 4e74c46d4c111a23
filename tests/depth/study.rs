//! The study as a user runs it, on photos of two plain colours.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use image::{Rgb, RgbImage};
use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::trial;
use crate::program::program;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("a_study_leaves_its_answer", a_study_leaves_its_answer),
        trial("all_depths_meet_the_same_images", all_depths_meet_the_same_images),
        trial("a_killed_study_goes_on_to_the_same_bytes", a_killed_study_goes_on_to_the_same_bytes),
        trial("shares_make_the_same_answer", shares_make_the_same_answer),
        trial("the_test_set_is_looked_at_once", the_test_set_is_looked_at_once),
        trial("other_settings_are_refused", other_settings_are_refused),
        trial("a_dry_run_writes_nothing", a_dry_run_writes_nothing),
        trial("a_middle_block_can_be_dropped", a_middle_block_can_be_dropped),
        trial("too_few_images_are_refused", too_few_images_are_refused),
    ]
}

pub fn tests_of_options() -> Vec<Trial> {
    vec![trial("bad_options_of_depth_name_themselves", bad_options_of_depth_name_themselves)]
}

/// Options of a study of about a second, without its folder.
const TINY: &str = "depth --data photos --size 24 --batch 8 --channels 4,6 --epochs 8 --lr 0.02 \
                    --folds 2 --repeats 2 --margin 20";

pub fn convscope(folder: &Path, arguments: &str) -> Output {
    program(folder, arguments.split_whitespace()).output().unwrap()
}

/// Runs and expects success; returns what was printed.
pub fn succeed(folder: &Path, arguments: &str) -> String {
    let output = convscope(folder, arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs and expects one clear error; returns it.
fn fail(folder: &Path, arguments: &str) -> String {
    let output = convscope(folder, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments} succeeded");
    assert!(!stderr.contains("panicked") && stderr.matches("error: ").count() == 1, "{arguments}: {stderr}");
    stderr
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// 20 red and 20 blue photos that differ a little, one double and one that claims to be both.
fn make_photos(root: &Path) {
    for (class, colour) in [("blue", [40, 40, 200]), ("red", [200, 40, 40])] {
        fs::create_dir_all(root.join(class)).unwrap();
        for number in 0..20u8 {
            let photo = RgbImage::from_fn(24, 24, |x, y| {
                let shade = (x * 3 + y * 2 + u32::from(number) * 7) as u8 % 50;
                Rgb(colour.map(|channel| channel + shade))
            });
            photo.save(root.join(class).join(format!("{number:02}.png"))).unwrap();
        }
    }
    let copy = |from: &str, to: &str| fs::copy(root.join(from), root.join(to)).unwrap();
    copy("red/03.png", "red/again.png");
    copy("red/05.png", "red/both.png");
    copy("red/05.png", "blue/both.png");
}

/// A folder with the photos and a whole study of them in `whole`, made once for all tests.
fn studied() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        make_photos(&folder.path().join("photos"));
        succeed(folder.path(), &format!("{TINY} --out whole"));
        folder
    };
    FOLDER.get_or_init(make).path()
}

/// The study's files that must come out the same, however it was made.
fn results(out: &Path) -> Vec<Vec<u8>> {
    ["depth.json", "depth.csv", "test.json", "study.json"].map(|name| fs::read(out.join(name)).unwrap()).into()
}

fn a_study_leaves_its_answer() {
    let folder = studied();
    let found = json(&folder.join("whole/depth.json"));
    assert_eq!((&found["reference"], &found["conclusive"]), (&"d2".into(), &true.into()), "{found}");
    assert_eq!(found["candidates"][0]["errors"].as_array().unwrap().len(), 4);
    assert!(found["words"].as_str().unwrap().contains("never shown to be worse"), "{found}");
    assert_eq!(found["one_standard_error"]["note"].as_str().unwrap().split(',').next(), Some("a heuristic"));

    let study = json(&folder.join("whole/study.json"));
    // 19 of each class are left of 43 files, 3 of each locked away.
    assert_eq!((&study["duplicates"], &study["contradictory"]), (&1.into(), &3.into()), "{study}");
    assert_eq!((&study["dev_images"], &study["test_images"]), (&33.into(), &6.into()), "{study}");

    let page = fs::read_to_string(folder.join("whole/report.html")).unwrap();
    assert!(page.contains("How many layers are enough?") && page.contains("--depths 1,2 --folds 2"));
    for figure in ["difference.svg", "error.svg", "learning.svg"] {
        assert!(fs::read_to_string(folder.join("whole").join(figure)).unwrap().starts_with("<svg"), "{figure}");
    }

    let look = json(&folder.join("whole/test.json"));
    let refits = if look["chosen"] == look["reference"] { 3 } else { 6 };
    assert_eq!(look["networks"].as_array().unwrap().len(), refits, "{look}");
}

/// Indices in a list of a JSON file.
fn indices(list: &Value) -> BTreeSet<u64> {
    list.as_array().unwrap().iter().map(|index| index.as_u64().unwrap()).collect()
}

fn all_depths_meet_the_same_images() {
    let units = studied().join("whole/units");
    let unit =
        |candidate: &str, repeat: usize, fold: usize| json(&units.join(format!("{candidate}-r{repeat}-f{fold}.json")));
    let scored = |unit: &Value| indices(&unit["scores"]["images"]);
    let test = indices(&json(&studied().join("whole/test.json"))["networks"][0]["scores"]["images"]);
    assert_eq!(test.len(), 6);
    let mut folds = BTreeSet::new();
    let mut seeds = BTreeSet::new();
    for repeat in 1..=2 {
        let mut dev = BTreeSet::new();
        for fold in 1..=2 {
            let [one, two] = ["d1", "d2"].map(|candidate| unit(candidate, repeat, fold));
            assert_eq!(scored(&one), scored(&two), "repeat {repeat}, fold {fold}");
            assert_eq!(one["seed"], two["seed"]);
            assert!(scored(&one).is_disjoint(&test), "a unit scored images of the test set");
            dev.extend(scored(&one));
            folds.insert(scored(&one));
            seeds.insert(one["seed"].as_u64().unwrap());
        }
        assert_eq!(dev.len(), 33);
    }
    assert_eq!((folds.len(), seeds.len()), (4, 4), "repeats and folds differ");
}

fn a_killed_study_goes_on_to_the_same_bytes() {
    let folder = studied();
    let words = TINY.split_whitespace().chain(["--out", "killed"]);
    let mut study = program(folder, words).stdout(Stdio::null()).spawn().unwrap();
    let third = folder.join("killed/units/d2-r1-f2.json");
    while !third.exists() && study.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    let _ = study.kill();
    study.wait().unwrap();
    let made = |unit: &str| fs::metadata(folder.join("killed/units").join(unit)).unwrap().modified().unwrap();
    let before = made("d2-r1-f1.json");
    fs::write(folder.join("killed/units/d1-r2-f2.json.1-2.unfinished"), b"{ half a fi").unwrap();
    succeed(folder, &format!("{TINY} --out killed"));
    assert_eq!(results(&folder.join("killed")), results(&folder.join("whole")));
    assert_eq!(made("d2-r1-f1.json"), before, "what was there is not made again");
}

fn shares_make_the_same_answer() {
    let folder = studied();
    succeed(folder, &format!("{TINY} --out shared --unit 2/2"));
    let error = fail(folder, "depth --collect --out shared");
    assert!(error.contains("4 of the study's units are missing: units/d2-r1-f1.json"), "{error}");
    succeed(folder, &format!("{TINY} --out shared --unit 1/2"));
    assert!(!folder.join("shared/depth.json").exists(), "a share has no answer");
    let study = fs::read_to_string(folder.join("shared/study.json")).unwrap();
    let begun_by = json(&folder.join("shared/study.json"))["identity"]["program"].as_str().unwrap().to_string();
    fs::write(folder.join("shared/study.json"), study.replace(&begun_by, "0.0.1 older")).unwrap();
    let error = fail(folder, "depth --collect --out shared");
    assert!(error.contains("another program (0.0.1 older, this is"), "{error}");
    fs::write(folder.join("shared/study.json"), study).unwrap();
    let printed = succeed(folder, "depth --collect --out shared");
    assert!(printed.contains("The test set has not been looked at"), "{printed}");
    assert!(!folder.join("shared/test.json").exists());
    succeed(folder, &format!("{TINY} --out shared"));
    assert_eq!(results(&folder.join("shared")), results(&folder.join("whole")));
}

/// A record whose figures are others is shown as it is: nothing is computed again.
fn the_test_set_is_looked_at_once() {
    let folder = studied();
    copy_study(folder, "looked");
    let path = folder.join("looked/test.json");
    let mut record = json(&path);
    record["networks"][0]["calibration_error"] = 0.7725.into();
    fs::write(&path, record.to_string()).unwrap();
    fs::remove_dir_all(folder.join("looked/refit")).unwrap();
    for command in [&format!("{TINY} --out looked"), "depth --collect --out looked"] {
        let printed = succeed(folder, command);
        assert!(printed.contains("recorded earlier") && printed.contains("calibration error 0.7725"), "{printed}");
        assert_eq!(json(&path), record);
        assert!(!folder.join("looked/refit").exists(), "nothing is trained for a second look");
    }
}

/// Copies the whole study.
fn copy_study(folder: &Path, name: &str) {
    for part in ["", "units", "refit"] {
        let [from, to] = ["whole", name].map(|study| folder.join(study).join(part));
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn other_settings_are_refused() {
    let folder = studied();
    copy_study(folder, "mixed");
    let before = results(&folder.join("mixed"));
    let error = fail(folder, &format!("{TINY} --seed 1 --out mixed"));
    assert!(error.contains("--out mixed: holds another study, in which settings.seed is 0, not 1"), "{error}");

    // Photos are known by their content, whatever folder they lie in.
    let others = folder.join("others");
    make_photos(&others);
    fs::copy(others.join("blue/00.png"), others.join("blue/07.png")).unwrap();
    fs::remove_file(others.join("red/again.png")).unwrap();
    let error = fail(folder, &format!("{} --out mixed", TINY.replace("--data photos", "--data others")));
    let told = "--out mixed: holds a study of other photos than these: 1 changed, such as blue/07.png; 1 missing, such as red/again.png; bring";
    assert!(error.contains(told), "{error}");

    let unit = "mixed/units/d1-r1-f2.json";
    let text = fs::read_to_string(folder.join(unit)).unwrap();
    fs::write(folder.join(unit), text.replacen("\"lr\":0.02", "\"lr\":0.03", 1)).unwrap();
    for command in ["depth --collect --out mixed", &format!("{TINY} --out mixed")] {
        let error = fail(folder, command);
        assert!(error.contains("d1-r1-f2.json") && error.contains("settings.lr is 0.03, not 0.02"), "{error}");
    }
    assert_eq!(results(&folder.join("mixed")), before);

    let error = fail(folder, &format!("{TINY} --out photos/red"));
    assert!(error.contains("photos/red: lies in the folder of the images, photos"), "{error}");
    fs::create_dir(folder.join("other")).unwrap();
    fs::write(folder.join("other/letter.txt"), b"dear").unwrap();
    let error = fail(folder, &format!("{TINY} --out other"));
    assert!(error.contains("--out other: exists already and holds no study"), "{error}");
    let error = fail(folder, "depth --collect --out other");
    assert!(error.contains("other/study.json: cannot be read"), "{error}");
}

fn a_dry_run_writes_nothing() {
    let folder = studied();
    let printed = succeed(folder, &format!("{TINY} --out dry --dry-run"));
    assert!(printed.contains("8 to make") && printed.contains("cost "), "{printed}");
    assert!(printed.contains("     8  d1, repeat 2, fold 2"), "{printed}");
    assert!(!folder.join("dry").exists());
}

fn a_middle_block_can_be_dropped() {
    let folder = studied();
    let drop = TINY.replace("--size 24", "--size 40").replace("4,6", "4,6,8").replace("--repeats 2", "--repeats 1");
    succeed(folder, &format!("{drop} --ladder drop --out dropped"));
    let found = json(&folder.join("dropped/depth.json"));
    let rows: Vec<_> = [0, 1].map(|row| &found["candidates"][row]).into();
    assert_eq!((&rows[1]["name"], &rows[1]["left_out"]), (&"d3-without-2".into(), &2.into()), "{found}");
    // 40 pixels become maps of 19, 9 and 4; without a block of 9.
    assert_eq!((&rows[0]["last_map"], &rows[1]["last_map"]), (&4.into(), &9.into()), "{found}");
    assert_eq!((&rows[0]["receptive_field"], &rows[1]["receptive_field"]), (&15.into(), &7.into()), "{found}");
    assert!(found["one_standard_error"].is_null());
}

fn too_few_images_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = fail(folder.path(), "depth --images 9 --size 24 --channels 4,6 --out few");
    assert!(error.contains("'cat' has 5 distinct images") && error.contains("--folds"), "{error}");
    assert!(!folder.path().join("few").exists());
}

fn bad_options_of_depth_name_themselves() {
    let folder = tempfile::tempdir().unwrap();
    for (options, message) in [
        ("--depths 1..9", "--depths: depth 9 is more than the 5 blocks"),
        ("--depths 3", "--depths"),
        ("--depths 0..3", "numbers from 1 to 100"),
        ("--size 24", "--depths: depth 5 is impossible at --size 24"),
        ("--size 63 --batch 1", "--depths: depth 5 ends in maps of 1 x 1"),
        ("--ladder drop --channels 4,6", "no middle block"),
        ("--ladder drop --depths 1..3", "--ladder"),
        ("--folds 1", "--folds 1"),
        ("--repeats 0", "--repeats 0"),
        ("--margin 0", "--margin 0"),
        ("--margin -1", "--margin -1"),
        ("--margin NaN", "--margin NaN"),
        ("--lr 0", "--lr 0"),
        ("--unit 3/2", "expected K/N"),
        ("--unit 0/2", "expected K/N"),
        ("--unit 1/2 --collect --out study", "--collect"),
        ("--collect", "--out"),
        ("--images 1", "--images 1"),
        ("--val-images 10", "--folds"),
        ("--data photos --images 10", "--images"),
    ] {
        let error = fail(folder.path(), &format!("depth {options}"));
        assert!(error.contains(message), "{options}: {error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}
