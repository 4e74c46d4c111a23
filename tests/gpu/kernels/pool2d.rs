//! MaxPool2d and AvgPool2d, which have the same windows.

use convscope::nn::layout::{pack_images, padded, unpack_images};
use convscope::ops::{avg_pool2d, max_pool2d};
use convscope::reference::max_pool2d::Shape as ReferenceShape;
use convscope::reference::{Summed, avg_pool2d as avg_reference, max_pool2d as max_reference};
use libtest_mimic::Trial;
use rand::RngExt;

use super::{Case, Random, wide};
use crate::common::trial;
use crate::gpu;

/// Images, channels, height, width, kernel, stride, padding.
const SHAPES: [[usize; 7]; 26] = [
    [1, 1, 1, 1, 1, 1, 0],
    [1, 1, 1, 1, 3, 1, 1],
    [2, 3, 7, 5, 3, 2, 1],
    [1, 5, 6, 9, 2, 2, 0],
    [3, 4, 8, 7, 3, 1, 1],
    [1, 7, 5, 4, 4, 1, 2],
    [2, 2, 4, 8, 5, 3, 2],
    [1, 9, 11, 13, 7, 2, 3],
    [2, 1, 9, 4, 1, 2, 0],
    [1, 13, 6, 1, 2, 1, 1],
    [3, 6, 1, 11, 3, 2, 1],
    // The stride exceeds the window: some inputs are in none; those of the last rows may be in none anyway.
    [2, 3, 8, 7, 2, 3, 1],
    [1, 2, 13, 10, 3, 5, 0],
    [1, 1, 12, 9, 1, 4, 0],
    [2, 5, 10, 11, 3, 4, 1],
    // The window is the whole map, or larger.
    [2, 4, 5, 5, 5, 1, 0],
    [1, 3, 4, 3, 7, 1, 3],
    [1, 2, 3, 2, 6, 5, 3],
    // Workgroups of 63, 64 and 65 inputs or outputs.
    [1, 1, 7, 9, 1, 1, 0],
    [1, 3, 8, 8, 3, 1, 1],
    [1, 4, 5, 13, 3, 1, 1],
    [7, 36, 2, 2, 2, 2, 0],
    [8, 31, 2, 3, 2, 2, 0],
    [5, 50, 3, 3, 3, 1, 0],
    // Larger ones: the pooling of ResNet and that of VGG.
    [3, 30, 19, 23, 3, 2, 1],
    [2, 10, 28, 30, 2, 2, 0],
];

/// What the input of MaxPool2d is made of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// No two are equal, as good as.
    Random,
    /// Five integers, and zeros of either sign: many are equal.
    Ties,
    /// Infinities, and what is no number, among few others.
    NotFinite,
}

pub fn tests() -> Vec<Trial> {
    vec![
        trial("kernels::max_pool2d::forward", || each_shape("max_pool2d::forward", max_forward)),
        trial("kernels::max_pool2d::backward", || each_shape("max_pool2d::backward", max_backward)),
        trial("kernels::avg_pool2d::forward", || each_shape("avg_pool2d::forward", avg_forward)),
        trial("kernels::avg_pool2d::backward", || each_shape("avg_pool2d::backward", avg_backward)),
    ]
}

fn each_shape(entry: &str, test: fn(&Case, ReferenceShape, max_pool2d::Shape, &mut Random)) {
    for (seed, [n, c, h, w, kernel, stride, padding]) in (0..).zip(SHAPES) {
        let reference = ReferenceShape { n, c, h, w, kernel, stride, padding };
        let case = Case { gpu: gpu(), name: format!("{entry}, {reference:?}, seed {seed}") };
        let shape = max_pool2d::Shape::new(n, [c, h, w], kernel, stride, padding);
        assert_eq!(shape.output_len(), n * reference.out().iter().product::<usize>() * padded(c), "{}", case.name);
        test(&case, reference, shape, &mut Random::new(seed));
    }
}

fn input_dims(reference: ReferenceShape) -> [usize; 3] {
    [reference.n, reference.c, reference.h * reference.w]
}

fn output_dims(reference: ReferenceShape) -> [usize; 3] {
    [reference.n, reference.c, reference.out().iter().product()]
}

