use convscope::gpu::Kernels;
use convscope::gpu::{Plan, Tensor};
use convscope::nn::layout::{pack_images, padded};
use convscope::ops::batch_norm;
use convscope::ops::sums::Rows;
use convscope::reference::Summed;
use convscope::reference::batch_norm::{self as reference, Statistics};
use libtest_mimic::Trial;

use super::{Case, Entry, GARBAGE, Random, sums, wide};
use crate::common::trial;
use crate::gpu_with;

/// Images, channels, pixels, live images. Reductions go in chunks of 64 pixels.
pub(super) const SHAPES: [[usize; 4]; 28] = [
    [1, 1, 1, 1],
    [2, 1, 1, 1],
    [2, 3, 1, 2],
    [1, 5, 2, 1],
    [3, 7, 5, 2],
    [2, 4, 15, 2],
    [1, 2, 16, 1],
    [1, 9, 17, 1],
    [7, 13, 11, 5],
    [5, 6, 31, 1],
    // Chunks, less one, exact, and one more; some hold pixels of dead images only.
    [1, 1, 63, 1],
    [1, 3, 64, 1],
    [1, 5, 65, 1],
    [1, 4, 127, 1],
    [2, 8, 64, 2],
    [3, 2, 43, 3],
    [4, 5, 64, 2],
    [6, 3, 61, 1],
    [3, 12, 143, 2],
    // Workgroups of 63, 64 and 65 vectors of channels.
    [1, 252, 2, 1],
    [3, 253, 1, 2],
    [2, 257, 3, 2],
    // Workgroups of 63, 64 and 65 invocations of 16 pixels each.
    [1, 1, 1008, 1],
    [16, 3, 64, 15],
    [5, 2, 205, 5],
    // Workgroups of 63 and 65 chunks; chunks of more than 64 pixels.
    [7, 1, 576, 7],
    [2, 4, 2049, 2],
    [3, 2, 5483, 3],
];

/// Kernels whose invocations add up alone on a software driver, and kernels whose workgroups share sums.
pub(super) const SHARES: [Kernels; 2] = [Kernels::Plain, Kernels::Tiled];

/// Centre and half width of the numbers.
pub(super) const SPREADS: [(f32, f32); 3] = [(0.0, 1.0), (-3.0, 0.25), (1000.0, 1.75)];

pub fn tests() -> Vec<Trial> {
    let entries: [Entry<Norm>; 8] = [
        ("statistics", statistics),
        ("combine", combine),
        ("forward", forward),
        ("backward_sums", backward_sums),
        ("backward_combine", backward_combine),
        ("backward", backward),
        ("backward_eval", backward_eval),
        ("all_in_training", all_in_training),
    ];
    entries
        .into_iter()
        .map(|(entry, test)| trial(format!("kernels::batch_norm::{entry}"), move || each_shape(entry, test)))
        .collect()
}

fn each_shape(entry: &str, test: fn(&Norm)) {
    for (seed, shape) in (0..).zip(SHAPES) {
        for spread in SPREADS {
            for kernels in SHARES {
                test(&Norm::new(entry, kernels, shape, spread, seed));
            }
        }
    }
}

/// One batch of one layer in PyTorch's layouts.
pub(super) struct Norm {
    pub(super) case: Case,
    pub(super) shape: batch_norm::Shape,
    pub(super) reference: reference::Shape,
    /// The CPU reference's shape of the live images alone.
    pub(super) live: reference::Shape,
    pub(super) x: Vec<f32>,
    pub(super) dy: Vec<f32>,
    pub(super) gamma: Vec<f32>,
    pub(super) beta: Vec<f32>,
    /// Statistics that are handed to a kernel, near to those of x but not the same.
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
    random: Random,
}

impl Norm {
    pub(super) fn new(
        entry: &str,
        kernels: Kernels,
        shape: [usize; 4],
        (offset, spread): (f32, f32),
        seed: u64,
    ) -> Self {
        let [n, c, hw, live] = shape;
        let reference = reference::Shape { n, c, hw };
        let mut random = Random::new(seed);
        Self {
            case: Case {
                gpu: gpu_with(kernels),
                name: format!(
                    "batch_norm::{entry}, {kernels}, {reference:?}, live {live}, {offset} +- {spread}, seed {seed}"
                ),
            },
            shape: batch_norm::Shape::new(gpu_with(kernels).shares_sums(), n, c, hw),
            reference,
            live: reference::Shape { n: live, ..reference },
            x: random.around(offset, spread, n * c * hw),
            dy: random.around(0.1, 1.0, n * c * hw),
            gamma: random.around(0.0, 2.0, c),
            beta: random.around(0.0, 1.0, c),
            mean: random.around(offset, spread / 4.0, c),
            variance: random.around(-3.0, 3.0, c).into_iter().map(|decade| 10f32.powf(decade)).collect(),
            random,
        }
    }

