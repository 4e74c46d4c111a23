//! A small painter: shapes given by signed distances, laid over one another with soft edges.
//!
//! Only arithmetic that IEEE 754 defines exactly is used (no sine, no exponential), so a painting
//! has the same bytes on every machine.

use std::ops::Range;

/// A position; in the image both coordinates run from -1 to 1, x to the right and y down.
pub type Point = [f32; 2];
/// A colour with components from 0 to 1.
pub type Rgb = [f32; 3];

/// A square painting in progress.
pub struct Canvas {
    size: usize,
    /// Width of a pixel.
    pitch: f32,
    pixels: Vec<Rgb>,
    /// Width of the edge of a shape, which shows how much out of focus the image is.
    softness: f32,
}

impl Canvas {
    /// Makes a black canvas of `size * size` pixels.
    pub fn new(size: usize, softness: f32) -> Self {
        let pitch = 2.0 / size as f32;
        Canvas { size, pitch, pixels: vec![[0.0; 3]; size * size], softness: softness.max(pitch) }
    }

    /// Paints a shape given in the coordinates of `frame`. The colour may depend on the point in
    /// that frame and on its signed distance to the outline.
    pub fn fill(&mut self, frame: &Frame, shape: Shape, colour: impl Fn(Point, f32) -> Rgb) {
        let (centre, radius) = shape.bounds();
        let (centre, scale) = (frame.outward(centre), frame.scale());
        let reach = radius * scale + self.softness;
        let [columns, rows] = centre.map(|c| self.pixels_between(c - reach, c + reach));
        for row in rows {
            for column in columns.clone() {
                let p = frame.inward([self.coordinate(column), self.coordinate(row)]);
                let distance = shape.distance(p);
                let cover = (0.5 - distance * scale / self.softness).clamp(0.0, 1.0);
                if cover > 0.0 {
                    let pixel = &mut self.pixels[row * self.size + column];
                    *pixel = mix(*pixel, colour(p, distance), cover);
                }
            }
        }
    }

    /// Rounds the painting to bytes, after `develop` has had its way with each position and
    /// colour.
    pub fn into_bytes(self, mut develop: impl FnMut(Point, Rgb) -> Rgb) -> Vec<u8> {
        let mut bytes = vec![0; 3 * self.pixels.len()];
        for (i, pixel) in bytes.chunks_exact_mut(3).enumerate() {
            let p = [i % self.size, i / self.size].map(|i| self.coordinate(i));
            for (byte, c) in pixel.iter_mut().zip(develop(p, self.pixels[i])) {
                *byte = (255.0 * c + 0.5) as u8;
            }
        }
        bytes
    }

    /// The image coordinate of the middle of a row or column of pixels.
    fn coordinate(&self, pixel: usize) -> f32 {
        (pixel as f32 + 0.5) * self.pitch - 1.0
    }

    /// The rows or columns of pixels that lie between two image coordinates.
    fn pixels_between(&self, low: f32, high: f32) -> Range<usize> {
        let pixel = |c: f32| ((c + 1.0) / self.pitch).clamp(0.0, self.size as f32);
        pixel(low) as usize..pixel(high).ceil() as usize
    }
}

/// A turned, scaled and shifted system of coordinates in the image.
#[derive(Clone, Copy)]
pub struct Frame {
    origin: Point,
    /// The image of the unit vector along x.
    axis: Point,
}

impl Frame {
    /// Makes a frame. The tilt is the tangent of half the angle, from which sine and cosine follow
    /// by exact arithmetic.
    pub fn new(origin: Point, scale: f32, tilt: f32) -> Self {
        let unit = scale / (1.0 + tilt * tilt);
        let axis = [unit * (1.0 - tilt * tilt), unit * 2.0 * tilt];
        Frame { origin, axis }
    }

    /// Converts a frame that is given in this frame's coordinates to the image's.
    pub fn child(&self, inner: Frame) -> Self {
        let ([ax, ay], [x, y]) = (self.axis, inner.axis);
        let axis = [ax * x - ay * y, ay * x + ax * y];
        Frame { origin: self.outward(inner.origin), axis }
    }

    fn scale(&self) -> f32 {
        length(self.axis)
    }

