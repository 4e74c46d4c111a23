//! Images that are equal, and images that are nearly equal: saved anew, slightly cropped, or brighter.
//!
//! Of each image there is a dHash: in 8 rows of 9 grey values, whether each is lighter than the next (N. Krawetz, "Kind of Like
//! That", 2013). Hashes that differ in few bits make candidates. As an even area has a hash of noise, candidates are then
//! compared by their pixels, small, less the mean of each colour and in units of their deviation, so that light and contrast do not
//! count.

use std::collections::BTreeMap;

use anyhow::Result;

use super::measured::Measured;
use crate::data::fit::{Fit, middle_square};
use crate::data::in_parallel;
use crate::data::prepare::Opened;

/// Bits of 64 in which the hashes of candidates differ at most.
pub const MAX_BITS: u32 = 14;
/// Mean absolute difference of candidates that are nearly equal, at most, in deviations of their pixels.
pub const MAX_DIFFERENCE: f32 = 0.25;
/// Deviation of pixels, of 255, below which an image is even: then values are compared as they are.
const EVEN: f32 = 4.0;
/// Mean absolute difference of even images that are nearly equal, of 255.
const MAX_EVEN_DIFFERENCE: f32 = 2.0;
/// By how much the means of nearly equal images differ at most, of 255, and how many times their deviations.
const MAX_LIGHTER: f32 = 80.0;
const MAX_CONTRAST: f32 = 2.0;

/// Side of the square that hashes are made of: its boxes are whole pixels.
const SQUARE: u32 = 72;
/// Side of the small image.
const SMALL: u32 = 18;

/// The image that the small squares of [`Look::inner`] are cut from the middle of: 5 % less on every side.
const INNER: Fit = Fit { size: SQUARE, resize: Some(SQUARE * 10 / 9) };

/// What nearly equal images share.
#[derive(Clone, Debug)]
pub struct Look {
    /// That of the whole.
    whole: View,
    /// That of its inner part, which is the whole of an image that was cropped so.
    inner: View,
}

/// What is compared of two squares.
#[derive(Clone, Debug)]
struct View {
    hash: u64,
    /// RGB of [`SMALL`] squared pixels.
    small: Box<[u8]>,
    /// Of red, green and blue.
    means: [f32; 3],
    /// Of all values from the mean of their colour.
    deviation: f32,
}

impl Look {
    /// That of an image's middle square.
    pub(super) fn of(opened: &Opened) -> Self {
        let [whole, inner] = [Fit::to(SQUARE), INNER].map(|fit| View::of(&opened.square(fit)));
        Self { whole, inner }
    }

    /// How far the pixels of two images lie apart, in deviations, or those of one and of the inner part of the other; none where they are
    /// not nearly equal.
    fn difference(&self, other: &Self) -> Option<f32> {
        let pairs = [(&self.whole, &other.whole), (&self.inner, &other.whole), (&self.whole, &other.inner)];
        pairs.into_iter().filter_map(|(one, other)| one.difference(other)).reduce(f32::min)
    }
}

impl View {
    /// That of a square of [`SQUARE`] pixels.
    fn of(square: &[u8]) -> Self {
        let small = middle_square(square, [SQUARE; 2], Fit::to(SMALL)).into_boxed_slice();
        let pixels = small.as_chunks::<3>().0;
        let mean =
            |colour: usize| pixels.iter().map(|pixel| f32::from(pixel[colour])).sum::<f32>() / pixels.len() as f32;
        let means = [0, 1, 2].map(mean);
        let off = |pixel: &[u8; 3]| -> f32 {
            pixel.iter().zip(means).map(|(&value, mean)| (f32::from(value) - mean).powi(2)).sum()
        };
        let deviation = (pixels.iter().map(off).sum::<f32>() / small.len() as f32).sqrt();
        Self { hash: hash(square), small, means, deviation }
    }

    /// How far their pixels lie apart, in deviations; none where they are not nearly equal.
    fn difference(&self, other: &Self) -> Option<f32> {
        if (self.hash ^ other.hash).count_ones() > MAX_BITS {
            return None;
        }
        // Mean absolute difference of the pixels, with these taken from them and in these units.
        let mean_of = |[own, others]: [[f32; 3]; 2], [unit, other_unit]: [f32; 2]| {
            let mut sum = 0.0;
            for (one, two) in self.small.as_chunks::<3>().0.iter().zip(other.small.as_chunks::<3>().0) {
                for colour in 0..3 {
                    let one = (f32::from(one[colour]) - own[colour]) / unit;
                    sum += (one - (f32::from(two[colour]) - others[colour]) / other_unit).abs();
                }
            }
            sum / self.small.len() as f32
        };
        if self.deviation.min(other.deviation) < EVEN {
            let difference = mean_of([[0.0; 3]; 2], [1.0; 2]);
            return (difference <= MAX_EVEN_DIFFERENCE).then_some(difference / EVEN);
        }
        let contrast = self.deviation / other.deviation;
        let lighter = self.means.iter().zip(other.means).any(|(mean, other)| (mean - other).abs() > MAX_LIGHTER);
        if lighter || contrast.max(1.0 / contrast) > MAX_CONTRAST {
            return None;
        }
        let difference = mean_of([self.means, other.means], [self.deviation, other.deviation]);
        (difference <= MAX_DIFFERENCE).then_some(difference)
    }
}

