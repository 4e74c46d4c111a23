use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::JoinHandle;

use super::reads::{self, Element, Texture};
use super::{Reads, TileLimits};
use crate::gpu::kernel::{Access, Constants, Declaration, WORKGROUPS_BEFORE};

/// What can go wrong between the program and the device.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The system offers no adapter at all.
    #[error("no GPU adapter was found, not even a software one\n{}", remedy())]
    NoAdapter,
    /// No adapter has the wanted number or name.
    #[error("adapter {wanted}: no such adapter; these can be used:\n{available}")]
    NoSuchAdapter {
        /// What was asked for.
        wanted: String,
        /// One line an adapter.
        available: String,
    },
    /// The adapter refused to open a device.
    #[error(
        "the adapter {adapter} could not be opened: {reason}\nclose other programs that use it, or choose another adapter"
    )]
    NoDevice {
        /// Name of the adapter.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// A tensor exceeds what the device can bind.
    #[error(
        "{name}: {} MiB in one buffer, but this adapter's {limit_name} is {} MiB: lower the batch, the size of the images or the number of channels",
        bytes.div_ceil(1 << 20),
        limit >> 20
    )]
    TooLarge {
        /// Name of the tensor.
        name: String,
        /// Its size.
        bytes: u64,
        /// What the adapter allows.
        limit: u64,
        /// What wgpu calls this limit.
        limit_name: &'static str,
    },
    /// The subgroup kernels were asked for where they cannot run.
    #[error("{adapter} has no subgroups of one size, which the subgroup kernels need: choose other kernels")]
    NoSubgroups {
        /// Name of the adapter.
        adapter: String,
    },
    /// The weights are finite numbers themselves, and yet make none.
    #[error("the network's outputs are not finite numbers: its weights are damaged, or training diverged")]
    NotFinite,
    /// The device was lost or ran out of memory.
    #[error(
        "the GPU stopped: {0}\nif it ran out of memory, lower the batch, the size of the images or the number of channels; otherwise update its driver or choose another adapter"
    )]
    Failed(String),
}

fn remedy() -> &'static str {
    if cfg!(target_family = "wasm") {
        "use a current browser with WebGPU, with hardware acceleration on, and update the GPU's driver"
    } else if cfg!(target_os = "macos") {
        "Metal needs a Mac of 2012 or later with macOS 10.13 or later"
    } else if cfg!(windows) {
        "install your graphics card's current driver, or Windows' \"Graphics Tools\" for the software adapter"
    } else {
        "install your graphics card's Vulkan driver; or the software driver, on Debian and Ubuntu: apt-get install mesa-vulkan-drivers, \
         on Fedora: dnf install mesa-vulkan-drivers, on Arch: pacman -S vulkan-swrast; in a container with NVIDIA's driver: \
         apt-get install libvulkan1 libegl1 libgl1"
    }
}

/// Which adapter to open.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AdapterChoice {
    /// The most capable: a discrete GPU before an integrated, a virtual and a software one.
    #[default]
    Best,
    /// The one with this number in the list of [`adapters`].
    Number(usize),
    /// The first whose name contains this text, ignoring case.
    Name(String),
}

impl std::str::FromStr for AdapterChoice {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.into()), Self::Number))
    }
}

impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// All adapters that can be used, the most capable first.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    // OpenGL is left out: it would list each adapter twice, and its compute shaders are the poorer ones.
    let backends = wgpu::Backends::PRIMARY;
    // Without shaders' debug information, which in builds for tests takes as long as all else that compiles them: the compiler counts
    // the lines up to every statement. WGPU_DEBUG=1 brings it back.
    let flags = wgpu::InstanceFlags::from_build_config().difference(wgpu::InstanceFlags::DEBUG).with_env();
    let descriptor =
        wgpu::InstanceDescriptor { backends, flags, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let mut found = wgpu::Instance::new(descriptor).enumerate_adapters(backends).await;
    found.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    found
}

