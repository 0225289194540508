"""The number of parameters, wherever weights lie: against the sizes of the arrays that were given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

FLOAT, BOOL = 1, 9


def parameters(onnx: Any, nodes: list[Any], inputs: dict[str, list[int]], sizes: dict[str, Any]) -> int:
    """Return what a model of nodes counts; constants are f32 of these shapes, or arrays."""
    h = onnx.helper
    arrays = {
        n: np.full(s, 0.5, np.float32) if isinstance(s, tuple) else np.asarray(s) for n, s in sizes.items()
    }
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info(n, FLOAT, s) for n, s in inputs.items()],
        [h.make_tensor_value_info("y", FLOAT, None)],
        [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    proto = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    return fastconv.load(proto).parameters


@pytest.fixture(scope="module")
def onnx() -> Any:
    return pytest.importorskip("onnx")


@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_layers(op: str, gates: int, onnx: Any) -> None:
    sizes = {"w": (1, gates * 5, 3), "r": (1, gates * 5, 5), "b": (1, gates * 10)}
    node = onnx.helper.make_node(op, ["x", "w", "r", "b"], ["y"], hidden_size=5)
    assert parameters(onnx, [node], {"x": [2, 1, 3]}, sizes) == gates * 5 * (3 + 5 + 2)


def test_tables_and_sums_of_products(onnx: Any) -> None:
    gather = onnx.helper.make_node("Gather", ["table", "i"], ["v"])
    node = onnx.helper.make_node("Einsum", ["v", "w", "x"], ["y"], equation="ab,bc,c->a")
    sizes = {"table": (11, 4), "i": np.array([1, 2]), "w": (4, 3)}
    assert parameters(onnx, [gather, node], {"x": [3]}, sizes) == 44 + 12


def test_a_bias_of_one_element_is_learned_and_a_scalar_factor_is_not(onnx: Any) -> None:
    conv = onnx.helper.make_node("ConvTranspose", ["x", "w", "b"], ["c"])
    scale = onnx.helper.make_node("Mul", ["c", "s"], ["y"])
    sizes = {"w": (3, 1, 2, 2), "b": (1,), "s": ()}
    assert parameters(onnx, [conv, scale], {"x": [1, 3, 4, 4]}, sizes) == 12 + 1


@pytest.mark.parametrize(
    "moves",
    [
        [("Identity", {})],
        [("Transpose", {"perm": [1, 0]}), ("Transpose", {"perm": [1, 0]})],
        [("Cast", {"to": 11}), ("Cast", {"to": 1})],
        [("Unsqueeze", {}), ("Squeeze", {})],
    ],
    ids=lambda moves: moves[0][0],
)
def test_weights_behind_what_moves_or_converts_them(moves: list[tuple[str, Any]], onnx: Any) -> None:
    name, nodes = "w", []
    for i, (op, attributes) in enumerate(moves):
        inputs = [name, *(["axes"] if "queeze" in op else [])]
        nodes.append(onnx.helper.make_node(op, inputs, [f"m{i}"], **attributes))
        name = f"m{i}"
    nodes.append(onnx.helper.make_node("MatMul", ["x", name], ["y"]))
    sizes = {"w": (4, 6), "axes": np.array([0])}
    assert parameters(onnx, nodes, {"x": [1, 4]}, sizes) == 24


def test_weights_that_are_parts_and_those_of_nodes(onnx: Any) -> None:
    value = onnx.numpy_helper.from_array(np.ones((4, 2), np.float32))
    nodes = [
        onnx.helper.make_node("Constant", [], ["a"], value=value),
        onnx.helper.make_node("Concat", ["a", "b"], ["w"], axis=1),
        onnx.helper.make_node("Reshape", ["w", "shape"], ["v"]),
        onnx.helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    assert parameters(onnx, nodes, {"x": [1, 10]}, {"b": (4, 3), "shape": np.array([10, 2])}) == 8 + 12


def test_ones_and_zeros_of_a_normalisation_without_weights(onnx: Any) -> None:
    """As PyTorch's exporter writes them; the same numbers as an initializer are a layer's own."""

    def constant(name: str, value: float) -> Any:
        array = onnx.numpy_helper.from_array(np.full(3, value, np.float32))
        return onnx.helper.make_node("Constant", [], [name], value=array)

    node = onnx.helper.make_node("InstanceNormalization", ["x", "s", "b"], ["y"])
    x, ones, zeros = {"x": [1, 3, 4, 4]}, np.ones(3, np.float32), np.zeros(3, np.float32)
    assert parameters(onnx, [constant("s", 1), constant("b", 0), node], x, {}) == 0
    assert parameters(onnx, [constant("s", 0.5), constant("b", 0), node], x, {}) == 3
    assert parameters(onnx, [node], x, {"s": ones, "b": zeros}) == 6


def test_weights_of_branches(onnx: Any) -> None:
    h = onnx.helper

    def branch(width: int) -> Any:
        w = onnx.numpy_helper.from_array(np.ones((3, width), np.float32), "w")
        node = h.make_node("MatMul", ["x", "w"], [f"b{width}"])
        return h.make_graph([node], "branch", [], [h.make_tensor_value_info(f"b{width}", FLOAT, None)], [w])

    nodes = [
        h.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        h.make_node("Cast", ["s"], ["c"], to=BOOL),
        h.make_node("If", ["c"], ["y"], then_branch=branch(2), else_branch=branch(5)),
    ]
    assert parameters(onnx, nodes, {"x": [1, 3]}, {}) == 3 * 2 + 3 * 5
