"""Ranges of activations: zero is exact, and none leaves a larger error than the plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv.compress import Statistics
from fastconv.compress.ranges import RANGES, choose_range, error_of, range_of

Array = np.ndarray[Any, Any]


def observed(x: Array) -> Statistics:
    found = Statistics("x")
    found.add(x.astype(np.float32).reshape(8, -1), 8)
    return found


DRAWN = {
    "normal": lambda rng: rng.normal(size=16384),
    "relu": lambda rng: np.maximum(rng.normal(size=16384), 0),
    "heavy": lambda rng: rng.standard_t(2, size=16384),
    "shifted": lambda rng: rng.normal(5, 1, size=16384),
    "below": lambda rng: -np.abs(rng.normal(size=16384)),
    "tiny": lambda rng: rng.normal(size=16384) * 1e-12,
    "outlier": lambda rng: np.append(rng.normal(size=16383), 1000.0),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("method", RANGES)
def test_zero_is_exact_and_bytes_are_bytes(name: str, method: str) -> None:
    x = DRAWN[name](np.random.default_rng(0)).astype(np.float32)
    found = choose_range(observed(x), (method,))
    assert 0 <= found.zero <= 255
    assert found.rounded(np.zeros(3, np.float32)).tolist() == [0, 0, 0]
    assert len(np.unique(found.rounded(x))) <= 256
    assert found.method == method


@pytest.mark.parametrize("name", DRAWN)
def test_the_least_error_is_chosen(name: str) -> None:
    x = DRAWN[name](np.random.default_rng(1)).astype(np.float32)
    best = choose_range(observed(x))
    errors = {method: choose_range(observed(x), (method,)).error for method in RANGES}
    assert best.error == min(errors.values())
    measured = {
        method: np.square(choose_range(observed(x), (method,)).rounded(x) - x, dtype=np.float64).mean()
        for method in RANGES
    }
    assert np.square(best.rounded(x) - x, dtype=np.float64).mean() <= 1.1 * min(measured.values())


@pytest.mark.parametrize("name", DRAWN)
def test_the_predicted_error_is_the_measured_one(name: str) -> None:
    x = DRAWN[name](np.random.default_rng(2)).astype(np.float32)
    found = choose_range(observed(x), ("minmax",))
    measured = np.square(found.rounded(x) - x, dtype=np.float64).mean()
    assert error_of(observed(x).histogram, found) == pytest.approx(measured, rel=0.15)


def test_nothing_but_zeros_or_one_value() -> None:
    assert choose_range(observed(np.zeros(64))).scale == 1
    for value in (3.0, -3.0):
        x = np.full(64, value, np.float32)
        np.testing.assert_allclose(choose_range(observed(x)).rounded(x), x, rtol=1 / 255)


def test_ends_hold_what_they_are_given() -> None:
    found = range_of(-1.0, 3.0)
    assert found.low == pytest.approx(-1.0, abs=found.scale / 2)
    assert found.high == pytest.approx(3.0, abs=found.scale / 2)
    assert range_of(2.0, 3.0).low == 0
    assert range_of(-3.0, -2.0).high == 0
