//! The table of layers against what was planted.

use std::borrow::Cow;

use convscope::checkpoint::Weights;
use convscope::data::Pictures;
use convscope::explain::Lens;
use convscope::layers::{Layers, Repeatability, ResetVerdict, Subjects, study};
use convscope::spec::Spec;
use libtest_mimic::Trial;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::trial;
use crate::explain::{SIDE, planted, trained};
use crate::gpu;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("layers::batches_do_not_matter", batches_do_not_matter),
        trial("layers::an_idle_block_is_robust", || idle_block(0)),
        // Some minutes: cargo test --release --test gpu layers -- --ignored --nocapture
        trial("layers::an_idle_block_is_robust_ten_seeds", || (0..10).for_each(idle_block)).with_ignored_flag(true),
    ]
}

/// Pictures that the table is made of: with fewer, a loss of a point could not be ruled out.
const PICTURES: u32 = 800;

/// Pictures of noise, of which one class has a patch.
struct Planted {
    pixels: Vec<Vec<u8>>,
    labels: Vec<u32>,
}

impl Planted {
    fn new(seed: u64, labels: Vec<u32>) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let byte = |value: f32| ((value + 1.0) / 2.0 * 255.0).round() as u8;
        let picture = |&label: &u32| -> Vec<u8> {
            let (picture, _) = planted(&mut random, label);
            picture.chunks(4).flat_map(|pixel| [byte(pixel[0]), byte(pixel[1]), byte(pixel[2])]).collect()
        };
        Self { pixels: labels.iter().map(picture).collect(), labels }
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

impl Pictures for Planted {
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

/// A block that training has hardly moved must be robust to being put back to its start, one that training has made must be
/// critical, and the controls must be at chance.
fn idle_block(seed: u64) {
    let spec = Spec { channels: vec![8, 16, 32], hidden: 16, dropout: 0.0, ..Spec::dogs_vs_cats(SIDE, 2) };
    let weights = trained(&spec, 32, 150, &mut ChaCha8Rng::seed_from_u64(100 + seed));
    // The start that the study is told: the true one, but for block 2, which lies within 1 % of where it ended.
    let mut initial = Weights::initial(&spec, 0);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for key in ["5.weight", "6.weight", "6.bias"] {
        let ended = weights.get(key).iter().map(|value| value * random.random_range(0.99..1.01));
        let ended: Vec<f32> = ended.collect();
        initial.tensors.insert(key.into(), ended);
    }
    let lens = Lens::new(gpu(), &spec, 32, |_, _| {}).unwrap();
    let (held_out, unlabelled) = (Planted::in_turn(1000 + seed, PICTURES), Planted::class_by_class(2000 + seed, 640));
    let subjects = Subjects { held_out: &held_out, unlabelled: &unlabelled, most: PICTURES as usize };
    let table = study(&lens, ("last.safetensors", &weights), &initial, &subjects, seed, |_| {}).unwrap();
    let Layers { pictures, accuracy, accuracy_anew, layers, .. } = &table;
    let resets: Vec<_> = layers.iter().map(|layer| (layer.reset, layer.redrawn.verdict)).collect();
    println!("seed {seed}: accuracy {accuracy:.1} %, resets {resets:.1?}");
    assert_eq!(*pictures, PICTURES as usize);
    assert!(*accuracy > 95.0 && *accuracy_anew > 95.0, "{accuracy} {accuracy_anew}");
    assert_eq!(layers[1].reset.verdict, ResetVerdict::Robust, "{resets:?}");
    for block in [0, 2] {
        assert_eq!(layers[block].reset.verdict, ResetVerdict::Critical, "block {}: {resets:?}", block + 1);
    }
    assert_eq!(layers[1].redrawn.verdict, ResetVerdict::Critical, "{resets:?}");
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
        assert!(layer.ablation.significant > 0, "{:?}", layer.ablation);
    }
    let [first, _, last] = [0, 1, 2].map(|number| layers[number].pooled);
    assert!(last.trained > 90.0 && last.initial < last.trained && first.gain.is_none(), "{first:?} {last:?}");
    assert!(last.gain.unwrap().low <= last.gain.unwrap().points, "{last:?}");
}

/// Neither how many pictures the device takes at once nor the order of unlabelled pictures decides what comes out.
fn batches_do_not_matter() {
    let spec = Spec { channels: vec![8, 16], hidden: 16, dropout: 0.0, ..Spec::dogs_vs_cats(SIDE, 2) };
    let weights = Weights::initial(&spec, 1);
    let (held_out, unlabelled) = (Planted::in_turn(1, 60), Planted::in_turn(2, 90));
    let subjects = Subjects { held_out: &held_out, unlabelled: &unlabelled, most: 60 };
    let [even, odd] = [32, 9].map(|batch| {
        let lens = Lens::new(gpu(), &spec, batch, |_, _| {}).unwrap();
        study(&lens, ("initial", &weights), &weights, &subjects, 0, |_| {}).unwrap()
    });
    assert!(!even.conclusive, "a network that was not trained guesses: {}", even.accuracy);
    for (even, odd) in even.layers.iter().zip(&odd.layers) {
        assert!((even.repeatability.trained - odd.repeatability.trained).abs() < 1e-3, "{even:?} {odd:?}");
        assert!((even.effective_rank - odd.effective_rank).abs() < 1e-2, "{even:?} {odd:?}");
        assert_eq!((even.pooled.trained, even.grid.trained), (odd.pooled.trained, odd.grid.trained));
        assert_eq!(even.reset.verdict, ResetVerdict::Undecided, "nothing follows from what a guessing network loses");
    }
}
