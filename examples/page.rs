//! Prints, as JSON, what the program makes of a little training, for the tests of the page in `web/` to compare with what the same engine
//! makes of it in a browser: the loss of each step, then the logits, values and gradients of every layer for one image.
//!
//! `cargo run --example page -- ARCHITECTURE SUBJECT`, as in `web/tests/engine.test.mjs`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use convscope::data::augment::EpochChanges;
use convscope::data::batch::{Batch, shuffled_for_batches};
use convscope::data::drawn::{Drawn, FIRST_VAL_IMAGE, Subject};
use convscope::data::{Images, pixels};
use convscope::gpu::{AdapterChoice, Gpu, GpuError, Tensor};
use convscope::nn::checkpoint::Weights;
use convscope::nn::{Architecture, Keep, Mode, Model, Normalize, Optimizer, Value};
use pollster::block_on;
use serde::Serialize;

const BATCH: usize = 8;
const SEED: u64 = 3;
const STEPS: usize = 5;
const IMAGES: usize = 37;
const LEARNING_RATE: f64 = 0.02;

#[derive(Serialize)]
struct Found {
    losses: Vec<f64>,
    logits: Vec<f32>,
    /// (C, H, W), by the number of the value; 0 is the image.
    values: BTreeMap<Value, Vec<f32>>,
    gradients: BTreeMap<Value, Vec<f32>>,
    weights: BTreeMap<String, Vec<f32>>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [architecture, subject] = &arguments[..] else { bail!("usage: page ARCHITECTURE SUBJECT") };
    let subject = match subject.as_str() {
        "pets" => Subject::Pets,
        "digits" => Subject::Digits,
        other => bail!("{other}: pets or digits"),
    };
    let architecture: Architecture = serde_json::from_str(architecture).context("ARCHITECTURE")?;
    let network = architecture.build()?;
    let size = network.input()[1] as u32;
    let train = Drawn::new(subject, SEED, 0, IMAGES, size, 1 << 24);
    let val = Drawn::new(subject, SEED, FIRST_VAL_IMAGE, 1, size, 1 << 24);

    let gpu = block_on(Gpu::open(&AdapterChoice::Best))?;
    let model = Model::new(&gpu, &network, BATCH, Keep::Needed)?;
    model.load(&gpu, &Weights::initial(&network, SEED));
    let optimizer = Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0 };
    let step = model.training_step(&gpu, &optimizer);
    let mut losses = Vec::new();
    let mut epoch = 0;
    while losses.len() < STEPS {
        epoch += 1;
        for indices in shuffled_for_batches(IMAGES, SEED, epoch, BATCH, network.least_batch()).chunks(BATCH) {
            if losses.len() == STEPS {
                break;
            }
            let batch =
                Batch::new(&train, indices, BATCH, Some(EpochChanges::flips(SEED, epoch)), Normalize::HALF, Vec::new());
            model.clear_metrics(&gpu);
            model.set_batch(&gpu, &batch.images, &batch.labels);
            model.set_step(&gpu, &optimizer, LEARNING_RATE, indices.len(), SEED, losses.len() as u32 + 1);
            step.submit(&gpu)?;
            losses.push(block_on(model.metrics(&gpu))?.loss());
        }
    }

    let weights = block_on(model.weights(&gpu, 0))?;
    let look = Model::new(&gpu, &network, 1, Keep::Everything)?;
    look.load(&gpu, &weights);
    let mut plan = look.forward(&gpu, Mode::Eval);
    plan.extend(look.loss(&gpu));
    plan.extend(look.backward(&gpu, Mode::Eval, true));
    look.set_batch(&gpu, &pixels::tensor(&val.pixels(0).map_err(anyhow::Error::msg)?), &[val.label(0)]);
    look.set_live(&gpu, 1);
    plan.submit(&gpu)?;
    let maps = |tensor: &Tensor, value: Value| block_on(look.read_maps(&gpu, tensor, value, 1));
    let all = 0..=network.nodes().len();
    let values = all.clone().map(|value| Ok::<_, GpuError>((value, maps(look.value(Mode::Eval, value), value)?)));
    let gradients = all.map(|value| Ok::<_, GpuError>((value, maps(look.gradient(Mode::Eval, value), value)?)));
    let found = Found {
        losses,
        logits: maps(look.logits(), network.logits())?,
        values: values.collect::<Result<_, _>>()?,
        gradients: gradients.collect::<Result<_, _>>()?,
        weights: weights.tensors,
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}
