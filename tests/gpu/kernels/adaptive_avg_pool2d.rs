use convscope::nn::layout::{pack_images, padded};
use convscope::ops::adaptive_avg_pool2d;
use convscope::reference::adaptive_avg_pool2d as reference;
use libtest_mimic::Trial;

use super::{Case, Random, wide};
use crate::common::trial;
use crate::gpu;

/// Images, channels, height, width, height and width of the output.
const SHAPES: [[usize; 6]; 26] = [
    [1, 1, 1, 1, 1, 1],
    [1, 3, 5, 7, 1, 1],
    [2, 5, 4, 4, 1, 1],
    [3, 7, 8, 6, 2, 3],
    [2, 4, 7, 5, 3, 2],
    [1, 1, 11, 13, 5, 4],
    [4, 6, 5, 9, 5, 9],
    [1, 2, 2, 3, 5, 4],
    [2, 3, 1, 7, 1, 3],
    [1, 9, 6, 1, 4, 1],
    [3, 1, 13, 2, 6, 2],
    [2, 8, 9, 10, 4, 7],
    [1, 5, 3, 3, 7, 8],
    [1, 13, 10, 4, 3, 3],
    [2, 17, 4, 7, 2, 5],
    // Workgroups of 63, 64 and 65 inputs or outputs.
    [1, 1, 7, 9, 2, 2],
    [1, 3, 8, 8, 3, 3],
    [1, 4, 5, 13, 2, 4],
    [7, 36, 2, 3, 1, 1],
    [8, 31, 3, 2, 1, 1],
    [5, 50, 2, 2, 1, 1],
    [1, 2, 3, 5, 9, 7],
    [1, 1, 5, 3, 8, 8],
    [1, 3, 4, 6, 13, 5],
    // Larger ones.
    [3, 30, 19, 23, 1, 1],
    [2, 10, 31, 29, 6, 7],
];

pub fn tests() -> Vec<Trial> {
    vec![
        trial("kernels::adaptive_avg_pool2d::forward", || each_shape("forward", forward)),
        trial("kernels::adaptive_avg_pool2d::backward", || each_shape("backward", backward)),
    ]
}

fn each_shape(entry: &str, test: fn(&Case, reference::Shape, adaptive_avg_pool2d::Shape, &mut Random)) {
    for (seed, [n, c, h, w, oh, ow]) in (0..).zip(SHAPES) {
        let reference = reference::Shape { n, c, h, w, oh, ow };
        let case = Case { gpu: gpu(), name: format!("adaptive_avg_pool2d::{entry}, {reference:?}, seed {seed}") };
        let shape = adaptive_avg_pool2d::Shape::new(n, [c, h, w], [oh, ow]);
        test(&case, reference, shape, &mut Random::new(seed));
    }
}

fn forward(case: &Case, reference: reference::Shape, shape: adaptive_avg_pool2d::Shape, random: &mut Random) {
    let reference::Shape { n, c, h, w, oh, ow } = reference;
    let x = random.around(0.1, 1.0, n * c * h * w);
    let y = case.output(n * oh * ow * padded(c));
    let kernel = adaptive_avg_pool2d::Forward { shape, x: &case.input(&pack_images(&x, n, c, h * w)), y: &y.tensor };
    let [got] = case.run(&kernel, [&y]);
    let got = case.unpack(&got, [n, c, oh * ow]);
    case.compare("y", &got, &reference::forward(reference, &wide(&x)));
}

fn backward(case: &Case, reference: reference::Shape, shape: adaptive_avg_pool2d::Shape, random: &mut Random) {
    let reference::Shape { n, c, h, w, oh, ow } = reference;
    let dy = random.around(0.1, 1.0, n * c * oh * ow);
    let dx = case.output(n * h * w * padded(c));
    let kernel =
        adaptive_avg_pool2d::Backward { shape, dy: &case.input(&pack_images(&dy, n, c, oh * ow)), dx: &dx.tensor };
    let [got] = case.run(&kernel, [&dx]);
    let got = case.unpack(&got, [n, c, h * w]);
    case.compare("dx", &got, &reference::backward(reference, &wide(&dy)));
}
