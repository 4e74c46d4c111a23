//! Where the network finds its evidence on average.

use anyhow::Result;
use maud::{Markup, html};

use super::explained::saliency_image;
use super::{EmbeddedImage, Report, img};
use crate::explain::class_means::ClassMean;
use crate::explain::saliency::Map;
use crate::figures::words::{count, name, signed};

/// A class's mean maps, as the page shows them.
pub struct MeanMaps {
    /// The class.
    pub class: usize,
    /// The mean evidence.
    pub evidence: MeanMap,
    /// The mean of occlusion.
    pub occlusion: MeanMap,
}

/// A mean map.
pub struct MeanMap {
    /// Its colours.
    pub image: EmbeddedImage,
    /// Images behind it.
    pub images: usize,
    /// Its lowest and highest value, in logits.
    pub limits: [f32; 2],
}

impl MeanMaps {
    /// Draws a class's mean maps.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn new(mean: &ClassMean) -> Result<Self> {
        let drawn = |map: &Map, images| -> Result<MeanMap> {
            let limits = [f32::min, f32::max].map(|pick| map.values.iter().copied().reduce(pick).unwrap_or(0.0));
            Ok(MeanMap { image: saliency_image("mean map", map)?, images, limits })
        };
        Ok(Self {
            class: mean.class,
            evidence: drawn(&mean.evidence, mean.images)?,
            occlusion: drawn(&mean.occlusion, mean.occluded)?,
        })
    }
}

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    let looked = match &report.looked {
        Ok(looked) => looked,
        Err(why) => return report.unlooked("The mean maps are not shown", why),
    };
    html! {
        p {
            "The mean of the maps over the " (report.judges()) " of each class: where the network finds its evidence on average, for the class "
            "against the strongest other. A spot in one corner or a stripe along one side is something that the images of a class share there: "
            "a watermark, a border or a date stamp, say. A broad patch around the middle is where the subject mostly lies. What is in another "
            "place in every image averages out, so a map without a spot does not rule out such a cue."
        }
        div.gallery {
            @for means in &looked.class_means {
                (figure(means, &report.classes()[means.class]))
            }
        }
        p.note {
            span.warm { "Warm" } " speaks for the class, " span.cold { "cold" } " against it; each map has its own scale. Evidence is coarse: "
            "one value for each place of the last maps. Occlusion is finer, but takes longer, so it is the mean of fewer images."
        }
    }
}

fn figure(means: &MeanMaps, class: &str) -> Markup {
    html! {
        figure.shot {
            div.pair {
                (img(&means.evidence.image, &format!("mean evidence for {class}")))
                (img(&means.occlusion.image, &format!("mean occlusion for {class}")))
            }
            figcaption {
                strong { (name(class)) } ": evidence, the mean of " (behind(&means.evidence)) "; occlusion, the mean of " (behind(&means.occlusion))
            }
        }
    }
}

/// How many images are behind a map, and its limits.
fn behind(map: &MeanMap) -> Markup {
    let [low, high] = map.limits.map(|limit| signed(f64::from(limit), 3));
    html! { (count(map.images)) " image" @if map.images != 1 { "s" } " (" (low) " to " (high) " logits)" }
}
