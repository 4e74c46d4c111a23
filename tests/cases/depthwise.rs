use convscope::gpu::Kernels;
use convscope::nn::layout::Layout;
use convscope::ops::conv2d::sum_parts;
use convscope::ops::depthwise::{Depthwise, Shape};
use convscope::reference::depthwise as reference;

use super::{Case, Make, Numbers, Operation, Random, Want};

/// Images, channels, height, width, kernel, stride, padding, live images, and how wide a strip is at most. Each set of kernel, stride and
/// pixels in a strip is compiled by itself.
const SIZES: &[&str] = &["n", "c", "h", "w", "k", "s", "p", "live", "strip"];

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
const STRIPS: [usize; 2] = [8, 5];

pub fn operations() -> Vec<Operation> {
    let mut table: Vec<Vec<usize>> = SHAPES.iter().map(|shape| [&shape[..], &[STRIPS[0]]].concat()).collect();
    // The first, which are small, with the other width too.
    table.extend(SHAPES[..9].iter().map(|shape| [&shape[..], &[STRIPS[1]]].concat()));
    let entries: [(_, Make); 3] =
        [("forward", forward), ("backward_input", backward_input), ("backward_weight", backward_weight)];
    let operation = |(entry, make): (_, Make)| Operation {
        group: "depthwise",
        entry,
        kernels: Kernels::Plain,
        sizes: SIZES,
        table: table.clone(),
        draw,
        exact: true,
        compiles: false,
        make: Box::new(move |_, sizes, numbers| make(sizes, numbers)),
    };
    entries.map(operation).into()
}

/// Of the kernels and strides, those of networks more often, so that there are not too many to compile.
fn draw(random: &mut Random) -> Vec<usize> {
    loop {
        let [n, c, h, w] = [random.size(6), random.size(40), random.size(24), random.size(24)];
        let (k, s) = if random.below(4) > 0 {
            ([3, 5][random.below(2)], random.between(1, 2))
        } else {
            (random.size(7), random.size(4))
        };
        let p = random.below(4);
        let [oh, ow] = [h, w].map(|size| (size + 2 * p).saturating_sub(k) / s + 1);
        if k <= h.min(w) + 2 * p && n * c * k * k * oh * ow < 500_000 {
            let live = random.between(1, n);
            return vec![n, c, h, w, k, s, p, live, if random.below(4) > 0 { STRIPS[0] } else { STRIPS[1] }];
        }
    }
}

struct Conv {
    conv: Depthwise,
    reference: reference::Shape,
    layout: Layout,
    live: usize,
}

impl Conv {
    fn new(sizes: &[usize]) -> Self {
        let &[n, c, h, w, kernel, stride, padding, live, strip] = sizes else { panic!("{sizes:?}") };
        Self {
            conv: Depthwise::with_pixels(Shape::new(n, [c, h, w], kernel, stride, padding), strip as u32),
            reference: reference::Shape { n, c, h, w, kernel, stride, padding },
            layout: Layout::Depthwise { channels: c, taps: kernel * kernel },
            live,
        }
    }

    fn input_dims(&self) -> [usize; 3] {
        [self.reference.n, self.reference.c, self.reference.h * self.reference.w]
    }

    fn output_dims(&self) -> [usize; 3] {
        [self.reference.n, self.reference.c, self.reference.out().iter().product()]
    }
}

fn forward(sizes: &[usize], numbers: &Numbers) -> Case {
    let sizes = Conv::new(sizes);
    let [x_len, weight_len, _] = sizes.reference.lens();
    let (x, weight) = (numbers.draw("x", x_len), numbers.draw("weight", weight_len));
    let want = numbers.hold(reference::forward(sizes.reference, &x, &weight));
    let conv = sizes.conv.clone();
    Case::new(move |gpu, plan, t| conv.forward(gpu, plan, "", &t["x"], &t["weight"], &t["y"]))
        .images("x", &x, sizes.input_dims())
        .parameter("weight", &weight, sizes.layout)
        .output("y", Want::images(&want, sizes.output_dims()))
}

fn backward_input(sizes: &[usize], numbers: &Numbers) -> Case {
    let sizes = Conv::new(sizes);
    let [_, weight_len, y_len] = sizes.reference.lens();
    let (weight, dy) = (numbers.draw("weight", weight_len), numbers.draw("dy", y_len));
    let want = numbers.hold(reference::backward_input(sizes.reference, &weight, &dy));
    let conv = sizes.conv.clone();
    Case::new(move |gpu, plan, t| conv.backward_input(gpu, plan, "", &t["weight"], &t["dy"], &t["dx"]))
        .parameter("weight", &weight, sizes.layout)
        .images("dy", &dy, sizes.output_dims())
        .output("dx", Want::images(&want, sizes.input_dims()))
}

fn backward_weight(sizes: &[usize], numbers: &Numbers) -> Case {
    let sizes = Conv::new(sizes);
    let [x_len, _, y_len] = sizes.reference.lens();
    let (x, dy) = (numbers.draw("x", x_len), numbers.draw("dy", y_len));
    let [_, channels, pixels] = sizes.output_dims();
    // Dead images count nothing.
    let mut live_dy = dy.clone();
    live_dy[sizes.live * channels * pixels..].fill(0.0);
    let mut want = reference::backward_weight(sizes.reference, &x, &live_dy);
    // A chunk's sum is as long as its pixels are many, at most all of them; then the chunks are added up.
    let (conv, parts) = (sizes.conv.clone(), sizes.conv.weight_parts());
    want.terms = sizes.live * pixels + parts.chunks as usize;
    assert_eq!(conv.weight_len(), sizes.layout.packed_len());
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
