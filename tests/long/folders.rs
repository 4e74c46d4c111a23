//! Folders of trainings that others write into, that cannot be written, that vanish, and whose files are from the future.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::Tally;
use crate::kills::{End, has_state, start, told};

const TINY: &str = "train --size 40 --batch 8 --channels 4,6 --kernels plain --no-report --train-images 76 --val-images 10 --epochs 6 \
                    --save-every 0";

pub fn run(tally: &mut Tally) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let output = start(root, &format!("{TINY} --out whole")).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let whole = End::of(&root.join("whole"));
    let mut case = |name: &str, outcome: Result<(), String>| {
        tally.count(outcome.map_err(|problem| format!("{name}: {problem}")));
    };

    case("a second process goes on with a run that is being written", {
        let child = under_way(root, "shared");
        let second = ends_with(start(root, "train --resume shared"), "another process is writing there");
        let third = ends_with(start(root, &format!("{TINY} --out shared")), "exists already");
        second.and(third).and_then(|()| comes_to(child, &root.join("shared"), &whole))
    });
    case("of two that go on at once one does", {
        kill(under_way(root, "twice"));
        let both = [(); 2].map(|()| start(root, "train --resume twice")).map(|child| child.wait_with_output().unwrap());
        let done = both.iter().filter(|output| output.status.success()).count();
        let refused = both.iter().filter(|output| told(output).contains("another process is writing there")).count();
        if [done, refused] == [1, 1] && End::of(&root.join("twice")) == whole {
            Ok(())
        } else {
            Err(both.iter().map(told).collect())
        }
    });
    case("the folder is moved away, and gone on with where it is then", {
        let child = under_way(root, "before");
        fs::rename(root.join("before"), root.join("after")).unwrap();
        let told = ends_with(child, "cannot write before/");
        let new = !root.join("before").exists();
        told.and(if new { Ok(()) } else { Err("the old folder was made anew".into()) })
            .and_then(|()| comes_to(start(root, "train --resume after"), &root.join("after"), &whole))
    });
    case("the files are from the future", {
        kill(under_way(root, "future"));
        let names: Vec<_> = fs::read_dir(root.join("future/checkpoints")).unwrap().flatten().collect();
        // The older, the later.
        for (number, entry) in names.iter().enumerate() {
            let day = format!("2099-01-{:02}", 28 - number);
            Command::new("touch").args(["-d", &day]).arg(entry.path()).status().unwrap();
        }
        comes_to(start(root, "train --resume future"), &root.join("future"), &whole)
    });
    case("the folder would lie below a file", {
        fs::write(root.join("file"), "").unwrap();
        ends_with(start(root, &format!("{TINY} --out file/run")), "--out file/run")
    });
    case("a run is read-only", {
        kill(under_way(root, "sealed"));
        let sealed = root.join("sealed");
        let mount = |options: &[&str]| {
            Command::new("mount").args(options).arg(&sealed).status().is_ok_and(|status| status.success())
        };
        if mount(&["--bind", sealed.to_str().unwrap()]) && mount(&["-o", "remount,bind,ro"]) {
            let told = ends_with(start(root, "train --resume sealed"), "sealed: cannot be written");
            let below = ends_with(start(root, &format!("{TINY} --out sealed/new")), "--out sealed/new");
            Command::new("umount").arg(&sealed).status().unwrap();
            told.and(below).and_then(|()| comes_to(start(root, "train --resume sealed"), &sealed, &whole))
        } else {
            eprintln!("  nothing can be mounted here: the case of a read-only folder was left out");
            Ok(())
        }
    });
}

/// A training that has been written down within its second epoch.
fn under_way(root: &Path, out: &str) -> Child {
    let child = start(root, &format!("{TINY} --out {out}"));
    let started = Instant::now();
    let states = root.join(out).join("checkpoints");
    let second = |name: String| name.as_str() > "step-00000010" && !name.contains("unfinished");
    let is_there = || {
        let mut names = fs::read_dir(&states).into_iter().flatten().flatten();
        names.any(|entry| second(entry.file_name().into_string().unwrap()))
    };
    while !is_there() && started.elapsed() < Duration::from_secs(120) {
        thread::sleep(Duration::from_millis(2));
    }
    assert!(has_state(&root.join(out)), "{out} is under way");
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Whether a program ends with one error that says so.
fn ends_with(child: Child, words: &str) -> Result<(), String> {
    let output = child.wait_with_output().unwrap();
    let told = told(&output);
    let errors = told.lines().filter(|line| line.starts_with("error: ") && !line.contains("XDG_RUNTIME_DIR")).count();
    if output.status.code() == Some(1) && errors == 1 && told.contains(words) { Ok(()) } else { Err(told) }
}

/// Whether a training comes to an end, which is this one.
fn comes_to(child: Child, run: &Path, end: &End) -> Result<(), String> {
    let output = child.wait_with_output().unwrap();
    if output.status.success() && End::of(run) == *end { Ok(()) } else { Err(told(&output)) }
}
