"""What the kernel tests share: one array in many memory orders, and equality to the last bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import fastconv

Arrange = Callable[[np.ndarray], np.ndarray]


def _reversed(a: np.ndarray) -> np.ndarray:
    flip = (slice(None, None, -1),) * a.ndim
    return a[flip].copy()[flip]


def _sliced(a: np.ndarray) -> np.ndarray:
    """Every second element of the last axis of a larger array."""
    inner = (*(slice(1, 1 + n) for n in a.shape[:-1]), slice(1, 1 + 2 * a.shape[-1], 2))
    larger = np.full((*(n + 2 for n in a.shape[:-1]), 2 * a.shape[-1] + 1), np.nan, np.float32)
    larger[inner] = a
    return larger[inner]


ARRANGEMENTS: dict[str, Arrange] = {
    "dense": lambda a: a.copy("C"),
    "channels_last": lambda a: np.moveaxis(np.moveaxis(a, 1, -1).copy("C"), -1, 1),
    "fortran": lambda a: a.copy("F"),
    "reversed": _reversed,
    "sliced": _sliced,
}


@pytest.fixture(params=list(ARRANGEMENTS))
def arrange(request: pytest.FixtureRequest) -> Arrange:
    """Return a function that copies an array of at least 2 dimensions into another order of memory."""
    return ARRANGEMENTS[request.param]


@pytest.fixture(params=list(ARRANGEMENTS))
def arrange_out(request: pytest.FixtureRequest) -> Arrange:
    """Return another such function, for outputs."""
    return ARRANGEMENTS[request.param]


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    np.testing.assert_array_equal(
        np.ascontiguousarray(a).view(np.uint32), np.ascontiguousarray(b).view(np.uint32)
    )


@pytest.fixture
def same_bits() -> Callable[[np.ndarray, np.ndarray], None]:
    """Return a function that asserts that two arrays are equal to the last bit, NaN included."""
    return assert_same_bits


@pytest.fixture
def same_for_threads() -> Callable[[Callable[[], np.ndarray]], np.ndarray]:
    """Return a function that runs another with 1 and 2 threads, asserts equality, and returns the result."""

    def check(run: Callable[[], np.ndarray]) -> np.ndarray:
        with fastconv.threads(1):
            one = run()
        with fastconv.threads(2):
            assert_same_bits(one, run())
        return one

    return check
