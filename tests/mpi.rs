//! `train` by several processes that mpirun starts on this machine: `cargo test --features mpi --test mpi`.

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::trial;
use convscope::nn::checkpoint::{Checkpoint, Weights};

fn main() {
    let tests = vec![
        trial("processes_train_what_one_does", processes_train_what_one_does),
        trial("batch_norm_and_dropout_are_each_process_s_own", batch_norm_and_dropout),
        trial("an_error_is_told_once_and_ends_all", an_error_is_told_once),
    ];
    let ignored = Command::new("mpirun").arg("--version").output().is_err();
    // Shown as ignored where there is no mpirun.
    let tests = tests.into_iter().map(|test| if ignored { test.with_ignored_flag(true) } else { test });
    common::run(tests.collect(), vec![]).exit();
}

const TINY: [&str; 13] = [
    "--size",
    "28",
    "--batch",
    "12",
    "--epochs",
    "2",
    "--train-images",
    "120",
    "--val-images",
    "20",
    "--no-report",
    "--kernels",
    "plain",
];

/// What mpirun prints of programs that it starts together, each with a number of processes and options of `train`.
fn mpirun(folder: &Path, programs: &[(usize, &[&str])]) -> Output {
    let mut command = Command::new("mpirun");
    // As on a machine with fewer cores than processes, and in a container.
    command.args(["--oversubscribe", "--bind-to", "none"]).current_dir(folder);
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    for (number, (processes, options)) in programs.iter().enumerate() {
        if number > 0 {
            command.arg(":");
        }
        command
            .args(["-n", &processes.to_string(), env!("CARGO_BIN_EXE_convscope"), "train"])
            .args(TINY)
            .args(*options);
    }
    command.output().expect("there is mpirun")
}

fn weights(folder: &Path, run: &str) -> Weights {
    Checkpoint::from_bytes(&fs::read(folder.join(run).join("last.safetensors")).unwrap()).unwrap().weights
}

/// Trains as `processes`, or without mpirun as one.
fn train(folder: &Path, processes: usize, run: &str, options: &[&str]) -> Weights {
    let options = [options, &["--out", run]].concat();
    let output = if processes == 1 {
        let mut alone = Command::new(env!("CARGO_BIN_EXE_convscope"));
        alone.arg("train").args(TINY).args(&options).current_dir(folder).output().unwrap()
    } else {
        mpirun(folder, &[(processes, &options)])
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("epoch  1/2").count(), 1, "one process speaks: {said}");
    weights(folder, run)
}

fn processes_train_what_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let options = ["--model", "lenet5", "--optimizer", "sgd", "--lr", "0.02"];
    let alone = train(folder, 1, "1", &options);
    for processes in [2, 4] {
        let together = train(folder, processes, &processes.to_string(), &options);
        assert!(
            train(folder, processes, &format!("{processes}-again"), &options) == together,
            "again the same, bit for bit"
        );
        let each = alone.tensors.iter().flat_map(|(name, values)| values.iter().zip(&together.tensors[name]));
        let apart = each.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{processes} processes: weights at most {apart:e} from those of one");
        assert!(apart < 1e-5, "{processes} processes: {apart}");
        let environment = fs::read_to_string(folder.join(processes.to_string()).join("environment.json")).unwrap();
        assert!(environment.contains(&format!("\"processes\": {processes}")), "{environment}");
    }
    // Each of the runs has one folder, and all files of one.
    assert_eq!(fs::read_dir(folder).unwrap().count(), 5);
}

fn batch_norm_and_dropout() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--channels", "4,6", "--ema", "0.9"];
    let together = train(folder.path(), 2, "2", &options);
    assert!(train(folder.path(), 2, "2-again", &options) == together, "again the same, bit for bit");
}

fn an_error_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plain: &[&str] = &["--channels", "4,6"];
    let other: &[&str] = &["--channels", "4,6", "--lr", "0.5"];
    for (programs, told) in [
        (&[(1, plain), (1, other)][..], "the options: process 1 has another than process 0"),
        (&[(3, &["--channels", "4,6", "--init", "none"])], "--init"),
        (&[(5, plain)], "--batch 12: each of 5 processes takes an equal part of it"),
        (&[(13, plain)], "--batch 12: "),
        (&[(2, &["--channels", "4,6", "--lr-find"])], "--lr-find: one process does that"),
        (&[(2, &["--channels", "4,6", "--lr", "1e30", "--optimizer", "sgd"])], "finite number"),
        // The second process alone.
        (&[(1, plain), (1, &["--channels", "4,6", "--init", "none"])], "--init"),
    ] {
        let output = mpirun(folder, programs);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{programs:?}");
        assert_eq!((said.matches("error: ").count(), said.contains(told)), (1, true), "{programs:?}: {said}");
    }
}
