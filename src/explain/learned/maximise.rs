//! Activation maximisation: images made to activate channels.

use image::RgbImage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::data::pixels::{CHANNELS, byte};
use crate::explain::Lens;
use crate::gpu::{GpuError, Plan, Tensor};
use crate::nn::layout::padded;
use crate::nn::{Keep, Mode, Model, Network, Value};

/// Most images that climb together.
const BATCH: usize = 64;
/// Most times that a gradient is blurred; more costs much and shows little.
const BLURS: usize = 8;
/// Standard deviation of the noise that an image starts from, where the whole range is -1 to 1.
const NOISE: f32 = 0.1;

/// How images climb.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascent {
    /// Steps.
    pub steps: usize,
    /// How far the first step moves a colour, as a root mean square, where the whole range is -1 to 1. Later steps are
    /// shorter, in proportion to how many are left.
    pub rate: f32,
    /// Weight of the total variation, which holds neighbouring pixels together.
    pub variation: f32,
    /// Decides the noise at the start and the shifts.
    pub seed: u64,
}

impl Default for Ascent {
    fn default() -> Self {
        Self { steps: 48, rate: 0.1, variation: 0.1, seed: 0 }
    }
}

/// An image that activates one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Maximised {
    /// The channel.
    pub channel: usize,
    /// The image, (side, side, 4): red, green and blue from -1 to 1, and a zero.
    pub image: Vec<f32>,
    /// What the channel makes of the noise at the start, after batch norm and before ReLU.
    pub start: f32,
    /// What it makes of the image.
    pub value: f32,
}

impl Maximised {
    /// It as bytes of RGB.
    pub fn image(&self) -> RgbImage {
        let side = (self.image.len() / CHANNELS).isqrt() as u32;
        let (pixels, _) = self.image.as_chunks::<CHANNELS>();
        let bytes = pixels.iter().flat_map(|[red, green, blue, _]| [red, green, blue].map(|value| byte(*value)));
        RgbImage::from_raw(side, side, bytes.collect()).expect("as many bytes as pixels")
    }
}

