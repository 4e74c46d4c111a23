use convscope::gpu::Kernels;
use convscope::gpu::Plan;
use convscope::nn::layout::{Layout, pack_images};
use convscope::ops::conv2d::wide::{Tile, WeightTile};
use convscope::ops::conv2d::{Conv2d, Parts, Shape, SumWeight, TransposeWeight, plain, tiled};
use convscope::reference::{Summed, conv2d as reference};
use libtest_mimic::Trial;

use super::{Case, Entry, Random, sums, wide};
use crate::common::trial;
use crate::gpu_with;

/// Images, input channels, height, width, output channels, height and width of the filters, stride, padding, live
/// images.
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
    // Larger ones; in the last, some chunks hold pixels of dead images only.
    [3, 19, 17, 13, 22, 3, 3, 2, 1, 3],
    [5, 3, 23, 29, 5, 3, 3, 1, 1, 2],
];

/// As [`SHAPES`], for the subgroup kernels: they are compiled for every shape anew, which takes a second or two each.
const SUBGROUP_SHAPES: [[usize; 10]; 13] = [
    [1, 1, 1, 1, 1, 1, 1, 1, 0, 1],
    // Several images side by side in the lanes, and one after the other; some dead, some beyond the batch.
    [5, 3, 5, 7, 5, 3, 3, 2, 1, 3],
    [11, 2, 4, 4, 3, 2, 2, 1, 0, 7],
    [3, 9, 3, 3, 18, 3, 3, 1, 1, 2],
    // The stride exceeds the filter: some inputs have no output.
    [1, 6, 13, 14, 3, 3, 2, 4, 1, 1],
    [2, 3, 9, 10, 4, 1, 1, 3, 1, 2],
    // The filter is larger than the map, and larger than the unrolled loop can be.
    [1, 3, 2, 1, 4, 5, 4, 1, 2, 1],
    [2, 4, 9, 8, 8, 7, 7, 1, 3, 2],
    // Channels that fill the last lanes in part, or take several workgroups.
    [2, 12, 5, 5, 33, 3, 3, 2, 1, 2],
    [1, 37, 3, 4, 70, 2, 3, 1, 0, 1],
    // Tiles with a halo, cut off at the edges.
    [2, 16, 63, 31, 8, 3, 3, 2, 0, 2],
    [3, 19, 17, 13, 22, 3, 3, 2, 1, 3],
    [2, 3, 43, 61, 5, 3, 3, 1, 1, 1],
];

/// As [`SHAPES`], for the tiled kernels: convolutions whose output or input's gradient is by itself made by a wide kernel, in parts.
const WIDE_SHAPES: [[usize; 10]; 3] = [
    [3, 130, 5, 5, 72, 3, 3, 1, 1, 2],
    // Phases of four, two and one taps: those of fewer have parts without any.
    [2, 64, 9, 8, 256, 3, 3, 2, 1, 2],
    // A linear layer.
    [33, 1100, 1, 1, 132, 1, 1, 1, 0, 20],
];

/// Gives a convolution other tiles.
type WithTiles = fn(Conv2d) -> Conv2d;

/// The sets of kernels, and what tiles they get.
const KERNELS: [(&str, Kernels, WithTiles); 9] = [
    ("plain_software", Kernels::Plain, |conv| conv.with_plain_tile(plain::Tile::SOFTWARE)),
    ("plain_gpu", Kernels::Plain, |conv| conv.with_plain_tile(plain::Tile::GPU)),
    ("plain_odd", Kernels::Plain, |conv| conv.with_plain_tile(plain::Tile { pixels: 3, vectors: 1, rows: 2 })),
    ("tiled", Kernels::Tiled, |conv| conv),
    // What larger layers get by themselves.
    ("tiled_large", Kernels::Tiled, |conv| {
        conv.with_tiled_tiles(
            tiled::Tile { channel_lanes: 8, vectors: 2, pixels: 8, depth: 4 },
            tiled::WeightTile { channel_lanes: 8, vectors: 2, row_lanes: 8, rows: 2, run: 16 },
        )
    }),
    // Loads that do not come out even.
    ("tiled_odd", Kernels::Tiled, |conv| {
        conv.with_tiled_tiles(
            tiled::Tile { channel_lanes: 4, vectors: 3, pixels: 3, depth: 2 },
            tiled::WeightTile { channel_lanes: 2, vectors: 3, row_lanes: 2, rows: 3, run: 16 },
        )
    }),
    ("wide", Kernels::Tiled, |conv| conv.with_wide_tiles(Tile::LARGE, 1, WeightTile::LARGE)),
    ("wide_small", Kernels::Tiled, |conv| conv.with_wide_tiles(Tile::SMALL, 3, WeightTile::SMALL)),
    ("subgroup", Kernels::Subgroup, |conv| conv),
];

pub fn tests() -> Vec<Trial> {
    let entries: [Entry<Conv>; 3] =
        [("forward", forward), ("backward_input", backward_input), ("backward_weight", backward_weight)];
    let mut tests = vec![
        trial("kernels::conv2d::sum", || each_shape(0, "sum", sum)),
        trial("kernels::conv2d::transpose", || each_shape(0, "transpose", transpose)),
    ];
    for (number, (kernels, ..)) in KERNELS.into_iter().enumerate() {
        for (entry, test) in entries {
            let name = format!("kernels::conv2d::{entry}::{kernels}");
            tests.push(trial(name, move || each_shape(number, entry, test)));
        }
    }
    tests
}

