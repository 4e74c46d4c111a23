//! MaxPool2d and AvgPool2d, which have the same windows, and AdaptiveAvgPool2d.

use convscope::gpu::Kernels;
use convscope::nn::layout::{pack_images, padded};
use convscope::ops::{adaptive_avg_pool2d, avg_pool2d, max_pool2d};
use convscope::reference::max_pool2d::Shape;
use convscope::reference::{
    adaptive_avg_pool2d as adaptive_reference, avg_pool2d as avg_reference, max_pool2d as max_reference,
};

use super::{Case, Make, Numbers, Operation, Random, Want, narrow};

/// Images, channels, height, width, kernel, stride, padding.
const SIZES: &[&str] = &["n", "c", "h", "w", "k", "s", "p"];

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

/// Images, channels, height, width, height and width of the output.
const ADAPTIVE_SHAPES: [[usize; 6]; 26] = [
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

/// What the input of MaxPool2d is made of.
const KINDS: [&[f32]; 3] = [
    // No two are equal, as good as.
    &[],
    // Few integers, and zeros of either sign: many are equal.
    &[-2.0, -1.0, -0.0, 0.0, 1.0, 2.0],
    // Infinities, and what is no number, among few others.
    &[f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, -3.0, 0.0, 7.0],
];

pub fn operations() -> Vec<Operation> {
    let max: fn(&mut Random) -> Vec<usize> = |random| [draw(random), vec![random.below(KINDS.len())]].concat();
    let entries: [(_, _, bool, Make); 6] = [
        ("max_pool2d", "forward", false, max_forward),
        ("max_pool2d", "backward", true, max_backward),
        ("avg_pool2d", "forward", false, avg_forward),
        ("avg_pool2d", "backward", false, avg_backward),
        ("adaptive_avg_pool2d", "forward", false, adaptive_forward),
        ("adaptive_avg_pool2d", "backward", false, adaptive_backward),
    ];
    let operation = |(group, entry, exact, make): (_, _, _, Make)| Operation {
        group,
        entry,
        kernels: Kernels::Plain,
        sizes: match group {
            "max_pool2d" => &["n", "c", "h", "w", "k", "s", "p", "kind"],
            "avg_pool2d" => SIZES,
            _ => &["n", "c", "h", "w", "oh", "ow"],
        },
        table: match group {
            "max_pool2d" => {
                let kinds = |kind| SHAPES.map(|shape| [&shape[..], &[kind]].concat());
                (0..KINDS.len()).flat_map(kinds).collect()
            }
            "avg_pool2d" => SHAPES.map(|shape| shape.to_vec()).to_vec(),
            _ => ADAPTIVE_SHAPES.map(|shape| shape.to_vec()).to_vec(),
        },
        draw: match group {
            "max_pool2d" => max,
            "avg_pool2d" => draw,
            _ => |random| {
                vec![random.size(5), random.size(60), random.size(24), random.size(24), random.size(9), random.size(9)]
            },
        },
        exact,
        compiles: false,
        make: Box::new(move |_, sizes, numbers| make(sizes, numbers)),
    };
    entries.map(operation).into()
}

fn draw(random: &mut Random) -> Vec<usize> {
    loop {
        let [n, c, h, w, k, s] =
            [random.size(5), random.size(60), random.size(24), random.size(24), random.size(7), random.size(5)];
        let p = random.below(k / 2 + 1);
        if k <= h.min(w) + 2 * p {
            return vec![n, c, h, w, k, s, p];
        }
    }
}

/// The reference's and the device's shape, dimensions of x and y.
fn shapes(sizes: &[usize]) -> (Shape, max_pool2d::Shape, [[usize; 3]; 2]) {
    let &[n, c, h, w, kernel, stride, padding] = sizes else { panic!("{sizes:?}") };
    let reference = Shape { n, c, h, w, kernel, stride, padding };
    let shape = max_pool2d::Shape::new(n, [c, h, w], kernel, stride, padding);
    let pixels = reference.out().iter().product::<usize>();
    assert_eq!(shape.output_len(), n * pixels * padded(c), "{reference:?}");
    (reference, shape, [[n, c, h * w], [n, c, pixels]])
}

fn values(numbers: &Numbers, kind: usize, len: usize) -> Vec<f64> {
    let few = KINDS[kind];
    if few.is_empty() {
        return numbers.around("x", 0.1, 1.0, len);
    }
    numbers.made("x", |random| (0..len).map(|_| few[random.below(few.len())]).collect())
}

/// Largest values and their places, by their bits: of the many not-a-numbers one stands for all.
fn max_forward(sizes: &[usize], numbers: &Numbers) -> Case {
    let (&kind, sizes) = sizes.split_last().expect("there are sizes");
    let (reference, shape, [x_dims, y_dims]) = shapes(sizes);
    let x = values(numbers, kind, reference.lens()[0]);
    let (y, places) = max_reference::forward(reference, &narrow(&x));
    let [n, c, pixels] = y_dims;
    let places: Vec<f32> = places.into_iter().map(f32::from_bits).collect();
    let [y, places] = [y, places].map(|values| pack_images(&values, n, c, pixels));
    let y = if kind == 2 { Want::BitsOrNan(bits(&y)) } else { Want::Bits(bits(&y)) };
    // In the padding all are equal: the first counts, which may be any that lies inside the map.
    let index = Want::Lanes(bits(&places), c);
    Case::new(move |gpu, plan, t| {
        plan.add(gpu, "", &max_pool2d::Forward { shape, x: &t["x"], y: &t["y"], index: &t["index"] });
    })
    .images("x", &x, x_dims)
    .output("y", y)
    .output("index", index)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn max_backward(sizes: &[usize], numbers: &Numbers) -> Case {
    let (&kind, sizes) = sizes.split_last().expect("there are sizes");
    let (reference, shape, [x_dims, y_dims]) = shapes(sizes);
    let [x_len, y_len] = reference.lens();
    let (_, indices) = max_reference::forward(reference, &values(numbers, kind, x_len));
    let dy = numbers.draw("dy", y_len);
    let want = numbers.hold(max_reference::backward(reference, &indices, &dy));
    let places: Vec<f32> = indices.iter().map(|&index| f32::from_bits(index)).collect();
    let [n, c, pixels] = y_dims;
    Case::new(move |gpu, plan, t| {
        let (indices, dy) = (&t["indices"], &t["dy"]);
        plan.add(gpu, "", &max_pool2d::Backward { shape, indices, dy, dx: &t["dx"] });
    })
    .input("indices", &pack_images(&places, n, c, pixels))
    .images("dy", &dy, y_dims)
    .output("dx", Want::images(&want, x_dims))
}

fn avg_forward(sizes: &[usize], numbers: &Numbers) -> Case {
    let (reference, shape, [x_dims, y_dims]) = shapes(sizes);
    let x = numbers.around("x", 0.1, 1.0, reference.lens()[0]);
    let want = avg_reference::forward(reference, &x);
    Case::new(move |gpu, plan, t| plan.add(gpu, "", &avg_pool2d::Forward { shape, x: &t["x"], y: &t["y"] }))
        .images("x", &x, x_dims)
        .output("y", Want::images(&want, y_dims))
}

fn avg_backward(sizes: &[usize], numbers: &Numbers) -> Case {
    let (reference, shape, [x_dims, y_dims]) = shapes(sizes);
    let dy = numbers.around("dy", 0.1, 1.0, reference.lens()[1]);
    let want = avg_reference::backward(reference, &dy);
    Case::new(move |gpu, plan, t| plan.add(gpu, "", &avg_pool2d::Backward { shape, dy: &t["dy"], dx: &t["dx"] }))
        .images("dy", &dy, y_dims)
        .output("dx", Want::images(&want, x_dims))
}

fn adaptive_shapes(sizes: &[usize]) -> (adaptive_reference::Shape, adaptive_avg_pool2d::Shape, [[usize; 3]; 2]) {
    let &[n, c, h, w, oh, ow] = sizes else { panic!("{sizes:?}") };
    let shape = adaptive_avg_pool2d::Shape::new(n, [c, h, w], [oh, ow]);
    (adaptive_reference::Shape { n, c, h, w, oh, ow }, shape, [[n, c, h * w], [n, c, oh * ow]])
}

fn adaptive_forward(sizes: &[usize], numbers: &Numbers) -> Case {
    let (reference, shape, [x_dims, y_dims]) = adaptive_shapes(sizes);
    let x = numbers.around("x", 0.1, 1.0, reference.lens()[0]);
    let want = adaptive_reference::forward(reference, &x);
    Case::new(move |gpu, plan, t| plan.add(gpu, "", &adaptive_avg_pool2d::Forward { shape, x: &t["x"], y: &t["y"] }))
        .images("x", &x, x_dims)
        .output("y", Want::images(&want, y_dims))
}

fn adaptive_backward(sizes: &[usize], numbers: &Numbers) -> Case {
    let (reference, shape, [x_dims, y_dims]) = adaptive_shapes(sizes);
    let dy = numbers.around("dy", 0.1, 1.0, reference.lens()[1]);
    let want = adaptive_reference::backward(reference, &dy);
    Case::new(move |gpu, plan, t| {
        plan.add(gpu, "", &adaptive_avg_pool2d::Backward { shape, dy: &t["dy"], dx: &t["dx"] });
    })
    .images("dy", &dy, y_dims)
    .output("dx", Want::images(&want, x_dims))
}
