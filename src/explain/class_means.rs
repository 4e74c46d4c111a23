//! Where a network finds its evidence on average, class by class.
//!
//! What all images of a class share in one place, such as a watermark, a border or a date stamp, and what the network has
//! learned from, stands out in the mean of its maps. What lies elsewhere in every image averages out.

use pollster::block_on;

use super::ledger::Ledger;
use super::saliency::{self, Map};
use super::{Lens, Question};
use crate::data::{Images, pixels, spread};
use crate::gpu::GpuError;
use crate::nn::checkpoint::Weights;

/// The mean maps of one class's images, for the class against the strongest other, whatever the network predicts.
pub struct ClassMean {
    /// The class.
    pub class: usize,
    /// Images behind the mean evidence.
    pub images: usize,
    /// The mean evidence at the images' resolution, in logits.
    pub evidence: Map,
    /// Images behind the mean occlusion map: occlusion takes some hundred times as long as evidence.
    pub occluded: usize,
    /// The mean occlusion map, in logits.
    pub occlusion: Map,
}

/// The mean maps of every class that has a readable image. Evidence is averaged over all images, occlusion over up to
/// `most_occluded`, as many of each class and at least one, spread evenly over the set. The lens takes the weights.
///
/// # Errors
/// When the device failed.
///
/// # Panics
/// When the weights or the images do not fit the lens's network.
pub fn class_means(
    lens: &Lens,
    weights: &Weights,
    images: &dyn Images,
    most_occluded: usize,
) -> Result<Vec<ClassMean>, GpuError> {
    lens.load(weights);
    let classes = lens.network().classes();
    let mut of_classes: Vec<Vec<(usize, Ledger)>> = Vec::new();
    of_classes.resize_with(classes, Vec::new);
    for (index, ledger) in ledgers(lens, weights, images)? {
        of_classes[images.label(index) as usize].push((index, ledger));
    }
    let each = (most_occluded / classes).max(1);
    let with_images = of_classes.iter().enumerate().filter(|(_, ledgers)| !ledgers.is_empty());
    with_images.map(|(class, ledgers)| mean_of_class(lens, images, class, ledgers, each)).collect()
}

/// The ledger of every readable image, for its class against the strongest other.
fn ledgers(lens: &Lens, weights: &Weights, images: &dyn Images) -> Result<Vec<(usize, Ledger)>, GpuError> {
    let mut readable = vec![true; images.len()];
    let mut made = Vec::with_capacity(images.len());
    let make = |index: usize, place: &mut [f32]| match images.pixels(index) {
        Ok(pixels) => pixels::to_tensor(&pixels, false, place),
        Err(_) => readable[index] = false,
    };
    block_on(lens.forward(images.len(), make, async |range| {
        let (first, count) = (range.start, range.len());
        let question = |image: usize, logits: &[f32]| Question::of_class(logits, images.label(first + image) as usize);
        made.extend(range.zip(Ledger::of_batch(lens, weights, count, question).await?));
        Ok(())
    }))?;
    made.retain(|&(index, _)| readable[index]);
    Ok(made)
}

fn mean_of_class(
    lens: &Lens,
    images: &dyn Images,
    class: usize,
    ledgers: &[(usize, Ledger)],
    most_occluded: usize,
) -> Result<ClassMean, GpuError> {
    let [_, height, width] = lens.network().input();
    let mut occlusion = Mean::default();
    for place in spread(ledgers.len(), most_occluded) {
        // An image that cannot be read any more is left out.
        let Ok(pixels) = images.pixels(ledgers[place].0) else { continue };
        let image = pixels::tensor(&pixels);
        let logits = block_on(lens.logits(1, |_, place| place.copy_from_slice(&image)))?.remove(0);
        let question = Question::of_class(&logits, class);
        let half = saliency::occlusion_half(lens.network().input());
        occlusion.add(&block_on(saliency::occlusion(lens, &image, question, half))?);
    }
    let mut evidence = Mean::default();
    ledgers.iter().for_each(|(_, ledger)| evidence.add(&ledger.evidence));
    let block = lens.blocks().last().expect("there is at least one block");
    let [_, rows, columns] = block.output;
    let coarse = Map { values: evidence.values(rows * columns), height: rows, width: columns, signed: true };
    Ok(ClassMean {
        class,
        images: ledgers.len(),
        evidence: coarse.enlarged(block, [height, width]),
        occluded: occlusion.count,
        occlusion: Map { values: occlusion.values(height * width), height, width, signed: true },
    })
}

/// The mean of maps of one size.
#[derive(Default)]
struct Mean {
    sums: Vec<f64>,
    count: usize,
}

impl Mean {
    fn add(&mut self, map: &[f32]) {
        self.sums.resize(map.len(), 0.0);
        self.sums.iter_mut().zip(map).for_each(|(sum, &value)| *sum += f64::from(value));
        self.count += 1;
    }

    /// The mean of `len` values; zeros where there was no map.
    fn values(mut self, len: usize) -> Vec<f32> {
        self.sums.resize(len, 0.0);
        self.sums.iter().map(|sum| (sum / self.count.max(1) as f64) as f32).collect()
    }
}
