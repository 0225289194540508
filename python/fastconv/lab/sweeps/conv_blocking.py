"""Block sizes of convolutions: how much of one is done together, around what each plan decides for itself.

``csrc/conv`` cuts a convolution for the caches, each algorithm in its way:

============================  =======================================================================
``implicit``                  pixels, whose part of A stays in L2 while all panels of B pass
``winograd_f4``, ``_f2``      tiles of the image, whose transforms and products stay in L2
``planar``                    pixels of the packed planes in L2, and output channels that pass over them
``depthwise``, ``direct``     columns of the ring of input rows in L1, and channels that share it
============================  =======================================================================
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._threads import threads as threads_of_process
from fastconv.conv import plan
from fastconv.errors import ArgumentError
from fastconv.lab.compare.cases import Case, conv_arrays
from fastconv.lab.compare.layer_work import executed_macs
from fastconv.lab.compare.suite import BenchError
from fastconv.lab.machine import Roof
from fastconv.lab.machine.setting import Setting, setting
from fastconv.lab.sweeps.blocking import size_axis
from fastconv.lab.sweeps.picks import REPEAT
from fastconv.lab.timing import in_turns, timer
from fastconv.testing.shapes import ConvLayer
from fastconv.tuning import channels_last

SUSPICIOUS = 0.05  # loss of the shipped sizes: what lags more is timed again, longer


@dataclass(frozen=True)
class Choice:
    """One choice of block sizes, its fastest call, and by what fraction of the best time it is slower."""

    sizes: tuple[int, ...]
    seconds: float
    median: float
    gflops: float
    loss: float


@dataclass(frozen=True)
class LayerBlocks:
    """A layer in blocks of several sizes.

    Attributes
    ----------
    name, algorithm : str
        The layer's, and the one that "auto" takes for it.
    layout : str
        ``NHWC``, or ``NCHW`` for ``planar``.
    names : tuple of str
        What each size counts.
    shipped : tuple of int
        The plan's own sizes.
    choices : tuple of Choice
        Every combination.
    """

    name: str
    algorithm: str
    layout: str
    names: tuple[str, ...]
    shipped: tuple[int, ...]
    choices: tuple[Choice, ...]

    @property
    def best(self) -> Choice:
        """The fastest."""
        return min(self.choices, key=lambda c: c.seconds)

    @property
    def worst(self) -> Choice:
        """The slowest."""
        return max(self.choices, key=lambda c: c.seconds)

    @property
    def loss(self) -> float:
        """By what fraction the plan's own sizes are slower than the best."""
        return self.at(self.shipped).loss

    def at(self, sizes: tuple[int, ...]) -> Choice:
        """Return the choice of those sizes."""
        return next(c for c in self.choices if c.sizes == sizes)

    def described(self, sizes: tuple[int, ...]) -> str:
        """Write sizes with their names."""
        return " x ".join(f"{size} {name}" for size, name in zip(sizes, self.names, strict=True))


@dataclass(frozen=True)
class ConvBlocking:
    """Layers in blocks of several sizes.

    Attributes
    ----------
    setting : Setting
        The machine and its measured FMA peak.
    title : str
        What the layers have in common.
    layers : tuple of LayerBlocks
        Those that have sizes to choose, in the order in which they were asked for.
    """

    setting: Setting
    title: str
    layers: tuple[LayerBlocks, ...]


