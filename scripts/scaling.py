#!/usr/bin/env python3
"""How `train` by several processes would scale: the time of a step with the exchange of its gradients, by a model of a few lines.

    python3 scripts/scaling.py                                    # the tables of docs/large.md
    python3 scripts/scaling.py --weights 409682 --step 280 --rate 1.8 --latency 0 --processes 2,4

A step of n processes, each with its own part of the batch, takes

    step / n-th part of the batch, on its device        (--step, in ms: what a process takes for its part)
  + the gradients from the device and back to it        (4 bytes a weight, twice, at --copy GB/s)
  + the exchange, of which nothing overlaps             (--rate in GB/s each way, --latency in microseconds a message)

and the exchange is one of

  direct   what the program does: each process sends each other one its n-th part, adds up what it gets in order, and sends the sums to
           all: 2 (n - 1) messages of bytes / n
  ring     the same bytes in 2 (n - 1) steps, one after the other, to the neighbour
  tree     all bytes up a binary tree and down again: 2 log2(n) messages of all bytes

All links are taken to carry the rate at once, both ways, as a switch that does not block does.
"""

import argparse
import math

# Trained numbers of the networks, and ms a step on an NVIDIA H100 by docs/measurements.md.
NETWORKS = {
    "default, 128 px, 32 images a GPU": (409_682, 0.9),
    "default, 128 px, 256 images a GPU": (409_682, 2.35),
    "resnet18, 128 px, 32 images a GPU": (11_177_538, 8.1),
    "resnet18, 128 px, 128 images a GPU": (11_177_538, 21.8),
}
# GB/s each way, and microseconds a message.
LINKS = {
    "one machine, through its memory": (10.0, 5.0),
    "100 Gb/s": (12.5, 10.0),
    "10 Gb/s": (1.25, 30.0),
}


def exchange(kind, processes, size, rate, latency):
    """Milliseconds until all have the sum of `size` bytes of each."""
    if processes == 1:
        return 0.0
    bytes_a_ms, latency = rate * 1e6, latency / 1e3
    if kind == "tree":
        return 2 * math.ceil(math.log2(processes)) * (size / bytes_a_ms + latency)
    # A ring waits for the latency of each message; so does a process that sends to all others, one after the other.
    return 2 * (processes - 1) * (size / processes / bytes_a_ms + latency)


def row(processes, weights, step, rate, latency, copy, kind="direct"):
    """Milliseconds of the exchange and of the step, and the share of n times one process's images a second."""
    size = 4 * weights
    copies = 2 * size / (copy * 1e6) if processes > 1 else 0.0
    sending = exchange(kind, processes, size, rate, latency)
    return sending, step + copies + sending, step / (step + copies + sending)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=int, help="trained numbers of the network, as `convscope summary` says")
    parser.add_argument("--step", type=float, help="milliseconds that a process takes for its part of the batch, without the exchange")
    parser.add_argument("--rate", type=float, default=12.5, help="GB/s that a process sends and receives (100 Gb/s are 12.5)")
    parser.add_argument("--latency", type=float, default=10.0, help="microseconds a message")
    parser.add_argument("--copy", type=float, default=5.0, help="GB/s between a device and its host")
    parser.add_argument("--processes", default="2,4,8,16,32,64")
    options = parser.parse_args()
    counts = [int(count) for count in options.processes.split(",")]
    if options.weights is not None and options.step is not None:
        print("processes  direct ms  ring ms  tree ms  step ms  of n times one process")
        for count in counts:
            link = (options.rate, options.latency)
            sending, whole, share = row(count, options.weights, options.step, *link, options.copy)
            ring, tree = (exchange(kind, count, 4 * options.weights, *link) for kind in ("ring", "tree"))
            print(f"{count:9}  {sending:9.2f}  {ring:7.2f}  {tree:7.2f}  {whole:7.2f}  {share:6.0%}")
        return
    print("| network | link | " + " | ".join(f"{count}" for count in counts) + " |")
    print("|---|---|" + "---|" * len(counts))
    for network, (weights, step) in NETWORKS.items():
        for link, (rate, latency) in LINKS.items():
            rows = [row(count, weights, step, rate, latency, options.copy) for count in counts]
            cells = [f"{sending:.1f} ms, {count * share:.1f}x" for count, (sending, _, share) in zip(counts, rows)]
            print(f"| {network} | {link} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