    /// From this frame's coordinates to the image's.
    fn outward(&self, [x, y]: Point) -> Point {
        let ([ox, oy], [ax, ay]) = (self.origin, self.axis);
        [ox + ax * x - ay * y, oy + ay * x + ax * y]
    }

    /// From the image's coordinates to this frame's.
    fn inward(&self, [x, y]: Point) -> Point {
        let ([ox, oy], [ax, ay]) = (self.origin, self.axis);
        let square = ax * ax + ay * ay;
        let (x, y, ax, ay) = (x - ox, y - oy, ax / square, ay / square);
        [ax * x + ay * y, ax * y - ay * x]
    }
}

/// An area with a soft edge.
#[derive(Clone, Copy)]
pub enum Shape {
    /// An ellipse along the axes: centre and half widths.
    Ellipse(Point, Point),
    /// The hull of two circles, from centre to centre, with their radii.
    Cone(Point, Point, [f32; 2]),
    /// Where two equal circles overlap, with corners at x = -1 and 1 and the given half height.
    Almond(f32),
    /// A rectangle about the origin: half widths.
    Rectangle(Point),
}

impl Shape {
    /// The centre and radius of a circle that contains the shape.
    fn bounds(&self) -> (Point, f32) {
        match *self {
            Shape::Ellipse(centre, [rx, ry]) => (centre, rx.max(ry)),
            Shape::Cone(from, to, [r, s]) => {
                let [x, y] = [0, 1].map(|i| 0.5 * (to[i] - from[i]));
                ([from[0] + x, from[1] + y], length([x, y]) + r.max(s))
            }
            Shape::Almond(_) => ([0.0, 0.0], 1.0),
            Shape::Rectangle(half) => ([0.0, 0.0], length(half)),
        }
    }

    /// The distance to the outline, negative inside. The ellipse's is the first-order estimate,
    /// its equation over the length of the equation's gradient; the rectangle's ignores its
    /// corners.
    fn distance(&self, [x, y]: Point) -> f32 {
        match *self {
            Shape::Ellipse(centre, [rx, ry]) => {
                let (x, y) = ((x - centre[0]) / rx, (y - centre[1]) / ry);
                let norm = length([x, y]);
                norm * (norm - 1.0) / length([x / rx, y / ry]).max(1e-6)
            }
            Shape::Cone(from, to, [r, s]) => {
                let (x, y) = (x - from[0], y - from[1]);
                let axis = [to[0] - from[0], to[1] - from[1]];
                let long = length(axis).max(1e-6);
                let along = (x * axis[0] + y * axis[1]) / long;
                let across = (y * axis[0] - x * axis[1]).abs() / long;
                // Among the circles whose hull this is, the nearest lies at a fraction t of the
                // axis: where the line from the point to the outline meets the flank at a right
                // angle.
                let sine = ((r - s) / long).clamp(-0.99, 0.99);
                let tangent = sine / (1.0 - sine * sine).sqrt();
                let t = ((along - across * tangent) / long).clamp(0.0, 1.0);
                length([along - t * long, across]) - (r + t * (s - r))
            }
            Shape::Almond(height) => {
                let inset = 0.5 * (1.0 / height - height);
                length([x, y.abs() + inset]) - (height + inset)
            }
            Shape::Rectangle(half) => (x.abs() - half[0]).max(y.abs() - half[1]),
        }
    }
}

/// The quadratic Bézier curve through three control points, as four line segments.
pub fn curve([a, b, c]: [Point; 3]) -> [[Point; 2]; 4] {
    let blend = |t: f32, i: usize| (1.0 - t) * (1.0 - t) * a[i] + 2.0 * t * (1.0 - t) * b[i] + t * t * c[i];
    let at = |t| [blend(t, 0), blend(t, 1)];
    [0.0, 0.25, 0.5, 0.75].map(|t| [at(t), at(t + 0.25)])
}

/// The Euclidean length of a vector.
pub fn length([x, y]: Point) -> f32 {
    (x * x + y * y).sqrt()
}

/// Blends `a` into `b` as `t` goes from 0 to 1.
pub fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [0, 1, 2].map(|i| a[i] + t * (b[i] - a[i]))
}
