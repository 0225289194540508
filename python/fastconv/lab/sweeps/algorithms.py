"""Which algorithm wins where: all that accept a layer, over image sizes and channels, or over a table."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fastconv._threads import threads as threads_of_process
from fastconv.errors import ArgumentError
from fastconv.lab.compare.cases import Case
from fastconv.lab.compare.layer_work import executed_macs
from fastconv.lab.machine import Roof
from fastconv.lab.machine.setting import Setting, setting
from fastconv.lab.sweeps.picks import judge
from fastconv.testing.shapes import ConvLayer

SIZES = (7, 14, 28, 56, 112)
CHANNELS = (16, 32, 64, 128, 256, 512)
DEPTHWISE = 0  # as a number of groups: one channel each
TOLERANCE = 5.0  # percent: what lags more is timed again, longer


@dataclass(frozen=True)
class LayerTimes:
    """One layer: what "auto" takes for it, and the time and rates of every algorithm that accepts it.

    Attributes
    ----------
    name : str
        The layer's.
    size, channels : int
        Side of the image in pixels, and output channels.
    pick : str
        The algorithm of "auto".
    milliseconds : dict of str to float
        The fastest call of each algorithm.
    gflops, executed : dict of str to float
        Rates of useful work, which Winograd may have above the peak, and of the products really done.
    """

    name: str
    size: int
    channels: int
    pick: str
    milliseconds: dict[str, float]
    gflops: dict[str, float]
    executed: dict[str, float]

    @property
    def best(self) -> str:
        """The fastest algorithm."""
        return min(self.milliseconds, key=lambda name: self.milliseconds[name])

    @property
    def lag(self) -> float:
        """By what fraction the pick is slower than the best."""
        return self.milliseconds[self.pick] / self.milliseconds[self.best] - 1


@dataclass(frozen=True)
class AlgorithmMap:
    """Layers with the times of their algorithms.

    Attributes
    ----------
    setting : Setting
        The machine and its measured FMA peak.
    title : str
        What the layers have in common.
    layers : tuple of LayerTimes
        In the order in which they were asked for.
    """

    setting: Setting
    title: str
    layers: tuple[LayerTimes, ...]

    @property
    def is_grid(self) -> bool:
        """Whether there is a layer for each pair of a size and a number of channels, and no other."""
        pairs = {(layer.size, layer.channels) for layer in self.layers}
        rows, columns = ({pair[i] for pair in pairs} for i in (0, 1))
        return len(self.layers) == len(pairs) == len(rows) * len(columns)

    def wins(self) -> Counter[str]:
        """Count the layers that each algorithm is the fastest for."""
        return Counter(layer.best for layer in self.layers)


def square_layers(
    sizes: Iterable[int] = SIZES, channels: Iterable[int] = CHANNELS, *, kernel: int = 3, groups: int = 1
) -> list[ConvLayer]:
    """Return a layer for each size and number of channels, as many out as in, padded to keep the size.

    Raises
    ------
    ArgumentError
        If the groups do not divide the channels, or a number is not positive.

    Examples
    --------
    >>> [layer.name for layer in square_layers([14], [32, 64])]
    ['32>32@14 k3', '64>64@14 k3']
    """
    layers = []
    for size, count in itertools.product(sizes, channels):
        parts = count if groups == DEPTHWISE else groups
        if min(size, count, kernel, parts) < 1:
            raise ArgumentError(f"layers: expected positive numbers, got {size}, {count}, {kernel}, {groups}")
        if count % parts:
            raise ArgumentError(f"groups: expected a divisor of {count} channels, got {parts}")
        low, high = kernel // 2, (kernel - 1) // 2
        name = f"{count}>{count}@{size} k{kernel}" + (f" g{parts}" if parts > 1 else "")
        layers.append(
            ConvLayer(
                name,
                count,
                count,
                (size, size),
                (kernel, kernel),
                padding=(low, low, high, high),
                groups=parts,
            )
        )
    return layers


def sweep_algorithms(
    layers: Sequence[ConvLayer],
    *,
    title: str = "",
    threads: int = 1,
    rounds: int = 4,
    seconds: float = 0.005,
    roof: Roof | None = None,
    done: Callable[[LayerTimes], None] = lambda _: None,
) -> AlgorithmMap:
    """Time every algorithm that accepts each of some layers, NHWC with packed weights, in turns.

    Parameters
    ----------
    layers : sequence of ConvLayer
        Such as :func:`square_layers` returns, or those of a benchmark's table.
    title : str
        What they have in common, for pictures.
    threads, rounds, seconds, roof
        As for :func:`~fastconv.sweep.staircase`. A layer whose pick seems to lag by more than 5 % is timed
        again, four times as long.
    done : callable
        Gets each layer's times as soon as they are there.

    Returns
    -------
    AlgorithmMap
        The layers' times.

    Raises
    ------
    RoofError
        If an algorithm does its products faster than the measured FMA peak.

    Examples
    --------
    >>> from fastconv.sweep import square_layers, sweep_algorithms
    >>> found = sweep_algorithms(square_layers([7], [16]), rounds=1, seconds=1e-5)
    >>> found.layers[0].pick in found.layers[0].milliseconds
    True
    """
    if not layers:
        raise ArgumentError("layers: expected at least one, got none")
    results = []
    with threads_of_process(threads):
        roof = roof or Roof(threads)
        for layer in layers:
            roof.raise_to(0.005)
            timed = judge(Case.of(layer), TOLERANCE, rounds, seconds)
            executed = {name: 2e-6 * executed_macs(layer, name) / ms for name, ms in timed.times.items()}
            for name, rate in executed.items():
                roof.hold(f"{layer.name}: {name}", rate)
            useful = {name: 2e-6 * layer.macs / ms for name, ms in timed.times.items()}
            results.append(
                LayerTimes(layer.name, layer.size[0], layer.oc, timed.pick, timed.times, useful, executed)
            )
            done(results[-1])
    return AlgorithmMap(setting(roof), title, tuple(results))
