//! Which pictures a study learns from, which it scores, and which it locks away.

use std::collections::BTreeMap;
use std::thread;

use anyhow::{Result, bail};
use rand::Rng;
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};

use super::{Pictures, random, threads};

/// Share of each class that is locked away as test set.
pub const TEST_SHARE: f64 = 0.15;

/// The pictures of a set that have no double, found by the SHA-256 of their pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct {
    /// Indices of the pictures to use, ascending: of equal ones the first.
    pub kept: Vec<usize>,
    /// Pictures left out because an equal one of the same class is kept.
    pub duplicates: usize,
    /// Pictures left out because an equal one has another class: neither can be trusted.
    pub contradictory: Vec<usize>,
    /// Hash of the whole set, as hexadecimal digits: of the classes' names and each picture's name, class and pixels.
    pub hash: String,
}

impl Distinct {
    /// Reads every picture and compares. Only exact doubles are found, pixel by pixel at the size that the network takes.
    ///
    /// # Errors
    /// When a picture cannot be read.
    pub fn find(pictures: &dyn Pictures, classes: &[String]) -> Result<Self> {
        let digests = digests(pictures)?;
        let mut groups: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
        let mut whole = Sha256::new();
        for class in classes {
            whole.update(format!("{class}\n"));
        }
        for (index, digest) in digests.into_iter().enumerate() {
            whole.update(format!("{} {}\n", pictures.label(index), pictures.name(index)));
            whole.update(digest);
            groups.entry(digest).or_default().push(index);
        }
        let (mut kept, mut contradictory, mut duplicates) = (Vec::new(), Vec::new(), 0);
        for group in groups.into_values() {
            let label = pictures.label(group[0]);
            if group.iter().all(|&index| pictures.label(index) == label) {
                kept.push(group[0]);
                duplicates += group.len() - 1;
            } else {
                contradictory.extend(group);
            }
        }
        kept.sort_unstable();
        contradictory.sort_unstable();
        let hash = whole.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { kept, duplicates, contradictory, hash })
    }
}

/// SHA-256 of every picture's pixels, computed on all threads.
///
/// # Errors
/// When a picture cannot be read.
pub fn digests(pictures: &dyn Pictures) -> Result<Vec<[u8; 32]>> {
    let digest = |index: usize| -> Result<[u8; 32]> {
        match pictures.pixels(index) {
            Ok(pixels) => Ok(Sha256::digest(&pixels).into()),
            Err(reason) => bail!("{} {reason}", pictures.name(index)),
        }
    };
    let indices: Vec<usize> = (0..pictures.len()).collect();
    thread::scope(|scope| {
        let work = |part: &[usize]| part.iter().map(|&index| digest(index)).collect::<Result<Vec<_>>>();
        let parts = indices.chunks(indices.len().div_ceil(threads()).max(1));
        let workers: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let mut all = Vec::with_capacity(pictures.len());
        for worker in workers {
            all.extend(worker.join().expect("a worker that hashes pictures has panicked, see its message above")?);
        }
        Ok(all)
    })
}

/// Pictures divided into a locked test set and, anew in every repeat, into folds. All are stratified: each holds the
/// classes in the set's own proportion, as nearly as whole pictures allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Indices of the locked pictures, ascending.
    pub test: Vec<usize>,
    /// Indices of all others, ascending.
    pub dev: Vec<usize>,
    /// Of each repeat and fold, the indices of the pictures that are scored, ascending.
    folds: Vec<Vec<Vec<usize>>>,
}

