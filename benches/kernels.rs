//! Times every kernel of a training step on the device, at the model's shapes, against the device's own measured peaks;
//! then the operations that this step does not have, and the whole step. `cargo bench --bench kernels`, with
//! `-- --kernels plain` for another set of kernels, `-- --model resnet18 --batch 128` for another network or batch.
//! `target/bench-kernels.json` holds the same numbers.
//!
//! With `-- --case 'conv2d_wide forward n=32 ci=64 h=32 w=32 co=64 kh=3 kw=3 s=1 p=1 live=32 integers=0 seed=1'`, the kernels of one case
//! of the tests, as often as it is given, and nothing else.

#[path = "../tests/cases/mod.rs"]
mod cases;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use convscope::bench::{Bench, Milliseconds, Repeats, Setting, WARM_UP};
use convscope::cli::TimedArgs;
use convscope::commands;
use convscope::gpu::{Changes, Gpu, Plan, Tensor, Timing};
use convscope::nn::layout::padded;
use convscope::nn::{Keep, Mode, Network};
use convscope::ops::conv2d::sum_parts;
use convscope::ops::depthwise::{self, Depthwise};
use convscope::ops::{Step, add, avg_pool2d, bias, max_pool2d, peak, relu};
use pollster::block_on;
use serde::Serialize;

const REPEATS: usize = 7;
const JSON: &str = "target/bench-kernels.json";

/// Times every kernel of a training step, and the whole step
#[derive(Parser)]
struct Arguments {
    /// Which network, how many images, how many steps, on what.
    #[command(flatten)]
    step: TimedArgs,
    /// A case of the tests (`tests/cases`), to be timed in the place of everything else.
    #[arg(long, value_name = "LINE")]
    case: Vec<String>,
    /// Cargo passes it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// All that is measured: what the JSON file holds.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    setting: Setting,
    size: usize,
    batch: usize,
    /// None where the adapter has no timestamps.
    kernel_times: Option<KernelReport>,
    step: StepReport,
}

#[derive(Serialize)]
struct KernelReport {
    peaks: Peaks,
    training: Vec<Row>,
    /// Milliseconds of the training step's parts.
    parts: BTreeMap<&'static str, f64>,
    /// Evaluation with the gradient of the images.
    evaluation: Vec<Row>,
    /// Operations of other networks.
    others: Vec<Row>,
}

/// The device's best.
#[derive(Serialize)]
struct Peaks {
    gflops: f64,
    gb_per_s: f64,
}

/// A kernel in the table.
#[derive(Serialize)]
struct Row {
    name: String,
    part: &'static str,
    ms: Milliseconds,
    gflops: f64,
    gb_per_s: f64,
    /// Of the peak of arithmetic or of memory, whichever the kernel comes closer to.
    share_of_peak: f64,
}

#[derive(Serialize)]
struct StepReport {
    images_per_s: f64,
    ms: Milliseconds,
}

fn main() -> Result<()> {
    let Arguments { step, case, .. } = Arguments::parse();
    step.check()?;
    let network = step.network()?;
    if !case.is_empty() {
        return time_cases(&case);
    }
    let gpu = commands::open(&step.device)?;
    let setting = Setting::of(&gpu);
    println!("{} ({:?}, {}), {} kernels", setting.adapter, gpu.info().backend, setting.driver, setting.kernels);
    let kernel_times = if gpu.has_timestamps() {
        Some(time_kernels(&gpu, &network, step.batch)?)
    } else {
        println!("this adapter has no timestamps: only the whole step can be timed\n");
        None
    };
    let report = Report {
        setting,
        size: step.model.size,
        batch: step.batch,
        kernel_times,
        step: time_steps(&gpu, &network, &step)?,
    };
    fs::create_dir_all("target")
        .and_then(|()| fs::write(JSON, serde_json::to_string_pretty(&report)?))
        .with_context(|| format!("cannot write {JSON}"))?;
    println!("\nwrote {JSON}");
    Ok(())
}

/// Times the kernels of cases, each on the kernels for convolutions that it is for, and checks what they make.
fn time_cases(lines: &[String]) -> Result<()> {
    let operations = cases::operations();
    for line in lines {
        let line = cases::Line::parse(line, &operations).map_err(anyhow::Error::msg)?;
        let device = cases::Device::open(line.operation.kernels, Changes::default());
        let (gpu, case) = (&device.gpu, line.case(&device.gpu));
        case.check(&device).map_err(anyhow::Error::msg)?;
        anyhow::ensure!(gpu.has_timestamps(), "this adapter has no timestamps");
        println!("{line}");
        let mut plan = Plan::new();
        case.record(gpu, &mut plan);
        time_plan(gpu, &plan, &measure_peaks(gpu)?)?;
    }
    Ok(())
}

