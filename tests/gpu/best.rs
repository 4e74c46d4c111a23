//! Which epoch is the best, where images come and go between epochs.

use std::cell::Cell;
use std::collections::BTreeSet;

use convscope::data::drawn::{Drawn, Subject};
use convscope::data::{Images, Subset};
use convscope::gpu::Kernels;
use convscope::nn::checkpoint::{Checkpoint, Meta, Weights};
use convscope::nn::{Architecture, Network, Strided};
use convscope::nn::{Keep, Model};
use convscope::train::{Best, Trainer};
use libtest_mimic::Trial;

use crate::common::trial;
use crate::vanishing::Vanishing;
use crate::{gpu_with, recipe};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("best::epochs_are_compared_on_the_same_images", epochs_are_compared_on_the_same_images),
        trial("best::judging_other_weights_leaves_training_alone", judging_other_weights_leaves_training_alone),
    ]
}

const SIDE: usize = 20;

fn drawn() -> Drawn {
    Drawn::new(Subject::Pets, 0, 0, 100, SIDE as u32, 1 << 20)
}

/// So many cats, and behind them so many dogs.
fn pets(drawn: &Drawn, cats: usize, dogs: usize) -> Vanishing<Subset<'_>> {
    let of = |class| (0..drawn.len()).filter(move |&index| drawn.label(index) == class);
    Vanishing::new(Subset::new(drawn, of(0).take(cats).chain(of(1).take(dogs)).collect()))
}

fn architecture() -> Architecture {
    Strided { channels: vec![4, 4], ..Strided::dogs_vs_cats(SIDE, 2) }.into()
}

fn network() -> Network {
    architecture().build().unwrap()
}

/// Runs a test with a trainer.
fn with_trainer(test: impl FnOnce(&mut Trainer)) {
    let gpu = gpu_with(Kernels::Plain);
    let model = Model::new(gpu, &network(), 5, Keep::Needed).unwrap();
    test(&mut Trainer::new(gpu, &model, &Weights::initial(&network(), 1), recipe(), |_, _| {}).unwrap());
}

/// Weights of a network that always names one class.
fn always(class: usize) -> Checkpoint {
    let mut weights = Weights::initial(&network(), 3);
    let bias = weights.tensors.values_mut().rfind(|values| values.len() == 2).expect("the last layer has a bias");
    *bias = vec![0.0; 2];
    bias[class] = 100.0;
    let classes = vec!["cat".into(), "dog".into()];
    let meta = Meta {
        architecture: architecture(),
        classes,
        preparation: Default::default(),
        epoch: 1,
        drawn: true,
        made_by: None,
        val_loss: None,
    };
    Checkpoint { meta, network: network(), weights }
}

fn epochs_are_compared_on_the_same_images() {
    let drawn = drawn();
    let images = pets(&drawn, 8, 4);
    with_trainer(|trainer| {
        let later = Cell::new(0);
        // Whether a network that always names `then` takes the place of one that always names a cat, when only some of the
        // images are there any more.
        let beaten = |then: usize, present: &dyn Fn(usize) -> bool| {
            images.only(|_| true);
            let first = always(0);
            let (val, _) = trainer.evaluate_others(&first.weights, &images, &mut |_| {}).unwrap();
            assert_eq!((val.correct, val.seen), (8, 12));
            images.only(present);
            let (val_then, lost) = trainer.evaluate_others(&always(then).weights, &images, &mut |_| {}).unwrap();
            let lost = lost.into_iter().map(|lost| lost.file).collect();
            later.set(val_then.correct);
            let mut best = Best { val, lost: BTreeSet::new(), checkpoint: first };
            best.is_beaten_by(&val_then, &lost, trainer, &images).unwrap()
        };
        assert!(!beaten(1, &|_| true), "4 of 12 are less than 8");
        assert!(!beaten(0, &|_| true), "the same is no better");
        // 4 of the 6 that are left against 2 of them, though 4 are less than the 8 of before.
        assert!(beaten(1, &|index| index >= 6));
        assert_eq!(later.get(), 4);
        // 8 of 8 against 8 of 12 before, but against 8 of the same 8.
        assert!(!beaten(0, &|index| index < 8));
        assert_eq!(later.get(), 8);
        assert!(!beaten(1, &|index| index < 8), "0 of 8");
    });
}

fn judging_other_weights_leaves_training_alone() {
    let drawn = drawn();
    let images = pets(&drawn, 7, 7);
    let train = |judge_between: bool| {
        let mut weights = None;
        with_trainer(|trainer| {
            for epoch in 1..=3 {
                trainer.train(&images, epoch, &mut |_| {}).unwrap();
                if judge_between {
                    let (val, _) = trainer.evaluate_others(&always(1).weights, &images, &mut |_| {}).unwrap();
                    assert_eq!((val.correct, val.seen), (7, 14));
                }
            }
            weights = Some(trainer.weights().unwrap());
        });
        weights.unwrap()
    };
    assert_eq!(train(true), train(false));
}
