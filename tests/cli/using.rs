//! Asking a network, judging it, and carrying it in and out; a folder of photos examined.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use convscope::nn::checkpoint::Checkpoint;
use convscope::train::Run;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::common::trial;
use crate::program::program;
use crate::{convscope, fail, json, make_photos, succeed, train_tiny};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("images_are_predicted_as_validation_was", images_are_predicted_as_validation_was),
        trial("a_network_is_judged_by_labelled_images", a_network_is_judged_by_labelled_images),
        trial("weights_go_out_and_come_back", weights_go_out_and_come_back),
        trial("validation_images_that_vanish_are_told", validation_images_that_vanish_are_told),
    ]
}

/// Those that need no device.
pub fn without_device() -> Vec<Trial> {
    vec![trial("a_folder_is_examined", a_folder_is_examined)]
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
    for folder_of in [&["doctor", "nowhere"][..], &["doctor", "--data", "nowhere"]] {
        assert!(fail(folder.path(), folder_of).contains("--data nowhere: there is no such folder"));
    }
    assert_eq!(convscope(folder.path(), &["doctor", "drawn", "--data", "drawn"]).status.code(), Some(2));
    assert_eq!(convscope(folder.path(), &["doctor"]).status.code(), Some(2));
}
