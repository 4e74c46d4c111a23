//! Mistakes that a program plants in the shaders, and whether the cases find them: `mistakes.rs`.
//!
//! `CONVSCOPE_MUTANTS=relu,bias` tries those of these files alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use convscope::gpu::{Changes, Kernels};
use convscope::ops;
use rand::seq::SliceRandom;

use crate::Tally;
use crate::cases::{Case, Device, Operation, Random, operations};
use crate::lanes::{ORDERS, reordered};
use crate::mistakes::{Kind, Mutant, mutants};

/// Mistakes a file: all missing barriers, so many comparisons, the rest drawn from all kinds.
const EACH: usize = 40;
const COMPARISONS: usize = 12;
/// How long the cases may look for one.
const PATIENCE: Duration = Duration::from_secs(40);
/// Share of the mistakes that must be found.
const FOUND: f64 = 0.95;

/// Files that others use, and one of those.
const COMMON: [(&str, &str); 4] = [
    ("common/mask", "dropout"),
    ("common/sums", "batch_norm"),
    ("common/places", "batch_norm"),
    (NUMBERS, "batch_norm"),
];
/// The file that numbers workgroups, in parts of a dispatch too.
const NUMBERS: &str = "common/numbers";

/// The cases of an operation, made once.
struct Cases<'a> {
    operation: &'a Operation,
    cases: Vec<Case>,
}

