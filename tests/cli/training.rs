//! Training, and what it leaves on disk.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use convscope::commands::images;
use convscope::digest::Digest;
use convscope::nn::checkpoint::{Checkpoint, Weights};
use convscope::train::Run;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::common::trial;
use crate::program::program;
use crate::{TINY, assert_not_blank, fail, json, make_photos, page, succeed, train_tiny, unfinished};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("train_leaves_a_complete_run", train_leaves_a_complete_run),
        #[cfg(unix)]
        trial("a_training_that_is_stopped_goes_on_to_the_same_end", a_training_that_is_stopped_goes_on_to_the_same_end),
        #[cfg(unix)]
        trial("a_lost_list_of_photos_is_written_again", a_lost_list_of_photos_is_written_again),
        trial("equal_seeds_make_equal_weights", equal_seeds_make_equal_weights),
        trial("training_goes_on_from_weights", training_goes_on_from_weights),
        trial("train_on_photos_of_three_classes", train_on_photos_of_three_classes),
        trial("what_is_added_to_training_is_recorded", what_is_added_to_training_is_recorded),
        trial("a_learning_rate_is_suggested", a_learning_rate_is_suggested),
        trial("broken_validation_photos_are_replaced", broken_validation_photos_are_replaced),
        trial("divergence_is_told", divergence_is_told),
        trial("two_runs_do_not_share_a_folder", two_runs_do_not_share_a_folder),
    ]
}

fn train_leaves_a_complete_run() {
    let folder = tempfile::tempdir().unwrap();
    let printed = train_tiny(folder.path(), &["--kernels", "auto"]);
    assert!(printed.contains("synthetic"), "{printed}");
    assert!(printed.contains("epoch  2/2"), "{printed}");
    let run = folder.path().join("runs/001");

    let config = json(&run.join("config.json"));
    assert_eq!(config["model"]["channels"], serde_json::json!([4, 6]));
    assert_eq!(config["classes"], serde_json::json!(["cat", "dog"]));
    let environment = json(&run.join("environment.json"));
    for key in ["adapter", "driver", "backend", "kernels", "convscope", "wgpu", "seed"] {
        assert!(!environment[key].is_null(), "environment.json has no {key}");
    }

    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    for (epoch, record) in (1..).zip(&records) {
        assert_eq!(record["epoch"], epoch);
        for key in ["train_loss", "train_acc", "val_loss", "val_acc", "images_per_s"] {
            assert!(record[key].as_f64().unwrap() >= 0.0, "{key} in {record}");
        }
        let share = record["val_acc"].as_f64().unwrap() * 10.0;
        assert!((share - share.round()).abs() < 1e-9, "10 images cannot give an accuracy of {}", share / 10.0);
    }
    assert_eq!(fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count(), 3);

    let last = Checkpoint::from_bytes(&fs::read(run.join("last.safetensors")).unwrap()).unwrap();
    assert_eq!(last.meta.epoch, 2);
    let counted: Vec<i64> = last.weights.counters.into_values().collect();
    assert_eq!(counted, [6, 6], "two epochs of 20 images in batches of 8");
    Checkpoint::from_bytes(&fs::read(run.join("best.safetensors")).unwrap()).unwrap();
    let features = page(&run.join("features/index.html"));
    assert!(features.contains("Block 2 after ReLU: 6 maps of 9 × 9 values"), "{features}");
    for name in ["block-1.png", "block-2.png"] {
        assert_not_blank(&run.join("features").join(name));
    }

    let first = fs::read(run.join("last.safetensors")).unwrap();
    train_tiny(folder.path(), &["--seed", "1"]);
    assert_eq!(fs::read(run.join("last.safetensors")).unwrap(), first, "a second run left the first alone");
    assert!(folder.path().join("runs/002/best.safetensors").exists());
    let error = fail(folder.path(), &["train", "--out", "runs/001"]);
    assert!(error.contains("--out runs/001: exists already"), "{error}");
}

