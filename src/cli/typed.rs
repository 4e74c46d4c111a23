//! How what a run or a study was told is typed again.

use std::path::Path;

use clap::{Parser, ValueEnum};

use super::{Cli, Command};
use crate::gpu::Kernels;
use crate::nn::{Architecture, Known, Strided, listed, numbers};
use crate::study::{Ladder, Settings, Study};
use crate::terminal::quoted;
use crate::train::{ClassWeights, Config, Extras, Folders, ScheduleName, Training};

impl Training {
    /// What it does otherwise than `other`, without the seed: an option, its own value and the other's, "none" where there is none.
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let mut found = differing(&self.options(), &other.options());
        found.retain(|(name, ..)| *name != "seed");
        found
    }

    /// The options that say so, and their values.
    fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![("size", self.model.input()[1].to_string())];
        options.extend(model_options(&self.model, self.model_file.as_deref()));
        options.extend([
            ("normalize", self.preparation.normalize.to_string()),
            ("batch", self.batch.to_string()),
            ("epochs", self.epochs.to_string()),
            ("lr", self.lr.to_string()),
            ("optimizer", named(&self.optimizer)),
            ("weight-decay", self.weight_decay.to_string()),
            ("augment", if self.augment { "flip" } else { "off" }.into()),
            ("seed", self.seed.to_string()),
        ]);
        options.extend(self.crop_scale.map(|scale| ("crop-scale", listed(&scale))));
        options.extend((self.rotate > 0.0).then(|| ("rotate", self.rotate.to_string())));
        options.extend(self.color_jitter.map(|shares| ("color-jitter", listed(&shares))));
        options.extend(self.preparation.resize_crop.map(|resize| ("resize-crop", resize.to_string())));
        options.extend(self.momentum.map(|momentum| ("momentum", momentum.to_string())));
        options.extend(self.init.clone().map(|init| ("init", init)));
        options.extend((self.freeze > 0).then(|| ("freeze", self.freeze.to_string())));
        options.extend(self.extras.options());
        options
    }
}

impl Extras {
    /// The options that add something, and their values.
    fn options(&self) -> Vec<(&'static str, String)> {
        let Self { schedule, warmup, step_every, step_factor, label_smoothing, class_weights, .. } = self;
        let number = |name, value: &Option<f64>| value.map(|value| (name, value.to_string()));
        let options = [
            (*schedule != ScheduleName::Constant).then(|| ("schedule", named(schedule))),
            (*warmup != 0.0).then(|| ("warmup", warmup.to_string())),
            number("step-every", step_every),
            number("step-factor", step_factor),
            (*label_smoothing != 0.0).then(|| ("label-smoothing", label_smoothing.to_string())),
            (*class_weights != ClassWeights::None).then(|| ("class-weights", named(class_weights))),
            self.clip_grad_norm.map(|most| ("clip-grad-norm", most.to_string())),
            number("ema", &self.ema),
            self.patience.map(|patience| ("patience", patience.to_string())),
        ];
        options.into_iter().flatten().collect()
    }
}

/// The options that describe a network, beside the size of its images, and their values.
fn model_options(model: &Architecture, file: Option<&str>) -> Vec<(&'static str, String)> {
    match model {
        Architecture::Strided(Strided { channels, kernel, stride, padding, dropout, head, hidden, .. }) => vec![
            ("channels", listed(channels)),
            ("kernel", kernel.to_string()),
            ("stride", stride.to_string()),
            ("padding", padding.to_string()),
            ("dropout", dropout.to_string()),
            ("head", named(head)),
            ("hidden", hidden.to_string()),
        ],
        Architecture::Known(Known { name, width, .. }) => {
            vec![("model", named(name)), ("width", width.to_string())]
        }
        Architecture::Listed(_) => file.map(|file| ("model", file.into())).into_iter().collect(),
    }
}

impl Folders {
    /// The options that say so, and their values.
    fn options(&self, data: Option<&str>) -> Vec<(&'static str, String)> {
        let choices = self.choices(Path::new(data.unwrap_or_default()));
        let val = choices.val.map(|val| ("val", val.display().to_string()));
        let level = choices.class_level.map(|level| ("class-level", level.to_string()));
        val.into_iter().chain(level).collect()
    }
}

