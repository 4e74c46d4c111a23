//! The study of depth: that nothing leaks, that it can be stopped and spread over processes, that it finds a planted truth.

#[path = "../common/mod.rs"]
mod common;
mod leakage;
mod planted;
mod program;

fn main() {
    let needing_gpu = program::tests().into_iter().chain(leakage::tests()).chain(planted::tests());
    common::run(needing_gpu.collect(), program::tests_of_options()).exit();
}
