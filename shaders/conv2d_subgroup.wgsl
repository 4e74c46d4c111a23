// Conv2d and its gradients for drivers on the processor, where every load is done lane by lane and costs as much as many
// multiply-adds of a whole vector of lanes. A workgroup is one subgroup. It keeps a large tile of sums in registers
// (or on the stack, which is as good there), and what one lane has loaded the others get by a shuffle.
//
// Formulas, layouts and names are those of conv2d_plain.wgsl.
//
// CHANNEL_LANES lanes stand side by side, each with VECTORS vectors of the channels that are written. Where these
// channels need fewer lanes than there are, the others work on further images ("mates" work on the same one).
// A patch of the other tensor is held by the mates together: entry n in register n / CHANNEL_LANES of mate n % CHANNEL_LANES.

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
    // Tiles of output pixels that one chunk of `backward_weight` adds up.
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

// The host sets all these numbers, for each convolution its own.
const LANES = 8u;
const CHANNEL_LANES = 8u;
const VECTORS = 1u;
const KERNEL_H = 3u;
const KERNEL_W = 3u;
const STRIDE = 2u;
// The tile: images one after the other, rows and columns of the pixels that are summed up (`backward_weight`: summed over).
const IMAGES = 1u;
const ROWS = 1u;
const COLUMNS = 1u;

const TAPS = KERNEL_H * KERNEL_W;
const WEIGHTS = TAPS * VECTORS;
const PIXELS = IMAGES * ROWS * COLUMNS;
const SUMS = PIXELS * VECTORS;

// The input pixels that a tile of output pixels reads.
const FIELD_ROWS = (ROWS - 1u) * STRIDE + KERNEL_H;
const FIELD_COLUMNS = (COLUMNS - 1u) * STRIDE + KERNEL_W;
const FIELD = FIELD_ROWS * FIELD_COLUMNS;
const FIELD_HELD = (IMAGES * FIELD + CHANNEL_LANES - 1u) / CHANNEL_LANES;

// y = weight (*) x. One workgroup: a tile of output pixels, CHANNEL_LANES * VECTORS vectors of output channels.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = shape;
    let mate = lane % CHANNEL_LANES;
    let first_mate = lane - mate;
    let column_tiles = (s.ow + COLUMNS - 1u) / COLUMNS;
    let row_tiles = (s.oh + ROWS - 1u) / ROWS;
    let channel_tiles = (s.cout + CHANNEL_LANES * VECTORS - 1u) / (CHANNEL_LANES * VECTORS);
    let i = workgroup_number(group, groups);
    let tile = i / channel_tiles;
    let left = tile % column_tiles * COLUMNS;
    let top = tile / column_tiles % row_tiles * ROWS;
    let image = (tile / column_tiles / row_tiles * (LANES / CHANNEL_LANES) + lane / CHANNEL_LANES) * IMAGES;
    var channel: array<u32, VECTORS>;
    for (var v = 0u; v < VECTORS; v++) {
        channel[v] = (i % channel_tiles * VECTORS + v) * CHANNEL_LANES + mate;
    }

    var inside: array<bool, FIELD_HELD>;
    var at: array<u32, FIELD_HELD>;
    for (var k = 0u; k < FIELD_HELD; k++) {
        let n = k * CHANNEL_LANES + mate;
        let m = image + n / FIELD;
        let iy = top * STRIDE + n / FIELD_COLUMNS % FIELD_ROWS - s.padding;
        let ix = left * STRIDE + n % FIELD_COLUMNS - s.padding;
        inside[k] = n < IMAGES * FIELD && m < s.n && iy < s.h && ix < s.w;
        at[k] = select(0u, ((m * s.h + iy) * s.w + ix) * s.cin, inside[k]);
    }

    var sum: array<vec4<f32>, SUMS>;
    for (var c = 0u; c < s.cin; c++) {
        var held: array<vec4<f32>, FIELD_HELD>;
        for (var k = 0u; k < FIELD_HELD; k++) {
            held[k] = select(vec4<f32>(), x[at[k] + c], inside[k]);
        }
        for (var j = 0u; j < min(4u, s.inputs - 4u * c); j++) {
            var w: array<vec4<f32>, WEIGHTS>;
            for (var t = 0u; t < TAPS; t++) {
                for (var v = 0u; v < VECTORS; v++) {
                    w[t * VECTORS + v] = weight[((t * s.cin + c) * 4u + j) * s.cout + min(channel[v], s.cout - 1u)];
                }
            }
            var value: array<f32, FIELD_HELD>;
            for (var k = 0u; k < FIELD_HELD; k++) {
                value[k] = held[k][j];
            }
            // All taps of a pixel at a time: so its sum is loaded and stored once.
            for (var p = 0u; p < PIXELS; p++) {
                for (var v = 0u; v < VECTORS; v++) {
                    var total = sum[p * VECTORS + v];
                    for (var ky = 0u; ky < KERNEL_H; ky++) {
                        let field_row = p / (ROWS * COLUMNS) * FIELD_ROWS + p / COLUMNS % ROWS * STRIDE + ky;
                        for (var kx = 0u; kx < KERNEL_W; kx++) {
                            let n = field_row * FIELD_COLUMNS + p % COLUMNS * STRIDE + kx;
                            let holder = n % CHANNEL_LANES;
                            let input = subgroupShuffle(value[n / CHANNEL_LANES], first_mate + holder);
                            total += input * w[(ky * KERNEL_W + kx) * VECTORS + v];
                        }
                    }
                    sum[p * VECTORS + v] = total;
                }
            }
        }
    }

    for (var p = 0u; p < PIXELS; p++) {
        let m = image + p / (ROWS * COLUMNS);
        let oy = top + p / COLUMNS % ROWS;
        let ox = left + p % COLUMNS;
        for (var v = 0u; v < VECTORS; v++) {
            if m < s.n && oy < s.oh && ox < s.ow && channel[v] < s.cout {
                y[((m * s.oh + oy) * s.ow + ox) * s.cout + channel[v]] = sum[p * VECTORS + v];
            }
        }
    }
}

