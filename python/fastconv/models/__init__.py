"""Networks whose weights come as a file of arrays: ``fastconv.models.resnet50("resnet50.pth")(x)``.

Each name is an :class:`Architecture`: called with weights it returns a model. ``MODELS`` is the table of
them.
"""

from __future__ import annotations

from functools import partial

from fastconv.models import efficientnet_lite, mobilenet, resnet
from fastconv.models.architecture import Architecture
from fastconv.models.preprocess import preprocess
from fastconv.models.pretrained import (
    efficientnet_lite0_weights,
    imagenet_classes,
    opennsfw_model,
    sample_photos,
)

__all__ = [
    "MODELS",
    "Architecture",
    "efficientnet_lite0",
    "efficientnet_lite0_weights",
    "imagenet_classes",
    "mobilenet_v1",
    "mobilenet_v2",
    "opennsfw_model",
    "preprocess",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "sample_photos",
]


def _resnet(depth: int, blocks: tuple[int, ...], *, bottleneck: bool) -> Architecture:
    name = f"resnet{depth}"
    define = partial(resnet.resnet, name=name, blocks=blocks, bottleneck=bottleneck)
    return Architecture(name, define, "torchvision")


resnet18 = _resnet(18, (2, 2, 2, 2), bottleneck=False)
resnet34 = _resnet(34, (3, 4, 6, 3), bottleneck=False)
resnet50 = _resnet(50, (3, 4, 6, 3), bottleneck=True)
resnet101 = _resnet(101, (3, 4, 23, 3), bottleneck=True)
resnet152 = _resnet(152, (3, 8, 36, 3), bottleneck=True)
mobilenet_v1 = Architecture(
    "mobilenet_v1",
    mobilenet.mobilenet_v1,
    "timm",
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    resample="bicubic",
)
mobilenet_v2 = Architecture("mobilenet_v2", mobilenet.mobilenet_v2, "torchvision or timm")
efficientnet_lite0 = Architecture(
    "efficientnet_lite0",
    efficientnet_lite.efficientnet_lite0,
    "efficientnet-lite-pytorch",
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
    resample="bicubic",
)

#: Every architecture by name.
MODELS: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        resnet18,
        resnet34,
        resnet50,
        resnet101,
        resnet152,
        mobilenet_v1,
        mobilenet_v2,
        efficientnet_lite0,
    )
}
