#!/usr/bin/env python3
"""Writes odd.json, flat.json and exact.json: reference values from PyTorch for the tests of this crate.

    python3 make_golden.py        (needs torch and numpy; the files are written next to this script)

Everything is computed in float64 from inputs and start parameters that are exact float32 numbers, so the
values are references for a float32 program, free of float32 rounding themselves.


The formula
-----------
Inputs and start parameters are not stored. They come from f(i, salt), in 32-bit unsigned arithmetic (mod 2^32):

    h = i * 1664525 + salt * 1013904223 + 12345
    h ^= h >> 16;  h *= 0x7feb352d;  h ^= h >> 15;  h *= 0x846ca68b;  h ^= h >> 16
    f(i, salt) = (h >> 8) / 2^23 - 1            exact in float32, in [-1, 1)

i is the row-major index in PyTorch's layout: NCHW for images, OIHW for convolution weights, (out, in) for linear
weights. One salt per tensor:

    input image    salt 0, element i is f(i, 0)
    labels         no salt, label[n] = (7 n + 3) mod classes
    parameters     salt 1, 2, 3, ... in the order of the state dict without the running statistics, that is
                   convolution weight, batch norm weight, batch norm bias for each block, then weight and bias
                   of each linear layer
    checksums      salt 1000

Start values of the parameters, in float32 arithmetic (each operation rounds to float32):

    convolution and linear, weight and bias    f * s, with s = 1 / sqrt(fan_in) computed in float64 and rounded
                                               to float32; fan_in = in_channels * kernel^2 or in_features, the
                                               same for the bias as for the weight of its layer
    batch norm weight                          1 + 0.25 * f       (the product is exact, the sum rounds)
    batch norm bias                            float32(0.1) * f   (the product rounds)
    running_mean, running_var                  0 and 1


The models
----------
nn.Sequential of Identity; per block Conv2d(kernel, stride, padding, bias=False), BatchNorm2d, ReLU, Dropout2d(0);
then AdaptiveAvgPool2d(1) if "pool" is true; Flatten; Linear(features, hidden); Linear(hidden, classes). There is no
ReLU between the linear layers. The loss is the cross entropy of the logits, averaged over the batch.


The files
---------
Each file is one JSON object. A TENSOR is an object

    "shape"      list of integers; its product is called len
    "values"     count = min(len, 128) elements, those at the row-major indices
                 index_k = k * (len - 1) // (count - 1) for k = 0 .. count - 1; hence all of them if len <= 128
    "dot"        sum over all i < len of value_i * f(i, 1000), in float64
    "max_abs"    the largest |value_i| over all i < len

and all real numbers are rounded to 9 significant digits after the float64 computation, which is enough to give back
every float32 number exactly. "values" and "max_abs" are compared directly; "dot" covers the elements not listed. Its
natural scale is max_abs * sqrt(len), and a wrong element i changes it by the error times f(i, 1000).

    "torch"               version of PyTorch that made the file
    "model"               all numbers needed to rebuild the model: batch, in_channels, height, width, channels (one per
                          block), kernel, stride, padding, pool, features (inputs of the first linear layer), hidden,
                          classes, batch_norm_eps, batch_norm_momentum; and labels, the list the rule above gives
    "layers"              index in the Sequential -> PyTorch's description of the module
    "parameters"          state dict name -> TENSOR of the start values, with "salt" and, but for batch norm, "fan_in"

    The first step (training mode, one forward and backward pass from the start values):

    "loss"                number
    "activations"         index -> TENSOR, the output of that module; "0" is the input image
    "activation_grads"    index -> TENSOR, dloss / doutput of that module; "0" is dloss / dinput
    "parameter_grads"     state dict name -> TENSOR
    "running_stats"       state dict name -> TENSOR, running_mean and running_var after the step
    "relu_margin"         index of each ReLU -> the smallest |input| of that ReLU. A float32 program whose batch norm
                          output is off by less than this keeps or stops the same elements as the reference.

    Training (each run begins again at the start values and running statistics, with the same batch at every step):

    "training"            "adam", "adam_weight_decay" or "sgd" -> "optimizer" (PyTorch's class), its settings (lr,
                          weight_decay and, for Adam, betas and eps; for SGD, momentum) and "losses", ten numbers.
                          losses[t] is the loss of the training forward pass before update t, so losses[0] is "loss".
                          Weight decay is PyTorch's: added to the gradient of every parameter.
    "eval_logits"         TENSOR, logits of the same batch in evaluation mode after the ten updates of "adam"; the
                          running statistics have then seen ten batches

    "float32_deviation"   how far the same computation in float32 PyTorch is from the values above: per group
                          "values", the maximum over its tensors of max |difference| / max_abs over all elements, and
                          "dot", the maximum of |difference| / (max_abs * sqrt(len)); "worst" names the tensor with
                          the largest "values". For "loss" it is the relative difference, for the losses of a run
                          the largest difference divided by the largest loss. Meant for judging tolerances. This
                          entry differs a little between processors; the rest should come out the same everywhere.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

CHECKSUM_SALT = 1000
MAX_STORED = 128
TRAINING_STEPS = 10

MODELS = {
    "odd": {
        "batch": 5, "in_channels": 3, "height": 37, "width": 29,
        "channels": [5, 7], "kernel": 5, "stride": 2, "padding": 1,
        "pool": True, "hidden": 11, "classes": 3,
    },
    "flat": {
        "batch": 3, "in_channels": 3, "height": 21, "width": 26,
        "channels": [6], "kernel": 3, "stride": 3, "padding": 0,
        "pool": False, "hidden": 9, "classes": 4,
    },
    "exact": {
        "batch": 6, "in_channels": 3, "height": 64, "width": 64,
        "channels": [16, 32, 64, 128, 256], "kernel": 3, "stride": 2, "padding": 0,
        "pool": True, "hidden": 64, "classes": 2,
    },
}

OPTIMIZERS = {
    "adam": (torch.optim.Adam, {"lr": 1e-3}),
    "adam_weight_decay": (torch.optim.Adam, {"lr": 1e-3, "weight_decay": 0.01}),
    "sgd": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
}

TENSOR_GROUPS = ["activations", "activation_grads", "parameter_grads", "running_stats"]


def formula(count, salt):
    """f(0, salt) .. f(count - 1, salt) as float32."""
    offset = np.uint32((salt * 1013904223 + 12345) % 2**32)
    h = np.arange(count, dtype=np.uint32) * np.uint32(1664525) + offset
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    return (h >> np.uint32(8)).astype(np.float32) / np.float32(2**23) - np.float32(1)


def feature_count(size):
    """Number of inputs of the first linear layer."""
    if size["pool"]:
        return size["channels"][-1]
    height, width = size["height"], size["width"]
    for _ in size["channels"]:
        height = (height + 2 * size["padding"] - size["kernel"]) // size["stride"] + 1
        width = (width + 2 * size["padding"] - size["kernel"]) // size["stride"] + 1
    return size["channels"][-1] * height * width


def fan_in(module):
    """Number of inputs that one output of a convolution or linear layer sums over."""
    return math.prod(module.weight.shape[1:])


def start_value(module, kind, shape, salt):
    """Start value of the parameter `kind` ("weight" or "bias") of a module, a float32 tensor."""
    f = formula(math.prod(shape), salt)
    if not isinstance(module, nn.BatchNorm2d):
        value = f * np.float32(1 / math.sqrt(fan_in(module)))
    elif kind == "weight":
        value = np.float32(1) + np.float32(0.25) * f
    else:
        value = np.float32(0.1) * f
    return torch.from_numpy(value).reshape(shape)


def build_model(size, dtype):
    """The model of a description in MODELS with its start values, in training mode."""
    layers = [nn.Identity()]
    channels = size["in_channels"]
    for out_channels in size["channels"]:
        conv = nn.Conv2d(channels, out_channels, size["kernel"], size["stride"], size["padding"], bias=False)
        layers += [conv, nn.BatchNorm2d(out_channels), nn.ReLU(), nn.Dropout2d(0.0)]
        channels = out_channels
    if size["pool"]:
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers += [nn.Flatten(), nn.Linear(feature_count(size), size["hidden"]), nn.Linear(size["hidden"], size["classes"])]
    model = nn.Sequential(*layers).to(dtype)
    with torch.no_grad():
        for salt, (name, parameter) in enumerate(model.named_parameters(), start=1):
            index, kind = name.split(".")
            parameter.copy_(start_value(model[int(index)], kind, parameter.shape, salt))
    return model.train()


def make_batch(size, dtype):
    """Images (N, C, H, W) and labels (N)."""
    shape = [size["batch"], size["in_channels"], size["height"], size["width"]]
    images = torch.from_numpy(formula(math.prod(shape), 0)).reshape(shape).to(dtype)
    labels = (7 * torch.arange(size["batch"]) + 3) % size["classes"]
    return images, labels


def first_step(size, dtype):
    """One forward and backward pass: the loss, and for each of TENSOR_GROUPS a dict from key to tensor."""
    model = build_model(size, dtype)
    images, labels = make_batch(size, dtype)
    outputs = [images.requires_grad_()]
    for module in model[1:]:
        outputs.append(module(outputs[-1]))
        outputs[-1].retain_grad()
    loss = nn.functional.cross_entropy(outputs[-1], labels)
    loss.backward()
    return {
        "loss": loss.item(),
        "activations": {str(i): output.detach() for i, output in enumerate(outputs)},
        "activation_grads": {str(i): output.grad for i, output in enumerate(outputs)},
        "parameter_grads": {name: parameter.grad for name, parameter in model.named_parameters()},
        "running_stats": {name: b for name, b in model.named_buffers() if b.is_floating_point()},
    }


def train(model, images, labels, optimizer_class, settings):
    """Losses of TRAINING_STEPS steps on one batch, then the logits in evaluation mode, and the optimizer."""
    optimizer = optimizer_class(model.parameters(), **settings)
    losses = []
    for _ in range(TRAINING_STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        logits = model.eval()(images)
    return losses, logits, optimizer


def run_all(size, dtype):
    """Everything that is compared between float64 and float32."""
    results = first_step(size, dtype)
    results["training"] = {
        name: train(build_model(size, dtype), *make_batch(size, dtype), *optimizer) for name, optimizer in OPTIMIZERS.items()
    }
    return results


def rounded(number):
    """A number as it is stored, with 9 significant digits."""
    return float(f"{number:.9g}")


def flat_float64(tensor):
    """All elements in row-major order as a float64 array."""
    return tensor.detach().double().reshape(-1).numpy()


def checksum(tensor):
    """Sum of value_i * f(i, CHECKSUM_SALT)."""
    values = flat_float64(tensor)
    return float(values @ formula(len(values), CHECKSUM_SALT).astype(np.float64))


def tensor_record(tensor, most=MAX_STORED):
    """A TENSOR as the head of this file describes it, of at most so many stored elements."""
    values = flat_float64(tensor)
    count = min(len(values), most)
    indices = [k * (len(values) - 1) // (count - 1) for k in range(count)]
    return {
        "shape": list(tensor.shape),
        "values": [rounded(values[i]) for i in indices],
        "dot": rounded(checksum(tensor)),
        "max_abs": rounded(np.abs(values).max()),
    }


def parameter_records(model):
    """The start values with what is needed to make them."""
    records = {}
    for salt, (name, parameter) in enumerate(model.named_parameters(), start=1):
        module = model[int(name.split(".")[0])]
        record = {"salt": salt}
        if not isinstance(module, nn.BatchNorm2d):
            record["fan_in"] = fan_in(module)
        records[name] = record | tensor_record(parameter)
    return records


def training_record(losses, optimizer):
    """Settings and losses of one run."""
    group = optimizer.param_groups[0]
    kept = ["lr", "betas", "eps", "momentum", "weight_decay"]
    record = {"optimizer": type(optimizer).__name__}
    record |= {key: group[key] for key in kept if key in group}
    record["losses"] = [rounded(loss) for loss in losses]
    return record


def group_deviation(single, double):
    """float32_deviation of one group, dicts from key to tensor."""
    values, dots = {}, {}
    for key, reference in double.items():
        largest = np.abs(flat_float64(reference)).max()
        difference = np.abs(flat_float64(single[key]) - flat_float64(reference)).max()
        dot_difference = abs(checksum(single[key]) - checksum(reference))
        values[key] = difference / largest
        dots[key] = dot_difference / (largest * math.sqrt(reference.numel()))
    worst = max(values, key=values.get)
    return {"values": float(f"{values[worst]:.2g}"), "dot": float(f"{max(dots.values()):.2g}"), "worst": worst}


def loss_deviation(single, double):
    """float32_deviation of a list of losses."""
    difference = max(abs(s - d) for s, d in zip(single, double, strict=True))
    return float(f"{difference / max(double):.2g}")


def deviations(single, double):
    """The part "float32_deviation" of a file."""
    record = {"loss": loss_deviation([single["loss"]], [double["loss"]])}
    for group in TENSOR_GROUPS:
        record[group] = group_deviation(single[group], double[group])
    for name in OPTIMIZERS:
        record[f"{name}_losses"] = loss_deviation(single["training"][name][0], double["training"][name][0])
    logits = [{"eval_logits": results["training"]["adam"][1]} for results in (single, double)]
    record["eval_logits"] = group_deviation(*logits)
    return record


def make_record(size):
    """The content of one file."""
    model = build_model(size, torch.float64)
    norm = model[2]
    double = run_all(size, torch.float64)
    single = run_all(size, torch.float32)
    relus = [i for i, module in enumerate(model) if isinstance(module, nn.ReLU)]
    _, labels = make_batch(size, torch.float64)
    description = size | {
        "features": feature_count(size),
        "batch_norm_eps": norm.eps,
        "batch_norm_momentum": norm.momentum,
        "labels": labels.tolist(),
    }
    return {
        "torch": torch.__version__,
        "model": description,
        "layers": {str(i): repr(module) for i, module in enumerate(model)},
        "parameters": parameter_records(model),
        "loss": rounded(double["loss"]),
        **{group: {key: tensor_record(t) for key, t in double[group].items()} for group in TENSOR_GROUPS},
        "relu_margin": {str(i): rounded(double["activations"][str(i - 1)].abs().min()) for i in relus},
        "training": {name: training_record(run[0], run[2]) for name, run in double["training"].items()},
        "eval_logits": tensor_record(double["training"]["adam"][1]),
        "float32_deviation": deviations(single, double),
    }


def write_json(path, record):
    """Writes one entry of a group per line, so that a change of one tensor is a change of one line."""

    def compact(value):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

    parts = []
    for key, value in record.items():
        if isinstance(value, dict):
            lines = ",\n".join(f"  {compact(k)}: {compact(v)}" for k, v in value.items())
            parts.append(f"{compact(key)}: {{\n{lines}\n}}")
        else:
            parts.append(f"{compact(key)}: {compact(value)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def main():
    torch.set_num_threads(1)
    for name, size in MODELS.items():
        record = make_record(size)
        path = Path(__file__).with_name(f"{name}.json")
        write_json(path, record)
        print(f"{path.name}: {path.stat().st_size} bytes, loss {record['loss']}")
        print(f"  smallest ReLU input: {min(record['relu_margin'].values()):.2g}")
        for group, deviation in record["float32_deviation"].items():
            print(f"  float32 deviation of {group}: {deviation}")


if __name__ == "__main__":
    main()
