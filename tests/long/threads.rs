//! The same weights with any number of threads of the driver and of the loader.

use std::fs;
use std::process::Command;

use convscope::nn::checkpoint::{Checkpoint, Weights};

use crate::Tally;

const TINY: &str = "train --size 40 --batch 8 --channels 4,6 --train-images 40 --val-images 10 --epochs 2 --no-report \
                    --rotate 10 --color-jitter 0.2,0.2,0.2";

/// Four trainings with each number of threads and each set of kernels; in every second one all of them share one core, which also leaves
/// the loader one thread.
pub fn run(tally: &mut Tally) {
    for kernels in ["plain", "tiled", "subgroup"] {
        let expected = train(kernels, "1", false);
        for threads in ["1", "2", "4", "16"] {
            for round in 0..4 {
                let one_core = round % 2 == 0;
                let same = train(kernels, threads, one_core) == expected;
                let case = || {
                    format!("{kernels} kernels, {threads} threads, one core: {one_core}, round {round}: other weights")
                };
                tally.count(same.then_some(()).ok_or_else(case));
            }
        }
    }
}

/// The weights after a tiny training. The driver lavapipe has so many threads.
fn train(kernels: &str, threads: &str, one_core: bool) -> Weights {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_convscope");
    let mut command = if one_core { Command::new("taskset") } else { Command::new(program) };
    if one_core {
        command.args(["-c", "0", program]);
    }
    command.args(TINY.split_whitespace()).args(["--kernels", kernels, "--out", "run"]);
    let output = command.env("LP_NUM_THREADS", threads).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = fs::read(folder.path().join("run/last.safetensors")).unwrap();
    Checkpoint::from_bytes(&bytes).unwrap().weights
}
