//! What the report shows of an explanation.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
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
pub(super) const FORMAT: u32 = 2;

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

/// The newest explanations below a run's folder.
#[derive(Debug, Default)]
pub struct Newest {
    /// In the order in which they were made.
    pub explained: Vec<Explained>,
    /// The files that cannot be used, and why.
    pub damaged: Vec<String>,
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

    /// The newest explanations below a run's folder, at most `most`, and the files newer than these that cannot be used.
    pub fn newest(run: &Path, most: usize) -> Newest {
        let Ok(folders) = fs::read_dir(run.join("explain")) else { return Newest::default() };
        let mut files: Vec<_> = folders
            .flatten()
            .map(|folder| folder.path().join(EXPLAINED))
            .filter_map(|file| Some((fs::metadata(&file).ok()?.modified().unwrap_or(SystemTime::UNIX_EPOCH), file)))
            .collect();
        files.sort();
        let mut newest = Newest::default();
        for (_, file) in files.iter().rev() {
            if newest.explained.len() == most {
                break;
            }
            match Self::read(file) {
                Ok(explained) => newest.explained.push(explained),
                Err(error) => newest.damaged.push(format!("{}: {error:#}", file.display())),
            }
        }
        newest.explained.reverse();
        newest
    }

    fn read(file: &Path) -> Result<Self> {
        let bytes = fs::read(file).context("cannot be read")?;
        let Version { format } = serde_json::from_slice(&bytes).context("cannot be used")?;
        ensure!(
            format == FORMAT,
            "was written by another version of convscope, whose figures mean something else; `explain` the image again"
        );
        let read: Self = serde_json::from_slice(&bytes).context("cannot be used")?;
        let maps = read.maps.iter().flat_map(|map| [&map.map, &map.control]);
        [&read.photo, &read.evidence].into_iter().chain(maps).try_for_each(Picture::check)?;
        ensure!(read.probability.is_finite(), "the probability is no number");
        Ok(read)
    }
}

/// What tells how to read the rest of the file; the first version wrote nothing of the kind.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    format: u32,
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
