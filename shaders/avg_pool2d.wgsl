// AvgPool2d and its gradient.
//
//   x, dx  (n, h, w, channels)      y, dy  (n, oh, ow, channels)      `channels` counts vectors of four
//
// Output (oy, ox) is the mean over the rows from oy * stride - padding up to, not including, oy * stride - padding + kernel, and over
// such columns. Padding counts as zeros (`count_include_pad`, PyTorch's default), so every window has kernel * kernel values.

struct Shape {
    n: u32,
    h: u32,
    w: u32,
    channels: u32,
    oh: u32,
    ow: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
}

// uses: numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

// One invocation: one output pixel, one vector of channels.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let i = invocation_number(id, groups);
    if i >= s.n * s.oh * s.ow * s.channels { return; }
    let channel = i % s.channels;
    let ox = i / s.channels % s.ow;
    let oy = i / s.channels / s.ow % s.oh;
    let image = i / s.channels / s.ow / s.oh;
    let top = max(oy * s.stride, s.padding) - s.padding;
    let bottom = min(oy * s.stride + s.kernel - s.padding, s.h);
    let left = max(ox * s.stride, s.padding) - s.padding;
    let right = min(ox * s.stride + s.kernel - s.padding, s.w);
    var sum = vec4<f32>();
    for (var iy = top; iy < bottom; iy++) {
        for (var ix = left; ix < right; ix++) {
            sum += x[((image * s.h + iy) * s.w + ix) * s.channels + channel];
        }
    }
    y[i] = sum / f32(s.kernel * s.kernel);
}

// dx = the sum of dy over the windows that hold the pixel, / their size. One invocation: one input pixel, one vector of channels.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let i = invocation_number(id, groups);
    if i >= s.n * s.h * s.w * s.channels { return; }
    let channel = i % s.channels;
    let ix = i / s.channels % s.w;
    let iy = i / s.channels / s.w % s.h;
    let image = i / s.channels / s.w / s.h;
    // Row iy lies in the windows o with o * stride <= iy + padding < o * stride + kernel.
    let row = iy + s.padding;
    let column = ix + s.padding;
    let top = (max(row + s.stride, s.kernel) - s.kernel) / s.stride;
    let left = (max(column + s.stride, s.kernel) - s.kernel) / s.stride;
    var sum = vec4<f32>();
    for (var oy = top; oy < s.oh && oy * s.stride <= row; oy++) {
        for (var ox = left; ox < s.ow && ox * s.stride <= column; ox++) {
            sum += dy[((image * s.oh + oy) * s.ow + ox) * s.channels + channel];
        }
    }
    dx[i] = sum / f32(s.kernel * s.kernel);
}
