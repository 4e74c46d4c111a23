use convscope::gpu::{Gpu, Kernels, Plan};
use convscope::ops::{Step, activation, dropout};
use convscope::reference::Summed;
use convscope::reference::batch_norm as norm_reference;
use convscope::reference::dropout as dropout_reference;
use convscope::reference::relu as relu_reference;

use super::batch_norm::{Norm, SHARES, before_relu, draw, table};
use super::{Case, Numbers, Operation, Tensors, Want, sums};

/// Probabilities to drop.
const DROPS: [f32; 3] = [0.0, 0.1, 0.6];

pub fn operations() -> Vec<Operation> {
    type Make = fn(Activation) -> Case;
    let entries: [(_, Make); 3] = [("forward", forward), ("backward_sums", backward_sums), ("backward", backward)];
    let operation = |kernels: Kernels, entry, make: Make| Operation {
        group: if kernels == Kernels::Tiled { "activation_shared" } else { "activation" },
        entry,
        kernels,
        sizes: &["n", "c", "hw", "live", "spread", "p"],
        table: table()
            .into_iter()
            .enumerate()
            .map(|(i, sizes)| [sizes, vec![(i + i / 3) % DROPS.len()]].concat())
            .collect(),
        draw: |random| [draw(random), vec![random.below(DROPS.len())]].concat(),
        exact: false,
        compiles: false,
        make: Box::new(move |gpu, sizes, numbers| make(Activation::new(gpu, sizes, numbers))),
    };
    SHARES.into_iter().flat_map(|kernels| entries.map(|(entry, make)| operation(kernels, entry, make))).collect()
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
    fn new(gpu: &Gpu, sizes: &[usize], numbers: &Numbers) -> Self {
        let (&p, sizes) = sizes.split_last().expect("there are sizes");
        let p = DROPS[p];
        let mut norm = Norm::new(gpu, sizes, numbers);
        let &[n, c, hw, live, _] = sizes else { panic!("{sizes:?}") };
        // ReLU has a kink at zero, where a rounding decides: no element lies there, nor does one at the mean. But where there is no
        // offset, what lies at the mean is exactly zero, and has no gradient.
        for beta in &mut norm.beta[1..] {
            *beta = f64::from(*beta as f32 + 0.1_f32.copysign(*beta as f32));
        }
        norm.beta[0] = 0.0;
        let z = before_relu(&norm);
        for (i, x) in norm.x.iter_mut().enumerate() {
            let channel = i / hw % c;
            if z.value[i].abs() <= 2.0 * z.bound(i) || (channel == 0 && i % 5 == 0) {
                *x = norm.mean[channel];
            }
        }
        let mut random = numbers.random("dropout");
        let (seed, step) = (random.below(1 << 32) as u32, random.below(1 << 20) as u32);
        let options = dropout_reference::Options { seed, step, layer: 2, p: p.into(), whole_channels: true };
        let kept = dropout_reference::mask(dropout_reference::Shape { n, c, hw }, options);
        let scale = f64::from(options.scale());
        Self {
            shape: activation::Shape::new(norm.shape, dropout::Shape::new(n, c, hw, p, true, 2)),
            step: Step { live: live as u32, seed, number: step, step_size: 0.0, bias_correction: 0.0 },
            z: before_relu(&norm),
            mask: kept.into_iter().map(|kept| if kept { scale } else { 0.0 }).collect(),
            norm,
        }
    }

    /// The gradient before ReLU.
    fn dz(&self) -> Vec<f64> {
        let dy: Vec<f64> = self.norm.dy.iter().zip(&self.mask).map(|(&dy, mask)| dy * mask).collect();
        relu_reference::backward(&self.z.value, &dy).value
    }

    fn case(&self, dy: &[&'static str], record: impl Fn(&Gpu, &mut Plan, &Tensors) + Send + Sync + 'static) -> Case {
        self.norm.case(&[&["x", "gamma", "beta", "mean", "variance"], dy].concat(), record).step(self.step)
    }
}

fn forward(this: Activation) -> Case {
    let Activation { norm, shape, z, mask, .. } = &this;
    let want: Vec<f64> = relu_reference::forward(&z.value).value.iter().zip(mask).map(|(y, mask)| y * mask).collect();
    // The product with the mask rounds once more.
    let bound = |i: usize| z.bound(i) * mask[i] + want[i] * f64::from(f32::EPSILON);
    let bounds: Vec<f64> = (0..want.len()).map(bound).collect();
    let [n, c, hw] = norm.dims();
    let pack = |values: &[f64]| super::packed(values, |values| convscope::nn::layout::pack_images(values, n, c, hw));
    let y = Want::Near(pack(&want), pack(&bounds));
    let shape = *shape;
    let record = move |gpu: &_, plan: &mut Plan, t: &Tensors| {
        let [step, x, gamma, beta, mean, variance] =
            ["step", "x", "gamma", "beta", "mean", "variance"].map(|name| &t[name]);
        plan.add(gpu, "", &activation::Forward { shape, step, x, gamma, beta, mean, variance, y: &t["y"] });
    };
    this.case(&[], record).output("y", y)
}

fn backward_sums(this: Activation) -> Case {
    let Activation { norm, shape, .. } = &this;
    let dz = this.dz();
    let chunks: Vec<_> =
        (0..norm.reference.c).map(|channel| [norm.chunks(&norm.x, channel), norm.chunks(&dz, channel)]).collect();
    let want = norm.partials(|chunk, channel| {
        let [x, dz] = [0, 1].map(|i| &chunks[channel][i][chunk]);
        let products = x.iter().zip(dz).map(|(x, dz)| dz * (x - norm.mean[channel])).collect();
        // dz has one rounding, the difference another, their product a third.
        [(products, 3), (dz.clone(), 1)].map(|(terms, steps)| {
            let want = sums([terms].into_iter(), steps);
            (want.value[0], want.bound(0))
        })
    });
    let (shape, rows) = (*shape, norm.rows);
    let record = move |gpu: &_, plan: &mut Plan, t: &Tensors| {
        let [step, x, dy, gamma, beta, mean, variance] =
            ["step", "x", "dy", "gamma", "beta", "mean", "variance"].map(|name| &t[name]);
        let partial = &t["partial"];
        plan.add(gpu, "", &activation::BackwardSums { shape, rows, step, x, dy, gamma, beta, mean, variance, partial });
    };
    this.case(&["dy"], record).output("partial", want)
}

/// From given statistics and the exact gradients of gamma and beta, rounded.
fn backward(this: Activation) -> Case {
    let Activation { norm, shape, .. } = &this;
    let live = norm.live.elements();
    let [x, _] = norm.live_numbers();
    let dz = &this.dz()[..live];
    let mut want = norm_reference::backward(norm.live, x, &norm.given(), &norm.gamma, norm.eps(), dz);
    // The long sums are given; the steps that remain cover their one rounding. The mask rounds dz once more.
    want.dx.terms = 0;
    want.dx.steps += 1;
    let shape = *shape;
    let record = move |gpu: &_, plan: &mut Plan, t: &Tensors| {
        let [step, x, dy, gamma, beta, mean, variance, dgamma, dbeta, dx] =
            ["step", "x", "dy", "gamma", "beta", "mean", "variance", "dgamma", "dbeta", "dx"].map(|name| &t[name]);
        let kernel = activation::Backward { shape, step, x, dy, gamma, beta, mean, variance, dgamma, dbeta, dx };
        plan.add(gpu, "", &kernel);
    };
    this.case(&["dy"], record)
        .channels("dgamma", &want.dgamma.value)
        .channels("dbeta", &want.dbeta.value)
        .output("dx", Want::first_images(&want.dx, norm.dims()))
}
