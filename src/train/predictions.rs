//! What a network says of labelled images, image by image.

use anyhow::Result;

use crate::data::batch::Batch;
use crate::data::loader::{MAX_LOADERS, with_batches};
use crate::data::pixels::{self, CHANNELS};
use crate::data::{Images, Rejected, threads};
use crate::gpu::{Gpu, Plan};
use crate::nn::layout::padded;
use crate::nn::{Model, Normalize};
use crate::stats;
use crate::train::run_dir::RunDir;

/// The run's table of its validation images and what its best weights say of them.
pub const PREDICTIONS: &str = "predictions.csv";

/// What a network says of one labelled image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Number of the image in its set.
    pub index: usize,
    /// Its class.
    pub truth: usize,
    /// A logit for each class.
    pub logits: Vec<f32>,
}

impl Prediction {
    /// The most probable class; of equal ones the first.
    pub fn predicted(&self) -> usize {
        stats::argmax(&self.logits)
    }

    /// Minus the natural logarithm of the probability of the image's class.
    pub fn loss(&self) -> f64 {
        stats::log_loss(&self.logits, &[self.truth])
    }
}

/// What a network says of all images that can still be read, in their order, and those that cannot. They come in batches of up to
/// `batch`; `logits` gets each and gives a row for each image of it.
///
/// # Errors
/// What `logits` reports.
pub fn predict(
    images: &dyn Images,
    batch: usize,
    normalize: Normalize,
    logits: impl FnMut(&mut Batch) -> Result<Vec<Vec<f32>>>,
) -> Result<(Vec<Prediction>, Vec<Rejected>)> {
    let (mut predictions, mut rejected) = (Vec::with_capacity(images.len()), Vec::new());
    predict_each(images, batch, normalize, logits, |said, lost| {
        predictions.extend(said);
        rejected.extend(lost);
    })?;
    Ok((predictions, rejected))
}

/// The same batch by batch: `told` gets what was said of each, and which of its images cannot be read. Threads decode what comes
/// next meanwhile.
///
/// # Errors
/// What `logits` reports.
pub fn predict_each(
    images: &dyn Images,
    batch: usize,
    normalize: Normalize,
    mut logits: impl FnMut(&mut Batch) -> Result<Vec<Vec<f32>>>,
    mut told: impl FnMut(Vec<Prediction>, Vec<Rejected>),
) -> Result<()> {
    let order: Vec<usize> = (0..images.len()).collect();
    with_batches(images, &order, batch, None, normalize, threads().min(MAX_LOADERS), |batches| {
        while let Some(mut batch) = batches.next() {
            let rejected = std::mem::take(&mut batch.rejected);
            let logits = if batch.indices.is_empty() { Vec::new() } else { logits(&mut batch)? };
            let said = batch.indices.iter().zip(logits);
            let prediction =
                |(&index, logits): (&usize, _)| Prediction { index, truth: images.label(index) as usize, logits };
            told(said.map(prediction).collect(), rejected);
            batches.recycle(batch);
        }
        Ok(())
    })
}

/// The logits of a batch's images, by a model whose `forward` is a plan in evaluation mode. They may be no finite numbers.
///
/// # Errors
/// When the device failed.
pub(super) fn logits(gpu: &Gpu, model: &Model, forward: &Plan, batch: &Batch) -> Result<Vec<Vec<f32>>> {
    model.set_batch(gpu, &batch.images, &batch.labels);
    model.set_live(gpu, batch.indices.len());
    forward.submit(gpu)?;
    let classes = model.network().classes();
    let padded_rows: Vec<f32> = pollster::block_on(model.logits().read(gpu))?;
    let rows = padded_rows.chunks_exact(padded(classes)).take(batch.indices.len());
    Ok(rows.map(|row| row[..classes].to_vec()).collect())
}

/// What `logits` says of a batch's images and of their mirror images together: logits of the mean of both probabilities. The batch is
/// mirrored afterwards.
///
/// # Errors
/// What `logits` reports.
pub fn with_mirrored(
    batch: &mut Batch,
    mut logits: impl FnMut(&Batch) -> Result<Vec<Vec<f32>>>,
) -> Result<Vec<Vec<f32>>> {
    let upright = logits(batch)?;
    let size = (batch.images.len() / CHANNELS / batch.labels.len()).isqrt();
    pixels::mirror(&mut batch.images, size);
    let mirrored = logits(batch)?;
    Ok(upright.iter().zip(&mirrored).map(|(upright, mirrored)| mean_of(upright, mirrored)).collect())
}

