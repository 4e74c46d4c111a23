#!/usr/bin/env python3
"""Keeps a history of how fast the bare training step is, so that it shows when something made it slower.

    cargo build --release
    python3 benches/history.py                  # measures this commit: a line more in docs/bench/history.jsonl, and the plot anew
    python3 benches/history.py --plot           # the plot alone

A line holds the commit, its date, what it was measured on, and for each work the images a second of every round. The rounds of
the works take turns. Only lines of one machine can be compared, and nothing else should run meanwhile. The plot shows the machine
of the last line: of each work the median over its first one, and the range of its rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "bench"
LINES, PLOT = FOLDER / "history.jsonl", FOLDER / "history.svg"
# Options of `bench step` by what the plot calls them.
WORKS = {
    "128 px, batch 32": [],
    "128 px, batch 1": ["--batch", "1"],
    "224 px, batch 32": ["--size", "224", "--steps", "10"],
    "resnet18, 64 px, batch 8": ["--model", "resnet18", "--size", "64", "--batch", "8", "--steps", "10"],
}
COLOURS = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad"]


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def measure(options):
    """A line of the history."""
    program = ROOT / "target" / "release" / "convscope"
    if not program.exists():
        sys.exit(f"error: {program}: there is no such program; build it with cargo build --release")
    rounds = {work: [] for work in WORKS}
    for _ in range(options.rounds):
        for work, arguments in WORKS.items():
            # What was measured on this machine for other versions has no part in it.
            step = json.loads(output(str(program), "bench", "step", "--json", "--tiles", "rule", *arguments))
            rounds[work].append(round(step["images_per_s"], 1))
    changed = "+" if output("git", "status", "--porcelain", "src", "shaders", "Cargo.lock") else ""
    return {
        "commit": output("git", "rev-parse", "--short=9", "HEAD") + changed,
        "date": output("git", "log", "-1", "--format=%cs"),
        "adapter": step["adapter"],
        "driver": step["driver"],
        "kernels": step["kernels"],
        "threads": os.cpu_count(),
        "images_per_s": rounds,
    }


def plot(lines):
    """The history of the machine of the last line, as a drawing."""
    machine = ["adapter", "driver", "kernels", "threads"]
    lines = [line for line in lines if all(line[key] == lines[-1][key] for key in machine)]
    width, height, left, top, bottom = 900, 420, 60, 40, 90
    step = (width - left - 240) / max(1, len(lines) - 1)
    ratios = {}
    for work in WORKS:
        found = [(i, line["images_per_s"][work]) for i, line in enumerate(lines) if line["images_per_s"].get(work)]
        if found:
            first = statistics.median(found[0][1])
            ratios[work] = [(i, [value / first for value in sorted(values)]) for i, values in found]
    values = [value for points in ratios.values() for _, found in points for value in found]
    least, most = min(values + [0.9]), max(values + [1.1])
    x = lambda i: left + i * step
    y = lambda ratio: top + (most - ratio) / (most - least) * (height - top - bottom)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    title = ", ".join(str(lines[-1][key]) for key in machine) + " threads"
    parts.append(f'<text x="{left}" y="20">images a second, of the first: {title}</text>')
    for tenth in range(int(10 * least), int(10 * most) + 1):
        ratio = tenth / 10
        if least <= ratio <= most:
            parts.append(f'<line x1="{left}" x2="{width - 220}" y1="{y(ratio):.1f}" y2="{y(ratio):.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{left - 8}" y="{y(ratio) + 4:.1f}" text-anchor="end">{ratio:.1f}</text>')
    for i, line in enumerate(lines):
        at = f"{x(i):.1f}"
        label = f'{line["date"]} {line["commit"]}'
        parts.append(f'<text x="{at}" y="{height - bottom + 14}" transform="rotate(30 {at} {height - bottom + 14})" font-size="10">{label}</text>')
    for number, (work, points) in enumerate(ratios.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x(i):.1f},{y(statistics.median(found)):.1f}" for i, found in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for i, found in points:
            parts.append(f'<line x1="{x(i):.1f}" x2="{x(i):.1f}" y1="{y(found[0]):.1f}" y2="{y(found[-1]):.1f}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{x(i):.1f}" cy="{y(statistics.median(found)):.1f}" r="3" fill="{colour}"/>')
        last = statistics.median(lines[points[-1][0]]["images_per_s"][work])
        parts.append(f'<text x="{width - 210}" y="{top + 16 + 18 * number}" fill="{colour}">{work}: {last:.0f}</text>')
    return "\n".join(parts + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each work is measured (default: %(default)s)")
    parser.add_argument("--plot", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: expected at least 1")
    FOLDER.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []
    if not options.plot:
        lines.append(measure(options))
        LINES.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not lines:
        sys.exit(f"error: {LINES}: nothing was measured yet; leave --plot out")
    PLOT.write_text(plot(lines))
    print(f"wrote {PLOT}")


if __name__ == "__main__":
    main()
