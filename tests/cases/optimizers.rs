//! A step of each optimiser, from moments that are not zero; and what stands before and behind them.

use convscope::gpu::Kernels;
use convscope::ops::{Step, adam, average, clip, sgd};
use convscope::reference::{
    adam as adam_reference, average as average_reference, clip as clip_reference, sgd as sgd_reference,
};
use rand::RngExt;

use super::{Case, Numbers, Operation, Random, Want, narrow, wide};

/// Vectors of four. One invocation takes one vector.
const LENGTHS: [usize; 20] = [1, 2, 3, 4, 5, 7, 8, 11, 13, 17, 31, 63, 64, 65, 101, 127, 128, 129, 257, 1031];

/// Learning rate, weight decay, number of the step.
const SETTINGS: [(f32, f32, u32); 4] = [(1e-3, 0.0, 1), (1e-2, 0.01, 2), (0.1, 0.5, 100), (3e-4, 0.0, 100_000)];

/// Whether a loss has not been finite before, after which nothing is moved.
fn broken(numbers: &Numbers) -> bool {
    numbers.random("broken").below(6) == 0
}

/// Half width of a gradient's numbers, and the norm that is left as it is.
const CLIPS: [(f32, f32); 5] = [(1.0, 0.5), (1.0, 1e6), (1e-12, 1.0), (100.0, 1e-3), (0.0, 1.0)];

/// Decays of an average.
const DECAYS: [f64; 3] = [0.5, 0.9, 0.9999];

pub fn operations() -> Vec<Operation> {
    type Make = fn(usize, usize, &Numbers) -> Case;
    type Draw = fn(&mut Random) -> Vec<usize>;
    let entries: [(_, _, usize, usize, Draw, Make); 4] = [
        ("adam", "update", SETTINGS.len(), 1031, |random| vec![random.size(2000), random.below(4)], adam),
        ("sgd", "update", SETTINGS.len(), 1031, |random| vec![random.size(2000), random.below(4)], sgd),
        ("clip", "scale", CLIPS.len(), 40_001, |random| vec![random.size(20_000), random.below(5)], clip),
        ("average", "update", DECAYS.len(), 1031, |random| vec![random.size(2000), random.below(3)], average),
    ];
    let operation = |(group, entry, settings, last, draw, make): (_, _, _, _, Draw, Make)| Operation {
        group,
        entry,
        kernels: Kernels::Plain,
        sizes: &["len", "setting"],
        table: {
            let lengths = || LENGTHS.into_iter().chain([last]);
            (0..settings).flat_map(|setting| lengths().map(move |len| vec![len, setting])).collect()
        },
        draw,
        exact: false,
        compiles: false,
        make: Box::new(move |_, sizes, numbers| make(sizes[0], sizes[1], numbers)),
    };
    entries.map(operation).into()
}

/// From 1e-12 to 1e2 in size, and one in ten exactly zero.
fn gradients(random: &mut Random, len: usize) -> Vec<f32> {
    let one = |random: &mut Random| {
        let decade: f32 = random.0.random_range(-12.0..2.0);
        let size = if decade < -10.6 { 0.0 } else { 10f32.powf(decade) };
        size * random.0.random_range(-1.0..1.0)
    };
    (0..len).map(|_| one(random)).collect()
}

fn adam(len: usize, setting: usize, numbers: &Numbers) -> Case {
    let (lr, weight_decay, number) = SETTINGS[setting];
    let options = adam_reference::Options {
        lr: lr.into(),
        beta1: adam::BETA1,
        beta2: adam::BETA2,
        eps: 1e-8,
        weight_decay: weight_decay.into(),
    };
    let parameter = numbers.around("parameter", 0.0, 1.0, 4 * len);
    let [gradient, first] = ["gradient", "first"].map(|name| numbers.made(name, |random| gradients(random, 4 * len)));
    let squares = |random: &mut Random| gradients(random, 4 * len).iter().map(|g| g * g).collect();
    let second = numbers.made("second", squares);
    let t = f64::from(number);
    let step = Step {
        live: 1,
        seed: 0,
        number,
        step_size: (options.lr / (1.0 - options.beta1.powf(t))) as f32,
        bias_correction: (1.0 - options.beta2.powf(t)).sqrt() as f32,
    };
    let starts = [&parameter, &first, &second].map(|values| narrow(values));
    let (mut p, mut m, mut v) = (parameter, first, second);
    let mut bounds = adam_reference::step(options, number, &mut p, &gradient, &mut m, &mut v);
    let broken = broken(numbers);
    if broken {
        [p, m, v] = starts.each_ref().map(|values| wide(values));
        [bounds.param, bounds.m, bounds.v] = [(); 3].map(|()| vec![0.0; 4 * len]);
    }
    let shape = adam::Shape::new(len, weight_decay);
    Case::new(move |gpu, plan, t| {
        let (parameter, first, second) = (&t["parameter"], &t["first"], &t["second"]);
        let (step, gradient) = (&t["step"], &t["gradient"]);
        plan.add(gpu, "", &adam::Update { shape, step, gradient, counts: &t["counts"], parameter, first, second });
    })
    .step(step)
    .input("gradient", &narrow(&gradient))
    .input("counts", &[7, 9, u32::from(broken), 3])
    .changing("parameter", &starts[0], Want::Near(p, bounds.param))
    .changing("first", &starts[1], Want::Near(m, bounds.m))
    .changing("second", &starts[2], Want::Near(v, bounds.v))
}