/// By a signal, by `kill -9`, and at last by nothing.
#[cfg(unix)]
fn a_training_that_is_stopped_goes_on_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let recipe = "train --size 40 --batch 4 --channels 4,6 --train-images 38 --val-images 10 --epochs 4 --kernels plain --no-report \
                  --schedule step --ema 0.8 --optimizer sgd --rotate 10 --seed 3";
    let recipe: Vec<&str> = recipe.split_whitespace().collect();
    succeed(folder, &[&recipe[..], &["--out", "whole"]].concat());
    let stopped = |arguments: &[&str], steps: usize, signal: &str| stopped(folder, arguments, steps, signal);
    let (status, said) = stopped(&[&recipe[..], &["--out", "run"]].concat(), 3, "-TERM");
    assert_eq!(status.code(), Some(143), "{said}");
    assert!(said.contains("go on with: convscope train --resume run"), "{said}");

    let before = fs::read_dir(folder.join("run/checkpoints")).unwrap().count();
    for (arguments, told) in [
        (&["--lr", "0.5"][..], "--lr is 0.5, but 0.001 in the run"),
        (
            &["--train-images", "30", "--seed=4"],
            "--train-images is 30, but 38 in the run; --seed is 4, but 3 in the run",
        ),
        (&["--kernels", "tiled"], "kernels is \"tiled\", not \"plain\""),
        (&["--lr-find"], "cannot be used with"),
    ] {
        let error = fail(folder, &[&["train", "--resume", "run"], arguments].concat());
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(fs::read_dir(folder.join("run/checkpoints")).unwrap().count(), before);

    // The tiles are those of the run, too.
    let file = folder.join("run/environment.json");
    let written = fs::read_to_string(&file).unwrap();
    let mut damaged: Value = serde_json::from_str(&written).unwrap();
    damaged["tiles"]["weights"]["workgroups"] = json!(0);
    fs::write(&file, damaged.to_string()).unwrap();
    let error = fail(folder, &["train", "--resume", "run"]);
    assert!(error.contains("environment.json: cannot be used: tiles.weights.workgroups is 0: expected"), "{error}");
    fs::write(&file, written).unwrap();

    // A recipe whose file was changed is refused.
    let file = folder.join("run/config.json");
    let written = fs::read_to_string(&file).unwrap();
    fs::write(&file, written.replace("\"lr\": 0.001", "\"lr\": 0.002")).unwrap();
    let error = fail(folder, &["train", "--resume", "run"]);
    assert!(
        error.contains("config.json: was changed since the training began: lr is 0.002, not 0.001; put"),
        "{error}"
    );
    // No mistake of the command line.
    fs::write(&file, "").unwrap();
    let output = crate::convscope(folder, &["train", "--resume", "run"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    fs::write(&file, written).unwrap();

    let (status, _) = stopped(&["train", "--resume", "run"], 14, "-KILL");
    assert_eq!(status.code(), None);
    let said = succeed(folder, &["train", "--resume", "run", "--json", "--no-report"]);
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&events[0]["event"], &events[0]["epochs_before"]), (&"start".into(), &1.into()), "{said}");
    assert_eq!(events.last().unwrap()["event"], "end");

    let end = |run: &str| {
        let run = folder.join(run);
        let weights = ["best", "last"].map(|name| {
            let bytes = fs::read(run.join(format!("{name}.safetensors"))).unwrap();
            let Checkpoint { meta, weights, .. } = Checkpoint::from_bytes(&bytes).unwrap();
            (meta.epoch, meta.val_loss, weights)
        });
        let table = fs::read_to_string(run.join("metrics.csv")).unwrap();
        let untimed = |line: &str| {
            let cells: Vec<String> = line.split(',').map(String::from).collect();
            [&cells[..5], &cells[8..]].concat()
        };
        let names = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        let metrics: Vec<_> = table.lines().map(untimed).collect();
        (weights, metrics, fs::read_to_string(run.join("predictions.csv")).unwrap(), names)
    };
    assert!(end("whole") == end("run"));
    let error = fail(folder, &["train", "--resume", "run"]);
    assert!(error.contains("run: is finished"), "{error}");
}

