//! Single decisions, with saliency maps and how far to trust each.

use maud::{Markup, html};

use super::words::percent;
use super::{Explained, ExplainedMap, Report, missing, picture};
use crate::standing::{self, Verdict};

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    let command = format!("convscope explain --run {}", report.typed());
    if report.explained.is_empty() {
        return missing("No decision has been explained yet.", &command);
    }
    html! {
        p {
            "Evidence is exact. The other maps approximate or measure, and each carries what speaks for it or against it: beside it the same "
            "method on an untrained network, which must look different, and its score against guesses that know "
            "nothing of the network. Deletion: the mean probability while the pixels that the map names are blurred first, lower is better. "
            "Insertion: while they are restored first, higher is better. Your own pictures: "
            code { "convscope explain IMAGE --run " (report.typed()) }
        }
        @let judged = standing::verdict(report.standing().as_ref()) == Verdict::Better;
        @for explained in &report.explained { (decision(explained, judged)) }
    }
}

/// `judged` is whether the network is more than a guess, so that its maps can be judged.
fn decision(explained: &Explained, judged: bool) -> Markup {
    let Explained { name, target, against, probability, truth, .. } = explained;
    html! {
        article.decision {
            h3 { "Why " (target) " rather than " (against) "?" }
            p.note {
                (name) ": the network says " (target) " (" (percent(*probability)) ")"
                @match truth {
                    Some(truth) if truth == target => ", rightly.",
                    Some(truth) => { ", wrongly: it is labelled " (truth) "." }
                    None => ".",
                }
            }
            div.methods {
                section {
                    h4 { "Evidence" }
                    div.pair {
                        figure { (picture(&explained.photo, name)) figcaption { "the picture" } }
                        figure { (picture(&explained.evidence, &format!("evidence for {target}"))) figcaption { "evidence" } }
                    }
                    p.verdict { "Exact: but for the bias, its places add up to the decision." }
                }
                @for map in &explained.maps { (method(explained, map, judged)) }
            }
        }
    }
}

fn method(explained: &Explained, map: &ExplainedMap, judged: bool) -> Markup {
    let name = &map.method;
    html! {
        section {
            h4 { (name) }
            div.pair {
                figure { (picture(&map.map, &format!("{name} of the network"))) figcaption { "this network" } }
                figure { (picture(&map.control, &format!("{name} of an untrained network"))) figcaption { "untrained" } }
            }
            p.verdict { @if judged { (map.verdict) } @else { (standing::NOT_JUDGED) } }
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
        }
    }
}

fn score(score: f64) -> String {
    format!("{score:.3}")
}
