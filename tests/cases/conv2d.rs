use convscope::gpu::{Gpu, Kernels};
use convscope::nn::layout::Layout;
use convscope::ops::conv2d::wide::{Tile, WeightTile};
use convscope::ops::conv2d::{Conv2d, Parts, Shape, SumWeight, plain, sum_parts, tiled};
use convscope::ops::sums::Shared;
use convscope::ops::together::{self, Sums};
use convscope::reference::conv2d as reference;

use super::batch_norm::SHARES;
use super::{Case, MakeOn, Numbers, Operation, Random, Want, narrow, sums, wide};

/// Images, input channels, height, width, output channels, height and width of the filters, stride, padding, live
/// images.
const SIZES: &[&str] = &["n", "ci", "h", "w", "co", "kh", "kw", "s", "p", "live"];

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
const SUBGROUP_SHAPES: [[usize; 10]; 14] = [
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
    // Tiles that divide the height, of more images than the lanes hold.
    [9, 2, 20, 9, 3, 3, 3, 2, 0, 8],
];

/// As [`SHAPES`], for the tiled kernels: convolutions whose output or input's gradient is by itself made by a wide kernel, in parts.
const WIDE_SHAPES: [[usize; 10]; 3] = [
    [3, 130, 5, 5, 72, 3, 3, 1, 1, 2],
    // Phases of four, two and one taps: those of fewer have parts without any.
    [2, 64, 9, 8, 256, 3, 3, 2, 1, 2],
    // A linear layer.
    [33, 1100, 1, 1, 132, 1, 1, 1, 0, 20],
];

/// Makes a case of a convolution.
type Make = fn(Conv2d, Sizes, &Numbers) -> Case;

/// Gives a convolution other tiles.
type WithTiles = fn(Conv2d) -> Conv2d;

/// The sets of kernels, and what tiles they get.
const VARIANTS: [(&str, Kernels, WithTiles); 9] = [
    ("conv2d_plain", Kernels::Plain, |conv| conv.with_plain_tile(plain::Tile::SOFTWARE)),
    ("conv2d_plain_gpu", Kernels::Plain, |conv| conv.with_plain_tile(plain::Tile::GPU)),
    ("conv2d_plain_odd", Kernels::Plain, |conv| conv.with_plain_tile(plain::Tile { pixels: 3, vectors: 1, rows: 2 })),
    ("conv2d_tiled", Kernels::Tiled, |conv| conv),
    // What larger layers get by themselves.
    ("conv2d_tiled_large", Kernels::Tiled, |conv| {
        conv.with_tiled_tiles(
            tiled::Tile { channel_lanes: 8, vectors: 2, pixels: 8, depth: 4 },
            tiled::WeightTile { channel_lanes: 8, vectors: 2, row_lanes: 8, rows: 2, run: 16 },
        )
    }),
    // Loads that do not come out even.
    ("conv2d_tiled_odd", Kernels::Tiled, |conv| {
        conv.with_tiled_tiles(
            tiled::Tile { channel_lanes: 4, vectors: 3, pixels: 3, depth: 2 },
            tiled::WeightTile { channel_lanes: 2, vectors: 3, row_lanes: 2, rows: 3, run: 16 },
        )
    }),
    ("conv2d_wide", Kernels::Tiled, |conv| conv.with_wide_tiles(Tile::LARGE, 1, WeightTile::LARGE)),
    ("conv2d_wide_small", Kernels::Tiled, |conv| conv.with_wide_tiles(Tile::SMALL, 3, WeightTile::SMALL)),
    ("conv2d_subgroup", Kernels::Subgroup, |conv| conv),
];