    /// How the sums are shared.
    pub(super) fn rows(&self) -> Rows {
        Rows::new(self.case.gpu.shares_sums(), self.shape.channels)
    }

    pub(super) fn eps(&self) -> f64 {
        self.shape.eps.into()
    }

    pub(super) fn images(&self, values: &[f32]) -> Tensor {
        let reference::Shape { n, c, hw } = self.reference;
        self.case.input(&pack_images(values, n, c, hw))
    }

    fn pack(&self, channels: &[f32]) -> Vec<f32> {
        pack_images(channels, 1, self.reference.c, 1)
    }

    pub(super) fn channels(&self, values: &[f32]) -> Tensor {
        self.case.input(&self.pack(values))
    }

    fn step(&self) -> Tensor {
        self.case.live(self.live.n)
    }

    pub(super) fn given(&self) -> Statistics<f64> {
        Statistics::exact(wide(&self.mean), wide(&self.variance))
    }

    /// The live part of x or dy.
    fn live(&self, values: &[f32]) -> Vec<f64> {
        wide(&values[..self.live.elements()])
    }

    fn all_chunks(&self) -> usize {
        self.shape.partial_len() / (2 * padded(self.reference.c))
    }

    fn live_chunks(&self) -> usize {
        self.live.count().div_ceil(self.shape.chunk as usize)
    }

    /// The longest chain of additions from pixels to a sum over the batch.
    fn chain(&self) -> usize {
        self.live.count().min(self.shape.chunk as usize) + self.live_chunks()
    }

    /// A channel's live numbers, chunk after chunk.
    pub(super) fn chunks(&self, values: &[f64], channel: usize) -> Vec<Vec<f64>> {
        let reference::Shape { n, c, hw } = self.live;
        let pixels: Vec<f64> = (0..n).flat_map(|image| &values[(image * c + channel) * hw..][..hw]).copied().collect();
        let size = self.shape.chunk as usize;
        pixels.chunks(size).map(<[f64]>::to_vec).collect()
    }

    /// Where number `k` of a channel's two partial results lies.
    fn partial_place(&self, chunk: usize, channel: usize, k: usize) -> usize {
        let vectors = self.shape.channels as usize;
        ((chunk * vectors + channel / 4) * 2 + k) * 4 + channel % 4
    }

    /// Compares the partial results of the live chunks; `want` returns a chunk's two numbers with their bounds.
    pub(super) fn compare_partials(&self, got: &[f32], mut want: impl FnMut(usize, usize) -> [(f64, f64); 2]) {
        for chunk in 0..self.live_chunks() {
            for channel in 0..padded(self.reference.c) {
                let want = if channel < self.reference.c { want(chunk, channel) } else { [(0.0, 0.0); 2] };
                for (k, (want, bound)) in want.into_iter().enumerate() {
                    let place = self.partial_place(chunk, channel, k);
                    let what = format!("partial {k} of chunk {chunk}, channel {channel}");
                    self.case.compare_each(&what, &got[place..=place], &[want], |_| bound);
                }
            }
        }
    }

    /// Compares one number a channel.
    fn compare_channels(&self, what: &str, packed: &[f32], want: &Summed<f64>) {
        let got = self.case.unpack(packed, [1, self.reference.c, 1]);
        self.case.compare(what, &got, want);
    }

    /// Compares the live images; what the dead ones get does not matter.
    pub(super) fn compare_live(&self, what: &str, packed: &[f32], want: &Summed<f64>) {
        let reference::Shape { n, c, hw } = self.reference;
        let got = self.case.unpack(packed, [n, c, hw]);
        self.case.compare(what, &got[..self.live.elements()], want);
    }
}

