//! What a training needs of memory and of the disk, estimated before it begins.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::data::loader::MAX_LOADERS;
use crate::data::threads;
use crate::disk;
use crate::gpu::{Gpu, Reads};
use crate::memory::{self, shown};
use crate::nn::layout::padded;
use crate::nn::{Keep, Network, Node, Op, training_bytes};

/// What the driver takes to compile kernels and for what they become, in bytes: in any case, and for each layer that has weights.
const COMPILING: [u64; 2] = [60_000_000, 20_000_000];
/// Images at once on the device for the report.
const REPORTED: usize = 32;
/// Copies of the weights in memory while a state is written: weights and moments as they were read, the file made of them, and the weights of
/// this epoch and of the best.
const COPIES: u64 = 10;

/// What a training is.
pub struct Work<'a> {
    /// The network.
    pub network: &'a Network,
    /// Images in a step.
    pub batch: usize,
    /// All images.
    pub images: usize,
    /// Bytes of those that are kept in memory.
    pub kept: u64,
    /// Whether the weights are averaged.
    pub averages: bool,
    /// Whether pages are drawn at the end.
    pub report: bool,
    /// Whether the device's memory is that of the machine.
    pub shares_memory: bool,
    /// How kernels read what they do not write.
    pub reads: Reads,
}

/// What it needs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needs {
    /// Of the machine's memory, beside what the program has already.
    memory: u64,
    /// Of memory that is the device's own.
    device: u64,
    /// Of the disk, at most at a time.
    disk: u64,
}

impl Needs {
    /// Estimates it.
    pub fn of(work: &Work<'_>) -> Self {
        let Work { network, batch, images, kept, averages, report, shares_memory, reads } = *work;
        let parameters = network.parameter_count() as u64;
        let statistics: usize = network.statistics().iter().map(|one| one.layout.len()).sum();
        let numbers = parameters + statistics as u64;
        let averages = u64::from(averages) * numbers;

        // Each thread of the loader has two batches and makes another; three are on their way to the device.
        let batches = 3 * threads().min(MAX_LOADERS) + 3;
        let host = compiling(network) + kept + (batches * image_bytes(network, batch)) as u64;
        let copies = 4 * COPIES * (numbers + averages);
        let device =
            training_bytes(network, batch) as u64 + copied_bytes(network, batch, reads, UPDATED) + 8 * averages;
        // The report looks at all layers when no state is written any more, while the model in training is still there.
        let looking =
            if report { looking_bytes(network, REPORTED) + copied_bytes(network, REPORTED, reads, READ) } else { 0 };
        let (memory, device) =
            if shares_memory { (host + device + copies.max(looking), 0) } else { (host + copies, device + looking) };

        let state = 4 * (numbers + 2 * parameters + averages);
        // Maps are drawn as tiles that compress to some kilobytes, large ones to two bytes a pixel.
        let maps = |[channels, height, width]: [usize; 3]| channels * (2 * height * width).max(4_500);
        let pages: usize = network.blocks().iter().map(|block| maps(block.output)).sum();
        // Two states and the weights that were the best then, while the next of each is written; later the pages; always the best and the last
        // weights, and tables with a line for each image.
        let weights = 4 * numbers;
        let disk =
            (3 * state + 5 * weights).max(2 * state + 4 * weights + (pages + 1_000_000) as u64) + 256 * images as u64;
        Self { memory, device, disk }
    }

    /// The same where nothing is kept.
    pub fn without_disk(self) -> Self {
        Self { disk: 0, ..self }
    }

    /// In words, such as "about 1.2 GB of memory and 35 MB on disk".
    pub fn told(&self) -> String {
        let mut parts = vec![format!("{} of memory", shown(self.memory_in_all()))];
        if self.device > 0 {
            parts.push(format!("{} of the device's", shown(self.device)));
        }
        if self.disk > 0 {
            parts.push(format!("{} on disk", shown(self.disk)));
        }
        format!("about {}", parts.join(" and "))
    }

    fn memory_in_all(&self) -> u64 {
        self.memory + memory::held().map_or(0, |held| held.resident)
    }

    /// Checks that there is enough memory, as far as the system tells. `remedy` is what lowers what is needed.
    ///
    /// # Errors
    /// When there is not.
    pub fn check_memory(&self, remedy: &str) -> Result<()> {
        memory::check("this training", self.memory, threads().min(MAX_LOADERS), remedy)
    }

    /// Checks that there is enough room on the disk of a folder, as far as the system tells.
    ///
    /// # Errors
    /// When there is not.
    pub fn check_disk(&self, folder: &Path) -> Result<()> {
        let free = disk::free(folder).unwrap_or(u64::MAX);
        ensure!(
            self.disk <= free,
            "this training needs about {} on the disk of {}, but {} are free: make room, or name another place with --out",
            shown(self.disk),
            folder.display(),
            shown(free)
        );
        Ok(())
    }
}

