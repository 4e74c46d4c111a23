//! The page of `explain`: why the network decided as it did on one image.

use anyhow::{Result, bail, ensure};
use image::RgbImage;
use maud::{Markup, html};

use super::explained::Drawn;
use super::explanations::{decided, evidence, how_tested, logit_differences, method, question};
use super::maps;
use super::{Explained, Head, document};
use crate::explain::inspect::Stage;
use crate::explain::ledger::Ledger;
use crate::explain::{Explanation, Lens};
use crate::figures::words::{name, signed_significant, significant};
use crate::figures::{DAMAGED, LayerMaps, ScaleBy};
use crate::nn::Block;

/// Channels that the sum names; the others are added up.
const NAMED: usize = 8;
/// Half the length of a bar of the sum, in its own units.
const HALF: f64 = 100.0;

/// Why the network decided as it did on one image.
pub struct ExplainPage<'a> {
    /// The lens that made the explanation.
    pub lens: &'a Lens<'a>,
    /// All that was found out.
    pub explanation: &'a Explanation,
    /// What of it has been drawn.
    pub explained: &'a Explained,
    /// The weights, as they are told.
    pub weights: &'a str,
    /// What a reader must know first.
    pub notes: &'a [String],
    /// What the colours of feature maps span.
    pub by: ScaleBy,
}

impl ExplainPage<'_> {
    /// The page.
    ///
    /// # Errors
    /// When a value is not finite, or the evidence does not add up to the decision.
    pub fn page(&self) -> Result<String> {
        let Explained { target, against, .. } = self.explained;
        let layers = self.explanation.layers(self.lens, Stage::Relu);
        for layer in &layers {
            layer.check(self.explanation.input.dimensions())?;
        }
        let span = self.by.span(&layers);
        let blocks = layers.iter().map(|layer| maps::block(layer, span)).collect::<Result<Vec<_>>>()?;
        let body = html! {
            (self.head().markup())
            section #decision {
                h2 { "The decision as a sum" }
                div.methods { (evidence(self.explained)) section { (ledger(&self.explanation.ledger, target, against)?) } }
            }
            section #saliency {
                h2 { "Saliency maps" }
                (how_tested(self.explained.exact, html! {}))
                (logit_differences(self.explained))
                div.methods { @for map in &self.explained.maps { (method(self.explained, map, map.verdict)) } }
            }
            section #maps {
                h2 { "Feature maps" }
                div.beside {
                    (maps::input(&self.explanation.input, layers.iter())?)
                    @if let Some(layer) = layers.first() { div { (maps::legend(&layer.order, span)) } }
                }
                @for block in blocks { (block) }
                h3 { "Inside the blocks" }
                @for stage in [Stage::Conv, Stage::Norm] { (self.folded(stage)?) }
            }
            section #files {
                h2 { "Beside this page" }
                ul {
                    li { code { "saliency/" } ": each map alone, laid over the image, and of the untrained network, without text." }
                    li { code { "maps/" } ": " (maps::about_sheets(&layers)) "." }
                    li { code { "values/" } ": the values of all maps, as " code { ".npy" } "." }
                    li {
                        code { "ledger.json" } ", " code { "channels.csv" } ", " code { "saliency.json" } ": the sum, every channel's part in it, "
                        "and the scores of the maps; " code { "hover.json" } ": single values, taken apart."
                    }
                }
            }
        };
        Ok(document(&format!("Why {target} rather than {against}?"), &body))
    }

    /// All images without text, by file name; `slugs` are the methods' names in it.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn images(&self, slugs: &[String]) -> Result<Vec<(String, RgbImage)>> {
        let Self { explanation, .. } = self;
        let evidence = Drawn::new("evidence", &explanation.evidence, &explanation.input)?;
        let mut images = vec![
            ("image.png".into(), explanation.input.clone()),
            ("saliency/evidence.png".into(), evidence.bare),
            ("saliency/evidence-over-image.png".into(), evidence.laid_over),
        ];
        for (slug, finding) in slugs.iter().zip(&explanation.findings) {
            let [map, control] = [&finding.map, &finding.control].map(|map| Drawn::new(slug, map, &explanation.input));
            let map = map?;
            images.push((format!("saliency/{slug}.png"), map.bare));
            images.push((format!("saliency/{slug}-over-image.png"), map.laid_over));
            images.push((format!("saliency/{slug}-untrained.png"), control?.bare));
        }
        for (stage, stage_name) in [(Stage::Conv, "conv"), (Stage::Norm, "norm"), (Stage::Relu, "relu")] {
            let layers = explanation.layers(self.lens, stage);
            let span = self.by.span(&layers);
            for (number, layer) in (1..).zip(&layers) {
                images.push((format!("maps/block-{number}-{stage_name}.png"), maps::plain_sheet(layer, span)?));
            }
        }
        Ok(images)
    }

    fn head(&self) -> Head<'_> {
        Head {
            command: "explain",
            title: question(self.explained),
            notes: self.notes,
            facts: vec![
                ("Image", name(&self.explained.name)),
                ("The network says", decided(self.explained)),
                ("Weights", name(self.weights)),
            ],
        }
    }

    fn folded(&self, stage: Stage) -> Result<Markup> {
        let layers: Vec<LayerMaps> = self.explanation.layers(self.lens, stage);
        // A block without batch norm, or that ends in what the stage shows, has nothing more to show of it.
        let own = |block: &Block| match stage {
            Stage::Conv => block.conv != block.value,
            Stage::Norm => block.norm != block.value && block.norm != block.conv,
            Stage::Relu => true,
        };
        let blocks = layers.into_iter().zip(self.lens.blocks());
        let layers: Vec<LayerMaps> = blocks.filter(|(_, block)| own(block)).map(|(layer, _)| layer).collect();
        let span = self.by.span(&layers);
        let blocks = layers.iter().map(|layer| maps::folded(layer, span)).collect::<Result<Vec<_>>>()?;
        Ok(html! { @for block in blocks { (block) } })
    }
}

