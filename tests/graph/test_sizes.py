"""Shapes and temporaries: bounded before there is anything, however few bytes ask for them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import FastconvError, MemoryLimitError, ShapeError
from fastconv.graph.value import MAX_EMPTY, size_of

LARGE = 2**31 - 1
MIB = 1 << 20


def test_size_of() -> None:
    assert size_of(()) == 1
    assert size_of((0, 1 << 20)) == 0
    assert size_of((1,) * 32) == 1
    for shape, message in (
        ((1,) * 33, "result: expected at most 32 dimensions, got 33"),
        ((2, -1), r"result: expected dimensions of at least 0, got \[2, -1\]"),
        ((1 << 16, 1 << 16), "result: expected at most 2147483648 elements"),
        ((0, MAX_EMPTY + 1), f"result: expected at most {MAX_EMPTY} elements along the dimensions"),
    ):
        with pytest.raises(ShapeError, match=message):
            size_of(shape)


NOTHING = np.zeros((0, 5), np.float32)


@pytest.mark.parametrize(
    ("op", "attributes", "constants", "opset"),
    [
        ("Reshape", {"allowzero": 1}, {"s": np.array([0, 1 << 40, 1 << 40])}, 18),
        ("Expand", {}, {"s": np.array([LARGE, 0, 5])}, 18),
        ("Tile", {}, {"s": np.array([1, 1 << 40])}, 18),
        ("Pad", {}, {"s": np.array([0, 1 << 30, 0, 1 << 30])}, 18),
        ("CenterCropPad", {}, {"s": np.array([0, 1 << 62])}, 18),
        ("Unsqueeze", {}, {"s": np.arange(60_000)}, 18),
        ("OneHot", {}, {"d": np.array(LARGE), "v": np.ones(2, np.float32)}, 18),
        ("Split", {"num_outputs": 1 << 40, "axis": 1}, {}, 18),
        (
            "Resize",
            {},
            {"r": np.zeros(0, np.float32), "q": np.zeros(0, np.float32), "s": np.array([0, LARGE])},
            18,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_is_bounded_too(
    op: str,
    attributes: dict[str, Any],
    constants: dict[str, Any],
    opset: int,
    onnx: Any,
    make_model: Any,
) -> None:
    """A tensor of no elements passes every limit on elements; its other dimensions take time and memory."""
    node = onnx.helper.make_node(op, ["x", *constants], ["y"], **attributes)
    model = fastconv.load(make_model([node], {"x": ["n", "m"]}, constants, opset=opset))
    with pytest.raises(FastconvError, match=f"node '{op}_0'"):
        model(NOTHING)


def test_a_kernel_of_many_rows_and_no_channels(onnx: Any, make_model: Any) -> None:
    """What a kernel's taps meet is computed, not looked for among 2^28 of them."""
    w = np.zeros((4, 0, MAX_EMPTY // 4, 1), np.float32)
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    with pytest.raises(FastconvError, match="node 'Conv_0'"):
        fastconv.load(make_model([node], {"x": [1, 3, 8, 8]}, {"w": w}))


@pytest.mark.parametrize("padding", [(0, 0), (3, 1), (40, 40), (7, 90)])
@pytest.mark.parametrize("dilation", [1, 5, 36])
@pytest.mark.parametrize("stride", [1, 3])
def test_the_taps_that_meet_the_image(
    padding: tuple[int, int], dilation: int, stride: int, onnx: Any, make_model: Any, rng: np.random.Generator
) -> None:
    """Against the definition, tap by tap, at sizes where some taps see nothing but padding."""
    n, (lo, hi) = 33, padding
    x = rng.integers(-4, 5, (1, 1, n)).astype(np.float32)
    w = rng.integers(-4, 5, (1, 1, 3)).astype(np.float32)
    padded = np.pad(x[0, 0], padding)
    count = (n + lo + hi - 2 * dilation - 1) // stride + 1
    expected = [sum(w[0, 0, t] * padded[i * stride + t * dilation] for t in range(3)) for i in range(count)]
    attributes = {"pads": list(padding), "dilations": [dilation], "strides": [stride]}
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    proto = make_model([node], {"x": [1, 1, n]}, {"w": w})
    if not expected:
        with pytest.raises(ShapeError, match="node 'Conv_0'"):
            fastconv.load(proto)
    else:
        np.testing.assert_array_equal(fastconv.load(proto)(x)[0, 0], expected)


@pytest.mark.parametrize(
    ("op", "attributes", "inputs", "constants"),
    [
        (
            "RoiAlign",
            {"sampling_ratio": 500},
            {"x": [1, 64, 8, 8]},
            {"r": np.ones((1, 4)), "i": np.array([0])},
        ),
        ("Einsum", {"equation": "ab,cb,db->acd"}, {"x": [200, 2], "b": [200, 2], "c": [200, 2]}, {}),
    ],
    ids=["RoiAlign", "Einsum"],
)
def test_what_numpy_takes_for_a_while_counts(
    op: str,
    attributes: dict[str, Any],
    inputs: dict[str, Any],
    constants: dict[str, Any],
    onnx: Any,
    make_model: Any,
    rng: np.random.Generator,
) -> None:
    """Refused with a small budget; where it is allowed, no more is taken than what was counted."""
    floats = {n: v.astype(np.float32) if v.dtype == np.float64 else v for n, v in constants.items()}
    node = onnx.helper.make_node(op, [*inputs, *floats], ["y"], **attributes)
    proto = make_model([node], inputs, floats, opset=20)
    with pytest.raises(MemoryLimitError, match=f"node '{op}_0'"):
        fastconv.load(proto, max_bytes=4 * MIB)
    limit = 512 * MIB
    for _ in range(7):  # the smallest budget, by halves, with which it runs
        try:
            model = fastconv.load(proto, max_bytes=limit // 2)
        except MemoryLimitError:
            break
        limit //= 2
    model = fastconv.load(proto, max_bytes=limit)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in inputs.values()]
    model(*arrays)
    tracemalloc.start()
    model(*arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= limit


def test_einsum_sums_first_what_one_term_has_alone(
    onnx: Any, make_model: Any, rng: np.random.Generator
) -> None:
    """By the definition it is a sum of 400^4 products."""
    node = onnx.helper.make_node("Einsum", ["x", "b"], ["y"], equation="ab,cd->ad")
    model = fastconv.load(make_model([node], {"x": [400, 400], "b": [400, 400]}))
    x, b = rng.integers(-2, 3, (2, 400, 400)).astype(np.float32)
    np.testing.assert_array_equal(model(x, b), np.outer(x.sum(axis=1), b.sum(axis=0)))


def test_a_block_of_quantised_values_longer_than_the_axis(
    onnx: Any, make_model: Any, rng: np.random.Generator
) -> None:
    """Repeated as often as it says, a scale of 64 values would be 2^27."""
    x = rng.integers(0, 9, (1, 4, 8, 8)).astype(np.uint8)
    scale = rng.uniform(0.5, 2, (1, 1, 8, 8)).astype(np.float32)
    node = onnx.helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=1, block_size=1 << 21)
    add = onnx.helper.make_node("Add", ["x", "d"], ["y"])
    constants = {"w": x, "s": scale}
    proto = make_model([node, add], {"x": [1, 4, 8, 8]}, constants, opset=21)
    model = fastconv.load(proto, max_bytes=MIB)
    np.testing.assert_array_equal(model(np.zeros((1, 4, 8, 8), np.float32)), x * scale)
