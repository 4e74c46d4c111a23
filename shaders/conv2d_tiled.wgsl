// Conv2d and its gradients for GPUs, as products of matrices through workgroup memory: what one invocation loads serves all
// others of its workgroup, and neighbouring invocations load neighbouring vectors.
//
// Formulas, layouts and names are those of conv2d_plain.wgsl.
//
// A workgroup sums up a tile of results in its registers. It goes through what is to be summed in steps: all invocations
// load the step's part of both tensors, wait for each other, multiply, and wait again before they load the next part.
// No invocation leaves early, because the others wait for it: what lies outside counts as zero, and is not stored.

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
    // Output pixels that one workgroup of `backward_weight` adds up.
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

// The host sets these numbers for each convolution. CHANNEL_LANES invocations stand side by side in the channels that are
// written, PIXEL_LANES such sets in the pixels. Each invocation sums up PIXELS pixels times VECTORS vectors of channels;
// between two of its own lie those of its neighbours. A step reads DEPTH vectors of channels through one tap.
// CHANNEL_LANES and DEPTH divide 64.
const CHANNEL_LANES = 8u;
const VECTORS = 2u;
const PIXELS = 8u;
const DEPTH = 4u;

const PIXEL_LANES = 64u / CHANNEL_LANES;
const TILE_PIXELS = PIXELS * PIXEL_LANES;
const TILE_VECTORS = VECTORS * CHANNEL_LANES;
const SUMS = PIXELS * VECTORS;

// Of a step, each invocation loads one vector of every (64 / DEPTH)-th pixel, and every 64th vector of the filters.
const LOADED_PIXELS = 64u / DEPTH;
const VALUE_LOADS = (TILE_PIXELS + LOADED_PIXELS - 1u) / LOADED_PIXELS;
const WEIGHT_LOADS = (4u * DEPTH * TILE_VECTORS + 63u) / 64u;

// The step's part of x or dy: vector d of pixel p * PIXEL_LANES + lane is [p * DEPTH + d][lane]. The two unused columns put
// what is stored at once into different banks of the memory.
var<workgroup> values: array<array<vec4<f32>, PIXEL_LANES + 2u>, PIXELS * DEPTH>;
// The step's part of the filters: vector v * CHANNEL_LANES + lane of row r is [r * VECTORS + v][lane].
var<workgroup> filters: array<array<vec4<f32>, CHANNEL_LANES>, 4u * DEPTH * VECTORS>;

// Vector d of a pixel of the tile into workgroup memory.
fn keep_value(pixel: u32, d: u32, value: vec4<f32>) {
    if pixel < TILE_PIXELS {
        values[pixel / PIXEL_LANES * DEPTH + d][pixel % PIXEL_LANES] = value;
    }
}

// The n-th vector of the step's filters into workgroup memory, row after row.
fn keep_filter(n: u32, value: vec4<f32>) {
    if n < 4u * DEPTH * TILE_VECTORS {
        filters[n / CHANNEL_LANES][n % CHANNEL_LANES] = value;
    }
}

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