fn pack(values: &[f32], [n, channels, pixels]: [usize; 3]) -> Vec<f32> {
    pack_images(values, n, channels, pixels)
}

impl Kind {
    fn values(self, random: &mut Random, len: usize) -> Vec<f32> {
        let few: &[f32] = match self {
            Self::Random => return random.around(0.1, 1.0, len),
            Self::Ties => &[-2.0, -1.0, -0.0, 0.0, 1.0, 2.0],
            Self::NotFinite => {
                &[f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, -3.0, 0.0, 7.0]
            }
        };
        (0..len).map(|_| few[random.0.random_range(0..few.len())]).collect()
    }
}

/// Largest values and their places, by their bits: only a not-a-number may be another one.
fn max_forward(case: &Case, reference: ReferenceShape, shape: max_pool2d::Shape, random: &mut Random) {
    for kind in [Kind::Random, Kind::Ties, Kind::NotFinite] {
        let x = kind.values(random, reference.lens()[0]);
        let [y, index] = [(); 2].map(|()| case.output(shape.output_len()));
        let x_tensor = case.input(&pack(&x, input_dims(reference)));
        let kernel = max_pool2d::Forward { shape, x: &x_tensor, y: &y.tensor, index: &index.tensor };
        let [got_y, got_index] = case.run(&kernel, [&y, &index]);
        let (want_y, want_index) = max_reference::forward(reference, &x);

        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let one_nan = |value: f32| if value.is_nan() { f32::NAN } else { value };
        let [want_y, got_y] =
            [pack(&want_y, output_dims(reference)), got_y].map(|y| y.into_iter().map(one_nan).collect::<Vec<_>>());
        // The padding lanes are zero in y, too.
        assert_eq!(bits(&got_y), bits(&want_y), "{}, {kind:?}: y", case.name);
        let [n, channels, pixels] = output_dims(reference);
        let got_index = bits(&unpack_images(&got_index, n, channels, pixels));
        assert_eq!(got_index, want_index, "{}, {kind:?}: index", case.name);
    }
}

fn max_backward(case: &Case, reference: ReferenceShape, shape: max_pool2d::Shape, random: &mut Random) {
    for integers in [false, true] {
        let kind = if integers { Kind::Ties } else { Kind::Random };
        let (_, indices) = max_reference::forward(reference, &kind.values(random, reference.lens()[0]));
        let dy = random.numbers(integers, reference.lens()[1]);
        let places: Vec<f32> = indices.iter().map(|&index| f32::from_bits(index)).collect();
        let [indices_tensor, dy_tensor] =
            [&places, &dy].map(|values| case.input(&pack(values, output_dims(reference))));
        let dx = case.output(reference.n * reference.h * reference.w * padded(reference.c));
        let kernel = max_pool2d::Backward { shape, indices: &indices_tensor, dy: &dy_tensor, dx: &dx.tensor };
        let [got] = case.run(&kernel, [&dx]);
        let want = max_reference::backward(reference, &indices, &wide(&dy));
        let want = if integers { Summed::exact(want.value) } else { want };
        case.compare("dx", &case.unpack(&got, input_dims(reference)), &want);
    }
}

fn avg_forward(case: &Case, reference: ReferenceShape, shape: avg_pool2d::Shape, random: &mut Random) {
    let x = random.around(0.1, 1.0, reference.lens()[0]);
    let y = case.output(shape.output_len());
    let [got] =
        case.run(&avg_pool2d::Forward { shape, x: &case.input(&pack(&x, input_dims(reference))), y: &y.tensor }, [&y]);
    case.compare("y", &case.unpack(&got, output_dims(reference)), &avg_reference::forward(reference, &wide(&x)));
}

fn avg_backward(case: &Case, reference: ReferenceShape, shape: avg_pool2d::Shape, random: &mut Random) {
    let dy = random.around(0.1, 1.0, reference.lens()[1]);
    let dx = case.output(reference.n * reference.h * reference.w * padded(reference.c));
    let kernel = avg_pool2d::Backward { shape, dy: &case.input(&pack(&dy, output_dims(reference))), dx: &dx.tensor };
    let [got] = case.run(&kernel, [&dx]);
    case.compare("dx", &case.unpack(&got, input_dims(reference)), &avg_reference::backward(reference, &wide(&dy)));
}
