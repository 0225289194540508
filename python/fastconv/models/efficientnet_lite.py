"""Models: EfficientNet-Lite0 under the key names of the ``efficientnet-lite-pytorch`` package or of timm.

Called through the table in ``fastconv.models``. EfficientNet-B0 (Tan and Le, arXiv:1905.11946) without
squeeze-and-excitation and with ReLU6 for swish. The package's weights were trained in TensorFlow: padding is
SAME, hence asymmetric where the stride is 2, and batch normalisation has epsilon 1e-3. Timm's were trained in
PyTorch, with padding all round and epsilon 1e-5.
"""

from __future__ import annotations

from fastconv.models.mobilenet import TIMM, Keys, KeyStyle, Stage, inverted_residuals
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


def efficientnet_lite0(shapes: Shapes, num_classes: int | None) -> Net:
    """Define EfficientNet-Lite0; key style and number of classes are taken from ``shapes``."""
    style = TIMM if TIMM.names(shapes) else _TENSORFLOW
    tensorflow = style is _TENSORFLOW
    net = Net(
        "efficientnet_lite0",
        in_channels=dim(shapes, f"{style.stem[0]}.weight", 1, 3),
        epsilon=1e-3 if tensorflow else 1e-5,
        same_padding=tensorflow,
    )
    classes = num_classes or dim(shapes, f"{style.classifier}.weight", 0, 1000)
    inverted_residuals(net, style, _STAGES, stem=32, head=1280, num_classes=classes)
    return net
