//! Many images through one network in evaluation mode.

use std::ops::Range;

use super::Question;
use crate::gpu::{Gpu, GpuError, Plan, Tensor};
use crate::nn::checkpoint::Weights;
use crate::nn::layout::padded;
use crate::nn::{Block, Network};
use crate::nn::{Keep, Mode, Model};
use crate::ops::relu::Rule;

/// A network in evaluation mode that keeps every layer's values, for batches of images.
///
/// Images are (H, W, padded C) as [`pixels::to_tensor`](crate::data::pixels::to_tensor) makes them, flattened: from -1, black, over
/// 0, grey, to 1, white, whatever numbers the network itself is given. So are derivatives by images. The network gets its own numbers,
/// and nobody else need know of them.
pub struct Lens<'a> {
    gpu: &'a Gpu,
    model: Model,
    forward: Plan,
    /// From the logits to the images, by each rule.
    backward: [(Rule, Plan); 3],
    /// From the output of each block to the logits.
    after: Vec<Plan>,
}

/// What the network makes of one image, and how the decision depends on it. Maps are (C, H, W).
#[derive(Clone, Debug)]
pub struct Inside {
    /// One for each class.
    pub logits: Vec<f32>,
    /// Of each block.
    pub blocks: Vec<InsideBlock>,
}

/// What one block makes of one image.
#[derive(Clone, Debug)]
pub struct InsideBlock {
    /// After the convolution.
    pub conv: Vec<f32>,
    /// After batch norm.
    pub norm: Vec<f32>,
    /// After ReLU.
    pub relu: Vec<f32>,
    /// Derivative of the logit difference by what comes after ReLU.
    pub gradient: Vec<f32>,
}

impl<'a> Lens<'a> {
    /// A network for batches of `batch` images. `compiling` is told how many of how many kernels are ready.
    ///
    /// # Errors
    /// When a tensor exceeds what the device can bind, or the device failed.
    pub async fn new(
        gpu: &'a Gpu,
        network: &Network,
        batch: usize,
        compiling: impl FnMut(usize, usize),
    ) -> Result<Self, GpuError> {
        let model = Model::new(gpu, network, batch, Keep::Everything)?;
        model.set_live(gpu, batch);
        let forward = model.forward(gpu, Mode::Eval);
        let backward =
            [Rule::Gradient, Rule::Guided, Rule::Deconvnet].map(|rule| (rule, model.backward_ruled(gpu, rule)));
        let after = network.blocks().iter().map(|block| model.forward_from(gpu, Mode::Eval, block.value)).collect();
        let mut all = model.forward(gpu, Mode::Eval);
        all.extend(model.backward(gpu, Mode::Eval, true));
        all.compile(gpu, compiling).await?;
        Ok(Self { gpu, model, forward, backward, after })
    }

    /// Takes these weights from now on.
    ///
    /// # Panics
    /// When they are another network's.
    pub fn load(&self, weights: &Weights) {
        self.model.load(self.gpu, weights);
    }

    /// The network.
    pub fn network(&self) -> &Network {
        self.model.network()
    }

    /// Geometry of its blocks.
    pub fn blocks(&self) -> &[Block] {
        self.network().blocks()
    }

    /// The most images at once.
    pub fn batch(&self) -> usize {
        self.model.batch()
    }

    /// Numbers of one image.
    pub fn image_len(&self) -> usize {
        let [channels, height, width] = self.network().input();
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

    /// Runs images `0..count` forward, a batch at a time. `make(i, image)` fills in image `i`; `look` is called with
    /// each batch's range while its values are on the device.
    ///
    /// # Errors
    /// When the device failed, or what `look` reports.
    pub async fn forward(
        &self,
        count: usize,
        mut make: impl FnMut(usize, &mut [f32]),
        mut look: impl AsyncFnMut(Range<usize>) -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        let each = self.image_len();
        let mut images = vec![0.0; each * self.batch().min(count)];
        for range in ranges(count, self.batch()) {
            for (i, image) in range.clone().zip(images.chunks_mut(each)) {
                make(i, image);
            }
            self.network().normalize().apply(&mut images[..each * range.len()]);
            self.model.images().write(self.gpu, &images[..each * range.len()]);
            self.forward.submit(self.gpu)?;
            look(range).await?;
        }
        Ok(())
    }

    /// The logits of images `0..count`, as [`Lens::forward`] takes them.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn logits(&self, count: usize, make: impl FnMut(usize, &mut [f32])) -> Result<Vec<Vec<f32>>, GpuError> {
        let mut logits = Vec::with_capacity(count);
        self.forward(count, make, async |range| {
            logits.extend(self.read_logits(range.len()).await?);
            Ok(())
        })
        .await?;
        Ok(logits)
    }

