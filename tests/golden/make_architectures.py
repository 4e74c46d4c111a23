#!/usr/bin/env python3
"""Writes lenet5.json, vgg11_bn.json, resnet18.json and mobilenet_v2.json: reference values from PyTorch and torchvision.

    python3 make_architectures.py        (needs torch, torchvision and numpy; the files are written next to this script)

make_golden.py describes the formula, the start values, TENSOR and what the entries have in common. Here

- the models are torchvision's own code with fewer channels: `width` times those of the full network; LeNet-5, which
  torchvision does not have, is an nn.Sequential. No dropout drops.
- the salt of the images is "image_salt", chosen so that no ReLU and no max pooling decides on a difference that float32
  cannot tell from rounding: "margins" has the smallest of each.
- a TENSOR has "stored" elements at most.

    "torch", "torchvision"   the versions that made the file
    "model"                  the architecture's name, width, classes, batch and size of the images, labels, and the above
    "parameters"             as in make_golden.py
    "operations"             the operations in the order in which they ran, sums included, Flatten, Identity and Dropout
                             left out: [PyTorch's module or "Add", output TENSOR, TENSOR of dloss / doutput]
    "input_grad"             TENSOR, dloss / dinput
    "loss", "parameter_grads", "running_stats"    as in make_golden.py. A gradient that is zero but for rounding, as that
                             of a bias before a batch norm, has "scale" beside "max_abs": the largest sum of |dloss / dy| over
                             the places that such a bias is added to. What rounding leaves is to be judged by that.
    "margins"                operation -> the smallest distance from an input to where its gradient jumps: to 0 (and 6) of
                             ReLU (ReLU6); of max pooling, the smallest difference of the two largest in a window, if not 0
    "training"               "adam" and "sgd" as in make_golden.py, "margin", the smallest of all steps and operations, for which
                             the learning rate was chosen, and "eval_logits" after each; those after Adam are left
                             out where a gradient is zero but for rounding: Adam moves such a weight by its whole rate, in a
                             direction that rounding decides. Nothing of it is seen in training, where batch norm takes it
                             out again.
    "float32_deviation"      as in make_golden.py; of tensors with a "scale", relative to that
"""

import math
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import VGG, cfgs, make_layers

from make_golden import (
    TRAINING_STEPS,
    checksum,
    fan_in,
    formula,
    loss_deviation,
    rounded,
    start_value,
    tensor_record,
    train,
    training_record,
    write_json,
)

MODELS = {
    "lenet5": {
        "width": 1.0, "classes": 3, "batch": 5, "height": 28, "width_px": 33, "image_salt": 2016, "stored": 64,
        "lr": {"adam": 1.93e-3, "sgd": 6.41e-3},
    },
    "vgg11_bn": {
        "width": 0.08, "classes": 3, "batch": 4, "height": 64, "width_px": 64, "image_salt": 2007, "stored": 32,
        "lr": {"adam": 1.5e-3, "sgd": 7.13e-3},
    },
    "resnet18": {
        "width": 0.08, "classes": 3, "batch": 6, "height": 64, "width_px": 72, "image_salt": 2008, "stored": 16,
        "lr": {"adam": 0.000883, "sgd": 4.5e-3},
    },
    # So many batch norms make the gradients of the first layers large, and the loss rough along them: hence short steps.
    "mobilenet_v2": {
        "width": 0.125, "classes": 3, "batch": 4, "height": 33, "width_px": 40, "image_salt": 2187, "stored": 8,
        "lr": {"adam": 2.74e-8, "sgd": 2.92e-7},
    },
}  # fmt: skip

OPTIMIZERS = {"adam": (torch.optim.Adam, {}), "sgd": (torch.optim.SGD, {"momentum": 0.9})}

# A gradient below this share of its "scale" is zero but for rounding, which is about 1e-16 in float64.
ZERO = 1e-10


class NarrowResNet(ResNet):
    """torchvision's ResNet with other channels."""

    def __init__(self, channels, classes):
        self.channels = channels
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.conv1 = nn.Conv2d(3, channels(64), 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels(64))
        self.fc = nn.Linear(channels(512), classes)

    def _make_layer(self, block, planes, *arguments, **options):
        if planes == 64:
            self.inplanes = self.channels(64)
        return super()._make_layer(block, self.channels(planes), *arguments, **options)


