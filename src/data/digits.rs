//! Handwritten digits that the program draws itself, after the manner of MNIST: light strokes on a dark ground.
//!
//! Each digit is a list of strokes, which are bent, slanted, scaled, shifted and thickened at random. A small network tells
//! them apart within seconds. A drawing has the same bytes on every machine.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::canvas::{Canvas, Frame, Point, Shape, curve};

/// Class names; a label is an index into them.
pub const CLASSES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// The class of the drawing at `index`.
pub fn class(index: u64) -> u32 {
    (index % 10) as u32
}

/// Draws the digit at `index`: `size * size` pixels, RGB bytes of equal red, green and blue, row-major.
pub fn draw(seed: u64, index: u64, size: u32) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let hand = Hand::sample(&mut rng);
    let mut canvas = Canvas::new(size as usize, hand.softness);
    for [from, to] in strokes(class(index)).iter().flat_map(|&stroke| curve(stroke.map(|point| hand.bend(point)))) {
        let radii = [hand.thickness; 2];
        canvas.fill(&hand.frame, Shape::Cone(from, to, radii), |_, _| [hand.ink; 3]);
    }
    canvas.into_bytes(|_, colour| {
        let noise = hand.noise * (rng.random::<f32>() - rng.random::<f32>());
        colour.map(|c| c + noise)
    })
}

/// How one digit is written.
struct Hand {
    frame: Frame,
    /// Coefficients of the bend: of x by y, by x * y and by y * y, then the same of y.
    bends: [[f32; 3]; 2],
    /// Width over height.
    width: f32,
    thickness: f32,
    ink: f32,
    softness: f32,
    noise: f32,
}

impl Hand {
    fn sample(rng: &mut ChaCha8Rng) -> Self {
        let place = [0; 2].map(|_| rng.random_range(-0.18..0.18));
        Self {
            frame: Frame::new(place, rng.random_range(0.6..0.85), rng.random_range(-0.12..0.12)),
            bends: [[0; 3].map(|_| rng.random_range(-0.18..0.18)), [0; 3].map(|_| rng.random_range(-0.12..0.12))],
            width: rng.random_range(0.75..1.25),
            thickness: rng.random_range(0.07..0.17),
            ink: rng.random_range(0.7..1.0),
            softness: rng.random_range(0.02..0.08),
            noise: rng.random_range(0.0..0.08),
        }
    }

    /// Where a point of the pattern comes to lie. Strokes that meet still do.
    fn bend(&self, [x, y]: Point) -> Point {
        let [across, along] = self.bends;
        let x = self.width * x;
        [
            x + across[0] * y + across[1] * x * y + across[2] * y * y,
            y + along[0] * x + along[1] * x * y + along[2] * x * x,
        ]
    }
}

/// A quadratic Bezier curve by its control points, x to the right and y down, within -1 to 1.
type Stroke = [Point; 3];

const fn line(from: Point, to: Point) -> Stroke {
    [from, [0.5 * (from[0] + to[0]), 0.5 * (from[1] + to[1])], to]
}

fn strokes(digit: u32) -> &'static [Stroke] {
    DIGITS[digit as usize]
}