fn measure_peaks(gpu: &Gpu) -> Result<Peaks> {
    // 64 MiB each way: more than the caches of most devices hold.
    let len = 1 << 22;
    let x = Tensor::from_slice(gpu, "x", &vec![0.5f32; 4 * len])?;
    let y = Tensor::new(gpu, "y", 4 * len)?;
    let mut plan = Plan::new();
    let short = if gpu.is_software() { 1 << 14 } else { 1 << 21 };
    plan.add(gpu, "", &peak::MultiplyAdd { shape: peak::Shape { len: short, rounds: 512 }, x: &x, y: &y });
    plan.add(gpu, "", &peak::Copy { shape: peak::Shape { len: len as u32, rounds: 0 }, x: &x, y: &y });
    block_on(plan.compile(gpu, |_, _| {}))?;
    let timings = block_on(plan.time(gpu, REPEATS))?;
    Ok(Peaks {
        gflops: 1e-9 * timings[0].flops as f64 / timings[0].seconds,
        gb_per_s: 1e-9 * timings[1].bytes as f64 / timings[1].seconds,
    })
}

fn time_kernels(gpu: &Gpu, network: &Network, batch: usize) -> Result<KernelReport> {
    let peaks = measure_peaks(gpu)?;
    println!("measured peaks: {:.1} GFLOP/s multiply-add, {:.1} GB/s copy\n", peaks.gflops, peaks.gb_per_s);
    let mut bench = Bench::new(gpu, network, batch, Keep::Needed)?;
    // Checks that the kernels work at all.
    bench.time_steps(&Repeats { warm_up: 0, timed: 1, within: Duration::MAX })?;

    let [_, height, width] = network.input();
    println!("a training step of {batch} images of {height} x {width}:");
    let training = time_plan(gpu, &bench.training_step, &peaks)?;
    let mut parts = BTreeMap::new();
    for row in &training {
        *parts.entry(row.part).or_default() += row.ms.median;
    }
    for (part, ms) in &parts {
        println!("{part:38}{ms:9.2}");
    }

    println!("\nevaluation, with the gradient of the images:");
    let model = Bench::new(gpu, network, batch, Keep::Everything)?.model;
    let mut evaluation = model.forward(gpu, Mode::Eval);
    evaluation.extend(model.backward(gpu, Mode::Eval, true));
    let evaluation = time_plan(gpu, &evaluation, &peaks)?;

    let [channels, height, width] = OTHERS;
    println!("\noperations of other networks, on {batch} x {channels} x {height} x {width} (a /2 is a stride of 2):");
    let others = time_plan(gpu, &other_operations(gpu, batch)?, &peaks)?;
    println!();
    Ok(KernelReport { peaks, training, parts, evaluation, others })
}

/// Channels, height and width of the maps for which the operations of other networks are timed.
const OTHERS: [usize; 3] = [64, 32, 32];

fn other_operations(gpu: &Gpu, batch: usize) -> Result<Plan> {
    let [channels, height, width] = OTHERS;
    let len = batch * height * width * padded(channels);
    let tensor = |name: &str, len: usize| Tensor::from_slice(gpu, name, &vec![0.5f32; len]);
    let [x, y, dx, index] = [tensor("x", len)?, tensor("y", len)?, tensor("dx", len)?, tensor("index", len)?];
    let [bias, dbias] = [tensor("bias", padded(channels))?, tensor("dbias", padded(channels))?];
    let step = Tensor::uniform(gpu, "step", size_of::<Step>() / 4)?;
    // The first number is Step::live.
    step.write(gpu, &[batch as u32]);

    let mut plan = Plan::new();
    for (place, kernel, stride, padding) in [("alone 2x2/2", 2, 2, 0), ("alone 3x3/2", 3, 2, 1)] {
        let shape = max_pool2d::Shape::new(batch, OTHERS, kernel, stride, padding);
        plan.add(gpu, place, &max_pool2d::Forward { shape, x: &x, y: &y, index: &index });
        plan.add(gpu, place, &max_pool2d::Backward { shape, indices: &index, dy: &y, dx: &dx });
        plan.add(gpu, place, &avg_pool2d::Forward { shape, x: &x, y: &y });
        plan.add(gpu, place, &avg_pool2d::Backward { shape, dy: &y, dx: &dx });
    }
    for (place, kernel, stride, padding) in [("alone 3x3", 3, 1, 1), ("alone 3x3/2", 3, 2, 1), ("alone 5x5", 5, 1, 2)] {
        let conv = Depthwise::new(depthwise::Shape::new(batch, OTHERS, kernel, stride, padding));
        let [weight, dweight] = [tensor("weight", conv.weight_len())?, tensor("dweight", conv.weight_len())?];
        let partials = tensor("partials", conv.weight_parts().partial_len())?;
        conv.forward(gpu, &mut plan, place, &x, &weight, &y);
        conv.backward_input(gpu, &mut plan, place, &weight, &y, &dx);
        let partial = if partials.is_empty() { &dweight } else { &partials };
        conv.backward_weight(gpu, &mut plan, place, &step, &x, &y, partial);
        sum_parts(gpu, &mut plan, place, conv.weight_parts(), &partials, &dweight);
    }
    let shape = bias::Shape::new(gpu.shares_sums(), batch, channels, height * width);
    let partials = tensor("partials", shape.parts().partial_len())?;
    plan.add(gpu, "alone", &bias::Forward { shape, bias: &bias, y: &y });
    let partial = if partials.is_empty() { &dbias } else { &partials };
    shape.backward(gpu, &mut plan, "alone", &step, &y, partial);
    sum_parts(gpu, &mut plan, "alone", shape.parts(), &partials, &dbias);
    let vectors = len as u32 / 4;
    plan.add(gpu, "alone", &add::Forward { shape: add::Shape { len: vectors }, a: &x, b: &dx, y: &y });
    let shape = relu::Shape { len: vectors };
    plan.add(gpu, "alone", &relu::Forward6 { shape, x: &x, y: &y });
    plan.add(gpu, "alone", &relu::Backward6 { shape, x: &x, dy: &y, dx: &dx });
    Ok(plan)
}