/// A set of kernels for the convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "native", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// Each invocation by itself, sums in registers: runs everywhere.
    Plain,
    /// Workgroups share what they load through their memory, as GPUs like it.
    Tiled,
    /// Subgroups share what they load, with large tiles in registers, as software drivers like it.
    Subgroup,
}

impl std::fmt::Display for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Tiled => "tiled",
            Self::Subgroup => "subgroup",
        })
    }
}

/// What tests change of how kernels are made and started.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// A file of `shaders/`, and the module that takes its place.
    pub module: Option<(&'static str, String)>,
    /// Workgroups begin with what others left in their memory, not with zeros.
    pub keep_workgroup_memory: bool,
    /// So many workgroups are the most in one dimension of a dispatch, fewer than there can be.
    pub most_workgroups: Option<u32>,
    /// So much work is the most in a dispatch, as [`Plan`](super::Plan) counts it.
    pub most_work: Option<u64>,
    /// How kernels read what they do not write, instead of as suits the adapter.
    pub reads: Option<Reads>,
}

/// Most work of a dispatch, as [`Plan`](super::Plan) counts it, on a software driver: 0.2 s of the slowest kernels on two processor cores that
/// other work keeps busy (docs/measurements.md).
const SOFTWARE_WORK: u64 = 500_000_000;
/// On a GPU: a second of one that makes 2 x 10^11 operations in it, as integrated ones do.
const GPU_WORK: u64 = 200_000_000_000;

/// An open device with its queue and the pipelines compiled so far.
pub struct Gpu {
    info: wgpu::AdapterInfo,
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    timestamps: bool,
    subgroups: bool,
    kernels: Kernels,
    changes: Changes,
    tile_limits: TileLimits,
    reads: Reads,
    textures: Mutex<Vec<Weak<Texture>>>,
    failure: Arc<OnceLock<String>>,
    pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    /// The last pipelines that were begun.
    making: Mutex<VecDeque<Arc<Pipeline>>>,
}

/// Pipelines that are made at the same time.
const MAX_MAKING: usize = 3;

/// Operation, entry point and constants.
type PipelineKey = (&'static str, &'static str, Constants);

/// A compiled kernel: how each argument is bound, in the order of its declaration, and the number of [`WORKGROUPS_BEFORE`].
pub(super) struct Pipeline {
    compiled: Compiled,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) bindings: Vec<Binding>,
    pub(super) workgroups_before: u32,
}

/// How an argument is bound.
pub(super) struct Binding {
    /// The number of its buffer, if the kernel gets it.
    pub(super) buffer: Option<u32>,
    /// The number of the texture that it is read from, if it is.
    pub(super) texture: Option<(u32, Element)>,
}

