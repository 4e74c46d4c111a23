//! One pass over many images: how often, how much and where each channel fires.

use std::ops::Range;

use anyhow::{Result, bail, ensure};
use image::RgbImage;
use pollster::block_on;

use crate::data::loader::{MAX_LOADERS, with_batches};
use crate::data::{Images, Rejected, threads};
use crate::explain::Lens;
use crate::gpu::GpuError;
use crate::nn::layout::padded;
use crate::nn::{Block, Normalize};

/// Share of the images below which a channel that fires at all is called quiet.
const QUIET: f64 = 0.01;

/// What the channels of a network make of a set of images, after ReLU.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// How many images were looked at.
    pub images: usize,
    /// Of each block.
    pub blocks: Vec<BlockSurvey>,
    /// Images that could no longer be read, and so were left out.
    pub rejected: Vec<Rejected>,
}

/// The channels of one block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockSurvey {
    /// Of each channel.
    pub channels: Vec<ChannelSurvey>,
}

/// What one channel makes of the images.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSurvey {
    /// Its least value on any image: 0 or more after ReLU.
    pub min: f32,
    /// Its largest value on any image.
    pub max: f32,
    /// Share of the images on which it fires anywhere: has a value above 0.
    pub share: f64,
    /// Mean over all images and positions.
    pub mean: f64,
    /// Where it fires most, strongest first: one place an image.
    pub strongest: Vec<Place>,
}

/// A value in the map of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// The image's index in its set.
    pub image: usize,
    /// The value, above 0.
    pub value: f32,
    /// Its row in the map.
    pub y: usize,
    /// Its column.
    pub x: usize,
}

impl ChannelSurvey {
    /// Whether it is 0 everywhere, on every image.
    pub fn is_dead(&self) -> bool {
        self.min == 0.0 && self.max == 0.0
    }

    /// Whether it fires on some images, but on fewer than 1 % of them. Among fewer than 101 images, none is quiet.
    pub fn is_quiet(&self) -> bool {
        self.share > 0.0 && self.share < QUIET
    }
}

impl BlockSurvey {
    /// How many channels are 0 everywhere, on every image.
    pub fn dead(&self) -> usize {
        self.channels.iter().filter(|channel| channel.is_dead()).count()
    }

    /// How many channels fire on some images, but on fewer than 1 % of them.
    pub fn quiet(&self) -> usize {
        self.channels.iter().filter(|channel| channel.is_quiet()).count()
    }
}

/// Looks at the images that `order` names and keeps for each channel the `patches` places where it fires most. `progress`
/// is told how many images are done.
///
/// # Errors
/// When no image can be read, a value is not finite, or the device failed.
///
/// # Panics
/// When the images have another size than the network's.
pub fn survey(
    lens: &Lens<'_>,
    images: &dyn Images,
    order: &[usize],
    patches: usize,
    mut progress: impl FnMut(usize),
) -> Result<Survey> {
    let size = images.size() as usize;
    assert_eq!(lens.network().input()[1..], [size, size], "the images are not of the network's size");
    let each = lens.image_len();
    let mut tallies: Vec<Tally> = lens.blocks().iter().map(|block| Tally::new(block, patches)).collect();
    let mut rejected = Vec::new();
    let mut seen = 0;
    let loaders = threads().min(MAX_LOADERS);
    with_batches(images, order, lens.batch(), None, Normalize::HALF, loaders, |batches| -> Result<(), GpuError> {
        while let Some(mut batch) = batches.next() {
            rejected.append(&mut batch.rejected);
            let make = |i: usize, place: &mut [f32]| place.copy_from_slice(&batch.images[i * each..][..each]);
            block_on(lens.forward(batch.indices.len(), make, async |_| {
                for (number, tally) in tallies.iter_mut().enumerate() {
                    tally.add(&batch.indices, &lens.packed_outputs(number, batch.indices.len()).await?);
                }
                Ok(())
            }))?;
            seen += batch.indices.len();
            progress(seen + rejected.len());
            batches.recycle(batch);
        }
        Ok(())
    })?;
    ensure!(seen > 0, "none of the images can be read");
    for (number, tally) in (1..).zip(&tallies) {
        if let Some(channel) = tally.sums.iter().position(|sum| !sum.is_finite()) {
            bail!(
                "block {number}, channel {channel}: its values are not finite; the weights are damaged, or training diverged: \
                 try another checkpoint"
            );
        }
    }
    let blocks = tallies.into_iter().map(|tally| tally.finish(seen)).collect();
    Ok(Survey { images: seen, blocks, rejected })
}

/// The part of an image within these rows and columns, as [`Block::receptive_window`] gives them. `pixels` are RGB bytes of
/// a square image.
///
/// # Panics
/// When the image is no square or the part lies beyond its edge.
pub fn crop(pixels: &[u8], [rows, columns]: [Range<usize>; 2]) -> RgbImage {
    let side = (pixels.len() / 3).isqrt();
    assert_eq!(side * side * 3, pixels.len(), "crop takes a square RGB image");
    assert!(columns.end <= side, "columns {columns:?} of {side}");
    let (height, width) = (rows.len() as u32, columns.len() as u32);
    let part = rows.flat_map(|y| &pixels[3 * (y * side + columns.start)..][..3 * columns.len()]).copied().collect();
    RgbImage::from_raw(width, height, part).expect("as many bytes as pixels")
}

/// The sums of one block, image after image.
struct Tally {
    channels: usize,
    pixels: usize,
    /// Columns of a map.
    columns: usize,
    patches: usize,
    /// Of each channel: the sum of its values,
    sums: Vec<f64>,
    /// on how many images it fired,
    fired: Vec<usize>,
    /// and where most, strongest first.
    strongest: Vec<Vec<Place>>,
    /// Of each channel, its least and its largest value.
    range: Vec<[f32; 2]>,
}

