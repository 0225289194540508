"""Pooling in forms beyond those of test_ops.py, against ONNX Runtime and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

pytestmark = pytest.mark.ort

Array = np.ndarray[Any, Any]

WINDOWS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 9, 8), {"kernel_shape": [3, 2]}),
    ((2, 3, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 2]}),
    ((2, 3, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1}),
    ((2, 3, 9, 8), {"kernel_shape": [2, 2], "dilations": [3, 2], "pads": [1, 1, 1, 0]}),
    ((1, 2, 10, 7), {"kernel_shape": [2, 3], "dilations": [2, 2], "strides": [3, 2], "ceil_mode": 1}),
    ((2, 3, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((2, 3, 9, 8), {"kernel_shape": [2, 4], "strides": [2, 1], "auto_pad": "SAME_LOWER"}),
    ((2, 3, 11), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    ((2, 3, 11), {"kernel_shape": [3], "strides": [3], "dilations": [2], "ceil_mode": 1}),
    ((1, 2, 5, 6, 7), {"kernel_shape": [2, 3, 2], "strides": [2, 1, 2], "pads": [1, 1, 0, 0, 1, 1]}),
    ((1, 2, 5, 6, 7), {"kernel_shape": [2, 2, 3], "strides": [2, 2, 2], "ceil_mode": 1}),
    ((1, 2, 5, 6, 7), {"kernel_shape": [2, 2, 2], "dilations": [2, 1, 3]}),
]


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max + 1, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("case", WINDOWS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int8])
def test_max_pool(case: Any, dtype: Any, check_node: Any, rng: np.random.Generator) -> None:
    shape, attrs = case
    x = values(rng, shape, dtype)
    check_node("MaxPool", [x], outputs=[dtype], opset=12, **attrs)
    # Many equal values: the first maximum is the one. ONNX Runtime has the places of some types only.
    if np.dtype(dtype).kind == "f":
        x = np.round(x)
        for order in (0, 1):
            outputs = [dtype, np.int64]
            check_node("MaxPool", [x], outputs=outputs, opset=12, storage_order=order, **attrs)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_places_of_maxima_of_integers(dtype: Any, check_node: Any, rng: np.random.Generator) -> None:
    x = values(rng, (2, 3, 7, 6), dtype)
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 3), (2, 3))[:, :, ::2]
    flat = windows.reshape(*windows.shape[:4], -1)
    row, column = np.divmod(flat.argmax(axis=-1), 3)
    n, c, h, w = np.ogrid[:2, :3, : row.shape[2], : row.shape[3]]
    places = ((n * 3 + c) * 7 + 2 * h + row) * 6 + w + column
    attrs = {"kernel_shape": [2, 3], "strides": [2, 1]}
    check_node(
        "MaxPool",
        [x],
        outputs=[dtype, np.int64],
        expected=[flat.max(axis=-1), places],
        opset=12,
        **attrs,
    )


@pytest.mark.parametrize("case", WINDOWS, ids=str)
@pytest.mark.parametrize("include", [0, 1])
def test_average_pool(case: Any, include: int, check_node: Any, rng: np.random.Generator) -> None:
    shape, attrs = case
    x = values(rng, shape, np.float32)
    check_node("AveragePool", [x], opset=19, count_include_pad=include, **attrs)


@pytest.mark.parametrize("case", WINDOWS, ids=str)
@pytest.mark.parametrize("include", [0, 1])
def test_average_pool_of_f64_is_that_of_f32(
    case: Any, include: int, check_node: Any, runtime: Any, node_model: Any, rng: np.random.Generator
) -> None:
    shape, attrs = case
    x = values(rng, shape, np.float32)
    options = {"opset": 19, "count_include_pad": include, **attrs}
    expected = runtime(*node_model("AveragePool", [x], **options))[0].astype(np.float64)
    inputs = [x.astype(np.float64)]
    check_node("AveragePool", inputs, outputs=[np.float64], expected=[expected], **options)


@pytest.mark.parametrize("case", WINDOWS, ids=str)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(
    case: Any, p: int, check_node: Any, runtime: Any, node_model: Any, rng: np.random.Generator
) -> None:
    # The sum is count times the average that counts every tap, of an image padded with zeros.
    shape, attrs = case
    x = values(rng, shape, np.float64)
    padded, windows = np.abs(x) ** p, dict(attrs)
    spatial = len(shape) - 2
    if "auto_pad" not in attrs:
        lo, hi = np.reshape(windows.pop("pads", [0] * 2 * spatial), (2, spatial))
        stride, kernel = windows.get("strides", [1] * spatial), windows["kernel_shape"]
        reach = [
            (k - 1) * d + 1 for k, d in zip(kernel, windows.get("dilations", [1] * spatial), strict=True)
        ]
        if windows.pop("ceil_mode", 0):  # torch's rule: no window starts in the padding at the end
            room = [n + a + b - r for n, a, b, r in zip(shape[2:], lo, hi, reach, strict=True)]
            out = [-(-r // s) + 1 for r, s in zip(room, stride, strict=True)]
            out = [o - ((o - 1) * s >= n + a) for o, s, n, a in zip(out, stride, shape[2:], lo, strict=True)]
            needed = [(o - 1) * s + r for o, s, r in zip(out, stride, reach, strict=True)]
            hi = [max(b, m - n - a) for b, m, n, a in zip(hi, needed, shape[2:], lo, strict=True)]
        padded = np.pad(padded, [(0, 0), (0, 0), *zip(lo, hi, strict=True)])
    pooled = padded.astype(np.float32)
    (average,) = runtime(*node_model("AveragePool", [pooled], opset=19, count_include_pad=1, **windows))
    average = average.astype(np.float64)
    expected = (average * np.prod(attrs["kernel_shape"])) ** (1 / p)
    check_node("LpPool", [x], outputs=[np.float64], expected=[expected], opset=18, p=p, **attrs)
    single = [expected.astype(np.float32)]
    check_node("LpPool", [x.astype(np.float32)], expected=single, opset=18, p=p, **attrs)


@pytest.mark.parametrize("attrs", [{}, {"strides": [2, 2], "pads": [1, 1, 0, 1]}, {"auto_pad": "SAME_UPPER"}])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool_as_onnx_runtime(attrs: Any, p: int, check_node: Any, rng: np.random.Generator) -> None:
    x = values(rng, (2, 3, 9, 8), np.float32)
    check_node("LpPool", [x], opset=11, kernel_shape=[3, 2], p=p, **attrs)


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 5, 4), (1, 2, 3, 4, 5)])
def test_global_pools(shape: tuple[int, ...], check_node: Any, rng: np.random.Generator) -> None:
    x = values(rng, shape, np.float32)
    axes = tuple(range(2, len(shape)))
    wide = x.astype(np.float64)
    for p in (1, 2, 3):
        check_node("GlobalLpPool", [x], opset=2, p=p)
        norm = (np.abs(wide) ** p).sum(axis=axes, keepdims=True) ** (1 / p)
        check_node("GlobalLpPool", [wide], outputs=[np.float64], expected=[norm], opset=2, p=p)
    for op, function in (("GlobalMaxPool", np.max), ("GlobalAveragePool", np.mean)):
        expected = function(wide, axis=axes, keepdims=True)
        check_node(op, [wide], outputs=[np.float64], expected=[expected], opset=13)


@pytest.mark.parametrize(
    ("shape", "attrs"),
    [
        ((2, 3, 8, 6), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ((2, 3, 7, 9), {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 0, 1, 0]}),
        ((2, 3, 9), {"kernel_shape": [3], "strides": [3]}),
        ((1, 2, 4, 4, 6), {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}),
    ],
    ids=str,
)
def test_max_unpool(
    shape: Any, attrs: Any, check_node: Any, node_model: Any, rng: np.random.Generator
) -> None:
    x = values(rng, shape, np.float32)
    both = [np.dtype(np.float32), np.dtype(np.int64)]
    y, places = fastconv.load(node_model("MaxPool", [x], outputs=both, **attrs)[0]).run(None, {"x0": x})
    check_node("MaxUnpool", [y, places], opset=11, **attrs)
    expected = np.zeros_like(x)
    expected.reshape(-1)[places.reshape(-1)] = y.reshape(-1)
    check_node("MaxUnpool", [y, places, np.array(shape)], expected=[expected], opset=11, **attrs)


def test_indices_out_of_range_are_refused(node_model: Any) -> None:
    x, places = np.ones((1, 1, 2, 2), np.float32), np.full((1, 1, 2, 2), 99)
    model, feeds = node_model("MaxUnpool", [x, places], kernel_shape=[2, 2], strides=[2, 2])
    with pytest.raises(fastconv.FastconvError, match=r"node 'node' .*indices: expected 0 to 15, got 99"):
        fastconv.load(model).run(None, feeds)


@pytest.mark.parametrize(("size", "message"), [(2**11, "expected at most"), (2**23, "expected at most")])
def test_windows_too_large_for_numpy_are_refused(size: int, message: str, node_model: Any) -> None:
    attrs = {"kernel_shape": [size, size], "pads": [size - 1] * 4}
    model, feeds = node_model(
        "MaxPool", [np.ones((1, 1, 2, 2), np.float64)], outputs=[np.dtype(np.float64)], **attrs
    )
    with pytest.raises(fastconv.FastconvError, match=f"node 'node' .*{message}"):
        fastconv.load(model).run(None, feeds)
