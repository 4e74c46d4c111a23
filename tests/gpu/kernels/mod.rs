//! Every kernel on the device against its CPU reference, element by element.
//!
//! A test runs one entry point over a table of shapes. Every tensor is longer than the kernel needs: past its logical
//! end, outputs hold a canary that must survive and inputs hold a number so large that reading it ruins a result.
//! Every kernel runs twice on the same inputs, over two different poisons in its outputs, and must give the same bits:
//! what it forgets to write, or adds to where it should assign, differs.

mod activation;
mod adaptive_avg_pool2d;
mod add;
mod batch_norm;
mod bias;
mod conv2d;
mod cross_entropy;
mod depthwise;
mod dropout;
mod linear;
mod optimizers;
mod pool2d;
mod relu;

use convscope::gpu::kernel::Kernel;
use convscope::gpu::{Gpu, Plan, Tensor};
use convscope::nn::layout::{Layout, pack_images, unpack_images};
use convscope::ops::Step;
use convscope::reference::Summed;
use libtest_mimic::Trial;
use pollster::block_on;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub fn tests() -> Vec<Trial> {
    let tests = [
        conv2d::tests(),
        depthwise::tests(),
        bias::tests(),
        batch_norm::tests(),
        activation::tests(),
        relu::tests(),
        add::tests(),
        dropout::tests(),
        adaptive_avg_pool2d::tests(),
        pool2d::tests(),
        linear::tests(),
        cross_entropy::tests(),
        optimizers::tests(),
    ];
    tests.into_iter().flatten().collect()
}

/// Numbers past the logical end of every tensor: more than a workgroup's invocations would write there.
const SLACK: usize = 1024;

/// What lies past the end of the inputs.
const GARBAGE: f32 = 1e30;

/// What outputs hold before the two runs: a NaN, and a large number.
const POISONS: [u32; 2] = [0x7fc0_dead, 0x7149_f2ca];

