//! The network on the device: forward a line a kernel, backward its mirror.

mod layer;

use self::layer::{BlockLayer, LinearLayer, Trained};
use crate::checkpoint::Weights;
use crate::gpu::{Gpu, GpuError, Plan, Tensor};
use crate::layout::padded;
use crate::ops::conv2d::{self, Conv2d};
use crate::ops::relu::Rule;
use crate::ops::{Step, activation, adam, adaptive_avg_pool2d, batch_norm, cross_entropy, dropout, linear, relu, sgd};
use crate::spec::{Block, Head, Parameter, Spec};

/// How the network runs: in training, batch norm uses the batch's statistics and dropout drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For learning.
    Train,
    /// For judging and looking.
    Eval,
}

/// How the weights move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Adam with PyTorch's defaults: `beta1 = 0.9, beta2 = 0.999, eps = 1e-8`.
    Adam {
        /// Times the weight, added to its gradient.
        weight_decay: f32,
    },
    /// Stochastic gradient descent.
    Sgd {
        /// Decay of the velocity.
        momentum: f32,
        /// Times the weight, added to its gradient.
        weight_decay: f32,
    },
}

impl Optimizer {
    /// Step size and bias correction of step `number`, counted from 1.
    fn step(&self, lr: f64, number: u32) -> (f32, f32) {
        match self {
            Self::Adam { .. } => {
                let t = f64::from(number);
                ((lr / (1.0 - adam::BETA1.powf(t))) as f32, (1.0 - adam::BETA2.powf(t)).sqrt() as f32)
            }
            Self::Sgd { .. } => (lr as f32, 1.0),
        }
    }
}

/// Loss and accuracy summed up on the device since they were last cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Sum of the losses.
    pub loss_sum: f64,
    /// Pictures whose largest logit was their label's.
    pub correct: u32,
    /// Pictures.
    pub seen: u32,
    /// Pictures whose loss was not finite.
    pub broken: u32,
}

impl Metrics {
    /// Mean loss of a picture.
    pub fn loss(&self) -> f64 {
        self.loss_sum / f64::from(self.seen)
    }

    /// Share of correct pictures, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        f64::from(self.correct) / f64::from(self.seen)
    }
}

/// What the layers make of a batch; the gradients of all these have the same form.
/// Maps are (batch, H, W, padded C), vectors (batch, padded C).
pub struct Activations {
    /// The pictures.
    pub input: Tensor,
    /// Of each block.
    pub blocks: Vec<BlockActivations>,
    /// What the first linear layer gets: the pooled maps, or the last block's.
    pub features: Tensor,
    /// Output of the first linear layer.
    pub hidden: Tensor,
    /// Output of the second.
    pub logits: Tensor,
}

/// What one block makes of a batch.
pub struct BlockActivations {
    /// After the convolution.
    pub conv: Tensor,
    /// What lies between the convolution and the output, if the model keeps every stage.
    pub stages: Option<Stages>,
    /// What the next layer gets: after dropout in training, after ReLU in evaluation.
    pub output: Tensor,
}

/// The stages of a block that a fast model does not keep.
pub struct Stages {
    /// After batch norm.
    pub norm: Tensor,
    /// After ReLU, in training; the same tensor as the output where nothing is dropped.
    pub relu: Tensor,
}

/// What a model keeps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// What training needs: batch norm, ReLU and dropout are one kernel.
    Needed,
    /// What every layer makes of it, each layer a kernel: for looking inside.
    Everything,
}

impl Activations {
    fn new(gpu: &Gpu, name: &str, spec: &Spec, blocks: &[Block], batch: usize, keep: Keep) -> Result<Self, GpuError> {
        let tensor = |layer: &str, [channels, h, w]: [usize; 3]| {
            Tensor::new(gpu, &format!("{name} of {layer}"), batch * h * w * padded(channels))
        };
        let input = tensor("the pictures", spec.input)?;
        let mut made = Vec::with_capacity(blocks.len());
        for (number, block) in (1..).zip(blocks) {
            let tensor = |layer: &str| tensor(&format!("block {number}, {layer}"), block.output);
            let output = tensor("output")?;
            let stages = match keep {
                Keep::Needed => None,
                Keep::Everything => {
                    let relu = if spec.dropout > 0.0 { tensor("relu")? } else { output.clone() };
                    Some(Stages { norm: tensor("norm")?, relu })
                }
            };
            made.push(BlockActivations { conv: tensor("conv")?, stages, output });
        }
        let features = match spec.head {
            Head::AvgPool => tensor("the pooled maps", spec.features())?,
            Head::Flatten => made.last().expect("there is at least one block").output.clone(),
        };
        let hidden = tensor("the hidden values", [spec.hidden, 1, 1])?;
        let logits = tensor("the logits", [spec.classes, 1, 1])?;
        Ok(Self { input, blocks: made, features, hidden, logits })
    }
}

