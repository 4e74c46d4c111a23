// BatchNorm2d: y = (x - mean) / sqrt(variance + eps) * gamma + beta, each channel by itself.
//
//   x, y, dy, dx                              (n, pixels, channels)   `channels` counts vectors of four
//   mean, variance, gamma, beta and theirs    (channels)
//
// In training, mean and biased variance come from the live images of the batch (`statistics`, then `combine`, which also
// moves the running ones); in evaluation the running ones take their place as arguments of the same `forward`.
//
// The statistics are made in chunks of pixels, each shifted by its own first value, so that a mean far from zero costs no digits. How
// they are divided among invocations is in `places`.

struct Shape {
    n: u32,
    pixels: u32,
    channels: u32,
    // Pixels, over all images, that are added up to one part of a sum.
    chunk: u32,
    eps: f32,
    momentum: f32,
}

// uses: step, sums, places, numbers

// Invocations that share a sum: see `places`.
const ROWS = 1u;

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> beta: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> variance: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read> dgamma: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read> dbeta: array<vec4<f32>>;
@group(0) @binding(11) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(12) var<storage, read_write> batch_mean: array<vec4<f32>>;
@group(0) @binding(13) var<storage, read_write> batch_variance: array<vec4<f32>>;
@group(0) @binding(14) var<storage, read_write> running_mean: array<vec4<f32>>;
@group(0) @binding(15) var<storage, read_write> running_variance: array<vec4<f32>>;
@group(0) @binding(16) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(17) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(18) var<storage, read_write> sum_gamma: array<vec4<f32>>;
@group(0) @binding(19) var<storage, read_write> sum_beta: array<vec4<f32>>;

// How many of the live images' pixels a chunk holds: the last ones may hold fewer or none.
fn count(chunk: u32) -> u32 {
    let live = step.live * shape.pixels;
    return clamp(live, chunk * shape.chunk, (chunk + 1u) * shape.chunk) - chunk * shape.chunk;
}

// partial[chunk] = mean and sum of squared distances from it.
@compute @workgroup_size(64)
fn statistics(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let at = place(local, group, groups);
    let first = at.chunk * shape.chunk;
    let channel = at.channel;
    let pixels = count(at.chunk);
    let shift = x[min(first, shape.n * shape.pixels - 1u) * shape.channels + channel];
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var pixel = at.row; pixel < pixels; pixel += ROWS) {
        let value = x[(first + pixel) * shape.channels + channel] - shift;
        sum += value;
        squares += value * value;
    }
    sum = add_up(local, sum);
    squares = add_up(local, squares);
    if stores(at) {
        let size = f32(max(pixels, 1u));
        let i = 2u * at.part;
        partial[i] = shift + sum / size;
        partial[i + 1u] = squares - sum * sum / size;
    }
}

// What an invocation of `combine` and `backward_combine` works on: ROWS invocations of a workgroup share the sums of one vector of
// channels. Row r takes every ROWS-th chunk from the r-th on.
struct Share {
    // The vector of channels; where there is none left, the last one again.
    channel: u32,
    row: u32,
    // Whether it stores the results.
    stores: bool,
}

const SHARES = 64u / ROWS;

fn share(local: u32, group: vec3<u32>, groups: vec3<u32>) -> Share {
    let channel = workgroup_number(group, groups) * SHARES + local % SHARES;
    let row = local / SHARES;
    return Share(min(channel, shape.channels - 1u), row, row == 0u && channel < shape.channels);
}

// batch_mean, batch_variance = those of the batch; the running ones move towards them, the variance in its unbiased form.
@compute @workgroup_size(64)
fn combine(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let own = share(local, group, groups);
    let channel = own.channel;
    let live = step.live * shape.pixels;
    let total = f32(live);
    let chunks = (live + shape.chunk - 1u) / shape.chunk;
    let shift = partials[2u * channel];
    var sum = vec4<f32>();
    for (var chunk = own.row; chunk < chunks; chunk += ROWS) {
        sum += (partials[2u * (chunk * shape.channels + channel)] - shift) * f32(count(chunk));
    }
    if ROWS > 1u {
        sum = add_all(local, SHARES, sum);
    }
    let mean = shift + sum / total;
    var squares = vec4<f32>();
    for (var chunk = own.row; chunk < chunks; chunk += ROWS) {
        let i = 2u * (chunk * shape.channels + channel);
        let distance = partials[i] - mean;
        squares += partials[i + 1u] + distance * distance * f32(count(chunk));
    }
    squares = add_up(local, squares);
    if !own.stores { return; }
    batch_mean[channel] = mean;
    batch_variance[channel] = squares / total;
    running_mean[channel] = mix(running_mean[channel], mean, shape.momentum);
    running_variance[channel] = mix(running_variance[channel], squares / max(total - 1.0, 1.0), shape.momentum);
}

