"""What ONNX Runtime's quantiser writes, against ONNX Runtime.

It computes some of them in another order: where the exact result lies half way between two integers, either
may come.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

pytestmark = pytest.mark.ort

Array = np.ndarray[Any, Any]
Quantised = tuple[Array, Array, Array]


def quantised(rng: np.random.Generator, dtype: Any, *shape: int) -> Quantised:
    """Random values, a scale and a zero point."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max + 1, (*shape, 1)).astype(dtype)[..., 0]
    return values, np.asarray(rng.uniform(0.01, 0.1), np.float32), np.asarray(values.flat[0])


@pytest.fixture
def check(runtime: Any, node_model: Any) -> Any:
    def check(op: str, inputs: list[Array], dtype: Any = np.uint8, **attrs: Any) -> None:
        options = {"domain": "com.microsoft", "outputs": [np.dtype(dtype)], "opset": 13, **attrs}
        (expected,) = runtime(*node_model(op, inputs, **options))
        for constant in ((), range(1, len(inputs))):
            model, feeds = node_model(op, inputs, constant=constant, **options)
            ours = fastconv.load(model)
            (got,) = ours.run(None, feeds)
            if constant:
                assert fastconv.count(ours).layers  # each of the steps has a rule
            assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
            difference = np.abs(got.astype(np.float64) - expected.astype(np.float64))
            if np.dtype(dtype).kind == "f":
                np.testing.assert_allclose(got, expected, 1e-5, 1e-5)
            else:
                assert difference.max() <= 1
                assert (difference > 0).mean() < 0.02

    return check


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_binary(op: str, dtype: Any, check: Any, rng: np.random.Generator) -> None:
    _, scale, zero = quantised(rng, dtype, 1)
    for shape in ((2, 3, 4, 5), (3, 1, 5), (1,)):
        a, b = quantised(rng, dtype, 2, 3, 4, 5), quantised(rng, dtype, *shape)
        check(op, [*a, *b, scale, zero], dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_unary(dtype: Any, check: Any, rng: np.random.Generator) -> None:
    x = quantised(rng, dtype, 2, 3, 9, 8)
    zero = np.asarray(0 if dtype == np.uint8 else -128, dtype)
    check("QLinearSigmoid", [*x, np.asarray(1 / 256, np.float32), zero], dtype)
    _, scale, zero = quantised(rng, dtype, 1)
    check("QLinearLeakyRelu", [*x, scale, zero], dtype, alpha=0.2)
    for last in (0, 1):
        check("QLinearGlobalAveragePool", [*x, scale, zero], dtype, channels_last=last)
    pool = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]}
    check("QLinearAveragePool", [*x, scale, zero], dtype, **pool)


def test_concat(check: Any, rng: np.random.Generator) -> None:
    parts = [quantised(rng, np.uint8, 2, channels, 4) for channels in (3, 1, 2)]
    _, scale, zero = quantised(rng, np.uint8, 1)
    check("QLinearConcat", [scale, zero, *(a for part in parts for a in part)], axis=1)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int, check: Any, rng: np.random.Generator) -> None:
    a, a_scale, a_zero = quantised(rng, np.uint8, 5, 7)
    b, b_scale, b_zero = quantised(rng, np.int8, 7, 4)
    a, b = (a.T.copy(), b.T.copy()) if transposed else (a, b)
    c = rng.integers(-9999, 9999, 4).astype(np.int32)
    y = [np.asarray(0.3, np.float32), np.asarray(100, np.uint8)]
    inputs = [a, a_scale, a_zero, b, b_scale, b_zero, c]
    attrs = {"transA": transposed, "transB": transposed}
    check("QGemm", [*inputs, *y], **attrs)
    check("QGemm", inputs, np.float32, **attrs)
    per_column = [rng.uniform(0.01, 0.1, 4).astype(np.float32), np.full(4, b_zero)]
    check("QGemm", [*inputs[:4], *per_column, c, *y], alpha=0.5, **attrs)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_a_quantised_network(
    form: str, runtime: Any, onnx: Any, rng: np.random.Generator, tmp_path: Any
) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT

    def weights(name: str, *shape: int) -> Any:
        return onnx.numpy_helper.from_array((rng.standard_normal(shape) / 4).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Conv", ["c1", "w2"], ["c2"]),
        helper.make_node("Add", ["c2", "r0"], ["s"]),
        helper.make_node("Concat", ["s", "r0"], ["j"], axis=1),
        helper.make_node("GlobalAveragePool", ["j"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    shapes = {
        "w0": (8, 3, 3, 3),
        "b0": (8,),
        "w1": (8, 1, 3, 3),
        "w2": (8, 8, 1, 1),
        "w3": (5, 16),
        "b3": (5,),
    }
    size = [1, 3, 16, 14]
    infos = [helper.make_tensor_value_info(n, FLOAT, s) for n, s in (("x", size), ("y", [1, 5]))]
    graph = helper.make_graph(
        nodes, "test", infos[:1], infos[1:], [weights(n, *s) for n, s in shapes.items()]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        tmp_path / "f32.onnx",
    )
    images = [rng.standard_normal(size).astype(np.float32) for _ in range(4)]

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.images = iter(images)

        def get_next(self) -> dict[str, Array] | None:
            image = next(self.images, None)
            return None if image is None else {"x": image}

    quantization.quantize_static(
        tmp_path / "f32.onnx",
        tmp_path / "int8.onnx",
        Reader(),
        quant_format=quantization.QuantFormat[form],
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
    )
    model = onnx.load(tmp_path / "int8.onnx")
    ours = fastconv.load(model)
    for image in images:
        (expected,) = runtime(model, {"x": image})
        (got,) = ours.run(None, {"x": image})
        step = np.abs(np.diff(np.unique(expected))).min()  # of the last quantisation
        assert np.abs(got - expected).max() <= 1.01 * step, (got, expected)
    whole, quantised = (
        fastconv.count(fastconv.load(tmp_path / "f32.onnx"), images[0].shape),
        fastconv.count(ours),
    )
    for what in ("macs", "params"):
        assert quantised.totals[what] == whole.totals[what]
    assert ours.parameters == whole.totals["params"]
