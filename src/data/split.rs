//! Which images a study learns from, which it scores, and which it locks away.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use rand::Rng;
use rand::seq::SliceRandom;
use sha2::{Digest as _, Sha256};

use super::{Images, random};
use crate::digest::Digest;

/// Share of each class that is locked away as test set.
pub const TEST_SHARE: f64 = 0.15;

/// The images of a set that have no double, found by the SHA-256 of their pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct {
    /// Indices of the images to use, ascending: of equal ones the first.
    pub kept: Vec<usize>,
    /// Images left out because an equal one of the same class is kept.
    pub duplicates: usize,
    /// Images left out because an equal one has another class: neither can be trusted.
    pub contradictory: Vec<usize>,
    /// Hash of the whole set, as hexadecimal digits: of the classes' names and each image's name, class and pixels.
    pub hash: String,
}

impl Distinct {
    /// Reads every image and compares. Only exact doubles are found, pixel by pixel at the size that the network takes.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn find(images: &dyn Images, classes: &[String]) -> Result<Self> {
        let digests = digests(images)?;
        let mut whole = Sha256::new();
        for class in classes {
            whole.update(format!("{class}\n"));
        }
        for (index, digest) in digests.iter().enumerate() {
            whole.update(format!("{} {}\n", images.label(index), images.name(index)));
            whole.update(digest);
        }
        let (mut kept, mut contradictory, mut duplicates) = (Vec::new(), Vec::new(), 0);
        for group in groups(&digests).into_values() {
            if agree(images, &group) {
                kept.push(group[0]);
                duplicates += group.len() - 1;
            } else {
                contradictory.extend(group);
            }
        }
        kept.sort_unstable();
        contradictory.sort_unstable();
        let hash = Digest::from(whole).to_string();
        Ok(Self { kept, duplicates, contradictory, hash })
    }
}

/// SHA-256 of every image's pixels, computed on all threads.
///
/// # Errors
/// When an image cannot be read.
pub fn digests(images: &dyn Images) -> Result<Vec<Digest>> {
    super::in_parallel(images.len(), |index| match images.pixels(index) {
        Ok(pixels) => Ok(Digest::of(pixels)),
        Err(reason) => bail!("{} {reason}", images.name(index)),
    })
}

/// Which images of a set have each content, ascending.
fn groups(digests: &[Digest]) -> BTreeMap<Digest, Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, digest) in digests.iter().enumerate() {
        groups.entry(*digest).or_default().push(index);
    }
    groups
}

/// Whether images have one class.
fn agree(images: &dyn Images, group: &[usize]) -> bool {
    group.iter().all(|&index| images.label(index) == images.label(group[0]))
}

/// Of images whose equal ones have other classes, the first of each content, ascending.
pub fn contradictions(images: &dyn Images, digests: &[Digest]) -> Vec<usize> {
    let groups = groups(digests).into_values().filter(|group| !agree(images, group));
    let mut first: Vec<usize> = groups.map(|group| group[0]).collect();
    first.sort_unstable();
    first
}

/// Images to learn from and images to be judged by, such that no content is among both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halves {
    /// Indices of the images to learn from, ascending.
    pub train: Vec<usize>,
    /// Indices of the images to be judged by, ascending. Each content is among them once.
    pub val: Vec<usize>,
    /// Images that are in neither, and the image in `val` that each equals.
    pub doubles: Vec<(usize, usize)>,
}

