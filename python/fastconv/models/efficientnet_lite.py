"""Models: EfficientNet-Lite0 to Lite4, under the keys of ``efficientnet-lite-pytorch`` or of timm.

Called through the table in ``fastconv.models``. EfficientNets (Tan and Le, arXiv:1905.11946) without
squeeze-and-excitation and with ReLU6 for swish; as they grow, stem and head keep their width, and the first
and the last stage their depth. The package's weights were trained in TensorFlow: padding is
SAME, hence asymmetric where the stride is 2, and batch normalisation has epsilon 1e-3. Timm's were trained in
PyTorch, with padding all round and epsilon 1e-5.
"""

from __future__ import annotations

import math

from fastconv.models.mobilenet import TIMM, Keys, KeyStyle, Stage, divisible, inverted_residuals
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


_TENSORFLOW = KeyStyle(("_conv_stem", "_bn0"), ("_conv_head", "_bn1"), "_fc", _block)


def efficientnet_lite(
    shapes: Shapes, num_classes: int | None, *, name: str, width: float, depth: float
) -> Net:
    """Define an EfficientNet-Lite; key style and number of classes are taken from ``shapes``."""
    style = TIMM if TIMM.names(shapes) else _TENSORFLOW
    tensorflow = style is _TENSORFLOW
    net = Net(
        name,
        in_channels=dim(shapes, f"{style.stem[0]}.weight", 1, 3),
        epsilon=1e-3 if tensorflow else 1e-5,
        same_padding=tensorflow,
    )
    first, *middle, last = _STAGES
    deeper = (stage._replace(repeats=math.ceil(stage.repeats * depth)) for stage in middle)
    stages = [s._replace(channels=divisible(s.channels * width)) for s in (first, *deeper, last)]
    classes = num_classes or dim(shapes, f"{style.classifier}.weight", 0, 1000)
    inverted_residuals(net, style, stages, stem=32, head=1280, num_classes=classes)
    return net
