//! How long a single dispatch keeps the device busy.

use convscope::bench::Bench;
use convscope::gpu::{AdapterChoice, Gpu, Timing};
use convscope::nn::{Architecture, Keep, Known, Name, Strided};
use pollster::block_on;

use crate::Tally;

/// Seconds. A screen stands still while a dispatch runs, and many systems take the device away after two.
const MOST: f64 = 0.2;
/// Repeats, of which the median counts.
const REPEATS: usize = 3;

/// Times each dispatch of training steps.
pub fn run(tally: &mut Tally) {
    let gpu = block_on(Gpu::open(&AdapterChoice::Best)).unwrap();
    assert!(gpu.has_timestamps(), "this adapter does not tell how long a kernel takes");
    let strided = |size| Architecture::from(Strided::dogs_vs_cats(size, 2));
    let known = |name, width, size| Architecture::Known(Known { name, input: [3, size, size], width, classes: 2 });
    for (what, architecture, batch) in [
        ("the default network at 128 px, batch 32", strided(128), 32),
        ("the default network at 224 px, batch 32", strided(224), 32),
        ("the default network at 128 px, batch 256", strided(128), 256),
        ("the default network at 512 px, batch 32", strided(512), 32),
        ("resnet18 at 224 px, batch 32", known(Name::ResNet18, 1.0, 224), 32),
        ("mobilenet_v2 at 224 px, batch 32", known(Name::MobileNetV2, 1.0, 224), 32),
        ("vgg11_bn with 0.25 times the channels at 224 px, batch 32", known(Name::Vgg11Bn, 0.25, 224), 32),
    ] {
        let network = architecture.build().unwrap();
        let bench = match Bench::new(&gpu, &network, batch, Keep::Needed) {
            Ok(bench) => bench,
            Err(error) => {
                eprintln!("  {what}: {error}");
                continue;
            }
        };
        let step = &bench.training_step;
        let times = block_on(step.time(&gpu, REPEATS)).unwrap();
        let longest = |times: &[Timing], of: fn(&Timing) -> f64| {
            let found = times.iter().max_by(|a, b| of(a).total_cmp(&of(b))).expect("a step has kernels");
            (found.name.clone(), 1e3 * of(found))
        };
        let (kernel, kernel_ms) = longest(&times, |timing| timing.seconds);
        let (part, ms) = longest(&times, |timing| timing.longest);
        let told = format!(
            "{what}: {} kernels in {} dispatches; the longest kernel {kernel}, {kernel_ms:.0} ms; the longest dispatch of {part}, {ms:.0} ms",
            step.len(),
            step.dispatches(),
        );
        eprintln!("  {told}");
        tally.count((ms <= 1e3 * MOST).then_some(()).ok_or(told));
    }
}
