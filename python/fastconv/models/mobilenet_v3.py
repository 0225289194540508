"""Models: MobileNet v3, large and small, under torchvision's key names or timm's.

Called through the table in ``fastconv.models``. Howard et al., "Searching for MobileNetV3", arXiv:1905.02244:
inverted residuals as in MobileNetV2, some with squeeze-and-excitation (Hu et al., arXiv:1709.01507) and with
hard swish for ReLU. The epsilon of batch normalisation is each package's own. Timm's ``tf_`` variants have
the key names of its others and are not these: they pad as TensorFlow does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastconv.models.mobilenet import TIMM, Keys, divisible, timm_block
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


class BlockKeys(NamedTuple):
    """The names of a block's convolutions and normalisations, and of the two convolutions that squeeze."""

    expand: Sequence[Keys]  # one, or none where the block does not expand
    depthwise: Keys
    squeeze: Keys
    project: Keys


@dataclass(frozen=True)
class _Style:
    """How a package names the parts; ``block(number, stage, index, expands, squeezes)`` those of a block.

    ``last`` is the convolution after the blocks, ``hidden`` the layer before the classifier. Stages are
    numbered from 0, and so are blocks.
    """

    epsilon: float
    stem: Keys
    last: Callable[[int, int], Keys]  # of the number of blocks, and of stages
    hidden: str
    classifier: str
    block: Callable[[int, int, int, bool, bool], BlockKeys]


def _torchvision_block(number: int, _stage: int, _index: int, expands: bool, squeezes: bool) -> BlockKeys:
    names = [f"features.{number + 1}.block.{i}" for i in range(4)]  # a block has no number for what it lacks
    expand, (depthwise, squeeze, *rest) = names[:expands], names[expands:]

    def keys(name: str) -> Keys:
        return f"{name}.0", f"{name}.1"

    return BlockKeys(
        [keys(name) for name in expand],
        keys(depthwise),
        (f"{squeeze}.fc1", f"{squeeze}.fc2"),
        keys(rest[0] if squeezes else squeeze),
    )


def _timm_block(number: int, stage: int, index: int, expands: bool, _squeezes: bool) -> BlockKeys:
    *expand, depthwise, project = timm_block(stage, index, number, expands)
    squeeze = (f"blocks.{stage}.{index}.se.conv_reduce", f"blocks.{stage}.{index}.se.conv_expand")
    return BlockKeys(expand, depthwise, squeeze, project)


_TORCHVISION = _Style(
    1e-3,
    ("features.0.0", "features.0.1"),
    lambda blocks, _stages: (f"features.{blocks + 1}.0", f"features.{blocks + 1}.1"),
    "classifier.0",
    "classifier.3",
    _torchvision_block,
)
_TIMM = _Style(
    1e-5,
    TIMM.stem,
    lambda _blocks, stages: (f"blocks.{stages}.0.conv", f"blocks.{stages}.0.bn1"),
    "conv_head",
    TIMM.classifier,
    _timm_block,
)


def mobilenet_v3(
    shapes: Shapes, num_classes: int | None, *, name: str, blocks: tuple[Block, ...], hidden: int
) -> Net:
    """Define a MobileNet v3, ``hidden`` wide before the classifier.

    Key style and number of classes are taken from ``shapes``.
    """
    style = _TIMM if TIMM.names(shapes) else _TORCHVISION
    net = Net(name, in_channels=dim(shapes, f"{style.stem[0]}.weight", 1, 3), epsilon=style.epsilon)
    x = net.hard_swish(net.conv_bn(net.input, *style.stem, 16, 3, stride=2))
    stage, index = 0, 0
    for number, block in enumerate(blocks):
        if number > 0:  # a stage is the blocks with as many channels
            stage, index = (stage, index + 1) if block.channels == x.channels else (stage + 1, 0)
        keys = style.block(number, stage, index, block.expanded != x.channels, block.squeezes)
        x = _inverted_residual(net, x, keys, block)
    x = net.hard_swish(net.conv_bn(x, *style.last(len(blocks), stage + 1), 6 * x.channels))
    x = net.global_average_pool(x)
    if style is _TIMM:  # a convolution of one pixel is a layer of one vector
        x = net.flatten(net.conv(x, style.hidden, hidden))
    else:
        x = net.linear(net.flatten(x), style.hidden, hidden)
    classes = num_classes or dim(shapes, f"{style.classifier}.weight", 0, 1000)
    net.output(net.linear(net.hard_swish(x), style.classifier, classes))
    return net


def _inverted_residual(net: Net, x: Feature, keys: BlockKeys, block: Block) -> Feature:
    activation = net.hard_swish if block.swish else net.relu
    y, oc = x, block.expanded
    for expand in keys.expand:
        y = activation(net.conv_bn(y, *expand, oc))
    y = net.conv_bn(y, *keys.depthwise, oc, block.kernel, stride=block.stride, groups=oc)
    y = activation(y)
    if block.squeezes:
        y = _squeeze_excite(net, y, *keys.squeeze)
    y = net.conv_bn(y, *keys.project, block.channels)
    return net.add(y, x) if block.stride == 1 and x.channels == block.channels else y


def _squeeze_excite(net: Net, x: Feature, reduce: str, expand: str) -> Feature:
    y = net.relu(net.conv(net.global_average_pool(x), reduce, divisible(x.channels // 4)))
    return net.multiply(x, net.hard_sigmoid(net.conv(y, expand, x.channels)))
