//! What holds between the results of an operation's kernels, whatever the reference says: no sum is off by a term, no image or pixel is
//! treated otherwise than its neighbour.
//!
//! - **Adjoints**, in integers, exactly: `<forward(x), dy> = <x, backward(dy)>`, the same by the weights and the bias.
//! - **Scale**: twice the input is twice the output, bit for bit, in any numbers.
//! - **Order**: images in another order give results in that order, bit for bit.
//! - **Place**: an image that is moved by a stride gives results that are moved by one, bit for bit.
//! - **Gradients**, of the references alone: what a backward pass says is what finite differences of its forward pass say.

use super::{Case, Device, Line, Numbers, Operation, Random, Want, wide};

/// A group of operations whose forward pass is linear in what it reads, or nearly: ReLU and MaxPool2d keep a part of it.
struct Linear {
    group: &'static str,
    /// Inputs in which it is linear, each with the entry and the output that hold the gradient by it.
    by: &'static [(&'static str, &'static str, &'static str)],
    /// Its result.
    y: &'static str,
    /// Draws sizes for which it is exact in integers.
    sizes: fn(&Operation, &mut Random) -> Vec<usize>,
}

const CONV: &[(&str, &str, &str)] = &[("x", "backward_input", "dx"), ("weight", "backward_weight", "dweight")];

/// All images live.
fn all_live(operation: &Operation, random: &mut Random) -> Vec<usize> {
    let mut sizes = (operation.draw)(random);
    let [n, live] = ["n", "live"].map(|name| operation.sizes.iter().position(|size| *size == name).expect("it has it"));
    sizes[live] = sizes[n];
    sizes
}

/// Windows whose number of pixels is a power of two, so that a mean is exact.
fn even_windows(_: &Operation, random: &mut Random) -> Vec<usize> {
    let k = 1 << random.below(3);
    let [h, w] = [(); 2].map(|()| k + random.below(12));
    vec![random.size(4), random.size(30), h, w, k, random.between(1, 4), random.below(k / 2 + 1)]
}

/// Maps that are divided into such windows.
fn even_parts(_: &Operation, random: &mut Random) -> Vec<usize> {
    let [oh, ow] = [random.size(6), random.size(6)];
    vec![random.size(4), random.size(30), oh << random.below(3), ow << random.below(3), oh, ow]
}

/// Half of all is dropped, so that the rest is doubled.
fn half_dropped(operation: &Operation, random: &mut Random) -> Vec<usize> {
    let mut sizes = (operation.draw)(random);
    sizes[3] = 2;
    sizes
}

/// No window holds what is no number.
fn with_ties(operation: &Operation, random: &mut Random) -> Vec<usize> {
    let mut sizes = (operation.draw)(random);
    sizes[7] = 1;
    sizes
}

fn linear_operations() -> Vec<Linear> {
    let conv = |group| Linear { group, by: CONV, y: "y", sizes: all_live };
    let mut all: Vec<Linear> = [
        "conv2d_plain",
        "conv2d_plain_gpu",
        "conv2d_plain_odd",
        "conv2d_tiled",
        "conv2d_tiled_large",
        "conv2d_tiled_odd",
        "conv2d_wide",
        "conv2d_wide_small",
        "conv2d_subgroup",
        "depthwise",
    ]
    .map(conv)
    .into();
    all.extend([
        Linear {
            group: "linear",
            by: &[
                ("x", "backward_input", "dx"),
                ("weight", "backward_weight", "dweight"),
                ("bias", "backward_weight", "dbias"),
            ],
            y: "y",
            sizes: all_live,
        },
        Linear { group: "bias", by: &[("bias", "backward", "dbias")], y: "y", sizes: all_live },
        Linear { group: "bias_shared", by: &[("bias", "backward", "dbias")], y: "y", sizes: all_live },
        Linear { group: "avg_pool2d", by: &[("x", "backward", "dx")], y: "y", sizes: even_windows },
        Linear { group: "adaptive_avg_pool2d", by: &[("x", "backward", "dx")], y: "y", sizes: even_parts },
        Linear { group: "max_pool2d", by: &[("x", "backward", "dx")], y: "y", sizes: with_ties },
        Linear {
            group: "relu",
            by: &[("x", "backward", "dx")],
            y: "y",
            sizes: |operation, random| (operation.draw)(random),
        },
        Linear { group: "dropout", by: &[("x", "backward", "result")], y: "result", sizes: half_dropped },
    ]);
    all
}

/// Names of the groups with identities.
pub fn groups() -> Vec<&'static str> {
    linear_operations().iter().map(|linear| linear.group).collect()
}

