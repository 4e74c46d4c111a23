//! What the report shows of an explanation.

use anyhow::{Result, ensure};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::embedded::EmbeddedImage;
use crate::explain::saliency::{Completeness, Map, Method};
use crate::explain::trust::Score;
use crate::explain::verdict::Verdict;
use crate::explain::{Explanation, Finding, Lens};
use crate::figures::words::signed;
use crate::figures::{self, DAMAGED, Heat, Scale};
use crate::nn::Block;
use crate::train::Origin;

/// Its file in the folder that `explain` makes for an image.
pub const EXPLAINED: &str = "explained.json";
/// What the file holds has changed so often.
pub(crate) const FORMAT: u32 = 4;

/// The methods that the report shows, of a network of so many blocks.
pub fn reported(blocks: usize) -> [Method; 3] {
    [Method::Occlusion, Method::IntegratedGradients, Method::GradCam { block: blocks.saturating_sub(1) }]
}

/// A decision with its evidence and its saliency maps: `explained.json`, which has only those that the report shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// [`FORMAT`] of the program that wrote it.
    pub(super) format: u32,
    /// The weights that are explained.
    pub origin: Origin,
    /// The image, as it is told.
    pub name: String,
    /// The predicted class.
    pub target: String,
    /// The class that it is explained against.
    pub against: String,
    /// Probability of the predicted class, 0 to 1.
    pub probability: f64,
    /// The image's class, where it is known.
    pub truth: Option<String>,
    /// Whether the evidence adds up to the decision, but for the bias; otherwise it is a first-order approximation.
    pub exact: bool,
    /// What the evidence leaves of the logit difference, relative to it: rounding.
    pub relative_residual: f64,
    /// The image as the network saw it.
    pub photo: EmbeddedImage,
    /// The last block's evidence.
    pub evidence: EmbeddedImage,
    /// The same laid over the image.
    pub over: EmbeddedImage,
    /// The colours of both.
    pub scale: Scale,
    /// What a value of the evidence sees.
    pub coarse: String,
    /// Saliency maps.
    pub maps: Vec<ExplainedMap>,
    /// What baselines that know nothing of the network score.
    pub baselines: Vec<Baseline>,
    /// Logit difference of the image.
    #[serde(alias = "gap")]
    pub logit_difference: f64,
    /// Logit difference of the blurred image.
    #[serde(alias = "blurred_gap")]
    pub blurred_logit_difference: f64,
}

/// A saliency map with what shows how far to trust it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedMap {
    /// The method.
    pub method: String,
    /// Its map.
    pub map: EmbeddedImage,
    /// The same laid over the image.
    pub over: EmbeddedImage,
    /// The colours of both.
    pub scale: Scale,
    /// What it makes of an untrained network.
    pub control: EmbeddedImage,
    /// The colours of that.
    pub control_scale: Scale,
    /// How to read it, a paragraph each.
    pub reading: Vec<String>,
    /// Rank correlation of the two.
    pub similarity: Option<f64>,
    /// Its score in deletion, in logits: lower is better.
    pub deletion: f64,
    /// Its score in insertion, in logits: higher is better.
    pub insertion: f64,
    /// What integrated gradients leave unexplained, in logits.
    pub completeness_gap: Option<f64>,
    /// What to make of it.
    pub verdict: Verdict,
}

/// What maps are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// What it is made of.
    pub name: String,
    /// Its score in deletion, in logits.
    pub deletion: f64,
    /// Its score in insertion, in logits.
    pub insertion: f64,
}

impl Explained {
    /// Takes from an explanation what a page shows: all of its methods. The image has a name, and a class where that is known;
    /// `origin` says which weights were explained.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn new(
        lens: &Lens,
        explanation: &Explanation,
        classes: &[String],
        (name, truth): (&str, Option<usize>),
        origin: Origin,
    ) -> Result<Self> {
        let question = explanation.question;
        let evidence = Drawn::new("evidence", &explanation.evidence, &explanation.input)?;
        let last = lens.blocks().last().expect("there is a block");
        let baselines = &explanation.baselines;
        let baseline = |(name, Score { deletion, insertion })| Baseline { name, deletion, insertion };
        let maps = explanation.findings.iter().map(|finding| ExplainedMap::new(lens, explanation, finding));
        Ok(Self {
            format: FORMAT,
            origin,
            name: name.into(),
            target: classes[question.target].clone(),
            against: classes[question.against].clone(),
            probability: explanation.probabilities[question.target],
            truth: truth.map(|truth| classes[truth].clone()),
            exact: explanation.ledger.exact,
            relative_residual: explanation.ledger.relative_residual,
            photo: EmbeddedImage::photo(&explanation.input)?,
            evidence: evidence.map()?,
            over: evidence.over()?,
            scale: evidence.scale,
            coarse: coarse(last, lens.network().input()),
            maps: maps.collect::<Result<_>>()?,
            baselines: baselines.rows().into_iter().map(baseline).collect(),
            logit_difference: baselines.logit_difference,
            blurred_logit_difference: baselines.blurred_logit_difference,
        })
    }

    /// The same with no more maps than the report shows, of a network of so many blocks.
    pub fn for_report(&self, blocks: usize) -> Self {
        let names = reported(blocks).map(Method::name);
        let maps = self.maps.iter().filter(|map| names.contains(&map.method)).cloned().collect();
        Self { maps, ..self.clone() }
    }
}

