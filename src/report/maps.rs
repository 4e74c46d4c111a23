//! Feature maps on a page, with all that a reader must know of them.

use anyhow::Result;
use image::RgbImage;
use maud::{Markup, html};

use super::{EmbeddedImage, img};
use crate::figures::words::{count, signed_significant, significant};
use crate::figures::{Kind, LayerMaps, Order, Scale, Shown, Span, columns, sheet};

/// Maps of a layer that are shown before one asks for the others.
const FIRST: usize = 8;

/// The input, with the part that the middle value of a map sees framed for each layer.
pub fn input<'a>(photo: &RgbImage, layers: impl Iterator<Item = &'a LayerMaps<'a>> + Clone) -> Result<Markup> {
    let (width, height) = photo.dimensions();
    let frames = layers.clone().map(|layer| layer.maps.middle((width as usize, height as usize)));
    let fields: Vec<String> = layers.map(|layer| layer.maps.receptive_field.to_string()).collect();
    Ok(html! {
        figure.input {
            svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-label="the input" {
                image href=(EmbeddedImage::photo(photo)?.uri()) width=(width) height=(height) {}
                @for [columns, rows] in frames {
                    @for class in ["outer", "inner"] {
                        rect class=(class) x=(columns.start) y=(rows.start) width=(columns.len()) height=(rows.len()) {}
                    }
                }
            }
            figcaption {
                "The input, " (height) " × " (width) " px. Framed: what the middle value of a map sees, in the order of the blocks ("
                (fields.join(", ")) " px)."
            }
        }
    })
}

/// A colour bar between its limits.
pub fn colour_bar(scale: Scale) -> Markup {
    html! {
        p.bar {
            @if scale.limit == 0.0 {
                (limits(scale))
            } @else {
                (significant(scale.low())) (img(&embedded(&scale.ramp()), "the colours from one limit to the other")) (significant(scale.limit))
            }
        }
    }
}

/// The limits of a scale in words.
pub fn limits(scale: Scale) -> String {
    if scale.limit == 0.0 {
        return "0 everywhere".into();
    }
    format!("{} to {}", significant(scale.low()), significant(scale.limit))
}

/// How to read the maps of these layers.
pub fn legend(order: &Order, span: Span) -> Markup {
    let first = match order {
        Order::Strongest => "Those with the largest mean magnitude on this image come first. Below a map: its channel",
        Order::Contribution(_) => {
            "Those that add most to the decision come first, whichever way. Below a map: its channel, what it adds to the decision \
             (in logits, to first order; in the last block exactly, if what follows it is linear)"
        }
    };
    html! {
        p {
            (first) ", and its least and largest value. " (scale_in_words(span)) " Maps that have values below 0, as before ReLU, are blue below 0, red above, and white at 0. " (HATCHED)
        }
    }
}

/// Which maps have no colours.
pub const HATCHED: &str =
    "Hatched: a map that is 0 everywhere on this image, or one of several values that are all the same.";

/// What the colours of maps span.
pub fn scale_in_words(span: Span) -> &'static str {
    match span {
        Span::Map => {
            "Each map has its own colours: dark is 0, bright the map's largest value. To compare two maps, look at the numbers."
        }
        Span::Layer => "The maps of a layer share one colour scale, so that they can be compared.",
        Span::Common(_) => "The maps of all layers share one colour scale, so that they can be compared.",
    }
}

/// A layer: its first maps, and the others to unfold.
///
/// # Errors
/// When a value cannot be drawn.
pub fn block(layer: &LayerMaps, span: Span) -> Result<Markup> {
    let shown = layer.shown(span)?;
    let (first, others) = shown.split_at(FIRST.min(shown.len()));
    Ok(html! {
        article.block {
            h3 { (heading(layer)) }
            (facts(layer, span))
            (strip(first))
            @if !others.is_empty() {
                details { summary { "The other " (count(others.len())) " maps" } (strip(others)) }
            }
        }
    })
}

/// A layer, all of it to unfold.
///
/// # Errors
/// When a value cannot be drawn.
pub fn folded(layer: &LayerMaps, span: Span) -> Result<Markup> {
    Ok(html! {
        details { summary { (heading(layer)) } (facts(layer, span)) (strip(&layer.shown(span)?)) }
    })
}

/// "Block 3 after ReLU: 64 maps of 15 × 15 values"
fn heading(layer: &LayerMaps) -> String {
    let maps = &layer.maps;
    let number = if maps.channels == 1 { "1 map".into() } else { format!("{} maps", count(maps.channels)) };
    format!("{}: {number} of {} × {} values", maps.name, maps.height, maps.width)
}

fn facts(layer: &LayerMaps, span: Span) -> Markup {
    let maps = &layer.maps;
    let [dead, constant] = layer.flat();
    html! {
        p.note {
            "Each value sees " (maps.receptive_field) " × " (maps.receptive_field) " px, the next is " (maps.stride) " px away; "
            (dead) " of " (maps.channels) " are 0 everywhere on this image" @if constant > 0 { ", " (constant) " constant" } "."
        }
        @if let Some(scale) = span.scale(maps) { (colour_bar(scale)) }
    }
}

/// Maps side by side, each with its channel, contribution and limits.
pub fn strip(shown: &[Shown]) -> Markup {
    html! { div.strip.maps { @for map in shown { (figure(map)) } } }
}

fn figure(map: &Shown) -> Markup {
    let name = format!("map {}", map.channel);
    html! {
        figure {
            @match &map.image {
                Some(image) => (img(&embedded(image), &name)),
                None => div.dead role="img" aria-label=(format!("{name}: the same everywhere")) {},
            }
            figcaption {
                (map.channel) @if let Some(contribution) = map.contribution { " " span.control { (signed_significant(contribution)) } }
                span.limits {
                    @match map.kind {
                        Kind::Dead => "0 everywhere",
                        Kind::Constant => { "constant " (significant(map.most)) }
                        Kind::Live => { (significant(map.least)) " to " (significant(map.most)) }
                    }
                }
            }
        }
    }
}

fn embedded(map: &RgbImage) -> EmbeddedImage {
    EmbeddedImage::map(map).expect("an image of at least a pixel can be encoded")
}

/// All maps of a layer without text, in the order of their channels, and how many stand in a row.
///
/// # Errors
/// When a value cannot be drawn.
pub fn plain_sheet(layer: &LayerMaps, span: Span) -> Result<RgbImage> {
    let mut shown = layer.shown(span)?;
    shown.sort_by_key(|map| map.channel);
    let images: Vec<Option<RgbImage>> = shown.into_iter().map(|map| map.image).collect();
    Ok(sheet(&images, [layer.maps.width as u32, layer.maps.height as u32]))
}

/// What the sheets of [`plain_sheet`] show, for networks of these channels.
pub fn about_sheets(layers: &[LayerMaps]) -> String {
    let rows: Vec<String> = layers.iter().map(|layer| columns(layer.maps.channels).to_string()).collect();
    format!(
        "all maps of a block without text, in the order of their channels, from left to right and from top to bottom, {} in a row \
         (by block)",
        rows.join(", ")
    )
}
