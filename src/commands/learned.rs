//! `learned`: what each channel of a network has learned.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::checkpoint::Checkpoint;
use crate::cli::LearnedArgs;
use crate::data::Pictures;
use crate::explain::learned::{Ascent, Survey, crop, maximise};
use crate::report::{self, Filters, PatchRow};
use crate::run_dir::{self, RunDir};
use crate::spec::Block;
use crate::terminal::{bar, say};

/// Patches of each channel: a square of them.
const PATCHES: usize = 9;

pub(super) fn learned(arguments: &LearnedArgs) -> Result<()> {
    run_dir::check_free(arguments.out.as_deref())?;
    let file = arguments.weights.file();
    let Checkpoint { meta, weights } = run_dir::read_checkpoint(&arguments.run, file)?;
    super::square_size(&arguments.run, &meta.spec)?;
    let pictures = super::pictures::validation_of(&arguments.run, arguments.data.as_deref(), super::CACHE)?;

    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);
    let lens = super::lens(&gpu, &meta.spec, arguments.batch)?;
    lens.load(&weights);
    let started = Instant::now();
    let survey = super::surveyed(&lens, pictures.as_ref(), usize::MAX, PATCHES)?;
    say(format!("pictures {} for validation, {:.1} s", survey.pictures, started.elapsed().as_secs_f64()));

    let folder = match &arguments.out {
        Some(out) => RunDir::create(Some(out))?,
        None => RunDir::at(run_dir::free_folder(&arguments.run, "learned")?),
    };
    let facts = [
        format!("weights {}", super::weights_shown(&arguments.run, arguments.weights, meta.epoch)),
        format!("{} validation pictures", survey.pictures),
    ];
    let index = meta.spec.conv_index(0);
    let filters = Filters {
        name: "Block 1",
        weights: weights.get(&format!("{index}.weight")),
        height: meta.spec.kernel,
        width: meta.spec.kernel,
    };
    let mut drawn = vec![("filters.png".into(), report::filters("Filters of block 1", &facts[..1], &filters)?)];

    for (number, (block, surveyed)) in (1..).zip(lens.blocks().iter().zip(&survey.blocks)) {
        let notes: Vec<String> = surveyed
            .channels
            .iter()
            .map(|channel| match channel {
                channel if channel.is_dead() => "dead".into(),
                channel if channel.is_quiet() => format!("quiet: {:.1} %", 100.0 * channel.share),
                channel => format!("{:.0} %", 100.0 * channel.share),
            })
            .collect();
        let row =
            |index: usize, patches| PatchRow { name: format!("channel {index}"), note: notes[index].clone(), patches };

        let mut rows = Vec::with_capacity(notes.len());
        for index in 0..notes.len() {
            rows.push(row(index, patches(pictures.as_ref(), &survey, number - 1, index, block)?));
        }
        let mut told = facts.to_vec();
        told.push(format!(
            "the nine pictures that drive a channel up most, each cut to what its strongest value sees ({} px); below, on \
             how many of the pictures it fires; {} of {} channels are dead (never fire), {} quiet (fire on less than 1 %)",
            block.receptive_field,
            surveyed.dead(),
            notes.len(),
            surveyed.quiet()
        ));
        let title = format!("Block {number}: the strongest patches of each channel");
        drawn.push((format!("block-{number}-patches.png"), report::patches(&title, &told, &rows, 3)?));

        let climbing = bar("{msg} {pos}/{len} [{bar:30}]", notes.len() as u64)
            .with_message(format!("driving up the channels of block {number}"));
        let started = Instant::now();
        let channels: Vec<usize> = (0..notes.len()).collect();
        let made =
            maximise(&lens, number - 1, &channels, &Ascent::default(), |done| climbing.set_position(done as u64))?;
        climbing.finish_and_clear();
        say(format!(
            "block {number}: {} channels, {} dead, {} quiet; pictures that drive them up made in {:.1} s",
            notes.len(),
            surveyed.dead(),
            surveyed.quiet(),
            started.elapsed().as_secs_f64()
        ));
        let rows: Vec<PatchRow> = made.iter().map(|made| row(made.channel, vec![made.image()])).collect();
        let told = [
            facts[0].clone(),
            "pictures only: made from noise to drive one value of a channel as high as it goes. They show what a channel \
             adds up, not what it is for, and nothing that exists."
                .into(),
        ];
        let title = format!("Block {number}: pictures made to drive each channel up");
        drawn.push((format!("block-{number}-maximised.png"), report::patches(&title, &told, &rows, 1)?));
    }
    super::write_pictures(folder.path(), drawn)?;
    write_channels(&folder.file("channels.csv"), &survey)?;
    write_patches(&folder.file("patches.csv"), &survey, lens.blocks(), pictures.as_ref())?;
    say(format!("wrote {}", folder.path().display()));
    say("  filters.png                  the filters of block 1 in colour");
    say("  block-N-patches.png          the nine strongest patches of each channel; patches.csv names their files");
    say("  block-N-maximised.png        pictures only: made to drive each channel up");
    say(
        "  channels.csv                 of each channel: largest value, share of pictures on which it fires, dead or quiet",
    );
    Ok(())
}

/// The strongest patches of a channel.
fn patches(
    pictures: &dyn Pictures,
    survey: &Survey,
    block: usize,
    channel: usize,
    geometry: &Block,
) -> Result<Vec<image::RgbImage>> {
    let size = pictures.size() as usize;
    let places = &survey.blocks[block].channels[channel].strongest;
    let cut = |place: &crate::explain::learned::Place| {
        let name = || pictures.name(place.picture);
        let pixels = pictures.pixels(place.picture).map_err(|reason| anyhow::anyhow!("{}: {reason}", name()))?;
        Ok(crop(&pixels, geometry.receptive_window([place.y, place.x], [size; 2])))
    };
    places.iter().map(cut).collect()
}

fn write_channels(path: &Path, survey: &Survey) -> Result<()> {
    let write = || -> csv::Result<()> {
        let mut table = csv::Writer::from_path(path)?;
        table.write_record(["block", "channel", "max", "share_of_pictures", "mean", "state"])?;
        for (number, block) in (1..).zip(&survey.blocks) {
            for (index, channel) in block.channels.iter().enumerate() {
                let state = if channel.is_dead() {
                    "dead"
                } else if channel.is_quiet() {
                    "quiet"
                } else {
                    "live"
                };
                table.serialize((number, index, channel.max, channel.share, channel.mean, state))?;
            }
        }
        Ok(table.flush()?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Where each patch comes from: rows and columns of the picture as the network sees it.
fn write_patches(path: &Path, survey: &Survey, blocks: &[Block], pictures: &dyn Pictures) -> Result<()> {
    let size = pictures.size() as usize;
    let write = || -> csv::Result<()> {
        let mut table = csv::Writer::from_path(path)?;
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
        Ok(table.flush()?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
