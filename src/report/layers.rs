//! The table of the layers, its figures, and what each block looks at.

use maud::{Markup, html};

use super::maps::{self, HATCHED, colour_bar, scale_in_words};
use super::{BlockLook, Looked, Report, figure, img, missing};
use crate::explain::changes::ResetVerdict;
use crate::figures::words::{count, p_value, percent, plain, signed};
use crate::figures::{Chart, Forest, ForestRow, LineChart, LineStyle, Series};
use crate::nn::Block;
use crate::study::layers::{Enough, Gain, LayerRow, Layers, Reading, Reset};
use crate::train::Which;

/// The figures of the table: the name of each, its drawing and what it shows.
pub fn charts(table: &Layers) -> Vec<(&'static str, Chart, &'static str)> {
    vec![
        (
            "probe",
            probes(table),
            "What a linear probe reads from each block's maps, pooled to at most 3 × 3 values or to their means. The controls: the same on \
             the network before training, and with permuted labels, which must come out at chance.",
        ),
        (
            "reset",
            resets(table),
            "What the network loses when one block goes back to its weights before training, or to fresh random ones (mean of ten \
             draws; the interval is about the images, not the draws), with 95 % intervals. Right of the 1-point line with the whole interval: in use. Left of it: not missed.",
        ),
        (
            "repeatability",
            repeatability(table),
            "How much of each block's maps outlasts a change of the image, brightness by up to 2 % and noise: faint, which nobody sees \
             (standard deviation 2 of 255), and strong (32 of 255). At 1 the maps do not change; at 0 they change as much as from one \
             image to another. Under faint noise every network comes out near 1, untrained ones too.",
        ),
        (
            "ablation",
            ablation(table),
            "Accuracy with only some of a block's channels, the most important first; the others are replaced by their means. On those of \
             the images, at most 576, that did not rank the channels.",
        ),
    ]
}

fn by_block(table: &Layers, name: &str, look: LineStyle, value: fn(&LayerRow) -> f64) -> Series {
    let points = table.layers.iter().map(|layer| (layer.block as f64, value(layer)));
    Series { name: name.into(), points: points.collect(), look }
}

fn probes(table: &Layers) -> Chart {
    let series = vec![
        by_block(table, "permuted labels", LineStyle::Dashed(4), |layer| layer.grid.permuted),
        by_block(table, "untrained, 3 × 3", LineStyle::Dashed(1), |layer| layer.grid.initial),
        by_block(table, "trained, means", LineStyle::Solid(2), |layer| layer.pooled.trained),
        by_block(table, "trained, 3 × 3", LineStyle::Solid(0), |layer| layer.grid.trained),
    ];
    LineChart {
        label: "accuracy of linear probes by block",
        x: "block",
        y: "% right",
        whole: true,
        holds: Vec::new(),
        series,
    }
    .draw()
}

fn repeatability(table: &Layers) -> Chart {
    let series = vec![
        by_block(table, "untrained, strong", LineStyle::Dashed(1), |layer| layer.repeatability_noisy.initial),
        by_block(table, "trained, strong", LineStyle::Solid(1), |layer| layer.repeatability_noisy.trained),
        by_block(table, "untrained, faint", LineStyle::Dashed(0), |layer| layer.repeatability.initial),
        by_block(table, "trained, faint", LineStyle::Solid(0), |layer| layer.repeatability.trained),
    ];
    LineChart {
        label: "repeatability by block",
        x: "block",
        y: "repeatability",
        whole: true,
        holds: vec![0.0, 1.0],
        series,
    }
    .draw()
}

fn resets(table: &Layers) -> Chart {
    let row =
        |name: String, Reset { drop, low, high, .. }: Reset, tone| ForestRow { name, middle: drop, low, high, tone };
    let of = |layer: &LayerRow| {
        let block = layer.block;
        [row(format!("{block}, to start"), layer.reset, 0), row(format!("{block}, redrawn"), layer.redrawn, 1)]
    };
    let rows = table.layers.iter().flat_map(of).collect();
    let marks = vec![(0.0, ""), (1.0, "1 point")];
    Forest { label: "accuracy lost by resetting each block", axis: "points lost", rows, marks, digits: 1 }.draw()
}

