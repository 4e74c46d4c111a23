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

// One invocation: four input channels times four output channels of one tap.
@compute @workgroup_size(64)
fn exchange(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let s = shape;
    let i = id.x + id.y * groups.x * 64u;
    if i >= s.kernel_h * s.kernel_w * s.cin * s.cout { return; }
    let o = i % s.cout;
    let c = i / s.cout % s.cin;
    let tap = i / s.cout / s.cin;
    let row = (tap * s.cin + c) * 4u * s.cout + o;
    let m = transpose(mat4x4<f32>(weight[row], weight[row + s.cout], weight[row + 2u * s.cout], weight[row + 3u * s.cout]));
    let column = (tap * s.cout + o) * 4u * s.cin + c;
    for (var k = 0u; k < 4u; k++) {
        transposed[column + k * s.cin] = m[k];
    }
}
