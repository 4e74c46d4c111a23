//! The filters of the first convolution, which have a colour for each tap.

use image::{Rgb, RgbImage};

use super::scale::largest;
use super::{DAMAGED, FigureError};

/// The filters of a convolution of red, green and blue.
#[derive(Debug, Clone, Copy)]
pub struct Filters<'a> {
    /// The layer, as it is to stand in errors: "Block 1".
    pub name: &'a str,
    /// The weights, (filters, 3, height, width) in row-major order.
    pub weights: &'a [f32],
    /// Rows of taps.
    pub height: usize,
    /// Columns of taps.
    pub width: usize,
}

/// The colour of a tap: its red, green and blue are its weights for those colours of the input, as shares of a limit. Mid-grey
/// is 0, full colour 1, none -1.
pub fn tap(weights: [f32; 3]) -> Rgb<u8> {
    Rgb(weights.map(|weight| (127.5 + 127.5 * f64::from(weight)).round() as u8))
}

impl Filters<'_> {
    /// Each filter as an image, a pixel a [`tap`], with its limit: its largest magnitude. A filter of zeros has no image.
    ///
    /// # Errors
    /// If the weights are no whole number of filters, at least one, or are not finite.
    pub fn shown(&self) -> Result<Vec<(Option<RgbImage>, f32)>, FigureError> {
        self.check()?;
        let shown = |weights: &[f32]| {
            let limit = largest(weights);
            ((limit > 0.0).then(|| self.image(weights, limit)), limit)
        };
        Ok(self.weights.chunks(3 * self.height * self.width).map(shown).collect())
    }

    fn image(&self, weights: &[f32], limit: f32) -> RgbImage {
        let taps = self.height * self.width;
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let place = y as usize * self.width + x as usize;
            tap([0, 1, 2].map(|colour| weights[colour * taps + place] / limit))
        })
    }

    fn check(&self) -> Result<(), FigureError> {
        let Filters { name, weights, height, width } = *self;
        let size = height.saturating_mul(width).saturating_mul(3);
        if size == 0 || weights.is_empty() || !weights.len().is_multiple_of(size) {
            return Err(FigureError(format!(
                "{name}: {} weights cannot be drawn as filters of 3 x {height} x {width}; \
                 give filters x 3 x height x width weights, at least one filter",
                weights.len()
            )));
        }
        match weights.iter().position(|weight| !weight.is_finite()) {
            Some(i) => {
                let (filter, colour, tap) = (i / size, i / (height * width) % 3, i % (height * width));
                Err(FigureError(format!(
                    "{name}, filter {filter}, colour {colour}, row {}, column {}: the weight is {}; {DAMAGED}",
                    tap / width,
                    tap % width,
                    weights[i]
                )))
            }
            None => Ok(()),
        }
    }
}
