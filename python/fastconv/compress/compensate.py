"""Rounding of weights one after another, each error made good by the weights that are still to be rounded.

What a layer loses is (w - w') x for the inputs x that it sees, and inputs are alike: where one weight was
rounded up, another whose input moves with the first's can go down (Frantar et al. 2022, arXiv:2210.17323).
How inputs move together is their covariance; a mean is the bias's to correct.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.compress.weights import MOST, SAFE, safe_pairs
from fastconv.graph.ir import Node
from fastconv.graph.ops.conv import conv_parameters, conv_windows, pads_of
from fastconv.graph.value import Constant

Array = npt.NDArray[Any]

DAMPING = 0.01  # of the mean variance, added to each: what few samples say of covariances is not all true
MOST_INPUTS = 1152  # that are rounded together; more go in pieces
ROWS = 8192  # of inputs that are looked at, for each group of channels
ELEMENTS = 1 << 25  # of all of them, at the most
FACTORS = (0.8, 0.9, 1.0, 1.12, 1.25, 1.4, 1.6, 1.8)  # of a scale that are tried
BLOCK = 64  # columns whose errors are handed on at once


def input_rows(x: Array, node: Node, w: Array) -> Array:
    """Return what a convolution multiplies its weights by: (groups, rows, taps x inputs), some of all rows.

    The order of a row is that of weights whose taps come first: tap after tap, and of each its inputs.
    """
    attrs = node.attrs
    auto_pad, groups = attrs.get("auto_pad", "NOTSET"), attrs.get("group", 1)
    given = attrs.get("dilations"), groups, attrs.get("kernel_shape"), attrs.get("strides")
    padding = pads_of(auto_pad, attrs.get("pads"), w.ndim - 2)
    windows = conv_windows(conv_parameters(Constant(w), auto_pad, *given), x.shape, w.shape, padding)
    images, channels = x.shape[:2]
    count = images * math.prod(windows.out)
    rows = min(ROWS, count, max(1, ELEMENTS // (channels * math.prod(windows.kernel))))
    at = np.unique(np.linspace(0, count - 1, rows).astype(np.int64))
    image, *place = np.unravel_index(at, (images, *windows.out))
    index: tuple[Any, ...] = (image, slice(None), *place)
    picked = np.stack([seen[index] for seen in windows.taps(windows.pad(x, 0))])  # taps, rows, channels
    by_group = picked.reshape(len(picked), len(at), groups, channels // groups).transpose(2, 1, 0, 3)
    return np.ascontiguousarray(by_group).reshape(groups, len(at), -1)


def compensated(
    w: Array,
    scale: Array,
    rows: Array,
    *,
    inputs: int,
    portable: bool,
    centred: bool,
    factors: Sequence[float] = FACTORS,
) -> tuple[Array, Array]:
    """Return weights (groups, outputs, taps x inputs) as whole numbers, and their scales; zeros stay zeros.

    Parameters
    ----------
    w : array
    scale : array
        Of each output: (groups, outputs).
    rows : array
        What the weights are multiplied by, some examples: (groups, rows, taps x inputs).
    inputs : int
        How many inputs a tap has: those side by side are the pairs that must not saturate.
    portable : bool
        Whether they must not.
    centred : bool
        Whether a bias will correct the mean of the error.
    factors : sequence of float
        Of the scales that are tried, for what is lost by clipping and by pairs that must not saturate
        depends on the inputs too.
    """
    w = w.astype(np.float64)
    columns = w.shape[2]
    size = -(-columns // -(-columns // MOST_INPUTS))
    size += size % 2 if inputs % 2 == 0 else 0  # no pair is cut in two
    pieces = [slice(start, min(start + size, columns)) for start in range(0, columns, size)]
    moments = [_moments(rows[:, :, piece], centred) for piece in pieces]
    scale = scale.astype(np.float64)
    scale = _best_scale(w, scale, pieces, moments, inputs if portable else 1, factors)
    whole = w / scale[..., None]
    numbers = np.zeros(w.shape)
    for piece, known in zip(pieces, moments, strict=True):
        numbers[:, :, piece] = _rounded(whole[:, :, piece], _influence(known), inputs, portable)
        start = piece.start
        if portable and start and inputs % 2 and inputs > 1:  # a pair lies across the cut
            before = numbers[:, :, start - 1]
            numbers[:, :, start] = np.clip(numbers[:, :, start], -SAFE - before, SAFE - before)
    return numbers, scale


def _moments(rows: Array, centred: bool) -> Array:
    """Return how inputs move together, for each group, with a little of each added to itself."""
    if centred:
        rows = rows - rows.mean(1, keepdims=True)
    moments = (rows.transpose(0, 2, 1) @ rows).astype(np.float64) / rows.shape[1]
    mean = np.diagonal(moments, axis1=1, axis2=2).mean(1)
    mean = np.where(mean > 0, mean, 1.0)  # of inputs that are always the same
    return np.asarray(moments + DAMPING * mean[:, None, None] * np.eye(moments.shape[1]))


def _best_scale(
    w: Array,
    scale: Array,
    pieces: Sequence[slice],
    moments: Sequence[Array],
    inputs: int,
    factors: Sequence[float],
) -> Array:
    """Return the scale of each output with which rounding one by one loses least."""
    best, least = scale, np.full(scale.shape, np.inf)
    groups, outputs, columns = w.shape
    for factor in factors:
        tried = scale * factor
        whole = w / tried[..., None]
        numbers = np.clip(np.rint(whole), -MOST, MOST)
        if inputs > 1:
            by_input = (a.reshape(groups * outputs, -1, inputs).transpose(0, 2, 1) for a in (numbers, whole))
            numbers = safe_pairs(*by_input).transpose(0, 2, 1).reshape(groups, outputs, columns)
        error = (numbers - whole) * tried[..., None]
        lost = np.zeros(scale.shape)
        for piece, known in zip(pieces, moments, strict=True):
            lost += (error[:, :, piece] @ known * error[:, :, piece]).sum(2)
        best, least = np.where(lost < least, tried, best), np.minimum(lost, least)
    return best


def _influence(moments: Array) -> Array:
    """Return what the error of a column is worth to those after it, a row for each, for each group."""
    inverse = np.linalg.inv(moments)
    return np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)


def _rounded(w: Array, upper: Array, inputs: int, portable: bool) -> Array:
    work, numbers = w.copy(), np.zeros(w.shape)
    columns = w.shape[2]
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        errors = np.zeros((*w.shape[:2], end - start))
        for k in range(start, end):
            numbers[:, :, k] = np.where(w[:, :, k] == 0, 0, _whole(work, numbers, k, inputs, portable))
            errors[:, :, k - start] = (work[:, :, k] - numbers[:, :, k]) / upper[:, k, k, None]
            work[:, :, k + 1 : end] -= errors[:, :, k - start, None] * upper[:, None, k, k + 1 : end]
        work[:, :, end:] -= errors @ upper[:, start:end, end:]
    return numbers


def _whole(work: Array, numbers: Array, k: int, inputs: int, portable: bool) -> Array:
    """Return a column of whole numbers that its neighbours allow."""
    wanted = work[:, :, k]
    if not portable or inputs == 1:
        return np.clip(np.rint(wanted), -MOST, MOST)
    odd = inputs % 2 == 1
    low, high = np.full(wanted.shape, float(-MOST)), np.full(wanted.shape, float(MOST))
    if (odd and k > 0) or (not odd and k % 2):
        low = np.maximum(low, -SAFE - numbers[:, :, k - 1])
        high = np.minimum(high, SAFE - numbers[:, :, k - 1])
    if (odd or k % 2 == 0) and k + 1 < work.shape[2]:  # half of what both have too much is taken from each
        both = wanted + work[:, :, k + 1]
        wanted = wanted - np.sign(both) * np.maximum(np.abs(both) - SAFE, 0) / 2
    return np.clip(np.rint(wanted), low, high)
