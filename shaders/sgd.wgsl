// Stochastic gradient descent with momentum as PyTorch's torch.optim.SGD (no dampening, no Nesterov):
//   g = gradient + weight_decay * parameter,   velocity = momentum * velocity + g,   parameter -= step_size * velocity
// with step_size = lr. All tensors hold `len` vectors of four. One invocation: one vector. Once a loss has not been finite (counts[2],
// of cross_entropy.wgsl), all stays as it is, so that it can be seen where that came from.

struct Shape {
    len: u32,
    momentum: f32,
    weight_decay: f32,
}

// uses: step, numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> parameter: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> velocity: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> counts: array<u32>;

@compute @workgroup_size(64)
fn update(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    if i >= shape.len || counts[2] > 0u { return; }
    let before = parameter[i];
    let g = gradient[i] + shape.weight_decay * before;
    let v = shape.momentum * velocity[i] + g;
    velocity[i] = v;
    parameter[i] = before - step.step_size * v;
}
