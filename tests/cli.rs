//! The program as a user runs it: a tiny training run and what it leaves on disk, and its errors.

mod common;
#[path = "common/program.rs"]
mod program;

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::trial;
use convscope::commands::images;
use convscope::data::names::path_text;
use convscope::gpu::TileLimits;
use convscope::nn::checkpoint::{Checkpoint, Weights};
use convscope::train::Run;
use program::{CACHE, program};
use serde_json::{Value, json};

fn main() {
    let needing_gpu = vec![
        trial("train_leaves_a_complete_run", train_leaves_a_complete_run),
        trial("equal_seeds_make_equal_weights", equal_seeds_make_equal_weights),
        trial("training_goes_on_from_weights", training_goes_on_from_weights),
        #[cfg(unix)]
        trial("a_training_that_is_stopped_goes_on_to_the_same_end", a_training_that_is_stopped_goes_on_to_the_same_end),
        trial("train_on_photos_of_three_classes", train_on_photos_of_three_classes),
        trial("what_is_added_to_training_is_recorded", what_is_added_to_training_is_recorded),
        trial("a_learning_rate_is_suggested", a_learning_rate_is_suggested),
        trial("broken_validation_photos_are_replaced", broken_validation_photos_are_replaced),
        trial("features_of_a_new_image", features_of_a_new_image),
        trial("decisions_are_explained", decisions_are_explained),
        trial("what_was_learned_is_shown", what_was_learned_is_shown),
        trial("layers_are_measured", layers_are_measured),
        trial("a_run_is_reported", a_run_is_reported),
        trial("a_network_that_guesses_is_told_so_first", a_network_that_guesses_is_told_so_first),
        trial("a_network_that_knows_is_told_so", a_network_that_knows_is_told_so),
        trial("images_are_predicted_as_validation_was", images_are_predicted_as_validation_was),
        trial("a_network_is_judged_by_labelled_images", a_network_is_judged_by_labelled_images),
        trial("weights_go_out_and_come_back", weights_go_out_and_come_back),
        trial("names_in_every_script_are_legible", names_in_every_script_are_legible),
        trial("adapters_are_listed", adapters_are_listed),
        trial("an_unknown_adapter_is_refused", an_unknown_adapter_is_refused),
        trial("kernels_can_be_chosen", kernels_can_be_chosen),
        trial("what_was_measured_is_used", what_was_measured_is_used),
        trial("bench_step_prints_one_json_object", bench_step_prints_one_json_object),
        trial("bench_scaling_goes_on_after_what_does_not_fit", bench_scaling_goes_on_after_what_does_not_fit),
        trial("divergence_is_told", divergence_is_told),
        trial("bad_data_folders_name_themselves", bad_data_folders_name_themselves),
        trial("two_runs_do_not_share_a_folder", two_runs_do_not_share_a_folder),
        trial("what_a_stopped_command_left_is_removed", what_a_stopped_command_left_is_removed),
        trial("validation_images_that_vanish_are_told", validation_images_that_vanish_are_told),
        trial("names_do_not_command_the_terminal", names_do_not_command_the_terminal),
        trial("names_are_data", names_are_data),
        trial("typed_names_do_not_command_the_terminal", typed_names_do_not_command_the_terminal),
        trial("results_that_cannot_be_written_are_an_error", results_that_cannot_be_written_are_an_error),
        #[cfg(unix)]
        trial("a_training_that_has_no_room_for_its_files_goes_on", a_training_that_has_no_room_for_its_files_goes_on),
        #[cfg(target_os = "linux")]
        trial("what_needs_too_much_memory_is_refused", what_needs_too_much_memory_is_refused),
    ];
    let others = vec![
        trial("bad_options_name_themselves", bad_options_name_themselves),
        trial("a_folder_is_examined", a_folder_is_examined),
        trial("without_an_adapter_the_remedy_is_told", without_an_adapter_the_remedy_is_told),
        trial("shells_complete_commands", shells_complete_commands),
        trial("help_that_cannot_be_printed_is_an_error", help_that_cannot_be_printed_is_an_error),
    ];
    common::run(needing_gpu, others).exit();
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
    use std::thread;
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let recipe = "train --size 40 --batch 4 --channels 4,6 --train-images 38 --val-images 10 --epochs 4 --kernels plain --no-report \
                  --schedule step --ema 0.8 --optimizer sgd --rotate 10 --seed 3";
    let recipe: Vec<&str> = recipe.split_whitespace().collect();
    succeed(folder, &[&recipe[..], &["--out", "whole"]].concat());
    // Stopped as soon as so many steps are written down.
    let stopped = |arguments: &[&str], steps: usize, signal: &str| {
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
    };
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
    let printed = succeed(folder.path(), &["layers", "--run", "second", "--images", "20", "--no-report"]);
    assert!(printed.contains("went on from weights that were there before (--init)"), "{printed}");

    make_photos(&folder.path().join("photos"));
    let photos = ["train", "--data", "photos", "--size", "40", "--batch", "8", "--epochs", "1", "--channels"];
    let printed = succeed(folder.path(), &[&photos[..], &["4,6", "--out", "third"], &going_on[..]].concat());
    assert!(printed.contains("last layer, which starts anew for these 3 classes"), "{printed}");
    assert_eq!(weights("third").get("1.weight"), first.get("1.weight"));

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

fn features_of_a_new_image() {
    let folder = tempfile::tempdir().unwrap();
    train_tiny(folder.path(), &[]);
    make_photos(&folder.path().join("photos"));
    let printed = succeed(folder.path(), &["features", "photos/red/3.png", "--run", "runs/001"]);
    assert!(printed.contains("trained on drawn images only"), "{printed}");
    assert!(printed.contains("photos/red/3.png: cat") || printed.contains("photos/red/3.png: dog"), "{printed}");
    let features = folder.path().join("runs/001/features");
    let own = page(&features.join("3/index.html"));
    assert!(own.contains("trained on drawn images only") && own.contains("photos/red/3.png"), "{own}");
    assert!(own.contains("Each map has its own colours"), "{own}");
    for name in ["block-1.png", "block-2.png"] {
        assert_not_blank(&features.join("3").join(name));
    }
    for (scale, said) in [("layer", "The maps of a layer share"), ("global", "The maps of all layers share")] {
        let out = format!("by-{scale}");
        succeed(folder.path(), &["features", "photos/red/3.png", "--run", "runs/001", "--scale", scale, "--out", &out]);
        assert!(page(&folder.path().join(out).join("index.html")).contains(said), "{scale}");
    }
    succeed(
        folder.path(),
        &["features", "photos/red/3.png", "--run", "runs/001", "--stage", "conv", "--weights", "last"],
    );
    assert_not_blank(&features.join("3-conv-last/block-2.png"));

    let error = fail(folder.path(), &["features", "photos/red/3.png", "--run", "nowhere"]);
    assert!(error.contains("nowhere: there is no such folder"), "{error}");
    let error = fail(folder.path(), &["features", "photos/red/3.png", "--run", "photos"]);
    assert!(error.contains("config.json cannot be read"), "{error}");
    let error = fail(folder.path(), &["features", "missing.png", "--run", "runs/001"]);
    assert!(error.contains("missing.png"), "{error}");
    fs::write(folder.path().join("runs/001/best.safetensors"), b"broken").unwrap();
    let error = fail(folder.path(), &["features", "photos/red/3.png", "--run", "runs/001"]);
    assert!(error.contains("best.safetensors: cannot be used"), "{error}");
}

fn decisions_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    train_tiny(folder.path(), &[]);
    make_photos(&folder.path().join("photos"));
    fs::write(folder.path().join("list.txt"), "photos/red/1.png\n\nphotos/red/2.png\n").unwrap();
    let run = ["--run", "runs/001"];
    let explain = |more: &[&str]| succeed(folder.path(), &[&["explain"], more, &run[..]].concat());
    let printed = explain(&["photos/red/3.png", "list.txt", "--images-only", "--layers", "1"]);
    assert!(printed.contains("runs/001/explain/3/index.html"), "{printed}");
    let explained = folder.path().join("runs/001/explain");
    for name in ["1", "2", "3"] {
        let page = page(&explained.join(name).join("index.html"));
        for said in [
            &format!("photos/red/{name}.png"),
            "evidence over it",
            "sum = logit difference",
            "Block 1 after batch norm",
        ] {
            assert!(page.contains(said), "{said}");
        }
        assert_eq!(page.matches("class=\"scores\"").count(), 10, "one table a method");
        assert_not_blank(&explained.join(name).join("saliency/evidence-over-image.png"));
    }
    let maps = ["occlusion", "integrated-gradients", "smoothgrad", "gradient", "gradient-x-input"];
    let of_layer = ["hirescam-block-1", "grad-cam-block-1", "layercam-block-1", "guided-backpropagation", "deconvnet"];
    for method in maps.into_iter().chain(of_layer) {
        for name in [method.into(), format!("{method}-over-image"), format!("{method}-untrained")] {
            let image = image::open(explained.join(format!("3/saliency/{name}.png"))).unwrap();
            assert_eq!((image.width(), image.height()), (40, 40), "{name}");
        }
        let bytes = fs::read(explained.join(format!("3/values/{method}.npy"))).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY"), "{method}");
    }
    for stage in ["conv", "norm", "relu"] {
        assert_not_blank(&explained.join(format!("3/maps/block-2-{stage}.png")));
    }

    let ledger = json(&explained.join("3/ledger.json"));
    let number = |key: &str| ledger[key].as_f64().unwrap();
    let shares: f64 = ledger["channels"].as_array().unwrap().iter().map(|c| c["share"].as_f64().unwrap()).sum();
    assert!(number("relative_residual") < 1e-5, "{ledger}");
    let size = shares.abs() + number("logit_difference").abs();
    assert!((number("bias") + shares - number("logit_difference")).abs() < 1e-5 * size, "{ledger}");
    let channels = fs::read_to_string(explained.join("3/channels.csv")).unwrap();
    assert!(channels.lines().nth(1).unwrap().split(',').all(|field| !field.is_empty()), "{channels}");
    assert!(json(&explained.join("3/hover.json"))["blocks"][1]["values"][0]["inputs"].is_array());

    // Without an image: images of the run.
    let printed = explain(&["--out", "own", "--scale", "global"]);
    assert!(printed.contains("rightly") || printed.contains("wrongly"), "{printed}");
    let own: Vec<_> = fs::read_dir(folder.path().join("own")).unwrap().collect();
    assert!((1..=5).contains(&own.len()), "{}", own.len());

    let fail = |more: &[&str]| fail(folder.path(), &[&["explain"], more, &run[..]].concat());
    let error = fail(&["missing.png"]);
    assert!(error.contains("missing.png"), "{error}");
    let error = fail(&["photos/red/3.png", "--against", "horse"]);
    assert!(error.contains("--against horse: expected one of the network's classes: cat, dog"), "{error}");
    let error = fail(&["photos/red/3.png", "--layers", "9"]);
    assert!(error.contains("--layers 9: the network has blocks 1 to 2"), "{error}");
    fs::create_dir(folder.path().join("empty")).unwrap();
    let error = fail(&["empty"]);
    assert!(error.contains("empty: there is no image"), "{error}");
    // One bad file does not lose the others.
    fs::write(folder.path().join("broken.png"), b"no image").unwrap();
    let error = fail(&["broken.png", "photos/red/4.png"]);
    assert!(error.contains("broken.png"), "{error}");
    page(&explained.join("4/index.html"));
}

