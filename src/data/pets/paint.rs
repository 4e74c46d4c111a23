//! Colours and patterns.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::data::canvas::{Point, Rgb, length, mix};

/// Draws a random colour.
pub type Palette = fn(&mut ChaCha8Rng) -> Rgb;

/// Of glints and whiskers.
pub const WHITE: Rgb = [0.97, 0.96, 0.94];
/// Of pupils and the rims of eyes.
pub const INK: Rgb = [0.10, 0.08, 0.08];
/// Of tongues and the insides of ears.
pub const PINK: Rgb = [0.93, 0.58, 0.58];

const COATS: [Rgb; 9] = [
    [0.90, 0.58, 0.28], // ginger
    [0.95, 0.86, 0.70], // cream
    [0.95, 0.94, 0.92], // white
    [0.62, 0.62, 0.64], // grey
    [0.43, 0.47, 0.54], // blue grey
    [0.27, 0.26, 0.28], // near black
    [0.48, 0.31, 0.20], // chocolate
    [0.76, 0.56, 0.37], // tan
    [0.64, 0.40, 0.24], // rust
];

const IRISES: [Rgb; 4] = [
    [0.86, 0.66, 0.20], // amber
    [0.55, 0.72, 0.32], // green
    [0.42, 0.66, 0.86], // blue
    [0.62, 0.40, 0.20], // brown
];

/// A natural colour of fur.
pub fn fur(rng: &mut ChaCha8Rng) -> Rgb {
    let [one, other] = [0; 2].map(|_| COATS[rng.random_range(0..COATS.len())]);
    mix(one, other, rng.random_range(0.0..0.5))
}

/// A natural colour of eyes.
pub fn iris(rng: &mut ChaCha8Rng) -> Rgb {
    IRISES[rng.random_range(0..IRISES.len())]
}

/// Any colour, none too garish.
pub fn pastel(rng: &mut ChaCha8Rng) -> Rgb {
    let colour = [0; 3].map(|_| rng.random_range(0.1..1.0));
    mix(colour, [luma(colour); 3], rng.random_range(0.1..0.7))
}

/// Two colours and how they are laid out.
pub struct Paint {
    /// The first colour.
    pub ground: Rgb,
    second: Rgb,
    pattern: Pattern,
    frequency: f32,
    seed: u32,
}

#[derive(Clone, Copy)]
enum Pattern {
    Plain,
    Fade,
    Stripes,
    Patches,
    Spots,
}

const PATTERNS: [Pattern; 5] = [Pattern::Plain, Pattern::Fade, Pattern::Stripes, Pattern::Patches, Pattern::Spots];

impl Paint {
    /// Samples a paint. The pattern repeats about `frequencies` times a unit of length; a contrast
    /// of 1 leaves the second colour as far from the first as the palette has it, and 0 makes them
    /// equal.
    pub fn sample(rng: &mut ChaCha8Rng, palette: Palette, contrast: f32, frequencies: Range<f32>) -> Self {
        let ground = palette(rng);
        Paint {
            ground,
            second: mix(ground, palette(rng), contrast),
            pattern: PATTERNS[rng.random_range(0..PATTERNS.len())],
            frequency: rng.random_range(frequencies),
            seed: rng.random(),
        }
    }

    /// The colour at a point, with a little unevenness over all.
    pub fn at(&self, p: Point) -> Rgb {
        let q = p.map(|c| self.frequency * c);
        let cloud = || noise(!self.seed, q);
        let second = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Fade => step(-0.8..0.8, p[1]),
            Pattern::Stripes => step(0.2..0.5, wave(1.5 * q[1] + 0.6 * cloud())),
            Pattern::Patches => step(0.5..0.6, cloud()),
            Pattern::Spots => 1.0 - step(0.25..0.35, spot(self.seed, q.map(|c| 1.5 * c))),
        };
        let uneven = noise(self.seed, q.map(|c| 3.0 * c));
        dimmed(mix(self.ground, self.second, second), 0.94 + 0.12 * uneven)
    }
}

/// Colours a shape evenly but for a shaded rim.
pub fn rounded(colour: Rgb) -> impl Fn(Point, f32) -> Rgb {
    move |_, distance| shaded(colour, distance)
}

/// Colours a shape evenly.
pub fn flat(colour: Rgb) -> impl Fn(Point, f32) -> Rgb {
    move |_, _| colour
}

/// Darkens a colour towards the outline of its shape, where the distance rises to 0.
pub fn shaded(colour: Rgb, distance: f32) -> Rgb {
    let near = (1.0 + distance / 0.16).clamp(0.0, 1.0);
    dimmed(colour, 1.0 - 0.45 * near * near)
}

/// Scales the brightness of a colour.
pub fn dimmed(colour: Rgb, factor: f32) -> Rgb {
    colour.map(|c| factor * c)
}

/// How bright a colour looks.
pub fn luma([r, g, b]: Rgb) -> f32 {
    0.3 * r + 0.6 * g + 0.1 * b
}

/// Rises smoothly from 0 to 1 as `x` runs through the range.
pub fn step(range: Range<f32>, x: f32) -> f32 {
    let t = ((x - range.start) / (range.end - range.start)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A wave of period 1 between -1 and 1, made of parabolas.
pub fn wave(x: f32) -> f32 {
    let t = 2.0 * split(x).1 - 1.0;
    4.0 * t * (1.0 - t.abs())
}

/// Smooth noise in [0, 1): random values on the integer lattice, interpolated.
pub fn noise(seed: u32, [x, y]: Point) -> f32 {
    let ((i, u), (j, v)) = (split(x), split(y));
    let blend = |a: f32, b: f32, t: f32| a + step(0.0..1.0, t) * (b - a);
    let row = |j| blend(hash(seed, i, j), hash(seed, i + 1, j), u);
    blend(row(j), row(j + 1), v)
}

/// The distance to the middle of the spot in the same cell of the integer lattice.
pub fn spot(seed: u32, [x, y]: Point) -> f32 {
    let ((i, u), (j, v)) = (split(x), split(y));
    let centre = [hash(seed, i, j), hash(!seed, i, j)].map(|h| 0.35 + 0.3 * h);
    length([u - centre[0], v - centre[1]])
}

/// A random number in [0, 1) that belongs to a point of the integer lattice.
fn hash(seed: u32, x: i32, y: i32) -> f32 {
    let (x, y) = (x as u32, y as u32);
    let mut h = seed ^ x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    ((h ^ (h >> 15)) >> 8) as f32 / (1 << 24) as f32
}

/// Splits a number into its integer part, rounded down, and the rest; faster than `f32::floor`.
fn split(x: f32) -> (i32, f32) {
    let whole = x as i32 - i32::from(x < 0.0);
    (whole, x - whole as f32)
}
