//! Images kept in memory up to a bound.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// Keeps the first images of a set once they have been made, as many as fit the bound.
///
/// Which images are kept depends on their index alone, so there is nothing to lock, to count or
/// to evict.
pub(super) struct Cache {
    /// The places of the first images, of those that have one.
    places: Vec<Option<Place>>,
}

type Place = Arc<OnceLock<Box<[u8]>>>;

impl Cache {
    /// An empty cache for `count` images of `size * size` RGB pixels, which will hold at most
    /// `bytes` bytes of pixels.
    pub(super) fn new(count: usize, size: u32, bytes: usize) -> Cache {
        let places = count.min(bytes.checked_div(image_bytes(size)).unwrap_or(0));
        Cache { places: (0..places).map(|_| Some(Place::default())).collect() }
    }

    /// The image at `index`, made with `make` unless it is already there.
    pub(super) fn image(
        &self,
        index: usize,
        make: impl FnOnce() -> Result<Vec<u8>, String>,
    ) -> Result<Cow<'_, [u8]>, String> {
        match self.places.get(index).and_then(Option::as_ref) {
            None => make().map(Cow::Owned),
            Some(cell) => match cell.get() {
                Some(pixels) => Ok(Cow::Borrowed(pixels)),
                None => {
                    let pixels = make()?.into_boxed_slice();
                    Ok(Cow::Borrowed(cell.get_or_init(|| pixels)))
                }
            },
        }
    }
}

/// What photos that are divided into sets need besides.
#[cfg(feature = "native")]
impl Cache {
    /// The same without the places of its last images of `size * size` pixels, which would take more than `bytes` bytes.
    pub(super) fn within(mut self, size: u32, bytes: usize) -> Cache {
        let places = bytes.checked_div(image_bytes(size)).unwrap_or(0);
        self.places.iter_mut().filter(|place| place.is_some()).skip(places).for_each(|place| *place = None);
        self
    }

    /// A cache of some of the images, in the order given. What is kept is shared, and stays for as long as one of the caches has it.
    pub(super) fn only(&self, indices: &[usize]) -> Cache {
        Cache { places: indices.iter().map(|&index| self.places.get(index).cloned().flatten()).collect() }
    }

    /// Bytes that it takes when it is full of images of `size * size` pixels.
    pub(super) fn bytes(&self, size: u32) -> usize {
        self.places.iter().flatten().count() * image_bytes(size)
    }
}

/// Bytes of an image of `size * size` RGB pixels.
fn image_bytes(size: u32) -> usize {
    size as usize * size as usize * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_within_the_bound_are_made_once() {
        let cache = Cache::new(3, 2, 2 * 12);
        let again = |index| cache.image(index, || Err("made again".into()));
        for index in 0..3 {
            let made = cache.image(index, || Ok(vec![index as u8; 12]));
            assert_eq!(*made.unwrap(), [index as u8; 12]);
        }
        assert_eq!(*again(0).unwrap(), [0; 12]);
        assert_eq!(*again(1).unwrap(), [1; 12]);
        assert_eq!(again(2).unwrap_err(), "made again");
    }

    /// What only one of two caches needs goes with it.
    #[test]
    fn a_part_keeps_what_it_has_and_no_more() {
        let whole = Cache::new(4, 2, 3 * 12);
        for index in 0..4 {
            whole.image(index, || Ok(vec![index as u8; 12])).unwrap();
        }
        let places: Vec<_> = whole.places.iter().map(|place| place.as_ref().map(Arc::downgrade)).collect();
        let part = whole.only(&[3, 1, 2]);
        assert_eq!((whole.bytes(2), part.bytes(2)), (36, 24));
        assert_eq!(*part.image(1, || Err("made again".into())).unwrap(), [1; 12]);
        drop(whole);
        let kept: Vec<_> =
            places.iter().map(|place| place.as_ref().is_some_and(|place| place.strong_count() > 0)).collect();
        assert_eq!(kept, [false, true, true]);
        let less = part.within(2, 12);
        assert_eq!(less.bytes(2), 12);
        assert_eq!(*less.image(1, || Err("made again".into())).unwrap(), [1; 12]);
        assert!(less.image(2, || Err("made again".into())).is_err());
        assert_eq!(less.within(2, 0).bytes(2), 0);
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache = Cache::new(1, 1, 3);
        assert_eq!(cache.image(0, || Err("gone".into())), Err("gone".into()));
        assert_eq!(*cache.image(0, || Ok(vec![1, 2, 3])).unwrap(), [1, 2, 3]);
    }
}
