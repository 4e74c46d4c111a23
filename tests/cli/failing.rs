//! What goes wrong: options, folders, disks, memory, output that nobody reads.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use libtest_mimic::Trial;

use crate::common::trial;
use crate::program::{CACHE, program};
use crate::{TINY, convscope, fail, make_photos, succeed, train_tiny, unfinished};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("bad_data_folders_name_themselves", bad_data_folders_name_themselves),
        trial("what_a_stopped_command_left_is_removed", what_a_stopped_command_left_is_removed),
        trial("results_that_cannot_be_written_are_an_error", results_that_cannot_be_written_are_an_error),
        #[cfg(unix)]
        trial("a_training_that_has_no_room_for_its_files_goes_on", a_training_that_has_no_room_for_its_files_goes_on),
        #[cfg(target_os = "linux")]
        trial("what_needs_too_much_memory_is_refused", what_needs_too_much_memory_is_refused),
    ]
}

/// Those that need no device.
pub fn without_device() -> Vec<Trial> {
    vec![
        trial("bad_options_name_themselves", bad_options_name_themselves),
        trial("shells_complete_commands", shells_complete_commands),
        trial("help_that_cannot_be_printed_is_an_error", help_that_cannot_be_printed_is_an_error),
    ]
}

fn bad_data_folders_name_themselves() {
    let folder = tempfile::tempdir().unwrap();
    make_photos(&folder.path().join("photos"));
    for (data, message) in
        [("nowhere", "there is no such folder"), ("photos/red", "class"), ("photos/red/1.png", "is a file")]
    {
        let error = fail(folder.path(), &["train", "--data", data]);
        assert!(error.contains(&format!("--data {data}")) && error.contains(message), "{data}: {error}");
    }
    let error = fail(folder.path(), &["train", "--data", "."]);
    assert!(error.contains("runs: lies in the folder of the images, ., which is only read"), "{error}");
    assert!(!folder.path().join("runs").exists(), "nothing is left behind");
}

fn bad_options_name_themselves() {
    let folder = tempfile::tempdir().unwrap();
    for photos in ["photos", "more photos"] {
        fs::create_dir(folder.path().join(photos)).unwrap();
    }
    let cases = [
        (&["train", "--size", "20"][..], "block 4"),
        (&["train", "--lr", "-1"], "--lr"),
        (&["train", "--batch", "0"], "--batch 0"),
        (&["train", "--size", "abc"], "'abc' for '--size <SIZE>': expected a whole number, 0 or more"),
        (&["train", "--size", "-1"], "'-1' for '--size <SIZE>': expected a whole number, 0 or more"),
        (&["train", "--seed", ""], "expected a whole number"),
        (&["train", "--lr", "fast"], "'fast' for '--lr <LR>': expected a number"),
        (&["train", "--seed", "99999999999999999999"], "this number is too large"),
        (&["train", "--lr", ""], "expected a number"),
        (&["train", "photos"], "tip: for a folder of images type --data photos"),
        (&["depth", "more photos"], "tip: for a folder of images type --data 'more photos'"),
        (&["train", "phtos"], "unexpected argument 'phtos' found\n\nUsage"),
        (&["train", "--optimizer", "lion"], "--optimizer"),
        (&["features", "image.png"], "--run"),
        (&["train", "--kernels", "fast"], "--kernels <KERNELS>"),
        (&["features", "image.png", "--run", "run", "--kernels", "fast"], "possible values: auto, plain"),
        (&["bench", "step", "--kernels", "fast"], "possible values: auto, plain"),
        (&["bench", "step", "--size", "32"], "block 5"),
        (&["bench", "step", "--size", "64", "--batch", "1"], "raise --batch"),
        (&["bench", "step", "--steps", "0"], "--steps 0: expected 1 to"),
        (&["bench", "scaling", "--batches", "2,0"], "--batch 0: expected 1 to"),
        (&["bench", "scaling", "--sizes", "64,9000"], "--size 9000: expected 1 to"),
    ];
    for (arguments, message) in cases {
        let error = fail(folder.path(), arguments);
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
    assert!(!folder.path().join("runs").exists(), "nothing is left behind");
}

fn what_a_stopped_command_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    // Stopped while it learns.
    let endless = [&["train"], &TINY[..10], &["--epochs", "1000", "--out", "r"]].concat();
    let mut run = program(folder.path(), endless).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(run.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.starts_with("epoch  3/")), "it learns");
    run.kill().unwrap();
    run.wait().unwrap();
    let run = folder.path().join("r");
    let folders = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    assert_eq!(folders.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["checkpoints"]);
    assert!(unfinished(&run).contains(&"claim.unfinished".to_string()), "it had claimed the folder");
    fs::create_dir(run.join("features")).unwrap();
    for name in ["best.safetensors.4000000-7.unfinished", "features/block-1.png.4000000-12.unfinished"] {
        fs::write(run.join(name), b"half").unwrap();
    }
    fs::write(run.join("notes.unfinished"), b"of the user").unwrap();
    succeed(folder.path(), &["report", "r"]);
    assert_eq!(unfinished(&run), ["notes.unfinished"]);
}

