// Conv2d and its gradients for large GPUs, as products of matrices through workgroup memory, with large tiles.
//
// Formulas, layouts and names are those of conv2d_plain.wgsl.
//
// A workgroup sums up a tile of results in its registers, 8 x 8 of them in an invocation at most. It goes through what is to be
// summed in steps. In a turn of the loop, all invocations first read the next step's part of both tensors from memory into
// registers, then multiply this step's part, which lies in workgroup memory, wait for each other, put the next part there, and
// wait again. So what is read from memory is on its way while they multiply. No invocation leaves early, because the others wait
// for it: what lies outside counts as zero, and is not stored.
//
// Where there are too few tiles for all of the device, the sums are made in parts, and conv2d_sum.wgsl adds those up.

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
    // What one workgroup adds up: output pixels in `backward_weight`, steps in the others.
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

// The host sets PIXELS and PIXEL_LANES. CHANNEL_LANES invocations stand side by side in the channels that are written,
// PIXEL_LANES in the pixels; each has VECTORS vectors of channels of PIXELS pixels. A step reads DEPTH vectors for each pixel.
// PIXELS is even and PIXEL_LANES divides 32, so that all invocations load equally much.
const PIXELS = 8u;
const PIXEL_LANES = 16u;
const CHANNEL_LANES = 8u;
const VECTORS = 2u;
const DEPTH = 4u;

const THREADS = PIXEL_LANES * CHANNEL_LANES;
const TILE_PIXELS = PIXELS * PIXEL_LANES;
const TILE_VECTORS = VECTORS * CHANNEL_LANES;
const SUMS = PIXELS * VECTORS;

// Of a step, each invocation loads one vector of every LOADED_PIXELS-th pixel, and every THREADS-th vector of the filters.
const LOADED_PIXELS = THREADS / DEPTH;
const VALUE_LOADS = TILE_PIXELS / LOADED_PIXELS;
const WEIGHT_LOADS = 4u * DEPTH * TILE_VECTORS / THREADS;

// The step's part of x or dy: vector d of pixel p * PIXEL_LANES + lane is [p * DEPTH + d][lane]. The two unused columns put
// what is stored at once into different banks of the memory.
var<workgroup> values: array<array<vec4<f32>, PIXEL_LANES + 2u>, PIXELS * DEPTH>;
// The step's part of the filters: vector v * CHANNEL_LANES + lane of row r is [r * VECTORS + v][lane].
var<workgroup> filters: array<array<vec4<f32>, CHANNEL_LANES>, 4u * DEPTH * VECTORS>;

// Adds the products of one step.
fn multiply(sum: ptr<function, array<vec4<f32>, SUMS>>, pixel_lane: u32, channel_lane: u32) {
    for (var d = 0u; d < DEPTH; d++) {
        var value: array<vec4<f32>, PIXELS>;
        for (var p = 0u; p < PIXELS; p++) {
            value[p] = values[p * DEPTH + d][pixel_lane];
        }
        for (var j = 0u; j < 4u; j++) {
            for (var v = 0u; v < VECTORS; v++) {
                let w = filters[(d * 4u + j) * VECTORS + v][channel_lane];
                for (var p = 0u; p < PIXELS; p++) {
                    (*sum)[p * VECTORS + v] += value[p][j] * w;
                }
            }
        }
    }
}

