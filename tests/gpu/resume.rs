//! A training that is gone on with from any of its steps, bit for bit.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use convscope::data::augment::AugmentOptions;
use convscope::data::drawn::{Drawn, Subject};
use convscope::gpu::{AdapterChoice, Gpu, GpuError, Kernels};
use convscope::nn::checkpoint::Weights;
use convscope::nn::{Keep, Metrics, Model, Network, Optimizer, StepOptions, Strided};
use convscope::train::state::{Begun, Memory};
use convscope::train::{Keeper, Recipe, Schedule, Trainer};
use libtest_mimic::Trial;

use crate::common::trial;
use crate::{gpu_with, recipe};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("resume::each_step_follows_from_the_state_before_it", each_step_follows_from_the_state_before_it),
        trial("resume::training_comes_to_the_same_end", || comes_to_the_same_end(|step| step % 7 == 3)),
        // Sixty trainings, where nine say as much: cargo test --test gpu resume -- --ignored
        trial("resume::from_each_step_training_comes_to_the_same_end", || comes_to_the_same_end(|_| true))
            .with_ignored_flag(true),
        trial("resume::a_training_outlives_its_device", a_training_outlives_its_device),
    ]
}

const SIDE: usize = 20;
const BATCH: usize = 6;
/// Ten steps an epoch, the last of four images.
const IMAGES: usize = 58;
const AN_EPOCH: usize = 10;
const EPOCHS: usize = 6;

fn network() -> Network {
    Strided { channels: vec![4, 4], dropout: 0.2, ..Strided::dogs_vs_cats(SIDE, 2) }.build().unwrap()
}

/// The images, drawn once.
fn drawn() -> &'static Drawn {
    static DRAWN: OnceLock<Drawn> = OnceLock::new();
    DRAWN.get_or_init(|| Drawn::new(Subject::Pets, 0, 0, IMAGES, SIDE as u32, 1 << 20))
}

/// Recipes in which everything that a step depends on occurs, and frozen blocks of each.
fn recipes() -> Vec<(&'static str, Recipe, usize)> {
    let sgd = Optimizer::Sgd { momentum: 0.9, weight_decay: 0.01 };
    let all =
        AugmentOptions { flip: true, crop_scale: Some([0.3, 1.0]), rotate: 15.0, color_jitter: Some([0.3, 0.2, 0.1]) };
    let step = StepOptions { label_smoothing: 0.1, class_weights: Some(vec![0.5, 1.5]), clip_grad_norm: Some(0.5) };
    let adam = Optimizer::Adam { weight_decay: 0.01 };
    vec![
        ("adam", recipe(), 0),
        ("sgd with momentum", Recipe { optimizer: sgd, ..recipe() }, 0),
        ("averages", Recipe { ema: Some(0.9), optimizer: adam, ..recipe() }, 0),
        ("averages, a frozen block", Recipe { ema: Some(0.7), optimizer: sgd, ..recipe() }, 1),
        ("a cosine after a warmup", Recipe { schedule: Schedule::Cosine { epochs: 1.5 }, warmup: 0.5, ..recipe() }, 0),
        ("one cycle", Recipe { schedule: Schedule::OneCycle { epochs: 2 }, ..recipe() }, 0),
        ("falls", Recipe { schedule: Schedule::Step { every: 1.3, factor: 0.5 }, ..recipe() }, 0),
        ("another loss", Recipe { step, ..recipe() }, 0),
        ("all changes of images", Recipe { augment: all, ..recipe() }, 0),
    ]
}

/// What a step left behind, and is followed by.
#[derive(Clone, Debug, PartialEq)]
struct Stand {
    begun: Begun,
    memory: Memory,
}

/// Notes where the training stands after each step, and stops it after so many.
struct Noting {
    stands: Vec<Stand>,
    most: usize,
}

impl Keeper for Noting {
    fn is_due(&mut self) -> bool {
        true
    }

