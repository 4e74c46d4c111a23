//! The kernels and the network on a real device.

mod best;
#[path = "../cases/mod.rs"]
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod engine;
mod explain;
mod golden;
mod kernels;
mod layers;
mod learned;
mod prepared;
mod resume;
mod together;
mod training;
mod trust;
#[path = "../common/vanishing.rs"]
mod vanishing;

use std::sync::OnceLock;

use convscope::data::augment::AugmentOptions;
use convscope::gpu::Kernels;
use convscope::gpu::{AdapterChoice, Gpu};
use convscope::nn::{Optimizer, StepOptions};
use convscope::train::{Recipe, Schedule};
use pollster::block_on;

/// The device that all tests share.
fn gpu() -> &'static Gpu {
    common::opened().as_ref().expect("tests that need a GPU run only where there is one")
}

/// Every set of kernels for the convolutions.
const KERNELS: [Kernels; 3] = [Kernels::Plain, Kernels::Tiled, Kernels::Subgroup];

/// The same device with one set of kernels for the convolutions.
fn gpu_with(kernels: Kernels) -> &'static Gpu {
    static DEVICES: [OnceLock<Gpu>; KERNELS.len()] = [const { OnceLock::new() }; KERNELS.len()];
    DEVICES[kernels as usize]
        .get_or_init(|| block_on(Gpu::open(&AdapterChoice::Best)).unwrap().with_kernels(kernels).unwrap())
}

/// Plain training by Adam, of images that are flipped.
fn recipe() -> Recipe {
    Recipe {
        optimizer: Optimizer::Adam { weight_decay: 0.0 },
        lr: 0.01,
        schedule: Schedule::Constant,
        warmup: 0.0,
        step: StepOptions::default(),
        ema: None,
        seed: 3,
        augment: AugmentOptions { flip: true, ..AugmentOptions::default() },
    }
}

fn main() {
    let tests = [
        best::tests(),
        kernels::tests(),
        engine::tests(),
        golden::tests(),
        explain::tests(),
        layers::tests(),
        learned::tests(),
        prepared::tests(),
        resume::tests(),
        together::tests(),
        training::tests(),
        trust::tests(),
    ];
    common::run(tests.into_iter().flatten().collect(), vec![]).exit();
}
