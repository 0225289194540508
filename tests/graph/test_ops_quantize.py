"""Quantised operators. Those that sum integers are held to exact sums of our own, to the last bit.

ONNX Runtime is asked only for what it computes alike on every processor: without VNNI it adds pairs of
products of u8 x s8 in 16 bits, which saturate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.testing.integers import integer_operator

pytestmark = pytest.mark.ort

Array = np.ndarray[Any, Any]


def integers(rng: np.random.Generator, dtype: Any, *shape: int) -> Array:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def scale(rng: np.random.Generator, *shape: int) -> Array:
    return rng.uniform(0.01, 0.1, shape).astype(np.float32)


@pytest.fixture
def check_exact(check_node: Any) -> Any:
    """Return a function that holds an operator to exact sums of integers, requantised in float64."""

    def check(op: str, inputs: list[Array], *, outputs: list[Any], opset: int = 10, **attrs: Any) -> None:
        expected = [integer_operator(op, inputs, attrs)]
        check_node(op, inputs, outputs=outputs, expected=expected, opset=opset, **attrs)

    return check


def test_pairs_that_saturate_in_16_bits(check_exact: Any) -> None:
    """The largest products that there are: a pair of them is beyond what 16 bits hold, of either sign."""
    for weight in (127, -128):
        x, w = np.full((3, 64), 255, np.uint8), np.full((64, 5), weight, np.int8)
        check_exact("MatMulInteger", [x, w], outputs=[np.int32])
        check_exact("ConvInteger", [x.reshape(3, 64, 1, 1), w.T.reshape(5, 64, 1, 1)], outputs=[np.int32])


def test_the_reference_itself() -> None:
    x, w = np.array([[[[1, 2, 3]]]], np.uint8), np.array([[[[1, -1]]]], np.int8)
    same = {"auto_pad": "SAME_LOWER"}
    assert integer_operator("ConvInteger", [x, w, np.asarray(1, np.uint8)], same).tolist() == [
        [[[0, -1, -1]]]
    ]
    one, zero = np.asarray(1, np.float32), np.asarray(100, np.uint8)
    inputs = [x[0, 0], one, np.asarray(0, np.uint8), np.array([[1], [1], [1]], np.int8), one]
    requantised = integer_operator(
        "QLinearMatMul", [*inputs, np.asarray(0, np.int8), np.asarray(4, np.float32), zero], {}
    )
    assert requantised.tolist() == [[102]]  # 6 / 4 is a tie, and goes to the even 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("form", ["tensor", "axis", "last axis", "block"])
def test_quantize_and_dequantize(dtype: Any, form: str, check_node: Any, rng: np.random.Generator) -> None:
    shape = (2, 6, 5)
    grouping: tuple[tuple[int, ...], dict[str, int]] = {
        "tensor": ((), {}),
        "axis": ((6,), {"axis": 1}),
        "last axis": ((5,), {"axis": -1}),
        "block": ((2, 3, 5), {"axis": 1, "block_size": 2}),
    }[form]
    size, attrs = grouping
    s, zero = scale(rng, *size), integers(rng, dtype, *size)
    x = (rng.standard_normal(shape) * 3).astype(np.float32)
    x[0, 0] = [np.inf, -np.inf, 1e30, -1e30, 0]
    check_node("QuantizeLinear", [x, s, zero], outputs=[dtype], **attrs)
    if dtype == np.uint8:
        check_node("QuantizeLinear", [x, s], outputs=[dtype], **attrs)
    q = integers(rng, dtype, *shape)
    check_node("DequantizeLinear", [q, s, zero], **attrs)
    check_node("DequantizeLinear", [q, s], **attrs)


def test_halves_round_to_even(check_node: Any) -> None:
    x = np.arange(-6, 7).astype(np.float32) * 0.25
    s = np.float32(0.5)
    check_node("QuantizeLinear", [x, np.asarray(s), np.asarray(3, np.int8)], outputs=[np.int8])
    y = np.array([-1, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 1]) * 0 + np.rint(x / s) + 3
    check_node(
        "QuantizeLinear",
        [x, np.asarray(s), np.asarray(3, np.int8)],
        outputs=[np.int8],
        expected=[y.astype(np.int8)],
    )


@pytest.mark.parametrize("dtype", [np.float16])
def test_half_precision_scales(dtype: Any, check_node: Any, rng: np.random.Generator) -> None:
    s, zero = scale(rng, 4).astype(dtype), integers(rng, np.int8, 4)
    q = integers(rng, np.int8, 3, 4)
    check_node("DequantizeLinear", [q, s, zero], outputs=[dtype], rtol=1e-3)
    x = rng.standard_normal((3, 4)).astype(dtype)
    check_node("QuantizeLinear", [x, s, zero], outputs=[np.int8])


def test_dequantize_int32(check_node: Any, rng: np.random.Generator) -> None:
    q = integers(rng, np.int32, 3, 4)
    check_node("DequantizeLinear", [q, scale(rng, 4)])
    check_node("DequantizeLinear", [q, scale(rng)])


@pytest.mark.parametrize(("low", "high"), [(-1, 2), (0.5, 2), (-3, -1), (0, 0)])
def test_dynamic_quantize(low: float, high: float, check_node: Any, rng: np.random.Generator) -> None:
    x = rng.uniform(low, high, (3, 4, 5)).astype(np.float32)
    check_node("DynamicQuantizeLinear", [x], outputs=[np.uint8, np.float32, np.uint8])


def test_dynamic_quantize_of_large_images(check_node: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 3, 120, 130)).astype(np.float32)
    check_node("DynamicQuantizeLinear", [x], outputs=[np.uint8, np.float32, np.uint8])


CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 6, 9, 8), (4, 6, 3, 3), {}),
    ((1, 6, 9, 8), (4, 6, 3, 2), {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
    ((2, 6, 9, 8), (9, 2, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    ((1, 6, 9, 8), (12, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1], "dilations": [2, 1]}),
    ((1, 6, 9, 8), (4, 6, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((1, 6, 9, 8), (4, 6, 2, 4), {"auto_pad": "SAME_LOWER"}),
    ((1, 300, 5, 5), (7, 300, 3, 3), {"pads": [1, 1, 1, 1]}),  # sums beyond 2^24
    ((2, 6, 11), (5, 6, 3), {"pads": [1, 1], "strides": [2]}),
    ((1, 4, 5, 6, 7), (5, 4, 3, 3, 3), {"pads": [1] * 6}),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("w_dtype", [np.uint8, np.int8])
def test_integer_convolutions(case: Any, w_dtype: Any, check_exact: Any, rng: np.random.Generator) -> None:
    x_shape, w_shape, attrs = case
    x, w = integers(rng, np.uint8, *x_shape), integers(rng, w_dtype, *w_shape)
    oc = w_shape[0]
    x_zero = np.asarray(rng.integers(0, 256), np.uint8)
    w_zero = np.asarray(0 if w_dtype == np.int8 else 121, w_dtype)
    options = {"opset": 10, **attrs}
    check_exact("ConvInteger", [x, w, x_zero, w_zero], outputs=[np.int32], **options)
    check_exact("ConvInteger", [x, w], outputs=[np.int32], **options)
    bias = integers(rng, np.int16, oc).astype(np.int32)
    y_scale = np.asarray(2.5 * np.sqrt(np.prod(w_shape[1:])), np.float32)
    y_zero = np.asarray(117, np.uint8)
    for s, zero in ((scale(rng), w_zero), (scale(rng, oc), np.full(oc, w_zero))):
        inputs = [x, np.asarray(scale(rng)), x_zero, w, s, zero, y_scale, y_zero]
        check_exact("QLinearConv", inputs, outputs=[np.uint8], **options)
        check_exact("QLinearConv", [*inputs, bias], outputs=[np.uint8], **options)


def test_integer_convolutions_are_exact_at_the_limit_of_f32(
    check_exact: Any, rng: np.random.Generator
) -> None:
    """Sums just below 2^24, and their terms' fractions by any transform, at sizes where transforms pay."""
    x = rng.integers(200, 256, (1, 56, 28, 28)).astype(np.uint8)
    w = rng.integers(120, 128, (32, 56, 3, 3)).astype(np.int8)
    check_exact("ConvInteger", [x, w], outputs=[np.int32], pads=[1, 1, 1, 1])