/// A network on a device, with buffers for batches of one size.
///
/// Its methods make [`Plan`]s; a training step is
/// `forward(Train)`, `loss()`, `backward(Train, false)` and `update(..)` one after the other.
pub struct Model {
    spec: Spec,
    batch: usize,
    layers: Vec<BlockLayer>,
    pool: adaptive_avg_pool2d::Shape,
    hidden: LinearLayer,
    output: LinearLayer,
    cross_entropy: cross_entropy::Shape,

    parameters: Vec<Parameter>,
    trained: Vec<Trained>,
    all_values: Tensor,
    all_gradients: Tensor,
    /// The optimiser's memory: two numbers for each weight.
    moments: [Tensor; 2],
    all_statistics: Tensor,

    /// What the layers make of the batch.
    pub activations: Activations,
    /// The loss's gradients with respect to them. That of `input` is made only on request.
    pub gradients: Activations,
    step: Tensor,
    labels: Tensor,
    losses: Tensor,
    correct: Tensor,
    loss_sum: Tensor,
    counts: Tensor,
}

impl Model {
    /// Allocates a network for batches of up to `batch` pictures. Its weights are zero until [`Model::load`].
    /// What it keeps changes its speed, not its results, but for rounding.
    ///
    /// # Errors
    /// When a tensor exceeds what the device can bind.
    ///
    /// # Panics
    /// When [`Spec::blocks`] fails, or `batch` is not within 1 to 60,000.
    pub fn new(gpu: &Gpu, spec: &Spec, batch: usize, keep: Keep) -> Result<Self, GpuError> {
        assert!((1..=60_000).contains(&batch), "a batch of {batch} pictures");
        let blocks = spec.blocks().expect("the geometry was checked");
        let shapes: Vec<_> = blocks
            .iter()
            .map(|block| {
                let [channels, height, width] = block.output;
                let kernel = [spec.kernel; 2];
                let conv = conv2d::Shape::new(batch, block.input, channels, kernel, spec.stride, spec.padding);
                (Conv2d::new(gpu, conv), batch_norm::Shape::new(batch, channels, height * width))
            })
            .collect();
        // One piece of memory serves all reductions, another all transposed weights: none outlives the kernel after it.
        let most = |len: fn(&(Conv2d, batch_norm::Shape)) -> usize| shapes.iter().map(len).max().unwrap_or(0);
        let partials = most(|(conv, norm)| conv.partial_len().max(norm.partial_len()));
        let transposed = most(|(conv, _)| conv.weight_len());
        let all_weights = spec.parameters().iter().map(|parameter| parameter.layout.packed_len()).sum();

        // What is too large is refused before anything is allocated.
        let maps = |[channels, height, width]: [usize; 3]| batch * height * width * padded(channels);
        Tensor::check(gpu, "the pictures of a batch", maps(spec.input))?;
        for (number, block) in (1..).zip(&blocks) {
            Tensor::check(gpu, &format!("the maps of block {number}"), maps(block.output))?;
        }
        Tensor::check(gpu, "the weights", all_weights)?;
        Tensor::check(gpu, "the weights' partial gradients", partials)?;

        let activations = Activations::new(gpu, "values", spec, &blocks, batch, keep)?;
        let gradients = Activations::new(gpu, "gradients", spec, &blocks, batch, keep)?;

        let parameters = spec.parameters();
        let sizes: Vec<_> =
            parameters.iter().map(|parameter| (parameter.name.clone(), parameter.layout.packed_len())).collect();
        let (all_values, values) = Tensor::arena(gpu, "weights", &sizes)?;
        let (all_gradients, weight_gradients) = Tensor::arena(gpu, "weight gradients", &sizes)?;
        let moments = [
            Tensor::new(gpu, "first moments", all_values.len())?,
            Tensor::new(gpu, "second moments", all_values.len())?,
        ];
        let trained: Vec<_> =
            values.into_iter().zip(weight_gradients).map(|(value, gradient)| Trained { value, gradient }).collect();

        let statistics = ["running_mean", "running_var", "batch mean", "batch variance"];
        let sizes: Vec<_> = blocks
            .iter()
            .flat_map(|block| statistics.map(|name| (name.to_string(), padded(block.output[0]))))
            .collect();
        let (all_statistics, statistics) = Tensor::arena(gpu, "batch norm", &sizes)?;

        let partials = Tensor::new(gpu, "partial sums", partials)?;
        let transposed = Tensor::new(gpu, "transposed weights", transposed)?;
        let layers: Vec<_> = blocks
            .iter()
            .enumerate()
            .zip(shapes)
            .zip(trained.chunks(3).zip(statistics.chunks(4)))
            .map(|(((number, block), (conv, norm)), (trained, statistics))| {
                let [channels, height, width] = block.output;
                let dropout = dropout::Shape::new(batch, channels, height * width, spec.dropout, true, number);
                BlockLayer {
                    norm,
                    transposed: transposed.first(conv.weight_len()),
                    conv_partials: partials.first(conv.partial_len()),
                    conv,
                    norm_partials: partials.first(norm.partial_len()),
                    relu: relu::Shape { len: (batch * height * width * padded(channels) / 4) as u32 },
                    dropout,
                    activation: activation::Shape::new(norm, dropout),
                    weight: trained[0].clone(),
                    gamma: trained[1].clone(),
                    beta: trained[2].clone(),
                    running_mean: statistics[0].clone(),
                    running_variance: statistics[1].clone(),
                    batch_mean: statistics[2].clone(),
                    batch_variance: statistics[3].clone(),
                }
            })
            .collect();

        let head = &trained[3 * layers.len()..];
        let linear = |inputs: usize, outputs: usize, trained: &[Trained]| LinearLayer {
            shape: linear::Shape::new(batch, inputs, outputs),
            weight: trained[0].clone(),
            bias: trained[1].clone(),
        };
        let [channels, height, width] = spec.features();
        let last = blocks.last().expect("there is at least one block").output;
        Ok(Self {
            pool: adaptive_avg_pool2d::Shape::new(batch, last, [1, 1]),
            hidden: linear(height * width * padded(channels), spec.hidden, &head[..2]),
            output: linear(spec.hidden, spec.classes, &head[2..]),
            cross_entropy: cross_entropy::Shape::new(batch, spec.classes),
            step: Tensor::uniform(gpu, "step", size_of::<Step>() / 4)?,
            labels: Tensor::new(gpu, "labels", batch)?,
            losses: Tensor::new(gpu, "losses", batch)?,
            correct: Tensor::new(gpu, "correct", batch)?,
            loss_sum: Tensor::new(gpu, "loss sum", 1)?,
            counts: Tensor::new(gpu, "counts", 3)?,
            spec: spec.clone(),
            batch,
            layers,
            parameters,
            trained,
            all_values,
            all_gradients,
            moments,
            all_statistics,
            activations,
            gradients,
        })
    }