impl Tally {
    fn new(block: &Block, patches: usize) -> Self {
        let [channels, height, columns] = block.output;
        Self {
            channels,
            pixels: height * columns,
            columns,
            patches,
            sums: vec![0.0; padded(channels)],
            fired: vec![0; channels],
            strongest: vec![Vec::new(); channels],
            range: vec![[f32::INFINITY, f32::NEG_INFINITY]; channels],
        }
    }

    /// Numbers of one image's maps.
    fn map_len(&self) -> usize {
        self.pixels * padded(self.channels)
    }

    /// Adds images by their maps (N, H, W, padded C).
    fn add(&mut self, indices: &[usize], maps: &[f32]) {
        let lanes = padded(self.channels);
        for (&image, maps) in indices.iter().zip(maps.chunks_exact(self.map_len())) {
            let mut most = vec![(0.0f32, 0); lanes];
            for (position, values) in maps.chunks_exact(lanes).enumerate() {
                for ((&value, most), sum) in values.iter().zip(&mut most).zip(&mut self.sums) {
                    if value > most.0 {
                        *most = (value, position);
                    }
                    *sum += f64::from(value);
                }
                for (range, &value) in self.range.iter_mut().zip(values) {
                    *range = [range[0].min(value), range[1].max(value)];
                }
            }
            for (channel, (value, position)) in most.into_iter().enumerate().filter(|(_, (value, _))| *value > 0.0) {
                let place = Place { image, value, y: position / self.columns, x: position % self.columns };
                self.fires(channel, place);
            }
        }
    }

    /// Notes where a channel fires most in one image.
    fn fires(&mut self, channel: usize, place: Place) {
        self.fired[channel] += 1;
        let strongest = &mut self.strongest[channel];
        let rank = strongest.partition_point(|other| other.value >= place.value);
        if rank < self.patches {
            strongest.truncate(self.patches - 1);
            strongest.insert(rank, place);
        }
    }

    fn finish(self, images: usize) -> BlockSurvey {
        let values = (images * self.pixels) as f64;
        let of_channel = |(channel, strongest): (usize, _)| ChannelSurvey {
            min: self.range[channel][0],
            max: self.range[channel][1],
            share: self.fired[channel] as f64 / images as f64,
            mean: self.sums[channel] / values,
            strongest,
        };
        BlockSurvey { channels: self.strongest.into_iter().enumerate().map(of_channel).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Strided;

    #[test]
    fn a_crop_holds_the_pixels_of_its_window() {
        let pixels: Vec<u8> = (0..5 * 5 * 3).collect();
        let part = crop(&pixels, [1..4, 2..5]);
        assert_eq!(part.dimensions(), (3, 3));
        assert_eq!(part.get_pixel(0, 0).0, [21, 22, 23]);
        assert_eq!(part.get_pixel(2, 2).0, [57, 58, 59]);
        assert_eq!(crop(&pixels, [0..5, 0..5]).into_raw(), pixels);
    }

    #[test]
    fn a_tally_keeps_the_strongest_place_of_each_image() {
        let network = Strided { channels: vec![2], ..Strided::dogs_vs_cats(5, 2) }.build().unwrap();
        let mut tally = Tally::new(network.last_block(), 2);
        // The first channel: 1 2 / 5 4, then 0 0 / 0 3, then 5 0 / 0 0, then 6 5 / 0 0. The second never fires.
        for (image, maps) in [[1.0, 2.0, 5.0, 4.0], [0.0, 0.0, 0.0, 3.0], [5.0, 0.0, 0.0, 0.0], [6.0, 5.0, 0.0, 0.0]]
            .into_iter()
            .enumerate()
        {
            let packed: Vec<f32> = maps.into_iter().flat_map(|value| [value, 0.0, 0.0, 0.0]).collect();
            tally.add(&[10 + image], &packed);
        }
        let survey = tally.finish(4);
        let [first, second] = &survey.channels[..] else { panic!("two channels") };
        assert_eq!((first.max, first.share, first.mean), (6.0, 1.0, 31.0 / 16.0));
        let place = |image, value, y, x| Place { image, value, y, x };
        assert_eq!(first.strongest, [place(13, 6.0, 0, 0), place(10, 5.0, 1, 0)]);
        assert!(second.is_dead() && !second.is_quiet() && second.strongest.is_empty());
        assert_eq!((survey.dead(), survey.quiet()), (1, 0));
    }

    #[test]
    fn a_channel_below_0_everywhere_is_neither_dead_nor_quiet() {
        let network = Strided { channels: vec![2], ..Strided::dogs_vs_cats(5, 2) }.build().unwrap();
        let mut tally = Tally::new(network.last_block(), 2);
        // As a block that ends in batch norm makes it; the second channel is 0.
        let packed: Vec<f32> = [-0.6, -0.4, -0.5, -0.5].into_iter().flat_map(|value| [value, 0.0, 0.0, 0.0]).collect();
        tally.add(&[0], &packed);
        let survey = tally.finish(1);
        let [first, second] = &survey.channels[..] else { panic!("two channels") };
        assert_eq!((first.min, first.max, first.share), (-0.6, -0.4, 0.0));
        assert!(!first.is_dead() && !first.is_quiet() && second.is_dead());
    }

    #[test]
    fn a_channel_that_fires_on_fewer_than_one_percent_is_quiet() {
        let channel = |share| ChannelSurvey { min: 0.0, max: 1.0, share, mean: 0.1, strongest: Vec::new() };
        let survey = BlockSurvey { channels: vec![channel(0.0099), channel(0.01)] };
        assert_eq!((survey.dead(), survey.quiet()), (0, 1));
    }
}
