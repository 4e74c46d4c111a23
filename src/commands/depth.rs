//! `depth`: a cross-validated study, unit by unit, from images to an answer.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::HumanDuration;

use crate::bench::Setting;
use crate::cli::{DepthArgs, Share};
use crate::commands::images::{Pool, Source};
use crate::commands::stop::say_when_stopped;
use crate::data::split::{Distinct, Split, refit_seed};
use crate::data::{Images, Subset, write_rejected};
use crate::disk;
use crate::gpu::Gpu;
use crate::nn::checkpoint::{Checkpoint, Meta, Weights};
use crate::nn::{Keep, Model};
use crate::report::{DepthStudy, REPORT};
use crate::study::findings::{self, Findings};
use crate::study::reading;
use crate::study::test_look::{REFITS, TEST_FILE, TestLook, TestedNetwork};
use crate::study::unit::{self, UNITS, Unit};
use crate::study::{Candidate, Identity, PROGRAM, STUDY_FILE, Study};
use crate::terminal::quoted;
use crate::terminal::{self, Bar, bar, counted, say, say_apart};
use crate::train::Trainer;
use crate::train::needs;
use crate::train::photo_list::{self, Changes, PHOTOS, Photo};
use crate::train::run_dir::{self, RUNS, RunDir};

/// Folder of the weights of the networks that meet the test set.
const REFIT_FOLDER: &str = "refit";
/// What is said of the test set where the study found nothing.
const NOTHING_TO_CONFIRM: &str = "The test set is not looked at: there is nothing to confirm.";
/// Batches that are timed for the estimate, after one that is not.
const TIMED_BATCHES: usize = 3;

pub(super) fn depth(arguments: &DepthArgs) -> Result<()> {
    if arguments.train.quiet {
        terminal::quieten();
    }
    let out = arguments.train.out.clone().unwrap_or_else(|| PathBuf::from(RUNS).join("depth"));
    let folder = RunDir::at(out);
    if arguments.collect {
        let study = Study::read(&folder)?;
        study.check_program()?;
        disk::sweep(folder.path());
        let findings = collect(&folder, &study)?;
        match TestLook::recorded(&folder, &study)? {
            Some(look) => show(&look, "recorded earlier"),
            None if !findings.conclusive => say_apart(NOTHING_TO_CONFIRM),
            None => say_apart("The test set has not been looked at; the study's command without --collect does that."),
        }
        return write_pages(&folder, arguments);
    }
    arguments.check()?;
    if let Some(data) = &arguments.train.data {
        super::check_apart(folder.path(), [Some(data), arguments.train.val.as_ref()].into_iter().flatten())?;
    }
    run_dir::check_place(folder.path()).with_context(|| format!("--out {}", folder.path().display()))?;
    let gpu = super::open(&arguments.train.device)?;
    super::say_adapter(&gpu);

    let source = Source::of(&arguments.train);
    let found = source.scan()?;
    if let Some(found) = &found {
        super::images::tell_folders(found);
    }
    let pool = source.pool(found, arguments.images)?;
    let settings = arguments.settings(pool.classes.len(), gpu.kernels());
    let candidates = settings.candidates()?;
    let distinct = Distinct::find(pool.images.as_ref(), &pool.classes)?;
    let numbers = [settings.folds, settings.repeats];
    let split = Split::new(pool.images.as_ref(), &distinct.kept, &pool.classes, numbers, settings.training.seed)?;
    let of_class = |class: u32| split.dev.iter().filter(|&&index| pool.images.label(index) == class).count();
    let study = Study {
        identity: Identity { program: PROGRAM.into(), data: distinct.hash.clone(), settings },
        classes: pool.classes.clone(),
        dev_images: split.dev.len(),
        commonest_class: (0..).zip(&pool.classes).map(|(class, _)| of_class(class)).max().unwrap_or_default(),
        test_images: split.test.len(),
        duplicates: distinct.duplicates,
        contradictory: distinct.contradictory.len(),
        rejected: pool.rejected.len(),
        photos: arguments.train.absolute_data(),
        folders: arguments.train.folders(),
    };
    check_photos(&folder, &study, &pool.list)?;
    let study = study.check(&folder)?;
    tell(&study, &pool, &distinct);

    needs::check_network(&gpu, &candidates[0].network, arguments.train.batch, Keep::Needed)?;
    let models: Vec<Model> = candidates
        .iter()
        .map(|candidate| Model::new(&gpu, &candidate.network, arguments.train.batch, Keep::Needed))
        .collect::<Result<_, _>>()?;
    let runners = models.iter().map(|_| None).collect();
    let mut workshop = Workshop {
        gpu: &gpu,
        models: &models,
        candidates: &candidates,
        study: &study,
        pool: &pool,
        split: &split,
        runners,
    };
    let to_do = workshop.to_do(&folder, arguments.unit)?;
    workshop.estimate(&to_do, arguments.unit.is_none())?;
    if arguments.dry_run {
        workshop.list(&to_do);
        return Ok(());
    }
    study.claim(&folder)?;
    if arguments.train.data.is_some() {
        write_rejected(&folder.file("rejected.csv"), &pool.rejected)?;
        photo_list::write(&folder, &pool.list)?;
    }
    make_folder(&folder, UNITS)?;
    let shown = folder.path().display();
    let kept = format!("what is trained is kept in {shown}; the same command goes on from there");
    say_when_stopped(kept.clone())?;
    let made = workshop.work(&folder, to_do).and_then(|()| finish(&mut workshop, &folder, arguments));
    made.map_err(|error| super::with_kept(error, &kept))
}

