//! The epochs of `train`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::Result;

use super::tensorboard::Board;
use super::told::Event;
use super::{CURVES, REJECTED};
use crate::cli::TrainArgs;
use crate::commands::images::Data;
use crate::commands::stop::Stop;
use crate::data::{of_class, write_rejected};
use crate::figures::file_of;
use crate::nn::checkpoint::{Checkpoint, Meta};
use crate::report::curves;
use crate::stats::standing::commonest_share;
use crate::terminal::{bar, counted, quoted, say};
use crate::train::checkpoints::Checkpoints;
use crate::train::run_dir::RunDir;
use crate::train::state::{Begun, BestEpoch, Course, State};
use crate::train::{Best, EpochRecord, Extras, Keeper, Progress, Trainer, Which};

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

/// A training with all that is kept of it, so that it can be gone on with.
pub(super) struct Training<'a> {
    pub(super) arguments: &'a TrainArgs,
    pub(super) data: &'a Data,
    pub(super) run: &'a RunDir,
    pub(super) checkpoints: Checkpoints,
    /// What it has come to.
    pub(super) course: Course,
    /// The weights of its best epoch.
    pub(super) best: Option<Checkpoint>,
    pub(super) stop: &'a Stop,
    /// What the weights of an epoch say of themselves, given their validation loss.
    pub(super) meta: &'a dyn Fn(usize, f64) -> Meta,
}

