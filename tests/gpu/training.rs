//! What may be added to plain training: averages of the weights, and the search for a learning rate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use convscope::data::drawn::{Drawn, Subject};
use convscope::data::fit::Fit;
use convscope::data::folder::LabelledFile;
use convscope::data::photos::Photos;
use convscope::data::{Images, Subset};
use convscope::gpu::Kernels;
use convscope::nn::checkpoint::Weights;
use convscope::nn::{Keep, Model, Network, Optimizer, Strided};
use convscope::train::lr_find::STEPS;
use convscope::train::{Recipe, Trainer};
use libtest_mimic::Trial;
use pollster::block_on;

use crate::common::trial;
use crate::{gpu_with, recipe};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("training::averages_are_those_of_the_weights", averages_are_those_of_the_weights),
        trial("training::what_is_not_finite_first_is_named", what_is_not_finite_first_is_named),
        trial("training::a_loss_that_is_not_finite_moves_no_weight", a_loss_that_is_not_finite_moves_no_weight),
        trial("training::memory_for_photos_changes_no_weight", memory_changes_no_weight),
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
        let trainer = |model, ema| Trainer::new(gpu, model, &first, Recipe { ema, ..recipe() }, |_, _| {}).unwrap();
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
            plain.restart(&first, recipe());
            averaged.restart(&first, Recipe { ema: Some(DECAY), ..recipe() });
        }
        assert!(runs[..4] == runs[4..], "it starts over as a new one would, bit for bit");
    }
}

/// A network with a batch in it, on each set of kernels.
fn with_a_batch(kernels: Kernels, weights: &Weights) -> Model {
    let gpu = gpu_with(kernels);
    let model = Model::new(gpu, &network(), BATCH, Keep::Needed).unwrap();
    model.load(gpu, weights);
    let images: Vec<f32> =
        (0..BATCH * SIDE * SIDE * 4).map(|i| if i % 4 == 3 { 0.0 } else { (i % 7) as f32 - 3.0 }).collect();
    model.set_batch(gpu, &images, &[0, 1, 1, 0, 1, 0]);
    model.set_live(gpu, BATCH);
    model
}

fn what_is_not_finite_first_is_named() {
    let good = Weights::initial(&network(), 1);
    for kernels in crate::KERNELS {
        let gpu = gpu_with(kernels);
        let model = with_a_batch(kernels, &good);
        let first = |name: &str, value: f32| {
            let mut weights = good.clone();
            let values = weights.tensors.get_mut(name).unwrap();
            let last = values.len() - 1;
            values[last] = value;
            model.load(gpu, &weights);
            block_on(model.first_not_finite(gpu)).unwrap()
        };
        let place = |name: &str| {
            let node =
                network().nodes().iter().find(|node| name.starts_with(&format!("{}.", node.key))).unwrap().place();
            format!("the weights {name} of {node}")
        };
        for parameter in network().parameters() {
            let name = parameter.name;
            assert_eq!(first(&name, 0.25), None, "{name}");
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!(first(&name, broken), Some(place(&name)), "{kernels}");
            }
        }
        // Weights that are finite, and yet too large.
        let network = network();
        let conv = &network.nodes()[network.blocks()[1].conv - 1];
        let mut weights = good.clone();
        weights.tensors.get_mut(&format!("{}.weight", conv.key)).unwrap().fill(f32::MAX);
        model.load(gpu, &weights);
        let found = block_on(model.first_not_finite(gpu)).unwrap().unwrap();
        assert_eq!(found, format!("the output of {}", conv.place()), "{kernels}");
    }
}

