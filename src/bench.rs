//! The bare training step, timed: weights are random, and the images are noise that lies on the device already.

pub mod tune;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pollster::block_on;
use serde::Serialize;

use crate::gpu::Kernels;
use crate::gpu::{Gpu, GpuError, Plan, TileLimits};
use crate::nn::checkpoint::Weights;
use crate::nn::{Keep, Mode, Model, Network, Optimizer, Strided};

/// Optimiser of the timed steps.
const ADAM: Optimizer = Optimizer::Adam { weight_decay: 0.0 };
/// Its learning rate.
const LR: f64 = 1e-3;
const SEED: u64 = 0;
/// Steps before the first that is timed.
pub const WARM_UP: usize = 3;

/// What a measurement is made on.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// Name of the adapter.
    pub adapter: String,
    /// Name and version of its driver.
    pub driver: String,
    /// The kernels of the convolutions.
    pub kernels: Kernels,
    /// The limits of the rules that choose their tiles.
    pub tiles: TileLimits,
}

impl Setting {
    /// That of an open device.
    pub fn of(gpu: &Gpu) -> Self {
        let info = gpu.info();
        let driver = format!("{} {}", info.driver, info.driver_info).trim().into();
        Self { adapter: info.name.clone(), driver, kernels: gpu.kernels(), tiles: *gpu.tile_limits() }
    }
}

/// How often a piece of work is timed.
#[derive(Clone, Copy, Debug)]
pub struct Repeats {
    /// Repeats before the first that is timed.
    pub warm_up: usize,
    /// Timed repeats.
    pub timed: usize,
    /// No further repeat begins after so long, but one is always timed.
    pub within: Duration,
}

/// Milliseconds that the repeats of a piece of work took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Milliseconds {
    /// Least.
    pub min: f64,
    /// Half of the repeats took no longer.
    pub median: f64,
    /// Most.
    pub max: f64,
}

impl Milliseconds {
    /// Sums up repeats that took so many seconds.
    ///
    /// # Panics
    /// When there are none.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let last = seconds.len() - 1;
        let median = (seconds[last / 2] + seconds[last.div_ceil(2)]) / 2.0;
        Self { min: 1e3 * seconds[0], median: 1e3 * median, max: 1e3 * seconds[last] }
    }

    /// Images a second, by the median, where each repeat deals with `batch`.
    pub fn images_per_s(&self, batch: usize) -> f64 {
        1e3 * batch as f64 / self.median
    }
}

/// The known network with a batch of noise in it, ready to be timed.
pub struct Bench<'a> {
    gpu: &'a Gpu,
    /// The network.
    pub model: Model,
    /// A training step of it.
    pub training_step: Plan,
    evaluation: Plan,
    initial: Weights,
    steps: u32,
    compile_seconds: f64,
}

impl<'a> Bench<'a> {
    /// Allocates and compiles what a training step of a network of colour images needs, for `batch` of them, and fills it.
    ///
    /// # Errors
    /// When a tensor exceeds what the device can bind, or the device failed.
    ///
    /// # Panics
    /// As [`Model::new`].
    pub fn new(gpu: &'a Gpu, network: &Network, batch: usize, keep: Keep) -> Result<Self, GpuError> {
        let model = Model::new(gpu, network, batch, keep)?;
        let started = Instant::now();
        let training_step = model.training_step(gpu, &ADAM);
        let evaluation = model.forward(gpu, Mode::Eval);
        model.set_live(gpu, batch);
        block_on(training_step.compile(gpu, |_, _| {}))?;
        block_on(evaluation.compile(gpu, |_, _| {}))?;
        let compile_seconds = started.elapsed().as_secs_f64();

        let initial = Weights::initial(network, SEED);
        model.load(gpu, &initial);
        let [_, height, width] = network.input();
        let images: Vec<f32> = (0..batch * height * width * 4).map(noise).collect();
        let labels: Vec<u32> = (0..batch as u32).map(|image| image % 2).collect();
        model.set_batch(gpu, &images, &labels);
        Ok(Self { gpu, model, training_step, evaluation, initial, steps: 0, compile_seconds })
    }

    /// Seconds that the compilation of the kernels took.
    pub fn compile_seconds(&self) -> f64 {
        self.compile_seconds
    }

    /// Times the training step, each from submission to completion, and checks what the steps made. Returns seconds.
    ///
    /// # Errors
    /// When the device failed, the loss is not finite or weights have not moved.
    pub fn time_steps(&mut self, repeats: &Repeats) -> Result<Vec<f64>> {
        let seconds = time(self.gpu, repeats, || self.submit_step())?;
        self.check()?;
        Ok(seconds)
    }

    /// Seconds a step where none is waited for but the last of `steps`, as in an epoch, after a few that are not timed.
    ///
    /// # Errors
    /// As [`Bench::time_steps`].
    pub fn time_queued(&mut self, steps: usize) -> Result<f64> {
        // While the last check read the weights back, the device may have gone to sleep: the first step waits for its clock to rise.
        self.queue_steps(WARM_UP)?;
        let started = Instant::now();
        self.queue_steps(steps)?;
        let seconds = started.elapsed().as_secs_f64() / steps as f64;
        self.check()?;
        Ok(seconds)
    }

