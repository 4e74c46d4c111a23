//! What the pages say, and that nothing on them does harm.

use super::*;
use crate::train::Source;
use crate::train::evaluation::Evaluation;
use crate::train::predictions::Prediction;

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
        let learned = LearnedPage {
            weights: script,
            notes: &[],
            images: 3,
            judges: "validation images",
            filters: &[],
            blocks: &[],
        }
        .page()
        .unwrap();
        let mut report = complete();
        report.trained().config.classes[0] = script.into();
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
    let learned =
        LearnedPage { weights: OBEYED, notes: &[], images: 3, judges: "validation images", filters: &[], blocks: &[] }
            .page()
            .unwrap();
    let mut report = complete();
    report.run = OBEYED.into();
    report.trained().config.classes = [OBEYED, "dog"].map(String::from).into();
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

/// The page of a network from elsewhere says what is not known of it, and nothing of training, for any verdict.
#[test]
fn a_network_from_elsewhere_is_told_without_its_past() {
    let caution = "it is not known what it learned from: these images may be among it";
    for (right, drawn) in [(90, false), (50, true)] {
        let mut report = complete();
        let Config { training, classes, .. } = config(&[NASTY, "dog"]);
        let imported = Imported {
            id: String::new(),
            imported: Source { file: NASTY.into(), sha256: "0".repeat(64) },
            classes,
            drawn,
            preparation: Preparation::default(),
            model: training.model,
        };
        report.made = Made::Imported(Box::new(Given { imported, epoch: 2, data: Some("/a b".into()) }));
        report.depth = None;
        let confusion = vec![vec![right, 100 - right], vec![100 - right, right]];
        report.looked = report.looked.map(|looked| Looked { confusion, ..looked });
        let page = report.page();
        assert_harmless(&page);
        assert_eq!(page.matches(caution).count(), 2, "in the head and among the limits");
        assert_eq!(page.contains("What a network of 2 blocks learned to tell"), right == 90);
        assert_eq!(page.contains(DRAWN), drawn);
        assert!(page.contains("Some of the given images") && !page.contains("alidation images"), "{page}");
        assert!(page.contains("convscope learned --run 'runs/&lt;i&gt;'\\''&quot;' --data '/a b'"), "{page}");
        for untrue in ["convscope train", "convscope depth", "by epoch", "Trained on", "chose the epoch"] {
            assert!(!page.contains(untrue), "{untrue}");
        }
        report.looked = Err(Unlooked::NotComputed("there is no adapter".into()));
        let page = report.page();
        assert!(page.contains("It is not known whether this network does better") && page.contains(caution));
    }
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
    let learned = LearnedPage {
        weights: "best",
        notes: &[],
        images: 1234,
        judges: "validation images",
        filters: &filters,
        blocks: &[block],
    };
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
    let says = |page: &str, count: &str| {
        page.contains(&format!("<dd>{count}</dd><dt>maps by occlusion, of images of known class, that pass"))
    };
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
    for mean in ["10 in all", ">80.0\u{a0}%<", ">100.0\u{a0}%<", ">0.889<"] {
        assert!(row.contains(mean), "{mean}: {row}");
    }
    assert!(page.contains(">–<"), "a class without images has no recall");
}

#[test]
fn the_page_of_an_evaluation_has_its_figures_and_obeys_no_name() {
    let prediction =
        |(index, (truth, logits)): (usize, (usize, [f32; 2]))| Prediction { index, truth, logits: logits.into() };
    let said = [(0, [2.0, 0.0]), (0, [0.0, 3.0]), (1, [0.0, 1.0]), (1, [-1.0, 1.0])];
    let predictions: Vec<Prediction> = said.into_iter().enumerate().map(prediction).collect();
    let evaluation = Evaluation::new(&predictions, 2, 1).unwrap().unwrap();
    let page = |worst: &[(String, Judged)]| {
        EvaluationPage {
            weights: NASTY,
            images: NASTY,
            notes: &[NASTY.to_string()],
            classes: &["cat", NASTY].map(String::from),
            evaluation: &evaluation,
            worst,
        }
        .page()
    };
    let mistakes = page(&[(NASTY.into(), Judged::new(&predictions[1]))]);
    assert_harmless(&mistakes);
    // Of the four pairs two are in the right order.
    let area = format!("0.500 (95 % interval {:.3} to", evaluation.auc.unwrap().interval.0);
    for shown in ["75.0 % of 4 images right", &area, "95.3\u{a0}%", "<svg", "log-loss in nats"] {
        assert!(mistakes.contains(shown), "{shown}");
    }
    assert!(page(&[]).contains("None: every image is right."));
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
        "Undecided: whether this network uses the block is not shown; a probe reads less from it than from block 1. Whether",
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
                let trained = report.trained();
                (trained.config.val_images, trained.config.val_of_class) = (200, vec![100, 100]);
                trained.metrics[0].val_acc = 0.5;
                trained.metrics[2].val_acc = 0.95;
                trained.kept = [Some(2), Some(3)];
                report.explained[0].origin = origin;
                report.explained[0].maps[0].verdict.standing = known_then;
                report.page()
            };
            let of = |which: Which, epoch| page(Origin { run: None, weights: which.file().into(), epoch });
            let counted = "maps by occlusion, of images of known class, that pass";
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

#[test]
fn a_run_that_was_stopped_early_says_so() {
    let page = |patience: Option<usize>, epochs: usize| {
        let mut report = bare(&["cat", "dog"]);
        report.trained().config.training.extras.patience = patience;
        report.trained().config.training.epochs = epochs;
        report.page()
    };
    // Of the three epochs the second is the best.
    assert!(
        page(Some(1), 5).contains("3 of 5 epochs; best: epoch 2; stopped, as 1 epoch after it brought nothing better")
    );
    for (patience, epochs) in [(None, 5), (Some(2), 5), (Some(1), 3)] {
        assert!(!page(patience, epochs).contains("brought nothing better"), "{patience:?}, {epochs}");
    }
}

#[test]
fn the_page_says_how_the_network_was_trained() {
    let mut report = bare(&["cat", "dog"]);
    let plain = "learning rate 0.001 that stays the same; images prepared by --normalize half; training images changed at random: flipped</dd>";
    assert!(report.page().contains(plain), "{}", report.page());
    assert!(!report.page().contains("averages of the weights"));
    let training = &mut report.trained().config.training;
    training.extras.ema = Some(0.99);
    training.extras.clip_grad_norm = Some(0.5);
    training.preparation = Preparation { normalize: Normalize::IMAGENET, resize_crop: Some(30) };
    (training.augment, training.rotate) = (false, 10.0);
    let page = report.page();
    let recipe = "; gradients of a norm of at most 0.5; averages of the weights with decay 0.99; images prepared by --normalize imagenet \
                  --resize-crop 30; training images changed at random: turned by up to 10 degrees</dd>";
    assert!(page.contains(recipe), "{page}");
    assert!(page.contains("Validated and saved are averages"), "{page}");
    assert!(!page.contains("Both losses"));
}
