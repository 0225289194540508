"""How near products of 8-bit integers come to the peak of the instructions that they are made of.

And how long single convolutions take, by each algorithm that accepts, beside the same layer in f32.

    python bench/integers.py --json bench/results/lab/integers-avx2.json
    python bench/integers.py --report         # the tables of docs/kernels.md; --check only compares them

One thread; products are steps of a network, 1x1 convolutions. Peak, products and the f32 product of the same
shape take turns; the fastest call of each counts. The weights are of four kinds, of which a tier without VNNI
needs more for each: ``safe`` ones, scaled so that no pair of neighbours saturates; ``long-tailed`` ones, the
largest of each column 127 and the others far below, as trained ones are; ``normal`` ones, whose largest is
127 too; ``any`` numbers of 8 bits.
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
from fastconv._text import markdown, update_page
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "bench" / "results" / "lab", ROOT / "docs" / "kernels.md"
Array = np.ndarray[Any, np.dtype[Any]]
# Channels in and out, size of the image, of the kernel, stride, groups.
LAYERS = {
    "64 to 64 at 56 px, 3x3": (64, 64, 56, 3, 1, 1),
    "128 to 128 at 28 px, 3x3": (128, 128, 28, 3, 1, 1),
    "256 to 256 at 14 px, 3x3": (256, 256, 14, 3, 1, 1),
    "512 to 512 at 7 px, 3x3": (512, 512, 7, 3, 1, 1),
    "128 to 128 at 56 px, 3x3, stride 2": (128, 128, 56, 3, 2, 1),
    "3 to 64 at 224 px, 7x7, stride 2": (3, 64, 224, 7, 2, 1),
    "256 to 256 at 28 px, 3x3, 32 groups": (256, 256, 28, 3, 1, 32),
    "depthwise 144 at 56 px, 3x3": (144, 144, 56, 3, 1, 144),
    "depthwise 144 at 56 px, 3x3, stride 2": (144, 144, 56, 3, 2, 144),
    "depthwise 240 at 28 px, 5x5": (240, 240, 28, 5, 1, 240),
    "depthwise 960 at 7 px, 3x3": (960, 960, 7, 3, 1, 960),
}
# m, n, k: a square, and the 1x1 convolutions of ResNet-50, pixels by channels out by channels in.
SHAPES = [
    (1024, 1024, 1024), (3136, 64, 64), (3136, 256, 64), (3136, 64, 256), (3136, 128, 256), (784, 512, 128),
    (784, 128, 512), (784, 256, 512), (196, 1024, 256), (196, 256, 1024), (196, 512, 1024), (49, 2048, 512),
    (49, 512, 2048),
]  # fmt: skip


KINDS = ("safe", "long-tailed", "normal", "any")


def weights(kind: str, k: int, n: int) -> Array:
    """Return weights of a kind, s8."""
    rng = np.random.default_rng(0)
    if kind == "any":
        return rng.integers(-128, 128, (k, n)).astype(np.int8)
    w = rng.normal(size=(k, n)) if kind == "normal" else rng.laplace(size=(k, n))
    largest = np.abs(w).max(axis=0) / 127
    if kind == "safe":  # rounding adds a half to each of two
        pairs = np.abs(w[0::2] + w[1::2]).max(axis=0) / 127
        largest = np.maximum(largest, pairs)
    return np.rint(w / largest).astype(np.int8)


def fastest(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the seconds of each call's fastest of many, all in turns."""
    best = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(shape: tuple[int, int, int], rounds: int) -> dict[str, float]:
    """Return GMAC/s of a 1x1 convolution by kind of weights and result, of f32, and of the peak meanwhile."""
    m, n, k = shape
    image = np.random.default_rng(1).integers(0, 256, (1, 1, m, k)).astype(np.uint8)
    sums, bytes_ = (np.empty((1, 1, m, n), dtype) for dtype in (np.int32, np.uint8))
    tier = _core.active_tier()
    calls: dict[str, Callable[[], object]] = {}
    for kind in KINDS:
        w = np.ascontiguousarray(weights(kind, k, n).T).reshape(n, k, 1, 1)
        calls[f"{kind}, s32"] = integer_step(image, w, sums)[0]
        calls[f"{kind}, u8"] = integer_step(image, w, bytes_)[0]
    calls["f32"] = float_step(image, w, sums.view(np.float32))[0]
    peaks = []
    best = dict.fromkeys(calls, np.inf)
    for _ in range(max(1, rounds // 10)):
        peaks += _core.peak(tier, "int8", 1, 0.002)
        best = {name: min(t, best[name]) for name, t in fastest(calls, 10).items()}
    rates = {name: m * n * k / t / 1e9 for name, t in best.items()}
    return rates | {"peak": max(peaks) / 2}


def geometry(k: int, stride: int, groups: int) -> dict[str, Any]:
    """Return what the constructors of convolutions take, of a square kernel of odd size."""
    return {
        "spatial": 2, "stride": [stride] * 2, "padding_lo": [k // 2] * 2, "padding_hi": [k // 2] * 2,
        "dilation": [1, 1], "groups": groups, "auto_pad": "explicit", "transposed": False,
        "output_padding": [0, 0],
    }  # fmt: skip


def integer_step(
    x: Array, w: Array, y: Array, algorithm: str = "auto", stride: int = 1, groups: int = 1
) -> tuple[Callable[[], object], str]:
    """Return a call of a convolution of bytes, as a step of a network is, and its algorithm."""
    oc, _, k, _ = w.shape
    scale = None if y.dtype == np.int32 else np.full(oc, 1e-3, np.float32)
    conv = _core.IntegerConv(
        w, None, w_zero=np.zeros(1, np.int32), x_signed=False, x_zero=0, out=y.dtype, scale=scale,
        shift=None, low=0.0, high=255.0, zero=0, algorithm=algorithm, **geometry(k, stride, groups),
    )  # fmt: skip
    bound = _core.PlannedIntegerConv(conv, view(x), view(y), 1)
    return planned(x, y, bound, "integer_conv"), conv.algorithm(view(x)[0])


def float_step(
    x: Array, w: Array, y: Array, stride: int = 1, groups: int = 1
) -> tuple[Callable[[], object], str]:
    """Return a call of the same convolution in f32, and its algorithm."""
    conv = _core.Conv(
        w.astype(np.float32), None, act="none", alpha=0.0, beta=0.0, precision="fast", algorithm="auto",
        **geometry(w.shape[-1], stride, groups),
    )  # fmt: skip
    x = x.astype(np.float32)
    bound = _core.PlannedConv(conv, view(x), None, view(y), 1)
    return planned(x, y, bound, "conv"), conv.algorithm(view(x)[0])


def planned(x: Array, y: Array, bound: Any, kind: str) -> Callable[[], object]:
    """Return a call of one step of a program, on images of channels last."""
    program = _core.Program(_core.ArenaPool(), bound.workspace, [x.nbytes], [y.nbytes])

    def operand(slot: int, array: Array) -> Any:
        return slot, 0, *view(array)

    workspace = (0, 0, (bound.workspace,), (1,), np.dtype(np.uint8))
    getattr(program, kind)(operand(1, x), None, operand(2, y), bound, workspace)
    return lambda: program.run([x], [y])


def view(array: Array) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
    """Return shape, strides and dtype of an image of channels last, in the logical order."""
    n, height, width, channels = array.shape
    strides = height * width * channels, 1, width * channels, channels
    return (n, channels, height, width), strides, array.dtype


def measure_layer(layer: tuple[int, int, int, int, int, int], rounds: int) -> dict[str, Any]:
    """Return the milliseconds of each algorithm on u8, the one that is taken, and those of f32."""
    ic, oc, size, k, stride, groups = layer
    w = np.ascontiguousarray(weights("long-tailed", ic // groups * k * k, oc).T).reshape(oc, -1, k, k)
    x = np.random.default_rng(3).integers(0, 256, (1, size, size, ic)).astype(np.uint8)
    result = (1, -(-size // stride), -(-size // stride), oc)
    y, y32 = np.empty(result, np.uint8), np.empty(result, np.float32)
    calls: dict[str, Callable[[], object]] = {}
    _, taken = integer_step(x, w, y, "auto", stride, groups)
    for name in _core.integer_algorithms():
        try:
            calls[name], _ = integer_step(x, w, y, name, stride, groups)
        except fastconv.ArgumentError:  # it does not accept
            continue
    calls["f32"], f32 = float_step(x, w, y32, stride, groups)
    best = fastest(calls, rounds)
    return {"taken": taken, "f32": f32, "ms": {n: 1e3 * t for n, t in best.items()}}


def layer_table(record: dict[str, Any]) -> str:
    """A row for each layer: what is taken and its time, f32's beside it, and what else there is."""
    rows = [["layer", "of u8", "ms", "of f32", "ms", "times f32", "others, ms"]]
    for name, found in record["layers"].items():
        times, taken = found["ms"], found["taken"]
        others = [f"{n} {t:.3f}" for n, t in times.items() if n not in (taken, "f32")]
        ratio = f"{times['f32'] / times[taken]:.2f}"
        rows.append(
            [
                name,
                taken,
                f"{times[taken]:.3f}",
                found["f32"],
                f"{times['f32']:.3f}",
                ratio,
                ", ".join(others),
            ]
        )
    return markdown(rows, left=2)


def table(record: dict[str, Any]) -> str:
    """A row for each shape: shares of the peak by kind of weights, and times the f32 product's speed."""
    kinds = ["safe, s32", *(f"{kind}, u8" for kind in KINDS)]
    rows = [["m x n x k", "GMAC/s", *kinds, "times f32"]]
    for name, rates in record["rates"].items():
        # Of the peak in the same turns: the clock of a shared machine is not the same throughout.
        shares = [f"{100 * rates[kind] / rates['peak']:.0f} %" for kind in kinds]
        times = f"{rates['safe, u8'] / rates['f32']:.2f}"
        rows.append([name, f"{rates['safe, u8']:.1f}", *shares, times])
    peak = f"peak {record['peak']:.1f} GMAC/s"
    where = f"{record['cpu']}, {record['tier']}, one thread, {peak};"
    return (
        f"{markdown(rows)}\n\n{layer_table(record)}\n\n{where}\n"
        f"fastconv {record['version']}, {record['date']}, commit {record['git_sha']}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.report or args.check:
        records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("integers*.json"))]
        return update_page(PAGE, "integers", "\n\n".join(map(table, records)), check=not args.report)
    fastconv.set_num_threads(1)
    rates = {}
    for shape in SHAPES:
        name = "x".join(map(str, shape))
        rates[name] = measure(shape, args.rounds)
        print(name, *(f"{key} {value:.1f}" for key, value in rates[name].items()), sep="  ", flush=True)
    layers = {}
    for name, layer in LAYERS.items():
        layers[name] = measure_layer(layer, args.rounds)
        print(name, layers[name], flush=True)
    record = {
        **made_with(), "cpu": _core.cpu_info()["model"], "tier": _core.active_tier(), "rounds": args.rounds,
        "peak": max(r["peak"] for r in rates.values()), "rates": rates,
        "layers": layers,
    }  # fmt: skip
    print(table(record))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
