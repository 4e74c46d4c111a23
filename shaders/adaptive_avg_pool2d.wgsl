// AdaptiveAvgPool2d to (oh, ow) and its gradient.
//
//   x, dx  (n, h, w, channels)      y, dy  (n, oh, ow, channels)      `channels` counts vectors of four
//
// Output row o is the mean over the input rows from floor(o * h / oh) up to, not including, ceil((o + 1) * h / oh); columns
// likewise, as in PyTorch. Neighbouring windows overlap where h is no multiple of oh.

struct Shape {
    n: u32,
    h: u32,
    w: u32,
    channels: u32,
    oh: u32,
    ow: u32,
}

// uses: numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

fn window_start(o: u32, size: u32, outputs: u32) -> u32 {
    return o * size / outputs;
}

fn window_end(o: u32, size: u32, outputs: u32) -> u32 {
    return ((o + 1u) * size + outputs - 1u) / outputs;
}

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
    let top = window_start(oy, s.h, s.oh);
    let bottom = window_end(oy, s.h, s.oh);
    let left = window_start(ox, s.w, s.ow);
    let right = window_end(ox, s.w, s.ow);
    var sum = vec4<f32>();
    for (var iy = top; iy < bottom; iy++) {
        for (var ix = left; ix < right; ix++) {
            sum += x[((image * s.h + iy) * s.w + ix) * s.channels + channel];
        }
    }
    y[i] = sum / f32((bottom - top) * (right - left));
}

// dx = the sum, over the windows that hold the pixel, of dy / window's size. One invocation: one input pixel, one vector.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let i = invocation_number(id, groups);
    if i >= s.n * s.h * s.w * s.channels { return; }
    let channel = i % s.channels;
    let ix = i / s.channels % s.w;
    let iy = i / s.channels / s.w % s.h;
    let image = i / s.channels / s.w / s.h;
    // Row iy lies in the windows o with o * h / oh < iy + 1 and (o + 1) * h / oh > iy.
    var sum = vec4<f32>();
    for (var oy = iy * s.oh / s.h; oy < s.oh && oy * s.h < (iy + 1u) * s.oh; oy++) {
        let rows = window_end(oy, s.h, s.oh) - window_start(oy, s.h, s.oh);
        for (var ox = ix * s.ow / s.w; ox < s.ow && ox * s.w < (ix + 1u) * s.ow; ox++) {
            let columns = window_end(ox, s.w, s.ow) - window_start(ox, s.w, s.ow);
            sum += dy[((image * s.oh + oy) * s.ow + ox) * s.channels + channel] / f32(rows * columns);
        }
    }
    dx[i] = sum;
}
