//! Some of a set's images.

use std::borrow::Cow;

use super::Images;

/// Some of a set's images as a set of their own, in the order given.
pub struct Subset<'a> {
    images: &'a dyn Images,
    indices: Vec<usize>,
}

impl<'a> Subset<'a> {
    /// The images at `indices` of `images`.
    pub fn new(images: &'a dyn Images, indices: Vec<usize>) -> Self {
        Self { images, indices }
    }
}

impl Images for Subset<'_> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn size(&self) -> u32 {
        self.images.size()
    }

    fn label(&self, index: usize) -> u32 {
        self.images.label(self.indices[index])
    }

    fn name(&self, index: usize) -> String {
        self.images.name(self.indices[index])
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        self.images.pixels(self.indices[index])
    }

    fn to_cut(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        self.images.to_cut(self.indices[index])
    }
}
