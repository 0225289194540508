"""``PYTHONPATH=tests python -m adversarial --count 1000000``: try mutants, print what came of them."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from adversarial.fuzz import Report, fuzz
from adversarial.mutants import mutant


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where a mutant did what none may do."""
    parser = argparse.ArgumentParser(prog="python -m adversarial", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="number of mutants (10000)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (1)")
    parser.add_argument(
        "--corpus", choices=("light", "nodes"), default="light", help="whole networks, or tests of operators"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the mutants that failed here")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    told = 0

    def progress(report: Report) -> None:
        nonlocal told
        for failure in report.failures[told:]:
            print(f"seed {failure.seed}: {failure.what}", file=sys.stderr)
            if options.keep is not None:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{failure.seed}.onnx").write_bytes(mutant(failure.seed, options.corpus))
        told = len(report.failures)

    report = fuzz(options.seed, options.count, options.jobs, options.corpus, progress)
    took = time.perf_counter() - start
    print(f"{report.count} mutants in {took:.0f} s, {len(report.failures)} failures")
    for end, number in report.ends.most_common():
        print(f"{number:9d}  {end}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
