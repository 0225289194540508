"""What zeros among the weights are worth: time against their share, and where sparse kernels break even."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._threads import threads as threads_of_process
from fastconv.conv import Conv2d
from fastconv.errors import ArgumentError
from fastconv.lab.compare.cases import Case, conv_arrays
from fastconv.lab.compare.suite import BenchError
from fastconv.lab.machine import Roof
from fastconv.lab.machine.setting import Setting, setting
from fastconv.lab.timing import in_turns, timer
from fastconv.testing.shapes import ConvLayer

Array = npt.NDArray[np.float32]

ZEROS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
PATTERNS = {"single": 1, "1x16": 16, "1x32": 32}  # output channels that are zeros together
DENSE = "dense"
# What others say: from where on XNNPACK takes its sparse kernels, and what whole networks of Elsen et al.,
# "Fast sparse ConvNets" (2020), gain at equal accuracy on the processor of a telephone.
XNNPACK_FROM = 2 / 3
ELSEN_GAINS = (1.3, 2.4)


def _layer(ic: int, oc: int, size: int, kernel: int = 1, stride: int = 1) -> ConvLayer:
    name = f"{ic}>{oc}@{size} k{kernel}" + (f" s{stride}" if stride > 1 else "")
    around = kernel // 2
    return ConvLayer(name, ic, oc, (size, size), (kernel, kernel), stride=stride, padding=(around,) * 4)


LAYERS = (
    _layer(128, 128, 56),
    _layer(512, 512, 14),
    _layer(256, 256, 28, 3, 2),
    _layer(256, 256, 14, 3),
)


@dataclass(frozen=True)
class SparseTimes:
    """A layer whose weights are zeros in part, in one pattern.

    Attributes
    ----------
    layer, pattern : str
        Which, and what is zero together: ``single`` weights, or blocks of 16 or 32 output channels.
    dense : str
        The algorithm of dense weights, Winograd's where it pays.
    dense_seconds : float
        Its fastest call.
    zeros : tuple of float
        The shares of zeros, rising.
    seconds : tuple of dict
        For each share the fastest call of each sparse algorithm that accepts.
    picks : tuple of str
        What "auto" takes for each.
    """

    layer: str
    pattern: str
    dense: str
    dense_seconds: float
    zeros: tuple[float, ...]
    seconds: tuple[dict[str, float], ...]
    picks: tuple[str, ...]

    @property
    def gains(self) -> tuple[float, ...]:
        """How many times as fast as the dense layer the better sparse algorithm is, for each share."""
        return tuple(self.dense_seconds / min(times.values()) for times in self.seconds)

    @property
    def break_even(self) -> float | None:
        """The share of zeros from which on a sparse algorithm is faster, or None where none of them is."""
        found = zip(itertools.pairwise(self.zeros), itertools.pairwise(self.gains), strict=True)
        for (low, high), (before, after) in found:
            if before < 1 <= after:
                return low + (high - low) * (1 - before) / (after - before)
        return self.zeros[0] if self.gains[0] >= 1 else None


@dataclass(frozen=True)
class SparseSweep:
    """Layers and patterns of zeros with the times of their algorithms."""

    setting: Setting
    layers: tuple[SparseTimes, ...]


def sweep_sparse(
    layers: Sequence[ConvLayer] = LAYERS,
    patterns: Sequence[str] = tuple(PATTERNS),
    zeros: Sequence[float] = ZEROS,
    *,
    threads: int = 1,
    rounds: int = 5,
    seconds: float = 0.005,
    roof: Roof | None = None,
) -> SparseSweep:
    """Time layers, NHWC with packed weights, whose weights are zeros at random, against the dense ones.

    Parameters
    ----------
    layers : sequence of ConvLayer
        Of two dimensions.
    patterns : sequence of {"single", "1x16", "1x32"}
        What is zero together.
    zeros : sequence of float
        Shares from 0 to below 1, rising.
    threads, rounds, seconds, roof
        As for :func:`~fastconv.sweep.staircase`.

    Returns
    -------
    SparseSweep
        The times of each.

    Raises
    ------
    ArgumentError
        Where a share or a pattern is none of these.
    BenchError
        If a sparse algorithm's result is not that of the dense product with the same weights, bit for bit.

    Examples
    --------
    >>> from fastconv.lab.sweeps.sparse import LAYERS, sweep_sparse
    >>> small = [LAYERS[1].resized(5, 5)]
    >>> found = sweep_sparse(small, ["1x32"], [0.0, 0.9], rounds=1, seconds=1e-5)
    >>> found.layers[0].picks[1]
    'sparse_panels'
    """
    if not layers or not zeros or list(zeros) != sorted(set(zeros)) or not 0 <= zeros[0] <= zeros[-1] < 1:
        raise ArgumentError("layers, zeros: expected layers, and rising shares from 0 to below 1")
    for pattern in patterns:
        if pattern not in PATTERNS:
            raise ArgumentError(f"patterns: expected among {', '.join(PATTERNS)}, got {pattern!r}")
    with threads_of_process(threads):
        roof = roof or Roof(threads)
        found = [
            _measured(layer, pattern, zeros, roof, rounds, seconds)
            for layer in layers
            for pattern in patterns
        ]
    return SparseSweep(setting(roof), tuple(found))


def masked(w: Array, pattern: str, zeros: float) -> Array:
    """Return weights a share of which is zeros at random, always the same ones.

    >>> masked(np.ones((32, 1, 1, 1), np.float32), "1x16", 0.5).reshape(2, 16).mean(1).tolist()
    [0.0, 1.0]
    """
    block = PATTERNS[pattern]
    shape = (-(-w.shape[0] // block), *w.shape[1:])
    rank = np.random.default_rng(7).permutation(int(np.prod(shape))).reshape(shape)
    kept = rank >= round(zeros * rank.size)
    return w * np.repeat(kept, block, 0)[: w.shape[0]].astype(np.float32)


def _measured(
    layer: ConvLayer, pattern: str, zeros: Sequence[float], roof: Roof, rounds: int, seconds: float
) -> SparseTimes:
    x, w, bias = conv_arrays(Case.of(layer))
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    options: dict[str, Any] = layer.kwargs

    def plan(w: Array, algorithm: str = "auto") -> Conv2d:
        return Conv2d(w, bias, **options, layout="NHWC", algorithm=algorithm)

    dense = plan(w)
    shape = dense.out_shape(x.shape)
    calls: dict[tuple[str, float], Callable[[], Any]] = {(DENSE, 0.0): _call(dense, x, shape)}
    picks = []
    for share in zeros:
        weights = masked(w, pattern, share)
        picks.append(_algorithm(plan(weights), x.shape))
        expected = plan(weights, "implicit")(x)
        for name in ("sparse_panels", "sparse_planes"):
            try:
                conv = plan(weights, name)
            except ArgumentError:  # more than one tap
                continue
            if not np.array_equal(conv(x), expected):
                raise BenchError(f"{layer.name}: {name}: expected the bits of the dense product, got others")
            calls[name, share] = _call(conv, x, shape)
    times = in_turns({key: timer(call) for key, call in calls.items()}, roof, rounds=rounds, seconds=seconds)
    by_share = tuple(
        {name: taken.min for (name, at), taken in times.items() if name != DENSE and at == share}
        for share in zeros
    )
    taken = times[DENSE, 0.0].min
    return SparseTimes(
        layer.name, pattern, _algorithm(dense, x.shape), taken, tuple(zeros), by_share, tuple(picks)
    )


def _call(conv: Conv2d, x: Array, shape: tuple[int, ...]) -> Callable[[], Any]:
    return partial(conv, x, out=np.empty(shape, np.float32))


def _algorithm(conv: Conv2d, shape: tuple[int, ...]) -> str:
    return conv.explain(shape).split()[1].rstrip(",")
