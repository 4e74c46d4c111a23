#!/usr/bin/env python3
"""Checks that weights and logits written by this crate agree with PyTorch.

    python3 check_weights.py RUN_DIR [--size 128]        (needs torch and safetensors)

RUN_DIR/best.safetensors holds the state dict of the model: Identity; five blocks of Conv2d (stride 2, no bias),
BatchNorm2d, ReLU, Dropout2d; AdaptiveAvgPool2d(1), which may be missing; Flatten; Linear; Linear. With the pooling
layer the linear layers are "23" and "24", without it "22" and "23". All sizes are read from the tensors.

RUN_DIR/logits.safetensors holds "input" (N, 3, size, size) and "logits" (N, classes), both float32: normalised
images, and what the crate computed from them in evaluation mode.

Prints the largest absolute difference to PyTorch's logits. The exit status is 0 if it is at most
1e-4 * max(1, largest |logit|), 1 if it is more, and 2 if the files cannot be compared.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

BLOCKS = 5
TOLERANCE = 1e-4


class CheckError(Exception):
    """The files cannot be compared; the message names the file and the reason."""


def load_tensors(path):
    """All tensors of a safetensors file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckError(f"{path}: {error}") from error


def build_model(weights):
    """The model with the sizes of the tensors in `weights`, not yet loaded."""
    layers = [nn.Identity()]
    for block in range(BLOCKS):
        out_channels, in_channels, kernel, _ = weights[f"{4 * block + 1}.weight"].shape
        layers += [
            nn.Conv2d(in_channels, out_channels, kernel, stride=2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Dropout2d(0.1),
        ]
    if "24.weight" in weights:
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers.append(nn.Flatten())
    for index in (len(layers), len(layers) + 1):
        out_features, in_features = weights[f"{index}.weight"].shape
        layers.append(nn.Linear(in_features, out_features))
    return nn.Sequential(*layers)


def load_model(path):
    """The model in evaluation mode with the weights of a file, which must fit it name by name, shape and type."""
    weights = load_tensors(path)
    try:
        model = build_model(weights)
        model.load_state_dict(weights, strict=True)
    except KeyError as error:
        raise CheckError(f"{path}: the tensor {error} is missing") from error
    except (ValueError, RuntimeError) as error:
        raise CheckError(f"{path}: not the state dict of this model: {error}") from error
    # Even strict loading converts types, takes one element for a scalar and does without num_batches_tracked.
    for name, expected in model.state_dict().items():
        if name not in weights:
            raise CheckError(f"{path}: the tensor '{name}' is missing")
        found = weights[name]
        if (found.dtype, found.shape) != (expected.dtype, expected.shape):
            raise CheckError(
                f"{path}: {name} is {found.dtype} {list(found.shape)}, not {expected.dtype} {list(expected.shape)}"
            )
    return model.eval()


def load_logits(path, size):
    """The images and logits of a file, after a check of their shapes and types."""
    tensors = load_tensors(path)
    if set(tensors) != {"input", "logits"}:
        raise CheckError(f"{path}: the tensors are {sorted(tensors)}, not 'input' and 'logits'")
    images, logits = tensors["input"], tensors["logits"]
    if images.dtype != torch.float32 or logits.dtype != torch.float32:
        raise CheckError(f"{path}: types are {images.dtype} and {logits.dtype}, not float32")
    if len(images) == 0 or images.shape[1:] != (3, size, size):
        raise CheckError(f"{path}: input is {list(images.shape)}, not [N, 3, {size}, {size}]; see --size")
    return images, logits


def compare(run_dir, size):
    """Largest |difference| and largest |logit|."""
    model = load_model(run_dir / "best.safetensors")
    path = run_dir / "logits.safetensors"
    images, logits = load_logits(path, size)
    try:
        with torch.no_grad():
            expected = model(images)
    except RuntimeError as error:
        raise CheckError(f"{path}: the model cannot take images of size {size}: {error}") from error
    if logits.shape != expected.shape:
        raise CheckError(f"{path}: logits are {list(logits.shape)}, not {list(expected.shape)}")
    return (logits - expected).abs().max().item(), expected.abs().max().item()


def main():
    parser = argparse.ArgumentParser(description="Checks that weights and logits agree with PyTorch.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--size", type=int, default=128, help="height and width of the images (default: 128)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        difference, largest = compare(arguments.run_dir, arguments.size)
    except CheckError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    limit = TOLERANCE * max(1.0, largest)
    print(f"largest difference {difference:.3g}, largest |logit| {largest:.6g}, limit {limit:.3g}")
    # Written this way round so that NaN fails.
    return 0 if difference <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