    /// The network.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The most pictures in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// From `activations.input` to `activations.logits`.
    pub fn forward(&self, gpu: &Gpu, mode: Mode) -> Plan {
        self.forward_from(gpu, mode, 0)
    }

    /// In evaluation, from the output of block `number`, counted from 0, to `activations.logits`. For asking what would
    /// follow if that output were another, which is to be written before.
    pub fn forward_after(&self, gpu: &Gpu, number: usize) -> Plan {
        self.forward_from(gpu, Mode::Eval, number + 1)
    }

    fn forward_from(&self, gpu: &Gpu, mode: Mode, first: usize) -> Plan {
        let mut plan = Plan::new();
        let (acts, step) = (&self.activations, &self.step);
        let mut x = first.checked_sub(1).map_or(&acts.input, |before| &acts.blocks[before].output);
        for (number, (layer, block)) in (1..).zip(self.layers.iter().zip(&acts.blocks)).skip(first) {
            let place = format!("block {number}");
            let BlockLayer { norm, relu, dropout, .. } = *layer;
            layer.conv.forward(gpu, &mut plan, &place, x, &layer.weight.value, &block.conv);
            if mode == Mode::Train {
                let partial = &layer.norm_partials;
                plan.add(gpu, &place, &batch_norm::Statistics { shape: norm, step, x: &block.conv, partial });
                plan.add(gpu, &place, &layer.combine(step));
            }
            match &block.stages {
                None => plan.add(gpu, &place, &layer.activate(mode, step, block)),
                Some(stages) => {
                    let after_relu = if self.drops(mode) { &stages.relu } else { &block.output };
                    plan.add(gpu, &place, &layer.normalise(mode, &block.conv, &stages.norm));
                    plan.add(gpu, &place, &relu::Forward { shape: relu, x: &stages.norm, y: after_relu });
                    if self.drops(mode) {
                        let (x, y) = (&stages.relu, &block.output);
                        plan.add(gpu, &place, &dropout::Forward { shape: dropout, step, x, y });
                    }
                }
            }
            x = &block.output;
        }
        if self.spec.head == Head::AvgPool {
            plan.add(gpu, "head", &adaptive_avg_pool2d::Forward { shape: self.pool, x, y: &acts.features });
            x = &acts.features;
        }
        plan.add(gpu, "hidden", &self.hidden.forward(x, &acts.hidden));
        plan.add(gpu, "output", &self.output.forward(&acts.hidden, &acts.logits));
        plan
    }

