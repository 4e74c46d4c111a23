//! The whole network against PyTorch: every activation, every gradient, and ten steps of each optimiser.
//!
//! `tests/golden/make_golden.py` made the files of strided networks and describes their format, `make_architectures.py` those of
//! networks with a name.

use convscope::gpu::{Gpu, Kernels, Tensor};
use convscope::nn::checkpoint::Weights;
use convscope::nn::layout::{pack_images, unpack_images};
use convscope::nn::{Architecture, Head, Keep, Known, Layer, Mode, Model, Named, Network, Op, Optimizer, Strided};
use libtest_mimic::Trial;
use pollster::block_on;
use serde_json::Value;

use crate::common::trial;
use crate::{KERNELS, gpu_with};

/// Largest difference allowed, relative to the tensor's largest value. PyTorch's own float32 results differ from the
/// float64 values in the files of strided networks by up to 2.4e-6.
const TOLERANCE: f64 = 1e-5;
/// In a deep network the rounding of many layers adds up: there, as many times what PyTorch's own float32 results differ by. In ten
/// steps rounding comes to decide single ReLUs.
const IN_ONE_STEP: f64 = 4.0;
const IN_TEN_STEPS: f64 = 10.0;

pub fn tests() -> Vec<Trial> {
    let files = [
        ("odd", include_str!("../golden/odd.json")),
        ("flat", include_str!("../golden/flat.json")),
        ("exact", include_str!("../golden/exact.json")),
        ("lenet5", include_str!("../golden/lenet5.json")),
        ("vgg11_bn", include_str!("../golden/vgg11_bn.json")),
        ("resnet18", include_str!("../golden/resnet18.json")),
        ("mobilenet_v2", include_str!("../golden/mobilenet_v2.json")),
    ];
    let on_each = |(name, text): (&'static str, &'static str)| {
        KERNELS.map(|kernels| trial(format!("golden::{name}::{kernels}"), move || of_file(name, text, kernels)))
    };
    files.into_iter().flat_map(on_each).collect()
}

/// All that a file holds, on one set of kernels: in one test, as each thread that runs tests compiles kernels anew.
fn of_file(name: &str, text: &str, kernels: Kernels) {
    let golden = |keep| Golden::new(text, gpu_with(kernels), keep);
    // Nothing trains a model that keeps everything.
    first_step(&golden(Keep::Everything));
    let golden = golden(Keep::Needed);
    first_step(&golden);
    for run in ["adam", "adam_weight_decay", "sgd"] {
        // All sets of kernels for convolutions have the same optimisers: the small networks have them take steps with each.
        let small = ["odd", "flat", "lenet5"].contains(&name) && run == "adam";
        // The files of networks with a name have no run with weight decay alone.
        if (small || kernels == Kernels::Subgroup) && golden.file["training"].get(run).is_some() {
            ten_steps(&golden, run);
        }
    }
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
        let strided = || Strided {
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
        let network = match model.get("name") {
            Some(name) => {
                let known = Known {
                    name: serde_json::from_value(name.clone()).unwrap(),
                    input: [3, number("height"), number("width_px")],
                    width: model["width"].as_f64().unwrap(),
                    classes: number("classes"),
                };
                let mut spec = Architecture::Known(known).spec().unwrap();
                drop_nothing(&mut spec.layers);
                spec.build().unwrap()
            }
            None => strided().build().unwrap(),
        };
        let batch = number("batch");
        Self { file, network, batch, gpu, keep }
    }

    /// Largest difference allowed in what the file calls `what`.
    fn tolerance(&self, what: &str, times_float32: f64) -> f64 {
        let deviation = &self.file["float32_deviation"][what];
        let deviation = deviation.as_f64().or(deviation["values"].as_f64()).unwrap_or(0.0);
        TOLERANCE.max(times_float32 * deviation)
    }

    /// The start weights by formula.
    pub fn weights(&self) -> Weights {
        let mut weights = Weights::initial(&self.network, 0);
        assert_eq!(self.file["parameters"].as_object().unwrap().len(), self.network.parameters().len());
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
        let salt = self.file["model"]["image_salt"].as_u64().unwrap_or(0) as u32;
        let images: Vec<f32> = (0..(self.batch * channels * pixels) as u32).map(|i| formula(i, salt)).collect();
        pack_images(&images, self.batch, channels, pixels)
    }

    /// What PyTorch says of the outputs of a network's operations and of the gradients by them: each with its value.
    fn expected(&self) -> Vec<(usize, &Value, &Value)> {
        let nodes = (1..).zip(self.network.nodes());
        let Some(operations) = self.file.get("operations") else {
            let [values, gradients] = ["activations", "activation_grads"].map(|group| &self.file[group]);
            assert_eq!(values.as_object().unwrap().len(), self.network.nodes().len());
            return nodes.map(|(value, node)| (value, &values[&node.key], &gradients[&node.key])).collect();
        };
        let passes = |op: &Op| matches!(op, Op::Flatten | Op::Identity | Op::Dropout { .. });
        let nodes: Vec<_> = nodes.filter(|(_, node)| !passes(&node.op)).collect();
        let mut operations: Vec<_> = operations.as_object().unwrap().iter().collect();
        // "10 ReLU" follows "9 Conv2d".
        operations.sort_by_key(|(name, _)| name.split(' ').next().unwrap().parse::<usize>().unwrap());
        let names = |op: &Value| op[0].as_str().unwrap().to_string();
        assert_eq!(
            nodes.iter().map(|(_, node)| node.op.name().to_string()).collect::<Vec<_>>(),
            operations.iter().map(|(_, operation)| names(operation)).collect::<Vec<_>>()
        );
        let operations = operations.into_iter().map(|(_, operation)| operation);
        nodes.iter().zip(operations).map(|(&(value, _), operation)| (value, &operation[1], &operation[2])).collect()
    }

    /// Compares the values that the model keeps, and the gradients by them, with those of PyTorch.
    fn compare_values(&self, model: &Model) {
        let nodes = self.network.nodes();
        let read = |tensor: &Tensor, [channels, height, width]: [usize; 3]| {
            let values = block_on(tensor.read::<f32>(self.gpu)).unwrap();
            unpack_images(&values, self.batch, channels, height * width)
        };
        let mut left_out = 0;
        for (value, values, gradients) in self.expected() {
            if model.kept(Mode::Train, value).is_none() {
                left_out += 1;
                continue;
            }
            let node = &nodes[value - 1];
            let place = format!("{} {}", node.op.name(), node.key);
            let (found, gradient) = (model.value(Mode::Train, value), model.gradient(Mode::Train, value));
            let tolerance = self.tolerance("activations", IN_ONE_STEP);
            compare(&format!("output of {place}"), &read(found, node.output), values, tolerance);
            let tolerance = self.tolerance("activation_grads", IN_ONE_STEP);
            compare(&format!("gradient of {place}"), &read(gradient, node.output), gradients, tolerance);
        }
        if let Some(expected) = self.file.get("input_grad") {
            let found = read(model.gradient(Mode::Train, 0), self.network.input());
            compare("gradient of the images", &found, expected, self.tolerance("activation_grads", IN_ONE_STEP));
        }
        // Batch norm and ReLU have no tensor of their own where they are one kernel with what follows.
        let fused = |i: usize| {
            let after = |at: usize, op: fn(&Op) -> bool| nodes.get(i + at).is_some_and(|node| op(&node.op));
            let relu = nodes[i].op == Op::BatchNorm2d && after(1, |op| *op == Op::ReLU);
            usize::from(relu) + usize::from(relu && after(2, |op| matches!(op, Op::Dropout2d { .. })))
        };
        let fused = if self.keep == Keep::Everything { 0 } else { (0..nodes.len()).map(fused).sum() };
        assert_eq!(left_out, fused, "every kept tensor of the file is compared");
    }
}