fn what_was_learned_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    train_tiny(folder.path(), &[]);
    let printed = succeed(folder.path(), &["learned", "--run", "runs/001"]);
    assert!(printed.contains("runs/001/learned"), "{printed}");
    let learned = folder.path().join("runs/001/learned");
    for name in ["filters", "block-1-patches", "block-2-patches", "block-1-maximised", "block-2-maximised"] {
        assert_not_blank(&learned.join(format!("{name}.png")));
    }
    let shown = page(&learned.join("index.html"));
    assert!(shown.contains("Block 2: 6 channels") && shown.contains("10 validation images"), "{shown}");
    let channels = fs::read_to_string(learned.join("channels.csv")).unwrap();
    assert!(channels.starts_with("block,channel,max,share_of_images,mean,state\n1,0,"), "{channels}");
    let patches = fs::read_to_string(learned.join("patches.csv")).unwrap();
    assert!(patches.lines().nth(1).unwrap().contains("(drawn, seed"), "{patches}");
    let error = fail(folder.path(), &["learned", "--run", "nowhere"]);
    assert!(error.contains("nowhere: there is no such folder"), "{error}");
}

fn layers_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    train_tiny(folder.path(), &[]);
    let printed = succeed(folder.path(), &["layers", "--run", "runs/001", "--images", "60"]);
    assert!(printed.contains("60 images") && printed.contains("block 2: "), "{printed}");
    // What is being done is said where there is no terminal, too.
    let steps = ["linear probes", "running statistics", "block 1 reset", "block 2 reset", "only `depth` answers that"];
    let places = steps.map(|step| printed.find(step).unwrap_or_else(|| panic!("{step}: {printed}")));
    assert!(places.is_sorted(), "{printed}");
    let table = json(&folder.path().join("runs/001/layers/layers.json"));
    assert_eq!(table["layers"].as_array().unwrap().len(), 2);
    let lines = fs::read_to_string(folder.path().join("runs/001/layers/layers.csv")).unwrap();
    let columns: Vec<usize> = lines.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [30, 30, 30], "{lines}");
    let error = fail(folder.path(), &["layers", "--run", "runs/001", "--images", "10"]);
    assert!(error.contains("--images 10: expected at least 20 for 2 classes"), "{error}");
}

fn a_run_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let printed = train_tiny(folder.path(), &["--out", "run"]);
    assert!(printed.contains("report   run/report.html"), "{printed}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let first = read("run/report.html");
    assert!(first.contains("data:image/jpeg;base64,"), "shows images");
    assert!(first.contains("laid over the image") && first.contains("Each map has its own colours"), "{first}");
    for missing in ["convscope explain --run run", "convscope layers --run run", "convscope depth"] {
        assert!(first.contains(&format!("<code>{missing}")), "{missing}");
    }

    succeed(folder.path(), &["report", "run", "--out", "page.html"]);
    assert_eq!(read("run/report.html"), first, "--out leaves the run's own page alone");
    assert!(!first.contains("Integrated gradients") && read("page.html").contains("Integrated gradients"));
    succeed(folder.path(), &["explain", "--run", "run"]);
    succeed(folder.path(), &["report", "run"]);
    let decisions = |page: &str| page.matches("class=\"decision\"").count();
    assert!(decisions(&read("run/report.html")) > decisions(&read("page.html")), "takes what explain has left");
    for method in ["Evidence", "Occlusion", "Integrated gradients", "Grad-CAM, block 2"] {
        assert!(read("run/report.html").contains(&format!("<h4>{method}</h4>")), "{method}");
    }
    succeed(folder.path(), &["report", "run", "--scale", "layer", "--out", "layer.html"]);
    assert!(read("layer.html").contains("The maps of a layer share one colour scale"));

    let weights = fs::read(folder.path().join("run/best.safetensors")).unwrap();
    let error = fail(folder.path(), &["report", "run", "--out", "run/best.safetensors"]);
    assert!(error.contains("--out run/best.safetensors: exists already and is no page"), "{error}");
    assert_eq!(fs::read(folder.path().join("run/best.safetensors")).unwrap(), weights);
    succeed(folder.path(), &["report", "run/", "--out", "page.html"]);
    assert!(read("page.html").contains("--out run-again"), "a folder's name may end in a slash");
    let error = fail(folder.path(), &["report", "run", "--data", "."]);
    assert!(error.contains("--data: the run run was trained on drawn images; leave the option out"), "{error}");
    let error = fail(folder.path(), &["report", "nowhere"]);
    assert!(error.contains("nowhere: there is no such folder"), "{error}");
    let error = fail(folder.path(), &["report", "run", "--depth", "run"]);
    assert!(error.contains("--depth run: expected the folder of a finished study"), "{error}");

    train_tiny(folder.path(), &["--out", "quiet", "--no-report"]);
    assert!(!folder.path().join("quiet/report.html").exists());
}

/// Two classes of noise, one twice as common: there is nothing to learn but which is the commoner.
fn make_noise(root: &Path) {
    let mut state = 1u32;
    for (class, count) in [("common", 100), ("rare, \"odd\"", 50)] {
        fs::create_dir_all(root.join(class)).unwrap();
        for number in 0..count {
            let noise = image::RgbImage::from_fn(24, 24, |_, _| {
                image::Rgb([(); 3].map(|()| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                }))
            });
            noise.save(root.join(class).join(format!("{number}.png"))).unwrap();
        }
    }
}

const NO_BETTER: &str = "note: This network was not shown to do better than always naming the commonest class: ";

