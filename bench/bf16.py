"""What precision="bf16" is worth: classic networks at batch 1 with it and without, and layers by tier.

    python bench/bf16.py --json bench/results/lab/bf16.json
    python bench/bf16.py --report         # the tables of docs/numbers.md; --check only compares them

Calls of both kinds are made in turns, and the fastest of each counts. Weights and inputs are random and
seeded. The error is that of the network's results against those of "exact", relative to their root mean
square.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _core, models
from fastconv._text import counted, markdown, paragraph, update_page
from fastconv.lab.machine.setting import made_with
from fastconv.roofline import dtypes, peak_fma

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from compress import times_in_turns  # noqa: E402

RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "bf16.json", ROOT / "docs" / "numbers.md"
NETWORKS = ("resnet50", "vgg16", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_lite0")
THREADS = (1, 2)


def measure(name: str, tier: str) -> dict[str, Any]:
    """Time a network in f32 and in bf16 on a tier, and compare their results."""
    _core.set_active_tier(tier)
    architecture = models.MODELS[name]
    graph = architecture.graph(architecture.random_weights())
    made = {p: fastconv.Model(graph, precision=p) for p in ("fast", "bf16")}
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    exact = fastconv.Model(graph, precision="exact")(x)
    rms = float(np.sqrt(np.mean((made["bf16"](x) - exact) ** 2) / np.mean(exact**2)))
    steps = made["bf16"].program(x.shape).steps
    layers = [step.algorithm for step in steps if step.is_convolution]
    found: dict[str, Any] = {"error": rms, "layers": len(layers), "bf16": layers.count("bf16"), "ms": {}}
    for threads in THREADS:
        with fastconv.threads(threads):
            ms = times_in_turns(*made.values(), x=x)
        found["ms"][str(threads)] = dict(zip(made, ms, strict=True))
    sys.stdout.write(f"{name} {tier}: {found}\n")
    sys.stdout.flush()
    return found


def peaks(tier: str) -> dict[str, float]:
    """Return the measured peaks of one thread, in GFLOP/s."""
    return {name: peak_fma(tier, 1, dtype=name).gflops for name in ("f32", "bf16") if name in dtypes(tier)}


def table(record: dict[str, Any]) -> str:
    """A row for each network, tier and number of threads."""
    head = ["network", "tier", "threads", "f32, ms", "bf16, ms", "f32 / bf16", "layers of bf16", "error"]
    rows = [head]
    for tier, networks in record["networks"].items():
        for name, found in networks.items():
            for threads, ms in found["ms"].items():
                gain = ms["fast"] / ms["bf16"]
                times = (f"{ms['fast']:.1f}", f"{ms['bf16']:.1f}", f"{gain:.2f}")
                layers = f"{found['bf16']} of {found['layers']}"
                rows.append([name, f"`{tier}`", threads, *times, layers, f"{found['error']:.1e}"])
    told = [
        f"{tier}: {' and '.join(f'{rate:.0f} GFLOP/s of {name}' for name, rate in rates.items())}"
        for tier, rates in record["peaks"].items()
    ]
    about = (
        f"{record['cpu']}, batch 1, fastest of the calls made in turns; peaks of one thread,"
        f" {'; '.join(told)}. fastconv {record['version']}, {record['date']}, commit {record['git_sha']}."
    )
    return "\n\n".join((markdown(rows, left=2), paragraph(about)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"default: {', '.join(NETWORKS)}")
    parser.add_argument("--tiers", default="avx512,avx2", help="default: avx512,avx2")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.report or args.check:
        text = table(json.loads(RECORD.read_text()))
        return update_page(PAGE, "bf16", text, check=not args.report)
    tiers = [tier for tier in args.tiers.split(",") if tier in _core.tiers()]
    record = {
        "networks": {
            tier: {name: measure(name, tier) for name in args.networks or NETWORKS} for tier in tiers
        },
        "peaks": {tier: peaks(tier) for tier in tiers},
        "cpu": _core.cpu_info()["model"],
        **made_with(),
    }
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(f"{counted(len(tiers), 'tier')} measured\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