pub fn operations() -> Vec<Operation> {
    let mut operations = vec![Operation {
        group: "conv2d_transpose",
        entry: "exchange",
        kernels: Kernels::Plain,
        sizes: &["ci", "co", "kh", "kw"],
        table: SHAPES.map(|[_, ci, _, _, co, kh, kw, ..]| vec![ci, co, kh, kw]).to_vec(),
        draw: |random| vec![random.size(90), random.size(90), random.between(1, 5), random.between(1, 5)],
        exact: true,
        compiles: false,
        make: Box::new(transpose),
    }];
    for kernels in SHARES {
        let operation = |entry, make: Box<MakeOn>| Operation {
            group: if kernels == Kernels::Tiled { "conv2d_sum_shared" } else { "conv2d_sum" },
            entry,
            kernels,
            sizes: &["len", "chunks"],
            table: SHAPES.map(|[_, ci, h, _, co, kh, kw, ..]| vec![kh * kw * ci * co.div_ceil(4), 1 + h]).to_vec(),
            draw: |random| vec![random.size(300), random.size(400)],
            exact: true,
            compiles: false,
            make,
        };
        operations.push(operation("sum", Box::new(|_, sizes, numbers| sum(sizes, numbers))));
        operations.push(operation("sum_layers", Box::new(sum_layers)));
    }
    for (group, kernels, with_tiles) in VARIANTS {
        let table = match group {
            "conv2d_subgroup" => SUBGROUP_SHAPES.to_vec(),
            _ if kernels == Kernels::Tiled => [SHAPES.as_slice(), &WIDE_SHAPES].concat(),
            _ => SHAPES.to_vec(),
        };
        let draw = match group {
            "conv2d_wide" | "conv2d_wide_small" => |random: &mut Random| draw(random, 100),
            "conv2d_subgroup" => |random: &mut Random| draw(random, 20),
            _ => |random: &mut Random| draw(random, 40),
        };
        let entries: [(_, Make); 3] =
            [("forward", forward), ("backward_input", backward_input), ("backward_weight", backward_weight)];
        operations.extend(entries.map(|(entry, make)| Operation {
            group,
            entry,
            kernels,
            sizes: SIZES,
            table: table.iter().map(|sizes| sizes.to_vec()).collect(),
            draw,
            exact: true,
            compiles: group == "conv2d_subgroup",
            make: Box::new(move |gpu, sizes, numbers| {
                let sizes = Sizes::new(sizes);
                let reference::Shape { n, cin, h, w, cout, kernel, stride, padding } = sizes.reference;
                let shape = Shape::new(n, [cin, h, w], cout, kernel, stride, padding);
                make(with_tiles(Conv2d::new(gpu, shape)), sizes, numbers)
            }),
        }));
    }
    operations
}

