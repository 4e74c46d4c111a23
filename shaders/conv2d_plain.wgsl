// 2-D convolution, cross-correlation as in PyTorch's Conv2d without bias, and its two gradients.
//
//   x      (n, h, w, cin)                     input
//   weight (kernel_h, kernel_w, cin, cout)    filters
//   y      (n, oh, ow, cout)                  output
//   transposed (kernel_h, kernel_w, cout, cin)   the filters with their channels exchanged
//   y[n, oy, ox, o] = sum over ky, kx, c of x[n, oy * stride + ky - padding, ox * stride + kx - padding, c] * weight[ky, kx, c, o]
//
// Channels come last and four to a vector, so `cin` and `cout` below count vectors. The padding lanes of the last vector
// hold zeros in every tensor; zeros in give zeros out, so no kernel treats them apart.
//
// Four input channels times one vector of output channels are a 4 x 4 matrix m whose columns are consecutive vectors
// of `weight`: the forward pass adds m * x, the input's gradient, with `transposed`, m * dy, the weight's gradient x (outer) dy.
// Each invocation keeps a tile of sums in registers, so that a loaded vector serves many multiply-adds.

struct Shape {
    n: u32,
    h: u32,
    w: u32,
    cin: u32,
    oh: u32,
    ow: u32,
    cout: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    padding: u32,
    inputs: u32,
    outputs: u32,
    // Output pixels that one invocation of `backward_weight` adds up.
    chunk: u32,
}

// uses: step, numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> transposed: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> partial: array<vec4<f32>>;

// The tile of one invocation: pixels times vectors of channels. The host sets these numbers to suit the device.
const PIXELS = 8u;
const VECTORS = 2u;
const SUMS = PIXELS * VECTORS;

// y = x (*) weight. One invocation: PIXELS consecutive output pixels (over n, oy, ox), VECTORS output channel vectors.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let tiles = (s.cout + VECTORS - 1u) / VECTORS;
    let i = invocation_number(id, groups);
    let pixels = s.n * s.oh * s.ow;
    let first = i / tiles * PIXELS;
    if first >= pixels { return; }

    var image: array<u32, PIXELS>;
    var top: array<i32, PIXELS>;
    var left: array<i32, PIXELS>;
    for (var p = 0u; p < PIXELS; p++) {
        let pixel = min(first + p, pixels - 1u);
        image[p] = pixel / (s.oh * s.ow);
        top[p] = i32(pixel / s.ow % s.oh * s.stride) - i32(s.padding);
        left[p] = i32(pixel % s.ow * s.stride) - i32(s.padding);
    }
    var column: array<u32, VECTORS>;
    for (var v = 0u; v < VECTORS; v++) {
        column[v] = min(i % tiles * VECTORS + v, s.cout - 1u);
    }

    var sum: array<vec4<f32>, SUMS>;
    for (var ky = 0u; ky < s.kernel_h; ky++) {
        for (var kx = 0u; kx < s.kernel_w; kx++) {
            var inside: array<bool, PIXELS>;
            var at: array<u32, PIXELS>;
            for (var p = 0u; p < PIXELS; p++) {
                let iy = u32(top[p] + i32(ky));
                let ix = u32(left[p] + i32(kx));
                inside[p] = iy < s.h && ix < s.w;
                at[p] = select(0u, ((image[p] * s.h + iy) * s.w + ix) * s.cin, inside[p]);
            }
            for (var c = 0u; c < s.cin; c++) {
                var values: array<vec4<f32>, PIXELS>;
                for (var p = 0u; p < PIXELS; p++) {
                    values[p] = select(vec4<f32>(), x[at[p] + c], inside[p]);
                }
                let row = ((ky * s.kernel_w + kx) * s.cin + c) * 4u * s.cout;
                for (var v = 0u; v < VECTORS; v++) {
                    let w0 = weight[row + column[v]];
                    let w1 = weight[row + s.cout + column[v]];
                    let w2 = weight[row + 2u * s.cout + column[v]];
                    let w3 = weight[row + 3u * s.cout + column[v]];
                    for (var p = 0u; p < PIXELS; p++) {
                        sum[p * VECTORS + v] += mat4x4<f32>(w0, w1, w2, w3) * values[p];
                    }
                }
            }
        }
    }

    for (var p = 0u; p < PIXELS; p++) {
        for (var v = 0u; v < VECTORS; v++) {
            if first + p < pixels && i % tiles * VECTORS + v < s.cout {
                y[(first + p) * s.cout + column[v]] = sum[p * VECTORS + v];
            }
        }
    }
}

