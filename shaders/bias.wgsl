// The bias of a convolution, one number a channel, and its gradient.
//
//   y, dy        (n, pixels, channels)   `channels` counts vectors of four
//   bias, dbias  (channels)
//   partial      (chunks, channels)

struct Shape {
    n: u32,
    pixels: u32,
    channels: u32,
    // Pixels, over all images, that are added up to one part of a sum.
    chunk: u32,
}

// uses: step, sums, places, numbers

// Invocations that share a sum: see `places`.
const ROWS = 1u;

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> partial: array<vec4<f32>>;

// Pixels of one invocation of `forward`: every threads-th, so that neighbours read side by side.
const EACH = 16u;

// y += bias. One invocation: up to EACH pixels, one vector of channels.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    let channel = i % shape.channels;
    let threads = (shape.n * shape.pixels + EACH - 1u) / EACH;
    if i / shape.channels >= threads { return; }
    let offset = bias[channel];
    for (var pixel = i / shape.channels; pixel < shape.n * shape.pixels; pixel += threads) {
        let at = pixel * shape.channels + channel;
        y[at] = y[at] + offset;
    }
}

// partial[chunk] = the sum of dy over a chunk of the live images' pixels.
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
    var part = vec4<f32>();
    for (var pixel = first + at.row; pixel < end; pixel += ROWS) {
        part += dy[pixel * shape.channels + channel];
    }
    let sum = add_up(local, part);
    if stores(at) {
        partial[at.part] = sum;
    }
}
