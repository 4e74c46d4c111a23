//! How the learning rate changes from step to step.

use std::f64::consts::PI;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Share of the learning rate that a warmup begins with, as in torchvision's recipes.
const WARMUP_START: f64 = 0.01;
/// Share of all steps in which one cycle rises; what the learning rate is divided by at its first step, and by how much more at
/// its last. As PyTorch's `OneCycleLR` has them.
const RISE: f64 = 0.3;
const DIVIDED_FIRST: f64 = 25.0;
const DIVIDED_LAST: f64 = 1e4;

/// Names of the schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// The learning rate stays as it is
    #[default]
    Constant,
    /// It falls to zero along half a cosine
    Cosine,
    /// It rises for three tenths of all steps, then falls to nearly zero
    OneCycle,
    /// It is multiplied by --step-factor every --step-every epochs
    Step,
}

/// How the learning rate changes, after a warmup if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// It stays as it is.
    Constant,
    /// It falls to zero along half a cosine: `lr * (1 + cos(pi t)) / 2`, where t runs from 0 at the first step to 1 after
    /// the last of so many epochs. Formula: I. Loshchilov and F. Hutter, ICLR 2017, equation 5, without restarts; PyTorch's
    /// `CosineAnnealingLR`, a step at a time.
    Cosine {
        /// Epochs until zero, which need not be whole.
        epochs: f64,
    },
    /// It rises from `lr / 25` to `lr` and falls to `lr / 250,000`, both along half a cosine. After L. Smith and N. Topin, 2017;
    /// PyTorch's `OneCycleLR`, which also moves the momentum, without that.
    OneCycle {
        /// Epochs until the end.
        epochs: usize,
    },
    /// It is multiplied by `factor` every so many epochs: PyTorch's `StepLR`.
    Step {
        /// Epochs between two falls, which need not be whole.
        every: f64,
        /// What it is multiplied by.
        factor: f64,
    },
}

impl Schedule {
    /// What the learning rate is multiplied by after so many epochs, which need not be whole, of so many steps each. In a warmup
    /// of some epochs it rises along a line first, as with PyTorch's `LinearLR`, and all else begins behind it.
    pub(super) fn factor(self, warmup: f64, epochs_done: f64, steps_an_epoch: f64) -> f64 {
        if epochs_done < warmup {
            return WARMUP_START + (1.0 - WARMUP_START) * epochs_done / warmup;
        }
        let done = epochs_done - warmup;
        match self {
            Self::Constant => 1.0,
            Self::Cosine { epochs } => between([1.0, 0.0], done / epochs),
            Self::OneCycle { epochs } => {
                let (step, all) = (done * steps_an_epoch, epochs as f64 * steps_an_epoch);
                // The peak is a step, and so is the end.
                let (peak, last) = (RISE * all - 1.0, all - 1.0);
                let first = 1.0 / DIVIDED_FIRST;
                if step <= peak {
                    between([first, 1.0], step / peak)
                } else {
                    between([1.0, first / DIVIDED_LAST], (step - peak) / (last - peak))
                }
            }
            // What rounding takes from a whole number of times must not count as a time less.
            Self::Step { every, factor } => factor.powf((done / every + 1e-9).floor()),
        }
    }
}

