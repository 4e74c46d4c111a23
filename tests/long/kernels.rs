//! 10,000 random cases over all operations, each against its reference: `tests/cases`.

use std::time::Instant;

use convscope::gpu::Changes;

use crate::Tally;
use crate::cases::{Device, operations};

/// Cases of all operations together.
const CASES: u64 = 10_000;
/// Cases of an operation whose kernels are compiled for nearly each of them.
const COMPILED: u64 = 40;

pub fn run(tally: &mut Tally) {
    let operations = operations();
    let slow = operations.iter().filter(|operation| operation.compiles).count() as u64;
    let each = (CASES - slow * COMPILED).div_ceil(operations.len() as u64 - slow);
    for operation in &operations {
        let started = Instant::now();
        // A device of its own, whose pipelines go with it. Dispatches are folded into two dimensions early.
        let device = Device::open(operation.kernels, Changes { most_workgroups: Some(5), ..Changes::default() });
        let count = if operation.compiles { COMPILED } else { each };
        for seed in 0..count {
            let line = operation.drawn(seed);
            tally.count(line.case(&device.gpu).check(&device));
        }
        let (group, entry) = (operation.group, operation.entry);
        eprintln!("  {group} {entry}: {count} cases, {:.1} s", started.elapsed().as_secs_f64());
    }
}
