// Clipping the gradient by its norm, as PyTorch's torch.nn.utils.clip_grad_norm_ with the 2-norm of all tensors together:
//   gradient *= min(1, most / (sqrt(sum of gradient * gradient) + 1e-6))
//
//   gradient  `len` vectors of four
//   partials  a part of the sum of squares for each of `parts` workgroups

struct Shape {
    len: u32,
    parts: u32,
    most: f32,
}

// uses: sums, numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> parts_of_sum: array<f32>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<vec4<f32>>;

// partials = sums of squares of values. `parts` workgroups, each invocation every (64 * parts)-th vector.
@compute @workgroup_size(64)
fn squares(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let own = workgroup_number(group, groups);
    var part = vec4<f32>();
    for (var i = own * 64u + local; i < shape.len; i += 64u * shape.parts) {
        part += values[i] * values[i];
    }
    let sum = add_rows(local, 1u, part);
    if local > 0u || own >= shape.parts { return; }
    partials[own] = (sum.x + sum.y) + (sum.z + sum.w);
}

// gradient *= what keeps its norm at most at `most`. One invocation: one vector. Each workgroup adds up the parts for itself, in the same order.
@compute @workgroup_size(64)
fn scale(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    var part = vec4<f32>();
    for (var i = local; i < shape.parts; i += 64u) {
        part.x += parts_of_sum[i];
    }
    let norm = sqrt(add_all(local, 1u, part).x);
    let i = invocation_number(id, groups);
    if i >= shape.len { return; }
    gradient[i] = gradient[i] * min(1.0, shape.most / (norm + 1e-6));
}