fn find<'a>(operations: &'a [Operation], group: &str, entry: &str) -> &'a Operation {
    let found = operations.iter().find(|operation| operation.group == group && operation.entry == entry);
    found.unwrap_or_else(|| panic!("there is no operation {group} {entry}"))
}

/// The numbers of a tensor after a run.
fn result(case: &Case, runs: &[Vec<u32>], name: &str) -> Vec<f32> {
    let at = case.outputs.iter().position(|output| output.name == name).expect("the case has this output");
    bytemuck::cast_slice(&runs[at]).to_vec()
}

fn input(case: &Case, name: &str) -> Vec<f32> {
    bytemuck::cast_slice(case.input_bits(name)).to_vec()
}

/// Exact for integers.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Numbers of one seed, all integers where they are not drawn as such anyway.
fn integers(line: &Line<'_>, case: &Case, numbers: &Numbers) -> Vec<(&'static str, Vec<f64>)> {
    let mut random = Random::of(line.seed, "integers");
    let names = ["x", "dy"].into_iter().filter(|name| case.inputs.iter().any(|(input, _)| input == name));
    names.map(|name| (name, wide(&random.integers(numbers.known(name).len())))).collect()
}

/// Holds the kernels of a group to each other. Returns how many identities were tried.
///
/// # Errors
/// One sentence with the line.
pub fn check(device: &Device, operations: &[Operation], group: &str, seed: u64) -> Result<usize, String> {
    let all = linear_operations();
    let linear = all.iter().find(|linear| linear.group == group).expect("it is one of `groups`");
    let forward = find(operations, group, "forward");
    let sizes = (linear.sizes)(forward, &mut Random::of(seed, "identities"));
    Ok(adjoints(device, operations, linear, forward, &sizes, seed)?
        + scale(device, forward, linear, &sizes, seed)?
        + order(device, forward, linear, &sizes, seed)?
        + place(device, forward, &sizes, seed)?)
}

fn adjoints(
    device: &Device,
    operations: &[Operation],
    linear: &Linear,
    forward: &Operation,
    sizes: &[usize],
    seed: u64,
) -> Result<usize, String> {
    let gpu = &device.gpu;
    let line = |operation| Line { operation, sizes: sizes.to_vec(), integers: true, seed };
    let entry = |entry| line(find(operations, linear.group, entry));
    // What is drawn as integers anyway stays; the others are replaced.
    let draw = |line: &Line<'_>| {
        let numbers = Numbers::new(seed, true);
        let case = line.case_of(gpu, &numbers);
        integers(line, &case, &numbers)
    };
    let mut given = if forward.exact || linear.group == "max_pool2d" { vec![] } else { draw(&line(forward)) };
    let backward = linear.by[0].1;
    if !find(operations, linear.group, backward).exact {
        given.extend(draw(&entry(backward)).into_iter().filter(|(name, _)| *name == "dy"));
    }
    let numbers =
        || given.iter().fold(Numbers::new(seed, true), |numbers, (name, values)| numbers.with(name, values.clone()));
    let case = line(forward).case_of(gpu, &numbers());
    let y = result(&case, &case.run(device)?, linear.y);
    let mut found = Vec::new();
    for (by, entry_name, gradient) in linear.by {
        let back = entry(entry_name).case_of(gpu, &numbers());
        let gradient = result(&back, &back.run(device)?, gradient);
        let through = dot(&y, &input(&back, "dy"));
        let by_input = dot(&input(&case, by), &gradient);
        found.push((*by, through, by_input, back));
    }
    // With a bias, the output is the sum of two linear maps.
    let bias = found.iter().find(|(by, ..)| *by == "bias").map_or(0.0, |(_, _, by_bias, _)| *by_bias);
    for (by, through, by_input, back) in &found {
        let want = match (*by, linear.group) {
            ("bias", "linear") => continue,
            // What was there before is not the bias's.
            ("bias", _) => {
                let start = case.outputs[0].start.as_ref().expect("the bias is added");
                through - dot(bytemuck::cast_slice(start), &input(back, "dy"))
            }
            _ => through - bias,
        };
        if want != *by_input {
            let line = line(forward);
            return Err(format!("{line}: <y, dy> is {want}, <{by}, its gradient> is {by_input}"));
        }
    }
    Ok(found.len())
}