/// The options that differ, with their values here and there, "none" where there is none.
fn differing(own: &[(&'static str, String)], others: &[(&'static str, String)]) -> Vec<(&'static str, String, String)> {
    let value = |options: &[(&str, String)], name: &str| {
        let found = options.iter().find(|(option, _)| *option == name);
        found.map_or("none".into(), |(_, value)| value.clone())
    };
    let added = others.iter().filter(|(name, _)| own.iter().all(|(option, _)| option != name));
    let names = own.iter().chain(added).map(|(name, _)| *name);
    let values = names.map(|name| (name, value(own, name), value(others, name)));
    values.filter(|(_, own, other)| own != other).collect()
}

impl Config {
    /// What it is told otherwise than `other`: an option, its own value and the other's. A folder of photos may be another one.
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let kind = |config: &Self| if config.data.is_some() { "photos" } else { "none" }.to_string();
        let options = |config: &Self| [vec![("data", kind(config))], config.options()].concat();
        // Where the photos lie decides no other option.
        let data = self.data.as_ref().and(other.data.clone()).or(self.data.clone());
        let here = Self { data, ..self.clone() };
        let mut found = differing(&options(&here), &options(other));
        let listed = [self, other].map(|config| matches!(config.training.model, Architecture::Listed(_)));
        if listed == [true; 2] && self.training.model != other.training.model {
            let file = |config: &Self| config.training.model_file.clone().unwrap_or_default();
            found.retain(|(name, ..)| *name != "model");
            found.push(("model", file(self), file(other)));
        }
        found
    }

    /// The command that trains like this again, as it is typed in a shell; options that have their default are left out.
    pub fn command(&self) -> String {
        let Command::Train(plain) = plain("train", self.data.is_some()) else { unreachable!("the command is train") };
        let counts = [plain.train_images, plain.val_images];
        let plain = plain.config(&self.classes, counts, self.val_share.is_some());
        typed("train", self.data.as_deref(), &self.options(), &plain.options())
    }

    /// The command that studies how many of the network's blocks are enough, on the same images.
    pub fn depth_command(&self) -> String {
        let data = self.data.as_deref();
        let Command::Depth(plain) = plain("depth", data.is_some()) else { unreachable!("the command is depth") };
        let settings = Settings {
            depths: (1..=self.training.model.blocks().unwrap_or_default()).collect(),
            // The networks of a study all start from random weights and are trained by its own recipe.
            training: Training { init: None, freeze: 0, extras: Extras::default(), ..self.training.clone() },
            ..plain.settings(self.classes.len(), Kernels::Plain)
        };
        depth_command(data, &self.folders, self.train_images + self.val_images, &settings)
    }

    /// The options of `train` and their values, without the data folder.
    fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = match &self.data {
            Some(data) => {
                let share = self.val_share.map(|share| ("val-share", share.to_string()));
                self.folders.options(Some(data)).into_iter().chain(share).collect()
            }
            None => vec![("train-images", self.train_images.to_string()), ("val-images", self.val_images.to_string())],
        };
        options.extend(self.training.options());
        options
    }
}

impl Study {
    /// The command that makes the study, as it is typed in a shell, without the options of the machine.
    pub fn command(&self) -> String {
        let images = self.dev_images + self.test_images + self.duplicates + self.contradictory;
        depth_command(self.photos.as_deref(), &self.folders, images, &self.identity.settings)
    }
}

/// The command that studies depth on the images in `data`, or on so many drawn ones, with these settings; options that have
/// their default are left out.
pub fn depth_command(data: Option<&str>, folders: &Folders, images: usize, settings: &Settings) -> String {
    let Command::Depth(plain) = plain("depth", data.is_some()) else { unreachable!("the command is depth") };
    let options = |folders: &Folders, images: usize, settings: &Settings| {
        let mut options = folders.options(data);
        if data.is_none() {
            options.push(("images", images.to_string()));
        }
        match settings.ladder {
            Ladder::Truncate => options.push(("depths", listed(&settings.depths))),
            Ladder::Drop => options.push(("ladder", named(&settings.ladder))),
        }
        options.push(("folds", settings.folds.to_string()));
        options.push(("repeats", settings.repeats.to_string()));
        options.push(("margin", settings.margin.to_string()));
        options.extend(settings.training.options());
        options
    };
    let standard = plain.settings(settings.training.model.classes(), settings.kernels);
    let standard = options(&Folders::default(), plain.images, &standard);
    typed("depth", data, &options(folders, images, settings), &standard)
}