/// Checks that there is memory for a network on the device with batches of these images, with all that its layers make of them if that is to be
/// looked at, or else with what training needs.
///
/// # Errors
/// When there is not, as far as the system tells.
pub fn check_network(gpu: &Gpu, network: &Network, batch: usize, keep: Keep) -> Result<()> {
    let (device, weights) = match keep {
        Keep::Needed => (training_bytes(network, batch) as u64, UPDATED),
        Keep::Everything => (looking_bytes(network, batch), READ),
    };
    let device = device + copied_bytes(network, batch, gpu.reads(), weights);
    let device = if gpu.shares_memory() { device } else { 0 };
    // A batch is made, and is then on its way to the device.
    let more = compiling(network) + device + 2 * image_bytes(network, batch) as u64;
    memory::check("this network", more, 0, "lower --batch, or take a smaller network")
}

fn compiling(network: &Network) -> u64 {
    let weighted = network.nodes().iter().filter(|node| !node.parameters().is_empty() && node.statistics().is_empty());
    COMPILING[0] + COMPILING[1] * weighted.count() as u64
}

/// Bytes of a batch of images.
fn image_bytes(network: &Network, batch: usize) -> usize {
    let [channels, height, width] = network.input();
    4 * batch * height * width * padded(channels)
}

/// Copies of all weights in textures: by the layers that read them, and in training also of what an update reads, which is their gradients, themselves
/// and two moments.
const READ: usize = 1;
const UPDATED: usize = 5;

/// Bytes of the textures that kernels read from: one for the images, [`Reads::KEPT`] for maps of each other size, one for where each
/// maximum of a pooling was, and so many for the weights.
fn copied_bytes(network: &Network, batch: usize, reads: Reads, weights: usize) -> u64 {
    if reads == Reads::Buffers {
        return 0;
    }
    let images = image_bytes(network, batch);
    let size = |node: &Node| {
        let [channels, height, width] = node.output;
        4 * batch * padded(channels) * height * width
    };
    let sizes: BTreeSet<usize> = network.nodes().iter().map(size).filter(|&size| size != images).collect();
    let pooled = network.nodes().iter().filter(|node| matches!(node.op, Op::MaxPool2d { .. }));
    let places: usize = pooled.map(size).sum();
    Reads::KEPT * sizes.into_iter().sum::<usize>() as u64
        + (images + places + weights * 4 * network.parameter_count()) as u64
}

/// Bytes of a network on the device with all that its layers make of a batch.
fn looking_bytes(network: &Network, batch: usize) -> u64 {
    let maps: usize = network.nodes().iter().map(|node| node.output).map(|[c, h, w]| padded(c) * h * w).sum();
    4 * (2 * batch * maps + 5 * network.parameter_count()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Strided;

    fn needs(change: impl FnOnce(&mut Work<'_>)) -> Needs {
        let network = Strided::dogs_vs_cats(128, 2).build().unwrap();
        let mut work = Work {
            network: &network,
            batch: 32,
            images: 1_000,
            kept: 50_000_000,
            averages: false,
            report: false,
            shares_memory: true,
            reads: Reads::Buffers,
        };
        change(&mut work);
        Needs::of(&work)
    }

    #[test]
    fn each_part_of_a_training_adds_what_it_needs() {
        let plain = needs(|_| {});
        assert!(plain.told().starts_with("about ") && plain.told().contains(" of memory and "), "{}", plain.told());
        assert_eq!(needs(|work| work.kept += 1_000).memory, plain.memory + 1_000);
        assert_eq!(needs(|work| work.images += 1_000).disk, plain.disk + 256_000);
        let averaged = needs(|work| work.averages = true);
        assert!(averaged.memory > plain.memory && averaged.disk > plain.disk);
        let larger = needs(|work| work.batch *= 2);
        assert!(larger.memory > plain.memory && larger.disk == plain.disk);
        let own = needs(|work| work.shares_memory = false);
        assert_eq!(own.memory + own.device, plain.memory);
        assert!(own.told().contains(" of the device's and "), "{}", own.told());
        // Maps of 16 x 63 x 63, 32 x 31 x 31, 64 x 15 x 15, 128 x 7 x 7 and 256 x 3 x 3; of 256, 64 and, padded, 4 numbers.
        let maps = 16 * 63 * 63 + 32 * 31 * 31 + 64 * 15 * 15 + 128 * 7 * 7 + 256 * 3 * 3 + 256 + 64 + 4;
        let weights = Strided::dogs_vs_cats(128, 2).build().unwrap().parameter_count();
        let textures = 4 * (32 * (3 * maps + 4 * 128 * 128) + 5 * weights) as u64;
        assert_eq!(needs(|work| work.reads = Reads::Textures).memory, plain.memory + textures);
        assert_eq!(plain.without_disk().told().matches(" and ").count(), 0);
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_the_options_that_help() {
        let none = Needs { memory: 0, device: 0, disk: 0 };
        none.check_disk(Path::new(".")).unwrap();
        // No machine has so much, or it does not tell.
        let error = Needs { memory: 1 << 60, ..none }.check_memory("lower --cache").err();
        assert_eq!(
            error.is_some_and(|error| error.to_string().ends_with(": lower --cache")),
            cfg!(target_os = "linux")
        );
        let error = Needs { disk: 1 << 60, ..none }.check_disk(Path::new("no/such")).err();
        assert_eq!(error.is_some_and(|error| error.to_string().ends_with("with --out")), cfg!(unix));
    }
}