def test_sums_that_f32_does_not_hold(check_exact: Any, node_model: Any, rng: np.random.Generator) -> None:
    x, w = integers(rng, np.uint8, 1, 300, 7, 6), np.full((8, 300, 3, 3), 127, np.int8)
    w[1::2] = -128
    inputs, options = (
        [x, w, np.asarray(3, np.uint8)],
        {"outputs": [np.dtype(np.int32)], "opset": 10, "pads": [1] * 4},
    )
    check_exact("ConvInteger", inputs, **options)
    bias = np.full(8, 2**24 - 1, np.int32)
    one = np.float32(1)
    quantised = [x, one, inputs[2], w, one, np.int8(0), np.float32(1e6), np.uint8(128), bias]
    check_exact("QLinearConv", [np.asarray(a) for a in quantised], **(options | {"outputs": [np.uint8]}))
    model, feeds = node_model("ConvInteger", inputs, constant=[1, 2], **options)
    ours = fastconv.load(model)
    ours.run(None, feeds)
    steps = [line.split()[1] for line in ours.explain().splitlines()[1:]]
    assert steps.count("integer_conv") == 1


@pytest.mark.parametrize("op", ["ConvInteger", "MatMulInteger"])
@pytest.mark.parametrize("channels", [4, 500])  # 500: sums beyond 2^24, of which f32 does not hold all
def test_sums_cast_to_floats(op: str, channels: int, onnx: Any, rng: np.random.Generator) -> None:
    helper, TensorProto = onnx.helper, onnx.TensorProto
    x_shape, w_shape = (
        ((1, channels, 6, 5), (3, channels, 3, 3)) if op == "ConvInteger" else ((4, channels), (channels, 3))
    )
    w = rng.integers(90, 128, w_shape).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node(op, ["q", "w", "z"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    x = rng.uniform(0, 1, x_shape).astype(np.float32)
    step = x.max() / np.float32(255)  # the range starts at 0, and so does the zero point
    quantised = np.rint(x / step).astype(np.uint8)
    expected = integer_operator(op, [quantised, w], {})
    ours = fastconv.load(model)
    np.testing.assert_array_equal(ours(x), expected.astype(np.float32))
    assert "cast" not in ours.explain()


def test_integer_convolution_with_zero_points_per_channel(check_node: Any, rng: np.random.Generator) -> None:
    x, w = integers(rng, np.uint8, 1, 3, 6, 6), integers(rng, np.int8, 4, 3, 3, 3)
    zeros = integers(rng, np.int8, 4)
    wide = w.astype(np.int64) - zeros.reshape(-1, 1, 1, 1)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64) - 7, (3, 3), (2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, wide).astype(np.int32)
    inputs = [x, w, np.asarray(7, np.uint8), zeros]
    check_node("ConvInteger", inputs, outputs=[np.int32], expected=[expected], opset=10)


PRODUCTS = [
    ((5, 7), (7, 4)),
    ((2, 3, 5, 7), (7, 4)),
    ((2, 1, 5, 7), (3, 7, 4)),
    ((5, 900), (900, 4)),  # sums beyond 2^24
    ((7,), (7, 4)),
    ((5, 7), (7,)),
]


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
@pytest.mark.parametrize("b_dtype", [np.uint8, np.int8])
def test_integer_products(shapes: Any, b_dtype: Any, check_exact: Any, rng: np.random.Generator) -> None:
    a, b = integers(rng, np.uint8, *shapes[0]), integers(rng, b_dtype, *shapes[1])
    a_zero, b_zero = np.asarray(118, np.uint8), np.asarray(9, b_dtype)
    check_exact("MatMulInteger", [a, b, a_zero, b_zero], outputs=[np.int32])
    check_exact("MatMulInteger", [a, b], outputs=[np.int32])
    if min(len(shapes[0]), len(shapes[1])) < 2:
        return
    y_scale = np.asarray(2 * np.sqrt(shapes[0][-1]), np.float32)
    s = scale(rng)
    inputs = [a, s, a_zero, b, s, b_zero, y_scale, np.asarray(117, np.uint8)]
    check_exact("QLinearMatMul", inputs, outputs=[np.uint8], opset=10)
    if len(shapes[1]) == 2:  # a scale a column
        n = shapes[1][1]
        inputs[4:6] = [scale(rng, n), np.full(n, b_zero)]
        check_exact("QLinearMatMul", inputs, outputs=[np.uint8], opset=10)


def test_products_with_zero_points_per_row(check_node: Any, rng: np.random.Generator) -> None:
    a, b = integers(rng, np.uint8, 5, 7), integers(rng, np.uint8, 7, 4)
    rows, columns = integers(rng, np.uint8, 5), integers(rng, np.uint8, 4)
    expected = np.matmul(a.astype(np.int32) - rows[:, None], b.astype(np.int32) - columns)
    check_node("MatMulInteger", [a, b, rows, columns], outputs=[np.int32], expected=[expected], opset=10)


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        ("QuantizeLinear", [np.zeros((2, 3), np.float32), np.ones(2, np.float32)], "scale: expected shape"),
        (
            "DequantizeLinear",
            [np.zeros((2, 3), np.int8), np.ones(3, np.float32), np.zeros(3, np.uint8)],
            "zero_point: expected int8",
        ),
        ("DequantizeLinear", [np.zeros((2, 3), np.float32), np.ones(3, np.float32)], "x: expected integers"),
        (
            "ConvInteger",
            [np.zeros((1, 3, 4, 4), np.uint8), np.zeros((2, 2, 3, 3), np.uint8)],
            "x: expected 2 channels",
        ),
        ("MatMulInteger", [np.zeros((2, 3), np.uint8), np.zeros((4, 3), np.uint8)], "equal inner sizes"),
    ],
)
def test_what_does_not_fit_is_refused(op: str, inputs: list[Array], message: str, node_model: Any) -> None:
    model, feeds = node_model(op, inputs)
    with pytest.raises(fastconv.FastconvError, match=message):
        fastconv.load(model).run(None, feeds)


