"""Initializers beyond plain weights: overridden by the caller, results too, sparse, of strings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

X = np.random.default_rng(0).standard_normal((2, 3, 5, 5)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((4, 3, 1, 1)).astype(np.float32)


def product(w: Any, factor: float = 2) -> Any:
    return factor * np.einsum("oi,nihw->nohw", w[:, :, 0, 0].astype(np.float64), X)


def model_of(onnx: Any, nodes: Any, ir_version: int = 8, listed: bool = True) -> Any:
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    infos = [helper.make_tensor_value_info("x", 1, ["N", 3, 5, 5])]
    if listed:
        infos.append(helper.make_tensor_value_info("w", 1, W.shape))
        infos.append(helper.make_tensor_value_info("s", 1, []))
    constants = [numpy_helper.from_array(W, "w"), numpy_helper.from_array(np.float32(2), "s")]
    graph = helper.make_graph(nodes, "g", infos, [helper.make_tensor_value_info("y", 1, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=ir_version)


@pytest.fixture
def nodes(onnx: Any) -> Any:
    make = onnx.helper.make_node
    return [make("Conv", ["x", "w"], ["c"], "conv"), make("Mul", ["c", "s"], ["y"], "mul")]


@pytest.mark.parametrize("ir_version", [4, 8])
def test_listed_initializers_are_defaults(ir_version: int, onnx: Any, nodes: Any) -> None:
    model = fastconv.load(model_of(onnx, nodes, ir_version))
    assert [i.name for i in model.inputs] == ["x"]
    w = W * 3 + 1
    for feeds, expected in (
        ({}, product(W)),
        ({"s": np.float32(5).reshape(())}, product(W, 5)),
        ({"w": w}, product(w)),
        ({"w": w, "s": np.array(-1, np.float32)}, product(w, -1)),
        ({"w": W}, product(W)),
        ({}, product(W)),
    ):
        (y,) = model.run(None, {"x": X, **feeds})
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(fastconv.ShapeError, match="input 'w': expected 3 at axis 1, got 4"):
        model.run(None, {"x": X, "w": np.zeros((4, 4, 1, 1), np.float32)})


def test_other_initializers_are_not(onnx: Any, nodes: Any) -> None:
    for model in (model_of(onnx, nodes, 3), model_of(onnx, nodes, listed=False)):
        with pytest.raises(fastconv.ArgumentError, match=r"feeds: expected arrays for \['x'\], got"):
            fastconv.load(model).run(None, {"x": X, "w": W})


@pytest.mark.parametrize("passes", ["default", "none"])
def test_a_weight_that_is_a_result(passes: str, onnx: Any, nodes: Any) -> None:
    proto = model_of(onnx, nodes, listed=False)
    proto.graph.output.append(onnx.helper.make_tensor_value_info("w", 1, W.shape))
    model = fastconv.load(proto, passes=passes)
    for _ in range(2):
        y, w = model(X)
        np.testing.assert_allclose(y, product(W), rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(w, W)


def test_a_matrix_that_is_a_result(onnx: Any) -> None:
    helper = onnx.helper
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 3])],
        [helper.make_tensor_value_info(name, 1, None) for name in ("y", "w")],
        [onnx.numpy_helper.from_array(matrix, "w")],
    )
    model = fastconv.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    y, w = model(np.eye(3, dtype=np.float32))
    np.testing.assert_array_equal(y, matrix)
    np.testing.assert_array_equal(w, matrix)


def sparse(onnx: Any, indices: Any, dims: Any, values: Any = (5, -7)) -> Any:
    return onnx.helper.make_sparse_tensor(
        onnx.numpy_helper.from_array(np.array(values, np.float32), "v"),
        onnx.numpy_helper.from_array(np.array(indices, np.int64), "i"),
        dims,
    )


def adding(onnx: Any, tensor: Any) -> Any:
    helper = onnx.helper
    info = [helper.make_tensor_value_info(n, 1, [2, 3]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "v"], ["y"])], "g", info[:1], info[1:])
    graph.sparse_initializer.append(tensor)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("indices", [[2, 4], [[0, 2], [1, 1]]], ids=str)
def test_sparse(indices: Any, onnx: Any) -> None:
    y = fastconv.load(adding(onnx, sparse(onnx, indices, [2, 3])))(np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(y, [[0, 0, 5], [0, -7, 0]])


@pytest.mark.parametrize(
    ("indices", "dims", "message"),
    [
        ([0, 6], [2, 3], "expected indices within"),
        ([-1, 0], [2, 3], "expected indices within"),
        ([[0, 3], [0, 0]], [2, 3], "expected indices within"),
        ([0], [2, 3], "expected a list of values and int64 indices"),
        ([3, 3], [2, 3], "expected one value for each index"),
        ([0, 1], [], "expected at least 1 dimension"),
        ([0, 1], [2**31, 2**31], r"expected at most \d+ elements"),
        ([0, 1], [0, 2**62], r"expected at most \d+ elements along"),
    ],
)
def test_bad_sparse_ones(indices: Any, dims: Any, message: str, onnx: Any) -> None:
    with pytest.raises(fastconv.ModelError, match=f"initializer 'v': {message}"):
        fastconv.load(adding(onnx, sparse(onnx, indices, dims)))


def test_strings_that_nothing_reads(onnx: Any, nodes: Any) -> None:
    proto = model_of(onnx, nodes)
    names = onnx.helper.make_tensor("classes", onnx.TensorProto.STRING, [2], [b"cat", b"dog"])
    proto.graph.initializer.append(names)
    np.testing.assert_allclose(fastconv.load(proto)(X), product(W), rtol=1e-4, atol=1e-4)
    proto.graph.node.append(onnx.helper.make_node("Identity", ["classes"], ["z"]))
    with pytest.raises(
        fastconv.UnsupportedOpError, match="initializer 'classes': expected numbers, got strings"
    ):
        fastconv.load(proto)