pub fn run(tally: &mut Tally) {
    // What is planted panics, too; that is said once, below.
    std::panic::set_hook(Box::new(|_| {}));
    let wanted = std::env::var("CONVSCOPE_MUTANTS").ok();
    let wanted = |file: &str| wanted.as_ref().is_none_or(|files| files.split(',').any(|wanted| wanted == file));
    let operations = operations();
    let plain: BTreeMap<_, _> = [Kernels::Plain, Kernels::Tiled, Kernels::Subgroup]
        .map(|kernels| (kernels as usize, Device::open(kernels, Changes::default())))
        .into();
    let files: Vec<Vec<String>> = operations
        .iter()
        .map(|operation| crate::orders::entries(operation, &plain[&(operation.kernels as usize)]))
        .collect();

    let mut stems: Vec<(&str, &str)> = ops::KERNELS.iter().map(|kernel| (kernel.op, kernel.op)).collect();
    stems.dedup();
    stems.sort_unstable();
    stems.dedup();
    stems.extend(COMMON);
    let [mut killed, mut survivors] = [0_u32; 2];
    println!("{:22} {:>5} {:>6} {:>8} {:>8}", "file", "tried", "killed", "survived", "seconds");
    for (name, stem) in stems.into_iter().filter(|(name, _)| wanted(name)) {
        let started = Instant::now();
        let kernel = ops::KERNELS.iter().find(|kernel| kernel.op == stem).expect("it was taken from there");
        let module = kernel.source.module();
        let mut cases: Vec<(&Vec<String>, Cases<'_>)> = operations
            .iter()
            .zip(&files)
            .filter(|(_, entries)| entries.iter().any(|entry| entry.split('.').next() == Some(stem)))
            .map(|(operation, entries)| (entries, Cases { operation, cases: Vec::new() }))
            .collect();
        let mut counts = [0_u32; 2];
        let mut left = Vec::new();
        for mutant in chosen(mutants(&module, &part(name, kernel.source.text, &module))) {
            let entry = format!("{stem}.{}", mutant.function);
            // A function that is no entry point may be used by any.
            let everywhere = ops::KERNELS.iter().all(|kernel| format!("{}.{}", kernel.op, kernel.entry) != entry);
            let cases = cases.iter_mut().filter(|(entries, _)| everywhere || entries.contains(&entry));
            let cases: Vec<_> = cases.map(|(_, cases)| cases).collect();
            match try_out(&mutant, kernel.source.file, name == NUMBERS, cases, &plain) {
                Verdict::Killed => counts[0] += 1,
                Verdict::Survived => {
                    counts[1] += 1;
                    left.push(mutant);
                }
                Verdict::NoProgram => {}
            }
        }
        let [dead, alive] = counts;
        println!("{name:22} {:5} {dead:6} {alive:8} {:8.1}", dead + alive, started.elapsed().as_secs_f64());
        for Mutant { kind, function, line, change: [before, after], .. } in &left {
            println!("    {kind:?} in {function}, line {line}: `{before}` -> `{after}`");
            if *kind == Kind::Barrier {
                tally.failures.push(format!("{name}, line {line}: a missing barrier was not found"));
            }
        }
        killed += dead;
        survivors += alive;
    }
    let tried = killed + survivors;
    tally.cases += u64::from(tried);
    let share = f64::from(killed) / f64::from(tried.max(1));
    println!("killed {killed} of {tried}, {:.1} %", 100.0 * share);
    if share < FOUND {
        tally.failures.push(format!("only {:.1} % of the mistakes were found", 100.0 * share));
    }
}

/// Where a file's text lies in a module.
fn part(name: &str, text: &str, module: &str) -> Range<usize> {
    match name.strip_prefix("common/") {
        None => 0..text.len(),
        Some(common) => {
            let path = format!("{}/shaders/common/{common}.wgsl", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).expect("the file is there");
            let start = module.find(&text).expect("the module uses the file");
            start..start + text.len()
        }
    }
}

/// The mistakes that are tried.
fn chosen(mut all: Vec<Mutant>) -> Vec<Mutant> {
    all.shuffle(&mut Random::of(0, "mutants").0);
    let (mut chosen, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|mutant| mutant.kind == Kind::Barrier);
    let (comparisons, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|mutant| mutant.kind == Kind::Comparison);
    chosen.extend(comparisons.into_iter().take(COMPARISONS));
    // One of each kind in turn.
    let mut kinds: BTreeMap<Kind, Vec<Mutant>> = BTreeMap::new();
    rest.into_iter().for_each(|mutant| kinds.entry(mutant.kind).or_default().push(mutant));
    while chosen.len() < EACH && kinds.values().any(|mutants| !mutants.is_empty()) {
        chosen.extend(kinds.values_mut().filter_map(Vec::pop));
    }
    chosen.truncate(EACH.max(chosen.iter().filter(|mutant| mutant.kind == Kind::Barrier).count()));
    chosen
}

enum Verdict {
    Killed,
    Survived,
    /// The driver's compiler or the unrolling refuses it.
    NoProgram,
}

fn try_out(
    mutant: &Mutant,
    file: &'static str,
    in_parts: bool,
    mut cases: Vec<&mut Cases<'_>>,
    plain: &BTreeMap<usize, Device>,
) -> Verdict {
    let with = |module| Changes { module: Some((file, module)), ..Changes::default() };
    let folded = |module| Changes { most_workgroups: Some(5), ..with(module) };
    let mut ways = vec![folded(mutant.module.clone())];
    if mutant.kind == Kind::Barrier {
        ways.extend(ORDERS.iter().filter_map(|order| reordered(&mutant.module, order)).map(folded));
    }
    if in_parts {
        ways.push(Changes { most_work: Some(1), ..with(mutant.module.clone()) });
    }
    for changes in ways {
        let started = Instant::now();
        let mut devices: BTreeMap<usize, Device> = BTreeMap::new();
        let most = cases.iter().map(|cases| count(cases.operation)).max().unwrap_or(0);
        for number in 0..most {
            // Of the tiles of a convolution, the last compile fastest.
            for cases in cases.iter_mut().rev() {
                let operation = cases.operation;
                if number >= count(operation) || started.elapsed() > PATIENCE {
                    continue;
                }
                while cases.cases.len() <= number {
                    let next = cases.cases.len();
                    cases.cases.push(line(operation, next).case(&plain[&(operation.kernels as usize)].gpu));
                }
                let case = &cases.cases[number];
                let kernels = operation.kernels as usize;
                let device = devices.entry(kernels).or_insert_with(|| Device::open(operation.kernels, changes.clone()));
                match catch_unwind(AssertUnwindSafe(|| case.check(device))) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) if error.contains("the GPU stopped") => return Verdict::NoProgram,
                    Ok(Err(_)) => return Verdict::Killed,
                    Err(_) => return Verdict::NoProgram,
                }
            }
        }
    }
    Verdict::Survived
}

/// Cases of an operation that look for a mistake.
fn count(operation: &Operation) -> usize {
    if operation.compiles { operation.table.len() } else { operation.table.len() + 20 }
}

/// Four that are drawn, then the table, then more that are drawn; of slow ones the table.
fn line(operation: &Operation, number: usize) -> crate::cases::Line<'_> {
    const FIRST: usize = 4;
    let table = operation.table.len();
    if operation.compiles {
        return operation.tabled().nth(number).expect("the table is that long");
    }
    match number {
        0..FIRST => operation.drawn(number as u64),
        _ if number < FIRST + table => operation.tabled().nth(number - FIRST).expect("the table is that long"),
        _ => operation.drawn((number - table) as u64),
    }
}
