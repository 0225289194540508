"""The specification of Winograd convolution in float64 numpy: ``reference.conv``, tile by tile.

With F(m, r), m outputs of a correlation with r taps come from n = m + r - 1 inputs as A^T [(G g) . (B^T d)];
F(m x m, r x r) does so along both axes.
"""

from __future__ import annotations

import itertools

import numpy as np

from fastconv.testing.reference import AnyArray, Array, Ints, Padding, add_channels, pads, per_axis

# Rows of A^T, G and B^T of F(m, r), keyed by (m, r): Lavin and Gray, "Fast algorithms for convolutional
# neural networks" (CVPR 2016), but for the sign of the last row and column of F(2, 3) and for F(2, 5), which
# has the points of F(4, 3).
_SIX_INPUTS = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WINOGRAD = {
    (2, 3): (
        [[1, 1, 1, 0], [0, 1, -1, 1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]],
    ),
    (4, 3): (
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        _SIX_INPUTS,
    ),
    (2, 5): (
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 1]],
        [
            [1 / 4, 0, 0, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6, 1 / 3, 2 / 3],
            [1 / 24, -1 / 12, 1 / 6, -1 / 3, 2 / 3],
            [0, 0, 0, 0, 1],
        ],
        _SIX_INPUTS,
    ),
}


def winograd_conv(
    x: AnyArray,
    w: AnyArray,
    bias: AnyArray | None = None,
    *,
    m: int,
    magnitude: bool = False,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Convolve as Winograd's F(m x m, r x r) does, tile by tile: :func:`conv` for kernels of (1 x) r x r.

    Tiles start at output pixel 0, of each residue modulo the dilation. With `magnitude`, every number is
    replaced by its absolute value, those of the transforms too: what rounding errors are proportional to.
    Unlike the sum of the plain products it reaches over whole tiles, and where values cancel in a transform,
    it is larger than the result's own magnitude.
    """
    if w.ndim == 5:  # a kernel of depth 1: each slice is an image
        n, _, depth, *size = x.shape
        step, edge, spread = per_axis(stride, 3), padding, per_axis(dilation, 3)
        if not isinstance(edge, (int, str)):
            edge = [edge[i] for i in ((1, 2) if len(edge) == 3 else (1, 2, 4, 5))]
        elif edge == 0:
            edge = (0, 0)
        images = np.moveaxis(x, 2, 1).reshape(n * depth, x.shape[1], *size)
        y = winograd_conv(
            images, w[:, :, 0], bias, m=m, magnitude=magnitude,
            stride=step[1:], padding=edge, dilation=spread[1:], groups=groups,
        )  # fmt: skip
        return np.moveaxis(y.reshape(n, depth, *y.shape[1:]), 1, 2)
    kernel = w.shape[2:]
    output, weight, data = (np.array(rows, np.float64) for rows in _WINOGRAD[m, kernel[0]])
    spread = per_axis(dilation, 2)
    edges = pads(padding, x.shape[2:], kernel, per_axis(stride, 2), spread)
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), *edges))
    filters = np.asarray(w, np.float64)
    if magnitude:
        output, weight, data, padded, filters = map(np.abs, (output, weight, data, padded, filters))
    out = [i - d * (k - 1) for i, k, d in zip(padded.shape[2:], kernel, spread, strict=True)]
    n, ic, oc = x.shape[0], x.shape[1], w.shape[0]
    u = (weight @ filters @ weight.T).reshape(groups, oc // groups, ic // groups, *data.shape)
    y = np.zeros((n, oc, *out))
    for row, column in itertools.product(*(range(min(d, o)) for d, o in zip(spread, out, strict=True))):
        phase = (..., slice(row, None, spread[0]), slice(column, None, spread[1]))
        rows, columns = y[phase].shape[2:]
        tiles = (-(-rows // m), -(-columns // m))
        image = padded[phase]
        # Whole tiles: beyond the image the values do not matter, for their outputs are cut off.
        grow = [max(0, t * m + kernel[0] - 1 - i) for t, i in zip(tiles, image.shape[2:], strict=True)]
        image = np.pad(image, ((0, 0), (0, 0), (0, grow[0]), (0, grow[1])))
        windows = np.lib.stride_tricks.sliding_window_view(image, data.shape, (2, 3))[:, :, ::m, ::m]
        windows = windows[:, :, : tiles[0], : tiles[1]].reshape(n, groups, ic // groups, *tiles, *data.shape)
        v = data @ windows @ data.T
        product = np.einsum("ngithab,goiab->ngothab", v, u, optimize=True)
        result = output @ product @ output.T
        whole = np.moveaxis(result, -2, -3).reshape(n, oc, tiles[0] * m, tiles[1] * m)
        y[phase] = whole[:, :, :rows, :columns]
    return add_channels(y, None if bias is None else np.abs(bias) if magnitude else bias)
