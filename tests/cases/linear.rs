use convscope::gpu::Kernels;
use convscope::nn::layout::Layout;
use convscope::ops::linear;
use convscope::reference::linear as reference;

use super::{Case, Make, Numbers, Operation, Want};

/// Images, inputs, outputs, live images.
const SIZES: &[&str] = &["n", "ci", "co", "live"];

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

pub fn operations() -> Vec<Operation> {
    let entries: [(_, Make); 3] =
        [("forward", forward), ("backward_input", backward_input), ("backward_weight", backward_weight)];
    let operation = |(entry, make): (_, Make)| Operation {
        group: "linear",
        entry,
        kernels: Kernels::Plain,
        sizes: SIZES,
        table: SHAPES.map(|shape| shape.to_vec()).to_vec(),
        draw: |random| {
            let n = random.size(70);
            vec![n, random.size(300), random.size(100), random.between(1, n)]
        },
        exact: true,
        compiles: false,
        make: Box::new(move |_, sizes, numbers| make(sizes, numbers)),
    };
    entries.map(operation).into()
}

/// Shapes on the device and in the reference, the layout of the weight, live images.
fn sizes(sizes: &[usize]) -> (linear::Shape, reference::Shape, Layout, usize) {
    let &[n, inputs, outputs, live] = sizes else { panic!("{sizes:?}") };
    let layout = Layout::Filters { outputs, inputs, taps: 1 };
    (linear::Shape::new(n, inputs, outputs), reference::Shape { n, inputs, outputs }, layout, live)
}

fn forward(all: &[usize], numbers: &Numbers) -> Case {
    let (shape, reference, layout, _) = sizes(all);
    let reference::Shape { n, inputs, outputs } = reference;
    let x = numbers.draw("x", n * inputs);
    let weight = numbers.draw("weight", inputs * outputs);
    let bias = numbers.draw("bias", outputs);
    let want = numbers.hold(reference::forward(reference, &x, &weight, &bias));
    Case::new(move |gpu, plan, t| {
        let (x, weight, bias) = (&t["x"], &t["weight"], &t["bias"]);
        plan.add(gpu, "", &linear::Forward { shape, x, weight, bias, y: &t["y"] });
    })
    .images("x", &x, [n, inputs, 1])
    .parameter("weight", &weight, layout)
    .channels("bias", &bias)
    .output("y", Want::images(&want, [n, outputs, 1]))
}

fn backward_input(all: &[usize], numbers: &Numbers) -> Case {
    let (shape, reference, layout, _) = sizes(all);
    let reference::Shape { n, inputs, outputs } = reference;
    let (weight, dy) = (numbers.draw("weight", inputs * outputs), numbers.draw("dy", n * outputs));
    let want = numbers.hold(reference::backward_input(reference, &weight, &dy));
    Case::new(move |gpu, plan, t| {
        plan.add(gpu, "", &linear::BackwardInput { shape, weight: &t["weight"], dy: &t["dy"], dx: &t["dx"] });
    })
    .parameter("weight", &weight, layout)
    .images("dy", &dy, [n, outputs, 1])
    .output("dx", Want::images(&want, [n, inputs, 1]))
}

fn backward_weight(all: &[usize], numbers: &Numbers) -> Case {
    let (shape, reference, layout, live) = sizes(all);
    let reference::Shape { n, inputs, outputs } = reference;
    let (x, dy) = (numbers.draw("x", n * inputs), numbers.draw("dy", n * outputs));
    let of_live = reference::Shape { n: live, ..reference };
    let (live_x, live_dy) = (&x[..live * inputs], &dy[..live * outputs]);
    let dweight = numbers.hold(reference::backward_weight(of_live, live_x, live_dy));
    let dbias = numbers.hold(reference::backward_bias(of_live, live_dy));
    Case::new(move |gpu, plan, t| {
        let (step, dweight, dbias) = (&t["step"], &t["dweight"], &t["dbias"]);
        let kernel = linear::BackwardWeight { shape, step, x: &t["x"], dy: &t["dy"], dweight, dbias };
        plan.add(gpu, "", &kernel);
    })
    .live(live)
    .images("x", &x, [n, inputs, 1])
    .images("dy", &dy, [n, outputs, 1])
    .output("dweight", Want::parameter(&dweight, layout))
    .output("dbias", Want::channels(&dbias))
}
