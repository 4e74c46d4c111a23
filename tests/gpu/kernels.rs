//! Every kernel on the device against its CPU reference, element by element: `tests/cases` says what and how.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use convscope::gpu::{Changes, Kernels, Plan, Reads};
use convscope::ops;
use libtest_mimic::Trial;

use crate::cases::identities::{self, GRADIENTS};
use crate::cases::{Device, Line, Operation, operations};
use crate::common::trial;

/// A line that a failure printed, to be run again: `CONVSCOPE_CASE='..' cargo test --test gpu replay`.
const CASE: &str = "CONVSCOPE_CASE";

/// Seeds of the cases that are drawn for each operation, behind those of its table. The long suite draws more, from 0 on.
const DRAWN: std::ops::Range<u64> = 1_000_000..1_000_006;

/// Operations that are tried in parts: each set of kernels for the convolutions, and each way to number what a workgroup does.
const PARTED: [&str; 9] = [
    "conv2d_plain",
    "conv2d_tiled",
    "conv2d_wide",
    "conv2d_subgroup",
    "conv2d_sum",
    "conv2d_sum_shared",
    "batch_norm",
    "linear",
    "adam",
];

pub fn tests() -> Vec<Trial> {
    let mut tests = vec![
        trial("kernels::each_is_in_a_case", each_is_in_a_case),
        trial("kernels::a_line_is_its_case", a_line_is_its_case),
        trial("kernels::more_workgroups_than_one_dimension_holds", more_workgroups_than_one_dimension_holds),
        trial("kernels::in_parts_they_write_the_same_bits", in_parts_they_write_the_same_bits),
        trial("kernels::through_textures_they_write_the_same_bits", through_textures_they_write_the_same_bits),
        trial(
            "kernels::memory_that_is_read_before_it_is_written_is_told",
            memory_that_is_read_before_it_is_written_is_told,
        ),
        trial("kernels::what_is_written_beside_a_tensor_is_told", what_is_written_beside_a_tensor_is_told),
        trial("kernels::replay", replay).with_ignored_flag(std::env::var_os(CASE).is_none()),
    ];
    for group in identities::groups() {
        let kernels = all().iter().find(|operation| operation.group == group).expect("it is one of them").kernels;
        // They are compiled for every shape anew, which is for the long suite.
        if kernels != Kernels::Subgroup {
            tests.push(trial(format!("kernels::identities::{group}"), move || identities_hold(kernels, group)));
        }
    }
    tests.push(trial("kernels::gradients_are_those_of_finite_differences", gradients));
    for (number, operation) in all().iter().enumerate() {
        let name = format!("kernels::{}::{}", operation.group, operation.entry);
        tests.push(trial(name, move || table_and_drawn(&all()[number])));
    }
    tests
}

fn all() -> &'static [Operation] {
    static OPERATIONS: OnceLock<Vec<Operation>> = OnceLock::new();
    OPERATIONS.get_or_init(operations)
}

/// The device of the cases of a set of kernels that a thread tries. A dispatch is folded into two dimensions early.
fn device(kernels: Kernels) -> &'static Device {
    thread_local! {
        static DEVICES: [OnceCell<&'static Device>; crate::KERNELS.len()] =
            const { [const { OnceCell::new() }; crate::KERNELS.len()] };
    }
    let changes = || Changes { most_workgroups: Some(5), ..Changes::default() };
    let open = || -> &'static Device { Box::leak(Box::new(Device::open(kernels, changes()))) };
    DEVICES.with(|devices| *devices[kernels as usize].get_or_init(open))
}

fn check(line: &Line<'_>) {
    let device = device(line.operation.kernels);
    if let Err(error) = line.case(&device.gpu).check(device) {
        panic!("{error}\nagain: {CASE}='{line}' cargo test --test gpu replay");
    }
}

fn table_and_drawn(operation: &Operation) {
    let drawn = if operation.compiles { DRAWN.start..DRAWN.start + 2 } else { DRAWN };
    operation.tabled().chain(drawn.map(|seed| operation.drawn(seed))).for_each(|line| check(&line));
}

fn identities_hold(kernels: Kernels, group: &str) {
    for seed in 0..2 {
        identities::check(device(kernels), all(), group, seed).unwrap();
    }
}

fn gradients() {
    for gradient in GRADIENTS {
        for seed in 0..3 {
            gradient.check(device(Kernels::Plain), all(), seed).unwrap();
        }
    }
}

fn replay() {
    let line = std::env::var(CASE).expect("the test is ignored without it");
    check(&Line::parse(&line, all()).unwrap());
}

