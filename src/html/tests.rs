use clap::Parser;
use image::RgbImage;
use serde_json::json;

use super::*;
use crate::cli::{Cli, Command, Training};
use crate::explain::Judged;
use crate::ops::conv2d::Kernels;
use crate::spec::Spec;
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
        environment: Some(Environment { adapter: NASTY.into(), kernels: "plain".into(), ..Default::default() }),
        date: "2026-01-31".into(),
        metrics: metrics(),
        rejected: Some(Vec::new()),
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
        rejected: Some((0..30).map(|_| Rejected { file: NASTY.into(), reason: NASTY.into() }).collect()),
        looked: Ok(Looked {
            confusion: vec![vec![8, 2], vec![1, 9]],
            galleries: vec![Gallery { title: "The worst", note: "Wrong.", shots: vec![shot()] }],
            residual: 3e-7,
            example: Some(shot()),
            filters: vec![map.clone()],
            blocks: vec![block(), block()],
            damaged: None,
        }),
        layers: Some(("runs/001/layers".into(), serde_json::from_value(layers_json()).unwrap())),
        explained: vec![explained],
        depth: Some(DepthStudy::read(&write_study(folder.path(), "<i>&", &study)).unwrap()),
        ..bare(&classes)
    }
}

/// `layers.json` of the network of [`config`].
fn layers_json() -> serde_json::Value {
    let probe = |gain: serde_json::Value| json!({"trained": 80.0, "initial": 60.0, "permuted": 50.0, "gain": gain});
    let reset = json!({"drop": 5.0, "low": 2.0, "high": 8.0, "verdict": "critical"});
    let layer = |block: usize, (output, receptive_field, parameters), gain: serde_json::Value| {
        let output: [usize; 3] = output;
        json!({
            "block": block, "output": output, "receptive_field": receptive_field, "parameters": parameters,
            "repeatability": {"trained": 0.99, "initial": 0.9},
            "repeatability_noisy": {"trained": 0.9, "initial": 0.5}, "dead": 0, "quiet": 1, "effective_rank": 2.5,
            "pooled": probe(gain.clone()), "grid": probe(gain), "reset": reset, "redrawn": reset,
            "ablation": {"significant": 1, "fewest": 2, "curve": [[0, 50.0], [4, 80.0]]}, "verdict": NASTY
        })
    };
    let gain = json!({"points": 2.0, "low": 1.0, "high": 3.0, "p": 0.01});
    let layers = [layer(1, ([4, 11, 11], 3, 116), json!(null)), layer(2, ([6, 5, 5], 7, 228), gain)];
    json!({"weights": NASTY, "seed": 3, "accuracy_anew": 79.0, "conclusive": true, "pictures": 100, "accuracy": 80.0, "layers": layers, "limits": "only `depth` answers that"})
}

/// `depth.json` in which one block is found to be enough.
fn depth_json(config: &Config) -> serde_json::Value {
    let rung = |blocks: usize, errors: [f64; 2], comparison: serde_json::Value| {
        let channels = config.training.model.channels[..blocks].to_vec();
        let spec = Spec { channels, ..config.training.model.clone() };
        let last = spec.blocks().unwrap().pop().unwrap();
        json!({
            "name": format!("d{blocks}"), "blocks": blocks, "left_out": null, "parameters": spec.parameter_count(),
            "receptive_field": last.receptive_field, "last_map": last.output[1], "stopped_early": false,
            "errors": errors, "mean_error": (errors[0] + errors[1]) / 2.0, "error_interval": [9.0, 13.0],
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
        "rungs": [rung(2, [10.0, 12.0], json!(null)), rung(1, [10.1, 12.1], comparison)],
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
        "1 of 2 blocks are enough.",
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
    for said in ["How many layers are enough?", "1 of 2 blocks are enough.", "Training loss by epoch", command, again] {
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
    let opened = || Run::open(&run).unwrap();
    let read = |depth: Option<&Path>| Report::read(&opened(), depth, Err("unknown".into()), Default::default());

    let report = read(None).unwrap();
    assert!(report.layers.is_none() && report.depth.is_none());
    assert_eq!((report.metrics.len(), report.best(), report.date.len()), (3, 2, 10));

    for (number, name) in [(1, "layers"), (2, "layers-2"), (10, "layers-10"), (99, "layers-old")] {
        let mut table = layers_json();
        table["pictures"] = json!(number);
        table["weights"] = json!("last.safetensors");
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
    other.training.model.channels = vec![4, 8];
    write_study(folder.path(), "depth", &depth_json(&other));
    assert!(read(None).unwrap().depth.is_none(), "a study of another network is not taken for an answer unasked");
    let drawn = Config { data: None, ..config.clone() };
    write_study(folder.path(), "depth", &depth_json(&drawn));
    assert!(read(None).unwrap().depth.is_none(), "nor is one of other pictures");
    let beside = folder.path().join("depth");
    assert!(read(Some(&beside)).unwrap().page().contains("so is its answer"));
    write_study(folder.path(), "depth-2", &depth_json(&config));
    assert_eq!(read(None).unwrap().depth.unwrap().folder, folder.path().join("depth-2"));
    let error = format!("{:#}", read(Some(&run)).err().unwrap());
    assert!(error.contains("--depth") && error.contains("finished study"), "{error}");
}
