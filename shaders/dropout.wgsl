// Dropout in training: y = x * scale where kept, else 0, with scale = 1 / (1 - p). Its gradient is the same map of dy.
//
//   x, y, dy, dx  (n, pixels, channels)   `channels` counts vectors of four
//
// Nothing is stored for the backward pass: the mask is a pure function of seed, step, layer and place, by the generator
// pcg4d of Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020. One draw decides the four
// channels of a vector: kept where the random number reaches threshold = p * 2^32. Dropout2d (`whole_channels` = 1)
// draws once for all pixels of a channel.

struct Shape {
    n: u32,
    pixels: u32,
    channels: u32,
    whole_channels: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
}

struct Step {
    live: u32,
    seed: u32,
    number: u32,
    step_size: f32,
    bias_correction: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

fn pcg4d(key: vec4<u32>) -> vec4<u32> {
    var v = key * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4<u32>(16u);
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}

// What a vector is multiplied by; `place` tells vectors (or, for whole channels, their channels) apart.
fn mask(place: u32) -> vec4<f32> {
    let random = pcg4d(vec4<u32>(step.seed, step.number, shape.layer, place));
    return select(vec4<f32>(), vec4<f32>(shape.scale), random >= vec4<u32>(shape.threshold));
}

// Pixels of one invocation: every strides-th of one image, so that neighbours read side by side.
const EACH = 16u;

// y = x * mask. One invocation: up to EACH pixels of one image, one vector of channels.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 64u;
    let strides = (shape.pixels + EACH - 1u) / EACH;
    let channel = i % shape.channels;
    let image = i / shape.channels / strides;
    if image >= shape.n { return; }
    var factor = mask(image * shape.channels + channel);
    for (var pixel = i / shape.channels % strides; pixel < shape.pixels; pixel += strides) {
        let at = (image * shape.pixels + pixel) * shape.channels + channel;
        if shape.whole_channels == 0u {
            factor = mask(at);
        }
        y[at] = x[at] * factor;
    }
}

// dx = dy * mask. One invocation: as forward.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 64u;
    let strides = (shape.pixels + EACH - 1u) / EACH;
    let channel = i % shape.channels;
    let image = i / shape.channels / strides;
    if image >= shape.n { return; }
    var factor = mask(image * shape.channels + channel);
    for (var pixel = i / shape.channels % strides; pixel < shape.pixels; pixel += strides) {
        let at = (image * shape.pixels + pixel) * shape.channels + channel;
        if shape.whole_channels == 0u {
            factor = mask(at);
        }
        dx[at] = dy[at] * factor;
    }
}
