//! Explanations of single decisions.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::figures::Scale;
use crate::reading::{amount, number, share, unusable, versioned, within};
use crate::report::{EXPLAINED, Explained, ExplainedMap, FORMAT};
use crate::train::Run;

/// The newest explanations of a run.
#[derive(Debug, Default)]
pub struct FoundExplanations {
    /// Those that can be used, in the order in which they were made.
    pub usable: Vec<Explained>,
    /// How many older ones there are besides.
    pub more: usize,
    /// Why others cannot be used, naming their files.
    pub damaged: Vec<String>,
}

impl FoundExplanations {
    /// At most `most` below a run's folder, about its network.
    fn newest(run: &Run, most: usize) -> Self {
        let Ok(folders) = fs::read_dir(run.folder().join("explain")) else { return Self::default() };
        let mut files: Vec<_> = folders
            .flatten()
            .map(|folder| folder.path().join(EXPLAINED))
            .filter_map(|file| Some((fs::metadata(&file).ok()?.modified().unwrap_or(SystemTime::UNIX_EPOCH), file)))
            .collect();
        files.sort();
        let mut found = Self::default();
        for (number, (_, file)) in files.iter().rev().enumerate() {
            if found.usable.len() == most {
                found.more = files.len() - number;
                break;
            }
            match read(file, run) {
                Ok(explained) => found.usable.push(explained),
                Err(error) => found.damaged.push(format!("{error:#}")),
            }
        }
        found.usable.reverse();
        found
    }
}

fn read(file: &Path, run: &Run) -> Result<Explained> {
    const REMEDY: &str = "`explain` the image again";
    let explained: Explained = versioned(file, FORMAT, REMEDY)?;
    let check = || -> Result<()> {
        run.check_origin(&explained.origin).context("origin").context(REMEDY)?;
        check_explained(&explained, run.classes())
    };
    check().with_context(|| unusable(file))?;
    Ok(explained)
}

fn check_explained(explained: &Explained, classes: &[String]) -> Result<()> {
    let Explained { target, against, truth, .. } = explained;
    let named = [("target", target), ("against", against)].into_iter();
    for (field, class) in named.chain(truth.as_ref().map(|truth| ("truth", truth))) {
        ensure!(classes.contains(class), "{field} is {class:?}: expected one of the classes {}", classes.join(", "));
    }
    ensure!(target != against, "against is {against}: expected another class than target");
    share("probability", explained.probability)?;
    amount("relative_residual", explained.relative_residual)?;
    number("logit_difference", explained.logit_difference)?;
    number("blurred_logit_difference", explained.blurred_logit_difference)?;
    explained.photo.check().context("photo")?;
    explained.evidence.check().context("evidence")?;
    explained.over.check().context("over")?;
    check_scale("scale", explained.scale)?;
    ensure!(explained.scale.signed, "scale.signed is false: expected true, since evidence has a sign");
    ensure!(!explained.coarse.is_empty(), "coarse is empty");
    ensure!(!explained.maps.is_empty(), "maps is empty");
    ensure!(!explained.baselines.is_empty(), "baselines is empty");
    for (index, map) in explained.maps.iter().enumerate() {
        check_map(map).with_context(|| format!("maps[{index}]"))?;
    }
    for (index, guess) in explained.baselines.iter().enumerate() {
        let field = |name| format!("baselines[{index}].{name}");
        number(field("deletion"), guess.deletion)?;
        number(field("insertion"), guess.insertion)?;
    }
    Ok(())
}

fn check_scale(field: &str, scale: Scale) -> Result<()> {
    amount(format!("{field}.limit"), scale.limit.into())
}

fn check_map(map: &ExplainedMap) -> Result<()> {
    ensure!(!map.method.is_empty(), "method is empty");
    ensure!(!map.reading.is_empty(), "reading is empty");
    map.map.check().context("map")?;
    map.over.check().context("over")?;
    map.control.check().context("control")?;
    check_scale("scale", map.scale)?;
    check_scale("control_scale", map.control_scale)?;
    let alike = map.scale.signed == map.control_scale.signed;
    ensure!(alike, "signed differs between scale and control_scale, which are of one method");
    map.similarity.map_or(Ok(()), |similarity| within("similarity", similarity, -1.000_001..=1.000_001))?;
    number("deletion", map.deletion)?;
    number("insertion", map.insertion)?;
    map.completeness_gap.map_or(Ok(()), |gap| number("completeness_gap", gap))
}

impl Run {
    /// Its newest explanations, at most `most`, in the order in which they were made.
    pub fn explained(&self, most: usize) -> FoundExplanations {
        FoundExplanations::newest(self, most)
    }
}
