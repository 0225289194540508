"""What denormal numbers cost: the time of a layer on denormal inputs over its time on normal ones.

    python bench/denormals.py --json bench/results/lab/denormals-avx512.json
    python bench/denormals.py --report          # the table of docs/numbers.md; --check only compares it

Kernels never flush denormals to zero, whatever mode their caller is in: results are those of IEEE 754. Both
inputs take turns on one thread; the fastest call of each counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _core
from fastconv._text import markdown, paragraph, update_page
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "bench" / "results" / "lab", ROOT / "docs" / "numbers.md"
Array = np.ndarray[Any, np.dtype[Any]]

TINY = np.float32(2.0**-140)  # times normal numbers of a few units: denormal, with a few bits


def layers() -> dict[str, tuple[Callable[[Array], Array], Array]]:
    """One of each kind, and normal numbers to run it on."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32)

    def conv(x_shape: tuple[int, ...], w_shape: tuple[int, ...], **keywords: Any) -> Any:
        return fastconv.Conv2d(draw(*w_shape), layout="NHWC", **keywords), draw(*x_shape)

    square = draw(128, 128)
    return {
        "1x1, 64 to 64 channels at 56 px": conv((1, 56, 56, 64), (64, 64, 1, 1)),
        "3x3, 64 to 64 at 28 px": conv((1, 28, 28, 64), (64, 64, 3, 3), padding=1, algorithm="implicit"),
        "the same by Winograd": conv((1, 28, 28, 64), (64, 64, 3, 3), padding=1, algorithm="winograd_f4"),
        "depthwise 3x3, 128 at 28 px": conv((1, 28, 28, 128), (128, 1, 3, 3), padding=1, groups=128),
        "matrix product, 128 x 128 x 128": (lambda x: fastconv.matmul(x, square), draw(128, 128)),
        "silu, 64 Ki": (fastconv.silu, draw(65536)),
        "gelu, 64 Ki": (fastconv.gelu, draw(65536)),
        "mean of 3x3, 64 at 28 px": (
            lambda x: fastconv.avg_pool2d(x, 3, stride=1, layout="NHWC"), draw(1, 28, 28, 64)
        ),
    }  # fmt: skip


def ratio(run: Callable[[Array], Array], x: Array, rounds: int) -> float:
    """The fastest of `rounds` calls on denormals over the fastest on normal numbers."""
    best = [np.inf, np.inf]
    inputs = (x, x * TINY)
    for _ in range(rounds):
        for i, values in enumerate(inputs):
            start = time.perf_counter()
            run(values)
            best[i] = min(best[i], time.perf_counter() - start)
    return best[1] / best[0]


def table(record: dict[str, Any]) -> str:
    """A row for each kind of layer, a column for each tier."""
    rows = [["denormal inputs: time over that of normal ones", *record["tiers"]]]
    rows += [[name, *(f"{r:.2f}" for r in by_tier.values())] for name, by_tier in record["ratios"].items()]
    about = (
        f"{record['cpu']}, one thread, fastest of {record['rounds']} calls in turns; "
        f"fastconv {record['version']}, {record['date']}, commit {record['git_sha']}."
    )
    return f"{markdown(rows)}\n\n{paragraph(about)}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.report or args.check:
        records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("denormals*.json"))]
        return update_page(PAGE, "denormals", "\n\n".join(map(table, records)), check=not args.report)
    fastconv.set_num_threads(1)
    ratios: dict[str, dict[str, float]] = {}
    for tier in _core.tiers():
        _core.set_active_tier(tier)
        for name, (run, x) in layers().items():
            ratios.setdefault(name, {})[tier] = ratio(run, x, args.rounds)
            print(f"{tier:8} {name:34} {ratios[name][tier]:.2f}", flush=True)
    if args.json:
        record = {
            **made_with(), "cpu": _core.cpu_info()["model"], "tiers": _core.tiers(), "rounds": args.rounds,
            "ratios": ratios,
        }  # fmt: skip
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