// y = x (*) weight, or one part of it: y[part] if there are several. One workgroup: TILE_PIXELS consecutive output pixels (over
// n, oy, ox), TILE_VECTORS output channel vectors, `chunk` steps through the vectors of x that an output sees (over ky, kx, cin).
@compute @workgroup_size(THREADS)
fn forward(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = shape;
    let tiles = (s.cout + TILE_VECTORS - 1u) / TILE_VECTORS;
    let i = workgroup_number(group, groups);
    let pixels = s.n * s.oh * s.ow;
    let pixel_tiles = (pixels + TILE_PIXELS - 1u) / TILE_PIXELS;
    let part = i / tiles / pixel_tiles;
    let first = i / tiles % pixel_tiles * TILE_PIXELS;
    let first_vector = i % tiles * TILE_VECTORS;
    let all = s.kernel_h * s.kernel_w * s.cin;
    let begin = part * s.chunk * DEPTH;
    let end = min(begin + s.chunk * DEPTH, all);

    // What this invocation loads of x: for these pixels, vector c of tap (ky, kx), which is vector d of a step. Left of or above
    // the map, coordinates wrap round to huge numbers, which are not inside either.
    let d = local % DEPTH;
    var c = (begin + d) % s.cin;
    var kx = (begin + d) / s.cin % s.kernel_w;
    var ky = (begin + d) / s.cin / s.kernel_w;
    let next_c = DEPTH % s.cin;
    let next_kx = DEPTH / s.cin % s.kernel_w;
    let next_ky = DEPTH / s.cin / s.kernel_w;
    var at: array<u32, VALUE_LOADS>;
    var top: array<u32, VALUE_LOADS>;
    var left: array<u32, VALUE_LOADS>;
    for (var l = 0u; l < VALUE_LOADS; l++) {
        let pixel = min(first + l * LOADED_PIXELS + local / DEPTH, pixels - 1u);
        top[l] = pixel / s.ow % s.oh * s.stride - s.padding;
        left[l] = pixel % s.ow * s.stride - s.padding;
        at[l] = ((pixel / (s.oh * s.ow) * s.h + top[l]) * s.w + left[l]) * s.cin;
    }

    var sum: array<vec4<f32>, SUMS>;
    var value: array<vec4<f32>, VALUE_LOADS>;
    var value_inside: array<bool, VALUE_LOADS>;
    var row: array<vec4<f32>, WEIGHT_LOADS>;
    var row_inside: array<bool, WEIGHT_LOADS>;
    for (var k = begin; k < end + DEPTH; k += DEPTH) {
        if k < end {
            let tap = (ky * s.w + kx) * s.cin + c;
            for (var l = 0u; l < VALUE_LOADS; l++) {
                value_inside[l] = k + d < end && top[l] + ky < s.h && left[l] + kx < s.w;
                value[l] = x[select(0u, at[l] + tap, value_inside[l])];
            }
            for (var l = 0u; l < WEIGHT_LOADS; l++) {
                let r = (l * THREADS + local) / TILE_VECTORS;
                let vector = first_vector + (l * THREADS + local) % TILE_VECTORS;
                row_inside[l] = k + r / 4u < end && vector < s.cout;
                row[l] = weight[select(0u, (k * 4u + r) * s.cout + vector, row_inside[l])];
            }
            c += next_c;
            kx += next_kx;
            ky += next_ky;
            if c >= s.cin {
                c -= s.cin;
                kx += 1u;
            }
            if kx >= s.kernel_w {
                kx -= s.kernel_w;
                ky += 1u;
            }
        }
        if k > begin {
            multiply(&sum, local / CHANNEL_LANES, local % CHANNEL_LANES);
        }
        workgroupBarrier();
        if k < end {
            for (var l = 0u; l < VALUE_LOADS; l++) {
                let pixel = l * LOADED_PIXELS + local / DEPTH;
                values[pixel / PIXEL_LANES * DEPTH + d][pixel % PIXEL_LANES] = select(vec4<f32>(), value[l], value_inside[l]);
            }
            for (var l = 0u; l < WEIGHT_LOADS; l++) {
                let n = l * THREADS + local;
                filters[n / CHANNEL_LANES][n % CHANNEL_LANES] = select(vec4<f32>(), row[l], row_inside[l]);
            }
        }
        workgroupBarrier();
    }

    for (var p = 0u; p < PIXELS; p++) {
        let pixel = first + p * PIXEL_LANES + local / CHANNEL_LANES;
        for (var v = 0u; v < VECTORS; v++) {
            let vector = first_vector + v * CHANNEL_LANES + local % CHANNEL_LANES;
            if begin < all && pixel < pixels && vector < s.cout {
                y[(part * pixels + pixel) * s.cout + vector] = sum[p * VECTORS + v];
            }
        }
    }
}