    /// The derivative of the logit difference by each of the images `0..count`, or what `rule` makes of it; `look(i, gradient)`
    /// gets that of image `i`, in the images' layout.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn gradients(
        &self,
        count: usize,
        question: Question,
        rule: Rule,
        make: impl FnMut(usize, &mut [f32]),
        mut look: impl FnMut(usize, &[f32]),
    ) -> Result<(), GpuError> {
        let each = self.image_len();
        self.forward(count, make, async |range| {
            self.backward(question, rule)?;
            let mut gradients = self.read(self.model.gradient(Mode::Eval, 0), each * range.len()).await?;
            self.network().normalize().apply_to_gradient(&mut gradients);
            range.zip(gradients.chunks(each)).for_each(|(i, gradient)| look(i, gradient));
            Ok(())
        })
        .await
    }

    /// Everything that the network makes of one image. `question` decides from the logits what is asked.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn inside(
        &self,
        image: &[f32],
        question: impl FnOnce(&[f32]) -> Question,
    ) -> Result<(Question, Inside), GpuError> {
        self.forward(1, |_, place| place.copy_from_slice(image), async |_| Ok(())).await?;
        let logits = self.read_logits(1).await?.remove(0);
        let question = question(&logits);
        self.backward(question, Rule::Gradient)?;
        let mut blocks = Vec::with_capacity(self.blocks().len());
        for block in self.blocks() {
            let map = |tensor, value| self.model.read_maps(self.gpu, tensor, value, 1);
            let values = |value| map(self.model.value(Mode::Eval, value), value);
            blocks.push(InsideBlock {
                conv: values(block.conv).await?,
                norm: values(block.norm).await?,
                relu: values(block.value).await?,
                gradient: map(self.model.gradient(Mode::Eval, block.value), block.value).await?,
            });
        }
        Ok((question, Inside { logits, blocks }))
    }

    /// The logits if block `number`, counted from 0, had put out other maps: `make(i, maps)` fills in those of case `i`, of
    /// `0..count`, in the layout (H, W, padded C).
    ///
    /// # Errors
    /// When the device failed.
    pub async fn logits_after(
        &self,
        number: usize,
        count: usize,
        mut make: impl FnMut(usize, &mut [f32]),
    ) -> Result<Vec<Vec<f32>>, GpuError> {
        let Block { output: [channels, height, width], value, .. } = self.blocks()[number];
        let each = height * width * padded(channels);
        let mut maps = vec![0.0; each * self.batch().min(count)];
        let mut logits = Vec::with_capacity(count);
        for range in ranges(count, self.batch()) {
            for (i, case) in range.clone().zip(maps.chunks_mut(each)) {
                make(i, case);
            }
            self.model.value(Mode::Eval, value).write(self.gpu, &maps[..each * range.len()]);
            self.after[number].submit(self.gpu)?;
            logits.extend(self.read_logits(range.len()).await?);
        }
        Ok(logits)
    }

    /// What block `number`, counted from 0, has put out for the first images of the batch, (C, H, W) each.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn outputs(&self, number: usize, images: usize) -> Result<Vec<Vec<f32>>, GpuError> {
        let Block { output, value, .. } = self.blocks()[number];
        let maps = self.model.read_maps(self.gpu, self.model.value(Mode::Eval, value), value, images).await?;
        Ok(maps.chunks(output.iter().product()).map(<[f32]>::to_vec).collect())
    }

    /// The same as they lie on the device, (H, W, padded C), one image after the other.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn packed_outputs(&self, number: usize, images: usize) -> Result<Vec<f32>, GpuError> {
        let Block { output: [channels, height, width], value, .. } = self.blocks()[number];
        let len = images * height * width * padded(channels);
        self.read(self.model.value(Mode::Eval, value), len).await
    }

    /// The derivative of each of the first images' logit differences by what block `number`, counted from 0, has put out for it,
    /// (C, H, W) each.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn output_gradients(&self, number: usize, questions: &[Question]) -> Result<Vec<Vec<f32>>, GpuError> {
        self.backward_each(questions.iter().copied(), Rule::Gradient)?;
        let Block { output, value, .. } = self.blocks()[number];
        let gradient = self.model.gradient(Mode::Eval, value);
        let maps = self.model.read_maps(self.gpu, gradient, value, questions.len()).await?;
        Ok(maps.chunks(output.iter().product()).map(<[f32]>::to_vec).collect())
    }

    /// Back from the logit difference of every image of the batch.
    fn backward(&self, question: Question, rule: Rule) -> Result<(), GpuError> {
        self.backward_each(std::iter::repeat_n(question, self.batch()), rule)
    }

    /// Back from the logit differences of the first images of the batch, each by its question.
    fn backward_each(&self, questions: impl Iterator<Item = Question>, rule: Rule) -> Result<(), GpuError> {
        let width = padded(self.network().classes());
        let mut seed = vec![0.0f32; self.batch() * width];
        for (image, question) in seed.chunks_mut(width).zip(questions) {
            image[question.target] = 1.0;
            image[question.against] = -1.0;
        }
        self.model.logit_gradients().write(self.gpu, &seed);
        let (_, plan) = self.backward.iter().find(|(of, _)| *of == rule).expect("there is a plan for every rule");
        plan.submit(self.gpu)?;
        Ok(())
    }

    /// The logits of the first images of the batch.
    ///
    /// # Errors
    /// When the device failed, or a logit is not finite.
    pub async fn read_logits(&self, images: usize) -> Result<Vec<Vec<f32>>, GpuError> {
        let classes = self.network().classes();
        let width = padded(classes);
        let logits = self.read(self.model.logits(), images * width).await?;
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(GpuError::NotFinite);
        }
        Ok(logits.chunks(width).map(|logits| logits[..classes].to_vec()).collect())
    }

    /// The first numbers of a tensor.
    async fn read(&self, tensor: &Tensor, len: usize) -> Result<Vec<f32>, GpuError> {
        tensor.first(len).read(self.gpu).await
    }
}

/// `0..count` in pieces of `size`; the last may be shorter.
fn ranges(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(size).map(move |first| first..(first + size).min(count))
}
