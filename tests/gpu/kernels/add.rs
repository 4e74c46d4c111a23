use convscope::ops::add;
use convscope::reference::add as reference;
use libtest_mimic::Trial;

use super::relu::LENGTHS;
use super::{Case, Random, wide};
use crate::common::trial;
use crate::gpu;

pub fn tests() -> Vec<Trial> {
    vec![trial("kernels::add::forward", forward)]
}

/// The lengths of ReLU, whose invocations take as many vectors.
fn forward() {
    for (seed, len) in (0..).zip(LENGTHS) {
        let case = Case { gpu: gpu(), name: format!("add::forward, {len} vectors, seed {seed}") };
        let mut random = Random::new(seed);
        let [a, b] = [(); 2].map(|()| random.around(0.1, 1.0, 4 * len));
        let y = case.output(4 * len);
        let shape = add::Shape { len: len as u32 };
        let [got] = case.run(&add::Forward { shape, a: &case.input(&a), b: &case.input(&b), y: &y.tensor }, [&y]);
        case.compare("y", &got, &reference::forward(&wide(&a), &wide(&b)));
        // Both may be the same tensor.
        let both = case.input(&a);
        let [got] = case.run(&add::Forward { shape, a: &both, b: &both, y: &y.tensor }, [&y]);
        case.compare("y", &got, &reference::forward(&wide(&a), &wide(&a)));
    }
}
