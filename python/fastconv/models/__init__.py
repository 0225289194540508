"""Networks whose weights come as a file of arrays: ``fastconv.models.resnet50("resnet50.pth")(x)``.

Each name is an :class:`Architecture`: called with weights it returns a model. :func:`list` has their names,
``MODELS`` the table of them. Weights may have torchvision's key names or timm's where both have the network
(:attr:`Architecture.keys`). With torchvision's keys, preprocessing is that of torchvision's first weights for
ImageNet; later ones (``IMAGENET1K_V2``), and timm's, were evaluated with other sizes before the crop.
"""

from __future__ import annotations

import builtins
from functools import partial
from typing import Any

from fastconv.models import (
    efficientnet_lite,
    inception,
    mobilenet,
    mobilenet_v3,
    resnet,
    shufflenet,
    squeezenet,
    vgg,
)
from fastconv.models.architecture import Architecture
from fastconv.models.preprocess import preprocess
from fastconv.models.pretrained import (
    efficientnet_lite0_weights,
    efficientnet_lite1_weights,
    efficientnet_lite2_weights,
    imagenet_classes,
    opennsfw_model,
    sample_photos,
)

__all__ = [
    "MODELS",
    "Architecture",
    "alexnet",
    "efficientnet_lite0",
    "efficientnet_lite0_weights",
    "efficientnet_lite1",
    "efficientnet_lite1_weights",
    "efficientnet_lite2",
    "efficientnet_lite2_weights",
    "efficientnet_lite3",
    "efficientnet_lite4",
    "googlenet",
    "imagenet_classes",
    "inception_v3",
    "list",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "opennsfw_model",
    "preprocess",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "sample_photos",
    "shufflenet_v1",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "vgg16",
    "vgg16_bn",
    "vgg19",
]

_BOTH = "torchvision or timm"
_HALF = (127.5, 127.5, 127.5)  # as mean and std: -1 ... 1 of RGB values in 0 ... 255


def _resnet(name: str, blocks: tuple[int, ...], **options: Any) -> Architecture:
    return Architecture(name, partial(resnet.resnet, name=name, blocks=blocks, **options), _BOTH)


def _vgg(name: str, convs: tuple[int, ...], *, batch_norm: bool = False) -> Architecture:
    define = partial(vgg.vgg, name=name, convs=convs, batch_norm=batch_norm)
    return Architecture(name, define, _BOTH)


def _squeezenet(name: str, stem: tuple[int, int], layout: tuple[int, ...]) -> Architecture:
    define = partial(squeezenet.squeezenet, name=name, stem=stem, layout=layout)
    return Architecture(name, define, "torchvision")


def _mobilenet_v3(name: str, blocks: tuple[mobilenet_v3.Block, ...], hidden: int) -> Architecture:
    define = partial(mobilenet_v3.mobilenet_v3, name=name, blocks=blocks, hidden=hidden)
    return Architecture(name, define, _BOTH)


def _shufflenet_v2(name: str, channels: tuple[int, ...], head: int, crop: float) -> Architecture:
    define = partial(shufflenet.shufflenet_v2, name=name, channels=channels, head=head)
    return Architecture(name, define, "torchvision", crop=crop)


def _efficientnet_lite(name: str, size: int, width: float, depth: float) -> Architecture:
    return Architecture(
        name,
        partial(efficientnet_lite.efficientnet_lite, name=name, width=width, depth=depth),
        "efficientnet-lite-pytorch or timm",
        size=size,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        crop=size / (size + 32),
        resample="bicubic",
    )