fn statistics(norm: &Norm) {
    let case = &norm.case;
    let partial = case.output(norm.shape.partial_len());
    let kernel = batch_norm::Statistics {
        shape: norm.shape,
        rows: norm.rows(),
        step: &norm.step(),
        x: &norm.images(&norm.x),
        partial: &partial.tensor,
    };
    let [got] = case.run(&kernel, [&partial]);
    let chunks: Vec<_> = (0..norm.reference.c).map(|channel| norm.chunks(&wide(&norm.x), channel)).collect();
    norm.compare_partials(&got, |chunk, channel| {
        let x = &chunks[channel][chunk];
        let [n, c, hw] = [1, 1, x.len()];
        let Statistics { mean, variance } = reference::statistics(reference::Shape { n, c, hw }, x);
        let size = x.len() as f64;
        [(mean.value[0], mean.bound(0)), (variance.value[0] * size, variance.bound(0) * size)]
    });
}

/// From the exact statistics of the chunks, rounded; twice, each time from the running statistics that are there.
fn combine(norm: &Norm) {
    let case = &norm.case;
    let mut partials = vec![0.0; norm.shape.partial_len()];
    for channel in 0..norm.reference.c {
        let chunks = norm.chunks(&wide(&norm.x), channel);
        for chunk in 0..norm.all_chunks() {
            let [mean, squares] = match chunks.get(chunk) {
                Some(x) => {
                    let mean = x.iter().sum::<f64>() / x.len() as f64;
                    [mean, x.iter().map(|x| (x - mean).powi(2)).sum()].map(|value| value as f32)
                }
                None => [GARBAGE; 2],
            };
            partials[norm.partial_place(chunk, channel, 0)] = mean;
            partials[norm.partial_place(chunk, channel, 1)] = squares;
        }
    }
    let partials = case.input(&partials);
    let mut batch = reference::statistics(norm.live, &norm.live(&norm.x));
    batch.mean.terms = norm.live_chunks();
    batch.variance.terms = norm.live_chunks();

    let (mut mean, mut variance) = (norm.mean.clone(), norm.variance.clone());
    for _ in 0..2 {
        let [batch_mean, batch_variance] = [(); 2].map(|()| case.output(padded(norm.reference.c)));
        let running = [&mean, &variance].map(|values| case.changing(&norm.pack(values)));
        let kernel = batch_norm::Combine {
            shape: norm.shape,
            step: &norm.step(),
            partials: &partials,
            batch_mean: &batch_mean.tensor,
            batch_variance: &batch_variance.tensor,
            running_mean: &running[0].tensor,
            running_variance: &running[1].tensor,
        };
        let got = case.run(&kernel, [&batch_mean, &batch_variance, &running[0], &running[1]]);
        norm.compare_channels("batch_mean", &got[0], &batch.mean);
        norm.compare_channels("batch_variance", &got[1], &batch.variance);
        let moved = reference::update_running(
            &wide(&mean),
            &wide(&variance),
            &batch,
            norm.shape.momentum.into(),
            norm.live.count(),
        );
        norm.compare_channels("running_mean", &got[2], &moved.mean);
        norm.compare_channels("running_variance", &got[3], &moved.variance);
        mean = case.unpack(&got[2], [1, norm.reference.c, 1]);
        variance = case.unpack(&got[3], [1, norm.reference.c, 1]);
    }
}

fn forward(norm: &Norm) {
    let case = &norm.case;
    let y = case.output(norm.reference.count() * padded(norm.reference.c));
    let kernel = batch_norm::Forward {
        shape: norm.shape,
        x: &norm.images(&norm.x),
        gamma: &norm.channels(&norm.gamma),
        beta: &norm.channels(&norm.beta),
        mean: &norm.channels(&norm.mean),
        variance: &norm.channels(&norm.variance),
        y: &y.tensor,
    };
    let [got] = case.run(&kernel, [&y]);
    let [gamma, beta] = [&norm.gamma, &norm.beta].map(|values| wide(values));
    let (x, eps) = (wide(&norm.x), norm.eps());
    let want = reference::forward(norm.reference, &x, &norm.given(), &gamma, &beta, eps);
    let reference::Shape { n, c, hw } = norm.reference;
    case.compare("y", &case.unpack(&got, [n, c, hw]), &want);
}

