use std::sync::Arc;

use super::device::Pipeline;
use super::reads::{Held, Texture, TextureCopy};
use super::{Gpu, GpuError, Tensor};
use crate::gpu::kernel::{Access, Argument, IN_PARTS, Kernel, WORKGROUP};

/// Kernels with their arguments bound, recorded once and replayed every step.
///
/// A kernel that is much work is several dispatches of some of its workgroups each, because a dispatch cannot be interrupted: nothing else
/// is done on the device meanwhile, and many systems take the device away after two seconds. Its work is its floating-point operations,
/// and eight for each byte that it reads or writes.
///
/// A plan owns nothing but handles: it keeps the buffers of its tensors alive.
pub struct Plan {
    kernels: Vec<Bound>,
    held: Held,
}

/// A kernel with its arguments bound.
struct Bound {
    name: String,
    pipeline: Arc<Pipeline>,
    /// What it reads from textures that do not hold it yet.
    copies: Vec<TextureCopy>,
    /// What it writes.
    written: Vec<Tensor>,
    dispatches: Vec<Dispatch>,
    flops: u64,
    bytes: u64,
}

struct Dispatch {
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 2],
}

/// Floating-point operations that a byte counts as, in the work of a kernel.
const BYTE: u64 = 8;

/// How long one kernel of a plan took on the device.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Operation, entry point and what it was added for.
    pub name: String,
    /// Median over the repeats.
    pub seconds: f64,
    /// Least and most over the repeats.
    pub range: [f64; 2],
    /// Dispatches that it is made of.
    pub dispatches: usize,
    /// Of the longest of these: the median over the repeats.
    pub longest: f64,
    /// Floating-point operations asked for; a multiply-add counts as two.
    pub flops: u64,
    /// Bytes of all arguments: each read or written once.
    pub bytes: u64,
}

impl Plan {
    /// An empty plan.
    pub fn new() -> Self {
        Self { kernels: Vec::new(), held: Held::default() }
    }

