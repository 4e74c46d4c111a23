//! The embedded data set: cats and dogs that the program draws itself.
//!
//! The two classes differ in shape alone: ears, eyes, nose, muzzle, whiskers, the outline of the head
//! and the tail. Colours, coats, pose, light, backdrop and the things that lie about have the same
//! distribution for both, so a linear classifier on pixels or colour histograms does not get far
//! (`cargo bench --bench baselines` measures it), whereas a small CNN does. The clutter holds decoys
//! made like the ears: upright points and drooping lobes.
//!
//! A picture is first sampled, as a [`Scene`] of named parameters, and then painted from back to front.
//! It has the same bytes on every machine.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use canvas::{
    Canvas, Frame, Point, Rgb, Shape, curve, dimmed, flat, luma, mix, noise, rounded, shaded, spot,
    step, wave,
};

mod canvas;

/// The names of the classes, in the order of their labels.
pub const CLASSES: [&str; 2] = ["cat", "dog"];

/// Returns the class of picture `index`. Classes alternate, so that any even number of consecutive
/// pictures is balanced.
pub fn class(index: u64) -> u32 {
    (index % 2) as u32
}

/// Draws picture `index` of the data set `seed` as `size * size` RGB pixels, row by row.
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

const WHITE: Rgb = [0.97, 0.96, 0.94];
const INK: Rgb = [0.10, 0.08, 0.08];
const ROSE: Rgb = [0.80, 0.45, 0.45];
const PINK: Rgb = [0.93, 0.58, 0.58];
const GOLD: Rgb = [0.93, 0.78, 0.25];
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

/// How far the second colour of a coat is from the first, as a fraction of what the palette allows.
const COAT_CONTRAST: f32 = 0.9;
/// The same for walls, floors and props, which must not outshine the pet.
const SCENERY_CONTRAST: f32 = 0.3;

/// Everything that a picture shows.
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
        let clutter = rng.random_range(3..9);
        let front = rng.random_range(0..2);
        Scene {
            wall: Paint::sample(rng, 1.0..4.0, SCENERY_CONTRAST, pastel),
            floor: Paint::sample(rng, 1.0..4.0, SCENERY_CONTRAST, pastel),
            floor_frame: Frame::new(floor_centre, 1.0, rng.random_range(-0.05..0.05)),
            clutter: (0..clutter)
                .map(|_| Prop::sample(rng, -1.0..1.0, 0.12..0.35))
                .collect(),
            pet: Pet::sample(rng, class),
            front: (0..front)
                .map(|_| Prop::sample(rng, 0.2..1.0, 0.1..0.25))
                .collect(),
            light: Light::sample(rng),
            softness: rng.random_range(0.01..0.03),
        }
    }

    fn draw(&self, canvas: &mut Canvas) {
        let picture = Frame::new([0.0, 0.0], 1.0, 0.0);
        canvas.fill(&picture, Shape::Rectangle([2.0, 2.0]), |p, _| {
            self.wall.at(p)
        });
        canvas.fill(&self.floor_frame, Shape::Rectangle([2.0, 1.0]), |p, _| {
            self.floor.at(p)
        });
        self.clutter.iter().for_each(|prop| prop.draw(canvas));
        self.pet.draw(canvas);
        self.front.iter().for_each(|prop| prop.draw(canvas));
    }
}

/// How the painting becomes a photograph.
struct Light {
    gain: f32,
    /// Change of the gain from the middle of the picture to its right and lower borders.
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

    fn expose(&self, [x, y]: Point, colour: Rgb, rng: &mut ChaCha8Rng) -> Rgb {
        let gain = self.gain + self.slope[0] * x + self.slope[1] * y;
        [0, 1, 2].map(|i| {
            let bits: u32 = rng.random();
            // The difference of two uniform numbers is spread like a triangle about 0.
            let noise = ((bits >> 16) as f32 - (bits & 0xffff) as f32) / 65536.0;
            gain * self.tint[i] * colour[i] + self.noise * noise
        })
    }
}

/// A cat or a dog that sits and looks at us. The unit of length is about half the width of the head.
struct Pet {
    head: Frame,
    body: Frame,
    /// How far the head is turned and bowed: the shift of a part that lies one unit in front.
    turn: Point,
    coat: Paint,
    /// Colour of the muzzle, the chest and the paws.
    bib: Rgb,
    whisker: Rgb,
    iris: Rgb,
    nose: Rgb,
    inner_ear: Rgb,
    collar: Option<Rgb>,
    /// How far the tongue hangs out, if it does.
    tongue: Option<f32>,
    features: Features,
    ears: [Ear; 2],
}