/// A convolution of at most so many channels that a reference computes quickly.
fn draw(random: &mut Random, channels: usize) -> Vec<usize> {
    loop {
        let [n, ci, co] = [random.size(6), random.size(channels), random.size(channels)];
        let [h, w] = [random.size(24), random.size(24)];
        let [kh, kw] = [random.size(7), random.size(7)];
        let (s, p) = (random.size(4), random.below(4));
        if kh <= h + 2 * p && kw <= w + 2 * p {
            let live = random.between(1, n);
            let [oh, ow] = [(h + 2 * p - kh) / s + 1, (w + 2 * p - kw) / s + 1];
            if n * ci * co * kh * kw * oh * ow < 1_000_000 {
                return vec![n, ci, h, w, co, kh, kw, s, p, live];
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    reference: reference::Shape,
    layout: Layout,
    live: usize,
}

impl Sizes {
    fn new(sizes: &[usize]) -> Self {
        let &[n, cin, h, w, cout, kh, kw, stride, padding, live] = sizes else { panic!("{sizes:?}") };
        Self {
            reference: reference::Shape { n, cin, h, w, cout, kernel: [kh, kw], stride, padding },
            layout: Layout::Filters { outputs: cout, inputs: cin, taps: kh * kw },
            live,
        }
    }

    fn input_dims(&self) -> [usize; 3] {
        [self.reference.n, self.reference.cin, self.reference.h * self.reference.w]
    }

    fn output_dims(&self) -> [usize; 3] {
        [self.reference.n, self.reference.cout, self.reference.out().iter().product()]
    }
}

fn forward(conv: Conv2d, sizes: Sizes, numbers: &Numbers) -> Case {
    let [x_len, weight_len, _] = sizes.reference.lens();
    let (x, weight) = (numbers.draw("x", x_len), numbers.draw("weight", weight_len));
    let want = numbers.hold(reference::forward(sizes.reference, &x, &weight));
    let partials = conv.partial_lens()[0];
    Case::new(move |gpu, plan, t| conv.forward(gpu, plan, "", &t["x"], &t["weight"], &t["partials"], &t["y"]))
        .images("x", &x, sizes.input_dims())
        .parameter("weight", &weight, sizes.layout)
        .output("partials", Want::Anything(partials))
        .output("y", Want::images(&want, sizes.output_dims()))
}

fn backward_input(conv: Conv2d, sizes: Sizes, numbers: &Numbers) -> Case {
    let [_, weight_len, y_len] = sizes.reference.lens();
    let (weight, dy) = (numbers.draw("weight", weight_len), numbers.draw("dy", y_len));
    let want = numbers.hold(reference::backward_input(sizes.reference, &weight, &dy));
    let (partials, transposed) = (conv.partial_lens()[1], conv.weight_len());
    let record = move |gpu: &_, plan: &mut _, t: &super::Tensors| {
        let (weight, transposed) = (&t["weight"], &t["transposed"]);
        together::transpose(gpu, plan, "", &[(&conv, weight, transposed)], weight, transposed);
        conv.backward_input(gpu, plan, "", transposed, &t["dy"], &t["partials"], &t["dx"]);
    };
    Case::new(record)
        .parameter("weight", &weight, sizes.layout)
        .images("dy", &dy, sizes.output_dims())
        .output("transposed", Want::Anything(transposed))
        .output("partials", Want::Anything(partials))
        .output("dx", Want::images(&want, sizes.input_dims()))
}

fn backward_weight(conv: Conv2d, sizes: Sizes, numbers: &Numbers) -> Case {
    let [x_len, _, y_len] = sizes.reference.lens();
    let (x, dy) = (numbers.draw("x", x_len), numbers.draw("dy", y_len));
    let [_, channels, pixels] = sizes.output_dims();
    // Dead images count nothing.
    let mut live_dy = dy.clone();
    live_dy[sizes.live * channels * pixels..].fill(0.0);
    let mut want = reference::backward_weight(sizes.reference, &x, &live_dy);
    // A chunk's sum is as long as its pixels are many, at most all of them; then the chunks are added up.
    let parts = conv.weight_parts();
    want.terms = sizes.live * pixels + parts.chunks as usize;
    let record = move |gpu: &_, plan: &mut _, t: &super::Tensors| {
        let written = if parts.chunks == 1 { &t["dweight"] } else { &t["partials"] };
        conv.backward_weight(gpu, plan, "", &t["step"], &t["x"], &t["dy"], written);
        sum_parts(gpu, plan, "", parts, &t["partials"], &t["dweight"]);
    };
    Case::new(record)
        .live(sizes.live)
        .images("x", &x, sizes.input_dims())
        .images("dy", &dy, sizes.output_dims())
        .output("partials", Want::Anything(parts.partial_len()))
        .output("dweight", Want::parameter(&numbers.hold(want), sizes.layout))
}

/// The sum over the chunks by itself, of vectors.
fn sum(sizes: &[usize], numbers: &Numbers) -> Case {
    let &[len, chunks] = sizes else { panic!("{sizes:?}") };
    let partials = numbers.draw("partials", 4 * len * chunks);
    let terms = |i| partials.iter().skip(i).step_by(4 * len).copied().collect();
    let want = numbers.hold(sums((0..4 * len).map(terms), 0));
    let shape = Parts::new(len as u64, chunks as u64);
    Case::new(move |gpu, plan, t| {
        let (partials, dweight) = (&t["partials"], &t["dweight"]);
        plan.add(gpu, "", &SumWeight { shape: shape.on(gpu), shared: Shared::on(gpu), partials, dweight });
    })
    .input("partials", &narrow(&partials))
    .output("dweight", Want::plain(&want))
}

/// Between tensors that lie side by side in one: it must stay as it is.
const BETWEEN: f64 = 0.375;

/// Tensors side by side, each where a binding may begin, with something between any two of them: where each begins, and all numbers.
fn side_by_side(tensors: &[Vec<f64>]) -> (Vec<usize>, Vec<f64>) {
    let mut all = Vec::new();
    let mut starts = Vec::new();
    for tensor in tensors {
        starts.push(all.len());
        all.extend(tensor);
        // A binding begins at most at every 256th byte.
        all.resize((all.len() + 1).next_multiple_of(64), BETWEEN);
    }
    (starts, all)
}

/// The gradients of three layers, of as many vectors and chunks as given, and of others.
fn sum_layers(gpu: &Gpu, sizes: &[usize], numbers: &Numbers) -> Case {
    let &[len, chunks] = sizes else { panic!("{sizes:?}") };
    let layers = [[len, 1 + chunks], [len / 2 + 1, 2 + chunks / 3], [7, 9]];
    let partials = layers.map(|[len, chunks]| 4 * len * chunks);
    let drawn = numbers.draw("partials", partials.iter().sum());
    let mut rest = &drawn[..];
    let mut room = Vec::new();
    let mut wants = Vec::new();
    for ([len, _], partials) in layers.into_iter().zip(partials) {
        let (own, others) = rest.split_at(partials);
        rest = others;
        // Where `Sums` puts the next one.
        room.extend(own);
        room.resize(room.len().next_multiple_of(together::alignment(gpu)), BETWEEN);
        let terms = |i| own.iter().skip(i).step_by(4 * len).copied().collect();
        wants.push(numbers.hold(sums((0..4 * len).map(terms), 0)));
    }
    let (starts, value) = side_by_side(&wants.iter().map(|want| want.value.clone()).collect::<Vec<_>>());
    let mut bounds = vec![0.0; value.len()];
    let mut before: Vec<f32> = vec![BETWEEN as f32; value.len()];
    for (want, &start) in wants.iter().zip(&starts) {
        for i in 0..want.value.len() {
            bounds[start + i] = want.bound(i);
            before[start + i] = f32::NAN;
        }
    }
    Case::new(move |gpu, plan, t| {
        let mut sums = Sums::new(&t["partials"], &t["gradients"]);
        for ([len, chunks], start) in layers.into_iter().zip(&starts) {
            let gradient = t["gradients"].from(*start).first(4 * len);
            sums.room(gpu, plan, Parts::new(len as u64, chunks as u64), &gradient);
        }
        sums.add_up(gpu, plan);
    })
    .input("partials", &narrow(&room))
    .changing("gradients", &before, Want::Near(value, bounds))
}

/// The weights of three layers, one of these sizes: (outputs, inputs, taps) becomes (inputs, outputs, taps).
fn transpose(gpu: &Gpu, sizes: &[usize], numbers: &Numbers) -> Case {
    let &[inputs, outputs, kh, kw] = sizes else { panic!("{sizes:?}") };
    let layers = [[inputs, outputs, kh, kw], [outputs, inputs, 1, kw], [5, outputs, kh, 1]];
    let drawn = numbers.draw("weight", layers.iter().map(|layer| layer.iter().product::<usize>()).sum());
    let mut rest = &drawn[..];
    let mut convs = Vec::new();
    let [mut weights, mut transposed] = [(); 2].map(|()| Vec::new());
    for [inputs, outputs, kh, kw] in layers {
        let taps = kh * kw;
        let (weight, others) = rest.split_at(outputs * inputs * taps);
        rest = others;
        let mut exchanged = Vec::with_capacity(weight.len());
        for input in 0..inputs {
            for output in 0..outputs {
                exchanged.extend(&weight[(output * inputs + input) * taps..][..taps]);
            }
        }
        let pack =
            |values: &[f64], outputs, inputs| wide(&Layout::Filters { outputs, inputs, taps }.pack(&narrow(values)));
        weights.push(pack(weight, outputs, inputs));
        transposed.push(pack(&exchanged, inputs, outputs));
        convs.push(Conv2d::new(gpu, Shape::new(1, [inputs, kh, kw], outputs, [kh, kw], 1, 0)));
    }
    // None begins where its weights do.
    transposed.insert(0, vec![BETWEEN; 4]);
    let [(from, weights), (to, transposed)] = [weights, transposed].map(|tensors| side_by_side(&tensors));
    let before = vec![BETWEEN as f32; transposed.len()];
    Case::new(move |gpu, plan, t| {
        let own: Vec<_> = convs
            .iter()
            .zip(from.iter().zip(&to[1..]))
            .map(|(conv, (from, to))| {
                let len = conv.weight_len();
                (conv, t["weights"].from(*from).first(len), t["transposed"].from(*to).first(len))
            })
            .collect();
        let layers: Vec<_> = own.iter().map(|(conv, weight, room)| (*conv, weight, room)).collect();
        together::transpose(gpu, plan, "", &layers, &t["weights"], &t["transposed"]);
    })
    .input("weights", &narrow(&weights))
    .changing("transposed", &before, Want::Bits(bytemuck::cast_slice(&narrow(&transposed)).to_vec()))
}