    /// The loss of each picture, added to the metrics, and its gradient in `gradients.logits`.
    pub fn loss(&self, gpu: &Gpu) -> Plan {
        let mut plan = Plan::new();
        let Self { cross_entropy: shape, activations, step, labels, losses, correct, loss_sum, counts, .. } = self;
        let (shape, logits) = (*shape, &activations.logits);
        plan.add(gpu, "loss", &cross_entropy::Forward { shape, logits, labels, loss: losses, correct });
        plan.add(gpu, "loss", &cross_entropy::Accumulate { shape, step, losses, hits: correct, loss_sum, counts });
        plan.add(
            gpu,
            "loss",
            &cross_entropy::Backward { shape, step, logits, labels, dlogits: &self.gradients.logits },
        );
        plan
    }

    /// From `gradients.logits` back to the gradients of all weights (training) and of the pictures (`to_input`).
    pub fn backward(&self, gpu: &Gpu, mode: Mode, to_input: bool) -> Plan {
        self.backward_by(gpu, mode, to_input, Rule::Gradient)
    }

    /// In evaluation, from `gradients.logits` back to the pictures, with another rule for ReLU: what results is no gradient.
    pub fn backward_ruled(&self, gpu: &Gpu, rule: Rule) -> Plan {
        self.backward_by(gpu, Mode::Eval, true, rule)
    }

    /// In evaluation, back to the pictures from the gradient of what batch norm makes in block `number`, counted from 0.
    /// That gradient, in `gradients.blocks[number].stages`, is to be written before.
    ///
    /// # Panics
    /// When the model does not keep everything.
    pub fn backward_from_norm(&self, gpu: &Gpu, number: usize) -> Plan {
        let mut plan = Plan::new();
        let dblock = &self.gradients.blocks[number];
        let dnorm = &dblock.stages.as_ref().expect("the model keeps everything").norm;
        let place = format!("block {}", number + 1);
        plan.add(gpu, &place, &self.layers[number].backward_norm_eval(dnorm, &dblock.conv));
        plan.extend(self.backward_conv(gpu, &place, Mode::Eval, number, true));
        plan.extend(self.backward_blocks(gpu, Mode::Eval, number, true, Rule::Gradient));
        plan
    }

