//! The folder of a study: what it is about, its units, its answer and its look at the test set.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::data::split::unit_seed;
use crate::nn;
use crate::nn::checkpoint::{Checkpoint, Meta};
use crate::reading::{
    MAX_IMAGES, amount, check_size, check_values, content, differences_of_networks, equal, follows, interval,
    json_of_settings, number, parsed, percent, share, unusable, within,
};
use crate::study::findings::{Comparison, DEPTH_FILE, Decision, Findings, LEVEL, OneStandardError, Row};
use crate::study::test_look::{Pair, REFITS, TEST_FILE, TestLook, TestedNetwork};
use crate::study::unit::{Scores, Unit, UnitResult};
use crate::study::{Candidate, Identity, Ladder, STUDY_FILE, Settings, Study};
use crate::train::{check_classes, check_folder, check_folders, check_training};

/// What is to be done about a file that can be made again.
const REMEDY: &str = "remove it to have it made again";

/// Reads what the study in a folder is about.
///
/// # Errors
/// When there is no study there, or its file cannot be used.
pub fn study(folder: &Path) -> Result<Study> {
    let path = folder.join(STUDY_FILE);
    let bytes = content(&path).with_context(|| {
        format!("{}: cannot be read; is this the folder of a study of `convscope depth`?", path.display())
    })?;
    let study: Study = check_size(&bytes).and_then(|()| parsed(&bytes)).with_context(|| unusable(&path))?;
    check_study(&study).with_context(|| unusable(&path))?;
    Ok(study)
}

fn check_study(study: &Study) -> Result<()> {
    let Study { identity, classes, dev_images, commonest_class, test_images, photos, .. } = study;
    let network = check_settings(&identity.settings).context("identity.settings")?;
    check_classes(classes, network.classes())?;
    for (field, text) in [("identity.program", &identity.program), ("identity.data", &identity.data)] {
        ensure!(!text.is_empty(), "{field} is empty");
    }
    within("dev_images", *dev_images, identity.settings.folds..=MAX_IMAGES)?;
    within("commonest_class", *commonest_class, dev_images.div_ceil(classes.len())..=*dev_images)
        .context("by dev_images")?;
    within("test_images", *test_images, 1..=MAX_IMAGES)?;
    within("duplicates", study.duplicates, 0..=MAX_IMAGES)?;
    within("contradictory", study.contradictory, 0..=MAX_IMAGES)?;
    within("rejected", study.rejected, 0..=MAX_IMAGES)?;
    check_folder("photos", photos.as_deref(), classes)?;
    check_folders(&study.folders, photos.is_some())
}

/// Checks the settings of a study, and makes the network with the most blocks that it trains.
///
/// # Errors
/// The first that cannot be.
pub fn check_settings(settings: &Settings) -> Result<nn::Network> {
    let Settings { ladder, depths, folds, repeats, margin, training, .. } = settings;
    ensure!(training.init.is_none(), "init: expected of no study, whose networks start from random weights");
    if let Some(field) = training.extras.first_field() {
        bail!("{field}: expected of no study, whose networks are trained without it");
    }
    within("folds", *folds, 2..=100)?;
    within("repeats", *repeats, 1..=100)?;
    ensure!(*margin > 0.0 && *margin <= 100.0, "margin is {margin}: expected more than 0 and at most 100");
    if *ladder == Ladder::Truncate {
        let all = training.model.blocks().context("model")?;
        let fit = depths.len() >= 2 && depths.is_sorted_by(|a, b| a < b) && depths.iter().all(|depth| *depth > 0);
        ensure!(fit, "depths is {depths:?}: expected at least two numbers of blocks, ascending");
        ensure!(
            depths.iter().all(|&depth| depth <= all),
            "depths is {depths:?}: by model.channels or model.layers there are {all} blocks"
        );
    }
    let network = check_training(&settings.reference().context("model")?)?;
    settings.candidates()?;
    Ok(network)
}