// dx = the gradient of the loss with respect to x. One invocation: PIXELS input pixels, VECTORS input channel vectors.
//
// Input row iy meets output row oy through tap ky = iy + padding - oy * stride, so only every stride-th tap counts. The
// pixels of an invocation share iy % stride and ix % stride (their phase), hence their taps.
@compute @workgroup_size(64)
fn backward_input(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let tiles = (s.cin + VECTORS - 1u) / VECTORS;
    let rows = (s.h + s.stride - 1u) / s.stride;
    let columns = (s.w + s.stride - 1u) / s.stride;
    let pixels = s.n * rows * columns;
    let pixel_tiles = (pixels + PIXELS - 1u) / PIXELS;
    let i = invocation_number(id, groups);
    let phase = i / tiles / pixel_tiles;
    if phase >= s.stride * s.stride { return; }
    let first = i / tiles % pixel_tiles * PIXELS;
    let phase_y = phase / s.stride;
    let phase_x = phase % s.stride;

    var image: array<u32, PIXELS>;
    var iy: array<u32, PIXELS>;
    var ix: array<u32, PIXELS>;
    for (var p = 0u; p < PIXELS; p++) {
        let pixel = min(first + p, pixels - 1u);
        image[p] = pixel / (rows * columns);
        iy[p] = pixel / columns % rows * s.stride + phase_y;
        ix[p] = pixel % columns * s.stride + phase_x;
    }
    var channel: array<u32, VECTORS>;
    for (var v = 0u; v < VECTORS; v++) {
        channel[v] = min(i % tiles * VECTORS + v, s.cin - 1u);
    }

    var sum: array<vec4<f32>, SUMS>;
    for (var ky = (phase_y + s.padding) % s.stride; ky < s.kernel_h; ky += s.stride) {
        for (var kx = (phase_x + s.padding) % s.stride; kx < s.kernel_w; kx += s.stride) {
            var inside: array<bool, PIXELS>;
            var at: array<u32, PIXELS>;
            for (var p = 0u; p < PIXELS; p++) {
                // Left of or above the first output this wraps round to a huge number, which is not inside either.
                let oy = u32(i32(iy[p] + s.padding) - i32(ky)) / s.stride;
                let ox = u32(i32(ix[p] + s.padding) - i32(kx)) / s.stride;
                inside[p] = oy < s.oh && ox < s.ow;
                at[p] = select(0u, ((image[p] * s.oh + oy) * s.ow + ox) * s.cout, inside[p]);
            }
            for (var c = 0u; c < s.cout; c++) {
                var gradient: array<vec4<f32>, PIXELS>;
                for (var p = 0u; p < PIXELS; p++) {
                    gradient[p] = select(vec4<f32>(), dy[at[p] + c], inside[p]);
                }
                let row = ((ky * s.kernel_w + kx) * s.cout + c) * 4u * s.cin;
                for (var v = 0u; v < VECTORS; v++) {
                    let w0 = transposed[row + channel[v]];
                    let w1 = transposed[row + s.cin + channel[v]];
                    let w2 = transposed[row + 2u * s.cin + channel[v]];
                    let w3 = transposed[row + 3u * s.cin + channel[v]];
                    for (var p = 0u; p < PIXELS; p++) {
                        sum[p * VECTORS + v] += mat4x4<f32>(w0, w1, w2, w3) * gradient[p];
                    }
                }
            }
        }
    }

    for (var p = 0u; p < PIXELS; p++) {
        for (var v = 0u; v < VECTORS; v++) {
            if first + p < pixels && iy[p] < s.h && ix[p] < s.w && i % tiles * VECTORS + v < s.cin {
                dx[((image[p] * s.h + iy[p]) * s.w + ix[p]) * s.cin + channel[v]] = sum[p * VECTORS + v];
            }
        }
    }
}