    /// Appends a kernel. `place` says where in the model it stands, such as `"block 1"`.
    ///
    /// # Panics
    /// When a tensor that the kernel writes overlaps another of its arguments, or it has more invocations than a
    /// dispatch can hold: both are mistakes in this crate.
    pub fn add(&mut self, gpu: &Gpu, place: &str, kernel: &impl Kernel) {
        let declaration = kernel.declaration();
        let name = format!("{}.{} {place}", declaration.op, declaration.entry);
        let arguments = kernel.arguments();
        let bytes: u64 = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Constant(_) => 0,
                Argument::Tensor(tensor) => tensor.bytes(),
            })
            .sum();
        let work = kernel.flops() + BYTE * bytes;
        let parts = parts(&name, kernel.workgroups(), work.div_ceil(gpu.most_work()), gpu.most_workgroups());
        let mut known = kernel.constants();
        if parts.len() > 1 {
            known.push((IN_PARTS, 1));
        }
        let pipeline = gpu.pipeline(declaration, known);

        let tensors: Vec<(&Tensor, Access)> = arguments
            .iter()
            .zip(declaration.arguments)
            .filter_map(|(argument, (_, access))| match argument {
                Argument::Constant(_) => None,
                Argument::Tensor(tensor) => Some((*tensor, *access)),
            })
            .collect();
        refuse_overlap(&name, &tensors);

        let mut constants = Vec::new();
        let mut buffers = Vec::new();
        let mut textures: Vec<(u32, Arc<Texture>)> = Vec::new();
        let mut copies = Vec::new();
        for (argument, binding) in arguments.iter().zip(&pipeline.bindings) {
            match argument {
                Argument::Constant(bytes) => {
                    constants.extend(binding.buffer.map(|number| (number, constant_buffer(gpu, &name, bytes))));
                }
                Argument::Tensor(tensor) => {
                    buffers.extend(binding.buffer.map(|number| (number, *tensor)));
                    if let Some((number, element)) = binding.texture {
                        let (texture, copy) = self.held.texture(gpu, tensor, element, &textures);
                        textures.push((number, texture));
                        copies.extend(copy);
                    }
                }
            }
        }
        let written = tensors.iter().filter(|(_, access)| access.writes()).map(|(tensor, _)| (*tensor).clone());
        let written: Vec<Tensor> = written.collect();
        written.iter().for_each(|tensor| self.held.written(tensor));

        let dispatch = |part: &Part| {
            let before = constant_buffer(gpu, &name, bytemuck::bytes_of(&part.before));
            let entries: Vec<_> = constants
                .iter()
                .map(|(number, buffer)| (*number, buffer.as_entire_binding()))
                .chain(buffers.iter().map(|(number, tensor)| (*number, tensor.binding())))
                .chain(textures.iter().map(|(number, texture)| (*number, texture.binding())))
                .chain([(pipeline.workgroups_before, before.as_entire_binding())])
                .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
                .collect();
            let bind_group = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&name),
                layout: &pipeline.layout,
                entries: &entries,
            });
            Dispatch { bind_group, workgroups: part.workgroups }
        };
        let dispatches = parts.iter().map(dispatch).collect();
        self.kernels.push(Bound { name, pipeline, copies, written, dispatches, flops: kernel.flops(), bytes });
    }

    /// Appends all of another plan.
    pub fn extend(&mut self, other: Plan) {
        self.kernels.extend(other.kernels);
        self.held = Held::default();
    }

    /// How many kernels it holds.
    pub fn len(&self) -> usize {
        self.kernels.len()
    }

    /// In how many dispatches they are.
    pub fn dispatches(&self) -> usize {
        self.kernels.iter().map(|kernel| kernel.dispatches.len()).sum()
    }

    /// Whether it holds no kernel.
    pub fn is_empty(&self) -> bool {
        self.kernels.is_empty()
    }

    /// Operation, entry point and place of each kernel, such as `"relu.forward block 1"`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|kernel| kernel.name.as_str())
    }

    /// Bytes that its kernels read and write, where each takes each of its arguments once.
    pub fn bytes(&self) -> u64 {
        self.kernels.iter().map(|kernel| kernel.bytes).sum()
    }

    /// Submits all kernels, without waiting: those between two copies in one pass.
    ///
    /// # Errors
    /// When the device failed.
    pub fn submit(&self, gpu: &Gpu) -> Result<wgpu::SubmissionIndex, GpuError> {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut kernels = self.kernels.as_slice();
        while let Some((first, others)) = kernels.split_first() {
            let uncopied = others.iter().take_while(|kernel| kernel.copies.is_empty()).count();
            let (in_pass, rest) = kernels.split_at(1 + uncopied);
            first.copies.iter().for_each(|copy| copy.record(&mut encoder));
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for kernel in in_pass {
                for dispatch in &kernel.dispatches {
                    kernel.record(&mut pass, &dispatch.bind_group, dispatch.workgroups);
                }
            }
            kernels = rest;
        }
        gpu.submit(encoder)
    }

    /// Makes the driver compile every kernel now, by running one workgroup of each: many drivers compile only then. Of kernels that differ in
    /// their tensors alone it runs the first. It leaves zeros in the tensors that these write; fill them afterwards. Calls `progress(done, all)` as it goes.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn compile(&self, gpu: &Gpu, mut progress: impl FnMut(usize, usize)) -> Result<(), GpuError> {
        let mut kernels: Vec<&Bound> = Vec::new();
        for bound in &self.kernels {
            if !kernels.iter().any(|kernel| Arc::ptr_eq(&kernel.pipeline, &bound.pipeline)) {
                kernels.push(bound);
            }
        }
        for (done, kernel) in kernels.iter().enumerate() {
            progress(done, kernels.len());
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            let first = &kernel.dispatches[0];
            kernel.record(&mut encoder.begin_compute_pass(&Default::default()), &first.bind_group, [1, 1]);
            gpu.submit(encoder)?;
            gpu.done().await?;
        }
        // What they wrote is meaningless, as they also read textures with numbers of other plans. The gaps of an arena are to hold zeros.
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        kernels.iter().flat_map(|kernel| &kernel.written).for_each(|tensor| tensor.clear(&mut encoder));
        gpu.submit(encoder)?;
        progress(kernels.len(), kernels.len());
        Ok(())
    }

    /// Times every kernel on the device: runs the whole plan `repeats` times, each dispatch in a pass of its own.
    ///
    /// # Errors
    /// When the device failed.
    ///
    /// # Panics
    /// When the device has no timestamps ([`Gpu::has_timestamps`]).
    pub async fn time(&self, gpu: &Gpu, repeats: usize) -> Result<Vec<Timing>, GpuError> {
        let dispatches: Vec<(&Bound, &Dispatch)> = self
            .kernels
            .iter()
            .flat_map(|kernel| kernel.dispatches.iter().map(move |dispatch| (kernel, dispatch)))
            .collect();
        // Of each repeat, the seconds of all dispatches.
        let mut seconds = Vec::with_capacity(repeats);
        for _ in 0..repeats {
            let mut times = Vec::with_capacity(dispatches.len());
            // A query set holds at most 4,096 timestamps.
            for chunk in dispatches.chunks(2048) {
                times.extend(time_once(gpu, chunk).await?);
            }
            seconds.push(times);
        }
        let sorted = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times
        };
        let mut end = 0;
        let timing = |kernel: &Bound| {
            let own = end..end + kernel.dispatches.len();
            end = own.end;
            let whole = sorted(seconds.iter().map(|times| times[own.clone()].iter().sum()).collect());
            let each = own.clone().map(|one| sorted(seconds.iter().map(|times| times[one]).collect())[repeats / 2]);
            Timing {
                name: kernel.name.clone(),
                seconds: whole[repeats / 2],
                range: [whole[0], whole[repeats - 1]],
                dispatches: own.len(),
                longest: each.fold(0.0, f64::max),
                flops: kernel.flops,
                bytes: kernel.bytes,
            }
        };
        Ok(self.kernels.iter().map(timing).collect())
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Bound {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>, bind_group: &wgpu::BindGroup, workgroups: [u32; 2]) {
        pass.set_pipeline(self.pipeline.compiled());
        pass.set_bind_group(0, bind_group, &[]);
        pass.dispatch_workgroups(workgroups[0], workgroups[1], 1);
    }
}