fn results_that_cannot_be_written_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    train_tiny(folder.path(), &["--out", "r"]);
    // A folder stands where a file should.
    fs::remove_file(folder.path().join("r/report.html")).unwrap();
    fs::create_dir_all(folder.path().join("r/report.html/x")).unwrap();
    let error = fail(folder.path(), &["report", "r"]);
    assert!(error.contains("--out r/report.html: is a folder; name a file for the page"), "{error}");
    assert_eq!(unfinished(&folder.path().join("r")), Vec::<String>::new());

    // Whoever reads has enough, as `head`: the work is done all the same, and that is no error.
    let mut run = program(folder.path(), [&["train"], &TINY[..], &["--out", "unread", "--no-report"]].concat());
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(run.stdout.take());
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("error: the"), "{output:?}");
    assert!(folder.path().join("unread/features/index.html").exists());

    if let Ok(full) = fs::File::options().write(true).open("/dev/full") {
        assert_one_output_error(&program(folder.path(), ["adapters"]).stdout(full).output().unwrap());
    }
}

/// Runs within a limit of the shell's `ulimit`, and expects one clear error; returns it.
#[cfg(unix)]
fn fail_within(folder: &Path, limit: &str, arguments: &[&str]) -> String {
    let program = program(folder, arguments);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")])
        .arg(program.get_program())
        .args(program.get_args());
    let output = shell.current_dir(folder).env("XDG_CACHE_HOME", CACHE).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{limit} {arguments:?}: {error}");
    assert_eq!(error.matches("error: ").count(), 1, "{error}");
    error
}

/// A limit on the size of files stands for a full disk. Its unit is 512 bytes.
#[cfg(unix)]
fn a_training_that_has_no_room_for_its_files_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = |out: &'static str| [&["train"], &TINY[..], &["--no-report", "--out", out]].concat();
    // No state was written yet.
    let error = fail_within(folder.path(), "-f 4", &tiny("first"));
    let expected = "error: cannot write first/checkpoints/step-00000000.safetensors (it would exceed the limit on the size of files";
    assert!(error.starts_with(expected) && !error.contains("--resume"), "{error}");
    // All but the page of the features, at the end.
    let error = fail_within(folder.path(), "-f 44", &tiny("last"));
    assert!(error.starts_with("error: cannot write last/features/index.html (it would exceed"), "{error}");
    let kept = "the training is kept as it was in last/checkpoints/step-00000006.safetensors; go on with: convscope train --resume last";
    assert!(error.contains(kept), "{error}");
    for run in ["first", "last"] {
        assert_eq!(unfinished(&folder.path().join(run)), Vec::<String>::new());
    }
    succeed(folder.path(), &["train", "--resume", "last", "--no-report"]);
    assert!(
        folder.path().join("last/features/index.html").exists() && !folder.path().join("last/checkpoints").exists()
    );
}

#[cfg(target_os = "linux")]
fn what_needs_too_much_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = |more: &[&'static str]| [&["train"], &TINY[..], more].concat();
    let error = fail_within(folder.path(), "-v 900000", &tiny(&[]));
    assert!(error.contains("(`ulimit -v`) is 922 MB, but the GPU's driver alone may need 1.1 GB: raise it"), "{error}");
    let large = ["--size", "40", "--channels", "16,16", "--batch", "5000"];
    let error = fail_within(folder.path(), "-v 1200000", &[&["train"], &large[..]].concat());
    assert!(
        error.contains("but the limit on that (`ulimit -v`) is 1.2 GB: raise it, or lower --cache, --batch"),
        "{error}"
    );
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing was begun");
    let error = fail_within(folder.path(), "-v 1200000", &[&["bench", "step"], &large[..]].concat());
    assert!(error.contains("this network needs about ") && error.contains("lower --batch"), "{error}");
}

fn assert_one_output_error(output: &Output) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.matches("error: ").count() == 1, "{error}");
    assert!(error.contains("the output could not be written"), "{error}");
}

fn shells_complete_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeed(folder.path(), &["completions", shell]);
        assert!(script.contains("weight-decay") && script.contains("evaluate"), "{shell}: {script}");
    }
    let script = succeed(folder.path(), &["completions", "bash"]);
    fs::write(folder.path().join("script"), script).unwrap();
    let ask = "source ./script; COMP_WORDS=(convscope pre); COMP_CWORD=1; _convscope convscope pre convscope; echo ${COMPREPLY[@]}";
    if let Ok(output) = Command::new("bash").args(["-c", ask]).current_dir(folder.path()).output() {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "predict\n");
    }
}

fn help_that_cannot_be_printed_is_an_error() {
    for option in ["--help", "--version"] {
        if let Ok(full) = fs::File::options().write(true).open("/dev/full") {
            assert_one_output_error(&program(Path::new("."), [option]).stdout(full).output().unwrap());
        }
        let help = convscope(Path::new("."), &[option]);
        assert!(
            help.status.success() && help.stdout.starts_with(b"Train a conv") != help.stdout.starts_with(b"convscope ")
        );
    }
}
