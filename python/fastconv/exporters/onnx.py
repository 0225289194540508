"""Exporter to ONNX: a graph as a ModelProto, or as a file that any runtime reads.

The inverse of :mod:`fastconv.importers.onnx`: what is written and read again is the same graph. A graph is in
ONNX's words already, so a node is written as it is. What passes write is not: operators of our own domain and
activations that another node has taken are refused, and who wants to write such a graph writes the one from
before its passes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._files import path_of, replacing
from fastconv.errors import ModelError, UnsupportedOpError
from fastconv.graph.ir import NO_ACTIVATION, Dim, Graph, Node, TensorInfo, all_nodes
from fastconv.graph.registry import FASTCONV_DOMAIN, describe
from fastconv.importers.messages import import_onnx

IR_VERSION = 10  # of ONNX 1.16 (2024): older runtimes refuse files of a newer one than they know
DEFAULT_OPSET = 18  # of a graph that has no operator of ONNX's own
MAX_PROTO = (1 << 31) - (1 << 20)  # bytes of constants; protobuf's messages end at 2 GiB


def to_file(graph: Graph, path: str | os.PathLike[str], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a graph as an ``.onnx`` file; one that exists is replaced when the new one is whole.

    Parameters
    ----------
    graph : Graph
        As an importer or a model definition built it; see :func:`to_proto`.
    path : path
    metadata : mapping of str to str, optional
        What is kept in the file's ``metadata_props``, for people.

    Raises
    ------
    UnsupportedOpError, ModelError
        As :func:`to_proto` does.
    ArgumentError
        Where the path is that of anything but a file.

    Examples
    --------
    >>> import tempfile, fastconv
    >>> from fastconv.models import squeezenet1_1
    >>> graph = squeezenet1_1.graph(squeezenet1_1.random_weights())
    >>> x = np.ones((1, 3, 64, 64), np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_file(graph, f"{folder}/net.onnx")
    ...     y = fastconv.load(f"{folder}/net.onnx")(x)
    >>> bool((y == fastconv.Model(graph)(x)).all())
    True
    """
    target = path_of(path, "path")
    data = to_proto(graph, metadata=metadata).SerializeToString()
    with replacing(target) as file:
        file.write(data)


