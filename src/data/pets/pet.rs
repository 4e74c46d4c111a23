//! Cats and dogs: how their parts are sampled and drawn.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::paint::{INK, PINK, Paint, WHITE};
use super::paint::{dimmed, flat, fur, iris, luma, pastel, rounded, shaded};
use crate::data::canvas::{Canvas, Frame, Point, Rgb, Shape, curve, mix};

const ROSE: Rgb = [0.80, 0.45, 0.45];
const GOLD: Rgb = [0.93, 0.78, 0.25];

/// A cat or a dog that sits and looks at us. The unit of length is about half the width of the
/// head, and the origin is the middle of the head.
pub struct Pet {
    head: Frame,
    body: Frame,
    /// How far the head is turned and bowed: the shift of a part that lies one unit in front.
    turn: Point,
    coat: Paint,
    /// Colour of the muzzle, the chest and the paws.
    bib: Rgb,
    iris: Rgb,
    nose: Rgb,
    inner_ear: Rgb,
    collar: Option<Rgb>,
    /// Length of the tongue, if it hangs out.
    tongue: Option<f32>,
    features: Features,
    ears: [Ear; 2],
}

impl Pet {
    /// Samples a pet. The class matters to [`Features::sample`] and [`Ear::pair`] only.
    pub fn sample(rng: &mut ChaCha8Rng, class: u32) -> Self {
        let place = [rng.random_range(-0.3..0.3), rng.random_range(-0.3..0.15)];
        let scale = rng.random_range(0.38..0.52);
        let features = Features::sample(rng, class);
        Pet {
            head: Frame::new(place, scale, rng.random_range(-0.16..0.16)),
            body: Frame::new(place, scale, rng.random_range(-0.08..0.08)),
            turn: [rng.random_range(-0.35..0.35), rng.random_range(-0.1..0.15)],
            coat: Paint::sample(rng, fur, 0.9, 0.8..2.2),
            bib: mix(fur(rng), WHITE, rng.random_range(0.0..0.6)),
            iris: iris(rng),
            nose: mix(INK, ROSE, rng.random_range(0.1..1.0)),
            inner_ear: mix(PINK, fur(rng), rng.random_range(0.0..0.8)),
            collar: rng.random_bool(0.4).then(|| pastel(rng)),
            tongue: rng.random_bool(0.3).then(|| rng.random_range(0.3..0.48)),
            ears: Ear::pair(rng, class, features.skull),
            features,
        }
    }

    /// Paints the pet from back to front.
    pub fn draw(&self, canvas: &mut Canvas) {
        self.draw_body(canvas);
        let (behind, before): (Vec<&Ear>, _) = self.ears.iter().partition(|ear| ear.upright);
        for ear in behind {
            self.draw_ear(canvas, ear);
        }
        self.draw_skull(canvas);
        for ear in before {
            self.draw_ear(canvas, ear);
        }
        for side in [-1.0, 1.0] {
            self.draw_eye(canvas, side);
        }
        self.draw_muzzle(canvas);
        for side in [-1.0, 1.0] {
            self.draw_cheek(canvas, side);
        }
        self.draw_nose(canvas);
    }

    fn draw_body(&self, canvas: &mut Canvas) {
        let (body, tail) = (&self.body, self.features.tail);
        let side = if self.turn[0] < 0.0 { 1.0 } else { -1.0 };
        let tail_tip = [1.45 * side, 1.5 - tail];
        for [from, to] in curve([[0.6 * side, 2.3], [1.5 * side, 2.4], tail_tip]) {
            self.fill_with_fur(canvas, body, Shape::Cone(from, to, [0.2 - 0.05 * tail; 2]));
        }
        let trunk = Shape::Cone([0.0, 0.7], [0.0, 2.0], [0.48, 0.85]);
        self.fill_with_fur(canvas, body, trunk);
        let chest = Shape::Cone([0.0, 0.9], [0.0, 1.4], [0.32, 0.3]);
        canvas.fill(body, chest, rounded(self.bib));
        for x in [-0.32, 0.32] {
            self.fill_with_fur(canvas, body, Shape::Cone([x, 1.5], [x, 2.6], [0.26, 0.2]));
            let paw = Shape::Ellipse([1.1 * x, 2.7], [0.27, 0.18]);
            canvas.fill(body, paw, rounded(self.bib));
        }
        if let Some(colour) = self.collar {
            let band = Shape::Cone([-0.42, 0.85], [0.42, 0.85], [0.1; 2]);
            let bell = Shape::Ellipse([0.0, 1.02], [0.11; 2]);
            canvas.fill(body, band, rounded(colour));
            canvas.fill(body, bell, rounded(GOLD));
        }
    }

