//! The network on the device: forward a line a stage, backward its mirror.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fuse::{Kind, Stage, stages};
use super::layer::{Build, Layer, Statistics, Trained};
use super::network::{Network, Node, Parameter, Value};
use super::optimizer::Optimizer;
use crate::gpu::{Gpu, GpuError, Plan, Tensor};
use crate::nn::checkpoint::Weights;
use crate::nn::layout::{padded, unpack_images};
use crate::ops::relu::Rule;
use crate::ops::together::{self, Sums};
use crate::ops::{Step, adam, add, clip, cross_entropy, sgd};

/// How the network runs: in training, batch norm uses the batch's statistics and dropout drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For learning.
    Train,
    /// For judging and looking.
    Eval,
}

/// What a model keeps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// What training needs: batch norm, ReLU and dropout are one kernel.
    Needed,
    /// What every layer makes of it, each layer a kernel: for looking inside.
    Everything,
}

/// What a training step does otherwise than the plain one, which is the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOptions {
    /// The share of each target that is spread evenly over all classes.
    pub label_smoothing: f64,
    /// A weight for each class, where not all weigh the same.
    pub class_weights: Option<Vec<f32>>,
    /// The largest norm of the gradient that is left as it is.
    pub clip_grad_norm: Option<f32>,
}

/// Loss and accuracy summed up on the device since they were last cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Sum of the losses.
    pub loss_sum: f64,
    /// Images whose largest logit was their label's.
    pub correct: u32,
    /// Images.
    pub seen: u32,
    /// Images whose loss was not finite. From the first on, no step has moved a weight.
    pub broken: u32,
}

impl Metrics {
    /// Mean loss of an image.
    pub fn loss(&self) -> f64 {
        self.loss_sum / f64::from(self.seen)
    }

    /// Share of correct images, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        f64::from(self.correct) / f64::from(self.seen)
    }
}

/// A network on a device, with buffers for batches of one size.
///
/// Its methods make [`Plan`]s; a training step is
/// `forward(Train)`, `loss()`, `backward(Train, false)` and `update(..)` one after the other.
///
/// What a layer makes of a batch is a tensor (batch, H, W, padded C) for maps and (batch, padded C) for vectors; the gradient of
/// the loss by it has the same form.
pub struct Model {
    network: Network,
    batch: usize,
    stages: Vec<Stage>,
    bound: Vec<Bound>,
    /// Of each value, whose tensor holds it in training, and in evaluation.
    homes: [Vec<Value>; 2],
    /// What the last frozen block makes: everything up to it runs as in evaluation and learns nothing. 0 where nothing is frozen.
    frozen: Value,
    /// At each home, what it holds, and its gradient.
    values: Vec<Option<Tensor>>,
    gradients: Vec<Option<Tensor>>,
    cross_entropy: cross_entropy::Shape,

    parameters: Vec<Parameter>,
    trained: Vec<Trained>,
    all_values: Tensor,
    all_gradients: Tensor,
    /// The optimiser's memory: two numbers for each weight.
    moments: [Tensor; 2],
    all_statistics: Tensor,
    /// Partial sums that no layer's kernels outlive.
    partials: Tensor,
    /// Parts of the weights' gradients.
    gradient_parts: Tensor,
    /// The weights that the backward pass reads transposed.
    all_transposed: Tensor,

    step: Tensor,
    labels: Tensor,
    losses: Tensor,
    correct: Tensor,
    loss_sum: Tensor,
    counts: Tensor,
}

/// The tensors of a stage, beside what it gets and makes.
struct Bound {
    /// Its weights, among all.
    trained: std::ops::Range<usize>,
    statistics: Option<Statistics>,
    kept: Option<Tensor>,
    /// Its transposed weight.
    transposed: Option<Tensor>,
    /// Its part of the gradient of what it gets, where others have a part in it too.
    part: Option<Tensor>,
}

