use convscope::gpu::Plan;
use convscope::nn::layout::{pack_images, padded};
use convscope::ops::bias;
use convscope::reference::{Summed, bias as reference};
use libtest_mimic::Trial;

use super::batch_norm::{SHAPES, SHARES};
use super::{Case, Random, wide};
use crate::common::trial;
use crate::gpu_with;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("kernels::bias::forward", || each_shape("forward", forward)),
        trial("kernels::bias::backward", || each_shape("backward", backward)),
    ]
}

/// The shapes of batch norm, whose sums go in the same chunks: with random numbers and with integers.
fn each_shape(entry: &str, test: fn(&Case, reference::Shape, usize, bool, &mut Random)) {
    for (seed, [n, c, hw, live]) in (0..).zip(SHAPES) {
        let reference = reference::Shape { n, c, hw };
        for (integers, kernels) in
            [false, true].into_iter().flat_map(|integers| SHARES.map(|kernels| (integers, kernels)))
        {
            let kind = if integers { "integers" } else { "random" };
            let name = format!("bias::{entry}, {kernels}, {reference:?}, live {live}, {kind}, seed {seed}");
            let case = Case { gpu: gpu_with(kernels), name };
            test(&case, reference, live, integers, &mut Random::new(seed));
        }
    }
}

fn compare(case: &Case, what: &str, got: &[f32], want: Summed<f64>, exact: bool) {
    case.compare(what, got, &if exact { Summed::exact(want.value) } else { want });
}

fn forward(case: &Case, reference: reference::Shape, _live: usize, integers: bool, random: &mut Random) {
    let reference::Shape { n, c, hw } = reference;
    let x = random.numbers(integers, n * c * hw);
    let bias = random.numbers(integers, c);
    let y = case.changing(&pack_images(&x, n, c, hw));
    let shape = bias::Shape::new(case.gpu.shares_sums(), n, c, hw);
    let [got] = case.run(&bias::Forward { shape, bias: &case.input(&pack_images(&bias, 1, c, 1)), y: &y.tensor }, [&y]);
    let want = reference::forward(reference, &wide(&x), &wide(&bias));
    compare(case, "y", &case.unpack(&got, [n, c, hw]), want, integers);
}

fn backward(case: &Case, reference: reference::Shape, live: usize, integers: bool, random: &mut Random) {
    let reference::Shape { n, c, hw } = reference;
    let dy = random.numbers(integers, n * c * hw);
    let shape = bias::Shape::new(case.gpu.shares_sums(), n, c, hw);
    let partial = case.output(shape.partial_len());
    let dbias = case.output(padded(c));
    let (step, dy_tensor) = (case.live(live), case.input(&pack_images(&dy, n, c, hw)));
    let mut plan = Plan::new();
    shape.backward(case.gpu, &mut plan, "test", &step, &dy_tensor, &partial.tensor, &dbias.tensor);
    let [got, _] = case.run_plan(&plan, [&dbias, &partial]);
    let live = reference::Shape { n: live, ..reference };
    let mut want = reference::backward(live, &wide(&dy[..live.elements()]));
    // The longest chain of additions: a chunk's pixels, then the chunks.
    want.terms = (live.n * hw).min(shape.chunk as usize) + shape.chunks() as usize;
    compare(case, "dbias", &case.unpack(&got, [1, c, 1]), want, integers);
}
