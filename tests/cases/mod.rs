//! What is known of every kernel, once: its sizes, the numbers it reads, what it must write and within which bounds.
//!
//! An [`Operation`] is a kernel, or a few that work together, on one set of convolution kernels. A [`Line`] is one case of it, written as
//! `conv2d_tiled backward_weight n=3 ci=4 h=7 w=5 co=12 kh=3 kw=3 s=2 p=1 live=2 integers=1 seed=17`: whoever has the line has the case.
//! The tests on a device, the mutants, the identities and the benchmark all run the same [`Case`].
//!
//! Every tensor lies between canaries, before what is bound and past its logical end: around outputs they must survive, and around inputs
//! they are infinite, so that reading one ruins a result. Every case runs twice over two different poisons in its outputs and in the
//! memory of the workgroups, and must give the same bits: what a kernel forgets to write, reads before it is written, or adds to where it
//! should assign, differs. What is only read must not have changed.

// Each test target uses a part of it.
#![allow(dead_code)]

mod activation;
mod batch_norm;
mod conv2d;
mod cross_entropy;
mod depthwise;
mod elementwise;
pub mod identities;
mod linear;
mod optimizers;
mod pool2d;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;

use convscope::gpu::{AdapterChoice, Changes, Gpu, Kernels, Plan, Reads, Tensor};
use convscope::nn::layout::{Layout, pack_images, padded};
use convscope::ops::Step;
use convscope::reference::Summed;
use pollster::block_on;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One or a few kernels on one set of kernels for the convolutions.
pub struct Operation {
    /// What it belongs to, such as `conv2d_tiled`.
    pub group: &'static str,
    /// What it computes, such as `backward_weight`.
    pub entry: &'static str,
    /// The device's set of kernels.
    pub kernels: Kernels,
    /// Names of its sizes.
    pub sizes: &'static [&'static str],
    /// Sizes that are worth trying: primes, ones, those next to a workgroup's or a tile's.
    pub table: Vec<Vec<usize>>,
    /// Draws sizes.
    pub draw: fn(&mut Random) -> Vec<usize>,
    /// Whether integers give exact results, in any order of summation.
    pub exact: bool,
    /// Whether nearly every case needs a kernel of its own, which takes a second to compile.
    pub compiles: bool,
    /// Makes a case of sizes and numbers.
    pub make: Box<MakeOn>,
}

/// Makes a case for a device.
type MakeOn = dyn Fn(&Gpu, &[usize], &Numbers) -> Case + Send + Sync;

/// Makes a case that is the same for every device.
type Make = fn(&[usize], &Numbers) -> Case;

/// All operations.
pub fn operations() -> Vec<Operation> {
    let all = [
        conv2d::operations(),
        depthwise::operations(),
        batch_norm::operations(),
        activation::operations(),
        elementwise::operations(),
        pool2d::operations(),
        linear::operations(),
        cross_entropy::operations(),
        optimizers::operations(),
    ];
    all.into_iter().flatten().collect()
}

impl Operation {
    /// The case that a seed draws.
    pub fn drawn(&self, seed: u64) -> Line<'_> {
        let mut random = Random::of(seed, "sizes");
        let sizes = (self.draw)(&mut random);
        Line { operation: self, sizes, integers: self.exact && random.0.random(), seed }
    }

    /// The cases of the table; with integers, where those are exact.
    pub fn tabled(&self) -> impl Iterator<Item = Line<'_>> {
        (0..).zip(&self.table).map(|(seed, sizes)| Line {
            operation: self,
            sizes: sizes.clone(),
            integers: self.exact,
            seed,
        })
    }
}

/// One case, as a line of text.
#[derive(Clone)]
pub struct Line<'a> {
    pub operation: &'a Operation,
    pub sizes: Vec<usize>,
    pub integers: bool,
    pub seed: u64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, sizes, integers, seed } = self;
        write!(f, "{} {}", operation.group, operation.entry)?;
        for (name, size) in operation.sizes.iter().zip(sizes) {
            write!(f, " {name}={size}")?;
        }
        write!(f, " integers={} seed={seed}", u8::from(*integers))
    }
}

