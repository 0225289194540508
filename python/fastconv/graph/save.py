"""A compiled model as one file (``.fcm``): its graph after the passes, its weights, and those as packed.

This file writes it, :mod:`fastconv.importers.compiled` reads it, ``docs/format.md`` specifies it::

    prefix   64 bytes: magic, format version, lengths of header and file, hash of these and of the header
    header   JSON: the graph, and for each array dtype, shape, place and hash
    arrays   each from a multiple of 64 bytes on; the packed ones come last and start a page

A file that is to be small (``.fcz``) has its arrays coded where that makes them smaller, and none packed.

Plain weights are there always: a processor of another tier, or another version of fastconv, packs them
anew. They lie in pages of their own, which are not read while the packed ones serve.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastconv import _core
from fastconv._files import replacing
from fastconv.errors import MissingPackageError, ModelError
from fastconv.graph.coding import encode
from fastconv.graph.ir import CompiledGraph, Graph, Node, PackedWeights, TensorInfo
from fastconv.graph.value import Array

MAGIC = b"\x89FCM\r\n\x1a\n"  # as PNG's: 8-bit, and damaged by whoever takes it for text
CODED = ".fcz"  # how the name of a file ends whose arrays are coded
VERSION = 3  # of the format; files of another one are refused
# Magic, version, header bytes, file bytes; the hash of these and of the header follows, then zeros.
PREFIX = struct.Struct("<8sIIQ")
HASH_BYTES = 32
START = 64  # of the header
MAX_HEADER = 16 << 20  # bytes
MAX_LISTS, MAX_VALUES = 1 << 19, 1 << 21  # in a header: a list of nothing is two bytes there and 60 in memory
ALIGNMENT = 64  # of arrays: a cache line
PAGE = 4096  # where packed weights start

_DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
_ML_DTYPES = (  # of the package of that name
    *("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn"),
    *("int2", "int4", "uint2", "uint4"),
)


def dtype_named(where: str, name: str) -> np.dtype[Any]:
    """Return the dtype that files have under a name; ``where`` starts the message."""
    if name in _DTYPES:
        return np.dtype(name).newbyteorder("<")
    if name not in _ML_DTYPES:
        raise ModelError(
            f"{where}: expected a dtype among {', '.join(_DTYPES + _ML_DTYPES)}, got {name!r:.80}"
        )
    try:
        import ml_dtypes
    except ImportError as error:
        raise MissingPackageError(f"{where}: {name} needs a package: pip install ml_dtypes") from error
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def prefix_of(header: bytes, file_bytes: int) -> bytes:
    """Return the first bytes of a file."""
    fields = PREFIX.pack(MAGIC, VERSION, len(header), file_bytes)
    return (fields + content_hash(fields, header)).ljust(START, b"\0")


def content_hash(*parts: Any) -> bytes:
    """Return the BLAKE2b hash of bytes, one part after another."""
    import hashlib  # in here: it loads OpenSSL, and few have anything to hash

    found = hashlib.blake2b(digest_size=HASH_BYTES)
    for part in parts:
        found.update(part)
    return found.digest()


def round_up(n: int, step: int) -> int:
    """Return the first multiple of ``step`` that is not below ``n``."""
    return -(-n // step) * step


def check_same(packed: Sequence[PackedWeights], again: Sequence[PackedWeights]) -> None:
    """Raise ModelError unless weights that were packed once more have the bits that they had."""
    first = {weights[:3]: weights.arrays for weights in packed}
    for weights in again:
        mine = first.get(weights[:3], weights.arrays)
        same = [np.array_equal(a, b, equal_nan=True) for a, b in zip(mine, weights.arrays, strict=False)]
        if len(mine) != len(weights.arrays) or not all(same):
            raise ModelError(
                f"weights of {weights.output!r}: expected those that the model was made of, got others:"
                " the file or the arrays that they came from have changed"
            )


def write_compiled(path: Path, graph: CompiledGraph, *, coded: bool = False) -> None:
    """Write a file; whoever has an older one of that name mapped keeps what it had.

    ``coded``: with arrays of few distinct values in Huffman codes.
    """
    import json  # in here, as hashlib above: whoever only runs networks need not wait for it

    arrays = _Arrays(coded)
    header = _header(graph, arrays)
    text = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    check_header(text)
    start = round_up(START + len(text), PAGE)
    with replacing(path) as file:
        file.write(prefix_of(text, start + arrays.end) + text)
        arrays.write(file, start)


def check_header(text: bytes) -> None:
    """Refuse a header whose values would take a hundred times its bytes."""
    if len(text) > MAX_HEADER:
        raise ModelError(f"header: expected at most {MAX_HEADER} bytes, got {len(text)}")
    lists, values = text.count(b"[") + text.count(b"{"), text.count(b",")
    if lists > MAX_LISTS or values > MAX_VALUES:
        raise ModelError(
            f"header: expected at most {MAX_LISTS} lists and {MAX_VALUES} values, got {lists} and {values}"
        )


class _Arrays:
    """The arrays of a file in the order in which they are written; places count from the first page."""

    def __init__(self, coded: bool) -> None:
        self._coded = coded
        self.entries: list[dict[str, Any]] = []
        self.end = 0
        self._parts: list[tuple[int, Sequence[Array]]] = []

    def add(self, where: str, array: Array) -> int:
        """Enter an array and return its index."""
        dtype = dtype_named(where, array.dtype.name)
        plain = np.ascontiguousarray(array, dtype)
        if self._coded and (found := encode(plain)) is not None:
            index = self._enter(array.dtype.name, array.shape, [found.data])
            self.entries[index]["coded"] = [found.entries, found.gaps, found.data.size]
            return index
        return self._enter(array.dtype.name, array.shape, [plain])

    def add_packed(self, arrays: Sequence[Array]) -> int:
        """Enter vectors of any elements as one of bytes, each from a multiple of the alignment on."""
        parts: list[Array] = []
        for array in arrays:
            gap = round_up(array.nbytes, ALIGNMENT) - array.nbytes
            parts += [array.view(np.uint8), np.zeros(gap, np.uint8)]
        return self._enter("uint8", (sum(part.size for part in parts),), parts)

    def new_page(self) -> None:
        """Have the next array start a page."""
        self.end = round_up(self.end, PAGE)

    def _enter(self, dtype: str, shape: Sequence[int], parts: Sequence[Array]) -> int:
        offset = round_up(self.end, ALIGNMENT)
        digest = content_hash(*map(_bytes, parts)).hex()
        self.entries.append({"dtype": dtype, "shape": list(shape), "offset": offset, "hash": digest})
        self._parts.append((offset, parts))
        self.end = offset + sum(part.nbytes for part in parts)
        return len(self.entries) - 1

    def write(self, file: BinaryIO, start: int) -> None:
        """Write all, with zeros between them and up to the end."""
        for offset, parts in [*self._parts, (self.end, [])]:
            file.write(bytes(start + offset - file.tell()))
            for part in parts:
                file.write(_bytes(part))


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _header(graph: CompiledGraph, arrays: _Arrays) -> dict[str, Any]:
    body = _graph(graph, arrays)
    if graph.packed:
        arrays.new_page()
    return {
        "fastconv": _core.__version__,
        **body,
        "precision": graph.precision,
        "parameters": graph.parameters,
        "packed": [
            [p.output, p.algorithm, p.packing, arrays.add_packed(p.arrays)] for p in graph.packed if p.arrays
        ],
        "arrays": arrays.entries,
    }


def _graph(graph: Graph, arrays: _Arrays) -> dict[str, Any]:
    nodes = [_node(node, arrays) for node in graph.nodes]
    # The small ones, which are read when the file is opened, side by side: each read maps pages around it.
    by_size = sorted(graph.constants.items(), key=lambda item: item[1].nbytes)
    return {
        "name": graph.name,
        "inputs": [_info(info) for info in graph.inputs],
        "outputs": [_info(info) for info in graph.outputs],
        "nodes": nodes,
        "constants": [[name, arrays.add(f"constant {name!r}", array)] for name, array in by_size],
    }


def _info(info: TensorInfo) -> list[Any]:
    return [info.name, list(info.shape), info.dtype.name]


def _node(node: Node, arrays: _Arrays) -> dict[str, Any]:
    where = f"node {node.name!r} ({node.op})"
    kind, *numbers = node.activation
    return {
        "op": node.op,
        "name": node.name,
        "domain": node.domain,
        "opset": node.opset,
        "inputs": node.inputs,
        "outputs": node.outputs,
        "attrs": dict(_attributes(node.attrs, where, arrays)),
        "activation": [kind, *map(_real, numbers)],
        "absorbed": node.absorbed,
    }


def _attributes(attrs: Mapping[str, Any], where: str, arrays: _Arrays) -> Iterator[tuple[str, Any]]:
    """Yield names and values, these with their kind: JSON alone would not tell 1.0 in a list from 1."""
    for name, value in attrs.items():
        items = value if isinstance(value, list | tuple) else [value]
        many = "s" if items is value else ""
        if isinstance(value, np.ndarray):
            yield name, ["array", arrays.add(f"{where}: attribute {name}", value)]
        elif isinstance(value, Graph):
            yield name, ["graph", _graph(value, arrays)]
        elif all(isinstance(item, str) for item in items):
            yield name, ["str" + many, value]
        elif all(isinstance(item, int | np.integer) for item in items):
            yield name, ["int" + many, [int(item) for item in items] if many else int(value)]
        elif all(isinstance(item, int | float | np.number) for item in items):
            yield name, ["float" + many, [_real(item) for item in items] if many else _real(value)]
        elif value is not None:
            raise ModelError(
                f"{where}: attribute {name}: expected numbers, strings, array or graph, got {value!r:.80}"
            )


def _real(value: float) -> float | str:
    """Return a number as JSON has it: infinities and NaN as strings."""
    return float(value) if math.isfinite(value) else str(float(value))