/// Answers the question of a study whose units are made, or are made elsewhere.
fn finish(workshop: &mut Workshop<'_>, folder: &RunDir, arguments: &DepthArgs) -> Result<()> {
    let study = workshop.study;
    if arguments.unit.is_some() {
        say("this share is done; when all are, `convscope depth --collect --out DIR` puts them together");
        return Ok(());
    }
    let findings = collect(folder, study)?;
    match TestLook::recorded(folder, study)? {
        Some(look) => show(&look, "recorded earlier, and not read again"),
        None if !findings.conclusive => say_apart(NOTHING_TO_CONFIRM),
        None => show(&workshop.look(folder, &findings)?, "looked at now, once and for all"),
    }
    say_apart(format!("wrote {}: depth.json, depth.csv; one file a unit in {UNITS}/", folder.path().display()));
    write_pages(folder, arguments)
}

/// Draws the figures of a finished study and writes its report.
fn write_pages(folder: &RunDir, arguments: &DepthArgs) -> Result<()> {
    let study = DepthStudy::read(folder.path())?;
    for (name, chart, _) in study.charts() {
        folder.write(&format!("{name}.svg"), chart.file().as_bytes())?;
    }
    if !arguments.train.no_report {
        folder.write(REPORT, study.page().as_bytes())?;
        say(format!("report   {}", folder.file(REPORT).display()));
        let typed = quoted(&folder.path().display().to_string());
        say(format!("         `convscope report RUN --depth {typed}` puts it on a run's page"));
    }
    Ok(())
}

fn make_folder(folder: &RunDir, name: &str) -> Result<()> {
    let path = folder.file(name);
    fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Checks that the photos are those that the study in a folder was begun with, if there is one, and names those that are not.
fn check_photos(folder: &RunDir, study: &Study, now: &[Photo]) -> Result<()> {
    let list = folder.file(PHOTOS);
    if !folder.file(STUDY_FILE).exists() || !list.exists() {
        return Ok(());
    }
    let begun = Study::read(folder)?;
    // Drawn images have no list. Of other classes, as of other settings, [`Study::check`] says what differs.
    if begun.identity.data == study.identity.data || now.is_empty() || begun.classes != study.classes {
        return Ok(());
    }
    let then = photo_list::read(&list, &begun.classes)?;
    let same = |then: &Photo, now: &Photo| then.class == now.class && then.content().is(now.sha256, now.pixels);
    if let Some(told) = Changes::between(&then, now, same).told() {
        bail!(
            "--out {}: holds a study of other photos than these: {told}; bring them back as they were, or name a new folder",
            folder.path().display()
        );
    }
    Ok(())
}

/// Says what is studied.
fn tell(study: &Study, pool: &Pool, distinct: &Distinct) {
    let (dev, test) = (study.dev_images, study.test_images);
    let settings = &study.identity.settings;
    let numbers = format!("{}, {}", counted(settings.folds, "fold"), counted(settings.repeats, "repeat"));
    say(format!("data     {dev} images of {} in {numbers}; {test} locked away as test set", study.classes.join(", ")));
    if !pool.rejected.is_empty() {
        say(format!("         files that are not used: {}; rejected.csv names them and why", pool.rejected.len()));
    }
    if study.duplicates > 0 {
        let doubles = counted(study.duplicates, "double");
        say(format!("         left out: {doubles}, the first of equal images is kept"));
    }
    if let Some(&first) = distinct.contradictory.first() {
        let (count, name) = (counted(study.contradictory, "image"), pool.images.name(first));
        say(format!("         left out, as an equal one has another class: {count}, such as {name}"));
    }
}

/// Puts the units together, writes the answer and says it.
fn collect(folder: &RunDir, study: &Study) -> Result<Findings> {
    let findings = findings::collect(folder, study)?;
    findings.write(folder)?;
    say("");
    findings.table().iter().for_each(say);
    if let Some(rule) = &findings.one_standard_error {
        say(format!("the one-standard-error rule would choose {} ({})", rule.choice, rule.note));
    }
    say_apart(&findings.words);
    Ok(findings)
}

fn show(look: &TestLook, when: &str) {
    say_apart(format!("test set, {} images, {when}:", look.images));
    look.lines().iter().for_each(say);
}

/// A network that is ready to be trained, again and again, and what that costs.
struct Runner<'a> {
    trainer: Trainer<'a>,
    /// Seconds to learn from an image once.
    learning: f64,
    /// Seconds to score an image.
    scoring: f64,
}

