// dweight = the sum of its partials, in the order of the chunks, so that a run repeats to the bit. Serves other gradients
// that are made in chunks, too.
//
//   partials (chunks, len), dweight (len)   `len` counts vectors of four

struct Parts {
    len: u32,
    chunks: u32,
}

@group(0) @binding(0) var<uniform> shape: Parts;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<vec4<f32>>;

// One invocation: one vector of dweight.
@compute @workgroup_size(64)
fn sum(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 64u;
    if i >= shape.len { return; }
    var sum = vec4<f32>();
    for (var chunk = 0u; chunk < shape.chunks; chunk++) {
        sum += partials[chunk * shape.len + i];
    }
    dweight[i] = sum;
}
