"""Reads what `train --tensorboard` recorded with the tensorboard package, and compares it with the run's metrics.csv.

Usage: pip install tensorboard pillow; python scripts/check_tensorboard.py RUN
"""

import csv
import io
import pathlib
import sys

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = pathlib.Path(sys.argv[1])
    with open(run / "metrics.csv", newline="") as file:
        epochs = list(csv.DictReader(file))
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0, "images": 0})
    events.Reload()
    tags = events.Tags()

    for tag, column in [
        ("loss/train", "train_loss"),
        ("loss/val", "val_loss"),
        ("accuracy/train", "train_acc"),
        ("accuracy/val", "val_acc"),
        ("images_per_s", "images_per_s"),
    ]:
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        expected = [(int(epoch["epoch"]), float(epoch[column])) for epoch in epochs]
        assert [step for step, _ in found] == [step for step, _ in expected], (tag, found)
        for (_, value), (_, right) in zip(found, expected):
            assert abs(value - right) <= 1e-6 * max(1.0, abs(right)), (tag, value, right)
    rates = [event.value for event in events.Scalars("learning_rate")]
    assert len(rates) == len(epochs) and all(rate >= 0.0 for rate in rates), rates

    weights = [tag for tag in tags["histograms"] if tag.startswith("weights/")]
    gradients = [tag for tag in tags["histograms"] if tag.startswith("gradients/")]
    assert weights and gradients and len(gradients) <= len(weights), tags["histograms"]
    for tag in weights + gradients:
        for event in events.Histograms(tag):
            histogram = event.histogram_value
            assert sum(histogram.bucket) == histogram.num > 0, tag
            assert histogram.min <= histogram.max == histogram.bucket_limit[-1], tag

    assert tags["images"] and all(tag.startswith("feature_maps/block_") for tag in tags["images"]), tags["images"]
    for tag in tags["images"]:
        for event in events.Images(tag):
            image = Image.open(io.BytesIO(event.encoded_image_string))
            assert image.size == (event.width, event.height), tag
    print(
        f"{len(epochs)} epochs: {len(tags['scalars'])} scalars as in metrics.csv, {len(weights)} distributions of weights, "
        f"{len(gradients)} of gradients, {len(tags['images'])} images"
    )


main()