/// Everything that units are made with.
struct Workshop<'a> {
    gpu: &'a Gpu,
    models: &'a [Model],
    candidates: &'a [Candidate],
    study: &'a Study,
    pool: &'a Pool,
    split: &'a Split,
    /// One for each candidate that has been needed so far.
    runners: Vec<Option<Runner<'a>>>,
}

/// A unit that is yet to be made.
struct ToDo {
    /// Its number among all units, from 1.
    number: usize,
    unit: Unit,
    candidate: usize,
}

impl<'a> Workshop<'a> {
    fn images(&self) -> &'a dyn Images {
        self.pool.images.as_ref()
    }

    /// The units that have no result yet, of all or of a share.
    fn to_do(&self, folder: &RunDir, share: Option<Share>) -> Result<Vec<ToDo>> {
        let mut to_do = Vec::new();
        for (index, unit) in Unit::all(&self.study.identity.settings, self.candidates).into_iter().enumerate() {
            let candidate = index % self.candidates.len();
            // Turned by one with each fold, so that no share has the deepest networks alone.
            let turned = index + index / self.candidates.len();
            let mine = share.is_none_or(|share| turned % share.of == share.number - 1);
            if mine
                && !self.given_up(folder, &unit, candidate)?
                && unit::read(folder, &self.study.identity, &unit)?.is_none()
            {
                to_do.push(ToDo { number: index + 1, unit, candidate });
            }
        }
        Ok(to_do)
    }

    /// Whether the unit need not be made, because its candidate was stopped after the first repeat.
    fn given_up(&self, folder: &RunDir, unit: &Unit, candidate: usize) -> Result<bool> {
        Ok(unit.repeat > 1 && findings::given_up(folder, self.study, &self.candidates[0], &self.candidates[candidate])?)
    }

    /// Prepares the networks that are needed, and says how long their units will take.
    fn estimate(&mut self, to_do: &[ToDo], refits: bool) -> Result<()> {
        let all = Unit::all(&self.study.identity.settings, self.candidates).len();
        let done = if to_do.len() == all { String::new() } else { format!(" of {all}") };
        say(format!("units    {}{done} to make", to_do.len()));
        if to_do.is_empty() {
            return Ok(());
        }
        for candidate in to_do.iter().map(|to_do| to_do.candidate) {
            self.prepare(candidate)?;
        }
        let seconds: f64 = to_do.iter().map(|to_do| self.cost(to_do)).sum();
        say(format!("cost     about {}, less where a network is stopped after the first repeat", duration(seconds)));
        if refits && let (Some(largest), epochs) = (&self.runners[0], self.study.identity.settings.training.epochs) {
            let refits = (2 * REFITS * epochs * self.split.dev.len()) as f64 * largest.learning;
            say(format!("         and at most {} for the networks that meet the test set", duration(refits)));
        }
        Ok(())
    }

    /// Compiles the kernels of a candidate, unless that is done, and times a few of its steps.
    fn prepare(&mut self, candidate: usize) -> Result<()> {
        if self.runners[candidate].is_some() {
            return Ok(());
        }
        let compiling = bar("{msg} [{bar:30}] {elapsed}", 0);
        compiling.set_message(format!("compiling kernels of {}", self.candidates[candidate].name));
        let recipe = self.study.identity.settings.recipe(0);
        let weights = Weights::initial(&self.candidates[candidate].network, 0);
        let model = &self.models[candidate];
        let mut trainer = Trainer::new(self.gpu, model, &weights, recipe, |done, all| {
            compiling.set_length(all as u64);
            compiling.set_position(done as u64);
        })?;
        compiling.finish_and_clear();

        let some = |batches: usize| {
            let count = (batches * model.batch()).min(self.split.dev.len());
            Subset::new(self.images(), self.split.dev[..count].to_vec())
        };
        let [first, timed] = [1, TIMED_BATCHES].map(some);
        trainer.train(&first, 1, &mut |_| {})?;
        let started = Instant::now();
        trainer.train(&timed, 1, &mut |_| {})?;
        let learning = started.elapsed().as_secs_f64() / timed.len() as f64;
        trainer.logits(&first, &mut |_| {})?;
        let started = Instant::now();
        trainer.logits(&timed, &mut |_| {})?;
        let scoring = started.elapsed().as_secs_f64() / timed.len() as f64;
        self.runners[candidate] = Some(Runner { trainer, learning, scoring });
        Ok(())
    }

    /// Seconds that a unit will take, by the steps that were timed.
    fn cost(&self, to_do: &ToDo) -> f64 {
        let (learned, scored) = self.split.parts(to_do.unit.repeat, to_do.unit.fold);
        let runner = self.runners[to_do.candidate].as_ref().expect("the candidate was prepared");
        (self.study.identity.settings.training.epochs * learned.len()) as f64 * runner.learning
            + scored.len() as f64 * runner.scoring
    }

    /// Prints the units.
    fn list(&self, to_do: &[ToDo]) {
        say("number  unit                        seconds");
        for to_do in to_do {
            let ToDo { number, unit: Unit { candidate, repeat, fold }, .. } = to_do;
            let unit = format!("{candidate}, repeat {repeat}, fold {fold}");
            say(format!("{number:6}  {unit:<26} {:8.1}", self.cost(to_do)));
        }
    }

    /// Makes the units.
    fn work(&mut self, folder: &RunDir, to_do: Vec<ToDo>) -> Result<()> {
        let adapter = Setting::of(self.gpu).adapter;
        let costs: Vec<f64> = to_do.iter().map(|to_do| self.cost(to_do)).collect();
        let mut progress = Progress::new(costs.iter().sum());
        let count = to_do.len();
        for (position, (to_do, cost)) in (1..).zip(to_do.iter().zip(costs)) {
            let ToDo { unit, candidate, .. } = to_do;
            let name = format!("{}, repeat {}, fold {}", unit.candidate, unit.repeat, unit.fold);
            if self.given_up(folder, unit, *candidate)? {
                progress.skip(
                    cost,
                    &format!("unit {position:3}/{count}  {name}: not needed, stopped after the first repeat"),
                );
                continue;
            }
            let (identity, images, split) = (&self.study.identity, self.images(), self.split);
            let (learned, scored) = split.parts(unit.repeat, unit.fold);
            let all = (identity.settings.training.epochs * learned.len() + scored.len()) as f64;
            let runner = self.runners[*candidate].as_mut().expect("the candidate was prepared");
            let mut show = |images: usize| progress.show(cost * images as f64 / all, &name);
            let (trainer, candidate) = (&mut runner.trainer, &self.candidates[*candidate]);
            let result = unit::run(trainer, candidate, unit, (identity, &adapter), images, split, &mut show)?;
            folder.write_compact_json(&unit.file(), &result)?;
            let (wrong, of, error) = (result.scores.wrong, result.scores.correct.len(), result.scores.error());
            let line = format!("unit {position:3}/{count}  {name}: {wrong} of {of} wrong ({error:.1} %)");
            progress.done(cost, &line);
        }
        progress.bar.finish_and_clear();
        Ok(())
    }

    /// Trains the chosen network and the reference on all images but the test set, and looks at that.
    fn look(&mut self, folder: &RunDir, findings: &Findings) -> Result<TestLook> {
        let chosen = self
            .candidates
            .iter()
            .position(|candidate| candidate.name == findings.answer)
            .context("the answer is a candidate")?;
        let mut needed = vec![0, chosen];
        needed.dedup();
        make_folder(folder, REFIT_FOLDER)?;
        let mut trained = Vec::new();
        for &candidate in &needed {
            self.prepare(candidate)?;
            for refit in 1..=REFITS {
                trained.push((candidate, refit, self.refit(folder, candidate, refit)?));
            }
        }
        let mut networks = Vec::new();
        let test = &self.split.test;
        for (candidate, refit, weights) in trained {
            let recipe = self.study.identity.settings.recipe(0);
            let runner = self.runners[candidate].as_mut().expect("the candidate was prepared");
            runner.trainer.restart(&weights, recipe);
            let images = self.pool.images.as_ref();
            let logits = runner.trainer.logits(&Subset::new(images, test.clone()), &mut |_| {})?;
            networks.push(TestedNetwork::new(&self.candidates[candidate], refit, &logits, test, images));
        }
        let look = TestLook::new(self.study, [chosen, 0].map(|candidate| &self.candidates[candidate]), networks);
        folder.write_json(TEST_FILE, &look)?;
        Ok(look)
    }

    /// The weights of a network trained on all images but the test set; from its file where that was done earlier.
    fn refit(&mut self, folder: &RunDir, number: usize, refit: usize) -> Result<Weights> {
        let candidate = &self.candidates[number];
        let file = format!("{REFIT_FOLDER}/{}-{refit}.safetensors", candidate.name);
        let settings = &self.study.identity.settings;
        let meta = Meta {
            architecture: candidate.architecture.clone(),
            classes: self.pool.classes.clone(),
            preparation: settings.training.preparation,
            epoch: settings.training.epochs,
            drawn: self.pool.drawn,
            made_by: Some(self.study.identity.of_file(&file)),
            val_loss: None,
        };
        if let Some(earlier) = reading::weights(&folder.file(&file), &meta)? {
            return Ok(earlier.weights);
        }
        let runner = self.runners[number].as_mut().expect("the candidate was prepared");
        let dev = Subset::new(self.pool.images.as_ref(), self.split.dev.clone());
        let total = (settings.training.epochs * dev.len()) as u64;
        let bar = bar("{msg} [{bar:30}] {rate} images/s  ETA {eta}", total);
        bar.set_message(format!("{} on all but the test set, {refit}/{REFITS}", candidate.name));
        let recipe = settings.recipe(refit_seed(settings.training.seed, refit));
        let mut show = |images: usize| bar.set_position(images as u64);
        unit::learn(&mut runner.trainer, candidate, recipe, settings.training.epochs, &dev, &mut show)?;
        bar.finish_and_clear();
        let weights = runner.trainer.weights()?;
        folder.write_checkpoint(
            &file,
            &Checkpoint { meta, network: candidate.network.clone(), weights: weights.clone() },
        )?;
        say(format!("trained  {} on all but the test set, {refit}/{REFITS}", candidate.name));
        Ok(weights)
    }
}

/// How far all units have come, by the seconds that they were estimated to take.
struct Progress {
    bar: Bar,
    started: Instant,
    done: f64,
    total: f64,
}

impl Progress {
    fn new(total: f64) -> Self {
        let bar = bar("{msg} [{bar:30}] {percent} %  ETA {eta}", millis(total));
        Self { bar, started: Instant::now(), done: 0.0, total }
    }

    fn show(&self, of_unit: f64, name: &str) {
        self.bar.set_message(name.to_string());
        self.bar.set_position(millis(self.done + of_unit));
    }

    fn done(&mut self, cost: f64, line: &str) {
        self.done += cost;
        let left = self.started.elapsed().as_secs_f64() / self.done * (self.total - self.done);
        self.bar.suspend(|| say(format!("{line}, {} left", duration(left))));
    }

    fn skip(&mut self, cost: f64, line: &str) {
        self.total -= cost;
        self.bar.set_length(millis(self.total));
        self.bar.suspend(|| say(line));
    }
}

fn millis(seconds: f64) -> u64 {
    (1e3 * seconds) as u64
}

fn duration(seconds: f64) -> HumanDuration {
    HumanDuration(Duration::from_secs(seconds.max(0.0).ceil() as u64))
}
