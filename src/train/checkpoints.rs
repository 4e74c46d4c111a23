//! The states of a run's training that are kept while it goes on, so that it can be gone on with: `RUN/checkpoints`.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::environment::Environment;
use super::predictions::PREDICTIONS;
use super::run_dir::RunDir;
use super::state::{State, Unlike};
use super::{Run, Which};
use crate::disk;
use crate::nn::Network;
use crate::nn::checkpoint::Checkpoint;
use crate::reading::{content, equal, unusable};
use crate::terminal::one_line;

/// Their folder, in that of the run. It is there as long as the run is not finished.
pub const CHECKPOINTS: &str = "checkpoints";
/// States that are kept: where the newest is damaged, there is another.
const KEPT: usize = 2;

/// The states of a run.
pub struct Checkpoints {
    folder: RunDir,
    /// The newest of them, the last in time last.
    kept: Vec<Kept>,
}

struct Kept {
    steps: u32,
    /// The epoch of the best weights of that time.
    best: Option<usize>,
}

/// Where a run's training stands, as its newest state that is whole has it.
pub struct Found {
    /// The states, to go on writing them.
    pub checkpoints: Checkpoints,
    /// The newest that is whole.
    pub state: State,
    /// The weights of its best epoch.
    pub best: Option<Checkpoint>,
    /// What cannot be used, why, and what is used in its place.
    pub notes: Vec<String>,
}

impl Checkpoints {
    /// Makes the folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(run: &RunDir) -> Result<Self> {
        let folder = run.file(CHECKPOINTS);
        disk::make_folder(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self { folder: RunDir::at(folder), kept: Vec::new() })
    }

    /// Writes where the training stands, and removes what is then of no use. The best weights of that time are to have been written.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&mut self, state: &State, network: &Network) -> Result<()> {
        let steps = state.memory.steps;
        self.folder.write(&state_file(steps), &state.to_bytes(network))?;
        self.kept.retain(|kept| kept.steps != steps);
        self.kept.push(Kept { steps, best: state.course.best.as_ref().map(|best| best.epoch) });
        let older = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..older);
        let states = self.kept.iter().map(|kept| state_file(kept.steps));
        let best = self.kept.iter().filter_map(|kept| kept.best).map(best_file);
        let needed: BTreeSet<String> = states.chain(best).collect();
        for name in own_names(self.folder.path()).into_iter().filter(|name| !needed.contains(name)) {
            // What cannot be removed harms nobody.
            let _ = fs::remove_file(self.folder.file(&name));
        }
        Ok(())
    }

    /// Writes the weights of an epoch that is the best so far.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_best(&self, best: &Checkpoint) -> Result<()> {
        self.folder.write_checkpoint(&best_file(best.meta.epoch), best)
    }

    /// The newest state that was written, if it is there still.
    pub fn newest(&self) -> Option<PathBuf> {
        self.kept.last().map(|kept| self.folder.file(&state_file(kept.steps))).filter(|path| path.is_file())
    }

    /// Finds where the training of a run stands.
    ///
    /// # Errors
    /// When the run is finished, was told otherwise or began with another program, or there is no state that can be used.
    pub fn find(run: &Run) -> Result<Found> {
        let path = run.folder().join(CHECKPOINTS);
        let shown = run.folder().display();
        match fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("{shown}: {}", without_states(run.folder())),
            listed => listed.map(drop).with_context(|| format!("{}: cannot be read", path.display()))?,
        }
        let mut numbers: Vec<u32> = own_names(&path).iter().filter_map(|name| steps_of(name)).collect();
        numbers.sort_unstable();
        let environment = run.environment()?;
        let mut damaged = Vec::new();
        for steps in numbers.into_iter().rev() {
            let path = path.join(state_file(steps));
            match read(run, &environment, &path, steps) {
                Ok((state, best, note)) => {
                    let kept = Kept { steps, best: best.as_ref().map(|best| best.meta.epoch) };
                    let folder = RunDir::at(run.folder().join(CHECKPOINTS));
                    let checkpoints = Self { folder, kept: vec![kept] };
                    let before = |problem| format!("{problem}; the checkpoint before it is used");
                    let notes = damaged.into_iter().map(before).chain(note).collect();
                    return Ok(Found { checkpoints, state, best, notes });
                }
                Err(error) if error.is::<Unlike>() => return Err(error),
                Err(error) => damaged.push(one_line(&error)),
            }
        }
        match damaged.first() {
            Some(first) => bail!("{first}\nno other checkpoint of {shown} is whole: train it anew"),
            None => bail!("{shown}: {}", without_states(run.folder())),
        }
    }

    /// Removes all of them: the run is finished.
    pub fn remove(self) {
        // Where that is stopped, the newest state is left with all that belongs to it, or none is.
        let mut names = own_names(self.folder.path());
        names.sort_by_key(|name| (steps_of(name).is_none(), steps_of(name)));
        for name in names {
            // Whoever goes on from what cannot be removed comes to the same end.
            let _ = fs::remove_file(self.folder.file(&name));
        }
        let _ = fs::remove_dir(self.folder.path());
    }
}

