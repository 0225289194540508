"""Small and thin matrix products beside numpy, in turns in one process for each tier and number of threads.

    python bench/products.py --json bench/results/lab/products.json
    python bench/products.py --report     # the table of docs/bench.md; --check only compares

Besides four shapes (M x N x K) all that numbers of SIDES make with less than 1 GFLOP, of which the geometric
mean is told. Results are new arrays each time, as whoever calls them has it. Least of the turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv._text import markdown, paragraph, update_page
from fastconv.lab.compare.engines import environment
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "products.json", ROOT / "docs" / "bench.md"
SHAPES = ((64, 64, 64), (100, 100, 10000), (64, 3136, 576), (1000, 1, 2048))
SIDES = (1, 8, 64, 100, 1000, 10000)
AROUND = tuple(shape for shape in itertools.product(SIDES, repeat=3) if 2 * math.prod(shape) < 1e9)


def per_call(function: Callable[[], object], calls: int) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def measure(shape: tuple[int, ...], seconds: float) -> dict[str, Any]:
    """Time a product of both in turns."""
    m, n, k = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    engines: dict[str, Callable[[], object]] = {
        "fastconv": lambda: fastconv.gemm(a, b),
        "numpy": lambda: a @ b,
    }
    calls = max(1, min(3000, int(seconds / 30 / max(per_call(engines["numpy"], 2), 1e-7))))
    best = dict.fromkeys(engines, math.inf)
    end = time.perf_counter() + seconds
    while best["numpy"] == math.inf or time.perf_counter() < end:
        for name, function in engines.items():
            best[name] = min(best[name], per_call(function, calls))
    return {"shape": shape, "us": {name: 1e6 * found for name, found in best.items()}}


def geomean(found: list[dict[str, Any]]) -> float:
    """Return the geometric mean of the ratios."""
    return math.exp(sum(math.log(one["us"]["numpy"] / one["us"]["fastconv"]) for one in found) / len(found))


def shown(microseconds: float) -> str:
    """Write a time with three digits, and no exponent."""
    return f"{microseconds:.0f}" if microseconds >= 100 else f"{microseconds:.3g}"


def table(record: dict[str, Any]) -> str:
    """A row for each tier and number of threads."""
    names = ["x".join(map(str, shape)) for shape in SHAPES]
    rows = [["tier", "threads", *names, f"all {len(AROUND)}"]]
    for run in record["runs"]:
        cells = (
            f"{shown(one['us']['fastconv'])} us, **{one['us']['numpy'] / one['us']['fastconv']:.2f}**"
            for one in run["shapes"]
        )
        rows.append([run["tier"], str(run["threads"]), *cells, f"**{geomean(run['around']):.2f}**"])
    about = f"{record['cpu']}; fastconv {record['version']}, numpy {record['numpy']};"
    about += f" {record['date']}, commit {record['git_sha']}."
    return f"{markdown(rows, left=1)}\n\n{paragraph(about)}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.report or args.check:
        return update_page(PAGE, "products", table(json.loads(RECORD.read_text())), check=not args.report)
    if args.worker:
        found = {"shapes": [measure(shape, 0.5) for shape in SHAPES]}
        found["around"] = [measure(shape, 0.05) for shape in AROUND]
        json.dump({"tier": fastconv._core.active_tier(), **found}, sys.stdout)
        return 0
    runs = []
    for isa, threads in itertools.product((None, "avx2"), (1, 2)):
        env = environment("numpy", threads, isa) | environment("fastconv", threads, isa)
        command = [sys.executable, __file__, "--worker"]
        output = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout
        runs.append({"threads": threads, **json.loads(output)})
        sys.stdout.write(f"{isa} {threads} {geomean(runs[-1]['shapes'])} {geomean(runs[-1]['around'])}\n")
    record = {**made_with(), "cpu": fastconv._core.cpu_info()["model"], "numpy": np.__version__, "runs": runs}
    if args.json:
        args.json.write_text(json.dumps(record) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
