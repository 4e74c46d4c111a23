//! `train`: from images to a run's folder.

mod init;
mod learn;
mod lr_find;
mod resume;
mod tensorboard;
#[cfg(feature = "mpi")]
mod together;
mod told;

#[cfg(not(feature = "mpi"))]
use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

#[cfg(not(feature = "mpi"))]
use anyhow::ensure;
use anyhow::{Context, Result, bail};

use self::init::Init;
use self::learn::{Training, note_of_averages};
use self::lr_find::find_rate;
use self::resume::Resumed;
use self::tensorboard::{Board, TENSORBOARD};
use self::told::Event;
use super::preview::preview;
use crate::cli::{self, ModelName, TrainArgs, path_from_root};
use crate::commands::images::{Data, Source};
use crate::commands::stop::Stop;
use crate::data::augment::AugmentOptions;
use crate::data::batch::drawing_seed;
use crate::data::{Images, of_class, pets, write_rejected};
use crate::digest::Digest;
use crate::doctor::Finding;
use crate::explain::inspect::{self, Stage};
use crate::figures::ScaleBy;
use crate::gpu::Gpu;
use crate::memory;
use crate::nn::checkpoint::{Meta, Weights};
use crate::nn::{Keep, Model};
use crate::report::FeaturesPage;
use crate::stats::standing::{self, Standing};
use crate::terminal::{self, bar, counted, quoted, say, say_apart};
use crate::train::checkpoints::{Checkpoints, Found};
use crate::train::environment::Environment;
use crate::train::exchange::{Exchange, check_batch, check_images, check_same};
use crate::train::needs::{Needs, Work};
use crate::train::photo_list;
use crate::train::predictions::{self, PREDICTIONS};
use crate::train::run_dir::{self, RUNS, RunDir};
use crate::train::state::{Course, State};
use crate::train::{CONFIG, Config, ENVIRONMENT, MODEL, PROGRAM, Trainer, Which};

/// Loss and accuracy by epoch.
const CURVES: &str = "curves.svg";
/// The files that are not used, and why.
const REJECTED: &str = "rejected.csv";

pub(super) fn train(arguments: TrainArgs) -> Result<ExitCode> {
    #[cfg(feature = "mpi")]
    return together::train(arguments);
    #[cfg(not(feature = "mpi"))]
    {
        // Each of them would train a network of its own.
        let processes = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"].iter().find_map(|name| env::var(name).ok()?.parse().ok());
        ensure!(
            processes.is_none_or(|processes: usize| processes < 2),
            "mpirun started this program, which was built without MPI: build it with `cargo build --release --features mpi` (docs/large.md)"
        );
        train_with(arguments, None)
    }
}

