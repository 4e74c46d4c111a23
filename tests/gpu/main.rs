//! The kernels and the network on a real device.

#[path = "../common/mod.rs"]
mod common;
mod golden;

fn main() {
    common::run(golden::tests(), vec![]).exit();
}