fn ablation(table: &Layers) -> Chart {
    let series = table.layers.iter().map(|layer| Series {
        name: format!("block {}", layer.block),
        points: layer
            .ablation
            .curve
            .iter()
            .map(|&(left, accuracy)| (100.0 * left as f64 / layer.output[0] as f64, accuracy))
            .collect(),
        look: LineStyle::Solid(layer.block - 1),
    });
    let series = series.collect();
    let label = "accuracy by the share of channels left";
    LineChart { label, x: "% of the channels left", y: "% right", whole: false, holds: Vec::new(), series }.draw()
}

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    let table = report.layers();
    let table = table.as_deref();
    html! {
        @match table {
            Some(table) => (figures(table, report.classes().len())),
            None => (missing("What each layer is good for is not measured yet.", &format!("convscope layers --run {}", report.judged()))),
        }
        @match &report.looked {
            Ok(looked) => (blocks(report, looked, table)),
            Err(why) => (report.unlooked("Maps, filters and patches are not shown", why)),
        }
    }
}

fn figures(table: &Layers, classes: usize) -> Markup {
    html! {
        p {
            "On " (count(table.images)) " images, as many of each class, of which the network gets " (plain(table.accuracy, 1))
            "\u{a0}% right, where naming one class always gets " (plain(100.0 / classes as f64, 1))
            "\u{a0}%, with the weights in " code { (table.weights) }
            @if table.weights == Which::Last.file() { ", which no image chose" }
            ". Numbers in grey are controls, the same measure on the network before training or with permuted labels, and \
            95 % intervals, each for itself; p-values are adjusted for all blocks. Channels enough: so many of the most important ones keep the \
            accuracy within a point, and fewer lose more, as far as that is shown (95 % interval). Channels missed: those without which, \
            one at a time, the network's loss is shown to rise. Both are judged on images that did not rank the channels, and only \
            where the network is shown to be better than guessing. Resets need running statistics estimated anew; with those alone the network gets " (plain(table.accuracy_anew, 1)) "\u{a0}%."
        }
        div.scroll {
            table.layers {
                thead {
                    tr {
                        th.number scope="col" { "block" }
                        th.number scope="col" { "maps" }
                        th.number scope="col" { "sees" }
                        th.number scope="col" { "weights" }
                        th.number scope="col" { "repeatability" }
                        th.number scope="col" { "dead, quiet" }
                        th.number scope="col" { "effective rank" }
                        th.number scope="col" { "probe" }
                        th.number scope="col" { "against the block before" }
                        th.number scope="col" { "against untrained" }
                        th.number scope="col" { "reset costs" }
                        th scope="col" { "verdict" }
                        th.number scope="col" { "channels enough" }
                    }
                }
                tbody { @for layer in &table.layers { (row(layer)) } }
            }
        }
        div.figures { @for (_, chart, caption) in charts(table) { (figure(&chart, &html! { (caption) })) } }
    }
}

/// The interval of a difference between two probes, then its p-value where there is something to compare.
pub fn doubt(gain: Gain) -> [String; 2] {
    let Gain { low, high, p, verdict, .. } = gain;
    let sure = if verdict == Reading::Chance { "neither beats chance".into() } else { p_value(p) };
    [format!("{} to {}", signed(low, 1), signed(high, 1)), sure]
}

