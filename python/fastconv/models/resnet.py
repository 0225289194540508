"""Models: ResNet-18/34/50/101/152 and ResNeXt-50 under torchvision's key names (timm has the same).

Called through the table in ``fastconv.models``. He et al., "Deep Residual Learning for Image Recognition",
arXiv:1512.03385, with the stride of a bottleneck on its 3x3 convolution ("v1.5"), as torchvision has it; Xie
et al., "Aggregated Residual Transformations for Deep Neural Networks", arXiv:1611.05431, whose bottlenecks
are wider and their 3x3 convolutions in groups.
"""

from __future__ import annotations

from functools import partial

from fastconv.models.network import Feature, Net, Shapes, dim


def resnet(
    shapes: Shapes,
    num_classes: int | None,
    *,
    name: str,
    blocks: tuple[int, ...],
    bottleneck: bool,
    groups: int = 1,
    group_width: int = 64,
) -> Net:
    """Define a ResNet; the width of the stem (64 in the paper) and the classes are taken from ``shapes``.

    ``groups`` and ``group_width`` are of a bottleneck's 3x3 convolution in the first stage, for that stem.
    """
    width = dim(shapes, "conv1.weight", 0, 64)
    net = Net(name, in_channels=dim(shapes, "conv1.weight", 1, 3))
    x = net.relu(net.conv_bn(net.input, "conv1", "bn1", width, 7, stride=2))
    x = net.max_pool(x, 3, 2)
    block = partial(_bottleneck, groups=groups, group_width=group_width) if bottleneck else _basic_block
    for stage, repeats in enumerate(blocks):
        for index in range(repeats):
            stride = 2 if stage > 0 and index == 0 else 1
            x = block(net, x, f"layer{stage + 1}.{index}", width << stage, stride)
    net.classifier(x, "fc", num_classes or dim(shapes, "fc.weight", 0, 1000))
    return net


def _basic_block(net: Net, x: Feature, key: str, width: int, stride: int) -> Feature:
    y = net.relu(net.conv_bn(x, f"{key}.conv1", f"{key}.bn1", width, 3, stride=stride))
    y = net.conv_bn(y, f"{key}.conv2", f"{key}.bn2", width, 3)
    return net.relu(net.add(y, _shortcut(net, x, key, width, stride)))


def _bottleneck(
    net: Net, x: Feature, key: str, width: int, stride: int, *, groups: int, group_width: int
) -> Feature:
    inner = width * group_width // 64 * groups
    y = net.relu(net.conv_bn(x, f"{key}.conv1", f"{key}.bn1", inner))
    y = net.relu(net.conv_bn(y, f"{key}.conv2", f"{key}.bn2", inner, 3, stride=stride, groups=groups))
    y = net.conv_bn(y, f"{key}.conv3", f"{key}.bn3", 4 * width)
    return net.relu(net.add(y, _shortcut(net, x, key, 4 * width, stride)))


def _shortcut(net: Net, x: Feature, key: str, oc: int, stride: int) -> Feature:
    if stride == 1 and x.channels == oc:
        return x
    return net.conv_bn(x, f"{key}.downsample.0", f"{key}.downsample.1", oc, stride=stride)
