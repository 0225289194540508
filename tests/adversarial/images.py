"""Functions that move or sample the pixels of images: their right arguments and results."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from adversarial.drawing import Arguments, array, layouts, some, to_layout, to_logical


def shuffling(draw: Any, name: str) -> Arguments:
    """Draw the arguments of pixel_shuffle or pixel_unshuffle."""
    up = name == "pixel_shuffle"
    r, layout = draw(st.integers(1, 3)), draw(st.sampled_from(layouts(2)))
    n, c, h, w = (draw(st.integers(0, 3)) for _ in range(4))
    x = array(draw, (n, c * r * r, h, w) if up else (n, c, h * r, w * r))
    return {"x": to_layout(x, layout), "layout": layout, f"{'up' if up else 'down'}scale_factor": r}


def shuffled(arguments: Arguments) -> Any:
    """Return the result of such arguments, of blocks of r x r pixels one after another."""
    layout = arguments["layout"]
    x, up = to_logical(arguments["x"], layout), "upscale_factor" in arguments
    r = arguments["upscale_factor" if up else "downscale_factor"]
    r = r[0] if isinstance(r, tuple) else r
    n, c, h, w = x.shape
    y = np.zeros((n, c // r**2, h * r, w * r) if up else (n, c * r**2, h // r, w // r), x.dtype)
    for i in range(r):
        for j in range(r):
            if up:
                y[:, :, i::r, j::r] = x[:, i * r + j :: r * r]
            else:
                y[:, i * r + j :: r * r] = x[:, :, i::r, j::r]
    return to_layout(y, layout)


def sampling(draw: Any, _: str) -> Arguments:
    """Draw the arguments of grid_sample, of points at eighths of an image of four pixels."""
    layout, n = draw(st.sampled_from(layouts(2))), draw(st.integers(0, 2))
    x = array(draw, (n, draw(st.sampled_from((0, 2, 9))), 4, 4))
    grid = array(draw, (n, draw(st.integers(0, 3)), draw(st.integers(1, 3)), 2)) / 3.25
    arguments = {"x": to_layout(x, layout), "grid": grid.astype(np.float32), "layout": layout}
    some(
        draw,
        arguments,
        mode=st.sampled_from(("bilinear", "nearest", "bicubic")),
        padding_mode=st.sampled_from(("zeros", "border", "reflection")),
        align_corners=st.booleans(),
    )
    return arguments


def sampled(arguments: Arguments) -> Any:
    """Return the bilinear result, point by point; tests/kernels/test_sample.py has the other modes."""
    padding = arguments.get("padding_mode", "zeros")
    if arguments.get("mode", "bilinear") != "bilinear" or padding == "reflection":
        return None
    layout = arguments["layout"]
    x, grid = to_logical(arguments["x"], layout).astype(np.float64), arguments["grid"].astype(np.float64)
    y = np.zeros((*x.shape[:2], *grid.shape[1:3]))
    for image, row, column in np.ndindex(len(x), *grid.shape[1:3]):
        axes = []
        for n, g in zip(x.shape[2:], grid[image, row, column, ::-1], strict=True):
            at = (g + 1) / 2 * (n - 1) if arguments.get("align_corners") else ((g + 1) * n - 1) / 2
            at = min(max(at, 0), n - 1) if padding == "border" else min(max(at, -2), n + 1)
            low = math.floor(at)
            axes.append([(i, w) for i, w in ((low, low + 1 - at), (low + 1, at - low)) if 0 <= i < n])
        for (i, a), (j, b) in ((u, v) for u in axes[0] for v in axes[1]):
            y[image, :, row, column] += a * b * x[image, :, i, j]
    return to_layout(y, layout)