impl Split {
    /// Divides the pictures `kept` of a set. Depends on nothing but their classes, the numbers and the seed; the test set
    /// does not even depend on the numbers.
    ///
    /// # Errors
    /// When a class has too few pictures for one in the test set and one in each fold.
    pub fn new(
        pictures: &dyn Pictures,
        kept: &[usize],
        classes: &[String],
        [folds, repeats]: [usize; 2],
        seed: u64,
    ) -> Result<Self> {
        let mut by_class = vec![Vec::new(); classes.len()];
        for &index in kept {
            by_class[pictures.label(index) as usize].push(index);
        }
        let mut test = Vec::new();
        for ((number, class), indices) in (0..).zip(classes).zip(&mut by_class) {
            let count = indices.len();
            if count < folds + 1 {
                bail!(
                    "the class '{class}' has {count} distinct pictures, too few for the test set and {folds} folds: add \
                     pictures or lower --folds"
                );
            }
            indices.shuffle(&mut random("study test", seed, number));
            let locked = ((count as f64 * TEST_SHARE).round() as usize).clamp(1, count - folds);
            test.extend(indices.split_off(count - locked));
            indices.sort_unstable();
        }
        let repeats = (0..repeats).map(|repeat| deal(&by_class, folds, seed, repeat)).collect();
        let mut dev = by_class.concat();
        dev.sort_unstable();
        test.sort_unstable();
        Ok(Self { test, dev, folds: repeats })
    }

    /// The pictures to learn from and those to score, in a repeat and fold counted from 1.
    ///
    /// # Panics
    /// When there is no such repeat or fold.
    pub fn parts(&self, repeat: usize, fold: usize) -> (Vec<usize>, Vec<usize>) {
        let scored = self.folds[repeat - 1][fold - 1].clone();
        let learned = self.dev.iter().copied().filter(|index| scored.binary_search(index).is_err()).collect();
        (learned, scored)
    }
}

/// Deals the pictures of each class out to the folds, one after the other, where the class before left off.
fn deal(by_class: &[Vec<usize>], folds: usize, seed: u64, repeat: usize) -> Vec<Vec<usize>> {
    let mut dealt = vec![Vec::new(); folds];
    let mut next = 0;
    for (class, indices) in by_class.iter().enumerate() {
        let mut indices = indices.clone();
        indices.shuffle(&mut random("study folds", seed, (repeat << 32 | class) as u64));
        for index in indices {
            dealt[next % folds].push(index);
            next += 1;
        }
    }
    dealt.iter_mut().for_each(|fold| fold.sort_unstable());
    dealt
}

/// The seed of all that is random while a network learns, in a repeat and fold: the same for every network there.
pub fn unit_seed(seed: u64, repeat: usize, fold: usize) -> u64 {
    random("study unit", seed, (repeat << 32 | fold) as u64).next_u64()
}

