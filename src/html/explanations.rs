//! Single decisions, with saliency maps and how far to trust each.

use maud::{Markup, html};

use super::maps::{colour_bar, limits};
use super::words::{name, percent};
use super::{Explained, ExplainedMap, Report, missing, picture};

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    let command = format!("convscope explain --run {}", report.typed());
    if report.explained.is_empty() {
        return missing("No decision has been explained yet.", &command);
    }
    html! {
        (how_tested(html! { "Your own pictures: " code { "convscope explain IMAGE --run " (report.typed()) } }))
        @for explained in &report.explained { (decision(explained)) }
    }
}

/// What the maps are and how they are tested; `more` ends the paragraph.
pub fn how_tested(more: Markup) -> Markup {
    html! {
        p {
            "Evidence is exact. The other maps approximate or measure, and each carries what speaks for it or against it: beside it the same "
            "method on an untrained network, which must look different, and its score against guesses that know "
            "nothing of the network. Laid over the image in grey, a map's colours are the fainter the nearer it is to 0. Each map has its own "
            "colour scale, its limits at the ends of the colour bar; the strongest 1 % of pixels share the last colours. Deletion: the mean probability while the pixels that the map names are blurred first, lower is better. "
            "Insertion: while they are restored first, higher is better. " (more)
        }
    }
}

fn decision(explained: &Explained) -> Markup {
    html! {
        article.decision {
            h3 { (question(explained)) }
            p.note { (name(&explained.name)) ": the network says " (decided(explained)) "." }
            div.methods {
                (evidence(explained))
                @for map in &explained.maps { (method(explained, map)) }
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

/// The image, its evidence, and the one laid over the other.
pub fn evidence(explained: &Explained) -> Markup {
    let Explained { target, against, .. } = explained;
    let alt = format!("evidence for {target}");
    html! {
        section {
            h4 { "Evidence" }
            div.trio {
                figure { (picture(&explained.photo, &explained.name)) figcaption { "the image" } }
                figure { (picture(&explained.over, &format!("{alt}, laid over the image"))) figcaption { "evidence over it" } }
                figure { (picture(&explained.evidence, &alt)) figcaption { "evidence" } }
            }
            (colour_bar(explained.scale))
            p.note {
                span.warm { "Red" } " speaks for " (name(target)) ", " span.cold { "blue" } " for " (name(against)) ". " (explained.coarse)
            }
            p.verdict { "Exact: but for the bias, its places add up to the decision." }
        }
    }
}

/// A map laid over the image, alone, and of an untrained network, with how far to trust it.
pub fn method(explained: &Explained, map: &ExplainedMap) -> Markup {
    let name = &map.method;
    html! {
        section {
            h4 { (name) }
            div.trio {
                figure { (picture(&map.over, &format!("{name} of the network, laid over the image"))) figcaption { "over the image" } }
                figure { (picture(&map.map, &format!("{name} of the network"))) figcaption { "this network" } }
                figure { (picture(&map.control, &format!("{name} of an untrained network"))) figcaption { "untrained" } }
            }
            (colour_bar(map.scale))
            p.note { "Untrained network: " (limits(map.control_scale)) "." }
            p.verdict { (map.verdict) }
            table.scores {
                thead { tr { th { "" } th.number { "deletion ↓" } th.number { "insertion ↑" } } }
                tbody {
                    tr { th scope="row" { "this map" } td.number { (score(map.deletion)) } td.number { (score(map.insertion)) } }
                    @for guess in &explained.baselines {
                        tr.guess { th scope="row" { (guess.name) } td.number { (score(guess.deletion)) } td.number { (score(guess.insertion)) } }
                    }
                }
            }
            p.note {
                "Similarity to the untrained network's map: "
                @match map.similarity { Some(similarity) => (super::words::plain(similarity, 2)), None => "undefined" } "."
                @if let Some(gap) = map.completeness_gap { " Left unexplained: " (super::words::signed(gap, 3)) " logits." }
            }
            details { summary { "How to read it" } @for line in &map.reading { p.note { (line) } } }
        }
    }
}

fn score(score: f64) -> String {
    format!("{score:.3}")
}
