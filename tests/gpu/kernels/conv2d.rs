use std::sync::OnceLock;

use convscope::gpu::{AdapterChoice, Gpu, Plan};
use convscope::kernel::Tile;
use convscope::layout::{Layout, pack_images};
use convscope::ops::conv2d;
use convscope::reference::{Summed, conv2d as twin};
use libtest_mimic::Trial;
use pollster::block_on;

use super::{Case, Entry, Random, sums, wide};
use crate::common::trial;

/// Pictures, input channels, height, width, output channels, height and width of the filters, stride, padding, live
/// pictures.
const SHAPES: [[usize; 10]; 49] = [
    [1, 1, 1, 1, 1, 1, 1, 1, 0, 1],
    [1, 1, 1, 1, 1, 3, 3, 1, 1, 1],
    [1, 3, 5, 7, 5, 3, 3, 2, 1, 1],
    [2, 5, 7, 4, 7, 2, 2, 1, 0, 1],
    [3, 7, 6, 11, 3, 5, 5, 1, 2, 2],
    [2, 4, 9, 8, 8, 7, 7, 1, 3, 2],
    [1, 1, 13, 9, 1, 7, 3, 3, 1, 1],
    [2, 3, 8, 10, 4, 1, 5, 2, 2, 1],
    [1, 5, 11, 6, 9, 4, 1, 1, 2, 1],
    [2, 2, 9, 9, 6, 6, 2, 2, 3, 2],
    // The stride exceeds the filter: some inputs have no output.
    [1, 3, 10, 13, 5, 1, 1, 2, 0, 1],
    [2, 1, 11, 12, 2, 2, 1, 3, 0, 2],
    [1, 6, 13, 14, 3, 3, 2, 4, 1, 1],
    [2, 3, 9, 10, 4, 1, 1, 3, 1, 1],
    // The filter is larger than the map, or has hardly room to move.
    [1, 3, 2, 1, 4, 5, 4, 1, 2, 1],
    [3, 2, 1, 9, 2, 1, 6, 4, 0, 3],
    [2, 1, 4, 3, 1, 6, 7, 2, 3, 2],
    // Tiles of pixels, 3, 8 and 16, less one, exact, and one more.
    [1, 3, 1, 2, 1, 1, 1, 1, 0, 1],
    [3, 1, 1, 1, 3, 1, 1, 1, 0, 2],
    [2, 1, 2, 1, 5, 2, 1, 1, 1, 2],
    [1, 1, 7, 1, 9, 1, 1, 1, 0, 1],
    [1, 2, 2, 4, 1, 3, 3, 1, 1, 1],
    [1, 1, 3, 3, 4, 1, 3, 1, 1, 1],
    [3, 1, 5, 1, 1, 1, 1, 1, 0, 3],
    [1, 4, 4, 4, 4, 3, 3, 1, 1, 1],
    [1, 1, 1, 17, 2, 1, 2, 1, 1, 1],
    // Tiles of 2 and 4 vectors of channels, less one, exact, and one more.
    [1, 13, 3, 5, 16, 3, 3, 1, 1, 1],
    [1, 17, 4, 3, 20, 2, 2, 2, 1, 1],
    [2, 12, 3, 3, 33, 3, 3, 2, 1, 2],
    // Workgroups of 63, 64 and 65 tiles of 3, 8 and 16 pixels.
    [1, 1, 9, 21, 4, 1, 1, 1, 0, 1],
    [1, 2, 12, 16, 3, 1, 1, 1, 0, 1],
    [2, 1, 97, 1, 2, 1, 1, 1, 0, 1],
    [1, 1, 21, 24, 3, 1, 1, 1, 0, 1],
    [2, 3, 16, 16, 4, 1, 1, 1, 0, 1],
    [1, 2, 19, 27, 1, 1, 1, 1, 0, 1],
    [1, 1, 28, 36, 1, 1, 1, 1, 0, 1],
    [1, 1, 31, 33, 1, 1, 1, 1, 0, 1],
    [1, 1, 25, 41, 5, 1, 1, 1, 0, 1],
    // Workgroups of 63, 64 and 65 tiles of rows and vectors: of 2 and 1, then of 3 and 2.
    [1, 56, 3, 3, 1, 3, 3, 1, 1, 1],
    [1, 8, 4, 5, 16, 4, 4, 1, 0, 1],
    [1, 8, 5, 2, 50, 5, 1, 1, 0, 1],
    [1, 3, 3, 4, 165, 3, 3, 1, 0, 1],
    [1, 14, 3, 2, 128, 3, 1, 1, 0, 1],
    [1, 19, 5, 2, 102, 3, 1, 2, 0, 1],
    // Chunks of 256 pixels, less one, exact, and one more.
    [3, 2, 5, 17, 1, 1, 1, 1, 0, 3],
    [2, 1, 16, 8, 3, 1, 1, 1, 0, 2],
    [1, 3, 1, 258, 2, 1, 2, 1, 0, 1],
    // Larger ones; in the last, some chunks hold pixels of dead pictures only.
    [3, 19, 17, 13, 22, 3, 3, 2, 1, 3],
    [5, 3, 23, 29, 5, 3, 3, 1, 1, 2],
];

