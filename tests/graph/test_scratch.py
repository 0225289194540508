"""What functions of numpy take while they run is at most what their step says, which the budget must have."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import MemoryLimitError
from fastconv.graph.call import Call

SLACK = 1 << 16  # bytes of Python's own objects
RNG = np.random.default_rng(0)


def f32(*shape: int) -> Any:
    return RNG.standard_normal(shape, dtype=np.float32)


def u8(*shape: int) -> Any:
    return RNG.integers(0, 256, shape).astype(np.uint8)


SCALE, ZERO = np.float32(0.1), np.uint8(3)
Case = tuple[str, dict[str, Any], list[Any], list[Any]]
#: By name: the operator, its attributes, its inputs, and those that are constants.
CASES: dict[str, Case] = {
    "MaxUnpool": (
        "MaxUnpool",
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        [f32(1, 3, 80, 90), np.arange(3 * 80 * 90).reshape(1, 3, 80, 90)],
        [],
    ),
    "MaxUnpool to a larger image": (
        "MaxUnpool",
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        [f32(1, 3, 80, 90), np.arange(3 * 80 * 90).reshape(1, 3, 80, 90)],
        [np.array([1, 3, 300, 310])],
    ),
    "Resize, cubic, larger": (
        "Resize",
        {"mode": "cubic"},
        [f32(1, 3, 60, 70)],
        [None, f32(0), None, 240, 210],
    ),
    "Resize, cubic, smaller": (
        "Resize",
        {"mode": "cubic"},
        [f32(1, 3, 300, 280)],
        [None, f32(0), None, 90, 80],
    ),
    "Resize, one larger, one smaller": (
        "Resize",
        {"mode": "cubic"},
        [f32(1, 3, 60, 280)],
        [None, f32(0), None, 300, 40],
    ),
    "Resize, antialiased": (
        "Resize",
        {"mode": "linear", "antialias": 1},
        [f32(1, 3, 300, 280)],
        [None, f32(0), None, 40, 50],
    ),
    "Resize of bytes": ("Resize", {"mode": "linear"}, [u8(1, 3, 100, 120)], [None, f32(0), None, 200, 100]),
    "Resize of bytes to the nearest": ("Resize", {}, [u8(1, 3, 100, 120)], [None, f32(0), None, 200, 100]),
    "Resize of bytes, smaller": (
        "Resize",
        {"mode": "cubic"},
        [u8(1, 3, 200, 220)],
        [None, f32(0), None, 20, 30],
    ),
    "MatMulInteger": ("MatMulInteger", {}, [u8(200, 600), u8(600, 300), ZERO, ZERO], []),
    "MatMulInteger of vectors": ("MatMulInteger", {}, [u8(60_000), u8(60_000)], []),
    "MatMulInteger of a stack": ("MatMulInteger", {}, [u8(5, 100, 300), u8(5, 300, 100)], []),
    "QLinearMatMul": (
        "QLinearMatMul",
        {},
        [u8(200, 300), SCALE, ZERO, u8(300, 400), SCALE, ZERO, SCALE, ZERO],
        [],
    ),
    "ConvInteger": ("ConvInteger", {"pads": [1] * 4}, [u8(1, 16, 60, 50), u8(24, 16, 3, 3)], []),
    "ConvInteger, depthwise": (
        "ConvInteger",
        {"group": 16, "strides": [2, 2]},
        [u8(1, 16, 160, 150), u8(16, 1, 5, 5)],
        [],
    ),
    "QLinearConv": (
        "QLinearConv",
        {},
        [u8(1, 16, 60, 50), SCALE, ZERO, u8(24, 16, 3, 3), SCALE, ZERO, SCALE, ZERO],
        [],
    ),
    "QuantizeLinear": ("QuantizeLinear", {}, [f32(2, 3, 100, 100), SCALE, ZERO], []),
    "QuantizeLinear by channel": (
        "QuantizeLinear",
        {},
        [f32(2, 30, 50, 50), np.abs(f32(30)) + 1, np.zeros(30, np.uint8)],
        [],
    ),
    "DequantizeLinear": ("DequantizeLinear", {}, [u8(2, 3, 100, 100), SCALE, ZERO], []),
    "DequantizeLinear by blocks": (
        "DequantizeLinear",
        {"block_size": 2},
        [u8(2, 30, 50, 50), np.abs(f32(2, 15, 50, 50)) + 1],
        [],
    ),
    "DequantizeLinear of 32 bits": (
        "DequantizeLinear",
        {},
        [RNG.integers(-9, 9, (2, 3, 100, 100)).astype(np.int32), SCALE],
        [],
    ),
    "DynamicQuantizeLinear": ("DynamicQuantizeLinear", {}, [f32(2, 3, 100, 100)], []),
    "GridSample of volumes": (
        "GridSample",
        {"mode": "linear"},
        [f32(1, 4, 9, 9, 9), f32(1, 20, 20, 20, 3)],
        [],
    ),
    "GridSample of f64": (
        "GridSample",
        {"mode": "cubic"},
        [f32(2, 4, 30, 30).astype(np.float64), f32(2, 60, 50, 2)],
        [],
    ),
    "GridSample, reflected": (
        "GridSample",
        {"mode": "cubic", "padding_mode": "reflection"},
        [f32(1, 4, 30, 30).astype(np.float64), 3 * f32(1, 60, 50, 2)],
        [],
    ),
    "GridSample by the kernel": (
        "GridSample",
        {"mode": "cubic"},
        [f32(1, 4, 30, 30), f32(1, 160, 150, 2)],
        [],
    ),
    "AffineGrid": ("AffineGrid", {}, [f32(2, 2, 3)], [np.array([2, 3, 150, 160])]),
    "DeformConv": ("DeformConv", {}, [f32(1, 8, 30, 30), f32(8, 8, 3, 3), f32(1, 18, 28, 28)], []),
    "Conv of f64": (
        "Conv",
        {"pads": [1] * 4},
        [f32(1, 16, 60, 50).astype(np.float64), f32(24, 16, 3, 3).astype(np.float64)],
        [],
    ),
    "MatMul of f64": ("MatMul", {}, [f32(4, 100, 90).astype(np.float64), f32(90, 80).astype(np.float64)], []),
    "Einsum of three": (
        "Einsum",
        {"equation": "ab,bc,cd->ad"},
        [f32(90, 80), f32(80, 70), f32(70, 60)],
        [],
    ),
    "Einsum of a diagonal": ("Einsum", {"equation": "aab,bc->ac"}, [f32(90, 90, 40), f32(40, 70)], []),
}


def model_of(onnx: Any, case: Case, **options: Any) -> Any:
    op, attributes, inputs, constants = case
    if op == "Resize":  # the sizes of the image, at the end
        constants = [*constants[:2], np.array([*inputs[0].shape[:2], *constants[3:]])]
    kind = onnx.helper.np_dtype_to_tensor_dtype
    given = {f"x{i}": np.asarray(a) for i, a in enumerate(inputs)}
    held = {f"c{i}": np.asarray(a) for i, a in enumerate(constants) if a is not None}
    names = [*given, *(f"c{i}" if a is not None else "" for i, a in enumerate(constants))]
    outputs = ["y", "s", "z"] if op == "DynamicQuantizeLinear" else ["y"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, names, outputs, **attributes)],
        "net",
        [onnx.helper.make_tensor_value_info(n, kind(a.dtype), a.shape) for n, a in given.items()],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(a, n) for n, a in held.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 21)]
    model = fastconv.load(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), **options)
    return model, list(given.values())


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Return what the calls of a run took at the most, and said that they would, by the step's name."""
    found: dict[str, tuple[int, int]] = {}
    plain: Callable[..., None] = Call.__call__

    def measured(self: Call, *arrays: Any) -> None:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        plain(self, *arrays)
        found[self.name] = tracemalloc.get_traced_memory()[1] - before, self.scratch
        tracemalloc.stop()

    monkeypatch.setattr(Call, "__call__", measured)
    return found


