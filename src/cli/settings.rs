//! Options of `train` and `depth` from a file: `--config`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Arg, Command, CommandFactory};
use toml::{Table, Value};

use super::{Cli, path_from_root};
use crate::disk::folder_of;
use crate::reading::{check_size, unusable};
use crate::train::{MODEL, Run, is_run};

/// The option that names the file.
const CONFIG: &str = "config";
/// The option that names a run whose training is gone on with, with its settings.
const RESUME: &str = "resume";

/// Options of one that say more of its value, and mean nothing beside another value.
const OF_ANOTHER: [(&str, &[&str]); 3] =
    [("optimizer", &["momentum"]), ("schedule", &["warmup", "step-every", "step-factor"]), ("model", &["width"])];

/// A choice in a file that another option excludes when it is typed, unless it says nothing: one cycle has a rise of its own.
const EXCLUDED: (&str, &str) = ("--schedule=one-cycle", "warmup");

/// The words of a command line, with the options of the file that `--config` names before those that were typed; and that file. Where an
/// option was typed too, or one that excludes it, that of the file is left out.
///
/// # Errors
/// When the file cannot be used, with its name.
pub fn with_settings(words: Vec<OsString>) -> Result<(Vec<OsString>, Option<OsString>)> {
    let [program, command, rest @ ..] = &words[..] else { return Ok((words, None)) };
    let Some(command_name) = ["train", "depth"].into_iter().find(|name| command == name) else {
        return Ok((words, None));
    };
    let cli = Cli::command();
    let known = cli.find_subcommand(command_name).expect("there is such a command");
    let named = |option| named(rest, option).filter(|value| !value.is_empty());
    let (options, file) = match (named(RESUME).filter(|_| command_name == "train"), named(CONFIG)) {
        // The parser refuses both together, and one that has no value.
        (Some(_), Some(_)) | (None, None) => return Ok((words, None)),
        (Some(run), None) => (of_run(Path::new(&run))?, None),
        (None, Some(file)) => (read(Path::new(&file), known)?, Some(file)),
    };
    let typed: Vec<&Arg> = rest.iter().filter_map(|word| argument(known, word)).collect();
    let excludes = |one: &Arg, other: &Arg| {
        known.get_arg_conflicts_with(one).iter().any(|excluded| excluded.get_id() == other.get_id())
    };
    let (excluded, by) = EXCLUDED;
    let rises = named(by).is_some_and(|epochs| epochs.to_str().and_then(|text| text.parse().ok()) != Some(0.0));
    let counts = |word: &&OsString| {
        if rises && *word == excluded {
            return false;
        }
        let Some(own) = argument(known, word) else { return true };
        typed.iter().all(|typed| {
            let of_another = OF_ANOTHER.iter().filter(|(option, _)| typed.get_long() == Some(option));
            let mut of_another = of_another.flat_map(|(_, options)| options.iter());
            typed.get_id() != own.get_id()
                && !excludes(typed, own)
                && !excludes(own, typed)
                && !of_another.any(|option| own.get_long() == Some(option))
        })
    };
    let words = [program, command].into_iter().chain(options.iter().filter(counts)).chain(rest).cloned().collect();
    Ok((words, file))
}

/// The options of a run whose training is gone on with.
fn of_run(folder: &Path) -> Result<Vec<OsString>> {
    let run = Run::open(folder).with_context(|| format!("--{RESUME}"))?;
    let mut config = run.config()?.clone();
    // The run may have been moved since.
    if config.training.model_file.is_some() {
        config.training.model_file = Some(path_from_root(&folder.join(MODEL)));
    }
    words_of(&config.command())
}

fn words_of(command: &str) -> Result<Vec<OsString>> {
    let words = shell_words::split(command).context("a command can be split into its words")?;
    Ok(joined(words.into_iter().skip(2)))
}

/// The option that a word begins with, long or short.
fn argument<'a>(command: &'a Command, word: &OsStr) -> Option<&'a Arg> {
    let short = || word.to_str()?.strip_prefix('-')?.chars().next();
    let long = option_and_value(word).map(|(option, _)| option);
    command.get_arguments().find(|known| match long {
        Some(long) => known.get_long() == Some(long),
        None => known.get_short().is_some() && known.get_short() == short(),
    })
}

/// What `--config`, or another such option, names.
fn named(words: &[OsString], name: &str) -> Option<OsString> {
    let at = words.iter().position(|word| option_and_value(word).is_some_and(|(option, _)| option == name))?;
    match option_and_value(&words[at])? {
        (_, Some(value)) => Some(value.into()),
        (_, None) => words.get(at + 1).cloned(),
    }
}

/// The name of a long option, and its value where that is part of the word: `--lr=0.1`.
fn option_and_value(word: &OsStr) -> Option<(&str, Option<&str>)> {
    let option = word.to_str()?.strip_prefix("--")?;
    Some(option.split_once('=').map_or((option, None), |(option, value)| (option, Some(value))))
}

