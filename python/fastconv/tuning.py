"""Autotuning, for those who ask for it: the fastest algorithm for a convolution on this machine.

``Conv2d(..., tune=True)`` and ``load(..., tune=True)`` time every algorithm that accepts a convolution where
nobody has yet, and keep what they found in a file, so that it is measured once for a machine. Nothing else
reads or writes that file.

The entry of a convolution is found by its geometry, the shape of its input, the element type, the number of
threads, the instruction set tier, the processor and the version of fastconv. The file is named by
``FASTCONV_TUNING``, or is ``fastconv/tuning.json`` in ``XDG_CACHE_HOME`` (by default ``~/.cache``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._fork import ForkLock
from fastconv._measured import Results
from fastconv.errors import ArgumentError
from fastconv.timing import time_calls

SPARSE = "sparse_"  # how the names of algorithms begin that leave out zeros
FEW_ZEROS = 0.9  # with more weights than that share not zero, none of them is in question
BLOCK = 16  # output channels whose zeros they leave out together
SLOW = "reference"  # the specification, not a candidate
RESULTS = Results("tuning", "FASTCONV_TUNING", str)
MARGIN = 1.03  # by how much another algorithm must beat what "auto" takes: less is the noise of a measurement

_lock = ForkLock()  # one measurement at a time
_known: dict[str, str] = {}  # what this process has read or measured

Build = Callable[[str], _core.Conv]


def cache_file() -> Path:
    """Return where the results are kept."""
    return RESULTS.path


def time_algorithms(
    build: Build,
    x_shape: tuple[int, ...],
    *,
    planar: bool = False,
    rounds: int = 4,
    seconds: float = 0.005,
) -> dict[str, float]:
    """Time each algorithm that accepts a convolution, in turns, weights packed.

    Parameters
    ----------
    build : callable
        Makes the plan for the algorithm of that name, or raises ArgumentError where it does not accept.
    x_shape : tuple of int
        The input's shape in NC<spatial> order.
    planar : bool
        Whether the arrays are NC<spatial> in memory too, and not channels-last as within a network.
    rounds : int
        Turns of each algorithm.
    seconds : float
        Length of a turn.

    Returns
    -------
    dict of str to float
        The fastest call in seconds, by algorithm.
    """
    convs: dict[str, _core.Conv] = {}
    for name in _core.algorithms():
        if name == SLOW:
            continue
        try:
            convs[name] = build(name)
        except ArgumentError:  # rejected, with a reason that explain() shows
            continue

    def arranged(a: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        return a if planar else channels_last(a)

    x = arranged(np.random.default_rng(0).standard_normal(x_shape, dtype=np.float32))
    times = dict.fromkeys(convs, float("inf"))
    for _ in range(rounds):
        for name, conv in convs.items():
            y = arranged(np.empty(conv.out_shape(x_shape), np.float32))
            best = time_calls(lambda conv=conv, y=y: conv.run(x, y), seconds).min  # type: ignore[misc]
            times[name] = min(times[name], best)
    return times


def best_algorithm(
    build: Build, geometry: Mapping[str, Any], x_shape: tuple[int, ...], *, planar: bool = False
) -> str:
    """Return the fastest algorithm for a convolution: as the file says, or measured now and written there.

    Parameters
    ----------
    build : callable
        As for :func:`time_algorithms`.
    geometry : mapping
        What tells this convolution from others: its weights' shape, every parameter but the weights, and of
        these what :func:`zeros_of` says.
    x_shape, planar
        As for :func:`time_algorithms`.
    """
    key = _key(geometry, x_shape)
    if "zeros" not in geometry:
        build = _dense(build)
    with _lock:
        if key not in _known:
            found = RESULTS.read().get(key)
            if found is not None and _accepts(build, found):
                _known[key] = found
        if key not in _known:
            _known[key] = _fastest(build, x_shape, planar)
            RESULTS.add({key: _known[key]})
        return _known[key]


def zeros_of(w: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, list[int]]:
    """Return what tells weights with zeros from others, for the geometry: their shares in steps of 5 %.

    >>> zeros_of(np.zeros((32, 1, 1, 1), np.float32))
    {'zeros': [20, 20]}
    >>> zeros_of(np.ones((32, 1, 1, 1), np.float32))
    {}
    """
    used = w.reshape(w.shape[0], -1) != 0
    if not used.size or used.mean() > FEW_ZEROS:
        return {}
    blocks = np.logical_or.reduceat(used, np.arange(0, len(used), BLOCK))
    return {"zeros": [round(20 * (1 - float(part.mean()))) for part in (used, blocks)]}


def _dense(build: Build) -> Build:
    """Refuse the algorithms that gain by zeros alone."""

    def build_dense(name: str) -> _core.Conv:
        if name.startswith(SPARSE):
            raise ArgumentError("w: expected zeros among the weights, got too few")
        return build(name)

    return build_dense


def _accepts(build: Build, name: str) -> bool:
    """Whether an algorithm that a file names is one that may be chosen for a convolution."""
    if name not in _core.algorithms() or name == SLOW:  # of another build, or of nobody's measurement
        return False
    try:
        build(name)
    except ArgumentError:
        return False
    return True


def _fastest(build: Build, x_shape: tuple[int, ...], planar: bool) -> str:
    pick = build("auto").algorithm(x_shape)
    times = time_algorithms(build, x_shape, planar=planar)
    best = min(times, key=lambda name: times[name], default=pick)
    return best if MARGIN * times.get(best, 0) < times.get(pick, 0) else pick


def channels_last(x: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    """Return a view in NC<spatial> order of memory with the channels innermost."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def _key(geometry: Mapping[str, Any], x_shape: tuple[int, ...]) -> str:
    facts = {
        "version": _core.__version__,
        "cpu": _core.cpu_info()["model"],
        "tier": _core.active_tier(),
        "threads": _core.get_num_threads(),
        "dtype": "float32",
        "x": x_shape,
        **geometry,
    }
    return json.dumps(facts, sort_keys=True, default=int)  # numpy's integers