impl Model {
    /// Allocates a network for batches of up to `batch` images. Its weights are zero until [`Model::load`].
    /// What it keeps changes its speed, not its results, but for rounding.
    ///
    /// # Errors
    /// When a tensor exceeds what the device can bind.
    ///
    /// # Panics
    /// When `batch` is not within 1 to 60,000.
    pub fn new(gpu: &Gpu, network: &Network, batch: usize, keep: Keep) -> Result<Self, GpuError> {
        assert!((1..=60_000).contains(&batch), "a batch of {batch} images");
        let stages = stages(gpu, network, batch, keep);
        let homes = homes(&stages, network.nodes().len());
        let [in_training, _] = &homes;
        let len = |value: Value| {
            let [channels, height, width] = network.shape(value);
            batch * height * width * padded(channels)
        };

        // What is too large is refused before anything is allocated.
        Tensor::check(gpu, "the images of a batch", len(0))?;
        for stage in &stages {
            Tensor::check(gpu, &format!("the maps of {}", stage.place), len(stage.output))?;
        }
        let parameters = network.parameters();
        let sizes: Vec<_> =
            parameters.iter().map(|parameter| (parameter.name.clone(), parameter.layout.packed_len())).collect();
        Tensor::check(gpu, "the weights", sizes.iter().map(|(_, len)| len).sum())?;
        // One piece of memory serves all partial sums but those of weights' gradients: none outlives the kernel after it.
        let layers = || stages.iter().filter_map(Stage::layer);
        let partials = layers().map(|layer| layer.partial_len()).max().unwrap_or(0);
        let parts: Vec<_> = layers().flat_map(|layer| layer.parts()).map(|parts| parts.partial_len()).collect();
        let gradient_parts = Sums::room_for(gpu, &parts);
        Tensor::check(gpu, "the partial sums", partials.max(gradient_parts))?;
        let transposes = |stage: &Stage| Some((stage.place.clone(), stage.layer()?.transposes()?.weight_len()));
        let sizes_transposed: Vec<_> = stages.iter().filter_map(transposes).collect();

        // Each part of a value's gradient: what each stage that gets it passes back.
        let mut parts = vec![Vec::new(); network.nodes().len() + 1];
        for (number, stage) in stages.iter().enumerate().filter(|(_, stage)| !matches!(stage.kind, Kind::View)) {
            stage.inputs.iter().for_each(|&input| parts[in_training[input]].push(number));
        }
        let is_sum = |stage: usize| matches!(stages[stage].kind, Kind::Add);
        let mut values: Vec<Option<Tensor>> = vec![None; parts.len()];
        let mut gradients = values.clone();
        let made = stages.iter().map(|stage| (stage.output, stage.place.as_str()));
        for (value, place) in
            std::iter::once((0, "the images")).chain(made).filter(|&(value, _)| in_training[value] == value)
        {
            values[value] = Some(Tensor::new(gpu, &format!("values of {place}"), len(value))?);
            // A sum passes its own gradient on: what it alone gets needs none.
            if !matches!(parts[value][..], [only] if is_sum(only)) {
                gradients[value] = Some(Tensor::new(gpu, &format!("gradients of {place}"), len(value))?);
            }
        }

        let (all_transposed, transposed) = Tensor::arena(gpu, "transposed weights", &sizes_transposed)?;
        let mut transposed = transposed.into_iter();
        let (all_values, weights) = Tensor::arena(gpu, "weights", &sizes)?;
        let (all_gradients, weight_gradients) = Tensor::arena(gpu, "weight gradients", &sizes)?;
        let moments = [
            Tensor::new(gpu, "first moments", all_values.len())?,
            Tensor::new(gpu, "second moments", all_values.len())?,
        ];
        let trained: Vec<_> =
            weights.into_iter().zip(weight_gradients).map(|(value, gradient)| Trained { value, gradient }).collect();

        let names = ["running_mean", "running_var", "batch mean", "batch variance"];
        let sizes: Vec<_> = network
            .nodes()
            .iter()
            .filter(|node| !node.statistics().is_empty())
            .flat_map(|node| names.map(|name| (name.to_string(), padded(node.output[0]))))
            .collect();
        let (all_statistics, statistics) = Tensor::arena(gpu, "batch norm", &sizes)?;
        let mut statistics = statistics.into_iter();

        let mut bound = Vec::with_capacity(stages.len());
        let mut first = 0;
        for (number, stage) in stages.iter().enumerate() {
            let nodes = &network.nodes()[stage.nodes[0]..=stage.nodes[1]];
            let after = first + nodes.iter().map(|node| node.parameters().len()).sum::<usize>();
            let normalises = nodes.iter().any(|node| !node.statistics().is_empty());
            let mut next = || statistics.next().expect("every batch norm has four");
            let statistics = normalises.then(|| Statistics {
                running_mean: next(),
                running_variance: next(),
                batch_mean: next(),
                batch_variance: next(),
            });
            let kept = stage.layer().map_or(0, |layer| layer.kept_len());
            let kept = (kept > 0).then(|| Tensor::new(gpu, &format!("kept of {}", stage.place), kept)).transpose()?;
            let input = in_training[stage.inputs[0]];
            let shared = stage.layer().is_some() && parts[input].iter().any(|&other| other != number);
            let part = shared.then(|| Tensor::new(gpu, &format!("part of {}", stage.place), len(input))).transpose()?;
            let transposed = transposes(stage).and_then(|_| transposed.next());
            bound.push(Bound { trained: first..after, statistics, kept, transposed, part });
            first = after;
        }

        Ok(Self {
            partials: Tensor::new(gpu, "partial sums", partials)?,
            gradient_parts: Tensor::new(gpu, "parts of weight gradients", gradient_parts)?,
            cross_entropy: cross_entropy::Shape::new(batch, network.classes()),
            step: Tensor::uniform(gpu, "step", size_of::<Step>() / 4)?,
            labels: Tensor::new(gpu, "labels", batch)?,
            losses: Tensor::new(gpu, "losses", batch)?,
            correct: Tensor::new(gpu, "correct", batch)?,
            loss_sum: Tensor::new(gpu, "loss sum", 1)?,
            counts: Tensor::new(gpu, "counts", 4)?,
            network: network.clone(),
            batch,
            stages,
            bound,
            homes,
            frozen: 0,
            values,
            gradients,
            parameters,
            trained,
            all_values,
            all_gradients,
            moments,
            all_statistics,
            all_transposed,
        })
    }

