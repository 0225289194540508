"""Models: photos to network inputs, the way the published weights were evaluated.

Called by :meth:`Architecture.preprocess` and the command line. Resize the shorter side, crop the centre,
scale the values, one step after the other as torchvision and timm do it; pillow does the resizing and is
only imported where there is something to resize or to decode.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastconv import _arguments as arguments
from fastconv._files import open_plain, path_of
from fastconv._threads import get_num_threads
from fastconv.errors import ArgumentError, DTypeError, MissingPackageError, ModelError, ShapeError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

Image = str | os.PathLike[str] | npt.NDArray[Any] | Any  # Any: a pillow image
Images = Image | list[Image] | tuple[Image, ...]

MAX_SIDE = 1 << 15  # pixels; the filters of pillow count in 32 bits
MAX_ASPECT = 64  # of a picture's sides, up to which the whole of it is resized, as torchvision does

EXIF_ORIENTATION = 0x0112
_ORIENTATIONS = {  # what makes the picture upright; 1 is
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}

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
        One image, or a list or tuple of them, which are decoded and resized in as many threads as
        :func:`fastconv.get_num_threads` says: a path, a pillow image, or an RGB array (height, width, 3) of
        uint8. Photos are turned upright as their EXIF orientation says (torchvision, and pillow's ``open``,
        leave them lying), but for pillow images that something was done with since they were opened. Grey
        images of 16 bits become 8; those of 32 bits and of floats must hold 0 to 255.
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
        If an array is not an RGB image of uint8, or an argument of another type.
    ModelError
        If a file is a pipe or a device, or cannot be decoded, or the values of an image have no known range.
        An error begins with the file's name, or with the place in the list, ``images[3]``.
    MissingPackageError
        If pillow is needed and not installed.

    Examples
    --------
    >>> preprocess(np.full((224, 224, 3), 127, np.uint8), crop=1.0, mean=(127,) * 3, std=(128,) * 3).shape
    (1, 3, 224, 224)
    """
    size, crop = arguments.integer("size", size, 1), arguments.number("crop", crop)
    if not 0 < crop <= 1:
        raise ArgumentError(f"crop: expected a share in (0, 1], got {crop}")
    if size / crop > MAX_SIDE:
        raise ArgumentError(
            f"size, crop: expected a shorter side of at most {MAX_SIDE} pixels before the crop,"
            f" got {size} of {crop} of it"
        )
    if not isinstance(resample, str) or resample not in _RESAMPLES:
        raise ArgumentError(
            f"resample: expected one of {', '.join(_RESAMPLES)}, got {arguments.shown(resample)}"
        )
    low, span = _colours("mean", mean), _colours("std", std)
    if not span.all():
        raise ArgumentError(f"std: expected three values other than 0, got {arguments.shown(std)}")
    pixels = _centres(images, size, crop, resample)
    batch = np.empty((len(pixels), 3, size, size), np.float32)
    for out, image in zip(batch, pixels, strict=True):
        out[...] = ((image.astype(np.float32) - low) / span).transpose(2, 0, 1)
    return batch


def _colours(name: str, values: Any) -> npt.NDArray[np.float32]:
    """Return three numbers, for red, green and blue, that float32 has."""
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str | bytes):
        raise DTypeError(f"{name}: expected three numbers, got {arguments.shown(values)}")
    if len(values) != 3 if isinstance(values, Sequence) else values.shape != (3,):
        raise ArgumentError(f"{name}: expected three numbers, got {arguments.shown(values)}")
    with np.errstate(over="ignore", under="ignore"):
        colours = np.array([arguments.number(name, v) for v in values]).astype(np.float32)
    if not np.isfinite(colours).all():
        raise ArgumentError(f"{name}: expected three finite numbers, got {arguments.shown(values)}")
    return colours


def _centres(images: Images, size: int, crop: float, resample: str) -> list[npt.NDArray[np.uint8]]:
    """Return the centres of all images; files and arrays are decoded and resized in threads.

    Not so pillow images, which are not for several threads until they are decoded, and may be there twice.
    """
    if not isinstance(images, list | tuple):
        return [_centre(images, _name(images, "images"), size, crop, resample)]
    tasks = [(image, _name(image, f"images[{i}]"), size, crop, resample) for i, image in enumerate(images)]
    count = min(get_num_threads(), len(tasks))
    if count < 2:
        return [_centre(*task) for task in tasks]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        alone = (str, os.PathLike, np.ndarray)
        waiting = [pool.submit(_centre, *task) if isinstance(task[0], alone) else None for task in tasks]
        try:
            return [
                _centre(*task) if future is None else future.result()
                for task, future in zip(tasks, waiting, strict=True)
            ]
        finally:
            pool.shutdown(cancel_futures=True)


