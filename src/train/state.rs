//! Where a training stands: all that it goes on from, bit for bit.
//!
//! Order, changes and dropout masks of a step depend on the seed, the epoch, the image and the step's number alone, so that beside the
//! numbers on the device little is needed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::{CONFIG, Config, ENVIRONMENT, EpochRecord, PROGRAM, Run, Training};
use crate::data::Rejected;
use crate::nn::checkpoint::{Weights, read_counter, read_tensor, sealed, unsealed};
use crate::nn::{Metrics, Network, Parameter};
use crate::reading::{amount, differences, differences_of_networks, equal, parsed, within};

/// Tensors by their key in PyTorch's `state_dict`, in PyTorch's layout.
pub type Tensors = BTreeMap<String, Vec<f32>>;

/// An epoch that has begun, or will next: what has come of it so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// Its number, from 1.
    pub epoch: usize,
    /// Batches of its order that it is through with.
    pub batches: usize,
    /// Steps that were made of them: a batch none of whose images can be read makes none.
    pub steps: usize,
    /// Loss and accuracy so far.
    pub metrics: Metrics,
    /// Images that could not be read.
    pub rejected: Vec<Rejected>,
}

impl Begun {
    /// An epoch of which nothing is done.
    pub fn new(epoch: usize) -> Self {
        Self { epoch, batches: 0, steps: 0, metrics: Metrics::default(), rejected: Vec::new() }
    }
}

/// The numbers on the device that the next step depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Steps that were made.
    pub steps: u32,
    /// Learning rate of the last.
    pub last_lr: f64,
    /// The weights and running statistics that the next step moves, and what each batch norm had counted before the first.
    pub own: Weights,
    /// Their averages, where there are any yet.
    pub averages: Option<Tensors>,
    /// The optimiser's two numbers for each weight.
    pub moments: [Tensors; 2],
}

/// The best epoch so far. Its weights have a file of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestEpoch {
    /// Its number.
    pub epoch: usize,
    /// How it did on the validation images.
    pub val: Metrics,
    /// Those that could not be read then.
    pub lost: BTreeSet<String>,
}

/// What a run has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// What the run was told, as its folder had it when it began.
    pub config: Config,
    /// Where it began.
    pub environment: Environment,
    /// The program, with a hash of its sources.
    pub program: String,
    /// The epoch that it is in.
    pub begun: Begun,
    /// Seconds for that epoch's training so far.
    pub seconds: f64,
    /// The epochs before.
    pub records: Vec<EpochRecord>,
    /// The images that could no longer be read in these epochs.
    pub lost: Vec<Rejected>,
    /// The best of them.
    pub best: Option<BestEpoch>,
}

/// Where a training stands.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What the run has come to.
    pub course: Course,
    /// The numbers on the device.
    pub memory: Memory,
}

/// Why a state that is whole cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum Unlike {
    /// Another build of the program wrote it.
    #[error(
        "the program that began it is another version, {0}, not {PROGRAM}: the two may compute otherwise; use that one, or train anew"
    )]
    Program(String),
    /// A file of the run says something else than when its training began.
    #[error("{file}: was changed since the training began: {}; put that back, or train anew", .differences.join("; "))]
    Changed {
        /// Its path.
        file: String,
        /// What it says, and what it said.
        differences: Vec<String>,
    },
}

/// What the file of a state says beside its tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    steps: u32,
    last_lr: f64,
    averages: bool,
    course: Course,
}

/// The tensors of a file are grouped: the name of a group, a slash, the key.
const OWN: &str = "own";
const AVERAGES: &str = "averages";
const MOMENTS: [&str; 2] = ["first", "second"];

impl State {
    /// The bytes of a safetensors file, with their SHA-256.
    pub fn to_bytes(&self, network: &Network) -> Vec<u8> {
        let Self { course, memory } = self;
        let shapes: BTreeMap<String, Vec<usize>> = parameters(network).map(|one| (one.name, one.shape)).collect();
        let groups = [(OWN, &memory.own.tensors), (MOMENTS[0], &memory.moments[0]), (MOMENTS[1], &memory.moments[1])];
        let groups = groups.into_iter().chain(memory.averages.as_ref().map(|averages| (AVERAGES, averages)));
        let tensors: Vec<_> = groups
            .flat_map(|(group, tensors)| tensors.iter().map(move |(name, values)| (group, name, values)))
            .map(|(group, name, values)| (format!("{group}/{name}"), shapes[name].clone(), &values[..]))
            .collect();
        let counters: Vec<_> =
            memory.own.counters.iter().map(|(name, count)| (format!("{OWN}/{name}"), *count)).collect();
        let head = Head {
            steps: memory.steps,
            last_lr: memory.last_lr,
            averages: memory.averages.is_some(),
            course: course.clone(),
        };
        let head = serde_json::to_string(&head).expect("a course is always valid JSON");
        sealed(&head, &tensors, &counters)
    }

