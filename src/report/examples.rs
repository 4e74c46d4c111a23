//! The galleries.

use maud::{Markup, html};

use super::{Report, Shot, img};
use crate::figures::words::{name, percent};

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    let looked = match &report.looked {
        Ok(looked) => looked,
        Err(why) => return report.unlooked("The images are not shown", why),
    };
    html! {
        p {
            "Some of the " (report.judges()) ", each with its evidence laid over it: what every place of the last maps adds to the predicted class against the "
            "runner-up. " span.warm { "Red" } " speaks for the prediction, " span.cold { "blue" }
            " against it; where there is no colour, nothing speaks for either. Each map has its own scale."
        }
        @for gallery in &looked.galleries {
            h3 { (gallery.title) }
            p.note { (gallery.note) @if gallery.shots.is_empty() { " There is none." } }
            div.gallery { @for shot in &gallery.shots { (card(shot, report.classes())) } }
        }
    }
}

fn card(shot: &Shot, classes: &[String]) -> Markup {
    let (predicted, truth) = (&classes[shot.judged.predicted], &classes[shot.judged.truth]);
    html! {
        figure.shot {
            div.pair {
                (img(&shot.photo, &format!("{}, a {truth}", shot.name)))
                (img(&shot.evidence, &format!("evidence for {predicted}, laid over the image")))
            }
            figcaption {
                @if shot.judged.right() { span.right { "✓ " } } @else { span.wrong { "✗ " } }
                strong { (name(predicted)) } " " (percent(shot.judged.probability))
                @if !shot.judged.right() { ", is " strong { (name(truth)) } }
                span.file { (name(&shot.name)) }
            }
        }
    }
}
