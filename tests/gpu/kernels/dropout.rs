use convscope::nn::layout::pack_images;
use convscope::ops::{Step, dropout};
use convscope::reference::dropout as reference;
use libtest_mimic::Trial;

use super::{Case, Random, wide};
use crate::common::trial;
use crate::gpu;

/// Images, channels, pixels. An invocation takes up to four vectors of channels, and invocations come in groups of 64.
const SHAPES: [[usize; 3]; 21] = [
    [1, 1, 1],
    [1, 3, 1],
    [2, 1, 1],
    [1, 1, 5],
    [3, 5, 7],
    [2, 7, 6],
    [5, 4, 11],
    [1, 8, 13],
    [7, 13, 3],
    [4, 16, 9],
    [2, 33, 17],
    [1, 1, 63],
    [1, 2, 64],
    [1, 3, 65],
    [1, 9, 83],
    [2, 3, 126],
    [1, 5, 127],
    [4, 1, 64],
    [1, 4, 257],
    [2, 7, 65],
    [3, 11, 401],
];

/// Probability, seed, step, layer.
const OPTIONS: [(f32, u32, u32, u32); 10] = [
    (0.0, 0, 1, 0),
    (0.1, 0, 1, 0),
    (0.1, 1, 1, 0),
    (0.1, 1, 2, 0),
    (0.1, 1, 2, 1),
    (0.5, 0xffff_ffff, 70_000, 4),
    (0.3, 12345, 999, 2),
    (0.15, 3, 4, 5),
    (0.34, 99, 1, 1),
    (0.999, 7, 0, 3),
];

pub fn tests() -> Vec<Trial> {
    vec![
        trial("kernels::dropout::forward", || each_shape("forward")),
        trial("kernels::dropout::backward", || each_shape("backward")),
        trial("kernels::dropout::at_the_threshold", at_the_threshold),
    ]
}

fn each_shape(entry: &str) {
    for (seed, [n, c, hw]) in (0..).zip(SHAPES) {
        for (p, dropout_seed, step, layer) in OPTIONS {
            for whole_channels in [false, true] {
                let options = reference::Options { seed: dropout_seed, step, layer, p: p.into(), whole_channels };
                let case =
                    Case { gpu: gpu(), name: format!("dropout::{entry}, {n} x {c} x {hw}, {options:?}, seed {seed}") };
                let shape = dropout::Shape::new(n, c, hw, p, whole_channels, layer as usize);
                let reference = reference::Shape { n, c, hw };
                one_mask(&case, entry, shape, reference, options, seed);
            }
        }
    }
}

/// A number equal to the threshold is kept: the threshold is the number of every element in turn.
fn at_the_threshold() {
    let reference = reference::Shape { n: 3, c: 4, hw: 5 };
    for pixel in 0..reference.n * reference.hw {
        for (channel, number) in reference::pcg4d([8, 9, 1, pixel as u32]).into_iter().enumerate() {
            let options = reference::Options {
                seed: 8,
                step: 9,
                layer: 1,
                p: f64::from(number) / 2f64.powi(32),
                whole_channels: false,
            };
            let element = (pixel / reference.hw * reference.c + channel) * reference.hw + pixel % reference.hw;
            assert!(reference::mask(reference, options)[element]);
            let shape = dropout::Shape {
                threshold: options.threshold(),
                scale: options.scale(),
                ..dropout::Shape::new(reference.n, reference.c, reference.hw, 0.5, false, 1)
            };
            let case = Case { gpu: gpu(), name: format!("dropout::forward, {reference:?}, {options:?}, seed 0") };
            one_mask(&case, "forward", shape, reference, options, 0);
        }
    }
}

/// Both entry points are the same map, so they share their test, and with it their CPU reference's mask.
fn one_mask(
    case: &Case,
    entry: &str,
    shape: dropout::Shape,
    reference: reference::Shape,
    options: reference::Options,
    seed: u64,
) {
    let reference::Shape { n, c, hw } = reference;
    let step = case.step(Step {
        live: n as u32,
        seed: options.seed,
        number: options.step,
        step_size: 0.0,
        bias_correction: 0.0,
    });
    let x = Random::new(seed).integers(n * c * hw);
    let packed = pack_images(&x, n, c, hw);
    let (x_tensor, y) = (case.input(&packed), case.output(packed.len()));
    let [got] = if entry == "forward" {
        let kernel = dropout::Forward { shape, step: &step, x: &x_tensor, y: &y.tensor };
        case.run(&kernel, [&y])
    } else {
        let kernel = dropout::Backward { shape, step: &step, dy: &x_tensor, dx: &y.tensor };
        case.run(&kernel, [&y])
    };
    let got = case.unpack(&got, [n, c, hw]);
    for (i, (value, kept)) in got.iter().zip(reference::mask(reference, options)).enumerate() {
        assert!(
            (*value != 0.0) == kept,
            "{}: element {i} is {value}, the reference's mask says kept = {kept}",
            case.name
        );
    }
    case.compare("result", &got, &reference::forward(reference, options, &wide(&x)));
}
