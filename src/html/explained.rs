//! What the report shows of an explanation.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::picture::Picture;
use crate::explain::saliency::{Map, Method};
use crate::explain::trust::Score;
use crate::explain::verdict::Verdict;
use crate::explain::{Explanation, Finding, Lens};
use crate::report::{self, Heat, Reach};

/// Its file in the folder that `explain` makes for a picture.
pub const EXPLAINED: &str = "explained.json";
/// The methods that the report shows.
pub const METHODS: [Method; 2] = [Method::Occlusion, Method::IntegratedGradients];
/// What the file's figures mean has changed so often.
pub(crate) const FORMAT: u32 = 2;

/// A decision with its evidence and some saliency maps: `explained.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// [`FORMAT`] of the program that wrote it.
    pub(super) format: u32,
    /// The picture, as it is told.
    pub name: String,
    /// The predicted class.
    pub target: String,
    /// The class that it is explained against.
    pub against: String,
    /// Probability of the predicted class, 0 to 1.
    pub probability: f64,
    /// The picture's class, where it is known.
    pub truth: Option<String>,
    /// What the evidence leaves of the logit gap, relative to it: rounding.
    pub relative_residual: f64,
    /// The picture as the network saw it.
    pub photo: Picture,
    /// The last block's evidence.
    pub evidence: Picture,
    /// Saliency maps.
    pub maps: Vec<ExplainedMap>,
    /// What guesses that know nothing of the network score.
    pub baselines: Vec<Guess>,
    /// Logit gap of the image.
    pub gap: f64,
    /// Logit gap of the blurred image.
    pub blurred_gap: f64,
}

/// A saliency map with what shows how far to trust it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedMap {
    /// The method.
    pub method: String,
    /// Its map.
    pub map: Picture,
    /// What it makes of an untrained network.
    pub control: Picture,
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

/// A guess that maps are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guess {
    /// What is guessed.
    pub name: String,
    /// Its score in deletion, in logits.
    pub deletion: f64,
    /// Its score in insertion, in logits.
    pub insertion: f64,
}

impl Explained {
    /// Takes from an explanation what the report shows.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn new(
        lens: &Lens,
        explanation: &Explanation,
        classes: &[String],
        name: &str,
        truth: Option<usize>,
    ) -> Result<Self> {
        let question = explanation.question;
        let shown = explanation.findings.iter().filter(|finding| METHODS.contains(&finding.method));
        let evidence = explanation.ledger.evidence_map(lens);
        let baselines = &explanation.baselines;
        let guess = |(name, Score { deletion, insertion })| Guess { name, deletion, insertion };
        Ok(Self {
            format: FORMAT,
            name: name.into(),
            target: classes[question.target].clone(),
            against: classes[question.against].clone(),
            probability: explanation.probabilities[question.target],
            truth: truth.map(|truth| classes[truth].clone()),
            relative_residual: explanation.ledger.relative_residual,
            photo: Picture::photo(&explanation.input)?,
            evidence: saliency_picture("evidence", &evidence)?,
            maps: shown.map(|finding| ExplainedMap::new(explanation, finding)).collect::<Result<_>>()?,
            baselines: baselines.rows().into_iter().map(guess).collect(),
            gap: baselines.gap,
            blurred_gap: baselines.blurred_gap,
        })
    }
}

impl ExplainedMap {
    fn new(explanation: &Explanation, finding: &Finding) -> Result<Self> {
        let (trust, method) = (&finding.trust, finding.method.name());
        Ok(Self {
            map: saliency_picture(&method, &finding.map)?,
            control: saliency_picture(&method, &finding.control)?,
            similarity: trust.similarity,
            deletion: trust.score.deletion,
            insertion: trust.score.insertion,
            completeness_gap: finding.completeness.map(|completeness| completeness.gap),
            verdict: explanation.verdict(finding),
            method,
        })
    }
}

/// A saliency map as a picture. `name` begins the error.
///
/// # Errors
/// When a value is not finite.
pub fn saliency_picture(name: &str, map: &Map) -> Result<Picture> {
    let heat = Heat { values: &map.values, height: map.height, width: map.width, signed: map.signed };
    Picture::map(&report::bare(name, &heat, Reach::Saliency)?)
}
