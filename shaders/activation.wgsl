// What follows a convolution in one pass over memory: batch norm, ReLU and Dropout2d, as batch_norm.wgsl, relu.wgsl and
// dropout.wgsl compute them one by one.
//
//   y = max(z, 0) * mask,  z = (x - mean) / sqrt(variance + eps) * gamma + beta
//
//   x, y, dy, dx                              (n, pixels, channels)   `channels` counts vectors of four
//   mean, variance, gamma, beta and theirs    (channels)
//
// The backward pass works z out again instead of reading it: dz = dy * mask where z > 0, else 0. Its sums go to
// `batch_norm.backward_combine`, whose results make dx.

struct Shape {
    n: u32,
    pixels: u32,
    channels: u32,
    // Pixels, over all images, that are added up to one part of a sum.
    chunk: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
    eps: f32,
}

// uses: step, mask, sums, places, numbers

// Invocations that share a sum: see `places`.
const ROWS = 1u;

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> beta: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> variance: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> dgamma: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read> dbeta: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(11) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(12) var<storage, read_write> dx: array<vec4<f32>>;

// Pixels of one invocation of `forward` and `backward`: every strides-th of one image, so that neighbours read side by side.
const EACH = 16u;

// One invocation: up to EACH pixels of one image, one vector of channels.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    let strides = (shape.pixels + EACH - 1u) / EACH;
    let channel = i % shape.channels;
    let image = i / shape.channels / strides;
    if image >= shape.n { return; }
    let centre = mean[channel];
    let slope = inverseSqrt(variance[channel] + shape.eps) * gamma[channel];
    let offset = beta[channel];
    let factor = mask(image * shape.channels + channel);
    for (var pixel = i / shape.channels % strides; pixel < shape.pixels; pixel += strides) {
        let at = (image * shape.pixels + pixel) * shape.channels + channel;
        y[at] = max((x[at] - centre) * slope + offset, vec4<f32>()) * factor;
    }
}

// partial[chunk] = sum of dz * (x - mean), and sum of dz, over the live images. A row starts anew with each image.
@compute @workgroup_size(64)
fn backward_sums(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let at = place(local, group, groups);
    let channel = at.channel;
    let first = at.chunk * shape.chunk;
    let end = min(first + shape.chunk, step.live * shape.pixels);
    let centre = mean[channel];
    let slope = inverseSqrt(variance[channel] + shape.eps) * gamma[channel];
    let offset = beta[channel];
    var products = vec4<f32>();
    var sum = vec4<f32>();
    let images = (end + shape.pixels - 1u) / shape.pixels;
    for (var image = first / shape.pixels; image < images; image++) {
        let factor = mask(image * shape.channels + channel);
        let start = max(first, image * shape.pixels);
        let stop = min(end, (image + 1u) * shape.pixels);
        for (var pixel = start + at.row; pixel < stop; pixel += ROWS) {
            let i = pixel * shape.channels + channel;
            let distance = x[i] - centre;
            let dz = select(vec4<f32>(), dy[i] * factor, distance * slope + offset > vec4<f32>());
            products += dz * distance;
            sum += dz;
        }
    }
    products = add_up(local, products);
    sum = add_up(local, sum);
    if stores(at) {
        let i = 2u * at.part;
        partial[i] = products;
        partial[i + 1u] = sum;
    }
}

// dx = gamma / sqrt(variance + eps) * (dz - (dbeta + xhat * dgamma) / count), xhat = (x - mean) / sqrt(variance + eps).
// One invocation: as forward.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    let strides = (shape.pixels + EACH - 1u) / EACH;
    let channel = i % shape.channels;
    let image = i / shape.channels / strides;
    if image >= shape.n { return; }
    let centre = mean[channel];
    let inverse = inverseSqrt(variance[channel] + shape.eps);
    let slope = inverse * gamma[channel];
    let offset = beta[channel];
    let factor = mask(image * shape.channels + channel);
    let total = f32(step.live * shape.pixels);
    let product = dgamma[channel] * inverse / total;
    let sum = dbeta[channel] / total;
    for (var pixel = i / shape.channels % strides; pixel < shape.pixels; pixel += strides) {
        let at = (image * shape.pixels + pixel) * shape.channels + channel;
        let distance = x[at] - centre;
        let dz = select(vec4<f32>(), dy[at] * factor, distance * slope + offset > vec4<f32>());
        dx[at] = slope * (dz - sum - distance * product);
    }
}
