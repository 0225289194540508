"""Comparisons, logic, choices and the first k of rows in networks, beside numpy and definitions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import fastconv

pytest.importorskip("onnx")
pytestmark = pytest.mark.usefixtures("tier")

Array = np.ndarray[Any, Any]

COMPARISONS = {
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
}
LOGIC = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}
# Pairs of shapes that broadcast: lengths around every vector's, one value, rows, columns, both repeated.
SHAPES = [
    *(((n,), (n,)) for n in (0, 1, 3, 4, 7, 8, 15, 16, 17, 63, 64, 65, 1031)),
    ((2, 3, 37), ()),
    ((), (5, 19)),
    ((4, 1, 33), (3, 33)),
    ((6, 1), (1, 70)),
    ((2, 3, 5, 7), (3, 1, 1)),
]
SPECIAL = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1.0, -1.0])


def run(model: tuple[Any, dict[str, Array]]) -> tuple[list[Array], set[str]]:
    """Run it; return the results and the kinds of its steps."""
    loaded = fastconv.load(model[0])
    results = loaded.run(None, model[1])
    kinds = {step.kind for step in loaded._planned(tuple(x.shape for x in model[1].values())).steps}
    assert not kinds or fastconv.count(loaded).layers  # each of the steps has a rule
    return results, kinds


@pytest.mark.parametrize("op", COMPARISONS)
def test_comparisons(op: str, node_model: Any, rng: np.random.Generator) -> None:
    for a_shape, b_shape in SHAPES:
        a, b = (rng.choice(SPECIAL, s).astype(np.float32) for s in (a_shape, b_shape))
        (y,), kinds = run(node_model(op, [a, b], outputs=[np.dtype(bool)]))
        assert y.dtype == bool
        np.testing.assert_array_equal(y, COMPARISONS[op](a, b))
        assert kinds <= {"compare"}


@pytest.mark.parametrize("op", LOGIC)
def test_logic(op: str, node_model: Any, rng: np.random.Generator) -> None:
    for a_shape, b_shape in SHAPES:
        a, b = (rng.random(s) < 0.5 for s in (a_shape, b_shape))
        (y,), kinds = run(node_model(op, [np.asarray(a), np.asarray(b)], outputs=[np.dtype(bool)]))
        np.testing.assert_array_equal(y, LOGIC[op](a, b))
        assert kinds <= {"logic"}


def test_not(node_model: Any, rng: np.random.Generator) -> None:
    for n in (0, 1, 31, 32, 33, 1000):
        x = rng.random(n) < 0.5
        (y,), kinds = run(node_model("Not", [x], outputs=[np.dtype(bool)]))
        np.testing.assert_array_equal(y, ~x)
        assert kinds <= {"logic"}


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "uint8", "float16", "bool", "float64"])
def test_choices_pass_bits_unchanged(dtype: str, node_model: Any, rng: np.random.Generator) -> None:
    for (a_shape, b_shape), c_shape in itertools.product(SHAPES, ((), None)):
        a, b = (rng.integers(0, 2, s).astype(dtype) if dtype == "bool"
                else rng.integers(0, 256, (*s, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]
                for s in (a_shape, b_shape))  # fmt: skip
        shape = np.broadcast_shapes(a_shape, b_shape) if c_shape is None else c_shape
        c = np.asarray(rng.random(shape) < 0.5)
        (y,), kinds = run(node_model("Where", [c, a, b], outputs=[np.dtype(dtype)]))
        expected = np.where(c, a, b)
        assert y.dtype == expected.dtype
        bits = f"u{y.itemsize}"
        if dtype == "float16":  # kept as it is, but for signalling NaN
            np.testing.assert_array_equal(y, expected)
        else:
            np.testing.assert_array_equal(y.view(bits), expected.view(bits))
            assert kinds <= {"choose"}


def test_operands_of_every_layout(rng: np.random.Generator) -> None:
    """What is channels-last, transposed or cut out by then is read and written where it lies."""
    from fastconv.graph.ir import GraphBuilder

    b = GraphBuilder("layouts", {})
    x, other = b.input("x", (2, 8, 6, 6)), b.input("other", (6, 6, 8, 2))
    image = b.add("Conv", x, b.constant("w", np.eye(8, dtype=np.float32).reshape(8, 8, 1, 1)))
    turned = b.add("Transpose", other, perm=[3, 2, 1, 0])
    less = b.add("Less", image, turned)
    part = b.add("Slice", less, *(b.constant(n, np.array([v])) for n, v in (("s", 1), ("e", 8), ("a", 1))))
    both = b.add(
        "And", part, b.add("Not", b.add("Greater", part_of(b, image), b.constant("h", np.float32(1))))
    )
    b.output(b.add("Where", both, part_of(b, image), part_of(b, turned)), "y", (2, 7, 6, 6))
    a = rng.standard_normal((2, 8, 6, 6), np.float32)
    t = rng.standard_normal((6, 6, 8, 2), np.float32)
    u = t.transpose(3, 2, 1, 0)
    expected = np.where((a < u)[:, 1:] & ~(a[:, 1:] > 1), a[:, 1:], u[:, 1:])
    model = fastconv.graph.model.Model(b.build())
    np.testing.assert_array_equal(model(a, t), expected)


def part_of(b: Any, name: str) -> str:
    """Add a Slice without the first channel."""
    bounds = (
        b.constant(f"{name}{n}{len(b.constants)}", np.array([v])) for n, v in (("s", 1), ("e", 8), ("a", 1))
    )
    part: str = b.add("Slice", name, *bounds)
    return part


def first_k(row: list[float], k: int, largest: bool) -> list[int]:
    """Sort whole pairs: NaN is above all, and of equal ones the first is first."""

    def key(i: int) -> tuple[bool, float, int]:
        nan, x = math.isnan(row[i]), 0.0 if math.isnan(row[i]) else row[i]
        return (not nan, -x, i) if largest else (nan, x, i)

    return sorted(range(len(row)), key=key)[:k]


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_first_k_along_any_axis(axis: int, largest: int, node_model: Any, rng: np.random.Generator) -> None:
    for shape, k in (((5, 9, 4), 1), ((5, 9, 4), 4), ((40, 50, 36), 33), ((3, 70, 8), 3), ((0, 4, 3), 0)):
        x = rng.choice(np.concatenate([SPECIAL, SPECIAL * 2]), shape).astype(np.float32)
        outputs = [np.dtype(np.float32), np.dtype(np.int64)]
        model = node_model(
            "TopK", [x, np.array([k])], constant=[1], outputs=outputs, axis=axis, largest=largest
        )
        (values, indices), kinds = run(model)
        rows = np.moveaxis(x, axis, -1)
        expected = np.empty((*rows.shape[:-1], k), np.int64)
        for at in np.ndindex(*rows.shape[:-1]):
            expected[at] = first_k(rows[at].tolist(), k, largest != 0)
        expected = np.moveaxis(expected, -1, axis)
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(x, expected, axis))
        assert kinds <= {"top_k", "copy"}
