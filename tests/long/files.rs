//! Ten thousand files of which a tenth cannot be used: each is used, or named once with its reason, by any number of threads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use convscope::data::Images;
use convscope::data::fit::Fit;
use convscope::data::folder::{Choices, scan};
use convscope::data::photos::Photos;

use crate::Tally;

const FILES: usize = 10_000;
const FIXTURES: &str = "tests/fixtures/images";

/// A line of the table of odd images: those that are refused have no width.
#[derive(serde::Deserialize)]
struct Odd {
    file: String,
    width: Option<u32>,
    reason: String,
}

/// The folder is read three times with each number of threads.
pub fn run(tally: &mut Tally) {
    let table = csv::Reader::from_path(Path::new(FIXTURES).join("expected.csv")).unwrap();
    let odd: Vec<Odd> = table.into_deserialize().map(Result::unwrap).collect();
    let (good, bad): (Vec<&Odd>, Vec<&Odd>) = odd.iter().partition(|row| row.width.is_some());
    let root = tempfile::tempdir().unwrap();
    let mut refused = BTreeMap::new();
    for number in 0..FILES {
        // Of twenty files of the two classes in turn, the first and the eleventh, one of each.
        let kind = if number % 20 == 0 || number % 20 == 11 { &bad } else { &good };
        let row = kind[number / 7 % kind.len()];
        let path = format!("{}/{number:05}-{}", ["cat", "dog"][number % 2], row.file);
        let target = root.path().join(&path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(Path::new(FIXTURES).join(&row.file), target).unwrap();
        if row.width.is_none() {
            refused.insert(path, row.reason.clone());
        }
    }
    assert_eq!(refused.len(), FILES / 10);
    let found = scan(root.path(), &Choices::default()).unwrap();
    let mut first = None;
    for workers in [1, 2, 3, 7, 16, 64] {
        for round in 0..3 {
            let files = found.train.clone();
            let (photos, rejected) = Photos::read_by(workers, files, root.path(), Fit::to(16), 0, &|_| ());
            let told = found.rejected.iter().chain(&rejected);
            let told: Vec<(String, String)> = told.map(|told| (told.file.clone(), told.reason.clone())).collect();
            let once = told.iter().cloned().collect::<BTreeMap<_, _>>();
            let right = photos.len() + told.len() == FILES
                && once.len() == told.len()
                && once.keys().eq(refused.keys())
                && once.iter().all(|(file, reason)| reason.starts_with(&refused[file]));
            let all = (photos.digests().to_vec(), told);
            let same = *first.get_or_insert_with(|| all.clone()) == all;
            let case = || format!("{workers} threads, round {round}: {} used, {} named", all.0.len(), all.1.len());
            tally.count((right && same).then_some(()).ok_or_else(case));
        }
    }
}
