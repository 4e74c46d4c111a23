// How sums over pixels, for each channel, are divided: into chunks of pixels. ROWS invocations of a workgroup share a part of a sum,
// that of one chunk for one vector of channels: row r takes every ROWS-th pixel of the chunk from its r-th on.
//
// The file that uses this has ROWS, a power of two up to 64, and `shape` with `n`, `pixels`, `channels` and `chunk`, and uses `sums` and `numbers`.

// What an invocation works on.
struct Place {
    chunk: u32,
    // The vector of channels.
    channel: u32,
    row: u32,
    // The part's number: (chunks, channels).
    part: u32,
}

fn place(local: u32, group: vec3<u32>, groups: vec3<u32>) -> Place {
    let columns = 64u / ROWS;
    let part = workgroup_number(group, groups) * columns + local % columns;
    return Place(part / shape.channels, part % shape.channels, local / columns, part);
}

// What the rows of a place have added up, for row 0; the others get nothing.
fn add_up(local: u32, sum: vec4<f32>) -> vec4<f32> {
    if ROWS == 1u {
        return sum;
    }
    return add_rows(local, 64u / ROWS, sum);
}

// Whether an invocation stores the sum of its place: it stands in row 0, and there is such a chunk.
fn stores(at: Place) -> bool {
    return at.row == 0u && at.chunk * shape.chunk < shape.n * shape.pixels;
}
