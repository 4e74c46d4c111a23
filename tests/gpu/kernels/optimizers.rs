//! Two steps of each optimiser, from moments that are not zero; and what stands before and behind them.

use convscope::gpu::Plan;
use convscope::ops::{Step, adam, average, clip, sgd};
use convscope::reference::{
    adam as adam_reference, average as average_reference, clip as clip_reference, sgd as sgd_reference,
};
use libtest_mimic::Trial;
use rand::RngExt;

use super::{Case, Random, wide};
use crate::common::trial;
use crate::gpu;

/// Vectors of four. One invocation takes one vector.
const LENGTHS: [usize; 20] = [1, 2, 3, 4, 5, 7, 8, 11, 13, 17, 31, 63, 64, 65, 101, 127, 128, 129, 257, 1031];

/// Learning rate, weight decay, number of the step.
const SETTINGS: [(f32, f32, u32); 4] = [(1e-3, 0.0, 1), (1e-2, 0.01, 2), (0.1, 0.5, 100), (3e-4, 0.0, 100_000)];

pub fn tests() -> Vec<Trial> {
    vec![
        trial("kernels::adam::update", || each_shape("adam", adam)),
        trial("kernels::sgd::update", || each_shape("sgd", sgd)),
        trial("kernels::clip", clip),
        trial("kernels::average::update", average),
    ]
}

struct Setting {
    lr: f32,
    weight_decay: f32,
    number: u32,
}

fn each_shape(entry: &str, test: fn(&Case, usize, &Setting, &mut Random)) {
    for (seed, len) in (0..).zip(LENGTHS) {
        for (lr, weight_decay, number) in SETTINGS {
            let setting = Setting { lr, weight_decay, number };
            let case = Case {
                gpu: gpu(),
                name: format!(
                    "{entry}::update, {len} vectors, lr {lr}, weight decay {weight_decay}, step {number}, seed {seed}"
                ),
            };
            test(&case, len, &setting, &mut Random::new(seed));
        }
    }
}

/// From 1e-12 to 1e2 in size, and one in ten exactly zero.
fn gradients(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len)
        .map(|_| {
            let decade: f32 = random.0.random_range(-12.0..2.0);
            let size = if decade < -10.6 { 0.0 } else { 10f32.powf(decade) };
            size * random.0.random_range(-1.0..1.0)
        })
        .collect()
}

fn adam(case: &Case, len: usize, setting: &Setting, random: &mut Random) {
    let shape = adam::Shape::new(len, setting.weight_decay);
    let options = adam_reference::Options {
        lr: setting.lr.into(),
        beta1: adam::BETA1,
        beta2: adam::BETA2,
        eps: 1e-8,
        weight_decay: setting.weight_decay.into(),
    };
    let mut parameter = random.around(0.0, 1.0, 4 * len);
    let mut first = gradients(random, 4 * len);
    let mut second: Vec<f32> = gradients(random, 4 * len).iter().map(|g| g * g).collect();
    for number in [setting.number, setting.number + 1] {
        let gradient = gradients(random, 4 * len);
        let t = f64::from(number);
        let step = case.step(Step {
            live: 1,
            seed: 0,
            number,
            step_size: (options.lr / (1.0 - options.beta1.powf(t))) as f32,
            bias_correction: (1.0 - options.beta2.powf(t)).sqrt() as f32,
        });
        let outputs = [&parameter, &first, &second].map(|values| case.changing(values));
        let kernel = adam::Update {
            shape,
            step: &step,
            gradient: &case.input(&gradient),
            parameter: &outputs[0].tensor,
            first: &outputs[1].tensor,
            second: &outputs[2].tensor,
        };
        let got = case.run(&kernel, [&outputs[0], &outputs[1], &outputs[2]]);

        let mut want = [&parameter, &first, &second].map(|values| wide(values));
        let [p, m, v] = &mut want;
        let bounds = adam_reference::step(options, number, p, &wide(&gradient), m, v);
        case.compare_each("parameter", &got[0], &want[0], |i| bounds.param[i]);
        case.compare_each("first", &got[1], &want[1], |i| bounds.m[i]);
        case.compare_each("second", &got[2], &want[2], |i| bounds.v[i]);
        [parameter, first, second] = got;
    }
}

