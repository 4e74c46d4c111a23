//! How the weights of a run do beside always naming the commonest class, from what training recorded.

use anyhow::Result;

use crate::data::{Images, of_class};
use crate::stats::standing::Standing;
use crate::train::{Config, EpochRecord, Run, Which};

impl Standing {
    /// Of the weights of a run's epoch, as training recorded it; none where that cannot be. Of which classes images were that
    /// could not be read in that epoch is not on record, so nothing is said then of the commonest.
    pub fn recorded(config: &Config, metrics: &[EpochRecord], epoch: usize, which: Which) -> Option<Self> {
        let record = metrics.iter().find(|record| record.epoch == epoch)?;
        let images = record.val_images.unwrap_or(config.val_images);
        let all = images == config.val_images;
        let commonest = config.val_of_class.iter().copied().max().filter(|_| all);
        let epochs = match which {
            Which::Best => metrics.len(),
            Which::Last => 1,
        };
        let whole = config.val_of_class.is_empty() || config.val_of_class.iter().sum::<usize>() == config.val_images;
        let right = record.val_acc * images as f64;
        // Runs of older versions do not say how many images were read; a share that is no count of all tells that some were not.
        let counted = (right - right.round()).abs() < 1e-6;
        let possible = images > 0 && whole && counted && (0.0..=1.0).contains(&record.val_acc);
        possible.then_some(Self { right: right.round() as usize, images, commonest, epochs })
    }

    /// The same from what lies in a run's folder; none of weights from elsewhere. `validation` are its validation images, where they
    /// are at hand.
    ///
    /// # Errors
    /// When the run's metrics cannot be used, naming the file.
    pub fn of_run(run: &Run, which: Which, epoch: usize, validation: Option<&dyn Images>) -> Result<Option<Self>> {
        let Ok(config) = run.config() else { return Ok(None) };
        let config = counted(config, validation);
        Ok(Self::recorded(&config, &run.metrics()?, epoch, which))
    }
}

/// The settings of a run with the number of validation images of each class. Runs of older versions do not say it; it is counted
/// where all these images are at hand.
pub fn counted(config: &Config, validation: Option<&dyn Images>) -> Config {
    let mut config = config.clone();
    if let Some(images) = validation
        && config.val_of_class.is_empty()
        && images.len() == config.val_images
    {
        config.val_of_class = of_class(images, config.classes.len());
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::standing::{Verdict, caution};

    fn record(epoch: usize, val_acc: f64) -> EpochRecord {
        EpochRecord {
            epoch,
            train_loss: 0.5,
            train_acc: 0.5,
            val_loss: 0.5,
            val_acc,
            images_per_s: 1.0,
            train_seconds: 1.0,
            val_seconds: 1.0,
            val_images: None,
        }
    }

    fn config(val_images: usize, val_of_class: &[usize]) -> Config {
        let training = serde_json::json!({
            "data": null, "val_share": null, "classes": ["cat", "dog"], "train_images": 80, "val_images": val_images,
            "model": crate::nn::Strided::dogs_vs_cats(64, 2), "batch": 8, "epochs": 2, "optimizer": "adam", "lr": 0.1,
            "momentum": null, "weight_decay": 0.0, "augment": true, "seed": 0
        });
        // As older versions wrote it: without the classes' numbers.
        let config: Config = serde_json::from_value(training).unwrap();
        assert!(config.val_of_class.is_empty());
        Config { val_of_class: val_of_class.to_vec(), ..config }
    }

    #[test]
    fn a_run_tells_how_its_weights_do() {
        let metrics = [record(1, 0.9), record(2, 0.7)];
        let of = |config: &Config, epoch, which| Standing::recorded(config, &metrics, epoch, which);
        let full = config(100, &[70, 30]);
        let best = of(&full, 1, Which::Best).unwrap();
        assert_eq!(best, Standing { right: 90, images: 100, commonest: Some(70), epochs: 2 });
        assert_eq!(best.verdict(), Verdict::Better);
        let last = of(&full, 2, Which::Last).unwrap();
        assert_eq!((last.right, last.epochs, last.verdict()), (70, 1, Verdict::NotShown));

        let older = of(&config(100, &[]), 1, Which::Best).unwrap();
        assert_eq!((older.right, older.verdict()), (90, Verdict::Unknown));
        let said = caution(Some(&older)).unwrap();
        assert!(said.starts_with("It is not known whether") && said.contains("commonest class: not known"), "{said}");
        assert!(caution(None).unwrap().starts_with("It is not known whether"));

        assert_eq!(of(&full, 3, Which::Best), None, "an epoch that is not there");
        let photos_lost = of(&config(99, &[69, 30]), 1, Which::Best);
        assert_eq!(photos_lost, None, "90 % of 99 images is no number of images");

        // Half of the images could be read: how many of each class is not known.
        let half = [EpochRecord { val_images: Some(50), ..record(1, 0.9) }];
        let half = Standing::recorded(&full, &half, 1, Which::Best).unwrap();
        assert_eq!(half, Standing { right: 45, images: 50, commonest: None, epochs: 1 });
        assert_eq!(half.verdict(), Verdict::Unknown);
        let all = [EpochRecord { val_images: Some(100), ..record(1, 0.9) }];
        assert_eq!(Standing::recorded(&full, &all, 1, Which::Best).unwrap().commonest, Some(70));
        assert_eq!(of(&config(90, &[70, 30]), 1, Which::Best), None, "numbers that do not fit");
        assert_eq!(of(&config(0, &[0, 0]), 1, Which::Best), None);
        assert_eq!(Standing::recorded(&full, &[record(1, f64::NAN)], 1, Which::Best), None);
    }
}