    /// The same, with the first `blocks` blocks, and what stands before them, as they are: training moves neither their weights nor
    /// their running statistics, and no dropout drops there.
    ///
    /// # Panics
    /// When the network has fewer blocks.
    pub fn with_frozen(self, blocks: usize) -> Self {
        let frozen = if blocks == 0 { 0 } else { self.network.blocks()[blocks - 1].value };
        Self { frozen, ..self }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The most images in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Where a value lies after [`Model::forward`] in this mode.
    ///
    /// # Panics
    /// When the model does not keep it ([`Keep`]).
    pub fn value(&self, mode: Mode, value: Value) -> &Tensor {
        self.kept(mode, value).unwrap_or_else(|| panic!("value {value} is not kept"))
    }

    /// The same, if the model keeps it.
    pub fn kept(&self, mode: Mode, value: Value) -> Option<&Tensor> {
        self.values[self.home(mode, value)].as_ref()
    }

    /// Where the gradient by a value lies after [`Model::backward`] in this mode.
    ///
    /// # Panics
    /// When the model does not keep it ([`Keep`]).
    pub fn gradient(&self, mode: Mode, value: Value) -> &Tensor {
        let home = self.home(mode, value);
        let summand = |stage: &&Stage| {
            matches!(stage.kind, Kind::Add) && stage.inputs.iter().any(|&input| self.home(mode, input) == home)
        };
        match (&self.gradients[home], self.stages.iter().find(summand)) {
            (Some(gradient), _) => gradient,
            // What only a sum gets has the sum's gradient.
            (None, Some(sum)) if self.values[home].is_some() => self.gradient(mode, sum.output),
            _ => panic!("gradient {value} is not kept"),
        }
    }

    /// Reads what a tensor holds of a value, its numbers or their gradients, for the first images of the batch: (N, C, H, W).
    ///
    /// # Errors
    /// When the device failed.
    pub async fn read_maps(
        &self,
        gpu: &Gpu,
        tensor: &Tensor,
        value: Value,
        images: usize,
    ) -> Result<Vec<f32>, GpuError> {
        let [channels, height, width] = self.network.shape(value);
        let pixels = height * width;
        let packed: Vec<f32> = tensor.first(images * pixels * padded(channels)).read(gpu).await?;
        Ok(unpack_images(&packed, images, channels, pixels))
    }

    /// The images.
    pub fn images(&self) -> &Tensor {
        self.value(Mode::Eval, 0)
    }

    /// The logits, in any mode.
    pub fn logits(&self) -> &Tensor {
        self.value(Mode::Eval, self.network.logits())
    }

    /// The gradient by the logits, in any mode.
    pub fn logit_gradients(&self) -> &Tensor {
        self.gradient(Mode::Eval, self.network.logits())
    }

    fn home(&self, mode: Mode, value: Value) -> Value {
        self.homes[usize::from(self.mode_at(mode, value) == Mode::Eval)][value]
    }

    /// How what makes a value runs.
    fn mode_at(&self, mode: Mode, value: Value) -> Mode {
        if value <= self.frozen { Mode::Eval } else { mode }
    }

    /// From the images to the logits.
    pub fn forward(&self, gpu: &Gpu, mode: Mode) -> Plan {
        self.forward_from(gpu, mode, 0)
    }

    /// From a value to the logits, for asking what would follow if it were another, which is to be written before. Nothing
    /// behind it may depend on what is before it: so it is with what a block makes.
    pub fn forward_from(&self, gpu: &Gpu, mode: Mode, from: Value) -> Plan {
        let mut plan = Plan::new();
        let sums = &mut self.sums();
        let acts = |stage: &Stage| stage.output > from && !self.passes(mode, stage);
        for (stage, bound) in self.stages.iter().zip(&self.bound).filter(|(stage, _)| acts(stage)) {
            let [x, y] = [stage.inputs[0], stage.output].map(|value| self.value(mode, value));
            match stage.layer() {
                Some(layer) => {
                    layer.forward(&mut self.build(gpu, &mut plan, sums, mode, Rule::Gradient, stage, bound), x, y)
                }
                None => add_up(gpu, &mut plan, &stage.place, [x, self.value(mode, stage.inputs[1])], y),
            }
        }
        plan
    }

    /// The loss of each image, added to the metrics, and its gradient by the logits.
    pub fn loss(&self, gpu: &Gpu) -> Plan {
        let mut plan = Plan::new();
        let Self { cross_entropy: shape, step, labels, losses: loss, correct, .. } = self;
        let (shape, logits, dlogits) = (*shape, self.logits(), self.logit_gradients());
        let kernel = cross_entropy::ForwardBackward { shape, step, logits, labels, loss, correct, dlogits };
        plan.add(gpu, "loss", &kernel);
        self.accumulate(gpu, &mut plan);
        plan
    }

    /// Adds each image's loss to the metrics.
    fn accumulate(&self, gpu: &Gpu, plan: &mut Plan) {
        let Self { cross_entropy: shape, step, losses, correct: hits, loss_sum, counts, .. } = self;
        plan.add(gpu, "loss", &cross_entropy::Accumulate { shape: *shape, step, losses, hits, loss_sum, counts });
    }

    /// The same as [`Model::loss`], with the gradient of the loss that these options describe. What is measured stays the plain loss.
    fn loss_with(&self, gpu: &Gpu, options: &StepOptions) -> Result<Plan, GpuError> {
        let StepOptions { label_smoothing, class_weights, .. } = options;
        if *label_smoothing == 0.0 && class_weights.is_none() {
            return Ok(self.loss(gpu));
        }
        let weights = class_weights.clone().unwrap_or_else(|| vec![1.0; self.network.classes()]);
        let shape = self.cross_entropy.with_targets(*label_smoothing, &weights);
        let weights = &Tensor::from_slice(gpu, "class weights", &weights)?;
        let mut plan = Plan::new();
        let Self { step, labels, losses: loss, correct, .. } = self;
        let (logits, dlogits) = (self.logits(), self.logit_gradients());
        let kernel =
            cross_entropy::ForwardBackwardWeighted { shape, step, logits, labels, weights, loss, correct, dlogits };
        plan.add(gpu, "loss", &kernel);
        self.accumulate(gpu, &mut plan);
        Ok(plan)
    }

    /// From the gradient by the logits back to those by all weights (training) and by the images (`to_images`).
    pub fn backward(&self, gpu: &Gpu, mode: Mode, to_images: bool) -> Plan {
        self.backward_by(gpu, mode, self.network.logits(), to_images, Rule::Gradient)
    }

    /// In evaluation, from the gradient by the logits back to the images, with another rule for ReLU: what results is no
    /// gradient.
    pub fn backward_ruled(&self, gpu: &Gpu, rule: Rule) -> Plan {
        self.backward_by(gpu, Mode::Eval, self.network.logits(), true, rule)
    }

    /// In evaluation, back to the images from the gradient by a value, which is to be written before.
    pub fn backward_from(&self, gpu: &Gpu, from: Value) -> Plan {
        self.backward_by(gpu, Mode::Eval, from, true, Rule::Gradient)
    }

    fn backward_by(&self, gpu: &Gpu, mode: Mode, from: Value, to_images: bool, rule: Rule) -> Plan {
        let mut plan = Plan::new();
        let sums = &mut self.sums();
        let mut transposed = Vec::new();
        let learns = |value: Value| mode == Mode::Eval || value > self.frozen;
        // At each home, the parts of its gradient that have been made so far.
        let mut parts: Vec<Vec<&Tensor>> = vec![Vec::new(); self.values.len()];
        parts[self.home(mode, from)].push(self.gradient(mode, from));
        let skipped = |stage: &Stage| stage.output > from || !learns(stage.output) || self.passes(mode, stage);
        for (stage, bound) in self.stages.iter().zip(&self.bound).rev() {
            let output = self.home(mode, stage.output);
            if parts[output].is_empty() || skipped(stage) {
                continue;
            }
            let dy = self.summed(gpu, &mut plan, &stage.place, output, &parts[output]);
            let home = self.home(mode, stage.inputs[0]);
            let Some(layer) = stage.layer() else {
                // Each of the summands has the gradient of the sum.
                stage.inputs.iter().for_each(|&input| parts[self.home(mode, input)].push(dy));
                continue;
            };
            let wanted = if home == 0 { to_images } else { learns(stage.inputs[0]) };
            let dx = wanted.then(|| bound.part.as_ref().unwrap_or_else(|| self.gradient(mode, home)));
            if let (Some(conv), Some(room), Some(_)) = (layer.transposes(), &bound.transposed, dx) {
                transposed.push((conv, &self.trained[bound.trained.start].value, room));
            }
            let mut build = self.build(gpu, &mut plan, sums, mode, rule, stage, bound);
            layer.backward(&mut build, self.value(mode, stage.inputs[0]), dy, dx);
            parts[home].extend(dx);
        }
        if to_images {
            self.summed(gpu, &mut plan, "images", 0, &parts[0]);
        }
        sums.add_up(gpu, &mut plan);
        let mut whole = Plan::new();
        together::transpose(gpu, &mut whole, "all layers", &transposed, &self.all_values, &self.all_transposed);
        whole.extend(plan);
        whole
    }

    fn sums(&self) -> Sums {
        Sums::new(&self.gradient_parts, &self.all_gradients)
    }

    /// The gradient at a home: its only part, or the sum of its two.
    fn summed<'a>(&'a self, gpu: &Gpu, plan: &mut Plan, place: &str, home: Value, parts: &[&'a Tensor]) -> &'a Tensor {
        let [a, b] = match *parts {
            [only] => return only,
            [a, b] => [a, b],
            _ => unreachable!("a value serves one or two layers"),
        };
        let y = self.gradients[home].as_ref().expect("what serves two layers has a gradient");
        add_up(gpu, plan, place, [a, b], y);
        y
    }

    /// Whether a stage does nothing: what it makes lies where its input does.
    fn passes(&self, mode: Mode, stage: &Stage) -> bool {
        matches!(stage.kind, Kind::View | Kind::Dropout(_))
            && self.home(mode, stage.inputs[0]) == self.home(mode, stage.output)
    }

    #[allow(clippy::too_many_arguments)] // They are what a plan is made of.
    fn build<'a>(
        &'a self,
        gpu: &'a Gpu,
        plan: &'a mut Plan,
        sums: &'a mut Sums,
        mode: Mode,
        rule: Rule,
        stage: &'a Stage,
        bound: &'a Bound,
    ) -> Build<'a> {
        let trained = &self.trained[bound.trained.clone()];
        let (statistics, kept, transposed) =
            (bound.statistics.as_ref(), bound.kept.as_ref(), bound.transposed.as_ref());
        let (step, partials, place) = (&self.step, &self.partials, stage.place.as_str());
        let mode = self.mode_at(mode, stage.output);
        Build { gpu, plan, place, mode, rule, step, trained, statistics, kept, transposed, partials, sums }
    }

