"""What removing channels is worth by the clock: each network before and after, in turns, on one thread.

    python bench/compress.py --json bench/results/lab/compress.json
    python bench/compress.py --report         # the table of docs/compression.md; --check only compares them

Of each network 30 % of the sets of channels, drawn at random, are zeros: all filters that write them, their
biases and the batch normalisations behind them. ``shrink`` has to find them. The small networks are those of
`tests/small_networks.py`. Then ResNet-50 is pruned to half its multiplications by ``prune``, to multiples of
channels that fill a vector register.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import models
from fastconv._text import markdown, paragraph, update_page
from fastconv.compress import prune, shrink
from fastconv.compress.channels import traced
from fastconv.compress.mask import masked
from fastconv.compress.shrink import PASSES
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph
from fastconv.graph.passes import run_passes
from fastconv.lab.machine.setting import made_with
from fastconv.timing import time_calls

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import small_networks  # noqa: E402

RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "compress.json", ROOT / "docs" / "compression.md"
ZEROS = 0.3  # of the sets of channels
ROUNDS, SECONDS = 7, 0.12  # turns of each network, and their length


def _zoo(name: str) -> Callable[[], Graph]:
    architecture = getattr(models, name)
    return lambda: architecture.graph(architecture.random_weights())


NETWORKS: dict[str, tuple[Callable[[], Graph], int]] = {
    "resnet50": (_zoo("resnet50"), 224),
    "mobilenet_v2": (_zoo("mobilenet_v2"), 224),
    "mobilenet_v3_large": (_zoo("mobilenet_v3_large"), 224),
    "shufflenet_v2_x1_0": (_zoo("shufflenet_v2_x1_0"), 224),
    "squeezenet1_1": (_zoo("squeezenet1_1"), 224),
    "inception_v3": (_zoo("inception_v3"), 299),
    "small DenseNet": (small_networks.densenet, 128),
    "small U-Net": (small_networks.unet, 128),
    "small YOLO": (small_networks.yolo, 64),
}


def times_in_turns(*networks: fastconv.Model, x: np.ndarray[Any, Any]) -> tuple[float, ...]:
    """Return the milliseconds of the fastest call of each network, on the threads that are set."""
    best = [math.inf] * len(networks)
    for _ in range(ROUNDS):
        for i, model in enumerate(networks):
            best[i] = min(best[i], time_calls(lambda m=model: m(x), SECONDS).min)
    return tuple(1e3 * seconds for seconds in best)


def times_alone(*graphs: Graph, x: np.ndarray[Any, Any]) -> tuple[float, ...]:
    """Return the same of graphs, on one thread."""
    with fastconv.threads(1):
        return times_in_turns(*map(fastconv.Model, graphs), x=x)


def measure(name: str) -> dict[str, Any]:
    """Zero channels of a network, shrink it, and time both."""
    define, size = NETWORKS[name]
    shape = (1, 3, size, size)
    trace = traced(run_passes(define(), PASSES), [shape])
    written = {n for output in trace.layers for n in trace.channels[output].sets.tolist()}
    free = sorted(written - trace.frozen.keys())
    gone = np.random.default_rng(0).choice(free, int(ZEROS * len(free)), replace=False)
    graph = masked(trace, gone.tolist())
    result = shrink(graph, shapes=[shape])
    possible = 0.0
    for output, layer in trace.layers.items():
        given = trace.channels.get(layer.node.inputs[0])
        inputs = 1 if given is None or layer.depthwise else 1 - np.isin(given.sets, gone).mean()
        possible += layer.macs * (1 - inputs * (1 - np.isin(trace.channels[output].sets, gone).mean()))
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        for g in (graph, result.graph):
            to_file(g, Path(folder) / "net.onnx")
            sizes.append((Path(folder) / "net.onnx").stat().st_size)
    x = np.random.default_rng(1).standard_normal(shape, np.float32)
    before, after = times_alone(graph, result.graph, x=x)
    macs = result.report.macs
    found = {
        "size": size, "macs": list(macs), "possible": possible, "bytes": sizes, "ms": [before, after],
        "difference": result.report.difference,
    }  # fmt: skip
    sys.stdout.write(
        f"{name:20} MACs {macs[1] / macs[0]:.3f}  of those possible {(macs[0] - macs[1]) / possible:.3f}"
        f"  ms {before:.2f} > {after:.2f}  time saved / MACs saved"
        f" {(1 - after / before) / (1 - macs[1] / macs[0]):.2f}\n"
    )
    sys.stdout.flush()
    return found


def measure_pruned(name: str, keep: float) -> dict[str, Any]:
    """Prune a network, and time both."""
    define, size = NETWORKS[name]
    graph = define()
    result = prune(graph, keep)
    x = np.random.default_rng(1).standard_normal((1, 3, size, size), np.float32)
    before, after = times_alone(graph, result.graph, x=x)
    macs = result.report.macs
    sys.stdout.write(f"{name:20} pruned: MACs {macs[1] / macs[0]:.3f}  {before / after:.2f} times as fast\n")
    return {"macs": list(macs), "ms": [before, after]}


def table(record: dict[str, Any]) -> str:
    """A row for each network."""
    head = ["network", "million MACs", "of those that could go", "MiB", "ms", "time saved / MACs saved"]
    rows = [[*head, "results differ by"]]
    for name, found in record["networks"].items():
        (macs, fewer), (size, smaller), (ms, now) = found["macs"], found["bytes"], found["ms"]
        saved = (1 - now / ms) / (1 - fewer / macs)
        share = (macs - fewer) / found["possible"]
        rows.append([
            name, f"{macs / 1e6:.1f} > {fewer / 1e6:.1f}", f"{100 * share:.1f} %",
            f"{size / 2**20:.2f} > {smaller / 2**20:.2f}", f"{ms:.2f} > {now:.2f}", f"{saved:.2f}",
            f"{found['difference']:.0e}",
        ])  # fmt: skip
    (macs, fewer), (ms, now) = (record["pruned"]["resnet50"][key] for key in ("macs", "ms"))
    pruned = (
        f"Pruned to {100 * fewer / macs:.1f} % of its multiply-accumulates, resnet50 takes {now:.2f} ms where"
        f" it took {ms:.2f}: it is {ms / now:.2f} times as fast."
    )
    made = f"fastconv {record['version']}; {record['date']}, commit {record['git_sha']}."
    return f"{markdown(rows)}\n\n{paragraph(pruned)}\n\n{paragraph(made)}"


def main() -> int:
    """Measure, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--json", type=Path, help="write a record of what was measured")
    parser.add_argument("--report", action="store_true", help=f"write the table of {PAGE.name}")
    parser.add_argument("--check", action="store_true", help="say whether the table is the record's")
    args = parser.parse_args()
    if args.report or args.check:
        return update_page(PAGE, "compress", table(json.loads(RECORD.read_text())), check=args.check)
    networks = {name: measure(name) for name in args.networks}
    if args.json:
        pruned = {"resnet50": measure_pruned("resnet50", 0.5)}
        record = {**made_with(), "networks": networks, "pruned": pruned}
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
