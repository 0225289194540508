"""Statistics of the values between the layers of a network, gathered in one pass over data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._arguments import integer
from fastconv._progress import track
from fastconv.compress.samples import Prepare, samples_of
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model

Array = npt.NDArray[Any]

BINS = 4096  # of a histogram, at the most
COUNTED = 1 << 15  # values of a sample that a histogram counts; of a larger one every k-th
BATCH = 4


@dataclass
class Histogram:
    """Counts of values in bins whose width is a power of two: it doubles when values lie farther out.

    Zero is the edge of a bin, and values that are exactly zero are counted apart, for they cost no rounding.
    In which batches and in which order the values came makes no difference.
    """

    width: float = 0.0
    start: int = 0  # the lower edge of the first bin is start * width
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    zeros: int = 0

    def add(self, values: Array) -> None:
        """Count finite values."""
        nonzero = values[values != 0]
        self.zeros += values.size - nonzero.size
        if not nonzero.size:
            return
        # Of 4096 bins half are for each sign, so that the width is known from the largest value.
        width = 2.0 ** (math.frexp(float(np.abs(nonzero).max()))[1] - BINS.bit_length() + 2)
        self.width = self.width or width
        while self.width < width:
            self._double()
        # In float64, where a product with a power of two is exact.
        at = np.floor(nonzero.astype(np.float64) * (1 / self.width)).astype(np.int64)
        self._reach(int(at.min()), int(at.max()))
        self.counts += np.bincount(at - self.start, minlength=self.counts.size)

    def _double(self) -> None:
        """Join each two bins of which the first has an even number."""
        before = self.start % 2
        after = (before + self.counts.size) % 2
        self.counts = np.pad(self.counts, (before, after)).reshape(-1, 2).sum(1)
        self.start = (self.start - before) // 2
        self.width *= 2

    def _reach(self, first: int, last: int) -> None:
        if not self.counts.size:
            self.start = first
        before, after = max(0, self.start - first), max(0, last + 1 - self.start - self.counts.size)
        self.counts = np.pad(self.counts, (before, after))
        self.start -= before

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """The middle of each bin."""
        return np.asarray((self.start + 0.5 + np.arange(self.counts.size)) * self.width, np.float64)

    def percentile(self, q: float) -> float:
        """Return the value at or below which q percent of all lie, to half the width of a bin."""
        split = int(np.searchsorted(self.centres, 0))
        values, counts = np.insert(self.centres, split, 0.0), np.insert(self.counts, split, self.zeros)
        below = np.cumsum(counts)
        return float(values[min(np.searchsorted(below, q / 100 * below[-1]), below.size - 1)])


@dataclass
class Statistics:
    """What is known of a value of a network after some samples.

    Attributes
    ----------
    name : str
        Of the value.
    shape : tuple of int
        Of one sample.
    samples : int
    low, high, mean, square : float
        The least and the largest number, the mean, and the mean of the squares.
    histogram : Histogram
        Of all numbers; of a value of more than 32768 numbers a sample, of some that are spread evenly.
    channel_low, channel_high, channel_mean, channel_square : array
        The same along axis 1, where the value has one.
    """

    name: str
    shape: tuple[int, ...] = ()
    samples: int = 0
    low: float = math.inf
    high: float = -math.inf
    histogram: Histogram = field(default_factory=Histogram)
    channel_low: Array = field(default_factory=lambda: np.zeros(0))
    channel_high: Array = field(default_factory=lambda: np.zeros(0))
    _sums: Array = field(default_factory=lambda: np.zeros(0))
    _squares: Array = field(default_factory=lambda: np.zeros(0))
    _count: int = 0  # of numbers in each channel

    def add(self, values: Array, samples: int) -> None:
        """Take a batch into account; ArgumentError where it holds NaN or an infinity."""
        rows = values.reshape(len(values) if values.ndim else 1, -1) if values.ndim < 2 else values
        axes = (0, *range(2, rows.ndim))
        wide = rows.astype(np.float32, copy=False)
        low, high = wide.min(axes), wide.max(axes)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ArgumentError(f"data: expected finite results, got NaN or infinity in value {self.name!r}")
        sums, squares = wide.sum(axes, np.float64), np.square(wide).sum(axes, np.float64)
        if self.samples:
            self.channel_low = np.minimum(self.channel_low, low)
            self.channel_high = np.maximum(self.channel_high, high)
            self._sums, self._squares = self._sums + sums, self._squares + squares
        else:
            self.channel_low, self.channel_high, self._sums, self._squares = low, high, sums, squares
        self.low, self.high = float(self.channel_low.min()), float(self.channel_high.max())
        self._count += rows.size // max(1, low.size)
        self.samples += samples
        self.shape = values.shape[1:]
        flat = wide.reshape(len(wide), -1)
        step = flat.shape[1] // COUNTED | 1  # odd: other columns in each row of an image
        self.histogram.add(flat[:, ::step])

    @property
    def channel_mean(self) -> Array:
        """The mean of each channel."""
        return np.asarray(self._sums / self._count)

    @property
    def channel_square(self) -> Array:
        """The mean of the squares of each channel."""
        return np.asarray(self._squares / self._count)

    @property
    def mean(self) -> float:
        """The mean of all numbers."""
        return float(self.channel_mean.mean())

    @property
    def square(self) -> float:
        """The mean of the squares of all numbers."""
        return float(self.channel_square.mean())

    def percentile(self, q: float) -> float:
        """Return the number below which q percent of all lie, from the histogram."""
        return self.histogram.percentile(q)


def observe(
    model: Model | Graph,
    data: Any,
    values: Sequence[str] | None = None,
    *,
    prepare: Prepare | None = None,
    batch: int = BATCH,
) -> dict[str, Statistics]:
    """Gather statistics of the values of a network over data, in one pass.

    Parameters
    ----------
    model : Model or Graph
    data : path, array, or iterable of arrays or of mappings
        A folder of photos, a ``.npy`` file, arrays with samples along the first axis, or mappings from input
        names to arrays.
    values : sequence of str, optional
        The names of those wanted; by default the inputs and all that nodes compute in floats.
    prepare : callable, optional
        Makes the input of a photo's path.
    batch : int
        How many samples a run takes: the values of all of them are in memory at once.

    Returns
    -------
    dict of str to Statistics
        In the order in which they are computed.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where the data do not fit the network, or NaN or infinity comes of them.

    Notes
    -----
    A progress bar is shown on standard error where that is a terminal. An interrupt ends the pass between two
    batches; nothing is changed by it.

    Examples
    --------
    >>> from fastconv.models import squeezenet1_1
    >>> model = squeezenet1_1(squeezenet1_1.random_weights())
    >>> x = np.random.default_rng(0).standard_normal((4, 3, 64, 64), np.float32)
    >>> found = observe(model, x)
    >>> found["input"].samples, found["input"].low == float(x.min())
    (4, True)
    """
    batch = integer("batch", batch, 1)
    graph = model.source_graph() if isinstance(model, Model) else model
    samples = samples_of(data, graph, prepare=prepare)
    if values is None:
        read = {name for node in graph.nodes for name in node.inputs} | {info.name for info in graph.outputs}
        written = [name for node in graph.nodes for name in node.outputs]
        values = [name for name in (*(info.name for info in graph.inputs), *written) if name in read]
    run = Model(graph) if isinstance(model, Graph) else model
    found = {name: Statistics(name) for name in values}
    for feeds in track(samples.batches(batch), "observing"):
        count = len(next(iter(feeds.values())))
        for name, array in zip(found, run.run(list(found), feeds), strict=True):
            if array.dtype.kind in "fV" and array.size:
                found[name].add(array, count)
    return {name: s for name, s in found.items() if s.samples}
