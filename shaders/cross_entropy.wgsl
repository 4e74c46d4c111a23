// Softmax cross-entropy, as PyTorch's CrossEntropyLoss with the mean over the batch.
//
//   logits, dlogits  (n, width)   `width` counts vectors of four; lanes from `classes` on are padding
//   labels           (n)          class numbers
//   loss, correct    (n)          loss of each image; 1 where its largest logit (the first of equals) is its label's
//   metrics          sums since they were last cleared: see Metrics

struct Shape {
    n: u32,
    classes: u32,
    width: u32,
    // Of forward_backward_weighted alone: the share of a target that stays at the label, what every class gets of the rest, and that times
    // the sum of the classes' weights.
    kept: f32,
    each: f32,
    spread: f32,
}

// uses: step, sums, numbers

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read> losses: array<f32>;
@group(0) @binding(5) var<storage, read> hits: array<u32>;
@group(0) @binding(6) var<storage, read_write> loss: array<f32>;
@group(0) @binding(7) var<storage, read_write> correct: array<u32>;
@group(0) @binding(8) var<storage, read_write> dlogits: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> loss_sum: array<f32>;
@group(0) @binding(10) var<storage, read_write> counts: array<u32>;
@group(0) @binding(11) var<storage, read> weights: array<f32>;

fn logit(image: u32, class_number: u32) -> f32 {
    return logits[image * shape.width + class_number / 4u][class_number % 4u];
}

fn largest(image: u32) -> f32 {
    var most = logit(image, 0u);
    for (var k = 1u; k < shape.classes; k++) {
        most = max(most, logit(image, k));
    }
    return most;
}

fn exp_sum(image: u32, most: f32) -> f32 {
    var sum = 0.0;
    for (var k = 0u; k < shape.classes; k++) {
        sum += exp(logit(image, k) - most);
    }
    return sum;
}

// loss = log(sum over k of exp(logit_k)) - logit of the label, where `sum` is of exp(logit_k - most).
fn judge(image: u32, most: f32, sum: f32) {
    loss[image] = log(sum) + (most - logit(image, labels[image]));
    var first = 0u;
    for (var k = 1u; k < shape.classes && logit(image, first) < most; k++) {
        first = k;
    }
    correct[image] = u32(first == labels[image]);
}

// Loss and correct, and dlogits = (softmax - one at the label) / live images; 0 in the padding. One invocation: one image.
@compute @workgroup_size(64)
fn forward_backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let image = invocation_number(id, groups);
    if image >= shape.n { return; }
    let most = largest(image);
    let sum = exp_sum(image, most);
    judge(image, most, sum);
    for (var i = 0u; i < shape.width; i++) {
        var gradient = vec4<f32>();
        for (var lane = 0u; lane < 4u; lane++) {
            let k = 4u * i + lane;
            if k < shape.classes {
                let target_value = f32(k == labels[image]);
                gradient[lane] = (exp(logit(image, k) - most) / sum - target_value) / f32(step.live);
            }
        }
        dlogits[image * shape.width + i] = gradient;
    }
}

// Loss and correct, and the gradient of the mean of (kept * w_y * loss + each * (sum over k of w_k * -log softmax_k)) over the live images, weighted by w_y, where
// y is an image's label: dlogits = ((kept * w_y + spread) * softmax - kept * w_y * one at the label - each * w) / (sum of w_y over the live images);
// 0 in the padding. One invocation: one image. Each workgroup adds up the weights for itself, in the same order.
@compute @workgroup_size(64)
fn forward_backward_weighted(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    var part = vec4<f32>();
    for (var i = local; i < min(step.live, shape.n); i += 64u) {
        part.x += weights[labels[i]];
    }
    let total = add_all(local, 1u, part).x;
    let image = invocation_number(id, groups);
    if image >= shape.n { return; }
    let most = largest(image);
    let sum = exp_sum(image, most);
    judge(image, most, sum);
    let at_label = shape.kept * weights[labels[image]];
    for (var i = 0u; i < shape.width; i++) {
        var gradient = vec4<f32>();
        for (var lane = 0u; lane < 4u; lane++) {
            let k = 4u * i + lane;
            if k < shape.classes {
                let target_value = at_label * f32(k == labels[image]) + shape.each * weights[k];
                gradient[lane] = ((at_label + shape.spread) * (exp(logit(image, k) - most) / sum) - target_value) / total;
            }
        }
        dlogits[image * shape.width + i] = gradient;
    }
}

// loss_sum += the live images' losses; counts += correct images, images, images whose loss is not finite; counts[3] = the first step
// with such an image.
// Only the bits tell what is not finite: a shader may assume that all its numbers are. One workgroup, each invocation every 64th image.
@compute @workgroup_size(64)
fn accumulate(@builtin(local_invocation_index) local: u32) {
    // Loss, correct, not finite. There are too few images in a batch for a count to be inexact.
    var part = vec4<f32>();
    for (var image = local; image < min(step.live, shape.n); image += 64u) {
        let broken = (bitcast<u32>(losses[image]) & 0x7fffffffu) >= 0x7f800000u;
        part += vec4<f32>(losses[image], f32(hits[image]), f32(broken), 0.0);
    }
    let sums = add_rows(local, 1u, part);
    if local > 0u { return; }
    loss_sum[0] += sums.x;
    counts[0] += u32(sums.y);
    counts[1] += step.live;
    if counts[2] == 0u && sums.z > 0.0 {
        counts[3] = step.number;
    }
    counts[2] += u32(sums.z);
}