fn row(layer: &LayerRow) -> Markup {
    let [channels, height, width] = layer.output;
    let control = |text: String| html! { " " span.control { (text) } };
    let gain = |gain: Gain| html! { (signed(gain.points, 1)) @for line in doubt(gain) { (control(line)) } };
    let tone = match layer.reset.verdict {
        ResetVerdict::InUse => "used",
        ResetVerdict::NotMissed => "spare",
        ResetVerdict::Undecided => "undecided",
    };
    html! {
        tr {
            th.number scope="row" { (layer.block) }
            td.number { (channels) " × " (height) " × " (width) }
            td.number { (layer.receptive_field) " px" }
            td.number { (count(layer.parameters)) }
            td.number { (plain(layer.repeatability.trained, 3)) (control(plain(layer.repeatability.initial, 3))) }
            td.number { (layer.dead) ", " (layer.quiet) }
            td.number { (plain(layer.effective_rank, 1)) }
            td.number { (plain(layer.grid.trained, 1)) "\u{a0}%" (control(format!("{:.1} to {:.1}", layer.grid.low, layer.grid.high))) (control(format!("{:.1}, {:.1}", layer.grid.initial, layer.grid.permuted))) }
            td.number {
                @match layer.grid.gain {
                    Some(found) => (gain(found)),
                    None => "–",
                }
            }
            td.number { (gain(layer.grid.learned)) }
            td.number { (plain(layer.reset.drop, 1)) (control(format!("{} to {}", plain(layer.reset.low, 1), plain(layer.reset.high, 1)))) }
            td { span class=(format!("tag {tone}")) { (layer.reset.verdict.to_string()) } }
            td.number {
                @match layer.ablation.enough {
                    Some(Enough { at_least, at_most }) => { (at_least) " to " (at_most) " of " (channels) }
                    None => "–",
                }
                @if let Some(missed) = layer.ablation.missed { (control(format!("{missed} missed"))) }
            }
        }
    }
}

fn blocks(report: &Report, looked: &Looked, table: Option<&Layers>) -> Markup {
    let learned = looked.blocks.iter().any(|block| !block.channels.is_empty());
    html! {
        h3 { "What each block looks at" }
        @if let Some(example) = &looked.example {
            div.example {
                (img(&example.photo, &example.name))
                p {
                    "Maps of this image (" (example.name) "), as each block makes them: of each block those that contribute most to the decision. Below a map its channel, what it adds to the "
                    "logit difference, to first order" @if report.network.linear_tail().is_some() { " (in the last block exactly)" } ", and its least and largest value. " (scale_in_words(looked.span)) " " (HATCHED)
                }
            }
        }
        @if learned {
            p {
                "Patches: what activates a channel most in the " (report.judges()) ", each cut to exactly what the channel sees there, for the channels "
                "with the largest mean; below, on how many of the images the channel fires."
            }
        } @else {
            (missing("What activates each channel most has not been looked for yet.", &format!("convscope learned --run {}", report.judged())))
        }
        @for (number, (block, geometry)) in (1..).zip(looked.blocks.iter().zip(report.network.blocks())) {
            @let layer = table.and_then(|table| table.layers.iter().find(|layer| layer.block == number));
            (strip(number, block, geometry, layer, if number == 1 { &looked.filters } else { &[] }))
        }
    }
}

fn strip(
    number: usize,
    look: &BlockLook,
    block: &Block,
    layer: Option<&LayerRow>,
    filters: &[super::EmbeddedImage],
) -> Markup {
    let [channels, height, width] = block.output;
    html! {
        article.block {
            h4 { "Block " (number) }
            p.note {
                (channels) " maps of " (height) " × " (width) " values; each sees " (block.receptive_field) " px, the next is "
                (block.stride) " px away." @if let Some(layer) = layer { " " (layer.verdict) }
            }
            @if !filters.is_empty() {
                h5 { "Filters" }
                div.filters {
                    @for (channel, filter) in filters.iter().enumerate() { (img(filter, &format!("filter {channel}"))) }
                }
            }
            h5 { "Maps" }
            @if let Some(scale) = look.scale { (colour_bar(scale)) }
            (maps::strip(&look.maps))
            @if !look.channels.is_empty() {
                h5 { "Strongest patches" }
                div.strip.patches {
                    @for channel in &look.channels {
                        figure {
                            @for patch in &channel.patches { (img(patch, &format!("a patch that activates channel {}", channel.channel))) }
                            figcaption { (channel.channel) " " span.control { (percent(channel.share)) } }
                        }
                    }
                }
            }
        }
    }
}
