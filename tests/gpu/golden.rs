//! The whole network against PyTorch: every activation, every gradient, and ten steps of each optimiser.
//!
//! `tests/golden/make_golden.py` made the files and describes their format.

use convscope::checkpoint::Weights;
use convscope::gpu::Gpu;
use convscope::layout::{pack_images, unpack_images};
use convscope::nn::{Head, Keep, Mode, Model, Network, Optimizer, Strided};
use libtest_mimic::Trial;
use pollster::block_on;
use serde_json::Value;

use crate::common::trial;
use crate::{KERNELS, gpu_with};

/// Largest difference allowed, relative to the tensor's largest value. PyTorch's own float32 results differ from the
/// float64 values in the files by up to 2.4e-6.
const TOLERANCE: f64 = 1e-5;

pub fn tests() -> Vec<Trial> {
    let files = [
        ("odd", include_str!("../golden/odd.json")),
        ("flat", include_str!("../golden/flat.json")),
        ("exact", include_str!("../golden/exact.json")),
    ];
    let mut tests = Vec::new();
    for (name, text) in files {
        for kernels in KERNELS {
            for (kept, keep) in [("needed", Keep::Needed), ("everything", Keep::Everything)] {
                let name = format!("golden::{name}::{kernels}_keeping_{kept}");
                let golden = move || Golden::new(text, gpu_with(kernels), keep);
                tests.push(trial(format!("{name}::first_step"), move || first_step(&golden())));
                for run in ["adam", "adam_weight_decay", "sgd"] {
                    tests.push(trial(format!("{name}::{run}"), move || ten_steps(&golden(), run)));
                }
            }
        }
    }
    tests
}

/// One file with its network.
pub struct Golden {
    file: Value,
    pub network: Network,
    pub batch: usize,
    gpu: &'static Gpu,
    keep: Keep,
}

/// The formula that stands in for stored inputs.
pub fn formula(i: u32, salt: u32) -> f32 {
    let mut h = i.wrapping_mul(1_664_525).wrapping_add(salt.wrapping_mul(1_013_904_223)).wrapping_add(12_345);
    h ^= h >> 16;
    h = h.wrapping_mul(0x7feb_352d);
    h ^= h >> 15;
    h = h.wrapping_mul(0x846c_a68b);
    h ^= h >> 16;
    (h >> 8) as f32 / 8_388_608.0 - 1.0
}

impl Golden {
    pub fn new(text: &str, gpu: &'static Gpu, keep: Keep) -> Self {
        let file: Value = serde_json::from_str(text).unwrap();
        let model = &file["model"];
        let number = |key: &str| model[key].as_u64().unwrap() as usize;
        let strided = Strided {
            input: [number("in_channels"), number("height"), number("width")],
            channels: model["channels"]
                .as_array()
                .unwrap()
                .iter()
                .map(|value| value.as_u64().unwrap() as usize)
                .collect(),
            kernel: number("kernel"),
            stride: number("stride"),
            padding: number("padding"),
            dropout: 0.0,
            head: if model["pool"].as_bool().unwrap() { Head::AvgPool } else { Head::Flatten },
            hidden: number("hidden"),
            classes: number("classes"),
        };
        let batch = number("batch");
        Self { file, network: strided.build().unwrap(), batch, gpu, keep }
    }

    /// The start weights by formula.
    pub fn weights(&self) -> Weights {
        let mut weights = Weights::initial(&self.network, 0);
        for (salt, parameter) in (1..).zip(self.network.parameters()) {
            let stored = &self.file["parameters"][&parameter.name];
            let values = (0..parameter.layout.len() as u32).map(|i| {
                let f = formula(i, salt);
                match stored["fan_in"].as_f64() {
                    Some(fan_in) => f * (1.0 / fan_in.sqrt()) as f32,
                    None if parameter.name.ends_with("weight") => 1.0 + 0.25 * f,
                    None => 0.1 * f,
                }
            });
            let values: Vec<f32> = values.collect();
            compare(&parameter.name, &values, stored, 1e-8);
            weights.tensors.insert(parameter.name, values);
        }
        weights
    }

    /// A model with the start weights and the batch in it.
    fn model(&self) -> Model {
        let model = Model::new(self.gpu, &self.network, self.batch, self.keep).unwrap();
        model.load(self.gpu, &self.weights());
        let labels: Vec<u32> = (0..self.batch as u32).map(|n| (7 * n + 3) % self.network.classes() as u32).collect();
        model.set_batch(self.gpu, &self.images(), &labels);
        model
    }

    /// The batch by formula, in the device's layout.
    pub fn images(&self) -> Vec<f32> {
        let [channels, height, width] = self.network.input();
        let pixels = height * width;
        let images: Vec<f32> = (0..(self.batch * channels * pixels) as u32).map(|i| formula(i, 0)).collect();
        pack_images(&images, self.batch, channels, pixels)
    }

