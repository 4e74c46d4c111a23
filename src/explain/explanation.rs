//! All that is found out about one decision.

use std::time::Instant;

use image::RgbImage;

use super::ledger::Ledger;
use super::saliency::{self, Completeness, Map, Method};
use super::trust::{self, Baselines, Trial, Trust};
use super::verdict::{Kind, Verdict};
use super::{Inside, Lens, Question};
use crate::data::pixels;
use crate::explain::inspect::{self, Stage};
use crate::figures::{LayerMaps, Order};
use crate::gpu::GpuError;
use crate::nn::checkpoint::Weights;
use crate::stats;
use crate::stats::standing;

/// What to find out.
#[derive(Clone, Debug)]
pub struct Options {
    /// The class to explain against; otherwise the runner-up.
    pub against: Option<usize>,
    /// The methods, in the order of the page.
    pub methods: Vec<Method>,
    /// The mean after ReLU of every channel of every block, over many images, for ablation.
    pub means: Option<Vec<Vec<f32>>>,
    /// Whether the network is known to do better than guessing.
    pub standing: standing::Verdict,
}

/// What was found out about one decision.
pub struct Explanation {
    /// The image as the network saw it.
    pub input: RgbImage,
    /// The same as the lens takes it, (H, W, padded C).
    pub image: Vec<f32>,
    /// What is explained.
    pub question: Question,
    /// Probability of each class.
    pub probabilities: Vec<f64>,
    /// What every layer makes of it.
    pub inside: Inside,
    /// The sum behind the decision.
    pub ledger: Ledger,
    /// Its evidence at the image's resolution.
    pub evidence: Map,
    /// A map by each method.
    pub findings: Vec<Finding>,
    /// What simple baselines score.
    pub baselines: Baselines,
    /// Whether the network is known to do better than guessing.
    pub standing: standing::Verdict,
    /// Of each block, each channel.
    pub channels: Vec<Vec<Channel>>,
}

/// What one method found.
pub struct Finding {
    /// The method.
    pub method: Method,
    /// Whether the map is the evidence itself: HiResCAM in the last block.
    pub exact: bool,
    /// Its map, as it came.
    pub raw: Map,
    /// The same at the image's resolution.
    pub map: Map,
    /// What it finds in an untrained network, at the image's resolution.
    pub control: Map,
    /// How far to believe it.
    pub trust: Trust,
    /// Of integrated gradients, what the map adds up to.
    pub completeness: Option<Completeness>,
    /// How long the map took.
    pub seconds: f64,
}

/// A channel's part in the decision.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// To first order, what it adds to the logit difference; exact in the last block.
    pub contribution: f64,
    /// By how much the logit difference falls when it is replaced by its mean.
    pub ablation: Option<f64>,
    /// Its largest value after ReLU: 0 where it is dead on this image.
    pub maximum: f32,
}

/// The methods that are worth a look; those that look at a block look at each of `blocks`, counted from 0.
pub fn methods(blocks: &[usize], images_only: bool) -> Vec<Method> {
    let mut methods = vec![Method::Occlusion, Method::IntegratedGradients, Method::SmoothGrad];
    methods.extend([Method::Gradient, Method::GradientTimesInput]);
    for &block in blocks {
        methods.extend([Method::HiResCam { block }, Method::GradCam { block }, Method::LayerCam { block }]);
    }
    if images_only {
        methods.extend([Method::GuidedBackprop, Method::Deconvnet]);
    }
    methods
}

impl Inside {
    /// The maps of each block at a stage; `contributions` says of each block what its channels add to the logit difference.
    pub fn layers(
        &self,
        lens: &Lens<'_>,
        stage: Stage,
        contributions: impl Iterator<Item = Vec<f64>>,
    ) -> Vec<LayerMaps<'_>> {
        let mut layers = Vec::new();
        let blocks = self.blocks.iter().zip(lens.blocks()).zip(contributions);
        for (number, ((block, geometry), contributions)) in (1..).zip(blocks) {
            let values = match stage {
                Stage::Conv => &block.conv,
                Stage::Norm => &block.norm,
                Stage::Relu => &block.relu,
            };
            let maps = inspect::maps(number, values, lens.network(), geometry, stage);
            layers.push(LayerMaps { maps, order: Order::Contribution(contributions) });
        }
        layers
    }
}