def _name(image: Any, place: str) -> str:
    """Return what messages call an image: its file, or its place."""
    return str(image) if isinstance(image, str | os.PathLike) else place


def _centre(image: Image, name: str, size: int, crop: float, resample: str) -> npt.NDArray[np.uint8]:
    """Return the centre of an image, (size, size, 3), after resizing its shorter side to size / crop."""
    shorter = round(size / crop)
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ShapeError(f"{name}: expected an RGB array (height, width, 3), got shape {image.shape}")
        if image.dtype != np.uint8:
            raise DTypeError(f"{name}: expected uint8 values, got {image.dtype}")
        arguments.check_mask(name, image)
        if min(image.shape[:2]) == shorter:
            return _cropped(image, size)
        return _resized_centre(_pillow().fromarray(image), size, shorter, resample)
    picture = _open(image) if isinstance(image, str | os.PathLike) else image
    if not hasattr(picture, "convert"):
        raise DTypeError(f"{name}: expected a path, an array or a pillow image, got {type(image).__name__}")
    return _resized_centre(_rgb(_upright(picture), name), size, shorter, resample)


def _cropped(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    top, left = (_offset(n, size) for n in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def _offset(length: int, size: int) -> int:
    """Return where torchvision's centre begins: half a pixel is rounded to the even one."""
    return round((length - size) / 2)


def _resized_centre(
    picture: PillowImage.Image, size: int, shorter: int, resample: str
) -> npt.NDArray[np.uint8]:
    """Resize the shorter side of an RGB picture, and cut out the centre."""
    least = min(picture.size)
    width, height = (int(shorter * n / least) for n in picture.size)  # as torchvision does: not rounded
    method = _pillow().Resampling[resample.upper()]
    if max(width, height) <= MAX_ASPECT * shorter:
        return _cropped(np.asarray(picture.resize((width, height), method)), size)
    # Of a strip that is one pixel wide the whole would be a gigabyte: what is kept, and no more, is made.
    # Pillow may go along the axes in another order then, so that values differ by their rounding.
    left, top = _offset(width, size), _offset(height, size)
    across, down = picture.size[0] / width, picture.size[1] / height
    right, bottom = min((left + size) * across, picture.size[0]), min((top + size) * down, picture.size[1])
    box = (left * across, top * down, right, bottom)
    return np.asarray(picture.resize((size, size), method, box=box))


def _upright(picture: PillowImage.Image) -> PillowImage.Image:
    """Turn and mirror a photo as its EXIF orientation says; a picture that was worked on has none."""
    if getattr(picture, "format", None) is None:
        return picture
    try:
        orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged metadata: pillow raises what its parsers do, and the pixels are there
        return picture
    turn = _ORIENTATIONS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(_pillow().Transpose[turn])


def _rgb(picture: PillowImage.Image, name: str) -> PillowImage.Image:
    """Convert to RGB of 8 bits. Pillow itself cuts more bits off at 255: such photos would be white."""
    mode = picture.mode
    if not mode.startswith("I") and mode != "F":
        return picture.convert("RGB")
    values = np.asarray(picture)
    low, high = values.min(), values.max()
    most = 65535 if mode.startswith("I;16") or picture.format == "PNG" else 255
    if not (low >= 0 and high <= most) or (mode == "F" and 0 < high <= 1):
        raise ModelError(
            f"{name}: expected values from 0 to {most} (mode {mode!r}), got some from {low} to {high};"
            " scale them to 8 bits"
        )
    grey = np.rint(values / (257.0 if most == 65535 else 1.0)).astype(np.uint8)
    return _pillow().fromarray(grey).convert("RGB")


def _open(path: str | os.PathLike[str]) -> PillowImage.Image:
    pillow = _pillow()
    with open_plain(path_of(path, "images")) as file:
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
        message = "reading and resizing images needs pillow: pip install pillow"
        raise MissingPackageError(message) from error
    return pillow
