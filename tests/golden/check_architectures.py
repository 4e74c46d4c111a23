#!/usr/bin/env python3
"""Checks that the networks with a name are torchvision's: weights are exchanged both ways, and the logits compared.

    python3 check_architectures.py [--program target/debug/examples/logits] [--size 64]
                                                        (needs torch, torchvision and safetensors)

First `cargo build --example logits`. For each network, for 2 classes and for torchvision's 1000:

    to PyTorch      the program writes the weights that the network starts from; torchvision's model loads them with
                    load_state_dict(strict=True)
    from PyTorch    torchvision's model, with running statistics of a few batches, is saved; the program reads the file

LeNet-5, which torchvision does not have, is an nn.Sequential. The weights of VGG are more than some devices hold in one
buffer; there they are exchanged, but only those of a VGG of a quarter of the channels make logits.

Prints the largest absolute difference of the logits, the largest logit, and the most that a logit differs between the images.
The exit status is 0 if every difference is at most 1e-4 of the largest logit, and those from PyTorch differ between the images
by more than that, and 1 otherwise.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from make_architectures import lenet5, vgg11_bn

TOLERANCE = 1e-4


def build_model(name, width, classes, size):
    """A network with PyTorch's start weights."""
    if name == "lenet5":
        return lenet5(lambda channels: channels, classes, (size, size))
    if width == 1:
        return getattr(torchvision.models, name)(num_classes=classes)
    model = vgg11_bn(lambda channels: int(channels * width), classes)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
            module.reset_parameters()
    return model


def write_state_dict(model, size, path):
    """Saves a model whose running statistics are the mean of a few batches, so that what it sees reaches the logits."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, size, size))
    save_file(model.state_dict(), path)


def compare(program, name, width, classes, size, from_pytorch):
    """Largest |difference|, largest |logit| and largest range of one; None where the device cannot hold the network."""
    model = build_model(name, width, classes, size)
    described = json.dumps({"name": name, "input": [3, size, size], "width": width, "classes": classes})
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "best.safetensors"
        command = [program, folder, described]
        if from_pytorch:
            write_state_dict(model, size, weights)
            command.append(weights)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if not from_pytorch:
            model.load_state_dict(load_file(weights), strict=True)
        logits = Path(folder) / "logits.safetensors"
        if not logits.exists():
            return None
        tensors = load_file(logits)
    with torch.no_grad():
        expected = model.eval()(tensors["input"])
    if tensors["logits"].shape != expected.shape:
        sys.exit(f"error: {name}: logits are {list(tensors['logits'].shape)}, not {list(expected.shape)}")
    spread = (expected.amax(0) - expected.amin(0)).max().item()
    return (tensors["logits"] - expected).abs().max().item(), expected.abs().max().item(), spread


def main():
    parser = argparse.ArgumentParser(description="Checks that the networks with a name are torchvision's.")
    parser.add_argument("--program", default="target/debug/examples/logits", help="the example `logits`, built")
    parser.add_argument("--size", type=int, default=64, help="height and width of the images (default: 64)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    good = True
    networks = (("lenet5", 1.0), ("vgg11_bn", 1.0), ("vgg11_bn", 0.25), ("resnet18", 1.0), ("mobilenet_v2", 1.0))
    for (name, width), classes, from_pytorch in itertools.product(networks, (2, 1000), (False, True)):
        found = compare(arguments.program, name, width, classes, arguments.size, from_pytorch)
        what = f"{name} x {width}, {classes} classes, {'from PyTorch' if from_pytorch else 'to PyTorch'}"
        if found is None:
            print(f"{what}: loads; too large for this device to make logits", flush=True)
            continue
        difference, largest, spread = found
        # Written this way round so that NaN fails.
        agrees = difference <= TOLERANCE * largest
        # A network that says the same of every image would agree whatever its weights.
        sees = spread > TOLERANCE * largest or not from_pytorch
        good &= agrees and sees
        verdict = ("" if agrees else "  DIFFERS") + ("" if sees else "  SEES NOTHING")
        print(f"{what}: {difference:.2g} of {largest:.3g}, range {spread:.2g}{verdict}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
