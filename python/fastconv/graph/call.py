"""A step that calls a function of arrays: what numpy computes in a network, because it has no kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.errors import ModelError
from fastconv.graph.ir import Node
from fastconv.graph.registry import naming
from fastconv.graph.value import Array


class Call:
    """A step's function of arrays, the last of which takes the result.

    ``scratch`` are the bytes that it takes beside its operands while it runs: what it returns is copied,
    unless it works ``into`` an array, its ``out``.
    """

    def __init__(
        self, function: Callable[..., Any], node: Node, name: str, scratch: int = 0, into: bool = False
    ) -> None:
        self.function, self.node, self.name, self.scratch = function, node, name, scratch
        self.into = into

    def __call__(self, *arrays: Array) -> None:
        """Run it; an error starts with the node's name."""
        *inputs, result = arrays
        with naming(self.node), np.errstate(all="ignore"):  # infinities and NaN are values
            if self.into:
                self.function(*inputs, out=result)
                return
            np.copyto(result, checked_result(self.function(*inputs), None, result.dtype))


def converted(x: Array, out: Array) -> None:
    """Write x in the dtype of ``out``, as numpy's astype does."""
    np.copyto(out, x, casting="unsafe")


def checked_result(value: Any, shape: tuple[int, ...] | None, dtype: np.dtype[Any]) -> Array:
    """Return what a function computed, after it is known to be what was planned."""
    array = np.asarray(value)
    if array.dtype != dtype or (shape is not None and array.shape != shape):
        raise ModelError(
            f"expected a result of shape {shape} and type {dtype}, got {array.shape}, {array.dtype}"
        )
    return array
