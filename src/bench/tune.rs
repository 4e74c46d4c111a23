//! Tiles by measurement: each convolution of a few networks, with every tile that other limits would choose.

use std::slice;
use std::time::{Duration, Instant};

use pollster::block_on;
use serde::Serialize;

use super::{Milliseconds, Repeats, noise, time};
use crate::gpu::{Gpu, GpuError, Kernels, Plan, Tensor, TileLimits};
use crate::nn::{Known, Name, Network, SpecError, Strided, convolutions};
use crate::ops::Step;
use crate::ops::conv2d::{Conv2d, Pass, Shape, sum_parts};

/// By what share, in all, limits must be faster than the built-in ones, in each of two measurements: less may be chance, and equal choices
/// give equal weights.
const WORTHWHILE: f64 = 0.02;

/// What a measurement of tiles found.
#[derive(Debug, Serialize)]
pub struct Tuned {
    /// The limits whose tiles took the least time.
    pub tiles: TileLimits,
    /// What was timed.
    pub kernels: Vec<Timed>,
    /// What the adapter cannot hold, and why.
    pub left_out: Vec<String>,
}

/// A kernel of a convolution, with each tile that some limits choose for it.
#[derive(Clone, Debug, Serialize)]
pub struct Timed {
    /// The convolution, for people.
    pub convolution: String,
    /// What the kernel makes.
    pub kernel: &'static str,
    /// Each tile, for people, and the milliseconds that it took, with the sum over its parts.
    pub candidates: Vec<(String, f64)>,
    /// Which of them the built-in limits choose.
    pub rule: usize,
    /// Which of them the limits choose that were found.
    pub chosen: usize,
    /// Which of them each of the limits choose that were compared.
    #[serde(skip)]
    by_limits: Vec<usize>,
}

/// Limits that are compared, the built-in ones first, and the kernels whose tiles they decide on.
struct Group {
    limits: Vec<TileLimits>,
    passes: &'static [Pass],
    /// Takes over what is compared.
    take: fn(&mut TileLimits, &TileLimits),
}

/// What is compared for a set of kernels.
fn groups(kernels: Kernels) -> Vec<Group> {
    let start = TileLimits::default();
    match kernels {
        Kernels::Plain => Vec::new(),
        Kernels::Tiled => vec![
            Group {
                limits: start.other_products(),
                passes: &[Pass::Forward, Pass::BackwardInput],
                take: |all, found| all.products = found.products,
            },
            Group {
                limits: start.other_weights(),
                passes: &[Pass::BackwardWeight],
                take: |all, found| all.weights = found.weights,
            },
        ],
        Kernels::Subgroup => vec![
            Group {
                limits: start.other_unrolled(|unrolled| &mut unrolled.forward),
                passes: &[Pass::Forward],
                take: |all, found| all.unrolled.forward = found.unrolled.forward,
            },
            Group {
                limits: start.other_unrolled(|unrolled| &mut unrolled.input),
                passes: &[Pass::BackwardInput],
                take: |all, found| all.unrolled.input = found.unrolled.input,
            },
            Group {
                limits: start.other_unrolled(|unrolled| &mut unrolled.weight),
                passes: &[Pass::BackwardWeight],
                take: |all, found| all.unrolled.weight = found.unrolled.weight,
            },
        ],
    }
}