    /// Compares the values, or the gradients, that the model keeps with those of PyTorch under their layers' keys.
    fn compare_values(&self, model: &Model, group: &str) {
        let expected = &self.file[group];
        let nodes = self.network.nodes();
        let mut left_out = 0;
        for (value, node) in (1..).zip(nodes) {
            if model.kept(Mode::Train, value).is_none() {
                left_out += 1;
                continue;
            }
            let tensor = match group {
                "activations" => model.value(Mode::Train, value),
                _ => model.gradient(Mode::Train, value),
            };
            let [channels, height, width] = node.output;
            let values = block_on(tensor.read::<f32>(self.gpu)).unwrap();
            let values = unpack_images(&values, self.batch, channels, height * width);
            compare(&format!("{group} {}", node.key), &values, &expected[&node.key], TOLERANCE);
        }
        // Batch norm and ReLU have no tensor of their own where they are one kernel with what follows.
        let fused = if self.keep == Keep::Everything { 0 } else { 2 * self.network.blocks().len() };
        assert_eq!(left_out, fused, "every kept tensor of the file is compared");
        assert_eq!(expected.as_object().unwrap().len(), nodes.len());
    }
}

/// Compares the stored values, the largest, and the checksum that covers all others.
pub fn compare(name: &str, found: &[f32], expected: &Value, tolerance: f64) {
    let len =
        expected["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).product::<usize>();
    assert_eq!(found.len(), len, "{name}");
    assert!(
        found.iter().all(|value| value.to_bits() & 0x7fff_ffff < 0x7f80_0000),
        "{name} holds a number that is not finite"
    );
    let largest = expected["max_abs"].as_f64().unwrap();
    let check = |what: &str, found: f64, expected: f64, allowed: f64| {
        assert!(
            (found - expected).abs() <= allowed,
            "{name}, {what}: {found} against PyTorch's {expected}, allowed {allowed:e}"
        );
    };
    let stored = expected["values"].as_array().unwrap();
    for (k, value) in stored.iter().enumerate() {
        let i = if stored.len() > 1 { k * (len - 1) / (stored.len() - 1) } else { 0 };
        check(&format!("element {i}"), found[i].into(), value.as_f64().unwrap(), tolerance * largest);
    }
    let found_largest = found.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    check("largest", found_largest.into(), largest, tolerance * largest);
    let dot: f64 = (0u32..).zip(found).map(|(i, &value)| f64::from(value) * f64::from(formula(i, 1000))).sum();
    let expected = expected["dot"].as_f64().unwrap();
    // Errors of single elements add up like a random walk; the stored sum itself is rounded to 9 digits.
    let allowed = 0.2 * tolerance * largest * (len as f64).sqrt() + 1e-8 * expected.abs();
    check("checksum", dot, expected, allowed);
}

fn first_step(golden: &Golden) {
    let model = golden.model();
    let mut plan = model.forward(golden.gpu, Mode::Train);
    plan.extend(model.loss(golden.gpu));
    plan.extend(model.backward(golden.gpu, Mode::Train, true));
    model.set_step(golden.gpu, &Optimizer::Adam { weight_decay: 0.0 }, 1e-3, golden.batch, 0, 1);
    plan.submit(golden.gpu).unwrap();

    let loss = block_on(model.metrics(golden.gpu)).unwrap().loss();
    let expected = golden.file["loss"].as_f64().unwrap();
    assert!((loss - expected).abs() <= TOLERANCE * expected, "loss {loss} against PyTorch's {expected}");
    golden.compare_values(&model, "activations");
    golden.compare_values(&model, "activation_grads");
    for (name, gradient) in block_on(model.weight_gradients(golden.gpu)).unwrap() {
        compare(&format!("gradient of {name}"), &gradient, &golden.file["parameter_grads"][&name], TOLERANCE);
    }
    let weights = block_on(model.weights(golden.gpu, 1)).unwrap();
    for (name, expected) in golden.file["running_stats"].as_object().unwrap() {
        compare(name, weights.get(name), expected, TOLERANCE);
    }
}

fn ten_steps(golden: &Golden, run: &str) {
    let expected = &golden.file["training"][run];
    let setting = |key: &str| expected[key].as_f64().unwrap_or(0.0) as f32;
    let optimizer = if run == "sgd" {
        Optimizer::Sgd { momentum: setting("momentum"), weight_decay: setting("weight_decay") }
    } else {
        Optimizer::Adam { weight_decay: setting("weight_decay") }
    };
    let lr = expected["lr"].as_f64().unwrap();
    let losses: Vec<f64> = expected["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    let largest = losses.iter().copied().fold(0.0, f64::max);

    let model = golden.model();
    let plan = model.training_step(golden.gpu, &optimizer);
    for (number, expected) in (1..).zip(losses) {
        model.clear_metrics(golden.gpu);
        model.set_step(golden.gpu, &optimizer, lr, golden.batch, 0, number);
        plan.submit(golden.gpu).unwrap();
        let loss = block_on(model.metrics(golden.gpu)).unwrap().loss();
        assert!(
            (loss - expected).abs() <= TOLERANCE * largest,
            "{run}, step {number}: loss {loss} against PyTorch's {expected}"
        );
    }
    if run == "adam" {
        model.forward(golden.gpu, Mode::Eval).submit(golden.gpu).unwrap();
        let logits = block_on(model.logits().read::<f32>(golden.gpu)).unwrap();
        let logits = unpack_images(&logits, golden.batch, golden.network.classes(), 1);
        compare("logits in evaluation after ten steps", &logits, &golden.file["eval_logits"], TOLERANCE);
    }
}