/// The dHash of a square of [`SQUARE`] pixels.
fn hash(square: &[u8]) -> u64 {
    const COLUMNS: usize = 9;
    const ROWS: usize = 8;
    let side = SQUARE as usize;
    let mut boxes = [[0u32; COLUMNS]; ROWS];
    for (place, pixel) in square.as_chunks::<3>().0.iter().enumerate() {
        let [x, y] = [place % side, place / side];
        boxes[y * ROWS / side][x * COLUMNS / side] += pixel.iter().map(|&value| u32::from(value)).sum::<u32>();
    }
    let lighter = boxes.iter().flat_map(|row| row.windows(2).map(|pair| pair[0] > pair[1]));
    lighter.fold(0, |hash, bit| hash << 1 | u64::from(bit))
}

/// How two like images stand to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// They have different classes.
    Contradiction,
    /// One class, but one is to learn from and one to be judged by.
    Leak,
    /// One class and one part.
    Double,
}

impl Relation {
    fn of(one: &Measured, other: &Measured) -> Self {
        match (one.file.class == other.file.class, one.part == other.part) {
            (false, _) => Self::Contradiction,
            (true, false) => Self::Leak,
            (true, true) => Self::Double,
        }
    }
}

/// Two images that are alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The one that comes first; of a leak the training image.
    pub first: usize,
    /// The other.
    pub second: usize,
    /// How they stand to one another.
    pub relation: Relation,
    /// How far their pixels lie apart, in deviations; none where they are equal at the size that the network takes.
    pub difference: Option<f32>,
}

/// Of each image the earlier ones that it is like: of each relation that which is most like it, equal ones before others. So
/// there are no more pairs than images for a relation, however many are alike.
///
/// # Errors
/// None; [`in_parallel`] could have one.
pub(super) fn pairs(images: &[Measured]) -> Result<Vec<Pair>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        groups.entry(image.digest).or_default().push(index);
    }
    let mut pairs = Vec::new();
    let mut distinct = Vec::new();
    for group in groups.into_values() {
        let mut kinds = Vec::new();
        for (place, &second) in group.iter().enumerate() {
            let relation = |&first: &usize| (Relation::of(&images[first], &images[second]), first);
            let mut earlier: Vec<_> = group[..place].iter().map(relation).collect();
            earlier.sort_unstable();
            earlier.dedup_by_key(|(relation, _)| *relation);
            pairs.extend(earlier.into_iter().map(|(relation, first)| Pair {
                first,
                second,
                relation,
                difference: None,
            }));
            let kind = (images[second].file.class, images[second].part);
            if !kinds.contains(&kind) {
                kinds.push(kind);
                distinct.push(second);
            }
        }
    }
    distinct.sort_unstable();
    // The later an image, the more there are before it: a row from each end makes equal shares of work.
    let rows = distinct.len();
    let near = in_parallel(rows.div_ceil(2), |row| {
        let mut found = nearest(images, &distinct[..=row]);
        if rows - 1 - row != row {
            found.extend(nearest(images, &distinct[..rows - row]));
        }
        Ok(found)
    })?;
    pairs.extend(near.into_iter().flatten());
    pairs.sort_by(|a, b| {
        a.difference.unwrap_or(-1.0).total_cmp(&b.difference.unwrap_or(-1.0)).then(a.second.cmp(&b.second))
    });
    Ok(pairs)
}

/// The nearly equal images before the last of `row`: of each relation the nearest.
fn nearest(images: &[Measured], row: &[usize]) -> Vec<Pair> {
    let Some((&second, earlier)) = row.split_last() else { return Vec::new() };
    let mut found: BTreeMap<Relation, Pair> = BTreeMap::new();
    let last = &images[second];
    for &first in earlier {
        if let Some(difference) = last.look.difference(&images[first].look)
            && images[first].digest != last.digest
        {
            let relation = Relation::of(&images[first], last);
            let pair = Pair { first, second, relation, difference: Some(difference) };
            let nearest = found.entry(relation).or_insert(pair);
            if pair.difference < nearest.difference {
                *nearest = pair;
            }
        }
    }
    found.into_values().collect()
}