/// Trains alone, or as the first of several processes.
fn train_with(mut arguments: TrainArgs, exchange: Option<&dyn Exchange>) -> Result<ExitCode> {
    if arguments.quiet {
        terminal::quieten();
    }
    if arguments.json {
        terminal::keep_for_results();
    }
    arguments.check()?;
    let said = arguments.preparation.normalize.is_some();
    let resumed = arguments.resume.as_deref().map(|run| Resumed::open(run, &arguments)).transpose()?;
    if let Some(resumed) = &resumed {
        resumed.use_kernels(&mut arguments.device);
    }
    // What was begun has the weights that it goes on from.
    let init = arguments.init.as_deref().filter(|_| resumed.is_none()).map(Init::read).transpose()?;
    init.as_ref().map_or(Ok(()), |init| init.prepare(&mut arguments))?;
    let arguments = &arguments;
    if let Some(file) = &arguments.preview {
        let seed = drawing_seed(arguments.seed, init.as_ref().map(Init::digest));
        return preview(arguments, seed, file).map(|()| ExitCode::SUCCESS);
    }
    if resumed.is_none() {
        super::check_out(
            arguments.out.as_deref(),
            Path::new(RUNS),
            [&arguments.data, &arguments.val].into_iter().flatten(),
        )?;
    }
    let mut gpu = super::open(&arguments.device)?;
    if let Some(resumed) = &resumed {
        gpu = resumed.with_tiles(gpu);
    }
    super::say_adapter(&gpu);
    if let Some(resumed) = &resumed {
        resumed.check_device(&gpu)?;
        resumed.tell();
    }
    let processes = exchange.map_or(1, Exchange::size);
    if let Some(exchange) = exchange {
        // The others open theirs when this one knows which kernels are the faster.
        exchange.wait_for_all();
        say(format!("         {processes} processes train together"));
    }

    // What costs little and may be refused comes first; reading all photos comes last.
    let source = Source::of(arguments);
    let found = source.scan()?;
    if let Some(found) = &found
        && arguments.val_share.is_some()
        && found.val.is_some()
    {
        let root = found.root.display();
        bail!("--val-share: --data {root} has validation images of its own; leave the option out");
    }
    if let Some(found) = &found {
        super::images::tell_folders(found);
    }
    let classes = found.as_ref().map_or(pets::CLASSES.len(), |found| found.classes.len());
    let training = arguments.training(classes);
    let architecture = training.model.clone();
    let network = cli::built(&architecture, classes)?.prepared(training.preparation);
    let channels: Vec<String> = network.blocks().iter().map(|block| block.output[0].to_string()).collect();
    let known = architecture.known_as().map_or(String::new(), |name| format!("{name}: "));
    say(format!("network  {known}blocks of {} channels, {} weights", channels.join(", "), network.parameter_count()));
    let random = Weights::initial(&network, training.seed);
    let weights = match &init {
        Some(init) => {
            let told = init.told(training.preparation, said);
            let weights = init.weights(&training, &network, &random)?;
            told.iter().for_each(say);
            weights
        }
        None => random,
    };
    if exchange.is_some() {
        check_batch(arguments.batch, network.least_batch(), processes)?;
    }
    let images = source.count(found.as_ref());
    let needs = Needs::of(&Work {
        network: &network,
        batch: arguments.batch / processes,
        images,
        kept: source.most_kept(images),
        averages: training.extras.ema.is_some(),
        report: !arguments.no_report && !arguments.lr_find,
        shares_memory: gpu.shares_memory(),
        reads: gpu.reads(),
    });
    check_needs(arguments, &needs)?;
    let model = Model::new(&gpu, &network, arguments.batch / processes, Keep::Needed)?.with_frozen(training.freeze);

    let split = found.as_ref().is_some_and(|found| found.val.is_none());
    let (run, mut data, begun) = match resumed {
        Some(resumed) => {
            let data = source.divide(found)?;
            resumed.check_images(&data)?;
            if arguments.data.is_some() {
                // It may be lost or damaged, and all later commands need it.
                photo_list::write(&resumed.dir, &data.list)?;
            }
            (resumed.dir, data, Some(resumed.found))
        }
        None => {
            let run = RunDir::create(arguments.out.as_deref())?;
            let divided = source.divide(found).and_then(|data| {
                init.as_ref().map_or(Ok(()), |init| init.check_judges(&data.list))?;
                Ok(data)
            });
            match divided {
                Ok(data) => (run, data, None),
                Err(error) => {
                    run.give_up();
                    return Err(error);
                }
            }
        }
    };
    if exchange.is_some()
        && let Err(error) = check_images([data.train.len(), data.val.len()], network.least_batch(), processes)
    {
        run.give_up();
        return Err(error);
    }
    tell(&data, arguments.data.is_none(), split);
    let augment = training.augmentation();
    let usual = AugmentOptions { flip: true, ..AugmentOptions::default() };
    if augment != usual || !training.preparation.is_usual() {
        say(format!("         prepared by {}; training images {}", training.preparation, augment.told()));
    }
    let (course, kept_before) = match begun {
        Some(Found { checkpoints, state: State { course, memory }, best, .. }) => {
            (course, Some((checkpoints, memory, best)))
        }
        None => {
            let init = init.as_ref().map(Init::digest);
            (begin(arguments, init, &data, &run, split, (&gpu, exchange))?, None)
        }
    };
    let (id, drawing_seed) = (course.config.id.clone(), course.config.drawing_seed());

    say("kernels  compiling: the first time this takes a while");
    let compiling = bar("{msg} [{bar:30}] {elapsed}", 0).with_message("compiling kernels");
    let started = Instant::now();
    let mut recipe = training.recipe(&of_class(data.train.as_ref(), classes), drawing_seed);
    if arguments.lr_find {
        // Averages would be of rates that no training has.
        recipe.ema = None;
    }
    let mut trainer = Trainer::together(&gpu, &model, &weights, recipe, exchange, |done, all| {
        compiling.set_length(all as u64);
        compiling.set_position(done as u64);
    })?;
    compiling.finish_and_clear();
    if let Some(exchange) = exchange {
        check_all_alike(exchange, &gpu, &training, &data, &weights, drawing_seed)?;
    }
    say(format!("         ready after {:.1} s", started.elapsed().as_secs_f64()));
    if arguments.lr_find {
        let suggested = find_rate(&mut trainer, &data, &run, &course.config)?;
        if arguments.json {
            let (lr, fall) = (suggested.map(|found| found.lr), suggested.map(|found| found.fall));
            Event::LrFound { run: run.path().display().to_string(), lr, fall }.print();
        }
        return Ok(ExitCode::SUCCESS);
    }
    // It is written, and of a large set it takes much memory.
    data.list = Vec::new();
    if let Some(note) =
        note_of_averages(&training.extras, arguments.epochs() * data.train.len().div_ceil(arguments.batch))
    {
        say(note);
    }

    let drawn = arguments.data.is_none();
    let meta = |epoch, val_loss| Meta {
        architecture: architecture.clone(),
        classes: data.classes.clone(),
        preparation: training.preparation,
        epoch,
        drawn,
        made_by: id.clone(),
        val_loss: Some(val_loss),
    };
    let (checkpoints, best) = match kept_before {
        Some((checkpoints, memory, best)) => {
            trainer.recall(&memory, course.begun.batches > 0)?;
            (checkpoints, best)
        }
        None => (Checkpoints::create(&run)?, None),
    };
    if arguments.json {
        let (train_images, val_images) = (data.train.len(), data.val.len());
        let (run, parameters) = (run.path().display().to_string(), network.parameter_count());
        let (epochs, epochs_before) = (arguments.epochs(), course.records.len());
        Event::Start { run, classes: &data.classes, train_images, val_images, epochs, epochs_before, parameters }
            .print();
    }
    let board = if arguments.tensorboard {
        let (_, image) = first_readable(data.val.as_ref())?;
        Some(Board::new(&gpu, &model, &run, image, arguments.scale)?)
    } else {
        None
    };
    // A signal ends several processes at once, as they would wait for this one.
    let stop = if exchange.is_some() { Stop::never() } else { Stop::listen()? };
    let (data_of, run_of) = (&data, &run);
    let mut training =
        Training { arguments, data: data_of, run: run_of, checkpoints, course, best, stop: &stop, meta: &meta };
    let Some(learned) = training.learn(&mut trainer, board).transpose() else {
        training.tell_stopped();
        return Ok(ExitCode::from(stop.status()));
    };
    // What follows is done again where it is stopped.
    stop.ignore();
    let Training { checkpoints, course, .. } = training;
    let finished = learned.and_then(|best| {
        model.load(&gpu, &best.weights);
        let epoch = best.meta.epoch;
        finish(arguments, (&gpu, &model), &trainer, data, &run, [course.records.len(), epoch]).map(|()| epoch)
    });
    let epoch = finished.map_err(|error| match kept(&run, &checkpoints) {
        Some(kept) => super::with_kept(error, &kept),
        None => error,
    })?;
    checkpoints.remove();
    tell_written(arguments, &run, epoch);
    if arguments.json {
        Event::End { run: run.path().display().to_string(), best_epoch: epoch }.print();
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how good the best weights are, which the model has, and draws the pages: after so many epochs, by the weights of that one.
fn finish(
    arguments: &TrainArgs,
    (gpu, model): (&Gpu, &Model),
    trainer: &Trainer<'_>,
    data: Data,
    run: &RunDir,
    [epochs, best]: [usize; 2],
) -> Result<()> {
    let caution = tell_standing(&data, run, trainer, epochs, best)?;
    let reported = if arguments.no_report {
        Ok(())
    } else {
        super::report::afterwards(gpu, run.path(), Some(data.val.as_ref()), None, arguments.scale)
    };
    draw_features(gpu, model, data, run, best, caution, arguments.scale)?;
    reported
}

/// Says what lies in the run's folder, whose best weights are those of this epoch.
fn tell_written(arguments: &TrainArgs, run: &RunDir, epoch: usize) {
    if let Some(held) = memory::held() {
        say(format!("memory   {} at most", memory::shown(held.peak)));
    }
    say_apart(format!("wrote {}", run.path().display()));
    if !arguments.no_report {
        say("  report.html                  everything on one page: open this first");
    }
    say("  features/index.html          what each block makes of one validation image");
    say(format!(
        "  best.safetensors             weights of epoch {epoch}, also for PyTorch; last.safetensors the last"
    ));
    say(format!("  {PREDICTIONS}              what these weights say of every validation image"));
    say(format!("  {CURVES}                   loss and accuracy by epoch"));
    say("  metrics.csv, metrics.jsonl   one line an epoch; config.json and environment.json say how it was made");
    if arguments.tensorboard {
        let shown = run.file(TENSORBOARD).display().to_string();
        say(format!("  {TENSORBOARD}/                 for `tensorboard --logdir {}`", quoted(&shown)));
    }
}

/// Says what a training needs of memory and of the disk, and checks that it is there.
fn check_needs(arguments: &TrainArgs, needs: &Needs) -> Result<()> {
    // What is gone on with has its folder, and settings that stay as they are.
    let resumed = arguments.resume.is_some();
    let needs = if arguments.lr_find { needs.without_disk() } else { *needs };
    say(format!("needs    {}", needs.told()));
    needs.check_memory(if resumed {
        "lower --cache"
    } else {
        "lower --cache, --batch, --size, or --channels or --width"
    })?;
    if resumed { Ok(()) } else { needs.check_disk(arguments.out.as_deref().unwrap_or(Path::new(RUNS))) }
}

/// How to go on with a training from the newest of its states, if there is one.
fn kept(run: &RunDir, checkpoints: &Checkpoints) -> Option<String> {
    let (newest, run) = (checkpoints.newest()?, run.path().display().to_string());
    let newest = newest.display();
    Some(format!("the training is kept as it was in {newest}; go on with: convscope train --resume {}", quoted(&run)))
}

/// The device, and the other processes, if there are any.
type Place<'a> = (&'a Gpu, Option<&'a dyn Exchange>);

/// Writes what a new run is before it is trained.
fn begin(
    arguments: &TrainArgs,
    init: Option<Digest>,
    data: &Data,
    run: &RunDir,
    split: bool,
    (gpu, exchange): Place<'_>,
) -> Result<Course> {
    let config = arguments.config(&data.classes, [data.train.len(), data.val.len()], split);
    let id = run_dir::new_id();
    let val_of_class = of_class(data.val.as_ref(), data.classes.len());
    let (photo_list, init_sha256) = (data.photo_list(), init.map(|digest| digest.to_string()));
    let mut config = Config { id: Some(id.clone()), val_of_class, photo_list, init_sha256, ..config };
    if let Some(ModelName::File { text, .. }) = &arguments.model.model {
        // The file that was named may change; the command that trains like this again names the run's own.
        run.write(MODEL, text.as_bytes())?;
        config.training.model_file = Some(path_from_root(&run.file(MODEL)));
    }
    if arguments.data.is_some() {
        write_rejected(&run.file(REJECTED), &data.rejected)?;
    }
    let processes = exchange.map(Exchange::size);
    let environment = Environment { processes, ..Environment::of(gpu, arguments.seed, &id) };
    // What only looks for a learning rate is no run.
    if !arguments.lr_find {
        run.write_json(CONFIG, &config)?;
        run.write_json(ENVIRONMENT, &environment)?;
        if arguments.data.is_some() {
            photo_list::write(run, &data.list)?;
        }
    }
    Ok(Course::new(config, environment))
}

/// Checks that all processes train the same network, by the same recipe, on the same images, and on devices of one kind.
fn check_all_alike(
    exchange: &dyn Exchange,
    gpu: &Gpu,
    training: &crate::train::Training,
    data: &Data,
    weights: &Weights,
    drawing_seed: u64,
) -> Result<()> {
    let Environment { adapter, driver, driver_info, kernels, .. } = Environment::of(gpu, 0, "");
    let device = [adapter, driver, driver_info, kernels].join(" ");
    let first: Vec<u8> = weights.tensors.values().flatten().flat_map(|value| value.to_le_bytes()).collect();
    // Drawn images follow from the options and their number.
    let images = format!("{} {} {:?} {:?}", data.train.len(), data.val.len(), data.classes, data.photo_list());
    // A file that lists layers may lie elsewhere on another machine.
    let options = crate::train::Training { model_file: None, ..training.clone() };
    check_same(
        exchange,
        &[
            ("the program", PROGRAM.into()),
            ("the device", device.into()),
            ("the options", serde_json::to_vec(&options)?),
            ("the images", images.into()),
            ("the first weights", first),
            // Of equal seeds and weights: another file may hold the same weights.
            ("the file of --init", drawing_seed.to_le_bytes().into()),
        ],
    )
}

/// Says what there is to learn from.
fn tell(data: &Data, drawn: bool, split: bool) {
    let (train, val) = (data.train.len(), data.val.len());
    if drawn {
        say(format!(
            "data     {train} + {val} synthetic images of cats and dogs, drawn by this program (--data takes your \
             photos)"
        ));
        return;
    }
    let how = if split { ", validation set aside at random" } else { "" };
    say(format!("data     {train} + {val} photos of {}{how}", data.classes.join(", ")));
    if !data.rejected.is_empty() {
        say(format!("         files that are not used: {}; rejected.csv names them and why", data.rejected.len()));
    }
    if let Some(first) = data.contradictory.first() {
        let count = data.contradictory.len();
        say(format!("         in several classes, so only learned from: {}, such as {first}", counted(count, "image")));
    }
    if let Some(finding) = Finding::unequal(&data.classes, &of_class(data.train.as_ref(), data.classes.len())) {
        say(format!("note: {}; `convscope doctor` says what else a folder suffers from", finding.told()));
    }
}

/// Writes down what the best weights, which the model has taken, say of every validation image, and says how good that is.
/// Returns what is to be said first of the network, where there is a reason for caution.
fn tell_standing(
    data: &Data,
    run: &RunDir,
    trainer: &Trainer<'_>,
    epochs: usize,
    best: usize,
) -> Result<Option<String>> {
    let (predictions, _) = trainer.predict(data.val.as_ref(), &mut |_| {})?;
    predictions::write(run, &predictions, data.val.as_ref(), &data.classes)?;
    let standing = Standing::of_confusion(&predictions::confusion(&predictions, data.classes.len()), epochs);
    let caution = standing::caution(standing.as_ref());
    best_lines(best, standing, caution.as_deref()).iter().for_each(say);
    Ok(caution)
}

/// How the best epoch does. The caution has the figures where there is one.
fn best_lines(best: usize, standing: Option<Standing>, caution: Option<&str>) -> Vec<String> {
    match (caution, standing) {
        (Some(caution), _) => vec![format!("best     epoch {best}"), format!("note: {caution}")],
        (None, Some(standing)) => vec![format!("best     epoch {best}: {standing}")],
        (None, None) => vec![format!("best     epoch {best}")],
    }
}

/// The first image that can still be read: its number, and its pixels.
fn first_readable(images: &dyn Images) -> Result<(usize, Vec<u8>)> {
    let readable = (0..images.len()).find_map(|index| Some((index, images.pixels(index).ok()?.into_owned())));
    readable.context("none of the validation images can be read any more")
}

/// Shows the feature maps of the first validation image that can still be read. Needs memory of its own, so it takes
/// the data, whose kept images have done their service.
fn draw_features(
    gpu: &Gpu,
    model: &Model,
    data: Data,
    run: &RunDir,
    epoch: usize,
    caution: Option<String>,
    by: ScaleBy,
) -> Result<()> {
    let (index, pixels) = first_readable(data.val.as_ref())?;
    let (image, truth, size) = (data.val.name(index), data.val.label(index) as usize, data.val.size());
    let classes = data.classes.clone();
    drop(data);
    let look = inspect::look(gpu, model, &pixels, Stage::Relu)?;
    let predicted = look.predicted();
    let page = FeaturesPage {
        image: &image,
        input: &super::square(size, pixels),
        prediction: (&classes[predicted], look.probabilities[predicted]),
        truth: Some(&classes[truth]),
        weights: &super::weights_shown(run.path(), Which::Best, epoch),
        notes: caution.as_slice(),
        layers: &inspect::layers(&look, model.network(), Stage::Relu),
        by,
    };
    let (text, sheets) = (page.page()?, page.sheets()?);
    // A process that was stopped may have begun with it.
    let folder = run.file("features");
    let folder = if folder.is_dir() { RunDir::at(folder) } else { RunDir::below(run.path(), "features")? };
    super::write_images(&folder, &sheets)?;
    folder.write(super::INDEX, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_best_epoch_are_said_once() {
        for (right, note) in [(50, true), (90, false)] {
            let standing = Some(Standing { right, images: 100, commonest: Some(50), epochs: 3 });
            let lines = best_lines(2, standing, standing::caution(standing.as_ref()).as_deref());
            let text = lines.join("\n");
            assert!(text.starts_with("best     epoch 2"), "{text}");
            assert_eq!(text.matches("of 100 images right").count(), 1, "{text}");
            assert_eq!(text.contains("note: "), note, "{text}");
        }
    }
}