    /// Where in the arena the weights begin that are not frozen.
    fn first_trained(&self) -> usize {
        let frozen = self.stages.iter().zip(&self.bound).filter(|(stage, _)| stage.output <= self.frozen);
        let frozen = frozen.map(|(_, bound)| bound.trained.end).max().unwrap_or(0);
        // Weights lie in the network's order. The last layer is never frozen.
        self.trained[frozen].value.start()
    }

    /// Scales the gradient of all weights that are not frozen down to this norm, where it is larger.
    fn clip(&self, gpu: &Gpu, most: f32) -> Result<Plan, GpuError> {
        let gradient = &self.all_gradients.from(self.first_trained());
        let shape = clip::Shape::new(gradient.len() / 4, most);
        let parts = &Tensor::new(gpu, "parts of the gradient's norm", shape.parts as usize)?;
        let mut plan = Plan::new();
        plan.add(gpu, "clip", &clip::Squares { shape, values: gradient, partials: parts });
        plan.add(gpu, "clip", &clip::Scale { shape, parts_of_sum: parts, gradient });
        Ok(plan)
    }

    /// Moves all weights that are not frozen by their gradients.
    pub fn update(&self, gpu: &Gpu, optimizer: &Optimizer) -> Plan {
        let mut plan = Plan::new();
        let start = self.first_trained();
        let [gradient, parameter, first, second] =
            &[&self.all_gradients, &self.all_values, &self.moments[0], &self.moments[1]].map(|all| all.from(start));
        let Self { step, counts, .. } = self;
        let len = parameter.len() / 4;
        match *optimizer {
            Optimizer::Adam { weight_decay } => {
                let shape = adam::Shape::new(len, weight_decay);
                plan.add(gpu, "update", &adam::Update { shape, step, gradient, counts, parameter, first, second });
            }
            Optimizer::Sgd { momentum, weight_decay } => {
                let shape = sgd::Shape { len: len as u32, momentum, weight_decay };
                plan.add(gpu, "update", &sgd::Update { shape, step, gradient, counts, parameter, velocity: first });
            }
        }
        plan
    }

