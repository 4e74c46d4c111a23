//! What can be read from a block: linear probes, their controls, and each against the block before and the untrained block.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::LEVEL;
use super::verdict::Reading;
use crate::stats::{self, PairedT, Probe, StatsError, holm};

/// Permutations of the labels whose mean is a probe's control.
const PERMUTATIONS: usize = 5;
/// Chance of even one false claim on a table's comparisons of one kind, each with its own control.
const FALSE_CLAIMS: f64 = 0.05;

/// Accuracies of linear probes, in %, each image judged by a probe that has not seen it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ProbeRow {
    /// On the trained network's maps.
    pub trained: f64,
    /// Lower end of the 95 % interval of that, which allows for the folds.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// On those of the network before training.
    pub initial: f64,
    /// On the trained network's maps with permuted labels, the mean of five permutations: chance.
    pub permuted: f64,
    /// Against the block before, on the same images; none for the first block.
    pub gain: Option<Gain>,
    /// Against the same block before training, on the same images.
    pub learned: Gain,
}

/// By how many percentage points a probe is better than another.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Gain {
    /// Difference of the accuracies.
    pub points: f64,
    /// Lower end of its 95 % interval, which allows for the folds.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// p-value of no difference by the same test, adjusted by Holm over the blocks.
    pub p: f64,
    /// What follows.
    pub verdict: Reading,
}

/// A probe, and whether it is shown to beat chance.
struct Judged {
    probe: Probe,
    /// 95 % interval of its accuracy.
    interval: (f64, f64),
    beats_chance: bool,
}

impl Judged {
    /// Beside an accuracy that counts as chance.
    fn new(probe: Probe, chance: f64) -> Result<Self, StatsError> {
        let (low, high) = probe.share()?.interval(LEVEL);
        Ok(Self { probe, interval: (low.max(0.0), high.min(1.0)), beats_chance: low > chance })
    }
}

/// A comparison of two probes before it is known how many there are.
struct Comparison {
    test: PairedT,
    beats_chance: bool,
}

impl Comparison {
    fn new(probe: &Judged, other: &Judged) -> Result<Self, StatsError> {
        let test = probe.probe.gain_over(&other.probe)?;
        Ok(Self { test, beats_chance: probe.beats_chance || other.beats_chance })
    }

    fn gain(&self, adjusted: f64) -> Gain {
        let (low, high) = self.test.interval(LEVEL);
        let verdict = if !self.beats_chance {
            Reading::Chance
        } else if adjusted >= FALSE_CLAIMS {
            Reading::NotShown
        } else if self.test.mean > 0.0 {
            Reading::More
        } else {
            Reading::Less
        };
        let [points, low, high] = [self.test.mean, low, high].map(|share| 100.0 * share);
        Gain { points, low, high, p: adjusted, verdict }
    }
}

/// All comparisons of one kind, a gain each.
fn gains(comparisons: &[Comparison]) -> Vec<Gain> {
    let p_values: Vec<f64> = comparisons.iter().map(|comparison| comparison.test.p_two_sided()).collect();
    comparisons.iter().zip(holm(&p_values)).map(|(comparison, adjusted)| comparison.gain(adjusted)).collect()
}

/// Probes of every block of the trained and of the untrained network, as many images of each of the `classes`.
pub(super) fn probes(
    trained: &[Vec<f32>],
    initial: &[Vec<f32>],
    labels: &[usize],
    classes: usize,
    seed: u64,
) -> Result<Vec<ProbeRow>> {
    let commonest = 1.0 / classes as f64;
    let (mut own, mut untrained, mut permuted) = (Vec::new(), Vec::new(), Vec::new());
    for (trained, initial) in trained.iter().zip(initial) {
        let (probe, controls) = stats::probe_with_permuted(trained, labels, classes, seed, PERMUTATIONS)?;
        let control = controls.iter().map(|control| control.accuracy).sum::<f64>() / controls.len() as f64;
        own.push(Judged::new(probe, control.max(commonest))?);
        untrained.push(Judged::new(stats::probe(initial, labels, classes, seed)?, commonest)?);
        permuted.push(control);
    }
    let compare = |pairs: &mut dyn Iterator<Item = (&Judged, &Judged)>| {
        pairs.map(|(probe, other)| Comparison::new(probe, other)).collect::<Result<Vec<_>, _>>()
    };
    let learned = gains(&compare(&mut own.iter().zip(&untrained))?);
    let over_before = gains(&compare(&mut own.iter().skip(1).zip(&own))?);
    let row = |block: usize| {
        let Judged { probe, interval: (low, high), .. } = &own[block];
        let shares = [probe.accuracy, *low, *high, untrained[block].probe.accuracy, permuted[block]];
        let [trained, low, high, initial, permuted] = shares.map(|share| 100.0 * share);
        let gain = block.checked_sub(1).map(|before| over_before[before]);
        ProbeRow { trained, low, high, initial, permuted, gain, learned: learned[block] }
    };
    Ok((0..own.len()).map(row).collect())
}

