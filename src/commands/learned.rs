//! `learned`: what each channel of a network has learned.

use std::time::Instant;

use anyhow::{Result, anyhow};
use image::RgbImage;
use serde::Serialize;

use crate::cli::LearnedArgs;
use crate::data::Images;
use crate::disk;
use crate::explain::Lens;
use crate::explain::inspect::first_filters;
use crate::explain::learned::{Ascent, ChannelSurvey, LEARNED, LearnedFrom, Maximised, Place, Survey, crop, maximise};
use crate::nn::Block;
use crate::nn::checkpoint::Checkpoint;
use crate::report::{LearnedBlock, LearnedChannel, LearnedPage, SQUARE};
use crate::terminal::{bar, say};
use crate::train::run_dir::RunDir;
use crate::train::{Origin, Run};

/// Patches of each channel.
const PATCHES: usize = SQUARE * SQUARE;

pub(super) fn learned(arguments: &LearnedArgs) -> Result<()> {
    let run = Run::open(&arguments.run)?;
    super::check_out(arguments.out.as_deref(), run.folder(), super::image_folders(&run, arguments.data.as_deref()))?;
    let Checkpoint { meta, network, weights } = run.checkpoint(arguments.weights)?;
    let images = super::images::validation_of(&run, arguments.data.as_deref(), super::CACHE)?;

    let said = super::say_recorded(&run, arguments.weights, meta.epoch, Some(images.as_ref()));
    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);
    let lens = super::lens(&gpu, &run, arguments.weights, &weights, arguments.batch)?;
    let said = super::or_counted(said, &run, arguments.weights, &lens, Some(images.as_ref()))?;
    let started = Instant::now();
    let survey = super::surveyed(&lens, images.as_ref(), usize::MAX, PATCHES)?;
    say(format!("images   {} {}, {:.1} s", survey.images, run.judges(), started.elapsed().as_secs_f64()));

    let shown = super::weights_shown(&arguments.run, arguments.weights, meta.epoch);
    let looked = Learned { lens: &lens, survey: &survey, images: images.as_ref() };
    let blocks = (0..lens.blocks().len()).map(|number| looked.block(number)).collect::<Result<Vec<_>>>()?;
    let page = LearnedPage {
        weights: &shown,
        notes: &said.notes,
        images: survey.images,
        judges: run.judges(),
        filters: &first_filters(&network, &weights).shown()?,
        blocks: &blocks,
    };
    let text = page.page()?;
    // Whatever cannot be drawn has failed by now, before there is a folder.
    let folder = match &arguments.out {
        Some(out) => RunDir::create(Some(out))?,
        None => RunDir::below(&arguments.run, "learned")?,
    };
    super::write_images(&folder, &page.sheets())?;
    write_patches(&folder, &survey, lens.blocks(), images.as_ref())?;
    write_channels(&folder, &survey)?;
    folder.write(super::INDEX, text.as_bytes())?;
    // Last: the report takes for finished what has it.
    let data = super::given_folder(&run, arguments.data.as_deref())?;
    folder.write_json(LEARNED, &LearnedFrom::new(Origin::new(&run, arguments.weights, meta.epoch), data))?;
    say(format!("wrote {}", folder.path().display()));
    say("  index.html                   open this first: filters, and of each channel what activates it most");
    say("  filters.png, block-N-*.png   the same without text; patches.csv names the images of the patches");
    say(
        "  channels.csv                 of each channel: largest value, share of images on which it fires, dead or quiet",
    );
    say("  learned.json                 which weights of which run all this is about");
    Ok(())
}

/// What is known of the channels.
struct Learned<'a> {
    lens: &'a Lens<'a>,
    survey: &'a Survey,
    images: &'a dyn Images,
}

