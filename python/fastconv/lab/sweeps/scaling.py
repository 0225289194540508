"""How time grows: with threads (speedup and efficiency), and with the size of the work (fitted exponents)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastconv import _core
from fastconv._text import counted
from fastconv._threads import threads as threads_of_process
from fastconv.errors import ArgumentError
from fastconv.lab.machine import Roof
from fastconv.lab.machine.setting import Setting, setting
from fastconv.lab.sweeps.algorithms import square_layers
from fastconv.lab.sweeps.work import Work, prepare
from fastconv.lab.timing import in_turns, timer
from fastconv.testing.shapes import ConvLayer, GemmShape
from fastconv.timing import CallTimes

DEFAULT_WORK: tuple[Work, ...] = (
    GemmShape(128, 128, 128),
    GemmShape(512, 512, 512),
    GemmShape(1024, 1024, 1024),
    *square_layers([56], [64]),
    *square_layers([14], [256]),
    *square_layers([7], [512]),
    *square_layers([56], [144], groups=0),
)


@dataclass(frozen=True)
class Speedup:
    """One product or layer on a number of threads; speedup and efficiency are against one thread."""

    name: str
    threads: int
    seconds: float
    gflops: float
    speedup: float
    efficiency: float


@dataclass(frozen=True)
class ThreadSweep:
    """Work on 1 to T threads.

    Attributes
    ----------
    setting : Setting
        The machine, with the peak of the most threads.
    peaks : dict of str to float
        The measured peak in GFLOP/s, of FMAs or of products of bytes, by number of threads: what the cores
        themselves gain.
    points : tuple of Speedup
        By work, then by threads.
    dtype : str
        ``f32`` or ``int8``.
    """

    setting: Setting
    peaks: dict[str, float]
    points: tuple[Speedup, ...]
    dtype: str = "f32"


@dataclass(frozen=True)
class Scaling:
    """The time of one kind of work against one of its sizes.

    Attributes
    ----------
    name, variable : str
        What grows, and in which size.
    sizes : tuple of int
        The sizes, rising.
    seconds : tuple of float
        The fastest call of each.
    working_set : tuple of int
        Bytes of all operands at each size.
    exponent, work_exponent : float
        The slope of log time, and of log multiply-adds, against log size: a straight line through all sizes.
    crossings : dict of str to float
        For ``"l1d"``, ``"l2"`` and ``"l3"`` the size at which the operands fill it, where that is within the
        range.
    """

    name: str
    variable: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    working_set: tuple[int, ...]
    exponent: float
    work_exponent: float
    crossings: dict[str, float]


@dataclass(frozen=True)
class SizeSweep:
    """Several kinds of work against their sizes."""

    setting: Setting
    series: tuple[Scaling, ...]
    dtype: str = "f32"


def sweep_threads(
    work: Sequence[Work] = DEFAULT_WORK,
    counts: Iterable[int] | None = None,
    *,
    dtype: str = "f32",
    rounds: int = 5,
    seconds: float = 0.02,
) -> ThreadSweep:
    """Time products and layers on several numbers of threads, in turns.

    Parameters
    ----------
    work : sequence of GemmShape or ConvLayer
        What to time.
    counts : iterable of int, optional
        Numbers of threads; 1 to ``fastconv.get_num_threads()`` when omitted. One thread is always among them.
    dtype : {"f32", "int8"}
        Of the numbers: floats, or 8 bits (:func:`fastconv.qgemm`, :func:`fastconv.qconv2d`).
    rounds, seconds
        As for :func:`~fastconv.sweep.staircase`.

    Returns
    -------
    ThreadSweep
        Times, speedups and efficiencies.

    Raises
    ------
    RoofError
        If a rate is above the measured peak of its arithmetic and threads.

    Examples
    --------
    >>> from fastconv.sweep import sweep_threads
    >>> from fastconv.testing.shapes import GemmShape
    >>> sweep_threads([GemmShape(8, 8, 8)], [1], rounds=1, seconds=1e-5).points[0].speedup
    1.0
    """
    if not work:
        raise ArgumentError("work: expected at least one product or layer, got none")
    wanted = sorted({1, *(range(1, _core.get_num_threads() + 1) if counts is None else counts)})
    roofs = {count: Roof(count) for count in wanted}
    ready = {one.name: prepare(one, dtype=dtype) for one in work}

    def on(count: int, call: Callable[[], object]) -> Callable[[float], CallTimes]:
        def take(duration: float) -> CallTimes:
            with threads_of_process(count):
                return timer(call)(duration)

        return take

    timers = {(name, count): on(count, one.call) for name, one in ready.items() for count in wanted}
    times = in_turns(timers, roofs[wanted[-1]], rounds=rounds, seconds=seconds)
    points = []
    for (name, count), t in times.items():
        rate, gain = ready[name].executed_flops / t.min * 1e-9, times[name, 1].min / t.min
        roofs[count].hold(f"{name}, {counted(count, 'thread')}", rate, ready[name].arithmetic)
        points.append(Speedup(name, count, t.min, rate, gain, gain / count))
    peaks = {str(count): roof.peak_of(dtype).gflops for count, roof in roofs.items()}
    return ThreadSweep(setting(roofs[wanted[-1]]), peaks, tuple(points), dtype)


def size_series(factor: float = 1.0) -> dict[tuple[str, str], dict[int, tuple[Work, int]]]:
    """Return what :func:`sweep_sizes` times: for each (name, variable) the work and batch by size.

    ``factor`` makes all sizes smaller, for a quick look.
    """

    def scaled(sizes: Iterable[int], least: int) -> list[int]:
        return sorted({max(least, round(factor * size)) for size in sizes})

    def layer(size: int, channels: int) -> ConvLayer:
        return square_layers([size], [channels])[0]

    squares = scaled((48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048), 4)
    return {
        ("product N x N x N", "N"): {n: (GemmShape(n, n, n), 1) for n in squares},
        ("3x3 layer, 14 px", "channels"): {
            c: (layer(14, c), 1) for c in scaled((16, 32, 64, 128, 256, 512, 1024), 4)
        },
        ("3x3 layer, 64 channels", "side"): {
            s: (layer(s, 64), 1) for s in scaled((7, 14, 28, 56, 112, 224), 2)
        },
        ("3x3 layer, 64 channels, 28 px", "batch"): {
            n: (layer(28, 64), n) for n in scaled((1, 2, 4, 8, 16, 32), 1)
        },
    }


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the exponent p of the power law c size^p through the points, by least squares of the logarithms.

    >>> round(slope([1, 2, 4], [3, 24, 192]), 6)
    3.0
    """
    if len(sizes) < 2:
        raise ArgumentError(f"sizes: expected at least two for a slope, got {len(sizes)}")
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def crossings(sizes: Sequence[int], sets: Sequence[int], caches: Mapping[str, int]) -> dict[str, float]:
    """Return the size at which the operands fill each cache, between those measured, on logarithmic axes.

    >>> crossings([10, 20, 40], [100, 400, 1600], {"l1d": 400, "l2": 10**6})
    {'l1d': 20.0}
    """
    found = {}
    for level, bytes_ in caches.items():
        if sets[0] < bytes_ <= sets[-1]:
            at = np.interp(np.log(bytes_), np.log(sets), np.log(sizes))
            found[level] = round(float(np.exp(at)), 3)
    return found


