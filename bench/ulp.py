"""The largest error of each function of one value over all 2^32 floats, in units in the last place.

    nice python bench/ulp.py --json bench/results/lab/ulp-avx512.json      # every tier; 40 minutes
    nice python bench/ulp.py gelu exp --tiers avx2 --every 1001            # a look at a part
    nice python bench/ulp.py exp --peers                                   # torch and ONNX Runtime beside
    python bench/ulp.py --report                                           # the table of docs/numbers.md
    python bench/ulp.py --check                                            # whether it says what was measured

Exits with 1 where an error is above the bound that fastconv.testing.tolerance states, which tests hold a
dense part of the floats to.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _core
from fastconv._text import markdown, paragraph, update_page
from fastconv.lab.machine.setting import made_with
from fastconv.testing import reference
from fastconv.testing.tolerance import ULPS, ulp_error

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "bench" / "results" / "lab", ROOT / "docs" / "numbers.md"

# Parameters, and the smallest number whose units count (tolerance.ULPS says why).
PARAMETERS = {
    "leaky_relu": (0.1,), "hardsigmoid": (0.2, 0.5), "elu": (1.0,), "thresholded_relu": (1.5,),
    "affine": (0.3, 0.4), "scaled_tanh": (1.7, 0.6), "selu": (1.75, 1.05), "celu": (0.7,),
}  # fmt: skip
LEAST = {"hardsigmoid": 0.5, "affine": 0.4}
FUNCTIONS = [
    name for name in ULPS if name not in ("none", "clamp", "abs", "neg", "thresholded_relu")
]  # the others are exact

BLOCK = 2**15  # floats; what is computed of them in float64 stays in L2
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Worst:
    """What one implementation of a function did over all inputs; `ulps` is at most 0.5 where x is None."""

    function: str
    engine: str
    inputs: int = 0
    correctly_rounded: int = 0
    ulps: float = 0.5
    x: float | None = None
    got: float | None = None
    exact: float | None = None

    def take(self, x: Array, y: Array, exact: Array, rounded: Array) -> None:
        """Count a block of inputs; only results that are not rounded correctly have an error to work out."""
        others = np.flatnonzero(y != rounded)
        error = ulp_error(y[others], exact[others], LEAST.get(self.function, 0.0))
        self.inputs += x.size
        self.correctly_rounded += x.size - others.size + int(np.count_nonzero(error == 0))  # NaN for NaN
        if error.size == 0 or error.max() <= self.ulps:
            return
        worst = int(np.argmax(error))
        at = others[worst]
        self.ulps, self.exact = float(error[worst]), float(exact[at])
        self.x, self.got = float(x[at]), float(y[at])


def tier_engine(tier: str, function: str) -> Callable[[Array], Array]:
    """fastconv on a tier."""
    alpha, beta = (*PARAMETERS.get(function, ()), 0.0, 0.0)[:2]

    def run(x: Array) -> Array:
        y = np.empty_like(x)
        _core.set_active_tier(tier)
        _core.activate(x, y, function, alpha, beta)
        return y

    return run


def torch_engine(function: str) -> Callable[[Array], Array]:
    """The function of that name in torch, on one thread."""
    import torch

    torch.set_num_threads(1)
    own = getattr(torch, function, None) or getattr(torch.nn.functional, function)
    arguments = PARAMETERS.get(function, ()) if function != "hardsigmoid" else ()
    return lambda x: np.asarray(own(torch.from_numpy(x), *arguments).numpy())


ONNX = {
    "leaky_relu": "LeakyRelu", "sigmoid": "Sigmoid", "hardsigmoid": "HardSigmoid", "hardswish": "HardSwish",
    "gelu": "Gelu", "mish": "Mish", "tanh": "Tanh", "elu": "Elu", "exp": "Exp", "sqrt": "Sqrt",
}  # fmt: skip


def ort_engine(function: str) -> Callable[[Array], Array]:
    """The operator in ONNX Runtime, on one thread."""
    import onnx
    import onnxruntime

    names = ("alpha", "beta")[: len(PARAMETERS.get(function, ()))]
    attributes = dict(zip(names, PARAMETERS.get(function, ()), strict=True))
    floats = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in ("x", "y")]
    node = onnx.helper.make_node(ONNX[function], ["x"], ["y"], **attributes)
    graph = onnx.helper.make_graph([node], "function", floats[:1], floats[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: np.asarray(session.run(None, {"x": x})[0])


def blocks(every: int) -> Iterator[Array]:
    """Every float32 bit pattern, or each `every`-th of them."""
    step = BLOCK * every
    for begin in range(0, 2**32, step):
        yield np.arange(begin, min(begin + step, 2**32), every, np.uint64).astype(np.uint32).view(np.float32)


def measure(function: str, engines: dict[str, Callable[[Array], Array]], every: int) -> list[Worst]:
    """Hold all engines against the float64 reference, a block at a time."""
    worst = [Worst(function, name) for name in engines]
    # The parameters as the kernels have them, in float32.
    activation = (function, *(float(np.float32(p)) for p in PARAMETERS.get(function, ())))
    with np.errstate(all="ignore"):
        for x in blocks(every):
            exact = reference.activate(x, activation)
            rounded = exact.astype(np.float32)
            for one in worst:
                one.take(x, engines[one.engine](x), exact, rounded)
    return worst


def engines_of(function: str, tiers: Iterable[str], peers: bool) -> dict[str, Callable[[Array], Array]]:
    """The tiers, and the peers that have the function with the parameters of fastconv's."""
    engines = {tier: tier_engine(tier, function) for tier in tiers}
    if peers and function != "hardsigmoid":
        engines["torch"] = torch_engine(function)
    if peers and function in ONNX:
        engines["onnxruntime"] = ort_engine(function)
    return engines


