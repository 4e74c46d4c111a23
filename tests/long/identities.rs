//! What holds between the results of kernels, and of references, whatever the numbers: `tests/cases/identities.rs`.

use convscope::gpu::Changes;

use crate::Tally;
use crate::cases::identities::{GRADIENTS, check, groups};
use crate::cases::{Device, operations};

/// Seeds of a group.
const SEEDS: u64 = 60;
/// Of one whose kernels are compiled for nearly each of them.
const COMPILED: u64 = 12;

pub fn run(tally: &mut Tally) {
    let operations = operations();
    for group in groups() {
        let operation = operations.iter().find(|operation| operation.group == group).expect("it is one of them");
        let device = Device::open(operation.kernels, Changes { most_workgroups: Some(5), ..Changes::default() });
        for seed in 0..if operation.compiles { COMPILED } else { SEEDS } {
            match check(&device, &operations, group, seed) {
                Ok(identities) => (0..identities).for_each(|_| tally.count(Ok(()))),
                Err(error) => tally.count(Err(error)),
            }
        }
    }
    let device = Device::open(convscope::gpu::Kernels::Plain, Changes::default());
    for gradient in GRADIENTS {
        (0..SEEDS).for_each(|seed| tally.count(gradient.check(&device, &operations, seed)));
    }
}