/// The seed of the refit of that number on all pictures but the test set.
pub fn refit_seed(seed: u64, number: usize) -> u64 {
    random("study refit", seed, number as u64).next_u64()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::BTreeSet;

    use super::*;

    /// Pictures of one pixel, given as (class, shade).
    struct Shades(Vec<(u32, u8)>);

    impl Pictures for Shades {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn size(&self) -> u32 {
            1
        }

        fn label(&self, index: usize) -> u32 {
            self.0[index].0
        }

        fn name(&self, index: usize) -> String {
            format!("{index}.png")
        }

        fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
            Ok(vec![self.0[index].1; 3].into())
        }
    }

    fn classes() -> [String; 2] {
        ["cat", "dog"].map(String::from)
    }

    /// 140 cats and 60 dogs, every seventh the double of the one before.
    fn pets() -> Shades {
        let shade = |index: u32| (index - u32::from(index % 7 == 6)) as u8;
        Shades((0..200).map(|index| (u32::from(index >= 140), shade(index))).collect())
    }

    fn split(pictures: &Shades, numbers: [usize; 2], seed: u64) -> Split {
        let distinct = Distinct::find(pictures, &classes()).unwrap();
        Split::new(pictures, &distinct.kept, &classes(), numbers, seed).unwrap()
    }

    fn shades(pictures: &Shades, indices: &[usize]) -> BTreeSet<u8> {
        indices.iter().map(|&index| pictures.0[index].1).collect()
    }

    #[test]
    fn the_first_of_equal_pictures_is_kept_and_contradictions_are_not() {
        let pictures = Shades(vec![(0, 5), (0, 6), (0, 5), (1, 7), (1, 8), (0, 8), (1, 7), (1, 7)]);
        let distinct = Distinct::find(&pictures, &classes()).unwrap();
        assert_eq!((distinct.kept, distinct.duplicates, distinct.contradictory), (vec![0, 1, 3], 3, vec![4, 5]));
        let mut other = pictures.0.clone();
        other[0].1 = 99;
        assert_ne!(Distinct::find(&Shades(other), &classes()).unwrap().hash, distinct.hash);
        assert_eq!(Distinct::find(&pictures, &classes()).unwrap().hash, distinct.hash);
    }

    /// No content is both learned from and scored, nor is any in the test set and elsewhere, though the set holds doubles.
    #[test]
    fn no_content_is_in_two_parts() {
        let pictures = pets();
        let split = split(&pictures, [5, 3], 1);
        let test = shades(&pictures, &split.test);
        assert_eq!(split.test.len() + split.dev.len(), 172, "28 of 200 are doubles");
        assert!(test.is_disjoint(&shades(&pictures, &split.dev)));
        for repeat in 1..=3 {
            let mut scored_once = Vec::new();
            for fold in 1..=5 {
                let (learned, scored) = split.parts(repeat, fold);
                assert!(shades(&pictures, &learned).is_disjoint(&shades(&pictures, &scored)));
                assert!(
                    shades(&pictures, &scored).is_disjoint(&test) && shades(&pictures, &learned).is_disjoint(&test)
                );
                assert_eq!(learned.len() + scored.len(), split.dev.len());
                scored_once.extend(scored);
            }
            scored_once.sort_unstable();
            assert_eq!(scored_once, split.dev, "every picture is scored once a repeat");
        }
    }

    #[test]
    fn every_part_holds_the_classes_in_proportion() {
        let pictures = pets();
        let split = split(&pictures, [4, 2], 2);
        let dogs = |indices: &[usize]| indices.iter().filter(|&&index| pictures.0[index].0 == 1).count();
        assert_eq!((split.test.len(), dogs(&split.test)), (18 + 8, 8), "15 % of 120 and of 52");
        for repeat in 1..=2 {
            for fold in 1..=4 {
                let (_, scored) = split.parts(repeat, fold);
                assert!((36..=37).contains(&scored.len()), "146 pictures in 4 folds: {}", scored.len());
                assert_eq!(dogs(&scored), 11, "44 dogs in 4 folds");
            }
        }
    }

    #[test]
    fn repeats_and_seeds_differ_and_the_test_set_stays() {
        let pictures = pets();
        let one = split(&pictures, [5, 2], 3);
        assert_ne!(one.parts(1, 1).1, one.parts(2, 1).1);
        assert_eq!(one, split(&pictures, [5, 2], 3));
        let more = split(&pictures, [3, 4], 3);
        assert_eq!(more.test, one.test, "folds and repeats do not move the test set");
        assert_ne!(split(&pictures, [5, 2], 4).test, one.test);
        let seeds: BTreeSet<u64> = [(1, 1), (1, 2), (2, 1)].map(|(repeat, fold)| unit_seed(3, repeat, fold)).into();
        assert_eq!(seeds.len(), 3);
    }

    #[test]
    fn too_few_pictures_are_refused() {
        let pictures = Shades((0..20).map(|shade| (u32::from(shade >= 16), shade)).collect());
        let kept: Vec<usize> = (0..20).collect();
        let error = Split::new(&pictures, &kept, &classes(), [4, 1], 0).unwrap_err().to_string();
        assert!(error.contains("'dog' has 4 distinct pictures") && error.contains("--folds"), "{error}");
        assert_eq!(Split::new(&pictures, &kept, &classes(), [3, 1], 0).unwrap().parts(1, 1).1.len(), 6);
    }
}
