//! What a network loses when blocks of it go back to where they started, or channels are switched off.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Lens;
use crate::gpu::GpuError;
use crate::nn::checkpoint::Weights;
use crate::nn::{Mode, Network, Node, Op, Optimizer, Value};
use crate::stats::paired_difference;

/// Batches that the running statistics are estimated on anew after a reset.
pub const STATISTICS_BATCHES: u32 = 10;
/// Confidence of the interval.
const LEVEL: f64 = 0.95;
/// What counts as a loss of accuracy, in percentage points.
pub const POINT: f64 = 1.0;

/// A loss of accuracy on the same images, in percentage points, with its 95 % interval (Tango's).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Loss {
    /// What is lost.
    pub drop: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Loss {
    /// From the scores of the same images before and after: 1 where right, or means over several networks.
    ///
    /// # Panics
    /// When there are no images.
    pub fn new(before: &[f64], after: &[f64]) -> Self {
        let changes = || before.iter().zip(after).map(|(before, after)| before - after);
        let lost: f64 = changes().map(|change| change.max(0.0)).sum();
        let won: f64 = changes().map(|change| (-change).max(0.0)).sum();
        let (low, high) = paired_difference(lost, won, before.len(), LEVEL);
        let [drop, low, high] = [(lost - won) / before.len() as f64, low, high].map(|share| 100.0 * share);
        Self { drop, low, high }
    }
}

/// Whether a network uses what was taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetVerdict {
    /// More than a point is lost without it, even at the lower end of the interval.
    InUse,
    /// Less than a point is lost without it, even at the upper end.
    NotMissed,
    /// The interval holds both, or the network is not shown to be better than guessing.
    Undecided,
}

impl ResetVerdict {
    /// What follows from the interval of the loss. Nothing does unless the network is `conclusive`.
    pub fn of((low, high): (f64, f64), conclusive: bool) -> Self {
        match conclusive {
            true if low > POINT => Self::InUse,
            true if high < POINT => Self::NotMissed,
            _ => Self::Undecided,
        }
    }
}

impl fmt::Display for ResetVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "in use",
            Self::NotMissed => "not missed",
            Self::Undecided => "undecided",
        })
    }
}

/// The trained weights, but those of block `number`, counted from 0, from `other`.
///
/// # Panics
/// When there is no such block, or the weights are another network's.
pub fn reset(network: &Network, trained: &Weights, other: &Weights, number: usize) -> Weights {
    let mut weights = trained.clone();
    for parameter in network.block_parameters(number) {
        let values = other.get(&parameter.name).to_vec();
        weights.tensors.insert(parameter.name, values);
    }
    weights
}

/// The layer whose weights decide what a value's channels are; none where branches are added up, where what it makes also goes elsewhere,
/// or the value is the image.
fn maker(network: &Network, value: Value) -> Option<&Node> {
    let node = network.nodes().get(value.checked_sub(1)?)?;
    let readers = |value| network.nodes().iter().filter(|node| node.inputs.contains(&value)).count();
    match node.op {
        Op::Conv2d { .. } | Op::BatchNorm2d | Op::Linear { .. } => Some(node),
        _ if readers(node.inputs[0]) > 1 => None,
        // These make 0 of 0, channel by channel.
        Op::ReLU
        | Op::ReLU6
        | Op::Dropout { .. }
        | Op::Dropout2d { .. }
        | Op::MaxPool2d { .. }
        | Op::AvgPool2d { .. }
        | Op::AdaptiveAvgPool2d { .. }
        | Op::Flatten
        | Op::Identity => maker(network, node.inputs[0]),
        Op::Add => None,
    }
}

/// Whether single channels of a value can be switched off.
pub fn can_switch_off(network: &Network, value: Value) -> bool {
    maker(network, value).is_some()
}

/// Makes a channel of a value 0 for every image, by the weights of the layer that makes it.
///
/// # Panics
/// When that [cannot be](can_switch_off), or there is no such channel.
pub fn switch_off(network: &Network, weights: &mut Weights, value: Value, channel: usize) {
    let node = maker(network, value).expect("its channels can be switched off");
    let channels = node.output[0];
    for parameter in node.parameters() {
        let values = weights.tensors.get_mut(&parameter.name).expect("the weights are this network's");
        let each = values.len() / channels;
        values[channel * each..(channel + 1) * each].fill(0.0);
    }
}