#[cfg(test)]
mod tests {
    use std::array;

    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::stats::mcnemar;
    use crate::stats::probe::FOLDS;

    /// Numbers behind an imagined image, of falling spread, as the features of a network have few directions that count.
    const LATENTS: usize = 24;

    fn random(study: u64, stream: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(study);
        random.set_stream(stream);
        random
    }

    fn normals<const N: usize>(random: &mut ChaCha8Rng) -> [f64; N] {
        array::from_fn(|_| StandardNormal.sample(random))
    }

    /// Features (n, maps * places) as of a block: ReLU of random sums of an image's latents, of which each third tells the class
    /// by so much. Two views of a study share half of the latents, and the sums: with the same `signal` they are equally good.
    fn features(labels: &[usize], [maps, places]: [usize; 2], signal: f64, study: u64, view: u64) -> Vec<f32> {
        let [mut common, mut weights, mut own] = [0, 1, 2 + view].map(|stream| random(study, stream));
        let maps: Vec<[f64; LATENTS + 1]> = (0..maps).map(|_| normals(&mut weights)).collect();
        let mut found = Vec::new();
        for &label in labels {
            let (shared, single) = (normals::<LATENTS>(&mut common), normals::<LATENTS>(&mut own));
            let mut latents = || -> [f64; LATENTS] {
                // Places of an image differ somewhat.
                let local = if places > 1 { normals(&mut own) } else { [0.0; LATENTS] };
                array::from_fn(|k| {
                    let value = if k % 2 == 0 { shared[k] } else { single[k] } + 0.5 * local[k];
                    let of_class = if k % 3 == 1 { signal * (2.0 * label as f64 - 1.0) } else { 0.0 };
                    2.0 / (1.0 + k as f64).powf(0.7) * value + of_class
                })
            };
            let latents: Vec<_> = (0..places).map(|_| latents()).collect();
            for weights in &maps {
                for latents in &latents {
                    let sum: f64 = weights.iter().zip(latents).map(|(weight, latent)| weight * latent).sum();
                    found.push((sum / (LATENTS as f64).sqrt() + 0.3 * weights[LATENTS]).max(0.0) as f32);
                }
            }
        }
        found
    }

    /// Only the second of two blocks tells the classes apart, and only in the trained network.
    #[test]
    fn probes_of_two_blocks_are_compared_in_percent() {
        let labels: Vec<usize> = (0..80).map(|image| image % 2).collect();
        let noise = |stream| -> Vec<f32> {
            let mut random = random(0, stream);
            labels.iter().map(|_| normals::<1>(&mut random)[0] as f32).collect()
        };
        let told: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
        let rows = probes(&[noise(0), told], &[noise(0), noise(1)], &labels, 2, 0).unwrap();
        let [first, second] = rows[..] else { panic!("two blocks") };
        assert!(first.gain.is_none());
        assert_eq!((first.learned.points, first.learned.verdict), (0.0, Reading::Chance));
        assert_eq!((second.trained, second.high), (100.0, 100.0));
        for row in [first, second] {
            assert!(
                row.low <= row.trained && row.trained <= row.high && (25.0..75.0).contains(&row.permuted),
                "{row:?}"
            );
        }
        for (gain, than) in [(second.gain.unwrap(), first.trained), (second.learned, second.initial)] {
            assert!((gain.points - (100.0 - than)).abs() < 1e-9, "{gain:?}");
            assert!(0.0 < gain.low && gain.low < gain.points && gain.points < gain.high, "{gain:?}");
            assert_eq!(gain.verdict, Reading::More);
        }
    }

    /// How many of some studies claim a difference.
    #[derive(Debug, Default)]
    struct Claims {
        /// By the rule of this file.
        ours: usize,
        /// By the corrected t test of the five folds' differences.
        fold_t: usize,
        /// By the exact McNemar test.
        mcnemar: usize,
        /// Of the two probes of a study, how many are shown to beat chance.
        beat_chance: usize,
        /// Mean accuracy.
        accuracy: f64,
    }

    /// Studies of two probes on features of this size, of which the second is told `more` of the class.
    fn claims(images: usize, size: [usize; 2], signal: f64, more: f64, studies: u64) -> Claims {
        let mut claims = Claims::default();
        for study in 0..studies {
            let mut labels: Vec<usize> = (0..images).map(|image| image % 2).collect();
            labels.shuffle(&mut random(study, 10));
            let [first, second] = [(signal, 0), (signal + more, 1)].map(|(signal, view)| {
                let probe = stats::probe(&features(&labels, size, signal, study, view), &labels, 2, study).unwrap();
                Judged::new(probe, 0.5).unwrap()
            });
            let gain = gains(&[Comparison::new(&second, &first).unwrap()])[0];
            claims.ours += usize::from(matches!(gain.verdict, Reading::More | Reading::Less));

            let pairs = || first.probe.correct.iter().zip(&second.probe.correct).zip(&second.probe.folds);
            let count = |won: bool| pairs().filter(|((first, second), _)| first != second && **second == won).count();
            claims.mcnemar += usize::from(mcnemar(count(false), count(true)).exact < 0.05);
            let of_fold = |fold| {
                let own = pairs().filter(|(_, of)| **of == fold);
                own.map(|((&first, &second), _)| f64::from(second) - f64::from(first)).sum::<f64>()
            };
            let folds: Vec<f64> = (0..FOLDS).map(of_fold).collect();
            claims.fold_t += usize::from(PairedT::corrected(&folds, FOLDS).unwrap().p_two_sided() < 0.05);
            for judged in [&first, &second] {
                claims.beat_chance += usize::from(judged.beats_chance);
                claims.accuracy += judged.probe.accuracy / (2 * studies) as f64;
            }
        }
        println!(
            "{images} images, {size:?} maps and places, signal {signal} and {more} more, {studies} studies: {claims:.3?}"
        );
        claims
    }