    fn draw_ear(&self, canvas: &mut Canvas, ear: &Ear) {
        let [root, bend, tip] = ear.points.map(|p| self.seen(p, -0.15));
        let [r, s, t] = ear.radii;
        let (lower, upper) = ([r, s], [s, t]);
        for part in [Shape::Cone(root, bend, lower), Shape::Cone(bend, tip, upper)] {
            let colour = |p, distance| dimmed(shaded(self.coat.at(p), distance), 0.88);
            canvas.fill(&self.head, part, colour);
        }
        if ear.upright {
            let inside = Shape::Cone(root, tip, [0.62 * r, 0.01]);
            canvas.fill(&self.head, inside, rounded(self.inner_ear));
        }
    }

    fn draw_skull(&self, canvas: &mut Canvas) {
        let [width, height] = self.features.skull;
        let tuft = self.features.cheek;
        for (side, y) in [(-1.0, 0.2), (-1.0, 0.42), (1.0, 0.2), (1.0, 0.42)] {
            let root = [0.5 * side * width, y * height];
            let tip = [side * (width + tuft), (y + 0.12) * height + 0.4 * tuft];
            self.fill_with_fur(canvas, &self.head, Shape::Cone(root, tip, [0.32, 0.02]));
        }
        let skull = Shape::Ellipse([0.0, 0.0], [width, height]);
        self.fill_with_fur(canvas, &self.head, skull);
    }

    fn draw_eye(&self, canvas: &mut Canvas, side: f32) {
        let f = &self.features;
        let place = self.seen([side * f.eye[0], f.eye[1]], 0.5);
        let frame = |scale| self.head.child(Frame::new(place, scale, -side * f.eye_slant));
        let (eye, rim) = (frame(f.eye_size), frame(1.22 * f.eye_size));
        let gaze = 0.3 * self.turn[0];
        let glint = Shape::Ellipse([gaze + 0.2, -0.3 * f.eye_open], [0.15; 2]);
        canvas.fill(&rim, Shape::Almond(f.eye_open), flat(INK));
        canvas.fill(&eye, Shape::Almond(f.eye_open), rounded(self.iris));
        canvas.fill(&eye, Shape::Ellipse([gaze, 0.0], f.pupil), flat(INK));
        canvas.fill(&eye, glint, flat(WHITE));
    }

    /// Draws the chin, the tongue, the bridge of the nose and the pads beside the mouth.
    fn draw_muzzle(&self, canvas: &mut Canvas) {
        let (f, head, pad) = (&self.features, &self.head, self.features.pad);
        let (nose, mouth) = (self.nose_place(), self.mouth_place());
        let chin = self.seen([0.0, f.nose_y + 1.5 * pad], 0.5 + 0.7 * f.muzzle);
        let chin = Shape::Ellipse(chin, [0.8 * pad, 0.7 * pad]);
        canvas.fill(head, chin, rounded(self.bib));
        if let Some(length) = self.tongue {
            let tongue = Shape::Cone(mouth, offset(mouth, 0.0, length), [0.12, 0.11]);
            canvas.fill(head, tongue, rounded(PINK));
        }
        let brow = self.seen([0.0, f.eye[1] + 0.1], 0.6);
        let bridge = Shape::Cone(brow, nose, [0.7 * f.bridge, f.bridge]);
        canvas.fill(head, bridge, rounded(self.bib));
        for side in [-1.0, 1.0] {
            let centre = offset(mouth, 0.8 * side * pad, -0.35 * pad);
            let pad = Shape::Ellipse(centre, [pad, 0.85 * pad]);
            canvas.fill(head, pad, rounded(self.bib));
        }
    }

