//! A training that is gone on with on disks of every size, and where each of them is full, elsewhere.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use convscope::train::{Run, Which};

use crate::Tally;
use crate::kills::{End, has_state, start, told};

/// Three epochs of five steps, each of which is written down, and pages at the end.
const TINY: &str =
    "train --size 40 --batch 8 --channels 4,6 --kernels plain --train-images 40 --val-images 10 --epochs 3";
const EVERY: &str = "--save-every 0";
/// Bytes by which the disks grow: a page of memory, of which each file takes at least one.
const STEP: u64 = 4096;

/// A new training is refused on a disk that is too small for it. One that was begun is gone on with on disks that hold a little more each, until
/// one holds all of it: each must end it with one clear error and nothing half written, and what is left must come to the end of the
/// training that had room all the time.
pub fn run(tally: &mut Tally) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let output = on_disk_of(16 * STEP, folder, &format!("{TINY} --out run"));
    let refused =
        output.status.code() == Some(1) && told(&output).contains("make room, or name another place with --out");
    tally.count((refused && !folder.join("run").exists()).then_some(()).ok_or_else(|| told(&output)));

    let output = start(folder, &format!("{TINY} {EVERY} --out whole")).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let whole = End::of(&folder.join("whole"));
    let mut begun = start(folder, &format!("{TINY} {EVERY} --out begun"));
    while !has_state(&folder.join("begun")) {
        thread::sleep(Duration::from_millis(1));
    }
    begun.kill().unwrap();
    begun.wait().unwrap();

    let run = folder.join("run");
    let least: u64 = names(&folder.join("begun")).iter().map(|name| pages(&folder.join("begun").join(name))).sum();
    for size in (least..).step_by(STEP as usize) {
        let output = on_disk_of(size, folder, &format!("train --resume run {EVERY}"));
        let done = output.status.success();
        let outcome = if done { Ok(()) } else { check(&output, &run).and_then(|()| go_on(folder)) };
        let outcome = outcome.and_then(|()| (End::of(&run) == whole).then_some(()).ok_or_else(|| "another end".into()));
        tally.count(outcome.map_err(|problem| format!("a disk of {size} bytes: {problem}")));
        fs::remove_dir_all(&run).ok();
        if done {
            break;
        }
    }
}

/// The bytes that a file takes on such a disk.
fn pages(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len().next_multiple_of(STEP)
}

/// Runs a command on a disk of this many bytes, with the training that was begun, if there is one, and puts what is then there into
/// `folder`. Nobody else sees that disk.
fn on_disk_of(size: u64, folder: &Path, command: &str) -> Output {
    let script = format!(
        "mkdir -p disk && mount -t tmpfs -o size={size} tmpfs disk || exit 99
         test ! -d begun || cp -r begun disk/run || exit 99
         (cd disk && exec \"$0\" {command}); status=$?
         test ! -d disk/run || cp -r disk/run .
         exit $status"
    );
    let mut shell = Command::new("unshare");
    shell.args(["--map-root-user", "--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_convscope")]);
    let output = shell.current_dir(folder).output().unwrap();
    assert_ne!(output.status.code(), Some(99), "no disk can be mounted here: {}", told(&output));
    output
}

/// Checks what a training said and left on a disk that is full.
fn check(output: &Output, run: &Path) -> Result<(), String> {
    let told = told(output);
    let ensure = |fine: bool, problem: &str| fine.then_some(()).ok_or_else(|| format!("{problem}: {told}"));
    ensure(output.status.code() == Some(1) && told.matches("error: ").count() == 1, "no clear error")?;
    ensure(
        told.contains("error: cannot write run/") && told.contains("(the disk is full: make room on it)"),
        "no file",
    )?;
    ensure(told.contains("go on with: convscope train --resume run"), "it does not say how to go on")?;
    let names = names(run);
    ensure(!names.iter().any(|name| name.ends_with(".unfinished")), "something is left half written")?;
    for file in names.iter().filter(|name| name.ends_with(".json") || name.ends_with(".html")) {
        let text = fs::read_to_string(run.join(file)).unwrap();
        ensure(text.trim_end().ends_with(['}', '>']), &format!("{file} is not whole"))?;
    }
    let run = Run::open(run).map_err(|error| format!("{error:#}"))?;
    for which in [Which::Best, Which::Last] {
        let whole = !run.folder().join(which.file()).exists() || run.checkpoint(which).is_ok();
        ensure(whole, &format!("{} is not whole", which.file()))?;
    }
    Ok(())
}

/// Goes on with a training where there is room.
fn go_on(folder: &Path) -> Result<(), String> {
    let output = start(folder, "train --resume run").wait_with_output().unwrap();
    let told = told(&output);
    let whole = output.status.success() && !told.contains("cannot be used");
    whole.then_some(()).ok_or_else(|| format!("it could not be gone on with: {told}"))
}

/// The paths of all files in a folder, and below it.
fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(names(&entry.path()).iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found
}
