// Dropout in training: y = x * scale where kept, else 0, with scale = 1 / (1 - p). Its gradient is the same map of dy.
//
//   x, y, dy, dx  (n, pixels, channels)   `channels` counts vectors of four
//
// Nothing is stored for the backward pass: common/mask.wgsl makes the same mask again. Dropout2d (`whole_channels` = 1) draws once
// for all pixels of a channel.

struct Shape {
    n: u32,
    pixels: u32,
    channels: u32,
    whole_channels: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
}

// uses: step, mask, numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

// Pixels of one invocation: every strides-th of one image, so that neighbours read side by side.
const EACH = 16u;

// y = x * mask. One invocation: up to EACH pixels of one image, one vector of channels.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
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
    let i = invocation_number(id, groups);
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