// A row of the weight's gradient is one tap and one vector of input channels.
const ROWS = 3u;
const ROW_SUMS = ROWS * 4u * VECTORS;

// partial[chunk] = the part of dweight that comes from one chunk of output pixels of the live images. One invocation:
// ROWS rows, VECTORS output channel vectors, one chunk.
@compute @workgroup_size(64)
fn backward_weight(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let rows = s.kernel_h * s.kernel_w * s.cin;
    let row_tiles = (rows + ROWS - 1u) / ROWS;
    let tiles = (s.cout + VECTORS - 1u) / VECTORS;
    let i = invocation_number(id, groups);
    let chunk = i / tiles / row_tiles;
    let first = chunk * s.chunk;
    if first >= s.n * s.oh * s.ow { return; }
    let end = min(first + s.chunk, step.live * s.oh * s.ow);

    var row: array<u32, ROWS>;
    var ky: array<i32, ROWS>;
    var kx: array<i32, ROWS>;
    var channel: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        row[r] = min(i / tiles % row_tiles * ROWS + r, rows - 1u);
        channel[r] = row[r] % s.cin;
        kx[r] = i32(row[r] / s.cin % s.kernel_w) - i32(s.padding);
        ky[r] = i32(row[r] / s.cin / s.kernel_w) - i32(s.padding);
    }
    var column: array<u32, VECTORS>;
    for (var v = 0u; v < VECTORS; v++) {
        column[v] = min(i % tiles * VECTORS + v, s.cout - 1u);
    }

    var sum: array<vec4<f32>, ROW_SUMS>;
    var image = first / (s.oh * s.ow);
    var oy = first / s.ow % s.oh;
    var ox = first % s.ow;
    for (var pixel = first; pixel < end; pixel++) {
        var gradient: array<vec4<f32>, VECTORS>;
        for (var v = 0u; v < VECTORS; v++) {
            gradient[v] = dy[pixel * s.cout + column[v]];
        }
        for (var r = 0u; r < ROWS; r++) {
            let iy = u32(i32(oy * s.stride) + ky[r]);
            let ix = u32(i32(ox * s.stride) + kx[r]);
            let inside = iy < s.h && ix < s.w;
            let at = select(0u, ((image * s.h + iy) * s.w + ix) * s.cin + channel[r], inside);
            let value = select(vec4<f32>(), x[at], inside);
            for (var lane = 0u; lane < 4u; lane++) {
                for (var v = 0u; v < VECTORS; v++) {
                    sum[(r * 4u + lane) * VECTORS + v] += value[lane] * gradient[v];
                }
            }
        }
        ox += 1u;
        if ox == s.ow {
            ox = 0u;
            oy += 1u;
        }
        if oy == s.oh {
            oy = 0u;
            image += 1u;
        }
    }

    for (var r = 0u; r < ROWS; r++) {
        for (var lane = 0u; lane < 4u; lane++) {
            for (var v = 0u; v < VECTORS; v++) {
                if i / tiles % row_tiles * ROWS + r < rows && i % tiles * VECTORS + v < s.cout {
                    partial[((chunk * rows + row[r]) * 4u + lane) * s.cout + column[v]] = sum[(r * 4u + lane) * VECTORS + v];
                }
            }
        }
    }
}
