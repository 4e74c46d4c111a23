// The filters of several layers with their channels exchanged, so that the inputs' gradients read them as the forward passes do.
//
//   weights     of each layer (taps, cin, cout)
//   transposed  of each layer (taps, cout, cin)   `cin` and `cout` count vectors of four
//   table       two vectors a layer: its first workgroup, taps, cin, cout; where it begins in weights and in transposed, in vectors

struct Layers {
    layers: u32,
    workgroups: u32,
}

// uses: numbers

@group(0) @binding(0) var<uniform> shape: Layers;
@group(0) @binding(1) var<storage, read> table: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> transposed: array<vec4<f32>>;

// One invocation: four input channels times four output channels of one tap. One workgroup: 8 x 8 of these, so that whole lines of
// memory are read and written.
@compute @workgroup_size(64)
fn exchange(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let number = workgroup_number(group, groups);
    var layer = 0u;
    for (var next = 1u; next < shape.layers; next++) {
        if table[2u * next].x <= number { layer = next; }
    }
    let size = table[2u * layer];
    let start = table[2u * layer + 1u];
    let taps = size.y;
    let cin = size.z;
    let cout = size.w;
    let i = number - size.x;
    let across = (cout + 7u) / 8u;
    let down = (cin + 7u) / 8u;
    let o = i % across * 8u + local % 8u;
    let c = i / across % down * 8u + local / 8u;
    let tap = i / across / down;
    if tap >= taps || c >= cin || o >= cout { return; }
    let row = start.x + (tap * cin + c) * 4u * cout + o;
    let m = transpose(mat4x4<f32>(weights[row], weights[row + cout], weights[row + 2u * cout], weights[row + 3u * cout]));
    let column = start.y + (tap * cout + o) * 4u * cin + c;
    for (var k = 0u; k < 4u; k++) {
        transposed[column + k * cin] = m[k];
    }
}
