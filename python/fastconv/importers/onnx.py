"""Importer of ONNX: a ModelProto to a graph.

The messages are read by the classes of protobuf alone (``messages.py``). The package ``onnx`` is imported
where its tools are needed: for local functions, and for numbers in other forms than bytes of usual types.

``onnx.checker`` is not a gate (it accepts files that crash runtimes), so what is relied upon is checked
here: sizes of tensors against their data, names that exist before they are read, one writer for each name.
What operators need besides is checked where they are lowered.
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.errors import DTypeError, ModelError, UnsupportedOpError
from fastconv.graph.ir import Dim, Graph, Node, TensorInfo
from fastconv.graph.value import MAX_DIMENSIONS
from fastconv.importers.external_data import ExternalData
from fastconv.importers.functions import all_nodes, inlined
from fastconv.importers.messages import import_messages, import_onnx
from fastconv.importers.onnxruntime import written_out
from fastconv.importers.raw_data import detach
from fastconv.importers.tensors import FileData, checked_size, map_file, map_parts

Array = npt.NDArray[Any]

NEWEST_OPSET = 28  # of ONNX's own operators, that the conformance tests were run with
MAX_ELEMENTS = 1 << 33  # of one tensor
MAX_DENSE = 1 << 28  # bytes of a sparse tensor with its zeros
NUMPY_TYPES = {  # by their number in TensorProto.DataType; of the others the package onnx knows
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
}  # fmt: skip
EMPTY: Mapping[int, memoryview] = MappingProxyType({})
NO_SCOPE: Mapping[str, str] = MappingProxyType({})


def from_file(path: Path, folder: Path | None = None) -> Graph:
    """Read a ``.onnx`` file; ModelError where it cannot be read or is not one.

    Its external data are below ``folder``; without one, below the folder that it is in.
    """
    source = str(path)
    try:
        data = map_file(path)
        skeleton, spans = detach(data)
        detached = map_parts(path, spans)
    except (OSError, ValueError) as error:  # ValueError: it is shorter than it was a moment ago
        raise ModelError(f"{path}: expected a readable file, got {reason(error)}") from error
    return _from_message(_parsed(skeleton, source), source, detached, folder or path.parent)


def from_bytes(data: bytes, source: str = "model", folder: Path | None = None) -> Graph:
    """Read the contents of a ``.onnx`` file; ``source`` starts the message where they are not.

    Large weights are views of ``data``.
    """
    skeleton, spans = detach(data)
    whole = memoryview(data)
    detached = {i: whole[a:b] for i, (a, b) in spans.items()}
    return _from_message(_parsed(skeleton, source), source, detached, folder)


def reason(error: Exception) -> str:
    """Return what an error says, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _parsed(data: FileData, source: str) -> Any:
    proto = import_messages().ModelProto()
    try:
        proto.ParseFromString(memoryview(data))
    except Exception as error:  # protobuf's DecodeError; protobuf is onnx's dependency, not ours
        raise ModelError(
            f"{source}: expected an ONNX model, got {len(data)} bytes that do not parse"
        ) from error
    return proto


def from_proto(proto: Any, source: str = "model", folder: Path | None = None) -> Graph:
    """Turn a ModelProto into a graph; the message is not kept.

    Files that the message names are read below ``folder`` alone.
    """
    if not isinstance(proto, import_messages().ModelProto):
        raise DTypeError(f"source: expected a path, bytes or an onnx.ModelProto, got {type(proto).__name__}")
    return _from_message(proto, source, EMPTY, folder)


