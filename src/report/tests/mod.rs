mod found;
mod pages;

use clap::Parser;
use image::RgbImage;
use serde_json::json;

use super::*;
use crate::cli::{Cli, Command};
use crate::explain::Judged;
use crate::explain::inspect::{self, Stage};
use crate::explain::learned::ChannelSurvey;
use crate::explain::verdict::{self, Dependence, Ranking, Verdict};
use crate::figures::{Kind, LayerMaps, Order, Scale, ScaleBy, Shown, Span};
use crate::gpu::Kernels;
use crate::nn::checkpoint::{Checkpoint, Meta};
use crate::nn::{Architecture, Normalize, Preparation, Strided};
use crate::stats::Calibration;
use crate::study::Settings;
use crate::train::Training;

/// A class that breaks out of every place that does not escape it.
const NASTY: &str = "<script>\"&'";
/// Names in scripts of the world, one from right to left, one with a letter of two parts, one that breaks out.
const SCRIPTS: [&str; 6] = ["кошка", "狗与猫", "قطة", "बिल्ली", "🐶👩‍🚀", NASTY];

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
        val_images: None,
    };
    vec![record(1, 0.7), record(2, 0.8), record(3, 0.75)]
}

/// The verdict on a map that passes all tests.
const PASSING: Verdict = Verdict {
    standing: standing::Verdict::Better,
    kind: verdict::Kind::Measured,
    dependence: Dependence::Differs,
    ranking: Ranking::Better,
};

/// A run of which only training is known.
fn bare(classes: &[&str]) -> Report {
    Report {
        more_explained: 0,
        run: "runs/<i>'\"".into(),
        network: config(classes).training.model.build().unwrap(),
        made: Made::Trained(Box::new(Trained {
            config: config(classes),
            environment: Some(Environment { adapter: NASTY.into(), kernels: "plain".into(), ..Default::default() }),
            date: "2026-01-31".into(),
            metrics: metrics(),
            kept: [None; 2],
            rejected: Some(Vec::new()),
        })),
        looked: Err(Unlooked::NotComputed("there is no adapter".into())),
        layers: None,
        damaged: Vec::new(),
        explained: Vec::new(),
        depth: None,
    }
}

/// The same with everything, every name of it nasty.
fn complete() -> Report {
    let photo = EmbeddedImage::photo(&RgbImage::new(24, 24)).unwrap();
    let map = EmbeddedImage::map(&RgbImage::new(3, 3)).unwrap();
    let shot = || Shot {
        name: NASTY.into(),
        photo: photo.clone(),
        evidence: map.clone(),
        judged: Judged { index: 0, truth: 0, predicted: 1, probability: 0.9, of_truth: 0.1, margin: 0.8 },
    };
    let shown = |channel, image: Option<RgbImage>| Shown {
        channel,
        kind: if image.is_some() { Kind::Live } else { Kind::Dead },
        image,
        least: 0.25,
        most: 3.5,
        contribution: Some(0.5),
    };
    let block = || BlockLook {
        maps: vec![shown(0, Some(RgbImage::new(3, 3))), shown(1, None)],
        scale: None,
        channels: vec![ChannelLook { channel: 3, share: 0.25, patches: vec![map.clone()] }],
    };
    let mean = |images| MeanMap { image: map.clone(), images, limits: [-0.25, 0.5] };
    let explained = Explained {
        format: explained::FORMAT,
        origin: Origin { run: None, weights: Which::Best.file().into(), epoch: 2 },
        name: NASTY.into(),
        target: NASTY.into(),
        against: "dog".into(),
        probability: 0.75,
        truth: Some("dog".into()),
        exact: true,
        relative_residual: 1e-7,
        photo: photo.clone(),
        evidence: map.clone(),
        over: photo.clone(),
        scale: Scale { limit: 2.5, signed: true },
        coarse: NASTY.into(),
        maps: vec![ExplainedMap {
            method: "Occlusion".into(),
            map: map.clone(),
            over: photo.clone(),
            scale: Scale { limit: 1.5, signed: true },
            control: map.clone(),
            control_scale: Scale { limit: 0.0, signed: true },
            reading: vec![NASTY.into()],
            similarity: Some(0.1),
            deletion: 0.1,
            insertion: 0.9,
            completeness_gap: Some(0.01),
            verdict: PASSING,
        }],
        baselines: vec![Baseline { name: NASTY.into(), deletion: 0.5, insertion: 0.5 }],
        logit_difference: 7.0,
        blurred_logit_difference: -1.0,
    };
    let classes = [NASTY, "dog"];
    let study = depth_json(&config(&classes));
    let folder = tempfile::tempdir().unwrap();
    let mut bare = bare(&classes);
    bare.trained().rejected = Some((0..30).map(|_| Rejected { file: NASTY.into(), reason: NASTY.into() }).collect());
    Report {
        looked: Ok(Looked {
            confusion: vec![vec![8, 2], vec![1, 9]],
            log_loss: 0.4,
            calibration: Calibration::new(&[0.0f32, 1.0, 2.0, 0.0], &[1, 0], 0.95, 0).unwrap(),
            galleries: vec![Gallery { title: "The worst", note: "Wrong.", shots: vec![shot()] }],
            residual: 3e-7,
            class_means: [0, 1].map(|class| MeanMaps { class, evidence: mean(20), occlusion: mean(1) }).into(),
            example: Some(shot()),
            filters: vec![map.clone()],
            span: Span::Map,
            blocks: vec![block(), block()],
            damaged: None,
        }),
        layers: Some(("runs/001/layers".into(), serde_json::from_value(layers_json()).unwrap())),
        explained: vec![explained],
        depth: Some(DepthStudy::read(&write_study(folder.path(), "<i>&", &study)).unwrap()),
        ..bare
    }
}