/// The logit difference as a list of bars.
///
/// # Errors
/// When a number is not finite, or more is left over than rounding leaves.
fn ledger(ledger: &Ledger, target: &str, against: &str) -> Result<Markup> {
    let rows = rows(ledger)?;
    let largest = rows.iter().map(|(_, value)| value.abs()).fold(ledger.logit_difference.abs(), f64::max);
    // Four digits of the largest number, and as many decimals for the others, so that the column adds up.
    let printed = |value: f64| match largest {
        1e-4..1e6 => crate::figures::words::signed(value, (3 - largest.log10().floor() as i32).max(0) as usize),
        _ => signed_significant(value),
    };
    let bar = |value: f64| {
        let length = if largest == 0.0 { 0.0 } else { value.abs() / largest * HALF };
        let (left, class) = if value < 0.0 { (-length, "cold") } else { (0.0, "warm") };
        html! {
            svg.part viewBox=(format!("{} 0 {} 10", -HALF, 2.0 * HALF)) preserveAspectRatio="none" aria-hidden="true" {
                rect class=(class) x=(format!("{left:.2}")) y="0" width=(format!("{length:.2}")) height="10" {}
                rect.zero x="-0.3" y="0" width="0.6" height="10" {}
            }
        }
    };
    Ok(html! {
        h4 { "The difference of the two logits" }
        table.ledger {
            thead {
                tr {
                    th scope="col" { "summand" } th.number scope="col" { "logits" }
                    th scope="col" { span.sides { span.cold { (name(against)) } span.warm { (name(target)) } } }
                }
            }
            tbody {
                @for (what, value) in &rows {
                    tr { th scope="row" { (what) } td.number { (printed(*value)) } td { (bar(*value)) } }
                }
                tr.sum { th scope="row" { "sum = logit difference" } td.number { (printed(ledger.logit_difference)) } td { (bar(ledger.logit_difference)) } }
            }
        }
        @if ledger.exact { p.note { "Left over, from rounding: " (significant(ledger.residual)) "." } }
    })
}