impl Pet {
    /// Samples a pet. The class matters to [`Features::sample`] and [`Ear::pair`] only.
    fn sample(rng: &mut ChaCha8Rng, class: u32) -> Self {
        let place = [rng.random_range(-0.3..0.3), rng.random_range(-0.3..0.15)];
        let scale = rng.random_range(0.38..0.52);
        let coat = Paint::sample(rng, 0.8..2.2, COAT_CONTRAST, fur);
        let bib = fur(rng);
        let features = Features::sample(rng, class);
        Pet {
            head: Frame::new(place, scale, rng.random_range(-0.16..0.16)),
            body: Frame::new(place, scale, rng.random_range(-0.08..0.08)),
            turn: [rng.random_range(-0.35..0.35), rng.random_range(-0.1..0.15)],
            bib: if rng.random_bool(0.6) {
                mix(bib, WHITE, 0.5)
            } else {
                bib
            },
            whisker: if luma(coat.colours[0]) < 0.7 {
                WHITE
            } else {
                mix(INK, WHITE, 0.2)
            },
            iris: IRISES[rng.random_range(0..IRISES.len())],
            nose: mix(INK, ROSE, rng.random_range(0.1..1.0)),
            inner_ear: mix(PINK, fur(rng), rng.random_range(0.0..0.8)),
            collar: rng.random_bool(0.4).then(|| pastel(rng)),
            tongue: rng.random_bool(0.3).then(|| rng.random_range(0.3..0.48)),
            ears: Ear::pair(rng, class, features.skull),
            features,
            coat,
        }
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.draw_body(canvas);
        self.ears
            .iter()
            .filter(|ear| ear.upright)
            .for_each(|ear| self.draw_ear(canvas, ear));
        self.draw_skull(canvas);
        self.ears
            .iter()
            .filter(|ear| !ear.upright)
            .for_each(|ear| self.draw_ear(canvas, ear));
        [-1.0, 1.0]
            .into_iter()
            .for_each(|side| self.draw_eye(canvas, side));
        self.draw_muzzle(canvas);
        self.draw_nose_and_mouth(canvas);
    }

    /// Where a point of the head is seen that lies `depth` in front of its middle.
    fn seen(&self, [x, y]: Point, depth: f32) -> Point {
        [x + self.turn[0] * depth, y + self.turn[1] * depth]
    }

    fn fill_with_fur(&self, canvas: &mut Canvas, frame: &Frame, shape: Shape) {
        canvas.fill(frame, shape, |p, distance| {
            shaded(self.coat.at(p), distance)
        });
    }

    fn draw_body(&self, canvas: &mut Canvas) {
        let (body, tail) = (&self.body, self.features.tail);
        let side = if self.turn[0] < 0.0 { 1.0 } else { -1.0 };
        for [from, to] in curve([
            [side * 0.6, 2.3],
            [side * 1.5, 2.4],
            [side * 1.45, 1.5 - tail],
        ]) {
            self.fill_with_fur(canvas, body, Shape::Cone(from, to, [0.2 - 0.05 * tail; 2]));
        }
        self.fill_with_fur(
            canvas,
            body,
            Shape::Cone([0.0, 0.7], [0.0, 2.0], [0.48, 0.85]),
        );
        let chest = Shape::Cone([0.0, 0.9], [0.0, 1.4], [0.32, 0.3]);
        canvas.fill(body, chest, rounded(self.bib));
        for x in [-0.32, 0.32] {
            self.fill_with_fur(canvas, body, Shape::Cone([x, 1.5], [x, 2.6], [0.26, 0.2]));
            let paw = Shape::Ellipse([1.1 * x, 2.7], [0.27, 0.18]);
            canvas.fill(body, paw, rounded(self.bib));
        }
        if let Some(colour) = self.collar {
            let band = Shape::Cone([-0.42, 0.85], [0.42, 0.85], [0.1, 0.1]);
            canvas.fill(body, band, rounded(colour));
            canvas.fill(
                body,
                Shape::Ellipse([0.0, 1.02], [0.11, 0.11]),
                rounded(GOLD),
            );
        }
    }

    fn draw_ear(&self, canvas: &mut Canvas, ear: &Ear) {
        let [root, bend, tip] = ear.points.map(|p| self.seen(p, -0.15));
        let [r, s, t] = ear.radii;
        for part in [
            Shape::Cone(root, bend, [r, s]),
            Shape::Cone(bend, tip, [s, t]),
        ] {
            canvas.fill(&self.head, part, |p, distance| {
                dimmed(shaded(self.coat.at(p), distance), 0.88)
            });
        }
        if ear.upright {
            let inside = Shape::Cone(root, tip, [0.62 * r, 0.01]);
            canvas.fill(&self.head, inside, rounded(self.inner_ear));
        }
    }