/// Starts a training of the folder `run`, sends it a signal as soon as so many steps are written down, and returns how it ended and what it said.
#[cfg(unix)]
fn stopped(folder: &Path, arguments: &[&str], steps: usize, signal: &str) -> (ExitStatus, String) {
    let mut command = program(folder, [arguments, &["--save-every", "0"]].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let there = || {
        let names = fs::read_dir(folder.join("run/checkpoints")).into_iter().flatten().flatten();
        let of = |name: String| name.strip_prefix("step-")?.get(..8)?.parse::<usize>().ok();
        names.filter_map(|entry| of(entry.file_name().into_string().ok()?)).max().unwrap_or(0)
    };
    let started = Instant::now();
    while there() < steps && started.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stdout).unwrap())
}

/// What lists the photos may be lost: that they are those of the run its settings tell.
#[cfg(unix)]
fn a_lost_list_of_photos_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_photos(&folder.join("photos"));
    let recipe = "train --data photos --out run --size 24 --batch 8 --channels 4 --epochs 2 --no-report";
    let (status, _) = stopped(folder, &recipe.split(' ').collect::<Vec<_>>(), 2, "-KILL");
    assert_eq!(status.code(), None);
    let list = folder.join("run/photos.csv");
    let written = fs::read_to_string(&list).unwrap();
    fs::write(&list, "cut off").unwrap();
    let [red, other] = ["red", "other"].map(|class| folder.join("photos").join(class));
    fs::rename(&red, &other).unwrap();
    let error = fail(folder, &["train", "--resume", "run"]);
    let told = "its classes are blue, green, red, but its images are of blue, green, other; name their folders as they";
    assert!(error.contains(told), "{error}");
    fs::rename(&other, &red).unwrap();
    succeed(folder, &["train", "--resume", "run", "--no-report", "--quiet"]);
    assert_eq!(fs::read_to_string(&list).unwrap(), written);
}

/// A run's own settings make it again.
fn equal_seeds_make_equal_weights() {
    let folder = tempfile::tempdir().unwrap();
    let weights = |name: &str| {
        Checkpoint::from_bytes(&fs::read(folder.path().join(name).join("last.safetensors")).unwrap()).unwrap()
    };
    train_tiny(folder.path(), &["--out", "a", "--seed", "7", "--dropout", "0.2"]);
    let said = succeed(folder.path(), &["train", "--config", "a", "--out", "b", "--quiet", "--tensorboard"]);
    assert_eq!(said, "");
    assert!(fs::read_dir(folder.path().join("b/tensorboard")).unwrap().count() == 1);
    let told = succeed(
        folder.path(),
        &["train", "--config", "a/config.json", "--out", "c", "--seed", "8", "--no-report", "--json"],
    );
    assert_told(&told, &folder.path().join("c"));
    let [first, again, other] = ["a", "b", "c"].map(weights);
    assert_eq!(again.weights, first.weights);
    assert_eq!(again.meta.val_loss, first.meta.val_loss);
    assert_ne!(other.weights, first.weights);
    assert_ne!(again.meta.made_by, first.meta.made_by, "it is another run all the same");
}

/// What another program is told of a run: one object a line, the epochs as in its metrics.
fn assert_told(told: &str, run: &Path) {
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    let [start, end] = ["start", "end"].map(|name| of(name)[0]);
    assert_eq!((start["run"].as_str(), start["val_images"].as_u64()), (Some("c"), Some(10)));
    assert_eq!((&events[0], &events[events.len() - 1]), (start, end));
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let epochs = of("epoch");
    assert_eq!(epochs.len(), lines.len());
    for (event, line) in epochs.iter().zip(&lines) {
        for (field, value) in line.as_object().unwrap() {
            assert_eq!(&event[field], value, "{field}");
        }
        assert!(event["lr"].as_f64().unwrap() > 0.0);
    }
    let best = epochs.iter().rfind(|event| event["best"] == true).unwrap();
    assert_eq!(end["best_epoch"], best["epoch"]);
}