/// Logits whose probabilities are the mean of those of two rows: finite, however small a probability is.
fn mean_of(one: &[f32], other: &[f32]) -> Vec<f32> {
    let logarithms =
        |logits: &[f32]| (0..logits.len()).map(|class| -stats::log_loss(logits, &[class])).collect::<Vec<_>>();
    let mean = |(one, other): (f64, f64)| one.max(other) + ((-(one - other).abs()).exp() / 2.0 + 0.5).ln();
    logarithms(one).into_iter().zip(logarithms(other)).map(|pair| mean(pair) as f32).collect()
}

/// Counts of images, by class and then by predicted class.
pub fn confusion(predictions: &[Prediction], classes: usize) -> Vec<Vec<usize>> {
    let mut confusion = vec![vec![0; classes]; classes];
    for prediction in predictions {
        confusion[prediction.truth][prediction.predicted()] += 1;
    }
    confusion
}

/// Writes [`PREDICTIONS`]: a row an image with its name, its class, the predicted class, a probability for each class, and the
/// loss. `images` is the set that was predicted.
///
/// # Errors
/// When the table cannot be written.
pub fn write(run: &RunDir, predictions: &[Prediction], images: &dyn Images, classes: &[String]) -> Result<()> {
    run.write_table(PREDICTIONS, |table| fill(table, predictions, |index| images.name(index), classes))
}