@pytest.mark.parametrize("case", CASES)
def test_no_more_is_taken_than_a_step_says(case: str, onnx: Any, traced: dict[str, tuple[int, int]]) -> None:
    model, inputs = model_of(onnx, CASES[case])
    model(*inputs)
    wrong = {name: both for name, both in traced.items() if both[0] > both[1] + SLACK}
    assert not wrong


def test_a_suppression_counts(onnx: Any) -> None:
    """By the most that it may keep: its boxes come when it runs."""
    count = 100_000
    boxes, scores = np.abs(f32(1, count, 4)), f32(1, 1, count)
    most = [np.array([count]), np.array([1.0], np.float32)]
    case: Case = ("NonMaxSuppression", {}, [boxes, scores], most)
    with pytest.raises(MemoryLimitError, match=r"node .* .NonMaxSuppression.: expected at most max_bytes"):
        model_of(onnx, case, max_bytes=4 << 20)
    model, _ = model_of(onnx, ("NonMaxSuppression", {}, [boxes, scores], [np.array([5]), most[1]]))
    assert len(model(boxes, scores)) == 5


def test_taps_of_a_resize_count(onnx: Any, make_model: Any) -> None:
    """Of an image made much smaller the filter is as wide as it: a kilobyte of a file asks for gigabytes."""
    node = onnx.helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="cubic", antialias=1)
    proto = make_model([node], {"x": [1, 1, 1 << 20, 1]}, {"sizes": np.array([1, 1, 1 << 19, 1])}, opset=18)
    with pytest.raises(MemoryLimitError, match=r"node .Resize_0. .Resize.: expected at most max_bytes"):
        fastconv.load(proto, max_bytes=64 << 20)