/// Reads a unit's result, if it has one.
///
/// # Errors
/// When the file cannot be used, or was made of other data, with other settings or by other code: both name the file.
pub fn unit(folder: &Path, identity: &Identity, unit: &Unit) -> Result<Option<UnitResult>> {
    let path = folder.join(unit.file());
    let shown = path.display();
    let bytes = match content(&path) {
        // Not a directory: --out lies below a file, which is told where the folder is made.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        bytes => bytes.with_context(|| format!("{shown}: cannot be read"))?,
    };
    let unusable = || format!("{}; {REMEDY}", unusable(&path));
    let result: UnitResult = check_values(&bytes).and_then(|()| parsed(&bytes)).with_context(unusable)?;
    let differences = identity.differences(&result.identity);
    if !differences.is_empty() {
        bail!("{shown}: belongs to another study, in which {}; {REMEDY}", differences.join("; "));
    }
    let differences = super::differences("unit", &result.unit, unit).join("; ");
    ensure!(differences.is_empty(), "{shown}: holds another unit than its name says: {differences}; {REMEDY}");
    check_unit(&result).with_context(unusable)?;
    Ok(Some(result))
}

fn check_unit(result: &UnitResult) -> Result<()> {
    let UnitResult { identity, unit, seed, learned_from, train_loss, seconds, scores, .. } = result;
    let training = &identity.settings.training;
    equal("seed", *seed, unit_seed(training.seed, unit.repeat, unit.fold))?;
    within("learned_from", *learned_from, 1..=MAX_IMAGES)?;
    equal("the number of train_loss", train_loss.len(), training.epochs)?;
    train_loss.iter().try_for_each(|&loss| amount("train_loss", loss))?;
    amount("seconds", *seconds)?;
    check_scores(scores).context("scores")
}

/// Checks that a unit learned from all images of its study but those that it scored.
pub fn check_counts(result: &UnitResult, study: &Study) -> Result<()> {
    let scored = result.scores.images.len();
    let all = result.learned_from.saturating_add(scored);
    let check = || {
        equal("learned_from and the number of scores.images together", all, study.dev_images)
            .with_context(|| format!("by dev_images of {STUDY_FILE}"))
    };
    check().with_context(|| format!("{}; {REMEDY}", unusable(Path::new(&result.unit.file()))))
}

fn check_scores(scores: &Scores) -> Result<()> {
    let Scores { wrong, log_loss, images, correct, losses } = scores;
    within("the number of images", images.len(), 1..=MAX_IMAGES)?;
    let distinct = images.is_sorted_by(|a, b| a < b) && images.iter().all(|&image| image < MAX_IMAGES);
    ensure!(distinct, "images: expected the numbers of images, ascending");
    let counts = [images.len(), correct.len(), losses.len()];
    ensure!(counts == [counts[0]; 3], "images, correct and losses are {counts:?}: expected as many of each");
    equal("wrong", *wrong, correct.iter().filter(|correct| !**correct).count()).context("by correct")?;
    losses.iter().try_for_each(|&loss| amount("losses", loss))?;
    follows("log_loss", *log_loss, (mean(losses), "losses"))
}

/// Reads the weights of a network of a study, if its file is there.
///
/// # Errors
/// When the file is broken or holds another network's weights.
pub fn weights(path: &Path, expected: &Meta) -> Result<Option<Checkpoint>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = content(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let read = || -> Result<Checkpoint> {
        let found = Meta::from_bytes(&bytes)?;
        ensure!(found.made_by.is_some(), "made_by is missing: it is not known which study it belongs to");
        let mut differences = differences_of_networks("spec", &found.architecture, &expected.architecture);
        let same_network = Meta { architecture: expected.architecture.clone(), ..found };
        differences.extend(super::differences("", &same_network, expected));
        ensure!(differences.is_empty(), "it holds another network: {}", differences.join("; "));
        Ok(Checkpoint::from_bytes(&bytes)?)
    };
    read().map(Some).with_context(|| format!("{}; {REMEDY}", unusable(path)))
}

/// Reads what a study has found, with this version or an older one.
///
/// # Errors
/// When it is not finished, its file cannot be used, or it accepts a network that this version would not.
pub fn findings(folder: &Path) -> Result<Findings> {
    let path = folder.join(DEPTH_FILE);
    let findings: Findings = json_of_settings(&path)?;
    let check = || -> Result<()> {
        // The answer may have been copied without its study.
        if folder.join(STUDY_FILE).exists() {
            let differences = super::differences("study", &findings.study, &study(folder)?);
            ensure!(differences.is_empty(), "it is about another study than {STUDY_FILE}: {}", differences.join("; "));
        }
        check_findings(&findings)
    };
    check().with_context(|| unusable(&path))?;
    Ok(findings.upgraded())
}

