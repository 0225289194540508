"""Networks in QDQ form: integers in the place of what is dequantised, computed in f32 and quantised.

What is expected is computed here in float64 from the meaning of the graph. A result that lies next to a
rounding edge may fall on either side of it: such are known by their distance from the edge, and no other may
differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model
from fastconv.testing.integers import convolve

EDGE = 1e-4  # of a step: what f32 may be off by where it multiplies sums by a scale


class Quantiser:
    """Builds a graph whose values pass through 8 bits, and computes it in float64."""

    def __init__(self, dtype: type = np.uint8) -> None:
        self.b, self.dtype, self.unsure = GraphBuilder("qdq", {}), np.dtype(dtype), False
        self.count = 0

    def constant(self, name: str, value: Any) -> str:
        self.count += 1
        return self.b.constant(f"{name}{self.count}", value)

    def passed(self, name: str, values: np.ndarray, scale: float, zero: int) -> tuple[str, np.ndarray]:
        """Quantise and dequantise; ``values`` are those in float64."""
        s = self.constant("scale", np.array(scale, np.float32))
        z = self.constant("zero", np.array(zero, self.dtype))
        q = self.b.add("QuantizeLinear", name, s, z)
        steps, info = values / np.float64(np.float32(scale)), np.iinfo(self.dtype)
        inside = (steps + zero > info.min - 1) & (steps + zero < info.max + 1)
        self.unsure |= bool(np.any(inside & (np.abs(np.abs(steps - np.floor(steps)) - 0.5) < EDGE)))
        numbers = np.clip(np.rint(steps) + zero, info.min, info.max)
        return self.b.add("DequantizeLinear", q, s, z), (numbers - zero) * np.float64(np.float32(scale))

    def weights(self, w: np.ndarray, axis: int = 0) -> tuple[str, np.ndarray, np.ndarray]:
        """Weights of 8 bits, with a scale for each index of an axis."""
        shape = [1] * w.ndim
        shape[axis] = -1
        scale = (np.abs(w).max(tuple(i for i in range(w.ndim) if i != axis)) / 127).astype(np.float32)
        q = np.clip(np.rint(w / scale.reshape(shape)), -127, 127).astype(np.int8)
        names = (
            self.constant("w", q),
            self.constant("ws", scale),
            self.constant("wz", np.zeros(len(scale), np.int8)),
        )
        wide = q.astype(np.float64) * scale.astype(np.float64).reshape(shape)
        return self.b.add("DequantizeLinear", *names, axis=axis), wide, scale

    def bias(self, values: np.ndarray, x_scale: float, w_scale: np.ndarray) -> tuple[str, np.ndarray]:
        scale = (np.float32(x_scale) * w_scale).astype(np.float32)
        q = np.rint(values / scale).astype(np.int32)
        names = (
            self.constant("b", q),
            self.constant("bs", scale),
            self.constant("bz", np.zeros(len(q), np.int32)),
        )
        return self.b.add("DequantizeLinear", *names, axis=0), q * scale.astype(np.float64)


def draw(rng: np.random.Generator, build: Callable[[Quantiser, str, np.ndarray], tuple[str, np.ndarray]],
         shape: tuple[int, ...], dtype: type = np.uint8) -> tuple[Model, np.ndarray, np.ndarray]:  # fmt: skip
    """Return a network, its input and what it gives, of numbers of which none is next to a rounding edge."""
    for _ in range(200):
        q = Quantiser(dtype)
        x = rng.normal(size=shape).astype(np.float32)
        name, wide = q.passed(
            q.b.input("x", shape), x.astype(np.float64), 0.03, 120 if dtype == np.uint8 else -8
        )
        y, expected = build(q, name, wide)
        q.b.output(y, "y", expected.shape)
        if not q.unsure:
            return Model(q.b.build()), x, expected
    raise AssertionError("expected numbers of which none is next to a rounding edge")


def check(model: Model, x: np.ndarray, expected: np.ndarray, *kinds: str) -> None:
    """Compare to f32's precision of the last scale, and see that the steps are the ones that are named."""
    y = model(x)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    found = [line.split()[1] for line in model.explain().splitlines() if line[:1].isdigit()]
    for kind in kinds:
        assert kind in found, found
    assert not {"conv", "gemm", "binary", "activate", "call"} & set(found), found


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("activation", ["", "Relu", "Clip"])
@pytest.mark.parametrize(
    ("groups", "kernel", "stride"), [(1, 3, 1), (1, 1, 1), (2, 3, 2), (8, 3, 1), (8, 5, 2)]
)
def test_convolutions(rng, groups, kernel, stride, activation, dtype):
    def build(q, name, wide):
        w, weights, scale = q.weights(rng.normal(size=(8, 8 // groups, kernel, kernel)))
        b, bias = q.bias(rng.normal(size=8), 0.03, scale)
        pads = [kernel // 2] * 4
        attrs = {"pads": pads, "strides": [stride] * 2, "group": groups}
        y = q.b.add("Conv", name, w, b, **attrs)
        sums = convolve(wide, weights, attrs) + bias.reshape(-1, 1, 1)
        if activation == "Relu":
            y, sums = q.b.add("Relu", y), np.maximum(sums, 0)
        if activation == "Clip":
            limits = q.constant("lo", np.array(0, np.float32)), q.constant("hi", np.array(2.5, np.float32))
            y, sums = q.b.add("Clip", y, *limits), np.clip(sums, 0, 2.5)
        return q.passed(y, sums, 0.11, 9)

    check(*draw(rng, build, (2, 8, 5, 4), dtype), "integer_conv")


def test_a_bias_that_has_another_scale_or_none(rng):
    for given in ("f32", "scaled"):

        def build(q, name, wide, given=given):
            w, weights, scale = q.weights(rng.normal(size=(4, 6, 1, 1)))
            if given == "f32":
                bias = rng.normal(size=4).astype(np.float32)
                b = q.constant("bias", bias)
            else:
                b, bias = q.bias(rng.normal(size=4), 0.5, scale)
            y = q.b.add("Conv", name, w, b)
            return q.passed(
                y, convolve(wide, weights, {}) + bias.astype(np.float64).reshape(-1, 1, 1), 0.1, 100
            )

        check(*draw(rng, build, (1, 6, 3, 3)), "integer_conv")


@pytest.mark.parametrize("transposed", [0, 1])
def test_products(rng, transposed):
    def gemm(q, name, wide):
        w, weights, scale = q.weights(rng.normal(size=(5, 12) if transposed else (12, 5)), 1 - transposed)
        b, bias = q.bias(rng.normal(size=5), 0.03, scale)
        y = q.b.add("Gemm", name, w, b, transB=transposed)
        return q.passed(y, wide @ (weights.T if transposed else weights) + bias, 0.1, 70)

    check(*draw(rng, gemm, (3, 12)), "integer_conv")

    def matmul(q, name, wide):
        w, weights, _ = q.weights(rng.normal(size=(12, 5)), 1)
        return q.passed(q.b.add("MatMul", name, w), wide @ weights, 0.1, 70)

    check(*draw(rng, matmul, (2, 3, 12)), "integer_conv")


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_sums_and_products_of_two(rng, op, dtype):
    def build(q, name, wide):
        other = rng.normal(size=(1, 6, 1, 1)).astype(np.float32)
        info = np.iinfo(dtype)
        numbers = np.clip(np.rint(other / 0.02) + 3, info.min, info.max).astype(dtype)
        names = (q.constant("c", numbers), q.constant("cs", np.array(0.02, np.float32)),
                 q.constant("cz", np.array(3, dtype)))  # fmt: skip
        c = q.b.add("DequantizeLinear", *names)
        values = (numbers.astype(np.float64) - 3) * np.float64(np.float32(0.02))
        y = q.b.add(op, name, c)
        return q.passed(y, wide + values if op == "Add" else wide * values, 0.05, 20)

    # Constants of s8 meet values that are kept as u8: such a sum stays one of f32.
    model, x, expected = draw(rng, build, (2, 6, 3, 4), dtype)
    np.testing.assert_allclose(model(x), expected, rtol=1e-6, atol=1e-6)
    assert ("quantized_binary" in model.explain()) == (dtype == np.uint8)


@pytest.mark.parametrize("op", ["Sigmoid", "HardSwish", "LeakyRelu", "Tanh"])
def test_functions_are_tables(rng, op):
    functions = {
        "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "HardSwish": lambda v: v * np.clip(v / 6 + 0.5, 0, 1),
        "LeakyRelu": lambda v: np.where(v < 0, 0.01 * v, v),
        "Tanh": np.tanh,
    }

    def build(q, name, wide):
        return q.passed(q.b.add(op, name), functions[op](wide), 0.013, 40)

    check(*draw(rng, build, (2, 3, 3, 2)), "lookup")


def test_a_gate_is_one_table(rng):
    """x * sigmoid(x), as quantisers write it: the gate is rounded too."""

    def build(q, name, wide):
        gate, rounded = q.passed(q.b.add("Sigmoid", name), 1 / (1 + np.exp(-wide)), 1 / 256, 0)
        return q.passed(q.b.add("Mul", name, gate), wide * rounded, 0.02, 30)

    model, x, expected = draw(rng, build, (1, 4, 3, 3))
    check(model, x, expected, "lookup")
    assert "quantized_binary" not in model.explain()


def test_what_only_moves_values(rng):
    def build(q, name, wide):
        y, z = q.passed(q.b.add("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2]),
                        wide.reshape(2, 4, 3, 2, 3, 2).max((3, 5)), 0.03, 120)  # fmt: skip
        y, z = q.passed(q.b.add("Transpose", y, perm=[0, 2, 3, 1]), z.transpose(0, 2, 3, 1), 0.03, 120)
        shape = q.constant("shape", np.array([2, 36], np.int64))
        return q.passed(q.b.add("Reshape", y, shape), z.reshape(2, 36), 0.03, 120)

    model, x, expected = draw(rng, build, (2, 4, 6, 6))
    np.testing.assert_allclose(model(x), expected, rtol=1e-6, atol=1e-6)
    assert model.explain().count("dequantize ") == 1


def test_concatenations_and_pools(rng):
    def build(q, name, wide):
        a, left = q.passed(q.b.add("Relu", name), np.maximum(wide, 0), 0.01137, 0)
        y, z = q.passed(q.b.add("Concat", a, name, axis=1), np.concatenate([left, wide], 1), 0.02471, 118)
        return q.passed(q.b.add("GlobalAveragePool", y), z.mean((2, 3), keepdims=True), 0.0117, 100)

    check(*draw(rng, build, (2, 4, 5, 3)), "quantized_avg_pool2d")


def test_values_that_others_read_stay(rng):
    """A graph output, or a reader of the f32 value, sees what the file says."""
    q = Quantiser()
    x = rng.normal(size=(1, 4, 3, 3)).astype(np.float32)
    name, wide = q.passed(q.b.input("x", x.shape), x.astype(np.float64), 0.03, 120)
    w, weights, _ = q.weights(rng.normal(size=(4, 4, 1, 1)))
    y = q.b.add("Conv", name, w)
    q.b.output(y, "y", x.shape)
    z, _ = q.passed(y, convolve(wide, weights, {}), 0.1, 100)
    q.b.output(z, "z", x.shape)
    model = Model(q.b.build())
    found = model.run(None, {"x": x})
    np.testing.assert_allclose(found[0], convolve(wide, weights, {}), rtol=1e-5, atol=1e-5)
    assert np.abs(found[1] - found[0]).max() <= 0.051


@pytest.mark.parametrize("channels", [3, 64])
def test_bytes_are_the_same_on_every_tier(rng, tiers, channels):
    def build(q, name, wide):
        for _ in range(3):
            w, weights, scale = q.weights(rng.normal(size=(channels, channels, 3, 3)) / channels)
            b, bias = q.bias(rng.normal(size=channels) / 9, 0.03, scale)
            y = q.b.add("Conv", name, w, b, pads=[1] * 4)
            wide = convolve(wide, weights, {"pads": [1] * 4}) + bias.reshape(-1, 1, 1)
            name, wide = q.passed(q.b.add("Relu", y), np.maximum(wide, 0), 0.03, 0)
        return name, wide

    q = Quantiser()
    x = rng.normal(size=(2, channels, 9, 9)).astype(np.float32)
    name, wide = q.passed(q.b.input("x", x.shape), x.astype(np.float64), 0.03, 120)
    y, _ = build(q, name, wide)
    q.b.output(y, "y", x.shape)
    graph = q.b.build()
    results = []
    for _ in tiers:
        for threads in (1, 2):
            with fastconv.threads(threads):
                results.append(Model(graph)(x).tobytes())
    assert len(set(results)) == 1


def test_a_last_product_gives_floats() -> None:
    """A classifier's result that nobody quantises: exact sums, scaled once."""
    rng = np.random.default_rng(11)
    q = Quantiser()
    x = rng.normal(size=(3, 40)).astype(np.float32)
    name, wide = q.passed(q.b.input("x", (3, 40)), x.astype(np.float64), 0.03, 120)
    w, w_wide, w_scale = q.weights(rng.normal(size=(7, 40)), 0)
    b, b_wide = q.bias(rng.normal(size=7), 0.03, w_scale)
    q.b.output(q.b.add("Gemm", name, w, b, transB=1), "y", (3, 7))
    model = Model(q.b.build())
    np.testing.assert_allclose(model(x), wide @ w_wide.T + b_wide, rtol=1e-5, atol=1e-5)
    steps = [step for stage in model.program().stages for step in stage.steps]
    assert [step.kind for step in steps] == ["quantize", "integer_conv"]
    assert steps[-1].output.dtype == np.float32
