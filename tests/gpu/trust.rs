//! Verdicts on saliency maps, where there is something to find and where there is nothing.
//!
//! In every image lie rectangles, stripes of light and noise. Networks are trained on classes that differ by a small mark in one
//! corner, by a tint of the whole image, or by nothing.

use std::borrow::Cow;

use convscope::data::{Images, pixels};
use convscope::explain::class_means::class_means;
use convscope::explain::saliency::{Map, Method};
use convscope::explain::trust::{self, Trust};
use convscope::explain::verdict::Ranking;
use convscope::explain::{Explanation, Finding, Lens, Options, predict};
use convscope::nn::checkpoint::Weights;
use convscope::nn::{self, Strided};
use convscope::nn::{Keep, Model, Optimizer};
use convscope::stats::standing::{self, Standing};
use convscope::train::predictions::confusion;
use libtest_mimic::Trial;
use pollster::block_on;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::trial;
use crate::gpu;

/// Side of the images, and of the mark.
const SIDE: usize = 64;
const MARK: usize = 8;
/// Images at once.
const BATCH: usize = 32;
/// What is put to the test.
const METHODS: [Method; 5] = [
    Method::Occlusion,
    Method::IntegratedGradients,
    Method::Gradient,
    Method::HiResCam { block: 2 },
    Method::GradCam { block: 2 },
];
/// Images by which a network's standing is judged.
const JUDGED: usize = 200;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("trust::maps_of_a_mark_pass_and_others_do_not", || quick(0)),
        trial("trust::mean_maps_show_a_mark_that_a_class_shares", mean_maps),
        // Some minutes: cargo test --test gpu trust -- --ignored --nocapture --test-threads 1
        trial("trust::ten_marks", ten_marks).with_ignored_flag(true),
        trial("trust::nothing_learned", nothing_learned).with_ignored_flag(true),
        trial("trust::nothing_there", nothing_there).with_ignored_flag(true),
    ]
}

/// What the classes of a world differ by.
#[derive(Clone, Copy, PartialEq)]
enum Cue {
    /// A mark of this kind in this corner, on images of class 1.
    Mark { kind: usize, corner: usize },
    /// The same on noise.
    MarkInNoise { kind: usize, corner: usize },
    /// The same mark anywhere.
    Anywhere { kind: usize },
    /// The image's tint.
    Tint,
    /// Nothing.
    Nothing,
}

/// The first row and column of a mark in this corner.
fn place(corner: usize) -> [usize; 2] {
    [corner / 2, corner % 2].map(|far| if far == 0 { 3 } else { SIDE - MARK - 3 })
}

/// What lies behind a mark, in -1 to 1.
fn ground(random: &mut ChaCha8Rng, cue: Cue, class: u32) -> Vec<[f32; 3]> {
    if matches!(cue, Cue::MarkInNoise { .. }) {
        return (0..SIDE * SIDE).map(|_| [0; 3].map(|_| random.random_range(-0.5..0.5))).collect();
    }
    let mut image = vec![[0.0; 3]; SIDE * SIDE];
    let slope = [0; 2].map(|_| random.random_range(-0.4..0.4) / SIDE as f32);
    let tint = if cue == Cue::Tint { [0.0, if class == 1 { 0.15 } else { -0.15 }, 0.0] } else { [0.0; 3] };
    let ground = [0; 3].map(|_| random.random_range(-0.3..0.3));
    for (i, pixel) in image.iter_mut().enumerate() {
        let light = slope[0] * (i / SIDE) as f32 + slope[1] * (i % SIDE) as f32;
        *pixel = std::array::from_fn(|colour| ground[colour] + light + tint[colour] + random.random_range(-0.08..0.08));
    }
    for _ in 0..6 {
        let [height, width] = [0; 2].map(|_| random.random_range(6..24u32) as usize);
        let [top, left] = [height, width].map(|size| random.random_range(0..(SIDE - size) as u32) as usize);
        let colour = [0; 3].map(|_| random.random_range(-0.5..0.5));
        fill(&mut image, [top, left], [height, width], |_, _| colour);
    }
    image
}

