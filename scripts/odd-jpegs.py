"""Makes random JPEGs of every layout that cjpeg can write, each with what Pillow makes of it as a PNG beside it.

Needs Pillow, NumPy and libjpeg-turbo's cjpeg:

    python3 scripts/odd-jpegs.py jpegs 600
    CONVSCOPE_JPEGS=jpegs cargo test --test data -- --ignored --nocapture random_jpegs
"""

import random
import subprocess
import sys
from pathlib import Path

import numpy
from PIL import Image

FACTORS = [
    "1x1,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1", "2x2,1x1,1x1", "4x1,1x1,1x1", "4x2,1x1,1x1", "1x4,1x1,1x1", "2x2,2x1,1x2",
    "2x2,1x2,1x2", "2x2,2x1,2x1", "2x1,2x1,1x1", "3x1,1x1,1x1", "1x1,2x2,1x1", "2x2,2x2,1x1", "3x3,1x1,1x1", "4x4,1x1,1x1",
    "2x2,2x2,2x2", "2x4,1x1,1x1", "3x2,1x1,1x1", "1x1,1x1,2x1",
]
SCANS = {
    "apart": "0;\n1;\n2;\n",
    "partly": "0;\n1,2;\n",
    "unordered": "2;\n0;\n1;\n",
    "progressive-apart": "0: 0-0, 0, 1;\n1: 0-0, 0, 0;\n2: 0-0, 0, 0;\n0: 1-9, 0, 2;\n2: 1-63, 0, 0;\n1: 1-63, 0, 0;\n"
    "0: 10-63, 0, 2;\n0: 1-63, 2, 1;\n0: 0-0, 1, 0;\n0: 1-63, 1, 0;\n",
}
KINDS = ["together", "grey", "progressive", "arithmetic", *SCANS]


def main(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    random.seed(0)
    noise = numpy.random.default_rng(0)
    for number in range(count):
        kind, side = random.choice(KINDS), random.randint(2, 90)
        y, x = numpy.mgrid[0:side, 0:side]
        k = random.uniform(0.02, 0.12)
        colours = [128 + 100 * numpy.sin(k * x + p + 0.5 * k * y * (1 + p)) for p in range(3)]
        pixels = numpy.stack(colours, -1) + 8 * noise.standard_normal((side, side, 3))
        source = folder / "source.ppm"
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(source)
        # Half of them have the factors that most files have.
        factors = random.choice([random.choice(FACTORS), "2x2,1x1,1x1"])
        command = ["cjpeg", "-quality", str(random.choice([50, 75, 92])), "-sample", factors]
        if kind in SCANS:
            (folder / "scans.txt").write_text(SCANS[kind])
            command += ["-scans", str(folder / "scans.txt")]
        command += {"grey": ["-grayscale"], "progressive": ["-progressive"], "arithmetic": ["-arithmetic"]}.get(kind, [])
        command += random.choice([[], ["-restart", random.choice(["1", "3B", "7B"])]])
        command += random.choice([[], ["-optimize"]])
        path = folder / f"{kind}-{number}.jpg"
        # cjpeg refuses some combinations.
        if subprocess.run([*command, "-outfile", str(path), str(source)], capture_output=True).returncode:
            path.unlink(missing_ok=True)
            continue
        Image.open(path).convert("RGB").save(path.with_suffix(".png"))
    for name in ["source.ppm", "scans.txt"]:
        (folder / name).unlink(missing_ok=True)


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(Path(sys.argv[1]), int(sys.argv[2]))