/// The command that trains like this on the photos in `data`, or on drawn images; options that have their default are left
/// out.
pub fn train_command(data: Option<&str>, folders: &Folders, training: &Training) -> String {
    let Command::Train(plain) = plain("train", data.is_some()) else { unreachable!("the command is train") };
    let options = [folders.options(data), training.options()].concat();
    typed("train", data, &options, &plain.training(training.model.classes()).options())
}

/// A command with all its defaults, for photos or for drawn images. The folder of the photos decides none of them, so that no
/// word of a file need be parsed.
fn plain(command: &str, photos: bool) -> Command {
    let data: &[&str] = if photos { &["--data=."] } else { &[] };
    let words = ["convscope", command].into_iter().chain(data.iter().copied());
    Cli::try_parse_from(words).expect("a command without other options is valid").command
}

/// A command as it is typed, without the options that are among the standard ones.
fn typed(command: &str, data: Option<&str>, options: &[(&str, String)], standard: &[(&'static str, String)]) -> String {
    let data = data.map(|data| format!(" --data {}", quoted(data))).unwrap_or_default();
    // Without --normalize images would be prepared as the file of --init says.
    let init = options.iter().any(|(option, _)| *option == "init");
    let special = options.iter().filter(|option| !standard.contains(option) || (init && option.0 == "normalize"));
    // A number below 0 is no option, and a path that begins with a dash needs its folder.
    let negative = |value: &str| value.starts_with('-') && numbers(value).is_some();
    let special: String = special
        .map(|(option, value)| match negative(value) {
            true => format!(" --{option}={value}"),
            false => format!(" --{option} {}", quoted(value)),
        })
        .collect();
    format!("convscope {command}{data}{special}")
}

/// A choice as it is typed.
fn named(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{DepthArgs, TrainArgs};

    fn parsed<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
        Cli::try_parse_from(words).unwrap().command
    }

    fn train(typed: &str) -> TrainArgs {
        let words = shell_words::split(typed).unwrap();
        let Command::Train(arguments) = parsed(words.iter().map(String::as_str)) else { panic!("{typed}") };
        *arguments
    }

    fn depth(typed: &str) -> DepthArgs {
        let words = shell_words::split(typed).unwrap();
        let Command::Depth(arguments) = parsed(words.iter().map(String::as_str)) else { panic!("{typed}") };
        *arguments
    }

    const CLASSES: [&str; 2] = ["cat", "dog"];

    fn config(arguments: &TrainArgs) -> Config {
        let counts = [arguments.train_images, arguments.val_images];
        arguments.config(&CLASSES.map(String::from), counts, arguments.data.is_some())
    }

    #[test]
    fn what_is_typed_otherwise_is_named() {
        let folders = ["--data photos --val photos/val", "--data /moved --val /moved/val"];
        for (one, other, expected) in [
            ("", "--seed 3", &[("seed", "0", "3")][..]),
            ("--lr 0.1 --ema 0.9", "", &[("lr", "0.1", "0.001"), ("ema", "0.9", "none")]),
            ("", "--train-images 30", &[("train-images", "2000", "30")]),
            ("--model resnet18", "--model resnet18 --width 0.5", &[("width", "1", "0.5")]),
            ("--optimizer sgd", "--optimizer sgd --momentum 0.5", &[("momentum", "0.9", "0.5")]),
            (folders[0], folders[1], &[]),
            ("--cache 5 --json --save-every 0 --scale global --no-report", "--tensorboard --kernels plain", &[]),
        ] {
            let [one, other] = [one, other].map(|typed| config(&train(&format!("convscope train {typed}"))));
            let found = one.differences(&other);
            let found: Vec<_> = found.iter().map(|(name, own, other)| (*name, &own[..], &other[..])).collect();
            assert_eq!(found, expected);
        }
        let [photos, drawn] = ["--data photos", ""].map(|typed| config(&train(&format!("convscope train {typed}"))));
        assert_eq!(drawn.differences(&photos)[0], ("data", "none".into(), "photos".into()));
        assert_eq!(photos.differences(&drawn)[0], ("data", "photos".into(), "none".into()));
    }

    #[test]
    fn a_run_can_be_typed_again() {
        for options in [
            "",
            r"--data '/my photos/it'\''s' --val-share 0.3 --epochs 3 --optimizer sgd --momentum 0.5",
            "--data /photos --val /photos/the/rest --class-level 2",
            "--data photos --val elsewhere",
            "--size 64 --channels 8,16 --head flatten --augment off --seed 7 --lr 0.01",
            "--crop-scale 0.08,1 --rotate 12.5 --color-jitter 0.2,0.1,0",
            "--normalize imagenet --data photos --resize-crop 146",
            "--normalize 0.48,0.45,0.4,0.23,0.22,0.22",
            "--normalize=-0,0.25 --weight-decay=-0 --dropout=-0 --color-jitter=-0,0,0.1",
            "--init '/runs/one of mine/best.safetensors' --freeze 2",
            "--schedule cosine --warmup 0.5",
            "--schedule one-cycle",
            "--label-smoothing 0.1 --class-weights balanced --clip-grad-norm 0.5 --ema 0.999 --patience 3",
            "--schedule step --epochs 10",
            "--schedule step --step-every 2.5 --step-factor 0.3 --warmup 1",
        ] {
            let made = config(&train(&format!("convscope train {options}")));
            assert_eq!(config(&train(&made.command())), made, "{}", made.command());
        }
        assert_eq!(config(&train("convscope train")).command(), "convscope train");
        let going_on = config(&train("convscope train --init best.safetensors")).command();
        assert!(going_on.contains(" --normalize half"), "whatever the file says: {going_on}");
        assert_eq!(["runs/001", "a b", "$(x)"].map(quoted), ["runs/001", "'a b'", "'$(x)'"]);
        let strange = Config { data: Some("-x --help".into()), ..config(&train("convscope train --data photos")) };
        for command in [strange.command(), strange.depth_command()] {
            assert!(command.contains("--data './-x --help'"), "{command}");
        }
    }

    #[test]
    fn a_study_can_be_typed_again() {
        for options in [
            "",
            "--data photos --depths 2,4 --margin 0.5 --lr 0.01",
            "--data photos --val photos/val --class-level 1",
            "--ladder drop --images 90 --seed 3",
        ] {
            let arguments = depth(&format!("convscope depth {options}"));
            let settings = |arguments: &DepthArgs| arguments.settings(CLASSES.len(), Kernels::Plain);
            let data = arguments.train.absolute_data();
            let folders = arguments.train.folders();
            let typed = depth_command(data.as_deref(), &folders, arguments.images, &settings(&arguments));
            let again = depth(&typed);
            assert_eq!(again.train.folders(), folders, "{typed}");
            assert_eq!(settings(&again), settings(&arguments), "{typed}");
            assert_eq!((again.images, again.train.absolute_data()), (arguments.images, data), "{typed}");
        }
    }

    #[test]
    fn the_study_of_a_run_is_about_its_network() {
        let made = config(&train("convscope train --channels 8,16,32 --size 64 --lr 0.01 --train-images 80"));
        let study = depth(&made.depth_command());
        assert_eq!(study.settings(CLASSES.len(), Kernels::Plain).training, made.training);
        assert_eq!((study.depths(), study.images), (vec![1, 2, 3], 80 + made.val_images));
    }

    #[test]
    fn differences_of_training_name_the_options() {
        let training = |options: &str| config(&train(&format!("convscope train {options}"))).training;
        let plain = training("");
        assert!(plain.differences(&plain).is_empty());
        assert!(plain.differences(&training("--seed 7")).is_empty(), "a seed is no recipe");
        let other = training("--epochs 3 --channels 4,8 --optimizer sgd --momentum 0.5 --augment off");
        let found = plain.differences(&other);
        let names: Vec<&str> = found.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["channels", "epochs", "optimizer", "augment", "momentum"]);
        assert_eq!(found[4], ("momentum", "none".into(), "0.5".into()));
        assert_eq!(other.differences(&plain)[4], ("momentum", "0.5".into(), "none".into()));
        assert_eq!(found[1].2, "3");
    }

    #[test]
    fn what_is_written_can_be_read_to_the_last_bit() {
        let made = config(&train("convscope train --dropout 0.3 --weight-decay 0.0001 --seed 18446744073709551615"));
        let text = serde_json::to_string(&made).unwrap();
        assert!(text.contains(r#""weight_decay":0.0001,"#), "short numbers stay short: {text}");
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), made);
    }
}