fn a_network_that_guesses_is_told_so_first() {
    let folder = tempfile::tempdir().unwrap();
    make_noise(&folder.path().join("noise"));
    let options =
        ["--data", "noise", "--size", "24", "--batch", "8", "--channels", "4,6", "--epochs", "2", "--out", "run"];
    let printed = succeed(folder.path(), &[&["train"], &options[..]].concat());
    let place = |text: &str| printed.find(text).unwrap_or_else(|| panic!("{text}: {printed}"));
    assert!(place("epoch  2/2") < place(NO_BETTER) && place(NO_BETTER) < place("wrote "), "{printed}");
    let epochs: Vec<&str> = printed.lines().filter(|line| line.starts_with("epoch ")).collect();
    assert!(epochs.iter().all(|line| line.matches("% (66.7)").count() == 2), "beside both accuracies: {printed}");

    for command in [
        &["features", "noise/common/0.png", "--run", "run"][..],
        &["explain", "noise/common/0.png", "--run", "run"],
        &["learned", "--run", "run"],
    ] {
        let printed = succeed(folder.path(), command);
        assert!(
            printed.starts_with(NO_BETTER) && printed.contains("always naming the commonest class: 66.7 %"),
            "{printed}"
        );
    }
    // On every page it is the first note, and stands before all else that is told.
    for name in ["features/index.html", "features/0/index.html", "explain/0/index.html", "learned/index.html"] {
        let page = page(&folder.path().join("run").join(name));
        let note = page.find("<p class=\"missing\">").unwrap_or_else(|| panic!("{name}"));
        assert!(page[note..].starts_with("<p class=\"missing\">This network was not shown to do better"), "{name}");
        assert!(note < page.find("<dl").unwrap(), "{name}");
    }
    let page = page(&folder.path().join("run/explain/0/index.html"));
    assert!(
        page.contains("Do not rely on it: this network was not shown to do better")
            && page.contains("for the blurred image")
    );
    assert!(!page.contains("It differs from an untrained"), "no map of a guess is judged");
    let saliency = json(&folder.path().join("run/explain/0/saliency.json"));
    for method in saliency["methods"].as_array().unwrap() {
        assert_eq!(method["verdict"]["standing"], "not_shown", "{method}");
        let words = method["words"].as_str().unwrap();
        assert!(words.starts_with("Do not rely on it: this network was not shown to do better"), "{method}");
    }
    let printed = succeed(folder.path(), &["layers", "--run", "run"]);
    let table = [printed.find(NO_BETTER), printed.find("last.safetensors on as many images of each class")];
    assert!(table[0].is_some() && table[0] < table[1], "{printed}");
    assert_eq!(printed.matches(NO_BETTER).count(), 1, "{printed}");
    assert!(!printed.contains("needs what it has learned"), "{printed}");
    let printed = succeed(folder.path(), &["report", "run"]);
    assert!(printed.starts_with(NO_BETTER) && printed.matches(NO_BETTER).count() == 1, "{printed}");
    let page = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.contains("class=\"caution\"") && !page.contains("It depends on what was learned"));

    let output = convscope(folder.path(), &["predict", "noise/common/0.png", "--run", "run"]);
    assert!(String::from_utf8(output.stderr).unwrap().starts_with(NO_BETTER));
    let printed = succeed(folder.path(), &["evaluate", "--run", "run"]);
    assert!(printed.matches(NO_BETTER).count() == 1 && !printed.contains("accuracy "), "{printed}");

    // A run of an older version: the classes of its validation images are counted where these are at hand.
    let mut config = json(&folder.path().join("run/config.json"));
    assert_eq!(config["val_of_class"], serde_json::json!([20, 10]));
    config.as_object_mut().unwrap().remove("val_of_class");
    fs::write(folder.path().join("run/config.json"), config.to_string()).unwrap();
    for command in
        [&["features", "noise/common/0.png", "--run", "run"][..], &["learned", "--run", "run"], &["report", "run"]]
    {
        let printed = succeed(folder.path(), command);
        assert!(printed.starts_with(NO_BETTER), "{printed}");
    }

    // Where its metrics are damaged, that is what is told, and not only that nothing is known.
    let metrics = fs::read_to_string(folder.path().join("run/metrics.csv")).unwrap();
    fs::write(folder.path().join("run/metrics.csv"), metrics.replace("\n1,", "\n7,")).unwrap();
    let image = "noise/common/0.png";
    for (command, name) in [
        (&["features", image, "--run", "run", "--out", "f"][..], "f/index.html"),
        (&["explain", image, "--run", "run", "--out", "e"], "e/0/index.html"),
        (&["learned", "--run", "run", "--out", "l"], "l/index.html"),
    ] {
        let printed = succeed(folder.path(), command);
        assert!(printed.starts_with("note: It is not known whether this network does better"), "{printed}");
        let told = "run/metrics.csv: cannot be used: line 2: epoch is 7: expected 1";
        assert!(printed.contains(told) && self::page(&folder.path().join(name)).contains(told), "{printed}");
    }
}

fn a_network_that_knows_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    make_photos(&folder.path().join("photos"));
    let options =
        ["--data", "photos", "--size", "32", "--batch", "4", "--channels", "4,6", "--epochs", "8", "--lr", "0.01"];
    let head = ["--head", "flatten", "--padding", "1", "--out", "run"];
    let printed = succeed(folder.path(), &[&["train"], &options[..], &head[..]].concat());
    let said = "100.0 % of 6 images right (95 % interval 44.5 to 100.0 %, allowing for the choice of the best of 8 epochs); always naming the \
                commonest class: 33.3 %";
    assert!(printed.contains(said) && !printed.contains("note: "), "{printed}");

    // Every validation image has a row, whose columns are named once.
    let path = folder.path().join("run/predictions.csv");
    let first = fs::read_to_string(&path).unwrap();
    let rows: Vec<&str> = first.lines().collect();
    assert_eq!(rows[0], "file,label,predicted,probability_blue,probability_green,probability_red,loss");
    assert_eq!(rows.len(), 7);
    let files: HashSet<&str> = rows[1..].iter().map(|row| row.split(',').next().unwrap()).collect();
    let run = Run::open(&folder.path().join("run")).unwrap();
    let listed = run.photos().unwrap();
    assert_eq!((listed.learned.unwrap().len(), listed.judged.len()), (24, 6));
    assert_eq!(files, listed.judged.keys().map(String::as_str).collect());
    for row in &rows[1..] {
        let fields: Vec<&str> = row.split(',').collect();
        assert!(fields[0].starts_with(fields[1]) && fields[2] == fields[1], "{row}");
        let numbers: Vec<f64> = fields[3..].iter().map(|field| field.parse().unwrap()).collect();
        assert!((numbers[..3].iter().sum::<f64>() - 1.0).abs() < 1e-9, "{row}");
        let of_label = numbers[["blue", "green", "red"].iter().position(|class| *class == fields[1]).unwrap()];
        assert!((numbers[3] + of_label.ln()).abs() < 1e-6, "{row}");
    }
    for command in [
        &["features", "photos/red/0.png", "--run", "run"][..],
        &["explain", "photos/red/0.png", "--run", "run"],
        &["learned", "--run", "run"],
    ] {
        let printed = succeed(folder.path(), command);
        assert!(printed.starts_with(&format!("network  best.safetensors: {said}")), "{printed}");
    }
    for name in ["features/index.html", "features/0/index.html", "explain/0/index.html", "learned/index.html"] {
        assert!(
            !page(&folder.path().join("run").join(name)).contains("class=\"missing\""),
            "{name}: nothing to warn of"
        );
    }

    // A run that was stopped has no such table; `report` adds it.
    fs::remove_file(&path).unwrap();
    let printed = succeed(folder.path(), &["report", "run"]);
    assert!(printed.starts_with(&format!("network  best.safetensors: {said}")), "{printed}");
    assert!(printed.matches(said).count() == 1 && !printed.contains("note: "), "{printed}");
    let again = fs::read_to_string(&path).unwrap();
    let names =
        |table: &str| table.lines().map(|row| row.split(',').take(3).collect::<Vec<_>>().join(",")).collect::<Vec<_>>();
    assert_eq!(names(&again), names(&first));
    let page = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.contains("expected calibration error (ECE)") && !page.contains("class=\"caution\""));
}

/// A run on photos of three classes that its network tells apart, in a folder with them.
fn train_on_photos(folder: &Path) {
    make_photos(&folder.join("photos"));
    let options =
        ["--data", "photos", "--size", "32", "--batch", "4", "--channels", "4,6", "--epochs", "4", "--lr", "0.01"];
    let head = ["--head", "flatten", "--padding", "1", "--out", "run", "--no-report"];
    succeed(folder, &[&["train"], &options[..], &head[..]].concat());
}

