//! The table of layers against what was planted.

use std::borrow::Cow;

use convscope::checkpoint::Weights;
use convscope::data::Pictures;
use convscope::explain::Lens;
use convscope::layers::{Layers, ResetVerdict, Subjects, study};
use convscope::spec::Spec;
use libtest_mimic::Trial;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::trial;
use crate::explain::{SIDE, planted, trained};
use crate::gpu;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("layers::an_idle_block_is_robust", || idle_block(0)),
        // Some minutes: cargo test --release --test gpu layers -- --ignored --nocapture
        trial("layers::an_idle_block_is_robust_ten_seeds", || (0..10).for_each(idle_block)).with_ignored_flag(true),
    ]
}

/// Pictures of noise, of which every second has the patch that makes class 1.
struct Planted {
    pixels: Vec<Vec<u8>>,
}

impl Planted {
    fn new(seed: u64, count: u32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let byte = |value: f32| ((value + 1.0) / 2.0 * 255.0).round() as u8;
        let picture = |index: u32| -> Vec<u8> {
            let (picture, _) = planted(&mut random, index % 2);
            picture.chunks(4).flat_map(|pixel| [byte(pixel[0]), byte(pixel[1]), byte(pixel[2])]).collect()
        };
        Self { pixels: (0..count).map(picture).collect() }
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
        index as u32 % 2
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
    let (held_out, unlabelled) = (Planted::new(1000 + seed, 300), Planted::new(2000 + seed, 320));
    let subjects = Subjects { held_out: &held_out, unlabelled: &unlabelled, most: 300 };
    let table = study(&lens, ("last.safetensors", &weights), &initial, &subjects, seed, |_| {}).unwrap();
    let Layers { pictures, accuracy, layers, .. } = &table;
    let resets: Vec<_> = layers.iter().map(|layer| (layer.reset, layer.redrawn.verdict)).collect();
    println!("seed {seed}: accuracy {accuracy:.1} %, resets {resets:.1?}");
    assert_eq!(*pictures, 300);
    assert!(*accuracy > 95.0, "{accuracy}");
    assert_eq!(layers[1].reset.verdict, ResetVerdict::Robust, "{resets:?}");
    for block in [0, 2] {
        assert_eq!(layers[block].reset.verdict, ResetVerdict::Critical, "block {}: {resets:?}", block + 1);
    }
    assert_eq!(layers[1].redrawn.verdict, ResetVerdict::Critical, "{resets:?}");
    for layer in layers {
        // 300 fair coins: 50 % with a standard deviation of 2.9.
        for probe in [layer.pooled, layer.grid] {
            assert!((35.0..65.0).contains(&probe.permuted), "block {}: {probe:?}", layer.block);
        }
        assert!(layer.repeatability.trained > 0.5 && layer.repeatability.trained <= 1.0, "{:?}", layer.repeatability);
        assert_eq!(layer.ablation.curve.last().unwrap().0, layer.output[0]);
        assert!(layer.ablation.fewest <= layer.output[0]);
    }
    assert!(layers[2].pooled.trained > 90.0, "{:?}", layers[2].pooled);
}