impl ExplainedMap {
    fn new(lens: &Lens, explanation: &Explanation, finding: &Finding) -> Result<Self> {
        let (trust, method) = (&finding.trust, finding.method.name());
        let map = Drawn::new(&method, &finding.map, &explanation.input)?;
        let control = Drawn::new(&format!("{method} of the untrained network"), &finding.control, &explanation.input)?;
        check(&method, trust.score)?;
        Ok(Self {
            map: map.map()?,
            over: map.over()?,
            scale: map.scale,
            control: control.map()?,
            control_scale: control.scale,
            reading: reading(lens, explanation, finding),
            similarity: trust.similarity,
            deletion: trust.score.deletion,
            insertion: trust.score.insertion,
            completeness_gap: finding.completeness.map(|completeness| completeness.gap),
            verdict: explanation.verdict(finding),
            method,
        })
    }
}

/// Refuses scores that are no numbers.
fn check(method: &str, Score { deletion, insertion }: Score) -> Result<()> {
    for (what, score) in [("deletion", deletion), ("insertion", insertion)] {
        ensure!(score.is_finite(), "{method}: the {what} score is {score}; {DAMAGED}");
    }
    Ok(())
}

/// A saliency map alone and laid over the image.
pub struct Drawn {
    /// The map alone.
    pub bare: RgbImage,
    /// The map laid over the image.
    pub laid_over: RgbImage,
    /// The colours of both.
    pub scale: Scale,
}

impl Drawn {
    /// Draws a map of the image's size. `name` begins the error.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn new(name: &str, map: &Map, photo: &RgbImage) -> Result<Self> {
        let heat = heat(map);
        let scale = Scale::of_saliency(&heat);
        let (bare, laid_over) = (figures::bare(name, &heat, scale)?, figures::over(name, &heat, scale, photo)?);
        Ok(Self { bare, laid_over, scale })
    }

    fn map(&self) -> Result<EmbeddedImage> {
        EmbeddedImage::map(&self.bare)
    }

    /// As it stands on a page.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn over(&self) -> Result<EmbeddedImage> {
        EmbeddedImage::photo(&self.laid_over)
    }
}

/// A saliency map alone, as it stands on a page. `name` begins the error.
///
/// # Errors
/// When a value is not finite.
pub fn saliency_image(name: &str, map: &Map) -> Result<EmbeddedImage> {
    let heat = heat(map);
    EmbeddedImage::map(&figures::bare(name, &heat, Scale::of_saliency(&heat))?)
}

fn heat(map: &Map) -> Heat<'_> {
    Heat { values: &map.values, height: map.height, width: map.width, signed: map.signed }
}

/// How to read a map.
fn reading(lens: &Lens, explanation: &Explanation, finding: &Finding) -> Vec<String> {
    let mut lines = vec![finding.method.meaning().into()];
    if let Some(Completeness { grey, map, gap }) = finding.completeness {
        let total = explanation.ledger.logit_difference;
        let [total, grey, map, gap] = [total, grey, map, gap].map(|logits| signed(logits, 4));
        lines.push(format!(
            "The decision's {total} logits are {grey} that a grey image gets already, {map} in the map, and {gap} left over \
             (the completeness gap)."
        ));
    }
    match finding.method.block() {
        Some(block) => lines.push(coarse(&lens.blocks()[block], lens.network().input())),
        None if finding.method != Method::Occlusion => lines.push(
            "Blurring single pixels leaves speckles that no photo has and to which networks are oversensitive, so that maps of \
             single pixels pass deletion and insertion more easily than coarse maps do."
                .into(),
        ),
        None => {}
    }
    lines
}

/// What the values of a coarse map see.
fn coarse(block: &Block, [_, rows, columns]: [usize; 3]) -> String {
    let [_, height, width] = block.output;
    let field = block.receptive_field;
    let unread = match block.unread_border([rows, columns]) {
        [0, 0] => String::new(),
        [below, right] => format!("; {below} px at the bottom and {right} px at the right are never read"),
    };
    format!("{height} × {width} values, each drawn where the {field} × {field} px that it sees are centred{unread}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_are_no_numbers_are_refused_and_named() {
        assert!(check("Occlusion", Score { deletion: -3.5, insertion: 12.0 }).is_ok());
        for score in [f64::NAN, f64::INFINITY] {
            let error = check("Occlusion", Score { deletion: score, insertion: 0.0 }).unwrap_err().to_string();
            assert!(error.starts_with(&format!("Occlusion: the deletion score is {score}; ")), "{error}");
            let error = check("Occlusion", Score { deletion: 0.0, insertion: score }).unwrap_err().to_string();
            assert!(error.starts_with(&format!("Occlusion: the insertion score is {score}; ")), "{error}");
        }
    }
}