/// Runs with this on standard input; returns what was printed on standard output.
fn feed(folder: &Path, arguments: &[&str], input: &str) -> String {
    let mut command = program(folder, arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// File, class, probability of each class.
type Row = (String, String, Vec<f64>);

/// The rows of a table of predictions, whose columns of probabilities begin with `first`.
fn predicted(table: &str, class: usize, first: usize) -> Vec<Row> {
    let rows = table.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    let numbers = |row: &[&str]| row[first..first + 3].iter().map(|number| number.parse().unwrap()).collect();
    rows.map(|row| (row[0].to_string(), row[class].to_string(), numbers(&row))).collect()
}

fn images_are_predicted_as_validation_was() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train_on_photos(folder);
    let output = convscope(folder, &["predict", "photos", "--run", "run", "--csv", "--batch", "4"]);
    let (table, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && told.contains(" images/s, reading and network together"), "{told}");
    assert_eq!(
        table.lines().next().unwrap(),
        "path,class,probability,runner_up,runner_up_probability,probability_blue,probability_green,probability_red"
    );
    let all = predicted(&table, 1, 5);
    let files: Vec<&str> = all.iter().map(|(file, ..)| &file[..]).collect();
    assert!(files.len() == 30 && files.is_sorted(), "{files:?}");
    // To the last digit what was said of the validation images in training, as it was written down.
    let saved = predicted(&fs::read_to_string(folder.join("run/predictions.csv")).unwrap(), 2, 3);
    assert_eq!(saved.len(), 6);
    for (file, class, probabilities) in &saved {
        let now = all.iter().find(|(path, ..)| path == &format!("photos/{file}")).unwrap();
        assert_eq!((&now.1, &now.2), (class, probabilities), "{file}");
    }

    // By a list, in its order, in other batches, as JSON: the same but for rounding.
    let picked = [&all[7], &all[29], &all[0], &all[7]];
    let list: String = picked.iter().map(|(file, ..)| format!("{file}\n")).collect();
    let command = ["predict", "-", "--run", "run", "--json", "--batch", "3"];
    let listed: Vec<Value> =
        feed(folder, &command, &list).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), picked.len());
    for (said, (file, class, probabilities)) in listed.iter().zip(picked) {
        assert_eq!((said["path"].as_str(), said["class"].as_str()), (Some(&file[..]), Some(&class[..])));
        for (name, probability) in ["blue", "green", "red"].iter().zip(probabilities) {
            let now = said["probabilities"][name].as_f64().unwrap();
            assert!((now - probability).abs() < 1e-5, "{said} {probabilities:?}");
        }
    }

    // With mirror images, an image and its mirror image are the same; without, they are not.
    let photo = image::open(folder.join("photos/red/3.png")).unwrap();
    photo.fliph().save(folder.join("mirrored.png")).unwrap();
    let both = |more: &[&str]| {
        let command = [&["predict", "photos/red/3.png", "mirrored.png", "--run", "run", "--csv"], more].concat();
        predicted(&succeed(folder, &command), 1, 5)
            .into_iter()
            .map(|(.., probabilities)| probabilities)
            .collect::<Vec<_>>()
    };
    let differ = |rows: &[Vec<f64>]| rows[0].iter().zip(&rows[1]).any(|(a, b)| (a - b).abs() > 1e-6);
    let (plain, averaged) = (both(&[]), both(&["--tta"]));
    assert!(differ(&plain) && !differ(&averaged), "{plain:?} {averaged:?}");
    for class in 0..3 {
        let mean = (plain[0][class] + plain[1][class]) / 2.0;
        assert!((averaged[0][class] - mean).abs() < 1e-5, "{plain:?} {averaged:?}");
    }

    // What cannot be read is named, the others go on.
    fs::write(folder.join("broken.png"), b"no image").unwrap();
    let output = convscope(folder, &["predict", "none.png", "mirrored.png", "broken.png", "--run", "run"]);
    let (printed, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("file  ") && lines[1].starts_with("mirrored.png  "), "{printed}");
    for said in [
        "note: none.png: there is no such file; check the path\n",
        "note: broken.png: is no JPEG or PNG image\n",
        "error: 2 of 3 images could not be read; the notes name each and why\n",
    ] {
        assert!(told.contains(said), "{told}");
    }
    let error = fail(folder, &["predict", "none.png", "--run", "run"]);
    assert!(error.contains("none.png: there is no such file") && !error.contains("adapter"), "{error}");
    let output = convscope(folder, &["predict", "mirrored.png", "--run", "run", "--json", "--csv"]);
    assert_eq!(output.status.code(), Some(2));
}

fn a_network_is_judged_by_labelled_images() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train_on_photos(folder);
    // Standard output holds the object alone.
    let evaluated = |more: &[&str]| -> Value {
        let command = [&["evaluate", "--run", "run", "--json", "-"], more].concat();
        serde_json::from_str(&succeed(folder, &command)).unwrap()
    };
    let own = evaluated(&[]);
    assert_eq!((&own["images"], &own["validated"], &own["left_out"]["learned"]), (&6.into(), &6.into(), &0.into()));
    let saved = fs::read_to_string(folder.join("run/predictions.csv")).unwrap();
    let rows: Vec<Vec<&str>> = saved.lines().skip(1).map(|row| row.split(',').collect()).collect();
    let losses: f64 = rows.iter().map(|row| row[6].parse::<f64>().unwrap()).sum();
    let right = rows.iter().filter(|row| row[1] == row[2]).count();
    assert_eq!(own["accuracy"], right as f64 / 6.0);
    assert!((own["log_loss"].as_f64().unwrap() - losses / 6.0).abs() < 1e-12, "{own}");
    assert_eq!((&own["commonest"], &own["auc"], &own["epochs"]), (&(2.0 / 6.0).into(), &Value::Null, &4.into()));
    // In the folder that it was trained on it is judged by the same images alone.
    let all = evaluated(&["--data", "photos"]);
    assert_eq!((&all["images"], &all["left_out"]["learned"]), (&6.into(), &24.into()));
    for figure in ["accuracy", "accuracy_interval", "log_loss", "confusion", "calibration", "classes"] {
        assert_eq!(all[figure], own[figure], "{figure}");
    }

    // Of new images some lie in a folder of another class, which are the worst mistakes, and one class is missing.
    for (class, colour) in [("green", [40, 200, 40]), ("red", [200, 40, 40])] {
        fs::create_dir_all(folder.join("new").join(class)).unwrap();
        for number in 0..4 {
            let shown = if (class, number) == ("red", 0) { [40, 210, 40] } else { colour };
            let photo = image::RgbImage::from_fn(40, 40, |x, _| image::Rgb(shown.map(|c| c + x as u8 + number)));
            photo.save(folder.join(format!("new/{class}/{number}.png"))).unwrap();
        }
    }
    let command = ["evaluate", "--run", "run", "--data", "new", "--json", "new.json", "--out", "new.html", "--tta"];
    let printed = succeed(folder, &command);
    assert!(printed.contains("data     8 images of new, each with its mirror image"), "{printed}");
    assert!(
        printed.contains("Of these classes there is no image here, so nothing is said of them: blue."),
        "{printed}"
    );
    assert!(printed.contains("  red/0.png: red, taken for green ("), "{printed}");
    let found = json(&folder.join("new.json"));
    assert_eq!((&found["images"], &found["epochs"], &found["tta"]), (&8.into(), &1.into(), &true.into()));
    assert_eq!(found["classes"][0]["recall"], Value::Null);
    let sum = |row: &Value| row.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum::<u64>();
    assert_eq!(found["confusion"].as_array().unwrap().iter().map(sum).collect::<Vec<_>>(), [0, 4, 4]);
    let page = fs::read_to_string(folder.join("new.html")).unwrap();
    for shown in ["How the network does on labelled images", "expected calibration error (ECE)", "red/0.png", "<svg"] {
        assert!(page.contains(shown), "{shown}");
    }
    // Both files are replaced, but nothing else is.
    succeed(folder, &command);
    for (option, file, told) in [
        ("--json", "run/best.safetensors", "exists already and is no evaluation"),
        ("--json", "run/config.json", "exists already and is no evaluation"),
        ("--json", "new/red/new.json", "lies in the folder of the images"),
        ("--json", "none/new.json", "name a file in a folder that is there"),
        ("--out", "run/metrics.csv", "exists already and is no page"),
    ] {
        let error = fail(folder, &["evaluate", "--run", "run", "--data", "new", option, file]);
        assert!(error.contains(file) && error.contains(told), "{error}");
    }
}

