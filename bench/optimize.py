"""Whether `fastconv optimize` is faster than the best of a network in floats, in bf16 and in 8 bits.

    python bench/optimize.py --json bench/results/lab/optimize.json
    python bench/optimize.py --report         # the table of docs/quantize.md; --check only compares them

Crops of packaged photos stand for the data, as in bench/quantize.py. The networks take turns, on one thread,
at one sample. Of those of one kind the fastest that keeps to the budget is what the optimised one is held
against. The smaller budget is for networks that lose more than it in 8 bits. Weights of `efficientnet_lite0`
are trained ones, the others' are random numbers, which lose about as much as trained ones in 8 bits.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastconv
from fastconv import Model, _core, models
from fastconv._text import markdown, paragraph, update_page
from fastconv.compress import optimize, quantize
from fastconv.compress.agreement import Loss
from fastconv.graph.ir import Graph
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from quantize import crops, lite  # noqa: E402

from compress import times_in_turns  # noqa: E402

RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "optimize.json", ROOT / "docs" / "quantize.md"
BUDGETS, SIZE = (0.01, 0.001), 224
SAMPLES = {"mobilenet_v2": 32, "resnet50": 16, "efficientnet_lite0": 32}  # fewer of what takes long
KINDS = "f32", "bf16", "int8"


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
    """Optimise a network for each budget, and time it beside itself in floats, in bf16 and in 8 bits."""
    graph, x = NETWORKS[name](), lite(crops(SAMPLES[name], 1, SIZE))
    found: dict[str, Any] = {}
    times: dict[str, Any] | None = None
    with fastconv.threads(1):
        plain, narrow = Model(graph), Model(graph, precision="bf16")
        in_bytes = quantize(graph, x, check=x[:1]).model()
        known = [plain, narrow, in_bytes]
        loss = Loss(), Loss()
        for row in (x[i : i + 1] for i in range(len(x))):
            for lost, model in zip(loss, known[1:], strict=True):
                lost.add([plain(row)], [model(row)])
        losses = 0.0, *(lost.worst for lost in loss)
        for budget in BUDGETS if losses[-1] > BUDGETS[-1] else BUDGETS[:1]:
            best = optimize(graph, x, budget=budget, times=times)
            times = best.times
            ms = times_in_turns(*known, best.model(), x=x[:1])
            found[f"{budget:g}"] = {
                "ms": dict(zip((*KINDS, "optimised"), ms, strict=True)),
                "loss": dict(zip((*KINDS, "optimised"), (*losses, best.chosen.loss), strict=True)),
                "in_8_bits": best.chosen.in_bytes, "in_bf16": best.chosen.in_bf16, "layers": len(best.layers),
            }  # fmt: skip
            sys.stdout.write(f"{name} {budget:g} {found[f'{budget:g}']}\n")
            sys.stdout.flush()
    return found


def _best(found: dict[str, Any], budget: float) -> float:
    """Return the milliseconds of the fastest network of one kind that keeps to a budget."""
    return min(found["ms"][kind] for kind in KINDS if found["loss"][kind] <= budget)


def table(record: dict[str, Any]) -> str:
    """A row for each network and budget."""
    head = ["network", "budget", *(f"{kind}, ms" for kind in KINDS), "bf16, loss", "int8, loss"]
    rows = [[*head, "optimised, ms", "loss", "layers in 8 bits", "in bf16", "times the best"]]
    for name, budgets in record["networks"].items():
        for budget, found in budgets.items():
            ms, loss = found["ms"], found["loss"]
            rows.append([
                name, f"{float(budget):.2%}", *(f"{ms[kind]:.2f}" for kind in KINDS),
                f"{loss['bf16']:.4%}", f"{loss['int8']:.4%}",
                f"{ms['optimised']:.2f}", f"{loss['optimised']:.4%}",
                f"{found['in_8_bits']} of {found['layers']}", str(found["in_bf16"]),
                f"{_best(found, float(budget)) / ms['optimised']:.2f}",
            ])  # fmt: skip
    about = (
        f"{record['cpu']}, tier {record['tier']}, one thread; fastconv {record['version']}, {record['date']},"
        f" commit {record['git_sha']}."
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
        known = json.loads(args.json.read_text()) if args.json.exists() else {}
        if known.get("git_sha") == record["git_sha"]:  # one network after the other, into one record
            record["networks"] = known["networks"] | record["networks"]
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
