//! `bench`: what a training step costs.

use std::time::Duration;

use anyhow::Result;
use pollster::block_on;
use serde::Serialize;

use super::kernels::{self, Choice};
use crate::bench::tune::{Timed, Tuned, convolutions_to_measure};
use crate::bench::{self, Bench, Milliseconds, Repeats, Setting, WARM_UP};
use crate::cli::{DeviceArgs, ScalingArgs, StepArgs, TimedArgs, TuneArgs, Work};
use crate::gpu::{Gpu, GpuError, Kernels, TileLimits};
use crate::memory;
use crate::nn::{Keep, Strided};
use crate::terminal::{bar, note, say, say_apart};
use crate::train::needs;

/// A few steps where they are slow, many where a single one says little.
const SHORT: Repeats = Repeats { warm_up: 1, timed: 200, within: Duration::from_secs(2) };

/// What `bench step --json` prints.
#[derive(Serialize)]
struct StepReport {
    images_per_s: f64,
    step_ms: Milliseconds,
    /// Where no step is waited for but the last.
    queued_images_per_s: f64,
    size: usize,
    batch: usize,
    steps: usize,
    #[serde(flatten)]
    setting: Setting,
    /// Kernels of a step.
    dispatches: usize,
    /// Bytes that they read and write, each argument once.
    bytes: u64,
    compile_s: f64,
    peak_rss_mb: Option<f64>,
    eval_images_per_s: f64,
}

pub(super) fn step(arguments: &StepArgs) -> Result<()> {
    let StepArgs { timed, json } = arguments;
    timed.check()?;
    let TimedArgs { batch, steps, .. } = *timed;
    let size = timed.model.size;
    let gpu = super::open(&timed.device)?;
    if !*json {
        super::say_adapter(&gpu);
    }
    let network = timed.network()?;
    needs::check_network(&gpu, &network, batch, Keep::Needed)?;
    let mut bench = Bench::new(&gpu, &network, batch, Keep::Needed)?;
    let repeats = Repeats { warm_up: WARM_UP, timed: steps, within: Duration::MAX };
    let step_ms = Milliseconds::of(bench.time_steps(&repeats)?);
    let queued_s = bench.time_queued(steps)?;
    let evaluation_ms = Milliseconds::of(bench.time_evaluation(&repeats)?);
    let report = StepReport {
        images_per_s: step_ms.images_per_s(batch),
        step_ms,
        queued_images_per_s: batch as f64 / queued_s,
        size,
        batch,
        steps,
        setting: Setting::of(&gpu),
        dispatches: bench.training_step.dispatches(),
        bytes: bench.training_step.bytes(),
        compile_s: bench.compile_seconds(),
        peak_rss_mb: memory::held().map(|held| held.peak as f64 / 1e6),
        eval_images_per_s: evaluation_ms.images_per_s(batch),
    };
    if *json {
        say(serde_json::to_string(&report)?);
        return Ok(());
    }
    say(format!("kernels  ready after {:.1} s", report.compile_s));
    say(format!("work     {batch} images of {size} x {size}, {steps} repeats; medians, least .. most"));
    for (what, times) in [("training", step_ms), ("forward ", evaluation_ms)] {
        let Milliseconds { min, median, max } = times;
        say(format!("{what} {:8.1} images/s  {median:8.2} ms, {min:.2} .. {max:.2}", times.images_per_s(batch)));
    }
    say(format!(
        "queued   {:8.1} images/s, where only the last training step is waited for",
        report.queued_images_per_s
    ));
    say(format!("a step   {} kernels, {:.1} MB read and written", report.dispatches, 1e-6 * report.bytes as f64));
    if let Some(peak) = report.peak_rss_mb {
        say(format!("memory   {peak:.0} MB of the process at most"));
    }
    Ok(())
}

/// What `bench scaling --json` prints.
#[derive(Serialize)]
struct ScalingReport {
    #[serde(flatten)]
    setting: Setting,
    batches: Vec<Point>,
    sizes: Vec<Point>,
}

/// One batch and size, and what it cost or why it could not be done.
#[derive(Serialize)]
struct Point {
    #[serde(flatten)]
    work: Work,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Timed {
        images_per_s: f64,
        step_ms: Milliseconds,
        steps: usize,
        ms_per_image: f64,
        /// Milliseconds an image, of those of the series' first point.
        ratio: f64,
    },
    Refused {
        refused: String,
    },
}

pub(super) fn scaling(arguments: &ScalingArgs) -> Result<()> {
    let [batches, sizes] = arguments.series()?;
    let gpu = super::open(&arguments.device)?;
    let setting = Setting::of(&gpu);
    if !arguments.json {
        super::say_adapter(&gpu);
    }
    drop(gpu);
    let time_series = |title: &str, series: Vec<Work>| -> Result<Vec<Point>> {
        if !arguments.json {
            say_apart(title);
            say(" size  batch   images/s    ms a step   ms an image   of the first");
        }
        let mut base = None;
        let mut points = Vec::new();
        for work in series {
            let outcome = match time_point(&arguments.device, work, &mut base) {
                Ok(outcome) => outcome,
                Err(error) => Outcome::Refused { refused: error.downcast::<GpuError>()?.to_string() },
            };
            let point = Point { work, outcome };
            if !arguments.json {
                say(line(&point));
            }
            points.push(point);
        }
        Ok(points)
    };
    let batches = time_series("growing batch", batches)?;
    let sizes = time_series("growing images", sizes)?;
    if arguments.json {
        say(serde_json::to_string(&ScalingReport { setting, batches, sizes })?);
    }
    Ok(())
}