/// The convolutions of the default network, of resnet18 and of vgg11_bn for images of 128 x 128, each once; a software driver gets
/// small batches of the large ones.
///
/// # Errors
/// When a known network cannot be built, which is a mistake in this crate.
pub fn convolutions_to_measure(software: bool) -> Result<Vec<Shape>, SpecError> {
    let known = |name| -> Result<Network, SpecError> {
        let input = [3, 128, 128];
        Known { name, input, width: 1.0, classes: 2 }.spec()?.build()
    };
    let strided = Strided::dogs_vs_cats(128, 2).build()?;
    let [resnet, vgg] = [known(Name::ResNet18)?, known(Name::Vgg11Bn)?];
    let large = if software { 4 } else { 32 };
    let mut work = vec![(&strided, 32), (&resnet, large), (&vgg, large)];
    if !software {
        work.push((&strided, 256));
    }
    let mut shapes = Vec::new();
    for shape in work.into_iter().flat_map(|(network, batch)| convolutions(network, batch)) {
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    Ok(shapes)
}

/// Measures the tiles of the device's set of kernels on these convolutions; `told` hears how many of how many are done.
///
/// # Errors
/// When the device failed.
pub fn tune(gpu: &Gpu, shapes: &[Shape], mut told: impl FnMut(usize, usize)) -> Result<Tuned, GpuError> {
    let groups = groups(gpu.kernels());
    let mut timed: Vec<Vec<Timed>> = groups.iter().map(|_| Vec::new()).collect();
    let mut held = Vec::new();
    let mut left_out = Vec::new();
    for (done, shape) in shapes.iter().enumerate() {
        told(done, shapes.len());
        match time_convolution(gpu, shape, &groups) {
            Ok(of_groups) => {
                held.push(*shape);
                timed.iter_mut().zip(of_groups).for_each(|(all, of_group)| all.extend(of_group));
            }
            Err(error @ GpuError::TooLarge { .. }) => left_out.push(format!("{}: {error}", describe(shape))),
            Err(error) => return Err(error),
        }
    }
    told(shapes.len(), shapes.len());

    let mut tiles = TileLimits::default();
    for (group, timed) in groups.iter().zip(&mut timed) {
        let best = choose(timed, group.limits.len());
        if best > 0 && choose(&time_again(gpu, &held, group, best, timed)?, 2) > 0 {
            (group.take)(&mut tiles, &group.limits[best]);
            timed.iter_mut().for_each(|timed| timed.chosen = timed.by_limits[best]);
        }
    }
    Ok(Tuned { tiles, kernels: timed.into_iter().flatten().collect(), left_out })
}

/// Which of so many limits take the least time: the first, which are the built-in ones, unless others are worthwhile. Among equals the
/// first.
fn choose(timed: &[Timed], limits: usize) -> usize {
    let best = (0..limits).min_by(|&a, &b| gain(timed, b).total_cmp(&gain(timed, a))).unwrap_or(0);
    if gain(timed, best) > WORTHWHILE { best } else { 0 }
}

/// By what share limits are faster than the built-in ones: in the sum of all kernels, or with each kernel counting alike, whichever is less.
fn gain(timed: &[Timed], limits: usize) -> f64 {
    if timed.is_empty() {
        return 0.0;
    }
    let ms = |timed: &Timed| [timed.rule, timed.by_limits[limits]].map(|candidate| timed.candidates[candidate].1);
    let [rule, sum] = timed.iter().map(ms).fold([0.0_f64; 2], |sums, [rule, ms]| [sums[0] + rule, sums[1] + ms]);
    // The mean of the logarithms, so that half the time in one place makes up for double in another.
    let logarithms = timed.iter().map(ms).map(|[rule, ms]| (ms / rule).ln()).sum::<f64>();
    1.0 - (sum / rule).max((logarithms / timed.len() as f64).exp())
}

/// Times the built-in limits' tiles and those of others once more, in turn, where they differ: what was chance will hardly come again.
fn time_again(
    gpu: &Gpu,
    shapes: &[Shape],
    group: &Group,
    other: usize,
    before: &[Timed],
) -> Result<Vec<Timed>, GpuError> {
    let pair = Group { limits: vec![group.limits[0], group.limits[other]], ..*group };
    let mut again = Vec::new();
    for (shape, before) in shapes.iter().zip(before.chunks(group.passes.len())) {
        if before.iter().any(|timed| timed.by_limits[other] != timed.rule) {
            again.extend(time_convolution(gpu, shape, slice::from_ref(&pair))?.into_iter().flatten());
        } else {
            again.extend(before.iter().map(|timed| Timed { by_limits: vec![timed.rule; 2], ..timed.clone() }));
        }
    }
    Ok(again)
}

/// Times one convolution, for each group.
fn time_convolution(gpu: &Gpu, shape: &Shape, groups: &[Group]) -> Result<Vec<Vec<Timed>>, GpuError> {
    // The convolutions of each group's limits, and with them the room that their parts need.
    let convs: Vec<Vec<Conv2d>> = groups
        .iter()
        .map(|group| group.limits.iter().map(|limits| Conv2d::with_limits(gpu, *shape, limits)).collect())
        .collect();
    let most = |conv: &Conv2d| conv.partial_lens().into_iter().chain([conv.weight_parts().partial_len()]).max();
    let partials = convs.iter().flatten().filter_map(most).max().unwrap_or(0);
    let Some(any) = convs.iter().flatten().next() else { return Ok(Vec::new()) };
    let filled = |name: &str, len: usize| {
        // Before so many numbers are made.
        Tensor::check(gpu, name, len)?;
        let numbers: Vec<f32> = (0..len.min(1 << 16)).map(noise).collect();
        let numbers: Vec<f32> = numbers.iter().copied().cycle().take(len).collect();
        Tensor::from_slice(gpu, name, &numbers)
    };
    let vectors = |pixels: u32, channels: u32| 4 * shape.n as usize * pixels as usize * channels as usize;
    let room = Room {
        step: Tensor::uniform(gpu, "step", size_of::<Step>() / 4)?,
        x: filled("x", vectors(shape.h * shape.w, shape.cin))?,
        y: filled("y", vectors(shape.oh * shape.ow, shape.cout))?,
        weight: filled("weight", any.weight_len())?,
        transposed: filled("transposed weight", any.weight_len())?,
        dweight: Tensor::new(gpu, "gradient of the weight", any.weight_len())?,
        partials: Tensor::new(gpu, "partial sums", partials)?,
    };
    // The first number is Step::live.
    room.step.write(gpu, &[shape.n]);
    let times = |(group, convs): (&Group, Vec<Conv2d>)| -> Result<Vec<Timed>, GpuError> {
        group.passes.iter().map(|&pass| time_pass(gpu, &room, pass, &convs)).collect()
    };
    groups.iter().zip(convs).map(times).collect()
}

/// The tensors of a convolution.
struct Room {
    step: Tensor,
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    transposed: Tensor,
    dweight: Tensor,
    partials: Tensor,
}

impl Room {
    /// One kernel of a convolution, with the sum of its parts. What the input's gradient makes takes the place of the input.
    fn plan(&self, gpu: &Gpu, pass: Pass, conv: &Conv2d) -> Plan {
        let Self { step, x, y, weight, transposed, dweight, partials } = self;
        let mut plan = Plan::new();
        match pass {
            Pass::Forward => conv.forward(gpu, &mut plan, "", x, weight, partials, y),
            Pass::BackwardInput => conv.backward_input(gpu, &mut plan, "", transposed, y, partials, x),
            Pass::BackwardWeight => {
                let parts = conv.weight_parts();
                let partial = if parts.chunks == 1 { dweight } else { partials };
                conv.backward_weight(gpu, &mut plan, "", step, x, y, partial);
                sum_parts(gpu, &mut plan, "", parts, partials, dweight);
            }
        }
        plan
    }
}

/// Times one kernel with each tile that these convolutions, which differ in nothing else, have for it. The first is the rule's.
fn time_pass(gpu: &Gpu, room: &Room, pass: Pass, convs: &[Conv2d]) -> Result<Timed, GpuError> {
    let mut names: Vec<String> = Vec::new();
    let mut plans = Vec::new();
    let mut by_limits = Vec::with_capacity(convs.len());
    for conv in convs {
        let name = conv.tile(pass);
        by_limits.push(names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            plans.push(room.plan(gpu, pass, conv));
            plans.len() - 1
        }));
    }
    let ms = time_plans(gpu, plans)?;
    let kernel = match pass {
        Pass::Forward => "forward",
        Pass::BackwardInput => "input",
        Pass::BackwardWeight => "weight",
    };
    let candidates = names.into_iter().zip(ms).collect();
    Ok(Timed { convolution: describe(convs[0].shape()), kernel, candidates, rule: 0, chosen: 0, by_limits })
}

