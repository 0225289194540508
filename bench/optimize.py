"""Whether `fastconv optimize` is faster than the better of a network in floats and one all of 8 bits.

    python bench/optimize.py --json bench/results/lab/optimize.json
    python bench/optimize.py --report         # the table of docs/quantize.md; --check only compares them

Crops of packaged photos stand for the data, as in bench/quantize.py. The three networks take turns, on one
thread, at one sample. Weights of `efficientnet_lite0` are trained ones, the others' are random numbers, which
lose about as much as trained ones in 8 bits.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastconv
from fastconv import _core, models
from fastconv._text import markdown, paragraph, update_page
from fastconv.compress import optimize, quantize
from fastconv.graph.ir import Graph
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from quantize import crops, lite  # noqa: E402

from compress import times_alone  # noqa: E402

RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "optimize.json", ROOT / "docs" / "quantize.md"
BUDGET, SAMPLES, SIZE = 0.01, 32, 224


def _seeded(name: str) -> Callable[[], Graph]:
    architecture = models.MODELS[name]
    return lambda: architecture.graph(architecture.random_weights())


def _lite0() -> Graph:
    return models.MODELS["efficientnet_lite0"].graph(models.efficientnet_lite0_weights())


NETWORKS = {
    "mobilenet_v2": _seeded("mobilenet_v2"),
    "resnet50": _seeded("resnet50"),
    "efficientnet_lite0": _lite0,
}


def measure(name: str) -> dict[str, Any]:
    """Optimise a network, and time it beside itself in floats and in 8 bits."""
    graph, x = NETWORKS[name](), lite(crops(SAMPLES, 1, SIZE))
    with fastconv.threads(1):
        best = optimize(graph, x, budget=BUDGET)
        bytes_alone = quantize(graph, x, check=x[:1])
    ms = times_alone(graph, bytes_alone.graph, best.graph, x=x[:1])
    snr = min(output.snr for output in bytes_alone.report.outputs)
    found = {
        "ms": list(ms), "loss": [10 ** (-snr / 10), best.chosen.loss],
        "in_8_bits": best.chosen.in_bytes, "layers": len(best.layers),
    }  # fmt: skip
    sys.stdout.write(
        f"{name:20} ms {ms[0]:.2f} f32, {ms[1]:.2f} u8, {ms[2]:.2f} optimised; loss {found['loss'][0]:.2%},"
        f" {found['loss'][1]:.2%}; {found['in_8_bits']} of {found['layers']} layers in 8 bits\n"
    )
    sys.stdout.flush()
    return found


def table(record: dict[str, Any]) -> str:
    """A row for each network."""
    head = ["network", "f32, ms", "8 bits, ms", "loss", "optimised, ms", "loss", "layers in 8 bits"]
    rows = [[*head, "times the better"]]
    for name, found in record["networks"].items():
        (floats, whole, ours), (lost, loss) = found["ms"], found["loss"]
        rows.append([
            name, f"{floats:.2f}", f"{whole:.2f}", f"{lost:.2%}", f"{ours:.2f}", f"{loss:.2%}",
            f"{found['in_8_bits']} of {found['layers']}", f"{min(floats, whole) / ours:.2f}",
        ])  # fmt: skip
    about = (
        f"{record['cpu']}, tier {record['tier']}, one thread, a budget of {BUDGET:.0%};"
        f" fastconv {record['version']}, {record['date']}, commit {record['git_sha']}."
    )
    return "\n\n".join((markdown(rows, left=1), paragraph(about)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"some of {', '.join(NETWORKS)}")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if unknown := set(args.networks) - set(NETWORKS):
        parser.error(f"networks: expected some of {', '.join(NETWORKS)}, got {', '.join(sorted(unknown))}")
    if args.report or args.check:
        return update_page(PAGE, "optimize", table(json.loads(RECORD.read_text())), check=not args.report)
    record = made_with() | {"cpu": _core.cpu_info()["model"], "tier": _core.active_tier()}
    record["networks"] = {name: measure(name) for name in args.networks or NETWORKS}
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
