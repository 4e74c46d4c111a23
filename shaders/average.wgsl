// Exponential moving average: average += rest * (value - average), which is decay * average + (1 - decay) * value. Of equal numbers
// it is the number itself. All tensors hold `len` vectors of four. One invocation: one vector.

struct Shape {
    len: u32,
    // 1 - decay, from the host: 1 - 0.9999 in f32 would be off by 3e-4 of itself.
    rest: f32,
}

// uses: numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> value: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> average: array<vec4<f32>>;

@compute @workgroup_size(64)
fn update(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    if i >= shape.len { return; }
    let before = average[i];
    average[i] = before + shape.rest * (value[i] - before);
}