@pytest.mark.parametrize("op", ["ConvInteger", "MatMulInteger"])
def test_zero_points_that_a_run_computes(op: str, node_model: Any, rng: np.random.Generator) -> None:
    # As dynamic quantisation has it: the weights are constants, the range of x is not.
    shapes = [(2, 6, 9, 8), (4, 6, 3, 3)] if op == "ConvInteger" else [(5, 7), (7, 4)]
    x, w = integers(rng, np.uint8, *shapes[0]), integers(rng, np.int8, *shapes[1])
    inputs = [x, w, np.asarray(131, np.uint8), np.asarray(0, np.int8)]
    options = {"outputs": [np.dtype(np.int32)], "opset": 10}
    model, feeds = node_model(op, inputs, constant=[1, 3], **options)
    np.testing.assert_array_equal(fastconv.load(model).run(None, feeds), [integer_operator(op, inputs, {})])


@pytest.mark.parametrize("fixed", [[1, 2, 3, 4, 5, 6, 7], [1, 3, 4, 5, 6, 7], [2, 3, 5]])
@pytest.mark.parametrize("channels", [60, 1037])
def test_constant_weights_are_left_to_the_kernels(channels: int, fixed: list[int], node_model: Any) -> None:
    x, w = np.full((1, channels, 4, 4), 255, np.uint8), np.full((3, channels, 1, 1), 127, np.int8)
    one, zero = np.asarray(1, np.float32), np.asarray(0, np.uint8)
    inputs = [x, one, zero, w, one, np.asarray(0, np.int8), one, zero]
    model, feeds = node_model("QLinearConv", inputs, outputs=[np.dtype(np.uint8)], constant=fixed)
    loaded = fastconv.load(model)
    loaded.run(None, feeds)
    steps = [
        step.algorithm if step.kind == "call" else step.kind
        for step in loaded._planned(tuple(a.shape for a in feeds.values())).steps
    ]
    assert steps.count("integer_conv") == 1
    assert "convinteger" not in steps
