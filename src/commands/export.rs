//! `export`: a run's network for other programs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Map, Value, json};

use crate::cli::{ExportArgs, path_from_root};
use crate::data::Images;
use crate::data::drawn::{Drawn, Subject};
use crate::disk;
use crate::nn::checkpoint::{Checkpoint, Weights};
use crate::nn::{Network, Node, Op, Preparation, onnx};
use crate::terminal::say;
use crate::train::Run;
use crate::train::predictions::Prediction;
use crate::train::run_dir::{self, RunDir};

/// Images that a folder for PyTorch holds with their logits.
const EXAMPLES: usize = 4;
/// The most bytes of a message of Protocol Buffers, which an ONNX file is.
const MOST: usize = i32::MAX as usize;

pub(super) fn export(arguments: &ExportArgs) -> Result<()> {
    let run = Run::open(&arguments.run)?;
    let checkpoint = run.checkpoint(arguments.weights)?;
    // Whatever cannot be written is told before anything is.
    let files = [("--safetensors", &arguments.safetensors), ("--onnx", &arguments.onnx)];
    for (option, file) in files.iter().filter_map(|(option, file)| Some((option, file.as_deref()?))) {
        check_new(option, file)?;
    }
    let asked = arguments.safetensors.iter().chain(&arguments.onnx).chain(&arguments.torch);
    let places: BTreeSet<String> = asked.clone().map(|path| path_from_root(path)).collect();
    ensure!(places.len() == asked.count(), "--safetensors, --torch and --onnx: two of them name the same place");
    if let Some(folder) = &arguments.torch {
        let shown = folder.display();
        ensure!(disk::is_free(folder), "--torch {shown}: exists already; name a new folder");
        run_dir::check_place(folder).with_context(|| format!("--torch {shown}: cannot be made; name another place"))?;
    }
    if let Some(folder) = &arguments.torch {
        // Of the device's logits it is that the folder tells whether PyTorch's are the same.
        let examples = examples(arguments, &run, &checkpoint.weights)?;
        write_for_torch(folder, &checkpoint, &examples)?;
    }
    if let Some(file) = &arguments.safetensors {
        disk::write(file, &checkpoint.to_bytes())?;
        say(format!("wrote {}", file.display()));
    }
    if let Some(file) = &arguments.onnx {
        let Checkpoint { meta, network, weights } = &checkpoint;
        let normalize = network.normalize();
        let mut metadata = vec![
            ("classes", serde_json::to_string(&meta.classes)?),
            ("size", run.size().to_string()),
            ("normalisation", normalize.formula()),
            ("mean", serde_json::to_string(&normalize.mean())?),
            ("std", serde_json::to_string(&normalize.std())?),
        ];
        metadata.extend(meta.preparation.resize_crop.map(|resize| ("resize_crop", resize.to_string())));
        let bytes = onnx(network, weights, &metadata);
        ensure!(
            bytes.len() <= MOST,
            "--onnx {}: the network has more than the 2 GiB that such a file may have",
            file.display()
        );
        disk::write(file, &bytes)?;
        say(format!(
            "wrote {}: from \"images\", N x 3 x H x W as {}, to \"logits\"",
            file.display(),
            normalize.formula()
        ));
    }
    Ok(())
}

fn check_new(option: &str, file: &Path) -> Result<()> {
    let shown = file.display();
    ensure!(!file.exists(), "{option} {shown}: exists already; name another file");
    disk::check_writable(file).with_context(|| format!("{option} {shown}: name a file in a folder that is there"))
}

/// An image, and what the network says of it.
struct Example {
    pixels: Vec<u8>,
    logits: Vec<f32>,
}

fn examples(arguments: &ExportArgs, run: &Run, weights: &Weights) -> Result<Vec<Example>> {
    let images = Drawn::new(Subject::Pets, 0, 0, EXAMPLES, run.size(), 0);
    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);
    let predictor = super::predictor(&gpu, run, arguments.weights, weights, EXAMPLES as u16)?;
    let mut said = Vec::new();
    predictor.predict(&images, false, |predictions, _| said.extend(predictions))?;
    let example = |prediction: &Prediction| {
        let pixels = images.pixels(prediction.index).map_err(|reason| anyhow!("a drawn image {reason}"))?;
        Ok(Example { pixels: pixels.into_owned(), logits: prediction.logits.clone() })
    };
    said.iter().map(example).collect()
}

fn write_for_torch(folder: &Path, checkpoint: &Checkpoint, examples: &[Example]) -> Result<()> {
    let size = checkpoint.network.input()[1] as u32;
    let script = script(&checkpoint.network, &checkpoint.meta.classes)?;
    let folder = RunDir::create(Some(folder))?;
    let mut expected = Map::new();
    for (number, Example { pixels, logits }) in (1..).zip(examples) {
        let name = format!("example-{number}.png");
        folder.write_image(&name, &super::square(size, pixels.clone()))?;
        expected.insert(name, json!(logits));
    }
    folder.write_json("expected.json", &Value::Object(expected))?;
    folder.write_checkpoint("weights.safetensors", checkpoint)?;
    folder.write("load_in_pytorch.py", script.as_bytes())?;
    say(format!(
        "wrote {}: load_in_pytorch.py builds the network, loads it strictly and checks it",
        folder.path().display()
    ));
    Ok(())
}