    /// Draws one side of the mouth and its whiskers.
    fn draw_cheek(&self, canvas: &mut Canvas, side: f32) {
        let (pad, long) = (self.features.pad, self.features.whiskers);
        let mouth = self.mouth_place();
        let sag = offset(mouth, 0.8 * side * pad, 0.85 * pad);
        let corner = offset(mouth, 1.5 * side * pad, 0.15 * pad);
        for [from, to] in curve([mouth, sag, corner]) {
            canvas.fill(&self.head, Shape::Cone(from, to, [0.03; 2]), flat(self.line()));
        }
        let pale = luma(self.coat.ground) > 0.7;
        let colour = if pale { mix(INK, WHITE, 0.2) } else { WHITE };
        for row in [-1.0, 0.0, 1.0] {
            let root = offset(mouth, 0.9 * side * pad, (0.2 * row - 0.3) * pad);
            let tip = offset(root, side * long, (0.22 * row - 0.05) * long);
            canvas.fill(&self.head, Shape::Cone(root, tip, [0.02, 0.008]), flat(colour));
        }
    }

    fn draw_nose(&self, canvas: &mut Canvas) {
        let [width, height] = self.features.nose_size;
        let (head, nose, mouth) = (&self.head, self.nose_place(), self.mouth_place());
        let tip = offset(nose, 0.0, 0.9 * width);
        let point = Shape::Cone(nose, tip, [0.6 * width, 0.1 * width]);
        let shine = offset(nose, 0.0, -0.4 * height);
        let shine = Shape::Ellipse(shine, [0.35 * width, 0.35 * height]);
        canvas.fill(head, Shape::Cone(nose, mouth, [0.03; 2]), flat(self.line()));
        canvas.fill(head, point, flat(self.nose));
        canvas.fill(head, Shape::Ellipse(nose, [width, height]), flat(self.nose));
        canvas.fill(head, shine, flat(mix(self.nose, WHITE, 0.5)));
    }

    fn fill_with_fur(&self, canvas: &mut Canvas, frame: &Frame, shape: Shape) {
        let colour = |p, distance| shaded(self.coat.at(p), distance);
        canvas.fill(frame, shape, colour);
    }

    /// Where a point of the head is seen that lies `depth` in front of its middle.
    fn seen(&self, p: Point, depth: f32) -> Point {
        offset(p, depth * self.turn[0], depth * self.turn[1])
    }

    fn nose_place(&self) -> Point {
        let f = &self.features;
        self.seen([0.0, f.nose_y], 0.6 + f.muzzle)
    }

    fn mouth_place(&self) -> Point {
        let f = &self.features;
        self.seen([0.0, f.nose_y + 1.1 * f.pad], 0.55 + f.muzzle)
    }

    /// Colour of a line on the muzzle that can be told from it.
    fn line(&self) -> Rgb {
        let dark = luma(self.bib) < 0.35;
        dimmed(self.bib, if dark { 1.9 } else { 0.35 })
    }
}

fn offset([x, y]: Point, dx: f32, dy: f32) -> Point {
    [x + dx, y + dy]
}