/// The options of a command that a file tells, each as one word.
fn read(path: &Path, command: &Command) -> Result<Vec<OsString>> {
    let folder = if path.is_dir() { Some(path) } else { path.ends_with("config.json").then(|| folder_of(path)) };
    if let Some(folder) = folder {
        ensure!(is_run(folder) || !path.is_dir(), "--{CONFIG} {}: is not the folder of a run", path.display());
        let run = Run::open(folder)?;
        let typed = if command.get_name() == "train" { run.config()?.command() } else { run.config()?.depth_command() };
        return words_of(&typed);
    }
    let text = fs::read_to_string(path).with_context(|| format!("--{CONFIG} {}: cannot be read", path.display()))?;
    check_size(text.as_bytes()).and_then(|()| options(&text, command)).with_context(|| unusable(path))
}

/// Options and their values as one word each.
fn joined(words: impl Iterator<Item = String>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    for word in words {
        match joined.last_mut().filter(|_| !word.starts_with("--")) {
            Some(option) => {
                option.push("=");
                option.push(word);
            }
            None => joined.push(word.into()),
        }
    }
    joined
}

/// The options of a TOML file: a key for each, named as when it is typed.
fn options(text: &str, command: &Command) -> Result<Vec<OsString>> {
    let table: Table = text.parse()?;
    let mut options = Vec::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        ensure!(![CONFIG, RESUME].contains(&&name[..]), "{key}: --{name} can only be typed");
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(&name));
        let argument = argument.ok_or_else(|| anyhow!("{key}: `{}` has no option --{name}", command.get_name()))?;
        match (argument.get_action().takes_values(), value) {
            (false, Value::Boolean(true)) => options.push(format!("--{name}").into()),
            (false, Value::Boolean(false)) => {}
            (false, _) => bail!("{key}: expected true or false"),
            (true, value) => {
                let value = typed(&value).ok_or_else(|| anyhow!("{key}: expected one value, or a list of them"))?;
                options.push(format!("--{name}={value}").into());
            }
        }
    }
    Ok(options)
}

