"""Writes operations.json, what PyTorch makes of given numbers in single operations, for tests/reference.rs.

    pip install torch
    python tests/golden/make_operations.py

Everything is computed in float64. A tensor is one text, its numbers in row-major order of PyTorch's layout.
"""

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

generator = torch.Generator().manual_seed(0)
NAN, INF = float("nan"), float("inf")


def noise(*size):
    """Multiples of 1/64 from -2 to 2: short to write, and exact."""
    return torch.randint(-128, 129, size, generator=generator).double() / 64


def text(tensor):
    """repr gives the shortest text that reads back as the same number; Rust reads nan and inf, too."""
    return " ".join(repr(value) for value in tensor.flatten().tolist())


def windows(name, n, c, h, w, kernel, stride, padding, x=None):
    x = (noise(n, c, h, w) if x is None else torch.tensor(x).double().reshape(n, c, h, w)).requires_grad_()
    case = {"operation": name, "shape": [n, c, h, w, kernel, stride, padding], "x": text(x)}
    if name == "max_pool2d":
        y, indices = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
        case["indices"] = text(indices)
    elif name == "avg_pool2d":
        y = nn.AvgPool2d(kernel, stride, padding)(x)
    else:
        weight = noise(c, 1, kernel, kernel).requires_grad_()
        y = F.conv2d(x, weight, stride=stride, padding=padding, groups=c)
        case["weight"] = text(weight)
    dy = noise(*y.shape)
    y.backward(dy)
    case |= {"y": text(y), "dy": text(dy), "dx": text(x.grad)}
    if name == "depthwise":
        case["dweight"] = text(weight.grad)
    return case


def max_pools():
    yield windows("max_pool2d", 2, 3, 7, 5, 3, 2, 1)
    yield windows("max_pool2d", 1, 2, 6, 9, 2, 2, 0)
    yield windows("max_pool2d", 1, 1, 1, 1, 3, 1, 1)
    yield windows("max_pool2d", 1, 1, 8, 7, 2, 3, 1)
    # Many equal values, zeros of either sign among them.
    ties = torch.randint(-1, 2, (2 * 5 * 6,), generator=generator).tolist()
    yield windows("max_pool2d", 1, 2, 5, 6, 3, 1, 1, [-0.0 if value == 0 and i % 2 else value for i, value in enumerate(ties)])
    yield windows("max_pool2d", 1, 1, 3, 3, 3, 2, 1, [-INF] * 9)
    odd = [NAN, 1, INF, -INF, 2, NAN, NAN, 3, -INF, 0, 1, INF, INF, -INF, -INF, -INF, 5, -INF, -INF, NAN]
    yield windows("max_pool2d", 1, 1, 4, 5, 2, 1, 1, odd)
    yield windows("max_pool2d", 1, 1, 4, 5, 3, 2, 1, odd)


def avg_pools():
    for size in [(2, 3, 7, 5, 3, 2, 1), (1, 2, 6, 9, 2, 2, 0), (1, 1, 1, 1, 3, 1, 1), (1, 1, 8, 7, 2, 3, 1), (1, 2, 5, 4, 4, 1, 2)]:
        yield windows("avg_pool2d", *size)


def depthwises():
    for size in [(2, 3, 7, 5, 3, 1, 1), (2, 2, 8, 7, 3, 2, 1), (1, 5, 5, 6, 5, 2, 2), (1, 1, 1, 1, 3, 1, 1), (1, 2, 7, 9, 2, 3, 0)]:
        yield windows("depthwise", *size)


def relu6():
    x = torch.cat([torch.tensor([0.0, -0.0, 6.0, -1.0, 7.0, 3.0]).double(), 4 * noise(26)]).requires_grad_()
    y = F.relu6(x)
    dy = noise(32)
    y.backward(dy)
    yield {"operation": "relu6", "x": text(x), "y": text(y), "dy": text(dy), "dx": text(x.grad)}


def bias():
    n, c, h, w = 2, 3, 4, 5
    x, bias = noise(n, c, h, w), noise(c).requires_grad_()
    # A convolution that passes on its input, for what it does with its bias.
    y = F.conv2d(x, torch.ones(c, 1, 1, 1).double(), bias, groups=c)
    dy = noise(n, c, h, w)
    y.backward(dy)
    yield {"operation": "bias", "shape": [n, c, h * w], "x": text(x), "bias": text(bias), "y": text(y), "dy": text(dy), "dbias": text(bias.grad)}


cases = [case for group in (max_pools, avg_pools, depthwises, relu6, bias) for case in group()]
lines = ",\n".join(json.dumps(case) for case in cases)
Path(__file__).with_name("operations.json").write_text(f"[\n{lines}\n]\n")
