//! The evidence ledger: the last block's part in the decision.
//!
//! Where everything between the last block and the logits is linear, as pooling to means and linear layers with nothing between
//! them are, the logit difference is a weighted sum of all values of the last block's maps, plus a bias: nothing is approximated. With two
//! linear layers the weights are those of `w = (W2 W1)[target] - (W2 W1)[against]`. The summands of one channel are its share; those
//! of one position, its evidence. (For one class alone this is the class activation map of Zhou et al., 2016.)
//!
//! Where a layer in between is not linear, there is no such sum. What is left is value times gradient, which holds to first order
//! (HiResCAM, Draelos and Carin, 2020), and what it leaves of the logit difference.

use serde::Serialize;

use super::saliency::Map;
use super::{Inside, Lens, Question};
use crate::gpu::GpuError;
use crate::nn::checkpoint::Weights;
use crate::nn::{Network, Op};

/// What the decision is made of, in logits.
#[derive(Clone, Debug, Serialize)]
pub struct Ledger {
    /// Whether the shares and the bias add up to the logit difference; otherwise the shares are a first-order approximation and
    /// there is no bias.
    pub exact: bool,
    /// Logit of the target minus logit of the other class, as the network computed them.
    pub logit_difference: f64,
    /// What the image has no part in.
    pub bias: f64,
    /// All channels of the last block, those with the largest share first.
    pub channels: Vec<Share>,
    /// `logit_difference - bias - sum of the shares`: rounding, where the ledger is exact; otherwise what the approximation leaves.
    pub residual: f64,
    /// The residual's magnitude divided by the sum of the magnitudes of the bias and the shares.
    pub relative_residual: f64,
    /// What each position of the last maps adds to the logit difference, row by row; together with the bias their sum is that
    /// difference.
    #[serde(skip)]
    pub evidence: Vec<f32>,
}

/// A channel's part in the logit difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The channel.
    pub index: usize,
    /// What it adds to the logit difference; negative where it speaks for the other class.
    pub share: f64,
}

impl Ledger {
    /// Draws up the ledger of one decision of a lens's network with these weights.
    ///
    /// # Panics
    /// When the weights or the values are another network's.
    pub fn of(lens: &Lens<'_>, weights: &Weights, question: Question, inside: &Inside) -> Self {
        let last = inside.blocks.last().expect("a network has a block");
        let (logits, maps) = (&inside.logits, &last.relu);
        Self::exact(lens.network(), weights, question, logits, maps)
            .unwrap_or_else(|| Self::first_order(lens.network(), question, logits, maps, &last.gradient))
    }

    /// Draws up those of the first images of a lens's batch, after [`Lens::forward`]; `question` decides from an image's place in the
    /// batch and its logits what is asked of it.
    ///
    /// # Errors
    /// When the device failed, or a logit is not finite.
    pub async fn of_batch(
        lens: &Lens<'_>,
        weights: &Weights,
        images: usize,
        question: impl Fn(usize, &[f32]) -> Question,
    ) -> Result<Vec<Self>, GpuError> {
        let network = lens.network();
        let last = network.blocks().len() - 1;
        let (maps, logits) = (lens.outputs(last, images).await?, lens.read_logits(images).await?);
        let questions: Vec<Question> = (0..images).map(|image| question(image, &logits[image])).collect();
        let gradients =
            if network.linear_tail().is_none() { Some(lens.output_gradients(last, &questions).await?) } else { None };
        let ledger = |image: usize| {
            let (question, logits, maps) = (questions[image], &logits[image], &maps[image]);
            match &gradients {
                Some(gradients) => Self::first_order(network, question, logits, maps, &gradients[image]),
                None => Self::exact(network, weights, question, logits, maps).expect("the tail is linear"),
            }
        };
        Ok((0..images).map(ledger).collect())
    }

    /// The exact ledger, from the logits and the last block's maps, (C, H, W); none where a layer behind them is not linear.
    ///
    /// # Panics
    /// When the weights or the values are another network's.
    pub fn exact(
        network: &Network,
        weights: &Weights,
        question: Question,
        logits: &[f32],
        maps: &[f32],
    ) -> Option<Self> {
        let (factors, bias) = tail(network, weights, question)?;
        Some(Self::new(network, question.logit_difference(logits), maps, &factors, Some(bias)))
    }

    /// Value times gradient: the gradient of the logit difference by the last block's maps, (C, H, W).
    fn first_order(network: &Network, question: Question, logits: &[f32], maps: &[f32], gradient: &[f32]) -> Self {
        let factors: Vec<f64> = gradient.iter().map(|&slope| slope.into()).collect();
        Self::new(network, question.logit_difference(logits), maps, &factors, None)
    }

