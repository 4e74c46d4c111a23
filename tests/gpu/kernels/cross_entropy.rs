use convscope::nn::layout::{pack_images, padded};
use convscope::ops::cross_entropy;
use convscope::reference::cross_entropy as reference;
use libtest_mimic::Trial;
use rand::RngExt;

use super::{Case, Entry, Random, sums, wide};
use crate::common::trial;
use crate::gpu;

/// Images, classes, live images. One invocation takes one image.
const SHAPES: [[usize; 3]; 22] = [
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
];

pub fn tests() -> Vec<Trial> {
    let entries: [Entry<Batch>; 5] = [
        ("forward", forward),
        ("backward", backward),
        ("backward_weighted", backward_weighted),
        ("accumulate", accumulate),
        ("accumulate_broken", accumulate_broken),
    ];
    entries
        .into_iter()
        .map(|(entry, test)| trial(format!("kernels::cross_entropy::{entry}"), move || each_shape(entry, test)))
        .collect()
}

/// Every shape with logits of several sizes. The last are integers, among which many are equal.
fn each_shape(entry: &str, test: fn(&Batch)) {
    for (seed, [n, classes, live]) in (0..).zip(SHAPES) {
        for spread in [0.01, 1.0, 150.0, 0.0] {
            let mut random = Random::new(seed);
            let logits = match spread {
                0.0 => random.integers(n * classes),
                _ => random.around(0.0, spread, n * classes),
            };
            let batch = Batch {
                case: Case {
                    gpu: gpu(),
                    name: format!("cross_entropy::{entry}, {n} x {classes}, live {live}, spread {spread}, seed {seed}"),
                },
                shape: cross_entropy::Shape::new(n, classes),
                n,
                classes,
                live,
                logits,
                labels: (0..n).map(|_| random.0.random_range(0..classes as u32)).collect(),
            };
            test(&batch);
        }
    }
}

struct Batch {
    case: Case,
    shape: cross_entropy::Shape,
    n: usize,
    classes: usize,
    live: usize,
    logits: Vec<f32>,
    labels: Vec<u32>,
}

impl Batch {
    fn packed_logits(&self) -> Vec<f32> {
        pack_images(&self.logits, self.n, self.classes, 1)
    }

    /// 1 for each image whose largest logit is its label's.
    fn hits(&self) -> Vec<u32> {
        let one = reference::Shape { n: 1, classes: self.classes };
        self.logits
            .chunks(self.classes)
            .zip(&self.labels)
            .map(|(logits, label)| reference::correct(one, logits, &[*label]) as u32)
            .collect()
    }

    /// Accumulates once, from these sums.
    fn accumulate(&self, losses: &[f32], sum: f32, counts: [u32; 3]) -> (f32, [u32; 3]) {
        let case = &self.case;
        let loss_sum = case.changing(&[sum]);
        let counted = case.changing(&counts.map(f32::from_bits));
        let kernel = cross_entropy::Accumulate {
            shape: self.shape,
            step: &case.live(self.live),
            losses: &case.input(losses),
            hits: &case.input(&self.hits()),
            loss_sum: &loss_sum.tensor,
            counts: &counted.tensor,
        };
        let [sum, counts] = case.run(&kernel, [&loss_sum, &counted]);
        (sum[0], [counts[0], counts[1], counts[2]].map(f32::to_bits))
    }
}

fn forward(batch: &Batch) {
    let case = &batch.case;
    let [loss, correct] = [(); 2].map(|()| case.output(batch.n));
    let kernel = cross_entropy::Forward {
        shape: batch.shape,
        logits: &case.input(&batch.packed_logits()),
        labels: &case.input(&batch.labels),
        loss: &loss.tensor,
        correct: &correct.tensor,
    };
    let [losses, hits] = case.run(&kernel, [&loss, &correct]);
    let shape = reference::Shape { n: batch.n, classes: batch.classes };
    let want = reference::forward(shape, &wide(&batch.logits), &batch.labels);
    case.compare("loss", &losses, &want);
    let hits: Vec<u32> = hits.into_iter().map(f32::to_bits).collect();
    assert_eq!(hits, batch.hits(), "{}: correct", case.name);
}

