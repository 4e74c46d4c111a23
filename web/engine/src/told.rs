//! What a session tells: numbers as JSON, and what holds arrays as classes.

use convscope::explain::changes::{Loss, ResetVerdict};
use convscope::explain::ledger::Ledger;
use convscope::explain::saliency::Dependence;
use convscope::stats::standing::Verdict;
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// What some training steps did.
#[derive(Serialize)]
pub(crate) struct Steps {
    /// Steps so far, these included.
    pub(crate) step: u32,
    pub(crate) epoch: u64,
    /// The share of this epoch that is done.
    pub(crate) progress: f64,
    pub(crate) images: u32,
    pub(crate) seconds: f64,
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
    /// Whether a loss was not finite.
    pub(crate) broken: bool,
    pub(crate) forward_ms: Option<f64>,
    /// Of loss, backward pass and update.
    pub(crate) backward_ms: Option<f64>,
}

#[derive(Serialize)]
pub(crate) struct Scores {
    pub(crate) images: u32,
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
    /// Wilson's 95 % interval of the accuracy.
    pub(crate) interval: (f64, f64),
    /// What always naming the commonest class gets right.
    pub(crate) baseline: f64,
    /// Whether the network is shown to get more right than that.
    pub(crate) standing: Verdict,
}

#[derive(Serialize)]
pub(crate) struct Look {
    pub(crate) logits: Vec<f32>,
    /// e to the power of each logit less the largest.
    pub(crate) exponentials: Vec<f64>,
    pub(crate) probabilities: Vec<f64>,
}

/// What changes cost.
#[derive(Serialize)]
pub(crate) struct Judged {
    pub(crate) images: usize,
    pub(crate) before: f64,
    pub(crate) after: f64,
    #[serde(flatten)]
    pub(crate) loss: Loss,
    pub(crate) verdict: ResetVerdict,
    pub(crate) conclusive: bool,
}

/// What each input channel adds to one channel of a convolution's output, for the image that was looked at.
#[wasm_bindgen]
pub struct Terms {
    pub(crate) inputs: Vec<usize>,
    pub(crate) filters: Vec<f32>,
    pub(crate) maps: Vec<f32>,
    pub(crate) bias: f32,
}

#[wasm_bindgen]
impl Terms {
    /// The input channels.
    #[wasm_bindgen(getter)]
    pub fn inputs(&self) -> Vec<usize> {
        self.inputs.clone()
    }

    /// The filter of each, (inputs, K, K).
    #[wasm_bindgen(getter)]
    pub fn filters(&self) -> Vec<f32> {
        self.filters.clone()
    }

    /// What each adds, (inputs, H, W) of the output. These and the bias add up to it.
    #[wasm_bindgen(getter)]
    pub fn maps(&self) -> Vec<f32> {
        self.maps.clone()
    }

    /// What is added to each number of the channel.
    #[wasm_bindgen(getter)]
    pub fn bias(&self) -> f32 {
        self.bias
    }
}

/// What in an image decides, and what each channel adds to the decision.
#[wasm_bindgen]
pub struct Explanation {
    pub(crate) found: String,
    pub(crate) map: Vec<f32>,
    pub(crate) control: Vec<f32>,
}

#[wasm_bindgen]
impl Explanation {
    /// What was found, as JSON: `{target, against, exact, logit_difference, bias, channels: [{index, share}], residual, relative_residual,
    /// evidence, signed, similarity, dependence}`. `target` is the predicted class, `against` the runner-up. Evidence is what each position of the
    /// last block's maps adds, row by row. Where the map is `signed`, values below 0 speak against the predicted class. The similarity is the rank
    /// correlation of the magnitudes of map and control, none where one is the same everywhere; what follows from it is "differs",
    /// "same_as_untrained", "too_few_values", "control_empty" or "constant".
    #[wasm_bindgen(getter)]
    pub fn found(&self) -> String {
        self.found.clone()
    }

    /// The map, (H, W).
    #[wasm_bindgen(getter)]
    pub fn map(&self) -> Vec<f32> {
        self.map.clone()
    }

    /// What the same method finds in a network with random weights.
    #[wasm_bindgen(getter)]
    pub fn control(&self) -> Vec<f32> {
        self.control.clone()
    }
}

#[derive(Serialize)]
pub(crate) struct Found<'a> {
    pub(crate) target: usize,
    pub(crate) against: usize,
    #[serde(flatten)]
    pub(crate) ledger: &'a Ledger,
    pub(crate) evidence: &'a [f32],
    pub(crate) signed: bool,
    pub(crate) similarity: Option<f64>,
    pub(crate) dependence: Dependence,
}