    fn backward_by(&self, gpu: &Gpu, mode: Mode, to_input: bool, rule: Rule) -> Plan {
        let mut plan = Plan::new();
        let (acts, grads, step) = (&self.activations, &self.gradients, &self.step);
        let [last, dlast] = [acts, grads].map(|of| &of.blocks.last().expect("there is at least one block").output);
        let (features, dfeatures) =
            if self.spec.head == Head::AvgPool { (&acts.features, &grads.features) } else { (last, dlast) };
        self.output.backward(gpu, &mut plan, "output", mode, step, [&acts.hidden, &grads.logits, &grads.hidden]);
        self.hidden.backward(gpu, &mut plan, "hidden", mode, step, [features, &grads.hidden, dfeatures]);
        if self.spec.head == Head::AvgPool {
            plan.add(gpu, "head", &adaptive_avg_pool2d::Backward { shape: self.pool, dy: dfeatures, dx: dlast });
        }
        plan.extend(self.backward_blocks(gpu, mode, self.layers.len(), to_input, rule));
        plan
    }

    /// Back through the blocks before block `end`.
    fn backward_blocks(&self, gpu: &Gpu, mode: Mode, end: usize, to_input: bool, rule: Rule) -> Plan {
        let mut plan = Plan::new();
        for number in (0..end).rev() {
            let place = format!("block {}", number + 1);
            plan.extend(self.backward_activation(gpu, &place, mode, number, rule));
            plan.extend(self.backward_conv(gpu, &place, mode, number, to_input));
        }
        plan
    }

    /// From the gradient of a convolution's output to those of its weight (training) and its input.
    fn backward_conv(&self, gpu: &Gpu, place: &str, mode: Mode, number: usize, to_input: bool) -> Plan {
        let mut plan = Plan::new();
        let (acts, grads) = (&self.activations, &self.gradients);
        let (x, dx) = match number.checked_sub(1) {
            Some(before) => (&acts.blocks[before].output, Some(&grads.blocks[before].output)),
            None => (&acts.input, to_input.then_some(&grads.input)),
        };
        let layer = &self.layers[number];
        let (conv, dy) = (&layer.conv, &grads.blocks[number].conv);
        if mode == Mode::Train {
            let (partials, dweight) = (&layer.conv_partials, &layer.weight.gradient);
            conv.backward_weight(gpu, &mut plan, place, &self.step, x, dy, partials, dweight);
        }
        if let Some(dx) = dx {
            conv.backward_input(gpu, &mut plan, place, &layer.weight.value, &layer.transposed, dy, dx);
        }
        plan
    }

    /// From the gradient of a block's output, through dropout, ReLU and batch norm, to that of its convolution.
    fn backward_activation(&self, gpu: &Gpu, place: &str, mode: Mode, number: usize, rule: Rule) -> Plan {
        let mut plan = Plan::new();
        let (layer, step) = (&self.layers[number], &self.step);
        let (block, dblock) = (&self.activations.blocks[number], &self.gradients.blocks[number]);
        let (Some(stages), Some(dstages)) = (&block.stages, &dblock.stages) else {
            assert!(mode == Mode::Train, "gradients in evaluation need a model that keeps everything");
            plan.add(gpu, place, &layer.backward_activation_sums(step, block, dblock));
            plan.add(gpu, place, &layer.backward_combine(step));
            plan.add(gpu, place, &layer.backward_activation(step, block, dblock));
            return plan;
        };
        let BlockLayer { norm, relu, dropout, .. } = *layer;
        let after_relu = if self.drops(mode) { &dstages.relu } else { &dblock.output };
        if self.drops(mode) {
            let (dy, dx) = (&dblock.output, &dstages.relu);
            plan.add(gpu, place, &dropout::Backward { shape: dropout, step, dy, dx });
        }
        let (shape, x, dy, dx) = (relu, &stages.norm, after_relu, &dstages.norm);
        match rule {
            Rule::Gradient => plan.add(gpu, place, &relu::Backward { shape, x, dy, dx }),
            Rule::Guided => plan.add(gpu, place, &relu::BackwardGuided { shape, x, dy, dx }),
            Rule::Deconvnet => plan.add(gpu, place, &relu::BackwardDeconvnet { shape, dy, dx }),
        }
        let (x, dy, mean, partial) = (&block.conv, &dstages.norm, &layer.batch_mean, &layer.norm_partials);
        match mode {
            Mode::Train => {
                plan.add(gpu, place, &batch_norm::BackwardSums { shape: norm, step, x, dy, mean, partial });
                plan.add(gpu, place, &layer.backward_combine(step));
                plan.add(gpu, place, &layer.backward_norm(step, x, dy, &dblock.conv));
            }
            Mode::Eval => plan.add(gpu, place, &layer.backward_norm_eval(dy, &dblock.conv)),
        }
        plan
    }