/// Class and file names from all over the world, on the pages of all commands.
/// What is exported and imported again says of every image what the run says, and tells what it does not know.
fn weights_go_out_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train_tiny(folder, &["--out", "run", "--normalize", "imagenet"]);
    succeed(folder, &["data", "synth", "drawn", "--size", "40", "--train-images", "12", "--val-images", "6"]);
    let error = fail(folder, &["export", "--run", "run", "--safetensors", "same", "--onnx", "./same"]);
    assert!(error.contains("name the same place") && !folder.join("same").exists(), "{error}");
    succeed(
        folder,
        &["export", "--run", "run", "--safetensors", "w.safetensors", "--onnx", "w.onnx", "--torch", "torch"],
    );
    assert!(fs::metadata(folder.join("w.onnx")).unwrap().len() > 1000);
    let error = fail(folder, &["export", "--run", "run", "--onnx", "w.onnx"]);
    assert!(error.contains("w.onnx"), "{error}");

    let predict = |run: &str| succeed(folder, &["predict", "drawn", "--run", run, "--csv"]);
    let of_run = predict("run");
    assert_eq!(of_run.lines().count(), 1 + 18);
    succeed(folder, &["import", "w.safetensors", "--out", "back"]);
    assert_eq!(predict("back"), of_run);
    // The names and shapes of PyTorch's weights tell the network; how it is used must be said.
    let bytes = fs::read(folder.join("w.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors();
    fs::write(folder.join("torch.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    let error = fail(folder, &["import", "torch.safetensors", "--out", "torch-back"]);
    assert!(error.contains("--size") && !folder.join("torch-back").exists(), "{error}");
    let said = ["--size", "40", "--stride", "2", "--padding", "0", "--classes", "cat,dog", "--normalize", "imagenet"];
    let imported = [&["import", "torch.safetensors", "--out", "torch-back"], &said[..]].concat();
    succeed(folder, &imported);
    assert_eq!(predict("torch-back"), of_run);
    let judged = |run: &str| succeed(folder, &["evaluate", "--run", run, "--data", "drawn", "--json", "-"]);
    let accuracy = |run: &str| serde_json::from_str::<Value>(&judged(run)).unwrap()["accuracy"].clone();
    assert_eq!(accuracy("back"), accuracy("torch-back"));
    look_into_an_import(folder);
    let error = fail(folder, &["import", "w.onnx", "--out", "other"]);
    assert!(error.contains("w.onnx") && !folder.join("other").exists(), "{error}");
}

/// Labelled images that are given judge a network of which nothing else is known, and every command and page says what that is worth.
fn look_into_an_import(folder: &Path) {
    let unknown = "it is not known what it learned from: these images may be among it";
    let commands = [&["learned", "--run", "back"][..], &["layers", "--run", "back"], &["report", "back"]];
    for command in commands.into_iter().chain([&["evaluate", "--run", "back"][..], &["explain", "--run", "back"]]) {
        let error = fail(folder, command);
        assert!(
            error.contains("was imported from w.safetensors") && error.contains("given with --data DIR"),
            "{error}"
        );
    }
    succeed(folder, &["data", "synth", "given", "--size", "40", "--train-images", "44", "--val-images", "4"]);
    for command in commands {
        let said = succeed(folder, &[command, &["--data", "given"]].concat());
        assert!(said.contains(unknown), "{command:?}: {said}");
    }
    let image = "given/train/cat/cat-000000.png";
    let said = succeed(folder, &["explain", image, "--run", "back", "--data", "given", "--images-only"]);
    assert!(said.contains(unknown) && !said.contains("without channel ablation"), "{said}");
    let text = |file: &str| fs::read_to_string(folder.join("back").join(file)).unwrap();
    let table: Value = serde_json::from_str(&text("layers/layers.json")).unwrap();
    // Half of the images stand for those that it learned from.
    assert_eq!((table["images"].as_u64(), table["weights"].as_str()), (Some(24), Some("best.safetensors")));
    let page = text("report.html");
    let patches = "Patches: what activates a channel most in the given images";
    for shown in ["Trained elsewhere. Judged by 48 images", unknown, "This network was trained elsewhere.", patches] {
        assert!(page.contains(shown), "{shown}");
    }
    for untrue in ["Trained on", "alidation images", "by epoch", "convscope train", "convscope depth"] {
        assert!(!page.contains(untrue), "{untrue}");
    }
    assert!(text("learned/index.html").contains(unknown) && text("explain/cat-000000/index.html").contains(unknown));
    let error = fail(folder, &["report", "back", "--data", "given", "--depth", "drawn"]);
    assert!(error.contains("--depth") && error.contains("leave the option out"), "{error}");
    // Photos of the same names in another folder are other photos.
    fs::rename(folder.join("given"), folder.join("moved")).unwrap();
    succeed(folder, &["report", "back", "--data", "moved"]);
    let page = text("report.html");
    assert!(!page.contains(patches) && page.contains("run `convscope learned` on these"), "patches of other images");
}

fn names_in_every_script_are_legible() {
    // As they are named on disk, and as they stand in HTML.
    let classes = [
        ("кошка", "кошка"),
        ("狗与猫", "狗与猫"),
        ("قطة", "قطة"),
        ("बिल्ली", "बिल्ली"),
        ("🐶 & <b>", "🐶 &amp; &lt;b&gt;"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("фото 写真");
    for (number, (class, _)) in (0u8..).zip(classes) {
        fs::create_dir_all(photos.join(class)).unwrap();
        for photo in 0..6u8 {
            let image = image::RgbImage::from_fn(40, 40, |x, y| {
                image::Rgb([40 * number, (x * 3 + y) as u8 % 50 + 8 * photo, 250 - 40 * number])
            });
            image.save(photos.join(class).join(format!("снимок 图 {photo}.png"))).unwrap();
        }
    }
    let tiny = ["--data", "фото 写真", "--size", "40", "--batch", "8", "--channels", "4,6", "--epochs", "1"];
    succeed(folder.path(), &[&["train", "--out", "r"][..], &tiny].concat());
    let one = format!("фото 写真/{}/снимок 图 3.png", classes[2].0);
    succeed(folder.path(), &["features", &one, "--run", "r", "--out", "f"]);
    succeed(folder.path(), &["explain", &one, "--run", "r", "--against", classes[0].0]);
    succeed(folder.path(), &["explain", &one, "--run", "r", "--against", classes[4].0]);
    succeed(folder.path(), &["learned", "--run", "r"]);
    succeed(folder.path(), &["report", "r"]);

    let read = |name: &str| page(&folder.path().join(name));
    let [report, own] = [read("r/report.html"), read("r/features/index.html")];
    for (class, escaped) in classes {
        assert!(report.contains(&format!("<bdi>{escaped}</bdi>")), "{class}");
    }
    assert!(classes.iter().any(|(_, escaped)| own.contains(&format!("<dd><bdi>{escaped}</bdi></dd>"))), "the label");
    let file = "снимок 图 3.png";
    let explained = [read("r/explain/снимок 图 3/index.html"), read("r/explain/снимок 图 3-2/index.html")];
    for page in explained.iter().chain([&report, &read("f/index.html")]) {
        assert!(page.contains(file) && page.contains(classes[2].1), "{file}");
    }
    let against =
        |class: usize| explained.iter().any(|page| page.contains(&format!("<bdi>{}</bdi>?</h1>", classes[class].1)));
    assert!(against(0) || against(4), "one of the two is not what the network says");
    for page in explained.iter().chain([&report, &own, &read("f/index.html"), &read("r/learned/index.html")]) {
        assert!(!page.contains("<b>") && !page.contains('\u{fffd}'), "a name breaks out or is lost");
    }
}

fn adapters_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let printed = succeed(folder.path(), &["adapters"]);
    assert!(printed.starts_with("0  "), "{printed}");
    train_tiny(folder.path(), &["--adapter", "0"]);
}

fn an_unknown_adapter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for adapter in ["99", "no such adapter"] {
        let error = fail(folder.path(), &["train", "--adapter", adapter]);
        assert!(
            error.contains(&format!("adapter {adapter}: no such adapter")) && error.contains("--adapter"),
            "{error}"
        );
    }
    assert!(!folder.path().join("runs").exists(), "nothing is left behind");
}

fn kernels_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let printed = train_tiny(folder.path(), &["--kernels", "plain"]);
    assert!(printed.lines().next().unwrap().ends_with(", plain kernels"), "{printed}");
    assert_eq!(json(&folder.path().join("runs/001/environment.json"))["kernels"], "plain");

    let subgroup = [&["train", "--kernels", "subgroup"], &TINY[..]].concat();
    if common::opened().as_ref().unwrap().lanes().is_some() {
        let printed = succeed(folder.path(), &subgroup);
        assert!(printed.lines().next().unwrap().ends_with(", subgroup kernels"), "{printed}");
    } else {
        let error = fail(folder.path(), &subgroup);
        assert!(error.contains("no subgroups of one size") && error.contains("--kernels plain"), "{error}");
    }
}

fn what_was_measured_is_used() {
    if !cfg!(target_os = "linux") {
        // Where the folder of caches cannot be named, nothing of the user's is touched.
        return;
    }
    let gpu = common::opened().as_ref().unwrap();
    let [folder, cache] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let file = cache.path().join("convscope").join("kernels.json");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let tiles = TileLimits::default().other_products().pop().unwrap();
    let driver = format!("{} {}", gpu.info().driver, gpu.info().driver_info);
    let adapter = format!("{}, {}, convscope {}", gpu.info().name, driver.trim(), env!("CARGO_PKG_VERSION"));
    let written = json!({"format": 2, "adapters": {adapter: {"kernels": "tiled", "tiles": tiles}}});
    fs::write(&file, written.to_string()).unwrap();
    let run = |arguments: &[&str]| {
        let output = program(folder.path(), arguments).env("XDG_CACHE_HOME", cache.path()).output().unwrap();
        let [printed, noted] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{noted}");
        (printed, noted)
    };
    let step = |options: &[&str]| -> Value {
        let step = ["bench", "step", "--json", "--size", "64", "--batch", "2", "--steps", "1"];
        serde_json::from_str(&run(&[&step[..], options].concat()).0).unwrap()
    };
    let measured = step(&[]);
    assert_eq!((&measured["kernels"], &measured["tiles"]), (&json!("tiled"), &json!(tiles)));
    let rule = step(&["--tiles", "rule"]);
    assert_eq!((&rule["kernels"], &rule["tiles"]), (&json!("tiled"), &json!(TileLimits::default())));

    let (adapters, noted) = run(&["adapters"]);
    assert!(adapters.contains("   measured: tiled kernels, tiles {") && noted.is_empty(), "{adapters}{noted}");
    fs::write(&file, written.to_string().replace("steps_for_parts", "steps")).unwrap();
    let (adapters, noted) = run(&["adapters"]);
    assert!(!adapters.contains("measured"), "{adapters}");
    let told =
        noted.contains("kernels.json: cannot be used: ") && noted.contains("`convscope bench tune` measures anew");
    assert!(noted.lines().count() == 1 && told, "{noted}");
}

fn bench_step_prints_one_json_object() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "step", "--size", "64", "--batch", "2", "--steps", "2"];
    let printed = succeed(folder.path(), &[&arguments[..], &["--json", "--kernels", "plain"]].concat());
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    for (key, value) in [("size", 64), ("batch", 2), ("steps", 2)] {
        assert_eq!(report[key], value, "{key} in {report}");
    }
    assert_eq!(report["kernels"], "plain");
    for key in ["adapter", "driver"] {
        assert!(report[key].is_string(), "{key} in {report}");
    }
    for key in ["images_per_s", "compile_s", "eval_images_per_s"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key} in {report}");
    }
    assert_eq!(report["peak_rss_mb"].as_f64().is_some_and(|peak| peak > 1.0), cfg!(target_os = "linux"), "{report}");
    let [min, median, max] = ["min", "median", "max"].map(|key| report["step_ms"][key].as_f64().unwrap());
    assert!(0.0 < min && min <= median && median <= max, "{report}");
    let images_per_s = report["images_per_s"].as_f64().unwrap();
    assert!((images_per_s * median - 2000.0).abs() < 1e-6, "two images a step: {report}");

    let printed = succeed(folder.path(), &arguments);
    assert!(printed.contains("training") && printed.contains("images/s"), "{printed}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

fn bench_scaling_goes_on_after_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "scaling", "--kernels", "plain", "--batches", "2,60000", "--sizes", "6000,64"];
    let printed = succeed(folder.path(), &[&arguments[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    for (point, size, batch) in [(&report["batches"][0], 128, 2), (&report["sizes"][1], 64, 32)] {
        assert_eq!((&point["size"], &point["batch"]), (&size.into(), &batch.into()), "{report}");
        assert_eq!(point["ratio"], 1.0, "the first that was timed: {report}");
        assert!(point["images_per_s"].as_f64().unwrap() > 0.0, "{report}");
    }
    for (point, size, batch) in [(&report["batches"][1], 128, 60_000), (&report["sizes"][0], 6000, 32)] {
        assert_eq!((&point["size"], &point["batch"]), (&size.into(), &batch.into()), "{report}");
        assert!(point["refused"].as_str().unwrap().contains("MiB in one buffer"), "{report}");
    }
    let printed = succeed(folder.path(), &[&arguments[..4], &["--batches", "60000", "--sizes", "64"]].concat());
    assert!(printed.contains("128  60000    refused: "), "{printed}");
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

fn bad_data_folders_name_themselves() {
    let folder = tempfile::tempdir().unwrap();
    make_photos(&folder.path().join("photos"));
    for (data, message) in
        [("nowhere", "there is no such folder"), ("photos/red", "class"), ("photos/red/1.png", "is a file")]
    {
        let error = fail(folder.path(), &["train", "--data", data]);
        assert!(error.contains(&format!("--data {data}")) && error.contains(message), "{data}: {error}");
    }
    let error = fail(folder.path(), &["train", "--data", "."]);
    assert!(error.contains("runs: lies in the folder of the images, ., which is only read"), "{error}");
    assert!(!folder.path().join("runs").exists(), "nothing is left behind");
}

fn bad_options_name_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (&["train", "--size", "20"][..], "block 4"),
        (&["train", "--lr", "-1"], "--lr"),
        (&["train", "--batch", "0"], "--batch 0"),
        (&["train", "--optimizer", "lion"], "--optimizer"),
        (&["features", "image.png"], "--run"),
        (&["train", "--kernels", "fast"], "--kernels <KERNELS>"),
        (&["features", "image.png", "--run", "run", "--kernels", "fast"], "possible values: auto, plain"),
        (&["bench", "step", "--kernels", "fast"], "possible values: auto, plain"),
        (&["bench", "step", "--size", "32"], "block 5"),
        (&["bench", "step", "--size", "64", "--batch", "1"], "raise --batch"),
        (&["bench", "step", "--steps", "0"], "--steps 0: expected 1 to"),
        (&["bench", "scaling", "--batches", "2,0"], "--batch 0: expected 1 to"),
        (&["bench", "scaling", "--sizes", "64,9000"], "--size 9000: expected 1 to"),
    ];
    for (arguments, message) in cases {
        let error = fail(folder.path(), arguments);
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
    assert!(!folder.path().join("runs").exists(), "nothing is left behind");
}

/// The exit code tells whether anything is the matter, the page has the names as text, and the folder is only read.
fn a_folder_is_examined() {
    let folder = tempfile::tempdir().unwrap();
    let synth = ["data", "synth", "drawn", "--train-images", "12", "--val-images", "6", "--size", "32"];
    let printed = succeed(folder.path(), &synth);
    assert!(printed.contains("12 + 6 images of cat, dog") && printed.contains("--data drawn --size 32"), "{printed}");
    assert!(fail(folder.path(), &synth).starts_with("error: drawn: exists already"));
    let doctor = ["doctor", "drawn", "--size", "32"];
    let printed = succeed(folder.path(), &doctor);
    assert!(printed.contains("nothing is the matter with 18 images"), "{printed}");
    let json = |code: i32| -> Value {
        let output = convscope(folder.path(), &[&doctor[..], &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let answer = json(0);
    assert_eq!((&answer["findings"], &answer["page"]), (&serde_json::json!([]), &Value::Null));
    assert_eq!(answer["classes"][0], serde_json::json!({ "name": "cat", "train": 6, "val": 3 }));

    let cats = folder.path().join("drawn/train/cat");
    let first = fs::read_dir(&cats).unwrap().next().unwrap().unwrap().path();
    fs::copy(first, folder.path().join("drawn/train/dog/<b>&\u{1b}[2J.png")).unwrap();
    let answer = json(1);
    let finding = &answer["findings"][0];
    assert_eq!((&finding["kind"], &finding["severity"]), (&"equal_in_two_classes".into(), &"error".into()));
    let output = convscope(folder.path(), &doctor);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
    assert!(printed.contains("\nerror    1 of 19 images") && printed.contains("wrote doctor-2"), "{printed}");
    assert!(printed.contains(r"<b>&\x1B[2J.png") && !printed.contains('\u{1b}'), "{printed}");
    let page = fs::read_to_string(folder.path().join("doctor-2/index.html")).unwrap();
    assert!(page.contains("&lt;b&gt;&amp;") && !page.contains("<b>") && page.contains("data:image/jpeg;base64,"));
    assert_eq!(fs::read_to_string(folder.path().join("doctor-2/pairs.csv")).unwrap().lines().count(), 2);
    let inside = fail(folder.path(), &[&doctor[..], &["--out", "drawn/results"]].concat());
    assert!(inside.contains("is only read"), "{inside}");
    assert!(fail(folder.path(), &["doctor", "nowhere"]).contains("there is no such folder"));
    assert_eq!(convscope(folder.path(), &["doctor"]).status.code(), Some(2));
}

fn without_an_adapter_the_remedy_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let output = program(folder.path(), ["adapters"])
        // Where the Vulkan loader looks for drivers; other systems are not touched by it.
        .env("VK_DRIVER_FILES", "/nonexistent")
        .env("VK_ICD_FILENAMES", "/nonexistent")
        .output()
        .unwrap();
    if cfg!(target_os = "linux") {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(stderr.contains("apt-get install mesa-vulkan-drivers"), "{stderr}");
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

fn what_a_stopped_command_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    // Stopped while it learns.
    let endless = [&["train"], &TINY[..10], &["--epochs", "1000", "--out", "r"]].concat();
    let mut run = program(folder.path(), endless).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(run.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.starts_with("epoch  3/")), "it learns");
    run.kill().unwrap();
    run.wait().unwrap();
    let run = folder.path().join("r");
    let folders = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    assert_eq!(folders.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["checkpoints"]);
    assert!(unfinished(&run).contains(&"claim.unfinished".to_string()), "it had claimed the folder");
    fs::create_dir(run.join("features")).unwrap();
    for name in ["best.safetensors.4000000-7.unfinished", "features/block-1.png.4000000-12.unfinished"] {
        fs::write(run.join(name), b"half").unwrap();
    }
    fs::write(run.join("notes.unfinished"), b"of the user").unwrap();
    succeed(folder.path(), &["report", "r"]);
    assert_eq!(unfinished(&run), ["notes.unfinished"]);
}

/// The best epoch is chosen on the images that are there, told, and the same in the report.
fn validation_images_that_vanish_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    make_photos(&photos);
    let training = "train --data photos --size 32 --batch 4 --channels 4 --epochs 60 --val-share 0.4 --cache 0 --out r --no-report";
    let mut run = program(folder.path(), training.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("epoch  1/")));
    let listed = Run::open(&folder.path().join("r")).unwrap().photos().unwrap().judged;
    let gone: Vec<&String> = listed.keys().take(5).collect();
    for file in &gone {
        fs::remove_file(photos.join(file)).unwrap();
    }
    let printed: Vec<String> = lines.collect();
    assert!(run.wait().unwrap().success());
    let told = printed.iter().any(|line| {
        line.starts_with("note: images that can no longer be read") && line.contains("of 12 validation images")
    });
    assert!(told, "{printed:?}");
    let rejected = fs::read_to_string(folder.path().join("r/rejected.csv")).unwrap();
    assert!(gone.iter().all(|file| rejected.contains(*file)), "{rejected}");

    let best = Checkpoint::from_bytes(&fs::read(folder.path().join("r/best.safetensors")).unwrap()).unwrap();
    let last_best = printed
        .iter()
        .rfind(|line| line.ends_with("best so far"))
        .map_or(1, |line| line["epoch ".len()..].split('/').next().unwrap().trim().parse().unwrap());
    assert_eq!(best.meta.epoch, last_best);
    let metrics = fs::read_to_string(folder.path().join("r/metrics.csv")).unwrap();
    assert!(metrics.lines().nth(1).unwrap().ends_with(",12"), "{metrics}");
    assert!(metrics.lines().last().unwrap().ends_with(",7"), "{metrics}");
    succeed(folder.path(), &["report", "r"]);
    let page = fs::read_to_string(folder.path().join("r/report.html")).unwrap();
    assert!(page.contains(&format!("best: epoch {last_best}<")), "epoch {last_best}");
}

/// What would clear a screen, set a title, end a line, or turn the direction of writing.
const COMMANDS: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\n\u{9b}1m\u{202e}y";
const SHOWN: &str = "x\\u001b[2J\\u001b]0;t\\u0007\\n\\u009b1m\\u202ey";

/// Lines without anything that a terminal would obey.
fn assert_plain(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let obeyed = |character: char| character != '\n' && (character.is_control() || character == '\u{202e}');
    assert!(!text.chars().any(obeyed), "{text:?}");
    text
}

fn names_do_not_command_the_terminal() {
    if cfg!(windows) {
        // No file can have such a name there.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    make_photos(&photos);
    let class = "x\u{1b}[31my\u{202e}z";
    fs::rename(photos.join("red"), photos.join(class)).unwrap();
    fs::write(photos.join(format!("blue/{COMMANDS}.png")), b"no image").unwrap();
    let run = |arguments: &[&str]| {
        let output = convscope(folder.path(), arguments);
        (output.status.success(), assert_plain(&output.stdout), assert_plain(&output.stderr))
    };
    let (trained, _, error) = run(&["train", "--data", "photos", "--out", "r"]);
    assert!(!trained && error.contains(r"folder x\x1B[31my\xE2\x80\xAEz has a character that is not shown"), "{error}");
    fs::rename(photos.join(class), photos.join("red")).unwrap();
    train_tiny(folder.path(), &["--out", "r"]);
    let image = format!("{COMMANDS}.png");
    // Names of images as in tables, others as the terminal shows them.
    let written = path_text(Path::new(&image));
    fs::copy(photos.join("blue/1.png"), folder.path().join(&image)).unwrap();
    let (done, printed, error) = run(&["features", &image, "--run", "r", "--out", "maps"]);
    assert!(done && printed.contains(&written), "{printed}{error}");
    let (done, printed, error) = run(&["explain", &image, "--run", "r", "--out", COMMANDS]);
    assert!(done && printed.contains(&written) && printed.contains(SHOWN), "{printed}{error}");
    fs::write(folder.path().join(&image), b"no image").unwrap();
    for arguments in [["features", &image, "--run", "r"], ["explain", &image, "--run", "r"]] {
        let (done, _, error) = run(&arguments);
        assert!(!done && error.contains(&written), "{error}");
    }
}

/// Names of images that would be markup, options, commands, ways out, formulas, or too long, anywhere but in a name.
#[cfg(unix)]
const NAMES: [&[u8]; 14] = [
    b"<img src=x onerror=alert(1)>",
    b"&lt;i&gt;<i>&",
    b"\"quoted\" 'twice' `touch own` $(touch own); touch own",
    b"--help",
    b"-",
    b"a..",
    b"\\..\\..\\x",
    b"%2e%2e%2fx%00",
    b"line\nbreak\r\ttab",
    b"\x1b[2J\x1b]0;title\x07",
    b"caf\xe9",
    "\u{202e}gnp.x".as_bytes(),
    b"=1+1, {{7*7}} ${x} %s",
    // With its ending 250 bytes.
    &[b'l'; 246],
];

/// Whatever is in a name, every command takes it as one: it stays what it is in tables that programs read, is harmless on the terminal and
/// on pages, and leads nowhere else.
fn names_are_data() {
    #[cfg(unix)]
    {
        use std::ffi::{OsStr, OsString};
        use std::os::unix::ffi::OsStrExt;
        use std::path::PathBuf;

        let outer = tempfile::tempdir().unwrap();
        let folder = &outer.path().join("inner");
        let photos = Path::new("-photos <i>&\u{202e}");
        let classes = ["--run, <b>\"&'", "=a; ..\\b"];
        let mut images: Vec<PathBuf> = Vec::new();
        for (number, name) in (0u8..).zip(NAMES.iter().copied().chain([&b"\xff"[..], b"1", b"2", b"3"])) {
            let class = usize::from(number) % 2;
            let photo = image::RgbImage::from_fn(24, 24, |x, y| {
                let shade = (x * 3 + y * 2) as u8 % 50 + 4 * number;
                image::Rgb([40 + 120 * class as u8, shade, 200 - 120 * class as u8])
            });
            let path = photos.join(classes[class]).join(OsStr::from_bytes(&[name, b".png"].concat()));
            fs::create_dir_all(folder.join(&path).parent().unwrap()).unwrap();
            let mut bytes = std::io::Cursor::new(Vec::new());
            photo.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            fs::write(folder.join(&path), bytes.into_inner()).unwrap();
            images.push(path);
        }
        // What cannot be used is named, too.
        let broken = folder.join(photos).join(classes[0]).join("<u>broken\u{1b}[1m.png");
        fs::write(&broken, b"no image").unwrap();
        // Each @ at the end of a word stands for the next of the paths.
        let run = |arguments: &str, paths: &[&Path]| {
            let mut paths = paths.iter();
            let word = |word: &str| match word.strip_suffix('@') {
                Some(option) => {
                    [OsStr::new(option), paths.next().unwrap().as_os_str()].into_iter().collect::<OsString>()
                }
                None => word.into(),
            };
            let words: Vec<OsString> = arguments.split_whitespace().map(word).collect();
            let output = program(folder, words).output().unwrap();
            let (printed, told) = (assert_plain(&output.stdout), assert_plain(&output.stderr));
            assert!(!told.contains("panicked"), "{arguments}: {told}");
            (output.status.code(), printed, told)
        };
        let succeed = |arguments: &str, paths: &[&Path]| {
            let (code, printed, told) = run(arguments, paths);
            assert_eq!(code, Some(0), "{arguments}: {told}");
            printed
        };
        let clean = |path: &Path| {
            let page = assert_plain(&fs::read(folder.join(path)).unwrap());
            for markup in ["<img src=x", "<i>&", "<b>\"", "<u>"] {
                assert!(!page.contains(markup), "{}: {markup}", path.display());
            }
            page
        };
        let shown: Vec<String> = images.iter().map(|path| path_text(path)).collect();

        let [made, back] = ["-r <u>\u{202e}", "--run"].map(Path::new);
        let tiny = "--size 24 --batch 8 --channels 4,4 --epochs 1 --val-share 0.4";
        succeed(&format!("train --data=@ --out=@ {tiny}"), &[photos, made]);
        clean(&made.join("report.html"));
        clean(&made.join("features/index.html"));

        let (code, _, told) = run("predict --run=@ -- @", &[made, photos]);
        assert!(code == Some(1) && told.contains(r"<u>broken\x1B[1m.png: is no JPEG or PNG image"), "{told}");
        fs::remove_file(&broken).unwrap();
        let printed = succeed("predict --run=@ -- @", &[made, photos]);
        let missing = shown.iter().filter(|name| !printed.contains(&name[..])).collect::<Vec<_>>();
        assert!(missing.is_empty(), "the table has not {missing:?}");
        let printed = succeed("predict --json --run=@ -- @", &[made, photos]);
        let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: HashSet<&str> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
        assert_eq!(found, shown.iter().map(String::as_str).collect());
        assert!(lines.iter().all(|line| classes.iter().all(|class| line["probabilities"][class].is_number())));
        let printed = succeed("predict --csv --run=@ -- @", &[made, photos]);
        let mut table = csv::Reader::from_reader(printed.as_bytes());
        let probabilities = classes.map(|class| format!("probability_{class}"));
        assert_eq!(table.headers().unwrap().iter().skip(5).collect::<Vec<_>>(), probabilities);
        let found: HashSet<String> = table.records().map(|row| row.unwrap()[0].to_string()).collect();
        assert_eq!(found, shown.iter().cloned().collect());

        let printed = succeed("evaluate --run=@ --data=@ --json=- --out=page.html", &[made, photos]);
        let evaluation: Value = serde_json::from_str(&printed).unwrap();
        assert!((0..2).all(|class| evaluation["classes"][class]["class"] == classes[class]), "{evaluation}");
        clean(Path::new("page.html"));
        let examined = Path::new("..d <i>&");
        fs::write(&broken, b"no image").unwrap();
        let (code, ..) = run("doctor --size=24 --out=@ -- @", &[examined, photos]);
        assert_eq!(code, Some(1), "a file cannot be used");
        let page = clean(&examined.join("index.html"));
        assert!(page.contains(r"&lt;u&gt;broken\x1B[1m.png"), "the file is named");

        let odd: Vec<&Path> = images[..NAMES.len()].iter().map(PathBuf::as_path).collect();
        succeed(&format!("explain --images-only --run=@ -- {}", "@ ".repeat(odd.len())), &[&[made][..], &odd].concat());
        let explained = fs::read_dir(folder.join(made).join("explain")).unwrap().count();
        assert_eq!(explained, odd.len(), "a folder an image");
        let maps = Path::new("f <i>&\u{7}");
        succeed("features --run=@ --out=@ -- @", &[made, maps, odd[0]]);
        clean(&maps.join("index.html"));
        succeed("report @", &[&Path::new(".").join(made)]);
        clean(&made.join("report.html"));

        let weights = Path::new("--w <b>\".safetensors");
        succeed("export --run=@ --safetensors=@ --torch=torch", &[made, weights]);
        succeed("import --out=@ -- @", &[back, weights]);
        let printed = succeed("predict --json --run=@ -- @", &[back, odd[0]]);
        let line: Value = serde_json::from_str(&printed).unwrap();
        assert!(classes.iter().all(|class| line["probabilities"][class].is_number()), "{line}");

        // Nothing lies outside, and no command in a name was run.
        let names = |path: &Path| {
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<HashSet<OsString>>()
        };
        assert_eq!(names(outer.path()).len(), 1);
        let expected = [photos, made, back, weights, examined, maps, Path::new("page.html"), Path::new("torch")];
        assert_eq!(names(folder), expected.iter().map(|path| path.as_os_str().into()).collect());
    }
}

fn typed_names_do_not_command_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let shown = "\\u001b[2J";
    // The parser of the command line leaves escape sequences out of what it repeats.
    for (arguments, shown) in [
        (&["train", "--data", COMMANDS][..], shown),
        (&["train", "--out", COMMANDS, "--data", COMMANDS], shown),
        (&["report", COMMANDS], shown),
        (&["train", "--lr", COMMANDS], "'--lr <LR>'"),
        (&["train", COMMANDS], "unexpected argument"),
        (&[COMMANDS], "unrecognized subcommand"),
    ] {
        let output = convscope(folder.path(), arguments);
        assert!(!output.status.success());
        assert_plain(&output.stdout);
        let error = assert_plain(&output.stderr);
        assert!(error.contains(shown) && error.starts_with("error: "), "{error}");
    }
}

fn results_that_cannot_be_written_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    train_tiny(folder.path(), &["--out", "r"]);
    // A folder stands where a file should.
    fs::remove_file(folder.path().join("r/report.html")).unwrap();
    fs::create_dir_all(folder.path().join("r/report.html/x")).unwrap();
    let error = fail(folder.path(), &["report", "r"]);
    assert!(error.contains("--out r/report.html: is a folder; name a file for the page"), "{error}");
    assert_eq!(unfinished(&folder.path().join("r")), Vec::<String>::new());

    // Nobody reads: the work is done all the same, and one error told.
    let mut run = program(folder.path(), [&["train"], &TINY[..], &["--out", "unread", "--no-report"]].concat());
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(run.stdout.take());
    assert_one_output_error(&run.wait_with_output().unwrap());
    assert!(folder.path().join("unread/features/index.html").exists());

    if let Ok(full) = fs::File::options().write(true).open("/dev/full") {
        assert_one_output_error(&program(folder.path(), ["adapters"]).stdout(full).output().unwrap());
    }
}

/// Runs within a limit of the shell's `ulimit`, and expects one clear error; returns it.
#[cfg(unix)]
fn fail_within(folder: &Path, limit: &str, arguments: &[&str]) -> String {
    let program = program(folder, arguments);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")])
        .arg(program.get_program())
        .args(program.get_args());
    let output = shell.current_dir(folder).env("XDG_CACHE_HOME", CACHE).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{limit} {arguments:?}: {error}");
    assert_eq!(error.matches("error: ").count(), 1, "{error}");
    error
}

/// A limit on the size of files stands for a full disk. Its unit is 512 bytes.
#[cfg(unix)]
fn a_training_that_has_no_room_for_its_files_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = |out: &'static str| [&["train"], &TINY[..], &["--no-report", "--out", out]].concat();
    // No state was written yet.
    let error = fail_within(folder.path(), "-f 4", &tiny("first"));
    let expected = "error: cannot write first/checkpoints/step-00000000.safetensors (it would exceed the limit on the size of files";
    assert!(error.starts_with(expected) && !error.contains("--resume"), "{error}");
    // All but the page of the features, at the end.
    let error = fail_within(folder.path(), "-f 44", &tiny("last"));
    assert!(error.starts_with("error: cannot write last/features/index.html (it would exceed"), "{error}");
    let kept = "the training is kept as it was in last/checkpoints/step-00000006.safetensors; go on with: convscope train --resume last";
    assert!(error.contains(kept), "{error}");
    for run in ["first", "last"] {
        assert_eq!(unfinished(&folder.path().join(run)), Vec::<String>::new());
    }
    succeed(folder.path(), &["train", "--resume", "last", "--no-report"]);
    assert!(
        folder.path().join("last/features/index.html").exists() && !folder.path().join("last/checkpoints").exists()
    );
}

