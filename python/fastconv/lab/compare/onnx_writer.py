"""A graph as an ONNX model, so that ONNX Runtime runs the very same nodes and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper, numpy_helper

from fastconv.graph.ir import Dim, Graph, TensorInfo

IR_VERSION = 10  # of ONNX 1.16 (2024): older runtimes refuse files of a newer one than they know


def to_onnx(graph: Graph, input_shapes: Mapping[str, Sequence[int]] | None = None) -> onnx.ModelProto:
    """Write a graph as an ONNX model.

    Parameters
    ----------
    graph : Graph
        Its nodes are in ONNX's vocabulary already.
    input_shapes : mapping of str to sequence of int, optional
        Concrete shapes to write in place of the inputs' symbolic ones; a runtime plans better with them.

    Returns
    -------
    onnx.ModelProto
        A checked model with the weights inside.

    Examples
    --------
    >>> from fastconv.graph.ir import GraphBuilder
    >>> builder = GraphBuilder("tiny", {})
    >>> builder.output(builder.add("Relu", builder.input("x", (1, 2))), shape=(1, 2))
    >>> [node.op_type for node in to_onnx(builder.build()).graph.node]
    ['Relu', 'Identity']
    """

    def value(info: TensorInfo, shape: Sequence[Dim]) -> onnx.ValueInfoProto:
        dtype = helper.np_dtype_to_tensor_dtype(info.dtype)
        return helper.make_tensor_value_info(info.name, dtype, shape)

    nodes = []
    for node in graph.nodes:
        attrs = {
            k: numpy_helper.from_array(v) if hasattr(v, "__array__") else v for k, v in node.attrs.items()
        }
        nodes.append(
            helper.make_node(node.op, node.inputs, node.outputs, name=node.name, domain=node.domain, **attrs)
        )
    shapes = input_shapes or {}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            graph.name,
            [value(info, shapes.get(info.name, info.shape)) for info in graph.inputs],
            [value(info, info.shape) for info in graph.outputs],
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", max((node.opset for node in graph.nodes), default=18))],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    return model
