//! `train --resume`: a run whose training is gone on with.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::cli::{DeviceArgs, TrainArgs};
use crate::commands::images::Data;
use crate::gpu::{Gpu, Kernels};
use crate::reading::differences;
use crate::terminal::{counted, say};
use crate::train::Run;
use crate::train::checkpoints::{Checkpoints, Found};
use crate::train::environment::Environment;
use crate::train::run_dir::RunDir;

/// A run that was stopped, with what its training goes on from.
pub(super) struct Resumed {
    run: Run,
    pub(super) dir: RunDir,
    pub(super) found: Found,
}

impl Resumed {
    /// Finds where the training of a run stands; nothing there is changed. The options are those of the run, with what was typed beside
    /// --resume.
    ///
    /// # Errors
    /// When another setting was typed than the run has, another process is writing there, the run is finished, no checkpoint can be used,
    /// or another version of the program wrote them.
    pub(super) fn open(folder: &Path, arguments: &TrainArgs) -> Result<Self> {
        let run = Run::open(folder)?;
        let shown = folder.display();
        let config = run.config()?;
        let counts = [arguments.train_images, arguments.val_images];
        // Of photos their number is seen when they are read.
        let counts = if config.data.is_some() { [config.train_images, config.val_images] } else { counts };
        let typed = arguments.config(&config.classes, counts, config.val_share.is_some());
        let changed = typed.differences(config);
        if !changed.is_empty() {
            let changed =
                changed.iter().map(|(option, typed, own)| format!("--{option} is {typed}, but {own} in the run"));
            let changed: Vec<String> = changed.collect();
            bail!(
                "--resume {shown}: a run goes on with its own settings: {}; leave these options out",
                changed.join("; ")
            );
        }
        let dir = RunDir::reopen(folder)?;
        let found = Checkpoints::find(&run)?;
        found.notes.iter().for_each(|note| say(format!("note: {note}")));
        Ok(Self { run, dir, found })
    }

    /// Where it began.
    fn environment(&self) -> &Environment {
        &self.found.state.course.environment
    }

    /// Has the kernels be those that the run was begun with, where no others were asked for.
    pub(super) fn use_kernels(&self, device: &mut DeviceArgs) {
        device.kernels.0 = device.kernels.0.or_else(|| Kernels::from_str(&self.environment().kernels, false).ok());
    }

    /// The device with the tiles that the run was begun with, whatever was measured since: others round otherwise.
    pub(super) fn with_tiles(&self, gpu: Gpu) -> Gpu {
        gpu.with_tile_limits(self.environment().tiles)
    }

    /// Checks that the device is the one that the training began on: another one rounds otherwise.
    ///
    /// # Errors
    /// When it is not, with what differs.
    pub(super) fn check_device(&self, gpu: &Gpu) -> Result<()> {
        if let Some(processes) = self.environment().processes {
            bail!(
                "--resume {}: {processes} processes trained it together, and only what one has trained can be gone on with; train it anew",
                self.dir.path().display()
            );
        }
        let now = Environment::of(gpu, self.environment().seed, "");
        let parts = |of: &Environment| {
            let Environment { adapter, backend, driver, driver_info, kernels, .. } = of;
            [adapter, backend, driver, driver_info, kernels].map(String::clone)
        };
        let names = ["adapter", "backend", "driver", "driver_info", "kernels"];
        let pairs = names.into_iter().zip(parts(&now).into_iter().zip(parts(self.environment())));
        let changed: Vec<String> = pairs.flat_map(|(name, (now, then))| differences(name, &now, &then)).collect();
        ensure!(
            changed.is_empty(),
            "--resume {}: it began on another device, which rounds otherwise: {}; choose that one by --adapter and --kernels, or train anew",
            self.dir.path().display(),
            changed.join("; ")
        );
        Ok(())
    }

    /// Checks that the images are those that the training began with.
    ///
    /// # Errors
    /// When they are not, with what differs.
    pub(super) fn check_images(&self, data: &Data) -> Result<()> {
        let (classes, there) = (&self.found.state.course.config.classes, &data.classes);
        let check = || -> Result<()> {
            ensure!(
                classes == there,
                "its classes are {}, but its images are of {}; name their folders as they were",
                classes.join(", "),
                there.join(", ")
            );
            self.run.check_photos(&data.list)
        };
        check().with_context(|| format!("--resume {}", self.dir.path().display()))
    }

    /// Says where it stands.
    pub(super) fn tell(&self) {
        let course = &self.found.state.course;
        let within = match course.begun.steps {
            0 => String::new(),
            steps => format!(" and {} of epoch {}", counted(steps, "step"), course.begun.epoch),
        };
        say(format!("resume   {} after {}{within}", self.dir.path().display(), counted(course.records.len(), "epoch")));
    }
}