/// From the first number to the second along half a cosine, of which so much is over, 0 to 1.
fn between([first, last]: [f64; 2], over: f64) -> f64 {
    last + (first - last) * (1.0 + (PI * over).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The factors of 20 steps, four an epoch.
    fn steps(schedule: Schedule, warmup: f64) -> Vec<f64> {
        let factor = |step| schedule.factor(warmup, (step / 4) as f64 + (step % 4) as f64 / 4.0, 4.0);
        (0..20).map(factor).collect()
    }

    fn assert_steps(schedule: Schedule, warmup: f64, want: [f64; 20]) {
        for (step, (got, want)) in steps(schedule, warmup).into_iter().zip(want).enumerate() {
            assert!((got - want).abs() < 1e-11, "{schedule:?}, warmup {warmup}, step {step}: {got} is not {want}");
        }
    }

    #[test]
    fn a_cosine_falls_from_one_to_zero() {
        let cosine = Schedule::Cosine { epochs: 4.0 };
        for (done, factor) in
            [(0.0, 1.0), (1.0, 0.853_553_390_593_273_8), (2.0, 0.5), (3.0, 0.146_446_609_406_726_2), (4.0, 0.0)]
        {
            let got = cosine.factor(0.0, done, 7.0);
            assert!((got - factor).abs() < 1e-15, "after {done} epochs: {got}");
            assert_eq!(Schedule::Constant.factor(0.0, done, 7.0), 1.0);
        }
    }

    /// Learning rates of PyTorch 2.15's schedulers, each stepped after every batch, from 1. The warmup is
    /// `SequentialLR([LinearLR(0.01, total_iters=6), ..], [6])`.
    #[test]
    fn learning_rates_are_those_of_pytorch() {
        // CosineAnnealingLR(T_max=20)
        let cosine = [
            1.0,
            0.993844170298,
            0.975528258148,
            0.945503262094,
            0.904508497187,
            0.853553390593,
            0.793892626146,
            0.72699524987,
            0.654508497187,
            0.57821723252,
            0.5,
            0.42178276748,
            0.345491502813,
            0.27300475013,
            0.206107373854,
            0.146446609407,
            0.0954915028125,
            0.0544967379058,
            0.0244717418524,
            0.00615582970243,
        ];
        assert_steps(Schedule::Cosine { epochs: 5.0 }, 0.0, cosine);
        // OneCycleLR(max_lr=1, total_steps=20, cycle_momentum=False)
        let one_cycle = [
            0.04,
            0.1316718427,
            0.3716718427,
            0.6683281573,
            0.9083281573,
            1.0,
            0.987464006235,
            0.950484632013,
            0.890916177571,
            0.81174565395,
            0.716943001791,
            0.611262021936,
            0.500002,
            0.388741978064,
            0.283060998209,
            0.18825834605,
            0.109087822429,
            0.0495193679865,
            0.0125399937649,
            4e-06,
        ];
        assert_steps(Schedule::OneCycle { epochs: 5 }, 0.0, one_cycle);
        // StepLR(step_size=8, gamma=0.3)
        let mut falls = [1.0; 20];
        falls[8..].fill(0.3);
        falls[16..].fill(0.09);
        assert_steps(Schedule::Step { every: 2.0, factor: 0.3 }, 0.0, falls);

        let rise = [0.01, 0.175, 0.34, 0.505, 0.67, 0.835];
        let warmed = |rest: [f64; 14]| -> [f64; 20] { [&rise[..], &rest].concat().try_into().unwrap() };
        assert_steps(Schedule::Constant, 1.5, warmed([1.0; 14]));
        let mut falls = [1.0; 14];
        falls[8..].fill(0.3);
        assert_steps(Schedule::Step { every: 2.0, factor: 0.3 }, 1.5, warmed(falls));
        // CosineAnnealingLR(T_max=14)
        let cosine = [
            1.0,
            0.987463956091,
            0.950484433951,
            0.890915741234,
            0.811744900929,
            0.716941869559,
            0.611260466978,
            0.5,
            0.388739533022,
            0.283058130441,
            0.188255099071,
            0.109084258766,
            0.0495155660488,
            0.0125360439091,
        ];
        assert_steps(Schedule::Cosine { epochs: 3.5 }, 1.5, warmed(cosine));
    }

    #[test]
    fn the_shortest_training_has_a_learning_rate() {
        // OneCycleLR(max_lr=1, total_steps=3): its peak lies before the first step.
        let factors = [0.0, 1.0, 2.0].map(|done| Schedule::OneCycle { epochs: 3 }.factor(0.0, done, 1.0));
        for (got, want) in factors.into_iter().zip([0.994415435451, 0.462637102667, 4e-06]) {
            assert!((got - want).abs() < 1e-11, "{factors:?}");
        }
        assert!(Schedule::OneCycle { epochs: 1 }.factor(0.0, 0.0, 1.0) > 0.0);
    }

    /// Whatever the number of steps, it falls at the very step: 0.3 / 0.1 is less than 3 in floating point.
    #[test]
    fn steps_fall_when_they_should() {
        for steps in [1usize, 3, 7, 10, 49, 313] {
            for every in [1usize, 2, 3] {
                let schedule = Schedule::Step { every: every as f64 / steps as f64, factor: 0.5 };
                for step in 0..4 * steps {
                    let done = (step / steps) as f64 + (step % steps) as f64 / steps as f64;
                    let want = 0.5f64.powi((step / every) as i32);
                    assert_eq!(schedule.factor(0.0, done, steps as f64), want, "step {step} of {steps}, every {every}");
                }
            }
        }
    }
}
