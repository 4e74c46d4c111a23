//! Looking into a network: feature maps, decisions, layers, reports.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use convscope::train::Run;
use libtest_mimic::Trial;

use crate::common::trial;
use crate::{assert_not_blank, convscope, fail, json, make_photos, page, succeed, train_tiny};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("features_of_a_new_image", features_of_a_new_image),
        trial("decisions_are_explained", decisions_are_explained),
        trial("what_was_learned_is_shown", what_was_learned_is_shown),
        trial("layers_are_measured", layers_are_measured),
        trial("a_run_is_reported", a_run_is_reported),
        trial("a_network_that_guesses_is_told_so_first", a_network_that_guesses_is_told_so_first),
        trial("a_network_that_knows_is_told_so", a_network_that_knows_is_told_so),
    ]
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
