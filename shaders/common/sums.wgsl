// Sums by a whole workgroup. Its 64 invocations stand in rows of `columns`, a power of two: the invocations of a column have parts of
// one sum.

var<workgroup> parts: array<vec4<f32>, 64>;

// The sum of a column's parts, in the order of the rows, for the invocations of row 0; the others get nothing.
fn add_rows(local: u32, columns: u32, part: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    parts[local] = part;
    workgroupBarrier();
    var sum = vec4<f32>();
    if local < columns {
        for (var i = local; i < 64u; i += columns) {
            sum += parts[i];
        }
    }
    return sum;
}

// The same for the invocations of every row.
fn add_all(local: u32, columns: u32, part: vec4<f32>) -> vec4<f32> {
    let sum = add_rows(local, columns, part);
    if local < columns {
        parts[local] = sum;
    }
    workgroupBarrier();
    return parts[local % columns];
}
