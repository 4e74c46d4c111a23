use convscope::gpu::{Gpu, Kernels, Plan};
use convscope::nn::layout::{pack_images, padded};
use convscope::ops::batch_norm;
use convscope::ops::sums::Rows;
use convscope::reference::Summed;
use convscope::reference::batch_norm::{self as reference, Statistics};

use super::{Case, GARBAGE, Numbers, Operation, Random, Tensors, Want, narrow, sums};

/// Images, channels, pixels, live images, which of [`SPREADS`].
const SIZES: &[&str] = &["n", "c", "hw", "live", "spread"];

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

/// Centre and half width of the numbers. The last are all equal.
pub(super) const SPREADS: [(f32, f32); 5] = [(0.0, 1.0), (-3.0, 0.25), (1000.0, 1.75), (0.1, 1e-3), (3.0, 0.0)];

/// Kernels whose invocations add up alone on a software driver, and kernels whose workgroups share sums.
pub(super) const SHARES: [Kernels; 2] = [Kernels::Plain, Kernels::Tiled];

pub fn operations() -> Vec<Operation> {
    type Make = fn(Norm) -> Case;
    let entries: [(_, Make); 8] = [
        ("statistics", statistics),
        ("combine", combine),
        ("forward", forward),
        ("backward_sums", backward_sums),
        ("backward_combine", backward_combine),
        ("backward", backward),
        ("backward_eval", backward_eval),
        ("training", training),
    ];
    let operation = |kernels: Kernels, entry, make: Make| Operation {
        group: if kernels == Kernels::Tiled { "batch_norm_shared" } else { "batch_norm" },
        entry,
        kernels,
        sizes: SIZES,
        table: table(),
        draw,
        exact: false,
        compiles: false,
        make: Box::new(move |gpu, sizes, numbers| make(Norm::new(gpu, sizes, numbers))),
    };
    SHARES.into_iter().flat_map(|kernels| entries.map(|(entry, make)| operation(kernels, entry, make))).collect()
}

/// Every shape, with another spread each.
pub(super) fn table() -> Vec<Vec<usize>> {
    SHAPES.iter().enumerate().map(|(i, shape)| [&shape[..], &[i % 3]].concat()).collect()
}

pub(super) fn draw(random: &mut Random) -> Vec<usize> {
    let (n, c) = (random.size(9), random.size(70));
    let hw = random.size(40_000 / n / c);
    vec![n, c, hw, random.between(1, n), random.below(SPREADS.len())]
}

/// One batch of one layer in PyTorch's layouts.
pub(super) struct Norm {
    pub(super) shape: batch_norm::Shape,
    pub(super) rows: Rows,
    pub(super) reference: reference::Shape,
    /// The CPU reference's shape of the live images alone.
    pub(super) live: reference::Shape,
    pub(super) x: Vec<f64>,
    pub(super) dy: Vec<f64>,
    pub(super) gamma: Vec<f64>,
    pub(super) beta: Vec<f64>,
    /// Statistics that are handed to a kernel, near to those of x but not the same.
    pub(super) mean: Vec<f64>,
    pub(super) variance: Vec<f64>,
    /// For partial results that are handed to a kernel.
    random: Random,
}

impl Norm {
    pub(super) fn new(gpu: &Gpu, sizes: &[usize], numbers: &Numbers) -> Self {
        let &[n, c, hw, live, spread] = sizes else { panic!("{sizes:?}") };
        let (offset, spread) = SPREADS[spread];
        let reference = reference::Shape { n, c, hw };
        let shape = batch_norm::Shape::new(gpu.shares_sums(), n, c, hw);
        let decades = |random: &mut Random| random.around(-3.0, 3.0, c).iter().map(|&ten| 10f32.powf(ten)).collect();
        Self {
            shape,
            rows: Rows::new(gpu.shares_sums(), shape.channels),
            reference,
            live: reference::Shape { n: live, ..reference },
            x: numbers.around("x", offset, spread, n * c * hw),
            dy: numbers.around("dy", 0.1, 1.0, n * c * hw),
            gamma: numbers.around("gamma", 0.0, 2.0, c),
            beta: numbers.around("beta", 0.0, 1.0, c),
            mean: numbers.around("mean", offset, spread / 4.0, c),
            variance: numbers.made("variance", decades),
            random: numbers.random("partials"),
        }
    }

    pub(super) fn dims(&self) -> [usize; 3] {
        let reference::Shape { n, c, hw } = self.reference;
        [n, c, hw]
    }

    pub(super) fn eps(&self) -> f64 {
        self.shape.eps.into()
    }