// y = x (*) weight. One workgroup: TILE_PIXELS consecutive output pixels (over n, oy, ox), TILE_VECTORS output channel vectors.
@compute @workgroup_size(64)
fn forward(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = shape;
    let tiles = (s.cout + TILE_VECTORS - 1u) / TILE_VECTORS;
    let i = workgroup_number(group, groups);
    let pixels = s.n * s.oh * s.ow;
    let first = i / tiles * TILE_PIXELS;
    let first_vector = i % tiles * TILE_VECTORS;

    // What this invocation loads of x: vector d of these pixels' taps. Left of or above the map, coordinates wrap round to
    // huge numbers, which are not inside either.
    let d = local % DEPTH;
    var at: array<u32, VALUE_LOADS>;
    var top: array<u32, VALUE_LOADS>;
    var left: array<u32, VALUE_LOADS>;
    for (var k = 0u; k < VALUE_LOADS; k++) {
        let pixel = min(first + k * LOADED_PIXELS + local / DEPTH, pixels - 1u);
        top[k] = pixel / s.ow % s.oh * s.stride - s.padding;
        left[k] = pixel % s.ow * s.stride - s.padding;
        at[k] = (pixel / (s.oh * s.ow) * s.h + top[k]) * s.w + left[k];
    }

    var sum: array<vec4<f32>, SUMS>;
    for (var ky = 0u; ky < s.kernel_h; ky++) {
        for (var kx = 0u; kx < s.kernel_w; kx++) {
            for (var c = 0u; c < s.cin; c += DEPTH) {
                for (var k = 0u; k < VALUE_LOADS; k++) {
                    let inside = top[k] + ky < s.h && left[k] + kx < s.w && c + d < s.cin;
                    let source = select(0u, (at[k] + ky * s.w + kx) * s.cin + c + d, inside);
                    keep_value(k * LOADED_PIXELS + local / DEPTH, d, select(vec4<f32>(), x[source], inside));
                }
                let row = ((ky * s.kernel_w + kx) * s.cin + c) * 4u;
                for (var k = 0u; k < WEIGHT_LOADS; k++) {
                    let n = k * 64u + local;
                    let r = n / TILE_VECTORS;
                    let vector = first_vector + n % TILE_VECTORS;
                    let inside = c + r / 4u < s.cin && vector < s.cout;
                    let source = select(0u, (row + r) * s.cout + vector, inside);
                    keep_filter(n, select(vec4<f32>(), weight[source], inside));
                }
                workgroupBarrier();
                multiply(&sum, local / CHANNEL_LANES, local % CHANNEL_LANES);
                workgroupBarrier();
            }
        }
    }

    for (var p = 0u; p < PIXELS; p++) {
        let pixel = first + p * PIXEL_LANES + local / CHANNEL_LANES;
        for (var v = 0u; v < VECTORS; v++) {
            let vector = first_vector + v * CHANNEL_LANES + local % CHANNEL_LANES;
            if pixel < pixels && vector < s.cout {
                y[pixel * s.cout + vector] = sum[p * VECTORS + v];
            }
        }
    }
}

// dx = the gradient of the loss with respect to x. One workgroup: TILE_PIXELS input pixels of one phase, TILE_VECTORS input
// channel vectors.
//
// Input row iy meets output row oy through tap ky = iy + padding - oy * stride, so only every stride-th tap counts. The
// pixels of a workgroup share iy % stride and ix % stride (their phase), hence their taps.
@compute @workgroup_size(64)
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
    let phase = i / tiles / pixel_tiles;
    let phase_y = phase / s.stride;
    let phase_x = phase % s.stride;
    let first = i / tiles % pixel_tiles * TILE_PIXELS;
    let first_vector = i % tiles * TILE_VECTORS;

    // What this invocation loads of dy: vector d of the output pixels that met these input pixels through their first tap.
    // Each further tap met the output pixel before; left of or above the first that wraps round to a huge number.
    let d = local % DEPTH;
    var at: array<u32, VALUE_LOADS>;
    var bottom: array<u32, VALUE_LOADS>;
    var right: array<u32, VALUE_LOADS>;
    for (var k = 0u; k < VALUE_LOADS; k++) {
        let pixel = min(first + k * LOADED_PIXELS + local / DEPTH, pixels - 1u);
        bottom[k] = pixel / columns % rows + (phase_y + s.padding) / s.stride;
        right[k] = pixel % columns + (phase_x + s.padding) / s.stride;
        at[k] = (pixel / (rows * columns) * s.oh + bottom[k]) * s.ow + right[k];
    }

    var sum: array<vec4<f32>, SUMS>;
    for (var ky = (phase_y + s.padding) % s.stride; ky < s.kernel_h; ky += s.stride) {
        for (var kx = (phase_x + s.padding) % s.stride; kx < s.kernel_w; kx += s.stride) {
            let up = ky / s.stride;
            let back = kx / s.stride;
            for (var c = 0u; c < s.cout; c += DEPTH) {
                for (var k = 0u; k < VALUE_LOADS; k++) {
                    let inside = bottom[k] - up < s.oh && right[k] - back < s.ow && c + d < s.cout;
                    let source = select(0u, (at[k] - up * s.ow - back) * s.cout + c + d, inside);
                    keep_value(k * LOADED_PIXELS + local / DEPTH, d, select(vec4<f32>(), dy[source], inside));
                }
                let row = ((ky * s.kernel_w + kx) * s.cout + c) * 4u;
                for (var k = 0u; k < WEIGHT_LOADS; k++) {
                    let n = k * 64u + local;
                    let r = n / TILE_VECTORS;
                    let vector = first_vector + n % TILE_VECTORS;
                    let inside = c + r / 4u < s.cout && vector < s.cin;
                    let source = select(0u, (row + r) * s.cin + vector, inside);
                    keep_filter(n, select(vec4<f32>(), transposed[source], inside));
                }
                workgroupBarrier();
                multiply(&sum, local / CHANNEL_LANES, local % CHANNEL_LANES);
                workgroupBarrier();
            }
        }
    }

    for (var p = 0u; p < PIXELS; p++) {
        let pixel = first + p * PIXEL_LANES + local / CHANNEL_LANES;
        let iy = pixel / columns % rows * s.stride + phase_y;
        let ix = pixel % columns * s.stride + phase_x;
        let inside = phase_y < s.stride && pixel < pixels && iy < s.h && ix < s.w;
        for (var v = 0u; v < VECTORS; v++) {
            let vector = first_vector + v * CHANNEL_LANES + local % CHANNEL_LANES;
            if inside && vector < s.cin {
                dx[((pixel / (rows * columns) * s.h + iy) * s.w + ix) * s.cin + vector] = sum[p * VECTORS + v];
            }
        }
    }
}