impl Explanation {
    /// Explains what the network of `weights` makes of an image, `pixels` being RGB bytes of its size. `control` are the
    /// weights of an untrained network. The lens holds the one or the other afterwards.
    ///
    /// # Errors
    /// When the device failed.
    ///
    /// # Panics
    /// When the pixels or weights do not fit the lens's network, or its images are not square.
    pub async fn new(
        lens: &Lens<'_>,
        weights: &Weights,
        control: &Weights,
        pixels: &[u8],
        options: &Options,
    ) -> Result<Self, GpuError> {
        let [_, height, width] = lens.network().input();
        let input =
            RgbImage::from_raw(width as u32, height as u32, pixels.to_vec()).expect("pixels of the network's size");
        let image = pixels::tensor(pixels);
        let blurred = trust::blurred(&input);

        lens.load(weights);
        let (question, inside) = lens.inside(&image, |logits| Question::of(logits, options.against)).await?;
        let ledger = Ledger::of(lens, weights, question, &inside);
        let trial = Trial::new(lens, &image, &blurred, question).await?;
        let baselines = trial.baselines().await?;

        let at_pixels = |method: Method, map: &Map| match method.block() {
            Some(block) => map.enlarged(&lens.blocks()[block], [height, width]),
            None => map.clone(),
        };
        let mut found = Vec::with_capacity(options.methods.len());
        for &method in &options.methods {
            let started = Instant::now();
            let raw = method.map(lens, &image, &inside, question).await?;
            let seconds = started.elapsed().as_secs_f64();
            let completeness = match method {
                Method::IntegratedGradients => Some(Completeness::of(lens, &raw.values, &image, question).await?),
                _ => None,
            };
            let map = at_pixels(method, &raw);
            found.push((method, raw, map, completeness, seconds));
        }
        let maps: Vec<&[f32]> = found.iter().map(|(_, _, map, ..)| &map.values[..]).collect();
        let scores = trial.scores(&maps).await?;
        let channels = channels(lens, &inside, question, options.means.as_deref()).await?;

        lens.load(control);
        let (_, untrained) = lens.inside(&image, |_| question).await?;
        let mut findings = Vec::with_capacity(found.len());
        for ((method, raw, map, completeness, seconds), score) in found.into_iter().zip(scores) {
            let control = method.map(lens, &image, &untrained, question).await?;
            let trust = Trust {
                values: raw.values.len(),
                constant: raw.is_constant(),
                control_constant: control.is_constant(),
                similarity: saliency::similarity(&raw.values, &control.values),
                score,
            };
            let control = at_pixels(method, &control);
            let exact = ledger.exact && method == Method::HiResCam { block: lens.blocks().len() - 1 };
            findings.push(Finding { method, exact, raw, map, control, trust, completeness, seconds });
        }
        Ok(Self {
            evidence: ledger.evidence_map(lens),
            probabilities: stats::probabilities(&inside.logits),
            input,
            image,
            question,
            inside,
            ledger,
            findings,
            baselines,
            standing: options.standing,
            channels,
        })
    }

    /// The maps of each block at a stage; `lens` holds the network.
    pub fn layers(&self, lens: &Lens<'_>, stage: Stage) -> Vec<LayerMaps<'_>> {
        let contributions = |block: &Vec<Channel>| block.iter().map(|channel| channel.contribution).collect();
        self.inside.layers(lens, stage, self.channels.iter().map(contributions))
    }

    /// What to make of a finding's map.
    pub fn verdict(&self, finding: &Finding) -> Verdict {
        let Finding { method, exact, trust, .. } = finding;
        let kind = match method {
            _ if *exact => Kind::Exact,
            Method::Occlusion => Kind::Measured,
            _ if method.images_only() => Kind::ImageOnly,
            _ => Kind::Approximate,
        };
        Verdict {
            standing: self.standing,
            kind,
            dependence: trust.dependence(),
            ranking: trust.ranking(&self.baselines),
        }
    }
}

/// Every channel's part in the decision.
async fn channels(
    lens: &Lens<'_>,
    inside: &Inside,
    question: Question,
    means: Option<&[Vec<f32>]>,
) -> Result<Vec<Vec<Channel>>, GpuError> {
    let mut all = Vec::new();
    for (number, (block, geometry)) in inside.blocks.iter().zip(lens.blocks()).enumerate() {
        let [count, height, width] = geometry.output;
        let contributions = saliency::contributions(block, count);
        let drops = match means {
            Some(means) => Some(saliency::channel_ablation(lens, number, inside, &means[number], question).await?),
            None => None,
        };
        let maxima = block.relu.chunks(height * width).map(|map| map.iter().copied().fold(0.0, f32::max));
        let channel = |(index, maximum)| Channel {
            contribution: contributions[index],
            ablation: drops.as_ref().map(|drops| drops[index]),
            maximum,
        };
        all.push(maxima.enumerate().map(channel).collect());
    }
    Ok(all)
}
