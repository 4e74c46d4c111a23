//! `learned`: what each channel of a network has learned.

use std::time::Instant;

use anyhow::{Result, anyhow};
use image::RgbImage;

use crate::checkpoint::Checkpoint;
use crate::cli::LearnedArgs;
use crate::data::Pictures;
use crate::explain::Lens;
use crate::explain::learned::{Ascent, ChannelSurvey, Maximised, Place, Survey, crop, maximise};
use crate::inspect::first_filters;
use crate::reading::Run;
use crate::report::{self, PatchRow};
use crate::run_dir::{self, RunDir};
use crate::spec::Block;
use crate::standing;
use crate::terminal::{bar, say};

/// Patches of each channel: a square of them.
const PATCHES: usize = 9;

pub(super) fn learned(arguments: &LearnedArgs) -> Result<()> {
    run_dir::check_free(arguments.out.as_deref())?;
    let run = Run::open(&arguments.run)?;
    let Checkpoint { meta, weights } = run.checkpoint(arguments.weights)?;
    let pictures = super::pictures::validation_of(&run, arguments.data.as_deref(), super::CACHE)?;

    let standing = super::say_standing(&run, arguments.weights, meta.epoch, Some(pictures.as_ref()));
    let caution = standing::caution(standing.as_ref());
    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);
    let lens = super::lens(&gpu, &run, arguments.weights, &weights, arguments.batch)?;
    let started = Instant::now();
    let survey = super::surveyed(&lens, pictures.as_ref(), usize::MAX, PATCHES)?;
    say(format!("pictures {} for validation, {:.1} s", survey.pictures, started.elapsed().as_secs_f64()));

    let shown = super::weights_shown(&arguments.run, arguments.weights, meta.epoch);
    let sheets = Sheets {
        lens: &lens,
        survey: &survey,
        pictures: pictures.as_ref(),
        facts: caution.into_iter().chain([format!("weights {shown}")]).collect(),
    };
    let filters = first_filters(&meta.spec, &weights);
    let mut drawn = vec![("filters.png".into(), report::filters("Filters of block 1", &sheets.facts, &filters)?)];
    for number in 0..lens.blocks().len() {
        let block = number + 1;
        drawn.push((format!("block-{block}-patches.png"), sheets.patches(number)?));
        drawn.push((format!("block-{block}-maximised.png"), sheets.maximised(number)?));
    }
    // Whatever cannot be drawn has failed by now, before there is a folder.
    let folder = match &arguments.out {
        Some(out) => RunDir::create(Some(out))?,
        None => RunDir::below(&arguments.run, "learned")?,
    };
    super::write_pictures(&folder, drawn)?;
    write_channels(&folder, &survey)?;
    write_patches(&folder, &survey, lens.blocks(), pictures.as_ref())?;
    say(format!("wrote {}", folder.path().display()));
    say("  filters.png                  the filters of block 1 in colour");
    say("  block-N-patches.png          the nine strongest patches of each channel; patches.csv names their files");
    say("  block-N-maximised.png        pictures only: made to drive each channel up");
    say(
        "  channels.csv                 of each channel: largest value, share of pictures on which it fires, dead or quiet",
    );
    Ok(())
}

/// Draws what is known of the channels of a block, counted from 0.
struct Sheets<'a> {
    lens: &'a Lens<'a>,
    survey: &'a Survey,
    pictures: &'a dyn Pictures,
    /// What is said on every sheet.
    facts: Vec<String>,
}