impl Learned<'_> {
    /// What the channels of a block, counted from 0, have learned.
    fn block(&self, number: usize) -> Result<LearnedBlock> {
        let (geometry, surveyed) = (&self.lens.blocks()[number], &self.survey.blocks[number]);
        let maximised = self.maximised(number)?;
        let count = surveyed.channels.len();
        let side = geometry.receptive_field.min(self.images.size() as usize);
        let channel = |(survey, made): (&ChannelSurvey, &Maximised)| {
            let patches = survey.strongest.iter().map(|place| self.patch(geometry, place)).collect::<Result<_>>()?;
            Ok(LearnedChannel::new(survey, patches, &made.image(), side, count))
        };
        let channels = surveyed.channels.iter().zip(&maximised).map(channel).collect::<Result<_>>()?;
        Ok(LearnedBlock { geometry: geometry.clone(), dead: surveyed.dead(), quiet: surveyed.quiet(), channels })
    }

    /// What a value sees of its image.
    fn patch(&self, geometry: &Block, place: &Place) -> Result<RgbImage> {
        let size = self.images.size() as usize;
        let pixels = self.images.pixels(place.image);
        let pixels = pixels.map_err(|reason| anyhow!("{}: {reason}", self.images.name(place.image)))?;
        Ok(crop(&pixels, geometry.receptive_window([place.y, place.x], [size; 2])))
    }

    /// For each channel, an image made to activate it most.
    fn maximised(&self, number: usize) -> Result<Vec<Maximised>> {
        let (block, surveyed) = (number + 1, &self.survey.blocks[number]);
        let channels: Vec<usize> = (0..surveyed.channels.len()).collect();
        let climbing = bar("{msg} {pos}/{len} [{bar:30}]", channels.len() as u64)
            .with_message(format!("activation maximisation for block {block}"));
        let started = Instant::now();
        let progress = |done| climbing.set_position(done as u64);
        let made = maximise(self.lens, number, &channels, &Ascent::default(), progress)?;
        climbing.finish_and_clear();
        say(format!(
            "block {block}: {} channels, {} dead, {} quiet; activation maximisation in {:.1} s",
            channels.len(),
            surveyed.dead(),
            surveyed.quiet(),
            started.elapsed().as_secs_f64()
        ));
        Ok(made)
    }
}

/// A channel in a word.
fn state(channel: &ChannelSurvey) -> &'static str {
    match channel {
        channel if channel.is_dead() => "dead",
        channel if channel.is_quiet() => "quiet",
        _ => "live",
    }
}

/// A line of `channels.csv`.
#[derive(Serialize)]
struct ChannelLine {
    block: usize,
    channel: usize,
    max: f32,
    share_of_images: f64,
    mean: f64,
    state: &'static str,
}

fn write_channels(folder: &RunDir, survey: &Survey) -> Result<()> {
    folder.write_table("channels.csv", |table| {
        for (block, surveyed) in (1..).zip(&survey.blocks) {
            for (channel, found) in surveyed.channels.iter().enumerate() {
                table.serialize(ChannelLine {
                    block,
                    channel,
                    max: found.max,
                    share_of_images: found.share,
                    mean: found.mean,
                    state: state(found),
                })?;
            }
        }
        Ok(())
    })
}

/// A line of `patches.csv`: where a patch comes from, in rows and columns of the image as the network sees it.
#[derive(Default, Serialize)]
struct PatchLine {
    block: usize,
    channel: usize,
    rank: usize,
    image: String,
    value: f32,
    top: usize,
    left: usize,
    bottom: usize,
    right: usize,
}

fn write_patches(folder: &RunDir, survey: &Survey, blocks: &[Block], images: &dyn Images) -> Result<()> {
    let size = images.size() as usize;
    let mut lines = Vec::new();
    for (block, (surveyed, geometry)) in (1..).zip(survey.blocks.iter().zip(blocks)) {
        for (channel, found) in surveyed.channels.iter().enumerate() {
            for (rank, place) in (1..).zip(&found.strongest) {
                let [rows, columns] = geometry.receptive_window([place.y, place.x], [size; 2]);
                lines.push(PatchLine {
                    block,
                    channel,
                    rank,
                    image: images.name(place.image),
                    value: place.value,
                    top: rows.start,
                    left: columns.start,
                    bottom: rows.end,
                    right: columns.end,
                });
            }
        }
    }
    folder.write("patches.csv", &disk::rows(&lines)?)
}
