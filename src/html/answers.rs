//! The three questions and their answers, put together from fixed tables of the figures.

use maud::{Markup, html};

use super::words::{count, p_value, plain, signed, tiny, with_code};
use super::{Explained, Report, depth, missing};
use crate::layers::{Gain, Layer, Layers, MOSTLY_SIGNAL, ResetVerdict, SOME_SIGNAL};

/// Rows of maps so small that they look like noise.
const COARSE: usize = 16;

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    html! {
        (feature_maps(report))
        (last_layers(report))
        (depth::depth_answer(report))
    }
}

/// A question with its answer: in short, the figures behind it, and what they mean.
pub fn answer(question: &str, short: &str, figures: &[(String, String)], text: &Markup) -> Markup {
    html! {
        article.answer {
            h2.question { (question) }
            p.short { (short) }
            @if !figures.is_empty() {
                dl.figures-of-answer { @for (value, label) in figures { div { dd { (value) } dt { (label) } } } }
            }
            div.text { (text) }
        }
    }
}

fn feature_maps(report: &Report) -> Markup {
    let model = &report.config.training.model;
    let blocks = model.blocks().unwrap_or_default();
    let mut figures = Vec::new();
    let residuals = report.explained.iter().map(|explained| explained.relative_residual);
    let looked = report.looked.as_ref().ok();
    if let Some(largest) = residuals.chain(looked.map(|looked| looked.residual)).reduce(f64::max) {
        figures
            .push((tiny(largest), "largest share of a decision that the evidence leaves unexplained: rounding".into()));
    }
    if let Some(last) = blocks.last() {
        let [_, height, width] = last.output;
        figures.push((
            format!("{height} × {width} places"),
            format!(
                "in the last maps, each seeing {0} × {0} px: where is known no better than that",
                last.receptive_field
            ),
        ));
    }
    figures.extend(passed(&report.explained));
    let text = html! {
        p {
            "Behind the last block the network is linear. So its maps, weighted and summed over places and channels, with a bias "
            "make up the difference of the two logits: the evidence maps below are that sum and no approximation. What maps of earlier "
            "blocks answer to is shown by the patches that drive each channel up most; that is what excites a channel, not "
            "what it is there for."
        }
        @if report.explained.is_empty() {
            (missing("How far saliency maps of this network can be trusted is not measured yet.", &format!("convscope explain --run {}", report.typed())))
        } @else {
            p {
                "Other maps are to be believed only as far as they pass tests: a map must differ from that of an untrained network, and "
                "the pixels it names must matter more than edges, the centre and chance. Which did is shown with "
                a href="#explanations" { "each explanation" } "."
            }
        }
    };
    answer(
        "What do the feature maps tell me?",
        "The last block's maps add up to the decision exactly: they show which channels made it, and roughly where.",
        &figures,
        &text,
    )
}

/// The name of a method in the midst of a sentence: Grad-CAM keeps its capitals.
fn in_sentence(name: &str) -> String {
    if name.chars().skip(1).any(char::is_uppercase) { name.into() } else { name.to_lowercase() }
}

/// For each method, on how many pictures its map passed all tests.
fn passed(explained: &[Explained]) -> Vec<(String, String)> {
    let mut found: Vec<(&str, usize, usize)> = Vec::new();
    for map in explained.iter().flat_map(|explained| &explained.maps) {
        let passed = usize::from(map.depends && map.beats == (true, true));
        match found.iter_mut().find(|(name, ..)| *name == map.method) {
            Some((_, passes, of)) => (*passes, *of) = (*passes + passed, *of + 1),
            None => found.push((&map.method, passed, 1)),
        }
    }
    let line = |(name, passes, of): (&str, usize, usize)| {
        (format!("{passes} of {of}"), format!("maps by {} that pass all three tests of trust", in_sentence(name)))
    };
    found.into_iter().map(line).collect()
}

