use convscope::gpu::Plan;
use convscope::nn::layout::{Layout, pack_images};
use convscope::ops::depthwise::{Depthwise, Shape};
use convscope::reference::{Summed, depthwise as reference};
use libtest_mimic::Trial;

use super::{Case, Entry, Random, wide};
use crate::common::trial;
use crate::gpu;

/// Images, channels, height, width, kernel, stride, padding, live images. Each set of kernel, stride and pixels in a strip is
/// compiled by itself.
const SHAPES: [[usize; 8]; 27] = [
    [1, 1, 1, 1, 1, 1, 0, 1],
    [1, 1, 1, 1, 3, 1, 1, 1],
    [2, 3, 7, 5, 3, 1, 1, 2],
    [2, 5, 8, 7, 3, 2, 1, 1],
    [1, 4, 9, 10, 5, 1, 2, 1],
    [3, 7, 6, 11, 5, 2, 2, 2],
    [1, 6, 4, 9, 2, 1, 0, 1],
    [2, 2, 5, 8, 4, 3, 1, 2],
    [1, 9, 13, 12, 7, 1, 3, 1],
    // The stride exceeds the filter: some inputs have no output.
    [2, 3, 10, 13, 1, 2, 0, 2],
    [1, 5, 11, 14, 2, 3, 1, 1],
    [1, 1, 9, 17, 3, 5, 2, 1],
    // The padding exceeds the filter, or the filter the map.
    [1, 2, 3, 4, 2, 2, 3, 1],
    [2, 3, 5, 4, 1, 2, 1, 2],
    [1, 4, 2, 3, 5, 1, 2, 1],
    [3, 1, 1, 6, 6, 2, 3, 2],
    // Strips of 8 outputs, less one, exact, and one more; of 8 inputs, the first of which lies left of the map.
    [1, 3, 3, 15, 3, 1, 1, 1],
    [1, 3, 3, 16, 3, 1, 1, 1],
    [1, 3, 3, 17, 3, 1, 1, 1],
    [1, 2, 5, 15, 3, 2, 1, 1],
    [2, 6, 16, 16, 3, 2, 1, 2],
    // Workgroups of 63, 64 and 65 strips, or vectors of channels.
    [1, 1, 63, 2, 3, 1, 1, 1],
    [4, 4, 16, 7, 3, 1, 1, 3],
    [1, 257, 2, 3, 3, 1, 1, 1],
    // Several chunks; in the last, some hold strips of dead images only.
    [1, 3, 33, 5, 3, 1, 1, 1],
    [4, 6, 17, 19, 3, 1, 1, 4],
    [7, 10, 14, 14, 3, 2, 1, 4],
];

/// How wide a strip is at most: the choice for networks, and one that does not come out even.
const PIXELS: [u32; 2] = [8, 5];

pub fn tests() -> Vec<Trial> {
    let entries: [Entry<Conv>; 3] =
        [("forward", forward), ("backward_input", backward_input), ("backward_weight", backward_weight)];
    entries
        .into_iter()
        .map(|(entry, test)| trial(format!("kernels::depthwise::{entry}"), move || each_shape(entry, test)))
        .collect()
}

/// Every shape, with random numbers and with integers; only the first, which are small, with both widths.
fn each_shape(entry: &str, test: fn(&Conv)) {
    for (seed, shape) in (0..).zip(SHAPES) {
        let widths = if seed < 9 { &PIXELS[..] } else { &PIXELS[..1] };
        for &pixels in widths {
            for integers in [false, true] {
                test(&Conv::new(entry, shape, pixels, seed, integers));
            }
        }
    }
}

/// One convolution with its numbers in PyTorch's layouts.
struct Conv {
    case: Case,
    conv: Depthwise,
    reference: reference::Shape,
    layout: Layout,
    live: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
    /// The numbers are integers: not a bit may differ.
    exact: bool,
}

