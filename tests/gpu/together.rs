//! Several trainers that train one network together, here as threads of one process.

use std::sync::{Barrier, Mutex};
use std::thread;

use convscope::data::augment::AugmentOptions;
use convscope::data::drawn::{Drawn, Subject};
use convscope::gpu::Kernels;
use convscope::nn::checkpoint::Weights;
use convscope::nn::{Architecture, Keep, Known, Metrics, Model, Name, Network, Optimizer, StepOptions, Strided};
use convscope::train::exchange::{Exchange, check_same};
use convscope::train::{Recipe, Schedule, Trainer};
use libtest_mimic::Trial;

use crate::common::trial;
use crate::gpu_with;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("together::parts_of_batches_are_as_good_as_the_whole", parts_are_as_good_as_the_whole),
        trial("together::all_have_the_same_weights", all_have_the_same_weights),
        trial("together::what_differs_is_refused", what_differs_is_refused),
    ]
}

const SIDE: usize = 28;
const BATCH: usize = 12;
const EPOCHS: usize = 2;

/// What the threads have told one another.
struct Table {
    places: Vec<Mutex<Vec<u8>>>,
    all: Barrier,
}

/// One of the threads.
struct Seat<'a> {
    table: &'a Table,
    rank: usize,
}

impl Table {
    fn new(size: usize) -> Self {
        Self { places: (0..size).map(|_| Mutex::default()).collect(), all: Barrier::new(size) }
    }
}

impl Exchange for Seat<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.table.places.len()
    }

    fn wait_for_all(&self) {
        self.table.all.wait();
    }

    fn scatter(&self, parts: &[f32]) -> Vec<f32> {
        let part = parts.len() / self.size();
        let all = self.gather(parts);
        all.chunks(parts.len()).flat_map(|of_one| &of_one[self.rank * part..][..part]).copied().collect()
    }

    fn gather(&self, own: &[f32]) -> Vec<f32> {
        let all = self.gather_bytes(&own.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>());
        all.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    fn gather_bytes(&self, own: &[u8]) -> Vec<u8> {
        *self.table.places[self.rank].lock().unwrap() = own.to_vec();
        self.wait_for_all();
        let all = self.table.places.iter().flat_map(|place| place.lock().unwrap().clone()).collect();
        self.wait_for_all();
        all
    }
}

