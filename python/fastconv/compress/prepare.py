"""What a network is before it is quantised: of an opset that has bytes, its normalisations in weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastconv._arguments import shown
from fastconv._files import path_of
from fastconv.compress.samples import Samples
from fastconv.compress.scheme import QUANTIZED_OPS
from fastconv.errors import ArgumentError, DTypeError, ModelError, UnsupportedOpError
from fastconv.exporters.onnx import to_proto
from fastconv.graph.ir import CompiledGraph, Graph, Node, all_nodes
from fastconv.graph.model import Model
from fastconv.graph.passes import run_passes
from fastconv.graph.registry import FASTCONV_DOMAIN
from fastconv.graph.value import Array
from fastconv.importers.messages import import_onnx
from fastconv.importers.onnx import from_file, from_proto

PER_CHANNEL = 13  # the first opset that has scales for channels
PASSES = (
    *("eliminate_identity", "fold_constants", "take_branches", "fold_pad"),
    *("fold_affine", "merge_branches", "eliminate_dead"),
)


def graph_of(model: Any) -> Graph:
    """Return the graph of a model, a graph, or a ``.onnx`` file's path; refuse what is quantised already."""
    if isinstance(model, str | os.PathLike):
        path = path_of(model, "model")
        if path.suffix.lower() != ".onnx":
            raise ModelError(f"{path}: expected a .onnx file or a model, got {path.suffix or 'no suffix'!r}")
        graph = from_file(path)
    elif isinstance(model, Model):
        graph = model.source_graph()
    elif isinstance(model, Graph):
        graph = model
    else:
        raise DTypeError(f"model: expected a Model, a Graph or the path of a .onnx file, got {shown(model)}")
    if isinstance(graph, CompiledGraph):
        raise ArgumentError("model: expected the network from before it was compiled, got a compiled one")
    for node in all_nodes(graph.nodes):
        if node.op in QUANTIZED_OPS:
            raise ArgumentError(
                f"model: expected a network of floats, got one that is quantised already: node {node.name!r}"
                f" ({node.op})"
            )
    return graph


def prepared(graph: Graph, samples: Samples) -> Graph:
    """Return a graph of an opset that has scales for channels, its normalisations folded into weights."""
    return _plain_products(run_passes(with_channel_scales(graph), PASSES), samples)


def with_channel_scales(graph: Graph) -> Graph:
    """Return a graph in the words of an opset that has scales for channels.

    Of an older one it is converted by the package onnx to the first that will do.
    """
    opsets = {node.opset for node in all_nodes(graph.nodes) if not node.domain}
    if not opsets or min(opsets) >= PER_CHANNEL:
        return graph
    convert: Callable[[Any, int], Any] = import_onnx().version_converter.convert_version
    proto = to_proto(graph)
    try:
        later = convert(proto, PER_CHANNEL)
    except Exception as error:  # the converter's own, and RuntimeError of its C++ half
        raise UnsupportedOpError(
            f"model: expected operators of opset {PER_CHANNEL} or such as onnx converts to it:"
            f" {' '.join(str(error).split()):.200}"
        ) from error
    return replace(from_proto(later, graph.name), inputs=graph.inputs, outputs=graph.outputs)


def _plain_products(graph: Graph, samples: Samples) -> Graph:
    """Write products by constant matrices as ONNX has them.

    Those of matrices, not of stacks of them, are a Gemm, which has a bias; a run says which are. Of others
    that a pass gave a bias to it is a node of its own.
    """
    products = [node for node in graph.nodes if _is_product(node, graph)]
    names = list(dict.fromkeys(node.inputs[0] for node in products))
    if not names:
        return graph
    ranks = dict(zip(names, (x.ndim for x in _inputs(graph, samples, names)), strict=True))
    nodes: list[Node] = []
    for node in graph.nodes:
        if not _is_product(node, graph):
            nodes.append(node)
        elif ranks[node.inputs[0]] == 2:
            nodes.append(replace(node, op="Gemm", domain="", absorbed=()))
        elif not node.domain:
            nodes.append(node)
        else:
            nodes += _product_and_sum(node)
    return replace(graph, nodes=tuple(nodes))


def _product_and_sum(node: Node) -> tuple[Node, Node]:
    """Write out a product that a pass gave a bias to."""
    product = f"{node.outputs[0]}/product"
    first = replace(node, op="MatMul", domain="", inputs=node.inputs[:2], outputs=(product,), absorbed=())
    given = product, node.inputs[2]
    return first, Node("Add", f"{node.name}/bias", given, node.outputs, {}, node.opset)


def folded(graph: Graph) -> Graph:
    """Return a graph in ONNX's words whose normalisations are in the weights of the layers before them."""
    nodes: list[Node] = []
    graph = run_passes(graph, PASSES)
    for node in graph.nodes:
        fused = (node.domain, node.op) == (FASTCONV_DOMAIN, "FusedMatMul")
        nodes += _product_and_sum(node) if fused else (node,)
    return replace(graph, nodes=tuple(nodes))


def _is_product(node: Node, graph: Graph) -> bool:
    if (node.domain, node.op) not in (("", "MatMul"), (FASTCONV_DOMAIN, "FusedMatMul")):
        return False
    w = graph.constants.get(node.inputs[1])
    return w is not None and w.ndim == 2 and node.inputs[0] not in graph.constants


def _inputs(graph: Graph, samples: Samples, names: list[str]) -> list[Array]:
    """Return values of a graph for one sample; its nodes may be such as passes write."""
    feeds = samples.first(1).batches(1)[0]
    return Model(graph).run(names, feeds)