def _from_message(proto: Any, source: str, detached: Mapping[int, memoryview], folder: Path | None) -> Graph:
    """Turn a ModelProto into a graph.

    ``detached`` holds the ``raw_data`` of initializers by index, where they are not in the message.
    """
    opsets = _opsets(proto.opset_import, source)
    if not proto.HasField("graph") or not opsets or not proto.graph.output:
        raise ModelError(
            f"{source}: expected an ONNX model with opset, graph and outputs, got none (is it truncated?)"
        )
    proto = inlined(proto, source)
    deque(all_nodes(proto.graph.node, source), maxlen=0)  # refuses what is too deep to follow
    graph = proto.graph
    external = ExternalData(folder)
    constants = _initializers(graph, external, detached)
    listed = {_text(t.name) for t in graph.initializer} | constants.keys()  # strings are no constants
    inputs = tuple(_info(v, "input") for v in graph.input if _text(v.name) not in listed)
    given = [_text(v.name) for v in graph.input] if proto.ir_version >= 4 else []  # before, all are listed
    defaults = [TensorInfo(n, constants[n].shape, constants[n].dtype) for n in given if n in constants]
    outputs = tuple(_info(v, "output") for v in graph.output)
    nodes = _nodes(graph.node, opsets, external)
    check_names(nodes, constants, [i.name for i in inputs], [o.name for o in outputs])
    return Graph(_text(graph.name) or source, nodes, inputs, outputs, constants, tuple(defaults))


def _opsets(imports: Iterable[Any], source: str) -> dict[str, int]:
    """Return the version of each domain's operators; of ONNX's own, those that we or its package know."""
    opsets: dict[str, int] = {}
    for entry in imports:
        domain, version = _domain(_text(entry.domain)), int(entry.version)
        most = (1 << 31) - 1 if domain else NEWEST_OPSET
        if version > NEWEST_OPSET and not domain:
            most = max(most, import_onnx().defs.onnx_opset_version())
        if not 1 <= version <= most:
            known = domain or "ai.onnx"
            raise ModelError(f"{source}: expected an opset of {known!r} from 1 to {most}, got {version}")
        if opsets.setdefault(domain, version) != version:
            both = f"{opsets[domain]} and {version}"
            raise ModelError(f"{source}: expected one opset of {domain or 'ai.onnx'!r}, got {both}")
    return opsets


def _initializers(
    graph: Any, external: ExternalData, detached: Mapping[int, memoryview] = EMPTY
) -> dict[str, Array]:
    constants: dict[str, Array] = {}
    strings = [_text(t.name) for t in graph.initializer if t.data_type == t.STRING]
    unused = set(strings) - _read_names(graph) if strings else set()
    names = [_text(t.name) for t in graph.initializer]
    names += [_text(t.values.name) for t in graph.sparse_initializer]
    for name, count in Counter(names).items():
        if count > 1:
            raise ModelError(f"initializer {name!r}: expected one definition, got several")
    for i, t in enumerate(graph.initializer):
        name = _text(t.name)
        if name not in unused:  # class names, say, which no node reads
            constants[name] = _array(t, f"initializer {name!r}", external, detached.get(i))
    for t in graph.sparse_initializer:
        name = _text(t.values.name)
        constants[name] = _dense(t, f"initializer {name!r}", external)
    return constants


def _read_names(graph: Any) -> set[str]:
    """Return the names that the nodes of a graph, and of the graphs inside it, read or give back."""
    names = {_text(v.name) for v in graph.output}
    for node in all_nodes(graph.node, f"graph {_text(graph.name)!r}"):
        names.update(map(_text, node.input))
        for a in node.attribute:
            names.update(_text(v.name) for inner in (a.g, *a.graphs) for v in inner.output)
    return names


