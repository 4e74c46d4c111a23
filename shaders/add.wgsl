// y = a + b: a residual sum; also the gradient of a value that two consumers read. The gradient of a and of b is dy itself.
// All tensors hold `len` vectors of four.

struct Shape {
    len: u32,
}

// uses: numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

// An invocation serves every threads-th vector, so that neighbours read side by side.
const EACH = 4u;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = invocation_number(id, groups);
    let threads = (shape.len + EACH - 1u) / EACH;
    if first >= threads { return; }
    for (var i = first; i < shape.len; i += threads) {
        y[i] = a[i] + b[i];
    }
}
