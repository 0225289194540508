"""Does "auto" pick the fastest algorithm? Times each one on every layer that it accepts, and marks the pick.

    python bench/pick.py resnet50 mobilenet_v2 --threads 1
    python bench/pick.py --check 5        # exits with 1 when a pick is more than 5 % slower than the best

The algorithms run in turns in this process, on NHWC with packed weights, as a network runs them.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import fastconv
from fastconv.bench import Case, find_cases
from fastconv.bench.cases import conv_arrays
from fastconv.bench.timing import time_calls

SLOW = "reference"  # the specification, not a candidate


def time_layer(case: Case, rounds: int, seconds: float) -> tuple[str, dict[str, float]]:
    """The algorithm that "auto" takes, and the best time in milliseconds of each that accepts the layer."""
    layer = case.layer
    x, w, bias = conv_arrays(case)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    y = np.empty((1, layer.oh, layer.ow, layer.oc), np.float32)
    convs = {}
    for name in fastconv.algorithms():
        if name == SLOW:
            continue
        try:
            convs[name] = fastconv.Conv2d(w, bias, layout="NHWC", algorithm=name, **layer.kwargs)
        except fastconv.ArgumentError:  # rejected, with a reason that explain() shows
            continue
    times = dict.fromkeys(convs, float("inf"))
    for _ in range(rounds):
        for name, conv in convs.items():
            best = time_calls(lambda conv=conv: conv(x, out=y), seconds).min
            times[name] = min(times[name], 1e3 * best)
    return fastconv.Conv2d(w, bias, layout="NHWC", **layer.kwargs).algorithm_for(x.shape), times


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="tables of fastconv.testing.shapes or single layers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=0.01, help="length of a turn")
    parser.add_argument("--check", type=float, metavar="PERCENT", help="tolerated lag of a pick")
    args = parser.parse_args()

    fastconv.set_num_threads(args.threads)
    worst = 0.0
    for case in find_cases("conv", args.names):
        pick, times = time_layer(case, args.rounds, args.seconds)
        lag = 100 * (times[pick] / min(times.values()) - 1)
        worst = max(worst, lag)
        cells = [f"{'*' if name == pick else ''}{name} {ms:.3f}" for name, ms in times.items()]
        print(f"{case.name:28} {lag:5.1f} %  {'  '.join(cells)} ms", flush=True)
    return int(args.check is not None and worst > args.check)


if __name__ == "__main__":
    sys.exit(main())