impl<'a> Line<'a> {
    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str, operations: &'a [Operation]) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (group, entry) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let operation = operations
            .iter()
            .find(|operation| operation.group == group && operation.entry == entry)
            .ok_or(format!("{text:?}: there is no operation {group} {entry}"))?;
        let values: BTreeMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
        let number = |name: &str| -> Result<u64, String> {
            let value = values.get(name).ok_or(format!("{text:?} has no {name}"))?;
            value.parse().map_err(|_| format!("{text:?}: {name} is no number"))
        };
        let sizes: Result<Vec<u64>, String> = operation.sizes.iter().map(|name| number(name)).collect();
        let sizes = sizes?.into_iter().map(|size| size as usize).collect();
        Ok(Self { operation, sizes, integers: number("integers")? == 1, seed: number("seed")? })
    }

    /// Makes the case.
    pub fn case(&self, gpu: &Gpu) -> Case {
        self.case_of(gpu, &Numbers::new(self.seed, self.integers))
    }

    /// Makes the case of these numbers.
    pub fn case_of(&self, gpu: &Gpu, numbers: &Numbers) -> Case {
        Case { name: self.to_string(), ..(self.operation.make)(gpu, &self.sizes, numbers) }
    }
}

/// Numbers before and past the end of every tensor: more than a workgroup's invocations would write there.
const SLACK: usize = 1024;

/// What lies around the inputs. Times zero it is no number, so that reading it shows even there.
const GARBAGE: f32 = f32::INFINITY;

/// What outputs hold before the two runs: a NaN, and a large number, which is not [`GARBAGE`].
const POISONS: [u32; 2] = [0x7fc0_dead, 0xf113_6c1e];

/// The tensors of a case by name.
pub struct Tensors {
    /// What the kernels get: each from its start to the canaries past its end.
    bound: BTreeMap<&'static str, Tensor>,
    /// The same with the canaries before.
    whole: BTreeMap<&'static str, Tensor>,
}

impl Index<&str> for Tensors {
    type Output = Tensor;

    fn index(&self, name: &str) -> &Tensor {
        self.bound.get(name).unwrap_or_else(|| panic!("the case has no tensor `{name}`"))
    }
}

/// Adds the kernels of a case to a plan.
type Record = Box<dyn Fn(&Gpu, &mut Plan, &Tensors) + Send + Sync>;

/// One case of an operation: tensors, kernels, and what these must write.
pub struct Case {
    /// The line that it was made from.
    pub name: String,
    /// Tensors that are only read: name and bits.
    pub inputs: Vec<(&'static str, Vec<u32>)>,
    /// What changes from step to step, if the kernels read it, as the tensor `step`.
    pub step: Option<Step>,
    /// Tensors that are written.
    pub outputs: Vec<Output>,
    record: Record,
}

/// A tensor that a kernel writes.
pub struct Output {
    pub name: &'static str,
    /// What it holds before every run; nothing stands for poison.
    pub start: Option<Vec<u32>>,
    pub want: Want,
}

/// What a tensor must hold afterwards, as it lies on the device.
#[derive(Clone)]
pub enum Want {
    /// So many numbers of any value, the same in every run.
    Anything(usize),
    /// These values within these bounds; where the bound is infinite, any.
    Near(Vec<f64>, Vec<f64>),
    /// These bits.
    Bits(Vec<u32>),
    /// These bits, but for the padding lanes of images with so many channels, where any will do.
    Lanes(Vec<u32>, usize),
    /// These bits; where they are of a not-a-number, those of any.
    BitsOrNan(Vec<u32>),
}

impl Want {
    pub fn len(&self) -> usize {
        match self {
            Self::Anything(len) => *len,
            Self::Near(values, _) => values.len(),
            Self::Bits(bits) | Self::Lanes(bits, _) | Self::BitsOrNan(bits) => bits.len(),
        }
    }

    /// Whether element `i` may be of these bits.
    fn allows(&self, i: usize, found: u32) -> bool {
        match self {
            Self::Anything(_) => true,
            Self::Near(values, bounds) => {
                // Nothing is near to what is no number.
                let finite = found & 0x7fff_ffff < 0x7f80_0000;
                finite && (f64::from(f32::from_bits(found)) - values[i]).abs() <= bounds[i]
            }
            Self::Bits(bits) => bits[i] == found,
            Self::Lanes(bits, channels) => bits[i] == found || i % padded(*channels) >= *channels,
            Self::BitsOrNan(bits) => {
                let [want, found_value] = [bits[i], found].map(f32::from_bits);
                bits[i] == found || (want.is_nan() && found_value.is_nan())
            }
        }
    }

