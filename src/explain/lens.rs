//! Many pictures through one network in evaluation mode.

use std::ops::Range;

use super::Question;
use crate::checkpoint::Weights;
use crate::gpu::{Gpu, GpuError, Plan, Tensor};
use crate::inspect::check_finite;
use crate::layout::{padded, unpack_images};
use crate::model::{Keep, Mode, Model};
use crate::ops::relu::Rule;
use crate::spec::{Block, Spec};

/// A network in evaluation mode that keeps every layer's values, for batches of pictures.
///
/// Pictures are (H, W, padded C) as [`prepare::to_tensor`](crate::data::prepare::to_tensor) makes them, flattened.
pub struct Lens<'a> {
    gpu: &'a Gpu,
    model: Model,
    blocks: Vec<Block>,
    forward: Plan,
    /// From the logits to the pictures, by each rule.
    backward: [(Rule, Plan); 3],
    /// From the output of each block to the logits.
    after: Vec<Plan>,
}

/// What the network makes of one picture, and how the decision depends on it. Maps are (C, H, W).
#[derive(Clone, Debug)]
pub struct Inside {
    /// One for each class.
    pub logits: Vec<f32>,
    /// Of each block.
    pub blocks: Vec<InsideBlock>,
}

/// What one block makes of one picture.
#[derive(Clone, Debug)]
pub struct InsideBlock {
    /// After the convolution.
    pub conv: Vec<f32>,
    /// After batch norm.
    pub norm: Vec<f32>,
    /// After ReLU.
    pub relu: Vec<f32>,
    /// Derivative of the logit gap by what comes after ReLU.
    pub gradient: Vec<f32>,
}

impl<'a> Lens<'a> {
    /// A network for batches of `batch` pictures. `compiling` is told how many of how many kernels are ready.
    ///
    /// # Errors
    /// When a tensor exceeds what the device can bind, or the device failed.
    pub fn new(gpu: &'a Gpu, spec: &Spec, batch: usize, compiling: impl FnMut(usize, usize)) -> Result<Self, GpuError> {
        let model = Model::new(gpu, spec, batch, Keep::Everything)?;
        model.set_live(gpu, batch);
        let blocks = spec.blocks().expect("the model was built from it");
        let forward = model.forward(gpu, Mode::Eval);
        let backward =
            [Rule::Gradient, Rule::Guided, Rule::Deconvnet].map(|rule| (rule, model.backward_ruled(gpu, rule)));
        let after = (0..blocks.len()).map(|number| model.forward_after(gpu, number)).collect();
        let mut all = model.forward(gpu, Mode::Eval);
        all.extend(model.backward(gpu, Mode::Eval, true));
        all.compile(gpu, compiling)?;
        Ok(Self { gpu, model, blocks, forward, backward, after })
    }

    /// Takes these weights from now on.
    ///
    /// # Panics
    /// When they are another network's.
    pub fn load(&self, weights: &Weights) {
        self.model.load(self.gpu, weights);
    }

    /// Checks that the weights make finite numbers in every layer of a black, a white and a noisy picture.
    ///
    /// # Errors
    /// As [`check_finite`], or when the device failed.
    pub fn check_finite(&self) -> anyhow::Result<()> {
        let channels = self.spec().input[0];
        // Any numbers between -1 and 1 that follow no pattern.
        let noise = |at: usize| (12.9898 * at as f32).sin();
        let make = |picture: usize, place: &mut [f32]| {
            place.fill(0.0);
            for (at, pixel) in place.chunks_mut(padded(channels)).enumerate() {
                for (channel, value) in pixel[..channels].iter_mut().enumerate() {
                    *value = [-1.0, 1.0, noise(channels * at + channel)][picture];
                }
            }
        };
        let mut checked = Ok(());
        self.forward(3, make, |range| {
            if checked.is_ok() {
                checked = check_finite(self.gpu, &self.model, range.len());
            }
            Ok(())
        })?;
        checked
    }

    /// The network.
    pub fn spec(&self) -> &Spec {
        self.model.spec()
    }

    /// Geometry of its blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The most pictures at once.
    pub fn batch(&self) -> usize {
        self.model.batch()
    }

    /// Numbers of one picture.
    pub fn picture_len(&self) -> usize {
        let [channels, height, width] = self.spec().input;
        height * width * padded(channels)
    }

    /// The device.
    pub fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    /// The network on the device; what it holds is that of the last batch.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Runs pictures `0..count` forward, a batch at a time. `make(i, picture)` fills in picture `i`; `look` is called with
    /// each batch's range while its values are on the device.
    ///
    /// # Errors
    /// When the device failed, or what `look` reports.
    pub fn forward(
        &self,
        count: usize,
        mut make: impl FnMut(usize, &mut [f32]),
        mut look: impl FnMut(Range<usize>) -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        let each = self.picture_len();
        let mut images = vec![0.0; each * self.batch().min(count)];
        for range in ranges(count, self.batch()) {
            for (i, picture) in range.clone().zip(images.chunks_mut(each)) {
                make(i, picture);
            }
            self.model.activations.input.write(self.gpu, &images[..each * range.len()]);
            self.forward.submit(self.gpu)?;
            look(range)?;
        }
        Ok(())
    }

    /// The logits of pictures `0..count`, as [`Lens::forward`] takes them.
    ///
    /// # Errors
    /// When the device failed.
    pub fn logits(&self, count: usize, make: impl FnMut(usize, &mut [f32])) -> Result<Vec<Vec<f32>>, GpuError> {
        let mut logits = Vec::with_capacity(count);
        self.forward(count, make, |range| {
            logits.extend(self.read_logits(range.len())?);
            Ok(())
        })?;
        Ok(logits)
    }

