"""Does "auto" pick the fastest algorithm for a layer? Each algorithm that accepts it, timed in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastconv.conv import plan
from fastconv.lab.compare.cases import Case, conv_arrays
from fastconv.tuning import time_algorithms

REPEAT = 4  # times as many rounds for what is suspicious


@dataclass(frozen=True)
class Timed:
    """The algorithm that "auto" takes, and the best time in milliseconds of each that accepts the layer."""

    pick: str
    times: dict[str, float]

    @property
    def best(self) -> str:
        """The fastest algorithm."""
        return min(self.times, key=lambda name: self.times[name])

    @property
    def lag(self) -> float:
        """By how many percent the pick is slower than the best."""
        return 100 * (self.times[self.pick] / self.times[self.best] - 1)

    def __str__(self) -> str:
        cells = [f"{'*' if name == self.pick else ''}{name} {ms:.4f}" for name, ms in self.times.items()]
        return f"{self.lag:5.1f} %  {'  '.join(cells)} ms"


def time_layer(case: Case, rounds: int, seconds: float) -> Timed:
    """Time each algorithm that accepts a layer, on NHWC with packed weights, as a network runs it."""
    layer = case.layer
    x, w, bias = conv_arrays(case)
    options: dict[str, Any] = {
        **{"spatial": layer.spatial, "transposed": layer.transposed, "activation": None},
        **layer.kwargs,
    }

    def build(name: str) -> Any:
        return plan(w, bias, algorithm=name, **options)

    times = time_algorithms(build, x.shape, rounds=rounds, seconds=seconds)
    return Timed(build("auto").algorithm(x.shape), {name: 1e3 * best for name, best in times.items()})


def judge(
    case: Case,
    tolerance: float,
    rounds: int,
    seconds: float,
    measure: Callable[[Case, int, float], Timed] = time_layer,
) -> Timed:
    """Time a layer; again, longer, if its pick lags more than `tolerance` percent."""
    timed = measure(case, rounds, seconds)
    if timed.lag <= tolerance:
        return timed
    return min(timed, measure(case, REPEAT * rounds, seconds), key=lambda t: t.lag)