// Pixels of one invocation of the kernels below: every threads-th, so that neighbours read side by side.
const EACH = 16u;

// y = (x - mean) / sqrt(variance + eps) * gamma + beta
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    let channel = i % shape.channels;
    let threads = (shape.n * shape.pixels + EACH - 1u) / EACH;
    if i / shape.channels >= threads { return; }
    let centre = mean[channel];
    let scale = inverseSqrt(variance[channel] + shape.eps) * gamma[channel];
    let offset = beta[channel];
    for (var pixel = i / shape.channels; pixel < shape.n * shape.pixels; pixel += threads) {
        let at = pixel * shape.channels + channel;
        y[at] = (x[at] - centre) * scale + offset;
    }
}

// partial[chunk] = sum of dy * (x - mean), and sum of dy.
@compute @workgroup_size(64)
fn backward_sums(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let at = place(local, group, groups);
    let channel = at.channel;
    let pixels = count(at.chunk);
    let centre = mean[channel];
    var products = vec4<f32>();
    var sum = vec4<f32>();
    for (var pixel = at.row; pixel < pixels; pixel += ROWS) {
        let i = (at.chunk * shape.chunk + pixel) * shape.channels + channel;
        products += dy[i] * (x[i] - centre);
        sum += dy[i];
    }
    products = add_up(local, products);
    sum = add_up(local, sum);
    if stores(at) {
        let i = 2u * at.part;
        partial[i] = products;
        partial[i + 1u] = sum;
    }
}

// sum_gamma, sum_beta = the gradients of gamma and beta.
@compute @workgroup_size(64)
fn backward_combine(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let own = share(local, group, groups);
    let channel = own.channel;
    let chunks = (step.live * shape.pixels + shape.chunk - 1u) / shape.chunk;
    var products = vec4<f32>();
    var sum = vec4<f32>();
    for (var chunk = own.row; chunk < chunks; chunk += ROWS) {
        let i = 2u * (chunk * shape.channels + channel);
        products += partials[i];
        sum += partials[i + 1u];
    }
    products = add_up(local, products);
    sum = add_up(local, sum);
    if !own.stores { return; }
    sum_gamma[channel] = products * inverseSqrt(variance[channel] + shape.eps);
    sum_beta[channel] = sum;
}

// Training: dx = gamma / sqrt(variance + eps) * (dy - (dbeta + xhat * dgamma) / count), xhat = (x - mean) / sqrt(variance + eps)
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    let channel = i % shape.channels;
    let threads = (shape.n * shape.pixels + EACH - 1u) / EACH;
    if i / shape.channels >= threads { return; }
    let centre = mean[channel];
    let inverse = inverseSqrt(variance[channel] + shape.eps);
    let scale = gamma[channel] * inverse;
    let total = f32(step.live * shape.pixels);
    let slope = dgamma[channel] * inverse / total;
    let offset = dbeta[channel] / total;
    for (var pixel = i / shape.channels; pixel < shape.n * shape.pixels; pixel += threads) {
        let at = pixel * shape.channels + channel;
        dx[at] = scale * (dy[at] - offset - (x[at] - centre) * slope);
    }
}

// Evaluation: mean and variance do not depend on x, so dx = dy * gamma / sqrt(variance + eps).
@compute @workgroup_size(64)
fn backward_eval(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    let channel = i % shape.channels;
    let threads = (shape.n * shape.pixels + EACH - 1u) / EACH;
    if i / shape.channels >= threads { return; }
    let scale = gamma[channel] * inverseSqrt(variance[channel] + shape.eps);
    for (var pixel = i / shape.channels; pixel < shape.n * shape.pixels; pixel += threads) {
        let at = pixel * shape.channels + channel;
        dx[at] = dy[at] * scale;
    }
}
