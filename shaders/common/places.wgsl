// How sums over pixels, for each channel, are divided: a workgroup takes one chunk of pixels and `columns` vectors of channels. Its
// invocations stand in rows of so many.
//
// The file that uses this has `shape` with `n`, `pixels`, `channels`, `chunk` and `columns`.

// Which chunk and which vector of channels an invocation works on.
struct Place {
    chunk: u32,
    channel: u32,
}

fn place(local: u32, group: vec3<u32>, groups: vec3<u32>) -> Place {
    let i = group.x + group.y * groups.x;
    let tiles = (shape.channels + shape.columns - 1u) / shape.columns;
    return Place(i / tiles, i % tiles * shape.columns + local % shape.columns);
}

// Whether an invocation stores the results of its place: it stands in row 0, and there are such a chunk and channel.
fn stores(local: u32, at: Place) -> bool {
    return local < shape.columns && at.channel < shape.channels && at.chunk * shape.chunk < shape.n * shape.pixels;
}