fn sgd(case: &Case, len: usize, setting: &Setting, random: &mut Random) {
    let shape = sgd::Shape { len: len as u32, momentum: 0.9, weight_decay: setting.weight_decay };
    let options = sgd_reference::Options {
        lr: setting.lr.into(),
        momentum: shape.momentum.into(),
        weight_decay: setting.weight_decay.into(),
    };
    let mut parameter = random.around(0.0, 1.0, 4 * len);
    let mut velocity = gradients(random, 4 * len);
    let step =
        case.step(Step { live: 1, seed: 0, number: setting.number, step_size: setting.lr, bias_correction: 1.0 });
    for _ in 0..2 {
        let gradient = gradients(random, 4 * len);
        let outputs = [&parameter, &velocity].map(|values| case.changing(values));
        let kernel = sgd::Update {
            shape,
            step: &step,
            gradient: &case.input(&gradient),
            parameter: &outputs[0].tensor,
            velocity: &outputs[1].tensor,
        };
        let got = case.run(&kernel, [&outputs[0], &outputs[1]]);

        let mut want = [&parameter, &velocity].map(|values| wide(values));
        let [p, v] = &mut want;
        let bounds = sgd_reference::step(options, p, &wide(&gradient), v);
        case.compare_each("parameter", &got[0], &want[0], |i| bounds.param[i]);
        case.compare_each("velocity", &got[1], &want[1], |i| bounds.momentum[i]);
        [parameter, velocity] = got;
    }
}

/// Whole gradients, from one vector to more than the parts of the sum have invocations.
fn clip() {
    for (seed, len) in (0..).zip(LENGTHS.into_iter().chain([40_001])) {
        for (spread, most) in [(1.0, 0.5), (1.0, 1e6), (1e-12, 1.0), (100.0, 1e-3), (0.0, 1.0)] {
            let case = Case { gpu: gpu(), name: format!("clip, {len} vectors, spread {spread}, at most {most}") };
            let mut random = Random::new(seed);
            let gradient = if spread == 0.0 { vec![0.0; 4 * len] } else { random.around(0.0, spread, 4 * len) };
            let shape = clip::Shape::new(len, most);
            let [partials, scaled] = [case.output(shape.parts as usize), case.changing(&gradient)];
            let mut plan = Plan::new();
            let (values, gradient_tensor) = (&scaled.tensor, &scaled.tensor);
            plan.add(case.gpu, "test", &clip::Squares { shape, values, partials: &partials.tensor });
            let parts_of_sum = &partials.tensor;
            plan.add(case.gpu, "test", &clip::Scale { shape, parts_of_sum, gradient: gradient_tensor });
            let [_, got] = case.run_plan(&plan, [&partials, &scaled]);
            let mut want = clip_reference::scale(&wide(&gradient), most.into());
            // An invocation's sum, the workgroup's, the lanes', and the same of the parts: their root halves it.
            let turns = len.div_ceil(64 * shape.parts as usize) + 64 + 2 + (shape.parts as usize).div_ceil(64) + 64;
            want.terms = turns.div_ceil(2);
            case.compare("gradient", &got, &want);
            let norm = got.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            assert!(norm <= f64::from(most) * 1.0001, "{}: the norm is {norm}", case.name);
            if most == 1e6 {
                assert_eq!(got, gradient, "{}: what is within the limit keeps its bits", case.name);
            }
        }
    }
}

/// Two steps.
fn average() {
    for (seed, len) in (0..).zip(LENGTHS) {
        for decay in [0.5, 0.9, 0.9999] {
            let case = Case { gpu: gpu(), name: format!("average, {len} vectors, decay {decay}") };
            let mut random = Random::new(seed);
            let shape = average::Shape { len: len as u32, rest: (1.0 - decay) as f32 };
            let mut average = random.around(0.0, 1.0, 4 * len);
            for _ in 0..2 {
                let value = random.around(0.5, 2.0, 4 * len);
                let output = case.changing(&average);
                let kernel = average::Update { shape, value: &case.input(&value), average: &output.tensor };
                let [got] = case.run(&kernel, [&output]);
                case.compare("average", &got, &average_reference::step(decay, &wide(&value), &wide(&average)));
                average = got;
            }
            let output = case.changing(&average);
            let [got] =
                case.run(&average::Update { shape, value: &case.input(&average), average: &output.tensor }, [&output]);
            assert_eq!(got, average, "{}: of equal numbers it is the number", case.name);
        }
    }
}