/// The weights with running statistics estimated anew, in training mode, on images without their labels: `fill` gives the image of a
/// number from 0, batch after batch. The lens is left with other weights.
///
/// From zero, k updates with momentum 0.1 leave a weighted mean of the batches' statistics, times `1 - 0.9^k`.
///
/// # Errors
/// When the device failed.
pub async fn with_own_statistics(
    lens: &Lens<'_>,
    weights: &Weights,
    mut fill: impl FnMut(usize, &mut [f32]),
    seed: u64,
) -> Result<Weights, GpuError> {
    let (gpu, model, batch) = (lens.gpu(), lens.model(), lens.batch());
    let mut weights = weights.clone();
    let statistics: Vec<String> = lens.network().statistics().into_iter().map(|statistic| statistic.name).collect();
    if statistics.is_empty() {
        return Ok(weights);
    }
    for name in &statistics {
        weights.tensors.get_mut(name).expect("every network has them").fill(0.0);
    }
    model.load(gpu, &weights);
    let plan = model.forward(gpu, Mode::Train);
    let still = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
    let mut batch_images = vec![0.0; batch * lens.image_len()];
    for number in 1..=STATISTICS_BATCHES {
        for (index, place) in batch_images.chunks_mut(lens.image_len()).enumerate() {
            fill((number - 1) as usize * batch + index, place);
        }
        lens.network().normalize().apply(&mut batch_images);
        model.images().write(gpu, &batch_images);
        model.set_step(gpu, &still, 0.0, batch, seed, number);
        plan.submit(gpu)?;
    }
    let found = model.weights(gpu, 0).await?;
    model.set_live(gpu, batch);
    let share = 1.0 - 0.9f32.powi(STATISTICS_BATCHES as i32);
    for name in statistics {
        let values = found.get(&name).iter().map(|value| value / share).collect();
        weights.tensors.insert(name, values);
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Architecture;

    fn network(text: &str) -> Network {
        serde_json::from_str::<Architecture>(text).unwrap().build().unwrap()
    }

    #[test]
    fn channels_are_switched_off_where_they_are_made() {
        let network = network(
            r#"{"input": [3, 8, 8], "layers": [
            {"type": "Conv2d", "out_channels": 2, "kernel_size": 3}, {"type": "BatchNorm2d"}, {"type": "ReLU"},
            {"type": "Conv2d", "out_channels": 4, "kernel_size": 3}, {"type": "ReLU"}, {"type": "MaxPool2d", "kernel_size": 2},
            {"type": "Flatten"}, {"type": "Linear", "out_features": 2}]}"#,
        );
        let trained = Weights::initial(&network, 5);
        // The tensors that change, and the length of a channel in each.
        let cases: [(Value, &[(&str, usize)]); 5] = [
            (1, &[("0.weight", 27), ("0.bias", 1)]),
            (2, &[("1.weight", 1), ("1.bias", 1)]),
            (3, &[("1.weight", 1), ("1.bias", 1)]),
            (6, &[("3.weight", 18), ("3.bias", 1)]),
            (8, &[("7.weight", 16), ("7.bias", 1)]),
        ];
        for (value, tensors) in cases {
            assert!(can_switch_off(&network, value));
            let mut weights = trained.clone();
            switch_off(&network, &mut weights, value, 1);
            for (name, values) in &weights.tensors {
                let each = tensors.iter().find(|(of, _)| of == name).map_or(0, |(_, each)| *each);
                let off = each..2 * each;
                for (at, (now, before)) in values.iter().zip(trained.get(name)).enumerate() {
                    assert_eq!(*now, if off.contains(&at) { 0.0 } else { *before }, "value {value}, {name}[{at}]");
                }
            }
        }
        assert!(!can_switch_off(&network, 0), "the image");
        assert!(!can_switch_off(&network, 9), "what there is not");
    }

    #[test]
    fn sums_of_branches_are_not_switched_off() {
        let network = network(r#"{"name": "resnet18", "input": [3, 32, 32], "width": 0.25, "classes": 2}"#);
        let sum = network.nodes().iter().position(|node| node.op == Op::Add).unwrap() + 1;
        assert!(!can_switch_off(&network, sum));
        assert!(can_switch_off(&network, 1));
    }

    #[test]
    fn what_another_layer_reads_too_is_not_switched_off_by_the_way() {
        let network = network(
            r#"{"input": [3, 8, 8], "layers": [{"type": "Conv2d", "out_channels": 4, "kernel_size": 3},
            {"type": "Residual", "layers": [{"type": "ReLU"}, {"type": "Conv2d", "out_channels": 4, "kernel_size": 1}]},
            {"type": "Flatten"}, {"type": "Linear", "out_features": 2}]}"#,
        );
        // The shortcut reads the convolution besides the ReLU.
        assert!(can_switch_off(&network, 1) && !can_switch_off(&network, 2) && can_switch_off(&network, 3));
    }

    #[test]
    fn one_block_goes_back() {
        let network = network(
            r#"{"input": [3, 16, 16], "channels": [4, 8], "kernel": 3, "stride": 2, "padding": 0, "dropout": 0.1,
            "head": "avgpool", "hidden": 4, "classes": 2}"#,
        );
        let [trained, other] = [1, 2].map(|seed| Weights::initial(&network, seed));
        let weights = reset(&network, &trained, &other, 1);
        let names: Vec<String> = network.block_parameters(1).into_iter().map(|parameter| parameter.name).collect();
        assert!(names.len() == 3, "{names:?}");
        for (name, values) in &weights.tensors {
            let from = if names.contains(name) { &other } else { &trained };
            assert_eq!(values, from.get(name), "{name}");
        }
    }
}
