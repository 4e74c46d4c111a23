// The masks of dropout, which are a pure function of seed, step, layer and place, by the generator pcg4d of Jarzynski and Olano,
// "Hash Functions for GPU Rendering", JCGT 9(3), 2020. One draw decides the four channels of a vector: kept where the random number
// reaches threshold = p * 2^32.
//
// The file that uses this has `step`, and `shape` with `layer`, `threshold` and `scale`.

fn pcg4d(key: vec4<u32>) -> vec4<u32> {
    var v = key * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4<u32>(16u);
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}

// What a vector is multiplied by; `place` tells vectors (or, for whole channels, their channels) apart.
fn mask(place: u32) -> vec4<f32> {
    let random = pcg4d(vec4<u32>(step.seed, step.number, shape.layer, place));
    return select(vec4<f32>(), vec4<f32>(shape.scale), random >= vec4<u32>(shape.threshold));
}
