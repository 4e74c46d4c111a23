//! The one look at the locked test set.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::reading;
use super::unit::Scores;
use super::{Candidate, Study};
use crate::data::Images;
use crate::stats::{expected_calibration_error, mcnemar, wilson};
use crate::train::run_dir::RunDir;

/// Name of the file that records the look. Where it exists, there is no second look.
pub const TEST_FILE: &str = "test.json";
/// How often each network is trained anew on all images but the test set.
pub const REFITS: usize = 3;
/// Confidence of the intervals.
const LEVEL: f64 = 0.95;

/// What the test set said: `test.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestLook {
    /// What the study is about.
    pub study: Study,
    /// Name of the candidate that the study chose.
    pub chosen: String,
    /// Name of the reference.
    pub reference: String,
    /// Images of the test set.
    #[serde(alias = "pictures")]
    pub images: usize,
    /// One entry a network and refit.
    pub networks: Vec<TestedNetwork>,
    /// The chosen against the reference, one entry a refit; empty where they are the same.
    pub comparisons: Vec<Pair>,
}

/// One trained network on the test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestedNetwork {
    /// Name of the candidate.
    #[serde(alias = "rung")]
    pub candidate: String,
    /// Number of the refit, from 1.
    pub refit: usize,
    /// Its error in percent.
    pub error: f64,
    /// Wilson's interval of that.
    pub error_interval: (f64, f64),
    /// Expected calibration error, 15 bins of equal width.
    pub calibration_error: f64,
    /// What it made of each image.
    pub scores: Scores,
}

/// Two networks of the same refit on the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Number of the refit, from 1.
    pub refit: usize,
    /// Images that only the chosen one gets right.
    pub only_chosen_right: usize,
    /// Images that only the reference gets right.
    pub only_reference_right: usize,
    /// McNemar's mid-p value of no difference, two-sided.
    pub mid_p: f64,
}

impl TestedNetwork {
    /// Judges a network by its logits, (n, classes), of the images at `indices`.
    pub fn new(candidate: &Candidate, refit: usize, logits: &[f32], indices: &[usize], images: &dyn Images) -> Self {
        let scores = Scores::new(logits, indices, images);
        let labels: Vec<usize> = indices.iter().map(|&index| images.label(index) as usize).collect();
        let (low, high) = wilson(scores.wrong, indices.len(), LEVEL);
        Self {
            candidate: candidate.name.clone(),
            refit,
            error: scores.error(),
            error_interval: (100.0 * low, 100.0 * high),
            calibration_error: expected_calibration_error(logits, &labels),
            scores,
        }
    }
}

impl TestLook {
    /// Puts the networks together: for each refit the chosen one and, if it is another, the reference.
    pub fn new(study: &Study, [chosen, reference]: [&Candidate; 2], networks: Vec<TestedNetwork>) -> Self {
        let of = |candidate: &Candidate, refit| {
            networks.iter().find(|network| network.candidate == candidate.name && network.refit == refit)
        };
        let pair = |refit| {
            let (own, other) = (of(chosen, refit)?, of(reference, refit)?);
            let right = own.scores.correct.iter().zip(&other.scores.correct);
            let only_chosen_right = right.clone().filter(|(own, other)| **own && !**other).count();
            let only_reference_right = right.filter(|(own, other)| !**own && **other).count();
            let mid_p = mcnemar(only_chosen_right, only_reference_right).mid_p;
            Some(Pair { refit, only_chosen_right, only_reference_right, mid_p })
        };
        let refits = if chosen == reference { 0 } else { REFITS };
        Self {
            comparisons: (1..=refits).filter_map(pair).collect(),
            study: study.clone(),
            chosen: chosen.name.clone(),
            reference: reference.name.clone(),
            images: study.test_images,
            networks,
        }
    }

    /// The look that a study's folder records, if there was one.
    ///
    /// # Errors
    /// When the file cannot be used or belongs to another study. It is not to be removed: the test set has been seen.
    pub fn recorded(folder: &RunDir, study: &Study) -> Result<Option<Self>> {
        reading::test_look(folder.path(), study)
    }

    /// What it found, a line a network and a line a comparison.
    pub fn lines(&self) -> Vec<String> {
        let network = |network: &TestedNetwork| {
            let (low, high) = network.error_interval;
            format!(
                "  {:<14} refit {}  error {:5.2} % ({low:.2} to {high:.2})  log-loss {:.4}  calibration error {:.4}",
                network.candidate, network.refit, network.error, network.scores.log_loss, network.calibration_error
            )
        };
        let pair = |pair: &Pair| {
            format!(
                "  refit {}: only {} right {}, only {} right {}, McNemar's mid-p {:.3}",
                pair.refit, self.chosen, pair.only_chosen_right, self.reference, pair.only_reference_right, pair.mid_p
            )
        };
        self.networks.iter().map(network).chain(self.comparisons.iter().map(pair)).collect()
    }
}
