//! The three questions and their answers, put together from fixed tables of the figures.

use maud::{Markup, html};

use super::layers::doubt;
use super::{Explained, Report, depth, missing};
use crate::explain::changes::ResetVerdict;
use crate::figures::words::{count, plain, signed, tiny, with_code};
use crate::stats::standing::{self, Verdict};
use crate::study::layers::{CONTRADICTED, Gain, Other};

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
    let exact = report.network.linear_tail().is_some();
    let mut figures = Vec::new();
    let residuals = report.explained.iter().map(|explained| explained.relative_residual);
    let looked = report.looked.as_ref().ok();
    if let Some(largest) = residuals.chain(looked.map(|looked| looked.residual)).reduce(f64::max) {
        figures.push(if exact {
            (tiny(largest), "largest share of a decision that the evidence leaves unexplained: rounding".into())
        } else {
            (plain(largest, 2), "times the evidence's parts is the most that it leaves of a decision".into())
        });
    }
    let last = report.network.last_block();
    let [_, height, width] = last.output;
    figures.push((
        format!("{height} × {width} places"),
        format!("in the last maps, each seeing {0} × {0} px: where is known no better than that", last.receptive_field),
    ));
    let verdict = standing::verdict(report.standing().as_ref());
    if verdict == Verdict::Better {
        figures.extend(passed(report));
    }
    let text = html! {
        p {
            @if exact {
                "Behind the last block the network is linear. So its maps, weighted and summed over places and channels, with a bias "
                "make up the difference of the two logits: the evidence maps below are that sum and no approximation. "
            } @else {
                "Behind the last block stands a layer that is not linear, so no sum of its maps makes up the decision. The evidence maps "
                "below are value times gradient: they hold to first order only. "
            }
            "What maps of earlier blocks answer to is shown by the patches that activate each channel most; that is what activates a "
            "channel, not what it is there for."
        }
        @if report.explained.is_empty() {
            (missing("How far saliency maps of this network can be trusted is not measured yet.", &format!("convscope explain --run {}", report.judged())))
        } @else {
            p {
                "Other maps are to be believed only as far as they pass tests: the network must do better than guessing, the map must differ "
                "from that of an untrained network, and the pixels it names must matter more than edges, the centre and chance. Which did is shown with "
                a href="#explanations" { "each explanation" } "."
            }
        }
    };
    let places: usize = report.network.blocks().last().map_or(0, |block| block.output[1] * block.output[2]);
    answer(
        "What do the feature maps tell me?",
        match (verdict, exact) {
            (Verdict::Better, true) if places > 1 => {
                "The last block's maps add up to the decision exactly: they show which channels made it, and roughly where."
            }
            (Verdict::Better, true) => {
                "The last block's maps add up to the decision exactly: they show which channels made it, but with one value each \
                 nothing of where."
            }
            (Verdict::Better, false) if places > 1 => {
                "The last block's maps show to first order which channels made the decision, and roughly where: behind them stands a \
                 layer that is not linear."
            }
            (Verdict::Better, false) => {
                "The last block's maps show to first order which channels made the decision, but with one value each nothing of \
                 where: behind them stands a layer that is not linear."
            }
            (Verdict::NotShown, true) => {
                "Nothing but guesses: this network was not shown to do better than always naming the commonest class. Its last \
                 block's maps add up to each guess exactly, and that is all they show."
            }
            (Verdict::NotShown, false) => {
                "Nothing but guesses: this network was not shown to do better than always naming the commonest class."
            }
            (Verdict::Unknown, true) => {
                "The last block's maps add up to the decision exactly; whether that is more than a guess is not known."
            }
            (Verdict::Unknown, false) => {
                "The last block's maps show to first order which channels made the decision; whether that is more than a guess is not \
                 known."
            }
        },
        &figures,
        &text,
    )
}

/// The name of a method in the midst of a sentence: Grad-CAM keeps its capitals.
fn in_sentence(name: &str) -> String {
    if name.chars().skip(1).any(char::is_uppercase) { name.into() } else { name.to_lowercase() }
}

