use convscope::gpu::Kernels;
use convscope::nn::layout::padded;
use convscope::ops::{Step, activation, dropout};
use convscope::reference::Summed;
use convscope::reference::batch_norm as norm_reference;
use convscope::reference::dropout as dropout_reference;
use convscope::reference::relu as relu_reference;
use libtest_mimic::Trial;

use super::batch_norm::{Norm, SHAPES, SHARES, SPREADS};
use super::{Entry, sums, wide};
use crate::common::trial;

pub fn tests() -> Vec<Trial> {
    let entries: [Entry<Activation>; 3] =
        [("forward", forward), ("backward_sums", backward_sums), ("backward", backward)];
    entries
        .into_iter()
        .map(|(entry, test)| trial(format!("kernels::activation::{entry}"), move || each_shape(entry, test)))
        .collect()
}

/// Probabilities to drop.
const DROPS: [f32; 3] = [0.0, 0.1, 0.6];

fn each_shape(entry: &str, test: fn(&Activation)) {
    for (seed, shape) in (0..).zip(SHAPES) {
        for (spread, p) in SPREADS.into_iter().zip(DROPS.into_iter().cycle().skip(seed as usize)) {
            for kernels in SHARES {
                test(&Activation::new(entry, kernels, shape, spread, p, seed));
            }
        }
    }
}

/// One batch of one block behind its convolution.
struct Activation {
    norm: Norm,
    shape: activation::Shape,
    step: Step,
    /// Before ReLU, with what bounds its rounding.
    z: Summed<f64>,
    /// What each element is multiplied by after ReLU.
    mask: Vec<f64>,
}

impl Activation {
    fn new(entry: &str, kernels: Kernels, shape: [usize; 4], spread: (f32, f32), p: f32, seed: u64) -> Self {
        let mut norm = Norm::new(entry, kernels, shape, spread, seed);
        let [n, c, hw, live] = shape;
        norm.case.name = format!("activation, p = {p}: {}", norm.case.name);
        // ReLU has a kink at zero, where a rounding decides: no element lies there, nor does one at the mean.
        for beta in &mut norm.beta {
            *beta += 0.1_f32.copysign(*beta);
        }
        let z = before_relu(&norm);
        for (i, x) in norm.x.iter_mut().enumerate() {
            if z.value[i].abs() <= 2.0 * z.bound(i) {
                *x = norm.mean[i / hw % c];
            }
        }
        let options = dropout_reference::Options { seed: 5, step: 3, layer: 2, p: p.into(), whole_channels: true };
        let kept = dropout_reference::mask(dropout_reference::Shape { n, c, hw }, options);
        let scale = f64::from(options.scale());
        Self {
            shape: activation::Shape::new(norm.shape, dropout::Shape::new(n, c, hw, p, true, 2)),
            step: Step { live: live as u32, seed: 5, number: 3, step_size: 0.0, bias_correction: 0.0 },
            z: before_relu(&norm),
            mask: kept.into_iter().map(|kept| if kept { scale } else { 0.0 }).collect(),
            norm,
        }
    }

    /// The gradient before ReLU.
    fn dz(&self) -> Vec<f64> {
        let dy: Vec<f64> = self.norm.dy.iter().zip(&self.mask).map(|(&dy, mask)| f64::from(dy) * mask).collect();
        relu_reference::backward(&self.z.value, &dy).value
    }
}

fn before_relu(norm: &Norm) -> Summed<f64> {
    let [gamma, beta] = [&norm.gamma, &norm.beta].map(|values| wide(values));
    norm_reference::forward(norm.reference, &wide(&norm.x), &norm.given(), &gamma, &beta, norm.eps())
}

fn forward(this: &Activation) {
    let Activation { norm, shape, step, z, mask } = this;
    let y = norm.case.output(norm.reference.count() * padded(norm.reference.c));
    let kernel = activation::Forward {
        shape: *shape,
        step: &norm.case.step(*step),
        x: &norm.images(&norm.x),
        gamma: &norm.channels(&norm.gamma),
        beta: &norm.channels(&norm.beta),
        mean: &norm.channels(&norm.mean),
        variance: &norm.channels(&norm.variance),
        y: &y.tensor,
    };
    let [got] = norm.case.run(&kernel, [&y]);
    let norm_reference::Shape { n, c, hw } = norm.reference;
    let want: Vec<f64> = relu_reference::forward(&z.value).value.iter().zip(mask).map(|(y, mask)| y * mask).collect();
    // The product with the mask rounds once more.
    let bound = |i: usize| z.bound(i) * mask[i] + want[i] * f64::from(f32::EPSILON);
    norm.case.compare_each("y", &norm.case.unpack(&got, [n, c, hw]), &want, bound);
}

fn backward_sums(this: &Activation) {
    let Activation { norm, shape, step, .. } = this;
    let partial = norm.case.output(norm.shape.partial_len());
    let kernel = activation::BackwardSums {
        shape: *shape,
        rows: norm.rows(),
        step: &norm.case.step(*step),
        x: &norm.images(&norm.x),
        dy: &norm.images(&norm.dy),
        gamma: &norm.channels(&norm.gamma),
        beta: &norm.channels(&norm.beta),
        mean: &norm.channels(&norm.mean),
        variance: &norm.channels(&norm.variance),
        partial: &partial.tensor,
    };
    let [got] = norm.case.run(&kernel, [&partial]);
    let dz = this.dz();
    let chunks: Vec<_> = (0..norm.reference.c)
        .map(|channel| [norm.chunks(&wide(&norm.x), channel), norm.chunks(&dz, channel)])
        .collect();
    norm.compare_partials(&got, |chunk, channel| {
        let [x, dz] = [0, 1].map(|i| &chunks[channel][i][chunk]);
        let mean = f64::from(norm.mean[channel]);
        let products = x.iter().zip(dz).map(|(x, dz)| dz * (x - mean)).collect();
        // dz has one rounding, the difference another, their product a third.
        [(products, 3), (dz.clone(), 1)].map(|(terms, steps)| {
            let want = sums([terms].into_iter(), steps);
            (want.value[0], want.bound(0))
        })
    });
}

/// From given statistics and the exact gradients of gamma and beta, rounded.
fn backward(this: &Activation) {
    let Activation { norm, shape, step, .. } = this;
    let live = norm.live.elements();
    let (x, dz) = (wide(&norm.x[..live]), &this.dz()[..live]);
    let mut want = norm_reference::backward(norm.live, &x, &norm.given(), &wide(&norm.gamma), norm.eps(), dz);
    let [dgamma, dbeta] = [&want.dgamma, &want.dbeta].map(|sums| {
        let rounded: Vec<f32> = sums.value.iter().map(|&value| value as f32).collect();
        norm.channels(&rounded)
    });
    let dx = norm.case.output(norm.reference.count() * padded(norm.reference.c));
    let kernel = activation::Backward {
        shape: *shape,
        step: &norm.case.step(*step),
        x: &norm.images(&norm.x),
        dy: &norm.images(&norm.dy),
        gamma: &norm.channels(&norm.gamma),
        beta: &norm.channels(&norm.beta),
        mean: &norm.channels(&norm.mean),
        variance: &norm.channels(&norm.variance),
        dgamma: &dgamma,
        dbeta: &dbeta,
        dx: &dx.tensor,
    };
    let [got] = norm.case.run(&kernel, [&dx]);
    // The long sums are given; the steps that remain cover their one rounding. The mask rounds dz once more.
    want.dx.terms = 0;
    want.dx.steps += 1;
    norm.compare_live("dx", &got, &want.dx);
}