def sweep_conv_blocking(
    layers: Sequence[ConvLayer],
    *,
    title: str = "",
    threads: int = 1,
    rounds: int = 4,
    seconds: float = 0.005,
    roof: Roof | None = None,
    done: Callable[[LayerBlocks], None] = lambda _: None,
) -> ConvBlocking:
    """Time layers in blocks of sizes around those that their plans decide for, in turns.

    Each as pixels of channels (NHWC), by the algorithm that "auto" takes; where "auto" takes ``planar`` for
    planes (NCHW), those too. Weights are packed before. Every result is compared with that of the plan's own
    sizes, bit by bit.

    Parameters
    ----------
    layers : sequence of ConvLayer
        Such as :func:`~fastconv.sweep.square_layers` returns, or those of a benchmark's table.
    title : str
        What they have in common, for pictures.
    threads, rounds, seconds, roof
        As for :func:`~fastconv.sweep.staircase`. A layer whose own sizes seem to lose more than 5 % is timed
        again, four times as long.
    done : callable
        Gets each layer's times as soon as they are there.

    Returns
    -------
    ConvBlocking
        The layers' times; those with but one choice are left out.

    Raises
    ------
    BenchError
        If sizes change a bit of a result.
    RoofError
        If products are done faster than the measured FMA peak.

    Examples
    --------
    >>> from fastconv.sweep import square_layers, sweep_conv_blocking
    >>> found = sweep_conv_blocking(square_layers([14], [16], kernel=1), rounds=1, seconds=1e-5)
    >>> layer = found.layers[0]
    >>> layer.algorithm, layer.names, layer.loss >= layer.best.loss == 0
    ('implicit', ('pixels',), True)
    """
    if not layers:
        raise ArgumentError("layers: expected at least one, got none")
    results = []
    with threads_of_process(threads):
        roof = roof or Roof(threads)
        for layer in layers:
            for planar in (False, True):
                found = _sweep_layer(layer, planar, roof, rounds, seconds)
                if found is not None:
                    results.append(found)
                    done(found)
    return ConvBlocking(setting(roof), title, tuple(results))


def _sweep_layer(
    layer: ConvLayer, planar: bool, roof: Roof, rounds: int, seconds: float
) -> LayerBlocks | None:
    """Time a layer in every combination of sizes; None where there is nothing to choose."""
    x, w, bias = conv_arrays(Case.of(layer))
    options: dict[str, Any] = {
        **{"spatial": layer.spatial, "transposed": layer.transposed, "activation": None},
        **layer.kwargs,
    }
    conv = plan(w, bias, algorithm="auto", planar=planar, **options)
    algorithm = conv.algorithm(x.shape)
    if planar != (algorithm == "planar"):
        return None  # as planes, but reordered to pixels: the same as these
    y = np.empty(conv.out_shape(x.shape), np.float32)
    if not planar:
        x, y = channels_last(x), channels_last(y)
    own = _core.BlockedConv(conv, x, y)
    axes = [size_axis([size, most], size, step, most) for _, size, step, most in own.blocks]
    sizes = list(itertools.product(*axes))
    if len(sizes) < 2:
        return None
    own.run()
    wanted, calls = y.copy(), {}
    for each in sizes:
        blocked = _core.BlockedConv(conv, x, y, each)
        y.fill(np.nan)
        blocked.run()
        if not np.array_equal(y, wanted):
            raise BenchError(f"{layer.name}: expected the same bits in blocks of {each}, got others")
        calls[each] = blocked.run
    timers = {each: timer(call) for each, call in calls.items()}
    times = in_turns(timers, roof, rounds=rounds, seconds=seconds)
    shipped = tuple(size for _, size, *_ in own.blocks)
    best = min(t.min for t in times.values())
    if times[shipped].min > (1 + SUSPICIOUS) * best:
        longer = in_turns(timers, roof, rounds=REPEAT * rounds, seconds=seconds)
        times = {each: min(t, longer[each], key=lambda t: t.min) for each, t in times.items()}
        best = min(t.min for t in times.values())
    flops, choices = 2 * executed_macs(layer, algorithm), []
    for each, t in times.items():
        rate = flops / t.min * 1e-9
        roof.hold(f"{layer.name}: {algorithm} in blocks of {each}", rate)
        choices.append(Choice(each, t.min, t.median, rate, t.min / best - 1))
    return LayerBlocks(
        layer.name,
        algorithm,
        "NCHW" if planar else "NHWC",
        tuple(name for name, *_ in own.blocks),
        shipped,
        tuple(choices),
    )