    /// What element `i` should be, in words.
    fn wanted(&self, i: usize, found: u32) -> String {
        let got = f32::from_bits(found);
        match self {
            Self::Anything(_) => unreachable!("anything is allowed"),
            Self::Near(values, bounds) => {
                let (want, bound, error) = (values[i], bounds[i], (f64::from(got) - values[i]).abs());
                format!("got {got:e}, want {want:e}, error {error:e}, bound {bound:e}")
            }
            Self::Bits(bits) | Self::Lanes(bits, _) | Self::BitsOrNan(bits) => {
                format!("got {got:e} ({found:#x}), want {:e} ({:#x})", f32::from_bits(bits[i]), bits[i])
            }
        }
    }

    /// What a reference says of images (n, channels, pixels), whose padding must be zero.
    pub fn images(want: &Summed<f64>, [n, channels, pixels]: [usize; 3]) -> Self {
        Self::packed(want, |values| pack_images(values, n, channels, pixels))
    }

    /// What a reference says of the first images of (n, channels, pixels); of the others any finite numbers will do, as nobody reads
    /// them.
    pub fn first_images(want: &Summed<f64>, dims: [usize; 3]) -> Self {
        let mut all = want.clone();
        let len = dims.iter().product();
        all.value.resize(len, 0.0);
        all.magnitude.resize(len, f64::INFINITY);
        if all.terms + all.steps == 0 {
            all.steps = 1;
        }
        Self::images(&all, dims)
    }

    /// What a reference says of one number a channel.
    pub fn channels(want: &Summed<f64>) -> Self {
        Self::images(want, [1, want.value.len(), 1])
    }

    /// What a reference says of a parameter.
    pub fn parameter(want: &Summed<f64>, layout: Layout) -> Self {
        Self::packed(want, |values| layout.pack(values))
    }

    /// What a reference says of numbers that lie on the device as in the reference.
    pub fn plain(want: &Summed<f64>) -> Self {
        Self::Near(want.value.clone(), (0..want.value.len()).map(|i| want.bound(i)).collect())
    }

    fn packed(want: &Summed<f64>, pack: impl Fn(&[f32]) -> Vec<f32>) -> Self {
        let bounds: Vec<f64> = (0..want.value.len()).map(|i| want.bound(i)).collect();
        Self::Near(packed(&want.value, &pack), packed(&bounds, &pack))
    }
}

/// Numbers in the order in which `pack` puts `f32`; zero in the padding.
pub fn packed(values: &[f64], pack: impl Fn(&[f32]) -> Vec<f32>) -> Vec<f64> {
    // Every number's place, carried as the bits of an `f32`; 0 is padding.
    let places: Vec<f32> = (1..=values.len() as u32).map(f32::from_bits).collect();
    let at = |place: &f32| (place.to_bits() as usize).checked_sub(1).map_or(0.0, |at| values[at]);
    pack(&places).iter().map(at).collect()
}

impl Case {
    /// Without tensors, and with these kernels.
    fn new(record: impl Fn(&Gpu, &mut Plan, &Tensors) + Send + Sync + 'static) -> Self {
        Self { name: String::new(), inputs: Vec::new(), step: None, outputs: Vec::new(), record: Box::new(record) }
    }

    /// With a tensor that is only read.
    fn input<T: bytemuck::Pod>(mut self, name: &'static str, values: &[T]) -> Self {
        self.inputs.push((name, bytemuck::cast_slice(values).to_vec()));
        self
    }

    /// With images (n, channels, pixels) that are only read.
    fn images(self, name: &'static str, values: &[f64], [n, channels, pixels]: [usize; 3]) -> Self {
        self.input(name, &pack_images(&narrow(values), n, channels, pixels))
    }

    /// With one number a channel, only read.
    fn channels(self, name: &'static str, values: &[f64]) -> Self {
        self.images(name, values, [1, values.len(), 1])
    }

    /// With a parameter that is only read.
    fn parameter(self, name: &'static str, values: &[f64], layout: Layout) -> Self {
        self.input(name, &layout.pack(&narrow(values)))
    }

    fn step(self, step: Step) -> Self {
        Self { step: Some(step), ..self }
    }

