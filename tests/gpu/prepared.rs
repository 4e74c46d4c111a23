//! Networks that are given other numbers than those from -1 to 1, and training images that are changed at random.

use convscope::data::augment::AugmentOptions;
use convscope::data::drawn::{Drawn, Subject};
use convscope::data::{Images, pixels};
use convscope::explain::changes::with_own_statistics;
use convscope::explain::inspect::{self, Stage};
use convscope::explain::learned::{Ascent, maximise, survey};
use convscope::explain::saliency::Completeness;
use convscope::explain::{Explanation, Lens, Options, methods};
use convscope::nn::checkpoint::Weights;
use convscope::nn::{Keep, Model, Network, Optimizer, Preparation, StepOptions, Strided};
use convscope::stats::standing;
use convscope::train::predictor::Predictor;
use convscope::train::{Recipe, Schedule, Trainer};
use libtest_mimic::Trial;
use pollster::block_on;

use crate::common::trial;
use crate::gpu;

const SIZE: usize = 32;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("prepared::other_numbers_change_nothing_where_the_weights_allow_for_them", same_whatever_the_numbers),
        trial("prepared::what_is_learned_from_is_changed_and_what_judges_is_not", changes_are_for_learning),
    ]
}

fn plain() -> Network {
    Strided { channels: vec![5, 6], hidden: 7, ..Strided::dogs_vs_cats(SIZE, 2) }.build().unwrap()
}

/// The same network for numbers by a normalisation, and weights that make the same of them as others make of numbers from -1 to 1:
/// what is a number x there is a x + b here, so that the first filters are divided by a, and the mean of the batch norm behind them is
/// moved by what b adds up to.
fn other(weights: &Weights) -> (Network, Weights) {
    let preparation = Preparation { normalize: "0.3,0.5,0.6,0.2,0.25,0.9".parse().unwrap(), resize_crop: None };
    let normalize = preparation.normalize;
    let mut weights = weights.clone();
    let mut moved = vec![0.0; 5];
    let filters = weights.tensors.get_mut("1.weight").unwrap();
    for (number, values) in filters.chunks_mut(9).enumerate() {
        let [mean, std] = [normalize.mean(), normalize.std()].map(|of| of[number % 3]);
        for value in values {
            *value /= 0.5 / std;
            moved[number / 3] += *value * (0.5 - mean) / std;
        }
    }
    let means = weights.tensors.get_mut("2.running_mean").unwrap();
    means.iter_mut().zip(moved).for_each(|(mean, moved)| *mean += moved);
    (plain().prepared(preparation), weights)
}

#[track_caller]
fn close(one: &[f32], other: &[f32], share: f32) {
    let largest = one.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    assert_eq!(one.len(), other.len());
    let apart = one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
    assert!(apart <= share * largest, "{apart} of {largest}");
}