impl Pipeline {
    /// Waits until it is there.
    pub(super) fn compiled(&self) -> &wgpu::ComputePipeline {
        self.compiled.pipeline.get_or_init(|| {
            let making = self.compiled.making.lock().expect("nothing panics while it holds this lock").take();
            let making = making.expect("what is not there is being made");
            making.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

/// A pipeline that a thread is making, or has made: the unrolled text of a convolution is long, and there are many.
struct Compiled {
    pipeline: OnceLock<wgpu::ComputePipeline>,
    making: Mutex<Option<JoinHandle<wgpu::ComputePipeline>>>,
}

impl Compiled {
    fn start(make: impl FnOnce() -> wgpu::ComputePipeline + Send + 'static) -> Self {
        if cfg!(target_family = "wasm") {
            // There are no threads in a browser.
            return Self { pipeline: make().into(), making: Mutex::default() };
        }
        Self { pipeline: OnceLock::new(), making: Mutex::new(Some(std::thread::spawn(make))) }
    }
}

impl Gpu {
    /// Opens an adapter with all the limits it has to give.
    ///
    /// # Errors
    /// No adapter, no such adapter, or the driver's refusal; each with its remedy.
    pub async fn open(choice: &AdapterChoice) -> Result<Self, GpuError> {
        let mut found = adapters().await;
        if found.is_empty() {
            return Err(GpuError::NoAdapter);
        }
        let chosen = match choice {
            AdapterChoice::Best => Some(0),
            AdapterChoice::Number(number) => Some(*number).filter(|number| *number < found.len()),
            AdapterChoice::Name(name) => {
                let name = name.to_lowercase();
                let named = |adapter: &wgpu::Adapter| adapter.get_info().name.to_lowercase().contains(&name);
                found.iter().position(|adapter| !name.is_empty() && named(adapter))
            }
        };
        let Some(chosen) = chosen else {
            let names: Vec<_> = found
                .iter()
                .enumerate()
                .map(|(number, adapter)| format!("  {number}  {}", adapter.get_info().name))
                .collect();
            return Err(GpuError::NoSuchAdapter { wanted: choice.to_string(), available: names.join("\n") });
        };
        Self::from_adapter(found.swap_remove(chosen)).await
    }

    async fn from_adapter(adapter: wgpu::Adapter) -> Result<Self, GpuError> {
        let info = adapter.get_info();
        let limits = adapter.limits();
        let features = adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SUBGROUP);
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("convscope"),
                required_features: features,
                required_limits: limits.clone(),
                ..Default::default()
            })
            .await
            .map_err(|error| GpuError::NoDevice { adapter: info.name.clone(), reason: error.to_string() })?;

        let failure = Arc::new(OnceLock::new());
        let lost = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            // The first failure is the telling one; later ones follow from it.
            let _ = lost.set(format!("{message} ({reason:?})"));
        });
        let broken = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let _ = broken.set(error.to_string());
        }));
        let reads = Reads::of(&info, &limits);
        let timestamps = features.contains(wgpu::Features::TIMESTAMP_QUERY);
        let subgroups = features.contains(wgpu::Features::SUBGROUP);
        let mut gpu = Self {
            info,
            device,
            queue,
            limits,
            timestamps,
            subgroups,
            kernels: Kernels::Plain,
            changes: Changes::default(),
            tile_limits: TileLimits::default(),
            reads,
            textures: Mutex::default(),
            failure,
            pipelines: Mutex::default(),
            making: Mutex::default(),
        };
        gpu.kernels = match (gpu.is_software(), gpu.lanes()) {
            (false, _) => Kernels::Tiled,
            (true, Some(_)) => Kernels::Subgroup,
            (true, None) => Kernels::Plain,
        };
        Ok(gpu)
    }

    /// The same device with other kernels for the convolutions.
    ///
    /// # Errors
    /// [`GpuError::NoSubgroups`] when they need subgroups of a known size and the device has none.
    pub fn with_kernels(self, kernels: Kernels) -> Result<Self, GpuError> {
        if kernels == Kernels::Subgroup && self.lanes().is_none() {
            return Err(GpuError::NoSubgroups { adapter: self.info.name });
        }
        Ok(Self { kernels, ..self })
    }

    /// The same device, with no kernel compiled yet, and with these changes from now on. For tests.
    pub fn with_changes(self, changes: Changes) -> Self {
        Self { changes, pipelines: Mutex::default(), ..self }
    }

    /// Workgroups that one dimension of a dispatch holds.
    pub(super) fn most_workgroups(&self) -> u64 {
        self.changes.most_workgroups.unwrap_or(65_535).into()
    }

    /// Work that one dispatch is to hold at most, as [`Plan`](super::Plan) counts it.
    pub(super) fn most_work(&self) -> u64 {
        self.changes.most_work.unwrap_or(if self.is_software() { SOFTWARE_WORK } else { GPU_WORK })
    }

    /// The kernels of the convolutions: those that suit the adapter, unless [`Gpu::with_kernels`] said otherwise.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// The same device with other limits of the rules that choose tiles.
    pub fn with_tile_limits(self, tile_limits: TileLimits) -> Self {
        Self { tile_limits, ..self }
    }

    /// The limits of the rules that choose the convolutions' tiles: the built-in ones, unless [`Gpu::with_tile_limits`] said otherwise.
    pub fn tile_limits(&self) -> &TileLimits {
        &self.tile_limits
    }

    /// How kernels read what they do not write.
    pub fn reads(&self) -> Reads {
        self.changes.reads.unwrap_or(self.reads)
    }

    /// The textures of such elements and of so many rows that plans read from.
    pub(super) fn textures(&self, element: Element, rows: u32) -> Vec<Arc<Texture>> {
        let textures = self.textures.lock().expect("nothing panics while it holds this lock");
        textures.iter().filter_map(Weak::upgrade).filter(|texture| texture.holds(element, rows)).collect()
    }

    /// One more, instead of those that no plan reads any longer.
    pub(super) fn add_texture(&self, texture: Texture) -> Arc<Texture> {
        let texture = Arc::new(texture);
        let mut textures = self.textures.lock().expect("nothing panics while it holds this lock");
        textures.retain(|other| other.strong_count() > 0);
        textures.push(Arc::downgrade(&texture));
        texture
    }

    /// Invocations of a subgroup, where that is the same number for every kernel.
    pub fn lanes(&self) -> Option<u32> {
        let (least, most) = (self.info.subgroup_min_size, self.info.subgroup_max_size);
        (self.subgroups && least == most && least >= 4).then_some(least)
    }

    /// Whether the adapter is a program on the processor.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Whether the invocations of a workgroup share sums over pixels: on GPUs, and with the tiled kernels. On a software driver a barrier
    /// costs more than it saves.
    pub fn shares_sums(&self) -> bool {
        !self.is_software() || self.kernels == Kernels::Tiled
    }

    /// Whether the device's memory is that of the processor.
    pub fn shares_memory(&self) -> bool {
        matches!(self.info.device_type, wgpu::DeviceType::Cpu | wgpu::DeviceType::IntegratedGpu)
    }

    /// Name, driver and backend of the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.info
    }

    /// What the device allows.
    pub fn limits(&self) -> &wgpu::Limits {
        &self.limits
    }

    /// Whether kernels can be timed on the device itself.
    pub fn has_timestamps(&self) -> bool {
        self.timestamps
    }

    /// The device, for work beside the kernels of this crate.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue of the device.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// Submits recorded work without waiting for it.
    ///
    /// # Errors
    /// When the device failed, now or earlier.
    pub fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<wgpu::SubmissionIndex, GpuError> {
        let index = self.queue.submit([encoder.finish()]);
        self.check()?;
        Ok(index)
    }

    /// Waits until a submission is done. In a browser, which never lets a program wait, this returns at once.
    ///
    /// # Errors
    /// When the device failed.
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), GpuError> {
        self.check()?;
        let wait = wgpu::PollType::Wait { submission_index: submission, timeout: None };
        // Polling panics when the driver takes the device away meanwhile.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(wait)));
        self.check()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(GpuError::Failed(error.to_string())),
            Err(_) => Err(GpuError::Failed("the device was lost".into())),
        }
    }

    /// Waits until all that was submitted before this call is done, in a browser too.
    ///
    /// # Errors
    /// When the device failed.
    pub fn done(&self) -> impl Future<Output = Result<(), GpuError>> {
        let (sender, receiver) = futures_channel::oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            // The receiver is gone only if nobody waits any more.
            let _ = sender.send(());
        });
        async move {
            self.wait(None)?;
            receiver.await.map_err(|_| GpuError::Failed("the device was lost".into()))?;
            self.check()
        }
    }

    fn check(&self) -> Result<(), GpuError> {
        self.failure.get().map_or(Ok(()), |message| Err(GpuError::Failed(message.clone())))
    }

    /// The bytes of a mappable buffer, after everything submitted so far.
    pub(super) async fn map(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>, GpuError> {
        let (sender, receiver) = futures_channel::oneshot::channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only if the reader was dropped, who then does not need the answer.
            let _ = sender.send(result);
        });
        self.wait(None)?;
        match receiver.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(GpuError::Failed(error.to_string())),
            Err(_) => return Err(GpuError::Failed("a read-back was dropped".into())),
        }
        let view = buffer.get_mapped_range(..).map_err(|error| GpuError::Failed(error.to_string()))?;
        Ok(view.to_vec())
    }

    /// The pipeline of a kernel, compiled on first use.
    pub(super) fn pipeline(&self, declaration: &'static Declaration, constants: Constants) -> Arc<Pipeline> {
        let mut pipelines = self.pipelines.lock().expect("nothing panics while it holds this lock");
        let new = |constants: &Constants| {
            let pipeline = Arc::new(self.compile(declaration, constants));
            let mut making = self.making.lock().expect("nothing panics while it holds this lock");
            making.push_back(pipeline.clone());
            // A few at a time: each takes tens of megabytes while it is made.
            if making.len() > MAX_MAKING {
                making.pop_front().expect("it is not empty").compiled();
            }
            pipeline
        };
        pipelines
            .entry((declaration.op, declaration.entry, constants))
            .or_insert_with_key(|(_, _, constants)| new(constants))
            .clone()
    }

    fn compile(&self, declaration: &'static Declaration, constants: &[(&'static str, u32)]) -> Pipeline {
        let label = format!("{}.{}", declaration.op, declaration.entry);
        let number =
            |name: &str| declaration.source.binding(name).unwrap_or_else(|| panic!("{label}: no `{name}` is bound"));
        let workgroups_before = number(WORKGROUPS_BEFORE);
        let mut text = match &self.changes.module {
            Some((file, text)) if *file == declaration.source.file => text.clone(),
            _ => declaration.source.module(),
        };
        let mut arrays = Vec::new();
        if self.reads() == Reads::Textures {
            arrays = reads::arrays(&text, declaration.arguments);
            text = reads::through_textures(&text, &arrays);
        }
        let binding = |&(name, access): &(&str, Access)| {
            let array = arrays.iter().find(|array| array.name == name);
            let buffer = (array.is_none() || access.writes()).then(|| number(name));
            Binding { buffer, texture: array.map(|array| (array.binding(), array.element)) }
        };
        let bindings: Vec<_> = declaration.arguments.iter().map(binding).collect();
        assert!(arrays.len() <= reads::MOST_READ as usize, "{label}: reads {} textures", arrays.len());

        let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
        let buffers = declaration.arguments.iter().zip(&bindings).filter_map(|((_, access), binding)| {
            let ty = match access {
                Access::Uniform(_) => wgpu::BufferBindingType::Uniform,
                Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                Access::Write | Access::Update => wgpu::BufferBindingType::Storage { read_only: false },
            };
            Some((binding.buffer?, buffer(ty)))
        });
        let textures = bindings.iter().filter_map(|binding| binding.texture).map(|(number, element)| {
            let ty = wgpu::BindingType::StorageTexture {
                access: wgpu::StorageTextureAccess::ReadOnly,
                format: element.format(),
                view_dimension: wgpu::TextureViewDimension::D2,
            };
            (number, ty)
        });
        let entries: Vec<_> = buffers
            .chain(textures)
            .chain([(workgroups_before, buffer(wgpu::BufferBindingType::Uniform))])
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty,
                count: None,
            })
            .collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });

        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let device = self.device.clone();
        let (source, entry, constants) = (&declaration.source, declaration.entry, constants.to_vec());
        let compilation_options = wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: !self.changes.keep_workgroup_memory,
            ..Default::default()
        };
        let compiled = Compiled::start(move || {
            let text = super::unroll::unroll(&text, entry, &constants);
            let module = super::shader::module(&device, source.file, text);
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(entry),
                compilation_options,
                cache: None,
            })
        });
        Pipeline { compiled, layout, bindings, workgroups_before }
    }
}
