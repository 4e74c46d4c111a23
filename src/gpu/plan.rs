use std::sync::Arc;

use super::device::Pipeline;
use super::{Gpu, GpuError, Tensor};
use crate::gpu::kernel::{Access, Argument, Kernel, WORKGROUP};

/// Kernels with their arguments bound, recorded once and replayed every step.
///
/// A plan owns nothing but handles: it keeps the buffers of its tensors alive.
pub struct Plan {
    dispatches: Vec<Dispatch>,
}

struct Dispatch {
    name: String,
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 2],
    flops: u64,
    bytes: u64,
}

/// How long one kernel of a plan took on the device.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Operation, entry point and what it was added for.
    pub name: String,
    /// Median over the repeats.
    pub seconds: f64,
    /// Least and most over the repeats.
    pub range: [f64; 2],
    /// Floating-point operations asked for; a multiply-add counts as two.
    pub flops: u64,
    /// Bytes of all arguments: each read or written once.
    pub bytes: u64,
}

impl Plan {
    /// An empty plan.
    pub fn new() -> Self {
        Self { dispatches: Vec::new() }
    }

    /// Appends a kernel. `place` says where in the model it stands, such as `"block 1"`.
    ///
    /// # Panics
    /// When a tensor that the kernel writes overlaps another of its arguments, or it has more invocations than a
    /// dispatch can hold: both are mistakes in this crate.
    pub fn add(&mut self, gpu: &Gpu, place: &str, kernel: &impl Kernel) {
        let declaration = kernel.declaration();
        let name = format!("{}.{} {place}", declaration.op, declaration.entry);
        let pipeline = gpu.pipeline(declaration, kernel.constants());
        let arguments = kernel.arguments();

        let mut constants = Vec::new();
        let mut tensors = Vec::new();
        for ((argument, (_, access)), number) in arguments.iter().zip(declaration.arguments).zip(&pipeline.numbers) {
            match argument {
                Argument::Constant(bytes) => constants.push((*number, constant_buffer(gpu, &name, bytes))),
                Argument::Tensor(tensor) => tensors.push((*number, *tensor, *access)),
            }
        }
        refuse_overlap(&name, &tensors);

        let entries: Vec<_> = constants
            .iter()
            .map(|(number, buffer)| (*number, buffer.as_entire_binding()))
            .chain(tensors.iter().map(|(number, tensor, _)| (*number, tensor.binding())))
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        let bind_group = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        self.dispatches.push(Dispatch {
            workgroups: folded(&name, kernel.workgroups(), gpu.most_workgroups()),
            flops: kernel.flops(),
            bytes: tensors.iter().map(|(_, tensor, _)| tensor.bytes()).sum(),
            name,
            pipeline,
            bind_group,
        });
    }

    /// Appends all of another plan.
    pub fn extend(&mut self, other: Plan) {
        self.dispatches.extend(other.dispatches);
    }

    /// How many kernels it holds.
    pub fn len(&self) -> usize {
        self.dispatches.len()
    }

    /// Whether it holds no kernel.
    pub fn is_empty(&self) -> bool {
        self.dispatches.is_empty()
    }

    /// Operation, entry point and place of each kernel, such as `"relu.forward block 1"`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.dispatches.iter().map(|dispatch| dispatch.name.as_str())
    }

    /// Bytes that its kernels read and write, where each takes each of its arguments once.
    pub fn bytes(&self) -> u64 {
        self.dispatches.iter().map(|dispatch| dispatch.bytes).sum()
    }

    /// Submits all kernels in one pass, without waiting.
    ///
    /// # Errors
    /// When the device failed.
    pub fn submit(&self, gpu: &Gpu) -> Result<wgpu::SubmissionIndex, GpuError> {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for dispatch in &self.dispatches {
            dispatch.record(&mut pass, dispatch.workgroups);
        }
        drop(pass);
        gpu.submit(encoder)
    }

    /// Makes the driver compile every kernel now, by running one workgroup of each: many drivers compile only then.
    /// What this leaves in the tensors is meaningless; fill them afterwards. Calls `progress(done, all)` as it goes.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn compile(&self, gpu: &Gpu, mut progress: impl FnMut(usize, usize)) -> Result<(), GpuError> {
        let mut kernels: Vec<&Dispatch> = Vec::new();
        for dispatch in &self.dispatches {
            if !kernels.iter().any(|kernel| Arc::ptr_eq(&kernel.pipeline, &dispatch.pipeline)) {
                kernels.push(dispatch);
            }
        }
        for (done, dispatch) in kernels.iter().enumerate() {
            progress(done, kernels.len());
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            dispatch.record(&mut encoder.begin_compute_pass(&Default::default()), [1, 1]);
            gpu.submit(encoder)?;
            gpu.done().await?;
        }
        progress(kernels.len(), kernels.len());
        Ok(())
    }

    /// Times every kernel on the device: runs the whole plan `repeats` times, each kernel in a pass of its own.
    ///
    /// # Errors
    /// When the device failed.
    ///
    /// # Panics
    /// When the device has no timestamps ([`Gpu::has_timestamps`]).
    pub async fn time(&self, gpu: &Gpu, repeats: usize) -> Result<Vec<Timing>, GpuError> {
        // A query set holds at most 4,096 timestamps.
        let mut seconds = vec![Vec::with_capacity(repeats); self.len()];
        for _ in 0..repeats {
            for (chunk, times) in self.dispatches.chunks(2048).zip(seconds.chunks_mut(2048)) {
                for (times, elapsed) in times.iter_mut().zip(time_once(gpu, chunk).await?) {
                    times.push(elapsed);
                }
            }
        }
        Ok(self
            .dispatches
            .iter()
            .zip(&mut seconds)
            .map(|(dispatch, times)| {
                times.sort_by(f64::total_cmp);
                Timing {
                    name: dispatch.name.clone(),
                    seconds: times[times.len() / 2],
                    range: [times[0], times[times.len() - 1]],
                    flops: dispatch.flops,
                    bytes: dispatch.bytes,
                }
            })
            .collect())
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Dispatch {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>, workgroups: [u32; 2]) {
        pass.set_pipeline(self.pipeline.compiled());
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(workgroups[0], workgroups[1], 1);
    }
}

async fn time_once(gpu: &Gpu, dispatches: &[Dispatch]) -> Result<Vec<f64>, GpuError> {
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
    for (first, dispatch) in (0..).step_by(2).zip(dispatches) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(&dispatch.name),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            }),
        });
        dispatch.record(&mut pass, dispatch.workgroups);
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
fn refuse_overlap(name: &str, tensors: &[(u32, &Tensor, Access)]) {
    for (i, (_, written, access)) in tensors.iter().enumerate() {
        for (j, (_, other, _)) in tensors.iter().enumerate() {
            assert!(
                *access != Access::Write || i == j || !written.overlaps(other),
                "{name}: writes `{}`, which overlaps its argument `{}`",
                written.name,
                other.name
            );
        }
    }
}

/// So many workgroups, folded into two dimensions where one does not hold them, but `most`.
fn folded(name: &str, workgroups: u64, most: u64) -> [u32; 2] {
    let groups = workgroups.max(1);
    let rows = groups.div_ceil(most);
    assert!(
        rows <= 65_535 && groups * WORKGROUP <= u64::from(u32::MAX),
        "{name}: {groups} workgroups are too many for one dispatch"
    );
    [groups.div_ceil(rows) as u32, rows as u32]
}