const DIGITS: [&[Stroke]; 10] = [
    &[
        [[0.0, -0.8], [0.5, -0.8], [0.5, 0.0]],
        [[0.5, 0.0], [0.5, 0.8], [0.0, 0.8]],
        [[0.0, 0.8], [-0.5, 0.8], [-0.5, 0.0]],
        [[-0.5, 0.0], [-0.5, -0.8], [0.0, -0.8]],
    ],
    &[line([0.05, -0.8], [0.05, 0.8]), line([-0.25, -0.5], [0.05, -0.8])],
    &[
        [[-0.45, -0.45], [-0.4, -0.8], [0.0, -0.8]],
        [[0.0, -0.8], [0.5, -0.8], [0.45, -0.35]],
        [[0.45, -0.35], [0.35, 0.1], [-0.5, 0.8]],
        line([-0.5, 0.8], [0.5, 0.8]),
    ],
    &[
        [[-0.4, -0.65], [-0.15, -0.85], [0.1, -0.8]],
        [[0.1, -0.8], [0.6, -0.7], [0.35, -0.25]],
        [[0.35, -0.25], [0.2, -0.02], [-0.1, -0.02]],
        [[-0.1, -0.02], [0.55, 0.0], [0.45, 0.45]],
        [[0.45, 0.45], [0.3, 0.85], [-0.05, 0.8]],
        [[-0.05, 0.8], [-0.3, 0.8], [-0.45, 0.6]],
    ],
    &[line([0.2, -0.8], [-0.5, 0.3]), line([-0.5, 0.3], [0.5, 0.3]), line([0.25, -0.2], [0.25, 0.8])],
    &[
        line([0.4, -0.8], [-0.35, -0.8]),
        line([-0.35, -0.8], [-0.4, -0.1]),
        [[-0.4, -0.1], [0.0, -0.35], [0.35, -0.05]],
        [[0.35, -0.05], [0.6, 0.3], [0.3, 0.65]],
        [[0.3, 0.65], [0.0, 0.95], [-0.45, 0.65]],
    ],
    &[
        [[0.35, -0.75], [-0.3, -0.6], [-0.42, 0.25]],
        [[-0.42, 0.25], [-0.4, 0.8], [0.0, 0.8]],
        [[0.0, 0.8], [0.45, 0.8], [0.42, 0.35]],
        [[0.42, 0.35], [0.35, -0.1], [-0.02, -0.08]],
        [[-0.02, -0.08], [-0.35, -0.05], [-0.42, 0.25]],
    ],
    &[line([-0.45, -0.8], [0.45, -0.8]), [[0.45, -0.8], [0.05, -0.1], [-0.1, 0.8]]],
    &[
        [[0.0, -0.8], [0.4, -0.8], [0.37, -0.42]],
        [[0.37, -0.42], [0.35, -0.1], [0.0, -0.05]],
        [[0.0, -0.05], [-0.35, -0.1], [-0.37, -0.42]],
        [[-0.37, -0.42], [-0.4, -0.8], [0.0, -0.8]],
        [[0.0, -0.05], [0.47, 0.0], [0.45, 0.4]],
        [[0.45, 0.4], [0.42, 0.8], [0.0, 0.8]],
        [[0.0, 0.8], [-0.42, 0.8], [-0.45, 0.4]],
        [[-0.45, 0.4], [-0.47, 0.0], [0.0, -0.05]],
    ],
    &[
        [[0.42, -0.38], [0.42, -0.8], [0.02, -0.8]],
        [[0.02, -0.8], [-0.38, -0.8], [-0.38, -0.38]],
        [[-0.38, -0.38], [-0.38, 0.02], [0.02, 0.02]],
        [[0.02, 0.02], [0.42, 0.02], [0.42, -0.38]],
        [[0.42, -0.38], [0.45, 0.3], [0.1, 0.8]],
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_is_grey_and_neither_empty_nor_full() {
        for index in 0..200 {
            let image = draw(3, index, 28);
            assert_eq!(image.len(), 3 * 28 * 28);
            let pixels = image.as_chunks::<3>().0;
            assert!(pixels.iter().all(|&[r, g, b]| r == g && g == b));
            let light = pixels.iter().filter(|pixel| pixel[0] > 100).count();
            assert!((20..400).contains(&light), "drawing {index}: {light} light pixels");
        }
    }

    #[test]
    fn drawings_differ_and_are_pinned() {
        assert_eq!(draw(0, 12, 28), draw(0, 12, 28));
        assert_ne!(draw(0, 12, 28), draw(0, 22, 28));
        assert_ne!(draw(0, 12, 28), draw(1, 12, 28));
        let mix = |sum: u64, &byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
        let sums = [0, 1, 1 << 32].map(|index| draw(0, index, 28).iter().fold(0, mix));
        assert_eq!(sums, [8624107900093579895, 1013246518727909405, 14943704304332701487]);
    }

    /// Each digit's mean image, drawn by other seeds, is nearest to its own kind.
    #[test]
    fn digits_of_a_kind_look_alike() {
        let mean = |seed: u64, digit: u64| {
            let mut sum = [0.0; 28 * 28];
            for index in (digit..400).step_by(10) {
                for (sum, pixel) in sum.iter_mut().zip(draw(seed, index, 28).chunks(3)) {
                    *sum += f64::from(pixel[0]) / 40.0;
                }
            }
            sum
        };
        let first: Vec<_> = (0..10).map(|digit| mean(0, digit)).collect();
        for digit in 0..10 {
            let other = mean(1, digit);
            let distance = |mean: &[f64]| mean.iter().zip(&other).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            let nearest = (0..10).min_by(|&a, &b| distance(&first[a]).total_cmp(&distance(&first[b]))).unwrap();
            assert_eq!(nearest as u64, digit);
        }
    }
}
