"""Importers: PyTorch's ``.pth`` files, read without torch and without running their pickle.

Called by :func:`fastconv.importers.weights.read_weights`. A ``.pth`` is a pickle that describes tensors, and
raw storages: members of a zip archive since torch 1.6, before that one after the other in the file. The
pickle is interpreted by :func:`fastconv.importers.unpickle.interpret` with ``_GLOBALS`` as the only globals;
a tensor becomes a view into its storage, with offset, sizes and strides checked against the storage and the
storage against the file.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, cast

import numpy as np

from fastconv.errors import ModelError
from fastconv.graph.value import MAX_DIMENSIONS
from fastconv.importers.npz import member_data, open_zip
from fastconv.importers.tensors import BF16, DType, FileData, Tensor, checked_size, mappings_in, view
from fastconv.importers.unpickle import Function, interpret, set_item

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_CONTAINERS = 10_000  # dicts that are looked through for tensors


@dataclass(frozen=True)
class _Storage:
    """A typed run of numbers in the file, named by its key."""

    key: str
    dtype: DType
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class _View:
    """A tensor: a strided window onto a storage, offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


# ---------------------------------------------------------------- what stands in for Python's globals


def _rebuild_tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _requires_grad: object = False,
    _hooks: object = None,
    metadata: object = None,
    *_: object,
) -> _View:
    """Stand in for ``torch._utils._rebuild_tensor_v2``; requires_grad and hooks are ignored."""
    if isinstance(metadata, dict) and metadata:  # the storage then holds other numbers than the tensor has
        bits = sorted(key for key, value in metadata.items() if type(key) is str and value is True)
        if bits:
            raise ModelError(f"a tensor: expected its numbers as they are, got one that is marked {bits[0]}")
    if not isinstance(storage, _Storage) or not _is_count(offset):
        raise ModelError("a tensor: expected a storage and an offset")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        raise ModelError("a tensor: expected sizes and strides as tuples of one length")
    if len(shape) > MAX_DIMENSIONS or not all(map(_is_count, shape + strides)):
        raise ModelError(f"a tensor: expected at most {MAX_DIMENSIONS} sizes and strides in 0 ... 2^31 - 1")
    checked_size(shape, "a tensor", most=1 << 62)  # of one that repeats its storage the budget decides
    tensor = _View(storage, cast(int, offset), shape, strides)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= storage.numel:
        raise ModelError(
            f"a tensor: sizes {shape}, strides {strides}, offset {offset} reach element {last} "
            f"of a storage of {storage.numel}"
        )
    return tensor


