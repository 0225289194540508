"""Importers: numpy's ``.npz`` archives and ``.npy`` files, without pickle and without trusting a size.

Called by :func:`fastconv.importers.weights.read_weights`. Every member's header is parsed and held against
the member's size before anything of that size is allocated; stored members become views into the file,
deflated ones are inflated to exactly the declared size when they are asked for.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from functools import partial

import numpy as np

from fastconv.errors import ModelError
from fastconv.importers.tensors import Array, DType, FileData, Tensor, view

_MAX_HEADER = 1 << 16  # bytes of a member in which its .npy header has to end
_HEADER = re.compile(
    rb"\{'descr': *'([<>|][fiub][1248])', *'fortran_order': *(True|False), *"
    rb"'shape': *\(([0-9, ]*)\),? *\} *\n?"
)
_LOCAL_HEADER = 30  # bytes of a zip local file header before its name and extra field


def open_zip(data: FileData) -> zipfile.ZipFile:
    """Read the central directory of a zip archive; two members of one name are an error."""
    archive = zipfile.ZipFile(io.BytesIO(data) if isinstance(data, bytes) else data)  # type: ignore[arg-type]
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ModelError("the archive has two members of the same name")
    return archive


def member_data(data: FileData, info: zipfile.ZipInfo) -> memoryview:
    """Return a zip member's bytes as they lie in the file (compressed if the member is)."""
    header = data[info.header_offset : info.header_offset + _LOCAL_HEADER]
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise ModelError(f"{info.filename}: its local header is damaged")
    name_length, extra_length = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
    start = info.header_offset + _LOCAL_HEADER + name_length + extra_length
    if start + info.compress_size > len(data):
        raise ModelError(f"{info.filename}: expected {info.compress_size} bytes, the file is truncated")
    if info.flag_bits & 0x1:
        raise ModelError(f"{info.filename}: the member is encrypted")
    return memoryview(data)[start : start + info.compress_size]


def read_npz(data: FileData) -> dict[str, Tensor]:
    """List the arrays of an ``.npz`` archive.

    Parameters
    ----------
    data
        The archive.

    Returns
    -------
    dict
        A :class:`Tensor` per member, by the member's name without ``.npy``.

    Raises
    ------
    ModelError
        If a member is not an array of real numbers or its declared size is not the size it has.
    """
    with open_zip(data) as archive:
        members = archive.infolist()
    return {info.filename.removesuffix(".npy"): _read_member(data, info) for info in members}


def _read_member(data: FileData, info: zipfile.ZipInfo) -> Tensor:
    name = info.filename
    payload = member_data(data, info)
    head = bytes(_inflate(payload, info, min(_MAX_HEADER, info.file_size)))
    offset, shape, dtype, fortran = _parsed(name, head, info.file_size)
    return Tensor(shape, dtype, partial(_load, payload, info, offset, shape, dtype, fortran))


def read_npy(name: str, data: FileData) -> Tensor:
    """Describe the array of an ``.npy`` file; ModelError, which begins with the name, where it is none."""
    offset, shape, dtype, fortran = _parsed(name, bytes(data[:_MAX_HEADER]), len(data))

    def load() -> Array:
        content = memoryview(data)
        return _array(content, offset, shape, dtype, fortran)

    return Tensor(shape, dtype, load)


def _parsed(name: str, head: bytes, size: int) -> tuple[int, tuple[int, ...], DType, bool]:
    """Return where an array's elements begin, its shape, its dtype and whether its order is Fortran's."""
    size_bytes = 2 if head[6:7] == b"\x01" else 4  # of the field behind the version
    offset = 8 + size_bytes + int.from_bytes(head[8 : 8 + size_bytes], "little")
    match = _HEADER.fullmatch(head[8 + size_bytes : offset])
    if head[:6] != b"\x93NUMPY" or match is None or offset > len(head):
        raise ModelError(f"{name}: expected the header of an array, as numpy writes it, got {head[:64]!r}")
    dtype, fortran = np.dtype(match[1].decode()), match[2] == b"True"
    shape = tuple(int(n) for n in match[3].split(b",") if n.strip())
    declared, held = math.prod(shape) * dtype.itemsize, size - offset
    if declared != held:
        raise ModelError(f"{name}: expected {dtype}{list(shape)} = {declared} bytes, the member holds {held}")
    return offset, shape, dtype, fortran


def _load(
    payload: memoryview,
    info: zipfile.ZipInfo,
    offset: int,
    shape: tuple[int, ...],
    dtype: DType,
    fortran: bool,
) -> Array:
    return _array(_inflate(payload, info, info.file_size), offset, shape, dtype, fortran)


def _array(
    content: bytes | memoryview, offset: int, shape: tuple[int, ...], dtype: DType, fortran: bool
) -> Array:
    return view(content, shape[::-1], dtype, offset).T if fortran else view(content, shape, dtype, offset)


def _inflate(payload: memoryview, info: zipfile.ZipInfo, nbytes: int) -> bytes | memoryview:
    """Return the first ``nbytes`` bytes of a member; never produces more."""
    if info.compress_type == zipfile.ZIP_STORED:
        content: bytes | memoryview = payload[:nbytes]
    elif info.compress_type == zipfile.ZIP_DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload, nbytes) if nbytes else b""
    else:
        raise ModelError(f"{info.filename}: compression method {info.compress_type} is not supported")
    if len(content) != nbytes:
        raise ModelError(f"{info.filename}: expected {nbytes} bytes, got {len(content)}")
    return content