    /// Everything of one training step in one plan.
    pub fn training_step(&self, gpu: &Gpu, optimizer: &Optimizer) -> Plan {
        self.training_step_with(gpu, optimizer, &StepOptions::default())
            .expect("a plain step needs no tensor of its own")
    }

    /// The same with these options.
    ///
    /// # Errors
    /// When a tensor exceeds what the device can bind.
    ///
    /// # Panics
    /// When there are not as many weights as classes.
    pub fn training_step_with(
        &self,
        gpu: &Gpu,
        optimizer: &Optimizer,
        options: &StepOptions,
    ) -> Result<Plan, GpuError> {
        let mut plan = self.gradients_with(gpu, options)?;
        plan.extend(self.update_with(gpu, optimizer, options)?);
        Ok(plan)
    }

    /// The first part of a training step: up to the gradients of all weights.
    ///
    /// # Errors
    /// As [`Model::training_step_with`].
    pub fn gradients_with(&self, gpu: &Gpu, options: &StepOptions) -> Result<Plan, GpuError> {
        let mut plan = self.forward(gpu, Mode::Train);
        plan.extend(self.loss_with(gpu, options)?);
        plan.extend(self.backward(gpu, Mode::Train, false));
        Ok(plan)
    }

    /// The rest of it: what is done with the gradients.
    ///
    /// # Errors
    /// As [`Model::training_step_with`].
    pub fn update_with(&self, gpu: &Gpu, optimizer: &Optimizer, options: &StepOptions) -> Result<Plan, GpuError> {
        let mut plan = Plan::new();
        if let Some(most) = options.clip_grad_norm {
            plan.extend(self.clip(gpu, most)?);
        }
        plan.extend(self.update(gpu, optimizer));
        Ok(plan)
    }

