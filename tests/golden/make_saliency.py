#!/usr/bin/env python3
"""Writes saliency_odd.json, saliency_flat.json and saliency_exact.json: reference values for the attribution maps.

    python3 make_saliency.py      (needs torch and numpy; the files are written next to this script)

The models, their start parameters, the images, f(i, salt), the TENSOR records and the rounding of numbers are those
of make_golden.py, whose head describes them. As there, everything is computed in float64 from exact float32 numbers.

The model is in evaluation mode here, and its running statistics are not 0 and 1 but, in float32 arithmetic,

    running_mean[i]    float32(0.2) * f(i, salt)    (the product rounds)
    running_var[i]     1 + 0.5 * f(i, salt)         (the product is exact, the sum rounds)

with salts that go on after those of the parameters: mean, then variance, of the first block, then of the second, and
so on.


Definitions
-----------
Image n is asked for the gap between two fixed classes, target[n] = n mod classes and against[n] = (n + 1) mod
classes:

    gap[n] = logit[n, target[n]] - logit[n, against[n]]

x is the image batch (N, C, H, W). For block b = 1, 2, ..., A is the output of its ReLU (N, C, h, w) and
g = dgap / dA. relu(v) is max(v, 0).

    "gradient"                (N, C, H, W)   dgap[n] / dx[n]
    "gradient_map"            (N, H, W)      largest |gradient| over the colours
    "gradient_x_input"        (N, H, W)      sum over the colours of x * gradient
    "integrated_gradients"    (N, H, W)      sum over the colours of x * the mean, over k = 0 .. 31, of the gradient
                                             at x * (k + 0.5) / 32; only the first "path_images" images
    "guided_backprop"         (N, C, H, W)   the gradient with dx = dy * (x > 0) * (dy > 0) as the ReLU's backward
    "deconvnet"               (N, C, H, W)   the gradient with dx = dy * (dy > 0) as the ReLU's backward
    "grad_cam b"              (N, h, w)      relu(sum over c of A_c * the mean of g_c over the positions)
    "hirescam b"              (N, h, w)      sum over c of g_c * A_c
    "layercam b"              (N, h, w)      relu(sum over c of relu(g_c) * A_c)
    "contribution b"          (N, C)         sum over the positions of g_c * A_c
    "evidence"                (N, h, w)      sum over c of v_c * A_c for the last block, v below
    "share"                   (N, C)         sum over the positions of v_c * A_c
    "channel_ablation b"      (N, C)         gap - the gap when A_c is replaced by m_c at all positions, with
                                             m_c = 0.5 * (1 + f(c, 900 + b)) in float32 (the sum rounds, the product
                                             is exact); only for the blocks in "ablated_blocks"
    "occlusion"               (N, H, W)      see below; only the first "occluded_images" images

v spreads the two linear layers, W1, b1 and W2, b2, over the positions of the last block. With
u[n] = (W2 W1)[target[n]] - (W2 W1)[against[n]], one number per feature, v[n, c, y, x] is u[n, c] / (h w) if the
model pools and the element of u[n] at (c, y, x) if it flattens. With bias[n] = (W2 b1 + b2)[target[n]] -
(W2 b1 + b2)[against[n]], the evidence of an image sums to gap - bias, and so does its share. The script checks this,
and that evidence is "hirescam" of the last block, share is its "contribution" and, if the model pools, Grad-CAM
before its ReLU is evidence too: g_c is then u_c / (h w) at every position and so is its mean.

Occlusion sets all colours of a square of "patch" pixels to 0. Squares lie at every patch / 2 pixels, from before the
first row and column to behind the last, so that four cover every pixel: along a side of s pixels, with e the pixels
that s is short of a multiple of patch / 2, the first starts at -(patch / 2 + floor(e / 2)). What reaches beyond the
image is cut off. The value of a square is gap - the gap of the occluded image, the value of a pixel is the mean
over the squares that cover it.

The integrated gradients of "exact" stop at one image because the paths of all six pass ReLU inputs of less than
1e-7, which float32 may take for the other sign, and one such ReLU changes the map by up to 0.05 % of its largest
element. "path_relu_margin" below tells how close the remaining path comes.

Gradient, integrated gradients, Grad-CAM, guided backpropagation, deconvnet and contribution were once compared with
captum 0.9.0; they are the same to float64 rounding.


The files
---------
    "torch"               version of PyTorch that made the file
    "model"               as in make_golden.py, without the labels
    "settings"            path_steps (32), ablated_blocks, patch, occluded_images, path_images
    "running_stats"       state dict name -> TENSOR of running_mean and running_var, with "salt"
    "target", "against"   one class per image
    "gap", "bias"         one number per image
    "completeness_gap"    one number per path image: its gap - the gap of the zero image - the sum of its
                          integrated gradients
    "tensors"             name, as in the table above -> TENSOR
    "relu_margin"         index of each ReLU -> the smallest |input| of that ReLU over the batch. The gradient jumps
                          where an input changes sign; a float32 program that is off by less keeps the same elements.
    "path_relu_margin"    the same over all points of the paths of the integrated gradients
    "float32_deviation"   how far the same computation in float32 PyTorch is from the values above: for each of
                          "tensors", "values" is max |difference| / max_abs over all elements and "dot" is
                          |difference| / (max_abs * sqrt(len)); for "gap", "bias" and "completeness_gap" it is the
                          largest difference divided by the largest |gap|. This entry differs a little between
                          processors; the rest should come out the same everywhere.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from make_golden import (
    MODELS,
    build_model,
    feature_count,
    formula,
    group_deviation,
    make_batch,
    rounded,
    tensor_record,
    write_json,
)

ABLATION_SALT = 900
PATH_STEPS = 32

SETTINGS = {
    "odd": {"ablated_blocks": [1, 2], "patch": 8, "occluded_images": 5, "path_images": 5},
    "flat": {"ablated_blocks": [1], "patch": 8, "occluded_images": 3, "path_images": 3},
    "exact": {"ablated_blocks": [1, 5], "patch": 16, "occluded_images": 2, "path_images": 1},
}

LISTS = ["gap", "bias", "completeness_gap"]

# Backward hooks of the ReLUs, from dx = dy * (x > 0) and dy to another dx.
RELU_RULES = {
    "guided_backprop": lambda _, dx, dy: (dx[0].clamp(min=0),),
    "deconvnet": lambda _, dx, dy: (dy[0].clamp(min=0),),
}


def running_stat_salts(model):
    """State dict name -> salt of the running statistics."""
    names = [name for name, buffer in model.named_buffers() if buffer.is_floating_point()]
    return {name: salt for salt, name in enumerate(names, start=1 + len(list(model.parameters())))}


def running_stat(name, count, salt):
    """Value of a running statistic, a float32 tensor."""
    f = formula(count, salt)
    if name.endswith("running_mean"):
        return torch.from_numpy(np.float32(0.2) * f)
    return torch.from_numpy(np.float32(1) + np.float32(0.5) * f)


def build_eval_model(size, dtype):
    """The model of make_golden.py in evaluation mode, with the running statistics of this script."""
    model = build_model(size, dtype).eval().requires_grad_(False)
    for name, salt in running_stat_salts(model).items():
        buffer = model.get_buffer(name)
        buffer.copy_(running_stat(name, len(buffer), salt))
    return model


def relu_indices(model):
    """Index in the Sequential of the ReLU of each block."""
    return [i for i, module in enumerate(model) if isinstance(module, nn.ReLU)]


def class_difference(per_class):
    """Entry of the target class minus entry of the class against, for each image; the classes are axis 1."""
    count, classes = per_class.shape[:2]
    n = torch.arange(count)
    return per_class[n, n % classes] - per_class[n, (n + 1) % classes]


def run_layers(model, images):
    """Outputs of all layers; output i is that of model[i]."""
    outputs = []
    for module in model:
        images = module(images)
        outputs.append(images)
    return outputs


def relu_margins(model, outputs):
    """Index of each ReLU -> its smallest |input|."""
    return {str(i): outputs[i - 1].abs().min().item() for i in relu_indices(model)}


def input_gradient(model, images):
    """dgap / dimages, and the smallest ReLU inputs of that forward pass."""
    images = images.clone().requires_grad_()
    outputs = run_layers(model, images)
    (gradient,) = torch.autograd.grad(class_difference(outputs[-1]).sum(), images)
    return gradient, relu_margins(model, outputs)


def gradient_maps(model, images):
    """The maps made of the gradient in the input."""
    gradient, _ = input_gradient(model, images)
    return {
        "gradient": gradient,
        "gradient_map": gradient.abs().amax(1),
        "gradient_x_input": (images * gradient).sum(1),
    }


def integrated_gradients(model, images):
    """The integrated gradients with their completeness gap, and the smallest ReLU inputs on their paths."""
    steps = [input_gradient(model, images * ((k + 0.5) / PATH_STEPS)) for k in range(PATH_STEPS)]
    integrated = (images * sum(gradient for gradient, _ in steps) / PATH_STEPS).sum(1)
    gap_change = class_difference(model(images)) - class_difference(model(torch.zeros_like(images)))
    maps = {"integrated_gradients": integrated, "completeness_gap": gap_change - integrated.sum((1, 2))}
    return maps, {i: min(margins[i] for _, margins in steps) for i in steps[0][1]}


def rule_gradient(model, images, rule):
    """dgap / dimages with another backward of the ReLUs."""
    handles = [model[i].register_full_backward_hook(rule) for i in relu_indices(model)]
    gradient, _ = input_gradient(model, images)
    for handle in handles:
        handle.remove()
    return gradient


def block_tensors(model, images):
    """A and g of each block."""
    outputs = run_layers(model, images.clone().requires_grad_())
    activations = [outputs[i] for i in relu_indices(model)]
    gradients = torch.autograd.grad(class_difference(outputs[-1]).sum(), activations)
    return [(activation.detach(), gradient) for activation, gradient in zip(activations, gradients, strict=True)]


def grad_cam_sum(activation, gradient):
    """Grad-CAM before its ReLU."""
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1)


def block_maps(number, activation, gradient):
    """The maps of one block, whose number begins at 1."""
    return {
        f"grad_cam {number}": grad_cam_sum(activation, gradient).relu(),
        f"hirescam {number}": (gradient * activation).sum(1),
        f"layercam {number}": (gradient.relu() * activation).sum(1).relu(),
        f"contribution {number}": (gradient * activation).sum((2, 3)),
    }


def ledger(model, size, activation):
    """The gap as evidence of the last block's output plus a bias."""
    count, channels, height, width = activation.shape
    first, last = model[-2], model[-1]
    weights = class_difference((last.weight @ first.weight).expand(count, -1, -1))
    if size["pool"]:
        weights = weights.reshape(count, channels, 1, 1) / (height * width)
    else:
        weights = weights.reshape(activation.shape)
    bias = last.weight @ first.bias + last.bias
    return {
        "evidence": (weights * activation).sum(1),
        "share": (weights * activation).sum((2, 3)),
        "bias": class_difference(bias.expand(count, -1)),
    }


