"""What families of functions share: small arrays, optional arguments, layouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

Arguments = dict[str, Any]


def floats(shape: Sequence[int], seed: int) -> Any:
    """Return small integers as floats."""
    return np.random.default_rng(seed).integers(-4, 5, tuple(shape)).astype(np.float32)


def array(draw: Any, shape: Sequence[int]) -> Any:
    """Draw an array of a shape."""
    return floats(shape, draw(st.integers(0, 1 << 16)))


def some(draw: Any, arguments: Arguments, **choices: Any) -> None:
    """Add the arguments that are drawn to be given."""
    for name, strategy in choices.items():
        if draw(st.booleans()):
            arguments[name] = draw(strategy)


def spatial_of(name: str) -> int:
    """Return the number of spatial dimensions in a function's name."""
    return int(name.removesuffix("d")[-1])


def layouts(spatial: int) -> tuple[str, str]:
    """Return channels-first and channels-last of so many spatial dimensions."""
    axes = "DHW"[-spatial:]
    return f"NC{axes}", f"N{axes}C"


def to_layout(a: Any, layout: Any) -> Any:
    """Return a view of an array in channels-first order in the layout."""
    return np.moveaxis(a, 1, -1) if layout is not None and layout.endswith("C") else a


def to_logical(a: Any, layout: Any) -> Any:
    """Return a view in channels-first order of an array in the layout."""
    return np.moveaxis(a, -1, 1) if layout is not None and layout.endswith("C") else a
