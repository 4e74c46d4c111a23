//! What a run's best weights make of its validation images, for the report.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail};
use image::RgbImage;
use pollster::block_on;

use super::LEVEL;
use super::class_means::MeanMaps;
use super::embedded::EmbeddedImage;
use super::explained::Drawn;
use crate::data::{Images, pixels};
use crate::explain::class_means::class_means;
use crate::explain::inspect::{Stage, first_filters};
use crate::explain::learned::{ChannelRow, Learned, PatchRow};
use crate::explain::ledger::Ledger;
use crate::explain::{Judged, Lens, Question, closest, learned, most_confident, saliency, worst};
use crate::figures::{LayerMaps, Scale, ScaleBy, Shown, Span, tap};
use crate::nn::checkpoint::Weights;
use crate::stats::{self, Calibration};
use crate::train::Run;
use crate::train::predictions::{self, Prediction};

/// Images of a gallery.
const SHOTS: usize = 8;
/// Maps and channels of a block that are shown.
const CHANNELS: usize = 8;
/// Images behind the mean occlusion maps of all classes together: each takes about a third of a second at 128 px on a processor.
const OCCLUDED: usize = 12;
/// Patches of a channel.
const PATCHES: usize = 3;

/// What the network makes of the validation images.
pub struct Looked {
    /// Images by class, then by predicted class.
    pub confusion: Vec<Vec<usize>>,
    /// Mean of minus the natural logarithm of the probability of an image's class.
    pub log_loss: f64,
    /// Whether the probabilities mean what they say.
    pub calibration: Calibration,
    /// Images that tell something.
    pub galleries: Vec<Gallery>,
    /// The largest share of a decision in the galleries that its evidence leaves unexplained.
    pub residual: f64,
    /// The mean maps of each class.
    pub class_means: Vec<MeanMaps>,
    /// The image whose maps are shown.
    pub example: Option<Shot>,
    /// The filters of the first block.
    pub filters: Vec<EmbeddedImage>,
    /// What the colours of the maps span.
    pub span: Span,
    /// Of each block, some maps of the example, and what excites some channels.
    pub blocks: Vec<BlockLook>,
    /// Why what excites channels is not shown, where `learned` has found it.
    pub damaged: Option<String>,
}

/// Images that were chosen for one reason.
pub struct Gallery {
    /// Heads it.
    pub title: &'static str,
    /// Says why.
    pub note: &'static str,
    /// The images.
    pub shots: Vec<Shot>,
}

/// An image and what the network made of it.
pub struct Shot {
    /// What it is called.
    pub name: String,
    /// As the network saw it.
    pub photo: EmbeddedImage,
    /// The evidence for the predicted class against the runner-up, laid over the photo.
    pub evidence: EmbeddedImage,
    /// What was found.
    pub judged: Judged,
}

/// Some of a block's channels.
pub struct BlockLook {
    /// Maps of the example that contribute most to its decision, the largest first.
    pub maps: Vec<Shown>,
    /// The colours of all maps, unless each has its own.
    pub scale: Option<Scale>,
    /// What excites channels, where `learned` has found it.
    pub channels: Vec<ChannelLook>,
}

/// What excites a channel.
pub struct ChannelLook {
    /// The channel.
    pub channel: usize,
    /// Share of the images on which it fires.
    pub share: f64,
    /// Its strongest patches, the strongest first.
    pub patches: Vec<EmbeddedImage>,
}

impl Looked {
    /// Looks at what the network of `weights`, which the lens takes, said of the run's validation images. `by` says what the
    /// colours of feature maps span. `data` is the folder of the images where these were given for a network from elsewhere.
    ///
    /// # Errors
    /// When the device failed, no image can be read, or a value is not finite.
    pub fn new(
        run: &Run,
        lens: &Lens,
        weights: &Weights,
        images: &dyn Images,
        predictions: &[Prediction],
        by: ScaleBy,
        data: Option<&str>,
    ) -> Result<Self> {
        lens.load(weights);
        let judged: Vec<Judged> = predictions.iter().map(Judged::new).collect();
        let labels: Vec<usize> = predictions.iter().map(|prediction| prediction.truth).collect();
        let logits: Vec<f32> = predictions.iter().flat_map(|prediction| &prediction.logits).copied().collect();
        let calibration = Calibration::new(&logits, &labels, LEVEL, 0)?;
        let mut residual: f64 = 0.0;
        let mut gallery = |title, note, chosen: Vec<Judged>| -> Result<Gallery> {
            let shots = shots(lens, weights, images, &chosen, &mut residual)?;
            Ok(Gallery { title, note, shots })
        };
        let galleries = vec![
            gallery("The worst mistakes", "Wrong, and most confident.", worst(&judged, SHOTS))?,
            gallery("The closest calls", "Least sure, right or wrong.", closest(&judged, SHOTS))?,
            gallery("The best", "Right, and most confident.", most_confident(&judged, SHOTS))?,
        ];
        let example = most_confident(&judged, 1).into_iter().chain(closest(&judged, 1)).next();
        let shown = match example {
            Some(example) => shots(lens, weights, images, &[example], &mut residual)?.pop(),
            None => None,
        };
        let (span, mut blocks) = match example {
            Some(example) => maps(lens, &pixels::tensor(&pixels(images, example.index)?), by)?,
            None => (by.span(&[]), Vec::new()),
        };
        let learned = run.learned().and_then(|learned| match learned {
            // Photos of another folder may have the same names.
            Some(Learned { data: of, .. }) if of.as_deref() != data => {
                bail!(
                    "what activates each channel was looked for in {}; run `convscope learned` on these",
                    of.unwrap_or_default()
                )
            }
            learned => Ok(learned),
        });
        let damaged = learned.as_ref().err().map(|error| format!("{error:#}"));
        if let Ok(Some(learned)) = learned {
            for (number, block) in (1..).zip(&mut blocks) {
                block.channels = excited(&learned, number, images)?;
            }
        }
        let means = class_means(lens, weights, images, OCCLUDED)?;
        Ok(Self {
            confusion: predictions::confusion(predictions, lens.network().classes()),
            log_loss: stats::log_loss(&logits, &labels),
            calibration,
            galleries,
            residual,
            class_means: means.iter().map(MeanMaps::new).collect::<Result<_>>()?,
            example: shown,
            filters: filters(lens, weights)?,
            span,
            blocks,
            damaged,
        })
    }
}