def _dense(proto: Any, where: str, external: ExternalData) -> Array:
    """Return a sparse tensor with its zeros; ``indices`` counts elements, or has a row for each value."""
    dims = tuple(proto.dims)
    values = _array(proto.values, where, external)
    indices = _array(proto.indices, f"{where}: indices", external)
    if not dims:
        raise ModelError(f"{where}: expected at least 1 dimension, got none")
    size = checked_size(dims, where, most=MAX_DENSE // max(values.dtype.itemsize, 1))
    count = values.shape[0] if values.ndim == 1 else -1
    if indices.dtype != np.int64 or indices.shape not in ((count,), (count, len(dims))):
        raise ModelError(
            f"{where}: expected a list of values and int64 indices of each,"
            f" got shapes {values.shape} and {indices.shape} of {indices.dtype}"
        )
    limits = np.array(dims if indices.ndim == 2 else [size], np.int64)
    if ((indices.reshape(count, -1) < 0) | (indices.reshape(count, -1) >= limits)).any():
        raise ModelError(f"{where}: expected indices within {list(dims)}, got some outside")
    flat = np.ravel_multi_index(tuple(indices.T), dims) if indices.ndim == 2 else indices
    if len(np.unique(flat)) != count:
        raise ModelError(f"{where}: expected one value for each index, got some twice")
    dense = np.zeros(size, values.dtype)
    dense[flat] = values
    return dense.reshape(dims)


def _subgraph(
    proto: Any,
    prefix: str,
    opsets: Mapping[str, int],
    external: ExternalData,
    scope: Mapping[str, str],
) -> Graph:
    """Return the graph that is an attribute of a node.

    It may read what the graphs around it have, by the names in ``scope``. What it defines is named anew, so
    that nothing of the same name is anywhere else.
    """
    constants = _initializers(proto, external)
    inputs = [_text(v.name) for v in proto.input]
    defined = [*constants, *inputs, *(_text(name) for node in proto.node for name in node.output if name)]
    scope = {**scope, **{name: f"{prefix}/{name}" for name in defined}}
    constants = {scope[name]: array for name, array in constants.items()}
    nodes = _nodes(proto.node, opsets, external, scope)
    given, results = (tuple(_inner_info(v, scope) for v in ends) for ends in (proto.input, proto.output))
    graph = Graph(_text(proto.name), nodes, given, results, constants)
    known = [*(info.name for info in given), *captured_names(graph)]
    check_names(nodes, constants, known, [info.name for info in results])
    return graph


def _inner_info(proto: Any, scope: Mapping[str, str]) -> TensorInfo:
    """Return an input or output of a graph that is an attribute; what it does not say is f32, of no shape."""
    name = _text(proto.name)
    name = scope.get(name, name)
    tensor = proto.type.tensor_type
    if not tensor.elem_type:
        return TensorInfo(name, (), np.dtype(np.float32))
    where = f"value {name!r}"
    dims = tuple(_dim(d, where) for d in tensor.shape.dim)
    return TensorInfo(name, dims, _dtype(tensor.elem_type, where))


def captured_names(graph: Graph) -> list[str]:
    """Return the names that a graph reads and does not define."""
    defined = {*graph.constants, *(info.name for info in graph.inputs)}
    defined.update(name for node in graph.nodes for name in node.outputs)
    read = [name for node in graph.nodes for name in node.inputs] + [info.name for info in graph.outputs]
    return list(dict.fromkeys(name for name in read if name and name not in defined))


def _text(value: str | bytes) -> str:
    """Return a string; protobuf gives bytes where a damaged file does not hold UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def in_order(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return nodes, each after those whose results it reads: ONNX demands it, not every converter does it.

    What is in order stays as it is. Nodes of a cycle come last, for :func:`check_names` to name one.
    """
    writer = {name: i for i, node in enumerate(nodes) for name in node.outputs if name}
    sources = [{writer[name] for name in node.inputs if name in writer} for node in nodes]
    if all(max(found, default=-1) < i for i, found in enumerate(sources)):
        return tuple(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    for i, found in enumerate(sources):
        for source in found:
            readers[source].append(i)
    waits = [len(found) for found in sources]
    ready = [i for i, count in enumerate(waits) if not count]  # ascending, and so a heap
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for reader in readers[i]:
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, reader)
    cyclic = [i for i, count in enumerate(waits) if count]
    return tuple(nodes[i] for i in [*order, *cyclic])


def check_names(
    nodes: Iterable[Node], constants: Iterable[str], inputs: list[str], outputs: list[str]
) -> None:
    """Check that every name has one writer, and is written before it is read."""
    if len(set(inputs)) != len(inputs):
        raise ModelError(f"inputs: expected different names, got {inputs}")
    known = {*constants, *inputs}
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise ModelError(
                    f"node {node.name!r} ({node.op}): expected its inputs to be known before it, got {name!r}"
                )
        for name in filter(None, node.outputs):
            if name in known:
                raise ModelError(
                    f"node {node.name!r} ({node.op}): expected a new output name, got {name!r} again"
                )
            known.add(name)
    for name in outputs:
        if name not in known:
            raise ModelError(
                f"output {name!r}: expected a value of the graph, got a name that nothing writes"
            )


def _nodes(
    protos: Iterable[Any],
    opsets: Mapping[str, int],
    external: ExternalData,
    scope: Mapping[str, str] = NO_SCOPE,
) -> tuple[Node, ...]:
    """Return the nodes of a graph in order; ``scope`` holds the names of values that have others here."""
    read = (_node(proto, i, opsets, external, scope) for i, proto in enumerate(protos))
    return in_order([written for node in read for written in written_out(node)])


def _node(
    proto: Any,
    index: int,
    opsets: Mapping[str, int],
    external: ExternalData,
    scope: Mapping[str, str],
) -> Node:
    """Return a node, its names in terms of ``scope``."""
    op, domain = _text(proto.op_type), _domain(_text(proto.domain))
    name = _text(proto.name) or f"{op}_{index}"
    inputs, outputs = (tuple(scope.get(n, n) for n in map(_text, v)) for v in (proto.input, proto.output))
    if not any(outputs):
        raise ModelError(f"node {name!r} ({op}): expected an output, got none")
    if not outputs[0]:  # an LSTM of which the last state alone is read
        outputs = (f"{next(filter(None, outputs))}/0", *outputs[1:])
    if domain not in opsets:
        raise ModelError(f"node {name!r} ({op}): expected a domain among {sorted(opsets)}, got {domain!r}")
    attrs = {}
    for a in proto.attribute:
        key = _text(a.name)
        if key in attrs:
            raise ModelError(f"node {name!r} ({op}): expected attributes of different names, got {key} twice")
        if a.type == a.GRAPH:
            attrs[key] = _subgraph(a.g, f"{outputs[0]}/{key}", opsets, external, scope)
        else:
            attrs[key] = _attribute(a, f"node {name!r} ({op}): attribute {key}", external)
    for graph in attrs.values():
        if isinstance(graph, Graph):
            captured = captured_names(graph)
            inputs += tuple(n for n in captured if n not in inputs)
    return Node(op, name, inputs, outputs, attrs, opsets[domain], domain)


def _attribute(proto: Any, where: str, external: ExternalData) -> Any:
    if proto.type == proto.INT:
        return proto.i
    if proto.type == proto.FLOAT:
        return proto.f
    if proto.type == proto.STRING:
        return _text(proto.s)
    if proto.type == proto.INTS:
        return list(proto.ints)
    if proto.type == proto.FLOATS:
        return list(proto.floats)
    if proto.type == proto.STRINGS:
        return [_text(s) for s in proto.strings]
    if proto.type == proto.TENSOR:
        return _array(proto.t, where, external)
    known = dict((v, k) for k, v in proto.AttributeType.items())
    raise UnsupportedOpError(
        f"{where}: expected numbers, strings or a tensor, got {known.get(proto.type, proto.type)}"
    )


def _info(proto: Any, kind: str) -> TensorInfo:
    name = _text(proto.name)
    where = f"{kind} {name!r}"
    if not proto.type.HasField("tensor_type"):
        raise ModelError(f"{where}: expected a tensor, got {proto.type.WhichOneof('value') or 'no type'}")
    tensor = proto.type.tensor_type
    if kind == "input" and not tensor.HasField("shape"):
        raise ModelError(f"{where}: expected a shape (of any dimensions), got none")
    if len(tensor.shape.dim) > MAX_DIMENSIONS:
        raise ModelError(
            f"{where}: expected at most {MAX_DIMENSIONS} dimensions, got {len(tensor.shape.dim)}"
        )
    dims = tuple(_dim(d, where) for d in tensor.shape.dim)
    return TensorInfo(name, dims, _dtype(tensor.elem_type, where))


def _dim(proto: Any, where: str) -> Dim:
    if not proto.HasField("dim_value"):
        return _text(proto.dim_param) or None
    if not -1 <= proto.dim_value < 1 << 31:
        raise ModelError(f"{where}: expected dimensions from 0 to 2**31 - 1, got {proto.dim_value}")
    return int(proto.dim_value) if proto.dim_value > 0 else None  # exporters write 0 or -1 for "any"


def _dtype(number: int, where: str) -> np.dtype[Any]:
    if number in NUMPY_TYPES:
        return np.dtype(NUMPY_TYPES[number])
    try:
        dtype: np.dtype[Any] = np.dtype(import_onnx().helper.tensor_dtype_to_np_dtype(number))
    except KeyError:
        raise ModelError(f"{where}: expected a known element type, got {number}") from None
    if dtype.kind == "O":
        raise UnsupportedOpError(f"{where}: expected numbers, got strings")
    return dtype


def _is_packed(dtype: np.dtype[Any]) -> bool:
    """Whether a file holds several elements of a dtype in a byte."""
    return dtype.name in ("int2", "uint2", "int4", "uint4", "float4_e2m1fn")


def _check_integers(proto: Any, dtype: np.dtype[Any], size: int, where: str) -> None:
    """Check data that ``onnx.numpy_helper`` would cut: packed elements too many, integers too large."""
    raw = proto.raw_data if proto.HasField("raw_data") else None
    bits = 8 * dtype.itemsize
    least, most = -(1 << (bits - 1)), (1 << bits) - 1  # of what is given by its bits
    if _is_packed(dtype):
        count = -(-size * (2 if "int2" in dtype.name else 4) // 8)
        data = proto.int32_data if raw is None else raw
        if len(data) != count:
            raise ModelError(f"{where}: expected {count} bytes for {size} of {dtype}, got {len(data)}")
    elif dtype.kind in "iu":
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    if raw is None and len(proto.int32_data) and dtype.kind != "b":
        low, high = min(proto.int32_data), max(proto.int32_data)
        if low < least or high > most:
            raise ModelError(f"{where}: expected numbers of {dtype}, got {low if low < least else high}")


def _array(proto: Any, where: str, external: ExternalData, raw: memoryview | None = None) -> Array:
    """Return a tensor's data, after its dimensions, element type and length are known to agree.

    ``raw`` is its ``raw_data`` where that is not in the message.
    """
    dims = tuple(proto.dims)
    size = checked_size(dims, where, most=MAX_ELEMENTS)
    if proto.HasField("segment"):
        raise ModelError(f"{where}: expected a whole tensor, got a segment of a larger one")
    dtype = _dtype(proto.data_type, where)
    data = None
    if proto.data_location == proto.EXTERNAL:
        if proto.HasField("raw_data"):
            raise ModelError(f"{where}: expected external data or data inside the file, got both")
        if _is_packed(dtype):
            raise UnsupportedOpError(f"{where}: expected external data of whole bytes, got {dtype}")
        fields = [(_text(e.key), _text(e.value)) for e in proto.external_data]
        data = external.read(where, fields, size * dtype.itemsize)
    elif proto.HasField("raw_data") and not _is_packed(dtype):
        data = proto.raw_data if raw is None else raw  # from the message it is a copy
    if data is not None:
        if len(data) != size * dtype.itemsize:
            raise ModelError(
                f"{where}: expected {size * dtype.itemsize} bytes for shape {list(dims)} of {dtype},"
                f" got {len(data)}"
            )
        array = np.frombuffer(data, dtype.newbyteorder("<")).reshape(dims)
        return array if sys.byteorder == "little" else array.astype(dtype)
    if raw is not None:
        proto = type(proto)(data_type=proto.data_type, dims=dims, raw_data=bytes(raw))
    _check_integers(proto, dtype, size, where)
    try:
        return np.asarray(import_onnx().numpy_helper.to_array(proto))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{where}: expected {size} elements for shape {list(dims)}, got: {error}") from error
