use std::borrow::Cow;
use std::rc::Rc;

use convscope::data::Images;
use convscope::data::batch::shuffled;
use convscope::data::drawn::{Drawn, FIRST_VAL_IMAGE, Subject};
use convscope::data::fit::{Fit, middle_square};
use convscope::nn::Preparation;
use wasm_bindgen::prelude::*;

use crate::say;

/// A set of labelled square images.
#[wasm_bindgen]
pub struct ImageSet {
    classes: Vec<String>,
    images: Rc<dyn Images>,
    drawn: bool,
    resize_crop: Option<u32>,
}

/// Bytes of drawn images that are kept.
const CACHE: usize = 256 << 20;

#[wasm_bindgen]
impl ImageSet {
    /// Images that the engine draws: `subject` is "pets" or "digits". Those for validation are others than those for training, for
    /// whatever seed and count.
    ///
    /// # Errors
    /// When there is no such subject.
    pub fn drawn(subject: &str, seed: u32, count: usize, size: u32, validation: bool) -> Result<Self, JsError> {
        let subject = match subject {
            "pets" => Subject::Pets,
            "digits" => Subject::Digits,
            _ => return Err(say(format!("{subject}: there are pets and digits to draw"))),
        };
        let first = if validation { FIRST_VAL_IMAGE } else { 0 };
        let images = Rc::new(Drawn::new(subject, seed.into(), first, count, size, CACHE));
        let classes = subject.classes().iter().map(|class| class.to_string()).collect();
        Ok(Self { classes, images, drawn: true, resize_crop: None })
    }

    /// Number of images.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> usize {
        self.images.len()
    }

    /// Side of every image, in pixels.
    #[wasm_bindgen(getter)]
    pub fn size(&self) -> u32 {
        self.images.size()
    }

    /// Pixels that the images' shorter sides were scaled to before the middle squares were cut out; none where whole squares were scaled,
    /// and of drawn images.
    #[wasm_bindgen(getter)]
    pub fn resize_crop(&self) -> Option<u32> {
        self.resize_crop
    }

    /// Names of the classes, in the order of the labels.
    #[wasm_bindgen(getter)]
    pub fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }

    /// The label of an image.
    pub fn label(&self, index: usize) -> u32 {
        self.images.label(index)
    }

    /// The pixels of an image: red, green, blue, row by row.
    pub fn pixels(&self, index: usize) -> Vec<u8> {
        self.images.pixels(index).expect("what is in memory can be read").into_owned()
    }
}

impl ImageSet {
    pub(crate) fn images(&self) -> Rc<dyn Images> {
        self.images.clone()
    }

    pub(crate) fn is_drawn(&self) -> bool {
        self.drawn
    }
}

/// The visitor's own images on their way into classes.
#[wasm_bindgen]
pub struct OwnImages {
    fit: Fit,
    classes: Vec<String>,
    images: Vec<(u32, Vec<u8>)>,
}

#[wasm_bindgen]
impl OwnImages {
    /// None yet, for images of this side and these classes. With `resize_crop` their shorter sides are scaled to so many pixels before the
    /// middle squares are cut out, as weights ask for it.
    ///
    /// # Errors
    /// When no such square can be cut out.
    #[wasm_bindgen(constructor)]
    pub fn new(size: u32, classes: Vec<String>, resize_crop: Option<u32>) -> Result<Self, JsError> {
        let preparation = Preparation { resize_crop, ..Preparation::default() };
        if let Some(resize) = resize_crop
            && !preparation.is_for(size as usize)
        {
            let most = Preparation::MAX_RESIZE;
            return Err(say(format!("resize_crop {resize}: expected {size} to {most} for images of {size} pixels")));
        }
        Ok(Self { fit: Fit::of(preparation, size), classes, images: Vec::new() })
    }

    /// The middle square of an image of any size, of the side of the set: red, green, blue row by row. The image is red, green, blue and
    /// alpha row by row, as a canvas gives it; what is transparent becomes white.
    ///
    /// # Errors
    /// When the bytes do not fit.
    pub fn square(&self, rgba: &[u8], width: u32, height: u32) -> Result<Vec<u8>, JsError> {
        if width == 0 || height == 0 || rgba.len() != width as usize * height as usize * 4 {
            return Err(say(format!("{} bytes are no image of {width} x {height}", rgba.len())));
        }
        let over_white = |[red, green, blue, alpha]: [u8; 4]| {
            [red, green, blue].map(|colour| {
                let (colour, alpha) = (u16::from(colour), u16::from(alpha));
                ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
            })
        };
        let rgb: Vec<u8> = rgba.as_chunks::<4>().0.iter().flat_map(|&pixel| over_white(pixel)).collect();
        Ok(middle_square(&rgb, [width, height], self.fit))
    }

    /// Takes a square that [`OwnImages::square`] made. Returns false where an equal one is in the set already, under whatever
    /// label: it is left out, so that no image counts for both training and validation.
    ///
    /// # Errors
    /// When the square has another side, or there is no such label.
    pub fn add(&mut self, square: Vec<u8>, label: u32) -> Result<bool, JsError> {
        let size = self.fit.size;
        if square.len() != 3 * (size as usize).pow(2) {
            return Err(say(format!("{} bytes are no square of {size} pixels", square.len())));
        }
        if label as usize >= self.classes.len() {
            return Err(say(format!("class {label} of {}", self.classes.len())));
        }
        let is_new = !self.images.iter().any(|(_, pixels)| *pixels == square);
        if is_new {
            self.images.push((label, square));
        }
        Ok(is_new)
    }

    /// Images of a class so far.
    pub fn count(&self, label: u32) -> usize {
        self.images.iter().filter(|(of, _)| *of == label).count()
    }

    /// Every fifth image of each class for validation, or all others for training, in a mixed order.
    pub fn set(&self, validation: bool) -> ImageSet {
        let mut seen = vec![0; self.classes.len()];
        let mut taken = Vec::new();
        for (label, pixels) in &self.images {
            let number = &mut seen[*label as usize];
            *number += 1;
            if (*number % 5 == 0) == validation {
                taken.push((*label, pixels.clone()));
            }
        }
        // Whoever judges the first of them judges all classes.
        let order = shuffled(taken.len(), 0, 0);
        let taken = order.into_iter().map(|index| taken[index].clone()).collect();
        let images = Rc::new(InMemory { size: self.fit.size, classes: self.classes.clone(), images: taken });
        ImageSet { classes: self.classes.clone(), images, drawn: false, resize_crop: self.fit.resize }
    }
}

struct InMemory {
    size: u32,
    classes: Vec<String>,
    images: Vec<(u32, Vec<u8>)>,
}

impl Images for InMemory {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn label(&self, index: usize) -> u32 {
        self.images[index].0
    }

    fn name(&self, index: usize) -> String {
        format!("{} {index}", self.classes[self.label(index) as usize])
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        Ok(Cow::Borrowed(&self.images[index].1))
    }
}
