//! The embedded data set: cats and dogs that the program draws itself.
//!
//! The two classes differ in shape alone: ears, eyes, nose, muzzle, whiskers, the outline of the
//! head and the tail. Colours, coats, pose, light, backdrop and the things that lie about have the
//! same distribution for both, so a linear classifier on pixels or colour histograms does not get
//! far (`cargo bench --bench baselines` measures it), whereas a small CNN does. The clutter holds
//! decoys made like the ears: upright points and drooping lobes.
//!
//! An image is first sampled, as a `Scene` of named parameters, and then painted from back to
//! front. It has the same bytes on every machine.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::canvas::{Canvas, Frame, Point, Rgb, Shape};
use paint::{Paint, Palette, fur, pastel, shaded};
use pet::Pet;

mod paint;
mod pet;

/// The names of the classes, in the order of their labels.
pub const CLASSES: [&str; 2] = ["cat", "dog"];

/// Returns the class of image `index`. Classes alternate, so that any even number of consecutive
/// images is balanced.
pub fn class(index: u64) -> u32 {
    (index % 2) as u32
}

/// Draws image `index` of the data set `seed` as `size * size` RGB pixels, row by row.
///
/// The same arguments always give the same bytes. Another size gives the same scene at another
/// resolution.
pub fn draw(seed: u64, index: u64, size: u32) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let scene = Scene::sample(&mut rng, class(index));
    let mut canvas = Canvas::new(size as usize, scene.softness);
    scene.draw(&mut canvas);
    canvas.into_bytes(|p, colour| scene.light.expose(p, colour, &mut rng))
}

/// Everything that an image shows.
struct Scene {
    wall: Paint,
    floor: Paint,
    floor_frame: Frame,
    clutter: Vec<Prop>,
    pet: Pet,
    /// Props in front of the pet.
    front: Vec<Prop>,
    light: Light,
    softness: f32,
}

impl Scene {
    fn sample(rng: &mut ChaCha8Rng, class: u32) -> Self {
        let floor_centre = [0.0, rng.random_range(1.1..1.9)];
        Scene {
            wall: scenery(rng, pastel, 1.0..4.0),
            floor: scenery(rng, pastel, 1.0..4.0),
            floor_frame: Frame::new(floor_centre, 1.0, rng.random_range(-0.05..0.05)),
            clutter: Prop::sample_some(rng, 3..9, -1.0..1.0, 0.12..0.35),
            pet: Pet::sample(rng, class),
            front: Prop::sample_some(rng, 0..2, 0.2..1.0, 0.1..0.25),
            light: Light::sample(rng),
            softness: rng.random_range(0.01..0.03),
        }
    }

    fn draw(&self, canvas: &mut Canvas) {
        let image = Frame::new([0.0, 0.0], 1.0, 0.0);
        let (whole, lower) = (Shape::Rectangle([2.0, 2.0]), Shape::Rectangle([2.0, 1.0]));
        canvas.fill(&image, whole, |p, _| self.wall.at(p));
        canvas.fill(&self.floor_frame, lower, |p, _| self.floor.at(p));
        for prop in &self.clutter {
            prop.draw(canvas);
        }
        self.pet.draw(canvas);
        for prop in &self.front {
            prop.draw(canvas);
        }
    }
}

/// A paint for all but the pet, with little contrast so that it does not outshine the pet.
fn scenery(rng: &mut ChaCha8Rng, palette: Palette, frequencies: Range<f32>) -> Paint {
    Paint::sample(rng, palette, 0.3, frequencies)
}

/// A thing that lies about.
struct Prop {
    frame: Frame,
    shape: Shape,
    paint: Paint,
}

impl Prop {
    fn sample_some(rng: &mut ChaCha8Rng, counts: Range<u32>, heights: Range<f32>, sizes: Range<f32>) -> Vec<Self> {
        (0..rng.random_range(counts)).map(|_| Prop::sample(rng, heights.clone(), sizes.clone())).collect()
    }