/// What each of so many threads makes of its seat.
fn at_one_table<T: Send>(size: usize, work: impl Fn(&Seat<'_>) -> T + Sync) -> Vec<T> {
    let (table, work) = (&Table::new(size), &work);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..size).map(|rank| scope.spawn(move || work(&Seat { table, rank }))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Neither batch norm, which takes the statistics of a process's own part, nor dropout, whose masks are each process's own.
fn plain() -> Network {
    let known = Known { name: Name::LeNet5, input: [3, SIDE, SIDE], width: 1.0, classes: 2 };
    Architecture::Known(known).build().unwrap()
}

fn recipe(step: StepOptions, ema: Option<f64>) -> Recipe {
    Recipe {
        optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 1e-3 },
        lr: 0.02,
        schedule: Schedule::Cosine { epochs: EPOCHS as f64 },
        warmup: 0.5,
        step,
        ema,
        seed: 3,
        augment: AugmentOptions { flip: true, ..AugmentOptions::default() },
    }
}

/// Trains one network in so many parts: the weights and metrics that each of them ends with.
fn trained(network: &Network, recipe: &Recipe, images: usize, size: usize) -> Vec<(Weights, [Metrics; 2])> {
    let drawn = Drawn::new(Subject::Pets, 0, 0, images, SIDE as u32, 1 << 20);
    let gpu = gpu_with(Kernels::Plain);
    let first = Weights::initial(network, 1);
    at_one_table(size, |seat| {
        let model = Model::new(gpu, network, BATCH / size, Keep::Needed).unwrap();
        let exchange = (size > 1).then_some(seat as &dyn Exchange);
        let mut trainer = Trainer::together(gpu, &model, &first, recipe.clone(), exchange, |_, _| {}).unwrap();
        let mut metrics = [Metrics::default(); 2];
        for epoch in 1..=EPOCHS {
            let (learned, _) = trainer.train(&drawn, epoch, &mut |_| {}).unwrap();
            metrics = [learned, trainer.evaluate(&drawn, &mut |_| {}).unwrap().0];
        }
        assert!(trainer.all_stop(seat.rank == 0), "as the first says");
        (trainer.weights().unwrap(), metrics)
    })
}

/// The largest difference of two weights, over the largest change of any by training.
fn difference(a: &Weights, b: &Weights, first: &Weights) -> f32 {
    let most = |a: &Weights, b: &Weights| {
        let each = a.tensors.iter().flat_map(|(name, values)| values.iter().zip(&b.tensors[name]));
        each.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    most(a, b) / most(a, first)
}

/// Any number of parts gives the weights of the whole batch but for rounding, and again the same, bit for bit; in the last batch the parts
/// are of unequal size.
fn parts_are_as_good_as_the_whole() {
    let network = plain();
    let first = Weights::initial(&network, 1);
    let options = StepOptions { label_smoothing: 0.1, class_weights: Some(vec![0.5, 2.0]), clip_grad_norm: Some(0.5) };
    for (step, ema) in [(StepOptions::default(), None), (options, Some(0.5))] {
        let recipe = recipe(step, ema);
        let whole = trained(&network, &recipe, 2 * BATCH + 7, 1).remove(0);
        for size in [2, 3, 4] {
            let parts = trained(&network, &recipe, 2 * BATCH + 7, size);
            for part in &parts {
                assert_eq!(part, &parts[0], "all of {size} have the same, bit for bit");
            }
            let (weights, metrics) = &parts[0];
            let apart = difference(weights, &whole.0, &first);
            // 5 eps a step and a summand is what rounding can make of it here; a part too much or too little makes a hundred times that.
            assert!(apart < 2e-4, "{size} parts: {apart}");
            for (metrics, whole) in metrics.iter().zip(&whole.1) {
                assert_eq!((metrics.seen, metrics.broken), (whole.seen, whole.broken));
                assert!((metrics.loss() - whole.loss()).abs() < 1e-5, "{} and {}", metrics.loss(), whole.loss());
            }
            assert!(trained(&network, &recipe, 2 * BATCH + 7, size)[0] == parts[0], "again the same");
        }
    }
}

/// With batch norm and dropout too, whose statistics are joined after each epoch.
fn all_have_the_same_weights() {
    let network = Strided { channels: vec![4, 6], dropout: 0.2, ..Strided::dogs_vs_cats(SIDE, 2) }.build().unwrap();
    for ema in [None, Some(0.9)] {
        let recipe = recipe(StepOptions::default(), ema);
        let parts = trained(&network, &recipe, 30, 3);
        assert!(parts.iter().all(|part| *part == parts[0]));
        assert!(trained(&network, &recipe, 30, 3) == parts, "again the same");
        let whole = trained(&network, &recipe, 30, 1);
        assert!(parts[0].0 != whole[0].0, "each part has its own statistics");
    }
}

fn what_differs_is_refused() {
    let told = |of_second: &str| {
        let told = at_one_table(3, |seat| {
            let options = if seat.rank == 1 { of_second } else { "lr = 1" };
            check_same(seat, &[("the device", vec![1]), ("the options", options.into())])
                .map_err(|error| error.to_string())
        });
        assert!(told.iter().all(|one| *one == told[0]), "all say the same: {told:?}");
        told[0].clone()
    };
    assert_eq!(told("lr = 1"), Ok(()));
    let error = told("lr = 2").unwrap_err();
    assert!(error.starts_with("the options: process 1 has another than process 0"), "{error}");
}
