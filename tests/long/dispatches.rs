//! How long a single kernel keeps the device busy.

use convscope::bench::Bench;
use convscope::gpu::{AdapterChoice, Gpu, Timing};
use convscope::nn::{Architecture, Keep, Known, Name, Strided};
use pollster::block_on;

use crate::Tally;

/// Seconds. A screen stands still while a kernel runs, and many systems take the device away after two.
const MOST: f64 = 0.2;
/// Repeats, of which the median counts.
const REPEATS: usize = 3;

/// Times each kernel of a training step. The default network must stay below the bound; of larger work the longest kernel is only printed.
pub fn run(tally: &mut Tally) {
    let gpu = block_on(Gpu::open(&AdapterChoice::Best)).unwrap();
    assert!(gpu.has_timestamps(), "this adapter does not tell how long a kernel takes");
    let strided = |size| Architecture::from(Strided::dogs_vs_cats(size, 2));
    let known = |name, size| Architecture::Known(Known { name, input: [3, size, size], width: 1.0, classes: 2 });
    for (what, architecture, batch, bound) in [
        ("the default network at 128 px, batch 32", strided(128), 32, true),
        ("the default network at 224 px, batch 32", strided(224), 32, true),
        ("the default network at 128 px, batch 256", strided(128), 256, false),
        ("the default network at 512 px, batch 32", strided(512), 32, false),
        ("resnet18 at 224 px, batch 32", known(Name::ResNet18, 224), 32, false),
        ("vgg11_bn at 224 px, batch 8", known(Name::Vgg11Bn, 224), 8, false),
    ] {
        let network = architecture.build().unwrap();
        let bench = match Bench::new(&gpu, &network, batch, Keep::Needed) {
            Ok(bench) => bench,
            Err(error) => {
                eprintln!("  {what}: {error}");
                continue;
            }
        };
        let times = block_on(bench.training_step.time(&gpu, REPEATS)).unwrap();
        let Timing { name, seconds, .. } =
            times.into_iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds)).expect("a step has kernels");
        let told = format!("{what}: the longest kernel is {name}, {:.0} ms", 1e3 * seconds);
        eprintln!("  {told}");
        if bound {
            tally.count((seconds <= MOST).then_some(()).ok_or(told));
        }
    }
}
