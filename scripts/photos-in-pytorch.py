#!/usr/bin/env python3
"""Trains a known network on photos in PyTorch, by the recipe of `convscope train`, to hold the two against each other.

    python3 scripts/photos-in-pytorch.py PHOTOS --model resnet18 --epochs 3
    convscope train --data PHOTOS --model resnet18 --size 64 --epochs 3

PHOTOS has the folders train and val, with a folder a class in each. Both crop the middle square, shrink it with antialiasing, flip half of
the images, start from PyTorch's default random weights (others than each other's) and use Adam. Printed are images/s of training,
images in memory, and validation accuracy after each epoch. Needs torch, torchvision and Pillow.
"""

import argparse
import pathlib
import time

import numpy
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.models.vgg import VGG, cfgs, make_layers


def load(folder, size):
    """Images (N, 3, size, size) from -1 to 1, and their labels."""
    images, labels = [], []
    for label, kind in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for file in sorted(kind.iterdir()):
            image = Image.open(file).convert("RGB")
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            square = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)
            images.append(numpy.asarray(square))
            labels.append(label)
    pixels = torch.from_numpy(numpy.stack(images)).permute(0, 3, 1, 2)
    return pixels.float().div(127.5).sub(1.0).contiguous(), torch.tensor(labels)


def network(name, width, classes):
    """torchvision's network; of vgg11_bn with `width` times its channels."""
    if name == "resnet18":
        model = torchvision.models.resnet18(num_classes=classes)
    else:
        channels = [entry if entry == "M" else round(entry * width) for entry in cfgs["A"]]
        model = VGG(make_layers(channels, batch_norm=True), num_classes=classes, init_weights=False)
        hidden = round(4096 * width)
        model.classifier[0] = nn.Linear(round(512 * width) * 49, hidden)
        model.classifier[3] = nn.Linear(hidden, hidden)
        model.classifier[6] = nn.Linear(hidden, classes)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=pathlib.Path, help="folder with train and val")
    parser.add_argument("--model", choices=["resnet18", "vgg11_bn"], default="resnet18")
    parser.add_argument("--width", type=float, default=1.0, help="times the channels of vgg11_bn")
    parser.add_argument("--size", type=int, default=64, help="side of the images")
    parser.add_argument("--batch", type=int, default=32, help="images a step")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--channels-last", action="store_true", help="the layout that is faster on processors")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    images, labels = load(options.photos / "train", options.size)
    val_images, val_labels = load(options.photos / "val", options.size)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    model = network(options.model, options.width, int(labels.max()) + 1).to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    for epoch in range(1, options.epochs + 1):
        model.train()
        order = torch.randperm(len(images))
        started = time.perf_counter()
        for first in range(0, len(order), options.batch):
            chosen = order[first : first + options.batch]
            batch = images[chosen]
            flipped = torch.rand(len(chosen)) < 0.5
            batch[flipped] = batch[flipped].flip(3)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch.contiguous(memory_format=layout)), labels[chosen])
            loss.backward()
            optimizer.step()
        speed = len(images) / (time.perf_counter() - started)
        model.eval()
        with torch.no_grad():
            logits = torch.cat([model(part) for part in val_images.split(100)])
        accuracy = (logits.argmax(1) == val_labels).float().mean().item()
        print(f"epoch {epoch}/{options.epochs}  val acc {100 * accuracy:.1f} %  {speed:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
