//! `features`: the maps of a new image with the network of a run.

use anyhow::{Context, Result, anyhow};

use crate::checkpoint::Checkpoint;
use crate::cli::{FeaturesArgs, Which};
use crate::data::prepare;
use crate::inspect::{self, Stage};
use crate::model::{Keep, Model};
use crate::reading::{Run, unusable};
use crate::run_dir::{self, RunDir};
use crate::standing;
use crate::terminal::say;

pub(super) fn features(arguments: &FeaturesArgs) -> Result<()> {
    run_dir::check_free(arguments.out.as_deref())?;
    let run = Run::open(&arguments.run)?;
    let Checkpoint { meta, weights } = run.checkpoint(arguments.weights)?;
    let shown = arguments.image.display();
    let pixels = prepare::load(&arguments.image, run.size()).map_err(|reason| anyhow!("{shown}: {reason}"))?;

    let standing = super::say_standing(&run, arguments.weights, meta.epoch, None);
    let caution = standing::caution(standing.as_ref());
    let gpu = super::open(&arguments.device)?;
    let model = Model::new(&gpu, &meta.spec, 1, Keep::Everything)?;
    model.load(&gpu, &weights);
    let look = inspect::look(&gpu, &model, &pixels, arguments.stage)
        .with_context(|| unusable(&arguments.run.join(arguments.weights.file())))?;

    let weights = super::weights_shown(&arguments.run, arguments.weights, meta.epoch);
    let mut facts = super::facts(&format!("image {shown}"), &look, &meta.classes, &weights);
    facts.splice(0..0, caution);
    if meta.drawn {
        facts.push(super::DRAWN.into());
        say(format!("note: {}", super::DRAWN));
    }
    let pictures = inspect::draw(&look, &model, &pixels, arguments.stage, "Feature maps", &facts)?;
    let folder = folder(arguments)?;
    super::write_pictures(&folder, pictures)?;

    let predicted = look.predicted();
    say(format!("{shown}: {} ({:.1} %)", meta.classes[predicted], 100.0 * look.probabilities[predicted]));
    say(format!("wrote {}: overview.png, and block-1.png to block-{}.png", folder.path().display(), look.maps.len()));
    Ok(())
}

/// Makes the folder for the pictures: `--out`, or a new one named after the image below the run's `features/`.
fn folder(arguments: &FeaturesArgs) -> Result<RunDir> {
    if let Some(out) = &arguments.out {
        return RunDir::create(Some(out));
    }
    let parent = arguments.run.join("features");
    let mut stem = arguments.image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    match arguments.stage {
        Stage::Conv => stem.push_str("-conv"),
        Stage::Norm => stem.push_str("-norm"),
        Stage::Relu => {}
    }
    if arguments.weights == Which::Last {
        stem.push_str("-last");
    }
    RunDir::below(&parent, &stem)
}
