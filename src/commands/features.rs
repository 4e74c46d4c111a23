//! `features`: the maps of a new image with the network of a run.

use anyhow::{Context, Result, anyhow};

use crate::cli::FeaturesArgs;
use crate::data::names::path_text;
use crate::explain::inspect::{self, Stage};
use crate::nn::checkpoint::Checkpoint;
use crate::nn::{Keep, Model};
use crate::reading::unusable;
use crate::report::FeaturesPage;
use crate::terminal::say;
use crate::train::run_dir::RunDir;
use crate::train::{REMEDY, Run, Which};

pub(super) fn features(arguments: &FeaturesArgs) -> Result<()> {
    let run = Run::open(&arguments.run)?;
    super::check_out(arguments.out.as_deref(), run.folder(), super::image_folders(&run, None))?;
    let Checkpoint { meta, network, weights } = run.checkpoint(arguments.weights)?;
    let shown = path_text(&arguments.image);
    let pixels = super::named_image(&arguments.image, run.fit()).map_err(|reason| anyhow!("{shown}: {reason}"))?;

    let validation = super::to_be_counted(&run, None);
    let said = super::say_standing(&run, arguments.weights, meta.epoch, validation.as_deref());
    let gpu = super::open(&arguments.device)?;
    let model = Model::new(&gpu, &network, 1, Keep::Everything)?;
    model.load(&gpu, &weights);
    let look = inspect::look(&gpu, &model, &pixels, arguments.stage)
        .with_context(|| unusable(&arguments.run.join(arguments.weights.file())))
        .context(REMEDY)?;

    let weights = super::weights_shown(&arguments.run, arguments.weights, meta.epoch);
    let mut notes = said.notes;
    if meta.drawn {
        notes.push(crate::report::DRAWN.to_string());
        say(format!("note: {}", crate::report::DRAWN));
    }
    let predicted = look.predicted();
    let page = FeaturesPage {
        image: &shown,
        input: &super::square(run.size(), pixels),
        prediction: (&meta.classes[predicted], look.probabilities[predicted]),
        truth: None,
        weights: &weights,
        notes: &notes,
        layers: &inspect::layers(&look, &network, arguments.stage),
        by: arguments.scale,
    };
    // Whatever cannot be drawn fails before there is a folder.
    let (text, sheets) = (page.page()?, page.sheets()?);
    let folder = folder(arguments)?;
    super::write_images(&folder, &sheets)?;
    // Last, so that it is there only with all that it speaks of.
    folder.write(super::INDEX, text.as_bytes())?;

    say(format!("{shown}: {} ({:.1} %)", meta.classes[predicted], 100.0 * look.probabilities[predicted]));
    let last = look.maps.len();
    let folder = folder.path().display();
    say(format!("wrote {folder}: index.html to open, and block-1.png to block-{last}.png without text"));
    Ok(())
}

/// Makes the folder for the page: `--out`, or a new one named after the image below the run's `features/`.
fn folder(arguments: &FeaturesArgs) -> Result<RunDir> {
    if let Some(out) = &arguments.out {
        return RunDir::create(Some(out));
    }
    let parent = arguments.run.join("features");
    let mut stem = super::stem(&arguments.image);
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
