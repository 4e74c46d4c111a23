#!/usr/bin/env python3
"""How far the images that convscope gives a network are from torchvision's.

    cargo build --release --example prepared
    python3 scripts/check_preparation.py target/release/examples/prepared PHOTOS

Takes 100 photos of as many sizes as PHOTOS has, evenly spread, and prepares each by `Resize(N)` and `CenterCrop(SIZE)` of torchvision and by
--resize-crop N --size SIZE of convscope. Photos are decoded by Pillow first and given to both as PNG: JPEG decoders differ by some
levels among themselves, which is told apart. Ends with status 1 where a pixel is more than one level off.
Needs torchvision, pillow and numpy.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torchvision
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

COUNT = 100
CASES = [(224, 256), (224, 224), (64, 73), (128, 146), (299, 342), (32, 33)]


def chosen(folder):
    """Photos of different sizes, evenly spread over the folder."""
    of_size = {}
    for file in sorted(folder.rglob("*.jpg")):
        with Image.open(file) as image:
            of_size.setdefault(image.size, file)
    files = sorted(of_size.values())
    count = min(COUNT, len(files))
    return [files[number * len(files) // count] for number in range(count)]


def prepared(program, files, size, resize):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([program, str(size), str(resize), out.name, *map(str, files)], check=True)
        return numpy.fromfile(out.name, dtype=numpy.uint8).reshape(len(files), size, size, 3)


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    files = chosen(folder)
    sizes = [Image.open(file).size for file in files]
    print(f"{len(files)} photos of {len(set(sizes))} sizes, from {min(sizes)} to {max(sizes)}, torchvision {torchvision.__version__}")
    largest = 0
    with tempfile.TemporaryDirectory() as temporary:
        pngs = [Path(temporary) / f"{number}.png" for number in range(len(files))]
        for file, png in zip(files, pngs):
            Image.open(file).convert("RGB").save(png, compress_level=1)
        for size, resize in CASES:
            transform = Compose([Resize(resize), CenterCrop(size)])
            theirs = numpy.stack([numpy.asarray(transform(Image.open(file).convert("RGB"))) for file in files]).astype(int)
            for name, given in [("the same pixels", pngs), ("JPEG files", files)]:
                apart = abs(prepared(program, given, size, resize).astype(int) - theirs)
                print(f"Resize({resize}), CenterCrop({size}), {name}: largest difference {apart.max()}, mean {apart.mean():.5f}, "
                      f"{100 * (apart > 0).mean():.2f} % of the values differ")
                if given is pngs:
                    largest = max(largest, apart.max())
            usual = abs(prepared(program, pngs, size, 0).astype(int) - theirs)
            if size == resize:
                print(f"  without --resize-crop: largest {usual.max()}, mean {usual.mean():.3f}")
    sys.exit(1 if largest > 1 else 0)


if __name__ == "__main__":
    main()
