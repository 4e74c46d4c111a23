//! `train` by the processes that `mpirun` has started.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Error, Result, bail};
use pollster::block_on;

use super::init::Init;
use super::{check_all_alike, train_with};
use crate::cli::{self, TrainArgs};
use crate::commands::images::Source;
use crate::data::batch::drawing_seed;
use crate::data::{of_class, pets};
use crate::gpu::{AdapterChoice, adapters};
use crate::nn::checkpoint::Weights;
use crate::nn::{Keep, Model};
use crate::terminal::{self, quieten};
use crate::train::Trainer;
use crate::train::exchange::{Exchange, check_batch, check_images};
use crate::train::mpi::World;

/// For how long the second process and each after it keeps an error to itself: one that all have the first one tells.
const SILENCE: Duration = Duration::from_secs(2);

/// Trains alone, or together with the other processes. An error of one ends them all.
pub(super) fn train(mut arguments: TrainArgs) -> Result<ExitCode> {
    let world = World::join()?;
    if world.size() == 1 {
        return train_with(arguments, None);
    }
    if world.rank() > 0 {
        quieten();
    }
    let done = of_several(&arguments).and_then(|()| {
        arguments.device.adapter = own_adapter(&arguments, world.local_rank());
        if world.rank() == 0 { train_with(arguments, Some(&world)) } else { follow(arguments, &world) }
    });
    match done {
        Ok(code) => Ok(code),
        Err(error) => end_all(&world, &error),
    }
}

fn end_all(world: &World, error: &Error) -> ! {
    thread::sleep(SILENCE * world.rank() as u32);
    terminal::fail(error);
    world.end_all()
}

/// Refuses what only one process does.
fn of_several(arguments: &TrainArgs) -> Result<()> {
    let alone = [
        ("lr-find", arguments.lr_find),
        ("preview", arguments.preview.is_some()),
        ("resume", arguments.resume.is_some()),
    ];
    if let Some((option, _)) = alone.iter().find(|(_, asked)| *asked) {
        bail!("--{option}: one process does that; start it without mpirun");
    }
    Ok(())
}

/// The adapter of the process of this number on its machine, unless one was typed: the GPUs in turn, or else what there is.
fn own_adapter(arguments: &TrainArgs, number: usize) -> Option<AdapterChoice> {
    let found = block_on(adapters());
    // The best come first.
    let gpus = found.iter().filter(|adapter| adapter.get_info().device_type != wgpu::DeviceType::Cpu).count();
    let usable = if gpus > 0 { gpus } else { found.len() };
    arguments.device.adapter.clone().or((usable > 1).then(|| AdapterChoice::Number(number % usable)))
}

/// Trains as a process that is not the first: without a folder, and without a word.
fn follow(mut arguments: TrainArgs, world: &World) -> Result<ExitCode> {
    arguments.check()?;
    let init = arguments.init.as_deref().map(Init::read).transpose()?;
    init.as_ref().map_or(Ok(()), |init| init.prepare(&mut arguments))?;
    world.wait_for_all();
    let gpu = crate::commands::open(&arguments.device)?;
    let source = Source::of(&arguments);
    let found = source.scan()?;
    let classes = found.as_ref().map_or(pets::CLASSES.len(), |found| found.classes.len());
    let training = arguments.training(classes);
    let network = cli::built(&training.model, classes)?.prepared(training.preparation);
    let random = Weights::initial(&network, training.seed);
    let seed = drawing_seed(training.seed, init.as_ref().map(Init::digest));
    let weights = match init {
        Some(init) => init.weights(&training, &network, &random)?,
        None => random,
    };
    check_batch(arguments.batch, network.least_batch(), world.size())?;
    let data = source.divide(found)?;
    check_images([data.train.len(), data.val.len()], network.least_batch(), world.size())?;
    let model = Model::new(&gpu, &network, arguments.batch / world.size(), Keep::Needed)?.with_frozen(training.freeze);
    let recipe = training.recipe(&of_class(data.train.as_ref(), classes), seed);
    let mut trainer = Trainer::together(&gpu, &model, &weights, recipe, Some(world), |_, _| {})?;
    check_all_alike(world, &gpu, &training, &data, &weights, seed)?;
    for epoch in 1..=arguments.epochs() {
        trainer.train(data.train.as_ref(), epoch, &mut |_| {})?;
        trainer.evaluate(data.val.as_ref(), &mut |_| {})?;
        if trainer.all_stop(false) {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