/// Makes for each of these channels of block `number`, counted from 0, an image that activates it most, by gradient ascent.
///
/// What is raised is one value, not a mean over the map: the image is then what a single value of the channel can see,
/// of the side of its receptive field, and can be laid beside the strongest patches of real images. It is the value after
/// batch norm and before ReLU, which has a gradient where the channel is silent too. The network is built anew for images
/// of that side, which is many times faster than for whole ones, and without padding, since a value in the midst of a map
/// sees none. Only where the receptive field exceeds the network's own images, these stay as they are, and the value at
/// the centre of the map is raised.
///
/// Each step follows the gradient, scaled to the same length for every image, so that loud and silent channels move
/// alike. It looks at the image through a window that is shifted at random, by up to an eighth of its side; the gradient is
/// blurred, less and less from step to step, so that the coarse comes before the fine; and the total variation pulls back.
/// All this keeps away the fine noise that activates a channel without being anything to see: the gradient of a
/// strided convolution is a chequerboard. Below 8 pixels there is neither shift nor blur: there every pixel counts.
///
/// A channel that nothing drives, because all that it adds up is silent, keeps its noise, smoothed: its value is no higher
/// than at the start. `progress` is told how many channels are done. Equal arguments give equal images.
///
/// # Errors
/// When a tensor exceeds what the device can bind, or the device failed.
///
/// # Panics
/// When there is no such block or channel.
pub fn maximise(
    lens: &Lens<'_>,
    number: usize,
    channels: &[usize],
    ascent: &Ascent,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Maximised>, GpuError> {
    let count = lens.blocks()[number].output[0];
    assert!(channels.iter().all(|channel| *channel < count), "block {number} has {count} channels");
    let mut made = Vec::with_capacity(channels.len());
    if channels.is_empty() {
        return Ok(made);
    }
    let climb = Climb::new(lens, number, channels.len())?;
    for channels in channels.chunks(climb.model.batch()) {
        made.extend(climb.run(channels, ascent)?);
        progress(made.len());
    }
    Ok(made)
}

/// The network up to one block, for images as large as one of its values can see.
struct Climb<'l, 'gpu> {
    lens: &'l Lens<'gpu>,
    model: Model,
    /// What the block's batch norm makes.
    value: Value,
    shape: [usize; 3],
    side: usize,
    forward: Plan,
    backward: Plan,
}

impl<'l, 'gpu> Climb<'l, 'gpu> {
    /// For at most `most` images at once, and no more than take the memory of the lens's own batch.
    fn new(lens: &'l Lens<'gpu>, number: usize, most: usize) -> Result<Self, GpuError> {
        let gpu = lens.gpu();
        let network = lens.network().seen_by(number);
        let pixels = |network: &Network| network.input()[1] * network.input()[2];
        let batch = (lens.batch() * pixels(lens.network()) / pixels(&network)).min(BATCH).min(most);
        let model = Model::new(gpu, &network, batch, Keep::Everything)?;
        model.load(gpu, &pollster::block_on(lens.model().weights(gpu, 0))?);
        model.set_live(gpu, batch);
        let value = network.blocks()[number].norm;
        let (forward, backward) = (model.forward(gpu, Mode::Eval), model.backward_from(gpu, value));
        Ok(Self { lens, value, shape: network.shape(value), side: network.input()[1], forward, backward, model })
    }

    /// One image for each of the channels, at most a batch.
    fn run(&self, channels: &[usize], ascent: &Ascent) -> Result<Vec<Maximised>, GpuError> {
        self.seed(channels);
        // For the window to shift.
        let room = self.side / 8;
        let mut padded_images: Vec<PaddedImage> =
            channels.iter().map(|channel| PaddedImage::noise(self.side + room, ascent.seed, *channel)).collect();
        let middle = [room / 2; 2];
        let start = self.values(&padded_images, middle, channels)?;
        let mut shifts = ChaCha8Rng::seed_from_u64(ascent.seed);
        let each = self.side * self.side * CHANNELS;
        for step in 1..=ascent.steps {
            let corner = [(); 2].map(|()| shifts.random_range(0..=room));
            self.write(&padded_images, corner);
            self.forward.submit(self.lens.gpu())?;
            self.backward.submit(self.lens.gpu())?;
            let mut gradients = self.read(&self.model.gradient(Mode::Eval, 0).first(each * channels.len()))?;
            self.lens.network().normalize().apply_to_gradient(&mut gradients);
            let left = (ascent.steps - step + 1) as f32 / ascent.steps as f32;
            let blurs = (room.min(BLURS) as f32 * left).ceil() as usize;
            let rate = ascent.rate * left;
            for (padded_image, gradient) in padded_images.iter_mut().zip(gradients.chunks(each)) {
                let (gradient, _) = gradient.as_chunks();
                let mut gradient = PaddedImage { side: self.side, pixels: gradient.to_vec() };
                (0..blurs).for_each(|_| gradient.blur());
                padded_image.climb(&gradient, corner, rate, ascent.variation);
            }
        }
        let values = self.values(&padded_images, middle, channels)?;
        let made = channels.iter().zip(padded_images).zip(start.into_iter().zip(values));
        Ok(made
            .map(|((&channel, padded_image), (start, value))| Maximised {
                channel,
                image: padded_image.window(self.side, middle),
                start,
                value,
            })
            .collect())
    }

    /// The gradient of each image's channel by what batch norm makes: 1 at the centre of its map.
    fn seed(&self, channels: &[usize]) {
        let [all, height, width] = self.shape;
        let each = height * width * padded(all);
        let mut seed = vec![0.0f32; self.model.batch() * each];
        for (image, channel) in seed.chunks_mut(each).zip(channels) {
            image[self.centre(*channel)] = 1.0;
        }
        self.model.gradient(Mode::Eval, self.value).write(self.lens.gpu(), &seed);
    }

    /// The place of a channel's value at the centre of its map.
    fn centre(&self, channel: usize) -> usize {
        let [all, height, width] = self.shape;
        (height / 2 * width + width / 2) * padded(all) + channel
    }

    /// What each image's channel makes of it.
    fn values(
        &self,
        padded_images: &[PaddedImage],
        corner: [usize; 2],
        channels: &[usize],
    ) -> Result<Vec<f32>, GpuError> {
        self.write(padded_images, corner);
        self.forward.submit(self.lens.gpu())?;
        let [all, height, width] = self.shape;
        let each = height * width * padded(all);
        let norm = self.read(&self.model.value(Mode::Eval, self.value).first(each * channels.len()))?;
        Ok(norm.chunks(each).zip(channels).map(|(maps, channel)| maps[self.centre(*channel)]).collect())
    }

    fn write(&self, padded_images: &[PaddedImage], corner: [usize; 2]) {
        let mut windows: Vec<f32> =
            padded_images.iter().flat_map(|padded_image| padded_image.window(self.side, corner)).collect();
        self.lens.network().normalize().apply(&mut windows);
        self.model.images().write(self.lens.gpu(), &windows);
    }

    fn read(&self, tensor: &Tensor) -> Result<Vec<f32>, GpuError> {
        pollster::block_on(tensor.read(self.lens.gpu()))
    }
}

/// A square image that is being made, (side, side, 4).
struct PaddedImage {
    side: usize,
    pixels: Vec<[f32; CHANNELS]>,
}

impl PaddedImage {
    /// Noise around grey, of its own for each channel.
    fn noise(side: usize, seed: u64, channel: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1 + channel as u64);
        // A uniform number between -1 and 1 has a standard deviation of 1 / sqrt(3).
        let most = NOISE * 3.0f32.sqrt();
        let mut colour = || rng.random_range(-most..most);
        let pixels = (0..side * side).map(|_| [colour(), colour(), colour(), 0.0]).collect();
        Self { side, pixels }
    }

    /// The square of `side` pixels from this row and column on.
    fn window(&self, side: usize, [top, left]: [usize; 2]) -> Vec<f32> {
        let rows = self.pixels.chunks(self.side).skip(top).take(side);
        rows.flat_map(|row| row[left..left + side].as_flattened()).copied().collect()
    }

    /// One step up the gradient of a window, and down the total variation.
    fn climb(&mut self, gradient: &PaddedImage, [top, left]: [usize; 2], rate: f32, variation: f32) {
        let pull = self.variation();
        let squares: f32 = gradient.pixels.as_flattened().iter().map(|value| value * value).sum();
        let mean = (squares / (3 * gradient.pixels.len()) as f32).sqrt();
        // Where all gradients are zero, nothing drives the channel.
        let scale = if mean > 0.0 { rate / mean } else { 0.0 };
        let rows = self.pixels.chunks_mut(self.side).skip(top);
        for (row, gradient) in rows.zip(gradient.pixels.chunks(gradient.side)) {
            for (pixel, gradient) in row[left..].iter_mut().zip(gradient) {
                pixel.iter_mut().zip(gradient).for_each(|(colour, gradient)| *colour += scale * gradient);
            }
        }
        for (colour, pull) in self.pixels.as_flattened_mut().iter_mut().zip(pull.as_flattened()) {
            *colour = (*colour - rate * variation * pull).clamp(-1.0, 1.0);
        }
    }

    /// Gradient of the total variation: the sum of |a - b| over neighbours, made smooth around 0.
    fn variation(&self) -> Vec<[f32; CHANNELS]> {
        let mut gradient = vec![[0.0; CHANNELS]; self.pixels.len()];
        let mut pull = |a: usize, b: usize| {
            let slope: [f32; CHANNELS] = std::array::from_fn(|lane| {
                let difference = self.pixels[a][lane] - self.pixels[b][lane];
                difference / (difference * difference + 0.01).sqrt()
            });
            gradient[a].iter_mut().zip(slope).for_each(|(gradient, slope)| *gradient += slope);
            gradient[b].iter_mut().zip(slope).for_each(|(gradient, slope)| *gradient -= slope);
        };
        for place in 0..self.pixels.len() {
            if (place + 1) % self.side != 0 {
                pull(place, place + 1);
            }
            if place + self.side < self.pixels.len() {
                pull(place, place + self.side);
            }
        }
        gradient
    }

    /// Each pixel becomes the mean of its neighbourhood of 3 x 3, weighted 1, 2, 1 in both directions; beyond the edge
    /// the edge goes on.
    fn blur(&mut self) {
        let side = self.side;
        let blurred = |pixels: &[[f32; CHANNELS]], step: usize, along: fn(usize, usize) -> usize| {
            let mean = |place: usize| {
                let position = along(place, side);
                let before = if position > 0 { place - step } else { place };
                let after = if position + 1 < side { place + step } else { place };
                let [a, b, c] = [before, place, after].map(|place| pixels[place]);
                std::array::from_fn(|lane| 0.25 * a[lane] + 0.5 * b[lane] + 0.25 * c[lane])
            };
            (0..pixels.len()).map(mean).collect::<Vec<_>>()
        };
        let across = blurred(&self.pixels, 1, |place, side| place % side);
        self.pixels = blurred(&across, side, |place, side| place / side);
    }
}