fn backward_sums(norm: &Norm) {
    let case = &norm.case;
    let partial = case.output(norm.shape.partial_len());
    let kernel = batch_norm::BackwardSums {
        shape: norm.shape,
        rows: norm.rows(),
        step: &norm.step(),
        x: &norm.images(&norm.x),
        dy: &norm.images(&norm.dy),
        mean: &norm.channels(&norm.mean),
        partial: &partial.tensor,
    };
    let [got] = case.run(&kernel, [&partial]);
    let chunks: Vec<_> = (0..norm.reference.c)
        .map(|channel| [&norm.x, &norm.dy].map(|values| norm.chunks(&wide(values), channel)))
        .collect();
    norm.compare_partials(&got, |chunk, channel| {
        let [x, dy] = [0, 1].map(|i| &chunks[channel][i][chunk]);
        let mean = f64::from(norm.mean[channel]);
        let products = x.iter().zip(dy).map(|(x, dy)| dy * (x - mean)).collect();
        // A product has two roundings, the difference's and its own.
        [(products, 2), (dy.clone(), 0)].map(|(terms, steps)| {
            let want = sums([terms].into_iter(), steps);
            (want.value[0], want.bound(0))
        })
    });
}

/// From random partials; those of the chunks without live images are garbage.
fn backward_combine(norm: &Norm) {
    let case = &norm.case;
    let mut random = norm.random.clone();
    let mut partials = vec![0.0; norm.shape.partial_len()];
    let mut terms = [(); 2].map(|()| vec![Vec::new(); norm.reference.c]);
    for chunk in 0..norm.all_chunks() {
        for channel in 0..norm.reference.c {
            let inverse = (f64::from(norm.variance[channel]) + norm.eps()).sqrt().recip();
            for (k, factor) in [(0, inverse), (1, 1.0)] {
                let value = if chunk < norm.live_chunks() {
                    let value = random.around(0.0, 1.0, 1)[0];
                    terms[k][channel].push(f64::from(value) * factor);
                    value
                } else {
                    GARBAGE
                };
                partials[norm.partial_place(chunk, channel, k)] = value;
            }
        }
    }
    let [dgamma, dbeta] = [(); 2].map(|()| case.output(padded(norm.reference.c)));
    let kernel = batch_norm::BackwardCombine {
        shape: norm.shape,
        step: &norm.step(),
        partials: &case.input(&partials),
        variance: &norm.channels(&norm.variance),
        sum_gamma: &dgamma.tensor,
        sum_beta: &dbeta.tensor,
    };
    let got = case.run(&kernel, [&dgamma, &dbeta]);
    // The inverse root is off by 2.5 roundings, half of one from its argument; the product rounds once more.
    let [gamma_terms, beta_terms] = terms;
    norm.compare_channels("dgamma", &got[0], &sums(gamma_terms.into_iter(), 4));
    norm.compare_channels("dbeta", &got[1], &sums(beta_terms.into_iter(), 0));
}

/// From given statistics and the exact gradients of gamma and beta, rounded.
fn backward(norm: &Norm) {
    let case = &norm.case;
    let [x, dy] = [&norm.x, &norm.dy].map(|values| norm.live(values));
    let gamma = wide(&norm.gamma);
    let mut want = reference::backward(norm.live, &x, &norm.given(), &gamma, norm.eps(), &dy);
    let [dgamma, dbeta] = [&want.dgamma, &want.dbeta].map(|sums| {
        let rounded: Vec<f32> = sums.value.iter().map(|&value| value as f32).collect();
        norm.channels(&rounded)
    });
    let dx = case.output(norm.reference.count() * padded(norm.reference.c));
    let kernel = batch_norm::Backward {
        shape: norm.shape,
        step: &norm.step(),
        x: &norm.images(&norm.x),
        dy: &norm.images(&norm.dy),
        gamma: &norm.channels(&norm.gamma),
        mean: &norm.channels(&norm.mean),
        variance: &norm.channels(&norm.variance),
        dgamma: &dgamma,
        dbeta: &dbeta,
        dx: &dx.tensor,
    };
    let [got] = case.run(&kernel, [&dx]);
    // The long sums are given; the steps that remain cover their one rounding.
    want.dx.terms = 0;
    norm.compare_live("dx", &got, &want.dx);
}