    /// Moves all weights by their gradients.
    pub fn update(&self, gpu: &Gpu, optimizer: &Optimizer) -> Plan {
        let mut plan = Plan::new();
        let (gradient, parameter, step) = (&self.all_gradients, &self.all_values, &self.step);
        let [first, second] = &self.moments;
        let len = parameter.len() / 4;
        match *optimizer {
            Optimizer::Adam { weight_decay } => {
                let shape = adam::Shape::new(len, weight_decay);
                plan.add(gpu, "update", &adam::Update { shape, step, gradient, parameter, first, second });
            }
            Optimizer::Sgd { momentum, weight_decay } => {
                let shape = sgd::Shape { len: len as u32, momentum, weight_decay };
                plan.add(gpu, "update", &sgd::Update { shape, step, gradient, parameter, velocity: first });
            }
        }
        plan
    }

    /// Everything of one training step in one plan.
    pub fn training_step(&self, gpu: &Gpu, optimizer: &Optimizer) -> Plan {
        let mut plan = self.forward(gpu, Mode::Train);
        plan.extend(self.loss(gpu));
        plan.extend(self.backward(gpu, Mode::Train, false));
        plan.extend(self.update(gpu, optimizer));
        plan
    }

    fn drops(&self, mode: Mode) -> bool {
        mode == Mode::Train && self.spec.dropout > 0.0
    }

    /// Uploads a batch: pictures as (N, H, W, padded C), one label each. The step's numbers decide how many count.
    pub fn set_batch(&self, gpu: &Gpu, images: &[f32], labels: &[u32]) {
        self.activations.input.write(gpu, images);
        self.labels.write(gpu, labels);
    }

    /// Sets what changes from step to step: live pictures, the seed of the dropout masks, the step's number from 1.
    pub fn set_step(&self, gpu: &Gpu, optimizer: &Optimizer, lr: f64, live: usize, seed: u64, number: u32) {
        let (step_size, bias_correction) = optimizer.step(lr, number);
        let seed = (seed ^ (seed >> 32)) as u32;
        let step = Step { live: live as u32, seed, number, step_size, bias_correction };
        self.step.write(gpu, bytemuck::cast_slice::<Step, u32>(&[step]));
    }

    /// Sets how many pictures of the next evaluated batch count.
    pub fn set_live(&self, gpu: &Gpu, live: usize) {
        let step = Step { live: live as u32, seed: 0, number: 1, step_size: 0.0, bias_correction: 1.0 };
        self.step.write(gpu, bytemuck::cast_slice::<Step, u32>(&[step]));
    }

    /// Clears the metrics.
    pub fn clear_metrics(&self, gpu: &Gpu) {
        self.loss_sum.write(gpu, &[0.0f32]);
        self.counts.write(gpu, &[0u32; 3]);
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
        for moments in &self.moments {
            moments.write(gpu, &vec![0.0f32; moments.len()]);
        }
        self.clear_metrics(gpu);
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

    /// Reads weights and running statistics back. `batches` is how many batches these have seen.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn weights(&self, gpu: &Gpu, batches: i64) -> Result<Weights, GpuError> {
        let mut weights = Weights { batches, ..Weights::default() };
        let values = self.all_values.read::<f32>(gpu).await?;
        for (parameter, trained) in self.parameters.iter().zip(&self.trained) {
            weights.tensors.insert(parameter.name.clone(), parameter.layout.unpack(trained.value.within(&values)));
        }
        let statistics = self.all_statistics.read::<f32>(gpu).await?;
        for (statistic, tensor) in self.statistics() {
            weights.tensors.insert(statistic.name, statistic.layout.unpack(tensor.within(&statistics)));
        }
        Ok(weights)
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
        let tensors = self.layers.iter().flat_map(|layer| [&layer.running_mean, &layer.running_variance]);
        self.spec.statistics().into_iter().zip(tensors)
    }
}
