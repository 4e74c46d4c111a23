//! Some of a set's pictures.

use std::borrow::Cow;

use super::Pictures;

/// Some of a set's pictures as a set of their own, in the order given.
pub struct Subset<'a> {
    pictures: &'a dyn Pictures,
    indices: Vec<usize>,
}

impl<'a> Subset<'a> {
    /// The pictures at `indices` of `pictures`.
    pub fn new(pictures: &'a dyn Pictures, indices: Vec<usize>) -> Self {
        Self { pictures, indices }
    }
}

impl Pictures for Subset<'_> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn size(&self) -> u32 {
        self.pictures.size()
    }

    fn label(&self, index: usize) -> u32 {
        self.pictures.label(self.indices[index])
    }

    fn name(&self, index: usize) -> String {
        self.pictures.name(self.indices[index])
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        self.pictures.pixels(self.indices[index])
    }
}