/// RGB bytes of a scene with what its class is known by.
fn scene(random: &mut ChaCha8Rng, cue: Cue, class: u32) -> Vec<u8> {
    let mut image = ground(random, cue, class);
    let mark = match cue {
        Cue::Mark { kind, corner } | Cue::MarkInNoise { kind, corner } => Some((kind, place(corner))),
        Cue::Anywhere { kind } => Some((kind, [0; 2].map(|_| random.random_range(0..(SIDE - MARK) as u32) as usize))),
        _ => None,
    };
    if let Some((kind, corner)) = mark.filter(|_| class == 1) {
        fill(&mut image, corner, [MARK; 2], |y, x| mark_colour(kind, y, x));
    }
    let byte = |value: f32| ((value + 1.0) / 2.0 * 255.0).clamp(0.0, 255.0).round() as u8;
    image.iter().flatten().map(|&value| byte(value)).collect()
}

fn fill(
    image: &mut [[f32; 3]],
    [top, left]: [usize; 2],
    [height, width]: [usize; 2],
    colour: impl Fn(usize, usize) -> [f32; 3],
) {
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        image[(top + y) * SIDE + left + x] = colour(y, x);
    }
}

/// Lying and upright stripes of two colours, and a chequerboard.
fn mark_colour(kind: usize, y: usize, x: usize) -> [f32; 3] {
    let odd = match kind {
        0 => y / 2 % 2 == 1,
        1 => x / 2 % 2 == 1,
        _ => (y / 2 + x / 2) % 2 == 1,
    };
    if odd { [0.5, -0.5, 0.1] } else { [-0.5, 0.4, 0.1] }
}

/// Labelled scenes.
struct Scenes {
    pixels: Vec<Vec<u8>>,
    labels: Vec<u32>,
}

impl Scenes {
    /// So many scenes, half of each class; with [`Cue::Nothing`] the labels are drawn by lot.
    fn new(seed: u64, cue: Cue, count: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut scenes = Self { pixels: Vec::new(), labels: Vec::new() };
        for index in 0..count {
            let class = if cue == Cue::Nothing { random.random_range(0..2) } else { index as u32 % 2 };
            scenes.pixels.push(scene(&mut random, cue, class));
            scenes.labels.push(class);
        }
        scenes
    }
}

impl Images for Scenes {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn size(&self) -> u32 {
        SIDE as u32
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn name(&self, index: usize) -> String {
        format!("scene {index}")
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        Ok(Cow::Borrowed(&self.pixels[index]))
    }
}

fn network() -> nn::Network {
    Strided { channels: vec![8, 16, 32], hidden: 16, dropout: 0.0, ..Strided::dogs_vs_cats(SIDE, 2) }.build().unwrap()
}

/// Networks, one after the other, on one model and one lens.
struct Laboratory {
    model: Model,
    lens: Lens<'static>,
    control: Weights,
    /// Steps in which a network learns a cue, and some scenes by heart.
    steps: [u32; 2],
}

/// A network that was trained, or was not.
struct Network {
    weights: Weights,
    standing: standing::Verdict,
}

impl Laboratory {
    fn new() -> Self {
        Self::with_steps([200, 120])
    }

    fn with_steps(steps: [u32; 2]) -> Self {
        Self {
            steps,
            model: Model::new(gpu(), &network(), BATCH, Keep::Needed).unwrap(),
            lens: block_on(Lens::new(gpu(), &network(), BATCH, |_, _| {})).unwrap(),
            control: Weights::initial(&network(), 0x00C0_FFEE),
        }
    }

    /// Trains on scenes of which `batch(step)` gives pixels and classes.
    fn train(&self, seed: u64, steps: u32, mut batch: impl FnMut(u32) -> Vec<(Vec<u8>, u32)>) -> Weights {
        self.model.load(gpu(), &Weights::initial(&network(), seed));
        let adam = Optimizer::Adam { weight_decay: 0.0 };
        let step = self.model.training_step(gpu(), &adam);
        for number in 1..=steps {
            let (pixels, labels): (Vec<_>, Vec<_>) = batch(number).into_iter().unzip();
            let images: Vec<f32> = pixels.iter().flat_map(|pixels| pixels::tensor(pixels)).collect();
            self.model.set_batch(gpu(), &images, &labels);
            self.model.set_step(gpu(), &adam, 2e-3, BATCH, seed, number);
            step.submit(gpu()).unwrap();
        }
        pollster::block_on(self.model.weights(gpu(), steps.into())).unwrap()
    }

    /// A network that learns a cue from fresh scenes.
    fn learned(&self, seed: u64, cue: Cue) -> Network {
        let mut random = ChaCha8Rng::seed_from_u64(1000 + seed);
        let weights = self.train(seed, self.steps[0], |_| {
            (0..BATCH as u32).map(|index| (scene(&mut random, cue, index % 2), index % 2)).collect()
        });
        self.judged(weights, seed, cue)
    }

