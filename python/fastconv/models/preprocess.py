"""Models: photos to network inputs, the way the published weights were evaluated.

Called by :meth:`Architecture.preprocess` and the command line. Resize the shorter side, crop the centre,
scale the values, one step after the other as torchvision and timm do it; pillow does the resizing and is
only imported where there is something to resize or to decode.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastconv.errors import ArgumentError, DTypeError, MissingPackageError, ModelError, ShapeError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

Image = str | os.PathLike[str] | npt.NDArray[Any] | Any  # Any: a pillow image
Images = Image | list[Image] | tuple[Image, ...]

_RESAMPLES = ("nearest", "bilinear", "bicubic", "lanczos")


def preprocess(
    images: Images,
    size: int = 224,
    *,
    mean: Sequence[float] = (123.675, 116.28, 103.53),
    std: Sequence[float] = (58.395, 57.12, 57.375),
    crop: float = 0.875,
    resample: str = "bilinear",
) -> npt.NDArray[np.float32]:
    """Turn photos into a batch: resize the shorter side to ``size / crop``, crop the centre, scale.

    Parameters
    ----------
    images
        One image, or a list or tuple of them: a path, a pillow image, or an RGB array (height, width, 3) of
        uint8.
    size
        Height and width of the result, in pixels.
    mean, std
        Three values each, for RGB in 0 ... 255: the result is (x - mean) / std. The defaults are ImageNet's.
    crop
        Share of the shorter side that the crop keeps, in (0, 1].
    resample
        "nearest", "bilinear", "bicubic" or "lanczos".

    Returns
    -------
    ndarray
        float32, (n, 3, size, size).

    Raises
    ------
    ArgumentError
        If ``size``, ``crop``, ``resample``, ``mean`` or ``std`` has an impossible value.
    ShapeError, DTypeError
        If an array is not an RGB image of uint8.
    ModelError
        If a file cannot be decoded.
    MissingPackageError
        If pillow is needed and not installed.

    Examples
    --------
    >>> preprocess(np.full((224, 224, 3), 127, np.uint8), crop=1.0, mean=(127,) * 3, std=(128,) * 3).shape
    (1, 3, 224, 224)
    """
    if size < 1:
        raise ArgumentError(f"size: expected a positive number of pixels, got {size}")
    if not 0 < crop <= 1:
        raise ArgumentError(f"crop: expected a share in (0, 1], got {crop}")
    if resample not in _RESAMPLES:
        raise ArgumentError(f"resample: expected one of {', '.join(_RESAMPLES)}, got {resample!r}")
    if len(mean) != 3 or len(std) != 3 or not all(std):
        raise ArgumentError(f"mean, std: expected three values each, std without 0, got {mean}, {std}")
    several: Sequence[Any] = images if isinstance(images, list | tuple) else [images]
    pixels = [_centre(image, size, crop, resample) for image in several]
    batch = np.empty((len(pixels), 3, size, size), np.float32)
    for out, image in zip(batch, pixels, strict=True):
        scaled = (image.astype(np.float32) - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        out[...] = scaled.transpose(2, 0, 1)
    return batch


def _centre(image: Image, size: int, crop: float, resample: str) -> npt.NDArray[np.uint8]:
    """Return the centre of an image, (size, size, 3), after resizing its shorter side to size / crop."""
    shorter = round(size / crop)
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ShapeError(f"images: expected an RGB array (height, width, 3), got shape {image.shape}")
        if image.dtype != np.uint8:
            raise DTypeError(f"images: expected uint8 values, got {image.dtype}")
        pixels = image
        if min(image.shape[:2]) != shorter:
            pixels = np.asarray(_resize(_pillow().fromarray(image), shorter, resample))
    else:
        picture = _open(image) if isinstance(image, str | os.PathLike) else image
        if not hasattr(picture, "convert"):
            raise DTypeError(
                f"images: expected a path, an array or a pillow image, got {type(image).__name__}"
            )
        pixels = np.asarray(_resize(picture.convert("RGB"), shorter, resample))
    top, left = ((n - size) // 2 for n in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def _resize(picture: PillowImage.Image, shorter: int, resample: str) -> PillowImage.Image:
    scale = shorter / min(picture.size)
    width, height = (max(shorter, round(n * scale)) for n in picture.size)
    return picture.resize((width, height), _pillow().Resampling[resample.upper()])


def _open(path: str | os.PathLike[str]) -> PillowImage.Image:
    pillow = _pillow()
    with Path(path).open("rb") as file:
        try:
            picture = pillow.open(file)
            picture.load()
        except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
            raise ModelError(f"{path}: cannot be decoded as an image: {error}") from error
    return picture


def _pillow() -> Any:
    try:
        from PIL import Image as pillow
    except ImportError as error:
        message = 'reading and resizing images needs pillow: pip install "fastconv[demo]"'
        raise MissingPackageError(message) from error
    return pillow
