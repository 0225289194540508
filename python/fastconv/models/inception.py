"""Models: GoogLeNet and Inception v3 under torchvision's key names.

Called through the table in ``fastconv.models``. Szegedy et al., "Going Deeper with Convolutions",
arXiv:1409.4842, with batch normalisation, and 3x3 convolutions for the paper's 5x5 as in torchvision and in
the TensorFlow model that its weights come from; Szegedy et al., "Rethinking the Inception Architecture for
Computer Vision", arXiv:1512.00567.

The auxiliary classifiers serve training and are left out; their keys may be there. Torchvision's published
weights were trained on images scaled to -1 ... 1, which its modules make of ImageNet's normalisation
(``transform_input=True``); here the image is scaled so by :meth:`Architecture.preprocess`, and the network
takes it as it is.
"""

from __future__ import annotations

from fastconv.models.network import Feature, Kernel, Net, Shapes, dim

# Table 1 of the paper: the channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool projection.
_GOOGLENET = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(shapes: Shapes, num_classes: int | None) -> Net:
    """Define GoogLeNet; the number of classes is taken from ``shapes``."""
    in_channels = dim(shapes, "conv1.conv.weight", 1, 3)
    net = Net("googlenet", in_channels=in_channels, epsilon=1e-3, ignored=("aux1.", "aux2."))
    x = _unit(net, net.input, "conv1", 64, 7, stride=2)
    x = net.max_pool(x, 3, 2, pad=0, ceil=True)
    x = _unit(net, _unit(net, x, "conv2", 64), "conv3", 192, 3)
    x = net.max_pool(x, 3, 2, pad=0, ceil=True)
    for stage, channels in _GOOGLENET.items():
        x = _googlenet_block(net, x, f"inception{stage}", *channels)
        if stage == "3b":
            x = net.max_pool(x, 3, 2, pad=0, ceil=True)
        elif stage == "4e":
            x = net.max_pool(x, 2, 2, pad=0, ceil=True)
    net.classifier(x, "fc", num_classes or dim(shapes, "fc.weight", 0, 1000))
    return net


def _googlenet_block(
    net: Net, x: Feature, key: str, c1: int, reduced3: int, c3: int, reduced5: int, c5: int, pooled: int
) -> Feature:
    return net.concat(
        _unit(net, x, f"{key}.branch1", c1),
        _unit(net, _unit(net, x, f"{key}.branch2.0", reduced3), f"{key}.branch2.1", c3, 3),
        _unit(net, _unit(net, x, f"{key}.branch3.0", reduced5), f"{key}.branch3.1", c5, 3),
        _unit(net, net.max_pool(x, 3, 1), f"{key}.branch4.1", pooled),
    )


def inception_v3(shapes: Shapes, num_classes: int | None) -> Net:
    """Define Inception v3, for images of 299 pixels; the number of classes is taken from ``shapes``."""
    in_channels = dim(shapes, "Conv2d_1a_3x3.conv.weight", 1, 3)
    net = Net("inception_v3", in_channels=in_channels, epsilon=1e-3, ignored=("AuxLogits.",))
    x = _unit(net, net.input, "Conv2d_1a_3x3", 32, 3, stride=2, pad=0)
    x = _unit(net, x, "Conv2d_2a_3x3", 32, 3, pad=0)
    x = net.max_pool(_unit(net, x, "Conv2d_2b_3x3", 64, 3), 3, 2, pad=0)
    x = _unit(net, x, "Conv2d_3b_1x1", 80)
    x = net.max_pool(_unit(net, x, "Conv2d_4a_3x3", 192, 3, pad=0), 3, 2, pad=0)
    for block, pooled in (("5b", 32), ("5c", 64), ("5d", 64)):
        x = _mixed_5(net, x, f"Mixed_{block}", pooled)
    x = _mixed_6a(net, x, "Mixed_6a")
    for block, inner in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        x = _mixed_6(net, x, f"Mixed_{block}", inner)
    x = _mixed_7a(net, x, "Mixed_7a")
    for block in ("7b", "7c"):
        x = _mixed_7(net, x, f"Mixed_{block}")
    net.classifier(x, "fc", num_classes or dim(shapes, "fc.weight", 0, 1000))
    return net


def _mixed_5(net: Net, x: Feature, key: str, pooled: int) -> Feature:
    return net.concat(
        _unit(net, x, f"{key}.branch1x1", 64),
        _chain(net, x, f"{key}.branch5x5", (48, 1), (64, 5)),
        _chain(net, x, f"{key}.branch3x3dbl", (64, 1), (96, 3), (96, 3)),
        _pooled(net, x, key, pooled),
    )


def _mixed_6a(net: Net, x: Feature, key: str) -> Feature:
    y = _chain(net, x, f"{key}.branch3x3dbl", (64, 1), (96, 3))
    return net.concat(
        _unit(net, x, f"{key}.branch3x3", 384, 3, stride=2, pad=0),
        _unit(net, y, f"{key}.branch3x3dbl_3", 96, 3, stride=2, pad=0),
        net.max_pool(x, 3, 2, pad=0),
    )


def _mixed_6(net: Net, x: Feature, key: str, inner: int) -> Feature:
    wide, tall = (1, 7), (7, 1)
    twice = ((inner, 1), (inner, tall), (inner, wide), (inner, tall), (192, wide))
    return net.concat(
        _unit(net, x, f"{key}.branch1x1", 192),
        _chain(net, x, f"{key}.branch7x7", (inner, 1), (inner, wide), (192, tall)),
        _chain(net, x, f"{key}.branch7x7dbl", *twice),
        _pooled(net, x, key, 192),
    )


def _mixed_7a(net: Net, x: Feature, key: str) -> Feature:
    y = _unit(net, x, f"{key}.branch3x3_1", 192)
    z = _chain(net, x, f"{key}.branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)))
    return net.concat(
        _unit(net, y, f"{key}.branch3x3_2", 320, 3, stride=2, pad=0),
        _unit(net, z, f"{key}.branch7x7x3_4", 192, 3, stride=2, pad=0),
        net.max_pool(x, 3, 2, pad=0),
    )


def _mixed_7(net: Net, x: Feature, key: str) -> Feature:
    y = _unit(net, x, f"{key}.branch3x3_1", 384)
    z = _chain(net, x, f"{key}.branch3x3dbl", (448, 1), (384, 3))
    return net.concat(
        _unit(net, x, f"{key}.branch1x1", 320),
        _unit(net, y, f"{key}.branch3x3_2a", 384, (1, 3)),
        _unit(net, y, f"{key}.branch3x3_2b", 384, (3, 1)),
        _unit(net, z, f"{key}.branch3x3dbl_3a", 384, (1, 3)),
        _unit(net, z, f"{key}.branch3x3dbl_3b", 384, (3, 1)),
        _pooled(net, x, key, 192),
    )


def _unit(
    net: Net, x: Feature, key: str, oc: int, kernel: Kernel = 1, *, stride: int = 1, pad: int | None = None
) -> Feature:
    return net.relu(net.conv_bn(x, f"{key}.conv", f"{key}.bn", oc, kernel, stride=stride, pad=pad))


def _chain(net: Net, x: Feature, key: str, *units: tuple[int, Kernel]) -> Feature:
    """Units one after the other, of so many channels and such a kernel: key_1, key_2 ..."""
    for number, (oc, kernel) in enumerate(units, 1):
        x = _unit(net, x, f"{key}_{number}", oc, kernel)
    return x


def _pooled(net: Net, x: Feature, key: str, oc: int) -> Feature:
    return _unit(net, net.average_pool(x, 3, 1), f"{key}.branch_pool", oc)