/// Milliseconds that each of some plans takes: the least of a few runs, to which other programs on the machine add least; in turn
/// where the device can tell its own time.
fn time_plans(gpu: &Gpu, plans: Vec<Plan>) -> Result<Vec<f64>, GpuError> {
    let repeats = if gpu.is_software() { 3 } else { 9 };
    if !gpu.has_timestamps() {
        let repeats = Repeats { warm_up: 1, timed: repeats, within: Duration::from_secs(1) };
        return plans.iter().map(|plan| Ok(Milliseconds::of(time(gpu, &repeats, || plan.submit(gpu))?).min)).collect();
    }
    let lens: Vec<usize> = plans.iter().map(Plan::len).collect();
    let mut all = Plan::new();
    plans.into_iter().for_each(|plan| all.extend(plan));
    block_on(all.compile(gpu, |_, _| {}))?;
    // While kernels were compiled, a GPU may have gone to sleep: it is woken before it is timed.
    let started = Instant::now();
    while !gpu.is_software() && started.elapsed() < Duration::from_millis(20) {
        gpu.wait(Some(all.submit(gpu)?))?;
    }
    let timings = block_on(all.time(gpu, repeats))?;
    let mut timings = timings.iter();
    Ok(lens
        .into_iter()
        .map(|len| 1e3 * timings.by_ref().take(len).map(|timing| timing.range[0]).sum::<f64>())
        .collect())
}