    pub(super) fn given(&self) -> Statistics<f64> {
        Statistics::exact(self.mean.clone(), self.variance.clone())
    }

    /// A case with some of its tensors.
    pub(super) fn case(
        &self,
        names: &[&'static str],
        record: impl Fn(&Gpu, &mut Plan, &Tensors) + Send + Sync + 'static,
    ) -> Case {
        let case = Case::new(record).live(self.live.n);
        names.iter().fold(case, |case, name| match *name {
            "x" => case.images("x", &self.x, self.dims()),
            "dy" => case.images("dy", &self.dy, self.dims()),
            "gamma" => case.channels("gamma", &self.gamma),
            "beta" => case.channels("beta", &self.beta),
            "mean" => case.channels("mean", &self.mean),
            "variance" => case.channels("variance", &self.variance),
            other => panic!("there is no `{other}`"),
        })
    }

    /// x and dy of the live images.
    pub(super) fn live_numbers(&self) -> [&[f64]; 2] {
        [&self.x, &self.dy].map(|values| &values[..self.live.elements()])
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
        pixels.chunks(self.shape.chunk as usize).map(<[f64]>::to_vec).collect()
    }

    /// Where number `k` of a channel's two partial results lies.
    fn partial_place(&self, chunk: usize, channel: usize, k: usize) -> usize {
        let vectors = self.shape.channels as usize;
        ((chunk * vectors + channel / 4) * 2 + k) * 4 + channel % 4
    }

    /// The partial results of the live chunks; `want` returns a chunk's two numbers with their bounds. The others may be anything.
    pub(super) fn partials(&self, mut want: impl FnMut(usize, usize) -> [(f64, f64); 2]) -> Want {
        let len = self.shape.partial_len();
        let (mut values, mut bounds) = (vec![0.0; len], vec![f64::INFINITY; len]);
        for chunk in 0..self.live_chunks() {
            for channel in 0..padded(self.reference.c) {
                let want = if channel < self.reference.c { want(chunk, channel) } else { [(0.0, 0.0); 2] };
                for (k, (value, bound)) in want.into_iter().enumerate() {
                    let place = self.partial_place(chunk, channel, k);
                    (values[place], bounds[place]) = (value, bound);
                }
            }
        }
        Want::Near(values, bounds)
    }
}

fn statistics(norm: Norm) -> Case {
    let chunks: Vec<_> = (0..norm.reference.c).map(|channel| norm.chunks(&norm.x, channel)).collect();
    let want = norm.partials(|chunk, channel| {
        let x = &chunks[channel][chunk];
        let Statistics { mean, variance } = reference::statistics(reference::Shape { n: 1, c: 1, hw: x.len() }, x);
        let size = x.len() as f64;
        [(mean.value[0], mean.bound(0)), (variance.value[0] * size, variance.bound(0) * size)]
    });
    let (shape, rows) = (norm.shape, norm.rows);
    let record = move |gpu: &_, plan: &mut Plan, t: &Tensors| {
        let (step, x, partial) = (&t["step"], &t["x"], &t["partial"]);
        plan.add(gpu, "", &batch_norm::Statistics { shape, rows, step, x, partial });
    };
    norm.case(&["x"], record).output("partial", want)
}

/// From the exact statistics of the chunks, rounded; those of the chunks without live images are garbage.
fn combine(norm: Norm) -> Case {
    let mut partials = vec![0.0; norm.shape.partial_len()];
    for channel in 0..norm.reference.c {
        let chunks = norm.chunks(&norm.x, channel);
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
    let [x, _] = norm.live_numbers();
    let mut batch = reference::statistics(norm.live, x);
    batch.mean.terms = norm.live_chunks();
    batch.variance.terms = norm.live_chunks();
    let momentum = norm.shape.momentum.into();
    let moved = reference::update_running(&norm.mean, &norm.variance, &batch, momentum, norm.live.count());
    let shape = norm.shape;
    let running = |values: &[f64]| pack_images(&narrow(values), 1, norm.reference.c, 1);
    norm.case(&[], move |gpu, plan, t| {
        let kernel = batch_norm::Combine {
            shape,
            rows: Rows::of_parts(gpu),
            step: &t["step"],
            partials: &t["partials"],
            batch_mean: &t["batch_mean"],
            batch_variance: &t["batch_variance"],
            running_mean: &t["running_mean"],
            running_variance: &t["running_variance"],
        };
        plan.add(gpu, "", &kernel);
    })
    .input("partials", &partials)
    .output("batch_mean", Want::channels(&batch.mean))
    .output("batch_variance", Want::channels(&batch.variance))
    .changing("running_mean", &running(&norm.mean), Want::channels(&moved.mean))
    .changing("running_variance", &running(&norm.variance), Want::channels(&moved.variance))
}

fn forward(norm: Norm) -> Case {
    let want = reference::forward(norm.reference, &norm.x, &norm.given(), &norm.gamma, &norm.beta, norm.eps());
    let shape = norm.shape;
    let record = move |gpu: &_, plan: &mut Plan, t: &Tensors| {
        let (gamma, beta, mean, variance) = (&t["gamma"], &t["beta"], &t["mean"], &t["variance"]);
        plan.add(gpu, "", &batch_norm::Forward { shape, x: &t["x"], gamma, beta, mean, variance, y: &t["y"] });
    };
    norm.case(&["x", "gamma", "beta", "mean", "variance"], record).output("y", Want::images(&want, norm.dims()))
}

fn backward_sums(norm: Norm) -> Case {
    let chunks: Vec<_> =
        (0..norm.reference.c).map(|channel| [&norm.x, &norm.dy].map(|values| norm.chunks(values, channel))).collect();
    let want = norm.partials(|chunk, channel| {
        let [x, dy] = [0, 1].map(|i| &chunks[channel][i][chunk]);
        let products = x.iter().zip(dy).map(|(x, dy)| dy * (x - norm.mean[channel])).collect();
        // A product has two roundings, the difference's and its own.
        [(products, 2), (dy.clone(), 0)].map(|(terms, steps)| {
            let want = sums([terms].into_iter(), steps);
            (want.value[0], want.bound(0))
        })
    });
    let (shape, rows) = (norm.shape, norm.rows);
    let record = move |gpu: &_, plan: &mut Plan, t: &Tensors| {
        let (step, x, dy, mean) = (&t["step"], &t["x"], &t["dy"], &t["mean"]);
        plan.add(gpu, "", &batch_norm::BackwardSums { shape, rows, step, x, dy, mean, partial: &t["partial"] });
    };
    norm.case(&["x", "dy", "mean"], record).output("partial", want)
}

/// From random partials; those of the chunks without live images are garbage.
fn backward_combine(mut norm: Norm) -> Case {
    let mut partials = vec![0.0; norm.shape.partial_len()];
    let mut terms = [(); 2].map(|()| vec![Vec::new(); norm.reference.c]);
    for chunk in 0..norm.all_chunks() {
        for channel in 0..norm.reference.c {
            let inverse = (norm.variance[channel] + norm.eps()).sqrt().recip();
            for (k, factor) in [(0, inverse), (1, 1.0)] {
                let value = if chunk < norm.live_chunks() {
                    let value = norm.random.around(0.0, 1.0, 1)[0];
                    terms[k][channel].push(f64::from(value) * factor);
                    value
                } else {
                    GARBAGE
                };
                partials[norm.partial_place(chunk, channel, k)] = value;
            }
        }
    }
    // The inverse root is off by 2.5 roundings, half of one from its argument; the product rounds once more.
    let [gamma_terms, beta_terms] = terms;
    let shape = norm.shape;
    norm.case(&["variance"], move |gpu, plan, t| {
        let rows = Rows::of_parts(gpu);
        let (step, partials, variance) = (&t["step"], &t["partials"], &t["variance"]);
        let (sum_gamma, sum_beta) = (&t["dgamma"], &t["dbeta"]);
        plan.add(gpu, "", &batch_norm::BackwardCombine { shape, rows, step, partials, variance, sum_gamma, sum_beta });
    })
    .input("partials", &partials)
    .output("dgamma", Want::channels(&sums(gamma_terms.into_iter(), 4)))
    .output("dbeta", Want::channels(&sums(beta_terms.into_iter(), 0)))
}

/// From given statistics and the exact gradients of gamma and beta, rounded.
fn backward(norm: Norm) -> Case {
    let [x, dy] = norm.live_numbers();
    let mut want = reference::backward(norm.live, x, &norm.given(), &norm.gamma, norm.eps(), dy);
    // The long sums are given; the steps that remain cover their one rounding.
    want.dx.terms = 0;
    let shape = norm.shape;
    let record = move |gpu: &_, plan: &mut Plan, t: &Tensors| {
        let kernel = batch_norm::Backward {
            shape,
            step: &t["step"],
            x: &t["x"],
            dy: &t["dy"],
            gamma: &t["gamma"],
            mean: &t["mean"],
            variance: &t["variance"],
            dgamma: &t["dgamma"],
            dbeta: &t["dbeta"],
            dx: &t["dx"],
        };
        plan.add(gpu, "", &kernel);
    };
    norm.case(&["x", "dy", "gamma", "mean", "variance"], record)
        .channels("dgamma", &want.dgamma.value)
        .channels("dbeta", &want.dbeta.value)
        .output("dx", Want::first_images(&want.dx, norm.dims()))
}

fn backward_eval(norm: Norm) -> Case {
    let want = reference::backward_eval(norm.reference, &norm.x, &norm.given(), &norm.gamma, norm.eps(), &norm.dy);
    let shape = norm.shape;
    let record = move |gpu: &_, plan: &mut Plan, t: &Tensors| {
        let (dy, gamma, variance) = (&t["dy"], &t["gamma"], &t["variance"]);
        plan.add(gpu, "", &batch_norm::BackwardEval { shape, dy, gamma, variance, dx: &t["dx"] });
    };
    norm.case(&["dy", "gamma", "variance"], record).output("dx", Want::images(&want.dx, norm.dims()))
}

/// All kernels of a training step one after the other, held to bounds that are made of all their roundings.
fn training(norm: Norm) -> Case {
    let [x, dy] = norm.live_numbers();
    let mut batch = reference::statistics(norm.live, x);
    batch.mean.terms = norm.chain();
    batch.variance.terms = norm.chain();
    let y = reference::forward(norm.live, x, &batch, &norm.gamma, &norm.beta, norm.eps());
    let mut gradients = reference::backward(norm.live, x, &batch, &norm.gamma, norm.eps(), dy);
    let reference::Gradients { dx, dgamma, dbeta } = &mut gradients;
    for sums in [&mut *dgamma, &mut *dbeta, &mut *dx] {
        sums.terms = norm.chain();
    }
    let (shape, rows) = (norm.shape, norm.rows);
    let running = |values: &[f64]| pack_images(&narrow(values), 1, norm.reference.c, 1);
    let momentum = norm.shape.momentum.into();
    let moved = reference::update_running(&norm.mean, &norm.variance, &batch, momentum, norm.live.count());
    let record = move |gpu: &Gpu, plan: &mut Plan, t: &Tensors| {
        let of_parts = Rows::of_parts(gpu);
        let [step, x, dy, gamma, beta] = ["step", "x", "dy", "gamma", "beta"].map(|name| &t[name]);
        let [mean, variance, dgamma, dbeta] = ["batch_mean", "batch_variance", "dgamma", "dbeta"].map(|name| &t[name]);
        let [partial, back] = [&t["partials"], &t["back_partials"]];
        plan.add(gpu, "", &batch_norm::Statistics { shape, rows, step, x, partial });
        let combine = batch_norm::Combine {
            shape,
            rows: of_parts,
            step,
            partials: partial,
            batch_mean: mean,
            batch_variance: variance,
            running_mean: &t["running_mean"],
            running_variance: &t["running_variance"],
        };
        plan.add(gpu, "", &combine);
        plan.add(gpu, "", &batch_norm::Forward { shape, x, gamma, beta, mean, variance, y: &t["y"] });
        plan.add(gpu, "", &batch_norm::BackwardSums { shape, rows, step, x, dy, mean, partial: back });
        let (sum_gamma, sum_beta) = (dgamma, dbeta);
        let combine =
            batch_norm::BackwardCombine { shape, rows: of_parts, step, partials: back, variance, sum_gamma, sum_beta };
        plan.add(gpu, "", &combine);
        let dx = &t["dx"];
        plan.add(gpu, "", &batch_norm::Backward { shape, step, x, dy, gamma, mean, variance, dgamma, dbeta, dx });
    };
    let partial_len = norm.shape.partial_len();
    norm.case(&["x", "dy", "gamma", "beta"], record)
        .output("partials", Want::Anything(partial_len))
        .output("back_partials", Want::Anything(partial_len))
        .output("batch_mean", Want::channels(&batch.mean))
        .output("batch_variance", Want::channels(&batch.variance))
        .changing("running_mean", &running(&norm.mean), Want::channels(&moved.mean))
        .changing("running_variance", &running(&norm.variance), Want::channels(&moved.variance))
        .output("y", Want::first_images(&y, norm.dims()))
        .output("dgamma", Want::channels(dgamma))
        .output("dbeta", Want::channels(dbeta))
        .output("dx", Want::first_images(dx, norm.dims()))
}

/// What a reference says of ReLU's input, with its bounds: see [`super::activation`].
pub(super) fn before_relu(norm: &Norm) -> Summed<f64> {
    reference::forward(norm.reference, &norm.x, &norm.given(), &norm.gamma, &norm.beta, norm.eps())
}
