"""Graphs written as ONNX: what is read again is the same graph, and gives the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import models
from fastconv.errors import ArgumentError, ModelError, UnsupportedOpError
from fastconv.exporters.onnx import to_file, to_proto
from fastconv.graph.ir import Graph, GraphBuilder, Node, TensorInfo, all_nodes
from fastconv.graph.passes import run_passes
from fastconv.importers.onnx import from_file, from_proto

onnx = pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]


def same(first: Any, second: Any) -> bool:
    """Whether two graphs, or two of the values that they hold, say the same."""
    if isinstance(first, Graph):
        ends = [
            (g.name, len(g.nodes), g.inputs, g.outputs, g.defaults, set(g.constants)) for g in (first, second)
        ]
        constants = all(same(array, second.constants[name]) for name, array in first.constants.items())
        return ends[0] == ends[1] and constants and all(map(same, first.nodes, second.nodes))
    if isinstance(first, Node):
        facts = [
            (n.op, n.name, n.inputs, n.outputs, n.opset, n.domain, set(n.attrs)) for n in (first, second)
        ]
        return facts[0] == facts[1] and all(same(v, second.attrs[k]) for k, v in first.attrs.items())
    if isinstance(first, np.ndarray):
        return (
            first.dtype == second.dtype
            and first.shape == second.shape
            and first.tobytes() == second.tobytes()
        )
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float):  # a file's numbers are f32
        return np.float32(first) == np.float32(second)
    return bool(first == second)


def check(graph: Graph, *inputs: Array, path: Path, renamed: bool = False) -> None:
    """Write a graph and read it: it is the same, and so is what it gives, bit for bit.

    Names within inner graphs are made anew at each reading.
    """
    to_file(graph, path)
    again = from_file(path)
    assert renamed or same(graph, again)
    expected, got = (fastconv.Model(g).run(None, dict(zip([i.name for i in g.inputs], inputs, strict=True)))
                     for g in (graph, again))  # fmt: skip
    for wanted, y in zip(expected, got, strict=True):
        assert wanted.dtype == y.dtype
        np.testing.assert_array_equal(wanted, y)


def test_everything_that_packs(network: Callable[..., Graph], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    check(network(rng), rng.standard_normal((2, 3, 20, 20), np.float32), path=tmp_path / "net.onnx")


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "mobilenet_v2", "shufflenet_v2_x0_5", "resnet18", "mobilenet_v3_small"]
)
def test_models(name: str, tmp_path: Path) -> None:
    architecture = models.MODELS[name]
    written = to_proto(architecture.graph(architecture.random_weights(num_classes=10)))
    graph = from_proto(written)  # an epsilon of a file is f32, one of a definition f64
    x = np.random.default_rng(1).standard_normal((2, 3, 64, 64), np.float32)
    check(graph, x, path=tmp_path / "net.onnx")


BRANCHES = """
<ir_version: 8, opset_import: ["": 17]>
net (float[2, 3] x, bool c, int64 n) => (float[2, 3] y, float[2, 3] z)
{
  y = If(c) <
    then_branch = then () => (t) { t = Relu(x) },
    else_branch = other () => (e) { k = Constant <value = float {2.0}> () e = Mul(x, k) }
  >
  yes = Constant <value = bool {1}> ()
  z = Loop(n, yes, x) <body = round (int64 i, bool go, float[2, 3] v) => (bool go_out, float[2, 3] v_out) {
    go_out = Identity(go)
    v_out = Add(v, y)
  }>
}
"""


@pytest.mark.parametrize("taken", [True, False])
def test_graphs_within_graphs(taken: bool, tmp_path: Path) -> None:
    graph = from_proto(onnx.parser.parse_model(BRANCHES))
    assert any(isinstance(v, Graph) for node in graph.nodes for v in node.attrs.values())
    x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    check(graph, x, np.array(taken), np.array(3), path=tmp_path / "net.onnx", renamed=True)
    # What a branch reads from outside is no input of its node in the file.
    written = {node.op_type: list(node.input) for node in to_proto(graph).graph.node}
    assert written["If"] == ["c"]
    assert len(written["Loop"]) == 3


def test_element_types_attributes_and_defaults(tmp_path: Path) -> None:
    import ml_dtypes

    x = TensorInfo("x", ("n", 4), np.dtype(np.float32))
    bias = np.arange(4, dtype=np.float32)
    arrays = {
        "bias": bias,
        "axes": np.array([1], np.int64),
        "half": np.full(4, 1.5, np.float16),
        "brain": np.full(4, 0.5, ml_dtypes.bfloat16),
        "four": np.array([-8, 7, 1, 0], ml_dtypes.int4),
        "four_scale": np.float32(0.5).reshape(()),
    }
    opset = 21
    nodes = (
        Node("Add", "shift", ("x", "bias"), ("a",), {}, opset),
        Node("LeakyRelu", "leak", ("a",), ("b",), {"alpha": 0.125}, opset),
        Node("ReduceSum", "sum", ("b", "axes"), ("c",), {"keepdims": 1, "noop_with_empty_axes": 0}, opset),
        Node("Cast", "widen", ("half",), ("h",), {"to": 1}, opset),
        Node("Cast", "wide", ("brain",), ("w",), {"to": 1}, opset),
        Node("DequantizeLinear", "numbers", ("four", "four_scale"), ("q",), {}, opset),
        Node("Sum", "all", ("b", "c", "h", "w", "q"), ("y",), {}, opset),
    )  # fmt: skip
    y = TensorInfo("y", ("n", 4), np.dtype(np.float32))
    graph = Graph("types", nodes, (x,), (y,), arrays, (TensorInfo("bias", (4,), np.dtype(np.float32)),))
    given = np.random.default_rng(2).standard_normal((3, 4), np.float32)
    check(graph, given, path=tmp_path / "net.onnx")
    model = fastconv.load(tmp_path / "net.onnx")
    (other,) = model.run(None, {"x": given, "bias": bias + 1})
    assert (other != model(given)).any()


def test_numbers_have_the_type_that_their_operator_states() -> None:
    b = GraphBuilder("net", {})
    b.output(b.add("LeakyRelu", b.input("x", (1, 2)), alpha=1), shape=(1, 2))  # a whole number, but a float
    proto = to_proto(b.build())
    assert proto.graph.node[0].attribute[0].type == onnx.AttributeProto.FLOAT


def test_metadata_shapes_and_opsets() -> None:
    b = GraphBuilder("net", {})
    b.output(b.add("Relu", b.input("x", ("batch", 2))), shape=("batch", 2))
    proto = to_proto(b.build(), {"x": (5, 2)}, metadata={"made": "by hand"})
    assert [(p.key, p.value) for p in proto.metadata_props] == [("made", "by hand")]
    assert [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == [5, 2]
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 18)]
    assert proto.producer_name == "fastconv"


def test_a_runtime_reads_it(network: Callable[..., Graph], runtime: Any) -> None:
    rng = np.random.default_rng(3)
    graph = network(rng)
    x = rng.standard_normal((2, 3, 20, 20), np.float32)
    (theirs,) = runtime(to_proto(graph), {"x": x})
    np.testing.assert_allclose(fastconv.Model(graph)(x), theirs, rtol=1e-4, atol=1e-5)


def test_what_passes_wrote_is_refused(network: Callable[..., Graph]) -> None:
    graph = run_passes(network(np.random.default_rng(4)))
    with pytest.raises(
        UnsupportedOpError, match=r"node '\w+' \(\w+\): expected an operator of ONNX, got .* a pass"
    ):
        to_proto(graph)


def test_several_opsets_are_refused() -> None:
    b = GraphBuilder("net", {})
    b.output(b.add("Relu", b.input("x", (1, 2))), shape=(1, 2))
    first, *rest = b.build().nodes
    with pytest.raises(ModelError, match=r"expected one opset of 'ai\.onnx', got 11 and 18"):
        to_proto(replace(b.build(), nodes=(replace(first, opset=11), *rest)))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    b = GraphBuilder("net", {})
    b.output(b.add("Relu", b.input("x", (1, 2))), shape=(1, 2))
    with pytest.raises(ArgumentError, match=r"path: expected the name of a file, got .* a folder"):
        to_file(b.build(), tmp_path)


def test_nodes_of_inner_graphs_are_counted() -> None:
    graph = from_proto(onnx.parser.parse_model(BRANCHES))
    inner = next(v for node in graph.nodes for v in node.attrs.values() if isinstance(v, Graph))
    odd = replace(inner, nodes=(replace(inner.nodes[0], domain="fastconv"), *inner.nodes[1:]))
    (at,) = (i for i, node in enumerate(graph.nodes) if inner in node.attrs.values())
    node = replace(graph.nodes[at], attrs={**graph.nodes[at].attrs, "then_branch": odd})
    assert len(list(all_nodes([node]))) > 1
    with pytest.raises(UnsupportedOpError, match="which a pass wrote"):
        to_proto(replace(graph, nodes=(*graph.nodes[:at], node, *graph.nodes[at + 1 :])))