/// Times each kernel of a plan and prints the table.
fn time_plan(gpu: &Gpu, plan: &Plan, peaks: &Peaks) -> Result<Vec<Row>> {
    plan.submit(gpu).and_then(|done| gpu.wait(Some(done)))?;
    let timings = block_on(plan.time(gpu, REPEATS))?;
    let rows: Vec<_> = timings.into_iter().map(|timing| Row::new(timing, peaks)).collect();
    println!("{:38}{:>9} {:>17} {:>9} {:>8} {:>8}", "kernel", "ms", "min .. max", "GFLOP/s", "GB/s", "of peak");
    rows.iter().for_each(Row::print);
    println!("{:38}{:9.2}", "sum", rows.iter().map(|row| row.ms.median).sum::<f64>());
    Ok(rows)
}

impl Row {
    fn new(timing: Timing, peaks: &Peaks) -> Self {
        let Timing { name, seconds, range: [least, most], flops, bytes, .. } = timing;
        let gflops = 1e-9 * flops as f64 / seconds;
        let gb_per_s = 1e-9 * bytes as f64 / seconds;
        Self {
            part: part(&name),
            name,
            ms: Milliseconds { min: 1e3 * least, median: 1e3 * seconds, max: 1e3 * most },
            gflops,
            gb_per_s,
            share_of_peak: (gflops / peaks.gflops).max(gb_per_s / peaks.gb_per_s),
        }
    }

    fn print(&self) {
        let Self { name, ms, gflops, gb_per_s, .. } = self;
        let range = format!("{:.3} .. {:.3}", ms.min, ms.max);
        let share = 100.0 * self.share_of_peak;
        println!("{name:38}{:9.3} {range:>17} {gflops:9.1} {gb_per_s:8.2} {share:7.1}%", ms.median);
    }
}

/// What a kernel belongs to, by its name in a plan: operation, entry point and place.
fn part(name: &str) -> &'static str {
    match name {
        _ if name.ends_with(" update") => "update",
        _ if name.contains(" alone") => "other operations",
        // Of all layers at once.
        _ if name.starts_with("conv2d_transpose") => "input gradients",
        _ if name.starts_with("conv2d_sum.sum_layers") => "sums of convolutions' parts",
        _ if !name.contains(" block ") => "head and loss",
        _ if !name.starts_with("conv2d") => "batch norm and activations",
        // Any of the three may be made in parts.
        _ if name.contains("sum") => "sums of convolutions' parts",
        _ if name.contains("forward") => "forward convolutions",
        _ if name.contains("input") => "input gradients",
        _ => "weight gradients",
    }
}

fn time_steps(gpu: &Gpu, network: &Network, step: &TimedArgs) -> Result<StepReport> {
    let repeats = Repeats { warm_up: WARM_UP, timed: step.steps, within: Duration::MAX };
    let mut bench = Bench::new(gpu, network, step.batch, Keep::Needed)?;
    let ms = Milliseconds::of(bench.time_steps(&repeats)?);
    let images_per_s = ms.images_per_s(step.batch);
    let Milliseconds { min, median, max } = ms;
    println!("whole step: {images_per_s:.1} images/s ({median:.1} ms, {min:.1} .. {max:.1})");
    Ok(StepReport { images_per_s, ms })
}
