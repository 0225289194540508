"""Operators on 8-bit values run as steps on kernels, with the bytes of their formulas in numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import fastconv

Array = np.ndarray[Any, Any]
Check = Callable[..., None]
TYPES = [np.uint8, np.int8]
MICROSOFT = "com.microsoft"


def kinds_of(model: fastconv.Model, feeds: dict[str, Array]) -> set[str]:
    steps = model._planned(tuple(a.shape for a in feeds.values())).steps
    return {step.kind if step.kind != "call" else f"call_{step.algorithm}" for step in steps}


@pytest.fixture
def check(node_model: Any) -> Check:
    """Return a function that runs a node, all but its first inputs in the model, and names its steps."""

    def check(
        op: str, inputs: Sequence[Array | None], expected: Sequence[Array], kinds: str, **options: Any
    ) -> None:
        constant = options.pop("constant", range(1, len(inputs)))
        dtypes = [e.dtype for e in expected]
        model, feeds = node_model(op, inputs, constant=constant, outputs=dtypes, **options)
        loaded = fastconv.load(model)
        for got, exact in zip(loaded.run(None, feeds), expected, strict=True):
            assert (got.dtype, got.shape) == (exact.dtype, exact.shape)
            np.testing.assert_array_equal(got, exact)
        assert kinds_of(loaded, feeds) == set(kinds.split())
        assert fastconv.count(loaded).layers  # each of the steps has a rule

    return check


def numbers(rng: np.random.Generator, dtype: Any, *shape: int) -> Array:
    return rng.integers(0, 256, shape).astype(np.uint8).view(dtype)


def quantisation(rng: np.random.Generator, dtype: Any) -> tuple[Array, Array]:
    return np.asarray(rng.uniform(0.01, 0.1), np.float32), numbers(rng, dtype)[()]


def values(x: Array, scale: Array, zero: Array) -> Array:
    return (x.astype(np.float32) - zero.astype(np.float32)) * scale


def quantised(x: Array, scale: Array, zero: Array) -> Array:
    info = np.iinfo(zero.dtype)
    steps = np.rint(x / scale) + zero.astype(np.float32)
    return np.clip(steps, info.min, info.max).astype(zero.dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_quantize_and_dequantize(dtype: Any, check: Check, rng: np.random.Generator) -> None:
    x, (scale, zero) = rng.normal(size=(2, 5, 6, 7)).astype(np.float32), quantisation(rng, dtype)
    check("QuantizeLinear", [x, scale, zero], [quantised(x, scale, zero)], "quantize")
    q = numbers(rng, dtype, 2, 5, 6, 7)
    check("DequantizeLinear", [q, scale, zero], [values(q, scale, zero)], "dequantize")
    check("DequantizeLinear", [q, scale], [values(q, scale, np.zeros((), dtype))], "dequantize")


def test_dequantize_sums(check: Check, rng: np.random.Generator) -> None:
    sums = rng.integers(-(2**31), 2**31, (3, 50)).astype(np.int32)
    scale, zero, other = np.asarray(0.013, np.float32), np.zeros((), np.int32), np.asarray(7, np.int32)
    expected = sums.astype(np.float32) * scale
    for inputs in ([sums, scale], [sums, scale, zero]):
        check("DequantizeLinear", inputs, [expected], "dequantize")
    # A difference of 33 bits has no kernel.
    expected = (sums.astype(np.float64) - 7).astype(np.float32) * scale
    check("DequantizeLinear", [sums, scale, other], [expected], "call_dequantizelinear")


@pytest.mark.parametrize("special", [0.0, np.inf, np.nan])
def test_dynamic_quantisation(special: float, check: Check, rng: np.random.Generator) -> None:
    for shift in (0, 5, -5):
        x = (rng.normal(size=(2, 3, 40, 31)) + shift).astype(np.float32)
        x[1, 1, 1, 1] = special
        low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
        if np.isnan(special):
            low = high = np.float32(np.nan)
        with np.errstate(all="ignore"):
            scale = (high - low) / np.float32(255)
            zero = np.nan_to_num(np.clip(np.rint(-low / scale), 0, 255)).astype(np.uint8)
            steps = np.clip(np.rint(x / scale) + zero.astype(np.float32), 0, 255)
        y = np.nan_to_num(steps).astype(np.uint8)
        expected = [y, np.asarray(scale), np.asarray(zero)]
        check("DynamicQuantizeLinear", [x], expected, "dynamic_range quantize copy")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_binary(op: str, dtype: Any, check: Check, rng: np.random.Generator) -> None:
    shape = (2, 6, 5, 4)
    a, a_pair, y_pair = numbers(rng, dtype, *shape), quantisation(rng, dtype), quantisation(rng, dtype)
    for other in (shape, (2, 6, 1, 1), (6, 1, 1), (1,), ()):
        b, b_pair = numbers(rng, dtype, *other), quantisation(rng, dtype)
        left, right = values(a, *a_pair), values(b, *b_pair)
        expected = quantised(left + right if op == "QLinearAdd" else left * right, *y_pair)
        for constant in ([1, 2, 4, 5, 6, 7], range(1, 8)):
            check(
                op,
                [a, *a_pair, b, *b_pair, *y_pair],
                [expected],
                "quantized_binary",
                constant=constant,
                domain=MICROSOFT,
            )


@pytest.mark.parametrize("dtype", TYPES)
def test_functions_of_one_value(dtype: Any, check: Check, rng: np.random.Generator) -> None:
    x, x_pair, y_pair = numbers(rng, dtype, 2, 3, 50), quantisation(rng, dtype), quantisation(rng, dtype)
    v = values(x, *x_pair)
    inputs, options = [x, *x_pair, *y_pair], {"domain": MICROSOFT}
    expected = quantised(fastconv.sigmoid(v), *y_pair)
    check("QLinearSigmoid", inputs, [expected], "lookup", **options)
    expected = quantised(np.where(v < 0, np.float32(0.2) * v, v), *y_pair)
    check("QLinearLeakyRelu", inputs, [expected], "lookup", alpha=0.2, **options)
    low, high = np.asarray(3, dtype), np.asarray(77, dtype)
    check("Clip", [x, low, high], [np.clip(x, 3, 77)], "lookup")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("last", [0, 1])
def test_averages(dtype: Any, last: int, check: Check, rng: np.random.Generator) -> None:
    x_pair, y_pair = quantisation(rng, dtype), quantisation(rng, dtype)
    options = {"domain": MICROSOFT, "channels_last": last}

    def mean(x: Array, axes: tuple[int, ...]) -> Array:
        total = (x.astype(np.int64) - int(x_pair[1])).sum(axis=axes, keepdims=True)
        count = np.prod([x.shape[i] for i in axes])
        return quantised(total.astype(np.float32) * x_pair[0] / np.float32(count), *y_pair)

    steps = "quantized_avg_pool2d" if last else "quantized_avg_pool2d copy"
    for shape in ((2, 9, 8, 7), (2, 9, 70), (1, 5, 3, 4, 6)):
        x = numbers(rng, dtype, *shape)
        axes = tuple(range(1, len(shape) - 1) if last else range(2, len(shape)))
        inputs = [x, *x_pair, *y_pair]
        check("QLinearGlobalAveragePool", inputs, [mean(x, axes)], steps, **options)
    x = numbers(rng, dtype, 2, 8, 6, 4)
    blocks = x.reshape((2, 4, 2, 3, 2, 4) if last else (2, 8, 3, 2, 2, 2))
    y = mean(blocks, (2, 4) if last else (3, 5))
    y = y.reshape((2, 4, 3, 4) if last else (2, 8, 3, 2))
    inputs, window = [x, *x_pair, *y_pair], {"kernel_shape": [2, 2], "strides": [2, 2]}
    steps = "quantized_avg_pool2d" if last else "quantized_avg_pool2d copy"
    check("QLinearAveragePool", inputs, [y], steps, **window, **options)


@pytest.mark.parametrize("dtype", TYPES)
def test_maxima(dtype: Any, check: Check, rng: np.random.Generator) -> None:
    x = numbers(rng, dtype, 2, 6, 8, 10)
    y = x.reshape(2, 6, 4, 2, 5, 2).max(axis=(3, 5))
    check("MaxPool", [x], [y], "max_pool2d copy", kernel_shape=[2, 2], strides=[2, 2])
    row, volume = numbers(rng, dtype, 2, 3, 12), numbers(rng, dtype, 1, 3, 4, 6, 4)
    y = row.reshape(2, 3, 6, 2).max(axis=3)
    check("MaxPool", [row], [y], "max_pool2d copy", kernel_shape=[2], strides=[2])
    y = volume.reshape(1, 3, 2, 2, 3, 2, 2, 2).max(axis=(3, 5, 7))
    check("MaxPool", [volume], [y], "max_pool2d copy", kernel_shape=[2] * 3, strides=[2] * 3)


@pytest.mark.parametrize("equal", [True, False])
def test_concatenation(equal: bool, check: Check, rng: np.random.Generator) -> None:
    parts = [numbers(rng, np.uint8, 2, channels, 4, 5) for channels in (3, 1, 2)]
    pairs = [quantisation(rng, np.uint8) for _ in range(4)]
    pairs = [pairs[0]] * 4 if equal else pairs
    whole = [quantised(values(x, *pair), *pairs[3]) for x, pair in zip(parts, pairs, strict=False)]
    inputs = [*pairs[3], *(a for x, pair in zip(parts, pairs, strict=False) for a in (x, *pair))]
    held = [i for i in range(len(inputs)) if i not in (2, 5, 8)]
    steps = "copy" if equal else "lookup copy"
    expected = [np.concatenate(whole, 1)]
    check("QLinearConcat", inputs, expected, steps, constant=held, domain=MICROSOFT, axis=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.bool_, np.float64, np.int32])
def test_moves_of_any_element(dtype: Any, check: Check, rng: np.random.Generator) -> None:
    x = rng.integers(0, 2 if dtype == np.bool_ else 100, (2, 3, 4, 5)).astype(dtype)
    check("Concat", [x, x], [np.concatenate([x, x], 1)], "copy", constant=(), axis=1)
    check("Transpose", [x], [x.transpose(0, 2, 3, 1)], "copy", perm=[0, 2, 3, 1])
    check("Expand", [x[:, :1], np.array([2, 3, 4, 5])], [np.repeat(x[:, :1], 3, 1)], "copy")
    starts, ends, steps = (np.array([n]) for n in (3, -99, -2))
    check("Slice", [x, starts, ends, np.array([2]), steps], [x[:, :, ::-2]], "copy")
    pads, value = np.array([0, 0, 1, 2, 0, 0, 2, 1]), np.asarray(1, dtype)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 2), (2, 1)], constant_values=1)
    check("Pad", [x, pads, value], [padded], "copy")


def test_large_integers_are_filled_exactly(check: Check) -> None:
    x, most = np.zeros((1, 2), np.int64), np.asarray(2**63 - 1)
    check("Pad", [x, np.array([0, 0, 0, 1]), most], [np.array([[0, 0, 2**63 - 1]])], "copy")


@pytest.mark.parametrize("dtype", TYPES)
def test_resize(dtype: Any, check: Check, rng: np.random.Generator) -> None:
    x = numbers(rng, dtype, 2, 3, 5, 4)
    scales = np.float32([1, 1, 2, 3])
    y = x.repeat(2, 2).repeat(3, 3)
    attrs = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    check("Resize", [x, None, scales], [y], "resize2d", **attrs)


def chain(onnx: Any, batch: int | str, rng: np.random.Generator) -> Any:
    """Make a network of one of each step, which is planned in place."""
    helper, pairs = onnx.helper, [quantisation(rng, np.uint8) for _ in range(3)]
    names = [(f"s{i}", f"z{i}") for i in range(3)]
    a, b, c = names
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *a], ["q"]),
        helper.make_node("QLinearSigmoid", ["q", *a, *b], ["r"], domain=MICROSOFT),
        helper.make_node("MaxPool", ["r"], ["m"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("QLinearGlobalAveragePool", ["m", *b, *c], ["g"], domain=MICROSOFT),
        helper.make_node("QLinearMul", ["m", *b, "g", *c, *a], ["p"], domain=MICROSOFT),
        helper.make_node("QLinearAdd", ["p", *a, "r", *b, *c], ["t"], domain=MICROSOFT),
        helper.make_node("QLinearConcat", [*c, "t", *c, "m", *b], ["j"], domain=MICROSOFT, axis=1),
        helper.make_node("DequantizeLinear", ["j", *c], ["y"]),
    ]
    shape = [batch, 12, 14, 10]
    infos = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))
    ]
    held = [
        onnx.numpy_helper.from_array(np.asarray(value), name)
        for pair, of in zip(pairs, names, strict=True)
        for value, name in zip(pair, of, strict=True)
    ]
    graph = helper.make_graph(nodes, "chain", infos[:1], infos[1:], held)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_a_batch_gives_the_bits_of_its_images(onnx: Any, rng: np.random.Generator) -> None:
    model = fastconv.load(chain(onnx, "n", rng))
    x = rng.normal(size=(8, 12, 14, 10)).astype(np.float32)
    with fastconv.threads(2):
        whole = model(x)
    np.testing.assert_array_equal(whole, np.concatenate([model(image[None]) for image in x]))
    planned = model._planned((x.shape,))
    assert planned.independent
    assert not any(step.kind == "call" for step in planned.steps)


def test_bytes_pass_from_the_parts_of_a_batch_to_the_rest(node_model: Any, rng: np.random.Generator) -> None:
    """The maxima are taken in parts; their places are numpy's, of the whole batch."""
    x = numbers(rng, np.uint8, 8, 3, 8, 6)
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2], "opset": 12}
    model, feeds = node_model("MaxPool", [x], outputs=[np.dtype("u1"), np.dtype("i8")], **attrs)
    loaded = fastconv.load(model)
    maxima, places = loaded.run(None, feeds)
    assert loaded._planned((x.shape,)).split is not None
    np.testing.assert_array_equal(maxima, x.reshape(8, 3, 4, 2, 3, 2).max(axis=(3, 5)))
    np.testing.assert_array_equal(x.reshape(-1)[places], maxima)