/// A value as it is typed.
fn typed(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(on) => Some(if *on { "on" } else { "off" }.into()),
        Value::Array(values) => values.iter().map(typed).collect::<Option<Vec<_>>>().map(|values| values.join(",")),
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{self, TrainArgs};
    use crate::train::Config;
    use crate::train::ScheduleName;

    fn train(words: &[&str]) -> Result<TrainArgs> {
        let words = ["convscope", "train"].iter().chain(words).map(OsString::from).collect();
        let cli::Command::Train(arguments) = Cli::try_parse_from(with_settings(words)?.0)?.command else {
            panic!("it is train")
        };
        Ok(*arguments)
    }

    fn written(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("my run.toml");
        fs::write(&file, text).unwrap();
        (folder, file.to_str().unwrap().into())
    }

    #[test]
    fn a_file_has_the_options_as_they_are_typed() {
        let (_folder, file) = written(
            "lr = 0.01\nepochs = 3\nchannels = [8, 16]\nweight_decay = 1e-4\nval-share = 0.5\nno-report = true\n\
             augment = false\nhead = 'flatten'\ndata = 'my photos'\n",
        );
        let typed = "--lr 0.01 --epochs 3 --channels 8,16 --weight-decay 1e-4 --val-share 0.5 --no-report --augment off --head flatten";
        let typed: Vec<&str> = typed.split(' ').chain(["--data", "my photos"]).collect();
        for named in [vec!["--config", &file], vec![&format!("--config={file}")]] {
            let settings = |arguments: TrainArgs| (arguments.training(2), arguments.data.clone(), arguments.no_report);
            assert_eq!(settings(train(&named).unwrap()), settings(train(&typed).unwrap()));
        }
    }

    #[test]
    fn what_is_typed_counts() {
        let (_folder, file) = written("lr = 0.01\nepochs = 3\nchannels = [8, 16]\n");
        for words in [
            vec!["--config", &file, "--lr", "0.5", "--channels=4"],
            vec!["--lr=0.5", "--channels", "4", &format!("--config={file}")],
        ] {
            let training = train(&words).unwrap().training(2);
            assert_eq!((training.lr, training.epochs), (0.5, 3));
            assert_eq!(training.model, train(&["--channels=4"]).unwrap().training(2).model);
        }
        let plain = train(&["--lr=0.5"]).unwrap().training(2);
        assert_eq!(plain.epochs, 8, "without a file nothing changes");
    }

    #[test]
    fn what_is_gone_on_with_has_the_options_of_its_run() {
        let typed = "--epochs 6 --lr 0.02 --schedule step --optimizer sgd --train-images 40 --size 64";
        let first = train(&typed.split(' ').collect::<Vec<_>>()).unwrap();
        let config = first.config(&["cat", "dog"].map(String::from), [40, 500], false);
        let (_folder, file) = written(&serde_json::to_string(&config).unwrap());
        let run = Path::new(&file).with_file_name("run");
        fs::create_dir(&run).unwrap();
        fs::rename(&file, run.join("config.json")).unwrap();
        let resume = format!("--resume={}", run.display());
        let again = |words: &[&str]| -> Result<Config> {
            let again = train(&[&[&resume[..]], words].concat())?;
            Ok(again.config(&config.classes, [again.train_images, 500], false))
        };
        assert_eq!(again(&["--json", "--save-every", "0"]).unwrap(), config);
        let other = again(&["--lr", "0.5", "--train-images=30"]).unwrap();
        let names: Vec<_> = other.differences(&config).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["train-images", "lr"]);
        let error = again(&["--config", "a.toml"]).unwrap_err().to_string();
        assert!(error.contains("cannot be used with"), "{error}");
        let error = format!("{:#}", train(&["--resume", "nowhere"]).unwrap_err());
        assert!(error.starts_with("--resume: nowhere: there is no such folder"), "{error}");
        let (_folder, file) = written("resume = 'runs/001'");
        let error = format!("{:#}", train(&["--config", &file]).unwrap_err());
        assert!(error.contains("resume: --resume can only be typed"), "{error}");
    }

    #[test]
    fn what_is_typed_takes_the_place_of_what_it_excludes() {
        let (_folder, file) = written(
            "optimizer = 'sgd'\nmomentum = 0.5\nchannels = [8, 16]\nquiet = true\nschedule = 'step'\nstep_every = 2\n",
        );
        for words in [
            &["--optimizer", "adam"][..],
            &["--optimizer=adam", "--schedule=cosine", "-q"],
            &["--model", "lenet5", "--size=32", "--quiet"],
        ] {
            let arguments = train(&[&["--config", &file], words].concat()).unwrap();
            arguments.check().unwrap();
            assert!(arguments.quiet);
            assert_eq!(arguments.momentum.is_some(), words[0] == "--model", "{words:?}");
        }
        for (text, words) in [
            ("train-images = 40\nval_images = 20\n", &["--data", "photos"][..]),
            ("model = 'lenet5'\nsize = 32\n", &["--channels", "8", "--size", "40"]),
            ("data = 'photos'\nval-share = 0.3\n", &["--val", "photos/val"]),
            ("data = 'photos'\nval = 'photos/val'\n", &["--val-share", "0.3"]),
            ("model = 'lenet5'\nwidth = 0.5\nsize = 40\n", &["--model", "fuzz/seeds/layers/some.toml"]),
            ("lr-find = true\n", &["--lr", "0.1"]),
            ("lr = 0.1\n", &["--lr-find"]),
            ("warmup = 1\n", &["--schedule", "one-cycle"]),
        ] {
            let (_folder, file) = written(text);
            train(&[&["--config", &file], words].concat()).unwrap().check().unwrap();
        }
        let (_folder, file) = written("schedule = 'one-cycle'\n");
        for (words, schedule) in [
            (&["--warmup", "1"][..], ScheduleName::Constant),
            (&["--warmup=0.5"], ScheduleName::Constant),
            (&["--warmup", "0"], ScheduleName::OneCycle),
            (&["--lr", "0.1"], ScheduleName::OneCycle),
            (&["--warmup", "1", "--schedule", "cosine"], ScheduleName::Cosine),
        ] {
            let arguments = train(&[&["--config", &file], words].concat()).unwrap();
            arguments.check().unwrap();
            assert_eq!(arguments.extras.schedule, schedule, "{words:?}");
        }
    }

    #[test]
    fn a_bad_file_is_named() {
        for (text, message) in [
            ("learning_rate = 1", "`train` has no option --learning-rate"),
            ("config = 'other.toml'", "--config can only be typed"),
            ("help = true", "has no option --help"),
            ("lr =", "line 1, column 5"),
            ("[train]\nlr = 1", "has no option --train"),
            ("lr = { a = 1 }", "lr: expected one value"),
            ("no-report = 'yes'", "no-report: expected true or false"),
            ("lr = 1979-05-27", "lr: expected one value"),
        ] {
            let (_folder, file) = written(text);
            let error = format!("{:#}", train(&["--config", &file]).unwrap_err());
            assert!(error.contains(&file) && error.contains(message), "{text}: {error}");
        }
        let (_folder, file) = written("lr = 'much'");
        let error = train(&["--config", &file]).unwrap_err().to_string();
        assert!(error.contains("--lr"), "{error}");
        let error = train(&["--config", "missing.toml"]).unwrap_err().to_string();
        assert_eq!(error, "--config missing.toml: cannot be read");
        for (option, told) in ["--config", "--config=", "--resume="].map(|option| (option, "a value is required for")) {
            let error = train(&[option]).unwrap_err().to_string();
            assert!(error.contains(told), "{option}: {error}");
        }
        assert!(format!("{:#}", train(&["--config", "src"]).unwrap_err()).contains("not the folder of a run"));
    }
}
