//! Devices, their kernels, and benchmarks.

use std::fs;

use convscope::gpu::TileLimits;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::common::{self, trial};
use crate::program::program;
use crate::{TINY, fail, json, succeed, train_tiny};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("adapters_are_listed", adapters_are_listed),
        trial("an_unknown_adapter_is_refused", an_unknown_adapter_is_refused),
        trial("kernels_can_be_chosen", kernels_can_be_chosen),
        trial("what_was_measured_is_used", what_was_measured_is_used),
        trial("bench_step_prints_one_json_object", bench_step_prints_one_json_object),
        trial("bench_scaling_goes_on_after_what_does_not_fit", bench_scaling_goes_on_after_what_does_not_fit),
    ]
}

/// Those that need no device.
pub fn without_device() -> Vec<Trial> {
    vec![trial("without_an_adapter_the_remedy_is_told", without_an_adapter_the_remedy_is_told)]
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
        let step = ["bench", "step", "--json", "--size", "40", "--batch", "2", "--steps", "1", "--channels", "4,6"];
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
    let printed = succeed(folder.path(), &[&arguments[..4], &["--batches", "60000", "--sizes", "6000"]].concat());
    assert!(printed.contains("128  60000    refused: "), "{printed}");
}
