"""Importers: :func:`read_weights`, the one entry for files that hold arrays by name.

Called by every model definition. Tells ``.pth``, ``.safetensors`` and ``.npz`` apart by content, never by
suffix, maps a path into memory, turns whatever a reader trips over into a ModelError that names the file, and
holds the sizes that a file declares against a budget before any array is made.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastconv._arguments import check_mask, shown
from fastconv._files import path_of
from fastconv.errors import DTypeError, ModelError
from fastconv.importers.npz import open_zip, read_npy, read_npz
from fastconv.importers.safetensors import read_safetensors
from fastconv.importers.tensors import (
    COUNTERS,
    FileData,
    Tensor,
    Weights,
    check_dtype,
    map_file,
    mappings_in,
)
from fastconv.importers.torch import read_torch

#: What wrappers put before every name: DataParallel, torch.compile, Lightning and others.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
_MAX_PREFIXES = 4  # within each other
_MAX_VARIANTS = 64  # of a set of names with and without them
_MAX_CANDIDATES = 16  # sets of arrays that are held against an architecture: the largest

Fitting = Callable[[Mapping[str, tuple[int, ...]]], int]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Mapping[str, Any]

_FORMATS = "a PyTorch .pth, a .safetensors or a .npz file, or a folder of .npy files"
_MALFORMED = (  # what the standard library raises over damaged data
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    NotImplementedError,
    MemoryError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


def read_weights(
    source: Source,
    *,
    max_bytes: int | None = None,
    fitting: Fitting | None = None,
) -> Weights:
    """Read arrays by name from a weight file, or take them from a mapping.

    The format is told by the content. Floating-point arrays (float16, bfloat16, float64) arrive as float32,
    others as they are stored. A path is mapped into memory and its arrays are loaded when they are asked for.

    A checkpoint holds several sets of arrays: weights, averaged ones, an optimizer's, single numbers. The one
    with most arrays that fit is taken, of equal ones the outermost and the first; and what wrappers put
    before names (``module.``, ``_orig_mod.``, ``model.``, ``net.``, ``backbone.``) is dropped where more fit
    without it. Where nothing tells what fits, the largest set is taken, and ``module.`` and ``_orig_mod.``
    are dropped where all names begin with them.

    Parameters
    ----------
    source
        A path, of a file or of a folder with an ``.npy`` file for each array (``layer1/0.conv1.weight.npy``
        is ``layer1.0.conv1.weight``), the bytes of a file, or a mapping from names to arrays (or to what
        numpy can convert, such as torch tensors).
    max_bytes
        Limit on the bytes that all arrays together take in memory; by default 64 times the size of the file
        and at least 256 MiB, which stops archives that inflate, or overlap, to much more than they are.
    fitting
        The number of arrays that fit, of those with these shapes by name.

    Returns
    -------
    Weights
        A mapping from name to array, which also tells the ``shapes`` without loading anything.

    Raises
    ------
    ModelError
        If the file is of no known format, malformed, truncated, or asks for more than ``max_bytes``; if its
        pickle names anything that a state dict does not need. Nothing in a file is ever executed.
    DTypeError
        If ``source`` is none of the types above.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> np.savez(file, weight=np.ones((2, 3), np.float16))
    >>> read_weights(file.getvalue())["weight"].dtype
    dtype('float32')
    """
    if isinstance(source, Weights):
        return source
    if isinstance(source, Mapping):
        return Weights("the mapping", _best(_mappings(source), fitting))
    if isinstance(source, str | os.PathLike) and path_of(source).is_dir():
        return _folder(path_of(source), max_bytes, fitting)
    name, data = _open(source)
    try:
        tensors = _best(_reader(data)(data), fitting)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    except _MALFORMED as error:
        raise ModelError(f"{name}: malformed or truncated: {error}") from error
    budget = max(64 * len(data), 256 << 20) if max_bytes is None else max_bytes
    needed = sum(tensor.nbytes for tensor in tensors.values())
    if needed > budget:
        raise ModelError(
            f"{name}: expected arrays of at most max_bytes = {budget} bytes, "
            f"a file of {len(data)} bytes asks for {needed}"
        )
    return Weights(name, tensors)


def _folder(folder: Path, max_bytes: int | None, fitting: Fitting | None) -> Weights:
    """Return the arrays of a folder of ``.npy`` files, by their paths within it with dots for slashes."""
    files = sorted(file for file in folder.rglob("*.npy") if file.is_file())
    if not files:
        raise ModelError(f"{folder}: expected .npy files in the folder, got none")
    tensors: dict[str, Tensor] = {}
    for file in files:
        name = ".".join(file.relative_to(folder).with_suffix("").parts)
        if name in tensors:
            raise ModelError(f"{folder}: expected one array for each name, got two for {name!r}")
        tensors[name] = read_npy(str(file), map_file(file))
    needed = sum(tensor.nbytes for tensor in tensors.values())
    if max_bytes is not None and needed > max_bytes:
        raise ModelError(
            f"{folder}: expected arrays of at most max_bytes = {max_bytes} bytes, the files hold {needed}"
        )
    return Weights(str(folder), _best([tensors], fitting))


def _open(source: object) -> tuple[str, FileData]:
    if isinstance(source, bytes | bytearray | memoryview):
        return "the weights", bytes(source)
    if not isinstance(source, str | os.PathLike):
        raise DTypeError(f"source: expected a path, bytes or a mapping, got {type(source).__name__}")
    path = path_of(source)
    data = map_file(path)
    if not data:
        raise ModelError(f"{path}: the file is empty, expected {_FORMATS}")
    return str(path), data


def _reader(data: FileData) -> Callable[[FileData], list[dict[str, Tensor]]]:
    """Choose the reader by the first bytes of the content."""
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data):  # first: the length may be any
        return lambda content: [read_safetensors(content)]
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        with open_zip(data) as archive:
            is_torch = any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
        return read_torch if is_torch else lambda content: [read_npz(content)]
    if data[:1] == b"\x80":  # the PROTO opcode of a pickle
        return read_torch
    raise ModelError(f"expected {_FORMATS}, got a file that starts with {bytes(data[:8])!r}")


def _in_memory(name: object, value: Any) -> Tensor:
    if not isinstance(name, str):
        raise ModelError(f"weights: expected strings as names, got {type(name).__name__}")
    if hasattr(value, "detach"):  # a torch tensor: one to be trained, on a GPU, of a type that numpy lacks
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    check_mask(name, value)
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever the exporter raises
        raise ModelError(f"{name}: cannot be converted to a numpy array: {error}") from error
    check_dtype(name, array.dtype)
    return Tensor(array.shape, array.dtype, partial(np.asarray, array))


def _mappings(source: Mapping[Any, Any]) -> list[dict[str, Tensor]]:
    """Return the arrays of a mapping, and of those within it where it is a checkpoint."""
    if not mappings_in(source):
        return [{name: _in_memory(name, value) for name, value in source.items()}]
    found: list[dict[str, Tensor]] = []
    waiting, seen = [source], set()
    while waiting:
        mapping = waiting.pop(0)
        if id(mapping) in seen:
            continue
        seen.add(id(mapping))
        arrays = {
            name: _in_memory(name, value)
            for name, value in mapping.items()
            if isinstance(name, str) and hasattr(value, "shape") and hasattr(value, "dtype")
        }
        found += [arrays] if arrays else []
        waiting += mappings_in(mapping)
    if not found:
        raise ModelError(f"weights: expected arrays, or mappings of arrays, got {shown(list(source)[:10])}")
    return found


def _best(candidates: list[dict[str, Tensor]], fitting: Fitting | None) -> dict[str, Tensor]:
    """Return the candidate, as it is or without prefixes, of which most arrays fit."""
    if fitting is None:
        return _without_common(max(candidates, key=len))
    best, most = _without_common(max(candidates, key=len)), 0
    least = sorted(map(len, candidates))[-_MAX_CANDIDATES:][0]
    for candidate in [c for c in candidates if len(c) >= least][:_MAX_CANDIDATES]:
        for variant in _variants(candidate) if len(candidate) > most else ():
            fits = fitting({name: tensor.shape for name, tensor in variant.items()})
            if fits > most:
                best, most = variant, fits
    return best


def _variants(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield tensors by their names, and by what these are without one prefix or several."""
    waiting, seen = [(tensors, 0)], {frozenset(tensors)}
    while waiting:
        found, depth = waiting.pop(0)
        yield found
        for prefix in PREFIXES if depth < _MAX_PREFIXES else ():
            without = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
            names = frozenset(without)
            if len(without) == len(found) and names not in seen and len(seen) < _MAX_VARIANTS:
                seen.add(names)
                waiting.append((without, depth + 1))


def _without_common(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop what DataParallel and torch.compile put before every name."""
    for _ in range(_MAX_PREFIXES):
        for prefix in PREFIXES[:2]:
            if all(name.startswith(prefix) or name.endswith(COUNTERS) for name in tensors):
                tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
