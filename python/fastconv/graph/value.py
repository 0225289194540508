"""What a value is while a graph is lowered: a constant or a strided view of a buffer.

Both kinds answer the same shape-changing methods (``transpose``, ``slice``, ``reshape``...), so an operator
that only rearranges is written once. On a tensor they move no data: a layout is nothing but strides.
``reshape`` alone may be impossible without a copy; it then returns None.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.errors import ModelError, ShapeError

F32 = np.dtype(np.float32)
F64 = np.dtype(np.float64)
U8, S8 = np.dtype(np.uint8), np.dtype(np.int8)
S32 = np.dtype(np.int32)
BF16 = np.dtype("V2")  # of kernels; numpy has no such type, and what arrays have is ml_dtypes'
BOOL = np.dtype(bool)
BYTES = (U8, S8)

MAX_DIMENSIONS = 32  # numpy 1.x
MAX_ELEMENTS = 1 << 31  # of one tensor: 8 GiB; a shape beyond it is a broken file, not a network
MAX_EMPTY = 1 << 28  # of one without elements, along the dimensions that are not 0: loops may run over them


def size_of(shape: Sequence[int], name: str = "result", *, most: int = MAX_ELEMENTS) -> int:
    """Return the number of elements of a shape; ShapeError unless a tensor may have it.

    Wherever a shape is made of numbers that a file or a caller gives, it passes here before anything is done
    with it. A shape that holds a 0 is bounded too: nothing is allocated for its elements, but what works
    along the other dimensions takes their time and memory.

    >>> size_of((2, 3, 4)), size_of((0, 3, 4)), size_of(())
    (24, 0, 1)
    """
    if len(shape) > MAX_DIMENSIONS:
        raise ShapeError(f"{name}: expected at most {MAX_DIMENSIONS} dimensions, got {len(shape)}")
    if min(shape, default=0) < 0:
        raise ShapeError(f"{name}: expected dimensions of at least 0, got {list(shape)}")
    size = math.prod(shape)
    if size > most:
        raise ShapeError(f"{name}: expected at most {most} elements, got shape {tuple(shape)}")
    if size == 0 and math.prod(filter(None, shape)) > MAX_EMPTY:
        raise ShapeError(
            f"{name}: expected at most {MAX_EMPTY} elements along the dimensions that are not 0,"
            f" got shape {tuple(shape)}"
        )
    return size


def is_storage(dtype: np.dtype[Any]) -> bool:
    """Whether values are kept in a dtype, but computed in f32: float16 and bfloat16 (of ml_dtypes)."""
    return dtype.name in ("float16", "bfloat16")


def element_name(dtype: np.dtype[Any]) -> str:
    """Return a type's name as kernels are named.

    >>> [element_name(np.dtype(t)) for t in (np.int8, np.uint8, np.float32)], element_name(BF16)
    (['s8', 'u8', 'f32'], 'bf16')
    """
    if dtype == BF16:
        return "bf16"
    letter = {"f": "f", "i": "s", "u": "u"}.get(dtype.kind)
    return dtype.name if letter is None else f"{letter}{8 * dtype.itemsize}"


# Names for the annotations of operators' functions; registry.py checks attributes by them.
Array = npt.NDArray[Any]
Ints = Sequence[int]
Floats = Sequence[float]
Strings = Sequence[str]


class Constant:
    """A value known at plan time.

    The array of a weight may be released once it is packed: the shape stays, reading the array is then an
    error. ``derived`` names what a node made of the model's own constants, and keeps for all programs.
    """

    def __init__(self, array: Array, derived: Hashable = None) -> None:
        self._array: Array | None = array
        self.derived = derived
        self.shape: tuple[int, ...] = array.shape
        self.dtype = array.dtype

    @property
    def array(self) -> Array:
        """The array, read-only by convention; a copy where it lies between elements, in a mapped file."""
        if self._array is None:
            raise ModelError(
                "weights were packed for another use and released; load the model again for this shape"
            )
        return self._array if self._array.flags.aligned else self._array.copy()

    @property
    def released(self) -> bool:
        """Whether the array was dropped."""
        return self._array is None

    def release(self) -> None:
        """Drop the array."""
        self._array = None

    def transpose(self, perm: Sequence[int]) -> Constant:
        """Permute the dimensions."""
        return Constant(self.array.transpose(perm))

    def slice(self, axis: int, start: int, step: int, length: int) -> Constant:
        """Take ``length`` elements of ``axis`` from ``start`` on."""
        stop = start + step * length
        part = slice(start, stop if stop >= 0 else None, step) if length else slice(0)
        return Constant(self.array[(*[slice(None)] * axis, part)])

    def broadcast_to(self, shape: Sequence[int]) -> Constant:
        """Repeat along new dimensions and those of size 1."""
        size_of(shape)
        return Constant(np.broadcast_to(self.array, shape))

    def reshape(self, shape: Sequence[int]) -> Constant:
        """Return the elements in row-major order under another shape."""
        return Constant(self.array.reshape(shape))


@dataclass(frozen=True)
class Tensor:
    """A run-time value: ``shape`` and ``strides`` (in elements, logical NCHW order) over a buffer."""

    buffer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    dtype: np.dtype[Any] = F32

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.size * self.dtype.itemsize

    def is_row_major(self) -> bool:
        """Whether the elements are dense and in row-major order."""
        return all(
            n == 1 or s == e
            for n, s, e in zip(self.shape, self.strides, row_major_strides(self.shape), strict=True)
        )

    def order(self) -> tuple[int, ...]:
        """Return the axes in memory order, outermost first; size-1 and broadcast axes stay in place."""
        order = list(range(len(self.shape)))
        free = [i for i in order if self.shape[i] != 1 and self.strides[i] != 0]
        by_stride = sorted(free, key=lambda i: -abs(self.strides[i]))
        for position, axis in zip(free, by_stride, strict=True):
            order[position] = axis
        return tuple(order)

    def transpose(self, perm: Sequence[int]) -> Tensor:
        """Permute the dimensions."""
        return replace(
            self, shape=tuple(self.shape[i] for i in perm), strides=tuple(self.strides[i] for i in perm)
        )

    def slice(self, axis: int, start: int, step: int, length: int) -> Tensor:
        """Take ``length`` elements of ``axis`` from ``start`` on."""
        shape, strides = list(self.shape), list(self.strides)
        shape[axis] = length
        strides[axis] *= step
        offset = self.offset + start * self.strides[axis]
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)

    def broadcast_to(self, shape: Sequence[int]) -> Tensor:
        """Repeat along new dimensions and those of size 1: their stride becomes 0."""
        size_of(shape)
        new = len(shape) - len(self.shape)
        if new < 0 or any(n not in (1, m) for n, m in zip(self.shape, shape[new:], strict=True)):
            raise ShapeError(f"expected a shape that broadcasts to {tuple(shape)}, got {self.shape}")
        strides = (0,) * new + tuple(
            s if n == m else 0 for n, m, s in zip(self.shape, shape[new:], self.strides, strict=True)
        )
        return replace(self, shape=tuple(shape), strides=strides)

    def at(self, index: Sequence[int]) -> Tensor:
        """Fix the first ``len(index)`` dimensions."""
        offset = self.offset + sum(i * s for i, s in zip(index, self.strides, strict=False))
        depth = len(index)
        return replace(self, shape=self.shape[depth:], strides=self.strides[depth:], offset=offset)

    def reshape(self, shape: Sequence[int]) -> Tensor | None:
        """Return the elements in row-major order under another shape, or None where that needs a copy."""
        strides = reshape_strides(self.shape, self.strides, shape)
        return None if strides is None else replace(self, shape=tuple(shape), strides=strides)


Value = Constant | Tensor


def row_major_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense array in row-major order."""
    return dense_strides(shape, range(len(shape)))