impl Training<'_> {
    /// Trains for all epochs that are left, or until no more patience is. Returns the checkpoint with the highest validation accuracy, or
    /// none where the user stopped it.
    pub(super) fn learn(
        &mut self,
        trainer: &mut Trainer<'_>,
        mut board: Option<Board<'_>>,
    ) -> Result<Option<Checkpoint>> {
        let Self { arguments, data, run, .. } = *self;
        let epochs = arguments.epochs();
        let best = self.course.best.clone().zip(self.best.take());
        let mut best = best.map(|(BestEpoch { val, lost, .. }, checkpoint)| Best { val, lost, checkpoint });
        let images = (data.train.len() + data.val.len()) as u64;
        let guessing =
            [&data.train, &data.val].map(|images| commonest_share(&of_class(images.as_ref(), data.classes.len())));
        self.bring_up_to_date(trainer, best.as_ref(), guessing[1])?;
        say("         in brackets: what always naming the commonest class would get right");
        let bar = bar("{msg} [{bar:30}] {percent} %  {rate} images/s  ETA {eta}", images * epochs as u64);
        let mut saved = Instant::now();
        while !self.is_over() {
            let epoch = self.course.begun.epoch;
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
            let begun = self.course.begun.clone();
            let mut keeper = Saver { training: self, started: Instant::now(), saved: &mut saved };
            let done = trainer.train_on(data.train.as_ref(), begun, &mut show, &mut keeper)?;
            let train_seconds = keeper.seconds();
            let Some(Begun { metrics: train, rejected: vanished, .. }) = done else {
                bar.finish_and_clear();
                return Ok(None);
            };

            let started = Instant::now();
            let before = before + data.train.len() as u64;
            let mut show = |progress: Progress| bar.set_position(before + progress.images as u64);
            let (val, lost) = trainer.evaluate(data.val.as_ref(), &mut show)?;
            let all = &mut self.course.lost;
            let known = all.len();
            all.extend(vanished.into_iter().chain(lost.iter().cloned()));
            all.sort();
            all.dedup();
            let more = all.len() - known;
            if more > 0 {
                self.write_rejected()?;
                bar.suspend(|| say(line_of_lost([more, lost.len(), data.val.len()])));
            }

            let checkpoint = self.checkpoint(trainer, epoch, val.loss())?;
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
            if better {
                self.checkpoints.save_best(&checkpoint)?;
                best = Some(Best { val, lost, checkpoint: checkpoint.clone() });
            }
            self.course.best = best.as_ref().map(|Best { val, lost, checkpoint }| BestEpoch {
                epoch: checkpoint.meta.epoch,
                val: *val,
                lost: lost.clone(),
            });
            self.course.records.push(record.clone());
            self.course.begun = Begun::new(epoch + 1);
            self.course.seconds = 0.0;
            self.checkpoints
                .save(&State { course: self.course.clone(), memory: trainer.memory()? }, trainer.network())?;
            saved = Instant::now();
            // The weights first, so that after a stop no line speaks of weights that are not there.
            run.write_checkpoint(Which::Last.file(), &checkpoint)?;
            if better {
                run.write_checkpoint(Which::Best.file(), &checkpoint)?;
            }
            bar.suspend(|| say(line(&record, epochs, guessing, better)));
            if arguments.json {
                Event::Epoch { record: &record, lr: trainer.last_lr(), best: better }.print();
            }
            self.write_records(guessing[1])?;
            // Other processes that train with this one stop with it.
            trainer.all_stop(self.is_over());
            if self.stop.is_asked() {
                bar.finish_and_clear();
                return Ok(None);
            }
        }
        bar.finish_and_clear();
        if self.course.records.len() < epochs {
            let since = self.epochs_since_best();
            let (last, epoch) = (counted(since, "epoch"), self.course.records.len() - since);
            say(format!("stop     {last} after epoch {epoch} brought nothing better (--patience)"));
        }
        Ok(Some(best.expect("there is at least one epoch").checkpoint))
    }

    /// Says how to go on with a training that the user stopped.
    pub(super) fn tell_stopped(&self) {
        let Course { begun, .. } = &self.course;
        let run = self.run.path().display().to_string();
        if self.arguments.json {
            Event::Stopped { run: run.clone(), epoch: begun.epoch, steps: begun.steps }.print();
        }
        let within = match begun.steps {
            0 => format!("before epoch {}", begun.epoch),
            steps => format!("after {} of epoch {}", counted(steps, "step"), begun.epoch),
        };
        say(format!("stopped  {within}; go on with: convscope train --resume {}", quoted(&run)));
    }

    /// Whether there is nothing left to train.
    fn is_over(&self) -> bool {
        let Course { records, .. } = &self.course;
        let patience = self.arguments.extras.patience;
        records.len() == self.arguments.epochs() || (!records.is_empty() && patience == Some(self.epochs_since_best()))
    }

    fn epochs_since_best(&self) -> usize {
        let Course { records, best, .. } = &self.course;
        records.len() - best.as_ref().map_or(0, |best| best.epoch)
    }

    /// Writes what a stop may have kept from being written for whoever looks into the folder, or the first state.
    fn bring_up_to_date(&mut self, trainer: &mut Trainer<'_>, best: Option<&Best>, guessing: f64) -> Result<()> {
        let Some(last) = self.course.records.last() else {
            if self.course.begun.batches == 0 {
                let state = State { course: self.course.clone(), memory: trainer.memory()? };
                self.checkpoints.save(&state, trainer.network())?;
            }
            return Ok(());
        };
        if self.course.begun.batches == 0 {
            let checkpoint = self.checkpoint(trainer, last.epoch, last.val_loss)?;
            self.run.write_checkpoint(Which::Last.file(), &checkpoint)?;
        }
        if let Some(best) = best {
            self.run.write_checkpoint(Which::Best.file(), &best.checkpoint)?;
            // One of the two may be damaged.
            self.checkpoints.save_best(&best.checkpoint)?;
        }
        if self.arguments.data.is_some() {
            self.write_rejected()?;
        }
        self.write_records(guessing)
    }

    /// Names the files that are not used, and those that could no longer be read.
    fn write_rejected(&self) -> Result<()> {
        let mut rejected = [&self.data.rejected[..], &self.course.lost].concat();
        rejected.sort();
        rejected.dedup();
        write_rejected(&self.run.file(REJECTED), &rejected)
    }

    fn write_records(&self, guessing: f64) -> Result<()> {
        self.run.write_metrics(&self.course.records)?;
        self.run.write(CURVES, file_of(&curves(&self.course.records, Some(guessing))).as_bytes())
    }

    /// The weights after an epoch.
    fn checkpoint(&self, trainer: &Trainer<'_>, epoch: usize, val_loss: f64) -> Result<Checkpoint> {
        let (network, weights) = (trainer.network().clone(), trainer.weights()?);
        Ok(Checkpoint { meta: (self.meta)(epoch, val_loss), network, weights })
    }
}

/// Writes within an epoch where the training stands.
struct Saver<'t, 'a> {
    training: &'t mut Training<'a>,
    /// When this process began with the epoch.
    started: Instant,
    /// When that was written last.
    saved: &'t mut Instant,
}

impl Saver<'_, '_> {
    /// Seconds for the epoch's training so far, those of processes before this one too.
    fn seconds(&self) -> f64 {
        self.training.course.seconds + self.started.elapsed().as_secs_f64()
    }
}

impl Keeper for Saver<'_, '_> {
    fn is_due(&mut self) -> bool {
        let minutes = self.saved.elapsed().as_secs_f64() / 60.0;
        self.training.stop.is_asked() || minutes >= self.training.arguments.save_every
    }

    fn keep(&mut self, trainer: &mut Trainer<'_>, begun: &Begun) -> Result<ControlFlow<()>> {
        let course = Course { begun: begun.clone(), seconds: self.seconds(), ..self.training.course.clone() };
        self.training.checkpoints.save(&State { course, memory: trainer.memory()? }, trainer.network())?;
        *self.saved = Instant::now();
        if !self.training.stop.is_asked() {
            return Ok(ControlFlow::Continue(()));
        }
        self.training.course.begun = begun.clone();
        Ok(ControlFlow::Break(()))
    }
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
