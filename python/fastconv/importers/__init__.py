"""The only places that read foreign files: models to graphs, weights to arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastconv.errors import ArgumentError, ModelError
from fastconv.graph.ir import CompiledGraph
from fastconv.graph.model import Model
from fastconv.importers import compiled, onnx

__all__ = ["load"]


def load(
    source: str | os.PathLike[str] | bytes | Any,
    *,
    passes: str | Sequence[str] = "default",
    precision: str | None = None,
    tune: bool = False,
    verify: bool = False,
) -> Model:
    """Load a model.

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto
        An ONNX model: a ``.onnx`` file, its contents, or the message itself. Or a compiled model, as
        :meth:`Model.save` wrote it, which is told by its content.
    passes, precision, tune
        As for :class:`Model`. A compiled model's passes have run; its precision is what it was saved with,
        unless another one is given.
    verify : bool
        Hold all of a compiled model's weights against their hashes, which reads the whole file. The header
        and small arrays are checked always.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        Where the file is not a valid model. Files that hold weights alone (``.pth``, ``.safetensors``,
        ``.npz``) are for the functions of :mod:`fastconv.models`.
    UnsupportedOpError
        Where the model holds an operator that does not run.
    MissingPackageError
        Where the ``onnx`` package is not installed.

    Notes
    -----
    The weights of a file are mapped, and read when they are packed: with the first planned shape, which is
    at once where the model declares its sizes. Until then the file must stay as it is. A compiled model
    runs from the mapped file, which must stay as it is for as long as the model is in use; saving another
    one under the same name does no harm, for that puts a new file in its place.

    Examples
    --------
    >>> import numpy as np, onnx.parser
    >>> text = '<ir_version: 8, opset_import: ["": 13]> net (float[N, 3] x) => (float[N, 3] y) {y = Relu(x)}'
    >>> model = load(onnx.parser.parse_model(text))
    >>> model(np.array([[-1, 0, 2]], np.float32))
    array([[0., 0., 2.]], dtype=float32)
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.suffix.lower() == ".fcm" or compiled.is_compiled(_start_of(path)):
            return _compiled(compiled.from_file(path, verify=verify), passes, precision, tune)
        if path.suffix.lower() in (".pth", ".pt", ".safetensors", ".npz"):
            raise ModelError(
                f"{path}: expected a model with its graph (.onnx), got a file of weights;"
                " pass it to a function of fastconv.models, as in fastconv.models.resnet50(weights)"
            )
        if path.suffix.lower() != ".onnx":
            raise ModelError(
                f"{path}: expected a file ending in .onnx or .fcm, got {path.suffix or 'no suffix'!r}"
            )
        graph = partial(onnx.from_file, path)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        if compiled.is_compiled(data):
            return _compiled(compiled.from_data(data, verify=verify), passes, precision, tune)
        graph = partial(onnx.from_bytes, data)
    else:
        graph = partial(onnx.from_proto, source)
    return Model(graph, passes=passes, precision=precision or "fast", tune=tune)


def _start_of(path: Path) -> bytes:
    """Return a file's first bytes; none where it cannot be read, which its importer says better."""
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError:
        return b""


def _compiled(graph: CompiledGraph, passes: str | Sequence[str], precision: str | None, tune: bool) -> Model:
    if passes != "default":
        raise ArgumentError(
            f"passes: expected 'default', for those of a compiled model have run, got {passes!r}"
        )
    return Model(graph, precision=precision or graph.precision, tune=tune)
