use convscope::gpu::Kernels;
use convscope::ops::{Step, cross_entropy};
use convscope::reference::cross_entropy as reference;

use super::{Case, Numbers, Operation, Want, narrow, sums};

/// Images, classes, live images. One invocation takes one image.
const SHAPES: [[usize; 3]; 23] = [
    [1, 1, 1],
    [1, 2, 1],
    [2, 2, 1],
    [3, 3, 3],
    [5, 4, 2],
    [4, 5, 4],
    [7, 7, 6],
    [8, 8, 8],
    [13, 9, 11],
    [2, 13, 2],
    [6, 64, 5],
    [1, 101, 1],
    [11, 37, 1],
    [63, 2, 63],
    [64, 3, 50],
    [65, 2, 64],
    [65, 5, 65],
    [127, 2, 3],
    [128, 4, 128],
    [129, 1, 129],
    [131, 6, 130],
    [1031, 2, 1000],
    // Workgroups that fill all rows of a folded dispatch.
    [1280, 2, 1279],
];

/// Sizes of the logits. The last are integers, among which many are equal.
const SPREADS: [f32; 5] = [0.01, 1.0, 150.0, 1e4, 0.0];

/// Shares of a target that are spread over all classes.
const SMOOTHINGS: [f64; 3] = [0.0, 0.1, 0.5];

pub fn operations() -> Vec<Operation> {
    type Make = fn(Batch) -> Case;
    let entries: [(_, Make); 4] = [
        ("forward_backward", forward_backward),
        ("forward_backward_weighted", forward_backward_weighted),
        ("accumulate", accumulate),
        ("accumulate_broken", accumulate_broken),
    ];
    let table = || {
        let of = |(i, shape): (usize, [usize; 3])| {
            (0..SPREADS.len()).map(move |spread| [&shape[..], &[spread, i % SMOOTHINGS.len()]].concat())
        };
        SHAPES.into_iter().enumerate().flat_map(of).collect()
    };
    let operation = |(entry, make): (_, Make)| Operation {
        group: "cross_entropy",
        entry,
        kernels: Kernels::Plain,
        sizes: &["n", "classes", "live", "spread", "smoothing"],
        table: table(),
        draw: |random| {
            let n = random.size(300);
            let spread = random.below(SPREADS.len());
            vec![n, random.size(60), random.between(1, n), spread, random.below(SMOOTHINGS.len())]
        },
        exact: false,
        compiles: false,
        make: Box::new(move |_, sizes, numbers| make(Batch::new(sizes, numbers))),
    };
    entries.map(operation).into()
}

struct Batch {
    shape: cross_entropy::Shape,
    n: usize,
    classes: usize,
    live: usize,
    smoothing: f64,
    logits: Vec<f64>,
    labels: Vec<u32>,
    weights: Vec<f64>,
    /// What `loss_sum` and `counts` hold before.
    sum: f32,
    /// The number of the step.
    step: u32,
    counts: [u32; 4],
}

impl Batch {
    fn new(sizes: &[usize], numbers: &Numbers) -> Self {
        let &[n, classes, live, spread, smoothing] = sizes else { panic!("{sizes:?}") };
        let logits = match SPREADS[spread] {
            0.0 => numbers.made("logits", |random| random.integers(n * classes)),
            spread => numbers.around("logits", 0.0, spread, n * classes),
        };
        let mut random = numbers.random("labels");
        Self {
            shape: cross_entropy::Shape::new(n, classes),
            n,
            classes,
            live,
            smoothing: SMOOTHINGS[smoothing],
            logits,
            labels: (0..n).map(|_| random.below(classes) as u32).collect(),
            weights: numbers.around("weights", 1.5, 1.4, classes),
            sum: random.around(0.0, 9.0, 1)[0],
            counts: [(); 4].map(|()| random.below(4).pow(4) as u32),
            step: random.below(1000) as u32,
        }
    }

    /// 1 for each image whose largest logit is its label's.
    fn hits(&self) -> Vec<u32> {
        let one = reference::Shape { n: 1, classes: self.classes };
        let images = self.logits.chunks(self.classes).zip(&self.labels);
        images.map(|(logits, label)| reference::correct(one, logits, &[*label]) as u32).collect()
    }

    fn dims(&self) -> [usize; 3] {
        [self.n, self.classes, 1]
    }

    /// The live images' shape, logits and labels.
    fn of_live(&self) -> (reference::Shape, &[f64], &[u32]) {
        let shape = reference::Shape { n: self.live, classes: self.classes };
        (shape, &self.logits[..self.live * self.classes], &self.labels[..self.live])
    }
}

