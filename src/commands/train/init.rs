//! `train --init`: weights that training goes on from.

use std::fs;
use std::path::Path;

use anyhow::{Context, Error, Result, bail};

use crate::cli::{PreparationArgs, TrainArgs, path_from_root};
use crate::commands::import::PREPARED;
use crate::nn::checkpoint::{CheckpointError, Meta, Weights};
use crate::nn::{Network, Preparation};
use crate::reading::no_file;
use crate::terminal::say;
use crate::train::{Training, check_preparation};

/// A file of weights.
pub(super) struct Init {
    /// Its path, from the root on.
    shown: String,
    bytes: Vec<u8>,
    /// How the images were prepared that the weights learned from; files of PyTorch do not say.
    preparation: Option<Preparation>,
}

impl Init {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let shown = path_from_root(file);
        if let Some(problem) = no_file(file) {
            bail!("--init {shown}: {problem}");
        }
        let bytes = fs::read(file).with_context(|| format!("--init {shown}: cannot be read"))?;
        let preparation = Meta::from_bytes(&bytes).ok().map(|meta| meta.preparation);
        Ok(Self { shown, bytes, preparation })
    }

    /// Has images prepared as for these weights where no option says otherwise.
    ///
    /// # Errors
    /// When that is impossible at the size of the images.
    pub(super) fn prepare(&self, arguments: &mut TrainArgs) -> Result<()> {
        let Some(own) = self.preparation else { return Ok(()) };
        let PreparationArgs { normalize, resize_crop } = arguments.preparation;
        // Drawn images are not scaled.
        let photos = arguments.data.is_some();
        let prepared = PreparationArgs {
            normalize: normalize.or(Some(own.normalize)),
            resize_crop: resize_crop.or(own.resize_crop.filter(|_| photos)),
        };
        check_preparation(&prepared.preparation(), arguments.model.size).map_err(|error| {
            error.typed().context(format!(
                "--init {}: these weights learned from images prepared by {own}; say by --resize-crop how photos are to be scaled now",
                self.shown
            ))
        })?;
        arguments.preparation = prepared;
        Ok(())
    }

    /// The weights that training starts from, `random` being those that it would start from without. Says what they are.
    pub(super) fn weights(&self, training: &Training, network: &Network, random: &Weights) -> Result<Weights> {
        let Self { shown, bytes, .. } = self;
        let (weights, anew) = Weights::to_go_on_from(bytes, network, random).map_err(|error| {
            let problem = match error {
                CheckpointError::Changed(_) => "cannot be used",
                CheckpointError::Unreadable(_) => "name a .safetensors file, such as best.safetensors of a run",
                _ => "its weights are not those of this network: choose theirs by --model or --channels",
            };
            Error::new(error).context(format!("--init {shown}: {problem}"))
        })?;
        say(format!("start    from {shown}"));
        if anew {
            say(format!("         but for the last layer, which starts anew for these {} classes", network.classes()));
        }
        if training.freeze > 0 {
            let blocks = if training.freeze == 1 {
                "block 1 stays".into()
            } else {
                format!("blocks 1 to {} stay", training.freeze)
            };
            say(format!("         {blocks} as in that file"));
        }
        Ok(weights)
    }

    /// What is to be said of how images are prepared; `said` is whether --normalize was typed.
    pub(super) fn told(&self, now: Preparation, said: bool) -> Option<String> {
        match self.preparation {
            Some(own) if own != now => Some(format!(
                "note: these weights have learned from images prepared by {own}, and now get images prepared by {now}"
            )),
            Some(own) => (!own.is_usual()).then(|| format!("         images are prepared as for these weights: {own}")),
            None => (!said).then(|| format!("note: {PREPARED}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::nn::checkpoint::Checkpoint;
    use crate::nn::{Normalize, StateDict, Strided};

    const SIZE: usize = 24;

    fn arguments(options: &[&str]) -> TrainArgs {
        let typed = ["convscope", "train", "--size", "24", "--channels", "4,4"].iter().chain(options);
        let Command::Train(arguments) = Cli::try_parse_from(typed).unwrap().command else {
            unreachable!("it is train")
        };
        arguments.check().unwrap();
        *arguments
    }

    /// Weights that learned from images prepared like this.
    fn weights(preparation: Preparation) -> Vec<u8> {
        let meta = Meta {
            architecture: Strided { channels: vec![4, 4], ..Strided::dogs_vs_cats(SIZE, 2) }.into(),
            classes: ["cat", "dog"].map(String::from).to_vec(),
            preparation,
            epoch: 1,
            drawn: false,
            made_by: None,
            val_loss: None,
        };
        Checkpoint::initial(meta).to_bytes()
    }

    fn init(bytes: &[u8]) -> Init {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights.safetensors");
        fs::write(&file, bytes).unwrap();
        Init::read(&file).unwrap()
    }

    #[test]
    fn images_are_prepared_as_for_the_weights_unless_options_say_otherwise() {
        let of = |normalize, resize_crop| Preparation { normalize, resize_crop };
        let [usual, own] = [Preparation::default(), of(Normalize::IMAGENET, Some(28))];
        for (from, options, expected) in [
            (own, &["--data", "photos"][..], own),
            (own, &[], of(Normalize::IMAGENET, None)),
            (own, &["--data", "photos", "--normalize", "half"], of(Normalize::HALF, Some(28))),
            (own, &["--data", "photos", "--resize-crop", "30"], of(Normalize::IMAGENET, Some(30))),
            (own, &["--normalize", "half"], usual),
            (usual, &["--data", "photos"], usual),
            (usual, &["--normalize", "imagenet"], of(Normalize::IMAGENET, None)),
        ] {
            let mut arguments = arguments(options);
            let init = init(&weights(from));
            init.prepare(&mut arguments).unwrap();
            let now = arguments.training(2).preparation;
            assert_eq!(now, expected, "{options:?}");
            let told = init.told(now, arguments.preparation.normalize.is_some());
            let expected = match (from == now, from == usual) {
                (true, true) => None,
                (true, false) => Some(format!("         images are prepared as for these weights: {from}")),
                (false, _) => Some(format!(
                    "note: these weights have learned from images prepared by {from}, and now get images prepared by {now}"
                )),
            };
            assert_eq!(told, expected, "{options:?}");
        }
    }

    #[test]
    fn files_of_pytorch_do_not_say_how_images_were_prepared() {
        let bytes = weights(Preparation { normalize: Normalize::IMAGENET, resize_crop: None });
        let init = init(&StateDict::from_bytes(&bytes).unwrap().to_safetensors());
        for (options, normalize) in [(&[][..], None), (&["--normalize", "imagenet"], Some(Normalize::IMAGENET))] {
            let mut arguments = arguments(options);
            init.prepare(&mut arguments).unwrap();
            assert_eq!(arguments.preparation.normalize, normalize);
            let told = init.told(arguments.training(2).preparation, normalize.is_some());
            assert_eq!(told, normalize.is_none().then(|| format!("note: {PREPARED}")));
        }
    }

    #[test]
    fn a_size_beyond_what_photos_were_scaled_to_is_told() {
        let init = init(&weights(Preparation { normalize: Normalize::HALF, resize_crop: Some(28) }));
        let large = |options: &[&str]| {
            let mut arguments = arguments(options);
            arguments.model.size = 32;
            arguments
        };
        let told = format!("{:#}", init.prepare(&mut large(&["--data", "photos"])).unwrap_err());
        assert!(
            told.starts_with("--init ") && told.contains("prepared by --normalize half --resize-crop 28"),
            "{told}"
        );
        assert!(told.contains("--resize-crop 28: expected a number of pixels from the side"), "{told}");
        init.prepare(&mut large(&["--data", "photos", "--resize-crop", "32"])).unwrap();
    }
}
