use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use convscope::data::augment::{AugmentOptions, EpochChanges};
use convscope::data::batch::{Batch, drawing_seed, shuffled, shuffled_for_batches};
use convscope::data::{Images, Subset, of_class, pixels};
use convscope::digest::Digest;
use convscope::explain::changes::{Loss, ResetVerdict, can_switch_off, reset, switch_off, with_own_statistics};
use convscope::explain::filter::{Cell as FilterCell, Filter, affine};
use convscope::explain::ledger::Ledger;
use convscope::explain::saliency::{Dependence, Method, similarity};
use convscope::explain::{self, Question};
use convscope::gpu::{Gpu, Plan};
use convscope::nn::checkpoint::{Checkpoint, Meta, Weights};
use convscope::nn::layout::padded;
use convscope::nn::{Architecture, Keep, Mode, Model, Network, Node, Optimizer, Preparation, Value};
use convscope::stats::standing::{Standing, Verdict};
use convscope::stats::{argmax, probabilities};
use js_sys::Function;
use serde::Deserialize;
use wasm_bindgen::prelude::*;

use crate::images::ImageSet;
use crate::network::parse;
use crate::told::{Explanation, Found, Judged, Look, Scores, Steps, Terms};
use crate::{Engine, json, say};

/// A network in training, and the same network to look into.
#[wasm_bindgen]
pub struct Session {
    gpu: &'static Gpu,
    architecture: Architecture,
    classes: Vec<String>,
    drawn: bool,
    /// How the training images were scaled: see [`ImageSet::resize_crop`].
    resize_crop: Option<u32>,
    train: Rc<dyn Images>,
    val: Rc<dyn Images>,
    settings: Settings,
    /// What order, flips and dropout masks are drawn by.
    drawing_seed: u64,
    /// The untrained weights of its seed.
    initial: Weights,
    /// Batches that batch norm had seen before this session, and epochs.
    counters: BTreeMap<String, i64>,
    epochs_before: usize,
    model: Model,
    optimizer: Cell<Optimizer>,
    plans: RefCell<Rc<Plans>>,
    evaluation: Plan,
    lens: Lens,
    changes: RefCell<Changes>,
    /// For questions that take many images; made when first asked.
    explainer: RefCell<Option<Rc<explain::Lens<'static>>>>,
    place: RefCell<Place>,
    /// Memory of a batch, used again.
    room: Cell<Vec<f32>>,
}

/// What is decided before training starts.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    batch: usize,
    seed: u64,
    /// Whether training images are flipped left to right at random.
    augment: bool,
    optimizer: OptimizerSettings,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
enum OptimizerSettings {
    Adam { weight_decay: f32 },
    Sgd { momentum: f32, weight_decay: f32 },
}

impl From<OptimizerSettings> for Optimizer {
    fn from(settings: OptimizerSettings) -> Self {
        match settings {
            OptimizerSettings::Adam { weight_decay } => Self::Adam { weight_decay },
            OptimizerSettings::Sgd { momentum, weight_decay } => Self::Sgd { momentum, weight_decay },
        }
    }
}

/// A training step, whole and in its two halves.
struct Plans {
    step: Plan,
    forward: Plan,
    /// Loss, backward and update.
    backward: Plan,
}

/// What the network that is looked into has otherwise than the one in training.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    /// Channels that are 0, each of a value.
    off: Vec<(Value, usize)>,
    /// Blocks, counted from 0, whose weights are the untrained ones of the seed.
    initial: Vec<usize>,
}

/// How far training has come.
#[derive(Default)]
struct Place {
    steps: u32,
    /// From 1.
    epoch: u64,
    order: Vec<usize>,
    /// Images of this epoch's order that have been seen.
    seen: usize,
    /// The steps after which the optimiser's memory was empty.
    emptied: u32,
}

