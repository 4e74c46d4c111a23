use clap::Parser;
use image::RgbImage;
use serde_json::json;

use super::*;
use crate::cli::{Cli, Command, Training};
use crate::explain::Judged;
use crate::ops::conv2d::Kernels;
use crate::study::Settings;

/// A class that breaks out of every place that does not escape it.
const NASTY: &str = "<script>\"&'";

fn plain(options: &[&str]) -> Command {
    Cli::try_parse_from(["convscope"].iter().chain(options)).unwrap().command
}

/// Options of `train` for a network of two blocks.
fn config(classes: &[&str]) -> Config {
    let options = ["train", "--size", "24", "--channels", "4,6", "--data", "/photos/<b>"];
    let Command::Train(arguments) = plain(&options) else { unreachable!("the command is train") };
    arguments.config(&classes.iter().map(ToString::to_string).collect::<Vec<_>>(), [80, 20], true)
}

fn metrics() -> Vec<EpochRecord> {
    let record = |epoch, val_acc| EpochRecord {
        epoch,
        train_loss: 0.6,
        train_acc: 0.7,
        val_loss: 0.5,
        val_acc,
        images_per_s: 100.0,
        train_seconds: 1.0,
        val_seconds: 1.0,
    };
    vec![record(1, 0.7), record(2, 0.8), record(3, 0.75)]
}

/// A run of which only training is known.
fn bare(classes: &[&str]) -> Report {
    Report {
        run: "runs/<i>'\"".into(),
        config: config(classes),
        environment: Environment { adapter: NASTY.into(), ..Default::default() },
        date: "2026-01-31".into(),
        metrics: metrics(),
        rejected: Vec::new(),
        looked: Err("there is no adapter".into()),
        layers: None,
        damaged: Vec::new(),
        explained: Vec::new(),
        depth: None,
    }
}

/// The same with everything, every name of it nasty.
fn complete() -> Report {
    let photo = Picture::photo(&RgbImage::new(24, 24)).unwrap();
    let map = Picture::map(&RgbImage::new(3, 3)).unwrap();
    let shot = || Shot {
        name: NASTY.into(),
        photo: photo.clone(),
        evidence: map.clone(),
        judged: Judged { index: 0, truth: 0, predicted: 1, probability: 0.9, of_truth: 0.1, margin: 0.8 },
    };
    let block = || BlockLook {
        maps: vec![(0, 0.5, Some(map.clone())), (1, -0.5, None)],
        channels: vec![ChannelLook { channel: 3, share: 0.25, patches: vec![map.clone()] }],
    };
    let explained = Explained {
        name: NASTY.into(),
        target: NASTY.into(),
        against: "dog".into(),
        probability: 0.75,
        truth: Some("dog".into()),
        relative_residual: 1e-7,
        photo: photo.clone(),
        evidence: map.clone(),
        maps: vec![ExplainedMap {
            method: "Occlusion".into(),
            map: map.clone(),
            control: map.clone(),
            similarity: Some(0.1),
            depends: true,
            beats: (true, true),
            deletion: 0.1,
            insertion: 0.9,
            completeness_gap: Some(0.01),
            verdict: NASTY.into(),
        }],
        baselines: vec![Guess { name: NASTY.into(), deletion: 0.5, insertion: 0.5 }],
    };
    let classes = [NASTY, "dog"];
    let study = depth_json(&config(&classes));
    let folder = tempfile::tempdir().unwrap();
    Report {
        rejected: (0..30).map(|_| Rejected { file: NASTY.into(), reason: NASTY.into() }).collect(),
        looked: Ok(Looked {
            confusion: vec![vec![8, 2], vec![1, 9]],
            galleries: vec![Gallery { title: "The worst", note: "Wrong.", shots: vec![shot()] }],
            residual: 3e-7,
            example: Some(shot()),
            filters: vec![map.clone()],
            blocks: vec![block(), block()],
        }),
        layers: Some(("runs/001/layers".into(), serde_json::from_value(layers_json()).unwrap())),
        explained: vec![explained],
        depth: Some(DepthStudy::read(&write_study(folder.path(), "<i>&", &study)).unwrap()),
        ..bare(&classes)
    }
}

