"""Importers: ``.safetensors`` files, parsed and checked by the library of that name (an optional dependency).

Called by :func:`fastconv.importers.weights.read_weights`. The library itself rejects overlapping, missing and
out-of-range tensors; here its result only gets numpy dtypes, with bfloat16, which its numpy front end lacks.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastconv.errors import MissingPackageError, ModelError
from fastconv.importers.tensors import BF16, DType, FileData, Tensor, view

_DTYPES: dict[str, DType] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BF16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("<i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("<u1"),
    "BOOL": np.dtype("?"),
}


def read_safetensors(data: FileData) -> dict[str, Tensor]:
    """List the arrays of a ``.safetensors`` file.

    Parameters
    ----------
    data
        The file.

    Returns
    -------
    dict
        A :class:`Tensor` per array, by name.

    Raises
    ------
    ModelError
        If the library rejects the file, or an array has a dtype that numpy lacks (float8 ...).
    MissingPackageError
        If the ``safetensors`` package is not installed.
    """
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        message = "reading .safetensors needs a package: pip install safetensors"
        raise MissingPackageError(message) from error
    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(data[:])  # type: ignore[no-untyped-call,unused-ignore]
    except SafetensorError as error:
        raise ModelError(f"not a valid .safetensors file: {error}") from error
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise ModelError(f"{name}: expected a dtype of {', '.join(_DTYPES)}, got {entry['dtype']}")
        shape, dtype = tuple(entry["shape"]), _DTYPES[entry["dtype"]]
        tensors[name] = Tensor(shape, dtype, partial(view, entry["data"], shape, dtype))
    return tensors
