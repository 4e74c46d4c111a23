//! Trainings that are killed at random moments, again and again, and gone on with.

use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::Instant;

use convscope::nn::checkpoint::Checkpoint;
use image::{Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Tally;
use crate::program::program;

/// Kills, where the variable CONVSCOPE_KILLS says no other number.
const KILLS: usize = 200;
const TINY: &str = "train --size 40 --batch 8 --channels 4,6 --no-report";
/// Of each training what is special, and how often it is written down.
const TRAININGS: [[&str; 2]; 3] = [
    ["--train-images 76 --val-images 10 --epochs 6", "--save-every 0"],
    [
        "--train-images 76 --val-images 10 --epochs 6 --optimizer sgd --lr 0.05 --ema 0.9 --schedule cosine",
        "--save-every 0.001",
    ],
    [
        "--data photos --epochs 8 --rotate 10 --color-jitter 0.2,0.2,0.2 --crop-scale 0.5,1 --patience 5",
        "--save-every 0.002 --tensorboard",
    ],
];

/// Kills each training in turn at a random moment, and goes on with it, until it comes to its end, which must be that of the training that
/// nobody killed.
pub fn run(tally: &mut Tally) {
    let kills = std::env::var("CONVSCOPE_KILLS").map_or(KILLS, |number| number.parse().expect("a number of kills"));
    let folder = tempfile::tempdir().unwrap();
    make_photos(&folder.path().join("photos"));
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut wholes = Vec::new();
    for [special, every] in TRAININGS {
        let out = format!("whole-{}", wholes.len());
        let started = Instant::now();
        let output = start(folder.path(), &format!("{TINY} {special} {every} --out {out}")).wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        wholes.push((End::of(&folder.path().join(out)), started.elapsed()));
    }
    let (mut killed, mut number) = (0, 0);
    while killed < kills {
        let ([special, every], (whole, took)) =
            (TRAININGS[number % TRAININGS.len()], &wholes[number % TRAININGS.len()]);
        let out = format!("killed-{number}");
        number += 1;
        let run = folder.path().join(&out);
        let mut command = format!("{TINY} {special} {every} --out {out}");
        loop {
            let mut child = start(folder.path(), &command);
            thread::sleep(took.mul_f64(random.random_range(0.0..1.1)));
            // Nothing of it is gone on with before it is known that it was not through.
            let was_running = child.try_wait().unwrap().is_none();
            if was_running {
                child.kill().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            if !was_running {
                let told = told(&output);
                let same = output.status.success() && !told.contains("cannot be used") && End::of(&run) == *whole;
                tally.count(same.then_some(()).ok_or_else(|| format!("{out}: another end, or none: {told}")));
                break;
            }
            killed += 1;
            if !has_state(&run) {
                // Nothing was written of it yet, or it was through but for its last words.
                let output = start(folder.path(), &format!("train --resume {out}")).wait_with_output().unwrap();
                let refused = matches!(output.status.code(), Some(1 | 2)) && told(&output).contains("error: ");
                tally.count(refused.then_some(()).ok_or_else(|| format!("{out}: no clear error: {}", told(&output))));
                break;
            }
            tally.count(Ok(()));
            command = format!("train --resume {out} {every} --no-report");
        }
        fs::remove_dir_all(&run).ok();
    }
    eprintln!("  {killed} kills of {number} trainings");
}

/// Starts the program.
pub fn start(folder: &Path, command: &str) -> Child {
    program(folder, command.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// All that it printed.
pub fn told(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Whether a state of the training is there.
pub fn has_state(run: &Path) -> bool {
    let names = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    names
        .map(|entry| entry.file_name().into_string().unwrap())
        .any(|name| name.starts_with("step-") && name.ends_with(".safetensors"))
}

/// What a training has come to, without its times and the run's id.
#[derive(PartialEq)]
pub struct End {
    weights: Vec<Checkpoint>,
    metrics: Vec<Vec<String>>,
    predictions: String,
}

impl End {
    pub fn of(run: &Path) -> Self {
        let weights = ["best", "last"].map(|name| {
            let bytes = fs::read(run.join(format!("{name}.safetensors"))).unwrap();
            let mut checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
            checkpoint.meta.made_by = None;
            checkpoint
        });
        let table = fs::read_to_string(run.join("metrics.csv")).unwrap();
        let untimed = |line: &str| {
            let cells: Vec<String> = line.split(',').map(String::from).collect();
            [&cells[..5], &cells[8..]].concat()
        };
        let metrics = table.lines().map(untimed).collect();
        assert!(!run.join("checkpoints").exists() && run.join("features/index.html").exists());
        let predictions = fs::read_to_string(run.join("predictions.csv")).unwrap();
        Self { weights: weights.into(), metrics, predictions }
    }
}

/// Photos of two classes, which differ a little.
fn make_photos(root: &Path) {
    for (class, colour) in [("blue", [40, 40, 200]), ("red", [200, 40, 40])] {
        fs::create_dir_all(root.join(class)).unwrap();
        for number in 0..30u32 {
            let photo = RgbImage::from_fn(60, 44, |x, y| {
                let shade = ((x * 3 + y * (2 + number % 5) + number * 7) % 50) as u8;
                Rgb(colour.map(|channel: u8| channel + shade))
            });
            photo.save(root.join(class).join(format!("{number:02}.png"))).unwrap();
        }
    }
}
