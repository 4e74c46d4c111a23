#!/usr/bin/env python3
"""How far the images that convscope gives a network are from torchvision's.

    cargo build --release --example prepared
    python3 scripts/check_preparation.py target/release/examples/prepared PHOTOS

Takes 100 photos, evenly spread over PHOTOS, stretches each to a size of its own, from 60 to 900 pixels a side, and prepares it by
`Resize(N)` and `CenterCrop(SIZE)` of torchvision and by --resize-crop N --size SIZE of convscope. Both get the same PNG files; what
JPEG files of the same photos come to, whose decoders differ by some levels, is told apart. Ends with status 1 where a pixel of the PNG
files is more than one level off.
Needs torchvision, pillow and numpy.
"""

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import PIL
import torchvision
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

COUNT = 100
CASES = [(224, 256), (224, 224), (64, 73), (128, 146), (299, 342), (32, 33)]


def photos(folder):
    """Photos of different sizes."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    count = min(COUNT, len(files))
    sizes = random.Random(0)
    for number in range(count):
        image = Image.open(files[number * len(files) // count]).convert("RGB")
        yield image.resize((sizes.randint(60, 900), sizes.randint(60, 900)), Image.Resampling.LANCZOS)


def prepared(program, files, size, resize):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([program, str(size), str(resize), out.name, *map(str, files)], check=True)
        return numpy.fromfile(out.name, dtype=numpy.uint8).reshape(len(files), size, size, 3)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    program, folder = sys.argv[1], Path(sys.argv[2])
    largest = 0
    with tempfile.TemporaryDirectory() as temporary:
        pngs, jpegs = [], []
        for number, image in enumerate(photos(folder)):
            pngs.append(Path(temporary) / f"{number}.png")
            image.save(pngs[-1], compress_level=1)
            jpegs.append(Path(temporary) / f"{number}.jpg")
            image.save(jpegs[-1], quality=90)
        print(f"{len(pngs)} photos, torchvision {torchvision.__version__}, Pillow {PIL.__version__}")
        for size, resize in CASES:
            transform = Compose([Resize(resize), CenterCrop(size)])
            for name, files in [("PNG", pngs), ("JPEG", jpegs)]:
                theirs = numpy.stack([numpy.asarray(transform(Image.open(file))) for file in files]).astype(int)
                apart = abs(prepared(program, files, size, resize).astype(int) - theirs)
                print(f"Resize({resize}), CenterCrop({size}), {name}: largest difference {apart.max()}, mean {apart.mean():.4f}, "
                      f"{100 * (apart > 0).mean():.1f} % of the values differ")
                if files is pngs:
                    largest = max(largest, apart.max())
                    if size == resize:
                        usual = abs(prepared(program, files, size, 0).astype(int) - theirs)
                        print(f"  without --resize-crop: largest difference {usual.max()}, mean {usual.mean():.2f}")
    sys.exit(1 if largest > 1 else 0)


if __name__ == "__main__":
    main()