def dense_strides(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense array whose axes lie in memory in the given order, outermost first."""
    strides = [0] * len(shape)
    step = 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def channels_last_order(rank: int) -> tuple[int, ...]:
    """Return the memory order of NHWC (and NWC, NDHWC) for logical NCHW shapes."""
    return (0, *range(2, rank), 1) if rank >= 3 else tuple(range(rank))


def reshape_strides(
    shape: Sequence[int], strides: Sequence[int], new_shape: Sequence[int]
) -> tuple[int, ...] | None:
    """Strides under which the same memory reads as ``new_shape`` in row-major order, or None (numpy's rule).

    Old and new axes are walked in groups of equal size; the old axes of a group must be mergeable into one.
    """
    if math.prod(shape) == 0:
        return row_major_strides(new_shape)
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    result = [1] * len(new_shape)
    i = j = 0
    while i < len(old):
        i_end, j_end = i + 1, j + 1
        old_size, new_size = old[i][0], new_shape[j]
        while old_size != new_size:
            if new_size < old_size:
                new_size *= new_shape[j_end]
                j_end += 1
            else:
                old_size *= old[i_end][0]
                i_end += 1
        for (_, outer), (n, inner) in zip(old[i : i_end - 1], old[i + 1 : i_end], strict=True):
            if outer != n * inner:
                return None
        step = old[i_end - 1][1]
        for axis in range(j_end - 1, j - 1, -1):
            result[axis] = step
            step *= new_shape[axis]
        i, j = i_end, j_end
    return tuple(result)


def normalized_axis(name: str, axis: int, rank: int) -> int:
    """Return an axis counted from 0; ``name`` starts the message if it is out of range."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{name}: expected -{rank} to {rank - 1}, got {axis}")
    return axis + rank if axis < 0 else axis


def normalized_axes(name: str, axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return axes counted from 0, each at most once."""
    result = tuple(normalized_axis(name, axis, rank) for axis in axes)
    if len(set(result)) != len(result):
        raise ShapeError(f"{name}: expected each axis once, got {list(axes)}")
    return result
