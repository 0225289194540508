"""Values and forms of ONNX models that mean nothing, or that readers take for something else: refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.importers.onnx import NEWEST_OPSET

F32, U8, S8 = np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int8)
WRONG_SCALES = (0.0, -0.5, float("nan"), float("inf"))


def f32(*values: float) -> Any:
    return np.array(values, np.float32).reshape(() if len(values) == 1 else -1)


@pytest.mark.parametrize("opset", [2, 11, 13])
@pytest.mark.parametrize(("size", "parts"), [(7, 3), (7, 2), (1, 4)])
def test_split_that_does_not_divide(opset: int, size: int, parts: int, node_model: Any) -> None:
    x = np.zeros((2, size), np.float32)
    model, _ = node_model("Split", [x], outputs=[F32] * parts, opset=opset, axis=1)
    message = f"node 'node' .*x: expected a multiple of {parts} at axis 1, for equal parts, got {size}"
    with pytest.raises(fastconv.ShapeError, match=message):
        fastconv.load(model)


@pytest.mark.parametrize(
    ("size", "parts", "expected"), [(7, 3, [3, 3, 1]), (7, 4, [2, 2, 2, 1]), (4, 3, [2, 2, 0])]
)
def test_split_into_a_number_of_outputs(size: int, parts: int, expected: Any, node_model: Any) -> None:
    x = np.arange(size, dtype=np.float32)
    model, feeds = node_model("Split", [x], outputs=[F32] * parts, opset=18, num_outputs=parts)
    results = fastconv.load(model).run(None, feeds)
    assert [len(y) for y in results] == expected
    np.testing.assert_array_equal(np.concatenate(results), x)


def test_more_outputs_than_there_are(node_model: Any) -> None:
    model, _ = node_model("Split", [f32(1, 2)], outputs=[F32], opset=18, num_outputs=1 << 40)
    with pytest.raises(
        fastconv.ShapeError, match="num_outputs: expected 1, one an output, got 1099511627776"
    ):
        fastconv.load(model)


QUANTISED: dict[str, tuple[list[Any], np.dtype[Any], str]] = {
    "QuantizeLinear": ([f32(1, 2), f32(0), np.uint8(3)], U8, ""),
    "DequantizeLinear": ([np.uint8([1, 2]), f32(0), np.uint8(3)], F32, ""),
    "QLinearConv": (
        [
            *(np.ones((1, 1, 3, 3), np.uint8), f32(1), np.uint8(0), np.ones((2, 1, 1, 1), np.int8)),
            *(f32(1, 0), np.zeros(2, np.int8), f32(1), np.uint8(0)),
        ],
        U8,
        "",
    ),
    "QLinearMatMul": (
        [
            *(np.ones((2, 3), np.uint8), f32(0), np.uint8(0), np.ones((3, 2), np.int8), f32(1), np.int8(0)),
            *(f32(1), np.uint8(0)),
        ],
        U8,
        "",
    ),
    "QGemm": (
        [
            *(np.ones((2, 3), np.uint8), f32(1), np.uint8(0), np.ones((3, 2), np.int8), f32(0), np.int8(0)),
        ],
        F32,
        "com.microsoft",
    ),
    "QLinearAdd": (
        [
            *(
                np.uint8([1, 2]),
                f32(1),
                np.uint8(0),
                np.uint8([1, 2]),
                f32(1),
                np.uint8(0),
                f32(0),
                np.uint8(0),
            )
        ],
        U8,
        "com.microsoft",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_SCALES, ids=str)
@pytest.mark.parametrize("op", QUANTISED)
def test_scales(op: str, wrong: float, node_model: Any) -> None:
    inputs, output, domain = QUANTISED[op]
    options = {"outputs": [output], "domain": domain}

    def with_scale(value: float) -> list[Any]:
        changed = [np.asarray(a) for a in inputs]
        return [np.where(a == 0, value, a).astype(np.float32) if a.dtype == F32 else a for a in changed]

    constant = range(1, len(inputs))
    model, feeds = node_model(op, with_scale(0.25), constant=constant, **options)
    fastconv.load(model).run(None, feeds)
    model, _ = node_model(op, with_scale(wrong), constant=constant, **options)
    with pytest.raises(
        fastconv.ArgumentError, match=rf"node 'node' \({op}\): .*scale: expected numbers above 0"
    ):
        fastconv.load(model)
    model, feeds = node_model(op, with_scale(wrong), **options)  # known in a run alone
    with pytest.raises(fastconv.ArgumentError, match=r"scale: expected numbers above 0"):
        fastconv.load(model).run(None, feeds)


def relu(onnx: Any, *, opset: int = 13, domain: str = "") -> Any:
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("LeakyRelu", ["x"], ["y"], "node", alpha=0.5)
    graph = onnx.helper.make_graph([node], "g", [info("x", 1, [2])], [info("y", 1, [2])])
    opsets = [onnx.helper.make_opsetid(domain, opset)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_an_attribute_twice(onnx: Any) -> None:
    model = relu(onnx)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("alpha", 2.0))
    message = r"node 'node' \(LeakyRelu\): expected attributes of different names, got alpha twice"
    with pytest.raises(fastconv.ModelError, match=message):
        fastconv.load(model)


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
@pytest.mark.parametrize("opset", [-1, 0, 10**4, 2**62])
def test_opsets_out_of_range(opset: int, domain: str, onnx: Any) -> None:
    most = max(onnx.defs.onnx_opset_version(), NEWEST_OPSET)
    with pytest.raises(fastconv.ModelError, match=f"opset of 'ai.onnx' from 1 to {most}, got {opset}"):
        fastconv.load(relu(onnx, opset=opset, domain=domain))


def test_two_opsets_of_a_domain(onnx: Any) -> None:
    model = relu(onnx)
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx", 9))
    with pytest.raises(fastconv.ModelError, match=r"expected one opset of 'ai.onnx', got 13 and 9"):
        fastconv.load(model)


@pytest.mark.parametrize(("count", "given"), [(3, 1), (3, 3), (4, 3), (4, 1), (0, 1)])
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
def test_packed_data_of_another_length(kind: str, raw: bool, count: int, given: int, onnx: Any) -> None:
    TensorProto = onnx.TensorProto
    tensor = TensorProto(data_type=getattr(TensorProto, kind), dims=[count], name="w")
    if raw:
        tensor.raw_data = bytes(range(given))
    else:
        tensor.int32_data.extend(range(given))
    model = relu(onnx)
    model.graph.initializer.append(tensor)
    message = f"initializer 'w': expected {(count + 1) // 2} bytes for {count} of u?int4, got {given}"
    with pytest.raises(fastconv.ModelError, match=message):
        fastconv.load(model)


@pytest.mark.parametrize(
    ("kind", "number"), [("INT8", 128), ("UINT8", -1), ("UINT16", 65536), ("FLOAT16", 65536)]
)
def test_numbers_too_large_for_their_type(kind: str, number: int, onnx: Any) -> None:
    TensorProto = onnx.TensorProto
    tensor = TensorProto(data_type=getattr(TensorProto, kind), dims=[2], name="w", int32_data=[1, number])
    model = relu(onnx)
    model.graph.initializer.append(tensor)
    with pytest.raises(fastconv.ModelError, match=f"initializer 'w': expected numbers of .*, got {number}"):
        fastconv.load(model)


@pytest.mark.parametrize("passes", ["default", "none"])
@pytest.mark.parametrize("wrong", WRONG_SCALES, ids=str)
def test_scales_of_values_quantised_and_back(wrong: float, passes: str, onnx: Any, make_model: Any) -> None:
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    model = make_model(nodes, {"x": [2]}, {"s": np.float32(wrong), "z": np.uint8(3)})
    with pytest.raises(fastconv.ArgumentError, match="scale: expected numbers above 0, got"):
        fastconv.load(model, passes=passes)