// A row of the weight's gradient is one tap and one vector of input channels. ROW_LANES sets of CHANNEL_LANES invocations
// stand side by side in the rows, each invocation with ROWS of them. If that leaves invocations over, they make up GROUPS
// groups, which share the RUN output pixels of a step. ROW_LANES times CHANNEL_LANES divides 64, and RUN as well.
const ROW_LANES = 8u;
const ROWS = 2u;
const RUN = 16u;

const GROUPS = 64u / (ROW_LANES * CHANNEL_LANES);
const TILE_ROWS = ROWS * ROW_LANES;
const ROW_SUMS = ROWS * 4u * VECTORS;

// Of a step, each invocation loads every (64 / RUN)-th row of one pixel of x, and every 64th vector of dy.
const LOADED_ROWS = 64u / RUN;
const ROW_LOADS = (TILE_ROWS + LOADED_ROWS - 1u) / LOADED_ROWS;
const GRADIENT_LOADS = (RUN * TILE_VECTORS + 63u) / 64u;

// The step's part of x: row r * ROW_LANES + lane of pixel k * GROUPS + g is [k * ROWS + r][g * ROW_LANES + lane].
var<workgroup> inputs: array<array<vec4<f32>, GROUPS * ROW_LANES + 2u>, RUN / GROUPS * ROWS>;
// The step's part of dy: vector v * CHANNEL_LANES + lane of pixel k * GROUPS + g is [k * VECTORS + v][g * CHANNEL_LANES + lane].
var<workgroup> gradients: array<array<vec4<f32>, GROUPS * CHANNEL_LANES>, RUN / GROUPS * VECTORS>;
// One sum of each invocation.
var<workgroup> shared_sums: array<vec4<f32>, 64>;