    /// Submits so many steps, and waits for the last.
    fn queue_steps(&mut self, steps: usize) -> Result<(), GpuError> {
        let mut last = None;
        for _ in 0..steps {
            last = Some(self.submit_step()?);
        }
        self.gpu.wait(last)
    }

    fn submit_step(&mut self) -> Result<wgpu::SubmissionIndex, GpuError> {
        self.steps += 1;
        self.model.set_step(self.gpu, &ADAM, LR, self.model.batch(), SEED, self.steps);
        self.training_step.submit(self.gpu)
    }

    /// Times the forward pass of the evaluation, each from submission to completion. Returns seconds.
    ///
    /// # Errors
    /// When the device failed.
    pub fn time_evaluation(&self, repeats: &Repeats) -> Result<Vec<f64>, GpuError> {
        time(self.gpu, repeats, || self.evaluation.submit(self.gpu))
    }

    /// Kernels that do nothing would be the fastest.
    fn check(&self) -> Result<()> {
        const REMEDY: &str =
            "these kernels do not work on this adapter: update its driver, or choose others with --kernels";
        let metrics = block_on(self.model.metrics(self.gpu))?;
        ensure!(
            metrics.broken == 0 && metrics.loss().is_finite(),
            "the loss of a timed step is not a finite number; {REMEDY}"
        );
        for (name, values) in &block_on(self.model.weights(self.gpu, self.steps.into()))?.tensors {
            ensure!(values.iter().all(|value| value.is_finite()), "the weights {name} are not finite; {REMEDY}");
            ensure!(values != self.initial.get(name), "the timed steps did not move the weights {name}; {REMEDY}");
        }
        Ok(())
    }
}

/// The device with those of some sets of kernels whose training step is the fastest, and the milliseconds of a step with each, as
/// `step_ms` measures them: [`default_step`].
///
/// # Errors
/// When the device failed or kernels do not work on it.
///
/// # Panics
/// When there is nothing to choose from.
pub fn fastest(
    mut gpu: Gpu,
    candidates: &[Kernels],
    step_ms: impl Fn(&Gpu) -> Result<f64>,
) -> Result<(Gpu, Vec<(Kernels, f64)>)> {
    let mut steps = Vec::new();
    for &kernels in candidates {
        gpu = gpu.with_kernels(kernels)?;
        steps.push((kernels, step_ms(&gpu)?));
    }
    let (kernels, _) = steps.iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("there are candidates");
    Ok((gpu.with_kernels(*kernels)?, steps))
}

/// Milliseconds of a training step of the default network: the least of a few, to which other programs on the machine add least.
///
/// # Errors
/// When the device failed or kernels do not work on it.
pub fn default_step(gpu: &Gpu) -> Result<f64> {
    const SHORT: Repeats = Repeats { warm_up: 2, timed: 10, within: Duration::from_secs(1) };
    let network = Strided::dogs_vs_cats(128, 2).build()?;
    Ok(Milliseconds::of(Bench::new(gpu, &network, 32, Keep::Needed)?.time_steps(&SHORT)?).min)
}

/// The device with these tiles, and the milliseconds that a step of the default network takes with the built-in ones and with these: medians
/// of a few measurements in turn, when both were warm.
///
/// # Errors
/// When the device failed or kernels do not work on it.
pub fn compare_tiles(mut gpu: Gpu, tiles: TileLimits) -> Result<(Gpu, [f64; 2])> {
    const ROUNDS: usize = 3;
    let mut steps = [(); 2].map(|()| Vec::new());
    for round in 0..=ROUNDS {
        for (limits, steps) in [TileLimits::default(), tiles].into_iter().zip(&mut steps) {
            gpu = gpu.with_tile_limits(limits);
            let ms = default_step(&gpu)?;
            if round > 0 {
                steps.push(ms / 1e3);
            }
        }
    }
    Ok((gpu, steps.map(|steps| Milliseconds::of(steps).median)))
}

/// Value `i` of the images: hashed, so that neither compiler nor cache finds a pattern, and 0 in the padding lane.
fn noise(i: usize) -> f32 {
    let hash = (i as u32).wrapping_mul(2_654_435_761);
    if i % 4 == 3 { 0.0 } else { hash as f32 / u32::MAX as f32 - 0.5 }
}

/// Seconds of each repeat of `run`, from submission to completion.
fn time(
    gpu: &Gpu,
    repeats: &Repeats,
    mut run: impl FnMut() -> Result<wgpu::SubmissionIndex, GpuError>,
) -> Result<Vec<f64>, GpuError> {
    for _ in 0..repeats.warm_up {
        gpu.wait(Some(run()?))?;
    }
    let began = Instant::now();
    let mut seconds = Vec::new();
    while seconds.is_empty() || (seconds.len() < repeats.timed && began.elapsed() < repeats.within) {
        let started = Instant::now();
        gpu.wait(Some(run()?))?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let even = Milliseconds::of(vec![0.5, 0.25, 4.0, 1.0]);
        assert_eq!(even, Milliseconds { min: 250.0, median: 750.0, max: 4000.0 });
        assert_eq!(Milliseconds::of(vec![3.0, 1.0, 2.0]).median, 2000.0);
        assert_eq!(even.images_per_s(3), 4.0);
    }
}