    /// The derivative of the logit gap by each of the pictures `0..count`, or what `rule` makes of it; `look(i, gradient)`
    /// gets that of picture `i`, in the pictures' layout.
    ///
    /// # Errors
    /// When the device failed.
    pub fn gradients(
        &self,
        count: usize,
        question: Question,
        rule: Rule,
        make: impl FnMut(usize, &mut [f32]),
        mut look: impl FnMut(usize, &[f32]),
    ) -> Result<(), GpuError> {
        let each = self.picture_len();
        self.forward(count, make, |range| {
            self.backward(question, rule)?;
            let gradients = read(self.gpu, &self.model.gradients.input.first(each * range.len()))?;
            range.zip(gradients.chunks(each)).for_each(|(i, gradient)| look(i, gradient));
            Ok(())
        })
    }

    /// Everything that the network makes of one picture. `question` decides from the logits what is asked.
    ///
    /// # Errors
    /// When the device failed.
    pub fn inside(
        &self,
        picture: &[f32],
        question: impl FnOnce(&[f32]) -> Question,
    ) -> Result<(Question, Inside), GpuError> {
        self.forward(1, |_, place| place.copy_from_slice(picture), |_| Ok(()))?;
        let logits = self.read_logits(1)?.remove(0);
        let question = question(&logits);
        self.backward(question, Rule::Gradient)?;
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for (number, block) in self.blocks.iter().enumerate() {
            let [channels, height, width] = block.output;
            let [values, gradients] = [&self.model.activations, &self.model.gradients].map(|of| &of.blocks[number]);
            let norm = &values.stages.as_ref().expect("the model keeps everything").norm;
            let map = |tensor: &Tensor| -> Result<Vec<f32>, GpuError> {
                let packed = read(self.gpu, &tensor.first(height * width * padded(channels)))?;
                Ok(unpack_images(&packed, 1, channels, height * width))
            };
            blocks.push(InsideBlock {
                conv: map(&values.conv)?,
                norm: map(norm)?,
                relu: map(&values.output)?,
                gradient: map(&gradients.output)?,
            });
        }
        Ok((question, Inside { logits, blocks }))
    }

    /// The logits if block `number`, counted from 0, had put out other maps: `make(i, maps)` fills in those of case `i`, of
    /// `0..count`, in the layout (H, W, padded C).
    ///
    /// # Errors
    /// When the device failed.
    pub fn logits_after(
        &self,
        number: usize,
        count: usize,
        mut make: impl FnMut(usize, &mut [f32]),
    ) -> Result<Vec<Vec<f32>>, GpuError> {
        let [channels, height, width] = self.blocks[number].output;
        let each = height * width * padded(channels);
        let mut maps = vec![0.0; each * self.batch().min(count)];
        let mut logits = Vec::with_capacity(count);
        for range in ranges(count, self.batch()) {
            for (i, case) in range.clone().zip(maps.chunks_mut(each)) {
                make(i, case);
            }
            self.model.activations.blocks[number].output.write(self.gpu, &maps[..each * range.len()]);
            self.after[number].submit(self.gpu)?;
            logits.extend(self.read_logits(range.len())?);
        }
        Ok(logits)
    }

    /// What block `number`, counted from 0, has put out for the first pictures of the batch, (C, H, W) each.
    ///
    /// # Errors
    /// When the device failed.
    pub fn outputs(&self, number: usize, pictures: usize) -> Result<Vec<Vec<f32>>, GpuError> {
        let [channels, height, width] = self.blocks[number].output;
        let packed = self.packed_outputs(number, pictures)?;
        let each = height * width * padded(channels);
        Ok(packed.chunks(each).map(|maps| unpack_images(maps, 1, channels, height * width)).collect())
    }

    /// The same as they lie on the device, (H, W, padded C), one picture after the other.
    ///
    /// # Errors
    /// When the device failed.
    pub fn packed_outputs(&self, number: usize, pictures: usize) -> Result<Vec<f32>, GpuError> {
        let [channels, height, width] = self.blocks[number].output;
        let len = pictures * height * width * padded(channels);
        read(self.gpu, &self.model.activations.blocks[number].output.first(len))
    }

    /// Back from the logit gap of every picture of the batch.
    fn backward(&self, question: Question, rule: Rule) -> Result<(), GpuError> {
        let width = padded(self.spec().classes);
        let mut seed = vec![0.0f32; self.batch() * width];
        for picture in seed.chunks_mut(width) {
            picture[question.target] = 1.0;
            picture[question.against] = -1.0;
        }
        self.model.gradients.logits.write(self.gpu, &seed);
        let (_, plan) = self.backward.iter().find(|(of, _)| *of == rule).expect("there is a plan for every rule");
        plan.submit(self.gpu)?;
        Ok(())
    }

    /// The logits of the first pictures of the batch.
    ///
    /// # Errors
    /// When the device failed, or a logit is not finite.
    pub fn read_logits(&self, pictures: usize) -> Result<Vec<Vec<f32>>, GpuError> {
        let classes = self.spec().classes;
        let width = padded(classes);
        let logits = read(self.gpu, &self.model.activations.logits.first(pictures * width))?;
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(GpuError::NotFinite);
        }
        Ok(logits.chunks(width).map(|logits| logits[..classes].to_vec()).collect())
    }
}

fn read(gpu: &Gpu, tensor: &Tensor) -> Result<Vec<f32>, GpuError> {
    pollster::block_on(tensor.read(gpu))
}

/// `0..count` in pieces of `size`; the last may be shorter.
fn ranges(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(size).map(move |first| first..(first + size).min(count))
}
