//! The table of layers against what was planted.

use std::borrow::Cow;

use convscope::data::Images;
use convscope::data::drawn::{Drawn, Subject};
use convscope::data::pixels::{CHANNELS, to_tensor};
use convscope::explain::Lens;
use convscope::explain::changes::ResetVerdict;
use convscope::nn::checkpoint::Weights;
use convscope::nn::{Keep, Model, Optimizer};
use convscope::nn::{Network, Strided};
use convscope::study::layers::{Enough, Gain, Layers, Reading, Repeatability, Subjects, study};
use libtest_mimic::Trial;
use pollster::block_on;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::trial;
use crate::explain::{planted, trained};
use crate::gpu;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("layers::batches_do_not_matter", batches_do_not_matter),
        trial("layers::an_idle_block_is_not_missed", || idle_block(0)),
        // Some minutes: cargo test --release --test gpu layers -- --ignored --nocapture
        trial("layers::nothing_is_claimed_where_nothing_was_learned", || nothing_learned(1, 200)),
        // Some minutes: cargo test --test gpu layers::nothing -- --ignored --nocapture
        trial("layers::nothing_is_claimed_twenty_networks", || nothing_learned(20, 400)).with_ignored_flag(true),
        trial("layers::an_idle_block_is_not_missed_ten_seeds", || (0..10).for_each(idle_block)).with_ignored_flag(true),
    ]
}

/// Side of the planted images.
const SIDE: usize = 40;
/// Images that the table is made of: with fewer, a loss of a point could not be ruled out.
const IMAGES: u32 = 800;

/// Images of noise, of which one class has a patch.
struct Planted {
    pixels: Vec<Vec<u8>>,
    labels: Vec<u32>,
}

impl Planted {
    fn new(seed: u64, labels: Vec<u32>) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let byte = |value: f32| ((value + 1.0) / 2.0 * 255.0).round() as u8;
        let image = |&label: &u32| -> Vec<u8> {
            let (image, _) = planted(&mut random, SIDE, label);
            image.chunks(4).flat_map(|pixel| [byte(pixel[0]), byte(pixel[1]), byte(pixel[2])]).collect()
        };
        Self { pixels: labels.iter().map(image).collect(), labels }
    }

    /// Both classes in turn.
    fn in_turn(seed: u64, count: u32) -> Self {
        Self::new(seed, (0..count).map(|index| index % 2).collect())
    }

    /// One class after the other, as photos lie.
    fn class_by_class(seed: u64, count: u32) -> Self {
        Self::new(seed, (0..count).map(|index| index * 2 / count).collect())
    }
}

impl Images for Planted {
    fn len(&self) -> usize {
        self.pixels.len()
    }

