"""Importer of compiled models (``.fcm``): what :mod:`fastconv.graph.save` wrote, mapped and checked.

A file is data alone: nothing in it is executed, and no size in it is believed before it is held against the
file's. The header's hash tells damage, not malice, so the header is checked all the same: every type, name,
index and range here, every operator and attribute where a model is made. Arrays are views of the file, but
for those that it holds coded: what these take decoded is counted before any is.

The hashes of small arrays, which may say shapes, are checked at once; those of weights only with ``verify``,
for that reads the whole file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fastconv._arguments import PRECISIONS
from fastconv._files import open_plain
from fastconv.errors import ArgumentError, ModelError
from fastconv.graph.coding import Coded, decode
from fastconv.graph.ir import (
    MAX_DEPTH,
    Activation,
    CompiledGraph,
    Dim,
    Graph,
    Node,
    PackedWeights,
    TensorInfo,
)
from fastconv.graph.save import (
    ALIGNMENT,
    MAGIC,
    MAX_HEADER,
    PAGE,
    PREFIX,
    START,
    VERSION,
    check_header,
    content_hash,
    dtype_named,
    prefix_of,
    round_up,
)
from fastconv.graph.value import Array
from fastconv.importers.onnx import captured_names, check_names, reason
from fastconv.importers.tensors import FileData, checked_size, map_file, view

SMALL = 4096  # bytes of an array up to which its hash is checked at once
MAX_SIZE = 1 << 31  # of a dimension
BYTES = np.dtype(np.uint8)
MAX_GROWTH, FREE = 64, 256 << 20  # what is decoded: times the file, or bytes that any may take
_ENDS = ("inputs", "outputs")

T = TypeVar("T")


def is_compiled(data: bytes | memoryview) -> bool:
    """Tell whether a file's first bytes are those of a compiled model."""
    return bytes(data[: len(MAGIC)]) == MAGIC


def is_compiled_file(path: Path) -> bool:
    """Tell whether a file is a compiled model; no where it cannot be read, of which its reader says why."""
    try:
        with open_plain(path) as file:
            return is_compiled(file.read(len(MAGIC)))
    except (OSError, ModelError):
        return False


def from_file(path: Path, *, verify: bool = False) -> CompiledGraph:
    """Map a ``.fcm`` file; ModelError where it is none, or is damaged."""
    try:
        data = map_file(path)
    except (OSError, ValueError) as error:  # ValueError: it is empty all of a sudden
        raise ModelError(f"{path}: expected a readable file, got {reason(error)}") from error
    return from_data(data, str(path), verify=verify)


def from_data(data: FileData, source: str = "model", *, verify: bool = False) -> CompiledGraph:
    """Read the contents of a ``.fcm`` file; ``source`` starts the message where they are not."""
    try:
        return _Reader(data, verify).graph()
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    except RecursionError as error:  # of the representation of a value, in a message
        raise ModelError(f"{source}: header: expected fewer lists within each other") from error