fn fill(
    table: &mut csv::Writer<Vec<u8>>,
    predictions: &[Prediction],
    name: impl Fn(usize) -> String,
    classes: &[String],
) -> csv::Result<()> {
    let probabilities = classes.iter().map(|class| format!("probability_{class}"));
    let columns = ["file", "label", "predicted"].map(String::from).into_iter().chain(probabilities);
    table.write_record(columns.chain(["loss".into()]))?;
    for prediction in predictions {
        let [label, predicted] = [prediction.truth, prediction.predicted()].map(|class| &classes[class]);
        let probabilities = stats::probabilities(&prediction.logits);
        table.serialize((name(prediction.index), label, predicted, probabilities, prediction.loss()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::data::drawn::{Drawn, Subject};
    use crate::data::pixels;
    use crate::disk;

    fn predictions() -> Vec<Prediction> {
        let of = |index, truth, logits: [f32; 3]| Prediction { index, truth, logits: logits.to_vec() };
        vec![of(0, 0, [1.0, 2.0, -1.0]), of(2, 2, [0.5, 0.5, 0.5]), of(3, 1, [-200.0, 0.0, 0.0])]
    }

    #[test]
    fn every_image_has_a_row_that_reads_back() {
        let classes = ["cat, \"tabby\"", "dog\nlarge", "=1+1"].map(String::from);
        let name = |index| format!("a \"b\", {index}\n.jpg");
        let bytes = disk::table(|table| fill(table, &predictions(), name, &classes)).unwrap();
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let header: Vec<String> = reader.headers().unwrap().iter().map(String::from).collect();
        assert_eq!(header[..3], ["file", "label", "predicted"]);
        assert_eq!(header[3..6], classes.clone().map(|class| format!("probability_{class}")));
        assert_eq!(header[6..], ["loss"]);
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len(), 3);
        for (row, prediction) in rows.iter().zip(predictions()) {
            assert_eq!(row[0], name(prediction.index));
            assert_eq!([&row[1], &row[2]], [prediction.truth, prediction.predicted()].map(|class| &classes[class][..]));
            let number = |column: usize| row[column].parse::<f64>().unwrap();
            let probabilities: Vec<f64> = (3..6).map(number).collect();
            assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{probabilities:?}");
            assert!((number(6) + probabilities[prediction.truth].ln()).abs() < 1e-9, "{row:?}");
        }
    }

    #[test]
    fn a_class_that_is_all_but_excluded_has_a_finite_loss() {
        let certain = Prediction { index: 0, truth: 0, logits: vec![-2000.0, 0.0] };
        assert_eq!((certain.loss(), certain.predicted()), (2000.0, 1));
    }

    /// Drawn images, of which every third has vanished.
    struct Vanishing(Drawn);

    impl Images for Vanishing {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn size(&self) -> u32 {
            self.0.size()
        }

        fn label(&self, index: usize) -> u32 {
            self.0.label(index)
        }

        fn name(&self, index: usize) -> String {
            self.0.name(index)
        }

        fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
            if index.is_multiple_of(3) { Err("is gone".into()) } else { self.0.pixels(index) }
        }
    }

    #[test]
    fn images_are_predicted_in_their_order_and_those_that_vanished_are_named() {
        let images = Vanishing(Drawn::new(Subject::Pets, 0, 0, 11, 8, 1 << 20));
        for batch in [1, 3, 4, 32] {
            // A row that tells the image by its first value.
            let said = |batch: &mut Batch| {
                let each = batch.images.len() / batch.labels.len();
                Ok((0..batch.indices.len()).map(|at| vec![batch.images[each * at], 0.0]).collect())
            };
            let (predictions, rejected) = predict(&images, batch, Normalize::HALF, said).unwrap();
            let indices: Vec<usize> = predictions.iter().map(|prediction| prediction.index).collect();
            assert_eq!(indices, [1, 2, 4, 5, 7, 8, 10], "batches of {batch}");
            assert_eq!(rejected.len(), 4);
            for Prediction { index, truth, logits } in predictions {
                let mut expected = vec![0.0; 8 * 8 * 4];
                pixels::to_tensor(&images.pixels(index).unwrap(), false, &mut expected);
                assert_eq!((truth, logits[0]), (images.label(index) as usize, expected[0]));
            }
        }
    }

    /// Of each image and its mirror image the probabilities are averaged, not the logits, and nothing becomes infinite.
    #[test]
    fn a_mean_over_mirror_images_is_one_of_probabilities() {
        for (one, other) in [
            ([1.0, 2.0, -1.0], [0.5, 0.5, 0.5]),
            ([-4.0, 9.0, 3.0], [9.0, -4.0, 3.0]),
            ([7.0, 1.0, 2.0], [7.0, 1.0, 2.0]),
            ([-2000.0, 0.0, 0.0], [-1990.0, 5.0, 0.0]),
        ] {
            let mean = mean_of(&one, &other);
            assert!(mean.iter().all(|logit| logit.is_finite()), "{mean:?}");
            let [one, other, mean] = [&one[..], &other, &mean].map(stats::probabilities);
            for class in 0..3 {
                assert!((mean[class] - (one[class] + other[class]) / 2.0).abs() < 1e-6, "{one:?} {other:?} {mean:?}");
            }
        }
    }

    #[test]
    fn a_batch_is_asked_about_twice_the_second_time_mirrored() {
        let images = Drawn::new(Subject::Pets, 0, 0, 5, 8, 1 << 20);
        // The sum of the left half, which mirroring exchanges with that of the right half.
        let left = |batch: &Batch| {
            let each = batch.images.len() / batch.labels.len();
            let sum = |image: &[f32]| -> f32 { image.chunks(8 * CHANNELS).flat_map(|row| &row[..4 * CHANNELS]).sum() };
            let rows = batch.images.chunks(each).take(batch.indices.len());
            Ok(rows.map(|image| vec![sum(image), 0.0]).collect::<Vec<_>>())
        };
        let order: Vec<usize> = (0..images.len()).collect();
        let made = |flip: bool| {
            let mut batch = Batch::new(&images, &order, 7, None, Normalize::HALF, Vec::new());
            if flip {
                pixels::mirror(&mut batch.images, 8);
            }
            batch
        };
        let [upright, mirrored] = [false, true].map(|flip| left(&made(flip)).unwrap());
        assert_ne!(upright, mirrored);
        let expected: Vec<_> = upright.iter().zip(&mirrored).map(|(one, other)| mean_of(one, other)).collect();
        assert_eq!(with_mirrored(&mut made(false), left).unwrap(), expected);
        assert_eq!(with_mirrored(&mut made(true), left).unwrap(), expected, "it does not matter which comes first");
    }

    #[test]
    fn all_images_are_counted_once() {
        assert_eq!(confusion(&predictions(), 3), [[0, 1, 0], [0, 1, 0], [1, 0, 0]]);
        assert_eq!(confusion(&[], 2), [[0, 0], [0, 0]]);
    }
}