    /// With the uniform of a kernel that needs to know no more than the live images.
    fn live(self, live: usize) -> Self {
        self.step(Step { live: live as u32, ..bytemuck::Zeroable::zeroed() })
    }

    /// With a tensor that is assigned.
    fn output(mut self, name: &'static str, want: Want) -> Self {
        self.outputs.push(Output { name, start: None, want });
        self
    }

    /// With a tensor that is changed from these numbers.
    fn changing<T: bytemuck::Pod>(mut self, name: &'static str, start: &[T], want: Want) -> Self {
        assert_eq!(start.len(), want.len(), "{name}");
        self.outputs.push(Output { name, start: Some(bytemuck::cast_slice(start).to_vec()), want });
        self
    }

    /// With kernels that get all tensors so many numbers behind where they begin, or before.
    pub fn shifted(self, by: isize) -> Self {
        let record = move |gpu: &Gpu, plan: &mut Plan, t: &Tensors| {
            let shift = |(name, tensor): (&&'static str, &Tensor)| (*name, tensor.from(SLACK.strict_add_signed(by)));
            let bound = t.whole.iter().map(shift).collect();
            (self.record)(gpu, plan, &Tensors { bound, whole: t.whole.clone() });
        };
        Self { record: Box::new(record), ..self }
    }

    /// The bits of a tensor that is only read.
    pub fn input_bits(&self, name: &str) -> &[u32] {
        let (_, bits) = self.inputs.iter().find(|(other, _)| *other == name).expect("the case has this input");
        bits
    }

    /// What a tensor must hold.
    pub fn want(&self, name: &str) -> &Want {
        &self.outputs.iter().find(|output| output.name == name).expect("the case has this output").want
    }

    /// Adds its kernels to a plan, for tensors of their own without canaries.
    pub fn record(&self, gpu: &Gpu, plan: &mut Plan) {
        (self.record)(gpu, plan, &self.tensors(gpu, 0));
    }

    /// Tensors with what is read in them, each between so many canaries.
    fn tensors(&self, gpu: &Gpu, slack: usize) -> Tensors {
        let tensor = |name, len: usize| Tensor::new(gpu, name, (len + 2 * slack).max(1)).unwrap();
        let mut whole = BTreeMap::new();
        for (name, bits) in &self.inputs {
            let tensor = tensor(name, bits.len());
            tensor.write(gpu, &guarded(bits, GARBAGE.to_bits(), slack));
            whole.insert(*name, tensor);
        }
        for output in &self.outputs {
            whole.insert(output.name, tensor(output.name, output.want.len()));
        }
        let mut bound: BTreeMap<_, _> = whole.iter().map(|(name, tensor)| (*name, tensor.from(slack))).collect();
        if let Some(step) = self.step {
            let tensor = Tensor::uniform(gpu, "step", size_of::<Step>() / 4).unwrap();
            tensor.write(gpu, bytemuck::cast_slice::<Step, u32>(&[step]));
            bound.insert("step", tensor);
        }
        Tensors { bound, whole }
    }

    /// Runs it twice, over two poisons, and returns the bits of its outputs.
    ///
    /// # Errors
    /// A sentence with its line, when the device failed, a canary or an input was written, or the two runs differ.
    pub fn run(&self, device: &Device) -> Result<Vec<Vec<u32>>, String> {
        let gpu = &device.gpu;
        let tensors = self.tensors(gpu, SLACK);
        let mut plan = Plan::new();
        (self.record)(gpu, &mut plan, &tensors);
        let failed = |error| format!("{}: {error}", self.name);
        let mut runs = Vec::new();
        for poison in POISONS {
            for output in &self.outputs {
                let start = output.start.clone().unwrap_or(vec![poison; output.want.len()]);
                tensors.whole[output.name].write(gpu, &guarded(&start, poison, SLACK));
            }
            device.poison_workgroups(poison);
            plan.submit(gpu).map_err(failed)?;
            let mut found = Vec::new();
            for output in &self.outputs {
                let bits: Vec<u32> = block_on(tensors.whole[output.name].read(gpu)).map_err(failed)?;
                let inside =
                    between(&bits, poison).map_err(|told| format!("{}: {}, {told}", self.name, output.name))?;
                found.push(inside.to_vec());
            }
            runs.push(found);
        }
        for (name, bits) in &self.inputs {
            let after: Vec<u32> = block_on(tensors.whole[name].read(gpu)).map_err(failed)?;
            if between(&after, GARBAGE.to_bits()) != Ok(bits) {
                return Err(format!("{}: {name}, which is only read, was written", self.name));
            }
        }
        let [first, second] = [&runs[0], &runs[1]];
        for ((output, first), second) in self.outputs.iter().zip(first).zip(second) {
            if let Some(i) = (0..first.len()).find(|&i| first[i] != second[i]) {
                let [first, second] = [first[i], second[i]].map(f32::from_bits);
                let name = output.name;
                return Err(format!("{}: {name}, element {i}: {first} in one run, {second} in the next", self.name));
            }
        }
        Ok(runs.swap_remove(0))
    }

    /// Runs it and holds every element to what it must be.
    ///
    /// # Errors
    /// As [`Case::run`], and when an element is not within its bound.
    pub fn check(&self, device: &Device) -> Result<(), String> {
        let found = self.run(device)?;
        for (output, found) in self.outputs.iter().zip(&found) {
            if let Some(i) = (0..found.len()).find(|&i| !output.want.allows(i, found[i])) {
                let wanted = output.want.wanted(i, found[i]);
                return Err(format!("{}: {}, element {i}: {wanted}", self.name, output.name));
            }
        }
        Ok(())
    }
}

/// Numbers between so many canaries.
fn guarded(bits: &[u32], canary: u32, slack: usize) -> Vec<u32> {
    let canaries = vec![canary; slack];
    [&canaries, bits, &canaries].concat()
}

/// What lies between the canaries, all of which must be left.
fn between(bits: &[u32], canary: u32) -> Result<&[u32], String> {
    let end = bits.len() - SLACK;
    match (0..SLACK).chain(end..bits.len()).find(|&i| bits[i] != canary) {
        None => Ok(&bits[SLACK..end]),
        Some(i) => {
            let written = f32::from_bits(bits[i]);
            let place =
                if i < SLACK { format!("{} before the start", SLACK - i) } else { format!("{} past the end", i - end) };
            Err(format!("{written} was written {place}"))
        }
    }
}

/// A device whose workgroups find what others left in their memory.
pub struct Device {
    pub gpu: Gpu,
    poisoner: wgpu::ComputePipeline,
    poison: wgpu::Buffer,
    binding: wgpu::BindGroup,
}

/// Fills all memory that a workgroup has everywhere.
const POISONER: &str = "
    @group(0) @binding(0) var<storage, read_write> poison: array<u32>;
    var<workgroup> memory: array<u32, 4096>;
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) local: u32) {
        for (var i = local; i < 4096u; i += 64u) { memory[i] = poison[0]; }
        workgroupBarrier();
        // Nothing may be left out because nobody reads it.
        if memory[(local * 67u + poison[1]) % 4096u] == 1u { poison[1] = 0u; }
    }";

