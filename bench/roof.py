"""How much of the machine's roof whole networks reach: the least time of their layers over the measured one.

    python bench/roof.py --json bench/results/lab/roof-avx512.json
    python bench/roof.py --report         # the tables of docs/lab.md; --check only compares them

Each network is a file as for `fastconv bench model`, profiled as by `fastconv profile`, at batch 1. On a
shared machine there are minutes in which two threads have little more than one core: all networks are gone
through several times, and the fastest profile of each counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _core
from fastconv._text import markdown, paragraph, update_page
from fastconv.lab.compare.cases import Case
from fastconv.lab.compare.network_names import available_networks
from fastconv.lab.compare.networks import written
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "bench" / "results" / "lab", ROOT / "docs" / "lab.md"
THREADS = (1, 2)


def measure(name: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Profile a network on each number of threads."""
    case = written(Case("model", name, {"model": name, "batch": 1}), folder)
    files = Path(case.parameters["folder"])
    model, x = fastconv.load(files / "model.onnx"), np.load(files / "x.npy")
    found = {}
    for threads in THREADS:
        made = fastconv.profile(model, x, threads=threads, seconds=seconds)
        worst = max(made.layers, key=lambda layer: layer.lost_ms)
        found[str(threads)] = {
            "share": made.totals["share"],
            "ms": made.totals["ms"],
            "worst": f"{worst.op}, {shape(worst.input)} to {shape(worst.output)}",
            "lost_ms": worst.lost_ms,
        }
    shares = ", ".join(f"{one['share']:.1%}" for one in found.values())
    sys.stdout.write(f"{name}: {shares}\n")
    sys.stdout.flush()
    return found


def faster(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Of two measurements of a network the faster one, for each number of threads."""
    return {threads: min(one[threads], other[threads], key=lambda found: found["ms"]) for threads in one}


def shape(sizes: tuple[int, ...] | list[int]) -> str:
    """Write channels and pixels.

    >>> shape((1, 3, 224, 224))
    '3x224x224'
    """
    return "x".join(map(str, sizes[1:]))


def table(record: dict[str, Any]) -> str:
    """A row for each network."""
    head = ["network"]
    for threads in THREADS:
        head += [f"{threads} thread{'s' * (threads > 1)}: ms", "of the roof", "ms that one layer loses"]
    rows = [[*head, "which, on one thread"]]
    for name, found in record["networks"].items():
        row = [name]
        for threads in THREADS:
            one = found[str(threads)]
            row += [f"{one['ms']:.3g}", f"**{one['share']:.0%}**", f"{one['lost_ms']:.2g}"]
        rows.append([*row, found["1"]["worst"]])
    about = (
        f"{record['cpu']}, tier {record['tier']}, batch 1, the fastest of all runs of each layer; fastconv"
        f" {record['version']}, {record['date']}, commit {record['git_sha']}."
    )
    return "\n\n".join((markdown(rows), paragraph(about)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="default: all that are here")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each profile (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="profiles of each, minutes apart (default: 3)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.report or args.check:
        records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("roof-*.json"))]
        return update_page(PAGE, "roof", "\n\n".join(map(table, records)), check=not args.report)
    networks: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for name in args.networks or available_networks():
                found = measure(name, args.seconds, Path(folder))
                networks[name] = faster(networks.get(name, found), found)
    record = {
        "networks": networks,
        "tier": _core.active_tier(),
        "cpu": _core.cpu_info()["model"],
        **made_with(),
    }
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
