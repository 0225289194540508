"""Arrays beside unmapped memory: a kernel that touches one byte outside its argument gets a SIGSEGV.

``guarded(a)`` ends exactly where an unmapped page begins; ``guarded(a, align_end=False)`` begins exactly
where one ends. Run a kernel on both and neither an over-read nor an under-read of even one float goes
unnoticed.
"""

from __future__ import annotations

import math
import mmap
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastconv import _platform

PAGE = mmap.PAGESIZE

Scalar = TypeVar("Scalar", bound=np.generic)


def guarded_empty(
    shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32, *, align_end: bool = True
) -> npt.NDArray[Any]:
    """Return a writable C-contiguous array between two unmapped pages, touching one of them.

    It holds NaNs, or integers whose bytes are all 0x5a.

    Parameters
    ----------
    shape : tuple of int
        The array's shape; it may hold no element.
    dtype : dtype
        Of floating-point numbers or integers.
    align_end : bool
        The array's last byte is the last before the upper unmapped page; otherwise its first byte is the
        first after the lower one.

    Returns
    -------
    ndarray
        Owns its mapping, which is released with the last array that shares it.

    Examples
    --------
    >>> y = guarded_empty((3, 5))
    >>> (y.ctypes.data + y.nbytes) % 4096
    0
    """
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    inner = max(1, -(-nbytes // PAGE)) * PAGE
    pages = mmap.mmap(-1, PAGE + inner + PAGE)
    memory = np.frombuffer(pages, np.uint8)  # keeps `pages` mapped for as long as an array refers to it
    for page in (memory.ctypes.data, memory.ctypes.data + PAGE + inner):
        _platform.forbid(page, PAGE)
    start = PAGE + inner - nbytes if align_end else PAGE
    array = memory[start : start + nbytes].view(dtype).reshape(shape)
    memory[start : start + nbytes] = 0x5A
    if dtype.kind == "f":
        array[...] = np.nan
    return array


def guarded(array: npt.NDArray[Scalar], *, align_end: bool = True) -> npt.NDArray[Scalar]:
    """Return a C-contiguous copy of `array` beside an unmapped page, placed as by :func:`guarded_empty`."""
    copy: npt.NDArray[Scalar] = guarded_empty(array.shape, array.dtype, align_end=align_end)
    copy[...] = array
    return copy