const TILES: [(&str, Tile); 3] =
    [("software", Tile::SOFTWARE), ("gpu", Tile::GPU), ("odd", Tile { pixels: 3, vectors: 1, rows: 2 })];

pub fn tests() -> Vec<Trial> {
    let entries: [Entry<Conv>; 5] = [
        ("forward", forward),
        ("backward_input", backward_input),
        ("backward_weight", backward_weight),
        ("reduce_weight", reduce_weight),
        ("backward_weight_and_reduce", backward_weight_and_reduce),
    ];
    let mut tests = Vec::new();
    for (number, (tile, _)) in TILES.into_iter().enumerate() {
        for (entry, test) in entries {
            tests
                .push(trial(format!("kernels::conv2d::{entry}::tile_{tile}"), move || each_shape(number, entry, test)));
        }
    }
    tests
}

/// The device with a tile's kernels.
fn device(tile: usize) -> &'static Gpu {
    static DEVICES: [OnceLock<Gpu>; TILES.len()] = [const { OnceLock::new() }; TILES.len()];
    DEVICES[tile].get_or_init(|| block_on(Gpu::open(&AdapterChoice::Best)).unwrap().with_tile(TILES[tile].1))
}

/// Every shape, with random numbers and with integers.
fn each_shape(tile: usize, entry: &str, test: fn(&Conv)) {
    for (seed, shape) in (0..).zip(SHAPES) {
        for integers in [false, true] {
            test(&Conv::new(tile, entry, shape, seed, integers));
        }
    }
}

/// One convolution with its numbers in PyTorch's layouts.
struct Conv {
    case: Case,
    shape: conv2d::Shape,
    twin: twin::Shape,
    layout: Layout,
    live: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
    /// The numbers are integers: not a bit may differ.
    exact: bool,
    random: Random,
}

impl Conv {
    fn new(tile: usize, entry: &str, shape: [usize; 10], seed: u64, integers: bool) -> Self {
        let [n, cin, h, w, cout, kernel_h, kernel_w, stride, padding, live] = shape;
        let kernel = [kernel_h, kernel_w];
        let kind = if integers { "integers" } else { "random" };
        let twin = twin::Shape { n, cin, h, w, cout, kernel, stride, padding };
        let mut random = Random::new(seed);
        let [x, weight, dy] = twin.lens().map(|len| random.numbers(integers, len));
        Self {
            case: Case {
                gpu: device(tile),
                name: format!("conv2d::{entry}, tile {}, {twin:?}, live {live}, {kind}, seed {seed}", TILES[tile].0),
            },
            shape: conv2d::Shape::new(n, [cin, h, w], cout, kernel, stride, padding),
            twin,
            layout: Layout::Filters { outputs: cout, inputs: cin, taps: kernel_h * kernel_w },
            live,
            x,
            weight,
            dy,
            exact: integers,
            random,
        }
    }

    fn input_dims(&self) -> [usize; 3] {
        [self.twin.n, self.twin.cin, self.twin.h * self.twin.w]
    }

    fn output_dims(&self) -> [usize; 3] {
        let [oh, ow] = self.twin.out();
        [self.twin.n, self.twin.cout, oh * ow]
    }

    fn packed_x(&self) -> Vec<f32> {
        let [n, channels, pixels] = self.input_dims();
        pack_images(&self.x, n, channels, pixels)
    }

    fn packed_dy(&self) -> Vec<f32> {
        let [n, channels, pixels] = self.output_dims();
        pack_images(&self.dy, n, channels, pixels)
    }