    fn keep(&mut self, trainer: &mut Trainer<'_>, begun: &Begun) -> anyhow::Result<ControlFlow<()>> {
        self.stands.push(Stand { begun: begun.clone(), memory: trainer.memory()? });
        Ok(if self.stands.len() == self.most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Trains on up to the end of `epochs`, and notes up to `most` stands; and what came of each epoch that came to its end.
fn train(trainer: &mut Trainer<'_>, begun: Begun, epochs: usize, most: usize) -> (Vec<Stand>, Vec<Metrics>) {
    let mut noting = Noting { stands: Vec::new(), most };
    let (mut begun, mut metrics) = (begun, Vec::new());
    while begun.epoch <= epochs && noting.stands.len() < most {
        let epoch = begun.epoch;
        let Some(done) = trainer.train_on(drawn(), begun, &mut |_| {}, &mut noting).unwrap() else { break };
        metrics.push(done.metrics);
        begun = Begun::new(epoch + 1);
        noting.stands.push(Stand { begun: begun.clone(), memory: trainer.memory().unwrap() });
    }
    (noting.stands, metrics)
}

/// Runs a test with a trainer of this recipe, and its first weights.
fn with_trainer(recipe: &Recipe, frozen: usize, test: impl FnOnce(&mut Trainer<'_>, &Weights)) {
    let gpu = gpu_with(Kernels::Plain);
    let model = Model::new(gpu, &network(), BATCH, Keep::Needed).unwrap().with_frozen(frozen);
    let first = Weights::initial(&network(), 3);
    test(&mut Trainer::new(gpu, &model, &first, recipe.clone(), |_, _| {}).unwrap(), &first);
}

/// Leaves a trainer as one that has done something else.
fn spoil(trainer: &mut Trainer<'_>, recipe: &Recipe) {
    trainer.restart(&Weights::initial(&network(), 8), Recipe { seed: 4, ..recipe.clone() });
    train(trainer, Begun::new(2), 2, 1);
    trainer.restart(&Weights::initial(&network(), 9), recipe.clone());
}

/// So that from each step the same end is reached. The first recipe has sixty steps, the others twenty: an epoch is left and another entered.
fn each_step_follows_from_the_state_before_it() {
    for (name, recipe, frozen) in recipes() {
        let epochs = if name == "adam" { EPOCHS } else { 2 };
        with_trainer(&recipe, frozen, |trainer, _| {
            let first = Stand { begun: Begun::new(1), memory: trainer.memory().unwrap() };
            let (stands, whole) = train(trainer, Begun::new(1), epochs, usize::MAX);
            assert_eq!((stands.len(), whole.len()), (AN_EPOCH * epochs, epochs), "{name}");
            let (mut before, mut ended) = (first, Vec::new());
            for (step, stand) in (1..).zip(&stands) {
                spoil(trainer, &recipe);
                trainer.recall(&before.memory, before.begun.batches > 0).unwrap();
                let (again, metrics) = train(trainer, before.begun.clone(), epochs, 1);
                assert!(again[0] == *stand, "{name}: step {step}");
                ended.extend(metrics);
                before = stand.clone();
            }
            assert_eq!(ended, whole, "{name}");
        });
    }
}

/// The same from end to end, with the averages that stand in the model then: from the steps that are wanted.
fn comes_to_the_same_end(wanted: impl Fn(usize) -> bool) {
    let recipe = Recipe { ema: Some(0.9), optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0 }, ..recipe() };
    with_trainer(&recipe, 0, |trainer, _| {
        let (stands, whole) = train(trainer, Begun::new(1), EPOCHS, usize::MAX);
        assert_eq!(stands.len(), AN_EPOCH * EPOCHS);
        let end = trainer.weights().unwrap();
        for (step, stand) in (1..).zip(&stands).filter(|&(step, _)| wanted(step)) {
            spoil(trainer, &recipe);
            trainer.recall(&stand.memory, stand.begun.batches > 0).unwrap();
            let mut begun = stand.begun.clone();
            let mut metrics = Vec::new();
            while begun.epoch <= EPOCHS {
                let epoch = begun.epoch;
                let done = trainer.train_on(drawn(), begun, &mut |_| {}, &mut Never).unwrap().unwrap();
                metrics.push(done.metrics);
                begun = Begun::new(epoch + 1);
            }
            assert!(trainer.weights().unwrap() == end, "from step {step}");
            assert_eq!(metrics, whole[EPOCHS - metrics.len()..], "from step {step}");
        }
    });
}

/// Notes where the training stands after each step, and loses the device after the last of them.
struct Losing<'a> {
    noting: Noting,
    gpu: &'a Gpu,
}

impl Keeper for Losing<'_> {
    fn is_due(&mut self) -> bool {
        true
    }

    fn keep(&mut self, trainer: &mut Trainer<'_>, begun: &Begun) -> anyhow::Result<ControlFlow<()>> {
        if self.noting.keep(trainer, begun)?.is_break() {
            self.gpu.device().destroy();
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Whatever is asked of a device that was lost in the middle of a training, the error is the device's. On another one the training goes on
/// from what was noted last, to the same end.
fn a_training_outlives_its_device() {
    let recipe = recipe();
    let whole =
        |trainer: &mut Trainer<'_>| (train(trainer, Begun::new(1), 2, usize::MAX).1, trainer.weights().unwrap());
    let mut expected = None;
    with_trainer(&recipe, 0, |trainer, _| expected = Some(whole(trainer)));
    for step in [1, 7] {
        let gpu = pollster::block_on(Gpu::open(&AdapterChoice::Best)).unwrap().with_kernels(Kernels::Plain).unwrap();
        let first = Weights::initial(&network(), 3);
        let model = Model::new(&gpu, &network(), BATCH, Keep::Needed).unwrap();
        let mut trainer = Trainer::new(&gpu, &model, &first, recipe.clone(), |_, _| {}).unwrap();
        let mut losing = Losing { noting: Noting { stands: Vec::new(), most: step }, gpu: &gpu };
        let errors = [
            trainer.train_on(drawn(), Begun::new(1), &mut |_| {}, &mut losing).err(),
            trainer.evaluate(drawn(), &mut |_| {}).err(),
            trainer.logits(drawn(), &mut |_| {}).err(),
            trainer.memory().err(),
            trainer.weights().err(),
            Trainer::new(&gpu, &model, &first, recipe.clone(), |_, _| {}).err(),
        ];
        for error in errors {
            let error = error.expect("the device is lost");
            assert!(matches!(error.downcast_ref(), Some(GpuError::Failed(_))), "{error:#}");
        }

        let Stand { begun, memory } = losing.noting.stands.pop().unwrap();
        with_trainer(&recipe, 0, |trainer, _| {
            trainer.recall(&memory, begun.batches > 0).unwrap();
            let (_, metrics) = train(trainer, begun, 2, usize::MAX);
            assert!(Some((metrics, trainer.weights().unwrap())) == expected, "from step {step}");
        });
    }
}

/// Notes nothing.
struct Never;

impl Keeper for Never {
    fn is_due(&mut self) -> bool {
        false
    }

    fn keep(&mut self, _: &mut Trainer<'_>, _: &Begun) -> anyhow::Result<ControlFlow<()>> {
        unreachable!("it is never due")
    }
}
