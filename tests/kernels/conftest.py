"""What the kernel tests share: one array in many memory orders, and equality to the last bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _core

Arrange = Callable[[np.ndarray], np.ndarray]


def _reversed(a: np.ndarray) -> np.ndarray:
    flip = (slice(None, None, -1),) * a.ndim
    return a[flip].copy()[flip]


def _sliced(a: np.ndarray) -> np.ndarray:
    """Every second element of the last axis of a larger array."""
    inner = (*(slice(1, 1 + n) for n in a.shape[:-1]), slice(1, 1 + 2 * a.shape[-1], 2))
    beside = np.nan if a.dtype.kind == "f" else 77
    larger = np.full((*(n + 2 for n in a.shape[:-1]), 2 * a.shape[-1] + 1), beside, a.dtype)
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


@pytest.fixture
def arrangements() -> list[Arrange]:
    """Return all such functions, for tests whose reference takes longer than what they test."""
    return list(ARRANGEMENTS.values())


@pytest.fixture
def arrangement_pairs() -> list[tuple[Arrange, Arrange]]:
    """Return every such function for inputs with every one for outputs."""
    return list(itertools.product(ARRANGEMENTS.values(), repeat=2))


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    np.testing.assert_array_equal(
        np.ascontiguousarray(a).view(f"u{a.itemsize}"), np.ascontiguousarray(b).view(f"u{b.itemsize}")
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


def _memory_of(array: np.ndarray) -> np.ndarray:
    """Return the row-major array that a view is of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array if array.flags.c_contiguous else array.T


def run_step(kind: str, inputs: Sequence[np.ndarray | None], y: np.ndarray, *params: Any) -> np.ndarray:
    """Run one step of a program on arrays of any strides, which it reads and writes where they are."""
    given = [a for a in inputs if a is not None]
    memory = [_memory_of(a) for a in (*given, y)]
    sizes = [m.nbytes for m in memory]
    program = _core.Program(_core.ArenaPool(), 0, sizes[:-1], sizes[-1:])
    operands = []
    for slot, (array, whole) in enumerate(zip((*given, y), memory, strict=True), 1):
        strides = [s // array.itemsize for s in array.strides]
        operands.append((slot, array.ctypes.data - whole.ctypes.data, array.shape, strides, array.dtype))
    present = iter(operands)
    arguments = [None if a is None else next(present) for a in inputs]
    getattr(program, kind)(*arguments, operands[-1], *params)
    program.run(memory[:-1], memory[-1:])
    return y


@pytest.fixture
def step() -> Callable[..., np.ndarray]:
    """Return a function that runs one step of a program on arrays of any strides."""
    return run_step