fn scale(device: &Device, forward: &Operation, linear: &Linear, sizes: &[usize], seed: u64) -> Result<usize, String> {
    let name = linear.by[0].0;
    if name == "bias" {
        return Ok(0);
    }
    let line = Line { operation: forward, sizes: sizes.to_vec(), integers: false, seed };
    let plain = Numbers::new(seed, false);
    // Of numbers that may be flushed to zero, four times as much need not be.
    if plain.is_tiny() {
        return Ok(0);
    }
    let without_bias = |numbers: Numbers| match linear.group {
        "linear" => numbers.with("bias", vec![0.0; sizes[2]]),
        _ => numbers,
    };
    let plain = without_bias(plain);
    let case = line.case_of(&device.gpu, &plain);
    let y = result(&case, &case.run(device)?, linear.y);
    let scaled: Vec<f64> = plain.known(name).iter().map(|x| 4.0 * x).collect();
    let case = line.case_of(&device.gpu, &without_bias(Numbers::new(seed, false).with(name, scaled)));
    let scaled = result(&case, &case.run(device)?, linear.y);
    match (0..y.len()).find(|&i| 4.0 * y[i] != scaled[i]) {
        Some(i) => Err(format!("{line}: four times {name} gives {}, not four times {}", scaled[i], y[i])),
        None => Ok(1),
    }
}

fn order(device: &Device, forward: &Operation, linear: &Linear, sizes: &[usize], seed: u64) -> Result<usize, String> {
    // Dropout's mask belongs to the place, a bias is added to what is there, and ReLU knows no images.
    if ["dropout", "bias", "bias_shared", "relu"].contains(&linear.group) {
        return Ok(0);
    }
    let line = Line { operation: forward, sizes: sizes.to_vec(), integers: false, seed };
    let n = sizes[0];
    let plain = Numbers::new(seed, false);
    let case = line.case_of(&device.gpu, &plain);
    let y = result(&case, &case.run(device)?, linear.y);
    let x = plain.known("x");
    // Image i gets the numbers of image i * step + 1, which runs through all of them.
    let divides_both = |step: usize, d: usize| step.is_multiple_of(d) && n.is_multiple_of(d);
    let step = (1..=n).rev().find(|step| (2..=*step).all(|d| !divides_both(*step, d))).unwrap_or(1);
    let from = |i: usize| (i * step + 1) % n;
    let size = x.len() / n;
    let moved = (0..n).flat_map(|i| x[from(i) * size..][..size].to_vec()).collect();
    let case = line.case_of(&device.gpu, &Numbers::new(seed, false).with("x", moved));
    let moved = result(&case, &case.run(device)?, linear.y);
    let size = y.len() / n;
    for i in 0..n {
        if moved[i * size..][..size] != y[from(i) * size..][..size] {
            return Err(format!("{line}: image {} gives something else as image {i}", from(i)));
        }
    }
    Ok(1)
}

/// Convolutions and pooling with a fixed stride.
fn place(device: &Device, forward: &Operation, sizes: &[usize], seed: u64) -> Result<usize, String> {
    let size = |name: &str| forward.sizes.iter().position(|size| *size == name).map(|at| sizes[at]);
    let [Some(n), Some(w), Some(s), Some(p)] = ["n", "w", "s", "p"].map(size) else { return Ok(0) };
    // The largest value of a window that reaches beyond the map is not that of one which does not.
    if s >= w || forward.group == "max_pool2d" {
        return Ok(0);
    }
    let kernel = size("kw").or(size("k")).expect("it has a window");
    let line = Line { operation: forward, sizes: sizes.to_vec(), integers: false, seed };
    let plain = Numbers::new(seed, false);
    line.case_of(&device.gpu, &plain);
    let rows = |x: Vec<f64>, change: &dyn Fn(&[f64]) -> Vec<f64>| x.chunks(w).flat_map(change).collect::<Vec<_>>();
    // Room to move to.
    let left = rows(plain.known("x"), &|row| [&row[..w - s], &vec![0.0; s][..]].concat());
    let right = rows(left.clone(), &|row| [&vec![0.0; s][..], &row[..w - s]].concat());
    let mut results = Vec::new();
    for x in [left, right] {
        let case = line.case_of(&device.gpu, &Numbers::new(seed, false).with("x", x));
        results.push(result(&case, &case.run(device)?, "y"));
    }
    let columns = (w + 2 * p - kernel) / s + 1;
    let channels = results[0].len() / n;
    let height = size("kh").or(size("k")).expect("it has a window");
    let oh = (size("h").expect("it has a height") + 2 * p - height) / s + 1;
    let vector = channels / oh / columns;
    let [left, right] = [&results[0], &results[1]];
    for row in 0..n * oh {
        let start = row * columns * vector;
        let len = (columns - 1) * vector;
        if left[start..][..len] != right[start + vector..][..len] {
            return Err(format!("{line}: row {row} of the results is another where x is moved by {s}"));
        }
    }
    Ok(1)
}

/// A gradient in the references: what an entry's `output` says of the gradient by `by` of the sum of `y * dy`.
pub struct Gradient {
    pub group: &'static str,
    pub forward: &'static str,
    pub y: &'static str,
    pub backward: &'static str,
    pub by: &'static str,
    pub output: &'static str,
}