def to_proto(
    graph: Graph,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """Write a graph as an ONNX model with the weights inside.

    Parameters
    ----------
    graph : Graph
        Its nodes are in ONNX's vocabulary, all of one opset for each domain.
    input_shapes : mapping of str to sequence of int, optional
        Concrete shapes to write in place of the inputs' symbolic ones; a runtime plans better with them.
    metadata : mapping of str to str, optional
        What is kept in the model's ``metadata_props``, for people.

    Returns
    -------
    onnx.ModelProto
        A model that the checker of the package onnx has passed.

    Raises
    ------
    UnsupportedOpError
        Where a node is one that a pass wrote: its operator is in no other library. It names the node.
    ModelError
        Where nodes of one domain have several opsets, or the weights are more than 2 GiB.
    MissingPackageError
        Where the package ``onnx`` is not installed.

    Examples
    --------
    >>> from fastconv.graph.ir import GraphBuilder
    >>> builder = GraphBuilder("tiny", {})
    >>> builder.output(builder.add("Relu", builder.input("x", (1, 2))), shape=(1, 2))
    >>> [node.op_type for node in to_proto(builder.build()).graph.node]
    ['Relu', 'Identity']
    """
    onnx = import_onnx()
    opsets = _opsets(graph)
    size = sum(array.nbytes for array in graph.constants.values())
    if size > MAX_PROTO:
        raise ModelError(f"graph: expected at most {MAX_PROTO} bytes of weights, got {size}")
    shapes = input_shapes or {}
    inputs = [_info(onnx, i, shapes.get(i.name, i.shape)) for i in (*graph.inputs, *graph.defaults)]
    outputs = [_info(onnx, info, info.shape or None) for info in graph.outputs]
    given = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = onnx.helper.make_model(
        _graph(onnx, graph, inputs, outputs),
        opset_imports=given,
        ir_version=max(IR_VERSION, onnx.helper.find_min_ir_version_for(given, ignore_unknown=True)),
        producer_name="fastconv",
        producer_version=_core.__version__,
    )
    if metadata:
        onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return model


def _opsets(graph: Graph) -> dict[str, int]:
    """Return the version of each domain's operators, ONNX's own first; check what can be written at all."""
    found: dict[str, int] = {}
    for node in all_nodes(graph.nodes):
        if node.domain == FASTCONV_DOMAIN or node.activation != NO_ACTIVATION:
            joined = f" with {node.activation.kind}" if node.activation != NO_ACTIVATION else ""
            raise UnsupportedOpError(
                f"{describe(node)}: expected an operator of ONNX, got {node.op}{joined}, which a pass wrote;"
                " write the graph from before its passes"
            )
        if found.setdefault(node.domain, node.opset) != node.opset:
            raise ModelError(
                f"{describe(node)}: expected one opset of {node.domain or 'ai.onnx'!r},"
                f" got {found[node.domain]} and {node.opset}"
            )
    return {"": found.pop("", DEFAULT_OPSET), **found}


def _graph(onnx: Any, graph: Graph, inputs: list[Any], outputs: list[Any]) -> Any:
    nodes = [_node(onnx, node) for node in graph.nodes]
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    return onnx.helper.make_graph(nodes, graph.name or "graph", inputs, outputs, arrays)


def _inner_graph(onnx: Any, graph: Graph) -> Any:
    """Write a graph that is an attribute; an end of it that had no type, as most files have it, has none."""

    def ends(infos: Sequence[TensorInfo]) -> list[Any]:
        known = [bool(info.shape) or info.dtype != np.float32 for info in infos]
        return [
            _info(onnx, info, info.shape or None) if typed else onnx.ValueInfoProto(name=info.name)
            for info, typed in zip(infos, known, strict=True)
        ]

    return _graph(onnx, graph, ends(graph.inputs), ends(graph.outputs))


def _info(onnx: Any, info: TensorInfo, shape: Sequence[Dim] | None) -> Any:
    dtype = onnx.helper.np_dtype_to_tensor_dtype(info.dtype)
    return onnx.helper.make_tensor_value_info(info.name, dtype, shape)


def _node(onnx: Any, node: Node) -> Any:
    """Write a node. What graphs within it read from outside is no input of it in a file."""
    bodies = [value for value in node.attrs.values() if isinstance(value, Graph)]
    inputs = node.inputs
    if bodies:
        inputs = inputs[: 1 if node.op == "If" else len(bodies[0].inputs)]
    proto = onnx.helper.make_node(node.op, inputs, node.outputs, name=node.name, domain=node.domain)
    kinds = _attribute_kinds(onnx, node)
    for name, value in node.attrs.items():
        proto.attribute.append(_attribute(onnx, name, value, kinds.get(name)))
    return proto


def _attribute_kinds(onnx: Any, node: Node) -> dict[str, int]:
    """Return the types of an operator's attributes, where the package onnx knows it."""
    try:
        schema = onnx.defs.get_schema(node.op, node.opset, node.domain)
    except onnx.defs.SchemaError:
        return {}
    return {name: int(attribute.type.value) for name, attribute in schema.attributes.items()}


def _attribute(onnx: Any, name: str, value: Any, kind: int | None) -> Any:
    """Write an attribute. Its operator says whether a whole number is a float, and what a list is of."""
    kinds = onnx.AttributeProto
    if isinstance(value, Graph):
        return onnx.helper.make_attribute(name, _inner_graph(onnx, value))
    if isinstance(value, np.ndarray):
        return onnx.helper.make_attribute(name, onnx.numpy_helper.from_array(value))
    if kind == kinds.FLOAT:
        value = float(value)
    elif kind == kinds.FLOATS:
        value = [float(item) for item in value]
    if isinstance(value, list | tuple) and not value:
        return onnx.helper.make_attribute(name, [], attr_type=kind or kinds.INTS)
    return onnx.helper.make_attribute(name, value)
