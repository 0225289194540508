"""Sliding windows in numpy, for the convolutions and poolings that have no kernel.

A window has taps; the elements that one tap meets in all windows are a strided view of the padded array. So
all of them are loops over the taps, each of whose turns is one operation on whole arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv import _core
from fastconv.graph.ops.products import exact_product, product
from fastconv.graph.value import F64, Array, size_of

MAX_TAPS = 1 << 20  # a loop over more is a broken file's


class SlidingWindows(NamedTuple):
    """Windows over the last dimensions of an array, with one integer a dimension in each tuple."""

    size: tuple[int, ...]  # of the array
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pad_lo: tuple[int, ...]
    out: tuple[int, ...]  # number of windows

    @property
    def extent(self) -> tuple[int, ...]:
        """Size of the padded array: all of the array, and all that the windows see."""
        reach = (
            (o - 1) * s + (k - 1) * d + 1
            for o, s, k, d in zip(self.out, self.stride, self.kernel, self.dilation, strict=True)
        )
        return tuple(max(r, lo + n) for r, lo, n in zip(reach, self.pad_lo, self.size, strict=True))

    def inner(self, padded: Array) -> Array:
        """Return the array's place in the padded one."""
        place = (slice(lo, lo + n) for lo, n in zip(self.pad_lo, self.size, strict=True))
        return _at(padded, place)

    def pad(self, x: Array, fill: float) -> Array:
        """Return a padded copy."""
        padded = np.full((*x.shape[: x.ndim - len(self.size)], *self.extent), fill, x.dtype)
        self.inner(padded)[...] = x
        return padded

    def checked(self, arrays: int) -> SlidingWindows:
        """Return itself, after a padded copy of so many arrays is known to be of a size that there is."""
        size_of(self.kernel, "kernel", most=MAX_TAPS)
        size_of((arrays, *self.extent), "padded")
        return self

    def padded_bytes(self, arrays: int, dtype: np.dtype[Any]) -> int:
        """Return the bytes of a padded copy of so many arrays."""
        return arrays * math.prod(self.extent) * dtype.itemsize

    def taps(self, padded: Array) -> Iterator[Array]:
        """Yield views of a padded array: for each tap, what it meets in all windows."""
        for tap in np.ndindex(*self.kernel):
            place = (
                slice(t * d, t * d + (o - 1) * s + 1, s)
                for t, d, o, s in zip(tap, self.dilation, self.out, self.stride, strict=True)
            )
            yield _at(padded, place)

    def counts(self) -> Array:
        """Return how many taps of each window lie in the array."""
        inside = np.ones(self.size)
        return sum(self.taps(self.pad(inside, 0)), np.zeros(self.out))


def _at(array: Array, place: Iterable[slice]) -> Array:
    """Return a view of a part of an array, along its last dimensions."""
    index: tuple[Any, ...] = (..., *place)
    view: Array = array[index]
    return view


def pool_windows(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pad_lo: Sequence[int],
    pad_hi: Sequence[int],
    ceil_mode: bool,
    auto_pad: str,
) -> SlidingWindows:
    """Return the windows of a pooling; the shapes are those of the kernels'."""
    out, lo = [], []
    for n, k, s, d, begin, end in zip(size, kernel, stride, dilation, pad_lo, pad_hi, strict=True):
        o, _, first, _ = _core.pool_out_shape(
            n, 1, (k, 1), (s, 1), (d, 1), (begin, 0), (end, 0), ceil_mode, auto_pad
        )
        out.append(o)
        lo.append(first[0])
    return SlidingWindows(tuple(size), tuple(kernel), tuple(stride), tuple(dilation), tuple(lo), tuple(out))


def convolve(x: Array, w: Array, windows: SlidingWindows, groups: int, *, exact: bool = False) -> Array:
    """Convolve (n, ic, spatial...) with (oc, ic / groups, spatial...) in their own dtype.

    ``exact``: of f32 whole numbers from -255 to 255, in f64 without rounding.
    """
    multiply = exact_product if exact else product
    n, oc, group_ic = len(x), len(w), w.shape[1]
    kernel = w.reshape(groups, oc // groups, group_ic, -1)
    padded = windows.pad(x.reshape(n, groups, group_ic, *windows.size), 0)
    y = np.zeros((n, groups, oc // groups, int(np.prod(windows.out))), F64 if exact else x.dtype)
    for tap, view in enumerate(windows.taps(padded)):
        columns = view.reshape(*view.shape[:3], -1)
        taps = kernel[..., tap]
        y += taps * columns if group_ic == 1 else multiply(taps, columns)
    return y.reshape(n, oc, *windows.out)


def convolve_transposed(x: Array, w: Array, windows: SlidingWindows, groups: int) -> Array:
    """Transposed convolution of (n, ic, spatial...) with (ic, oc / groups, spatial...) in their own dtype.

    The windows are over the result, one for each pixel of x.
    """
    n, ic, group_oc = len(x), len(w), w.shape[1]
    kernel = w.reshape(groups, ic // groups, group_oc, -1).swapaxes(1, 2)
    columns = x.reshape(n, groups, ic // groups, -1)
    padded = np.zeros((n, groups, group_oc, *windows.extent), x.dtype)
    for tap, view in enumerate(windows.taps(padded)):
        view += product(kernel[..., tap], columns).reshape(view.shape)
    return windows.inner(padded).reshape(n, groups * group_oc, *windows.size)
