#!/usr/bin/env python3
"""Counts what the program claims of networks that can have learned nothing that holds for new images.

    cargo build --release
    python3 scripts/random-labels.py PHOTOS OUT 24

PHOTOS has the folders train/cat and train/dog. For each network 400 of their photos get one of two classes by lot, 240 to train on and
160 to validate on; then every command of the program looks at it, with the best and the last weights, and a study of depth trains
on the same photos. Printed is how often each thing was said; `claims` must be 0.
"""

import collections
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).resolve().parent.parent / "target/release/convscope"
GUESSES = "not shown to do better than always naming"
NETWORK = ["--size", "32", "--channels", "8,16,32", "--dropout", "0"]


def draw(photos, folder, seed):
    """Copies photos into classes that say nothing about them."""
    lot = random.Random(seed)
    files = [file for kind in ("cat", "dog") for file in lot.sample(sorted((photos / "train" / kind).glob("*.jpg")), 200)]
    lot.shuffle(files)
    for number, file in enumerate(files):
        target = folder / ("train" if number < 240 else "val") / ("left" if number % 2 else "right")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


def run(log, *arguments):
    """Runs the program; what it says is appended to the log."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log.append(done.stdout)
    if done.returncode != 0:
        sys.exit(f"{arguments}: {done.stdout}")


def look(folder, seed):
    """Trains a network and looks at it with every command. Returns all that was printed."""
    log, (data, net, study) = [], (folder / part for part in ("data", "run", "study"))
    image = sorted((data / "val/left").iterdir())[0]
    run(log, "train", "--data", data, *NETWORK, "--epochs", 15, "--seed", seed, "--out", net)
    for weights in ("best", "last"):
        of = ["--run", net, "--weights", weights]
        run(log, "features", image, *of, "--out", net / f"features-{weights}")
        run(log, "explain", *of, "--out", net / "explain" / weights)
        run(log, "learned", *of, "--out", net / f"learned-{weights}")
    run(log, "layers", "--run", net, "--weights", "last", "--no-report", "--out", net / "layers-last")
    run(log, "layers", "--run", net, "--no-report")
    settings = ["--epochs", 6, "--folds", 4, "--repeats", 2, "--seed", seed, "--margin", 5]
    run(log, "depth", "--data", data, *NETWORK, *settings, "--out", study)
    run(log, "report", net, "--depth", study)
    return "".join(log)


def count(folder, log, said):
    """Adds up what was said of one network."""
    net = folder / "run"
    said["networks"] += 1
    said["networks said to be better than guessing"] += GUESSES not in log
    pages = [net / "report.html", *net.glob("features-*/index.html"), *net.glob("learned-*/index.html"), *net.glob("explain/*/*/index.html")]
    said["pages"] += len(pages)
    said["pages that do not say that it guesses"] += sum(GUESSES not in page.read_text() for page in pages)
    for file in net.glob("explain/*/*/explained.json"):
        maps = json.loads(file.read_text())["maps"]
        said["saliency maps"] += len(maps)
        said["saliency maps that pass"] += sum(map["verdict"]["standing"] == "better" for map in maps)
    for file in net.glob("layers*/layers.json"):
        for block in json.loads(file.read_text())["layers"]:
            said["blocks"] += 1
            said["blocks in use or not missed"] += block["reset"]["verdict"] != "undecided"
            gains = [block[kind][gain] for kind in ("pooled", "grid") for gain in ("gain", "learned")]
            gains = [gain for gain in gains if gain is not None]
            said["comparisons of probes"] += len(gains)
            said["comparisons of probes with a winner"] += sum(gain["verdict"] in ("more", "less") for gain in gains)
            said["blocks with channels that are missed or enough"] += bool(block["ablation"]["missed"]) or block["ablation"]["enough"] is not None
    study = json.loads((folder / "study/depth.json").read_text())
    said["studies of depth"] += 1
    said["studies with an answer"] += study["conclusive"]


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    photos, out, networks = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    said = collections.Counter()
    for seed in range(1, networks + 1):
        folder = out / str(seed)
        draw(photos, folder / "data", seed)
        count(folder, look(folder, seed), said)
    for what, number in said.items():
        print(f"{number:6} {what}")
    claims = sum(number for what, number in said.items() if re.search("said to be|do not say|pass|in use|winner|missed or|an answer", what))
    print(f"{claims:6} claims")


if __name__ == "__main__":
    main()