/// Predictions, maps, what channels have learned: none of it may depend on what numbers a network is given, only on what it makes of
/// the image.
fn same_whatever_the_numbers() {
    let weights = Weights::initial(&plain(), 0);
    let (network, moved) = other(&weights);
    let images = Drawn::new(Subject::Pets, 0, 0, 9, SIZE as u32, 1 << 20);
    let both = [(plain(), weights), (network, moved)];

    let predicted = both.each_ref().map(|(network, weights)| {
        let predictor = Predictor::new(gpu(), network, 4, |_, _| ()).unwrap();
        predictor.load(weights);
        inspect::check_predictor(&predictor).unwrap();
        let mut all = Vec::new();
        predictor.predict(&images, false, |said, _| all.extend(said.into_iter().flat_map(|one| one.logits))).unwrap();
        all
    });
    close(&predicted[0], &predicted[1], 1e-5);
    assert!(predicted[0].iter().all(|&logit| logit != 0.0));

    let lenses = both.each_ref().map(|(network, weights)| {
        let lens = block_on(Lens::new(gpu(), network, 4, |_, _| ())).unwrap();
        lens.load(weights);
        lens.check_finite().unwrap();
        lens
    });
    let fill = |index: usize, place: &mut [f32]| pixels::to_tensor(&images.pixels(index).unwrap(), false, place);
    let seen = lenses.each_ref().map(|lens| block_on(lens.logits(9, fill)).unwrap().concat());
    close(&seen[0], &seen[1], 1e-5);
    close(&seen[1], &predicted[1], 1e-5);

    let order: Vec<usize> = (0..images.len()).collect();
    let surveys = lenses.each_ref().map(|lens| survey(lens, &images, &order, 2, |_| ()).unwrap());
    let means = surveys.each_ref().map(|survey| {
        let channels = survey.blocks.iter().flat_map(|block| &block.channels);
        channels.map(|channel| channel.mean as f32).collect::<Vec<_>>()
    });
    close(&means[0], &means[1], 1e-5);

    let made = lenses.each_ref().map(|lens| {
        let ascent = Ascent { steps: 6, ..Ascent::default() };
        maximise(lens, 0, &[0, 3], &ascent, |_| ()).unwrap()
    });
    for (one, other) in made[0].iter().zip(&made[1]) {
        close(&one.image, &other.image, 1e-3);
        close(&[one.start, one.value], &[other.start, other.value], 1e-3);
        assert!(other.value > other.start);
    }

    let own = both.each_ref().map(|(_, weights)| weights);
    let statistics = [0, 1].map(|number| {
        let fill = |index: usize, place: &mut [f32]| fill(index % 9, place);
        block_on(with_own_statistics(&lenses[number], own[number], fill, 0)).unwrap()
    });
    for name in ["2.running_var", "6.running_mean", "6.running_var"] {
        close(statistics[0].get(name), statistics[1].get(name), 1e-4);
    }

    let looks = both.each_ref().map(|(network, weights)| {
        let model = Model::new(gpu(), network, 1, Keep::Everything).unwrap();
        model.load(gpu(), weights);
        inspect::look(gpu(), &model, &images.pixels(0).unwrap(), Stage::Relu).unwrap()
    });
    looks[0].maps.iter().zip(&looks[1].maps).for_each(|(one, other)| close(one, other, 1e-4));

    let control = Weights::initial(&plain(), 1);
    let controls = [&control, &other(&control).1];
    let options =
        Options { against: None, methods: methods(&[1], true), means: None, standing: standing::Verdict::Unknown };
    let [one, other] = [0, 1].map(|number| {
        let pixels = images.pixels(0).unwrap();
        block_on(Explanation::new(&lenses[number], own[number], controls[number], &pixels, &options)).unwrap()
    });
    assert_eq!((one.image == other.image, one.input == other.input), (true, true), "the image is shown as it is");
    let empty = one.findings.iter().filter(|finding| finding.map.is_constant()).count();
    assert!(empty <= 2, "maps of what speaks for a class alone may be empty, and no others: {empty}");
    for (one, other) in one.findings.iter().zip(&other.findings) {
        assert_eq!(one.method, other.method);
        close(&one.map.values, &other.map.values, 1e-3);
        close(&one.control.values, &other.control.values, 1e-3);
        let scores =
            [one, other].map(|of| [of.trust.score.deletion, of.trust.score.insertion].map(|score| score as f32));
        close(&scores[0], &scores[1], 1e-3);
        if let (Some(Completeness { grey, .. }), Some(grey_too)) = (one.completeness, other.completeness) {
            close(&[grey as f32], &[grey_too.grey as f32], 1e-4);
        }
    }
}

/// A recipe that may change everything learns otherwise, and judges as one that changes nothing.
fn changes_are_for_learning() {
    let weights = Weights::initial(&plain(), 0);
    let images = Drawn::new(Subject::Pets, 0, 0, 24, SIZE as u32, 1 << 20);
    let all = AugmentOptions { flip: true, crop_scale: Some([0.3, 0.8]), rotate: 30.0, color_jitter: Some([0.4; 3]) };
    let [still, changed] = [AugmentOptions::default(), all].map(|augment| {
        let model = Model::new(gpu(), &plain(), 8, Keep::Needed).unwrap();
        let optimizer = Optimizer::Adam { weight_decay: 0.0 };
        let (schedule, step) = (Schedule::Constant, StepOptions::default());
        let recipe = Recipe { optimizer, lr: 1e-3, schedule, warmup: 0.0, step, ema: None, seed: 1, augment };
        let mut trainer = Trainer::new(gpu(), &model, &weights, recipe, |_, _| ()).unwrap();
        let before = trainer.logits(&images, &mut |_| ()).unwrap();
        let judged = trainer.evaluate(&images, &mut |_| ()).unwrap().0.loss();
        let learned = trainer.train(&images, 1, &mut |_| ()).unwrap().0.loss();
        (before, judged, learned)
    });
    assert_eq!((&still.0, still.1), (&changed.0, changed.1));
    assert_ne!(still.2, changed.2);
}