fn training_goes_on_from_weights() {
    let folder = tempfile::tempdir().unwrap();
    let weights = |run: &str| {
        Checkpoint::from_bytes(&fs::read(folder.path().join(run).join("last.safetensors")).unwrap()).unwrap().weights
    };
    train_tiny(folder.path(), &["--out", "first", "--no-report"]);
    let going_on = ["--init", "first/last.safetensors", "--freeze", "1", "--no-report"];
    let printed = train_tiny(folder.path(), &[&going_on[..], &["--out", "second"]].concat());
    assert!(printed.contains("block 1 stays as in that file") && !printed.contains("starts anew"), "{printed}");
    let (first, second) = (weights("first"), weights("second"));
    for (name, values) in &second.tensors {
        let frozen = name.starts_with("1.") || name.starts_with("2.");
        assert_eq!(values == first.get(name), frozen, "{name}");
    }
    // As in PyTorch, a frozen batch norm counts no batches, and another counts on.
    let counted = |weights: &Weights| weights.counters.clone().into_values().collect::<Vec<_>>();
    assert_eq!([&first, &second].map(counted), [[6, 6], [6, 12]]);
    let config = json(&folder.path().join("second/config.json"));
    let init = folder.path().join("first/last.safetensors");
    assert_eq!((config["init"].as_str(), config["freeze"].as_u64()), (init.to_str(), Some(1)));
    let digest = Digest::of(fs::read(init).unwrap()).to_string();
    assert_eq!(config["init_sha256"].as_str(), Some(&digest[..]));
    let printed = succeed(folder.path(), &["layers", "--run", "second", "--images", "20", "--no-report"]);
    assert!(printed.contains("went on from weights that were there before (--init)"), "{printed}");

    // From the very weights that the first began with, by the same seed: order, flips and dropout masks are others.
    let first_run = Run::open(&folder.path().join("first")).unwrap();
    let begun = Weights::initial(first_run.network(), 0);
    let checkpoint = Checkpoint::from_bytes(&fs::read(folder.path().join("first/last.safetensors")).unwrap()).unwrap();
    let begun = Checkpoint { weights: begun, ..checkpoint }.to_bytes();
    fs::write(folder.path().join("begun.safetensors"), begun).unwrap();
    train_tiny(folder.path(), &["--init", "begun.safetensors", "--out", "again", "--no-report"]);
    assert_ne!(weights("again").tensors, first.tensors);

    make_photos(&folder.path().join("photos"));
    let photos = ["train", "--data", "photos", "--size", "40", "--batch", "8", "--epochs", "1", "--channels"];
    let printed = succeed(folder.path(), &[&photos[..], &["4,6", "--out", "third"], &going_on[..]].concat());
    assert!(printed.contains("last layer, which starts anew for these 3 classes"), "{printed}");
    assert_eq!(weights("third").get("1.weight"), first.get("1.weight"));

    // Of the photos that are set aside by another seed it has learned from some.
    let seen = ["4,6", "--out", "fourth", "--init", "third/best.safetensors", "--seed", "1"];
    let error = fail(folder.path(), &[&photos[..], &seen].concat());
    assert!(error.contains("third/best.safetensors: of the ") && error.contains("--seed 0"), "{error}");
    assert!(!folder.path().join("fourth").exists(), "nothing is left of it");

    let error = fail(folder.path(), &[&photos[..], &["4,8", "--out", "fourth"], &going_on[..]].concat());
    assert!(error.contains("--init") && error.contains("tensor \"5.weight\""), "{error}");
    assert!(!folder.path().join("fourth").exists(), "nothing was made for it");
    let error = fail(folder.path(), &["train", "--init", "first/config.json"]);
    assert!(error.contains("--init") && error.contains("first/config.json: name a .safetensors file"), "{error}");
    let error = fail(folder.path(), &["train", "--init", "none.safetensors"]);
    assert!(error.contains("none.safetensors: there is no such file; check the path"), "{error}");
    let error = fail(folder.path(), &["depth", "--init", "first/last.safetensors"]);
    assert!(
        error.contains("--init: the networks of a study all start from random weights; leave the option out"),
        "{error}"
    );
}