def sweep_sizes(
    *,
    threads: int = 1,
    dtype: str = "f32",
    rounds: int = 4,
    seconds: float = 0.02,
    factor: float = 1.0,
    roof: Roof | None = None,
) -> SizeSweep:
    """Time a product against N, and a 3x3 layer against channels, image side and batch.

    Parameters
    ----------
    threads, rounds, seconds, roof
        As for :func:`~fastconv.sweep.staircase`.
    dtype : {"f32", "int8"}
        As for :func:`~fastconv.sweep.sweep_threads`.
    factor : float, default 1.0
        Of all sizes.

    Returns
    -------
    SizeSweep
        A series for each, with its exponent and where the operands outgrow the caches.

    Raises
    ------
    RoofError
        If a rate is above the measured peak of its arithmetic.

    Examples
    --------
    >>> from fastconv.sweep import sweep_sizes
    >>> [series.variable for series in sweep_sizes(rounds=1, seconds=1e-5, factor=0.1).series]
    ['N', 'channels', 'side', 'batch']
    """
    if factor <= 0:
        raise ArgumentError(f"factor: expected more than 0, got {factor}")
    caches = _core.cpu_info()["caches"]
    series = []
    with threads_of_process(threads):
        roof = roof or Roof(threads)
        for (name, variable), works in size_series(factor).items():
            ready = {size: prepare(*work, dtype) for size, work in works.items()}
            timers = {size: timer(one.call) for size, one in ready.items()}
            times = in_turns(timers, roof, rounds=rounds, seconds=seconds)
            for size, one in ready.items():
                rate = one.executed_flops / times[size].min * 1e-9
                roof.hold(f"{name}: {variable} {size}", rate, one.arithmetic)
            sizes = list(works)
            sets = [one.working_set for one in ready.values()]
            taken = [times[size].min for size in sizes]
            useful = [batch * work.macs for work, batch in works.values()]
            series.append(
                Scaling(
                    name,
                    variable,
                    tuple(sizes),
                    tuple(taken),
                    tuple(sets),
                    slope(sizes, taken),
                    slope(sizes, useful),
                    crossings(sizes, sets, caches),
                )
            )
    return SizeSweep(setting(roof), tuple(series), dtype)
