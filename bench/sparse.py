"""What zeros among the weights are worth by the clock: ResNet-50's layers, and MobileNet V1 as a whole.

    python bench/sparse.py --json bench/results/lab/sparse.json
    python bench/sparse.py --report         # the tables of docs/compression.md; --check only compares them

Layers of ResNet-50 that are no work for Winograd have blocks of zeros, those of the width that the tier's
kernel takes, drawn at random, and are compared with their own dense forms, NHWC on one thread in turns. In
MobileNet V1 `sparsify` makes single zeros of the weights of its 1x1 layers. How fast either is does not
depend on the weights that are left, which are random.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _core, models
from fastconv._text import markdown, paragraph, update_page
from fastconv.compress import sparsify
from fastconv.lab.machine import Roof
from fastconv.lab.machine.setting import made_with
from fastconv.lab.sweeps import sweep_sparse
from fastconv.testing.shapes import CONV_TABLES

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from compress import times_in_turns  # noqa: E402

RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "sparse.json", ROOT / "docs" / "compression.md"
TIERS = {"avx2": "1x16", "avx512": "1x32"}  # what its kernel takes
BLOCK_ZEROS, SINGLE_ZEROS = 0.6, 0.9


def measure_layers(pattern: str) -> list[dict[str, Any]]:
    """Time the layers of ResNet-50 that multiply channels directly."""
    layers = [
        layer
        for layer in CONV_TABLES["resnet50"]
        if layer.ic >= 16 and (layer.kernel == (1, 1) or layer.stride != 1)
    ]
    found = sweep_sparse(layers, [pattern], [BLOCK_ZEROS], rounds=5, seconds=0.01, roof=Roof(1))
    return [
        {"layer": one.layer, "dense": one.dense_seconds, "sparse": one.seconds[0]["sparse_panels"]}
        for one in found.layers
    ]


def measure_network() -> dict[str, Any]:
    """Time MobileNet V1 with and without zeros."""
    architecture = models.mobilenet_v1
    graph = architecture.graph(architecture.random_weights())
    result = sparsify(graph, SINGLE_ZEROS)
    x = np.random.default_rng(1).standard_normal((1, 3, 224, 224), np.float32)
    runs = [fastconv.Model(graph), result.model()]
    with fastconv.threads(1):
        ms = times_in_turns(*runs, x=x)
        sparse = runs[1].explain(x.shape).count("sparse_")
    return {"ms": list(ms), "zeros": result.zeros, "sparse_layers": sparse}


def table(record: dict[str, Any]) -> str:
    """A row for each layer, their mean, and the network."""
    parts = []
    for tier, found in record["tiers"].items():
        rows = [["layer", "dense ms", f"{BLOCK_ZEROS:.0%} zeros, {TIERS[tier]}, ms", "times as fast"]]
        gains = []
        for one in found["layers"]:
            gains.append(one["dense"] / one["sparse"])
            rows.append(
                [
                    one["layer"],
                    f"{1e3 * one['dense']:.3f}",
                    f"{1e3 * one['sparse']:.3f}",
                    f"{gains[-1]:.2f}",
                ]
            )
        mean = math.exp(sum(map(math.log, gains)) / len(gains))
        network = found["mobilenet_v1"]
        before, after = network["ms"]
        text = (
            f"Tier {tier}: the geometric mean is {mean:.2f}. MobileNet V1 with {SINGLE_ZEROS:.0%} of the"
            f" weights of its 1x1 layers and its classifier zeros takes {after:.2f} ms where it took"
            f" {before:.2f}: it is {before / after:.2f} times as fast, {network['sparse_layers']} of its"
            " layers by a sparse kernel."
        )
        parts.append(f"{markdown(rows)}\n\n{paragraph(text)}")
    made = (
        f"{record['cpu']}, one thread; fastconv {record['version']}; {record['date']},"
        f" commit {record['git_sha']}."
    )
    return "\n\n".join([*parts, paragraph(made)])


def main() -> int:
    """Measure, or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write a record of what was measured")
    parser.add_argument("--report", action="store_true", help=f"write the tables of {PAGE.name}")
    parser.add_argument("--check", action="store_true", help="say whether the tables are the record's")
    args = parser.parse_args()
    if args.report or args.check:
        return update_page(PAGE, "sparse", table(json.loads(RECORD.read_text())), check=args.check)
    tiers = {}
    for tier, pattern in TIERS.items():
        if tier in _core.tiers():
            _core.set_active_tier(tier)
            tiers[tier] = {"layers": measure_layers(pattern), "mobilenet_v1": measure_network()}
    record = {**made_with(), "cpu": _core.cpu_info()["model"], "tiers": tiers}
    sys.stdout.write(table(record) + "\n")
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