impl Device {
    /// Opens the best adapter with these kernels, with other changes than that its workgroups' memory is not cleared. What surrounds
    /// inputs is in buffers alone: so kernels read from those, unless the changes say otherwise.
    pub fn open(kernels: Kernels, changes: Changes) -> Self {
        let reads = changes.reads.or(Some(Reads::Buffers));
        let changes = Changes { keep_workgroup_memory: true, reads, ..changes };
        let gpu = block_on(Gpu::open(&AdapterChoice::Best)).unwrap().with_kernels(kernels).unwrap();
        let gpu = gpu.with_changes(changes);
        let device = gpu.device();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("poison"),
            source: wgpu::ShaderSource::Wgsl(POISONER.into()),
        });
        let poisoner = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("poison"),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let poison = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("poison"),
            size: 8,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let binding = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("poison"),
            layout: &poisoner.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: poison.as_entire_binding() }],
        });
        Self { gpu, poisoner, poison, binding }
    }

    /// Leaves this in the memory of workgroups, on as many processors as 64 workgroups reach; a software driver shares 16 out evenly.
    fn poison_workgroups(&self, poison: u32) {
        self.gpu.queue().write_buffer(&self.poison, 0, bytemuck::cast_slice(&[poison, 0]));
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.poisoner);
        pass.set_bind_group(0, &self.binding, &[]);
        pass.dispatch_workgroups(if self.gpu.is_software() { 16 } else { 64 }, 1, 1);
        drop(pass);
        self.gpu.queue().submit([encoder.finish()]);
    }
}