/// `layers.json` of two blocks.
fn layers_json() -> serde_json::Value {
    let probe = |gain: serde_json::Value| json!({"trained": 80.0, "initial": 60.0, "permuted": 50.0, "gain": gain});
    let reset = json!({"drop": 5.0, "low": 2.0, "high": 8.0, "verdict": "critical"});
    let layer = |block: usize, gain: serde_json::Value| {
        json!({
            "block": block, "output": [4, 5, 5], "receptive_field": 7, "parameters": 100,
            "repeatability": {"trained": 0.99, "initial": 0.9},
            "repeatability_noisy": {"trained": 0.9, "initial": 0.5}, "dead": 0, "quiet": 1, "effective_rank": 2.5,
            "pooled": probe(gain.clone()), "grid": probe(gain), "reset": reset, "redrawn": reset,
            "ablation": {"significant": 1, "fewest": 2, "curve": [[0, 50.0], [4, 80.0]]}, "verdict": NASTY
        })
    };
    let gain = json!({"points": 2.0, "low": 1.0, "high": 3.0, "p": 0.01});
    let layers = [layer(1, json!(null)), layer(2, gain)];
    json!({"weights": NASTY, "seed": 3, "accuracy_anew": 79.0, "conclusive": true, "pictures": 100, "accuracy": 80.0, "layers": layers, "limits": "only `depth` answers that"})
}

/// `depth.json` in which one block is found to be enough.
fn depth_json(config: &Config) -> serde_json::Value {
    let rung = |name: &str, blocks: usize, comparison: serde_json::Value| {
        json!({
            "name": name, "blocks": blocks, "left_out": null, "parameters": 100, "receptive_field": 7, "last_map": 5,
            "stopped_early": false, "errors": [10.0, 12.0], "mean_error": 11.0, "error_interval": [9.0, 13.0],
            "log_loss": 0.4, "train_loss": [0.7, 0.5, 0.4], "comparison": comparison
        })
    };
    let comparison = json!({
        "differences": [0.1, 0.1], "mean": 0.1, "standard_error": 0.2, "upper_bound": 0.8, "p_margin": 0.01,
        "interval": [-0.6, 0.8], "p_difference": 0.7, "decision": "sufficient"
    });
    let Command::Depth(arguments) = plain(&["depth", "--folds", "2", "--repeats", "1", "--epochs", "3"]) else {
        unreachable!("the command is depth")
    };
    let standard = arguments.settings(2, Kernels::Plain);
    let training = Training { model: config.training.model.clone(), ..standard.training };
    let settings = Settings { depths: (1..=training.model.channels.len()).collect(), training, ..standard };
    json!({
        "study": {
            "identity": {"program": NASTY, "data": NASTY, "settings": settings},
            "classes": config.classes, "dev_pictures": 80, "commonest_class": 40, "test_pictures": 20, "duplicates": 1,
            "contradictory": 0, "photos": config.data
        },
        "reference": "d2", "answer": "d1", "conclusive": true, "chance_error": 50.0, "words": NASTY, "level": 0.95,
        "rungs": [rung("d2", 2, json!(null)), rung("d1", 1, comparison)],
        "one_standard_error": {"choice": "d1", "best": "d2", "threshold": 12.0, "note": NASTY}
    })
}

/// Writes a study's answer and returns its folder.
fn write_study(parent: &Path, name: &str, study: &serde_json::Value) -> PathBuf {
    let folder = parent.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("depth.json"), study.to_string()).unwrap();
    folder
}

/// Every element is closed in its turn; returns the elements' names.
fn elements(page: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::<String>::new(), Vec::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a document type");
    while let Some(start) = rest.find('<') {
        let mut quote = false;
        let end = rest[start..].find(|c| {
            quote ^= c == '"';
            c == '>' && !quote
        });
        let tag = &rest[start + 1..start + end.expect("a tag ends")];
        rest = &rest[start + tag.len() + 2..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "before {}", &rest[..rest.len().min(80)]);
            continue;
        }
        let name = tag.split_whitespace().next().unwrap().to_string();
        if !["meta", "img", "br"].contains(&name.as_str()) {
            open.push(name.clone());
        }
        all.push(name);
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    all
}

