use convscope::gpu::kernel::Kernel;
use convscope::nn::layout::{Layout, pack_images, padded};
use convscope::ops::linear;
use convscope::reference::{Summed, linear as reference};
use libtest_mimic::Trial;

use super::{Case, Entry, Random, wide};
use crate::common::trial;
use crate::gpu;

/// Images, inputs, outputs, live images.
const SHAPES: [[usize; 4]; 27] = [
    [1, 1, 1, 1],
    [1, 5, 3, 1],
    [2, 3, 5, 1],
    [3, 7, 1, 2],
    [5, 1, 7, 5],
    [4, 4, 4, 3],
    [7, 13, 11, 7],
    [8, 8, 12, 1],
    [1, 17, 19, 1],
    [13, 31, 2, 11],
    [6, 64, 10, 6],
    [1, 101, 4, 1],
    // Workgroups of 63, 64 and 65 invocations: images times vectors of outputs, or of inputs, or both vectors, or outputs alone.
    [9, 3, 27, 8],
    [16, 2, 13, 16],
    [13, 1, 20, 12],
    [21, 9, 2, 20],
    [8, 30, 3, 8],
    [5, 49, 6, 4],
    [2, 35, 26, 2],
    [3, 32, 30, 2],
    [2, 51, 19, 1],
    [2, 3, 250, 2],
    [1, 2, 256, 1],
    [2, 1, 257, 2],
    // As large as the model's.
    [19, 256, 64, 17],
    // All rows that a workgroup can have, of inputs and of images.
    [2, 515, 6, 1],
    [131, 6, 5, 129],
];

pub fn tests() -> Vec<Trial> {
    let entries: [Entry<Linear>; 3] =
        [("forward", forward), ("backward_input", backward_input), ("backward_weight", backward_weight)];
    let mut tests: Vec<_> = entries
        .into_iter()
        .map(|(entry, test)| trial(format!("kernels::linear::{entry}"), move || each_shape(entry, test)))
        .collect();
    tests.push(trial("kernels::linear::forward_in_two_dimensions", forward_in_two_dimensions));
    tests
}

/// Every shape, with random numbers and with integers.
fn each_shape(entry: &str, test: fn(&Linear)) {
    for (seed, shape) in (0..).zip(SHAPES) {
        for integers in [false, true] {
            test(&Linear::new(entry, shape, seed, integers));
        }
    }
}

/// One layer with its numbers in PyTorch's layouts.
struct Linear {
    case: Case,
    shape: linear::Shape,
    reference: reference::Shape,
    /// The CPU reference's shape of the live images alone.
    live: reference::Shape,
    layout: Layout,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
    /// The numbers are integers: not a bit may differ.
    exact: bool,
}

impl Linear {
    fn new(entry: &str, shape: [usize; 4], seed: u64, integers: bool) -> Self {
        let [n, inputs, outputs, live] = shape;
        let kind = if integers { "integers" } else { "random" };
        let reference = reference::Shape { n, inputs, outputs };
        let mut random = Random::new(seed);
        let [x, weight, dy] = reference.lens().map(|len| random.numbers(integers, len));
        Self {
            case: Case {
                gpu: gpu(),
                name: format!("linear::{entry}, {reference:?}, live {live}, {kind}, seed {seed}"),
            },
            shape: linear::Shape::new(n, inputs, outputs),
            reference,
            live: reference::Shape { n: live, ..reference },
            layout: Layout::Filters { outputs, inputs, taps: 1 },
            x,
            weight,
            bias: random.numbers(integers, outputs),
            dy,
            exact: integers,
        }
    }

    fn packed_x(&self) -> Vec<f32> {
        pack_images(&self.x, self.reference.n, self.reference.inputs, 1)
    }

    fn packed_dy(&self) -> Vec<f32> {
        pack_images(&self.dy, self.reference.n, self.reference.outputs, 1)
    }

    /// The live images' x and dy.
    fn live_numbers(&self) -> [Vec<f64>; 2] {
        let [x, _, dy] = self.live.lens();
        [wide(&self.x[..x]), wide(&self.dy[..dy])]
    }

    fn compare(&self, what: &str, got: &[f32], want: Summed<f64>) {
        let want = if self.exact { Summed::exact(want.value) } else { want };
        self.case.compare(what, got, &want);
    }
}

fn forward(layer: &Linear) {
    let (case, reference) = (&layer.case, layer.reference);
    let y = case.output(reference.n * padded(reference.outputs));
    let kernel = linear::Forward {
        shape: layer.shape,
        x: &case.input(&layer.packed_x()),
        weight: &case.input(&layer.layout.pack(&layer.weight)),
        bias: &case.input(&pack_images(&layer.bias, 1, reference.outputs, 1)),
        y: &y.tensor,
    };
    let [got] = case.run(&kernel, [&y]);
    let [x, weight, bias] = [&layer.x, &layer.weight, &layer.bias].map(|values| wide(values));
    let want = reference::forward(reference, &x, &weight, &bias);
    layer.compare("y", &case.unpack(&got, [reference.n, reference.outputs, 1]), want);
}

/// More workgroups than one dimension of a dispatch holds.
fn forward_in_two_dimensions() {
    let [n, outputs] = [16_411, 1024];
    let layer = Linear::new("forward", [n, 1, outputs, n], 0, true);
    let case = &layer.case;
    let y = case.output(n * outputs);
    let kernel = linear::Forward {
        shape: layer.shape,
        x: &case.input(&layer.packed_x()),
        weight: &case.input(&layer.layout.pack(&layer.weight)),
        bias: &case.input(&layer.bias),
        y: &y.tensor,
    };
    assert!(kernel.workgroups() > 65_535);
    let [got] = case.run(&kernel, [&y]);
    for (i, got) in got.into_iter().enumerate() {
        let (image, output) = (i / outputs, i % outputs);
        let want = layer.x[image] * layer.weight[output] + layer.bias[output];
        assert!(got == want, "element {i}: got {got}, want {want}");
    }
}

fn backward_input(layer: &Linear) {
    let (case, reference) = (&layer.case, layer.reference);
    let dx = case.output(reference.n * padded(reference.inputs));
    let kernel = linear::BackwardInput {
        shape: layer.shape,
        weight: &case.input(&layer.layout.pack(&layer.weight)),
        dy: &case.input(&layer.packed_dy()),
        dx: &dx.tensor,
    };
    let [got] = case.run(&kernel, [&dx]);
    let want = reference::backward_input(reference, &wide(&layer.weight), &wide(&layer.dy));
    layer.compare("dx", &case.unpack(&got, [reference.n, reference.inputs, 1]), want);
}

fn backward_weight(layer: &Linear) {
    let (case, reference) = (&layer.case, layer.reference);
    let dweight = case.output(layer.layout.packed_len());
    let dbias = case.output(padded(reference.outputs));
    let kernel = linear::BackwardWeight {
        shape: layer.shape,
        step: &case.live(layer.live.n),
        x: &case.input(&layer.packed_x()),
        dy: &case.input(&layer.packed_dy()),
        dweight: &dweight.tensor,
        dbias: &dbias.tensor,
    };
    let [weight, bias] = case.run(&kernel, [&dweight, &dbias]);
    let [x, dy] = layer.live_numbers();
    layer.compare(
        "dweight",
        &case.unpack_filters(&weight, layer.layout),
        reference::backward_weight(layer.live, &x, &dy),
    );
    layer.compare("dbias", &case.unpack(&bias, [1, reference.outputs, 1]), reference::backward_bias(layer.live, &dy));
}