def lenet5(channels, classes, size):
    """LeNet-5 with ReLU and max pooling."""
    first, second = channels(6), channels(16)
    rows, columns = (((side - 4) // 2 - 4) // 2 for side in size)
    return nn.Sequential(
        nn.Conv2d(3, first, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * rows * columns, channels(120)), nn.ReLU(),
        nn.Linear(channels(120), channels(84)), nn.ReLU(),
        nn.Linear(channels(84), classes),
    )  # fmt: skip


def vgg11_bn(channels, classes):
    """torchvision's VGG with other channels."""
    cfg = [entry if entry == "M" else channels(entry) for entry in cfgs["A"]]
    # The full classifier would take half a gigabyte only to be replaced.
    with torch.device("meta"):
        model = VGG(make_layers(cfg, batch_norm=True), init_weights=False)
    model.classifier[0] = nn.Linear(channels(512) * 7 * 7, channels(4096), device="meta")
    model.classifier[3] = nn.Linear(channels(4096), channels(4096), device="meta")
    model.classifier[6] = nn.Linear(channels(4096), classes, device="meta")
    model = model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return model


def build_model(name, size, dtype):
    """A narrow architecture with its start values, in training mode, where nothing drops and nothing is overwritten."""

    def channels(known):
        # As Rust rounds: half away from zero.
        return max(1, math.floor(known * size["width"] + 0.5))

    classes = size["classes"]
    if name == "lenet5":
        model = lenet5(channels, classes, (size["height"], size["width_px"]))
    elif name == "vgg11_bn":
        model = vgg11_bn(channels, classes)
    elif name == "resnet18":
        model = NarrowResNet(channels, classes)
    else:
        model = MobileNetV2(num_classes=classes, width_mult=size["width"])
    model = model.to(dtype)
    for module in model.modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            module.inplace = False
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for salt, (key, parameter) in enumerate(model.named_parameters(), start=1):
            module, kind = key.rsplit(".", 1)
            parameter.copy_(start_value(model.get_submodule(module), kind, parameter.shape, salt))
    return model.train()


def make_batch(size, dtype):
    """Images (N, C, H, W) and labels (N)."""
    shape = [size["batch"], 3, size["height"], size["width_px"]]
    images = torch.from_numpy(formula(math.prod(shape), size["image_salt"])).reshape(shape).to(dtype)
    labels = (7 * torch.arange(size["batch"]) + 3) % size["classes"]
    return images, labels


class Recorder(TorchFunctionMode):
    """Keeps what every operation gets and makes, in the order in which they run, and their gradients."""

    NAMES = {
        "conv2d": "Conv2d",
        "batch_norm": "BatchNorm2d",
        "relu": "ReLU",
        "relu6": "ReLU6",
        "hardtanh": "ReLU6",
        "max_pool2d": "MaxPool2d",
        "_max_pool2d": "MaxPool2d",
        "adaptive_avg_pool2d": "AdaptiveAvgPool2d",
        "linear": "Linear",
        "add": "Add",
        "add_": "Add",
    }

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = self.NAMES.get(func.__name__)
        # Batch norm counts its batches in integers.
        if name is None or not args[0].is_floating_point():
            return func(*args, **kwargs)
        # Out of place, so that the summand stays as it is.
        output = args[0] + args[1] if name == "Add" else func(*args, **kwargs)
        output.retain_grad()
        # What pooling is told; nobody reads it of others.
        options = dict(zip(("kernel_size", "stride", "padding"), args[1:])) | kwargs
        self.operations.append((name, args[0].detach(), output, options))
        return output


def margin(name, given, made, options):
    """Distance from the input to where the gradient jumps, or None."""
    if name == "ReLU":
        return given.abs().min().item()
    if name == "ReLU6":
        return min(given.abs().min().item(), (given - 6).abs().min().item())
    if name == "MaxPool2d":
        kernel, stride, padding = (options[key] for key in ("kernel_size", "stride", "padding"))
        padded = nn.functional.pad(given, [padding] * 4, value=-math.inf)
        windows = padded.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)
        largest = windows.topk(2).values
        differences = largest[..., 0] - largest[..., 1]
        return differences[differences > 0].min().item()
    return None


def smallest_margin(model, images, labels, optimizer_class, settings):
    """The smallest margin of the steps of a training."""
    optimizer = optimizer_class(model.parameters(), **settings)
    margins = []
    for _ in range(TRAINING_STEPS):
        optimizer.zero_grad()
        recorder = Recorder()
        with recorder:
            logits = model(images)
        nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        margins += [margin(*operation) for operation in recorder.operations]
    return min(found for found in margins if found is not None)


def first_step(name, size, dtype):
    """One forward and backward pass."""
    model = build_model(name, size, dtype)
    images, labels = make_batch(size, dtype)
    images.requires_grad_()
    recorder = Recorder()
    with recorder:
        logits = model(images)
    loss = nn.functional.cross_entropy(logits, labels)
    loss.backward()
    operations = recorder.operations
    named = [f"{number} {operation}" for number, (operation, *_) in enumerate(operations)]
    # What each bias is added to: modules run in the order of their parameters, sums and the like left out.
    trained = [output for operation, _, output, _ in operations if operation in ("Conv2d", "BatchNorm2d", "Linear")]
    keys = list(dict.fromkeys(key.rsplit(".", 1)[0] for key, _ in model.named_parameters()))
    scales = {}
    for key, output in zip(keys, trained, strict=True):
        places = [axis for axis in range(output.dim()) if axis != 1]
        scales[f"{key}.bias"] = output.grad.abs().sum(places).max().item()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    zero = {
        key: scale
        for key, scale in scales.items()
        if key in gradients and dtype == torch.float64 and gradients[key].abs().max() < ZERO * scale
    }
    return {
        "loss": loss.item(),
        "names": [operation for operation, *_ in operations],
        "activations": dict(zip(named, [output.detach() for _, _, output, _ in operations])),
        "activation_grads": dict(zip(named, [output.grad for _, _, output, _ in operations])) | {"input": images.grad},
        "parameter_grads": gradients,
        "scales": zero,
        "running_stats": {key: b for key, b in model.named_buffers() if b.is_floating_point()},
        "margins": {key: margin(*operation) for key, operation in zip(named, operations)},
    }


def run_all(name, size, dtype):
    """Everything that is compared between float64 and float32."""
    results = first_step(name, size, dtype)
    results["training"] = {
        key: train(build_model(name, size, dtype), *make_batch(size, dtype), optimizer, settings | {"lr": size["lr"][key]})
        for key, (optimizer, settings) in OPTIMIZERS.items()
    }
    return results


def deviation(single, double, scales):
    """float32_deviation of one group, dicts from key to tensor."""
    values, dots = {}, {}
    for key, reference in double.items():
        largest = scales.get(key) or reference.abs().max().item()
        values[key] = (single[key].double() - reference).abs().max().item() / largest
        dots[key] = abs(checksum(single[key]) - checksum(reference)) / (largest * math.sqrt(reference.numel()))
    worst = max(values, key=values.get)
    return {"values": float(f"{values[worst]:.2g}"), "dot": float(f"{max(dots.values()):.2g}"), "worst": worst}


def deviations(single, double):
    """The part "float32_deviation" of a file."""
    record = {"loss": loss_deviation([single["loss"]], [double["loss"]])}
    for group in ("activations", "activation_grads", "parameter_grads", "running_stats"):
        # LeNet-5 has no running statistics.
        if double[group]:
            record[group] = deviation(single[group], double[group], double["scales"])
    for key in OPTIMIZERS:
        (losses, logits, _), (expected, expected_logits, _) = (results["training"][key] for results in (single, double))
        record[f"{key}_losses"] = loss_deviation(losses, expected)
        record[f"{key}_eval_logits"] = deviation({"logits": logits}, {"logits": expected_logits}, {})
    return record


def make_record(name, size):
    """The content of one file."""
    double = run_all(name, size, torch.float64)
    single = run_all(name, size, torch.float32)
    most = size["stored"]
    _, labels = make_batch(size, torch.float64)
    model = build_model(name, size, torch.float64)
    parameters = {}
    for salt, (key, parameter) in enumerate(model.named_parameters(), start=1):
        module = model.get_submodule(key.rsplit(".", 1)[0])
        record = {"salt": salt} | ({} if isinstance(module, nn.BatchNorm2d) else {"fan_in": fan_in(module)})
        parameters[key] = record | tensor_record(parameter, 4)
    gradients = {key: tensor_record(gradient, most) for key, gradient in double["parameter_grads"].items()}
    for key, scale in double["scales"].items():
        gradients[key]["scale"] = rounded(scale)
    training = {}
    for key, (losses, logits, optimizer) in double["training"].items():
        training[key] = training_record(losses, optimizer)
        optimizer_class, settings = OPTIMIZERS[key]
        settings = settings | {"lr": size["lr"][key]}
        found = smallest_margin(build_model(name, size, torch.float64), *make_batch(size, torch.float64), optimizer_class, settings)
        training[key]["margin"] = rounded(found)
        if key == "sgd" or not double["scales"]:
            training[key]["eval_logits"] = tensor_record(logits)
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "model": {"name": name} | size | {"labels": labels.tolist()},
        "parameters": parameters,
        "loss": rounded(double["loss"]),
        "operations": {
            key: [operation, tensor_record(double["activations"][key], most), tensor_record(double["activation_grads"][key], most)]
            for operation, key in zip(double["names"], double["activations"])
        },
        "input_grad": tensor_record(double["activation_grads"]["input"], most),
        "parameter_grads": gradients,
        "running_stats": {key: tensor_record(value, most) for key, value in double["running_stats"].items()},
        "margins": {key: rounded(value) for key, value in double["margins"].items() if value is not None},
        "training": training,
        "float32_deviation": deviations(single, double),
    }


def main():
    torch.set_num_threads(1)
    for name, size in MODELS.items():
        record = make_record(name, size)
        path = Path(__file__).with_name(f"{name}.json")
        write_json(path, record)
        print(f"{path.name}: {path.stat().st_size} bytes, loss {record['loss']}")
        print(f"  smallest margin: {min(record['margins'].values()):.2g}")
        for group, found in record["float32_deviation"].items():
            print(f"  float32 deviation of {group}: {found}")


if __name__ == "__main__":
    main()
