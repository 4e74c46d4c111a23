// The filters with their channels exchanged, so that the input's gradient reads them as the forward pass does.
//
//   weight     (kernel_h, kernel_w, cin, cout)
//   transposed (kernel_h, kernel_w, cout, cin)   `cin` and `cout` count vectors of four

struct Shape {
    n: u32,
    h: u32,
    w: u32,
    cin: u32,
    oh: u32,
    ow: u32,
    cout: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    padding: u32,
    inputs: u32,
    outputs: u32,
    chunk: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> transposed: array<vec4<f32>>;

// One invocation: four input channels times four output channels of one tap. One workgroup: 8 x 8 of these, so that whole lines of
// memory are read and written.
@compute @workgroup_size(64)
fn exchange(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = shape;
    let i = group.x + group.y * groups.x;
    let across = (s.cout + 7u) / 8u;
    let down = (s.cin + 7u) / 8u;
    let o = i % across * 8u + local % 8u;
    let c = i / across % down * 8u + local / 8u;
    let tap = i / across / down;
    if tap >= s.kernel_h * s.kernel_w || c >= s.cin || o >= s.cout { return; }
    let row = (tap * s.cin + c) * 4u * s.cout + o;
    let m = transpose(mat4x4<f32>(weight[row], weight[row + s.cout], weight[row + 2u * s.cout], weight[row + 3u * s.cout]));
    let column = (tap * s.cout + o) * 4u * s.cin + c;
    for (var k = 0u; k < 4u; k++) {
        transposed[column + k * s.cin] = m[k];
    }
}
