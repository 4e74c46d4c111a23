//! Images in memory, and what a network makes of them, pooled.

use std::ops::Range;

use anyhow::{Result, anyhow};
use pollster::block_on;

use crate::data::Images;
use crate::data::pixels;
use crate::explain::Lens;
use crate::gpu::GpuError;

/// Images in memory.
pub(super) struct Loaded {
    /// RGB bytes of each.
    pixels: Vec<Vec<u8>>,
    pub(super) labels: Vec<usize>,
}

impl Loaded {
    pub(super) fn new(images: &dyn Images, order: &[usize]) -> Result<Self> {
        let pixels = order.iter().map(|&index| {
            let pixels = images.pixels(index).map_err(|reason| anyhow!("{}: {reason}", images.name(index)))?;
            Ok(pixels.into_owned())
        });
        let labels = order.iter().map(|&index| images.label(index) as usize).collect();
        Ok(Self { pixels: pixels.collect::<Result<_>>()?, labels })
    }

    /// Fills in image `index` as the network gets it.
    pub(super) fn fill(&self, index: usize, place: &mut [f32]) {
        pixels::to_tensor(&self.pixels[index], false, place);
    }
}

/// What a network makes of images, pooled.
pub(super) struct Features {
    /// Of each block, the mean of each map, (images, C).
    pub(super) pooled: Vec<Vec<f32>>,
    /// Of each block, the maps pooled to at most 3 x 3 values, (images, values).
    pub(super) grid: Vec<Vec<f32>>,
    /// Of each block, on how many images each channel has a value other than 0.
    pub(super) fired: Vec<Vec<usize>>,
    /// (images, classes)
    pub(super) logits: Vec<Vec<f32>>,
}

impl Features {
    pub(super) fn of(lens: &Lens, images: &Loaded) -> Result<Self, GpuError> {
        let blocks = lens.blocks();
        let empty = || vec![Vec::new(); blocks.len()];
        let fired = blocks.iter().map(|block| vec![0; block.output[0]]).collect();
        let mut features = Self { pooled: empty(), grid: empty(), fired, logits: Vec::new() };
        let fill = |index: usize, place: &mut [f32]| images.fill(index, place);
        block_on(lens.forward(images.labels.len(), fill, async |range| {
            for (number, block) in blocks.iter().enumerate() {
                for maps in lens.outputs(number, range.len()).await? {
                    let [channels, height, width] = block.output;
                    for (channel, map) in maps.chunks(height * width).enumerate() {
                        features.pooled[number].push(mean(map.iter().copied()));
                        features.fired[number][channel] += usize::from(map.iter().any(|&value| value != 0.0));
                    }
                    let cells = |size: usize| cells(size).collect::<Vec<_>>();
                    for map in maps.chunks(height * width).take(channels) {
                        for rows in cells(height) {
                            for columns in cells(width) {
                                let cell = rows.clone().flat_map(|y| map[y * width..][columns.clone()].iter().copied());
                                features.grid[number].push(mean(cell));
                            }
                        }
                    }
                }
            }
            features.logits.extend(lens.read_logits(range.len()).await?);
            Ok(())
        }))?;
        Ok(features)
    }
}

/// Up to three parts of `0..size` that cover it, as `AdaptiveAvgPool2d(3)` takes them.
pub(super) fn cells(size: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = size.min(3);
    (0..parts).map(move |part| part * size / parts..((part + 1) * size).div_ceil(parts))
}

pub(super) fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + f64::from(value), count + 1));
    (sum / f64::from(count)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::drawn::{Drawn, Subject};

    #[test]
    fn cells_are_those_of_adaptive_pooling() {
        let of = |size| cells(size).collect::<Vec<_>>();
        assert_eq!(of(7), [0..3, 2..5, 4..7]);
        assert_eq!(of(3), [0..1, 1..2, 2..3]);
        assert_eq!(of(2), [0..1, 1..2]);
        assert_eq!(mean([1.0, 2.0, 6.0].into_iter()), 3.0);
    }

    #[test]
    fn images_are_filled_in_as_they_were_ordered() {
        let pets = Drawn::new(Subject::Pets, 0, 0, 8, 8, 1 << 20);
        let loaded = Loaded::new(&pets, &[5, 2]).unwrap();
        assert_eq!(loaded.labels, [5, 2].map(|index| pets.label(index) as usize));
        let (mut found, mut expected) = (vec![0.0; 8 * 8 * pixels::CHANNELS], vec![0.0; 8 * 8 * pixels::CHANNELS]);
        loaded.fill(1, &mut found);
        pixels::to_tensor(&pets.pixels(2).unwrap(), false, &mut expected);
        assert_eq!(found, expected);
    }
}