#[cfg(target_os = "linux")]
fn what_needs_too_much_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = |more: &[&'static str]| [&["train"], &TINY[..], more].concat();
    let error = fail_within(folder.path(), "-v 900000", &tiny(&[]));
    assert!(error.contains("(`ulimit -v`) is 922 MB, but the GPU's driver alone may need 1.1 GB: raise it"), "{error}");
    let large = ["--size", "40", "--channels", "16,16", "--batch", "5000"];
    let error = fail_within(folder.path(), "-v 1200000", &[&["train"], &large[..]].concat());
    assert!(
        error.contains("but the limit on that (`ulimit -v`) is 1.2 GB: raise it, or lower --cache, --batch"),
        "{error}"
    );
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing was begun");
    let error = fail_within(folder.path(), "-v 1200000", &[&["bench", "step"], &large[..]].concat());
    assert!(error.contains("this network needs about ") && error.contains("lower --batch"), "{error}");
}

fn assert_one_output_error(output: &Output) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.matches("error: ").count() == 1, "{error}");
    assert!(error.contains("the output could not be written"), "{error}");
}

fn shells_complete_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeed(folder.path(), &["completions", shell]);
        assert!(script.contains("weight-decay") && script.contains("evaluate"), "{shell}: {script}");
    }
    let script = succeed(folder.path(), &["completions", "bash"]);
    fs::write(folder.path().join("script"), script).unwrap();
    let ask = "source ./script; COMP_WORDS=(convscope pre); COMP_CWORD=1; _convscope convscope pre convscope; echo ${COMPREPLY[@]}";
    if let Ok(output) = Command::new("bash").args(["-c", ask]).current_dir(folder.path()).output() {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "predict\n");
    }
}

fn help_that_cannot_be_printed_is_an_error() {
    for option in ["--help", "--version"] {
        if let Ok(full) = fs::File::options().write(true).open("/dev/full") {
            assert_one_output_error(&program(Path::new("."), [option]).stdout(full).output().unwrap());
        }
        let help = convscope(Path::new("."), &[option]);
        assert!(
            help.status.success() && help.stdout.starts_with(b"Train a conv") != help.stdout.starts_with(b"convscope ")
        );
    }
}
