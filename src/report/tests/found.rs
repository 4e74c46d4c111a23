//! What a run's folder holds, as the report finds it.

use super::*;
use crate::train::{Extras, ScheduleName};

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
    // Older versions had other names for the logit differences.
    let older = serde_json::to_string(&sound).unwrap().replace("logit_difference", "gap");
    assert!(older.contains("\"gap\":") && older.contains("\"blurred_gap\":"), "{older}");
    write("another", &older);
    assert_eq!(run.explained(5).usable, [sound.clone(), sound.clone()]);
    let newest = run.explained(1);
    assert_eq!((newest.usable.len(), newest.more), (1, 1));
    let mut drawn = bare(&["cat", "dog"]);
    drawn.trained().config.data = None;
    let page = Report { more_explained: newest.more, explained: newest.usable, ..drawn }.page();
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

    let mut report = read(None).unwrap();
    assert!(report.layers.is_none() && report.depth.is_none());
    assert_eq!(report.best(), 2);
    assert_eq!((report.trained().metrics.len(), report.trained().date.len()), (3, 10));
    assert!(report.disagreements().is_empty(), "there are no weights that could disagree");

    // The weights that were kept decide what is best, not the table.
    let keep = |which: Which, epoch| {
        let architecture = config.training.model.clone();
        let classes = config.classes.clone();
        let meta = Meta {
            architecture,
            classes,
            preparation: Default::default(),
            epoch,
            drawn: false,
            made_by: None,
            val_loss: None,
        };
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

    for (schedule, warmup, told) in [
        (ScheduleName::Cosine, 0.0, None),
        (ScheduleName::Cosine, 0.5, Some("in the run rises for 0.5 epochs, then falls to zero along a cosine;")),
        (ScheduleName::OneCycle, 0.0, Some("falls to zero along a cosine, in the run rises and falls in one cycle;")),
    ] {
        let mut other = config.clone();
        other.training.extras = Extras { schedule, warmup, ..Extras::default() };
        let note = study_of(&config, same).note(&other);
        assert_eq!(note.contains("learning rate over the epochs"), told.is_some(), "{note}");
        assert!(told.is_none_or(|told| note.contains(told)) && !note.contains("warmup:"), "{note}");
    }

    for (name, value, told) in [
        ("epochs", json!(3), "epochs: 3, in the run "),
        ("batch", json!(7), "batch: 7, in the run "),
        ("lr", json!(0.5), "lr: 0.5, in the run "),
        ("weight_decay", json!(0.25), "weight-decay: 0.25, in the run 0"),
        ("augment", json!(false), "augment: off, in the run flip"),
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