fn check_findings(findings: &Findings) -> Result<()> {
    let Findings { study, reference, answer, conclusive, chance_error, words, level, candidates, one_standard_error } =
        findings;
    check_study(study).context("study")?;
    ensure!(!words.is_empty(), "words is empty");
    equal("level", *level, LEVEL)?;
    follows("chance_error", *chance_error, (study.chance_error(), "study.commonest_class"))?;
    let expected = study.identity.settings.candidates()?;
    equal("the number of candidates", candidates.len(), expected.len())?;
    for (index, (row, candidate)) in candidates.iter().zip(&expected).enumerate() {
        check_row(row, candidate, &candidates[0], findings).with_context(|| format!("candidates[{index}]"))?;
        let decision = row.comparison.as_ref().map(|comparison| comparison.decision);
        let concluded = decision.is_none_or(|decision| (decision == Decision::Inconclusive) != *conclusive);
        ensure!(concluded, "conclusive is {conclusive}: candidates[{index}].comparison.decision says otherwise");
    }
    equal("reference", reference, &expected[0].name)?;
    let found = candidates.iter().find(|candidate| candidate.name == *answer);
    let decision = found.and_then(|candidate| candidate.comparison.as_ref()).map(|comparison| comparison.decision);
    let found = answer == reference || decision == Some(Decision::Sufficient);
    ensure!(found, "answer is {answer:?}: expected the reference or a candidate that is sufficient");
    let ruled = *conclusive && study.identity.settings.ladder == Ladder::Truncate;
    ensure!(
        ruled || one_standard_error.is_none(),
        "one_standard_error: expected where depths are compared conclusively alone"
    );
    one_standard_error.as_ref().map_or(Ok(()), |rule| check_rule(rule, &expected).context("one_standard_error"))
}

fn check_row(row: &Row, candidate: &Candidate, reference: &Row, findings: &Findings) -> Result<()> {
    let Settings { folds, repeats, training, .. } = &findings.study.identity.settings;
    let last = candidate.network.last_block();
    equal("name", &row.name, &candidate.name)?;
    equal("blocks", row.blocks, candidate.blocks())?;
    ensure!(row.left_out == candidate.left_out, "left_out is {:?}: expected {:?}", row.left_out, candidate.left_out);
    equal("parameters", row.parameters, candidate.network.parameter_count())?;
    equal("receptive_field", row.receptive_field, last.receptive_field)?;
    equal("last_map", row.last_map, last.output[1])?;
    equal("the number of errors", row.errors.len(), folds * if row.stopped_early { 1 } else { *repeats })
        .context("by stopped_early")?;
    row.errors.iter().try_for_each(|&error| percent("errors", error))?;
    if !row.train_loss.is_empty() {
        equal("the number of train_loss", row.train_loss.len(), training.epochs)?;
    }
    row.train_loss.iter().try_for_each(|&loss| amount("train_loss", loss))?;
    ensure!(
        row.comparison.is_none() == (row.name == reference.name),
        "comparison: expected for all but the first candidate"
    );
    if let Some(comparison) = &row.comparison {
        check_differences(comparison, row, reference).context("comparison")?;
    }
    if row.stopped_early {
        let accepted = row.comparison.as_ref().is_some_and(|comparison| comparison.decision == Decision::Sufficient);
        ensure!(!accepted, "comparison: decision is sufficient: not by stopped_early");
        // Older versions have estimates here, which are not used.
        return Ok(());
    }
    let estimate = row.estimate.context("mean_error, error_interval or log_loss: missing or no number")?;
    follows("mean_error", estimate.mean_error, (mean(&row.errors), "errors"))?;
    interval("error_interval", estimate.error_interval)?;
    amount("log_loss", estimate.log_loss)?;
    let Some(comparison) = &row.comparison else { return Ok(()) };
    check_estimate(comparison).context("comparison")?;
    ensure!(
        comparison.decision != Decision::Sufficient || estimate.error_interval.1 < findings.chance_error,
        "comparison: decision is sufficient for a network whose error_interval does not show it to beat always naming the \
         commonest class; an older version did not ask for that. Make the study anew in a new folder"
    );
    Ok(())
}

