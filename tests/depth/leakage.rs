//! What a unit reads, and what it does not learn from.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Mutex;

use clap::Parser;
use convscope::cli::{Cli, Command};
use convscope::data::Images;
use convscope::data::drawn::{Drawn, Subject};
use convscope::data::split::{Distinct, Split};
use convscope::gpu::Kernels;
use convscope::gpu::{AdapterChoice, Gpu};
use convscope::nn::checkpoint::Weights;
use convscope::nn::{Keep, Model};
use convscope::study::unit::{self, Unit, UnitResult};
use convscope::study::{Candidate, Identity};
use convscope::train::Trainer;
use libtest_mimic::Trial;

use crate::common::trial;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("a_unit_reads_no_image_of_the_test_set", a_unit_reads_no_image_of_the_test_set),
        trial("a_unit_learns_nothing_from_the_fold_it_scores", a_unit_learns_nothing_from_the_fold_it_scores),
    ]
}

const SIZE: u32 = 24;
const UNIT: (usize, usize) = (2, 1);

/// Drawn pets that remember which of them were read, some of them with the other class's label or all black.
struct Watched {
    pets: Drawn,
    read: Mutex<BTreeSet<usize>>,
    mislabelled: Vec<usize>,
    blackened: Vec<usize>,
}

impl Watched {
    fn new() -> Self {
        let pets = Drawn::new(Subject::Pets, 0, 0, 60, SIZE, 1 << 20);
        Self { pets, read: Mutex::default(), mislabelled: Vec::new(), blackened: Vec::new() }
    }

    fn split(&self) -> Split {
        let classes = ["cat", "dog"].map(String::from);
        let distinct = Distinct::find(&self.pets, &classes).unwrap();
        Split::new(&self.pets, &distinct.kept, &classes, [3, 2], 0).unwrap()
    }
}

impl Images for Watched {
    fn len(&self) -> usize {
        self.pets.len()
    }

    fn size(&self) -> u32 {
        SIZE
    }

    fn label(&self, index: usize) -> u32 {
        let label = self.pets.label(index);
        if self.mislabelled.contains(&index) { 1 - label } else { label }
    }

    fn name(&self, index: usize) -> String {
        self.pets.name(index)
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        self.read.lock().unwrap().insert(index);
        let pixels = self.pets.pixels(index)?;
        Ok(if self.blackened.contains(&index) { vec![0; pixels.len()].into() } else { pixels })
    }
}

/// Carries out units of a small network, whose trainer they share.
struct Runner<'a> {
    candidate: &'a Candidate,
    identity: &'a Identity,
    trainer: Trainer<'a>,
    split: &'a Split,
}

impl Runner<'_> {
    fn run(&mut self, images: &Watched) -> UnitResult {
        let unit = Unit { candidate: self.candidate.name.clone(), repeat: UNIT.0, fold: UNIT.1 };
        let (made_by, mut told) = ((self.identity, ""), Vec::new());
        let mut progress = |images| told.push(images);
        let result =
            unit::run(&mut self.trainer, self.candidate, &unit, made_by, images, self.split, &mut progress).unwrap();
        // Each epoch's images, then those that are scored.
        let (learned, epochs) = (result.learned_from, self.identity.settings.training.epochs);
        assert_eq!(result.train_loss.len(), epochs);
        assert!(told.is_sorted() && (1..=epochs).all(|epoch| told.contains(&(epoch * learned))), "{told:?}");
        assert_eq!(told.last(), Some(&(epochs * learned + result.scores.images.len())));
        result
    }
}

/// Makes a runner for `test`. The plain kernels compile fastest.
fn with_runner(split: &Split, test: impl FnOnce(&mut Runner<'_>)) {
    let gpu = pollster::block_on(Gpu::open(&AdapterChoice::Best)).unwrap().with_kernels(Kernels::Plain).unwrap();
    let options = "convscope depth --size 24 --batch 8 --channels 4,6 --epochs 2 --folds 3 --repeats 2";
    let Command::Depth(arguments) = Cli::parse_from(options.split_whitespace()).command else {
        unreachable!("the command is depth")
    };
    let settings = arguments.settings(2, Kernels::Plain);
    let candidate = settings.candidates().unwrap().remove(0);
    let model = Model::new(&gpu, &candidate.network, settings.training.batch, Keep::Needed).unwrap();
    let weights = Weights::initial(&candidate.network, 0);
    let trainer = Trainer::new(&gpu, &model, &weights, settings.recipe(0), |_, _| {}).unwrap();
    let identity = Identity { program: String::new(), data: String::new(), settings };
    test(&mut Runner { candidate: &candidate, identity: &identity, trainer, split });
}

fn a_unit_reads_no_image_of_the_test_set() {
    let images = Watched::new();
    let split = images.split();
    with_runner(&split, |runner| {
        let result = runner.run(&images);
        let read: Vec<usize> = images.read.lock().unwrap().iter().copied().collect();
        assert_eq!(read, split.dev, "all but the test set, and nothing else");
        assert_eq!(result.scores.images, split.parts(UNIT.0, UNIT.1).1);
        assert_eq!(result.learned_from + result.scores.images.len(), split.dev.len());
    });
}

/// Other labels and other pixels in the scored fold leave the training as it was, to the last bit.
fn a_unit_learns_nothing_from_the_fold_it_scores() {
    let mut images = Watched::new();
    let split = images.split();
    let (learned, scored) = split.parts(UNIT.0, UNIT.1);
    with_runner(&split, |runner| {
        let honest = runner.run(&images);
        let again = runner.run(&images);
        assert_eq!((&again.train_loss, &again.scores), (&honest.train_loss, &honest.scores), "a network starts anew");

        images.mislabelled = scored.clone();
        let mislabelled = runner.run(&images);
        let inverted: Vec<bool> = honest.scores.correct.iter().map(|correct| !correct).collect();
        assert_eq!(mislabelled.scores.correct, inverted, "the same predictions meet the other labels");
        assert_eq!(mislabelled.train_loss, honest.train_loss);

        images.mislabelled.clear();
        images.blackened = scored;
        assert_eq!(runner.run(&images).train_loss, honest.train_loss);
        // The same change to one image that is learned from does show.
        images.blackened = learned[..1].to_vec();
        assert_ne!(runner.run(&images).train_loss, honest.train_loss);
    });
}