/// The gradient of the live images' mean; what the dead images get does not matter, but is never in the padding.
fn backward(batch: &Batch) {
    let case = &batch.case;
    let dlogits = case.output(batch.n * padded(batch.classes));
    let kernel = cross_entropy::Backward {
        shape: batch.shape,
        step: &case.live(batch.live),
        logits: &case.input(&batch.packed_logits()),
        labels: &case.input(&batch.labels),
        dlogits: &dlogits.tensor,
    };
    let [got] = case.run(&kernel, [&dlogits]);
    let got = case.unpack(&got, [batch.n, batch.classes, 1]);
    let shape = reference::Shape { n: batch.live, classes: batch.classes };
    let len = batch.live * batch.classes;
    let logits = wide(&batch.logits[..len]);
    let want = reference::backward(shape, &logits, &batch.labels[..batch.live]);
    case.compare("dlogits", &got[..len], &want);
}

/// The same for smoothed targets and classes of other weights, those of the live images alone.
fn backward_weighted(batch: &Batch) {
    let case = &batch.case;
    let mut random = Random::new(batch.n as u64);
    for smoothing in [0.0, 0.1, 0.5] {
        let weights = random.around(1.5, 1.4, batch.classes);
        let dlogits = case.output(batch.n * padded(batch.classes));
        let kernel = cross_entropy::BackwardWeighted {
            shape: batch.shape.with_targets(smoothing, &weights),
            step: &case.live(batch.live),
            logits: &case.input(&batch.packed_logits()),
            labels: &case.input(&batch.labels),
            weights: &case.input(&weights),
            dlogits: &dlogits.tensor,
        };
        let [got] = case.run(&kernel, [&dlogits]);
        let got = case.unpack(&got, [batch.n, batch.classes, 1]);
        let shape = reference::Shape { n: batch.live, classes: batch.classes };
        let len = batch.live * batch.classes;
        let targets = reference::Targets { smoothing, weights: &wide(&weights) };
        let want =
            reference::backward_weighted(shape, &wide(&batch.logits[..len]), &batch.labels[..batch.live], targets);
        case.compare("dlogits", &got[..len], &want);
    }
}

/// Twice, each time from what is there.
fn accumulate(batch: &Batch) {
    // Losses are as arbitrary here as logits.
    let losses = &batch.packed_logits()[..batch.n];
    let hits: u32 = batch.hits()[..batch.live].iter().sum();
    let (mut sum, mut counts) = (-3.5, [5, 17, 2]);
    for _ in 0..2 {
        let before = (sum, counts);
        (sum, counts) = batch.accumulate(losses, sum, counts);
        let mut terms = wide(&losses[..batch.live]);
        terms.push(before.0.into());
        let want = sums([terms].into_iter(), 0);
        batch.case.compare("loss_sum", &[sum], &want);
        let [right, seen, broken] = before.1;
        let want = [right + hits, seen + batch.live as u32, broken];
        assert_eq!(counts, want, "{}: counts", batch.case.name);
    }
}

/// Losses that are not finite are counted, the largest finite one is not, and none among the dead images.
fn accumulate_broken(batch: &Batch) {
    let losses: Vec<f32> = [
        f32::NAN,
        1.5,
        f32::INFINITY,
        f32::MAX,
        f32::NEG_INFINITY,
        f32::from_bits(0xff80_0001),
        -0.0,
        f32::MIN_POSITIVE,
    ]
    .into_iter()
    .cycle()
    .take(batch.n)
    .collect();
    let live = &losses[..batch.live];
    let broken = live.iter().filter(|loss| !loss.is_finite()).count() as u32;
    let (_, first) = batch.accumulate(&losses, 1.0, [0, 0, 4]);
    assert_eq!(first[2], 4 + broken, "{}: broken", batch.case.name);
    let (_, second) = batch.accumulate(&losses, 1.0, first);
    assert_eq!(second[2], 4 + 2 * broken, "{}: broken", batch.case.name);
}