def channel_ablation(model, number, activation):
    """Loss of gap when a channel of a block is constant, for each image and channel."""
    rest = model[relu_indices(model)[number - 1] + 1 :]
    gap = class_difference(rest(activation))
    channels = activation.shape[1]
    means = np.float32(0.5) * (np.float32(1) + formula(channels, ABLATION_SALT + number))
    losses = []
    for channel, mean in enumerate(means.tolist()):
        ablated = activation.clone()
        ablated[:, channel] = mean
        losses.append(gap - class_difference(rest(ablated)))
    return torch.stack(losses, 1)


def patch_slices(side, patch):
    """The parts of a side that squares cover."""
    half = patch // 2
    first = -(half + -side % half // 2)
    return [slice(max(start, 0), start + patch) for start in range(first, side, half)]


def occlusion(model, images, patch):
    """Mean loss of gap over the squares that cover a pixel."""
    gap = class_difference(model(images))
    total = torch.zeros_like(images[:, 0])
    cover = torch.zeros_like(images[0, 0])
    for rows in patch_slices(images.shape[2], patch):
        for columns in patch_slices(images.shape[3], patch):
            occluded = images.clone()
            occluded[:, :, rows, columns] = 0
            total[:, rows, columns] += (gap - class_difference(model(occluded)))[:, None, None]
            cover[rows, columns] += 1
    assert (cover == 4).all()
    return total / cover


def check(size, results, last_block):
    """The identities of the ledger, to float64 rounding."""

    def assert_equal(actual, expected):
        # Terms of both signs cancel in the sums, hence relative to the largest element.
        assert (actual - expected).abs().max() <= 1e-12 * expected.abs().max()

    number = len(size["channels"])
    assert_equal(results["evidence"].sum((1, 2)) + results["bias"], results["gap"])
    assert_equal(results["share"].sum(1) + results["bias"], results["gap"])
    assert_equal(results["evidence"], results[f"hirescam {number}"])
    assert_equal(results["share"], results[f"contribution {number}"])
    if size["pool"]:
        assert_equal(grad_cam_sum(*last_block), results["evidence"])


def run_all(size, settings, dtype):
    """All tensors and lists by name, and the ReLU margins of the paths."""
    model = build_eval_model(size, dtype)
    images, _ = make_batch(size, dtype)
    blocks = block_tensors(model, images)
    results = {"gap": class_difference(model(images))} | gradient_maps(model, images)
    path_maps, path_margins = integrated_gradients(model, images[: settings["path_images"]])
    results |= path_maps
    for name, rule in RELU_RULES.items():
        results[name] = rule_gradient(model, images, rule)
    for number, block in enumerate(blocks, start=1):
        results |= block_maps(number, *block)
    results |= ledger(model, size, blocks[-1][0])
    for number in settings["ablated_blocks"]:
        results[f"channel_ablation {number}"] = channel_ablation(model, number, blocks[number - 1][0])
    results["occlusion"] = occlusion(model, images[: settings["occluded_images"]], settings["patch"])
    if dtype == torch.float64:
        check(size, results, blocks[-1])
    return results, path_margins


def deviations(single, double):
    """The part "float32_deviation" of a file."""
    record = {}
    largest_gap = double["gap"].abs().max()
    for name, reference in double.items():
        if name in LISTS:
            difference = (single[name].double() - reference).abs().max()
            record[name] = float(f"{difference / largest_gap:.2g}")
        else:
            deviation = group_deviation({name: single[name]}, {name: reference})
            record[name] = {key: deviation[key] for key in ["values", "dot"]}
    return record


def make_record(size, settings):
    """The content of one file."""
    model = build_eval_model(size, torch.float64)
    images, _ = make_batch(size, torch.float64)
    double, path_margins = run_all(size, settings, torch.float64)
    single, _ = run_all(size, settings, torch.float32)
    margins = relu_margins(model, run_layers(model, images))
    norm = model[2]
    description = size | {
        "features": feature_count(size),
        "batch_norm_eps": norm.eps,
        "batch_norm_momentum": norm.momentum,
    }
    return {
        "torch": torch.__version__,
        "model": description,
        "settings": {"path_steps": PATH_STEPS} | settings,
        "running_stats": {
            name: {"salt": salt} | tensor_record(model.get_buffer(name))
            for name, salt in running_stat_salts(model).items()
        },
        "target": [n % size["classes"] for n in range(size["batch"])],
        "against": [(n + 1) % size["classes"] for n in range(size["batch"])],
        **{name: [rounded(number) for number in double[name].tolist()] for name in LISTS},
        "tensors": {name: tensor_record(tensor) for name, tensor in double.items() if name not in LISTS},
        "relu_margin": {i: rounded(margin) for i, margin in margins.items()},
        "path_relu_margin": {i: rounded(margin) for i, margin in path_margins.items()},
        "float32_deviation": deviations(single, double),
    }


def main():
    torch.set_num_threads(1)
    for name, settings in SETTINGS.items():
        record = make_record(MODELS[name], settings)
        path = Path(__file__).with_name(f"saliency_{name}.json")
        write_json(path, record)
        print(f"{path.name}: {path.stat().st_size} bytes, gaps {record['gap']}")
        print(f"  completeness gaps: {record['completeness_gap']}")
        print(f"  smallest ReLU input: {min(record['relu_margin'].values()):.2g}")
        print(f"  smallest ReLU input on the paths: {min(record['path_relu_margin'].values()):.2g}")
        for key, deviation in record["float32_deviation"].items():
            print(f"  float32 deviation of {key}: {deviation}")


if __name__ == "__main__":
    main()
