"""Models: EfficientNet-Lite0 under the key names of the ``efficientnet-lite-pytorch`` package.

Called through the table in ``fastconv.models``. EfficientNet-B0 (Tan and Le, arXiv:1905.11946) without
squeeze-and-excitation and with ReLU6 for swish. The weights were trained in TensorFlow: padding is SAME,
hence asymmetric where the stride is 2, and batch normalisation has epsilon 1e-3.
"""

from __future__ import annotations

from fastconv.models.mobilenet import Keys, KeyStyle, Stage, inverted_residuals
from fastconv.models.network import Net, Shapes, dim

_STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)


def _block(_stage: int, _index: int, number: int, expands: bool) -> list[Keys]:
    names = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    return [(f"_blocks.{number}.{conv}", f"_blocks.{number}.{bn}") for conv, bn in names[not expands :]]


_STYLE = KeyStyle(("_conv_stem", "_bn0"), ("_conv_head", "_bn1"), "_fc", _block)


def efficientnet_lite0(shapes: Shapes, num_classes: int | None) -> Net:
    """Define EfficientNet-Lite0; the number of classes is taken from ``shapes``."""
    in_channels = dim(shapes, "_conv_stem.weight", 1, 3)
    net = Net("efficientnet_lite0", in_channels=in_channels, epsilon=1e-3, same_padding=True)
    classes = num_classes or dim(shapes, "_fc.weight", 0, 1000)
    inverted_residuals(net, _STYLE, _STAGES, stem=32, head=1280, num_classes=classes)
    return net
