//! `train`: from images to a run's folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Error, Result, bail};

use super::preview::preview;
use crate::cli::{self, ModelName, TrainArgs, path_from_root};
use crate::commands::images::{Data, Source};
use crate::data::augment::Augment;
use crate::data::{of_class, pets, write_rejected};
use crate::doctor::Finding;
use crate::explain::inspect::{self, Stage};
use crate::figures::{LineChart, LineStyle, ScaleBy, Series, file_of};
use crate::gpu::Gpu;
use crate::nn::checkpoint::{Checkpoint, CheckpointError, Meta, Weights};
use crate::nn::{Keep, Model, Network};
use crate::reading::no_file;
use crate::report::{FeaturesPage, curves};
use crate::stats::standing::{self, Standing, commonest_share};
use crate::terminal::{self, bar, counted, say, say_apart};
use crate::train::environment::Environment;
use crate::train::lr_find::{STEPS, Suggestion, Tried, suggestion};
use crate::train::predictions::{self, PREDICTIONS};
use crate::train::run_dir::{self, RUNS, RunDir};
use crate::train::{Best, EpochRecord, Extras, Progress, Trainer};
use crate::train::{Config, Training, Which};

/// Loss and accuracy by epoch.
const CURVES: &str = "curves.svg";
/// The steps of a range test, and its curve.
const LR_FIND: [&str; 2] = ["lr_find.csv", "lr_find.svg"];

/// The share of the loss that must have been lost for a suggested rate to mean much.
const TELLING_FALL: f64 = 0.05;

/// The file that lists the layers of a run's network, where one did.
const MODEL: &str = "model.toml";

pub(super) fn train(arguments: &TrainArgs) -> Result<()> {
    if arguments.quiet {
        terminal::quieten();
    }
    arguments.check()?;
    if let Some(file) = &arguments.preview {
        return preview(arguments, file);
    }
    super::check_out(
        arguments.out.as_deref(),
        Path::new(RUNS),
        [&arguments.data, &arguments.val].into_iter().flatten(),
    )?;
    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);

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
    let weights = start(&training, &network)?;
    let model = Model::new(&gpu, &network, arguments.batch, Keep::Needed)?.with_frozen(training.freeze);

    let run = RunDir::create(arguments.out.as_deref())?;
    let split = found.as_ref().is_some_and(|found| found.val.is_none());
    let data = match source.divide(found) {
        Ok(data) => data,
        Err(error) => {
            run.give_up();
            return Err(error);
        }
    };
    tell(&data, arguments.data.is_none(), split);
    let augment = training.augmentation();
    let usual = Augment { flip: true, ..Augment::default() };
    if augment != usual || !training.preparation.is_usual() {
        say(format!("         prepared by {}; training images {}", training.preparation, augment.told()));
    }
    let config = arguments.config(&data.classes, [data.train.len(), data.val.len()], split);
    let id = run_dir::new_id();
    let val_of_class = of_class(data.val.as_ref(), classes);
    let mut config = Config { id: Some(id.clone()), val_of_class, val_list: data.val_list(), ..config };
    if let Some(ModelName::File { text, .. }) = &arguments.model.model {
        // The file that was named may change; the command that trains like this again names the run's own.
        run.write(MODEL, text.as_bytes())?;
        config.training.model_file = Some(path_from_root(&run.file(MODEL)));
    }
    if arguments.data.is_some() {
        write_rejected(&run.file("rejected.csv"), &data.rejected)?;
    }
    // What only looks for a learning rate is no run.
    if !arguments.lr_find {
        run.write_json("config.json", &config)?;
        run.write_json("environment.json", &Environment::of(&gpu, arguments.seed, &id))?;
        if arguments.data.is_some() {
            data.record_validation(&run)?;
        }
    }

    say("kernels  compiling: the first time this takes a while");
    let compiling = bar("{msg} [{bar:30}] {elapsed}", 0).with_message("compiling kernels");
    let started = Instant::now();
    let mut recipe = training.recipe(&of_class(data.train.as_ref(), classes), training.seed);
    if arguments.lr_find {
        // Averages would be of rates that no training has.
        recipe.ema = None;
    }
    let mut trainer = Trainer::new(&gpu, &model, &weights, recipe, |done, all| {
        compiling.set_length(all as u64);
        compiling.set_position(done as u64);
    })?;
    compiling.finish_and_clear();
    say(format!("         ready after {:.1} s", started.elapsed().as_secs_f64()));
    if arguments.lr_find {
        return find_rate(&mut trainer, &data, &run, &config);
    }
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
        made_by: Some(id.clone()),
        val_loss: Some(val_loss),
    };
    let (best, epochs) = learn(arguments, &data, &run, &mut trainer, meta)?;
    model.load(&gpu, &best.weights);
    let caution = tell_standing(&data, &run, &trainer, epochs, best.meta.epoch)?;
    let reported = if arguments.no_report {
        Ok(())
    } else {
        super::report::afterwards(&gpu, run.path(), Some(data.val.as_ref()), None, arguments.scale)
    };
    draw_features(&gpu, &model, data, &run, best.meta.epoch, caution, arguments.scale)?;
    reported?;

    if let Some(peak) = super::peak_rss_mb() {
        say(format!("memory   {peak:.0} MB at most"));
    }
    say_apart(format!("wrote {}", run.path().display()));
    if !arguments.no_report {
        say("  report.html                  everything on one page: open this first");
    }
    say("  features/index.html          what each block makes of one validation image");
    let epoch = best.meta.epoch;
    say(format!(
        "  best.safetensors             weights of epoch {epoch}, also for PyTorch; last.safetensors the last"
    ));
    say(format!("  {PREDICTIONS}              what these weights say of every validation image"));
    say(format!("  {CURVES}                   loss and accuracy by epoch"));
    say("  metrics.csv, metrics.jsonl   one line an epoch; config.json and environment.json say how it was made");
    Ok(())
}

