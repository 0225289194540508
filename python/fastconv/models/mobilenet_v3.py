"""Models: MobileNet v3, large and small, under torchvision's key names (timm's are others).

Called through the table in ``fastconv.models``. Howard et al., "Searching for MobileNetV3", arXiv:1905.02244:
inverted residuals as in MobileNetV2, some with squeeze-and-excitation (Hu et al., arXiv:1709.01507) and with
hard swish for ReLU. Batch normalisation has epsilon 1e-3, as in torchvision.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

from fastconv.models.mobilenet import divisible
from fastconv.models.network import Feature, Net, Shapes, dim


class Block(NamedTuple):
    """A row of the paper's tables 1 and 2: SE is ``squeezes``, HS is ``swish``."""

    kernel: int
    expanded: int
    channels: int
    squeezes: bool
    swish: bool
    stride: int


LARGE = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    Block(5, 960, 160, True, True, 1),
    Block(5, 960, 160, True, True, 1),
)
SMALL = (
    Block(3, 16, 16, True, False, 2),
    Block(3, 72, 24, False, False, 2),
    Block(3, 88, 24, False, False, 1),
    Block(5, 96, 40, True, True, 2),
    Block(5, 240, 40, True, True, 1),
    Block(5, 240, 40, True, True, 1),
    Block(5, 120, 48, True, True, 1),
    Block(5, 144, 48, True, True, 1),
    Block(5, 288, 96, True, True, 2),
    Block(5, 576, 96, True, True, 1),
    Block(5, 576, 96, True, True, 1),
)


def mobilenet_v3(
    shapes: Shapes, num_classes: int | None, *, name: str, blocks: tuple[Block, ...], hidden: int
) -> Net:
    """Define a MobileNet v3, ``hidden`` wide before the classifier; the classes are taken from ``shapes``."""
    net = Net(name, in_channels=dim(shapes, "features.0.0.weight", 1, 3), epsilon=1e-3)
    x = net.hard_swish(net.conv_bn(net.input, "features.0.0", "features.0.1", 16, 3, stride=2))
    for index, block in enumerate(blocks, 1):
        x = _inverted_residual(net, x, f"features.{index}.block", block)
    key = f"features.{len(blocks) + 1}"
    x = net.hard_swish(net.conv_bn(x, f"{key}.0", f"{key}.1", 6 * x.channels))
    x = net.flatten(net.global_average_pool(x))
    x = net.hard_swish(net.linear(x, "classifier.0", hidden))
    net.output(net.linear(x, "classifier.3", num_classes or dim(shapes, "classifier.3.weight", 0, 1000)))
    return net


def _inverted_residual(net: Net, x: Feature, key: str, block: Block) -> Feature:
    activation = net.hard_swish if block.swish else net.relu
    parts = (f"{key}.{index}" for index in count())  # those that a block does without have no number
    y, oc = x, block.expanded
    if oc != x.channels:
        part = next(parts)
        y = activation(net.conv_bn(y, f"{part}.0", f"{part}.1", oc))
    part = next(parts)
    y = net.conv_bn(y, f"{part}.0", f"{part}.1", oc, block.kernel, stride=block.stride, groups=oc)
    y = activation(y)
    if block.squeezes:
        y = _squeeze_excite(net, y, next(parts))
    part = next(parts)
    y = net.conv_bn(y, f"{part}.0", f"{part}.1", block.channels)
    return net.add(y, x) if block.stride == 1 and x.channels == block.channels else y


def _squeeze_excite(net: Net, x: Feature, key: str) -> Feature:
    y = net.relu(net.conv(net.global_average_pool(x), f"{key}.fc1", divisible(x.channels // 4)))
    return net.multiply(x, net.hard_sigmoid(net.conv(y, f"{key}.fc2", x.channels)))