    fn draw_skull(&self, canvas: &mut Canvas) {
        let Features { skull, cheek, .. } = self.features;
        for (side, y) in [(-1.0, 0.2), (-1.0, 0.42), (1.0, 0.2), (1.0, 0.42)] {
            let root = [0.5 * side * skull[0], y * skull[1]];
            let tip = [
                side * (skull[0] + cheek),
                (y + 0.12) * skull[1] + 0.4 * cheek,
            ];
            self.fill_with_fur(canvas, &self.head, Shape::Cone(root, tip, [0.32, 0.02]));
        }
        self.fill_with_fur(canvas, &self.head, Shape::Ellipse([0.0, 0.0], skull));
    }

    fn draw_eye(&self, canvas: &mut Canvas, side: f32) {
        let Features {
            eye: [x, y],
            eye_size,
            eye_open,
            eye_slant,
            pupil,
            ..
        } = self.features;
        let place = self.seen([side * x, y], 0.5);
        let eye = self
            .head
            .child(Frame::new(place, eye_size, -side * eye_slant));
        let lid = self
            .head
            .child(Frame::new(place, 1.22 * eye_size, -side * eye_slant));
        let look = 0.3 * self.turn[0];
        let glint = Shape::Ellipse([look + 0.2, -0.3 * eye_open], [0.15, 0.15]);
        canvas.fill(&lid, Shape::Almond(eye_open), flat(INK));
        canvas.fill(&eye, Shape::Almond(eye_open), rounded(self.iris));
        canvas.fill(&eye, Shape::Ellipse([look, 0.0], pupil), flat(INK));
        canvas.fill(&eye, glint, flat(WHITE));
    }

    fn draw_muzzle(&self, canvas: &mut Canvas) {
        let Features {
            eye,
            bridge,
            pad,
            nose_y,
            muzzle,
            ..
        } = self.features;
        let chin = self.seen([0.0, nose_y + 1.5 * pad], 0.5 + 0.7 * muzzle);
        let brow = self.seen([0.0, eye[1] + 0.1], 0.6);
        let (nose, mouth) = (self.nose_place(), self.mouth_place());
        let chin = Shape::Ellipse(chin, [0.8 * pad, 0.7 * pad]);
        canvas.fill(&self.head, chin, rounded(self.bib));
        if let Some(length) = self.tongue {
            let tongue = Shape::Cone(mouth, [mouth[0], mouth[1] + length], [0.12, 0.11]);
            canvas.fill(&self.head, tongue, rounded(PINK));
        }
        let bridge = Shape::Cone(brow, nose, [0.7 * bridge, bridge]);
        canvas.fill(&self.head, bridge, rounded(self.bib));
        for side in [-1.0, 1.0] {
            let centre = [mouth[0] + 0.8 * side * pad, mouth[1] - 0.35 * pad];
            let pad = Shape::Ellipse(centre, [pad, 0.85 * pad]);
            canvas.fill(&self.head, pad, rounded(self.bib));
        }
    }

    fn draw_nose_and_mouth(&self, canvas: &mut Canvas) {
        let Features {
            pad,
            nose_size: [width, height],
            whiskers,
            ..
        } = self.features;
        let (head, nose, mouth) = (&self.head, self.nose_place(), self.mouth_place());
        let line = dimmed(self.bib, if luma(self.bib) < 0.35 { 1.9 } else { 0.35 });
        for side in [-1.0, 1.0] {
            let sag = [mouth[0] + 0.8 * side * pad, mouth[1] + 0.85 * pad];
            let corner = [mouth[0] + 1.5 * side * pad, mouth[1] + 0.15 * pad];
            for [from, to] in curve([mouth, sag, corner]) {
                canvas.fill(head, Shape::Cone(from, to, [0.03, 0.03]), flat(line));
            }
            for row in [-1.0, 0.0, 1.0] {
                let from = [
                    mouth[0] + 0.9 * side * pad,
                    mouth[1] + (0.2 * row - 0.3) * pad,
                ];
                let to = [
                    from[0] + side * whiskers,
                    from[1] + (0.22 * row - 0.05) * whiskers,
                ];
                canvas.fill(
                    head,
                    Shape::Cone(from, to, [0.02, 0.008]),
                    flat(self.whisker),
                );
            }
        }
        canvas.fill(head, Shape::Cone(nose, mouth, [0.03, 0.03]), flat(line));
        let tip = [nose[0], nose[1] + 0.9 * width];
        canvas.fill(
            head,
            Shape::Cone(nose, tip, [0.6 * width, 0.1 * width]),
            flat(self.nose),
        );
        canvas.fill(head, Shape::Ellipse(nose, [width, height]), flat(self.nose));
        let shine = Shape::Ellipse(
            [nose[0], nose[1] - 0.4 * height],
            [0.35 * width, 0.35 * height],
        );
        canvas.fill(head, shine, flat(mix(self.nose, WHITE, 0.5)));
    }

