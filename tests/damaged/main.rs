//! Every file of a run and of a study, damaged in every way that a walk through it finds: whoever reads it tells the file and the
//! field, or goes on to a right page. Nothing panics, and nothing takes long.

#[path = "../common/mod.rs"]
mod common;
mod damage;
#[path = "../common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use common::trial;
use convscope::commands::images;
use convscope::nn::checkpoint::{Checkpoint, Meta, Weights};
use convscope::nn::{Architecture, Normalize, Preparation, Strided};
use convscope::report::{DepthStudy, Report};
use convscope::study::{Study, findings};
use convscope::train::Run;
use convscope::train::Which;
use convscope::train::checkpoints::Checkpoints;
use convscope::train::run_dir::RunDir;
use damage::{Damage, Damages};
use image::{Rgb, RgbImage};
use program::program;
use tempfile::TempDir;

fn main() {
    let needing_gpu = vec![
        trial("whole_files_are_read", whole_files_are_read),
        trial("files_of_another_run_of_the_same_settings_are_told", files_of_another_run),
        trial("what_a_report_looks_for_is_written_last", what_a_report_looks_for_is_written_last),
        trial("a_report_of_a_damaged_run_names_what_helps", a_report_of_a_damaged_run_names_what_helps),
        trial("settings", || of_run("config.json", damage::json, &["val_share", "momentum", "val_of_class"])),
        trial("environments", || of_run("environment.json", damage::json, &[])),
        trial("metrics", || of_run("metrics.csv", damage::csv, &[])),
        trial("rejected_files", || of_run("rejected.csv", damage::csv, &[])),
        trial("photos", || of_run("photos.csv", damage::csv, &[])),
        trial("best_weights", || of_run("best.safetensors", damage::weights, &[])),
        trial("last_weights", last_weights),
        trial("states_of_training", states_of_training),
        trial("layer_tables", || of_run("layers/layers.json", damage::json, &["gain", "missed", "enough"])),
        trial("explanations", || of_run("explain/00/explained.json", damage::json, &OPTIONAL_IN_EXPLANATIONS)),
        trial("what_was_learned", || of_run("learned/learned.json", damage::json, &[])),
        trial("channel_tables", || of_run("learned/channels.csv", damage::csv, &["max", "state"])),
        trial("patch_tables", || of_run("learned/patches.csv", damage::csv, &["value"])),
        trial("studies", || of_study("study.json", &["rejected", "momentum"], collected)),
        trial("units", || of_study("units/d2-r1-f1.json", &["momentum"], collected)),
        trial("findings", || of_study("depth.json", &OPTIONAL_IN_FINDINGS, studied)),
        trial("looks_at_the_test_set", || of_study("test.json", &["rejected", "momentum"], studied)),
        trial("weights_that_make_no_finite_numbers", weights_that_make_no_finite_numbers),
        trial("commands_meet_damaged_runs", commands_meet_damaged_runs).with_ignored_flag(true),
    ];
    common::run(needing_gpu, vec![trial("imported_settings", imported_settings)]).exit();
}

/// What an explanation may lack.
const OPTIONAL_IN_EXPLANATIONS: [&str; 3] = ["truth", "similarity", "completeness_gap"];
/// What a study's answer may lack; the reference is compared with nothing.
const OPTIONAL_IN_FINDINGS: [&str; 6] =
    ["rejected", "momentum", "train_loss", "left_out", "comparison", "one_standard_error"];
/// The most that reading may take, on a machine that does other things as well.
const MOST: Duration = Duration::from_secs(10);

fn convscope(folder: &Path, arguments: &str) -> Output {
    program(folder, arguments.split_whitespace()).output().unwrap()
}

fn succeed(folder: &Path, arguments: &str) {
    let output = convscope(folder, arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// So many photos a class, which differ a little.
fn make_photos(root: &Path, classes: [&str; 2], count: u8) {
    for (class, colour) in classes.into_iter().zip([[40, 40, 200], [200, 40, 40]]) {
        fs::create_dir_all(root.join(class)).unwrap();
        for number in 0..count {
            let photo = RgbImage::from_fn(24, 24, |x, y| {
                let shade = (x * 3 + y * 2 + u32::from(number) * 7) as u8 % 50;
                Rgb(colour.map(|channel| channel + shade))
            });
            photo.save(root.join(class).join(format!("{number:02}.png"))).unwrap();
        }
    }
}

/// Three runs, `a`, `b` and `c`, with all that commands add to them, and a study of the first two; made once for all tests. `c` has
/// the settings of `a`, but for the seed.
fn made() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (photos, classes, count) in [("a", ["blue", "red"], 24), ("b", ["cat", "dog"], 26)] {
            let photos = root.join("photos").join(photos);
            make_photos(&photos, classes, count);
            fs::write(photos.join(classes[0]).join("broken.jpg"), b"no image").unwrap();
        }
        let runs = [("a", "a/blue", "4,4", 2, 0), ("b", "b/cat", "4,6", 3, 1), ("c", "a/blue", "4,4", 2, 2)];
        std::thread::scope(|threads| {
            for (name, class, channels, epochs, seed) in runs {
                threads.spawn(move || {
                    make_run(root, name, class, &format!("--channels {channels} --seed {seed}"), epochs)
                });
            }
        });
        folder
    };
    FOLDER.get_or_init(make).path()
}