    #[test]
    fn probes_of_random_labels_are_not_told_apart() {
        let Claims { ours, mcnemar, beat_chance, .. } = claims(200, [16, 1], 0.0, 0.0, 200);
        assert!(ours <= 2 && mcnemar > 10, "the old test takes too many for real: {mcnemar}");
        // 2.5 % of 400 are nominal.
        assert!(beat_chance <= 10, "{beat_chance}");
    }

    #[test]
    fn equally_good_probes_are_seldom_told_apart_and_better_ones_often() {
        let Claims { ours, mcnemar, beat_chance, .. } = claims(200, [16, 1], 0.08, 0.0, 200);
        assert!(ours <= 10 && mcnemar > 10 && beat_chance > 100, "{ours} {mcnemar} {beat_chance}");
        let Claims { ours, fold_t, .. } = claims(600, [16, 1], 0.16, 0.15, 50);
        assert!(ours >= 40 && ours >= fold_t, "{ours} {fold_t}");
    }

    /// The same for the sizes of real tables: `cargo test --lib layers::probes -- --ignored --nocapture`.
    #[test]
    #[ignore = "takes some minutes"]
    fn probes_of_many_sizes_are_seldom_told_apart() {
        let mut of_random_labels = [0, 0];
        for (images, size, studies) in [
            (200, [16, 1], 400),
            (200, [64, 1], 200),
            (200, [256, 1], 60),
            (200, [16, 9], 60),
            (600, [64, 1], 60),
            (2000, [64, 1], 20),
        ] {
            let found = claims(images, size, 0.0, 0.0, studies).ours;
            of_random_labels = [of_random_labels[0] + found, of_random_labels[1] + studies as usize];
            let Claims { ours, .. } = claims(images, size, 0.08, 0.0, studies / 2);
            // Five percent are nominal; with three standard errors of so few studies more.
            let most = 0.05 + 3.0 * (0.05 * 0.95 / (studies / 2) as f64).sqrt();
            assert!(ours as f64 / (studies / 2) as f64 <= most, "{ours}");
            claims(images, size, 0.08, 0.08, studies / 2);
        }
        let [found, studies] = of_random_labels;
        println!("random labels: {found} claims on {studies} pairs");
        assert!(found as f64 <= 0.05 * studies as f64);
    }

    #[test]
    fn two_probes_at_chance_are_not_compared() {
        let probe = |right: usize| Probe {
            labels: vec![0; 500],
            predictions: vec![0; 500],
            correct: (0..500).map(|image| image < right).collect(),
            accuracy: right as f64 / 500.0,
            log_loss: 0.7,
            folds: (0..500).map(|image| image % FOLDS).collect(),
            lambdas: vec![1.0; FOLDS],
        };
        let judged = |right| Judged::new(probe(right), 0.5).unwrap();
        let verdict = |first, second| {
            let comparison = Comparison::new(&judged(second), &judged(first)).unwrap();
            gains(&[comparison])[0].verdict
        };
        // Far below chance is no better a reason.
        assert_eq!(verdict(270, 150), Reading::Chance);
        assert_eq!(verdict(250, 400), Reading::More);
        assert_eq!(verdict(400, 250), Reading::Less);
        assert_eq!(verdict(400, 404), Reading::NotShown);
        assert_eq!(verdict(400, 400), Reading::NotShown);
        // Without a wrong image there is still a doubt.
        assert!(judged(500).interval.0 < 0.995 && judged(500).interval.1 == 1.0);
    }

    #[test]
    fn the_number_of_blocks_raises_the_bar() {
        let comparison = |standard_error| Comparison {
            test: PairedT { mean: 0.05, sd: 0.5, standard_error, degrees_of_freedom: 499.0 },
            beats_chance: true,
        };
        let alone = gains(&[comparison(0.022)]);
        assert_eq!(alone[0].verdict, Reading::More);
        let four = gains(&[comparison(0.022), comparison(0.1), comparison(0.1), comparison(0.1)]);
        assert_eq!(four[0].verdict, Reading::NotShown, "{four:?}");
    }
}
