//! The study of depth: that nothing leaks, that it can be stopped and spread over processes, that it finds a planted truth.

#[path = "../common/mod.rs"]
mod common;
mod leakage;
mod planted;
#[path = "../common/program.rs"]
mod program;
mod study;

fn main() {
    let needing_gpu = study::tests().into_iter().chain(leakage::tests()).chain(planted::tests());
    common::run(needing_gpu.collect(), study::tests_of_options()).exit();
}