    /// The gradients of all weights that are not frozen, as they lie on the device.
    pub fn gradient_numbers(&self) -> Tensor {
        self.all_gradients.from(self.first_trained())
    }

    /// The statistics of all batch norms, as they lie on the device.
    pub fn statistic_numbers(&self) -> &Tensor {
        &self.all_statistics
    }

    /// All weights, and all statistics of batch norm.
    pub(super) fn numbers(&self) -> [&Tensor; 2] {
        [&self.all_values, &self.all_statistics]
    }

    /// Uploads a batch: images as (N, H, W, padded C), one label each. The step's numbers decide how many count.
    pub fn set_batch(&self, gpu: &Gpu, images: &[f32], labels: &[u32]) {
        self.images().write(gpu, images);
        self.labels.write(gpu, labels);
    }

    /// Sets what changes from step to step: live images, the seed of the dropout masks, the step's number from 1.
    pub fn set_step(&self, gpu: &Gpu, optimizer: &Optimizer, lr: f64, live: usize, seed: u64, number: u32) {
        let (step_size, bias_correction) = optimizer.step(lr, number);
        let seed = (seed ^ (seed >> 32)) as u32;
        let step = Step { live: live as u32, seed, number, step_size, bias_correction };
        self.step.write(gpu, bytemuck::cast_slice::<Step, u32>(&[step]));
    }