/// The network for one image in evaluation, with all its values.
struct Lens {
    model: Model,
    /// Forward, loss, and backward to the image.
    plan: Plan,
    /// After so many steps its weights were read; none yet at `u32::MAX`.
    at: Cell<u32>,
    /// As they are in training.
    trained: RefCell<Rc<Weights>>,
    /// The same with the changes.
    weights: RefCell<Rc<Weights>>,
    /// Those that its values were made with.
    looked: RefCell<Rc<Weights>>,
    gradients: RefCell<Vec<(String, Vec<f32>)>>,
}

/// Images that run together where many are asked for.
const EXPLAINED_AT_ONCE: usize = 16;

/// Steps that may wait on the device.
const STEPS_AHEAD: usize = 2;

fn now() -> f64 {
    web_sys::window().and_then(|window| window.performance()).map_or_else(js_sys::Date::now, |clock| clock.now())
}

#[wasm_bindgen]
impl Session {
    /// A network, `architecture` being the JSON that `describe` takes, for these images. `settings` is JSON: `{batch, seed, augment,
    /// optimizer: {name: "adam", weight_decay} or {name: "sgd", momentum, weight_decay}}`. It starts from the weights of a safetensors file, where
    /// there is one. `compiling(done, all)` is told of the kernels.
    ///
    /// # Errors
    /// When there is no such network, it does not fit the images, the weights or the device.
    pub async fn create(
        engine: &Engine,
        architecture: String,
        settings: String,
        train: &ImageSet,
        val: &ImageSet,
        weights: Option<Vec<u8>>,
        compiling: Function,
    ) -> Result<Self, JsError> {
        let settings: Settings = serde_json::from_str(&settings).map_err(say)?;
        let architecture = parse(&architecture)?;
        let mut network = architecture.build().map_err(say)?;
        let classes = train.classes();
        if network.classes() != classes.len() {
            return Err(say(format!(
                "the last layer makes {} numbers, but there are {} classes",
                network.classes(),
                classes.len()
            )));
        }
        let side = train.size() as usize;
        if network.input() != [3, side, side] {
            return Err(say(format!(
                "the network is for images of {:?}, but these are 3 x {side} x {side}",
                network.input()
            )));
        }
        if !(1..=1024).contains(&settings.batch) || settings.batch < network.least_batch() {
            return Err(say(format!("batch {}: expected {} to 1024", settings.batch, network.least_batch())));
        }
        let initial = Weights::initial(&network, settings.seed);
        let start = match &weights {
            Some(file) => Weights::to_go_on_from(file, &network, &initial).map_err(say)?.0,
            None => initial.clone(),
        };
        let drawing_seed = drawing_seed(settings.seed, weights.as_ref().map(Digest::of));
        // PyTorch's own files do not say.
        let meta = weights.and_then(|file| Meta::from_bytes(&file).ok());
        let resize_crop = train.resize_crop();
        let of_images = Preparation { resize_crop, ..Preparation::default() };
        network = network.prepared(meta.as_ref().map_or(of_images, |meta| meta.preparation));
        let epochs_before = meta.map_or(0, |meta| meta.epoch);

        let gpu = engine.gpu;
        let optimizer = settings.optimizer.into();
        let model = Model::new(gpu, &network, settings.batch, Keep::Needed).map_err(say)?;
        model.set_live(gpu, settings.batch);
        let plans = Plans::new(gpu, &model, &optimizer);
        gpu.done().await.map_err(say)?;
        let evaluation = evaluation(gpu, &model);
        let lens = Lens::new(gpu, &network).await?;
        // Both lists share kernels; what one has made the driver compile, the other finds.
        let tell = |done: usize, all: usize| {
            // A page that does not listen does not matter.
            let _ = compiling.call2(&JsValue::NULL, &(done as u32).into(), &(all as u32).into());
        };
        let all = plans.step.len() + evaluation.len() + lens.plan.len();
        let mut before = 0;
        for plan in [&plans.step, &evaluation, &lens.plan] {
            plan.compile(gpu, |done, _| tell(before + done, all)).await.map_err(say)?;
            before += plan.len();
        }
        tell(all, all);
        model.load(gpu, &start);
        Ok(Self {
            architecture,
            classes,
            drawn: train.is_drawn(),
            resize_crop,
            train: train.images(),
            val: val.images(),
            settings,
            drawing_seed,
            counters: start.counters,
            initial,
            epochs_before,
            model,
            optimizer: Cell::new(optimizer),
            plans: RefCell::new(Rc::new(plans)),
            evaluation,
            lens,
            changes: RefCell::default(),
            explainer: RefCell::default(),
            place: RefCell::default(),
            room: Cell::default(),
            gpu,
        })
    }