/// A run that learned from the photos around those of `class`, and, of all but `c`, a study.
fn make_run(root: &Path, name: &str, class: &str, network: &str, epochs: u32) {
    let photos = Path::new(class).parent().unwrap().display();
    let recipe = format!("--data photos/{photos} --size 24 --batch 8 {network} --no-report");
    succeed(root, &format!("train {recipe} --val-share 0.5 --epochs {epochs} --out {name}"));
    succeed(root, &format!("explain photos/{class}/00.png --run {name}"));
    succeed(root, &format!("learned --run {name}"));
    succeed(root, &format!("layers --run {name} --no-report"));
    if name != "c" {
        succeed(
            root,
            &format!("depth {recipe} --epochs 8 --lr 0.02 --folds 2 --repeats 1 --margin 30 --out study-{name}"),
        );
    }
}

/// A folder with a copy of `name`, whose files may be damaged.
fn copy(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join(name);
    copy_folder(&made().join(name), &to);
    (folder, to)
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// What a reader told of damage, and the page that it made nevertheless.
struct Answer {
    told: String,
    page: String,
}

/// Reads all that a run's folder holds, as the commands do.
fn read_run(folder: &Path) -> Result<Answer> {
    let run = Run::open(folder)?;
    for which in [Which::Best, Which::Last] {
        run.checkpoint(which)?;
    }
    images::validation_of(&run, None, 16)?;
    run.learned()?;
    let report = Report::read(&run, None, run.explained(5))?;
    Ok(Answer { told: report.damaged.join("\n"), page: report.page() })
}

/// Puts a study's units together.
fn collected(folder: &Path) -> Result<Answer> {
    let folder = RunDir::at(folder.to_path_buf());
    let study = Study::read(&folder)?;
    Ok(Answer { told: String::new(), page: findings::collect(&folder, &study)?.words })
}

/// Makes the page of a study.
fn studied(folder: &Path) -> Result<Answer> {
    Ok(Answer { told: String::new(), page: DepthStudy::read(folder)?.page() })
}

fn whole_files_are_read() {
    for name in ["a", "b", "c"] {
        let Answer { told, page } = read_run(&made().join(name)).unwrap();
        assert!(told.is_empty(), "{told}");
        assert!(page.contains("class=\"decision\"") && page.contains("class=\"layers\""), "nothing was left out");
    }
    for name in ["a", "b"] {
        collected(&made().join(format!("study-{name}"))).unwrap();
        studied(&made().join(format!("study-{name}"))).unwrap();
    }
}

/// Each file of a run put into another one that was made alike, from another seed.
fn files_of_another_run() {
    const RUN: &str = "it belongs to another run than config.json";
    let (_folder, run) = copy("a");
    for (file, told) in [
        ("config.json", RUN),
        ("best.safetensors", RUN),
        ("last.safetensors", RUN),
        ("environment.json", "expected 0"),
        ("metrics.csv", "val_loss is "),
        ("photos.csv", "is not that of the list of this run"),
        ("layers/layers.json", RUN),
        ("explain/00/explained.json", RUN),
        ("learned/learned.json", RUN),
    ] {
        let own = fs::read(run.join(file)).unwrap();
        fs::copy(made().join("c").join(file), run.join(file)).unwrap();
        let answer = read_run(&run).map_or_else(|error| format!("{error:#}"), |answer| answer.told);
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        assert!(answer.contains(name) && answer.contains(told), "{file}: {answer:?}");
        fs::write(run.join(file), own).unwrap();
    }
    assert_eq!(read_run(&run).unwrap().told, "", "all files are those of the run again");
}

/// The time at which each file in a folder, and below it, was written.
fn written(folder: &Path) -> Vec<(SystemTime, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(written(&path));
        } else {
            found.push((entry.metadata().unwrap().modified().unwrap(), path));
        }
    }
    found
}

