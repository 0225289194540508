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
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastconv.graph.program import Program

OUTPUTS = {"winograd_f4": 4, "winograd_f2": 2}  # of a tile, along one axis


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


def saved_macs(program: Program) -> int:
    """Return how many multiply-accumulates the steps of a network's program do not do, of the useful ones."""
    saved, weights = 0, program.weights
    for times, step in ((stage.times, step) for stage in program.stages for step in stage.steps):
        weight = weights.get(step.node.inputs[1]) if step.node.op in ("Conv", "FusedConv") else None
        if step.kind == "conv" and weight is not None:
            oc, ic, *kernel = weight
            n, _, *out = step.output.shape
            dilation = step.node.attrs.get("dilations", [1] * len(out))
            taken = step.params[0].kernel[-len(out) :]  # what meets the image
            name = step.algorithm if step.algorithm in OUTPUTS else "direct"
            direct = macs_of("direct", n * oc * ic, out, kernel, dilation)
            saved += times * (direct - macs_of(name, n * oc * ic, out, taken, dilation))
    return saved
