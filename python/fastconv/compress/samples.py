"""What a network is measured on: photos of a folder, arrays of a file or of the caller, as its inputs."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._arguments import shown
from fastconv._files import open_plain, path_of
from fastconv.errors import ArgumentError, DTypeError, ModelError, ShapeError
from fastconv.graph.ir import Graph, Node, TensorInfo
from fastconv.models.preprocess import preprocess as imagenet

Array = npt.NDArray[Any]
Prepare = Callable[[Path], Array]

PHOTOS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SAMPLES = 300  # as many as published recipes use, at most
FEW = 32  # fewer hardly reach what others will
RAW = 16.0  # the largest number of an image that was scaled is below it, that of one of bytes is not
_PASSING = ("Cast", "Identity", "Pad", "Slice", "Transpose")


@dataclass(frozen=True)
class Samples:
    """Inputs of a network, an array for each by name; the first axis counts samples.

    ``together`` is how many of them each run takes, where the network is written for so many, else 0.
    """

    arrays: Mapping[str, Array]
    together: int = 0

    def __len__(self) -> int:
        return min(len(array) for array in self.arrays.values())

    def first(self, count: int) -> Samples:
        """Return some of the samples, spread evenly over all: so many, or what fills a run."""
        return self if count >= len(self) else self._of(self._evenly(count))

    def beyond(self, count: int) -> Samples:
        """Return those that :meth:`first` leaves; all, where it leaves none."""
        if count >= len(self):
            return self
        left = np.setdiff1d(np.arange(len(self)), self._evenly(count))
        return self._of(left) if left.size else self

    def _evenly(self, count: int) -> Array:
        """Return the places of some samples, those of a run side by side."""
        each = max(1, self.together)
        runs = -(-count // each)
        starts = np.arange(runs) * (len(self) // each) // runs * each
        return np.asarray(starts[:, None] + np.arange(each)).ravel()

    def _of(self, at: Array) -> Samples:
        return Samples({name: array[at] for name, array in self.arrays.items()}, self.together)

    def batches(self, size: int) -> list[Mapping[str, Array]]:
        """Return the samples in batches, views of the arrays."""
        size = self.together or size
        starts = range(0, len(self), size)
        return [{name: array[i : i + size] for name, array in self.arrays.items()} for i in starts]


def samples_of(data: Any, graph: Graph, *, prepare: Prepare | None = None, limit: int = SAMPLES) -> Samples:
    """Return data as inputs of a graph; errors name ``data``, what was expected and what came.

    Parameters
    ----------
    data : path, array, or iterable of arrays or of mappings
        A folder of photos, a ``.npy`` file, an array with the samples along its first axis, or arrays one
        after another, each a sample with or without that axis; for several inputs a mapping from their names
        to arrays, or an iterable of such.
    graph : Graph
    prepare : callable, optional
        Makes the input of a photo's path; by default as networks of ImageNet want it, at the input's size.
    limit : int
        How many samples are taken at the most, spread evenly over those of a folder or an array.
    """
    if isinstance(data, Samples):
        return data
    infos = graph.inputs
    arrays = _arrays(data, infos, prepare, limit)
    counts = {name: len(array) for name, array in arrays.items()}
    if not counts or min(counts.values()) == 0:
        raise ArgumentError("data: expected at least one sample, got none")
    if len(set(counts.values())) > 1:
        raise ShapeError(f"data: expected as many samples for each input, got {counts}")
    for info in infos:
        _check_values(info, arrays[info.name])
    together = max((n for info in infos for n in info.shape[:1] if isinstance(n, int)), default=0)
    count = len(next(iter(arrays.values())))
    if together > count:
        raise ShapeError(f"data: expected at least {together} samples, as each run takes, got {count}")
    _warn_of_raw_pixels(graph, arrays)
    whole = count - count % together if together else count  # what fills no run is left out
    return Samples({name: array[:whole] for name, array in arrays.items()}, together)


def check_of(
    check: Any, taken: Samples, labels: Sequence[int] | None, graph: Graph, prepare: Prepare | None
) -> Samples:
    """Return the samples that a report is of; errors name ``check`` or ``labels``."""
    found = taken
    if check is not None:
        try:
            limit = SAMPLES if labels is None else sys.maxsize  # each label is of a sample
            found = samples_of(check, graph, prepare=prepare, limit=limit)
        except (ArgumentError, DTypeError, ShapeError) as error:
            raise type(error)(str(error).replace("data:", "check:", 1)) from None
    if labels is not None and len(labels) != len(found):
        raise ShapeError(f"labels: expected {len(found)}, one a sample, got {len(labels)}")
    return found


def _arrays(data: Any, infos: Sequence[TensorInfo], prepare: Prepare | None, limit: int) -> dict[str, Array]:
    if isinstance(data, str | os.PathLike):
        return {_only(infos).name: _from_path(path_of(data, "data"), _only(infos), prepare, limit)}
    if isinstance(data, Mapping):
        _check_keys(data, infos)
        return {info.name: _stacked(info, _spread([np.asarray(data[info.name])], limit)) for info in infos}
    if isinstance(data, np.ndarray) or hasattr(data, "__array__"):
        return {_only(infos).name: _stacked(_only(infos), _spread([np.asarray(data)], limit))}
    if not isinstance(data, Iterable):
        raise DTypeError(
            f"data: expected a path, arrays, or mappings from inputs to arrays, got {shown(data)}"
        )
    found: dict[str, list[Array]] = {info.name: [] for info in infos}
    for count, item in enumerate(data):
        if count == limit:
            break
        if isinstance(item, Mapping):
            _check_keys(item, infos)
        else:
            item = {_only(infos).name: item}
        for name, value in item.items():
            found[name].append(np.asarray(value))
    if not next(iter(found.values()), []):
        return {}
    return {info.name: _stacked(info, found[info.name]) for info in infos}


def _only(infos: Sequence[TensorInfo]) -> TensorInfo:
    if len(infos) != 1:
        names = [info.name for info in infos]
        raise ArgumentError(f"data: expected mappings with arrays for the inputs {names}, got no names")
    return infos[0]


def _check_keys(item: Mapping[Any, Any], infos: Sequence[TensorInfo]) -> None:
    names = sorted(info.name for info in infos)
    if sorted(map(str, item)) != names:
        raise ArgumentError(f"data: expected arrays for {names}, got {sorted(map(str, item))}")


def _spread(arrays: list[Array], limit: int) -> list[Array]:
    (array,) = arrays
    if array.ndim == 0 or len(array) <= limit:
        return arrays
    return [array[np.arange(limit) * len(array) // limit]]


def _stacked(info: TensorInfo, parts: Sequence[Array]) -> Array:
    """Return samples along the first axis, each checked against an input's shape but for that axis."""
    rank = len(info.shape)
    whole = []
    for part in parts:
        array = part[None] if part.ndim == rank - 1 else part
        if array.dtype.kind not in "biufV" or (info.dtype.kind != "f" and array.dtype != info.dtype):
            raise DTypeError(f"data: expected {info.dtype} for input {info.name!r}, got {array.dtype}")
        wrong = array.ndim != rank or any(
            isinstance(n, int) and n != m for n, m in zip(info.shape[1:], array.shape[1:], strict=False)
        )
        if wrong:
            expected = ", ".join(str(n) if isinstance(n, int) else "any" for n in info.shape[1:])
            raise ShapeError(
                f"data: expected samples of shape ({expected}) for input {info.name!r}, got {array.shape[1:]}"
            )
        whole.append(array.astype(info.dtype, copy=False))
    if len({array.shape[1:] for array in whole}) > 1:
        shapes = sorted({array.shape[1:] for array in whole})
        raise ShapeError(f"data: expected samples of one shape for input {info.name!r}, got {shapes}")
    return whole[0] if len(whole) == 1 else np.concatenate(whole)