    /// Trains for `steps` steps, but no new one once `budget_ms` have passed. Where `timed`, the two halves of the first step are timed
    /// by themselves. Returns JSON: `{step, epoch, progress, images, seconds, loss, accuracy, broken, forward_ms, backward_ms}`; loss and accuracy are those of
    /// these steps' images, in training mode.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn train(&self, lr: f64, steps: u32, budget_ms: f64, timed: bool) -> Result<String, JsError> {
        let (gpu, model, seed) = (self.gpu, &self.model, self.drawing_seed);
        let plans = self.plans.borrow().clone();
        let optimizer = self.optimizer.get();
        let started = now();
        let (mut forward_ms, mut backward_ms) = (None, None);
        let mut in_flight = VecDeque::new();
        model.clear_metrics(gpu);
        for taken in 0..steps {
            if taken > 0 && now() - started >= budget_ms {
                break;
            }
            let (batch, step) = self.next_batch();
            model.set_batch(gpu, &batch.images, &batch.labels);
            // Adam's correction counts from where its memory was empty.
            let number = step - self.place.borrow().emptied;
            model.set_step(gpu, &optimizer, lr, batch.indices.len(), seed, number);
            if timed && taken == 0 {
                gpu.done().await.map_err(say)?;
                let before = now();
                plans.forward.submit(gpu).map_err(say)?;
                gpu.done().await.map_err(say)?;
                let between = now();
                plans.backward.submit(gpu).map_err(say)?;
                gpu.done().await.map_err(say)?;
                (forward_ms, backward_ms) = (Some(between - before), Some(now() - between));
            } else {
                plans.step.submit(gpu).map_err(say)?;
                in_flight.push_back(gpu.done());
            }
            if in_flight.len() > STEPS_AHEAD {
                in_flight.pop_front().expect("it is not empty").await.map_err(say)?;
            }
            self.room.set(batch.images);
        }
        let metrics = model.metrics(gpu).await.map_err(say)?;
        let place = self.place.borrow();
        Ok(json(&Steps {
            step: place.steps,
            epoch: place.epoch,
            progress: place.seen as f64 / place.order.len() as f64,
            images: metrics.seen,
            seconds: (now() - started) / 1e3,
            loss: metrics.loss(),
            accuracy: metrics.accuracy(),
            broken: metrics.broken > 0,
            forward_ms,
            backward_ms,
        }))
    }

    /// Judges the network on the first `most` validation images, in evaluation mode. Returns JSON: `{images, loss, accuracy, interval, baseline,
    /// standing}`; the interval is Wilson's at 95 %, the baseline what always naming the commonest class gets right, the standing "better" or
    /// "not_shown".
    ///
    /// # Errors
    /// When the device failed.
    pub async fn evaluate(&self, most: usize) -> Result<String, JsError> {
        let (gpu, model) = (self.gpu, &self.model);
        model.clear_metrics(gpu);
        let order: Vec<usize> = (0..self.val.len().min(most)).collect();
        for indices in order.chunks(self.settings.batch) {
            self.judge(indices)?;
            gpu.done().await.map_err(say)?;
        }
        let metrics = model.metrics(gpu).await.map_err(say)?;
        let standing = self.standing(metrics.correct as usize, order.len());
        Ok(json(&Scores {
            images: metrics.seen,
            loss: metrics.loss(),
            accuracy: metrics.accuracy(),
            interval: standing.interval(),
            baseline: standing.baseline().unwrap_or(0.0),
            standing: standing.verdict(),
        }))
    }

    /// The probability of each class for these validation images, image by image.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn predict(&self, indices: Vec<usize>) -> Result<Vec<f32>, JsError> {
        let (gpu, model, classes) = (self.gpu, &self.model, self.classes.len());
        let mut found = Vec::with_capacity(indices.len() * classes);
        for indices in indices.chunks(self.settings.batch) {
            self.judge(indices)?;
            let rows: Vec<f32> = model.logits().first(indices.len() * padded(classes)).read(gpu).await.map_err(say)?;
            for row in rows.chunks(padded(classes)) {
                found.extend(probabilities(&row[..classes]).iter().map(|&probability| probability as f32));
            }
        }
        Ok(found)
    }

    /// Runs one image, red, green, blue row by row, through the network as it is now, in evaluation mode, forward and back from the loss of
    /// this label. Returns JSON: `{logits, exponentials, probabilities}`, the exponentials being those of the logits less the largest; `values`, `gradients`, `tensor` and `tensor_gradient` then have the rest.
    ///
    /// # Errors
    /// When the device failed, or the image has another size.
    pub async fn look(&self, rgb: &[u8], label: u32) -> Result<String, JsError> {
        let (gpu, lens) = (self.gpu, &self.lens);
        let mut image = self.tensor_of(rgb)?;
        self.model.network().normalize().apply(&mut image);
        self.read_weights().await?;
        lens.looked.replace(lens.weights.borrow().clone());
        lens.model.set_batch(gpu, &image, &[label]);
        lens.plan.submit(gpu).map_err(say)?;
        let classes = self.classes.len();
        let mut logits: Vec<f32> = lens.model.logits().read(gpu).await.map_err(say)?;
        logits.truncate(classes);
        let largest = logits[argmax(&logits)];
        let exponentials = logits.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
        Ok(json(&Look { exponentials, probabilities: probabilities(&logits), logits }))
    }

    /// What a layer made of the image that was looked at, (C, H, W); value 0 is the image itself.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn values(&self, value: Value) -> Result<Vec<f32>, JsError> {
        let model = &self.lens.model;
        model.read_maps(self.gpu, model.value(Mode::Eval, value), value, 1).await.map_err(say)
    }

    /// The derivative of the loss by the same.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn gradients(&self, value: Value) -> Result<Vec<f32>, JsError> {
        let model = &self.lens.model;
        model.read_maps(self.gpu, model.gradient(Mode::Eval, value), value, 1).await.map_err(say)
    }

    /// A trained tensor as it was when last looked at, in PyTorch's layout; empty where nothing has that key.
    pub fn tensor(&self, key: &str) -> Vec<f32> {
        self.lens.looked.borrow().tensors.get(key).cloned().unwrap_or_default()
    }

    /// The derivative of the loss of the last training batch by it, in the same layout.
    pub fn tensor_gradient(&self, key: &str) -> Vec<f32> {
        let gradients = self.lens.gradients.borrow();
        gradients.iter().find(|(name, _)| name == key).map(|(_, values)| values.clone()).unwrap_or_default()
    }

    /// What each input channel adds to a channel of a convolution's output, `value`, for the image that was looked at.
    ///
    /// # Errors
    /// When that is no convolution's, there is no such channel, or the device failed.
    pub async fn terms(&self, value: Value, channel: usize) -> Result<Terms, JsError> {
        let input = self.input_of(value).await?;
        let weights = self.lens.looked.borrow();
        let filter = self.filter(&weights, value, channel)?;
        let (maps, filters, bias) = (filter.terms(&input), filter.weights.to_vec(), filter.bias);
        Ok(Terms { inputs: filter.inputs.collect(), filters, maps, bias })
    }

    /// What one number of the same output adds up, as JSON: `{inputs, kernel, start, values, weights, products, sums, bias, sum, output}`. Values,
    /// weights and products are (inputs, K, K); the sums are those of the input channels; the output is what the device found.
    ///
    /// # Errors
    /// As `terms`, and when there is no such place.
    pub async fn cell(&self, value: Value, channel: usize, row: usize, column: usize) -> Result<String, JsError> {
        let input = self.input_of(value).await?;
        let output = self.values(value).await?;
        let weights = self.lens.looked.borrow();
        let filter = self.filter(&weights, value, channel)?;
        let [_, height, width] = self.node(value)?.output;
        let map = &output[channel * height * width..][..height * width];
        let cell: Option<FilterCell> = filter.cell(&input, [row, column], map);
        cell.map(|cell| json(&cell)).ok_or_else(|| say(format!("the map has no row {row} and column {column}")))
    }

    /// Factor and offset of a channel of a batch norm, whose output is `value`, in evaluation.
    ///
    /// # Errors
    /// When that is no batch norm's, or there is no such channel.
    pub fn affine(&self, value: Value, channel: usize) -> Result<Vec<f64>, JsError> {
        let found = affine(self.node(value)?, &self.lens.looked.borrow(), channel);
        found.map(Vec::from).ok_or_else(|| say(format!("value {value} has no channel {channel} of a batch norm")))
    }

    /// Whether single channels of a value can be switched off.
    pub fn can_switch_off(&self, value: Value) -> bool {
        can_switch_off(self.model.network(), value)
    }

    /// What is looked at and explained is from now on the network with these changes; training goes on with its own weights. `changes` is JSON:
    /// `{off: [[value, channel], ..], initial: [block, ..]}`: channels that are 0, and blocks, counted from 0, whose weights are the
    /// untrained ones of the seed.
    ///
    /// # Errors
    /// When there is no such channel or block.
    pub fn set_changes(&self, changes: &str) -> Result<(), JsError> {
        let changes: Changes = serde_json::from_str(changes).map_err(say)?;
        let network = self.model.network();
        for &(value, channel) in &changes.off {
            if !can_switch_off(network, value) || channel >= self.node(value)?.output[0] {
                return Err(say(format!("channel {channel} of value {value} cannot be switched off")));
            }
        }
        if let Some(block) = changes.initial.iter().find(|&&block| block >= network.blocks().len()) {
            return Err(say(format!("there is no block {block}")));
        }
        self.changes.replace(changes);
        self.lens.at.set(u32::MAX);
        Ok(())
    }

    /// What the changes of now cost on the first `most` validation images. Returns JSON: `{images, before, after, drop, low, high, verdict, conclusive}`:
    /// accuracies, the loss in percentage points with its 95 % interval, what follows, "in_use", "not_missed" or "undecided", and whether the
    /// network without the changes was shown to do better than guessing. Where blocks went back, both networks have running statistics that
    /// were estimated anew, and the one without the changes must do better than guessing with its own, too.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn judge_changes(&self, most: usize) -> Result<String, JsError> {
        let lens = self.explainer().await?;
        let images = self.val.len().min(most);
        let changed = self.scores(&lens, images).await?;
        let trained = self.lens.trained.borrow().clone();
        lens.load(&trained);
        let mut kept = self.scores(&lens, images).await?;
        let right = |scores: &[f64]| scores.iter().sum::<f64>();
        let better = |scores: &[f64]| self.standing(right(scores) as usize, images).verdict() == Verdict::Better;
        let mut conclusive = better(&kept);
        if !self.changes.borrow().initial.is_empty() {
            lens.load(&self.with_statistics(&lens, &trained).await?);
            kept = self.scores(&lens, images).await?;
            conclusive &= better(&kept);
        }
        let loss = Loss::new(&kept, &changed);
        Ok(json(&Judged {
            images,
            before: right(&kept) / images as f64,
            after: right(&changed) / images as f64,
            verdict: ResetVerdict::of((loss.low, loss.high), conclusive),
            loss,
            conclusive,
        }))
    }

    /// What in an image, red, green, blue row by row, decides between the predicted class and the runner-up, by a method: "gradient",
    /// "smooth_grad", "integrated_gradients", "gradient_times_input", "occlusion", or of the last block "hi_res_cam", "grad_cam" or "layer_cam";
    /// what the same method finds in a network with random weights; and what the decision is made of.
    ///
    /// # Errors
    /// When there is no such method, the device failed, or the image has another size.
    pub async fn explain(&self, rgb: &[u8], method: &str) -> Result<Explanation, JsError> {
        let image = self.tensor_of(rgb)?;
        let network = self.model.network();
        let block = network.blocks().len() - 1;
        let method = match method {
            "gradient" => Method::Gradient,
            "smooth_grad" => Method::SmoothGrad,
            "integrated_gradients" => Method::IntegratedGradients,
            "gradient_times_input" => Method::GradientTimesInput,
            "occlusion" => Method::Occlusion,
            "hi_res_cam" => Method::HiResCam { block },
            "grad_cam" => Method::GradCam { block },
            "layer_cam" => Method::LayerCam { block },
            _ => return Err(say(format!("{method}: there is no such method"))),
        };
        let lens = self.explainer().await?;
        let (question, inside) = lens.inside(&image, |logits| Question::of(logits, None)).await.map_err(say)?;
        let ledger = Ledger::of(&lens, &self.lens.weights.borrow(), question, &inside);
        let map = method.map(&lens, &image, &inside, question).await.map_err(say)?;
        lens.load(&Weights::initial(network, self.settings.seed + 1));
        let (_, untrained) = lens.inside(&image, |_| question).await.map_err(say)?;
        let control = method.map(&lens, &image, &untrained, question).await.map_err(say)?;
        let [_, height, width] = network.input();
        let shown = [&map, &control].map(|map| match method.block() {
            Some(block) => map.enlarged(&network.blocks()[block], [height, width]).values,
            None => map.values.clone(),
        });
        let similarity = similarity(&map.values, &control.values);
        let Question { target, against } = question;
        let found = json(&Found {
            target,
            against,
            evidence: &ledger.evidence,
            ledger: &ledger,
            signed: map.signed,
            similarity,
            dependence: Dependence::new(map.values.len(), map.is_constant(), control.is_constant(), similarity),
        });
        let [map, control] = shown;
        Ok(Explanation { found, map, control })
    }

    /// Goes on with another optimiser, whose memory starts empty. `optimizer` is JSON as in `create`.
    ///
    /// # Errors
    /// When it is none.
    pub fn set_optimizer(&self, optimizer: &str) -> Result<(), JsError> {
        let settings: OptimizerSettings = serde_json::from_str(optimizer).map_err(say)?;
        let optimizer = settings.into();
        self.model.clear_moments(self.gpu);
        let mut place = self.place.borrow_mut();
        place.emptied = place.steps;
        self.optimizer.set(optimizer);
        self.plans.replace(Rc::new(Plans::new(self.gpu, &self.model, &optimizer)));
        Ok(())
    }

    /// The network as a safetensors file, which the command line and PyTorch read.
    ///
    /// # Errors
    /// When the device failed, or a weight is not finite.
    pub async fn save(&self) -> Result<Vec<u8>, JsError> {
        let (steps, epoch) = (self.place.borrow().steps, self.place.borrow().epoch);
        let mut weights = self.model.weights(self.gpu, steps.into()).await.map_err(say)?;
        if !weights.tensors.values().flatten().all(|number| number.is_finite()) {
            return Err(say("the weights are no longer numbers: lower the learning rate and reset"));
        }
        for (name, count) in &mut weights.counters {
            *count += self.counters.get(name).copied().unwrap_or_default();
        }
        let preparation = self.model.network().preparation();
        // What has learned here has learned from these images.
        let resize_crop = if steps == 0 { preparation.resize_crop } else { self.resize_crop };
        let preparation = Preparation { resize_crop, ..preparation };
        let meta = Meta {
            architecture: self.architecture.clone(),
            classes: self.classes.clone(),
            preparation,
            epoch: self.epochs_before + epoch as usize,
            drawn: self.drawn,
            made_by: None,
            val_loss: None,
        };
        Ok(Checkpoint { meta, network: self.model.network().clone().prepared(preparation), weights }.to_bytes())
    }
}

