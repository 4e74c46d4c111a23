//! A process that trains on and on.

use std::fs;

use convscope::data::augment::AugmentOptions;
use convscope::data::drawn::{Drawn, FIRST_VAL_IMAGE, Subject};
use convscope::gpu::{AdapterChoice, Gpu};
use convscope::nn::checkpoint::Weights;
use convscope::nn::{Keep, Model, Optimizer, StepOptions, Strided};
use convscope::train::{Recipe, Schedule, Trainer};

use crate::Tally;

const SIDE: usize = 20;
const BATCH: usize = 4;
/// Steps of an epoch, of all of them, and of those before the first look.
const AN_EPOCH: usize = 100;
const STEPS: usize = 10_000;
const WARM_UP: usize = 2_000;
/// Bytes by which the memory may have grown since: allocators do not give all back.
const GROWTH: u64 = 5 << 20;

/// Trains, judges and reads back all that a state is made of, epoch after epoch, and looks at what the process holds after the first ones and
/// at the end.
pub fn run(tally: &mut Tally) {
    let gpu = pollster::block_on(Gpu::open(&AdapterChoice::Best)).unwrap();
    let network = Strided { channels: vec![4, 4], ..Strided::dogs_vs_cats(SIDE, 2) }.build().unwrap();
    let model = Model::new(&gpu, &network, BATCH, Keep::Needed).unwrap();
    let recipe = Recipe {
        optimizer: Optimizer::Adam { weight_decay: 0.0 },
        lr: 1e-4,
        schedule: Schedule::Constant,
        warmup: 0.0,
        step: StepOptions::default(),
        ema: Some(0.9),
        seed: 0,
        augment: AugmentOptions { flip: true, ..AugmentOptions::default() },
    };
    let mut trainer = Trainer::new(&gpu, &model, &Weights::initial(&network, 0), recipe, |_, _| {}).unwrap();
    let images = |first, count| Drawn::new(Subject::Pets, 0, first, count, SIDE as u32, 8 << 20);
    let (train, val) = (images(0, AN_EPOCH * BATCH), images(FIRST_VAL_IMAGE, 20));
    let mut first = None;
    for epoch in 1..=STEPS / AN_EPOCH {
        trainer.train(&train, epoch, &mut |_| {}).unwrap();
        trainer.evaluate(&val, &mut |_| {}).unwrap();
        trainer.memory().unwrap();
        if epoch * AN_EPOCH == WARM_UP {
            first = Some(Held::now(&gpu));
        }
    }
    let (first, last) = (first.unwrap(), Held::now(&gpu));
    eprintln!("  after {WARM_UP} steps {first:?}\n  after {STEPS} steps {last:?}");
    let same = |what: &str, [before, after]: [usize; 2]| {
        (before == after).then_some(()).ok_or_else(|| format!("{what}: {before} before, {after} after"))
    };
    tally.count(same("open files", [first.files, last.files]));
    tally.count(same("threads", [first.threads, last.threads]));
    tally.count(same("allocations of the device", [first.allocations, last.allocations]));
    let grown = last.resident.saturating_sub(first.resident);
    tally.count((grown < GROWTH).then_some(()).ok_or_else(|| format!("memory has grown by {grown} bytes")));
}

/// What the process holds.
#[derive(Debug)]
struct Held {
    /// Bytes in memory.
    resident: u64,
    files: usize,
    threads: usize,
    /// Pieces of the device's memory.
    allocations: usize,
}

impl Held {
    fn now(gpu: &Gpu) -> Self {
        // What is no longer needed goes when the device is asked how far it is.
        gpu.wait(None).unwrap();
        let status = fs::read_to_string("/proc/self/status").expect("this part needs Linux");
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        Self {
            resident: 1024 * of("VmRSS:"),
            files: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: of("Threads:") as usize,
            allocations: gpu
                .device()
                .generate_allocator_report()
                .expect("the driver's memory is shared out by wgpu")
                .allocations
                .len(),
        }
    }
}
