// ReLU: y = max(x, 0), and its gradient dx = dy where x > 0, else 0 (PyTorch's choice at x = 0).
// ReLU6: y = min(max(x, 0), 6), and its gradient dx = dy where 0 < x < 6, else 0 (PyTorch's choice at 0 and at 6).
// Two rules that take the gradient's place in images, though they are no gradients: guided backpropagation
// (Springenberg et al., 2014) and the deconvolutional network (Zeiler and Fergus, 2014),
// which looks at the gradient alone and so serves both.
// All tensors hold `len` vectors of four.

struct Shape {
    len: u32,
}

// uses: numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

// An invocation serves every threads-th vector, so that neighbours read side by side.
const EACH = 4u;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = invocation_number(id, groups);
    let threads = (shape.len + EACH - 1u) / EACH;
    if first >= threads { return; }
    for (var i = first; i < shape.len; i += threads) {
        y[i] = max(x[i], vec4<f32>());
    }
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = invocation_number(id, groups);
    let threads = (shape.len + EACH - 1u) / EACH;
    if first >= threads { return; }
    for (var i = first; i < shape.len; i += threads) {
        dx[i] = select(vec4<f32>(), dy[i], x[i] > vec4<f32>());
    }
}

@compute @workgroup_size(64)
fn backward_guided(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = invocation_number(id, groups);
    let threads = (shape.len + EACH - 1u) / EACH;
    if first >= threads { return; }
    for (var i = first; i < shape.len; i += threads) {
        dx[i] = select(vec4<f32>(), max(dy[i], vec4<f32>()), x[i] > vec4<f32>());
    }
}

@compute @workgroup_size(64)
fn backward_deconvnet(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = invocation_number(id, groups);
    let threads = (shape.len + EACH - 1u) / EACH;
    if first >= threads { return; }
    for (var i = first; i < shape.len; i += threads) {
        dx[i] = max(dy[i], vec4<f32>());
    }
}

@compute @workgroup_size(64)
fn forward6(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = invocation_number(id, groups);
    let threads = (shape.len + EACH - 1u) / EACH;
    if first >= threads { return; }
    for (var i = first; i < shape.len; i += threads) {
        y[i] = min(max(x[i], vec4<f32>()), vec4<f32>(6.0));
    }
}

@compute @workgroup_size(64)
fn backward6(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = invocation_number(id, groups);
    let threads = (shape.len + EACH - 1u) / EACH;
    if first >= threads { return; }
    for (var i = first; i < shape.len; i += threads) {
        dx[i] = select(vec4<f32>(), dy[i], (x[i] > vec4<f32>()) & (x[i] < vec4<f32>(6.0)));
    }
}

@compute @workgroup_size(64)
fn backward6_guided(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = invocation_number(id, groups);
    let threads = (shape.len + EACH - 1u) / EACH;
    if first >= threads { return; }
    for (var i = first; i < shape.len; i += threads) {
        dx[i] = select(vec4<f32>(), max(dy[i], vec4<f32>()), (x[i] > vec4<f32>()) & (x[i] < vec4<f32>(6.0)));
    }
}