impl Session {
    /// The next batch of training images, and the number of its step.
    fn next_batch(&self) -> (Batch, u32) {
        let (Settings { batch, augment, .. }, seed) = (self.settings, self.drawing_seed);
        let mut place = self.place.borrow_mut();
        if place.seen == place.order.len() {
            place.epoch += 1;
            let least = self.model.network().least_batch();
            place.order = shuffled_for_batches(self.train.len(), seed, place.epoch, batch, least);
            place.seen = 0;
        }
        let augment = AugmentOptions { flip: augment, ..AugmentOptions::default() };
        let augmentation = Some(EpochChanges { augment, seed, epoch: place.epoch });
        let indices = &place.order[place.seen..place.order.len().min(place.seen + batch)];
        let made =
            Batch::new(&*self.train, indices, batch, augmentation, self.model.network().normalize(), self.room.take());
        place.seen += made.indices.len();
        place.steps += 1;
        (made, place.steps)
    }

    fn tensor_of(&self, rgb: &[u8]) -> Result<Vec<f32>, JsError> {
        let [_, height, width] = self.model.network().input();
        if rgb.len() != 3 * height * width {
            return Err(say(format!("{} bytes are no image of {width} x {height}", rgb.len())));
        }
        Ok(pixels::tensor(rgb))
    }

