// Depthwise convolution, as PyTorch's Conv2d with as many groups as channels and no bias: each channel by itself, with a filter of
// its own; and its two gradients.
//
//   x, dx   (n, h, w, channels)      weight  (kernel, kernel, channels)
//   y, dy   (n, oh, ow, channels)    `channels` counts vectors of four
//   y[n, oy, ox, c] = sum over ky, kx of x[n, oy * stride + ky - padding, ox * stride + kx - padding, c] * weight[ky, kx, c]
//
// An invocation takes a strip of PIXELS neighbours in a row, so that a loaded weight serves all of them, and what several of them
// see is loaded once. Places left of the map or above it wrap round to huge numbers, which are not inside either.

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
    // Strips of outputs that one invocation of `backward_weight` adds up.
    chunk: u32,
}

// uses: step, numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> partial: array<vec4<f32>>;

// The host sets these numbers: the first two say once more what stands in `shape`.
const KERNEL = 3u;
const STRIDE = 1u;
const PIXELS = 8u;
// Columns of x that a strip of outputs sees.
const SEEN = (PIXELS - 1u) * STRIDE + KERNEL;

// y = x (*) weight. One invocation: a strip of outputs, one vector of channels.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let i = invocation_number(id, groups);
    let strips = (s.ow + PIXELS - 1u) / PIXELS;
    let channel = i % s.channels;
    let first = i / s.channels % strips * PIXELS;
    let oy = i / s.channels / strips % s.oh;
    let image = i / s.channels / strips / s.oh;
    if image >= s.n { return; }

    var sum: array<vec4<f32>, PIXELS>;
    for (var ky = 0u; ky < s.kernel; ky++) {
        let iy = oy * s.stride + ky - s.padding;
        if iy >= s.h { continue; }
        var values: array<vec4<f32>, SEEN>;
        for (var column = 0u; column < SEEN; column++) {
            let ix = first * STRIDE + column - s.padding;
            let inside = ix < s.w;
            let at = select(0u, ((image * s.h + iy) * s.w + ix) * s.channels + channel, inside);
            values[column] = select(vec4<f32>(), x[at], inside);
        }
        for (var kx = 0u; kx < KERNEL; kx++) {
            let factor = weight[(ky * KERNEL + kx) * s.channels + channel];
            for (var p = 0u; p < PIXELS; p++) {
                sum[p] += values[p * STRIDE + kx] * factor;
            }
        }
    }

    for (var p = 0u; p < PIXELS; p++) {
        if first + p < s.ow {
            y[((image * s.oh + oy) * s.ow + first + p) * s.channels + channel] = sum[p];
        }
    }
}

// For `backward_input` PIXELS is a multiple of STRIDE, and pixel p of a strip meets the taps p % STRIDE, p % STRIDE + STRIDE, ...
// The outputs that a strip meets begin REACH before its first pixel's own.
const REACH = (KERNEL - 1u) / STRIDE;
const MET = (PIXELS - 1u) / STRIDE + REACH + 1u;

// dx = the gradient of the loss with respect to x. One invocation: a strip of inputs, one vector of channels.
//
// Input row iy meets output row oy through tap ky = iy + padding - oy * stride, so only every stride-th tap counts; columns likewise.
// A strip begins where ix + padding is a multiple of the stride, so the first may begin left of the map.
@compute @workgroup_size(64)
fn backward_input(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let i = invocation_number(id, groups);
    let before = s.padding % s.stride;
    let strips = (s.w + before + PIXELS - 1u) / PIXELS;
    let channel = i % s.channels;
    let first = i / s.channels % strips * PIXELS;
    let iy = i / s.channels / strips % s.h;
    let image = i / s.channels / strips / s.h;
    if image >= s.n { return; }

    let row = iy + s.padding;
    let column = (first + s.padding) / s.stride;
    var sum: array<vec4<f32>, PIXELS>;
    for (var ky = row % s.stride; ky < min(s.kernel, row + 1u); ky += s.stride) {
        let oy = (row - ky) / s.stride;
        if oy >= s.oh { continue; }
        var gradient: array<vec4<f32>, MET>;
        for (var m = 0u; m < MET; m++) {
            let ox = column + m - REACH;
            let inside = ox < s.ow;
            let at = select(0u, ((image * s.oh + oy) * s.ow + ox) * s.channels + channel, inside);
            gradient[m] = select(vec4<f32>(), dy[at], inside);
        }
        for (var kx = 0u; kx < KERNEL; kx++) {
            let factor = weight[(ky * KERNEL + kx) * s.channels + channel];
            for (var q = 0u; q < PIXELS / STRIDE; q++) {
                sum[q * STRIDE + kx % STRIDE] += gradient[q + REACH - kx / STRIDE] * factor;
            }
        }
    }

    for (var p = 0u; p < PIXELS; p++) {
        let ix = first + p - before;
        if ix < s.w {
            dx[((image * s.h + iy) * s.w + ix) * s.channels + channel] = sum[p];
        }
    }
}

// partial[chunk] = the part of dweight that comes from one chunk of strips of the live images' outputs, (chunks, kernel, kernel,
// channels). One invocation: one row of taps, one vector of channels, one chunk.
@compute @workgroup_size(64)
fn backward_weight(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let i = invocation_number(id, groups);
    let strips = (s.ow + PIXELS - 1u) / PIXELS;
    let channel = i % s.channels;
    let ky = i / s.channels % s.kernel;
    let begin = i / s.channels / s.kernel * s.chunk;
    if begin >= s.n * s.oh * strips { return; }
    let end = min(begin + s.chunk, step.live * s.oh * strips);

    var sum: array<vec4<f32>, KERNEL>;
    for (var strip = begin; strip < end; strip++) {
        let first = strip % strips * PIXELS;
        let oy = strip / strips % s.oh;
        let image = strip / strips / s.oh;
        let iy = oy * s.stride + ky - s.padding;
        if iy >= s.h { continue; }
        var gradient: array<vec4<f32>, PIXELS>;
        for (var p = 0u; p < PIXELS; p++) {
            let inside = first + p < s.ow;
            let at = select(0u, ((image * s.oh + oy) * s.ow + first + p) * s.channels + channel, inside);
            gradient[p] = select(vec4<f32>(), dy[at], inside);
        }
        var values: array<vec4<f32>, SEEN>;
        for (var column = 0u; column < SEEN; column++) {
            let ix = first * STRIDE + column - s.padding;
            let inside = ix < s.w;
            let at = select(0u, ((image * s.h + iy) * s.w + ix) * s.channels + channel, inside);
            values[column] = select(vec4<f32>(), x[at], inside);
        }
        for (var kx = 0u; kx < KERNEL; kx++) {
            for (var p = 0u; p < PIXELS; p++) {
                sum[kx] += gradient[p] * values[p * STRIDE + kx];
            }
        }
    }

    // i counts rows of taps and vectors of channels, chunk after chunk.
    let row = i / s.channels * KERNEL;
    for (var kx = 0u; kx < KERNEL; kx++) {
        partial[(row + kx) * s.channels + channel] = sum[kx];
    }
}
