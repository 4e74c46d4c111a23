//! The synthetic pets as a set of images.

use std::borrow::Cow;

use super::cache::Cache;
use super::{Images, pets};

/// Side of the images that the program draws unless told otherwise.
pub const SIZE: usize = 128;
/// Images that it draws to train on.
pub const TRAIN_IMAGES: usize = 2000;
/// Images that it draws to validate on.
pub const VAL_IMAGES: usize = 500;
/// Drawing at which the validation images start: far beyond all that anyone trains on.
pub const FIRST_VAL_IMAGE: u64 = 1 << 32;

/// Drawn pets in the place of photos: image `index` of this set is drawing `first + index` of the
/// seed.
pub struct DrawnPets {
    seed: u64,
    first: u64,
    count: usize,
    size: u32,
    cache: Cache,
}

impl DrawnPets {
    /// `count` pets of `size * size` pixels, from drawing `first` on. They are drawn when first
    /// asked for, and kept in memory up to `cache_bytes` bytes of pixels.
    pub fn new(seed: u64, first: u64, count: usize, size: u32, cache_bytes: usize) -> DrawnPets {
        let cache = Cache::new(count, size, cache_bytes);
        DrawnPets { seed, first, count, size, cache }
    }

    fn drawing(&self, index: usize) -> u64 {
        self.first + index as u64
    }
}

impl Images for DrawnPets {
    fn len(&self) -> usize {
        self.count
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn label(&self, index: usize) -> u32 {
        pets::class(self.drawing(index))
    }

    fn name(&self, index: usize) -> String {
        let class = pets::CLASSES[self.label(index) as usize];
        format!("{class} {index} (drawn, seed {})", self.seed)
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        let draw = || Ok(pets::draw(self.seed, self.drawing(index), self.size));
        self.cache.image(index, draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_starts_at_its_first_drawing_with_or_without_a_cache() {
        for cache_bytes in [0, 1 << 20] {
            let pets = DrawnPets::new(3, 10, 4, 8, cache_bytes);
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