/// The weights that training starts from. Says where they come from, unless they are random.
fn start(training: &Training, network: &Network) -> Result<Weights> {
    let random = Weights::initial(network, training.seed);
    let Some(init) = &training.init else { return Ok(random) };
    if let Some(problem) = no_file(Path::new(init)) {
        bail!("--init {init}: {problem}");
    }
    let bytes = fs::read(init).with_context(|| format!("--init {init}: cannot be read"))?;
    let (weights, anew) = Weights::to_go_on_from(&bytes, network, &random).map_err(|error| {
        let problem = match error {
            CheckpointError::Unreadable(_) => "name a .safetensors file, such as best.safetensors of a run",
            _ => "its weights are not those of this network: choose theirs by --model or --channels",
        };
        Error::new(error).context(format!("--init {init}: {problem}"))
    })?;
    say(format!("start    from {init}"));
    if let Ok(Meta { preparation, .. }) = Meta::from_bytes(&bytes)
        && preparation != training.preparation
    {
        say(format!(
            "note: these weights have learned from images prepared by {}, and now get images prepared by {}",
            preparation, training.preparation
        ));
    }
    if anew {
        say(format!("         but for the last layer, which starts anew for these {} classes", network.classes()));
    }
    if training.freeze > 0 {
        let blocks =
            if training.freeze == 1 { "block 1 stays".into() } else { format!("blocks 1 to {} stay", training.freeze) };
        say(format!("         {blocks} as in that file"));
    }
    Ok(weights)
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

/// Tries rising learning rates, writes what became of them, and suggests one.
fn find_rate(trainer: &mut Trainer<'_>, data: &Data, run: &RunDir, config: &Config) -> Result<()> {
    let bar = bar("{msg} [{bar:30}] {elapsed}", STEPS as u64).with_message("rising learning rates");
    let tried = trainer.find_rate(data.train.as_ref(), &mut |steps| bar.set_position(steps as u64))?;
    bar.finish_and_clear();
    let suggested = suggestion(&tried);
    let [table, chart] = LR_FIND;
    run.write_table(table, |table| tried.iter().try_for_each(|tried| table.serialize(tried)))?;
    run.write(chart, file_of(&[rates(&tried, suggested.map(|found| found.lr)).draw_powers()]).as_bytes())?;
    say_apart(format!("wrote {}", run.path().display()));
    say(format!(
        "  {chart}                  the loss by learning rate: is there a long fall around the suggested one?"
    ));
    say(format!("  {table}                  the same as a table"));
    let last = tried[tried.len() - 1].lr;
    say_apart(format!(
        "tried    {} steps at learning rates from {:e} to {}",
        tried.len(),
        tried[0].lr,
        two_digits(last)
    ));
    let Some(Suggestion { lr, fall }) = suggested else {
        say(
            "         the loss never fell, so no rate is suggested: try a larger --batch, or look at the images with `convscope doctor`",
        );
        return Ok(());
    };
    let rate = two_digits(lr);
    let training = Training { lr: rate, ..config.training.clone() };
    say(format!("suggest  --lr {rate}  (fastai's rule \"valley\")"));
    if fall < TELLING_FALL {
        say(format!(
            "note: the loss fell by only {:.1} %, so the suggested rate means little: look at {chart}, try a larger --batch, or trust the default",
            100.0 * fall
        ));
    }
    say(format!("next     {}", Config { training, ..config.clone() }.command()));
    Ok(())
}

/// A learning rate rounded: more digits would say more than the test knows.
fn two_digits(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().expect("it was written as a number")
}

/// The smoothed loss by the power of ten of the learning rate. Where it explodes it is drawn only so far that its fall can still be
/// seen.
fn rates(tried: &[Tried], suggested: Option<f64>) -> LineChart<'static> {
    let mut points: Vec<_> = tried.iter().map(|tried| (tried.lr.log10(), tried.smoothed_loss)).collect();
    let losses = || tried.iter().map(|tried| tried.smoothed_loss);
    let least = losses().fold(f64::INFINITY, f64::min);
    let bottom = losses().position(|loss| loss == least).unwrap_or(0);
    let most = losses().take(bottom + 1).fold(least, f64::max);
    let most = most + ((most - least) / 2.0).max(0.05 * most);
    if let Some(over) = (bottom..points.len()).find(|&step| points[step].1 > most) {
        let [(x, y), (next_x, next_y)] = [points[over - 1], points[over]];
        points.truncate(over);
        points.push((x + (next_x - x) * (most - y) / (next_y - y), most));
    }
    let mark = suggested.map(|rate| Series {
        name: format!("suggested: {}", two_digits(rate)),
        points: [least, most].map(|loss| (rate.log10(), loss)).to_vec(),
        look: LineStyle::Dashed(1),
    });
    let loss = Series { name: "smoothed loss".into(), points, look: LineStyle::Solid(0) };
    LineChart {
        label: "training loss by learning rate",
        x: "learning rate",
        y: "mean loss",
        whole: true,
        holds: Vec::new(),
        series: mark.into_iter().chain([loss]).collect(),
    }
}