pub const GRADIENTS: &[Gradient] = &[
    gradient("conv2d_plain", "forward", "y", "backward_input", "x", "dx"),
    gradient("conv2d_plain", "forward", "y", "backward_weight", "weight", "dweight"),
    gradient("depthwise", "forward", "y", "backward_input", "x", "dx"),
    gradient("depthwise", "forward", "y", "backward_weight", "weight", "dweight"),
    gradient("linear", "forward", "y", "backward_input", "x", "dx"),
    gradient("linear", "forward", "y", "backward_weight", "weight", "dweight"),
    gradient("linear", "forward", "y", "backward_weight", "bias", "dbias"),
    gradient("avg_pool2d", "forward", "y", "backward", "x", "dx"),
    gradient("adaptive_avg_pool2d", "forward", "y", "backward", "x", "dx"),
    gradient("dropout", "forward", "result", "backward", "x", "result"),
    gradient("batch_norm", "training", "y", "training", "x", "dx"),
    gradient("batch_norm", "training", "y", "training", "gamma", "dgamma"),
    gradient("batch_norm", "training", "y", "training", "beta", "dbeta"),
    gradient("batch_norm", "forward", "y", "backward_eval", "x", "dx"),
    gradient("cross_entropy", "forward_backward", "loss", "forward_backward", "logits", "dlogits"),
];

const fn gradient(
    group: &'static str,
    forward: &'static str,
    y: &'static str,
    backward: &'static str,
    by: &'static str,
    output: &'static str,
) -> Gradient {
    Gradient { group, forward, y, backward, by, output }
}

fn values(case: &Case, name: &str) -> Vec<f64> {
    match case.want(name) {
        Want::Near(values, _) => values.clone(),
        _ => panic!("{name} is no sum"),
    }
}

impl Gradient {
    /// Moves a random half of the numbers by a small share of themselves, both ways, and compares.
    ///
    /// # Errors
    /// One sentence with the line.
    pub fn check(&self, device: &Device, operations: &[Operation], seed: u64) -> Result<(), String> {
        let forward = find(operations, self.group, self.forward);
        let mut random = Random::of(seed, "gradient");
        let mut sizes = (forward.draw)(&mut random);
        let at = |name: &str| forward.sizes.iter().position(|size| *size == name);
        if let [Some(n), Some(live)] = ["n", "live"].map(at) {
            sizes[live] = sizes[n];
        }
        // The logits' size: others are flat or overflow.
        if self.group == "cross_entropy" {
            sizes[3] = 1;
        }
        let line = |entry| Line {
            operation: find(operations, self.group, entry),
            sizes: sizes.clone(),
            integers: false,
            seed,
        };
        let numbers = Numbers::new(seed, false);
        let back = line(self.backward).case_of(&device.gpu, &numbers);
        line(self.forward).case_of(&device.gpu, &numbers);
        let plain = numbers.known(self.by);
        let moves: Vec<f64> = plain.iter().map(|_| random.below(2) as f64).collect();
        let moved = |by: f64| plain.iter().zip(&moves).map(|(x, move_it)| x * (1.0 + by * move_it)).collect::<Vec<_>>();
        let case =
            |by: f64| line(self.forward).case_of(&device.gpu, &Numbers::new(seed, false).with(self.by, moved(by)));
        // Dropout's upstream gradient is what its backward pass reads.
        let upstream = |len: usize| match self.group {
            "cross_entropy" => vec![1.0 / len as f64; len],
            _ => wide(&input(&back, "dy")),
        };
        let loss = |by: f64| {
            let y = values(&case(by), self.y);
            y.iter().zip(upstream(y.len())).map(|(y, dy)| y * dy).sum::<f64>()
        };
        const STEP: f64 = 1e-6;
        let (up, down) = (loss(STEP), loss(-STEP));
        let differences = (up - down) / (2.0 * STEP);
        // Where the numbers lie on the device, by how much each was moved: exact in f32, as it is 0 or the number itself.
        let doubled = input(&case(1.0), self.by);
        let once = input(&case(0.0), self.by);
        let gradient = values(&back, self.output);
        let terms = doubled.iter().zip(&once).zip(&gradient).map(|((two, one), dx)| f64::from(two - one) * dx);
        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + f64::abs(term)));
        let allowed = 1e-6 * size + 1e-9 * (up.abs() + down.abs()) / STEP * 1e-3;
        if (sum - differences).abs() <= allowed {
            return Ok(());
        }
        let (line, by) = (line(self.backward), self.by);
        Err(format!("{line}: by {by} the differences say {differences}, the gradient {sum}, allowed {allowed:e}"))
    }
}
