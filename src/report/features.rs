//! The page of `features`: what each block makes of one image.

use anyhow::Result;
use image::RgbImage;
use maud::{Markup, html};

use super::{Head, document, maps};
use crate::figures::words::{name, percent};
use crate::figures::{LayerMaps, ScaleBy};

/// What each block makes of one image.
pub struct FeaturesPage<'a> {
    /// The image, as it is told.
    pub image: &'a str,
    /// The image as the network saw it.
    pub input: &'a RgbImage,
    /// The predicted class and its probability, 0 to 1.
    pub prediction: (&'a str, f64),
    /// The image's class, where it is known.
    pub truth: Option<&'a str>,
    /// The weights, as they are told.
    pub weights: &'a str,
    /// What a reader must know first.
    pub notes: &'a [String],
    /// The layers, first to last.
    pub layers: &'a [LayerMaps<'a>],
    /// What the colours span.
    pub by: ScaleBy,
}

impl FeaturesPage<'_> {
    /// The page.
    ///
    /// # Errors
    /// When a value cannot be drawn.
    pub fn page(&self) -> Result<String> {
        for layer in self.layers {
            layer.check(self.input.dimensions())?;
        }
        let span = self.by.span(self.layers);
        let blocks = self.layers.iter().map(|layer| maps::block(layer, span)).collect::<Result<Vec<_>>>()?;
        let body = html! {
            (self.head().markup())
            section {
                h2 { "Feature maps" }
                div.beside {
                    (maps::input(self.input, self.layers.iter())?)
                    @if let Some(layer) = self.layers.first() { div { (maps::legend(&layer.order, span)) } }
                }
                @for block in blocks { (block) }
            }
            p.note { "Beside this page: " code { "block-N.png" } ", " (maps::about_sheets(self.layers)) "." }
        };
        Ok(document("Feature maps", &body))
    }

    /// The sheet of each layer, by file name.
    ///
    /// # Errors
    /// When a value cannot be drawn.
    pub fn sheets(&self) -> Result<Vec<(String, RgbImage)>> {
        let span = self.by.span(self.layers);
        let sheet = |(number, layer)| Ok((format!("block-{number}.png"), maps::plain_sheet(layer, span)?));
        (1..).zip(self.layers).map(sheet).collect()
    }

    fn head(&self) -> Head<'_> {
        let (class, probability) = self.prediction;
        let mut facts: Vec<(&str, Markup)> = vec![
            ("Image", name(self.image)),
            ("The network says", html! { (name(class)) " (" (percent(probability)) ")" }),
        ];
        facts.extend(self.truth.map(|truth| ("Labelled", name(truth))));
        facts.push(("Weights", name(self.weights)));
        Head { command: "features", title: html! { "What each block makes of one image" }, notes: self.notes, facts }
    }
}