    /// Sets how many images of the next evaluated batch count.
    pub fn set_live(&self, gpu: &Gpu, live: usize) {
        let step = Step { live: live as u32, seed: 0, number: 1, step_size: 0.0, bias_correction: 1.0 };
        self.step.write(gpu, bytemuck::cast_slice::<Step, u32>(&[step]));
    }

    /// Clears the metrics.
    pub fn clear_metrics(&self, gpu: &Gpu) {
        self.set_metrics(gpu, &Metrics::default());
    }

    /// Has the metrics go on from those that were read before.
    pub fn set_metrics(&self, gpu: &Gpu, Metrics { loss_sum, correct, seen, broken }: &Metrics) {
        self.loss_sum.write(gpu, &[*loss_sum as f32]);
        self.counts.write(gpu, &[*correct, *seen, *broken, 0]);
    }

    /// Reads the metrics, after everything submitted so far.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn metrics(&self, gpu: &Gpu) -> Result<Metrics, GpuError> {
        let loss_sum = self.loss_sum.read::<f32>(gpu).await?[0].into();
        let counts = self.counts.read::<u32>(gpu).await?;
        Ok(Metrics { loss_sum, correct: counts[0], seen: counts[1], broken: counts[2] })
    }

    /// Uploads weights and running statistics, and clears the optimiser's memory and the metrics.
    ///
    /// # Panics
    /// When a tensor is missing or has another length than the network's.
    pub fn load(&self, gpu: &Gpu, weights: &Weights) {
        self.exchange(gpu, weights);
        self.clear_moments(gpu);
        self.clear_metrics(gpu);
    }

    /// Clears the optimiser's memory: the next step is to have the number 1 again.
    pub fn clear_moments(&self, gpu: &Gpu) {
        for moments in &self.moments {
            moments.write(gpu, &vec![0.0f32; moments.len()]);
        }
    }

    /// Uploads weights and running statistics alone: the optimiser's memory stays.
    ///
    /// # Panics
    /// As [`Model::load`].
    pub fn exchange(&self, gpu: &Gpu, weights: &Weights) {
        let trained = self.parameters.iter().cloned().zip(self.trained.iter().map(|trained| &trained.value));
        for (parameter, tensor) in trained.chain(self.statistics()) {
            let values = weights.get(&parameter.name);
            assert_eq!(values.len(), parameter.layout.len(), "{}", parameter.name);
            tensor.write(gpu, &parameter.layout.pack(values));
        }
    }

    /// Reads weights and running statistics back. `batches` is how many batches a batch norm has counted that is not frozen; a
    /// frozen one counts none.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn weights(&self, gpu: &Gpu, batches: i64) -> Result<Weights, GpuError> {
        let counted =
            |(number, node): (usize, &Node)| Some((node.counter()?, if number < self.frozen { 0 } else { batches }));
        let counters = self.network.nodes().iter().enumerate().filter_map(counted).collect();
        let mut weights = Weights { counters, ..Weights::default() };
        weights.tensors = self.unpacked(&self.all_values.read::<f32>(gpu).await?);
        let statistics = self.all_statistics.read::<f32>(gpu).await?;
        for (statistic, tensor) in self.statistics() {
            weights.tensors.insert(statistic.name, statistic.layout.unpack(tensor.within(&statistics)));
        }
        Ok(weights)
    }

    /// The optimiser's memory by PyTorch's names, in PyTorch's layout: Adam's first and second moments; SGD's velocity, and zeros.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn moments(&self, gpu: &Gpu) -> Result<[BTreeMap<String, Vec<f32>>; 2], GpuError> {
        let [first, second] = &self.moments;
        Ok([self.unpacked(&first.read::<f32>(gpu).await?), self.unpacked(&second.read::<f32>(gpu).await?)])
    }

    /// Uploads what [`Model::moments`] read.
    ///
    /// # Panics
    /// When those of a weight are missing or of another length.
    pub fn set_moments(&self, gpu: &Gpu, moments: &[BTreeMap<String, Vec<f32>>; 2]) {
        for (tensor, moments) in self.moments.iter().zip(moments) {
            let mut all = vec![0.0f32; tensor.len()];
            for (parameter, trained) in self.parameters.iter().zip(&self.trained) {
                let packed = parameter.layout.pack(&moments[&parameter.name]);
                all[trained.value.start()..][..packed.len()].copy_from_slice(&packed);
            }
            tensor.write(gpu, &all);
        }
    }

    /// What lies in an arena as the weights lie in theirs, by PyTorch's names, in PyTorch's layout.
    fn unpacked(&self, arena: &[f32]) -> BTreeMap<String, Vec<f32>> {
        let trained = self.parameters.iter().zip(&self.trained);
        trained
            .map(|(parameter, trained)| (parameter.name.clone(), parameter.layout.unpack(trained.value.within(arena))))
            .collect()
    }

    /// The first step since the metrics were last set with an image whose loss was not finite; 0 if there was none.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn first_broken_step(&self, gpu: &Gpu) -> Result<u32, GpuError> {
        Ok(self.counts.read::<u32>(gpu).await?[3])
    }

    /// What comes first in the network of all that is not finite: weights, or what a layer makes in training of the batch that was set
    /// last. In words, such as `"the output of Conv2d 5 of block 2"`. Nothing, if all is finite.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn first_not_finite(&self, gpu: &Gpu) -> Result<Option<String>, GpuError> {
        self.forward(gpu, Mode::Train).submit(gpu)?;
        let weights = self.weights(gpu, 0).await?;
        for (value, node) in (1..).zip(self.network.nodes()) {
            let broken = |parameter: &Parameter| !weights.get(&parameter.name).iter().all(|value| value.is_finite());
            if let Some(parameter) = node.parameters().iter().find(|parameter| broken(parameter)) {
                return Ok(Some(format!("the weights {} of {}", parameter.name, node.place())));
            }
            if let Some(tensor) = self.kept(Mode::Train, value)
                && !tensor.read::<f32>(gpu).await?.iter().all(|value| value.is_finite())
            {
                return Ok(Some(format!("the output of {}", node.place())));
            }
        }
        Ok(None)
    }

    /// The gradients of the last backward pass by PyTorch's names, in PyTorch's layout.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn weight_gradients(&self, gpu: &Gpu) -> Result<Vec<(String, Vec<f32>)>, GpuError> {
        let gradients = self.all_gradients.read::<f32>(gpu).await?;
        let trained = self.parameters.iter().zip(&self.trained);
        Ok(trained
            .map(|(parameter, trained)| {
                (parameter.name.clone(), parameter.layout.unpack(trained.gradient.within(&gradients)))
            })
            .collect())
    }

    /// The running statistics on the device.
    fn statistics(&self) -> impl Iterator<Item = (Parameter, &Tensor)> {
        let statistics = self.bound.iter().filter_map(|bound| bound.statistics.as_ref());
        let tensors = statistics.flat_map(|statistics| [&statistics.running_mean, &statistics.running_variance]);
        self.network.statistics().into_iter().zip(tensors)
    }
}

