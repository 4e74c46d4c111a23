//! `layers`: what each layer of a network is good for.

use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::LayersArgs;
use crate::explain::changes::ResetVerdict;
use crate::figures::ScaleBy;
use crate::figures::words::{plain, signed};
use crate::nn::checkpoint::{Checkpoint, Weights};
use crate::report::layer_charts;
use crate::stats::standing::{self, Standing, Verdict};
use crate::study::layers::{self, Ablation, CONTRADICTED, FROM_ELSEWHERE, LayerRow, Layers, Subjects, WENT_ON};
use crate::terminal::{bar, say};
use crate::train::Run;
use crate::train::Which;
use crate::train::run_dir::RunDir;

pub(super) fn layers(arguments: &LayersArgs) -> Result<()> {
    let run = Run::open(&arguments.run)?;
    let which = arguments.weights.unwrap_or(if run.imported().is_some() { Which::Best } else { Which::Last });
    super::check_out(arguments.out.as_deref(), run.folder(), super::image_folders(&run, arguments.data.as_deref()))?;
    let Checkpoint { meta, network, weights } = run.checkpoint(which)?;
    let data = super::images::held_out_of(&run, arguments.data.as_deref(), arguments.images, super::CACHE)?;

    let (held_out, unlabelled) = (data.val.as_ref(), data.train.as_ref());
    let validation = super::to_be_counted(&run, arguments.data.as_deref());
    let said = super::say_recorded(&run, which, meta.epoch, validation.as_deref());
    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);
    let started = Instant::now();
    let lens = super::lens(&gpu, &run, which, &weights, arguments.batch)?;
    let said = super::or_counted(said, &run, which, &lens, Some(held_out))?;
    // The start of a network from elsewhere is not known, and any random one stands for it.
    let seed = run.config().map_or(arguments.seed, |config| config.training.seed);
    let initial = Weights::initial(&network, seed);
    // Photos that chose the best epoch judge it too; drawn images are new.
    let chosen = which == Which::Best && run.config().is_ok_and(|config| config.data.is_some());
    let epochs = if chosen { run.metrics()?.len() } else { 1 };
    let subjects = Subjects { held_out, unlabelled, classes: &meta.classes, most: arguments.images, epochs };
    let doing = bar("{msg}  {elapsed}", 0);
    let made = layers::study(&lens, (which.file(), &weights), &initial, &subjects, arguments.seed, |next| {
        doing.suspend(|| say(format!("study    {next}")));
        doing.set_message(next);
        doing.tick();
    });
    let (table, standing) = made.with_context(|| format!("--run {}", arguments.run.display()))?;
    doing.finish_and_clear();
    let first = match run.config() {
        Ok(config) => config.training.init.as_ref().map(|_| WENT_ON),
        Err(_) => Some(FROM_ELSEWHERE),
    };
    let limits = first.into_iter().chain([&table.limits[..]]).collect::<Vec<_>>().join(" ");
    let table = Layers { run: run.id().map(String::from), limits, ..table };

    let folder = match &arguments.out {
        Some(out) => RunDir::create(Some(out))?,
        None => RunDir::below(&arguments.run, "layers")?,
    };
    for (name, chart, _) in layer_charts(&table) {
        folder.write(&format!("{name}.svg"), chart.file().as_bytes())?;
    }
    folder
        .write_table("layers.csv", |file| table.layers.iter().try_for_each(|layer| file.serialize(Line::new(layer))))?;
    // Last: the report takes for finished what has it.
    folder.write_json("layers.json", &table)?;
    print(&table, &standing, said.verdict);
    let seconds = started.elapsed().as_secs_f64();
    say(format!("wrote {}: layers.json, layers.csv, and figures as .svg; {seconds:.0} s", folder.path().display()));
    // The report tells of what lies in the run's folder.
    if arguments.out.is_none() && !arguments.no_report {
        // Drawn images that were judged by are others than these, and of given ones these are only half.
        let judged = run.config().is_ok_and(|config| config.data.is_some()).then_some(held_out);
        super::report::afterwards(&gpu, &arguments.run, judged, arguments.data.as_deref(), ScaleBy::default())?;
    }
    Ok(())
}