fn train_on_photos_of_three_classes() {
    let folder = tempfile::tempdir().unwrap();
    make_photos(&folder.path().join("photos"));
    fs::write(folder.path().join("photos/red/broken.jpg"), b"not an image").unwrap();
    let arguments = [
        "train",
        "--data",
        "photos",
        "--size",
        "32",
        "--batch",
        "4",
        "--channels",
        "4,6",
        "--epochs",
        "8",
        "--lr",
        "0.01",
    ];
    let printed =
        succeed(folder.path(), &[&arguments[..], &["--head", "flatten", "--padding", "1", "--out", "run"]].concat());
    assert!(printed.contains("files that are not used: 1"), "{printed}");
    let run = folder.path().join("run");
    let rejected = fs::read_to_string(run.join("rejected.csv")).unwrap();
    assert!(rejected.contains("broken.jpg"), "{rejected}");
    let config = json(&run.join("config.json"));
    assert_eq!(config["classes"], serde_json::json!(["blue", "green", "red"]));
    // Found again from any folder, such as this test's own.
    let opened = Run::open(&run).unwrap();
    let again = images::of_run(&opened, None, 16).unwrap();
    assert_eq!(config["train_images"], again.train.len());
    assert_eq!(config["val_images"], again.val.len());
    assert_eq!(images::validation_of(&opened, None, 16).unwrap().len(), again.val.len());
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let best = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["val_acc"].as_f64().unwrap());
    assert_eq!(best.fold(0.0, f64::max), 1.0, "three plain colours are learned: {lines}");
}

/// A run with all of it, which stops early: at this rate nothing is learned.
fn what_is_added_to_training_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let more = [
        "--schedule=cosine",
        "--warmup=0.5",
        "--label-smoothing=0.1",
        "--class-weights=balanced",
        "--clip-grad-norm=1",
        "--ema=0.5",
        "--patience=2",
        "--lr=1e-30",
        "--epochs=9",
        "--out=run",
    ];
    let arguments: Vec<&str> = TINY[..TINY.len() - 2].iter().chain(&more).copied().collect();
    let printed = succeed(folder.path(), &[&["train"], &arguments[..]].concat());
    let run = folder.path().join("run");
    let opened = Run::open(&run).unwrap();
    let lines = opened.metrics().unwrap().len();
    assert!((3..9).contains(&lines), "{printed}");
    assert!(printed.contains("brought nothing better (--patience)"), "{printed}");
    let config = json(&run.join("config.json"));
    assert_eq!((&config["schedule"], &config["ema"], &config["epochs"]), (&"cosine".into(), &0.5.into(), &9.into()));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains(&format!("{lines} of 9 epochs")) && page.contains("; stopped, as 2 epochs after it"));
    assert!(page.contains(
        "rises for 0.5 epochs, then falls to zero along a cosine; label smoothing 0.1; classes of equal weight"
    ));
    assert!(page.contains("--label-smoothing 0.1") && page.contains("Both losses are the plain cross-entropy"));
    let curves = fs::read_to_string(run.join("curves.svg")).unwrap();
    assert!(curves.contains("loss by epoch") && curves.contains("accuracy by epoch") && !curves.contains("NaN"));
}