/// Why a run has no states.
fn without_states(run: &Path) -> &'static str {
    if run.join(PREDICTIONS).is_file() {
        "is finished, so that there is nothing to go on with"
    } else {
        "its training was stopped before it began, or an older version trained it: delete the folder and train anew"
    }
}

/// A state, the weights of its best epoch, and what is to be said of these.
fn read(
    run: &Run,
    environment: &Environment,
    path: &Path,
    steps: u32,
) -> Result<(State, Option<Checkpoint>, Option<String>)> {
    let read = || -> Result<State> {
        let state = State::from_bytes(&content(path)?, run, environment)?;
        equal("steps", state.memory.steps, steps).context("by the file's name")?;
        Ok(state)
    };
    let state = read().map_err(|error| {
        let whole = error.is::<Unlike>();
        error.context(if whole { path.display().to_string() } else { unusable(path) })
    })?;
    let Some(epoch) = state.course.best.as_ref().map(|best| best.epoch) else { return Ok((state, None, None)) };
    let error = match read_best(run, path, epoch) {
        Ok(best) => return Ok((state, Some(best), None)),
        Err(error) => error,
    };
    // Until another epoch is better, the run's folder has the same weights.
    match run.checkpoint(Which::Best) {
        Ok(best) if best.meta.epoch == epoch => {
            let note = format!("{}; {} has the same weights, and is used", one_line(&error), Which::Best.file());
            Ok((state, Some(best), Some(note)))
        }
        _ => Err(error.context(format!("{}: best, epoch {epoch}", unusable(path)))),
    }
}

/// The best weights of an epoch, beside a state.
fn read_best(run: &Run, state: &Path, epoch: usize) -> Result<Checkpoint> {
    let path = state.with_file_name(best_file(epoch));
    let read = || -> Result<Checkpoint> {
        let bytes = content(&path)?;
        equal("epoch", run.meta(&bytes)?.epoch, epoch).context("by the file's name")?;
        Ok(Checkpoint::from_bytes(&bytes)?)
    };
    read().with_context(|| unusable(&path))
}

/// The names of the files of states and best weights in a folder.
fn own_names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| steps_of(name).is_some() || is_best_file(name)).collect()
}

fn state_file(steps: u32) -> String {
    format!("step-{steps:08}.safetensors")
}

fn steps_of(name: &str) -> Option<u32> {
    let steps = name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()?;
    (state_file(steps) == name).then_some(steps)
}

fn is_best_file(name: &str) -> bool {
    let epoch = || name.strip_prefix("best-")?.strip_suffix(".safetensors")?.parse().ok();
    epoch().is_some_and(|epoch| best_file(epoch) == name)
}

