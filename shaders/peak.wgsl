// What the device can do at best, measured by the benchmarks: multiply-adds in registers, and a copy.
//
//   x, y  (len) vectors of four

struct Shape {
    len: u32,
    // Rounds of multiply-adds that an invocation makes.
    rounds: u32,
}

// uses: numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

// Vectors that an invocation of `copy` takes.
const EACH = 8u;

// One invocation: one vector of y, after `rounds` rounds of 8 multiply-adds in each of 8 sums that do not wait for each other.
@compute @workgroup_size(64)
fn multiply_add(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    if i >= shape.len { return; }
    let factor = x[i];
    var sum: array<vec4<f32>, 8u>;
    for (var chain = 0u; chain < 8u; chain++) {
        sum[chain] = factor + f32(chain);
    }
    for (var round = 0u; round < shape.rounds; round++) {
        for (var k = 0u; k < 8u; k++) {
            for (var chain = 0u; chain < 8u; chain++) {
                sum[chain] = fma(sum[chain], factor, factor);
            }
        }
    }
    var total = vec4<f32>();
    for (var chain = 0u; chain < 8u; chain++) {
        total += sum[chain];
    }
    y[i] = total;
}

// y = x. One invocation: every threads-th vector, so that neighbours read side by side.
@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = invocation_number(id, groups);
    let threads = (shape.len + EACH - 1u) / EACH;
    if first >= threads { return; }
    for (var i = first; i < shape.len; i += threads) {
        y[i] = x[i];
    }
}