/// Sets aside a share of each class's contents for validation, drawn with `seed`; of equal images the first stands for all.
/// Contents that several classes have are learned from, since nothing can be judged by them. `digests` are those of the
/// images' pixels.
///
/// # Errors
/// When a class has fewer than two contents of its own.
pub fn set_aside(images: &dyn Images, digests: &[Digest], classes: &[String], share: f64, seed: u64) -> Result<Halves> {
    let mut halves = Halves { train: Vec::new(), val: Vec::new(), doubles: Vec::new() };
    let mut by_class = vec![Vec::new(); classes.len()];
    for group in groups(digests).into_values() {
        match agree(images, &group) {
            true => by_class[images.label(group[0]) as usize].push(group),
            false => halves.train.extend(group),
        }
    }
    for ((number, class), mut groups) in (0..).zip(classes).zip(by_class) {
        let count = groups.len();
        ensure!(
            count > 1,
            "too few different images of the class '{class}' ({count}, without copies and without images that another class \
             has too) to set one aside for validation: add images, or name a folder of validation images with --val"
        );
        groups.sort_unstable();
        groups.shuffle(&mut random("split", seed, number));
        let aside = ((count as f64 * share).round() as usize).clamp(1, count - 1);
        for group in groups.split_off(count - aside) {
            halves.doubles.extend(group[1..].iter().map(|&double| (double, group[0])));
            halves.val.push(group[0]);
        }
        halves.train.extend(groups.concat());
    }
    halves.train.sort_unstable();
    halves.val.sort_unstable();
    halves.doubles.sort_unstable();
    Ok(halves)
}

/// Why an image cannot judge what was learned from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It equals this image that is learned from.
    Learned(usize),
    /// It equals this image that judges already.
    Double(usize),
    /// It equals this image of another class.
    Contradiction(usize),
}

/// Which images can judge what was learned from others, ascending, and why the rest cannot. The digests are those of the
/// pixels of the images that were learned from, and of those that are to judge.
pub fn fit_to_judge(learned: &[Digest], judges: &dyn Images, digests: &[Digest]) -> (Vec<usize>, Vec<(usize, Unfit)>) {
    let learned: BTreeMap<_, _> = learned.iter().enumerate().rev().map(|(index, digest)| (digest, index)).collect();
    let (mut fit, mut unfit) = (Vec::new(), Vec::new());
    for (digest, group) in groups(digests) {
        if let Some(&equal) = learned.get(&digest) {
            unfit.extend(group.into_iter().map(|index| (index, Unfit::Learned(equal))));
        } else if agree(judges, &group) {
            fit.push(group[0]);
            unfit.extend(group[1..].iter().map(|&index| (index, Unfit::Double(group[0]))));
        } else {
            let of_other_class = |index: usize| {
                let mut others = group.iter().copied().filter(|&other| judges.label(other) != judges.label(index));
                others.next().expect("the group's classes differ")
            };
            unfit.extend(group.iter().map(|&index| (index, Unfit::Contradiction(of_other_class(index)))));
        }
    }
    fit.sort_unstable();
    unfit.sort_unstable_by_key(|(index, _)| *index);
    (fit, unfit)
}

/// Images divided into a locked test set and, anew in every repeat, into folds. All are stratified: each holds the
/// classes in the set's own proportion, as nearly as whole images allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Indices of the locked images, ascending.
    pub test: Vec<usize>,
    /// Indices of all others, ascending.
    pub dev: Vec<usize>,
    /// Of each repeat and fold, the indices of the images that are scored, ascending.
    folds: Vec<Vec<Vec<usize>>>,
}

