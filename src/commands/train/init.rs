//! `train --init`: weights that training goes on from.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};

use crate::cli::{PreparationArgs, TrainArgs, path_from_root};
use crate::commands::import::PREPARED;
use crate::digest::Digest;
use crate::nn::checkpoint::{CheckpointError, Meta, Weights};
use crate::nn::{Network, Preparation};
use crate::reading::no_file;
use crate::terminal::say;
use crate::train::photo_list::{Content, Contents, PHOTOS, Photo, Use};
use crate::train::{Run, Training, check_preparation};

/// A file of weights.
pub(super) struct Init {
    /// Its path, from the root on.
    shown: String,
    bytes: Vec<u8>,
    /// How the images were prepared that the weights learned from; files of PyTorch do not say.
    preparation: Option<Preparation>,
    /// What the weights learned from, where the folder of their run tells.
    learned: Option<Learned>,
}

/// The photos that weights learned from.
struct Learned {
    /// The folder of their run.
    run: PathBuf,
    /// That run's.
    seed: u64,
    photos: Contents,
}

impl Learned {
    /// What lies beside a file of weights; nothing where it stands alone, or beside what is of another run.
    fn beside(file: &Path, meta: &Meta) -> Result<Option<Self>> {
        let Some(folder) = file.parent().filter(|folder| folder.join(PHOTOS).is_file()) else { return Ok(None) };
        let run = Run::open(folder)?;
        if run.imported().is_some() || run.id() != meta.made_by.as_deref() {
            return Ok(None);
        }
        let (run, seed, learned) = (folder.to_path_buf(), run.config()?.training.seed, run.photos()?.learned);
        Ok(learned.map(|photos| Self { run, seed, photos }))
    }
}

impl Init {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let shown = path_from_root(file);
        if let Some(problem) = no_file(file) {
            bail!("--init {shown}: {problem}");
        }
        let bytes = fs::read(file).with_context(|| format!("--init {shown}: cannot be read"))?;
        let meta = Meta::from_bytes(&bytes).ok();
        let learned = meta.as_ref().map_or(Ok(None), |meta| Learned::beside(Path::new(&shown), meta));
        let learned = learned
            .with_context(|| format!("--init {shown}: which photos these weights learned from cannot be read"))?;
        Ok(Self { shown, bytes, preparation: meta.map(|meta| meta.preparation), learned })
    }

    /// SHA-256 of the file.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
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

    /// Checks that none of the photos of a new run is to judge weights that have learned from it, as far as that is known.
    pub(super) fn check_judges(&self, photos: &[Photo]) -> Result<()> {
        let Some(Learned { run, seed, photos: learned }) = &self.learned else { return Ok(()) };
        let digests = |of: fn(&Content) -> Option<Digest>| learned.values().filter_map(of).collect::<BTreeSet<_>>();
        let (files, pixels) = (digests(|content| content.sha256), digests(|content| content.pixels));
        let judging: Vec<&Photo> = photos.iter().filter(|photo| photo.used == Use::Val).collect();
        let known = |photo: &&&Photo| files.contains(&photo.sha256) || pixels.contains(&photo.pixels);
        let seen: Vec<&&Photo> = judging.iter().filter(known).collect();
        let Some(first) = seen.first() else { return Ok(()) };
        bail!(
            "--init {}: of the {} validation photos these weights have learned from {} in the run {}, such as {}, and would look better \
             than they are: set the photos aside that judged that run, by the same --data, --val-share and --seed {seed}, or give others \
             with --val",
            self.shown,
            judging.len(),
            seen.len(),
            run.display(),
            first.file
        )
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

    /// Known by the file, or by the pixels.
    #[test]
    fn what_the_weights_learned_from_does_not_judge_them() {
        let photo = |name: &str, used| Photo {
            file: format!("cat/{name}.png"),
            class: "cat".into(),
            used,
            sha256: Digest::of(name),
            pixels: Digest::of(format!("pixels of {name}")),
        };
        let learned =
            [photo("a", Use::Train), photo("b", Use::Train)].map(|photo| (photo.file.clone(), photo.content()));
        let learned = Some(Learned { run: "runs/one".into(), seed: 7, photos: learned.into() });
        let init = Init { learned, ..init(&weights(Preparation::default())) };
        let mut photos = vec![photo("a", Use::Train), photo("c", Use::Val), photo("d", Use::Val), photo("e", Use::Val)];
        init.check_judges(&photos).unwrap();
        photos[2].pixels = Digest::of("pixels of b");
        photos[3].sha256 = Digest::of("a");
        let told = init.check_judges(&photos).unwrap_err().to_string();
        assert!(
            told.contains("of the 3 validation photos these weights have learned from 2 in the run runs/one"),
            "{told}"
        );
        assert!(told.contains("such as cat/d.png") && told.contains("--seed 7"), "{told}");
        Init { learned: None, ..init }.check_judges(&photos).unwrap();
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