// dx = the gradient of the loss with respect to x, or one part of it: dx[part] if there are several. One workgroup: TILE_PIXELS
// input pixels of one phase, TILE_VECTORS input channel vectors, `chunk` steps through the vectors of dy that the pixels met
// (over the phase's taps and cout).
//
// Input row iy meets output row oy through tap ky = iy + padding - oy * stride, so only every stride-th tap counts. The
// pixels of a workgroup share iy % stride and ix % stride (their phase), hence their taps.
@compute @workgroup_size(THREADS)
fn backward_input(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = shape;
    let tiles = (s.cin + TILE_VECTORS - 1u) / TILE_VECTORS;
    let rows = (s.h + s.stride - 1u) / s.stride;
    let columns = (s.w + s.stride - 1u) / s.stride;
    let pixels = s.n * rows * columns;
    let pixel_tiles = (pixels + TILE_PIXELS - 1u) / TILE_PIXELS;
    let i = workgroup_number(group, groups);
    let part = i / tiles / pixel_tiles / (s.stride * s.stride);
    let phase = i / tiles / pixel_tiles % (s.stride * s.stride);
    let phase_y = phase / s.stride;
    let phase_x = phase % s.stride;
    let first = i / tiles % pixel_tiles * TILE_PIXELS;
    let first_vector = i % tiles * TILE_VECTORS;

    // A phase may have fewer taps than the one with most of them, or none. Its last parts are zero then.
    let first_ky = (phase_y + s.padding) % s.stride;
    let first_kx = (phase_x + s.padding) % s.stride;
    let taps_y = (max(s.kernel_h, first_ky) - first_ky + s.stride - 1u) / s.stride;
    let taps_x = (max(s.kernel_w, first_kx) - first_kx + s.stride - 1u) / s.stride;
    let steps_of_tap = (s.cout + DEPTH - 1u) / DEPTH;
    let most_y = (s.kernel_h + s.stride - 1u) / s.stride;
    let most_x = (s.kernel_w + s.stride - 1u) / s.stride;
    let begin = part * s.chunk;
    let end = min(begin + s.chunk, taps_y * taps_x * steps_of_tap);

    // What this invocation loads of dy: vector d of the output pixels that met these input pixels through their first tap.
    // Each further tap met the output pixel before; left of or above the first that wraps round to a huge number.
    let d = local % DEPTH;
    var at: array<u32, VALUE_LOADS>;
    var bottom: array<u32, VALUE_LOADS>;
    var right: array<u32, VALUE_LOADS>;
    for (var l = 0u; l < VALUE_LOADS; l++) {
        let pixel = min(first + l * LOADED_PIXELS + local / DEPTH, pixels - 1u);
        bottom[l] = pixel / columns % rows + (phase_y + s.padding) / s.stride;
        right[l] = pixel % columns + (phase_x + s.padding) / s.stride;
        at[l] = ((pixel / (rows * columns) * s.oh + bottom[l]) * s.ow + right[l]) * s.cout + d;
    }

    // A step is DEPTH vectors from vector c of the tap `up` rows and `back` columns after the first.
    var c = begin % steps_of_tap * DEPTH;
    var back = begin / steps_of_tap % max(taps_x, 1u);
    var up = begin / steps_of_tap / max(taps_x, 1u);
    var sum: array<vec4<f32>, SUMS>;
    var value: array<vec4<f32>, VALUE_LOADS>;
    var value_inside: array<bool, VALUE_LOADS>;
    var row: array<vec4<f32>, WEIGHT_LOADS>;
    var row_inside: array<bool, WEIGHT_LOADS>;
    for (var k = begin; k < end + 1u; k++) {
        if k < end {
            let before = (up * s.ow + back) * s.cout - c;
            for (var l = 0u; l < VALUE_LOADS; l++) {
                value_inside[l] = bottom[l] - up < s.oh && right[l] - back < s.ow && c + d < s.cout;
                value[l] = dy[select(0u, at[l] - before, value_inside[l])];
            }
            let tap = (first_ky + up * s.stride) * s.kernel_w + first_kx + back * s.stride;
            for (var l = 0u; l < WEIGHT_LOADS; l++) {
                let r = (l * THREADS + local) / TILE_VECTORS;
                let vector = first_vector + (l * THREADS + local) % TILE_VECTORS;
                row_inside[l] = c + r / 4u < s.cout && vector < s.cin;
                row[l] = transposed[select(0u, ((tap * s.cout + c) * 4u + r) * s.cin + vector, row_inside[l])];
            }
            c += DEPTH;
            if c >= s.cout {
                c = 0u;
                back += 1u;
                if back == taps_x {
                    back = 0u;
                    up += 1u;
                }
            }
        }
        if k > begin {
            multiply(&sum, local / CHANNEL_LANES, local % CHANNEL_LANES);
        }
        workgroupBarrier();
        if k < end {
            for (var l = 0u; l < VALUE_LOADS; l++) {
                let pixel = l * LOADED_PIXELS + local / DEPTH;
                values[pixel / PIXEL_LANES * DEPTH + d][pixel % PIXEL_LANES] = select(vec4<f32>(), value[l], value_inside[l]);
            }
            for (var l = 0u; l < WEIGHT_LOADS; l++) {
                let n = l * THREADS + local;
                filters[n / CHANNEL_LANES][n % CHANNEL_LANES] = select(vec4<f32>(), row[l], row_inside[l]);
            }
        }
        workgroupBarrier();
    }

    for (var p = 0u; p < PIXELS; p++) {
        let pixel = first + p * PIXEL_LANES + local / CHANNEL_LANES;
        let iy = pixel / columns % rows * s.stride + phase_y;
        let ix = pixel % columns * s.stride + phase_x;
        let inside = begin < most_y * most_x * steps_of_tap && pixel < pixels && iy < s.h && ix < s.w;
        for (var v = 0u; v < VECTORS; v++) {
            let vector = first_vector + v * CHANNEL_LANES + local % CHANNEL_LANES;
            if inside && vector < s.cin {
                let image = part * s.n + pixel / (rows * columns);
                dx[((image * s.h + iy) * s.w + ix) * s.cin + vector] = sum[p * VECTORS + v];
            }
        }
    }
}