    /// Brings the lens's weights to where training is, with the changes.
    async fn read_weights(&self) -> Result<(), JsError> {
        let lens = &self.lens;
        let steps = self.place.borrow().steps;
        if lens.at.get() == steps {
            return Ok(());
        }
        let trained = self.model.weights(self.gpu, steps.into()).await.map_err(say)?;
        let gradients = self.model.weight_gradients(self.gpu).await.map_err(say)?;
        let (changes, network) = (self.changes.borrow().clone(), self.model.network());
        let mut weights = trained.clone();
        for &block in &changes.initial {
            weights = reset(network, &weights, &self.initial, block);
        }
        if !changes.initial.is_empty() {
            weights = self.with_statistics(&*self.made_explainer().await?, &weights).await?;
        }
        for &(value, channel) in &changes.off {
            switch_off(network, &mut weights, value, channel);
        }
        lens.model.load(self.gpu, &weights);
        lens.trained.replace(Rc::new(trained));
        lens.weights.replace(Rc::new(weights));
        lens.gradients.replace(gradients);
        lens.at.set(steps);
        Ok(())
    }

    /// The weights with running statistics estimated anew on training images.
    async fn with_statistics(&self, lens: &explain::Lens<'static>, weights: &Weights) -> Result<Weights, JsError> {
        let order = shuffled(self.train.len(), self.settings.seed, 0);
        let fill = |number: usize, place: &mut [f32]| self.fill(&*self.train, order[number % order.len()], place);
        with_own_statistics(lens, weights, fill, self.settings.seed).await.map_err(say)
    }