fn a_learning_rate_is_suggested() {
    let folder = tempfile::tempdir().unwrap();
    let printed = train_tiny(folder.path(), &["--lr-find", "--schedule", "one-cycle", "--out", "found"]);
    let found = folder.path().join("found");
    let mut names: Vec<_> = fs::read_dir(&found).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["lr_find.csv", "lr_find.svg"], "{printed}");
    let table = fs::read_to_string(found.join("lr_find.csv")).unwrap();
    assert!(table.starts_with("step,lr,loss,smoothed_loss\n1,1e-7,") && table.lines().count() > 20, "{table}");
    let next = printed.lines().find_map(|line| line.strip_prefix("next     convscope ")).expect(&printed);
    assert!(next.contains("--schedule one-cycle") && next.contains("--lr "), "{next}");
    // The command trains.
    let printed = succeed(folder.path(), &[&next.split(' ').collect::<Vec<_>>()[..], &["--no-report"]].concat());
    assert!(printed.contains("epoch  2/2"), "{printed}");
    let error = fail(folder.path(), &["layers", "--run", "found"]);
    assert!(error.contains("found: `convscope train --lr-find` made this folder, which holds no network"), "{error}");
    let error = fail(folder.path(), &["train", "--lr-find", "--lr", "0.1"]);
    assert!(error.contains("--lr-find") && !folder.path().join("runs/002").exists(), "{error}");
}

/// Whichever of a class's few photos would be set aside for validation, it may be a broken one.
fn broken_validation_photos_are_replaced() {
    for seed in ["0", "1", "2", "3"] {
        let folder = tempfile::tempdir().unwrap();
        make_photos(&folder.path().join("photos"));
        for number in 0..8 {
            // Cut in the middle: the beginning still says that it is an image.
            let photo = folder.path().join(format!("photos/red/{number}.png"));
            let bytes = fs::read(&photo).unwrap();
            fs::write(&photo, &bytes[..bytes.len() / 2]).unwrap();
        }
        let arguments =
            ["--data", "photos", "--size", "32", "--batch", "4", "--channels", "4", "--epochs", "1", "--out", "run"];
        let printed = succeed(folder.path(), &[&["train", "--seed", seed], &arguments[..]].concat());
        assert!(printed.contains("files that are not used: 8"), "{printed}");
        let rejected = fs::read_to_string(folder.path().join("run/rejected.csv")).unwrap();
        assert_eq!(rejected.lines().count(), 9, "{rejected}");
    }
}

fn divergence_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let diverge = ["train", "--optimizer", "sgd", "--lr", "1e30"];
    let error = fail(folder.path(), &[&diverge, &TINY[..]].concat());
    // The second step's loss is the first that the weights of the first have moved.
    assert!(error.contains("from step 2 on, in epoch 1; the first that is not finite is "), "{error}");
    assert!(error.contains(": lower --lr (now 1"), "{error}");
    // One step only: its loss is made before the weights move, and is finite.
    let one_step = [
        "--size",
        "40",
        "--channels",
        "4",
        "--batch",
        "8",
        "--train-images",
        "8",
        "--val-images",
        "4",
        "--epochs",
        "1",
    ];
    let error = fail(folder.path(), &[&diverge, &one_step[..]].concat());
    assert!(error.contains("lower --lr"), "{error}");
    for run in ["001", "002"] {
        assert!(!folder.path().join("runs").join(run).join("best.safetensors").exists(), "broken weights are not kept");
    }
}

fn two_runs_do_not_share_a_folder() {
    for exists in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        if exists {
            fs::create_dir(folder.path().join("r")).unwrap();
        }
        let start = |seed: &str| {
            let options = ["--out", "r", "--no-report", "--seed", seed];
            program(folder.path(), [&["train"], &TINY[..], &options].concat())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let both = ["1", "2"].map(start).map(|run| run.wait_with_output().unwrap());
        let winner = both.iter().position(|output| output.status.success()).expect("one of them has the folder");
        let loser = &both[1 - winner];
        let error = String::from_utf8_lossy(&loser.stderr);
        assert!(!loser.status.success() && error.matches("error: ").count() == 1, "{error}");
        assert!(error.contains("--out r: "), "{error}");
        let run = folder.path().join("r");
        assert_eq!(json(&run.join("config.json"))["seed"], 1 + winner);
        assert_eq!(fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count(), 3);
        assert_eq!(unfinished(&run), Vec::<String>::new());
    }
}
