// dweight = the sum of its partials, in a fixed order, so that a run repeats to the bit. Serves other gradients
// that are made in chunks, too.
//
//   partials (chunks, len), dweight (len)   `len` counts vectors of four
//   table, of sum_layers alone: two vectors a layer: its first workgroup, len, chunks, columns; where it begins in partials and in
//   gradients, in vectors

struct Parts {
    len: u32,
    chunks: u32,
    // Vectors of dweight that one workgroup adds up. Divides 64.
    columns: u32,
}

struct Layers {
    layers: u32,
    workgroups: u32,
}

// uses: sums, numbers

// 1u where the invocations of a workgroup share sums. 0u where each has its own, and so 64 columns: there no barrier keeps values out of
// the registers.
const SHARED = 1u;

@group(0) @binding(0) var<uniform> shape: Parts;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> shapes: Layers;
@group(0) @binding(4) var<storage, read> table: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> gradients: array<vec4<f32>>;

// What the invocations of a column have added up, for row 0.
fn add_column(local: u32, columns: u32, part: vec4<f32>) -> vec4<f32> {
    if SHARED == 0u {
        return part;
    }
    return add_rows(local, columns, part);
}

// One workgroup: `columns` vectors of dweight. Its invocations stand in rows of so many, and a row adds up every rows-th chunk.
@compute @workgroup_size(64)
fn sum(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = workgroup_number(group, groups) * shape.columns + local % shape.columns;
    let column = min(i, shape.len - 1u);
    let rows = 64u / shape.columns;
    var part = vec4<f32>();
    for (var chunk = local / shape.columns; chunk < shape.chunks; chunk += rows) {
        part += partials[chunk * shape.len + column];
    }
    let sum = add_column(local, shape.columns, part);
    if local < shape.columns && i < shape.len {
        dweight[i] = sum;
    }
}

// The same for several layers, each of which has workgroups of its own.
@compute @workgroup_size(64)
fn sum_layers(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let number = workgroup_number(group, groups);
    var layer = 0u;
    for (var next = 1u; next < shapes.layers; next++) {
        if table[2u * next].x <= number { layer = next; }
    }
    let size = table[2u * layer];
    let start = table[2u * layer + 1u];
    let len = size.y;
    let columns = size.w;
    let i = (number - size.x) * columns + local % columns;
    let column = min(i, len - 1u);
    let rows = 64u / columns;
    var part = vec4<f32>();
    for (var chunk = local / columns; chunk < size.z; chunk += rows) {
        part += partials[start.x + chunk * len + column];
    }
    let sum = add_column(local, columns, part);
    if local < columns && i < len {
        gradients[start.y + i] = sum;
    }
}
