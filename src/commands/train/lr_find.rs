//! `train --lr-find`: the learning rate range test.

use anyhow::Result;

use crate::commands::images::Data;
use crate::figures::{LineChart, LineStyle, Series, file_of};
use crate::terminal::{bar, say, say_apart};
use crate::train::lr_find::{CHART, STEPS, Suggestion, TABLE, Tried, suggestion};
use crate::train::run_dir::RunDir;
use crate::train::{Config, Trainer, Training};

/// The share of the loss that must have been lost for a suggested rate to mean much.
const TELLING_FALL: f64 = 0.05;

/// Tries rising learning rates, writes what became of them, and suggests one.
pub(super) fn find_rate(
    trainer: &mut Trainer<'_>,
    data: &Data,
    run: &RunDir,
    config: &Config,
) -> Result<Option<Suggestion>> {
    let bar = bar("{msg} [{bar:30}] {elapsed}", STEPS as u64).with_message("rising learning rates");
    let tried = trainer.find_rate(data.train.as_ref(), &mut |steps| bar.set_position(steps as u64))?;
    bar.finish_and_clear();
    let suggested = suggestion(&tried);
    run.write_table(TABLE, |table| tried.iter().try_for_each(|tried| table.serialize(tried)))?;
    run.write(CHART, file_of(&[rates(&tried, suggested.map(|found| found.lr)).draw_powers()]).as_bytes())?;
    say_apart(format!("wrote {}", run.path().display()));
    say(format!(
        "  {CHART}                  the loss by learning rate: is there a long fall around the suggested one?"
    ));
    say(format!("  {TABLE}                  the same as a table"));
    let last = tried[tried.len() - 1].lr;
    say_apart(format!(
        "tried    {} steps at learning rates from {:e} to {}",
        tried.len(),
        tried[0].lr,
        two_digits(last)
    ));
    let Some(Suggestion { lr, fall }) = suggested else {
        say(
            "         the loss did not fall before it exploded, so no rate is suggested: try a larger --batch, or look at the images with \
             `convscope doctor`",
        );
        return Ok(None);
    };
    let rate = two_digits(lr);
    let training = Training { lr: rate, ..config.training.clone() };
    say(format!("suggest  --lr {rate}  (fastai's rule \"valley\")"));
    if fall < TELLING_FALL {
        say(format!(
            "note: the loss fell by only {:.1} %, so the suggested rate means little: look at {CHART}, try a larger --batch, or trust the default",
            100.0 * fall
        ));
    }
    say(format!("next     {}", Config { training, ..config.clone() }.command()));
    Ok(suggested)
}

/// A learning rate rounded: more digits would say more than the test knows.
fn two_digits(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().expect("it was written as a number")
}

/// The smoothed loss by the power of ten of the learning rate. Where it explodes it is drawn only so far that its fall can still be
/// seen.
fn rates(tried: &[Tried], suggested: Option<f64>) -> LineChart<'static> {
    let mut points: Vec<_> = tried.iter().map(|tried| (tried.lr.log10(), tried.smoothed_loss)).collect();
    let losses = || tried.iter().map(|tried| tried.smoothed_loss);
    let least = losses().fold(f64::INFINITY, f64::min);
    let bottom = losses().position(|loss| loss == least).unwrap_or(0);
    let most = losses().take(bottom + 1).fold(least, f64::max);
    let most = most + ((most - least) / 2.0).max(0.05 * most);
    if let Some(over) = (bottom..points.len()).find(|&step| points[step].1 > most) {
        let [(x, y), (next_x, next_y)] = [points[over - 1], points[over]];
        points.truncate(over);
        points.push((x + (next_x - x) * (most - y) / (next_y - y), most));
    }
    let mark = suggested.map(|rate| Series {
        name: format!("suggested: {}", two_digits(rate)),
        points: [least, most].map(|loss| (rate.log10(), loss)).to_vec(),
        look: LineStyle::Dashed(1),
    });
    let loss = Series { name: "smoothed loss".into(), points, look: LineStyle::Solid(0) };
    LineChart {
        label: "training loss by learning rate",
        x: "learning rate",
        y: "mean loss",
        whole: true,
        holds: Vec::new(),
        series: mark.into_iter().chain([loss]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explosion_does_not_hide_the_fall() {
        let tried = |losses: &[f64]| -> Vec<Tried> {
            let step = |(step, &loss): (usize, &f64)| Tried {
                step: step + 1,
                lr: 10f64.powi(step as i32 - 5),
                loss,
                smoothed_loss: loss,
            };
            losses.iter().enumerate().map(step).collect()
        };
        let drawn = |losses: &[f64]| -> Vec<(f64, f64)> { rates(&tried(losses), None).series[0].points.clone() };
        let points = drawn(&[0.7, 0.8, 0.6, 0.65, 1.65, 40.0]);
        assert_eq!(points[..4], [(-5.0, 0.7), (-4.0, 0.8), (-3.0, 0.6), (-2.0, 0.65)]);
        // Half the fall above its highest place, on the way to the next step.
        let (x, y) = points[4];
        assert!(points.len() == 5 && (y - 0.9).abs() < 1e-9 && (x + 1.75).abs() < 1e-9, "{points:?}");
        assert_eq!(drawn(&[0.7, 0.5]).len(), 2, "where nothing explodes all is drawn");
        for losses in [&[1.0][..], &[1.0, 1e6], &[1.0, 1.0, 1.0]] {
            assert!(drawn(losses).iter().all(|(x, y)| x.is_finite() && y.is_finite()), "{losses:?}");
        }
        let marked = rates(&tried(&[0.7, 0.5]), Some(0.001_234));
        assert_eq!(marked.series[0].name, "suggested: 0.0012");
    }
}
