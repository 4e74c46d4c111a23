//! `import`: a run's folder of weights that were trained elsewhere.

mod recognise;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};

use crate::cli::{ImportArgs, built};
use crate::data::names::path_text;
use crate::digest::Digest;
use crate::nn::checkpoint::{Checkpoint, CheckpointError, Meta, Weights};
use crate::nn::{Preparation, StateDict};
use crate::reading::{no_file, unusable};
use crate::terminal::{counted, say};
use crate::train::run_dir::{self, RunDir};
use crate::train::{CONFIG, Imported, Source, Which, check_classes, check_imported, check_preparation};

/// What must be said where nothing says how the images were prepared that weights learned from.
pub(super) const PREPARED: &str = "neither the weights nor --normalize say how the images were prepared that they learned from, so images are given \
                        to this network by --normalize half, (x / 255 - 0.5) / 0.5 of each colour; if it learned from others its \
                        predictions are off: torchvision's own weights need --normalize imagenet, and most of them --resize-crop 256";

pub(super) fn import(arguments: &ImportArgs) -> Result<()> {
    let shown = path_text(&arguments.file);
    run_dir::check_free(arguments.out.as_deref())?;
    if let Some(problem) = no_file(&arguments.file) {
        return Err(anyhow!("{shown}: {problem}"));
    }
    let bytes = fs::read(&arguments.file).with_context(|| format!("{shown}: cannot be read"))?;
    let own = match Meta::from_bytes(&bytes) {
        Err(CheckpointError::NoMeta | CheckpointError::Unreadable(_)) => None,
        meta => Some(meta.with_context(|| unusable(&arguments.file))?),
    };
    let said = own.is_some() || arguments.normalize.is_some();
    let made = match own {
        Some(_) => own_weights(arguments, &bytes),
        None => other_weights(arguments, &bytes),
    };
    let Checkpoint { mut meta, network, weights } = made?;

    let id = run_dir::new_id();
    let name = Path::new(arguments.file.file_name().unwrap_or_default());
    let imported = Source { file: path_text(name), sha256: Digest::of(&bytes).to_string() };
    let Meta { architecture: model, classes, drawn, preparation, .. } = meta.clone();
    let config = Imported { id: id.clone(), imported, classes, drawn, preparation, model };
    check_imported(&config).with_context(|| unusable(&arguments.file))?;
    // Who trained them, and how they did there, is of no use in this folder.
    (meta.made_by, meta.val_loss) = (Some(id), None);
    let run = RunDir::create(arguments.out.as_deref())?;
    run.write_checkpoint(Which::Best.file(), &Checkpoint { meta, network: network.clone(), weights })?;
    run.write_json(CONFIG, &config)?;

    let kind = config.model.known_as().map_or(String::new(), |name| format!("{name}, "));
    let (blocks, [_, height, width]) = (counted(network.blocks().len(), "block"), network.input());
    say(format!("network  {kind}{blocks}, images of {width} x {height} pixels, classes {}", config.classes.join(", ")));
    if !said {
        say(format!("note: {PREPARED}"));
    }
    let folder = run.path().display();
    say(format!("wrote {folder}: {} and {CONFIG}; use it with --run {folder}", Which::Best.file()));
    Ok(())
}

/// Weights that say themselves what network they are of.
fn own_weights(arguments: &ImportArgs, bytes: &[u8]) -> Result<Checkpoint> {
    let ImportArgs { file, model, size, stride, padding, normalize, resize_crop, classes, .. } = arguments;
    let numbers = [size, stride, padding].iter().any(|option| option.is_some());
    let said = model.is_some() || numbers || normalize.is_some() || resize_crop.is_some() || !classes.is_empty();
    ensure!(
        !said,
        "{}: the file says itself what network and what classes it is of and how images are prepared; leave out --model, --size, \
         --stride, --padding, --normalize, --resize-crop and --classes",
        file.display()
    );
    Checkpoint::from_bytes(bytes).with_context(|| unusable(file))
}