/// So that a command that was stopped leaves nothing that looks finished.
fn what_a_report_looks_for_is_written_last() {
    for (folder, file) in [
        ("a/features", "index.html"),
        ("a/explain/00", "explained.json"),
        ("a/learned", "learned.json"),
        ("a/layers", "layers.json"),
    ] {
        let folder = made().join(folder);
        let last = fs::metadata(folder.join(file)).unwrap().modified().unwrap();
        let all = written(&folder);
        assert!(all.len() > 2, "{all:?}");
        let later: Vec<_> = all.iter().filter(|(time, _)| *time > last).collect();
        assert!(later.is_empty(), "written after {file}: {later:?}");
    }
    // What has no such file is not taken for a result.
    let (_folder, run) = copy("a");
    for file in ["explain/00/explained.json", "learned/learned.json", "layers/layers.json"] {
        fs::remove_file(run.join(file)).unwrap();
    }
    let opened = Run::open(&run).unwrap();
    let explained = opened.explained(5);
    assert!(explained.usable.is_empty() && explained.damaged.is_empty());
    assert!(opened.learned().unwrap().is_none() && opened.layers().unwrap().is_none());
    // But for a run of an older version, whose `learned` did not write down what its tables are about.
    let config = fs::read_to_string(run.join("config.json")).unwrap();
    let older = |line: &&str| !line.contains("\"id\":") && !line.contains("\"photo_list\":");
    let config: String = config.lines().filter(older).map(|line| format!("{line}\n")).collect();
    fs::write(run.join("config.json"), config).unwrap();
    assert!(Run::open(&run).unwrap().learned().unwrap().is_some());
}

fn a_report_of_a_damaged_run_names_what_helps() {
    const ANEW: &str = "train it anew";
    let report = |damage: &dyn Fn(&Path)| {
        let (folder, run) = copy("a");
        damage(&run);
        let output = convscope(folder.path(), "report a");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{printed}");
        (printed, fs::read_to_string(run.join("report.html")).unwrap())
    };
    let cut = |name: &'static str| {
        move |run: &Path| {
            let bytes = fs::read(run.join(name)).unwrap();
            fs::write(run.join(name), &bytes[..bytes.len() / 2]).unwrap();
        }
    };
    for name in ["best.safetensors", "photos.csv"] {
        let (printed, page) = report(&cut(name));
        let goes_without = format!("{name}: cannot be used");
        assert!(printed.contains("note: the page goes without images: ") && printed.contains(ANEW), "{printed}");
        assert!(printed.contains(&goes_without) && page.contains(&goes_without) && page.contains(ANEW), "{printed}");
        assert!(!page.contains("--data DIR"), "no folder of photos helps where {name} is damaged");
    }
    for name in ["environment.json", "rejected.csv"] {
        let (printed, page) = report(&cut(name));
        let told = format!("{name}: cannot be used");
        assert!(printed.contains("note: ") && printed.contains(&told) && page.contains(&told), "{printed}");
    }
    // The photos are gone: their folder is what is asked for.
    let (printed, page) = report(&|run| {
        let text = fs::read_to_string(run.join("config.json")).unwrap();
        fs::write(run.join("config.json"), text.replace("photos/a", "photos/gone")).unwrap();
    });
    assert!(printed.contains("give their folder with --data") && page.contains("report a --data DIR"), "{printed}");
}

/// Every damage to a file of a run; null is a good value of its `optional` fields.
fn of_run(file: &str, damages: Damages, optional: &[&str]) {
    let (_folder, run) = copy("a");
    let other = fs::read(made().join("b").join(file)).unwrap();
    let damages = damages(&fs::read(run.join(file)).unwrap(), &other);
    survive(&run, file, damages, optional, read_run);
}