fn backward_eval(norm: &Norm) {
    let case = &norm.case;
    let dx = case.output(norm.reference.count() * padded(norm.reference.c));
    let kernel = batch_norm::BackwardEval {
        shape: norm.shape,
        dy: &norm.images(&norm.dy),
        gamma: &norm.channels(&norm.gamma),
        variance: &norm.channels(&norm.variance),
        dx: &dx.tensor,
    };
    let [got] = case.run(&kernel, [&dx]);
    let [x, dy, gamma] = [&norm.x, &norm.dy, &norm.gamma].map(|values| wide(values));
    let want = reference::backward_eval(norm.reference, &x, &norm.given(), &gamma, norm.eps(), &dy);
    let reference::Shape { n, c, hw } = norm.reference;
    case.compare("dx", &case.unpack(&got, [n, c, hw]), &want.dx);
}

/// All kernels of a training step one after the other, held to bounds that are made of all their roundings.
fn all_in_training(norm: &Norm) {
    let (case, shape, step) = (&norm.case, norm.shape, &norm.step());
    let [x, dy] = [&norm.x, &norm.dy].map(|values| norm.images(values));
    let [gamma, beta] = [&norm.gamma, &norm.beta].map(|values| norm.channels(values));
    let [sums, back_sums] = [(); 2].map(|()| case.output(shape.partial_len()));
    let [mean, variance, dgamma, dbeta] = [(); 4].map(|()| case.output(padded(norm.reference.c)));
    let [y, dx] = [(); 2].map(|()| case.output(norm.reference.count() * padded(norm.reference.c)));
    let running = [&norm.mean, &norm.variance].map(|values| case.changing(&norm.pack(values)));

    let mut plan = Plan::new();
    let statistics = batch_norm::Statistics { shape, rows: norm.rows(), step, x: &x, partial: &sums.tensor };
    plan.add(case.gpu, "test", &statistics);
    let combine = batch_norm::Combine {
        shape,
        step,
        partials: &sums.tensor,
        batch_mean: &mean.tensor,
        batch_variance: &variance.tensor,
        running_mean: &running[0].tensor,
        running_variance: &running[1].tensor,
    };
    plan.add(case.gpu, "test", &combine);
    let forward = batch_norm::Forward {
        shape,
        x: &x,
        gamma: &gamma,
        beta: &beta,
        mean: &mean.tensor,
        variance: &variance.tensor,
        y: &y.tensor,
    };
    plan.add(case.gpu, "test", &forward);
    let backward_sums = batch_norm::BackwardSums {
        shape,
        rows: norm.rows(),
        step,
        x: &x,
        dy: &dy,
        mean: &mean.tensor,
        partial: &back_sums.tensor,
    };
    plan.add(case.gpu, "test", &backward_sums);
    let backward_combine = batch_norm::BackwardCombine {
        shape,
        step,
        partials: &back_sums.tensor,
        variance: &variance.tensor,
        sum_gamma: &dgamma.tensor,
        sum_beta: &dbeta.tensor,
    };
    plan.add(case.gpu, "test", &backward_combine);
    let backward = batch_norm::Backward {
        shape,
        step,
        x: &x,
        dy: &dy,
        gamma: &gamma,
        mean: &mean.tensor,
        variance: &variance.tensor,
        dgamma: &dgamma.tensor,
        dbeta: &dbeta.tensor,
        dx: &dx.tensor,
    };
    plan.add(case.gpu, "test", &backward);
    let outputs = [&mean, &variance, &y, &dgamma, &dbeta, &dx, &running[0], &running[1], &sums, &back_sums];
    let [mean, variance, y, dgamma, dbeta, dx, ..] = case.run_plan(&plan, outputs);

    let [x, dy] = [&norm.x, &norm.dy].map(|values| norm.live(values));
    let [gamma, beta] = [&norm.gamma, &norm.beta].map(|values| wide(values));
    let mut batch = reference::statistics(norm.live, &x);
    batch.mean.terms = norm.chain();
    batch.variance.terms = norm.chain();
    norm.compare_channels("mean", &mean, &batch.mean);
    norm.compare_channels("variance", &variance, &batch.variance);
    let want = reference::forward(norm.live, &x, &batch, &gamma, &beta, norm.eps());
    norm.compare_live("y", &y, &want);
    let mut want = reference::backward(norm.live, &x, &batch, &gamma, norm.eps(), &dy);
    for sums in [&mut want.dgamma, &mut want.dbeta, &mut want.dx] {
        sums.terms = norm.chain();
    }
    norm.compare_channels("dgamma", &dgamma, &want.dgamma);
    norm.compare_channels("dbeta", &dbeta, &want.dbeta);
    norm.compare_live("dx", &dx, &want.dx);
}
