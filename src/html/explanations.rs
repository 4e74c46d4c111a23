//! Single decisions, with saliency maps and how far to trust each.

use maud::{Markup, html};

use super::words::{percent, plain, signed};
use super::{Explained, ExplainedMap, Report, missing, picture};
use crate::explain::trust::RANDOM_ORDERS;
use crate::explain::verdict::Verdict;
use crate::standing;

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
            "nothing of the network. Scores are differences of two logits, the first class less the second, from which the network's decision follows. "
            "Deletion: the mean while the pixels that the map names are blurred first, lower is better. "
            "Insertion: the mean while they are restored first, higher is better. Of " (RANDOM_ORDERS) " random orders the best is shown. Your own images: "
            code { "convscope explain IMAGE --run " (report.typed()) }
        }
        @let standing = standing::verdict(report.standing().as_ref());
        @for explained in &report.explained { (decision(explained, standing)) }
    }
}

/// `standing` is how the network does beside guessing, as far as it is known now.
fn decision(explained: &Explained, standing: standing::Verdict) -> Markup {
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
            p.note {
                "Logits: " (signed(explained.gap, 3)) " for the image, " (signed(explained.blurred_gap, 3))
                " for the blurred image. Scores go beyond the two where some parts of the image speak for the class and others against it."
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
                @for map in &explained.maps { (method(explained, map, standing)) }
            }
        }
    }
}

fn method(explained: &Explained, map: &ExplainedMap, standing: standing::Verdict) -> Markup {
    let name = &map.method;
    // What is known now of a network that guesses outweighs what was known when it was explained.
    let verdict = if standing == standing::Verdict::Better { map.verdict } else { Verdict { standing, ..map.verdict } };
    html! {
        section {
            h4 { (name) }
            div.pair {
                figure { (picture(&map.map, &format!("{name} of the network"))) figcaption { "this network" } }
                figure { (picture(&map.control, &format!("{name} of an untrained network"))) figcaption { "untrained" } }
            }
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
        }
    }
}