/// Every damage to the settings of weights that were trained elsewhere.
fn imported_settings() {
    let folder = tempfile::tempdir().unwrap();
    for (name, size, normalize, resize) in [("a", 24, Normalize::IMAGENET, 26), ("b", 32, Normalize::HALF, 40)] {
        let architecture = Architecture::Strided(Strided { channels: vec![4, 4], ..Strided::dogs_vs_cats(size, 2) });
        let network = architecture.build().unwrap();
        let weights = Weights::initial(&network, 0);
        let classes = ["cat", "dog"].map(String::from).to_vec();
        let meta = Meta {
            architecture,
            classes,
            preparation: Preparation { normalize, resize_crop: Some(resize) },
            epoch: 1,
            drawn: true,
            made_by: None,
            val_loss: None,
        };
        let bytes = Checkpoint { meta, network, weights }.to_bytes();
        fs::write(folder.path().join("weights.safetensors"), bytes).unwrap();
        succeed(folder.path(), &format!("import weights.safetensors --out {name}"));
    }
    let [run, other] = ["a", "b"].map(|name| folder.path().join(name));
    let [settings, others] = [&run, &other].map(|run| fs::read(run.join("config.json")).unwrap());
    survive(&run, "config.json", damage::json(&settings, &others), &[], |folder| {
        Run::open(folder)?.checkpoint(Which::Best)?;
        Ok(Answer { told: String::new(), page: String::new() })
    });
}

/// They are read as the best ones are, so that every tenth damage will do.
fn last_weights() {
    fn some(bytes: &[u8], other: &[u8]) -> Vec<Damage> {
        damage::weights(bytes, other).into_iter().step_by(10).collect()
    }
    of_run("last.safetensors", some, &[]);
}

/// Damages to the newest state of a training that was killed, of which the one before is used. Its tensors are read as weights are, so
/// that every fifth will do.
fn states_of_training() {
    let folder = tempfile::tempdir().unwrap();
    make_photos(&folder.path().join("photos"), ["blue", "red"], 24);
    fs::write(folder.path().join("photos/blue/broken.jpg"), b"no image").unwrap();
    let recipe =
        "train --data photos --size 24 --batch 8 --channels 4 --epochs 1000 --save-every 0 --ema 0.9 --out run --quiet";
    let mut child = program(folder.path(), recipe.split(' ')).spawn().unwrap();
    let run = folder.path().join("run");
    let states = || {
        let names = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<String> =
            names.filter(|name| name.starts_with("step-") && name.ends_with(".safetensors")).collect();
        names.sort();
        names
    };
    let started = Instant::now();
    // Five steps an epoch.
    while states().last().is_none_or(|name| name.as_str() < "step-00000007") && started.elapsed() < 6 * MOST {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let name = format!("checkpoints/{}", states().last().unwrap());
    let damages =
        damage::weights(&fs::read(run.join(&name)).unwrap(), &fs::read(made().join("b/best.safetensors")).unwrap());
    // There may be no files that are not used.
    let damages = damages.into_iter().step_by(5).collect();
    survive(&run, &name, damages, &["rejected"], |folder| {
        let found = Checkpoints::find(&Run::open(folder)?)?;
        Ok(Answer { told: found.notes.join("\n"), page: String::new() })
    });
}

/// Every damage to a file of a study.
fn of_study(file: &str, optional: &[&str], read: fn(&Path) -> Result<Answer>) {
    let (_folder, study) = copy("study-a");
    if file == "depth.json" {
        // It would be held against the look's own words on the study.
        fs::remove_file(study.join("test.json")).unwrap();
    }
    let other = fs::read(made().join("study-b").join(file)).unwrap();
    let damages = damage::json(&fs::read(study.join(file)).unwrap(), &other);
    survive(&study, file, damages, optional, read);
}

/// Writes each damaged version of a file in its turn and reads the folder.
fn survive(folder: &Path, file: &str, damages: Vec<Damage>, optional: &[&str], read: impl Fn(&Path) -> Result<Answer>) {
    let path = folder.join(file);
    let name = path.file_name().unwrap().to_str().unwrap();
    let (mut faults, mut told_of, count) = (Vec::new(), 0, damages.len());
    for Damage { what, field, senseless, bytes } in damages {
        fs::write(&path, bytes).unwrap();
        let started = Instant::now();
        let answer = catch_unwind(AssertUnwindSafe(|| read(folder)));
        let mut fault = |problem: String| faults.push(format!("{what}: {problem}"));
        if started.elapsed() > MOST {
            fault(format!("took {:.1} s", started.elapsed().as_secs_f64()));
        }
        let Ok(answer) = answer else {
            fault("panicked".into());
            continue;
        };
        let Answer { told, page } =
            answer.unwrap_or_else(|error| Answer { told: format!("{error:#}"), page: String::new() });
        told_of += usize::from(!told.is_empty());
        if !told.is_empty() {
            // A study's units, or its answer, may be what does not fit its file.
            let names_file = told.contains(name) || (file == "study.json" && told.contains("belongs to another study"));
            if !names_file || field.as_ref().is_some_and(|field| !told.contains(field)) {
                fault(format!("not named: {told}"));
            }
        } else if senseless && !field.is_some_and(|field| optional.contains(&field.as_str())) {
            fault("accepted without a word".into());
        }
        // Names are what they are.
        let is_name = what.contains("NaN") || what.contains("inf");
        if !is_name && (page.contains("NaN") || page.contains(">inf") || page.contains(" inf ")) {
            fault("a number of the page is not finite".into());
        }
    }
    println!("{file}: {count} damaged versions, of {told_of} the damage was told");
    assert!(faults.is_empty(), "{} faults in {file}:\n{}", faults.len(), faults.join("\n"));
}

/// Replaces all numbers of a tensor.
fn overwrite(run: &Path, file: &str, what: &str) {
    let path = run.join(file);
    let bytes = fs::read(&path).unwrap();
    let damages = damage::weights(&bytes, &bytes);
    let damage = damages.into_iter().rfind(|damage| damage.what.ends_with(what)).expect("there is such a damage");
    fs::write(path, damage.bytes).unwrap();
}

fn weights_that_make_no_finite_numbers() {
    let photo = made().join("photos/a/red/01.png");
    let photo = photo.display();
    let spoilt = |tensor: &str| {
        let (folder, run) = copy("a");
        for file in ["best.safetensors", "last.safetensors"] {
            overwrite(&run, file, &format!("numbers of {tensor} are {}", f32::MAX));
        }
        (folder, run)
    };
    let refused = |folder: &Path, command: &str, layer: &str| {
        let output = convscope(folder, command);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {error}");
        assert!(error.contains("t.safetensors: cannot be used") && error.contains(layer), "{command}: {error}");
    };
    let (folder, run) = spoilt("1.weight");
    let layer = "Conv2d 1 of block 1";
    for command in ["features", "explain", "predict"].map(|verb| format!("{verb} {photo} --run a")) {
        refused(folder.path(), &command, layer);
    }
    for command in ["explain --run a", "evaluate --run a", "learned --run a", "layers --run a"] {
        refused(folder.path(), command, layer);
    }
    succeed(folder.path(), "report a");
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("best.safetensors: cannot be used") && page.contains(layer) && !page.contains("NaN"));
    assert!(!page.contains("--data DIR"), "no folder of photos helps");

    for (tensor, layer) in [("6.weight", "BatchNorm2d 6 of block 2"), ("12.weight", "Linear 12")] {
        let (folder, _run) = spoilt(tensor);
        refused(folder.path(), &format!("features {photo} --run a"), layer);
    }
}