fn last_layers(report: &Report) -> Markup {
    const QUESTION: &str = "Are the noisy last layers useless?";
    let Some((_, table)) = &report.layers else {
        let text = missing("Not measured yet.", &format!("convscope layers --run {}", report.typed()));
        return answer(QUESTION, "Not answered yet.", &[], &text);
    };
    let Some(last) = table.layers.last() else { return html! {} };
    let [_, height, width] = last.output;
    let block = last.block;
    let mut figures = vec![(
        plain(last.repeatability.trained, 3),
        format!(
            "repeatability of block {block}'s maps under changes that nobody sees: 1 signal, 0 noise (untrained {})",
            plain(last.repeatability.initial, 3)
        ),
    )];
    if let Some(gain) = last.grid.gain {
        figures.push((
            format!("{} points", signed(gain.points, 1)),
            format!(
                "what a linear probe reads from block {block} against block {} ({} to {}, {})",
                block - 1,
                signed(gain.low, 1),
                signed(gain.high, 1),
                p_value(gain.p)
            ),
        ));
    }
    let reset = last.reset;
    figures.push((
        format!("{} points", signed(-reset.drop, 1)),
        format!(
            "accuracy once block {block} is put back to its start ({} to {}): {}",
            signed(-reset.high, 1),
            signed(-reset.low, 1),
            reset.verdict
        ),
    ));
    let blocks = |verdict| {
        let of = table.layers.iter().filter(|layer| layer.reset.verdict == verdict);
        of.map(|layer| layer.block.to_string()).collect::<Vec<_>>().join(", ")
    };
    let [robust, undecided] = [ResetVerdict::Robust, ResetVerdict::Undecided].map(blocks);
    let text = html! {
        p {
            @if last.repeatability.trained >= SOME_SIGNAL && height.max(width) <= COARSE {
                "What looks like noise in small maps is coarseness: block " (block) " has " (height) " × " (width)
                " values a map, each of which sees " (last.receptive_field) " px. "
            }
            (read(last.grid.gain, block))
            @if !table.conclusive {
                " Where a network guesses, nothing follows from what a reset costs."
            } @else if robust.is_empty() && undecided.is_empty() {
                " No block was found that this network does not need."
            } @else {
                @if !robust.is_empty() { " The network loses less than a point where one puts these blocks back to their start: " (robust) "." }
                @if !undecided.is_empty() { " Whether it needs what these blocks have learned was not shown: " (undecided) "." }
            }
        }
        p.note { "On " (count(table.pictures)) " pictures. " (with_code(&table.limits)) }
    };
    answer(QUESTION, &in_short(table, last), &figures, &text)
}

/// The answer from the last block's figures: whether it is needed, then what its maps are.
fn in_short(table: &Layers, last: &Layer) -> String {
    let needed = match last.reset.verdict {
        _ if !table.conclusive => "Undecided: this network was not shown to be better than guessing.",
        ResetVerdict::Critical => "No: this network needs what the last block has learned.",
        ResetVerdict::Robust => {
            "For this network, nearly: without what the last block has learned it loses less than a point."
        }
        ResetVerdict::Undecided => {
            "Undecided: whether this network needs what the last block has learned was not shown."
        }
    };
    let maps = match last.repeatability.trained {
        MOSTLY_SIGNAL.. => "signal, not noise",
        SOME_SIGNAL.. => "more signal than noise",
        _ => "mostly noise",
    };
    format!("{needed} Its maps are {maps}.")
}

/// What the probe's gain means.
fn read(gain: Option<Gain>, block: usize) -> String {
    match gain {
        None => String::new(),
        Some(gain) if gain.p < 0.05 && gain.points > 0.0 => {
            format!("More of the classes can be read from it than from block {}.", block - 1)
        }
        Some(gain) if gain.p < 0.05 => {
            format!("Less of the classes can be read from it than from block {}.", block - 1)
        }
        Some(_) => {
            format!("It is not shown that more of the classes can be read from it than from block {}.", block - 1)
        }
    }
}