fn assert_harmless(page: &str) {
    let elements = elements(page);
    for name in ["script", "link", "iframe", "object", "i", "b"] {
        assert!(!elements.iter().any(|element| element == name), "the page has an element <{name}>");
    }
    let style = &page[page.find("<style>").unwrap() + 7..page.find("</style>").unwrap()];
    let policy = format!("default-src 'none'; img-src data:; style-src 'sha256-{}'", words::sha256(style));
    assert!(page.contains(&format!("content=\"{policy}")), "the policy does not fit the style");
    assert!(!page.contains(" style="), "the policy forbids styles in elements");
    for load in ["src=\"", "href=\"", "url("] {
        for (at, _) in page.match_indices(load) {
            let target = &page[at + load.len()..];
            assert!(
                target.starts_with("data:image/") || target.starts_with('#'),
                "{}",
                &target[..60.min(target.len())]
            );
        }
    }
    assert!(!page.contains("@import") && !page.contains("NaN"));
}

const QUESTIONS: [&str; 3] =
    ["What do the feature maps tell me?", "Are the noisy last layers useless?", "How many layers are enough?"];

#[test]
fn a_bare_run_names_what_is_missing() {
    let page = bare(&["cat", NASTY]).page();
    assert_harmless(&page);
    QUESTIONS.iter().for_each(|question| assert!(page.contains(question), "{question}"));
    let run = r"'runs/&lt;i&gt;'\''&quot;'";
    for command in ["explain --run", "layers --run", "depth --data '/photos/&lt;b&gt;'", "report"] {
        assert!(page.contains(&format!("<code>convscope {command}")), "{command}");
    }
    assert!(page.contains(&format!("convscope layers --run {run}")), "the run is quoted for a shell: {run}");
    assert!(page.contains("80.0\u{a0}% right"), "the best epoch counts");
    assert!(page.contains("there is no adapter"));
}

