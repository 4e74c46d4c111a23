//! Images kept in memory up to a bound.

use std::borrow::Cow;
use std::sync::OnceLock;

/// Keeps the first images of a set once they have been made, as many as fit the bound.
///
/// Which images are kept depends on their index alone, so there is nothing to lock, to count or
/// to evict.
pub(super) struct Cache {
    kept: Vec<OnceLock<Box<[u8]>>>,
}

impl Cache {
    /// An empty cache for `count` images of `size * size` RGB pixels, which will hold at most
    /// `bytes` bytes of pixels.
    pub(super) fn new(count: usize, size: u32, bytes: usize) -> Cache {
        let image = size as usize * size as usize * 3;
        let room = bytes.checked_div(image).unwrap_or(0);
        let kept = (0..count.min(room)).map(|_| OnceLock::new()).collect();
        Cache { kept }
    }

    /// The image at `index`, made with `make` unless it is already there.
    pub(super) fn image(
        &self,
        index: usize,
        make: impl FnOnce() -> Result<Vec<u8>, String>,
    ) -> Result<Cow<'_, [u8]>, String> {
        match self.kept.get(index) {
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

    #[test]
    fn a_failure_is_not_kept() {
        let cache = Cache::new(1, 1, 3);
        assert_eq!(cache.image(0, || Err("gone".into())), Err("gone".into()));
        assert_eq!(*cache.image(0, || Ok(vec![1, 2, 3])).unwrap(), [1, 2, 3]);
    }
}