/// Sets every probability to drop something to 0.
fn drop_nothing(layers: &mut [Named]) {
    for Named { layer, .. } in layers {
        match layer {
            Layer::Op(Op::Dropout { p } | Op::Dropout2d { p }) => *p = 0.0,
            Layer::Op(_) => {}
            Layer::Sequential { layers, .. } => drop_nothing(layers),
            Layer::Residual { path, shortcut } => {
                drop_nothing(path);
                drop_nothing(shortcut);
            }
        }
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
    let most = expected["max_abs"].as_f64().unwrap();
    // A gradient that is zero but for rounding is judged by what it is summed from.
    let largest = expected["scale"].as_f64().unwrap_or(most);
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
    check("largest", found_largest.into(), most, tolerance * largest);
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
    golden.compare_values(&model);
    let tolerance = golden.tolerance("parameter_grads", IN_ONE_STEP);
    for (name, gradient) in block_on(model.weight_gradients(golden.gpu)).unwrap() {
        compare(&format!("gradient of {name}"), &gradient, &golden.file["parameter_grads"][&name], tolerance);
    }
    let weights = block_on(model.weights(golden.gpu, 1)).unwrap();
    for (name, expected) in golden.file["running_stats"].as_object().unwrap() {
        compare(name, weights.get(name), expected, golden.tolerance("running_stats", IN_ONE_STEP));
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
    let tolerance = golden.tolerance(&format!("{run}_losses"), IN_TEN_STEPS);

    let model = golden.model();
    let plan = model.training_step(golden.gpu, &optimizer);
    for (number, expected) in (1..).zip(losses) {
        model.clear_metrics(golden.gpu);
        model.set_step(golden.gpu, &optimizer, lr, golden.batch, 0, number);
        plan.submit(golden.gpu).unwrap();
        let loss = block_on(model.metrics(golden.gpu)).unwrap().loss();
        assert!(
            (loss - expected).abs() <= tolerance * largest,
            "{run}, step {number}: loss {loss} against PyTorch's {expected}"
        );
    }
    // The files of strided networks have those of Adam alone.
    let of_adam = golden.file.get("eval_logits").filter(|_| run == "adam");
    if let Some(logits_then) = expected.get("eval_logits").or(of_adam) {
        model.forward(golden.gpu, Mode::Eval).submit(golden.gpu).unwrap();
        let logits = block_on(model.logits().read::<f32>(golden.gpu)).unwrap();
        let logits = unpack_images(&logits, golden.batch, golden.network.classes(), 1);
        let tolerance = golden.tolerance(&format!("{run}_eval_logits"), IN_TEN_STEPS);
        compare("logits in evaluation after ten steps", &logits, logits_then, tolerance);
    }
}