impl Report {
    fn trained(&mut self) -> &mut Trained {
        match &mut self.made {
            Made::Trained(trained) => trained,
            Made::Imported(_) => unreachable!("it was trained"),
        }
    }
}

/// `layers.json` of the network of [`config`].
fn layers_json() -> serde_json::Value {
    let learned = json!({"points": 20.0, "low": 10.0, "high": 30.0, "p": 0.001, "verdict": "more"});
    let probe = |gain: serde_json::Value| json!({"trained": 80.0, "low": 70.0, "high": 90.0, "initial": 60.0, "permuted": 50.0, "gain": gain, "learned": learned});
    let repeats =
        |trained: f64| json!({"trained": trained, "initial": 0.9, "low": -0.1, "high": 0.1, "verdict": "not_shown"});
    let reset = json!({"drop": 5.0, "low": 2.0, "high": 8.0, "verdict": "in_use"});
    let layer = |block: usize, (output, receptive_field, parameters), gain: serde_json::Value| {
        let output: [usize; 3] = output;
        json!({
            "block": block, "output": output, "receptive_field": receptive_field, "parameters": parameters,
            "repeatability": repeats(0.99), "repeatability_noisy": repeats(0.9), "dead": 0, "quiet": 1, "effective_rank": 2.5,
            "pooled": probe(gain.clone()), "grid": probe(gain), "reset": reset, "redrawn": reset,
            "ablation": {"missed": 1, "enough": {"at_least": 2, "at_most": 3}, "curve": [[0, 50.0], [4, 80.0]]}, "verdict": NASTY
        })
    };
    let gain = json!({"points": 2.0, "low": 1.0, "high": 3.0, "p": 0.01, "verdict": "more"});
    let layers = [layer(1, ([4, 11, 11], 3, 116), json!(null)), layer(2, ([6, 5, 5], 7, 228), gain)];
    json!({"format": 3, "weights": "best.safetensors", "seed": 3, "accuracy_anew": 79.0, "conclusive": true, "images": 100, "accuracy": 80.0, "layers": layers, "limits": "only `depth` answers that"})
}

fn strided(config: &mut Config) -> &mut Strided {
    match &mut config.training.model {
        Architecture::Strided(strided) => strided,
        Architecture::Known(_) | Architecture::Listed(_) => unreachable!("it is the default network"),
    }
}

/// `depth.json` in which one block is found to be enough.
fn depth_json(config: &Config) -> serde_json::Value {
    let candidate = |blocks: usize, errors: [f64; 2], comparison: serde_json::Value| {
        let network = config.training.model.first_blocks(blocks).unwrap().build().unwrap();
        let last = network.last_block();
        json!({
            "name": format!("d{blocks}"), "blocks": blocks, "left_out": null, "parameters": network.parameter_count(),
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
    let settings = Settings { depths: (1..=training.model.blocks().unwrap()).collect(), training, ..standard };
    json!({
        "study": {
            "identity": {"program": NASTY, "data": NASTY, "settings": settings},
            "classes": config.classes, "dev_images": 80, "commonest_class": 40, "test_images": 20, "duplicates": 1,
            "contradictory": 0, "photos": config.data
        },
        "reference": "d2", "answer": "d1", "conclusive": true, "chance_error": 50.0, "words": NASTY, "level": 0.95,
        "candidates": [candidate(2, [10.0, 12.0], json!(null)), candidate(1, [10.1, 12.1], comparison)],
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
