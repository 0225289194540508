"""What weights of few values are worth by the clock: the large fully connected layers of VGG-16 and AlexNet.

    FASTCONV_ISA=avx2 python bench/codebook.py --json bench/results/lab/codebook-avx2.json
    python bench/codebook.py --json bench/results/lab/codebook-avx512.json
    python bench/codebook.py --report       # the tables of docs/compression.md; --check only compares

Each layer is the same product three times, in turns on one thread: by its weights in float32, by these
rounded to bf16 (``precision="bf16"``), and by the indices of 16 and 32 values. Weights are drawn at random,
for how fast a product is does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _core
from fastconv._text import markdown, paragraph, update_page
from fastconv.lab.machine.setting import made_with
from fastconv.lab.timing import timer

ROOT = Path(__file__).parents[1]
RECORDS = [ROOT / "bench" / "results" / "lab" / f"codebook-{tier}.json" for tier in ("avx2", "avx512")]
PAGE = ROOT / "docs" / "compression.md"
LAYERS = {"VGG-16 fc6": (25088, 4096), "AlexNet fc6": (9216, 4096)}
VALUES = (16, 32)
ROWS = (1, 4, 16, 64)
ROUNDS, SECONDS = 3, 0.03


def layer(w: np.ndarray, algorithm: str) -> _core.Conv:
    """Plan a fully connected layer of weights (outputs, inputs)."""
    return _core.Conv(
        w, None, spatial=0, stride=[], padding_lo=[], padding_hi=[], dilation=[], groups=1,
        auto_pad="explicit", transposed=False, output_padding=[], act="none", alpha=0.0, beta=0.0,
        precision="bf16" if algorithm == "bf16" else "fast", algorithm=algorithm,
    )  # fmt: skip


def measure(name: str, inputs: int, outputs: int) -> list[dict[str, Any]]:
    """Time a layer for several numbers of rows."""
    rng = np.random.default_rng(0)
    plans: dict[str, _core.Conv] = {}
    taken = {}
    for values in VALUES:
        table = rng.standard_normal(values, np.float32)
        w = table[rng.integers(0, values, (outputs, inputs), np.uint8)]
        taken[str(values)] = layer(w, "auto").algorithm((1, inputs)) == "codebook"
        plans[f"codebook {values}"] = layer(w, "codebook")
    plans |= {"f32": layer(w, "implicit"), "bf16": layer(w, "bf16")}
    found = []
    for rows in ROWS:
        x, y = rng.standard_normal((rows, inputs), np.float32), np.empty((rows, outputs), np.float32)
        timers = {key: timer(lambda plan=plan: plan.run(x, y)) for key, plan in plans.items()}  # noqa: B023
        times = {key: min(timers[key](SECONDS).min for _ in range(ROUNDS)) for key in plans}
        found.append({"layer": name, "rows": rows, "seconds": times, "taken": taken})
        sys.stdout.write(f"{found[-1]}\n")
    sizes = {key: plan.packed_bytes for key, plan in plans.items()}
    return [{**one, "bytes": sizes} for one in found]


def table(record: dict[str, Any]) -> str:
    """A row for each layer and number of rows; a footnote says what "auto" does not take."""
    head = ["layer", "rows", "f32 ms", "bf16 ms"]
    for values in VALUES:
        head += [f"{values} values, ms", "times as fast as f32", "as bf16"]
    rows = [head]
    for case in record["cases"]:
        times = case["seconds"]
        cells = [case["layer"], str(case["rows"]), *(f"{1e3 * times[key]:.2f}" for key in ("f32", "bf16"))]
        for values in VALUES:
            own = times[f"codebook {values}"]
            cells += [f"{1e3 * own:.2f}", *(f"{times[key] / own:.2f}" for key in ("f32", "bf16"))]
        rows.append(cells)
    first = record["cases"][0]
    left = [str(values) for values in VALUES if not first["taken"][str(values)]]
    size = {key: n / 2**20 for key, n in first["bytes"].items()}
    text = f"{first['layer']} takes {size['f32']:.0f} MiB in f32, {size['bf16']:.0f} in bf16, " + ", ".join(
        f"{size[f'codebook {values}']:.0f} with {values} values" for values in VALUES
    )
    text += f". A plan of this tier does not look up {' or '.join(left)} values." if left else "."
    made = (
        f"{record['cpu']}, tier {record['tier']}, one thread; fastconv {record['version']}; {record['date']},"
        f" commit {record['git_sha']}."
    )
    return "\n\n".join((markdown(rows, left=1), paragraph(text), paragraph(made)))


def main() -> int:
    """Measure, or write the tables, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true", help=f"write the tables of {PAGE.name}")
    parser.add_argument("--check", action="store_true", help="say whether the tables are the records'")
    args = parser.parse_args()
    if args.report or args.check:
        text = "\n\n".join(table(json.loads(path.read_text())) for path in RECORDS)
        return update_page(PAGE, "codebook", text, check=args.check)
    with fastconv.threads(1):
        cases = [case for name, size in LAYERS.items() for case in measure(name, *size)]
    record = {**made_with(), "cpu": _core.cpu_info()["model"], "tier": _core.active_tier(), "cases": cases}
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