// A row of the weight's gradient is one tap and one vector of input channels. The host sets LANES to 8 or 16: so many
// invocations stand side by side in the rows, each with ROWS of them, and in the output channels, each with VECTORS vectors. A
// step reads RUN output pixels.
const LANES = 8u;
const ROWS = 2u;
const RUN = 16u;

const WEIGHT_THREADS = LANES * LANES;
const TILE_ROWS = ROWS * LANES;
const TILE_COLUMNS = VECTORS * LANES;
const ROW_SUMS = ROWS * 4u * VECTORS;

// Of a step, each invocation loads every LOADED_ROWS-th row of one pixel of x, and every WEIGHT_THREADS-th vector of dy.
const LOADED_ROWS = WEIGHT_THREADS / RUN;
const ROW_LOADS = TILE_ROWS / LOADED_ROWS;
const GRADIENT_LOADS = RUN * TILE_COLUMNS / WEIGHT_THREADS;

// The step's part of x: row r * LANES + lane of pixel k is [k * ROWS + r][lane]. The unused columns, where they are needed, put what
// is stored at once into different banks of the memory.
var<workgroup> inputs: array<array<vec4<f32>, LANES + 8u / LOADED_ROWS>, RUN * ROWS>;
// The step's part of dy: vector v * LANES + lane of pixel k is [k * VECTORS + v][lane].
var<workgroup> gradients: array<array<vec4<f32>, LANES>, RUN * VECTORS>;

