use convscope::ops::relu;
use convscope::reference::relu as reference;
use libtest_mimic::Trial;

use super::{Case, Random, wide};
use crate::common::trial;
use crate::gpu;

/// Vectors of four; an invocation takes up to four of them, and invocations come in groups of 64.
pub(super) const LENGTHS: [usize; 22] =
    [1, 2, 3, 4, 5, 7, 8, 9, 17, 31, 63, 64, 65, 127, 251, 252, 253, 255, 256, 257, 260, 4099];

pub fn tests() -> Vec<Trial> {
    vec![
        trial("kernels::relu::forward", || each_length("forward", forward)),
        trial("kernels::relu::backward", || each_length("backward", backward)),
        trial("kernels::relu::backward_guided", || each_length("backward_guided", backward_guided)),
        trial("kernels::relu::backward_deconvnet", || each_length("backward_deconvnet", backward_deconvnet)),
        trial("kernels::relu::forward6", || each_length("forward6", forward6)),
        trial("kernels::relu::backward6", || each_length("backward6", backward6)),
        trial("kernels::relu::backward6_guided", || each_length("backward6_guided", backward6_guided)),
    ]
}

fn each_length(entry: &str, test: fn(&Case, relu::Shape, &[f32], &[f32])) {
    for (seed, len) in (0..).zip(LENGTHS) {
        let case = Case { gpu: gpu(), name: format!("relu::{entry}, {len} vectors, seed {seed}") };
        let mut random = Random::new(seed);
        let mut x = random.around(0.0, 1.0, 4 * len);
        // Half of them reach beyond the ceiling of ReLU6.
        x[2 * len..].iter_mut().for_each(|x| *x *= 9.0);
        // The corner, where PyTorch's gradient is 0, and its neighbours.
        for (i, value) in [0.0, -0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE].into_iter().enumerate() {
            x[i * (len - 1) + i] = value;
        }
        // The ceiling, which has no gradient either, its neighbours, and what lies far beyond.
        if len > 8 {
            x[4..8].copy_from_slice(&[6.0, 6f32.next_down(), 6f32.next_up(), 1e30]);
        }
        let dy = random.around(0.0, 1.0, 4 * len);
        test(&case, relu::Shape { len: len as u32 }, &x, &dy);
    }
}

fn forward(case: &Case, shape: relu::Shape, x: &[f32], _dy: &[f32]) {
    let y = case.output(x.len());
    let kernel = relu::Forward { shape, x: &case.input(x), y: &y.tensor };
    let [got] = case.run(&kernel, [&y]);
    case.compare("y", &got, &reference::forward(&wide(x)));
}

fn backward(case: &Case, shape: relu::Shape, x: &[f32], dy: &[f32]) {
    let dx = case.output(x.len());
    let kernel = relu::Backward { shape, x: &case.input(x), dy: &case.input(dy), dx: &dx.tensor };
    let [got] = case.run(&kernel, [&dx]);
    case.compare("dx", &got, &reference::backward(&wide(x), &wide(dy)));
}

fn backward_guided(case: &Case, shape: relu::Shape, x: &[f32], dy: &[f32]) {
    let dx = case.output(x.len());
    let kernel = relu::BackwardGuided { shape, x: &case.input(x), dy: &case.input(dy), dx: &dx.tensor };
    let [got] = case.run(&kernel, [&dx]);
    case.compare("dx", &got, &reference::backward_guided(&wide(x), &wide(dy)));
}

fn backward_deconvnet(case: &Case, shape: relu::Shape, _x: &[f32], dy: &[f32]) {
    let dx = case.output(dy.len());
    let kernel = relu::BackwardDeconvnet { shape, dy: &case.input(dy), dx: &dx.tensor };
    let [got] = case.run(&kernel, [&dx]);
    case.compare("dx", &got, &reference::backward_deconvnet(&wide(dy)));
}

fn forward6(case: &Case, shape: relu::Shape, x: &[f32], _dy: &[f32]) {
    let y = case.output(x.len());
    let kernel = relu::Forward6 { shape, x: &case.input(x), y: &y.tensor };
    let [got] = case.run(&kernel, [&y]);
    case.compare("y", &got, &reference::forward6(&wide(x)));
}

fn backward6(case: &Case, shape: relu::Shape, x: &[f32], dy: &[f32]) {
    let dx = case.output(x.len());
    let kernel = relu::Backward6 { shape, x: &case.input(x), dy: &case.input(dy), dx: &dx.tensor };
    let [got] = case.run(&kernel, [&dx]);
    case.compare("dx", &got, &reference::backward6(&wide(x), &wide(dy)));
}

fn backward6_guided(case: &Case, shape: relu::Shape, x: &[f32], dy: &[f32]) {
    let dx = case.output(x.len());
    let kernel = relu::Backward6Guided { shape, x: &case.input(x), dy: &case.input(dy), dx: &dx.tensor };
    let [got] = case.run(&kernel, [&dx]);
    case.compare("dx", &got, &reference::backward6_guided(&wide(x), &wide(dy)));
}
