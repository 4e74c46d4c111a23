// MaxPool2d and its gradient.
//
//   x, dx           (n, h, w, channels)      `channels` counts vectors of four
//   y, dy, indices  (n, oh, ow, channels)
//
// Output (oy, ox) is the largest x of the rows from oy * stride - padding up to, not including, oy * stride - padding + kernel, and
// of such columns; padding never counts. `indices` holds the pixel where it lies, iy * w + ix. Padding is at most half of the
// window, so every window holds a pixel.
//
// As PyTorch does on a processor, a window is walked row by row, and a value takes over where it is larger than the largest so
// far or is no number. Only the bits tell what is no number: a shader may assume that all its numbers are.

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
@group(0) @binding(2) var<storage, read> indices: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> index: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;

fn is_nan(value: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(value) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// y = the largest x of each window, index = where it lies. One invocation: one output pixel, one vector of channels.
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
    var place = vec4<u32>(top * s.w + left);
    var most = x[(image * s.h * s.w + place.x) * s.channels + channel];
    for (var iy = top; iy < bottom; iy++) {
        for (var ix = left; ix < right; ix++) {
            let pixel = iy * s.w + ix;
            let value = x[(image * s.h * s.w + pixel) * s.channels + channel];
            let takes_over = ((value > most) & !is_nan(most)) | is_nan(value);
            most = select(most, value, takes_over);
            place = select(place, vec4<u32>(pixel), takes_over);
        }
    }
    y[i] = most;
    index[i] = place;
}

// dx = the sum of dy over the windows whose largest value the pixel is. One invocation: one input pixel, one vector of channels.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let i = invocation_number(id, groups);
    if i >= s.n * s.h * s.w * s.channels { return; }
    let channel = i % s.channels;
    let ix = i / s.channels % s.w;
    let iy = i / s.channels / s.w % s.h;
    let image = i / s.channels / s.w / s.h;
    let pixel = vec4<u32>(iy * s.w + ix);
    // Row iy lies in the windows o with o * stride <= iy + padding < o * stride + kernel.
    let row = iy + s.padding;
    let column = ix + s.padding;
    let top = (max(row + s.stride, s.kernel) - s.kernel) / s.stride;
    let left = (max(column + s.stride, s.kernel) - s.kernel) / s.stride;
    var sum = vec4<f32>();
    for (var oy = top; oy < s.oh && oy * s.stride <= row; oy++) {
        for (var ox = left; ox < s.ow && ox * s.stride <= column; ox++) {
            let at = ((image * s.oh + oy) * s.ow + ox) * s.channels + channel;
            sum += select(vec4<f32>(), dy[at], indices[at] == pixel);
        }
    }
    dx[i] = sum;
}