/// Weights of PyTorch, which only have names and shapes.
fn other_weights(arguments: &ImportArgs, bytes: &[u8]) -> Result<Checkpoint> {
    let &ImportArgs { ref file, ref classes, normalize, resize_crop, .. } = arguments;
    let state = StateDict::from_bytes(bytes).with_context(|| unusable(file))?;
    let architecture =
        recognise::architecture(&state.shapes(), arguments).with_context(|| file.display().to_string())?;
    let network = built(&architecture, architecture.classes())?;
    let preparation = Preparation { normalize: normalize.unwrap_or_default(), resize_crop };
    check_preparation(&preparation, network.input()[1]).map_err(|error| error.typed())?;
    let weights = Weights::from_state_dict(&state.to_safetensors(), &network).with_context(|| unusable(file))?;
    let outputs = network.classes();
    ensure!(
        !classes.is_empty(),
        "{}: --classes: the file does not say what the {outputs} classes are called; name them in the order of the network's outputs, as \
         --classes cat,dog",
        file.display()
    );
    check_classes(classes, outputs).map_err(|error| anyhow!("--{error}"))?;
    let network = network.prepared(preparation);
    let meta = Meta {
        architecture,
        classes: classes.clone(),
        preparation,
        epoch: 0,
        drawn: false,
        made_by: None,
        val_loss: None,
    };
    Ok(Checkpoint { meta, network, weights })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::nn::{Architecture, Head, Known, Name, Network, Normalize, Strided};
    use crate::stats::standing::Standing;
    use crate::train::Run;

    /// What `import` makes of a file with these bytes.
    fn imported(bytes: &[u8], options: &[&str]) -> Result<(tempfile::TempDir, Run)> {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("weights.safetensors"), folder.path().join("run"));
        fs::write(&file, bytes).unwrap();
        let paths = [file.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let typed = ["convscope", "import"].iter().chain(&paths).chain(options);
        let Command::Import(arguments) = Cli::try_parse_from(typed)?.command else { unreachable!("it is import") };
        import(&arguments).inspect_err(|_| assert!(!out.exists(), "nothing is left"))?;
        Ok((folder, Run::open(&out)?))
    }

    fn error(bytes: &[u8], options: &[&str]) -> String {
        format!("{:#}", imported(bytes, options).expect_err("it is refused"))
    }

    /// Weights as PyTorch saves them: without what convscope says of them.
    fn state_dict(network: &Network) -> (Weights, Vec<u8>) {
        let weights = Weights::initial(network, 5);
        let classes: Vec<String> = (0..network.classes()).map(|class| class.to_string()).collect();
        let spec = Architecture::Strided(Strided::dogs_vs_cats(64, classes.len()));
        let meta = Meta {
            architecture: spec,
            classes,
            preparation: Default::default(),
            epoch: 1,
            drawn: false,
            made_by: None,
            val_loss: None,
        };
        let bytes = Checkpoint { meta, network: network.clone(), weights: weights.clone() }.to_bytes();
        (weights, StateDict::from_bytes(&bytes).unwrap().to_safetensors())
    }

    #[test]
    fn weights_of_convscope_say_all_themselves() {
        let classes = ["cat", "dog"].map(String::from).to_vec();
        let architecture = Architecture::Strided(Strided { channels: vec![4, 6], ..Strided::dogs_vs_cats(24, 2) });
        for drawn in [false, true] {
            let (made_by, val_loss) = (Some("0".repeat(32)), Some(0.5));
            let meta = Meta {
                architecture: architecture.clone(),
                classes: classes.clone(),
                preparation: Default::default(),
                epoch: 7,
                drawn,
                made_by,
                val_loss,
            };
            let bytes = Checkpoint::initial(meta).to_bytes();
            let (_folder, run) = imported(&bytes, &[]).unwrap();
            let Checkpoint { meta, weights, network } = run.checkpoint(Which::Best).unwrap();
            assert_eq!(weights, Checkpoint::from_bytes(&bytes).unwrap().weights);
            assert_eq!((meta.epoch, meta.drawn, &meta.classes), (7, drawn, &classes));
            assert_eq!((run.size(), network.blocks().len()), (24, 2));
            assert!(error(&bytes, &["--size", "24"]).contains("leave out --model, --size"));
        }
    }

    /// Whatever asks for what is not known of such a network is told so in one sentence; nothing is made up.
    #[test]
    fn what_is_not_known_is_said() {
        let (_, bytes) = state_dict(&Strided::dogs_vs_cats(64, 2).build().unwrap());
        let options = ["--size", "64", "--stride", "2", "--padding", "0", "--classes", "a,b"];
        let (_folder, run) = imported(&bytes, &options).unwrap();
        let told = [
            run.config().map(drop),
            run.metrics().map(drop),
            run.environment().map(drop),
            run.photos().map(drop),
            run.rejected().map(drop),
            run.checkpoint(Which::Last).map(drop),
        ];
        for told in told {
            let told = format!("{:#}", told.unwrap_err());
            assert!(told.contains("was imported from weights.safetensors"), "{told}");
        }
        assert_eq!(Standing::of_run(&run, Which::Best, 0, None).unwrap(), None);
        assert_eq!(run.checkpoint(Which::Best).unwrap().meta.epoch, 0);
        // Weights of another folder are told.
        let (_other, other) = imported(&bytes, &options).unwrap();
        fs::copy(other.folder().join("best.safetensors"), run.folder().join("best.safetensors")).unwrap();
        let told = format!("{:#}", run.checkpoint(Which::Best).unwrap_err());
        assert!(told.contains("it belongs to another run than config.json"), "{told}");
    }

    #[test]
    fn images_are_prepared_as_was_said_or_as_usual() {
        let (weights, bytes) = state_dict(&Strided::dogs_vs_cats(64, 2).build().unwrap());
        let network = ["--size", "64", "--stride", "2", "--padding", "0", "--classes", "a,b"];
        let with = |options: &[&str]| imported(&bytes, &[&network[..], options].concat());
        let imagenet = Preparation { normalize: Normalize::IMAGENET, resize_crop: Some(73) };
        for (options, expected) in
            [(&[][..], Preparation::default()), (&["--normalize", "imagenet", "--resize-crop", "73"], imagenet)]
        {
            let (_folder, run) = with(options).unwrap();
            let found = run.checkpoint(Which::Best).unwrap();
            assert_eq!((found.weights, found.meta.preparation), (weights.clone(), expected));
            assert_eq!(run.network().preparation(), expected);
            assert_eq!(run.fit().resize, expected.resize_crop);
            // What a file of convscope says is taken over, and not said again.
            let own = fs::read(run.folder().join("best.safetensors")).unwrap();
            assert_eq!(imported(&own, &[]).unwrap().1.network().preparation(), expected);
            assert!(error(&own, &["--normalize", "half"]).contains("leave out --model"));
        }
        let told = format!("{:#}", with(&["--resize-crop", "60"]).unwrap_err());
        assert!(told.starts_with("--resize-crop 60: expected a number of pixels from the side"), "{told}");
    }

    #[test]
    fn known_networks_of_any_width_and_classes_are_recognised() {
        for (name, width, classes, size) in [
            (Name::LeNet5, 1.0, 10, 28),
            (Name::LeNet5, 0.5, 3, 32),
            (Name::Vgg11Bn, 0.0625, 2, 224),
            (Name::ResNet18, 0.125, 5, 64),
            (Name::ResNet18, 0.3, 2, 96),
            (Name::MobileNetV2, 0.25, 4, 64),
            (Name::MobileNetV2, 0.35, 2, 32),
        ] {
            let known = Known { name, input: [3, size, size], width, classes };
            let network = Architecture::Known(known).build().unwrap();
            let (weights, bytes) = state_dict(&network);
            let names = (0..classes).map(|class| format!("c{class}")).collect::<Vec<_>>().join(",");
            let size = size.to_string();
            let (_folder, run) = imported(&bytes, &["--size", &size, "--classes", &names]).unwrap();
            let found = run.checkpoint(Which::Best).unwrap();
            assert_eq!(found.weights, weights, "{name} {width}");
            assert_eq!(found.network, network);
            let named = name.to_string();
            assert!(imported(&bytes, &["--model", &named, "--size", &size, "--classes", &names]).is_ok(), "by name");
            assert!(error(&bytes, &["--classes", &names]).contains("--size: "), "{name}");
            assert!(error(&bytes, &["--size", &size]).contains("--classes: the file does not say"), "{name}");
            assert!(error(&bytes, &["--size", &size, "--classes", "a"]).contains("--classes: 1 names for the"));
        }
    }

    #[test]
    fn the_default_network_is_recognised_in_both_forms() {
        let base =
            Strided { channels: vec![4, 6, 8], kernel: 3, dropout: 0.0, hidden: 9, ..Strided::dogs_vs_cats(40, 3) };
        let names = ["--classes", "a,b,c"];
        let pooled = Strided { stride: 2, padding: 1, ..base.clone() };
        let (weights, bytes) = state_dict(&pooled.build().unwrap());
        let told = error(&bytes, &[&names[..], &["--size", "40"]].concat());
        assert!(told.contains("--stride, --padding: "), "{told}");
        let options = [&names[..], &["--size", "40", "--stride", "2", "--padding", "1"]].concat();
        let (_folder, run) = imported(&bytes, &options).unwrap();
        let found = run.checkpoint(Which::Best).unwrap();
        assert_eq!((found.meta.architecture, found.weights), (pooled.clone().into(), weights));

        // Without pooling, the linear layer tells how large the last maps are.
        for (stride, padding) in [(2, 0), (2, 1), (3, 1)] {
            let flat = Strided { head: Head::Flatten, stride, padding, ..base.clone() };
            let (weights, bytes) = state_dict(&flat.build().unwrap());
            let all = [&names[..], &["--size", "40"]].concat();
            let (stride, padding) = (stride.to_string(), padding.to_string());
            let said = [&all[..], &["--stride", &stride, "--padding", &padding]].concat();
            let (_folder, run) = imported(&bytes, &said).unwrap();
            let found = run.checkpoint(Which::Best).unwrap();
            assert_eq!((found.meta.architecture, found.weights), (flat.into(), weights.clone()));
            match imported(&bytes, &all) {
                Ok((_folder, run)) => assert_eq!(run.checkpoint(Which::Best).unwrap().weights, weights),
                Err(error) => assert!(format!("{error:#}").contains("several fit"), "{error:#}"),
            }
            let other = error(&bytes, &[&names[..], &["--size", "5000"]].concat());
            assert!(other.contains("--size 5000: at no stride"), "{other}");
        }
    }

    #[test]
    fn other_networks_are_asked_for() {
        let spec = "layers = [{ type = \"Conv2d\", name = \"first\", out_channels = 4, kernel_size = 3 }, \
                    { type = \"ReLU\" }, { type = \"Flatten\" }, { type = \"Linear\", name = \"last\", out_features = 2 }]";
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.toml");
        fs::write(&model, spec).unwrap();
        let model = model.to_str().unwrap();
        let crate::cli::ModelName::File { layers, .. } = model.parse().unwrap() else { unreachable!("it is a file") };
        let network = crate::nn::Spec { input: [3, 16, 16], layers }.build().unwrap();
        let (weights, bytes) = state_dict(&network);
        let names = ["--size", "16", "--classes", "a,b"];
        assert!(error(&bytes, &names).contains("list its layers in a TOML file and name that with --model"));
        let (_folder, run) = imported(&bytes, &[&names[..], &["--model", model]].concat()).unwrap();
        assert_eq!(run.checkpoint(Which::Best).unwrap().weights, weights);
        let other = error(&bytes, &[&names[..], &["--model", "resnet18"]].concat());
        assert!(other.contains("--model resnet18: "), "{other}");
        for bytes in [&b""[..], b"no weights", &bytes[..bytes.len() / 2], b"PK\x03\x04"] {
            assert!(error(bytes, &names).contains("weights.safetensors: cannot be used: "));
        }
    }
}