/// Takes minutes: the commands themselves, each on a share of the damaged files.
fn commands_meet_damaged_runs() {
    const EACH: usize = 25;
    let photo = made().join("photos/a/red/01.png");
    let commands = [
        format!("features {} --run a --out", photo.display()),
        format!("explain {} --run a --out", photo.display()),
        "learned --run a --out".into(),
        "layers --run a --out".into(),
        "report a --out".into(),
    ];
    let kinds: [(&str, Damages); 6] = [
        ("config.json", damage::json),
        ("best.safetensors", damage::weights),
        ("last.safetensors", damage::weights),
        ("photos.csv", damage::csv),
        ("metrics.csv", damage::csv),
        ("layers/layers.json", damage::json),
    ];
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for (file, damages) in kinds {
        let (folder, run) = copy("a");
        let other = fs::read(made().join("b").join(file)).unwrap();
        let damages = damages(&fs::read(run.join(file)).unwrap(), &other);
        let step = (damages.len() / EACH).max(1);
        for (number, damage) in damages.into_iter().step_by(step).enumerate() {
            fs::write(run.join(file), damage.bytes).unwrap();
            // Each in turn with one command.
            let command = &commands[number % commands.len()];
            let started = Instant::now();
            let output = convscope(folder.path(), &format!("{command} out-{number}"));
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            // Drivers have their own to tell.
            let own = error.lines().filter(|line| line.starts_with("error: ") && !line.contains("XDG_RUNTIME_DIR"));
            let one_error = own.count() == 1 && !error.contains("panicked");
            let verb = command.split(' ').next().unwrap();
            let outcome = match output.status.code() {
                Some(0) => "succeeded",
                Some(1) if one_error => "one clear error",
                _ => {
                    faults.push(format!("{verb}, {file}, {}: {error}", damage.what));
                    "a fault"
                }
            };
            if started.elapsed() > 6 * MOST {
                faults.push(format!("{verb}, {file}, {}: took {:?}", damage.what, started.elapsed()));
            }
            *counts.entry((verb, outcome)).or_default() += 1;
        }
    }
    println!("{counts:?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