/// The numbers of a case by name, in the reference's layout. Operations of one group that are given the same sizes and the same seed get
/// the same numbers, so that what they make of them can be held against each other.
pub struct Numbers {
    seed: u64,
    pub integers: bool,
    known: RefCell<BTreeMap<&'static str, Vec<f64>>>,
}

impl Numbers {
    pub fn new(seed: u64, integers: bool) -> Self {
        Self { seed, integers, known: RefCell::default() }
    }

    /// The same, with these numbers in the place of what would be drawn under this name.
    pub fn with(self, name: &'static str, values: Vec<f64>) -> Self {
        self.known.borrow_mut().insert(name, values);
        self
    }

    /// Whether what passes through the layers is smaller than the least normal number.
    pub fn is_tiny(&self) -> bool {
        self.seed % 8 == 5
    }

    /// What was drawn under a name, or given.
    pub fn known(&self, name: &str) -> Vec<f64> {
        self.known.borrow().get(name).unwrap_or_else(|| panic!("there is no `{name}`")).clone()
    }

    /// For what is more than numbers from a range.
    pub fn random(&self, name: &str) -> Random {
        Random::of(self.seed, name)
    }

    /// Integers, or numbers between -1 and 1.
    pub fn draw(&self, name: &'static str, len: usize) -> Vec<f64> {
        if self.integers {
            return self.made(name, |random| random.integers(len));
        }
        // One case in eight reads numbers that a device may flush to zero.
        let size = if self.is_tiny() && ["x", "dy"].contains(&name) { 2f32.powi(-128) } else { 1.0 };
        self.made(name, |random| random.around(0.0, 1.0, len).iter().map(|x| size * x).collect())
    }

    /// From `offset - spread` to `offset + spread`.
    pub fn around(&self, name: &'static str, offset: f32, spread: f32, len: usize) -> Vec<f64> {
        self.made(name, |random| random.around(offset, spread, len))
    }

    /// What `make` draws.
    pub fn made(&self, name: &'static str, make: impl FnOnce(&mut Random) -> Vec<f32>) -> Vec<f64> {
        let mut known = self.known.borrow_mut();
        known.entry(name).or_insert_with(|| wide(&make(&mut self.random(name)))).clone()
    }

    /// Holds a result to its bound; that of integers to none.
    fn hold(&self, want: Summed<f64>) -> Summed<f64> {
        if self.integers { Summed::exact(want.value) } else { want }
    }
}

/// Random numbers.
#[derive(Clone)]
pub struct Random(pub ChaCha8Rng);

impl Random {
    /// Those of a seed under a name.
    pub fn of(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(ChaCha8Rng::seed_from_u64(seed ^ hash))
    }

    /// A size from 1 to `most`: small ones as often as large ones.
    pub fn size(&mut self, most: usize) -> usize {
        let size = (most as f64 + 0.5).powf(self.0.random_range(0.0..1.0)).round() as usize;
        size.clamp(1, most)
    }

    /// One of the first `count` numbers.
    pub fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// From `least` to `most`.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        self.0.random_range(least..=most)
    }

    /// From `offset - spread` to `offset + spread`.
    pub fn around(&mut self, offset: f32, spread: f32, len: usize) -> Vec<f32> {
        (0..len).map(|_| offset + self.0.random_range(-spread..=spread)).collect()
    }

    /// Integers from 1 to 8 and their negatives: their sums of products are exact, in any order.
    pub fn integers(&mut self, len: usize) -> Vec<f32> {
        let one = |random: &mut Self| {
            let size = random.0.random_range(1..=8) as f32;
            if random.0.random() { size } else { -size }
        };
        (0..len).map(|_| one(self)).collect()
    }
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

pub fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// Sums of these terms for every element, each term off by at most `steps` roundings.
fn sums(elements: impl Iterator<Item = Vec<f64>>, steps: usize) -> Summed<f64> {
    let mut sums = Summed { value: Vec::new(), magnitude: Vec::new(), terms: 0, steps };
    for terms in elements {
        sums.value.push(terms.iter().sum());
        sums.magnitude.push(terms.iter().map(|term| term.abs()).sum());
        sums.terms = sums.terms.max(terms.len());
    }
    sums
}