fn check_differences(comparison: &Comparison, row: &Row, reference: &Row) -> Result<()> {
    equal("the number of differences", comparison.differences.len(), row.errors.len())?;
    let errors = row.errors.iter().zip(&reference.errors);
    for (&difference, (own, other)) in comparison.differences.iter().zip(errors) {
        follows("differences", difference, (own - other, "errors"))?;
    }
    Ok(())
}

fn check_estimate(comparison: &Comparison) -> Result<()> {
    let Comparison { differences, estimate, decision } = comparison;
    let estimate = estimate
        .context("mean, standard_error, upper_bound, p_sufficient, interval or p_difference: missing or no number")?;
    follows("mean", estimate.mean, (mean(differences), "differences"))?;
    amount("standard_error", estimate.standard_error)?;
    number("upper_bound", estimate.upper_bound)?;
    interval("interval", estimate.interval)?;
    share("p_sufficient", estimate.p_sufficient)?;
    share("p_difference", estimate.p_difference)?;
    let passed = *decision != Decision::Sufficient || estimate.p_sufficient < 1.0 - LEVEL;
    ensure!(passed, "decision is {decision}: not by p_sufficient");
    Ok(())
}

fn check_rule(rule: &OneStandardError, candidates: &[Candidate]) -> Result<()> {
    let known = |name: &str| candidates.iter().any(|candidate| candidate.name == name);
    ensure!(known(&rule.choice), "choice is {:?}: expected the name of a candidate", rule.choice);
    ensure!(known(&rule.best), "best is {:?}: expected the name of a candidate", rule.best);
    number("threshold", rule.threshold)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The look at the test set that a study's folder records, if there was one.
///
/// # Errors
/// When the file cannot be used or belongs to another study. It is not to be removed: the test set has been seen.
pub fn test_look(folder: &Path, study: &Study) -> Result<Option<TestLook>> {
    let path = folder.join(TEST_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = content(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let look: TestLook = check_values(&bytes).and_then(|()| parsed(&bytes)).with_context(|| unusable(&path))?;
    let differences = study.identity.differences(&look.study.identity);
    let shown = path.display();
    ensure!(differences.is_empty(), "{shown}: belongs to another study, in which {}", differences.join("; "));
    let differences = super::differences("study", &look.study, study);
    ensure!(differences.is_empty(), "{}: {}", unusable(&path), differences.join("; "));
    check_look(&look, study).with_context(|| unusable(&path))?;
    Ok(Some(look))
}

fn check_look(look: &TestLook, study: &Study) -> Result<()> {
    let candidates = study.identity.settings.candidates()?;
    let known = |name: &str| candidates.iter().any(|candidate| candidate.name == name);
    ensure!(known(&look.chosen), "chosen is {:?}: expected the name of a candidate", look.chosen);
    equal("reference", &look.reference, &candidates[0].name)?;
    equal("images", look.images, study.test_images)?;
    let compared = look.chosen != look.reference;
    equal("the number of networks", look.networks.len(), REFITS * if compared { 2 } else { 1 })?;
    for (index, network) in look.networks.iter().enumerate() {
        let of = network.candidate == look.chosen || network.candidate == look.reference;
        ensure!(of, "networks[{index}].candidate is {:?}: expected the chosen one or the reference", network.candidate);
        check_tested(network, look.images).with_context(|| format!("networks[{index}]"))?;
    }
    equal("the number of comparisons", look.comparisons.len(), if compared { REFITS } else { 0 })?;
    for (index, pair) in look.comparisons.iter().enumerate() {
        check_pair(pair, look.images).with_context(|| format!("comparisons[{index}]"))?;
    }
    Ok(())
}

fn check_tested(network: &TestedNetwork, images: usize) -> Result<()> {
    within("refit", network.refit, 1..=REFITS)?;
    check_scores(&network.scores).context("scores")?;
    equal("the number of scores.images", network.scores.images.len(), images)?;
    follows("error", network.error, (network.scores.error(), "scores"))?;
    interval("error_interval", network.error_interval)?;
    share("calibration_error", network.calibration_error)
}

fn check_pair(pair: &Pair, images: usize) -> Result<()> {
    within("refit", pair.refit, 1..=REFITS)?;
    within("only_chosen_right", pair.only_chosen_right, 0..=images)?;
    within("only_reference_right", pair.only_reference_right, 0..=images - pair.only_chosen_right)?;
    share("mid_p", pair.mid_p)
}