fn best_file(epoch: usize) -> String {
    format!("best-{epoch:04}.safetensors")
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;
    use crate::cli::{Cli, Command, TrainArgs};
    use crate::data::Rejected;
    use crate::nn::Metrics;
    use crate::nn::checkpoint::{Meta, Weights, sealed};
    use crate::train::state::{Begun, BestEpoch, Course, Memory};
    use crate::train::{CONFIG, Config, ENVIRONMENT, EpochRecord};

    const ID: &str = "0123456789abcdef0123456789abcdef";
    /// Steps an epoch, of four images each.
    const AN_EPOCH: usize = 5;

    fn arguments(options: &str) -> TrainArgs {
        let words = ["convscope"].into_iter().chain(options.split(' '));
        let Command::Train(arguments) = Cli::try_parse_from(words).unwrap().command else {
            unreachable!("the command is train")
        };
        *arguments
    }

    /// The folder of a run of three epochs that has just begun.
    fn begun() -> (TempDir, RunDir, Run, Checkpoints) {
        let options = "train --size 24 --channels 4,4 --epochs 3 --batch 4 --train-images 20 --val-images 8";
        let arguments = arguments(options);
        let config = arguments.config(&["cat", "dog"].map(String::from), [20, 8], false);
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::at(folder.path().to_path_buf());
        dir.write_json(CONFIG, &Config { id: Some(ID.into()), val_of_class: vec![4, 4], ..config }).unwrap();
        let environment = Environment { kernels: "plain".into(), run: Some(ID.into()), ..Environment::default() };
        dir.write_json(ENVIRONMENT, &environment).unwrap();
        let checkpoints = Checkpoints::create(&dir).unwrap();
        let run = Run::open(dir.path()).unwrap();
        (folder, dir, run, checkpoints)
    }

    /// What a program finds that opens the folder now.
    fn find(dir: &RunDir) -> Result<Found> {
        Checkpoints::find(&Run::open(dir.path())?)
    }

    fn metrics(seen: u32) -> Metrics {
        Metrics { loss_sum: 0.1 + f64::from(seen), correct: seen / 2, seen, broken: 0 }
    }

    /// Where such a training may stand after so many steps, every number another one.
    fn state(run: &Run, steps: usize) -> State {
        let network = run.network();
        let (epochs, batches) = (steps / AN_EPOCH, steps % AN_EPOCH);
        let record = |epoch| EpochRecord {
            epoch,
            train_loss: 0.7,
            train_acc: 0.5,
            val_loss: 0.5,
            val_acc: 0.5,
            images_per_s: 1.5,
            train_seconds: 0.1 + 0.2,
            val_seconds: 1.0,
            val_images: Some(8),
        };
        let weights = |seed| Weights::initial(network, seed);
        let trained = |seed| {
            let mut tensors = weights(seed).tensors;
            tensors.retain(|name, _| network.parameters().iter().any(|parameter| parameter.name == *name));
            tensors
        };
        let begun = Begun { batches, steps: batches, metrics: metrics(4 * batches as u32), ..Begun::new(epochs + 1) };
        let lost = ["cat 3".to_string()].into();
        let course = Course {
            begun,
            seconds: 2.5,
            records: (1..=epochs).map(record).collect(),
            lost: vec![Rejected { file: "a.png".into(), reason: "is empty".into() }],
            best: (epochs > 0).then_some(BestEpoch { epoch: epochs.div_ceil(2), val: metrics(8), lost }),
            ..Course::new(run.config().unwrap().clone(), run.environment().unwrap())
        };
        let seed = steps as u64;
        let mut own = weights(seed);
        own.counters.values_mut().for_each(|count| *count = 7);
        let averages = (steps % 2 == 1).then(|| weights(seed + 100).tensors);
        let moments = [trained(seed + 200), trained(seed + 300)];
        State { course, memory: Memory { steps: steps as u32, last_lr: 0.1 + 0.2, own, averages, moments } }
    }

    fn best(run: &Run, epoch: usize) -> Checkpoint {
        let config = run.config().unwrap();
        Checkpoint::initial(Meta {
            architecture: config.training.model.clone(),
            classes: config.classes.clone(),
            preparation: config.training.preparation,
            epoch,
            drawn: true,
            made_by: Some(ID.into()),
            val_loss: Some(0.5),
        })
    }

    fn save(checkpoints: &mut Checkpoints, run: &Run, steps: usize) -> State {
        let state = state(run, steps);
        if let Some(epoch) = state.course.best.as_ref().map(|best| best.epoch) {
            checkpoints.save_best(&best(run, epoch)).unwrap();
        }
        checkpoints.save(&state, run.network()).unwrap();
        state
    }

    fn files(dir: &RunDir) -> Vec<String> {
        let mut names = own_names(&dir.file(CHECKPOINTS));
        names.sort();
        names
    }

    #[test]
    fn the_newest_state_is_found_as_it_was_written() {
        let (_folder, dir, run, mut checkpoints) = begun();
        for steps in 0..=15 {
            let state = save(&mut checkpoints, &run, steps);
            let found = find(&dir).unwrap();
            assert!(found.state == state, "{steps} steps");
            assert_eq!(found.best.map(|best| best.meta.epoch), state.course.best.map(|best| best.epoch));
            assert!(found.notes.is_empty());
        }
        let kept = ["best-0001.safetensors", "best-0002.safetensors"];
        assert_eq!(files(&dir), [&kept[..], &["step-00000014.safetensors", "step-00000015.safetensors"]].concat());
        assert_eq!(checkpoints.newest(), Some(dir.file("checkpoints/step-00000015.safetensors")));
        fs::rename(dir.file(CHECKPOINTS), dir.file("elsewhere")).unwrap();
        assert_eq!(checkpoints.newest(), None, "it is not there any more");
        fs::rename(dir.file("elsewhere"), dir.file(CHECKPOINTS)).unwrap();
        checkpoints.remove();
        assert!(!dir.file(CHECKPOINTS).exists());
    }

    #[test]
    fn of_a_damaged_state_the_one_before_is_used() {
        let (_folder, dir, run, mut checkpoints) = begun();
        let [before, _] = [9, 12].map(|steps| save(&mut checkpoints, &run, steps));
        let file = |name: &str| dir.file(CHECKPOINTS).join(name);
        let newest = file("step-00000012.safetensors");
        let whole = fs::read(&newest).unwrap();
        for place in [9, 300, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[place] ^= 4;
            dir.write("checkpoints/step-00000012.safetensors", &bytes).unwrap();
            let found = find(&dir).unwrap();
            assert!(found.state == before && found.notes.len() == 1, "{:?}", found.notes);
            assert!(found.notes[0].contains("step-00000012.safetensors: cannot be used"), "{:?}", found.notes);
        }
        // What is no file is not waited for.
        #[cfg(unix)]
        {
            fs::remove_file(&newest).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(&newest).status().unwrap().success());
            let found = find(&dir).unwrap();
            assert!(found.state == before && found.notes[0].contains("is not a regular file"), "{:?}", found.notes);
            fs::remove_file(&newest).unwrap();
        }
        // Both have the same best weights.
        dir.write("checkpoints/step-00000012.safetensors", &whole).unwrap();
        assert!(find(&dir).unwrap().notes.is_empty());
        // The best weights have a second file in the run's folder.
        dir.write("checkpoints/best-0001.safetensors", b"cut off").unwrap();
        for epoch in [1, 2] {
            dir.write_checkpoint(Which::Best.file(), &best(&run, epoch)).unwrap();
            match find(&dir) {
                Ok(found) => {
                    assert_eq!((epoch, found.best), (1, Some(best(&run, 1))));
                    let told = "best-0001.safetensors: cannot be used";
                    assert!(found.notes.len() == 1 && found.notes[0].contains(told), "{:?}", found.notes);
                }
                Err(_) => assert_eq!(epoch, 2, "weights of the same epoch are the same"),
            }
        }
        let error = format!("{:#}", find(&dir).err().unwrap());
        assert!(error.contains("best-0001.safetensors: cannot be used"), "{error}");
        assert!(error.contains("no other checkpoint") && error.contains("train it anew"), "{error}");
        // What is gone on with is written over what is damaged.
        checkpoints.save_best(&best(&run, 1)).unwrap();
        dir.write("checkpoints/step-00000012.safetensors", &whole[..100]).unwrap();
        let mut found = find(&dir).unwrap();
        save(&mut found.checkpoints, &run, 10);
        assert_eq!(files(&dir), ["best-0001.safetensors", "step-00000009.safetensors", "step-00000010.safetensors"]);
    }

    #[test]
    fn a_run_is_gone_on_with_as_it_was_told() {
        let (_folder, dir, run, mut checkpoints) = begun();
        save(&mut checkpoints, &run, 9);
        for name in [CONFIG, ENVIRONMENT] {
            let whole = fs::read(dir.file(name)).unwrap();
            let good: Value = serde_json::from_slice(&whole).unwrap();
            let mut tried = 0;
            for (field, value) in leaves(&good) {
                let mut changed = good.clone();
                *changed.pointer_mut(&field).unwrap() = another(&value);
                dir.write_json(name, &changed).unwrap();
                let Err(error) = find(&dir) else { panic!("another {field} of {name} is accepted") };
                let error = format!("{error:#}");
                // What cannot be, or does not fit the other file, is found before what was changed.
                let told = format!("{name}: was changed since the training began: ");
                let told = error.contains(&told) && error.contains("put that back");
                tried += usize::from(told);
                assert!(told || error.contains(".json: cannot be used: "), "{field}: {error}");
            }
            assert!(tried >= 8, "{name}: {tried}");
            // What is only added counts too.
            if name == CONFIG {
                let mut changed = good.clone();
                changed["ema"] = 0.9.into();
                dir.write_json(name, &changed).unwrap();
                let error = format!("{:#}", find(&dir).err().unwrap());
                assert!(error.contains("since the training began: ema is 0.9, not null; put that back"), "{error}");
            }
            dir.write(name, &whole).unwrap();
        }
        assert!(find(&dir).is_ok());
    }

    #[test]
    fn another_network_is_told_in_words() {
        let (_folder, dir, run, mut checkpoints) = begun();
        save(&mut checkpoints, &run, 9);
        let mut config = run.config().unwrap().clone();
        config.training.model = arguments("train --model lenet5 --size 32").training(2).model;
        dir.write_json(CONFIG, &config).unwrap();
        let error = format!("{:#}", find(&dir).err().unwrap());
        let told =
            "was changed since the training began: model is lenet5, not blocks of strided convolutions; put that back";
        assert!(error.contains(told), "{error}");
    }

    /// A state of another version may have other fields: it is whole for all that.
    #[test]
    fn what_another_version_wrote_is_told() {
        let (_folder, dir, run, mut checkpoints) = begun();
        save(&mut checkpoints, &run, 9);
        let head = r#"{"course":{"run":"x","program":"0.0.9 abc"}}"#;
        dir.write("checkpoints/step-00000009.safetensors", &sealed(head, &[], &[])).unwrap();
        let error = format!("{:#}", find(&dir).err().unwrap());
        let told = "the program that began it is another version, 0.0.9 abc, not ";
        assert!(error.contains(told) && error.contains("use that one") && !error.contains("cannot be used"), "{error}");
    }

    /// The values of an object that hold no others, by their JSON pointers.
    fn leaves(value: &Value) -> Vec<(String, Value)> {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
            Value::Array(values) => values.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect(),
            _ => return vec![(String::new(), value.clone())],
        };
        let below = |(name, child)| {
            let own = leaves(child).into_iter();
            own.map(move |(path, value)| (format!("/{name}{path}"), value))
        };
        children.into_iter().flat_map(below).collect()
    }

    /// Another value of the same kind, close to this one.
    fn another(value: &Value) -> Value {
        match value {
            Value::Null => 1.into(),
            Value::Bool(value) => (!value).into(),
            Value::Number(number) => match number.as_u64() {
                Some(whole) => (whole + 1).into(),
                None => (number.as_f64().unwrap() + 0.001).into(),
            },
            Value::String(text) => format!("{text}x").into(),
            Value::Array(_) | Value::Object(_) => unreachable!("a leaf"),
        }
    }

    #[test]
    fn what_cannot_be_gone_on_with_says_why() {
        let (_folder, dir, run, mut checkpoints) = begun();
        let error = || format!("{:#}", find(&dir).err().unwrap());
        assert!(error().contains("stopped before it began"), "{}", error());
        save(&mut checkpoints, &run, 15);
        dir.write(PREDICTIONS, b"").unwrap();
        assert!(find(&dir).is_ok(), "it is not finished before the states are removed");
        checkpoints.remove();
        assert!(error().contains("is finished"), "{}", error());
        // Nobody is to delete what only cannot be read now.
        dir.write(CHECKPOINTS, b"").unwrap();
        assert!(error().contains("checkpoints: cannot be read: ") && !error().contains("delete"), "{}", error());
    }
}
