"""Models: MobileNet v1 and v2, and what their relatives (efficientnet_lite.py) are made of.

Called through the table in ``fastconv.models``. Howard et al., "MobileNets", arXiv:1704.04861, under timm's
key names; Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381, under
torchvision's or timm's. All of them are a stem, stages of depthwise-separable blocks and a classifier; a
:class:`KeyStyle` says what the parts are called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastconv.models.network import Net, Shapes, dim

Keys = tuple[str, str]  # of a convolution and of its batch normalisation

_WIDTHS = (1.0, 0.25, 0.35, 0.5, 0.75, 1.1, 1.2, 1.25, 1.3, 1.4, 1.5, 2.0)  # the multipliers in circulation


class Stage(NamedTuple):
    """A row of the papers' tables: ``repeats`` blocks, the first of them with ``stride``."""

    kernel: int
    stride: int
    expand: int
    channels: int
    repeats: int


@dataclass(frozen=True)
class KeyStyle:
    """The names of the parts; ``block(stage, index, number, expands)`` names a block's convolutions."""

    stem: Keys
    head: Keys
    classifier: str
    block: Callable[[int, int, int, bool], Sequence[Keys]]

    def names(self, shapes: Shapes) -> bool:
        """Tell whether weights of these shapes have this style's names: that of the stem."""
        return f"{self.stem[0]}.weight" in shapes


def timm_block(stage: int, index: int, _number: int, expands: bool) -> list[Keys]:
    """Name the convolutions of a block as timm does."""
    names = ("conv_pw", "conv_dw", "conv_pwl") if expands else ("conv_dw", "conv_pw")
    key = f"blocks.{stage}.{index}"
    return [(f"{key}.{name}", f"{key}.bn{i + 1}") for i, name in enumerate(names)]


def _torchvision_block(_stage: int, _index: int, number: int, expands: bool) -> list[Keys]:
    key, last = f"features.{number + 1}.conv", 2 if expands else 1
    return [
        *((f"{key}.{i}.0", f"{key}.{i}.1") for i in range(last)),
        (f"{key}.{last}", f"{key}.{last + 1}"),
    ]


TIMM = KeyStyle(("conv_stem", "bn1"), ("conv_head", "bn2"), "classifier", timm_block)
_TORCHVISION = KeyStyle(
    ("features.0.0", "features.0.1"), ("features.18.0", "features.18.1"), "classifier.1", _torchvision_block
)

_V1_STAGES = (
    Stage(3, 1, 1, 64, 1),
    Stage(3, 2, 1, 128, 2),
    Stage(3, 2, 1, 256, 2),
    Stage(3, 2, 1, 512, 6),
    Stage(3, 2, 1, 1024, 2),
)
_V2_STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(3, 2, 6, 32, 3),
    Stage(3, 2, 6, 64, 4),
    Stage(3, 1, 6, 96, 3),
    Stage(3, 2, 6, 160, 3),
    Stage(3, 1, 6, 320, 1),
)


def mobilenet_v1(shapes: Shapes, num_classes: int | None) -> Net:
    """Define MobileNet v1; width and classes are taken from ``shapes``."""
    style = TIMM
    width = _infer_width(shapes, style, _V1_STAGES)
    net = Net("mobilenet_v1", in_channels=dim(shapes, "conv_stem.weight", 1, 3))
    x = net.relu6(net.conv_bn(net.input, *style.stem, divisible(32 * width), 3, stride=2))
    for number, stage, index, spec in _blocks(_V1_STAGES):
        depthwise, pointwise = style.block(stage, index, number, False)
        stride = spec.stride if index == 0 else 1
        x = net.relu6(net.conv_bn(x, *depthwise, x.channels, 3, stride=stride, groups=x.channels))
        x = net.relu6(net.conv_bn(x, *pointwise, divisible(spec.channels * width)))
    net.classifier(x, style.classifier, num_classes or dim(shapes, "classifier.weight", 0, 1000))
    return net


def mobilenet_v2(shapes: Shapes, num_classes: int | None) -> Net:
    """Define MobileNet v2; key style, width and classes are taken from ``shapes``."""
    style = TIMM if TIMM.names(shapes) else _TORCHVISION
    width = _infer_width(shapes, style, _V2_STAGES)
    stages = [stage._replace(channels=divisible(stage.channels * width)) for stage in _V2_STAGES]
    net = Net("mobilenet_v2", in_channels=dim(shapes, f"{style.stem[0]}.weight", 1, 3))
    inverted_residuals(
        net,
        style,
        stages,
        stem=divisible(32 * width),
        head=divisible(1280 * max(1.0, width)),
        num_classes=num_classes or dim(shapes, f"{style.classifier}.weight", 0, 1000),
    )
    return net


def inverted_residuals(
    net: Net, style: KeyStyle, stages: Sequence[Stage], *, stem: int, head: int, num_classes: int
) -> None:
    """Write a whole network of inverted residual blocks (expand, depthwise, project linearly) with ReLU6."""
    x = net.relu6(net.conv_bn(net.input, *style.stem, stem, 3, stride=2))
    for number, stage, index, spec in _blocks(stages):
        *expand, depthwise, project = style.block(stage, index, number, spec.expand > 1)
        stride = spec.stride if index == 0 else 1
        y = x
        for keys in expand:
            y = net.relu6(net.conv_bn(y, *keys, x.channels * spec.expand))
        y = net.conv_bn(y, *depthwise, y.channels, spec.kernel, stride=stride, groups=y.channels)
        y = net.conv_bn(net.relu6(y), *project, spec.channels)
        x = net.add(y, x) if stride == 1 and x.channels == y.channels else y
    x = net.relu6(net.conv_bn(x, *style.head, head))
    net.classifier(x, style.classifier, num_classes)


def divisible(channels: float) -> int:
    """Round a scaled number of channels to a multiple of 8, never down by more than 10 %."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _blocks(stages: Sequence[Stage]) -> list[tuple[int, int, int, Stage]]:
    """Return (running number, stage, index in the stage, the stage's row) for every block."""
    places = [(s, i, spec) for s, spec in enumerate(stages) for i in range(spec.repeats)]
    return [(number, *place) for number, place in enumerate(places)]


def _infer_width(shapes: Shapes, style: KeyStyle, stages: Sequence[Stage]) -> float:
    """Return the width multiplier that explains the output channels of most stages (1.0 without evidence)."""
    expected: Mapping[str, int] = {
        style.block(stage, 0, number, spec.expand > 1)[-1][0]: spec.channels
        for number, stage, index, spec in _blocks(stages)
        if index == 0
    }

    def explained(width: float) -> int:
        return sum(dim(shapes, f"{k}.weight", 0, 0) == divisible(c * width) for k, c in expected.items())

    return max(_WIDTHS, key=explained)