    fn nose_place(&self) -> Point {
        self.seen([0.0, self.features.nose_y], 0.6 + self.features.muzzle)
    }

    fn mouth_place(&self) -> Point {
        let Features {
            nose_y,
            pad,
            muzzle,
            ..
        } = self.features;
        self.seen([0.0, nose_y + 1.1 * pad], 0.55 + muzzle)
    }
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
    /// Half the width and height of a pupil over half the width of the eye.
    pupil: Point,
    /// How far the muzzle stands out from the face.
    muzzle: f32,
    /// Half the width of the bridge of the nose.
    bridge: f32,
    /// Radius of the two pads below the nose.
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
        let mut pick =
            |cat: Range<f32>, dog: Range<f32>| rng.random_range(if class == 0 { cat } else { dog });
        let eye_open = pick(0.62..0.85, 0.85..1.0);
        let pupil = pick(0.15..0.42, 0.50..0.66);
        let nose_width = pick(0.09..0.13, 0.16..0.23);
        Features {
            skull: [pick(0.92..1.08, 0.76..0.92), pick(0.74..0.86, 0.82..0.96)],
            cheek: pick(0.02..0.20, -0.10..0.02),
            eye: [
                pick(0.38..0.46, 0.32..0.40),
                pick(-0.16..-0.04, -0.26..-0.14),
            ],
            eye_size: pick(0.19..0.26, 0.15..0.21),
            eye_open,
            eye_slant: pick(0.04..0.16, -0.08..0.04),
            pupil: [pupil, pupil.max(eye_open * pick(0.75..0.85, 0.40..0.50))],
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

/// Ears for a skull of half width and height 1.
const POINTED: Ear = Ear {
    points: [[0.56, -0.50], [0.66, -0.85], [0.76, -1.35]],
    radii: [0.32, 0.20, 0.03],
    upright: true,
};
const FOLDED: Ear = Ear {
    points: [[0.58, -0.58], [0.74, -1.00], [1.04, -0.78]],
    radii: [0.28, 0.20, 0.05],
    upright: false,
};
const HANGING: Ear = Ear {
    points: [[0.62, -0.62], [1.00, -0.32], [1.06, 0.42]],
    radii: [0.18, 0.22, 0.25],
    upright: false,
};

impl Ear {
    /// Samples the left and the right ear. Most cats have pointed ears and most dogs hanging ones;
    /// exceptions keep the ears from giving everything away.
    fn pair(rng: &mut ChaCha8Rng, class: u32, skull: Point) -> [Self; 2] {
        let kind = match (class, rng.random_range(0..20)) {
            (0, 1..) | (1, 0) => POINTED,
            (0, 0) | (1, 1..6) => FOLDED,
            _ => HANGING,
        };
        let stretch = rng.random_range(0.85..1.15);
        [-1.0, 1.0].map(|side| {
            let [root, ..] = kind.points;
            let points = kind.points.map(|point| {
                let [x, y] = [0, 1].map(|i| {
                    root[i] + stretch * (point[i] - root[i]) + rng.random_range(-0.05..0.05)
                });
                [side * skull[0] * x, skull[1] * y]
            });
            Ear { points, ..kind }
        })
    }
}

/// A thing that lies about.
struct Prop {
    frame: Frame,
    shape: Shape,
    paint: Paint,
}

impl Prop {
    /// Samples a prop at a height in `rows`.
    fn sample(rng: &mut ChaCha8Rng, rows: Range<f32>, sizes: Range<f32>) -> Self {
        let place = [rng.random_range(-1.0..1.0), rng.random_range(rows)];
        let width = rng.random_range(0.4..1.0);
        let shape = match rng.random_range(0..4) {
            0 => Shape::Ellipse([0.0, 0.0], [1.0, width]),
            1 => Shape::Rectangle([width, 1.0]),
            2 => Shape::Cone([0.0, 0.4], [0.0, -1.0], [0.7 * width, 0.05]),
            _ => Shape::Cone([0.0, -0.6], [0.0, 0.6], [0.5 * width, 0.7 * width]),
        };
        let palette = if rng.random_bool(0.5) { fur } else { pastel };
        Prop {
            frame: Frame::new(
                place,
                rng.random_range(sizes),
                rng.random_range(-0.25..0.25),
            ),
            shape,
            paint: Paint::sample(rng, 1.0..2.5, SCENERY_CONTRAST, palette),
        }
    }

    fn draw(&self, canvas: &mut Canvas) {
        canvas.fill(&self.frame, self.shape, |p, distance| {
            shaded(self.paint.at(p), distance)
        });
    }
}

/// Draws a random colour.
type Palette = fn(&mut ChaCha8Rng) -> Rgb;

/// A natural colour of fur.
fn fur(rng: &mut ChaCha8Rng) -> Rgb {
    let [one, other] = [0; 2].map(|_| COATS[rng.random_range(0..COATS.len())]);
    mix(one, other, rng.random_range(0.0..0.5))
}

/// Any colour, none too garish.
fn pastel(rng: &mut ChaCha8Rng) -> Rgb {
    let colour = [0; 3].map(|_| rng.random_range(0.1..1.0));
    mix(colour, [luma(colour); 3], rng.random_range(0.1..0.7))
}

/// Two colours and how they are laid out.
struct Paint {
    colours: [Rgb; 2],
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

const PATTERNS: [Pattern; 5] = [
    Pattern::Plain,
    Pattern::Fade,
    Pattern::Stripes,
    Pattern::Patches,
    Pattern::Spots,
];

impl Paint {
    fn sample(rng: &mut ChaCha8Rng, size: Range<f32>, contrast: f32, palette: Palette) -> Self {
        let ground = palette(rng);
        Paint {
            colours: [ground, mix(ground, palette(rng), contrast)],
            pattern: PATTERNS[rng.random_range(0..PATTERNS.len())],
            frequency: rng.random_range(size),
            seed: rng.random(),
        }
    }

    /// The colour at a point, with a little unevenness over all.
    fn at(&self, p: Point) -> Rgb {
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
        dimmed(
            mix(self.colours[0], self.colours[1], second),
            0.94 + 0.12 * uneven,
        )
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
    fn a_picture_has_three_bytes_a_pixel() {
        for size in [0, 1, 7, 32] {
            assert_eq!(draw(0, 0, size).len(), (3 * size * size) as usize);
        }
    }

    #[test]
    fn the_same_arguments_give_the_same_bytes() {
        assert_eq!(draw(7, 1 << 32, 24), draw(7, 1 << 32, 24));
    }

    #[test]
    fn every_seed_and_index_gives_another_picture() {
        let pictures = [(0, 0), (0, 1), (0, 2), (0, 1 << 32), (1, 0)].map(|(s, i)| draw(s, i, 24));
        for (i, one) in pictures.iter().enumerate() {
            assert!(pictures[i + 1..].iter().all(|other| one != other));
        }
    }

    /// The bytes are a promise: whoever trains on the default data trains on these pictures.
    #[test]
    fn pictures_do_not_change_unnoticed() {
        let sum = |index| {
            draw(0, index, 32)
                .iter()
                .map(|&byte| u64::from(byte))
                .sum::<u64>()
        };
        assert_eq!([0, 1, 2, 3].map(sum), [0; 4]);
    }

    /// The two classes share the distribution of colours, so their mean colours agree up to chance.
    #[test]
    fn classes_have_the_same_mean_colour() {
        let (pictures, size) = (2000, 16);
        let mut sums = [[0.0; 3]; 2];
        let mut squares = [0.0; 3];
        for index in 0..pictures {
            let picture = draw(0, index, size);
            for channel in 0..3 {
                let bytes = picture.iter().skip(channel).step_by(3);
                let mean = bytes.map(|&b| f64::from(b)).sum::<f64>() / f64::from(size * size);
                sums[class(index) as usize][channel] += mean;
                squares[channel] += mean * mean;
            }
        }
        let count = pictures as f64;
        for channel in 0..3 {
            let mean = (sums[0][channel] + sums[1][channel]) / count;
            let deviation = (squares[channel] / count - mean * mean).sqrt();
            let difference = (sums[0][channel] - sums[1][channel]) / (count / 2.0);
            let standard_error = deviation * (4.0 / count).sqrt();
            assert!(
                difference.abs() < 3.0 * standard_error,
                "{difference} +- {standard_error}"
            );
        }
    }
}