/// Neither in its step nor in the next ones, whose numbers are not kept.
fn a_loss_that_is_not_finite_moves_no_weight() {
    let first = Weights::initial(&network(), 1);
    for optimizer in [Optimizer::Adam { weight_decay: 0.1 }, Optimizer::Sgd { momentum: 0.9, weight_decay: 0.1 }] {
        let gpu = gpu_with(Kernels::Plain);
        let model = with_a_batch(Kernels::Plain, &first);
        let step = model.training_step(gpu, &optimizer);
        let run = |number| {
            model.set_step(gpu, &optimizer, 0.01, BATCH, 0, number);
            step.submit(gpu).unwrap();
            let weights = block_on(model.weights(gpu, 0)).unwrap().tensors;
            network().parameters().into_iter().map(|one| weights[&one.name].clone()).collect::<Vec<_>>()
        };
        run(1);
        assert_eq!(block_on(model.first_broken_step(gpu)).unwrap(), 0);
        // Logits that overflow.
        let mut broken = first.clone();
        let [.., _, hidden_bias, last_weight, _] = &network().parameters()[..] else {
            panic!("there are linear layers")
        };
        broken.tensors.get_mut(&hidden_bias.name).unwrap().fill(10.0);
        broken.tensors.get_mut(&last_weight.name).unwrap().fill(f32::MAX);
        model.exchange(gpu, &broken);
        for number in 2..5 {
            let stayed = network().parameters().iter().map(|one| broken.tensors[&one.name].clone()).collect::<Vec<_>>();
            assert_eq!(run(number), stayed, "step {number}");
            assert_eq!(block_on(model.first_broken_step(gpu)).unwrap(), 2);
            assert_eq!(block_on(model.metrics(gpu)).unwrap().broken as usize, BATCH * (number as usize - 1));
        }
        // Once the metrics are cleared, weights move again.
        model.clear_metrics(gpu);
        model.exchange(gpu, &first);
        let start = network().parameters().iter().map(|one| first.tensors[&one.name].clone()).collect::<Vec<_>>();
        assert_ne!(run(5), start);
    }
}

/// Photos that are kept, of which some are kept, and that are decoded in every epoch.
fn memory_changes_no_weight() {
    let drawn = drawn();
    let folder = tempfile::tempdir().unwrap();
    let file = |index: usize| {
        let path = PathBuf::from(format!("{index}.png"));
        let pixels = drawn.pixels(index).unwrap().into_owned();
        let image = image::RgbImage::from_raw(SIDE as u32, SIDE as u32, pixels).unwrap();
        image.save(folder.path().join(&path)).unwrap();
        LabelledFile { path, class: drawn.label(index) }
    };
    let files: Vec<LabelledFile> = (0..20).map(file).collect();
    let gpu = gpu_with(Kernels::Plain);
    let first = Weights::initial(&network(), 1);
    let weights = |bytes: usize| {
        let (photos, _) = Photos::read(files.clone(), folder.path(), Fit::to(SIDE as u32), bytes, &|_| ());
        let model = Model::new(gpu, &network(), BATCH, Keep::Needed).unwrap();
        let mut trainer = Trainer::new(gpu, &model, &first, recipe(), |_, _| {}).unwrap();
        for epoch in 1..=2 {
            trainer.train(&photos, epoch, &mut |_| {}).unwrap();
        }
        trainer.weights().unwrap()
    };
    let kept = weights(usize::MAX);
    assert!(kept.tensors != first.tensors);
    for images in [0, 7] {
        assert!(weights(images * SIDE * SIDE * 3) == kept, "{images} images are kept");
    }
}

fn rates_are_tried_until_the_loss_explodes() {
    let drawn = drawn();
    let gpu = gpu_with(Kernels::Plain);
    let model = Model::new(gpu, &network(), BATCH, Keep::Needed).unwrap();
    let first = Weights::initial(&network(), 1);
    let mut trainer = Trainer::new(gpu, &model, &first, recipe(), |_, _| {}).unwrap();
    let mut seen = 0;
    let tried = trainer.find_rate(&drawn, &mut |steps| seen = steps).unwrap();
    assert!(tried.len() > 20 && tried.len() <= STEPS, "{} steps", tried.len());
    assert!(seen + 1 >= tried.len(), "{seen} of {}", tried.len());
    assert!((tried[0].lr, tried[0].step) == (1e-7, 1) && tried.windows(2).all(|pair| pair[0].lr < pair[1].lr));
    // The first loss is that of the untrained network.
    assert!((tried[0].loss - 2f64.ln()).abs() < 0.2, "{:?}", tried[0]);
    assert_eq!(tried[0].loss, tried[0].smoothed_loss);
    trainer.restart(&first, recipe());
    assert_eq!(trainer.find_rate(&drawn, &mut |_| {}).unwrap(), tried, "the same every time");
}
