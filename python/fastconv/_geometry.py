"""Where a kernel's windows lie, and what lies around an image beside zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import _arguments as arguments
from fastconv.errors import ArgumentError, ShapeError

# What a border is made of beside zeros, and numpy's word for it.
_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def normalise_padding(padding: Any, spatial: int) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Return auto_pad, the low and the high padding of each dimension."""
    zeros = (0,) * spatial
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ArgumentError(
                f"padding: expected integers, 'same' or 'valid', got {arguments.shown(padding)}"
            )
        return ("same_upper" if padding == "same" else "explicit"), zeros, zeros
    if isinstance(padding, tuple | list) and len(padding) == 2 * spatial and spatial > 0:
        both = arguments.integers("padding", padding, 2 * spatial, 0)
        return "explicit", both[:spatial], both[spatial:]
    each = arguments.integers("padding", padding, spatial, 0)
    return "explicit", each, each


def check_channels(x: NDArray[Any], w: NDArray[Any], groups: Any) -> None:
    """Refuse weights and groups that do not fit an input in NC<spatial> order."""
    channels = x.shape[1]
    groups = arguments.integer("groups", groups, 1)
    if channels % groups:
        raise ShapeError(f"groups: expected a divisor of the {channels} input channels, got {groups}")
    if w.shape[1] * groups != channels:
        raise ShapeError(f"w: expected ic/groups = {channels // groups} channels, got {w.shape[1]}")


def geometry_of(
    w: NDArray[Any],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    *,
    spatial: int,
    transposed: bool = False,
    output_padding: Any = 0,
) -> dict[str, Any]:
    """Check where a kernel's windows lie, and return it as the arguments of ``_core``'s convolutions."""
    groups = arguments.integer("groups", groups, 1)
    if not transposed and w.shape[0] % groups:
        raise ShapeError(f"groups: expected a divisor of the {w.shape[0]} output channels of w, got {groups}")
    auto_pad, low, high = normalise_padding(padding, spatial)
    return {
        "spatial": spatial,
        "stride": arguments.integers("stride", stride, spatial, 1),
        "padding_lo": low,
        "padding_hi": high,
        "dilation": arguments.integers("dilation", dilation, spatial, 1),
        "groups": groups,
        "auto_pad": auto_pad,
        "transposed": transposed,
        "output_padding": arguments.integers("output_padding", output_padding, spatial, 0),
    }


def frozen_geometry(
    stride: Any, padding: Any, dilation: Any, groups: Any, spatial: int = 2
) -> dict[str, Any]:
    """Return what says the same, without the objects that the caller may change."""
    auto_pad, low, high = normalise_padding(padding, spatial)
    return {
        "stride": arguments.integers("stride", stride, spatial, 1),
        "padding": low + high if auto_pad == "explicit" else "same",
        "dilation": arguments.integers("dilation", dilation, spatial, 1),
        "groups": arguments.integer("groups", groups, 1),
    }


class Border:
    """What is put around an image before it is convolved without padding."""

    def __init__(self, mode: str, kernel: Sequence[int], geometry: Mapping[str, Any]) -> None:
        spatial = len(kernel)
        self._mode, self._kernel = mode, kernel
        self._auto, low, high = normalise_padding(geometry["padding"], spatial)
        self._widths = list(zip(low, high, strict=True))
        self._stride = arguments.integers("stride", geometry["stride"], spatial, 1)
        self._dilation = arguments.integers("dilation", geometry["dilation"], spatial, 1)

    def widths(self, image: Sequence[int]) -> list[tuple[int, int]]:
        """Return the pixels before and after each axis; ArgumentError where an image has not so many."""
        widths = self._widths
        if self._auto != "explicit":
            each = zip(image, self._kernel, self._stride, self._dilation, strict=True)
            totals = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in each]
            widths = [(total // 2, total - total // 2) for total in totals]
        for n, pads in zip(image, widths, strict=True):
            most = {"reflect": n - 1, "circular": n}.get(self._mode, max(pads) if n else 0)
            if max(pads) > max(most, 0):
                raise ShapeError(
                    f"padding: expected at most {max(most, 0)} with padding_mode={self._mode!r}"
                    f" of {n} pixels, got {max(pads)}"
                )
        return widths

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return an input's shape in NC<spatial> order with the border."""
        n, c, *image = shape
        return (n, c, *(n + sum(pads) for n, pads in zip(image, self.widths(image), strict=True)))

    def around(self, x: NDArray[Any], channels_last: bool) -> NDArray[Any]:
        """Return a copy of an array of the caller's layout with the border."""
        if channels_last:
            pads = [(0, 0), *self.widths(x.shape[1:-1]), (0, 0)]
        else:
            pads = [(0, 0), (0, 0), *self.widths(x.shape[2:])]
        if not x.size:
            return arguments.empty(tuple(n + sum(p) for n, p in zip(x.shape, pads, strict=True)), x.dtype)
        try:
            return np.pad(x, pads, mode=_MODES[self._mode])  # type: ignore[call-overload, no-any-return]
        except ValueError:  # more bytes than an address counts
            raise ShapeError(f"padding: expected a result that an array can hold, got {pads}") from None


def border_of(padding_mode: Any, kernel: Sequence[int], geometry: Mapping[str, Any]) -> Border | None:
    """Return what a convolution puts around its input; None: zeros, which it reads without a copy."""
    if not isinstance(padding_mode, str) or padding_mode not in ("zeros", *_MODES):
        known = ", ".join(("zeros", *_MODES))
        raise ArgumentError(f"padding_mode: expected one of {known}, got {arguments.shown(padding_mode)}")
    return None if padding_mode == "zeros" else Border(padding_mode, kernel, geometry)