    /// A network that learns some scenes by heart, whose labels were drawn by lot.
    fn memorised(&self, seed: u64) -> (Network, Scenes) {
        let scenes = Scenes::new(2000 + seed, Cue::Nothing, 2 * BATCH);
        let weights = self.train(seed, self.steps[1], |step| {
            (0..BATCH)
                .map(|i| (2 * i + step as usize % 2) % scenes.len())
                .map(|i| (scenes.pixels[i].clone(), scenes.labels[i]))
                .collect()
        });
        (self.judged(weights, seed, Cue::Nothing), scenes)
    }

    /// Weights with the standing that fresh scenes give them.
    fn judged(&self, weights: Weights, seed: u64, cue: Cue) -> Network {
        self.lens.load(&weights);
        let predictions = predict(&self.lens, &Scenes::new(3000 + seed, cue, JUDGED)).unwrap();
        let standing = Standing::of_confusion(&confusion(&predictions, 2), 1).unwrap();
        println!("  seed {seed}: {standing}");
        Network { weights, standing: standing.verdict() }
    }

    fn explain(&self, network: &Network, pixels: &[u8]) -> Explanation {
        let options = Options { against: None, methods: METHODS.to_vec(), means: None, standing: network.standing };
        block_on(Explanation::new(&self.lens, &network.weights, &self.control, pixels, &options)).unwrap()
    }

    /// A scene of class 1 which the network gets right.
    fn right(&self, network: &Network, seed: u64, cue: Cue) -> Explanation {
        let mut random = ChaCha8Rng::seed_from_u64(4000 + seed);
        (0..20)
            .map(|_| self.explain(network, &scene(&mut random, cue, 1)))
            .find(|explanation| explanation.question.target == 1)
            .expect("it gets one of twenty right")
    }

    /// A network with random weights, judged on scenes of a cue.
    fn untrained(&self, seed: u64, cue: Cue) -> Network {
        self.judged(Weights::initial(&network(), 5000 + seed), seed, cue)
    }

    /// The methods whose maps of `other`, an explanation of the same image, rank the pixels better than guesses do for the
    /// network of `explanation`.
    fn rank_better(&self, network: &Network, explanation: &Explanation, other: &Explanation) -> Vec<Method> {
        self.lens.load(&network.weights);
        let blurred = trust::blurred(&explanation.input);
        let trial =
            block_on(trust::Trial::new(&self.lens, &explanation.image, &blurred, explanation.question)).unwrap();
        let better = |finding: &&Finding| {
            let score = block_on(trial.scores(&[&finding.map.values])).unwrap()[0];
            Trust { score, ..finding.trust.clone() }.ranking(&explanation.baselines) == Ranking::Better
        };
        other.findings.iter().filter(better).map(|finding| finding.method).collect()
    }
}

/// Methods whose maps pass all tests; with `ranking` alone, whatever the network's standing and the control's map.
fn passing(explanation: &Explanation, ranking: bool) -> Vec<Method> {
    let passes = |finding: &&Finding| {
        let verdict = explanation.verdict(finding);
        if ranking { verdict.ranking == Ranking::Better } else { verdict.passes() }
    };
    explanation.findings.iter().filter(passes).map(|finding| finding.method).collect()
}

fn describe(explanation: &Explanation) {
    let baselines = &explanation.baselines;
    println!(
        "  logit difference {:+.2}, blurred {:+.2}",
        baselines.logit_difference, baselines.blurred_logit_difference
    );
    for (name, score) in baselines.rows() {
        println!("    {:5.2} {:5.2} {name}", share(explanation, score.deletion), share(explanation, score.insertion));
    }
    for finding in &explanation.findings {
        let (score, verdict) = (finding.trust.score, explanation.verdict(finding));
        let name = finding.method.name();
        let [deletion, insertion] = [score.deletion, score.insertion].map(|score| share(explanation, score));
        println!("    {deletion:5.2} {insertion:5.2} {name}: {:?}, {:?}", verdict.dependence, verdict.ranking);
    }
}

/// A score as a share of the span: 0 for the blurred image, 1 for the image.
fn share(explanation: &Explanation, score: f64) -> f64 {
    (score - explanation.baselines.blurred_logit_difference) / explanation.baselines.span()
}

/// The marks of the ten networks.
fn marks() -> impl Iterator<Item = (u64, Cue)> {
    (0..10).map(|number: usize| (number as u64, Cue::Mark { kind: number % 3, corner: number % 4 }))
}

/// A mark is found; with random weights, random labels, or nothing there but noise, no map passes.
fn quick(seed: u64) {
    let laboratory = Laboratory::with_steps([100, 80]);
    let (kind, corner) = (seed as usize % 3, seed as usize % 4);
    let cue = Cue::Mark { kind, corner };
    let network = laboratory.learned(seed, cue);
    assert_eq!(network.standing, standing::Verdict::Better);
    let explanation = laboratory.right(&network, seed, cue);
    describe(&explanation);
    for method in [Method::Occlusion, Method::IntegratedGradients, Method::HiResCam { block: 2 }] {
        assert!(passing(&explanation, false).contains(&method), "{}", method.name());
    }
    let pixels = explanation.input.as_raw();
    assert_eq!(passing(&laboratory.explain(&laboratory.untrained(seed, cue), pixels), true), []);

    let cue = Cue::MarkInNoise { kind, corner };
    let network = laboratory.learned(seed, cue);
    let noise = scene(&mut ChaCha8Rng::seed_from_u64(6000 + seed), cue, 0);
    assert_eq!(passing(&laboratory.explain(&network, &noise), true), []);
    let (memorised, scenes) = laboratory.memorised(seed);
    assert_eq!(passing(&laboratory.explain(&memorised, &scenes.pixels[0]), false), []);
}

/// Counts by method, in the order of the explanation.
#[derive(Default)]
struct Tally(Vec<(Method, usize)>);

impl Tally {
    fn add(&mut self, explanation: &Explanation, found: &[Method]) {
        if self.0.is_empty() {
            self.0 = explanation.findings.iter().map(|finding| (finding.method, 0)).collect();
        }
        for (method, count) in &mut self.0 {
            *count += usize::from(found.contains(method));
        }
    }