/// The script that builds this network in PyTorch.
fn script(network: &Network, classes: &[String]) -> Result<String> {
    let layers = network.nodes().iter().map(line).collect::<Result<Vec<_>>>()?;
    // A text of JSON, written as JSON once more, is a text of Python.
    let classes = serde_json::to_string(&serde_json::to_string(classes)?)?;
    let Preparation { normalize, resize_crop } = network.preparation();
    let values = [
        ("@SIZE@", network.input()[1].to_string()),
        ("@RESIZE@", resize_crop.map_or("None".into(), |resize| resize.to_string())),
        ("@MEAN@", format!("{:?}", normalize.mean())),
        ("@STD@", format!("{:?}", normalize.std())),
        ("@LAYERS@", layers.join("\n")),
        ("@CLASSES@", classes),
    ];
    Ok(filled(include_str!("export/load_in_pytorch.py"), &values))
}

/// The text with the values in the places of their marks. A value that has a mark in it stays as it is: names of layers and classes may
/// come from a stranger's file, and would else become a part of the program.
fn filled(mut text: &str, values: &[(&str, String)]) -> String {
    let mut made = String::new();
    while let Some((at, (mark, value))) =
        values.iter().filter_map(|value| Some((text.find(value.0)?, value))).min_by_key(|(at, _)| *at)
    {
        made.extend([&text[..at], value]);
        text = &text[at + mark.len()..];
    }
    made + text
}

/// A line of the script for a layer.
fn line(node: &Node) -> Result<String> {
    let Node { op, key, inputs, input: [channels, height, width], .. } = node;
    let module = match *op {
        Op::Conv2d { out_channels, kernel_size, stride, padding, groups, bias } => {
            let bias = if bias { "True" } else { "False" };
            format!(
                "nn.Conv2d({channels}, {out_channels}, {kernel_size}, stride={stride}, padding={padding}, groups={groups}, bias={bias})"
            )
        }
        Op::BatchNorm2d => format!("nn.BatchNorm2d({channels})"),
        Op::ReLU | Op::ReLU6 | Op::Flatten | Op::Identity => format!("nn.{}()", op.name()),
        Op::Dropout { p } | Op::Dropout2d { p } => format!("nn.{}({p})", op.name()),
        Op::MaxPool2d { kernel_size, stride, padding } | Op::AvgPool2d { kernel_size, stride, padding } => {
            format!("nn.{}({kernel_size}, stride={stride}, padding={padding})", op.name())
        }
        Op::AdaptiveAvgPool2d { output_size: [rows, columns] } => format!("nn.AdaptiveAvgPool2d(({rows}, {columns}))"),
        Op::Linear { out_features } => format!("nn.Linear({}, {out_features})", channels * height * width),
        Op::Add => "Add()".into(),
    };
    Ok(format!("    ({}, lambda: {module}, {inputs:?}),", serde_json::to_string(key)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Named, Normalize, Spec, Strided};

    #[test]
    fn the_script_lists_every_layer() {
        let network = Strided { channels: vec![4, 6], ..Strided::dogs_vs_cats(24, 2) }.build().unwrap();
        let script = script(&network, &["cat \"tabby\"".into(), "狗\\".into()]).unwrap();
        for line in [
            "    (\"1\", lambda: nn.Conv2d(3, 4, 3, stride=2, padding=0, groups=1, bias=False), [1]),\n",
            "    (\"6\", lambda: nn.BatchNorm2d(6), [6]),\n",
            "    (\"12\", lambda: nn.Linear(64, 2), [12]),\n]",
            "SIZE = 24\n",
            "RESIZE = None\n",
            "MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]\n",
            r#"CLASSES = json.loads("[\"cat \\\"tabby\\\"\",\"狗\\\\\"]")"#,
        ] {
            assert!(script.contains(line), "{line}\n{script}");
        }
        let preparation = Preparation { normalize: Normalize::IMAGENET, resize_crop: Some(27) };
        let prepared = super::script(&network.prepared(preparation), &["a".into(), "b".into()]).unwrap();
        assert!(
            prepared.contains("RESIZE = 27\nMEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]\n"),
            "{prepared}"
        );
        assert!(!script.contains('@') || script.matches('@').count() == 1, "only the decorator is left");
    }

    /// Whatever the names of layers and classes, they stay texts of the script.
    #[test]
    fn names_do_not_become_a_part_of_the_script() {
        let of = |layer: &str, class: &str| {
            let conv = Op::Conv2d { out_channels: 2, kernel_size: 3, stride: 1, padding: 0, groups: 1, bias: false };
            let layers = vec![conv.into(), Op::Flatten.into(), Named::new(layer, Op::Linear { out_features: 2 })];
            let network = Spec { input: [3, 4, 4], layers }.build().unwrap();
            script(&network, &[class.into(), "b".into()]).unwrap()
        };
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let names = ["@CLASSES@", "@LAYERS@", "\");import os#", "\\\"", "\n", "\u{202e}", "\u{7f}\0", "{__name__}"];
        for layer in names {
            for class in names {
                let script = of(layer, class);
                let classes = text(&serde_json::to_string(&[class, "b"]).unwrap());
                assert!(script.contains(&format!("\nCLASSES = json.loads({classes})\n")), "{layer:?} {class:?}");
                let line = format!("\n    ({}, lambda: nn.Linear(8, 2), [2]),\n]\n", text(layer));
                assert!(script.contains(&line), "{layer:?} {class:?}: {script}");
                assert_eq!(script.lines().count(), of("1", "a").lines().count(), "{layer:?} {class:?}");
            }
        }
    }

    #[test]
    fn files_that_are_there_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let error = |file: &Path| format!("{:#}", check_new("--onnx", file).unwrap_err());
        assert!(error(folder.path()).contains("exists already; name another file"));
        assert!(error(&folder.path().join("no/such/net.onnx")).contains("name a file in a folder that is there"));
        check_new("--onnx", &folder.path().join("net.onnx")).unwrap();
    }
}