    /// Reads what [`State::to_bytes`] made, of a training of this run, whose folder has this environment.
    ///
    /// # Errors
    /// When the file is damaged, or is that of another run; [`Unlike`] when another program wrote it, or the run was told otherwise.
    pub(crate) fn from_bytes(bytes: &[u8], run: &Run, environment: &Environment) -> Result<Self> {
        let (file, head) = unsealed(bytes)?;
        let head = head.context("it does not say where the training stands")?;
        check_program(head.as_bytes())?;
        let Head { steps, last_lr, averages, course } = parsed(head.as_bytes())?;
        course.check(run, environment, steps)?;
        amount("last_lr", last_lr)?;
        let network = run.network();
        let all: Vec<Parameter> = parameters(network).collect();
        let trained = network.parameters();
        let read = |group: &str, parameters: &[Parameter]| -> Result<Tensors> {
            let named = |one: &Parameter| {
                let grouped = Parameter { name: format!("{group}/{}", one.name), ..one.clone() };
                Ok((one.name.clone(), read_tensor(&file, &grouped)?))
            };
            parameters.iter().map(named).collect()
        };
        let own = read(OWN, &all)?;
        let moments = [read(MOMENTS[0], &trained)?, read(MOMENTS[1], &trained)?];
        let averages = if averages { Some(read(AVERAGES, &all)?) } else { None };
        let counter = |name: String| -> Result<(String, i64)> {
            let count = read_counter(&file, &format!("{OWN}/{name}"))?;
            Ok((name, count))
        };
        let counters: BTreeMap<_, _> = network.counters().map(counter).collect::<Result<_>>()?;
        let expected = own.len() + counters.len() + 2 * trained.len() + averages.as_ref().map_or(0, BTreeMap::len);
        equal("the number of tensors", file.names().len(), expected).context("by averages")?;
        let memory = Memory { steps, last_lr, own: Weights { tensors: own, counters }, averages, moments };
        Ok(Self { course, memory })
    }
}

fn parameters(network: &Network) -> impl Iterator<Item = Parameter> {
    network.parameters().into_iter().chain(network.statistics())
}

impl Course {
    /// That of a run that is about to begin.
    pub fn new(config: Config, environment: Environment) -> Self {
        let (program, begun) = (PROGRAM.into(), Begun::new(1));
        Self { config, environment, program, begun, seconds: 0.0, records: Vec::new(), lost: Vec::new(), best: None }
    }

    /// Holds it against the settings of its run.
    fn check(&self, run: &Run, here: &Environment, steps: u32) -> Result<()> {
        let Self { config, environment, program: _, begun, seconds, records, lost, best } = self;
        run.check_run(&config.id).context("config.id")?;
        unchanged(run, CONFIG, differences_of_settings(run.config()?, config))?;
        unchanged(run, ENVIRONMENT, differences("", here, environment))?;
        let (epochs, batch) = (config.training.epochs, config.training.batch);
        let an_epoch = config.train_images.div_ceil(batch);
        let Begun { epoch, batches, steps: of_epoch, metrics, rejected: unread } = begun;
        within("epoch", *epoch, 1..=epochs + 1)?;
        equal("epoch", *epoch, records.len() + 1).context("by the number of records")?;
        within("batches", *batches, 0..=if *epoch > epochs { 0 } else { an_epoch - 1 })?;
        within("steps", *of_epoch, 0..=*batches).context("by batches")?;
        let before = (epoch - 1) * an_epoch;
        within("steps", steps as usize, *of_epoch..=before + of_epoch).context("by the epochs before")?;
        check_metrics(metrics, of_epoch * batch).context("metrics of the epoch that has begun")?;
        amount("seconds", *seconds)?;
        if !records.is_empty() {
            run.check_metrics(records).context("records")?;
        }
        for Rejected { file, reason } in lost.iter().chain(unread) {
            ensure!(!file.is_empty() && !reason.is_empty(), "an image that is lost: file or reason is empty");
        }
        ensure!(best.is_some() != records.is_empty(), "best: expected where an epoch is over, and nowhere else");
        if let Some(BestEpoch { epoch, val, .. }) = best {
            within("epoch", *epoch, 1..=records.len()).context("best")?;
            ensure!(val.seen > 0, "best: seen is 0: expected at least 1");
            check_metrics(val, config.val_images).context("best")?;
        }
        Ok(())
    }
}

/// Checks that this program wrote the head of a state. Another one may have given it another form.
fn check_program(head: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Head {
        course: Course,
    }
    #[derive(Deserialize)]
    struct Course {
        program: String,
    }
    let Head { course: Course { program } } = parsed(head)?;
    ensure!(program == PROGRAM, Unlike::Program(program));
    Ok(())
}

/// What settings say otherwise than others.
fn differences_of_settings(here: &Config, then: &Config) -> Vec<String> {
    let (own, other) = (&here.training, &then.training);
    let mut found = differences_of_networks("model", &own.model, &other.model);
    let training: Training = own.with_network_of(other);
    found.extend(differences("", &Config { training, ..here.clone() }, then));
    found
}

/// Checks that a file of a run's folder says what it said.
fn unchanged(run: &Run, file: &str, differences: Vec<String>) -> Result<()> {
    let file = run.file(file).display().to_string();
    ensure!(differences.is_empty(), Unlike::Changed { file, differences });
    Ok(())
}

/// Checks metrics of at most so many images.
fn check_metrics(Metrics { loss_sum, correct, seen, broken }: &Metrics, most: usize) -> Result<()> {
    amount("loss_sum", *loss_sum)?;
    within("seen", *seen as usize, 0..=most)?;
    within("correct", correct, &0..=seen).context("by seen")?;
    equal("broken", *broken, 0)
}