/// What the cases of the tables dispatch is every kernel of `ops::KERNELS`, and nothing else.
fn each_is_in_a_case() {
    let mut found = BTreeSet::new();
    for operation in all() {
        let device = device(operation.kernels);
        for line in operation.tabled().take(1) {
            let mut plan = Plan::new();
            line.case(&device.gpu).record(&device.gpu, &mut plan);
            // Without the place.
            found.extend(plan.names().filter_map(|name| name.split(' ').next()).map(str::to_string));
        }
    }
    let declared: BTreeSet<_> = ops::KERNELS.iter().map(|kernel| format!("{}.{}", kernel.op, kernel.entry)).collect();
    assert_eq!(found, declared);
}

fn a_line_is_its_case() {
    for operation in all() {
        for seed in 0..20 {
            let line = operation.drawn(seed).to_string();
            assert_eq!(Line::parse(&line, all()).unwrap().to_string(), line);
        }
        assert!(operation.tabled().all(|line| line.sizes.len() == operation.sizes.len()), "{}", operation.group);
    }
    for (line, error) in [
        ("", "there is no operation"),
        ("relu sideways len=3", "there is no operation relu sideways"),
        ("relu forward integers=0 seed=1", "has no len"),
        ("relu forward len=x integers=0 seed=1", "len is no number"),
    ] {
        let found = Line::parse(line, all()).err().unwrap();
        assert!(found.contains(error), "{found:?} does not say {error:?}");
    }
}

/// A kernel that reads memory of its workgroup which it has not written finds what was left there. A GPU may leave anything.
fn memory_that_is_read_before_it_is_written_is_told() {
    const LINE: &str = "relu forward len=64 integers=0 seed=1";
    let line = Line::parse(LINE, all()).unwrap();
    let relu = &ops::relu::Forward::DECLARATION.source;
    let reading = relu.module().replace("max(x[i], vec4<f32>())", "max(x[i], vec4<f32>()) + left[i % 64u]");
    assert_ne!(reading, relu.module(), "the replaced formula is there");
    let module = format!("{reading}\nvar<workgroup> left: array<vec4<f32>, 64>;\n");
    let device = Device::open(Kernels::Plain, Changes { module: Some((relu.file, module)), ..Changes::default() });
    let found = line.case(&device.gpu).check(&device);
    assert!(found.is_err() || !device.gpu.is_software(), "nothing was noticed");
}

fn what_is_written_beside_a_tensor_is_told() {
    let line = Line::parse("relu forward len=64 integers=0 seed=1", all()).unwrap();
    let device = device(Kernels::Plain);
    for (by, told) in [(-64, "was written 64 before the start"), (64, "was written 0 past the end")] {
        let error = line.case(&device.gpu).shifted(by).check(device).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}

/// Where a dispatch holds one workgroup, and where it holds all, of the largest cases of the tables.
fn in_parts_they_write_the_same_bits() {
    let mut tried = BTreeSet::new();
    for kernels in crate::KERNELS {
        let in_parts = Device::open(kernels, Changes { most_work: Some(1), ..Changes::default() });
        for group in PARTED {
            let mut count = [0, 0];
            for operation in all().iter().filter(|operation| operation.group == group && operation.kernels == kernels) {
                let line =
                    operation.tabled().max_by_key(|line| line.sizes.iter().map(|&size| size.max(1)).product::<usize>());
                let line = line.expect("there is a case");
                let case = line.case(&device(kernels).gpu);
                assert!(case.run(&in_parts).unwrap() == case.run(device(kernels)).unwrap(), "{line}");
                let mut plan = Plan::new();
                case.record(&in_parts.gpu, &mut plan);
                count = [count[0] + plan.len(), count[1] + plan.dispatches()];
            }
            let [kernels, dispatches] = count;
            assert!(kernels == 0 || dispatches > 2 * kernels, "{group}: {kernels} kernels, {dispatches} dispatches");
            tried.extend((kernels > 0).then_some(group));
        }
    }
    assert_eq!(tried, PARTED.into());
}

/// The last and largest cases of the tables, and one that is drawn.
fn through_textures_they_write_the_same_bits() {
    for kernels in crate::KERNELS {
        let textures = Device::open(kernels, Changes { reads: Some(Reads::Textures), ..Changes::default() });
        for operation in all().iter().filter(|operation| operation.kernels == kernels) {
            let last = operation.tabled().last().expect("there is a case");
            for line in [last, operation.drawn(DRAWN.start)] {
                let case = line.case(&device(kernels).gpu);
                assert!(case.run(&textures).unwrap() == case.run(device(kernels)).unwrap(), "{line}");
            }
        }
    }
}

/// In one dimension as many as there can be. All other cases fold their dispatches much earlier.
fn more_workgroups_than_one_dimension_holds() {
    let device = Device::open(Kernels::Plain, Changes::default());
    let line = "batch_norm backward_combine n=1 c=262201 hw=1 live=1 spread=0 integers=0 seed=1";
    Line::parse(line, all()).unwrap().case(&device.gpu).check(&device).unwrap();
}