// partial[chunk] = the part of dweight that comes from one chunk of output pixels of the live images. One workgroup:
// TILE_ROWS rows, TILE_COLUMNS output channel vectors, one chunk.
@compute @workgroup_size(WEIGHT_THREADS)
fn backward_weight(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = shape;
    let rows = s.kernel_h * s.kernel_w * s.cin;
    let row_tiles = (rows + TILE_ROWS - 1u) / TILE_ROWS;
    let tiles = (s.cout + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let i = workgroup_number(group, groups);
    let chunk = i / tiles / row_tiles;
    let first_row = i / tiles % row_tiles * TILE_ROWS;
    let first_vector = i % tiles * TILE_COLUMNS;
    let first = chunk * s.chunk;
    let end = min(first + s.chunk, step.live * s.oh * s.ow);

    // What this invocation loads of x: these rows, seen from the top left input of a pixel's filter.
    var at: array<u32, ROW_LOADS>;
    var down: array<u32, ROW_LOADS>;
    var right: array<u32, ROW_LOADS>;
    for (var l = 0u; l < ROW_LOADS; l++) {
        let row = min(first_row + l * LOADED_ROWS + local % LOADED_ROWS, rows - 1u);
        down[l] = row / s.cin / s.kernel_w;
        right[l] = row / s.cin % s.kernel_w;
        at[l] = (down[l] * s.w + right[l]) * s.cin + row % s.cin;
    }
    // The pixel of each step whose rows they are.
    let own_pixel = local / LOADED_ROWS;
    var ox = (first + own_pixel) % s.ow;
    var oy = (first + own_pixel) / s.ow % s.oh;
    var image = (first + own_pixel) / (s.ow * s.oh);
    let next_ox = RUN % s.ow;
    let next_oy = RUN / s.ow % s.oh;
    let next_image = RUN / s.ow / s.oh;
    // Any 32 neighbours are 8 wide in the channels and 4 in the rows, so that together they read little of the workgroup's memory.
    let channel_lane = local % 8u + local / 32u % (LANES / 8u) * 8u;
    let row_lane = local / 8u % 4u + local / (LANES * 4u) * 4u;

    var sum: array<vec4<f32>, ROW_SUMS>;
    var value: array<vec4<f32>, ROW_LOADS>;
    var value_inside: array<bool, ROW_LOADS>;
    var slope: array<vec4<f32>, GRADIENT_LOADS>;
    var slope_inside: array<bool, GRADIENT_LOADS>;
    for (var start = first; start < end + RUN; start += RUN) {
        if start < end {
            let top = oy * s.stride - s.padding;
            let left = ox * s.stride - s.padding;
            let corner = ((image * s.h + top) * s.w + left) * s.cin;
            for (var l = 0u; l < ROW_LOADS; l++) {
                value_inside[l] = start + own_pixel < end && top + down[l] < s.h && left + right[l] < s.w;
                value[l] = x[select(0u, corner + at[l], value_inside[l])];
            }
            for (var l = 0u; l < GRADIENT_LOADS; l++) {
                let pixel = start + (l * WEIGHT_THREADS + local) / TILE_COLUMNS;
                let vector = first_vector + (l * WEIGHT_THREADS + local) % TILE_COLUMNS;
                slope_inside[l] = pixel < end && vector < s.cout;
                slope[l] = dy[select(0u, pixel * s.cout + vector, slope_inside[l])];
            }
            ox += next_ox;
            oy += next_oy;
            image += next_image;
            if ox >= s.ow {
                ox -= s.ow;
                oy += 1u;
            }
            if oy >= s.oh {
                oy -= s.oh;
                image += 1u;
            }
        }
        if start > first {
            for (var k = 0u; k < RUN; k++) {
                var gradient: array<vec4<f32>, VECTORS>;
                for (var v = 0u; v < VECTORS; v++) {
                    gradient[v] = gradients[k * VECTORS + v][channel_lane];
                }
                for (var r = 0u; r < ROWS; r++) {
                    let taken = inputs[k * ROWS + r][row_lane];
                    for (var j = 0u; j < 4u; j++) {
                        for (var v = 0u; v < VECTORS; v++) {
                            sum[(r * 4u + j) * VECTORS + v] += taken[j] * gradient[v];
                        }
                    }
                }
            }
        }
        workgroupBarrier();
        if start < end {
            for (var l = 0u; l < ROW_LOADS; l++) {
                let row = l * LOADED_ROWS + local % LOADED_ROWS;
                inputs[own_pixel * ROWS + row / LANES][row % LANES] = select(vec4<f32>(), value[l], value_inside[l]);
            }
            for (var l = 0u; l < GRADIENT_LOADS; l++) {
                let n = l * WEIGHT_THREADS + local;
                gradients[n / LANES][n % LANES] = select(vec4<f32>(), slope[l], slope_inside[l]);
            }
        }
        workgroupBarrier();
    }

    for (var r = 0u; r < ROWS; r++) {
        let row = first_row + r * LANES + row_lane;
        for (var j = 0u; j < 4u; j++) {
            for (var v = 0u; v < VECTORS; v++) {
                let vector = first_vector + v * LANES + channel_lane;
                if first < s.n * s.oh * s.ow && row < rows && vector < s.cout {
                    partial[((chunk * rows + row) * 4u + j) * s.cout + vector] = sum[(r * 4u + j) * VECTORS + v];
                }
            }
        }
    }
}