#[test]
fn a_complete_report_is_harmless_and_small() {
    let page = complete().page();
    assert_harmless(&page);
    assert!(page.len() < 10 << 20);
    QUESTIONS.iter().for_each(|question| assert!(page.contains(question), "{question}"));
    assert!(!page.contains("class=\"missing\""), "nothing is missing");
    assert!(page.contains("&lt;script&gt;") && !page.contains(NASTY));
    for said in [
        "85.0\u{a0}% right",
        "No: this network needs what the last block has learned. Its maps are signal, not noise.",
        "1 of 2 blocks is enough, if a loss of up to 1 percentage point of accuracy is accepted.",
        "the first 20 are listed",
        "only <code>depth</code> answers that",
        "3 × 10⁻⁷",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn a_study_has_a_page_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let study = depth_json(&config(&[NASTY, "dog"]));
    let study = DepthStudy::read(&write_study(folder.path(), "<i>&", &study)).unwrap();
    let page = study.page();
    assert_harmless(&page);
    let again = "convscope train --data '/photos/&lt;b&gt;' --size 24 --channels 4,6 --epochs 3 --out RUN";
    let command = "convscope depth --data '/photos/&lt;b&gt;' --depths 1,2 --folds 2 --repeats 1 --size 24 --channels 4,6 --epochs 3 \
                   --kernels plain --out ";
    for said in
        ["How many layers are enough?", "1 of 2 blocks is enough, if a loss", "Training loss by epoch", command, again]
    {
        assert!(page.contains(said), "{said}");
    }
    assert_eq!(study.charts().len(), 3);
}

#[test]
fn answers_come_first() {
    let page = complete().page();
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
    let mut places = QUESTIONS.map(place).to_vec();
    places.extend(
        ["training", "pictures", "layers", "explanations", "depth", "limits"]
            .map(|id| place(&format!("<section id=\"{id}\""))),
    );
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn verdicts_follow_the_figures() {
    let with = |trained: f64, verdict: &str, conclusive: bool| {
        let mut table = layers_json();
        table["layers"][1]["repeatability"]["trained"] = json!(trained);
        table["layers"][1]["reset"]["verdict"] = json!(verdict);
        table["conclusive"] = json!(conclusive);
        let layers = Some(("layers".into(), serde_json::from_value(table).unwrap()));
        Report { layers, ..bare(&["cat", "dog"]) }.page()
    };
    let noisy = with(0.2, "critical", true);
    assert!(
        noisy.contains("No: this network needs what the last block has learned. Its maps are mostly noise."),
        "{noisy}"
    );
    assert!(!noisy.contains("coarseness"), "noise is not explained away");
    let undecided = with(0.7, "undecided", true);
    assert!(undecided.contains("Undecided: whether this network needs what the last block has learned was not shown."));
    assert!(undecided.contains("Whether it needs what these blocks have learned was not shown: 2."));
    let robust = with(0.95, "robust", true);
    assert!(
        robust
            .contains("For this network, nearly: without what the last block has learned it loses less than a point.")
    );
    assert!(robust.contains("puts these blocks back to their start: 2.") && robust.contains("coarseness"));
    assert!(
        with(0.95, "undecided", false).contains("Undecided: this network was not shown to be better than guessing.")
    );
}

#[test]
fn the_newest_table_and_a_fitting_study_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("001");
    let write = |path: &str, value: &serde_json::Value| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value.to_string()).unwrap();
    };
    let config = config(&["cat", "dog"]);
    write("001/config.json", &serde_json::to_value(&config).unwrap());
    let run_dir = crate::run_dir::RunDir::at(run.clone());
    metrics().iter().for_each(|record| run_dir.append_metrics(record).unwrap());
    let read = |depth: Option<&Path>| Report::read(&run, depth, Err("unknown".into()), Vec::new());

    let report = read(None).unwrap();
    assert!(report.layers.is_none() && report.depth.is_none());
    assert_eq!((report.metrics.len(), report.best(), report.date.len()), (3, 2, 10));

    for (number, name) in [(1, "layers"), (2, "layers-2"), (10, "layers-10"), (99, "layers-old")] {
        let mut table = layers_json();
        table["pictures"] = json!(number);
        write(&format!("001/{name}/layers.json"), &table);
    }
    assert_eq!(read(None).unwrap().layers.unwrap().1.pictures, 10);

    fs::write(folder.path().join("001/layers-10/layers.json"), b"{}").unwrap();
    let page = read(None).unwrap().page();
    assert!(
        page.contains("layers-10/layers.json: cannot be used: missing field"),
        "a damaged table costs no more than itself"
    );

    let mut other = config.clone();
    other.training.model.channels = vec![4];
    write_study(folder.path(), "depth", &depth_json(&other));
    assert!(read(None).unwrap().depth.is_none(), "a study of another network is not taken for an answer unasked");
    let drawn = Config { data: None, ..config.clone() };
    write_study(folder.path(), "depth", &depth_json(&drawn));
    assert!(read(None).unwrap().depth.is_none(), "nor is one of other pictures");
    let beside = folder.path().join("depth");
    let page = read(Some(&beside)).unwrap().page();
    assert!(page.contains("so is its answer: images: drawn by the program, in the run /photos/&lt;b&gt;;"), "{page}");
    write_study(folder.path(), "depth-2", &depth_json(&config));
    assert_eq!(read(None).unwrap().depth.unwrap().folder, folder.path().join("depth-2"));
    let error = format!("{:#}", read(Some(&run)).err().unwrap());
    assert!(error.contains("--depth") && error.contains("finished study"), "{error}");
}

/// The study of the run's network on its pictures, with this change to how it trains.
fn study_of(config: &Config, change: impl Fn(&mut serde_json::Value)) -> DepthStudy {
    let folder = tempfile::tempdir().unwrap();
    let mut study = depth_json(config);
    change(&mut study);
    DepthStudy::read(&write_study(folder.path(), "depth", &study)).unwrap()
}

