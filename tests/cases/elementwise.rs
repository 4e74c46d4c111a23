//! ReLU and its kin, sums, dropout, the bias of a convolution, and the copies that measure a device.

use convscope::gpu::{Gpu, Kernels, Plan};
use convscope::nn::layout::pack_images;
use convscope::ops::conv2d::sum_parts;
use convscope::ops::{Step, add, bias, dropout, peak, relu};
use convscope::reference::{
    Summed, add as add_reference, bias as bias_reference, dropout as dropout_reference, relu as relu_reference,
};

use super::batch_norm::{SHAPES as NORM_SHAPES, SHARES};
use super::{Case, Make, Numbers, Operation, Random, Tensors, Want, narrow};

/// Vectors of four; an invocation takes up to four of them, and invocations come in groups of 64.
const LENGTHS: [usize; 22] = [1, 2, 3, 4, 5, 7, 8, 9, 17, 31, 63, 64, 65, 127, 251, 252, 253, 255, 256, 257, 260, 4099];

/// Images, channels, pixels. An invocation takes up to four vectors of channels, and invocations come in groups of 64.
const DROPOUT_SHAPES: [[usize; 3]; 22] = [
    [1, 1, 1],
    [1, 3, 1],
    [2, 1, 1],
    [1, 1, 5],
    [3, 5, 7],
    [2, 7, 6],
    [5, 4, 11],
    [1, 8, 13],
    [7, 13, 3],
    [4, 16, 9],
    [2, 33, 17],
    [1, 1, 63],
    [1, 2, 64],
    [1, 3, 65],
    [1, 9, 83],
    [2, 3, 126],
    [1, 5, 127],
    [4, 1, 64],
    [1, 4, 257],
    [2, 7, 65],
    [3, 11, 401],
    // Workgroups that fill all rows of a folded dispatch.
    [20, 1, 1024],
];

/// Probabilities to drop.
const DROPS: [f32; 7] = [0.0, 0.1, 0.5, 0.3, 0.15, 0.34, 0.999];

pub fn operations() -> Vec<Operation> {
    let operation = |group, entry, exact, make: Make| Operation {
        group,
        entry,
        kernels: Kernels::Plain,
        sizes: match group {
            "dropout" => &["n", "c", "hw", "p", "whole"],
            _ => &["len"],
        },
        table: match group {
            "dropout" => {
                let of = |(i, shape): (usize, &[usize; 3])| [&shape[..], &[i % (DROPS.len() + 1), i / 2 % 2]].concat();
                DROPOUT_SHAPES.iter().enumerate().map(of).collect()
            }
            _ => LENGTHS.map(|len| vec![len]).to_vec(),
        },
        draw: match group {
            "dropout" => draw_dropout,
            _ => |random| vec![random.size(5000)],
        },
        exact,
        compiles: false,
        make: Box::new(move |_, sizes, numbers| make(sizes, numbers)),
    };
    let mut operations: Vec<_> = [
        operation("relu", "forward", false, relu_forward),
        operation("relu", "backward", false, relu_backward),
        operation("relu", "backward_guided", false, relu_backward_guided),
        operation("relu", "backward_deconvnet", false, relu_backward_deconvnet),
        operation("relu", "forward6", false, relu_forward6),
        operation("relu", "backward6", false, relu_backward6),
        operation("relu", "backward6_guided", false, relu_backward6_guided),
        operation("add", "forward", true, add_forward),
        operation("add", "twice", true, add_twice),
        operation("dropout", "forward", false, |sizes, numbers| drop_out("x", sizes, numbers)),
        operation("dropout", "backward", false, |sizes, numbers| drop_out("dy", sizes, numbers)),
        operation("peak", "copy", false, copy),
        operation("peak", "multiply_add", false, multiply_add),
    ]
    .into();
    type MakeBias = fn(&Gpu, &[usize], &Numbers) -> Case;
    let bias = |kernels: Kernels, entry, make: MakeBias| Operation {
        group: if kernels == Kernels::Tiled { "bias_shared" } else { "bias" },
        entry,
        kernels,
        sizes: &["n", "c", "hw", "live"],
        table: NORM_SHAPES.map(|shape| shape.to_vec()).to_vec(),
        draw: |random| {
            let sizes = super::batch_norm::draw(random);
            sizes[..4].to_vec()
        },
        exact: true,
        compiles: false,
        make: Box::new(make),
    };
    for kernels in SHARES {
        operations.push(bias(kernels, "forward", bias_forward));
        operations.push(bias(kernels, "backward", bias_backward));
    }
    operations
}

