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
from typing import Any

from fastconv.testing.shapes import ConvLayer

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


def executed_macs(layer: ConvLayer, algorithm: str) -> int:
    """Return the multiply-accumulates that an algorithm does for a layer of one image.

    >>> layer = ConvLayer("layer", 64, 64, (56, 56), (3, 3), padding=(1, 1, 1, 1))
    >>> layer.macs / executed_macs(layer, "winograd_f4")
    4.0
    >>> layer.macs - executed_macs(layer, "implicit") == padding_macs(layer)
    True
    """
    if algorithm not in OUTPUTS:
        return layer.macs - padding_macs(layer)
    filters = layer.oc * layer.ic // layer.groups
    return macs_of(algorithm, filters, layer.out, layer.kernel, (layer.dilation,) * layer.spatial)


def padding_macs(layer: ConvLayer) -> int:
    """Return how many of a layer's useful multiply-accumulates meet padding: a direct method may skip them.

    At 14 pixels they are 9 % of a 3x3 layer's, enough for a rate of useful work above the peak.
    """
    if layer.transposed:  # each pixel of the input spreads; what falls outside is cropped
        return 0
    inside = layer.oc * layer.ic // layer.groups
    for size, out, k, (low, _) in zip(layer.size, layer.out, layer.kernel, layer.pads, strict=True):
        taps = (o * layer.stride + t * layer.dilation - low for o in range(out) for t in range(k))
        inside *= sum(0 <= at < size for at in taps)
    return layer.macs - inside


def saved_macs(executable: Any, constants: Any) -> int:
    """Return how many multiply-accumulates the steps of a network's program do not do, of the useful ones.

    Parameters
    ----------
    executable : fastconv.graph.compile.Executable
    constants : mapping of str to fastconv.graph.value.Constant
        The model's, for the shapes of its weights.
    """
    saved = 0
    for times, step in ((stage.times, step) for stage in executable.stages for step in stage.steps):
        weight = constants.get(step.node.inputs[1]) if step.node.op in ("Conv", "FusedConv") else None
        if step.kind == "conv" and weight is not None:
            oc, ic, *kernel = weight.shape
            n, _, *out = step.output.shape
            dilation = step.node.attrs.get("dilations", [1] * len(out))
            taken = step.params[0].kernel[-len(out) :]  # what meets the image
            name = step.algorithm if step.algorithm in OUTPUTS else "direct"
            direct = macs_of("direct", n * oc * ic, out, kernel, dilation)
            saved += times * (direct - macs_of(name, n * oc * ic, out, taken, dilation))
    return saved