async fn time_once(gpu: &Gpu, dispatches: &[(&Bound, &Dispatch)]) -> Result<Vec<f64>, GpuError> {
    let count = 2 * dispatches.len() as u32;
    let queries = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("timestamps"),
        ty: wgpu::QueryType::Timestamp,
        count,
    });
    let size = 8 * u64::from(count);
    let buffer = |usage| {
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size,
            usage,
            mapped_at_creation: false,
        })
    };
    let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
    let staging = buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ);

    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    for (first, (kernel, dispatch)) in (0..).step_by(2).zip(dispatches) {
        let writes = |beginning, end| {
            Some(wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: beginning,
                end_of_pass_write_index: end,
            })
        };
        let descriptor = |timestamp_writes| wgpu::ComputePassDescriptor { label: Some(&kernel.name), timestamp_writes };
        // Its copies are a part of a kernel's time, and no pass holds copies: so another begins before them.
        let copies = if std::ptr::eq(*dispatch, &kernel.dispatches[0]) { kernel.copies.as_slice() } else { &[] };
        let mut beginning = Some(first);
        if !copies.is_empty() {
            drop(encoder.begin_compute_pass(&descriptor(writes(beginning.take(), None))));
            copies.iter().for_each(|copy| copy.record(&mut encoder));
        }
        let mut pass = encoder.begin_compute_pass(&descriptor(writes(beginning, Some(first + 1))));
        kernel.record(&mut pass, &dispatch.bind_group, dispatch.workgroups);
    }
    encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
    encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, size);
    gpu.submit(encoder)?;

    let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&gpu.map(&staging).await?);
    let period = f64::from(gpu.queue().get_timestamp_period()) * 1e-9;
    Ok(ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period).collect())
}

fn constant_buffer(gpu: &Gpu, name: &str, bytes: &[u8]) -> wgpu::Buffer {
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some(name),
        size: (bytes.len() as u64).next_multiple_of(16),
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue().write_buffer(&buffer, 0, bytes);
    buffer
}

/// The API accepts overlapping writable bindings silently; the result would depend on the order of invocations.
fn refuse_overlap(name: &str, tensors: &[(&Tensor, Access)]) {
    for (i, (written, access)) in tensors.iter().enumerate() {
        for (j, (other, _)) in tensors.iter().enumerate() {
            assert!(
                !access.writes() || i == j || !written.overlaps(other),
                "{name}: writes `{}`, which overlaps its argument `{}`",
                written.name,
                other.name
            );
        }
    }
}

/// Some of a kernel's workgroups.
struct Part {
    /// How many stand before them.
    before: u32,
    /// How many they are, in two dimensions.
    workgroups: [u32; 2],
}

/// So many workgroups in at least so many parts, if there are as many workgroups. A whole is folded into two dimensions where one does
/// not hold them, but `most`, and a few workgroups more than there are fill the last row. Parts have one dimension and no such workgroups,
/// which would do again what the next part does.
fn parts(name: &str, workgroups: u64, wanted: u64, most: u64) -> Vec<Part> {
    let groups = workgroups.max(1);
    assert!(groups * WORKGROUP <= u64::from(u32::MAX), "{name}: {groups} workgroups are too many for one kernel");
    if wanted.min(groups) <= 1 {
        let rows = groups.div_ceil(most);
        assert!(rows <= 65_535, "{name}: {groups} workgroups are too many for one dispatch");
        return vec![Part { before: 0, workgroups: [groups.div_ceil(rows) as u32, rows as u32] }];
    }
    let size = (groups / wanted).clamp(1, most);
    let part = |before: u64| Part { before: before as u32, workgroups: [size.min(groups - before) as u32, 1] };
    (0..groups).step_by(size as usize).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn parts_hold_each_workgroup_once() {
        for workgroups in [2, 3, 5, 7, 64, 65, 1000, 70_001] {
            for wanted in [2, 3, 4, 64, 1000, u64::MAX] {
                for most in [5, 64, 65_535] {
                    let parts = parts("test", workgroups, wanted, most);
                    assert!(parts.len() as u64 >= wanted.min(workgroups), "{workgroups} in {wanted}");
                    let mut next = 0;
                    for part in &parts {
                        assert_eq!(u64::from(part.before), next);
                        let [columns, rows] = part.workgroups.map(u64::from);
                        assert!(columns >= 1 && columns <= most && rows == 1, "{columns} x {rows}");
                        next += columns;
                    }
                    assert_eq!(next, workgroups, "in {wanted} parts of at most {most}");
                }
            }
        }
    }

    #[test]
    fn little_work_is_one_dispatch() {
        for (workgroups, folded) in [(0, [1, 1]), (1, [1, 1]), (5, [5, 1]), (6, [3, 2]), (11, [4, 3])] {
            let parts = parts("test", workgroups, 1, 5);
            assert_eq!(parts.iter().map(|part| (part.before, part.workgroups)).collect::<Vec<_>>(), [(0, folded)]);
        }
    }
}
