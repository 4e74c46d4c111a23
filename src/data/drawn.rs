//! The synthetic images as a set.

use std::borrow::Cow;

use super::cache::Cache;
use super::{Images, digits, pets};

/// Side of the images that the program draws unless told otherwise.
pub const SIZE: usize = 128;
/// Images that it draws to train on.
pub const TRAIN_IMAGES: usize = 2000;
/// Images that it draws to validate on.
pub const VAL_IMAGES: usize = 500;
/// Drawing at which the validation images start: far beyond all that anyone trains on.
pub const FIRST_VAL_IMAGE: u64 = 1 << 32;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "native", derive(clap::ValueEnum))]
pub enum Subject {
    /// Cats and dogs.
    Pets,
    /// The digits 0 to 9.
    Digits,
}

impl Subject {
    /// The classes, in order.
    pub fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Pets => &pets::CLASSES,
            Self::Digits => &digits::CLASSES,
        }
    }

    /// The class of drawing `index`.
    pub fn class(self, index: u64) -> u32 {
        match self {
            Self::Pets => pets::class(index),
            Self::Digits => digits::class(index),
        }
    }

    /// Drawing `index` of a seed: `size * size` pixels, RGB bytes, row-major.
    pub fn draw(self, seed: u64, index: u64, size: u32) -> Vec<u8> {
        match self {
            Self::Pets => pets::draw(seed, index, size),
            Self::Digits => digits::draw(seed, index, size),
        }
    }
}

/// Drawings in the place of photos: image `index` of this set is drawing `first + index` of the seed.
pub struct Drawn {
    subject: Subject,
    seed: u64,
    first: u64,
    count: usize,
    size: u32,
    cache: Cache,
}

impl Drawn {
    /// `count` drawings of `size * size` pixels, from drawing `first` on. They are drawn when first
    /// asked for, and kept in memory up to `cache_bytes` bytes of pixels.
    pub fn new(subject: Subject, seed: u64, first: u64, count: usize, size: u32, cache_bytes: usize) -> Self {
        let cache = Cache::new(count, size, cache_bytes);
        Self { subject, seed, first, count, size, cache }
    }

    fn drawing(&self, index: usize) -> u64 {
        self.first + index as u64
    }
}

impl Images for Drawn {
    fn len(&self) -> usize {
        self.count
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn label(&self, index: usize) -> u32 {
        self.subject.class(self.drawing(index))
    }

    fn name(&self, index: usize) -> String {
        let class = self.subject.classes()[self.label(index) as usize];
        format!("{class} {index} (drawn, seed {})", self.seed)
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        let draw = || Ok(self.subject.draw(self.seed, self.drawing(index), self.size));
        self.cache.image(index, draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_starts_at_its_first_drawing_with_or_without_a_cache() {
        for cache_bytes in [0, 1 << 20] {
            let pets = Drawn::new(Subject::Pets, 3, 10, 4, 8, cache_bytes);
            assert_eq!(pets.len(), 4);
            for index in 0..4 {
                let drawing = 10 + index as u64;
                assert_eq!(pets.label(index), pets::class(drawing));
                assert_eq!(*pets.pixels(index).unwrap(), pets::draw(3, drawing, 8));
            }
            let class = pets::CLASSES[pets::class(12) as usize];
            assert_eq!(pets.name(2), format!("{class} 2 (drawn, seed 3)"));
        }
    }
}
