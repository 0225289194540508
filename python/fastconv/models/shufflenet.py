"""Models: ShuffleNet v1 under key names of its own, ShuffleNet v2 under torchvision's.

Called through the table in ``fastconv.models``. Zhang et al., "ShuffleNet: An Extremely Efficient
Convolutional Neural Network for Mobile Devices", arXiv:1707.01083, 1x with three groups; Ma et al.,
"ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", arXiv:1807.11164.

Torchvision has no ShuffleNet v1. Its keys here follow the resnets': ``conv1`` and ``bn1`` are the stem,
``fc`` the classifier, and unit i (from 0) of the paper's stage s (2, 3, 4) has ``stage{s}.{i}.conv1`` with
``.bn1`` (1x1 in groups), ``.conv2`` with ``.bn2`` (3x3, depthwise) and ``.conv3`` with ``.bn3`` (1x1 in
groups). The channels of groups lie one group after the other, as torch has them.
"""

from __future__ import annotations

from fastconv.models.network import Feature, Net, Shapes, dim

_REPEATS = (4, 8, 4)  # units of stages 2, 3 and 4, in both papers


def shufflenet_v1(shapes: Shapes, num_classes: int | None) -> Net:
    """Define ShuffleNet v1; the number of classes is taken from ``shapes``."""
    net = Net("shufflenet_v1", in_channels=dim(shapes, "conv1.weight", 1, 3))
    x = net.relu(net.conv_bn(net.input, "conv1", "bn1", 24, 3, stride=2))
    x = net.max_pool(x, 3, 2)
    for stage, (oc, repeats) in enumerate(zip((240, 480, 960), _REPEATS, strict=True), 2):
        for index in range(repeats):
            # The stem's 24 channels are too few for groups (section 3.2).
            groups = 1 if (stage, index) == (2, 0) else 3
            x = _unit_v1(net, x, f"stage{stage}.{index}", oc, 2 if index == 0 else 1, groups)
    net.classifier(x, "fc", num_classes or dim(shapes, "fc.weight", 0, 1000))
    return net


def _unit_v1(net: Net, x: Feature, key: str, oc: int, stride: int, groups: int) -> Feature:
    y = net.relu(net.conv_bn(x, f"{key}.conv1", f"{key}.bn1", oc // 4, groups=groups))
    y = net.shuffle(y, 3)
    y = net.conv_bn(y, f"{key}.conv2", f"{key}.bn2", oc // 4, 3, stride=stride, groups=oc // 4)
    added = oc if stride == 1 else oc - x.channels
    y = net.conv_bn(y, f"{key}.conv3", f"{key}.bn3", added, groups=3)
    if stride == 1:
        return net.relu(net.add(y, x))
    # The average of what a ReLU gave needs none: it is left where it costs nothing, at the convolution.
    return net.concat(net.average_pool(x, 3, 2), net.relu(y))


def shufflenet_v2(
    shapes: Shapes, num_classes: int | None, *, name: str, channels: tuple[int, ...], head: int
) -> Net:
    """Define a ShuffleNet v2 by the channels of its stages; the classes are taken from ``shapes``."""
    net = Net(name, in_channels=dim(shapes, "conv1.0.weight", 1, 3))
    x = net.relu(net.conv_bn(net.input, "conv1.0", "conv1.1", 24, 3, stride=2))
    x = net.max_pool(x, 3, 2)
    for stage, (oc, repeats) in enumerate(zip(channels, _REPEATS, strict=True), 2):
        for index in range(repeats):
            x = _unit_v2(net, x, f"stage{stage}.{index}", oc, 2 if index == 0 else 1)
    x = net.relu(net.conv_bn(x, "conv5.0", "conv5.1", head))
    net.classifier(x, "fc", num_classes or dim(shapes, "fc.weight", 0, 1000))
    return net


def _unit_v2(net: Net, x: Feature, key: str, oc: int, stride: int) -> Feature:
    half = oc // 2
    if stride == 1:
        kept, y = net.channels(x, 0, half), net.channels(x, half, oc)
    else:
        first, y, ic = f"{key}.branch1", x, x.channels
        kept = net.conv_bn(x, f"{first}.0", f"{first}.1", ic, 3, stride=2, groups=ic)
        kept = net.relu(net.conv_bn(kept, f"{first}.2", f"{first}.3", half))
    second = f"{key}.branch2"
    y = net.relu(net.conv_bn(y, f"{second}.0", f"{second}.1", half))
    y = net.conv_bn(y, f"{second}.3", f"{second}.4", half, 3, stride=stride, groups=half)
    y = net.relu(net.conv_bn(y, f"{second}.5", f"{second}.6", half))
    return net.shuffle(net.concat(kept, y), 2)
