"""Models: SqueezeNet 1.0 and 1.1 under torchvision's key names.

Called through the table in ``fastconv.models``. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x
fewer parameters and <0.5MB model size", arXiv:1602.07360; 1.1 is the authors' later version, which pools
earlier and costs 2.4 times less.
"""

from __future__ import annotations

from fastconv.models.network import Feature, Net, Shapes, dim

_POOL = 0

# After the stem and its pooling: the squeezed channels of each fire module, or a pooling.
LAYOUT_1_0 = (16, 16, 32, _POOL, 32, 48, 48, 64, _POOL, 64)
LAYOUT_1_1 = (16, 16, _POOL, 32, 32, _POOL, 48, 48, 64, 64)


def squeezenet(
    shapes: Shapes, num_classes: int | None, *, name: str, stem: tuple[int, int], layout: tuple[int, ...]
) -> Net:
    """Define a SqueezeNet; the number of classes is taken from ``shapes``.

    ``stem`` are channels and kernel of the first convolution, ``layout`` the squeezed channels of each fire
    module, or a pooling between them.
    """
    net = Net(name, in_channels=dim(shapes, "features.0.weight", 1, 3))
    x = net.relu(net.conv(net.input, "features.0", *stem, stride=2, pad=0))
    for index, squeezed in enumerate((_POOL, *layout), 2):
        if squeezed == _POOL:
            x = net.max_pool(x, 3, 2, pad=0, ceil=True)
        else:
            x = _fire(net, x, f"features.{index}", squeezed)
    # The classifier comes before the pooling: a 1x1 convolution.
    x = net.relu(net.conv(x, "classifier.1", num_classes or dim(shapes, "classifier.1.weight", 0, 1000)))
    net.output(net.flatten(net.global_average_pool(x)))
    return net


def _fire(net: Net, x: Feature, key: str, squeezed: int) -> Feature:
    x = net.relu(net.conv(x, f"{key}.squeeze", squeezed))
    return net.concat(
        net.relu(net.conv(x, f"{key}.expand1x1", 4 * squeezed)),
        net.relu(net.conv(x, f"{key}.expand3x3", 4 * squeezed, 3)),
    )