// The output pixels that a tile of input pixels was read by: HALO_* of them before the tile's own. A tile that spans the
// whole height (width) has no halo, and its patch is the output's whole height (width).
const PATCH_ROWS = 1u;
const PATCH_COLUMNS = 1u;
const HALO_ROWS = 0u;
const HALO_COLUMNS = 0u;
const PATCH = PATCH_ROWS * PATCH_COLUMNS;
const PATCH_HELD = (IMAGES * PATCH + CHANNEL_LANES - 1u) / CHANNEL_LANES;

// dx = the gradient of the loss with respect to x. One workgroup: a tile of input pixels, counted with the padding, ROWS
// and COLUMNS multiples of the stride; CHANNEL_LANES * VECTORS vectors of input channels.
//
// Padded row r meets output row oy through tap ky = r - oy * stride. With r = q * stride + ky % stride, that is
// oy = q - ky / stride: the taps of a row are every stride-th, and `first` skips those whose oy exceeds the patch.
@compute @workgroup_size(LANES)
fn backward_input(
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = shape;
    let mate = lane % CHANNEL_LANES;
    let first_mate = lane - mate;
    let column_tiles = (s.w + s.padding + COLUMNS - 1u) / COLUMNS;
    let row_tiles = (s.h + s.padding + ROWS - 1u) / ROWS;
    let channel_tiles = (s.cin + CHANNEL_LANES * VECTORS - 1u) / (CHANNEL_LANES * VECTORS);
    let i = workgroup_number(group, groups);
    let tile = i / channel_tiles;
    let left = tile % column_tiles * COLUMNS;
    let top = tile / column_tiles % row_tiles * ROWS;
    let image = (tile / column_tiles / row_tiles * (LANES / CHANNEL_LANES) + lane / CHANNEL_LANES) * IMAGES;
    var channel: array<u32, VECTORS>;
    for (var v = 0u; v < VECTORS; v++) {
        channel[v] = (i % channel_tiles * VECTORS + v) * CHANNEL_LANES + mate;
    }

    var inside: array<bool, PATCH_HELD>;
    var at: array<u32, PATCH_HELD>;
    for (var k = 0u; k < PATCH_HELD; k++) {
        let n = k * CHANNEL_LANES + mate;
        let m = image + n / PATCH;
        let oy = top / STRIDE + n / PATCH_COLUMNS % PATCH_ROWS - HALO_ROWS;
        let ox = left / STRIDE + n % PATCH_COLUMNS - HALO_COLUMNS;
        inside[k] = n < IMAGES * PATCH && m < s.n && oy < s.oh && ox < s.ow;
        at[k] = select(0u, ((m * s.oh + oy) * s.ow + ox) * s.cout, inside[k]);
    }

    var sum: array<vec4<f32>, SUMS>;
    for (var c = 0u; c < s.cout; c++) {
        var held: array<vec4<f32>, PATCH_HELD>;
        for (var k = 0u; k < PATCH_HELD; k++) {
            held[k] = select(vec4<f32>(), dy[at[k] + c], inside[k]);
        }
        // Most pixels meet one, two or four taps, too few to load and store a sum for: so all channels of the vector at a time.
        var w: array<vec4<f32>, WEIGHTS * 4u>;
        for (var j = 0u; j < 4u; j++) {
            for (var t = 0u; t < TAPS; t++) {
                for (var v = 0u; v < VECTORS; v++) {
                    w[(t * VECTORS + v) * 4u + j] = transposed[((t * s.cout + c) * 4u + j) * s.cin + min(channel[v], s.cin - 1u)];
                }
            }
        }
        for (var p = 0u; p < PIXELS; p++) {
            let row = p / COLUMNS % ROWS;
            let last_row = row / STRIDE + HALO_ROWS;
            let row_first = max(last_row + 1u, PATCH_ROWS) - PATCH_ROWS;
            let row_taps = max(min((KERNEL_H + STRIDE - 1u - row % STRIDE) / STRIDE, last_row + 1u), row_first) - row_first;
            let column = p % COLUMNS;
            let last_column = column / STRIDE + HALO_COLUMNS;
            let column_first = max(last_column + 1u, PATCH_COLUMNS) - PATCH_COLUMNS;
            let column_taps = max(min((KERNEL_W + STRIDE - 1u - column % STRIDE) / STRIDE, last_column + 1u), column_first) - column_first;
            for (var v = 0u; v < VECTORS; v++) {
                var total = sum[p * VECTORS + v];
                for (var a = 0u; a < row_taps; a++) {
                    let ky = row % STRIDE + (row_first + a) * STRIDE;
                    let patch_row = p / (ROWS * COLUMNS) * PATCH_ROWS + last_row - row_first - a;
                    for (var b = 0u; b < column_taps; b++) {
                        let t = ky * KERNEL_W + column % STRIDE + (column_first + b) * STRIDE;
                        let n = patch_row * PATCH_COLUMNS + last_column - column_first - b;
                        let holder = n % CHANNEL_LANES;
                        for (var j = 0u; j < 4u; j++) {
                            let gradient = subgroupShuffle(held[n / CHANNEL_LANES][j], first_mate + holder);
                            total += gradient * w[(t * VECTORS + v) * 4u + j];
                        }
                    }
                }
                sum[p * VECTORS + v] = total;
            }
        }
    }

    for (var p = 0u; p < PIXELS; p++) {
        let m = image + p / (ROWS * COLUMNS);
        let iy = top + p / COLUMNS % ROWS - s.padding;
        let ix = left + p % COLUMNS - s.padding;
        for (var v = 0u; v < VECTORS; v++) {
            if m < s.n && iy < s.h && ix < s.w && channel[v] < s.cin {
                dx[((m * s.h + iy) * s.w + ix) * s.cin + channel[v]] = sum[p * VECTORS + v];
            }
        }
    }
}

