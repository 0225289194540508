"""What algorithms really multiply for one layer, by the rules of :mod:`fastconv.lab.profile.executed`."""

from __future__ import annotations

from fastconv.lab.profile.executed import OUTPUTS, macs_of
from fastconv.testing.shapes import ConvLayer


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