impl Stage {
    fn layer(&self) -> Option<&dyn Layer> {
        match &self.kind {
            Kind::Layer(layer) => Some(layer.as_ref()),
            Kind::Dropout(layer) => Some(layer),
            Kind::Add | Kind::View => None,
        }
    }
}

/// Adds `y = a + b`.
fn add_up(gpu: &Gpu, plan: &mut Plan, place: &str, [a, b]: [&Tensor; 2], y: &Tensor) {
    let shape = add::Shape { len: (y.len() / 4) as u32 };
    plan.add(gpu, place, &add::Forward { shape, a, b, y });
}

/// Of each value of a network of so many nodes, whose tensor holds it in training, and in evaluation: what a view makes lies
/// where its input does, and in evaluation the input of a dropout that nothing else gets lies where its output would.
fn homes(stages: &[Stage], nodes: usize) -> [Vec<Value>; 2] {
    let mut training: Vec<Value> = (0..=nodes).collect();
    for stage in stages.iter().filter(|stage| matches!(stage.kind, Kind::View)) {
        training[stage.output] = training[stage.inputs[0]];
    }
    let mut uses = vec![0; nodes + 1];
    let acting = stages.iter().filter(|stage| !matches!(stage.kind, Kind::View));
    acting.flat_map(|stage| &stage.inputs).for_each(|&input| uses[training[input]] += 1);

    let mut evaluation = training.clone();
    for stage in stages.iter().filter(|stage| matches!(stage.kind, Kind::Dropout(_))) {
        let input = stage.inputs[0];
        if uses[training[input]] == 1 && training[input] != 0 {
            let old = evaluation[input];
            evaluation.iter_mut().filter(|home| **home == old).for_each(|home| *home = stage.output);
        }
    }
    [training, evaluation]
}
