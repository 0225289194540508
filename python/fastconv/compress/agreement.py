"""How far two networks agree: the signal that is left, and what classifiers say of the same inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def decibels(signal: float, noise: float) -> float:
    """Return a ratio of powers in decibels; infinite where there is no noise."""
    if noise <= 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def share_of(snr: float) -> float:
    """Return the power of the noise as a share of the signal's.

    >>> share_of(20.0)
    0.01
    """
    return float(10 ** (-snr / 10))


def signal_to_noise(expected: Array, got: Array) -> float:
    """Return how much larger a signal is than what was added to it, in decibels.

    >>> round(signal_to_noise(np.array([10.0, -10.0]), np.array([11.0, -9.0])), 1)
    20.0
    """
    wide = expected.astype(np.float64)
    return decibels(float(np.square(wide).sum()), float(np.square(got - wide).sum()))


class Loss:
    """The power of the error in each of a network's results as a share of the power of the result, over runs.

    A result of another shape than it should have, as of boxes that were found, is lost as a whole: 1.
    """

    def __init__(self) -> None:
        self._signal: Array = np.zeros(0)
        self._noise: Array = np.zeros(0)

    def add(self, expected: Sequence[Array], got: Sequence[Array]) -> None:
        """Take the results of a run into account."""
        signal, noise = [], []
        for a, b in zip(expected, got, strict=True):
            wide = a.astype(np.float64)
            signal.append(float(np.square(wide).sum()))
            noise.append(float(np.square(b - wide).sum()) if a.shape == b.shape else max(signal[-1], 1.0))
        if not self._signal.size:
            self._signal, self._noise = np.zeros((2, len(signal)))
        self._signal, self._noise = self._signal + signal, self._noise + noise

    def shares(self) -> list[float]:
        """Return the loss of each result."""
        pairs = zip(self._signal.tolist(), self._noise.tolist(), strict=True)
        return [noise / max(signal, 1e-300) if noise else 0.0 for signal, noise in pairs]

    @property
    def worst(self) -> float:
        """The loss of the result that loses most."""
        return max(self.shares(), default=0.0)

    @property
    def snr(self) -> float:
        """The signal-to-noise of that result, in decibels."""
        return decibels(1.0, self.worst)


@dataclass(frozen=True)
class Agreement:
    """How the results of a quantised network compare with those of the float one on the same samples.

    ``snr`` is in decibels, of the output. The others are of an output that is scores of classes, or their
    probabilities along its last axis, else None: ``top1`` is the share of samples, or of rows, in which both
    rank the same class first, ``top5`` the mean share of the five best that both have, ``kl`` the mean
    divergence of the probabilities in nats, ``probability`` their largest difference. ``accuracy`` is that of
    the float and of the quantised network where labels are given.
    """

    output: str
    samples: int
    snr: float
    top1: float | None = None
    top5: float | None = None
    kl: float | None = None
    probability: float | None = None
    accuracy: tuple[float, float] | None = None


def agreement(name: str, expected: Array, got: Array, labels: Sequence[int] | None = None) -> Agreement:
    """Compare the results of two networks, samples along the first axis."""
    snr = signal_to_noise(expected, got)
    count = len(expected)
    if expected.ndim < 2 or expected.shape[-1] < 2:
        return Agreement(name, count, snr)
    rows = [y.reshape(-1, y.shape[-1]) for y in (expected, got)]
    a, b = (y.astype(np.float64) for y in rows)
    if not _are_probabilities(a):
        if expected.ndim > 2:  # an image, boxes, or whatever it is
            return Agreement(name, count, snr)
        a, b = _probabilities(a), _probabilities(b)
    best = min(5, a.shape[1])
    first, second = (np.argsort(-y, axis=1, kind="stable")[:, :best] for y in rows)
    shared = [len({*x} & {*y}) / best for x, y in zip(first.tolist(), second.tolist(), strict=True)]
    tiny = 1e-12
    kl = (a * (np.log(a + tiny) - np.log(b + tiny))).sum(1).mean()
    accuracy = None
    if labels is not None and len(labels) == len(a):
        right = np.asarray(labels)
        accuracy = float((first[:, 0] == right).mean()), float((second[:, 0] == right).mean())
    return Agreement(
        name,
        count,
        snr,
        float((first[:, 0] == second[:, 0]).mean()),
        float(np.mean(shared)),
        float(max(kl, 0.0)),
        float(np.abs(a - b).max()),
        accuracy,
    )


def _are_probabilities(y: Array) -> bool:
    return bool((y >= 0).all() and np.allclose(y.sum(1), 1, atol=1e-3))


def _probabilities(y: Array) -> Array:
    shifted = np.exp(y - y.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))