alexnet = Architecture("alexnet", vgg.alexnet, "torchvision")
vgg16 = _vgg("vgg16", (2, 2, 3, 3, 3))
vgg16_bn = _vgg("vgg16_bn", (2, 2, 3, 3, 3), batch_norm=True)
vgg19 = _vgg("vgg19", (2, 2, 4, 4, 4))
googlenet = Architecture("googlenet", inception.googlenet, "torchvision", mean=_HALF, std=_HALF)
inception_v3 = Architecture("inception_v3", inception.inception_v3, _BOTH, size=299, mean=_HALF, std=_HALF)
resnet18 = _resnet("resnet18", (2, 2, 2, 2), bottleneck=False)
resnet34 = _resnet("resnet34", (3, 4, 6, 3), bottleneck=False)
resnet50 = _resnet("resnet50", (3, 4, 6, 3), bottleneck=True)
resnet101 = _resnet("resnet101", (3, 4, 23, 3), bottleneck=True)
resnet152 = _resnet("resnet152", (3, 8, 36, 3), bottleneck=True)
resnext50_32x4d = _resnet("resnext50_32x4d", (3, 4, 6, 3), bottleneck=True, groups=32, group_width=4)
squeezenet1_0 = _squeezenet("squeezenet1_0", (96, 7), squeezenet.LAYOUT_1_0)
squeezenet1_1 = _squeezenet("squeezenet1_1", (64, 3), squeezenet.LAYOUT_1_1)
mobilenet_v1 = Architecture(
    "mobilenet_v1", mobilenet.mobilenet_v1, "timm", mean=_HALF, std=_HALF, resample="bicubic"
)
mobilenet_v2 = Architecture("mobilenet_v2", mobilenet.mobilenet_v2, _BOTH)
mobilenet_v3_large = _mobilenet_v3("mobilenet_v3_large", mobilenet_v3.LARGE, 1280)
mobilenet_v3_small = _mobilenet_v3("mobilenet_v3_small", mobilenet_v3.SMALL, 1024)
shufflenet_v1 = Architecture("shufflenet_v1", shufflenet.shufflenet_v1, "fastconv")
# Torchvision resizes to 256 pixels for the narrow ones and to 232 for the wide ones.
shufflenet_v2_x0_5 = _shufflenet_v2("shufflenet_v2_x0_5", (48, 96, 192), 1024, crop=224 / 256)
shufflenet_v2_x1_0 = _shufflenet_v2("shufflenet_v2_x1_0", (116, 232, 464), 1024, crop=224 / 256)
shufflenet_v2_x1_5 = _shufflenet_v2("shufflenet_v2_x1_5", (176, 352, 704), 1024, crop=224 / 232)
shufflenet_v2_x2_0 = _shufflenet_v2("shufflenet_v2_x2_0", (244, 488, 976), 2048, crop=224 / 232)
efficientnet_lite0 = _efficientnet_lite("efficientnet_lite0", 224, 1.0, 1.0)
efficientnet_lite1 = _efficientnet_lite("efficientnet_lite1", 240, 1.0, 1.1)
efficientnet_lite2 = _efficientnet_lite("efficientnet_lite2", 260, 1.1, 1.2)
efficientnet_lite3 = _efficientnet_lite("efficientnet_lite3", 280, 1.2, 1.4)
efficientnet_lite4 = _efficientnet_lite("efficientnet_lite4", 300, 1.4, 1.8)

#: Every architecture by name.
MODELS: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        alexnet,
        vgg16,
        vgg16_bn,
        vgg19,
        googlenet,
        inception_v3,
        resnet18,
        resnet34,
        resnet50,
        resnet101,
        resnet152,
        resnext50_32x4d,
        squeezenet1_0,
        squeezenet1_1,
        mobilenet_v1,
        mobilenet_v2,
        mobilenet_v3_large,
        mobilenet_v3_small,
        shufflenet_v1,
        shufflenet_v2_x0_5,
        shufflenet_v2_x1_0,
        shufflenet_v2_x1_5,
        shufflenet_v2_x2_0,
        efficientnet_lite0,
        efficientnet_lite1,
        efficientnet_lite2,
        efficientnet_lite3,
        efficientnet_lite4,
    )
}


def list() -> builtins.list[str]:
    """Return the names of all architectures, sorted.

    Examples
    --------
    >>> from fastconv import models
    >>> names = models.list()
    >>> names[0], "resnet50" in names
    ('alexnet', True)
    """
    return sorted(MODELS)
