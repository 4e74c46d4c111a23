//! The kernels and the network on a real device.

#[path = "../common/mod.rs"]
mod common;
mod engine;
mod golden;
mod kernels;

use convscope::gpu::Gpu;

/// The device that all tests share.
fn gpu() -> &'static Gpu {
    common::opened().as_ref().expect("tests that need a GPU run only where there is one")
}

fn main() {
    let tests = [kernels::tests(), engine::tests(), golden::tests()];
    common::run(tests.into_iter().flatten().collect(), vec![]).exit();
}