def _from_path(path: Path, info: TensorInfo, prepare: Prepare | None, limit: int) -> Array:
    if path.is_dir():
        return _photos(path, info, prepare, limit)
    if path.suffix.lower() != ".npy":
        raise ModelError(f"{path}: expected a folder of photos or a .npy file, got neither")
    with open_plain(path) as file:
        try:
            array = np.load(file, allow_pickle=False)
        except Exception as error:  # numpy's parser of headers raises what Python's does
            raise ModelError(f"{path}: expected an array: {error!s:.200}") from None
    if not isinstance(array, np.ndarray):
        raise ModelError(f"{path}: expected one array, got an archive of them")
    return _stacked(info, _spread([array], limit))


def _photos(folder: Path, info: TensorInfo, prepare: Prepare | None, limit: int) -> Array:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTOS and p.is_file())
    if not paths:
        raise ArgumentError(f"data: expected photos ({', '.join(PHOTOS)}) in {folder}, got none")
    if len(paths) > limit:
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    prepare = prepare or photo_reader(info)
    return _stacked(info, [prepare(path) for path in paths])


def photo_reader(info: TensorInfo, *, order: str = "rgb", **options: Any) -> Prepare:
    """Return a function that makes the input of a network of a photo's path.

    Parameters
    ----------
    info : TensorInfo
        The input: (n, 3, h, w) or (n, h, w, 3), whose size is taken; 224 where it has none.
    order : {"rgb", "bgr"}
        Of the colours; ``mean`` and ``std`` are for red, green and blue in either.
    **options
        As for :func:`fastconv.models.preprocess`: size, mean, std, crop, resample.
    """
    shape = info.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ShapeError(
            f"data: expected arrays for input {info.name!r}, which is no photo (n, 3, h, w) or (n, h, w, 3):"
            f" its shape is {shape}"
        )
    if order not in ("rgb", "bgr"):
        raise ArgumentError(f"order: expected 'rgb' or 'bgr', got {shown(order)}")
    last = shape[1] != 3
    height, width = shape[1:3] if last else shape[2:4]
    if isinstance(height, int) and isinstance(width, int) and height != width:
        raise ShapeError(
            f"data: expected arrays, or a function that prepares photos, for input {info.name!r}, which is"
            f" not square: its shape is {shape}"
        )
    known = [n for n in (height, width) if isinstance(n, int)]
    size = options.pop("size", None)
    if size is None and len(known) == 1:  # as of lines of text, which are no squares
        raise ShapeError(
            f"data: expected arrays, a function that prepares photos, or a size, for input {info.name!r}, of"
            f" which one side alone is known: its shape is {shape}"
        )
    size = size or (known[0] if known else 224)

    def read(path: Path) -> Array:
        x: Array = imagenet(path, size, **options)
        if order == "bgr":
            x = x[:, ::-1]
        return x.transpose(0, 2, 3, 1) if last else x

    return read


def _check_values(info: TensorInfo, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        wrong = "NaN" if np.isnan(array).any() else "an infinity"
        raise ArgumentError(f"data: expected finite numbers for input {info.name!r}, got {wrong}")


def _readers(graph: Graph, name: str) -> list[Node]:
    """Return what computes with a value, behind nodes that pass its numbers on as they are."""
    found = []
    for node in graph.nodes:
        if name in node.inputs:
            found += _readers(graph, node.outputs[0]) if node.op in _PASSING else [node]
    return found


def _warn_of_raw_pixels(graph: Graph, arrays: Mapping[str, Array]) -> None:
    """Say so where a convolution is given bytes of photos as they are: most are trained on scaled ones."""
    for info in graph.inputs:
        array = arrays[info.name]
        readers = _readers(graph, info.name)
        raw = array.dtype.kind == "f" and array.min() >= 0 and array.max() > RAW
        if raw and readers and all(node.op == "Conv" for node in readers):
            warnings.warn(
                f"data: input {info.name!r} has values from {array.min():g} to {array.max():g}, as photos"
                " have before they are scaled, and the first layer is a convolution; most networks are"
                " trained on values about 0. If this one is, pass the data as it was trained on (mean, std)",
                stacklevel=4,
            )
