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
use crate::nn::{Architecture, Strided};
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
        config: config(classes),
        environment: Some(Environment { adapter: NASTY.into(), kernels: "plain".into(), ..Default::default() }),
        date: "2026-01-31".into(),
        metrics: metrics(),
        kept: [None; 2],
        rejected: Some(Vec::new()),
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
    Report {
        rejected: Some((0..30).map(|_| Rejected { file: NASTY.into(), reason: NASTY.into() }).collect()),
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
        ..bare(&classes)
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
    assert!(
        page.contains("A network of 2 blocks that was trained to tell cat from"),
        "older runs do not say what guessing gets"
    );
    assert!(page.contains("It is not known whether this network does better"));
    assert!(page.contains("there is no adapter"));
}

#[test]
fn a_complete_report_is_harmless_and_small() {
    let page = complete().page();
    assert_harmless(&page);
    assert!(page.len() < 10 << 20);
    QUESTIONS.iter().for_each(|question| assert!(page.contains(question), "{question}"));
    assert!(!page.contains("class=\"missing\""), "nothing is missing");
    assert!(!page.contains("class=\"caution\"") && page.contains("What a network of 2 blocks learned to tell"));
    assert!(page.contains("&lt;script&gt;") && !page.contains(NASTY));
    for said in [
        "85.0\u{a0}% right",
        "In use: put back to its start, it costs more than a point; a probe reads more from it than from block 1. Whether",
        "2 to 3 of 4",
        "1 missed",
        "1 of 2 blocks is enough, if a loss of up to 1 percentage point of accuracy is accepted.",
        "the first 20 are listed",
        "only <code>depth</code> answers that",
        "3 × 10⁻⁷",
        "evidence, the mean of 20 images (−0.250 to +0.500 logits); occlusion, the mean of 1 image (",
        "in both tests.",
        // The limits of maps and of colour bars.
        "0.250 to 3.50",
        "−1.50<img",
        ">2.50</p>",
        "Untrained network: 0 everywhere.",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

/// A page of feature maps of one block, of which channel 1 is dead.
fn features(image: &str, class: &str, notes: &[String], by: ScaleBy) -> String {
    let values: Vec<f32> =
        (0..10 * 25).map(|i| if i / 25 == 1 { 0.0 } else { (i % 25 * (1 + i / 25)) as f32 }).collect();
    let network = Strided { channels: vec![10], ..Strided::dogs_vs_cats(12, 2) }.build().unwrap();
    let maps = inspect::maps(1, &values, &network, network.last_block(), Stage::Relu);
    let page = FeaturesPage {
        image,
        input: &RgbImage::new(12, 12),
        prediction: (class, 0.5),
        truth: Some(class),
        weights: image,
        notes,
        layers: &[LayerMaps { maps, order: Order::Strongest }],
        by,
    };
    assert_eq!(page.sheets().unwrap().len(), 1);
    page.page().unwrap()
}

#[test]
fn names_in_every_script_are_text_on_every_page() {
    for script in SCRIPTS {
        let shown = format!("<bdi>{}</bdi>", html! { (script) }.into_string());
        let learned = LearnedPage { weights: script, notes: &[], images: 3, filters: &[], blocks: &[] }.page().unwrap();
        let mut report = complete();
        report.config.classes[0] = script.into();
        report.explained[0].target = script.into();
        let report = report.page();
        for page in [&features(script, script, &[script.into()], ScaleBy::default()), &learned, &report] {
            assert_harmless(page);
            assert!(page.contains(&shown), "{shown}");
        }
        // In the head, in the decision, in the gallery and in the confusion matrix.
        assert!(report.matches(&shown).count() >= 4, "{script}");
    }
}

/// Control characters, a line break and a mark of direction.
const OBEYED: &str = "a\u{1b}[2J\u{7}\n\u{85}\u{202e}gpj";

#[test]
fn what_a_browser_would_obey_is_visible_on_every_page() {
    let learned = LearnedPage { weights: OBEYED, notes: &[], images: 3, filters: &[], blocks: &[] }.page().unwrap();
    let mut report = complete();
    report.run = OBEYED.into();
    report.config.classes = [OBEYED, "dog"].map(String::from).into();
    report.explained[0].name = OBEYED.into();
    report.explained[0].target = OBEYED.into();
    let alone = report.depth.as_ref().unwrap().page();
    for page in [&features(OBEYED, OBEYED, &[OBEYED.into()], ScaleBy::default()), &learned, &report.page()] {
        assert_harmless(page);
        assert!(page.contains("a\\u001b[2J\\u0007\n\\u0085\\u202egpj"), "the name is there");
        assert_eq!(page.chars().find(|&c| c != '\n' && crate::terminal::is_obeyed(c)), None);
    }
    assert!(!alone.contains("\\u"), "nothing is escaped where there is nothing to escape");
}

#[test]
fn limits_stand_with_what_they_limit() {
    let limits = [
        ("only <code>depth</code> answers that", 2),
        ("never shown to be worse. Networks of fewer blocks", 1),
        ("The galleries show extremes", 1),
        ("A saliency map that passes its tests", 1),
    ];
    let (bare, complete) = (bare(&["cat", "dog"]).page(), complete().page());
    for (limit, times) in limits {
        assert_eq!((bare.matches(limit).count(), complete.matches(limit).count()), (0, times), "{limit}");
    }
    assert!(bare.contains("One network from one seed.") && complete.contains("One network from one seed."));
}

#[test]
fn a_missing_study_is_added_by_one_command() {
    let report = bare(&["cat", "dog"]);
    let commands: Vec<String> = report
        .page()
        .split("<code>convscope depth ")
        .skip(1)
        .map(|rest| rest.split("</code>").next().unwrap().into())
        .collect();
    assert_eq!(commands.len(), 2, "in the answer and in the part of the study");
    assert_eq!(commands[0], commands[1]);
}

#[test]
fn a_page_of_feature_maps_tells_all_of_each() {
    let page = features("cat.jpg", "cat", &["drawn images only".into()], ScaleBy::default());
    let text = page.replace("<span class=\"limits\">", " ");
    for said in [
        "Block 1 after ReLU: 10 maps of 5 × 5 values",
        "Each value sees 3 × 3 px, the next is 2 px away; 1 of 10 are 0 everywhere on this image.",
        "Each map has its own colours",
        "9 0 to 240",
        "0 0 to 24.0",
        "1 0 everywhere",
        "The other 2 maps",
        "(3 px)",
        "<p class=\"missing\">drawn images only</p>",
        "50.0\u{a0}%",
        "8 in a row",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(page.matches("class=\"dead\"").count(), 1);
    assert!(!page.contains("class=\"bar\""), "a colour bar would be true of one map only");
    let common = features("cat.jpg", "cat", &[], ScaleBy::Layer);
    assert!(
        common.contains("share one colour scale") && common.contains(">240</p>"),
        "its limits stand beside the bar"
    );
}

#[test]
fn a_page_of_what_was_learned_shows_every_channel() {
    let survey = |max, share| ChannelSurvey { min: 0.0, max, share, mean: 0.0, strongest: Vec::new() };
    let patch = RgbImage::from_fn(63, 63, |x, y| image::Rgb([x as u8, y as u8, 0]));
    let channel = |number: usize| match number {
        0 => LearnedChannel::new(&survey(0.0, 0.0), Vec::new(), &patch, 63, 100),
        1 => LearnedChannel::new(&survey(1.0, 0.005), vec![patch.clone()], &patch, 63, 100),
        _ => LearnedChannel::new(&survey(1.0, 0.25), vec![patch.clone(); 9], &patch, 63, 100),
    };
    let network = Strided { channels: vec![1, 1, 1, 1, 100], ..Strided::dogs_vs_cats(63, 2) }.build().unwrap();
    let geometry = network.last_block().clone();
    let block = LearnedBlock { geometry, dead: 1, quiet: 1, channels: (0..100).map(channel).collect() };
    let filters = [(Some(RgbImage::new(3, 3)), 0.5), (None, 0.0)];
    let learned = LearnedPage { weights: "best", notes: &[], images: 1234, filters: &filters, blocks: &[block] };
    let page = learned.page().unwrap();
    assert_harmless(&page);
    let text = page.replace("<span class=\"limits\">", " ");
    for said in [
        "1,234 validation images",
        "0 ±0.500",
        "1 ±0",
        "The other 68 channels",
        "0 dead",
        "1 quiet: 0.5 %",
        "99 25 %",
        "16 in a row",
    ] {
        assert!(text.contains(said), "{said}");
    }
    let names: Vec<String> = learned.sheets().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["filters.png", "block-1-patches.png", "block-1-maximised.png"]);
    let (_, sheet) = &learned.sheets()[1];
    assert!(sheet.width() < 2000, "many channels have small patches: {}", sheet.width());
}

#[test]
fn the_report_takes_no_more_maps_than_it_shows() {
    let explained = &complete().explained[0];
    let method = |name: &str| ExplainedMap { method: name.into(), ..explained.maps[0].clone() };
    let names = ["SmoothGrad", "Grad-CAM, block 4", "Grad-CAM, block 5", "Occlusion", "Integrated gradients"];
    let many = Explained { maps: names.map(method).to_vec(), ..explained.clone() };
    let left: Vec<String> = many.for_report(5).maps.into_iter().map(|map| map.method).collect();
    assert_eq!(left, ["Grad-CAM, block 5", "Occlusion", "Integrated gradients"]);
}

#[test]
fn only_maps_that_pass_are_counted() {
    let figure = |verdict: Verdict| {
        let mut report = complete();
        report.explained[0].maps[0].verdict = verdict;
        report.page()
    };
    let says = |page: &str, count: &str| page.contains(&format!("<dd>{count}</dd><dt>maps by occlusion that pass"));
    assert!(says(&figure(PASSING), "1 of 1"));
    let guess_then = figure(Verdict { standing: standing::Verdict::NotShown, ..PASSING });
    assert!(says(&guess_then, "1 of 1"), "what is known now of the same weights counts");
    assert!(says(&figure(Verdict { ranking: Ranking::TooLittleChange, ..PASSING }), "0 of 1"));
    assert!(says(&figure(Verdict { dependence: Dependence::SameAsUntrained, ..PASSING }), "0 of 1"));
}

#[test]
fn a_network_that_guesses_is_told_so_first_and_throughout() {
    // 52.5 % of equal classes, one that always names the commonest of unequal ones, and one worse than that.
    for confusion in [[[55, 45], [50, 50]], [[140, 0], [60, 0]], [[90, 50], [40, 20]]] {
        let confusion: Vec<Vec<usize>> = confusion.iter().map(|row| row.to_vec()).collect();
        let complete = complete();
        let report = Report { looked: complete.looked.map(|looked| Looked { confusion, ..looked }), ..complete };
        let page = report.page();
        assert_harmless(&page);
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
        let caution = "This network was not shown to do better than always naming the commonest class";
        let first = [place("that was not shown to tell"), place(caution), place("class=\"lead\""), place(QUESTIONS[0])];
        assert!(first.is_sorted(), "{first:?}");
        assert!(page.contains("Nothing but guesses: this network was not shown to do better"));
        assert!(page.contains("so the map explains a guess"), "maps are not judged");
        for claim in ["network of 2 blocks learned", "add up to the decision exactly", "pass all three tests"] {
            assert!(!page.contains(claim), "{claim}");
        }
    }
}

#[test]
fn what_guessing_gets_stands_beside_every_accuracy() {
    let complete = complete();
    let confusion = vec![vec![69, 1], vec![2, 28]];
    let report = Report { looked: complete.looked.map(|looked| Looked { confusion, ..looked }), ..complete };
    let page = report.page();
    for said in [
        "Always naming the commonest class would get <strong>70.0\u{a0}%</strong> right",
        "where always naming the commonest class gets 70.0\u{a0}%",
        "always the commonest class</text>",
        "where naming one class always gets 50.0\u{a0}%",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn classes_have_recall_precision_and_f1() {
    let complete = complete();
    let confusion = vec![vec![8, 2], vec![0, 0]];
    let report = Report { looked: complete.looked.map(|looked| Looked { confusion, ..looked }), ..complete };
    let page = report.page();
    let row = &page[page.find("mean of the classes").unwrap()..];
    let row = &row[..row.find("</tr>").unwrap()];
    for mean in ["10 in all", ">40.0\u{a0}%<", ">50.0\u{a0}%<", ">0.444<"] {
        assert!(row.contains(mean), "{mean}: {row}");
    }
    assert!(page.contains(">–<"), "a class without images has no recall");
}

#[test]
fn the_page_says_whether_probabilities_are_off() {
    let with = |logits: &[f32], labels: &[usize]| {
        let calibration = Calibration::new(logits, labels, 0.95, 0).unwrap();
        let complete = complete();
        Report { looked: complete.looked.map(|looked| Looked { calibration, ..looked }), ..complete }.page()
    };
    let labels: Vec<usize> = (0..100).map(|image| usize::from(image % 2 == 0)).collect();
    assert!(with(&[0.0, 3.0].repeat(100), &labels).contains("it is too sure, by 45.3 points"));
    assert!(
        with(&[0.0, 0.001].repeat(100), &labels).contains("It was not shown that the network's probabilities are off")
    );
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
        ["training", "images", "means", "layers", "explanations", "depth", "limits"]
            .map(|id| place(&format!("<section id=\"{id}\""))),
    );
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn verdicts_follow_the_figures() {
    let with = |reset: &str, gain: &str, steadiness: &str, conclusive: bool| {
        let mut table = layers_json();
        let last = &mut table["layers"][1];
        last["reset"]["verdict"] = json!(reset);
        last["grid"]["gain"]["verdict"] = json!(gain);
        last["repeatability_noisy"]["verdict"] = json!(steadiness);
        if !conclusive {
            last["ablation"]["missed"] = json!(null);
            last["ablation"]["enough"] = json!(null);
        }
        table["conclusive"] = json!(conclusive);
        let layers = Some(("layers".into(), serde_json::from_value(table).unwrap()));
        Report { layers, ..bare(&["cat", "dog"]) }.page()
    };
    let says = |page: &str, text: &str| assert!(page.contains(text), "{text}: {page}");
    let used = with("in_use", "not_shown", "less", true);
    says(
        &used,
        "In use: put back to its start, it costs more than a point; a probe is not shown to read more from \
         it than from block 1; under strong noise its maps are less steady than before training. Whether fewer blocks would do, \
         only a study of depth can tell.",
    );
    says(&used, "so few values look like noise, whatever they hold");
    says(&used, "The network uses what every one of its blocks has learned.");
    let undecided = with("undecided", "less", "more", true);
    says(
        &undecided,
        "Undecided: whether this network uses it is not shown; a probe reads less from it than from block 1. Whether",
    );
    says(&undecided, "Whether it uses what these blocks have learned is not shown: 2.");
    let spare = with("not_missed", "more", "not_shown", true);
    says(&spare, "Not missed: put back to its start, it costs less than a point;");
    says(&spare, "puts these blocks back to their start: 2.");
    let guessing = with("undecided", "chance", "not_shown", false);
    says(
        &guessing,
        "Undecided: this network is not shown to be better than guessing; no probe is shown to read anything from it or from \
         block 1. Whether",
    );
    says(&guessing, "is not shown to be better than guessing, nothing follows from what a reset costs.");
    says(&guessing, "(+1.0 to +3.0, neither beats chance)");
    for page in [used, undecided, spare, guessing] {
        assert!(!page.contains("signal, not noise") && !page.contains("critical"), "{page}");
    }
}

/// A map is judged by how its weights do, as the page knows it now, whatever was known when it was made.
#[test]
fn maps_are_judged_by_the_standing_of_their_weights() {
    let standings = [standing::Verdict::Better, standing::Verdict::NotShown, standing::Verdict::Unknown];
    let confusion = |right: usize| vec![vec![right, 100 - right], vec![100 - right, right]];
    let other = "which are not those of the head of this page";
    for known_then in standings {
        for (right, believed) in [(90, true), (52, false)] {
            let page = |origin: Origin| {
                let mut report = complete();
                report.looked = report.looked.map(|looked| Looked { confusion: confusion(right), ..looked });
                // Of 200 images: the last weights do well, those of the first epoch no better than guessing.
                report.config = Config { val_images: 200, val_of_class: vec![100, 100], ..report.config };
                report.metrics[0].val_acc = 0.5;
                report.metrics[2].val_acc = 0.95;
                report.kept = [Some(2), Some(3)];
                report.explained[0].origin = origin;
                report.explained[0].maps[0].verdict.standing = known_then;
                report.page()
            };
            let of = |which: Which, epoch| page(Origin { run: None, weights: which.file().into(), epoch });
            let counted = "maps by occlusion that pass";
            let passes = "in both tests.";
            let same = of(Which::Best, 2);
            assert_eq!(
                (same.contains(passes), same.contains(counted)),
                (believed, believed),
                "{known_then:?}, {right}"
            );
            assert!(!same.contains(other));
            let last = of(Which::Last, 3);
            assert!(last.contains(passes) && last.contains(other), "{known_then:?}");
            assert!(!last.contains(counted), "the answer is about the best weights");
            let earlier = of(Which::Best, 1);
            assert!(!earlier.contains(passes) && earlier.contains(other), "{known_then:?}");
        }
    }
}

/// What helps depends on what is in the way.
#[test]
fn what_is_not_shown_has_one_remedy_that_helps() {
    let page = |why: Unlooked| Report { looked: Err(why), ..bare(&["cat", "dog"]) }.page();
    let again = "To add it: <code>convscope report '";
    let elsewhere = page(Unlooked::NoImages("the photos are gone".into()));
    assert_eq!([again, " --data DIR</code>"].map(|text| elsewhere.matches(text).count()), [4, 4]);
    let not_computed = page(Unlooked::NotComputed("there is no adapter".into()));
    assert_eq!([again, " --data DIR</code>"].map(|text| not_computed.matches(text).count()), [4, 0]);
    let damaged = page(Unlooked::Damaged("best.safetensors is damaged; train anew".into()));
    assert_eq!([again, " --data DIR</code>"].map(|text| damaged.matches(text).count()), [0, 0]);
    for (page, reason) in [
        (elsewhere, "the photos are gone."),
        (not_computed, "there is no adapter."),
        (damaged, "best.safetensors is damaged; train anew."),
    ] {
        assert_eq!(page.matches(reason).count(), 4, "{reason}");
    }
}

#[test]
fn the_table_of_layers_claims_no_more_than_the_head() {
    let with = |right: usize, conclusive: bool| {
        let mut report = complete();
        let confusion = vec![vec![right, 100 - right], vec![100 - right, right]];
        report.looked = report.looked.map(|looked| Looked { confusion, ..looked });
        if !conclusive {
            report.layers = report.layers.map(|(folder, table)| (folder, table.of_guesses()));
        }
        report.page()
    };
    let claims =
        ["In use: put back", ">in use<", "2 to 3 of 4", "1 missed", "The network uses what every one of its blocks"];
    let disagree = "While the two disagree, nothing is concluded.";
    let better = with(90, true);
    claims.iter().for_each(|claim| assert!(better.contains(claim), "{claim}"));
    assert!(!better.contains(disagree));
    for (page, contradicted) in [(with(52, true), true), (with(52, false), false), (with(90, false), false)] {
        claims.iter().for_each(|claim| assert!(!page.contains(claim), "{claim}"));
        assert!(page.contains("Undecided: this network is not shown to be better than guessing"), "{page}");
        assert_eq!(page.contains(disagree), contradicted);
    }
}

/// The folder of the run of [`config`], with its settings alone.
fn run_folder() -> (tempfile::TempDir, Run) {
    let folder = tempfile::tempdir().unwrap();
    let settings = serde_json::to_string(&config(&["cat", "dog"])).unwrap();
    fs::write(folder.path().join("config.json"), settings).unwrap();
    let run = Run::open(folder.path()).unwrap();
    (folder, run)
}

#[test]
fn a_table_of_another_version_is_named_and_left_out() {
    let (_folder, run) = run_folder();
    let read = |table: &str| {
        fs::create_dir_all(run.folder().join("layers")).unwrap();
        fs::write(run.folder().join("layers/layers.json"), table).unwrap();
        run.layers().map(|found| found.is_some()).map_err(|error| format!("{error:#}"))
    };
    assert_eq!(read(&layers_json().to_string()), Ok(true));
    let mut old = layers_json();
    old.as_object_mut().unwrap().remove("format");
    for table in [old, json!({"format": 4})] {
        let error = read(&table.to_string()).unwrap_err();
        let told = "layers.json: format: was written by another version of convscope; run `convscope layers` again";
        assert!(error.contains(told), "{error}");
    }
    assert!(read("{\"format\": 3}").unwrap_err().contains("cannot be used: missing field"));
    assert!(read("[").unwrap_err().contains("cannot be used: "));
}

#[test]
fn explanations_that_cannot_be_used_are_named() {
    let (_folder, run) = run_folder();
    let mut sound = complete().explained.remove(0);
    sound.against = "dog".into();
    sound.target = "cat".into();
    sound.truth = None;
    let write = |name: &str, text: &str| {
        let folder = run.folder().join("explain").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(EXPLAINED), text).unwrap();
    };
    assert!(run.explained(5).damaged.is_empty(), "there is nothing to be read");
    write("sound", &serde_json::to_string(&sound).unwrap());
    let newest = run.explained(5);
    assert_eq!((newest.usable, newest.more, newest.damaged.len()), (vec![sound.clone()], 0, 0));
    write("another", &serde_json::to_string(&sound).unwrap());
    let newest = run.explained(1);
    assert_eq!((newest.usable.len(), newest.more), (1, 1));
    let bare_report = bare(&["cat", "dog"]);
    let drawn = Config { data: None, ..bare_report.config.clone() };
    let page = Report { more_explained: newest.more, explained: newest.usable, config: drawn, ..bare_report }.page();
    assert!(page.contains("not shown here: 1 more image"), "what is left out is said");
    assert!(page.contains("means little"), "the image is none of those that the program drew");
    assert!(!page.contains("that pass all tests of trust"), "nor does it count for the network");
    fs::remove_dir_all(run.folder().join("explain/another")).unwrap();

    // The first version: no format, probabilities for scores, and a sentence for a verdict.
    let mut old = serde_json::to_value(&sound).unwrap();
    old.as_object_mut().unwrap().remove("format");
    old["maps"][0]["verdict"] = json!("It depends on what was learned.");
    let mut later = serde_json::to_value(&sound).unwrap();
    later["format"] = json!(99);
    let sound_json = serde_json::to_value(&sound).unwrap();
    for (pointer, value, told) in [
        ("/scale/limit", json!(-1.0), "scale.limit is -1e0"),
        ("/scale/limit", json!(1e300), "scale.limit: number out of range"),
        ("/scale/signed", json!(false), "scale.signed is false"),
        ("/maps/0/scale/limit", json!(-0.5), "maps[0]: scale.limit is"),
        ("/maps/0/control_scale/limit", json!(-0.5), "maps[0]: control_scale.limit is"),
        ("/maps/0/control_scale/signed", json!(false), "maps[0]: signed differs"),
        ("/coarse", json!(""), "coarse is empty"),
        ("/origin/run", json!("0f"), "run is \"0f\", not null"),
        ("/origin/weights", json!("other.safetensors"), "weights is \"other.safetensors\""),
        ("/origin/epoch", json!(0), "epoch is 0: expected 1 to"),
    ] {
        let mut changed = sound_json.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        write("sound", &changed.to_string());
        let found = run.explained(5);
        assert!(found.usable.is_empty() && found.damaged[0].contains(told), "{pointer}: {:?}", found.damaged);
    }
    write("sound", &sound_json.to_string());

    let mut misspelt = serde_json::to_value(&sound).unwrap();
    misspelt["maps"][0]["verdict"]["ranking"] = json!("best");
    write("old", &old.to_string());
    write("later", &later.to_string());
    write("misspelt", &misspelt.to_string());
    write("broken", "{");
    let FoundExplanations { usable, mut damaged, .. } = run.explained(5);
    assert_eq!(usable, [sound]);
    damaged.sort();
    let told = [
        ("broken", "cannot be used: "),
        ("later", "another version of convscope"),
        ("misspelt", "`best`"),
        ("old", "another version of convscope"),
    ];
    assert_eq!(damaged.len(), told.len());
    for (damaged, (name, reason)) in damaged.iter().zip(told) {
        assert!(damaged.contains(&format!("{name}/{EXPLAINED}: ")) && damaged.contains(reason), "{damaged}");
    }
    let page = Report { damaged, ..bare(&["cat", "dog"]) }.page();
    assert!(page.contains("Not on this page: ") && page.contains("another version of convscope"));
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
    let run_dir = crate::train::run_dir::RunDir::at(run.clone());
    run_dir.write_metrics(&metrics()).unwrap();
    let opened = || Run::open(&run).unwrap();
    let read = |depth: Option<&Path>| Report::read(&opened(), depth, Default::default());

    let report = read(None).unwrap();
    assert!(report.layers.is_none() && report.depth.is_none());
    assert_eq!((report.metrics.len(), report.best(), report.date.len()), (3, 2, 10));
    assert!(report.disagreements().is_empty(), "there are no weights that could disagree");

    // The weights that were kept decide what is best, not the table.
    let keep = |which: Which, epoch| {
        let architecture = config.training.model.clone();
        let classes = config.classes.clone();
        let meta = Meta { architecture, classes, epoch, drawn: false, made_by: None, val_loss: None };
        run_dir.write_checkpoint(which.file(), &Checkpoint::initial(meta)).unwrap();
        read(None).unwrap()
    };
    assert_eq!(keep(Which::Best, 3).best(), 3);
    assert!(keep(Which::Last, 3).disagreements().is_empty());
    let stopped = keep(Which::Last, 4);
    assert_eq!(stopped.best(), 3);
    assert!(stopped.page().contains("last.safetensors has the weights of epoch 4, but metrics.csv ends with epoch 3."));
    let stopped = keep(Which::Best, 4);
    assert!(stopped.page().contains("best.safetensors has the weights of epoch 4, of which metrics.csv has no line."));
    keep(Which::Best, 2);
    keep(Which::Last, 3);

    for (number, name) in [(1, "layers"), (2, "layers-2"), (10, "layers-10"), (99, "layers-old")] {
        let mut table = layers_json();
        table["images"] = json!(number);
        table["weights"] = json!("last.safetensors");
        write(&format!("001/{name}/layers.json"), &table);
    }
    assert_eq!(read(None).unwrap().layers.unwrap().1.images, 10);

    fs::write(folder.path().join("001/layers-10/layers.json"), b"{}").unwrap();
    let page = read(None).unwrap().page();
    assert!(
        page.contains("layers-10/layers.json: format: was written by another version of convscope"),
        "a damaged table costs no more than itself"
    );

    let mut other = config.clone();
    strided(&mut other).channels = vec![4, 8];
    write_study(folder.path(), "depth", &depth_json(&other));
    assert!(read(None).unwrap().depth.is_none(), "a study of another network is not taken for an answer unasked");
    let drawn = Config { data: None, ..config.clone() };
    write_study(folder.path(), "depth", &depth_json(&drawn));
    assert!(read(None).unwrap().depth.is_none(), "nor is one of other images");
    let beside = folder.path().join("depth");
    let page = read(Some(&beside)).unwrap().page();
    assert!(page.contains("so is its answer: images: drawn by the program, in the run /photos/&lt;b&gt;;"), "{page}");
    write_study(folder.path(), "depth-2", &depth_json(&config));
    assert_eq!(read(None).unwrap().depth.unwrap().folder, folder.path().join("depth-2"));
    let error = format!("{:#}", read(Some(&run)).err().unwrap());
    assert!(error.contains("--depth") && error.contains("finished study"), "{error}");
}

/// The study of the run's network on its images, with this change to how it trains.
fn study_of(config: &Config, change: impl Fn(&mut serde_json::Value)) -> DepthStudy {
    let folder = tempfile::tempdir().unwrap();
    let mut study = depth_json(config);
    change(&mut study);
    let epochs = study["study"]["identity"]["settings"]["epochs"].as_u64().unwrap() as usize;
    for candidate in study["candidates"].as_array_mut().unwrap() {
        candidate["train_loss"] = json!(vec![0.5; epochs]);
    }
    DepthStudy::read(&write_study(folder.path(), "depth", &study)).unwrap()
}

#[test]
fn a_study_with_another_recipe_says_what_differs() {
    let config = config(&["cat", "dog"]);
    let settings = |study: &serde_json::Value| study["study"]["identity"]["settings"].clone();
    let same = |study: &mut serde_json::Value| {
        study["study"]["identity"]["settings"]["epochs"] = json!(config.training.epochs);
        study["study"]["dev_images"] = json!(2 * config.train_images);
        study["study"]["commonest_class"] = json!(config.train_images);
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
            if name == "optimizer" {
                study["study"]["identity"]["settings"]["momentum"] = json!(0.9);
            }
        });
        let note = study.note(&config);
        assert!(note.contains("another recipe") && note.contains(told), "{name}: {note}");
        let page = Report { depth: Some(study), ..bare(&["cat", "dog"]) }.page();
        assert!(page.contains(told), "the page says so too: {name}");
    }

    type Change = fn(&mut Strided);
    let changes: [(Change, &str); 3] = [
        (|model| model.dropout = 0.5, "dropout: 0.5, in the run "),
        (|model| model.channels = vec![4, 8], "channels: 4,8, in the run 4,6"),
        (|model| model.input = [3, 32, 32], "size: 32, in the run 24"),
    ];
    for (change, told) in changes {
        let mut other = config.clone();
        change(strided(&mut other));
        let note = study_of(&other, |_| ()).note(&config);
        assert!(note.contains("another network") && note.contains(told), "{told}: {note}");
    }
    let mut deeper = config.clone();
    strided(&mut deeper).channels.push(8);
    let part = study_of(&deeper, |study| study["study"]["identity"]["settings"]["depths"] = json!([1, 2]));
    assert!(part.note(&deeper).contains("blocks of the reference: 2, in the run 3"), "{}", part.note(&deeper));
}

#[test]
fn a_network_that_was_stopped_early_is_marked_everywhere_and_its_mean_shown_nowhere() {
    let config = config(&["cat", "dog"]);
    let stopped = |study: &mut serde_json::Value| {
        study["study"]["identity"]["settings"]["repeats"] = json!(2);
        study["answer"] = json!("d2");
        study["candidates"][0]["errors"] = json!([10.0, 12.0, 4.0, 6.0]);
        study["candidates"][0]["mean_error"] = json!(8.0);
        study["candidates"][1]["stopped_early"] = json!(true);
        study["candidates"][1]["errors"] = json!([17.25, 17.5]);
        // As an older version wrote it.
        study["candidates"][1]["mean_error"] = json!(17.375);
        study["candidates"][1]["comparison"]["differences"] = json!([7.25, 5.5]);
        study["candidates"][1]["comparison"]["mean"] = json!(6.375);
        study["candidates"][1]["comparison"]["decision"] = json!("not shown");
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
