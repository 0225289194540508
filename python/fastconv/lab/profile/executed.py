"""Executed work: the multiply-accumulates that an algorithm does, which no machine does above its peak.

The rates that people compare are of *useful* work, the direct method's count, and Winograd's may exceed the
peak. F(m x m, r x r) makes an m x m tile of outputs from (m + r - 1)^2 products for each pair of an input and
an output channel, in place of m^2 r^2:

    ================  ======  ===============  =================
    algorithm         kernel  products a tile  outputs of a tile
    ================  ======  ===============  =================
    ``winograd_f4``   3x3     36               4x4
    ``winograd_f2``   3x3     16               2x2
    ``winograd_f2``   5x5     36               2x2
    ================  ======  ===============  =================

A direct method may skip the products with padding, so they do not count, here and for the peers, though they
do as useful work. Tiles at the edge count whole, for they are computed whole, and a convolution of dilation d
is d^2 dense ones with tiles of their own. The transforms' additions are left out, as are biases and
activations everywhere.

The sparse algorithms do the products of the weights that are left, whole blocks of them where those are
blocks.

The products of signs are counted as those of numbers, and held against the peak of bits.

A layer of 8 bits counts in the same way. Its Winograd's transformed pixels and weights are of 16 bits, so its
products are held against the peak of such, and those of all others against that of bytes. Layers whose
numbers are rounded to bf16 have a peak of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastconv.graph.value import BYTES

if TYPE_CHECKING:
    from fastconv.graph.context import Step

OUTPUTS = {"winograd_f4": 4, "winograd_f2": 2}  # of a tile, along one axis
SPARSE = ("sparse_planes", "sparse_panels")  # that leave out weights of zero


def macs_of(
    algorithm: str, filters: int, out: Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> int:
    """Count the multiply-accumulates of a convolution with `filters` pairs of input and output channels."""
    if algorithm not in OUTPUTS:
        return filters * math.prod(out) * math.prod(kernel)
    m = OUTPUTS[algorithm]
    macs = filters
    for size, k, d in zip(out, kernel, dilation, strict=True):
        if k == 1:  # the depth of a 3-D convolution
            macs *= size
            continue
        dense = (math.ceil((size - phase) / d) for phase in range(min(d, size)))
        tiles = sum(math.ceil(outputs / m) for outputs in dense)
        macs *= tiles * (m + k - 1)
    return macs


def arithmetic_of(step: Step) -> str:
    """Return which peak is a roof for a step's work, a key of :data:`fastconv.lab.machine.MEASURED`.

    A step that reads or writes numbers of 8 bits is one of bytes, though it may compute with others within:
    it is free to choose, and no peak is higher.
    """
    if step.algorithm == "xnor":
        return "bit"
    if step.kind == "integer_conv" and step.algorithm in OUTPUTS:
        return "int16"
    if step.algorithm == "bf16":
        return "bf16"
    numbers = (*step.inputs[:1], step.output)
    return "int8" if any(t is not None and t.dtype in BYTES for t in numbers) else "f32"
