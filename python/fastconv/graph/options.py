"""What a model's caller gives: options, names, shapes and arrays; checked before anything is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv._arguments import as_array, integer, shown
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.graph.ir import Graph, TensorInfo
from fastconv.graph.value import Array, size_of


def checked_graph(graph: Any) -> Graph:
    """Return what a model is to be made of; DTypeError where it is no graph."""
    if not isinstance(graph, Graph):
        raise DTypeError(f"graph: expected a Graph, or a function that returns one, got {shown(graph)}")
    return graph


def checked_passes(passes: Any) -> str | tuple[str, ...]:
    """Return the passes that are named; which names there are is known where they run."""
    if isinstance(passes, str):
        return passes
    if not isinstance(passes, list | tuple) or not all(isinstance(name, str) for name in passes):
        raise DTypeError(f"passes: expected 'default', 'none' or a sequence of names, got {shown(passes)}")
    return tuple(passes)


def checked_max_bytes(max_bytes: Any) -> int | None:
    """Return the bytes that a model may take; None: any number."""
    if max_bytes is None:
        return None
    try:
        number = None if isinstance(max_bytes, bool | np.bool_) else max_bytes.__index__()
    except Exception:  # it has no such method, or an object's own mistake
        number = None
    if number is None:
        raise DTypeError(f"max_bytes: expected a number of bytes or None, got {shown(max_bytes)}")
    if number < 0:
        raise ArgumentError(f"max_bytes: expected a number of bytes or None, got {shown(max_bytes)}")
    return int(number)


def checked_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple of integers."""
    if not isinstance(shape, Sequence | np.ndarray) or isinstance(shape, str | bytes | memoryview):
        raise DTypeError(f"{name}: expected sequences of integers, got {shown(shape)}")
    if isinstance(shape, np.ndarray) and shape.ndim != 1:
        raise DTypeError(f"{name}: expected sequences of integers, got an array of shape {shape.shape}")
    return tuple(integer(name, n, 0) for n in shape)


def checked_feeds(feeds: Any) -> Mapping[str, Any]:
    """Return what is given by name."""
    if not isinstance(feeds, Mapping) or not all(isinstance(name, str) for name in feeds):
        raise DTypeError(f"feeds: expected a mapping from names to arrays, got {shown(feeds)}")
    return feeds


def checked_names(names: Any, known: Sequence[str]) -> list[str]:
    """Return the outputs that are asked for, of those that there are; None: all."""
    if names is None:
        return list(known)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise DTypeError(f"output_names: expected a sequence of names or None, got {shown(names)}")
    for name in names:
        if name not in known:
            raise ArgumentError(f"output_names: expected names among {list(known)}, got {shown(name)}")
    return list(names)


def checked_input(info: TensorInfo, x: Any) -> Array:
    """Return an input as an array of the declared dtype and shape; the batch may have any size."""
    array = as_array(f"input {info.name!r}", x, rank=len(info.shape), dtype=info.dtype)
    check_input_shape(info, array.shape)
    return array


def check_input_shape(info: TensorInfo, shape: tuple[int, ...]) -> None:
    """Refuse a shape that is not the declared one but for the batch."""
    where = f"input {info.name!r}"
    if len(shape) != len(info.shape):
        raise ShapeError(f"{where}: expected {len(info.shape)} dimensions, got {len(shape)} (shape {shape})")
    size_of(shape, where)
    for axis, (expected, got) in enumerate(zip(info.shape, shape, strict=True)):
        if axis > 0 and isinstance(expected, int) and expected != got:
            raise ShapeError(f"{where}: expected {expected} at axis {axis}, got {got}")