fn sgd(len: usize, setting: usize, numbers: &Numbers) -> Case {
    let (lr, weight_decay, number) = SETTINGS[setting];
    let shape = sgd::Shape { len: len as u32, momentum: 0.9, weight_decay };
    let options =
        sgd_reference::Options { lr: lr.into(), momentum: shape.momentum.into(), weight_decay: weight_decay.into() };
    let parameter = numbers.around("parameter", 0.0, 1.0, 4 * len);
    let [gradient, velocity] =
        ["gradient", "velocity"].map(|name| numbers.made(name, |random| gradients(random, 4 * len)));
    let starts = [&parameter, &velocity].map(|values| narrow(values));
    let (mut p, mut v) = (parameter, velocity);
    let mut bounds = sgd_reference::step(options, &mut p, &gradient, &mut v);
    let broken = broken(numbers);
    if broken {
        [p, v] = starts.each_ref().map(|values| wide(values));
        [bounds.param, bounds.momentum] = [(); 2].map(|()| vec![0.0; 4 * len]);
    }
    Case::new(move |gpu, plan, t| {
        let (step, gradient, parameter, velocity) = (&t["step"], &t["gradient"], &t["parameter"], &t["velocity"]);
        plan.add(gpu, "", &sgd::Update { shape, step, gradient, counts: &t["counts"], parameter, velocity });
    })
    .step(Step { live: 1, seed: 0, number, step_size: lr, bias_correction: 1.0 })
    .input("gradient", &narrow(&gradient))
    .input("counts", &[7, 9, u32::from(broken), 3])
    .changing("parameter", &starts[0], Want::Near(p, bounds.param))
    .changing("velocity", &starts[1], Want::Near(v, bounds.momentum))
}

/// A whole gradient. What is within the limit keeps its bits.
fn clip(len: usize, setting: usize, numbers: &Numbers) -> Case {
    let (spread, most) = CLIPS[setting];
    let zeros = |_: &mut Random| vec![0.0; 4 * len];
    let gradient = match spread {
        0.0 => numbers.made("gradient", zeros),
        _ => numbers.around("gradient", 0.0, spread, 4 * len),
    };
    let shape = clip::Shape::new(len, most);
    let mut want = clip_reference::scale(&gradient, most.into());
    // An invocation's sum, the workgroup's, the lanes', and the same of the parts: their root halves it.
    let turns = len.div_ceil(64 * shape.parts as usize) + 64 + 2 + (shape.parts as usize).div_ceil(64) + 64;
    want.terms = turns.div_ceil(2);
    let start = narrow(&gradient);
    let want = if most == 1e6 { Want::Bits(bytemuck::cast_slice(&start).to_vec()) } else { Want::plain(&want) };
    Case::new(move |gpu, plan, t| {
        let (gradient, partials) = (&t["gradient"], &t["partials"]);
        plan.add(gpu, "", &clip::Squares { shape, values: gradient, partials });
        plan.add(gpu, "", &clip::Scale { shape, parts_of_sum: partials, gradient });
    })
    .output("partials", Want::Anything(shape.parts as usize))
    .changing("gradient", &start, want)
}

fn average(len: usize, setting: usize, numbers: &Numbers) -> Case {
    let decay = DECAYS[setting];
    let shape = average::Shape { len: len as u32, rest: (1.0 - decay) as f32 };
    let value = numbers.around("value", 0.5, 2.0, 4 * len);
    // One in eight is equal to the value, and must stay to the bit.
    let average = numbers.made("average", |random| {
        let mut average = random.around(0.0, 1.0, 4 * len);
        average.iter_mut().zip(&value).step_by(8).for_each(|(average, value)| *average = *value as f32);
        average
    });
    let want = average_reference::step(decay, &value, &average);
    let bounds = (0..want.value.len()).map(|i| if i % 8 == 0 { 0.0 } else { want.bound(i) }).collect();
    let values = want.value.iter().zip(&value).enumerate();
    let values = values.map(|(i, (want, value))| if i % 8 == 0 { *value } else { *want }).collect();
    Case::new(move |gpu, plan, t| {
        plan.add(gpu, "", &average::Update { shape, value: &t["value"], average: &t["average"] });
    })
    .input("value", &narrow(&value))
    .changing("average", &narrow(&average), Want::Near(values, bounds))
}