    fn sample(rng: &mut ChaCha8Rng, heights: Range<f32>, sizes: Range<f32>) -> Self {
        let place = [rng.random_range(-1.0..1.0), rng.random_range(heights)];
        let width = rng.random_range(0.4..1.0);
        let shape = match rng.random_range(0..4) {
            0 => Shape::Ellipse([0.0, 0.0], [1.0, width]),
            1 => Shape::Rectangle([width, 1.0]),
            2 => Shape::Cone([0.0, 0.4], [0.0, -1.0], [0.7 * width, 0.05]),
            _ => Shape::Cone([0.0, -0.6], [0.0, 0.6], [0.5 * width, 0.7 * width]),
        };
        let palette = if rng.random_bool(0.5) { fur } else { pastel };
        Prop {
            frame: Frame::new(place, rng.random_range(sizes), rng.random_range(-0.25..0.25)),
            shape,
            paint: scenery(rng, palette, 1.0..2.5),
        }
    }

    fn draw(&self, canvas: &mut Canvas) {
        let colour = |p, distance| shaded(self.paint.at(p), distance);
        canvas.fill(&self.frame, self.shape, colour);
    }
}

/// How the painting becomes a photograph.
struct Light {
    gain: f32,
    /// Change of the gain from the middle of the image to its right and lower borders.
    slope: Point,
    tint: Rgb,
    /// Amplitude of the noise.
    noise: f32,
}

impl Light {
    fn sample(rng: &mut ChaCha8Rng) -> Self {
        Light {
            gain: rng.random_range(0.75..1.1),
            slope: [0; 2].map(|_| rng.random_range(-0.2..0.2)),
            tint: [0; 3].map(|_| rng.random_range(0.92..1.08)),
            noise: rng.random_range(0.0..0.06),
        }
    }

    fn expose(&self, [x, y]: Point, mut colour: Rgb, rng: &mut ChaCha8Rng) -> Rgb {
        let gain = self.gain + self.slope[0] * x + self.slope[1] * y;
        let bits: u64 = rng.random();
        let uniform = |k| ((bits >> (10 * k)) & 0x3ff) as f32 / 1024.0;
        for (i, c) in colour.iter_mut().enumerate() {
            // The difference of two uniform numbers is spread like a triangle about 0.
            let noise = uniform(2 * i) - uniform(2 * i + 1);
            *c = gain * self.tint[i] * *c + self.noise * noise;
        }
        colour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_alternate() {
        let labels: Vec<u32> = (10..16).map(class).collect();
        assert_eq!(labels, [0, 1, 0, 1, 0, 1]);
        assert!((0..2).all(|index| (class(index) as usize) < CLASSES.len()));
    }

    #[test]
    fn an_image_has_three_bytes_a_pixel() {
        for size in [0, 1, 7, 32] {
            assert_eq!(draw(0, 0, size).len(), (3 * size * size) as usize);
        }
    }

    #[test]
    fn the_same_arguments_give_the_same_bytes() {
        assert_eq!(draw(7, 1 << 32, 24), draw(7, 1 << 32, 24));
    }

    #[test]
    fn every_seed_and_index_gives_another_image() {
        let images = [(0, 0), (0, 1), (0, 2), (0, 1 << 32), (1, 0)].map(|(s, i)| draw(s, i, 24));
        for (i, one) in images.iter().enumerate() {
            assert!(images[i + 1..].iter().all(|other| one != other));
        }
    }

    /// The default data must stay the same from one version and machine to the next.
    #[test]
    fn the_bytes_are_pinned() {
        let mix = |sum: u64, &byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
        let sums = [0, 1, 1 << 32].map(|index| draw(0, index, 64).iter().fold(0, mix));
        assert_eq!(sums, [7486966201279346560, 14984989283962236466, 7505006278817719854]);
    }

    /// The two classes share the distribution of colours, so their mean colours agree up to
    /// chance.
    #[test]
    fn classes_have_the_same_mean_colour() {
        let (images, size) = (2000, 16);
        let mut sums = [[0.0; 3]; 2];
        let mut squares = [0.0; 3];
        for index in 0..images {
            let image = draw(0, index, size);
            for channel in 0..3 {
                let bytes = image.iter().skip(channel).step_by(3);
                let mean = bytes.map(|&b| f64::from(b)).sum::<f64>() / f64::from(size * size);
                sums[class(index) as usize][channel] += mean;
                squares[channel] += mean * mean;
            }
        }
        let count = images as f64;
        for channel in 0..3 {
            let mean = (sums[0][channel] + sums[1][channel]) / count;
            let deviation = (squares[channel] / count - mean * mean).sqrt();
            let difference = (sums[0][channel] - sums[1][channel]) / (count / 2.0);
            let standard_error = deviation * (4.0 / count).sqrt();
            assert!(difference.abs() < 3.0 * standard_error, "{difference} +- {standard_error}");
        }
    }
}