/// A caution where after so many steps much of the averages is still what training began with.
fn note_of_averages(extras: &Extras, steps: usize) -> Option<String> {
    let decay = extras.ema?;
    let left = decay.powf(steps as f64);
    // With this decay one part in a thousand is left.
    let lower = (-7.0 / steps as f64).exp();
    (left > 0.05).then(|| {
        format!(
            "note: after all {steps} steps {:.0} % of the averages will still be the first weights: lower --ema to {} or less",
            100.0 * left,
            (1000.0 * lower).floor() / 1000.0
        )
    })
}

/// Trains for all epochs, or until no more patience is left, and returns the checkpoint with the highest validation accuracy, and how many
/// epochs there were.
fn learn(
    arguments: &TrainArgs,
    data: &Data,
    run: &RunDir,
    trainer: &mut Trainer<'_>,
    meta: impl Fn(usize, f64) -> Meta,
) -> Result<(Checkpoint, usize)> {
    let epochs = arguments.epochs();
    let mut rejected = data.rejected.clone();
    let mut records = Vec::with_capacity(epochs);
    let mut best: Option<Best> = None;
    let images = (data.train.len() + data.val.len()) as u64;
    let guessing =
        [&data.train, &data.val].map(|images| commonest_share(&of_class(images.as_ref(), data.classes.len())));
    say("         in brackets: what always naming the commonest class would get right");
    let bar = bar("{msg} [{bar:30}] {percent} %  {rate} images/s  ETA {eta}", images * epochs as u64);
    for epoch in 1..=epochs {
        let before = images * (epoch as u64 - 1);
        let mut show = |progress: Progress| {
            bar.set_position(before + progress.images as u64);
            if let Some(metrics) = progress.metrics {
                let loss = metrics.loss();
                let accuracy = beside(metrics.accuracy(), guessing[0]);
                bar.set_message(format!("epoch {epoch}/{epochs}  loss {loss:.4}  acc {accuracy}"));
            }
        };
        bar.set_message(format!("epoch {epoch}/{epochs}"));
        let started = Instant::now();
        let (train, vanished) = trainer.train(data.train.as_ref(), epoch, &mut show)?;
        let train_seconds = started.elapsed().as_secs_f64();

        let started = Instant::now();
        let before = before + data.train.len() as u64;
        let mut show = |progress: Progress| bar.set_position(before + progress.images as u64);
        let (val, lost) = trainer.evaluate(data.val.as_ref(), &mut show)?;
        let known = rejected.len();
        rejected.extend(vanished.into_iter().chain(lost.iter().cloned()));
        rejected.sort();
        rejected.dedup();
        if rejected.len() > known {
            write_rejected(&run.file("rejected.csv"), &rejected)?;
            let lost = [rejected.len() - known, lost.len(), data.val.len()];
            bar.suspend(|| say(line_of_lost(lost)));
        }

        let checkpoint = Checkpoint {
            meta: meta(epoch, val.loss()),
            network: trainer.network().clone(),
            weights: trainer.weights()?,
        };
        let record = EpochRecord {
            epoch,
            train_loss: train.loss(),
            train_acc: train.accuracy(),
            val_loss: val.loss(),
            val_acc: val.accuracy(),
            images_per_s: f64::from(train.seen) / train_seconds,
            train_seconds,
            val_seconds: started.elapsed().as_secs_f64(),
            val_images: Some(val.seen as usize),
        };
        let lost: BTreeSet<String> = lost.into_iter().map(|lost| lost.file).collect();
        let better = match &mut best {
            Some(best) => best.is_beaten_by(&val, &lost, trainer, data.val.as_ref())?,
            None => true,
        };
        // The weights first, so that after a stop no line speaks of weights that are not there.
        run.write_checkpoint(Which::Last.file(), &checkpoint)?;
        if better {
            run.write_checkpoint(Which::Best.file(), &checkpoint)?;
            best = Some(Best { val, lost, checkpoint });
        }
        bar.suspend(|| say(line(&record, epochs, guessing, better)));
        records.push(record);
        run.write_metrics(&records)?;
        run.write(CURVES, file_of(&curves(&records, Some(guessing[1]))).as_bytes())?;
        let since = best.as_ref().map_or(0, |best| epoch - best.checkpoint.meta.epoch);
        if epoch < epochs && arguments.extras.patience == Some(since) {
            let last = counted(since, "epoch");
            bar.suspend(|| {
                say(format!("stop     {last} after epoch {} brought nothing better (--patience)", epoch - since))
            });
            break;
        }
    }
    bar.finish_and_clear();
    Ok((best.expect("there is at least one epoch").checkpoint, records.len()))
}

