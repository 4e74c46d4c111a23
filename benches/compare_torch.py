#!/usr/bin/env python3
"""Times convscope's training step beside the same step in PyTorch, on this machine.

    cargo build --release
    python3 benches/compare_torch.py            # on the processor; --cuda for PyTorch on the GPU

Both train the same network on a batch of noise that lies in memory already: forward, cross entropy, backward, Adam.
Every measurement is a process of its own, and the contestants take turns, round after round, so that a machine that
slows down slows all of them. PyTorch runs with its own defaults, which on CUDA means convolutions in TF32 where the
card has it; --no-tf32 makes them as exact as convscope's. Nothing else should run meanwhile: PyTorch's threads wait for
one another, so that one busy processor slows it many times over. Needs torch.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

try:
    import torch
    from torch import nn
except ImportError:
    print("error: PyTorch cannot be imported: pip install torch", file=sys.stderr)
    sys.exit(2)

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 3
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
# torch.compile's options, by what the tables call them.
COMPILED = {"compile": {}, "reduce-overhead": {"mode": "reduce-overhead"}}
OURS = "convscope"


def network():
    blocks = []
    for inputs, outputs in zip([3, 16, 32, 64, 128], [16, 32, 64, 128, 256]):
        blocks += [
            nn.Conv2d(inputs, outputs, 3, stride=2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Dropout2d(0.1),
        ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 64), nn.Linear(64, 2)]
    return nn.Sequential(nn.Identity(), *blocks, *head)


def measure(mode, size, options):
    """Images a second of PyTorch's training step, by the median step."""
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = not options.no_tf32
    device = torch.device("cuda" if options.cuda else "cpu")
    layout, _, compiled = mode.partition("+")
    layout = LAYOUTS[layout]
    net = network().to(device, memory_format=layout)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    step_net = torch.compile(net, **COMPILED[compiled]) if compiled else net
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    images = (torch.rand(options.batch, 3, size, size) - 0.5).to(device, memory_format=layout)
    labels = (torch.arange(options.batch) % 2).to(device)

    seconds = []
    for _ in range(WARM_UP + options.steps):
        started = time.perf_counter()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(step_net(images), labels)
        loss.backward()
        optimizer.step()
        if options.cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    if not torch.isfinite(loss):
        sys.exit("the loss is not finite")
    if any(torch.equal(old, new) for old, new in zip(before, net.parameters())):
        sys.exit("not all weights have moved")
    return {"images_per_s": options.batch / statistics.median(seconds[WARM_UP:])}


def run(command):
    """Runs a measurement in a process of its own and returns what it prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{' '.join(map(str, command))}\n{done.stderr.strip()}", 1)
    return json.loads(done.stdout)


def run_contestant(name, size, options):
    if name != OURS:
        return run([sys.executable, __file__, *sys.argv[1:], "--measure", name, "--sizes", size])
    command = [options.program, "bench", "step", "--json", "--size", size, "--batch", options.batch]
    command += ["--steps", options.steps, "--kernels", options.kernels]
    return run(command + (["--adapter", options.adapter] if options.adapter else []))


def compare(size, contestants, options):
    """Medians and ranges over the rounds of all contestants at one size, and what convscope says of itself."""
    speeds = {name: [] for name in contestants}
    for round_number in range(1, options.rounds + 1):
        for name in contestants:
            print(f"{size} px, round {round_number} of {options.rounds}: {name}", file=sys.stderr)
            result = run_contestant(name, size, options)
            speeds[name].append(result["images_per_s"])
            if name == OURS:
                setting = {key: result[key] for key in ("adapter", "driver", "kernels")}
    ours = statistics.median(speeds[OURS])
    results = {}
    for name, values in speeds.items():
        median = statistics.median(values)
        results[name] = {"median": median, "min": min(values), "max": max(values), "runs": values}
        results[name]["ours_to_theirs"] = ours / median
    return results, setting


def fail(message, code):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224], help="sides of the images")
    parser.add_argument("--batch", type=int, default=32, help="images a step")
    parser.add_argument("--steps", type=int, default=30, help="timed steps of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contestant and size")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="PyTorch's threads [all processors]")
    parser.add_argument("--cuda", action="store_true", help="PyTorch on the GPU")
    parser.add_argument("--no-tf32", action="store_true", help="with --cuda: convolutions in 32 bits")
    parser.add_argument("--compile", action="store_true", help="PyTorch with torch.compile, too; on the GPU also with its mode reduce-overhead")
    parser.add_argument("--adapter", help="convscope's adapter, as `convscope adapters` lists them")
    parser.add_argument("--kernels", default="auto", help="convscope's kernels")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/convscope", help="convscope itself")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("batch", "steps", "rounds", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: expected at least 1")
    return options


def main():
    options = parse()
    if options.cuda and not torch.cuda.is_available():
        fail("--cuda: this PyTorch finds no CUDA device", 2)
    if options.measure:
        print(json.dumps(measure(options.measure, options.sizes[0], options)))
        return
    if not options.program.is_file():
        fail(f"--program {options.program}: there is no such file; cargo build --release makes it", 2)

    contestants = [OURS, *LAYOUTS]
    if options.compile:
        modes = COMPILED if options.cuda else ["compile"]
        contestants += [f"{layout}+{mode}" for mode in modes for layout in LAYOUTS]
    sizes = {}
    for size in options.sizes:
        sizes[size], setting = compare(size, contestants, options)
    where = torch.cuda.get_device_name() if options.cuda else f"{options.threads} threads"
    report = {**setting, "torch": torch.__version__, "torch_on": where, "batch": options.batch, "sizes": sizes}
    if options.json:
        print(json.dumps(report))
        return
    print(f"convscope: {setting['adapter']}, {setting['driver']}, {setting['kernels']} kernels")
    print(f"PyTorch {report['torch']}: {where}")
    for size, results in sizes.items():
        title = f"{options.batch} x {size} px"
        print(f"\n{title:24}{'images/s':>10}{'min .. max':>22}{'ours / theirs':>16}")
        for name, result in results.items():
            spread = f"{result['min']:.1f} .. {result['max']:.1f}"
            ratio = "" if name == OURS else f"{result['ours_to_theirs']:.2f}"
            print(f"{name:24}{result['median']:10.1f}{spread:>22}{ratio:>16}")


if __name__ == "__main__":
    main()