/// With what both kernels read and write, beside the gradient.
fn with_losses(case: Case, batch: &Batch) -> Case {
    let want =
        reference::forward(reference::Shape { n: batch.n, classes: batch.classes }, &batch.logits, &batch.labels);
    case.live(batch.live)
        .images("logits", &batch.logits, batch.dims())
        .input("labels", &batch.labels)
        .output("loss", Want::plain(&want))
        .output("correct", Want::Bits(batch.hits()))
}

/// The losses, and the gradient of the live images' mean; what the dead images get of it does not matter.
fn forward_backward(batch: Batch) -> Case {
    let (live, logits, labels) = batch.of_live();
    let want = reference::backward(live, logits, labels);
    let shape = batch.shape;
    let case = Case::new(move |gpu, plan, t| {
        let (step, logits, labels) = (&t["step"], &t["logits"], &t["labels"]);
        let (loss, correct, dlogits) = (&t["loss"], &t["correct"], &t["dlogits"]);
        plan.add(gpu, "", &cross_entropy::ForwardBackward { shape, step, logits, labels, loss, correct, dlogits });
    });
    with_losses(case, &batch).output("dlogits", Want::first_images(&want, batch.dims()))
}

/// The same for smoothed targets and classes of other weights, those of the live images alone.
fn forward_backward_weighted(batch: Batch) -> Case {
    let (live, logits, labels) = batch.of_live();
    let targets = reference::Targets { smoothing: batch.smoothing, weights: &batch.weights };
    let want = reference::backward_weighted(live, logits, labels, targets);
    let shape = batch.shape.with_targets(batch.smoothing, &narrow(&batch.weights));
    let case = Case::new(move |gpu, plan, t| {
        let (step, logits, labels, weights) = (&t["step"], &t["logits"], &t["labels"], &t["weights"]);
        let (loss, correct, dlogits) = (&t["loss"], &t["correct"], &t["dlogits"]);
        let kernel =
            cross_entropy::ForwardBackwardWeighted { shape, step, logits, labels, weights, loss, correct, dlogits };
        plan.add(gpu, "", &kernel);
    });
    with_losses(case, &batch)
        .input("weights", &narrow(&batch.weights))
        .output("dlogits", Want::first_images(&want, batch.dims()))
}

/// From what is there.
fn accumulate(batch: Batch) -> Case {
    // Losses are as arbitrary here as logits.
    let losses = narrow(&batch.logits[..batch.n]);
    let mut terms = batch.logits[..batch.live].to_vec();
    terms.push(batch.sum.into());
    let want = sums([terms].into_iter(), 0);
    accumulated(&batch, &losses, Want::plain(&want), 0)
}

/// Losses that are not finite are counted, the largest finite one is not, and none among the dead images.
fn accumulate_broken(batch: Batch) -> Case {
    const LOSSES: [f32; 8] = [
        f32::NAN,
        1.5,
        f32::INFINITY,
        f32::MAX,
        f32::NEG_INFINITY,
        f32::from_bits(0xff80_0001),
        -0.0,
        f32::MIN_POSITIVE,
    ];
    let losses: Vec<f32> = (0..batch.n).map(|i| LOSSES[(i + batch.classes) % LOSSES.len()]).collect();
    let broken = losses[..batch.live].iter().filter(|loss| !loss.is_finite()).count() as u32;
    accumulated(&batch, &losses, Want::Anything(1), broken)
}

fn accumulated(batch: &Batch, losses: &[f32], sum: Want, new_broken: u32) -> Case {
    let hits: u32 = batch.hits()[..batch.live].iter().sum();
    let [right, seen, broken, first] = batch.counts;
    let first = if broken == 0 && new_broken > 0 { batch.step } else { first };
    let counts = vec![right + hits, seen + batch.live as u32, broken + new_broken, first];
    let shape = batch.shape;
    Case::new(move |gpu, plan, t| {
        let (step, losses, hits) = (&t["step"], &t["losses"], &t["hits"]);
        let (loss_sum, counts) = (&t["loss_sum"], &t["counts"]);
        plan.add(gpu, "", &cross_entropy::Accumulate { shape, step, losses, hits, loss_sum, counts });
    })
    .step(Step { live: batch.live as u32, number: batch.step, ..bytemuck::Zeroable::zeroed() })
    .input("losses", losses)
    .input("hits", &batch.hits())
    .changing("loss_sum", &[batch.sum], sum)
    .changing("counts", &batch.counts, Want::Bits(counts))
}