// Vectors of input channels of a tile of the weight's gradient, and how many channels of a vector are not padding.
const DEPTH = 1u;
const CHANNELS = 4u;
const WEIGHT_ROWS = TAPS * DEPTH * 4u;
const WEIGHT_SUMS = WEIGHT_ROWS * VECTORS;
const DEPTH_HELD = (FIELD * DEPTH + CHANNEL_LANES - 1u) / CHANNEL_LANES;

// partial[chunk] = the part of dweight that comes from one chunk of tiles of the live images' output pixels. Of a
// workgroup, each set of mates has a chunk of its own: all taps, DEPTH vectors of input channels, CHANNEL_LANES * VECTORS
// vectors of output channels.
@compute @workgroup_size(LANES)
fn backward_weight(
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = shape;
    let mate = lane % CHANNEL_LANES;
    let first_mate = lane - mate;
    let column_tiles = (s.ow + COLUMNS - 1u) / COLUMNS;
    let row_tiles = (s.oh + ROWS - 1u) / ROWS;
    let cout_tiles = (s.cout + CHANNEL_LANES * VECTORS - 1u) / (CHANNEL_LANES * VECTORS);
    let cin_tiles = (s.cin + DEPTH - 1u) / DEPTH;
    let i = workgroup_number(group, groups);
    let depth = i / cout_tiles % cin_tiles * DEPTH;
    let chunk = i / cout_tiles / cin_tiles * (LANES / CHANNEL_LANES) + lane / CHANNEL_LANES;
    var channel: array<u32, VECTORS>;
    for (var v = 0u; v < VECTORS; v++) {
        channel[v] = (i % cout_tiles * VECTORS + v) * CHANNEL_LANES + mate;
    }

    var sum: array<vec4<f32>, WEIGHT_SUMS>;
    for (var tile = chunk * s.chunk; tile < (chunk + 1u) * s.chunk; tile++) {
        let left = tile % column_tiles * COLUMNS;
        let top = tile / column_tiles % row_tiles * ROWS;
        let image = tile / column_tiles / row_tiles;
        var held: array<vec4<f32>, DEPTH_HELD>;
        for (var k = 0u; k < DEPTH_HELD; k++) {
            let n = k * CHANNEL_LANES + mate;
            let iy = top * STRIDE + n / DEPTH / FIELD_COLUMNS - s.padding;
            let ix = left * STRIDE + n / DEPTH % FIELD_COLUMNS - s.padding;
            let c = depth + n % DEPTH;
            let inside = n < FIELD * DEPTH && image < step.live && iy < s.h && ix < s.w && c < s.cin;
            let at = select(0u, ((image * s.h + iy) * s.w + ix) * s.cin + c, inside);
            held[k] = select(vec4<f32>(), x[at], inside);
        }
        var gradient: array<vec4<f32>, SUMS>;
        for (var p = 0u; p < PIXELS; p++) {
            let oy = top + p / COLUMNS;
            let ox = left + p % COLUMNS;
            let inside = image < step.live && oy < s.oh && ox < s.ow;
            for (var v = 0u; v < VECTORS; v++) {
                let at = select(0u, ((image * s.oh + oy) * s.ow + ox) * s.cout + min(channel[v], s.cout - 1u), inside);
                gradient[p * VECTORS + v] = select(vec4<f32>(), dy[at], inside);
            }
        }
        for (var t = 0u; t < TAPS; t++) {
            for (var d = 0u; d < DEPTH; d++) {
                for (var j = 0u; j < CHANNELS; j++) {
                    let row = (t * DEPTH + d) * 4u + j;
                    for (var p = 0u; p < PIXELS; p++) {
                        let field_row = p / COLUMNS * STRIDE + t / KERNEL_W;
                        let n = (field_row * FIELD_COLUMNS + p % COLUMNS * STRIDE + t % KERNEL_W) * DEPTH + d;
                        let holder = n % CHANNEL_LANES;
                        let input = subgroupShuffle(held[n / CHANNEL_LANES][j], first_mate + holder);
                        for (var v = 0u; v < VECTORS; v++) {
                            sum[row * VECTORS + v] += input * gradient[p * VECTORS + v];
                        }
                    }
                }
            }
        }
    }

    let exists = chunk * s.chunk < s.n * row_tiles * column_tiles;
    for (var row = 0u; row < WEIGHT_ROWS; row++) {
        let c = depth + row / 4u % DEPTH;
        for (var v = 0u; v < VECTORS; v++) {
            if exists && c < s.cin && channel[v] < s.cout {
                let tap = chunk * TAPS + row / (4u * DEPTH);
                partial[((tap * s.cin + c) * 4u + row % 4u) * s.cout + channel[v]] = sum[row * VECTORS + v];
            }
        }
    }
}