/// Times one point, on a device of its own: one that runs out of memory is of no further use. The first point of a
/// series leaves its milliseconds an image in `base`.
fn time_point(device: &DeviceArgs, Work { size, batch }: Work, base: &mut Option<f64>) -> Result<Outcome> {
    let gpu = super::open(device)?;
    let network = Strided::dogs_vs_cats(size, 2).build()?;
    let seconds = Bench::new(&gpu, &network, batch, Keep::Needed)?.time_steps(&SHORT)?;
    let steps = seconds.len();
    let step_ms = Milliseconds::of(seconds);
    let ms_per_image = step_ms.median / batch as f64;
    let ratio = ms_per_image / *base.get_or_insert(ms_per_image);
    Ok(Outcome::Timed { images_per_s: step_ms.images_per_s(batch), step_ms, steps, ms_per_image, ratio })
}

fn line(Point { work: Work { size, batch }, outcome }: &Point) -> String {
    match outcome {
        Outcome::Timed { images_per_s, step_ms, ms_per_image, ratio, .. } => {
            format!("{size:5} {batch:6} {images_per_s:10.1} {:12.2} {ms_per_image:13.3} {ratio:14.2}", step_ms.median)
        }
        Outcome::Refused { refused } => format!("{size:5} {batch:6}    refused: {}", refused.replace('\n', "; ")),
    }
}

/// What `bench tune --json` prints.
#[derive(Serialize)]
struct TuneReport {
    /// With the kernels and tiles that were found.
    #[serde(flatten)]
    setting: Setting,
    /// Milliseconds of a training step of the default network.
    sets: Vec<SetStep>,
    /// The same with the fastest kernels, and the rule's tiles and then those that were found, if these are others.
    steps_ms: Option<[f64; 2]>,
    #[serde(flatten)]
    tuned: Tuned,
}

#[derive(Serialize)]
struct SetStep {
    kernels: Kernels,
    step_ms: f64,
}

pub(super) fn tune(arguments: &TuneArgs) -> Result<()> {
    // Nothing that was measured before has a part in it.
    let gpu = block_on(Gpu::open(&arguments.adapter.clone().unwrap_or_default()))?;
    let candidates = kernels::candidates(&gpu);
    let (gpu, steps) = bench::fastest(gpu, &candidates, bench::default_step)?;
    let print = !arguments.json;
    if print {
        super::say_adapter(&gpu);
        let steps: Vec<_> = steps.iter().map(|(kernels, ms)| format!("{kernels} {ms:.3} ms")).collect();
        say(format!("a step   of the default network: {}", steps.join(", ")));
    }
    let measuring = bar("{msg} {pos}/{len} [{bar:30}] {elapsed}", 0).with_message("measuring convolutions");
    let convolutions = convolutions_to_measure(gpu.is_software())?;
    let tuned = bench::tune::tune(&gpu, &convolutions, |done, all| {
        measuring.set_length(all as u64);
        measuring.set_position(done as u64);
    })?;
    measuring.finish_and_clear();
    // What does not differ is not compared.
    let (gpu, steps_ms) = match tuned.tiles == TileLimits::default() {
        true => (gpu, None),
        false => bench::compare_tiles(gpu, tuned.tiles).map(|(gpu, steps)| (gpu, Some(steps)))?,
    };
    if print {
        say_tuned(&tuned);
        if let Some([rule, own]) = steps_ms {
            say(format!("a step   of the default network: {rule:.3} ms with the rule's tiles, {own:.3} ms with these"));
        }
    }
    match kernels::remember(&gpu, Choice { kernels: gpu.kernels(), tiles: Some(tuned.tiles) }) {
        Ok(file) if print => {
            say(format!("wrote    {}, for all commands; --tiles rule leaves it aside", file.display()))
        }
        Ok(_) => {}
        Err(error) => note(format!("note: what was measured cannot be remembered: {error:#}")),
    }
    if arguments.json {
        let sets = steps.into_iter().map(|(kernels, step_ms)| SetStep { kernels, step_ms }).collect();
        let setting = Setting::of(&gpu);
        say(serde_json::to_string(&TuneReport { setting, sets, steps_ms, tuned })?);
    }
    Ok(())
}

fn say_tuned(Tuned { tiles, kernels, left_out }: &Tuned) {
    if kernels.is_empty() {
        say("tiles    these kernels have none to choose from");
        return;
    }
    say_apart(format!(
        "{:38} {:8} {:>17} {:>9} {:>17} {:>9}   others",
        "convolution", "kernel", "rule", "ms", "chosen", "ms"
    ));
    for Timed { convolution, kernel, candidates, rule, chosen, .. } in kernels {
        let [(rule_tile, rule_ms), (tile, ms)] = [&candidates[*rule], &candidates[*chosen]];
        let others = candidates.iter().enumerate().filter(|(other, _)| ![rule, chosen].contains(&other));
        let others: Vec<_> = others.map(|(_, (tile, ms))| format!("{tile}: {ms:.3}")).collect();
        let others = others.join(", ");
        let line = format!("{convolution:38} {kernel:8} {rule_tile:>17} {rule_ms:9.3} {tile:>17} {ms:9.3}   {others}");
        say(line.trim_end());
    }
    let sum = |which: fn(&Timed) -> usize| kernels.iter().map(|timed| timed.candidates[which(timed)].1).sum::<f64>();
    let (rule, chosen) = (sum(|timed| timed.rule), sum(|timed| timed.chosen));
    say(format!("{:38} {:8} {:>17} {rule:9.3} {:>17} {chosen:9.3}", "sum", "", "", ""));
    left_out.iter().for_each(|problem| say(format!("left out {}", problem.replace('\n', "; "))));
    let found = match *tiles == TileLimits::default() {
        true => "the rule's are the best here: none were clearly faster".into(),
        false => serde_json::json!(tiles).to_string(),
    };
    say_apart(format!("tiles    {found}"));
}