    /// The gradient of the weight from the output pixels `first..end`, counted over all pictures.
    fn weight_gradient(&self, first: usize, end: usize) -> Summed<f64> {
        let [_, channels, pixels] = self.output_dims();
        let mut dy = wide(&self.dy);
        for (i, value) in dy.iter_mut().enumerate() {
            let pixel = i / pixels / channels * pixels + i % pixels;
            if !(first..end).contains(&pixel) {
                *value = 0.0;
            }
        }
        twin::backward_weight(self.twin, &wide(&self.x), &dy)
    }

    fn live_pixels(&self) -> usize {
        self.live * self.output_dims()[2]
    }

    fn chunks(&self) -> usize {
        self.shape.partial_len() / self.layout.packed_len()
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
    let kernel = conv2d::Forward { shape: conv.shape, x: &x, weight: &weight, y: &y.tensor };
    let [got] = case.run(&kernel, [&y]);
    let want = twin::forward(conv.twin, &wide(&conv.x), &wide(&conv.weight));
    conv.compare("y", &case.unpack(&got, conv.output_dims()), want);
}

fn backward_input(conv: &Conv) {
    let case = &conv.case;
    let weight = case.input(&conv.layout.pack(&conv.weight));
    let dy = case.input(&conv.packed_dy());
    let dx = case.output(conv.packed_x().len());
    let kernel = conv2d::BackwardInput { shape: conv.shape, weight: &weight, dy: &dy, dx: &dx.tensor };
    let [got] = case.run(&kernel, [&dx]);
    let want = twin::backward_input(conv.twin, &wide(&conv.weight), &wide(&conv.dy));
    conv.compare("dx", &case.unpack(&got, conv.input_dims()), want);
}

/// The partial gradient of every chunk.
fn backward_weight(conv: &Conv) {
    let case = &conv.case;
    let [x, dy] = [conv.packed_x(), conv.packed_dy()].map(|values| case.input(&values));
    let step = case.live(conv.live);
    let partial = case.output(conv.shape.partial_len());
    let kernel = conv2d::BackwardWeight { shape: conv.shape, step: &step, x: &x, dy: &dy, partial: &partial.tensor };
    let [got] = case.run(&kernel, [&partial]);
    let size = conv.shape.chunk as usize;
    for (chunk, got) in got.chunks(conv.layout.packed_len()).enumerate() {
        let first = (chunk * size).min(conv.live_pixels());
        let end = (first + size).min(conv.live_pixels());
        let mut want = conv.weight_gradient(first, end);
        want.terms = end - first;
        let got = case.unpack_filters(got, conv.layout);
        conv.compare(&format!("partial of chunk {chunk}"), &got, want);
    }
}

/// The sum over the chunks by itself, from random partials.
fn reduce_weight(conv: &Conv) {
    let case = &conv.case;
    let len = conv.layout.packed_len();
    let mut random = conv.random.clone();
    let partials = random.numbers(conv.exact, conv.shape.partial_len());
    let dweight = case.output(len);
    let kernel = conv2d::ReduceWeight { shape: conv.shape, partials: &case.input(&partials), dweight: &dweight.tensor };
    let [got] = case.run(&kernel, [&dweight]);
    let terms = |i| partials.iter().skip(i).step_by(len).map(|&term| term.into());
    let want = sums((0..len).map(|i| terms(i).collect()), 0);
    conv.compare("dweight", &got, want);
}

/// Both kernels one after the other, as in a training step.
fn backward_weight_and_reduce(conv: &Conv) {
    let case = &conv.case;
    let [x, dy] = [conv.packed_x(), conv.packed_dy()].map(|values| case.input(&values));
    let step = case.live(conv.live);
    let partial = case.output(conv.shape.partial_len());
    let dweight = case.output(conv.layout.packed_len());
    let mut plan = Plan::new();
    let gradient = conv2d::BackwardWeight { shape: conv.shape, step: &step, x: &x, dy: &dy, partial: &partial.tensor };
    plan.add(case.gpu, "test", &gradient);
    let reduce = conv2d::ReduceWeight { shape: conv.shape, partials: &partial.tensor, dweight: &dweight.tensor };
    plan.add(case.gpu, "test", &reduce);
    let [got, _] = case.run_plan(&plan, [&dweight, &partial]);
    let mut want = conv.weight_gradient(0, conv.live_pixels());
    want.terms = conv.live_pixels().min(conv.shape.chunk as usize) + conv.chunks();
    conv.compare("dweight", &case.unpack_filters(&got, conv.layout), want);
}
