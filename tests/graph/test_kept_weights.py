"""What is made of weights is made once, for programs of all input shapes, and is right for each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv import Model
from fastconv.graph.ir import GraphBuilder
from fastconv.testing import reference

Array = np.ndarray[Any, Any]


def matmul(rng: np.random.Generator, k: int = 20) -> tuple[Model, Any]:
    """Two products of a sequence of any length with 8-bit weights, one after the other."""
    weights = [rng.integers(-128, 128, shape).astype(np.int8) for shape in ((k, 12), (12, 7))]
    zeros = [np.int8(3), np.arange(7, dtype=np.int8)]
    b = GraphBuilder(
        "quantised", {"w0": weights[0], "w1": weights[1], "z0": np.array(zeros[0]), "z1": zeros[1]}
    )
    x = b.input("x", ("batch", None, k))
    x = b.add("Cast", x, to=2)
    y = b.add("Cast", b.add("MatMulInteger", x, "w0", "", "z0"), to=1)
    y = b.add("Cast", b.add("Clip", b.add("Abs", y), b.constant("lo", np.float32(0)),
                            b.constant("hi", np.float32(255))), to=2)  # fmt: skip
    b.output(b.add("Cast", b.add("MatMulInteger", y, "w1", "", "z1"), to=1))

    def expected(x: Array) -> Array:
        y = np.abs(x.astype(np.int64) @ (weights[0].astype(np.int64) - zeros[0]))
        return np.clip(y, 0, 255) @ (weights[1].astype(np.int64) - zeros[1])

    return Model(b.build()), expected


def convolution(rng: np.random.Generator, ic: int) -> tuple[Model, Any]:
    w = rng.integers(-128, 128, (5, ic, 3, 3)).astype(np.int8)
    b = GraphBuilder("quantised", {"w": w, "z": np.array(7, np.uint8)})
    x = b.add("Cast", b.input("x", ("batch", ic, None, None)), to=2)
    b.output(b.add("Cast", b.add("ConvInteger", x, "w", "z"), to=1))

    def expected(x: Array) -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64) - 7, (3, 3), (2, 3))
        return np.einsum("nihwyx,oiyx->nohw", windows, w.astype(np.int64))

    return Model(b.build()), expected


@pytest.mark.parametrize(
    ("make", "layers", "size", "shapes"),
    [
        (matmul, 2, 20, [(1, 3, 20), (1, 8, 20), (2, 5, 20), (1, 3, 20)]),
        (convolution, 1, 4, [(1, 4, 9, 8), (2, 4, 5, 7)]),
        (convolution, 1, 300, [(1, 300, 6, 5), (1, 300, 4, 9)]),  # sums beyond 2^24
    ],
)
def test_new_shapes_of_quantised_layers(
    make: Any, layers: int, size: int, shapes: Any, rng: np.random.Generator
) -> None:
    """What each layer packed at first serves all shapes."""
    model, expected = make(rng, size)
    made: dict[Any, Any] = {}
    for shape in shapes:
        x = rng.integers(0, 256, shape).astype(np.float32)
        np.testing.assert_array_equal(model(x), expected(x))
        made = made or dict(model._session.plans.made)
        assert len(made) == layers
        assert model._session.plans.made == made, "made anew for another shape"


def test_weights_that_come_at_run_time_are_made_anew(rng: np.random.Generator) -> None:
    """Two sets of weights of one shape: what was made of the first is not the second's."""
    b = GraphBuilder("quantised", {})
    x = b.add("Cast", b.input("x", ("batch", 4)), to=2)
    w = b.add("Cast", b.input("w", (4, 3)), to=3)
    b.output(b.add("Cast", b.add("MatMulInteger", x, w), to=1))
    model = Model(b.build())
    for _ in range(3):
        x, w = rng.integers(0, 256, (2, 4)), rng.integers(-128, 128, (4, 3))
        y = model(x.astype(np.float32), w.astype(np.float32))
        np.testing.assert_array_equal(y, x @ w)


@pytest.mark.parametrize("op", ["Conv", "MatMul", "Gemm"])
def test_nodes_that_read_the_same_weights_share_the_packed_ones(op: str, rng: np.random.Generator) -> None:
    w = rng.standard_normal((6, 6, 3, 3) if op == "Conv" else (6, 6), np.float32)
    bias = rng.standard_normal(6, np.float32)
    shape = ("batch", 6, 8, 8) if op == "Conv" else ("batch", 6)
    b = GraphBuilder("shared", {"w": w, "b": bias})
    x = b.input("x", shape)
    inputs = ("w",) if op == "MatMul" else ("w", "b")
    attrs = {"pads": [1, 1, 1, 1]} if op == "Conv" else {}
    y = b.add("Tanh", b.add(op, b.add("Tanh", b.add(op, x, *inputs, **attrs)), *inputs, **attrs))
    other = {"Conv": {"strides": [2, 2]}, "Gemm": {"transB": 1}}.get(op)
    if other is not None:  # the same weights for something else
        y = b.add(op, y, *inputs, **attrs, **other)
    b.output(y)
    model = Model(b.build())
    found = list(model._session.plans.packed.values())
    assert len(found) == (2 if other is None else 3)
    assert len({id(conv) for conv in found}) == (1 if other is None else 2)
    x = rng.standard_normal((2, *shape[1:]), np.float32)

    def layer(x: Array, stride: int = 1, transposed: bool = False) -> Array:
        if op == "Conv":
            return reference.conv(x, w, bias, stride=stride, padding=1)
        return x @ (w.T if transposed else w).astype(np.float64) + (0 if op == "MatMul" else bias)

    wanted = np.tanh(layer(np.tanh(layer(x))))
    if other is not None:
        wanted = layer(wanted, 2, transposed=True)
    np.testing.assert_allclose(model(x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("k", [1, 33_025, 33_026])
def test_sums_at_the_end_of_the_range(k: int) -> None:
    """The largest sums of products of 255 by 255: those of more terms than 32 bits hold wrap around."""
    w = np.full((k, 3), 255, np.uint8)
    b = GraphBuilder("quantised", {"w": w})
    b.output(b.add("MatMulInteger", b.add("Cast", b.input("x", (1, k)), to=2), "w"))
    y = Model(b.build())(np.full((1, k), 255, np.float32))
    np.testing.assert_array_equal(y, np.full((1, 3), k * 255 * 255).astype(np.int32))