    fn of(&self, method: Method) -> usize {
        self.0.iter().find(|(other, _)| *other == method).map_or(0, |(_, count)| *count)
    }

    fn total(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn print(&self, what: &str, of: usize) {
        let counts: Vec<String> = self.0.iter().map(|(method, count)| format!("{} {count}", method.name())).collect();
        println!("{what}, of {of}: {}", counts.join(", "));
    }
}

/// Ten networks that know a mark in a corner: their maps pass. Those of networks with random weights do not.
fn ten_marks() {
    let laboratory = Laboratory::new();
    let [mut passed, mut random, mut named] = [(); 3].map(|()| Tally::default());
    for (seed, cue) in marks() {
        let network = laboratory.learned(seed, cue);
        let explanation = laboratory.right(&network, seed, cue);
        describe(&explanation);
        passed.add(&explanation, &passing(&explanation, false));
        let untrained = laboratory.explain(&laboratory.untrained(seed, cue), explanation.input.as_raw());
        random.add(&untrained, &passing(&untrained, true));
        named.add(&untrained, &laboratory.rank_better(&network, &explanation, &untrained));
    }
    passed.print("maps of a mark that pass", 10);
    random.print("maps of networks with random weights that rank better", 10);
    // Some do so by luck, or since what stands out in an image moves every network.
    named.print("the same maps, as rankings for the trained network", 10);
    assert!(passed.of(Method::Occlusion) >= 9);
    assert!(passed.of(Method::HiResCam { block: 2 }) >= 9);
    assert_eq!(random.total(), 0);
}

/// Explains scenes of these classes, one after the other.
fn explained(laboratory: &Laboratory, network: &Network, seed: u64, cue: Cue, classes: &[u32]) -> Vec<Explanation> {
    let mut random = ChaCha8Rng::seed_from_u64(9000 + seed);
    classes.iter().map(|&class| laboratory.explain(network, &scene(&mut random, cue, class))).collect()
}

/// Counts, prints and returns how many maps pass.
fn count(what: &str, explanations: &[Explanation]) -> usize {
    let [mut ranked, mut passed] = [(); 2].map(|()| Tally::default());
    for explanation in explanations {
        ranked.add(explanation, &passing(explanation, true));
        passed.add(explanation, &passing(explanation, false));
    }
    ranked.print(&format!("{what}: rank better"), explanations.len());
    passed.print(&format!("{what}: pass"), explanations.len());
    passed.total()
}

/// Where nothing was learned that holds for new images, no map passes, but for those of networks that are right by luck.
fn nothing_learned() {
    let laboratory = Laboratory::new();
    let cue = Cue::Tint;
    let untrained = (0..20).flat_map(|seed| explained(&laboratory, &laboratory.untrained(seed, cue), seed, cue, &[1]));
    assert_eq!(count("random weights", &untrained.collect::<Vec<_>>()), 0);
    let by_heart = (0..20).map(|seed| {
        let (network, known) = laboratory.memorised(seed);
        laboratory.explain(&network, &known.pixels[0])
    });
    // One in forty networks that guess is taken for a better one; each has five maps here.
    assert!(count("random labels", &by_heart.collect::<Vec<_>>()) <= METHODS.len());
}

/// Where an image holds nothing that decides in one place, no map passes: twenty images each, ten of each network.
fn nothing_there() {
    let laboratory = Laboratory::new();
    let of_cues = |what: &str, cues: [Cue; 2], classes: [u32; 2]| {
        let networks = (0..).zip(cues).map(|(seed, cue)| (seed, cue, laboratory.learned(seed, cue)));
        let explanations =
            networks.flat_map(|(seed, cue, network)| explained(&laboratory, &network, seed, cue, &classes.repeat(5)));
        count(what, &explanations.collect::<Vec<_>>())
    };
    let in_noise = [0, 1].map(|kind| Cue::MarkInNoise { kind, corner: kind });
    let in_scenes = [0, 1].map(|kind| Cue::Mark { kind, corner: kind });
    let noise = of_cues("noise and no mark in it", in_noise, [0, 0]);
    let absent = of_cues("scenes without the mark", in_scenes, [0, 0]);
    let tinted = of_cues("colour alone", [Cue::Tint; 2], [0, 1]);
    assert_eq!([noise, absent, tinted], [0; 3]);
}

/// The mean maps of a class whose images share a mark have their largest value on it, and most of what speaks for the class
/// lies around it; where the mark lies elsewhere each time, it does not.
fn mean_maps() {
    let laboratory = Laboratory::with_steps([100, 80]);
    let (kind, corner) = (0, 3);
    let of = |cue: Cue| {
        let network = laboratory.learned(1, cue);
        assert_eq!(network.standing, standing::Verdict::Better);
        let scenes = Scenes::new(42, cue, 60);
        let means = class_means(&laboratory.lens, &network.weights, &scenes, 40).unwrap();
        let counts: Vec<_> = means.iter().map(|mean| (mean.class, mean.images, mean.occluded)).collect();
        assert_eq!(counts, [(0, 30, 20), (1, 30, 20)]);
        let marked = &means[1];
        [&marked.evidence, &marked.occlusion]
            .map(|map| (largest_near(map, place(corner)), times_near(map, place(corner))))
    };
    for (largest, times) in of(Cue::Mark { kind, corner }) {
        assert!(largest && times >= 5.0, "{largest}, {times}");
    }
    for (_, times) in of(Cue::Anywhere { kind }) {
        assert!(times < 3.0, "{times}");
    }
}

/// Whether a pixel lies within a mark's width of the mark that begins at `corner`.
fn near(map: &Map, pixel: usize, corner: [usize; 2]) -> bool {
    let at = [pixel / map.width, pixel % map.width];
    at.iter().zip(corner).all(|(at, from)| (from.saturating_sub(MARK)..from + 2 * MARK).contains(at))
}

/// Whether a map's largest value lies near the mark.
fn largest_near(map: &Map, corner: [usize; 2]) -> bool {
    let largest = (0..map.values.len()).max_by(|&a, &b| map.values[a].total_cmp(&map.values[b])).expect("values");
    near(map, largest, corner)
}

/// How many times as much of what speaks for the class lies near the mark as on the same area on average.
fn times_near(map: &Map, corner: [usize; 2]) -> f64 {
    let positive = |i: usize| f64::from(map.values[i].max(0.0));
    let all: f64 = (0..map.values.len()).map(positive).sum();
    let inside: Vec<usize> = (0..map.values.len()).filter(|&pixel| near(map, pixel, corner)).collect();
    let times =
        inside.iter().map(|&i| positive(i)).sum::<f64>() / all / (inside.len() as f64 / map.values.len() as f64);
    println!("  {times:.1} times as much near the mark");
    times
}