// partial[chunk] = the part of dweight that comes from one chunk of output pixels of the live images. One workgroup:
// TILE_ROWS rows, TILE_VECTORS output channel vectors, one chunk.
@compute @workgroup_size(64)
fn backward_weight(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = shape;
    let rows = s.kernel_h * s.kernel_w * s.cin;
    let row_tiles = (rows + TILE_ROWS - 1u) / TILE_ROWS;
    let tiles = (s.cout + TILE_VECTORS - 1u) / TILE_VECTORS;
    let i = workgroup_number(group, groups);
    let chunk = i / tiles / row_tiles;
    let first_row = i / tiles % row_tiles * TILE_ROWS;
    let first_vector = i % tiles * TILE_VECTORS;
    let first = chunk * s.chunk;
    let end = min(first + s.chunk, step.live * s.oh * s.ow);

    // What this invocation loads of x: these rows, seen from the top left input of a pixel's filter.
    var at: array<u32, ROW_LOADS>;
    var down: array<u32, ROW_LOADS>;
    var right: array<u32, ROW_LOADS>;
    for (var k = 0u; k < ROW_LOADS; k++) {
        let row = min(first_row + k * LOADED_ROWS + local % LOADED_ROWS, rows - 1u);
        down[k] = row / s.cin / s.kernel_w;
        right[k] = row / s.cin % s.kernel_w;
        at[k] = (down[k] * s.w + right[k]) * s.cin + row % s.cin;
    }
    let own_pixel = local / LOADED_ROWS;
    let own_group = local / (ROW_LANES * CHANNEL_LANES);
    let row_lane = local / CHANNEL_LANES % ROW_LANES;
    let channel_lane = local % CHANNEL_LANES;

    var sum: array<vec4<f32>, ROW_SUMS>;
    for (var start = first; start < end; start += RUN) {
        let pixel = start + own_pixel;
        let top = pixel / s.ow % s.oh * s.stride - s.padding;
        let left = pixel % s.ow * s.stride - s.padding;
        let corner = ((pixel / (s.oh * s.ow) * s.h + top) * s.w + left) * s.cin;
        for (var k = 0u; k < ROW_LOADS; k++) {
            let row = k * LOADED_ROWS + local % LOADED_ROWS;
            let inside = pixel < end && top + down[k] < s.h && left + right[k] < s.w;
            let value = select(vec4<f32>(), x[select(0u, corner + at[k], inside)], inside);
            if row < TILE_ROWS {
                inputs[own_pixel / GROUPS * ROWS + row / ROW_LANES][own_pixel % GROUPS * ROW_LANES + row % ROW_LANES] = value;
            }
        }
        for (var k = 0u; k < GRADIENT_LOADS; k++) {
            let p = (k * 64u + local) / TILE_VECTORS;
            let v = (k * 64u + local) % TILE_VECTORS;
            let inside = start + p < end && first_vector + v < s.cout;
            let source = select(0u, (start + p) * s.cout + first_vector + v, inside);
            let value = select(vec4<f32>(), dy[source], inside);
            if p < RUN {
                gradients[p / GROUPS * VECTORS + v / CHANNEL_LANES][p % GROUPS * CHANNEL_LANES + v % CHANNEL_LANES] = value;
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < RUN / GROUPS; k++) {
            var gradient: array<vec4<f32>, VECTORS>;
            for (var v = 0u; v < VECTORS; v++) {
                gradient[v] = gradients[k * VECTORS + v][own_group * CHANNEL_LANES + channel_lane];
            }
            for (var r = 0u; r < ROWS; r++) {
                let value = inputs[k * ROWS + r][own_group * ROW_LANES + row_lane];
                for (var j = 0u; j < 4u; j++) {
                    for (var v = 0u; v < VECTORS; v++) {
                        sum[(r * 4u + j) * VECTORS + v] += value[j] * gradient[v];
                    }
                }
            }
        }
        workgroupBarrier();
    }

    // Every invocation adds its group's sums to those of the others, in order. All groups get the same; one of them stores it.
    let stores = first < s.n * s.oh * s.ow && own_group == GROUPS / 2u;
    for (var r = 0u; r < ROWS; r++) {
        let row = first_row + r * ROW_LANES + row_lane;
        for (var j = 0u; j < 4u; j++) {
            for (var v = 0u; v < VECTORS; v++) {
                let vector = first_vector + v * CHANNEL_LANES + channel_lane;
                shared_sums[local] = sum[(r * 4u + j) * VECTORS + v];
                workgroupBarrier();
                var total = vec4<f32>();
                for (var g = 0u; g < GROUPS; g++) {
                    total += shared_sums[g * ROW_LANES * CHANNEL_LANES + local % (ROW_LANES * CHANNEL_LANES)];
                }
                workgroupBarrier();
                if stores && row < rows && vector < s.cout {
                    partial[((chunk * rows + row) * 4u + j) * s.cout + vector] = total;
                }
            }
        }
    }
}