impl Sheets<'_> {
    /// The strongest patches of each channel.
    fn patches(&self, number: usize) -> Result<RgbImage> {
        let (geometry, surveyed) = (&self.lens.blocks()[number], &self.survey.blocks[number]);
        let mut rows = Vec::with_capacity(surveyed.channels.len());
        for (index, channel) in surveyed.channels.iter().enumerate() {
            let patches = channel.strongest.iter().map(|place| self.patch(geometry, place));
            rows.push(row(index, channel, patches.collect::<Result<_>>()?));
        }
        let mut facts = self.facts.clone();
        facts.extend([
            format!("{} validation pictures", self.survey.pictures),
            format!(
                "the nine pictures that drive a channel up most, each cut to what its strongest value sees ({} px); below, on \
                 how many of the pictures it fires; {} of {} channels are dead (never fire), {} quiet (fire on less than 1 %)",
                geometry.receptive_field,
                surveyed.dead(),
                rows.len(),
                surveyed.quiet()
            ),
        ]);
        let title = format!("Block {}: the strongest patches of each channel", number + 1);
        Ok(report::patches(&title, &facts, &rows, 3)?)
    }

    /// What a value sees of its picture.
    fn patch(&self, geometry: &Block, place: &Place) -> Result<RgbImage> {
        let size = self.pictures.size() as usize;
        let pixels = self.pictures.pixels(place.picture);
        let pixels = pixels.map_err(|reason| anyhow!("{}: {reason}", self.pictures.name(place.picture)))?;
        Ok(crop(&pixels, geometry.receptive_window([place.y, place.x], [size; 2])))
    }

    /// A picture for each channel that was made to drive it up.
    fn maximised(&self, number: usize) -> Result<RgbImage> {
        let (block, surveyed) = (number + 1, &self.survey.blocks[number]);
        let channels: Vec<usize> = (0..surveyed.channels.len()).collect();
        let climbing = bar("{msg} {pos}/{len} [{bar:30}]", channels.len() as u64)
            .with_message(format!("driving up the channels of block {block}"));
        let started = Instant::now();
        let progress = |done| climbing.set_position(done as u64);
        let made = maximise(self.lens, number, &channels, &Ascent::default(), progress)?;
        climbing.finish_and_clear();
        say(format!(
            "block {block}: {} channels, {} dead, {} quiet; pictures that drive them up made in {:.1} s",
            channels.len(),
            surveyed.dead(),
            surveyed.quiet(),
            started.elapsed().as_secs_f64()
        ));
        let row = |made: &Maximised| row(made.channel, &surveyed.channels[made.channel], vec![made.image()]);
        let rows: Vec<PatchRow> = made.iter().map(row).collect();
        let mut facts = self.facts.clone();
        facts.push(
            "pictures only: made from noise to drive one value of a channel as high as it goes. They show what a channel adds \
             up, not what it is for, and nothing that exists. Below, on how many of the validation pictures it fires"
                .into(),
        );
        Ok(report::patches(&format!("Block {block}: pictures made to drive each channel up"), &facts, &rows, 1)?)
    }
}

/// A channel with its pictures.
fn row(index: usize, channel: &ChannelSurvey, patches: Vec<RgbImage>) -> PatchRow {
    let share = 100.0 * channel.share;
    let note = match state(channel) {
        "live" => format!("{share:.0} %"),
        "quiet" => format!("quiet: {share:.1} %"),
        state => state.into(),
    };
    PatchRow { name: format!("channel {index}"), note, patches }
}

/// A channel in a word.
fn state(channel: &ChannelSurvey) -> &'static str {
    match channel {
        channel if channel.is_dead() => "dead",
        channel if channel.is_quiet() => "quiet",
        _ => "live",
    }
}

fn write_channels(folder: &RunDir, survey: &Survey) -> Result<()> {
    folder.write_table("channels.csv", |table| {
        table.write_record(["block", "channel", "max", "share_of_pictures", "mean", "state"])?;
        for (number, block) in (1..).zip(&survey.blocks) {
            for (index, channel) in block.channels.iter().enumerate() {
                table.serialize((number, index, channel.max, channel.share, channel.mean, state(channel)))?;
            }
        }
        Ok(())
    })
}

/// Where each patch comes from: rows and columns of the picture as the network sees it.
fn write_patches(folder: &RunDir, survey: &Survey, blocks: &[Block], pictures: &dyn Pictures) -> Result<()> {
    let size = pictures.size() as usize;
    folder.write_table("patches.csv", |table| {
        table.write_record(["block", "channel", "rank", "picture", "value", "top", "left", "bottom", "right"])?;
        for (number, (block, geometry)) in (1..).zip(survey.blocks.iter().zip(blocks)) {
            for (index, channel) in block.channels.iter().enumerate() {
                for (rank, place) in (1..).zip(&channel.strongest) {
                    let [rows, columns] = geometry.receptive_window([place.y, place.x], [size; 2]);
                    let window = (rows.start, columns.start, rows.end, columns.end);
                    table.serialize((number, index, rank, pictures.name(place.picture), place.value, window))?;
                }
            }
        }
        Ok(())
    })
}
