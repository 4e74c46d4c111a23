#!/usr/bin/env python3
"""The network of weights.safetensors in plain PyTorch, as convscope exported it.

    python3 load_in_pytorch.py            checks that it says of the examples here what convscope said
    python3 load_in_pytorch.py IMAGE..    says which class each image shows

Needs torch, safetensors and pillow. `Network()` and `prepare()` can be imported from elsewhere.
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import nn

HERE = Path(__file__).resolve().parent
SIZE = @SIZE@
RESIZE = @RESIZE@
MEAN, STD = @MEAN@, @STD@
CLASSES = json.loads(@CLASSES@)

# Key in the state_dict, module, and what it gets: 0 are the images, 1 is what the first module makes, and so on.
LAYERS = [
@LAYERS@
]


class Add(nn.Module):
    def forward(self, one, other):
        return one + other


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = []
        for key, make, inputs in LAYERS:
            module = make()
            *path, name = key.split(".")
            holder = self
            for part in path:
                if not hasattr(holder, part):
                    holder.add_module(part, nn.Module())
                holder = getattr(holder, part)
            # What has no weights may share its name with another, such as the two ReLUs of a residual block.
            if not hasattr(holder, name):
                holder.add_module(name, module)
            self.steps.append((module, inputs))

    def forward(self, images):
        values = [images]
        for module, inputs in self.steps:
            values.append(module(*(values[value] for value in inputs)))
        return values[-1]


def load():
    network = Network()
    weights = load_file(HERE / "weights.safetensors")
    network.load_state_dict(weights, strict=True)
    return network.eval()


def prepare(image):
    """An image of Pillow as convscope prepares it."""
    return numbers(square(image))


def square(image):
    """Upright, on white, the shorter side scaled to RESIZE, or else to SIZE, the middle square cut out."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    width, height = image.size
    shorter = min(width, height)
    if RESIZE:
        width, height = (side * RESIZE // shorter for side in (width, height))
        left, top = (round((side - SIZE) / 2) for side in (width, height))
    else:
        width, height = (max(SIZE, (2 * side * SIZE + shorter) // (2 * shorter)) for side in (width, height))
        left, top = (width - SIZE) // 2, (height - SIZE) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image.crop((left, top, left + SIZE, top + SIZE))


def numbers(image):
    """A square image of SIZE pixels as the network gets it."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(SIZE, SIZE, 3)
    mean, std = (torch.tensor(numbers).reshape(3, 1, 1) for numbers in (MEAN, STD))
    return (pixels.permute(2, 0, 1).float() / 255 - mean) / std


@torch.no_grad()
def main():
    network = load()
    if sys.argv[1:]:
        for name in sys.argv[1:]:
            shares = network(prepare(Image.open(name))[None])[0].softmax(0)
            best = int(shares.argmax())
            print(f"{name}: {CLASSES[best]} ({100 * shares[best]:.1f} %)")
        return
    expected = json.loads((HERE / "expected.json").read_text())
    images = torch.stack([numbers(Image.open(HERE / name)) for name in expected])
    saved = torch.tensor(list(expected.values()))
    logits = network(images)
    apart = float((logits - saved).abs().max() / saved.abs().max().clamp(min=1))
    print(f"{len(expected)} images: the logits differ from convscope's by {apart:.1e} of the largest")
    assert apart <= 1e-4, "the network is another one than convscope's"


if __name__ == "__main__":
    main()
