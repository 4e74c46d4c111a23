//! The evidence ledger: the last block's exact part in the decision.
//!
//! Between the last block and the logits everything is linear: the pooling (or flattening) and two linear layers with
//! nothing between them. So with `w = (W2 W1)[target] - (W2 W1)[against]` the logit gap is a sum over all values of the last
//! block's maps after ReLU, plus a bias: nothing is approximated. The summands of one channel are its share; those of one
//! position, its evidence. (For one class alone this is the class activation map of Zhou et al., 2016.)

use serde::Serialize;

use super::saliency::Map;
use super::{Lens, Question};
use crate::checkpoint::Weights;
use crate::spec::{Head, Spec};

/// What the decision is made of, in logits.
#[derive(Clone, Debug, Serialize)]
pub struct Ledger {
    /// Logit of the target minus logit of the other class, as the network computed them.
    pub logit_gap: f64,
    /// What the picture has no part in.
    pub bias: f64,
    /// All channels of the last block, those with the largest share first.
    pub channels: Vec<Share>,
    /// `logit_gap - bias - sum of the shares`: rounding, and nothing else.
    pub residual: f64,
    /// The residual's magnitude divided by the sum of the magnitudes of the bias and the shares.
    pub relative_residual: f64,
    /// What each position of the last maps adds to the gap, row by row; together with the bias their sum is the gap.
    #[serde(skip)]
    pub evidence: Vec<f32>,
}

/// A channel's part in the gap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The channel.
    pub index: usize,
    /// What it adds to the gap; negative where it speaks for the other class.
    pub share: f64,
}

impl Ledger {
    /// Draws up the ledger of one decision, from the logits and the last block's maps after ReLU, (C, H, W).
    ///
    /// # Panics
    /// When the weights or the values are another network's.
    pub fn new(spec: &Spec, weights: &Weights, question: Question, logits: &[f32], maps: &[f32]) -> Self {
        let [channels, height, width] =
            spec.blocks().expect("the network was built from it").pop().expect("a block").output;
        let pixels = height * width;
        let (factors, bias) = head(spec, weights, question);

        let mut evidence = vec![0.0; pixels];
        let mut shares = vec![0.0; channels];
        for (channel, map) in maps.chunks(pixels).enumerate() {
            for (position, &value) in map.iter().enumerate() {
                let factor = match spec.head {
                    Head::AvgPool => factors[channel] / pixels as f64,
                    Head::Flatten => factors[channel * pixels + position],
                };
                let part = factor * f64::from(value);
                evidence[position] += part;
                shares[channel] += part;
            }
        }
        let logit_gap = question.gap(logits);
        let residual = logit_gap - bias - shares.iter().sum::<f64>();
        let mut channels: Vec<Share> =
            shares.into_iter().enumerate().map(|(index, share)| Share { index, share }).collect();
        channels.sort_by(|a, b| b.share.abs().total_cmp(&a.share.abs()));
        let size = bias.abs() + channels.iter().map(|channel| channel.share.abs()).sum::<f64>();
        let relative_residual = if residual == 0.0 { 0.0 } else { residual.abs() / size };
        let evidence = evidence.into_iter().map(|part| part as f32).collect();
        Self { logit_gap, bias, channels, residual, relative_residual, evidence }
    }

    /// The evidence at the picture's resolution; `lens` holds the network.
    pub fn evidence_map(&self, lens: &Lens) -> Map {
        let block = lens.blocks().last().expect("there is at least one block");
        let [_, height, width] = block.output;
        let [_, rows, columns] = lens.spec().input;
        Map { values: self.evidence.clone(), height, width, signed: true }.enlarged(block, [rows, columns])
    }
}

/// The two linear layers as one: a factor for each feature in PyTorch's order, and the bias.
fn head(spec: &Spec, weights: &Weights, question: Question) -> (Vec<f64>, f64) {
    let index = spec.linear_index();
    let tensor = |layer: usize, kind: &str| weights.get(&format!("{layer}.{kind}"));
    let (first, second) = (tensor(index, "weight"), tensor(index + 1, "weight"));
    let row = |class: usize| &second[class * spec.hidden..][..spec.hidden];
    let difference: Vec<f64> = row(question.target)
        .iter()
        .zip(row(question.against))
        .map(|(&target, &against)| f64::from(target) - f64::from(against))
        .collect();

    let features = first.len() / spec.hidden;
    let mut factors = vec![0.0; features];
    for (row, factor) in first.chunks(features).zip(&difference) {
        for (sum, &weight) in factors.iter_mut().zip(row) {
            *sum += factor * f64::from(weight);
        }
    }
    let biases = tensor(index + 1, "bias");
    let hidden_bias: f64 =
        tensor(index, "bias").iter().zip(&difference).map(|(&bias, factor)| f64::from(bias) * factor).sum();
    let bias = f64::from(biases[question.target]) - f64::from(biases[question.against]) + hidden_bias;
    (factors, bias)
}