class _Reader:
    """A file, and its header's fields by their expected types."""

    def __init__(self, data: FileData, verify: bool) -> None:
        if not is_compiled(memoryview(data)[: len(MAGIC)]):
            raise ModelError(f"expected a compiled model, got a file that starts with {bytes(data[:8])!r}")
        if len(data) < START:
            raise ModelError(f"expected a compiled model, got its first {len(data)} bytes")
        _, version, header_bytes, file_bytes = PREFIX.unpack_from(data)
        if version != VERSION:
            raise ModelError(
                f"expected version {VERSION} of the format, got {version}:"
                " convert the model again with this fastconv"
            )
        if file_bytes != len(data):
            raise ModelError(f"expected the {file_bytes} bytes that it was written with, got {len(data)}")
        if not 0 < header_bytes <= min(MAX_HEADER, len(data) - START):
            raise ModelError(f"expected a header of at most {MAX_HEADER} bytes, got {header_bytes}")
        header = data[START : START + header_bytes]
        if data[:START] != prefix_of(header, file_bytes):
            raise ModelError("header: expected the bytes of its hash, got others: the file is damaged")
        check_header(header)
        self._bytes = memoryview(data)
        self._start = round_up(START + header_bytes, PAGE)
        self._fields = _mapping(_parsed(header), "header")
        self._arrays = self._read_arrays(verify)
        self._defined: set[str] = set()

    def _read_arrays(self, verify: bool) -> list[Array]:
        """Return views of the file, each after the one before."""
        arrays, end = [], self._start
        waiting: list[tuple[str, int, Coded]] = []
        budget = max(MAX_GROWTH * len(self._bytes), FREE)
        for i, entry in enumerate(_items(self._fields, "arrays")):
            where = f"array {i}"
            fields = _mapping(entry, where)
            dtype = dtype_named(where, _text(fields.get("dtype"), where))
            shape = _each(fields.get("shape"), where, _size)
            coded = fields.get("coded")
            most = len(self._bytes) if coded is None else budget
            size = checked_size(shape, where, most=most) * dtype.itemsize
            if coded is not None:
                budget -= size
                if budget < 0:
                    raise ModelError(
                        f"{where}: expected arrays of at most {MAX_GROWTH} times the file's"
                        f" {len(self._bytes)} bytes or of {FREE}, got more"
                    )
                entries, gaps, size = (_size(n, where) for n in _record(coded, f"{where}: coded", 3))
            offset = self._start + _whole(fields.get("offset"), where, len(self._bytes))
            if offset % ALIGNMENT or not end <= offset <= len(self._bytes) - size:
                raise ModelError(
                    f"{where}: expected a place of its own in the file's {len(self._bytes)} bytes,"
                    f" got {size} bytes of shape {list(shape)} from {offset} on"
                )
            end = offset + size
            checked = verify or size <= SMALL or coded is not None  # which are read in any case
            if checked and content_hash(self._bytes[offset:end]).hex() != fields.get("hash"):
                raise ModelError(f"{where}: expected the bytes of its hash, got others: the file is damaged")
            if coded is None:
                arrays.append(view(self._bytes, shape, dtype, offset))
            else:
                waiting.append((where, i, Coded(view(self._bytes, (size,), BYTES, offset), entries, gaps)))
                arrays.append(np.empty(shape, dtype))
        for where, i, found in waiting:
            try:
                decode(found, arrays[i])
            except ArgumentError as error:
                raise ModelError(f"{where}: {error}") from error
        self._decoded = bool(waiting)
        return arrays

    def graph(self) -> CompiledGraph:
        """Return all that the file holds."""
        graph = self._graph(self._fields, 0)
        names = [info.name for info in graph.inputs], [info.name for info in graph.outputs]
        check_names(graph.nodes, graph.constants, *names)
        precision = _text(self._fields.get("precision"), "precision")
        if precision not in PRECISIONS:
            raise ModelError(f"precision: expected 'fast', 'exact' or 'bf16', got {precision!r:.80}")
        return CompiledGraph(
            graph.name,
            graph.nodes,
            graph.inputs,
            graph.outputs,
            graph.constants,
            precision=precision,
            keep=not self._decoded,
            parameters={
                node: {name: _whole(n, "parameters", 1 << 53) for name, n in _mapping(read, node).items()}
                for node, read in _mapping(self._fields.get("parameters"), "parameters").items()
            },
            packed=tuple(self._packed(entry) for entry in _items(self._fields, "packed")),
        )

    def _graph(self, fields: Mapping[str, Any], depth: int) -> Graph:
        """Return the file's graph, or one that is an attribute; no name is defined twice in all of them."""
        if depth > MAX_DEPTH:
            raise ModelError(f"graph: expected at most {MAX_DEPTH} within each other, got more")
        inputs, outputs = (tuple(_info(entry, kind) for entry in _items(fields, kind)) for kind in _ENDS)
        if not outputs:
            raise ModelError("outputs: expected at least one, got none")
        for info in inputs if depth else ():
            self._define(info.name, f"input {info.name!r}")
        constants = {}
        for entry in _items(fields, "constants"):
            name, index = _record(entry, "constant", 2)
            where = f"constant {_text(name, 'constant')!r}"
            constants[name] = self._array(index, where)
            self._define(name, where)
        entries = enumerate(_items(fields, "nodes"))
        nodes = tuple(self._node(entry, f"node {i}", depth) for i, entry in entries)
        return Graph(_text(fields.get("name"), "name"), nodes, inputs, outputs, constants)

    def _define(self, name: str, where: str) -> None:
        if name in self._defined:
            raise ModelError(f"{where}: expected one definition of {name!r}, got several")
        self._defined.add(name)

    def _array(self, index: Any, where: str) -> Array:
        return self._arrays[_whole(index, where, len(self._arrays))]

    def _packed(self, entry: Any) -> PackedWeights:
        output, algorithm, packing, index = _record(entry, "packed weights", 4)
        where = f"packed weights of {output!r:.80}"
        array = self._array(index, where)
        if array.ndim != 1 or array.dtype != np.uint8:
            raise ModelError(
                f"{where}: expected a vector of bytes, got {array.ndim} dimensions of {array.dtype}"
            )
        return PackedWeights(_text(output, where), _text(algorithm, where), _text(packing, where), (array,))

    def _node(self, entry: Any, where: str, depth: int) -> Node:
        fields = _mapping(entry, where)
        name, op = _text(fields.get("name"), where), _text(fields.get("op"), where)
        where = f"node {name!r} ({op})"
        outputs = _each(fields.get("outputs"), where, _text)
        if not outputs or not outputs[0]:
            raise ModelError(f"{where}: expected an output, got none")
        for output in filter(None, outputs):
            self._define(output, where)
        kind, alpha, beta = _record(fields.get("activation"), f"{where}: activation", 3)
        inputs = _each(fields.get("inputs"), where, _text)
        attrs = {
            key: self._attribute(value, f"{where}: attribute {key}", depth)
            for key, value in _mapping(fields.get("attrs"), where).items()
        }
        for graph in attrs.values():
            if isinstance(graph, Graph):
                captured = captured_names(graph)
                given, results = ([info.name for info in ends] for ends in (graph.inputs, graph.outputs))
                check_names(graph.nodes, graph.constants, [*given, *captured], results)
                if not {*captured} <= {*inputs}:
                    raise ModelError(
                        f"{where}: expected inputs {captured}, which its graphs read, got {inputs}"
                    )
        return Node(
            op,
            name,
            inputs,
            outputs,
            attrs,
            _size(fields.get("opset"), where),
            _text(fields.get("domain"), where),
            Activation(_text(kind, where), _real(alpha, where), _real(beta, where)),
            _each(fields.get("absorbed"), where, _text),
        )

    def _attribute(self, entry: Any, where: str, depth: int) -> Any:
        kind, value = _record(entry, where, 2)
        if kind == "array":
            return self._array(value, where)
        if kind == "graph":
            return self._graph(_mapping(value, where), depth + 1)
        read: Callable[[Any, str], Any] | None = {"int": _int64, "float": _real, "str": _text}.get(
            str(kind).removesuffix("s")
        )
        if read is None:
            raise ModelError(f"{where}: expected a kind of value, got {kind!r:.80}")
        return list(_each(value, where, read)) if kind.endswith("s") else read(value, where)