/// For each method, on how many images its map of the page's weights passed all tests.
fn passed(report: &Report) -> Vec<(String, String)> {
    let mut found: Vec<(&str, usize, usize)> = Vec::new();
    // What a map of an image of unknown origin is worth says little of the network.
    let own = |explained: &&Explained| explained.truth.is_some() && report.is_about(explained);
    let about = report.explained.iter().filter(own);
    for (explained, map) in about.flat_map(|explained| explained.maps.iter().map(move |map| (explained, map))) {
        let passed = usize::from(report.verdict(explained, map).passes());
        match found.iter_mut().find(|(name, ..)| *name == map.method) {
            Some((_, passes, of)) => (*passes, *of) = (*passes + passed, *of + 1),
            None => found.push((&map.method, passed, 1)),
        }
    }
    let line = |(name, passes, of): (&str, usize, usize)| {
        (
            format!("{passes} of {of}"),
            format!("maps by {}, of images of known class, that pass all tests of trust", in_sentence(name)),
        )
    };
    found.into_iter().map(line).collect()
}

fn last_layers(report: &Report) -> Markup {
    const QUESTION: &str = "Are the noisy last layers useless?";
    let Some(table) = report.layers() else {
        let text = missing("Not measured yet.", &format!("convscope layers --run {}", report.judged()));
        return answer(QUESTION, "Not answered yet.", &[], &text);
    };
    let (Some(last), Some(short)) = (table.layers.last(), table.answer()) else { return html! {} };
    let contradicted = !table.conclusive && report.layers.as_ref().is_some_and(|(_, table)| table.conclusive);
    let [_, height, width] = last.output;
    let block = last.block;
    let reset = last.reset;
    let mut figures = vec![(
        format!("{} points", signed(-reset.drop, 1)),
        format!(
            "accuracy once block {block} is put back to its start ({} to {}): {}",
            signed(-reset.high, 1),
            signed(-reset.low, 1),
            reset.verdict
        ),
    )];
    figures.extend(last.grid.gain.map(|gain| reads(block, &format!("block {}", block - 1), gain)));
    figures.push(reads(block, "the same block before training", last.grid.learned));
    let strong = last.repeatability_noisy;
    figures.push((
        plain(strong.trained, 2),
        format!(
            "of block {block}'s maps outlasts strong noise, {} before training (difference {} to {})",
            plain(strong.initial, 2),
            signed(strong.low, 2),
            signed(strong.high, 2)
        ),
    ));
    let blocks = |verdict| {
        let of = table.layers.iter().filter(|layer| layer.reset.verdict == verdict);
        of.map(|layer| layer.block.to_string()).collect::<Vec<_>>().join(", ")
    };
    let [not_missed, undecided] = [ResetVerdict::NotMissed, ResetVerdict::Undecided].map(blocks);
    let text = html! {
        p {
            @if height.max(width) <= COARSE {
                "Block " (block) " has " (height) " × " (width) " values a map, each of which sees " (last.receptive_field)
                " px: so few values look like noise, whatever they hold. "
            }
            "Of block " (block) ": " (last.grid.learned.verdict.words(Other::Untrained)) "."
            @if !table.conclusive {
                " Where a network is not shown to be better than guessing, nothing follows from what a reset costs."
            } @else if not_missed.is_empty() && undecided.is_empty() {
                " The network uses what every one of its blocks has learned."
            } @else {
                @if !not_missed.is_empty() { " The network loses less than a point where one puts these blocks back to their start: " (not_missed) "." }
                @if !undecided.is_empty() { " Whether it uses what these blocks have learned is not shown: " (undecided) "." }
            }
        }
        @if contradicted {
            p { (CONTRADICTED) }
        }
        p.note { "On " (count(table.images)) " images. " (with_code(&table.limits)) }
    };
    answer(QUESTION, &short, &figures, &text)
}

/// The figure of one probe against another, and what it is.
fn reads(block: usize, other: &str, gain: Gain) -> (String, String) {
    let what = format!("what a linear probe reads from block {block} against {other} ({})", doubt(gain).join(", "));
    (format!("{} points", signed(gain.points, 1)), what)
}
