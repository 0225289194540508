"""Models: AlexNet under torchvision's key names, VGG-16 and VGG-19 under torchvision's or timm's.

Called through the table in ``fastconv.models``. Krizhevsky, "One weird trick for parallelizing convolutional
neural networks", arXiv:1404.5997: AlexNet in one tower, without local response normalisation. Simonyan and
Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556,
configurations D and E; "_bn" has batch normalisation after each convolution.

Images have 224 x 224 pixels. Torchvision takes others too, by an adaptive pooling before the classifier to
the size that this expects, which is the identity at 224. Timm's classifier is the same one, whose first two
layers are convolutions.
"""

from __future__ import annotations

from fastconv.models.network import Feature, Net, Shapes, dim

_SIZE = 224
_VGG_CHANNELS = (64, 128, 256, 512, 512)


def alexnet(shapes: Shapes, num_classes: int | None) -> Net:
    """Define AlexNet; the number of classes is taken from ``shapes``."""
    net = Net("alexnet", in_channels=dim(shapes, "features.0.weight", 1, 3), size=_SIZE)
    x = net.relu(net.conv(net.input, "features.0", 64, 11, stride=4, pad=2))
    x = net.relu(net.conv(net.max_pool(x, 3, 2, pad=0), "features.3", 192, 5))
    x = net.relu(net.conv(net.max_pool(x, 3, 2, pad=0), "features.6", 384, 3))
    x = net.relu(net.conv(x, "features.8", 256, 3))
    x = net.relu(net.conv(x, "features.10", 256, 3))
    x = net.flatten(net.max_pool(x, 3, 2, pad=0), pixels=6 * 6)
    _classify(net, x, (1, 4, 6), num_classes or dim(shapes, "classifier.6.weight", 0, 1000))
    return net


def vgg(
    shapes: Shapes, num_classes: int | None, *, name: str, convs: tuple[int, ...], batch_norm: bool
) -> Net:
    """Define a VGG by the convolutions before each pooling; the classes are taken from ``shapes``."""
    net = Net(name, in_channels=dim(shapes, "features.0.weight", 1, 3), size=_SIZE)
    x, index = net.input, 0  # of the module in torchvision's sequence: activations and poolings count
    for oc, repeats in zip(_VGG_CHANNELS, convs, strict=True):
        for _ in range(repeats):
            x = net.conv(x, f"features.{index}", oc, 3)
            if batch_norm:
                x = net.batch_norm(x, f"features.{index + 1}")
            x = net.relu(x)
            index += 3 if batch_norm else 2
        x = net.max_pool(x, 2, 2)
        index += 1
    if any(key.startswith("pre_logits.") for key in shapes):  # timm's
        x = net.relu(net.conv(x, "pre_logits.fc1", 4096, 7, pad=0))
        x = net.relu(net.conv(x, "pre_logits.fc2", 4096))
        net.classifier(x, "head.fc", num_classes or dim(shapes, "head.fc.weight", 0, 1000))
    else:
        x = net.flatten(x, pixels=7 * 7)
        _classify(net, x, (0, 3, 6), num_classes or dim(shapes, "classifier.6.weight", 0, 1000))
    return net


def _classify(net: Net, x: Feature, places: tuple[int, int, int], num_classes: int) -> None:
    """Write the three layers of the classifier, which dropout sets apart in training."""
    first, second, last = (f"classifier.{place}" for place in places)
    x = net.relu(net.linear(x, first, 4096))
    x = net.relu(net.linear(x, second, 4096))
    net.output(net.linear(x, last, num_classes))
