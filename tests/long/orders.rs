//! Results do not depend on the order in which invocations run: every kernel with the lanes of its workgroups in other orders, and with
//! other numbers of the software driver's threads, bit for bit.

use std::collections::BTreeSet;
use std::process::Command;

use convscope::gpu::{Changes, Kernels, Plan};
use convscope::ops;

use crate::Tally;
use crate::cases::{Device, Operation, operations};
use crate::lanes::{ORDERS, reordered};

/// Set where this program is to print what comes out of all operations.
const DIGEST: &str = "CONVSCOPE_DIGEST";
/// Threads of the software driver.
const THREADS: [&str; 4] = ["1", "2", "4", "16"];
/// Runs with each number of them.
const REPEATS: usize = 5;
/// Cases of an operation with its lanes reordered, and with other numbers of threads.
const REORDERED: u64 = 12;
const THREADED: u64 = 3;

pub fn run(tally: &mut Tally) {
    reorder(tally);
    let first = digests("1");
    for threads in THREADS {
        for _ in 0..REPEATS {
            for (digest, first) in digests(threads).iter().zip(&first) {
                let other = || format!("with {threads} threads: {digest}, with one thread: {first}");
                tally.count((digest == first).then_some(()).ok_or_else(other));
            }
        }
    }
}

/// The kernels that an operation runs, such as `"relu.forward"`.
pub fn entries(operation: &Operation, device: &Device) -> Vec<String> {
    let mut plan = Plan::new();
    operation.tabled().next().expect("there is a table").case(&device.gpu).record(&device.gpu, &mut plan);
    // Without the place.
    plan.names().filter_map(|name| name.split(' ').next()).map(str::to_string).collect()
}

fn reorder(tally: &mut Tally) {
    let operations = operations();
    for operation in &operations {
        let plain = Device::open(operation.kernels, Changes::default());
        let entries = entries(operation, &plain);
        let files: BTreeSet<_> = entries.iter().filter_map(|entry| Some(entry.split_once('.')?.0)).collect();
        let count = if operation.compiles { 2 } else { REORDERED };
        for file in files {
            let kernel = ops::KERNELS.iter().find(|kernel| kernel.op == file).expect("every kernel is declared");
            for order in ORDERS {
                let Some(module) = reordered(&kernel.source.module(), order) else { continue };
                let changes = Changes { module: Some((kernel.source.file, module)), ..Changes::default() };
                let device = Device::open(operation.kernels, changes);
                for seed in 0..count {
                    let case = operation.drawn(seed).case(&device.gpu);
                    let same = || {
                        case.check(&device)?;
                        let same = case.run(&plain)? == case.run(&device)?;
                        same.then_some(()).ok_or_else(|| format!("{}: other bits", case.name))
                    };
                    tally.count(same().map_err(|error: String| format!("lanes in the order {order}: {error}")));
                }
            }
        }
    }
}

fn digests(threads: &str) -> Vec<String> {
    let program = std::env::current_exe().expect("this program is a file");
    let output =
        Command::new(program).env(DIGEST, "1").env("LP_NUM_THREADS", threads).output().expect("it starts again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text").lines().map(String::from).collect()
}

/// Prints a line for each case if this program was started for it.
pub fn was_asked() -> bool {
    if std::env::var_os(DIGEST).is_none() {
        return false;
    }
    let operations = operations();
    for kernels in [Kernels::Plain, Kernels::Tiled, Kernels::Subgroup] {
        let device = Device::open(kernels, Changes::default());
        for operation in operations.iter().filter(|operation| operation.kernels == kernels) {
            for seed in 0..if operation.compiles { 1 } else { THREADED } {
                let line = operation.drawn(seed);
                let bits = line.case(&device.gpu).run(&device).expect("the device works");
                let hash = bits.iter().flatten().fold(0xcbf2_9ce4_8422_2325_u64, |hash, bits| {
                    (hash ^ u64::from(*bits)).wrapping_mul(0x0100_0000_01b3)
                });
                println!("{line}: {hash:016x}");
            }
        }
    }
    true
}
