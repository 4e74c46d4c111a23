//! What may be added to plain training: averages of the weights, and the search for a learning rate.

use std::collections::{BTreeMap, BTreeSet};

use convscope::data::Subset;
use convscope::data::augment::AugmentOptions;
use convscope::data::drawn::{Drawn, Subject};
use convscope::gpu::Kernels;
use convscope::nn::checkpoint::Weights;
use convscope::nn::{Keep, Model, Network, Optimizer, StepOptions, Strided};
use convscope::train::lr_find::STEPS;
use convscope::train::{Recipe, Schedule, Trainer};
use libtest_mimic::Trial;

use crate::common::trial;
use crate::gpu_with;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("training::averages_are_those_of_the_weights", averages_are_those_of_the_weights),
        trial("training::rates_are_tried_until_the_loss_explodes", rates_are_tried_until_the_loss_explodes),
    ]
}

const SIDE: usize = 20;
const BATCH: usize = 6;

fn network() -> Network {
    Strided { channels: vec![4, 4], dropout: 0.2, ..Strided::dogs_vs_cats(SIDE, 2) }.build().unwrap()
}

fn drawn() -> Drawn {
    Drawn::new(Subject::Pets, 0, 0, 60, SIDE as u32, 1 << 20)
}

fn recipe(ema: Option<f64>) -> Recipe {
    Recipe {
        optimizer: Optimizer::Adam { weight_decay: 0.0 },
        lr: 0.01,
        schedule: Schedule::Constant,
        warmup: 0.0,
        step: StepOptions::default(),
        ema,
        seed: 1,
        augment: AugmentOptions { flip: true, ..AugmentOptions::default() },
    }
}

/// Of a batch an epoch, so that the weights after each step can be read.
fn averages_are_those_of_the_weights() {
    const DECAY: f64 = 0.75;
    let drawn = drawn();
    let images = Subset::new(&drawn, (0..BATCH).collect());
    let gpu = gpu_with(Kernels::Plain);
    let first = Weights::initial(&network(), 1);
    for frozen in [0, 1] {
        let models = [(); 2].map(|()| Model::new(gpu, &network(), BATCH, Keep::Needed).unwrap().with_frozen(frozen));
        let blocks = network().blocks()[..frozen].iter().map(|block| block.nodes.end).max().unwrap_or(0);
        let tensors = network().nodes()[..blocks]
            .iter()
            .flat_map(|node| [node.parameters(), node.statistics()].concat())
            .collect::<Vec<_>>();
        let stay: BTreeSet<String> = tensors.into_iter().map(|tensor| tensor.name).collect();
        let trainer = |model, ema| Trainer::new(gpu, model, &first, recipe(ema), |_, _| {}).unwrap();
        let (mut plain, mut averaged) = (trainer(&models[0], None), trainer(&models[1], Some(DECAY)));
        let mut runs = Vec::new();
        for _ in 0..2 {
            let mut average: BTreeMap<_, Vec<f64>> =
                first.tensors.iter().map(|(name, values)| (name, values.iter().map(|&v| v.into()).collect())).collect();
            for epoch in 1..=4 {
                let [own, others] =
                    [&mut plain, &mut averaged].map(|trainer| trainer.train(&images, epoch, &mut |_| {}).unwrap().0);
                assert_eq!(own, others, "training goes on from its own weights, not from the averages");
                let (own, others) = (plain.weights().unwrap(), averaged.weights().unwrap());
                assert_eq!(own.counters, others.counters);
                for (name, values) in &own.tensors {
                    let average = average.get_mut(name).unwrap();
                    for ((average, &value), &got) in average.iter_mut().zip(values).zip(&others.tensors[name]) {
                        *average = DECAY * *average + (1.0 - DECAY) * f64::from(value);
                        assert!(
                            (*average - f64::from(got)).abs() < 1e-6,
                            "{name}, epoch {epoch}: {got} is not {average}"
                        );
                    }
                    let moved = others.tensors[name] != first.tensors[name];
                    assert_eq!(moved, !stay.contains(name), "{name}, {frozen} blocks frozen");
                }
                // To judge others in between changes neither.
                averaged.evaluate_others(&first, &images, &mut |_| {}).unwrap();
                assert_eq!(averaged.weights().unwrap(), others);
                runs.push(others);
            }
            plain.restart(&first, recipe(None));
            averaged.restart(&first, recipe(Some(DECAY)));
        }
        assert!(runs[..4] == runs[4..], "it starts over as a new one would, bit for bit");
    }
}

fn rates_are_tried_until_the_loss_explodes() {
    let drawn = drawn();
    let gpu = gpu_with(Kernels::Plain);
    let model = Model::new(gpu, &network(), BATCH, Keep::Needed).unwrap();
    let first = Weights::initial(&network(), 1);
    let mut trainer = Trainer::new(gpu, &model, &first, recipe(None), |_, _| {}).unwrap();
    let mut seen = 0;
    let tried = trainer.find_rate(&drawn, &mut |steps| seen = steps).unwrap();
    assert!(tried.len() > 20 && tried.len() <= STEPS, "{} steps", tried.len());
    assert!(seen + 1 >= tried.len(), "{seen} of {}", tried.len());
    assert!((tried[0].lr, tried[0].step) == (1e-7, 1) && tried.windows(2).all(|pair| pair[0].lr < pair[1].lr));
    // The first loss is that of the untrained network.
    assert!((tried[0].loss - 2f64.ln()).abs() < 0.2, "{:?}", tried[0]);
    assert_eq!(tried[0].loss, tried[0].smoothed_loss);
    trainer.restart(&first, recipe(None));
    assert_eq!(trainer.find_rate(&drawn, &mut |_| {}).unwrap(), tried, "the same every time");
}