/// `standing` is how the network does on the table's images, `judged` what was said of it before.
fn print(table: &Layers, standing: &Standing, judged: Verdict) {
    if judged != standing.verdict() {
        standing::caution(Some(standing)).iter().for_each(|caution| say(format!("note: {caution}")));
    }
    let contradicted = table.conclusive && judged == Verdict::NotShown;
    if contradicted {
        say(format!("note: {CONTRADICTED}"));
    }
    let table = &if contradicted { table.of_guesses() } else { table.clone() };
    say(format!("{} on as many images of each class: {standing}", table.weights));
    say(format!(
        "with running statistics estimated anew, from which resets take their costs: {:.1} %",
        table.accuracy_anew
    ));
    say(
        "block  maps            sees  repeats (untrained)  dead  rank   probe (untrained, permuted)  reset costs, points",
    );
    for layer in &table.layers {
        let LayerRow { block, output: [channels, height, width], receptive_field, .. } = layer;
        let maps = format!("{channels} x {height} x {width}");
        let (repeats, grid, reset) = (layer.repeatability, layer.grid, layer.reset);
        say(format!(
            "{block:5}  {maps:14} {receptive_field:3} px  {:>7}    ({:>6})  {:4}  {:4.1}  {:5.1} % ({:.1}, {:.1})         {} \
             ({} .. {}) {}",
            plain(repeats.trained, 3),
            plain(repeats.initial, 3),
            layer.dead,
            layer.effective_rank,
            grid.trained,
            grid.initial,
            grid.permuted,
            signed(reset.drop, 1),
            signed(reset.low, 1),
            signed(reset.high, 1),
            reset.verdict
        ));
    }
    for layer in &table.layers {
        say(format!("block {}: {}", layer.block, layer.verdict));
    }
    if let Some(answer) = table.answer() {
        say(format!("Is the last block useless? {answer}"));
    }
    say(&table.limits);
}

/// A line of `layers.csv`: the figures of a block; `layers.json` has the rest.
#[derive(Serialize)]
struct Line {
    block: usize,
    channels: usize,
    height: usize,
    width: usize,
    receptive_field: usize,
    parameters: usize,
    repeatability: f64,
    repeatability_initial: f64,
    repeatability_noisy: f64,
    repeatability_noisy_initial: f64,
    dead: usize,
    quiet: usize,
    effective_rank: f64,
    probe_pooled: f64,
    probe_pooled_initial: f64,
    probe_pooled_permuted: f64,
    probe_grid: f64,
    probe_grid_initial: f64,
    probe_grid_permuted: f64,
    reset_drop: f64,
    reset_low: f64,
    reset_high: f64,
    reset: ResetVerdict,
    redrawn_drop: f64,
    redrawn_low: f64,
    redrawn_high: f64,
    redrawn: ResetVerdict,
    channels_enough_low: Option<usize>,
    channels_enough_high: Option<usize>,
    channels_missed: Option<usize>,
}

impl Line {
    fn new(layer: &LayerRow) -> Self {
        let [channels, height, width] = layer.output;
        let Ablation { enough, missed, .. } = layer.ablation;
        Self {
            block: layer.block,
            channels,
            height,
            width,
            receptive_field: layer.receptive_field,
            parameters: layer.parameters,
            repeatability: layer.repeatability.trained,
            repeatability_initial: layer.repeatability.initial,
            repeatability_noisy: layer.repeatability_noisy.trained,
            repeatability_noisy_initial: layer.repeatability_noisy.initial,
            dead: layer.dead,
            quiet: layer.quiet,
            effective_rank: layer.effective_rank,
            probe_pooled: layer.pooled.trained,
            probe_pooled_initial: layer.pooled.initial,
            probe_pooled_permuted: layer.pooled.permuted,
            probe_grid: layer.grid.trained,
            probe_grid_initial: layer.grid.initial,
            probe_grid_permuted: layer.grid.permuted,
            reset_drop: layer.reset.drop,
            reset_low: layer.reset.low,
            reset_high: layer.reset.high,
            reset: layer.reset.verdict,
            redrawn_drop: layer.redrawn.drop,
            redrawn_low: layer.redrawn.low,
            redrawn_high: layer.redrawn.high,
            redrawn: layer.redrawn.verdict,
            channels_enough_low: enough.map(|enough| enough.at_least),
            channels_enough_high: enough.map(|enough| enough.at_most),
            channels_missed: missed,
        }
    }
}
