//! Single decisions, with saliency maps and how far to trust each.

use maud::{Markup, html};

use super::maps::{colour_bar, limits};
use super::{Explained, ExplainedMap, Report, img, missing};
use crate::explain::trust::RANDOM_ORDERS;
use crate::explain::verdict::{EXACT, FIRST_ORDER, Verdict};
use crate::figures::words::{name, percent, plain, signed};
use crate::terminal::counted;
use crate::train::Origin;

/// What is said of an image that the program has not drawn, where it drew all others.
pub const DRAWN: &str = "this network was trained on drawn images only: what it says of a photo means little";

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    let command = format!("convscope explain --run {}", report.judged());
    if report.explained.is_empty() {
        return missing("No decision has been explained yet.", &command);
    }
    html! {
        (how_tested(report.network.linear_tail().is_some(), html! { "Your own images: " code { "convscope explain IMAGE --run " (report.typed()) } }))
        @for explained in &report.explained { (decision(report, explained)) }
        @if report.more_explained > 0 {
            p.note {
                "Explained before these, and not shown here: " (counted(report.more_explained, "more image")) ", each on a page of its own in "
                code { (report.run.join("explain").display().to_string()) } "."
            }
        }
    }
}

/// What the maps are and how they are tested; `more` ends the paragraph.
pub fn how_tested(exact: bool, more: Markup) -> Markup {
    html! {
        p {
            @if exact { "Evidence is exact. The other maps" } @else { "Evidence holds to first order. The maps" }
            " approximate or measure, and each carries what speaks for it or against it: beside it the same "
            "method on an untrained network, which must look different, and its score against baselines that know "
            "nothing of the network. Laid over the image in grey, a map's colours are the fainter the nearer it is to 0. Each map has its own "
            "colour scale, its limits at the ends of the colour bar; the strongest 1 % of pixels share the last colours."
        }
        p {
            "Scores are differences of two logits, the first class less the second, from which the network's decision follows. "
            "Deletion: the mean while the pixels that the map names are blurred first, lower is better. "
            "Insertion: the mean while they are restored first, higher is better. Of " (RANDOM_ORDERS) " random orders the best is shown. " (more)
        }
    }
}

fn decision(report: &Report, explained: &Explained) -> Markup {
    let Origin { weights, epoch, .. } = &explained.origin;
    html! {
        article.decision {
            h3 { (question(explained)) }
            p.note { (name(&explained.name)) ": the network says " (decided(explained)) "." }
            @if report.drawn() && explained.truth.is_none() { p.note { "Note: " (DRAWN) "." } }
            @if !report.is_about(explained) {
                p.note { "With the weights in " code { (weights) } " of epoch " (epoch) ", which are not those of the head of this page." }
            }
            (logit_differences(explained))
            div.methods {
                (evidence(explained))
                @for map in &explained.maps { (method(explained, map, report.verdict(explained, map))) }
            }
        }
    }
}

/// "Why cat rather than dog?"
pub fn question(explained: &Explained) -> Markup {
    html! { "Why " (name(&explained.target)) " rather than " (name(&explained.against)) "?" }
}

/// "cat (75.0 %), wrongly: it is labelled dog"
pub fn decided(explained: &Explained) -> Markup {
    let Explained { target, probability, truth, .. } = explained;
    html! {
        (name(target)) " (" (percent(*probability)) ")"
        @match truth {
            Some(truth) if truth == target => ", rightly",
            Some(truth) => { ", wrongly: it is labelled " (name(truth)) }
            None => "",
        }
    }
}

/// The logit differences between which the scores of maps lie, as a rule.
pub fn logit_differences(explained: &Explained) -> Markup {
    html! {
        p.note {
            "Logits: " (signed(explained.logit_difference, 3)) " for the image, " (signed(explained.blurred_logit_difference, 3))
            " for the blurred image. Scores go beyond the two where some parts of the image speak for the class and others against it."
        }
    }
}

/// The image, its evidence, and the one laid over the other.
pub fn evidence(explained: &Explained) -> Markup {
    let Explained { target, against, .. } = explained;
    let alt = format!("evidence for {target}");
    html! {
        section {
            h4 { "Evidence" }
            div.trio {
                figure { (img(&explained.photo, &explained.name)) figcaption { "the image" } }
                figure { (img(&explained.over, &format!("{alt}, laid over the image"))) figcaption { "evidence over it" } }
                figure { (img(&explained.evidence, &alt)) figcaption { "evidence" } }
            }
            (colour_bar(explained.scale))
            p.note {
                span.warm { "Red" } " speaks for " (name(target)) ", " span.cold { "blue" } " for " (name(against)) ". " (explained.coarse)
            }
            p.verdict { (if explained.exact { EXACT } else { FIRST_ORDER }) }
        }
    }
}

/// A map laid over the image, alone, and of an untrained network, with what to make of it.
pub fn method(explained: &Explained, map: &ExplainedMap, verdict: Verdict) -> Markup {
    let name = &map.method;
    html! {
        section {
            h4 { (name) }
            div.trio {
                figure { (img(&map.over, &format!("{name} of the network, laid over the image"))) figcaption { "over the image" } }
                figure { (img(&map.map, &format!("{name} of the network"))) figcaption { "this network" } }
                figure { (img(&map.control, &format!("{name} of an untrained network"))) figcaption { "untrained" } }
            }
            (colour_bar(map.scale))
            p.note { "Untrained network: " (limits(map.control_scale)) "." }
            p.verdict { (verdict.to_string()) }
            table.scores {
                thead { tr { th { "" } th.number { "deletion ↓" } th.number { "insertion ↑" } } }
                tbody {
                    tr { th scope="row" { "this map" } td.number { (signed(map.deletion, 3)) } td.number { (signed(map.insertion, 3)) } }
                    @for guess in &explained.baselines {
                        tr.guess { th scope="row" { (guess.name) } td.number { (signed(guess.deletion, 3)) } td.number { (signed(guess.insertion, 3)) } }
                    }
                }
            }
            p.note {
                "Similarity to the untrained network's map: "
                @match map.similarity { Some(similarity) => (plain(similarity, 2)), None => "undefined" } "."
                @if let Some(gap) = map.completeness_gap { " Left unexplained: " (signed(gap, 3)) " logits." }
            }
            details { summary { "How to read it" } @for line in &map.reading { p.note { (line) } } }
        }
    }
}