def _parsed(header: bytes) -> Any:
    import json  # in here: whoever reads other files need not wait for it

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return json.loads(header.decode(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"header: expected JSON, got: {error!s:.200}") from error


# Each returns a value of JSON if it has the type, and names `where` it stands if not.


def _typed(value: Any, kind: type[T], where: str) -> T:
    if type(value) is not kind:  # not isinstance: True is no 1
        raise ModelError(f"{where}: expected a {kind.__name__}, got {value!r:.80}")
    return value


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _typed(value, dict, where)
    for name in found:
        _text(name, where)
    return found


def _items(fields: Mapping[str, Any], name: str) -> list[Any]:
    return _typed(fields.get(name), list, name)


def _record(value: Any, where: str, count: int) -> list[Any]:
    if len(_typed(value, list, where)) != count:
        raise ModelError(f"{where}: expected {count} fields, got {value!r:.80}")
    return list(value)


def _each(value: Any, where: str, read: Callable[[Any, str], T]) -> tuple[T, ...]:
    return tuple(read(item, where) for item in _typed(value, list, where))


def _text(value: Any, where: str) -> str:
    text = _typed(value, str, where)
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise ModelError(f"{where}: expected Unicode, got half of a surrogate pair in {text!a:.80}")
    return text


def _whole(value: Any, where: str, end: int) -> int:
    number = _typed(value, int, where)
    if not 0 <= number < end:
        raise ModelError(f"{where}: expected a number from 0 to {end - 1}, got {number}")
    return number


def _size(value: Any, where: str) -> int:
    return _whole(value, where, MAX_SIZE)


def _int64(value: Any, where: str) -> int:
    number = _typed(value, int, where)
    if not -(1 << 63) <= number < 1 << 63:
        raise ModelError(f"{where}: expected an integer of 64 bits, got one of {number.bit_length()}")
    return number


def _real(value: Any, where: str) -> float:
    if value in ("inf", "-inf", "nan"):
        return float(value)
    return float(_int64(value, where) if type(value) is int else _typed(value, float, where))


def _info(entry: Any, kind: str) -> TensorInfo:
    name, dims, dtype = _record(entry, kind, 3)
    where = f"{kind[:-1]} {name!r:.80}"
    known = dtype_named(where, _text(dtype, where)).newbyteorder("=")
    return TensorInfo(_text(name, where), _each(dims, where, _dim), known)


def _dim(value: Any, where: str) -> Dim:
    if value is None or type(value) is str:
        return value if value is None else _text(value, where)
    return _size(value, where)