/// What tells a cat from a dog, beside the ears.
struct Features {
    /// Half the width and height of the skull.
    skull: Point,
    /// How far the tufts on the cheeks stand out.
    cheek: f32,
    /// Place of the right eye.
    eye: Point,
    /// Half the width of an eye.
    eye_size: f32,
    /// Height of an eye over its width; 1 makes a circle.
    eye_open: f32,
    /// Tangent of half the angle by which the outer corner of an eye is raised.
    eye_slant: f32,
    /// Width and height of a pupil over the width of the eye.
    pupil: Point,
    /// How far the muzzle stands out from the face.
    muzzle: f32,
    /// Half the width of the bridge of the nose.
    bridge: f32,
    /// Radius of the two pads beside the mouth.
    pad: f32,
    nose_y: f32,
    /// Half the width and height of the nose.
    nose_size: Point,
    /// Length of the whiskers.
    whiskers: f32,
    /// How high the tail is raised.
    tail: f32,
}

impl Features {
    fn sample(rng: &mut ChaCha8Rng, class: u32) -> Self {
        let mut pick = |cat: Range<f32>, dog: Range<f32>| {
            let range = if class == 0 { cat } else { dog };
            rng.random_range(range)
        };
        let nose_width = pick(0.09..0.13, 0.16..0.23);
        Features {
            skull: [pick(0.92..1.08, 0.76..0.92), pick(0.74..0.86, 0.82..0.96)],
            cheek: pick(0.02..0.20, -0.10..0.02),
            eye: [pick(0.38..0.46, 0.32..0.40), pick(-0.16..-0.04, -0.26..-0.14)],
            eye_size: pick(0.19..0.26, 0.15..0.21),
            eye_open: pick(0.62..0.85, 0.85..1.00),
            eye_slant: pick(0.04..0.16, -0.08..0.04),
            pupil: [pick(0.15..0.42, 0.52..0.64), pick(0.52..0.64, 0.52..0.64)],
            muzzle: pick(0.10..0.25, 0.45..0.75),
            bridge: pick(0.10..0.16, 0.24..0.34),
            pad: pick(0.17..0.22, 0.25..0.33),
            nose_y: pick(0.16..0.26, 0.26..0.42),
            nose_size: [nose_width, nose_width * pick(0.40..0.60, 0.65..0.80)],
            whiskers: pick(0.55..0.95, 0.00..0.12),
            tail: pick(0.40..1.00, -0.60..0.20),
        }
    }
}

/// An ear: two cones that meet at a bend.
#[derive(Clone, Copy)]
struct Ear {
    /// The root, the bend and the tip.
    points: [Point; 3],
    radii: [f32; 3],
    /// Whether the ear stands behind the head and shows its inside.
    upright: bool,
}

/// The kinds of ears, for a skull of half width and height 1.
const POINTED: Ear =
    Ear { points: [[0.56, -0.50], [0.66, -0.85], [0.76, -1.35]], radii: [0.32, 0.20, 0.03], upright: true };
const FOLDED: Ear =
    Ear { points: [[0.58, -0.58], [0.74, -1.00], [1.04, -0.78]], radii: [0.28, 0.20, 0.05], upright: false };
const HANGING: Ear =
    Ear { points: [[0.62, -0.62], [1.00, -0.32], [1.06, 0.42]], radii: [0.18, 0.22, 0.25], upright: false };

impl Ear {
    /// Samples the left and the right ear. Most cats have pointed ears and most dogs hanging ones;
    /// exceptions keep the ears from giving everything away.
    fn pair(rng: &mut ChaCha8Rng, class: u32, skull: Point) -> [Self; 2] {
        let kind = match (class, rng.random_range(0..20)) {
            (0, 1..) | (1, 0) => POINTED,
            (0, _) | (1, 1..6) => FOLDED,
            _ => HANGING,
        };
        let stretch = rng.random_range(0.85..1.15);
        let root = kind.points[0];
        let mut place = |point: Point, i: usize| {
            let ideal = root[i] + stretch * (point[i] - root[i]);
            skull[i] * (ideal + rng.random_range(-0.05..0.05))
        };
        [-1.0, 1.0].map(|side| {
            let points = kind.points.map(|p| [side * place(p, 0), place(p, 1)]);
            Ear { points, ..kind }
        })
    }
}
