"""Importers: what every reader of weight files returns, tensors described now and loaded when asked for.

The readers (torch, safetensors, npz) check a file's structure once and list one :class:`Tensor` per array;
its ``load`` is a view into the file, or inflates one member. :class:`Weights` is the mapping that the model
definitions see: floating-point values arrive as float32, every array C-contiguous and aligned.
"""

from __future__ import annotations

import math
import mmap
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastconv._files import open_plain
from fastconv.errors import ModelError, ShapeError
from fastconv.graph.value import size_of

Array = npt.NDArray[Any]
DType = np.dtype[Any]
FileData = bytes | mmap.mmap

#: Where checkpoints keep the weights; of sets that are equal otherwise the first of these is meant.
CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model", "net", "model_state", "weights")
#: How the names of numbers end that are no weights: of what averages these, or counts what they do.
COUNTERS = ("num_batches_tracked", "n_averaged", "total_ops", "total_params")

#: numpy has no bfloat16: a one-field record marks its 16 bits until :func:`to_native` widens them.
BF16: DType = np.dtype([("bf16", "<u2")])


class Tensor(NamedTuple):
    """One array of a weight file: its shape, the dtype it is stored in, and how to load it."""

    shape: tuple[int, ...]
    dtype: DType
    load: Callable[[], Array]

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory (16-bit floats double on loading)."""
        return math.prod(self.shape) * max(self.dtype.itemsize, 4)


class Weights(Mapping[str, Array]):
    """Arrays by name, each loaded when it is asked for; ``shapes`` tells their shapes without loading."""

    def __init__(self, source: str, tensors: Mapping[str, Tensor]) -> None:
        self.source = source
        self._tensors = dict(tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array, by name."""
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensors[name]
        try:
            return to_native(tensor.load())
        except (ValueError, ArithmeticError, MemoryError, zlib.error) as error:
            raise ModelError(f"{name}: cannot be read from {self.source}: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Weights({self.source!r}, {len(self)} arrays)"


def mappings_in(mapping: Mapping[Any, Any]) -> list[Mapping[Any, Any]]:
    """Return the mappings that a mapping holds, those under customary keys first."""
    known = [mapping[key] for key in CHECKPOINT_KEYS if key in mapping]
    others = [value for key, value in mapping.items() if key not in CHECKPOINT_KEYS]
    return [value for value in (*known, *others) if isinstance(value, Mapping)]


def checked_size(shape: Sequence[int], where: str, most: int) -> int:
    """Return the number of elements of a shape that a file gives; ModelError unless a tensor may have it."""
    try:
        return size_of(shape, where, most=most)
    except ShapeError as error:
        raise ModelError(str(error)) from None


def map_file(path: Path) -> FileData:
    """Return a file's contents, mapped: what is never read costs nothing. An empty file has none to map."""
    with open_plain(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def map_parts(path: Path, spans: Mapping[int, tuple[int, int]]) -> dict[int, memoryview]:
    """Map parts of a file one by one: the memory of each goes back when its view does."""
    with open_plain(path) as file:
        return {key: map_part(file.fileno(), begin, end) for key, (begin, end) in spans.items()}


def map_part(file: int, begin: int, end: int) -> memoryview:
    """Map the bytes of an open file from one place to another; at least one."""
    offset = begin - begin % mmap.ALLOCATIONGRANULARITY
    mapped = mmap.mmap(file, end - offset, access=mmap.ACCESS_READ, offset=offset)
    return memoryview(mapped)[begin - offset :]


def view(
    buffer: bytes | bytearray | memoryview,
    shape: tuple[int, ...],
    dtype: DType,
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
) -> Array:
    """Return an array over ``buffer``; numpy refuses one that would reach outside it."""
    return np.ndarray(shape, dtype, buffer, offset, strides)


def check_dtype(name: str, dtype: DType) -> None:
    """Raise ModelError unless an array of ``dtype`` can be a weight: real numbers of at most 64 bits."""
    if dtype != BF16 and (dtype.kind not in "fiub" or dtype.itemsize > 8):
        raise ModelError(f"{name}: expected real numbers of at most 64 bits, got dtype {dtype}")


def to_native(array: Array) -> Array:
    """Return ``array`` C-contiguous, aligned, in native byte order; floating-point values as float32."""
    if array.dtype == BF16:
        bits = np.require(array["bf16"], np.uint32, ["C", "A"])
        return np.asarray(bits << np.uint32(16)).view(np.float32)
    dtype = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    with np.errstate(over="raise", under="ignore"):  # a float64 too large for float32 is an error, not inf
        return np.require(array, dtype, ["C", "A"])
