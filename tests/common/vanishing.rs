//! Images that come and go while a test reads them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Mutex;

use convscope::data::Images;

/// Images, some of which cannot be read any more.
pub struct Vanishing<I> {
    images: I,
    gone: Mutex<BTreeSet<usize>>,
}

impl<I: Images> Vanishing<I> {
    /// All of them are there at first.
    pub fn new(images: I) -> Self {
        Self { images, gone: Mutex::default() }
    }

    /// From now on only these are there.
    pub fn only(&self, present: impl Fn(usize) -> bool) {
        *self.gone.lock().unwrap() = (0..self.len()).filter(|&index| !present(index)).collect();
    }
}

impl<I: Images> Images for Vanishing<I> {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn size(&self) -> u32 {
        self.images.size()
    }

    fn label(&self, index: usize) -> u32 {
        self.images.label(index)
    }

    fn name(&self, index: usize) -> String {
        self.images.name(index)
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        if self.gone.lock().unwrap().contains(&index) { Err("has gone".into()) } else { self.images.pixels(index) }
    }
}
