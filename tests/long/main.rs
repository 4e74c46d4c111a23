//! What takes too long for every day: each part is run by its name, or all of them, and a table of all is printed at the end.
//!
//! ```text
//! cargo test --locked --test long -- [PART]...
//! ```

#[path = "../cases/mod.rs"]
mod cases;
mod dispatches;
mod files;
mod folders;
mod full;
mod identities;
mod kernels;
mod kills;
mod lanes;
mod lockstep;
mod mistakes;
mod mutants;
mod orders;
#[path = "../common/program.rs"]
mod program;
mod soak;
mod threads;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

/// What a part has done so far.
#[derive(Default)]
pub struct Tally {
    /// Cases that were run.
    cases: u64,
    /// Of those, what went wrong: a line that says which and how.
    failures: Vec<String>,
}

impl Tally {
    /// Counts a case, which failed for the given reason, if any.
    pub fn count(&mut self, outcome: Result<(), String>) {
        self.cases += 1;
        if let Err(failure) = outcome {
            eprintln!("  {failure}");
            self.failures.push(failure);
        }
    }
}

/// Name, what it shows, and the work.
type Part = (&'static str, &'static str, fn(&mut Tally));

const PARTS: &[Part] = &[
    ("files", "each of 10,000 files is used or named once, by any number of threads", files::run),
    ("kills", "a training that is killed and gone on with comes to the same end", kills::run),
    ("full", "a training that a full disk stops at any of its writes goes on to the same end", full::run),
    ("soak", "a process that takes 10,000 steps holds no more at the end", soak::run),
    ("dispatches", "no dispatch of a training step keeps the device busy for long", dispatches::run),
    ("folders", "nothing is overwritten in folders that are shared, read-only, moved or from the future", folders::run),
    ("kernels", "10,000 random cases of all kernels agree with their references", kernels::run),
    ("identities", "the results of kernels fit each other, and gradients finite differences", identities::run),
    ("orders", "kernels give the same bits in any order of lanes and threads", orders::run),
    ("threads", "equal seeds make equal weights with any number of threads", threads::run),
    ("lockstep", "whole networks move their weights as the references in f64 do", lockstep::run),
    ("mutants", "the cases find mistakes that a program plants in the shaders", mutants::run),
];

fn main() -> ExitCode {
    // A part starts this program again to see what comes out elsewhere.
    if orders::was_asked() {
        return ExitCode::SUCCESS;
    }
    let named: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &String| PARTS.iter().any(|(part, ..)| part == name);
    if let Some(name) = named.iter().find(|name| !known(name)) {
        let parts: Vec<_> = PARTS.iter().map(|(part, ..)| *part).collect();
        eprintln!("there is no part {name}: the parts are {}", parts.join(", "));
        return ExitCode::FAILURE;
    }
    let mut rows = Vec::new();
    let mut failed = 0;
    for (name, shows, run) in
        PARTS.iter().filter(|(part, ..)| named.is_empty() || named.iter().any(|name| name == part))
    {
        eprintln!("{name}: {shows}");
        let started = Instant::now();
        let mut tally = Tally::default();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&mut tally))) {
            tally.failures.push(format!("the part ended early: {}", message(panic.as_ref())));
        }
        let seconds = started.elapsed().as_secs_f64();
        rows.push(format!("| {name} | {shows} | {} | {} | {seconds:.0} |", tally.cases, tally.failures.len()));
        failed += tally.failures.len();
    }
    println!("| part | shows that | cases | failures | seconds |\n|---|---|---|---|---|\n{}", rows.join("\n"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