/// Tells of images that can no longer be read: how many more than before, and how many of the validation images are missing.
fn line_of_lost([more, lost, val]: [usize; 3]) -> String {
    let judged = if lost > 0 {
        format!("; this epoch is judged by {} of {val} validation images", val - lost)
    } else {
        String::new()
    };
    format!("note: images that can no longer be read: {more} more, named in rejected.csv{judged}")
}

/// `guessing` is the share that always naming the commonest class gets right, of the images to train on and to validate on.
fn line(record: &EpochRecord, epochs: usize, guessing: [f64; 2], better: bool) -> String {
    format!(
        "epoch {:2}/{epochs}  train loss {:.4}  acc {}   val loss {:.4}  acc {}   {:.0} images/s{}",
        record.epoch,
        record.train_loss,
        beside(record.train_acc, guessing[0]),
        record.val_loss,
        beside(record.val_acc, guessing[1]),
        record.images_per_s,
        if better { "  best so far" } else { "" }
    )
}

/// An accuracy with that of guessing: " 98.2 % (50.0)".
fn beside(accuracy: f64, guessing: f64) -> String {
    format!("{:5.1} % ({:.1})", 100.0 * accuracy, 100.0 * guessing)
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
    let readable = (0..data.val.len()).find_map(|index| Some((index, data.val.pixels(index).ok()?.into_owned())));
    let (index, pixels) = readable.context("none of the validation images can be read any more")?;
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
    let folder = RunDir::below(run.path(), "features")?;
    super::write_images(&folder, &sheets)?;
    folder.write(super::INDEX, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explosion_does_not_hide_the_fall() {
        let tried = |losses: &[f64]| -> Vec<Tried> {
            let step = |(step, &loss): (usize, &f64)| Tried {
                step: step + 1,
                lr: 10f64.powi(step as i32 - 5),
                loss,
                smoothed_loss: loss,
            };
            losses.iter().enumerate().map(step).collect()
        };
        let drawn = |losses: &[f64]| -> Vec<(f64, f64)> { rates(&tried(losses), None).series[0].points.clone() };
        let points = drawn(&[0.7, 0.8, 0.6, 0.65, 1.65, 40.0]);
        assert_eq!(points[..4], [(-5.0, 0.7), (-4.0, 0.8), (-3.0, 0.6), (-2.0, 0.65)]);
        // Half the fall above its highest place, on the way to the next step.
        let (x, y) = points[4];
        assert!(points.len() == 5 && (y - 0.9).abs() < 1e-9 && (x + 1.75).abs() < 1e-9, "{points:?}");
        assert_eq!(drawn(&[0.7, 0.5]).len(), 2, "where nothing explodes all is drawn");
        for losses in [&[1.0][..], &[1.0, 1e6], &[1.0, 1.0, 1.0]] {
            assert!(drawn(losses).iter().all(|(x, y)| x.is_finite() && y.is_finite()), "{losses:?}");
        }
        let marked = rates(&tried(&[0.7, 0.5]), Some(0.001_234));
        assert_eq!(marked.series[0].name, "suggested: 0.0012");
    }

    #[test]
    fn averages_that_keep_the_first_weights_are_told() {
        let note = |ema, steps| note_of_averages(&Extras { ema, ..Extras::default() }, steps);
        assert_eq!(note(None, 10), None);
        assert_eq!(note(Some(0.99), 1000), None);
        let told = note(Some(0.999), 150).unwrap();
        assert!(told.contains("after all 150 steps 86 % of the averages") && told.contains("--ema to 0.954"), "{told}");
        assert_eq!(note(Some(0.954), 150), None, "what is advised helps");
    }

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