fn pixels(images: &dyn Images, index: usize) -> Result<Vec<u8>> {
    let pixels = images.pixels(index).map_err(|reason| anyhow!("{}: {reason}", images.name(index)))?;
    Ok(pixels.into_owned())
}

fn photo(images: &dyn Images, pixels: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(images.size(), images.size(), pixels).expect("images have their size")
}

/// The chosen images with their evidence; raises `residual` to the largest relative one.
fn shots(
    lens: &Lens,
    weights: &Weights,
    images: &dyn Images,
    chosen: &[Judged],
    residual: &mut f64,
) -> Result<Vec<Shot>> {
    let photos = chosen.iter().map(|judged| pixels(images, judged.index)).collect::<Result<Vec<_>>>()?;
    let mut ledgers = Vec::new();
    let make = |index: usize, place: &mut [f32]| pixels::to_tensor(&photos[index], false, place);
    block_on(lens.forward(chosen.len(), make, async |range| {
        ledgers.extend(Ledger::of_batch(lens, weights, range.len(), |_, logits| Question::of(logits, None)).await?);
        Ok(())
    }))?;
    let mut shot = |judged: &Judged, pixels: Vec<u8>, ledger: &Ledger| {
        *residual = residual.max(ledger.relative_residual);
        let name = images.name(judged.index);
        let photo = photo(images, pixels);
        Ok(Shot {
            evidence: Drawn::new(&name, &ledger.evidence_map(lens), &photo)?.over()?,
            photo: EmbeddedImage::photo(&photo)?,
            judged: *judged,
            name,
        })
    };
    let seen = chosen.iter().zip(photos).zip(ledgers);
    seen.map(|((judged, pixels), ledger)| shot(judged, pixels, &ledger)).collect()
}

/// The maps of every block that contribute most to the decision on an image.
fn maps(lens: &Lens, image: &[f32], by: ScaleBy) -> Result<(Span, Vec<BlockLook>)> {
    let (_, inside) = block_on(lens.inside(image, |logits| Question::of(logits, None)))?;
    let contributions = inside.blocks.iter().zip(lens.blocks());
    let contributions = contributions.map(|(block, geometry)| saliency::contributions(block, geometry.output[0]));
    let layers = inside.layers(lens, Stage::Relu, contributions);
    let span = by.span(&layers);
    let look = |layer: &LayerMaps| {
        let mut maps = layer.shown(span)?;
        maps.truncate(CHANNELS);
        Ok(BlockLook { maps, scale: span.scale(&layer.maps), channels: Vec::new() })
    };
    Ok((span, layers.iter().map(look).collect::<Result<_>>()?))
}

/// The filters of the first block, each a few pixels; one of zeros is mid-grey.
fn filters(lens: &Lens, weights: &Weights) -> Result<Vec<EmbeddedImage>> {
    let filters = first_filters(lens.network(), weights);
    let zeros = || RgbImage::from_pixel(filters.width as u32, filters.height as u32, tap([0.0; 3]));
    filters.shown()?.into_iter().map(|(filter, _)| EmbeddedImage::map(&filter.unwrap_or_else(zeros))).collect()
}

/// What excites a block's channels of the largest means, as `learned` has found it. Images that are gone are passed over.
fn excited(learned: &Learned, block: usize, images: &dyn Images) -> Result<Vec<ChannelLook>> {
    let names: HashMap<String, usize> = (0..images.len()).map(|index| (images.name(index), index)).collect();
    let mut strongest: Vec<&ChannelRow> = learned.channels.iter().filter(|row| row.block == block).collect();
    strongest.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    let look = |row: &&ChannelRow| {
        let of = |patch: &&PatchRow| (patch.block, patch.channel) == (block, row.channel) && patch.rank <= PATCHES;
        let cut = learned.patches.iter().filter(of).filter_map(|patch| Some((patch, *names.get(&patch.image)?)));
        Ok(ChannelLook {
            channel: row.channel,
            share: row.share_of_images,
            patches: cut.map(|(patch, index)| cut_out(images, patch, index)).collect::<Result<_>>()?,
        })
    };
    strongest.iter().take(CHANNELS).map(look).collect()
}

/// Patches this small are kept to the pixel; larger ones are photos.
const SMALL: u32 = 16;

fn cut_out(images: &dyn Images, patch: &PatchRow, index: usize) -> Result<EmbeddedImage> {
    let window = [patch.top..patch.bottom, patch.left..patch.right];
    let cut = learned::crop(&pixels(images, index)?, window);
    if cut.width().max(cut.height()) <= SMALL { EmbeddedImage::map(&cut) } else { EmbeddedImage::photo(&cut) }
}
