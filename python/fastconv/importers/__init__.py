"""The only places that read foreign files: models to graphs, weights to arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fastconv._arguments import flag
from fastconv._files import path_of
from fastconv._types import Precision
from fastconv.errors import ModelError
from fastconv.graph.budget import MAX_BYTES
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model
from fastconv.graph.save import CODED
from fastconv.importers import compiled, onnx
from fastconv.importers.graph_file import GraphFile
from fastconv.importers.torch_module import from_torch

__all__ = ["from_torch", "load"]


def load(
    source: str | os.PathLike[str] | bytes | Any,
    *,
    passes: str | Sequence[str] = "default",
    precision: Precision | None = None,
    tune: bool = False,
    max_bytes: int | None = MAX_BYTES,
    threads: int | None = None,
    external_data: str | os.PathLike[str] | None = None,
    verify: bool = False,
) -> Model:
    """Load a model.

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto
        An ONNX model: a ``.onnx`` file, its contents, or the message itself. Or a compiled model, as
        :meth:`Model.save` wrote it, which is told by its content.
    passes, precision, tune, max_bytes, threads
        As for :class:`Model`.
    external_data : path, optional
        The folder of the files that hold the model's external data; by default the one that the ``.onnx``
        file is in. Bytes and messages have none by default: tensors outside of them are then an error.
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
    MemoryLimitError
        Where it asks for more memory than ``max_bytes`` beyond its own size.
    UnsupportedOpError
        Where the model holds an operator that does not run.
    MissingPackageError
        Where the ``onnx`` package is not installed.

    Notes
    -----
    The weights of a file are mapped, and read when they are packed: with the first planned shape, which is
    at once where the model declares its sizes. Until then the file, and those of its external data, must stay
    as they are. A compiled model runs from the mapped file, which must stay as it is for as long as the model
    is in use; saving another one under the same name does no harm, for that puts a new file in its place.

    A model may come from anyone: what it can do is in docs/trust.md.

    Examples
    --------
    >>> import numpy as np, onnx.parser
    >>> text = '<ir_version: 8, opset_import: ["": 13]> net (float[N, 3] x) => (float[N, 3] y) {y = Relu(x)}'
    >>> model = load(onnx.parser.parse_model(text))
    >>> model(np.array([[-1, 0, 2]], np.float32))
    array([[0., 0., 2.]], dtype=float32)
    """
    folder = None if external_data is None else path_of(external_data, "external_data")
    verify = flag("verify", verify)
    model_of = partial(
        Model, passes=passes, precision=precision, tune=tune, max_bytes=max_bytes, threads=threads
    )
    read: Callable[[], Graph]
    if isinstance(source, (str, os.PathLike)):
        path = path_of(source)
        if path.suffix.lower() in (".fcm", CODED) or compiled.is_compiled_file(path):
            read = GraphFile(partial(compiled.from_file, verify=verify), path)
            return model_of(read)
        if path.suffix.lower() in (".pth", ".pt", ".safetensors", ".npz"):
            raise ModelError(
                f"{path}: expected a model with its graph (.onnx), got a file of weights;"
                " pass it to a function of fastconv.models, as in fastconv.models.resnet50(weights)"
            )
        if path.suffix.lower() != ".onnx":
            raise ModelError(
                f"{path}: expected a file ending in .onnx, .fcm or .fcz, got {path.suffix or 'no suffix'!r}"
            )
        read = GraphFile(partial(onnx.from_file, folder=folder), path)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        if compiled.is_compiled(data):
            read = partial(compiled.from_data, data, verify=verify)
        else:
            read = partial(onnx.from_bytes, data, folder=folder)
    else:
        read = partial(onnx.from_proto, source, folder=folder)
    return model_of(read)