/// With the corner, where PyTorch's gradient is 0, the ceiling of ReLU6, which has no gradient either, and their neighbours.
fn relu_input(numbers: &Numbers, len: usize) -> Vec<f64> {
    numbers.made("x", |random| {
        let mut x = random.around(0.0, 1.0, 4 * len);
        // Half of them reach beyond the ceiling.
        x[2 * len..].iter_mut().for_each(|x| *x *= 9.0);
        const CORNERS: [f32; 8] =
            [0.0, -0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, 6.0, 6f32.next_down(), 6f32.next_up(), 1e30];
        for corner in CORNERS {
            x[random.below(4 * len)] = corner;
        }
        x
    })
}

fn elementwise(
    inputs: &[(&'static str, &[f64])],
    output: &'static str,
    want: &Summed<f64>,
    record: impl Fn(&Gpu, &mut Plan, relu::Shape, &Tensors) + Send + Sync + 'static,
) -> Case {
    let shape = relu::Shape { len: (want.value.len() / 4) as u32 };
    let case = Case::new(move |gpu, plan, t| record(gpu, plan, shape, t));
    let case = inputs.iter().fold(case, |case, (name, values)| case.input(name, &narrow(values)));
    case.output(output, Want::plain(want))
}

fn relu_forward(sizes: &[usize], numbers: &Numbers) -> Case {
    let x = relu_input(numbers, sizes[0]);
    elementwise(&[("x", &x)], "y", &relu_reference::forward(&x), |gpu, plan, shape, t| {
        plan.add(gpu, "", &relu::Forward { shape, x: &t["x"], y: &t["y"] });
    })
}

fn relu_forward6(sizes: &[usize], numbers: &Numbers) -> Case {
    let x = relu_input(numbers, sizes[0]);
    elementwise(&[("x", &x)], "y", &relu_reference::forward6(&x), |gpu, plan, shape, t| {
        plan.add(gpu, "", &relu::Forward6 { shape, x: &t["x"], y: &t["y"] });
    })
}

fn relu_gradient(numbers: &Numbers, len: usize) -> [Vec<f64>; 2] {
    [relu_input(numbers, len), numbers.around("dy", 0.0, 1.0, 4 * len)]
}

fn relu_backward(sizes: &[usize], numbers: &Numbers) -> Case {
    let [x, dy] = relu_gradient(numbers, sizes[0]);
    let want = relu_reference::backward(&x, &dy);
    elementwise(&[("x", &x), ("dy", &dy)], "dx", &want, |gpu, plan, shape, t| {
        plan.add(gpu, "", &relu::Backward { shape, x: &t["x"], dy: &t["dy"], dx: &t["dx"] });
    })
}

fn relu_backward_guided(sizes: &[usize], numbers: &Numbers) -> Case {
    let [x, dy] = relu_gradient(numbers, sizes[0]);
    let want = relu_reference::backward_guided(&x, &dy);
    elementwise(&[("x", &x), ("dy", &dy)], "dx", &want, |gpu, plan, shape, t| {
        plan.add(gpu, "", &relu::BackwardGuided { shape, x: &t["x"], dy: &t["dy"], dx: &t["dx"] });
    })
}

fn relu_backward_deconvnet(sizes: &[usize], numbers: &Numbers) -> Case {
    let dy = numbers.around("dy", 0.0, 1.0, 4 * sizes[0]);
    elementwise(&[("dy", &dy)], "dx", &relu_reference::backward_deconvnet(&dy), |gpu, plan, shape, t| {
        plan.add(gpu, "", &relu::BackwardDeconvnet { shape, dy: &t["dy"], dx: &t["dx"] });
    })
}

fn relu_backward6(sizes: &[usize], numbers: &Numbers) -> Case {
    let [x, dy] = relu_gradient(numbers, sizes[0]);
    let want = relu_reference::backward6(&x, &dy);
    elementwise(&[("x", &x), ("dy", &dy)], "dx", &want, |gpu, plan, shape, t| {
        plan.add(gpu, "", &relu::Backward6 { shape, x: &t["x"], dy: &t["dy"], dx: &t["dx"] });
    })
}

fn relu_backward6_guided(sizes: &[usize], numbers: &Numbers) -> Case {
    let [x, dy] = relu_gradient(numbers, sizes[0]);
    let want = relu_reference::backward6_guided(&x, &dy);
    elementwise(&[("x", &x), ("dy", &dy)], "dx", &want, |gpu, plan, shape, t| {
        plan.add(gpu, "", &relu::Backward6Guided { shape, x: &t["x"], dy: &t["dy"], dx: &t["dx"] });
    })
}

fn add_forward(sizes: &[usize], numbers: &Numbers) -> Case {
    let [a, b] = ["a", "b"].map(|name| numbers.draw(name, 4 * sizes[0]));
    let want = numbers.hold(add_reference::forward(&a, &b));
    elementwise(&[("a", &a), ("b", &b)], "y", &want, |gpu, plan, relu::Shape { len }, t| {
        plan.add(gpu, "", &add::Forward { shape: add::Shape { len }, a: &t["a"], b: &t["b"], y: &t["y"] });
    })
}

/// Both may be the same tensor.
fn add_twice(sizes: &[usize], numbers: &Numbers) -> Case {
    let a = numbers.draw("a", 4 * sizes[0]);
    let want = numbers.hold(add_reference::forward(&a, &a));
    elementwise(&[("a", &a)], "y", &want, |gpu, plan, relu::Shape { len }, t| {
        plan.add(gpu, "", &add::Forward { shape: add::Shape { len }, a: &t["a"], b: &t["a"], y: &t["y"] });
    })
}

fn copy(sizes: &[usize], numbers: &Numbers) -> Case {
    let x = numbers.draw("x", 4 * sizes[0]);
    elementwise(&[("x", &x)], "y", &Summed::exact(x.clone()), |gpu, plan, relu::Shape { len }, t| {
        let shape = peak::Shape { len, rounds: 0 };
        plan.add(gpu, "", &peak::Copy { shape, x: &t["x"], y: &t["y"] });
    })
}

/// It is there to keep a device busy, so that what it computes matters only in that it cannot be left out: powers of two, exactly.
fn multiply_add(sizes: &[usize], numbers: &Numbers) -> Case {
    // Of -1, 0 and 1, every one of eight chains goes on exactly: c becomes c * f + f.
    let x = numbers.made("x", |random| (0..4 * sizes[0]).map(|_| random.below(3) as f32 - 1.0).collect());
    let rounds = 1 + sizes[0] as u32 % 5;
    let last = |factor: f64, chain: f64| (0..8 * rounds).fold(factor + chain, |sum, _| sum * factor + factor);
    let value = x.iter().map(|&factor| (0..8).map(|chain| last(factor, chain.into())).sum()).collect();
    elementwise(&[("x", &x)], "y", &Summed::exact(value), move |gpu, plan, relu::Shape { len }, t| {
        plan.add(gpu, "", &peak::MultiplyAdd { shape: peak::Shape { len, rounds }, x: &t["x"], y: &t["y"] });
    })
}

fn draw_dropout(random: &mut Random) -> Vec<usize> {
    let (n, c) = (random.size(9), random.size(70));
    vec![n, c, random.size(20_000 / n / c), random.below(DROPS.len() + 1), random.below(2)]
}

/// Both entry points are the same map, so they share their case.
fn drop_out(name: &'static str, sizes: &[usize], numbers: &Numbers) -> Case {
    let &[n, c, hw, p, whole] = sizes else { panic!("{sizes:?}") };
    let mut random = numbers.random("dropout");
    let [seed, step] = [(); 2].map(|()| random.below(1 << 32) as u32);
    let layer = random.below(60);
    // Behind the last probability: the threshold is the number of one element, which is kept.
    let p = DROPS.get(p).map_or_else(
        || {
            let (image, channel, pixel) = (random.below(n), random.below(c), random.below(hw));
            let place = if whole == 1 { image } else { image * hw + pixel };
            let counter = place * c.div_ceil(4) + channel / 4;
            let number = dropout_reference::pcg4d([seed, step, layer as u32, counter as u32])[channel % 4];
            f64::from(number) / 2f64.powi(32)
        },
        |&p| p.into(),
    );
    let options = dropout_reference::Options { seed, step, layer: layer as u32, p, whole_channels: whole == 1 };
    // No zeros, which would look as if they had been dropped.
    let x = numbers.made(name, |random| random.around(1.5, 1.0, n * c * hw));
    let want = dropout_reference::forward(dropout_reference::Shape { n, c, hw }, options, &x);
    let shape = dropout::Shape::new(n, c, hw, 0.5, whole == 1, layer);
    let shape = dropout::Shape { threshold: options.threshold(), scale: options.scale(), ..shape };
    let record = move |gpu: &_, plan: &mut Plan, t: &Tensors| {
        let step = &t["step"];
        match name {
            "x" => plan.add(gpu, "", &dropout::Forward { shape, step, x: &t["x"], y: &t["result"] }),
            _ => plan.add(gpu, "", &dropout::Backward { shape, step, dy: &t["dy"], dx: &t["result"] }),
        }
    };
    Case::new(record)
        .step(Step { live: n as u32, seed, number: step, step_size: 0.0, bias_correction: 0.0 })
        .images(name, &x, [n, c, hw])
        .output("result", Want::images(&want, [n, c, hw]))
}

fn bias_forward(gpu: &Gpu, sizes: &[usize], numbers: &Numbers) -> Case {
    let &[n, c, hw, _] = sizes else { panic!("{sizes:?}") };
    let (x, bias) = (numbers.draw("x", n * c * hw), numbers.draw("bias", c));
    let want = numbers.hold(bias_reference::forward(bias_reference::Shape { n, c, hw }, &x, &bias));
    let shape = bias::Shape::new(gpu.shares_sums(), n, c, hw);
    Case::new(move |gpu, plan, t| plan.add(gpu, "", &bias::Forward { shape, bias: &t["bias"], y: &t["y"] }))
        .channels("bias", &bias)
        .changing("y", &pack_images(&narrow(&x), n, c, hw), Want::images(&want, [n, c, hw]))
}

fn bias_backward(gpu: &Gpu, sizes: &[usize], numbers: &Numbers) -> Case {
    let &[n, c, hw, live] = sizes else { panic!("{sizes:?}") };
    let dy = numbers.draw("dy", n * c * hw);
    let of_live = bias_reference::Shape { n: live, c, hw };
    let mut want = bias_reference::backward(of_live, &dy[..of_live.elements()]);
    let shape = bias::Shape::new(gpu.shares_sums(), n, c, hw);
    // The longest chain of additions: a chunk's pixels, then the chunks.
    let parts = shape.parts();
    want.terms = (live * hw).min(shape.chunk as usize) + parts.chunks as usize;
    Case::new(move |gpu, plan, t| {
        let written = if parts.chunks == 1 { &t["dbias"] } else { &t["partials"] };
        shape.backward(gpu, plan, "", &t["step"], &t["dy"], written);
        sum_parts(gpu, plan, "", parts, &t["partials"], &t["dbias"]);
    })
    .live(live)
    .images("dy", &dy, [n, c, hw])
    .output("partials", Want::Anything(parts.partial_len()))
    .output("dbias", Want::channels(&numbers.hold(want)))
}
