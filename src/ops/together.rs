//! What all layers need, in one kernel for many of them: transposed weights (`shaders/conv2d_transpose.wgsl`), and the sums of gradients
//! that are made in parts (`shaders/conv2d_sum.wgsl`).
//!
//! Small kernels cost a GPU the same few microseconds each, whatever they do.

use super::conv2d::{Conv2d, Parts};
use super::sums::Shared;
use crate::gpu::kernel::{kernel, uniform};
use crate::gpu::{Gpu, Plan, Tensor};

uniform! {
    /// Sizes of a kernel for several layers.
    pub struct Layers {
        /// Layers: each has two vectors in the table.
        pub layers: u32,
        /// Workgroups of all of them.
        pub workgroups: u32,
    }
}

/// Numbers of a layer in the table.
const ENTRY: usize = 8;

/// The table of a kernel that is being made: of each layer its first workgroup, three sizes, and where it begins in two tensors.
#[derive(Default)]
struct Table {
    numbers: Vec<u32>,
    workgroups: u64,
}

impl Table {
    /// A layer with so many workgroups. `starts` count vectors of four.
    fn push(&mut self, workgroups: u64, sizes: [u32; 3], starts: [usize; 2]) {
        let first = u32::try_from(self.workgroups).expect("a dispatch holds no more");
        let [a, b, c] = sizes;
        let [from, to] = starts.map(|start| u32::try_from(start).expect("no buffer is so long"));
        self.numbers.extend([first, a, b, c, from, to, 0, 0]);
        self.workgroups += workgroups;
    }

    fn layers(&self) -> Layers {
        Layers { layers: (self.numbers.len() / ENTRY) as u32, workgroups: self.workgroups as u32 }
    }

    fn upload(&self, gpu: &Gpu) -> Tensor {
        Tensor::from_slice(gpu, "table of layers", &self.numbers).expect("a network has few layers")
    }
}

/// Where a part of an arena begins in it, in vectors of four.
fn vectors_before(part: &Tensor, arena: &Tensor) -> usize {
    (part.start() - arena.start()) / 4
}

/// Adds the transposed weights of some convolutions: for each, its weight, which is a part of `weights`, and the room for it, a part
/// of `transposed`.
pub fn transpose(
    gpu: &Gpu,
    plan: &mut Plan,
    place: &str,
    convs: &[(&Conv2d, &Tensor, &Tensor)],
    weights: &Tensor,
    transposed: &Tensor,
) {
    if convs.is_empty() {
        return;
    }
    let mut table = Table::default();
    for (conv, weight, room) in convs {
        let shape = conv.shape();
        let taps = shape.kernel_h * shape.kernel_w;
        let workgroups = u64::from(taps) * u64::from(shape.cin.div_ceil(8)) * u64::from(shape.cout.div_ceil(8));
        let starts = [vectors_before(weight, weights), vectors_before(room, transposed)];
        table.push(workgroups, [taps, shape.cin, shape.cout], starts);
    }
    plan.add(gpu, place, &TransposeWeights { shape: table.layers(), table: &table.upload(gpu), weights, transposed });
}

/// Gradients that were made in parts, and wait to be added up.
pub struct Sums {
    /// Room for the parts, all parts of one buffer.
    room: Tensor,
    /// Numbers of it that hold parts.
    used: usize,
    /// The arena that the gradients lie in.
    gradients: Tensor,
    table: Table,
}

impl Sums {
    /// None yet.
    pub fn new(room: &Tensor, gradients: &Tensor) -> Self {
        Self { room: room.clone(), used: 0, gradients: gradients.clone(), table: Table::default() }
    }

    /// Numbers of room that a step needs at once where the gradients have so many numbers in parts: for all of them, if they are small.
    pub fn room_for(gpu: &Gpu, lens: &[usize]) -> usize {
        // 64 MiB.
        const MOST: usize = 1 << 24;
        let all: usize = lens.iter().map(|len| len.next_multiple_of(alignment(gpu))).sum();
        all.min(MOST).max(lens.iter().copied().max().unwrap_or(0))
    }

    /// Room for the parts of a gradient, which are added up to it later: at once, if there is no room left before.
    pub fn room(&mut self, gpu: &Gpu, plan: &mut Plan, parts: Parts, gradient: &Tensor) -> Tensor {
        let parts = parts.on(gpu);
        let len = parts.partial_len();
        if self.used + len > self.room.len() {
            self.add_up(gpu, plan);
        }
        let room = self.room.from(self.used).first(len);
        let starts = [self.used / 4, vectors_before(gradient, &self.gradients)];
        self.table.push(parts.workgroups(), [parts.len, parts.chunks, parts.columns], starts);
        self.used += len.next_multiple_of(alignment(gpu));
        room
    }

    /// Adds the kernel that adds up what waits, if anything does.
    pub fn add_up(&mut self, gpu: &Gpu, plan: &mut Plan) {
        let mut table = std::mem::take(&mut self.table);
        let used = std::mem::take(&mut self.used);
        if table.workgroups == 0 {
            return;
        }
        // From the first of the gradients to the last: of a large network, each of several kernels has a share of them.
        let entries = || table.numbers.chunks(ENTRY);
        let first = entries().map(|entry| entry[5]).min().unwrap_or(0);
        let last = entries().map(|entry| entry[5] + entry[1]).max().unwrap_or(0);
        table.numbers.chunks_mut(ENTRY).for_each(|entry| entry[5] -= first);
        let gradients = &self.gradients.from(4 * first as usize).first(4 * (last - first) as usize);
        let partials = &self.room.first(used.min(self.room.len()));
        let (shapes, shared) = (table.layers(), Shared::on(gpu));
        plan.add(gpu, "all layers", &SumLayers { shapes, shared, partials, table: &table.upload(gpu), gradients });
    }
}

/// Numbers at whose multiples a tensor may begin in another, at vectors of four.
pub fn alignment(gpu: &Gpu) -> usize {
    (gpu.limits().min_storage_buffer_offset_alignment as usize / 4).max(4)
}

kernel! {
    /// `transposed =` the weights with input and output channels exchanged
    TransposeWeights("conv2d_transpose", exchange) {
        constant shape: Layers,
        read table,
        read weights,
        write transposed,
    }
    workgroups |shape| shape.workgroups.into();
    flops |_shape| 0;
}

kernel! {
    /// `gradients =` sums of the partials over the chunks, of several layers
    SumLayers("conv2d_sum", sum_layers) {
        constant shapes: Layers,
        tile shared: Shared,
        read partials,
        read table,
        write gradients,
    }
    workgroups |shapes| shapes.workgroups.into();
    flops |_shapes| 0;
}