#[test]
fn a_study_with_another_recipe_says_what_differs() {
    let config = config(&["cat", "dog"]);
    let settings = |study: &serde_json::Value| study["study"]["identity"]["settings"].clone();
    let same = |study: &mut serde_json::Value| {
        study["study"]["identity"]["settings"]["epochs"] = json!(config.training.epochs);
        study["study"]["dev_pictures"] = json!(2 * config.train_pictures);
    };
    let note = study_of(&config, same).note(&config);
    // What always differs, and nothing else.
    let always = "its answer holds for its own: learning rate over the epochs: falls to zero along a cosine, in the run stays the \
                  same; weights that count: of the last epoch, in the run of the best epoch; images to learn from: about 80, in the run \
                  80.";
    assert!(note.ends_with(always), "{note}");

    for (name, value, told) in [
        ("epochs", json!(3), "epochs: 3, in the run "),
        ("batch", json!(7), "batch: 7, in the run "),
        ("lr", json!(0.5), "lr: 0.5, in the run "),
        ("weight_decay", json!(0.25), "weight-decay: 0.25, in the run 0"),
        ("augment", json!(false), "augment: off, in the run on"),
        ("optimizer", json!("sgd"), "optimizer: sgd, in the run adam"),
    ] {
        let study = study_of(&config, |study| {
            same(study);
            assert!(settings(study).get(name).is_some(), "{name}");
            study["study"]["identity"]["settings"][name] = value.clone();
        });
        let note = study.note(&config);
        assert!(note.contains("another recipe") && note.contains(told), "{name}: {note}");
        let page = Report { depth: Some(study), ..bare(&["cat", "dog"]) }.page();
        assert!(page.contains(told), "the page says so too: {name}");
    }

    for (name, value, told) in [
        ("dropout", json!(0.5), "dropout: 0.5, in the run "),
        ("channels", json!([4, 8]), "channels: 4,8, in the run 4,6"),
        ("input", json!([3, 32, 32]), "size: 32, in the run 24"),
    ] {
        let study = study_of(&config, |study| {
            study["study"]["identity"]["settings"]["model"][name] = value.clone();
        });
        let note = study.note(&config);
        assert!(note.contains("another network") && note.contains(told), "{name}: {note}");
    }
    let part = study_of(&config, |study| study["study"]["identity"]["settings"]["depths"] = json!([1]));
    assert!(part.note(&config).contains("blocks of the reference: 1, in the run 2"), "{}", part.note(&config));
}

#[test]
fn a_network_that_was_stopped_early_is_marked_everywhere_and_its_mean_shown_nowhere() {
    let config = config(&["cat", "dog"]);
    let stopped = |study: &mut serde_json::Value| {
        study["study"]["identity"]["settings"]["repeats"] = json!(2);
        study["answer"] = json!("d2");
        study["rungs"][0]["errors"] = json!([10.0, 12.0, 4.0, 6.0]);
        study["rungs"][1]["stopped_early"] = json!(true);
        study["rungs"][1]["errors"] = json!([17.25, 17.5]);
        // As an older version wrote it.
        study["rungs"][1]["mean_error"] = json!(17.375);
        study["rungs"][1]["comparison"]["mean"] = json!(6.375);
        study["rungs"][1]["comparison"]["decision"] = json!("not shown");
    };
    let study = study_of(&config, stopped);
    let page = study.page();
    assert_harmless(&page);
    let told = "stopped after the first repeat (17.4 % wrong there, the reference 11.0 %)";
    assert!(page.matches(told).count() == 2, "in the table and beside the answer");
    for said in [
        "No smaller network was shown to be enough",
        "No estimate",
        "makes it look worse than it is",
        "1 block (stopped early)",
    ] {
        assert!(page.contains(said), "{said}");
    }
    assert!(!page.contains("+6.3") && !page.contains("+6.4"), "the mean difference of the first repeat is on the page");
    assert!(study.charts()[0].1.file().contains("stopped early"));

    let other = study_of(&config, |_| ()).page();
    assert!(!other.contains("stopped after") && !other.contains("makes it look worse"), "where nothing was stopped");
}