def as_record(made: dict[str, Any], tiers: list[str], found: list[Worst]) -> dict[str, Any]:
    """What was measured, where, and with which versions."""
    peers = sorted({one.engine for one in found} - set(tiers))
    return {
        **made,
        "cpu": _core.cpu_info()["model"],
        "tiers": tiers,
        "packages": {"fastconv": fastconv.__version__, **{name: version(name) for name in peers}},
        "inputs": found[0].inputs,
        "worst": [asdict(one) for one in found],
    }


# ---- the page ------------------------------------------------------------------------------------------


def read_records(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """What was measured of all floats; files of one place and commit are one record."""
    records: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path in sorted(folder.glob("ulp*.json")):
        record = json.loads(path.read_text())
        key = record["cpu"], record["git_sha"], record["inputs"]
        known = records.setdefault(key, {**record, "worst": []})
        known["worst"] += record["worst"]
    return list(records.values())


def table(record: dict[str, Any]) -> str:
    """A row for each function: the stated bound, then the worst error of every implementation."""
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for one in record["worst"]:
        by_name.setdefault(one["function"], {})[one["engine"]] = one
    engines = list(dict.fromkeys(one["engine"] for one in record["worst"]))
    rows = [["function", "stated", *engines, "correctly rounded", "worst at x ="]]
    for name, found in by_name.items():
        tiers = [found[engine] for engine in engines if engine in record["tiers"] and engine in found]
        worst = max(tiers, key=lambda one: one["ulps"])
        share = min(one["correctly_rounded"] / one["inputs"] for one in tiers)
        cells = [f"{found[engine]['ulps']:.3g}" if engine in found else "" for engine in engines]
        at = "" if worst["x"] is None else f"{worst['x']:.9g}"
        rows.append([f"`{name}`", f"{ULPS[name]:g}", *cells, f"{100 * share:.2f} %", at])
    nth = round(2**32 / record["inputs"])
    about = (
        f"{'All 2^32 floats' if nth == 1 else f'Each {nth}th float'}; {record['cpu']}, "
        f"{', '.join(f'{name} {version}' for name, version in record['packages'].items())}; "
        f"{record['date']}, commit {record['git_sha']}."
    )
    return f"{markdown(rows)}\n\n{paragraph(about)}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help=f"of {', '.join(FUNCTIONS)}")
    parser.add_argument("--tiers", nargs="+", default=_core.tiers())
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th bit pattern alone")
    parser.add_argument("--peers", action="store_true", help="torch and ONNX Runtime too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true", help="write the table of docs/numbers.md")
    parser.add_argument("--check", action="store_true", help="only compare it with the results")
    args = parser.parse_args()
    if args.report or args.check:
        return update_page(PAGE, "ulp", "\n\n".join(map(table, read_records())), check=not args.report)

    fastconv.set_num_threads(1)
    made = made_with()  # now: the checkout may move on before the last function is done
    found: list[Worst] = []
    for function in args.functions or FUNCTIONS:
        for one in measure(function, engines_of(function, args.tiers, args.peers), args.every):
            where = "" if one.x is None else f"at {one.x!r}: {one.got!r} for {one.exact!r}, "
            share = 100 * one.correctly_rounded / one.inputs
            print(f"{function:12}{one.engine:12}{one.ulps:10.4g} ulp {where}{share:.3f} % rounded correctly")
            found.append(one)
        if args.json:  # after each function: a pass over all floats takes minutes
            args.json.write_text(json.dumps(as_record(made, args.tiers, found), indent=1) + "\n")
    return int(any(one.engine in args.tiers and one.ulps > ULPS[one.function] for one in found))


if __name__ == "__main__":
    sys.exit(main())
