//! Times every kernel of a training step on the device, at the model's shapes, against the device's own measured peaks;
//! then the whole step. `cargo bench --bench kernels`

use std::time::Instant;

use convscope::checkpoint::Weights;
use convscope::gpu::{AdapterChoice, Gpu, Plan, Tensor, Timing};
use convscope::model::{Keep, Mode, Model, Optimizer};
use convscope::ops::peak;
use convscope::spec::Spec;
use pollster::block_on;

const BATCH: usize = 32;
const REPEATS: usize = 7;

fn main() {
    let gpu = block_on(Gpu::open(&AdapterChoice::Best)).unwrap_or_else(|error| panic!("{error}"));
    println!("{} ({:?}, {} {})", gpu.info().name, gpu.info().backend, gpu.info().driver, gpu.info().driver_info);
    if gpu.has_timestamps() {
        let peaks = measure_peaks(&gpu);
        println!(
            "measured peaks: {:.1} GFLOP/s multiply-add, {:.1} GB/s copy\n",
            peaks.flops * 1e-9,
            peaks.bytes * 1e-9
        );
        time_kernels(&gpu, &peaks);
    } else {
        println!("this adapter has no timestamps: only the whole step can be timed\n");
    }
    for size in [64, 128, 224] {
        time_steps(&gpu, size);
    }
}

/// The device's best, a second.
struct Peaks {
    flops: f64,
    bytes: f64,
}

fn measure_peaks(gpu: &Gpu) -> Peaks {
    // 64 MiB each way: more than the caches of most devices hold.
    let len = 1 << 22;
    let x = Tensor::from_slice(gpu, "x", &vec![0.5f32; 4 * len]).unwrap();
    let y = Tensor::new(gpu, "y", 4 * len).unwrap();
    let mut plan = Plan::new();
    let short = if gpu.info().device_type == wgpu::DeviceType::Cpu { 1 << 14 } else { 1 << 21 };
    plan.add(gpu, "", &peak::MultiplyAdd { shape: peak::Shape { len: short, rounds: 512 }, x: &x, y: &y });
    plan.add(gpu, "", &peak::Copy { shape: peak::Shape { len: len as u32, rounds: 0 }, x: &x, y: &y });
    plan.compile(gpu, |_, _| {}).unwrap();
    let timings = block_on(plan.time(gpu, REPEATS)).unwrap();
    Peaks { flops: timings[0].flops as f64 / timings[0].seconds, bytes: timings[1].bytes as f64 / timings[1].seconds }
}

/// A model with a batch of noise in it.
fn model(gpu: &Gpu, size: usize, keep: Keep) -> Model {
    let spec = Spec::dogs_vs_cats(size, 2);
    let model = Model::new(gpu, &spec, BATCH, keep).unwrap_or_else(|error| panic!("{error}"));
    model.load(gpu, &Weights::initial(&spec, 0));
    // Hashed, so that neither compiler nor cache finds a pattern.
    let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5;
    let image = |i: usize| if i % 4 == 3 { 0.0 } else { noise(i) };
    let images: Vec<f32> = (0..BATCH * size * size * 4).map(image).collect();
    let labels: Vec<u32> = (0..BATCH as u32).map(|i| i % 2).collect();
    model.set_batch(gpu, &images, &labels);
    model
}

const ADAM: Optimizer = Optimizer::Adam { weight_decay: 0.0 };

fn time_kernels(gpu: &Gpu, peaks: &Peaks) {
    let trained = model(gpu, 128, Keep::Needed);
    trained.set_step(gpu, &ADAM, 1e-3, BATCH, 0, 1);
    let step = trained.training_step(gpu, &ADAM);
    let looked_into = model(gpu, 128, Keep::Everything);
    looked_into.set_live(gpu, BATCH);
    let mut beside = looked_into.forward(gpu, Mode::Eval);
    beside.extend(looked_into.backward(gpu, Mode::Eval, true));
    println!("a training step of {BATCH} pictures of 128 x 128:");
    println!("{:34}{:>9} {:>17} {:>9} {:>8} {:>8}", "kernel", "ms", "min .. max", "GFLOP/s", "GB/s", "of peak");
    let timings = time(gpu, &step);
    timings.iter().for_each(|timing| print(timing, peaks));
    println!("{:34}{:9.2}\n", "sum", timings.iter().map(|timing| timing.seconds).sum::<f64>() * 1e3);
    println!("evaluation, with the gradient of the pictures:");
    let timings = time(gpu, &beside);
    timings.iter().for_each(|timing| print(timing, peaks));
    println!("{:34}{:9.2}\n", "sum", timings.iter().map(|timing| timing.seconds).sum::<f64>() * 1e3);
}

fn time(gpu: &Gpu, plan: &Plan) -> Vec<Timing> {
    plan.submit(gpu).and_then(|done| gpu.wait(Some(done))).unwrap();
    block_on(plan.time(gpu, REPEATS)).unwrap()
}

/// One line: the share of the peak is that of arithmetic or of memory, whichever the kernel comes closer to.
fn print(timing: &Timing, peaks: &Peaks) {
    let flops = timing.flops as f64 / timing.seconds;
    let bytes = timing.bytes as f64 / timing.seconds;
    let share = 100.0 * (flops / peaks.flops).max(bytes / peaks.bytes);
    println!(
        "{:34}{:9.3} {:>17} {:9.1} {:8.2} {share:7.1}%",
        timing.name,
        timing.seconds * 1e3,
        format!("{:.3} .. {:.3}", timing.range[0] * 1e3, timing.range[1] * 1e3),
        flops * 1e-9,
        bytes * 1e-9,
    );
}

fn time_steps(gpu: &Gpu, size: usize) {
    let model = model(gpu, size, Keep::Needed);
    let plan = model.training_step(gpu, &ADAM);
    let mut times: Vec<f64> = (1..=3 + 2 * REPEATS as u32)
        .map(|number| {
            let started = Instant::now();
            model.set_step(gpu, &ADAM, 1e-3, BATCH, 0, number);
            plan.submit(gpu).and_then(|done| gpu.wait(Some(done))).unwrap();
            started.elapsed().as_secs_f64()
        })
        .skip(3)
        .collect();
    times.sort_by(f64::total_cmp);
    let metrics = block_on(model.metrics(gpu)).unwrap();
    assert_eq!(metrics.broken, 0, "the loss of a timed step was not finite");
    let median = times[times.len() / 2];
    println!(
        "whole step at {size} px: {:.1} images/s ({:.1} ms, {:.1} .. {:.1})",
        BATCH as f64 / median,
        median * 1e3,
        times[0] * 1e3,
        times[times.len() - 1] * 1e3
    );
}