/// Every shape, with random numbers and with integers.
fn each_shape(kernels: usize, entry: &str, test: fn(&Conv)) {
    let shapes = match KERNELS[kernels] {
        (_, Kernels::Subgroup, _) => SUBGROUP_SHAPES.to_vec(),
        (_, Kernels::Tiled, _) => [SHAPES.as_slice(), &WIDE_SHAPES].concat(),
        _ => SHAPES.to_vec(),
    };
    for (seed, shape) in (0..).zip(shapes) {
        for integers in [false, true] {
            test(&Conv::new(kernels, entry, shape, seed, integers));
        }
    }
}

/// One convolution with its numbers in PyTorch's layouts.
struct Conv {
    case: Case,
    conv: Conv2d,
    reference: reference::Shape,
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
    fn new(kernels: usize, entry: &str, shape: [usize; 10], seed: u64, integers: bool) -> Self {
        let [n, cin, h, w, cout, kernel_h, kernel_w, stride, padding, live] = shape;
        let kernel = [kernel_h, kernel_w];
        let kind = if integers { "integers" } else { "random" };
        let reference = reference::Shape { n, cin, h, w, cout, kernel, stride, padding };
        let mut random = Random::new(seed);
        let (set, kernels, with_tiles) = KERNELS[kernels];
        let gpu = gpu_with(kernels);
        let conv = Conv2d::new(gpu, Shape::new(n, [cin, h, w], cout, kernel, stride, padding));
        let [x, weight, dy] = reference.lens().map(|len| random.numbers(integers, len));
        Self {
            case: Case {
                gpu,
                name: format!("conv2d::{entry}, {set}, {reference:?}, live {live}, {kind}, seed {seed}"),
            },
            conv: with_tiles(conv),
            reference,
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
        [self.reference.n, self.reference.cin, self.reference.h * self.reference.w]
    }

    fn output_dims(&self) -> [usize; 3] {
        let [oh, ow] = self.reference.out();
        [self.reference.n, self.reference.cout, oh * ow]
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
    let partial = case.output(conv.conv.partial_lens()[0]);
    let mut plan = Plan::new();
    conv.conv.forward(case.gpu, &mut plan, "test", &x, &weight, &partial.tensor, &y.tensor);
    let [got, _] = case.run_plan(&plan, [&y, &partial]);
    let want = reference::forward(conv.reference, &wide(&conv.x), &wide(&conv.weight));
    conv.compare("y", &case.unpack(&got, conv.output_dims()), want);
}

fn backward_input(conv: &Conv) {
    let case = &conv.case;
    let weight = case.input(&conv.layout.pack(&conv.weight));
    let transposed = case.output(conv.conv.weight_len());
    let dy = case.input(&conv.packed_dy());
    let partial = case.output(conv.conv.partial_lens()[1]);
    let dx = case.output(conv.packed_x().len());
    let mut plan = Plan::new();
    let (gpu, partials) = (case.gpu, &partial.tensor);
    conv.conv.backward_input(gpu, &mut plan, "test", &weight, &transposed.tensor, &dy, partials, &dx.tensor);
    let [got, ..] = case.run_plan(&plan, [&dx, &transposed, &partial]);
    let want = reference::backward_input(conv.reference, &wide(&conv.weight), &wide(&conv.dy));
    conv.compare("dx", &case.unpack(&got, conv.input_dims()), want);
}

fn backward_weight(conv: &Conv) {
    let case = &conv.case;
    let [x, dy] = [conv.packed_x(), conv.packed_dy()].map(|values| case.input(&values));
    let step = case.live(conv.live);
    let partial = case.output(conv.conv.partial_lens()[2]);
    let dweight = case.output(conv.layout.packed_len());
    let mut plan = Plan::new();
    let (gpu, partials) = (case.gpu, &partial.tensor);
    conv.conv.backward_weight(gpu, &mut plan, "test", &step, &x, &dy, partials, &dweight.tensor);
    let [got, _] = case.run_plan(&plan, [&dweight, &partial]);
    let mut want = reference::backward_weight(conv.reference, &wide(&conv.x), &conv.live_dy());
    // A chunk's sum is as long as its pixels are many, at most all of them; then the chunks are added up.
    want.terms = conv.live * conv.output_dims()[2] + conv.conv.chunks() as usize;
    conv.compare("dweight", &case.unpack_filters(&got, conv.layout), want);
}

/// The sum over the chunks by itself, from random partials.
fn sum(conv: &Conv) {
    let case = &conv.case;
    let len = conv.layout.packed_len();
    let chunks = 1 + conv.reference.h;
    let mut random = conv.random.clone();
    let partials = random.numbers(conv.exact, chunks * len);
    let dweight = case.output(len);
    let shape = Parts::new((len / 4) as u64, chunks as u64);
    let [got] = case.run(&SumWeight { shape, partials: &case.input(&partials), dweight: &dweight.tensor }, [&dweight]);
    let terms = |i| partials.iter().skip(i).step_by(len).map(|&term| term.into());
    let want = sums((0..len).map(|i| terms(i).collect()), 0);
    conv.compare("dweight", &got, want);
}

fn transpose(conv: &Conv) {
    let case = &conv.case;
    let weight = case.input(&conv.layout.pack(&conv.weight));
    let transposed = case.output(conv.conv.weight_len());
    let shape = *conv.conv.shape();
    let [got] = case.run(&TransposeWeight { shape, weight: &weight, transposed: &transposed.tensor }, [&transposed]);
    // (outputs, inputs, taps) becomes (inputs, outputs, taps).
    let (outputs, inputs, taps) = (conv.reference.cout, conv.reference.cin, conv.reference.kernel.iter().product());
    let mut exchanged = Vec::with_capacity(conv.weight.len());
    for input in 0..inputs {
        for output in 0..outputs {
            exchanged.extend(&conv.weight[(output * inputs + input) * taps..][..taps]);
        }
    }
    let layout = Layout::Filters { outputs: inputs, inputs: outputs, taps };
    assert_eq!(got, layout.pack(&exchanged), "{}", case.name);
}