    fn size(&self) -> u32 {
        SIDE as u32
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn name(&self, index: usize) -> String {
        format!("planted {index}")
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        Ok(Cow::Borrowed(&self.pixels[index]))
    }
}

/// A block that training has hardly moved must not be missed when put back to its start, one that training has made must be in
/// use, and the controls must be at chance.
fn idle_block(seed: u64) {
    let network = Strided { channels: vec![8, 16, 32], hidden: 16, dropout: 0.0, ..Strided::dogs_vs_cats(SIDE, 2) }
        .build()
        .unwrap();
    let weights = trained(&network, 32, 150, &mut ChaCha8Rng::seed_from_u64(100 + seed));
    // The start that the study is told: the true one, but for block 2, which lies within 1 % of where it ended.
    let mut initial = Weights::initial(&network, 0);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for key in ["5.weight", "6.weight", "6.bias"] {
        let ended = weights.get(key).iter().map(|value| value * random.random_range(0.99..1.01));
        let ended: Vec<f32> = ended.collect();
        initial.tensors.insert(key.into(), ended);
    }
    let lens = block_on(Lens::new(gpu(), &network, 32, |_, _| {})).unwrap();
    let (held_out, unlabelled) = (Planted::in_turn(1000 + seed, IMAGES), Planted::class_by_class(2000 + seed, 640));
    let classes = &["one", "other"].map(String::from);
    let subjects = Subjects { held_out: &held_out, unlabelled: &unlabelled, classes, most: IMAGES as usize, epochs: 1 };
    let (table, _) = study(&lens, ("last.safetensors", &weights), &initial, &subjects, seed, |_| {}).unwrap();
    let Layers { images, accuracy, accuracy_anew, layers, .. } = &table;
    let resets: Vec<_> = layers.iter().map(|layer| (layer.reset, layer.redrawn.verdict)).collect();
    println!("seed {seed}: accuracy {accuracy:.1} %, resets {resets:.1?}");
    assert_eq!(*images, IMAGES as usize);
    assert!(*accuracy > 95.0 && *accuracy_anew > 95.0, "{accuracy} {accuracy_anew}");
    assert_eq!(layers[1].reset.verdict, ResetVerdict::NotMissed, "{resets:?}");
    for block in [0, 2] {
        assert_eq!(layers[block].reset.verdict, ResetVerdict::InUse, "block {}: {resets:?}", block + 1);
    }
    assert_eq!(layers[1].redrawn.verdict, ResetVerdict::InUse, "{resets:?}");
    for layer in layers {
        // The mean of five times 800 fair coins, which are not wholly independent: one time's standard deviation is 1.8.
        for probe in [layer.pooled, layer.grid] {
            assert!((44.0..56.0).contains(&probe.permuted), "block {}: {probe:?}", layer.block);
        }
        let Repeatability { trained, .. } = layer.repeatability;
        assert!(trained > 0.9 && layer.repeatability_noisy.trained < trained, "{layer:?}");
        assert_eq!(layer.dead + layer.quiet, 0, "block {}", layer.block);
        let full = layer.ablation.curve.last().unwrap();
        assert_eq!((full.0, full.1 > 95.0), (layer.output[0], true), "{:?}", layer.ablation);
        assert!(layer.ablation.curve[0].1 < 60.0, "without any channel the network guesses: {:?}", layer.ablation);
        assert!(layer.ablation.missed.unwrap() > 0, "{:?}", layer.ablation);
        let Enough { at_least, at_most } = layer.ablation.enough.unwrap();
        assert!(0 < at_least && at_least <= at_most && at_most <= layer.output[0], "{:?}", layer.ablation);
        let learned = layer.grid.trained - layer.grid.initial;
        assert!((layer.grid.learned.points - learned).abs() < 1e-9, "{layer:?}");
    }
    let [first, _, last] = [0, 1, 2].map(|number| layers[number].pooled);
    assert!(last.trained > 90.0 && last.initial < last.trained && first.gain.is_none(), "{first:?} {last:?}");
    assert!(last.gain.unwrap().low <= last.gain.unwrap().points, "{last:?}");
    assert_eq!(layers[2].grid.learned.verdict, Reading::More, "training made it: {last:?}");
    let answer = table.answer().unwrap();
    assert!(answer.starts_with("In use: ") && answer.contains("block 2"), "{answer}");
    assert_eq!(
        serde_json::from_slice::<Layers>(&serde_json::to_vec(&table).unwrap()).unwrap().answer().unwrap(),
        answer
    );
}

/// Neither how many images the device takes at once nor the order of unlabelled images decides what comes out.
fn batches_do_not_matter() {
    let network =
        Strided { channels: vec![8, 16], hidden: 16, dropout: 0.0, ..Strided::dogs_vs_cats(SIDE, 2) }.build().unwrap();
    let weights = Weights::initial(&network, 1);
    let (held_out, unlabelled) = (Planted::in_turn(1, 60), Planted::in_turn(2, 90));
    let classes = &["one", "other"].map(String::from);
    let subjects = Subjects { held_out: &held_out, unlabelled: &unlabelled, classes, most: 60, epochs: 1 };
    let [even, odd] = [32, 9].map(|batch| {
        let lens = block_on(Lens::new(gpu(), &network, batch, |_, _| {})).unwrap();
        study(&lens, ("initial", &weights), &weights, &subjects, 0, |_| {}).unwrap().0
    });
    assert!(!even.conclusive, "a network that was not trained guesses: {}", even.accuracy);
    for (even, odd) in even.layers.iter().zip(&odd.layers) {
        assert!((even.repeatability.trained - odd.repeatability.trained).abs() < 1e-3, "{even:?} {odd:?}");
        assert!((even.effective_rank - odd.effective_rank).abs() < 1e-2, "{even:?} {odd:?}");
        assert_eq!((even.pooled.trained, even.grid.trained), (odd.pooled.trained, odd.grid.trained));
        assert_eq!(even.reset.verdict, ResetVerdict::Undecided, "nothing follows from what a guessing network loses");
    }
}

/// Drawn pets whose labels, of as many of each class, were drawn by lot: nothing can be learned of them but by heart.
struct Relabelled {
    pets: Drawn,
    labels: Vec<u32>,
}

impl Relabelled {
    /// `count` pets of drawing `first` and after.
    fn new(seed: u64, first: u64, count: usize) -> Self {
        let mut labels: Vec<u32> = (0..count as u32).map(|index| index % 2).collect();
        labels.shuffle(&mut ChaCha8Rng::seed_from_u64(seed ^ first));
        Self { pets: Drawn::new(Subject::Pets, seed, first, count, PET_SIDE as u32, 1 << 25), labels }
    }
}

impl Images for Relabelled {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn size(&self) -> u32 {
        self.pets.size()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn name(&self, index: usize) -> String {
        self.pets.name(index)
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        self.pets.pixels(index)
    }
}

/// Side of the drawn pets, in pixels.
const PET_SIDE: usize = 32;

/// Weights after learning these images by heart, in `steps` steps over all of them, and the accuracy on them.
fn learned_by_heart(network: &Network, images: &Relabelled, steps: u32, seed: u64) -> (Weights, f64) {
    let model = Model::new(gpu(), network, images.len(), Keep::Needed).unwrap();
    model.load(gpu(), &Weights::initial(network, seed));
    let adam = Optimizer::Adam { weight_decay: 0.0 };
    let step = model.training_step(gpu(), &adam);
    let mut batch_images = vec![0.0; images.len() * PET_SIDE * PET_SIDE * CHANNELS];
    for (index, place) in batch_images.chunks_mut(PET_SIDE * PET_SIDE * CHANNELS).enumerate() {
        to_tensor(&images.pixels(index).unwrap(), false, place);
    }
    model.set_batch(gpu(), &batch_images, &images.labels);
    for number in 1..=steps {
        if number == steps {
            model.clear_metrics(gpu());
        }
        model.set_step(gpu(), &adam, 3e-3, images.len(), seed, number);
        step.submit(gpu()).unwrap();
    }
    let accuracy = block_on(model.metrics(gpu())).unwrap().accuracy();
    (block_on(model.weights(gpu(), steps.into())).unwrap(), accuracy)
}

/// Networks that learned random labels by heart, and untrained ones: what the tables and their answers claim of them.
fn nothing_learned(networks: u64, images: usize) {
    let network = Strided { channels: vec![8, 16, 32], hidden: 16, dropout: 0.0, ..Strided::dogs_vs_cats(PET_SIDE, 2) }
        .build()
        .unwrap();
    let lens = block_on(Lens::new(gpu(), &network, 32, |_, _| {})).unwrap();
    let mut claims = [[0; 4]; 2];
    for seed in 0..networks {
        let (train, held_out) = (Relabelled::new(seed, 0, 96), Relabelled::new(seed, 1 << 32, images));
        let (memorised, by_heart) = learned_by_heart(&network, &train, 150, seed);
        assert!(by_heart > 0.95, "{by_heart}");
        let untrained = Weights::initial(&network, 1000 + seed);
        for (kind, weights) in [&memorised, &untrained].into_iter().enumerate() {
            let classes = &["cat", "dog"].map(String::from);
            let subjects = Subjects { held_out: &held_out, unlabelled: &train, classes, most: images, epochs: 1 };
            let initial = Weights::initial(&network, seed);
            let (table, _) = study(&lens, ("last.safetensors", weights), &initial, &subjects, seed, |_| {}).unwrap();
            let found = claimed(&table);
            println!("seed {seed}, {}: {:.1} % right, {found:?}", KINDS[kind], table.accuracy);
            claims[kind].iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
            let answer = table.answer().unwrap();
            assert_eq!(answer.starts_with("Undecided: "), !table.conclusive, "{answer}");
        }
    }
    for (kind, [against_before, against_untrained, resets, channels]) in KINDS.iter().zip(claims) {
        println!(
            "of {networks} networks, {kind}: {against_before} claims against the block before, {against_untrained} against the \
             untrained block, {resets} from resets, {channels} of channels"
        );
        // A network has a chance of 5 % of one claim of each of the first two kinds, and of 2.5 % of all those of the last two.
        let most = networks as usize / 10;
        assert!(against_before <= most && against_untrained <= most, "{against_before} {against_untrained}");
        assert!(resets <= 3 * most && channels <= 3 * most, "{resets} {channels}");
    }
}

const KINDS: [&str; 2] = ["random labels learned by heart", "untrained"];

/// How much a table claims: differences of a block's probe to that of the block before and to the untrained one, uses of
/// blocks or their lack, and numbers of channels.
fn claimed(table: &Layers) -> [usize; 4] {
    let differs = |gain: &Gain| matches!(gain.verdict, Reading::More | Reading::Less);
    let mut found = [0; 4];
    for layer in &table.layers {
        found[0] += usize::from(layer.grid.gain.as_ref().is_some_and(differs));
        found[1] += usize::from(differs(&layer.grid.learned));
        found[2] += usize::from(layer.reset.verdict != ResetVerdict::Undecided);
        found[3] += usize::from(layer.ablation.enough.is_some() || layer.ablation.missed.is_some());
    }
    found
}