impl Split {
    /// Divides the images `kept` of a set. Depends on nothing but their classes, the numbers and the seed; the test set
    /// does not even depend on the numbers.
    ///
    /// # Errors
    /// When a class has too few images for one in the test set and one in each fold.
    pub fn new(
        images: &dyn Images,
        kept: &[usize],
        classes: &[String],
        [folds, repeats]: [usize; 2],
        seed: u64,
    ) -> Result<Self> {
        let mut by_class = vec![Vec::new(); classes.len()];
        for &index in kept {
            by_class[images.label(index) as usize].push(index);
        }
        let mut test = Vec::new();
        for ((number, class), indices) in (0..).zip(classes).zip(&mut by_class) {
            let count = indices.len();
            if count < folds + 1 {
                bail!(
                    "the class '{class}' has {count} distinct images, too few for the test set and {folds} folds: add \
                     images or lower --folds"
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

    /// The images to learn from and those to score, in a repeat and fold counted from 1.
    ///
    /// # Panics
    /// When there is no such repeat or fold.
    pub fn parts(&self, repeat: usize, fold: usize) -> (Vec<usize>, Vec<usize>) {
        let scored = self.folds[repeat - 1][fold - 1].clone();
        let learned = self.dev.iter().copied().filter(|index| scored.binary_search(index).is_err()).collect();
        (learned, scored)
    }
}

/// Deals the images of each class out to the folds, one after the other, where the class before left off.
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

/// The seed of the refit of that number on all images but the test set.
pub fn refit_seed(seed: u64, number: usize) -> u64 {
    random("study refit", seed, number as u64).next_u64()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::BTreeSet;

    use super::*;

    /// Images of one pixel, given as (class, shade).
    struct Shades(Vec<(u32, u8)>);

    impl Images for Shades {
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

    fn split(images: &Shades, numbers: [usize; 2], seed: u64) -> Split {
        let distinct = Distinct::find(images, &classes()).unwrap();
        Split::new(images, &distinct.kept, &classes(), numbers, seed).unwrap()
    }

    fn shades(images: &Shades, indices: &[usize]) -> BTreeSet<u8> {
        indices.iter().map(|&index| images.0[index].1).collect()
    }

    #[test]
    fn the_first_of_equal_images_is_kept_and_contradictions_are_not() {
        let images = Shades(vec![(0, 5), (0, 6), (0, 5), (1, 7), (1, 8), (0, 8), (1, 7), (1, 7)]);
        let distinct = Distinct::find(&images, &classes()).unwrap();
        assert_eq!((distinct.kept, distinct.duplicates, distinct.contradictory), (vec![0, 1, 3], 3, vec![4, 5]));
        let mut other = images.0.clone();
        other[0].1 = 99;
        assert_ne!(Distinct::find(&Shades(other), &classes()).unwrap().hash, distinct.hash);
        assert_eq!(Distinct::find(&images, &classes()).unwrap().hash, distinct.hash);
    }

    fn halves(images: &Shades, share: f64, seed: u64) -> Result<Halves> {
        set_aside(images, &digests(images)?, &classes(), share, seed)
    }

    /// Without doubles, the last of each class's images in a shuffled order are set aside, as they were when contents were
    /// not compared: so a seed means the same.
    #[test]
    fn without_doubles_the_seed_alone_decides() {
        let images = Shades((0..50).map(|shade| (u32::from(shade >= 39), shade)).collect());
        for (share, seed) in [(0.2, 0), (0.2, 7), (0.5, 1), (0.001, 2), (0.999, 3)] {
            let mut expected = Vec::new();
            for (number, class) in [(0, 0..39), (1, 39..50)] {
                let mut indices: Vec<usize> = class.collect();
                indices.shuffle(&mut random("split", seed, number));
                let aside = ((indices.len() as f64 * share).round() as usize).clamp(1, indices.len() - 1);
                expected.extend(indices.split_off(indices.len() - aside));
            }
            expected.sort_unstable();
            let halves = halves(&images, share, seed).unwrap();
            assert_eq!((halves.val, halves.doubles), (expected, vec![]), "share {share}, seed {seed}");
        }
    }

    #[test]
    fn contents_are_set_aside_whole_and_judge_once() {
        // Cats of three shades, one of them three times; dogs of two; a shade that is both.
        let images = Shades(vec![(0, 1), (0, 2), (0, 1), (0, 1), (0, 3), (1, 4), (1, 5), (0, 6), (1, 6), (1, 6)]);
        let mut judged = BTreeSet::new();
        for seed in 0..20 {
            let Halves { train, val, doubles } = halves(&images, 0.2, seed).unwrap();
            assert!(shades(&images, &train).is_disjoint(&shades(&images, &val)));
            assert!([7, 8, 9].iter().all(|index| train.contains(index)), "what is both judges nothing");
            let expected = if val[0] == 0 { vec![(2, 0), (3, 0)] } else { vec![] };
            assert_eq!((val.len(), doubles), (2, expected), "one of each class");
            assert_eq!(train.len() + val.len() + if val[0] == 0 { 2 } else { 0 }, 10);
            judged.extend(val);
        }
        assert_eq!(judged, BTreeSet::from([0, 1, 4, 5, 6]), "any content may be set aside, by its first image");
        assert_eq!(contradictions(&images, &digests(&images).unwrap()), [7]);
        let error = halves(&Shades(vec![(0, 1), (0, 1), (1, 2), (1, 3)]), 0.2, 0).unwrap_err().to_string();
        assert!(error.contains("class 'cat' (1, without copies"), "{error}");
    }

    #[test]
    fn what_cannot_judge_is_told() {
        let learned = digests(&Shades(vec![(0, 1), (1, 2), (0, 1)])).unwrap();
        let judges = Shades(vec![(0, 1), (0, 7), (1, 8), (1, 7), (1, 9), (1, 9), (0, 2)]);
        let (fit, unfit) = fit_to_judge(&learned, &judges, &digests(&judges).unwrap());
        assert_eq!(fit, [2, 4]);
        let expected = [
            (0, Unfit::Learned(0)),
            (1, Unfit::Contradiction(3)),
            (3, Unfit::Contradiction(1)),
            (5, Unfit::Double(4)),
            (6, Unfit::Learned(1)),
        ];
        assert_eq!(unfit, expected);
        let none = Shades(vec![(0, 5), (1, 6)]);
        assert_eq!(fit_to_judge(&learned, &none, &digests(&none).unwrap()), (vec![0, 1], vec![]));
    }

    /// No content is both learned from and scored, nor is any in the test set and elsewhere, though the set holds doubles.
    #[test]
    fn no_content_is_in_two_parts() {
        let images = pets();
        let split = split(&images, [5, 3], 1);
        let test = shades(&images, &split.test);
        assert_eq!(split.test.len() + split.dev.len(), 172, "28 of 200 are doubles");
        assert!(test.is_disjoint(&shades(&images, &split.dev)));
        for repeat in 1..=3 {
            let mut scored_once = Vec::new();
            for fold in 1..=5 {
                let (learned, scored) = split.parts(repeat, fold);
                assert!(shades(&images, &learned).is_disjoint(&shades(&images, &scored)));
                assert!(shades(&images, &scored).is_disjoint(&test) && shades(&images, &learned).is_disjoint(&test));
                assert_eq!(learned.len() + scored.len(), split.dev.len());
                scored_once.extend(scored);
            }
            scored_once.sort_unstable();
            assert_eq!(scored_once, split.dev, "every image is scored once a repeat");
        }
    }

    #[test]
    fn every_part_holds_the_classes_in_proportion() {
        let images = pets();
        let split = split(&images, [4, 2], 2);
        let dogs = |indices: &[usize]| indices.iter().filter(|&&index| images.0[index].0 == 1).count();
        assert_eq!((split.test.len(), dogs(&split.test)), (18 + 8, 8), "15 % of 120 and of 52");
        for repeat in 1..=2 {
            for fold in 1..=4 {
                let (_, scored) = split.parts(repeat, fold);
                assert!((36..=37).contains(&scored.len()), "146 images in 4 folds: {}", scored.len());
                assert_eq!(dogs(&scored), 11, "44 dogs in 4 folds");
            }
        }
    }

    #[test]
    fn repeats_and_seeds_differ_and_the_test_set_stays() {
        let images = pets();
        let one = split(&images, [5, 2], 3);
        assert_ne!(one.parts(1, 1).1, one.parts(2, 1).1);
        assert_eq!(one, split(&images, [5, 2], 3));
        let more = split(&images, [3, 4], 3);
        assert_eq!(more.test, one.test, "folds and repeats do not move the test set");
        assert_ne!(split(&images, [5, 2], 4).test, one.test);
        let seeds: BTreeSet<u64> = [(1, 1), (1, 2), (2, 1)].map(|(repeat, fold)| unit_seed(3, repeat, fold)).into();
        assert_eq!(seeds.len(), 3);
    }

    #[test]
    fn too_few_images_are_refused() {
        let images = Shades((0..20).map(|shade| (u32::from(shade >= 16), shade)).collect());
        let kept: Vec<usize> = (0..20).collect();
        let error = Split::new(&images, &kept, &classes(), [4, 1], 0).unwrap_err().to_string();
        assert!(error.contains("'dog' has 4 distinct images") && error.contains("--folds"), "{error}");
        assert_eq!(Split::new(&images, &kept, &classes(), [3, 1], 0).unwrap().parts(1, 1).1.len(), 6);
    }
}