/// The rows of the sum, by name: they add up to the logit difference but for rounding.
fn rows(ledger: &Ledger) -> Result<Vec<(String, f64)>> {
    let (named, others) = ledger.channels.split_at(NAMED.min(ledger.channels.len()));
    let mut rows = Vec::new();
    if ledger.exact {
        rows.push(("bias".to_string(), ledger.bias));
    }
    rows.extend(named.iter().map(|share| (format!("channel {}", share.index), share.share)));
    rows.push((format!("other channels ({})", others.len()), others.iter().map(|share| share.share).sum()));
    if !ledger.exact {
        rows.push(("left over: not linear".to_string(), ledger.residual));
    }
    let whole = [("residual".to_string(), ledger.residual), ("logit difference".to_string(), ledger.logit_difference)];
    if let Some((name, value)) = rows.iter().chain(&whole).find(|(_, value)| !value.is_finite()) {
        bail!("the sum behind the decision, {name}: the value is {value}; {DAMAGED}");
    }
    // The logit difference comes from numbers of 24 bits.
    ensure!(
        !ledger.exact || ledger.relative_residual <= 1e-5,
        "{} of the logit difference {} is in no channel, more than rounding leaves: the driver or the weights are at fault; try another \
         --adapter or --kernels plain",
        ledger.residual,
        ledger.logit_difference
    );
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::ledger::Share;

    fn sum(shares: &[f64], residual: f64) -> Ledger {
        let channels: Vec<Share> = shares.iter().enumerate().map(|(index, &share)| Share { index, share }).collect();
        let size = 1.0 + shares.iter().map(|share| share.abs()).sum::<f64>();
        Ledger {
            exact: true,
            logit_difference: 1.0 + shares.iter().sum::<f64>() + residual,
            bias: 1.0,
            channels,
            residual,
            relative_residual: residual.abs() / size,
            evidence: Vec::new(),
        }
    }

    #[test]
    fn the_bars_of_the_sum_are_as_long_as_its_numbers() {
        let page = ledger(&sum(&[3.0, -2.0], 0.0), "dog", "cat").unwrap().into_string();
        // Bias 1, channels 3 and -2, no others, logit difference 2; the largest is 3.
        let lengths: Vec<&str> =
            page.match_indices(" y=\"0\" width=\"").map(|(at, found)| &page[at + found.len()..][..5]).collect();
        let lengths: Vec<&str> = lengths.into_iter().filter(|length| !length.starts_with("0.6\"")).collect();
        assert_eq!(lengths, ["33.33", "100.0", "66.67", "0.00\"", "66.67"]);
        assert_eq!(page.matches("class=\"cold\" x=\"-66.67\"").count(), 1, "{page}");
        for said in ["+1.000", "+3.000", "−2.000", "+2.000", "other channels (0)"] {
            assert!(page.contains(said), "{said}: {page}");
        }
    }

    #[test]
    fn what_an_approximation_leaves_is_a_row_of_the_sum() {
        let inexact = Ledger { exact: false, logit_difference: 5.5, bias: 0.0, ..sum(&[3.0, -2.0], 4.5) };
        let page = ledger(&inexact, "dog", "cat").unwrap().into_string();
        assert!(page.contains("left over: not linear") && page.contains("+4.500") && page.contains("+5.500"), "{page}");
        assert!(!page.contains("bias") && !page.contains("from rounding"), "{page}");
        assert!(ledger(&Ledger { exact: true, ..inexact }, "dog", "cat").is_err());
    }

    #[test]
    fn channels_beyond_those_named_are_added_up() {
        let rows = rows(&sum(&[1.0; 20], 0.0)).unwrap();
        assert_eq!(rows.len(), 10);
        assert_eq!(rows[9], ("other channels (12)".to_string(), 12.0));
    }

    #[test]
    fn a_sum_that_is_not_true_is_refused_and_named() {
        let error = |broken: Ledger| rows(&broken).unwrap_err().to_string();
        assert!(error(sum(&[1.0, f64::NAN], 0.0)).contains("channel 1: the value is NaN"));
        assert!(error(sum(&[1.0; 9], f64::INFINITY)).contains("residual: the value is inf"));
        assert!(error(sum(&[3.0, -2.0], 0.01)).contains("is in no channel, more than rounding leaves"));
        assert!(rows(&sum(&[3.0, -2.0], 1e-6)).is_ok());
    }
}
