//! What is measured of each image.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use image::ImageFormat;

use super::near::Look;
use crate::data::fit::Fit;
use crate::data::folder::{Folder, LabelledFile};
use crate::data::names::path_text;
use crate::data::{Rejected, in_parallel, prepare};
use crate::digest::Digest;

/// Largest difference of two colours of a pixel, of 255, that still looks grey: a JPEG of a grey image has some.
const GREY: u8 = 12;

/// Which images these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// To learn from.
    Training,
    /// To be judged by, where the folder says so.
    Validation,
}

/// An image and what was measured of it.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its file and class.
    pub file: LabelledFile,
    /// Which images it belongs to.
    pub part: Part,
    /// What the file's content is.
    pub format: ImageFormat,
    /// Width and height, upright, in pixels.
    pub sides: [u32; 2],
    /// SHA-256 of its pixels at the size that the network takes, by which equal images are known.
    pub digest: Digest,
    /// What nearly equal images share.
    pub look: Look,
    /// Of red, green and blue: the mean of its pixels at that size, and the mean of their squares, in 0..1.
    pub channels: [[f64; 2]; 3],
    /// Whether it has no colour.
    pub grey: bool,
}

impl Measured {
    /// Its path as it is told.
    pub fn name(&self) -> String {
        path_text(&self.file.path)
    }

    /// Mean of all colours, in 0..1.
    pub fn brightness(&self) -> f64 {
        self.channels.iter().map(|[mean, _]| mean).sum::<f64>() / 3.0
    }

    /// The longer side in times of the shorter one.
    pub fn stretch(&self) -> f64 {
        let [width, height] = self.sides.map(f64::from);
        width.max(height) / width.min(height)
    }
}

/// Reads every image of a folder on all threads, training images first. Those that cannot be used are returned with the reason.
/// `progress` is called with the number of files done so far.
///
/// # Errors
/// None; [`in_parallel`] could have one.
pub(super) fn measure(
    found: &Folder,
    size: u32,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<Measured>, Vec<Rejected>)> {
    let train = found.train.iter().map(|file| (Part::Training, file));
    let val = found.val.iter().flatten().map(|file| (Part::Validation, file));
    let files: Vec<(Part, &LabelledFile)> = train.chain(val).collect();
    let done = AtomicUsize::new(0);
    let outcomes = in_parallel(files.len(), |index| {
        let (part, file) = files[index];
        let outcome =
            one(&found.root, file, part, size).map_err(|reason| Rejected { file: path_text(&file.path), reason });
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(outcome)
    })?;
    let (mut images, mut rejected) = (Vec::with_capacity(files.len()), found.rejected.clone());
    for outcome in outcomes {
        match outcome {
            Ok(image) => images.push(image),
            Err(reason) => rejected.push(reason),
        }
    }
    rejected.sort();
    Ok((images, rejected))
}

fn one(root: &Path, file: &LabelledFile, part: Part, size: u32) -> Result<Measured, String> {
    let opened = prepare::open(&root.join(&file.path))?;
    let square = opened.square(Fit::to(size));
    let (pixels, _) = square.as_chunks::<3>();
    let mut sums = [[0u64; 2]; 3];
    for pixel in pixels {
        for (sums, &value) in sums.iter_mut().zip(pixel) {
            let value = u64::from(value);
            *sums = [sums[0] + value, sums[1] + value * value];
        }
    }
    let count = pixels.len() as f64;
    let spread = |pixel: &[u8; 3]| pixel.iter().max().unwrap_or(&0) - pixel.iter().min().unwrap_or(&0);
    Ok(Measured {
        file: file.clone(),
        part,
        format: opened.format,
        sides: opened.image.dimensions().into(),
        digest: Digest::of(&square),
        look: Look::of(&opened),
        channels: sums.map(|[sum, squares]| [sum as f64 / count / 255.0, squares as f64 / count / (255.0 * 255.0)]),
        grey: pixels.iter().all(|pixel| spread(pixel) <= GREY),
    })
}