/// The name of an entry point, and its test of one shape.
type Entry<Shape> = (&'static str, fn(&Shape));

/// One shape of one kernel on one device.
struct Case {
    gpu: &'static Gpu,
    /// Operation, entry point, shape and seed, for the message of a failure.
    name: String,
}

/// A tensor that a kernel writes.
struct Output {
    tensor: Tensor,
    /// What it holds before every run; nothing stands for poison.
    start: Option<Vec<f32>>,
    len: usize,
}

impl Case {
    /// A tensor with these numbers, and garbage after them.
    fn input<T: bytemuck::Pod>(&self, values: &[T]) -> Tensor {
        let mut bits: Vec<u32> = bytemuck::cast_slice(values).to_vec();
        bits.extend([GARBAGE.to_bits(); SLACK]);
        Tensor::from_slice(self.gpu, "input", &bits).unwrap()
    }

    /// What changes from step to step.
    fn step(&self, step: Step) -> Tensor {
        let tensor = Tensor::uniform(self.gpu, "step", size_of::<Step>() / 4).unwrap();
        tensor.write(self.gpu, bytemuck::cast_slice::<Step, u32>(&[step]));
        tensor
    }

    /// The uniform of a kernel that needs to know no more than the live images.
    fn live(&self, live: usize) -> Tensor {
        self.step(Step { live: live as u32, ..bytemuck::Zeroable::zeroed() })
    }

    /// A tensor for `len` results of a kernel that assigns.
    fn output(&self, len: usize) -> Output {
        Output { tensor: Tensor::new(self.gpu, "output", len + SLACK).unwrap(), start: None, len }
    }

    /// A tensor that a kernel changes, from these numbers.
    fn changing(&self, start: &[f32]) -> Output {
        Output { start: Some(start.to_vec()), ..self.output(start.len()) }
    }

    /// Runs one kernel twice and returns its results.
    fn run<const N: usize>(&self, kernel: &impl Kernel, outputs: [&Output; N]) -> [Vec<f32>; N] {
        let mut plan = Plan::new();
        plan.add(self.gpu, "test", kernel);
        self.run_plan(&plan, outputs)
    }

    /// Runs several kernels twice, one after the other, and returns their results.
    fn run_plan<const N: usize>(&self, plan: &Plan, outputs: [&Output; N]) -> [Vec<f32>; N] {
        let [first, second] = POISONS.map(|poison| {
            for output in outputs {
                output.tensor.write(self.gpu, &output.before(poison));
            }
            plan.submit(self.gpu).unwrap();
            outputs.map(|output| self.read(output, poison))
        });
        for (number, (first, second)) in first.iter().zip(&second).enumerate() {
            for (i, (first, second)) in first.iter().zip(second).enumerate() {
                assert!(
                    first.to_bits() == second.to_bits(),
                    "{}: output {number}, element {i}: {first} in one run, {second} in the next",
                    self.name
                );
            }
        }
        first
    }

    fn read(&self, output: &Output, poison: u32) -> Vec<f32> {
        let mut bits: Vec<u32> = block_on(output.tensor.read(self.gpu)).unwrap();
        for (i, after) in bits.split_off(output.len).into_iter().enumerate() {
            assert!(
                after == poison,
                "{}: {} was written {i} numbers past the end of {}",
                self.name,
                f32::from_bits(after),
                output.len
            );
        }
        bytemuck::cast_vec(bits)
    }

    /// Holds every element to its CPU reference's bound.
    fn compare(&self, what: &str, got: &[f32], want: &Summed<f64>) {
        self.compare_each(what, got, &want.value, |i| want.bound(i));
    }

    fn compare_each(&self, what: &str, got: &[f32], want: &[f64], bound: impl Fn(usize) -> f64) {
        assert_eq!(got.len(), want.len(), "{}: {what}", self.name);
        for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
            let bound = bound(i);
            let error = (f64::from(got) - want).abs();
            let finite = got.to_bits() & 0x7fff_ffff < 0x7f80_0000;
            assert!(
                finite && error <= bound,
                "{}: {what}, element {i}: got {got:e}, want {want:e}, error {error:e}, bound {bound:e}, error / bound {}",
                self.name,
                error / bound
            );
        }
    }

    /// From (n, pixels, padded channels) to (n, channels, pixels); the padding must be zero.
    fn unpack(&self, packed: &[f32], [n, channels, pixels]: [usize; 3]) -> Vec<f32> {
        let values = unpack_images(packed, n, channels, pixels);
        self.assert_padding(packed, &pack_images(&values, n, channels, pixels));
        values
    }

    /// From the device's order of a parameter to PyTorch's; the padding must be zero.
    fn unpack_filters(&self, packed: &[f32], layout: Layout) -> Vec<f32> {
        let values = layout.unpack(packed);
        self.assert_padding(packed, &layout.pack(&values));
        values
    }

    fn assert_padding(&self, packed: &[f32], want: &[f32]) {
        for (i, (got, want)) in packed.iter().zip(want).enumerate() {
            assert!(
                got == want,
                "{}: number {i} as it lies on the device is {got}, not the finite number or zero of padding that belongs there",
                self.name
            );
        }
    }
}

impl Output {
    /// What it holds before a run: start or poison, and the canary.
    fn before(&self, poison: u32) -> Vec<u32> {
        let mut bits = match &self.start {
            Some(start) => bytemuck::cast_slice(start).to_vec(),
            None => vec![poison; self.len],
        };
        bits.extend([poison; SLACK]);
        bits
    }
}

/// The random numbers of one shape.
#[derive(Clone)]
struct Random(ChaCha8Rng);

impl Random {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// From `offset - spread` to `offset + spread`.
    fn around(&mut self, offset: f32, spread: f32, len: usize) -> Vec<f32> {
        (0..len).map(|_| offset + self.0.random_range(-spread..spread)).collect()
    }

    /// Integers from 1 to 8 and their negatives: their sums of products are exact, in any order.
    fn integers(&mut self, len: usize) -> Vec<f32> {
        (0..len)
            .map(|_| {
                let size = self.0.random_range(1..=8) as f32;
                if self.0.random() { size } else { -size }
            })
            .collect()
    }

    /// Numbers of either kind.
    fn numbers(&mut self, integers: bool, len: usize) -> Vec<f32> {
        if integers { self.integers(len) } else { self.around(0.0, 1.0, len) }
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
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