    /// Fills in an image as a lens takes it.
    fn fill(&self, images: &dyn Images, index: usize, place: &mut [f32]) {
        let pixels = images.pixels(index).expect("images of a page are in memory");
        pixels::to_tensor(&pixels, false, place);
    }

    /// Whether a lens's network is right on each of the first validation images: 1 or 0.
    async fn scores(&self, lens: &explain::Lens<'static>, images: usize) -> Result<Vec<f64>, JsError> {
        let logits = lens.logits(images, |index, place| self.fill(&*self.val, index, place)).await.map_err(say)?;
        let right = |(index, logits): (usize, &Vec<f32>)| argmax(logits) == self.val.label(index) as usize;
        Ok(logits.iter().enumerate().map(|scored| f64::from(right(scored))).collect())
    }

    /// How one does who gets so many of the first validation images right.
    fn standing(&self, right: usize, images: usize) -> Standing {
        let first = Subset::new(&*self.val, (0..images).collect());
        let commonest = of_class(&first, self.classes.len()).into_iter().max();
        Standing { right, images, commonest, epochs: 1 }
    }

    fn node(&self, value: Value) -> Result<&Node, JsError> {
        let node = value.checked_sub(1).and_then(|number| self.model.network().nodes().get(number));
        node.ok_or_else(|| say(format!("there is no layer that makes value {value}")))
    }

