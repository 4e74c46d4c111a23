//! The page of `doctor`: what a data set suffers from, with the images.

use anyhow::Result;
use image::RgbImage;
use maud::{Markup, html};

use super::{EmbeddedImage, Head, document, img};
use crate::data::fit::Fit;
use crate::data::prepare;
use crate::doctor::{Checkup, Finding, IMAGENET, MAX_BITS, MAX_DIFFERENCE, Pair};
use crate::figures::words::{count, name, plain};

/// Most pairs that are shown of a finding.
const PAIRS: usize = 24;
/// Side of the images, in pixels.
const SIDE: u32 = 160;

/// What a data set suffers from.
pub struct DoctorPage<'a> {
    /// What was found.
    pub checkup: &'a Checkup,
}

impl DoctorPage<'_> {
    /// The page.
    ///
    /// # Errors
    /// When an image cannot be encoded.
    pub fn page(&self) -> Result<String> {
        let Checkup { findings, .. } = self.checkup;
        let sheets = findings.iter().filter(|finding| !finding.pairs.is_empty());
        let sheets = sheets.map(|finding| self.sheet(finding)).collect::<Result<Vec<_>>>()?;
        let body = html! {
            (self.head().markup())
            section {
                h2 { "What is the matter" }
                @if findings.is_empty() { p { "Nothing." } } @else { (table(findings)) }
            }
            section {
                h2 { "Classes and channels" }
                (self.classes())
                (self.channels())
            }
            @for sheet in sheets { (sheet) }
            section { p.note {
                "Images are equal if all their pixels are, at the size that the network takes. They are nearly equal if of 64 "
                "comparisons of light between neighbouring places at most " (MAX_BITS) " differ, and the pixels of small versions, less the "
                "mean of each colour and divided by their deviation, by at most " (MAX_DIFFERENCE) " on average. Mirror images are not looked for."
            } }
        };
        Ok(document("What a data set suffers from", &body))
    }

    fn head(&self) -> Head<'_> {
        let Checkup { root, images, classes, size, .. } = self.checkup;
        let facts = vec![
            ("Folder", name(&root.display().to_string())),
            ("Images", html! { (count(images.len())) " of " (classes.len()) " classes" }),
            ("Size", html! { (size) " x " (size) " pixels" }),
        ];
        Head { command: "doctor", title: html! { "What a data set suffers from" }, notes: &[], facts }
    }

    fn classes(&self) -> Markup {
        let Checkup { classes, counts: (train, val), .. } = self.checkup;
        html! {
            div.scroll { table {
                thead { tr { th { "Class" } th.number { "Training" } @if val.is_some() { th.number { "Validation" } } } }
                tbody {
                    @for (index, class) in classes.iter().enumerate() {
                        tr {
                            th { (name(class)) }
                            td.number { (count(train[index])) }
                            @if let Some(val) = val { td.number { (count(val[index])) } }
                        }
                    }
                }
            } }
        }
    }

    fn channels(&self) -> Markup {
        let Some(channels) = self.checkup.channels() else { return html! {} };
        let rows = ["Red", "Green", "Blue"].into_iter().zip(channels).zip(IMAGENET);
        html! {
            div.scroll { table {
                thead { tr {
                    th { "Channel, 0 to 1" } th.number { "Mean" } th.number { "Deviation" }
                    th.number { "ImageNet's mean" } th.number { "its deviation" }
                } }
                tbody {
                    @for ((channel, own), other) in rows {
                        tr { th { (channel) } @for number in own.into_iter().chain(other) { td.number { (plain(number, 3)) } } }
                    }
                }
            } }
        }
    }

    /// The pairs of a finding, side by side.
    fn sheet(&self, finding: &Finding) -> Result<Markup> {
        let shown = &finding.pairs[..finding.pairs.len().min(PAIRS)];
        let pairs = shown.iter().map(|pair| self.pair(pair)).collect::<Result<Vec<_>>>()?;
        Ok(html! {
            section {
                h2 { (finding.told()) }
                p.note { @if shown.len() < finding.pairs.len() { "The " (shown.len()) " most alike; " code { "pairs.csv" } " has all." } }
                div.gallery { @for pair in pairs { (pair) } }
            }
        })
    }

    fn pair(&self, pair: &Pair) -> Result<Markup> {
        let of = [pair.first, pair.second].map(|index| {
            let image = &self.checkup.images[index];
            (image.name(), &self.checkup.classes[image.file.class as usize], &image.file.path)
        });
        let images = of.each_ref().map(|(name, _, path)| -> Result<Markup> {
            // A file may have gone since it was examined.
            let square =
                prepare::load(&self.checkup.root.join(path), Fit::to(SIDE))
                    .unwrap_or(vec![255; (SIDE * SIDE * 3) as usize]);
            let image = RgbImage::from_raw(SIDE, SIDE, square).expect("three bytes a pixel");
            Ok(img(&EmbeddedImage::photo(&image)?, name))
        });
        let [one, other] = images;
        Ok(html! {
            figure.shot {
                div.pair { (one?) (other?) }
                figcaption {
                    @for (file, class, _) in &of { span.file { strong { (name(class)) } " " (name(file)) } }
                    @if let Some(difference) = pair.difference { span.file { "difference " (plain(f64::from(difference), 3)) } }
                }
            }
        })
    }
}

/// All findings, most severe first.
fn table(findings: &[Finding]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Severity" } th { "Found" } th { "Remedy" } } }
            tbody {
                @for finding in findings {
                    tr {
                        th { (finding.severity()) }
                        td {
                            (name(&finding.told()))
                            @for example in &finding.examples { span.file { (name(example)) } }
                        }
                        td { (finding.remedy()) }
                    }
                }
            }
        } }
    }
}
