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

use std::cell::OnceCell;

use convscope::data::augment::AugmentOptions;
use convscope::gpu::Kernels;
use convscope::gpu::{AdapterChoice, Gpu};
use convscope::nn::{Optimizer, StepOptions};
use convscope::train::{Recipe, Schedule};
use pollster::block_on;

/// The device of the tests that a thread runs: on one device those of several threads would wait for each other.
fn gpu() -> &'static Gpu {
    thread_local! { static DEVICE: &'static Gpu = Box::leak(Box::new(open())) }
    DEVICE.with(|device| *device)
}

fn open() -> Gpu {
    block_on(Gpu::open(&AdapterChoice::Best)).expect("tests that need a GPU run only where there is one")
}

/// Every set of kernels for the convolutions.
const KERNELS: [Kernels; 3] = [Kernels::Plain, Kernels::Tiled, Kernels::Subgroup];

/// The same device with one set of kernels for the convolutions.
fn gpu_with(kernels: Kernels) -> &'static Gpu {
    thread_local! {
        static DEVICES: [OnceCell<&'static Gpu>; KERNELS.len()] =
            const { [const { OnceCell::new() }; KERNELS.len()] };
    }
    let open = || -> &'static Gpu { Box::leak(Box::new(open().with_kernels(kernels).unwrap())) };
    DEVICES.with(|devices| *devices[kernels as usize].get_or_init(open))
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