    /// What a layer got of the image that was looked at.
    async fn input_of(&self, value: Value) -> Result<Vec<f32>, JsError> {
        self.values(self.node(value)?.inputs[0]).await
    }

    fn filter<'a>(&self, weights: &'a Weights, value: Value, channel: usize) -> Result<Filter<'a>, JsError> {
        let filter = Filter::new(self.node(value)?, weights, channel);
        filter.ok_or_else(|| say(format!("value {value} has no channel {channel} of a convolution")))
    }

    /// The network that is looked into, for many images.
    async fn explainer(&self) -> Result<Rc<explain::Lens<'static>>, JsError> {
        self.read_weights().await?;
        let lens = self.made_explainer().await?;
        lens.load(&self.lens.weights.borrow());
        Ok(lens)
    }

    /// The same with whatever weights.
    async fn made_explainer(&self) -> Result<Rc<explain::Lens<'static>>, JsError> {
        let made = self.explainer.borrow().clone();
        if let Some(lens) = made {
            return Ok(lens);
        }
        let lens = explain::Lens::new(self.gpu, self.model.network(), EXPLAINED_AT_ONCE, |_, _| {});
        let lens = Rc::new(lens.await.map_err(say)?);
        self.explainer.replace(Some(lens.clone()));
        Ok(lens)
    }

    /// Runs validation images through the network in evaluation mode: at most a batch of them.
    fn judge(&self, indices: &[usize]) -> Result<(), JsError> {
        let normalize = self.model.network().normalize();
        let batch = Batch::new(&*self.val, indices, self.settings.batch, None, normalize, self.room.take());
        self.model.set_batch(self.gpu, &batch.images, &batch.labels);
        self.model.set_live(self.gpu, indices.len());
        self.room.set(batch.images);
        self.evaluation.submit(self.gpu).map_err(say)?;
        Ok(())
    }
}

impl Plans {
    fn new(gpu: &Gpu, model: &Model, optimizer: &Optimizer) -> Self {
        let mut backward = model.loss(gpu);
        backward.extend(model.backward(gpu, Mode::Train, false));
        backward.extend(model.update(gpu, optimizer));
        Self { step: model.training_step(gpu, optimizer), forward: model.forward(gpu, Mode::Train), backward }
    }
}

fn evaluation(gpu: &Gpu, model: &Model) -> Plan {
    let mut plan = model.forward(gpu, Mode::Eval);
    plan.extend(model.loss(gpu));
    plan
}

impl Lens {
    async fn new(gpu: &Gpu, network: &Network) -> Result<Self, JsError> {
        let model = Model::new(gpu, network, 1, Keep::Everything).map_err(say)?;
        model.set_live(gpu, 1);
        let mut plan = evaluation(gpu, &model);
        gpu.done().await.map_err(say)?;
        plan.extend(model.backward(gpu, Mode::Eval, true));
        Ok(Self {
            model,
            plan,
            at: Cell::new(u32::MAX),
            trained: RefCell::default(),
            weights: RefCell::default(),
            looked: RefCell::default(),
            gradients: RefCell::default(),
        })
    }
}
