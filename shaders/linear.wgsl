// Linear: y = x * weight + bias, and its gradients.
//
//   x, dx    (n, inputs)            weight, dweight  (inputs, outputs)
//   y, dy    (n, outputs)           bias, dbias      (outputs)
//
// `inputs` and `outputs` count vectors of four. Four inputs times one vector of outputs are a 4 x 4 matrix m whose
// columns are consecutive vectors of `weight`: forward adds m * x, the input's gradient adds dy * m.

struct Shape {
    n: u32,
    inputs: u32,
    outputs: u32,
}

// uses: step

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> dbias: array<vec4<f32>>;

fn invocation(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.x + id.y * groups.x * 64u;
}

fn matrix(input: u32, output: u32) -> mat4x4<f32> {
    let row = input * 4u * shape.outputs + output;
    return mat4x4<f32>(
        weight[row],
        weight[row + shape.outputs],
        weight[row + 2u * shape.outputs],
        weight[row + 3u * shape.outputs],
    );
}

// One invocation: one vector of y.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i >= shape.n * shape.outputs { return; }
    let output = i % shape.outputs;
    let image = i / shape.outputs;
    var sum = vec4<f32>();
    for (var input = 0u; input < shape.inputs; input++) {
        sum += matrix(input, output) * x[image * shape.inputs + input];
    }
    y[i] = sum + bias[output];
}

// One invocation: one vector of dx.
@compute @workgroup_size(64)
fn backward_input(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i >= shape.n * shape.inputs { return; }
    let input = i % shape.inputs;
    let image = i / shape.inputs;
    var sum = vec4<f32>();
    for (var output = 0u; output < shape.outputs; output++) {
        sum += dy[image * shape.outputs + output] * matrix(input, output);
    }
    dx[i] = sum;
}

// dweight = the sum over the live images of x (outer) dy. One invocation: four inputs, one vector of outputs.
@compute @workgroup_size(64)
fn backward_weight(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i >= shape.inputs * shape.outputs { return; }
    let output = i % shape.outputs;
    let input = i / shape.outputs;
    var sum = mat4x4<f32>();
    for (var image = 0u; image < step.live; image++) {
        let value = x[image * shape.inputs + input];
        let gradient = dy[image * shape.outputs + output];
        sum += mat4x4<f32>(value.x * gradient, value.y * gradient, value.z * gradient, value.w * gradient);
    }
    let row = input * 4u * shape.outputs + output;
    dweight[row] = sum[0];
    dweight[row + shape.outputs] = sum[1];
    dweight[row + 2u * shape.outputs] = sum[2];
    dweight[row + 3u * shape.outputs] = sum[3];
}

// dbias = the sum over the live images of dy. One invocation: one vector.
@compute @workgroup_size(64)
fn backward_bias(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let output = invocation(id, groups);
    if output >= shape.outputs { return; }
    var sum = vec4<f32>();
    for (var image = 0u; image < step.live; image++) {
        sum += dy[image * shape.outputs + output];
    }
    dbias[output] = sum;
}