impl Conv {
    fn new(entry: &str, shape: [usize; 8], pixels: u32, seed: u64, integers: bool) -> Self {
        let [n, c, h, w, kernel, stride, padding, live] = shape;
        let kind = if integers { "integers" } else { "random" };
        let reference = reference::Shape { n, c, h, w, kernel, stride, padding };
        let mut random = Random::new(seed);
        let [x, weight, dy] = reference.lens().map(|len| random.numbers(integers, len));
        Self {
            case: Case {
                gpu: gpu(),
                name: format!(
                    "depthwise::{entry}, {reference:?}, live {live}, strips of {pixels}, {kind}, seed {seed}"
                ),
            },
            conv: Depthwise::with_pixels(Shape::new(n, [c, h, w], kernel, stride, padding), pixels),
            reference,
            layout: Layout::Depthwise { channels: c, taps: kernel * kernel },
            live,
            x,
            weight,
            dy,
            exact: integers,
        }
    }

    fn input_dims(&self) -> [usize; 3] {
        [self.reference.n, self.reference.c, self.reference.h * self.reference.w]
    }

    fn output_dims(&self) -> [usize; 3] {
        [self.reference.n, self.reference.c, self.reference.out().iter().product()]
    }

    fn packed_x(&self) -> Vec<f32> {
        let [n, channels, pixels] = self.input_dims();
        pack_images(&self.x, n, channels, pixels)
    }

    fn packed_dy(&self) -> Vec<f32> {
        let [n, channels, pixels] = self.output_dims();
        pack_images(&self.dy, n, channels, pixels)
    }

    /// dy of the live images; zero in the others.
    fn live_dy(&self) -> Vec<f64> {
        let [_, channels, pixels] = self.output_dims();
        let mut dy = wide(&self.dy);
        dy[self.live * channels * pixels..].fill(0.0);
        dy
    }

    fn compare(&self, what: &str, got: &[f32], want: Summed<f64>) {
        let want = if self.exact { Summed::exact(want.value) } else { want };
        self.case.compare(what, got, &want);
    }
}

fn forward(conv: &Conv) {
    let case = &conv.case;
    let x = case.input(&conv.packed_x());
    let weight = case.input(&conv.layout.pack(&conv.weight));
    let y = case.output(conv.packed_dy().len());
    let mut plan = Plan::new();
    conv.conv.forward(case.gpu, &mut plan, "test", &x, &weight, &y.tensor);
    let [got] = case.run_plan(&plan, [&y]);
    let want = reference::forward(conv.reference, &wide(&conv.x), &wide(&conv.weight));
    conv.compare("y", &case.unpack(&got, conv.output_dims()), want);
}

fn backward_input(conv: &Conv) {
    let case = &conv.case;
    let weight = case.input(&conv.layout.pack(&conv.weight));
    let dy = case.input(&conv.packed_dy());
    let dx = case.output(conv.packed_x().len());
    let mut plan = Plan::new();
    conv.conv.backward_input(case.gpu, &mut plan, "test", &weight, &dy, &dx.tensor);
    let [got] = case.run_plan(&plan, [&dx]);
    let want = reference::backward_input(conv.reference, &wide(&conv.weight), &wide(&conv.dy));
    conv.compare("dx", &case.unpack(&got, conv.input_dims()), want);
}

fn backward_weight(conv: &Conv) {
    let case = &conv.case;
    assert_eq!(conv.conv.weight_len(), conv.layout.packed_len(), "{}", case.name);
    let [x, dy] = [conv.packed_x(), conv.packed_dy()].map(|values| case.input(&values));
    let step = case.live(conv.live);
    let partial = case.output(conv.conv.partial_len());
    let dweight = case.output(conv.layout.packed_len());
    let mut plan = Plan::new();
    conv.conv.backward_weight(case.gpu, &mut plan, "test", &step, &x, &dy, &partial.tensor, &dweight.tensor);
    let [got, _] = case.run_plan(&plan, [&dweight, &partial]);
    let mut want = reference::backward_weight(conv.reference, &wide(&conv.x), &conv.live_dy());
    // A chunk's sum is as long as its pixels are many, at most all of them; then the chunks are added up.
    want.terms = conv.live * conv.output_dims()[2] + conv.conv.chunks() as usize;
    conv.compare("dweight", &case.unpack_filters(&got, conv.layout), want);
}
