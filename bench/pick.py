"""Does "auto" pick the fastest algorithm? Times each one on every layer that it accepts, and marks the pick.

    python bench/pick.py resnet50 mobilenet_v2 --threads 1
    python bench/pick.py all --assert      # exits with 1 when a pick is more than 5 % slower than the best

The algorithms run in turns in this process, on NHWC with packed weights, as a network runs them. A layer
whose pick seems to lose is timed again, four times as long, and the better of the two ratios counts.
"""

from __future__ import annotations

import argparse
import sys

import fastconv
from fastconv._progress import track
from fastconv.bench import find_cases
from fastconv.cli import arguments
from fastconv.lab.sweeps.picks import judge


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="tables of `fastconv bench conv --list`, layers or 'all'")
    parser.add_argument("--threads", type=arguments.positive_int, default=1)
    parser.add_argument("--rounds", type=arguments.positive_int, default=4)
    parser.add_argument("--seconds", type=arguments.positive_float, default=0.005, help="length of a turn")
    parser.add_argument("--tolerance", type=float, default=5.0, metavar="PERCENT", help="lag that is none")
    parser.add_argument("--assert", action="store_true", dest="fail", help="exit with 1 if a pick lags")
    args = parser.parse_args()

    fastconv.set_num_threads(args.threads)
    lagging = []
    cases = find_cases("conv", args.names)
    for case in track(cases, "picks"):
        timed = judge(case, args.tolerance, args.rounds, args.seconds)
        print(f"{case.name:30} {timed}", flush=True)
        if timed.lag > args.tolerance:
            lagging.append(f"{case.name:30} {timed}")
    print(f"\n{len(lagging)} of {len(cases)} picks lose more than {args.tolerance:g} %", *lagging, sep="\n")
    return int(args.fail and bool(lagging))


if __name__ == "__main__":
    sys.exit(main())