def _rebuild_tensor_v3(storage: object, *rest: object) -> _View:
    """Stand in for ``torch._utils._rebuild_tensor_v3``: an untyped storage, and the dtype as last-but-one."""
    dtype = rest[5] if len(rest) > 5 else None
    if not isinstance(storage, _Storage) or not isinstance(dtype, np.dtype):
        raise ModelError("a tensor: expected an untyped storage and a dtype")
    words = _Storage(storage.key, dtype, storage.nbytes // dtype.itemsize)
    return _rebuild_tensor(words, *rest[:5], *rest[6:7])


def _rebuild_parameter(tensor: object, *_: object) -> _View:
    """Stand in for ``torch._utils._rebuild_parameter``: a parameter is its tensor."""
    if not isinstance(tensor, _View):
        raise ModelError(f"a parameter: expected a tensor, got {type(tensor).__name__}")
    return tensor


def _ordered_dict(items: object = ()) -> OrderedDict[Any, Any]:
    """Stand in for ``collections.OrderedDict``.

    A pickle makes it empty and fills it afterwards; Python 2 makes it of lists of a key and a value.
    """
    result: OrderedDict[Any, Any] = OrderedDict()
    if not isinstance(items, list | tuple):
        raise ModelError(f"OrderedDict: expected a list of items, got {type(items).__name__}")
    for item in items:
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise ModelError("OrderedDict: expected keys and values in pairs, got others")
        set_item(result, *item)
    return result


def _size(shape: object) -> tuple[Any, ...]:
    """Stand in for ``torch.Size``."""
    if not isinstance(shape, tuple):
        raise ModelError(f"torch.Size: expected a tuple, got {type(shape).__name__}")
    return shape


_DTYPES: dict[tuple[str, str], DType] = {
    ("DoubleStorage", "float64"): np.dtype("<f8"),
    ("FloatStorage", "float32"): np.dtype("<f4"),
    ("HalfStorage", "float16"): np.dtype("<f2"),
    ("BFloat16Storage", "bfloat16"): BF16,
    ("LongStorage", "int64"): np.dtype("<i8"),
    ("IntStorage", "int32"): np.dtype("<i4"),
    ("ShortStorage", "int16"): np.dtype("<i2"),
    ("CharStorage", "int8"): np.dtype("<i1"),
    ("ByteStorage", "uint8"): np.dtype("<u1"),
    ("BoolStorage", "bool"): np.dtype("?"),
    ("UntypedStorage", "uint8"): np.dtype("<u1"),
}

#: Every global that a pickle may name: storage classes and dtypes, and functions of our own for the rest.
_GLOBALS: dict[str, Function | DType] = {
    **{f"torch.{name}": dtype for names, dtype in _DTYPES.items() for name in names},
    **{f"torch.uint{bits}": np.dtype(f"<u{bits // 8}") for bits in (16, 32, 64)},
    "torch.storage.UntypedStorage": np.dtype("<u1"),
    "collections.OrderedDict": Function(_ordered_dict),
    "torch.Size": Function(_size),
    "torch.device": Function(lambda *_: None),
    "torch._utils._rebuild_tensor": Function(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": Function(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v3": Function(_rebuild_tensor_v3),
    "torch._utils._rebuild_parameter": Function(_rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": Function(_rebuild_parameter),
}


def _load_storage(storages: dict[str, _Storage], pid: object) -> _Storage:
    """Turn torch's persistent id ``("storage", class, key, location, numel[, None])`` into a storage."""
    if isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage" and not any(pid[5:]):
        _, dtype, key, _, numel = pid[:5]
        if isinstance(dtype, np.dtype) and isinstance(key, str) and _is_count(numel):
            storage = _Storage(key, dtype, numel)
            if storages.setdefault(key, storage) != storage:
                raise ModelError(f"storage {key!r}: expected one type and size, got two")
            return storage
    raise ModelError("persistent id: expected ('storage', class, key, location, number of elements)")


# ---------------------------------------------------------------- the two containers


def _read_zip(data: FileData) -> tuple[Any, dict[str, memoryview]]:
    """Read torch >= 1.6: ``<root>/data.pkl``, and a stored member ``<root>/data/<key>`` per storage."""
    with open_zip(data) as archive:
        members = {info.filename: info for info in archive.infolist()}
    for name, info in members.items():
        if info.compress_type != zipfile.ZIP_STORED:
            raise ModelError(f"{name}: expected a stored member, as torch writes them, got a compressed one")
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ModelError(f"expected one member data.pkl in the archive, got {len(pickles)}")
    root = pickles[0].removesuffix("data.pkl")
    byteorder = members.get(f"{root}byteorder")
    if byteorder and bytes(member_data(data, byteorder)) != b"little":
        raise ModelError("expected little-endian storages")

    storages: dict[str, _Storage] = {}
    stream = io.BytesIO(member_data(data, members[pickles[0]]))
    value = interpret(stream, _GLOBALS, partial(_load_storage, storages))
    buffers = {}
    for key, storage in storages.items():
        name = f"{root}data/{key}"
        if name not in members:
            raise ModelError(f"{name}: the archive lacks this storage")
        buffers[key] = member_data(data, members[name])
        if len(buffers[key]) < storage.nbytes:
            raise ModelError(f"{name}: expected {storage.nbytes} bytes, got {len(buffers[key])}")
    return value, buffers


def _read_legacy(data: FileData) -> tuple[Any, dict[str, memoryview]]:
    """Read torch < 1.6: magic, protocol, platform, value and storage keys as five pickles, then storages."""
    stream = cast(IO[bytes], io.BytesIO(data) if isinstance(data, bytes) else data)
    stream.seek(0)
    if interpret(stream, {}) != _LEGACY_MAGIC:
        raise ModelError("expected a pickle that torch.save wrote, got another")
    if interpret(stream, {}) != _LEGACY_PROTOCOL:
        raise ModelError(f"expected torch.save's protocol {_LEGACY_PROTOCOL}, got another")
    platform = interpret(stream, {})
    if not isinstance(platform, dict) or platform.get("little_endian") is not True:
        raise ModelError("expected little-endian storages")
    storages: dict[str, _Storage] = {}
    value = interpret(stream, _GLOBALS, partial(_load_storage, storages))
    keys = interpret(stream, {})
    named = isinstance(keys, list) and all(type(key) is str and key in storages for key in keys)
    if not named or len(keys) != len(storages):
        raise ModelError("the list of storages does not name the storages that the tensors use")

    buffers = {}
    position = stream.tell()
    for key in keys:  # each storage: its number of elements as int64, then the elements
        storage = storages[key]
        numel = int.from_bytes(data[position : position + 8], "little")
        start, position = position + 8, position + 8 + storage.nbytes
        if numel != storage.numel or position > len(data):
            raise ModelError(f"storage {key!r}: expected {storage.numel} elements, the file is truncated")
        buffers[key] = memoryview(data)[start:position]
    return value, buffers


def _state_dicts(value: object) -> list[dict[str, _View]]:
    """Return the tensors of each dict that there is, however deep: the outer before those within it.

    Checkpoints hold weights beside those of an optimizer, averaged ones, and single tensors.
    """
    found = []
    seen: set[int] = set()  # a pickle may hold one dict a million times, and within itself
    waiting = [value]
    while waiting and len(seen) < _MAX_CONTAINERS:
        candidate = waiting.pop(0)
        if not isinstance(candidate, dict) or id(candidate) in seen:
            continue
        seen.add(id(candidate))
        tensors = {
            name: item for name, item in candidate.items() if isinstance(item, _View) and type(name) is str
        }
        if tensors:
            found.append(tensors)
        waiting += mappings_in(candidate)
    if not found:
        raise ModelError(
            f"expected a state dict, or one within dicts, as checkpoints have it, got {type(value).__name__}"
        )
    return found


def read_torch(data: FileData) -> list[dict[str, Tensor]]:
    """List the tensors of a ``.pth`` file, zip or legacy.

    Parameters
    ----------
    data
        The file.

    Returns
    -------
    list of dict
        A :class:`Tensor` per tensor by its key, for each dict of the file that holds tensors.

    Raises
    ------
    ModelError
        If the pickle uses an opcode or a global that state dicts do not need, if a tensor reaches outside its
        storage or a storage outside the file, or if there is no state dict. Nothing is ever executed.
    """
    value, buffers = (_read_zip if data[:2] == b"PK" else _read_legacy)(data)

    def described(item: _View) -> Tensor:
        dtype, key = item.storage.dtype, item.storage.key
        strides = tuple(stride * dtype.itemsize for stride in item.strides)
        offset = item.offset * dtype.itemsize if math.prod(item.shape) else 0
        return Tensor(item.shape, dtype, partial(view, buffers[key], item.shape, dtype, offset, strides))

    return [{name: described(item) for name, item in candidate.items()} for candidate in _state_dicts(value)]
