// Adam (Kingma and Ba, 2015) as PyTorch's torch.optim.Adam:
//   g = gradient + weight_decay * parameter
//   first = beta1 * first + (1 - beta1) * g,   second = beta2 * second + (1 - beta2) * g * g
//   parameter -= step_size * first / (sqrt(second) / bias_correction + eps)
// with step_size = lr / (1 - beta1^t) and bias_correction = sqrt(1 - beta2^t) made by the host for step t.
// All tensors hold `len` vectors of four. One invocation: one vector. Once a loss has not been finite (counts[2], of
// cross_entropy.wgsl), all stays as it is, so that it can be seen where that came from.

struct Shape {
    len: u32,
    beta1: f32,
    beta2: f32,
    // 1 - beta1 and 1 - beta2, from the host: 1 - 0.999 in f32 would be off by 5e-5 of itself.
    rest1: f32,
    rest2: f32,
    eps: f32,
    weight_decay: f32,
}

// uses: step, numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> parameter: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> first: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> second: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> counts: array<u32>;

@compute @workgroup_size(64)
fn update(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    if i >= shape.len || counts[2] > 0u { return; }
    let before = parameter[i];
    let g = gradient[i] + shape.weight_decay * before;
    let m = shape.beta1 * first[i] + shape.rest1 * g;
    let v = shape.beta2 * second[i] + shape.rest2 * g * g;
    first[i] = m;
    second[i] = v;
    parameter[i] = before - step.step_size * m / (sqrt(v) / step.bias_correction + shape.eps);
}
