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
    // Results that one workgroup of `forward` makes, and of `backward_weight`. Both divide 64.
    columns: u32,
    gradient_columns: u32,
}

// uses: step, sums, numbers

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

fn matrix(input: u32, output: u32) -> mat4x4<f32> {
    let row = input * 4u * shape.outputs + output;
    return mat4x4<f32>(
        weight[row],
        weight[row + shape.outputs],
        weight[row + 2u * shape.outputs],
        weight[row + 3u * shape.outputs],
    );
}

// One workgroup: `columns` vectors of y. Its invocations stand in rows of so many, and a row takes every rows-th vector of inputs.
@compute @workgroup_size(64)
fn forward(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = workgroup_number(group, groups) * shape.columns + local % shape.columns;
    let own = min(i, shape.n * shape.outputs - 1u);
    let output = own % shape.outputs;
    let image = own / shape.outputs;
    let rows = 64u / shape.columns;
    var part = vec4<f32>();
    for (var input = local / shape.columns; input < shape.inputs; input += rows) {
        part += matrix(input, output) * x[image * shape.inputs + input];
    }
    let sum = add_rows(local, shape.columns, part);
    if local < shape.columns && i < shape.n * shape.outputs {
        y[i] = sum + bias[output];
    }
}

// One invocation: one vector of dx.
@compute @workgroup_size(64)
fn backward_input(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation_number(id, groups);
    if i >= shape.n * shape.inputs { return; }
    let input = i % shape.inputs;
    let image = i / shape.inputs;
    var sum = vec4<f32>();
    for (var output = 0u; output < shape.outputs; output++) {
        sum += dy[image * shape.outputs + output] * matrix(input, output);
    }
    dx[i] = sum;
}

// dweight = the sum over the live images of x (outer) dy; dbias = that of dy. A column of invocations: four inputs, one vector of
// outputs; its rows take every rows-th image.
@compute @workgroup_size(64)
fn backward_weight(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let columns = shape.gradient_columns;
    let rows = 64u / columns;
    let i = workgroup_number(group, groups) * columns + local % columns;
    let own = min(i, shape.inputs * shape.outputs - 1u);
    let output = own % shape.outputs;
    let input = own / shape.outputs;
    var parts_of_weight = mat4x4<f32>();
    var part_of_bias = vec4<f32>();
    for (var image = local / columns; image < step.live; image += rows) {
        let value = x[image * shape.inputs + input];
        let gradient = dy[image * shape.outputs + output];
        parts_of_weight += mat4x4<f32>(value.x * gradient, value.y * gradient, value.z * gradient, value.w * gradient);
        part_of_bias += gradient;
    }
    let stores = local < columns && i < shape.inputs * shape.outputs;
    for (var j = 0u; j < 4u; j++) {
        let sum = add_rows(local, columns, parts_of_weight[j]);
        if stores {
            dweight[(input * 4u + j) * shape.outputs + output] = sum;
        }
    }
    let sum = add_rows(local, columns, part_of_bias);
    if stores && input == 0u {
        dbias[output] = sum;
    }
}
