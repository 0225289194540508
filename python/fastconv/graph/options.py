"""What a model's caller gives: options, names, shapes and arrays; checked before anything is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv._arguments import as_array, integer, shown
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.graph.ir import Graph, TensorInfo, with_outputs
from fastconv.graph.value import Array, size_of

MAX_DECLARED = 1 << 28  # elements of an input up to which a file's word is taken for it before there is one


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
    """Return the names of the values that are asked for; None: those that are known, the outputs."""
    if names is None:
        return list(known)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise DTypeError(f"output_names: expected a sequence of names or None, got {shown(names)}")
    return list(names)


def checked_values(graph: Graph, names: Sequence[str]) -> Graph:
    """Return a graph with some of its values as outputs; ArgumentError where it has none of a name."""
    try:
        return with_outputs(graph, names)
    except KeyError as error:
        (name,) = error.args
        known = [info.name for info in graph.outputs]
        raise ArgumentError(
            f"output_names: expected names among {known}, or of other values of the graph, got {shown(name)}"
        ) from None


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


def check_batch(
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    shapes: Sequence[tuple[int, ...]],
    output_shapes: Sequence[tuple[int, ...]],
) -> None:
    """Refuse a batch that a graph is not written for, where a Reshape would scramble it."""
    declared = [info.shape[0] for info in inputs if info.shape]
    batch = [shape[0] for shape in shapes if shape]
    if not declared or not isinstance(declared[0], int) or declared[0] == batch[0]:
        return
    for info, shape in zip(outputs, output_shapes, strict=True):
        if not info.shape or not isinstance(info.shape[0], int) or len(info.shape) != len(shape):
            continue
        expected = (info.shape[0] * batch[0] // declared[0], *info.shape[1:])
        if any(isinstance(e, int) and e != n for e, n in zip(expected, shape, strict=True)):
            raise ShapeError(
                f"input {inputs[0].name!r}: expected a batch of {declared[0]}, which the graph is"
                f" written for, got {batch[0]}: output {info.name!r} would have shape {shape}"
            )


def declared_shapes(inputs: Sequence[TensorInfo]) -> tuple[tuple[int, ...], ...] | None:
    """Return the declared input shapes, a symbolic batch as 1; None where more is open, or too large."""
    shapes = []
    for info in inputs:
        shape = tuple(1 if i == 0 and not isinstance(n, int) else n for i, n in enumerate(info.shape))
        sizes = tuple(n for n in shape if isinstance(n, int) and n > 0)
        if len(sizes) != len(shape) or math.prod(sizes) > MAX_DECLARED:
            return None
        shapes.append(sizes)
    return tuple(shapes)
