#!/usr/bin/env python3
"""Has an exported network say what photos show, in PyTorch and by `convscope predict` in turn, and times both.

    convscope export --run RUN --torch NET
    python3 scripts/predict-in-pytorch.py PHOTOS --run RUN --net NET

PHOTOS is a folder with JPEGs in it and below. PyTorch prepares the photos as the export does it, in a DataLoader with 2 workers and without any. Printed
are images/s of each round and the medians. What counts is all that follows the start of the program or, of Python, its imports. Needs torch, safetensors and Pillow.
"""

import argparse
import csv
import importlib.util
import io
import pathlib
import statistics
import subprocess
import time

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset


class Photos(Dataset):
    def __init__(self, files, prepare):
        self.files, self.prepare = files, prepare

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.prepare(Image.open(self.files[index]))


def exported(folder):
    """The module of an export, with `load` and `prepare`."""
    spec = importlib.util.spec_from_file_location("exported", folder / "load_in_pytorch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.inference_mode()
def in_pytorch(files, module, batch, workers):
    """Seconds, and the probabilities of each file."""
    started = time.perf_counter()
    network = module.load()
    loader = DataLoader(Photos(files, module.prepare), batch_size=batch, num_workers=workers)
    probabilities = torch.cat([network(images).softmax(1) for images in loader])
    return time.perf_counter() - started, probabilities


def by_predict(photos, options):
    """The same of the program; its answers come sorted by file."""
    started = time.perf_counter()
    command = [options.program, "predict", photos, "--run", options.run, "--batch", str(options.batch), "--csv"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - started
    rows = list(csv.DictReader(io.StringIO(out)))
    columns = [name for name in rows[0] if name.startswith("probability_")]
    return seconds, {row["path"]: [float(row[name]) for name in columns] for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--net", type=pathlib.Path, required=True, help="what `export --torch` made of the run")
    parser.add_argument("--program", default="target/release/convscope")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    files = sorted(options.photos.rglob("*.jpg"))
    module = exported(options.net)

    ways = {
        "predict": lambda: by_predict(options.photos, options),
        "PyTorch, 2 workers": lambda: in_pytorch(files, module, options.batch, 2),
        "PyTorch, no workers": lambda: in_pytorch(files, module, options.batch, 0),
    }
    rates = {name: [] for name in ways}
    # The first round, which fills caches, does not count.
    for round_number in range(options.rounds + 1):
        answers = {}
        for name, way in ways.items():
            seconds, answers[name] = way()
            if round_number > 0:
                rates[name].append(len(files) / seconds)
    for name, measured in rates.items():
        print(f"{name}: {', '.join(f'{rate:.0f}' for rate in measured)}; median {statistics.median(measured):.0f} images/s")
    ours = torch.tensor([answers["predict"][str(file)] for file in files])
    apart = (ours - answers["PyTorch, no workers"]).abs()
    print(f"{len(files)} photos: probabilities differ by at most {apart.max():.4f}, by {apart.mean():.6f} on the mean")


if __name__ == "__main__":
    main()
