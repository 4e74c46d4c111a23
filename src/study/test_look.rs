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

#[cfg(test)]
mod tests {
    use super::super::{Ladder, tests};
    use super::*;
    use crate::data::drawn::{Drawn, Subject};

    const IMAGES: usize = 10;

    /// A refit of a candidate that takes the first images for the other class; it names each with a probability of 3/4.
    fn tested(candidate: &Candidate, refit: usize, wrong: usize) -> TestedNetwork {
        let pets = Drawn::new(Subject::Pets, 0, 0, IMAGES, 8, 1 << 20);
        let indices: Vec<usize> = (0..IMAGES).collect();
        let row = |&index: &usize| {
            let mut row = [0.0; 2];
            row[pets.label(index) as usize ^ usize::from(index < wrong)] = 3f32.ln();
            row
        };
        let logits: Vec<f32> = indices.iter().flat_map(row).collect();
        TestedNetwork::new(candidate, refit, &logits, &indices, &pets)
    }

    #[test]
    fn the_chosen_network_is_compared_with_the_reference_refit_by_refit() {
        let study = Study { test_images: IMAGES, ..tests::study(tests::settings(Ladder::Truncate)) };
        let candidates = study.identity.settings.candidates().unwrap();
        let [reference, chosen, _] = &candidates[..] else { panic!("three candidates") };
        let of = |candidate, wrong| (1..=REFITS).map(move |refit| tested(candidate, refit, wrong));
        let look = TestLook::new(&study, [chosen, reference], of(chosen, 1).chain(of(reference, 3)).collect());
        assert_eq!((look.networks.len(), look.images), (2 * REFITS, IMAGES));
        let mid_p = mcnemar(2, 0).mid_p;
        let pair = |refit| Pair { refit, only_chosen_right: 2, only_reference_right: 0, mid_p };
        assert_eq!(look.comparisons, [1, 2, 3].map(pair));
        let lines = look.lines();
        assert_eq!(lines.len(), 3 * REFITS);
        assert_eq!(
            lines[0],
            "  d3             refit 1  error 10.00 % (1.79 to 40.42)  log-loss 0.3975  calibration error 0.1500"
        );
        assert_eq!(lines[6], "  refit 1: only d3 right 2, only d5 right 0, McNemar's mid-p 0.250");

        let temporary = tempfile::tempdir().unwrap();
        let folder = RunDir::at(temporary.path().to_path_buf());
        assert_eq!(TestLook::recorded(&folder, &study).unwrap(), None);
        folder.write_json(TEST_FILE, &look).unwrap();
        assert_eq!(TestLook::recorded(&folder, &study).unwrap().as_ref(), Some(&look));
        type Damage = fn(&mut TestLook);
        let damages: [(Damage, &str); 6] = [
            (|look| look.chosen = "d7".into(), "chosen is \"d7\""),
            (|look| look.networks[1].candidate = "d1".into(), "networks[1].candidate is \"d1\""),
            (|look| look.networks[1].refit = 4, "networks[1]: refit is 4"),
            (|look| look.networks[0].scores.wrong = 2, "networks[0]: scores: by correct: wrong is 2: expected 1"),
            (
                |look| {
                    look.comparisons[2] = Pair { only_chosen_right: 1, only_reference_right: 10, ..look.comparisons[2] }
                },
                "comparisons[2]: only_reference_right is 10",
            ),
            (|look| look.comparisons[2].mid_p = 1.5, "comparisons[2]: mid_p is 1.5"),
        ];
        for (damage, told) in damages {
            let mut damaged = look.clone();
            damage(&mut damaged);
            folder.write_json(TEST_FILE, &damaged).unwrap();
            let error = format!("{:#}", TestLook::recorded(&folder, &study).unwrap_err());
            assert!(error.contains(told), "{error}");
        }

        let alone = TestLook::new(&study, [reference; 2], of(reference, 3).collect());
        assert_eq!(alone.comparisons, [], "it is not compared with itself");
    }
}
