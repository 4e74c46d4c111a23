//! The epochs of `train`.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Result;

use super::CURVES;
use super::tensorboard::Board;
use super::told::Event;
use crate::cli::TrainArgs;
use crate::commands::images::Data;
use crate::data::{of_class, write_rejected};
use crate::figures::file_of;
use crate::nn::checkpoint::{Checkpoint, Meta};
use crate::report::curves;
use crate::stats::standing::commonest_share;
use crate::terminal::{bar, counted, say};
use crate::train::run_dir::RunDir;
use crate::train::{Best, EpochRecord, Extras, Progress, Trainer, Which};

/// A caution where after so many steps much of the averages is still what training began with.
pub(super) fn note_of_averages(extras: &Extras, steps: usize) -> Option<String> {
    let decay = extras.ema?;
    let left = decay.powf(steps as f64);
    // With this decay one part in a thousand is left.
    let lower = (1000.0 * (-7.0 / steps as f64).exp()).floor() / 1000.0;
    let remedy = if lower > 0.0 { format!("lower --ema to {lower} or less") } else { "leave --ema out".into() };
    (left > 0.05).then(|| {
        format!(
            "note: after all {} {:.0} % of the averages will still be the first weights: {remedy}",
            counted(steps, "step"),
            100.0 * left
        )
    })
}

/// Trains for all epochs, or until no more patience is left, and returns the checkpoint with the highest validation accuracy, and how many
/// epochs there were.
pub(super) fn learn(
    arguments: &TrainArgs,
    data: &Data,
    run: &RunDir,
    trainer: &mut Trainer<'_>,
    mut board: Option<Board<'_>>,
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
                if arguments.json {
                    let (images, train_acc) = (progress.images, metrics.accuracy());
                    Event::Progress { epoch, images, train_loss: loss, train_acc }.print();
                }
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
        if let Some(board) = &mut board {
            board.record(&record, trainer.last_lr(), &checkpoint.weights)?;
        }
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
        if arguments.json {
            Event::Epoch { record: &record, lr: trainer.last_lr(), best: better }.print();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_that_keep_the_first_weights_are_told() {
        let note = |ema, steps| note_of_averages(&Extras { ema, ..Extras::default() }, steps);
        assert_eq!(note(None, 10), None);
        assert_eq!(note(Some(0.99), 1000), None);
        let told = note(Some(0.999), 150).unwrap();
        assert!(told.contains("after all 150 steps 86 % of the averages") && told.contains("--ema to 0.954"), "{told}");
        assert_eq!(note(Some(0.954), 150), None, "what is advised helps");
        assert!(note(Some(0.5), 1).unwrap().ends_with("leave --ema out"));
    }
}