/// A convolution for people: channels, filters and stride, then the batch.
fn describe(shape: &Shape) -> String {
    let Shape { n, h, w, inputs, outputs, kernel_h, kernel_w, stride, .. } = shape;
    format!("{inputs} to {outputs}, {kernel_h} x {kernel_w} / {stride}, {n} of {h} x {w}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(ms: &[f64], by_limits: &[usize]) -> Timed {
        let candidates = ms.iter().map(|&ms| (String::new(), ms)).collect();
        Timed { convolution: String::new(), kernel: "", candidates, rule: 0, chosen: 0, by_limits: by_limits.to_vec() }
    }

    #[test]
    fn what_is_faster_in_all_is_chosen() {
        // The third limits lose a tenth of the first and halve the second; the second ones win a little on the first alone.
        let kernels = [timed(&[1.0, 0.9, 1.1], &[0, 1, 2, 2]), timed(&[2.0, 1.0], &[0, 0, 1, 1])];
        assert_eq!(choose(&kernels, 4), 2, "among equals the first");
        assert_eq!(choose(&kernels, 2), 1);
        assert_eq!(choose(&kernels[..1], 4), 1);
    }

    #[test]
    fn neither_large_kernels_nor_small_ones_decide_alone() {
        // A tenth of the large one outweighs all that the small ones can win, and the other way round.
        let slower_in_the_sum = [timed(&[100.0, 110.0], &[0, 1]), timed(&[0.01, 0.005], &[0, 1])];
        assert_eq!(choose(&slower_in_the_sum, 2), 0);
        let slower_in_most = [timed(&[100.0, 90.0], &[0, 1]), timed(&[0.01, 0.02], &[0, 1])];
        assert_eq!(choose(&slower_in_most, 2), 0);
        let faster_in_both = [timed(&[100.0, 90.0], &[0, 1]), timed(&[0.01, 0.0101], &[0, 1])];
        assert_eq!(choose(&faster_in_both, 2), 1);
    }

    #[test]
    fn the_rule_stays_where_nothing_is_worthwhile() {
        assert_eq!(choose(&[timed(&[1.0, 0.985], &[0, 1])], 2), 0);
        assert_eq!(choose(&[timed(&[1.0, 0.97], &[0, 1])], 2), 1);
        assert_eq!(choose(&[timed(&[1.0, 2.0], &[0, 1])], 2), 0);
        assert_eq!(choose(&[], 7), 0);
    }

    #[test]
    fn large_convolutions_are_measured_too() {
        for (software, least) in [(true, 20), (false, 25)] {
            let shapes = convolutions_to_measure(software).unwrap();
            assert!(shapes.len() >= least, "{} convolutions", shapes.len());
            let has = |inputs, outputs| shapes.iter().any(|shape| (shape.inputs, shape.outputs) == (inputs, outputs));
            // Of the default network, of resnet18 and of vgg11_bn, with a linear layer.
            assert!(has(16, 32) && has(256, 512) && has(64, 64) && has(25_088, 4096));
            let twice = shapes.iter().enumerate().any(|(i, shape)| shapes[..i].contains(shape));
            assert!(!twice, "a convolution is measured twice");
        }
    }
}