    /// From a factor for each value of the maps, and the bias where they are exact.
    fn new(network: &Network, logit_difference: f64, maps: &[f32], factors: &[f64], exact_bias: Option<f64>) -> Self {
        let [channels, height, width] = network.last_block().output;
        let pixels = height * width;
        let bias = exact_bias.unwrap_or(0.0);
        let mut evidence = vec![0.0; pixels];
        let mut shares = vec![0.0; channels];
        for ((channel, map), factors) in maps.chunks(pixels).enumerate().zip(factors.chunks(pixels)) {
            for ((position, &value), factor) in map.iter().enumerate().zip(factors) {
                let part = factor * f64::from(value);
                evidence[position] += part;
                shares[channel] += part;
            }
        }
        let residual = logit_difference - bias - shares.iter().sum::<f64>();
        let mut channels: Vec<Share> =
            shares.into_iter().enumerate().map(|(index, share)| Share { index, share }).collect();
        channels.sort_by(|a, b| b.share.abs().total_cmp(&a.share.abs()));
        let size = bias.abs() + channels.iter().map(|channel| channel.share.abs()).sum::<f64>();
        let relative_residual = if residual == 0.0 { 0.0 } else { residual.abs() / size };
        let evidence = evidence.into_iter().map(|part| part as f32).collect();
        Self { exact: exact_bias.is_some(), logit_difference, bias, channels, residual, relative_residual, evidence }
    }

    /// The evidence at the image's resolution; `lens` holds the network.
    pub fn evidence_map(&self, lens: &Lens) -> Map {
        let block = lens.blocks().last().expect("there is at least one block");
        let [_, height, width] = block.output;
        let [_, rows, columns] = lens.network().input();
        Map { values: self.evidence.clone(), height, width, signed: true }.enlarged(block, [rows, columns])
    }
}

/// All layers behind the last block as one linear layer: a factor for each value of its maps, (C, H, W), and the bias. None where
/// one of them is not linear.
fn tail(network: &Network, weights: &Weights, question: Question) -> Option<(Vec<f64>, f64)> {
    let mut factors = vec![0.0; network.classes()];
    factors[question.target] += 1.0;
    factors[question.against] -= 1.0;
    let mut constant = 0.0;
    for node in network.linear_tail()?.iter().rev() {
        let tensor = |kind: &str| weights.get(&format!("{}.{kind}", node.key));
        match node.op {
            Op::Linear { .. } => {
                constant += dot(tensor("bias"), &factors);
                factors = through_rows(tensor("weight"), &factors);
            }
            Op::AdaptiveAvgPool2d { output_size } => factors = through_means(node.input, output_size, &factors),
            Op::Flatten | Op::Identity | Op::Dropout { .. } | Op::Dropout2d { .. } => {}
            _ => return None,
        }
    }
    Some((factors, constant))
}

fn dot(values: &[f32], factors: &[f64]) -> f64 {
    values.iter().zip(factors).map(|(&value, factor)| f64::from(value) * factor).sum()
}

/// Factors of the inputs of a matrix, (outputs, inputs), from those of its outputs.
fn through_rows(matrix: &[f32], outputs: &[f64]) -> Vec<f64> {
    let inputs = matrix.len() / outputs.len();
    let mut factors = vec![0.0; inputs];
    for (row, output) in matrix.chunks(inputs).zip(outputs).filter(|(_, output)| **output != 0.0) {
        for (factor, &weight) in factors.iter_mut().zip(row) {
            *factor += output * f64::from(weight);
        }
    }
    factors
}

/// Factors of what AdaptiveAvgPool2d gets, (C, H, W), from those of what it makes.
fn through_means([channels, height, width]: [usize; 3], [rows, columns]: [usize; 2], outputs: &[f64]) -> Vec<f64> {
    let window =
        |number: usize, windows: usize, size: usize| number * size / windows..((number + 1) * size).div_ceil(windows);
    let mut factors = vec![0.0; channels * height * width];
    for (channel, factors) in factors.chunks_mut(height * width).enumerate() {
        for row in 0..rows {
            for column in 0..columns {
                let (ys, xs) = (window(row, rows, height), window(column, columns, width));
                let part = outputs[(channel * rows + row) * columns + column] / (ys.len() * xs.len()) as f64;
                for y in ys {
                    xs.clone().for_each(|x| factors[y * width + x] += part);
                }
            }
        }
    }
    factors
}
